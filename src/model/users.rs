//! The users of a snapshot: a map that costs nothing to copy and tells what differs.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use imbl::OrdMap;
use imbl::OrdSet;
use imbl::ordmap::DiffItem;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error as _;

use crate::model::ids::RecordId;
use crate::model::packed::PackedUser;
use crate::model::user::User;

/// Users by record id.
///
/// A copy shares all of its parts with what it was copied from, so that a load of 100,000 users of
/// which one differs costs one user: in making it, in keeping both, and in telling what differs.
#[derive(Clone, Debug, Default)]
pub struct Users {
    by_id: OrdMap<RecordId, PackedUser>,
    /// Those who had another record id.
    renamed: OrdSet<RecordId>,
    /// Record ids that users had, with those that they have.
    former: OrdSet<(RecordId, RecordId)>,
    /// Those of whom some access begins or ends at a date.
    dated: OrdSet<RecordId>,
}

/// What became of one user between two snapshots: at least one side is there, and they differ.
#[derive(Clone, Copy, Debug)]
pub struct Edit<'a> {
    /// Which user.
    pub record: &'a RecordId,
    old: Option<&'a PackedUser>,
    new: Option<&'a PackedUser>,
}

impl Edit<'_> {
    /// The user of the earlier snapshot.
    pub fn before(&self) -> Option<User> {
        self.old.map(PackedUser::user)
    }

    /// The user of the later one.
    pub fn after(&self) -> Option<User> {
        self.new.map(PackedUser::user)
    }

    /// Whether the later snapshot has the user.
    pub fn stays(&self) -> bool {
        self.new.is_some()
    }
}

impl Users {
    /// The user of a record id.
    pub fn get(&self, record: &RecordId) -> Option<User> {
        self.packed(record).map(PackedUser::user)
    }

    /// The same, as it is kept.
    pub fn packed(&self, record: &RecordId) -> Option<&PackedUser> {
        self.by_id.get(record)
    }

    /// Whether the record id is declared.
    pub fn contains_key(&self, record: &RecordId) -> bool {
        self.by_id.contains_key(record)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Everybody, by record id.
    pub fn iter(&self) -> impl Iterator<Item = (&RecordId, User)> {
        self.by_id.iter().map(|(record, user)| (record, user.user()))
    }

    /// Every record id, in order.
    pub fn keys(&self) -> impl Iterator<Item = &RecordId> {
        self.by_id.keys()
    }

    /// Every user, by record id.
    pub fn values(&self) -> impl Iterator<Item = User> {
        self.by_id.values().map(PackedUser::user)
    }

    /// Users who had another record id.
    pub fn renamed(&self) -> impl Iterator<Item = User> {
        self.renamed.iter().filter_map(|record| self.get(record))
    }

    /// Users of whom some access begins or ends at a date.
    pub fn dated(&self) -> impl Iterator<Item = User> {
        self.dated.iter().filter_map(|record| self.get(record))
    }

    /// Record ids of users who had another one.
    pub fn renamed_records(&self) -> impl Iterator<Item = &RecordId> {
        self.renamed.iter()
    }

    /// Record ids that users had, each with one that they have; nobody is unpacked for it.
    pub fn former(&self) -> impl Iterator<Item = (&RecordId, &RecordId)> {
        self.former.iter().map(|(old, new)| (old, new))
    }

    /// The user of a record id, also where it is one that they had.
    pub fn by_any_id(&self, record: &RecordId) -> Option<User> {
        let first = (record.clone(), RecordId::from(""));
        let renamed = || self.former.range(first..).next().filter(|(old, _)| old == record);
        self.get(record).or_else(|| self.get(&renamed()?.1))
    }

    /// Whether a user had this record id.
    pub fn is_former(&self, record: &RecordId) -> bool {
        self.former.range((record.clone(), RecordId::from(""))..).next().is_some_and(|(old, _)| old == record)
    }

    /// Takes a user in; whether nobody was there under the same record id.
    pub fn insert(&mut self, user: &User) -> bool {
        self.put(PackedUser::of(user))
    }

    /// The same of one who is packed already.
    pub fn put(&mut self, user: PackedUser) -> bool {
        let record = user.id().clone();
        let new = !self.remove(&record);
        if user.is_renamed() {
            self.renamed.insert(record.clone());
            self.former.extend(user.user().formerly.into_iter().map(|old| (old, record.clone())));
        }
        if user.is_dated() {
            self.dated.insert(record.clone());
        }
        self.by_id.insert(record, user);
        new
    }

    /// Takes a user out; whether there was one.
    pub fn remove(&mut self, record: &RecordId) -> bool {
        self.dated.remove(record);
        let user = self.by_id.remove(record);
        if self.renamed.remove(record).is_some() {
            for old in user.iter().flat_map(|user| user.user().formerly) {
                self.former.remove(&(old, record.clone()));
            }
        }
        user.is_some()
    }

    /// Whose document differs in `later`, in order of record id. Costs what differs where one was copied
    /// from the other, however often both were changed since.
    pub fn edits<'a>(&'a self, later: &'a Self) -> impl Iterator<Item = Edit<'a>> {
        self.by_id.diff(&later.by_id).map(|item| match item {
            DiffItem::Add(record, new) => Edit { record, old: None, new: Some(new) },
            DiffItem::Remove(record, old) => Edit { record, old: Some(old), new: None },
            DiffItem::Update { old: (record, old), new: (_, new) } => Edit { record, old: Some(old), new: Some(new) },
        })
    }
}

impl PartialEq for Users {
    fn eq(&self, other: &Self) -> bool {
        self.edits(other).next().is_none()
    }
}

impl<U: Borrow<User>> Extend<U> for Users {
    fn extend<I: IntoIterator<Item = U>>(&mut self, users: I) {
        for user in users {
            self.insert(user.borrow());
        }
    }
}

impl<U: Borrow<User>> FromIterator<U> for Users {
    fn from_iter<I: IntoIterator<Item = U>>(users: I) -> Self {
        let mut all = Self::default();
        all.extend(users);
        all
    }
}

impl Serialize for Users {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Users {
    /// Each user stands under its record id; both must agree, or a plan would be about neither.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let users: BTreeMap<RecordId, User> = BTreeMap::deserialize(deserializer)?;
        match users.iter().find(|(record, user)| **record != user.id) {
            Some((record, _)) => Err(D::Error::custom(format!("the user at `{record}` has another name inside"))),
            None => Ok(users.into_values().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::user::Validity;

    fn user(number: usize, version: u32) -> User {
        let id = format!("u-{number:05}");
        let formerly = if version % 3 == 1 { vec![format!("o-{number:05}").as_str().into()] } else { Vec::new() };
        let until = (version % 5 == 2).then_some(chrono::DateTime::UNIX_EPOCH);
        let valid = Validity { from: None, until };
        User { formerly, given_name: Some(version.to_string()), valid, ..User::plain(&id) }
    }

    #[test]
    fn a_user_is_found_by_a_record_id_that_they_had_unless_it_is_anothers_now() {
        let mut users = Users::default();
        users.insert(&user(1, 1));
        let known = |users: &Users, id: &str| users.by_any_id(&id.into()).map(|user| user.id.to_string());
        assert_eq!(known(&users, "u-00001").as_deref(), Some("u-00001"));
        assert_eq!(known(&users, "o-00001").as_deref(), Some("u-00001"));
        assert_eq!(known(&users, "o-00000"), None, "the next one is somebody else's");
        users.insert(&User::plain("o-00001"));
        assert_eq!(known(&users, "o-00001").as_deref(), Some("o-00001"));
    }

    /// Runs of neighbours and lone users, put in (`Some`) or taken out.
    fn any_steps() -> impl Strategy<Value = Vec<(usize, usize, Option<u32>)>> {
        prop::collection::vec((0..6_000_usize, prop_oneof![Just(1), 1..400_usize], prop::option::of(0..7_u32)), 0..12)
    }

    fn apply(users: &mut Users, plain: &mut BTreeMap<RecordId, User>, steps: Vec<(usize, usize, Option<u32>)>) {
        for (first, many, version) in steps {
            for number in first..first + many {
                let id = user(number, 0).id.clone();
                let person = version.map(|version| user(number, version));
                let (one, other) = match &person {
                    Some(person) => (users.insert(person), plain.insert(id, person.clone()).is_none()),
                    None => (users.remove(&id), plain.remove(&id).is_some()),
                };
                assert_eq!(one, other);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// However two of them came about from common parts, every difference is told, and nothing else.
        #[test]
        fn what_differs_between_copies_is_told_to_the_last_user(
            before in any_steps(), one in any_steps(), other in any_steps(),
        ) {
            let mut users: Users = (0..5_000).map(|number| user(number, 0)).collect();
            let mut plain: BTreeMap<_, _> = users.iter().map(|(id, user)| (id.clone(), user)).collect();
            apply(&mut users, &mut plain, before);
            let (mut left, mut right) = (users.clone(), users);
            let (mut plain_left, mut plain_right) = (plain.clone(), plain);
            apply(&mut left, &mut plain_left, one);
            apply(&mut right, &mut plain_right, other);
            let ids: std::collections::BTreeSet<_> = plain_left.keys().chain(plain_right.keys()).collect();
            let expected: Vec<_> = ids
                .into_iter()
                .filter(|id| plain_left.get(id) != plain_right.get(id))
                .map(|id| (id, plain_left.get(id).cloned(), plain_right.get(id).cloned()))
                .collect();
            let found: Vec<_> = left.edits(&right).map(|edit| (edit.record, edit.before(), edit.after())).collect();
            prop_assert_eq!(found.len(), expected.len());
            prop_assert!(found == expected);
            prop_assert_eq!(left == right, expected.is_empty());
            prop_assert_eq!(right.len(), plain_right.len());
            let renamed = plain_right.values().filter(|user| !user.formerly.is_empty());
            prop_assert!(right.renamed().eq(renamed.cloned()));
            let former = plain_right.values().flat_map(|user| user.formerly.iter().map(|old| (old, &user.id)));
            let former: std::collections::BTreeSet<_> = former.collect();
            prop_assert!(right.former().eq(former.iter().copied()));
            prop_assert!(former.iter().all(|(old, new)| right.is_former(old) && !right.is_former(new)));
            prop_assert!(right.dated().eq(plain_right.values().filter(|user| user.is_dated()).cloned()));
        }
    }
}
