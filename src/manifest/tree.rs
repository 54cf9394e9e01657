//! One document as a tree of located values.
//!
//! A tree, and not typed structs at once: it is read in one pass, every problem of a document is
//! found and not only the first, and `Target`s are merged over their defaults before they are
//! typed. Plain scalars keep their text until somebody asks for a type, so `name: 0012` stays
//! `0012`.

use std::borrow::Cow;

use crate::manifest::text::Place;

/// A located value.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree<'a> {
    /// Where it stands.
    pub place: Place,
    /// What stands there.
    pub value: Value<'a>,
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text, a number, a boolean or nothing: which of them is decided by who asks.
    Scalar {
        /// The text after escapes.
        text: Cow<'a, str>,
        /// Whether quotes, a block style or `!!str` say that it is text and nothing else.
        quoted: bool,
    },
    /// A sequence.
    List(Vec<Tree<'a>>),
    /// A mapping, in document order.
    Map(Vec<(Key<'a>, Tree<'a>)>),
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Key<'a> {
    /// Where it stands.
    pub place: Place,
    /// Its text.
    pub text: Cow<'a, str>,
}

impl<'a> Tree<'a> {
    /// The value under `key`, where this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Tree<'a>> {
        self.entries().iter().find(|(found, _)| found.text == key).map(|(_, value)| value)
    }

    /// Whether something stands under these keys, one below the other, be it right or wrong.
    pub(crate) fn has(&self, path: &[&str]) -> bool {
        path.iter().try_fold(self, |tree, key| tree.get(key)).is_some()
    }

    /// The entries of a mapping; none of anything else.
    pub fn entries(&self) -> &[(Key<'a>, Tree<'a>)] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Scalar { .. } | Value::List(_) => &[],
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether nothing, `null` or `~` stands here.
    pub fn is_blank(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, quoted: false }
            if matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The same tree, pointing into the text with number `source`.
    pub fn into_owned(self, source: u16) -> Tree<'static> {
        let place = Place { source, ..self.place };
        let value = match self.value {
            Value::Scalar { text, quoted } => Value::Scalar { text: Cow::Owned(text.into_owned()), quoted },
            Value::List(items) => Value::List(items.into_iter().map(|item| item.into_owned(source)).collect()),
            Value::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let place = Place { source, ..key.place };
                        (Key { place, text: Cow::Owned(key.text.into_owned()) }, value.into_owned(source))
                    })
                    .collect(),
            ),
        };
        Tree { place, value }
    }

    /// This tree laid over `under`: mappings merge, everything else of this one wins.
    #[must_use]
    pub fn over(self, under: Tree<'a>) -> Tree<'a> {
        match (self.value, under.value) {
            (Value::Map(own), Value::Map(below)) => {
                let mut below: Vec<_> = below.into_iter().map(Some).collect();
                let mut entries = Vec::with_capacity(own.len() + below.len());
                for (key, value) in own {
                    let same =
                        below.iter_mut().find(|entry| entry.as_ref().is_some_and(|(found, _)| found.text == key.text));
                    let value = match same.and_then(Option::take) {
                        Some((_, under)) => value.over(under),
                        None => value,
                    };
                    entries.push((key, value));
                }
                entries.extend(below.into_iter().flatten());
                Tree { place: self.place, value: Value::Map(entries) }
            }
            (value, _) => Tree { place: self.place, value },
        }
    }
}
