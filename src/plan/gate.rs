//! Which changes wait for a person's word (L12).
//!
//! Only what gives access is ever asked about: what takes access away, and what changes none, passes.
//! This says what is asked; what became of it is [`crate::plan::verdict`]'s.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::expr::Condition;
use crate::expr::Context;
use crate::expr::ExprError;
use crate::expr::Names;
use crate::model::approval::AcceptRule;
use crate::model::approval::Approval;
use crate::model::approval::Gate;
use crate::model::approval::GatedGrants;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::change::EntitlementChange;
use crate::model::ids::Digest;
use crate::model::ids::EntitlementName;
use crate::model::origin::Origin;
use crate::model::request::Asked;
use crate::model::request::Request;
use crate::model::request::Subject;
use crate::model::user::User;
use crate::plan::canonical;

/// What a target asks people about, with its conditions compiled.
#[derive(Debug, Default)]
pub struct Gatekeeper {
    approval: Option<Approval>,
    when: Vec<Condition>,
    rules: Vec<(AcceptRule, Condition)>,
}

/// Something that a change gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// About what.
    pub subject: Subject,
    /// What is asked for.
    pub asked: Asked,
    /// Whether the target asks people about it. What was refused waits all the same.
    pub gated: bool,
}

impl Gatekeeper {
    /// Compiles the conditions of a target.
    ///
    /// # Errors
    /// The first that is wrong; documents are checked when they are read.
    pub fn new(approval: Option<&Approval>) -> Result<Self, ExprError> {
        let Some(approval) = approval else { return Ok(Self::default()) };
        let compile = |source: &str| Condition::compile(source, &Names::user());
        let when = approval.when.iter().chain(&approval.accepted_when).map(|when| compile(&when.condition));
        let when = when.collect::<Result<_, ExprError>>()?;
        let rules = approval.rules.iter().map(|rule| Ok((rule.clone(), compile(&rule.when.condition)?)));
        let rules = rules.collect::<Result<_, ExprError>>()?;
        Ok(Self { approval: Some(approval.clone()), when, rules })
    }

    /// The block of the document.
    pub fn approval(&self) -> Option<&Approval> {
        self.approval.as_ref()
    }

    /// What a change gives: an account, or entitlements of a living one. Empty where it gives nothing.
    ///
    /// Entitlements that come with an account which is asked about are part of that request.
    pub fn asks(&self, change: &Change, user: Option<&User>) -> Vec<Ask> {
        if !gives(change) {
            return Vec::new();
        }
        let concerned = self.concerns(user);
        let asked = |action, entitlements| Asked { action, entitlements, origins: change.origins.to_vec() };
        let mut asks = Vec::new();
        let gate = gate_of(change.action);
        if let Some(gate) = gate {
            let entitlements = change.grant.iter().map(word_of).collect();
            asks.push(Ask {
                subject: Subject::Account,
                asked: asked(change.action, entitlements),
                gated: concerned && self.names(gate),
            });
        }
        let with_account = asks.first().is_some_and(|ask| ask.gated);
        for entry in &change.grant {
            let name = word_of(entry);
            let gated = !with_account && concerned && self.names(Gate::Grant) && self.is_gated(entry, &name);
            // With a new account or without: what is given is the same.
            let asked = asked(Action::Update, [name.clone()].into());
            asks.push(Ask { subject: Subject::Grant(name), asked, gated });
        }
        asks
    }

    /// The rule that accepts a request of this user by itself.
    pub fn accepted_by_rule(&self, user: &User) -> Option<&AcceptRule> {
        // A condition that cannot be evaluated accepts nothing.
        let holds = |condition: &Condition| condition.holds(&Context::of_user(user)).unwrap_or(false);
        self.rules.iter().find(|(_, condition)| holds(condition)).map(|(rule, _)| rule)
    }

    /// Why nobody, or somebody, is asked about a user, with the lines that say so; `None` where the target
    /// asks about nobody.
    pub fn why(&self, user: &User) -> Option<(String, Vec<Origin>)> {
        let approval = self.approval.as_ref()?;
        let gates = || {
            let words = approval.gates.iter().map(|gate| gate.as_str()).collect::<Vec<_>>().join(", ");
            format!("`approval` asks a person before it may {words}")
        };
        Some(match &approval.when {
            Some(when) if !self.concerns(Some(user)) => {
                let all = [when].into_iter().chain(&approval.accepted_when);
                let conditions: Vec<_> = all.clone().map(|when| when.condition.as_str()).collect();
                let conditions = conditions.join("; ");
                let words = format!("nobody is asked: `approval.when` does not hold for this user: {conditions}");
                (words, all.map(|when| when.origin.clone()).collect())
            }
            when => match self.accepted_by_rule(user) {
                Some(rule) => {
                    let words = format!("the rule `{}` accepts by itself: {}", rule.name, rule.when.condition);
                    (words, vec![rule.when.origin.clone()])
                }
                None => (gates(), vec![when.as_ref().map_or(&approval.origin, |when| &when.origin).clone()]),
            },
        })
    }

    /// Hashes of those fields of a user whose change makes a refused request wait anew.
    pub fn marks(&self, user: &User) -> BTreeMap<String, Digest> {
        let fields = self.approval.iter().flat_map(|approval| &approval.reopen_on);
        let context = Context::of_user(user);
        let mark = |field: &String| {
            let value = context.value(&format!("user.{field}")).unwrap_or_default();
            (field.clone(), canonical::digest_of(serde_json::json!({ "field": field, "value": value })))
        };
        fields.map(mark).collect()
    }

    /// A request that somebody or time ended just now: what reopens it is counted from here, not from when it was
    /// asked.
    pub fn marked(&self, request: Request, user: Option<&User>) -> Request {
        let marks = user.map(|user| self.marks(user));
        Request { marks: marks.unwrap_or_else(|| request.marks.clone()), ..request }
    }

    fn names(&self, gate: Gate) -> bool {
        self.approval.as_ref().is_some_and(|approval| approval.gates.contains(&gate))
    }

    /// Whether people are asked about this user. Where that cannot be told, they are.
    fn concerns(&self, user: Option<&User>) -> bool {
        if self.when.is_empty() {
            return self.approval.is_some();
        }
        let meets = |user: &User, when: &Condition| when.holds(&Context::of_user(user)).unwrap_or(true);
        user.is_none_or(|user| self.when.iter().any(|when| meets(user, when)))
    }

    fn is_gated(&self, entry: &EntitlementChange, name: &EntitlementName) -> bool {
        match self.approval.as_ref().map(|approval| &approval.grants) {
            None => false,
            Some(GatedGrants::All) => true,
            Some(GatedGrants::Only { entitlements, privileged }) => {
                entitlements.contains(name) || (*privileged && entry.privileged)
            }
        }
    }
}

/// Whether anybody may gain something by a change.
fn gives(change: &Change) -> bool {
    change.effect == Effect::Widens || change.active == Some(true) || !change.grant.is_empty()
}

fn gate_of(action: Action) -> Option<Gate> {
    match action {
        Action::Create => Some(Gate::Create),
        Action::Adopt => Some(Gate::Adopt),
        Action::Reactivate | Action::Restore => Some(Gate::Reactivate),
        Action::Update | Action::Narrow | Action::Disable | Action::Delete => None,
    }
}

/// The catalogue's word; one that left the catalogue goes by what it is in the target.
fn word_of(entry: &EntitlementChange) -> EntitlementName {
    entry.name.clone().unwrap_or_else(|| format!("{:?}", entry.membership).into())
}

/// What is left of a change without these subjects; `None`: nothing.
pub fn without(mut change: Change, held: &BTreeSet<Subject>) -> Option<Change> {
    if held.is_empty() {
        return Some(change);
    }
    if held.contains(&Subject::Account) {
        return None;
    }
    change.grant.edit(|grant| grant.retain(|entry| !held.contains(&Subject::Grant(word_of(entry)))));
    let empty = change.grant.is_empty() && change.fields.is_empty() && change.revoke.is_empty();
    let account = gate_of(change.action).is_some();
    if change.effect == Effect::Widens && !account && change.active != Some(true) && change.grant.is_empty() {
        // What is left gives nothing: it waits behind no widening, and counts for no limit of it.
        change.effect = Effect::Neutral;
    }
    (account || !empty || change.active.is_some()).then_some(change)
}

#[cfg(test)]
pub(in crate::plan) mod tests;
