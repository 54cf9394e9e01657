//! Narrowing that is due and not confirmed: since when, and why.
//!
//! # Guarantees
//! - The moment access ended is kept in the store with the first commit after it, so that neither a
//!   restart nor a door that stays shut makes a narrowing look younger than it is.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::Utc;

use crate::engine::shared::Running;
use crate::engine::status::Owed;
use crate::engine::worker::Worker;
use crate::engine::worker::keyed::Dirty;
use crate::metrics::OwedReason;
use crate::model::account::Account;
use crate::model::change::Change;
use crate::model::history::Intent;
use crate::model::history::Trigger;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::model::plan::Plan;
use crate::model::plan::Skip;
use crate::model::plan::SkipReason;
use crate::model::projection::Desired;
use crate::model::projection::NoAccessReason;
use crate::model::user::User;
use crate::project::Access;
use crate::store::StoreError;
use crate::store::Write;

/// Since when narrowing is owed, by user.
#[derive(Debug, Default)]
pub(super) struct OwedList {
    since: BTreeMap<RecordId, DateTime<Utc>>,
    /// Users whose entry the store does not know as it is here.
    touched: BTreeSet<RecordId>,
}

/// What the store knows of the one place where the target was before.
pub(super) struct Recalled {
    space: Space,
    links: BTreeMap<RecordId, Link>,
}

impl OwedList {
    /// Narrowing is owed since then; what is known already keeps its time.
    pub(super) fn owe(&mut self, record: &RecordId, since: DateTime<Utc>) {
        if !self.since.contains_key(record) {
            self.since.insert(record.clone(), since);
            self.touched.insert(record.clone());
        }
    }

    /// Nothing is owed any more; since when it was.
    pub(super) fn pay(&mut self, record: &RecordId) -> Option<DateTime<Utc>> {
        let since = self.since.remove(record)?;
        self.touched.insert(record.clone());
        Some(since)
    }

    /// Since when it is owed.
    pub(super) fn since(&self, record: &RecordId) -> Option<DateTime<Utc>> {
        self.since.get(record).copied()
    }

    /// Moves an entry to another record id.
    pub(super) fn rename(&mut self, old: &RecordId, new: &RecordId) {
        if let Some(since) = self.pay(old) {
            self.owe(new, since);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.since.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.since.len()
    }

    fn retain(&mut self, keep: impl Fn(&RecordId) -> bool) {
        for record in self.since.keys().filter(|record| !keep(record)).cloned().collect::<Vec<_>>() {
            self.pay(&record);
        }
    }

    /// Takes over what the store knows; the earlier time counts.
    fn recall(&mut self, known: BTreeMap<RecordId, DateTime<Utc>>) {
        for (record, since) in known {
            let here = self.since.entry(record.clone()).or_insert(since);
            if *here > since {
                *here = since;
            }
            if *here == since {
                self.touched.remove(&record);
            }
        }
    }

    /// What the store must be told.
    pub(super) fn writes(&mut self, space: &Space) -> Vec<Write> {
        let touched = std::mem::take(&mut self.touched);
        touched
            .into_iter()
            .map(|record| {
                let since = self.since.get(&record).copied();
                Write::Owed(space.clone(), record, since)
            })
            .collect()
    }
}

impl Worker {
    /// Learns what is owed before the door opens: it may stay shut for days, and a leaver behind it
    /// is in all the while.
    pub(super) async fn recall_owed(&mut self) {
        let read = self.remembered_place().await;
        let Some(Some((space, links, owed))) = self.note(read) else { return };
        self.recalled = Some(Recalled { space: space.clone(), links });
        self.owed.recall(owed);
        self.rename_recalled();
        self.drop_settled();
        let due: Vec<_> = self.recalled.iter().flat_map(|recalled| recalled.links.keys()).cloned().collect();
        for record in due.into_iter().filter(|record| self.surely_narrows(record)).collect::<Vec<_>>() {
            // An account that was seen without access needs no removal.
            let seen = self.shared.store.seen_of(&space, &record).await.ok().flatten();
            if seen.is_none_or(|seen| seen.state.gives_access()) {
                let since = self.ended_at(&record);
                self.owed.owe(&record, since);
            }
        }
    }

    /// The place of this target and environment, if the store leaves no doubt about it.
    async fn remembered_place(
        &self,
    ) -> Result<Option<(Space, BTreeMap<RecordId, Link>, BTreeMap<RecordId, DateTime<Utc>>)>, StoreError> {
        let (store, target) = (&self.shared.store, &self.handle.target);
        let mut spaces = store.spaces(&target.name).await?;
        spaces.retain(|space| space.environment == target.environment);
        let (Some(space), true) = (spaces.pop(), spaces.is_empty()) else { return Ok(None) };
        Ok(Some((space.clone(), store.links(&space).await?, store.owed(&space).await?)))
    }

    /// A declared rename, while the door has not opened: the link is moved in the store once it has.
    pub(super) fn rename_recalled(&mut self) {
        let (Some(snapshot), Some(recalled)) = (&self.snapshot, self.recalled.as_mut()) else { return };
        for user in snapshot.users.renamed() {
            let record = &user.id;
            let gone = |old: &&RecordId| !snapshot.users.contains_key(old);
            let links = &mut recalled.links;
            if links.contains_key(record) {
                continue;
            }
            let moved = user.formerly.iter().filter(gone).find_map(|old| Some((old, links.remove(old)?)));
            if let Some((old, link)) = moved {
                links.insert(record.clone(), link);
                self.owed.rename(old, record);
            }
        }
    }

    /// The door opened: what is owed in the place behind it counts.
    pub(super) fn owed_of_place(&mut self, known: BTreeMap<RecordId, DateTime<Utc>>) {
        let elsewhere = |recalled: &Recalled| self.place.as_ref().is_some_and(|place| place.space != recalled.space);
        if self.recalled.take().is_some_and(|recalled| elsewhere(&recalled)) {
            self.owed = OwedList::default();
        }
        self.owed.recall(known);
        self.drop_settled();
    }

    /// The door opened, or a listing failed: what is owed needs one look at its account, and waits for no
    /// listing.
    pub(super) fn look_at_owed(&mut self) {
        if self.running != Running::Daemon {
            return;
        }
        for (record, since) in self.owed.since.clone() {
            self.await_look(&record, Dirty::now(Trigger::Startup, since));
        }
    }

    /// Access may have come back while nobody looked.
    fn drop_settled(&mut self) {
        let back: BTreeSet<_> = self.owed.since.keys().filter(|record| self.is_back(record)).cloned().collect();
        self.owed.retain(|record| !back.contains(record));
    }

    fn is_back(&self, record: &RecordId) -> bool {
        matches!(self.table.desired(record), Some(Desired::Account(_))) && !self.may_narrow(record)
    }

    /// The link of a user, as far as it is known yet.
    pub(super) fn link_of(&self, record: &RecordId) -> Option<&Link> {
        match &self.place {
            Some(place) => place.links.get(record),
            None => self.recalled.as_ref()?.links.get(record),
        }
    }

    /// Hands the moments at which access ended to the next commit.
    pub(super) fn keep_owed(&mut self) {
        let place = self.place.as_ref().map(|place| &place.space);
        let Some(space) = place.or(self.recalled.as_ref().map(|recalled| &recalled.space)) else { return };
        let writes = self.owed.writes(space);
        self.writes.extend(writes);
    }

    /// Narrowing that is due and not confirmed, oldest first.
    pub(super) fn owed_now(&self) -> Vec<Owed> {
        if self.owed.since.is_empty() {
            return Vec::new();
        }
        let general = self.door_reason();
        let changes = self.standing.holds.iter().flat_map(|hold| &hold.changes);
        let held: BTreeSet<_> = changes.map(|change| &change.record).collect();
        let skipped: BTreeSet<_> =
            self.standing.skips.iter().filter(|skip| keeps_back(skip)).map(|skip| &skip.record).collect();
        let reason = |record: &RecordId| {
            // Whose change waits or is under way was told apart when it was planned, and thousands may wait:
            // each would be projected in every turn.
            let is_planned = || self.queue.contains(record) || self.in_flight.contains_key(record);
            let conflict = || !is_planned() && matches!(self.table.desired(record), Some(Desired::Conflict(_)));
            match general {
                Some(reason) => reason,
                None if self.is_blocked(record) => OwedReason::Blocker,
                None if skipped.contains(record) || conflict() => OwedReason::Conflict,
                None if held.contains(record) => OwedReason::Hold,
                None if self.standing.failures.contains_key(record) => OwedReason::Error,
                None if self.handle.unaccepted && !self.is_under_way(record) => OwedReason::Hold,
                None => OwedReason::Queued,
            }
        };
        let owed = self.owed.since.iter();
        let mut owed: Vec<_> = owed
            .map(|(record, since)| Owed { record: record.clone(), since: *since, reason: reason(record) })
            .collect();
        owed.sort_by(|a, b| (a.since, &a.record).cmp(&(b.since, &b.record)));
        owed
    }

    fn is_under_way(&self, record: &RecordId) -> bool {
        self.queue.contains(record) || self.dirty.contains_key(record) || self.is_busy(record)
    }

    /// Remembers since when each narrowing of `changes` is due.
    pub(super) fn owe<'a>(&mut self, changes: impl IntoIterator<Item = &'a Change>) {
        for change in changes.into_iter().filter(|change| change.takes_access()) {
            let marked = self.dirty.get(&change.record).map(|dirty| dirty.since);
            let since = marked.unwrap_or_else(|| self.ended_at(&change.record));
            self.owed.owe(&change.record, since);
        }
    }

    /// What a plan says of users whom it `concerns`: what it narrows, holds or keeps back is owed,
    /// and nothing else.
    pub(super) fn owe_what_stands(&mut self, plan: &Plan, concerns: &dyn Fn(&RecordId) -> bool) {
        let held: Vec<_> = plan.holds.iter().flat_map(|hold| hold.changes.clone()).collect();
        let narrowing = held.iter().chain(&plan.changes).filter(|change| change.takes_access());
        let narrowing: BTreeSet<_> = narrowing.map(|change| change.record.clone()).collect();
        // One look that finds nobody proves nothing.
        let unproven = |skip: &Skip| {
            let place = self.place.as_ref().filter(|_| skip.reason == SkipReason::Vanished);
            let hand = place.zip(skip.account.as_ref()).map(|(place, account)| place.hand(account));
            hand.is_some_and(|hand| self.may_still_be_in(&skip.record, &hand))
        };
        let unseen = |skip: &Skip| skip.reason == SkipReason::LookUpFirst;
        let skips = plan.skips.iter().filter(|skip| keeps_back(skip) || unproven(skip) || unseen(skip));
        let kept: BTreeSet<_> =
            skips.map(|skip| skip.record.clone()).filter(|record| self.surely_narrows(record)).collect();
        let calls: BTreeSet<_> = self.in_flight.keys().cloned().collect();
        let due = |record: &RecordId| narrowing.contains(record) || kept.contains(record) || calls.contains(record);
        self.owed.retain(|record| !concerns(record) || due(record));
        self.owe(&held);
        if !self.may_write() || self.all_halted().is_some() {
            self.owe(&plan.changes);
        }
        for record in kept {
            let since = self.ended_at(&record);
            self.owed.owe(&record, since);
        }
    }

    /// A look showed that a call had done its work although nobody heard of it.
    pub(super) fn proven_done(&mut self, record: &RecordId, intent: &Intent, account: &Account) {
        let narrows = |change: &Change| change.takes_access();
        if narrows(&intent.change)
            && !self.still_to_do(record, account).iter().any(narrows)
            && !self.is_blocked(record)
            && let Some(since) = self.owed.pay(record)
        {
            self.metrics.revoked((self.shared.now() - since).to_std().unwrap_or_default());
        }
    }

    /// When access ended, as far as that can still be told: by a person's word, at an end date, else
    /// with the snapshot that stands.
    fn ended_at(&self, record: &RecordId) -> DateTime<Utc> {
        let now = self.shared.judged();
        let user = self.snapshot.as_ref().and_then(|snapshot| snapshot.users.get(record));
        let user = user.as_ref();
        let formerly = user.map_or(&[][..], |user| &user.formerly);
        let accepted = || self.shared.current.load().as_ref().map(|current| current.at);
        let at = match self.table.desired(record) {
            Some(Desired::None(no)) => match no.reason {
                NoAccessReason::Revoked => {
                    self.shared.said.load().revoked.of(record, formerly, now).map(|said| said.at)
                }
                NoAccessReason::Ended => user.and_then(|user| user.valid.until),
                NoAccessReason::RoleEnded => user.and_then(|user| role_ended(user, now)),
                NoAccessReason::Inactive
                | NoAccessReason::NotYetValid
                | NoAccessReason::NotGranted
                | NoAccessReason::UserType
                | NoAccessReason::Condition
                | NoAccessReason::Gone => None,
            },
            Some(Desired::Account(projection)) if !projection.lapsed.is_empty() => {
                user.and_then(|user| role_ended(user, now))
            }
            Some(Desired::Account(_) | Desired::Conflict(_)) | None => None,
        };
        at.or_else(accepted).map_or(now, |at| at.min(now))
    }

    /// Whether a conflict keeps an entitlement that no role of the user gives any more.
    pub(super) fn conflict_keeps(&self, record: &RecordId, link: &Link) -> bool {
        let Some(snapshot) = &self.snapshot else { return false };
        let Some(user) = snapshot.users.get(record) else { return false };
        let Access::Granted(names) = self.handle.projector.access(&user, &snapshot.roles, self.shared.judged()) else {
            return false;
        };
        let catalogue = &self.handle.target.entitlements;
        let wanted: BTreeSet<_> = names.iter().filter_map(|name| Some(&catalogue.get(name)?.membership)).collect();
        link.granted.iter().any(|membership| !wanted.contains(membership))
    }
}

/// The last moment at which a role of the user ended.
fn role_ended(user: &User, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    user.roles.iter().filter_map(|role| role.valid.until).filter(|until| *until <= now).max()
}

/// Whether a person must settle something before anything is taken away.
fn keeps_back(skip: &Skip) -> bool {
    matches!(skip.reason, SkipReason::Conflict(_) | SkipReason::Protected | SkipReason::Blocked(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(second)
    }

    fn space() -> Space {
        Space { target: "app".into(), environment: "default".into(), realm: "r".into() }
    }

    #[test]
    fn what_is_owed_keeps_its_first_moment_and_the_store_hears_of_each_step_once() {
        let mut owed = OwedList::default();
        owed.owe(&"a".into(), at(1));
        owed.owe(&"a".into(), at(9));
        assert_eq!(owed.writes(&space()), [Write::Owed(space(), "a".into(), Some(at(1)))]);
        assert_eq!(owed.writes(&space()), []);
        owed.rename(&"a".into(), &"b".into());
        let moved = [Write::Owed(space(), "a".into(), None), Write::Owed(space(), "b".into(), Some(at(1)))];
        assert_eq!(owed.writes(&space()), moved);
        assert_eq!(owed.pay(&"b".into()), Some(at(1)));
        assert_eq!(owed.writes(&space()), [Write::Owed(space(), "b".into(), None)]);
    }

    #[test]
    fn of_what_is_known_here_and_in_the_store_the_earlier_moment_counts() {
        let mut owed = OwedList::default();
        owed.owe(&"a".into(), at(5));
        owed.recall(BTreeMap::from([("a".into(), at(2)), ("b".into(), at(3))]));
        assert_eq!(owed.since, BTreeMap::from([("a".into(), at(2)), ("b".into(), at(3))]));
        assert_eq!(owed.writes(&space()), []);
    }
}
