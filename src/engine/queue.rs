//! The work of one target that waits for a call: one entry per user, narrowing first.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use tokio::time::Instant;

use crate::model::account::Account;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::ids::CycleId;
use crate::model::ids::RecordId;
use crate::model::tally;
use crate::model::tally::Counter;

/// The order in which waiting work is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Takes access away.
    Narrow,
    /// Changes no access.
    Neutral,
    /// Gives access.
    Widen,
}

impl Lane {
    /// The lane of a change. A deletion takes no access: what does never waits behind one (L5).
    pub fn of(change: &Change) -> Self {
        match change.effect {
            Effect::Narrows if change.action == Action::Delete => Self::Neutral,
            Effect::Narrows | Effect::Swaps => Self::Narrow,
            Effect::Neutral => Self::Neutral,
            Effect::Widens => Self::Widen,
        }
    }
}

/// What waits for one user.
#[derive(Clone, Debug)]
pub struct Entry {
    /// In order; never empty in the queue.
    pub changes: VecDeque<Change>,
    /// The account as it was last read; `None` for a creation.
    pub seen: Option<Arc<Account>>,
    /// The cycle that planned it.
    pub cycle: CycleId,
    /// Calls made so far for the first change.
    pub attempt: u32,
    /// Not before this.
    pub due: Instant,
    /// Since when the change is wanted.
    pub since: DateTime<Utc>,
    /// Only these changes were asked for (a saved plan): nothing is planned after them.
    pub exact: bool,
}

impl Entry {
    /// The limits that it counts for, or may: that an end date was known for a day is learnt later.
    fn counters(&self) -> BTreeSet<Counter> {
        self.changes.iter().flat_map(tally::counters).collect()
    }

    fn lane(&self) -> Lane {
        self.changes.front().map_or(Lane::Widen, Lane::of)
    }
}

/// The waiting work of one target.
#[derive(Debug, Default)]
pub struct Queue {
    entries: BTreeMap<RecordId, Entry>,
    narrow: BTreeSet<(Instant, RecordId)>,
    neutral: BTreeSet<(Instant, RecordId)>,
    widen: BTreeSet<(Instant, RecordId)>,
    /// Whose work counts for which limits.
    counted: BTreeMap<Counter, BTreeSet<RecordId>>,
}

impl Queue {
    /// Adds work for a user; what waited for that user before is replaced.
    pub fn put(&mut self, record: RecordId, entry: Entry) {
        self.remove(&record);
        self.lane_mut(entry.lane()).insert((entry.due, record.clone()));
        for counter in entry.counters() {
            self.counted.entry(counter).or_default().insert(record.clone());
        }
        self.entries.insert(record, entry);
    }

    /// Takes what waits for one user away.
    pub fn remove(&mut self, record: &RecordId) -> Option<Entry> {
        let entry = self.entries.remove(record)?;
        self.lane_mut(entry.lane()).remove(&(entry.due, record.clone()));
        for counter in entry.counters() {
            if let Some(records) = self.counted.get_mut(&counter) {
                records.remove(record);
            }
        }
        Some(entry)
    }

    /// The first entry that is due, of the first of `lanes` that has one.
    pub fn pop(&mut self, lanes: &[Lane], now: Instant) -> Option<(RecordId, Entry)> {
        let record = lanes.iter().find_map(|lane| self.first_due(*lane, now))?;
        let entry = self.remove(&record)?;
        Some((record, entry))
    }

    fn first_due(&self, lane: Lane, now: Instant) -> Option<RecordId> {
        self.first(lane).filter(|(due, _)| *due <= now).map(|(_, record)| record.clone())
    }

    fn first(&self, lane: Lane) -> Option<(Instant, &RecordId)> {
        let waiting = match lane {
            Lane::Narrow => &self.narrow,
            Lane::Neutral => &self.neutral,
            Lane::Widen => &self.widen,
        };
        waiting.first().map(|(due, record)| (*due, record))
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut BTreeSet<(Instant, RecordId)> {
        match lane {
            Lane::Narrow => &mut self.narrow,
            Lane::Neutral => &mut self.neutral,
            Lane::Widen => &mut self.widen,
        }
    }

    /// When the first entry of `lanes` is due.
    pub fn next_due(&self, lanes: &[Lane]) -> Option<Instant> {
        lanes.iter().filter_map(|lane| self.first(*lane)).map(|(due, _)| due).min()
    }

    /// How many users wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What waits for one user.
    pub fn get(&self, record: &RecordId) -> Option<&Entry> {
        self.entries.get(record)
    }

    /// What waits and counts for one of these limits, or may.
    pub fn counting(&self, counters: &BTreeSet<Counter>) -> impl Iterator<Item = (&RecordId, &Entry)> {
        let records: BTreeSet<_> = counters.iter().filter_map(|counter| self.counted.get(counter)).flatten().collect();
        records.into_iter().filter_map(|record| self.entries.get_key_value(record))
    }

    /// Whether something waits for this user.
    pub fn contains(&self, record: &RecordId) -> bool {
        self.entries.contains_key(record)
    }

    /// Everything that waits, by record.
    pub fn iter(&self) -> impl Iterator<Item = (&RecordId, &Entry)> {
        self.entries.iter()
    }

    /// Makes everything due now: the door is open again.
    pub fn wake(&mut self, now: Instant) {
        for record in self.entries.keys().cloned().collect::<Vec<_>>() {
            if let Some(mut entry) = self.remove(&record) {
                entry.due = entry.due.min(now);
                self.put(record, entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::change::Action;
    use crate::model::change::Cause;
    use crate::model::list::List;

    const ALL: [Lane; 3] = [Lane::Narrow, Lane::Neutral, Lane::Widen];

    fn entry(record: &str, action: Action, effect: Effect, due: Instant) -> Entry {
        let change = Change {
            record: record.into(),
            account: None,
            action,
            effect,
            cause: (effect == Effect::Narrows).then_some(Cause::Explicit),
            fields: List::default(),
            grant: List::default(),
            revoke: List::default(),
            active: (effect == Effect::Narrows).then_some(false),
            reason: "".into(),
            origins: List::default(),
        };
        let since = DateTime::UNIX_EPOCH;
        Entry { changes: VecDeque::from([change]), seen: None, cycle: "c".into(), attempt: 0, due, since, exact: false }
    }

    #[tokio::test(start_paused = true)]
    async fn a_removal_overtakes_everything_that_waits() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.put("a".into(), entry("a", Action::Create, Effect::Widens, now));
        queue.put("b".into(), entry("b", Action::Update, Effect::Neutral, now));
        queue.put("c".into(), entry("c", Action::Disable, Effect::Narrows, now));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(&ALL, now)).map(|(record, _)| record).collect();
        assert_eq!(order, ["c".into(), "b".into(), "a".into()]);
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_has_one_entry_however_often_it_is_named() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.put("a".into(), entry("a", Action::Create, Effect::Widens, now));
        queue.put("a".into(), entry("a", Action::Disable, Effect::Narrows, now));
        assert_eq!(queue.len(), 1);
        assert!(queue.pop(&[Lane::Widen], now).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_removal_does_not_hide_work_that_is_due() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let later = now + Duration::from_secs(5);
        queue.put("a".into(), entry("a", Action::Disable, Effect::Narrows, later));
        queue.put("b".into(), entry("b", Action::Create, Effect::Widens, now));
        assert_eq!(queue.pop(&ALL, now).map(|(record, _)| record), Some("b".into()));
        assert_eq!(queue.next_due(&ALL), Some(later));
        queue.wake(now);
        assert_eq!(queue.pop(&ALL, now).map(|(record, _)| record), Some("a".into()));
    }
}
