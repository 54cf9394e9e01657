//! What a snapshot grants: (user, target, entitlement), with no entitlement for the account.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;

use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::ids::RoleName;
use crate::model::ids::TargetName;
use crate::model::role::Role;
use crate::model::user::User;
use crate::project::Access;
use crate::project::Projector;

/// What one user is granted.
pub(crate) type Granted = BTreeSet<(TargetName, Option<EntitlementName>)>;

/// What users of a snapshot are granted at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Triples {
    granted: BTreeMap<RecordId, Granted>,
    /// Where a condition could not be evaluated.
    undecided: BTreeMap<RecordId, BTreeSet<TargetName>>,
}

impl Triples {
    /// Users in every target.
    pub(crate) fn of(
        projectors: &[Arc<Projector>],
        users: impl Iterator<Item = User>,
        roles: &BTreeMap<RoleName, Arc<Role>>,
        now: DateTime<Utc>,
    ) -> Self {
        let mut triples = Self::default();
        for user in users {
            let (granted, undecided) = of_user(projectors, &user, roles, now);
            if !granted.is_empty() {
                triples.granted.insert(user.id.clone(), granted);
            }
            if !undecided.is_empty() {
                triples.undecided.insert(user.id.clone(), undecided);
            }
        }
        triples
    }

    /// How many there are.
    pub(crate) fn level(&self) -> u64 {
        count(self.granted.values().map(BTreeSet::len).sum())
    }

    /// How many of these `other` does not have.
    pub(crate) fn without(&self, other: &Self) -> u64 {
        let missing = |(record, granted): (&RecordId, &Granted)| match other.granted.get(record) {
            Some(kept) => granted.difference(kept).count(),
            None => granted.len(),
        };
        count(self.granted.iter().map(missing).sum())
    }

    /// What one user is granted.
    pub(crate) fn get(&self, record: &RecordId) -> Option<&Granted> {
        self.granted.get(record)
    }

    /// Everybody who is granted anything.
    pub(crate) fn records(&self) -> impl Iterator<Item = &RecordId> {
        self.granted.keys()
    }

    /// The same under the record ids of a later snapshot.
    pub(crate) fn renamed(mut self, renames: &BTreeMap<RecordId, RecordId>) -> Self {
        for (old, new) in renames {
            if let Some(granted) = self.granted.remove(old) {
                self.granted.entry(new.clone()).or_default().extend(granted);
            }
            if let Some(undecided) = self.undecided.remove(old) {
                self.undecided.entry(new.clone()).or_default().extend(undecided);
            }
        }
        self
    }

    /// Takes over from `other` what is not decided here.
    pub(crate) fn fill_undecided(&mut self, other: &Self) {
        for (record, targets) in &self.undecided {
            let Some(known) = other.granted.get(record) else { continue };
            let taken: Granted = known.iter().filter(|(target, _)| targets.contains(target)).cloned().collect();
            if !taken.is_empty() {
                self.granted.entry(record.clone()).or_default().extend(taken);
            }
        }
    }
}

/// What one user is granted, and the targets where that is not decided.
pub(crate) fn of_user(
    projectors: &[Arc<Projector>],
    user: &User,
    roles: &BTreeMap<RoleName, Arc<Role>>,
    now: DateTime<Utc>,
) -> (Granted, BTreeSet<TargetName>) {
    let mut granted = Granted::new();
    let mut undecided = BTreeSet::new();
    for projector in projectors {
        let target = &projector.target().name;
        match projector.access(user, roles, now) {
            Access::Granted(entitlements) => {
                granted.insert((target.clone(), None));
                granted.extend(entitlements.into_iter().map(|name| (target.clone(), Some(name))));
            }
            Access::Denied(_) => {}
            Access::Undecided(_) => drop(undecided.insert(target.clone())),
        }
    }
    (granted, undecided)
}

pub(crate) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
