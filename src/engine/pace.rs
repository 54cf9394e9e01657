//! How fast one target is called: concurrency, rate, and the pauses that it asks for.

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::queue::Lane;
use crate::model::target::Limits;

/// Decides when the next call may leave.
///
/// Narrowing has a slot of its own beside `concurrency`, and the last permit of the rate is kept
/// for it, so that a removal never waits behind creations (L5).
#[derive(Debug)]
pub struct Pace {
    concurrency: usize,
    /// Time between two calls at the allowed rate; zero where none is set.
    interval: Duration,
    /// When the bucket would be full again: the one number of the generic cell rate algorithm.
    full_at: Instant,
    paused_until: Option<Instant>,
}

/// Permits that may be used in one burst. Small, because targets count in short windows, and at
/// least 2, so that one can be kept for narrowing.
const BURST: u32 = 2;

impl Pace {
    /// A pace that starts with a full bucket.
    pub fn new(limits: &Limits, now: Instant) -> Self {
        let interval = limits.requests_per_second.filter(|rate| *rate > 0.0).map(|rate| 1.0 / rate);
        Self {
            concurrency: limits.concurrency.max(1),
            interval: interval.map_or(Duration::ZERO, Duration::from_secs_f64),
            full_at: now,
            paused_until: None,
        }
    }

    /// Whether a call of this lane finds a slot beside those in flight.
    pub fn has_slot(&self, lane: Lane, in_flight: usize, narrowing_in_flight: usize) -> bool {
        let others = in_flight.saturating_sub(narrowing_in_flight);
        match lane {
            Lane::Narrow => in_flight <= self.concurrency,
            Lane::Neutral | Lane::Widen => others < self.concurrency && in_flight <= self.concurrency,
        }
    }

    /// Takes a permit, or says when one will be there.
    ///
    /// # Errors
    /// The instant to ask again.
    pub fn take(&mut self, lane: Lane, now: Instant) -> Result<(), Instant> {
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Err(until);
        }
        let kept = u32::from(lane != Lane::Narrow);
        let tolerance = self.interval * (BURST - 1 - kept);
        let earliest = self.full_at.checked_sub(tolerance).unwrap_or(self.full_at);
        if earliest > now {
            return Err(earliest);
        }
        self.full_at = self.full_at.max(now) + self.interval;
        Ok(())
    }

    /// Until when no call may leave, where the target said so.
    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// No call before `until`: the target said so.
    pub fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: f64, concurrency: usize) -> Pace {
        let limits = Limits { requests_per_second: Some(rate), concurrency, ..Limits::none() };
        Pace::new(&limits, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn creations_leave_one_permit_and_one_slot_for_a_removal() {
        let mut pace = pace(1.0, 2);
        let now = Instant::now();
        assert_eq!(pace.take(Lane::Widen, now), Ok(()));
        assert!(pace.take(Lane::Widen, now).is_err());
        assert_eq!(pace.take(Lane::Narrow, now), Ok(()));
        assert!(!pace.has_slot(Lane::Widen, 2, 0));
        assert!(pace.has_slot(Lane::Narrow, 2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_over_many_calls() {
        let mut pace = pace(10.0, 1);
        let start = Instant::now();
        let mut now = start;
        for _ in 0..100 {
            now = pace.take(Lane::Widen, now).err().unwrap_or(now);
            assert!(now == start || pace.take(Lane::Widen, now).is_ok());
        }
        let took = now - start;
        assert!(took >= Duration::from_millis(9_800) && took <= Duration::from_secs(10), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_stops_even_removals_until_it_ends() {
        let mut pace = pace(0.0, 1);
        let now = Instant::now();
        let until = now + Duration::from_secs(2);
        pace.pause(until);
        assert_eq!(pace.take(Lane::Narrow, now), Err(until));
        assert_eq!(pace.take(Lane::Narrow, until), Ok(()));
    }
}
