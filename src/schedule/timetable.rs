//! Cron in a time zone, and fixed intervals.

use std::time::Duration;

use chrono::DateTime;
use chrono::LocalResult;
use chrono::NaiveDateTime;
use chrono::TimeDelta;
use chrono::TimeZone;
use chrono::Utc;
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::CronParser;
use croner::parser::Seconds;
use croner::parser::Year;

use crate::model::target::Schedule;

/// No zone has ever skipped more than a day (Samoa, 30 December 2011).
const LONGEST_GAP_MINUTES: i64 = 25 * 60;

/// A [`Schedule`] that can be asked.
///
/// # Daylight saving
/// A run whose hour the clock skips happens once, at the first moment after the gap. A run whose
/// hour the clock repeats happens once, the first time round. Only a schedule for *every* hour
/// (`*` in the hour field) follows elapsed time instead: a job of each 15 minutes runs in both
/// halves of a repeated hour, and has nothing to catch up for an hour that never was.
#[derive(Clone, Debug)]
pub struct Timetable(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Cron { cron: Box<Cron>, zone: Tz, every_hour: bool },
    Every(Duration),
}

/// Why a schedule cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not an IANA name.
    #[error("`{0}` is not a time zone; write an IANA name such as `Europe/Paris`")]
    TimeZone(String),
    /// Not an expression of five fields.
    #[error(
        "`{cron}` is not a cron expression: {reason}; write minute, hour, day, month and weekday, as in `0 3 * * *`"
    )]
    Cron {
        /// The expression.
        cron: String,
        /// What is wrong.
        reason: String,
    },
    /// An expression without a next run.
    #[error("`{0}` never runs: no such day exists; `0 0 28 2 *` would run on 28 February")]
    Never(String),
    /// `every: 0s`
    #[error("`every` must be at least 1s")]
    NoInterval,
}

impl Timetable {
    /// Checks a schedule, to the point of computing a run.
    pub fn new(schedule: &Schedule) -> Result<Self, ScheduleError> {
        match schedule {
            Schedule::Every(interval) if interval.as_secs() == 0 => Err(ScheduleError::NoInterval),
            Schedule::Every(interval) => Ok(Self(Kind::Every(*interval))),
            Schedule::Cron { cron, time_zone } => {
                let table = Self(Kind::Cron {
                    cron: Box::new(parse_cron(cron)?),
                    zone: time_zone.parse().map_err(|_| ScheduleError::TimeZone(time_zone.clone()))?,
                    every_hour: runs_every_hour(cron),
                });
                // Whatever the moment, a run must follow it: leap days come within eight years.
                match table.next_after(DateTime::UNIX_EPOCH) {
                    Some(_) => Ok(table),
                    None => Err(ScheduleError::Never(cron.clone())),
                }
            }
        }
    }

    /// The first run after `after`; an interval counts from `after` itself.
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match &self.0 {
            Kind::Every(interval) => after.checked_add_signed(TimeDelta::from_std(*interval).ok()?),
            Kind::Cron { cron, zone, every_hour: true } => {
                let next = cron.find_next_occurrence(&after.with_timezone(zone), false).ok()?;
                Some(next.with_timezone(&Utc))
            }
            Kind::Cron { cron, zone, every_hour: false } => next_by_wall_clock(cron, *zone, after),
        }
    }

    /// Whether a run has come due since the last one began. However many were missed, the answer
    /// is one `true`: they are caught up by one run. What never ran is due.
    pub fn due(&self, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
        last.is_none_or(|last| self.next_after(last).is_some_and(|next| next <= now))
    }
}

/// Whether the text is an IANA time zone.
pub fn is_time_zone(name: &str) -> bool {
    name.parse::<Tz>().is_ok()
}

fn parse_cron(text: &str) -> Result<Cron, ScheduleError> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(text).map_err(|error| ScheduleError::Cron { cron: text.to_owned(), reason: error.to_string() })
}

fn runs_every_hour(text: &str) -> bool {
    let text = text.trim();
    text.eq_ignore_ascii_case("@hourly") || text.split_whitespace().nth(1) == Some("*")
}

/// Walks the wall clock, which knows neither gaps nor repeats, and maps each reading to one
/// instant: that is what makes a skipped or repeated run happen once.
fn next_by_wall_clock(cron: &Cron, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let mut reading = after.with_timezone(&zone).naive_local();
    loop {
        reading = cron.find_next_occurrence(&reading, false).ok()?;
        let instant = first_instant(zone, reading)?;
        // In the second half of a repeated hour the reading's one instant is already past.
        if instant > after {
            return Some(instant);
        }
    }
}

/// The first instant at which the clock of `zone` shows `reading`, or the first after the gap
/// that swallowed it.
fn first_instant(zone: Tz, reading: NaiveDateTime) -> Option<DateTime<Utc>> {
    (0..=LONGEST_GAP_MINUTES).find_map(|minutes| {
        let shown = reading.checked_add_signed(TimeDelta::minutes(minutes))?;
        match zone.from_local_datetime(&shown) {
            LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => Some(instant.with_timezone(&Utc)),
            LocalResult::None => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(text: &str, zone: &str) -> Result<Timetable, ScheduleError> {
        Timetable::new(&Schedule::Cron { cron: text.to_owned(), time_zone: zone.to_owned() })
    }

    /// The runs after `from`, in UTC, cut to minutes.
    fn runs(text: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let table = cron(text, zone).unwrap();
        let mut at: DateTime<Utc> = from.parse().unwrap();
        let mut found = Vec::new();
        for _ in 0..count {
            at = table.next_after(at).unwrap();
            found.push(at.format("%m-%d %H:%M").to_string());
        }
        found
    }

    #[test]
    fn a_daily_run_keeps_its_wall_clock_hour_through_the_year() {
        // Paris is one hour ahead of UTC in winter, two in summer.
        assert_eq!(runs("0 9 * * *", "Europe/Paris", "2026-03-28T00:00:00Z", 2), ["03-28 08:00", "03-29 07:00"]);
    }

    #[test]
    fn a_run_in_a_skipped_hour_happens_once_right_after_the_gap() {
        // Paris, 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC.
        let expected = ["03-28 01:30", "03-29 01:00", "03-30 00:30"];
        assert_eq!(runs("30 2 * * *", "Europe/Paris", "2026-03-28T00:00:00Z", 3), expected);
        // Several readings fall into the gap: still one run.
        let expected = ["03-28 01:00", "03-28 01:30", "03-29 01:00", "03-30 00:00"];
        assert_eq!(runs("0,30 2 * * *", "Europe/Paris", "2026-03-28T00:00:00Z", 4), expected);
        // New York, 8 March 2026: 02:00 becomes 03:00 at 07:00 UTC.
        let expected = ["03-07 07:30", "03-08 07:00", "03-09 06:30"];
        assert_eq!(runs("30 2 * * *", "America/New_York", "2026-03-07T00:00:00Z", 3), expected);
    }

    #[test]
    fn a_run_in_a_repeated_hour_happens_once_the_first_time_round() {
        // Paris, 25 October 2026: 03:00 becomes 02:00 at 01:00 UTC.
        let expected = ["10-24 00:30", "10-25 00:30", "10-26 01:30"];
        assert_eq!(runs("30 2 * * *", "Europe/Paris", "2026-10-23T12:00:00Z", 3), expected);
        let expected = ["10-25 00:00", "10-25 00:30", "10-26 01:00"];
        assert_eq!(runs("0,30 2 * * *", "Europe/Paris", "2026-10-24T12:00:00Z", 3), expected);
        // New York, 1 November 2026: 02:00 becomes 01:00 at 06:00 UTC.
        let expected = ["10-31 05:30", "11-01 05:30", "11-02 06:30"];
        assert_eq!(runs("30 1 * * *", "America/New_York", "2026-10-31T00:00:00Z", 3), expected);
    }

    #[test]
    fn asked_inside_the_second_half_of_a_repeated_hour_it_waits_for_the_next_day() {
        assert_eq!(runs("30 2 * * *", "Europe/Paris", "2026-10-25T01:10:00Z", 1), ["10-26 01:30"]);
        assert_eq!(runs("30 2 * * *", "Europe/Paris", "2026-10-25T00:30:00Z", 1), ["10-26 01:30"]);
    }

    #[test]
    fn a_midnight_run_survives_zones_whose_clock_changes_at_midnight() {
        // Cairo, 24 April 2026: 00:00 becomes 01:00 at 22:00 UTC of the day before.
        let expected = ["04-22 22:00", "04-23 22:00", "04-24 21:00"];
        assert_eq!(runs("0 0 * * *", "Africa/Cairo", "2026-04-22T12:00:00Z", 3), expected);
        // Santiago, 6 September 2026: 00:00 becomes 01:00 at 04:00 UTC.
        let expected = ["09-05 04:00", "09-06 04:00", "09-07 03:00"];
        assert_eq!(runs("0 0 * * *", "America/Santiago", "2026-09-04T12:00:00Z", 3), expected);
        // Havana, 1 November 2026: 01:00 becomes 00:00, so midnight comes twice.
        let expected = ["11-01 04:00", "11-02 05:00"];
        assert_eq!(runs("0 0 * * *", "America/Havana", "2026-10-31T12:00:00Z", 2), expected);
    }

    #[test]
    fn a_day_that_a_zone_skipped_whole_does_not_double_the_next() {
        // Samoa went from 29 to 31 December 2011.
        let expected = ["12-29 10:00", "12-30 10:00", "12-31 10:00"];
        assert_eq!(runs("0 0 * * *", "Pacific/Apia", "2011-12-28T12:00:00Z", 3), expected);
    }

    #[test]
    fn a_schedule_of_every_hour_follows_elapsed_time() {
        let spring = ["03-29 00:30", "03-29 01:30", "03-29 02:30"];
        assert_eq!(runs("30 * * * *", "Europe/Paris", "2026-03-29T00:00:00Z", 3), spring);
        let autumn = ["10-25 00:30", "10-25 01:30", "10-25 02:30"];
        assert_eq!(runs("30 * * * *", "Europe/Paris", "2026-10-25T00:00:00Z", 3), autumn);
    }

    #[test]
    fn missed_runs_are_caught_up_once() {
        let table = cron("0 3 * * *", "UTC").unwrap();
        let last = "2026-05-01T03:00:00Z".parse().unwrap();
        let after_a_week = "2026-05-08T12:00:00Z".parse().unwrap();
        assert!(!table.due(Some(last), "2026-05-02T02:59:59Z".parse().unwrap()));
        assert!(table.due(Some(last), after_a_week));
        assert!(!table.due(Some(after_a_week), after_a_week + TimeDelta::hours(1)));
        assert!(table.due(None, last));
    }

    #[test]
    fn an_interval_counts_from_the_last_run() {
        let table = Timetable::new(&Schedule::Every(Duration::from_hours(1))).unwrap();
        let last: DateTime<Utc> = "2026-05-01T03:10:00Z".parse().unwrap();
        assert_eq!(table.next_after(last), Some(last + TimeDelta::hours(1)));
        assert_eq!(Timetable::new(&Schedule::Every(Duration::ZERO)).unwrap_err(), ScheduleError::NoInterval);
    }

    #[test]
    fn a_schedule_that_cannot_be_followed_is_refused_with_what_would_be_right() {
        let refused = |text: &str, zone: &str| cron(text, zone).unwrap_err().to_string();
        assert!(refused("0 0 31 2 *", "UTC").contains("never runs"));
        assert!(refused("0 3 * * *", "Europe/Pariss").contains("`Europe/Pariss` is not a time zone"));
        for text in ["", "* * *", "0 0 3 * * *", "0 3 * * * 2027", "61 * * * *", "0 25 * * *", "x y z a b"] {
            assert!(refused(text, "UTC").contains("is not a cron expression"), "{text:?}");
        }
        assert!(cron("0 0 29 2 *", "UTC").is_ok());
        assert!(cron("@daily", "UTC").is_ok());
    }
}
