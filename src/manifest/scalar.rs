//! What a plain scalar is (YAML 1.2 core schema, section 10.3.2), made stricter where the core
//! schema would lose something: a number is one only if writing it back gives the same text.

/// A resolved scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
}

/// Resolves a scalar, or says in words why it has no value.
pub(crate) fn resolve(text: &str, quoted: bool) -> Result<Scalar<'_>, &'static str> {
    if quoted {
        return Ok(Scalar::Text(text));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" => Scalar::Bool(true),
        "false" | "False" | "FALSE" => Scalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "-.inf" | "-.Inf" | "-.INF" | "+.inf" | "+.Inf"
        | "+.INF" => {
            return Err("an infinite number or one that is none has no place here");
        }
        text if starts_like_a_number(text) => number(text)?,
        text => Scalar::Text(text),
    })
}

fn starts_like_a_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '.'))
}

fn number(text: &str) -> Result<Scalar<'_>, &'static str> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // `0012` and numbers too long for the machine are identifiers: they stay text.
        let padded = digits.len() > 1 && digits.starts_with('0') || text == "-0";
        return Ok(match (padded, text.parse(), text.parse()) {
            (false, Ok(number), _) => Scalar::Unsigned(number),
            (false, _, Ok(number)) => Scalar::Signed(number),
            _ => Scalar::Text(text),
        });
    }
    if !is_float(digits) {
        return Ok(Scalar::Text(text));
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Scalar::Float(number)),
        Ok(_) => Err("this number is too large"),
        Err(_) => Ok(Scalar::Text(text)),
    }
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_is_sound = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    digits(whole) && digits(fraction) && (!whole.is_empty() || !fraction.is_empty()) && exponent_is_sound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Scalar<'_>) {
        assert_eq!(resolve(text, false), Ok(expected), "{text}");
    }

    #[test]
    fn numbers_are_numbers() {
        check("5000", Scalar::Unsigned(5000));
        check("-7", Scalar::Signed(-7));
        check("5.50", Scalar::Float(5.5));
        check("1e3", Scalar::Float(1000.0));
        check("18446744073709551615", Scalar::Unsigned(u64::MAX));
    }

    #[test]
    fn what_a_number_would_lose_stays_text() {
        for text in [
            "0012",
            "-0",
            "+442079460000",
            "18446744073709551616",
            "0x1F",
            "1_000",
            "2026-12-01",
            "1.2.3",
            "-",
            ".",
            "1e",
        ] {
            check(text, Scalar::Text(text));
        }
    }

    #[test]
    fn booleans_and_nothing_are_those_of_yaml_1_2() {
        check("True", Scalar::Bool(true));
        check("yes", Scalar::Text("yes"));
        check("NO", Scalar::Text("NO"));
        check("~", Scalar::Null);
        assert_eq!(resolve("null", true), Ok(Scalar::Text("null")));
        assert!(resolve(".inf", false).is_err());
        assert!(resolve("1e999", false).is_err());
    }
}
