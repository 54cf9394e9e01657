//! A piece of a document kept as it was read, for a reader on a higher floor.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

/// A tree of plain values with the place of each of them.
///
/// Connector settings and `auth` stay nodes until the connector's constructor
/// reads them, so that a new connector needs no change on lower floors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The values.
    pub value: serde_json::Value,
    /// JSON pointer (RFC 6901) to one-based line; the root is the empty pointer.
    pub lines: BTreeMap<String, u32>,
}

impl Node {
    /// The line of the nearest place that has one, from `pointer` outwards.
    pub fn line(&self, pointer: &str) -> u32 {
        let mut at = pointer;
        loop {
            if let Some(line) = self.lines.get(at) {
                return *line;
            }
            match at.rfind('/') {
                Some(cut) => at = at.get(..cut).unwrap_or_default(),
                None => return 0,
            }
        }
    }
}
