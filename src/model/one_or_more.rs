//! A set that mostly has one member, and then costs no more than it.

use std::collections::BTreeSet;
use std::slice;

/// At least one of something: who wants a user name, of whom there should be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OneOrMore<T> {
    /// One.
    One(T),
    /// At least two.
    More(BTreeSet<T>),
}

impl<T: Ord> OneOrMore<T> {
    /// Those and this one, too.
    pub fn with(items: Option<Self>, item: T) -> Self {
        match items {
            None => Self::One(item),
            Some(Self::One(one)) if one == item => Self::One(one),
            Some(Self::One(one)) => Self::More(BTreeSet::from([one, item])),
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
            Self::One(one) => (slice::from_ref(one), None),
            Self::More(items) => (&[][..], Some(items)),
        };
        one.iter().chain(more.into_iter().flatten())
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
