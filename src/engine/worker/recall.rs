//! What a target's status shows before its worker has run.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::shared::Shared;
use crate::engine::status::Owed;
use crate::engine::status::TargetStatus;
use crate::engine::worker::cycles;
use crate::metrics::OwedReason;
use crate::model::change::Effect;
use crate::model::history::CycleResult;
use crate::model::history::Standing;
use crate::model::request::RequestState;
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
        explained: 0,
        drifted: BTreeMap::new(),
        conflicts: BTreeMap::new(),
        holds: Vec::new(),
        failures: BTreeMap::new(),
        owed: Vec::new(),
        error: None,
        quarantine: None,
        requests: 0,
    }
}

fn words(schedule: Option<&Schedule>) -> String {
    match schedule {
        None => "on change and on demand".to_owned(),
        Some(Schedule::Cron { cron, time_zone }) => format!("cron `{cron}` in {time_zone}"),
        Some(Schedule::Every(period)) => format!("every {}", short(*period)),
    }
}

/// The status of a target as the store remembers it, until the target is seen again. Where the
/// store does not answer, an empty one: what is shown must not keep a worker from starting.
pub async fn recalled_status(shared: &Shared, target: &Target) -> TargetStatus {
    recalled(shared, target).await.unwrap_or_else(|error| {
        tracing::error!(target = %target.name, %error, "what was last known of the target cannot be read");
        first_status(target)
    })
}

async fn recalled(shared: &Shared, target: &Target) -> Result<TargetStatus, StoreError> {
    let mut status = first_status(target);
    let cycles = shared.store.cycles(Some(&target.name), None, RECALLED_CYCLES).await?;
    let full = cycles.into_iter().filter(|cycle| cycle.full && cycle.ended.is_some());
    for cycle in full {
        if status.last_success.is_none() && cycle.result == Some(CycleResult::Ok) {
            status.last_success = cycle.ended;
        }
        status.last_cycle.get_or_insert(cycle);
    }
    // Until the target answers, by its environment: where it is cannot be told before.
    let waits = shared.store.requests(&target.name).await?.into_iter();
    let waits = waits
        .filter(|(space, request)| space.environment == target.environment && request.state == RequestState::Pending);
    status.requests = waits.count();
    if let Some((space, standing)) = shared.store.standings(&target.name).await?.into_iter().next() {
        status.space = Some(space);
        status.conflicts = cycles::conflicts(&target.name, &standing);
        status.drifted = cycles::drifted(&standing);
        status.owed = held(&standing);
        status.holds = standing.holds;
        status.failures = standing.failures;
    }
    Ok(status)
}

/// Narrowing that a guardrail held when the target was last planned.
fn held(standing: &Standing) -> Vec<Owed> {
    let Some(since) = standing.at else { return Vec::new() };
    let changes = standing.holds.iter().flat_map(|hold| &hold.changes);
    let narrowing = changes.filter(|change| change.effect == Effect::Narrows);
    let records: BTreeSet<_> = narrowing.map(|change| change.record.clone()).collect();
    records.into_iter().map(|record| Owed { record, since, reason: OwedReason::Hold }).collect()
}

/// The duration as documents write it: `90s`, `15m`, `1h`, `14d`.
fn short(period: Duration) -> String {
    let seconds = period.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(length, _)| seconds > 0 && seconds.is_multiple_of(*length));
    unit.map_or_else(|| format!("{seconds}s"), |(length, word)| format!("{}{word}", seconds / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_read_as_documents_write_them() {
        for text in ["90s", "15m", "1h", "36h", "14d"] {
            assert_eq!(short(crate::schedule::parse_duration(text).unwrap()), text);
        }
    }
}
