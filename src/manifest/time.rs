//! Instants and durations as documents write them.

use std::borrow::Cow;
use std::fmt;

use chrono::DateTime;
use chrono::NaiveDate;
use chrono::Utc;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::Deserializer;
use serde::de;

use crate::manifest::located::HINT;

/// A second, with its offset from UTC written out (RFC 3339).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub DateTime<Utc>);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TimeText)
    }
}

struct TimeText;

impl de::Visitor<'_> for TimeText {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
        match DateTime::parse_from_rfc3339(text) {
            Ok(time) => Ok(Time(time.to_utc())),
            Err(_) => Err(E::custom(format!("bad-time: this is not a time with its offset{HINT}{}", hint(text)))),
        }
    }
}

fn hint(text: &str) -> String {
    if text.parse::<NaiveDate>().is_ok() {
        return format!("a date alone does not say which second: write `{text}T00:00:00Z`");
    }
    if DateTime::parse_from_rfc3339(&format!("{text}Z")).is_ok() {
        return format!("say which offset: write `{text}Z` for UTC, or an offset like `+02:00`");
    }
    "write it like `2027-03-31T18:00:00+02:00`".to_owned()
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_completes_what_was_written() {
        assert!(hint("2027-03-31").contains("`2027-03-31T00:00:00Z`"));
        assert!(hint("2027-03-31T18:00:00").contains("`2027-03-31T18:00:00Z`"));
        assert!(hint("tomorrow").contains("like"));
    }
}
