//! Queries.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;
use serde::de::DeserializeOwned;
use sqlx::Connection;
use sqlx::Sqlite;
use sqlx::SqliteConnection;
use sqlx::query::QueryScalar;
use sqlx::sqlite::SqliteArguments;

use crate::model::account::AccountState;
use crate::model::change::Cause;
use crate::model::decision::Decision;
use crate::model::history::CycleRecord;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::history::SeenAccount;
use crate::model::history::Standing;
use crate::model::ids::CycleId;
use crate::model::ids::IntentId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::secrets::keys::Keys;
use crate::store::AccountFilter;
use crate::store::CauseKey;
use crate::store::Token;
use crate::store::rows;
use crate::store::rows::IntentRow;
use crate::store::rows::LinkRow;
use crate::store::rows::SeenRow;
use crate::store::rows::bound;
use crate::store::rows::opened;
use crate::store::rows::opened_intent;
use crate::store::rows::parsed;
use crate::store::rows::standing_context;
use crate::stores::sqlite::fault::Fault;

/// See [`many`].
pub(super) const ROWS_AT_ONCE: usize = 1_000;

/// The number of a space; `None` where nothing was ever remembered of it.
pub(super) async fn known(db: &mut SqliteConnection, space: &Space) -> Result<Option<i64>, Fault> {
    let sql = "SELECT id FROM space WHERE target = $1 AND environment = $2 AND realm = $3";
    let query = sqlx::query_scalar(sql).bind(space.target.as_str()).bind(space.environment.as_str());
    Ok(query.bind(space.realm.as_str()).fetch_optional(db).await?)
}

pub(super) async fn links(db: &mut SqliteConnection, space: &Space) -> Result<BTreeMap<RecordId, Link>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(BTreeMap::new()) };
    let sql = "SELECT json_group_array(json_array(record, account, linked_by, disabled_by_us, granted, since))
        FROM (SELECT * FROM link WHERE space = $1 AND record > $2 ORDER BY record LIMIT $3)";
    let behind = |last: String| sqlx::query_scalar(sql).bind(space).bind(last).bind(bound(ROWS_AT_ONCE));
    let rows: Vec<LinkRow> = many(db, String::new(), behind, |row: &LinkRow| row.0.clone()).await?;
    let links = rows.into_iter().map(rows::link);
    links.map(|link| Ok(link.map(|link| (link.record.clone(), link))?)).collect()
}

/// All rows of a large table, as of one moment. Each row that crosses from the database's thread wakes two, so they
/// are put together there: `behind` asks for a JSON array of the first [`ROWS_AT_ONCE`] behind a key, in the order
/// of their keys.
pub(super) async fn many<R: DeserializeOwned, K: Clone + Ord>(
    db: &mut SqliteConnection,
    mut last: K,
    behind: impl Fn(K) -> QueryScalar<'static, Sqlite, String, SqliteArguments>,
    key: impl Fn(&R) -> K,
) -> Result<Vec<R>, Fault> {
    let (mut rows, mut moment) = (Vec::new(), db.begin().await?);
    loop {
        let more: Vec<R> = serde_json::from_str(&behind(last.clone()).fetch_one(&mut *moment).await?)?;
        last = more.iter().map(&key).max().unwrap_or(last);
        let is_last = more.len() < ROWS_AT_ONCE;
        rows.extend(more);
        if is_last {
            return Ok(rows);
        }
    }
}

pub(super) async fn link(db: &mut SqliteConnection, space: &Space, record: &RecordId) -> Result<Option<Link>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(None) };
    let sql = "SELECT record, account, linked_by, disabled_by_us, granted, since FROM link
        WHERE space = $1 AND record = $2";
    let row: Option<LinkRow> = sqlx::query_as(sql).bind(space).bind(record.as_str()).fetch_optional(db).await?;
    Ok(row.map(rows::link).transpose()?)
}

pub(super) async fn spaces(db: &mut SqliteConnection, target: &TargetName) -> Result<Vec<Space>, Fault> {
    let sql = "SELECT environment, realm FROM space WHERE target = $1
        AND (EXISTS (SELECT 1 FROM link WHERE link.space = space.id)
          OR EXISTS (SELECT 1 FROM intent WHERE intent.space = space.id))
        ORDER BY environment, realm";
    let rows: Vec<(String, String)> = sqlx::query_as(sql).bind(target.as_str()).fetch_all(db).await?;
    let space = |(environment, realm): (String, String)| Space {
        target: target.clone(),
        environment: environment.into(),
        realm: realm.into(),
    };
    Ok(rows.into_iter().map(space).collect())
}

pub(super) async fn acted(db: &mut SqliteConnection, keys: &Keys, space: &Space) -> Result<bool, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(false) };
    let sql = "SELECT seq, id, body FROM intent WHERE space = $1 AND seq > $2 ORDER BY seq LIMIT 100";
    let mut last = 0;
    loop {
        let rows: Vec<(i64, String, Vec<u8>)> = sqlx::query_as(sql).bind(space).bind(last).fetch_all(&mut *db).await?;
        if rows.is_empty() {
            return Ok(false);
        }
        for (seq, id, body) in rows {
            last = seq;
            let intent: Intent = opened_intent(keys, &id, &body)?;
            if !intent.change.is_revocation() {
                return Ok(true);
            }
        }
    }
}

pub(super) async fn open_intents(db: &mut SqliteConnection, keys: &Keys, space: &Space) -> Result<Vec<Intent>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(Vec::new()) };
    let sql = "SELECT id, body FROM intent WHERE space = $1 AND outcome IS NULL ORDER BY seq";
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(sql).bind(space).fetch_all(db).await?;
    rows.into_iter().map(|(id, body)| Ok(opened_intent(keys, &id, &body)?)).collect()
}

pub(super) async fn intents_of(
    db: &mut SqliteConnection,
    keys: &Keys,
    (space, record): (&Space, &RecordId),
    limit: usize,
) -> Result<Vec<(Intent, Option<OutcomeResult>)>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(Vec::new()) };
    let sql = "SELECT id, body, outcome, outcome_text FROM intent WHERE space = $1 AND record = $2
        ORDER BY seq DESC LIMIT $3";
    let query = sqlx::query_as(sql).bind(space).bind(record.as_str()).bind(bound(limit));
    let rows: Vec<IntentRow> = query.fetch_all(db).await?;
    let read = |(id, body, word, text): IntentRow| -> Result<_, Fault> {
        let intent: Intent = opened_intent(keys, &id, &body)?;
        let outcome = word.map(|word| rows::outcome(keys, &intent.id, &word, text)).transpose()?;
        Ok((intent, outcome))
    };
    rows.into_iter().map(read).collect()
}

pub(super) async fn ended_calls(
    db: &mut SqliteConnection,
    space: &Space,
    record: &RecordId,
) -> Result<BTreeMap<IntentId, DateTime<Utc>>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(BTreeMap::new()) };
    let sql = "SELECT id, outcome_at FROM intent WHERE space = $1 AND record = $2 AND outcome_at IS NOT NULL";
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).bind(space).bind(record.as_str()).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(id, at)| (id.into(), DateTime::from_timestamp_nanos(at))).collect())
}

pub(super) async fn owned_active(db: &mut SqliteConnection, space: &Space) -> Result<u64, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(0) };
    let sql = "SELECT count(*) FROM link WHERE space = $1 AND disabled_by_us = 0";
    let count: i64 = sqlx::query_scalar(sql).bind(space).fetch_one(db).await?;
    Ok(count.unsigned_abs())
}

pub(super) async fn causes(db: &mut SqliteConnection, target: &TargetName) -> Result<BTreeMap<CauseKey, Cause>, Fault> {
    let sql = "SELECT record, entitlement, cause FROM cause WHERE target = $1";
    let rows: Vec<(String, String, String)> = sqlx::query_as(sql).bind(target.as_str()).fetch_all(db).await?;
    let read = |(record, entitlement, cause): (String, String, String)| -> Result<_, Fault> {
        let key = CauseKey {
            record: record.into(),
            target: target.clone(),
            entitlement: (!entitlement.is_empty()).then(|| entitlement.into()),
        };
        Ok((key, rows::cause(&cause)?))
    };
    rows.into_iter().map(read).collect()
}

pub(super) async fn decisions(db: &mut SqliteConnection) -> Result<Vec<Decision>, Fault> {
    Ok(parsed(&sqlx::query_scalar("SELECT body FROM decision ORDER BY seq").fetch_all(db).await?)?)
}

pub(super) async fn owed(db: &mut SqliteConnection, space: &Space) -> Result<BTreeMap<RecordId, DateTime<Utc>>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(BTreeMap::new()) };
    let sql = "SELECT record, since FROM owed WHERE space = $1";
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).bind(space).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(record, since)| (record.into(), DateTime::from_timestamp_nanos(since))).collect())
}

pub(super) async fn standings(
    db: &mut SqliteConnection,
    keys: &Keys,
    target: &TargetName,
) -> Result<Vec<(Space, Standing)>, Fault> {
    let sql = "SELECT environment, realm FROM space JOIN standing ON standing.space = space.id WHERE target = $1";
    let rows: Vec<(String, String)> = sqlx::query_as(sql).bind(target.as_str()).fetch_all(&mut *db).await?;
    let mut standings = Vec::new();
    for (environment, realm) in rows {
        let space = Space { target: target.clone(), environment: environment.into(), realm: realm.into() };
        if let Some(found) = standing(db, keys, &space).await? {
            standings.push((space, found));
        }
    }
    standings.sort_by_key(|(_, standing)| std::cmp::Reverse(standing.at));
    Ok(standings)
}

pub(super) async fn standing(db: &mut SqliteConnection, keys: &Keys, space: &Space) -> Result<Option<Standing>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(None) };
    let sql = "SELECT body FROM standing WHERE space = $1";
    let body: Option<Vec<u8>> = sqlx::query_scalar(sql).bind(space).fetch_optional(db).await?;
    Ok(body.map(|body| opened(keys, &standing_context(space), &body)).transpose()?)
}

pub(super) async fn seen(
    db: &mut SqliteConnection,
    space: &Space,
    filter: &AccountFilter,
) -> Result<Vec<SeenAccount>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(Vec::new()) };
    let AccountFilter { states, linked, after, limit } = filter;
    // Every id sorts after the empty text, which stands for "from the start".
    let sql = "SELECT account, user_name, state, record FROM seen WHERE space = $1 AND account > $2
        AND state IN (SELECT value FROM json_each($3)) AND ($4 IS NULL OR (record IS NOT NULL) = $4)
        ORDER BY account LIMIT $5";
    let words: Vec<&str> = if states.is_empty() {
        AccountState::ALL.iter().map(|state| state.as_str()).collect()
    } else {
        states.iter().map(|state| state.as_str()).collect()
    };
    let query = sqlx::query_as(sql).bind(space).bind(after.as_ref().map_or("", |id| id.as_str()));
    let query = query.bind(serde_json::to_string(&words)?).bind(*linked).bind(bound(*limit));
    let rows: Vec<SeenRow> = query.fetch_all(db).await?;
    rows.into_iter().map(|row| Ok(rows::seen(row)?)).collect()
}

pub(super) async fn seen_of(
    db: &mut SqliteConnection,
    space: &Space,
    record: &RecordId,
) -> Result<Option<SeenAccount>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(None) };
    let sql = "SELECT account, user_name, state, record FROM seen WHERE space = $1 AND record = $2 LIMIT 1";
    let row: Option<SeenRow> = sqlx::query_as(sql).bind(space).bind(record.as_str()).fetch_optional(db).await?;
    Ok(row.map(rows::seen).transpose()?)
}

pub(super) async fn cycles(
    db: &mut SqliteConnection,
    target: Option<&TargetName>,
    before: Option<&CycleId>,
    limit: usize,
) -> Result<Vec<CycleRecord>, Fault> {
    let before = match before {
        None => i64::MAX,
        Some(id) => {
            let sql = "SELECT seq FROM cycle WHERE id = $1";
            let seq: Option<i64> = sqlx::query_scalar(sql).bind(id.as_str()).fetch_optional(&mut *db).await?;
            // Nothing is known to be older than a cycle that nobody knows.
            let Some(seq) = seq else { return Ok(Vec::new()) };
            seq
        }
    };
    let query = if let Some(target) = target {
        let sql = "SELECT body FROM cycle WHERE seq < $1 AND target = $3 ORDER BY seq DESC LIMIT $2";
        sqlx::query_scalar(sql).bind(before).bind(bound(limit)).bind(target.as_str())
    } else {
        let sql = "SELECT body FROM cycle WHERE seq < $1 ORDER BY seq DESC LIMIT $2";
        sqlx::query_scalar(sql).bind(before).bind(bound(limit))
    };
    Ok(parsed(&query.fetch_all(db).await?)?)
}

pub(super) async fn tokens(db: &mut SqliteConnection) -> Result<Vec<Token>, Fault> {
    Ok(parsed(&sqlx::query_scalar("SELECT body FROM token ORDER BY name").fetch_all(db).await?)?)
}
