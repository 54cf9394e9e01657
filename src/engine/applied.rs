//! Changes of a saved plan that follow no longer because they were made already.

use std::collections::BTreeSet;

use crate::engine::EngineError;
use crate::engine::past;
use crate::engine::shared::Shared;
use crate::engine::status::SyncReport;
use crate::model::history::OutcomeResult;
use crate::plan::render::essence;

/// Tells apart, of what no longer follows, what was made before and leaves nothing to do for its user.
pub(crate) async fn tell_apart(shared: &Shared, mut report: SyncReport) -> Result<SyncReport, EngineError> {
    if report.stale.is_empty() {
        return Ok(report);
    }
    let planned: BTreeSet<_> = report.plan.changes.iter().map(|change| change.record.clone()).collect();
    for change in std::mem::take(&mut report.stale) {
        let asked = essence(&change);
        let of = (&report.cycle.space, &change.record);
        let made = past::last_call(&*shared.store, of, |intent, outcome| {
            outcome == Some(&OutcomeResult::Done) && essence(&intent.change) == asked
        });
        let made = made.await?.is_some();
        let is_made = made && !planned.contains(&change.record);
        if is_made { &mut report.applied } else { &mut report.stale }.push(change);
    }
    Ok(report)
}
