//! Whether a target's document loosens what was accepted: its limits, its mode, its protected names, who is asked.
//!
//! # Guarantees
//! What acts is never looser than what was accepted, nor than what the document says; and whatever
//! the document tightens acts at once.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::accept::asks;
use crate::correlate::names;
use crate::model::administrators::Administrators;
use crate::model::approval::Asks;
use crate::model::ids::EntitlementName;
use crate::model::path::AttributePath;
use crate::model::target::Deletion;
use crate::model::target::Entitlement;
use crate::model::target::Given;
use crate::model::target::Limits;
use crate::model::target::Mode;
use crate::model::target::Policy;
use crate::model::target::Target;
use crate::model::target::Window;
use crate::plan::render;
use crate::schedule::span;

/// A document's policy, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// What acts until a person releases the rest.
    pub acts: Policy,
    /// What counts as accepted from now on: each part of the document that is not looser, and what was accepted of the
    /// others. Who takes back what nobody released is where they were before.
    pub agreed: Policy,
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
        waits: waits_of(target),
        approval: target.approval.as_ref().map(|approval| Box::new(Asks::from(approval))),
        catalogue: target.entitlements.iter().map(|(word, entry)| (word.clone(), given(entry))).collect(),
    }
}

fn given(entry: &Entitlement) -> Given {
    Given { membership: entry.membership.clone(), privileged: entry.privileged }
}

fn waits_of(target: &Target) -> BTreeMap<AttributePath, Duration> {
    let mut waits = BTreeMap::new();
    for blocker in target.account.blockers.values() {
        if let Some(wait) = blocker.wait {
            let longest: &mut Duration = waits.entry(blocker.at.clone()).or_default();
            *longest = wait.max(*longest);
        }
    }
    waits
}

/// Judges `wanted` against what was accepted. How fast calls are made is no limit in this sense.
pub fn judge(accepted: &Policy, wanted: &Policy) -> Judged {
    let mut looser = Vec::new();
    let mode = accepted.mode.min(wanted.mode);
    if wanted.mode > mode {
        looser.push(format!("`mode` from {} to {}", word(accepted.mode), word(wanted.mode)));
    }
    let (limits, agreed_limits) = limits(&accepted.limits, &wanted.limits, &mut looser);
    let uncovered = |name: &&String| !wanted.protected.iter().any(|pattern| names::fits(pattern, name));
    let lost: Vec<String> = accepted.protected.iter().filter(uncovered).cloned().collect();
    if !lost.is_empty() {
        let lost = lost.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        looser.push(format!("`protected` without {lost}"));
    }
    let agreed_protected = if lost.is_empty() { wanted.protected.clone() } else { accepted.protected.clone() };
    let protected = wanted.protected.iter().cloned().chain(lost).collect();
    let before = looser.len();
    let deletion = deletion(accepted.deletion, wanted.deletion, &mut looser);
    let agreed_deletion = if looser.len() == before { wanted.deletion } else { accepted.deletion };
    let (waits, agreed_waits) = waits(&accepted.waits, &wanted.waits, &mut looser);
    let asks = asks::judge(accepted.approval.as_deref(), wanted.approval.as_deref(), &mut looser);
    // What nobody is asked about is a word's own affair.
    let (catalogue, agreed_catalogue) = match accepted.approval {
        Some(_) => catalogue(&accepted.catalogue, &wanted.catalogue, &mut looser),
        None => (wanted.catalogue.clone(), wanted.catalogue.clone()),
    };
    let agreed = Policy {
        mode,
        limits: agreed_limits,
        protected: agreed_protected,
        deletion: agreed_deletion,
        waits: agreed_waits,
        approval: asks.agreed.map(Box::new),
        catalogue: agreed_catalogue,
    };
    let approval = asks.acts.map(Box::new);
    Judged { acts: Policy { mode, limits, protected, deletion, waits, approval, catalogue }, agreed, looser }
}

/// What people were asked about by a word stays what it gives, and as privileged as it was.
fn catalogue(
    accepted: &BTreeMap<EntitlementName, Given>,
    wanted: &BTreeMap<EntitlementName, Given>,
    looser: &mut Vec<String>,
) -> (BTreeMap<EntitlementName, Given>, BTreeMap<EntitlementName, Given>) {
    // By another word for the same group the same is given.
    let privileged: BTreeSet<_> = accepted.values().filter(|it| it.privileged).map(|it| &it.membership).collect();
    let (mut acts, mut agreed) = (BTreeMap::new(), BTreeMap::new());
    for (word, given) in wanted {
        let membership = accepted.get(word).map_or(&given.membership, |known| &known.membership).clone();
        let stays = Given { privileged: given.privileged || privileged.contains(&membership), membership };
        if stays.membership != given.membership {
            let (from, to) = (render::membership(&stays.membership), render::membership(&given.membership));
            looser.push(format!("`entitlements.{word}` from {from} to {to}"));
        } else if stays.privileged != given.privileged {
            looser.push(format!("`entitlements.{word}` no longer privileged"));
        }
        // Of a word that is looser and new nothing was accepted.
        let known = if stays == *given { Some(given) } else { accepted.get(word) };
        agreed.extend(known.map(|known| (word.clone(), known.clone())));
        acts.insert(word.clone(), stays);
    }
    (acts, agreed)
}

/// No leaver stays in longer than both say: not for something new, and not for the same for a longer time.
fn waits(
    accepted: &BTreeMap<AttributePath, Duration>,
    wanted: &BTreeMap<AttributePath, Duration>,
    looser: &mut Vec<String>,
) -> (BTreeMap<AttributePath, Duration>, BTreeMap<AttributePath, Duration>) {
    let (mut acts, before) = (BTreeMap::new(), looser.len());
    for (at, wait) in wanted {
        let agreed = accepted.get(at).copied();
        if agreed.is_none_or(|agreed| agreed < *wait) {
            let from = agreed.map_or_else(|| "nothing".to_owned(), span);
            looser.push(format!("`account.blockers` that wait for `{at}` from {from} to {}", span(*wait)));
        }
        acts.extend(agreed.map(|agreed| (at.clone(), agreed.min(*wait))));
    }
    let agreed = if looser.len() == before { wanted.clone() } else { accepted.clone() };
    (acts, agreed)
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

fn limits(accepted: &Limits, wanted: &Limits, looser: &mut Vec<String>) -> (Limits, Limits) {
    let mut agreed = wanted.clone();
    let mut list = |name: &str, accepted: &[Window], wanted: &[Window], agreed: &mut Vec<Window>| {
        let kept = not_implied(accepted, wanted);
        if !kept.is_empty() {
            looser.push(format!("`{name}` from {} to {}", words(accepted), words(wanted)));
            *agreed = accepted.to_vec();
        }
        wanted.iter().copied().chain(kept).collect::<Vec<_>>()
    };
    let (was, is, next) = (accepted, wanted, &mut agreed);
    let acts = Limits {
        narrow_inferred: list(
            "limits.narrow.inferred",
            &was.narrow_inferred,
            &is.narrow_inferred,
            &mut next.narrow_inferred,
        ),
        narrow_explicit: list(
            "limits.narrow.explicit",
            &was.narrow_explicit,
            &is.narrow_explicit,
            &mut next.narrow_explicit,
        ),
        widen: list("limits.widen", &was.widen, &is.widen, &mut next.widen),
        adopt: list("limits.widen of adoptions", &was.adopt, &is.adopt, &mut next.adopt),
        privileged: list("limits.privileged", &was.privileged, &is.privileged, &mut next.privileged),
        update: list("limits.update", &was.update, &is.update, &mut next.update),
        clear: list("limits.update of clearings", &was.clear, &is.clear, &mut next.clear),
        delete: list("limits.delete", &was.delete, &is.delete, &mut next.delete),
        seats: fewer(was.seats, is.seats),
        administrators: administrators(was.administrators.as_ref(), is.administrators.as_ref()),
        requests_per_second: is.requests_per_second,
        concurrency: is.concurrency,
    };
    if acts.seats != is.seats {
        let seats = |seats: Option<u64>| seats.map_or_else(|| "no limit".to_owned(), |seats| seats.to_string());
        looser.push(format!("`limits.seats` from {} to {}", seats(was.seats), seats(is.seats)));
        agreed.seats = was.seats;
    }
    if acts.administrators != is.administrators {
        let (from, to) = (bounds(was.administrators.as_ref()), bounds(is.administrators.as_ref()));
        looser.push(format!("`administrators` from {from} to {to}"));
        agreed.administrators.clone_from(&was.administrators);
    }
    (acts, agreed)
}

/// Of what was enforced nothing gives way; what was only told is as the document says.
fn administrators(was: Option<&Administrators>, is: Option<&Administrators>) -> Option<Administrators> {
    let Some(was) = was.filter(|was| was.enforce) else { return is.cloned() };
    let same = is.filter(|is| is.membership == was.membership);
    Some(same.map_or_else(
        || was.clone(),
        |is| Administrators {
            entitlement: is.entitlement.clone(),
            min: was.min.max(is.min),
            max: fewer(was.max, is.max),
            ..was.clone()
        },
    ))
}

fn bounds(wanted: Option<&Administrators>) -> String {
    let Some(Administrators { entitlement, min, max, enforce, membership: _ }) = wanted else {
        return "nothing".to_owned();
    };
    let max = max.map(|max| format!(" and {max} at most")).unwrap_or_default();
    let force = if *enforce { "" } else { ", told alone" };
    format!("{min} at least{max} with `{entitlement}`{force}")
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
    use proptest::prelude::*;

    use crate::model::account::Membership;
    use crate::model::approval::Approval;

    use super::*;

    fn policy(widen: Vec<Window>, seats: Option<u64>, mode: Mode, protected: &[&str]) -> Policy {
        let limits = Limits { widen, seats, ..Limits::none() };
        let protected = protected.iter().map(|name| (*name).to_owned()).collect();
        Policy {
            mode,
            limits,
            protected,
            deletion: None,
            waits: BTreeMap::new(),
            approval: None,
            catalogue: BTreeMap::new(),
        }
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
    fn no_leaver_is_kept_in_longer_than_was_accepted() {
        let waits = |waits: &[(&str, u64)]| -> BTreeMap<AttributePath, Duration> {
            let wait = |(at, hours): &(&str, u64)| (AttributePath::parse(at).unwrap(), Duration::from_hours(*hours));
            waits.iter().map(wait).collect()
        };
        let (one, long, short) = (&[("title", 2)][..], &[("title", 24)][..], &[("title", 1)][..]);
        for (accepted, wanted, acts, looser) in [
            (one, long, one, 1),
            (one, short, short, 0),
            (one, one, one, 0),
            (one, &[], &[], 0),
            (&[], one, &[], 1),
            (one, &[("title", 2), ("nickName", 1)], one, 1),
        ] {
            let of = |list: &[_]| Policy { waits: waits(list), ..policy(Vec::new(), None, Mode::Enforce, &[]) };
            let judged = judge(&of(accepted), &of(wanted));
            assert_eq!((judged.acts.waits, judged.looser.len()), (waits(acts), looser), "{accepted:?} {wanted:?}");
        }
    }

    #[test]
    fn what_people_were_asked_about_by_a_word_stays_what_it_gives() {
        let group = |id: &str, privileged| Given { membership: Membership::Group(id.to_owned()), privileged };
        let of = |words: &[(&str, Given)], asks: bool| Policy {
            catalogue: words.iter().map(|(word, given)| ((*word).into(), given.clone())).collect(),
            approval: asks.then(|| Box::new(Asks::from(&Approval::ungated()))),
            ..policy(Vec::new(), None, Mode::Enforce, &[])
        };
        let plain = [("emea", group("g1", false)), ("admin", group("g2", true))];
        let said = |wanted: &[(&str, Given)], acts: &[(&str, Given)]| {
            let judged = judge(&of(&plain, true), &of(wanted, true));
            assert_eq!(judged.acts.catalogue, of(acts, true).catalogue);
            let free = judge(&of(&plain, false), &of(wanted, true));
            assert_eq!(
                (free.acts.catalogue, free.looser.len()),
                (of(wanted, true).catalogue, 0),
                "nobody was asked before"
            );
            // Who takes the block out with it gets neither.
            assert_eq!(judge(&of(&plain, true), &of(wanted, false)).acts.catalogue, of(acts, true).catalogue);
            judged.looser
        };
        assert_eq!(
            said(&[("emea", group("g2", true))], &[("emea", group("g1", true))]),
            ["`entitlements.emea` from group `g1` to group `g2`"]
        );
        assert_eq!(
            said(&[("admin", group("g2", false))], &[("admin", group("g2", true))]),
            ["`entitlements.admin` no longer privileged"]
        );
        assert_eq!(
            said(&[("root", group("g2", false))], &[("root", group("g2", true))]),
            ["`entitlements.root` no longer privileged"]
        );
        let stricter = [("emea", group("g1", true)), ("more", group("g3", false))];
        assert_eq!(said(&stricter, &stricter), [""; 0]);
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
            let Judged { acts, agreed, looser } = judge(&accepted, &wanted);
            prop_assert_eq!(judge(&accepted, &acts).looser, Vec::<String>::new());
            let again = judge(&agreed, &wanted);
            prop_assert_eq!((&again.acts, &again.agreed, &again.looser), (&acts, &agreed, &looser));
            // Nothing is accepted that is looser than before, and what waits is taken back without a word.
            prop_assert_eq!(judge(&accepted, &agreed).looser, Vec::<String>::new());
            if judge(&agreed, &accepted).looser.is_empty() {
                prop_assert_eq!(judge(&agreed, &accepted).acts, accepted);
            }
        }
    }
}
