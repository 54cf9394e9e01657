//! Whether a target's document loosens what was accepted: its limits, its mode, its protected names.
//!
//! # Guarantees
//! What acts is never looser than what was accepted, nor than what the document says; and whatever
//! the document tightens acts at once.

use crate::correlate::names;
use crate::model::target::Deletion;
use crate::model::target::Limits;
use crate::model::target::Mode;
use crate::model::target::Policy;
use crate::model::target::Target;
use crate::model::target::Window;
use crate::schedule::span;

/// A document's policy, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// What acts until a person releases the rest.
    pub acts: Policy,
    /// What is looser than that, one phrase each; empty: nothing waits.
    pub looser: Vec<String>,
}

/// The policy that a document asks for.
pub fn of(target: &Target) -> Policy {
    Policy {
        mode: target.mode,
        limits: target.limits.clone(),
        protected: target.account.protected.clone(),
        deletion: target.account.deletion,
    }
}

/// Judges `wanted` against what was accepted. How fast calls are made is no limit in this sense.
pub fn judge(accepted: &Policy, wanted: &Policy) -> Judged {
    let mut looser = Vec::new();
    let mode = accepted.mode.min(wanted.mode);
    if wanted.mode > mode {
        looser.push(format!("`mode` from {} to {}", word(accepted.mode), word(wanted.mode)));
    }
    let limits = limits(&accepted.limits, &wanted.limits, &mut looser);
    let uncovered = |name: &&String| !wanted.protected.iter().any(|pattern| names::fits(pattern, name));
    let lost: Vec<String> = accepted.protected.iter().filter(uncovered).cloned().collect();
    if !lost.is_empty() {
        let lost = lost.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        looser.push(format!("`protected` without {lost}"));
    }
    let protected = wanted.protected.iter().cloned().chain(lost).collect();
    let deletion = deletion(accepted.deletion, wanted.deletion, &mut looser);
    Judged { acts: Policy { mode, limits, protected, deletion }, looser }
}

/// Nothing is deleted sooner, nor without a person's word, than both say. Where nothing was deleted by
/// time before, each deletion is a person's to release.
fn deletion(accepted: Option<Deletion>, wanted: Option<Deletion>, looser: &mut Vec<String>) -> Option<Deletion> {
    let wanted = wanted?;
    let after = accepted.map_or(wanted.after, |accepted| accepted.after.max(wanted.after));
    if after > wanted.after {
        looser.push(format!("`account.deleteAfter` from {} to {}", span(after), span(wanted.after)));
    }
    let unattended = wanted.unattended && accepted.is_some_and(|accepted| accepted.unattended);
    if wanted.unattended && !unattended {
        looser.push("`account.deleteUnattended`".to_owned());
    }
    Some(Deletion { after, unattended })
}

fn limits(accepted: &Limits, wanted: &Limits, looser: &mut Vec<String>) -> Limits {
    let mut list = |name: &str, accepted: &[Window], wanted: &[Window]| {
        let kept = not_implied(accepted, wanted);
        if !kept.is_empty() {
            looser.push(format!("`{name}` from {} to {}", words(accepted), words(wanted)));
        }
        wanted.iter().copied().chain(kept).collect::<Vec<_>>()
    };
    let acts = Limits {
        narrow_inferred: list("limits.narrow.inferred", &accepted.narrow_inferred, &wanted.narrow_inferred),
        narrow_explicit: list("limits.narrow.explicit", &accepted.narrow_explicit, &wanted.narrow_explicit),
        widen: list("limits.widen", &accepted.widen, &wanted.widen),
        adopt: list("limits.widen of adoptions", &accepted.adopt, &wanted.adopt),
        privileged: list("limits.privileged", &accepted.privileged, &wanted.privileged),
        update: list("limits.update", &accepted.update, &wanted.update),
        clear: list("limits.update of clearings", &accepted.clear, &wanted.clear),
        delete: list("limits.delete", &accepted.delete, &wanted.delete),
        seats: fewer(accepted.seats, wanted.seats),
        requests_per_second: wanted.requests_per_second,
        concurrency: wanted.concurrency,
    };
    if acts.seats != wanted.seats {
        let seats = |seats: Option<u64>| seats.map_or_else(|| "no limit".to_owned(), |seats| seats.to_string());
        looser.push(format!("`limits.seats` from {} to {}", seats(accepted.seats), seats(wanted.seats)));
    }
    acts
}

fn fewer(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The bounds of `accepted` that no window of `wanted` implies.
fn not_implied(accepted: &[Window], wanted: &[Window]) -> Vec<Window> {
    let missing = |window: &Window| {
        let count = window.count.filter(|count| {
            // Fewer in a longer time is fewer in a shorter one.
            !wanted
                .iter()
                .any(|other| other.window >= window.window && other.count.is_some_and(|other| other <= *count))
        });
        let percent = window.percent.filter(|percent| {
            // A share is of what was owned when the window began, so only the same length compares.
            let less = |other: &Window| other.percent.is_some_and(|other| other <= *percent);
            !wanted.iter().any(|other| other.window == window.window && less(other))
        });
        (count.is_some() || percent.is_some()).then_some(Window { count, percent, window: window.window })
    };
    accepted.iter().filter_map(missing).collect()
}

fn words(windows: &[Window]) -> String {
    let one = |window: &Window| {
        let count = window.count.map(|count| count.to_string());
        let percent = window.percent.map(|percent| format!("{percent} %"));
        let bounds: Vec<_> = [count, percent].into_iter().flatten().collect();
        format!("{} in {}", bounds.join(" and "), span(window.window))
    };
    if windows.is_empty() { "no limit".to_owned() } else { windows.iter().map(one).collect::<Vec<_>>().join(", ") }
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Suspended => "suspended",
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn policy(widen: Vec<Window>, seats: Option<u64>, mode: Mode, protected: &[&str]) -> Policy {
        let limits = Limits { widen, seats, ..Limits::none() };
        let protected = protected.iter().map(|name| (*name).to_owned()).collect();
        Policy { mode, limits, protected, deletion: None }
    }

    fn count(count: u64, hours: u64) -> Window {
        Window { count: Some(count), percent: None, window: Duration::from_hours(hours) }
    }

    #[test]
    fn what_is_looser_is_named_and_what_is_tighter_acts_at_once() {
        let accepted = policy(vec![count(500, 1)], Some(50), Mode::Observe, &["root", "svc-*"]);
        let wanted = policy(vec![count(900, 1), count(1000, 24)], None, Mode::Enforce, &["root", "adm-*"]);
        let judged = judge(&accepted, &wanted);
        assert_eq!(
            judged.looser,
            [
                "`mode` from observe to enforce",
                "`limits.widen` from 500 in 1h to 900 in 1h, 1000 in 24h",
                "`limits.seats` from 50 to no limit",
                "`protected` without `svc-*`"
            ]
        );
        assert_eq!(judged.acts.limits.widen, [count(900, 1), count(1000, 24), count(500, 1)]);
        assert_eq!((judged.acts.mode, judged.acts.limits.seats), (Mode::Observe, Some(50)));
        assert_eq!(judged.acts.protected, ["root", "adm-*", "svc-*"]);
    }

    #[test]
    fn deletions_come_no_sooner_and_need_no_less_than_was_accepted() {
        let deletes = |days: u64, unattended| Some(Deletion { after: Duration::from_hours(days * 24), unattended });
        for (accepted, wanted, acts, looser) in [
            (deletes(365, false), deletes(30, true), deletes(365, false), 2),
            (deletes(30, false), deletes(365, false), deletes(365, false), 0),
            (deletes(30, true), deletes(30, false), deletes(30, false), 0),
            (None, deletes(30, false), deletes(30, false), 0),
            (None, deletes(30, true), deletes(30, false), 1),
            (deletes(30, true), None, None, 0),
            (deletes(30, true), deletes(30, true), deletes(30, true), 0),
        ] {
            let of = |deletion| Policy { deletion, ..policy(Vec::new(), None, Mode::Enforce, &[]) };
            let judged = judge(&of(accepted), &of(wanted));
            assert_eq!((judged.acts.deletion, judged.looser.len()), (acts, looser), "{accepted:?} {wanted:?}");
        }
    }

    #[test]
    fn a_wider_pattern_or_a_longer_window_with_fewer_loosens_nothing() {
        let accepted = policy(vec![count(500, 1)], None, Mode::Enforce, &["svc-a*", "root"]);
        let wanted = policy(vec![count(400, 24)], Some(3), Mode::Suspended, &["svc-*", "*"]);
        assert_eq!(judge(&accepted, &wanted).looser, [""; 0]);
        assert_eq!(judge(&accepted, &accepted).acts, accepted);
    }

    fn some_window() -> impl Strategy<Value = Window> {
        let bound = (prop::option::of(0_u64..6), prop::option::of(0_u32..6), 1_u64..5);
        bound.prop_map(|(count, tenths, hours)| {
            let percent = tenths.map(|tenths| f64::from(tenths) * 10.0);
            Window { count, percent, window: Duration::from_hours(hours) }
        })
    }

    fn some_policy() -> impl Strategy<Value = Policy> {
        let windows = prop::collection::vec(some_window(), 0..4);
        let mode = prop::sample::select(vec![Mode::Suspended, Mode::Observe, Mode::Enforce]);
        let protected = prop::sample::subsequence(vec!["root", "svc-*", "svc-a", "*", "s*"], 0..5);
        let parts = (windows, prop::option::of(0_u64..6), mode, protected);
        parts.prop_map(|(windows, seats, mode, protected)| policy(windows, seats, mode, &protected))
    }

    /// What was counted in each of the last five hours, how many accounts were owned as each began, and
    /// how many are active.
    type History = (Vec<u64>, Vec<u64>, u64);

    fn some_history() -> impl Strategy<Value = History> {
        (prop::collection::vec(0_u64..4, 5), prop::collection::vec(0_u64..20, 5), 0_u64..8)
    }

    /// Whether a policy bears with a history, told apart from how the guard tells it.
    fn bears(policy: &Policy, (counted, owned, active): &History) -> bool {
        let windows = policy.limits.widen.iter().all(|window| {
            let hours = usize::try_from(window.window.as_secs() / 3_600).unwrap();
            let used: u64 = counted.iter().rev().take(hours).sum();
            let base = owned[owned.len() - hours];
            #[expect(clippy::cast_precision_loss, reason = "below twenty")]
            let share = window.percent.is_none_or(|percent| used as f64 <= base as f64 * percent / 100.0);
            window.count.is_none_or(|count| used <= count) && share
        });
        windows && policy.limits.seats.is_none_or(|seats| *active <= seats)
    }

    proptest! {
        #[test]
        fn what_acts_bears_with_nothing_that_was_not_accepted(
            accepted in some_policy(), wanted in some_policy(), history in some_history(),
        ) {
            let judged = judge(&accepted, &wanted);
            if bears(&judged.acts, &history) {
                prop_assert!(bears(&accepted, &history) && bears(&wanted, &history));
            }
            prop_assert!(judged.acts.mode <= accepted.mode && judged.acts.mode <= wanted.mode);
            for name in ["root", "svc-a", "svc-b", "somebody"] {
                let has = |policy: &Policy| policy.protected.iter().any(|pattern| names::fits(pattern, name));
                prop_assert_eq!(has(&judged.acts), has(&accepted) || has(&wanted));
            }
        }

        #[test]
        fn what_nobody_must_release_is_no_looser(
            accepted in some_policy(), wanted in some_policy(), history in some_history(),
        ) {
            if judge(&accepted, &wanted).looser.is_empty() {
                prop_assert!(!bears(&wanted, &history) || bears(&accepted, &history));
                prop_assert_eq!(judge(&accepted, &wanted).acts, wanted);
            }
        }

        #[test]
        fn what_acts_is_judged_the_same_again(accepted in some_policy(), wanted in some_policy()) {
            let acts = judge(&accepted, &wanted).acts;
            prop_assert_eq!(judge(&accepted, &acts).looser, Vec::<String>::new());
            prop_assert_eq!(judge(&acts, &wanted).acts.mode, acts.mode);
        }
    }
}
