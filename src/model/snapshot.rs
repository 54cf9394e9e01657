//! The declared users and roles at one moment: complete, immutable, versioned.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::model::ids::RoleName;
use crate::model::role::Role;
use crate::model::users::Users;

/// What every plan starts from.
///
/// A snapshot is either an accepted load, or the last accepted one narrowed by documents that
/// stand on their own while the rest of the folder is broken (`narrowed`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Users by record id.
    pub users: Users,
    /// Roles by name.
    pub roles: BTreeMap<RoleName, Arc<Role>>,
}
