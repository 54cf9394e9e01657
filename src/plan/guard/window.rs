//! Whether one sliding window takes what is asked.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use crate::model::change::Change;
use crate::model::ids::RecordId;
use crate::model::tally::Counter;
use crate::model::tally::Thing;
use crate::model::target::Window;
use crate::plan::guard::Guards;
use crate::schedule::span;

/// From so many units on a percentage says something; below it one or two people are a large
/// share of a small target.
pub const AT_LEAST: u64 = 5;

/// Changes that one limit is about.
pub(super) struct Bound<'b> {
    pub(super) counters: &'b [Counter],
    pub(super) verb: &'static str,
    pub(super) set: &'b [&'b Change],
}

impl Bound<'_> {
    /// Why a window of one bound does not take the set, if so.
    pub(super) fn over(&self, window: &Window, guards: &Guards<'_>) -> Option<String> {
        let used = self.used(window, guards);
        let asked: BTreeSet<Thing> = self
            .set
            .iter()
            .flat_map(|change| guards.counted(change))
            .filter(|(counter, thing)| self.counters.contains(counter) && !used.contains(thing))
            .map(|(_, thing)| thing)
            .collect();
        if asked.is_empty() {
            // What was recorded already is sent again, and counts once.
            return None;
        }
        let (used, asked) = (used.len() as u64, asked.len() as u64);
        let total = used + asked;
        let told = |allowed: u64, rule: String| {
            format!(
                "allows {allowed} in {} ({rule}); {used} were {} already and this plan asks for {asked} more",
                span(window.window),
                self.verb
            )
        };
        if let Some(count) = window.count.filter(|count| total > *count) {
            return Some(told(count, "a count".to_owned()));
        }
        let percent = window.percent?;
        let people: BTreeSet<&RecordId> = self.set.iter().map(|change| &change.record).collect();
        if used == 0 && people.len() == 1 {
            // One person is never a mass removal, however small the target.
            return None;
        }
        let owned = (guards.owned_active)(window.window);
        if total < AT_LEAST {
            let half = owned / 2;
            return (total > half).then(|| told(half, format!("half of {owned} owned accounts")));
        }
        let share = share(percent, owned);
        (total > share).then(|| told(share, format!("{percent} % of {owned} owned accounts")))
    }

    /// What was recorded in the window, or will be by what waits.
    fn used<'g>(&self, window: &Window, guards: &'g Guards<'_>) -> BTreeSet<&'g Thing> {
        let length = TimeDelta::from_std(window.window).unwrap_or(TimeDelta::MAX);
        let since = guards.now.checked_sub_signed(length).unwrap_or(chrono::DateTime::<chrono::Utc>::MIN_UTC);
        let recorded = self.counters.iter().flat_map(|counter| guards.tally.since(counter, since));
        let waiting = guards.waiting.iter().filter(|(counter, _)| self.counters.contains(counter));
        recorded.chain(waiting.map(|(_, thing)| thing)).collect()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of at most 2^53 accounts, never negative, rounded down so that a limit is not exceeded"
)]
fn share(percent: f64, of: u64) -> u64 {
    // Without the small term 10 % of 50 may come out a hair below 5.
    (of as f64 * percent / 100.0 + 1e-9).floor().max(0.0) as u64
}
