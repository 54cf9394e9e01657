//! When things are due: cron and intervals, the ends of validity, and durations as people write
//! them.
//!
//! croner and chrono-tz are named nowhere else.

mod freeze;
mod timetable;

use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;

use crate::model::user::User;
use crate::model::user::Validity;

pub use crate::schedule::freeze::Freezes;
pub use crate::schedule::freeze::span;
pub use crate::schedule::timetable::ScheduleError;
pub use crate::schedule::timetable::Timetable;
pub use crate::schedule::timetable::is_time_zone;

/// A fixed share of `most` for this `seed`, so that targets with one schedule do not start in
/// one second and each starts at the same offset every day.
pub fn jitter(seed: &str, most: Duration) -> Duration {
    let most_millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    match most_millis {
        0 => Duration::ZERO,
        _ => Duration::from_millis(fnv1a(seed) % most_millis),
    }
}

/// FNV-1a with 64 bits: spreads names evenly, and never changes between versions.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The first second after `now` at which the validity of the user or of one of its roles begins
/// or ends; `None` where nothing more is going to change by itself.
pub fn next_transition(user: &User, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let windows = user.roles.iter().map(|role| role.valid).chain([user.valid]);
    windows.flat_map(|Validity { from, until }| [from, until]).flatten().filter(|at| *at > now).min()
}

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration; write a whole number and its unit: `90s`, `15m`, `24h` or `14d`")]
pub struct DurationError(String);

/// A moment as a person reads it where they live; by UTC where that is not known.
pub fn in_zone(at: DateTime<Utc>, zone: Option<&str>) -> String {
    let zone = zone.and_then(|name| name.parse::<chrono_tz::Tz>().ok()).unwrap_or(chrono_tz::UTC);
    at.with_timezone(&zone).format("%Y-%m-%d %H:%M %Z").to_string()
}

/// Reads `90s`, `15m`, `24h`, `14d`: one whole number and one unit.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let parsed = || {
        let unit = text.chars().next_back()?;
        let seconds: u64 = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            _ => return None,
        };
        let digits = text.strip_suffix(unit)?;
        // `parse` alone would take `+5`.
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let count: u64 = plain.then(|| digits.parse().ok())??;
        // A century is no interval that anybody means, and keeps every later sum inside chrono's range.
        let total = count.checked_mul(seconds)?;
        (total <= 100 * 366 * 24 * 60 * 60).then(|| Duration::from_secs(total))
    };
    parsed().ok_or_else(|| DurationError(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::user::RoleHeld;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn user(valid: (Option<&str>, Option<&str>), roles: &[(Option<&str>, Option<&str>)]) -> User {
        let window =
            |(from, until): (Option<&str>, Option<&str>)| Validity { from: from.map(at), until: until.map(at) };
        let roles = roles.iter().map(|role| RoleHeld { name: "r".into(), valid: window(*role), line: 1 }).collect();
        User { valid: window(valid), roles, ..User::plain("u-1") }
    }

    #[test]
    fn the_next_transition_is_the_nearest_beginning_or_end_after_now() {
        let user = user(
            (Some("2026-01-01T00:00:00Z"), Some("2026-12-31T00:00:00Z")),
            &[(None, Some("2026-06-01T00:00:00Z")), (Some("2026-03-01T00:00:00Z"), None)],
        );
        let next = |now: &str| next_transition(&user, at(now)).map(|at| at.to_rfc3339());
        assert_eq!(next("2025-06-01T00:00:00Z").as_deref(), Some("2026-01-01T00:00:00+00:00"));
        assert_eq!(next("2026-01-01T00:00:00Z").as_deref(), Some("2026-03-01T00:00:00+00:00"));
        assert_eq!(next("2026-05-31T23:59:59Z").as_deref(), Some("2026-06-01T00:00:00+00:00"));
        assert_eq!(next("2026-06-01T00:00:00Z").as_deref(), Some("2026-12-31T00:00:00+00:00"));
        assert_eq!(next("2026-12-31T00:00:00Z"), None);
    }

    #[test]
    fn durations_are_a_whole_number_and_one_unit() {
        let read = |text| parse_duration(text).map(|duration| duration.as_secs()).ok();
        assert_eq!(
            [read("90s"), read("15m"), read("24h"), read("14d")],
            [Some(90), Some(900), Some(86_400), Some(1_209_600)]
        );
        for text in ["", "s", "5", "-5s", "+5s", "1.5h", "1h30m", "5 m", "5M", "14é", "99999999999999999999d", "40000d"]
        {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn jitter_is_the_same_each_day_below_its_bound_and_spread_over_it() {
        let most = Duration::from_mins(1);
        let shares: BTreeSet<Duration> = (0..100).map(|n| jitter(&format!("target-{n}"), most)).collect();
        assert!(shares.len() > 90 && shares.iter().all(|share| *share < most));
        assert_eq!(jitter("crm", most), jitter("crm", most));
        assert_eq!(jitter("crm", Duration::ZERO), Duration::ZERO);
    }
}
