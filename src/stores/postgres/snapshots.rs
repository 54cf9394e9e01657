//! The accepted snapshot.

use chrono::DateTime;
use chrono::Utc;
use sqlx::PgConnection;

use crate::secrets::keys::Keys;
use crate::store::AcceptedSnapshot;
use crate::store::parts;
use crate::store::parts::Buckets;
use crate::store::parts::SnapshotRow;
use crate::store::parts::count;
use crate::store::rows::nanos;
use crate::stores::postgres::fault::Fault;

/// Writes what differs from `last`, which is what the database holds; without it, everything.
pub(super) async fn write(
    db: &mut PgConnection,
    keys: &Keys,
    buckets: &mut Buckets,
    last: Option<&AcceptedSnapshot>,
    next: &AcceptedSnapshot,
) -> Result<(), Fault> {
    let AcceptedSnapshot { snapshot, digest, generation, level, at, narrowed_from: _ } = next;
    let stale = last.map(|last| parts::changed(last, next));
    match &stale {
        None => sqlx::query("DELETE FROM snapshot_part").execute(&mut *db).await?,
        Some(stale) => {
            let stale: Vec<i64> = stale.iter().copied().collect();
            sqlx::query("DELETE FROM snapshot_part WHERE bucket = ANY($1)").bind(stale).execute(&mut *db).await?
        }
    };
    for part in parts::sealed(keys, last, next, (buckets, stale.as_ref())) {
        let (bucket, body) = part?;
        let sql = "INSERT INTO snapshot_part (bucket, body) VALUES ($1, $2)
            ON CONFLICT (bucket) DO UPDATE SET body = excluded.body";
        sqlx::query(sql).bind(bucket).bind(body).execute(&mut *db).await?;
    }
    let sql = "INSERT INTO snapshot (generation, digest, level, at, users, roles) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (generation) DO UPDATE SET digest = excluded.digest, level = excluded.level, at = excluded.at,
        users = excluded.users, roles = excluded.roles";
    let query = sqlx::query(sql).bind(generation.cast_signed()).bind(digest.as_str()).bind(level.cast_signed());
    let query = query.bind(nanos(*at)).bind(count(snapshot.users.len())).bind(count(snapshot.roles.len()));
    query.execute(db).await?;
    Ok(())
}

/// The newest accepted snapshot, whole or an error.
pub(super) async fn read(db: &mut PgConnection, keys: &Keys) -> Result<Option<AcceptedSnapshot>, Fault> {
    let sql = "SELECT generation, digest, level, at, users, roles FROM snapshot ORDER BY generation DESC LIMIT 1";
    let row: Option<SnapshotRow> = sqlx::query_as(sql).fetch_optional(&mut *db).await?;
    let Some(row) = row else { return Ok(None) };
    let parts: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT bucket, body FROM snapshot_part ORDER BY bucket").fetch_all(db).await?;
    Ok(Some(parts::assemble(keys, row, parts)?))
}

/// The highest level among snapshots that were the accepted one at some moment since `since`: those
/// accepted since, and the one that stood when `since` came.
pub(super) async fn highest_level(db: &mut PgConnection, since: DateTime<Utc>) -> Result<Option<u64>, Fault> {
    let sql = "SELECT max(level) FROM snapshot WHERE at >= $1 OR generation =
        (SELECT generation FROM snapshot WHERE at < $1 ORDER BY generation DESC LIMIT 1)";
    let level: Option<i64> = sqlx::query_scalar(sql).bind(nanos(since)).fetch_one(db).await?;
    Ok(level.map(i64::cast_unsigned))
}
