//! The one writer: a commit and what it remembers between commits.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::DateTime;
use chrono::Utc;
use sqlx::ConnectOptions;
use sqlx::Connection;
use sqlx::SqliteConnection;

use crate::audit::ends::Ends;
use crate::audit::ends::Export;
use crate::model::change::Cause;
use crate::model::history::Intent;
use crate::model::history::SeenAccount;
use crate::model::history::Standing;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::link::Space;
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
use crate::stores::sqlite::lock::Lease;
use crate::stores::sqlite::snapshots;
use crate::stores::sqlite::windows;

/// Rows of one statement. Its text is one JSON array, so the bound is memory, not parameters.
pub(super) const ROWS: usize = 500;

/// The writing connection. What it holds besides follows the file: it is replaced after a commit
/// succeeded and left as it was when one failed.
pub(super) struct Writer {
    db: SqliteConnection,
    ends: Ends,
    export: Export,
    /// The accepted snapshot as the file holds it.
    snapshot: Option<AcceptedSnapshot>,
    /// Last, so that it is given up after the connection.
    lease: Lease,
}

impl Writer {
    pub(super) fn new(db: SqliteConnection, lease: Lease, ends: Ends, export: Export) -> Self {
        Self { db, ends, export, snapshot: None, lease }
    }

    /// Closes the file, then gives the lease up. A failure to tidy up loses nothing that was committed.
    pub(super) async fn close(self) {
        drop(self.db.close().await);
        drop(self.lease);
    }

    /// The connection itself, for moving everything at once.
    pub(super) fn session(&mut self) -> &mut SqliteConnection {
        &mut self.db
    }

    /// All of `writes` or nothing.
    pub(super) async fn commit(&mut self, inner: &Inner, writes: Vec<Write>, fence: Fence) -> Result<(), Fault> {
        let done = self.try_commit(inner, writes, fence).await;
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

    async fn try_commit(&mut self, inner: &Inner, writes: Vec<Write>, fence: Fence) -> Result<(), Fault> {
        let batch = Batch::of(writes);
        let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
        check_fence(&mut tx, fence).await?;
        links(&mut tx, &batch.links).await?;
        hands::write(&mut tx, &inner.keys, &batch.hands).await?;
        identities::write(&mut tx, &batch.identities).await?;
        intents(&mut tx, &inner.keys, &batch.intents).await?;
        causes(&mut tx, &batch.causes).await?;
        for decision in &batch.decisions {
            let insert = "INSERT INTO decision (body) VALUES ($1)";
            sqlx::query(insert).bind(serde_json::to_string(decision)?).execute(&mut *tx).await?;
        }
        for (space, standing) in &batch.standings {
            set_standing(&mut tx, &inner.keys, space, standing).await?;
        }
        owed(&mut tx, &batch.owed).await?;
        seen(&mut tx, &batch.seen).await?;
        for cycle in &batch.cycles {
            let upsert = "INSERT INTO cycle (id, target, body) VALUES ($1, $2, $3)
                ON CONFLICT (id) DO UPDATE SET body = excluded.body";
            let query = sqlx::query(upsert).bind(cycle.id.as_str()).bind(cycle.space.target.as_str());
            query.bind(serde_json::to_string(cycle)?).execute(&mut *tx).await?;
        }
        tokens(&mut tx, &batch.tokens).await?;
        windows::write(&mut tx, &batch.windows).await?;
        let mut accepted = self.snapshot.clone();
        for snapshot in batch.snapshots {
            snapshots::write(&mut tx, &inner.keys, accepted.as_ref(), &snapshot).await?;
            accepted = Some(snapshot);
        }
        let ends = chains::append(&mut tx, &inner.keys, &self.ends, batch.audit).await?;
        tx.commit().await?;
        self.snapshot = accepted;
        if let Some(ends) = ends {
            self.ends = ends;
            self.export_heads(&inner.heads);
        }
        Ok(())
    }

    /// The accepted snapshot; read once, since nobody else writes the file.
    pub(super) async fn snapshot(&mut self, keys: &Keys) -> Result<Option<AcceptedSnapshot>, Fault> {
        if self.snapshot.is_none() {
            self.snapshot = snapshots::read(&mut self.db, keys).await?;
        }
        Ok(self.snapshot.clone())
    }

    /// Writes the heads outside. The commit they belong to is on the disk by now, so a failure is
    /// said and not returned: an older export finds a little less and accuses nobody.
    pub(super) fn export_heads(&mut self, path: &Path) {
        if let Err(error) = self.export.write(path, &self.ends) {
            tracing::warn!(path = %path.display(), %error, "audit heads were not exported");
        }
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

/// The number that stands for a space in every table.
pub(super) async fn intern(db: &mut SqliteConnection, space: &Space) -> Result<i64, Fault> {
    // A conflict must update something for RETURNING to give the row.
    let sql = "INSERT INTO space (target, environment, realm) VALUES ($1, $2, $3)
        ON CONFLICT DO UPDATE SET realm = excluded.realm RETURNING id";
    let query = sqlx::query_scalar(sql).bind(space.target.as_str()).bind(space.environment.as_str());
    Ok(query.bind(space.realm.as_str()).fetch_one(db).await?)
}

async fn links(db: &mut SqliteConnection, writes: &[(Space, LinkWrite)]) -> Result<(), Fault> {
    let same = |a: &(Space, LinkWrite), b: &(Space, LinkWrite)| {
        a.0 == b.0 && matches!(a.1, LinkWrite::Set(_)) == matches!(b.1, LinkWrite::Set(_))
    };
    for run in writes.chunk_by(same).flat_map(|run| run.chunks(ROWS)) {
        let Some((space, _)) = run.first() else { continue };
        let id = intern(db, space).await?;
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

async fn intents(db: &mut SqliteConnection, keys: &Keys, writes: &[IntentWrite]) -> Result<(), Fault> {
    for write in writes {
        match write {
            IntentWrite::Open(intent) => open_intent(db, keys, intent).await?,
            IntentWrite::Close(id, result, at) => {
                let (word, text) = outcome_columns(keys, id, result)?;
                let sql = "UPDATE intent SET outcome = $2, outcome_text = $3, outcome_at = $4 WHERE id = $1";
                let query = sqlx::query(sql).bind(id.as_str()).bind(word).bind(text).bind(nanos(*at));
                if query.execute(&mut *db).await?.rows_affected() == 0 {
                    return Err(Fault::refuse(format!("no intent `{id}` was recorded, so it cannot be closed")));
                }
            }
        }
    }
    Ok(())
}

async fn open_intent(db: &mut SqliteConnection, keys: &Keys, intent: &Intent) -> Result<(), Fault> {
    let space = intern(db, &intent.space).await?;
    let body = keys.seal(&intent_context(intent.id.as_str()), &serde_json::to_vec(intent)?)?;
    let sql = "INSERT INTO intent (id, space, record, at, body) VALUES ($1, $2, $3, $4, $5)";
    let query = sqlx::query(sql).bind(intent.id.as_str()).bind(space).bind(intent.change.record.as_str());
    query.bind(nanos(intent.at)).bind(body).execute(&mut *db).await?;
    windows::count(db, space, intent).await
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

async fn set_standing(db: &mut SqliteConnection, keys: &Keys, space: &Space, standing: &Standing) -> Result<(), Fault> {
    let id = intern(db, space).await?;
    let body = keys.seal(&standing_context(id), &serde_json::to_vec(standing)?)?;
    let sql = "INSERT INTO standing (space, body) VALUES ($1, $2)
        ON CONFLICT (space) DO UPDATE SET body = excluded.body";
    sqlx::query(sql).bind(id).bind(body).execute(db).await?;
    Ok(())
}

async fn owed(db: &mut SqliteConnection, writes: &[(Space, RecordId, Option<DateTime<Utc>>)]) -> Result<(), Fault> {
    for run in writes.chunk_by(|a, b| a.0 == b.0 && a.2.is_some() == b.2.is_some()).flat_map(|run| run.chunks(ROWS)) {
        let Some((space, _, first)) = run.first() else { continue };
        let id = intern(db, space).await?;
        let rows: Vec<_> = run.iter().map(|(_, record, since)| (record, since.map(nanos))).collect();
        let sql = if first.is_some() {
            "INSERT INTO owed (space, record, since)
            SELECT $1, value ->> 0, value ->> 1 FROM json_each($2) WHERE true
            ON CONFLICT (space, record) DO UPDATE SET since = excluded.since"
        } else {
            "DELETE FROM owed WHERE space = $1 AND record IN (SELECT value ->> 0 FROM json_each($2))"
        };
        sqlx::query(sql).bind(id).bind(serde_json::to_string(&rows)?).execute(&mut *db).await?;
    }
    Ok(())
}

async fn seen(db: &mut SqliteConnection, writes: &[(Space, SeenWrite)]) -> Result<(), Fault> {
    // One intern a space, not one a page of accounts.
    let mut ids: BTreeMap<&Space, i64> = BTreeMap::new();
    for (space, write) in writes {
        let id = match ids.get(space) {
            Some(id) => *id,
            None => intern(db, space).await?,
        };
        ids.insert(space, id);
        match write {
            SeenWrite::Set(accounts) => set_seen(db, id, accounts).await?,
            SeenWrite::Only(kept) => {
                let sql = "SELECT account FROM seen WHERE space = $1";
                let known: Vec<String> = sqlx::query_scalar(sql).bind(id).fetch_all(&mut *db).await?;
                let gone: Vec<_> = known.into_iter().filter(|known| !kept.contains(&known.as_str().into())).collect();
                for chunk in gone.chunks(ROWS) {
                    drop_seen(db, id, chunk).await?;
                }
            }
            SeenWrite::Drop(account) => drop_seen(db, id, std::slice::from_ref(account)).await?,
        }
    }
    Ok(())
}

async fn set_seen(db: &mut SqliteConnection, space: i64, accounts: &[SeenAccount]) -> Result<(), Fault> {
    // Sorted, so that a big listing fills the table's pages one after the other.
    let mut sorted: Vec<&SeenAccount> = accounts.iter().collect();
    sorted.sort_by(|a, b| a.account.cmp(&b.account));
    let sql = "INSERT INTO seen (space, account, user_name, state, record)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each($2) WHERE true
        ON CONFLICT (space, account) DO UPDATE SET user_name = excluded.user_name, state = excluded.state,
        record = excluded.record";
    for chunk in sorted.chunks(ROWS) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|SeenAccount { account, user_name, state, record }| (account, user_name, state.as_str(), record))
            .collect();
        sqlx::query(sql).bind(space).bind(serde_json::to_string(&rows)?).execute(&mut *db).await?;
    }
    Ok(())
}

async fn drop_seen<T: serde::Serialize>(db: &mut SqliteConnection, space: i64, accounts: &[T]) -> Result<(), Fault> {
    let sql = "DELETE FROM seen WHERE space = $1 AND account IN (SELECT value FROM json_each($2))";
    sqlx::query(sql).bind(space).bind(serde_json::to_string(accounts)?).execute(db).await?;
    Ok(())
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
