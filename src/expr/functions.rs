//! The filters and tests of the language.

use minijinja::Environment;
use minijinja::Error;
use minijinja::ErrorKind;
use minijinja::Value;
use minijinja::value::ValueKind;

use crate::expr::inputs::answered;
use crate::expr::inputs::missing;

/// Most bytes of a text that a filter makes. Steps are limited elsewhere, but a chain of `replace`
/// multiplies with each step; no attribute of an account is nearly so long.
const LONGEST: usize = 1 << 16;

/// The tests of [`TESTS`](crate::expr::lexer::TESTS).
pub(crate) fn add_tests(engine: &mut Environment<'static>) {
    engine.add_test("defined", |value: &Value| {
        answered(value);
        !missing(value)
    });
    engine.add_test("undefined", |value: &Value| {
        answered(value);
        missing(value)
    });
    engine.add_test("startingwith", |value: &Value, start: &Value| {
        both(value, start, |value, start| value.starts_with(start))
    });
    engine.add_test("endingwith", |value: &Value, end: &Value| both(value, end, |value, end| value.ends_with(end)));
    engine.add_test("containing", |value: &Value, part: &Value| match items(value) {
        Some(items) => items.contains(part),
        None => both(value, part, |value, part| value.contains(part)),
    });
}

/// A test of two texts; false where one of them is none.
fn both(left: &Value, right: &Value, test: fn(&str, &str) -> bool) -> bool {
    left.as_str().zip(right.as_str()).is_some_and(|(left, right)| test(left, right))
}

/// The filters of [`FILTERS`](crate::expr::lexer::FILTERS).
pub(crate) fn add_filters(engine: &mut Environment<'static>) {
    engine.add_filter("lower", |value: Value| text("lower", value, |text| Ok(text.to_lowercase())));
    engine.add_filter("upper", |value: Value| text("upper", value, |text| Ok(text.to_uppercase())));
    engine.add_filter("trim", |value: Value| text("trim", value, |text| Ok(text.trim().to_owned())));
    engine.add_filter("capitalize", |value: Value| text("capitalize", value, |text| Ok(capitalized(text))));
    engine.add_filter("title", |value: Value| text("title", value, |text| Ok(titled(text))));
    engine.add_filter("ascii", |value: Value| text("ascii", value, ascii));
    engine.add_filter("replace", |value: Value, from: String, to: String| {
        text("replace", value, |text| replaced(text, &from, &to))
    });
    engine.add_filter("split", split);
    engine.add_filter("join", join);
    engine.add_filter("first", |value: Value| {
        item("first", value, |text| text.chars().next(), |items| items.first().cloned())
    });
    engine.add_filter("last", |value: Value| {
        item("last", value, |text| text.chars().next_back(), |items| items.last().cloned())
    });
    engine.add_filter("length", length);
    engine.add_filter("default", default);
}

fn wrong(filter: &str, wants: &str, value: &Value) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("`{filter}` works on {wants}, and this is {}", kind_word(value)))
}

fn kind_word(value: &Value) -> &'static str {
    let kind = value.kind();
    if is_list(value) {
        "a list"
    } else if kind == ValueKind::String {
        "text"
    } else if kind == ValueKind::Number {
        "a number"
    } else if kind == ValueKind::Bool {
        "true or false"
    } else {
        "a map"
    }
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// A filter from text to text; a number counts as its digits, what is absent stays so.
fn text(filter: &str, value: Value, apply: impl FnOnce(&str) -> Result<String, Error>) -> Result<Value, Error> {
    if missing(&value) {
        return Ok(value);
    }
    match value.as_str() {
        Some(text) => apply(text).map(Value::from),
        None if value.is_number() => apply(&value.to_string()).map(Value::from),
        None => Err(wrong(filter, "text", &value)),
    }
}

/// Counted before it is made: the text of the last step before a crash would be as long as memory.
fn replaced(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let made = text.matches(from).count().saturating_mul(to.len());
    short_enough("replace", text.len().saturating_add(made))?;
    Ok(text.replace(from, to))
}

fn short_enough(filter: &str, bytes: usize) -> Result<(), Error> {
    if bytes <= LONGEST {
        return Ok(());
    }
    let message = format!("`{filter}` would make a text of more than {LONGEST} bytes");
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn items(value: &Value) -> Option<Vec<Value>> {
    if !is_list(value) {
        return None;
    }
    value.try_iter().ok().map(Iterator::collect)
}

/// `first` and `last`: a letter of a text, an element of a list.
fn item(
    filter: &str,
    value: Value,
    of_text: fn(&str) -> Option<char>,
    of_list: fn(&[Value]) -> Option<Value>,
) -> Result<Value, Error> {
    match (value.as_str(), items(&value)) {
        _ if missing(&value) => Ok(value),
        (Some(text), _) => Ok(of_text(text).map_or(Value::UNDEFINED, |letter| Value::from(letter.to_string()))),
        (None, Some(items)) => Ok(of_list(&items).unwrap_or(Value::UNDEFINED)),
        (None, None) => Err(wrong(filter, "text and lists", &value)),
    }
}

fn split(value: Value, separator: &str) -> Result<Value, Error> {
    match value.as_str() {
        _ if missing(&value) => Ok(value),
        Some(_) if separator.is_empty() => Err(Error::new(ErrorKind::InvalidOperation, "`split` needs a separator")),
        Some(text) => Ok(text.split(separator).map(Value::from).collect()),
        None => Err(wrong("split", "text", &value)),
    }
}

fn join(value: Value, separator: Option<String>) -> Result<Value, Error> {
    match items(&value) {
        _ if missing(&value) => Ok(value),
        Some(items) => {
            let texts: Vec<String> = items.iter().filter(|item| !missing(item)).map(ToString::to_string).collect();
            let separator = separator.unwrap_or_default();
            let between = separator.len().saturating_mul(texts.len());
            short_enough("join", texts.iter().map(String::len).sum::<usize>().saturating_add(between))?;
            Ok(Value::from(texts.join(&separator)))
        }
        None => Err(wrong("join", "lists", &value)),
    }
}

fn length(value: Value) -> Result<Value, Error> {
    match (value.as_str(), items(&value)) {
        _ if missing(&value) => Ok(value),
        (Some(text), _) => Ok(Value::from(text.chars().count())),
        (None, Some(items)) => Ok(Value::from(items.len())),
        (None, None) => Err(wrong("length", "text and lists", &value)),
    }
}

fn default(value: Value, fallback: Value) -> Value {
    if missing(&value) {
        answered(&value);
        return fallback;
    }
    // The fallback was evaluated too, and is not needed.
    answered(&fallback);
    value
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters.flat_map(char::to_lowercase)).collect())
}

/// The first letter of each word large, the others small: `jean-luc o'neill` becomes
/// `Jean-Luc O'Neill`.
fn titled(text: &str) -> String {
    let mut begins = true;
    let mut titled = String::with_capacity(text.len());
    for letter in text.chars() {
        if begins {
            titled.extend(letter.to_uppercase());
        } else {
            titled.extend(letter.to_lowercase());
        }
        begins = !letter.is_alphanumeric();
    }
    titled
}

/// Latin letters without their marks; what has no such form is an error, never dropped: two
/// people would get one user name.
fn ascii(text: &str) -> Result<String, Error> {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match (letter.is_ascii(), latin(letter)) {
            (true, _) => plain.push(letter),
            (false, Some(form)) => plain.push_str(form),
            (false, None) => {
                let message = format!("`{letter}` has no form in ASCII letters");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
    }
    Ok(plain)
}

/// The usual romanisation of letters of Latin-1 and Latin Extended-A, as in passports without
/// national rules (ä is a, not ae).
fn latin(letter: char) -> Option<&'static str> {
    const FORMS: [(&str, &str); 55] = [
        ("ÀÁÂÃÄÅĀĂĄ", "A"),
        ("àáâãäåāăą", "a"),
        ("Æ", "AE"),
        ("æ", "ae"),
        ("ÇĆĈĊČ", "C"),
        ("çćĉċč", "c"),
        ("ĎĐÐ", "D"),
        ("ďđð", "d"),
        ("ÈÉÊËĒĔĖĘĚ", "E"),
        ("èéêëēĕėęě", "e"),
        ("ĜĞĠĢ", "G"),
        ("ĝğġģ", "g"),
        ("ĤĦ", "H"),
        ("ĥħ", "h"),
        ("ÌÍÎÏĨĪĬĮİ", "I"),
        ("ìíîïĩīĭįı", "i"),
        ("Ĳ", "IJ"),
        ("ĳ", "ij"),
        ("Ĵ", "J"),
        ("ĵ", "j"),
        ("Ķ", "K"),
        ("ķĸ", "k"),
        ("ĹĻĽĿŁ", "L"),
        ("ĺļľŀł", "l"),
        ("ÑŃŅŇŊ", "N"),
        ("ñńņňŋ", "n"),
        ("ŉ", "n"),
        ("ÒÓÔÕÖØŌŎŐ", "O"),
        ("òóôõöøōŏő", "o"),
        ("Œ", "OE"),
        ("œ", "oe"),
        ("ŔŖŘ", "R"),
        ("ŕŗř", "r"),
        ("ŚŜŞŠȘ", "S"),
        ("śŝşšș", "s"),
        ("ß", "ss"),
        ("ẞ", "SS"),
        ("ſ", "s"),
        ("ŢŤŦȚ", "T"),
        ("ţťŧț", "t"),
        ("Þ", "Th"),
        ("þ", "th"),
        ("ÙÚÛÜŨŪŬŮŰŲ", "U"),
        ("ùúûüũūŭůűų", "u"),
        ("Ŵ", "W"),
        ("ŵ", "w"),
        ("ÝŶŸ", "Y"),
        ("ýŷÿ", "y"),
        ("ŹŻŽ", "Z"),
        ("źżž", "z"),
        ("ʼ’‘", "'"),
        ("‐‑–", "-"),
        ("\u{a0}", " "),
        ("ª", "a"),
        ("º", "o"),
    ];
    FORMS.iter().find(|(letters, _)| letters.contains(letter)).map(|(_, form)| *form)
}
