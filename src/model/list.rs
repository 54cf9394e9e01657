//! A list whose copies share: a change goes from plan to queue to report, and is only read there.

use std::ops::Deref;
use std::ops::DerefMut;
use std::sync::Arc;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;

/// A list that costs nothing to copy.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct List<T>(Arc<[T]>);

impl<T: Clone> List<T> {
    /// Changes this copy alone.
    pub fn edit(&mut self, change: impl FnOnce(&mut Vec<T>)) {
        let mut items = self.0.to_vec();
        change(&mut items);
        self.0 = items.into();
    }
}

// Derived, these would ask the same of what is in the list.
impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Clone> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        Arc::make_mut(&mut self.0)
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> Self {
        if items.is_empty() { Self::default() } else { Self(items.into()) }
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Vec::from_iter(items).into()
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_is_changed_leaves_the_other_as_it_was() {
        let one: List<u8> = [1, 2].into_iter().collect();
        let mut other = one.clone();
        assert!(std::ptr::eq(one.as_ptr(), other.as_ptr()), "copies share");
        other.edit(|items| items.push(3));
        assert_eq!((&*one, &*other), (&[1, 2][..], &[1, 2, 3][..]));
        assert_eq!(serde_json::from_str::<List<u8>>(&serde_json::to_string(&other).unwrap()).unwrap(), other);
    }
}
