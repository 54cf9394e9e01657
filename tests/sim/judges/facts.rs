//! What is true, as far as the log tells.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use rosterd::connector::ErrorClass;
use rosterd::connector::Operation;
use rosterd::model::account::Account;
use rosterd::model::account::AccountState;
use rosterd::model::account::Membership;
use rosterd::model::change::Action;
use rosterd::model::change::Change;
use rosterd::model::decision::DecisionKind;
use rosterd::model::history::Intent;
use rosterd::model::history::OutcomeResult;
use rosterd::model::ids::AccountId;
use rosterd::model::link::LinkedBy;
use rosterd::model::snapshot::Snapshot;
use rosterd::store::AcceptedSnapshot;
use rosterd::store::Write;

use crate::case::Case;
use crate::case::Place;
use crate::declared::Declared;
use crate::declared::Second;
use crate::judges::GRACE;
use crate::world::Entry;
use crate::world::Event;
use crate::world::Load;
use crate::world::Word;

/// One account of one target.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    /// The user whom our own doing, or a person, gave it to.
    pub(crate) record: Option<String>,
    /// Whether it was adopted or linked, not made by us.
    pub(crate) taken_over: bool,
    /// As it is now; `None`: it is gone.
    pub(crate) account: Option<Account>,
    /// Whether another hand ended it, and nobody gave it back since.
    pub(crate) ended_by_hand: bool,
    /// Since when a call of ours has held it shut.
    pub(crate) shut: Option<u64>,
    /// Memberships that calls of ours gave.
    pub(crate) granted: BTreeSet<Membership>,
    /// Whether another hand did anything to it.
    pub(crate) touched: bool,
}

/// One recorded intent.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) intent: Intent,
    pub(crate) target: usize,
    /// When it was committed, by the true clock.
    pub(crate) at: u64,
    pub(crate) call: Option<u64>,
    pub(crate) outcome: Option<OutcomeResult>,
    /// Audit events about it in its own commit.
    pub(crate) events: usize,
    /// Whether the engine was told that it was kept: without, it must not call.
    pub(crate) told: bool,
}

/// One write that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    pub(crate) at: u64,
    pub(crate) target: usize,
    /// Which of `intents`.
    pub(crate) intent: usize,
    pub(crate) answer: Option<Result<(), ErrorClass>>,
    pub(crate) acted: bool,
}

/// Documents that the engine took up.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) declared: Arc<Declared>,
    /// When something newer took their place, as far as the engine was told.
    pub(crate) superseded: Option<u64>,
    pub(crate) told: bool,
}

/// Documents that the engine read and did not take up: what they say of one user may narrow.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    pub(crate) declared: Arc<Declared>,
    /// When the engine recorded what narrows.
    pub(crate) acted: Option<u64>,
    /// When an accepted load made it old.
    pub(crate) over: Option<u64>,
}

pub(crate) struct Facts {
    pub(crate) places: Vec<Place>,
    pub(crate) accounts: BTreeMap<(usize, AccountId), Fact>,
    pub(crate) intents: Vec<Recorded>,
    pub(crate) calls: BTreeMap<u64, Called>,
    pub(crate) accepted: Vec<Accepted>,
    pub(crate) beside: Vec<Beside>,
    /// Every load that gave documents.
    pub(crate) given: Vec<Arc<Declared>>,
    pub(crate) words: Vec<(u64, Word, bool)>,
    /// Reads that ended: target, begin.
    pub(crate) reads: Vec<(usize, u64)>,
    /// Links as the store has them.
    pub(crate) links: BTreeMap<(usize, String), AccountId>,
    generation: u64,
    /// Since when the clock is as far off as it is.
    stepped: (u64, i64),
    /// How far off it was when a process last had the time to notice and to write that down.
    noticed: i64,
    /// Whether a process began with a clock that was set and that nobody had noticed before: to it that
    /// looks like time that passed, and it judges by it from then on.
    pub(crate) fooled: bool,
    /// What the engine last recorded as everybody's documents.
    current_snapshot: Option<Arc<Snapshot>>,
    /// Whether documents that nobody accepted narrowed that since: a load that says the same is recorded
    /// where it is accepted, and held where it takes too much from the last accepted one.
    narrowed: bool,
    /// Digest of the last snapshot that was kept.
    pub(crate) snapshot: String,
    /// The most that any accepted load granted.
    pub(crate) highest: usize,
    /// Declared renames: the later record id of an earlier one.
    heirs: BTreeMap<String, String>,
    /// Removals that must leave at once, and what may stand in their way.
    pub(crate) prompt: crate::judges::prompt::Prompt,
    /// The intent of the entry that is being judged, where it is a call.
    pub(crate) current: Option<usize>,
}

/// Milliseconds by which a clock may be off without anybody noticing.
const UNNOTICED: i64 = 61_000;
/// How soon a process that records anything has noticed that its clock was set.
const NOTICES: u64 = 10_000;

/// Seconds of the true clock.
pub(crate) fn second(at: u64) -> Second {
    Second::try_from(at / 1_000).unwrap()
}

pub(crate) fn target_number(name: &str) -> usize {
    name.trim_start_matches('t').parse().unwrap()
}

impl Facts {
    pub(crate) fn new(case: &Case) -> Self {
        let mut accounts = BTreeMap::new();
        for (target, place) in case.places.iter().enumerate() {
            for number in 1..=place.strangers.len() {
                let name = &place.strangers[number - 1];
                let id = AccountId::from(format!("{number:04}"));
                let account = Account {
                    id: id.clone(),
                    state: AccountState::Active,
                    values: crate::target::values(name, None),
                    memberships: BTreeSet::new(),
                    version: None,
                };
                accounts.insert((target, id), Fact::of(account));
            }
        }
        Self {
            places: case.places.clone(),
            accounts,
            intents: Vec::new(),
            calls: BTreeMap::new(),
            accepted: Vec::new(),
            beside: Vec::new(),
            given: Vec::new(),
            words: Vec::new(),
            reads: Vec::new(),
            links: BTreeMap::new(),
            generation: 0,
            stepped: (0, 0),
            noticed: 0,
            fooled: false,
            current_snapshot: None,
            narrowed: false,
            snapshot: String::new(),
            highest: 0,
            heirs: BTreeMap::new(),
            prompt: crate::judges::prompt::Prompt::new(case),
            current: None,
        }
    }

    /// What must be known to judge an entry.
    pub(crate) fn before(&mut self, entry: &Entry) {
        self.current = None;
        match &entry.event {
            Event::Call { target, operation, .. } => self.current = self.intent_of(*target, operation),
            Event::Committed { writes, durable: true, told } => {
                let intents = writes
                    .iter()
                    .filter_map(|write| if let Write::Intent(intent) = write { Some(intent) } else { None });
                intents.for_each(|intent| self.record(intent, entry.at, *told, writes));
            }
            _ => {}
        }
    }

    fn record(&mut self, intent: &Intent, at: u64, told: bool, writes: &[Write]) {
        let about = |write: &&Write| {
            let Write::Audit(event) = write else { return false };
            event.kind == "intent" && event.details.get("intent").and_then(|id| id.as_str()) == Some(intent.id.as_str())
        };
        self.intents.push(Recorded {
            intent: intent.clone(),
            target: target_number(intent.space.target.as_str()),
            at,
            call: None,
            outcome: None,
            events: writes.iter().filter(about).count(),
            told,
        });
    }

    /// The newest intent without a call that says exactly this.
    fn intent_of(&self, target: usize, operation: &Operation) -> Option<usize> {
        let fits = |recorded: &Recorded| {
            recorded.target == target && recorded.call.is_none() && says(&recorded.intent.change, operation)
        };
        self.intents.iter().rposition(fits)
    }

    /// Whether a process that lives has noticed where the clock stands, and could say so in the store.
    fn watch_the_clock(&mut self, entry: &Entry) {
        if self.stepped.1 != entry.skew {
            self.stepped = (entry.at, entry.skew);
        }
        let Event::Committed { writes, durable: true, .. } = &entry.event else { return };
        let works = writes.iter().any(|write| matches!(write, Write::Intent(_) | Write::Outcome(..) | Write::Cycle(_)));
        if works && entry.at >= self.stepped.0 + NOTICES {
            self.noticed = entry.skew;
        }
    }

    /// Takes an entry in.
    pub(crate) fn after(&mut self, entry: &Entry) {
        self.watch_the_clock(entry);
        match &entry.event {
            Event::Loaded(Load::Gave(declared)) => self.loaded(declared, entry.at),
            Event::Committed { writes, durable: true, told } => {
                for write in writes.iter() {
                    self.kept(write, entry.at, *told);
                }
            }
            Event::Call { call, target, operation } => {
                if let Operation::Update { seen, active: Some(false), .. } | Operation::Delete { seen } = &**operation
                    && let Some(fact) = self.accounts.get_mut(&(*target, seen.id.clone()))
                {
                    // Sent in ignorance of the other hand: whose doing the end is nobody can tell.
                    fact.ended_by_hand = false;
                }
                if let Some(intent) = self.current {
                    self.intents[intent].call = Some(*call);
                    let called = Called { at: entry.at, target: *target, intent, answer: None, acted: false };
                    self.calls.insert(*call, called);
                }
            }
            Event::Acted { call, target, before, after } => {
                self.acted((*call, *target), before.as_ref(), after.as_ref(), entry.at);
            }
            Event::Answered { call, error } => {
                if let Some(called) = self.calls.get_mut(call) {
                    called.answer = Some(error.map_or(Ok(()), Err));
                }
            }
            Event::Read { target, began, .. } => self.reads.push((*target, *began)),
            Event::Hand { target, account, what, after } => self.hand(*target, account, what, after.as_ref()),
            Event::Said(word) => self.words.push((entry.at, word.clone(), false)),
            Event::Decided { taken, .. } => {
                if let Some((at, _, known)) = self.words.last_mut() {
                    (*at, *known) = (entry.at, *taken);
                }
            }
            Event::Life(_) => self.fooled |= (entry.skew - self.noticed).abs() > UNNOTICED,
            Event::Turned { .. }
            | Event::Step(_)
            | Event::Rest(_)
            | Event::Loaded(Load::Failed)
            | Event::Committed { .. } => {}
        }
    }

    fn loaded(&mut self, declared: &Arc<Declared>, at: u64) {
        for (record, person) in &declared.people {
            for old in &person.formerly {
                self.heirs.insert(old.clone(), record.clone());
            }
        }
        self.given.push(Arc::clone(declared));
        // Where nobody's access is touched nothing is recorded: targets follow at once.
        let same = |current: &Arc<Snapshot>| {
            let policies: Vec<_> = self.places.iter().map(|place| place.policy.clone()).collect();
            let documents = declared.documents(&policies);
            current.users == documents.users && current.roles == documents.roles
        };
        if declared.unreadable.is_empty() && !self.narrowed && self.current_snapshot.as_ref().is_some_and(same) {
            self.accepted.push(Accepted { declared: Arc::clone(declared), superseded: None, told: true });
            self.supersede(at);
            return;
        }
        self.beside.push(Beside { declared: Arc::clone(declared), acted: None, over: None });
    }

    fn kept(&mut self, write: &Write, at: u64, told: bool) {
        match write {
            Write::Outcome(id, outcome, _) => {
                let recorded = self.intents.iter_mut().rev().find(|recorded| recorded.intent.id == *id);
                if let Some(recorded) = recorded {
                    recorded.outcome = Some(outcome.clone());
                }
            }
            Write::Link(space, link) => {
                let target = target_number(space.target.as_str());
                self.links.insert((target, link.record.as_str().to_owned()), link.account.clone());
                if link.by == LinkedBy::Person
                    && let Some(fact) = self.accounts.get_mut(&(target, link.account.clone()))
                {
                    fact.record = Some(link.record.as_str().to_owned());
                    fact.taken_over = true;
                }
            }
            Write::Unlink(space, record) => {
                self.links.remove(&(target_number(space.target.as_str()), record.as_str().to_owned()));
            }
            Write::Snapshot(snapshot) => self.snapshot_kept(snapshot, at, told),
            _ => {}
        }
    }

    fn snapshot_kept(&mut self, snapshot: &AcceptedSnapshot, at: u64, told: bool) {
        let digest = snapshot.digest.as_str();
        let same = self.snapshot == digest;
        digest.clone_into(&mut self.snapshot);
        // A commit that was kept and not told is made again.
        let again = self.current_snapshot.as_deref() == Some(&*snapshot.snapshot);
        self.current_snapshot = Some(Arc::clone(&snapshot.snapshot));
        let stands = snapshot.generation <= self.generation && same;
        self.narrowed = stands && (self.narrowed || !again);
        if stands {
            // The last accepted documents, narrowed by what was read since.
            if let (Some(beside), true) = (self.beside.last_mut(), told) {
                beside.acted.get_or_insert(at);
            }
            if told && let Some(last) = self.accepted.last_mut() {
                last.told = true;
            }
            self.supersede(at);
            return;
        }
        self.generation = snapshot.generation;
        let declared = self.given.iter().rev().find(|given| given.digest() == digest).cloned();
        if let Some(declared) = declared {
            let level = declared.triples(second(at)).values().map(BTreeSet::len).sum();
            self.highest = self.highest.max(level);
            self.accepted.push(Accepted { declared, superseded: None, told });
            self.beside.iter_mut().for_each(|beside| {
                beside.over.get_or_insert(at);
            });
            self.supersede(at);
        }
    }

    /// Everything before the newest documents that the engine knows to be kept is old.
    fn supersede(&mut self, at: u64) {
        let Some(newest) = self.accepted.iter().rposition(|accepted| accepted.told) else { return };
        for accepted in &mut self.accepted[..newest] {
            accepted.superseded.get_or_insert(at);
        }
    }

    fn acted(&mut self, (call, target): (u64, usize), before: Option<&Account>, after: Option<&Account>, at: u64) {
        let Some(called) = self.calls.get_mut(&call) else { return };
        called.acted = true;
        let change = self.intents[called.intent].intent.change.clone();
        let Some(after) = after else {
            let gone = before.and_then(|before| self.accounts.get_mut(&(target, before.id.clone())));
            if let Some(fact) = gone {
                (fact.account, fact.ended_by_hand) = (None, false);
            }
            return;
        };
        let fact = self.accounts.entry((target, after.id.clone())).or_insert_with(|| Fact::of(after.clone()));
        fact.account = Some(after.clone());
        fact.granted.extend(change.granted());
        if matches!(change.action, Action::Create | Action::Adopt) {
            fact.record = Some(change.record.as_str().to_owned());
            fact.taken_over = change.action == Action::Adopt;
        }
        if change.active.is_some() || before.is_none() {
            fact.ended_by_hand = false;
        }
        match change.active {
            Some(true) => fact.shut = None,
            Some(false) => fact.shut = fact.shut.or(Some(at)),
            None => {}
        }
    }

    fn hand(&mut self, target: usize, account: &AccountId, what: &'static str, after: Option<&Account>) {
        // Where a call of ours to the same end is open, nobody can tell whose doing it was.
        let unclear = self.intents.iter().any(|recorded| {
            recorded.target == target
                && recorded.outcome.is_none()
                && recorded.intent.change.account.as_ref() == Some(account)
                && (recorded.intent.change.active == Some(false) || recorded.intent.change.action == Action::Delete)
        });
        let linked = self.links.iter().any(|((at, _), linked)| *at == target && linked == account);
        let key = (target, account.clone());
        let Some(fact) = self.accounts.get_mut(&key) else {
            if let Some(after) = after {
                self.accounts.insert(key, Fact { touched: true, ..Fact::of(after.clone()) });
            }
            return;
        };
        fact.touched = true;
        fact.account = after.cloned();
        match what {
            "disables" => fact.ended_by_hand = !unclear,
            // An account that the engine does not know of yet was never there for it.
            "deletes" => fact.ended_by_hand = linked && !unclear,
            _ => {}
        }
    }

    /// Whether two record ids are one person's, by declared renames.
    pub(crate) fn same_person(&self, one: &str, other: &str) -> bool {
        self.last_heir(one) == self.last_heir(other)
    }

    fn last_heir<'a>(&'a self, record: &'a str) -> &'a str {
        let mut last = record;
        for _ in 0..16 {
            match self.heirs.get(last) {
                Some(heir) => last = heir,
                None => break,
            }
        }
        last
    }

    /// Documents that the engine may have followed at `at`.
    pub(crate) fn in_force(&self, at: u64) -> impl Iterator<Item = &Declared> {
        let fresh = move |accepted: &&Accepted| accepted.superseded.is_none_or(|end| end + GRACE >= at);
        self.accepted.iter().filter(fresh).map(|accepted| &*accepted.declared)
    }

    /// Whether a word of this kind stands for something at `at`, as the engine must know it.
    pub(crate) fn stands(
        &self,
        (on, off): (DecisionKind, DecisionKind),
        about: impl Fn(&Word) -> bool,
        at: u64,
    ) -> bool {
        let mut standing = false;
        for (said, word, taken) in self.words.iter().filter(|(_, word, _)| about(word)) {
            if word.kind == on && *taken && said + GRACE < at {
                standing = true;
            } else if word.kind == off && *said <= at {
                // Taken or not: nobody must rely on a word that was perhaps taken back.
                standing = false;
            }
        }
        standing
    }

    /// What we made or took over for a user in a target, gone ones included.
    pub(crate) fn accounts_of<'a>(&'a self, target: usize, record: &'a str) -> impl Iterator<Item = &'a Fact> {
        let of = move |fact: &&Fact| fact.record.as_ref().is_some_and(|own| self.same_person(own, record));
        self.accounts
            .range((target, AccountId::from(""))..)
            .take_while(move |((at, _), _)| *at == target)
            .map(|(_, fact)| fact)
            .filter(of)
    }
}

impl Fact {
    fn of(account: Account) -> Self {
        Self {
            record: None,
            taken_over: false,
            account: Some(account),
            ended_by_hand: false,
            shut: None,
            granted: BTreeSet::new(),
            touched: false,
        }
    }
}

/// Whether a change asks for exactly this write.
fn says(change: &Change, operation: &Operation) -> bool {
    let fields = |set: &BTreeMap<_, _>| {
        let asked: BTreeMap<_, _> =
            change.fields.iter().filter_map(|field| Some((field.path.clone(), field.after.clone()?))).collect();
        asked == *set
    };
    match operation {
        Operation::Create { values, memberships } => {
            change.action == Action::Create && fields(values) && change.granted() == *memberships
        }
        Operation::Delete { seen } => change.action == Action::Delete && change.account.as_ref() == Some(&seen.id),
        Operation::Update { seen, set, clear: _, active, add, remove } => {
            change.account.as_ref() == Some(&seen.id)
                && change.active == *active
                && fields(set)
                && change.granted() == *add
                && change.revoked() == *remove
        }
    }
}
