//! `spec.approval` of targets.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::expr::Condition;
use crate::expr::Names;
use crate::manifest::expression;
use crate::manifest::located::Located;
use crate::manifest::report::Report;
use crate::manifest::suggest;
use crate::manifest::text::Place;
use crate::manifest::welcome::Names as TemplateNames;
use crate::manifest::words;
use crate::model::approval::AcceptRule;
use crate::model::approval::Approval;
use crate::model::approval::Check;
use crate::model::approval::Escalation;
use crate::model::approval::Gate;
use crate::model::approval::GatedGrants;
use crate::model::approval::Level;
use crate::model::approval::Party;
use crate::model::approval::TurnMail;
use crate::model::approval::When;
use crate::model::ids::EntitlementName;
use crate::model::origin::Origin;
use crate::model::request::voice;
use crate::model::target::Entitlement;

/// More people than anybody asks about one account.
const MOST_QUORUM: usize = 20;

type Catalogue = BTreeMap<EntitlementName, Entitlement>;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ApprovalEntry {
    /// Kinds of changes that become requests; all of them by default.
    gates: Option<Located<Vec<GateWord>>>,
    /// Which grants the gate `grant` is about; all of them by default.
    grants: Option<Located<GrantsEntry>>,
    /// A condition over `user`: only these users' changes become requests.
    when: Option<Located<String>>,
    /// What accepts a request by itself, in order.
    #[serde(default)]
    rules: Vec<Located<RuleEntry>>,
    /// Fields of the user whose change makes a refused request wait anew: `email`, `attributes.phone`.
    #[serde(default)]
    reopen_on: Vec<Located<String>>,
    /// What is shown beside a request.
    #[serde(default)]
    checks: BTreeSet<CheckWord>,
    /// The label of users by which requests are found and rights are given.
    scope_label: Option<Located<String>>,
    /// The label of users that names who wrote their document; `author` by default.
    author_label: Option<Located<String>>,
    /// Who decides, in sequence; whoever has the right `approver` for the user by default.
    levels: Option<Located<Vec<Located<LevelEntry>>>>,
    /// How long a request waits: `14d`.
    expires: Option<Located<String>>,
    /// How often those whose turn it is are reminded: `24h`.
    remind_every: Option<Located<String>>,
    /// How soon after its acceptance a change is to be made; `24h` by default.
    within: Option<Located<String>>,
    /// Names of `Template` documents for the mail to those whose turn it is: one for each language. The first
    /// is also for every other one. Left out, rosterd has words of its own.
    template: Option<TemplateNames>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum GateWord {
    Create,
    Adopt,
    Reactivate,
    Grant,
}

impl GateWord {
    fn gate(self) -> Gate {
        match self {
            Self::Create => Gate::Create,
            Self::Adopt => Gate::Adopt,
            Self::Reactivate => Gate::Reactivate,
            Self::Grant => Gate::Grant,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum CheckWord {
    EmailDomain,
    NearDuplicate,
    SameEmail,
}

impl CheckWord {
    fn check(self) -> Check {
        match self {
            Self::EmailDomain => Check::EmailDomain,
            Self::NearDuplicate => Check::NearDuplicate,
            Self::SameEmail => Check::SameEmail,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrantsEntry {
    /// Words of the catalogue.
    #[serde(default)]
    entitlements: Vec<Located<String>>,
    /// Every one that is marked `privileged`.
    #[serde(default)]
    privileged: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuleEntry {
    /// Its name, which stands where a person's would: `rule:NAME`.
    name: Located<String>,
    /// A condition over `user`.
    when: Located<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LevelEntry {
    /// `group:NAME` or `person:SUBJECT`; left out: whoever has the right for the user.
    any_of: Option<Located<Vec<Located<String>>>>,
    /// How many different people must accept; 1 by default.
    quorum: Option<Located<usize>>,
    /// Who else may decide once it takes too long.
    escalate: Option<EscalationEntry>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EscalationEntry {
    /// How long the level has for itself: `48h`.
    after: Located<String>,
    /// `group:NAME` or `person:SUBJECT`.
    to: Vec<Located<String>>,
}

/// The block of a target; everything that is wrong with it goes to the report.
pub(crate) fn convert(
    entry: Located<ApprovalEntry>,
    catalogue: &Catalogue,
    (title, target): (Option<&str>, &Origin),
    report: &mut Report<'_>,
) -> Approval {
    let Located { value: entry, place } = entry;
    if let Some(when) = &entry.when {
        expression::user_condition(when, report);
    }
    let grants = grants(entry.grants.as_ref(), catalogue, report);
    let at = |place: Place| Origin { line: place.line, ..target.clone() };
    let when = |when: Located<String>| When { origin: at(when.place), condition: when.value };
    let mail = TurnMail {
        title: title.unwrap_or_default().to_owned(),
        names: entry.template.map(TemplateNames::into_names).unwrap_or_default(),
        templates: Vec::new(),
    };
    let levels = entry.levels.map_or_else(|| vec![Level::anybody()], |entries| levels(entries, report));
    let label = |label: Option<Located<String>>, report: &mut Report<'_>| {
        label.filter(|label| words::name(label, label.place, "a label", report)).map(|label| label.value)
    };
    Approval {
        gates: gates(entry.gates.as_ref(), report),
        grants,
        when: entry.when.map(when),
        accepted_when: Vec::new(),
        reopen_by: None,
        rules: rules(entry.rules, when, report),
        reopen_on: reopen_on(entry.reopen_on, report),
        checks: entry.checks.into_iter().map(CheckWord::check).collect(),
        scope_label: label(entry.scope_label, report),
        author_label: label(entry.author_label, report).or_else(|| Some(Approval::AUTHOR_LABEL.to_owned())),
        levels,
        expires: entry.expires.and_then(|text| duration(&text, report)),
        remind_every: entry.remind_every.and_then(|text| duration(&text, report)),
        within: entry.within.and_then(|text| duration(&text, report)).unwrap_or(Approval::WITHIN),
        mail,
        origin: at(place),
    }
}

fn gates(entry: Option<&Located<Vec<GateWord>>>, report: &mut Report<'_>) -> BTreeSet<Gate> {
    let Some(entry) = entry else { return Gate::ALL.into() };
    if entry.is_empty() {
        report
            .add(entry.place, "wrong-value", "these gates let everything through")
            .hint("name what waits: `create`, `adopt`, `reactivate`, `grant`; or take `approval` out");
    }
    entry.iter().map(|word| word.gate()).collect()
}

fn grants(entry: Option<&Located<GrantsEntry>>, catalogue: &Catalogue, report: &mut Report<'_>) -> GatedGrants {
    let Some(entry) = entry else { return GatedGrants::All };
    let known = || catalogue.keys().map(EntitlementName::as_str);
    for word in &entry.entitlements {
        if !known().any(|known| known == word.value) {
            report
                .add(word.place, "unknown-entitlement", format!("unknown entitlement `{}`", word.value))
                .hint(suggest::one_of(word, known()));
        }
    }
    if entry.entitlements.is_empty() && !entry.privileged {
        report
            .add(entry.place, "wrong-value", "this is about no grant at all")
            .hint("name `entitlements`, write `privileged: true`, or take `grant` out of `gates`");
    }
    let asked = |word: &EntitlementName| entry.entitlements.iter().any(|asked| asked.value == word.as_str());
    let given: BTreeSet<_> = catalogue.iter().filter(|(word, _)| asked(word)).map(|(_, it)| &it.membership).collect();
    // By another word for the same group the same is given.
    let same = catalogue.iter().filter(|(_, it)| given.contains(&it.membership)).map(|(word, _)| word.clone());
    let entitlements = same.collect();
    GatedGrants::Only { entitlements, privileged: entry.privileged }
}

fn rules(
    entries: Vec<Located<RuleEntry>>,
    when: impl Fn(Located<String>) -> When,
    report: &mut Report<'_>,
) -> Vec<AcceptRule> {
    let mut named = BTreeSet::new();
    for entry in &entries {
        words::name(&entry.name, entry.name.place, "a rule", report);
        expression::user_condition(&entry.when, report);
        if !named.insert(entry.name.value.clone()) {
            report
                .add(entry.name.place, "duplicate-name", format!("there are two rules `{}`", entry.name.value))
                .hint("give one of them another name: it says who accepted");
        }
    }
    let rule = |entry: Located<RuleEntry>| AcceptRule { name: entry.value.name.value, when: when(entry.value.when) };
    entries.into_iter().map(rule).collect()
}

/// Fields are named as conditions name them, without `user.`.
fn reopen_on(entries: Vec<Located<String>>, report: &mut Report<'_>) -> BTreeSet<String> {
    for entry in &entries {
        if let Err(error) = Condition::compile(&format!("user.{} is defined", entry.value), &Names::user()) {
            report.add(entry.place, "unknown-field", format!("`{}` is no field of a user", entry.value)).hint(
                error.hint.map_or_else(
                    || "write `email`, `familyName` or `attributes.NAME`".to_owned(),
                    |hint| hint.replace("`user.", "`"),
                ),
            );
        }
    }
    entries.into_iter().map(|entry| entry.value).collect()
}

fn levels(entries: Located<Vec<Located<LevelEntry>>>, report: &mut Report<'_>) -> Vec<Level> {
    if entries.is_empty() {
        report
            .add(entries.place, "wrong-value", "nobody could decide: there is no level")
            .hint("write `levels: [ { anyOf: [group:NAME] } ]`, or take `levels` out: then whoever has the right may");
    }
    entries.value.into_iter().map(|entry| level(entry.value, report)).collect()
}

fn level(entry: LevelEntry, report: &mut Report<'_>) -> Level {
    let any_of = entry.any_of.map(|parties_named| {
        if parties_named.is_empty() {
            report
                .add(parties_named.place, "wrong-value", "nobody could decide at this level")
                .hint("name `group:NAME` or `person:SUBJECT`, or take `anyOf` out: then whoever has the right may");
        }
        parties(parties_named.value, report)
    });
    let any_of = any_of.unwrap_or_default();
    let quorum = entry.quorum.map_or(1, |quorum| {
        let voices = any_of.iter().map(|party| match party {
            Party::Person(person) => Some(voice(person)),
            Party::Group(_) => None,
        });
        let voices: BTreeSet<_> = voices.collect();
        let people = voices.len();
        let all_named = people > 0 && !voices.contains(&None) && entry.escalate.is_none();
        if !(1..=MOST_QUORUM).contains(&quorum.value) || (all_named && quorum.value > people) {
            let most = if all_named { people.min(MOST_QUORUM) } else { MOST_QUORUM };
            report
                .add(quorum.place, "wrong-value", "so many people can never have accepted")
                .hint(format!("write a number from 1 to {most}"));
        }
        quorum.value
    });
    let escalate = entry.escalate.and_then(|entry| {
        if entry.to.is_empty() {
            report.add(entry.after.place, "wrong-value", "this escalates to nobody").hint("name `to: [group:NAME]`");
        }
        Some(Escalation { after: duration(&entry.after, report)?, to: parties(entry.to, report) })
    });
    Level { any_of, quorum, escalate }
}

fn parties(entries: Vec<Located<String>>, report: &mut Report<'_>) -> BTreeSet<Party> {
    let mut found = BTreeSet::new();
    for entry in entries {
        match Party::parse(&entry) {
            Some(party) => drop(found.insert(party)),
            None => report
                .add(entry.place, "wrong-value", format!("`{}` names neither a group nor a person", entry.value))
                .hint("write `group:NAME`, or `person:SUBJECT` with the subject of their token"),
        }
    }
    found
}

fn duration(text: &Located<String>, report: &mut Report<'_>) -> Option<Duration> {
    let length = words::duration(text, "write it like `24h`", report)?;
    if length.is_zero() {
        report.add(text.place, "bad-duration", "this is no time at all").hint("write it like `24h`, or leave it out");
        return None;
    }
    Some(length)
}
