//! One change of a plan: plain data that is stored, shown, signed, sent and replayed.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::model::account::Membership;
use crate::model::ids::AccountId;
use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::list::List;
use crate::model::origin::Origin;
use crate::model::path::AttributePath;

/// One change to one account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Whose account.
    pub record: RecordId,
    /// Which account; `None` for a creation.
    pub account: Option<AccountId>,
    /// What kind of change.
    pub action: Action,
    /// What it does to access.
    pub effect: Effect,
    /// Why access narrows; set exactly when `effect` is [`Effect::Narrows`].
    pub cause: Option<Cause>,
    /// Attributes that are written.
    pub fields: List<FieldChange>,
    /// Entitlements given.
    pub grant: List<EntitlementChange>,
    /// Entitlements taken away.
    pub revoke: List<EntitlementChange>,
    /// Account state before and after, where it changes: `Some(true)` is active.
    pub active: Option<bool>,
    /// Why, as a sentence.
    pub reason: Arc<str>,
    /// The lines that it follows from.
    pub origins: List<Origin>,
}

/// What kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A new account.
    Create,
    /// An existing one becomes ours (its mark, and owned attributes, are written).
    Adopt,
    /// Owned attributes or entitlements are written.
    Update,
    /// An account that rosterd disabled gets active again.
    Reactivate,
    /// A deleted account is had back.
    Restore,
    /// Entitlements are taken away.
    Narrow,
    /// The account is set inactive.
    Disable,
    /// The account is deleted.
    Delete,
}

impl Action {
    /// Every action, for metrics that show zero.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Adopt,
        Self::Update,
        Self::Reactivate,
        Self::Restore,
        Self::Narrow,
        Self::Disable,
        Self::Delete,
    ];

    /// The word used in plans and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Adopt => "adopt",
            Self::Update => "update",
            Self::Reactivate => "reactivate",
            Self::Restore => "restore",
            Self::Narrow => "narrow",
            Self::Disable => "disable",
            Self::Delete => "delete",
        }
    }
}

/// What a change does to access.
///
/// A change that both takes and gives is never one change: it is a narrowing, then a widening.
/// `Swaps` is the word for such a pair in summaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Takes access away. First in order.
    Narrows,
    /// A narrowing and the widening that follows it.
    Swaps,
    /// Changes no access.
    Neutral,
    /// Gives access. Last in order.
    Widens,
}

impl Effect {
    /// The word used in plans and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Narrows => "narrows",
            Self::Swaps => "swaps",
            Self::Neutral => "neutral",
            Self::Widens => "widens",
        }
    }
}

/// Why access narrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// This user's own document, an end date, a decision.
    Explicit,
    /// Everything else.
    Inferred,
}

impl Cause {
    /// The word used in plans and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::Inferred => "inferred",
        }
    }
}

/// One attribute before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Which attribute (`userName` and the mark included).
    pub path: AttributePath,
    /// What the target holds; `None`: nothing.
    pub before: Option<serde_json::Value>,
    /// What is written; `None` clears it.
    pub after: Option<serde_json::Value>,
    /// Hidden from shared artefacts.
    pub personal: bool,
    /// Hidden everywhere but in the target.
    pub sensitive: bool,
    /// Where `after` came from.
    pub origins: List<Origin>,
}

/// One entitlement given or taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitlementChange {
    /// The catalogue's word; `None` where it left the catalogue.
    pub name: Option<EntitlementName>,
    /// What it is in the target.
    pub membership: Membership,
    /// Counted by the limit on privileged grants.
    pub privileged: bool,
    /// The grants that give it.
    pub origins: List<Origin>,
}

impl Change {
    /// Memberships given.
    pub fn granted(&self) -> BTreeSet<Membership> {
        self.grant.iter().map(|entry| entry.membership.clone()).collect()
    }

    /// Whether a person revoked the user: that is outside every limit of a target, and has one of
    /// its own. A word about access is none about the account: no deletion follows from it.
    pub fn is_revocation(&self) -> bool {
        self.takes_access() && self.origins.iter().any(Origin::is_decision)
    }

    /// Whether access goes on until it is made. A deletion takes none: whatever still gives access
    /// is disabled before.
    pub fn takes_access(&self) -> bool {
        self.effect == Effect::Narrows && self.action != Action::Delete
    }

    /// Whether it does nothing but switch mails off of an account that is shut (`account.notifications`). It
    /// follows from the removal and from no line of its own: limits have judged that.
    pub fn is_silencing(&self) -> bool {
        let plain = self.action == Action::Update && self.effect == Effect::Neutral && self.origins.is_empty();
        let off = |field: &FieldChange| field.after == Some(serde_json::Value::Bool(false)) && field.origins.is_empty();
        plain && self.grant.is_empty() && !self.fields.is_empty() && self.fields.iter().all(off)
    }

    /// Memberships taken away.
    pub fn revoked(&self) -> BTreeSet<Membership> {
        self.revoke.iter().map(|entry| entry.membership.clone()).collect()
    }
}
