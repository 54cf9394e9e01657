//! Differences that are none: two spellings of one value.
//!
//! Targets give values back in forms of their own: a number as text, a moment in another zone, a
//! phone number with other gaps. Writing such a value again would change nothing and never end
//! (L3). This is for **drift alone**: whose account is whose is decided by exact keys
//! ([`crate::correlate::keys`]), since two values that mean one thing to a reader may be two
//! accounts to a target.

use chrono::DateTime;
use chrono::NaiveDate;
use chrono::NaiveTime;
use serde_json::Map;
use serde_json::Value;

use crate::correlate::keys::is_empty;
use crate::model::path::AttributePath;

/// What an attribute holds, as far as its path tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A mail address: letters fold where the target folds them.
    Mail,
    /// A phone number: gaps and the way to say "international" do not count.
    Phone,
    /// Anything else.
    Plain,
}

impl Kind {
    /// The kind of the attribute at `path`.
    pub fn of(path: &AttributePath) -> Self {
        let parts = path.parts();
        let is_value = parts.sub.is_none_or(|sub| sub.eq_ignore_ascii_case("value"));
        let named = |names: &[&str]| names.iter().any(|name| parts.attribute.eq_ignore_ascii_case(name));
        if is_value && named(&["emails", "email", "mail"]) {
            Self::Mail
        } else if is_value && named(&["phoneNumbers", "phoneNumber", "phone", "mobile", "fax", "telephone"]) {
            Self::Phone
        } else {
            Self::Plain
        }
    }
}

/// Whether `left` and `right` are two spellings of one value. `folds`: the target takes letters of
/// either case for one. Reflexive and symmetric.
pub fn alike(kind: Kind, folds: bool, left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            within(kind, folds, left, right) && within(kind, folds, right, left)
        }
        (Value::Object(left), Value::Object(right)) => {
            holds(kind, folds, left, right) && holds(kind, folds, right, left)
        }
        (Value::String(left), Value::String(right)) => alike_texts(kind, folds, left, right),
        (Value::Number(left), Value::Number(right)) => {
            left == right || number(&left.to_string()).is_some_and(|read| Some(read) == number(&right.to_string()))
        }
        (Value::Number(figure), Value::String(text)) | (Value::String(text), Value::Number(figure)) => {
            number(text.trim()).is_some_and(|read| Some(read) == number(&figure.to_string()))
        }
        (Value::Bool(truth), Value::String(text)) | (Value::String(text), Value::Bool(truth)) => {
            text.trim().eq_ignore_ascii_case(if *truth { "true" } else { "false" })
        }
        (left, right) => left == right,
    }
}

/// Whether each of `some` has its like among `all`: lists are sets (RFC 7643 section 2.4).
fn within(kind: Kind, folds: bool, some: &[Value], all: &[Value]) -> bool {
    let spoken = some.iter().filter(|value| !is_empty(value));
    spoken.clone().all(|value| all.contains(value))
        || spoken.into_iter().all(|value| all.iter().any(|other| alike(kind, folds, value, other)))
}

/// Whether each part of `some` has its like in `all`; an empty part says nothing.
fn holds(kind: Kind, folds: bool, some: &Map<String, Value>, all: &Map<String, Value>) -> bool {
    let mut parts = some.iter().filter(|(_, value)| !is_empty(value));
    parts.all(|(name, value)| all.get(name).is_some_and(|other| alike(kind, folds, value, other)))
}

fn alike_texts(kind: Kind, folds: bool, left: &str, right: &str) -> bool {
    if left == right {
        return true;
    }
    let (left, right) = (spaced(left), spaced(right));
    let same = match kind {
        Kind::Mail if folds => left.eq_ignore_ascii_case(&right),
        Kind::Phone => phone(&left).is_some_and(|number| Some(number) == phone(&right)),
        Kind::Mail | Kind::Plain => false,
    };
    same || left == right || moment(&left).is_some_and(|at| Some(at) == moment(&right))
}

/// The text without white space at its ends, and with one blank where it had a run of it.
fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A plain decimal number: sign, digits without leading zeros, fraction without trailing ones.
/// Texts that only look like numbers (`007`, `1e3`, `+5`) are none: they may be names.
fn number(text: &str) -> Option<(bool, &str, &str)> {
    let (minus, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let figures = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let padded = whole.len() > 1 && whole.starts_with('0');
    let fraction_told = fraction.trim_end_matches('0');
    let zero = whole == "0" && fraction_told.is_empty();
    (figures(whole) && figures(fraction) && !padded).then_some((minus && !zero, whole, fraction_told))
}

/// A phone number as its digits, with `+` first where it is international. `None`: no number.
fn phone(text: &str) -> Option<String> {
    let text = text.strip_prefix("tel:").unwrap_or(text);
    let (plus, rest) = match (text.strip_prefix('+'), text.strip_prefix("00")) {
        (Some(rest), _) | (None, Some(rest)) => ("+", rest),
        (None, None) => ("", text),
    };
    let gap = |c: char| c.is_whitespace() || matches!(c, '-' | '.' | '(' | ')' | '/');
    let digits: String = rest.chars().filter(|c| !gap(*c)).collect();
    let sound = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    sound.then(|| format!("{plus}{digits}"))
}

/// A moment in RFC 3339, or a day, which begins at midnight UTC.
fn moment(text: &str) -> Option<DateTime<chrono::Utc>> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.to_utc());
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(day.and_time(NaiveTime::MIN).and_utc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn same(path: &str, left: &Value, right: &Value) -> bool {
        let kind = Kind::of(&AttributePath::parse(path).unwrap());
        let forth = alike(kind, true, left, right);
        assert_eq!(forth, alike(kind, true, right, left), "{left} {right}");
        forth
    }

    #[test]
    fn two_spellings_of_one_value_are_no_difference() {
        let phone = "phoneNumbers[type eq \"work\"].value";
        for (path, left, right) in [
            ("title", json!("Boss "), json!("Boss")),
            ("title", json!("Head  of\u{a0}Sales"), json!("Head of Sales")),
            ("x", json!(5000), json!("5000")),
            ("x", json!(5000), json!(5000.0)),
            ("x", json!("-0.50"), json!(-0.5)),
            ("x", json!(true), json!("True")),
            ("x", json!(["b", "a"]), json!(["a", "b", "a"])),
            ("x", json!([{"value": "a", "display": ""}, 1]), json!(["1", {"value": "a"}])),
            (phone, json!("+44 20 7946-0000"), json!("+442079460000")),
            (phone, json!("tel:+44-20-7946-0000"), json!("0044 (20) 7946 0000")),
            ("phoneNumbers", json!(["+44 1", "+44 2"]), json!(["+442", "+441"])),
            ("x", json!("2026-01-01T00:00:00Z"), json!("2026-01-01T00:00:00.000+00:00")),
            ("x", json!("2026-01-01T01:00:00+01:00"), json!("2026-01-01")),
            ("emails[type eq \"work\"].value", json!("Ada@X.example"), json!("ada@x.example")),
        ] {
            assert!(same(path, &left, &right), "{path}: {left} {right}");
        }
    }

    #[test]
    fn a_real_difference_is_one() {
        let phone = "phoneNumbers[type eq \"work\"].value";
        for (path, left, right) in [
            ("title", json!("Boss"), json!("boss")),
            ("name.givenName", json!("Ada"), json!("ada")),
            ("title", json!("Head of"), json!("Headof")),
            ("x", json!("007"), json!(7)),
            ("x", json!("1e3"), json!(1000)),
            ("x", json!("5000"), json!("5000.0")),
            ("x", json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992_u64)),
            ("x", json!(1e30), json!(2e30)),
            ("x", json!(true), json!("yes")),
            ("x", json!(1), json!(true)),
            ("x", json!(["a"]), json!("a")),
            ("x", json!(["a", "b"]), json!(["a"])),
            ("x", json!({"a": 1}), json!({"a": 1, "b": 2})),
            (phone, json!("+44 20 7946 0000"), json!("+44 20 7946 0001")),
            (phone, json!("020 7946"), json!("+20 7946")),
            (phone, json!("none"), json!("no ne")),
            ("title", json!("+44 1"), json!("+441")),
            ("x", json!("2026-01-01T00:00:00Z"), json!("2026-01-01T00:00:00+01:00")),
            ("x", json!("2026-01-01"), json!("2026-01-02")),
            ("emails.display", json!("Ada"), json!("ada")),
        ] {
            assert!(!same(path, &left, &right), "{path}: {left} {right}");
        }
    }

    #[test]
    fn letters_of_mail_addresses_count_where_the_target_counts_them() {
        assert!(!alike(Kind::Mail, false, &json!("Ada@x"), &json!("ada@x")));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let plain = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~]{0,12}".prop_map(Value::from),
            "\\+?[0-9 ()./-]{1,14}".prop_map(Value::from),
        ];
        plain.prop_recursive(2, 8, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..3)
                    .prop_map(|parts| Value::Object(parts.into_iter().collect())),
            ]
        })
    }

    /// A spelling that a target may give back instead.
    fn respelled(value: &Value) -> Value {
        match value {
            Value::Bool(truth) => Value::from(if *truth { "TRUE" } else { "False" }),
            Value::Number(figure) => Value::from(figure.to_string()),
            Value::String(text) => Value::from(format!(" {}\u{a0}", text.replace(' ', "  "))),
            Value::Array(items) => items.iter().rev().map(respelled).collect(),
            Value::Object(parts) => {
                Value::Object(parts.iter().map(|(name, part)| (name.clone(), respelled(part))).collect())
            }
            Value::Null => Value::Null,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_value_is_like_itself_and_like_its_other_spellings(value in any_value(), kind in prop::sample::select(vec![Kind::Mail, Kind::Phone, Kind::Plain])) {
            prop_assert!(alike(kind, false, &value, &value));
            prop_assert!(alike(kind, false, &value, &respelled(&value)), "{value}");
            prop_assert!(alike(kind, false, &respelled(&value), &value), "{value}");
        }

        #[test]
        fn likeness_goes_both_ways(left in any_value(), right in any_value(), kind in prop::sample::select(vec![Kind::Mail, Kind::Phone, Kind::Plain])) {
            prop_assert_eq!(alike(kind, true, &left, &right), alike(kind, true, &right, &left));
        }

        #[test]
        fn other_digits_or_other_letters_are_a_difference(left in "[a-z]{1,6}[0-9]{1,6}", right in "[a-z]{1,6}[0-9]{1,6}") {
            for kind in [Kind::Mail, Kind::Phone, Kind::Plain] {
                let found = alike(kind, true, &left.as_str().into(), &right.as_str().into());
                prop_assert_eq!(found, left == right);
            }
        }

        #[test]
        fn two_numbers_are_alike_only_when_equal(left in any::<i64>(), right in any::<i64>()) {
            prop_assert_eq!(alike(Kind::Plain, false, &left.into(), &right.to_string().into()), left == right);
        }

        #[test]
        fn two_moments_are_alike_only_when_equal(left in 0_i64..4_000_000_000, gap in 0_i64..3, hours in -12_i32..=12) {
            let zone = chrono::FixedOffset::east_opt(hours * 3600).unwrap();
            let text = |seconds: i64| DateTime::from_timestamp(seconds, 0).unwrap().with_timezone(&zone).to_rfc3339();
            let utc = DateTime::from_timestamp(left, 0).unwrap().to_rfc3339();
            prop_assert_eq!(alike(Kind::Plain, false, &utc.into(), &text(left + gap).into()), gap == 0);
        }
    }
}
