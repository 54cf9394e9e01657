//! One mail told to a mail server, step by step: which step a refusal answers says whose it is.
//!
//! # Guarantees
//! - Nothing of a mail is sent before the server took its sender and its recipient.
//! - Once the mail is sent the server has as long as RFC 5321 section 4.5.3.2.6 asks for to say that it takes
//!   it: whoever hangs up before makes it come twice.

use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::authentication::DEFAULT_MECHANISMS;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::client::Tls;
use lettre::transport::smtp::commands;
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::extension::Extension;
use lettre::transport::smtp::extension::MailBodyParameter;
use lettre::transport::smtp::extension::MailParameter;
use tokio::time::timeout;

/// Longest time until a connection stands.
const CONNECT: Duration = Duration::from_secs(30);
/// Longest time for taking leave: what matters was said before.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long a mail server may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// For all that comes before the mail: greylisting servers take minutes (RFC 5321 section 4.5.3.2.1), and
    /// who gives up here makes nothing come twice.
    pub(super) before: Duration,
    /// For the mail and the word that it is taken: 3 minutes and 10 (sections 4.5.3.2.5 and 4.5.3.2.6).
    pub(super) after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { before: Duration::from_mins(5), after: Duration::from_mins(13) }
    }
}

impl Limits {
    /// All of it.
    pub(super) fn whole(self) -> Duration {
        self.before + self.after + FAREWELL
    }
}

/// What a mail server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The connection, its encryption, the sign-in.
    Door,
    /// Whom mails are from.
    Sender,
    /// Whom this one is to.
    Recipient,
    /// What it says.
    Content,
}

/// Why a mail was not taken.
#[derive(Debug)]
pub(super) enum Failed {
    /// What the server said, or why it could not be heard.
    At(Step, Error),
    /// It said nothing for too long, before it was told the mail.
    Silent,
    /// It was told the mail, and whether it takes it nobody heard.
    Unheard,
    /// The server cannot take such a mail, and was not asked to.
    Unfit(&'static str),
}

/// Who is spoken to, and how.
pub(super) struct Peer {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Tls,
    pub(super) sign_in: Option<Credentials>,
    pub(super) limits: Limits,
}

impl Peer {
    /// `Ok`: the server answers for the mail from now on.
    pub(super) async fn take(&self, mail: &Message, content: &[u8]) -> Result<(), Failed> {
        let announced = timeout(self.limits.before, self.announced(mail, content.is_ascii())).await;
        let mut connection = announced.map_err(|_late| Failed::Silent)??;
        let taken = timeout(self.limits.after, connection.message(content)).await;
        leave(connection).await;
        match taken {
            Ok(Ok(_taken)) => Ok(()),
            Ok(Err(error)) if error.status().is_some() => Err(Failed::At(Step::Content, error)),
            // A connection that broke before its answer may have broken after the mail was taken.
            Ok(Err(_)) | Err(_) => Err(Failed::Unheard),
        }
    }

    /// Up to the moment at which the server wants to hear the mail.
    async fn announced(&self, mail: &Message, ascii: bool) -> Result<AsyncSmtpConnection, Failed> {
        let mut connection = self.let_in().await.map_err(|error| Failed::At(Step::Door, error))?;
        match introduce(&mut connection, mail, ascii).await {
            Ok(()) => Ok(connection),
            Err(failed) => {
                leave(connection).await;
                Err(failed)
            }
        }
    }

    async fn let_in(&self) -> Result<AsyncSmtpConnection, Error> {
        let name = ClientId::default();
        let wrapped = match &self.tls {
            Tls::Wrapper(trust) => Some(trust.clone()),
            Tls::None | Tls::Opportunistic(_) | Tls::Required(_) => None,
        };
        let peer = (self.host.as_str(), self.port);
        let mut connection = AsyncSmtpConnection::connect_tokio1(peer, Some(CONNECT), &name, wrapped, None).await?;
        if let Tls::Required(trust) = &self.tls {
            connection.starttls(trust.clone(), &name).await?;
        }
        if let Some(credentials) = &self.sign_in {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }
}

async fn introduce(connection: &mut AsyncSmtpConnection, mail: &Message, ascii: bool) -> Result<(), Failed> {
    let envelope = mail.envelope();
    let mut parameters = Vec::new();
    let takes = |extension| connection.server_info().supports_feature(extension);
    let mut addresses = envelope.from().into_iter().chain(envelope.to());
    if addresses.any(|address| !address.to_string().is_ascii()) {
        if !takes(Extension::SmtpUtfEight) {
            return Err(Failed::Unfit("the mail server takes no address with letters beyond ASCII (`SMTPUTF8`)"));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !ascii {
        if !takes(Extension::EightBitMime) {
            return Err(Failed::Unfit("the mail server takes no letters beyond ASCII (`8BITMIME`)"));
        }
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    let at = |step| move |error| Failed::At(step, error);
    let from = commands::Mail::new(envelope.from().cloned(), parameters);
    connection.command(from).await.map_err(at(Step::Sender))?;
    for to in envelope.to() {
        connection.command(commands::Rcpt::new(to.clone(), Vec::new())).await.map_err(at(Step::Recipient))?;
    }
    connection.command(commands::Data).await.map_err(at(Step::Content))?;
    Ok(())
}

/// Says goodbye; what a server makes of that changes nothing.
async fn leave(mut connection: AsyncSmtpConnection) {
    drop(timeout(FAREWELL, connection.abort()).await);
}
