//! Whether each change of access follows from what was written down and decided.

use std::collections::BTreeSet;

use rosterd::model::account::Membership;
use rosterd::model::change::Action;
use rosterd::model::change::Change;
use rosterd::model::change::Effect;
use rosterd::model::decision::DecisionKind;
use rosterd::model::decision::Halts;
use rosterd::model::target::Mode;
use rosterd::store::Write;

use crate::declared::Declared;
use crate::declared::Second;
use crate::judges::Facts;
use crate::judges::GRACE;
use crate::judges::Violation;
use crate::judges::broken;
use crate::judges::calls::call_of;
use crate::judges::facts::second;
use crate::world::Entry;
use crate::world::Event;
use crate::world::Word;

/// From so many lost triples, and from this share, a load shrinks.
const SHRINK_FROM: usize = 5;
const SHRINK_PERCENT: usize = 20;
/// Seconds by which a clock may be off without anybody noticing.
const CLOCK_TOLERANCE: Second = 61;

type Access = Option<BTreeSet<Membership>>;

/// L1, L12, L16, L18: what a call takes away nobody has any more; what it gives somebody wrote down.
pub(crate) fn a_call_follows_from_the_newest_documents(facts: &Facts, entry: &Entry) -> Option<Violation> {
    let (target, _, change) = call_of(facts, entry)?;
    let recorded = &facts.intents[facts.current?];
    let at = recorded.at;
    match change.effect {
        Effect::Narrows | Effect::Swaps => takes(facts, target, change, at, entry.skew),
        Effect::Widens => gives(facts, target, change, at, entry.skew),
        Effect::Neutral => None,
    }
}

/// Whether somebody said that the user is out, and nobody surely took it back.
pub(crate) fn perhaps_revoked(facts: &Facts, record: &str) -> bool {
    let about = |word: &Word| word.record.as_deref().is_some_and(|of| facts.same_person(of, record));
    let mut revoked = false;
    for (_, word, taken) in facts.words.iter().filter(|(_, word, _)| about(word)) {
        match word.kind {
            DecisionKind::Revoke => revoked = true,
            DecisionKind::Restore if *taken => revoked = false,
            _ => {}
        }
    }
    revoked
}

/// Whether `access` still holds something that the change takes.
fn keeps(access: &Access, change: &Change) -> bool {
    match access {
        None => false,
        Some(words) if change.action == Action::Narrow => {
            change.revoked().iter().any(|membership| words.contains(membership))
        }
        Some(_) => true,
    }
}

fn takes(facts: &Facts, target: usize, change: &Change, at: u64, skew: i64) -> Option<Violation> {
    let record = change.record.as_str();
    if perhaps_revoked(facts, record) {
        return None;
    }
    let follows = |declared: &Declared, moment: Second| {
        let successor = declared.successor(record);
        !keeps(&declared.wanted(successor, target, moment), change)
    };
    let mut moments = vec![second(at), second(at.saturating_sub(GRACE))];
    if skew != 0 {
        moments.extend([second(at) + CLOCK_TOLERANCE, (second(at) - CLOCK_TOLERANCE).max(0)]);
    }
    let now = |declared: &Declared| moments.iter().any(|moment| follows(declared, *moment));
    if facts.in_force(at).any(now) || said_beside(facts, target, change, at, &moments) {
        return None;
    }
    let stepped = second(at) + skew / 1_000;
    if facts.fooled {
        return None;
    }
    if skew != 0 && facts.in_force(at).any(|declared| follows(declared, stepped)) {
        return broken("L16", format!("{record} loses access to t{target} because a clock was stepped"));
    }
    let before = facts.accepted.iter().rev().skip(1).take(3).any(|accepted| now(&accepted.declared));
    let newest = facts.given.last().is_some_and(|declared| now(declared));
    if before && !newest {
        return broken("L18", format!("{record} loses access to t{target} by documents that are no longer in force"));
    }
    broken("L1", format!("{record} loses access to t{target} ({:?}) and no document says so", change.revoked()))
}

/// Whether a document that was read beside the accepted ones says on its own that access ends.
fn said_beside(facts: &Facts, target: usize, change: &Change, at: u64, moments: &[Second]) -> bool {
    let record = change.record.as_str();
    let live = facts.beside.iter().filter(|beside| beside.over.is_none_or(|over| over + GRACE >= at));
    let mut told = live.flat_map(|beside| {
        let heir = beside.declared.successor(record);
        [record, heir].map(|id| (&beside.declared, id.to_owned()))
    });
    told.any(|(declared, id)| {
        let readable = !declared.unreadable.contains(&id);
        let Some(person) = declared.people.get(&id).filter(|_| readable) else { return false };
        let by = facts.in_force(at).map(|accepted| &accepted.roles).chain([&declared.roles]);
        let mut says = by.flat_map(|roles| moments.iter().map(move |moment| person.access(roles, target, *moment)));
        says.any(|access| !keeps(&access, change))
    })
}

fn gives(facts: &Facts, target: usize, change: &Change, at: u64, skew: i64) -> Option<Violation> {
    let record = change.record.as_str();
    let stands = |word: &Word| word.record.as_deref().is_some_and(|of| facts.same_person(of, record));
    if facts.stands((DecisionKind::Revoke, DecisionKind::Restore), stands, at) {
        return broken("L11", format!("{record} is revoked and gets access to t{target}"));
    }
    if change.origins.is_empty() && change.grant.iter().all(|grant| grant.origins.is_empty()) {
        return broken("L12", format!("{record} gets access to t{target} and nothing says by what"));
    }
    let moments = [second(at), second(at.saturating_sub(GRACE)), second(at) + skew / 1_000];
    if facts.fooled {
        return None;
    }
    let follows = |declared: &Declared| {
        moments.iter().any(|moment| {
            let wanted = declared.wanted(record, target, *moment);
            wanted.is_some_and(|words| change.granted().is_subset(&words))
        })
    };
    if !facts.in_force(at).any(follows) {
        let before = facts.accepted.iter().any(|accepted| follows(&accepted.declared));
        let law = if before { "L18" } else { "L12" };
        return broken(law, format!("{record} gets access to t{target} and the documents in force do not say so"));
    }
    // A document that was read beside the accepted ones may already have ended it.
    let ended = facts.beside.iter().any(|beside| {
        let acted = beside.acted.is_some_and(|acted| acted + GRACE < at) && beside.over.is_none();
        let person = beside.declared.people.get(record).filter(|_| !beside.declared.unreadable.contains(record));
        acted && person.is_some_and(|person| !person.active)
    });
    if ended {
        broken("L18", format!("{record} gets access to t{target} though a document has ended it"))
    } else {
        None
    }
}

/// L11: a suspended target, and one that is only observed, is not written.
pub(crate) fn what_a_person_decided_stands(facts: &Facts, entry: &Entry) -> Option<Violation> {
    let (target, _, change) = call_of(facts, entry)?;
    let at = facts.intents[facts.current?].at;
    let here = |word: &Word| word.target == Some(target);
    if facts.stands((DecisionKind::Suspend, DecisionKind::Resume), here, at) {
        return broken("L11", format!("t{target} is suspended and is written for {}", change.record));
    }
    let halts = |much: Halts| move |word: &Word| word.kind == DecisionKind::Start || word.halts == Some(much);
    let stop = (DecisionKind::Stop, DecisionKind::Start);
    let all = facts.stands(stop, halts(Halts::All), at);
    if all || change.effect == Effect::Widens && facts.stands(stop, halts(Halts::Widening), at) {
        return broken("L11", format!("everything is stopped and t{target} is written for {}", change.record));
    }
    let enforced = facts.in_force(at).any(|declared| declared.papers[target].mode == Mode::Enforce);
    if enforced {
        None
    } else {
        broken("L11", format!("t{target} is not enforced and is written for {}", change.record))
    }
}

/// L1: a load that is broken or shrinks too much does not become the snapshot.
pub(crate) fn a_load_is_accepted_only_whole_and_only_if_it_does_not_shrink(
    facts: &Facts,
    entry: &Entry,
) -> Option<Violation> {
    let Event::Committed { writes, durable: true, .. } = &entry.event else { return None };
    let snapshots =
        writes.iter().filter_map(|write| if let Write::Snapshot(snapshot) = write { Some(snapshot) } else { None });
    for snapshot in snapshots {
        let digest = snapshot.digest.as_str();
        let last = facts.accepted.last();
        if facts.snapshot == digest {
            continue;
        }
        let Some(next) = facts.given.iter().rev().find(|given| given.digest() == digest) else {
            return broken("L1", "a snapshot was accepted that no load gave");
        };
        if !next.unreadable.is_empty() {
            return broken("L1", "a load with broken documents became the snapshot");
        }
        let Some(last) = last else { continue };
        let allowed = facts
            .words
            .iter()
            .any(|(_, word, _)| word.kind == DecisionKind::AcceptShrink && word.digest.as_deref() == Some(digest));
        let gone = lost(facts, &last.declared, next, second(entry.at));
        if !allowed && gone >= SHRINK_FROM && gone * 100 > facts.highest * SHRINK_PERCENT {
            return broken("L1", format!("a load that takes {gone} of {} away became the snapshot", facts.highest));
        }
    }
    None
}

/// Triples of `before` that `after` does not have, less those that documents read meanwhile have
/// ended on their own.
fn lost(facts: &Facts, before: &Declared, after: &Declared, at: Second) -> usize {
    let now = after.triples(at);
    let ended: Vec<_> = facts.beside.iter().filter(|beside| beside.acted.is_some() && beside.over.is_none()).collect();
    let gone = before.triples(at).into_iter().map(|(record, mut triples)| {
        for beside in &ended {
            let id = beside.declared.successor(record);
            let person = beside.declared.people.get(id).filter(|_| !beside.declared.unreadable.contains(id));
            let Some(person) = person else { continue };
            triples.retain(|(target, word)| match (person.access(&before.roles, *target, at), word) {
                (None, _) => false,
                (Some(words), Some(word)) => words.contains(word),
                (Some(_), None) => true,
            });
        }
        match now.get(after.successor(record)) {
            Some(kept) => triples.difference(kept).count(),
            None => triples.len(),
        }
    });
    gone.sum()
}
