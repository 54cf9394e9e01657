//! `Role` documents.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::manifest::document::Metadata;
use crate::manifest::located::Located;
use crate::manifest::report::Report;
use crate::manifest::text::Place;
use crate::manifest::tree::Tree;
use crate::manifest::words;
use crate::model::ids::EntitlementName;
use crate::model::ids::RoleName;
use crate::model::ids::TargetName;
use crate::model::origin::Origin;
use crate::model::role::Grant;
use crate::model::role::Level;
use crate::model::role::Role;
use crate::model::role::TargetRef;

/// A named bundle of grants.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Role")]
pub(crate) struct RoleDocument {
    /// `rosterd.dev/v1`
    #[expect(dead_code, reason = "checked before the document is typed")]
    api_version: Option<String>,
    /// `Role`
    #[expect(dead_code, reason = "checked before the document is typed")]
    kind: Option<String>,
    metadata: Metadata,
    spec: RoleSpec,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RoleSpec {
    /// What the role gives.
    #[serde(default)]
    grants: Vec<Located<GrantEntry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrantEntry {
    /// A target by name.
    target: Option<Located<String>>,
    /// Targets by their labels; every pair must match.
    target_selector: Option<Located<BTreeMap<String, String>>>,
    /// `all`: the whole of the target. `role-based` (default): through the entitlements named.
    level: Option<LevelWord>,
    /// Words of the target's catalogue.
    #[serde(default)]
    entitlements: Vec<Located<String>>,
    /// Values that a mapping may read as `grant.attributes.*`.
    #[serde(default)]
    attributes: BTreeMap<String, Located<Json>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum LevelWord {
    All,
    RoleBased,
}

/// Where the references of a role stand, to be checked when all documents are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct RolePlaces {
    /// One for each grant, in its order.
    pub(crate) grants: Vec<GrantPlaces>,
}

/// Where the references of a grant stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct GrantPlaces {
    /// The name or the selector of the target.
    pub(crate) target: Place,
    pub(crate) entitlements: Vec<(EntitlementName, Place)>,
}

/// The role of a document; everything that is wrong with it goes to the report.
pub(crate) fn convert(
    document: RoleDocument,
    tree: &Tree<'_>,
    file: &Arc<str>,
    report: &mut Report<'_>,
) -> Option<(Role, RolePlaces)> {
    let RoleDocument { metadata, spec, .. } = document;
    let labels = metadata.labels(report);
    let name = name(&metadata, tree, "a role", report)?;
    let what: Arc<str> = format!("Role {}", name.value).into();
    let mut grants = Vec::with_capacity(spec.grants.len());
    let mut places = RolePlaces { grants: Vec::with_capacity(spec.grants.len()) };
    for entry in spec.grants {
        let origin = Origin { file: file.clone(), line: entry.place.line, what: what.clone() };
        if let Some((grant, place)) = grant(entry, origin, report) {
            grants.push(grant);
            places.grants.push(place);
        }
    }
    let origin = Origin { file: file.clone(), line: name.place.line, what };
    Some((Role { name: RoleName::from(name.value.as_str()), labels, grants, origin }, places))
}

/// `metadata.name` of anything but a user.
pub(crate) fn name<'m>(
    metadata: &'m Metadata,
    tree: &Tree<'_>,
    what: &str,
    report: &mut Report<'_>,
) -> Option<&'m Located<String>> {
    if let Some(former) = metadata.formerly.first() {
        report
            .add(former.place, "wrong-value", "only a `User` can have been something else before")
            .hint("take `formerly` out; something that is renamed is a new one");
    }
    let place = tree.get("metadata").map_or(tree.place, |metadata| metadata.place);
    let found = metadata.name.as_ref();
    if found.is_none() && !tree.has(&["metadata", "name"]) {
        report.add(place, "missing-field", "the field `name` is missing").hint("add `name:` under `metadata:`");
    }
    found.filter(|name| words::name(name, name.place, what, report))
}

fn grant(entry: Located<GrantEntry>, origin: Origin, report: &mut Report<'_>) -> Option<(Grant, GrantPlaces)> {
    let Located { value: entry, place } = entry;
    let (target, target_place) = match (entry.target, entry.target_selector) {
        (Some(name), None) => {
            words::name(&name, name.place, "a target", report);
            (TargetRef::Name(TargetName::from(name.value.as_str())), name.place)
        }
        (None, Some(selector)) if !selector.is_empty() => (TargetRef::Selector(selector.value), selector.place),
        (None, Some(selector)) => {
            report
                .add(selector.place, "blank-value", "an empty selector would take every target")
                .hint("name the labels that the targets must have");
            return None;
        }
        (Some(name), Some(_)) => {
            report
                .add(name.place, "wrong-value", "a grant has either `target` or `targetSelector`")
                .hint("take one of the two out, or write two grants");
            return None;
        }
        (None, None) => {
            report
                .add(place, "missing-field", "the grant does not say which target")
                .hint("add `target:` with its name, or `targetSelector:` with labels");
            return None;
        }
    };
    let places =
        entry.entitlements.iter().map(|word| (EntitlementName::from(word.value.as_str()), word.place)).collect();
    let grant = Grant {
        target,
        level: match entry.level {
            Some(LevelWord::All) => Level::All,
            None | Some(LevelWord::RoleBased) => Level::RoleBased,
        },
        entitlements: entry.entitlements.iter().map(|word| EntitlementName::from(word.value.as_str())).collect(),
        attributes: entry.attributes.into_iter().map(|(key, value)| (key, value.value)).collect(),
        origin,
    };
    Some((grant, GrantPlaces { target: target_place, entitlements: places }))
}
