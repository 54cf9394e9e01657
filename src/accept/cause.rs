//! Explicit or inferred: whose doing a loss of access is.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;

use crate::accept::Causes;
use crate::accept::Comparison;
use crate::accept::renames;
use crate::accept::triples;
use crate::accept::triples::Granted;
use crate::model::change::Cause;
use crate::model::ids::RecordId;
use crate::model::snapshot::Snapshot;
use crate::model::user::User;
use crate::project::Projector;

/// From so many users on, one kind of edit is somebody's script, not somebody's leaving
/// (`bulkFrom`).
pub(crate) const BULK_FROM: usize = 10;

/// The edits of a user's own document that end access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edit {
    Deactivated,
    EndsEarlier,
    StartsLater,
    RoleTakenOut,
    TeamTakenOut,
    /// Any other by which access is lost.
    Other,
}

/// What a load does to one user.
struct Loss<'a> {
    record: &'a RecordId,
    lost: Granted,
    /// Those of `lost` that the user's own edits would take away without anything else.
    own: Granted,
    edits: BTreeSet<Edit>,
}

/// The causes of everything that differs between two snapshots.
pub(crate) fn causes(
    projectors: &[Arc<Projector>],
    previous: &Snapshot,
    next: &Snapshot,
    comparison: &Comparison,
    now: DateTime<Utc>,
) -> Causes {
    let mut causes = Causes::new();
    let nothing = Granted::new();
    for record in comparison.after.records() {
        let before = comparison.before.get(record).unwrap_or(&nothing);
        let gained = comparison.after.get(record).unwrap_or(&nothing).difference(before);
        causes.extend(gained.map(|(target, name)| ((record.clone(), target.clone(), name.clone()), None)));
    }
    let losses = losses(projectors, previous, next, comparison, now);
    let bulk = bulk(&losses);
    for loss in losses {
        let one_of_many = loss.edits.iter().any(|edit| bulk.contains(edit));
        for triple in loss.lost {
            let explicit = loss.own.contains(&triple) && !one_of_many;
            let cause = if explicit { Cause::Explicit } else { Cause::Inferred };
            causes.insert((loss.record.clone(), triple.0, triple.1), Some(cause));
        }
    }
    causes
}

fn losses<'a>(
    projectors: &[Arc<Projector>],
    previous: &Snapshot,
    next: &Snapshot,
    comparison: &'a Comparison,
    now: DateTime<Utc>,
) -> Vec<Loss<'a>> {
    let renamed: BTreeMap<RecordId, RecordId> =
        renames(previous, next).into_iter().map(|(old, new)| (new, old)).collect();
    let nothing = Granted::new();
    let mut losses = Vec::new();
    for record in comparison.before.records() {
        let after = comparison.after.get(record).unwrap_or(&nothing);
        let before = comparison.before.get(record).unwrap_or(&nothing);
        let lost: Granted = before.difference(after).cloned().collect();
        if lost.is_empty() {
            continue;
        }
        let old = previous.users.get(renamed.get(record).unwrap_or(record));
        let (own, edits) = match (&old, &next.users.get(record)) {
            (Some(old), Some(new)) => {
                let edited = own_edits_only(old, new);
                let (kept, undecided) = triples::of_user(projectors, &edited, &previous.roles, now);
                let own = |triple: &&(_, _)| !kept.contains(*triple) && !undecided.contains(&triple.0);
                let own: Granted = lost.iter().filter(own).cloned().collect();
                let mut edits = edits(old, new);
                if !own.is_empty() && edits.is_empty() {
                    edits.insert(Edit::Other);
                }
                (own, edits)
            }
            // The document is gone: nobody said anything about this user.
            _ => (Granted::new(), BTreeSet::new()),
        };
        losses.push(Loss { record, lost, own, edits });
    }
    losses
}

/// The old user with the edits that count as explicit, and no other: judged by the previous
/// roles, so that what it lacks is the doing of those edits alone.
fn own_edits_only(old: &User, new: &User) -> User {
    User { active: new.active, valid: new.valid, roles: new.roles.clone(), teams: new.teams.clone(), ..old.clone() }
}

fn edits(old: &User, new: &User) -> BTreeSet<Edit> {
    let earlier = |before: Option<DateTime<Utc>>, after: Option<DateTime<Utc>>| {
        after.is_some_and(|after| before.is_none_or(|before| after < before))
    };
    let held = |user: &User| user.roles.iter().map(|role| role.name.clone()).collect::<BTreeSet<_>>();
    let role_ends = old.roles.iter().any(|role| {
        let same = new.roles.iter().filter(|other| other.name == role.name);
        same.clone().next().is_some() && same.clone().all(|other| earlier(role.valid.until, other.valid.until))
    });
    let later = |before: Option<DateTime<Utc>>, after: Option<DateTime<Utc>>| {
        after.is_some_and(|after| before.is_none_or(|before| after > before))
    };
    let role_starts = old.roles.iter().any(|role| {
        let same = new.roles.iter().filter(|other| other.name == role.name);
        same.clone().next().is_some() && same.clone().all(|other| later(role.valid.from, other.valid.from))
    });
    let found = [
        (Edit::Deactivated, old.active && !new.active),
        (Edit::EndsEarlier, role_ends || earlier(old.valid.until, new.valid.until)),
        (Edit::StartsLater, role_starts || later(old.valid.from, new.valid.from)),
        (Edit::RoleTakenOut, !held(old).is_subset(&held(new))),
        (Edit::TeamTakenOut, !old.teams.is_subset(&new.teams)),
    ];
    found.into_iter().filter_map(|(edit, happened)| happened.then_some(edit)).collect()
}

/// Users whose own document says with this load that they are out, and did not before: where a rule or
/// a missing document took access away earlier and nobody has acted on it yet, this is the clearer word.
/// Nobody, where a load says so of as many users as a script does.
pub fn explicit_words(previous: &Snapshot, next: &Snapshot, now: DateTime<Utc>) -> BTreeSet<RecordId> {
    let renamed: BTreeMap<RecordId, RecordId> =
        renames(previous, next).into_iter().map(|(old, new)| (new, old)).collect();
    let says = |(record, user): &(&RecordId, User)| {
        let before = previous.users.get(renamed.get(*record).unwrap_or(record));
        let newly = |out: &dyn Fn(&User) -> bool| out(user) && !before.as_ref().is_some_and(out);
        newly(&|user| !user.active) || newly(&|user| !user.valid.contains(now))
    };
    let edited = previous.users.edits(&next.users).filter_map(|edit| Some((edit.record, edit.after()?)));
    let words: BTreeSet<RecordId> = edited.filter(says).map(|(record, _)| record.clone()).collect();
    if words.len() < BULK_FROM { words } else { BTreeSet::new() }
}

/// The edits by which so many users lose something that they count as inferred.
fn bulk(losses: &[Loss<'_>]) -> BTreeSet<Edit> {
    let mut users: BTreeMap<Edit, usize> = BTreeMap::new();
    for edit in losses.iter().filter(|loss| !loss.own.is_empty()).flat_map(|loss| &loss.edits) {
        *users.entry(*edit).or_default() += 1;
    }
    users.into_iter().filter(|(_, count)| *count >= BULK_FROM).map(|(edit, _)| edit).collect()
}
