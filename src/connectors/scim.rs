//! Targets that speak SCIM 2.0 (RFC 7643, RFC 7644), as they are and not as they should be.
//!
//! What a target says of itself is asked and not believed; what products do differently is data
//! (`profiles.yaml`); what a listing, a filter or a write proves is decided here by looking.

mod delete;
mod discovery;
mod fault;
mod groups;
mod lookup;
mod paging;
mod patch;
pub mod profile;
mod wire;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use chrono::Utc;
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::connector::Applied;
use crate::connector::Capabilities;
use crate::connector::Connector;
use crate::connector::ConnectorError;
use crate::connector::Found;
use crate::connector::Look;
use crate::connector::Operation;
use crate::connector::PasswordPaths;
use crate::connector::Probe;
use crate::connector::Shape;
use crate::connector::document;
use crate::connector::settings::Block;
use crate::connector::settings::Fields;
use crate::connector::settings::SettingsError;
use crate::connectors::scim::discovery::Service;
use crate::connectors::scim::groups::Members;
use crate::connectors::scim::lookup::Trial;
use crate::connectors::scim::paging::Sink;
use crate::connectors::scim::profile::Profile;
use crate::connectors::scim::profile::UserNameCase;
use crate::connectors::scim::wire::Wire;
use crate::http;
use crate::http::HttpClient;
use crate::http::HttpSettings;
use crate::http::Observer;
use crate::model::account::Account;
use crate::model::ids::Realm;
use crate::model::node::Node;
use crate::model::path::AttributePath;
use crate::model::plan::Coverage;
use crate::secrets::secret::Secret;

/// The key under `spec.connector`.
pub const NAME: &str = "scim";

/// Longest time until a connection stands.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Longest answer: a page of a thousand resources of 30 KB each.
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;

/// What the caller resolved for a connector.
pub struct Wiring {
    /// The token of `auth.bearer`, resolved for the origin of `url`; `None` where there is no `auth`.
    pub bearer: Option<Secret>,
    /// Told of every call.
    pub observer: Observer,
    /// For waiting times that a target states as a moment.
    pub clock: Arc<dyn Clock>,
}

/// Settings and endpoint, read and checked, nothing opened yet.
#[derive(Clone, Debug)]
pub struct ScimSettings {
    /// How the target wants to be spoken to.
    pub profile: Profile,
    /// Which tenant the credential belongs to, where the address does not tell.
    pub tenant: Option<String>,
    /// Base address.
    pub url: reqwest::Url,
    /// Whether `auth` is written.
    pub has_auth: bool,
    /// File with the certificates to trust in place of the system's.
    pub ca: Option<String>,
}

/// Reads settings and endpoint without touching files or the network.
pub fn parse(settings: &Node, endpoint: &Node) -> Result<ScimSettings, SettingsError> {
    let (profile, tenant) = profile::read(settings)?;
    let fields = Fields::of(endpoint, Block::Endpoint, &["url", "auth", "ca"])?;
    let at = |key: &str, message: String| SettingsError::at(Block::Endpoint, key, message);
    let Some(url) = fields.get::<String>("url")? else {
        return Err(at("url", "`url` is missing: the address under which `/Users` lies".to_owned()));
    };
    let url = http::base_url(&url).map_err(|error| at("url", error.message))?;
    let auth = fields.get::<Value>("auth")?;
    let has_auth = auth.is_some();
    if let Some(value) = auth {
        Fields::of(&Node { value, ..Node::default() }, Block::Endpoint, &["bearer"])
            .map_err(|error| SettingsError { pointer: format!("/auth{}", error.pointer), ..error })?;
    } else if !http::is_loopback(&url) {
        return Err(at("auth", "`auth` is missing: it may be left out for loopback addresses only".to_owned()));
    }
    Ok(ScimSettings { profile, tenant, url, has_auth, ca: fields.get("ca")? })
}

/// Makes a connector. Reads the CA file; connects to nothing yet.
pub fn build(settings: &Node, endpoint: &Node, wiring: Wiring) -> Result<Arc<dyn Connector>, SettingsError> {
    let ScimSettings { profile, tenant, url, has_auth, ca } = parse(settings, endpoint)?;
    let Wiring { bearer, observer, clock } = wiring;
    if has_auth && bearer.is_none() {
        let message = "the secret of `auth.bearer` was not resolved; without it nothing is sent";
        return Err(SettingsError::at(Block::Endpoint, "auth", message));
    }
    let ca = match ca {
        Some(file) => Some(std::fs::read(&file).map_err(|error| {
            SettingsError::at(Block::Endpoint, "ca", format!("the CA file `{file}` cannot be read: {error}"))
        })?),
        None => None,
    };
    let realm = realm(&url, tenant.as_deref());
    let http = HttpClient::new(HttpSettings {
        url: url.into(),
        bearer,
        ca,
        connect_limit: CONNECT_LIMIT.min(profile.call_limit),
        call_limit: profile.call_limit,
        answer_limit: ANSWER_LIMIT,
        observer,
        clock,
    })
    .map_err(|error| SettingsError::at(Block::Endpoint, "ca", error.message))?;
    let wire = Wire { http, media_type: profile.media_type.as_str(), patience: profile.call_limit };
    Ok(Arc::new(Scim {
        wire,
        profile,
        realm,
        service: OnceCell::new(),
        puts: AtomicBool::new(false),
        trials: Mutex::new(BTreeMap::new()),
    }))
}

/// Host, port where it is written, and path: hosts that serve many tenants tell them apart by path
/// or, where a profile says so, by the token alone.
fn realm(url: &reqwest::Url, tenant: Option<&str>) -> Realm {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    let tenant = tenant.map(|tenant| format!("#{tenant}")).unwrap_or_default();
    Realm::from(format!("{host}{port}{path}{tenant}"))
}

/// One SCIM target.
struct Scim {
    wire: Wire,
    profile: Profile,
    realm: Realm,
    service: OnceCell<Service>,
    /// Learned: the target takes no PATCH on users.
    puts: AtomicBool,
    /// Learned: what filters are good for, by path.
    trials: Mutex<BTreeMap<AttributePath, Trial>>,
}

impl Scim {
    /// A resource as an account. `members`: who is in which group, where that was read.
    async fn account(
        &self,
        resource: &Value,
        shape: &Shape,
        members: Option<&Members>,
    ) -> Result<Account, ConnectorError> {
        let mut account = document::account(resource, shape).map_err(|error| ConnectorError {
            class: crate::connector::ErrorClass::Transient,
            message: error.to_string(),
            retry_after: None,
        })?;
        if let Some(members) = members {
            let held: Vec<_> = members.of(&account.id).collect();
            account.memberships.extend(held);
            account.memberships.extend(self.asked(shape, &account.id).await?);
        }
        if !self.has_versions().await {
            account.version = None;
        }
        Ok(account)
    }

    /// The same, with the groups read for it.
    async fn account_with_groups(&self, resource: &Value, shape: &Shape) -> Result<Account, ConnectorError> {
        let members = self.members(shape).await?;
        self.account(resource, shape, Some(&members)).await
    }
}

#[async_trait]
impl Connector for Scim {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            batch: 1,
            visible_within: self.profile.visible_within,
            call_limit: self.profile.call_limit,
            reactivates: self.profile.reactivates,
        }
    }

    fn time(&self) -> Option<DateTime<Utc>> {
        self.wire.http.time()
    }

    /// RFC 7643 section 4.1.1: a text that is written and never returned.
    fn password(&self) -> Option<PasswordPaths> {
        let value = AttributePath::parse("password").ok()?;
        Some(PasswordPaths { value, must_change: self.profile.must_change.clone() })
    }

    fn canonicalize(&self, path: &AttributePath, value: &Value) -> Value {
        let parts = path.parts();
        let whole = parts.filter.is_none() && parts.sub.is_none();
        let canonical =
            document::canonical(&if whole { document::written(&parts, value, None) } else { value.clone() });
        match canonical.as_str() {
            Some(name) if *path == AttributePath::user_name() && self.profile.user_name_case == UserNameCase::Lower => {
                Value::from(name.to_lowercase())
            }
            _ => canonical,
        }
    }

    async fn probe(&self) -> Result<Probe, ConnectorError> {
        self.knock().await
    }

    async fn observe(&self, shape: &Shape, pages: mpsc::Sender<Vec<Account>>) -> Result<Coverage, ConnectorError> {
        let members = self.members(shape).await?;
        self.list(&mut Sink::new(shape, &members, &pages)).await
    }

    async fn fetch(&self, shape: &Shape, look: &Look) -> Result<Found, ConnectorError> {
        self.look(shape, look).await
    }

    async fn apply(&self, shape: &Shape, batch: &[Operation]) -> Vec<Result<Applied, ConnectorError>> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for operation in batch {
            outcomes.push(self.write(shape, operation).await);
        }
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(value: Value) -> Node {
        Node { value, ..Node::default() }
    }

    #[test]
    fn a_realm_is_host_port_path_and_tenant() {
        for (url, tenant, expected) in [
            ("https://crm.example/scim/v2/", None, "crm.example/scim/v2"),
            ("https://crm.example:8443", None, "crm.example:8443"),
            ("https://api.slack.com/scim/v2", Some("acme"), "api.slack.com/scim/v2#acme"),
        ] {
            assert_eq!(realm(&reqwest::Url::parse(url).unwrap(), tenant).as_str(), expected);
        }
    }

    #[test]
    fn endpoints_that_cannot_be_used_are_pointed_at() {
        for (endpoint, pointer) in [
            (json!({}), "/url"),
            (json!({"url": "crm.example"}), "/url"),
            (json!({"url": "https://crm.example"}), "/auth"),
            (json!({"url": "https://crm.example", "auth": {"basic": "x"}}), "/auth/basic"),
            (json!({"url": "http://127.0.0.1:1", "ur1": "x"}), "/ur1"),
        ] {
            let error = parse(&node(json!({})), &node(endpoint.clone())).unwrap_err();
            assert_eq!((error.block, error.pointer.as_str()), (Block::Endpoint, pointer), "{endpoint}");
        }
        assert!(parse(&Node::default(), &node(json!({"url": "http://127.0.0.1:1"}))).is_ok());
    }
}
