//! Looking accounts up. Every answer is proven: the whole namespace was looked at.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::SqliteConnection;

use crate::connector::Found;
use crate::connector::Look;
use crate::connector::Shape;
use crate::connector::document;
use crate::connectors::directory::file::Fault;
use crate::connectors::directory::rows;
use crate::connectors::directory::rows::Namespace;
use crate::model::path::AttributePath;

/// Accounts that fit.
pub(super) async fn look(
    db: &mut SqliteConnection,
    namespace: &Namespace,
    shape: &Shape,
    look: &Look,
) -> Result<Found, Fault> {
    let Some(space) = namespace.known(db).await? else { return Ok(Found { accounts: Vec::new(), proven: true }) };
    let resources = match look {
        Look::Id(id) => rows::user(db, space, id.as_str()).await?.into_iter().collect(),
        Look::Key(key, values) if key.0.is_empty() || key.0.len() != values.len() => {
            return Ok(Found { accounts: Vec::new(), proven: false });
        }
        Look::Key(key, values) => {
            let mut resources = candidates(db, space, &key.0, values).await?;
            let agrees = |resource: &Value| key.0.iter().zip(values).all(|(path, value)| fits(resource, path, value));
            resources.retain(agrees);
            resources
        }
    };
    let accounts = resources.iter().map(|resource| rows::account(resource, shape)).collect::<Result<_, _>>()?;
    Ok(Found { accounts, proven: true })
}

/// Users among whom all hits are, by the narrowest way that the file has.
async fn candidates(
    db: &mut SqliteConnection,
    space: i64,
    paths: &[AttributePath],
    values: &[Value],
) -> Result<Vec<Value>, Fault> {
    let text_at = |path: AttributePath| {
        let pair = paths.iter().zip(values).find(|(known, _)| **known == path);
        pair.and_then(|(_, value)| value.as_str())
    };
    let ids: Vec<String> = if let Some(name) = text_at(AttributePath::user_name()) {
        let sql = "SELECT id FROM user WHERE namespace = $1 AND name = $2";
        sqlx::query_scalar(sql).bind(space).bind(rows::folded(name)).fetch_all(&mut *db).await?
    } else if let Some(external) = text_at(AttributePath::external_id()) {
        let sql = "SELECT id FROM user WHERE namespace = $1 AND external_id = $2";
        sqlx::query_scalar(sql).bind(space).bind(external).fetch_all(&mut *db).await?
    } else {
        holding(db, space, values).await?
    };
    rows::users(db, space, &ids.into_iter().collect::<BTreeSet<_>>()).await
}

/// Ids of users whose resource holds every text somewhere, ASCII letters folded as SQLite's
/// `lower` folds them: read through where SQLite lies, so that few resources are parsed.
pub(super) async fn holding(db: &mut SqliteConnection, space: i64, values: &[Value]) -> Result<Vec<String>, Fault> {
    let texts: Vec<String> = values.iter().filter(|value| value.is_string()).map(inside).collect();
    let sql = "SELECT id FROM user WHERE namespace = $1 AND NOT EXISTS
        (SELECT 1 FROM json_each($2) AS text WHERE instr(lower(resource), lower(text.value)) = 0) ORDER BY id";
    Ok(sqlx::query_scalar(sql).bind(space).bind(serde_json::to_string(&texts)?).fetch_all(db).await?)
}

/// A text as it stands inside the quotes of a JSON document.
fn inside(value: &Value) -> String {
    let quoted = value.to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned()
}

fn fits(resource: &Value, path: &AttributePath, value: &Value) -> bool {
    document::get(resource, path).is_some_and(|own| same(path, &own, &document::canonical(value)))
}

/// Whether two values of an attribute are one: ids are case exact (RFC 7643 section 3.1), other
/// texts are not (section 2.3.1: the default of `caseExact` is false).
pub(super) fn same(path: &AttributePath, own: &Value, asked: &Value) -> bool {
    let exact = ["id", "externalId"].iter().any(|name| path.as_str().eq_ignore_ascii_case(name));
    match (own.as_str(), asked.as_str()) {
        (Some(own), Some(asked)) if !exact => own.eq_ignore_ascii_case(asked),
        _ => own == asked,
    }
}
