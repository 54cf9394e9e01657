//! `spec.account` of targets: how accounts are found, what they look like, how they end.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::manifest::blockers::BlockerEntry;
use crate::manifest::blockers::blockers;
use crate::manifest::deletion::DeletionEntry;
use crate::manifest::deletion::deletion;
use crate::manifest::located::Located;
use crate::manifest::mapping;
use crate::manifest::mapping::KeyEntry;
use crate::manifest::mapping::MappingEntry;
use crate::manifest::mapping::PathText;
use crate::manifest::mapping::UserNameEntry;
use crate::manifest::report::Report;
use crate::manifest::suggest;
use crate::manifest::tree::Tree;
use crate::model::origin::Origin;
use crate::model::path::AttributePath;
use crate::model::target::AccountPolicy;
use crate::model::target::Cardinality;
use crate::model::target::Drift;
use crate::model::target::Ending;
use crate::model::target::Existing;
use crate::model::target::ForeignDelete;
use crate::model::target::ForeignDisable;
use crate::model::target::Mapping;
use crate::model::target::Mark;
use crate::model::target::MatchKey;
use crate::model::target::Members;
use crate::model::target::Own;
use crate::model::target::Regain;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AccountEntry {
    /// Keys that find the account of a user, tried in this order; default `[externalId, userName]`.
    #[serde(rename = "match")]
    match_keys: Option<Vec<Located<KeyEntry>>>,
    /// Where ownership is written: `externalId` (default), another path, or `none`.
    mark: Option<Located<String>>,
    /// What to do about an unlinked account that matches.
    existing: Option<Located<ExistingWord>>,
    /// The keys of `match` by which `existing: adopt` may adopt.
    #[serde(default)]
    trusted_keys: Vec<Located<KeyEntry>>,
    /// Whether the target takes `Ada` and `ada` for one user name; it does by default.
    fold_user_name: Option<bool>,
    /// A template, or a mapping of its own.
    user_name: Option<Located<UserNameEntry>>,
    /// What is written, by path in SCIM notation.
    #[serde(default)]
    attributes: BTreeMap<PathText, Located<MappingEntry>>,
    /// Accounts that are never written; `*` stands for any run of characters.
    #[serde(default)]
    protected: Vec<Located<String>>,
    /// The user is there, no longer entitled.
    on_out_of_scope: Option<EndingWord>,
    /// The user is no longer in the source.
    on_gone: Option<EndingWord>,
    /// `false`: attributes are written at creation only.
    updates: Option<bool>,
    /// One user name opens at most so many values of an attribute.
    cardinality: Option<CardinalityEntry>,
    /// Memberships that may be taken away: those that rosterd granted, or every one of the catalogue.
    members: Option<MembersWord>,
    /// Somebody else disabled or suspended an account.
    foreign_disable: Option<ForeignDisableWord>,
    /// Somebody else deleted an account.
    foreign_delete: Option<ForeignDeleteWord>,
    /// An account that was ended so long ago is deleted, by default once a person says so; a day at least.
    delete_after: Option<Located<String>>,
    /// `true`: without a person's word about each.
    delete_unattended: Option<Located<bool>>,
    /// Where the target shows what still hangs on somebody, by kind: looked at before an account is shut.
    #[serde(default)]
    blockers: BTreeMap<String, Located<BlockerEntry>>,
    /// Switches of mails that the target sends (attributes that are true or false): off while the access
    /// is ended, and on again with it.
    #[serde(default)]
    notifications: Vec<Located<PathText>>,
    /// `same`: somebody who comes back gets that account again; `ask`: a person says so first.
    regain: Option<Located<RegainWord>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CardinalityEntry {
    /// Key of `attributes` of users and grants.
    attribute: String,
    /// How many different values one user may have.
    max: Located<u32>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($word:ident),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        enum $name { $($word),+ }
    };
}

words!(ExistingWord: Refuse, Ask, Adopt);
words!(EndingWord: Disable, Strip, Suspend, Delete, List, Keep);
words!(MembersWord: Additive, Exact);
words!(ForeignDisableWord: Report, Reactivate);
words!(ForeignDeleteWord: Report, Recreate);
words!(RegainWord: Same, Ask);

/// The policy of an entry; everything that is wrong with it goes to the report.
pub(crate) fn convert(
    entry: Located<AccountEntry>,
    tree: Option<&Tree<'_>>,
    origin: &Origin,
    report: &mut Report<'_>,
) -> Option<AccountPolicy> {
    let Located { value: entry, place } = entry;
    let mark = mark(entry.mark.as_ref(), report)?;
    if entry.user_name.is_none() && !tree.is_some_and(|tree| tree.has(&["userName"])) {
        report
            .add(place, "missing-field", "the field `userName` is missing: it says what accounts are called")
            .hint("add `userName: \"{{ user.email }}\"`");
    }
    let user_name = user_name(entry.user_name, origin, report);
    let attributes = attributes(entry.attributes, tree, &mark, origin, report);
    let known = known_keys(&attributes);
    let match_keys = match entry.match_keys {
        Some(keys) => keys_of(&keys, &known, report),
        None => vec![MatchKey(vec![AttributePath::external_id()]), MatchKey(vec![AttributePath::user_name()])],
    };
    let trusted_keys = trusted(&entry.trusted_keys, &match_keys, entry.existing.as_ref(), report);
    for pattern in &entry.protected {
        if pattern.trim().is_empty() || pattern.chars().all(|c| c == '*') {
            report
                .add(pattern.place, "wrong-value", "this pattern protects every account, so nothing could be written")
                .hint("name the accounts, like `svc-*`; to write nothing at all use `mode: observe`");
        }
    }
    if let Some(max) = entry.cardinality.as_ref().map(|cardinality| &cardinality.max).filter(|max| max.value == 0) {
        report.add(max.place, "bad-limit", "`max` is at least 1").hint("write 1 or more");
    }
    let (after, unattended) = (entry.delete_after.as_ref(), entry.delete_unattended.as_ref());
    let endings = [ending(entry.on_out_of_scope), ending(entry.on_gone)];
    let deletion = deletion(&DeletionEntry { after, unattended, endings }, report);
    let notifications = switches(entry.notifications, report);
    let blockers = blockers(entry.blockers, report);
    Some(AccountPolicy {
        match_keys,
        mark,
        existing: match entry.existing.map(|existing| existing.value) {
            None | Some(ExistingWord::Refuse) => Existing::Refuse,
            Some(ExistingWord::Ask) => Existing::Ask,
            Some(ExistingWord::Adopt) => Existing::Adopt,
        },
        trusted_keys,
        fold_user_name: entry.fold_user_name.unwrap_or(true),
        user_name: user_name?,
        attributes,
        protected: entry.protected.into_iter().map(|pattern| pattern.value).collect(),
        on_out_of_scope: ending(entry.on_out_of_scope),
        on_gone: ending(entry.on_gone),
        updates: entry.updates.unwrap_or(true),
        regain: match entry.regain.map(|regain| regain.value) {
            None | Some(RegainWord::Same) => Regain::Same,
            Some(RegainWord::Ask) => Regain::Ask,
        },
        cardinality: entry
            .cardinality
            .map(|cardinality| Cardinality { attribute: cardinality.attribute, max: cardinality.max.value }),
        members: match entry.members {
            None | Some(MembersWord::Additive) => Members::Additive,
            Some(MembersWord::Exact) => Members::Exact,
        },
        foreign_disable: match entry.foreign_disable {
            None | Some(ForeignDisableWord::Report) => ForeignDisable::Report,
            Some(ForeignDisableWord::Reactivate) => ForeignDisable::Reactivate,
        },
        foreign_delete: match entry.foreign_delete {
            None | Some(ForeignDeleteWord::Report) => ForeignDelete::Report,
            Some(ForeignDeleteWord::Recreate) => ForeignDelete::Recreate,
        },
        deletion,
        notifications,
        blockers,
    })
}

/// Attributes that are switched off with the access; none that says who somebody is or what they may do.
fn switches(paths: Vec<Located<PathText>>, report: &mut Report<'_>) -> BTreeSet<AttributePath> {
    let mut switches = BTreeSet::new();
    for Located { value: PathText(path), place } in paths {
        let parts = path.parts();
        let refused = |name: &&str| parts.schema.is_none() && parts.attribute.eq_ignore_ascii_case(name);
        if NO_SWITCHES.iter().any(refused) {
            report
                .add(place, "wrong-value", format!("`{path}` switches no mails"))
                .hint("name attributes that are true or false, or take it out");
        } else if !switches.insert(path) {
            report.add(place, "duplicate-key", "this switch stands here a second time").hint("take one of them out");
        }
    }
    switches
}

/// Attributes of RFC 7643 section 4.1 that are something else than a switch of mails.
const NO_SWITCHES: [&str; 12] = [
    "userName",
    "externalId",
    "id",
    "meta",
    "schemas",
    "active",
    "groups",
    "password",
    "name",
    "emails",
    "roles",
    "entitlements",
];

fn ending(word: Option<EndingWord>) -> Ending {
    match word {
        None | Some(EndingWord::Disable) => Ending::Disable,
        Some(EndingWord::Strip) => Ending::Strip,
        Some(EndingWord::Suspend) => Ending::Suspend,
        Some(EndingWord::Delete) => Ending::Delete,
        Some(EndingWord::List) => Ending::List,
        Some(EndingWord::Keep) => Ending::Keep,
    }
}

fn mark(word: Option<&Located<String>>, report: &mut Report<'_>) -> Option<Mark> {
    let Some(word) = word else { return Some(Mark::At(AttributePath::external_id())) };
    if word.value == "none" {
        return Some(Mark::None);
    }
    let path = AttributePath::parse(word).ok();
    if path.is_none() {
        report
            .add(word.place, "bad-path", "the mark is written to an attribute path, or is `none`")
            .hint("write `externalId`, another path, or `none`");
    }
    path.map(Mark::At)
}

fn user_name(entry: Option<Located<UserNameEntry>>, origin: &Origin, report: &mut Report<'_>) -> Option<Mapping> {
    let Located { value: entry, place } = entry?;
    match entry {
        UserNameEntry::Template(text) => {
            let value = mapping::value(Located { value: Json::String(text), place }, report)?;
            let origin = Origin { line: place.line, ..origin.clone() };
            let own = Own::Always;
            Some(Mapping {
                value,
                own,
                translate: None,
                clear: false,
                personal: true,
                sensitive: false,
                drift: Drift::Revert,
                origin,
            })
        }
        UserNameEntry::Mapping(entry) => {
            if entry.clear {
                report.add(place, "wrong-value", "a user name cannot be cleared").hint("take `clear` out");
            }
            mapping::mapping(*entry, place, true, origin, report)
        }
    }
}

/// Attributes that no mapping may write, and what to use.
const NOT_MAPPED: [(&str, &str); 7] = [
    ("userName", "write `account.userName`"),
    ("id", "take it out: the target gives it"),
    ("meta", "take it out: the target writes it"),
    ("schemas", "take it out: it follows from the paths"),
    ("active", "take it out: it follows from roles, validity and `active` of the user"),
    ("groups", "name the group in `entitlements`, and grant it with a role"),
    ("password", "take it out: this version leaves passwords to the target"),
];

fn attributes(
    entries: BTreeMap<PathText, Located<MappingEntry>>,
    tree: Option<&Tree<'_>>,
    mark: &Mark,
    origin: &Origin,
    report: &mut Report<'_>,
) -> BTreeMap<AttributePath, Mapping> {
    let keys = tree.and_then(|tree| tree.get("attributes")).map(Tree::entries).unwrap_or_default();
    let mut attributes = BTreeMap::new();
    for (PathText(path), entry) in entries {
        let place = keys.iter().find(|(key, _)| key.text == path.as_str()).map_or(entry.place, |(key, _)| key.place);
        let parts = path.parts();
        let refused =
            NOT_MAPPED.iter().find(|(name, _)| parts.schema.is_none() && parts.attribute.eq_ignore_ascii_case(name));
        if let Some((_, hint)) = refused {
            report.add(place, "not-mapped", format!("`{path}` cannot be mapped")).hint(*hint);
        } else if matches!(mark, Mark::At(at) if *at == path) {
            report
                .add(place, "not-mapped", format!("`{path}` holds the mark of ownership"))
                .hint("take it out, or choose another place with `mark:`");
        }
        let personal = parts.schema.is_none() && is_personal(parts.attribute);
        if let Some(mapping) = mapping::mapping(entry.value, place, personal, origin, report) {
            attributes.insert(path, mapping);
        }
    }
    attributes
}

/// Attributes of RFC 7643 section 4.1 that say who or where a person is.
fn is_personal(attribute: &str) -> bool {
    const PERSONAL: [&str; 9] =
        ["name", "displayName", "nickName", "emails", "phoneNumbers", "addresses", "ims", "photos", "profileUrl"];
    PERSONAL.iter().any(|name| attribute.eq_ignore_ascii_case(name))
}

fn known_keys(attributes: &BTreeMap<AttributePath, Mapping>) -> BTreeSet<AttributePath> {
    let mapped = attributes.keys().cloned();
    mapped.chain([AttributePath::external_id(), AttributePath::user_name()]).collect()
}

fn keys_of(keys: &[Located<KeyEntry>], known: &BTreeSet<AttributePath>, report: &mut Report<'_>) -> Vec<MatchKey> {
    let mut found: Vec<MatchKey> = Vec::new();
    for entry in keys {
        let key = entry.key();
        if key.0.is_empty() {
            report.add(entry.place, "blank-value", "a key without paths matches everything").hint("name a path");
            continue;
        }
        for path in key.0.iter().filter(|path| !known.contains(path)) {
            report
                .add(entry.place, "unknown-key", format!("`{path}` is not mapped, so there is no value to look for"))
                .hint(suggest::one_of(path.as_str(), known.iter().map(AttributePath::as_str)));
        }
        if found.contains(&key) {
            report.add(entry.place, "duplicate-key", "this key stands here a second time").hint("take one of them out");
        }
        found.push(key);
    }
    found
}

fn trusted(
    keys: &[Located<KeyEntry>],
    matched: &[MatchKey],
    existing: Option<&Located<ExistingWord>>,
    report: &mut Report<'_>,
) -> Vec<MatchKey> {
    for entry in keys.iter().filter(|entry| !matched.contains(&entry.key())) {
        report
            .add(entry.place, "unknown-key", "a trusted key must be one of `match`")
            .hint("add it to `match`, or take it out here");
    }
    if let Some(existing) = existing.filter(|word| word.value == ExistingWord::Adopt && keys.is_empty()) {
        report
            .add(
                existing.place,
                "missing-field",
                "`existing: adopt` takes accounts over by `trustedKeys`, and there are none",
            )
            .hint("add `trustedKeys: [externalId]`, or write `existing: ask`");
    }
    keys.iter().map(|entry| entry.key()).collect()
}
