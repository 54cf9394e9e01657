//! What a person decided. A decision stands until a person undoes it (L11).

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

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
}
