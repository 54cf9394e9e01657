//! Words of the design that this version does not have. Taking a document that says `canary:`
//! and doing nothing about it would open a gate that its writer believes closed, so each of them
//! is refused by name.

/// What to do about a field that a later version will have.
pub(crate) fn field(name: &str) -> Option<&'static str> {
    Some(match name {
        "canary" => "take it out; until it exists, hold the target with `mode: observe`",
        "launch" | "followUps" => "take it out",
        "reassign" => "take it out: what hangs on a leaver is told, waited for, and reassigned by people",
        "accounts" => "take it out: a person has one account in a target",
        _ => return None,
    })
}

/// Connectors that a later version will have.
pub(crate) const CONNECTORS: [&str; 5] = ["rest", "ldap", "postgres", "file", "external"];
