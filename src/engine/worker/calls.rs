//! Calls: an intent is committed, the call made, its outcome taken in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use tokio::time::Instant;
use uuid::Uuid;

use crate::connector::Applied;
use crate::connector::Connector;
use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connector::Operation;
use crate::connector::Shape;
use crate::engine::bounded::CALLS_OF_ONE;
use crate::engine::bounded::contained;
use crate::engine::operation::operation;
use crate::engine::queue::Entry;
use crate::engine::queue::Lane;
use crate::engine::worker::STORE_PAUSE;
use crate::engine::worker::Worker;
use crate::engine::worker::away::Starting;
use crate::engine::worker::cycles::Settled;
use crate::engine::worker::keyed::Dirty;
use crate::engine::worker::limits;
use crate::engine::worker::outcome;
use crate::engine::worker::tell;
use crate::http::rate;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::history::Trigger;
use crate::model::ids::IntentId;
use crate::model::ids::RecordId;
use crate::model::projection::Desired;
use crate::store::Write;

/// A call under way.
pub(super) struct InFlight {
    pub(super) lane: Lane,
    /// Whether it makes an account active.
    pub(super) takes_seat: bool,
}

/// A call came to its end.
pub(super) struct CallDone {
    pub(super) record: RecordId,
    pub(super) intent: Intent,
    /// What waits behind it.
    pub(super) rest: Entry,
    /// When the call began.
    pub(super) begun: Instant,
    pub(super) result: Result<Applied, ConnectorError>,
}

/// When the rate lets the next call of a lane leave, where it held one back. The rate keeps a permit
/// for what narrows, so that lane waits by itself.
#[derive(Debug, Default)]
pub(super) struct Paced {
    narrow: Option<Instant>,
    other: Option<Instant>,
}

impl Paced {
    fn hold(&mut self, lane: Lane, until: Instant) {
        self.other = Some(until);
        if lane == Lane::Narrow {
            self.narrow = Some(until);
        }
    }

    fn until(&self, lane: Lane) -> Option<Instant> {
        if lane == Lane::Narrow { self.narrow } else { self.other }
    }
}

/// How soon a deletion asks again whether the clock is believed.
const CLOCK_PAUSE: Duration = Duration::from_mins(1);

const ALL: [Lane; 3] = [Lane::Narrow, Lane::Neutral, Lane::Widen];
const NARROW: [Lane; 1] = [Lane::Narrow];

impl Worker {
    /// The lanes that find a free slot.
    fn free_lanes(&self) -> &'static [Lane] {
        let narrowing = self.in_flight.values().filter(|call| call.lane == Lane::Narrow).count();
        let pace = &self.pace;
        if !self.passes(Lane::Narrow) {
            &[]
        } else if self.passes(Lane::Widen)
            && !self.frozen.is_on()
            && pace.has_slot(Lane::Widen, self.in_flight.len(), narrowing)
        {
            &ALL
        } else if pace.has_slot(Lane::Narrow, self.in_flight.len(), narrowing) {
            &NARROW
        } else {
            &[]
        }
    }

    /// When the next call may leave.
    pub(super) fn next_call(&self) -> Option<Instant> {
        if !self.may_call() {
            return None;
        }
        let lanes = self.free_lanes().iter();
        lanes.filter_map(|lane| self.paced.until(*lane).max(Some(self.queue.next_due(&[*lane])?))).min()
    }

    fn may_call(&self) -> bool {
        self.may_write() && self.door.is_open() && !self.store_is_away()
    }

    /// Sends what is due, as far as slots and rate allow: intents first, in one commit.
    pub(super) async fn dispatch(&mut self) {
        if !self.may_call() {
            return;
        }
        let mut starting = Vec::new();
        self.paced = Paced::default();
        while let Some((record, entry)) = self.queue.pop(self.free_lanes(), Instant::now()) {
            let Some(lane) = entry.changes.front().map(Lane::of) else { continue };
            if self.waits_for_the_clock(&record, &entry) {
                self.queue.put(record, Entry { due: Instant::now() + CLOCK_PAUSE, ..entry });
                continue;
            }
            let taken = self.handle.rate.take(lane.into(), Instant::now());
            if let Err(later) = taken {
                // Nothing of a later lane leaves before; a removal may, by the permit kept for it.
                self.paced.hold(lane, later);
                self.queue.put(record, entry);
                break;
            }
            if let Some(call) = self.prepare(&record, entry) {
                let takes_seat = limits::takes_seat(&call.1.change);
                self.in_flight.insert(record.clone(), InFlight { lane, takes_seat });
                starting.push(call);
            }
        }
        if !starting.is_empty() {
            self.begin(starting).await;
        }
    }

    /// By a clock that is doubted nothing is done that cannot be had back, and nothing is given that
    /// may have ended since the last moment that was believed (L16).
    fn waits_for_the_clock(&mut self, record: &RecordId, entry: &Entry) -> bool {
        if self.shared.clock_is_trusted() {
            return false;
        }
        let Some(change) = entry.changes.front() else { return false };
        if change.action == Action::Delete {
            return true;
        }
        if change.effect != Effect::Widens || self.follows_at(change, self.shared.now()) {
            return false;
        }
        let doubt = self.shared.clock_doubt().unwrap_or_default();
        let why = format!("the access may have ended or not begun, and nobody knows what time it is: {doubt}");
        self.standing.failures.insert(record.clone(), why.clone());
        self.settle(&entry.cycle, record, Settled::Failed(why));
        true
    }

    /// Whether the newest documents give at `now` what a change gives.
    fn follows_at(&self, change: &Change, now: DateTime<Utc>) -> bool {
        let Some(snapshot) = &self.snapshot else { return false };
        let Some(user) = snapshot.users.get(&change.record) else { return false };
        let Desired::Account(projection) = self.handle.projector.desired(&user, &snapshot.roles, now) else {
            return false;
        };
        let given: BTreeSet<_> = projection.entitlements.into_values().map(|grant| grant.membership).collect();
        change.granted().is_subset(&given)
    }

    /// The write of an entry's first change; where it has none, the user is looked at again.
    fn prepare(&mut self, record: &RecordId, mut entry: Entry) -> Option<Starting> {
        let space = self.place.as_ref()?.space.clone();
        let change: Change = entry.changes.pop_front()?;
        if self.is_ceded(&change, &entry) || self.is_looked_at_first(&change, &entry) {
            return None;
        }
        let operation = operation(&change, entry.seen.as_ref()).filter(|_| self.has_word(&change));
        let Some(mut operation) = operation else {
            self.mark([record.clone()], Trigger::Retry, entry.since);
            // The cycle goes on with what that look brings.
            self.await_look(record, Dirty { cycle: Some(entry.cycle), ..Dirty::now(Trigger::Retry, entry.since) });
            return None;
        };
        self.remember_switches(&change);
        let at = self.shared.now();
        let limit = chrono::Duration::from_std(self.call_limit()).unwrap_or(chrono::Duration::MAX);
        let counting = self.counting(&change);
        let intent = if let Some(earlier) = self.earlier_intent(record, &change) {
            Intent { limit: at + limit, ..earlier }
        } else {
            let id = IntentId::from(Uuid::now_v7().to_string());
            Intent { id, space, cycle: entry.cycle.clone(), change, at, limit: at + limit, counting }
        };
        if !self.prepares_welcome(record, &mut operation, &intent, &entry) {
            return None;
        }
        Some((operation, intent, entry))
    }

    pub(super) fn call_limit(&self) -> Duration {
        self.handle.connector.capabilities().call_limit * CALLS_OF_ONE
    }

    /// Commits the intents and makes the calls. Without a commit, no call; while the store is away, what
    /// takes away is written down in the journal instead.
    async fn begin(&mut self, mut starting: Vec<Starting>) {
        self.note_windows();
        let carried = std::mem::take(&mut self.writes);
        let mut writes = carried.clone();
        for (_, intent, _) in &starting {
            if !self.is_known(&intent.id) {
                writes.push(Write::Intent(intent.clone()));
                writes.push(Write::Audit(outcome::intent_event(intent)));
                writes.extend(self.recorded_with(intent));
            }
        }
        let booked = self.booked(starting.iter().map(|(_, intent, _)| intent));
        if let Some(place) = &self.place {
            writes.extend(booked.iter().map(|link| Write::Link(place.space.clone(), link.clone())));
        }
        let committed = self.shared.store.commit(writes, self.shared.store.fence()).await;
        if committed.is_err() {
            self.writes = carried;
        }
        if self.note_commit(committed).is_none() {
            let mut waiting = std::mem::take(&mut starting);
            if self.away.is_now {
                (starting, waiting) = self.write_down(waiting).await;
            }
            self.put_back(waiting);
            if starting.is_empty() {
                return;
            }
        } else {
            self.keep_booked(booked);
            self.committed_all().await;
        }
        self.note_recorded(&starting);
        // What a person revoked passes before anybody let the target be written: it proves nothing.
        let ours = starting.iter().any(|(_, intent, _)| !intent.change.is_revocation());
        if let Some(place) = self.place.as_mut().filter(|_| ours) {
            place.guardrail.known = true;
        }
        self.count(starting.iter().map(|(_, intent, _)| intent));
        let starting = self.without_halted(starting);
        let Some(shape) = self.place.as_ref().map(|place| Arc::clone(&place.shape)) else { return };
        let limit = self.call_limit();
        let secret = self.handle.connector.password().map(|paths| paths.value);
        let rate = &self.handle.rate;
        for (operation, intent, rest) in starting {
            let (connector, shape) = (Arc::clone(&self.handle.connector), Arc::clone(&shape));
            let password = tell::sent_password(&operation, secret.as_ref());
            let (rate, caller) = (rate.clone(), Lane::of(&intent.change).into());
            self.calls.spawn(async move {
                let begun = Instant::now();
                let write = call(&*connector, &shape, operation, limit);
                let result = contained(ErrorClass::Uncertain, rate::paid(&rate, caller, write)).await;
                let result = result.map_err(|error| tell::without_password(error, password.as_ref()));
                CallDone { record: intent.change.record.clone(), intent, rest, begun, result }
            });
        }
    }

    /// A stop may have come while the intents were recorded: of what it halts no call is made, the
    /// intent comes to nothing, and the change waits as if it had never been taken up.
    fn without_halted(&mut self, starting: Vec<Starting>) -> Vec<Starting> {
        let (free, halted): (Vec<_>, Vec<_>) =
            starting.into_iter().partition(|(_, intent, _)| self.passes(Lane::of(&intent.change)));
        for (_, intent, _) in &halted {
            if self.is_known(&intent.id) {
                // An earlier call of it was made, and its end is told when it is known; or it stands in the
                // journal alone.
                self.repeat_later(intent);
                continue;
            }
            let why = "a stop came before its call; it waits until calls may leave again";
            self.surely_not_done(intent, OutcomeResult::Nothing(why.to_owned()));
        }
        self.put_back(halted);
        free
    }

    fn put_back(&mut self, starting: Vec<Starting>) {
        for (_, intent, mut entry) in starting {
            let record = intent.change.record.clone();
            self.in_flight.remove(&record);
            entry.changes.push_front(intent.change);
            entry.due = Instant::now() + STORE_PAUSE;
            self.queue.put(record, entry);
        }
    }
}

/// What came of one operation.
async fn call(
    connector: &dyn Connector,
    shape: &Shape,
    operation: Operation,
    limit: Duration,
) -> Result<Applied, ConnectorError> {
    let batch = [operation];
    let answer = tokio::time::timeout(limit, connector.apply(shape, &batch)).await;
    match answer.map(|mut answers| answers.pop()) {
        Ok(Some(result)) => result,
        Ok(None) => Err(no_answer("the connector gave no answer for the change")),
        Err(_) => Err(no_answer("the target did not answer in time")),
    }
}

fn no_answer(message: &str) -> ConnectorError {
    let message = format!("{message}; rosterd looks at the account before it goes on");
    ConnectorError { class: ErrorClass::Uncertain, message, retry_after: None }
}
