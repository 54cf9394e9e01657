//! Undoing a cycle: what it comes to, and doing it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::engine::status::SyncReport;
use crate::engine::undo::Undo;
use crate::model::ids::CycleId;
use crate::server::Api;
use crate::server::access::Caller;
use crate::server::input::At;
use crate::server::input::Body;
use crate::server::input::checked_reason;
use crate::server::problem::Refusal;
use crate::server::wire::ReasonBody;

/// `GET /api/v1/undo/{cycle}`
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(cycle): At<CycleId>,
) -> Result<Json<Undo>, Refusal> {
    reachable(&api, &caller, &cycle).await.map(Json)
}

/// `POST /api/v1/undo/{cycle}`
pub(crate) async fn run(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(cycle): At<CycleId>,
    Body(ReasonBody { reason }): Body<ReasonBody>,
) -> Result<Json<SyncReport>, Refusal> {
    reachable(&api, &caller, &cycle).await?;
    let reason = checked_reason(reason)?.map(|reason| ("reason".to_owned(), reason.into()));
    let event = api.event(&caller, "undo", None, reason.into_iter().collect::<BTreeMap<_, _>>());
    Ok(Json(api.engine.undo(&cycle, event).await?))
}

/// The cycle's target is known only when it is found, so that is when the caller's reach is asked.
async fn reachable(api: &Api, caller: &Caller, cycle: &CycleId) -> Result<Undo, Refusal> {
    let undo = api.engine.undo_plan(cycle).await?;
    caller.reach_target(&undo.cycle.space.target)?;
    Ok(undo)
}
