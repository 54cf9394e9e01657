//! How many requests a second one target gets: the rate, the pauses it asked for, and who is next.
//!
//! # Guarantees
//! - Every request counts, whichever of a call it is: a creation that needs three counts three times.
//! - What takes access away waits for what takes access away alone, and one permit is kept for it (L5).
//! - A listing and other calls take turns: neither keeps the other from the target.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

tokio::task_local! {
    /// For whom this task makes requests.
    static TURN: Turn;
}

/// Who wants to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A call that takes access away, or a look for one.
    Narrowing,
    /// Any other call or look.
    Other,
    /// A page of a listing.
    Listing,
}

/// The rate of one target; copies share it.
#[derive(Clone, Debug)]
pub struct Rate {
    /// Time between two requests at the allowed rate; zero where none is set.
    interval: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// When all that was sent is paid for: the one number of the generic cell rate algorithm.
    paid_at: Instant,
    /// The same, of what takes access away alone.
    narrowing_paid_at: Instant,
    /// Listings, and what is neither a listing nor a removal: they take turns.
    listing: Side,
    others: Side,
    paused_until: Option<Instant>,
}

/// One of two that take turns.
#[derive(Debug, Default)]
struct Side {
    /// For when it was told to come again.
    told: Option<Instant>,
    was_last: bool,
}

impl Side {
    /// When it may go: after one that had the last turn comes the other, unless nobody comes for it.
    fn turn(&self, other: &Self, paid_at: Instant, interval: Duration, now: Instant) -> Instant {
        let others = other.told.filter(|_| self.was_last).map(|told| told + interval);
        others.filter(|end| *end > now).map_or(paid_at, |end| end.max(paid_at))
    }
}

impl State {
    fn side(&mut self, caller: Caller) -> Option<&mut Side> {
        match caller {
            Caller::Narrowing => None,
            Caller::Other => Some(&mut self.others),
            Caller::Listing => Some(&mut self.listing),
        }
    }
}

/// What was not used for so long may be used yet: timers wake late, and a rate is not to be lost for it.
const SLACK: Duration = Duration::from_millis(20);

impl Rate {
    /// So many requests a second, the first at once; `None`: as many as there are.
    pub fn new(requests_per_second: Option<f64>, now: Instant) -> Self {
        let interval = requests_per_second.filter(|rate| *rate > 0.0).map(|rate| 1.0 / rate);
        let state = State {
            paid_at: now,
            narrowing_paid_at: now,
            listing: Side::default(),
            others: Side::default(),
            paused_until: None,
        };
        Self { interval: interval.map_or(Duration::ZERO, Duration::from_secs_f64), state: Arc::new(Mutex::new(state)) }
    }

    /// Takes a permit, or says when one will be there.
    ///
    /// # Errors
    /// The instant to ask again.
    pub fn take(&self, caller: Caller, now: Instant) -> Result<(), Instant> {
        let mut state = self.open();
        if let Some(until) = state.paused_until.filter(|until| *until > now) {
            return Err(until);
        }
        let earliest = match caller {
            // The last permit is kept for it, and what others owe is not its debt.
            Caller::Narrowing => {
                state.narrowing_paid_at.min(state.paid_at.checked_sub(self.interval).unwrap_or(state.paid_at))
            }
            Caller::Other => state.others.turn(&state.listing, state.paid_at, self.interval, now),
            Caller::Listing => state.listing.turn(&state.others, state.paid_at, self.interval, now),
        };
        if earliest > now {
            if let Some(side) = state.side(caller) {
                side.told = Some(earliest);
            }
            return Err(earliest);
        }
        if let Some(side) = state.side(caller) {
            *side = Side { told: None, was_last: true };
            let other = if caller == Caller::Listing { &mut state.others } else { &mut state.listing };
            other.was_last = false;
        }
        self.charge(&mut state, caller, now);
        Ok(())
    }

    /// Waits for a permit.
    async fn taken(&self, caller: Caller) {
        while let Err(later) = self.take(caller, Instant::now()) {
            tokio::time::sleep_until(later).await;
        }
    }

    /// A request that leaves now, whatever the rate: the next ones wait for it.
    fn charge(&self, state: &mut State, caller: Caller, now: Instant) {
        let paid = |at: Instant| at.max(now.checked_sub(SLACK).unwrap_or(now)) + self.interval;
        state.paid_at = paid(state.paid_at);
        if caller == Caller::Narrowing {
            state.narrowing_paid_at = paid(state.narrowing_paid_at);
        }
    }

    /// Until when no call may leave, where the target said so.
    pub fn paused_until(&self) -> Option<Instant> {
        self.open().paused_until
    }

    /// No call before `until`: the target said so.
    pub fn pause(&self, until: Instant) {
        let mut state = self.open();
        state.paused_until = state.paused_until.max(Some(until));
    }

    fn open(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For whom a call makes its requests.
struct Turn {
    rate: Rate,
    caller: Caller,
    /// Requests for which a permit was taken before.
    paid: u32,
    /// From which of its requests on each waits for a permit; the others are counted as they leave.
    waits_from: u32,
    sent: AtomicU32,
    waited: Mutex<Waited>,
}

/// How long a call waited for permits, and since when it does so now.
#[derive(Clone, Copy, Debug, Default)]
struct Waited {
    before: Duration,
    since: Option<Instant>,
}

impl Turn {
    async fn of<F: Future>(rate: &Rate, caller: Caller, (paid, waits_from): (u32, u32), call: F) -> F::Output {
        let (sent, waited) = (AtomicU32::new(0), Mutex::default());
        let turn = Self { rate: rate.clone(), caller, paid, waits_from, sent, waited };
        TURN.scope(turn, call).await
    }

    fn waited(&self) -> MutexGuard<'_, Waited> {
        self.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many requests of a look leave as soon as it needs them. More of them are a list that is walked.
const OF_ONE_LOOK: u32 = 5;

/// Makes a write whose first permit was taken. What it needs besides is counted and does not wait: half
/// an account is worse than a moment above the rate, which what comes after it pays for.
pub async fn paid<F: Future>(rate: &Rate, caller: Caller, write: F) -> F::Output {
    Turn::of(rate, caller, (1, u32::MAX), write).await
}

/// Makes a call at once, whatever the rate, and counts its requests.
pub async fn counted<F: Future>(rate: &Rate, caller: Caller, call: F) -> F::Output {
    Turn::of(rate, caller, (0, u32::MAX), call).await
}

/// Makes a look once there is a permit for its first request. One for a removal waits no further (L5).
pub async fn in_turn<F: Future>(rate: &Rate, caller: Caller, look: F) -> F::Output {
    rate.taken(caller).await;
    let waits_from = if caller == Caller::Narrowing { u32::MAX } else { OF_ONE_LOOK };
    Turn::of(rate, caller, (1, waits_from), look).await
}

/// Makes a listing, of which every request waits for a permit.
pub async fn paged<F: Future>(rate: &Rate, listing: F) -> F::Output {
    Turn::of(rate, Caller::Listing, (0, 0), listing).await
}

/// How long the call that this task makes waited for permits so far: no target is slow for it.
pub fn waited() -> Duration {
    let waited = TURN.try_with(|turn| {
        let Waited { before, since } = *turn.waited();
        before + since.map_or(Duration::ZERO, |since| since.elapsed())
    });
    waited.unwrap_or_default()
}

/// Called before each request: counts it, and waits where it is one of many. A task that makes its
/// requests for no target of the engine is not held.
pub(crate) async fn permit() {
    let waits = TURN.try_with(|turn| {
        let before = turn.sent.fetch_add(1, Ordering::Relaxed);
        if before >= turn.waits_from {
            return Some((turn.rate.clone(), turn.caller));
        }
        if before >= turn.paid {
            // Others pay for what a removal needs besides.
            turn.rate.charge(&mut turn.rate.open(), Caller::Other, Instant::now());
        }
        None
    });
    if let Ok(Some((rate, caller))) = waits {
        let begun = Instant::now();
        TURN.with(|turn| turn.waited().since = Some(begun));
        rate.taken(caller).await;
        TURN.with(|turn| {
            let mut waited = turn.waited();
            *waited = Waited { before: waited.before + begun.elapsed(), since: None };
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call of so many requests.
    async fn requests(count: u32) {
        for _ in 0..count {
            permit().await;
        }
    }

    /// So many permits that are taken in so many seconds by one who asks again as late as a timer wakes.
    async fn taken_in(rate: &Rate, caller: Caller, seconds: u64) -> u32 {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut taken = 0;
        while Instant::now() < end {
            match rate.take(caller, Instant::now()) {
                Ok(()) => taken += 1,
                Err(later) => tokio::time::sleep_until(later + Duration::from_millis(3)).await,
            }
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_and_not_lost_to_timers_that_wake_late() {
        let rate = Rate::new(Some(200.0), Instant::now());
        let taken = taken_in(&rate, Caller::Other, 10).await;
        assert!((1_960..=2_005).contains(&taken), "{taken}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_stops_even_removals_until_it_ends() {
        let rate = Rate::new(None, Instant::now());
        let now = Instant::now();
        let until = now + Duration::from_secs(2);
        rate.pause(until);
        assert_eq!(rate.take(Caller::Narrowing, now), Err(until));
        assert_eq!(rate.take(Caller::Narrowing, until), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_beyond_the_first_of_a_write_are_paid_by_who_comes_next() {
        let rate = Rate::new(Some(1.0), Instant::now());
        let begun = Instant::now();
        assert_eq!(rate.take(Caller::Other, begun), Ok(()));
        paid(&rate, Caller::Other, requests(9)).await;
        assert_eq!(Instant::now(), begun, "a write that is under way does not wait");
        assert_eq!(rate.take(Caller::Narrowing, begun), Ok(()), "nor does a removal for what others owe");
        let next = rate.take(Caller::Other, begun).unwrap_err();
        assert!(next > begun + Duration::from_millis(8_900), "{:?}", next - begun);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_walks_a_list_keeps_the_rate() {
        let rate = Rate::new(Some(10.0), Instant::now());
        let begun = Instant::now();
        in_turn(&rate, Caller::Other, async {
            requests(50).await;
            assert_eq!(waited(), begun.elapsed());
        })
        .await;
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(4_700) && took <= Duration::from_secs(5), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_for_a_removal_waits_for_nothing_besides_its_first_permit() {
        let rate = Rate::new(Some(10.0), Instant::now());
        let begun = Instant::now();
        in_turn(&rate, Caller::Narrowing, requests(50)).await;
        assert_eq!(rate.take(Caller::Narrowing, Instant::now() + Duration::from_millis(100)), Ok(()));
        assert_eq!(Instant::now(), begun);
        assert!(rate.take(Caller::Other, begun + Duration::from_secs(4)).is_err(), "others pay for it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_and_others_take_turns() {
        let rate = Rate::new(Some(100.0), Instant::now());
        let listing = async {
            let begun = Instant::now();
            paged(&rate, requests(200)).await;
            begun.elapsed()
        };
        let (took, others) = tokio::join!(listing, taken_in(&rate, Caller::Other, 4));
        assert!(took >= Duration::from_millis(1_900) && took <= Duration::from_millis(4_200), "{took:?}");
        assert!((190..=212).contains(&others), "{others}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_that_is_given_up_holds_nobody() {
        let rate = Rate::new(Some(10.0), Instant::now());
        let now = Instant::now();
        assert_eq!(rate.take(Caller::Listing, now), Ok(()));
        assert!(rate.take(Caller::Listing, now).is_err());
        // Nobody comes for that turn.
        let taken = taken_in(&rate, Caller::Other, 10).await;
        assert!((97..=100).contains(&taken), "{taken}");
    }
}
