//! What the audit log says.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::model::ids::CycleId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;

/// One event: a decision, a change of configuration, or a call that may change a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// When, by the engine's clock.
    pub at: DateTime<Utc>,
    /// Which target's chain it belongs to; `None` is the chain of the installation.
    pub target: Option<TargetName>,
    /// A stable word: `intent`, `outcome`, `link`, `enforce`, `release`, `snapshot`, ...
    pub kind: String,
    /// Who: `engine`, `token:NAME`, `local`.
    pub actor: String,
    /// The user concerned.
    pub record: Option<RecordId>,
    /// The cycle it happened in.
    pub cycle: Option<CycleId>,
    /// The rest, by name; never a secret.
    pub details: BTreeMap<String, serde_json::Value>,
}

/// An event as it stands in its chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChainedEvent {
    /// Position in the chain, from 1, without gaps.
    pub seq: u64,
    /// Hex SHA-256 over the previous hash, the position and the canonical event.
    pub hash: String,
    /// The event.
    pub event: AuditEvent,
}
