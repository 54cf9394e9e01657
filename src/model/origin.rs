//! Where a value came from, so that `explain` can name the line.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

/// A place in a manifest or operator document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The file, relative to its folder, with forward slashes: `users/ada.yaml`.
    pub file: Arc<str>,
    /// One-based line; zero where the place is the whole file.
    pub line: u32,
    /// What stands there, in words: `User u-1001`, `Role collections-agent`.
    pub what: Arc<str>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({})", self.file, self.line, self.what)
    }
}
