//! The engine: from snapshots and triggers to cycles, calls and records of them.
//!
//! One [`intake`] task turns loads into accepted snapshots. One [`worker`] task for each target
//! owns that target's queue, links and calls; workers never wait for one another (L15). A trigger
//! carries a key, never the news: a worker reads the newest snapshot again before each call.

mod addressed;
mod applied;
pub mod bounded;
mod digests;
pub mod ends;
pub mod explain;
mod folders;
pub mod guardrail;
pub mod identity;
pub mod intake;
pub mod invites;
pub mod left;
pub mod linking;
pub mod look;
pub mod operation;
pub mod outbox;
pub mod pace;
pub mod past;
pub(crate) mod permits;
pub mod policy;
pub mod queue;
pub mod receipt;
pub mod regain;
pub mod requests;
pub mod said;
pub mod shared;
mod signed;
pub mod status;
pub mod time;
mod turns;
mod unclaimed;
pub mod undo;
mod welcome;
pub mod what_if;
pub mod windows;
pub mod worker;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::engine::invites::Resent;
use crate::engine::look::LookError;
use crate::engine::outbox::Post;
use crate::engine::receipt::Receipt;
use crate::engine::shared::Shared;
use crate::engine::status::Explanation;
use crate::engine::status::LeftAccount;
use crate::engine::status::SourceStatus;
use crate::engine::status::Status;
use crate::engine::status::SyncReport;
use crate::engine::status::Undelivered;
use crate::engine::undo::Undo;
use crate::engine::worker::Message;
use crate::model::audit::AuditEvent;
use crate::model::change::Change;
use crate::model::decision::Decision;
use crate::model::decision::DecisionKind;
use crate::model::history::Trigger;
use crate::model::ids::AccountId;
use crate::model::ids::CycleId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::invite::Invite;
use crate::model::invite::InviteFilter;
use crate::model::plan::Plan;
use crate::model::snapshot::Snapshot;
use crate::model::target::Target;
use crate::store::StoreError;
use crate::store::Write;
use crate::store::journal::Journal;

pub use crate::engine::said::StopFile;
pub use crate::engine::shared::ConnectorFactory;
pub use crate::engine::shared::Parts;
pub use crate::engine::shared::Running;

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No target of that name.
    #[error("there is no target `{0}`; `rosterd targets` lists them")]
    NoTarget(TargetName),
    /// No user of that record id.
    #[error("no user `{0}` is declared and none is linked")]
    NoUser(RecordId),
    /// Nothing was accepted yet.
    #[error("no snapshot was accepted yet: {0}")]
    NoSnapshot(String),
    /// What was decided about is not what stands there now.
    #[error("{0}")]
    Stale(String),
    /// The target did not answer.
    #[error("{0}")]
    Target(String),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be taken as it was said.
    #[error("{0}")]
    Invalid(String),
    /// A person did this too often within an hour.
    #[error("{0}")]
    TooMany(String),
    /// The daemon is stopping.
    #[error("rosterd is stopping; ask again after its restart")]
    Stopping,
}

/// What a caller asks of `sync`.
#[derive(Clone, Debug, Default)]
pub struct SyncRequest {
    /// Only these users; `None` is a full cycle.
    pub records: Option<BTreeSet<RecordId>>,
    /// Only these changes, where they still follow (a saved plan).
    pub only: Option<Vec<Change>>,
}

/// The engine of one installation. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// Builds the engine; nothing runs before [`Engine::start`].
    pub fn new(parts: Parts) -> Self {
        Self { shared: Arc::new(Shared::new(parts, None)) }
    }

    /// The same, with a journal: narrowing that was recorded as owed goes on while the store is away.
    pub fn with_journal(parts: Parts, journal: Arc<dyn Journal>) -> Self {
        Self { shared: Arc::new(Shared::new(parts, Some(journal))) }
    }

    /// Obeys a file by which anybody who has the disk halts calls; to be said before the start.
    pub fn obey(&self, file: Arc<dyn StopFile>) {
        self.shared.order.obey(file);
    }

    /// Tells people and programs by these; to be said before the start. Without it nothing is told, and
    /// no account is made whose person was to be written to.
    pub fn tell_by(&self, post: Post) {
        // Said twice, the first word stands: tasks may run by it.
        drop(self.shared.post.set(post));
    }

    /// Invites, the newest first.
    pub async fn invites(&self, filter: &InviteFilter) -> Result<Vec<Invite>, EngineError> {
        invites::list(&self.shared, filter).await
    }

    /// Sends the newest invite of each of these users again; `by` asked for it.
    pub async fn resend(
        &self,
        target: &TargetName,
        records: &BTreeSet<RecordId>,
        by: &str,
    ) -> Result<Vec<Resent>, EngineError> {
        invites::resend(&self.shared, target, records, by).await
    }

    /// A person came to `target` by the link with this token; `by` is the application that says so.
    ///
    /// # Errors
    /// [`EngineError::Stale`] where the link is not good.
    pub async fn redeem(&self, target: &TargetName, token: &str, by: &str) -> Result<Invite, EngineError> {
        invites::redeem(&self.shared, target, token, by).await
    }

    /// Loads the source once, and starts a worker for each target.
    ///
    /// With [`Running::Daemon`] the source is watched, schedules run and a startup cycle begins at
    /// once; with [`Running::Once`] cycles run only when [`Engine::sync`] asks.
    ///
    /// # Errors
    /// Where the store does not answer. A source that gives nothing is no error: the last accepted
    /// snapshot stands, and `status` says what is wrong.
    pub async fn start(&self, running: Running) -> Result<(), EngineError> {
        intake::start(&self.shared, running).await?;
        outbox::start(&self.shared, running);
        if running == Running::Daemon && self.shared.post.get().is_some() {
            self.shared.tasks.spawn(invites::watch(Arc::clone(&self.shared)));
            self.shared.tasks.spawn(digests::watch(Arc::clone(&self.shared)));
        }
        Ok(())
    }

    /// Waits for calls in flight, records their outcomes and ends every task.
    pub async fn stop(&self) {
        self.shared.cancel.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// What the newest load gave.
    pub fn source(&self) -> SourceStatus {
        self.shared.source_status()
    }

    /// Everything that `status` shows.
    pub fn status(&self) -> Status {
        let stopped = said::stopped(&self.shared);
        let revoked = said::revoked(&self.shared);
        let clock = self.shared.clock_doubt();
        let (targets, store) = (self.shared.target_statuses(), self.store_away());
        Status {
            stopped,
            revoked,
            source: self.source(),
            targets,
            left_behind: left::found(&self.shared),
            clock,
            store,
            undelivered: Vec::new(),
        }
    }

    /// Channels of which messages were tried in vain.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn undelivered(&self) -> Result<Vec<Undelivered>, EngineError> {
        Ok(outbox::undelivered(&*self.shared.store).await?)
    }

    /// Looks again which accounts are left behind where no target works; [`Engine::status`] tells.
    ///
    /// # Errors
    /// Where the store does not answer: what was found before stands.
    pub async fn look_left_behind(&self) -> Result<(), EngineError> {
        Ok(left::look(&self.shared, None).await?)
    }

    /// The accounts of one user that are left behind where no target works.
    pub async fn left_behind(&self, record: &RecordId) -> Result<Vec<LeftAccount>, EngineError> {
        Ok(left::of_user(&self.shared, record).await?)
    }

    /// Why the store does not answer, as far as anybody here asked it; `None` where it does.
    pub fn store_away(&self) -> Option<String> {
        self.shared.store_away()
    }

    /// The accepted snapshot.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.shared.snapshot()
    }

    /// The targets as their documents describe them, by name.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        self.shared.targets()
    }

    /// Reads the source again now.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn reload(&self) -> Result<SourceStatus, EngineError> {
        intake::reload(&self.shared).await?;
        Ok(self.source())
    }

    /// Runs a cycle now and waits for its end: every change confirmed, failed, or waiting for
    /// another try.
    pub async fn sync(&self, target: &TargetName, request: SyncRequest) -> Result<SyncReport, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.send(target, Message::Sync(request, Trigger::Manual, reply))?;
        let report = answer.await.map_err(|_| EngineError::Stopping)??;
        applied::tell_apart(&self.shared, report).await
    }

    /// What a cycle of `target` would do, from `snapshot` or the accepted one. Writes nothing.
    pub async fn plan(
        &self,
        target: &TargetName,
        snapshot: Option<Arc<Snapshot>>,
        records: Option<BTreeSet<RecordId>>,
    ) -> Result<Plan, EngineError> {
        look::plan(&self.shared, target, (snapshot, self.shared.judged()), records).await
    }

    /// The same, as it would be at `at`: what begins and ends until then, by the windows, freezes and
    /// releases that will stand by then if nothing else is counted. Writes nothing, and is no plan to be
    /// applied.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] where `at` lies in the past.
    pub async fn plan_at(
        &self,
        target: &TargetName,
        snapshot: Option<Arc<Snapshot>>,
        records: Option<BTreeSet<RecordId>>,
        at: DateTime<Utc>,
    ) -> Result<Plan, EngineError> {
        if at < self.shared.judged() {
            let words = format!("{} lies in the past; `rosterd history` tells what happened then", at.to_rfc3339());
            return Err(EngineError::Invalid(words));
        }
        look::plan(&self.shared, target, (snapshot, at), records).await
    }

    /// Why the account of `record` looks as it does, or is missing.
    pub async fn explain(&self, record: &RecordId, target: &TargetName) -> Result<Explanation, EngineError> {
        explain::explain(&self.shared, record, target, None).await
    }

    /// What a change of the user's document would do there ([`what_if`] says how it is written).
    /// Nothing is stored or sent.
    pub async fn explain_if(
        &self,
        record: &RecordId,
        target: &TargetName,
        change: &str,
    ) -> Result<Explanation, EngineError> {
        let snapshot = self.snapshot().ok_or_else(|| look::no_snapshot(&self.shared))?;
        let changed = what_if::changed(&snapshot, record, change)?;
        explain::explain(&self.shared, record, target, Some(Arc::new(changed))).await
    }

    /// What undoing a cycle comes to. Looks at its target, and writes nothing.
    ///
    /// # Errors
    /// [`EngineError::Stale`] where there is no such cycle, or its target is another system by now.
    pub async fn undo_plan(&self, cycle: &CycleId) -> Result<Undo, EngineError> {
        Ok(undo::prepare(&self.shared, cycle).await?.undo)
    }

    /// Undoes what of a cycle can be undone, under today's limits; `event` says who asked.
    ///
    /// # Errors
    /// [`EngineError::Stale`] where nothing can be undone.
    pub async fn undo(&self, cycle: &CycleId, mut event: AuditEvent) -> Result<SyncReport, EngineError> {
        let undo::Prepared { undo, seen } = undo::prepare(&self.shared, cycle).await?;
        let target = undo.cycle.space.target.clone();
        if undo.changes.is_empty() {
            let words = format!("nothing of cycle `{cycle}` can be undone; `rosterd undo {cycle}` says why");
            return Err(EngineError::Stale(words));
        }
        event.target = Some(target.clone());
        event.details.insert("cycle".to_owned(), cycle.as_str().into());
        self.audit(event).await?;
        let (reply, answer) = oneshot::channel();
        self.send(&target, Message::Undo(undo.changes, seen, reply))?;
        answer.await.map_err(|_| EngineError::Stopping)?
    }

    /// Whether anything is known of a user: a document, a link, a call or a revocation.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn knows_user(&self, record: &RecordId) -> Result<bool, EngineError> {
        said::is_known(&self.shared, &said::aliases(&self.shared, record)).await
    }

    /// Whether a target is declared, or ever was.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn knows_target(&self, name: &TargetName) -> Result<bool, EngineError> {
        Ok(left::targets(&self.shared).await?.contains(name))
    }

    /// Where a user has access now, every call that was made about it, and what is owed.
    ///
    /// # Errors
    /// [`EngineError::NoUser`] where nobody of that record id is known.
    pub async fn receipt(&self, record: &RecordId) -> Result<Receipt, EngineError> {
        receipt::receipt(&self.shared, record).await
    }

    /// Records what a person decided and acts on it.
    ///
    /// # Errors
    /// [`EngineError::Stale`] where the digest is not what waits now; [`EngineError::TooMany`] where
    /// a person revokes more users within an hour than one may.
    pub async fn decide(&self, decision: Decision) -> Result<(), EngineError> {
        if said::holds_everywhere(decision.kind) {
            return said::say(&self.shared, decision).await;
        }
        let decision = self.shared.check_decision(decision)?;
        let event = shared::decision_event(&decision);
        // A policy that is released replaces the worker of its target.
        let target = decision.target.clone().filter(|_| decision.kind != DecisionKind::Loosen);
        let mut writes = permits::given(&self.shared, &decision).await?;
        writes.extend([Write::Decision(decision), Write::Audit(event)]);
        self.shared.store.commit(writes, self.shared.store.fence()).await?;
        match target {
            Some(target) => self.send(&target, Message::Decided),
            None => intake::reload(&self.shared).await,
        }
    }

    /// Believes the clock as it is: a person's word, whatever speaks against it.
    pub async fn trust_clock(&self, event: AuditEvent) -> Result<(), EngineError> {
        let trusting = self.shared.trusting();
        let writes = vec![Write::Clock(trusting.1.clone()), Write::Audit(event)];
        self.shared.store.commit(writes, self.shared.store.fence()).await?;
        self.shared.trust_clock(trusting);
        Ok(())
    }

    /// Links a user to an existing account: a person's word.
    pub async fn link(
        &self,
        target: &TargetName,
        record: &RecordId,
        account: &AccountId,
        by: &str,
    ) -> Result<SyncReport, EngineError> {
        let link = linking::link(&self.shared, target, record, account, by).await?;
        let (reply, answer) = oneshot::channel();
        let request = SyncRequest { records: Some(BTreeSet::from([record.clone()])), only: None };
        self.send(target, Message::Linked(link, request, reply))?;
        answer.await.map_err(|_| EngineError::Stopping)?
    }

    /// Gives back what another hand ended: a person's word, which acts once.
    ///
    /// # Errors
    /// [`EngineError::Stale`] where no other hand ended anything, or only the target can open it.
    pub async fn regain(
        &self,
        target: &TargetName,
        record: &RecordId,
        by: &str,
        reason: Option<String>,
    ) -> Result<SyncReport, EngineError> {
        let account = regain::regain(&self.shared, target, record, by, reason).await?;
        let (reply, answer) = oneshot::channel();
        let request = SyncRequest { records: Some(BTreeSet::from([record.clone()])), only: None };
        self.send(target, Message::Regained(account, request, reply))?;
        answer.await.map_err(|_| EngineError::Stopping)?
    }

    /// Writes an audit event that no cycle writes.
    pub async fn audit(&self, event: AuditEvent) -> Result<(), EngineError> {
        Ok(self.shared.store.commit(vec![Write::Audit(event)], self.shared.store.fence()).await?)
    }

    fn send(&self, target: &TargetName, message: Message) -> Result<(), EngineError> {
        let sender = self.shared.sender(target).ok_or_else(|| EngineError::NoTarget(target.clone()))?;
        sender.send(message).map_err(|_| EngineError::Stopping)
    }
}

/// Commands to one worker.
pub(crate) type Sender = mpsc::UnboundedSender<Message>;

impl From<LookError> for EngineError {
    fn from(error: LookError) -> Self {
        Self::Target(error.to_string())
    }
}
