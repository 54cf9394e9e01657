//! L5 and L15: a removal leaves at once where nothing stands in its way in its own target, whatever
//! happens to others.
//!
//! Judged in calm stretches alone: a process that has run for a while, a store and a target that had
//! no trouble, a user of whom nothing is open, one or two leavers. There a second is long.

use rosterd::connector::Operation;

use crate::case::Case;
use crate::judges::Facts;
use crate::judges::Violation;
use crate::judges::broken;
use crate::judges::facts::second;
use crate::world::Entry;
use crate::world::Event;

/// So long before, nothing must have gone wrong: the longest wait after failures is shorter.
const CALM: u64 = 30 * 60_000;
/// So long before, the documents must not have changed: what follows from them is done.
const QUIET: u64 = 5 * 60_000;
/// So many leavers at once do not wait for one another.
const FEW: usize = 2;

/// A removal that must leave.
#[derive(Clone, Debug)]
struct Due {
    record: String,
    target: usize,
    since: u64,
    deadline: u64,
    /// Whether another target is in trouble meanwhile.
    others: bool,
}

/// What may stand in the way, and what is expected.
#[derive(Clone, Debug)]
pub(crate) struct Prompt {
    /// When each target was last in trouble; `None`: it still is.
    trouble: Vec<Option<u64>>,
    store: u64,
    /// When the process began; `None`: none runs.
    alive: Option<u64>,
    /// When documents last came, a person last spoke, another hand was last there.
    stir: u64,
    due: Vec<Due>,
}

impl Prompt {
    pub(crate) fn new(case: &Case) -> Self {
        Self { trouble: vec![Some(0); case.places.len()], store: 0, alive: None, stir: 0, due: Vec::new() }
    }
}

/// Whether something that should have left has not.
pub(crate) fn a_removal_leaves_at_once(facts: &Facts, entry: &Entry) -> Option<Violation> {
    let late = facts.prompt.due.iter().find(|due| entry.at > due.deadline)?;
    let law = if late.others { "L15" } else { "L5" };
    let waited = entry.at - late.since;
    broken(law, format!("{} is out for {waited} ms and nobody told t{}", late.record, late.target))
}

/// Notes what an entry means for what is due.
pub(crate) fn expect(facts: &mut Facts, entry: &Entry) {
    let at = entry.at;
    match &entry.event {
        Event::Life("begins") => (facts.prompt.alive, facts.prompt.due) = (Some(at), Vec::new()),
        Event::Life(_) => (facts.prompt.alive, facts.prompt.due) = (None, Vec::new()),
        Event::Turned { target: Some(target), rough } => {
            facts.prompt.trouble[*target] = if *rough { None } else { Some(at) };
            facts.prompt.due.retain(|due| due.target != *target);
        }
        Event::Turned { target: None, .. } => {
            // The longest trouble of a store.
            facts.prompt.store = at + 300_000;
            facts.prompt.due.clear();
        }
        Event::Hand { .. } | Event::Said(_) => {
            facts.prompt.stir = at;
            facts.prompt.due.clear();
        }
        Event::Committed { durable, told, .. } if !durable || !told => {
            facts.prompt.store = at;
            facts.prompt.due.clear();
        }
        Event::Committed { writes, .. } => {
            let loaded = writes.iter().any(|write| matches!(write, rosterd::store::Write::Snapshot(_)));
            if loaded {
                let due = leavers(facts, entry);
                facts.prompt.due = due;
                facts.prompt.stir = at;
            }
        }
        Event::Call { target, operation, .. } => {
            if let Operation::Update { seen, active: Some(false), .. } = &**operation {
                let mark = seen.external_id().unwrap_or_default().to_owned();
                facts.prompt.due.retain(|due| due.target != *target || due.record != mark);
            }
        }
        _ => {}
    }
}

/// Who must be out at once after a load that was just accepted.
fn leavers(facts: &Facts, entry: &Entry) -> Vec<Due> {
    let (at, prompt) = (entry.at, &facts.prompt);
    let calm = |since: u64| since + CALM < at;
    let quiet = prompt.alive.is_some_and(calm) && calm(prompt.store) && prompt.stir + QUIET < at && entry.skew == 0;
    let [.., before, now] = &facts.accepted[..] else { return Vec::new() };
    let (before, now) = (&before.declared, &now.declared);
    if !quiet || before.papers != now.papers || before.roles != now.roles || before.people.keys().ne(now.people.keys())
    {
        return Vec::new();
    }
    let left = before.people.iter().filter(|(record, person)| person.active && !now.people[*record].active);
    let left: Vec<_> = left.map(|(record, _)| record).collect();
    if left.len() > FEW {
        return Vec::new();
    }
    let mut due = Vec::new();
    for record in left {
        for (target, place) in facts.places.iter().enumerate() {
            let in_trouble =
                prompt.trouble.iter().enumerate().any(|(other, trouble)| other != target && trouble.is_none());
            let calm = prompt.trouble[target].is_some_and(calm);
            let unlimited = now.papers[target].explicit >= 1_000 && place.policy.rate.is_none();
            let wanted = before.wanted(record, target, second(at)).is_some();
            let mode = now.papers[target].mode == rosterd::model::target::Mode::Enforce;
            if calm && unlimited && wanted && mode && is_plainly_in(facts, target, record) {
                let deadline = at + 1_000 + 10 * place.latency;
                due.push(Due { record: record.clone(), target, since: at, deadline, others: in_trouble });
            }
        }
    }
    due
}

/// Whether the user has one active account that we made, and nothing is open about it.
fn is_plainly_in(facts: &Facts, target: usize, record: &str) -> bool {
    let accounts: Vec<_> = facts.accounts_of(target, record).filter(|fact| fact.account.is_some()).collect();
    let [fact] = &accounts[..] else { return false };
    let active = fact
        .account
        .as_ref()
        .is_some_and(|account| account.state.gives_access() && account.external_id() == Some(record));
    let open = facts.intents.iter().any(|recorded| {
        recorded.target == target && recorded.outcome.is_none() && recorded.intent.change.record.as_str() == record
    });
    let linked = facts.links.contains_key(&(target, record.to_owned()));
    let spoken = facts
        .words
        .iter()
        .any(|(_, word, _)| word.target == Some(target) && word.changes.is_empty() && word.digest.is_none());
    active && linked && !open && !fact.touched && !fact.taken_over && !spoken
}
