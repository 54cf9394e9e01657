//! A planning case as it stands on file, and the world that it describes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use rosterd::correlate::history::History;
use rosterd::correlate::history::IdentityKey;
use rosterd::model::account::Account;
use rosterd::model::account::AccountState;
use rosterd::model::account::Membership;
use rosterd::model::change::Cause;
use rosterd::model::hand::Hand;
use rosterd::model::hand::Hands;
use rosterd::model::ids::AccountId;
use rosterd::model::ids::EntitlementName;
use rosterd::model::ids::RecordId;
use rosterd::model::link::Link;
use rosterd::model::link::LinkedBy;
use rosterd::model::link::Space;
use rosterd::model::node::Node;
use rosterd::model::origin::Origin;
use rosterd::model::path::AttributePath;
use rosterd::model::plan::Coverage;
use rosterd::model::projection::Conflict;
use rosterd::model::projection::Desired;
use rosterd::model::projection::NoAccess;
use rosterd::model::projection::NoAccessReason;
use rosterd::model::projection::Projected;
use rosterd::model::projection::ProjectedGrant;
use rosterd::model::projection::Projection;
use rosterd::model::tally::Counter;
use rosterd::model::tally::Tally;
use rosterd::model::tally::Thing;
use rosterd::model::target::AccountPolicy;
use rosterd::model::target::Blocker;
use rosterd::model::target::Deletion;
use rosterd::model::target::Drift;
use rosterd::model::target::Ending;
use rosterd::model::target::Entitlement;
use rosterd::model::target::Exception;
use rosterd::model::target::Existing;
use rosterd::model::target::ForeignDelete;
use rosterd::model::target::ForeignDisable;
use rosterd::model::target::Limits;
use rosterd::model::target::Mapping;
use rosterd::model::target::MappingValue;
use rosterd::model::target::Mark;
use rosterd::model::target::MatchKey;
use rosterd::model::target::Members;
use rosterd::model::target::Mode;
use rosterd::model::target::Own;
use rosterd::model::target::Regain;
use rosterd::model::target::Scope;
use rosterd::model::target::Target;
use rosterd::model::target::Window;
use rosterd::plan::Guards;
use rosterd::plan::Known;
use rosterd::plan::PlanInput;
use rosterd::plan::Planned;
use rosterd::plan::Planner;
use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Case {
    pub(super) target: TargetCase,
    pub(super) users: BTreeMap<String, UserCase>,
    pub(super) links: BTreeMap<String, LinkCase>,
    /// `u-1: explicit` for the account, `u-1/word: inferred` for an entitlement.
    pub(super) causes: BTreeMap<String, Cause>,
    pub(super) coverage: CoverageCase,
    pub(super) records: Option<BTreeSet<String>>,
    pub(super) unproven: BTreeSet<String>,
    pub(super) own_account: Option<String>,
    /// By account.
    pub(super) hands: BTreeMap<String, HandCase>,
    /// Who had an account once: `a-1: u-9`.
    pub(super) had: BTreeMap<String, String>,
    /// Record ids that seem to have gone to somebody else.
    pub(super) reused: BTreeSet<String>,
    /// Users with the mail of one who is gone: `u-new: u-old`.
    pub(super) renamed: BTreeMap<String, String>,
    /// Users of whom a person said that they get their account again.
    pub(super) regained: BTreeSet<String>,
    pub(super) guard: Option<GuardCase>,
    #[serde(skip)]
    pub(super) observed: Vec<AccountCase>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct TargetCase {
    pub(super) existing: Existing,
    pub(super) r#match: Vec<MatchKeyCase>,
    pub(super) trusted_keys: Vec<MatchKeyCase>,
    /// `none` or a path.
    pub(super) mark: String,
    pub(super) fold: bool,
    pub(super) protected: Vec<String>,
    pub(super) on_out_of_scope: Ending,
    pub(super) on_gone: Ending,
    pub(super) updates: bool,
    pub(super) regain: Regain,
    pub(super) partition: Option<String>,
    pub(super) entitlements: BTreeMap<EntitlementName, EntitlementCase>,
    pub(super) own: BTreeMap<AttributePath, Own>,
    pub(super) personal: BTreeSet<AttributePath>,
    pub(super) sensitive: BTreeSet<AttributePath>,
    pub(super) inferred: Vec<WindowCase>,
    pub(super) explicit: Vec<WindowCase>,
    pub(super) members: Members,
    pub(super) foreign_disable: ForeignDisable,
    pub(super) foreign_delete: ForeignDelete,
    /// Days.
    pub(super) delete_after: Option<u64>,
    pub(super) notifications: BTreeSet<AttributePath>,
    pub(super) blockers: BTreeMap<String, BlockerCase>,
    pub(super) drift: BTreeMap<AttributePath, Drift>,
    pub(super) exceptions: Vec<String>,
}

impl Default for TargetCase {
    fn default() -> Self {
        let key = |text: &str| MatchKeyCase::One(AttributePath::parse(text).unwrap());
        Self {
            existing: Existing::Refuse,
            r#match: vec![key("externalId"), key("userName")],
            trusted_keys: vec![key("externalId")],
            mark: "externalId".to_owned(),
            fold: true,
            protected: Vec::new(),
            on_out_of_scope: Ending::Disable,
            on_gone: Ending::Disable,
            updates: true,
            regain: Regain::Same,
            partition: None,
            entitlements: BTreeMap::new(),
            own: BTreeMap::new(),
            personal: BTreeSet::new(),
            sensitive: BTreeSet::new(),
            inferred: Vec::new(),
            explicit: Vec::new(),
            members: Members::Additive,
            foreign_disable: ForeignDisable::Report,
            foreign_delete: ForeignDelete::Report,
            delete_after: None,
            notifications: BTreeSet::new(),
            blockers: BTreeMap::new(),
            drift: BTreeMap::new(),
            exceptions: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum MatchKeyCase {
    One(AttributePath),
    Many(Vec<AttributePath>),
}

impl MatchKeyCase {
    fn key(&self) -> MatchKey {
        match self {
            Self::One(path) => MatchKey(vec![path.clone()]),
            Self::Many(paths) => MatchKey(paths.clone()),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EntitlementCase {
    pub(super) group: Option<String>,
    pub(super) role: Option<String>,
    pub(super) privileged: bool,
}

impl EntitlementCase {
    fn membership(&self) -> Membership {
        match (&self.group, &self.role) {
            (Some(group), _) => Membership::Group(group.clone()),
            (None, role) => Membership::Role(role.clone().unwrap_or_default()),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WindowCase {
    pub(super) count: Option<u64>,
    pub(super) percent: Option<f64>,
    pub(super) hours: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockerCase {
    at: AttributePath,
    /// Hours.
    wait: Option<u64>,
}

impl BlockerCase {
    fn blocker(&self) -> Blocker {
        Blocker { at: self.at.clone(), wait: self.wait.map(Duration::from_hours) }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UserCase {
    /// A null clears.
    pub(super) values: BTreeMap<AttributePath, Value>,
    pub(super) entitlements: BTreeSet<EntitlementName>,
    pub(super) formerly: Vec<String>,
    /// No access, and why.
    pub(super) none: Option<NoAccessReason>,
    /// A conflict, by its code.
    pub(super) conflict: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct LinkCase {
    pub(super) account: String,
    pub(super) disabled_by_us: bool,
    pub(super) granted: BTreeSet<MembershipCase>,
}

/// What is remembered of other hands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct HandCase {
    pub(super) given_up: BTreeMap<AttributePath, Value>,
    pub(super) agreed: BTreeMap<AttributePath, Value>,
    pub(super) ended_over: Option<AccountState>,
    pub(super) deleted_by_us: bool,
    pub(super) regain: bool,
    pub(super) ended: Option<DateTime<Utc>>,
    pub(super) blocked: Option<DateTime<Utc>>,
    pub(super) silenced: BTreeMap<AttributePath, Value>,
}

impl HandCase {
    fn hand(&self) -> Hand {
        Hand {
            given_up: self.given_up.clone(),
            agreed: self.agreed.clone(),
            ended_over: self.ended_over,
            deleted_by_us: self.deleted_by_us,
            regain: self.regain,
            ended: self.ended,
            blocked: self.blocked,
            silenced: self.silenced.clone(),
            ..Hand::default()
        }
    }
}

/// `group:g1` or `role:Admin`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub(super) struct MembershipCase(String);

impl MembershipCase {
    fn membership(&self) -> Membership {
        match self.0.split_once(':') {
            Some(("group", id)) => Membership::Group(id.to_owned()),
            Some(("role", role)) => Membership::Role(role.to_owned()),
            _ => panic!("`{}` is neither group:ID nor role:NAME", self.0),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum CoverageCase {
    #[default]
    Complete,
    Partial,
    Keyed,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct GuardCase {
    pub(super) first_contact: bool,
    pub(super) owned_active: u64,
    pub(super) narrowed: BTreeMap<Cause, u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountCase {
    pub(super) id: String,
    #[serde(default = "active")]
    pub(super) state: AccountState,
    #[serde(default)]
    pub(super) values: BTreeMap<AttributePath, Value>,
    #[serde(default)]
    pub(super) memberships: BTreeSet<MembershipCase>,
}

fn active() -> AccountState {
    AccountState::Active
}

impl Case {
    pub(super) fn read(folder: &Path) -> Self {
        let read = |name: &str| {
            let file = folder.join(name);
            fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        };
        Self::from_text(&read("case.yaml"), &read("observed.yaml"))
    }

    pub(super) fn from_text(case: &str, observed: &str) -> Self {
        let mut parsed: Self = serde_saphyr::from_str(case).unwrap_or_else(|error| panic!("{error}\n{case}"));
        parsed.observed = serde_saphyr::from_str(observed).unwrap_or_else(|error| panic!("{error}\n{observed}"));
        parsed
    }

    pub(super) fn world(&self) -> World {
        World {
            target: self.target.target(),
            space: Space { target: "crm".into(), environment: "test".into(), realm: "crm.example".into() },
            desired: self.users.iter().map(|(id, user)| (id.as_str().into(), self.desired(id, user))).collect(),
            links: self.links.iter().map(|(record, link)| (record.as_str().into(), link.link(record))).collect(),
            causes: self.causes.iter().map(|(key, cause)| (cause_key(key), *cause)).collect(),
            known: self.known(),
            own_account: self.own_account.as_deref().map(AccountId::from),
            hands: self.hands.iter().map(|(account, hand)| (account.as_str().into(), hand.hand())).collect(),
            records: self.records.as_ref().map(|ids| ids.iter().map(|id| id.as_str().into()).collect()),
            unproven: self.unproven.iter().map(|id| id.as_str().into()).collect(),
            accounts: self.observed.iter().map(AccountCase::account).collect(),
            coverage: match self.coverage {
                CoverageCase::Complete => Coverage::Complete,
                CoverageCase::Partial => Coverage::Partial("page 2 did not come".to_owned()),
                CoverageCase::Keyed => Coverage::Keyed,
            },
            guard: self.guard.clone(),
        }
    }

    fn known(&self) -> Known {
        let empty = History::new(IdentityKey::new(b"golden"), []);
        let row = |(account, record): (&String, &String)| {
            empty.identity(&record.as_str().into(), &account.as_str().into(), None, DateTime::UNIX_EPOCH)
        };
        let history = History::new(IdentityKey::new(b"golden"), self.had.iter().map(row));
        let records = |ids: &BTreeSet<String>| ids.iter().map(|id| id.as_str().into()).collect();
        let old = |(new, old): (&String, &String)| {
            let held = (old.as_str().into(), self.links[old].account.as_str().into());
            (new.as_str().into(), BTreeMap::from([held]))
        };
        Known {
            history: Arc::new(history),
            reused: records(&self.reused),
            renamed: self.renamed.iter().map(old).collect(),
            regained: records(&self.regained),
        }
    }

    fn desired(&self, id: &str, user: &UserCase) -> Desired {
        if let Some(code) = &user.conflict {
            let message = format!("the documents of `{id}` contradict themselves");
            let hint = "mend one of them".to_owned();
            return Desired::Conflict(Conflict { code: code.clone(), message, hint });
        }
        if let Some(reason) = &user.none {
            let ending = self.target.on_out_of_scope;
            return Desired::None(NoAccess { reason: reason.clone(), ending, origins: vec![origin(id)].into() });
        }
        let projected = |path: &AttributePath, value: &Value| Projected {
            value: (!value.is_null()).then(|| value.clone()),
            own: self.target.own.get(path).copied().unwrap_or_default(),
            personal: self.target.personal.contains(path) || *path == AttributePath::user_name(),
            sensitive: self.target.sensitive.contains(path),
            origins: vec![origin(id)].into(),
        };
        let mut values: BTreeMap<_, _> =
            user.values.iter().map(|(path, value)| (path.clone(), projected(path, value))).collect();
        if let Mark::At(path) = self.target.mark() {
            let mark = projected(&path, &id.into());
            values.entry(path).or_insert(Projected { own: Own::IfEmpty, ..mark });
        }
        let grant = |word: &EntitlementName| {
            let entry = &self.target.entitlements[word];
            let (membership, privileged) = (entry.membership(), entry.privileged);
            (word.clone(), ProjectedGrant { membership, privileged, origins: vec![origin(id)].into() })
        };
        Desired::Account(Projection {
            record: id.into(),
            formerly: user.formerly.iter().map(|id| id.as_str().into()).collect(),
            values,
            entitlements: user.entitlements.iter().map(grant).collect(),
            lapsed: BTreeSet::new(),
            origins: vec![origin(id)].into(),
        })
    }
}

pub(crate) fn origin(id: &str) -> Origin {
    Origin { file: "users.yaml".into(), line: 1, what: format!("User {id}").into() }
}

fn cause_key(key: &str) -> (RecordId, Option<EntitlementName>) {
    match key.split_once('/') {
        Some((record, word)) => (record.into(), Some(word.into())),
        None => (key.into(), None),
    }
}

impl TargetCase {
    fn mark(&self) -> Mark {
        match self.mark.as_str() {
            "none" => Mark::None,
            path => Mark::At(AttributePath::parse(path).unwrap()),
        }
    }

    fn target(&self) -> Target {
        let windows = |windows: &[WindowCase]| {
            let window = |window: &WindowCase| Window {
                count: window.count,
                percent: window.percent,
                window: Duration::from_secs(window.hours * 3600),
            };
            windows.iter().map(window).collect()
        };
        Target {
            name: "crm".into(),
            labels: BTreeMap::new(),
            connector: "directory".to_owned(),
            settings: Node::default(),
            environment: "test".into(),
            endpoint: Node::default(),
            mode: Mode::Enforce,
            scope: Scope::default(),
            partition: self.partition.clone(),
            entitlements: self.entitlements.iter().map(|(name, entry)| (name.clone(), catalogue(entry))).collect(),
            account: self.policy(),
            schedule: None,
            limits: Limits {
                narrow_inferred: windows(&self.inferred),
                narrow_explicit: windows(&self.explicit),
                ..Limits::none()
            },
            exceptions: self.exceptions.iter().map(|account| exception(account)).collect(),
            freeze: Vec::new(),
            approval: None,
            welcome: None,
            origin: origin("crm"),
        }
    }

    fn policy(&self) -> AccountPolicy {
        let mapping = |drift: Drift| Mapping {
            value: MappingValue::Template("{{ user.email }}".to_owned()),
            own: Own::Always,
            translate: None,
            clear: false,
            personal: true,
            sensitive: false,
            drift,
            origin: origin("crm"),
        };
        AccountPolicy {
            match_keys: self.r#match.iter().map(MatchKeyCase::key).collect(),
            mark: self.mark(),
            existing: self.existing,
            trusted_keys: self.trusted_keys.iter().map(MatchKeyCase::key).collect(),
            fold_user_name: self.fold,
            user_name: mapping(Drift::Revert),
            attributes: self.drift.iter().map(|(path, drift)| (path.clone(), mapping(*drift))).collect(),
            protected: self.protected.clone(),
            on_out_of_scope: self.on_out_of_scope,
            on_gone: self.on_gone,
            updates: self.updates,
            regain: self.regain,
            cardinality: None,
            members: self.members,
            foreign_disable: self.foreign_disable,
            foreign_delete: self.foreign_delete,
            notifications: self.notifications.clone(),
            blockers: self.blockers.iter().map(|(name, blocker)| (name.clone(), blocker.blocker())).collect(),
            deletion: self
                .delete_after
                .map(|days| Deletion { after: Duration::from_hours(days * 24), unattended: false }),
        }
    }
}

fn exception(account: &str) -> Exception {
    Exception {
        name: format!("explains-{account}"),
        account: account.to_owned(),
        owner: "u-7".into(),
        reason: "a nightly import".to_owned(),
        until: None,
        origin: origin("crm"),
    }
}

fn catalogue(entry: &EntitlementCase) -> Entitlement {
    Entitlement { membership: entry.membership(), privileged: entry.privileged, exclusive_with: BTreeSet::new() }
}

impl LinkCase {
    fn link(&self, record: &str) -> Link {
        Link {
            record: record.into(),
            account: self.account.as_str().into(),
            by: LinkedBy::Created,
            disabled_by_us: self.disabled_by_us,
            granted: self.granted.iter().map(MembershipCase::membership).collect(),
            since: DateTime::UNIX_EPOCH,
        }
    }
}

impl AccountCase {
    fn account(&self) -> Account {
        Account {
            id: self.id.as_str().into(),
            state: self.state,
            values: self.values.clone(),
            memberships: self.memberships.iter().map(MembershipCase::membership).collect(),
            version: None,
        }
    }
}

/// Everything that one plan is made from.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) target: Target,
    pub(super) space: Space,
    pub(super) desired: BTreeMap<RecordId, Desired>,
    pub(super) links: BTreeMap<RecordId, Link>,
    pub(super) causes: BTreeMap<(RecordId, Option<EntitlementName>), Cause>,
    pub(super) known: Known,
    pub(super) own_account: Option<AccountId>,
    pub(super) hands: Hands,
    pub(super) records: Option<BTreeSet<RecordId>>,
    pub(super) unproven: BTreeSet<RecordId>,
    pub(super) accounts: Vec<Account>,
    pub(super) coverage: Coverage,
    pub(super) guard: Option<GuardCase>,
}

/// When plans are made.
pub(super) fn now() -> DateTime<Utc> {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// The target gives time zones back in lower case.
pub(super) fn canonicalize(path: &AttributePath, value: &Value) -> Value {
    match value.as_str() {
        Some(text) if path.as_str() == "timezone" => text.to_ascii_lowercase().into(),
        _ => value.clone(),
    }
}

impl World {
    pub(super) fn input(&self) -> PlanInput<'_> {
        PlanInput {
            target: &self.target,
            space: &self.space,
            desired: &self.desired,
            links: &self.links,
            causes: &self.causes,
            hands: &self.hands,
            known: &self.known,
            canonicalize: &canonicalize,
            own_account: self.own_account.as_ref(),
            records: self.records.as_ref(),
            unproven: &self.unproven,
            now: now(),
            passed: now(),
        }
    }

    pub(super) fn planned(&self) -> Planned {
        let mut planner = Planner::new(self.input());
        for account in &self.accounts {
            planner.observe(account.clone());
        }
        planner.finish(self.coverage.clone())
    }

    pub(super) fn guarded(&self) -> Planned {
        let planned = self.planned();
        let Some(case) = &self.guard else { return planned };
        let now = DateTime::UNIX_EPOCH;
        let counter = |cause| match cause {
            Cause::Explicit => Counter::NarrowExplicit,
            Cause::Inferred => Counter::NarrowInferred,
        };
        let earlier = case.narrowed.iter().flat_map(|(cause, count)| {
            (0..*count).map(move |number| (counter(*cause), Thing::new(format!("earlier {number}")), now))
        });
        let tally: Tally = earlier.collect();
        let guards = Guards {
            first_contact: case.first_contact,
            enforced: &BTreeSet::new(),
            released: &[],
            tally: &tally,
            waiting: &BTreeSet::new(),
            admitted: &|_| false,
            dated: &|_| false,
            now,
            owned_active: &|_| case.owned_active,
            seats_taken: 0,
            census: &planned.census,
            frozen: None,
            unattended: false,
            limits: &self.target.limits,
        };
        Planned { plan: rosterd::plan::guard(planned.plan, &guards), ..planned }
    }
}
