//! Keyed cycles: a few users are looked up, planned and queued, narrowing ones first.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use futures_util::StreamExt;
use tokio::time::Instant;

use crate::connector::Connector;
use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connector::Shape;
use crate::engine::bounded::contained;
use crate::engine::look;
use crate::engine::look::Looked;
use crate::engine::look::Sought;
use crate::engine::look::View;
use crate::engine::queue::Lane;
use crate::engine::shared::Running;
use crate::engine::worker::Reply;
use crate::engine::worker::STORE_PAUSE;
use crate::engine::worker::Worker;
use crate::engine::worker::batch::Batch;
use crate::engine::worker::cycles::Cycle;
use crate::engine::worker::cycles::Settled;
use crate::engine::worker::door;
use crate::engine::worker::full::FullRequest;
use crate::engine::worker::full::Speaks;
use crate::engine::worker::keeps::Keeps;
use crate::http::rate;
use crate::http::rate::Rate;
use crate::model::account::Account;
use crate::model::change::Change;
use crate::model::history::Trigger;
use crate::model::ids::AccountId;
use crate::model::ids::CycleId;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::plan::Plan;
use crate::model::plan::SkipReason;
use crate::model::projection::Desired;
use crate::model::projection::Wishes;
use crate::model::target::Target;
use crate::plan;
use crate::plan::Planned;
use crate::retry;

/// A user that must be looked at.
#[derive(Clone, Debug)]
pub(super) struct Dirty {
    pub(super) trigger: Trigger,
    /// The cycle that waits for this user; `None` begins a new one.
    pub(super) cycle: Option<CycleId>,
    /// Since when a change is wanted.
    pub(super) since: DateTime<Utc>,
    /// Not before this.
    pub(super) due: Instant,
    /// Tries so far.
    pub(super) attempt: u32,
    /// What the user keeps, worked out once: every turn asks for it. Forgotten where the answer changes.
    pub(super) keeps: Option<Keeps>,
}

impl Dirty {
    pub(super) fn now(trigger: Trigger, since: DateTime<Utc>) -> Self {
        Self { trigger, cycle: None, since, due: Instant::now(), attempt: 0, keeps: None }
    }
}

/// What looking up takes.
struct Sight {
    connector: Arc<dyn Connector>,
    target: Arc<Target>,
    shape: Arc<Shape>,
}

/// One user's part of a batch of look-ups.
struct Subject {
    record: RecordId,
    link: Option<Link>,
    desired: Option<Desired>,
    /// A call for this user whose end nobody knows.
    open: Option<Change>,
    /// Accounts that the user had until looks found them gone.
    gone: Vec<AccountId>,
}

/// A user who is being looked at.
pub(super) struct Looking {
    /// Whose batch counts: a look that may take away does not wait for one that may not.
    lane: Lane,
    dirty: Dirty,
}

/// A batch of look-ups came to its end.
pub(super) struct LooksDone {
    lane: Lane,
    results: Vec<LookDone>,
}

/// One user's look-ups came to their end.
struct LookDone {
    record: RecordId,
    /// When the first of them began: what they show may be as old as this, and what they do not show
    /// was not there then.
    begun: Instant,
    result: Result<Looked, ConnectorError>,
}

/// Users of one batch for each slot: enough to hide latency, few enough that the next is never far.
const LOOKS_PER_SLOT: usize = 4;
/// From so many waiting users on, one listing is cheaper than look-ups.
const LIST_INSTEAD: usize = 1_000;
/// Failed tries after which a cycle no longer waits for a user.
pub(super) const PATIENCE: u32 = 3;
/// The same where the target asks for fewer calls: it says that it goes on, only later, and calls of
/// other users may take the turn meanwhile.
pub(super) const PATIENCE_WHEN_PACED: u32 = 6;

impl Worker {
    /// Notes that these users must be looked at: what waits for them was planned from old news.
    pub(super) fn mark(&mut self, records: impl IntoIterator<Item = RecordId>, trigger: Trigger, since: DateTime<Utc>) {
        for record in records {
            let cycle = self.queue.remove(&record).map(|entry| entry.cycle);
            self.touched.insert(record.clone());
            self.end_wait_of(&record);
            self.blocked.hurry(&record);
            if self.surely_narrows(&record) {
                // Owed from now on, not from when the target lets somebody look.
                self.owed.owe(&record, since);
                self.door.hasten();
            } else if matches!(self.table.desired(&record), Some(Desired::Account(_)))
                && !self.in_flight.contains_key(&record)
            {
                // Access is back: nothing is owed, though nobody may be able to look.
                self.owed.pay(&record);
                self.forget_recorded(&record);
            }
            self.echoes.settled(&record);
            self.await_look(&record, Dirty { cycle, ..Dirty::now(trigger, since) });
        }
    }

    /// Notes that a user must be looked at. What is noted already stands; the earlier of both
    /// times counts, and a cycle that is no longer needed is told.
    pub(super) fn await_look(&mut self, record: &RecordId, dirty: Dirty) {
        let Some(known) = self.dirty.get_mut(record) else {
            self.dirty.insert(record.clone(), dirty);
            return;
        };
        known.since = known.since.min(dirty.since);
        known.due = known.due.min(dirty.due);
        known.attempt = known.attempt.min(dirty.attempt);
        let extra = match (&known.cycle, dirty.cycle) {
            (None, cycle) => {
                known.cycle = cycle;
                None
            }
            (Some(_), None) => None,
            (Some(kept), Some(other)) => (*kept != other).then_some(other),
        };
        if let Some(cycle) = extra {
            self.settle(&cycle, record, Settled::Through);
        }
    }

    /// Takes what waits for a user back: something newer speaks for it.
    pub(super) fn withdraw(&mut self, record: &RecordId) {
        if let Some(entry) = self.queue.remove(record) {
            self.settle(&entry.cycle, record, Settled::Through);
        }
    }

    /// Begins the cycle that a caller asks for.
    pub(super) fn start_cycle_of(&mut self, records: &BTreeSet<RecordId>, trigger: Trigger, reply: Reply) {
        let Some(cycle) = self.begin_cycle(trigger, false, records.clone(), Some(reply)) else { return };
        self.mark(records.iter().cloned(), trigger, self.shared.now());
        for record in records {
            if let Some(former) = self.dirty.get_mut(record).and_then(|dirty| dirty.cycle.replace(cycle.clone())) {
                self.settle(&former, record, Settled::Through);
            }
        }
        self.end_if_idle(&cycle);
    }

    /// When the next user is due to be looked at.
    pub(super) fn next_look(&self) -> Option<Instant> {
        if !self.may_look() {
            return None;
        }
        // A lane whose batch is under way wakes the worker when it ends.
        let free =
            |record: &RecordId| self.may_be_looked_at(record) && !self.looking_lanes.contains(&self.look_lane(record));
        self.dirty.iter().filter(|(record, _)| free(record)).map(|(_, dirty)| dirty.due).min()
    }

    fn look_lane(&self, record: &RecordId) -> Lane {
        if self.comes_first(record) { Lane::Narrow } else { Lane::Widen }
    }

    fn may_look(&self) -> bool {
        let inside = self.door.is_open() && self.place.is_some() && self.snapshot.is_some();
        inside && !self.suspended() && !self.store_is_away() && self.looks.len() < 2
    }

    /// In a place that is met for the first time creations wait for a listing; who must lose an
    /// account that is known to be theirs does not.
    fn waits_for_listing(&self, record: &RecordId) -> bool {
        self.is_unknown() && !self.surely_narrows(record)
    }

    pub(super) fn is_busy(&self, record: &RecordId) -> bool {
        self.in_flight.contains_key(record) || self.looking.contains_key(record) || self.comes_after_call(record)
    }

    /// Who leaves while a batch of others is looked at is looked at anew, at once (L5): what the
    /// batch brings of them is not taken.
    fn may_be_looked_at(&self, record: &RecordId) -> bool {
        let overtakes =
            self.looking.get(record).is_none_or(|looking| looking.lane != Lane::Narrow && self.comes_first(record));
        let free = !self.in_flight.contains_key(record) && !self.comes_after_call(record);
        overtakes && free && !self.waits_for_listing(record)
    }

    /// Whether a call for an earlier record id of this user is under way, or nobody knows its end: the
    /// account that it is about is this user's. The same of a deletion for whoever had the account before a
    /// person gave it to this user.
    pub(super) fn comes_after_call(&self, record: &RecordId) -> bool {
        if self.in_flight.is_empty() && self.open.is_empty() {
            return false;
        }
        let user = self.snapshot.as_ref().and_then(|snapshot| snapshot.users.get(record));
        let mut formerly = user.into_iter().flat_map(|user| user.formerly);
        formerly.any(|old| self.in_flight.contains_key(&old) || self.open.contains_key(&old))
            || self.may_be_taken(record)
    }

    /// Starts at most one batch of each lane.
    pub(super) fn start_looks(&mut self) {
        if self.place.is_some()
            && self.is_unknown()
            && !self.dirty.is_empty()
            && self.full_requests.is_empty()
            && self.full.is_empty()
        {
            self.full_requests.push(FullRequest::of(Trigger::Startup));
        }
        if !self.may_look() {
            return;
        }
        self.work_out_what_stays();
        let now = Instant::now();
        let due = self.dirty.iter().filter(|(record, dirty)| dirty.due <= now && self.may_be_looked_at(record));
        let (mut narrow, mut other) = (Vec::new(), Vec::new());
        for (record, _) in due {
            let side = if self.comes_first(record) { &mut narrow } else { &mut other };
            side.push(record.clone());
        }
        for side in [&mut narrow, &mut other] {
            if side.len() > LIST_INSTEAD && self.running == Running::Daemon && self.failed_listings == 0 {
                self.list_instead(side);
            }
        }
        // What takes away is planned whole, so that a limit is judged against all of it; the rest
        // in batches, so that the first call does not wait for the last look.
        other.truncate(self.handle.target.limits.concurrency.max(1) * LOOKS_PER_SLOT);
        for (lane, records) in [(Lane::Narrow, narrow), (Lane::Widen, other)] {
            if !records.is_empty() && !self.looking_lanes.contains(&lane) {
                self.look(lane, records);
            }
        }
    }

    /// Leaves many users to one listing.
    fn list_instead(&mut self, records: &mut Vec<RecordId>) {
        let trigger = records.first().and_then(|record| self.dirty.get(record)).map(|dirty| dirty.trigger);
        records.retain(|record| {
            // Only a look tells what became of an open call, and listings wait for it.
            let asked = self.dirty.get(record).is_some_and(|dirty| dirty.cycle.is_some());
            let stays = asked || self.has_open_call(record);
            if !stays {
                self.dirty.remove(record);
            }
            stays
        });
        self.full_requests.push(FullRequest::of(trigger.unwrap_or(Trigger::Manifest)));
    }

    fn look(&mut self, lane: Lane, records: Vec<RecordId>) {
        let Some((links, shape)) =
            self.place.as_ref().map(|place| (Arc::clone(&place.links), Arc::clone(&place.shape)))
        else {
            return;
        };
        let target = Arc::clone(&self.handle.target);
        // Nothing of what this worker keeps is held while it looks: to change it would mean to copy it.
        let sight = Sight { connector: Arc::clone(&self.handle.connector), target, shape };
        let mut subjects = Vec::new();
        for record in records {
            if let Some(overtaken) = self.looking.remove(&record) {
                self.await_look(&record, overtaken.dirty);
            }
            let Some(dirty) = self.dirty.remove(&record) else { continue };
            let dirty = Dirty { keeps: None, ..dirty };
            let link = links.get(&record).cloned();
            let desired = self.table.desired(&record);
            self.looking.insert(record.clone(), Looking { lane, dirty });
            let creation = link.as_ref().and_then(|link| self.late.creation(&link.account));
            let open = self.open.get(&record).map(|intent| &intent.change).or(creation).cloned();
            let gone = self.gone_of(&record);
            subjects.push(Subject { record, link, desired, open, gone });
        }
        self.looking_lanes.insert(lane);
        let (rate, width) = (self.handle.rate.clone(), self.handle.target.limits.concurrency.max(1));
        self.looks.spawn(async move {
            let looks = subjects.into_iter().map(|subject| look_at(&sight, (&rate, lane), subject));
            let results = futures_util::stream::iter(looks).buffer_unordered(width).collect().await;
            LooksDone { lane, results }
        });
    }

    /// Plans what a batch of look-ups showed.
    pub(super) async fn looked(&mut self, done: LooksDone) {
        let LooksDone { lane, results } = done;
        self.looking_lanes.remove(&lane);
        let mut accounts = BTreeMap::new();
        let mut records = BTreeSet::new();
        let mut unproven = BTreeSet::new();
        let mut since = BTreeMap::new();
        for LookDone { record, begun, result } in results {
            if self.looking.get(&record).is_none_or(|looking| looking.lane != lane) {
                // A newer look overtook this one.
                continue;
            }
            let Some(Looking { dirty, .. }) = self.looking.remove(&record) else { continue };
            let looked = match result {
                Ok(looked) => looked,
                Err(error) => {
                    self.not_looked(&record, dirty, &error);
                    continue;
                }
            };
            self.take_back(&record, &looked);
            if self.superseded(&record, &dirty) || !self.resolved(&record, &dirty, &looked, begun) {
                continue;
            }
            if self.still_blocked(&record, &dirty, &looked) {
                continue;
            }
            if !looked.proven {
                unproven.insert(record.clone());
            }
            self.see_administrators(looked.accounts.values());
            accounts.extend(looked.accounts);
            since.insert(record.clone(), begun);
            // Back on the list until its plan is made: `owe` and `enqueue` read it there.
            self.dirty.insert(record.clone(), dirty);
            records.insert(record);
        }
        if !records.is_empty() {
            let batch = Batch { around: &records, accounts: &accounts, unproven: &unproven, begun: &since };
            self.plan_keyed(&batch, &records).await;
        }
    }

    /// Whether the user was marked again while it was looked at; the newer mark goes on.
    fn superseded(&mut self, record: &RecordId, old: &Dirty) -> bool {
        let newer = self.dirty.contains_key(record);
        if newer {
            self.await_look(record, old.clone());
        }
        newer
    }

    fn not_looked(&mut self, record: &RecordId, mut dirty: Dirty, error: &ConnectorError) {
        self.metrics.retry(error.class.as_str());
        if error.class == ErrorClass::Door {
            self.found_shut(error);
        }
        dirty.attempt += 1;
        let mut patience = PATIENCE;
        if error.class == ErrorClass::RateLimited {
            let pause = retry::delay(dirty.attempt, error.retry_after, false, 0);
            self.handle.rate.pause(Instant::now() + pause);
            patience = PATIENCE_WHEN_PACED;
        }
        let narrowing = self.may_narrow(record);
        dirty.due =
            Instant::now() + retry::delay(dirty.attempt, error.retry_after, narrowing, door::seed(record.as_str()));
        self.standing.failures.insert(record.clone(), error.message.clone());
        if dirty.attempt >= patience
            && let Some(cycle) = dirty.cycle.take()
        {
            self.settle(&cycle, record, Settled::Failed(error.message.clone()));
        }
        self.await_look(record, dirty);
    }

    pub(super) async fn take_keyed(
        &mut self,
        planned: Planned,
        records: &BTreeSet<RecordId>,
        begun: &BTreeMap<RecordId, Instant>,
    ) {
        let Planned { mut plan, mut seen, notes, .. } = planned;
        self.take_notes(notes, &BTreeSet::new());
        self.note_fresh(&plan.changes, begun);
        self.keep_to_saved(&mut plan, records);
        let plan = self.with_held(plan, records);
        seen.extend(self.held_seen.iter().map(|(account, seen)| (account.clone(), Arc::clone(seen))));
        let owed = self.recorded_among(&plan.changes);
        let Some(plan) = self.guard(plan, None).await else {
            self.repeat(owed, &seen);
            let due = Instant::now() + STORE_PAUSE;
            let waiting = self.dirty.iter_mut().filter(|(record, _)| records.contains(*record));
            waiting.for_each(|(_, dirty)| dirty.due = due);
            return;
        };
        self.stand(&plan, Speaks::For(records), &seen);
        let waited_for = self.waited_for_among(&plan);
        let through: BTreeSet<_> = records.difference(&waited_for).cloned().collect();
        self.hand_over(&plan, &through, &seen);
        if self.may_write() {
            self.follow_missing(&plan, begun, None);
        }
    }

    /// What a plan of these users must know. An account that nobody is linked to may be claimed by
    /// anybody, so there everybody's wishes count.
    pub(super) fn view_around(
        &self,
        records: &BTreeSet<RecordId>,
        accounts: &BTreeMap<AccountId, Account>,
    ) -> Option<View> {
        let place = self.place.as_ref()?;
        let wishes = self.table.projections();
        let owner = |account: &AccountId| place.by_account.get(account);
        // Whose user is gone may have come back under another record id, too; and what is deleted must be
        // nobody else's.
        let concerns_all = |account: &AccountId| {
            owner(account).is_none_or(|owner| !wishes.contains(owner)) || self.may_be_deleted(account)
        };
        if accounts.keys().any(concerns_all) {
            return self.view(wishes, Arc::clone(&place.links));
        }
        // An owner who is left out would pass for one who is gone.
        let around = records.iter().chain(accounts.keys().filter_map(owner));
        let desired = around.filter_map(|record| Some((record.clone(), self.table.desired(record)?)));
        let desired: BTreeMap<_, _> = desired.collect();
        self.view(Arc::new(desired), Arc::new(place.links_around(records, accounts.keys())))
    }

    /// What a guardrail holds is judged again together with what is new, so that a limit is never
    /// passed in slices.
    pub(super) fn with_held(&self, mut plan: Plan, records: &BTreeSet<RecordId>) -> Plan {
        let held = self.standing.holds.iter().flat_map(|hold| &hold.changes);
        // Who is to be looked at again may have come back: the hold that is made then joins the rest.
        let stands =
            |record: &RecordId| !records.contains(record) && !self.dirty.contains_key(record) && !self.is_busy(record);
        let stands = |change: &&Change| stands(&change.record) && self.new_owner(change).is_none();
        plan.changes.extend(held.filter(stands).cloned());
        plan.changes.sort_by(plan::order::compare);
        plan
    }

    /// Queues what was planned, by cycle, and ends the rest.
    pub(super) fn hand_over(
        &mut self,
        plan: &Plan,
        records: &BTreeSet<RecordId>,
        seen: &BTreeMap<AccountId, Arc<Account>>,
    ) {
        let mut by_cycle: BTreeMap<CycleId, BTreeSet<RecordId>> = BTreeMap::new();
        let mut fresh: BTreeSet<RecordId> = BTreeSet::new();
        let released = plan.changes.iter().map(|change| &change.record).filter(|record| !records.contains(*record));
        for record in records.iter().chain(released) {
            match self.dirty.get(record).and_then(|dirty| dirty.cycle.clone()) {
                Some(cycle) if self.cycles.contains_key(&cycle) => {
                    by_cycle.entry(cycle).or_default().insert(record.clone());
                }
                Some(_) | None => drop(fresh.insert(record.clone())),
            }
        }
        let trigger =
            fresh.iter().find_map(|record| self.dirty.get(record)).map_or(Trigger::Retry, |dirty| dirty.trigger);
        if !fresh.is_empty()
            && let Some(cycle) = self.begin_cycle(trigger, false, fresh.clone(), None)
        {
            by_cycle.insert(cycle, fresh);
        }
        for (cycle, records) in by_cycle {
            self.hand_over_one(plan, &cycle, &records, seen);
        }
    }

    fn hand_over_one(
        &mut self,
        plan: &Plan,
        cycle: &CycleId,
        records: &BTreeSet<RecordId>,
        seen: &BTreeMap<AccountId, Arc<Account>>,
    ) {
        let mut part = plan.clone();
        part.changes.retain(|change| records.contains(&change.record));
        part.skips.retain(|skip| records.contains(&skip.record));
        part.holds.retain(|hold| hold.changes.iter().any(|change| records.contains(&change.record)));
        let mut waiting = BTreeSet::new();
        if self.may_write() {
            waiting = self.enqueue(cycle, &part.changes, seen, false);
        }
        let unproven = part.skips.iter().filter(|skip| skip.reason == SkipReason::LookUpFirst);
        let unproven: BTreeSet<_> = unproven.map(|skip| skip.record.clone()).collect();
        self.planned_in(cycle, part, BTreeSet::new());
        // Who was left to a look by a listing is not left back to one.
        let is_full = self.cycles.get(cycle).is_some_and(Cycle::is_full);
        if !is_full && self.may_write() && unproven.iter().any(|record| !self.surely_narrows(record)) {
            self.leave_to_relist();
        }
        for record in records.iter().filter(|record| !waiting.contains(*record)) {
            let dirty = self.dirty.remove(record);
            let unproven = unproven.contains(record);
            let how = if unproven { Settled::Failed(self.cannot_prove(record)) } else { Settled::Through };
            self.settle(cycle, record, how);
            if let Some(dirty) = dirty.filter(|_| unproven) {
                self.look_for_leaver(record, dirty);
            }
        }
        self.end_if_idle(cycle);
    }

    /// Whoever is to be out, and whose account was neither shown nor said to be gone, is looked for until one of
    /// both is answered.
    fn look_for_leaver(&mut self, record: &RecordId, dirty: Dirty) {
        if self.running != Running::Daemon || !self.may_write() || !self.surely_narrows(record) {
            return;
        }
        let attempt = dirty.attempt.saturating_add(1);
        let due = Instant::now() + retry::delay(attempt, None, true, door::seed(record.as_str()));
        self.await_look(record, Dirty { cycle: None, due, attempt, ..dirty });
    }

    pub(super) fn cannot_prove(&mut self, record: &RecordId) -> String {
        let why = if self.surely_narrows(record) {
            "the target neither shows the account nor says that it is gone, so it is looked for again; see what the \
             target answers for it"
        } else {
            "the target cannot show that no such account exists, so none is created; the next complete listing \
             settles it"
        };
        let why = why.to_owned();
        self.standing.failures.insert(record.clone(), why.clone());
        why
    }
}

async fn look_at(sight: &Sight, (rate, lane): (&Rate, Lane), subject: Subject) -> LookDone {
    let Subject { record, link, desired, open, gone } = subject;
    let look = async {
        let begun = Instant::now();
        let sought =
            Sought { link: link.as_ref(), desired: desired.as_ref(), open: open.as_ref(), gone: &gone, marked: None };
        let looking = look::look_up(&*sight.connector, &sight.shape, &sight.target, sought);
        (begun, contained(ErrorClass::Transient, looking).await)
    };
    let (begun, result) = rate::in_turn(rate, lane.into(), look).await;
    LookDone { record, begun, result }
}
