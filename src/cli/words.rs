//! Small pieces of text that several commands share.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write;

use chrono::DateTime;
use chrono::SecondsFormat;
use chrono::Utc;

use crate::cli::failure::Failure;
use crate::model::account::Membership;
use crate::model::ids::TargetName;
use crate::model::origin::Origin;
use crate::model::plan::Hold;
use crate::model::plan::HoldKind;

/// Adds to a text.
pub fn put(out: &mut String, what: fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    out.write_fmt(what).unwrap_or_default();
}

/// A moment, to the second, in UTC.
pub fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A moment that may not have come yet.
pub fn moment_or(at: Option<DateTime<Utc>>, otherwise: &str) -> String {
    at.map_or_else(|| otherwise.to_owned(), moment)
}

/// `1 user`, `2 users`.
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// The length of a list, for [`count`].
pub fn len<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

/// Places, one after another.
pub fn places(origins: &[Origin]) -> String {
    let mut seen: Vec<String> = Vec::new();
    for origin in origins {
        let place =
            if origin.is_decision() { origin.what.to_string() } else { format!("{}:{}", origin.file, origin.line) };
        if !seen.contains(&place) {
            seen.push(place);
        }
    }
    seen.join(", ")
}

/// A JSON value as people write it: texts without quotes.
pub fn value(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => crate::cli::output::plain(text),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => value.to_string(),
    }
}

/// What an entitlement is in the target.
pub fn membership(membership: &Membership) -> String {
    match membership {
        Membership::Group(id) => format!("group {id}"),
        Membership::Role(name) => format!("role {name}"),
    }
}

/// The command that lets a hold through.
pub fn release(target: &TargetName, hold: &Hold) -> String {
    match hold.limit {
        HoldKind::FirstContact => format!("rosterd enforce {target} {}", hold.digest),
        HoldKind::NarrowInferred
        | HoldKind::NarrowExplicit
        | HoldKind::Widen
        | HoldKind::Adopt
        | HoldKind::Privileged
        | HoldKind::Update
        | HoldKind::Clear
        | HoldKind::Delete
        | HoldKind::Seats
        | HoldKind::Administrators
        | HoldKind::Loosen => format!("rosterd holds release {}", hold.digest),
        HoldKind::Freeze => "nothing: it goes on by itself when the freeze ends".to_owned(),
    }
}

/// A label and its value: `folder=acme`.
pub fn label(text: &str) -> Result<(&str, &str), Failure> {
    let pair = text.split_once('=').filter(|(label, value)| !label.is_empty() && !value.is_empty());
    pair.ok_or_else(|| Failure::new(format!("`{text}` is no label with its value")).hint("write it like `folder=acme`"))
}

/// Confirmed changes: `3 created, 1 disabled`.
pub fn done(done: &BTreeMap<String, u64>) -> String {
    let said = done.iter().filter(|(_, number)| **number > 0).map(|(action, number)| {
        let word = match action.as_str() {
            "create" => "created",
            "adopt" => "adopted",
            "update" => "updated",
            "reactivate" => "reactivated",
            "restore" => "restored",
            "narrow" => "narrowed",
            "disable" => "disabled",
            "delete" => "deleted",
            other => other,
        };
        format!("{number} {word}")
    });
    let said: Vec<_> = said.collect();
    if said.is_empty() { "nothing to do".to_owned() } else { said.join(", ") }
}
