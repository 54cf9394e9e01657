//! The directory read as SCIM.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::Value;
use serde_json::json;
use sqlx::SqliteConnection;

use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connector::document;
use crate::connector::view::DirectoryView;
use crate::connector::view::ViewKind;
use crate::connector::view::ViewPage;
use crate::connector::view::ViewQuery;
use crate::connectors::directory::Directory;
use crate::connectors::directory::file::Fault;
use crate::connectors::directory::look;
use crate::connectors::directory::rows;
use crate::model::ids::TargetName;
use crate::model::path::AttributePath;

#[async_trait]
impl DirectoryView for Directory {
    async fn list(&self, target: &TargetName, query: &ViewQuery) -> Result<Option<ViewPage>, ConnectorError> {
        let Some(namespace) = self.namespace(target) else { return Ok(None) };
        let ViewQuery { kind, filter, skip, count } = query.clone();
        let filter = filter.map(|(name, value)| path(&name).map(|path| (path, value))).transpose()?;
        let job = async move |db: &mut SqliteConnection| {
            let Some(space) = namespace.known(db).await? else { return Ok((0, Vec::new())) };
            match kind {
                ViewKind::Users => users(db, space, filter.as_ref(), (skip, count)).await,
                ViewKind::Groups => groups(db, space, filter.as_ref(), (skip, count)).await,
            }
        };
        let (total, resources) = self.read(job).await?;
        Ok(Some(ViewPage { total, resources }))
    }

    async fn get(&self, target: &TargetName, kind: ViewKind, id: &str) -> Result<Option<Value>, ConnectorError> {
        let Some(namespace) = self.namespace(target) else { return Ok(None) };
        let id = id.to_owned();
        let job = async move |db: &mut SqliteConnection| {
            let Some(space) = namespace.known(db).await? else { return Ok(None) };
            match kind {
                ViewKind::Users => rows::user(db, space, &id).await,
                ViewKind::Groups => Ok(teams(db, space, Some(&id)).await?.pop()),
            }
        };
        self.read(job).await
    }
}

fn path(name: &str) -> Result<AttributePath, ConnectorError> {
    AttributePath::parse(name).map_err(|error| ConnectorError {
        class: ErrorClass::Refused,
        message: error.to_string(),
        retry_after: None,
    })
}

type Filter = (AttributePath, Value);
type Page = (usize, Vec<Value>);

async fn users(
    db: &mut SqliteConnection,
    space: i64,
    filter: Option<&Filter>,
    (skip, count): (usize, usize),
) -> Result<Page, Fault> {
    let Some(filter) = filter else {
        let sql = "SELECT count(*) FROM user WHERE namespace = $1";
        let total: i64 = sqlx::query_scalar(sql).bind(space).fetch_one(&mut *db).await?;
        let sql = "SELECT id FROM user WHERE namespace = $1 ORDER BY id LIMIT $2 OFFSET $3";
        let query = sqlx::query_scalar(sql).bind(space).bind(bound(count)).bind(bound(skip));
        let ids: BTreeSet<String> = query.fetch_all(&mut *db).await?.into_iter().collect();
        return Ok((usize::try_from(total).unwrap_or_default(), rows::users(db, space, &ids).await?));
    };
    // What the tables derive does not stand in the resource, so nothing is left out by its text.
    let derived = filter.0.parts().attribute.eq_ignore_ascii_case("groups");
    let texts = if derived { Vec::new() } else { vec![filter.1.clone()] };
    let ids = look::holding(db, space, &texts).await?.into_iter().collect();
    let mut resources = rows::users(db, space, &ids).await?;
    resources.retain(|resource| fits(resource, filter));
    Ok(cut(resources, skip, count))
}

async fn groups(
    db: &mut SqliteConnection,
    space: i64,
    filter: Option<&Filter>,
    (skip, count): (usize, usize),
) -> Result<Page, Fault> {
    let mut resources = teams(db, space, None).await?;
    resources.retain(|resource| filter.is_none_or(|filter| fits(resource, filter)));
    Ok(cut(resources, skip, count))
}

/// One group or all, by id, `members` filled in.
async fn teams(db: &mut SqliteConnection, space: i64, id: Option<&str>) -> Result<Vec<Value>, Fault> {
    let sql = "SELECT resource, (SELECT json_group_array(user) FROM member WHERE member.namespace = team.namespace
        AND member.team = team.id) FROM team WHERE namespace = $1 AND ($2 IS NULL OR id = $2) ORDER BY id";
    let rows: Vec<(String, String)> = sqlx::query_as(sql).bind(space).bind(id).fetch_all(db).await?;
    let read = |(resource, members): (String, String)| -> Result<Value, Fault> {
        let mut resource: Value = serde_json::from_str(&resource)?;
        let members: BTreeSet<String> = serde_json::from_str(&members)?;
        if let Some(object) = resource.as_object_mut().filter(|_| !members.is_empty()) {
            let members = members.into_iter().map(|id| json!({ "value": id })).collect();
            object.insert("members".to_owned(), Value::Array(members));
        }
        Ok(resource)
    };
    rows.into_iter().map(read).collect()
}

/// `eq` of a filter: of a multi-valued attribute, any value may fit (RFC 7644 section 3.4.2.2).
fn fits(resource: &Value, (path, asked): &Filter) -> bool {
    let parts = path.parts();
    let holder = parts.schema.and_then(|urn| document::member(resource, urn)).unwrap_or(resource);
    if let (Some(Value::Array(items)), None) = (document::member(holder, parts.attribute), parts.filter) {
        let value = |item: &Value| match parts.sub {
            Some(sub) => document::member(item, sub).cloned(),
            None => Some(document::canonical(item)),
        };
        return items.iter().filter_map(value).any(|own| look::same(path, &own, asked));
    }
    document::get(resource, path).is_some_and(|own| look::same(path, &own, asked))
}

fn cut(resources: Vec<Value>, skip: usize, count: usize) -> Page {
    (resources.len(), resources.into_iter().skip(skip).take(count).collect())
}

fn bound(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
