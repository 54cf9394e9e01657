//! Accounts in targets that a load does not declare: no rule says any more who should have one, but whoever is to
//! have access nowhere is to be out there, too.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::Utc;

use crate::model::ids::RecordId;
use crate::model::snapshot::Snapshot;
use crate::model::user::User;

/// How many accounts that give access each record id has in targets that a load does not declare.
pub type Left = BTreeMap<RecordId, u64>;

/// How many of these accounts are of users who are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// By the documents before.
    pub(crate) before: u64,
    /// By those before and those of the load.
    pub(crate) after: u64,
}

impl Beside {
    /// Counts them by two snapshots.
    pub(crate) fn of(left: &Left, previous: &Snapshot, next: &Snapshot, now: DateTime<Utc>) -> Self {
        let mut beside = Self::default();
        if left.is_empty() {
            return beside;
        }
        let (were, are) = (renamed(previous), renamed(next));
        for (record, accounts) in left {
            if is_in(record, (previous, &were), now) {
                beside.before += accounts;
                beside.after += accounts * u64::from(is_in(record, (next, &are), now));
            }
        }
        beside
    }

    /// How many of their users the load takes out.
    pub(crate) fn lost(self) -> u64 {
        self.before - self.after
    }
}

/// Record ids of before, and who has them now.
fn renamed(snapshot: &Snapshot) -> BTreeMap<RecordId, User> {
    let all = snapshot.users.renamed();
    all.flat_map(|user| user.formerly.clone().into_iter().map(move |old| (old, user.clone()))).collect()
}

fn is_in(record: &RecordId, (snapshot, renamed): (&Snapshot, &BTreeMap<RecordId, User>), now: DateTime<Utc>) -> bool {
    let user = snapshot.users.get(record).or_else(|| renamed.get(record).cloned());
    user.is_some_and(|user| has_access(&user, now))
}

fn has_access(user: &User, now: DateTime<Utc>) -> bool {
    user.active && user.valid.contains(now)
}

/// Users whom a load puts out of every target, by the record ids of before. What such users have in targets that
/// nobody declares any more is worth a look.
pub fn leavers(previous: &Snapshot, next: &Snapshot, now: DateTime<Utc>) -> BTreeSet<RecordId> {
    let left = |user: &User| has_access(user, now);
    let edits = previous.users.edits(&next.users);
    let gone = edits.filter(|edit| edit.before().is_some_and(|user| left(&user)));
    gone.filter(|edit| !edit.after().is_some_and(|user| left(&user))).map(|edit| edit.record.clone()).collect()
}
