//! What stands before every handler: who asks, the right that the table demands, limits on size
//! and time, and answers that are given again.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::extract::RawPathParams;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::model::ids::TargetName;
use crate::server::Api;
use crate::server::access;
use crate::server::access::Caller;
use crate::server::browser;
use crate::server::problem::Refusal;
use crate::server::replay;
use crate::server::routes::Kind;
use crate::server::routes::Reaches;
use crate::server::routes::Rule;
use crate::server::routes::Weight;
use crate::server::token;
use crate::server::wire::Right;

/// A rule, and what it takes to hold it.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) api: Arc<Api>,
    pub(crate) rule: Rule,
}

/// Lets a request through to its handler, or refuses it.
pub(crate) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let limit = time_limit(gate.rule.weight);
    match timeout(limit, gate.admit(request, next)).await {
        Ok(Ok(response)) => response,
        Ok(Err(refusal)) => refusal.into_response(),
        Err(_) => too_slow(limit).into_response(),
    }
}

/// Longest time for a body to arrive: everybody who may ask is on this machine.
const BODY_TIME: Duration = Duration::from_secs(20);

/// Most bytes of a body. Saved plans and folders of documents are large, nothing else is.
fn size_limit(weight: Weight) -> usize {
    match weight {
        Weight::Light => 8 << 20,
        Weight::Look | Weight::Cycle => 64 << 20,
    }
}

/// Longest time that a request may take, the reading of its body included.
fn time_limit(weight: Weight) -> Duration {
    match weight {
        Weight::Light => Duration::from_secs(30),
        // A large target is listed at the pace that it allows.
        Weight::Look => Duration::from_mins(30),
        // 100,000 creations at ten calls a second take three hours.
        Weight::Cycle => Duration::from_hours(12),
    }
}

impl Gate {
    async fn admit(self, request: Request, next: Next) -> Result<Response, Refusal> {
        let (mut parts, body) = request.into_parts();
        browser::check(&parts.headers, &parts.uri)?;
        let Some(right) = self.rule.right else {
            return Ok(next.run(Request::from_parts(parts, body)).await);
        };
        let caller = self.caller(right, &mut parts).await?;
        // Nobody needs a token to have a target listed, so only so many may at once.
        let looks = self.rule.weight == Weight::Look;
        let _turn = if looks { self.api.looks.acquire().await.ok() } else { None };
        let bytes = read(&parts, body, size_limit(self.rule.weight)).await?;
        let key = replay_key(self.rule.kind, &parts, &caller)?;
        parts.extensions.insert(caller);
        let Some(key) = key else {
            return Ok(next.run(Request::from_parts(parts, Body::from(bytes))).await);
        };
        let slot = self.api.replays.slot(&key, &token::hex_sha256(&bytes), Instant::now())?;
        let mut kept = slot.lock().await;
        if let Some(answer) = kept.as_ref() {
            return Ok(answer.again());
        }
        let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
        Ok(self.api.replays.keep(&key, &mut kept, response).await)
    }

    /// Who asks, once it is clear that they may.
    async fn caller(&self, right: Right, parts: &mut Parts) -> Result<Caller, Refusal> {
        let caller = access::authenticate(&self.api, &parts.headers).await?;
        if right > Right::Viewer && !parts.headers.contains_key(header::AUTHORIZATION) {
            return Err(access::no_token());
        }
        caller.need(right)?;
        match self.rule.reaches {
            Reaches::Asked => {}
            Reaches::Everything => caller.reach_all()?,
            Reaches::Path => caller.reach_target(&path_target(parts).await?)?,
        }
        Ok(caller)
    }
}

async fn path_target(parts: &mut Parts) -> Result<TargetName, Refusal> {
    let bad = |detail: String| Refusal::new(StatusCode::BAD_REQUEST, "bad-path", detail);
    let params = RawPathParams::from_request_parts(parts, &()).await.map_err(|error| bad(error.body_text()))?;
    let target = params.iter().find(|(name, _)| *name == "target").map(|(_, value)| TargetName::from(value));
    target.ok_or_else(|| bad("the path names no target".to_owned()))
}

async fn read(parts: &Parts, body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let too_large = || {
        let detail = format!("the body is larger than {} MiB", limit >> 20);
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    };
    let stated = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if stated.and_then(|text| text.parse::<usize>().ok()).is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    match timeout(BODY_TIME, axum::body::to_bytes(body, limit)).await {
        // What breaks off is refused alike: nobody is left to read which of both it was.
        Ok(read) => read.map_err(|_| too_large()),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "slow-body", "the body did not come to its end")
            .hint(format!("send it whole within {} seconds", BODY_TIME.as_secs()))),
    }
}

/// Under which key an answer is kept: the same word from another caller, or for another path, is
/// another key.
fn replay_key(kind: Kind, parts: &Parts, caller: &Caller) -> Result<Option<String>, Refusal> {
    if kind != Kind::Write {
        return Ok(None);
    }
    let Some(value) = parts.headers.get("idempotency-key") else { return Ok(None) };
    let key = replay::key(value)?;
    Ok(Some(format!("{} {} {} {key}", caller.actor, parts.method, parts.uri)))
}

fn too_slow(limit: Duration) -> Refusal {
    let detail = format!("this took longer than {} seconds", limit.as_secs());
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, "too-slow", detail)
        .hint("what was begun goes on; `rosterd status` shows how far it is")
}
