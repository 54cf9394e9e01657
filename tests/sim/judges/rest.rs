//! What must be true once nothing goes wrong any more and everything has come to rest.

use std::collections::BTreeSet;

use rosterd::engine::status::Owed;
use rosterd::engine::status::Status;
use rosterd::engine::status::TargetStatus;
use rosterd::metrics::OwedReason;
use rosterd::model::account::AccountState;
use rosterd::model::change::Action;
use rosterd::model::change::Change;
use rosterd::model::decision::DecisionKind;
use rosterd::model::plan::Plan;
use rosterd::model::target::Ending;

use crate::declared::Declared;
use crate::declared::Second;
use crate::judges::Facts;
use crate::judges::Violation;
use crate::judges::broken;
use crate::judges::facts::Fact;
use crate::world::Word;

/// What the engine shows of one target: whoever is named here is explained.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) records: BTreeSet<String>,
}

impl Shown {
    pub(crate) fn of(status: &TargetStatus) -> Self {
        let records = status.conflicts.keys().chain(status.failures.keys());
        Self { records: records.map(|record| record.as_str().to_owned()).collect() }
    }
}

/// Why the engine is not at rest; `None`: it is.
pub(crate) fn unrest(status: &Status) -> Option<String> {
    let source = &status.source;
    if source.error.is_some() || !source.problems.is_empty() || source.shrink.is_some() {
        return Some(format!("the source is not accepted: {:?} {:?}", source.error, source.problems));
    }
    status.targets.iter().find_map(|target| {
        // Which account a lost creation made is asked of a person for ever, and told meanwhile.
        let asked = target.failures.values().filter(|why| why.contains("nobody knows how the creation")).count();
        let why = if target.waiting > asked {
            format!("{} wait; failures {:?}", target.waiting, target.failures)
        } else if !target.holds.is_empty() {
            format!("holds {:?}", target.holds.iter().map(|hold| &hold.reason).collect::<Vec<_>>())
        } else if let Some(owed) = target.owed.iter().find(|owed| !waits_for_a_person(target, owed)) {
            format!("owed {owed:?}")
        } else if let Some(error) = &target.error {
            format!("error {error}")
        } else if target.suspended {
            "it is suspended".to_owned()
        } else if target.running.is_some() {
            "a cycle runs".to_owned()
        } else {
            return None;
        };
        Some(format!("{}: {why}", target.name))
    })
}

/// What a conflict keeps is owed until a person settles it, and is told with its reason.
fn waits_for_a_person(target: &TargetStatus, owed: &Owed) -> bool {
    owed.reason == OwedReason::Conflict && target.conflicts.contains_key(&owed.record)
}

/// L3: a plan from a fresh observation is empty.
pub(crate) fn a_fresh_plan_is_empty(target: usize, plan: &Plan) -> Option<Violation> {
    // Whose wait is over is found within a minute, and that may be this one.
    let due = |change: &&Change| change.action != Action::Delete;
    let changes: Vec<_> =
        plan.changes.iter().filter(due).map(|change| format!("{} {}", change.action.as_str(), change.record)).collect();
    if changes.is_empty() && !plan.holds.iter().flat_map(|hold| &hold.changes).any(|change| due(&change)) {
        return None;
    }
    broken("L3", format!("everything is done in t{target} and a fresh plan wants {}", changes.join(", ")))
}

/// L3 and L14: everybody who is entitled is in, nobody else is, and what is not so is shown.
pub(crate) fn everybody_is_where_they_belong(
    facts: &Facts,
    declared: &Declared,
    shown: &[Shown],
    now: Second,
) -> Option<Violation> {
    let one = |target: usize| in_target(facts, declared, shown.get(target)?, (target, now));
    (0..declared.papers.len()).find_map(one)
}

fn in_target(facts: &Facts, declared: &Declared, shown: &Shown, (target, now): (usize, Second)) -> Option<Violation> {
    let revoked = |record: &str| {
        let about = |word: &Word| word.record.as_deref().is_some_and(|of| facts.same_person(of, record));
        facts.stands((DecisionKind::Revoke, DecisionKind::Restore), about, u64::MAX)
    };
    let unclear = |record: &str| {
        facts
            .words
            .iter()
            .any(|(_, word, taken)| !taken && word.record.as_deref().is_some_and(|of| facts.same_person(of, record)))
    };
    let judged = declared.people.keys().filter(|record| !shown.records.contains(*record) && !unclear(record));
    for record in judged {
        let wanted = declared.wanted(record, target, now).filter(|_| !revoked(record));
        let there: Vec<&Fact> = facts.accounts_of(target, record).filter(|fact| fact.account.is_some()).collect();
        if there.len() > 1 {
            return broken("L2", format!("{record} has {} accounts in t{target}", there.len()));
        }
        let account = there.first().and_then(|fact| fact.account.as_ref());
        let active = account.filter(|account| account.state == AccountState::Active);
        match (wanted, active) {
            (Some(_), None) => {
                return broken("L3", format!("{record} should be in t{target}, is not, and nothing says why"));
            }
            (Some(words), Some(account)) => {
                let missing: Vec<_> = words.difference(&account.memberships).collect();
                if !missing.is_empty() {
                    return broken("L3", format!("{record} lacks {missing:?} in t{target} and nothing says why"));
                }
                let granted: BTreeSet<_> = there.iter().flat_map(|fact| &fact.granted).cloned().collect();
                let surplus: Vec<_> =
                    account.memberships.intersection(&granted).filter(|word| !words.contains(*word)).collect();
                if !surplus.is_empty() {
                    return broken("L3", format!("{record} keeps {surplus:?} in t{target} and nothing says why"));
                }
            }
            (None, Some(_)) if leaves_in(facts, declared, (record, target), now) => {}
            (None, Some(account)) => {
                return broken("L3", format!("{record} is still in t{target} by account {}", account.id));
            }
            (None, None) => {}
        }
    }
    left_behind(facts, declared, shown, (target, now))
}

/// Whether the target's rules leave an account active after access has ended.
fn leaves_in(facts: &Facts, declared: &Declared, (record, target): (&str, usize), now: Second) -> bool {
    let policy = &facts.places[target].policy;
    let person = declared.people.get(record);
    match person {
        None => matches!(policy.on_gone, Ending::Keep | Ending::List | Ending::Strip),
        Some(person) if !person.active => false,
        Some(person)
            if person.until.is_some_and(|until| until <= now) || person.from.is_some_and(|from| from > now) =>
        {
            false
        }
        Some(_) => matches!(policy.on_out_of_scope, Ending::Keep | Ending::List | Ending::Strip),
    }
}

/// Accounts of users who are no longer declared.
fn left_behind(facts: &Facts, declared: &Declared, shown: &Shown, (target, now): (usize, Second)) -> Option<Violation> {
    for ((at, id), fact) in &facts.accounts {
        let (Some(record), Some(account)) = (&fact.record, &fact.account) else { continue };
        let active = account.state == AccountState::Active;
        let unclear = |record: &str| {
            facts.words.iter().any(|(_, word, taken)| {
                !taken && word.record.as_deref().is_some_and(|of| facts.same_person(of, record))
            })
        };
        let declared_still = declared.people.keys().any(|person| facts.same_person(person, record));
        let excused =
            unclear(record) || shown.records.contains(record) || leaves_in(facts, declared, (record, target), now);
        if *at == target && active && !declared_still && !excused {
            return broken("L3", format!("{record} is gone and still in t{target} by account {id}"));
        }
    }
    None
}
