//! Listings that did not show everybody are made again (L3, L14).
//!
//! # Guarantees
//! - What only a complete listing tells (who vanished, whose creation left nothing) stays owed until there
//!   was one, also where no schedule would bring the next.
//! - A target that never shows everybody is listed ever more rarely, at last about once a day, and for no
//!   more than a tenth of the time.

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
}

impl Worker {
    /// A listing that began then came to its end. `None`: no plan came of it.
    pub(super) fn note_coverage(&mut self, coverage: Option<&Coverage>, begun: Instant) {
        if coverage == Some(&Coverage::Complete) {
            self.relist = Relist::default();
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
