//! The error of reading a tree as typed structs: it knows its place, its code and a hint.

use std::fmt;

use serde::de;

use crate::manifest::later;
use crate::manifest::located;
use crate::manifest::report::Report;
use crate::manifest::suggest;
use crate::manifest::text::Place;

/// Where in memory an entry stands: it names the entry while its tree is borrowed.
pub(crate) type Entry = usize;

/// What is wrong with one value or key.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) code: &'static str,
    message: String,
    hint: Option<String>,
    pub(crate) place: Option<Place>,
    /// Follows from another problem that is told already.
    pub(crate) excused: bool,
    /// The innermost entry that can be left out.
    pub(crate) entry: Option<Entry>,
}

impl Wrong {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, place: None, excused: false, entry: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }

    /// The same, at `to` where it was at `from`.
    pub(crate) fn moved(mut self, from: Place, to: Place) -> Self {
        if self.place.is_none_or(|place| place == from) {
            self.place = Some(to);
        }
        self
    }

    pub(crate) fn of(mut self, entry: Entry) -> Self {
        self.entry.get_or_insert(entry);
        self
    }

    pub(crate) fn note(self, whole: Place, report: &mut Report<'_>) {
        let noted = report.add(self.place.unwrap_or(whole), self.code, self.message);
        if let Some(hint) = self.hint {
            noted.hint(hint);
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    /// `code: message; hint` of a type that reads itself, or plain words.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        match located::CODES
            .iter()
            .find(|code| text.starts_with(**code) && text.get(code.len()..).is_some_and(|rest| rest.starts_with(": ")))
        {
            None => Self::new("wrong-value", text),
            Some(code) => {
                let body = text.get(code.len() + 2..).unwrap_or_default();
                match body.split_once(located::HINT) {
                    Some((message, hint)) => Self::new(code, message).hint(hint),
                    None => Self::new(code, body),
                }
            }
        }
    }

    fn invalid_type(found: de::Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self::new("wrong-type", format!("{} stands where {wanted} belongs", kind_of(found)))
            .hint(format!("write {wanted}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self::new("wrong-value", format!("this is not {wanted}")).hint(format!("write {wanted}"))
    }

    fn invalid_length(len: usize, wanted: &dyn de::Expected) -> Self {
        Self::new("wrong-value", format!("{len} entries stand where {wanted} belongs"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new("unknown-value", format!("unknown value `{variant}`"))
            .hint(suggest::one_of(variant, expected.iter().copied()))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        if let Some(hint) = later::field(field) {
            return Self::new("unsupported-field", format!("this version of rosterd does not have `{field}` yet"))
                .hint(hint);
        }
        Self::new("unknown-field", format!("unknown field `{field}`"))
            .hint(suggest::one_of(field, expected.iter().copied()))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("missing-field", format!("the field `{field}` is missing")).hint(format!("add `{field}:`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new("duplicate-key", format!("the key `{field}` stands here a second time"))
    }
}

/// The kind of a value, never the value: it may be a secret.
fn kind_of(found: de::Unexpected<'_>) -> &'static str {
    match found {
        de::Unexpected::Bool(_) => "a boolean",
        de::Unexpected::Unsigned(_) | de::Unexpected::Signed(_) | de::Unexpected::Float(_) => "a number",
        de::Unexpected::Char(_) | de::Unexpected::Str(_) | de::Unexpected::Bytes(_) => "text",
        de::Unexpected::Seq => "a list",
        de::Unexpected::Map | de::Unexpected::StructVariant => "a mapping",
        de::Unexpected::Unit
        | de::Unexpected::Option
        | de::Unexpected::NewtypeStruct
        | de::Unexpected::Enum
        | de::Unexpected::UnitVariant
        | de::Unexpected::NewtypeVariant
        | de::Unexpected::TupleVariant
        | de::Unexpected::Other(_) => "something else",
    }
}
