//! What becomes due without anybody telling: schedules, and validity that begins or ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use tokio::time::Instant;

use crate::engine::shared::Running;
use crate::engine::worker::STORE_PAUSE;
use crate::engine::worker::Worker;
use crate::engine::worker::full::FullRequest;
use crate::model::history::Trigger;
use crate::model::ids::RecordId;
use crate::model::target::Schedule;
use crate::schedule;

/// Long enough to spread a hundred targets of one hour, short enough for "at 3 o'clock".
const MOST_JITTER: Duration = Duration::from_secs(30);
/// How long the worker waits when nothing is due.
const IDLE: Duration = Duration::from_mins(1);

impl Worker {
    /// Marks users whose answer is another: since something of theirs began or ended, or else since then.
    pub(super) fn mark_differing(
        &mut self,
        differ: BTreeMap<RecordId, Option<DateTime<Utc>>>,
        trigger: Trigger,
        since: DateTime<Utc>,
    ) {
        self.review_requests(Some(&mut differ.keys()));
        self.waits.renounce(!differ.is_empty());
        for (record, arrived) in differ {
            self.forget_what_stays(&record);
            let trigger = if arrived.is_some() { Trigger::Validity } else { trigger };
            self.mark_changed([record], trigger, arrived.unwrap_or(since));
        }
    }

    /// Marks users whose projection changed by itself. Where cycles run only when asked for, the next
    /// one sees them anyway: a command that looks must not make calls because an end date arrives.
    pub(super) fn mark_changed(
        &mut self,
        records: impl IntoIterator<Item = RecordId>,
        trigger: Trigger,
        since: DateTime<Utc>,
    ) {
        let under_way = !self.cycles.is_empty() || !self.full_requests.is_empty();
        if self.running == Running::Daemon || under_way {
            self.mark(records, trigger, since);
            return;
        }
        // What waits for another try was planned from old news. What is due is owed all the same.
        for record in records {
            self.withdraw(&record);
            if self.surely_narrows(&record) {
                self.owed.owe(&record, since);
            }
        }
    }

    /// Acts on whatever the clock says: schedules, and validity that begins or ends.
    pub(super) fn on_time(&mut self) {
        let (now, judged) = (self.shared.now(), self.shared.judged());
        self.freeze(now);
        self.look_at_late();
        self.pass_time_of_requests();
        self.mind_waits();
        self.mind_blocked();
        self.mind_absences();
        let turned = self.table.next_turn().is_some_and(|at| at <= judged);
        if let Some(snapshot) = self.snapshot.clone().filter(|_| turned) {
            let revoked = Arc::clone(&self.shared.said.load().revoked);
            let differ = self.table.refresh(&snapshot, &revoked, judged);
            self.mark_differing(differ, Trigger::Validity, now);
        }
        if let Some(due) = self.next_run.take_if(|next| *next <= now) {
            if self.running == Running::Daemon {
                self.full_requests.push(FullRequest::of(Trigger::Schedule));
            }
            // Counted from when it was due, so that an interval does not grow by the jitter each
            // time; what was missed meanwhile is caught up by this one run.
            self.next_run = self.run_after(due - self.jitter()).filter(|next| *next > now);
        }
        if self.next_run.is_none() {
            self.next_run = self.run_after(now);
        }
        self.ask_for_relist();
    }

    fn run_after(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        Some(self.timetable.as_ref()?.next_after(at)? + self.jitter())
    }

    /// Spreads the targets of one schedule apart, the same way every time.
    fn jitter(&self) -> chrono::Duration {
        let most = match &self.handle.target.schedule {
            Some(Schedule::Every(period)) => *period / 10,
            Some(Schedule::Cron { .. }) | None => MOST_JITTER,
        };
        let jitter = schedule::jitter(self.handle.target.name.as_str(), most.min(MOST_JITTER));
        chrono::Duration::from_std(jitter).unwrap_or_default()
    }

    /// The first instant at which something is due without anybody telling.
    pub(super) fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let wall = self.shared.now();
        // While the clock is doubted none arrives; a message tells when it is believed again.
        let next_second = self.table.next_turn().filter(|_| self.shared.clock_is_trusted());
        let by_clock =
            [next_second, self.next_run, self.frozen.next_change(), self.teams.next_turn()].into_iter().flatten().min();
        let by_clock = by_clock.map(|at| now + (at - wall).to_std().unwrap_or_default());
        let store = self.store_error.as_ref().map(|(_, until)| *until);
        // A store error whose time is over matters only where something waits for the store.
        let store = store.filter(|until| *until > now || !self.writes.is_empty());
        let store = store.or_else(|| self.unread.then_some(now + STORE_PAUSE));
        // One that may begin has begun, or waits for something that wakes the worker.
        let listing = self.next_listing(now).filter(|at| *at > now);
        let due = [
            self.next_look(),
            self.next_call(),
            self.next_knock(),
            self.next_relist(),
            self.late.next_due(),
            self.next_request(),
            self.publish_again.next(),
        ];
        due.into_iter().chain([by_clock, store, listing]).flatten().min().unwrap_or(now + IDLE).min(now + IDLE)
    }
}
