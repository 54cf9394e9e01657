//! The time by which windows slide (L4, L16).
//!
//! # Guarantees
//! - While a process runs, windows slide by the steady clock alone, and not at all while the wall
//!   clock is doubted: whoever sets it empties no window, whether or not the setting is ever believed.
//! - From one process to the next they slide by the wall clock, less what it was set by while
//!   somebody was watching, and never back behind what was counted last. Where targets or the store
//!   contradict the clock that a process starts with, windows stand where those confirm.
//!
//! # Caveats
//! A clock that is set while no rosterd runs, and that nobody contradicts, looks like time that passed.

use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::clock::Clock;
use crate::engine::shared::Shared;
use crate::engine::shared::lock;
use crate::store::StoreError;
use crate::store::WindowTime;

/// A difference that a clock's ordinary corrections make.
const NOTABLE: TimeDelta = TimeDelta::seconds(1);
/// The same while windows stand still and the wall clock does not.
const NOTABLE_IN_DOUBT: TimeDelta = TimeDelta::seconds(60);

/// Where windows stand at one reading of the steady clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowClock {
    at: DateTime<Utc>,
    steady: Duration,
    /// How far the wall clock was ahead when it was last believed.
    lag: TimeDelta,
    /// The same, as the store knows it.
    remembered: TimeDelta,
    /// How long windows stood still in this process.
    stood: TimeDelta,
}

impl WindowClock {
    /// Goes on from what the store remembers. `believed`: where the clock is doubted since an earlier
    /// process, how far it was ahead when it was last believed.
    pub(crate) fn new(clock: &dyn Clock, remembered: WindowTime, believed: Option<TimeDelta>) -> Self {
        let WindowTime { lag, newest } = remembered;
        let wall = clock.now();
        let at = wall.checked_sub_signed(lag).unwrap_or(wall);
        let at = newest.map_or(at, |newest| newest.max(at));
        Self { at, steady: clock.steady(), lag: believed.unwrap_or(lag), remembered: lag, stood: TimeDelta::zero() }
    }

    /// Now; `stands` where the wall clock is doubted since it showed that.
    fn now(&mut self, clock: &dyn Clock, stands: Option<DateTime<Utc>>) -> DateTime<Utc> {
        let passed = TimeDelta::from_std(clock.steady().saturating_sub(self.steady)).ok();
        let now = passed.and_then(|passed| self.at.checked_add_signed(passed)).unwrap_or(self.at);
        let Some(stands) = stands else {
            self.lag = clock.now() - now;
            return now;
        };
        let stands = stands.checked_sub_signed(self.lag).unwrap_or(stands);
        if stands < now {
            self.stood += now - stands;
            (self.at, self.steady) = (stands, clock.steady());
        }
        stands.min(now)
    }

    /// How far the wall clock is ahead, where the store does not know that yet.
    fn new_lag(&mut self, clock: &dyn Clock, stands: Option<DateTime<Utc>>) -> Option<TimeDelta> {
        let lag = clock.now() - self.now(clock, stands);
        let notable = if stands.is_some() { NOTABLE_IN_DOUBT } else { NOTABLE };
        let differs = (lag - self.remembered).abs() >= notable;
        differs.then(|| {
            self.remembered = lag;
            lag
        })
    }
}

impl Shared {
    /// Now, in the time by which windows slide.
    pub fn window_now(&self) -> DateTime<Utc> {
        let stands = self.doubted_since();
        lock(&self.windows).now(&*self.clock, stands)
    }

    /// The same with what windows stood still in this process: what keeps somebody in goes on by the steady
    /// clock whatever is doubted. Another process counts what was left of a wait from where it stands.
    pub fn passed_now(&self) -> DateTime<Utc> {
        let now = self.window_now();
        now.checked_add_signed(lock(&self.windows).stood).unwrap_or(now)
    }

    /// How far the wall clock was ahead of that time when it was last believed.
    pub(crate) fn believed_lag(&self) -> TimeDelta {
        self.window_now();
        lock(&self.windows).lag
    }

    /// What the store must be told of a wall clock that was set; once.
    pub(crate) fn new_window_lag(&self) -> Option<TimeDelta> {
        let stands = self.doubted_since();
        lock(&self.windows).new_lag(&*self.clock, stands)
    }

    fn doubted_since(&self) -> Option<DateTime<Utc>> {
        (!self.clock_is_trusted()).then(|| self.judged())
    }
}

/// Goes on from what the store remembers.
pub(crate) async fn begin(shared: &Shared) -> Result<(), StoreError> {
    let remembered = shared.store.window_time().await?;
    let doubted = lock(&shared.clock_told).doubted;
    let believed = doubted.and_then(|doubted| TimeDelta::try_milliseconds(doubted.lag));
    *lock(&shared.windows) = WindowClock::new(&*shared.clock, remembered, believed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TestClock;

    fn noon() -> DateTime<Utc> {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn windows_slide_by_the_steady_clock_whatever_the_wall_clock_shows() {
        let clock = TestClock::new(noon());
        let mut windows = WindowClock::new(&clock, WindowTime::default(), None);
        for stepped in [TimeDelta::days(400), TimeDelta::days(-800)] {
            clock.step(stepped);
            let before = windows.now(&clock, None);
            tokio::time::advance(Duration::from_mins(1)).await;
            assert_eq!(windows.now(&clock, None) - before, TimeDelta::minutes(1));
            assert!(windows.new_lag(&clock, None).is_some());
            assert_eq!(windows.new_lag(&clock, None), None, "told once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_successor_goes_on_where_its_predecessor_stood() {
        let clock = TestClock::new(noon());
        let mut first = WindowClock::new(&clock, WindowTime::default(), None);
        clock.step(TimeDelta::days(400));
        let lag = first.new_lag(&clock, None).unwrap();
        tokio::time::advance(Duration::from_mins(5)).await;
        let mut next = WindowClock::new(&clock, WindowTime { lag, newest: None }, None);
        assert_eq!(next.now(&clock, None), first.now(&clock, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_behind_what_was_counted_does_not_turn_windows_back() {
        let clock = TestClock::new(noon());
        let newest = noon() + TimeDelta::days(30);
        let mut windows = WindowClock::new(&clock, WindowTime { lag: TimeDelta::zero(), newest: Some(newest) }, None);
        assert_eq!(windows.now(&clock, None), newest);
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_clock_is_doubted_windows_stand_still() {
        let clock = TestClock::new(noon());
        let mut windows = WindowClock::new(&clock, WindowTime::default(), None);
        assert_eq!(windows.now(&clock, None), noon());
        clock.step(TimeDelta::days(3));
        tokio::time::advance(Duration::from_hours(5)).await;
        assert_eq!(windows.now(&clock, Some(noon())), noon());
        assert_eq!(windows.new_lag(&clock, Some(noon())), Some(TimeDelta::days(3) + TimeDelta::hours(5)));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(windows.new_lag(&clock, Some(noon())), None, "not every second");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(windows.now(&clock, None), noon() + TimeDelta::seconds(10), "from there it goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_starts_in_doubt_stands_where_its_predecessor_stood() {
        let clock = TestClock::new(noon());
        let mut first = WindowClock::new(&clock, WindowTime::default(), None);
        assert_eq!(first.now(&clock, None), noon());
        clock.step(TimeDelta::days(400));
        let lag = first.new_lag(&clock, Some(noon())).unwrap();
        tokio::time::advance(Duration::from_hours(2)).await;
        let remembered = WindowTime { lag, newest: Some(noon()) };
        let mut next = WindowClock::new(&clock, remembered, Some(TimeDelta::zero()));
        assert_eq!(next.now(&clock, Some(noon())), noon());
        tokio::time::advance(Duration::from_hours(2)).await;
        assert_eq!(next.now(&clock, None), noon() + TimeDelta::hours(2), "from there it goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_starts_with_a_wrong_clock_takes_the_confirmed_time() {
        let clock = TestClock::new(noon() + TimeDelta::days(30));
        let mut windows = WindowClock::new(&clock, WindowTime { lag: TimeDelta::zero(), newest: Some(noon()) }, None);
        assert_eq!(windows.now(&clock, Some(noon())), noon());
    }
}
