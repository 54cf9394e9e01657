//! From a tree to a typed struct, with every problem and its place.
//!
//! serde stops at its first error. Here the entry that caused it is noted and left out, and
//! reading starts again, until the rest is sound or nothing more can be left out; so one reading
//! of a sound document and a few of a broken one.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de;
use serde::de::IntoDeserializer as _;
use serde::forward_to_deserialize_any;

use crate::manifest::located;
use crate::manifest::report::Report;
use crate::manifest::scalar;
use crate::manifest::scalar::Scalar;
use crate::manifest::tree::Key;
use crate::manifest::tree::Tree;
use crate::manifest::tree::Value;
use crate::manifest::wrong::Entry;
use crate::manifest::wrong::Wrong;

/// Reads `tree` as a `T`, leaving out what is wrong and noting it. `None` where too much is.
///
/// A `Some` with new problems in the report is good for finding more problems and for nothing
/// else: entries are missing from it.
pub(crate) fn decode<'de, T: Deserialize<'de>>(tree: &'de Tree<'_>, report: &mut Report<'_>) -> Option<T> {
    let mut left_out = BTreeSet::new();
    loop {
        let error = match T::deserialize(Reader { tree, left_out: &left_out }) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let fresh = error.entry.is_some_and(|entry| left_out.insert(entry));
        if !error.excused {
            error.note(tree.place, report);
        }
        if !fresh || report.len() > MOST_ROUNDS {
            return None;
        }
    }
}

/// Each round reads the document again.
const MOST_ROUNDS: usize = 60;

fn entry_of<T>(part: &T) -> Entry {
    std::ptr::from_ref(part).addr()
}

/// The deserializer over a tree.
#[derive(Clone, Copy)]
struct Reader<'de, 'a, 's> {
    tree: &'de Tree<'a>,
    left_out: &'s BTreeSet<Entry>,
}

impl<'de> Reader<'de, '_, '_> {
    fn scalar(self, wanted: &str) -> Result<Scalar<'de>, Wrong> {
        match &self.tree.value {
            Value::Scalar { text, quoted } => scalar::resolve(text, *quoted).map_err(|message| {
                Wrong::new("wrong-value", message)
                    .hint("write another number, or quotes to make it text")
                    .at(self.tree.place)
            }),
            Value::List(_) | Value::Map(_) => Err(self.mistyped(wanted)),
        }
    }

    fn mistyped(self, wanted: &str) -> Wrong {
        if self.tree.is_blank() {
            return self.blank(wanted);
        }
        let found = match &self.tree.value {
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        };
        Wrong::new("wrong-type", format!("{found} stands where {wanted} belongs")).at(self.tree.place).hint(
            match wanted {
                "a list" => "write `[ ... ]`, or one `- ` line for each entry",
                "a mapping" => "write `key: value` pairs, indented below",
                _ => "write a single value",
            },
        )
    }

    fn blank(self, wanted: &str) -> Wrong {
        let instead = match wanted {
            "a list" => " or write `[]`",
            "a mapping" => " or write `{}`",
            "text" => " or write text; the words null and ~ need quotes to be text",
            _ => " or write a value",
        };
        Wrong::new("blank-value", format!("there is no value here, but {wanted} belongs here"))
            .at(self.tree.place)
            .hint(format!("leave the key out{instead}"))
    }

    /// A field that is missing because what stands there was left out is told of already.
    fn explained(self, mut wrong: Wrong) -> Wrong {
        let own = wrong.code == "missing-field" && wrong.place.is_none();
        wrong.excused |= own && self.tree.entries().iter().any(|entry| self.left_out.contains(&entry_of(entry)));
        wrong.at(self.tree.place)
    }

    fn boolean(self) -> Result<bool, Wrong> {
        if let Value::Scalar { text, quoted: false } = &self.tree.value {
            match text.as_ref() {
                "true" | "True" | "TRUE" => return Ok(true),
                "false" | "False" | "FALSE" => return Ok(false),
                _ => {}
            }
        }
        let wrong = self.mistyped("`true` or `false`");
        Err(if wrong.code == "wrong-type" { wrong.hint("write `true` or `false`, without quotes") } else { wrong })
    }

    fn number<'x, V: de::Visitor<'x>>(self, visitor: V, wanted: &'static str) -> Result<V::Value, Wrong> {
        let found = self.scalar(wanted)?;
        let result = match found {
            Scalar::Unsigned(number) => visitor.visit_u64(number),
            Scalar::Signed(number) => visitor.visit_i64(number),
            Scalar::Float(number) => visitor.visit_f64(number),
            Scalar::Null => return Err(self.blank(wanted)),
            Scalar::Bool(_) | Scalar::Text(_) => {
                return Err(self.mistyped(wanted).hint("write a number, without quotes"));
            }
        };
        result.map_err(|wrong: Wrong| wrong.hint(format!("write {wanted}")).at(self.tree.place))
    }

    fn plain_text(self) -> Result<&'de str, Wrong> {
        match &self.tree.value {
            Value::Scalar { .. } if self.tree.is_blank() => Err(self.blank("text")),
            Value::Scalar { text, .. } => Ok(text),
            Value::List(_) | Value::Map(_) => Err(self.mistyped("text")),
        }
    }
}

macro_rules! numbers {
    ($($method:ident: $wanted:literal,)*) => {
        $(fn $method<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            self.number(visitor, $wanted)
        })*
    };
}

impl<'de> de::Deserializer<'de> for Reader<'de, '_, '_> {
    type Error = Wrong;

    fn deserialize_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.tree.value {
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
            Value::Scalar { .. } => match self.scalar("a value")? {
                Scalar::Null => Err(self.blank("a value")),
                Scalar::Bool(value) => visitor.visit_bool(value),
                Scalar::Unsigned(number) => visitor.visit_u64(number),
                Scalar::Signed(number) => visitor.visit_i64(number),
                Scalar::Float(number) => visitor.visit_f64(number),
                Scalar::Text(text) => visitor.visit_borrowed_str(text),
            },
        }
        .map_err(|wrong: Wrong| wrong.at(self.tree.place))
    }

    fn deserialize_bool<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_bool(self.boolean()?)
    }

    numbers! {
        deserialize_i8: "a whole number",
        deserialize_i16: "a whole number",
        deserialize_i32: "a whole number",
        deserialize_i64: "a whole number",
        deserialize_u8: "a whole number from 0 on",
        deserialize_u16: "a whole number from 0 on",
        deserialize_u32: "a whole number from 0 on",
        deserialize_u64: "a whole number from 0 on",
        deserialize_f32: "a number",
        deserialize_f64: "a number",
    }

    fn deserialize_str<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_borrowed_str(self.plain_text()?).map_err(|wrong: Wrong| wrong.at(self.tree.place))
    }

    fn deserialize_string<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: de::Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        if name == located::MARK {
            return visitor.visit_seq(WithPlace { reader: self, state: 0 });
        }
        visitor.visit_newtype_struct(self).map_err(|wrong| wrong.at(self.tree.place))
    }

    fn deserialize_seq<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.tree.value {
            Value::List(items) => {
                let items = Items { items: items.iter(), left_out: self.left_out };
                visitor.visit_seq(items).map_err(|wrong| wrong.at(self.tree.place))
            }
            Value::Scalar { .. } | Value::Map(_) => Err(self.mistyped("a list")),
        }
    }

    fn deserialize_map<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.tree.value {
            Value::Map(entries) => {
                let entries = Entries { left: entries.iter(), left_out: self.left_out, value: None };
                visitor.visit_map(entries).map_err(|wrong| self.explained(wrong))
            }
            Value::Scalar { .. } | Value::List(_) => Err(self.mistyped("a mapping")),
        }
    }

    fn deserialize_struct<V: de::Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: de::Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let text = self.plain_text()?;
        visitor.visit_enum(text.into_deserializer()).map_err(|wrong: Wrong| wrong.at(self.tree.place))
    }

    fn deserialize_ignored_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct
    }
}

struct Items<'de, 'a, 's> {
    items: std::slice::Iter<'de, Tree<'a>>,
    left_out: &'s BTreeSet<Entry>,
}

impl<'de> de::SeqAccess<'de> for Items<'de, '_, '_> {
    type Error = Wrong;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let left_out = self.left_out;
        let next = self.items.find(|item| left_out.is_empty() || !left_out.contains(&entry_of(*item)));
        let Some(tree) = next else { return Ok(None) };
        seed.deserialize(Reader { tree, left_out }).map(Some).map_err(|wrong| wrong.of(entry_of(tree)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'de, 'a, 's> {
    left: std::slice::Iter<'de, (Key<'a>, Tree<'a>)>,
    left_out: &'s BTreeSet<Entry>,
    value: Option<&'de (Key<'a>, Tree<'a>)>,
}

impl<'de> de::MapAccess<'de> for Entries<'de, '_, '_> {
    type Error = Wrong;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let left_out = self.left_out;
        self.value = self.left.find(|entry| left_out.is_empty() || !left_out.contains(&entry_of(*entry)));
        let Some(entry) = self.value else { return Ok(None) };
        let (key, _) = entry;
        let reader: de::value::BorrowedStrDeserializer<'de, Wrong> = de::value::BorrowedStrDeserializer::new(&key.text);
        seed.deserialize(reader).map(Some).map_err(|wrong| wrong.at(key.place).of(entry_of(entry)))
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let Some(entry) = self.value.take() else {
            return Err(Wrong::new("wrong-value", "a value was asked for before its key"));
        };
        let (key, tree) = entry;
        // Nothing stands at an empty value: the key is the place to look at.
        let place = if tree.is_blank() && tree.place.len == 0 { key.place } else { tree.place };
        let result = seed.deserialize(Reader { tree, left_out: self.left_out });
        result.map_err(|wrong| wrong.moved(tree.place, place).of(entry_of(entry)))
    }
}

/// Gives a [`located::Located`] its place, then its value.
struct WithPlace<'de, 'a, 's> {
    reader: Reader<'de, 'a, 's>,
    state: u8,
}

impl<'de> de::SeqAccess<'de> for WithPlace<'de, '_, '_> {
    type Error = Wrong;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let place = self.reader.tree.place;
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        self.state += 1;
        match self.state {
            1 => seed.deserialize(pair(place.line, place.column).into_deserializer()),
            2 => seed.deserialize(pair(place.start, place.len).into_deserializer()),
            3 => seed.deserialize(u64::from(place.source).into_deserializer()),
            4 => seed.deserialize(self.reader),
            _ => return Ok(None),
        }
        .map(Some)
    }
}
