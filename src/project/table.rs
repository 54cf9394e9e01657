//! All users of one target, and who wants which user name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;

use crate::model::ids::RecordId;
use crate::model::path::AttributePath;
use crate::model::projection::Conflict;
use crate::model::projection::Desired;
use crate::model::projection::Projection;
use crate::model::snapshot::Snapshot;
use crate::project::Access;
use crate::project::Projector;
use crate::project::Revoked;

/// So many users are named in a conflict over one user name.
const NAMED: usize = 5;

/// What every user of a snapshot should have in one target, kept up to date user by user.
///
/// # Guarantees
/// After any sequence of refreshes that covers every user who differs, the table equals one made
/// anew from the last snapshot and time.
#[derive(Debug)]
pub struct Table {
    projector: Arc<Projector>,
    /// Whom a person revoked.
    revoked: Arc<Revoked>,
    /// The user name that each user would use, as the target compares it.
    names: BTreeMap<RecordId, String>,
    /// Who wants a user name.
    holders: BTreeMap<String, BTreeSet<RecordId>>,
    /// The answer.
    desired: BTreeMap<RecordId, Desired>,
    /// What users would have if nobody else wanted their name, where that is not their answer.
    parked: BTreeMap<RecordId, Desired>,
    /// Accounts and entitlements given to each user.
    triples: BTreeMap<RecordId, u64>,
}

impl Table {
    /// A table of nobody.
    pub fn new(projector: Arc<Projector>) -> Self {
        Self {
            projector,
            revoked: Arc::default(),
            names: BTreeMap::new(),
            holders: BTreeMap::new(),
            desired: BTreeMap::new(),
            parked: BTreeMap::new(),
            triples: BTreeMap::new(),
        }
    }

    /// The target's projector.
    pub fn projector(&self) -> &Arc<Projector> {
        &self.projector
    }

    /// Whom a person revoked, from the next refresh of those users on.
    pub fn set_revoked(&mut self, revoked: Arc<Revoked>) {
        self.revoked = revoked;
    }

    /// What each user should have; a user who is not in the snapshot has no entry, unless revoked.
    pub fn desired(&self) -> &BTreeMap<RecordId, Desired> {
        &self.desired
    }

    /// How many accounts and entitlements the snapshot gives in this target; users in conflict
    /// count with what they are granted.
    pub fn triples(&self) -> u64 {
        self.triples.values().sum()
    }

    /// Projects again: the users named, or all of them.
    ///
    /// Returns the users whose answer changed, removed ones and those included who win or lose a
    /// conflict over a user name with one of them.
    pub fn refresh(
        &mut self,
        snapshot: &Snapshot,
        records: Option<&BTreeSet<RecordId>>,
        now: DateTime<Utc>,
    ) -> BTreeSet<RecordId> {
        let mut touched = BTreeSet::new();
        let every =
            || self.desired.keys().chain(snapshot.users.keys()).chain(self.revoked.records()).cloned().collect();
        let records = records.map_or_else(|| Cow::Owned(every()), Cow::Borrowed);
        for record in records.iter() {
            self.refresh_one(snapshot, record, now, &mut touched);
        }
        touched.into_iter().filter(|record| self.settle(snapshot, record)).collect()
    }

    /// Projects one user alone, and notes whose answer may differ now.
    fn refresh_one(
        &mut self,
        snapshot: &Snapshot,
        record: &RecordId,
        now: DateTime<Utc>,
        touched: &mut BTreeSet<RecordId>,
    ) {
        touched.insert(record.clone());
        let mut name = None;
        if let Some(user) = snapshot.users.get(record) {
            let mut alone = self.projector.alone(user, &snapshot.roles, now);
            self.revoked.overrule(&mut alone, user, now);
            let given = match &alone.desired {
                Desired::Account(account) => 1 + account.entitlements.len(),
                Desired::None(_) => 0,
                Desired::Conflict(_) => match self.projector.access(user, &snapshot.roles, now) {
                    Access::Granted(entitlements) => 1 + entitlements.len(),
                    Access::Denied(_) | Access::Undecided(_) => 0,
                },
            };
            self.triples.insert(record.clone(), u64::try_from(given).unwrap_or(u64::MAX));
            self.parked.insert(record.clone(), alone.desired);
            name = alone.name;
        } else {
            self.triples.remove(record);
            self.parked.remove(record);
            // Whatever the target does with users who are gone, this one has no access.
            let revoked =
                self.revoked.of(record, &[], now).map(|revocation| Desired::None(revocation.no_access(record)));
            self.parked.extend(revoked.map(|revoked| (record.clone(), revoked)));
        }
        if self.names.get(record) != name.as_ref() {
            self.leave(record, touched);
            self.join(record, name, touched);
        }
    }

    fn leave(&mut self, record: &RecordId, touched: &mut BTreeSet<RecordId>) {
        let Some(name) = self.names.remove(record) else { return };
        let Some(holders) = self.holders.get_mut(&name) else { return };
        holders.remove(record);
        touched.extend(holders.iter().cloned());
        if holders.is_empty() {
            self.holders.remove(&name);
        }
    }

    fn join(&mut self, record: &RecordId, name: Option<String>, touched: &mut BTreeSet<RecordId>) {
        let Some(name) = name else { return };
        self.names.insert(record.clone(), name.clone());
        let holders = self.holders.entry(name).or_default();
        touched.extend(holders.iter().cloned());
        holders.insert(record.clone());
    }

    /// Writes the answer of one user who was projected again or whose rivals changed; whether it
    /// differs from before.
    fn settle(&mut self, snapshot: &Snapshot, record: &RecordId) -> bool {
        if !snapshot.users.contains_key(record) {
            let revoked = self.parked.remove(record);
            let same = self.desired.get(record) == revoked.as_ref();
            self.desired.remove(record);
            self.desired.extend(revoked.map(|revoked| (record.clone(), revoked)));
            return !same;
        }
        let rivals = self.names.get(record).and_then(|name| self.holders.get(name)).filter(|all| all.len() > 1);
        let Some(own) = self.parked.remove(record).or_else(|| self.desired.get(record).cloned()) else { return false };
        let answer = match (&own, rivals) {
            (Desired::Account(account), Some(rivals)) => {
                let conflict = Desired::Conflict(self.taken(account, rivals));
                self.parked.insert(record.clone(), own);
                conflict
            }
            _ => own,
        };
        if self.desired.get(record) == Some(&answer) {
            return false;
        }
        self.desired.insert(record.clone(), answer);
        true
    }

    fn taken(&self, account: &Projection, rivals: &BTreeSet<RecordId>) -> Conflict {
        let name = account.values.get(&AttributePath::user_name()).and_then(|name| name.value.as_ref());
        let name = name.and_then(|name| name.as_str()).unwrap_or_default();
        let mut named: Vec<String> = rivals.iter().take(NAMED).map(|record| format!("`{record}`")).collect();
        if let Some(more) = rivals.len().checked_sub(NAMED).filter(|more| *more > 0) {
            named.push(format!("{more} more"));
        }
        Conflict {
            code: "user-name-taken".to_owned(),
            message: format!(
                "user name `{name}` of target `{}` is wanted by {}",
                self.projector.target().name,
                named.join(", ")
            ),
            hint: "give all but one of them another value where the user name comes from".to_owned(),
        }
    }
}
