//! Small pieces of text that several commands share.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write;

use chrono::DateTime;
use chrono::SecondsFormat;
use chrono::Utc;

use crate::model::account::Membership;
use crate::model::ids::TargetName;
use crate::model::origin::Origin;
use crate::model::path::AttributePath;
use crate::model::plan::Hold;
use crate::model::plan::HoldKind;
use crate::model::plan::SkipReason;

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

/// Why nothing is done, as a sentence.
pub fn skip(reason: &SkipReason) -> String {
    match reason {
        SkipReason::InSync => "the account equals what is declared".to_owned(),
        SkipReason::NotEntitled(why) => format!("no account is wanted: {why}"),
        SkipReason::Conflict(conflict) => format!("{} ({}); {}", conflict.message, conflict.code, conflict.hint),
        SkipReason::Proposal { user_name, key } => {
            let name = user_name.as_deref().unwrap_or("without a user name");
            format!("the account {name} matches by {key}; accept it with `rosterd link USER ACCOUNT`")
        }
        SkipReason::LookUpFirst => "the listing was not complete: a look-up comes first".to_owned(),
        SkipReason::OtherHand(state) => {
            format!("another hand left the account {}; rosterd does not undo that", state.as_str())
        }
        SkipReason::Vanished => "the linked account is no longer there".to_owned(),
        SkipReason::Protected => "the account's name is protected".to_owned(),
        SkipReason::Drift(paths) => {
            let paths: Vec<_> = paths.iter().map(AttributePath::as_str).collect();
            format!("{} differs in the target and is left so (drift: report)", paths.join(", "))
        }
        SkipReason::Kept(why) => format!("the account is left as it is: {why}"),
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
        | HoldKind::Loosen => format!("rosterd holds release {}", hold.digest),
        HoldKind::Freeze => "nothing: it goes on by itself when the freeze ends".to_owned(),
    }
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
