//! A user's record inside one target: the observed side.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::model::ids::AccountId;
use crate::model::path::AttributePath;

/// An account as a connector reports it, cut down to the paths that were asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// The target's id.
    pub id: AccountId,
    /// Whether it gives access.
    pub state: AccountState,
    /// `userName`, `externalId`, and every asked path that has a value. An absent, null or empty
    /// value has no entry.
    pub values: BTreeMap<AttributePath, serde_json::Value>,
    /// Memberships among those that were asked for.
    pub memberships: BTreeSet<Membership>,
    /// The `ETag` or version, where the target has a real one.
    pub version: Option<String>,
}

impl Account {
    /// `userName`, as the target spells it.
    pub fn user_name(&self) -> Option<&str> {
        self.values.get(&AttributePath::user_name())?.as_str()
    }

    /// `externalId`.
    pub fn external_id(&self) -> Option<&str> {
        self.values.get(&AttributePath::external_id())?.as_str()
    }
}

/// What an account's flags amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountState {
    /// Created, not yet taken up.
    Pending,
    /// Gives access.
    Active,
    /// Access withheld by the target's people.
    Suspended,
    /// Access withheld by the target itself.
    Locked,
    /// Access ended, the record kept.
    Disabled,
    /// Deleted, and can be had back.
    DeletedRecoverable,
    /// The flags say nothing that the profile knows.
    Unknown,
}

impl AccountState {
    /// Every state, for metrics that show zero.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Active,
        Self::Suspended,
        Self::Locked,
        Self::Disabled,
        Self::DeletedRecoverable,
        Self::Unknown,
    ];

    /// The word used in plans, metrics and filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Locked => "locked",
            Self::Disabled => "disabled",
            Self::DeletedRecoverable => "deleted-recoverable",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a person can get in with such an account; in doubt, yes.
    pub fn gives_access(self) -> bool {
        matches!(self, Self::Pending | Self::Active | Self::Unknown)
    }
}

/// What an entitlement is in the target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Membership {
    /// Member of the group with this id.
    Group(String),
    /// This value in the account's `roles`.
    Role(String),
}
