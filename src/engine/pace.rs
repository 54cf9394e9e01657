//! How many calls of one target are under way at once.

use crate::engine::queue::Lane;
use crate::http::rate::Caller;
use crate::model::target::Limits;

/// The slots of a target. Narrowing has one of its own beside `concurrency`, as the last permit of the
/// rate is kept for it, so that a removal never waits behind creations (L5).
#[derive(Debug)]
pub struct Pace {
    concurrency: usize,
}

impl Pace {
    /// The slots that these limits give.
    pub fn new(limits: &Limits) -> Self {
        Self { concurrency: limits.concurrency.max(1) }
    }

    /// Whether a call of this lane finds a slot beside those in flight.
    pub fn has_slot(&self, lane: Lane, in_flight: usize, narrowing_in_flight: usize) -> bool {
        let others = in_flight.saturating_sub(narrowing_in_flight);
        match lane {
            Lane::Narrow => in_flight <= self.concurrency,
            Lane::Neutral | Lane::Widen => others < self.concurrency && in_flight <= self.concurrency,
        }
    }
}

impl From<Lane> for Caller {
    fn from(lane: Lane) -> Self {
        if lane == Lane::Narrow { Self::Narrowing } else { Self::Other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creations_leave_one_slot_for_a_removal() {
        let limits = Limits { concurrency: 2, ..Limits::none() };
        let pace = Pace::new(&limits);
        assert!(!pace.has_slot(Lane::Widen, 2, 0));
        assert!(pace.has_slot(Lane::Narrow, 2, 0));
    }
}
