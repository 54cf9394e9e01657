//! `Target` and `TargetDefaults` documents.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::manifest::account;
use crate::manifest::account::AccountEntry;
use crate::manifest::approval;
use crate::manifest::approval::ApprovalEntry;
use crate::manifest::combine::Allowed;
use crate::manifest::document::Metadata;
use crate::manifest::endpoint;
use crate::manifest::expression;
use crate::manifest::limits;
use crate::manifest::limits::AdministratorsEntry;
use crate::manifest::limits::FreezeEntry;
use crate::manifest::limits::LimitsEntry;
use crate::manifest::limits::ScheduleEntry;
use crate::manifest::located::Located;
use crate::manifest::report::Report;
use crate::manifest::role;
use crate::manifest::suggest;
use crate::manifest::tree::Tree;
use crate::manifest::welcome;
use crate::manifest::welcome::WelcomeEntry;
use crate::manifest::words;
use crate::model::account::Membership;
use crate::model::ids::EntitlementName;
use crate::model::ids::TargetName;
use crate::model::origin::Origin;
use crate::model::target::Entitlement;
use crate::model::target::Limits;
use crate::model::target::Mode;
use crate::model::target::Scope;
use crate::model::target::Target;

/// A system whose accounts are reconciled.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Target")]
pub(crate) struct TargetDocument {
    /// `rosterd.dev/v1`
    #[expect(dead_code, reason = "checked before the document is typed")]
    api_version: Option<String>,
    /// `Target`
    #[expect(dead_code, reason = "checked before the document is typed")]
    kind: Option<String>,
    metadata: Metadata,
    spec: TargetSpec,
}

/// Values that several targets share: any key of a target's `spec`. The target wins, mappings
/// merge, lists replace.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "TargetDefaults")]
pub(crate) struct TargetDefaultsDocument {
    /// `rosterd.dev/v1`
    #[expect(dead_code, reason = "checked before the document is typed")]
    api_version: Option<String>,
    /// `TargetDefaults`
    #[expect(dead_code, reason = "checked before the document is typed")]
    kind: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) spec: TargetSpec,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TargetSpec {
    /// The name of a `TargetDefaults`.
    pub(crate) defaults: Option<Located<String>>,
    /// Exactly one key, which names the connector; its settings stand below it.
    #[serde(default)]
    connector: Option<Located<BTreeMap<String, Located<Anything>>>>,
    /// Which block of `environments` is used.
    environment: Option<Located<String>>,
    /// Addresses and credentials; nothing but the block in use is ever read.
    #[serde(default)]
    environments: BTreeMap<String, Block>,
    mode: Option<ModeWord>,
    #[serde(default)]
    scope: ScopeEntry,
    /// A condition over `account`: which accounts of a shared realm are this target's.
    partition: Option<Located<String>>,
    /// The closed catalogue of what can be granted.
    #[serde(default)]
    entitlements: BTreeMap<String, Located<EntitlementEntry>>,
    account: Option<Located<AccountEntry>>,
    schedule: Option<Located<ScheduleEntry>>,
    #[serde(default)]
    limits: LimitsEntry,
    /// How many may do everything there.
    administrators: Option<Located<AdministratorsEntry>>,
    /// When nothing but narrowing happens.
    #[serde(default)]
    freeze: Vec<Located<FreezeEntry>>,
    /// What waits for a person's word, and whose.
    approval: Option<Located<ApprovalEntry>>,
    /// What people call it, in mails; its name where none is given.
    title: Option<Located<String>>,
    /// What the person of a new account is told, and what lets them in.
    welcome: Option<Located<WelcomeEntry>>,
}

/// One block of `environments`, which the connector reads: its keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(transparent)]
struct Block(
    #[expect(dead_code, reason = "it is read from the tree; here it is only known to be a mapping")]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    BTreeMap<String, Located<Anything>>,
);

/// A part that is read by the connector.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(from = "serde::de::IgnoredAny")]
pub(crate) struct Anything;

impl From<serde::de::IgnoredAny> for Anything {
    fn from(_: serde::de::IgnoredAny) -> Self {
        Self
    }
}

impl JsonSchema for Anything {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Anything".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        true.into()
    }
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ModeWord {
    Enforce,
    Observe,
    Suspended,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScopeEntry {
    /// Values of `userType` that may have an account.
    user_types: Option<BTreeSet<String>>,
    /// A condition over `user`.
    when: Option<Located<String>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EntitlementEntry {
    /// A group of the target.
    group: Option<GroupEntry>,
    /// A value of the account's `roles`.
    role: Option<Located<String>>,
    /// Counted by the limit on privileged grants.
    #[serde(default)]
    privileged: bool,
    /// Words that nobody may hold together with this one.
    #[serde(default)]
    exclusive_with: Vec<Located<String>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupEntry {
    /// The id that the target gave it.
    id: Located<String>,
}

/// The target of a document that is merged over its defaults already; everything that is wrong
/// with it goes to the report.
pub(crate) fn convert(
    document: TargetDocument,
    tree: &Tree<'_>,
    file: &Arc<str>,
    allowed: Allowed,
    report: &mut Report<'_>,
) -> Option<Target> {
    let TargetDocument { metadata, spec, .. } = document;
    let labels = metadata.labels(report);
    let name = role::name(&metadata, tree, "a target", report)?;
    let what: Arc<str> = format!("Target {}", name.value).into();
    let origin = Origin { file: file.clone(), line: name.place.line, what };
    let spec_tree = tree.get("spec").unwrap_or(tree);
    let connector = connector(spec.connector.as_ref(), spec_tree, report);
    let blocks = spec.environments.keys().map(String::as_str).collect::<Vec<_>>();
    let chosen = endpoint::choose(spec.environment.as_ref(), &blocks, spec_tree, report);
    endpoint::check(spec_tree, chosen.as_deref(), allowed, report);
    let schedule = spec.schedule.and_then(|schedule| limits::schedule(&schedule, report));
    let limits = limits::limits(spec.limits, report);
    let freeze = limits::freezes(spec.freeze, report);
    if let Some(partition) = &spec.partition {
        expression::account_condition(partition, report);
    }
    if let Some(when) = &spec.scope.when {
        expression::user_condition(when, report);
    }
    let entitlements = catalogue(spec.entitlements, report);
    let administrators = spec.administrators.and_then(|entry| limits::administrators(entry, &entitlements, report));
    let limits = limits.map(|limits| Limits { administrators, ..limits });
    let title = spec.title.as_ref().map(|title| title.value.as_str());
    let approval = spec.approval.map(|entry| approval::convert(entry, &entitlements, (title, &origin), report));
    if spec.account.is_none() && !spec_tree.has(&["account"]) {
        report
            .add(spec_tree.place, "missing-field", "the field `account` is missing: it says what accounts look like")
            .hint("add `account: { userName: \"{{ user.email }}\" }`");
    }
    let account = spec.account.and_then(|account| account::convert(account, spec_tree.get("account"), &origin, report));
    let (title, at) = (spec.title.as_ref(), chosen.as_deref().map(|chosen| endpoint::block(spec_tree, chosen)));
    let at = at.unwrap_or_default();
    let welcome = spec.welcome.and_then(|entry| welcome::convert(entry, title, (&name.value, file, &at), report));
    let (connector, settings) = connector?;
    let environment = chosen?;
    Some(Target {
        name: TargetName::from(name.value.as_str()),
        labels,
        connector,
        settings,
        endpoint: endpoint::block(spec_tree, &environment),
        environment: environment.into(),
        mode: match spec.mode {
            Some(ModeWord::Enforce) => Mode::Enforce,
            None | Some(ModeWord::Observe) => Mode::Observe,
            Some(ModeWord::Suspended) => Mode::Suspended,
        },
        scope: Scope { user_types: spec.scope.user_types, when: spec.scope.when.map(|when| when.value) },
        partition: spec.partition.map(|partition| partition.value),
        entitlements,
        account: account?,
        schedule,
        limits: limits?,
        exceptions: Vec::new(),
        freeze: freeze?,
        approval,
        welcome,
        origin,
    })
}

/// Connectors of this version.
const CONNECTORS: [&str; 2] = ["scim", "directory"];

/// The connector's word and its settings.
fn connector(
    found: Option<&Located<BTreeMap<String, Located<Anything>>>>,
    spec: &Tree<'_>,
    report: &mut Report<'_>,
) -> Option<(String, crate::model::node::Node)> {
    if found.is_none() && !spec.has(&["connector"]) {
        report
            .add(spec.place, "missing-field", "the field `connector` is missing")
            .hint("add `connector: { scim: {} }`, or `connector: { directory: {} }` for the embedded directory");
    }
    let found = found?;
    let mut words = found.iter();
    let (Some((word, _)), None) = (words.next(), words.next()) else {
        report
            .add(found.place, "wrong-value", "exactly one key stands under `connector`, the one that names it")
            .hint(suggest::one_of("", CONNECTORS));
        return None;
    };
    let settings = spec.get("connector").and_then(|connector| connector.entries().first());
    let (key, tree) = settings?;
    if crate::manifest::later::CONNECTORS.contains(&word.as_str()) {
        report
            .add(
                key.place,
                "unsupported-value",
                format!("this version of rosterd does not have the connector `{word}` yet"),
            )
            .hint(suggest::one_of("", CONNECTORS));
        return None;
    }
    if !CONNECTORS.contains(&word.as_str()) {
        report
            .add(key.place, "unknown-connector", format!("unknown connector `{word}`"))
            .hint(suggest::one_of(word, CONNECTORS));
        return None;
    }
    if tree.is_blank() || tree.text().is_some() {
        report
            .add(key.place, "blank-value", "the settings of a connector are a mapping")
            .hint(format!("write `{word}: {{}}` for the defaults"));
        return None;
    }
    let mut node = endpoint::node(tree);
    if let (Json::Object(settings), "scim") = (&mut node.value, word.as_str()) {
        settings.entry("profile").or_insert_with(|| Json::from("generic"));
    }
    Some((word.clone(), node))
}

fn catalogue(
    entries: BTreeMap<String, Located<EntitlementEntry>>,
    report: &mut Report<'_>,
) -> BTreeMap<EntitlementName, Entitlement> {
    let known: Vec<String> = entries.keys().cloned().collect();
    let mut catalogue = BTreeMap::new();
    let mut pairs = Vec::new();
    for (word, entry) in entries {
        words::name(&word, entry.place, "an entitlement", report);
        for other in &entry.exclusive_with {
            if !known.contains(&other.value) {
                report
                    .add(other.place, "unknown-entitlement", format!("unknown entitlement `{}`", other.value))
                    .hint(suggest::one_of(other, known.iter().map(String::as_str)));
            } else if other.value == word {
                report
                    .add(other.place, "wrong-value", "an entitlement cannot exclude itself")
                    .hint("take it out; to forbid it, take it out of the catalogue");
            }
            pairs.push((other.value.clone(), word.clone()));
        }
        let Some(membership) = membership(&entry, report) else { continue };
        let exclusive_with = entry.exclusive_with.iter().map(|other| other.value.as_str().into()).collect();
        catalogue.insert(word.into(), Entitlement { membership, privileged: entry.privileged, exclusive_with });
    }
    // Whichever of the two names the other, they exclude each other.
    for (one, other) in pairs {
        let entitlement: Option<&mut Entitlement> = catalogue.get_mut(&EntitlementName::from(one));
        if let Some(entitlement) = entitlement {
            entitlement.exclusive_with.insert(other.into());
        }
    }
    catalogue
}

fn membership(entry: &Located<EntitlementEntry>, report: &mut Report<'_>) -> Option<Membership> {
    let (text, membership) = match (&entry.group, &entry.role) {
        (Some(group), None) => (&group.id, Membership::Group(group.id.value.clone())),
        (None, Some(role)) => (role, Membership::Role(role.value.clone())),
        _ => {
            report
                .add(entry.place, "wrong-value", "an entitlement is either a `group` or a `role` of the target")
                .hint("write `{ group: { id: ... } }` or `{ role: ... }`");
            return None;
        }
    };
    words::line(text, text.place, "the entitlement's name there", report).then_some(membership)
}
