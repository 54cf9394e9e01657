//! Deletions: when the wait of an ended account is over, and what is left when it is gone.
//!
//! # Guarantees
//! - What a deletion may have done is looked at before anything new is planned for its user: an account
//!   that is not there any more is done, one that still is waits until the call can act no more.
//! - With the account go its link and what was remembered of it; who had it stays known, so that the id
//!   is never taken for somebody else's.

use std::collections::BTreeMap;
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
use crate::model::ids::RecordId;
use crate::model::projection::Desired;
use crate::store::Write;

/// How often it is asked whose wait is over. A wait is counted in days.
const EVERY: Duration = Duration::from_mins(1);

/// Whose wait was found to be over, so that each is looked at once for it; listings ask again.
#[derive(Debug, Default)]
pub(super) struct Waits {
    next: Option<Instant>,
    next_blocked: Option<Instant>,
    asked: BTreeMap<AccountId, DateTime<Utc>>,
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

    /// Looks again at accounts that stay open for what hangs on them: it may be gone, or the wait over.
    pub(super) fn mind_blocked(&mut self) {
        let early = self.waits.next_blocked.is_some_and(|next| Instant::now() < next);
        if early || self.running != Running::Daemon || self.handle.target.account.blockers.is_empty() {
            return;
        }
        self.waits.next_blocked = Some(Instant::now() + EVERY);
        let Some(place) = &self.place else { return };
        let blocked = place.hands.iter().filter(|(_, hand)| hand.blocked.is_some() && hand.missing_since.is_none());
        let owners: Vec<_> = blocked.filter_map(|(account, _)| place.by_account.get(account)).cloned().collect();
        for record in owners {
            if self.dirty.contains_key(&record) || self.is_busy(&record) {
                continue;
            }
            let since = self.owed.since(&record).unwrap_or_else(|| self.shared.now());
            self.await_look(&record, Dirty::now(Trigger::Retry, since));
        }
    }

    /// Whether the account of somebody who is out stays open for what hangs on it.
    pub(super) fn is_blocked(&self, record: &RecordId) -> bool {
        let place = self.place.as_ref();
        let hand = place.and_then(|place| place.hands.get(&place.links.get(record)?.account));
        hand.is_some_and(|hand| hand.blocked.is_some())
    }

    /// Who is back waits for no deletion any more, also where the target lets nobody look at the account
    /// before the user leaves again.
    pub(super) fn end_wait_of(&mut self, record: &RecordId) {
        let account = self.place.as_ref().and_then(|place| Some(place.links.get(record)?.account.clone()));
        let Some(account) = account.filter(|_| self.has_access(record)) else { return };
        let hand = self.place.as_ref().map(|place| place.hand(&account)).unwrap_or_default();
        if hand.ended.is_some() {
            self.put_hand(&account, Hand { ended: None, ..hand });
        }
    }

    /// The target took the deletion, and shows the account no more.
    pub(super) fn deleted(&mut self, record: &RecordId, intent: &Intent, rest: &Entry) {
        self.standing.failures.remove(record);
        self.forget_confirmed(record);
        self.count_gone(rest.seen.as_deref().map(|before| before.state));
        self.settle(&rest.cycle, record, Settled::Done(Action::Delete));
        let owner = self.remember_deleted(intent);
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

    /// Outcome, audit event, and the end of the link, in one commit. The user who had the account.
    fn remember_deleted(&mut self, intent: &Intent) -> Option<RecordId> {
        let now = self.shared.now();
        let change = &intent.change;
        let account = change.account.as_ref()?;
        self.metrics.change(change.action, change.effect, change.cause, ChangeResult::Done);
        let place = self.place.as_mut()?;
        let space = place.space.clone();
        self.writes.extend(place.guardrail.permits.use_up(&intent.space, change));
        // A declared rename may have moved the link while the call was under way.
        let owner = place.by_account.get(account).cloned();
        if let Some(owner) = &owner {
            place.take_link(owner);
            self.writes.push(Write::Unlink(space.clone(), owner.clone()));
        }
        self.writes.extend([
            Write::Outcome(intent.id.clone(), OutcomeResult::Done, now),
            Write::Unseen(space, account.clone()),
            Write::Audit(outcome::outcome_event(intent, &OutcomeResult::Done, now)),
        ]);
        self.put_hand(account, Hand::default());
        self.waits.asked.remove(account);
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
        match shown.map(|account| account.state) {
            None if looked.proven => {
                self.remember_deleted(&intent);
                self.forget_open(record);
                if let Some(cycle) = &dirty.cycle {
                    self.settle(cycle, record, Settled::Done(Action::Delete));
                }
                // What this look asked for was the account that is gone: who wants another is looked up anew.
                self.await_look(record, dirty.clone());
                Some(false)
            }
            // It may be gone in a moment. Whoever is in again by another hand is put out all the same.
            Some(state) if !over && !state.gives_access() && state != AccountState::DeletedRecoverable => {
                let due = self.proves_from.get(record).copied().unwrap_or_else(Instant::now);
                self.await_look(record, Dirty { due, ..dirty.clone() });
                Some(false)
            }
            None | Some(_) => None,
        }
    }
}

/// What an answer means: only a deletion leaves nothing to show, and one that leaves the account as it
/// was is none.
pub(super) fn judged(
    change: &Change,
    answer: Result<Applied, ConnectorError>,
    visible_within: Duration,
) -> Result<Applied, ConnectorError> {
    let error = |class, message: &str| Err(ConnectorError { class, message: message.to_owned(), retry_after: None });
    let deletes = change.action == Action::Delete;
    match answer?.account {
        None if !deletes => {
            error(ErrorClass::Uncertain, "the target shows no account after the write; it is looked at")
        }
        Some(account) if deletes && account.state != AccountState::DeletedRecoverable => {
            let class = if visible_within.is_zero() { ErrorClass::Refused } else { ErrorClass::Uncertain };
            error(
                class,
                "the target answered that the account was deleted, and still shows it; delete it there by hand",
            )
        }
        account => Ok(Applied { account }),
    }
}
