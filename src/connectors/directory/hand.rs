//! What people and other programs do in the directory, for trying out and for tests: the engine
//! must cope with hands other than its own.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::Connection;
use sqlx::SqliteConnection;

use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connectors::directory::Directory;
use crate::connectors::directory::file::Fault;
use crate::connectors::directory::rows;
use crate::connectors::directory::rows::Namespace;
use crate::connectors::directory::write;
use crate::model::ids::AccountId;
use crate::model::ids::TargetName;
use crate::model::path::AttributePath;

impl Directory {
    /// Keeps a resource that rosterd did not make, under a fresh id.
    pub async fn insert(&self, target: &TargetName, resource: Value) -> Result<AccountId, ConnectorError> {
        let now = self.clock.now();
        let job = async move |db: &mut SqliteConnection, space| write::insert(db, space, resource, now).await;
        self.by_hand(target, job).await.map(AccountId::from)
    }

    /// Writes values into an account; `null` clears. `active` is a path like others.
    pub async fn edit(
        &self,
        target: &TargetName,
        id: &AccountId,
        values: BTreeMap<AttributePath, Value>,
    ) -> Result<(), ConnectorError> {
        let (id, now) = (id.clone(), self.clock.now());
        let job = async move |db: &mut SqliteConnection, space| {
            let resource = rows::user(db, space, id.as_str()).await?;
            let mut resource = resource.ok_or_else(|| nobody(&id))?;
            let clear: BTreeSet<_> =
                values.iter().filter(|(_, value)| value.is_null()).map(|(path, _)| path.clone()).collect();
            let set = values.into_iter().filter(|(_, value)| !value.is_null()).collect();
            write::edit(&mut resource, &set, &clear, None);
            write::save(db, space, resource, now).await
        };
        self.by_hand(target, job).await
    }

    /// Deletes an account with its memberships.
    pub async fn delete(&self, target: &TargetName, id: &AccountId) -> Result<(), ConnectorError> {
        let id = id.clone();
        let job = async move |db: &mut SqliteConnection, space: i64| {
            if rows::delete_user(db, space, id.as_str()).await? { Ok(()) } else { Err(nobody(&id)) }
        };
        self.by_hand(target, job).await
    }

    /// Puts an account into a group, or takes it out.
    pub async fn set_member(
        &self,
        target: &TargetName,
        group: &str,
        id: &AccountId,
        member: bool,
    ) -> Result<(), ConnectorError> {
        let (group, id) = (group.to_owned(), id.clone());
        let job = async move |db: &mut SqliteConnection, space| {
            rows::user(db, space, id.as_str()).await?.ok_or_else(|| nobody(&id))?;
            if member {
                rows::join(db, space, &group, id.as_str()).await
            } else {
                rows::leave(db, space, &group, id.as_str()).await
            }
        };
        self.by_hand(target, job).await
    }

    async fn by_hand<T: Send + 'static>(
        &self,
        target: &TargetName,
        job: impl AsyncFnOnce(&mut SqliteConnection, i64) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, ConnectorError> {
        let namespace: Namespace = self.namespace(target).ok_or_else(|| ConnectorError {
            class: ErrorClass::NotFound,
            message: format!("`{target}` is no target of the embedded directory"),
            retry_after: None,
        })?;
        let work = async move |db: &mut SqliteConnection| {
            let mut tx = db.begin_with("BEGIN IMMEDIATE").await?;
            let space = namespace.intern(&mut tx).await?;
            let done = job(&mut tx, space).await?;
            tx.commit().await?;
            Ok(done)
        };
        self.write(work).await
    }
}

fn nobody(id: &AccountId) -> Fault {
    Fault::answer(ErrorClass::NotFound, format!("there is no account `{id}`"))
}
