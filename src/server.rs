//! The HTTP surface: `/api/v1`, health, metrics, and the embedded directory as SCIM.
//!
//! One router serves the daemon's listener and, without any listener, commands of the same
//! process. Everything a request must pass stands in [`routes`], one line a route.
//!
//! # Guarantees
//! - Reads need no token on loopback; every write needs one, and its audit event names whose.
//! - Requests for a host that is no loopback name, or from a page of another origin, are refused.
//! - Every refusal is a problem of RFC 9457; the SCIM view answers with SCIM errors of its own.

pub mod inside;
pub mod listen;
pub mod routes;
pub mod token;
pub mod wire;

mod access;
mod browser;
mod decide;
mod directory;
mod gate;
mod health;
mod input;
mod invites;
mod known;
mod look;
mod page;
mod past;
mod problem;
mod receipt;
mod replay;
mod requests;
mod targets;
mod tokens;
mod undo;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Value;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::clock::Clock;
use crate::connector::view::DirectoryView;
use crate::engine::Engine;
use crate::engine::EngineError;
use crate::metrics::Metrics;
use crate::model::audit::AuditEvent;
use crate::model::ids::TargetName;
use crate::plan::verdict::rights::Scope;
use crate::secrets::keys::Keys;
use crate::server::access::Caller;
use crate::server::gate::Gate;
use crate::server::problem::Refusal;
use crate::server::replay::Replays;
use crate::server::routes::Route;
use crate::store::Store;

pub use crate::server::listen::serve;

/// Requests that read targets, at once: each may list one whole.
const LOOKS: usize = 8;

/// What an API is built from.
pub struct ApiParts {
    /// Does what is asked.
    pub engine: Engine,
    /// What is remembered: the engine's own store.
    pub store: Arc<dyn Store>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The embedded directory, where there is one.
    pub directory: Option<Arc<dyn DirectoryView>>,
    /// [`token::Minted::hash`] of the local token: its holder is `local`, who may do everything.
    pub local_token: Option<String>,
}

/// What every handler works with.
pub struct Api {
    engine: Engine,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    directory: Option<Arc<dyn DirectoryView>>,
    local_token: Option<String>,
    /// What receipts are signed with.
    keys: Option<Arc<Keys>>,
    /// Groups of approvers, with where each has a say; `None`: none are named.
    approvers: Option<BTreeMap<String, Vec<Scope>>>,
    replays: Replays,
    /// Turns of those who ask for what reads targets.
    looks: Semaphore,
    /// Held while a token's name is looked for and taken.
    token_turn: tokio::sync::Mutex<()>,
}

impl Api {
    /// An API over these parts.
    pub fn new(parts: ApiParts) -> Self {
        let ApiParts { engine, store, metrics, clock, directory, local_token } = parts;
        Self {
            engine,
            store,
            metrics,
            clock,
            directory,
            local_token,
            keys: None,
            approvers: None,
            replays: Replays::default(),
            looks: Semaphore::new(LOOKS),
            token_turn: tokio::sync::Mutex::default(),
        }
    }

    /// The same, with the installation's keys: without them no receipt is given.
    #[must_use]
    pub fn signing(mut self, keys: Arc<Keys>) -> Self {
        self.keys = Some(keys);
        self
    }

    /// The same, with the groups of approvers that the configuration names: then nobody else decides.
    #[must_use]
    pub fn approved_by(mut self, approvers: Option<BTreeMap<String, Vec<Scope>>>) -> Self {
        self.approvers = approvers;
        self
    }

    fn event(
        &self,
        caller: &Caller,
        kind: &str,
        target: Option<TargetName>,
        details: BTreeMap<String, Value>,
    ) -> AuditEvent {
        let actor = caller.actor.clone();
        AuditEvent { at: self.clock.now(), target, kind: kind.to_owned(), actor, record: None, cycle: None, details }
    }

    /// Writes down what a caller is about to do, where the engine does not do so itself.
    async fn audit(
        &self,
        caller: &Caller,
        kind: &str,
        target: Option<TargetName>,
        details: BTreeMap<String, Value>,
    ) -> Result<(), EngineError> {
        self.engine.audit(self.event(caller, kind, target, details)).await
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// The whole surface. It asks for no peer address, so it also answers without a listener.
pub fn router(api: Arc<Api>) -> Router {
    let mut router = Router::new();
    for Route { rule, handler } in routes::table() {
        let path = rule.path;
        let gate = Gate { api: Arc::clone(&api), rule };
        router = router.route(path, handler.route_layer(from_fn_with_state(gate, gate::pass)));
    }
    router
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(api)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(constant(header::CACHE_CONTROL, "no-store"))
        .layer(constant(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(constant(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
}

/// Answers name people and, once, a secret: nothing between here and the caller may keep them, and
/// no browser may take them for a page.
fn constant(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}

async fn no_route(uri: Uri) -> Refusal {
    let detail = format!("there is nothing at `{}`", uri.path());
    Refusal::new(StatusCode::NOT_FOUND, "no-route", detail).hint("paths begin with `/api/v1/`")
}

async fn no_method(method: Method, uri: Uri) -> Refusal {
    let detail = format!("`{}` does not take {method}", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "no-method", detail)
}

/// The panic's own text may hold what a request brought along: the panic hook has it, nobody else.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "panic", "rosterd made a mistake here")
        .hint("its log says more; please report it")
        .into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    async fn broken() -> StatusCode {
        panic!("the password is hunter2")
    }

    #[tokio::test]
    async fn a_panic_is_answered_without_its_text() {
        let router = Router::new().route("/", get(broken)).layer(CatchPanicLayer::custom(panicked));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("\"code\":\"panic\"") && !text.contains("hunter2"), "{text}");
    }
}
