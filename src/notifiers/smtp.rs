//! Mails through one mail server: STARTTLS or TLS, with or without signing in.
//!
//! # Guarantees
//! - Nothing leaves unencrypted, but to this machine.
//! - Every attempt of one message has the same `Message-ID` and `Date`.

use std::time::Duration;
use std::time::SystemTime;

use async_trait::async_trait;
use lettre::Address;
use lettre::AsyncSmtpTransport;
use lettre::AsyncTransport as _;
use lettre::Message;
use lettre::Tokio1Executor;
use lettre::message::Mailbox;
use lettre::message::MultiPart;
use lettre::message::SinglePart;
use lettre::message::header::HeaderName;
use lettre::message::header::HeaderValue;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::Certificate;
use lettre::transport::smtp::client::CertificateStore;
use lettre::transport::smtp::client::Tls;
use lettre::transport::smtp::client::TlsParameters;

use crate::http::install_crypto;
use crate::model::message::Content;
use crate::model::message::Mail;
use crate::model::message::Posted;
use crate::notify::Notifier;
use crate::notify::NotifyClass;
use crate::notify::NotifyError;
use crate::secrets::secret::Secret;

/// Longest silence of a mail server (RFC 5321 section 4.5.3.2 allows minutes; the whole of a delivery has
/// two).
const SILENCE: Duration = Duration::from_secs(30);
/// Most characters of a server's own words that are repeated.
const WORDS: usize = 200;
/// Words of a server that are as long as this and stand in the mail are blotted out.
const QUOTED: usize = 8;
/// Not this message was refused but we: sign-in is demanded, failed, or too weak (RFC 4954 section 6).
const SIGN_IN: [&str; 4] = ["530", "534", "535", "538"];

/// How a mail server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Encrypted by `STARTTLS`, which is demanded.
    StartTls,
    /// Encrypted from the first byte.
    Tls,
    /// Not encrypted: for this machine alone.
    None,
}

/// What a mail server is reached by.
pub struct SmtpSettings {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub security: Security,
    /// Who signs in, and with what.
    pub sign_in: Option<(String, Secret)>,
    /// PEM certificates that replace the system's roots.
    pub ca: Option<Vec<u8>>,
    /// Whom mails are from: `Rosterd <rosterd@acme.example>`.
    pub from: String,
}

/// Mails through one mail server.
pub struct SmtpNotifier {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl SmtpNotifier {
    /// Makes it; connects to nothing yet.
    ///
    /// # Errors
    /// A sentence about what of the settings cannot be used.
    pub fn new(settings: SmtpSettings) -> Result<Self, String> {
        install_crypto();
        let SmtpSettings { host, port, security, sign_in, ca, from } = settings;
        let from = from.parse::<Mailbox>();
        let from = from.map_err(|error| format!("`mail.from` is no address ({error}); write `Name <name@host>`"))?;
        let tls = match security {
            Security::None => Tls::None,
            Security::StartTls => Tls::Required(trust(&host, ca)?),
            Security::Tls => Tls::Wrapper(trust(&host, ca)?),
        };
        let mut transport =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host).port(port).tls(tls).timeout(Some(SILENCE));
        if let Some((user, password)) = sign_in {
            transport = transport.credentials(Credentials::new(user, password.expose().to_owned()));
        }
        Ok(Self { transport: transport.build(), from })
    }

    fn written(&self, posted: &Posted, mail: &Mail) -> Result<Message, String> {
        let to = mail.to.parse::<Address>().map_err(|error| format!("the address of the user is none: {error}"))?;
        let id = format!("<{}@{}>", posted.id, self.from.email.domain());
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.subject.as_str())
            .message_id(Some(id))
            .date(SystemTime::from(posted.at))
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
        let text = mail.text.clone();
        let built = match mail.html.clone() {
            Some(html) => {
                // Not a random one: a mail is the same at every attempt.
                let parts = MultiPart::alternative().boundary(format!("rosterd-{}", posted.id));
                message.multipart(parts.singlepart(SinglePart::plain(text)).singlepart(SinglePart::html(html)))
            }
            None => message.singlepart(SinglePart::plain(text)),
        };
        built.map_err(|error| format!("the mail cannot be written: {error}"))
    }
}

/// What a certificate in PEM begins with.
const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Whose certificates are believed.
fn trust(host: &str, ca: Option<Vec<u8>>) -> Result<TlsParameters, String> {
    let mut trust = TlsParameters::builder(host.to_owned());
    if let Some(pem) = ca {
        let certificate = Certificate::from_pem(&pem);
        let certificate = certificate.map_err(|error| format!("`mail.smtp.ca` holds no certificate: {error}"))?;
        // A file without any would be taken, and believe nobody.
        if !pem.windows(PEM.len()).any(|window| window == PEM) {
            return Err("`mail.smtp.ca` holds no certificate: write it in PEM".to_owned());
        }
        trust = trust.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    trust.build_rustls().map_err(|error| format!("no encrypted connection to `{host}` can be made: {error}"))
}

#[async_trait]
impl Notifier for SmtpNotifier {
    fn takes_passwords(&self) -> bool {
        true
    }

    async fn deliver(&self, message: &Posted) -> Result<(), NotifyError> {
        let Some(Content::Mail(mail)) = &message.content else { return Ok(()) };
        let written = self.written(message, mail).map_err(|why| NotifyError::new(NotifyClass::Refused, why))?;
        let sent = self.transport.send(written).await;
        sent.map(drop).map_err(|error| judged(&error, mail))
    }
}

fn judged(error: &lettre::transport::smtp::Error, mail: &Mail) -> NotifyError {
    let code = error.status().map(|code| code.to_string()).unwrap_or_default();
    let words = blotted(&in_words(error), &mail.text);
    let (class, what) = if SIGN_IN.contains(&code.as_str()) {
        (NotifyClass::Door, "the mail server does not let us in; check `mail.smtp.user` and `password`")
    } else if error.is_permanent() {
        (NotifyClass::Refused, "the mail server refused the mail")
    } else if error.is_transient() && code != "421" {
        (NotifyClass::Later, "the mail server does not take the mail now")
    } else {
        (NotifyClass::Door, "the mail server cannot be spoken to; check `mail.smtp`")
    };
    NotifyError::new(class, format!("{what}: {words}"))
}

/// An error and what it stems from.
fn in_words(error: &lettre::transport::smtp::Error) -> String {
    use std::error::Error as _;
    let mut words = error.to_string();
    if let Some(source) = error.source() {
        let source = source.to_string();
        if !words.contains(&source) {
            words = format!("{words}: {source}");
        }
    }
    words
}

/// A server's words, without what it may have quoted of the mail (L7).
fn blotted(words: &str, text: &str) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let words: String = words.chars().map(plain).take(WORDS).collect();
    let of_words = |letter: char| !(letter.is_ascii_alphanumeric() || "-._~".contains(letter));
    let quoted: Vec<&str> = words.split(of_words).filter(|word| word.len() >= QUOTED && text.contains(word)).collect();
    quoted.iter().fold(words.clone(), |words, word| words.replace(word, "***"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_quotes_of_a_mail_is_blotted_out() {
        let text = "Your password is hG7-kd.Qw~2m and the link is https://p.example/a?token=abcDEF123456";
        let blot = |words: &str| blotted(words, text);
        assert_eq!(
            blot("permanent error (550): 5.1.1 no such mailbox"),
            "permanent error (550): 5.1.1 no such mailbox"
        );
        assert_eq!(blot("554 found \"hG7-kd.Qw~2m\" in it"), "554 found \"***\" in it");
        assert!(!blot("554 bad token=abcDEF123456\r\n").contains("abcDEF"));
    }

    #[test]
    fn settings_that_cannot_be_used_are_told_in_words() {
        let settings = |from: &str, ca: Option<&[u8]>| SmtpSettings {
            host: "mail.example".to_owned(),
            port: 587,
            security: Security::StartTls,
            sign_in: None,
            ca: ca.map(<[u8]>::to_vec),
            from: from.to_owned(),
        };
        let wrong = |settings| SmtpNotifier::new(settings).err().unwrap_or_default();
        assert!(wrong(settings("nobody", None)).contains("`mail.from`"));
        assert!(wrong(settings("a@b.example", Some(b"no pem"))).contains("`mail.smtp.ca`"));
    }
}
