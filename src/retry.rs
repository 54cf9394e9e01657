//! How long to wait before a call is made again.

use std::time::Duration;

use backon::BackoffBuilder;
use backon::ExponentialBuilder;

/// The longest wait of anything that does not take access away.
pub const LONGEST: Duration = Duration::from_mins(15);

/// The longest wait of a narrowing: access that should have ended is tried again at least once
/// a minute for as long as it takes.
pub const LONGEST_NARROWING: Duration = Duration::from_mins(1);

/// The longest wait before the door of a target that keeps failing is knocked at again.
pub const LONGEST_AT_A_DOOR: Duration = Duration::from_hours(1);

/// The longest wait before a target is listed again that does not show everybody: whoever adds a user by a
/// daily cycle may rely on a day.
pub const LONGEST_BETWEEN_LISTINGS: Duration = Duration::from_hours(24);

/// A listing that is made again may take one part in so many of the time.
const SHARE_OF_LISTINGS: u32 = 10;

/// From this attempt on every wait has reached its cap: 2^17 s is more than a day.
const CAPPED_FROM: u32 = 17;

/// The wait before the next try, after `attempt` failures (the first failure is 1).
///
/// Exponential from 1 s, with jitter of up to the same again so that users who failed together
/// do not come back together; equal `seed` and `attempt` give equal waits. `retry_after` is what
/// the target asked for and is never undercut, not even by a narrowing: a target that says when
/// it takes calls again takes none before.
pub fn delay(attempt: u32, retry_after: Option<Duration>, narrowing: bool, seed: u64) -> Duration {
    wait(attempt, retry_after, if narrowing { LONGEST_NARROWING } else { LONGEST }, seed)
}

/// The wait before a target that keeps failing as a whole is tried again: the same, up to an hour
/// where no narrowing waits behind it.
pub fn knock(attempt: u32, retry_after: Option<Duration>, narrowing: bool, seed: u64) -> Duration {
    wait(attempt, retry_after, if narrowing { LONGEST_NARROWING } else { LONGEST_AT_A_DOOR }, seed)
}

/// The wait before a target is listed again that did not show everybody: the same, up to a day, and long
/// against the time that the last listing `took`.
pub fn relist(attempt: u32, took: Duration, seed: u64) -> Duration {
    wait(attempt, None, LONGEST_BETWEEN_LISTINGS, seed).max(took.saturating_mul(SHARE_OF_LISTINGS - 1))
}

fn wait(attempt: u32, retry_after: Option<Duration>, cap: Duration, seed: u64) -> Duration {
    // The jitter doubles at most, so half the cap leaves room for it at the cap too.
    let ladder = ExponentialBuilder::new()
        .with_max_delay(cap / 2)
        .without_max_times()
        .with_jitter()
        .with_jitter_seed(seed.wrapping_add(u64::from(attempt)));
    let step = attempt.clamp(1, CAPPED_FROM) - 1;
    let wait = ladder.build().nth(step as usize).unwrap_or(cap).min(cap);
    wait.max(retry_after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_one_second_and_stay_below_fifteen_minutes() {
        for seed in 0..50 {
            for attempt in 1..=9 {
                let floor = Duration::from_secs(1 << (attempt - 1));
                let wait = delay(attempt, None, false, seed);
                assert!(wait >= floor && wait < floor * 2, "attempt {attempt}: {wait:?}");
            }
            for attempt in [10, 11, 12, 500, u32::MAX] {
                let wait = delay(attempt, None, false, seed);
                assert!(wait >= LONGEST / 2 && wait <= LONGEST, "attempt {attempt}: {wait:?}");
            }
        }
    }

    #[test]
    fn a_door_is_knocked_at_ever_more_rarely_up_to_an_hour_and_each_minute_for_a_narrowing() {
        assert!(knock(1, None, false, 3) < Duration::from_secs(2));
        for attempt in [12, 13, 500, u32::MAX] {
            let wait = knock(attempt, None, false, 3);
            assert!(wait >= LONGEST_AT_A_DOOR / 2 && wait <= LONGEST_AT_A_DOOR, "attempt {attempt}: {wait:?}");
            assert!(knock(attempt, None, true, 3) <= LONGEST_NARROWING);
        }
    }

    #[test]
    fn a_listing_that_showed_not_everybody_is_made_again_ever_more_rarely_up_to_a_day() {
        let none = Duration::ZERO;
        assert!(relist(1, none, 3) < Duration::from_secs(2));
        assert!(relist(1, Duration::from_hours(2), 3) >= Duration::from_hours(18), "it takes a tenth of the time");
        for attempt in [17, 18, 500, u32::MAX] {
            let wait = relist(attempt, none, 3);
            assert!(wait >= LONGEST_BETWEEN_LISTINGS / 2 && wait <= LONGEST_BETWEEN_LISTINGS, "{attempt}: {wait:?}");
        }
    }

    #[test]
    fn a_narrowing_is_tried_again_within_a_minute_whatever_came_before() {
        for attempt in [0, 1, 6, 7, 100, u32::MAX] {
            assert!(delay(attempt, None, true, 7) <= LONGEST_NARROWING);
        }
    }

    #[test]
    fn what_the_target_asks_for_is_never_undercut() {
        let asked = Duration::from_secs(2);
        assert!(delay(1, Some(Duration::from_hours(1)), true, 1) == Duration::from_hours(1));
        assert!(delay(1, Some(asked), false, 1) >= asked);
        assert!(delay(8, Some(asked), false, 1) >= Duration::from_secs(128));
    }

    #[test]
    fn two_users_who_failed_together_come_back_apart_and_one_user_predictably() {
        assert_ne!(delay(5, None, false, 1), delay(5, None, false, 2));
        assert_eq!(delay(5, None, false, 1), delay(5, None, false, 1));
    }
}
