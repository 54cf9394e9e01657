//! `mail` and `webhooks`: how people and programs are told.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;

use crate::manifest::locate::Located;
use crate::manifest::report::Report;
use crate::manifest::suggest;
use crate::model::message::MAIL;
use crate::notifiers::smtp::Security;
use crate::secrets::vault;
use crate::settings::file::SecretName;

/// What a webhook may be told, each once.
pub const EVENTS: [&str; 17] = [
    "account.created",
    "account.adopted",
    "account.updated",
    "account.reactivated",
    "account.restored",
    "account.narrowed",
    "account.disabled",
    "account.deleted",
    "request.asked",
    "request.agreed",
    "request.escalated",
    "request.reminded",
    "request.accepted",
    "request.refused",
    "request.expired",
    "request.reopened",
    "request.withdrawn",
];

/// `mail`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MailFile {
    /// A mail server.
    smtp: Option<Located<SmtpFile>>,
    /// A folder, for trying out.
    file: Option<PathBuf>,
    /// Whom mails are from.
    from: Option<Located<String>>,
}

/// `mail.smtp`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SmtpFile {
    host: Located<String>,
    port: Option<u16>,
    security: Option<SecurityWord>,
    user: Option<String>,
    password: Option<Located<SecretName>>,
    ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SecurityWord {
    StartTls,
    Tls,
    None,
}

/// One entry of `webhooks`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookFile {
    /// Where to.
    url: Located<String>,
    /// What its messages are signed by.
    key: Located<SecretName>,
    /// What it is told; left out, everything.
    events: Option<Vec<Located<String>>>,
    /// PEM certificates that replace the system's roots.
    ca: Option<PathBuf>,
}

/// How mails leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailSettings {
    /// Through a mail server.
    Smtp {
        /// Its name.
        host: String,
        /// Its port.
        port: u16,
        /// How it is spoken to.
        security: Security,
        /// Who signs in, and the name of the secret.
        sign_in: Option<(String, String)>,
        /// A file of certificates.
        ca: Option<PathBuf>,
        /// Whom mails are from.
        from: String,
    },
    /// Into a folder, for trying out.
    File(PathBuf),
}

/// One webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where to.
    pub url: String,
    /// The name of the secret that its messages are signed by.
    pub key: String,
    /// What it is told.
    pub events: BTreeSet<String>,
    /// A file of certificates.
    pub ca: Option<PathBuf>,
}

/// From what is written to what holds. `secrets` are the names of those that are declared.
pub(crate) fn mail(
    written: Located<MailFile>,
    secrets: &BTreeSet<String>,
    base: &Path,
    report: &mut Report<'_>,
) -> Option<MailSettings> {
    let Located { value: MailFile { smtp, file, from }, place } = written;
    let smtp = match (smtp, file) {
        (Some(smtp), None) => smtp,
        (None, Some(folder)) => return Some(MailSettings::File(base.join(folder))),
        (Some(_), Some(_)) | (None, None) => {
            report
                .add(place, "wrong-value", "mails leave through one of `smtp` and `file`")
                .hint("write `smtp: { host: mail.example, ... }`; `file: DIR` is for trying out");
            return None;
        }
    };
    let Some(from) = from else {
        report.add(place, "missing-field", "the field `from` is missing").hint("add `from: \"Name <name@host>\"`");
        return None;
    };
    if from.value.parse::<lettre::message::Mailbox>().is_err() {
        let message = format!("`{}` is no address", from.value);
        report.add(from.place, "wrong-value", message).hint("write `Name <name@host>`");
        return None;
    }
    let Located { value: SmtpFile { host, port, security, user, password, ca }, place } = smtp;
    let security = match security {
        None | Some(SecurityWord::StartTls) => Security::StartTls,
        Some(SecurityWord::Tls) => Security::Tls,
        Some(SecurityWord::None) => Security::None,
    };
    let local = matches!(vault::is_loopback(&format!("http://{}", host.value)), Ok(true));
    if security == Security::None && !local {
        report
            .add(host.place, "unencrypted", "mails to another machine would leave unencrypted")
            .hint("write `security: starttls` or `security: tls`");
    }
    let sign_in = match (user, password) {
        (None, None) => None,
        (Some(user), Some(password)) => {
            known(&password, secrets, "smtp://HOST:PORT", report);
            Some((user, password.value.secret))
        }
        (Some(_), None) | (None, Some(_)) => {
            report
                .add(place, "missing-field", "who signs in needs both `user` and `password`")
                .hint("add `password: { secret: NAME }`, or take both out");
            None
        }
    };
    let port = port.unwrap_or(match security {
        Security::StartTls => 587,
        Security::Tls => 465,
        Security::None => 25,
    });
    let ca = ca.map(|file| base.join(file));
    Some(MailSettings::Smtp { host: host.value, port, security, sign_in, ca, from: from.value })
}

pub(crate) fn webhooks(
    written: BTreeMap<String, Located<WebhookFile>>,
    secrets: &BTreeSet<String>,
    base: &Path,
    report: &mut Report<'_>,
) -> BTreeMap<String, WebhookSettings> {
    let mut webhooks = BTreeMap::new();
    for (name, Located { value: WebhookFile { url, key, events, ca }, place }) in written {
        let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if name.is_empty() || name == MAIL || !name.chars().all(plain) {
            report
                .add(place, "wrong-value", format!("`{name}` is no name for a webhook"))
                .hint("use lower-case letters, digits and `-`; `mail` is taken");
        }
        let local = matches!(vault::is_loopback(&url.value), Ok(true));
        if !url.value.starts_with("https://") && !local {
            report
                .add(url.place, "unencrypted", "events to another machine would leave unencrypted")
                .hint("begin the address with `https://`");
        } else if let Err(error) = crate::http::base_url(&url.value) {
            report.add(url.place, "wrong-value", error.to_string()).hint("write `https://hooks.example/rosterd`");
        }
        known(&key, secrets, "https://HOST", report);
        for event in events.iter().flatten().filter(|event| !EVENTS.contains(&event.value.as_str())) {
            report
                .add(event.place, "wrong-value", format!("there is no event `{}`", event.value))
                .hint(suggest::one_of(&event.value, EVENTS));
        }
        let told = events.map(|events| events.into_iter().map(|event| event.value).collect());
        let events = told.unwrap_or_else(|| EVENTS.map(str::to_owned).into());
        let ca = ca.map(|file| base.join(file));
        webhooks.insert(name, WebhookSettings { url: url.value, key: key.value.secret, events, ca });
    }
    webhooks
}

fn known(name: &Located<SecretName>, secrets: &BTreeSet<String>, origin: &str, report: &mut Report<'_>) {
    if !secrets.contains(&name.value.secret) {
        report
            .add(name.place, "unknown-secret", format!("no secret is named `{}`", name.value.secret))
            .hint(format!("declare it under `secrets`, with `origins: [\"{origin}\"]`"));
    }
}
