//! Documents: reading them, and everything that can be wrong with them.
//!
//! A file is read by [`parse_file`], alone and without input or output, so that files are read
//! on all cores and only those that changed. [`combine`] puts the files of a load together:
//! targets over their defaults, names against names. Every problem of the whole load is told at
//! once, each with its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::model::approval::Signed;
use crate::model::ids::Digest;
use crate::model::ids::RecordId;
use crate::model::ids::RoleName;
use crate::model::ids::TargetName;
use crate::model::role::Role;
use crate::model::target::Target;
use crate::model::users::Users;

mod account;
mod approval;
mod blockers;
mod build;
mod combine;
mod combiner;
pub mod decision;
mod decode;
mod deletion;
mod digests;
mod document;
mod endpoint;
mod exception;
mod expression;
mod file;
mod later;
mod limits;
pub mod locate;
mod located;
mod mapping;
mod mask;
mod merge;
mod references;
pub mod report;
mod role;
mod scalar;
mod schema;
pub mod sshsig;
pub mod suggest;
mod syntax;
mod target;
mod text;
pub mod time;
mod tree;
mod user;
mod welcome;
mod words;
mod wrong;

pub use crate::manifest::combine::Allowed;
pub use crate::manifest::combine::OperatorDocuments;
pub use crate::manifest::combine::Rules;
pub use crate::manifest::combine::add_snippets;
pub use crate::manifest::combine::combine;
pub use crate::manifest::combiner::Combiner;
pub use crate::manifest::document::API_VERSION;
pub use crate::manifest::document::Kind;
pub use crate::manifest::file::FileDocuments;
pub use crate::manifest::file::parse_file;
pub use crate::manifest::report::render;
pub use crate::manifest::schema::schema;

/// Everything that one load of a folder gave.
#[derive(Clone, Debug)]
pub struct Documents {
    /// Users whose documents are sound on their own, by record id.
    pub users: Users,
    /// Roles whose documents are sound on their own, by name.
    pub roles: BTreeMap<RoleName, Arc<Role>>,
    /// Targets, merged over their defaults, in order of name.
    pub targets: Vec<Arc<Target>>,
    /// Signed words about requests, by target, in order of name. No part of a target: they change nothing of it.
    pub signed: BTreeMap<TargetName, Vec<Signed>>,
    /// Everything that is wrong, by file and line. Not empty: the load as a whole is not accepted.
    pub problems: Vec<Problem>,
    /// Hash of every document's content, whatever the order of files.
    pub digest: Digest,
}

/// One thing that is wrong, located.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file, relative to its folder, with forward slashes.
    pub file: String,
    /// One-based line; zero where the place is the whole file.
    pub line: u32,
    /// One-based column; zero where the place is the whole line.
    pub column: u32,
    /// A stable word: `unknown-field`, `unknown-role`, `duplicate-name`, ...
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// The lines around the place, marked, with secrets masked.
    pub snippet: Option<String>,
    /// Whether it is a conflict that blocks only this user, and not the load.
    pub conflict_of: Option<RecordId>,
    /// Whether its document alone does not count, and the load goes on.
    pub drops_document: bool,
}

impl Problem {
    /// Whether the load is refused for it.
    pub fn blocks(&self) -> bool {
        self.conflict_of.is_none() && !self.drops_document
    }
}
