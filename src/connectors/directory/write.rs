//! Creations and changes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::SecondsFormat;
use chrono::Utc;
use serde_json::Value;
use serde_json::json;
use sqlx::Connection;
use sqlx::SqliteConnection;

use crate::connector::Applied;
use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connector::Operation;
use crate::connector::Shape;
use crate::connector::document;
use crate::connectors::directory::file::Fault;
use crate::connectors::directory::password;
use crate::connectors::directory::rows;
use crate::connectors::directory::rows::Namespace;
use crate::model::account::Membership;
use crate::model::path::AttributePath;

/// One outcome for each operation, in order. An error outside: none of them was done.
pub(super) async fn apply(
    db: &mut SqliteConnection,
    namespace: &Namespace,
    shape: &Shape,
    operations: Vec<Operation>,
    now: DateTime<Utc>,
) -> Result<Vec<Result<Applied, ConnectorError>>, Fault> {
    let mut tx = db.begin_with("BEGIN IMMEDIATE").await?;
    let space = namespace.intern(&mut tx).await?;
    let mut outcomes = Vec::with_capacity(operations.len());
    for operation in operations {
        let id = match operation {
            Operation::Create { values, memberships } => create(&mut tx, space, &values, &memberships, now).await,
            update @ Operation::Update { .. } => change(&mut tx, space, update, now).await,
            Operation::Delete { seen } => {
                rows::delete_user(&mut tx, space, seen.id.as_str()).await?;
                outcomes.push(Ok(Applied { account: None }));
                continue;
            }
        };
        outcomes.push(match id {
            Ok(id) => Ok(Applied { account: Some(rows::account(&read_back(&mut tx, space, &id).await?, shape)?) }),
            Err(Fault::Answer(error)) => Err(error),
            Err(broken) => return Err(broken),
        });
    }
    tx.commit().await?;
    Ok(outcomes)
}

async fn create(
    db: &mut SqliteConnection,
    space: i64,
    values: &BTreeMap<AttributePath, Value>,
    memberships: &BTreeSet<Membership>,
    now: DateTime<Utc>,
) -> Result<String, Fault> {
    let (values, secret) = password::taken_out(values);
    let mut resource = document::user_resource(&values, true);
    give_roles(&mut resource, memberships);
    let id = insert(db, space, resource, now).await?;
    join_groups(db, space, &id, memberships).await?;
    if let Some(secret) = secret {
        password::keep(db, space, &id, &secret).await?;
    }
    Ok(id)
}

/// Keeps a new user under a fresh id.
pub(super) async fn insert(
    db: &mut SqliteConnection,
    space: i64,
    mut resource: Value,
    now: DateTime<Utc>,
) -> Result<String, Fault> {
    let id = uuid::Uuid::new_v4().to_string();
    let stamp = stamp(now);
    if let Some(object) = resource.as_object_mut() {
        object.insert("id".to_owned(), Value::from(id.clone()));
        let meta = json!({ "resourceType": "User", "created": stamp, "lastModified": stamp });
        object.insert("meta".to_owned(), meta);
    }
    rows::put_user(db, space, &resource).await?;
    Ok(id)
}

async fn change(
    db: &mut SqliteConnection,
    space: i64,
    operation: Operation,
    now: DateTime<Utc>,
) -> Result<String, Fault> {
    let Operation::Update { seen, set, clear, active, add, remove } = operation else {
        return Err(Fault::answer(ErrorClass::Refused, "only a change names an account"));
    };
    let id = seen.id.as_str().to_owned();
    let Some(mut resource) = rows::user(db, space, &id).await? else {
        return Err(Fault::answer(ErrorClass::NotFound, format!("there is no account `{id}`")));
    };
    edit(&mut resource, &set, &clear, active);
    take_roles(&mut resource, &remove);
    give_roles(&mut resource, &add);
    save(db, space, resource, now).await?;
    for group in groups(&remove) {
        rows::leave(db, space, group, &id).await?;
    }
    join_groups(db, space, &id, &add).await?;
    Ok(id)
}

/// Lays values over a resource; what is not named stays.
pub(super) fn edit(
    resource: &mut Value,
    set: &BTreeMap<AttributePath, Value>,
    clear: &BTreeSet<AttributePath>,
    active: Option<bool>,
) {
    for (path, value) in set {
        document::set(resource, path, value);
    }
    for path in clear {
        document::clear(resource, path);
    }
    if let (Some(active), Some(object)) = (active, resource.as_object_mut()) {
        object.retain(|name, _| !name.eq_ignore_ascii_case("active"));
        object.insert("active".to_owned(), Value::Bool(active));
    }
}

/// Keeps a changed user.
pub(super) async fn save(
    db: &mut SqliteConnection,
    space: i64,
    mut resource: Value,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    if let Some(meta) = resource.get_mut("meta").and_then(Value::as_object_mut) {
        meta.insert("lastModified".to_owned(), Value::from(stamp(now)));
    }
    rows::put_user(db, space, &resource).await
}

async fn read_back(db: &mut SqliteConnection, space: i64, id: &str) -> Result<Value, Fault> {
    let resource = rows::user(db, space, id).await?;
    resource.ok_or_else(|| Fault::answer(ErrorClass::NotFound, format!("there is no account `{id}`")))
}

fn give_roles(resource: &mut Value, memberships: &BTreeSet<Membership>) {
    let held = document::values_of(document::member(resource, "roles"));
    let fresh: Vec<Value> =
        roles(memberships).filter(|role| !held.contains(*role)).map(|role| json!({ "value": role })).collect();
    if fresh.is_empty() {
        return;
    }
    let mut all = match document::member(resource, "roles") {
        Some(Value::Array(roles)) => roles.clone(),
        _ => Vec::new(),
    };
    all.extend(fresh);
    put_roles(resource, all);
}

fn take_roles(resource: &mut Value, memberships: &BTreeSet<Membership>) {
    let gone: BTreeSet<&str> = roles(memberships).collect();
    let Some(Value::Array(held)) = document::member(resource, "roles").filter(|_| !gone.is_empty()) else { return };
    let stays = |role: &&Value| document::canonical(role).as_str().is_none_or(|name| !gone.contains(name));
    put_roles(resource, held.iter().filter(stays).cloned().collect());
}

fn put_roles(resource: &mut Value, roles: Vec<Value>) {
    let Some(object) = resource.as_object_mut() else { return };
    object.retain(|name, _| !name.eq_ignore_ascii_case("roles"));
    if !roles.is_empty() {
        object.insert("roles".to_owned(), Value::Array(roles));
    }
}

async fn join_groups(
    db: &mut SqliteConnection,
    space: i64,
    id: &str,
    memberships: &BTreeSet<Membership>,
) -> Result<(), Fault> {
    for group in groups(memberships) {
        rows::join(db, space, group, id).await?;
    }
    Ok(())
}

fn roles(memberships: &BTreeSet<Membership>) -> impl Iterator<Item = &str> {
    memberships.iter().filter_map(|membership| match membership {
        Membership::Role(role) => Some(role.as_str()),
        Membership::Group(_) => None,
    })
}

fn groups(memberships: &BTreeSet<Membership>) -> impl Iterator<Item = &str> {
    memberships.iter().filter_map(|membership| match membership {
        Membership::Group(group) => Some(group.as_str()),
        Membership::Role(_) => None,
    })
}

/// RFC 3339, as SCIM writes times (RFC 7643 section 2.3.5).
fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
