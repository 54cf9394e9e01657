//! What all documents have: `apiVersion`, `kind`, `metadata`.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::manifest::located::Located;
use crate::manifest::report::Report;
use crate::manifest::suggest;
use crate::manifest::tree::Tree;
use crate::manifest::tree::Value;
use crate::manifest::words;
use crate::model::origin::Origin;

/// The only `apiVersion`.
pub const API_VERSION: &str = "rosterd.dev/v1";

/// Where a document stands: the line of its name.
pub(crate) fn origin(kind: Kind, name: &Located<String>, file: &Arc<str>) -> Origin {
    let what = format!("{} {}", kind.as_str(), name.value);
    Origin { file: file.clone(), line: name.place.line, what: what.into() }
}

/// The kinds of documents that this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A person.
    User,
    /// A bundle of grants.
    Role,
    /// A system whose accounts are reconciled.
    Target,
    /// Values that several targets share.
    TargetDefaults,
    /// An account that no user explains.
    Exception,
    /// A mail in one language.
    Template,
    /// A person's signed word about a request.
    Decision,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::User, Self::Role, Self::Target, Self::TargetDefaults, Self::Exception, Self::Template, Self::Decision];

    /// The word under `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Role => "Role",
            Self::Target => "Target",
            Self::TargetDefaults => "TargetDefaults",
            Self::Exception => "Exception",
            Self::Template => "Template",
            Self::Decision => "Decision",
        }
    }

    /// Whether only an operator may write such documents.
    pub fn is_operators(self) -> bool {
        matches!(self, Self::Target | Self::TargetDefaults | Self::Exception | Self::Template)
    }
}

/// `metadata` of a document.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Metadata {
    /// Unique per kind; of a `User` it is the record id.
    pub(crate) name: Option<Located<String>>,
    /// Earlier record ids of the same person: links and decisions move here. Only in a `User`.
    #[serde(default)]
    pub(crate) formerly: Vec<Located<String>>,
    /// Words that selectors and scopes use.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, Located<String>>,
    /// For people and other programs.
    #[serde(default)]
    #[expect(dead_code, reason = "annotations are for others; they are read to be checked")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Metadata {
    /// The labels, with bad ones noted.
    pub(crate) fn labels(&self, report: &mut Report<'_>) -> BTreeMap<String, String> {
        for (key, value) in &self.labels {
            words::name(key, value.place, "a label", report);
            words::line(value, value.place, "a label", report);
        }
        self.labels.iter().map(|(key, value)| (key.clone(), value.value.clone())).collect()
    }
}

/// Tells which kind a document is of, or notes why it is of none.
pub(crate) fn kind(tree: &Tree<'_>, report: &mut Report<'_>) -> Option<Kind> {
    if !matches!(tree.value, Value::Map(_)) {
        report
            .add(tree.place, "wrong-type", "a document is a mapping with `apiVersion`, `kind`, `metadata` and `spec`")
            .hint("write `kind: User` and the other three, one a line");
        return None;
    }
    api_version(tree, report);
    let Some(kind) = tree.get("kind") else {
        report.add(tree.place, "missing-field", "the field `kind` is missing").hint(kinds());
        return None;
    };
    let word = kind.text().unwrap_or_default();
    if let Some(kind) = Kind::ALL.into_iter().find(|known| known.as_str() == word) {
        return Some(kind);
    }
    report.add(kind.place, "unknown-kind", format!("unknown kind `{word}`")).hint(
        suggest::nearest(word, Kind::ALL.map(Kind::as_str))
            .map_or_else(kinds, |near| format!("did you mean `{near}`?")),
    );
    None
}

fn kinds() -> String {
    suggest::one_of("", Kind::ALL.map(Kind::as_str))
}

fn api_version(tree: &Tree<'_>, report: &mut Report<'_>) {
    match tree.get("apiVersion") {
        Some(version) if version.text() == Some(API_VERSION) => {}
        Some(version) => {
            report
                .add(version.place, "unknown-version", "rosterd does not read this `apiVersion`")
                .hint(format!("write `apiVersion: {API_VERSION}`"));
        }
        None => {
            report
                .add(tree.place, "missing-field", "the field `apiVersion` is missing")
                .hint(format!("add `apiVersion: {API_VERSION}`"));
        }
    }
}
