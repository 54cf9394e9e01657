//! End dates to come: a date that many users get at once is a removal, though it acts later.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;

use crate::accept::cause::BULK_FROM;
use crate::accept::renames;
use crate::accept::triples;
use crate::accept::triples::Granted;
use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::ids::RoleName;
use crate::model::snapshot::Snapshot;
use crate::model::user::User;
use crate::model::user::Validity;
use crate::project::Projector;

/// A moment at which access ends by itself: of whom, of which role (`None`: of everything), when.
pub type End = (RecordId, Option<RoleName>, DateTime<Utc>);

/// The end dates of a load that it gives to so many users that they count as inferred (`bulkFrom`): new
/// or earlier ones, others in the place of those that counted so before, and those that take something
/// away only because of what else the load changes, as where a role without an end became one with an end.
///
/// `known` are those that counted so until now. A user who is new with the load has nothing to lose, and
/// a role that is given for a time takes nothing away that was there before it.
pub fn mass(
    projectors: &[Arc<Projector>],
    previous: &Snapshot,
    next: &Snapshot,
    known: &BTreeSet<End>,
    now: DateTime<Utc>,
) -> BTreeSet<End> {
    let known_of = by_record(known);
    let mut mass = BTreeSet::new();
    let mut users: BTreeSet<RecordId> = BTreeSet::new();
    for (old, new) in edited(previous, next) {
        let (old, new) = (&old, &new);
        let were_mass = known_of.get(&old.id).map(Vec::as_slice).unwrap_or_default();
        for (role, until) in to_come(new, now) {
            let end = (new.id.clone(), role.cloned(), until);
            if known.contains(&end) {
                continue;
            }
            let was = ends_of(old, role).unwrap_or_default();
            let held = !was.is_empty();
            let earlier = held && was.iter().all(|was| was.is_none_or(|was| until < was));
            let moved = held && !was.contains(&Some(until)) && were_mass.iter().any(|(_, of, _)| of.as_ref() == role);
            let takes = || {
                // What ended by one of those before would not have ended but for it.
                let due = triples::of_user(projectors, &lifted(old, were_mass), &previous.roles, until).0;
                let taken = taken(projectors, &lifted(new, &[&end]), new, next, until);
                !taken.is_disjoint(&due)
            };
            if earlier || moved || takes() {
                users.insert(new.id.clone());
                mass.insert(end);
            }
        }
    }
    if users.len() < BULK_FROM {
        mass.clear();
    }
    let stands = |(record, role, until): &&End| {
        let user = next.users.get(record);
        user.and_then(|user| ends_of(&user, role.as_ref())).is_some_and(|ends| ends.contains(&Some(*until)))
    };
    mass.extend(known.iter().filter(stands).cloned());
    mass
}

/// What a load will take away when end dates come that its users have, and would have left to them.
pub(crate) fn lost_later(
    projectors: &[Arc<Projector>],
    previous: &Snapshot,
    next: &Snapshot,
    now: DateTime<Utc>,
) -> u64 {
    let mut lost = 0;
    for (old, new) in edited(previous, next) {
        let (old, new) = (&old, &new);
        let mut later = Granted::new();
        let moments: BTreeSet<DateTime<Utc>> = to_come(new, now).map(|(_, until)| until).collect();
        for until in moments {
            let (before, _) = triples::of_user(projectors, old, &previous.roles, until);
            let (after, undecided) = triples::of_user(projectors, new, &next.roles, until);
            let gone = before.difference(&after).filter(|(target, _)| !undecided.contains(target));
            later.extend(gone.cloned());
        }
        if !later.is_empty() {
            // What the load takes away at once is counted as that.
            let (kept, _) = triples::of_user(projectors, new, &next.roles, now);
            lost += later.intersection(&kept).count() as u64;
        }
    }
    lost
}

/// What users of one target lose by nothing but these ends, whether they have come or not.
pub fn taken_by(
    projector: &Arc<Projector>,
    snapshot: &Snapshot,
    ends: &BTreeSet<End>,
) -> BTreeSet<(RecordId, Option<EntitlementName>)> {
    let projectors = std::slice::from_ref(projector);
    let mut all = BTreeSet::new();
    for (record, ends) in by_record(ends) {
        let Some(user) = snapshot.users.get(record) else { continue };
        let without = lifted(&user, &ends);
        for (_, _, until) in ends {
            let taken = taken(projectors, &without, &user, snapshot, *until);
            all.extend(taken.into_iter().map(|(_, name)| (record.clone(), name)));
        }
    }
    all
}

/// What a user of a snapshot has no more at `until`, and would have `without` some ends.
fn taken(
    projectors: &[Arc<Projector>],
    without: &User,
    user: &User,
    snapshot: &Snapshot,
    until: DateTime<Utc>,
) -> Granted {
    let (had, _) = triples::of_user(projectors, without, &snapshot.roles, until);
    let (has, _) = triples::of_user(projectors, user, &snapshot.roles, until);
    had.difference(&has).cloned().collect()
}

/// The user as if these ends did not stand.
fn lifted(user: &User, ends: &[&End]) -> User {
    let mut without = user.clone();
    let is_one = |role: Option<&RoleName>, valid: &Validity| {
        ends.iter().any(|(_, of, until)| of.as_ref() == role && valid.until == Some(*until))
    };
    if is_one(None, &without.valid) {
        without.valid.until = None;
    }
    for held in &mut without.roles {
        if is_one(Some(&held.name), &held.valid) {
            held.valid.until = None;
        }
    }
    without
}

fn by_record(ends: &BTreeSet<End>) -> BTreeMap<&RecordId, Vec<&End>> {
    let mut by_record: BTreeMap<&RecordId, Vec<&End>> = BTreeMap::new();
    for end in ends {
        by_record.entry(&end.0).or_default().push(end);
    }
    by_record
}

/// Users of both snapshots whose document differs, declared renames included. Where a role differs that
/// is everybody, since any user may hold it.
fn edited<'a>(previous: &'a Snapshot, next: &'a Snapshot) -> Box<dyn Iterator<Item = (User, User)> + 'a> {
    let renamed: BTreeMap<RecordId, RecordId> =
        renames(previous, next).into_iter().map(|(old, new)| (new, old)).collect();
    let pair = move |new: User| Some((previous.users.get(renamed.get(&new.id).unwrap_or(&new.id))?, new));
    if previous.roles == next.roles {
        Box::new(previous.users.edits(&next.users).filter_map(|edit| edit.after()).filter_map(pair))
    } else {
        Box::new(next.users.values().filter_map(pair))
    }
}

/// The ends of a document that are still to come.
fn to_come(user: &User, now: DateTime<Utc>) -> impl Iterator<Item = (Option<&RoleName>, DateTime<Utc>)> {
    let whole = user.valid.until.map(|until| (None, until));
    let roles = user.roles.iter().filter_map(|held| Some((Some(&held.name), held.valid.until?)));
    whole.into_iter().chain(roles).filter(move |(_, until)| *until > now)
}

/// Every end that a user has for a role, or altogether; `None`: the role is not held at all.
fn ends_of(user: &User, role: Option<&RoleName>) -> Option<BTreeSet<Option<DateTime<Utc>>>> {
    let Some(role) = role else { return Some(BTreeSet::from([user.valid.until])) };
    let held: BTreeSet<_> = user.roles.iter().filter(|held| held.name == *role).map(|held| held.valid.until).collect();
    (!held.is_empty()).then_some(held)
}
