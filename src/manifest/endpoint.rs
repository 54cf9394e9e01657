//! `environments` of targets: which block is used, and that no secret stands in any.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value as Json;

use crate::manifest::combine::Allowed;
use crate::manifest::located::Located;
use crate::manifest::mask;
use crate::manifest::report::Report;
use crate::manifest::scalar;
use crate::manifest::scalar::Scalar;
use crate::manifest::suggest;
use crate::manifest::tree::Tree;
use crate::manifest::tree::Value;
use crate::manifest::words;
use crate::model::node::Node;

/// The block that is used, by name.
pub(crate) fn choose(
    environment: Option<&Located<String>>,
    blocks: &[&str],
    spec: &Tree<'_>,
    report: &mut Report<'_>,
) -> Option<String> {
    match (environment, blocks) {
        (Some(name), _) if blocks.contains(&name.as_str()) => {
            words::name(name, name.place, "an environment", report).then(|| name.value.clone())
        }
        (Some(name), []) => {
            report
                .add(
                    name.place,
                    "unknown-environment",
                    format!("unknown environment `{}`: the target has no `environments`", name.value),
                )
                .hint(format!("add `environments: {{ {}: {{ url: ... }} }}`, or take `environment` out", name.value));
            None
        }
        (Some(name), _) => {
            report
                .add(name.place, "unknown-environment", format!("unknown environment `{}`", name.value))
                .hint(suggest::one_of(name, blocks.iter().copied()));
            None
        }
        (None, []) => Some("default".to_owned()),
        (None, [only]) => Some((*only).to_owned()),
        (None, _) => {
            let place = spec.get("environments").map_or(spec.place, |blocks| blocks.place);
            report
                .add(
                    place,
                    "missing-field",
                    "the field `environment` is missing: there are several blocks to choose from",
                )
                .hint(suggest::one_of("", blocks.iter().copied()));
            None
        }
    }
}

/// The chosen block, with the place of each value.
pub(crate) fn block(spec: &Tree<'_>, environment: &str) -> Node {
    match spec.get("environments").and_then(|blocks| blocks.get(environment)) {
        Some(tree) => node(tree),
        None => Node { value: Json::Object(serde_json::Map::new()), lines: BTreeMap::new() },
    }
}

/// A tree as a node that higher floors read.
pub fn node(tree: &Tree<'_>) -> Node {
    let mut lines = BTreeMap::new();
    let value = json(tree, &mut String::new(), &mut lines);
    Node { value, lines }
}

fn json(tree: &Tree<'_>, pointer: &mut String, lines: &mut BTreeMap<String, u32>) -> Json {
    lines.insert(pointer.clone(), tree.place.line);
    let outer = pointer.len();
    let mut child = |part: &str, tree: &Tree<'_>| {
        pointer.push('/');
        pointer.push_str(&part.replace('~', "~0").replace('/', "~1"));
        let value = json(tree, pointer, lines);
        pointer.truncate(outer);
        value
    };
    match &tree.value {
        Value::Scalar { text, quoted } => match scalar::resolve(text, *quoted) {
            Ok(Scalar::Null) => Json::Null,
            Ok(Scalar::Bool(value)) => value.into(),
            Ok(Scalar::Unsigned(number)) => number.into(),
            Ok(Scalar::Signed(number)) => number.into(),
            Ok(Scalar::Float(number)) => number.into(),
            Ok(Scalar::Text(text)) => text.into(),
            Err(_) => text.as_ref().into(),
        },
        Value::List(items) => items.iter().enumerate().map(|(at, item)| child(&at.to_string(), item)).collect(),
        Value::Map(entries) => {
            Json::Object(entries.iter().map(|(key, value)| (key.text.to_string(), child(&key.text, value))).collect())
        }
    }
}

/// Checks the settings and all blocks for secrets, and the block in use for where it leads.
pub(crate) fn check(spec: &Tree<'_>, chosen: Option<&str>, allowed: Allowed, report: &mut Report<'_>) {
    let settings = spec.get("connector");
    let blocks = spec.get("environments");
    for tree in settings.into_iter().chain(blocks) {
        secrets(tree, None, false, allowed, report);
    }
    for (key, _) in blocks.into_iter().flat_map(Tree::entries).flat_map(|(_, block)| block.entries()) {
        if key.text == "launch" {
            report
                .add(key.place, "unsupported-field", "this version of rosterd does not have `launch` yet")
                .hint("take it out");
        }
    }
    let block = chosen.and_then(|name| blocks.and_then(|blocks| blocks.get(name)));
    if matches!(allowed, Allowed::Loopback) {
        for tree in settings.into_iter().chain(block) {
            loopback(tree, report);
        }
    }
}

/// Keys under `auth` that hold no credential.
const HARMLESS: [&str; 13] = [
    "username", "user", "name", "header", "clientId", "scope", "scopes", "tokenUrl", "url", "type", "audience",
    "realm", "scheme",
];

fn secrets(tree: &Tree<'_>, key: Option<&str>, inside: bool, allowed: Allowed, report: &mut Report<'_>) {
    let inside_now = inside || key.is_some_and(mask::is_secret_key);
    match &tree.value {
        Value::Scalar { text, .. } => {
            let credential = inside_now && !key.is_some_and(|key| HARMLESS.contains(&key) && !mask::is_secret_key(key));
            if credential && !tree.is_blank() || has_user_part(text) {
                report
                    .add(tree.place, "literal-secret", "a credential stands here in so many words")
                    .hint("write `{ secret: NAME }`, bind NAME in `rosterd.yaml`, and change the credential: whoever can read the file has it");
            }
        }
        Value::List(items) => {
            for item in items {
                secrets(item, key, inside, allowed, report);
            }
        }
        Value::Map(entries) => {
            let reference = entries.iter().find(|(key, _)| inside_now && mask::is_reference(&key.text));
            match reference {
                Some((word, name)) => self::reference(&word.text, name, entries.len(), allowed, report),
                None => {
                    for (key, value) in entries {
                        secrets(value, Some(&key.text), inside_now, allowed, report);
                    }
                }
            }
        }
    }
}

fn reference(word: &str, name: &Tree<'_>, entries: usize, allowed: Allowed, report: &mut Report<'_>) {
    let only_tried = matches!(allowed, Allowed::Loopback);
    if word == "file" || word == "env" && !only_tried {
        report
            .add(
                name.place,
                "secret-not-bound",
                format!("`{{ {word}: ... }}` does not say which addresses may have the secret"),
            )
            .hint("write `{ secret: NAME }`, and bind NAME to its origins under `secrets:` of `rosterd.yaml`");
    } else if entries != 1 || !name.text().is_some_and(mask::is_reference_name) {
        report
            .add(name.place, "literal-secret", format!("`{word}` takes a name, and this does not look like one"))
            .hint("write the name of the secret, like `{ secret: collections }`, and never the secret itself");
    }
}

/// `scheme://user:password@host`
fn has_user_part(text: &str) -> bool {
    let authority = text.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    authority.is_some_and(|authority| authority.contains('@'))
}

fn loopback(tree: &Tree<'_>, report: &mut Report<'_>) {
    match &tree.value {
        Value::Scalar { text, .. } => {
            if text.contains("://") && !is_loopback(text) {
                report
                    .add(
                        tree.place,
                        "not-loopback",
                        "a target in a folder that is tried out leads away from this machine",
                    )
                    .hint("use a loopback address, or put the target where `include:` of a `rosterd.yaml` finds it");
            }
        }
        Value::List(items) => {
            for item in items {
                loopback(item, report);
            }
        }
        Value::Map(entries) => {
            for (_, value) in entries {
                loopback(value, report);
            }
        }
    }
}

pub(crate) fn is_loopback(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    // Anything stranger than a plain scheme is not trusted.
    if scheme.is_empty() || !scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')) {
        return false;
    }
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.contains('@') {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for url in ["http://127.0.0.1:9001/scim", "https://localhost", "http://[::1]:80/", "ldap://127.3.2.1"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "http://127.0.0.1.evil.example/",
            "http://localhost.evil.example",
            "http://localhost@evil.example/",
            "http://evil.example\\@localhost/",
            "https://10.0.0.1",
            "http://[::2]/",
            "://localhost",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
