//! The whole store out to a file, and in from one.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use futures_util::TryStreamExt;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use sqlx::Connection;
use sqlx::PgConnection;

use crate::audit::heads;
use crate::secrets::keys::Keys;
use crate::store::transfer::Holds;
use crate::store::transfer::META;
use crate::store::transfer::Reader;
use crate::store::transfer::Row;
use crate::store::transfer::TABLES;
use crate::store::transfer::Table;
use crate::store::transfer::Writer;
use crate::stores::postgres::chains;
use crate::stores::postgres::fault::Fault;

/// Rows of one statement.
const ROWS: usize = 200;

/// Writes every row out, in one picture of the store.
pub(super) async fn export(db: &mut PgConnection, keys: &Keys, out: impl io::Write) -> Result<u64, Fault> {
    let mut writer = Writer::new(out, keys)?;
    let mut tx = db.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    for table in &TABLES {
        let mut rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(select(table))).fetch(&mut *tx);
        while let Some(row) = rows.try_next().await? {
            writer.row(table, &row)?;
        }
    }
    tx.rollback().await?;
    Ok(writer.finish()?)
}

fn select(table: &Table) -> String {
    let column = |(name, holds): &(&str, Holds)| match holds {
        Holds::Int | Holds::Text => (*name).to_owned(),
        Holds::Bytes => format!("encode({name}, 'hex')"),
    };
    let columns: Vec<_> = table.columns.iter().map(column).collect();
    let only = if table.name == "meta" { format!(" WHERE key IN ('{}')", META.join("', '")) } else { String::new() };
    // The first columns are the key of every table, so files of equal stores hold equal rows.
    let key = table.columns.first().map_or("1", |(name, _)| *name);
    format!("SELECT json_build_array({})::text FROM {}{only} ORDER BY {key}", columns.join(", "), table.name)
}

/// Takes every row in, or nothing. `own` is the id of this store, which becomes the imported one.
pub(super) async fn import(
    db: &mut PgConnection,
    keys: &Keys,
    (own, heads): (&str, &Path),
    input: impl io::BufRead,
) -> Result<u64, Fault> {
    let mut reader = Reader::new(input, keys)?;
    let mut tx = db.begin().await?;
    refuse_filled(&mut tx).await?;
    let mut count = 0;
    while let Some(rows) = reader.frame()? {
        count += rows.len() as u64;
        for run in rows.chunk_by(|a, b| a.table == b.table).flat_map(|run| run.chunks(ROWS)) {
            insert(&mut tx, run).await?;
        }
    }
    for table in &TABLES {
        let Some(counter) = table.counter else { continue };
        let (name, last) = (table.name, format!("coalesce(max({counter}), 0) + 1"));
        let sql = format!("SELECT setval(pg_get_serial_sequence('{name}', '{counter}'), {last}, false) FROM {name}");
        let _next: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *tx).await?;
    }
    let id: String = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'store'").fetch_one(&mut *tx).await?;
    let (ends, _) = chains::load(&mut tx, &id, keys, heads).await?;
    tx.commit().await?;
    heads::moved(heads, own, &id, ends.heads()).map_err(Fault::from)?;
    Ok(count)
}

async fn refuse_filled(db: &mut PgConnection) -> Result<(), Fault> {
    for table in TABLES.iter().filter(|table| table.name != "meta") {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", table.name);
        if sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *db).await? {
            return Err(Fault::refuse(
                "the store remembers something already, and an import would mix two stores: name another one under \
                 `store`, or move this one away",
            ));
        }
    }
    let sql = format!("DELETE FROM meta WHERE key IN ('{}')", META.join("', '"));
    sqlx::query(AssertSqlSafe(sql)).execute(db).await?;
    Ok(())
}

async fn insert(db: &mut PgConnection, rows: &[Row]) -> Result<(), Fault> {
    let Some(table) = rows.first().and_then(|row| TABLES.get(row.table)) else { return Ok(()) };
    let (mut names, mut values) = (Vec::new(), String::new());
    for (position, (name, holds)) in table.columns.iter().enumerate() {
        names.push(*name);
        let comma = if position == 0 { "" } else { ", " };
        match holds {
            Holds::Int => write!(values, "{comma}(value ->> {position})::bigint"),
            Holds::Text => write!(values, "{comma}value ->> {position}"),
            Holds::Bytes => write!(values, "{comma}decode(value ->> {position}, 'hex')"),
        }
        .map_err(|error| Fault::say(error.to_string()))?;
    }
    let sql = format!(
        "INSERT INTO {} ({}) SELECT {values} FROM jsonb_array_elements($1::jsonb)",
        table.name,
        names.join(", ")
    );
    let rows: Vec<Vec<Value>> = rows.iter().map(|row| row.values.iter().map(without_nul).collect()).collect();
    sqlx::query(AssertSqlSafe(sql)).bind(serde_json::to_string(&rows)?).execute(db).await?;
    Ok(())
}

/// A name as a target shows it may bear what `PostgreSQL` keeps in no text.
fn without_nul(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('\0', "\u{fffd}")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.clone(),
    }
}
