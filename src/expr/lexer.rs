//! Splits templates, and refuses what the language leaves out.
//!
//! minijinja looks filters, tests and functions up when it meets them, so a wrong name in a
//! branch that no sample takes would be found at the worst moment. Reading the words here finds
//! it at load.

use crate::expr::ExprError;
use crate::expr::names::nearest;

/// The filters that templates may use.
pub(crate) const FILTERS: [&str; 13] = [
    "ascii",
    "capitalize",
    "default",
    "first",
    "join",
    "last",
    "length",
    "lower",
    "replace",
    "split",
    "title",
    "trim",
    "upper",
];

/// The tests that may follow `is`.
pub(crate) const TESTS: [&str; 5] = ["containing", "defined", "endingwith", "startingwith", "undefined"];

/// Words before a parenthesis that do not call anything.
const KEYWORDS: [&str; 7] = ["and", "else", "if", "in", "is", "not", "or"];

/// A piece of a template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Copied as it stands.
    Text(&'a str),
    /// What stands between `{{` and `}}`, and where that begins.
    Expression {
        /// The expression, spaces around it included.
        text: &'a str,
        /// Byte offset of `text` in the template.
        offset: usize,
    },
}

/// Splits a template at its `{{ }}`.
pub(crate) fn split(source: &str) -> Result<Vec<Part<'_>>, ExprError> {
    for unknown in ["{%", "{#", "{{-", "-}}", "{{+"] {
        if let Some(offset) = source.find(unknown) {
            let hint = "templates are text with `{{ expressions }}`; choose with `{{ a if condition else b }}`";
            return Err(ExprError::new(format!("`{unknown}` is not part of templates")).at(offset).hint(hint));
        }
    }
    let mut parts = Vec::new();
    let mut rest = 0;
    while let Some(open) = source.get(rest..).and_then(|tail| tail.find("{{")).map(|found| rest + found) {
        if open > rest {
            parts.push(Part::Text(source.get(rest..open).unwrap_or_default()));
        }
        let start = open + 2;
        let Some(end) = expression_end(source, start) else {
            return Err(ExprError::new("`{{` has no `}}`").at(open).hint("close it: `{{ user.email }}`"));
        };
        parts.push(Part::Expression { text: source.get(start..end).unwrap_or_default(), offset: start });
        rest = end + 2;
    }
    if rest < source.len() {
        parts.push(Part::Text(source.get(rest..).unwrap_or_default()));
    }
    Ok(parts)
}

/// Where the `}}` stands that ends the expression begun at `start`: not inside a string, and not
/// the end of a map literal.
fn expression_end(source: &str, start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, token) in (Tokens { source, at: start }) {
        match token {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') if depth > 0 => depth -= 1,
            Token::Sign('}') if source.get(offset + 1..)?.starts_with('}') => return Some(offset),
            Token::Sign(_) | Token::Word(_) | Token::Text(_) => {}
        }
    }
    None
}

/// What the words of one expression say.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Dotted chains that begin with a variable, each with the literal subscript after it and
    /// its offset: `user.labels['cost-center']` is `("user.labels", Some("cost-center"), 0)`.
    pub(crate) chains: Vec<(String, Option<String>, usize)>,
    /// Whether `<` or `>` stands in it.
    pub(crate) orders: bool,
}

/// Reads the words of one expression and refuses unknown filters and tests, every call, and what makes
/// a value of any size out of a few letters.
pub(crate) fn words(expression: &str) -> Result<Words, ExprError> {
    let tokens: Vec<(usize, Token<'_>)> = Tokens { source: expression, at: 0 }.collect();
    let mut words = Words::default();
    for (index, (offset, token)) in tokens.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|index| tokens.get(index)).map(|(_, token)| *token);
        let before_that = index.checked_sub(2).and_then(|index| tokens.get(index)).map(|(_, token)| *token);
        let after = tokens.get(index + 1).map(|(_, token)| *token);
        match *token {
            Token::Word(word) if before == Some(Token::Sign('|')) => {
                known("filter", word, &FILTERS).map_err(|error| error.at(*offset))?;
            }
            Token::Word("not") if before == Some(Token::Word("is")) => {}
            Token::Word(word) if is_test(before, before_that) => {
                known("test", word, &TESTS).map_err(|error| error.at(*offset))?;
            }
            Token::Word(word) if after == Some(Token::Sign('(')) && !KEYWORDS.contains(&word) => {
                let hint = format!("there are no functions; the filters are {}", FILTERS.join(", "));
                return Err(ExprError::new(format!("`{word}(...)` calls a function")).at(*offset).hint(hint));
            }
            Token::Sign('(') if matches!(before, Some(Token::Sign(')' | ']') | Token::Text(_))) => {
                return Err(ExprError::new("this calls something that is no function").at(*offset));
            }
            Token::Word(word) if before != Some(Token::Sign('.')) => {
                let (chain, subscript) = chain(word, tokens.get(index + 1..).unwrap_or_default());
                words.chains.push((chain, subscript, *offset));
            }
            Token::Sign('*') => {
                let hint = "a text or a list times a number can be of any size; write the value out";
                return Err(ExprError::new("`*` is not part of expressions").at(*offset).hint(hint));
            }
            Token::Sign('<' | '>') => words.orders = true,
            Token::Sign(_) | Token::Word(_) | Token::Text(_) => {}
        }
    }
    Ok(words)
}

fn is_test(before: Option<Token<'_>>, before_that: Option<Token<'_>>) -> bool {
    before == Some(Token::Word("is")) || (before == Some(Token::Word("not")) && before_that == Some(Token::Word("is")))
}

fn known(kind: &str, word: &str, all: &[&str]) -> Result<(), ExprError> {
    if all.contains(&word) {
        return Ok(());
    }
    let hint = match nearest(word, all.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the {kind}s are {}", all.join(", ")),
    };
    Err(ExprError::new(format!("unknown {kind} `{word}`")).hint(hint))
}

/// The dotted chain that begins with `first`, and the literal in brackets after it.
fn chain(first: &str, mut rest: &[(usize, Token<'_>)]) -> (String, Option<String>) {
    let mut chain = first.to_owned();
    while let [(_, Token::Sign('.')), (_, Token::Word(word)), tail @ ..] = rest {
        chain.push('.');
        chain.push_str(word);
        rest = tail;
    }
    let subscript = match rest {
        [(_, Token::Sign('[')), (_, Token::Text(text)), (_, Token::Sign(']')), ..] if !text.contains('\\') => {
            Some((*text).to_owned())
        }
        _ => None,
    };
    (chain, subscript)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A name or a number.
    Word(&'a str),
    /// What stands between quotes, escapes as written.
    Text(&'a str),
    /// Any other character.
    Sign(char),
}

/// Tokens with their offsets; spaces are left out.
struct Tokens<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (usize, Token<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let tail = self.source.get(self.at..)?;
        let trimmed = tail.trim_start();
        let start = self.at + (tail.len() - trimmed.len());
        let first = trimmed.chars().next()?;
        let (token, length) = match first {
            '\'' | '"' => {
                let inside = trimmed.get(1..)?;
                let end = text_end(inside, first)?;
                (Token::Text(inside.get(..end)?), end + 2)
            }
            _ if is_word(first) => {
                let end = trimmed.find(|c: char| !is_word(c)).unwrap_or(trimmed.len());
                (Token::Word(trimmed.get(..end)?), end)
            }
            _ => (Token::Sign(first), first.len_utf8()),
        };
        self.at = start + length;
        Some((start, token))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where the closing quote stands.
fn text_end(inside: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (offset, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(offset),
            _ => {}
        }
    }
    None
}
