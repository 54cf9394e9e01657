//! A set that mostly has one member, and then costs no more than it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// At least one of something: who wants a user name, of whom there should be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OneOrMore<T> {
    /// One.
    One(T),
    /// At least two; elsewhere, so that the usual case is small.
    More(Box<BTreeSet<T>>),
}

impl<T: Ord> OneOrMore<T> {
    /// Adds one to those of a key.
    pub fn join<K: Ord>(groups: &mut BTreeMap<K, Self>, key: K, item: T) {
        let group = Self::with(groups.remove(&key), item);
        groups.insert(key, group);
    }

    /// Those and this one, too.
    fn with(items: Option<Self>, item: T) -> Self {
        match items {
            None => Self::One(item),
            Some(Self::One(one)) if one == item => Self::One(one),
            Some(Self::One(one)) => Self::More(Box::new(BTreeSet::from([one, item]))),
            Some(Self::More(mut items)) => {
                items.insert(item);
                Self::More(items)
            }
        }
    }

    /// Without this one; `None` where nobody is left.
    #[must_use]
    pub fn without(self, item: &T) -> Option<Self> {
        match self {
            Self::One(one) => (one != *item).then_some(Self::One(one)),
            Self::More(mut items) => {
                items.remove(item);
                if items.len() > 1 { Some(Self::More(items)) } else { items.pop_first().map(Self::One) }
            }
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let (one, more) = match self {
            Self::One(one) => (Some(one), None),
            Self::More(items) => (None, Some(items)),
        };
        one.into_iter().chain(more.into_iter().flat_map(|items| items.iter()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds(steps in prop::collection::vec((any::<bool>(), 0..4_u8), 0..20)) {
            let (mut found, mut expected) = (None::<OneOrMore<u8>>, BTreeSet::new());
            for (joins, item) in steps {
                found = match found {
                    found if joins => Some(OneOrMore::with(found, item)),
                    found => found.and_then(|found| found.without(&item)),
                };
                if joins { expected.insert(item); } else { expected.remove(&item); }
                let items: Vec<_> = found.iter().flat_map(OneOrMore::iter).copied().collect();
                prop_assert_eq!(&items, &expected.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(matches!(found, Some(OneOrMore::One(_))), items.len() == 1);
            }
        }
    }
}
