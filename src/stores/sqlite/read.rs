//! Queries.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;
use serde::de::DeserializeOwned;
use sqlx::SqliteConnection;

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
use crate::model::link::LinkedBy;
use crate::model::link::Space;
use crate::secrets::keys::Keys;
use crate::store::AccountFilter;
use crate::store::CauseKey;
use crate::store::Token;
use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::write::intent_context;
use crate::stores::sqlite::write::linked_by;
use crate::stores::sqlite::write::nanos;
use crate::stores::sqlite::write::outcome_context;
use crate::stores::sqlite::write::standing_context;

type LinkRow = (String, String, String, bool, String, i64);
/// Id, sealed intent, word and sealed text of the outcome.
type IntentRow = (String, Vec<u8>, Option<String>, Option<Vec<u8>>);
type SeenRow = (String, Option<String>, String, Option<String>);

/// The number of a space; `None` where nothing was ever remembered of it.
pub(super) async fn known(db: &mut SqliteConnection, space: &Space) -> Result<Option<i64>, Fault> {
    let sql = "SELECT id FROM space WHERE target = $1 AND environment = $2 AND realm = $3";
    let query = sqlx::query_scalar(sql).bind(space.target.as_str()).bind(space.environment.as_str());
    Ok(query.bind(space.realm.as_str()).fetch_optional(db).await?)
}

pub(super) async fn links(db: &mut SqliteConnection, space: &Space) -> Result<BTreeMap<RecordId, Link>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(BTreeMap::new()) };
    let sql = "SELECT record, account, linked_by, disabled_by_us, granted, since FROM link WHERE space = $1";
    let rows: Vec<LinkRow> = sqlx::query_as(sql).bind(space).fetch_all(db).await?;
    let links = rows.into_iter().map(link_of);
    links.map(|link| link.map(|link| (link.record.clone(), link))).collect()
}

pub(super) async fn link(db: &mut SqliteConnection, space: &Space, record: &RecordId) -> Result<Option<Link>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(None) };
    let sql = "SELECT record, account, linked_by, disabled_by_us, granted, since FROM link
        WHERE space = $1 AND record = $2";
    let row: Option<LinkRow> = sqlx::query_as(sql).bind(space).bind(record.as_str()).fetch_optional(db).await?;
    row.map(link_of).transpose()
}

fn link_of((record, account, by, disabled_by_us, granted, since): LinkRow) -> Result<Link, Fault> {
    let by = [LinkedBy::Created, LinkedBy::Adopted, LinkedBy::Person].into_iter().find(|word| linked_by(*word) == by);
    Ok(Link {
        record: record.into(),
        account: account.into(),
        by: by.ok_or_else(|| unknown_word("link"))?,
        disabled_by_us,
        granted: serde_json::from_str(&granted)?,
        since: DateTime::from_timestamp_nanos(since),
    })
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

pub(super) async fn open_intents(db: &mut SqliteConnection, keys: &Keys, space: &Space) -> Result<Vec<Intent>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(Vec::new()) };
    let sql = "SELECT id, body FROM intent WHERE space = $1 AND outcome IS NULL ORDER BY seq";
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(sql).bind(space).fetch_all(db).await?;
    rows.into_iter().map(|(id, body)| opened(keys, &intent_context(&id), &body)).collect()
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
        let intent: Intent = opened(keys, &intent_context(&id), &body)?;
        let outcome = word.map(|word| outcome_of(keys, &intent.id, &word, text)).transpose()?;
        Ok((intent, outcome))
    };
    rows.into_iter().map(read).collect()
}

fn outcome_of(keys: &Keys, id: &IntentId, word: &str, text: Option<Vec<u8>>) -> Result<OutcomeResult, Fault> {
    let text = match text {
        Some(sealed) => keys.open(&outcome_context(id.as_str()), &sealed)?.to_vec(),
        None => Vec::new(),
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    match word {
        "done" => Ok(OutcomeResult::Done),
        "refused" => Ok(OutcomeResult::Refused(text)),
        "nothing" => Ok(OutcomeResult::Nothing(text)),
        _ => Err(unknown_word("intent")),
    }
}

pub(super) async fn narrowed_since(
    db: &mut SqliteConnection,
    space: &Space,
    cause: Cause,
    since: DateTime<Utc>,
) -> Result<u64, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(0) };
    let sql = "SELECT coalesce(sum(units), 0) FROM intent WHERE space = $1 AND cause = $2 AND at >= $3
        AND outcome IS NOT 'nothing' AND outcome IS NOT 'refused'";
    let query = sqlx::query_scalar(sql).bind(space).bind(cause.as_str()).bind(nanos(since));
    let units: i64 = query.fetch_one(db).await?;
    Ok(units.unsigned_abs())
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
        let cause = [Cause::Explicit, Cause::Inferred].into_iter().find(|word| word.as_str() == cause);
        Ok((key, cause.ok_or_else(|| unknown_word("cause"))?))
    };
    rows.into_iter().map(read).collect()
}

pub(super) async fn decisions(db: &mut SqliteConnection) -> Result<Vec<Decision>, Fault> {
    parsed(&sqlx::query_scalar("SELECT body FROM decision ORDER BY seq").fetch_all(db).await?)
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
    body.map(|body| opened(keys, &standing_context(space), &body)).transpose()
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
    rows.into_iter().map(seen_row).collect()
}

pub(super) async fn seen_of(
    db: &mut SqliteConnection,
    space: &Space,
    record: &RecordId,
) -> Result<Option<SeenAccount>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(None) };
    let sql = "SELECT account, user_name, state, record FROM seen WHERE space = $1 AND record = $2 LIMIT 1";
    let row: Option<SeenRow> = sqlx::query_as(sql).bind(space).bind(record.as_str()).fetch_optional(db).await?;
    row.map(seen_row).transpose()
}

fn seen_row((account, user_name, state, record): SeenRow) -> Result<SeenAccount, Fault> {
    let state = AccountState::ALL.into_iter().find(|word| word.as_str() == state);
    Ok(SeenAccount {
        account: account.into(),
        user_name,
        state: state.ok_or_else(|| unknown_word("seen account"))?,
        record: record.map(Into::into),
    })
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
    parsed(&query.fetch_all(db).await?)
}

pub(super) async fn tokens(db: &mut SqliteConnection) -> Result<Vec<Token>, Fault> {
    parsed(&sqlx::query_scalar("SELECT body FROM token ORDER BY name").fetch_all(db).await?)
}

fn parsed<T: DeserializeOwned>(rows: &[String]) -> Result<Vec<T>, Fault> {
    rows.iter().map(|text| Ok(serde_json::from_str(text)?)).collect()
}

pub(super) fn opened<T: DeserializeOwned>(keys: &Keys, context: &str, sealed: &[u8]) -> Result<T, Fault> {
    Ok(serde_json::from_slice(&keys.open(context, sealed)?)?)
}

fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn unknown_word(table: &str) -> Fault {
    Fault::say(format!(
        "a {table} in the store holds a word that this rosterd does not know; run the version that wrote it, or put \
         back a copy of the store"
    ))
}
