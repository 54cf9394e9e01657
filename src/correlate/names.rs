//! Names: the letter rule of a target, and patterns of names that are never written.

use crate::model::target::AccountPolicy;

/// A user name as the target compares it: ASCII letters folded where the target folds them
/// (RFC 7643 section 4.1.1: `userName` is not case exact). Other letters are left alone, since
/// targets disagree about them.
pub fn folded(policy: &AccountPolicy, name: &str) -> String {
    if policy.fold_user_name { name.to_ascii_lowercase() } else { name.to_owned() }
}

/// Whether `name` fits one of `account.protected`.
pub fn is_protected(policy: &AccountPolicy, name: &str) -> bool {
    let name = folded(policy, name);
    policy.protected.iter().any(|pattern| fits(&folded(policy, pattern), &name))
}

/// Whether `name` fits `pattern`, in which `*` stands for any run of characters.
pub fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut rest) = name.strip_prefix(head) else { return false };
    let mut pieces = tail.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        let cases = [
            ("root", "root", true),
            ("root", "rooted", false),
            ("svc-*", "svc-", true),
            ("svc-*", "svc-batch", true),
            ("svc-*", "my-svc-batch", false),
            ("*@bots.example", "a@bots.example", true),
            ("*@bots.example", "a@bots.example.org", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "ac", false),
            ("a*a", "a", false),
            ("*", "", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
