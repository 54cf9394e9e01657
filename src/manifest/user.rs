//! `User` documents.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Deserializer;
use serde::de;
use serde_json::Value as Json;

use crate::manifest::document;
use crate::manifest::document::Kind;
use crate::manifest::document::Metadata;
use crate::manifest::located::Located;
use crate::manifest::mask;
use crate::manifest::report::Report;
use crate::manifest::text::Place;
use crate::manifest::time::Time;
use crate::manifest::tree::Tree;
use crate::manifest::words;
use crate::model::ids::RecordId;
use crate::model::ids::RoleName;
use crate::model::user::Login;
use crate::model::user::RoleHeld;
use crate::model::user::User;
use crate::model::user::Validity;

/// A person.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "User")]
pub(crate) struct UserDocument {
    /// `rosterd.dev/v1`
    #[expect(dead_code, reason = "checked before the document is typed")]
    api_version: Option<String>,
    /// `User`
    #[expect(dead_code, reason = "checked before the document is typed")]
    kind: Option<String>,
    metadata: Metadata,
    spec: UserSpec,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UserSpec {
    given_name: Option<Located<String>>,
    family_name: Option<Located<String>>,
    email: Option<Located<String>>,
    /// An IANA name: `Europe/London`.
    time_zone: Option<Located<String>>,
    /// A language tag: `en-GB`.
    locale: Option<Located<String>>,
    /// A free word: `employee`, `client-contact`.
    user_type: Option<Located<String>>,
    /// `false`: no access anywhere.
    active: Option<bool>,
    /// The first second of access.
    valid_from: Option<Located<Time>>,
    /// The second at which access ends.
    valid_until: Option<Located<Time>>,
    login: Option<LoginWord>,
    #[serde(default)]
    roles: Vec<Located<RoleEntry>>,
    #[serde(default)]
    teams: Vec<Located<String>>,
    /// The record id of the manager.
    manager: Option<Located<String>>,
    /// Texts, numbers, booleans, and lists of them.
    #[serde(default)]
    attributes: BTreeMap<String, Located<Json>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum LoginWord {
    Sso,
    Password,
}

/// `name` or `{ name, validFrom, validUntil }`.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
enum RoleEntry {
    Name(String),
    Held(RoleHeldEntry),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RoleHeldEntry {
    name: Located<String>,
    valid_from: Option<Located<Time>>,
    valid_until: Option<Located<Time>>,
}

impl<'de> Deserialize<'de> for RoleEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RoleEntryVisitor)
    }
}

struct RoleEntryVisitor;

impl<'de> de::Visitor<'de> for RoleEntryVisitor {
    type Value = RoleEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a role, or `{ name, validFrom, validUntil }`,")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<RoleEntry, E> {
        Ok(RoleEntry::Name(name.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, name: u64) -> Result<RoleEntry, E> {
        Ok(RoleEntry::Name(name.to_string()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RoleEntry, A::Error> {
        RoleHeldEntry::deserialize(de::value::MapAccessDeserializer::new(map)).map(RoleEntry::Held)
    }
}

/// The user of a document; everything that is wrong with it goes to the report.
pub(crate) fn convert(
    document: UserDocument,
    tree: &Tree<'_>,
    file: &std::sync::Arc<str>,
    report: &mut Report<'_>,
) -> Option<User> {
    let UserDocument { metadata, spec, .. } = document;
    let labels = metadata.labels(report);
    if metadata.name.is_none() && !tree.has(&["metadata", "name"]) {
        let place = tree.get("metadata").map_or(tree.place, |metadata| metadata.place);
        report
            .add(place, "missing-field", "the field `name` is missing: it is the record id")
            .hint("add `name:` with an id that never changes, like `u-1001`");
    }
    let name = metadata.name.as_ref()?;
    let sound = words::record_id(name, report);
    for former in &metadata.formerly {
        words::record_id(former, report);
        if former.value == name.value {
            report.add(former.place, "duplicate-name", "a user cannot be its own earlier id").hint("take it out");
        }
    }
    check_words(&spec, report);
    let valid = validity(spec.valid_from, spec.valid_until, report);
    let origin = document::origin(Kind::User, name, file);
    let user = User {
        id: RecordId::from(name.value.as_str()),
        formerly: metadata.formerly.iter().map(|former| RecordId::from(former.value.as_str())).collect(),
        labels,
        valid,
        active: spec.active.unwrap_or(true),
        login: match spec.login {
            None | Some(LoginWord::Sso) => Login::Sso,
            Some(LoginWord::Password) => Login::Password,
        },
        roles: roles(&spec.roles, report),
        teams: spec.teams.iter().map(|team| team.value.clone()).collect(),
        manager: spec.manager.as_ref().map(|manager| RecordId::from(manager.value.as_str())),
        attributes: attributes(spec.attributes, report),
        given_name: spec.given_name.map(|text| text.value),
        family_name: spec.family_name.map(|text| text.value),
        email: spec.email.map(|text| text.value),
        time_zone: spec.time_zone.map(|text| text.value),
        locale: spec.locale.map(|text| text.value),
        user_type: spec.user_type.map(|text| text.value),
        lines: lines(tree),
        origin,
    };
    sound.then_some(user)
}

fn check_words(spec: &UserSpec, report: &mut Report<'_>) {
    let texts = [
        (&spec.given_name, "the given name"),
        (&spec.family_name, "the family name"),
        (&spec.user_type, "the user type"),
        (&spec.manager, "the manager"),
    ];
    for (text, what) in texts {
        if let Some(text) = text {
            words::line(text, text.place, what, report);
        }
    }
    if let Some(mail) = &spec.email
        && words::line(mail, mail.place, "the mail address", report)
    {
        words::mail(mail, report);
    }
    if let Some(zone) = &spec.time_zone {
        words::time_zone(zone, report);
    }
    if let Some(locale) = &spec.locale {
        words::locale(locale, report);
    }
    for team in &spec.teams {
        words::name(team, team.place, "a team", report);
    }
}

/// A window, with one that ends before it begins noted.
fn validity(from: Option<Located<Time>>, until: Option<Located<Time>>, report: &mut Report<'_>) -> Validity {
    if let (Some(from), Some(until)) = (&from, &until)
        && until.0 <= from.0
    {
        report
            .add(until.place, "ends-before-start", "`validUntil` is not after `validFrom`")
            .hint("swap them, or take one out; for no access at all write `active: false`");
    }
    Validity { from: from.map(|time| time.0), until: until.map(|time| time.0) }
}

fn roles(entries: &[Located<RoleEntry>], report: &mut Report<'_>) -> Vec<RoleHeld> {
    let mut held: Vec<RoleHeld> = Vec::with_capacity(entries.len());
    let mut seen = BTreeSet::new();
    for entry in entries {
        let (name, place, valid) = match &entry.value {
            RoleEntry::Name(name) => (name, entry.place, Validity::default()),
            RoleEntry::Held(role) => {
                let valid = validity(role.valid_from, role.valid_until, report);
                (&role.name.value, role.name.place, valid)
            }
        };
        words::name(name, place, "a role", report);
        if !seen.insert((name.as_str(), valid.from, valid.until)) {
            report
                .add(place, "duplicate-role", format!("the role `{name}` stands here a second time"))
                .hint("take one of them out");
        }
        held.push(RoleHeld { name: RoleName::from(name.as_str()), valid, line: place.line });
    }
    held
}

/// Keys that no manifest may carry a value for: it would be a password in a repository.
fn names_a_credential(key: &str) -> bool {
    mask::is_secret_key(key) && !matches!(key.to_ascii_lowercase().as_str(), "key" | "auth" | "pin")
}

fn attributes(found: BTreeMap<String, Located<Json>>, report: &mut Report<'_>) -> BTreeMap<String, Json> {
    for (key, value) in &found {
        if names_a_credential(key) {
            report
                .add(
                    value.place,
                    "literal-secret",
                    format!("the attribute `{key}` would put a credential into a manifest"),
                )
                .hint("take it out and change the credential: whoever can read the repository has it");
            continue;
        }
        scalar_or_list(&value.value, value.place, key, report);
    }
    found.into_iter().map(|(key, value)| (key, value.value)).collect()
}

fn scalar_or_list(value: &Json, place: Place, key: &str, report: &mut Report<'_>) {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
        Json::String(text) => {
            words::text(text, place, "the attribute", report);
        }
        Json::Array(items) if items.iter().all(|item| !item.is_array() && !item.is_object()) => {
            for item in items {
                scalar_or_list(item, place, key, report);
            }
        }
        Json::Array(_) | Json::Object(_) => {
            report
                .add(place, "wrong-type", format!("the attribute `{key}` is not a single value or a list of them"))
                .hint("give each part an attribute of its own");
        }
    }
}

/// The line of each field that the document writes.
fn lines(tree: &Tree<'_>) -> BTreeMap<String, u32> {
    let spec = tree.get("spec").map(Tree::entries).unwrap_or_default();
    let fields = spec.iter().map(|(key, _)| (key.text.to_string(), key.place.line));
    let attributes = tree.get("spec").and_then(|spec| spec.get("attributes")).map(Tree::entries).unwrap_or_default();
    let attributes = attributes.iter().map(|(key, _)| (format!("attributes.{}", key.text), key.place.line));
    fields.chain(attributes).collect()
}
