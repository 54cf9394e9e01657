//! What limits are judged by: counted things, owned accounts over time, policies, end dates.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use sqlx::SqliteConnection;

use crate::clock::kept::Kept;
use crate::model::history::Intent;
use crate::model::ids::Digest;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::link::Space;
use crate::model::tally;
use crate::model::tally::Counter;
use crate::model::tally::Thing;
use crate::model::target::KnownTarget;
use crate::store::EndDate;
use crate::store::Permit;
use crate::store::WindowTime;
use crate::store::batch::WindowWrite;
use crate::store::rows::bound;
use crate::store::rows::nanos;
use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::known::Owned;
use crate::stores::sqlite::read::ROWS_AT_ONCE;
use crate::stores::sqlite::read::known;
use crate::stores::sqlite::read::many;
use crate::stores::sqlite::script::Script;
use crate::stores::sqlite::write::Spaces;

/// Windows are at most 30 days long; what is older is forgotten, with a day to spare.
const KEPT: TimeDelta = TimeDelta::days(31);

/// Counts what intents are about, in the transaction that records them.
pub(super) async fn count(
    db: &mut SqliteConnection,
    script: &mut Script,
    space: i64,
    intents: &[&Intent],
) -> Result<(), Fault> {
    let things = |intent: &&Intent| {
        let at = nanos(intent.counting.at);
        let counted = tally::counted(&intent.change, intent.counting.dated).into_iter();
        counted.map(move |(counter, thing)| (counter.word(), thing, at))
    };
    let rows: Vec<_> = intents.iter().flat_map(things).collect();
    let sql = "INSERT INTO counted (space, counter, thing, at)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2 FROM json_each($2) WHERE true
        ON CONFLICT DO UPDATE SET at = max(at, excluded.at)";
    script.add(db, sql, [space.into(), serde_json::to_string(&rows)?.into()]).await
}

pub(super) async fn write(
    db: &mut SqliteConnection,
    script: &mut Script,
    spaces: &mut Spaces,
    writes: &[WindowWrite],
) -> Result<(), Fault> {
    for write in writes {
        match write {
            WindowWrite::Owned(space, at, active) => {
                let id = spaces.id(db, space).await?;
                set_owned(db, script, id, (*at, *active)).await?;
            }
            WindowWrite::Target(name, known) => {
                let sql = "INSERT INTO known_target (target, body) VALUES ($1, $2)
                    ON CONFLICT (target) DO UPDATE SET body = excluded.body";
                script.add(db, sql, [name.as_str().into(), serde_json::to_string(known)?.into()]).await?;
            }
            WindowWrite::Lag(lag) => {
                let sql = "INSERT INTO meta (key, value) VALUES ('window-lag', $1)
                    ON CONFLICT (key) DO UPDATE SET value = excluded.value";
                script.add(db, sql, [lag.num_milliseconds().to_string().into()]).await?;
            }
            WindowWrite::End(end, since) => set_end(db, script, end, *since).await?,
            WindowWrite::Mass(end) => {
                let sql = "UPDATE end_date SET mass = 1 WHERE record = $1 AND role = $2 AND until = $3";
                let values = [end.record.as_str().into(), role_word(end).into(), nanos(end.until).into()];
                script.add(db, sql, values).await?;
            }
            WindowWrite::Permit(permit, at) => set_permit(db, script, permit, *at).await?,
            WindowWrite::Clock(kept) => {
                let sql = "INSERT INTO meta (key, value) VALUES ('clock', $1)
                    ON CONFLICT (key) DO UPDATE SET value = excluded.value";
                script.add(db, sql, [serde_json::to_string(kept)?.into()]).await?;
            }
        }
    }
    Ok(())
}

async fn set_owned(
    db: &mut SqliteConnection,
    script: &mut Script,
    id: i64,
    (at, active): (DateTime<Utc>, u64),
) -> Result<(), Fault> {
    let sql = "INSERT INTO owned (space, at, active) VALUES ($1, $2, $3)
        ON CONFLICT DO UPDATE SET active = excluded.active";
    let active = i64::try_from(active).unwrap_or(i64::MAX);
    script.add(db, sql, [id.into(), at.timestamp().into(), active.into()]).await?;
    // The last one before what is kept tells how the oldest window began.
    let sql = "DELETE FROM owned WHERE space = $1
        AND at < (SELECT max(at) FROM owned WHERE space = $1 AND at <= $2)";
    script.add(db, sql, [id.into(), (at - KEPT).timestamp().into()]).await?;
    let sql = "DELETE FROM counted WHERE space = $1 AND at < $2";
    script.add(db, sql, [id.into(), nanos(at - KEPT).into()]).await
}

/// The word of a role; of the user as a whole there is none.
fn role_word(end: &EndDate) -> &str {
    end.role.as_ref().map_or("", |role| role.as_str())
}

async fn set_permit(
    db: &mut SqliteConnection,
    script: &mut Script,
    permit: &Permit,
    at: Option<DateTime<Utc>>,
) -> Result<(), Fault> {
    let Permit { target, digest, change } = permit;
    let target = target.as_ref().map_or("", |target| target.as_str()).into();
    let change = change.as_ref().map_or("", |change| change.as_str()).into();
    let digest = digest.as_str().into();
    if let Some(at) = at {
        let sql = "INSERT INTO permit (target, digest, change, at) VALUES ($1, $2, $3, $4)
            ON CONFLICT (target, digest, change) DO UPDATE SET at = excluded.at";
        script.add(db, sql, [target, digest, change, nanos(at).into()]).await
    } else {
        let sql = "DELETE FROM permit WHERE target = $1 AND digest = $2 AND change = $3";
        script.add(db, sql, [target, digest, change]).await
    }
}

async fn set_end(
    db: &mut SqliteConnection,
    script: &mut Script,
    end: &EndDate,
    since: Option<DateTime<Utc>>,
) -> Result<(), Fault> {
    let (record, role, until) = (end.record.as_str().into(), role_word(end).into(), nanos(end.until).into());
    if let Some(since) = since {
        let sql = "INSERT INTO end_date (record, role, until, since) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        script.add(db, sql, [record, role, until, nanos(since).into()]).await
    } else {
        let sql = "DELETE FROM end_date WHERE record = $1 AND role = $2 AND until = $3";
        script.add(db, sql, [record, role, until]).await
    }
}

pub(super) async fn counted(
    db: &mut SqliteConnection,
    space: &Space,
    since: DateTime<Utc>,
) -> Result<Vec<(Counter, Thing, DateTime<Utc>)>, Fault> {
    type Row = (String, String, i64);
    let Some(space) = known(db, space).await? else { return Ok(Vec::new()) };
    // The sign keeps the index of `at` out, by which each portion would have to be sorted.
    let sql = "SELECT json_group_array(json_array(counter, thing, at))
        FROM (SELECT * FROM counted WHERE space = $1 AND +at >= $2 AND (counter, thing) > ($3, $4)
            ORDER BY counter, thing LIMIT $5)";
    let behind = |(counter, thing): (String, String)| {
        sqlx::query_scalar(sql).bind(space).bind(nanos(since)).bind(counter).bind(thing).bind(bound(ROWS_AT_ONCE))
    };
    let rows = many(db, Default::default(), behind, |row: &Row| (row.0.clone(), row.1.clone())).await?;
    let read = |(word, thing, at): Row| {
        let counter = Counter::of_word(&word);
        let counter = counter.ok_or_else(|| Fault::say(format!("the store holds the unknown counter `{word}`")))?;
        Ok((counter, Thing::new(thing), DateTime::from_timestamp_nanos(at)))
    };
    rows.into_iter().map(read).collect()
}

/// What was noted of owned active accounts from a second on, and what stood at it.
pub(super) async fn owned(db: &mut SqliteConnection, space: &Space, since: i64) -> Result<Owned, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(Owned::new(since, [])) };
    let sql = "SELECT at, active FROM owned WHERE space = $1
        AND at >= coalesce((SELECT max(at) FROM owned WHERE space = $1 AND at <= $2), $2)";
    let rows: Vec<(i64, i64)> = sqlx::query_as(sql).bind(space).bind(since).fetch_all(db).await?;
    Ok(Owned::new(since, rows))
}

pub(super) async fn time(db: &mut SqliteConnection) -> Result<WindowTime, Fault> {
    let sql = "SELECT value FROM meta WHERE key = 'window-lag'";
    let lag: Option<String> = sqlx::query_scalar(sql).fetch_optional(&mut *db).await?;
    let lag = lag.and_then(|lag| lag.parse().ok()).and_then(TimeDelta::try_milliseconds).unwrap_or_default();
    let newest: Option<i64> = sqlx::query_scalar("SELECT max(at) FROM counted").fetch_one(db).await?;
    Ok(WindowTime { lag, newest: newest.map(DateTime::from_timestamp_nanos) })
}

pub(super) async fn known_targets(db: &mut SqliteConnection) -> Result<BTreeMap<TargetName, KnownTarget>, Fault> {
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT target, body FROM known_target").fetch_all(db).await?;
    rows.into_iter().map(|(name, body)| Ok((name.into(), serde_json::from_str(&body)?))).collect()
}

pub(super) async fn end_dates(
    db: &mut SqliteConnection,
    records: &BTreeSet<RecordId>,
) -> Result<BTreeMap<EndDate, DateTime<Utc>>, Fault> {
    let sql = "SELECT record, role, until, since FROM end_date
        WHERE record IN (SELECT value FROM json_each($1))";
    let query = sqlx::query_as(sql).bind(serde_json::to_string(records)?);
    let rows: Vec<(String, String, i64, i64)> = query.fetch_all(db).await?;
    let read = |(record, role, until, since): (String, String, i64, i64)| {
        let role = (!role.is_empty()).then(|| role.into());
        let until = DateTime::from_timestamp_nanos(until);
        (EndDate { record: record.into(), role, until }, DateTime::from_timestamp_nanos(since))
    };
    Ok(rows.into_iter().map(read).collect())
}

pub(super) async fn mass_ends(db: &mut SqliteConnection) -> Result<BTreeSet<EndDate>, Fault> {
    let sql = "SELECT record, role, until FROM end_date WHERE mass <> 0";
    let rows: Vec<(String, String, i64)> = sqlx::query_as(sql).fetch_all(db).await?;
    let read = |(record, role, until): (String, String, i64)| {
        let role = (!role.is_empty()).then(|| role.into());
        EndDate { record: record.into(), role, until: DateTime::from_timestamp_nanos(until) }
    };
    Ok(rows.into_iter().map(read).collect())
}

pub(super) async fn permits(db: &mut SqliteConnection) -> Result<BTreeMap<Permit, DateTime<Utc>>, Fault> {
    let rows: Vec<(String, String, String, i64)> =
        sqlx::query_as("SELECT target, digest, change, at FROM permit").fetch_all(db).await?;
    let read = |(target, digest, change, at): (String, String, String, i64)| {
        let target = (!target.is_empty()).then(|| target.into());
        let change = (!change.is_empty()).then(|| Digest::new(change));
        (Permit { target, digest: Digest::new(digest), change }, DateTime::from_timestamp_nanos(at))
    };
    Ok(rows.into_iter().map(read).collect())
}

pub(super) async fn kept_clock(db: &mut SqliteConnection) -> Result<Kept, Fault> {
    let sql = "SELECT value FROM meta WHERE key = 'clock'";
    let text: Option<String> = sqlx::query_scalar(sql).fetch_optional(db).await?;
    text.map_or_else(|| Ok(Kept::default()), |text| Ok(serde_json::from_str(&text)?))
}
