//! Statements of one commit that go to the database together.
//!
//! The driver runs the database on a thread of its own. To wake it, and to be woken by it, costs more than
//! most statements, so those whose answer nobody needs wait for one another.

use sqlx::Arguments;
use sqlx::AssertSqlSafe;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteArguments;

use crate::stores::sqlite::fault::Fault;

/// So many statements go at once. Equal ones behind one another make equal scripts, which are compiled once.
const AT_ONCE: usize = 16;

/// A value of a statement.
pub(super) enum Value {
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

/// Statements that wait.
#[derive(Default)]
pub(super) struct Script {
    sql: String,
    arguments: SqliteArguments,
    bound: usize,
    statements: usize,
}

impl Script {
    /// Adds a statement whose values it calls `$1`, `$2` and so on.
    pub(super) async fn add<const N: usize>(
        &mut self,
        db: &mut SqliteConnection,
        sql: &'static str,
        values: [Value; N],
    ) -> Result<(), Fault> {
        renumbered(&mut self.sql, sql, self.bound);
        self.bound += N;
        self.statements += 1;
        for value in values {
            let added = match value {
                Value::Int(value) => self.arguments.add(value),
                Value::Text(value) => self.arguments.add(value),
                Value::Bytes(value) => self.arguments.add(value),
            };
            added.map_err(sqlx::Error::Encode)?;
        }
        if self.statements < AT_ONCE { Ok(()) } else { self.run(db).await }
    }

    /// Runs what waits, in the order in which it was added.
    pub(super) async fn run(&mut self, db: &mut SqliteConnection) -> Result<(), Fault> {
        let Self { sql, arguments, bound: _, statements } = std::mem::take(self);
        if statements > 0 {
            sqlx::query_with(AssertSqlSafe(sql), arguments).execute(db).await?;
        }
        Ok(())
    }
}

/// Appends a statement whose values stand behind so many others.
fn renumbered(out: &mut String, sql: &str, before: usize) {
    let mut parts = sql.split('$');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let text = part.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let number = part.strip_suffix(text).and_then(|digits| digits.parse::<usize>().ok()).unwrap_or_default();
        out.push('$');
        out.push_str(&(before + number).to_string());
        out.push_str(text);
    }
    out.push_str(";\n");
}

#[cfg(test)]
mod tests {
    use sqlx::Connection;

    use super::*;

    #[test]
    fn values_are_counted_through() {
        let mut sql = String::new();
        renumbered(&mut sql, "INSERT INTO a VALUES ($1, $2) -- $1", 0);
        renumbered(&mut sql, "UPDATE b SET c = $12", 2);
        assert_eq!(sql, "INSERT INTO a VALUES ($1, $2) -- $1;\nUPDATE b SET c = $14;\n");
    }

    #[tokio::test]
    async fn statements_run_in_order_with_their_own_values_however_many_there_are() {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let mut script = Script::default();
        script.add(&mut db, "CREATE TABLE t (at INTEGER, word TEXT, body BLOB)", []).await.unwrap();
        for number in 0..40_i64 {
            let values = [number.into(), format!("w{number}").into(), vec![1, 2].into()];
            script.add(&mut db, "INSERT INTO t VALUES ($1, $2, $3)", values).await.unwrap();
            script
                .add(&mut db, "UPDATE t SET word = $2 WHERE at = $1 - 1", [number.into(), "old".into()])
                .await
                .unwrap();
        }
        script.run(&mut db).await.unwrap();
        let rows: Vec<(i64, String, Vec<u8>)> =
            sqlx::query_as("SELECT at, word, body FROM t ORDER BY rowid").fetch_all(&mut db).await.unwrap();
        let word = |number: i64| if number == 39 { "w39".to_owned() } else { "old".to_owned() };
        assert_eq!(rows, (0..40).map(|number| (number, word(number), vec![1, 2])).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_statement_that_fails_stops_what_is_behind_it() {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let mut script = Script::default();
        script.add(&mut db, "CREATE TABLE t (at INTEGER PRIMARY KEY)", []).await.unwrap();
        for at in [1_i64, 1, 2] {
            script.add(&mut db, "INSERT INTO t VALUES ($1)", [at.into()]).await.unwrap();
        }
        assert!(matches!(script.run(&mut db).await, Err(Fault::Sql(_))));
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&mut db).await.unwrap();
        assert_eq!(count, 1);
    }
}
