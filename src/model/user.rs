//! A person declared on the platform: the desired side.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::model::ids::RecordId;
use crate::model::ids::RoleName;
use crate::model::origin::Origin;

/// One `User` document, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// `metadata.name`.
    pub id: RecordId,
    /// Earlier record ids whose links and decisions move here.
    pub formerly: Vec<RecordId>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.givenName`.
    pub given_name: Option<String>,
    /// `spec.familyName`.
    pub family_name: Option<String>,
    /// `spec.email`.
    pub email: Option<String>,
    /// `spec.timeZone`, an IANA name.
    pub time_zone: Option<String>,
    /// `spec.locale`, a BCP 47 tag.
    pub locale: Option<String>,
    /// `spec.userType`, a free word.
    pub user_type: Option<String>,
    /// `false`: no access anywhere.
    pub active: bool,
    /// From when to when the user has any access.
    pub valid: Validity,
    /// How the person signs in.
    pub login: Login,
    /// Roles held, in document order.
    pub roles: Vec<RoleHeld>,
    /// `spec.teams`.
    pub teams: BTreeSet<String>,
    /// `spec.manager`.
    pub manager: Option<RecordId>,
    /// `spec.attributes`: scalars and lists of scalars.
    pub attributes: BTreeMap<String, serde_json::Value>,
    /// Where the document stands.
    pub origin: Origin,
    /// Line of each `spec` field that the document writes (`givenName`, `attributes.phone`).
    pub lines: BTreeMap<String, u32>,
}

impl User {
    /// A user of whom nothing is said but who it is.
    #[cfg(test)]
    pub(crate) fn plain(id: &str) -> Self {
        Self {
            id: id.into(),
            formerly: Vec::new(),
            labels: BTreeMap::new(),
            given_name: None,
            family_name: None,
            email: None,
            time_zone: None,
            locale: None,
            user_type: None,
            active: true,
            valid: Validity::default(),
            login: Login::Sso,
            roles: Vec::new(),
            teams: BTreeSet::new(),
            manager: None,
            attributes: BTreeMap::new(),
            origin: Origin { file: "u.yaml".into(), line: 1, what: "User".into() },
            lines: BTreeMap::new(),
        }
    }

    /// Whether any access begins or ends at a date.
    pub fn is_dated(&self) -> bool {
        self.roles.iter().map(|held| held.valid).chain([self.valid]).any(|valid| valid != Validity::default())
    }
}

/// A role that a user holds, perhaps for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleHeld {
    /// Which role.
    pub name: RoleName,
    /// From when to when.
    pub valid: Validity,
    /// One-based line of the entry in the user's document.
    pub line: u32,
}

/// A half-open stretch of time: `from` belongs to it, `until` does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// First second of access.
    pub from: Option<DateTime<Utc>>,
    /// The second at which access ends.
    pub until: Option<DateTime<Utc>>,
}

impl Validity {
    /// Whether `now` lies inside.
    pub fn contains(&self, now: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| from <= now) && !self.ended(now)
    }

    /// Whether the end has come.
    pub fn ended(&self, now: DateTime<Utc>) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// `spec.login`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Login {
    /// Single sign-on.
    #[default]
    Sso,
    /// A password of the target.
    Password,
}
