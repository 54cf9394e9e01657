//! The one writing session: a commit and what it remembers between commits.

use std::sync::Arc;

use std::time::Duration;

use sqlx::Connection;
use sqlx::PgConnection;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::audit::ends::Ends;
use crate::audit::exporter::Exporter;
use crate::model::snapshot::Snapshot;
use crate::secrets::keys::Keys;
use crate::store::AcceptedSnapshot;
use crate::store::Fence;
use crate::store::Write;
use crate::store::batch::Batch;
use crate::store::parts::Buckets;
use crate::stores::postgres::Inner;
use crate::stores::postgres::chains;
use crate::stores::postgres::fault::Fault;
use crate::stores::postgres::fault::Kind;
use crate::stores::postgres::session;
use crate::stores::postgres::snapshots;
use crate::stores::postgres::write;

/// How long one commit may take; the first snapshot of a million users takes the better part of it.
const COMMIT: Duration = Duration::from_mins(1);
/// How often a commit that met another transaction, or a dead connection, is tried.
const TRIES: usize = 4;
/// How often, and how far apart, a server that went away in the middle of a commit is asked what
/// became of it.
const SETTLE: (usize, Duration) = (10, Duration::from_millis(300));

/// The writing session. What it holds besides follows the database: it is replaced after a commit
/// succeeded and left as it was when one failed.
pub(super) struct Writer {
    /// `None` while the server is away.
    db: Option<PgConnection>,
    fence: Fence,
    ends: Ends,
    exporter: Exporter,
    /// The accepted snapshot as the database holds it.
    snapshot: Option<AcceptedSnapshot>,
    buckets: Buckets,
    unsure: Option<Unsure>,
}

/// What follows from a commit that succeeded.
struct Next {
    ends: Option<Ends>,
    snapshot: Option<AcceptedSnapshot>,
}

/// What one try of a commit goes by.
struct Under<'a> {
    fence: Fence,
    /// The name the database keeps it by.
    id: &'a str,
    /// Filled right before the server is told to commit.
    next: &'a mut Option<Next>,
}

/// A commit whose answer was lost: the database alone knows whether it happened.
struct Unsure {
    id: String,
    next: Next,
}

impl Writer {
    pub(super) fn new(db: PgConnection, fence: Fence, ends: Ends, exporter: Exporter) -> Self {
        Self { db: Some(db), fence, ends, exporter, snapshot: None, buckets: Buckets::default(), unsure: None }
    }

    /// Ends the session, and with it the lease.
    pub(super) async fn close(self) {
        // Before the lease is given up: whoever takes it writes heads of its own.
        self.exporter.close().await;
        if let Some(db) = self.db {
            drop(db.close().await);
        }
    }

    /// The session itself, for moving everything at once.
    pub(super) async fn session(&mut self, inner: &Inner) -> Result<&mut PgConnection, Fault> {
        self.ready(inner).await?;
        self.db.as_mut().ok_or(Fault::Late)
    }

    /// All of `writes` or nothing. Where the connection was lost before the server was told to
    /// commit, another one is tried; where it was lost after, the database is asked what happened.
    pub(super) async fn commit(&mut self, inner: &Inner, writes: Vec<Write>, fence: Fence) -> Result<(), Fault> {
        let batch = Batch::of(writes);
        let mut tries = 1;
        loop {
            let Err(fault) = self.attempt(inner, &batch, fence).await else { return Ok(()) };
            if self.unsure.is_some() && self.found_out(inner).await {
                return Ok(());
            }
            if self.unsure.is_some() {
                return Err(fault);
            }
            // A connection that was dead already is tried once more; a server that is away is not
            // waited for: the engine asks again by itself.
            let again = match fault.kind() {
                Kind::Conflict => tries < TRIES,
                Kind::Cut => tries < 2,
                Kind::Final => false,
            };
            if !again {
                return Err(fault);
            }
            tries += 1;
        }
    }

    async fn attempt(&mut self, inner: &Inner, batch: &Batch, fence: Fence) -> Result<(), Fault> {
        self.ready(inner).await?;
        // Out of our hands while it is used: a connection that did not answer in time is never used again.
        let Some(mut db) = self.db.take() else { return Err(Fault::Late) };
        let id = uuid::Uuid::new_v4().to_string();
        let mut next = None;
        let under = Under { fence, id: &id, next: &mut next };
        let work = self.transact(&mut db, inner, batch, under);
        let done = timeout(COMMIT, work).await.unwrap_or(Err(Fault::Late));
        match (done, next) {
            (Ok(()), next) => {
                self.db = Some(db);
                self.became(next);
                Ok(())
            }
            (Err(fault), next) if fault.kind() == Kind::Cut => {
                self.unsure = next.map(|next| Unsure { id, next });
                Err(fault)
            }
            (Err(fault), _) => {
                self.db = Some(db);
                Err(fault)
            }
        }
    }

    /// One transaction.
    async fn transact(
        &mut self,
        db: &mut PgConnection,
        inner: &Inner,
        batch: &Batch,
        Under { fence, id, next }: Under<'_>,
    ) -> Result<(), Fault> {
        let mut tx = db.begin().await?;
        // Locks the row until the end: no other holder can come between this check and the commit.
        session::check_fence(&mut tx, fence).await?;
        sqlx::query("UPDATE lease SET commit_id = $1").bind(id).execute(&mut *tx).await?;
        write::all(&mut tx, &inner.keys, batch).await?;
        let mut snapshot = None;
        for accepted in &batch.snapshots {
            let last = snapshot.as_ref().or(self.snapshot.as_ref());
            snapshots::write(&mut tx, &inner.keys, &mut self.buckets, last, accepted).await?;
            snapshot = Some(accepted.clone());
        }
        let ends = chains::append(&mut tx, &inner.keys, &self.ends, batch.audit.clone()).await?;
        *next = Some(Next { ends, snapshot });
        Ok(tx.commit().await?)
    }

    /// Connects where that is needed, and finds out about a commit whose answer was lost.
    async fn ready(&mut self, inner: &Inner) -> Result<(), Fault> {
        if self.db.is_none() {
            self.db = Some(inner.door.enter_again(self.fence).await?);
        }
        if self.unsure.is_some() {
            self.settle().await?;
        }
        Ok(())
    }

    /// Whether the commit in question happened. Asked over a session that holds the lease: the one
    /// that was lost has ended by then, so the answer is final.
    async fn settle(&mut self) -> Result<bool, Fault> {
        let Some(db) = self.db.as_mut() else { return Err(Fault::Late) };
        let asked = sqlx::query_scalar("SELECT commit_id FROM lease").fetch_one(db).await;
        let last: String = asked.inspect_err(|_| self.db = None)?;
        let Some(unsure) = self.unsure.take() else { return Ok(false) };
        let happened = last == unsure.id;
        if happened {
            self.became(Some(unsure.next));
        }
        Ok(happened)
    }

    /// Whether the commit whose answer was lost is known to have happened. What cannot be found out
    /// now stays in question, and is asked again before anything else is written.
    async fn found_out(&mut self, inner: &Inner) -> bool {
        let (times, pause) = SETTLE;
        for _ in 0..times {
            sleep(pause).await;
            if self.db.is_none() {
                self.db = inner.door.enter_again(self.fence).await.ok();
            }
            if self.db.is_none() {
                continue;
            }
            if let Ok(happened) = self.settle().await {
                return happened;
            }
        }
        false
    }

    fn became(&mut self, next: Option<Next>) {
        let Some(Next { ends, snapshot }) = next else { return };
        if snapshot.is_some() {
            self.snapshot = snapshot;
        }
        if let Some(ends) = ends {
            self.ends = ends;
            self.exporter.follow(&self.ends);
        }
    }

    /// Keeps a snapshot that equals the accepted one in its place.
    pub(super) fn share_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        if let Some(accepted) = self.snapshot.as_mut().filter(|accepted| accepted.snapshot == snapshot) {
            accepted.snapshot = snapshot;
        }
    }

    /// The accepted snapshot; read once, since nobody else writes it.
    pub(super) async fn snapshot(&mut self, inner: &Inner) -> Result<Option<AcceptedSnapshot>, Fault> {
        if self.snapshot.is_none() {
            self.ready(inner).await?;
        }
        if self.snapshot.is_none() {
            self.snapshot = self.read_snapshot(&inner.keys).await?;
        }
        Ok(self.snapshot.clone())
    }

    async fn read_snapshot(&mut self, keys: &Keys) -> Result<Option<AcceptedSnapshot>, Fault> {
        let Some(mut db) = self.db.take() else { return Err(Fault::Late) };
        let read = timeout(COMMIT, snapshots::read(&mut db, keys)).await.unwrap_or(Err(Fault::Late));
        if read.as_ref().err().is_none_or(|fault| fault.kind() != Kind::Cut) {
            self.db = Some(db);
        }
        read
    }
}
