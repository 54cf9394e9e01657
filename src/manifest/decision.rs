//! `Decision` documents: a person's signed word about one request, where the operator allows them.
//!
//! What is signed is one line: the fields of `spec` but the signature, as JSON with sorted keys.

use std::collections::BTreeMap;

use chrono::DateTime;
use ring::digest::SHA256;
use ring::digest::digest;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::manifest::Problem;
use crate::manifest::combine;
use crate::manifest::decode::decode;
use crate::manifest::document;
use crate::manifest::document::Kind;
use crate::manifest::document::Metadata;
use crate::manifest::file::OperatorDocument;
use crate::manifest::located::Located;
use crate::manifest::merge::Targets;
use crate::manifest::references::Excused;
use crate::manifest::report::Report;
use crate::manifest::role;
use crate::manifest::sshsig::PublicKey;
use crate::manifest::suggest;
use crate::manifest::words;
use crate::model::addressee::LabelScope;
use crate::model::approval::Approval;
use crate::model::approval::Level;
use crate::model::approval::Party;
use crate::model::approval::Signed;
use crate::model::ids::TargetName;
use crate::model::origin::Origin;
use crate::model::request::Word;

/// What signatures are made for: `ssh-keygen -Y sign -n rosterd`.
pub const NAMESPACE: &str = "rosterd";
/// What becomes wrong with a decision by what others do: a key that is taken away, a target that goes. It
/// is told, the word does not count, and nobody else's access waits for it.
const DROPPED: [&str; 3] = ["unknown-key", "bad-signature", "unknown-target"];
/// The key's holder decides about nobody there. It is told, and the word stays: while a looser document waits for a
/// release the accepted one asks, and may ask them.
const NO_SAY: &str = "no-say";
/// Bytes of a hash that name a decision.
const NAMED_BY: usize = 8;

/// Whose signed decisions are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionKey {
    /// What they sign by.
    pub key: PublicKey,
    /// Groups they are in, with where each of them has a say.
    pub groups: BTreeMap<String, Vec<LabelScope>>,
    /// Whether the configuration names approvers, and no group of theirs among them.
    pub outside: bool,
    /// About which users they decide.
    pub scope: LabelScope,
}

/// A person's signed word about one request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Decision")]
pub(crate) struct DecisionDocument {
    /// `rosterd.dev/v1`
    #[expect(dead_code, reason = "checked before the document is typed")]
    api_version: Option<String>,
    /// `Decision`
    #[expect(dead_code, reason = "checked before the document is typed")]
    kind: Option<String>,
    metadata: Metadata,
    spec: DecisionSpec,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DecisionSpec {
    /// Where the request waits.
    target: Located<String>,
    /// The request, as `requests list` names it.
    request: Located<String>,
    /// The digest that was shown with it.
    digest: Located<String>,
    /// What is said.
    decision: DecisionWord,
    /// Why; a refusal demands it.
    reason: Option<Located<String>>,
    /// Who says it: a name under `decisionsFrom.keys`.
    by: Located<String>,
    /// When it was said.
    at: Located<String>,
    /// What `ssh-keygen -Y sign` made.
    signature: Located<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum DecisionWord {
    Accept,
    Refuse,
}

/// What somebody says about a request.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// Where it waits.
    pub target: &'a str,
    /// Which.
    pub request: &'a str,
    /// What was shown.
    pub digest: &'a str,
    /// What is said.
    pub word: Word,
    /// Why.
    pub reason: Option<&'a str>,
    /// Who says it.
    pub by: &'a str,
    /// When.
    pub at: &'a str,
}

impl Said<'_> {
    /// The line that is signed, with its end.
    pub fn line(&self) -> String {
        let Said { target, request, digest, word, reason, by, at } = *self;
        let fields = [
            ("target", Some(target)),
            ("request", Some(request)),
            ("digest", Some(digest)),
            ("decision", Some(word.as_str())),
            ("reason", reason),
            ("by", Some(by)),
            ("at", Some(at)),
        ];
        let fields: BTreeMap<&str, &str> =
            fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        format!("{}\n", serde_json::json!(fields))
    }

    /// The whole document, with what was signed of it.
    pub fn document(&self, signature: &str) -> String {
        let Said { target, request, digest, word, reason, by, at } = *self;
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let reason = reason.map(|reason| format!("  reason: {}\n", text(reason))).unwrap_or_default();
        let signature = signature.trim().lines().fold(String::new(), |text, line| text + "    " + line + "\n");
        format!(
            "apiVersion: rosterd.dev/v1\nkind: Decision\nmetadata: {{ name: {} }}\nspec:\n  target: {}\n  request: {}\n  \
             digest: {}\n  decision: {}\n{reason}  by: {}\n  at: {}\n  signature: |\n{signature}",
            text(&format!("{}-{request}-{}", word.as_str(), named(&self.line()))),
            text(target),
            text(request),
            text(digest),
            word.as_str(),
            text(by),
            text(at),
        )
    }
}

/// The signed words about the requests of each target; tells what is wrong with them.
pub(crate) fn read_all(
    documents: &[&OperatorDocument],
    keys: &BTreeMap<String, DecisionKey>,
    targets: &Targets,
    excused: &Excused<'_>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<TargetName, Vec<Signed>> {
    if keys.is_empty() {
        refuse(documents, problems);
        return BTreeMap::new();
    }
    let mut names: BTreeMap<String, Vec<Origin>> = BTreeMap::new();
    let mut found: Vec<(String, Signed)> = Vec::new();
    for document in documents {
        let mut report = Report::new(vec![&document.source]);
        let read = read(document, keys, targets, excused, &mut report);
        let told = report.into_problems();
        let read = read.filter(|_| told.iter().all(|problem| problem.code == NO_SAY));
        let alone = |problem: &Problem| DROPPED.contains(&problem.code) || problem.code == NO_SAY;
        problems.extend(told.into_iter().map(|problem| Problem { drops_document: alone(&problem), ..problem }));
        if let Some((target, signed)) = read {
            names.entry(signed.name.clone()).or_default().push(signed.origin.clone());
            found.push((target, signed));
        }
    }
    for (name, origins) in names.iter().filter(|(_, origins)| origins.len() > 1) {
        combine::repeated(Kind::Decision.as_str(), name, &origins.iter().collect::<Vec<_>>(), problems);
    }
    found.sort_by(|left, right| left.1.name.cmp(&right.1.name));
    let mut words: BTreeMap<TargetName, Vec<Signed>> = BTreeMap::new();
    for (target, signed) in found {
        // Also where the document asks nobody: until that is released, the accepted one asks.
        if let Some(found) = targets.targets.iter().find(|found| found.name.as_str() == target) {
            words.entry(found.name.clone()).or_default().push(signed);
        }
    }
    words
}

fn read(
    document: &OperatorDocument,
    keys: &BTreeMap<String, DecisionKey>,
    targets: &Targets,
    excused: &Excused<'_>,
    report: &mut Report<'_>,
) -> Option<(String, Signed)> {
    let DecisionDocument { metadata, spec, .. } = decode(&document.tree, report)?;
    let name = role::name(&metadata, &document.tree, "a decision", report)?;
    let DecisionSpec { target, request, digest, decision, reason, by, at, signature } = spec;
    if !targets.declared.contains(&target.value) && !excused.has(&target.value) {
        report
            .add(target.place, "unknown-target", format!("unknown target `{}`", target.value))
            .hint(suggest::one_of(&target.value, targets.declared.iter().map(String::as_str)));
    }
    let word = match decision {
        DecisionWord::Accept => Word::Accept,
        DecisionWord::Refuse => Word::Refuse,
    };
    if let Some(reason) = &reason {
        words::line(&reason.value, reason.place, "a reason", report);
    } else if word == Word::Refuse {
        report
            .add(request.place, "missing-field", "a refusal demands a reason")
            .hint("add `reason:`, and sign it anew");
    }
    if DateTime::parse_from_rfc3339(&at.value).is_err() {
        report
            .add(at.place, "bad-time", "this is no second with its offset")
            .hint("write it like `2026-11-22T12:00:00Z`");
    }
    let Some(key) = keys.get(&by.value) else {
        report
            .add(by.place, "unknown-key", format!("the configuration has no key of `{}`", by.value))
            .hint("the operator adds it under `decisionsFrom: { keys: ... }` of rosterd.yaml");
        return None;
    };
    let reason = reason.map(|reason| reason.value);
    let (target, request, digest) = (target.value, request.value, digest.value);
    let said = Said {
        target: &target,
        request: &request,
        digest: &digest,
        word,
        reason: reason.as_deref(),
        by: &by.value,
        at: &at.value,
    };
    let line = said.line();
    if let Err(why) = key.key.verify(&signature.value, NAMESPACE, line.as_bytes()) {
        report
            .add(signature.place, "bad-signature", format!("the signature is not good: {why}"))
            .hint("`rosterd requests sign` writes the document anew");
        return None;
    }
    let asks = targets.targets.iter().find(|found| found.name.as_str() == target);
    if let Some(why) = asks.and_then(|target| no_say(target.approval.as_ref()?, key, &by.value)) {
        report.add(by.place, NO_SAY, format!("what `{}` signs counts nowhere in `{target}`: {why}", by.value)).hint(
            "the operator gives the key `groups` or a `label` under `decisionsFrom: { keys: ... }` of rosterd.yaml",
        );
    }
    let origin = document::origin(Kind::Decision, name, &document.source.file);
    let signed = Signed {
        name: name.value.clone(),
        by: format!("signed:{}:{}", by.value, named(&line)),
        person: by.value.clone(),
        groups: key.groups.clone(),
        outside: key.outside,
        scope: key.scope.clone(),
        request: request.as_str().into(),
        digest: digest.as_str().into(),
        word,
        reason,
        origin,
    };
    Some((target, signed))
}

/// Why the holder of a key has no say there, whoever it is about; `None`: they may have.
fn no_say(approval: &Approval, key: &DecisionKey, person: &str) -> Option<String> {
    let asks_them = |level: &Level| {
        let parties = level.everybody();
        let is_them = |party: &Party| match party {
            Party::Group(group) => key.groups.contains_key(group),
            Party::Person(named) => named == person,
        };
        if parties.is_empty() { !key.outside } else { parties.iter().any(is_them) }
    };
    if !approval.levels.iter().any(asks_them) {
        return Some("no level there asks them, and their key is in no group that one asks".to_owned());
    }
    let label = approval.scope_label.as_ref()?;
    let names_it = |scope: &LabelScope| scope.contains_key(label);
    let somewhere = names_it(&key.scope) || key.groups.values().flatten().any(names_it);
    (!somewhere).then(|| format!("whoever decides there has a right for some `{label}`, and their key names none"))
}

/// What a decision is known by, whatever its document is called.
fn named(line: &str) -> String {
    let hash = digest(&SHA256, line.as_bytes());
    hash.as_ref().iter().take(NAMED_BY).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The operator takes no signed decisions.
fn refuse(documents: &[&OperatorDocument], problems: &mut Vec<Problem>) {
    for document in documents {
        let mut report = Report::new(vec![&document.source]);
        let place = document.tree.get("kind").map_or(document.tree.place, |kind| kind.place);
        report.add(place, "unsupported-kind", "signed decisions are not taken here").hint(
            "the operator allows them by `decisionsFrom: { keys: { alice: \"ssh-ed25519 ...\" } }` in rosterd.yaml",
        );
        problems.extend(report.into_problems());
    }
}
