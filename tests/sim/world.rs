//! The world around the engine: one true clock, what the documents say, and the log of everything
//! that happened, which is all that judges read.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use chrono::Utc;
use rosterd::clock::Clock;
use rosterd::connector::ErrorClass;
use rosterd::connector::Operation;
use rosterd::manifest::Documents;
use rosterd::model::account::Account;
use rosterd::model::change::Change;
use rosterd::model::decision::DecisionKind;
use rosterd::model::decision::Halts;
use rosterd::model::ids::AccountId;
use rosterd::source::Source;
use rosterd::source::SourceError;
use rosterd::store::Write;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::case::Case;
use crate::case::Death;
use crate::case::Keeping;
use crate::declared::Declared;
use crate::declared::Policy;
use crate::declared::beginning;
use crate::random;
use crate::target::Held;

/// One thing that happened, at a true time.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Milliseconds since the beginning.
    pub(crate) at: u64,
    /// What the engine's clock showed less what it should have shown, in milliseconds.
    pub(crate) skew: i64,
    pub(crate) event: Event,
}

/// What one load gave.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    Failed,
    /// The documents; not sound where some are unreadable.
    Gave(Arc<Declared>),
}

/// A person's word, as it was given.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub(crate) kind: DecisionKind,
    pub(crate) target: Option<usize>,
    pub(crate) record: Option<String>,
    pub(crate) account: Option<AccountId>,
    pub(crate) digest: Option<String>,
    pub(crate) halts: Option<Halts>,
    /// What was shown and released.
    pub(crate) changes: Vec<Change>,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A process began, died, or stopped by itself.
    Life(&'static str),
    /// A step of the case.
    Step(String),
    /// The engine read the documents.
    Loaded(Load),
    /// The engine committed: whether it was kept, and whether the engine was told so.
    Committed { writes: Arc<Vec<Write>>, durable: bool, told: bool },
    /// A write arrived at a target.
    Call { call: u64, target: usize, operation: Arc<Operation> },
    /// It acted: the account before and after.
    Acted { call: u64, target: usize, before: Option<Account>, after: Option<Account> },
    /// It was answered; `None`: done.
    Answered { call: u64, error: Option<ErrorClass> },
    /// A read began at `began` and ended now.
    Read { target: usize, began: u64, what: &'static str, count: usize, proven: bool },
    /// Somebody else did something.
    Hand { target: usize, account: AccountId, what: &'static str, after: Option<Account> },
    /// A person is about to decide.
    Said(Word),
    /// The target's weather, or the store's, turned rough or calm; `None`: the store.
    Turned { target: Option<usize>, rough: bool },
    /// A person decided; whether the engine took it.
    Decided { word: Word, taken: bool },
    /// What the engine says of itself at rest.
    Rest(String),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Life(what) => write!(f, "process {what}"),
            Self::Step(step) => write!(f, "STEP {step}"),
            Self::Loaded(Load::Failed) => f.write_str("load: failed"),
            Self::Loaded(Load::Gave(declared)) => {
                let wrong = if declared.unreadable.is_empty() { "" } else { ", broken" };
                write!(
                    f,
                    "load: {} users ({}{wrong})",
                    declared.people.len(),
                    declared.digest().get(..6).unwrap_or_default()
                )
            }
            Self::Committed { writes, durable, told } => {
                let words: Vec<_> = writes.iter().filter_map(written).collect();
                let how = match (durable, told) {
                    (true, true) => "",
                    (true, false) => " KEPT BUT NOT TOLD",
                    (false, _) => " NOT KEPT",
                };
                write!(f, "commit{how}: {}", words.join("; "))
            }
            Self::Call { call, target, operation } => write!(f, "t{target} call {call}: {}", sent(operation)),
            Self::Acted { call, target, after: None, .. } => write!(f, "t{target} call {call} acted: it is gone"),
            Self::Acted { call, target, after: Some(after), .. } => {
                write!(f, "t{target} call {call} acted: {} is {}", after.id, after.state.as_str())
            }
            Self::Answered { call, error } => {
                write!(f, "call {call} answered: {}", error.map_or("done", ErrorClass::as_str))
            }
            Self::Read { target, what, count, proven, .. } => {
                write!(f, "t{target} {what}: {count} accounts{}", if *proven { "" } else { ", unproven" })
            }
            Self::Hand { target, account, what, .. } => write!(f, "t{target} another hand: {what} {account}"),
            Self::Decided { word, taken } => {
                let what =
                    word.record.as_deref().or(word.digest.as_deref().and_then(|digest| digest.get(..6))).unwrap_or("");
                write!(f, "decided: {} {what} {}", word.kind.as_str(), if *taken { "" } else { "REFUSED" })
            }
            Self::Said(word) => write!(f, "a person says {}", word.kind.as_str()),
            Self::Turned { target, rough } => {
                let what = target.map_or_else(|| "the store".to_owned(), |target| format!("t{target}"));
                write!(f, "{what} is {}", if *rough { "rough" } else { "calm" })
            }
            Self::Rest(words) => write!(f, "at rest: {words}"),
        }
    }
}

/// What a write says, without ids that differ from run to run.
fn written(write: &Write) -> Option<String> {
    match write {
        Write::Link(_, link) => Some(format!("link {}={}", link.record, link.account)),
        Write::Unlink(_, record) => Some(format!("unlink {record}")),
        Write::Intent(intent) => {
            let change = &intent.change;
            let cause = change.cause.map_or(String::new(), |cause| format!(" ({})", cause.as_str()));
            Some(format!("intent {} {}{cause}", change.action.as_str(), change.record))
        }
        Write::Outcome(_, outcome, _) => Some(format!("outcome {outcome:?}")),
        Write::Snapshot(snapshot) => Some(format!(
            "snapshot {} of {} users",
            snapshot.digest.as_str().get(..6).unwrap_or_default(),
            snapshot.snapshot.users.len()
        )),
        Write::Decision(decision) => Some(format!("decision {}", decision.kind.as_str())),
        _ => None,
    }
}

/// What a write asks of the target.
pub(crate) fn sent(operation: &Operation) -> String {
    match operation {
        Operation::Create { values, memberships } => {
            let values: Vec<_> = values.values().map(ToString::to_string).collect();
            format!("create {} {memberships:?}", values.join(" "))
        }
        Operation::Update { seen, set, clear, active, add, remove } => {
            let set: Vec<_> = set.iter().map(|(path, value)| format!("{path}={value}")).collect();
            let state = active.map_or("", |active| if active { " ENABLE" } else { " DISABLE" });
            let list = |word: &str, of: &dyn fmt::Debug, empty: bool| {
                if empty { String::new() } else { format!(" {word} {of:?}") }
            };
            format!(
                "update {}{state} {}{}{}{}",
                seen.id,
                set.join(" "),
                list("clear", clear, clear.is_empty()),
                list("add", add, add.is_empty()),
                list("remove", remove, remove.is_empty())
            )
        }
        Operation::Delete { seen } => format!("delete {}", seen.id),
    }
}

/// Everything that outlives a process.
pub(crate) struct Inner {
    base: u64,
    /// When the process that runs began; `None`: none runs, and time stands.
    started: Option<Instant>,
    skew: i64,
    pub(crate) log: Vec<Entry>,
    pub(crate) declared: Declared,
    pub(crate) source_fails: bool,
    pub(crate) targets: Vec<Held>,
    pub(crate) death: Option<Death>,
    pub(crate) keeping: Option<(Keeping, u64)>,
    /// Until when no commit is kept, and nothing can be read.
    pub(crate) full_until: u64,
    pub(crate) blind_until: u64,
    pub(crate) calls: u64,
    /// The moment, and how often the engine asked for the time in it.
    asked: (u64, u64),
    /// Whether the engine went round and round without time passing.
    pub(crate) spins: bool,
}

/// More often than this nobody asks for the time in one millisecond who gets anywhere.
const MOST_ASKED: u64 = 300_000;

pub(crate) struct World {
    inner: Mutex<Inner>,
    pub(crate) policies: Vec<Policy>,
    pub(crate) store_latency: Duration,
    /// The process died.
    pub(crate) died: Notify,
    changed: Notify,
}

impl World {
    pub(crate) fn new(case: &Case) -> Self {
        let policies: Vec<_> = case.places.iter().map(|place| place.policy.clone()).collect();
        let inner = Inner {
            base: 0,
            started: None,
            skew: 0,
            log: Vec::new(),
            declared: case.declared.clone(),
            source_fails: false,
            targets: case.places.iter().map(Held::new).collect(),
            death: None,
            keeping: None,
            full_until: 0,
            blind_until: 0,
            calls: 0,
            asked: (0, 0),
            spins: false,
        };
        Self {
            inner: Mutex::new(inner),
            policies,
            store_latency: Duration::from_millis(case.store_latency),
            died: Notify::new(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn open(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn note(&self, event: Event) {
        self.open().note(event);
    }

    /// Begins a process, inside its runtime.
    pub(crate) fn begin(&self) {
        let mut inner = self.open();
        inner.started = Some(Instant::now());
        inner.death = None;
        inner.note(Event::Life("begins"));
    }

    /// Ends it: nothing that it still wants has any effect.
    pub(crate) fn end(&self, how: &'static str) {
        let mut inner = self.open();
        if inner.started.is_some() {
            inner.base = inner.now();
            inner.started = None;
            inner.note(Event::Life(how));
        }
        drop(inner);
        self.died.notify_one();
    }

    /// Time between two processes.
    pub(crate) fn pass(&self, milliseconds: u64) {
        self.open().base += milliseconds;
    }

    /// Whatever a dead process still asks is never answered.
    pub(crate) async fn alive(&self) {
        if self.open().started.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// The folder changed.
    pub(crate) fn publish(&self) {
        self.changed.notify_one();
    }

    pub(crate) fn step_clock(&self, seconds: i64) {
        self.open().skew += seconds * 1_000;
    }

    pub(crate) fn right_clock(&self) {
        self.open().skew = 0;
    }
}

impl Inner {
    /// Milliseconds since the beginning, by the true clock.
    pub(crate) fn now(&self) -> u64 {
        let running = self.started.map_or(0, |started| u64::try_from(started.elapsed().as_millis()).unwrap());
        self.base + running
    }

    pub(crate) fn note(&mut self, event: Event) {
        let entry = Entry { at: self.now(), skew: self.skew, event };
        self.log.push(entry);
    }

    pub(crate) fn skew(&self) -> i64 {
        self.skew
    }
}

/// The engine's clock: true time and what somebody did to it.
pub(crate) struct WallClock(pub(crate) Arc<World>);

impl Clock for WallClock {
    fn now(&self) -> DateTime<Utc> {
        let mut inner = self.0.open();
        let now = inner.now();
        inner.asked = if inner.asked.0 == now { (now, inner.asked.1 + 1) } else { (now, 0) };
        let stops = inner.asked.1 > MOST_ASKED && inner.started.is_some();
        inner.spins |= stops;
        let shown = i64::try_from(now).unwrap() + inner.skew();
        drop(inner);
        if stops {
            self.0.end("spins");
        }
        beginning() + chrono::Duration::milliseconds(shown)
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(self.0.open().now())
    }
}

pub(crate) struct Folder(pub(crate) Arc<World>);

#[async_trait]
impl Source for Folder {
    fn name(&self) -> &'static str {
        "folder"
    }

    async fn load(&self) -> Result<Documents, SourceError> {
        self.0.alive().await;
        let mut inner = self.0.open();
        if inner.source_fails {
            inner.note(Event::Loaded(Load::Failed));
            return Err(SourceError { message: "the folder is gone; put it back".to_owned() });
        }
        let declared = Arc::new(inner.declared.clone());
        inner.note(Event::Loaded(Load::Gave(Arc::clone(&declared))));
        Ok(declared.documents(&self.0.policies))
    }

    async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

/// One line of a trace.
pub(crate) fn line(entry: &Entry) -> String {
    let (seconds, millis) = (entry.at / 1_000, entry.at % 1_000);
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let skew = if entry.skew == 0 { String::new() } else { format!(" [{:+} s]", entry.skew / 1_000) };
    format!("{hours:3}:{minutes:02}:{:02}.{millis:03}{skew} {}", seconds % 60, entry.event)
}

/// A number that says whether two runs went the same way.
pub(crate) fn trace_hash(log: &[Entry]) -> u64 {
    log.iter().fold(0, |sum, entry| sum.rotate_left(5) ^ random::hash(&line(entry)))
}
