//! Which changes of a target wait for a person's word, and whose: `spec.approval`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::model::addressee::LabelScope;
use crate::model::ids::Digest;
use crate::model::ids::EntitlementName;
use crate::model::ids::RequestId;
use crate::model::origin::Origin;
use crate::model::request::Word;
use crate::model::target::MailTemplate;

/// `spec.approval` of a target, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Kinds of changes that become requests.
    pub gates: BTreeSet<Gate>,
    /// Which grants [`Gate::Grant`] is about.
    pub grants: GatedGrants,
    /// Whom it is about: everybody else passes unasked. `None` asks for everybody.
    pub when: Option<When>,
    /// Conditions that were accepted before and act beside `when` while nobody released the new one: it is about
    /// whoever meets any of them. Each is judged for itself, as it would be alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted_when: Vec<When>,
    /// What accepts a request without a person, in order; the first that holds decides.
    pub rules: Vec<AcceptRule>,
    /// Fields of a user (`email`, `attributes.phone`) whose change makes a refused or expired request
    /// wait anew. Empty: a refusal stands until a person reopens it.
    pub reopen_on: BTreeSet<String>,
    /// What is shown beside a request.
    pub checks: BTreeSet<Check>,
    /// The label of users (a folder's code) by which requests are found and rights are given. Where it
    /// is set, whoever decides has a right that names this label.
    pub scope_label: Option<String>,
    /// The label of users that names who wrote their document; that person does not decide about it.
    pub author_label: Option<String>,
    /// Who decides, in sequence; never empty.
    pub levels: Vec<Level>,
    /// Who may reopen what was refused or expired, while nobody released that others may; empty: whoever has the right
    /// for the user. `None`: whoever has a say at any level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reopen_by: Option<BTreeSet<Party>>,
    /// How long a request waits; `None`: for ever.
    pub expires: Option<Duration>,
    /// How often those whose turn it is are reminded; `None`: never.
    pub remind_every: Option<Duration>,
    /// How soon after its acceptance a change is to be made; what takes longer is counted as late.
    pub within: Duration,
    /// How those whose turn it is are written to. Not written where it says nothing: a version that knows of it must
    /// give a document without it the hash that one before it gave.
    #[serde(default, skip_serializing_if = "TurnMail::is_silent")]
    pub mail: TurnMail,
    /// Where the block stands.
    pub origin: Origin,
}

impl Approval {
    /// The outer promise where a document states none.
    pub const WITHIN: Duration = Duration::from_hours(24);
    /// The label that names a document's writer where a document states none.
    pub const AUTHOR_LABEL: &'static str = "author";

    /// Asks about nothing; what was asked before, anybody with the right decides.
    pub fn ungated() -> Self {
        Self {
            gates: BTreeSet::new(),
            grants: GatedGrants::All,
            when: None,
            accepted_when: Vec::new(),
            rules: Vec::new(),
            reopen_on: BTreeSet::new(),
            checks: BTreeSet::new(),
            scope_label: None,
            author_label: Some(Self::AUTHOR_LABEL.to_owned()),
            levels: vec![Level::anybody()],
            reopen_by: None,
            expires: None,
            remind_every: None,
            within: Self::WITHIN,
            mail: TurnMail::default(),
            origin: Origin { file: "".into(), line: 0, what: "".into() },
        }
    }
}

/// A `Decision` document whose signature is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// `metadata.name`
    pub name: String,
    /// Who, as in the audit log, with what was signed: one document is good once.
    pub by: String,
    /// The person behind it.
    pub person: String,
    /// Groups they are in, with where each of them has a say.
    pub groups: BTreeMap<String, Vec<LabelScope>>,
    /// Whether the configuration names approvers, and no group of theirs among them.
    pub outside: bool,
    /// About which users they decide.
    pub scope: LabelScope,
    /// About which request.
    pub request: RequestId,
    /// What was shown.
    pub digest: Digest,
    /// What is said.
    pub word: Word,
    /// Why.
    pub reason: Option<String>,
    /// Where the document stands.
    pub origin: Origin,
}

/// The mail to those whose turn it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnMail {
    /// What people call the target; empty: its name.
    pub title: String,
    /// Names of `Template` documents, the first of which is for every language that no other is for; empty:
    /// rosterd's own words.
    pub names: Vec<String>,
    /// Those documents, in the same order.
    pub templates: Vec<MailTemplate>,
}

impl TurnMail {
    fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}

/// What of a block says who is asked about what: it gets looser by a person's release alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asks {
    /// Kinds of changes that become requests.
    pub gates: BTreeSet<Gate>,
    /// Which grants [`Gate::Grant`] is about.
    pub grants: GatedGrants,
    /// Whom it is about: who meets one of these conditions; empty: everybody.
    pub when: BTreeSet<String>,
    /// What accepts without a person: names and conditions.
    pub rules: BTreeSet<(String, String)>,
    /// What reopens a refusal without a person.
    #[serde(default)]
    pub reopen_on: BTreeSet<String>,
    /// The label by which rights are given.
    pub scope_label: Option<String>,
    /// The label that names who wrote a document.
    pub author_label: Option<String>,
    /// Who decides.
    pub levels: Vec<Level>,
    /// Who reopens, where that is not whoever has a say at any level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reopen_by: Option<BTreeSet<Party>>,
}

impl Asks {
    /// Who may reopen what was refused or expired; empty: whoever has the right for the user.
    pub fn reopeners(&self) -> BTreeSet<Party> {
        self.reopen_by.clone().unwrap_or_else(|| Self::with_a_say(&self.levels))
    }

    /// Whoever has a say at one of these levels; empty: whoever has the right for the user.
    pub fn with_a_say(levels: &[Level]) -> BTreeSet<Party> {
        if levels.iter().any(|level| level.any_of.is_empty()) {
            return BTreeSet::new();
        }
        levels.iter().flat_map(Level::everybody).collect()
    }
}

impl From<&Approval> for Asks {
    fn from(approval: &Approval) -> Self {
        let rule = |rule: &AcceptRule| (rule.name.clone(), rule.when.condition.clone());
        Self {
            gates: approval.gates.clone(),
            grants: approval.grants.clone(),
            when: approval.when.iter().chain(&approval.accepted_when).map(|when| when.condition.clone()).collect(),
            rules: approval.rules.iter().map(rule).collect(),
            reopen_on: approval.reopen_on.clone(),
            scope_label: approval.scope_label.clone(),
            author_label: approval.author_label.clone(),
            levels: approval.levels.clone(),
            reopen_by: approval.reopen_by.clone(),
        }
    }
}

/// One entry of `gates`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// A new account.
    Create,
    /// An existing account that becomes a user's.
    Adopt,
    /// An account that gets active again, or is had back from its deletion.
    Reactivate,
    /// Entitlements given to a living account.
    Grant,
}

impl Gate {
    /// Every gate: what `gates` is where a document names none.
    pub const ALL: [Self; 4] = [Self::Create, Self::Adopt, Self::Reactivate, Self::Grant];

    /// The word in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Adopt => "adopt",
            Self::Reactivate => "reactivate",
            Self::Grant => "grant",
        }
    }
}

/// Which grants the gate `grant` is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GatedGrants {
    /// Every one.
    All,
    /// Those of these words, and with `privileged` every one that is marked so in the catalogue.
    Only {
        /// Words of the catalogue.
        entitlements: BTreeSet<EntitlementName>,
        /// Whether privileged ones are meant as well.
        privileged: bool,
    },
}

/// One entry of `rules`: a request for whose user the condition holds is accepted by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptRule {
    /// Its name, for "who decided".
    pub name: String,
    /// Whom it accepts.
    pub when: When,
}

/// A condition over `user`, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    /// The expression.
    pub condition: String,
    /// Its line.
    pub origin: Origin,
}

/// One entry of `checks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Nobody else of the same scope has a mail of this domain.
    EmailDomain,
    /// Another user or account has nearly the same name.
    NearDuplicate,
    /// A user of another scope has the same mail.
    SameEmail,
}

impl Check {
    /// Every check.
    pub const ALL: [Self; 3] = [Self::EmailDomain, Self::NearDuplicate, Self::SameEmail];

    /// The word in documents and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EmailDomain => "email-domain",
            Self::NearDuplicate => "near-duplicate",
            Self::SameEmail => "same-email",
        }
    }
}

/// One entry of `levels`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Who may decide here; empty: whoever has the right `approver` for the user.
    pub any_of: BTreeSet<Party>,
    /// How many different people must accept; one refusal is enough.
    pub quorum: usize,
    /// Who else may decide once it takes too long.
    pub escalate: Option<Escalation>,
}

impl Level {
    /// Whoever may have a say here, also those who join late; empty: whoever has the right for the user.
    pub fn everybody(&self) -> BTreeSet<Party> {
        let to = self.escalate.iter().filter(|_| !self.any_of.is_empty()).flat_map(|escalation| &escalation.to);
        self.any_of.iter().chain(to).cloned().collect()
    }

    /// One person with the right for the user.
    pub fn anybody() -> Self {
        Self { any_of: BTreeSet::new(), quorum: 1, escalate: None }
    }
}

/// `escalate` of a level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// How long the level has for itself.
    pub after: Duration,
    /// Who joins it then.
    pub to: BTreeSet<Party>,
}

/// Somebody who may decide. Who is in a group the operator's configuration and tokens say, never a
/// manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// `group:NAME`
    Group(String),
    /// `person:SUBJECT`
    Person(String),
}

impl Party {
    /// Stands where nobody decides whom both the accepted document and the newest one name.
    pub fn nobody() -> Self {
        Self::Person("nobody until a release".to_owned())
    }

    /// From the word in documents.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        let name = name.trim();
        match kind {
            _ if name.is_empty() => None,
            "group" => Some(Self::Group(name.to_owned())),
            "person" => Some(Self::Person(name.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Person(name) => write!(f, "person:{name}"),
        }
    }
}
