//! A second opinion: the laws, derived again over a finished plan.
//!
//! Nothing here calls the planner or its helpers for deciding; what the planner got wrong should
//! not be got wrong twice. It runs in tests and before the first call of every cycle; a plan
//! about which anything is said here is not applied.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Deref;

use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::plan::Coverage;
use crate::model::plan::Plan;
use crate::model::plan::SkipReason;
use crate::model::projection::Desired;
use crate::plan::canonical;
use crate::plan::input::PlanInput;
use crate::plan::planner::Planned;

mod access;
mod content;
mod deletion;
mod identity;
mod silence;

/// One law: its name, and everything that breaks it.
struct Law<F> {
    name: &'static str,
    broken: F,
}

type OfPlan = fn(&Plan, &PlanInput<'_>) -> Vec<String>;
type OfChanges = fn(&[&Change], &Facts<'_>) -> Vec<String>;

/// What a plan was made from, with what the users of some of its changes should have.
struct Facts<'f> {
    input: &'f PlanInput<'f>,
    desired: BTreeMap<RecordId, Desired>,
}

impl<'f> Deref for Facts<'f> {
    type Target = PlanInput<'f>;

    fn deref(&self) -> &Self::Target {
        self.input
    }
}

/// So many changes are judged at once: what their users should have is kept meanwhile.
const PART: usize = 256;

/// Only the plan as a whole tells.
const OF_PLANS: &[Law<OfPlan>] = &[
    Law { name: "narrowing-first", broken: narrowing_first },
    Law { name: "one-change-an-effect", broken: one_change_an_effect },
    Law { name: "only-those-asked-for", broken: only_those_asked_for },
    Law { name: "only-linked-accounts", broken: only_linked_accounts },
    Law { name: "no-second-account", broken: no_second_account },
    Law { name: "nothing-by-absence", broken: nothing_by_absence },
    Law { name: "holds-say-what-they-hold", broken: holds_say_what_they_hold },
];

/// Each change tells for itself.
const OF_CHANGES: &[Law<OfChanges>] = &[
    Law { name: "effect-matches-content", broken: content::effect_matches_content },
    Law { name: "cause-exactly-when-narrowing", broken: content::cause_exactly_when_narrowing },
    Law { name: "only-projected-values", broken: content::only_projected_values },
    Law { name: "ownership-of-values", broken: content::ownership_of_values },
    Law { name: "widening-needs-entitlement", broken: access::widening_needs_entitlement },
    Law { name: "widening-names-its-rule", broken: access::widening_names_its_rule },
    Law { name: "narrowing-needs-loss", broken: access::narrowing_needs_loss },
    Law { name: "only-granted-is-revoked", broken: access::only_granted_is_revoked },
    Law { name: "only-desired-is-granted", broken: access::only_desired_is_granted },
    Law { name: "only-ours-is-reactivated", broken: access::only_ours_is_reactivated },
    Law { name: "protected-is-untouched", broken: access::protected_is_untouched },
    Law { name: "deletion-waits", broken: deletion::deletion_waits },
    Law { name: "nothing-of-anothers", broken: identity::nothing_of_anothers },
    Law { name: "no-rename-is-guessed", broken: identity::no_rename_is_guessed },
    Law { name: "regain-is-asked-for", broken: identity::regain_is_asked_for },
];

/// Every law that the plan breaks, as sentences that begin with the law's name; empty is right.
pub fn check(plan: &Plan, facts: &PlanInput<'_>) -> Vec<String> {
    let told = |name: &'static str, broken: Vec<String>| broken.into_iter().map(move |what| format!("{name}: {what}"));
    let changes: Vec<_> = all(plan).collect();
    let mut broken = Vec::new();
    for Law { name, broken: law } in OF_PLANS {
        broken.extend(told(name, law(plan, facts)));
    }
    for part in changes.chunks(PART) {
        let records: BTreeSet<_> = part.iter().map(|change| &change.record).collect();
        let desired = |record: &RecordId| Some((record.clone(), facts.desired.of(record)?.into_owned()));
        let facts = Facts { input: facts, desired: records.into_iter().filter_map(desired).collect() };
        for Law { name, broken: law } in OF_CHANGES {
            broken.extend(told(name, law(part, &facts)));
        }
    }
    broken
}

/// The same, and what only the accounts can tell.
pub fn check_seen(planned: &Planned, facts: &PlanInput<'_>) -> Vec<String> {
    let mut broken = check(&planned.plan, facts);
    broken.extend(access::against_accounts(planned, facts));
    broken.extend(deletion::nobody_elses_is_deleted(planned, facts));
    broken
}

/// Every change of a plan, held ones included.
fn all(plan: &Plan) -> impl Iterator<Item = &Change> {
    plan.changes.iter().chain(plan.holds.iter().flat_map(|hold| &hold.changes))
}

/// How a change is named in a sentence.
fn name(change: &Change) -> String {
    format!("{} of `{}`", change.action.as_str(), change.record)
}

/// Sentences about those changes for which `wrong` has one.
fn each<'c>(
    changes: impl IntoIterator<Item = &'c &'c Change>,
    wrong: impl Fn(&Change) -> Option<&'static str>,
) -> Vec<String> {
    changes.into_iter().filter_map(|change| Some(format!("{} {}", name(change), wrong(change)?))).collect()
}

fn narrowing_first(plan: &Plan, _: &PlanInput<'_>) -> Vec<String> {
    let place = |change: &Change| match change.effect {
        Effect::Narrows if change.cause == Some(Cause::Explicit) => 0,
        Effect::Narrows => 1,
        Effect::Neutral => 2,
        Effect::Widens | Effect::Swaps => 3,
    };
    let pairs = plan.changes.iter().zip(plan.changes.iter().skip(1));
    let wrong = pairs.filter(|(a, b)| (place(a), &a.record) > (place(b), &b.record));
    wrong.map(|(a, b)| format!("{} stands before {}", name(a), name(b))).collect()
}

fn one_change_an_effect(plan: &Plan, _: &PlanInput<'_>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let again = all(plan).filter(|change| {
        // An account is disabled at once and deleted when a person says so.
        let deletes = change.action == Action::Delete;
        !seen.insert((&change.record, change.effect, change.cause, deletes))
    });
    again.map(|change| format!("{} is not the only one with its effect and cause", name(change))).collect()
}

fn only_those_asked_for(plan: &Plan, facts: &PlanInput<'_>) -> Vec<String> {
    let Some(records) = facts.records else { return Vec::new() };
    each(&all(plan).collect::<Vec<_>>(), |change| (!records.contains(&change.record)).then_some("was not asked for"))
}

fn only_linked_accounts(plan: &Plan, facts: &PlanInput<'_>) -> Vec<String> {
    let owner = owners(facts);
    each(&all(plan).collect::<Vec<_>>(), |change| match (change.action, &change.account) {
        (Action::Create, None) => None,
        (Action::Create, Some(_)) => Some("names an account that exists"),
        (_, None) => Some("names no account"),
        (Action::Adopt, Some(account)) => owner.contains_key(account).then_some("takes an account that is linked"),
        (_, Some(account)) => match owner.get(account).map(Vec::as_slice) {
            Some([only]) if **only == change.record => None,
            _ => Some("writes an account that is not this user's alone"),
        },
    })
}

fn owners<'f>(facts: &PlanInput<'f>) -> BTreeMap<&'f AccountId, Vec<&'f RecordId>> {
    let mut owners: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (record, link) in facts.links {
        owners.entry(&link.account).or_default().push(record);
    }
    owners
}

fn no_second_account(plan: &Plan, facts: &PlanInput<'_>) -> Vec<String> {
    let mut takers: BTreeMap<&AccountId, BTreeSet<&RecordId>> = BTreeMap::new();
    for (account, record) in all(plan).filter_map(|change| Some((change.account.as_ref()?, &change.record))) {
        takers.entry(account).or_default().insert(record);
    }
    each(&all(plan).collect::<Vec<_>>(), |change| {
        if !matches!(change.action, Action::Create | Action::Adopt) {
            return None;
        }
        let unproven = plan.coverage == Coverage::Keyed && facts.unproven.contains(&change.record);
        let shared = change.account.as_ref().and_then(|account| takers.get(account)).is_some_and(|by| by.len() > 1);
        if facts.links.contains_key(&change.record) {
            Some("has a link already")
        } else if matches!(plan.coverage, Coverage::Partial(_)) {
            Some("follows from a partial listing")
        } else if unproven {
            Some("follows from a look-up that proved nothing")
        } else {
            shared.then_some("takes an account that another takes")
        }
    })
}

fn nothing_by_absence(plan: &Plan, _: &PlanInput<'_>) -> Vec<String> {
    let unseen: BTreeSet<&RecordId> = plan
        .skips
        .iter()
        .filter(|skip| matches!(skip.reason, SkipReason::Vanished | SkipReason::LookUpFirst))
        .map(|skip| &skip.record)
        .collect();
    let mut broken = each(&all(plan).collect::<Vec<_>>(), |change| {
        unseen.contains(&change.record).then_some("is about an account nobody saw")
    });
    let written: BTreeSet<&AccountId> = all(plan).filter_map(|change| change.account.as_ref()).collect();
    let seen: u64 = plan.accounts.values().sum();
    if written.len() as u64 > seen {
        broken.push(format!("{} accounts are written and {seen} were seen", written.len()));
    }
    if matches!(plan.coverage, Coverage::Partial(_)) {
        let vanished = plan.skips.iter().filter(|skip| skip.reason == SkipReason::Vanished);
        broken.extend(vanished.map(|skip| format!("`{}` is called vanished by a partial listing", skip.record)));
    }
    if plan.coverage != Coverage::Complete && !plan.unmanaged.is_empty() {
        broken.push("accounts are called unmanaged without a complete listing".to_owned());
    }
    broken
}

fn holds_say_what_they_hold(plan: &Plan, _: &PlanInput<'_>) -> Vec<String> {
    let wrong = plan.holds.iter().filter(|hold| canonical::digest(&plan.space, &hold.changes) != hold.digest);
    wrong.map(|hold| format!("the digest of the `{}` hold is of other changes", hold.limit.as_str())).collect()
}
