//! All users of one target, and who wants which user name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;

use crate::model::ids::RecordId;
use crate::model::ids::RoleName;
use crate::model::one_or_more::OneOrMore;
use crate::model::packed::PackedUser;
use crate::model::path::AttributePath;
use crate::model::projection::Conflict;
use crate::model::projection::Desired;
use crate::model::projection::Projection;
use crate::model::projection::Wishes;
use crate::model::snapshot::Snapshot;
use crate::model::user::User;
use crate::project::Access;
use crate::project::Alone;
use crate::project::Projector;
use crate::project::Revoked;
use crate::schedule;

/// So many users are named in a conflict over one user name.
const NAMED: usize = 5;

/// What every user should have in one target at one moment, worked out when it is asked for.
///
/// A copy costs nothing and stays as it is.
#[derive(Clone, Debug)]
pub struct Projections {
    projector: Arc<Projector>,
    snapshot: Arc<Snapshot>,
    /// Whom a person revoked.
    revoked: Arc<Revoked>,
    now: DateTime<Utc>,
    /// Users who want a user name that others want, too.
    taken: Arc<BTreeMap<RecordId, Conflict>>,
}

impl Wishes for Projections {
    /// A user who is not in the snapshot has no answer, unless revoked.
    fn of(&self, record: &RecordId) -> Option<Cow<'_, Desired>> {
        let desired = match self.taken.get(record) {
            Some(conflict) => Desired::Conflict(conflict.clone()),
            None => self.alone(record)?.desired,
        };
        Some(Cow::Owned(desired))
    }

    /// Whom a person revoked is expected nowhere.
    fn expected(&self, record: &RecordId) -> Option<Projection> {
        let user = self.snapshot.users.get(record)?;
        if self.revoked.of(record, &user.formerly, self.now).is_some() {
            return None;
        }
        self.projector.expected(&user, &self.snapshot.roles, self.now)
    }

    fn contains(&self, record: &RecordId) -> bool {
        self.snapshot.users.contains_key(record) || self.revoked.of(record, &[], self.now).is_some()
    }

    fn records(&self) -> Box<dyn Iterator<Item = &RecordId> + '_> {
        let undeclared = self.revoked.standing(self.now).map(|(record, _)| record);
        let undeclared = undeclared.filter(|record| !self.snapshot.users.contains_key(record));
        Box::new(self.snapshot.users.keys().chain(undeclared))
    }

    fn renamed(&self) -> Box<dyn Iterator<Item = &RecordId> + '_> {
        Box::new(self.snapshot.users.renamed_records())
    }
}

impl Projections {
    /// What one user should have if nobody else wanted the same user name.
    fn alone(&self, record: &RecordId) -> Option<Alone> {
        let Some(user) = self.snapshot.users.get(record) else {
            // Whatever the target does with users who are gone, this one has no access.
            let revocation = self.revoked.of(record, &[], self.now)?;
            return Some(Alone { desired: Desired::None(revocation.no_access(record)), name: None });
        };
        let mut alone = self.projector.alone(&user, &self.snapshot.roles, self.now);
        self.revoked.overrule(&mut alone, &user, self.now);
        Some(alone)
    }

    /// How many accounts and entitlements the snapshot gives this user.
    fn given(&self, record: &RecordId, alone: Option<&Alone>) -> u64 {
        let given = match alone.map(|alone| &alone.desired) {
            Some(Desired::Account(account)) => 1 + account.entitlements.len(),
            Some(Desired::Conflict(_)) => match self.snapshot.users.get(record).map(|user| self.access(&user)) {
                Some(Access::Granted(entitlements)) => 1 + entitlements.len(),
                Some(Access::Denied(_) | Access::Undecided(_)) | None => 0,
            },
            Some(Desired::None(_)) | None => 0,
        };
        u64::try_from(given).unwrap_or(u64::MAX)
    }

    fn access(&self, user: &User) -> Access {
        self.projector.access(user, &self.snapshot.roles, self.now)
    }

    /// The next moment at which the answer of one user may change by itself.
    fn turn(&self, record: &RecordId) -> Option<DateTime<Utc>> {
        // Most users have no dates and one record id, and need not be unpacked to know it.
        let turns = |user: &&PackedUser| user.is_dated() || user.is_renamed();
        let user = self.snapshot.users.packed(record).filter(turns).map(PackedUser::user);
        let ends = self.revoked.ends(record, user.as_ref().map_or(&[], |user| &user.formerly), self.now);
        let turns = user.and_then(|user| schedule::next_transition(&user, self.now));
        [ends, turns].into_iter().flatten().min()
    }

    /// Users whose answer depends on the time.
    fn dated(&self) -> impl Iterator<Item = RecordId> {
        let said = |record: &RecordId| self.revoked.records().any(|said| said == record);
        let renamed = self.snapshot.users.renamed().filter(move |user| user.formerly.iter().any(said));
        let users = self.snapshot.users.dated().chain(renamed).map(|user| user.id);
        users.chain(self.revoked.records().cloned())
    }

    /// Users whose answer may be another in `later`, times apart.
    fn edited(&self, later: &Self) -> BTreeSet<RecordId> {
        let mut edited: BTreeSet<_> =
            self.snapshot.users.edits(&later.snapshot.users).map(|edit| edit.record.clone()).collect();
        let (old, new) = (&self.snapshot.roles, &later.snapshot.roles);
        if old != new {
            let other = old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name));
            let other: BTreeSet<&RoleName> = other.collect();
            let holds = |user: &User| user.roles.iter().any(|held| other.contains(&held.name));
            edited.extend(later.snapshot.users.values().filter(holds).map(|user| user.id));
        }
        if !Arc::ptr_eq(&self.revoked, &later.revoked) {
            let said: BTreeSet<_> = self.revoked.differences(&later.revoked).collect();
            let renamed = later.snapshot.users.renamed();
            let renamed = renamed.filter(|user| user.formerly.iter().any(|old| said.contains(old)));
            edited.extend(renamed.map(|user| user.id));
            edited.extend(said.into_iter().cloned());
        }
        edited
    }
}

/// What every user of a snapshot should have in one target, kept up to date by what differs.
///
/// # Guarantees
/// After any sequence of refreshes the table equals one made anew from the last snapshot, words and
/// time, and each answer that changed was told once.
#[derive(Debug)]
pub struct Table {
    projections: Arc<Projections>,
    /// Who wants a user name, by its hash, which other names may share.
    holders: BTreeMap<u64, OneOrMore<RecordId>>,
    /// When answers may change by themselves.
    turns: BTreeSet<(DateTime<Utc>, RecordId)>,
    triples: u64,
}

impl Table {
    /// A table of nobody.
    pub fn new(projector: Arc<Projector>) -> Self {
        let projections = Projections {
            projector,
            snapshot: Arc::default(),
            revoked: Arc::default(),
            now: DateTime::<Utc>::MIN_UTC,
            taken: Arc::default(),
        };
        Self { projections: Arc::new(projections), holders: BTreeMap::new(), turns: BTreeSet::new(), triples: 0 }
    }

    /// The target's projector.
    pub fn projector(&self) -> &Arc<Projector> {
        &self.projections.projector
    }

    /// What everybody should have, as of the last refresh.
    pub fn projections(&self) -> Arc<Projections> {
        Arc::clone(&self.projections)
    }

    /// What one user should have.
    pub fn desired(&self, record: &RecordId) -> Option<Desired> {
        self.projections.of(record).map(Cow::into_owned)
    }

    /// How many accounts and entitlements the snapshot gives in this target; users in conflict
    /// count with what they are granted.
    pub fn triples(&self) -> u64 {
        self.triples
    }

    /// The next moment at which an answer may change by itself.
    pub fn next_turn(&self) -> Option<DateTime<Utc>> {
        self.turns.first().map(|(at, _)| *at)
    }

    /// Takes the first snapshot in, people's words and the time; nobody is told.
    pub fn begin(&mut self, snapshot: &Arc<Snapshot>, revoked: &Arc<Revoked>, now: DateTime<Utc>) {
        let old = Self::new(Arc::clone(self.projector())).projections;
        let (snapshot, revoked) = (Arc::clone(snapshot), Arc::clone(revoked));
        let new = Projections { snapshot, revoked, now, ..Projections::clone(&old) };
        *self = Self::new(Arc::clone(self.projector()));
        let mut groups = BTreeSet::new();
        let undeclared = new.revoked.records().filter(|record| !new.snapshot.users.contains_key(record));
        for record in new.snapshot.users.keys().chain(undeclared) {
            self.follow(&old, &new, record, &mut groups);
        }
        let mut rivals = BTreeSet::new();
        self.settle(&new, &groups, &mut rivals);
    }

    /// Takes a snapshot, people's words and the time in.
    ///
    /// Returns the users whose answer changed, removed ones and those included who win or lose a
    /// conflict over a user name with one of them; and when, of those of whom something began or ended.
    pub fn refresh(
        &mut self,
        snapshot: &Arc<Snapshot>,
        revoked: &Arc<Revoked>,
        now: DateTime<Utc>,
    ) -> BTreeMap<RecordId, Option<DateTime<Utc>>> {
        let old = Arc::clone(&self.projections);
        let (snapshot, revoked) = (Arc::clone(snapshot), Arc::clone(revoked));
        let new = Projections { snapshot, revoked, now, ..Projections::clone(&old) };
        let arrived = self.arrived(now);
        let mut touched = old.edited(&new);
        if now < old.now {
            // What had begun or ended may not have.
            touched.extend(new.dated());
        }
        touched.extend(arrived.keys().cloned());
        let mut groups = BTreeSet::new();
        for record in &touched {
            self.follow(&old, &new, record, &mut groups);
        }
        self.settle(&new, &groups, &mut touched);
        let differ = touched.into_iter().filter(|record| old.of(record) != self.projections.of(record));
        let with_turn = |record| {
            let at = arrived.get(&record).copied();
            (record, at)
        };
        differ.map(with_turn).collect()
    }

    /// Takes out of whom something began or ended, and when.
    fn arrived(&mut self, now: DateTime<Utc>) -> BTreeMap<RecordId, DateTime<Utc>> {
        let mut arrived = BTreeMap::new();
        while let Some((at, record)) = self.turns.first().filter(|(at, _)| *at <= now).cloned() {
            self.turns.pop_first();
            arrived.insert(record, at);
        }
        arrived
    }

    /// Notes what one user wants now; and names, by their hash, of which others may be told something else.
    fn follow(&mut self, old: &Projections, new: &Projections, record: &RecordId, groups: &mut BTreeSet<u64>) {
        let (before, after) = (old.alone(record), new.alone(record));
        self.triples = self.triples.saturating_sub(old.given(record, before.as_ref()));
        self.triples = self.triples.saturating_add(new.given(record, after.as_ref()));
        if let Some(turn) = old.turn(record) {
            self.turns.remove(&(turn, record.clone()));
        }
        self.turns.extend(new.turn(record).map(|turn| (turn, record.clone())));
        let (left, joined) = (before.and_then(|alone| alone.name), after.and_then(|alone| alone.name));
        if left != joined {
            if let Some(name) = &left {
                self.leave(hash(name), record);
            }
            if let Some(name) = &joined {
                OneOrMore::join(&mut self.holders, hash(name), record.clone());
            }
        }
        let rivals =
            |group: &u64| self.holders.get(group).is_some_and(|held| held.iter().any(|holder| holder != record));
        groups.extend([left, joined].into_iter().flatten().map(|name| hash(&name)).filter(rivals));
    }

    fn leave(&mut self, group: u64, record: &RecordId) {
        let left = self.holders.remove(&group).and_then(|holders| holders.without(record));
        self.holders.extend(left.map(|left| (group, left)));
    }

    /// Decides the conflicts over names of users who were projected again (`touched`) and of whoever may
    /// want a name of these groups, who is touched by it.
    fn settle(&mut self, new: &Projections, groups: &BTreeSet<u64>, touched: &mut BTreeSet<RecordId>) {
        let mut conflicts = BTreeMap::new();
        for holders in groups.iter().filter_map(|group| self.holders.get(group)) {
            touched.extend(holders.iter().cloned());
            if let OneOrMore::More(holders) = holders {
                self.decide(new, holders, &mut conflicts);
            }
        }
        let mut taken = Arc::clone(&new.taken);
        if touched.iter().any(|record| taken.get(record) != conflicts.get(record)) {
            let taken = Arc::make_mut(&mut taken);
            for record in touched.iter() {
                taken.remove(record);
            }
            taken.append(&mut conflicts);
        }
        self.projections = Arc::new(Projections { taken, ..new.clone() });
    }

    /// The conflicts among users whose names share a hash.
    fn decide(&self, new: &Projections, holders: &BTreeSet<RecordId>, conflicts: &mut BTreeMap<RecordId, Conflict>) {
        let mut by_name: BTreeMap<String, Vec<(&RecordId, Desired)>> = BTreeMap::new();
        for (record, alone) in holders.iter().filter_map(|record| Some((record, new.alone(record)?))) {
            if let Alone { desired, name: Some(name) } = alone {
                by_name.entry(name).or_default().push((record, desired));
            }
        }
        for rivals in by_name.into_values().filter(|rivals| rivals.len() > 1) {
            let named = named(&rivals);
            let accounts = rivals.into_iter().filter_map(|(record, desired)| match desired {
                Desired::Account(account) => Some((record, account)),
                Desired::None(_) | Desired::Conflict(_) => None,
            });
            conflicts.extend(accounts.map(|(record, account)| (record.clone(), self.taken(&account, &named))));
        }
    }

    fn taken(&self, account: &Projection, named: &str) -> Conflict {
        let name = account.values.get(&AttributePath::user_name()).and_then(|name| name.value.as_ref());
        let name = name.and_then(|name| name.as_str()).unwrap_or_default();
        Conflict {
            code: "user-name-taken".to_owned(),
            message: format!("user name `{name}` of target `{}` is wanted by {named}", self.projector().target().name),
            hint: "give all but one of them another value where the user name comes from".to_owned(),
        }
    }
}

fn named(rivals: &[(&RecordId, Desired)]) -> String {
    let mut named: Vec<_> = rivals.iter().take(NAMED).map(|(record, _)| format!("`{record}`")).collect();
    if let Some(more) = rivals.len().checked_sub(NAMED).filter(|more| *more > 0) {
        named.push(format!("{more} more"));
    }
    named.join(", ")
}

/// Names that share a hash are told apart where it matters, so that any hash does.
fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
