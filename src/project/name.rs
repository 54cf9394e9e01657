//! User names: their text, how targets compare them, and which are reserved.

use serde_json::Value;

use crate::model::projection::Conflict;
use crate::model::target::Target;
use crate::model::user::User;

/// A user name is text; a number that a template gives counts as its digits.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The name as the target compares it.
pub(crate) fn folded(name: &str, fold: bool) -> String {
    if fold { name.to_ascii_lowercase() } else { name.to_owned() }
}

/// The conflict of a user who has no name for the account.
pub(crate) fn no_user_name(user: &User, target: &Target) -> Conflict {
    let template = &target.account.user_name.origin;
    Conflict {
        code: "no-user-name".to_owned(),
        message: format!("user `{}` has no user name in target `{}`: its template gives nothing", user.id, target.name),
        hint: format!("add what the template at {}:{} reads to the user", template.file, template.line),
    }
}

/// Refuses names of accounts that rosterd must never write: an account of that name would be
/// somebody else's.
pub(crate) fn check_protected(user: &User, name: &str, target: &Target) -> Result<(), Conflict> {
    let fold = target.account.fold_user_name;
    let name_folded = folded(name, fold);
    let hit = target.account.protected.iter().find(|pattern| matches(&folded(pattern, fold), &name_folded));
    hit.map_or(Ok(()), |pattern| {
        Err(Conflict {
            code: "protected-name".to_owned(),
            message: format!(
                "user `{}` would be `{name}` in target `{}`, a name that `protected: {pattern}` reserves",
                user.id, target.name
            ),
            hint: "give the user another name there".to_owned(),
        })
    })
}

/// Whether a pattern in which `*` stands for any run of characters fits the whole of `name`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    let mut rest = rest;
    for part in parts {
        // The earliest fit leaves the most room for the parts that follow.
        match rest.find(part) {
            Some(found) => rest = rest.get(found + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, name, fits) in [
            ("root", "root", true),
            ("root", "roots", false),
            ("svc-*", "svc-", true),
            ("svc-*", "svc-batch", true),
            ("svc-*", "my-svc-batch", false),
            ("*-bot", "crm-bot", true),
            ("*-bot", "crm-bots", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("", "x", false),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
