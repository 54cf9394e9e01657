//! The accepted snapshot: sealed, in parts.
//!
//! Users lie in buckets by a hash of their record id. A new snapshot writes only the buckets whose
//! users changed, so one changed manifest among 100,000 users writes some kilobytes and not all.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use sqlx::SqliteConnection;

use crate::model::ids::RecordId;
use crate::model::role::Role;
use crate::model::snapshot::Snapshot;
use crate::model::user::User;
use crate::secrets::keys::Keys;
use crate::store::AcceptedSnapshot;
use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::write::nanos;

/// 100,000 users make buckets of about a hundred, a million of about a thousand.
const BUCKETS: u32 = 1024;

/// The bucket that holds all roles.
const ROLES: i64 = -1;

/// Generation, digest, level, time, number of users and of roles.
type SnapshotRow = (i64, String, i64, i64, i64, i64);

/// Writes what differs from `last`, which is what the file holds; without it, everything.
pub(super) async fn write(
    db: &mut SqliteConnection,
    keys: &Keys,
    last: Option<&AcceptedSnapshot>,
    next: &AcceptedSnapshot,
) -> Result<(), Fault> {
    let AcceptedSnapshot { snapshot, digest, generation, level, at } = next;
    let stale = last.map(|last| changed(&last.snapshot, snapshot));
    match &stale {
        None => sqlx::query("DELETE FROM snapshot_part").execute(&mut *db).await?,
        Some(stale) => {
            let sql = "DELETE FROM snapshot_part WHERE bucket IN (SELECT value FROM json_each($1))";
            sqlx::query(sql).bind(serde_json::to_string(stale)?).execute(&mut *db).await?
        }
    };
    for (bucket, users) in buckets(snapshot, stale.as_ref()) {
        part(db, keys, bucket, &serde_json::to_vec(&users)?).await?;
    }
    if last.is_none_or(|last| last.snapshot.roles != snapshot.roles) {
        let roles: Vec<&Arc<Role>> = snapshot.roles.values().collect();
        part(db, keys, ROLES, &serde_json::to_vec(&roles)?).await?;
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
pub(super) async fn read(db: &mut SqliteConnection, keys: &Keys) -> Result<Option<AcceptedSnapshot>, Fault> {
    let sql = "SELECT generation, digest, level, at, users, roles FROM snapshot ORDER BY generation DESC LIMIT 1";
    let row: Option<SnapshotRow> = sqlx::query_as(sql).fetch_optional(&mut *db).await?;
    let Some((generation, digest, level, at, users, roles)) = row else { return Ok(None) };
    let parts: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT bucket, body FROM snapshot_part ORDER BY bucket").fetch_all(db).await?;
    let mut snapshot = Snapshot::default();
    for (bucket, body) in parts {
        let plain = keys.open(&context(bucket), &body)?;
        if bucket == ROLES {
            let roles: Vec<Arc<Role>> = serde_json::from_slice(&plain)?;
            snapshot.roles = roles.into_iter().map(|role| (role.name.clone(), role)).collect();
        } else {
            let users: Vec<Arc<User>> = serde_json::from_slice(&plain)?;
            snapshot.users.extend(users.into_iter().map(|user| (user.id.clone(), user)));
        }
    }
    if (count(snapshot.users.len()), count(snapshot.roles.len())) != (users, roles) {
        return Err(Fault::say(
            "the stored snapshot is not whole: a part of it was taken out of the file; put back a copy of the store",
        ));
    }
    Ok(Some(AcceptedSnapshot {
        snapshot: Arc::new(snapshot),
        digest: digest.into(),
        generation: generation.cast_unsigned(),
        level: level.cast_unsigned(),
        at: DateTime::from_timestamp_nanos(at),
    }))
}

/// The highest level among snapshots that were the accepted one at some moment since `since`: those
/// accepted since, and the one that stood when `since` came.
pub(super) async fn highest_level(db: &mut SqliteConnection, since: DateTime<Utc>) -> Result<Option<u64>, Fault> {
    let sql = "SELECT max(level) FROM snapshot WHERE at >= $1 OR generation =
        (SELECT generation FROM snapshot WHERE at < $1 ORDER BY generation DESC LIMIT 1)";
    let level: Option<i64> = sqlx::query_scalar(sql).bind(nanos(since)).fetch_one(db).await?;
    Ok(level.map(i64::cast_unsigned))
}

async fn part(db: &mut SqliteConnection, keys: &Keys, bucket: i64, plain: &[u8]) -> Result<(), Fault> {
    let sql = "INSERT INTO snapshot_part (bucket, body) VALUES ($1, $2)
        ON CONFLICT (bucket) DO UPDATE SET body = excluded.body";
    sqlx::query(sql).bind(bucket).bind(keys.seal(&context(bucket), plain)?).execute(db).await?;
    Ok(())
}

/// Buckets whose users differ.
fn changed(last: &Snapshot, next: &Snapshot) -> BTreeSet<i64> {
    let same = |id: &RecordId, user: &Arc<User>| {
        // A document that was not read again is the same allocation, so most are told at once.
        last.users.get(id).is_some_and(|former| Arc::ptr_eq(former, user) || former == user)
    };
    let new = next.users.iter().filter(|(id, user)| !same(id, user)).map(|(id, _)| bucket(id));
    let gone = last.users.keys().filter(|id| !next.users.contains_key(*id)).map(bucket);
    new.chain(gone).collect()
}

/// Users by bucket, of the buckets asked for.
fn buckets<'a>(snapshot: &'a Snapshot, only: Option<&BTreeSet<i64>>) -> BTreeMap<i64, Vec<&'a Arc<User>>> {
    let mut buckets: BTreeMap<i64, Vec<&Arc<User>>> = BTreeMap::new();
    for (id, user) in &snapshot.users {
        let bucket = bucket(id);
        if only.is_none_or(|only| only.contains(&bucket)) {
            buckets.entry(bucket).or_default().push(user);
        }
    }
    buckets
}

/// FNV-1a, written out because it must never change: it says where a stored user lies.
fn bucket(id: &RecordId) -> i64 {
    let hash =
        id.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i64::from(hash % BUCKETS)
}

/// What a sealed part is bound to, so that none can stand in another's place.
fn context(bucket: i64) -> String {
    format!("store snapshot {bucket}")
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
