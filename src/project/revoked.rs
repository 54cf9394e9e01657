//! Users whom a person revoked, whatever their documents say.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::SecondsFormat;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::model::decision::Decision;
use crate::model::decision::DecisionKind;
use crate::model::ids::RecordId;
use crate::model::origin::Origin;
use crate::model::projection::Desired;
use crate::model::projection::NoAccess;
use crate::model::projection::NoAccessReason;
use crate::model::target::Ending;
use crate::model::user::User;
use crate::project::Alone;

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Who.
    pub by: String,
    /// Since when.
    pub at: DateTime<Utc>,
    /// Until when; `None`: until somebody restores the user.
    pub until: Option<DateTime<Utc>>,
    /// Why, in the person's words.
    pub reason: Option<String>,
}

/// The newest word about one user.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Revoked(Revocation),
    Restored { by: String, at: DateTime<Utc> },
}

/// What people said about revoked users, newest word by record id.
///
/// A user answers to the declared record id and to every earlier one: a rename frees nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    words: BTreeMap<RecordId, Word>,
}

impl Revocation {
    /// No access, in any target and under every policy: access must end.
    pub fn no_access(&self, record: &RecordId) -> NoAccess {
        NoAccess { reason: NoAccessReason::Revoked, ending: Ending::Disable, origins: vec![self.origin(record)].into() }
    }

    /// Whether it stands at `now`.
    pub fn stands(&self, now: DateTime<Utc>) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    fn origin(&self, record: &RecordId) -> Origin {
        let until = self.until.map(|until| format!(" until {}", moment(until))).unwrap_or_default();
        Origin::decision(format!("revocation of {record}{until} by {} at {}", self.by, moment(self.at)))
    }
}

impl Revoked {
    /// What these decisions, oldest first, say.
    pub fn from_decisions(decisions: &[Decision]) -> Self {
        let mut words = BTreeMap::new();
        for decision in decisions {
            let Some(record) = &decision.record else { continue };
            let Decision { by, at, until, reason, .. } = decision.clone();
            if decision.kind == DecisionKind::Revoke {
                words.insert(record.clone(), Word::Revoked(Revocation { by, at, until, reason }));
            } else if decision.kind == DecisionKind::Restore {
                words.insert(record.clone(), Word::Restored { by, at });
            }
        }
        Self { words }
    }

    /// The revocation that stands at `now` against a user.
    pub fn of(&self, record: &RecordId, formerly: &[RecordId], now: DateTime<Utc>) -> Option<&Revocation> {
        let mut known = [record].into_iter().chain(formerly);
        known.find_map(|id| self.newest(id).filter(|revocation| revocation.stands(now)))
    }

    /// Every record id that stands revoked at `now`.
    pub fn standing(&self, now: DateTime<Utc>) -> impl Iterator<Item = (&RecordId, &Revocation)> {
        let revoked = self.words.keys().filter_map(|record| Some((record, self.newest(record)?)));
        revoked.filter(move |(_, revocation)| revocation.stands(now))
    }

    /// Every record id of which these words and `later` ones are not the same.
    pub fn differences<'a>(&'a self, later: &'a Self) -> impl Iterator<Item = &'a RecordId> {
        let known = self.words.keys().chain(later.words.keys().filter(|record| !self.words.contains_key(*record)));
        known.filter(|record| self.words.get(*record) != later.words.get(*record))
    }

    /// Every record id that anything was said about.
    pub fn records(&self) -> impl Iterator<Item = &RecordId> {
        self.words.keys()
    }

    /// The next moment after `now` at which a revocation of this user ends by itself.
    pub fn ends(&self, record: &RecordId, formerly: &[RecordId], now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let known = [record].into_iter().chain(formerly);
        known.filter_map(|id| self.newest(id)?.until).filter(|until| *until > now).min()
    }

    fn newest(&self, record: &RecordId) -> Option<&Revocation> {
        match self.words.get(record)? {
            Word::Revoked(revocation) => Some(revocation),
            Word::Restored { .. } => None,
        }
    }

    /// Takes everything from a user who stands revoked; where access came back, the word that gave
    /// it is one of its origins (L12).
    pub(super) fn overrule(&self, alone: &mut Alone, user: &User, now: DateTime<Utc>) {
        if self.words.is_empty() {
            return;
        }
        if let Some(revocation) = self.of(&user.id, &user.formerly, now) {
            *alone = Alone { desired: Desired::None(revocation.no_access(&user.id)), name: None };
        } else if let Desired::Account(projection) = &mut alone.desired {
            let known = [&user.id].into_iter().chain(&user.formerly);
            projection.origins.edit(|origins| origins.extend(known.filter_map(|id| self.came_back(id))));
        }
    }

    fn came_back(&self, record: &RecordId) -> Option<Origin> {
        Some(match self.words.get(record)? {
            Word::Restored { by, at } => Origin::decision(format!("restore of {record} by {by} at {}", moment(*at))),
            Word::Revoked(revocation) => revocation.origin(record),
        })
    }
}

fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(second)
    }

    fn said(kind: DecisionKind, record: &str, second: i64, until: Option<i64>) -> Decision {
        Decision { record: Some(record.into()), until: until.map(at), ..Decision::new(kind, "alice", at(second)) }
    }

    #[test]
    fn a_revocation_stands_until_it_is_taken_back_or_its_end_comes() {
        let revoke = said(DecisionKind::Revoke, "u", 1, None);
        let revoked = Revoked::from_decisions(std::slice::from_ref(&revoke));
        assert!(revoked.of(&"u".into(), &[], at(1_000_000)).is_some());
        let back = Revoked::from_decisions(&[revoke.clone(), said(DecisionKind::Restore, "u", 2, None)]);
        assert!(back.of(&"u".into(), &[], at(3)).is_none());
        let ends = Revoked::from_decisions(&[revoke, said(DecisionKind::Revoke, "u", 2, Some(10))]);
        assert!(ends.of(&"u".into(), &[], at(9)).is_some());
        assert!(ends.of(&"u".into(), &[], at(10)).is_none());
        assert_eq!(ends.ends(&"u".into(), &[], at(9)), Some(at(10)));
    }

    #[test]
    fn a_renamed_user_stays_revoked_under_either_id() {
        let revoked = Revoked::from_decisions(&[said(DecisionKind::Revoke, "old", 1, None)]);
        assert!(revoked.of(&"new".into(), &["old".into()], at(2)).is_some());
        assert!(revoked.of(&"old".into(), &[], at(2)).is_some());
        assert!(revoked.of(&"new".into(), &[], at(2)).is_none());
    }
}
