//! The engine's time: the clock as far as it is believed (L16).
//!
//! Everybody in the engine asks [`Shared::now`] or [`Shared::judged`], never the clock. What targets
//! and the store say of the time is heard regularly, and whenever a target answered.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::clock::guard::Guard;
use crate::clock::guard::Reading;
use crate::clock::guard::Time;
use crate::clock::kept::Kept;
use crate::engine::shared::Shared;
use crate::engine::shared::lock;
use crate::engine::worker::Message;
use crate::store::StoreError;
use crate::store::Write;

/// How often the clock is looked at when nobody asks for the time.
const EVERY: Duration = Duration::from_secs(5);

impl Shared {
    /// The time, for records, waits and schedules. It goes on while the clock is doubted, by the
    /// time that passed.
    pub fn now(&self) -> DateTime<Utc> {
        self.time().now
    }

    /// The time by which validity, deletions and windows are judged. It stands still while the clock
    /// is doubted: then nothing ends by itself.
    pub fn judged(&self) -> DateTime<Utc> {
        self.time().judged
    }

    /// Whether the clock is believed. While it is not, nothing is deleted.
    pub fn clock_is_trusted(&self) -> bool {
        self.time().trusted
    }

    /// Why the clock is not believed, and what to do; `None` where it is.
    pub(crate) fn clock_doubt(&self) -> Option<String> {
        self.time();
        let doubt = lock(&self.guard).doubt()?;
        Some(format!(
            "{doubt}; end dates and deletions wait until it is right again, or until a person says that it is: \
             set the clock, or `rosterd trust-clock`"
        ))
    }

    fn time(&self) -> Time {
        lock(&self.guard).read(Reading::of(&*self.clock))
    }

    /// Hears what targets say of the time, and acts where that changes what is believed.
    pub(crate) fn hear_targets(&self) {
        let said = lock(&self.handles).values().filter_map(|handle| handle.connector.time()).collect();
        lock(&self.guard).targets_say(said, Reading::of(&*self.clock));
        self.judge_clock();
    }

    /// Tells everybody where the clock is believed no more, or again.
    fn judge_clock(&self) {
        let trusted = self.time().trusted;
        self.metrics.clock_trusted.set(i64::from(trusted));
        let before = self.clock_was_trusted.swap(trusted, std::sync::atomic::Ordering::SeqCst);
        if before == trusted {
            return;
        }
        if let Some(doubt) = self.clock_doubt() {
            tracing::error!(%doubt, "the clock is not believed");
        } else {
            tracing::warn!("the clock is believed again");
        }
        self.tell_workers();
    }

    /// What has begun and ended by now is judged anew for everybody.
    fn tell_workers(&self) {
        let senders: Vec<_> = lock(&self.handles).values().map(|handle| handle.sender.clone()).collect();
        for sender in senders {
            // Whoever ended has nothing to judge any more.
            drop(sender.send(Message::Snapshot(None)));
        }
    }

    /// What the store must know before a person's word on the clock acts: the clock is right as this
    /// reading shows it.
    pub(crate) fn trusting(&self) -> (Reading, Kept) {
        let reading = Reading::of(&*self.clock);
        let mut guard = lock(&self.guard).clone();
        guard.trust(reading);
        guard.read(reading);
        (reading, guard.kept(TimeDelta::zero()))
    }

    /// What the store must know of the clock, where that changed; once.
    pub(crate) fn new_kept_clock(&self) -> Option<Kept> {
        let kept = self.kept_clock();
        let mut told = lock(&self.clock_told);
        if kept.is_like(&told) {
            return None;
        }
        told.clone_from(&kept);
        Some(kept)
    }

    /// What the store must know of the clock as it is.
    pub(crate) fn kept_clock(&self) -> Kept {
        self.time();
        let lag = self.believed_lag();
        lock(&self.guard).kept(lag)
    }

    /// A person says that the clock is right as it is.
    pub(crate) fn trust_clock(&self, (reading, kept): (Reading, Kept)) {
        lock(&self.guard).trust(reading);
        *lock(&self.clock_told) = kept;
        self.judge_clock();
        // Nobody may have been told of the doubt: the time by which they judged is another all the same.
        self.tell_workers();
    }
}

/// Learns from the store what time it is at least.
pub async fn begin(shared: &Shared) -> Result<(), StoreError> {
    // Nothing was judged by an earlier reading, save by the process before this one.
    let kept = shared.store.kept_clock().await?;
    let reading = Reading::of(&*shared.clock);
    let mut guard = Guard::new(reading);
    guard.restore(&kept, reading);
    *lock(&shared.guard) = guard;
    *lock(&shared.clock_told) = kept;
    let cycle = shared.store.cycles(None, None, 1).await?.into_iter().next();
    let snapshot = shared.store.snapshot().await?.map(|snapshot| snapshot.at);
    let recorded = cycle.map(|cycle| cycle.ended.unwrap_or(cycle.started));
    if let Some(at) = recorded.max(snapshot) {
        lock(&shared.guard).not_before(at, Reading::of(&*shared.clock));
    }
    ask_store(shared).await?;
    shared.judge_clock();
    Ok(())
}

async fn ask_store(shared: &Shared) -> Result<(), StoreError> {
    if let Some(at) = shared.store.time().await? {
        lock(&shared.guard).store_says(at, Reading::of(&*shared.clock));
    }
    Ok(())
}

/// Looks at the clock until the engine stops.
pub async fn watch(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.cancel.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = ask_store(&shared).await {
            tracing::debug!(%error, "the store does not say what time it is");
        }
        shared.hear_targets();
        if let Err(error) = keep(&shared).await {
            tracing::warn!(%error, "the store does not keep what is known of the clock");
        }
    }
}

/// Workers tell what is known of the clock with whatever they record; here it is made sure of. What the
/// store holds is asked each time: while it did not answer several may have waited to tell it, and the one
/// that came last need not be the one that knew last.
async fn keep(shared: &Shared) -> Result<(), StoreError> {
    let stored = shared.store.kept_clock().await?;
    let kept = shared.kept_clock();
    if !kept.is_like(&stored) {
        shared.store.commit(vec![Write::Clock(kept)], shared.store.fence()).await?;
    }
    Ok(())
}
