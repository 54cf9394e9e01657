//! A whole engine over stand-ins, on a paused clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use rosterd::clock::Clock;
use rosterd::clock::TestClock;
use rosterd::connector::Connector;
use rosterd::engine::Engine;
use rosterd::engine::EngineError;
use rosterd::engine::Parts;
use rosterd::engine::Running;
use rosterd::engine::SyncRequest;
use rosterd::engine::status::SyncReport;
use rosterd::engine::status::TargetStatus;
use rosterd::manifest::Documents;
use rosterd::metrics::Metrics;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::ids::Digest;
use rosterd::model::ids::TargetName;
use rosterd::model::plan::HoldKind;

use crate::support::journal::MemoryJournal;
use crate::support::source::MemorySource;
use crate::support::store::MemoryStore;
use crate::support::target::MemoryTarget;

pub(crate) struct Rig {
    pub(crate) engine: Engine,
    pub(crate) source: Arc<MemorySource>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) journal: Arc<MemoryJournal>,
    targets: BTreeMap<TargetName, Arc<MemoryTarget>>,
}

/// Noon of a day without anything special.
pub(crate) fn noon() -> DateTime<Utc> {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

impl Rig {
    /// An engine that has not started.
    pub(crate) fn new(documents: Documents) -> Self {
        let targets = MemoryTarget::of_each(documents.targets.iter().map(|target| target.name.clone()));
        Self::over(documents, targets, Arc::default())
    }

    /// An engine over a target and a store that another one left behind.
    pub(crate) fn over(
        documents: Documents,
        targets: BTreeMap<TargetName, Arc<MemoryTarget>>,
        store: Arc<MemoryStore>,
    ) -> Self {
        Self::with_journal(documents, targets, store, Arc::default())
    }

    /// The same, over the journal that another one left behind, too.
    pub(crate) fn with_journal(
        documents: Documents,
        targets: BTreeMap<TargetName, Arc<MemoryTarget>>,
        store: Arc<MemoryStore>,
        journal: Arc<MemoryJournal>,
    ) -> Self {
        let source = Arc::new(MemorySource::new(documents));
        let clock = Arc::new(TestClock::new(noon()));
        let metrics = Arc::new(Metrics::new());
        let reached = targets.clone();
        let parts = Parts {
            store: Arc::<MemoryStore>::clone(&store),
            clock: Arc::<TestClock>::clone(&clock),
            metrics: Arc::clone(&metrics),
            source: Arc::<MemorySource>::clone(&source),
            connectors: Arc::new(move |target| {
                let connector = reached.get(&target.name).cloned().ok_or_else(|| "no such stand-in".to_owned())?;
                Ok(connector as Arc<dyn Connector>)
            }),
            max_shrink_percent: 20,
        };
        let engine = Engine::with_journal(parts, Arc::<MemoryJournal>::clone(&journal));
        Self { engine, source, store, clock, metrics, journal, targets }
    }

    /// An engine that runs as a daemon and has come to rest.
    pub(crate) async fn started(documents: Documents) -> Self {
        let rig = Self::new(documents);
        rig.engine.start(Running::Daemon).await.unwrap();
        rig.rest().await;
        rig
    }

    pub(crate) fn target(&self, name: &str) -> &MemoryTarget {
        &self.targets[&TargetName::from(name)]
    }

    /// What a successor finds.
    pub(crate) fn remains(&self) -> (BTreeMap<TargetName, Arc<MemoryTarget>>, Arc<MemoryStore>) {
        (self.targets.clone(), Arc::clone(&self.store))
    }

    /// Another engine over what this one leaves behind, at the time that its clock shows.
    pub(crate) async fn restarted(self, documents: Documents) -> Self {
        let now = self.now();
        let (targets, store) = self.remains();
        self.engine.stop().await;
        let next = Self::over(documents, targets, store);
        next.clock.step(now - noon());
        next.engine.start(Running::Daemon).await.unwrap();
        next.rest().await;
        next
    }

    pub(crate) fn status(&self, name: &str) -> TargetStatus {
        self.engine.status().targets.into_iter().find(|target| target.name.as_str() == name).unwrap()
    }

    /// Lets virtual time pass; every task runs as far as it can.
    pub(crate) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Until nothing that is due is left (half a second is long where no latency is set).
    pub(crate) async fn rest(&self) {
        self.pass(Duration::from_millis(500)).await;
    }

    /// New documents, and time to act on them.
    pub(crate) async fn declare(&self, documents: Documents) {
        self.source.set(Ok(documents));
        self.rest().await;
    }

    pub(crate) async fn sync(&self, target: &str) -> Result<SyncReport, EngineError> {
        self.engine.sync(&target.into(), SyncRequest::default()).await
    }

    /// A full cycle finds nothing to do (L3).
    pub(crate) async fn assert_settled(&self, target: &str) {
        let report = self.sync(target).await.unwrap();
        assert_eq!(report.plan.changes, [], "a second plan is empty");
        assert_eq!(report.plan.holds, [], "nothing is held");
    }

    /// A person lets what `app` holds under this limit through.
    pub(crate) async fn release(&self, limit: HoldKind) {
        let hold = self.status("app").holds.into_iter().find(|hold| hold.limit == limit).unwrap();
        self.engine.decide(self.decision(DecisionKind::Release, Some(hold.digest))).await.unwrap();
        self.rest().await;
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// What a person at the machine decides about `app`.
    pub(crate) fn decision(&self, kind: DecisionKind, digest: Option<Digest>) -> Decision {
        Decision { target: Some("app".into()), digest, ..Decision::new(kind, "local", self.now()) }
    }
}
