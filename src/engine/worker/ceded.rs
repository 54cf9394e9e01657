//! A person's word that an account is another user's by now, as the worker obeys it.
//!
//! # Guarantees
//! - What was planned for whoever had the account before is not done to it, whatever let it wait: the
//!   queue, a hold, a call that failed, a saved plan (L11).
//! - What that user's calls did there is known of the account all the same, so that the new owner is
//!   neither kept out by it nor keeps what was granted.
//! - Of a person's link and one that a call made at the same moment the person's stands, in whichever order
//!   the store heard of them: it would refuse the other one for ever.

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
use crate::model::ids::IntentId;
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
        let taken = |former: &Link| new.get(&former.account).copied().filter(|link| link.record != former.record);
        let ceded = before.values().filter_map(|former| Some((taken(former)?.clone(), former.clone())));
        let ceded: Vec<_> = ceded.map(|(link, former)| (declared(&former.record), link, former)).collect();
        for (declared, link, former) in ceded {
            self.take_over(link.clone(), &former);
            if declared {
                self.tell_ceded(&former, &link.record);
            }
        }
    }

    /// Who is declared had the account for a moment, as far as the store did not hear of it yet.
    fn tell_ceded(&mut self, former: &Link, owner: &RecordId) {
        let (record, account) = (&former.record, &former.account);
        self.forget_made(record, account);
        let details = BTreeMap::from([
            ("account".to_owned(), account.as_str().into()),
            ("user".to_owned(), owner.as_str().into()),
        ]);
        self.tell("ceded", record, details);
        self.await_look(record, Dirty::now(Trigger::Decision, self.shared.now()));
    }

    /// Nothing is remembered of a user's having an account that a person linked otherwise before the store
    /// heard of it: neither who the account was, nor a mail by which its person would get in.
    fn forget_made(&mut self, record: &RecordId, account: &AccountId) {
        let key = self.shared.store.identity_key();
        let (of, at) = (key.record(record), key.account(account));
        let linked =
            |write: &Write| matches!(write, Write::Link(_, link) if link.record == *record && link.account == *account);
        let known = |write: &Write| matches!(write, Write::Identity(_, row) if row.record == of && row.account == at);
        self.writes.retain(|write| !linked(write) && !known(write));
        let told =
            self.writes.iter().filter_map(|write| if let Write::Audit(event) = write { Some(event) } else { None });
        let ended = told.filter(|event| event.kind == "outcome" && event.record.as_ref() == Some(record));
        let ended = ended.filter_map(|event| event.details.get("intent")?.as_str().map(IntentId::from));
        for intent in ended.collect::<Vec<_>>() {
            self.keep_mail_back(&intent);
        }
    }

    /// A person's link that a call's overran in the store, which was recorded just after it, is put back.
    pub(super) fn obey_link(&mut self, said: Option<Link>) {
        let (Some(said), Some(place)) = (said, &self.place) else { return };
        let Some(made) = place.links.get(&said.record).filter(|link| link.account != said.account).cloned() else {
            return;
        };
        if place.by_account.contains_key(&said.account) {
            return;
        }
        self.forget_made(&made.record, &made.account);
        if let Some(place) = self.place.as_mut() {
            place.take_link(&made.record);
        }
        let (record, account) = (said.record.clone(), said.account.clone());
        self.put_link(said);
        self.note_identity(&record, &account);
        self.withdraw(&record);
        self.tell_beside(&record, BTreeSet::from([made.account]));
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
