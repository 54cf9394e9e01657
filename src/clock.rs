//! The one place that reads the clock.

use chrono::DateTime;
use chrono::Utc;

/// Gives the time to everything that must not read it itself.
pub trait Clock: Send + Sync {
    /// Wall-clock time.
    fn now(&self) -> DateTime<Utc>;
}

/// The machine's wall clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of the clock")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// A clock that tests set: it starts at `at` and moves with tokio's clock.
#[derive(Debug)]
pub struct TestClock {
    at: DateTime<Utc>,
    started: tokio::time::Instant,
}

impl TestClock {
    /// A clock that shows `at` now.
    pub fn new(at: DateTime<Utc>) -> Self {
        Self { at, started: tokio::time::Instant::now() }
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        self.at + self.started.elapsed()
    }
}
