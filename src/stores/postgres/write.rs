//! The rows of one commit.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;
use sqlx::PgConnection;

use crate::model::change::Cause;
use crate::model::history::CycleRecord;
use crate::model::history::Intent;
use crate::model::history::SeenAccount;
use crate::model::history::Standing;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::secrets::keys::Keys;
use crate::store::CauseKey;
use crate::store::batch::Batch;
use crate::store::batch::IntentWrite;
use crate::store::batch::LinkWrite;
use crate::store::batch::SeenWrite;
use crate::store::batch::TokenWrite;
use crate::store::batch::outside;
use crate::store::intents;
use crate::store::rows::intent_context;
use crate::store::rows::linked_by;
use crate::store::rows::nanos;
use crate::store::rows::outcome_columns;
use crate::store::rows::standing_context;
use crate::stores::postgres::fault::Fault;
use crate::stores::postgres::hands;
use crate::stores::postgres::identities;
use crate::stores::postgres::outbox;
use crate::stores::postgres::requests;
use crate::stores::postgres::windows;

/// Rows of one statement: enough to make its round trip cheap, few enough to keep it in memory.
pub(super) const ROWS: usize = 500;

/// Everything of a commit but the snapshot and the audit events.
pub(super) async fn all(db: &mut PgConnection, keys: &Keys, batch: &Batch) -> Result<(), Fault> {
    links(db, &batch.links).await?;
    hands::write(db, keys, &batch.hands).await?;
    identities::write(db, &batch.identities).await?;
    intents(db, keys, &batch.intents).await?;
    causes(db, &batch.causes).await?;
    for decision in &batch.decisions {
        let insert = "INSERT INTO decision (body) VALUES ($1)";
        sqlx::query(insert).bind(serde_json::to_string(decision)?).execute(&mut *db).await?;
    }
    for (space, standing) in &batch.standings {
        set_standing(db, keys, space, standing).await?;
    }
    owed(db, &batch.owed).await?;
    seen(db, &batch.seen).await?;
    cycles(db, &batch.cycles).await?;
    tokens(db, &batch.tokens).await?;
    windows::write(db, &batch.windows).await?;
    requests::write(db, keys, &batch.requests).await?;
    outbox::write_messages(db, keys, &batch.messages).await?;
    outbox::write_invites(db, keys, &batch.invites).await
}

/// The number that stands for a space in every table.
pub(super) async fn intern(db: &mut PgConnection, space: &Space) -> Result<i64, Fault> {
    // Looked for first: an upsert would use a number up each time.
    let sql = "SELECT id FROM space WHERE target = $1 AND environment = $2 AND realm = $3";
    let query = sqlx::query_scalar(sql).bind(space.target.as_str()).bind(space.environment.as_str());
    if let Some(id) = query.bind(space.realm.as_str()).fetch_optional(&mut *db).await? {
        return Ok(id);
    }
    let sql = "INSERT INTO space (target, environment, realm) VALUES ($1, $2, $3) RETURNING id";
    let query = sqlx::query_scalar(sql).bind(space.target.as_str()).bind(space.environment.as_str());
    Ok(query.bind(space.realm.as_str()).fetch_one(db).await?)
}

/// `PostgreSQL` keeps no NUL in a text. Nothing that rosterd may write to bears one: connectors
/// refuse such ids. What a target shows for a name may, and is shown with a mark in its place.
fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

async fn links(db: &mut PgConnection, writes: &[(Space, LinkWrite)]) -> Result<(), Fault> {
    let same = |a: &(Space, LinkWrite), b: &(Space, LinkWrite)| {
        a.0 == b.0 && matches!(a.1, LinkWrite::Set(_)) == matches!(b.1, LinkWrite::Set(_))
    };
    for run in writes.chunk_by(same).flat_map(|run| run.chunks(ROWS)) {
        let Some((space, _)) = run.first() else { continue };
        let id = intern(db, space).await?;
        let (mut set, mut dropped) = (BTreeMap::new(), Vec::new());
        for (_, write) in run {
            match write {
                // One statement changes a row once: the last word on a record stands.
                LinkWrite::Set(link) => drop(set.insert(&link.record, link)),
                LinkWrite::Drop(record) => dropped.push(record.as_str()),
            }
        }
        if dropped.is_empty() {
            set_links(db, space, id, &set.into_values().collect::<Vec<_>>()).await?;
        } else {
            let sql = "DELETE FROM link WHERE space = $1 AND record = ANY($2)";
            sqlx::query(sql).bind(id).bind(dropped).execute(&mut *db).await?;
        }
    }
    Ok(())
}

async fn set_links(db: &mut PgConnection, space: &Space, id: i64, links: &[&Link]) -> Result<(), Fault> {
    refuse_taken(db, space, id, links).await?;
    let sql = "INSERT INTO link (space, record, account, linked_by, disabled_by_us, granted, since)
        SELECT $1, * FROM UNNEST($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[])
        ON CONFLICT (space, record) DO UPDATE SET account = excluded.account,
        linked_by = excluded.linked_by, disabled_by_us = excluded.disabled_by_us, granted = excluded.granted,
        since = excluded.since";
    let (mut records, mut accounts, mut by) = (Vec::new(), Vec::new(), Vec::new());
    let (mut disabled, mut granteds, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for Link { record, account, by: word, disabled_by_us, granted, since } in links {
        records.push(record.as_str());
        accounts.push(account.as_str());
        by.push(linked_by(*word));
        disabled.push(i64::from(*disabled_by_us));
        granteds.push(serde_json::to_string(granted)?);
        times.push(nanos(*since));
    }
    let query = sqlx::query(sql).bind(id).bind(records).bind(accounts).bind(by);
    query.bind(disabled).bind(granteds).bind(times).execute(db).await?;
    Ok(())
}

/// An account is one user's. Asked before the rows are written: after a violation the transaction
/// could not be asked who has it.
async fn refuse_taken(db: &mut PgConnection, space: &Space, id: i64, links: &[&Link]) -> Result<(), Fault> {
    let mut wanted = BTreeMap::new();
    for link in links {
        if wanted.insert(&link.account, &link.record).is_some() {
            return Err(Fault::refuse(format!(
                "two users were to be linked to one account of `{}`; nothing was written",
                space.target
            )));
        }
    }
    let sql = "SELECT wanted.account, wanted.record, link.record FROM UNNEST($2::text[], $3::text[]) AS wanted (account, record)
        JOIN link ON link.space = $1 AND link.account = wanted.account AND link.record <> wanted.record
        WHERE link.record <> ALL($3) LIMIT 1";
    let accounts: Vec<&str> = wanted.keys().map(|account| account.as_str()).collect();
    let records: Vec<&str> = wanted.values().map(|record| record.as_str()).collect();
    let query = sqlx::query_as(sql).bind(id).bind(accounts).bind(records);
    let taken: Option<(String, String, String)> = query.fetch_optional(db).await?;
    match taken {
        None => Ok(()),
        Some((account, record, holder)) => Err(Fault::refuse(format!(
            "account `{account}` of `{}` is linked to another user already, to `{holder}`, so it was not linked to \
             `{record}`; unlink that one first",
            space.target
        ))),
    }
}

async fn intents(db: &mut PgConnection, keys: &Keys, writes: &[IntentWrite]) -> Result<(), Fault> {
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

async fn open_intent(db: &mut PgConnection, keys: &Keys, intent: &Intent) -> Result<(), Fault> {
    let space = intern(db, &intent.space).await?;
    let body = keys.seal(&intent_context(intent.id.as_str()), &intents::text(intent)?)?;
    let sql = "INSERT INTO intent (id, space, record, at, body) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (id) DO NOTHING";
    let query = sqlx::query(sql).bind(intent.id.as_str()).bind(space).bind(intent.change.record.as_str());
    query.bind(nanos(intent.at)).bind(body).execute(&mut *db).await?;
    windows::count(db, space, intent).await
}

/// A cause stands as it was first seen until it is forgotten.
async fn causes(db: &mut PgConnection, writes: &[(CauseKey, Option<Cause>)]) -> Result<(), Fault> {
    for run in writes.chunk_by(|a, b| a.1.is_some() == b.1.is_some()).flat_map(|run| run.chunks(ROWS)) {
        let (mut targets, mut records) = (Vec::new(), Vec::new());
        let (mut entitlements, mut words) = (Vec::new(), Vec::new());
        for (CauseKey { record, target, entitlement }, cause) in run {
            targets.push(target.as_str());
            records.push(record.as_str());
            entitlements.push(entitlement.as_ref().map_or("", |name| name.as_str()));
            words.extend(cause.map(Cause::as_str));
        }
        let sql = if words.is_empty() {
            "DELETE FROM cause WHERE (target, record, entitlement) IN
            (SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[]))"
        } else {
            "INSERT INTO cause (target, record, entitlement, cause)
            SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[]) ON CONFLICT DO NOTHING"
        };
        let query = sqlx::query(sql).bind(targets).bind(records).bind(entitlements);
        let query = if words.is_empty() { query } else { query.bind(words) };
        query.execute(&mut *db).await?;
    }
    Ok(())
}

async fn set_standing(db: &mut PgConnection, keys: &Keys, space: &Space, standing: &Standing) -> Result<(), Fault> {
    let id = intern(db, space).await?;
    let body = keys.seal(&standing_context(id), &serde_json::to_vec(standing)?)?;
    let sql = "INSERT INTO standing (space, body) VALUES ($1, $2)
        ON CONFLICT (space) DO UPDATE SET body = excluded.body";
    sqlx::query(sql).bind(id).bind(body).execute(db).await?;
    Ok(())
}

async fn owed(db: &mut PgConnection, writes: &[(Space, RecordId, Option<DateTime<Utc>>)]) -> Result<(), Fault> {
    for run in writes.chunk_by(|a, b| a.0 == b.0 && a.2.is_some() == b.2.is_some()).flat_map(|run| run.chunks(ROWS)) {
        let Some((space, _, first)) = run.first() else { continue };
        let id = intern(db, space).await?;
        // One statement changes a row once: the last word on a record stands.
        let rows: BTreeMap<_, _> = run.iter().map(|(_, record, since)| (record.as_str(), *since)).collect();
        let records: Vec<&str> = rows.keys().copied().collect();
        if first.is_some() {
            let sql = "INSERT INTO owed (space, record, since) SELECT $1, * FROM UNNEST($2::text[], $3::bigint[])
                ON CONFLICT (space, record) DO UPDATE SET since = excluded.since";
            let times: Vec<i64> = rows.values().flatten().map(|since| nanos(*since)).collect();
            sqlx::query(sql).bind(id).bind(records).bind(times).execute(&mut *db).await?;
        } else {
            let sql = "DELETE FROM owed WHERE space = $1 AND record = ANY($2)";
            sqlx::query(sql).bind(id).bind(records).execute(&mut *db).await?;
        }
    }
    Ok(())
}

async fn seen(db: &mut PgConnection, writes: &[(Space, SeenWrite)]) -> Result<(), Fault> {
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
            SeenWrite::SetAll(accounts) => {
                let sql = "SELECT account FROM seen WHERE space = $1";
                let known = sqlx::query_scalar(sql).bind(id).fetch(&mut *db);
                for chunk in outside(accounts, known).await?.chunks(ROWS) {
                    drop_seen(db, id, chunk).await?;
                }
                set_seen(db, id, accounts).await?;
            }
            SeenWrite::Drop(account) => drop_seen(db, id, &[text(account.as_str()).into_owned()]).await?,
        }
    }
    Ok(())
}

async fn set_seen(db: &mut PgConnection, space: i64, accounts: &[SeenAccount]) -> Result<(), Fault> {
    // Sorted, so that a big listing fills the table's pages one after the other; and once each.
    let rows: BTreeMap<_, _> = accounts.iter().map(|account| (text(account.account.as_str()), account)).collect();
    let rows: Vec<_> = rows.into_iter().collect();
    // A row that is the same is no write: each listing would write every account anew otherwise.
    let sql = "INSERT INTO seen (space, account, user_name, state, record)
        SELECT $1, * FROM UNNEST($2::text[], $3::text[], $4::text[], $5::text[]) AS new (account, user_name, state, record)
        WHERE NOT EXISTS (SELECT FROM seen WHERE seen.space = $1 AND seen.account = new.account AND
        seen.user_name IS NOT DISTINCT FROM new.user_name AND seen.state = new.state AND
        seen.record IS NOT DISTINCT FROM new.record)
        ON CONFLICT (space, account) DO UPDATE SET user_name = excluded.user_name, state = excluded.state,
        record = excluded.record";
    for chunk in rows.chunks(ROWS) {
        let (mut ids, mut names, mut states, mut records) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (id, SeenAccount { account: _, user_name, state, record }) in chunk {
            ids.push(id.as_ref());
            names.push(user_name.as_deref().map(text));
            states.push(state.as_str());
            records.push(record.as_ref().map(RecordId::as_str));
        }
        let names: Vec<Option<&str>> = names.iter().map(Option::as_deref).collect();
        sqlx::query(sql).bind(space).bind(ids).bind(names).bind(states).bind(records).execute(&mut *db).await?;
    }
    Ok(())
}

async fn drop_seen(db: &mut PgConnection, space: i64, accounts: &[String]) -> Result<(), Fault> {
    let sql = "DELETE FROM seen WHERE space = $1 AND account = ANY($2)";
    sqlx::query(sql).bind(space).bind(accounts).execute(db).await?;
    Ok(())
}

async fn cycles(db: &mut PgConnection, cycles: &[CycleRecord]) -> Result<(), Fault> {
    for cycle in cycles {
        let upsert = "INSERT INTO cycle (id, target, body) VALUES ($1, $2, $3)
            ON CONFLICT (id) DO UPDATE SET body = excluded.body";
        let query = sqlx::query(upsert).bind(cycle.id.as_str()).bind(cycle.space.target.as_str());
        query.bind(serde_json::to_string(cycle)?).execute(&mut *db).await?;
    }
    Ok(())
}

async fn tokens(db: &mut PgConnection, writes: &[TokenWrite]) -> Result<(), Fault> {
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
