//! Full cycles: the target is listed, and everything that differs is planned.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::engine::bounded::contained;
use crate::engine::queue::Entry;
use crate::engine::queue::Lane;
use crate::engine::shared::Running;
use crate::engine::shared::lock;
use crate::engine::worker::Reply;
use crate::engine::worker::Worker;
use crate::engine::worker::cycles::Settled;
use crate::engine::worker::door;
use crate::engine::worker::keyed::Dirty;
use crate::engine::worker::moved;
use crate::engine::worker::owed::OwedList;
use crate::http::rate;
use crate::http::rate::Caller;
use crate::model::account::Account;
use crate::model::account::AccountState;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::history::SeenAccount;
use crate::model::history::Trigger;
use crate::model::ids::AccountId;
use crate::model::ids::CycleId;
use crate::model::ids::RecordId;
use crate::model::plan::Coverage;
use crate::model::plan::Plan;
use crate::model::plan::Skip;
use crate::model::plan::SkipReason;
use crate::model::target::Drift;
use crate::plan::Planned;
use crate::plan::render::essence;
use crate::retry;
use crate::store::Write;

/// How long a target is left alone whose listing could not be judged for want of a store.
const UNKEPT_PAUSE: Duration = Duration::from_mins(1);

/// A full cycle that is due.
pub(super) struct FullRequest {
    pub(super) trigger: Trigger,
    pub(super) only: Option<Only>,
    pub(super) reply: Option<Reply>,
}

/// What of a plan is made.
pub(super) enum Only {
    /// These changes, where they still follow.
    Changes(Vec<Change>),
    /// What concerns these users, who are looked up by themselves where the place is known by then.
    Users(BTreeSet<RecordId>),
}

impl FullRequest {
    pub(super) fn of(trigger: Trigger) -> Self {
        Self { trigger, only: None, reply: None }
    }
}

/// Of which users a plan tells news.
#[derive(Clone, Copy)]
pub(super) enum Speaks<'a> {
    /// Of these: it was made from look-ups.
    For(&'a BTreeSet<RecordId>),
    /// Of all but these: something happened to them since its listing began.
    ForAllBut(&'a BTreeSet<RecordId>),
}

impl Speaks<'_> {
    pub(super) fn of(self, record: &RecordId) -> bool {
        match self {
            Self::For(records) => records.contains(record),
            Self::ForAllBut(newer) => !newer.contains(record),
        }
    }
}

/// A listing came to its end.
pub(super) struct FullDone {
    cycle: CycleId,
    trigger: Trigger,
    only: Option<Only>,
    /// Whether the credential was in another realm than the plan was to be made for.
    elsewhere: bool,
    /// When the listing began.
    begun: Instant,
    result: Result<Listed, ConnectorError>,
}

/// What a listing gave.
struct Listed {
    planned: Planned,
    violations: Vec<String>,
    /// Accounts that a creation of unknown end may have made.
    made: BTreeMap<AccountId, Account>,
}

impl Worker {
    /// Starts the listing of the next full cycle, once open intents are resolved.
    pub(super) fn start_full(&mut self) {
        let free = self.full.is_empty() && self.door.is_open() && self.looked_at_open();
        let now = Instant::now();
        let later = self.next_listing(now).is_none_or(|at| at > now);
        // Of a listing while nothing can be kept nothing would come.
        let unkept = self.store_error.is_some() && !self.writes.is_empty();
        if !free || later || unkept || self.store_is_away() || self.suspended() || self.snapshot.is_none() {
            return;
        }
        let Some(links) = self.place.as_ref().map(|place| Arc::clone(&place.links)) else { return };
        let Some(view) = self.view(self.table.projections(), links) else { return };
        // Requests that nobody waits for are one; a caller's gets a cycle of its own.
        let asked = self.full_requests.iter().position(|request| request.reply.is_some());
        let request = self.full_requests.remove(asked.unwrap_or(0));
        let request = match (request, self.is_unknown()) {
            (FullRequest { trigger, only: Some(Only::Users(records)), reply: Some(reply) }, false) => {
                self.start_cycle_of(&records, trigger, reply);
                return;
            }
            (request, _) => request,
        };
        if request.only.is_none() {
            self.full_requests.retain(|other| other.reply.is_some());
        }
        let Some(cycle) = self.begin_cycle(request.trigger, true, BTreeSet::new(), request.reply) else { return };
        self.touched.clear();
        self.left_to_listing = self.unprovable.clone();
        let open = self.left_to_listing.iter().filter_map(|record| self.open.get(record));
        let creations: Vec<_> = open.map(|intent| intent.change.clone()).collect();
        let FullRequest { trigger, only, .. } = request;
        let begun = Instant::now();
        self.full.spawn(async move {
            let probing = async {
                let probe = rate::in_turn(&view.rate, Caller::Listing, view.connector.probe()).await?;
                Ok(moved::elsewhere(&probe, &view.space.realm))
            };
            let other = contained(ErrorClass::Transient, probing).await;
            let elsewhere = matches!(other, Ok(Some(_)));
            let planning = async {
                other?.map_or(Ok(()), Err)?;
                let (planned, made) = view.observe_seeking(None, &creations).await?;
                let violations = view.violations(&planned);
                Ok(Listed { planned, violations, made })
            };
            let result = contained(ErrorClass::Transient, planning).await;
            FullDone { cycle, trigger, only, elsewhere, begun, result }
        });
    }

    /// When the next full cycle may list, `now` where nothing delays it; `None` where nothing asks for
    /// one. A person's does not wait for listings that failed before, only for what the target said.
    pub(super) fn next_listing(&self, now: Instant) -> Option<Instant> {
        let patient = self.full_requests.iter().all(|request| request.reply.is_none());
        let later = self.list_after.as_ref().map(|(until, _)| *until).filter(|_| patient);
        let paused = self.handle.rate.paused_until();
        let due = later.max(paused).unwrap_or(now);
        (!self.full_requests.is_empty()).then_some(due)
    }

    /// Takes the plan of a listing in.
    pub(super) async fn listed(&mut self, done: FullDone) {
        let FullDone { cycle, trigger, only, elsewhere, begun, result } = done;
        if elsewhere && self.running == Running::Daemon {
            // Somebody must knock, so that the new place is entered.
            self.full_requests.push(FullRequest::of(Trigger::Retry));
        }
        match result {
            Err(error) => self.not_listed(&cycle, trigger, &error),
            Ok(Listed { violations, .. }) if !violations.is_empty() => {
                let words = violations.join("; ");
                tracing::error!(target = %self.handle.target.name, %words, "a plan broke its own laws and is not applied");
                let report =
                    format!("the plan broke a law of its own and was not applied ({words}); please report this");
                self.end_cycle(&cycle, Some(report));
                self.failed_listings = self.failed_listings.saturating_add(1);
                self.look_at_owed();
                self.note_coverage(None, begun);
            }
            Ok(Listed { planned, made, .. }) => {
                self.note_coverage(Some(&planned.plan.coverage), begun);
                self.resolve_by_listing(&planned.plan, made, begun);
                self.take_plan(&cycle, planned, only).await;
            }
        }
    }

    fn not_listed(&mut self, cycle: &CycleId, trigger: Trigger, error: &ConnectorError) {
        self.metrics.retry(error.class.as_str());
        if error.class == ErrorClass::Door {
            self.found_shut(error);
        }
        self.end_cycle(cycle, Some(error.message.clone()));
        // Also where the door is shut by now: one that opens for everything but a listing is listed
        // ever more rarely, too.
        self.failed_listings = self.failed_listings.saturating_add(1);
        let seed = door::seed(self.handle.target.name.as_str());
        let until = Instant::now() + retry::delay(self.failed_listings, error.retry_after, false, seed);
        if error.class == ErrorClass::RateLimited {
            self.handle.rate.pause(until);
        }
        // Looks and calls of single users go on meanwhile, removals among them, also of who was left to
        // the listing.
        self.look_at_owed();
        self.list_after = Some((until, error.message.clone()));
        if trigger != Trigger::Manual {
            // It stays due.
            self.full_requests.push(FullRequest::of(trigger));
        } else if self.lists_fail() && self.running == Running::Daemon && self.full_requests.is_empty() {
            // A quarantine ends with a good listing, and nobody else may ask for one.
            self.full_requests.push(FullRequest::of(Trigger::Retry));
        }
    }

    async fn take_plan(&mut self, cycle: &CycleId, planned: Planned, only: Option<Only>) {
        let Planned { mut plan, seen, in_view, notes, accepted, census } = planned;
        let saved = matches!(only, Some(Only::Changes(_)));
        let only = only.map(|only| match only {
            Only::Changes(changes) => changes,
            Only::Users(records) => {
                plan.changes.iter().filter(|change| records.contains(&change.record)).cloned().collect()
            }
        });
        let only = only.as_deref();
        (self.failed_listings, self.list_after) = (0, None);
        self.note_accounts(&plan, accepted);
        self.review_absences(&plan, &in_view);
        // What happened meanwhile is newer than the listing: those users are looked at again.
        let newer = self.newer_than_listing();
        if only.is_none() && newer.is_empty() {
            self.keep_permits(&plan);
        }
        plan.changes.retain(|change| !newer.contains(&change.record));
        self.take_notes(notes, &newer);
        self.take_census(census, &newer);
        if let Some(place) = self.place.as_mut() {
            place.listed = true;
            place.populated = plan.accounts.values().sum::<u64>() > 0;
        }
        let stay = self.goes_on_beside(only, &newer);
        let Some(mut plan) = self.guard(plan, Some(&stay)).await else {
            let why = "the store does not answer; rosterd tries again";
            self.end_cycle(cycle, Some(why.to_owned()));
            self.list_after = Some((Instant::now() + UNKEPT_PAUSE, why.to_owned()));
            self.full_requests.push(FullRequest::of(Trigger::Retry));
            return;
        };
        self.note_seen(&plan, in_view);
        self.review_beside(&plan);
        // Before the plan is cut: what a saved plan does not name is owed all the same.
        self.stand(&plan, Speaks::ForAllBut(&newer), &seen);
        let stale = only.map(|only| keep_only(&mut plan, only, &self.owed)).unwrap_or_default();
        let mut remaining = BTreeSet::new();
        if self.may_write() {
            let whole = only.is_none().then_some(cycle);
            remaining.extend(self.follow_missing(&plan, &BTreeMap::new(), whole));
            self.look_first(cycle, &plan, only.is_some(), &mut remaining);
            self.look_at_newer(&newer);
            self.review_queue(&plan, &stay);
            remaining.extend(self.enqueue(cycle, &plan.changes, &seen, only.is_some()));
        }
        if saved {
            self.note_stale(cycle, stale);
        }
        self.planned_in(cycle, plan, remaining);
        self.end_if_idle(cycle);
    }

    /// Looks again at users of whom the listing may show yesterday's news.
    fn look_at_newer(&mut self, newer: &BTreeSet<RecordId>) {
        let now = self.shared.now();
        let noted = |record: &&RecordId| self.unprovable.contains(*record) || self.dirty.contains_key(*record);
        let unnoted: Vec<_> = newer.iter().filter(|record| !noted(record)).collect();
        for record in unnoted {
            // What is owed already is as old as it is.
            let since = self.owed.since(record).unwrap_or(now);
            self.await_look(record, Dirty::now(Trigger::Manifest, since));
        }
    }

    /// Users of whom what waits in the queue goes on beside a plan: those that it may show as they
    /// were, and those that a saved plan does not name.
    fn goes_on_beside(&self, only: Option<&[Change]>, newer: &BTreeSet<RecordId>) -> BTreeSet<RecordId> {
        let mut stay = newer.clone();
        if let Some(only) = only {
            let named: BTreeSet<_> = only.iter().map(|change| &change.record).collect();
            let waiting = self.queue.iter().map(|(record, _)| record);
            stay.extend(waiting.filter(|record| !named.contains(record)).cloned());
        }
        stay
    }

    /// Takes back what waits from an earlier plan: the new one speaks for those it saw, and a look
    /// tells whether the rest still follows.
    /// `stay`: of these users it stays as it is.
    fn review_queue(&mut self, plan: &Plan, stay: &BTreeSet<RecordId>) {
        let planned: BTreeSet<_> = plan.changes.iter().map(|change| &change.record).collect();
        let waiting = self.queue.iter().map(|(record, _)| record.clone());
        for record in waiting.filter(|record| !stay.contains(record)).collect::<Vec<_>>() {
            if plan.coverage == Coverage::Complete || planned.contains(&record) {
                self.withdraw(&record);
            } else if let Some(Entry { cycle, since, attempt, .. }) = self.queue.remove(&record) {
                let dirty = Dirty { cycle: Some(cycle), attempt, ..Dirty::now(Trigger::Retry, since) };
                self.await_look(&record, dirty);
            }
        }
    }

    /// Users whom the listing that just ended may show as they were before a call or a look.
    fn newer_than_listing(&self) -> BTreeSet<RecordId> {
        let known = self.touched.iter().chain(self.open.keys()).chain(self.in_flight.keys()).chain(self.looking.keys());
        let renamed = self.dirty.keys().filter(|record| self.comes_after_call(record));
        known.chain(renamed).cloned().collect()
    }

    /// Users whose absence the listing could not prove are looked up one by one.
    fn look_first(&mut self, cycle: &CycleId, plan: &Plan, only: bool, remaining: &mut BTreeSet<RecordId>) {
        if only {
            return;
        }
        let now = self.shared.now();
        for skip in plan.skips.iter().filter(|skip| skip.reason == SkipReason::LookUpFirst) {
            let dirty = Dirty { cycle: Some(cycle.clone()), ..Dirty::now(Trigger::Retry, now) };
            self.await_look(&skip.record, dirty);
            remaining.insert(skip.record.clone());
        }
    }

    /// Puts the changes of a plan into the queue; the users that now wait.
    pub(super) fn enqueue(
        &mut self,
        cycle: &CycleId,
        changes: &[Change],
        seen: &BTreeMap<AccountId, Arc<Account>>,
        exact: bool,
    ) -> BTreeSet<RecordId> {
        let mut by_record: BTreeMap<RecordId, VecDeque<Change>> = BTreeMap::new();
        let halted = self.tell_halted(cycle, changes);
        self.tell_unaccepted(cycle, changes);
        let goes = |change: &&Change| !halted.contains(&Lane::of(change)) && self.may_follow(change);
        for change in changes.iter().filter(goes) {
            // Most users have one change, and there may be a million of them.
            let waiting = by_record.entry(change.record.clone()).or_insert_with(|| VecDeque::with_capacity(1));
            waiting.push_back(change.clone());
        }
        self.owe(changes);
        let (due, now) = (Instant::now(), self.shared.now());
        let mut waiting = BTreeSet::new();
        for (record, changes) in by_record {
            if self.in_flight.contains_key(&record) {
                // Its call ends first; then it is looked at again.
                continue;
            }
            let account = changes.iter().find_map(|change| change.account.as_ref());
            let seen = account.and_then(|account| seen.get(account).cloned());
            self.withdraw(&record);
            let dirty = self.dirty.remove(&record);
            let attempt = dirty.as_ref().map_or(0, |dirty| dirty.attempt);
            let since = dirty.as_ref().map_or(now, |dirty| dirty.since);
            if let Some(former) = dirty.and_then(|dirty| dirty.cycle).filter(|former| former != cycle) {
                self.settle(&former, &record, Settled::Through);
            }
            waiting.insert(record.clone());
            self.queue.put(record, Entry { changes, seen, cycle: cycle.clone(), attempt, due, since, exact });
        }
        waiting
    }

    /// Remembers what a plan leaves undone, of the users for whom it speaks.
    pub(super) fn stand(&mut self, plan: &Plan, speaks: Speaks<'_>, seen: &BTreeMap<AccountId, Arc<Account>>) {
        self.review_asked(plan, speaks);
        let concerns = |record: &RecordId| speaks.of(record);
        self.standing.skips.retain(|skip| !concerns(&skip.record));
        let visible = plan.skips.iter().filter(|skip| stays_visible(skip) && concerns(&skip.record));
        self.standing.skips.extend(visible.cloned());
        self.standing.skips.sort_by(|a, b| a.record.cmp(&b.record));
        self.standing.failures.retain(|record, _| !concerns(record));
        self.standing.failures.extend(self.doubtful.clone());
        let beside = self.standing.beside.iter().map(|(record, beside)| (record.clone(), beside.why.clone()));
        self.standing.failures.extend(beside);
        self.standing.holds.clone_from(&plan.holds);
        self.held_seen.retain(|account, _| held_accounts(plan).any(|held| held == account));
        let held = held_accounts(plan).filter_map(|account| Some((account.clone(), Arc::clone(seen.get(account)?))));
        self.held_seen.extend(held);
        self.owe_what_stands(plan, &concerns);
        if matches!(speaks, Speaks::ForAllBut(_)) {
            self.standing.at = Some(self.shared.now());
        }
        if let Some(place) = &self.place {
            self.writes.push(Write::Standing(place.space.clone(), self.standing.clone()));
        }
        self.publish_standing();
    }

    /// Keeps what a listing showed, for lists of accounts.
    fn note_seen(&mut self, plan: &Plan, in_view: Vec<SeenAccount>) {
        let Some(place) = &self.place else { return };
        let space = place.space.clone();
        self.writes.push(match plan.coverage {
            Coverage::Complete => Write::SeenAll(space, in_view),
            Coverage::Partial(_) | Coverage::Keyed => Write::Seen(space, in_view),
        });
    }

    /// Counts what a listing showed.
    fn note_accounts(&mut self, plan: &Plan, accepted: u64) {
        let reverted =
            plan.changes.iter().filter(|change| change.action == Action::Update && change.effect == Effect::Neutral);
        self.metrics.set_drift(Drift::Revert, reverted.count() as u64);
        let reported = plan.skips.iter().filter(|skip| matches!(skip.reason, SkipReason::Drift(_)));
        self.metrics.set_drift(Drift::Report, reported.count() as u64);
        self.metrics.set_drift(Drift::Accept, accepted);
        for state in AccountState::ALL {
            self.metrics.set_accounts(state, plan.accounts.get(&state).copied().unwrap_or_default());
        }
        let now = self.shared.now();
        let explained = plan.unmanaged.iter().filter(|account| account.is_explained(now)).count() as u64;
        let unmanaged = plan.unmanaged.len() as u64 - explained;
        self.metrics.set_unmanaged(unmanaged);
        if plan.coverage == Coverage::Complete {
            let missing = plan.skips.iter().filter(|skip| skip.reason == SkipReason::Vanished);
            self.metrics.set_missing(missing.count() as u64);
        }
        let mut status = lock(&self.handle.status);
        status.accounts.clone_from(&plan.accounts);
        status.unmanaged = unmanaged;
        status.explained = explained;
    }
}

/// What `status` and `explain` show of a finished plan.
fn stays_visible(skip: &Skip) -> bool {
    !matches!(skip.reason, SkipReason::InSync | SkipReason::NotEntitled(_) | SkipReason::LookUpFirst)
}

fn held_accounts(plan: &Plan) -> impl Iterator<Item = &AccountId> {
    plan.holds.iter().flat_map(|hold| &hold.changes).filter_map(|change| change.account.as_ref())
}

/// Keeps the changes of a saved plan that still follow; returns those that do not. What is owed
/// already of a user whom it names goes along: it must not wait behind the rest, nor be forgotten.
fn keep_only(plan: &mut Plan, only: &[Change], owed: &OwedList) -> Vec<Change> {
    let essences =
        |changes: &[Change]| changes.iter().map(|change| essence(change).to_string()).collect::<BTreeSet<_>>();
    let (now, asked) = (essences(&plan.changes), essences(only));
    let named: BTreeSet<_> = only.iter().map(|change| &change.record).collect();
    let due = |change: &Change| {
        change.takes_access() && named.contains(&change.record) && owed.since(&change.record).is_some()
    };
    plan.changes.retain(|change| asked.contains(&essence(change).to_string()) || due(change));
    only.iter().filter(|change| !now.contains(&essence(change).to_string())).cloned().collect()
}
