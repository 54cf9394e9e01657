//! What stands around a plan when limits judge it: what waits, which end dates arrived, freezes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::engine::ends;
use crate::engine::guardrail::Around;
use crate::engine::queue::Entry;
use crate::engine::shared::Running;
use crate::engine::shared::lock;
use crate::engine::worker::Worker;
use crate::engine::worker::full::FullRequest;
use crate::engine::worker::place::Place;
use crate::model::account::Account;
use crate::model::administrators::Census;
use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::history::Counting;
use crate::model::history::Intent;
use crate::model::history::Trigger;
use crate::model::ids::RecordId;
use crate::model::plan::Coverage;
use crate::model::plan::Plan;
use crate::model::tally;
use crate::plan::canonical::essence;
use crate::schedule::Freezes;
use crate::store::Write;

/// The freeze of this moment, and when that changes.
#[derive(Debug, Default)]
pub(super) struct Frozen {
    freezes: Freezes,
    until: Option<DateTime<Utc>>,
    /// When to ask again; `None` where it was never asked, or nothing ever changes.
    changes: Option<DateTime<Utc>>,
    asked: bool,
}

impl Frozen {
    pub(super) fn new(freezes: Freezes) -> Self {
        Self { freezes, ..Self::default() }
    }

    pub(super) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    pub(super) fn next_change(&self) -> Option<DateTime<Utc>> {
        self.changes
    }

    /// Whether a freeze has just ended.
    fn lets_go(&mut self, now: DateTime<Utc>) -> bool {
        if self.asked && self.changes.is_none_or(|changes| now < changes) {
            return false;
        }
        let was_on = self.is_on();
        self.until = self.freezes.until(now);
        self.changes = self.freezes.next_change(now);
        self.asked = true;
        was_on && !self.is_on()
    }
}

impl Worker {
    /// Guardrails on a whole plan before its first call. `stay`: of what waits in the queue only
    /// these users' changes go on beside the plan; `None`: all do. What the plan itself wants again
    /// counts once.
    pub(super) async fn guard(&mut self, plan: Plan, stay: Option<&BTreeSet<RecordId>>) -> Option<Plan> {
        let plan = self.gated(plan);
        self.commit_rest().await;
        let (place, snapshot) = (self.place.as_ref()?, self.snapshot.clone()?);
        let (guardrail, causes) = (place.guardrail.clone(), Arc::clone(&place.causes));
        let (shared, target) = (Arc::clone(&self.shared), Arc::clone(&self.handle.target));
        let dated = ends::dated(&shared, (&snapshot, TimeDelta::zero()), &causes, plan.changes.iter()).await;
        // Where nothing of it is asked of the store, its answer says nothing of the store.
        let dated = match dated {
            Ok(dated) => dated,
            failed @ Err(_) => self.note(failed)?,
        };
        let planned: BTreeSet<_> = plan.changes.iter().map(|change| &change.record).collect();
        self.dated.retain(|record| !planned.contains(record));
        self.dated.extend(dated.iter().cloned());
        let around = Around { dated: Cow::Owned(dated), ..self.around(&plan, stay) };
        let guarded = guardrail.guard(&shared, &target, plan, &around).await;
        self.note(guarded)
    }

    /// A word about something that nobody asks for any more is used up: where it is asked for again
    /// one day, that is another matter.
    pub(super) fn keep_permits(&mut self, plan: &Plan) {
        let now = self.shared.window_now();
        let Some(place) = self.place.as_mut().filter(|_| plan.coverage == Coverage::Complete) else { return };
        self.writes.extend(place.guardrail.permits.keep_only(&plan.space, &plan.changes, now));
    }

    fn around(&self, plan: &Plan, stay: Option<&BTreeSet<RecordId>>) -> Around<'static> {
        let mut planned: BTreeMap<&RecordId, Vec<&Change>> = BTreeMap::new();
        for change in &plan.changes {
            planned.entry(&change.record).or_default().push(change);
        }
        let mut admitted: BTreeMap<RecordId, BTreeSet<String>> = BTreeMap::new();
        for (record, entry) in planned.keys().filter_map(|record| Some((*record, self.queue.get(record)?))) {
            let essences = entry.changes.iter().map(|change| essence(change).to_string());
            admitted.insert(record.clone(), essences.collect());
        }
        let stays = |record: &RecordId, change: &Change| match (stay, planned.get(record)) {
            (Some(stay), _) if stay.contains(record) => true,
            // A change that is planned otherwise now takes the place of the one that waits.
            (_, Some(planned)) => planned.contains(&change),
            (stay, None) => stay.is_none(),
        };
        let staying = |(record, entry): (&'_ RecordId, &'_ Entry)| {
            let changes = entry.changes.iter().filter(|change| stays(record, change));
            changes.cloned().collect::<Vec<_>>()
        };
        // Limits that the plan does not touch are not asked about what waits.
        let counters = plan.changes.iter().flat_map(tally::counters).collect();
        let waiting = self.queue.counting(&counters).flat_map(staying);
        let waiting = waiting.flat_map(|change| tally::counted(&change, self.is_dated(&change))).collect();
        let seats = self.handle.target.limits.seats.map(|_| self.queue.iter());
        let coming = seats.into_iter().flatten().flat_map(staying).filter(takes_seat).count() as u64;
        let place = self.place.as_ref();
        let mut census = place.map(|place| place.census.clone()).unwrap_or_default();
        if let Some(wanted) = &self.handle.target.limits.administrators {
            self.queue.iter().flat_map(staying).for_each(|change| census.apply(wanted, &change));
        }
        Around {
            // What no listing has shown may hold anything.
            populated: place.is_some_and(|place| place.populated || !place.listed),
            seats_taken: self.active_accounts() + coming,
            waiting,
            admitted,
            dated: Cow::Owned(BTreeSet::new()),
            owned_active: place.map(Place::owned_active),
            census,
            frozen: self.frozen.until,
            ahead: TimeDelta::zero(),
        }
    }

    /// Accounts that give access, or will once the calls under way have ended.
    fn active_accounts(&self) -> u64 {
        let listed = lock(&self.handle.status)
            .accounts
            .iter()
            .filter(|(state, _)| state.gives_access())
            .map(|(_, count)| count)
            .sum();
        let owned = self.place.as_ref().map_or(0, Place::owned_active);
        let coming = self.in_flight.values().filter(|call| call.takes_seat).count() as u64;
        owned.max(listed) + coming
    }

    fn is_dated(&self, change: &Change) -> bool {
        change.cause == Some(Cause::Explicit) && self.dated.contains(&change.record)
    }

    /// Takes in who may do everything there, as a listing showed it. Of `newer` users it may show what was so before.
    pub(super) fn take_census(&mut self, mut census: Census, newer: &BTreeSet<RecordId>) {
        let Some(place) = self.place.as_mut() else { return };
        for record in newer {
            census.keep(&place.census, record, place.links.get(record).map(|link| &link.account));
        }
        place.census = census;
        self.tell_administrators();
    }

    /// Takes in what a look showed.
    pub(super) fn see_administrators<'a>(&mut self, accounts: impl IntoIterator<Item = &'a Account>) {
        let (Some(place), Some(wanted)) = (self.place.as_mut(), &self.handle.target.limits.administrators) else {
            return;
        };
        accounts.into_iter().for_each(|account| place.census.see(wanted, account));
        self.tell_administrators();
    }

    fn tell_administrators(&self) {
        if let (Some(place), Some(wanted)) = (&self.place, &self.handle.target.limits.administrators) {
            let active = place.census.active();
            // Too few of those that were seen may be enough of all.
            let missing = if place.census.complete { wanted.min.saturating_sub(active) } else { 0 };
            let over = wanted.max.map_or(0, |max| active.saturating_sub(max));
            self.metrics.set_administrators([active, missing, over]);
        }
    }

    /// How limits count a change that is recorded now.
    pub(super) fn counting(&self, change: &Change) -> Counting {
        Counting { at: self.shared.window_now(), dated: self.is_dated(change) }
    }

    /// Counts what the store has just recorded.
    pub(super) fn count<'i>(&mut self, intents: impl IntoIterator<Item = &'i Intent>) {
        let Some(place) = self.place.as_mut() else { return };
        let tally = Arc::make_mut(&mut place.guardrail.tally);
        for intent in intents {
            if let Some(wanted) = &self.handle.target.limits.administrators {
                place.census.apply(wanted, &intent.change);
            }
            let Counting { at, dated } = intent.counting;
            tally
                .extend(tally::counted(&intent.change, dated).into_iter().map(|(counter, thing)| (counter, thing, at)));
        }
        self.tell_administrators();
    }

    /// Notes for the store what windows are judged by, where that changed.
    pub(super) fn note_windows(&mut self) {
        self.writes.extend(self.shared.new_window_lag().map(Write::WindowLag));
        // What waited for the store says what was known then.
        let waited = self.writes.extract_if(.., |write| matches!(write, Write::Clock(_))).count() > 0;
        let kept = self.shared.new_kept_clock().or_else(|| waited.then(|| self.shared.kept_clock()));
        self.writes.extend(kept.map(Write::Clock));
        let now = self.shared.window_now();
        let Some(place) = self.place.as_mut() else { return };
        if let Some(active) = place.newly_owned_active() {
            self.writes.push(Write::Owned(place.space.clone(), now, active));
        }
    }

    /// Acts on freezes that begin and end. What waits to be given or updated when one begins is
    /// planned anew, so that it is shown as held and nobody waits for it.
    pub(super) fn freeze(&mut self, now: DateTime<Utc>) {
        if self.frozen.lets_go(now) && self.running == Running::Daemon {
            self.full_requests.push(FullRequest::of(Trigger::Schedule));
        }
        if !self.frozen.is_on() {
            return;
        }
        let waiting = self
            .queue
            .iter()
            .filter(|(_, entry)| entry.changes.front().is_some_and(|change| change.effect != Effect::Narrows));
        let waiting: Vec<_> = waiting.map(|(record, entry)| (record.clone(), entry.since)).collect();
        for (record, since) in waiting {
            self.mark([record], Trigger::Schedule, since);
        }
    }
}

/// Whether a change makes an account active that was not.
pub(super) fn takes_seat(change: &Change) -> bool {
    matches!(change.action, Action::Create | Action::Reactivate | Action::Restore)
}
