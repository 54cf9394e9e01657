//! Writes that never settle: a target that makes one attribute from another, or answers a write as
//! done and drops it after. They are told and made ever more rarely, or given up.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;
use tokio::time::Instant;

use crate::engine::shared::Running;
use crate::engine::worker::Worker;
use crate::engine::worker::hands;
use crate::engine::worker::keyed::Dirty;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::history::Trigger;
use crate::model::ids::RecordId;
use crate::model::path::AttributePath;
use crate::model::plan::Plan;

type Key = (RecordId, AttributePath);

/// What is known of writes that may not settle.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    /// Ends of calls in a row, by user, after each of which something was left to write.
    unsettled: BTreeMap<RecordId, u32>,
    /// What was written last and answered as done.
    written: BTreeMap<Key, Value>,
    /// The same value was written once more: a look shows whether it stays.
    suspects: BTreeMap<Key, Value>,
    /// How often such looks showed that it did not.
    dropped: BTreeMap<Key, (Value, u32)>,
}

impl Echoes {
    /// Counts one more; the sum so far.
    pub(super) fn unsettled(&mut self, record: &RecordId) -> u32 {
        let rounds = self.unsettled.entry(record.clone()).or_default();
        *rounds = rounds.saturating_add(1);
        *rounds
    }

    /// The account equals its projection, or something else is wanted by now.
    pub(super) fn settled(&mut self, record: &RecordId) {
        self.unsettled.remove(record);
    }

    /// Notes what was written; whether it was written before.
    fn writes_again(&mut self, key: Key, value: &Value) -> bool {
        let again = self.written.insert(key.clone(), value.clone()).as_ref() == Some(value);
        if again {
            self.suspects.insert(key, value.clone());
        }
        again
    }

    /// Takes the suspects of these users.
    fn suspected(&mut self, records: &BTreeSet<RecordId>) -> BTreeMap<Key, Value> {
        let (taken, rest) =
            std::mem::take(&mut self.suspects).into_iter().partition(|((record, _), _)| records.contains(record));
        self.suspects = rest;
        taken
    }

    /// Counts a value that did not stay; the sum so far.
    fn dropped(&mut self, key: &Key, value: &Value) -> u32 {
        let (known, times) = self.dropped.entry(key.clone()).or_insert_with(|| (value.clone(), 0));
        *times = if known == value { times.saturating_add(1) } else { 1 };
        known.clone_from(value);
        *times
    }
}

impl Worker {
    /// A value that is written once more although the target answered the first write as done may be
    /// one that it drops: a look, which is the read-back of this very write, shows it.
    pub(super) fn suspect_echo(&mut self, record: &RecordId, change: &Change) {
        if change.action != Action::Update || self.running != Running::Daemon {
            return;
        }
        let mut again = false;
        for field in &change.fields {
            if let Some(after) = field.after.as_ref().filter(|_| self.may_give_up(&field.path)) {
                again |= self.echoes.writes_again((record.clone(), field.path.clone()), after);
            }
        }
        if again {
            let due = Instant::now() + self.handle.connector.capabilities().visible_within;
            self.await_look(record, Dirty { due, ..Dirty::now(Trigger::Retry, self.shared.now()) });
        }
    }

    /// What looks at these users say of suspects. Whether any attribute was given up by it.
    pub(super) fn dropped_again(&mut self, records: &BTreeSet<RecordId>, plan: &Plan) -> bool {
        let mut given_up: BTreeMap<RecordId, Vec<(AttributePath, Value)>> = BTreeMap::new();
        for (key, value) in self.echoes.suspected(records) {
            let (record, path) = &key;
            let changes = plan.changes.iter().filter(|change| change.record == *record);
            let mut fields = changes.flat_map(|change| &change.fields);
            if !fields.any(|field| field.path == *path && field.after.as_ref() == Some(&value)) {
                self.echoes.dropped.remove(&key);
            } else if self.echoes.dropped(&key, &value) >= hands::CONTRADICTIONS {
                self.echoes.dropped.remove(&key);
                given_up.entry(record.clone()).or_default().push((path.clone(), value));
            }
        }
        for (record, attributes) in &given_up {
            if let Some(account) = self.link_of(record).map(|link| link.account.clone()) {
                self.leave_to_target(record, &account, attributes.clone());
            }
        }
        !given_up.is_empty()
    }
}

/// Why a user's writes come to no end.
pub(super) fn never_settles(repeated: bool, made: &Change, left: &[Change]) -> String {
    let what = what_was_written(made);
    if repeated {
        return format!("the target answered the write of {what} and did not keep it; see who else writes it there");
    }
    let others = left.iter().map(what_was_written).collect::<Vec<_>>().join(", ");
    format!(
        "after the write of {what} the target shows {others} otherwise, and the other way round; see which of them it \
         makes from the other, and leave that one out of the mapping"
    )
}

fn what_was_written(change: &Change) -> String {
    let mut words: Vec<_> = change.fields.iter().map(|field| format!("`{}`", field.path)).collect();
    let names = change.grant.iter().chain(&change.revoke).filter_map(|entry| entry.name.as_ref());
    words.extend(names.map(|name| format!("`{name}`")));
    if change.active.is_some() {
        words.push("the account's state".to_owned());
    }
    words.join(", ")
}
