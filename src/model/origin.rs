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

/// What stands for the file where a person's word is the origin: no document's path lacks an ending.
const DECISION: &str = "decision";

impl Origin {
    /// A person's word, which stands in the store and in no file: `restore of u-1 by alice at ...`.
    pub fn decision(what: impl Into<Arc<str>>) -> Self {
        Self { file: DECISION.into(), line: 0, what: what.into() }
    }

    /// Whether this is a person's word.
    pub fn is_decision(&self) -> bool {
        &*self.file == DECISION
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_decision() {
            return f.write_str(&self.what);
        }
        write!(f, "{}:{} ({})", self.file, self.line, self.what)
    }
}
