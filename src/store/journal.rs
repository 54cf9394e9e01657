//! The port to the journal: where narrowing is written down while the store is away (L8, L9).
//!
//! # Guarantees a journal gives
//! - `append` is durable when it returns, and needs no disk space that was not set aside before.
//! - What was cut off by a crash in the middle of `append` is not there, and nothing before it is lost.

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::model::history::Intent;
use crate::model::ids::IntentId;

/// Why the journal did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JournalError(pub String);

/// The port.
///
/// Only intents are written: how a call ended is read from the target, which is the better witness.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Writes these down: all of them, or none counts.
    async fn append(&self, intents: Vec<Intent>) -> Result<(), JournalError>;

    /// What was written down and not forgotten, oldest first.
    async fn intents(&self) -> Result<Vec<Intent>, JournalError>;

    /// The store has these now. A crash may bring them back: whoever reads compares with the store.
    async fn forget(&self, intents: BTreeSet<IntentId>) -> Result<(), JournalError>;
}
