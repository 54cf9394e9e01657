//! What the tasks of one engine share.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use arc_swap::ArcSwapOption;
use chrono::DateTime;
use chrono::Utc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::Measure;
use crate::clock::Clock;
use crate::clock::guard::Guard;
use crate::clock::guard::Reading;
use crate::clock::kept::Kept;
use crate::connector::Connector;
use crate::engine::EngineError;
use crate::engine::Sender;
use crate::engine::folders::Folders;
use crate::engine::left::Left;
use crate::engine::outbox::Bell;
use crate::engine::outbox::Post;
use crate::engine::said::Order;
use crate::engine::said::Said;
use crate::engine::status::SourceStatus;
use crate::engine::status::TargetStatus;
use crate::engine::windows::WindowClock;
use crate::engine::worker::Claim;
use crate::http::rate::Rate;
use crate::metrics::Metrics;
use crate::model::approval::Signed;
use crate::model::audit::AuditEvent;
use crate::model::decision::Decision;
use crate::model::decision::DecisionKind;
use crate::model::ids::Digest;
use crate::model::ids::Realm;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::plan::Hold;
use crate::model::plan::HoldKind;
use crate::model::snapshot::Snapshot;
use crate::model::target::Target;
use crate::model::user::User;
use crate::project::Projector;
use crate::source::Source;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::WindowTime;
use crate::store::journal::Journal;

/// Makes the connector of a target, or says why it cannot.
pub type ConnectorFactory = Arc<dyn Fn(&Target) -> Result<Arc<dyn Connector>, String> + Send + Sync>;

/// What an engine is built from.
pub struct Parts {
    /// What is remembered.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where desired users come from.
    pub source: Arc<dyn Source>,
    /// How targets are reached.
    pub connectors: ConnectorFactory,
    /// Percent of the accepted access that one load may take away.
    pub max_shrink_percent: u32,
}

/// Whether the engine runs by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// Watches its source, keeps schedules, starts with a cycle of each target.
    Daemon,
    /// Acts only when asked.
    Once,
}

/// The snapshot that plans start from.
#[derive(Debug)]
pub struct Current {
    /// The users and roles.
    pub snapshot: Arc<Snapshot>,
    /// Counts accepted loads.
    pub generation: u64,
    /// When the documents last changed it.
    pub at: DateTime<Utc>,
    /// Users as the last accepted load has them whom documents narrowed since that nobody accepted.
    pub narrowed_from: BTreeMap<RecordId, User>,
}

impl Current {
    /// The last accepted load, whatever narrowed it since.
    pub fn accepted(&self) -> Arc<Snapshot> {
        if self.narrowed_from.is_empty() {
            return Arc::clone(&self.snapshot);
        }
        let mut accepted = Snapshot::clone(&self.snapshot);
        accepted.users.extend(self.narrowed_from.values().cloned());
        Arc::new(accepted)
    }
}

/// A worker, seen from outside.
#[derive(Clone)]
pub struct Handle {
    /// What its document says.
    pub target: Arc<Target>,
    /// Its templates, compiled.
    pub projector: Arc<Projector>,
    /// How it is reached.
    pub connector: Arc<dyn Connector>,
    /// How many requests a second it gets.
    pub rate: Rate,
    /// What its document loosens and nobody released.
    pub loosening: Option<Hold>,
    /// Whether its document is not as it was accepted last: the daemon started with a load that is
    /// held or refused.
    pub unaccepted: bool,
    /// Takes commands.
    pub sender: Sender,
    /// What it last said of itself.
    pub status: Arc<Mutex<TargetStatus>>,
    /// Cancelled once it said for the first time how things are.
    pub told: CancellationToken,
    /// Ends it.
    pub cancel: CancellationToken,
    /// Cancelled once it has ended: its successor waits, so that a user never has two calls.
    pub ended: CancellationToken,
}

/// What the tasks of one engine share.
pub struct Shared {
    /// What is remembered.
    pub store: Arc<dyn Store>,
    /// Where narrowing is written down while the store is away; without one it waits.
    pub(crate) journal: Option<Arc<dyn Journal>>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) connectors: ConnectorFactory,
    pub(crate) max_shrink_percent: u32,
    /// Ends every task.
    pub cancel: CancellationToken,
    /// Every task.
    pub tasks: TaskTracker,
    pub(crate) current: ArcSwapOption<Current>,
    pub(crate) source_status: Mutex<SourceStatus>,
    pub(crate) handles: Mutex<BTreeMap<TargetName, Handle>>,
    /// Which targets work in which realm, in the order in which they came.
    pub(crate) claims: Mutex<BTreeMap<Realm, Vec<Claim>>>,
    /// Workers that were told to end, by target.
    pub(crate) leaving: Mutex<BTreeMap<TargetName, CancellationToken>>,
    /// Whether the clock is believed.
    pub(crate) guard: Mutex<Guard>,
    /// What the store was told of the clock last.
    pub(crate) clock_told: Mutex<Kept>,
    /// What workers were told of that last.
    pub(crate) clock_was_trusted: AtomicBool,
    /// What people said that holds everywhere.
    pub(crate) said: ArcSwap<Said>,
    /// What people signed, as the last accepted load has it.
    pub(crate) signed: ArcSwap<BTreeMap<TargetName, Vec<Signed>>>,
    /// What the file beside the store says.
    pub(crate) order: Order,
    /// Words that hold everywhere are taken one after another.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Whether it runs by itself, from its start on.
    pub(crate) running: OnceLock<Running>,
    /// Accounts in places that no target works in.
    pub(crate) left: Left,
    /// Folders of users, as the last view of them found them.
    pub(crate) folders: Mutex<Folders>,
    /// The time by which windows slide.
    pub(crate) windows: Mutex<WindowClock>,
    /// Whether the targets act as the last load that was accepted wants them to, and the store knows.
    pub(crate) settled: AtomicBool,
    /// How much the last snapshot grants.
    pub(crate) measure: Mutex<Measure>,
    /// Loads are judged one after another.
    pub(crate) intake: tokio::sync::Mutex<()>,
    /// How people and programs are told.
    pub(crate) post: OnceLock<Post>,
    /// Wakes who hands messages over.
    pub(crate) bell: Bell,
    /// Invites are redeemed and sent again one after another.
    pub(crate) invite_turn: tokio::sync::Mutex<()>,
    /// Whom the store did not answer last, and why: workers by target, and loads.
    store_away: Mutex<BTreeMap<Option<TargetName>, String>>,
}

/// A lock whose holder panicked is taken all the same: what it guards is replaced as a whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(parts: Parts, journal: Option<Arc<dyn Journal>>) -> Self {
        let Parts { store, clock, metrics, source, connectors, max_shrink_percent } = parts;
        let guard = Mutex::new(Guard::new(Reading::of(&*clock)));
        let windows = Mutex::new(WindowClock::new(&*clock, WindowTime::default(), None));
        let source_status = SourceStatus { name: source.name().to_owned(), ..SourceStatus::default() };
        Self {
            store,
            journal,
            clock,
            metrics,
            source,
            connectors,
            max_shrink_percent,
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
            current: ArcSwapOption::empty(),
            source_status: Mutex::new(source_status),
            handles: Mutex::new(BTreeMap::new()),
            claims: Mutex::default(),
            leaving: Mutex::new(BTreeMap::new()),
            guard,
            clock_told: Mutex::default(),
            clock_was_trusted: AtomicBool::new(true),
            said: ArcSwap::from_pointee(Said::default()),
            signed: ArcSwap::default(),
            order: Order::default(),
            turn: tokio::sync::Mutex::new(()),
            running: OnceLock::new(),
            left: Left::default(),
            folders: Mutex::default(),
            windows,
            settled: AtomicBool::new(false),
            measure: Mutex::default(),
            intake: tokio::sync::Mutex::new(()),
            post: OnceLock::new(),
            bell: Bell::default(),
            invite_turn: tokio::sync::Mutex::new(()),
            store_away: Mutex::new(BTreeMap::new()),
        }
    }

    /// Notes whether the store did what a worker, or else a load, asked of it last.
    pub(crate) fn store_answered(&self, who: Option<&TargetName>, error: Option<&StoreError>) {
        let mut away = lock(&self.store_away);
        match error {
            Some(error) => drop(away.insert(who.cloned(), error.to_string())),
            None => drop(away.remove(&who.cloned())),
        }
        self.metrics.store_away.set(i64::from(!away.is_empty()));
    }

    /// Why the store does not answer somebody, with what to do; `None` where it answers everybody.
    pub(crate) fn store_away(&self) -> Option<String> {
        lock(&self.store_away).values().next().cloned()
    }

    /// The snapshot that plans start from.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.current.load().as_ref().map(|current| Arc::clone(&current.snapshot))
    }

    pub(crate) fn source_status(&self) -> SourceStatus {
        lock(&self.source_status).clone()
    }

    pub(crate) fn target_statuses(&self) -> Vec<TargetStatus> {
        lock(&self.handles).values().map(|handle| lock(&handle.status).clone()).collect()
    }

    pub(crate) fn targets(&self) -> Vec<Arc<Target>> {
        lock(&self.handles).values().map(|handle| Arc::clone(&handle.target)).collect()
    }

    pub(crate) fn handle(&self, target: &TargetName) -> Result<Handle, EngineError> {
        lock(&self.handles).get(target).cloned().ok_or_else(|| EngineError::NoTarget(target.clone()))
    }

    pub(crate) fn sender(&self, target: &TargetName) -> Option<Sender> {
        lock(&self.handles).get(target).map(|handle| handle.sender.clone())
    }

    /// Refuses a decision about something that is not what waits now.
    pub(crate) fn check_decision(&self, decision: Decision) -> Result<Decision, EngineError> {
        let decision = self.about_a_hold(decision)?;
        self.check_digest(&decision)?;
        Ok(decision)
    }

    /// A release of a policy is a decision of its own; a freeze is released by nobody.
    fn about_a_hold(&self, decision: Decision) -> Result<Decision, EngineError> {
        let (DecisionKind::Release, Some(target), Some(digest)) = (decision.kind, &decision.target, &decision.digest)
        else {
            return Ok(decision);
        };
        let handle = self.handle(target)?;
        let status = lock(&handle.status);
        match status.holds.iter().find(|hold| hold.digest == *digest).map(|hold| hold.limit) {
            Some(HoldKind::Loosen) => Ok(Decision { kind: DecisionKind::Loosen, ..decision.clone() }),
            Some(HoldKind::Freeze) => Err(EngineError::Stale(
                "a freeze is released by nobody: it ends by itself; to end it before, take it out of the target's document"
                    .to_owned(),
            )),
            Some(HoldKind::FirstContact) => Err(EngineError::Stale(format!(
                "nothing was let through in `{target}` yet; `rosterd enforce {target} {digest}` lets its first plan through"
            ))),
            _ => Ok(decision.clone()),
        }
    }

    fn check_digest(&self, decision: &Decision) -> Result<(), EngineError> {
        let waits: BTreeSet<Digest> = match (decision.kind, &decision.target) {
            (DecisionKind::Suspend | DecisionKind::Resume, Some(target)) => return self.handle(target).map(drop),
            (DecisionKind::AcceptShrink, _) => {
                self.source_status().shrink.into_iter().map(|shrink| shrink.digest).collect()
            }
            (_, Some(target)) => {
                let handle = self.handle(target)?;
                let status = lock(&handle.status);
                status.holds.iter().map(|hold| hold.digest.clone()).collect()
            }
            (_, None) => BTreeSet::new(),
        };
        if decision.digest.as_ref().is_some_and(|digest| waits.contains(digest)) {
            return Ok(());
        }
        let shown = waits.iter().map(|digest| format!("`{digest}`")).collect::<Vec<_>>().join(", ");
        let words = if shown.is_empty() {
            "nothing waits for this decision; `rosterd status` shows what does".to_owned()
        } else {
            let look = if decision.kind == DecisionKind::AcceptShrink { "status" } else { "holds list" };
            format!("what waits now is {shown}; look at it with `rosterd {look}`, then decide about that")
        };
        Err(EngineError::Stale(words))
    }
}

/// The audit event of a decision.
pub(crate) fn decision_event(decision: &Decision) -> AuditEvent {
    let Decision { kind, target, record, digest, by, at, reason, until, account, halts } = decision;
    let mut details = BTreeMap::new();
    if let Some(digest) = digest {
        details.insert("digest".to_owned(), digest.as_str().into());
    }
    if let Some(reason) = reason {
        details.insert("reason".to_owned(), reason.as_str().into());
    }
    if let Some(until) = until {
        details.insert("until".to_owned(), until.to_rfc3339().into());
    }
    if let Some(account) = account {
        details.insert("account".to_owned(), account.as_str().into());
    }
    if let Some(halts) = halts {
        details.insert("halts".to_owned(), format!("{halts:?}").to_lowercase().into());
    }
    AuditEvent {
        at: *at,
        target: target.clone(),
        kind: kind.as_str().to_owned(),
        actor: by.clone(),
        record: record.clone(),
        cycle: None,
        details,
    }
}
