//! The store in a `PostgreSQL` database: for those who keep one anyway, and for replicas to come.
//!
//! # Guarantees
//! - A commit is one transaction that locks and checks the fence first, so that whoever took the
//!   lease later refuses the commits of whoever had it before, even of one that does not know yet.
//!   Under that lock nobody else writes: `READ COMMITTED` sees what `SERIALIZABLE` would.
//! - A second process is refused while the first is alive: its session holds an advisory lock, and
//!   the server ends the session of a machine that is gone within about 11 s.
//! - A commit that says it failed did not happen, except where the server was away for more than
//!   some seconds right then; that one is found out about before the next.
//! - What is sealed in a SQLite store is sealed here too.
//!
//! # Assumptions
//! - Sessions are real ones: a pooler that gives a session to others between transactions would
//!   give away the lease. The fence still refuses a second writer then.
//!
//! # Caveats
//! - Like the SQLite store, every operation is a blocking job that runs to its end.

mod chains;
mod doubt;
mod fault;
mod hands;
mod identities;
mod outbox;
mod read;
mod requests;
mod schema;
mod session;
mod snapshots;
mod transfer;
mod windows;
mod write;
mod writer;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use chrono::Utc;
use sqlx::Connection;
use sqlx::PgConnection;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::sync::MutexGuard;
use tokio::task::JoinError;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::audit::exporter::Exporter;
use crate::audit::heads;
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
use crate::stores::postgres::fault::Fault;
use crate::stores::postgres::fault::Kind;
use crate::stores::postgres::session::Door;
use crate::stores::postgres::writer::Writer;

/// Readers beside the one writer: enough for the engine and a page at the same time.
const READERS: usize = 3;
/// How long one look may take; a check of the whole audit log is the longest.
const READ: Duration = Duration::from_mins(1);

/// The store in a `PostgreSQL` database.
pub struct PostgresStore {
    inner: Arc<Inner>,
    fence: Fence,
    warnings: Vec<String>,
}

struct Inner {
    door: Door,
    keys: Arc<Keys>,
    /// Random id of this store, part of what audit heads sign.
    id: String,
    heads: PathBuf,
    /// Said once at the start and by every check of the audit log of this process.
    audit_note: Option<String>,
    /// `None` once the store is closed.
    writer: Mutex<Option<Writer>>,
    /// Each connects when it is first needed, and again after it was lost.
    readers: Vec<Mutex<Option<PgConnection>>>,
    next_reader: AtomicUsize,
}

impl PostgresStore {
    /// Opens the store in the database at `url`, or makes it, and brings it to the newest schema.
    /// `heads` is where audit heads are exported; `actor` is who asks, for the message that another
    /// process gets meanwhile: `run`, `apply`.
    ///
    /// # Errors
    /// [`StoreError::Held`] while another process has it; [`StoreError::Unavailable`] with a clear
    /// word where the server does not answer or does not let us in, or where the schema is newer
    /// than this program, another program's, or was written with other keys.
    pub async fn open(url: &str, heads: PathBuf, keys: Arc<Keys>, actor: &str) -> Result<Self, StoreError> {
        let door = Door::of(url, actor)?;
        let place = door.place.clone();
        let (job, handle) = (async move { enter(door, heads, keys).await }, Handle::current());
        let opened = spawn_blocking(move || handle.block_on(job)).await.map_err(|error| stopped(&error))?;
        opened.map_err(|fault| fault.into_error(&place))
    }

    /// Where the heads of a store in a database are exported: beside the keys.
    pub fn heads_beside(keys: &Keys, otherwise: PathBuf) -> PathBuf {
        keys.file().map_or(otherwise, |file| heads::place(&file.with_file_name("rosterd"), keys))
    }

    /// What the operator should know about the store: audit heads that are missing or say more than
    /// it does.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Waits for work that is under way, ends the sessions and gives the lease up.
    pub async fn close(&self) {
        for reader in &self.inner.readers {
            if let Some(reader) = reader.lock().await.take() {
                drop(reader.close().await);
            }
        }
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
            let db = writer.session(inner).await?;
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
            let db = writer.session(inner).await?;
            transfer::import(db, &inner.keys, (&inner.id, &inner.heads), input).await
        });
        let taken = taken.await;
        self.close().await;
        taken
    }

    /// Runs `job` on a reader, and once more on a fresh connection where the old one was dead.
    async fn read<T: Send + 'static>(
        &self,
        job: impl AsyncFn(&Inner, &mut PgConnection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (inner, handle) = (self.inner.clone(), Handle::current());
        let work = move || {
            handle.block_on(async {
                let mut reader = inner.reader().await;
                let first = inner.asked(&mut reader, &job).await;
                let read = match first {
                    Err(fault) if fault.kind() == Kind::Cut => inner.asked(&mut reader, &job).await,
                    first => first,
                };
                read.map_err(|fault| fault.into_error(&inner.door.place))
            })
        };
        spawn_blocking(work).await.map_err(|error| stopped(&error))?
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
                job(&inner, writer).await.map_err(|fault| fault.into_error(&inner.door.place))
            })
        };
        spawn_blocking(work).await.map_err(|error| stopped(&error))?
    }
}

/// Takes the lease, brings the schema up and reads where the chains end.
async fn enter(door: Door, heads: PathBuf, keys: Arc<Keys>) -> Result<PostgresStore, Fault> {
    let mut db = door.enter().await?;
    schema::migrate(&mut db).await?;
    let (id, fence) = schema::take_over(&mut db, &keys, door.actor()).await?;
    let (ends, audit) = chains::load(&mut db, &id, &keys, &heads).await?;
    if let Some(why) = &audit.doubt {
        doubt::raise(&mut db, why).await?;
    }
    let exporter = Exporter::start(heads.clone(), audit.export, &ends);
    let writer = Writer::new(db, fence, ends, exporter);
    let readers = std::iter::repeat_with(Mutex::default).take(READERS).collect();
    let inner = Inner {
        door,
        keys,
        id,
        heads,
        audit_note: audit.note,
        writer: Mutex::new(None),
        readers,
        next_reader: AtomicUsize::new(0),
    };
    *inner.writer.lock().await = Some(writer);
    Ok(PostgresStore { inner: Arc::new(inner), fence, warnings: audit.warnings })
}

impl Inner {
    /// A free reader, or the turn of a busy one.
    async fn reader(&self) -> MutexGuard<'_, Option<PgConnection>> {
        if let Some(free) = self.readers.iter().find_map(|reader| reader.try_lock().ok()) {
            return free;
        }
        let turn = self.next_reader.fetch_add(1, Ordering::Relaxed) % READERS;
        let mut readers = self.readers.iter().cycle().skip(turn);
        match readers.next() {
            Some(reader) => reader.lock().await,
            // There are readers as long as the store lives; this arm would wait for ever.
            None => std::future::pending().await,
        }
    }

    /// Asks over the connection in `slot`, or a new one; one that was lost does not go back there.
    async fn asked<T>(
        &self,
        slot: &mut Option<PgConnection>,
        job: &impl AsyncFn(&Self, &mut PgConnection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut db = match slot.take() {
            Some(db) => db,
            None => self.door.reader().await?,
        };
        let answer = timeout(READ, job(self, &mut db)).await.unwrap_or(Err(Fault::Late));
        if answer.as_ref().err().is_none_or(|fault| fault.kind() != Kind::Cut) {
            *slot = Some(db);
        }
        answer
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed; rosterd is stopping".to_owned())
}

fn stopped(error: &JoinError) -> StoreError {
    StoreError::Unavailable(format!("the store's work was cut off ({error}); start rosterd again"))
}

#[async_trait]
impl Store for PostgresStore {
    fn fence(&self) -> Fence {
        self.fence
    }

    async fn time(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.read(async move |_, db| read::time(db).await.map(Some)).await
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
        let space = space.clone();
        self.read(async move |_, db| windows::owned_active_at(db, &space, at).await).await
    }

    async fn window_time(&self) -> Result<WindowTime, StoreError> {
        self.read(async move |_, db| windows::time(db).await).await
    }

    async fn known_targets(&self) -> Result<BTreeMap<TargetName, KnownTarget>, StoreError> {
        self.read(async move |_, db| windows::known_targets(db).await).await
    }

    async fn end_dates(&self, records: &BTreeSet<RecordId>) -> Result<BTreeMap<EndDate, DateTime<Utc>>, StoreError> {
        let records = records.clone();
        self.read(async move |_, db| windows::end_dates(db, &records).await).await
    }

    async fn mass_ends(&self) -> Result<BTreeSet<EndDate>, StoreError> {
        self.read(async move |_, db| windows::mass_ends(db).await).await
    }

    async fn permits(&self) -> Result<BTreeMap<Permit, DateTime<Utc>>, StoreError> {
        self.read(async move |_, db| windows::permits(db).await).await
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
        self.write(async move |inner, writer| writer.snapshot(inner).await).await
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
        self.read(async move |_, db| snapshots::highest_level(db, since).await).await
    }

    async fn causes(&self, target: &TargetName) -> Result<BTreeMap<CauseKey, Cause>, StoreError> {
        let target = target.clone();
        self.read(async move |_, db| read::causes(db, &target).await).await
    }

    async fn decisions(&self) -> Result<Vec<Decision>, StoreError> {
        self.read(async move |_, db| read::decisions(db).await).await
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
        let target = target.clone();
        self.read(async move |_, db| doubt::of(db, &target).await).await
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
