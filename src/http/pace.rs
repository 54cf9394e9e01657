//! How long a target asks its callers to wait.

use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use reqwest::header::HeaderMap;

/// Numbers above this are moments (seconds since 1970), below it they are waiting times: no
/// target asks for 31 years, and none lives in 2001.
const EPOCH_FROM: u64 = 1_000_000_000;

/// The waiting time that an answer states: `Retry-After` in seconds or as a date (RFC 9110
/// section 10.2.3), else `X-Rate-Limit-Reset`, `X-RateLimit-Reset` or `RateLimit-Reset`, else the
/// `t` of `RateLimit`.
///
/// Moments count from the answer's own `Date`, so that two clocks that differ do no harm.
pub fn wait(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let now = text("date").and_then(http_date).unwrap_or(now);
    if let Some(after) = text("retry-after") {
        return seconds(after, now).or_else(|| Some(until(http_date(after)?, now)));
    }
    let resets = ["x-rate-limit-reset", "x-ratelimit-reset", "ratelimit-reset"];
    resets.iter().find_map(|name| seconds(text(name)?, now)).or_else(|| {
        let parameters = text("ratelimit")?.split([';', ',']);
        parameters.filter_map(|parameter| parameter.trim().strip_prefix("t=")).find_map(|wait| seconds(wait, now))
    })
}

/// What the answer says the time is; `None` where a cache answered (RFC 9111 section 5.1).
pub fn date(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    let fresh = headers.get("age").is_none();
    headers.get("date").filter(|_| fresh).and_then(|value| value.to_str().ok()).map(str::trim).and_then(http_date)
}

fn seconds(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let number: f64 = text.parse().ok()?;
    let whole = Duration::try_from_secs_f64(number.ceil()).ok()?;
    if whole.as_secs() < EPOCH_FROM {
        return Some(whole);
    }
    let moment = DateTime::from_timestamp(i64::try_from(whole.as_secs()).ok()?, 0)?;
    Some(until(moment, now))
}

fn until(moment: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (moment - now).to_std().unwrap_or_default()
}

fn http_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text).ok().map(|date| date.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&'static str, &'static str)], seconds: Option<u64>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let now = http_date("Sun, 22 Nov 2026 01:00:00 GMT").unwrap();
        assert_eq!(wait(&map, now), seconds.map(Duration::from_secs), "{headers:?}");
    }

    #[test]
    fn every_way_of_asking_for_patience_is_understood() {
        check(&[], None);
        check(&[("retry-after", "2")], Some(2));
        check(&[("retry-after", "0.3")], Some(1));
        check(&[("retry-after", "Sun, 22 Nov 2026 01:00:30 GMT")], Some(30));
        check(&[("retry-after", "Sun, 22 Nov 2026 00:00:30 GMT")], Some(0));
        check(&[("x-rate-limit-reset", "1795309245")], Some(45));
        check(&[("x-ratelimit-reset", "7")], Some(7));
        check(&[("ratelimit-reset", "9")], Some(9));
        check(&[("ratelimit", "\"default\";r=0;t=11")], Some(11));
        check(&[("retry-after", "soon")], None);
    }

    #[test]
    fn moments_count_from_the_answers_own_clock() {
        check(&[("date", "Sun, 22 Nov 2026 05:00:00 GMT"), ("retry-after", "Sun, 22 Nov 2026 05:00:10 GMT")], Some(10));
    }
}
