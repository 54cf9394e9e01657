//! Named secrets and the origins that each of them is bound to.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use reqwest::Url;
use serde::Deserialize;
use serde::Serialize;

use crate::secrets::secret::Secret;

/// How a document names a secret: `{ secret: NAME }`, or `{ env: NAME }` where there is no
/// configuration that could bind one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretRef {
    /// A name under `secrets` of the configuration.
    Secret(String),
    /// A variable of the environment, for loopback endpoints only.
    Env(String),
}

/// Where a secret is read, each time anew, so that a rotated one is used at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file; white space at its end is not part of the secret.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
}

/// One entry of `secrets` in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundSecret {
    /// Where it is read.
    pub source: SecretSource,
    /// Origins that may see it: `https://crm.example`, no path.
    pub origins: BTreeSet<String>,
}

/// Why a secret was not given out. No text holds any part of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nobody declared it.
    #[error("no secret is named `{name}`; declare it under `secrets` in rosterd.yaml, with the origins it is for")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// It is not for that origin.
    #[error(
        "the secret `{name}` is not bound to `{origin}` (it is for {bound}); nothing was sent; add the origin under `secrets.{name}.origins` if it is right"
    )]
    NotBound {
        /// The name asked for.
        name: String,
        /// The origin asked for.
        origin: String,
        /// The origins it is bound to, in words.
        bound: String,
    },
    /// `{ env: NAME }` towards another machine.
    #[error(
        "`{{ env: {name} }}` is for loopback endpoints only and `{origin}` is none; use `{{ secret: NAME }}` and bind it in rosterd.yaml"
    )]
    NotLoopback {
        /// The variable asked for.
        name: String,
        /// The origin asked for.
        origin: String,
    },
    /// Its source holds nothing.
    #[error("the secret `{name}` cannot be read from {source_text}: {reason}")]
    Missing {
        /// The name asked for.
        name: String,
        /// Where it was looked for.
        source_text: String,
        /// Why it is not there.
        reason: String,
    },
    /// Not an origin.
    #[error("`{text}` is not an origin; write scheme, host and port alone: `https://crm.example`")]
    NotAnOrigin {
        /// What was written.
        text: String,
    },
}

/// Where `PostgreSQL` listens unless told otherwise.
const POSTGRES_PORT: u16 = 5432;
/// Where mail servers take mails from programs that sign in (RFC 6409).
const SMTP_PORT: u16 = 587;

type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Gives secrets out, each to its own origins.
#[derive(Clone)]
pub struct Vault {
    entries: BTreeMap<String, BoundSecret>,
    environment: Environment,
}

impl Vault {
    /// A vault over declared secrets. `environment` answers for variables: one module reads them.
    ///
    /// # Errors
    /// [`SecretError::NotAnOrigin`] where a bound origin carries a path, a user or no host.
    pub fn new(
        declared: BTreeMap<String, BoundSecret>,
        environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, SecretError> {
        let mut entries = BTreeMap::new();
        for (name, BoundSecret { source, origins }) in declared {
            let origins = origins.iter().map(|text| bare_origin(text)).collect::<Result<_, _>>()?;
            entries.insert(name, BoundSecret { source, origins });
        }
        Ok(Self { entries, environment: Arc::new(environment) })
    }

    /// A vault that holds nothing, for running without a configuration: `{ env: NAME }` works.
    pub fn empty(environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { entries: BTreeMap::new(), environment: Arc::new(environment) }
    }

    /// The secret `name`, for sending to `origin` (any URL of it) and nowhere else.
    pub fn resolve(&self, name: &str, origin: &str) -> Result<Secret, SecretError> {
        let entry = self.entries.get(name).ok_or_else(|| SecretError::Unknown { name: name.to_owned() })?;
        let origin = origin_of(origin)?;
        if !entry.origins.contains(&origin) {
            return Err(SecretError::NotBound { name: name.to_owned(), origin, bound: in_words(&entry.origins) });
        }
        self.read(name, &entry.source)
    }

    /// What a document refers to, for sending to `origin` and nowhere else.
    pub fn resolve_ref(&self, reference: &SecretRef, origin: &str) -> Result<Secret, SecretError> {
        match reference {
            SecretRef::Secret(name) => self.resolve(name, origin),
            SecretRef::Env(name) if is_loopback(origin)? => self.read(name, &SecretSource::Env(name.clone())),
            SecretRef::Env(name) => Err(SecretError::NotLoopback { name: name.clone(), origin: origin_of(origin)? }),
        }
    }

    /// The secret `name`, which is itself the URL that it is for: given out where it leads to an
    /// origin that it is bound to.
    pub fn resolve_url(&self, name: &str) -> Result<Secret, SecretError> {
        let entry = self.entries.get(name).ok_or_else(|| SecretError::Unknown { name: name.to_owned() })?;
        let secret = self.read(name, &entry.source)?;
        // Not the error of `origin_of`, which may show what is no URL and holds a password.
        let origin = origin_of(secret.expose()).map_err(|_| SecretError::Missing {
            name: name.to_owned(),
            source_text: "its source".to_owned(),
            reason: "it is no URL with a host; write `postgres://USER:PASSWORD@HOST:PORT/DATABASE`".to_owned(),
        })?;
        if !entry.origins.contains(&origin) {
            return Err(SecretError::NotBound { name: name.to_owned(), origin, bound: in_words(&entry.origins) });
        }
        Ok(secret)
    }

    /// Whether a secret of that name is declared.
    pub fn knows(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    fn read(&self, name: &str, source: &SecretSource) -> Result<Secret, SecretError> {
        let missing =
            |source_text: String, reason: String| SecretError::Missing { name: name.to_owned(), source_text, reason };
        let (text, place) = match source {
            SecretSource::File(path) => {
                let place = format!("the file `{}`", path.display());
                (fs::read_to_string(path).map_err(|error| missing(place.clone(), error.to_string()))?, place)
            }
            SecretSource::Env(variable) => {
                let place = format!("the environment variable `{variable}`");
                let text = (self.environment)(variable);
                (text.ok_or_else(|| missing(place.clone(), "it is not set".to_owned()))?, place)
            }
        };
        let text = zeroize::Zeroizing::new(text);
        match text.trim_end() {
            "" => Err(missing(place, "it is empty".to_owned())),
            secret => Ok(Secret::new(secret)),
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// Scheme, host and port of a URL, in the one form in which they are compared (RFC 6454).
pub fn origin_of(url: &str) -> Result<String, SecretError> {
    let not = || SecretError::NotAnOrigin { text: without_user(url) };
    let url = Url::parse(url).map_err(|_| not())?;
    if matches!(url.scheme(), "postgres" | "postgresql") {
        // To the standard for URLs these schemes are opaque, so their parts are put together here.
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(not)?.to_ascii_lowercase();
        return Ok(format!("postgres://{host}:{}", url.port().unwrap_or(POSTGRES_PORT)));
    }
    if url.scheme() == "smtp" {
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(not)?.to_ascii_lowercase();
        return Ok(format!("smtp://{host}:{}", url.port().unwrap_or(SMTP_PORT)));
    }
    let origin = url.origin();
    if !origin.is_tuple() || !matches!(url.scheme(), "http" | "https") {
        return Err(not());
    }
    Ok(origin.ascii_serialization())
}

/// Whether a URL leads to this machine by a literal loopback address or `localhost`.
pub fn is_loopback(url: &str) -> Result<bool, SecretError> {
    let parsed = Url::parse(&origin_of(url)?).map_err(|_| SecretError::NotAnOrigin { text: without_user(url) })?;
    let host = parsed.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    Ok(host == "localhost" || literal.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

/// A bound origin: no path, no query, no user, so that nobody believes a path were compared.
fn bare_origin(text: &str) -> Result<String, SecretError> {
    let origin = origin_of(text)?;
    let bare = Url::parse(text).is_ok_and(|url| {
        matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none() && url.username().is_empty()
    });
    if bare { Ok(origin) } else { Err(SecretError::NotAnOrigin { text: without_user(text) }) }
}

/// A URL may carry a password; an error must not.
fn without_user(url: &str) -> String {
    match (url.find("//"), url.rfind('@')) {
        (Some(start), Some(at)) if start < at => {
            format!("{}//***{}", url.get(..start).unwrap_or_default(), url.get(at..).unwrap_or_default())
        }
        _ => url.to_owned(),
    }
}

fn in_words(origins: &BTreeSet<String>) -> String {
    if origins.is_empty() {
        return "no origin at all".to_owned();
    }
    origins.iter().map(|origin| format!("`{origin}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(origins: &[&str]) -> Result<Vault, SecretError> {
        let entry = BoundSecret {
            source: SecretSource::Env("CRM_TOKEN".to_owned()),
            origins: origins.iter().map(|text| (*text).to_owned()).collect(),
        };
        Vault::new(BTreeMap::from([("crm".to_owned(), entry)]), |name| {
            (name == "CRM_TOKEN").then(|| "t0k3n\n".to_owned())
        })
    }

    #[test]
    fn a_secret_goes_to_the_origins_it_is_bound_to_whatever_their_spelling() {
        let vault = vault(&["https://CRM.example:443"]).unwrap();
        let secret = vault.resolve("crm", "https://crm.example/scim/v2/Users?x=1").unwrap();
        assert_eq!(secret.expose(), "t0k3n");
    }

    #[test]
    fn a_secret_goes_to_no_other_origin() {
        let vault = vault(&["https://crm.example"]).unwrap();
        for url in [
            "http://crm.example",
            "https://crm.example:8443",
            "https://crm.example.evil.example",
            "https://evil.example/https://crm.example",
            "https://crm.example@evil.example/",
            "https://sub.crm.example",
        ] {
            let error = vault.resolve("crm", url).unwrap_err();
            assert!(matches!(error, SecretError::NotBound { .. }), "{url}: {error}");
            assert!(!error.to_string().contains("t0k3n"));
        }
        assert!(matches!(vault.resolve("crm", "ftp://crm.example"), Err(SecretError::NotAnOrigin { .. })));
        assert!(matches!(vault.resolve("other", "https://crm.example"), Err(SecretError::Unknown { .. })));
    }

    #[test]
    fn a_url_that_is_a_secret_is_given_out_where_it_leads_to_its_own_origin() {
        let resolve = |url: &'static str, origin: &str| {
            let source = SecretSource::Env("DB".to_owned());
            let entry = BoundSecret { source, origins: BTreeSet::from([origin.to_owned()]) };
            let vault = Vault::new(BTreeMap::from([("db".to_owned(), entry)]), move |_| Some(url.to_owned())).unwrap();
            vault.resolve_url("db").map(|secret| secret.expose().to_owned())
        };
        let url = "postgres://ada:t0k3n@DB.example/state?sslmode=verify-full";
        assert_eq!(resolve(url, "postgresql://db.example:5432").unwrap(), url);
        for (url, origin) in [
            (url, "postgres://db.example:5433"),
            (url, "https://db.example"),
            ("postgres://ada:t0k3n@evil.example/state", "postgres://db.example"),
            ("postgres:ada:t0k3n@db.example", "postgres://db.example"),
        ] {
            let error = resolve(url, origin).unwrap_err().to_string();
            assert!(!error.contains("t0k3n"), "{error}");
        }
    }

    #[test]
    fn an_origin_with_a_path_binds_nothing() {
        for text in ["https://crm.example/scim", "crm.example", "https://a:b@crm.example", "https://", "*"] {
            let error = vault(&[text]).unwrap_err().to_string();
            assert!(error.contains("write scheme, host and port alone") && !error.contains("a:b"), "{error}");
        }
    }

    #[test]
    fn a_variable_named_by_a_document_goes_to_loopback_only() {
        let vault = Vault::empty(|_| Some("x".to_owned()));
        let env = SecretRef::Env("TOKEN".to_owned());
        for url in ["http://127.0.0.1:9001/scim", "http://[::1]:9001", "http://localhost:80"] {
            assert!(vault.resolve_ref(&env, url).is_ok(), "{url}");
        }
        for url in ["https://crm.example", "http://localhost.evil.example", "http://10.0.0.1"] {
            assert!(matches!(vault.resolve_ref(&env, url), Err(SecretError::NotLoopback { .. })), "{url}");
        }
        let named = SecretRef::Secret("crm".to_owned());
        assert!(matches!(vault.resolve_ref(&named, "http://127.0.0.1"), Err(SecretError::Unknown { .. })));
    }

    #[test]
    fn a_file_is_read_anew_each_time_and_an_empty_one_is_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let entry = BoundSecret {
            source: SecretSource::File(path.clone()),
            origins: BTreeSet::from(["https://crm.example".to_owned()]),
        };
        let vault = Vault::new(BTreeMap::from([("crm".to_owned(), entry)]), |_| None).unwrap();
        let resolve = || vault.resolve("crm", "https://crm.example").map(|secret| secret.expose().to_owned());
        assert!(resolve().unwrap_err().to_string().contains("cannot be read from the file"));
        fs::write(&path, "one\n").unwrap();
        assert_eq!(resolve().unwrap(), "one");
        fs::write(&path, "two").unwrap();
        assert_eq!(resolve().unwrap(), "two");
        fs::write(&path, "\n").unwrap();
        assert!(resolve().unwrap_err().to_string().contains("it is empty"));
    }

    #[test]
    fn a_reference_is_written_as_a_map_of_one_key() {
        let parse = |text: &str| serde_json::from_str::<SecretRef>(text);
        assert_eq!(parse(r#"{"secret":"crm"}"#).unwrap(), SecretRef::Secret("crm".to_owned()));
        assert_eq!(parse(r#"{"env":"TOKEN"}"#).unwrap(), SecretRef::Env("TOKEN".to_owned()));
        assert!(parse(r#""t0k3n""#).is_err());
    }
}
