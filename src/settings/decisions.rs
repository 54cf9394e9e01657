//! `decisionsFrom`: whose signed decisions are taken.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;

use crate::manifest::decision::DecisionKey;
use crate::manifest::locate::Located;
use crate::manifest::report::Report;
use crate::manifest::sshsig::PublicKey;
use crate::model::addressee::LabelScope;
use crate::settings::file::OneOrMore;

/// `decisionsFrom`
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum DecisionsFile {
    /// `none`
    Word(NoneWord),
    /// `{ keys: { alice: "ssh-ed25519 ..." } }`
    Keys(KeysFile),
}

/// The only word.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoneWord {
    /// Nobody's.
    None,
}

/// Keys by the person who holds them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeysFile {
    keys: BTreeMap<String, KeyEntry>,
}

/// A key, with or without what its holder decides about.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum KeyEntry {
    /// `"ssh-ed25519 ..."`
    Key(String),
    /// `{ key: "ssh-ed25519 ...", groups: [credit-emea], label: { folder: acme } }`
    More(MoreFile),
}

/// The longer form.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MoreFile {
    key: String,
    #[serde(default)]
    groups: BTreeSet<String>,
    #[serde(default)]
    label: BTreeMap<String, OneOrMore>,
}

/// From what is written to what holds. `approvers` are the groups that the configuration names.
pub(crate) fn keys(
    written: Located<DecisionsFile>,
    approvers: Option<&BTreeMap<String, Vec<LabelScope>>>,
    report: &mut Report<'_>,
) -> BTreeMap<String, DecisionKey> {
    let Located { value: DecisionsFile::Keys(KeysFile { keys }), place } = written else { return BTreeMap::new() };
    if keys.is_empty() {
        report.add(place, "blank-value", "no key is named").hint("write `decisionsFrom: none`, or name keys");
    }
    let mut found: BTreeMap<String, DecisionKey> = BTreeMap::new();
    for (person, entry) in keys {
        let MoreFile { key, groups, label } = match entry {
            KeyEntry::Key(key) => MoreFile { key, groups: BTreeSet::new(), label: BTreeMap::new() },
            KeyEntry::More(more) => more,
        };
        let Some(key) = PublicKey::parse(&key) else {
            report
                .add(place, "wrong-value", format!("the key of `{person}` is no `ssh-ed25519` key"))
                .hint("write what `ssh-keygen -t ed25519` put into its `.pub` file");
            continue;
        };
        if let Some((other, _)) = found.iter().find(|(_, before)| before.key == key) {
            report
                .add(
                    place,
                    "wrong-value",
                    format!("`{other}` and `{person}` have one key, and one person is one voice"),
                )
                .hint("name the key once, by the person who holds it; each person has a key of their own");
        }
        let scope = label.into_iter().map(|(label, values)| (label, values.into_set())).collect();
        let groups = known(groups, approvers);
        // Who is in none of them has no say where a level names nobody, either.
        let outside = approvers.is_some() && groups.is_empty();
        found.insert(person, DecisionKey { key, groups, outside, scope });
    }
    found
}

/// Groups with where each has a say. Where the configuration names approvers, nobody else is one.
fn known(
    groups: BTreeSet<String>,
    approvers: Option<&BTreeMap<String, Vec<LabelScope>>>,
) -> BTreeMap<String, Vec<LabelScope>> {
    let Some(named) = approvers else {
        return groups.into_iter().map(|group| (group, vec![LabelScope::new()])).collect();
    };
    groups.into_iter().filter_map(|group| Some((group.clone(), named.get(&group)?.clone()))).collect()
}
