//! A whole rosterd in one process: SQLite, the engine, two in-memory targets, and the router.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::Response;
use axum::http::header;
use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use ring::rand::SystemRandom;
use rosterd::clock::Clock;
use rosterd::connector::Connector;
use rosterd::connector::ConnectorError;
use rosterd::connector::view::DirectoryView;
use rosterd::connector::view::ViewKind;
use rosterd::connector::view::ViewPage;
use rosterd::connector::view::ViewQuery;
use rosterd::engine::Engine;
use rosterd::engine::Parts;
use rosterd::engine::Running;
use rosterd::manifest::Documents;
use rosterd::metrics::Metrics;
use rosterd::model::audit::AuditEvent;
use rosterd::model::ids::TargetName;
use rosterd::plan::verdict::rights::Scope;
use rosterd::secrets::keys::Keys;
use rosterd::server::Api;
use rosterd::server::ApiParts;
use rosterd::server::router;
use rosterd::server::token::mint;
use rosterd::store::Store;
use rosterd::store::Token;
use rosterd::store::Write;
use rosterd::stores::sqlite::SqliteStore;
use secrecy::ExposeSecret;
use serde_json::Value;
use serde_json::json;
use tower::ServiceExt;

use crate::api::documents;
use crate::support::process::PATIENCE;
use crate::support::source::MemorySource;
use crate::support::target::MemoryTarget;

/// A clock that tests set.
pub(crate) struct SetClock(Mutex<DateTime<Utc>>);

impl SetClock {
    pub(crate) fn forward(&self, by: TimeDelta) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for SetClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }

    /// What is set here passed: nobody steps this clock.
    fn steady(&self) -> Duration {
        (self.now() - DateTime::UNIX_EPOCH).to_std().unwrap()
    }
}

pub(crate) struct Rig {
    pub(crate) router: Router,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) targets: BTreeMap<TargetName, Arc<MemoryTarget>>,
    pub(crate) local: String,
    pub(crate) folder: tempfile::TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

async fn read(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, text }
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::over(documents(), None).await
    }

    /// The same over other documents of these two targets, and with these groups of approvers.
    pub(crate) async fn over(documents: Documents, approvers: Option<BTreeMap<String, Vec<Scope>>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = Arc::new(Keys::generate().unwrap());
        let store =
            Arc::new(SqliteStore::open(folder.path().join("rosterd.db"), Arc::clone(&keys), "test").await.unwrap());
        let start = DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").unwrap().to_utc();
        let clock = Arc::new(SetClock(Mutex::new(start)));
        let names = ["crm", "erp"].map(TargetName::from);
        let targets = MemoryTarget::of_each(names);
        let reachable = targets.clone();
        let metrics = Arc::new(Metrics::new());
        let engine = Engine::new(Parts {
            store: store.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            source: Arc::new(MemorySource::new(documents)),
            connectors: Arc::new(move |target| Ok(reachable[&target.name].clone() as Arc<dyn Connector>)),
            max_shrink_percent: 20,
        });
        engine.start(Running::Once).await.unwrap();
        let minted = mint(&SystemRandom::new()).unwrap();
        let api = Api::new(ApiParts {
            engine,
            store: store.clone(),
            metrics,
            clock: clock.clone(),
            directory: Some(Arc::new(OneUser)),
            local_token: Some(minted.hash),
        });
        let local = minted.secret.expose_secret().to_owned();
        Self {
            router: router(Arc::new(api.signing(keys).approved_by(approvers))),
            store,
            clock,
            targets,
            local,
            folder,
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        read(self.router.clone().oneshot(request).await.unwrap()).await
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.send(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    /// Asks again until the answer is as it should be: what a cycle saw is written down shortly
    /// after the cycle is answered for.
    pub(crate) async fn get_until(&self, uri: &str, fits: impl Fn(&Value) -> bool) -> Answer {
        let asked = tokio::time::Instant::now();
        loop {
            let answer = self.get(uri).await;
            if fits(&answer.json()) {
                return answer;
            }
            assert!(asked.elapsed() < PATIENCE, "{uri} never came to be as expected: {}", answer.text);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A POST with a token and further headers.
    pub(crate) async fn post(&self, uri: &str, token: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut request = Request::post(uri)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// A POST with the local token.
    pub(crate) async fn local(&self, uri: &str, body: &Value) -> Answer {
        self.post(uri, &self.local, &[], body).await
    }

    pub(crate) async fn get_as(&self, token: &str, uri: &str) -> Answer {
        let request = Request::get(uri).header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Puts a token into the store and gives its secret.
    pub(crate) async fn token(&self, name: &str, right: &str, targets: &[&str]) -> String {
        self.token_of((name, name), right, targets, &[]).await
    }

    /// The same of a person who is in these groups.
    pub(crate) async fn token_of(
        &self,
        (name, subject): (&str, &str),
        right: &str,
        targets: &[&str],
        groups: &[&str],
    ) -> String {
        let minted = mint(&SystemRandom::new()).unwrap();
        let now = self.clock.now();
        let token = Token {
            name: name.to_owned(),
            hash: minted.hash,
            subject: subject.to_owned(),
            right: right.to_owned(),
            targets: targets.iter().copied().map(TargetName::from).collect(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            labels: BTreeMap::new(),
            created: now,
            expires: now + TimeDelta::days(1),
        };
        self.store.commit(vec![Write::Token(token)], self.store.fence()).await.unwrap();
        minted.secret.expose_secret().to_owned()
    }

    /// Events of one kind in every chain.
    pub(crate) async fn events(&self, kind: &str) -> Vec<AuditEvent> {
        let mut events = Vec::new();
        for chain in self.store.chains().await.unwrap() {
            events.extend(self.store.audit(chain.as_ref(), 1, 1000).await.unwrap());
        }
        events.into_iter().map(|event| event.event).filter(|event| event.kind == kind).collect()
    }
}

/// An embedded directory that holds one user in the target `crm`.
struct OneUser;

#[async_trait]
impl DirectoryView for OneUser {
    async fn list(&self, target: &TargetName, query: &ViewQuery) -> Result<Option<ViewPage>, ConnectorError> {
        if target.as_str() != "crm" {
            return Ok(None);
        }
        let fits = query.kind == ViewKind::Users
            && query.filter.as_ref().is_none_or(|(name, value)| name == "userName" && value == "ada");
        let resources = if fits && query.skip == 0 && query.count > 0 { vec![ada()] } else { Vec::new() };
        Ok(Some(ViewPage { total: usize::from(fits), resources }))
    }

    async fn get(&self, target: &TargetName, kind: ViewKind, id: &str) -> Result<Option<Value>, ConnectorError> {
        let there = target.as_str() == "crm" && kind == ViewKind::Users && id == "1";
        Ok(there.then(ada))
    }
}

fn ada() -> Value {
    json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": "1", "userName": "ada" })
}
