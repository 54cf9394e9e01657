//! Creations and changes, each checked by what the target shows afterwards.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use reqwest::Method;
use serde_json::Value;

use crate::connector::Applied;
use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connector::Operation;
use crate::connector::Shape;
use crate::connector::document;
use crate::connectors::scim::Scim;
use crate::connectors::scim::fault;
use crate::connectors::scim::patch;
use crate::connectors::scim::patch::Edit;
use crate::connectors::scim::profile::UpdateVerb;
use crate::connectors::scim::wire;
use crate::connectors::scim::wire::Write;
use crate::http::answer::Answer;
use crate::model::account::Account;
use crate::model::account::AccountState;
use crate::model::account::Membership;
use crate::model::ids::AccountId;
use crate::model::path::AttributePath;

/// How a PATCH ended.
enum Patched {
    /// Done; the resource, where the answer held it.
    Done(Option<Value>),
    /// The target takes no PATCH, or not this path: the whole resource must be sent.
    /// `gave`: what was written before gives access.
    SendWhole { gave: bool },
}

impl Scim {
    pub(crate) async fn write(&self, shape: &Shape, operation: &Operation) -> Result<Applied, ConnectorError> {
        let account = match operation {
            Operation::Create { values, memberships } => self.create(shape, values, memberships).await?,
            Operation::Update { seen, set, clear, active, add, remove } => {
                let edit =
                    Edit { seen, set, clear, active: *active, add_roles: roles(add), remove_roles: roles(remove) };
                self.update(shape, &edit, add, remove).await?
            }
            Operation::Delete { seen } => return self.delete(shape, seen).await.map(|account| Applied { account }),
        };
        Ok(Applied { account: Some(account) })
    }

    async fn create(
        &self,
        shape: &Shape,
        values: &BTreeMap<AttributePath, Value>,
        memberships: &BTreeSet<Membership>,
    ) -> Result<Account, ConnectorError> {
        if let Some(missing) = self.profile.required.iter().find(|path| !values.contains_key(*path)) {
            let message = format!("this target demands `{missing}`; map it under `account.attributes`");
            return Err(ConnectorError { class: ErrorClass::Refused, message, retry_after: None });
        }
        let body = patch::new_resource(values, &roles(memberships), &self.profile);
        let url = self.wire.url(&["Users"], &[])?;
        let write = Write { operation: "create", method: Method::POST, url, body: &body, if_match: None };
        let answer = self.wire.write(write).await?;
        if !answer.is_success() {
            return Err(not_created(&answer));
        }
        let mut account = self.created(shape, values, &answer).await.map_err(|error| taken(&error))?;
        for group in groups(memberships) {
            match self.add_member(group, &account.id).await {
                Ok(()) => drop(account.memberships.insert(Membership::Group(group.to_owned()))),
                // The account exists and must be linked: what is missing is shown as missing, and
                // the next plan gives it.
                Err(error) => tracing::warn!(group, %error, "a new account was not added to a group"),
            }
        }
        Ok(account)
    }

    /// The account behind the answer to a creation. Some answers hold nothing, or only an id.
    async fn created(
        &self,
        shape: &Shape,
        values: &BTreeMap<AttributePath, Value>,
        answer: &Answer,
    ) -> Result<Account, ConnectorError> {
        if let Some(resource) = wire::resource_of(answer) {
            let is_whole = document::member(&resource, "userName").is_some();
            let id = document::id(&resource).filter(|_| !is_whole);
            let resource = match id {
                Some(id) => self.read_back(&id).await?,
                None => resource,
            };
            return self.account(&resource, shape, None).await;
        }
        let keys = [AttributePath::external_id(), AttributePath::user_name()];
        let known = keys.into_iter().find_map(|key| values.get(&key).map(|value| (key.clone(), value.clone())));
        let Some((key, value)) = known else { return Err(fault::of_http(answer.unreadable())) };
        self.made(shape, key, value).await
    }

    async fn update(
        &self,
        shape: &Shape,
        edit: &Edit<'_>,
        add: &BTreeSet<Membership>,
        remove: &BTreeSet<Membership>,
    ) -> Result<Account, ConnectorError> {
        let mut gave = false;
        let updated = self.update_in_steps(shape, edit, (add, remove), &mut gave).await;
        updated.map_err(|error| after(gave, error))
    }

    /// The calls of one change, one after the other. `gave` tells whether any gave something that the
    /// account did not have.
    async fn update_in_steps(
        &self,
        shape: &Shape,
        edit: &Edit<'_>,
        (add, remove): (&BTreeSet<Membership>, &BTreeSet<Membership>),
        gave: &mut bool,
    ) -> Result<Account, ConnectorError> {
        let id = &edit.seen.id;
        for group in groups(remove) {
            self.remove_member(group, id).await?;
        }
        let answered = if edit.is_empty() { None } else { self.edit(id, edit).await? };
        *gave = gives(edit);
        for group in groups(add) {
            self.add_member(group, id).await?;
            *gave = true;
        }
        // Memberships are not in a resource's own hands, and a state that matters is not
        // believed but looked at.
        let resource = match answered {
            Some(resource) if edit.active.is_none() && edit.remove_roles.is_empty() => resource,
            _ => self.settled(id, edit.active).await?,
        };
        let mut account = self.account(&resource, shape, None).await?;
        check_state(&account, edit.active)?;
        check_roles(&account, &edit.remove_roles)?;
        let asked = |membership: &&Membership| {
            matches!(membership, Membership::Group(_)) && shape.memberships.contains(*membership)
        };
        account.memberships.extend(edit.seen.memberships.iter().chain(add).filter(asked).cloned());
        account
            .memberships
            .retain(|membership| !(matches!(membership, Membership::Group(_)) && remove.contains(membership)));
        Ok(account)
    }

    /// Writes the change of the account's own resource; gives the resource where the target
    /// answered with it.
    async fn edit(&self, id: &AccountId, edit: &Edit<'_>) -> Result<Option<Value>, ConnectorError> {
        let puts = self.puts.load(Ordering::Relaxed)
            || self.profile.update == UpdateVerb::Put
            || self.service().await.no_patch;
        if puts {
            return self.put(id, edit).await.map(|()| None);
        }
        match self.patch(id, edit).await? {
            Patched::Done(resource) => Ok(resource),
            Patched::SendWhole { gave } => self.put(id, edit).await.map(|()| None).map_err(|error| after(gave, error)),
        }
    }

    async fn patch(&self, id: &AccountId, edit: &Edit<'_>) -> Result<Patched, ConnectorError> {
        let url = self.wire.url(&["Users", id.as_str()], &[])?;
        let mut resource = None;
        let mut gave = false;
        for body in patch::bodies(edit, &self.profile) {
            let (operation, url) = ("update", url.clone());
            let write = Write { operation, method: Method::PATCH, url, body: &body, if_match: None };
            let answer = self.wire.write(write).await?;
            if answer.is_success() {
                gave = gives(edit);
                resource = wire::resource_of(&answer).filter(|resource| is_whole(resource, id));
            } else if fault::refuses_patch(&answer) {
                // A 404 without a word may also mean this one account: only the others are remembered.
                self.puts.fetch_or(answer.status != 404, Ordering::Relaxed);
                return Ok(Patched::SendWhole { gave });
            } else if fault::refuses_path(&answer) {
                return Ok(Patched::SendWhole { gave });
            } else {
                return Err(after(gave, fault::of_write(&answer)));
            }
        }
        Ok(Patched::Done(resource))
    }

    /// Reads the resource, lays the change over it and puts it back, guarded by its version where
    /// that is real.
    async fn put(&self, id: &AccountId, edit: &Edit<'_>) -> Result<(), ConnectorError> {
        let url = self.wire.url(&["Users", id.as_str()], &[])?;
        let (resource, answer) = self.wire.resource("read", url.clone()).await?;
        let version = self.real_version(&resource, &answer).await;
        let body = patch::merged(resource, edit, &self.profile);
        let if_match = version.as_deref();
        let write = Write { operation: "update", method: Method::PUT, url, body: &body, if_match };
        let answer = self.wire.write(write).await?;
        if answer.is_success() { Ok(()) } else { Err(fault::of_write(&answer)) }
    }

    /// A version is real if the target says that it has them, sends one as `ETag`, and shows the
    /// same one in the resource.
    async fn real_version(&self, resource: &Value, answer: &Answer) -> Option<String> {
        let tag = answer.header("etag")?;
        let shown = document::member(document::member(resource, "meta")?, "version")?.as_str()?;
        (tag == shown && self.has_versions().await).then(|| tag.to_owned())
    }

    async fn read_back(&self, id: &AccountId) -> Result<Value, ConnectorError> {
        let url = self.wire.url(&["Users", id.as_str()], &[])?;
        let read = self.wire.resource("read", url).await;
        read.map(|(resource, _)| resource).map_err(|error| ConnectorError {
            class: if error.class == ErrorClass::NotFound { ErrorClass::NotFound } else { ErrorClass::Uncertain },
            message: format!("the write was taken, and could not be read back: {}", error.message),
            retry_after: error.retry_after,
        })
    }

    /// Reads back, and once more where a fresh write may stay unseen for a while.
    async fn settled(&self, id: &AccountId, active: Option<bool>) -> Result<Value, ConnectorError> {
        let resource = self.read_back(id).await?;
        let pause = self.profile.visible_within.min(self.profile.call_limit);
        if pause.is_zero() || !contradicts(document::state(&resource), active) {
            return Ok(resource);
        }
        tokio::time::sleep(pause).await;
        self.read_back(id).await
    }
}

fn check_state(account: &Account, asked: Option<bool>) -> Result<(), ConnectorError> {
    if !contradicts(account.state, asked) {
        return Ok(());
    }
    let message = format!(
        "the target answered that it was done, and the account is still {}; it is tried again",
        account.state.as_str()
    );
    Err(ConnectorError { class: ErrorClass::Transient, message, retry_after: None })
}

fn check_roles(account: &Account, removed: &[&str]) -> Result<(), ConnectorError> {
    let kept = removed.iter().find(|role| account.memberships.contains(&Membership::Role((**role).to_owned())));
    let Some(role) = kept else { return Ok(()) };
    let message = format!("the target answered that it was done, and role `{role}` is still there; it is tried again");
    Err(ConnectorError { class: ErrorClass::Transient, message, retry_after: None })
}

fn contradicts(state: AccountState, asked: Option<bool>) -> bool {
    matches!((state, asked), (AccountState::Active, Some(false)) | (AccountState::Disabled, Some(true)))
}

/// Whether an answer holds the account and not some note about it.
fn is_whole(resource: &Value, id: &AccountId) -> bool {
    document::id(resource).as_ref() == Some(id) && document::member(resource, "userName").is_some()
}

fn not_created(answer: &Answer) -> ConnectorError {
    let error = fault::of_write(answer);
    if error.class != ErrorClass::NotFound {
        return error;
    }
    let message = format!("{}; there is no `/Users` to create in: check `url`", error.message);
    ConnectorError { class: ErrorClass::Refused, message, ..error }
}

fn roles(memberships: &BTreeSet<Membership>) -> Vec<&str> {
    let roles = memberships.iter().filter_map(|membership| match membership {
        Membership::Role(role) => Some(role.as_str()),
        Membership::Group(_) => None,
    });
    roles.collect()
}

fn groups(memberships: &BTreeSet<Membership>) -> impl Iterator<Item = &str> {
    memberships.iter().filter_map(|membership| match membership {
        Membership::Group(group) => Some(group.as_str()),
        Membership::Role(_) => None,
    })
}

/// Whether what is written of the resource itself gives access.
fn gives(edit: &Edit<'_>) -> bool {
    edit.active == Some(true) || !edit.add_roles.is_empty()
}

/// What the error of a later call means for a change that `gave` something before: only a look tells
/// what, however clear the error is.
fn after(gave: bool, error: ConnectorError) -> ConnectorError {
    if !gave {
        return error;
    }
    ConnectorError { class: ErrorClass::Uncertain, message: format!("made in part: {}", error.message), ..error }
}

/// What cannot be read after a creation was taken says nothing against it: a look must tell what it
/// left, however clear the error of the reading is.
fn taken(error: &ConnectorError) -> ConnectorError {
    ConnectorError {
        class: ErrorClass::Uncertain,
        message: format!("the creation was taken, and what it made could not be read: {}", error.message),
        retry_after: error.retry_after,
    }
}
