//! Forms of names and texts.

use std::time::Duration;

use crate::manifest::located::Located;
use crate::manifest::report::Report;
use crate::manifest::suggest;
use crate::manifest::text::Place;
use crate::schedule::parse_duration;

/// Longest record id: keys of the store and segments of URLs are made of them.
const LONGEST_ID: usize = 200;
/// Longest name of a role, a target, an entitlement or a label.
const LONGEST_NAME: usize = 100;
/// Longest text of one attribute.
const LONGEST_TEXT: usize = 10_000;

/// Characters that change the direction of the text around them (Unicode property
/// `Bidi_Control`): what is read would not be what is written.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Line and paragraph separators and the characters that take no room: two names that differ in
/// them look the same.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{2028}' | '\u{2029}' | '\u{2060}' | '\u{feff}' | '\u{00ad}')
}

/// A length of time; `like` shows the form of one that is wrong.
pub(crate) fn duration(text: &Located<String>, like: &str, report: &mut Report<'_>) -> Option<Duration> {
    let said = parse_duration(text).map_err(|error| error.to_string());
    said.map_err(|said| {
        let (message, hint) = said.split_once("; ").unwrap_or((&said, like));
        report.add(text.place, "bad-duration", message).hint(hint);
    })
    .ok()
}

/// A text of one line: a given name, a mail address, a label.
pub(crate) fn line(text: &str, place: Place, what: &str, report: &mut Report<'_>) -> bool {
    // Nearly all texts are plain ASCII; they take one pass over their bytes.
    let plain = !text.is_empty() && text.len() <= LONGEST_TEXT && text.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
    plain && !text.starts_with(' ') && !text.ends_with(' ') || check_line(text, place, what, report)
}

fn check_line(text: &str, place: Place, what: &str, report: &mut Report<'_>) -> bool {
    if text.trim().is_empty() {
        report.add(place, "blank-value", format!("{what} is empty")).hint("write text, or leave the key out");
        return false;
    }
    if !characters(text, place, what, &[], report) {
        return false;
    }
    if text.trim().len() != text.len() {
        report
            .add(place, "bad-characters", format!("{what} begins or ends with white space"))
            .hint("take the white space out");
        return false;
    }
    true
}

/// A text that may have several lines.
pub(crate) fn text(text: &str, place: Place, what: &str, report: &mut Report<'_>) -> bool {
    characters(text, place, what, &['\n', '\t'], report)
}

fn characters(text: &str, place: Place, what: &str, allowed: &[char], report: &mut Report<'_>) -> bool {
    if text.len() > LONGEST_TEXT {
        report
            .add(place, "too-large", format!("{what} has more than {LONGEST_TEXT} bytes"))
            .hint("write something shorter");
        return false;
    }
    let bad = text.chars().find(|c| c.is_control() && !allowed.contains(c) || is_bidi(*c) || is_invisible(*c));
    let Some(bad) = bad else { return true };
    let kind = if is_bidi(bad) {
        "a character that turns the direction of writing"
    } else if bad == '\n' {
        "a line break"
    } else if bad.is_control() {
        "a control character"
    } else {
        "an invisible character"
    };
    report
        .add(place, "bad-characters", format!("{what} holds {kind}, U+{:04X}", u32::from(bad)))
        .hint("take the character out");
    false
}

/// A record id: anything printable without white space, slashes and quotes.
pub(crate) fn record_id(name: &Located<String>, report: &mut Report<'_>) -> bool {
    if !line(name, name.place, "the record id", report) {
        return false;
    }
    let sound = name.len() <= LONGEST_ID
        && !name.chars().any(|c| c.is_whitespace() || matches!(c, '/' | '\\' | '"' | '\'' | '`' | '{' | '}'))
        && !matches!(name.as_str(), "." | "..");
    if !sound {
        report
            .add(name.place, "bad-name", "this is not a record id")
            .hint(format!("at most {LONGEST_ID} bytes without white space, quotes, braces and slashes, like `u-1001`"));
    }
    sound
}

/// A name of a role, a target, an environment, an entitlement, a team.
pub(crate) fn name(name: &str, place: Place, what: &str, report: &mut Report<'_>) -> bool {
    let sound = is_name(name);
    if !sound {
        report.add(place, "bad-name", format!("this is not a name of {what}")).hint(format!(
            "letters, digits, `-`, `_` and `.`, at most {LONGEST_NAME}, beginning with a letter or digit"
        ));
    }
    sound
}

fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// A mail address, as far as its form can be judged without sending to it.
pub(crate) fn mail(text: &Located<String>, report: &mut Report<'_>) {
    let sound = text.rsplit_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && !domain.is_empty()
            && !domain.starts_with('.')
            && !domain.ends_with('.')
            && !domain.contains("..")
            && (!local.contains('@') || local.starts_with('"'))
    });
    if !sound || text.contains(char::is_whitespace) {
        report
            .add(text.place, "bad-email", "this is not a mail address")
            .hint("write one address, like `ada@acme.example`");
    }
}

/// An IANA time zone.
pub(crate) fn time_zone(text: &Located<String>, report: &mut Report<'_>) -> bool {
    if text.parse::<chrono_tz::Tz>().is_ok() {
        return true;
    }
    let known = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    let same = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(text));
    let near = same.map(|zone| zone.name()).or_else(|| suggest::nearest(text, known));
    let hint = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write an IANA name, like `Europe/London`".to_owned(),
    };
    report.add(text.place, "unknown-time-zone", format!("unknown time zone `{}`", text.value)).hint(hint);
    false
}

/// A language tag (RFC 5646, form only).
pub(crate) fn locale(text: &Located<String>, report: &mut Report<'_>) {
    if is_language_tag(text) {
        return;
    }
    let dashed = text.replace('_', "-");
    let dashed = dashed.split('.').next().unwrap_or_default();
    let hint = if is_language_tag(dashed) {
        format!("did you mean `{dashed}`?")
    } else {
        "write a language tag, like `en-GB`".to_owned()
    };
    report.add(text.place, "bad-locale", "this is not a language tag").hint(hint);
}

fn is_language_tag(text: &str) -> bool {
    let mut parts = text.split('-');
    let language = parts.next().unwrap_or_default();
    let language_is_sound = match language.len() {
        1 => matches!(language, "x" | "i") && text.len() > 2,
        2 | 3 | 5..=8 => language.bytes().all(|byte| byte.is_ascii_alphabetic()),
        _ => false,
    };
    language_is_sound
        && text.len() <= 35
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_tags_are_told_from_what_looks_like_them() {
        for tag in ["en", "en-GB", "zh-Hant-TW", "de-CH-1996", "sr-Latn", "x-klingon"] {
            assert!(is_language_tag(tag), "{tag}");
        }
        for tag in ["", "e", "en_GB", "english language", "en-", "en-GB.UTF-8", "12"] {
            assert!(!is_language_tag(tag), "{tag}");
        }
    }

    #[test]
    fn names_begin_with_a_letter_or_digit_and_hold_no_white_space() {
        assert!(is_name("billing-finance") && is_name("9lives") && is_name("a.b_c"));
        assert!(!is_name("") && !is_name("-a") && !is_name("a b") && !is_name("é"));
    }
}
