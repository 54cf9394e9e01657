//! L4: limits over time, counted from recorded intents.

use std::collections::BTreeSet;

use rosterd::model::account::Membership;
use rosterd::model::change::Action;
use rosterd::model::change::Cause;
use rosterd::model::change::Change;
use rosterd::model::decision::DecisionKind;
use rosterd::model::history::OutcomeResult;
use rosterd::model::ids::AccountId;
use rosterd::store::Write;

use crate::declared::DAY;
use crate::judges::Facts;
use crate::judges::Violation;
use crate::judges::broken;
use crate::judges::facts::Recorded;
use crate::world::Entry;
use crate::world::Event;

/// What a change takes away: an account (`None`), or entitlements of a living one. Taken away twice
/// in one window, a thing counts once.
fn things(change: &Change) -> BTreeSet<(Option<AccountId>, Option<Membership>)> {
    let of = |entitlement| (change.account.clone(), entitlement);
    match change.action {
        Action::Disable => BTreeSet::from([of(None)]),
        Action::Narrow => change.revoked().into_iter().map(|entitlement| of(Some(entitlement))).collect(),
        // A deletion has a limit of its own: what gave access was taken before.
        Action::Create | Action::Adopt | Action::Update | Action::Reactivate | Action::Restore | Action::Delete => {
            BTreeSet::new()
        }
    }
}

/// Whether a person let exactly this through.
fn released(facts: &Facts, change: &Change) -> bool {
    let alike = |other: &Change| {
        (&other.record, other.action, other.revoked()) == (&change.record, change.action, change.revoked())
    };
    facts.words.iter().flat_map(|(_, word, _)| &word.changes).any(alike)
}

/// In any window, what was recorded stays below the limit.
pub(crate) fn no_window_holds_more_than_its_limit(facts: &Facts, entry: &Entry) -> Option<Violation> {
    let Event::Committed { writes, durable: true, .. } = &entry.event else { return None };
    let intents = writes.iter().filter_map(|write| if let Write::Intent(intent) = write { Some(intent) } else { None });
    for intent in intents {
        let Some(cause) = intent.change.cause else { continue };
        let target = crate::judges::facts::target_number(intent.space.target.as_str());
        // One operator who revokes one user is outside.
        let revoked = |change: &Change| crate::judges::access::perhaps_revoked(facts, change.record.as_str());
        if intent.change.action == Action::Delete || released(facts, &intent.change) || revoked(&intent.change) {
            continue;
        }
        let window = u64::try_from(DAY.as_millis()).unwrap();
        let counts = |recorded: &&Recorded| {
            let nothing = matches!(recorded.outcome, Some(OutcomeResult::Nothing(_) | OutcomeResult::Refused(_)));
            // What a clock step of less than a minute moves across the edge does not matter.
            let inside = recorded.at + window > entry.at + 60_000;
            let counted = recorded.target == target && recorded.intent.change.cause == Some(cause);
            counted && inside && !nothing && !revoked(&recorded.intent.change)
        };
        let taken: BTreeSet<_> =
            facts.intents.iter().filter(counts).flat_map(|recorded| things(&recorded.intent.change)).collect();
        let used = taken.len() as u64;
        // A limit that was lowered in the window binds what is planned from then on. A looser one
        // that a person let through may stand in documents that are not accepted yet: the first
        // that a process reads.
        let loosened = |word: &crate::world::Word| {
            word.kind == DecisionKind::Release && word.target == Some(target) && word.changes.is_empty()
        };
        let loosened = facts.words.iter().any(|(_, word, taken)| *taken && loosened(word));
        let accepted = facts.accepted.iter().map(|accepted| &accepted.declared);
        let documents = accepted.chain(facts.given.iter().filter(|_| loosened));
        let limits = documents.map(|declared| {
            let paper = &declared.papers[target];
            if cause == Cause::Inferred { paper.inferred } else { paper.explicit }
        });
        let limit = limits.max().unwrap_or(0);
        if used > limit {
            return broken(
                "L4",
                format!("{used} were taken away in t{target} within 24 h ({}), {limit} are allowed", cause.as_str()),
            );
        }
    }
    None
}
