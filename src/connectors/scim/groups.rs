//! Memberships: read from the groups, written one by one and never as a whole list.
//!
//! A list of members that a target shows may be cut off or left out, so nothing is derived from
//! what it does not show: a member that either the group or the user names is a member.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connector::Shape;
use crate::connector::document;
use crate::connectors::scim::Scim;
use crate::connectors::scim::fault;
use crate::connectors::scim::profile::MembersRead;
use crate::connectors::scim::profile::MembersRemove;
use crate::connectors::scim::wire;
use crate::connectors::scim::wire::Write;
use crate::http::answer::Answer;
use crate::model::account::Membership;
use crate::model::ids::AccountId;

/// Targets that cap a list of members cap it here or above: below it a list may be put back whole.
const SURE_MEMBERS: usize = 100;

/// Who is in the groups of a shape, by id of the group.
#[derive(Debug, Default)]
pub(crate) struct Members(BTreeMap<String, BTreeSet<String>>);

impl Members {
    pub(crate) fn of<'a>(&'a self, account: &'a AccountId) -> impl Iterator<Item = Membership> + 'a {
        let held = self.0.iter().filter(|(_, members)| members.contains(account.as_str()));
        held.map(|(group, _)| Membership::Group(group.clone()))
    }
}

/// A change of one membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Add,
    Remove,
}

impl Scim {
    /// Reads every group of the shape. Where members are never shown, nothing: they are asked for
    /// account by account.
    pub(crate) async fn members(&self, shape: &Shape) -> Result<Members, ConnectorError> {
        let mut members = Members::default();
        if self.profile.members_read == MembersRead::Query {
            return Ok(members);
        }
        for group in groups_of(shape) {
            let held = self.group(group).await?.map(|group| members_of(&group)).unwrap_or_default();
            members.0.insert(group.to_owned(), held);
        }
        Ok(members)
    }

    /// The groups of the shape that the target, asked for each, says this account is in.
    pub(crate) async fn asked(&self, shape: &Shape, id: &AccountId) -> Result<BTreeSet<Membership>, ConnectorError> {
        let mut held = BTreeSet::new();
        if self.profile.members_read == MembersRead::Group {
            return Ok(held);
        }
        for group in groups_of(shape) {
            if self.is_member_by_query(group, id).await? {
                held.insert(Membership::Group(group.to_owned()));
            }
        }
        Ok(held)
    }

    async fn is_member_by_query(&self, group: &str, id: &AccountId) -> Result<bool, ConnectorError> {
        let filter = format!("id eq {} and members eq {}", json!(group), json!(id.as_str()));
        let answer = self.wire.read("group-read", self.wire.url(&["Groups"], &[("filter", &filter)])?).await?;
        if !answer.is_success() {
            return Err(fault::of_read(&answer));
        }
        let page = wire::page_of(&answer)?;
        Ok(page.rows.iter().any(|row| document::id(row).is_some_and(|id| id.as_str() == group)))
    }

    pub(crate) async fn add_member(&self, group: &str, id: &AccountId) -> Result<(), ConnectorError> {
        let operation = json!({"op": "add", "path": "members", "value": [{"value": id.as_str()}]});
        let answer = self.patch_group(group, operation).await?;
        if answer.is_success() {
            return Ok(());
        }
        if fault::refuses_patch(&answer) {
            return self.put_member(group, id, Step::Add).await;
        }
        // "Already a member" has many words: what counts is whether it is one.
        if (400..=499).contains(&answer.status) && self.is_member(group, id).await.unwrap_or(false) {
            return Ok(());
        }
        Err(of_group(&answer, group))
    }

    /// Takes a member out and looks whether it is out: a removal that was answered kindly and
    /// ignored is access that nobody knows of.
    pub(crate) async fn remove_member(&self, group: &str, id: &AccountId) -> Result<(), ConnectorError> {
        let operation = match self.profile.members_remove {
            MembersRemove::Filter => {
                json!({"op": "remove", "path": format!("members[value eq {}]", json!(id.as_str()))})
            }
            MembersRemove::Value => json!({"op": "remove", "path": "members", "value": [{"value": id.as_str()}]}),
        };
        let answer = self.patch_group(group, operation).await?;
        if fault::refuses_patch(&answer) {
            return self.put_member(group, id, Step::Remove).await;
        }
        let refused = !answer.is_success();
        if refused && !matches!(answer.status, 400 | 404 | 409 | 422) {
            return Err(of_group(&answer, group));
        }
        match (self.is_member(group, id).await?, refused) {
            (false, _) => Ok(()),
            (true, true) => Err(of_group(&answer, group)),
            (true, false) => Err(ignored(group)),
        }
    }

    async fn patch_group(&self, group: &str, operation: Value) -> Result<Answer, ConnectorError> {
        let body = json!({"schemas": [patch_schema()], "Operations": [operation]});
        let url = self.wire.url(&["Groups", group], &[])?;
        let write = Write { operation: "group-write", method: Method::PATCH, url, body: &body, if_match: None };
        self.wire.write(write).await
    }

    /// Reads the group, changes one member and puts it back, where the list is surely whole.
    async fn put_member(&self, group: &str, id: &AccountId, step: Step) -> Result<(), ConnectorError> {
        let Some(mut resource) = self.group(group).await? else {
            return if step == Step::Remove { Ok(()) } else { Err(no_group(group)) };
        };
        let mut members = match document::member(&resource, "members").cloned() {
            Some(Value::Array(members)) => members,
            _ => Vec::new(),
        };
        let held = members.iter().any(|member| is(member, id));
        if held == (step == Step::Add) {
            return Ok(());
        }
        if members.len() >= SURE_MEMBERS {
            return Err(refused(format!(
                "group `{group}` takes no PATCH and shows {} members, which may not be all: nothing was written",
                members.len()
            )));
        }
        match step {
            Step::Add => members.push(json!({"value": id.as_str()})),
            Step::Remove => members.retain(|member| !is(member, id)),
        }
        let version = document::member(&resource, "meta").and_then(|meta| document::member(meta, "version")).cloned();
        if let Some(object) = resource.as_object_mut() {
            object.retain(|name, _| !name.eq_ignore_ascii_case("members") && !name.eq_ignore_ascii_case("meta"));
            object.insert("members".to_owned(), Value::Array(members));
        }
        let version = if self.has_versions().await { version } else { None };
        let if_match = version.as_ref().and_then(Value::as_str);
        let url = self.wire.url(&["Groups", group], &[])?;
        let write = Write { operation: "group-write", method: Method::PUT, url, body: &resource, if_match };
        let answer = self.wire.write(write).await?;
        if !answer.is_success() {
            return Err(of_group(&answer, group));
        }
        if self.is_member(group, id).await? == (step == Step::Add) { Ok(()) } else { Err(ignored(group)) }
    }

    async fn is_member(&self, group: &str, id: &AccountId) -> Result<bool, ConnectorError> {
        if self.profile.members_read == MembersRead::Query {
            return self.is_member_by_query(group, id).await;
        }
        let Some(resource) = self.group(group).await? else { return Ok(false) };
        if document::member(&resource, "members").is_some() {
            return Ok(members_of(&resource).contains(id.as_str()));
        }
        let url = self.wire.url(&["Users", id.as_str()], &[])?;
        let (user, _) = self.wire.resource("read", url).await?;
        Ok(document::values_of(document::member(&user, "groups")).contains(group))
    }

    /// A group; `None` if there is none of this id.
    async fn group(&self, group: &str) -> Result<Option<Value>, ConnectorError> {
        let url = self.wire.url(&["Groups", group], &[])?;
        match self.wire.resource("group-read", url).await {
            Ok((resource, _)) => Ok(Some(resource)),
            Err(error) if error.class == ErrorClass::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Schema of a PATCH body (RFC 7644 section 3.5.2).
pub(crate) fn patch_schema() -> &'static str {
    "urn:ietf:params:scim:api:messages:2.0:PatchOp"
}

fn groups_of(shape: &Shape) -> impl Iterator<Item = &str> {
    shape.memberships.iter().filter_map(|membership| match membership {
        Membership::Group(group) => Some(group.as_str()),
        Membership::Role(_) => None,
    })
}

fn members_of(group: &Value) -> BTreeSet<String> {
    document::values_of(document::member(group, "members"))
}

fn is(member: &Value, id: &AccountId) -> bool {
    document::canonical(member).as_str() == Some(id.as_str())
}

/// What is wrong with a group is not wrong with the account: no class of it may send the engine
/// looking for the account.
fn of_group(answer: &Answer, group: &str) -> ConnectorError {
    let error = fault::of_write(answer);
    let of_account = matches!(error.class, ErrorClass::NotFound | ErrorClass::Exists | ErrorClass::Quota);
    let class = if of_account { ErrorClass::Refused } else { error.class };
    ConnectorError { class, message: format!("group `{group}`: {}", error.message), ..error }
}

fn ignored(group: &str) -> ConnectorError {
    let message = format!("group `{group}` answered that it was changed, and was not; it is tried again");
    ConnectorError { class: ErrorClass::Transient, message, retry_after: None }
}

fn no_group(group: &str) -> ConnectorError {
    refused(format!("there is no group `{group}`; correct its id under `entitlements`"))
}

fn refused(message: String) -> ConnectorError {
    ConnectorError { class: ErrorClass::Refused, message, retry_after: None }
}
