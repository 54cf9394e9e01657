//! A system whose accounts are reconciled, as its operator document describes it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::model::account::Membership;
use crate::model::administrators::Administrators;
use crate::model::approval::Approval;
use crate::model::approval::Asks;
use crate::model::ids::EntitlementName;
use crate::model::ids::EnvironmentName;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::node::Node;
use crate::model::origin::Origin;
use crate::model::path::AttributePath;

/// One `Target` document merged over its `TargetDefaults`, checked.
///
/// Only the block of the chosen environment is kept: what stands in another
/// block never leaves the document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// `metadata.name`.
    pub name: TargetName,
    /// `metadata.labels`, for `targetSelector`.
    pub labels: BTreeMap<String, String>,
    /// The one key under `spec.connector`: `scim`, `directory`.
    pub connector: String,
    /// What stands under that key.
    pub settings: Node,
    /// Which block of `environments` is used; `default` where there is none.
    pub environment: EnvironmentName,
    /// That block: `url`, `auth`, ... Empty for an embedded target.
    pub endpoint: Node,
    /// Whether changes are made.
    pub mode: Mode,
    /// Who may have an account besides "some role grants it".
    pub scope: Scope,
    /// Condition over `account`: which accounts of a shared realm are this target's.
    pub partition: Option<String>,
    /// The closed catalogue.
    pub entitlements: BTreeMap<EntitlementName, Entitlement>,
    /// How accounts look and are found.
    pub account: AccountPolicy,
    /// When full cycles run; `None` leaves startup, manifest and manual triggers.
    pub schedule: Option<Schedule>,
    /// Limits on what may change.
    pub limits: Limits,
    /// Accounts that no user explains, and what does.
    pub exceptions: Vec<Exception>,
    /// When nothing but narrowing happens.
    pub freeze: Vec<Freeze>,
    /// What waits for a person's word; `None`: nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// What the person of a new account is told, and what lets them in; `None`: nothing is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub welcome: Option<Welcome>,
    /// Where the document stands.
    pub origin: Origin,
}

/// `spec.welcome`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// What people call the target, in mails.
    pub title: String,
    /// Names of `Template` documents, the first of which is for every language that no other is for.
    pub names: Vec<String>,
    /// Those documents, in the same order.
    pub templates: Vec<MailTemplate>,
    /// What lets a person in.
    pub credential: Credential,
    /// Where the block stands.
    pub origin: Origin,
}

/// `welcome.credential`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credential {
    /// A link that is good once.
    Link {
        /// Where the application that lets people in takes the token: it is put in the place of `TOKEN`.
        url: String,
        /// How long it is good.
        expires: Duration,
        /// How often it may be sent again.
        resend_at_most: u32,
    },
    /// A password that rosterd makes.
    Generated {
        /// How many characters.
        length: usize,
        /// Whether the target shall have it changed at the first sign-in.
        must_change: bool,
    },
    /// Single sign-on.
    Sso,
    /// Nothing that rosterd knows of.
    None,
}

/// A `Template` document: one mail in one language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailTemplate {
    /// `metadata.name`
    pub name: String,
    /// Its language, or language and region: `fr`, `en-GB`.
    pub locale: String,
    /// One line.
    pub subject: String,
    /// For every reader.
    pub text: String,
    /// For readers that show it.
    pub html: Option<String>,
    /// Where the document stands.
    pub origin: Origin,
}

/// `spec.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// No cycles.
    Suspended,
    /// Cycles that plan and write nothing.
    #[default]
    Observe,
    /// Cycles that write.
    Enforce,
}

/// `spec.scope`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Values of `userType` that may have an account; `None` admits all.
    pub user_types: Option<BTreeSet<String>>,
    /// Condition over `user`.
    pub when: Option<String>,
}

/// One word of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entitlement {
    /// What it is in the target.
    pub membership: Membership,
    /// Counted by the limit on privileged grants.
    pub privileged: bool,
    /// Words that nobody may hold together with this one.
    pub exclusive_with: BTreeSet<EntitlementName>,
}

/// `spec.account`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountPolicy {
    /// Keys tried in this order; the first that finds an account decides.
    pub match_keys: Vec<MatchKey>,
    /// Where ownership is written.
    pub mark: Mark,
    /// What to do about an unlinked account that matches.
    pub existing: Existing,
    /// The keys of `match_keys` by which `existing: adopt` may adopt.
    pub trusted_keys: Vec<MatchKey>,
    /// Whether the target folds ASCII letters in `userName` (RFC 7643 section 4.1.1: not case exact).
    pub fold_user_name: bool,
    /// Template of the user name.
    pub user_name: Mapping,
    /// Mapped attributes, `userName` apart.
    pub attributes: BTreeMap<AttributePath, Mapping>,
    /// Name patterns (`*` matches any run) of accounts that are never written.
    pub protected: Vec<String>,
    /// The user is there, no longer entitled.
    pub on_out_of_scope: Ending,
    /// The user is no longer in the source.
    pub on_gone: Ending,
    /// `false`: attributes are written at creation only.
    pub updates: bool,
    /// What becomes of somebody who comes back.
    pub regain: Regain,
    /// One user name opens at most so many values of an attribute.
    pub cardinality: Option<Cardinality>,
    /// Which memberships rosterd may take away.
    pub members: Members,
    /// Somebody else disabled or suspended an account.
    pub foreign_disable: ForeignDisable,
    /// Somebody else deleted an account.
    pub foreign_delete: ForeignDelete,
    /// What becomes of accounts that rosterd ended, after a while; `None`: they stay.
    #[serde(default)]
    pub deletion: Option<Deletion>,
    /// Switches of mails that the target sends: off while the access is ended, and on again with it.
    #[serde(default)]
    pub notifications: BTreeSet<AttributePath>,
    /// Where the target shows what still hangs on somebody, by kind.
    #[serde(default)]
    pub blockers: BTreeMap<String, Blocker>,
}

impl AccountPolicy {
    /// What is done about a difference that somebody else made at `path`.
    pub fn drift(&self, path: &AttributePath) -> Drift {
        let mapping =
            if *path == AttributePath::user_name() { Some(&self.user_name) } else { self.attributes.get(path) };
        mapping.map_or(Drift::Revert, |mapping| mapping.drift)
    }
}

/// `account.members`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Members {
    /// Those that it granted.
    #[default]
    Additive,
    /// Every membership of the catalogue that no grant gives.
    Exact,
}

/// `account.foreignDisable`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForeignDisable {
    /// It stays so, and is reported.
    #[default]
    Report,
    /// It is undone.
    Reactivate,
}

/// `account.foreignDelete`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForeignDelete {
    /// It stays so, and is reported.
    #[default]
    Report,
    /// The account is had back, or made anew.
    Recreate,
}

/// One key of `match`: a single path, or several that must all agree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MatchKey(pub Vec<AttributePath>);

/// Where the mark of ownership is written; its value is the record id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// Nowhere.
    None,
    /// `externalId` or another path.
    At(AttributePath),
}

/// `account.existing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Existing {
    /// A conflict, for a person.
    #[default]
    Refuse,
    /// A proposal that `link USER ACCOUNT` accepts.
    Ask,
    /// Linked when a trusted key found it, refused otherwise.
    Adopt,
}

/// `account.regain`: what becomes of somebody who comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Regain {
    /// That account is active again.
    #[default]
    Same,
    /// A person says so first.
    Ask,
}

/// How one attribute is computed and who owns it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    /// The value.
    pub value: MappingValue,
    /// Who owns it.
    pub own: Own,
    /// Value to value; one that is not in the table is not sent.
    pub translate: Option<BTreeMap<String, serde_json::Value>>,
    /// An absent input clears the attribute instead of leaving it alone.
    pub clear: bool,
    /// Hidden from shared artefacts.
    pub personal: bool,
    /// Hidden everywhere but in the target.
    pub sensitive: bool,
    /// What is done about a difference that somebody else made.
    pub drift: Drift,
    /// Where the mapping stands.
    pub origin: Origin,
}

/// The right-hand side of a mapping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MappingValue {
    /// A template over `user`, `grant`, `target`.
    Template(String),
    /// A value without templates in it.
    Literal(serde_json::Value),
}

/// `own` of a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Own {
    /// Written at creation and put back whenever it differs.
    #[default]
    Always,
    /// Written at creation, never after.
    Create,
    /// Written at creation and while the target has no value.
    IfEmpty,
}

/// `drift` of a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drift {
    /// The declared value is put back.
    #[default]
    Revert,
    /// It is told and left: the attribute is written at creation alone.
    Report,
    /// What the target holds is right until the declared value changes.
    Accept,
}

impl Drift {
    /// Every word, for metrics that show zero.
    pub const ALL: [Self; 3] = [Self::Revert, Self::Report, Self::Accept];

    /// The word used in manifests and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revert => "revert",
            Self::Report => "report",
            Self::Accept => "accept",
        }
    }
}

/// An account that no user of the snapshot explains, and what does: an `Exception` document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// `metadata.name`
    pub name: String,
    /// User name or id of the account. Never written, and the name is nobody else's.
    pub account: String,
    /// Who answers for it.
    pub owner: RecordId,
    /// Why it exists, in a person's words.
    pub reason: String,
    /// From then on it explains nothing: the account is reported again, and still never written.
    pub until: Option<DateTime<Utc>>,
    /// Where the document stands.
    pub origin: Origin,
}

/// What happens to an account whose user lost it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// Set inactive.
    #[default]
    Disable,
    /// Granted entitlements are taken away, the account stays active.
    Strip,
    /// Kept from giving access by the gentlest verb that the target has.
    Suspend,
    /// Set inactive at once, and deleted once a person released that.
    Delete,
    /// Only listed.
    List,
    /// Left as it is.
    Keep,
}

/// One kind of `account.blockers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// The attribute of the account that lists it.
    pub at: AttributePath,
    /// How long an account stays open for it; `None`: it is told, and the account is shut.
    pub wait: Option<Duration>,
}

/// `account.deleteAfter` and `account.deleteUnattended`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// How long an account has been ended, and its user without access, before it may be deleted.
    pub after: Duration,
    /// Whether that happens without a person's word about each.
    pub unattended: bool,
}

/// `account.cardinality` (S5.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cardinality {
    /// Key of `attributes` of users and of grants.
    pub attribute: String,
    /// How many different values one user may have.
    pub max: u32,
}

/// `spec.schedule`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schedule {
    /// Five-field cron in a time zone.
    Cron {
        /// The expression.
        cron: String,
        /// IANA name; `UTC` where none is given.
        time_zone: String,
    },
    /// A fixed interval.
    Every(Duration),
}

/// `spec.limits`: by effect, over time. An empty list is no limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// On narrowing by inference.
    pub narrow_inferred: Vec<Window>,
    /// On explicit narrowing.
    pub narrow_explicit: Vec<Window>,
    /// On creations, adoptions, reactivations and grants together.
    pub widen: Vec<Window>,
    /// On adoptions.
    pub adopt: Vec<Window>,
    /// On grants of privileged entitlements.
    pub privileged: Vec<Window>,
    /// On accounts with neutral changes.
    pub update: Vec<Window>,
    /// On accounts on which one and the same attribute is cleared.
    pub clear: Vec<Window>,
    /// On deletions, each of which needs a person as well.
    pub delete: Vec<Window>,
    /// How many accounts may be active; `None`: as many as the target takes.
    pub seats: Option<u64>,
    /// How many of them may do everything there (`spec.administrators`); `None`: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub administrators: Option<Administrators>,
    /// Calls a second; `None` leaves it to the target's answers.
    pub requests_per_second: Option<f64>,
    /// Calls in flight, the reserved slot for narrowing apart.
    pub concurrency: usize,
}

/// Calls in flight where the target says nothing: enough to hide latency, few enough for any
/// service.
const CONCURRENCY: usize = 8;

impl Default for Limits {
    /// What a target without `limits` has.
    fn default() -> Self {
        let hour = Duration::from_hours(1);
        let day = Duration::from_hours(24);
        let count = |count, window| Window { count: Some(count), percent: None, window };
        let percent = |percent, window| Window { count: None, percent: Some(percent), window };
        Self {
            narrow_inferred: vec![Window { count: Some(10), percent: Some(5.0), window: day }],
            narrow_explicit: vec![percent(25.0, hour), percent(35.0, day)],
            widen: vec![count(500, hour)],
            adopt: vec![count(20, day)],
            privileged: vec![count(2, day)],
            update: vec![percent(50.0, hour)],
            clear: vec![count(5, hour)],
            delete: vec![count(5, day)],
            seats: None,
            administrators: None,
            requests_per_second: None,
            concurrency: CONCURRENCY,
        }
    }
}

impl Limits {
    /// No limit on any effect.
    pub fn none() -> Self {
        Self {
            narrow_inferred: Vec::new(),
            narrow_explicit: Vec::new(),
            widen: Vec::new(),
            adopt: Vec::new(),
            privileged: Vec::new(),
            update: Vec::new(),
            clear: Vec::new(),
            delete: Vec::new(),
            seats: None,
            administrators: None,
            requests_per_second: None,
            concurrency: CONCURRENCY,
        }
    }

    /// Every list of windows.
    pub fn windows(&self) -> [&[Window]; 8] {
        let Self {
            narrow_inferred,
            narrow_explicit,
            widen,
            adopt,
            privileged,
            update,
            clear,
            delete,
            seats: _,
            administrators: _,
            requests_per_second: _,
            concurrency: _,
        } = self;
        [narrow_inferred, narrow_explicit, widen, adopt, privileged, update, clear, delete]
    }
}

/// One entry of `spec.freeze`: no widening, update or drift repair from each run of the timetable on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// When it begins.
    pub begins: Schedule,
    /// How long it lasts.
    pub lasts: Duration,
}

/// What of a target's document acts at once when it gets stricter, and only after a person's release
/// when it gets looser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Whether changes are made.
    pub mode: Mode,
    /// Limits on what may change.
    pub limits: Limits,
    /// Name patterns of accounts that are never written.
    pub protected: Vec<String>,
    /// When ended accounts may be deleted.
    #[serde(default)]
    pub deletion: Option<Deletion>,
    /// How long accounts of leavers stay open for what an attribute of theirs lists, by that attribute.
    #[serde(default)]
    pub waits: BTreeMap<AttributePath, Duration>,
    /// Who is asked about what; `None`: nobody about anything, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Box<Asks>>,
    /// What the words of the catalogue give, where people are asked about grants: what they agreed to by a word.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub catalogue: BTreeMap<EntitlementName, Given>,
}

/// What a word of the catalogue gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// What it is in the target.
    pub membership: Membership,
    /// Whether it counts as privileged.
    pub privileged: bool,
}

/// What is remembered of a target's documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownTarget {
    /// The policy that was accepted: what a document loosens is no part of it before a person releases that.
    pub policy: Policy,
    /// Counts changes of the policy, so that a release is good for one loosening.
    pub serial: u64,
    /// Hashes of the parts of the newest document, by key.
    pub parts: BTreeMap<String, String>,
}

/// One sliding window; where both bounds are given the smaller binds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// At most so many.
    pub count: Option<u64>,
    /// At most this share of the owned active accounts at the window's start.
    pub percent: Option<f64>,
    /// How long the window is.
    pub window: Duration,
}
