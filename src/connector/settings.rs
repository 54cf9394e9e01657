//! How a connector reads its settings: key by key, with a pointer to what is wrong.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::model::node::Node;
use crate::schedule::parse_duration;

/// Which piece of the `Target` document a setting stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// What stands under the one key of `spec.connector`.
    Settings,
    /// The chosen block of `spec.environments`.
    Endpoint,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SettingsError {
    /// The piece.
    pub block: Block,
    /// JSON pointer inside that piece; [`Node::line`] makes a line of it.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl SettingsError {
    /// An error at `key`; the empty key is the whole piece.
    pub fn at(block: Block, key: &str, message: impl Into<String>) -> Self {
        let pointer = if key.is_empty() { String::new() } else { format!("/{key}") };
        Self { block, pointer, message: message.into() }
    }
}

/// The keys of one piece, which holds no others than those named.
#[derive(Debug)]
pub struct Fields<'a> {
    node: &'a Node,
    block: Block,
}

impl<'a> Fields<'a> {
    /// Opens a piece; nothing at all counts as a piece without keys.
    pub fn of(node: &'a Node, block: Block, known: &[&str]) -> Result<Self, SettingsError> {
        if let Some(object) = node.value.as_object() {
            if let Some(key) = object.keys().find(|key| !known.contains(&key.as_str())) {
                let message = format!("unknown field `{key}`; known here: {}", known.join(", "));
                return Err(SettingsError::at(block, key, message));
            }
        } else if !node.value.is_null() {
            return Err(SettingsError::at(block, "", "a mapping of settings is expected here"));
        }
        Ok(Self { node, block })
    }

    /// Whether the key is written.
    pub fn has(&self, key: &str) -> bool {
        self.node.value.get(key).is_some_and(|value| !value.is_null())
    }

    /// The value of a key, if it is written.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SettingsError> {
        let Some(value) = self.node.value.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
        let read = serde_json::from_value(value.clone());
        read.map(Some).map_err(|error| SettingsError::at(self.block, key, format!("`{key}`: {error}")))
    }

    /// The value of a key, or what stands for it.
    pub fn or<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T, SettingsError> {
        Ok(self.get(key)?.unwrap_or(default))
    }

    /// A duration such as `10s`.
    pub fn duration_or(&self, key: &str, default: Duration) -> Result<Duration, SettingsError> {
        let Some(text) = self.get::<String>(key)? else { return Ok(default) };
        parse_duration(&text).map_err(|error| SettingsError::at(self.block, key, format!("`{key}`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(value: serde_json::Value) -> Node {
        Node { value, ..Node::default() }
    }

    #[test]
    fn an_unknown_key_is_pointed_at_and_the_known_ones_are_named() {
        let error = Fields::of(&node(json!({"profle": "x"})), Block::Settings, &["profile"]).unwrap_err();
        assert_eq!(error.pointer, "/profle");
        assert_eq!(error.message, "unknown field `profle`; known here: profile");
    }

    #[test]
    fn values_are_read_by_type_and_durations_by_their_unit() {
        let node = node(json!({"size": "x", "wait": "90s", "bad": "soon"}));
        let fields = Fields::of(&node, Block::Settings, &["size", "wait", "bad"]).unwrap();
        assert_eq!(fields.get::<u32>("size").unwrap_err().pointer, "/size");
        assert_eq!(fields.duration_or("wait", Duration::ZERO).unwrap(), Duration::from_secs(90));
        assert_eq!(fields.duration_or("none", Duration::ZERO).unwrap(), Duration::ZERO);
        assert_eq!(fields.duration_or("bad", Duration::ZERO).unwrap_err().pointer, "/bad");
    }

    #[test]
    fn a_piece_that_is_no_mapping_is_refused_and_an_absent_one_is_empty() {
        assert!(Fields::of(&node(json!([1])), Block::Endpoint, &[]).is_err());
        assert!(!Fields::of(&node(json!(null)), Block::Endpoint, &[]).unwrap().has("url"));
    }
}
