//! The inputs of one evaluation.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::model::account::Account;
use crate::model::path::AttributePath;
use crate::model::target::Target;
use crate::model::user::Login;
use crate::model::user::User;

/// What the variables stand for. Borrows everything: only what a template reads is copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    user: Option<&'a User>,
    grant_attributes: Option<&'a BTreeMap<String, Json>>,
    target: Option<&'a Target>,
    account: Option<&'a Account>,
    /// Variables that no noun has, by their whole name.
    others: Option<&'a BTreeMap<&'static str, Json>>,
}

impl<'a> Context<'a> {
    /// For [`Names::mapping`](crate::expr::Names::mapping).
    pub fn new(user: &'a User, grant_attributes: &'a BTreeMap<String, Json>, target: &'a Target) -> Self {
        Self { user: Some(user), grant_attributes: Some(grant_attributes), target: Some(target), ..Self::default() }
    }

    /// For [`Names::welcome`](crate::expr::Names::welcome); `others` are `target.title`, `account.userName`,
    /// `invite.*` and `credential.*`.
    pub fn welcome(user: &'a User, target: &'a Target, others: &'a BTreeMap<&'static str, Json>) -> Self {
        Self { user: Some(user), target: Some(target), others: Some(others), ..Self::default() }
    }

    /// For [`Names::user`](crate::expr::Names::user).
    pub fn of_user(user: &'a User) -> Self {
        Self { user: Some(user), ..Self::default() }
    }

    /// For [`Names::account`](crate::expr::Names::account).
    pub fn of_account(account: &'a Account) -> Self {
        Self { account: Some(account), ..Self::default() }
    }

    /// The value of one variable, named as templates name it; `None` where it is absent.
    pub fn value(&self, reference: &str) -> Option<Json> {
        self.lookup(reference)
    }

    /// The value of one reference; `null` and empty text are absent.
    pub(crate) fn lookup(&self, reference: &str) -> Option<Json> {
        if let Some(other) = self.others.and_then(|others| others.get(reference)) {
            return Some(other.clone());
        }
        let (root, field) = reference.split_once('.')?;
        let value = match root {
            "user" => user_field(self.user?, field),
            "grant" => self.grant_attributes?.get(field.strip_prefix("attributes.")?).cloned(),
            "target" => target_field(self.target?, field),
            "account" => account_field(self.account?, field),
            _ => None,
        }?;
        let empty = value.is_null() || value.as_str() == Some("");
        (!empty).then_some(value)
    }
}

fn user_field(user: &User, field: &str) -> Option<Json> {
    let text = |text: &Option<String>| text.clone().map(Json::String);
    match field {
        "id" => Some(Json::from(user.id.as_str())),
        "givenName" => text(&user.given_name),
        "familyName" => text(&user.family_name),
        "email" => text(&user.email),
        "timeZone" => text(&user.time_zone),
        "locale" => text(&user.locale),
        "userType" => text(&user.user_type),
        "active" => Some(Json::Bool(user.active)),
        "login" => Some(Json::from(match user.login {
            Login::Sso => "sso",
            Login::Password => "password",
        })),
        "teams" => Some(user.teams.iter().map(String::as_str).collect()),
        "manager" => user.manager.as_ref().map(|manager| Json::from(manager.as_str())),
        _ => match field.split_once('.')? {
            ("labels", label) => user.labels.get(label).map(|value| Json::from(value.as_str())),
            ("attributes", attribute) => user.attributes.get(attribute).cloned(),
            _ => None,
        },
    }
}

fn target_field(target: &Target, field: &str) -> Option<Json> {
    match field {
        "name" => Some(Json::from(target.name.as_str())),
        "environment" => Some(Json::from(target.environment.as_str())),
        _ => target.labels.get(field.strip_prefix("labels.")?).map(|value| Json::from(value.as_str())),
    }
}

fn account_field(account: &Account, field: &str) -> Option<Json> {
    match field {
        "id" => Some(Json::from(account.id.as_str())),
        "state" => Some(Json::from(account.state.as_str())),
        _ => account.values.get(&AttributePath::parse(field).ok()?).cloned(),
    }
}
