//! End dates that everybody has known for a day, which no percentage stops.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::accept;
use crate::engine::look::Causes;
use crate::engine::shared::Shared;
use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::ids::RecordId;
use crate::model::projection::NoAccessReason;
use crate::model::snapshot::Snapshot;
use crate::model::user::User;
use crate::model::users::Users;
use crate::project::Projector;
use crate::store::EndDate;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Write;

/// How long an end date must be known.
const KNOWN_FOR: TimeDelta = TimeDelta::hours(24);

/// What ended: the user's access, or that of a role.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    User,
    Role,
}

/// Every end date in the documents of a user.
fn of_user(user: &User) -> BTreeSet<EndDate> {
    let end = |role, until| EndDate { record: user.id.clone(), role, until };
    let whole = user.valid.until.map(|until| end(None, until));
    let roles = user.roles.iter().filter_map(|held| Some(end(Some(held.name.clone()), held.valid.until?)));
    whole.into_iter().chain(roles).collect()
}

/// What to remember of end dates when `next` replaces `previous`.
pub(crate) fn noted(previous: Option<&Snapshot>, next: &Snapshot, now: DateTime<Utc>) -> Vec<Write> {
    let mut writes = Vec::new();
    let nobody = Users::default();
    for edit in previous.map_or(&nobody, |previous| &previous.users).edits(&next.users) {
        let of = |user: Option<User>| user.map(|user| of_user(&user)).unwrap_or_default();
        let (old, new) = (of(edit.before()), of(edit.after()));
        writes.extend(old.difference(&new).map(|end| Write::EndDate(end.clone(), None)));
        writes.extend(new.difference(&old).map(|end| Write::EndDate(end.clone(), Some(now))));
    }
    writes
}

/// End dates that one load gave to many users.
pub(crate) async fn mass(store: &dyn Store) -> Result<BTreeSet<accept::ends::End>, StoreError> {
    let known = store.mass_ends().await?;
    Ok(known.into_iter().map(|EndDate { record, role, until }| (record, role, until)).collect())
}

/// What to remember of end dates that `next` gives to many users at once.
pub(crate) async fn noted_mass(
    shared: &Shared,
    projectors: &[Arc<Projector>],
    previous: Option<&Snapshot>,
    next: &Snapshot,
) -> Result<Vec<Write>, StoreError> {
    let Some(previous) = previous else { return Ok(Vec::new()) };
    let known = mass(&*shared.store).await?;
    let mass = accept::ends::mass(projectors, previous, next, &known, shared.judged());
    let new = mass.difference(&known).cloned();
    Ok(new.map(|(record, role, until)| Write::MassEnd(EndDate { record, role, until })).collect())
}

/// Users whose narrowing in `changes` follows from nothing but an end date that was known for a day, so
/// long from now.
pub(crate) async fn dated(
    shared: &Shared,
    (snapshot, ahead): (&Snapshot, TimeDelta),
    causes: &Causes,
    changes: impl Iterator<Item = &Change>,
) -> Result<BTreeSet<RecordId>, StoreError> {
    let arrived: BTreeMap<&RecordId, Ended> =
        changes.filter_map(|change| Some((&change.record, by_date(change, causes)?))).collect();
    if arrived.is_empty() {
        return Ok(BTreeSet::new());
    }
    let known = shared.store.end_dates(&arrived.keys().map(|record| (*record).clone()).collect()).await?;
    let later = |at: DateTime<Utc>| at.checked_add_signed(ahead).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let (now, latest) = (later(shared.now()), later(shared.window_now()) - KNOWN_FOR);
    let long_known = |record: &&RecordId, ended: Ended| {
        let Some(user) = snapshot.users.get(record) else { return false };
        let ends =
            of_user(&user).into_iter().filter(|end| end.until <= now && end.role.is_none() == (ended == Ended::User));
        let mut since = ends.map(|end| known.get(&end).copied()).peekable();
        since.peek().is_some() && since.all(|since| since.is_some_and(|since| since <= latest))
    };
    Ok(arrived
        .iter()
        .filter(|(record, ended)| long_known(record, **ended))
        .map(|(record, _)| (*record).clone())
        .collect())
}

/// What ended by itself, where a change follows from that. Where a load took the access away, its
/// cause is remembered, and it did not end by itself.
fn by_date(change: &Change, causes: &Causes) -> Option<Ended> {
    if change.cause != Some(Cause::Explicit) {
        return None;
    }
    let remembered = |name| causes.contains_key(&(change.record.clone(), name));
    if change.action == Action::Narrow {
        let unnamed = change.revoke.iter().any(|entry| entry.name.is_none());
        let edited = change.revoke.iter().any(|entry| remembered(entry.name.clone()));
        return (!unnamed && !edited && !remembered(None)).then_some(Ended::Role);
    }
    let reason = [(NoAccessReason::Ended, Ended::User), (NoAccessReason::RoleEnded, Ended::Role)]
        .into_iter()
        .find(|(reason, _)| reason.as_str() == &*change.reason);
    reason.filter(|_| !remembered(None)).map(|(_, ended)| ended)
}
