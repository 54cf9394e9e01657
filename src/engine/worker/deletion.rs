//! Deletions: when the wait of an ended account is over, and what is left when it is gone.
//!
//! # Guarantees
//! - What a deletion may have done is looked at before anything new is planned for its user: an account
//!   that is not there any more is done, one that still is waits until the call can act no more.
//! - With the account go its link and what was remembered of it; who had it stays known, so that the id
//!   is never taken for somebody else's.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use tokio::time::Instant;

use crate::connector::Applied;
use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::engine::look::Looked;
use crate::engine::queue::Entry;
use crate::engine::shared::Running;
use crate::engine::shared::lock;
use crate::engine::worker::Worker;
use crate::engine::worker::cycles::Settled;
use crate::engine::worker::keyed::Dirty;
use crate::engine::worker::keyed::PATIENCE;
use crate::engine::worker::outcome;
use crate::metrics::ChangeResult;
use crate::model::account::AccountState;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::hand::Hand;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::history::Trigger;
use crate::model::ids::AccountId;
use crate::model::ids::CycleId;
use crate::model::ids::RecordId;
use crate::model::link::Space;
use crate::model::plan::Plan;
use crate::model::projection::Desired;
use crate::model::target::Ending;
use crate::plan::render::essence;
use crate::store::StoreError;
use crate::store::Write;

/// How often it is asked whose wait is over. A wait is counted in days.
const EVERY: Duration = Duration::from_mins(1);
/// How old the look may be from which a deletion follows when it leaves (L18).
const FRESH: Duration = Duration::from_mins(1);
/// How long a deletion that the target took is looked for before it counts as refused.
const PURGED_WITHIN: TimeDelta = TimeDelta::hours(1);
/// How long the absence of an account is put down to a deletion that the target took.
const OURS_FOR: TimeDelta = TimeDelta::days(1);

/// What is known of waits and deletions, beside what the store keeps.
#[derive(Debug, Default)]
pub(super) struct Waits {
    next: Option<Instant>,
    /// Whose wait was found to be over, so that each is looked at once for it; listings ask again.
    asked: BTreeMap<AccountId, DateTime<Utc>>,
    /// When the look began by which each of these users' accounts is to be deleted.
    fresh: BTreeMap<RecordId, Instant>,
    /// Deletions of saved plans that are looked at once more, and for which cycle.
    saved: BTreeMap<RecordId, (CycleId, Change)>,
    /// When a look first did not show each of these accounts, of those that were missing in the last one.
    pub(super) missed: BTreeMap<AccountId, Instant>,
    /// The accounts of deletions of unknown end, and for whom each was planned.
    unknown: BTreeMap<AccountId, RecordId>,
    /// When a look first found the account of a deletion of unknown end absent.
    absent: BTreeMap<RecordId, Instant>,
    /// What the store knows of waits while the door has not opened in this process.
    recalled: Vec<Recalled>,
    /// Who was back before the place was known.
    returned: BTreeSet<RecordId>,
}

/// A wait in one of the places where the target was before.
#[derive(Debug)]
struct Recalled {
    space: Space,
    record: RecordId,
    account: AccountId,
    hand: Hand,
}

impl Waits {
    /// Nobody knows how a call ended.
    pub(super) fn left_open(&mut self, change: &Change) {
        let account = change.account.clone().filter(|_| change.action == Action::Delete);
        self.unknown.extend(account.map(|account| (account, change.record.clone())));
    }

    /// The deletion of unknown end came to its end.
    pub(super) fn judged(&mut self, record: &RecordId) {
        self.absent.remove(record);
        self.unknown.retain(|_, other| other != record);
    }

    /// Other news may speak against what follows from the looks so far.
    pub(super) fn renounce(&mut self, news: bool) {
        if news {
            self.fresh.clear();
        }
    }
}

impl Worker {
    /// Looks at accounts whose wait is over.
    pub(super) fn mind_waits(&mut self) {
        let Some(policy) = self.handle.target.account.deletion else { return };
        let early = self.waits.next.is_some_and(|next| Instant::now() < next);
        if early || self.running != Running::Daemon || !self.may_write() {
            return;
        }
        self.waits.next = Some(Instant::now() + EVERY);
        let Some(place) = &self.place else { return };
        let (now, after) = (self.shared.window_now(), TimeDelta::from_std(policy.after).unwrap_or(TimeDelta::MAX));
        let over = |ended: DateTime<Utc>| ended.checked_add_signed(after).is_some_and(|due| due <= now);
        let ended = place.hands.iter().filter_map(|(account, hand)| Some((account, hand.ended?)));
        let due = ended.filter(|(_, ended)| over(*ended));
        let new = due.filter(|(account, ended)| self.waits.asked.get(*account) != Some(ended));
        let new: Vec<_> = new.map(|(account, ended)| (account.clone(), ended)).collect();
        for (account, ended) in new {
            let owner = self.place.as_ref().and_then(|place| place.by_account.get(&account)).cloned();
            self.waits.asked.insert(account, ended);
            if let Some(record) = owner.filter(|record| !self.dirty.contains_key(record)) {
                self.await_look(&record, Dirty::now(Trigger::Validity, self.shared.now()));
            }
        }
    }

    /// Who is back waits for no deletion any more, also where the target lets nobody look at the account
    /// before the user leaves again.
    pub(super) fn end_wait_of(&mut self, record: &RecordId) {
        if !self.has_access(record) {
            return;
        }
        let Some(place) = &self.place else { return self.end_recalled_wait_of(record) };
        let Some(account) = place.links.get(record).map(|link| link.account.clone()) else { return };
        let hand = place.hand(&account);
        if is_waiting(&hand) {
            self.put_hand(&account, without_wait(hand));
        }
        self.void_release(record, &account);
    }

    /// A word about the deletion of an account was about a user who was gone, and is void once they were back
    /// (L11).
    fn void_release(&mut self, record: &RecordId, account: &AccountId) {
        let Some(place) = self.place.as_mut().filter(|place| !place.guardrail.permits.is_empty()) else { return };
        let user = self.snapshot.as_ref().and_then(|snapshot| snapshot.users.get(record));
        let ids = user.into_iter().flat_map(|user| user.formerly).chain([record.clone()]).collect();
        let void = place.guardrail.permits.void_deletion(&place.space, &ids, account);
        self.writes.extend(void);
    }

    /// The door has not opened in this process: the wait ends where the store knows of it.
    fn end_recalled_wait_of(&mut self, record: &RecordId) {
        let user = self.snapshot.as_ref().and_then(|snapshot| snapshot.users.get(record));
        let formerly: Vec<_> = user.map(|user| user.formerly.clone()).unwrap_or_default();
        let over = |wait: &mut Recalled| wait.record == *record || formerly.contains(&wait.record);
        for Recalled { space, account, hand, .. } in self.waits.recalled.extract_if(.., over) {
            self.writes.push(Write::Hand(space, account, without_wait(hand)));
        }
        self.waits.returned.insert(record.clone());
    }

    /// Learns who waits for a deletion before the door opens: it may stay shut until they left again.
    pub(super) async fn recall_waits(&mut self) {
        let read = self.remembered_waits().await;
        self.waits.recalled = self.note(read).unwrap_or_default();
        self.end_recalled_waits();
    }

    async fn remembered_waits(&self) -> Result<Vec<Recalled>, StoreError> {
        let (store, target) = (&self.shared.store, &self.handle.target);
        let mut waits = Vec::new();
        for space in store.spaces(&target.name).await? {
            let mut hands = store.hands(&space).await?;
            hands.retain(|_, hand| is_waiting(hand));
            if hands.is_empty() {
                continue;
            }
            for (record, link) in store.links(&space).await? {
                let wait = hands.remove(&link.account).map(|hand| (link.account, hand));
                waits.extend(wait.map(|(account, hand)| Recalled { space: space.clone(), record, account, hand }));
            }
        }
        Ok(waits)
    }

    /// Ends the wait of whoever is back by now.
    pub(super) fn end_recalled_waits(&mut self) {
        let waiting: BTreeSet<_> = self.waits.recalled.iter().map(|wait| wait.record.clone()).collect();
        for record in waiting.iter().filter_map(|old| self.declared_as(old)).collect::<Vec<_>>() {
            self.end_wait_of(&record);
        }
    }

    /// The record id under which somebody is declared by now, who may have had another.
    fn declared_as(&self, old: &RecordId) -> Option<RecordId> {
        let users = &self.snapshot.as_ref()?.users;
        if users.contains_key(old) {
            return Some(old.clone());
        }
        users.renamed().find(|user| user.formerly.contains(old)).map(|user| user.id.clone())
    }

    /// The place is known: who is back, or was meanwhile, waits no more. Of a store that may have been put
    /// back no wait is believed, nor what it says is missing or given back: a look tells.
    pub(super) fn renew_waits(&mut self) {
        self.waits.recalled.clear();
        let returned = std::mem::take(&mut self.waits.returned);
        let Some(place) = &self.place else { return };
        let doubted = place.guardrail.is_doubted();
        let back = |account: &AccountId| {
            place.by_account.get(account).is_some_and(|owner| returned.contains(owner) || self.has_access(owner))
        };
        let over = |(account, hand): (&AccountId, &Hand)| {
            let hand = hand.clone();
            if doubted {
                let hand = Hand { ended: None, missing_since: None, missing: false, regain: false, ..hand };
                return Some((account.clone(), hand));
            }
            let over = is_waiting(&hand) && back(account);
            over.then(|| (account.clone(), without_wait(hand)))
        };
        for (account, hand) in place.hands.iter().filter_map(over).collect::<Vec<_>>() {
            self.put_hand(&account, hand);
        }
    }

    /// Whether a plan may delete this account now: whoever else fits it must be known then.
    pub(super) fn may_be_deleted(&self, account: &AccountId) -> bool {
        let (policy, place) = (&self.handle.target.account, self.place.as_ref());
        let may = match policy.deletion {
            Some(_) => place.is_some_and(|place| place.hand(account).ended.is_some()),
            None => [policy.on_gone, policy.on_out_of_scope].contains(&Ending::Delete),
        };
        let owner = || place.and_then(|place| place.by_account.get(account));
        may && owner().is_some_and(|owner| !self.has_access(owner))
    }

    /// Notes from which looks deletions follow. `begun`: when each user's look began.
    pub(super) fn note_fresh(&mut self, changes: &[Change], begun: &BTreeMap<RecordId, Instant>) {
        let deletions = changes.iter().filter(|change| change.action == Action::Delete);
        let begun = deletions.filter_map(|change| begun.get_key_value(&change.record));
        self.waits.fresh.extend(begun.map(|(record, begun)| (record.clone(), *begun)));
    }

    /// A deletion leaves from a look at that very account, made just now, and from the newest documents:
    /// what a listing, a hold or the queue kept for a while is looked at first (L18). Whether it is.
    pub(super) fn is_looked_at_first(&mut self, change: &Change, rest: &Entry) -> bool {
        if change.action != Action::Delete {
            return false;
        }
        let fresh = self.waits.fresh.get(&change.record).is_some_and(|looked| looked.elapsed() < FRESH);
        if !fresh {
            if rest.exact {
                self.waits.saved.insert(change.record.clone(), (rest.cycle.clone(), change.clone()));
            }
            let dirty = Dirty {
                cycle: Some(rest.cycle.clone()),
                attempt: rest.attempt,
                ..Dirty::now(Trigger::Retry, rest.since)
            };
            self.await_look(&change.record, dirty);
        }
        !fresh
    }

    /// A look at the account of a saved plan's deletion speaks for that deletion or against it. Where nothing
    /// happens unless it is asked for, nothing else follows from it.
    pub(super) fn keep_to_saved(&mut self, plan: &mut Plan, records: &BTreeSet<RecordId>) {
        let looked: Vec<_> = self.waits.saved.extract_if(.., |record, _| records.contains(record)).collect();
        for (record, (cycle, saved)) in looked {
            let same = |change: &Change| change.record == record && essence(change) == essence(&saved);
            if plan.changes.iter().any(same) {
                continue;
            }
            self.settle(&cycle, &record, Settled::Failed(NOT_FRESH.to_owned()));
            if self.running != Running::Daemon {
                plan.changes.retain(|change| change.record != record);
            }
        }
    }

    /// The target takes a deletion and shows the account all the same: it may be done late.
    pub(super) fn note_taken(&mut self, change: &Change, answer: &Result<Applied, ConnectorError>) {
        let Ok(Applied { account: Some(account) }) = answer else { return };
        if change.action == Action::Delete && account.state != AccountState::DeletedRecoverable {
            self.take(&account.id);
        }
    }

    fn take(&mut self, account: &AccountId) {
        let Some(hand) = self.place.as_ref().map(|place| place.hand(account)) else { return };
        self.put_hand(account, Hand { taken: Some(self.shared.now()), ..hand });
    }

    /// Whether the absence of an account is a deletion of ours that was done late.
    pub(super) fn may_be_our_deletion(&self, hand: &Hand) -> bool {
        hand.taken.is_some_and(|taken| self.shared.now() - taken < OURS_FOR)
    }

    /// The target took the deletion, and shows the account no more.
    pub(super) fn deleted(&mut self, record: &RecordId, intent: &Intent, rest: &Entry) {
        self.forget_failure(record);
        self.forget_confirmed(record);
        self.count_gone(rest.seen.as_deref().map(|before| before.state));
        self.settle(&rest.cycle, record, Settled::Done(Action::Delete));
        let owner = self.remember_deleted(intent, false);
        self.echoes.settled(record);
        self.settle(&rest.cycle, record, Settled::Through);
        for record in [Some(record.clone()), owner].into_iter().flatten() {
            // Whoever came back meanwhile has no account now.
            if self.dirty.contains_key(&record) || self.has_access(&record) {
                self.await_look(&record, Dirty::now(Trigger::Retry, self.shared.now()));
            }
        }
    }

    fn has_access(&self, record: &RecordId) -> bool {
        matches!(self.table.desired(record), Some(Desired::Account(_)))
    }

    /// Keeps the counts of the last listing true.
    fn count_gone(&mut self, before: Option<AccountState>) {
        let Some(state) = before else { return };
        let mut status = lock(&self.handle.status);
        let Some(count) = status.accounts.get_mut(&state) else { return };
        *count = count.saturating_sub(1);
        self.metrics.set_accounts(state, *count);
    }

    /// Outcome, audit event, and the end of the link, in one commit. The user who had the account. `by_looks`:
    /// the target did not say so, and may show the account again.
    fn remember_deleted(&mut self, intent: &Intent, by_looks: bool) -> Option<RecordId> {
        let now = self.shared.now();
        let change = &intent.change;
        let account = change.account.as_ref()?;
        self.metrics.change(change.action, change.effect, change.cause, ChangeResult::Done);
        let place = self.place.as_mut()?;
        let space = place.space.clone();
        self.writes.extend(place.guardrail.permits.use_up(&intent.space, change));
        // A declared rename may have moved the link while the call was under way.
        let owner = place.by_account.get(account).cloned();
        let mut gone = None;
        if let Some(owner) = &owner {
            let link = place.take_link(owner).filter(|_| by_looks);
            self.absences.gone(link.as_ref());
            gone = link;
            self.writes.push(Write::Unlink(space.clone(), owner.clone()));
        }
        self.writes.extend([
            Write::Outcome(intent.id.clone(), OutcomeResult::Done, now),
            Write::Unseen(space, account.clone()),
            Write::Audit(outcome::outcome_event(intent, &OutcomeResult::Done, now)),
        ]);
        self.put_hand(account, Hand { gone, ..Hand::default() });
        self.waits.asked.remove(account);
        self.waits.fresh.remove(&change.record);
        self.tell_done(intent, account, now);
        if let Some(owner) = &owner {
            self.owed.pay(owner);
        }
        owner
    }

    /// What a look says of a deletion of unknown end; `None`: nothing special, others judge it.
    pub(super) fn deletion_resolved(
        &mut self,
        record: &RecordId,
        dirty: &Dirty,
        looked: &Looked,
        begun: Instant,
    ) -> Option<bool> {
        let intent = self.open.get(record).filter(|intent| intent.change.action == Action::Delete).cloned()?;
        // Whether the look began when the call could act no more.
        let over = self.proves_from.get(record).is_none_or(|proves| *proves <= begun);
        let shown = intent.change.account.as_ref().and_then(|account| looked.accounts.get(account));
        if shown.is_some() {
            self.waits.absent.remove(record);
        }
        match shown.map(|account| (&account.id, account.state)) {
            None if looked.proven => {
                self.found_absent(record, dirty, &intent, begun);
                Some(false)
            }
            // It may be gone in a moment. Whoever is in again by another hand is put out all the same.
            Some((_, state)) if !over && !state.gives_access() && state != AccountState::DeletedRecoverable => {
                let due = self.proves_from.get(record).copied().unwrap_or_else(Instant::now);
                self.await_look(record, Dirty { due, ..dirty.clone() });
                Some(false)
            }
            Some((account, state)) if state.gives_access() => {
                if !over {
                    // It is put aside for what takes access, and may still be done.
                    self.take(account);
                }
                None
            }
            Some((account, AccountState::Disabled)) if self.may_be_purged(record, account, &intent) => {
                self.await_purge(record, dirty, &intent);
                Some(false)
            }
            None | Some(_) => None,
        }
    }

    /// One look may be answered wrongly: an account is gone that two do not show, some time apart.
    fn found_absent(&mut self, record: &RecordId, dirty: &Dirty, intent: &Intent, begun: Instant) {
        let first = *self.waits.absent.entry(record.clone()).or_insert(begun);
        let due = first + self.looks_apart();
        if begun < due {
            self.await_look(record, Dirty { due, ..dirty.clone() });
            return;
        }
        let owner = self.remember_deleted(intent, true);
        self.forget_open(record);
        if let Some(cycle) = &dirty.cycle {
            self.settle(cycle, record, Settled::Done(Action::Delete));
        }
        // What this look asked for was the account that is gone: who wants another is looked up anew.
        self.await_look(record, dirty.clone());
        if let Some(owner) = owner.filter(|owner| owner != record) {
            self.await_look(&owner, Dirty::now(Trigger::Retry, self.shared.now()));
        }
    }

    /// Whether a deletion of unknown end, planned for another user, may still take this user's account.
    pub(super) fn may_be_taken(&self, record: &RecordId) -> bool {
        if self.waits.unknown.is_empty() {
            return false;
        }
        let by = self.link_of(record).and_then(|link| self.waits.unknown.get(&link.account));
        by.is_some_and(|other| other != record && self.open.contains_key(other))
    }

    /// Whether the target took the deletion and may yet do it, while nobody needs the account.
    fn may_be_purged(&self, record: &RecordId, account: &AccountId, intent: &Intent) -> bool {
        let taken =
            self.place.as_ref().is_some_and(|place| place.hand(account).taken.is_some_and(|at| at >= intent.at));
        // The user may be back under another record id, or a person may have said whose the account is.
        let owner = self.place.as_ref().and_then(|place| place.by_account.get(account)).cloned();
        let wanted = owner.into_iter().chain(self.declared_as(record)).any(|user| self.has_access(&user));
        taken && !wanted
    }

    /// Looks again, ever more rarely; in the end the deletion counts as refused, and the next cycle tries
    /// it again.
    fn await_purge(&mut self, record: &RecordId, dirty: &Dirty, intent: &Intent) {
        self.standing.failures.insert(record.clone(), STILL_SHOWN.to_owned());
        if let Some(cycle) = &dirty.cycle {
            self.settle(cycle, record, Settled::Failed(STILL_SHOWN.to_owned()));
        }
        if self.shared.now() - intent.at >= PURGED_WITHIN {
            self.remember_not_done(intent, OutcomeResult::Refused(STILL_SHOWN.to_owned()));
            self.forget_open(record);
            return;
        }
        // No listing waits for it.
        let attempt = dirty.attempt.saturating_add(1).max(PATIENCE);
        let due = Instant::now() + EVERY * 2_u32.saturating_pow(attempt.saturating_sub(PATIENCE).min(4));
        self.await_look(record, Dirty { cycle: None, due, attempt, ..dirty.clone() });
    }
}

/// Whether something counts at an account from when its user left: towards its deletion, or for what hangs
/// on it.
fn is_waiting(hand: &Hand) -> bool {
    hand.ended.is_some() || hand.blocked.is_some() || !hand.waited.is_empty()
}

/// The user is back, and next time counts anew.
fn without_wait(hand: Hand) -> Hand {
    Hand { ended: None, blocked: None, waited: BTreeMap::new(), ..hand }
}

const NOT_FRESH: &str = "the deletion had to wait, and a look made just before it shows another account than the plan \
                         was saved for: it is not deleted; make a new plan";
const STILL_SHOWN: &str =
    "the target answered that the account was deleted, and still shows it; delete it there by hand";

/// What an answer means: only a deletion leaves nothing to show, and one that leaves the account as it
/// was may be done late.
pub(super) fn judged(change: &Change, answer: Result<Applied, ConnectorError>) -> Result<Applied, ConnectorError> {
    let error = |message: &str| {
        Err(ConnectorError { class: ErrorClass::Uncertain, message: message.to_owned(), retry_after: None })
    };
    let deletes = change.action == Action::Delete;
    match answer?.account {
        None if !deletes => error("the target shows no account after the write; it is looked at"),
        Some(account) if deletes && account.state != AccountState::DeletedRecoverable => error(STILL_SHOWN),
        account => Ok(Applied { account }),
    }
}
