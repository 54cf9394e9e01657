//! What an answered call, or a look at one that was never answered, means.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use crate::connector::Applied;
use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::correlate::keys::Comparison;
use crate::engine::queue::Entry;
use crate::engine::shared::lock;
use crate::engine::worker::Worker;
use crate::engine::worker::calls::CallDone;
use crate::engine::worker::cycles::Settled;
use crate::engine::worker::deletion;
use crate::engine::worker::door;
use crate::engine::worker::echo;
use crate::engine::worker::keyed::Dirty;
use crate::engine::worker::keyed::PATIENCE;
use crate::engine::worker::keyed::PATIENCE_WHEN_PACED;
use crate::engine::worker::refusal;
use crate::engine::worker::tell;
use crate::metrics::ChangeResult;
use crate::model::account::Account;
use crate::model::account::AccountState;
use crate::model::audit::AuditEvent;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::history::SeenAccount;
use crate::model::history::Trigger;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::link::LinkedBy;
use crate::model::path::AttributePath;
use crate::model::plan::Coverage;
use crate::model::snapshot::Snapshot;
use crate::retry;
use crate::store::Write;

impl Worker {
    /// Takes the answer of a call in.
    pub(super) fn finished(&mut self, done: CallDone) {
        let CallDone { record, intent, rest, begun, result } = done;
        self.in_flight.remove(&record);
        self.touched.insert(record.clone());
        self.note_taken(&intent.change, &result);
        match deletion::judged(&intent.change, result) {
            Ok(Applied { account: Some(account) }) => self.confirmed(&record, &intent, rest, account),
            Ok(Applied { account: None }) => self.deleted(&record, &intent, &rest),
            Err(error) => {
                if error.class == ErrorClass::Uncertain {
                    // Counted from the call itself: its commit may have taken a while, and the wall
                    // clock may be set meanwhile.
                    let proves = begun + self.call_limit() + self.handle.connector.capabilities().visible_within;
                    self.proves_from.insert(record.clone(), proves);
                }
                self.unconfirmed(&record, intent, rest, &error);
            }
        }
    }

    fn confirmed(&mut self, record: &RecordId, intent: &Intent, rest: Entry, account: Account) {
        self.forget_failure(record);
        self.forget_confirmed(record);
        self.recount(rest.seen.as_deref().map(|before| before.state), account.state);
        if self.is_beside(record, &account.id) {
            let why = self.made_beside(intent, &account.id);
            self.settle(&rest.cycle, record, Settled::Failed(why));
            self.look_again(record, &rest, 0, Instant::now());
            return;
        }
        self.note_call(&intent.change, rest.seen.as_deref(), &account.id);
        self.remember_done(intent, &account);
        let cycle = rest.cycle.clone();
        self.settle(&cycle, record, Settled::Done(intent.change.action));
        if intent.change.action == Action::Create {
            self.metrics.provisioned((self.shared.now() - rest.since).to_std().unwrap_or_default());
        }
        if self.moved_on(record, &account.id) {
            self.settle(&cycle, record, Settled::Through);
            self.look_at_owner(record, &account.id);
            return;
        }
        if self.dirty.contains_key(record) {
            // Something changed while the call was under way. What it took away is gone all the same.
            self.proven_done(record, intent, &account);
            self.look_again(record, &rest, 0, Instant::now());
            return;
        }
        let account = Arc::new(account);
        if !rest.changes.is_empty() {
            let due = Instant::now();
            self.queue.put(record.clone(), Entry { seen: Some(account), attempt: 0, due, ..rest });
            return;
        }
        self.confirm_end(record, intent, &rest, &account);
    }

    /// Whether the account is linked to another record id by now: a declared rename, or a person's link,
    /// came while the call was under way, and what waits behind it is planned anew under the new one.
    fn moved_on(&self, record: &RecordId, account: &AccountId) -> bool {
        let owner = self.place.as_ref().and_then(|place| place.by_account.get(account));
        owner.is_some_and(|owner| owner != record)
    }

    /// Keeps the counts of the last listing true of what was made since.
    fn recount(&mut self, before: Option<AccountState>, after: AccountState) {
        let mut status = lock(&self.handle.status);
        if let Some(count) = before.and_then(|state| status.accounts.get_mut(&state)) {
            *count = count.saturating_sub(1);
        }
        *status.accounts.entry(after).or_default() += 1;
        for state in before.into_iter().chain([after]) {
            self.metrics.set_accounts(state, status.accounts.get(&state).copied().unwrap_or_default());
        }
    }

    /// The last change of a user is made: the account must now equal its projection.
    fn confirm_end(&mut self, record: &RecordId, intent: &Intent, rest: &Entry, account: &Account) {
        let mut left = if rest.exact { Vec::new() } else { self.still_to_do(record, account) };
        if self.contradicted(&intent.change, &account.id, &left) {
            left = self.still_to_do(record, account);
        }
        if !left.iter().any(Change::takes_access)
            && !self.is_blocked(record)
            && let Some(since) = self.owed.pay(record)
            && intent.change.effect == Effect::Narrows
        {
            self.metrics.revoked((self.shared.now() - since).to_std().unwrap_or_default());
        }
        if left.is_empty() {
            self.echoes.settled(record);
            self.suspect_echo(record, &intent.change);
            self.settle(&rest.cycle, record, Settled::Through);
            return;
        }
        let rounds = self.echoes.unsettled(record);
        let repeated = left.iter().any(|change| repeats(change, &intent.change));
        if rounds == 1 || (!repeated && rounds < PATIENCE) {
            // Another change follows, or the first read-back of this one contradicts it.
            self.look_again(record, rest, rest.attempt + 1, Instant::now());
            return;
        }
        let why = echo::never_settles(repeated, &intent.change, &left);
        self.standing.failures.insert(record.clone(), why.clone());
        self.settle(&rest.cycle, record, Settled::Failed(why));
        // State, groups and entitlements are never given up, and an attribute only when it was
        // contradicted twice.
        let narrowing = intent.change.effect == Effect::Narrows;
        let narrowing = narrowing || left.iter().any(Change::takes_access);
        let delay = retry::delay(rounds, None, narrowing, door::seed(record.as_str()));
        self.look_again(record, rest, rest.attempt + 1, Instant::now() + delay);
    }

    fn look_again(&mut self, record: &RecordId, rest: &Entry, attempt: u32, due: Instant) {
        let cycle = Some(rest.cycle.clone());
        let dirty = Dirty { trigger: Trigger::Retry, cycle, since: rest.since, due, attempt, keeps: None };
        self.await_look(record, dirty);
    }

    /// What a plan from this one account would still change.
    pub(super) fn still_to_do(&mut self, record: &RecordId, account: &Account) -> Vec<Change> {
        let Some(place) = &self.place else { return Vec::new() };
        let desired = self.table.desired(record).map(|desired| (record.clone(), desired));
        let desired: BTreeMap<_, _> = desired.into_iter().collect();
        let links = Arc::new(place.links_around([record], [&account.id]));
        let Some(view) = self.view(Arc::new(desired), links) else { return Vec::new() };
        let records = BTreeSet::from([record.clone()]);
        let planned = view.plan([account.clone()], Coverage::Keyed, Some(&records), &BTreeSet::new());
        self.take_notes(planned.notes, &BTreeSet::new());
        self.without_waiting(planned.plan.changes)
    }

    /// Outcome, link, last-seen row and audit event of a change that is surely made.
    pub(super) fn remember_done(&mut self, intent: &Intent, account: &Account) {
        let now = self.shared.now();
        let change = &intent.change;
        self.request_done(change);
        self.metrics.change(change.action, change.effect, change.cause, ChangeResult::Done);
        let may_be_given = self.may_be_given(&account.id);
        let Some(place) = self.place.as_mut() else { return };
        // A declared rename may have moved the link while the call was under way.
        let owner = place.by_account.get(&account.id).unwrap_or(&change.record);
        let before = place.links.get(owner).cloned();
        let new = before.is_none();
        let mut link = link_after(change, account, before.clone(), now);
        link.granted.extend(before.into_iter().flat_map(|link| link.granted).filter(|it| may_be_given.contains(it)));
        place.put_link(link.clone());
        let (owner, action) = (link.record.clone(), change.action);
        let seen = SeenAccount {
            account: account.id.clone(),
            user_name: account.user_name().map(str::to_owned),
            state: account.state,
            record: Some(link.record.clone()),
        };
        let space = place.space.clone();
        self.writes.extend([
            Write::Outcome(intent.id.clone(), OutcomeResult::Done, now),
            Write::Link(space.clone(), link),
            Write::Seen(space, vec![seen]),
            Write::Audit(outcome_event(intent, &OutcomeResult::Done, now)),
        ]);
        self.writes.extend(place.guardrail.permits.use_up(&intent.space, change));
        self.tell_done(intent, &account.id, now);
        self.note_ended(&owner, action);
        if new {
            self.note_identity(&owner, &account.id);
        }
        let former = |snapshot: &Arc<Snapshot>| {
            !snapshot.users.contains_key(&change.record) && snapshot.users.is_former(&change.record)
        };
        if self.snapshot.as_ref().is_some_and(former) {
            self.move_renamed();
        }
    }

    /// Whether an account shows that a change was made.
    pub(super) fn shows(&self, change: &Change, account: &Account) -> bool {
        let connector = &self.handle.connector;
        if change.action == Action::Delete {
            return account.state == AccountState::DeletedRecoverable;
        }
        // What the target locked or its people suspended is not ended by that: it may open again.
        let state = change.active.is_none_or(|active| match account.state {
            AccountState::Active => active,
            AccountState::Disabled | AccountState::DeletedRecoverable => !active,
            AccountState::Pending | AccountState::Suspended | AccountState::Locked | AccountState::Unknown => false,
        });
        let canonicalize = |path: &AttributePath, value: &serde_json::Value| connector.canonicalize(path, value);
        let comparison = Comparison { policy: &self.handle.target.account, canonicalize: &canonicalize };
        let fields = change.fields.iter().all(|field| match (&field.after, account.values.get(&field.path)) {
            (None, None) => true,
            (Some(after), Some(shown)) => comparison.alike(&field.path, after, shown),
            (None, Some(_)) | (Some(_), None) => false,
        });
        let granted = change.granted().iter().all(|membership| account.memberships.contains(membership));
        let revoked = change.revoked().iter().all(|membership| !account.memberships.contains(membership));
        state && fields && granted && revoked
    }

    pub(super) fn remember_not_done(&mut self, intent: &Intent, outcome: OutcomeResult) {
        self.note_outcome(intent, outcome);
        self.tell_not_done(intent, None);
    }

    /// A later look shows that a call was made whose account was linked, and looked after, meanwhile.
    /// `certain`: what it made is that account, if it made any.
    pub(super) fn remember_late_done(&mut self, intent: &Intent, account: &AccountId, certain: bool) {
        self.note_outcome(intent, OutcomeResult::Done);
        if intent.change.action == Action::Create && !certain {
            self.tell_not_done(intent, Some(tell::NOT_ITS_PASSWORD));
        }
        self.tell_done(intent, account, self.shared.now());
    }

    fn note_outcome(&mut self, intent: &Intent, outcome: OutcomeResult) {
        let now = self.shared.now();
        let change = &intent.change;
        self.metrics.change(change.action, change.effect, change.cause, ChangeResult::from(&outcome));
        self.writes.push(Write::Audit(outcome_event(intent, &outcome, now)));
        self.writes.push(Write::Outcome(intent.id.clone(), outcome, now));
    }

    fn unconfirmed(&mut self, record: &RecordId, intent: Intent, mut rest: Entry, error: &ConnectorError) {
        tracing::warn!(
            target = %self.handle.target.name, record = %record, action = intent.change.action.as_str(),
            class = error.class.as_str(), %error, "a change was not confirmed"
        );
        self.standing.failures.insert(record.clone(), error.message.clone());
        self.metrics.retry(error.class.as_str());
        rest.attempt += 1;
        // What takes no access, like a deletion, is not owed: it waits for the next cycle like anything else.
        let narrowing = intent.change.takes_access();
        let delay = retry::delay(rest.attempt, error.retry_after, narrowing, door::seed(record.as_str()));
        let later = Instant::now() + delay;
        if self.repeats(record, &intent) {
            if error.class == ErrorClass::Door {
                self.found_shut(error);
            }
            rest.changes.push_front(intent.change);
            rest.due = later;
            self.queue.put(record.clone(), rest);
            return;
        }
        match error.class {
            ErrorClass::Uncertain => {
                if rest.attempt >= PATIENCE {
                    self.settle(&rest.cycle, record, Settled::Failed(error.message.clone()));
                }
                self.look_again(record, &rest, rest.attempt, later);
                self.leave_open(record, intent);
                return;
            }
            ErrorClass::Exists | ErrorClass::Changed | ErrorClass::NotFound => {
                self.surely_not_done(&intent, OutcomeResult::Nothing(error.message.clone()));
                if rest.attempt < PATIENCE {
                    self.look_again(record, &rest, rest.attempt, Instant::now());
                    return;
                }
                self.settle(&rest.cycle, record, Settled::Failed(error.message.clone()));
                if narrowing {
                    self.look_again(record, &rest, rest.attempt, later);
                }
                return;
            }
            ErrorClass::Refused | ErrorClass::Quota => {
                self.surely_not_done(&intent, OutcomeResult::Refused(error.message.clone()));
                let going_on = refusal::goes_on(&intent.change, &rest.changes);
                if !going_on.is_empty() && !self.dirty.contains_key(record) {
                    let due = Instant::now();
                    self.queue.put(record.clone(), Entry { changes: going_on, attempt: 0, due, ..rest });
                    return;
                }
                self.settle(&rest.cycle, record, Settled::Failed(error.message.clone()));
                if !narrowing {
                    return;
                }
            }
            ErrorClass::RateLimited => {
                self.surely_not_done(&intent, OutcomeResult::Nothing(error.message.clone()));
                self.handle.rate.pause(later);
                if rest.attempt >= PATIENCE_WHEN_PACED {
                    self.settle(&rest.cycle, record, Settled::Failed(error.message.clone()));
                }
            }
            ErrorClass::Transient | ErrorClass::Door => {
                self.surely_not_done(&intent, OutcomeResult::Nothing(error.message.clone()));
                if error.class == ErrorClass::Door {
                    self.found_shut(error);
                } else if rest.attempt >= PATIENCE {
                    self.settle(&rest.cycle, record, Settled::Failed(error.message.clone()));
                }
            }
        }
        self.put_off(record, intent, rest, later);
    }

    /// What did not happen waits for its turn, unless a look finds out first whether it is still wanted.
    fn put_off(&mut self, record: &RecordId, intent: Intent, mut rest: Entry, later: Instant) {
        if intent.change.account.as_ref().is_some_and(|account| self.moved_on(record, account)) {
            self.settle(&rest.cycle, record, Settled::Through);
            return;
        }
        if self.dirty.contains_key(record) || intent.change.action == Action::Delete {
            self.look_again(record, &rest, rest.attempt, later);
            return;
        }
        if intent.change.effect == Effect::Neutral {
            // An attribute that cannot be written now keeps no grant waiting.
            rest.changes.push_back(intent.change);
        } else {
            rest.changes.push_front(intent.change);
        }
        rest.due = later;
        self.queue.put(record.clone(), rest);
    }
}

/// The link as it stands after a change is made.
fn link_after(change: &Change, account: &Account, before: Option<Link>, now: chrono::DateTime<chrono::Utc>) -> Link {
    let by = if change.action == Action::Adopt { LinkedBy::Adopted } else { LinkedBy::Created };
    let mut link = before.unwrap_or_else(|| Link {
        record: change.record.clone(),
        account: account.id.clone(),
        by,
        disabled_by_us: false,
        granted: BTreeSet::new(),
        since: now,
    });
    link.granted.extend(change.granted());
    let revoked = change.revoked();
    // What the target still shows is still to be taken away, and was rosterd's to give.
    link.granted.retain(|membership| !revoked.contains(membership) || account.memberships.contains(membership));
    if let Some(active) = change.active {
        link.disabled_by_us = !active;
    }
    link
}

/// Whether a planned change is the one that was just made.
fn repeats(planned: &Change, made: &Change) -> bool {
    let paths = |change: &Change| change.fields.iter().map(|field| field.path.clone()).collect::<BTreeSet<_>>();
    let same_state = made.active.is_some() && planned.active == made.active;
    let same_fields = paths(planned).intersection(&paths(made)).next().is_some();
    let same_grants = planned.granted().intersection(&made.granted()).next().is_some();
    let same_revokes = planned.revoked().intersection(&made.revoked()).next().is_some();
    same_state || same_fields || same_grants || same_revokes
}

pub(super) fn intent_event(intent: &Intent) -> AuditEvent {
    let change = &intent.change;
    let mut details = BTreeMap::from([
        ("intent".to_owned(), intent.id.as_str().into()),
        ("action".to_owned(), change.action.as_str().into()),
        ("effect".to_owned(), change.effect.as_str().into()),
        ("reason".to_owned(), (*change.reason).into()),
    ]);
    if let Some(cause) = change.cause {
        details.insert("cause".to_owned(), cause.as_str().into());
    }
    if let Some(account) = &change.account {
        details.insert("account".to_owned(), account.as_str().into());
    }
    let names = |entries: &[crate::model::change::EntitlementChange]| {
        let names = entries.iter().filter_map(|entry| entry.name.as_ref());
        serde_json::Value::from(names.map(|name| name.as_str().to_owned()).collect::<Vec<_>>())
    };
    let lists = [
        ("fields", change.fields.iter().map(|field| field.path.as_str().to_owned()).collect::<Vec<_>>().into()),
        ("grant", names(&change.grant)),
        ("revoke", names(&change.revoke)),
    ];
    let filled = lists.into_iter().filter(|(_, list)| *list != serde_json::json!([]));
    details.extend(filled.map(|(name, list)| (name.to_owned(), list)));
    event(intent, "intent", intent.at, details)
}

pub(super) fn outcome_event(intent: &Intent, outcome: &OutcomeResult, at: chrono::DateTime<chrono::Utc>) -> AuditEvent {
    let (word, why) = match outcome {
        OutcomeResult::Done => ("done", None),
        OutcomeResult::Refused(why) => ("refused", Some(why)),
        OutcomeResult::Nothing(why) => ("nothing", Some(why)),
    };
    let mut details =
        BTreeMap::from([("intent".to_owned(), intent.id.as_str().into()), ("result".to_owned(), word.into())]);
    if let Some(why) = why {
        details.insert("reason".to_owned(), why.as_str().into());
    }
    event(intent, "outcome", at, details)
}

fn event(
    intent: &Intent,
    kind: &str,
    at: chrono::DateTime<chrono::Utc>,
    details: BTreeMap<String, serde_json::Value>,
) -> AuditEvent {
    AuditEvent {
        at,
        target: Some(intent.space.target.clone()),
        kind: kind.to_owned(),
        actor: "engine".to_owned(),
        record: Some(intent.change.record.clone()),
        cycle: Some(intent.cycle.clone()),
        details,
    }
}
