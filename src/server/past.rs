//! What happened: history and the audit log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use crate::model::audit::ChainedEvent;
use crate::model::history::CycleRecord;
use crate::model::ids::CycleId;
use crate::model::ids::TargetName;
use crate::server::Api;
use crate::server::access::Caller;
use crate::server::access::Reach;
use crate::server::input::Params;
use crate::server::known;
use crate::server::page;
use crate::server::problem::Refusal;
use crate::server::wire::AuditVerdict;
use crate::server::wire::Page;

/// `?target=&before=&limit=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryParams {
    target: Option<TargetName>,
    /// The cycle that ended the page before.
    before: Option<CycleId>,
    limit: Option<usize>,
}

/// `GET /api/v1/history`, newest first.
pub(crate) async fn history(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(params): Params<HistoryParams>,
) -> Result<Json<Page<CycleRecord>>, Refusal> {
    let HistoryParams { target, before, limit } = params;
    let limit = page::limit(limit)?;
    let asked = match (target, &caller.reach) {
        (Some(target), _) => {
            caller.reach_target(&target)?;
            known::target(&api, &target).await?;
            vec![Some(target)]
        }
        (None, Reach::All) => vec![None],
        (None, Reach::Only(targets)) => targets.iter().cloned().map(Some).collect(),
    };
    let mut cycles = Vec::new();
    for target in asked {
        cycles.extend(api.store.cycles(target.as_ref(), before.as_ref(), limit + 1).await?);
    }
    // Ids sort by time.
    cycles.sort_by(|left, right| right.id.cmp(&left.id));
    Ok(Json(page::cut(cycles, limit, |cycle| cycle.id.to_string())))
}

/// `?target=&from=&limit=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditParams {
    /// Whose chain; absent: the installation's.
    target: Option<TargetName>,
    /// The first position to show; chains begin at 1.
    from: Option<u64>,
    limit: Option<usize>,
}

/// `GET /api/v1/audit`, one chain in order.
pub(crate) async fn audit(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(params): Params<AuditParams>,
) -> Result<Json<Page<ChainedEvent>>, Refusal> {
    let AuditParams { target, from, limit } = params;
    let limit = page::limit(limit)?;
    match &target {
        Some(target) => {
            caller.reach_target(target)?;
            known::target(&api, target).await?;
        }
        None => caller.reach_all()?,
    }
    let events = api.store.audit(target.as_ref(), from.unwrap_or(1), limit + 1).await?;
    Ok(Json(page::cut(events, limit, |event| (event.seq + 1).to_string())))
}

/// `GET /api/v1/audit/verify`
pub(crate) async fn verify(State(api): State<Arc<Api>>) -> Result<Json<AuditVerdict>, Refusal> {
    let problems = api.store.verify_audit().await?;
    let chains = api.store.chains().await?.len();
    Ok(Json(AuditVerdict { sound: problems.is_empty(), chains, problems }))
}
