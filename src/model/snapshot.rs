//! The declared users and roles at one moment: complete, immutable, versioned.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::model::ids::Digest;
use crate::model::ids::RecordId;
use crate::model::ids::RoleName;
use crate::model::role::Role;
use crate::model::user::User;

/// What every plan starts from.
///
/// A snapshot is either an accepted load, or the last accepted one narrowed by documents that
/// stand on their own while the rest of the folder is broken (`narrowed`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Users by record id.
    pub users: BTreeMap<RecordId, Arc<User>>,
    /// Roles by name.
    pub roles: BTreeMap<RoleName, Arc<Role>>,
}

/// One load of the documents, before anybody accepted it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// What the sound documents say.
    pub snapshot: Snapshot,
    /// Whether every document was sound and the folder was read whole.
    pub sound: bool,
    /// Hash of all documents' content, whatever the order of files.
    pub digest: Option<Digest>,
}
