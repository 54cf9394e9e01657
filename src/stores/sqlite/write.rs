//! The one writer: a commit and what it remembers between commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use sqlx::ConnectOptions;
use sqlx::Connection;
use sqlx::SqliteConnection;

use crate::audit::ends::Ends;
use crate::audit::exporter::Exporter;
use crate::model::change::Cause;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::history::SeenAccount;
use crate::model::history::Standing;
use crate::model::ids::IntentId;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::model::snapshot::Snapshot;
use crate::secrets::keys::Keys;
use crate::store::AcceptedSnapshot;
use crate::store::CauseKey;
use crate::store::Fence;
use crate::store::StoreError;
use crate::store::Write;
use crate::store::batch::Batch;
use crate::store::batch::IntentWrite;
use crate::store::batch::LinkWrite;
use crate::store::batch::SeenWrite;
use crate::store::batch::TokenWrite;
use crate::store::batch::outside;
use crate::store::intents;
use crate::store::parts::Buckets;
use crate::store::rows::intent_context;
use crate::store::rows::linked_by;
use crate::store::rows::nanos;
use crate::store::rows::outcome_columns;
use crate::store::rows::standing_context;
use crate::stores::sqlite::Inner;
use crate::stores::sqlite::chains;
use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::file;
use crate::stores::sqlite::hands;
use crate::stores::sqlite::identities;
use crate::stores::sqlite::known::Written;
use crate::stores::sqlite::lock::Lease;
use crate::stores::sqlite::outbox;
use crate::stores::sqlite::requests;
use crate::stores::sqlite::script::Script;
use crate::stores::sqlite::snapshots;
use crate::stores::sqlite::windows;

/// Rows of one statement. Its text is one JSON array, so the bound is memory, not parameters.
pub(super) const ROWS: usize = 500;

/// The writing connection. What it holds besides follows the file: it is replaced after a commit
/// succeeded and left as it was when one failed.
pub(super) struct Writer {
    db: SqliteConnection,
    ends: Ends,
    exporter: Exporter,
    /// The accepted snapshot as the file holds it.
    snapshot: Option<AcceptedSnapshot>,
    spaces: Spaces,
    buckets: Buckets,
    /// Last, so that it is given up after the connection.
    lease: Lease,
}

impl Writer {
    pub(super) fn new(db: SqliteConnection, lease: Lease, ends: Ends, exporter: Exporter) -> Self {
        let (buckets, spaces) = (Buckets::default(), Spaces::default());
        Self { db, ends, exporter, snapshot: None, buckets, spaces, lease }
    }

    /// Closes the file, then gives the lease up. A failure to tidy up loses nothing that was committed.
    pub(super) async fn close(self) {
        drop(self.db.close().await);
        self.exporter.close().await;
        drop(self.lease);
    }

    /// Leaves a line about the files for the next process. The line that stood there goes on to be true of
    /// them, so a failure is said and not returned.
    pub(super) fn leave(&mut self, line: &str) {
        if let Err(error) = self.lease.leave(line) {
            tracing::warn!(%error, "what is known of the store's files was not written down");
        }
    }

    /// The connection itself, for moving everything at once.
    pub(super) fn session(&mut self) -> &mut SqliteConnection {
        &mut self.db
    }

    /// All of `writes` or nothing.
    pub(super) async fn commit(&mut self, inner: &Inner, writes: Vec<Write>, fence: Fence) -> Result<(), Fault> {
        let batch = Batch::of(writes);
        let written = Written::by(&batch);
        let done = self.try_commit(inner, batch, fence).await;
        inner.known.forget(written, done.is_ok());
        if let Err(Fault::Sql(_)) = &done {
            self.renew(inner).await;
        }
        done
    }

    /// Opens the file anew. Where the disk is full SQLite rolls a transaction back by itself, and
    /// the driver would believe for ever that it is still inside.
    async fn renew(&mut self, inner: &Inner) {
        let Ok(db) = file::options(&inner.path).connect().await else { return };
        // Another file may stand there by now: that one is not to be written.
        let unused = match inner.present.check() {
            Ok(()) => std::mem::replace(&mut self.db, db),
            Err(_) => db,
        };
        drop(unused.close().await);
    }

    async fn try_commit(&mut self, inner: &Inner, batch: Batch, fence: Fence) -> Result<(), Fault> {
        // What a transaction that fails numbers is forgotten with it.
        let mut spaces = std::mem::take(&mut self.spaces);
        let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
        let mut script = Script::default();
        check_fence(&mut tx, fence).await?;
        links(&mut tx, &mut spaces, &batch.links).await?;
        hands::write(&mut tx, &mut spaces, &inner.keys, &batch.hands).await?;
        identities::write(&mut tx, &mut script, &mut spaces, &batch.identities).await?;
        intents(&mut tx, &mut script, &mut spaces, &inner.keys, &batch.intents).await?;
        causes(&mut tx, &batch.causes).await?;
        for decision in &batch.decisions {
            let insert = "INSERT INTO decision (body) VALUES ($1)";
            sqlx::query(insert).bind(serde_json::to_string(decision)?).execute(&mut *tx).await?;
        }
        for (space, standing) in &batch.standings {
            let id = spaces.id(&mut tx, space).await?;
            set_standing(&mut tx, &mut script, &inner.keys, id, standing).await?;
        }
        owed(&mut tx, &mut script, &mut spaces, &batch.owed).await?;
        seen(&mut tx, &mut script, &mut spaces, &batch.seen).await?;
        for cycle in &batch.cycles {
            let upsert = "INSERT INTO cycle (id, target, body) VALUES ($1, $2, $3)
                ON CONFLICT (id) DO UPDATE SET body = excluded.body";
            let (id, target) = (cycle.id.as_str(), cycle.space.target.as_str());
            script.add(&mut tx, upsert, [id.into(), target.into(), serde_json::to_string(cycle)?.into()]).await?;
        }
        tokens(&mut tx, &batch.tokens).await?;
        windows::write(&mut tx, &mut script, &mut spaces, &batch.windows).await?;
        requests::write(&mut tx, &mut spaces, &inner.keys, &batch.requests).await?;
        outbox::write_messages(&mut tx, &inner.keys, &batch.messages).await?;
        outbox::write_invites(&mut tx, &mut spaces, &inner.keys, &batch.invites).await?;
        let mut accepted = self.snapshot.clone();
        for snapshot in batch.snapshots {
            let parts = (&mut self.buckets, accepted.as_ref());
            snapshots::write(&mut tx, &mut script, &inner.keys, parts, &snapshot).await?;
            accepted = Some(snapshot);
        }
        let ends = chains::append(&mut tx, &mut script, &inner.keys, &self.ends, batch.audit).await?;
        script.run(&mut tx).await?;
        tx.commit().await?;
        self.spaces = spaces;
        self.snapshot = accepted;
        if let Some(ends) = ends {
            self.ends = ends;
            self.exporter.follow(&self.ends);
        }
        Ok(())
    }

    /// Keeps a snapshot that equals the accepted one in its place.
    pub(super) fn share_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        if let Some(accepted) = self.snapshot.as_mut().filter(|accepted| accepted.snapshot == snapshot) {
            accepted.snapshot = snapshot;
        }
    }

    /// The accepted snapshot; read once, since nobody else writes the file.
    pub(super) async fn snapshot(&mut self, keys: &Keys) -> Result<Option<AcceptedSnapshot>, Fault> {
        if self.snapshot.is_none() {
            self.snapshot = snapshots::read(&mut self.db, keys).await?;
        }
        Ok(self.snapshot.clone())
    }
}

async fn check_fence(db: &mut SqliteConnection, fence: Fence) -> Result<(), Fault> {
    let current: i64 = sqlx::query_scalar("SELECT fence FROM lease").fetch_one(db).await?;
    if current.unsigned_abs() == fence.0 {
        return Ok(());
    }
    Err(Fault::Plain(StoreError::Fenced(format!(
        "this process held the store under fence {} and the store is at {current}: another one took over; nothing was \
         written, stop this process",
        fence.0
    ))))
}

/// The numbers that stand for spaces in every table, as far as they were asked for.
#[derive(Default)]
pub(super) struct Spaces(BTreeMap<Space, i64>);

impl Spaces {
    pub(super) async fn id(&mut self, db: &mut SqliteConnection, space: &Space) -> Result<i64, Fault> {
        if let Some(id) = self.0.get(space) {
            return Ok(*id);
        }
        // A conflict must update something for RETURNING to give the row.
        let sql = "INSERT INTO space (target, environment, realm) VALUES ($1, $2, $3)
            ON CONFLICT DO UPDATE SET realm = excluded.realm RETURNING id";
        let query = sqlx::query_scalar(sql).bind(space.target.as_str()).bind(space.environment.as_str());
        let id = query.bind(space.realm.as_str()).fetch_one(db).await?;
        self.0.insert(space.clone(), id);
        Ok(id)
    }
}

async fn links(db: &mut SqliteConnection, spaces: &mut Spaces, writes: &[(Space, LinkWrite)]) -> Result<(), Fault> {
    let same = |a: &(Space, LinkWrite), b: &(Space, LinkWrite)| {
        a.0 == b.0 && matches!(a.1, LinkWrite::Set(_)) == matches!(b.1, LinkWrite::Set(_))
    };
    for run in writes.chunk_by(same).flat_map(|run| run.chunks(ROWS)) {
        let Some((space, _)) = run.first() else { continue };
        let id = spaces.id(db, space).await?;
        let (mut set, mut dropped) = (Vec::new(), Vec::new());
        for (_, write) in run {
            match write {
                LinkWrite::Set(link) => set.push(link),
                LinkWrite::Drop(record) => dropped.push(record.as_str()),
            }
        }
        if dropped.is_empty() {
            set_links(db, space, id, &set).await?;
        } else {
            let sql = "DELETE FROM link WHERE space = $1 AND record IN (SELECT value FROM json_each($2))";
            sqlx::query(sql).bind(id).bind(serde_json::to_string(&dropped)?).execute(&mut *db).await?;
        }
    }
    Ok(())
}

async fn set_links(db: &mut SqliteConnection, space: &Space, id: i64, links: &[&Link]) -> Result<(), Fault> {
    let sql = "INSERT INTO link (space, record, account, linked_by, disabled_by_us, granted, since)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value -> 4, value ->> 5 FROM json_each($2)
        WHERE true ON CONFLICT (space, record) DO UPDATE SET account = excluded.account,
        linked_by = excluded.linked_by, disabled_by_us = excluded.disabled_by_us, granted = excluded.granted,
        since = excluded.since";
    let rows: Vec<_> = links
        .iter()
        .map(|link| {
            let Link { record, account, by, disabled_by_us, granted, since } = link;
            (record, account, linked_by(*by), u8::from(*disabled_by_us), granted, nanos(*since))
        })
        .collect();
    let done = sqlx::query(sql).bind(id).bind(serde_json::to_string(&rows)?).execute(&mut *db).await;
    match done {
        Err(error) if error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation) => {
            Err(taken(db, space, id, links).await?)
        }
        done => Ok(done.map(|_| ())?),
    }
}

/// Which account of `links` is another user's already.
async fn taken(db: &mut SqliteConnection, space: &Space, id: i64, links: &[&Link]) -> Result<Fault, Fault> {
    let sql = "SELECT record FROM link WHERE space = $1 AND account = $2 AND record <> $3";
    for Link { record, account, .. } in links {
        let query = sqlx::query_scalar(sql).bind(id).bind(account.as_str()).bind(record.as_str());
        let holder: Option<String> = query.fetch_optional(&mut *db).await?;
        if let Some(holder) = holder {
            return Ok(Fault::refuse(format!(
                "account `{account}` of `{}` is linked to another user already, to `{holder}`, so it was not linked to \
                 `{record}`; unlink that one first",
                space.target
            )));
        }
    }
    Ok(Fault::refuse(format!("two users were to be linked to one account of `{}`; nothing was written", space.target)))
}

/// Neighbours of one kind and place are one statement: each is a turn of the driver's own thread, which
/// costs more than the row itself.
async fn intents(
    db: &mut SqliteConnection,
    script: &mut Script,
    spaces: &mut Spaces,
    keys: &Keys,
    writes: &[IntentWrite],
) -> Result<(), Fault> {
    let same = |a: &IntentWrite, b: &IntentWrite| match (a, b) {
        (IntentWrite::Open(a), IntentWrite::Open(b)) => a.space == b.space,
        (IntentWrite::Close(..), IntentWrite::Close(..)) => true,
        _ => false,
    };
    let mut opens = false;
    for run in writes.chunk_by(same).flat_map(|run| run.chunks(ROWS)) {
        let (mut opened, mut closed) = (Vec::new(), BTreeMap::new());
        for write in run {
            match write {
                IntentWrite::Open(intent) => opened.push(&**intent),
                IntentWrite::Close(id, result, at) => drop(closed.insert(id, (result, *at))),
            }
        }
        if let Some(first) = opened.first() {
            let space = spaces.id(db, &first.space).await?;
            open_intents(db, script, (keys, space), &opened).await?;
            opens = true;
        }
        if opens && !closed.is_empty() {
            // They may close what was opened just before.
            script.run(db).await?;
        }
        close_intents(db, keys, &closed).await?;
    }
    Ok(())
}

/// Bytes of many rows in one parameter: JSON holds none, so rows name the part that is theirs.
#[derive(Default)]
struct Parts(Vec<u8>);

impl Parts {
    /// Where the part begins, counted from 1, and how long it is: what `substr` asks for.
    fn put(&mut self, part: &[u8]) -> (usize, usize) {
        let from = self.0.len() + 1;
        self.0.extend_from_slice(part);
        (from, part.len())
    }
}

/// Intents of one space.
async fn open_intents(
    db: &mut SqliteConnection,
    script: &mut Script,
    (keys, space): (&Keys, i64),
    intents: &[&Intent],
) -> Result<(), Fault> {
    let (mut rows, mut bodies) = (Vec::with_capacity(intents.len()), Parts::default());
    for intent in intents {
        let body = keys.seal(&intent_context(intent.id.as_str()), &intents::text(intent)?)?;
        let (from, length) = bodies.put(&body);
        rows.push((&intent.id, &intent.change.record, nanos(intent.at), from, length));
    }
    let sql = "INSERT INTO intent (id, space, record, at, body)
        SELECT value ->> 0, $1, value ->> 1, value ->> 2, substr($3, value ->> 3, value ->> 4) FROM json_each($2)
        WHERE TRUE ON CONFLICT (id) DO NOTHING";
    script.add(db, sql, [space.into(), serde_json::to_string(&rows)?.into(), bodies.0.into()]).await?;
    windows::count(db, script, space, intents).await
}

/// What came of intents; the last word counts.
async fn close_intents(
    db: &mut SqliteConnection,
    keys: &Keys,
    outcomes: &BTreeMap<&IntentId, (&OutcomeResult, DateTime<Utc>)>,
) -> Result<(), Fault> {
    if outcomes.is_empty() {
        return Ok(());
    }
    let (mut rows, mut texts) = (Vec::with_capacity(outcomes.len()), Parts::default());
    for (id, (result, at)) in outcomes {
        let (word, text) = outcome_columns(keys, id, result)?;
        let (from, length) = text.map(|text| texts.put(&text)).unzip();
        rows.push((id, word, from, length, nanos(*at)));
    }
    let sql = "UPDATE intent SET outcome = value ->> 1, outcome_text = substr($2, value ->> 2, value ->> 3),
        outcome_at = value ->> 4 FROM json_each($1) WHERE intent.id = value ->> 0";
    let query = sqlx::query(sql).bind(serde_json::to_string(&rows)?).bind(texts.0);
    if query.execute(&mut *db).await?.rows_affected() == rows.len() as u64 {
        return Ok(());
    }
    for id in outcomes.keys() {
        let known = sqlx::query("SELECT 1 FROM intent WHERE id = $1").bind(id.as_str()).fetch_optional(&mut *db);
        if known.await?.is_none() {
            return Err(Fault::refuse(format!("no intent `{id}` was recorded, so it cannot be closed")));
        }
    }
    Ok(())
}

/// A cause stands as it was first seen until it is forgotten.
async fn causes(db: &mut SqliteConnection, writes: &[(CauseKey, Option<Cause>)]) -> Result<(), Fault> {
    for run in writes.chunk_by(|a, b| a.1.is_some() == b.1.is_some()).flat_map(|run| run.chunks(ROWS)) {
        let rows: Vec<_> = run
            .iter()
            .map(|(CauseKey { record, target, entitlement }, cause)| {
                let entitlement = entitlement.as_ref().map_or("", |name| name.as_str());
                (target, record, entitlement, cause.map(Cause::as_str))
            })
            .collect();
        let sql = if run.first().is_some_and(|(_, cause)| cause.is_some()) {
            "INSERT INTO cause (target, record, entitlement, cause)
            SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each($1) WHERE true
            ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM cause WHERE (target, record, entitlement) IN
            (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1))"
        };
        sqlx::query(sql).bind(serde_json::to_string(&rows)?).execute(&mut *db).await?;
    }
    Ok(())
}

async fn set_standing(
    db: &mut SqliteConnection,
    script: &mut Script,
    keys: &Keys,
    space: i64,
    standing: &Standing,
) -> Result<(), Fault> {
    let body = keys.seal(&standing_context(space), &serde_json::to_vec(standing)?)?;
    let sql = "INSERT INTO standing (space, body) VALUES ($1, $2)
        ON CONFLICT (space) DO UPDATE SET body = excluded.body";
    script.add(db, sql, [space.into(), body.into()]).await
}

async fn owed(
    db: &mut SqliteConnection,
    script: &mut Script,
    spaces: &mut Spaces,
    writes: &[(Space, RecordId, Option<DateTime<Utc>>)],
) -> Result<(), Fault> {
    for run in writes.chunk_by(|a, b| a.0 == b.0 && a.2.is_some() == b.2.is_some()).flat_map(|run| run.chunks(ROWS)) {
        let Some((space, _, first)) = run.first() else { continue };
        let id = spaces.id(db, space).await?;
        let rows: Vec<_> = run.iter().map(|(_, record, since)| (record, since.map(nanos))).collect();
        let sql = if first.is_some() {
            "INSERT INTO owed (space, record, since)
            SELECT $1, value ->> 0, value ->> 1 FROM json_each($2) WHERE true
            ON CONFLICT (space, record) DO UPDATE SET since = excluded.since"
        } else {
            "DELETE FROM owed WHERE space = $1 AND record IN (SELECT value ->> 0 FROM json_each($2))"
        };
        script.add(db, sql, [id.into(), serde_json::to_string(&rows)?.into()]).await?;
    }
    Ok(())
}

async fn seen(
    db: &mut SqliteConnection,
    script: &mut Script,
    spaces: &mut Spaces,
    writes: &[(Space, SeenWrite)],
) -> Result<(), Fault> {
    for (space, write) in writes {
        let id = spaces.id(db, space).await?;
        match write {
            SeenWrite::Set(accounts) => set_seen(db, script, id, accounts).await?,
            SeenWrite::SetAll(accounts) => {
                script.run(db).await?;
                let sql = "SELECT account FROM seen WHERE space = $1";
                let known = sqlx::query_scalar(sql).bind(id).fetch(&mut *db);
                for chunk in outside(accounts, known).await?.chunks(ROWS) {
                    drop_seen(db, script, id, chunk).await?;
                }
                set_seen(db, script, id, accounts).await?;
            }
            SeenWrite::Drop(account) => drop_seen(db, script, id, std::slice::from_ref(account)).await?,
        }
    }
    Ok(())
}

async fn set_seen(
    db: &mut SqliteConnection,
    script: &mut Script,
    space: i64,
    accounts: &[SeenAccount],
) -> Result<(), Fault> {
    // Sorted, so that a big listing fills the table's pages one after the other. A row that is the same is
    // no write: each listing would write every account anew otherwise.
    let mut sorted: Vec<&SeenAccount> = accounts.iter().collect();
    sorted.sort_by(|a, b| a.account.cmp(&b.account));
    let sql = "INSERT INTO seen (space, account, user_name, state, record)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each($2) WHERE true
        ON CONFLICT (space, account) DO UPDATE SET user_name = excluded.user_name, state = excluded.state,
        record = excluded.record
        WHERE (seen.user_name, seen.state, seen.record) IS NOT (excluded.user_name, excluded.state, excluded.record)";
    for chunk in sorted.chunks(ROWS) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|SeenAccount { account, user_name, state, record }| (account, user_name, state.as_str(), record))
            .collect();
        script.add(db, sql, [space.into(), serde_json::to_string(&rows)?.into()]).await?;
    }
    Ok(())
}

async fn drop_seen<T: serde::Serialize>(
    db: &mut SqliteConnection,
    script: &mut Script,
    space: i64,
    accounts: &[T],
) -> Result<(), Fault> {
    let sql = "DELETE FROM seen WHERE space = $1 AND account IN (SELECT value FROM json_each($2))";
    script.add(db, sql, [space.into(), serde_json::to_string(accounts)?.into()]).await
}

async fn tokens(db: &mut SqliteConnection, writes: &[TokenWrite]) -> Result<(), Fault> {
    for write in writes {
        match write {
            TokenWrite::Set(token) => {
                let sql = "INSERT INTO token (name, body) VALUES ($1, $2)
                    ON CONFLICT (name) DO UPDATE SET body = excluded.body";
                let query = sqlx::query(sql).bind(&token.name).bind(serde_json::to_string(token)?);
                query.execute(&mut *db).await?;
            }
            TokenWrite::Drop(name) => {
                sqlx::query("DELETE FROM token WHERE name = $1").bind(name).execute(&mut *db).await?;
            }
        }
    }
    Ok(())
}
