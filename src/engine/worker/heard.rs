//! A person's word that holds everywhere, as one worker obeys it.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;

use crate::engine::queue::Lane;
use crate::engine::said;
use crate::engine::shared::Running;
use crate::engine::worker::Worker;
use crate::engine::worker::full::FullRequest;
use crate::model::change::Change;
use crate::model::decision::Halts;
use crate::model::history::Trigger;
use crate::model::ids::CycleId;

impl Worker {
    /// Takes in what was said about users: it acts from the moment it was said.
    pub(super) fn heard(&mut self, since: DateTime<Utc>) {
        let Some(snapshot) = self.snapshot.clone() else { return };
        let revoked = Arc::clone(&self.shared.said.load().revoked);
        let differ = self.table.refresh(&snapshot, &revoked, self.shared.judged());
        self.mark_differing(differ, Trigger::Decision, since);
    }

    /// Whether calls of this lane may leave, as far as a stop or a twin has a say in it.
    pub(super) fn passes(&self, lane: Lane) -> bool {
        match self.halts() {
            None => true,
            Some(Halts::Widening) => lane == Lane::Narrow,
            Some(Halts::All) => false,
        }
    }

    /// What to tell a caller while every call is halted.
    pub(super) fn all_halted(&self) -> Option<String> {
        if self.passes(Lane::Narrow) { None } else { self.halted_words() }
    }

    fn halted_words(&self) -> Option<String> {
        said::stopped(&self.shared).map(|stop| stop.words()).or_else(|| self.twin_words())
    }

    /// Acts on a stop that began or ended since the last look.
    ///
    /// What waits in the queue was planned before; once calls leave again, it is looked at anew.
    pub(super) fn mind_halts(&mut self) {
        let now = self.halts();
        let before = std::mem::replace(&mut self.halted, now);
        if self.halted > before
            && let Some(words) = self.halted_words()
        {
            self.turn_away(&words);
        }
        if self.halted < before {
            let waiting: Vec<_> = self.queue.iter().map(|(record, _)| record.clone()).collect();
            self.mark_changed(waiting, Trigger::Decision, self.shared.now());
            self.hurry_owed();
            if self.running == Running::Daemon {
                self.full_requests.push(FullRequest::of(Trigger::Decision));
            }
        }
    }

    /// Calls may leave again: what is owed does not wait for a listing of the whole target (L5).
    pub(super) fn hurry_owed(&mut self) {
        let owed: Vec<_> = self.owed_now().into_iter().map(|owed| owed.record).collect();
        self.mark_changed(owed, Trigger::Decision, self.shared.now());
    }

    /// Tells a cycle which users' changes are halted; the lanes that are.
    pub(super) fn tell_halted(&mut self, cycle: &CycleId, changes: &[Change]) -> Vec<Lane> {
        let lanes = [Lane::Narrow, Lane::Neutral, Lane::Widen];
        let halted: Vec<_> = lanes.into_iter().filter(|lane| !self.passes(*lane)).collect();
        let Some(words) = self.halted_words().filter(|_| !halted.is_empty()) else { return halted };
        let concerned = changes.iter().filter(|change| halted.contains(&Lane::of(change)));
        for record in concerned.map(|change| change.record.clone()).collect::<BTreeSet<_>>() {
            self.fail_in(cycle, &record, &words);
        }
        halted
    }
}
