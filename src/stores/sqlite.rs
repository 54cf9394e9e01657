//! The store in one SQLite file: no set-up, one process.
//!
//! # Guarantees
//! - A commit is on the disk when it returns (WAL, `synchronous=FULL`).
//! - A second process is refused while one holds the file: a lock beside it is the lease, and ends
//!   with its process.
//! - Snapshots, intents and standing plans are sealed; links, seen accounts, decisions, cycles and
//!   audit events are readable to who can read the file.
//!
//! # Caveats
//! - Every operation is a blocking job of its own: it runs to its end even if its caller is
//!   dropped, and paused test time stands still meanwhile.

mod chains;
mod doubt;
mod fault;
mod file;
mod hands;
mod identities;
mod known;
mod lock;
mod outbox;
mod present;
mod read;
mod reader;
mod requests;
mod script;
mod snapshots;
mod transfer;
mod windows;
mod write;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use chrono::DateTime;
use chrono::Utc;
use sqlx::SqliteConnection;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::sync::MutexGuard;
use tokio::task::JoinError;
use tokio::task::spawn_blocking;

use crate::clock::kept::Kept;
use crate::correlate::history::IdentityKey;
use crate::model::audit::ChainedEvent;
use crate::model::change::Cause;
use crate::model::decision::Decision;
use crate::model::hand::Hands;
use crate::model::history::CycleRecord;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::history::SeenAccount;
use crate::model::history::Standing;
use crate::model::identity::Identity;
use crate::model::ids::CycleId;
use crate::model::ids::IntentId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::invite::Invite;
use crate::model::invite::InviteFilter;
use crate::model::invite::InviteState;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::model::message::Backlog;
use crate::model::message::MessageFilter;
use crate::model::message::Posted;
use crate::model::request::Request;
use crate::model::snapshot::Snapshot;
use crate::model::tally::Counter;
use crate::model::tally::Thing;
use crate::model::target::KnownTarget;
use crate::secrets::keys::Keys;
use crate::store::AcceptedSnapshot;
use crate::store::AccountFilter;
use crate::store::CauseKey;
use crate::store::EndDate;
use crate::store::Fence;
use crate::store::Permit;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Token;
use crate::store::WindowTime;
use crate::store::Write;
use crate::store::rows::nanos;
use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::known::Few;
use crate::stores::sqlite::known::Known;
use crate::stores::sqlite::known::Slot;
use crate::stores::sqlite::known::Tables;
use crate::stores::sqlite::present::Present;
use crate::stores::sqlite::reader::Reader;
use crate::stores::sqlite::write::Writer;

/// Readers beside the one writer: enough for the engine and a page at the same time.
const READERS: usize = 3;

/// The store in one SQLite file.
pub struct SqliteStore {
    inner: Arc<Inner>,
    fence: Fence,
    warnings: Vec<String>,
}

struct Inner {
    path: PathBuf,
    keys: Arc<Keys>,
    /// Random id of this store, part of what audit heads sign.
    id: String,
    heads: PathBuf,
    present: Present,
    /// Said once at the start and by every check of the audit log of this process.
    audit_note: Option<String>,
    /// `None` once the store is closed.
    writer: Mutex<Option<Writer>>,
    readers: [Mutex<Reader>; READERS],
    next_reader: AtomicUsize,
    known: Known,
}

impl SqliteStore {
    /// Opens the file, or makes it, and brings it to the newest schema. `actor` is who asks, for
    /// the message that another process gets meanwhile: `run`, `apply`.
    ///
    /// # Errors
    /// [`StoreError::Held`] while another process has it; [`StoreError::Unavailable`] with a clear
    /// word where the file is newer than this program, damaged, read-only, no database, another
    /// program's, or was written with other keys.
    pub async fn open(path: impl AsRef<Path>, keys: Arc<Keys>, actor: &str) -> Result<Self, StoreError> {
        let (path, actor, handle) = (path.as_ref().to_owned(), actor.to_owned(), Handle::current());
        let (shown, job) = (path.clone(), async move { file::open(path, keys, &actor).await });
        let opened = spawn_blocking(move || handle.block_on(job)).await.map_err(|error| stopped(&error))?;
        let opened = opened.map_err(|fault| fault.into_error(&shown))?;
        let inner = Inner {
            path: shown,
            keys: opened.keys,
            id: opened.id,
            heads: opened.heads,
            present: opened.present,
            audit_note: opened.audit_note,
            writer: Mutex::new(Some(opened.writer)),
            readers: Default::default(),
            next_reader: AtomicUsize::new(0),
            known: Known::default(),
        };
        Ok(Self { inner: Arc::new(inner), fence: opened.fence, warnings: opened.warnings })
    }

    /// What the operator should know about the file: audit heads that are missing or say more than
    /// the store does.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Waits for work that is under way, closes the file and gives the lease up. Without it the
    /// system does the same when the process ends.
    pub async fn close(&self) {
        for reader in &self.inner.readers {
            reader.lock().await.close().await;
        }
        self.inner.known.forget_all();
        if let Some(writer) = self.inner.writer.lock().await.take() {
            writer.close().await;
        }
    }

    /// Writes everything that is remembered to `out`, for [`Self::import`]; how many rows.
    ///
    /// # Errors
    /// Where the store or the file fails; what was written by then is no whole file.
    pub async fn export(&self, out: impl io::Write + Send + 'static) -> Result<u64, StoreError> {
        self.write(async move |inner, writer| {
            let db = writer.session();
            transfer::export(db, &inner.keys, out).await
        })
        .await
    }

    /// Takes in what [`Self::export`] wrote, of whichever store, all of it or nothing; how many rows.
    /// The store is closed then: open it again.
    ///
    /// # Errors
    /// Where the store remembers something already, or the file is not whole and ours.
    pub async fn import(&self, input: impl io::BufRead + Send + 'static) -> Result<u64, StoreError> {
        let taken = self.write(async move |inner, writer| {
            let db = writer.session();
            transfer::import(db, &inner.keys, (&inner.id, &inner.heads), input).await
        });
        let taken = taken.await;
        self.close().await;
        taken
    }

    /// Runs `job` on a reader.
    ///
    /// On the blocking pool, since encoding and sealing a big snapshot would hold a worker of the
    /// runtime, and since a paused test clock would jump while only SQLite's own thread works.
    async fn read<T: Send + 'static>(
        &self,
        job: impl AsyncFnOnce(&Inner, &mut SqliteConnection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (inner, handle) = (self.inner.clone(), Handle::current());
        let work = move || {
            handle.block_on(async {
                let mut reader = inner.reader().await?;
                reader.is_usable()?;
                inner.is_ours()?;
                let told = |fault: Fault| fault.into_error(&inner.path);
                let opened = reader.open(&inner.path).await.map_err(told)?;
                // Another file may have come to its place meanwhile.
                opened.then(|| inner.is_ours()).transpose()?;
                job(&inner, reader.connection()?).await.map_err(told)
            })
        };
        spawn_blocking(work).await.map_err(|error| stopped(&error))?
    }

    /// Tells what is kept in `slot`; reads it by `job` where nothing is.
    async fn known<T: Few>(
        &self,
        slot: impl Fn(&mut Tables) -> &mut Slot<T> + Send,
        job: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = match self.inner.known.get(&slot) {
            Ok(kept) => return self.inner.is_ours().map(|()| kept),
            Err(turn) => turn,
        };
        let read = self.read(async move |_, db| job(db).await).await?;
        self.inner.known.keep(turn, &slot, &read);
        Ok(read)
    }

    /// Runs `job` with the writer.
    async fn write<T: Send + 'static>(
        &self,
        job: impl AsyncFnOnce(&Inner, &mut Writer) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (inner, handle) = (self.inner.clone(), Handle::current());
        let work = move || {
            handle.block_on(async {
                let mut writer = inner.writer.lock().await;
                let writer = writer.as_mut().ok_or_else(closed)?;
                let told = |fault: Fault| fault.into_error(&inner.path);
                inner.present.check().map_err(told)?;
                inner.present.untouched().map_err(told)?;
                let done = job(&inner, writer).await;
                // What went to a deleted file while it was written is not kept either.
                let present = inner.present.check();
                let moved = present.is_ok() && inner.present.settle();
                moved.then(|| writer.leave(&inner.present.line()));
                let done = done.map_err(told)?;
                present.map_err(told)?;
                Ok(done)
            })
        };
        spawn_blocking(work).await.map_err(|error| stopped(&error))?
    }
}

impl Inner {
    /// The files are still there, and nobody else changed them.
    fn is_ours(&self) -> Result<(), StoreError> {
        let ours = self.present.check().and_then(|()| self.untouched_while_still());
        ours.map_err(|fault| fault.into_error(&self.path))
    }

    /// Nobody else changed the file. While something of ours writes it changes by that, and nothing
    /// is asked.
    fn untouched_while_still(&self) -> Result<(), Fault> {
        match self.writer.try_lock() {
            Ok(_still) => self.present.untouched(),
            Err(_) => Ok(()),
        }
    }

    /// A free reader, or the turn of a busy one.
    async fn reader(&self) -> Result<MutexGuard<'_, Reader>, StoreError> {
        if let Some(free) = self.readers.iter().find_map(|reader| reader.try_lock().ok()) {
            return Ok(free);
        }
        let turn = self.next_reader.fetch_add(1, Ordering::Relaxed) % READERS;
        Ok(self.readers.get(turn).ok_or_else(closed)?.lock().await)
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed; rosterd is stopping".to_owned())
}

fn stopped(error: &JoinError) -> StoreError {
    StoreError::Unavailable(format!("the store's work was cut off ({error}); start rosterd again"))
}

#[async_trait]
impl Store for SqliteStore {
    fn fence(&self) -> Fence {
        self.fence
    }

    async fn close(&self) {
        Self::close(self).await;
    }

    async fn commit(&self, writes: Vec<Write>, fence: Fence) -> Result<(), StoreError> {
        self.write(async move |inner, writer| writer.commit(inner, writes, fence).await).await
    }

    async fn links(&self, space: &Space) -> Result<BTreeMap<RecordId, Link>, StoreError> {
        let space = space.clone();
        self.read(async move |_, db| read::links(db, &space).await).await
    }

    async fn link(&self, space: &Space, record: &RecordId) -> Result<Option<Link>, StoreError> {
        let (space, record) = (space.clone(), record.clone());
        self.read(async move |_, db| read::link(db, &space, &record).await).await
    }

    async fn hands(&self, space: &Space) -> Result<Hands, StoreError> {
        let space = space.clone();
        self.read(async move |inner, db| hands::read(db, &inner.keys, &space).await).await
    }

    fn identity_key(&self) -> IdentityKey {
        self.inner.keys.identity_key()
    }

    async fn identities(&self, space: &Space) -> Result<Vec<Identity>, StoreError> {
        let space = space.clone();
        self.read(async move |_, db| identities::read(db, &space).await).await
    }

    async fn spaces(&self, target: &TargetName) -> Result<Vec<Space>, StoreError> {
        let target = target.clone();
        self.read(async move |_, db| read::spaces(db, &target).await).await
    }

    async fn acted(&self, space: &Space) -> Result<bool, StoreError> {
        let space = space.clone();
        self.read(async move |inner, db| read::acted(db, &inner.keys, &space).await).await
    }

    async fn open_intents(&self, space: &Space) -> Result<Vec<Intent>, StoreError> {
        let space = space.clone();
        self.read(async move |inner, db| read::open_intents(db, &inner.keys, &space).await).await
    }

    async fn counted(
        &self,
        space: &Space,
        since: DateTime<Utc>,
    ) -> Result<Vec<(Counter, Thing, DateTime<Utc>)>, StoreError> {
        let space = space.clone();
        self.read(async move |_, db| windows::counted(db, &space, since).await).await
    }

    async fn owned_active_at(&self, space: &Space, at: DateTime<Utc>) -> Result<Option<u64>, StoreError> {
        let (space, second) = (space.clone(), at.timestamp());
        let turn = match self.inner.known.owned_at(&space, second) {
            Ok(active) => return self.inner.is_ours().map(|()| active),
            Err(turn) => turn,
        };
        let place = space.clone();
        let owned = self.read(async move |_, db| windows::owned(db, &place, second).await).await?;
        let active = owned.at(second);
        self.inner.known.keep_owned(turn, space, owned);
        Ok(active)
    }

    async fn window_time(&self) -> Result<WindowTime, StoreError> {
        self.read(async move |_, db| windows::time(db).await).await
    }

    async fn known_targets(&self) -> Result<BTreeMap<TargetName, KnownTarget>, StoreError> {
        self.known(|tables| &mut tables.targets, async |db| windows::known_targets(db).await).await
    }

    async fn end_dates(&self, records: &BTreeSet<RecordId>) -> Result<BTreeMap<EndDate, DateTime<Utc>>, StoreError> {
        let records = records.clone();
        self.read(async move |_, db| windows::end_dates(db, &records).await).await
    }

    async fn mass_ends(&self) -> Result<BTreeSet<EndDate>, StoreError> {
        self.known(|tables| &mut tables.mass_ends, async |db| windows::mass_ends(db).await).await
    }

    async fn permits(&self) -> Result<BTreeMap<Permit, DateTime<Utc>>, StoreError> {
        self.known(|tables| &mut tables.permits, async |db| windows::permits(db).await).await
    }

    async fn requests(&self, target: &TargetName) -> Result<Vec<(Space, Request)>, StoreError> {
        let target = target.clone();
        self.read(async move |inner, db| requests::read(db, &inner.keys, &target).await).await
    }

    async fn kept_clock(&self) -> Result<Kept, StoreError> {
        self.read(async move |_, db| windows::kept_clock(db).await).await
    }

    async fn owned_active(&self, space: &Space) -> Result<u64, StoreError> {
        let space = space.clone();
        self.read(async move |_, db| read::owned_active(db, &space).await).await
    }

    async fn snapshot(&self) -> Result<Option<AcceptedSnapshot>, StoreError> {
        self.write(async move |inner, writer| writer.snapshot(&inner.keys).await).await
    }

    async fn share_snapshot(&self, snapshot: &Arc<Snapshot>) {
        let snapshot = Arc::clone(snapshot);
        let shared = self.write(async move |_, writer| {
            writer.share_snapshot(snapshot);
            Ok(())
        });
        shared.await.unwrap_or_default();
    }

    async fn highest_level(&self, since: DateTime<Utc>) -> Result<Option<u64>, StoreError> {
        let since = nanos(since);
        let turn = match self.inner.known.highest_level(since) {
            Ok(highest) => return self.inner.is_ours().map(|()| highest),
            Err(turn) => turn,
        };
        let levels = self.read(async move |_, db| snapshots::levels(db, since).await).await?;
        let highest = levels.highest(since);
        self.inner.known.keep_levels(turn, levels);
        Ok(highest)
    }

    async fn causes(&self, target: &TargetName) -> Result<BTreeMap<CauseKey, Cause>, StoreError> {
        let (name, target) = (target.clone(), target.clone());
        self.known(
            move |tables| tables.causes.entry(name.clone()).or_default(),
            async move |db| read::causes(db, &target).await,
        )
        .await
    }

    async fn decisions(&self) -> Result<Vec<Decision>, StoreError> {
        self.known(|tables| &mut tables.decisions, async |db| read::decisions(db).await).await
    }

    async fn standings(&self, target: &TargetName) -> Result<Vec<(Space, Standing)>, StoreError> {
        let target = target.clone();
        self.read(async move |inner, db| read::standings(db, &inner.keys, &target).await).await
    }

    async fn owed(&self, space: &Space) -> Result<BTreeMap<RecordId, DateTime<Utc>>, StoreError> {
        let space = space.clone();
        self.read(async move |_, db| read::owed(db, &space).await).await
    }

    async fn standing(&self, space: &Space) -> Result<Option<Standing>, StoreError> {
        let space = space.clone();
        self.read(async move |inner, db| read::standing(db, &inner.keys, &space).await).await
    }

    async fn seen(&self, space: &Space, filter: &AccountFilter) -> Result<Vec<SeenAccount>, StoreError> {
        let (space, filter) = (space.clone(), filter.clone());
        self.read(async move |_, db| read::seen(db, &space, &filter).await).await
    }

    async fn seen_of(&self, space: &Space, record: &RecordId) -> Result<Option<SeenAccount>, StoreError> {
        let (space, record) = (space.clone(), record.clone());
        self.read(async move |_, db| read::seen_of(db, &space, &record).await).await
    }

    async fn cycles(
        &self,
        target: Option<&TargetName>,
        before: Option<&CycleId>,
        limit: usize,
    ) -> Result<Vec<CycleRecord>, StoreError> {
        let (target, before) = (target.cloned(), before.cloned());
        self.read(async move |_, db| read::cycles(db, target.as_ref(), before.as_ref(), limit).await).await
    }

    async fn intents_of(
        &self,
        space: &Space,
        record: &RecordId,
        limit: usize,
    ) -> Result<Vec<(Intent, Option<OutcomeResult>)>, StoreError> {
        let (space, record) = (space.clone(), record.clone());
        self.read(async move |inner, db| read::intents_of(db, &inner.keys, (&space, &record), limit).await).await
    }

    async fn ended_calls(
        &self,
        space: &Space,
        record: &RecordId,
    ) -> Result<BTreeMap<IntentId, DateTime<Utc>>, StoreError> {
        let (space, record) = (space.clone(), record.clone());
        self.read(async move |_, db| read::ended_calls(db, &space, &record).await).await
    }

    async fn audit(
        &self,
        target: Option<&TargetName>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<ChainedEvent>, StoreError> {
        let target = target.cloned();
        self.read(async move |_, db| chains::events(db, target.as_ref(), from, limit).await).await
    }

    async fn chains(&self) -> Result<Vec<Option<TargetName>>, StoreError> {
        self.read(async move |_, db| chains::names(db).await).await
    }

    async fn doubt(&self, target: &TargetName) -> Result<Option<String>, StoreError> {
        let (name, target) = (target.clone(), target.clone());
        self.known(
            move |tables| tables.doubts.entry(name.clone()).or_default(),
            async move |db| doubt::of(db, &target).await,
        )
        .await
    }

    async fn verify_audit(&self) -> Result<Vec<String>, StoreError> {
        self.read(async move |inner, db| chains::verify(db, inner).await).await
    }

    async fn messages(&self, filter: &MessageFilter) -> Result<Vec<Posted>, StoreError> {
        let filter = filter.clone();
        self.read(async move |inner, db| outbox::messages(db, &inner.keys, &filter).await).await
    }

    async fn backlogs(&self) -> Result<Vec<Backlog>, StoreError> {
        self.read(async move |_, db| outbox::backlogs(db).await).await
    }

    async fn invites(&self, filter: &InviteFilter) -> Result<Vec<Invite>, StoreError> {
        let filter = filter.clone();
        self.read(async move |inner, db| outbox::invites(db, &inner.keys, &filter).await).await
    }

    async fn invite_counts(&self) -> Result<Vec<(TargetName, InviteState, u64)>, StoreError> {
        self.read(async move |_, db| outbox::invite_counts(db).await).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.read(async move |_, db| read::tokens(db).await).await
    }
}
