//! rosterd over a sample and the embedded directory, with a second hand in the directory.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use chrono::Utc;
use rosterd::clock::Clock;
use rosterd::clock::SystemClock;
use rosterd::clock::TestClock;
use rosterd::connector::Applied;
use rosterd::connector::Capabilities;
use rosterd::connector::Connector;
use rosterd::connector::ConnectorError;
use rosterd::connector::ErrorClass;
use rosterd::connector::Found;
use rosterd::connector::Look;
use rosterd::connector::Operation;
use rosterd::connector::PasswordPaths;
use rosterd::connector::Probe;
use rosterd::connector::Shape;
use rosterd::connector::view::DirectoryView;
use rosterd::connector::view::ViewKind;
use rosterd::connector::view::ViewQuery;
use rosterd::connectors::directory;
use rosterd::connectors::directory::Directory;
use rosterd::engine::ConnectorFactory;
use rosterd::engine::Engine;
use rosterd::engine::Parts;
use rosterd::engine::Running;
use rosterd::engine::SyncRequest;
use rosterd::engine::outbox::Post;
use rosterd::engine::status::SyncReport;
use rosterd::engine::status::TargetStatus;
use rosterd::manifest::OperatorDocuments;
use rosterd::manifest::Rules;
use rosterd::metrics::Metrics;
use rosterd::model::account::Account;
use rosterd::model::change::Action;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::history::CycleRecord;
use rosterd::model::history::Trigger;
use rosterd::model::ids::AccountId;
use rosterd::model::path::AttributePath;
use rosterd::model::plan::Coverage;
use rosterd::model::plan::HoldKind;
use rosterd::model::target::Target;
use rosterd::secrets::keys::Keys;
use rosterd::source::Source;
use rosterd::sources::folder::FolderSource;
use rosterd::sources::folder::Watching;
use rosterd::store::Store;
use rosterd::stores::sqlite::SqliteStore;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::seeds::sample::Sample;
use crate::support::mail::MemoryMail;
use crate::support::make::path;
use crate::support::rig::noon;
use crate::support::source::MemorySource;
use crate::support::store::MemoryStore;

/// Longer than anything here takes; on paused time it passes at once.
const PATIENCE: Duration = Duration::from_mins(5);

/// What the target answers to its next writes.
pub(crate) type Refusals = Arc<Mutex<VecDeque<ErrorClass>>>;

pub(crate) struct Stage {
    pub(crate) sample: Sample,
    pub(crate) engine: Engine,
    pub(crate) directory: Arc<Directory>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The next writes that the target does not take.
    pub(crate) refusals: Refusals,
    /// Where mails go.
    pub(crate) mail: Arc<MemoryMail>,
    /// Where loads are told on paused time.
    told: Option<Arc<MemorySource>>,
}

impl Stage {
    /// A daemon as it runs at a user's: SQLite, a watched folder, the machine's clock.
    pub(crate) async fn live(sample: Sample) -> Self {
        let stage = Self::idle(sample).await;
        stage.engine.start(Running::Daemon).await.unwrap();
        stage
    }

    /// The same before it runs.
    pub(crate) async fn idle(sample: Sample) -> Self {
        Self::reaching(sample, Sample::rules(), embedded).await
    }

    /// The same with targets of its own.
    pub(crate) async fn reaching(
        sample: Sample,
        rules: Rules,
        targets: impl FnOnce(&Arc<Directory>, &Refusals) -> ConnectorFactory,
    ) -> Self {
        let keys = Arc::new(Keys::generate().unwrap());
        let store = SqliteStore::open(sample.path("rosterd.db"), keys, "test").await.unwrap();
        let operator = OperatorDocuments::default();
        let source = FolderSource::new(&sample.manifests(), Vec::new(), operator, rules, Watching::default());
        Self::over(sample, (Arc::new(store), Arc::new(source)), Arc::new(SystemClock), targets)
    }

    /// A daemon on paused time, which starts at noon, and in which a day takes no time.
    pub(crate) async fn on_paused_time(sample: Sample) -> Self {
        let source = Arc::new(MemorySource::new(sample.documents()));
        let store = Arc::new(MemoryStore::default());
        let clock = Arc::new(TestClock::new(noon()));
        let told = Arc::<MemorySource>::clone(&source);
        let mut stage = Self::over(sample, (store, told), clock, embedded);
        stage.told = Some(source);
        stage.engine.start(Running::Daemon).await.unwrap();
        stage
    }

    fn over(
        sample: Sample,
        (store, source): (Arc<dyn Store>, Arc<dyn Source>),
        clock: Arc<dyn Clock>,
        targets: impl FnOnce(&Arc<Directory>, &Refusals) -> ConnectorFactory,
    ) -> Self {
        let directory = Directory::at(sample.path("directory.db"), Arc::clone(&clock));
        let refusals = Refusals::default();
        let engine = Engine::new(Parts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            metrics: Arc::new(Metrics::new()),
            source,
            connectors: targets(&directory, &refusals),
            max_shrink_percent: 20,
        });
        let mail = Arc::new(MemoryMail::default());
        let addressees = sample.settings().map(|settings| settings.addressees).unwrap_or_default();
        engine.tell_by(Post { addressees, ..mail.post() });
        Self { sample, engine, directory, store, clock, refusals, mail, told: None }
    }

    /// Lets what the folder says now be known; a watched folder tells by itself.
    pub(crate) fn saved(&self) {
        if let Some(source) = &self.told {
            source.set(Ok(self.sample.documents()));
        }
    }

    /// Lets paused time pass to this moment.
    pub(crate) async fn sleep_until(&self, at: DateTime<Utc>) {
        tokio::time::sleep((at - self.clock.now()).to_std().unwrap()).await;
    }

    /// Waits until `holds`.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        let asked = tokio::time::Instant::now();
        while !holds(self).await {
            assert!(asked.elapsed() < PATIENCE, "{what}: did not come to be\n{:#?}", self.engine.status());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the target has so many accounts that give access, and no more work.
    pub(crate) async fn until_active(&self, target: &str, count: usize) {
        let what = format!("{count} active accounts in {target}");
        self.until(&what, async |stage| stage.active(target).await.len() == count).await;
        self.until_idle(target).await;
    }

    /// Waits until nothing is waiting or under way.
    pub(crate) async fn until_idle(&self, target: &str) {
        self.until("no more work", async |stage| {
            let status = stage.status(target);
            status.running.is_none() && status.waiting == 0 && status.last_cycle.is_some()
        })
        .await;
    }

    /// Every account of the target as SCIM shows it.
    pub(crate) async fn accounts(&self, target: &str) -> Vec<Value> {
        let query = ViewQuery { kind: ViewKind::Users, filter: None, skip: 0, count: 1_000 };
        let page = self.directory.list(&target.into(), &query).await.unwrap();
        page.map_or_else(Vec::new, |page| page.resources)
    }

    /// The record ids of the accounts that give access.
    pub(crate) async fn active(&self, target: &str) -> Vec<String> {
        let accounts = self.accounts(target).await;
        let active = accounts.iter().filter(|account| account["active"] == true);
        let mut records: Vec<_> =
            active.map(|account| account["externalId"].as_str().unwrap_or_default().to_owned()).collect();
        records.sort();
        records
    }

    /// The account of one user; null where there is none.
    pub(crate) async fn account(&self, target: &str, record: &str) -> Value {
        let mut mine = self.accounts(target).await;
        mine.retain(|account| account["externalId"] == record);
        assert!(mine.len() <= 1, "one account a person: {mine:#?}");
        mine.pop().unwrap_or_default()
    }

    /// Somebody else edits the account of `record` in the target itself.
    pub(crate) async fn by_hand(&self, target: &str, record: &str, values: &[(&str, Value)]) {
        let account = self.account(target, record).await;
        let id = AccountId::from(account["id"].as_str().unwrap());
        let values: BTreeMap<AttributePath, Value> =
            values.iter().map(|(name, value)| (path(name), value.clone())).collect();
        self.directory.edit(&target.into(), &id, values).await.unwrap();
    }

    pub(crate) fn status(&self, target: &str) -> TargetStatus {
        let targets = self.engine.status().targets;
        targets.into_iter().find(|status| status.name.as_str() == target).unwrap()
    }

    /// A person agrees to what is held under this limit, once it is.
    pub(crate) async fn agree_to(&self, target: &str, limit: HoldKind) {
        let held = |stage: &Self| stage.status(target).holds.into_iter().find(|hold| hold.limit == limit);
        self.until(&format!("a `{}` hold", limit.as_str()), async |stage| held(stage).is_some()).await;
        let word = Decision::new(DecisionKind::Release, "local", self.clock.now());
        let digest = held(self).map(|hold| hold.digest);
        self.engine.decide(Decision { target: Some(target.into()), digest, ..word }).await.unwrap();
    }

    /// A cycle started by a person.
    pub(crate) async fn sync(&self, target: &str) -> SyncReport {
        self.engine.sync(&target.into(), SyncRequest::default()).await.unwrap()
    }

    /// The cycles of a target that ended, newest first.
    pub(crate) async fn cycles(&self, target: &str) -> Vec<CycleRecord> {
        self.store.cycles(Some(&target.into()), None, 1_000).await.unwrap()
    }

    /// The newest cycle of this trigger that did `action`.
    pub(crate) async fn cycle_that_did(&self, target: &str, trigger: Trigger, action: Action) -> Option<CycleRecord> {
        let cycles = self.cycles(target).await;
        cycles.into_iter().find(|cycle| cycle.trigger == trigger && cycle.done.contains_key(action.as_str()))
    }

    /// A full cycle finds nothing to do.
    pub(crate) async fn assert_settled(&self, target: &str) {
        let report = self.sync(target).await;
        assert_eq!(report.plan.changes, [], "a second plan is empty");
        assert_eq!(report.plan.holds, [], "nothing is held");
        assert_eq!(report.plan.coverage, Coverage::Complete);
    }

    pub(crate) async fn end(self) {
        self.engine.stop().await;
    }
}

fn embedded(directory: &Arc<Directory>, refusals: &Refusals) -> ConnectorFactory {
    let (directory, refusals) = (Arc::clone(directory), Arc::clone(refusals));
    Arc::new(move |target: &Target| {
        let place = (&target.name, &target.environment);
        let inner = directory::build(&target.settings, &target.endpoint, &directory, place)
            .map_err(|error| error.to_string())?;
        Ok(Arc::new(Moody { inner, refusals: Arc::clone(&refusals) }))
    })
}

/// A target that refuses what it is told to refuse.
struct Moody {
    inner: Arc<dyn Connector>,
    refusals: Refusals,
}

#[async_trait]
impl Connector for Moody {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn canonicalize(&self, path: &AttributePath, value: &Value) -> Value {
        self.inner.canonicalize(path, value)
    }

    fn password(&self) -> Option<PasswordPaths> {
        self.inner.password()
    }

    async fn probe(&self) -> Result<Probe, ConnectorError> {
        self.inner.probe().await
    }

    async fn observe(&self, shape: &Shape, pages: mpsc::Sender<Vec<Account>>) -> Result<Coverage, ConnectorError> {
        self.inner.observe(shape, pages).await
    }

    async fn fetch(&self, shape: &Shape, look: &Look) -> Result<Found, ConnectorError> {
        self.inner.fetch(shape, look).await
    }

    async fn apply(&self, shape: &Shape, batch: &[Operation]) -> Vec<Result<Applied, ConnectorError>> {
        let mut answers = Vec::new();
        for operation in batch {
            let refused = self.refusals.lock().unwrap().pop_front();
            match refused {
                Some(class) => {
                    let message = "the target does not take this now".to_owned();
                    answers.push(Err(ConnectorError { class, message, retry_after: None }));
                }
                None => answers.append(&mut self.inner.apply(shape, std::slice::from_ref(operation)).await),
            }
        }
        answers
    }
}
