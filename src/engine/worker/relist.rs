//! Listings that did not show everybody are made again, and made for what looks cannot tell (L3, L14).
//!
//! # Guarantees
//! - What only a complete listing tells (who vanished, whose creation left nothing, who is nobody yet where no
//!   look proves it) stays owed until there was one, also where no schedule would bring the next.
//! - A target that never shows everybody is listed ever more rarely, at last about once a day, and for no
//!   more than a tenth of the time.

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::shared::Running;
use crate::engine::worker::Worker;
use crate::engine::worker::door;
use crate::engine::worker::full::FullRequest;
use crate::model::history::Trigger;
use crate::model::plan::Coverage;
use crate::retry;

/// The listing that is owed.
#[derive(Debug, Default)]
pub(super) struct Relist {
    /// Listings in a row that did not show everybody.
    incomplete: u32,
    /// When the next is due; `None`: none is owed, or it was asked for.
    due: Option<Instant>,
    /// When a look last left something to it.
    left: Option<Instant>,
    /// How long the last complete one took.
    took: Duration,
}

impl Worker {
    /// A listing that began then came to its end. `None`: no plan came of it.
    pub(super) fn note_coverage(&mut self, coverage: Option<&Coverage>, begun: Instant) {
        if coverage == Some(&Coverage::Complete) {
            // What a look left since it began it may not tell.
            let left = self.relist.left.filter(|left| *left > begun);
            let due = left.and(self.relist.due);
            self.relist = Relist { incomplete: 0, due, left, took: begun.elapsed() };
            return;
        }
        if self.running != Running::Daemon {
            // Nobody waits for another listing than the one that was asked for.
            return;
        }
        self.relist.incomplete = self.relist.incomplete.saturating_add(1);
        let seed = door::seed(self.handle.target.name.as_str());
        let wait = retry::relist(self.relist.incomplete, begun.elapsed(), seed);
        self.relist.due = Some(Instant::now() + wait);
    }

    /// A look left something that a complete listing tells. Where the last one was not complete the next is
    /// owed already.
    pub(super) fn leave_to_relist(&mut self) {
        if self.running != Running::Daemon || self.relist.incomplete > 0 {
            return;
        }
        let now = Instant::now();
        let seed = door::seed(self.handle.target.name.as_str());
        self.relist.left = Some(now);
        self.relist.due.get_or_insert(now + retry::relist(1, self.relist.took, seed));
    }

    /// Asks for the listing that is owed. One that runs may be it.
    pub(super) fn ask_for_relist(&mut self) {
        let now = Instant::now();
        if self.full.is_empty() && self.relist.due.take_if(|due| *due <= now).is_some() {
            self.full_requests.push(FullRequest::of(Trigger::Retry));
        }
    }

    /// When the next listing is owed.
    pub(super) fn next_relist(&self) -> Option<Instant> {
        self.relist.due.filter(|_| self.full.is_empty())
    }
}
