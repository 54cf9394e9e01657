//! Small tables that every load and every plan asks for, as they were read last.
//!
//! # Guarantees
//! - What is kept is what the file holds. Nobody else writes the file (that is what the lease is, and
//!   [`Present`](crate::stores::sqlite::present::Present) is asked before anything kept is told), and a
//!   commit that may write a table, whatever becomes of it, lets go of what was kept of it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use chrono::DateTime;
use chrono::Utc;

use crate::model::change::Cause;
use crate::model::decision::Decision;
use crate::model::ids::TargetName;
use crate::model::link::Space;
use crate::model::target::KnownTarget;
use crate::store::AcceptedSnapshot;
use crate::store::CauseKey;
use crate::store::EndDate;
use crate::store::Permit;
use crate::store::batch::Batch;
use crate::store::batch::WindowWrite;
use crate::store::rows::nanos;

/// A table of more rows is read each time: keeping it would cost memory for good, and whoever has so
/// many pays more for what is done with them.
const MOST: usize = 1_000;

/// Something that is kept while it is small.
pub(super) trait Few: Clone + Send + Sync + 'static {
    /// Rows of it.
    fn rows(&self) -> usize;
}

impl<T: Clone + Send + Sync + 'static> Few for Vec<T> {
    fn rows(&self) -> usize {
        self.len()
    }
}

impl<K: Clone + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Few for BTreeMap<K, V> {
    fn rows(&self) -> usize {
        self.len()
    }
}

impl<T: Clone + Send + Sync + 'static> Few for BTreeSet<T> {
    fn rows(&self) -> usize {
        self.len()
    }
}

impl Few for Option<String> {
    fn rows(&self) -> usize {
        usize::from(self.is_some())
    }
}

/// What is kept of one table.
pub(super) type Slot<T> = Option<Arc<T>>;

/// What is kept of each.
#[derive(Default)]
pub(super) struct Tables {
    /// Counts the times that something was let go of.
    turn: u64,
    pub(super) decisions: Slot<Vec<Decision>>,
    pub(super) permits: Slot<BTreeMap<Permit, DateTime<Utc>>>,
    pub(super) mass_ends: Slot<BTreeSet<EndDate>>,
    pub(super) targets: Slot<BTreeMap<TargetName, KnownTarget>>,
    pub(super) causes: BTreeMap<TargetName, Slot<BTreeMap<CauseKey, Cause>>>,
    /// These follow from decisions.
    pub(super) doubts: BTreeMap<TargetName, Slot<Option<String>>>,
    levels: Option<Levels>,
    owned: BTreeMap<Space, Owned>,
}

/// How many accounts were owned and active from which second on.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    since: i64,
    rows: BTreeMap<i64, i64>,
}

impl Owned {
    /// Those noted since, and what stood at that second.
    pub(super) fn new(since: i64, rows: impl IntoIterator<Item = (i64, i64)>) -> Self {
        Self { since, rows: rows.into_iter().collect() }
    }

    /// What was noted last at a second that is no earlier.
    pub(super) fn at(&self, second: i64) -> Option<u64> {
        self.rows.range(..=second).next_back().map(|(_, active)| active.unsigned_abs())
    }
}

/// An accepted snapshot as shrink is judged by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) generation: i64,
    /// When it was accepted.
    pub(super) at: i64,
    /// How much it granted.
    pub(super) granted: i64,
}

/// Snapshots that were the accepted one at some moment since then.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    since: i64,
    rows: Vec<Level>,
}

impl Levels {
    /// Those accepted since, and the one that stood at that moment.
    pub(super) fn new(since: i64, rows: Vec<Level>) -> Self {
        Self { since, rows }
    }

    /// The highest of those that were the accepted one since a moment that is no earlier.
    pub(super) fn highest(&self, since: i64) -> Option<u64> {
        let stood = self.rows.iter().filter(|row| row.at < since).max_by_key(|row| row.generation);
        let accepted = self.rows.iter().filter(|row| row.at >= since);
        accepted.chain(stood).map(|row| row.granted.cast_unsigned()).max()
    }

    fn put(&mut self, next: Level) {
        self.rows.retain(|row| row.generation != next.generation);
        self.rows.push(next);
    }
}

/// What was read and nobody wrote since.
#[derive(Default)]
pub(super) struct Known(Mutex<Tables>);

/// Until when something that is read now may be kept.
#[derive(Clone, Copy)]
pub(super) struct Turn(u64);

impl Known {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept; otherwise the turn in which it is read now.
    pub(super) fn get<T: Few>(&self, slot: &impl Fn(&mut Tables) -> &mut Slot<T>) -> Result<T, Turn> {
        let mut tables = self.tables();
        let turn = Turn(tables.turn);
        let kept = slot(&mut tables).clone();
        // Copied once nobody else waits for the lock.
        drop(tables);
        kept.map(|kept| T::clone(&kept)).ok_or(turn)
    }

    /// Keeps what was read in `turn`, unless something was written since.
    pub(super) fn keep<T: Few>(&self, turn: Turn, slot: &impl Fn(&mut Tables) -> &mut Slot<T>, read: &T) {
        if read.rows() > MOST {
            return;
        }
        let read = Arc::new(read.clone());
        let mut tables = self.tables();
        if tables.turn == turn.0 {
            *slot(&mut tables) = Some(read);
        }
    }

    /// The highest level since then, where that is known; otherwise the turn in which it is read now.
    pub(super) fn highest_level(&self, since: i64) -> Result<Option<u64>, Turn> {
        let tables = self.tables();
        let levels = tables.levels.as_ref().filter(|levels| levels.since <= since);
        levels.map(|levels| levels.highest(since)).ok_or(Turn(tables.turn))
    }

    pub(super) fn keep_levels(&self, turn: Turn, levels: Levels) {
        let mut tables = self.tables();
        if tables.turn == turn.0 && levels.rows.len() <= MOST {
            tables.levels = Some(levels);
        }
    }

    /// How many were owned and active at that second, where it is known; otherwise the turn in which it is
    /// read now.
    pub(super) fn owned_at(&self, space: &Space, second: i64) -> Result<Option<u64>, Turn> {
        let tables = self.tables();
        let owned = tables.owned.get(space).filter(|owned| owned.since <= second);
        owned.map(|owned| owned.at(second)).ok_or(Turn(tables.turn))
    }

    pub(super) fn keep_owned(&self, turn: Turn, space: Space, owned: Owned) {
        let mut tables = self.tables();
        if tables.turn == turn.0 && owned.rows.len() <= MOST {
            tables.owned.insert(space, owned);
        }
    }

    /// Lets go of what a commit may have written, and takes over what one that is `done` says of time.
    pub(super) fn forget(&self, written: Written, done: bool) {
        if written == Written::default() {
            return;
        }
        let mut tables = self.tables();
        tables.turn += 1;
        let Written { decisions, permits, mass_ends, targets, causes, levels, owned } = written;
        for (space, second, active) in owned {
            // Read again once there are many: what is older than a window is of no interest any more.
            let mut known = tables.owned.remove(&space).filter(|owned| done && owned.rows.len() < MOST);
            if let Some(known) = &mut known {
                known.rows.insert(second, active);
            }
            tables.owned.extend(known.map(|known| (space, known)));
        }
        if !done && !levels.is_empty() {
            tables.levels = None;
        } else if let Some(known) = &mut tables.levels {
            for level in levels {
                known.put(level);
            }
            tables.levels = tables.levels.take().filter(|levels| levels.rows.len() <= MOST);
        }
        if decisions {
            (tables.decisions, tables.doubts) = (None, BTreeMap::new());
        }
        if permits {
            tables.permits = None;
        }
        if mass_ends {
            tables.mass_ends = None;
        }
        if targets {
            tables.targets = None;
        }
        if causes {
            tables.causes.clear();
        }
    }

    /// Lets go of everything; what is read at this moment is not kept either.
    pub(super) fn forget_all(&self) {
        let mut tables = self.tables();
        *tables = Tables { turn: tables.turn + 1, ..Tables::default() };
    }
}

/// Which of the tables a commit writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each table, and any of them together")]
pub(super) struct Written {
    decisions: bool,
    permits: bool,
    mass_ends: bool,
    targets: bool,
    causes: bool,
    levels: Vec<Level>,
    owned: Vec<(Space, i64, i64)>,
}

impl Written {
    pub(super) fn by(batch: &Batch) -> Self {
        let level = |next: &AcceptedSnapshot| Level {
            generation: next.generation.cast_signed(),
            at: nanos(next.at),
            granted: next.level.cast_signed(),
        };
        let mut written = Self {
            decisions: !batch.decisions.is_empty(),
            causes: !batch.causes.is_empty(),
            levels: batch.snapshots.iter().map(level).collect(),
            ..Self::default()
        };
        for write in &batch.windows {
            match write {
                WindowWrite::Target(..) => written.targets = true,
                WindowWrite::Permit(..) => written.permits = true,
                WindowWrite::End(..) | WindowWrite::Mass(_) => written.mass_ends = true,
                WindowWrite::Owned(space, at, active) => {
                    written.owned.push((space.clone(), at.timestamp(), active.cast_signed()));
                }
                WindowWrite::Lag(_) | WindowWrite::Clock(_) => {}
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Write;

    fn permits(tables: &mut Tables) -> &mut Slot<BTreeMap<Permit, DateTime<Utc>>> {
        &mut tables.permits
    }

    fn permit() -> Permit {
        Permit { target: None, digest: "d".into(), change: None }
    }

    fn written(write: Write) -> Written {
        Written::by(&Batch::of(vec![write]))
    }

    #[test]
    fn what_was_read_is_told_again_until_it_is_written() {
        let (known, read) = (Known::default(), BTreeMap::from([(permit(), DateTime::<Utc>::UNIX_EPOCH)]));
        let turn = known.get(&permits).unwrap_err();
        known.keep(turn, &permits, &read);
        assert_eq!(known.get(&permits).ok(), Some(read));
        known.forget(written(Write::WindowLag(chrono::TimeDelta::zero())), true);
        assert!(known.get(&permits).is_ok(), "another table");
        known.forget(written(Write::Permit(permit(), None)), true);
        assert!(known.get(&permits).is_err());
    }

    #[test]
    fn what_was_read_before_a_commit_is_not_kept_after_it() {
        let known = Known::default();
        let turn = known.get(&permits).unwrap_err();
        known.forget(written(Write::Permit(permit(), None)), true);
        known.keep(turn, &permits, &BTreeMap::new());
        assert!(known.get(&permits).is_err());
    }

    #[test]
    fn the_highest_level_is_of_those_accepted_since_and_of_the_one_that_stood_then() {
        let row = |generation, at, granted| Level { generation, at, granted };
        let mut levels = Levels::new(10, vec![row(4, 5, 70), row(5, 20, 50), row(6, 30, 60)]);
        assert_eq!(levels.highest(10), Some(70), "generation 4 stood then");
        assert_eq!(levels.highest(20), Some(70), "it stood until just before");
        assert_eq!(levels.highest(21), Some(60));
        assert_eq!(levels.highest(31), Some(60), "the last one stands");
        levels.put(row(6, 40, 10));
        assert_eq!(levels.highest(31), Some(50), "generation 5 stood then");
        assert_eq!(levels.highest(50), Some(10));
    }

    #[test]
    fn what_was_noted_of_owned_accounts_is_followed_and_let_go_of_where_a_commit_failed() {
        let known = Known::default();
        let space = Space { target: "app".into(), environment: "default".into(), realm: "memory".into() };
        let turn = known.owned_at(&space, 20).unwrap_err();
        known.keep_owned(turn, space.clone(), Owned::new(20, [(15, 4), (25, 5)]));
        let note =
            |second, active| written(Write::Owned(space.clone(), DateTime::from_timestamp(second, 0).unwrap(), active));
        known.forget(note(25, 6), true);
        known.forget(note(30, 7), true);
        let at = |second| known.owned_at(&space, second).ok();
        assert_eq!([20, 24, 25, 29, 30, 99].map(at), [4, 4, 6, 6, 7, 7].map(|active| Some(Some(active))));
        assert_eq!(at(19), None, "nobody looked that far back");
        known.forget(note(31, 8), false);
        assert_eq!(at(30), None);
        let early = Owned::new(5, []);
        assert_eq!(early.at(9), None, "nothing that old");
    }

    #[test]
    fn what_is_big_is_not_kept() {
        let known = Known::default();
        let many: BTreeMap<_, _> = (0..=MOST)
            .map(|number| (Permit { digest: number.to_string().into(), ..permit() }, DateTime::<Utc>::UNIX_EPOCH))
            .collect();
        let turn = known.get(&permits).unwrap_err();
        known.keep(turn, &permits, &many);
        assert!(known.get(&permits).is_err());
    }
}
