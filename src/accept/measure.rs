//! How much a snapshot grants, kept up to date from one load to the next.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;

use crate::accept::triples;
use crate::model::ids::RecordId;
use crate::model::ids::RoleName;
use crate::model::role::Role;
use crate::model::snapshot::Snapshot;
use crate::model::target::Target;
use crate::model::user::User;
use crate::model::users::Users;
use crate::project::Projector;
use crate::schedule;

/// Counts what users are granted in all targets, and looks only at those whose count may differ from
/// the last time: the edited ones and those of whom something began or ended.
#[derive(Debug, Default)]
pub struct Measure {
    targets: Vec<Arc<Target>>,
    roles: BTreeMap<RoleName, Arc<Role>>,
    users: Users,
    at: DateTime<Utc>,
    granted: u64,
    /// Of users with dates: what they are counted with, and until when that holds.
    dated: BTreeMap<RecordId, (u64, Option<DateTime<Utc>>)>,
    turns: BTreeSet<(DateTime<Utc>, RecordId)>,
}

impl Measure {
    /// How many accounts and entitlements `snapshot` grants at `now`.
    pub fn of(&mut self, projectors: &[Arc<Projector>], snapshot: &Snapshot, now: DateTime<Utc>) -> u64 {
        let same_targets = self.targets.iter().eq(projectors.iter().map(|projector| projector.target()));
        if !same_targets || self.roles != snapshot.roles || now < self.at {
            let targets = projectors.iter().map(|projector| Arc::clone(projector.target())).collect();
            *self = Self { targets, roles: snapshot.roles.clone(), ..Self::default() };
        }
        self.at = now;
        let before = std::mem::replace(&mut self.users, snapshot.users.clone());
        for edit in before.edits(&snapshot.users) {
            if let Some(old) = edit.before() {
                self.discount(projectors, &old);
            }
            if let Some(new) = edit.after() {
                self.count(projectors, &new);
            }
        }
        while let Some((_, record)) = self.turns.first().cloned().filter(|(turn, _)| *turn <= now) {
            let Some(user) = snapshot.users.get(&record) else { break };
            self.discount(projectors, &user);
            self.count(projectors, &user);
        }
        self.granted
    }

    fn count(&mut self, projectors: &[Arc<Projector>], user: &User) {
        let granted = granted(projectors, user, &self.roles, self.at);
        self.granted += granted;
        if user.is_dated() {
            let turn = schedule::next_transition(user, self.at);
            self.dated.insert(user.id.clone(), (granted, turn));
            self.turns.extend(turn.map(|turn| (turn, user.id.clone())));
        }
    }

    fn discount(&mut self, projectors: &[Arc<Projector>], user: &User) {
        let (granted, turn) = match self.dated.remove(&user.id) {
            Some(counted) => counted,
            // Without dates the count is the same at any time.
            None => (granted(projectors, user, &self.roles, self.at), None),
        };
        self.granted = self.granted.saturating_sub(granted);
        if let Some(turn) = turn {
            self.turns.remove(&(turn, user.id.clone()));
        }
    }
}

fn granted(
    projectors: &[Arc<Projector>],
    user: &User,
    roles: &BTreeMap<RoleName, Arc<Role>>,
    now: DateTime<Utc>,
) -> u64 {
    triples::count(triples::of_user(projectors, user, roles, now).0.len())
}

/// The same of a whole snapshot, counted anew.
pub(crate) fn whole(projectors: &[Arc<Projector>], snapshot: &Snapshot, now: DateTime<Utc>) -> u64 {
    snapshot.users.values().map(|user| granted(projectors, &user, &snapshot.roles, now)).sum()
}
