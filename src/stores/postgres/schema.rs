//! The schema and who owns it.

use sqlx::Connection;
use sqlx::PgConnection;

use crate::secrets::keys::Keys;
use crate::store::Fence;
use crate::stores::postgres::fault::Fault;
use crate::stores::postgres::session::LEASE;

/// One script a schema version, in order. Forward only.
const MIGRATIONS: [&str; 7] = [
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_windows.sql"),
    include_str!("migrations/0003_identity.sql"),
    include_str!("migrations/0004_permit.sql"),
    include_str!("migrations/0005_request.sql"),
    include_str!("migrations/0006_outbox.sql"),
    include_str!("migrations/0007_told.sql"),
];

/// Second half of the key of the advisory lock that one migration at a time holds.
const MIGRATING: i32 = 1;

/// Brings the schema to the newest version, in one transaction.
pub(super) async fn migrate(db: &mut PgConnection) -> Result<(), Fault> {
    let latest = MIGRATIONS.len();
    let mut tx = db.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1, $2)").bind(LEASE).bind(MIGRATING).execute(&mut *tx).await?;
    let version = version(&mut tx).await?;
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    if done > latest {
        return Err(Fault::say(format!(
            "the store was written by a newer rosterd (schema {version}, this one knows {latest}); run that one, or \
             put back a copy from before"
        )));
    }
    if done < latest {
        for script in MIGRATIONS.iter().skip(done) {
            sqlx::raw_sql(*script).execute(&mut *tx).await?;
        }
        let sql = "INSERT INTO meta (key, value) VALUES ('schema', $1)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        sqlx::query(sql).bind(latest.to_string()).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The version of the schema; zero where there is none yet.
async fn version(db: &mut PgConnection) -> Result<i64, Fault> {
    let sql = "SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema()
        AND table_name = 'meta' AND column_name IN ('key', 'value')";
    let columns: i64 = sqlx::query_scalar(sql).fetch_one(&mut *db).await?;
    if columns < 2 {
        return Ok(0);
    }
    let get = "SELECT value FROM meta WHERE key = $1";
    let application: Option<String> = sqlx::query_scalar(get).bind("application").fetch_optional(&mut *db).await?;
    if application.as_deref() != Some("rosterd") {
        return Err(Fault::say(
            "the schema named under `store` holds tables of another program; name a database or schema that is \
             rosterd's alone",
        ));
    }
    let version: String = sqlx::query_scalar(get).bind("schema").fetch_one(db).await?;
    Ok(version.parse().unwrap_or(i64::MAX))
}

/// Checks that these keys are the store's, and counts the fence up: who held it before commits no more.
pub(super) async fn take_over(db: &mut PgConnection, keys: &Keys, actor: &str) -> Result<(String, Fence), Fault> {
    let mut tx = db.begin().await?;
    let fresh = uuid::Uuid::new_v4().to_string();
    let put = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    sqlx::query(put).bind("store").bind(fresh).execute(&mut *tx).await?;
    sqlx::query(put).bind("keys").bind(keys.id()).execute(&mut *tx).await?;
    let get = "SELECT value FROM meta WHERE key = $1";
    let id: String = sqlx::query_scalar(get).bind("store").fetch_one(&mut *tx).await?;
    let known: String = sqlx::query_scalar(get).bind("keys").fetch_one(&mut *tx).await?;
    if known != keys.id() {
        return Err(Fault::say(
            "the store was written with other keys; put its `rosterd.keys` back, or give rosterd an empty database to \
             start anew (every target is at first contact then)",
        ));
    }
    let count = "UPDATE lease SET fence = fence + 1, actor = $1 RETURNING fence";
    let fence: i64 = sqlx::query_scalar(count).bind(actor).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok((id, Fence(fence.unsigned_abs())))
}
