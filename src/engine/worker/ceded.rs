//! A person's word that an account is another user's by now, as the worker obeys it.
//!
//! # Guarantees
//! - What was planned for whoever had the account before is not done to it, whatever let it wait: the
//!   queue, a hold, a call that failed, a saved plan (L11).
//! - What that user's calls did there is known of the account all the same, so that the new owner is
//!   neither kept out by it nor keeps what was granted.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::engine::queue::Entry;
use crate::engine::worker::Worker;
use crate::engine::worker::cycles::Settled;
use crate::engine::worker::keyed::Dirty;
use crate::model::change::Change;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::history::Trigger;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::store::Write;

impl Worker {
    /// Takes links over that were read again, where a person said whose an account is. `before`: those
    /// that the worker had.
    pub(super) fn cede(&mut self, before: &BTreeMap<RecordId, Link>) {
        let (Some(place), Some(snapshot)) = (&self.place, &self.snapshot) else { return };
        let declared = |record: &RecordId| snapshot.users.contains_key(record);
        let new = place.links.values().filter(|link| !before.contains_key(&link.record) && declared(&link.record));
        let new: BTreeMap<_, _> = new.map(|link| (&link.account, link)).collect();
        let former = before.values().filter(|link| !declared(&link.record));
        let ceded = former.filter_map(|former| Some(((*new.get(&former.account)?).clone(), former.clone())));
        for (link, former) in ceded.collect::<Vec<_>>() {
            self.take_over(link, &former);
        }
    }

    fn take_over(&mut self, link: Link, former: &Link) {
        let Some(place) = self.place.as_mut() else { return };
        let old = &former.record;
        // A call of the former owner may have ended after the link was written, and before it was heard of.
        let stale = place.take_link(old).is_some();
        let waits = |write: &Write| matches!(write, Write::Link(_, link) if link.record == *old);
        self.writes.retain(|write| !waits(write));
        if stale {
            self.writes.push(Write::Unlink(place.space.clone(), old.clone()));
        }
        let link = Link { disabled_by_us: former.disabled_by_us, granted: former.granted.clone(), ..link };
        self.owed.rename(old, &link.record);
        if let Some(beside) = self.standing.beside.remove(old) {
            self.standing.beside.insert(link.record.clone(), beside);
        }
        if let Some(entry) = self.queue.remove(old) {
            self.end_part(old, &entry, (&link.record, &link.account));
        }
        self.put_link(link);
        self.forget_plans_for(old);
    }

    /// Whoever waits for what was planned for this user waits for nobody now, save for the end of a call.
    fn forget_plans_for(&mut self, record: &RecordId) {
        self.forget_recorded(record);
        self.standing.skips.retain(|skip| skip.record != *record);
        self.standing.failures.remove(record);
        if !self.has_open_call(record)
            && let Some(cycle) = self.dirty.remove(record).and_then(|dirty| dirty.cycle)
        {
            self.settle(&cycle, record, Settled::Through);
        }
    }

    /// Whose the account of a change is by now, where it is not that of its user.
    pub(super) fn new_owner(&self, change: &Change) -> Option<&RecordId> {
        let place = self.place.as_ref()?;
        place.by_account.get(change.account.as_ref()?).filter(|owner| **owner != change.record)
    }

    /// Whether a change is about an account that is another user's by now: then its part of the cycle ends.
    pub(super) fn is_ceded(&mut self, change: &Change, rest: &Entry) -> bool {
        let Some((owner, account)) = self.new_owner(change).cloned().zip(change.account.as_ref()) else { return false };
        self.end_part(&change.record, rest, (&owner, account));
        self.look_at_owner(&change.record, account);
        true
    }

    /// Who asked for exactly this is told; what else the plan said of the account speaks for nobody now.
    fn end_part(&mut self, record: &RecordId, rest: &Entry, (owner, account): (&RecordId, &AccountId)) {
        let how = if rest.exact {
            Settled::Failed(format!(
                "account `{account}` is user `{owner}`'s by now, so what was planned for `{record}` is not done to \
                 it; make a new plan"
            ))
        } else {
            Settled::Through
        };
        self.settle(&rest.cycle, record, how);
    }

    /// Whether a call ended at an account that is nobody's, while a person linked its user to another.
    pub(super) fn is_beside(&self, record: &RecordId, account: &AccountId) -> bool {
        let nobodys = self.place.as_ref().is_some_and(|place| !place.by_account.contains_key(account));
        nobodys && self.link_of(record).is_some_and(|link| link.account != *account)
    }

    /// What such a call did is told, and says nothing of the account that is linked (L2).
    pub(super) fn made_beside(&mut self, intent: &Intent, account: &AccountId) -> String {
        let why = self.tell_beside(&intent.change.record, BTreeSet::from([account.clone()]));
        self.remember_not_done(intent, OutcomeResult::Nothing(why.clone()));
        why
    }

    /// A call for one user ended, or is not made, of whose account another is the owner by now: what it did
    /// is looked at for that one.
    pub(super) fn look_at_owner(&mut self, record: &RecordId, account: &AccountId) {
        let owner = self.place.as_ref().and_then(|place| place.by_account.get(account)).cloned();
        if let Some(owner) = owner.filter(|owner| owner != record) {
            self.await_look(&owner, Dirty::now(Trigger::Retry, self.shared.now()));
        }
    }
}
