//! Times in which nothing but narrowing happens.

use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::model::target::Freeze;
use crate::schedule::Timetable;

/// A gap between runs that is not among so many is none: working days minute by minute are fewer.
const RUNS_LOOKED_AT: usize = 5_000;

/// The freezes of a target, which can be asked.
#[derive(Clone, Debug, Default)]
pub struct Freezes(Vec<(Timetable, TimeDelta)>);

impl Freezes {
    /// Freezes that were checked when their document was read; one that cannot be followed is none.
    pub fn new(freezes: &[Freeze]) -> Self {
        let one = |freeze: &Freeze| {
            let lasts = TimeDelta::from_std(freeze.lasts).unwrap_or(TimeDelta::MAX);
            Some((Timetable::new(&freeze.begins).ok()?, lasts))
        };
        Self(freezes.iter().filter_map(one).collect())
    }

    /// When the freeze of this moment ends; `None` where there is none.
    pub fn until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.0.iter().filter_map(|freeze| ends(freeze, now)).max()
    }

    /// The next moment at which a freeze begins or ends.
    pub fn next_change(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let begins = self.0.iter().filter_map(|(table, _)| table.next_after(now)).min();
        [self.until(now), begins].into_iter().flatten().min()
    }

    /// Whether one of them begins again before it ends, time after time.
    pub fn is_endless(&self) -> bool {
        self.0.iter().any(|(table, lasts)| {
            let begins = std::iter::successors(table.next_after(DateTime::UNIX_EPOCH), |at| table.next_after(*at));
            let begins: Vec<_> = begins.take(RUNS_LOOKED_AT).collect();
            let gap = |pair: &[DateTime<Utc>]| matches!(pair, [one, next] if *next - *one > *lasts);
            !begins.windows(2).any(gap)
        })
    }
}

/// When the last run that began within its length before `now` ends.
fn ends((table, lasts): &(Timetable, TimeDelta), now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let earliest = now.checked_sub_signed(*lasts)?;
    let mut began = table.next_after(earliest).filter(|at| *at <= now)?;
    // What begins again while it lasts goes on.
    while let Some(next) = table.next_after(began).filter(|next| *next <= now) {
        began = next;
    }
    began.checked_add_signed(*lasts)
}

/// Words for a length of time, as documents write it.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(86_400) && seconds > 86_400 => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::target::Schedule;

    fn freezes(cron: &str, zone: &str, hours: u64) -> Freezes {
        let begins = Schedule::Cron { cron: cron.to_owned(), time_zone: zone.to_owned() };
        Freezes::new(&[Freeze { begins, lasts: Duration::from_hours(hours) }])
    }

    fn until(freezes: &Freezes, now: &str) -> Option<String> {
        freezes.until(now.parse().unwrap()).map(|at| at.format("%m-%d %H:%M").to_string())
    }

    #[test]
    fn a_weekend_is_frozen_from_its_first_second_to_its_last() {
        let weekend = freezes("0 18 * * FRI", "Europe/Paris", 62);
        // 27 November 2026 is a Friday; Paris is an hour ahead of UTC.
        assert_eq!(until(&weekend, "2026-11-27T16:59:59Z"), None);
        assert_eq!(until(&weekend, "2026-11-27T17:00:00Z").as_deref(), Some("11-30 07:00"));
        assert_eq!(until(&weekend, "2026-11-30T06:59:59Z").as_deref(), Some("11-30 07:00"));
        assert_eq!(until(&weekend, "2026-11-30T07:00:00Z"), None);
        let next = |now: &str| weekend.next_change(now.parse().unwrap()).unwrap().format("%m-%d %H:%M").to_string();
        assert_eq!([next("2026-11-25T00:00:00Z"), next("2026-11-28T00:00:00Z")], ["11-27 17:00", "11-30 07:00"]);
    }

    #[test]
    fn a_freeze_that_begins_again_before_it_ends_is_endless() {
        assert!(freezes("0 * * * *", "UTC", 1).is_endless());
        assert!(freezes("0 9 * * *", "UTC", 24).is_endless());
        assert!(!freezes("0 9 * * *", "UTC", 23).is_endless());
        assert!(!freezes("0 18 * * FRI", "Europe/Paris", 62).is_endless());
        assert!(!freezes("*/10 9 * * *", "UTC", 1).is_endless(), "it goes on until ten, and then it ends");
    }
}
