//! What an engine is made from, and what it is made for.

use std::path::Path;
use std::sync::Arc;

use crate::app::AppError;
use crate::app::Purpose;
use crate::app::beside::Beside;
use crate::app::scratch::Scratch;
use crate::app::stop::StopBeside;
use crate::clock::Clock;
use crate::connector::view::DirectoryView;
use crate::engine::ConnectorFactory;
use crate::engine::Engine;
use crate::engine::Parts;
use crate::engine::Running;
use crate::engine::outbox::Post;
use crate::metrics::Metrics;
use crate::secrets::keys::Keys;
use crate::server::Api;
use crate::server::ApiParts;
use crate::settings::Settings;
use crate::source::Source;
use crate::store::Store;
use crate::store::journal::Journal;
use crate::stores::journal::FileJournal;

/// The journal, beside the store.
const JOURNAL: &str = "rosterd.journal";

/// What engines are made from: one, or another once a person agreed.
pub(super) struct Made {
    pub(super) store: Arc<dyn Store>,
    pub(super) keys: Arc<Keys>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) connectors: ConnectorFactory,
    pub(super) directory: Arc<dyn DirectoryView>,
    pub(super) post: Post,
    pub(super) local_token: String,
    pub(super) beside: Beside,
    pub(super) purpose: Purpose,
}

impl Made {
    /// An engine that was not started, and what answers for it.
    pub(super) fn engine(&self, settings: &Settings, source: &Arc<dyn Source>) -> (Engine, Arc<Api>) {
        let store = Arc::clone(&self.store);
        let store = if self.purpose.only_looks() { Arc::new(Scratch::new(store)) } else { store };
        let parts = Parts {
            store: Arc::clone(&store),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            source: Arc::clone(source),
            connectors: Arc::clone(&self.connectors),
            max_shrink_percent: settings.max_shrink,
        };
        let engine = match journal(settings, Arc::clone(&self.keys), self.purpose) {
            Some(journal) => Engine::with_journal(parts, journal),
            None => Engine::new(parts),
        };
        engine.obey(Arc::new(StopBeside::of(&settings.store)));
        if !self.purpose.only_looks() {
            engine.tell_by(self.post.clone());
        }
        let api = ApiParts {
            engine: engine.clone(),
            store,
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.clock),
            directory: Some(Arc::clone(&self.directory)),
            local_token: Some(self.local_token.clone()),
        };
        let api = Api::new(api).signing(Arc::clone(&self.keys)).approved_by(settings.approvers.clone());
        (engine, Arc::new(api))
    }

    /// Starts it.
    pub(super) async fn begin(&self, settings: &Settings, engine: &Engine) -> Result<(), AppError> {
        let folder = settings.manifests.as_deref();
        // One that is not there leads nobody anywhere later. Before anything else is done: what a daemon
        // that was killed left there leads to nobody.
        if !self.purpose.only_looks() && folder.is_some_and(Path::is_dir) {
            self.beside.remember(folder)?;
        }
        let running = if self.purpose == Purpose::Daemon { Running::Daemon } else { Running::Once };
        Ok(engine.start(running).await?)
    }
}

/// The journal beside the store. Without one rosterd runs all the same, and says what that means.
fn journal(settings: &Settings, keys: Arc<Keys>, purpose: Purpose) -> Option<Arc<dyn Journal>> {
    if purpose.only_looks() {
        return None;
    }
    match FileJournal::open(&settings.store.with_file_name(JOURNAL), keys) {
        Ok(journal) => Some(Arc::new(journal)),
        Err(error) => {
            tracing::warn!(%error, "while the store is away, access that ended will not be taken away");
            None
        }
    }
}
