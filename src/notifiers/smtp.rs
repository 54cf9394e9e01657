//! Mails through one mail server: STARTTLS or TLS, with or without signing in.
//!
//! # Guarantees
//! - Nothing leaves unencrypted, but to this machine.
//! - Every attempt of one message has the same `Message-ID` and `Date`.
//! - A refusal of who we are, or of whom mails are from, is no refusal of a mail.

mod dialogue;
mod judge;

use std::time::Duration;
use std::time::SystemTime;

use async_trait::async_trait;
use lettre::Address;
use lettre::Message;
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
use crate::notifiers::smtp::dialogue::Limits;
use crate::notifiers::smtp::dialogue::Peer;
use crate::notify::Notifier;
use crate::notify::NotifyClass;
use crate::notify::NotifyError;
use crate::secrets::secret::Secret;

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
    peer: Peer,
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
        let sign_in = sign_in.map(|(user, password)| Credentials::new(user, password.expose().to_owned()));
        Ok(Self { peer: Peer { host, port, tls, sign_in, limits: Limits::default() }, from })
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

    fn limit(&self) -> Duration {
        self.peer.limits.whole()
    }

    async fn deliver(&self, message: &Posted) -> Result<(), NotifyError> {
        let Some(Content::Mail(mail)) = &message.content else { return Ok(()) };
        let written = self.written(message, mail).map_err(|why| NotifyError::new(NotifyClass::Refused, why))?;
        let content = zeroize::Zeroizing::new(written.formatted());
        self.peer.take(&written, &content).await.map_err(|failed| judge::judged(&failed, mail, &content))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncBufReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::io::BufReader;
    use tokio::io::Lines;
    use tokio::net::tcp::OwnedReadHalf;
    use tokio::task::JoinSet;

    use super::*;

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

    /// The next line, or the one that ends a mail.
    async fn next(lines: &mut Lines<BufReader<OwnedReadHalf>>, of_mail: bool) -> Option<String> {
        let mut line = lines.next_line().await.ok().flatten();
        while of_mail && line.as_deref().is_some_and(|line| line != ".") {
            line = lines.next_line().await.ok().flatten();
        }
        line
    }

    /// So many seconds pass at once: a limit that ends within them is over, however fast this machine is.
    async fn passes(seconds: u64) {
        if seconds > 0 {
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(seconds)).await;
            tokio::time::resume();
        }
    }

    /// A mail server that answers each line of ours by the next of these, after so many seconds.
    async fn server(answers: &[(u64, &'static str)]) -> (u16, JoinSet<Vec<String>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = answers.to_vec();
        let talk = async move {
            let (stream, _peer) = listener.accept().await.unwrap();
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            let mut heard = Vec::new();
            for (seconds, answer) in answers {
                passes(seconds).await;
                write.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
                heard.extend(next(&mut lines, answer.starts_with("354")).await);
            }
            heard
        };
        let mut talks = JoinSet::new();
        talks.spawn(talk);
        (port, talks)
    }

    fn notifier(port: u16, limits: Limits) -> SmtpNotifier {
        let settings = SmtpSettings {
            host: "127.0.0.1".to_owned(),
            port,
            security: Security::None,
            sign_in: None,
            ca: None,
            from: "Desk <desk@agency.example>".to_owned(),
        };
        let mut notifier = SmtpNotifier::new(settings).unwrap();
        notifier.peer.limits = limits;
        notifier
    }

    fn mail() -> Posted {
        let mail = Mail {
            to: "ada@mail.example".to_owned(),
            subject: "Hello".to_owned(),
            text: "https://p.example/a?token=abcDEF123456".to_owned(),
            html: None,
            holds_password: false,
        };
        Posted::due("welcome-1".into(), crate::model::message::MAIL, chrono::DateTime::UNIX_EPOCH, Content::Mail(mail))
    }

    const GREETING: (u64, &str) = (0, "220 mail.example");
    const OK: (u64, &str) = (0, "250 ok");
    const GO_ON: (u64, &str) = (0, "354 go on");

    async fn told(answers: &[(u64, &'static str)], limits: Limits) -> Result<(), NotifyError> {
        let (port, _talks) = server(answers).await;
        notifier(port, limits).deliver(&mail()).await
    }

    #[tokio::test]
    async fn only_a_refusal_of_recipient_or_content_is_the_mails() {
        let cases: [(&[(u64, &str)], NotifyClass); 9] = [
            (&[(0, "554 5.3.2 closed for today")], NotifyClass::Door),
            (&[GREETING, (0, "550 who are you")], NotifyClass::Door),
            (&[GREETING, OK, (0, "550 5.7.1 sender rejected")], NotifyClass::Door),
            (&[GREETING, OK, (0, "451 4.3.0 not now")], NotifyClass::Door),
            (&[GREETING, OK, OK, (0, "550 5.1.1 no such mailbox")], NotifyClass::Refused),
            (&[GREETING, OK, OK, (0, "451 4.7.1 greylisted")], NotifyClass::Later),
            (&[GREETING, OK, OK, (0, "530 5.7.0 sign in first")], NotifyClass::Door),
            (&[GREETING, OK, OK, OK, GO_ON, (0, "554 5.7.1 found abcDEF123456")], NotifyClass::Refused),
            (&[GREETING, OK, OK, OK, GO_ON, (0, "421 4.3.2 shutting down")], NotifyClass::Door),
        ];
        for (answers, class) in cases {
            let error = told(answers, Limits::default()).await.unwrap_err();
            assert_eq!(error.class, class, "{error} for {answers:?}");
            assert!(!error.message.contains("abcDEF"), "{error}");
        }
        let (port, mut talks) = server(&[GREETING, OK, OK, OK, GO_ON, OK, (0, "221 bye")]).await;
        notifier(port, Limits::default()).deliver(&mail()).await.unwrap();
        let heard = talks.join_next().await.unwrap().unwrap();
        assert_eq!(heard.iter().filter(|line| line.starts_with("QUIT")).count(), 1, "{heard:?}");
    }

    #[tokio::test]
    async fn a_server_may_think_longer_about_a_mail_than_about_anything_before_it() {
        let limits = Limits { before: Duration::from_mins(2), after: Duration::from_mins(20) };
        told(&[GREETING, OK, OK, OK, GO_ON, (300, "250 taken")], limits).await.unwrap();
        let error = told(&[GREETING, OK, (300, "250 ok")], limits).await.unwrap_err();
        assert_eq!(error.class, NotifyClass::Door, "{error}");
        let short = Limits { after: Duration::from_mins(2), ..Limits::default() };
        let error = told(&[GREETING, OK, OK, OK, GO_ON, (300, "250 taken")], short).await.unwrap_err();
        assert_eq!(error, NotifyError::unsure());
        // The server hangs up without a word, when it was told all of the mail.
        let error = told(&[GREETING, OK, OK, OK, GO_ON], Limits::default()).await.unwrap_err();
        assert_eq!(error.class, NotifyClass::Unsure, "{error}");
        let error = told(&[GREETING, OK, OK], Limits::default()).await.unwrap_err();
        assert_eq!(error.class, NotifyClass::Door, "{error}");
        // RFC 5321 section 4.5.3.2.6.
        assert!(Limits::default().after >= Duration::from_mins(10));
        assert!(notifier(1, Limits::default()).limit() > Limits::default().after);
    }
}
