//! Logs to forge upon.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use rosterd::connector::Operation;
use rosterd::model::account::Account;
use rosterd::model::audit::AuditEvent;
use rosterd::model::change::Action;
use rosterd::model::change::Cause;
use rosterd::model::change::Change;
use rosterd::model::change::Effect;
use rosterd::model::history::Intent;
use rosterd::model::ids::AccountId;
use rosterd::model::list::List;
use rosterd::model::target::Ending;
use rosterd::model::target::Existing;
use rosterd::model::target::Mode;
use rosterd::store::Write;

use crate::case::Case;
use crate::case::Place;
use crate::case::Step;
use crate::case::Timed;
use crate::case::mail;
use crate::case::record;
use crate::declared::Declared;
use crate::declared::Gift;
use crate::declared::Paper;
use crate::declared::Person;
use crate::declared::Policy;
use crate::drive;
use crate::judges::Bench;
use crate::judges::Violation;
use crate::world::Entry;
use crate::world::Event;
use crate::world::Load;
use crate::world::line;

/// A log of a run and what is added to it.
pub(crate) struct Forge {
    pub(crate) case: Case,
    pub(crate) log: Vec<Entry>,
    /// Documents that are in force at its end.
    pub(crate) declared: Declared,
    intent: Intent,
    event: AuditEvent,
    forged: u64,
}

/// Users of the run.
const USERS: u64 = 8;

fn case(targets: usize) -> Case {
    let policy = |number| Policy {
        name: format!("t{number}"),
        existing: Existing::Refuse,
        on_gone: Ending::Disable,
        on_out_of_scope: Ending::Disable,
        updates: true,
        concurrency: 4,
        rate: None,
        every: None,
        delete_after: Some(7_200),
    };
    let place = |number| Place {
        policy: policy(number),
        latency: 10,
        visible_within: 0,
        unique: true,
        strangers: vec!["stranger@else.example".to_owned(), "svc-backup".to_owned()],
    };
    let person = |number| Person {
        mail: mail(number),
        given: 0,
        family: "Family".to_owned(),
        active: true,
        from: None,
        until: None,
        roles: BTreeMap::from([(0, None)]),
        formerly: Vec::new(),
    };
    let gift = |target| Gift { target, words: BTreeSet::from([0]) };
    let declared = Declared {
        people: (0..USERS).map(|number| (record(number), person(number))).collect(),
        roles: vec![(0..targets).map(gift).collect()],
        papers: vec![Paper { mode: Mode::Enforce, inferred: 2, explicit: 1_000 }; targets],
        unreadable: BTreeSet::new(),
    };
    let hour = 3_600_000;
    let steps =
        vec![Timed { step: Step::Sync(0), wait: 10_000 }, Timed { step: Step::Release { first: false }, wait: hour }];
    Case { seed: 0, places: (0..targets).map(place).collect(), declared, steps, store_latency: 0 }
}

impl Forge {
    /// A run in which nothing went wrong, with these steps after everybody is in.
    pub(crate) fn after(targets: usize, steps: impl IntoIterator<Item = (Step, u64)>) -> Self {
        let mut case = case(targets);
        case.steps.extend(steps.into_iter().map(|(step, wait)| Timed { step, wait }));
        let run = drive::run(&case);
        assert_eq!(run.violation, None, "nothing went wrong");
        let writes = run
            .log
            .iter()
            .filter_map(|entry| if let Event::Committed { writes, .. } = &entry.event { Some(writes) } else { None });
        let mut intent = None;
        let mut event = None;
        for write in writes.flat_map(|writes| writes.iter()) {
            match write {
                Write::Intent(of) => intent = Some(of.clone()),
                Write::Audit(of) if of.kind == "intent" => event = Some(of.clone()),
                _ => {}
            }
        }
        let declared = run.log.iter().rev().find_map(|entry| {
            if let Event::Loaded(Load::Gave(declared)) = &entry.event { Some(Declared::clone(declared)) } else { None }
        });
        Self {
            case,
            log: run.log,
            declared: declared.unwrap(),
            intent: intent.unwrap(),
            event: event.unwrap(),
            forged: 0,
        }
    }

    pub(crate) fn calm() -> Self {
        Self::after(1, [])
    }

    /// Adds an event, a while after the last.
    pub(crate) fn add(&mut self, event: Event) {
        self.add_later(event, 10_000, 0);
    }

    pub(crate) fn add_later(&mut self, event: Event, later: u64, skew: i64) {
        let at = self.log.last().map_or(0, |last| last.at) + later;
        self.log.push(Entry { at, skew, event });
    }

    /// What the judges say of the whole log.
    pub(crate) fn verdict(&self) -> Option<Violation> {
        Bench::new(&self.case).hear(&self.log)
    }

    /// Expects that this law is seen as broken.
    #[track_caller]
    pub(crate) fn expect(&self, law: &str) {
        let verdict = self.verdict();
        let told: Vec<_> = self.log.iter().rev().take(40).rev().map(line).collect();
        let told = told.join("\n");
        assert!(
            verdict.as_ref().is_some_and(|violation| violation.law == law),
            "{law} expected, {verdict:?} said of\n{told}"
        );
    }

    /// The account of a user in `t0`, as it is.
    pub(crate) fn account(&self, record: &str) -> Account {
        let mut bench = Bench::new(&self.case);
        assert_eq!(bench.hear(&self.log), None);
        let account = bench.facts().accounts_of(0, record).find_map(|fact| fact.account.clone());
        account.expect("the user is in")
    }

    pub(crate) fn stranger(&self, number: u64) -> Account {
        let id = AccountId::from(format!("{number:04}"));
        let bench = Bench::new(&self.case);
        bench.facts().accounts[&(0, id)].account.clone().unwrap()
    }

    pub(crate) fn change(&self, action: Action, record: &str, account: Option<&Account>) -> Change {
        let effect = match action {
            Action::Disable | Action::Narrow | Action::Delete => Effect::Narrows,
            Action::Update => Effect::Neutral,
            Action::Create | Action::Adopt | Action::Reactivate | Action::Restore => Effect::Widens,
        };
        Change {
            record: record.into(),
            account: account.map(|account| account.id.clone()),
            action,
            effect,
            cause: (effect == Effect::Narrows).then_some(Cause::Explicit),
            fields: List::default(),
            grant: List::default(),
            revoke: List::default(),
            active: match action {
                Action::Disable => Some(false),
                Action::Reactivate | Action::Create => Some(true),
                Action::Adopt | Action::Update | Action::Restore | Action::Narrow | Action::Delete => None,
            },
            ..self.intent.change.clone()
        }
    }

    /// An intent for `change` with its audit event.
    pub(crate) fn intent(&mut self, change: Change) -> Vec<Write> {
        self.forged += 1;
        let id = format!("forged-{}", self.forged);
        let mut event = self.event.clone();
        event.details.insert("intent".to_owned(), id.as_str().into());
        let intent = Intent { id: id.as_str().into(), change, ..self.intent.clone() };
        vec![Write::Intent(intent), Write::Audit(event)]
    }

    /// Commits writes, and is told so.
    pub(crate) fn commit(&mut self, writes: Vec<Write>) {
        self.add(Event::Committed { writes: Arc::new(writes), durable: true, told: true });
    }

    /// Sends a change without asking anybody.
    pub(crate) fn send(&mut self, change: &Change, seen: Option<&Account>) {
        let set: BTreeMap<_, _> =
            change.fields.iter().filter_map(|field| Some((field.path.clone(), field.after.clone()?))).collect();
        let operation = match seen {
            None => Operation::Create { values: set, memberships: change.granted() },
            Some(seen) if change.action == Action::Delete => Operation::Delete { seen: Arc::new(seen.clone()) },
            Some(seen) => Operation::Update {
                seen: Arc::new(seen.clone()),
                set,
                clear: BTreeSet::new(),
                active: change.active,
                add: change.granted(),
                remove: change.revoked(),
            },
        };
        let call = 10_000 + self.log.len() as u64;
        self.add_later(Event::Call { call, target: 0, operation: Arc::new(operation) }, 0, 0);
    }

    /// Records a change and sends it.
    pub(crate) fn make(&mut self, change: &Change, seen: Option<&Account>) {
        let writes = self.intent(change.clone());
        self.commit(writes);
        self.send(change, seen);
    }

    /// A load, and where `accepted` says so the snapshot that it became.
    pub(crate) fn load(&mut self, declared: Declared, accepted: bool) {
        let snapshots = self
            .log
            .iter()
            .filter_map(|entry| if let Event::Committed { writes, .. } = &entry.event { Some(writes) } else { None });
        let mut last = snapshots
            .flat_map(|writes| writes.iter())
            .filter_map(|write| if let Write::Snapshot(snapshot) = write { Some(snapshot.clone()) } else { None });
        let mut snapshot = last.next_back().unwrap();
        snapshot.generation += 1;
        snapshot.digest = declared.digest().into();
        self.declared = declared.clone();
        self.add(Event::Loaded(Load::Gave(Arc::new(declared))));
        if accepted {
            self.commit(vec![Write::Snapshot(snapshot)]);
        }
    }

    pub(crate) fn person(&mut self, record: &str, how: impl FnOnce(&mut Person)) -> Declared {
        let mut declared = self.declared.clone();
        how(declared.people.get_mut(record).unwrap());
        declared
    }
}
