//! How people and programs are told, by the settings.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::app::AppError;
use crate::clock::Clock;
use crate::engine::outbox::Post;
use crate::model::message::MAIL;
use crate::notifiers::file::FileNotifier;
use crate::notifiers::smtp::SmtpNotifier;
use crate::notifiers::smtp::SmtpSettings;
use crate::notifiers::webhook::WebhookNotifier;
use crate::notify::Notifier;
use crate::secrets::vault::Vault;
use crate::settings::Settings;
use crate::settings::notices::MailSettings;
use crate::settings::notices::WebhookSettings;

/// One line a channel.
pub(crate) fn of(settings: &Settings, vault: &Vault, clock: &Arc<dyn Clock>) -> Result<Post, AppError> {
    let mut channels: BTreeMap<String, Arc<dyn Notifier>> = BTreeMap::new();
    if let Some(mail) = &settings.mail {
        channels.insert(MAIL.to_owned(), by_mail(mail, vault)?);
    }
    let mut events = BTreeMap::new();
    for (name, webhook) in &settings.webhooks {
        channels.insert(name.clone(), Arc::new(by_webhook(name, webhook, vault, clock)?));
        events.insert(name.clone(), webhook.events.clone());
    }
    Ok(Post { channels, events, addressees: settings.addressees.clone() })
}

fn by_mail(mail: &MailSettings, vault: &Vault) -> Result<Arc<dyn Notifier>, AppError> {
    let (host, port, security, sign_in, ca, from) = match mail {
        MailSettings::File(folder) => return Ok(Arc::new(FileNotifier::new(folder.clone()))),
        MailSettings::Smtp { host, port, security, sign_in, ca, from } => (host, *port, *security, sign_in, ca, from),
    };
    let origin = format!("smtp://{host}:{port}");
    let sign_in = match sign_in {
        Some((user, name)) => {
            let password = vault.resolve(name, &origin).map_err(|error| AppError::Secrets(error.to_string()))?;
            Some((user.clone(), password))
        }
        None => None,
    };
    let ca = ca.as_deref().map(certificates).transpose()?;
    let settings = SmtpSettings { host: host.clone(), port, security, sign_in, ca, from: from.clone() };
    Ok(Arc::new(SmtpNotifier::new(settings).map_err(AppError::Notices)?))
}

fn by_webhook(
    name: &str,
    webhook: &WebhookSettings,
    vault: &Vault,
    clock: &Arc<dyn Clock>,
) -> Result<WebhookNotifier, AppError> {
    let WebhookSettings { url, key, events: _, ca } = webhook;
    let key = vault.resolve(key, url).map_err(|error| AppError::Secrets(error.to_string()))?;
    let ca = ca.as_deref().map(certificates).transpose()?;
    let made = WebhookNotifier::new(url, &key, ca, Arc::clone(clock));
    made.map_err(|error| AppError::Notices(format!("the webhook `{name}` cannot be used: {error}")))
}

fn certificates(file: &Path) -> Result<Vec<u8>, AppError> {
    let failed = |error| AppError::Notices(format!("the certificates `{}` cannot be read: {error}", file.display()));
    std::fs::read(file).map_err(failed)
}
