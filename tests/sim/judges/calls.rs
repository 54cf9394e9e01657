//! What each write must be: recorded, ours, the only one, and no more than is mapped.

use std::collections::BTreeSet;

use rosterd::connector::ErrorClass;
use rosterd::connector::Operation;
use rosterd::model::account::AccountState;
use rosterd::model::change::Action;
use rosterd::model::change::Change;
use rosterd::model::decision::DecisionKind;
use rosterd::model::target::Existing;

use crate::judges::Facts;
use crate::judges::Violation;
use crate::judges::broken;
use crate::judges::facts::Called;
use crate::target::WRITE_LIMIT;
use crate::target::text;
use crate::world::Entry;
use crate::world::Event;
use crate::world::sent;

/// The write of an entry, its target and its intent.
pub(crate) fn call_of<'a>(facts: &'a Facts, entry: &'a Entry) -> Option<(usize, &'a Operation, &'a Change)> {
    let Event::Call { target, operation, .. } = &entry.event else { return None };
    Some((*target, operation, &facts.intents[facts.current?].intent.change))
}

/// L8: an intent was committed before each call, with one audit event.
pub(crate) fn each_call_has_one_intent_and_one_audit_event(facts: &Facts, entry: &Entry) -> Option<Violation> {
    let Event::Call { operation, target, .. } = &entry.event else { return None };
    let Some(intent) = facts.current else {
        return broken("L8", format!("no intent stands for the call to t{target}: {}", sent(operation)));
    };
    let recorded = &facts.intents[intent];
    if !recorded.told {
        return broken("L8", format!("a call follows a commit that was not confirmed: {}", sent(operation)));
    }
    (recorded.events != 1).then(|| Violation {
        law: "L8",
        words: format!("{} audit events tell of the intent of {}", recorded.events, sent(operation)),
    })
}

/// L10: what is written is linked, made by us, or taken over by a rule that allows it.
pub(crate) fn only_our_own_accounts_are_written(facts: &Facts, entry: &Entry) -> Option<Violation> {
    let (target, operation, change) = call_of(facts, entry)?;
    let nothing = BTreeSet::new();
    let (seen, remove) = match operation {
        Operation::Update { seen, remove, .. } => (seen, remove),
        Operation::Delete { seen } => (seen, &nothing),
        Operation::Create { .. } => return None,
    };
    let fact = facts.accounts.get(&(target, seen.id.clone()))?;
    let name = fact.account.as_ref().and_then(|account| account.user_name()).unwrap_or_default();
    if name.starts_with("svc-") {
        return broken("L10", format!("the protected account `{name}` is written"));
    }
    let record = change.record.as_str();
    let ours = if let Some(own) = &fact.record {
        facts.same_person(own, record)
    } else {
        let marked = fact
            .account
            .as_ref()
            .is_some_and(|account| facts.same_person(account.external_id().unwrap_or_default(), record));
        let adopts = facts.places[target].policy.existing == Existing::Adopt;
        // After a creation of unknown end an account with the user's mark passes for what it left.
        let lost = facts.calls.values().any(|called| {
            let earlier = &facts.intents[called.intent].intent.change;
            let unknown = matches!(called.answer, None | Some(Err(ErrorClass::Uncertain)));
            let creates = called.target == target && earlier.action == Action::Create;
            creates && unknown && facts.same_person(earlier.record.as_str(), record)
        });
        marked && (lost || change.action == Action::Adopt && adopts)
    };
    if !ours {
        return broken("L10", format!("account {} of t{target} is written for {record} and is not theirs", seen.id));
    }
    let foreign: Vec<_> = remove.difference(&fact.granted).collect();
    if foreign.is_empty() {
        return None;
    }
    broken("L10", format!("memberships that we never gave are taken from {record}: {foreign:?}"))
}

/// L2: one account for each user and target; a second create only after proof that the first left
/// nothing.
pub(crate) fn nobody_gets_a_second_account(facts: &Facts, entry: &Entry) -> Option<Violation> {
    let (target, _, change) = call_of(facts, entry)?;
    if change.action != Action::Create {
        return None;
    }
    let record = change.record.as_str();
    let there = facts.accounts_of(target, record).find(|fact| fact.account.is_some());
    if let Some(account) = there.and_then(|fact| fact.account.as_ref()) {
        return broken("L2", format!("{record} has account {} in t{target} and gets another", account.id));
    }
    let unclear = |called: &&Called| {
        let change = &facts.intents[called.intent].intent.change;
        called.target == target
            && change.action == Action::Create
            && facts.same_person(change.record.as_str(), record)
            && matches!(called.answer, None | Some(Err(ErrorClass::Uncertain)))
    };
    let earlier = facts.calls.values().filter(unclear).map(|called| called.at).max()?;
    let proof = earlier + WRITE_LIMIT + facts.places[target].visible_within;
    // The engine counts from its intent, which is a commit earlier than the call.
    let from = proof.saturating_sub(100);
    if entry.at < from {
        return broken(
            "L2",
            format!("{record} is created again {} s after a call of unknown end", (entry.at - earlier) / 1_000),
        );
    }
    let looked = facts.reads.iter().any(|(of, began)| *of == target && *began >= from);
    if looked { None } else { broken("L2", format!("{record} is created again and nobody looked in between")) }
}

/// L17: what another hand disabled or deleted is not undone.
pub(crate) fn what_another_hand_ended_stays_ended(facts: &Facts, entry: &Entry) -> Option<Violation> {
    let (target, operation, change) = call_of(facts, entry)?;
    let record = change.record.as_str();
    let regained = facts
        .words
        .iter()
        .any(|(_, word, _)| word.kind == DecisionKind::Regain && word.record.as_deref() == Some(record));
    if regained {
        return None;
    }
    match operation {
        Operation::Create { .. } => {
            let deleted = facts.accounts_of(target, record).any(|fact| fact.account.is_none() && fact.ended_by_hand);
            if deleted {
                broken("L17", format!("another hand deleted the account of {record}; it is made again"))
            } else {
                None
            }
        }
        Operation::Update { seen, active: Some(true), .. } => {
            let fact = facts.accounts.get(&(target, seen.id.clone()))?;
            let disabled = fact.account.as_ref().is_some_and(|account| account.state == AccountState::Disabled);
            if fact.ended_by_hand && disabled {
                return broken("L17", format!("another hand disabled the account of {record}; it is enabled again"));
            }
            None
        }
        Operation::Update { .. } | Operation::Delete { .. } => None,
    }
}

const MAPPED: [&str; 3] = ["externalId", "name.givenName", "userName"];

/// L6: attributes that are not mapped stay as they are, and only differences are sent.
pub(crate) fn only_mapped_attributes_are_written_and_only_where_they_differ(
    facts: &Facts,
    entry: &Entry,
) -> Option<Violation> {
    if let Event::Acted { before: Some(before), after: Some(after), .. } = &entry.event {
        let rest = |account: &rosterd::model::account::Account| {
            let mut values = account.values.clone();
            values.retain(|path, _| !MAPPED.contains(&path.as_str()));
            values
        };
        if rest(before) != rest(after) {
            return broken("L6", format!("a call changed what is not mapped of account {}", after.id));
        }
    }
    let (target, operation, change) = call_of(facts, entry)?;
    let Operation::Update { seen, set, clear, .. } = operation else { return None };
    let unmapped = set.keys().chain(clear).find(|path| !MAPPED.contains(&path.as_str()));
    if let Some(path) = unmapped {
        return broken("L6", format!("`{path}` of account {} is written and not mapped", seen.id));
    }
    let same = set.iter().find(|(path, value)| text(&seen.values, path) == value.as_str().unwrap_or_default());
    if let Some((path, _)) = same {
        return broken("L6", format!("`{path}` of account {} is sent though it did not differ", seen.id));
    }
    let frozen = !facts.places[target].policy.updates && change.action != Action::Adopt;
    let written = set.keys().chain(clear).find(|path| frozen && path.as_str() != "externalId");
    written
        .and_then(|path| broken("L6", format!("`{path}` of account {} is written though `updates` is false", seen.id)))
}

/// L13: nothing of one place is used in another.
pub(crate) fn an_intent_belongs_to_its_place(facts: &Facts, entry: &Entry) -> Option<Violation> {
    let Event::Call { target, .. } = &entry.event else { return None };
    let space = &facts.intents[facts.current?].intent.space;
    let here = space.realm.as_str() == format!("realm-{target}");
    if here { None } else { broken("L13", format!("an intent of {space:?} is used in t{target}")) }
}
