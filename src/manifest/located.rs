//! A value with its place.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use serde::Deserialize;
use serde::Deserializer;
use serde::de;

use crate::manifest::text::Place;

/// The name by which the deserializer of this module knows a [`Located`].
pub(crate) const MARK: &str = "$rosterd::Located";
/// Codes that types which read themselves may put before a message, as in `bad-time: ...`.
pub(crate) const CODES: [&str; 3] = ["bad-time", "bad-duration", "bad-path"];
/// What stands between message and hint there.
pub(crate) const HINT: &str = "\u{1f}";

/// A value and where it stands in its document.
///
/// Read from anything but a document of [`crate::manifest::locate`] it has no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

impl<T> std::ops::Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(MARK, Parts(PhantomData))
    }
}

struct Parts<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Parts<T> {
    type Value = Located<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut parts: A) -> Result<Located<T>, A::Error> {
        let mut number = || parts.next_element::<u64>().map(Option::unwrap_or_default);
        let (line, start, source) = (number()?, number()?, number()?);
        let value = parts.next_element()?.ok_or_else(|| de::Error::custom("a located value without its value"))?;
        let high = |pair: u64| u32::try_from(pair >> 32).unwrap_or_default();
        let low = |pair: u64| u32::try_from(pair & u64::from(u32::MAX)).unwrap_or_default();
        let place = Place {
            source: u16::try_from(source).unwrap_or_default(),
            line: high(line),
            column: low(line),
            start: high(start),
            len: low(start),
        };
        Ok(Located { value, place })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Located<T>, D::Error> {
        T::deserialize(deserializer).map(|value| Located { value, place: Place::default() })
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
