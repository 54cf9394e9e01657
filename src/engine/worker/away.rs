//! What goes on while the store is away: narrowing that was recorded as owed, from the journal.
//!
//! Nothing else does. A narrowing only takes away and may safely be sent twice, so while nobody can
//! record its outcome it is simply repeated; deletions, which cannot be had back, wait.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::connector::Operation;
use crate::engine::past;
use crate::engine::queue::Entry;
use crate::engine::worker::Worker;
use crate::engine::worker::keyed::Dirty;
use crate::engine::worker::outcome;
use crate::model::account::Account;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::history::Intent;
use crate::model::history::Trigger;
use crate::model::ids::AccountId;
use crate::model::ids::IntentId;
use crate::model::ids::RecordId;
use crate::model::link::Space;
use crate::store::StoreError;
use crate::store::Write;

/// A call that is ready to be made.
pub(super) type Starting = (Operation, Intent, Entry);

/// What this worker knows of the time without a store.
#[derive(Default)]
pub(super) struct Away {
    /// Whether the store was away when it was asked last.
    pub(super) is_now: bool,
    /// Commits in a row that the store refused: they contradict what it holds.
    pub(super) refused: u32,
    /// Intents that the journal has and the store not yet.
    journaled: BTreeSet<IntentId>,
    /// Of those, the ones whose call is to be repeated.
    repeats: BTreeMap<RecordId, Intent>,
    /// Narrowing that has an intent and is not confirmed.
    recorded: BTreeMap<RecordId, Change>,
    /// Why the journal cannot be written.
    error: Option<String>,
}

impl Away {
    /// What was recorded in a place that is left is not to be done in another (L13).
    pub(super) fn leave(&mut self) {
        self.repeats.clear();
        self.recorded.clear();
    }
}

/// Whether a change may be made while nobody can record its outcome.
fn may_repeat(change: &Change) -> bool {
    change.effect == Effect::Narrows && change.action != Action::Delete
}

impl Worker {
    /// Writes down in the journal what takes away; gives the calls that may be made, and the rest.
    pub(super) async fn write_down(&mut self, starting: Vec<Starting>) -> (Vec<Starting>, Vec<Starting>) {
        let Some(journal) = self.shared.journal.clone() else { return (Vec::new(), starting) };
        let (owed, rest): (Vec<_>, Vec<_>) =
            starting.into_iter().partition(|(_, intent, _)| may_repeat(&intent.change));
        let new: Vec<_> =
            owed.iter().map(|(_, intent, _)| intent).filter(|intent| !self.is_known(&intent.id)).collect();
        let new: Vec<Intent> = new.into_iter().cloned().collect();
        if !new.is_empty()
            && let Err(error) = journal.append(new.clone()).await
        {
            tracing::error!(target = %self.handle.target.name, %error, "narrowing cannot be written down, and waits");
            self.away.error = Some(format!("{error}: until then not even access that ended is taken away"));
            return (Vec::new(), owed.into_iter().chain(rest).collect());
        }
        self.away.error = None;
        for intent in new {
            self.away.journaled.insert(intent.id.clone());
            self.writes.extend(from_journal(intent));
        }
        (owed, rest)
    }

    /// Whether the intent is written down somewhere already: its call is made once more.
    pub(super) fn is_known(&self, intent: &IntentId) -> bool {
        self.away.journaled.contains(intent) || self.away.repeats.values().any(|known| known.id == *intent)
    }

    /// The intent of an earlier try of the same change, to be used once more.
    pub(super) fn earlier_intent(&self, record: &RecordId, change: &Change) -> Option<Intent> {
        self.away.repeats.get(record).filter(|intent| intent.change == *change).cloned()
    }

    /// Remembers which narrowing has an intent by now.
    pub(super) fn note_recorded(&mut self, starting: &[Starting]) {
        let intents = starting.iter().map(|(_, intent, _)| intent).filter(|intent| may_repeat(&intent.change));
        self.away.recorded.extend(intents.map(|intent| (intent.change.record.clone(), intent.change.clone())));
    }

    /// An earlier process recorded it, and nobody knows how it ended.
    pub(super) fn note_open(&mut self, intent: &Intent) {
        if may_repeat(&intent.change) {
            self.away.recorded.insert(intent.change.record.clone(), intent.change.clone());
        }
    }

    /// The narrowing of this user is no longer wanted.
    pub(super) fn forget_recorded(&mut self, record: &RecordId) {
        self.away.recorded.remove(record);
    }

    /// The call of this user is confirmed.
    pub(super) fn forget_confirmed(&mut self, record: &RecordId) {
        self.away.recorded.remove(record);
        self.away.repeats.remove(record);
    }

    /// What was recorded is sent under the same intent, whenever that is.
    pub(super) fn repeat_later(&mut self, intent: &Intent) {
        self.away.repeats.insert(intent.change.record.clone(), intent.clone());
    }

    /// Whether a call that failed is repeated as it is: no store can be told how it ended.
    pub(super) fn repeats(&mut self, record: &RecordId, intent: &Intent) -> bool {
        let repeats = self.away.is_now && self.is_known(&intent.id);
        if repeats {
            self.away.repeats.insert(record.clone(), intent.clone());
        } else {
            self.away.repeats.remove(record);
        }
        repeats
    }

    /// Once the store is back: a call that nobody is going to repeat is looked at.
    pub(super) fn settle_repeats(&mut self) {
        if self.away.is_now || self.away.repeats.is_empty() {
            return;
        }
        let under_way = |record: &RecordId| self.queue.contains(record) || self.in_flight.contains_key(record);
        let idle: Vec<_> = self.away.repeats.keys().filter(|record| !under_way(record)).cloned().collect();
        for record in idle {
            if let Some(intent) = self.away.repeats.remove(&record) {
                self.leave_open(&record, intent);
                self.await_look(&record, Dirty::now(Trigger::Retry, self.shared.now()));
            }
        }
    }

    /// Of a plan that no guard could judge, what was judged and recorded before.
    pub(super) fn recorded_among(&self, changes: &[Change]) -> Vec<Change> {
        let recorded = |change: &&Change| self.away.recorded.get(&change.record) == Some(*change);
        changes.iter().filter(recorded).cloned().collect()
    }

    /// Queues recorded narrowing again, though no store can judge the rest of the plan.
    pub(super) fn repeat(&mut self, owed: Vec<Change>, seen: &BTreeMap<AccountId, Arc<Account>>) {
        if !self.away.is_now || !self.may_write() {
            return;
        }
        for change in owed {
            let cycle = self.dirty.get(&change.record).and_then(|dirty| dirty.cycle.clone());
            let cycle = cycle.filter(|cycle| self.cycles.contains_key(cycle));
            let records = BTreeSet::from([change.record.clone()]);
            let cycle = cycle.or_else(|| self.begin_cycle(Trigger::Retry, false, records, None));
            if let Some(cycle) = cycle {
                self.enqueue(&cycle, &[change], seen, false);
            }
        }
    }

    /// The store took everything that waited: the journal may let go of it.
    pub(super) async fn committed_all(&mut self) {
        self.ring();
        if self.away.journaled.is_empty() {
            return;
        }
        let Some(journal) = self.shared.journal.clone() else { return };
        match journal.forget(self.away.journaled.clone()).await {
            Ok(()) => self.away.journaled.clear(),
            // Its lines are compared with the store at the next start.
            Err(error) => {
                tracing::error!(target = %self.handle.target.name, %error, "the journal keeps what is recorded");
            }
        }
    }

    /// What is said of the journal beside what the store says.
    pub(super) fn journal_error(&self) -> Option<&str> {
        self.away.error.as_deref().filter(|_| self.away.is_now)
    }

    /// Brings into the store what a process that is gone wrote down in the journal: each intent once.
    pub(super) async fn recover(&self, space: &Space) -> Result<(), StoreError> {
        let Some(journal) = self.shared.journal.clone() else { return Ok(()) };
        let intents = match journal.intents().await {
            Ok(intents) => intents,
            Err(error) => return Err(StoreError::Unavailable(error.to_string())),
        };
        // Of the target's other places, too: nobody else brings what was done there into the store.
        let of_target = intents.into_iter().filter(|intent| intent.space.target == space.target);
        let mine: Vec<_> = of_target.filter(|intent| !self.away.journaled.contains(&intent.id)).collect();
        let ids: BTreeSet<_> = mine.iter().map(|intent| intent.id.clone()).collect();
        let mut writes = Vec::new();
        for intent in mine {
            let record = &intent.change.record;
            let known = past::last_call(&*self.shared.store, (&intent.space, record), |known, _| known.id == intent.id);
            if known.await?.is_none() {
                writes.extend(from_journal(intent));
            }
        }
        if !writes.is_empty() {
            tracing::warn!(target = %space.target, "removals that went on without the store are recorded now");
            self.shared.store.commit(writes, self.shared.store.fence()).await?;
        }
        if !ids.is_empty()
            && let Err(error) = journal.forget(ids).await
        {
            tracing::error!(target = %space.target, %error, "the journal keeps what is recorded");
        }
        Ok(())
    }
}

/// What the store is told of an intent that the journal has.
fn from_journal(intent: Intent) -> [Write; 2] {
    let mut event = outcome::intent_event(&intent);
    event.details.insert("journal".to_owned(), true.into());
    [Write::Intent(intent), Write::Audit(event)]
}
