//! What waits costs nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use rosterd::clock::Clock;
use rosterd::clock::SystemClock;
use rosterd::engine::Running;
use rosterd::engine::SyncRequest;

use crate::scale::model::Load;
use crate::scale::point::Plant;
use crate::support::store::MemoryStore;

/// The machine's clock, and how often it was asked.
#[derive(Default)]
struct AskedClock(AtomicU64);

impl Clock for AskedClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.fetch_add(1, Ordering::Relaxed);
        SystemClock.now()
    }

    fn steady(&self) -> Duration {
        SystemClock.steady()
    }
}

/// On real time: on a paused clock, what is due now is due in the same instant for ever.
#[tokio::test]
async fn a_worker_that_waits_for_a_listing_does_nothing_meanwhile_although_another_is_asked_for() {
    let load = Load { users: 1, targets: 1 };
    let clock = Arc::<AskedClock>::default();
    let (store, latency) = (Arc::<MemoryStore>::default(), Duration::from_millis(300));
    let plant = Plant::new(load, store, Arc::<AskedClock>::clone(&clock), latency);
    plant.engine.start(Running::Once).await.unwrap();
    let target = "t00000".into();
    plant.engine.sync(&target, SyncRequest::default()).await.unwrap();
    let before = clock.0.load(Ordering::Relaxed);
    let sync = || plant.engine.sync(&target, SyncRequest::default());
    let (one, other) = tokio::join!(sync(), sync());
    assert!(one.is_ok() && other.is_ok());
    let asked = clock.0.load(Ordering::Relaxed) - before;
    assert!(asked < 1_000, "the clock was asked {asked} times");
}
