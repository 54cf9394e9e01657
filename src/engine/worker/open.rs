//! Calls whose end nobody knows: what a later look says about them, before anything new (L2).
//!
//! # Guarantees
//! - A creation is called off only after an observation that began later than the call's time limit
//!   plus `visibleWithin`, and that proves absence. Nobody can set the clock that measures it: it
//!   counts from the call, or from when this process learned of a call that an earlier one made.
//! - What a creation made is linked as ours, even if the user wants another name by now, is renamed,
//!   or is gone: then it is disabled like any other account of theirs.
//! - Two accounts that it may have made are a conflict, as is one that bears our mark under another name
//!   than was sent; none is touched.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::correlate::keys::Comparison;
use crate::engine::look::Looked;
use crate::engine::shared::Running;
use crate::engine::worker::Worker;
use crate::engine::worker::cycles::Settled;
use crate::engine::worker::full::FullRequest;
use crate::engine::worker::grants;
use crate::engine::worker::keyed::Dirty;
use crate::engine::worker::keyed::PATIENCE;
use crate::model::account::Account;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::history::Trigger;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::path::AttributePath;
use crate::model::plan::Coverage;
use crate::model::plan::Plan;
use crate::model::target::Mark;
use crate::model::target::MatchKey;

/// How soon an open creation is looked at again that a person must settle: people may do so there.
const LOOK_AGAIN: Duration = Duration::from_mins(10);

/// What an open creation left, as far as a look shows.
enum Made<'a> {
    Nothing,
    One(&'a Account),
    /// Several, or one of which it is doubtful.
    Unclear(BTreeSet<AccountId>),
}

impl Worker {
    /// What a look says about the open intents of this user, one after another. `false`: it says nothing
    /// yet of one of them.
    pub(super) fn resolved(&mut self, record: &RecordId, dirty: &Dirty, looked: &Looked, begun: Instant) -> bool {
        if let Some(resolved) = self.deletion_resolved(record, dirty, looked, begun) {
            return resolved;
        }
        let resolved = self.first_resolved(record, dirty, looked, begun);
        if !resolved || !self.open.contains_key(record) {
            return resolved;
        }
        // This look did not ask for what the next one of them may have left.
        self.await_look(record, dirty.clone());
        false
    }

    fn first_resolved(&mut self, record: &RecordId, dirty: &Dirty, looked: &Looked, begun: Instant) -> bool {
        self.settle_late(record, looked, begun);
        let Some(intent) = self.open.get(record).cloned() else { return true };
        let over = self.proves_from.get(record).is_none_or(|proves| *proves <= begun);
        let made = match intent.change.action {
            Action::Create if self.link_of(record).is_some() => {
                self.linked_meanwhile(record, intent, (looked, begun));
                self.settle_late(record, looked, begun);
                return true;
            }
            Action::Create => self.made_by(&intent.change, looked),
            Action::Adopt
            | Action::Update
            | Action::Reactivate
            | Action::Restore
            | Action::Narrow
            | Action::Disable
            | Action::Delete => {
                let account = intent.change.account.as_ref().and_then(|account| looked.accounts.get(account));
                // An adoption that gave anything made the account ours to look after.
                let begun_with = |account: &Account| {
                    over && intent.change.action == Action::Adopt && grants::has_any(&intent.change, account)
                };
                let done = |account: &&Account| self.shows(&intent.change, account) || begun_with(account);
                account.filter(done).map_or(Made::Nothing, Made::One)
            }
        };
        match made {
            Made::One(account) => {
                self.found_made((record, dirty), &intent, account, over);
                return true;
            }
            Made::Unclear(accounts) => {
                self.leave_to_a_person(record, dirty, &accounts);
                return false;
            }
            Made::Nothing => {}
        }
        let account = intent.change.account.as_ref();
        if may_still_open(&intent.change, looked) {
            if self.is_too_early(record, dirty, begun) {
                return false;
            }
        } else if let Some(account) = account
            && !over
            && grants::lacks_any(&intent.change, looked.accounts.get(account))
        {
            let from = self.proves_from.get(record).copied().unwrap_or(begun);
            self.put_aside(intent.clone(), account, true, from);
            self.forget_open(record);
            return true;
        }
        if intent.change.action == Action::Create && !looked.proven {
            self.leave_to_listing(record, dirty);
            return false;
        }
        let shown = account.and_then(|account| looked.accounts.get(account));
        self.call_off(record, &intent, "a later look shows that it left nothing");
        if let Some(shown) = shown {
            self.rebook_shown(&intent.change, shown);
        }
        true
    }

    /// A look shows what a call did. `over`: it can do no more.
    fn found_made(&mut self, (record, dirty): (&RecordId, &Dirty), intent: &Intent, account: &Account, over: bool) {
        if self.is_beside(record, &account.id) {
            let why = self.made_beside(intent, &account.id);
            self.forget_open(record);
            if let Some(cycle) = &dirty.cycle {
                self.settle(cycle, record, Settled::Failed(why));
            }
            return;
        }
        self.note_proven(&intent.change, account);
        self.remember_done(intent, account);
        if over {
            self.rebook_shown(&intent.change, account);
        }
        self.forget_open(record);
        self.proven_done(record, intent, account);
        self.look_at_owner(record, &account.id);
        if let Some(cycle) = &dirty.cycle {
            self.settle(cycle, record, Settled::Done(intent.change.action));
        }
    }

    fn call_off(&mut self, record: &RecordId, intent: &Intent, why: &str) {
        self.remember_not_done(intent, OutcomeResult::Nothing(why.to_owned()));
        self.forget_open(record);
    }

    /// Whether the call may act yet, since the look began before its end was sure; then the user is
    /// looked at again when it may not.
    fn is_too_early(&mut self, record: &RecordId, dirty: &Dirty, begun: Instant) -> bool {
        let proves = self.proves_from.get(record).copied();
        let early = proves.filter(|proves| begun < *proves);
        if let Some(due) = early {
            self.await_look(record, Dirty { due, ..dirty.clone() });
        }
        early.is_some()
    }

    /// Remembers a call whose end nobody knows. An earlier process may have begun it just before this
    /// one learned of it, whatever the wall clocks of both said.
    pub(super) fn leave_open(&mut self, record: &RecordId, intent: Intent) {
        let proves = Instant::now() + self.call_limit() + self.handle.connector.capabilities().visible_within;
        let from = *self.proves_from.entry(record.clone()).or_insert(proves);
        self.waits.left_open(&intent.change);
        let Some(earlier) = self.open.remove(record) else {
            self.open.insert(record.clone(), intent);
            return;
        };
        // What a creation made stands beside the account that was linked meanwhile, if it is another.
        let (gives, linked) = (earlier.change.account.is_some(), self.link_of(record).map(|link| link.account.clone()));
        let Some(account) = earlier.change.account.clone().or(linked) else {
            // Nobody knows yet what the creation made: that is asked first.
            self.open.insert(record.clone(), earlier);
            self.behind.entry(record.clone()).or_default().push_back((intent, from.max(proves)));
            return;
        };
        self.put_aside(earlier, &account, gives, from);
        self.open.insert(record.clone(), intent);
    }

    /// Looks prove nothing about an open creation: the next listing must, and nobody waits for it.
    fn leave_to_listing(&mut self, record: &RecordId, dirty: &Dirty) {
        let why = self.cannot_prove(record);
        if let Some(cycle) = &dirty.cycle {
            self.settle(cycle, record, Settled::Failed(why));
        }
        if self.unprovable.insert(record.clone()) && self.running == Running::Daemon {
            self.full_requests.push(FullRequest::of(Trigger::Retry));
        }
    }

    /// Which account is the creation's is not guessed, and none is made beside them.
    fn leave_to_a_person(&mut self, record: &RecordId, dirty: &Dirty, accounts: &BTreeSet<AccountId>) {
        let named = accounts.iter().map(|account| format!("`{account}`")).collect::<Vec<_>>().join(", ");
        let why = format!(
            "nobody knows how the creation of `{record}` ended, and accounts {named} may be its: `rosterd link {record} \
             ACCOUNT` says which one is; rosterd merges and deletes neither"
        );
        self.standing.failures.insert(record.clone(), why.clone());
        self.doubtful.insert(record.clone(), why.clone());
        if let Some(cycle) = &dirty.cycle {
            self.settle(cycle, record, Settled::Failed(why));
        }
        self.unprovable.insert(record.clone());
        self.await_look(record, Dirty { cycle: None, due: Instant::now() + LOOK_AGAIN, ..dirty.clone() });
    }

    /// The calls for a user whose end nobody knows.
    pub(super) fn open_of(&self, record: &RecordId) -> impl Iterator<Item = &Intent> {
        let behind = self.behind.get(record).into_iter().flatten().map(|(intent, _)| intent);
        self.open.get(record).into_iter().chain(behind)
    }

    pub(super) fn forget_open(&mut self, record: &RecordId) {
        self.open.remove(record);
        self.proves_from.remove(record);
        self.waits.judged(record);
        self.doubtful.remove(record);
        self.unprovable.remove(record);
        let Some(behind) = self.behind.get_mut(record) else { return };
        if let Some((next, proves)) = behind.pop_front() {
            self.waits.left_open(&next.change);
            self.open.insert(record.clone(), next);
            self.proves_from.insert(record.clone(), proves);
        } else {
            self.behind.remove(record);
        }
    }

    /// The accounts that a creation may have made: those that carry our mark for its user, or, where
    /// the target has no mark, those that its match keys find and that hold nothing else than it sent.
    ///
    /// A creation is planned only from a proof that none of these keys finds anything, so what they
    /// find now came after that. An account that is linked, or was another's, is not the creation's.
    fn made_by<'a>(&self, change: &Change, looked: &'a Looked) -> Made<'a> {
        match self.left_by(change, looked).as_slice() {
            [] => Made::Nothing,
            [account] if self.is_named_as_sent(change, account) => Made::One(account),
            several => Made::Unclear(several.iter().map(|account| account.id.clone()).collect()),
        }
    }

    /// Whether an account has the user name that a creation sent, if it sent one. Of what bears our mark
    /// under another name, another hand may have made the mark.
    fn is_named_as_sent(&self, change: &Change, account: &Account) -> bool {
        let name = AttributePath::user_name();
        let sent = change.fields.iter().find(|field| field.path == name).and_then(|field| field.after.as_ref());
        let connector = &self.handle.connector;
        let canonicalize = |path: &AttributePath, value: &serde_json::Value| connector.canonicalize(path, value);
        let comparison = Comparison { policy: &self.handle.target.account, canonicalize: &canonicalize };
        sent.is_none_or(|sent| account.values.get(&name).is_some_and(|held| comparison.same(&name, sent, held)))
    }

    /// The same, one by one.
    pub(super) fn left_by<'a>(&self, change: &Change, looked: &'a Looked) -> Vec<&'a Account> {
        let Some(place) = &self.place else { return Vec::new() };
        let known = self.known();
        let free = |account: &&Account| {
            let anothers =
                known.as_ref().is_none_or(|known| known.history.was_anothers(&account.id, &change.record, &[]));
            !place.by_account.contains_key(&account.id) && !anothers
        };
        looked.accounts.values().filter(|account| self.may_be_from(change, account)).filter(free).collect()
    }

    /// Whether an account looks like what a creation makes.
    pub(super) fn may_be_from(&self, change: &Change, account: &Account) -> bool {
        match &self.handle.target.account.mark {
            Mark::At(path) => account.values.get(path).and_then(|value| value.as_str()) == Some(change.record.as_str()),
            Mark::None => self.bears(change, account),
        }
    }

    /// Whether every match key of a creation finds the account, and nothing in it contradicts what
    /// was sent.
    fn bears(&self, change: &Change, account: &Account) -> bool {
        let connector = &self.handle.connector;
        let canonicalize = |path: &AttributePath, value: &serde_json::Value| connector.canonicalize(path, value);
        let policy = &self.handle.target.account;
        let comparison = Comparison { policy, canonicalize: &canonicalize };
        let sent = |path: &AttributePath| change.fields.iter().find(|field| field.path == *path)?.after.as_ref();
        let same = |path: &AttributePath| {
            let (sent, held) = (sent(path), account.values.get(path));
            sent.zip(held).map(|(sent, held)| comparison.same(path, sent, held))
        };
        let name = MatchKey(vec![AttributePath::user_name()]);
        let keys = policy.match_keys.iter().chain([&name]).filter(|key| key.0.iter().all(|path| sent(path).is_some()));
        let found =
            keys.clone().next().is_some() && keys.clone().flat_map(|key| &key.0).all(|path| same(path) == Some(true));
        found && account.state.gives_access() && change.fields.iter().all(|field| same(&field.path) != Some(false))
    }

    /// Whether every open intent was looked at as far as the target lets us, so that a listing may
    /// be planned.
    pub(super) fn looked_at_open(&self) -> bool {
        let hopeless = |record| self.dirty.get(record).is_some_and(|dirty| dirty.attempt >= PATIENCE);
        self.open.keys().all(|record| self.unprovable.contains(record) || hopeless(record))
    }

    /// A complete listing that began late enough proves what look-ups could not, whether the user is
    /// still to have an account, left, or was renamed. `made`: the accounts that it showed and that one
    /// of these creations may have made.
    pub(super) fn resolve_by_listing(&mut self, plan: &Plan, made: BTreeMap<AccountId, Account>, begun: Instant) {
        if plan.coverage != Coverage::Complete {
            return;
        }
        let looked = Looked { accounts: made, proven: true };
        for record in std::mem::take(&mut self.left_to_listing) {
            let creates = |intent: &Intent| intent.change.action == Action::Create;
            if !self.open.get(&record).is_some_and(creates) || self.link_of(&record).is_some() {
                continue;
            }
            let known = self.dirty.get(&record).cloned();
            let dirty = known.unwrap_or_else(|| Dirty::now(Trigger::Retry, self.shared.now()));
            self.resolved(&record, &Dirty { cycle: None, ..dirty }, &looked, begun);
            if self.link_of(&record).is_some() {
                // The plan was made without the link.
                self.touched.insert(record);
            }
        }
    }
}

/// Whether a call of unknown end would open an account that is not open, or not there, as it was
/// seen. An account that is not ours yet may wait for the end of the call that makes it ours.
fn may_still_open(change: &Change, looked: &Looked) -> bool {
    let account = change.account.as_ref().and_then(|account| looked.accounts.get(account));
    match change.action {
        Action::Create => true,
        Action::Adopt => grants::lacks_any(change, account),
        Action::Reactivate | Action::Restore => account.is_none_or(|account| !account.state.gives_access()),
        Action::Update | Action::Narrow | Action::Disable | Action::Delete => false,
    }
}
