//! What a person decided. A decision stands until a person undoes it (L11).

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::model::ids::AccountId;
use crate::model::ids::Digest;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What was decided.
    pub kind: DecisionKind,
    /// About which target; `None` where it is about the source.
    pub target: Option<TargetName>,
    /// About which user.
    pub record: Option<RecordId>,
    /// What was shown and accepted.
    pub digest: Option<Digest>,
    /// Who.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Why, in the person's words.
    pub reason: Option<String>,
    /// When it ends by itself (`revoke --until`).
    #[serde(default)]
    pub until: Option<DateTime<Utc>>,
    /// About which account.
    #[serde(default)]
    pub account: Option<AccountId>,
    /// How much a [`DecisionKind::Stop`] halts.
    #[serde(default)]
    pub halts: Option<Halts>,
}

impl Decision {
    /// A decision about nothing yet: callers fill in what it is about.
    pub fn new(kind: DecisionKind, by: impl Into<String>, at: DateTime<Utc>) -> Self {
        Self {
            kind,
            target: None,
            record: None,
            digest: None,
            by: by.into(),
            at,
            reason: None,
            until: None,
            account: None,
            halts: None,
        }
    }
}

/// How much a stop halts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Halts {
    /// Everything but what takes access away.
    Widening,
    /// Every call that changes a target.
    All,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecisionKind {
    /// A target at first contact may be written.
    Enforce,
    /// A hold is let through, for its digest.
    Release,
    /// A shrunken load is accepted, for its digest.
    AcceptShrink,
    /// A target is suspended.
    Suspend,
    /// It goes on.
    Resume,
    /// What a target's document loosens (limits, mode, protected names) acts, for its digest.
    Loosen,
    /// A user has no access anywhere, whatever the documents say.
    Revoke,
    /// A revocation is taken back.
    Restore,
    /// Calls halt everywhere.
    Stop,
    /// They go on.
    Start,
    /// An existing account is a user's.
    Link,
    /// What another hand ended is given back.
    Regain,
}

impl DecisionKind {
    /// The word used in the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Release => "release",
            Self::AcceptShrink => "accept-shrink",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Loosen => "loosen",
            Self::Revoke => "revoke",
            Self::Restore => "restore",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Link => "link",
            Self::Regain => "regain",
        }
    }
}
