//! The book-keeping of cycles: what each still waits for, and what it tells at its end.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use tokio::time::Instant;
use uuid::Uuid;

use crate::engine::shared::lock;
use crate::engine::status::SyncReport;
use crate::engine::worker::Reply;
use crate::engine::worker::Worker;
use crate::metrics::OwedReason;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::history::CycleRecord;
use crate::model::history::CycleResult;
use crate::model::history::Standing;
use crate::model::history::Trigger;
use crate::model::ids::CycleId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::path::AttributePath;
use crate::model::plan::Coverage;
use crate::model::plan::Plan;
use crate::model::plan::Quiet;
use crate::model::plan::Skip;
use crate::model::plan::SkipReason;
use crate::plan::why::About;
use crate::plan::why::why_not;
use crate::store::Write;

/// Of so many users who are owed something or waited for, it is told anew in every turn.
const TOLD_AT_ONCE: usize = 1_000;
/// How long what is told of one of them stands where there are more: some fifty times what telling takes.
const TELLING: Duration = Duration::from_micros(20);

/// When to tell again how things are.
#[derive(Debug)]
pub(super) struct PublishAgain {
    at: Instant,
    /// Whether something happened since it was told.
    is_due: bool,
}

impl PublishAgain {
    pub(super) fn new(at: Instant) -> Self {
        Self { at, is_due: false }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.is_due.then_some(self.at)
    }
}

/// A cycle that runs.
pub(super) struct Cycle {
    record: CycleRecord,
    /// Users that have not come to an end in it.
    remaining: BTreeSet<RecordId>,
    failures: BTreeMap<RecordId, String>,
    plan: Option<Plan>,
    stale: Vec<Change>,
    reply: Option<Reply>,
    /// Whether it is worth a line of history although nothing came of it.
    notable: bool,
}

/// How a user came to an end in a cycle.
pub(super) enum Settled {
    /// A change was confirmed; more may follow.
    Done(Action),
    /// Nothing is left to do.
    Through,
    /// It failed, or waits for another try beyond this cycle.
    Failed(String),
}

impl Cycle {
    pub(super) fn has_caller(&self) -> bool {
        self.reply.is_some()
    }

    /// Whether it began with a listing.
    pub(super) fn is_full(&self) -> bool {
        self.record.full
    }
}

impl Worker {
    /// Begins a cycle for `records`; a full one gets its users when its plan is there.
    pub(super) fn begin_cycle(
        &mut self,
        trigger: Trigger,
        full: bool,
        records: BTreeSet<RecordId>,
        reply: Option<Reply>,
    ) -> Option<CycleId> {
        let space = self.place.as_ref()?.space.clone();
        let id = CycleId::from(Uuid::now_v7().to_string());
        let record = CycleRecord {
            id: id.clone(),
            space,
            trigger,
            full,
            started: self.shared.now(),
            ended: None,
            result: None,
            coverage: None,
            done: BTreeMap::new(),
            open: 0,
            error: None,
        };
        let notable = full || reply.is_some();
        if full {
            self.writes.push(Write::Cycle(record.clone()));
        }
        let cycle = Cycle {
            record,
            remaining: records,
            failures: BTreeMap::new(),
            plan: None,
            stale: Vec::new(),
            reply,
            notable,
        };
        self.cycles.insert(id.clone(), cycle);
        Some(id)
    }

    /// Remembers what a cycle planned, for its caller and its record.
    pub(super) fn planned_in(&mut self, cycle: &CycleId, plan: Plan, remaining: BTreeSet<RecordId>) {
        let Some(cycle) = self.cycles.get_mut(cycle) else { return };
        // Later looks at single users say nothing about the listing that a full cycle began with.
        cycle.record.coverage.get_or_insert_with(|| plan.coverage.clone());
        cycle.record.open += plan.holds.iter().map(|hold| hold.changes.len() as u64).sum::<u64>();
        cycle.remaining.extend(remaining);
        if !cycle.has_caller() {
            return;
        }
        match cycle.plan.as_mut() {
            None => cycle.plan = Some(plan),
            Some(known) => {
                // A change that is planned once more after a failed try is still one change.
                let new: Vec<_> = plan.changes.into_iter().filter(|change| !known.changes.contains(change)).collect();
                known.changes.extend(new);
                known.holds.extend(plan.holds);
            }
        }
    }

    /// What its caller asked for and what no longer follows.
    pub(super) fn note_stale(&mut self, cycle: &CycleId, stale: Vec<Change>) {
        if let Some(cycle) = self.cycles.get_mut(cycle) {
            cycle.stale.extend(stale);
        }
    }

    /// A user came to an end, or a step further.
    pub(super) fn settle(&mut self, id: &CycleId, record: &RecordId, how: Settled) {
        let Some(cycle) = self.cycles.get_mut(id) else { return };
        match how {
            Settled::Done(action) => {
                *cycle.record.done.entry(action.as_str().to_owned()).or_default() += 1;
                return;
            }
            Settled::Through => {}
            Settled::Failed(why) => {
                cycle.record.open += 1;
                cycle.failures.insert(record.clone(), why);
            }
        }
        cycle.remaining.remove(record);
        if cycle.remaining.is_empty() {
            self.end_cycle(id, None);
        }
    }

    /// Notes that something of a user is not done in a cycle, whether or not more is.
    pub(super) fn fail_in(&mut self, id: &CycleId, record: &RecordId, why: &str) {
        let Some(cycle) = self.cycles.get_mut(id) else { return };
        cycle.record.open += 1;
        cycle.failures.insert(record.clone(), why.to_owned());
    }

    /// Ends a cycle that has nobody left to wait for.
    pub(super) fn end_if_idle(&mut self, id: &CycleId) {
        if self.cycles.get(id).is_some_and(|cycle| cycle.remaining.is_empty()) {
            self.end_cycle(id, None);
        }
    }

    /// Ends a cycle, records it and answers its caller.
    pub(super) fn end_cycle(&mut self, id: &CycleId, error: Option<String>) {
        let Some(cycle) = self.cycles.remove(id) else { return };
        let Cycle { mut record, remaining, failures, plan, stale, reply, notable } = cycle;
        let now = self.shared.now();
        record.open += remaining.len() as u64;
        record.ended = Some(now);
        let result = match &error {
            Some(_) if record.done.is_empty() => CycleResult::Failed,
            None if record.open == 0 => CycleResult::Ok,
            Some(_) | None => CycleResult::Partial,
        };
        record.result = Some(result);
        record.error = error.or_else(|| failures.iter().next().map(|(user, why)| format!("`{user}`: {why}")));
        let took = (now - record.started).to_std().unwrap_or(Duration::ZERO);
        self.metrics.cycle(record.trigger, record.full, result, took);
        if notable || !record.done.is_empty() || record.open > 0 {
            self.writes.push(Write::Cycle(record.clone()));
        }
        if record.full {
            let mut status = lock(&self.handle.status);
            if result == CycleResult::Ok {
                self.metrics.succeeded(now);
                status.last_success = Some(now);
            }
            status.last_cycle = Some(record.clone());
        }
        tracing::info!(
            target = %record.space.target, cycle = %record.id, trigger = record.trigger.as_str(), full = record.full,
            result = result.as_str(), done = record.done.values().sum::<u64>(), open = record.open, "a cycle ended"
        );
        if !failures.is_empty() {
            self.writes.push(Write::Standing(record.space.clone(), self.standing.clone()));
        }
        if let Some(reply) = reply {
            let plan = plan.unwrap_or_else(|| empty_plan(&record, self.handle.target.mode));
            self.replies.push((reply, SyncReport { cycle: record, plan, stale, applied: Vec::new(), failures }));
        }
    }

    /// Whether it is too early to tell of everybody again: where thousands wait, telling of all of them
    /// after each call would take longer than the calls. Whoever is answered finds all as it is.
    fn publishes_later(&mut self) -> bool {
        let told = self.owed.len() + self.dirty.len();
        let now = Instant::now();
        let early = self.publish_again.at > now && told > TOLD_AT_ONCE && self.replies.is_empty();
        self.publish_again.is_due = early;
        if !early {
            self.publish_again.at = now + TELLING * u32::try_from(told).unwrap_or(u32::MAX);
        }
        early
    }

    /// Tells status and metrics what stands now.
    pub(super) fn publish(&mut self) {
        if self.publishes_later() {
            return;
        }
        let now = self.shared.now();
        // First: it is a reason why something is owed.
        let quarantine = self.quarantine();
        let owed = self.owed_now();
        for reason in OwedReason::ALL {
            let of_reason = owed.iter().filter(|owed| owed.reason == reason);
            let oldest = of_reason.clone().map(|owed| owed.since).min();
            self.metrics.set_owed(reason, of_reason.count() as u64, age(oldest, now));
        }
        let looked_at = self.looking.keys().filter(|record| !self.dirty.contains_key(*record)).count();
        let waiting = self.queue.len() + self.dirty.len() + looked_at + self.in_flight.len();
        let oldest = self.dirty.values().map(|dirty| dirty.since).min();
        self.metrics.set_queue((self.queue.len() + self.dirty.len()) as u64, age(oldest, now));
        let running =
            self.cycles.values().map(|cycle| &cycle.record).max_by_key(|record| (record.full, record.started)).cloned();
        let error = self.store_error.as_ref().map(|(error, _)| error.as_str()).or_else(|| self.door.error());
        let error = error.or_else(|| self.list_after.as_ref().map(|(_, error)| error.as_str()));
        let error = error.map(|error| match self.journal_error() {
            Some(journal) => format!("{error}; {journal}"),
            None => error.to_owned(),
        });
        let error = error.or_else(|| self.twin_words()).or_else(|| self.unaccepted_words());
        self.metrics.set_quarantined(quarantine.is_some());
        self.publish_requests();
        let mut status = lock(&self.handle.status);
        // While the door is being asked, what it said last stands.
        if quarantine.is_none() || error.is_some() {
            status.error = error;
        }
        status.quarantine = quarantine;
        status.suspended = self.suspended();
        status.next_run = self.next_run;
        status.running = running;
        status.waiting = waiting;
        if self.place.is_some() || self.recalled.is_some() {
            status.owed = owed;
        }
        // Before the door first opened, what an earlier process left undone is all that is known.
        let Some(place) = &self.place else { return };
        status.space = Some(place.space.clone());
        if status.failures != self.standing.failures {
            status.failures.clone_from(&self.standing.failures);
        }
    }

    /// Tells status and metrics what a plan left undone.
    pub(super) fn publish_standing(&mut self) {
        let conflicts = conflicts(&self.handle.target.name, &self.standing);
        self.metrics.set_conflicts(conflicts.len() as u64);
        for kind in crate::model::plan::HoldKind::ALL {
            let held = self.standing.holds.iter().filter(|hold| hold.limit == kind);
            let loosening = self.handle.loosening.iter().filter(|hold| hold.limit == kind).count() as u64;
            self.metrics.set_held(kind, loosening + held.map(|hold| hold.changes.len() as u64).sum::<u64>());
        }
        let mut status = lock(&self.handle.status);
        status.conflicts = conflicts;
        status.drifted = drifted(&self.standing);
        status.holds.clone_from(&self.standing.holds);
        status.holds.extend(self.handle.loosening.clone());
    }
}

/// What a person must settle, by user.
pub(super) fn conflicts(target: &TargetName, standing: &Standing) -> BTreeMap<RecordId, String> {
    let words = |skip: &Skip| Some((skip.record.clone(), conflict_words(target, skip)?));
    standing.skips.iter().filter_map(words).collect()
}

/// What differs and is left so, by user.
pub(super) fn drifted(standing: &Standing) -> BTreeMap<RecordId, Vec<AttributePath>> {
    let drift = standing.skips.iter().filter_map(|skip| {
        let SkipReason::Drift(paths) = &skip.reason else { return None };
        Some((skip.record.clone(), paths.clone()))
    });
    drift.collect()
}

/// The words for what a person must settle; `None` where there is nothing to settle.
fn conflict_words(target: &TargetName, skip: &Skip) -> Option<String> {
    skip.reason.is_conflict().then(|| why_not(About::skip(target, skip, true), &skip.reason).line())
}

fn empty_plan(record: &CycleRecord, mode: crate::model::target::Mode) -> Plan {
    Plan {
        space: record.space.clone(),
        mode,
        coverage: record.coverage.clone().unwrap_or(Coverage::Keyed),
        changes: Vec::new(),
        skips: Vec::new(),
        quiet: Quiet::default(),
        unmanaged: Vec::new(),
        accounts: BTreeMap::new(),
        holds: Vec::new(),
        administrators: None,
    }
}

fn age(since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Duration {
    since.and_then(|since| (now - since).to_std().ok()).unwrap_or_default()
}
