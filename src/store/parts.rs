//! The accepted snapshot in parts, each sealed.
//!
//! Users lie in buckets by a hash of their record id. A new snapshot writes only the buckets whose
//! users changed, so one changed manifest among 100,000 users writes some kilobytes and not all.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;

use crate::model::ids::RecordId;
use crate::model::packed::PackedUser;
use crate::model::role::Role;
use crate::model::snapshot::Snapshot;
use crate::model::user::User;
use crate::model::users::Users;
use crate::secrets::keys::Keys;
use crate::store::AcceptedSnapshot;
use crate::store::rows::RowError;
use crate::store::rows::part_context;

/// 100,000 users make buckets of about a hundred, a million of about a thousand.
const BUCKETS: u32 = 1024;

/// The bucket that holds all roles.
const ROLES: i64 = -1;

/// The bucket that holds users as the last accepted load has them, by record id, where documents that
/// nobody accepted narrowed them since.
const NARROWED_FROM: i64 = -2;

/// Generation, digest, level, time, number of users and of roles.
pub type SnapshotRow = (i64, String, i64, i64, i64, i64);

/// Buckets whose users differ between two snapshots.
pub fn changed(last: &AcceptedSnapshot, next: &AcceptedSnapshot) -> BTreeSet<i64> {
    let narrowed_from = (last.narrowed_from != next.narrowed_from).then_some(NARROWED_FROM);
    let edits = last.snapshot.users.edits(&next.snapshot.users);
    edits.map(|edit| bucket(edit.record)).chain(narrowed_from).collect()
}

/// Who lies in which bucket: nobody looks through everybody for the others of a bucket.
#[derive(Debug, Default)]
pub struct Buckets {
    users: Users,
    members: BTreeMap<i64, BTreeSet<RecordId>>,
}

impl Buckets {
    /// Follows to the users of another snapshot.
    fn follow(&mut self, next: &Users) {
        let before = std::mem::replace(&mut self.users, next.clone());
        for edit in before.edits(next) {
            let members = self.members.entry(bucket(edit.record)).or_default();
            if edit.stays() {
                members.insert(edit.record.clone());
            } else {
                members.remove(edit.record);
            }
        }
    }

    /// Users by bucket, of those buckets asked for that hold anybody.
    fn of(&mut self, next: &Users, only: Option<&BTreeSet<i64>>) -> BTreeMap<i64, Vec<PackedUser>> {
        self.follow(next);
        let asked = self.members.iter().filter(|(bucket, _)| only.is_none_or(|only| only.contains(*bucket)));
        let users = |members: &BTreeSet<RecordId>| members.iter().filter_map(|id| next.packed(id).cloned()).collect();
        asked
            .map(|(bucket, members)| (*bucket, users(members)))
            .filter(|(_, users): &(i64, Vec<_>)| !users.is_empty())
            .collect()
    }
}

/// The sealed parts of `next` that differ from `last`, one at a time; without it, all of them.
pub fn sealed<'a>(
    keys: &'a Keys,
    last: Option<&AcceptedSnapshot>,
    next: &'a AcceptedSnapshot,
    (buckets, stale): (&mut Buckets, Option<&BTreeSet<i64>>),
) -> impl Iterator<Item = Result<(i64, Vec<u8>), RowError>> + use<'a> {
    let seal = |bucket: i64, plain: Result<Vec<u8>, serde_json::Error>| {
        Ok((bucket, keys.seal(&part_context(bucket), &plain?)?))
    };
    let narrowed_from = !next.narrowed_from.is_empty() && stale.is_none_or(|stale| stale.contains(&NARROWED_FROM));
    let narrowed_from = narrowed_from.then(|| seal(NARROWED_FROM, serde_json::to_vec(&next.narrowed_from)));
    let next = &*next.snapshot;
    let roles = last.is_none_or(|last| last.snapshot.roles != next.roles);
    let roles = roles.then(|| {
        let roles: Vec<&Arc<Role>> = next.roles.values().collect();
        seal(ROLES, serde_json::to_vec(&roles))
    });
    let users = buckets.of(&next.users, stale).into_iter();
    let form = |users: Vec<PackedUser>| serde_json::to_vec(&users.iter().map(PackedUser::user).collect::<Vec<_>>());
    users.map(move |(bucket, users)| seal(bucket, form(users))).chain(roles).chain(narrowed_from)
}

/// A snapshot from its row and its parts, whole or an error.
pub fn assemble(
    keys: &Keys,
    (generation, digest, level, at, users, roles): SnapshotRow,
    parts: Vec<(i64, Vec<u8>)>,
) -> Result<AcceptedSnapshot, RowError> {
    let (mut snapshot, mut narrowed_from) = (Snapshot::default(), BTreeMap::new());
    for (bucket, body) in parts {
        let plain = keys.open(&part_context(bucket), &body)?;
        if bucket == ROLES {
            let roles: Vec<Arc<Role>> = serde_json::from_slice(&plain)?;
            snapshot.roles = roles.into_iter().map(|role| (role.name.clone(), role)).collect();
        } else if bucket == NARROWED_FROM {
            narrowed_from = serde_json::from_slice(&plain)?;
        } else {
            let users: Vec<User> = serde_json::from_slice(&plain)?;
            snapshot.users.extend(users);
        }
    }
    if (count(snapshot.users.len()), count(snapshot.roles.len())) != (users, roles) {
        return Err(RowError::Text(
            "the stored snapshot is not whole: a part of it was taken out of the store; put back a copy of it"
                .to_owned(),
        ));
    }
    Ok(AcceptedSnapshot {
        snapshot: Arc::new(snapshot),
        digest: digest.into(),
        generation: generation.cast_unsigned(),
        level: level.cast_unsigned(),
        at: DateTime::from_timestamp_nanos(at),
        narrowed_from,
    })
}

/// FNV-1a, written out because it must never change: it says where a stored user lies.
fn bucket(id: &RecordId) -> i64 {
    let hash =
        id.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i64::from(hash % BUCKETS)
}

/// A length as the database takes it.
pub fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use proptest::prelude::*;

    use super::*;

    fn user(number: u32, version: u32) -> User {
        User { given_name: Some(version.to_string()), ..User::plain(&format!("u-{number}")) }
    }

    fn accepted(users: Users) -> AcceptedSnapshot {
        AcceptedSnapshot {
            snapshot: Arc::new(Snapshot { users, ..Snapshot::default() }),
            digest: "d".into(),
            generation: 1,
            level: 0,
            at: DateTime::<Utc>::UNIX_EPOCH,
            narrowed_from: BTreeMap::new(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// What is written of one snapshot after another, some of them in vain, is the last one.
        #[test]
        fn the_parts_that_are_written_make_the_snapshot_whole(
            steps in prop::collection::vec((prop::collection::vec((0..3_000_u32, prop::option::of(0..9_u32)), 0..40), any::<bool>()), 1..8),
        ) {
            let keys = Keys::generate().unwrap();
            let mut buckets = Buckets::default();
            let mut held: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
            let mut last: Option<AcceptedSnapshot> = None;
            let mut users: Users = (0..2_000).map(|number| user(number, 0)).collect();
            for (edits, taken) in steps {
                for (number, version) in edits {
                    match version {
                        Some(version) => drop(users.insert(&user(number, version))),
                        None => drop(users.remove(&user(number, 0).id)),
                    }
                }
                let next = accepted(users.clone());
                let stale = last.as_ref().map(|last| changed(last, &next));
                let parts: Vec<_> = sealed(&keys, last.as_ref(), &next, (&mut buckets, stale.as_ref())).map(Result::unwrap).collect();
                if !taken {
                    // The commit failed: what is held stays as it is, and so does what is known of it.
                    continue;
                }
                held.retain(|bucket, _| stale.as_ref().is_some_and(|stale| !stale.contains(bucket)));
                held.extend(parts);
                let row = (1, "d".to_owned(), 0, 0, count(users.len()), 0);
                let whole = assemble(&keys, row, held.clone().into_iter().collect()).unwrap();
                prop_assert!(whole.snapshot == next.snapshot);
                last = Some(next);
            }
        }
    }
}
