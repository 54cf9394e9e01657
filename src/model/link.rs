//! The remembered pair of a user and an account.

use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::model::account::Membership;
use crate::model::ids::AccountId;
use crate::model::ids::EnvironmentName;
use crate::model::ids::Realm;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;

/// What links, intents and counters belong to: nothing of one space is used in another (L13).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Space {
    /// The target.
    pub target: TargetName,
    /// The environment of it.
    pub environment: EnvironmentName,
    /// The realm that the credential reported.
    pub realm: Realm,
}

/// One link of a [`Space`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The user.
    pub record: RecordId,
    /// The account.
    pub account: AccountId,
    /// How the link came about.
    pub by: LinkedBy,
    /// Whether rosterd itself disabled the account: only then may it reactivate (L17).
    pub disabled_by_us: bool,
    /// Memberships that rosterd granted, and so may take away (L10).
    pub granted: BTreeSet<Membership>,
    /// When the link was made.
    pub since: DateTime<Utc>,
}

/// How a link came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkedBy {
    /// rosterd created the account.
    Created,
    /// It was adopted by a trusted key.
    Adopted,
    /// A person said so.
    Person,
}
