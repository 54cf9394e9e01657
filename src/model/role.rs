//! A named bundle of grants.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::model::ids::EntitlementName;
use crate::model::ids::RoleName;
use crate::model::ids::TargetName;
use crate::model::origin::Origin;

/// One `Role` document, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// `metadata.name`.
    pub name: RoleName,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// What the role gives, in document order.
    pub grants: Vec<Grant>,
    /// Where the document stands.
    pub origin: Origin,
}

/// What a role gives in the targets it names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// Which targets.
    pub target: TargetRef,
    /// How much of the target.
    pub level: Level,
    /// Words of the target's catalogue.
    pub entitlements: BTreeSet<EntitlementName>,
    /// Values that a mapping may read as `grant.attributes.*`.
    pub attributes: BTreeMap<String, serde_json::Value>,
    /// Where the grant stands.
    pub origin: Origin,
}

/// How a grant names its targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetRef {
    /// `target: NAME`
    Name(TargetName),
    /// `targetSelector: { label: value }`; every pair must match.
    Selector(BTreeMap<String, String>),
}

/// `level` of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Access through the entitlements named.
    RoleBased,
    /// The whole of the target.
    All,
}
