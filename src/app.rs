//! Puts an installation together: store, keys, secrets, targets, source, engine and server.

mod asked;
pub mod beside;
pub mod connectors;
mod copied;
pub mod early;
mod made;
pub mod moving;
mod post;
pub mod scratch;
pub mod sources;
pub mod stop;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ring::rand::SystemRandom;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::asked::Steady;
use crate::app::beside::Beside;
use crate::app::early::Early;
use crate::app::made::Made;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::connector::view::DirectoryView;
use crate::connectors::directory::Directory;
use crate::engine::Engine;
use crate::engine::EngineError;
use crate::manifest::Documents;
use crate::manifest::Problem;
use crate::metrics::Metrics;
use crate::model::projection::Desired;
use crate::model::snapshot::Snapshot;
use crate::project::Projector;
use crate::project::Table;
use crate::secrets::keys::Keys;
use crate::secrets::secret::Secret;
use crate::secrets::vault::Vault;
use crate::server;
use crate::server::Api;
use crate::settings;
use crate::settings::Settings;
use crate::source::Source;
use crate::source::SourceError;
use crate::store::Store;
use crate::store::StoreError;
use crate::stores::postgres::PostgresStore;
use crate::stores::sqlite::SqliteStore;

/// What an installation is put together for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To run until it is stopped.
    Daemon,
    /// To do one thing.
    Act,
    /// To do one thing once a person agrees to what they are shown; until then nothing is written anywhere.
    Ask,
    /// To answer one question; nothing is written anywhere.
    Look,
}

impl Purpose {
    /// Whether nothing may be written, or not yet.
    fn only_looks(self) -> bool {
        matches!(self, Self::Ask | Self::Look)
    }
}

/// Why an installation was not put together.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A daemon holds the store.
    #[error("a daemon holds the store; it answers at {server}")]
    Held {
        /// Its address.
        server: String,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No folder was named.
    #[error("no folder of manifests is known here")]
    NoFolder,
    /// The source gave nothing.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The keys cannot be used.
    #[error("{0}")]
    Keys(String),
    /// A secret's binding cannot be used.
    #[error("{0}")]
    Secrets(String),
    /// People or programs cannot be told by what the configuration says.
    #[error("{0}")]
    Notices(String),
    /// What `include` names cannot be read.
    #[error("`{path}`, which the configuration includes, cannot be read: {error}")]
    Include {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file that was named cannot be read or written.
    #[error("`{path}` cannot be used: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is nothing to export.
    #[error("there is no store `{0}`")]
    NoStore(PathBuf),
    /// A file beside the store cannot be written.
    #[error("`{path}` cannot be written: {error}")]
    Beside {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The address cannot be listened on.
    #[error("`{address}` cannot be listened on: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
}

impl AppError {
    /// What to do next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Held { .. } => Some("ask that daemon, or stop it"),
            Self::Store(StoreError::Held(_)) => Some("wait until that command has ended, then run this one again"),
            Self::NoFolder => Some(
                "run this in the folder of the store, name the configuration by `--config`, or begin with `rosterd plan \
                 -f DIR`",
            ),
            Self::Source(_) => Some("give the folder of your manifests by `-f DIR`"),
            Self::Include { .. } => Some("mend the path under `include`; it starts at the folder of the configuration"),
            Self::Keys(_) => Some("a store opens only with the keys that it was made with"),
            Self::Beside { .. } => Some("let the user that runs rosterd write the folder of the store"),
            Self::File { .. } => Some("an export writes a new file, an import reads one that is there; check the path"),
            Self::NoStore(_) => Some("name the configuration of the installation by `--config`"),
            Self::Listen { .. } => {
                Some("stop what listens there, or set another `listen` in a configuration (`--config`)")
            }
            Self::Notices(_) => Some("mend it in the configuration (`--config`)"),
            Self::Store(_) | Self::Engine(_) | Self::Secrets(_) => None,
        }
    }
}

/// The file of the embedded directory, beside the store.
const DIRECTORY: &str = "rosterd-directory.db";
/// How long a short command waits for another one to let the store go.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it asks.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// One installation, put together.
pub struct App {
    /// What it was put together from.
    pub settings: Settings,
    /// Does the work.
    pub engine: Engine,
    /// Where desired users come from.
    pub source: Arc<dyn Source>,
    /// Whether the store knew nothing before.
    pub fresh: bool,
    /// Who holds it may do everything.
    pub token: Secret,
    made: Made,
    api: Arc<Api>,
    /// A daemon's, before anything answers there.
    listener: Option<TcpListener>,
    /// Whether commands find a daemon by this one's word.
    announced: bool,
    /// Ends with the command that only looked.
    _nowhere: Option<Nowhere>,
}

impl App {
    /// Puts an installation together and starts its engine.
    ///
    /// # Errors
    /// [`AppError::Held`] where a daemon has the store: it is the one to ask.
    pub async fn open(settings: Settings, purpose: Purpose) -> Result<Self, AppError> {
        let beside = Beside::of(&settings.store);
        if settings.manifests.is_none() {
            return Err(beside.server().map_or(AppError::NoFolder, |server| AppError::Held { server }));
        }
        let vault = Vault::new(settings.secrets.clone(), settings::environment)
            .map_err(|error| AppError::Secrets(error.to_string()))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let post = post::of(&settings, &vault, &clock)?;
        let source = sources::of(&settings)?;
        // Where a daemon has the store it is the one to read.
        let alone = beside.server().is_none();
        let source: Arc<dyn Source> = if alone { Arc::new(Early::begin(source)) } else { source };
        let source = if purpose == Purpose::Ask { Arc::new(Steady::new(source)) } else { source };
        let opened = open_store(&settings, &vault, &beside, purpose).await?;
        // A daemon that cannot be asked should not have done half of something.
        let listener = if purpose == Purpose::Daemon { Some(listen(settings.listen).await?) } else { None };
        let fresh = opened.store.snapshot().await?.is_none();
        let minted = server::token::mint(&SystemRandom::new()).map_err(|error| AppError::Keys(error.to_string()))?;
        let metrics = Arc::new(Metrics::new());
        let directory = Directory::at(opened.directory, Arc::clone(&clock));
        let view: Arc<dyn DirectoryView> = Arc::clone(&directory) as _;
        let makers = connectors::Makers { vault, directory, metrics: Arc::clone(&metrics), clock: Arc::clone(&clock) };
        let made = Made {
            store: opened.store,
            keys: opened.keys,
            clock,
            metrics,
            connectors: makers.factory(),
            directory: view,
            post,
            local_token: minted.hash,
            beside,
            purpose,
        };
        let (engine, api) = made.engine(&settings, &source);
        made.begin(&settings, &engine).await?;
        let token = Secret::new(minted.secret.expose_secret());
        let (announced, nowhere) = (false, opened.nowhere);
        Ok(Self { settings, engine, source, fresh, token, made, api, listener, announced, _nowhere: nowhere })
    }

    /// A person agreed to what they were shown: goes on from the same documents, over the same store, as
    /// [`Purpose::Act`].
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn agreed(&mut self) -> Result<(), AppError> {
        if self.made.purpose != Purpose::Ask {
            return Ok(());
        }
        self.engine.stop().await;
        self.made.purpose = Purpose::Act;
        // Before it starts, so that whoever is stopped meanwhile stops it, too.
        (self.engine, self.api) = self.made.engine(&self.settings, &self.source);
        self.made.begin(&self.settings, &self.engine).await
    }

    /// The routes, for asking inside this process.
    pub fn router(&self) -> Router {
        server::router(Arc::clone(&self.api))
    }

    /// Answers at the daemon's address, and leaves address and token beside the store for commands to find.
    ///
    /// # Errors
    /// Where nothing can be written there.
    pub async fn serve(&mut self) -> Result<Serving, AppError> {
        let listener = match self.listener.take() {
            Some(listener) => listener,
            None => listen(self.settings.listen).await?,
        };
        let address = listener.local_addr().map_err(|error| not_ours(self.settings.listen, error))?;
        self.made.beside.announce(&format!("http://{address}"), &self.token)?;
        self.announced = true;
        let cancel = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (router, stop) = (self.router(), cancel.clone());
        tasks.spawn(async move {
            if let Err(error) = server::serve(listener, router, stop).await {
                tracing::error!(%error, "the API no longer answers");
            }
        });
        tasks.close();
        Ok(Serving { address: format!("http://{address}"), cancel, tasks })
    }

    /// Lets calls in flight end, records what came of them, and leaves a store whose copy is whole.
    pub async fn stop(self) {
        self.engine.stop().await;
        // While the store is held: afterwards the word there may be another daemon's. A look, which may
        // have begun before the daemon that others find by now, has nothing to take back.
        if self.announced {
            self.made.beside.leave();
        }
        self.made.store.close().await;
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|error| not_ours(address, error))
}

fn not_ours(address: SocketAddr, error: io::Error) -> AppError {
    AppError::Listen { address, error }
}

/// A listener at work.
pub struct Serving {
    /// Where it answers.
    pub address: String,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl Serving {
    /// Lets answers under way out.
    pub async fn close(self) {
        self.cancel.cancel();
        self.tasks.wait().await;
    }
}

/// SIGINT and SIGTERM: from the moment this is made they no longer end the process by themselves.
#[cfg(unix)]
pub struct StopSignals([Option<tokio::signal::unix::Signal>; 2]);

#[cfg(unix)]
impl StopSignals {
    /// Listens from now on.
    pub fn listen() -> Self {
        use tokio::signal::unix::SignalKind;
        use tokio::signal::unix::signal;
        // Without handlers the signals end the process by themselves.
        Self([SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).ok()))
    }

    /// Waits for the first one since this was made.
    pub async fn first(&mut self) {
        let [interrupt, terminate] = &mut self.0;
        let received = async |signal: &mut Option<tokio::signal::unix::Signal>| match signal {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        };
        tokio::select! {
            () = received(interrupt) => {}
            () = received(terminate) => {}
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
pub struct StopSignals;

#[cfg(not(unix))]
impl StopSignals {
    /// Listens from now on.
    pub fn listen() -> Self {
        Self
    }

    /// Waits for the first one.
    pub async fn first(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits for SIGINT or SIGTERM.
pub async fn stop_signal() {
    StopSignals::listen().first().await;
}

/// A store that is open.
struct OpenStore {
    store: Arc<dyn Store>,
    /// Those that it was opened with.
    keys: Arc<Keys>,
    /// Where the file of the embedded directory is.
    directory: PathBuf,
    nowhere: Option<Nowhere>,
}

async fn open_store(
    settings: &Settings,
    vault: &Vault,
    beside: &Beside,
    purpose: Purpose,
) -> Result<OpenStore, AppError> {
    let looks = purpose == Purpose::Look;
    let nowhere = if looks { Some(Nowhere::new()?) } else { None };
    // What is not there yet, or cannot be written, is looked at where nobody keeps it.
    let place = |path: PathBuf| match (&nowhere, path.file_name()) {
        (Some(nowhere), Some(name)) if !path.exists() => Ok(nowhere.0.join(name)),
        (Some(nowhere), _) => Ok::<_, AppError>(copied::of(&path, &nowhere.0)?.unwrap_or(path)),
        (None, _) => Ok(path),
    };
    // A database is there or not, and is not made up for a look.
    let path = if settings.postgres.is_some() { settings.store.clone() } else { place(settings.store.clone())? };
    let keys = if settings.store.exists() || path == settings.store {
        connectors::keys(settings)?
    } else {
        Keys::generate().map_err(|error| AppError::Keys(error.to_string()))?
    };
    let url = url_of(settings, vault)?;
    let keys = Arc::new(keys);
    let store = take((&path, url.as_ref()), &keys, beside, purpose).await?;
    let directory = place(settings.store.with_file_name(DIRECTORY))?;
    Ok(OpenStore { store, keys, directory, nowhere })
}

/// The URL of the database, where the store is one.
fn url_of(settings: &Settings, vault: &Vault) -> Result<Option<Secret>, AppError> {
    let url = settings.postgres.as_ref().map(|name| vault.resolve_url(name)).transpose();
    url.map_err(|error| AppError::Secrets(error.to_string()))
}

/// Opens the store, waiting a little for commands, and not at all for a daemon.
async fn take(
    place: (&Path, Option<&Secret>),
    keys: &Arc<Keys>,
    beside: &Beside,
    purpose: Purpose,
) -> Result<Arc<dyn Store>, AppError> {
    let actor = match purpose {
        Purpose::Daemon => "run",
        Purpose::Act | Purpose::Ask => "apply",
        Purpose::Look => "look",
    };
    let asking = tokio::time::Instant::now();
    loop {
        match enter(place, Arc::clone(keys), actor).await {
            Ok(store) => return Ok(store),
            Err(StoreError::Held(why)) => {
                // One that was killed left its address, and whoever holds the store now may be somebody else.
                if let Some(server) = beside.server().filter(|server| answers(server)) {
                    return Err(AppError::Held { server });
                }
                if asking.elapsed() > PATIENCE {
                    return Err(StoreError::Held(why).into());
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether anything listens at an address on this machine.
fn answers(server: &str) -> bool {
    let address = server.strip_prefix("http://").and_then(|place| place.parse().ok());
    address.is_some_and(|address| std::net::TcpStream::connect_timeout(&address, ASK_AGAIN).is_ok())
}

/// Opens the database at the URL, or else the file, and says what its operator should know.
async fn enter(
    (path, url): (&Path, Option<&Secret>),
    keys: Arc<Keys>,
    actor: &str,
) -> Result<Arc<dyn Store>, StoreError> {
    let (store, warnings): (Arc<dyn Store>, _) = if let Some(url) = url {
        let heads = PostgresStore::heads_beside(&keys, path.with_file_name("rosterd.heads"));
        let store = PostgresStore::open(url.expose(), heads, keys, actor).await?;
        let warnings = store.warnings().to_vec();
        (Arc::new(store), warnings)
    } else {
        let store = SqliteStore::open(path, keys, actor).await?;
        let warnings = store.warnings().to_vec();
        (Arc::new(store), warnings)
    };
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(store)
}

/// A folder for a store that nobody keeps.
struct Nowhere(PathBuf);

impl Nowhere {
    fn new() -> Result<Self, AppError> {
        let path = std::env::temp_dir().join(format!("rosterd-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).map_err(|error| AppError::Beside { path: path.clone(), error })?;
        Ok(Self(path))
    }
}

impl Drop for Nowhere {
    fn drop(&mut self) {
        // What stays behind is an empty store in the system's folder for such things.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Everything that the folders of these settings say.
pub async fn documents(settings: &Settings) -> Result<Documents, AppError> {
    Ok(sources::of(settings)?.load().await?)
}

/// What is wrong with single users across documents: names that two of them want, values that
/// exclude one another. These block only the users concerned.
pub fn conflicts(documents: &Documents) -> Vec<Problem> {
    let snapshot = Arc::new(Snapshot { users: documents.users.clone(), roles: documents.roles.clone() });
    let mut problems = Vec::new();
    for target in &documents.targets {
        let Ok(projector) = Projector::new(Arc::clone(target)) else { continue };
        let mut table = Table::new(Arc::new(projector));
        table.begin(&snapshot, &Arc::default(), SystemClock.now());
        for (record, user) in snapshot.users.iter() {
            let Some(Desired::Conflict(conflict)) = table.desired(record) else { continue };
            problems.push(Problem {
                file: user.origin.file.to_string(),
                line: user.origin.line,
                column: 0,
                code: "conflict",
                message: format!("in target `{}`: {} ({})", target.name, conflict.message, conflict.code),
                hint: Some(conflict.hint.clone()),
                snippet: None,
                conflict_of: Some(record.clone()),
                drops_document: false,
            });
        }
    }
    problems
}

/// The folder that the last daemon or `apply` over this store read.
pub fn remembered_folder(settings: &Settings) -> Option<PathBuf> {
    Beside::of(&settings.store).folder()
}

/// Where the daemon over this store answers, if one said so.
pub fn running(settings: &Settings) -> Option<String> {
    Beside::of(&settings.store).server()
}

/// The local token that a daemon left beside the store.
pub fn local_token(settings: &Settings) -> Option<Secret> {
    Beside::of(&settings.store).token()
}
