//! How targets are reached and manifests are read, by the settings.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::app::AppError;
use crate::clock::Clock;
use crate::connector::Connector;
use crate::connector::settings::Block;
use crate::connector::settings::SettingsError;
use crate::connectors::directory;
use crate::connectors::directory::Directory;
use crate::connectors::scim;
use crate::connectors::scim::Wiring;
use crate::engine::ConnectorFactory;
use crate::http::Observer;
use crate::metrics::Answer;
use crate::metrics::Metrics;
use crate::metrics::Request;
use crate::metrics::TargetMetrics;
use crate::model::target::Target;
use crate::secrets::keys::Keys;
use crate::secrets::secret::Secret;
use crate::secrets::vault::SecretRef;
use crate::secrets::vault::Vault;
use crate::settings::Settings;

/// Bytes of each key.
const KEY_BYTES: usize = 32;

/// What connectors are made from.
#[derive(Clone)]
pub struct Makers {
    /// Gives secrets out, each to its own origins.
    pub vault: Vault,
    /// The embedded directory.
    pub directory: Arc<Directory>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Makers {
    /// One line a connector.
    pub fn factory(self) -> ConnectorFactory {
        Arc::new(move |target| match target.connector.as_str() {
            scim::NAME => self.scim(target),
            directory::NAME => self.embedded(target),
            other => Err(format!("this version of rosterd has no connector `{other}`")),
        })
    }

    fn scim(&self, target: &Target) -> Result<Arc<dyn Connector>, String> {
        let wiring =
            Wiring { bearer: self.bearer(target)?, observer: self.observer(target), clock: Arc::clone(&self.clock) };
        scim::build(&target.settings, &target.endpoint, wiring).map_err(|error| located(target, &error))
    }

    fn embedded(&self, target: &Target) -> Result<Arc<dyn Connector>, String> {
        let place = (&target.name, &target.environment);
        directory::build(&target.settings, &target.endpoint, &self.directory, place)
            .map_err(|error| located(target, &error))
    }

    /// The token of `auth.bearer`, for the origin of `url` and no other.
    fn bearer(&self, target: &Target) -> Result<Option<Secret>, String> {
        let Some(written) = target.endpoint.value.pointer("/auth/bearer") else { return Ok(None) };
        let reference: SecretRef = serde_json::from_value(written.clone())
            .map_err(|_| "`auth.bearer` names a secret: write `{ secret: NAME }`".to_owned())?;
        let url = target.endpoint.value.get("url").and_then(serde_json::Value::as_str).unwrap_or_default();
        self.vault.resolve_ref(&reference, url).map(Some).map_err(|error| error.to_string())
    }

    /// Counts calls under the target's name.
    fn observer(&self, target: &Target) -> Observer {
        let metrics: Arc<TargetMetrics> = self.metrics.target(&target.name);
        Arc::new(move |operation, code, seconds| {
            let answer = code.parse().map_or(Answer::Silence, Answer::Status);
            let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            metrics.request(request(operation), answer, took);
        })
    }
}

/// The metrics' word for an operation of the connector.
fn request(operation: &str) -> Request {
    match operation {
        "list" => Request::List,
        "create" => Request::Create,
        "update" => Request::Update,
        "group-write" => Request::Members,
        "probe" | "discover" => Request::Probe,
        _ => Request::Fetch,
    }
}

fn located(target: &Target, error: &SettingsError) -> String {
    let node = match error.block {
        Block::Settings => &target.settings,
        Block::Endpoint => &target.endpoint,
    };
    format!("{}:{}: {error}", target.origin.file, node.line(&error.pointer))
}

/// The keys that the settings name, else those beside the store, made at the first start.
pub fn keys(settings: &Settings) -> Result<Keys, AppError> {
    let failed = |text: String| AppError::Keys(text);
    if let Some((sign, encrypt)) = &settings.keys {
        let (sign, encrypt) = (key_file(sign)?, key_file(encrypt)?);
        return Keys::from_bytes(&sign, &encrypt).ok_or_else(|| failed("the key files hold no keys".to_owned()));
    }
    let path = settings.store.with_file_name("rosterd.keys");
    let (keys, warnings) = Keys::load_or_make(&path).map_err(|error| failed(error.to_string()))?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(keys)
}

/// A key file holds 32 random bytes, as they are or in base64.
fn key_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, AppError> {
    let shown = path.display();
    let read = std::fs::read(path);
    let bytes =
        Zeroizing::new(read.map_err(|error| AppError::Keys(format!("the key `{shown}` cannot be read: {error}")))?);
    if bytes.len() == KEY_BYTES {
        return Ok(bytes);
    }
    match STANDARD.decode(bytes.trim_ascii()) {
        Ok(key) if key.len() == KEY_BYTES => Ok(Zeroizing::new(key)),
        Ok(_) | Err(_) => Err(AppError::Keys(format!(
            "the key `{shown}` is not 32 bytes; make one with `openssl rand -out {shown} 32`"
        ))),
    }
}
