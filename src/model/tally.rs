//! What limits count: distinct things that recorded intents of one effect are about.
//!
//! A thing counts once in a window, however often it is tried: a leaver who is disabled twice, a
//! call that is sent again. It counts from the moment the intent is recorded, whatever becomes of
//! the call, since nobody can know what a lost answer left behind.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::model::account::Membership;
use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::path::AttributePath;

/// One row of the table of limits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counter {
    /// Taken away by inference.
    NarrowInferred,
    /// Taken away by the user's own document.
    NarrowExplicit,
    /// Taken away by an end date that was known for a day: outside percentages.
    NarrowDated,
    /// Creations, adoptions, reactivations, grants.
    Widen,
    /// Adoptions.
    Adopt,
    /// Grants of privileged entitlements.
    Privileged,
    /// Accounts with neutral changes.
    Update,
    /// Accounts on which this attribute is cleared.
    Clear(AttributePath),
    /// Deletions.
    Delete,
}

impl Counter {
    const PLAIN: [(Self, &str); 8] = [
        (Self::NarrowInferred, "narrow.inferred"),
        (Self::NarrowExplicit, "narrow.explicit"),
        (Self::NarrowDated, "narrow.dated"),
        (Self::Widen, "widen"),
        (Self::Adopt, "adopt"),
        (Self::Privileged, "privileged"),
        (Self::Update, "update"),
        (Self::Delete, "delete"),
    ];

    /// The word in the store.
    pub fn word(&self) -> String {
        if let Self::Clear(path) = self {
            return format!("clear {}", path.as_str());
        }
        let plain = Self::PLAIN.iter().find(|(counter, _)| counter == self);
        plain.map(|(_, word)| (*word).to_owned()).unwrap_or_default()
    }

    /// The counter of a word in the store.
    pub fn of_word(word: &str) -> Option<Self> {
        if let Some(path) = word.strip_prefix("clear ") {
            return AttributePath::parse(path).ok().map(Self::Clear);
        }
        Self::PLAIN.into_iter().find(|(_, known)| *known == word).map(|(counter, _)| counter)
    }
}

/// An account, or one entitlement of it. Named by the account, so that a renamed user counts once;
/// by the user where the account is not made yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thing(String);

impl Thing {
    /// From its word in the store.
    pub fn new(word: impl Into<String>) -> Self {
        Self(word.into())
    }

    /// The word in the store.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An account that the target has named.
    pub fn of_account(account: &AccountId) -> Self {
        Self(format!("account {}", account.as_str()))
    }

    /// The account of a user that is not made yet.
    pub fn of_user(record: &RecordId) -> Self {
        Self(format!("user {}", record.as_str()))
    }

    /// The account that a change is about.
    pub fn account(change: &Change) -> Self {
        change.account.as_ref().map_or_else(|| Self::of_user(&change.record), Self::of_account)
    }

    fn entitlement(change: &Change, membership: &Membership) -> Self {
        let Self(account) = Self::account(change);
        let membership = match membership {
            Membership::Group(id) => format!("group {id}"),
            Membership::Role(name) => format!("role {name}"),
        };
        // A line break is in no id that a target gives: the two parts cannot run into one another.
        Self(format!("{account}\n{membership}"))
    }
}

/// Everything that a change adds to limits. `dated`: it follows from an end date that was known for
/// a day. What a person revoked, and mails that are switched off with
/// an access, count nowhere here.
pub fn counted(change: &Change, dated: bool) -> BTreeSet<(Counter, Thing)> {
    let mut counted = BTreeSet::new();
    if change.is_revocation() || change.is_silencing() {
        return counted;
    }
    match change.effect {
        // Whatever still gave access is taken before an account is deleted.
        Effect::Narrows | Effect::Swaps if change.action == Action::Delete => {}
        Effect::Narrows | Effect::Swaps => {
            let cause = match change.cause.unwrap_or(Cause::Inferred) {
                Cause::Inferred => Counter::NarrowInferred,
                Cause::Explicit if dated => Counter::NarrowDated,
                Cause::Explicit => Counter::NarrowExplicit,
            };
            counted.extend(lost(change).into_iter().map(|thing| (cause.clone(), thing)));
        }
        Effect::Widens => counted.extend(given(change).into_iter().map(|thing| (Counter::Widen, thing))),
        Effect::Neutral => drop(counted.insert((Counter::Update, Thing::account(change)))),
    }
    if change.action == Action::Adopt {
        counted.insert((Counter::Adopt, Thing::account(change)));
    }
    if change.action == Action::Delete {
        counted.insert((Counter::Delete, Thing::account(change)));
    }
    let privileged = change.grant.iter().filter(|grant| grant.privileged);
    counted.extend(privileged.map(|grant| (Counter::Privileged, Thing::entitlement(change, &grant.membership))));
    counted.extend(cleared(change).map(|path| (Counter::Clear(path.clone()), Thing::account(change))));
    counted
}

/// The limits that a change counts for, whether or not it follows from an end date that was known for a day.
pub fn counters(change: &Change) -> BTreeSet<Counter> {
    let counted = counted(change, false).into_iter().map(|(counter, _)| counter);
    let mut counters: BTreeSet<Counter> = counted.collect();
    if counters.contains(&Counter::NarrowExplicit) {
        counters.insert(Counter::NarrowDated);
    }
    counters
}

/// Attributes that lose a value.
pub fn cleared(change: &Change) -> impl Iterator<Item = &AttributePath> {
    change.fields.iter().filter(|field| field.before.is_some() && field.after.is_none()).map(|field| &field.path)
}

/// An account is one, and so is each entitlement taken from a living one.
fn lost(change: &Change) -> Vec<Thing> {
    let whole = change.active == Some(false) || change.action == Action::Disable;
    if whole || change.revoke.is_empty() {
        return vec![Thing::account(change)];
    }
    change.revoke.iter().map(|entry| Thing::entitlement(change, &entry.membership)).collect()
}

/// An account that comes is one; on one that lives, each entitlement is.
fn given(change: &Change) -> Vec<Thing> {
    let grants = change.grant.iter().map(|entry| Thing::entitlement(change, &entry.membership));
    match change.action {
        Action::Create | Action::Reactivate | Action::Restore => vec![Thing::account(change)],
        Action::Adopt => grants.chain([Thing::account(change)]).collect(),
        Action::Update | Action::Narrow | Action::Disable | Action::Delete => grants.collect(),
    }
}

/// When each thing was last counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    things: BTreeMap<Counter, BTreeMap<Thing, DateTime<Utc>>>,
}

impl Tally {
    /// Counts a thing at `at`.
    pub fn add(&mut self, counter: Counter, thing: Thing, at: DateTime<Utc>) {
        let last = self.things.entry(counter).or_default().entry(thing).or_insert(at);
        *last = at.max(*last);
    }

    /// What was counted at `since` or later. A moment that is still to come counts too: a clock that
    /// was set back empties no window.
    pub fn since<'t>(&'t self, counter: &Counter, since: DateTime<Utc>) -> impl Iterator<Item = &'t Thing> + use<'t> {
        let things = self.things.get(counter).into_iter().flatten();
        things.filter(move |(_, at)| **at >= since).map(|(thing, _)| thing)
    }

    /// When a thing was last counted.
    pub fn last(&self, counter: &Counter, thing: &Thing) -> Option<DateTime<Utc>> {
        self.things.get(counter)?.get(thing).copied()
    }

    /// Forgets what was counted before `since`: no window reaches that far.
    pub fn forget_before(&mut self, since: DateTime<Utc>) {
        for things in self.things.values_mut() {
            things.retain(|_, at| *at >= since);
        }
    }
}

impl Extend<(Counter, Thing, DateTime<Utc>)> for Tally {
    fn extend<I: IntoIterator<Item = (Counter, Thing, DateTime<Utc>)>>(&mut self, rows: I) {
        rows.into_iter().for_each(|(counter, thing, at)| self.add(counter, thing, at));
    }
}

impl FromIterator<(Counter, Thing, DateTime<Utc>)> for Tally {
    fn from_iter<I: IntoIterator<Item = (Counter, Thing, DateTime<Utc>)>>(rows: I) -> Self {
        let mut tally = Self::default();
        tally.extend(rows);
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::change::EntitlementChange;
    use crate::model::change::FieldChange;
    use crate::model::list::List;

    fn change(action: Action, effect: Effect) -> Change {
        Change {
            record: "u".into(),
            account: Some("a".into()),
            action,
            effect,
            cause: (effect == Effect::Narrows).then_some(Cause::Explicit),
            fields: List::default(),
            grant: List::default(),
            revoke: List::default(),
            active: None,
            reason: "".into(),
            origins: List::default(),
        }
    }

    fn entitlements(privileged: &[bool]) -> Vec<EntitlementChange> {
        let one = |(number, privileged): (usize, &bool)| EntitlementChange {
            name: None,
            membership: Membership::Group(format!("g{number}")),
            privileged: *privileged,
            origins: List::default(),
        };
        privileged.iter().enumerate().map(one).collect()
    }

    fn check(change: &Change, dated: bool, expected: &[(&str, usize)]) {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for (counter, _) in counted(change, dated) {
            *found.entry(counter.word()).or_default() += 1;
        }
        let expected: BTreeMap<_, _> = expected.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_account_is_one_and_so_is_each_entitlement_of_a_living_one() {
        check(&change(Action::Disable, Effect::Narrows), false, &[("narrow.explicit", 1)]);
        check(&change(Action::Disable, Effect::Narrows), true, &[("narrow.dated", 1)]);
        let narrow = Change { revoke: entitlements(&[true, false]).into(), ..change(Action::Narrow, Effect::Narrows) };
        check(&narrow, false, &[("narrow.explicit", 2)]);
        let create = Change { grant: entitlements(&[true, false]).into(), ..change(Action::Create, Effect::Widens) };
        check(&create, false, &[("widen", 1), ("privileged", 1)]);
        let adopt = Change { grant: entitlements(&[false]).into(), ..change(Action::Adopt, Effect::Widens) };
        check(&adopt, false, &[("widen", 2), ("adopt", 1)]);
        let grant = Change { grant: entitlements(&[true, true]).into(), ..change(Action::Update, Effect::Widens) };
        check(&grant, false, &[("widen", 2), ("privileged", 2)]);
        check(&change(Action::Delete, Effect::Narrows), false, &[("delete", 1)]);
    }

    #[test]
    fn a_cleared_attribute_counts_by_its_path() {
        let field = |path: &str, after: Option<&str>| FieldChange {
            path: AttributePath::parse(path).unwrap(),
            before: Some("x".into()),
            after: after.map(Into::into),
            personal: false,
            sensitive: false,
            origins: List::default(),
        };
        let fields = vec![field("title", None), field("timezone", Some("y"))];
        check(
            &Change { fields: fields.into(), ..change(Action::Update, Effect::Neutral) },
            false,
            &[("update", 1), ("clear title", 1)],
        );
    }

    #[test]
    fn every_counter_is_known_by_its_word() {
        let clear = Counter::Clear(AttributePath::parse("name.givenName").unwrap());
        for counter in Counter::PLAIN.into_iter().map(|(counter, _)| counter).chain([clear]) {
            assert_eq!(Counter::of_word(&counter.word()), Some(counter));
        }
        assert_eq!(Counter::of_word("narrow"), None);
    }

    #[test]
    fn a_thing_counts_once_from_its_last_time() {
        let at = |second| DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(second);
        let mut tally = Tally::default();
        tally.add(Counter::Widen, Thing::new("a"), at(10));
        tally.add(Counter::Widen, Thing::new("a"), at(5));
        tally.add(Counter::Widen, Thing::new("b"), at(20));
        assert_eq!(tally.since(&Counter::Widen, at(10)).count(), 2);
        assert_eq!(tally.since(&Counter::Widen, at(11)).count(), 1);
        assert_eq!(tally.since(&Counter::Update, at(0)).count(), 0);
    }
}
