//! The accepted snapshot.

use sqlx::SqliteConnection;

use crate::secrets::keys::Keys;
use crate::store::AcceptedSnapshot;
use crate::store::parts;
use crate::store::parts::Buckets;
use crate::store::parts::SnapshotRow;
use crate::store::parts::count;
use crate::store::rows::nanos;
use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::known::Level;
use crate::stores::sqlite::known::Levels;
use crate::stores::sqlite::script::Script;

/// Writes what differs from `last`, which is what the file holds; without it, everything.
pub(super) async fn write(
    db: &mut SqliteConnection,
    script: &mut Script,
    keys: &Keys,
    (buckets, last): (&mut Buckets, Option<&AcceptedSnapshot>),
    next: &AcceptedSnapshot,
) -> Result<(), Fault> {
    let AcceptedSnapshot { snapshot, digest, generation, level, at, narrowed_from: _ } = next;
    let stale = last.map(|last| parts::changed(last, next));
    match &stale {
        None => script.add(db, "DELETE FROM snapshot_part", []).await?,
        Some(stale) => {
            let sql = "DELETE FROM snapshot_part WHERE bucket IN (SELECT value FROM json_each($1))";
            script.add(db, sql, [serde_json::to_string(stale)?.into()]).await?;
        }
    }
    for part in parts::sealed(keys, last, next, (buckets, stale.as_ref())) {
        let (bucket, body) = part?;
        let sql = "INSERT INTO snapshot_part (bucket, body) VALUES ($1, $2)
            ON CONFLICT (bucket) DO UPDATE SET body = excluded.body";
        script.add(db, sql, [bucket.into(), body.into()]).await?;
    }
    let sql = "INSERT INTO snapshot (generation, digest, level, at, users, roles) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (generation) DO UPDATE SET digest = excluded.digest, level = excluded.level, at = excluded.at,
        users = excluded.users, roles = excluded.roles";
    let (users, roles) = (count(snapshot.users.len()), count(snapshot.roles.len()));
    let values = [
        generation.cast_signed().into(),
        digest.as_str().into(),
        level.cast_signed().into(),
        nanos(*at).into(),
        users.into(),
        roles.into(),
    ];
    script.add(db, sql, values).await
}

/// The newest accepted snapshot, whole or an error.
pub(super) async fn read(db: &mut SqliteConnection, keys: &Keys) -> Result<Option<AcceptedSnapshot>, Fault> {
    let sql = "SELECT generation, digest, level, at, users, roles FROM snapshot ORDER BY generation DESC LIMIT 1";
    let row: Option<SnapshotRow> = sqlx::query_as(sql).fetch_optional(&mut *db).await?;
    let Some(row) = row else { return Ok(None) };
    let parts: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT bucket, body FROM snapshot_part ORDER BY bucket").fetch_all(db).await?;
    Ok(Some(parts::assemble(keys, row, parts)?))
}

/// Snapshots that were the accepted one at some moment since `since`: those accepted since, and the one
/// that stood when `since` came.
pub(super) async fn levels(db: &mut SqliteConnection, since: i64) -> Result<Levels, Fault> {
    let sql = "SELECT generation, at, level FROM snapshot WHERE at >= $1 OR generation =
        (SELECT generation FROM snapshot WHERE at < $1 ORDER BY generation DESC LIMIT 1)";
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(sql).bind(since).fetch_all(db).await?;
    let rows = rows.into_iter().map(|(generation, at, granted)| Level { generation, at, granted });
    Ok(Levels::new(since, rows.collect()))
}
