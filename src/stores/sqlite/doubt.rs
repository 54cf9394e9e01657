//! Whether the store may be older than what it once knew, and who has been confirmed since.

use serde::Deserialize;
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::model::decision::Decision;
use crate::model::decision::DecisionKind;
use crate::model::ids::TargetName;
use crate::stores::sqlite::fault::Fault;

/// A doubt that no person has lifted for every target yet.
#[derive(Debug, Serialize, Deserialize)]
struct Doubt {
    /// The last decision that stood when it arose: a later `enforce` lifts it for its target.
    decision: i64,
    /// Why.
    why: String,
}

/// Remembers that the store may be older than what it once knew.
pub(super) async fn raise(db: &mut SqliteConnection, why: &str) -> Result<(), Fault> {
    let decision: i64 = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM decision").fetch_one(&mut *db).await?;
    let doubt = serde_json::to_string(&Doubt { decision, why: why.to_owned() })?;
    let sql =
        "INSERT INTO meta (key, value) VALUES ('doubt', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    sqlx::query(sql).bind(doubt).execute(db).await?;
    Ok(())
}

/// Why what is remembered of a target is not to be acted upon, until a person says so.
pub(super) async fn of(db: &mut SqliteConnection, target: &TargetName) -> Result<Option<String>, Fault> {
    let sql = "SELECT value FROM meta WHERE key = 'doubt'";
    let Some(text) = sqlx::query_scalar::<_, String>(sql).fetch_optional(&mut *db).await? else { return Ok(None) };
    let Doubt { decision, why } = serde_json::from_str(&text)?;
    let sql = "SELECT body FROM decision WHERE seq > $1";
    let later: Vec<String> = sqlx::query_scalar(sql).bind(decision).fetch_all(db).await?;
    for text in later {
        let decision: Decision = serde_json::from_str(&text)?;
        if decision.kind == DecisionKind::Enforce && decision.target.as_ref() == Some(target) {
            return Ok(None);
        }
    }
    Ok(Some(why))
}
