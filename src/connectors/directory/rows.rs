//! Rows of the file as SCIM resources.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::json;
use sqlx::SqliteConnection;

use crate::connector::ErrorClass;
use crate::connector::Shape;
use crate::connector::document;
use crate::connectors::directory::file::Fault;
use crate::model::account::Account;
use crate::model::ids::EnvironmentName;
use crate::model::ids::TargetName;
use crate::model::path::AttributePath;

/// Where the accounts of one target and environment lie.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    pub(super) target: TargetName,
    pub(super) environment: EnvironmentName,
}

impl Namespace {
    /// Its number in the tables; `None` while nothing was ever written to it.
    pub(super) async fn known(&self, db: &mut SqliteConnection) -> Result<Option<i64>, Fault> {
        let sql = "SELECT id FROM namespace WHERE target = $1 AND environment = $2";
        let query = sqlx::query_scalar(sql).bind(self.target.as_str()).bind(self.environment.as_str());
        Ok(query.fetch_optional(db).await?)
    }

    /// The same, made where it is new.
    pub(super) async fn intern(&self, db: &mut SqliteConnection) -> Result<i64, Fault> {
        // A conflict must update something for RETURNING to give the row.
        let sql = "INSERT INTO namespace (target, environment) VALUES ($1, $2)
            ON CONFLICT DO UPDATE SET environment = excluded.environment RETURNING id";
        let query = sqlx::query_scalar(sql).bind(self.target.as_str()).bind(self.environment.as_str());
        Ok(query.fetch_one(db).await?)
    }
}

/// A user name in the form in which it is unique.
pub(super) fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// Users with ids among `ids`, by id, `groups` filled in.
pub(super) async fn users(db: &mut SqliteConnection, space: i64, ids: &BTreeSet<String>) -> Result<Vec<Value>, Fault> {
    let ids = serde_json::to_string(ids)?;
    let sql = "SELECT resource FROM user WHERE namespace = $1 AND id IN (SELECT value FROM json_each($2)) ORDER BY id";
    let rows: Vec<String> = sqlx::query_scalar(sql).bind(space).bind(&ids).fetch_all(&mut *db).await?;
    let sql = "SELECT user, team FROM member WHERE namespace = $1 AND user IN (SELECT value FROM json_each($2))";
    let members: Vec<(String, String)> = sqlx::query_as(sql).bind(space).bind(&ids).fetch_all(db).await?;
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (user, team) in members {
        groups.entry(user).or_default().push(json!({ "value": team }));
    }
    rows.iter().map(|text| Ok(with_groups(serde_json::from_str(text)?, &mut groups))).collect()
}

/// One user.
pub(super) async fn user(db: &mut SqliteConnection, space: i64, id: &str) -> Result<Option<Value>, Fault> {
    Ok(users(db, space, &BTreeSet::from([id.to_owned()])).await?.pop())
}

fn with_groups(mut resource: Value, groups: &mut BTreeMap<String, Vec<Value>>) -> Value {
    let held = document::id(&resource).and_then(|id| groups.remove(id.as_str()));
    if let (Some(held), Some(object)) = (held, resource.as_object_mut()) {
        object.insert("groups".to_owned(), Value::Array(held));
    }
    resource
}

/// A resource as an account of this shape.
pub(super) fn account(resource: &Value, shape: &Shape) -> Result<Account, Fault> {
    document::account(resource, shape).map_err(|error| Fault::answer(ErrorClass::Transient, error.to_string()))
}

/// Writes a user, new or changed. What the tables derive is not kept in the resource.
pub(super) async fn put_user(db: &mut SqliteConnection, space: i64, resource: &Value) -> Result<(), Fault> {
    let refused = |message: &str| Fault::answer(ErrorClass::Refused, message);
    let id = document::id(resource).ok_or_else(|| refused("a user without an `id` cannot be kept"))?;
    let name = document::get(resource, &AttributePath::user_name());
    let name = name.as_ref().and_then(Value::as_str).ok_or_else(|| {
        refused("a user needs a `userName` (RFC 7643 section 4.1.1); give the target's `account.userName` a value")
    })?;
    let external = document::get(resource, &AttributePath::external_id());
    let mut kept = resource.clone();
    if let Some(object) = kept.as_object_mut() {
        object.retain(|key, _| !key.eq_ignore_ascii_case("groups"));
    }
    let sql = "INSERT INTO user (namespace, id, name, external_id, resource) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (namespace, id) DO UPDATE SET name = excluded.name, external_id = excluded.external_id,
        resource = excluded.resource";
    let query = sqlx::query(sql).bind(space).bind(id.as_str()).bind(folded(name));
    let query = query.bind(external.as_ref().and_then(Value::as_str)).bind(kept.to_string());
    match query.execute(db).await {
        // A statement that fails takes back its own work alone, so the rest of the batch stands.
        Err(error) if error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation) => {
            Err(Fault::answer(ErrorClass::Exists, format!("an account with the user name `{name}` is there already")))
        }
        done => Ok(done.map(|_| ())?),
    }
}

/// Takes a user out, with memberships and password. Whether there was one.
pub(super) async fn delete_user(db: &mut SqliteConnection, space: i64, id: &str) -> Result<bool, Fault> {
    let sql = "DELETE FROM user WHERE namespace = $1 AND id = $2";
    let done = sqlx::query(sql).bind(space).bind(id).execute(db).await?;
    Ok(done.rows_affected() > 0)
}

/// Makes `user` a member; a team that is not there is made, since nobody else makes any here.
pub(super) async fn join(db: &mut SqliteConnection, space: i64, team: &str, user: &str) -> Result<(), Fault> {
    let meta = json!({ "resourceType": "Group" });
    let resource = json!({ "schemas": [document::GROUP_SCHEMA], "id": team, "displayName": team, "meta": meta });
    let sql = "INSERT INTO team (namespace, id, resource) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    sqlx::query(sql).bind(space).bind(team).bind(resource.to_string()).execute(&mut *db).await?;
    let sql = "INSERT INTO member (namespace, user, team) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    sqlx::query(sql).bind(space).bind(user).bind(team).execute(db).await?;
    Ok(())
}

/// Ends a membership.
pub(super) async fn leave(db: &mut SqliteConnection, space: i64, team: &str, user: &str) -> Result<(), Fault> {
    let sql = "DELETE FROM member WHERE namespace = $1 AND user = $2 AND team = $3";
    sqlx::query(sql).bind(space).bind(user).bind(team).execute(db).await?;
    Ok(())
}
