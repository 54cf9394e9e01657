//! Whether a load of the documents replaces the last accepted snapshot, and why access narrows.
//!
//! A load is accepted whole or not at all. While it is not, documents of known users that are
//! sound on their own may still narrow those users (`accept::narrow`); nothing else takes effect. End dates of the
//! snapshot that stays in force act by themselves, because projecting reads the time.

pub mod asks;
mod cause;
pub mod ends;
pub mod left;
mod measure;
mod narrow;
pub mod policy;
mod triples;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::accept::left::Beside;
use crate::accept::left::Left;
use crate::accept::triples::Triples;
use crate::manifest::Documents;
use crate::manifest::Problem;
use crate::model::change::Cause;
use crate::model::ids::Digest;
use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::snapshot::Snapshot;
use crate::model::user::User;
use crate::project::Projector;

pub use crate::accept::cause::explicit_words;
pub use crate::accept::measure::Measure;

/// Fewer lost accounts and entitlements than this are no shrinking: a small list must stay
/// editable, and one person leaving a team of four is 25 %.
const SHRINK_FROM: u64 = 5;

/// How far back the highest level reaches: slow shrinking within a day is one shrinking.
const LEVEL_HOURS: i64 = 24;

/// Why each account (`None`) or entitlement narrowed between two snapshots; `None` as the cause
/// says that it is granted (again), and what was remembered is to be forgotten.
pub type Causes = BTreeMap<(RecordId, TargetName, Option<EntitlementName>), Option<Cause>>;

/// What becomes of a load.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It replaces the last snapshot.
    Accepted {
        /// The new snapshot.
        snapshot: Snapshot,
        /// How many accounts and entitlements it grants at this moment.
        level: u64,
        /// What changed against the last one.
        causes: Causes,
    },
    /// It would take too much away at once, and waits for a person.
    Held {
        /// What the person accepts.
        digest: Digest,
        /// The last snapshot, narrowed by sound documents of its users.
        narrowed: Snapshot,
        /// How many accounts and entitlements the load would take away.
        lost: u64,
        /// Of how many.
        level: u64,
        /// What changed between the last snapshot and `narrowed`.
        causes: Causes,
    },
    /// Documents are wrong.
    Refused {
        /// The last snapshot, narrowed by sound documents of its users; empty where nothing was
        /// ever accepted.
        narrowed: Snapshot,
        /// What changed between the last snapshot and `narrowed`.
        causes: Causes,
    },
}

/// What stands when a load comes.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// What plans start from: what a load changes, it changes here.
    pub current: Measured<'a>,
    /// The last accepted load. Documents that nobody accepted may have narrowed its users in `current`: a
    /// load is measured by what it takes from this one, or it would be let through by having come before.
    pub accepted: Measured<'a>,
    /// Accounts where the load declares no target.
    pub left: &'a Left,
}

/// A snapshot, and how much it grants at the moment of judging in the targets of the load: see [`Measure`].
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// Accounts and entitlements.
    pub granted: u64,
}

/// Judges a load against the last accepted snapshot.
///
/// `projectors` are those of the targets as they are now: what a changed target takes away has
/// no entry in the causes, and so counts as inferred. `highest_level` is the highest level of
/// the snapshots accepted in the last 24 hours, `shrink_accepted` what persons accepted.
///
/// Conflicts that block single users do not stand in the way of a load.
#[expect(clippy::too_many_arguments, reason = "each is an input of another kind, and there is one caller")]
pub fn judge(
    documents: &Documents,
    projectors: &[Arc<Projector>],
    before: Option<Before<'_>>,
    highest_level: Option<u64>,
    max_shrink_percent: u32,
    shrink_accepted: &BTreeSet<Digest>,
    now: DateTime<Utc>,
) -> Verdict {
    let sound = !documents.problems.iter().any(Problem::blocks);
    let Some(Before { current, accepted, left }) = before else {
        return first(documents, sound, projectors, now);
    };
    let previous = current.snapshot;
    let measure = |next: &Snapshot| Comparison::new(projectors, current, next, now);
    let causes_of = |narrowed: &Snapshot| cause::causes(projectors, previous, narrowed, &measure(narrowed), now);
    if !sound {
        let narrowed = narrow::narrowed(previous, documents);
        return Verdict::Refused { causes: causes_of(&narrowed), narrowed };
    }
    let next = Snapshot { users: documents.users.clone(), roles: documents.roles.clone() };
    let comparison = measure(&next);
    let narrowed = !std::ptr::eq(previous, accepted.snapshot);
    let whole = narrowed.then(|| Comparison::new(projectors, accepted, &next, now));
    let since_accepted = whole.as_ref().unwrap_or(&comparison);
    let beside = Beside::of(left, accepted.snapshot, &next, now);
    let base = (since_accepted.level_before() + beside.before).max(highest_level.unwrap_or_default());
    let later = ends::lost_later(projectors, accepted.snapshot, &next, now);
    let lost = since_accepted.lost(projectors, accepted.snapshot, (base, later, beside), now);
    let shrinks = lost >= SHRINK_FROM && u128::from(lost) * 100 > u128::from(base) * u128::from(max_shrink_percent);
    if shrinks && !shrink_accepted.contains(&documents.digest) {
        let narrowed = narrow::narrowed(previous, documents);
        let causes = causes_of(&narrowed);
        return Verdict::Held { digest: documents.digest.clone(), narrowed, lost, level: base, causes };
    }
    let causes = cause::causes(projectors, previous, &next, &comparison, now);
    Verdict::Accepted { snapshot: next, level: comparison.level_after(), causes }
}

/// Which of these causes are about access that users of `snapshot` have (again): a changed target may
/// have given back what an edit once took away, and a later loss has a cause of its own.
pub fn stale_causes<'c>(
    projectors: &[Arc<Projector>],
    snapshot: &Snapshot,
    remembered: impl IntoIterator<Item = &'c (RecordId, TargetName, Option<EntitlementName>)>,
    now: DateTime<Utc>,
) -> BTreeSet<(RecordId, TargetName, Option<EntitlementName>)> {
    let mut granted = BTreeMap::new();
    let mut stale = BTreeSet::new();
    for key in remembered {
        let (record, target, entitlement) = key;
        let Some(user) = snapshot.users.get(record) else { continue };
        let granted =
            granted.entry(record).or_insert_with(|| triples::of_user(projectors, &user, &snapshot.roles, now).0);
        if granted.contains(&(target.clone(), entitlement.clone())) {
            stale.insert(key.clone());
        }
    }
    stale
}

fn first(documents: &Documents, sound: bool, projectors: &[Arc<Projector>], now: DateTime<Utc>) -> Verdict {
    if !sound {
        return Verdict::Refused { narrowed: Snapshot::default(), causes: Causes::new() };
    }
    let snapshot = Snapshot { users: documents.users.clone(), roles: documents.roles.clone() };
    let level = measure::whole(projectors, &snapshot, now);
    Verdict::Accepted { snapshot, level, causes: Causes::new() }
}

/// Users, one after another.
type People<'a> = Box<dyn Iterator<Item = User> + 'a>;

/// What two snapshots grant at one moment to users of whom they differ, by the record ids of the later
/// one. Where a role differs that is everybody, since any user may hold it.
struct Comparison {
    before: Triples,
    after: Triples,
    /// How much everybody else is granted by either.
    unchanged: u64,
}

impl Comparison {
    fn new(projectors: &[Arc<Projector>], last: Measured<'_>, next: &Snapshot, now: DateTime<Utc>) -> Self {
        let previous = last.snapshot;
        let edits = || previous.users.edits(&next.users);
        let (old, new): (People<'_>, People<'_>) = if previous.roles == next.roles {
            (Box::new(edits().filter_map(|edit| edit.before())), Box::new(edits().filter_map(|edit| edit.after())))
        } else {
            (Box::new(previous.users.values()), Box::new(next.users.values()))
        };
        let before = Triples::of(projectors, old, &previous.roles, now);
        let unchanged = last.granted.saturating_sub(before.level());
        let mut before = before.renamed(&renames(previous, next));
        let mut after = Triples::of(projectors, new, &next.roles, now);
        // What cannot be decided is neither taken away nor given.
        after.fill_undecided(&before);
        before.fill_undecided(&after);
        Self { before, after, unchanged }
    }

    fn level_before(&self) -> u64 {
        self.unchanged + self.before.level()
    }

    fn level_after(&self) -> u64 {
        self.unchanged + self.after.level()
    }

    /// How much the load takes away: what it drops itself, at once or `later`, by end dates that it sets, also
    /// `beside` its targets, or,
    /// where it drops anything, what is missing from the highest level of the day. What ended by its
    /// own date in that day is not the load's doing.
    fn lost(
        &self,
        projectors: &[Arc<Projector>],
        previous: &Snapshot,
        (base, later, beside): (u64, u64, Beside),
        now: DateTime<Utc>,
    ) -> u64 {
        let dropped = self.before.without(&self.after) + later + beside.lost();
        let missing = base.saturating_sub(self.level_after() + beside.after);
        if dropped == 0 || missing <= dropped {
            return dropped;
        }
        let at = |time| Triples::of(projectors, previous.users.dated(), &previous.roles, time);
        let ended = at(now - TimeDelta::hours(LEVEL_HOURS)).without(&at(now));
        missing.saturating_sub(ended).max(dropped)
    }
}

/// Declared renames: a record id of `previous` that is gone, to the user who says `formerly`.
fn renames(previous: &Snapshot, next: &Snapshot) -> BTreeMap<RecordId, RecordId> {
    let all = next.users.renamed().flat_map(|user| user.formerly.into_iter().map(move |old| (old, user.id.clone())));
    let acting = all.filter(|(old, new)| {
        previous.users.contains_key(old) && !next.users.contains_key(old) && !previous.users.contains_key(new)
    });
    acting.collect()
}

#[cfg(test)]
mod tests;
