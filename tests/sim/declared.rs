//! What the documents say, in the words of the simulation: given to the engine as `Documents`, and
//! read by the judges without any of the engine's rules.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use rosterd::manifest::Documents;
use rosterd::manifest::Problem;
use rosterd::model::account::Membership;
use rosterd::model::role::Grant;
use rosterd::model::role::Role;
use rosterd::model::role::TargetRef;
use rosterd::model::target::Deletion;
use rosterd::model::target::Ending;
use rosterd::model::target::Entitlement;
use rosterd::model::target::Existing;
use rosterd::model::target::MatchKey;
use rosterd::model::target::Mode;
use rosterd::model::target::Schedule;
use rosterd::model::target::Target;
use rosterd::model::target::Window;
use rosterd::model::user::RoleHeld;
use rosterd::model::user::User;
use rosterd::model::user::Validity;

use crate::make;
use crate::random;

/// Seconds since the simulation began, by the true clock.
pub(crate) type Second = i64;

/// The first moment of every simulation.
pub(crate) fn beginning() -> DateTime<Utc> {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// Words of every target's catalogue: name, membership, privileged.
pub(crate) const WORDS: [(&str, &str, bool); 3] =
    [("reader", "g-reader", false), ("operator", "g-operator", false), ("admin", "g-admin", true)];

pub(crate) fn membership(word: usize) -> Membership {
    Membership::Group(WORDS[word % WORDS.len()].1.to_owned())
}

/// One user document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) mail: String,
    pub(crate) given: u32,
    pub(crate) family: String,
    pub(crate) active: bool,
    pub(crate) from: Option<Second>,
    pub(crate) until: Option<Second>,
    /// Role number and its end.
    pub(crate) roles: BTreeMap<usize, Option<Second>>,
    pub(crate) formerly: Vec<String>,
}

/// What a role gives in one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gift {
    pub(crate) target: usize,
    pub(crate) words: BTreeSet<usize>,
}

/// What of a target's document changes during a simulation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Paper {
    pub(crate) mode: Mode,
    pub(crate) inferred: u64,
    pub(crate) explicit: u64,
}

/// What of a target's document stays.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) existing: Existing,
    pub(crate) on_gone: Ending,
    pub(crate) on_out_of_scope: Ending,
    pub(crate) updates: bool,
    pub(crate) concurrency: usize,
    pub(crate) rate: Option<f64>,
    pub(crate) every: Option<Duration>,
    /// Seconds after which an account that was ended is deleted, by nobody's word.
    pub(crate) delete_after: Option<u64>,
}

/// Everything that is written down at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Declared {
    pub(crate) people: BTreeMap<String, Person>,
    pub(crate) roles: Vec<Vec<Gift>>,
    pub(crate) papers: Vec<Paper>,
    /// Record ids whose documents cannot be read at the moment.
    pub(crate) unreadable: BTreeSet<String>,
}

/// The window of every limit here.
pub(crate) const DAY: Duration = Duration::from_hours(24);

fn moment(at: Second) -> DateTime<Utc> {
    beginning() + chrono::Duration::seconds(at)
}

impl Person {
    /// Whether this document gives the account of `target`, and which memberships, at `at`.
    pub(crate) fn access(&self, roles: &[Vec<Gift>], target: usize, at: Second) -> Option<BTreeSet<Membership>> {
        let inside = self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until);
        if !self.active || !inside {
            return None;
        }
        let held = self.roles.iter().filter(|(_, until)| until.is_none_or(|until| at < until));
        let gifts = held.filter_map(|(role, _)| roles.get(*role)).flatten().filter(|gift| gift.target == target);
        let mut access = None;
        for gift in gifts {
            access.get_or_insert_with(BTreeSet::new).extend(gift.words.iter().map(|word| membership(*word)));
        }
        access
    }

    fn user(&self, record: &str) -> User {
        let validity =
            |from: Option<Second>, until: Option<Second>| Validity { from: from.map(moment), until: until.map(moment) };
        let roles = self.roles.iter();
        User {
            formerly: self.formerly.iter().map(|id| id.as_str().into()).collect(),
            email: Some(self.mail.clone()),
            given_name: Some(format!("Given {}", self.given)),
            family_name: Some(self.family.clone()),
            active: self.active,
            valid: validity(self.from, self.until),
            roles: roles
                .map(|(role, until)| RoleHeld {
                    name: role_name(*role).as_str().into(),
                    valid: validity(None, *until),
                    line: 1,
                })
                .collect(),
            ..make::user(record)
        }
    }
}

pub(crate) fn role_name(role: usize) -> String {
    format!("role-{role}")
}

impl Policy {
    fn target(&self, paper: &Paper) -> Target {
        let mut target = make::target(&self.name);
        target.mode = paper.mode;
        target.account.existing = self.existing;
        if self.existing == Existing::Adopt {
            target.account.trusted_keys = vec![MatchKey(vec![make::path("externalId")])];
        }
        target.account.on_gone = self.on_gone;
        target.account.on_out_of_scope = self.on_out_of_scope;
        target.account.updates = self.updates;
        target.account.deletion =
            self.delete_after.map(|seconds| Deletion { after: Duration::from_secs(seconds), unattended: true });
        target.account.protected = vec!["svc-*".to_owned()];
        target.schedule = self.every.map(Schedule::Every);
        target.limits.concurrency = self.concurrency;
        target.limits.requests_per_second = self.rate;
        let window = |count| vec![Window { count: Some(count), percent: None, window: DAY }];
        target.limits.narrow_inferred = window(paper.inferred);
        target.limits.narrow_explicit = window(paper.explicit);
        let word = target.entitlements.values().next().cloned().unwrap();
        target.entitlements = WORDS
            .iter()
            .map(|(name, group, privileged)| {
                let membership = Membership::Group((*group).to_owned());
                ((*name).into(), Entitlement { membership, privileged: *privileged, ..word.clone() })
            })
            .collect();
        target
    }
}

impl Declared {
    pub(crate) fn wanted(&self, record: &str, target: usize, at: Second) -> Option<BTreeSet<Membership>> {
        self.people.get(record)?.access(&self.roles, target, at)
    }

    /// The user name that the documents want.
    pub(crate) fn name(&self, record: &str) -> Option<&str> {
        self.people.get(record).map(|person| person.mail.as_str())
    }

    /// What `maxShrink` counts, by record id.
    pub(crate) fn triples(&self, at: Second) -> BTreeMap<&str, BTreeSet<(usize, Option<Membership>)>> {
        let mut triples: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
        for (record, person) in &self.people {
            let access = |target| Some((target, person.access(&self.roles, target, at)?));
            for (target, words) in (0..self.papers.len()).filter_map(access) {
                let of = triples.entry(record).or_default();
                of.insert((target, None));
                of.extend(words.into_iter().map(|word| (target, Some(word))));
            }
        }
        triples
    }

    /// The record id that `record` has here: a declared rename leads on.
    pub(crate) fn successor<'a>(&'a self, record: &'a str) -> &'a str {
        if self.people.contains_key(record) {
            return record;
        }
        let heir = self.people.iter().find(|(_, person)| person.formerly.iter().any(|old| old == record));
        heir.map_or(record, |(heir, _)| heir.as_str())
    }

    pub(crate) fn documents(&self, policies: &[Policy]) -> Documents {
        let readable = self.people.iter().filter(|(record, _)| !self.unreadable.contains(*record));
        let users = readable.map(|(record, person)| Arc::new(person.user(record))).collect();
        let pattern = make::roles().remove(0);
        let roles = self.roles.iter().enumerate().map(|(number, gifts)| {
            let grant = pattern.grants[0].clone();
            let grants = gifts.iter().map(|gift| Grant {
                target: TargetRef::Name(policies[gift.target].name.as_str().into()),
                entitlements: gift.words.iter().map(|word| WORDS[*word].0.into()).collect(),
                ..grant.clone()
            });
            Role { name: role_name(number).as_str().into(), grants: grants.collect(), ..pattern.clone() }
        });
        let problems = self.unreadable.iter().map(|record| Problem {
            file: format!("{record}.yaml"),
            line: 1,
            column: 1,
            code: "syntax",
            message: "half a file".to_owned(),
            hint: None,
            snippet: None,
            conflict_of: None,
            drops_document: false,
        });
        Documents {
            users,
            roles: roles.map(|role| (role.name.clone(), Arc::new(role))).collect(),
            targets: policies.iter().zip(&self.papers).map(|(policy, paper)| Arc::new(policy.target(paper))).collect(),
            signed: BTreeMap::new(),
            problems: problems.collect(),
            digest: self.digest().into(),
        }
    }

    pub(crate) fn digest(&self) -> String {
        format!("{:016x}", random::hash(&format!("{self:?}")))
    }
}
