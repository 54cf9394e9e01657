//! The embedded directory: a target that rosterd keeps itself, for trying out and for tests.
//!
//! One SQLite file beside the store, one namespace for each target and environment, resources in
//! the shape of SCIM. It answers as a good target would: listings and look-ups are proven, a user
//! name is unique whatever its letters, a fresh write is seen at once.
//!
//! # Guarantees
//! - A batch is one transaction. An operation that is refused leaves the others of its batch alone.
//! - A listing reads one state of the file, however long it takes and whatever is written meanwhile.

mod file;
mod hand;
mod listing;
mod look;
mod password;
mod rows;
mod view;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use sqlx::SqliteConnection;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::clock::Clock;
use crate::connector::Applied;
use crate::connector::Capabilities;
use crate::connector::Connector;
use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connector::Found;
use crate::connector::Look;
use crate::connector::Operation;
use crate::connector::PasswordPaths;
use crate::connector::Probe;
use crate::connector::Shape;
use crate::connector::document;
use crate::connector::settings::Block;
use crate::connector::settings::Fields;
use crate::connector::settings::SettingsError;
use crate::connectors::directory::file::Fault;
use crate::connectors::directory::file::File;
use crate::connectors::directory::rows::Namespace;
use crate::model::account::Account;
use crate::model::ids::EnvironmentName;
use crate::model::ids::Realm;
use crate::model::ids::TargetName;
use crate::model::node::Node;
use crate::model::path::AttributePath;
use crate::model::plan::Coverage;

pub use crate::connectors::directory::password::SignIn;

/// The key under `spec.connector`.
pub const NAME: &str = "directory";

/// Operations of one transaction: one wait for the disk instead of a hundred.
const BATCH: usize = 100;

/// A local file answers in milliseconds; a disk that takes this long has failed.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// The file with all embedded targets. Safe for any number of tasks at once.
pub struct Directory {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    file: OnceCell<Arc<File>>,
    /// The environment of each target that a connector was built for.
    environments: Mutex<BTreeMap<TargetName, EnvironmentName>>,
}

impl Directory {
    /// The directory in the file at `path`, which is opened, or made, when it is first asked.
    /// `clock` gives `meta.created` and `meta.lastModified`.
    pub fn at(path: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let environments = Mutex::new(BTreeMap::new());
        Arc::new(Self { path: path.into(), clock, file: OnceCell::new(), environments })
    }

    /// Where a target's accounts lie; `None` for a target that no connector was built for.
    fn namespace(&self, target: &TargetName) -> Option<Namespace> {
        let environments = self.environments.lock().unwrap_or_else(PoisonError::into_inner);
        let environment = environments.get(target)?.clone();
        Some(Namespace { target: target.clone(), environment })
    }

    /// Whether an active account of a target opens by this password; `None`: it does not.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn sign_in(
        &self,
        target: &TargetName,
        user_name: &str,
        password: &str,
    ) -> Result<Option<SignIn>, ConnectorError> {
        let Some(namespace) = self.namespace(target) else { return Ok(None) };
        let (name, given) = (rows::folded(user_name), zeroize::Zeroizing::new(password.to_owned()));
        self.read(async move |db| password::check(db, &namespace, &name, &given).await).await
    }

    async fn file(&self) -> Result<Arc<File>, ConnectorError> {
        let open = async || {
            let (path, handle) = (self.path.clone(), Handle::current());
            blocking(&self.path, move || handle.block_on(File::open(path))).await
        };
        self.file.get_or_try_init(async || open().await.map(Arc::new)).await.cloned()
    }

    /// Runs `job` on the reading connection.
    async fn read<T: Send + 'static>(
        &self,
        job: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, ConnectorError> {
        let (file, handle) = (self.file().await?, Handle::current());
        blocking(&self.path, move || handle.block_on(async { job(&mut *file.reader.lock().await).await })).await
    }

    /// Runs `job` on the writing connection.
    async fn write<T: Send + 'static>(
        &self,
        job: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, ConnectorError> {
        let (file, handle) = (self.file().await?, Handle::current());
        blocking(&self.path, move || handle.block_on(async { job(&mut *file.writer.lock().await).await })).await
    }
}

/// Work on the blocking pool: it runs to its end even if its caller is dropped, so no transaction
/// stays open, and paused test time stands still meanwhile.
async fn blocking<T: Send + 'static>(
    path: &std::path::Path,
    job: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, ConnectorError> {
    match spawn_blocking(job).await {
        Ok(done) => done.map_err(|fault| fault.into_error(path)),
        Err(error) => Err(ConnectorError {
            class: ErrorClass::Uncertain,
            message: format!("work on the embedded directory was cut off ({error})"),
            retry_after: None,
        }),
    }
}

/// Makes the connector of one target. The directory takes no settings and no endpoint.
pub fn build(
    settings: &Node,
    endpoint: &Node,
    directory: &Arc<Directory>,
    (target, environment): (&TargetName, &EnvironmentName),
) -> Result<Arc<dyn Connector>, SettingsError> {
    none_of(settings, Block::Settings)?;
    none_of(endpoint, Block::Endpoint)?;
    let mut environments = directory.environments.lock().unwrap_or_else(PoisonError::into_inner);
    environments.insert(target.clone(), environment.clone());
    let namespace = Namespace { target: target.clone(), environment: environment.clone() };
    Ok(Arc::new(Embedded { directory: directory.clone(), namespace }))
}

fn none_of(node: &Node, block: Block) -> Result<(), SettingsError> {
    match node.value.as_object().and_then(|object| object.keys().next()) {
        Some(key) => {
            let message =
                format!("unknown field `{key}`: the embedded directory has nothing to set, write `directory: {{}}`");
            Err(SettingsError::at(block, key, message))
        }
        None => Fields::of(node, block, &[]).map(|_| ()),
    }
}

/// One target of the directory.
struct Embedded {
    directory: Arc<Directory>,
    namespace: Namespace,
}

#[async_trait]
impl Connector for Embedded {
    fn capabilities(&self) -> Capabilities {
        Capabilities { batch: BATCH, visible_within: Duration::ZERO, call_limit: CALL_LIMIT, reactivates: true }
    }

    fn canonicalize(&self, path: &AttributePath, value: &Value) -> Value {
        let parts = path.parts();
        let whole = parts.filter.is_none() && parts.sub.is_none();
        document::canonical(&if whole { document::written(&parts, value, None) } else { value.clone() })
    }

    fn password(&self) -> Option<PasswordPaths> {
        let path = |text: &str| AttributePath::parse(text).ok();
        Some(PasswordPaths { value: path(password::VALUE)?, must_change: path(password::MUST_CHANGE) })
    }

    async fn probe(&self) -> Result<Probe, ConnectorError> {
        self.directory.file().await?;
        Ok(Probe { realm: Realm::from(format!("embedded/{}", self.namespace.target)), own_account: None })
    }

    async fn observe(&self, shape: &Shape, pages: mpsc::Sender<Vec<Account>>) -> Result<Coverage, ConnectorError> {
        listing::observe(&self.directory, &self.namespace, shape, &pages).await
    }

    async fn fetch(&self, shape: &Shape, look: &Look) -> Result<Found, ConnectorError> {
        let (namespace, shape, look) = (self.namespace.clone(), shape.clone(), look.clone());
        self.directory.read(async move |db| look::look(db, &namespace, &shape, &look).await).await
    }

    async fn apply(&self, shape: &Shape, batch: &[Operation]) -> Vec<Result<Applied, ConnectorError>> {
        let (namespace, shape, operations) = (self.namespace.clone(), shape.clone(), batch.to_vec());
        let now = self.directory.clock.now();
        let job = async move |db: &mut SqliteConnection| write::apply(db, &namespace, &shape, operations, now).await;
        match self.directory.write(job).await {
            Ok(outcomes) => outcomes,
            // The transaction was not committed: none of the batch was done.
            Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}
