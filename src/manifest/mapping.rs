//! Mappings, paths and keys as targets write them.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Deserializer;
use serde::de;
use serde_json::Value as Json;

use crate::manifest::expression;
use crate::manifest::located::HINT;
use crate::manifest::located::Located;
use crate::manifest::report::Report;
use crate::manifest::text::Place;
use crate::model::origin::Origin;
use crate::model::path::AttributePath;
use crate::model::target::Drift;
use crate::model::target::Mapping;
use crate::model::target::MappingValue;
use crate::model::target::MatchKey;
use crate::model::target::Own;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MappingEntry {
    /// A template, or a plain value.
    value: Located<Json>,
    /// Who owns the attribute.
    own: Option<OwnWord>,
    /// Value to value; one that is not in the table is not sent.
    translate: Option<BTreeMap<String, Json>>,
    /// An absent input clears the attribute instead of leaving it alone.
    #[serde(default)]
    pub(crate) clear: bool,
    /// Hidden from shared artefacts; names and mail addresses are by default.
    personal: Option<bool>,
    /// Hidden everywhere but in the target.
    #[serde(default)]
    sensitive: bool,
    /// What is done about a difference that somebody else made; put back by default.
    drift: Option<DriftWord>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum OwnWord {
    Always,
    Create,
    IfEmpty,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum DriftWord {
    Revert,
    Report,
    Accept,
}

/// An attribute path; one that is none is refused where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(transparent)]
pub(crate) struct PathText(#[schemars(with = "String")] pub(crate) AttributePath);

impl<'de> Deserialize<'de> for PathText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PathVisitor)
    }
}

struct PathVisitor;

impl de::Visitor<'_> for PathVisitor {
    type Value = PathText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute path")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PathText, E> {
        AttributePath::parse(text).map(PathText).map_err(|error| {
            let words = error.to_string();
            let (message, hint) = words.split_once("; ").unwrap_or((&words, "write a path, like `name.givenName`"));
            E::custom(format!("bad-path: {message}{HINT}{hint}"))
        })
    }
}

/// A path, or a list of paths that must all agree.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum KeyEntry {
    One(PathText),
    All(Vec<PathText>),
}

impl<'de> Deserialize<'de> for KeyEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> de::Visitor<'de> for KeyVisitor {
    type Value = KeyEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute path or a list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<KeyEntry, E> {
        PathVisitor.visit_str(text).map(KeyEntry::One)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, items: A) -> Result<KeyEntry, A::Error> {
        Vec::deserialize(de::value::SeqAccessDeserializer::new(items)).map(KeyEntry::All)
    }
}

impl KeyEntry {
    /// The key as the planner knows it.
    pub(crate) fn key(&self) -> MatchKey {
        match self {
            Self::One(path) => MatchKey(vec![path.0.clone()]),
            Self::All(paths) => MatchKey(paths.iter().map(|path| path.0.clone()).collect()),
        }
    }
}

#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum UserNameEntry {
    Template(String),
    Mapping(Box<MappingEntry>),
}

impl<'de> Deserialize<'de> for UserNameEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UserNameVisitor)
    }
}

struct UserNameVisitor;

impl<'de> de::Visitor<'de> for UserNameVisitor {
    type Value = UserNameEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a template or `{ value: ... }`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<UserNameEntry, E> {
        Ok(UserNameEntry::Template(text.to_owned()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<UserNameEntry, A::Error> {
        MappingEntry::deserialize(de::value::MapAccessDeserializer::new(map))
            .map(|mapping| UserNameEntry::Mapping(Box::new(mapping)))
    }
}

/// The mapping of an entry, `None` where its value is wrong.
pub(crate) fn mapping(
    entry: MappingEntry,
    place: Place,
    personal: bool,
    origin: &Origin,
    report: &mut Report<'_>,
) -> Option<Mapping> {
    let value = value(entry.value, report)?;
    Some(Mapping {
        value,
        own: match entry.own {
            None | Some(OwnWord::Always) => Own::Always,
            Some(OwnWord::Create) => Own::Create,
            Some(OwnWord::IfEmpty) => Own::IfEmpty,
        },
        translate: entry.translate,
        clear: entry.clear,
        personal: entry.personal.unwrap_or(personal),
        sensitive: entry.sensitive,
        drift: match entry.drift {
            None | Some(DriftWord::Revert) => Drift::Revert,
            Some(DriftWord::Report) => Drift::Report,
            Some(DriftWord::Accept) => Drift::Accept,
        },
        origin: Origin { line: place.line, ..origin.clone() },
    })
}

/// A template that compiles, or a plain value.
pub(crate) fn value(found: Located<Json>, report: &mut Report<'_>) -> Option<MappingValue> {
    let Located { value, place } = found;
    if let Json::String(text) = &value
        && expression::is_template(text)
    {
        let text = Located { value: text.clone(), place };
        return expression::mapping(&text, report).then_some(MappingValue::Template(text.value));
    }
    if holds_template(&value) {
        report
            .add(place, "template-in-list", "a template stands inside a list or mapping")
            .hint("let one template give the whole value, or give each part a path of its own");
        return None;
    }
    Some(MappingValue::Literal(value))
}

fn holds_template(value: &Json) -> bool {
    match value {
        Json::String(text) => expression::is_template(text),
        Json::Array(items) => items.iter().any(holds_template),
        Json::Object(members) => members.values().any(holds_template),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}
