//! The one place that reads the clock, and the judge of whether it tells the time.

pub mod guard;
pub mod kept;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

/// Gives the time to everything that must not read it itself.
pub trait Clock: Send + Sync {
    /// Wall-clock time.
    fn now(&self) -> DateTime<Utc>;

    /// Time since some fixed moment, by a clock that nobody sets and that counts the time a machine
    /// sleeps. Two readings compare only within one process.
    fn steady(&self) -> Duration;
}

/// The machine's clocks.
///
/// The steady one is `CLOCK_BOOTTIME` on Linux: what `std::time::Instant` reads there stops while
/// the machine is suspended, so that waking up would look like somebody setting the clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of the clock")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn steady(&self) -> Duration {
        since_boot()
    }
}

#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// What `Instant` reads counts suspension on Windows; where it does not, waking up is doubted until
/// a target's answer shows the time.
#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    static STARTED: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    STARTED.get_or_init(std::time::Instant::now).elapsed()
}

/// A clock that tests set: it starts at `at` and moves with tokio's clock.
#[derive(Debug)]
pub struct TestClock {
    at: DateTime<Utc>,
    started: tokio::time::Instant,
    stepped: Mutex<TimeDelta>,
}

impl TestClock {
    /// A clock that shows `at` now.
    pub fn new(at: DateTime<Utc>) -> Self {
        Self { at, started: tokio::time::Instant::now(), stepped: Mutex::default() }
    }

    /// Somebody sets the wall clock: forward, or back where `by` is negative.
    pub fn step(&self, by: TimeDelta) {
        *self.stepped.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        self.at + self.started.elapsed() + *self.stepped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn steady(&self) -> Duration {
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "real time must pass, and no runtime is here to be held up")]
    fn the_steady_clock_never_goes_back() {
        let first = SystemClock.steady();
        std::thread::sleep(Duration::from_millis(2));
        assert!(SystemClock.steady() > first);
    }
}
