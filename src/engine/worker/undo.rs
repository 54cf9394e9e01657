//! Carrying out the undoing of a cycle: a plan of its own, under today's limits.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::EngineError;
use crate::engine::worker::Reply;
use crate::engine::worker::Worker;
use crate::engine::worker::full::Speaks;
use crate::engine::worker::keyed::Dirty;
use crate::model::account::Account;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::history::Trigger;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::plan::Coverage;
use crate::model::plan::Plan;
use crate::model::plan::Quiet;
use crate::model::projection::Desired;

impl Worker {
    /// Makes `changes` of the accounts in `seen`, which a person asked for.
    pub(super) async fn undo(&mut self, changes: Vec<Change>, seen: BTreeMap<AccountId, Arc<Account>>, reply: Reply) {
        let name = &self.handle.target.name;
        let refusal = match &self.place {
            _ if self.suspended() => Some(self.is_suspended()),
            _ if !self.may_write() => {
                Some(format!("target `{name}` is only observed; `mode: enforce` lets it be written"))
            }
            Some(place) if self.door.is_open() => {
                let busy = |record: &RecordId| self.is_busy(record) || self.has_open_call(record);
                changes.iter().find(|change| busy(&change.record)).map(|change| {
                    format!(
                        "something is under way or not known to have ended for `{}` in `{}`; ask again in a moment",
                        change.record, place.space.target
                    )
                })
            }
            Some(_) | None => Some(self.door.error().unwrap_or("the target was not reached yet; ask again").to_owned()),
        };
        let Some(space) = self.place.as_ref().map(|place| place.space.clone()).filter(|_| refusal.is_none()) else {
            let words = refusal.unwrap_or_default();
            // A caller that went away needs no answer.
            drop(reply.send(Err(EngineError::Target(words))));
            return;
        };
        let (overtaken, changes): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| self.is_overtaken(change));
        if changes.is_empty() {
            let words = "for everybody concerned something newer is due; `rosterd status` shows it".to_owned();
            drop(reply.send(Err(EngineError::Stale(words))));
            return;
        }
        let records: BTreeSet<_> = changes.iter().map(|change| change.record.clone()).collect();
        let plan = Plan {
            space,
            mode: self.handle.target.mode,
            coverage: Coverage::Keyed,
            changes,
            skips: Vec::new(),
            quiet: Quiet::default(),
            unmanaged: Vec::new(),
            accounts: BTreeMap::new(),
            holds: Vec::new(),
            administrators: None,
        };
        let plan = self.with_held(plan, &records);
        let Some(plan) = self.guard(plan, None).await else {
            let words = "the store does not answer; nothing was undone, ask again";
            drop(reply.send(Err(EngineError::Target(words.to_owned()))));
            return;
        };
        let Some(cycle) = self.begin_cycle(Trigger::Manual, false, records.clone(), Some(reply)) else { return };
        self.note_stale(&cycle, overtaken);
        let now = self.shared.now();
        for record in &records {
            self.await_look(record, Dirty { cycle: Some(cycle.clone()), ..Dirty::now(Trigger::Manual, now) });
        }
        self.stand(&plan, Speaks::For(&records), &seen);
        self.hand_over(&plan, &records, &seen);
    }

    /// Whether something newer than what is undone is due for the user, or would be given against what
    /// is declared by now: the look of whoever asked is older than the table (L5, L14).
    fn is_overtaken(&self, change: &Change) -> bool {
        let record = &change.record;
        let due = self.queue.contains(record) || self.dirty.contains_key(record) || self.owed.since(record).is_some();
        let entitled = matches!(self.table.desired(record), Some(Desired::Account(_)));
        due || (change.effect == Effect::Widens && !entitled)
    }
}
