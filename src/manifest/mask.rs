//! Hides what may be a secret in lines that are shown. It works on text, since a document with a
//! syntax error has nothing else, and rather hides too much.

use std::ops::Range;

/// What stands in place of something hidden; its length says nothing about it.
const STARS: &str = "********";
/// A run of letters and digits this long is taken for a credential.
const LONG: usize = 20;

/// A line fit to be shown.
pub(crate) struct Masked {
    pub(crate) text: String,
    /// The marked bytes, moved with the text.
    pub(crate) mark: Range<usize>,
}

/// Masks the line that starts at byte `start` of `text`.
pub(crate) fn line(text: &str, start: usize, line: &str, mark: Range<usize>) -> Masked {
    let inherited = text.get(..start).is_some_and(|above| under_secret(above, indent(line)));
    let mut shown = String::with_capacity(line.len());
    let mut moved = mark.clone();
    let mut at = 0;
    for hidden in Scan::new(line, inherited).hidden() {
        shown.push_str(line.get(at..hidden.start).unwrap_or_default());
        moved.start = shift(mark.start, moved.start, &hidden, shown.len());
        moved.end = shift(mark.end, moved.end, &hidden, shown.len());
        shown.push_str(STARS);
        at = hidden.end;
    }
    shown.push_str(line.get(at..).unwrap_or_default());
    Masked { mark: moved.start..moved.end.max(moved.start), text: shown }
}

/// Where byte `old` stands after `hidden`, which begins at `new_start` now, was replaced.
fn shift(old: usize, current: usize, hidden: &Range<usize>, new_start: usize) -> usize {
    if old <= hidden.start {
        current
    } else if old >= hidden.end {
        new_start + STARS.len() + (old - hidden.end)
    } else {
        new_start + STARS.len()
    }
}

/// Keys that hold a credential or a tree of them; lower case, letters and digits only.
const WHOLE: [&str; 11] =
    ["auth", "authorization", "bearer", "key", "cookie", "pass", "pem", "pin", "pw", "pwd", "secrets"];
/// Ends of such keys.
const ENDS: [&str; 9] =
    ["password", "passwd", "passphrase", "token", "secret", "apikey", "privatekey", "accesskey", "credential"];

/// Whether the key of this name holds a credential or a tree of them.
pub(crate) fn is_secret_key(key: &str) -> bool {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    WHOLE.contains(&plain.as_str()) || ENDS.iter().any(|end| plain.ends_with(end))
}

/// Keys whose value only says where a credential is.
pub(crate) fn is_reference(key: &str) -> bool {
    matches!(key, "secret" | "env" | "file")
}

/// Names of secrets and variables look like this; anything else there may be the secret itself.
pub(crate) fn is_reference_name(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// Whether a line that is indented like `below` stands under a key that holds credentials.
fn under_secret(above: &str, mut below: usize) -> bool {
    for line in above.lines().rev() {
        if below == 0 || line.starts_with("---") {
            return false;
        }
        if line.trim().is_empty() || indent(line) >= below {
            continue;
        }
        below = indent(line);
        if last_key(line).is_some_and(|key| is_secret_key(key) && !is_reference(key)) {
            return true;
        }
    }
    false
}

/// The innermost key that a line opens and does not close.
fn last_key(line: &str) -> Option<&str> {
    let head = line.split(" #").next()?;
    let key = head.trim_start_matches([' ', '\t', '-']).split(':').next()?;
    Some(key.trim().trim_matches(['"', '\'']))
}

/// One pass over a line, block or flow style.
struct Scan<'a> {
    line: &'a str,
    at: usize,
    /// For each open bracket, whether it stands under a key that holds credentials.
    scopes: Vec<bool>,
    outer: bool,
    key: Option<&'a str>,
    found: Vec<Range<usize>>,
}

impl<'a> Scan<'a> {
    fn new(line: &'a str, outer: bool) -> Self {
        Self { line, at: 0, scopes: Vec::new(), outer, key: None, found: Vec::new() }
    }

    fn hidden(mut self) -> Vec<Range<usize>> {
        while let Some(c) = self.line.get(self.at..).and_then(|rest| rest.chars().next()) {
            match c {
                '{' | '[' => {
                    let under = self.key.take().is_some_and(is_secret_key);
                    let scope = self.scope() || under;
                    self.scopes.push(scope);
                    self.at += 1;
                }
                '}' | ']' => {
                    self.scopes.pop();
                    self.key = None;
                    self.at += 1;
                }
                ',' => {
                    self.key = None;
                    self.at += 1;
                }
                '#' => break,
                c if c.is_whitespace() || c == ':' => self.at += c.len_utf8(),
                '-' if self.line.get(self.at + 1..).is_none_or(|rest| rest.is_empty() || rest.starts_with(' ')) => {
                    self.at += 1;
                }
                _ => self.token(),
            }
        }
        self.found
    }

    fn scope(&self) -> bool {
        self.scopes.last().copied().unwrap_or(self.outer)
    }

    fn token(&mut self) {
        let start = self.at;
        let len = self.token_len();
        self.at = start + len.max(1);
        let Some(token) = self.line.get(start..self.at) else { return };
        let rest = self.line.get(self.at..).unwrap_or_default().trim_start();
        if rest.starts_with(':') && self.key.is_none() {
            self.key = Some(token.trim().trim_matches(['"', '\'']));
            return;
        }
        let bare = token.trim().trim_matches(['"', '\'']);
        // A tag of its own, as in `!secret value`, often says what the value is.
        let tagged = bare.starts_with('!') && !bare.starts_with("!!");
        let secret = match self.key.take() {
            Some(key) if is_reference(key) && !tagged => !is_reference_name(bare),
            _ if tagged => true,
            Some(key) => self.scope() || is_secret_key(key),
            None => self.scope(),
        };
        if secret && !matches!(bare, "|" | ">" | "|-" | ">-") {
            self.found.push(start..start + token.trim_end().len());
        } else {
            self.found.extend(suspicious(token).map(|range| start + range.start..start + range.end));
        }
    }

    /// A quoted text, or plain text as far as it reaches.
    fn token_len(&self) -> usize {
        let rest = self.line.get(self.at..).unwrap_or_default();
        if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            return quoted_len(rest, quote);
        }
        let flow = !self.scopes.is_empty();
        let mut before = ' ';
        for (at, c) in rest.char_indices() {
            let next = rest.get(at + c.len_utf8()..).and_then(|tail| tail.chars().next()).unwrap_or(' ');
            let ends = match c {
                ':' => next.is_whitespace(),
                '#' => before.is_whitespace(),
                ',' | '}' | ']' => flow,
                _ => false,
            };
            if ends {
                return at;
            }
            before = c;
        }
        rest.len()
    }
}

/// How far the quoted text at the start of `rest` reaches.
fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Parts of a value that look like a credential: the user part of a URL, and long runs that mix
/// letters and digits.
fn suspicious(token: &str) -> impl Iterator<Item = Range<usize>> {
    let user = token.find("://").and_then(|scheme| {
        let from = scheme + 3;
        let authority = token.get(from..)?.split(['/', '?', '#', ' ', '"']).next()?;
        authority.rfind('@').map(|at| from..from + at)
    });
    let mut runs = Vec::new();
    if user.is_none() {
        let word = |c: char| c.is_ascii_alphanumeric() || "+/=_".contains(c);
        let mut start = 0;
        for part in token.split(|c: char| !word(c)) {
            let end = start + part.len();
            let mixed = part.bytes().any(|b| b.is_ascii_digit()) && part.bytes().any(|b| b.is_ascii_alphabetic());
            if part.len() >= LONG && mixed && !part.contains("//") {
                runs.push(start..end);
            }
            start = end + token.get(end..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        }
    }
    user.into_iter().chain(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let start = text.rfind('\n').map_or(0, |at| at + 1);
        assert_eq!(line(text, start, text.get(start..).unwrap(), 0..0).text, expected);
    }

    #[test]
    fn the_value_of_a_credential_key_is_hidden() {
        check("  password: hunter2", "  password: ********");
        check("auth: { bearer: \"abc, d\" }", "auth: { bearer: ******** }");
        check(r#"{"clientSecret":"x","url":"http://a"}"#, r#"{"clientSecret":********,"url":"http://a"}"#);
        check("  - apiToken: a b c # why", "  - apiToken: ******** # why");
    }

    #[test]
    fn references_stay_readable_unless_they_look_like_the_secret_itself() {
        check("auth: { bearer: { secret: collections } }", "auth: { bearer: { secret: collections } }");
        check("auth: { bearer: { secret: \"p4ss w0rd!\" } }", "auth: { bearer: { secret: ******** } }");
    }

    #[test]
    fn a_secret_written_where_its_binding_belongs_is_hidden() {
        check("secrets: { crm: \"hunter2\" }", "secrets: { crm: ******** }");
        check("secrets:\n  crm: { value: hunter2 }", "  crm: { value: ******** }");
        check("secrets:\n  crm: { env: CRM_TOKEN }", "  crm: { env: CRM_TOKEN }");
    }

    #[test]
    fn everything_below_a_credential_key_is_hidden() {
        check("key: |\n  MIIEvQ", "  ********");
        check("auth:\n  basic:\n    username: svc", "    username: ********");
        check("auth:\n  bearer:\n    secret: name", "    secret: name");
        check("spec:\n  auth:\n    bearer: x\n  mode: enforce", "  mode: enforce");
    }

    #[test]
    fn urls_with_a_password_and_long_mixed_runs_are_hidden_anywhere() {
        check("url: https://me:pw@host/x", "url: https://********@host/x");
        check("note: abcdef0123456789abcdef0", "note: ********");
        check("note: some-quite-ordinary-words-2026-here", "note: some-quite-ordinary-words-2026-here");
    }

    #[test]
    fn the_mark_moves_with_the_text() {
        let text = "{ token: abcdefghijk, givename: x }";
        let at = text.find("givename").unwrap();
        let masked = line(text, 0, text, at..at + 8);
        assert_eq!(masked.text.get(masked.mark), Some("givename"));
    }
}
