//! A person's word. The engine records and audits each decision with whose it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::engine::status::SourceStatus;
use crate::engine::status::Status;
use crate::model::decision::Decision;
use crate::model::decision::DecisionKind;
use crate::model::ids::Digest;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::server::Api;
use crate::server::access::Caller;
use crate::server::input::At;
use crate::server::input::Body;
use crate::server::input::checked_reason;
use crate::server::problem::Refusal;
use crate::server::problem::invalid;
use crate::server::wire::DigestBody;
use crate::server::wire::ReasonBody;
use crate::server::wire::ReleaseBody;
use crate::server::wire::RevokeBody;
use crate::server::wire::StartBody;
use crate::server::wire::StopBody;

/// What is decided about, and why.
struct Matter {
    target: Option<TargetName>,
    digest: Option<Digest>,
    reason: Option<String>,
}

async fn decided(api: &Api, caller: Caller, kind: DecisionKind, matter: Matter) -> Result<Json<Decision>, Refusal> {
    let Matter { target, digest, reason } = matter;
    let reason = checked_reason(reason)?;
    let decision = Decision { target, digest, reason, ..Decision::new(kind, caller.actor, api.clock.now()) };
    api.engine.decide(decision.clone()).await?;
    Ok(Json(decision))
}

/// `POST /api/v1/targets/{target}/suspend`
pub(crate) async fn suspend(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(target): At<TargetName>,
    Body(ReasonBody { reason }): Body<ReasonBody>,
) -> Result<Json<Decision>, Refusal> {
    let matter = Matter { target: Some(target), digest: None, reason };
    decided(&api, caller, DecisionKind::Suspend, matter).await
}

/// `POST /api/v1/targets/{target}/resume`
pub(crate) async fn resume(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(target): At<TargetName>,
    Body(ReasonBody { reason }): Body<ReasonBody>,
) -> Result<Json<Decision>, Refusal> {
    let matter = Matter { target: Some(target), digest: None, reason };
    decided(&api, caller, DecisionKind::Resume, matter).await
}

/// `POST /api/v1/targets/{target}/enforce`
pub(crate) async fn enforce(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(target): At<TargetName>,
    Body(DigestBody { digest, reason }): Body<DigestBody>,
) -> Result<Json<Decision>, Refusal> {
    let matter = Matter { target: Some(target), digest: Some(digest), reason };
    decided(&api, caller, DecisionKind::Enforce, matter).await
}

/// `POST /api/v1/holds/{digest}/release`
pub(crate) async fn release(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(digest): At<Digest>,
    Body(ReleaseBody { target, reason }): Body<ReleaseBody>,
) -> Result<Json<Decision>, Refusal> {
    caller.reach_target(&target)?;
    let matter = Matter { target: Some(target), digest: Some(digest), reason };
    decided(&api, caller, DecisionKind::Release, matter).await
}

/// `POST /api/v1/users/{user}/revoke`
pub(crate) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(user): At<RecordId>,
    Body(RevokeBody { until, reason }): Body<RevokeBody>,
) -> Result<Json<Decision>, Refusal> {
    let reason = checked_reason(reason)?;
    let decision = Decision::new(DecisionKind::Revoke, caller.actor, api.clock.now());
    said(&api, Decision { record: Some(user), until, reason, ..decision }).await
}

/// `POST /api/v1/users/{user}/restore`
pub(crate) async fn restore(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(user): At<RecordId>,
    Body(ReasonBody { reason }): Body<ReasonBody>,
) -> Result<Json<Decision>, Refusal> {
    let reason = checked_reason(reason)?;
    let decision = Decision::new(DecisionKind::Restore, caller.actor, api.clock.now());
    said(&api, Decision { record: Some(user), reason, ..decision }).await
}

/// `POST /api/v1/stop`
pub(crate) async fn stop(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(StopBody { halts, reason }): Body<StopBody>,
) -> Result<Json<Decision>, Refusal> {
    let reason = Some(demanded(reason)?);
    let decision = Decision::new(DecisionKind::Stop, caller.actor, api.clock.now());
    said(&api, Decision { halts: Some(halts), reason, ..decision }).await
}

/// `POST /api/v1/start`
pub(crate) async fn start(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(StartBody { reason }): Body<StartBody>,
) -> Result<Json<Decision>, Refusal> {
    let reason = Some(demanded(reason)?);
    said(&api, Decision { reason, ..Decision::new(DecisionKind::Start, caller.actor, api.clock.now()) }).await
}

async fn said(api: &Api, decision: Decision) -> Result<Json<Decision>, Refusal> {
    api.engine.decide(decision.clone()).await?;
    Ok(Json(decision))
}

/// A reason that everybody will ask for.
fn demanded(reason: String) -> Result<String, Refusal> {
    checked_reason(Some(reason))?.ok_or_else(|| invalid("say why: everybody who finds calls halted will ask"))
}

/// `POST /api/v1/source/accept-shrink`
pub(crate) async fn accept_shrink(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(DigestBody { digest, reason }): Body<DigestBody>,
) -> Result<Json<Decision>, Refusal> {
    let matter = Matter { target: None, digest: Some(digest), reason };
    decided(&api, caller, DecisionKind::AcceptShrink, matter).await
}

/// `POST /api/v1/clock/trust`
pub(crate) async fn trust_clock(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(ReasonBody { reason }): Body<ReasonBody>,
) -> Result<Json<Status>, Refusal> {
    let reason = checked_reason(reason)?.map(|reason| ("reason".to_owned(), reason.into()));
    let event = api.event(&caller, "trust-clock", None, reason.into_iter().collect());
    api.engine.trust_clock(event).await?;
    Ok(Json(api.engine.status()))
}

/// `POST /api/v1/source/reload`
pub(crate) async fn reload(State(api): State<Arc<Api>>, caller: Caller) -> Result<Json<SourceStatus>, Refusal> {
    api.audit(&caller, "reload", None, BTreeMap::new()).await?;
    Ok(Json(api.engine.reload().await?))
}
