//! What calls of ours may have given, known before they leave (L10).
//!
//! # Guarantees
//! - A membership is booked as granted in the link by the commit that holds the intent which gives
//!   it: whatever becomes of the call, a leaver loses it.
//! - It leaves the book only by an answer that nothing was done, or by a look that began when no call
//!   could act any more and does not show it.
//! - Nobody's removal waits for the end of a call that may give something more: the call is put
//!   aside, and the account looked at again once it can act no more.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::look::Looked;
use crate::engine::worker::Worker;
use crate::engine::worker::keyed::Dirty;
use crate::model::account::Account;
use crate::model::account::Membership;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::history::Beside;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::history::Trigger;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::plan::Coverage;
use crate::model::plan::Plan;
use crate::store::Write;

/// How soon an account is looked at again that the target did not show, and did not disown.
const LOOK_AGAIN: Duration = Duration::from_mins(10);

/// A call that may still give something to an account that is planned already.
struct Late {
    intent: Intent,
    /// Whether what it gives goes to this account, and not to one that it made.
    gives: bool,
    /// A look that begins from here on shows all that it did.
    from: Instant,
}

/// Calls that were put aside, by the linked account that they may give something to.
#[derive(Default)]
pub(super) struct LateCalls(BTreeMap<AccountId, Vec<Late>>);

impl LateCalls {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// When the next look is due. One that is due already was asked for, and what waits for it wakes the
    /// worker.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let now = Instant::now();
        self.0.values().flatten().map(|late| late.from).filter(|from| *from > now).min()
    }

    /// The accounts of which a look is due at `now`.
    fn due(&self, now: Instant) -> Vec<AccountId> {
        let due = self.0.iter().filter(|(_, calls)| calls.iter().any(|late| late.from <= now));
        due.map(|(account, _)| account.clone()).collect()
    }

    /// One call that may concern this account and that a look which began then shows the end of.
    fn take(&mut self, account: &AccountId, begun: Instant) -> Option<Late> {
        let calls = self.0.get_mut(account)?;
        let taken = calls.iter().position(|late| late.from <= begun).map(|index| calls.remove(index));
        self.0.retain(|_, calls| !calls.is_empty());
        taken
    }

    /// What is not settled yet of this account.
    pub(super) fn intents(&self, account: &AccountId) -> impl Iterator<Item = &Intent> {
        self.0.get(account).into_iter().flatten().map(|late| &late.intent)
    }

    /// A creation among the calls that may concern this account: what it made is looked for, too.
    pub(super) fn creation(&self, account: &AccountId) -> Option<&Change> {
        let mut late = self.0.get(account).into_iter().flatten().map(|late| &late.intent.change);
        late.find(|change| change.action == Action::Create)
    }

    /// What they may still give.
    fn granted(&self, account: &AccountId) -> BTreeSet<Membership> {
        let giving = self.0.get(account).into_iter().flatten().filter(|late| late.gives);
        giving.flat_map(|late| late.intent.change.granted()).collect()
    }
}

impl Worker {
    /// The links as they must be committed with these intents.
    pub(super) fn booked<'a>(&self, intents: impl Iterator<Item = &'a Intent>) -> Vec<Link> {
        intents.filter_map(|intent| self.with_grants(&intent.change, intent.change.account.as_ref()?)).collect()
    }

    /// The link of `account` with what the change gives; `None` where it says so already.
    fn with_grants(&self, change: &Change, account: &AccountId) -> Option<Link> {
        let (link, granted) = (self.owner_of(account)?, change.granted());
        (!granted.is_subset(&link.granted)).then(|| {
            let mut link = link.clone();
            link.granted.extend(granted);
            link
        })
    }

    /// The commit took them.
    pub(super) fn keep_booked(&mut self, links: Vec<Link>) {
        if let Some(place) = self.place.as_mut() {
            for link in links {
                place.put_link(link);
            }
        }
    }

    /// The link of an account, and of whom; a rename may have moved it since a call began.
    fn owner_of(&self, account: &AccountId) -> Option<&Link> {
        let place = self.place.as_ref()?;
        place.links.get(place.by_account.get(account)?)
    }

    /// Of what `change` gives, only what the account `holds`, or another call may still give, stays
    /// booked.
    fn rebook(&mut self, change: &Change, account: &AccountId, holds: &BTreeSet<Membership>) {
        let Some(link) = self.owner_of(account) else { return };
        let late = self.late.granted(account);
        let (mut after, granted) = (link.clone(), change.granted());
        after.granted.extend(granted.intersection(holds).cloned());
        let gone = |membership: &Membership| granted.contains(membership) && !holds.contains(membership);
        after.granted.retain(|membership| !gone(membership) || late.contains(membership));
        if after != *link {
            self.put_link(after);
        }
    }

    /// The target answered that the call did nothing.
    pub(super) fn surely_not_done(&mut self, intent: &Intent, outcome: OutcomeResult) {
        self.remember_not_done(intent, outcome);
        if let Some(account) = &intent.change.account {
            self.rebook(&intent.change, account, &BTreeSet::new());
        }
    }

    /// A look that began late enough shows `account` after a call of which nobody heard.
    pub(super) fn rebook_shown(&mut self, change: &Change, account: &Account) {
        self.rebook(change, &account.id, &account.memberships);
    }

    /// What the link must keep though it was just taken away: a call may give it once more.
    pub(super) fn may_be_given(&self, account: &AccountId) -> BTreeSet<Membership> {
        self.late.granted(account)
    }

    /// Plans the linked account as it is, and looks again once the call can act no more. `gives`:
    /// what it gives goes to this account.
    pub(super) fn put_aside(&mut self, intent: Intent, account: &AccountId, gives: bool, from: Instant) {
        if let Some(link) = self.with_grants(&intent.change, account).filter(|_| gives) {
            // Whoever recorded the intent may have booked nothing.
            self.put_link(link);
        }
        self.late.0.entry(account.clone()).or_default().push(Late { intent, gives, from });
    }

    /// A person linked an account to a user of whom nobody knows how a creation ended. Whether the
    /// creation made it shows now, before anything is written there; what else it made, later.
    pub(super) fn linked_meanwhile(&mut self, record: &RecordId, intent: Intent, (looked, begun): (&Looked, Instant)) {
        let Some(account) = self.link_of(record).map(|link| link.account.clone()) else { return };
        let shown = looked.accounts.get(&account);
        let gives = shown.is_some_and(|shown| self.may_be_from(&intent.change, shown));
        let from = self.proves_from.get(record).copied().unwrap_or(begun);
        self.forget_open(record);
        self.put_aside(intent, &account, gives, from);
    }

    /// Whether a call for this user may still act.
    pub(super) fn has_open_call(&self, record: &RecordId) -> bool {
        let link = self.link_of(record);
        self.open.contains_key(record) || link.is_some_and(|link| self.late.0.contains_key(&link.account))
    }

    fn look_unless_noted(&mut self, record: &RecordId) {
        if !self.dirty.contains_key(record) && !self.looking.contains_key(record) {
            self.await_look(record, Dirty::now(Trigger::Retry, self.shared.now()));
        }
    }

    /// Asks for the looks that are due, each time anew until they were made: a listing may have taken the
    /// place of one that was asked for, and settles nothing here.
    pub(super) fn look_at_late(&mut self) {
        for account in self.late.due(Instant::now()) {
            if let Some(owner) = self.owner_of(&account).map(|link| link.record.clone()) {
                self.look_unless_noted(&owner);
                continue;
            }
            // An account that is nobody's any more was found to be gone for good.
            for Late { intent, .. } in self.late.0.remove(&account).unwrap_or_default() {
                self.remember_not_done(&intent, OutcomeResult::Nothing("the account is gone".to_owned()));
            }
        }
    }

    /// Takes in what a look shows of calls that were put aside and can act no more.
    pub(super) fn settle_late(&mut self, record: &RecordId, looked: &Looked, begun: Instant) {
        if self.late.0.is_empty() {
            return;
        }
        let Some(account) = self.link_of(record).map(|link| link.account.clone()) else { return };
        let shown = looked.accounts.get(&account).cloned();
        let Some(calls) = self.late.0.get_mut(&account) else { return };
        if shown.is_none() && !looked.proven {
            for late in calls.iter_mut().filter(|late| late.from <= begun) {
                late.from = begun + LOOK_AGAIN;
            }
            return;
        }
        // One after another: of several creations each hears of those that were not settled before it.
        while let Some(Late { intent, gives, .. }) = self.late.take(&account, begun) {
            let beside = if gives { BTreeSet::new() } else { self.beside(&intent.change, looked) };
            let made = intent.change.action == Action::Create && gives;
            let done = made || shown.as_ref().is_some_and(|shown| self.shows(&intent.change, shown));
            if !beside.is_empty() {
                let why = self.tell_beside(record, beside);
                self.remember_not_done(&intent, OutcomeResult::Nothing(why));
            } else if done {
                self.remember_late_done(&intent, &account, gives);
            } else {
                let why = "a later look shows that it did not do all of it".to_owned();
                self.remember_not_done(&intent, OutcomeResult::Nothing(why));
            }
            if gives {
                let holds = shown.as_ref().map(|shown| shown.memberships.clone()).unwrap_or_default();
                self.rebook(&intent.change, &account, &holds);
            }
        }
    }

    /// The accounts that a creation made beside the one that a person linked.
    fn beside(&self, change: &Change, looked: &Looked) -> BTreeSet<AccountId> {
        let made = if change.action == Action::Create { self.left_by(change, looked) } else { Vec::new() };
        made.into_iter().map(|account| account.id.clone()).collect()
    }

    /// Tells of them, in this process and the next; the words.
    pub(super) fn tell_beside(&mut self, record: &RecordId, accounts: BTreeSet<AccountId>) -> String {
        let named: Vec<_> = accounts.iter().map(|account| format!("`{account}`")).collect();
        let why = format!(
            "a person linked an account to `{record}` while nobody knew how its creation ended, and {} may be what the \
             creation made: look at both there and remove the wrong one by hand; rosterd deletes neither",
            named.join(", ")
        );
        self.stand_beside(record, accounts, why.clone());
        why
    }

    /// Tells of an account that is there again, beside the one that its user was given meanwhile.
    pub(super) fn tell_shown_beside(&mut self, record: &RecordId, account: AccountId) {
        let why = format!(
            "account `{account}` of `{record}` is there again, which the target had said to be gone, and `{record}` was \
             given another one meanwhile: look at both there and remove the wrong one by hand; rosterd deletes neither"
        );
        self.stand_beside(record, BTreeSet::from([account]), why);
    }

    fn stand_beside(&mut self, record: &RecordId, accounts: BTreeSet<AccountId>, why: String) {
        self.standing.failures.insert(record.clone(), why.clone());
        self.standing.beside.insert(record.clone(), Beside { accounts, why });
        if let Some(place) = &self.place {
            self.writes.push(Write::Standing(place.space.clone(), self.standing.clone()));
        }
    }

    /// What failed for a user is over, save for what a person must settle.
    pub(super) fn forget_failure(&mut self, record: &RecordId) {
        match self.standing.beside.get(record) {
            Some(Beside { why, .. }) => drop(self.standing.failures.insert(record.clone(), why.clone())),
            None => drop(self.standing.failures.remove(record)),
        }
    }

    /// What a complete listing does not show as nobody's is settled: a person removed it, or said whose it
    /// is.
    pub(super) fn review_beside(&mut self, plan: &Plan) {
        if plan.coverage != Coverage::Complete || self.standing.beside.is_empty() {
            return;
        }
        let nobodys: BTreeSet<_> = plan.unmanaged.iter().map(|unmanaged| &unmanaged.account).collect();
        self.standing.beside.retain(|_, beside| beside.accounts.iter().any(|account| nobodys.contains(account)));
    }
}

/// Whether the account lacks any membership that the change gives.
pub(super) fn lacks_any(change: &Change, account: Option<&Account>) -> bool {
    change.granted().iter().any(|given| account.is_none_or(|account| !account.memberships.contains(given)))
}

/// Whether the account has any membership that the change gives, and that it lacked when the change
/// was planned.
pub(super) fn has_any(change: &Change, account: &Account) -> bool {
    change.granted().iter().any(|given| account.memberships.contains(given))
}
