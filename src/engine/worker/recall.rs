//! What a target's status shows before its worker has run.

use std::collections::BTreeMap;

use crate::engine::shared::Shared;
use crate::engine::status::TargetStatus;
use crate::engine::worker::cycles;
use crate::model::history::CycleResult;
use crate::model::target::Schedule;
use crate::model::target::Target;
use crate::store::StoreError;

/// How far back the last full cycle is looked for among the keyed ones.
const RECALLED_CYCLES: usize = 100;

/// The status of a target that has not run yet.
fn first_status(target: &Target) -> TargetStatus {
    TargetStatus {
        name: target.name.clone(),
        connector: target.connector.clone(),
        mode: target.mode,
        suspended: false,
        space: None,
        schedule: words(target.schedule.as_ref()),
        next_run: None,
        running: None,
        last_cycle: None,
        last_success: None,
        waiting: 0,
        accounts: BTreeMap::new(),
        unmanaged: 0,
        conflicts: BTreeMap::new(),
        holds: Vec::new(),
        failures: BTreeMap::new(),
        owed: Vec::new(),
        error: None,
    }
}

fn words(schedule: Option<&Schedule>) -> String {
    match schedule {
        None => "on change and on demand".to_owned(),
        Some(Schedule::Cron { cron, time_zone }) => format!("cron `{cron}` in {time_zone}"),
        Some(Schedule::Every(period)) => format!("every {} s", period.as_secs()),
    }
}

/// The status of a target as the store remembers it, until the target is seen again.
pub async fn recalled_status(shared: &Shared, target: &Target) -> Result<TargetStatus, StoreError> {
    let mut status = first_status(target);
    let cycles = shared.store.cycles(Some(&target.name), None, RECALLED_CYCLES).await?;
    let full = cycles.into_iter().filter(|cycle| cycle.full && cycle.ended.is_some());
    for cycle in full {
        if status.last_success.is_none() && cycle.result == Some(CycleResult::Ok) {
            status.last_success = cycle.ended;
        }
        status.last_cycle.get_or_insert(cycle);
    }
    if let Some((space, standing)) = shared.store.standings(&target.name).await?.into_iter().next() {
        status.space = Some(space);
        status.conflicts = cycles::conflicts(&standing);
        status.holds = standing.holds;
        status.failures = standing.failures;
    }
    Ok(status)
}
