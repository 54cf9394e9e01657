//! The template and expression engine: check and evaluate.
//!
//! minijinja is named in this module and nowhere else. What is offered is a small, closed part
//! of it: text with `{{ expressions }}`, a fixed set of filters and tests, and exactly the
//! variables of [`Names`]. No statements, no loops, no functions, no clock, no randomness: equal
//! inputs give equal values.
//!
//! # Absent inputs
//! A user without a `title` has no `user.attributes.title`; neither has one whose title is
//! `null` or the empty text. A template that reads an absent input gives no value at all
//! ([`Template::render`] returns `None`), so that half a value is never written. What counts is
//! what the evaluation really met: a read in the branch of an `if` that was not taken is no
//! read, and a read that `default(...)` (or the test `is defined`) takes in, directly or through
//! text filters before it, is answered. `{{ user.attributes.nick | default(user.givenName) }}`
//! has a value when either has.
//!
//! A result that is empty (no text, an empty list) is no value either: targets do not tell the
//! two apart.

mod context;
mod engine;
mod functions;
mod inputs;
mod lexer;
mod names;

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value as Json;

use crate::expr::engine::Compiled;
use crate::expr::engine::Outcome;
use crate::expr::lexer::Part;

pub use crate::expr::context::Context;
pub use crate::expr::names::Names;
pub use crate::expr::names::nearest;

/// No template that a person maintains is longer, in bytes.
const LONGEST_SOURCE: usize = 4096;

/// No mail that a person maintains is longer, in bytes.
const LONGEST_TEXT: usize = 32 * 1024;

/// No attribute that a template makes is longer, in bytes: it ends in somebody's column.
const LONGEST_RESULT: usize = 64 * 1024;

/// Why a template or condition is wrong, or could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// What is wrong.
    pub message: String,
    /// Where in the source, in bytes; `None` where the whole of it is meant.
    pub offset: Option<usize>,
    /// What would be right.
    pub hint: Option<String>,
}

impl ExprError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), offset: None, hint: None }
    }

    fn at(mut self, offset: usize) -> Self {
        self.offset = Some(offset);
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Text with `{{ expressions }}` in it, checked.
pub struct Template {
    source: String,
    pieces: Vec<Piece>,
    references: BTreeSet<String>,
}

enum Piece {
    Text(String),
    /// A bare `{{ user.email }}`: most of all mappings, and answered without the engine.
    Field(String),
    Computed(Compiled),
}

impl Template {
    /// Checks a template: syntax, filters, tests, every variable and field that it names, and,
    /// where the kinds of all its inputs are known, one evaluation with samples of them.
    pub fn compile(source: &str, names: &Names) -> Result<Self, ExprError> {
        check_length(source)?;
        Self::compiled(source, names)
    }

    /// The same for the text of a mail, which may be longer.
    pub fn compile_text(source: &str, names: &Names) -> Result<Self, ExprError> {
        if source.len() > LONGEST_TEXT {
            return Err(ExprError::new(format!("{} bytes of text; at most {LONGEST_TEXT}", source.len())));
        }
        Self::compiled(source, names)
    }

    fn compiled(source: &str, names: &Names) -> Result<Self, ExprError> {
        let mut pieces = Vec::new();
        let mut references = BTreeSet::new();
        for part in lexer::split(source)? {
            pieces.push(match part {
                Part::Text(text) => Piece::Text(text.to_owned()),
                Part::Expression { text, offset } => {
                    let compiled = Compiled::new(text, offset, names)?;
                    references.extend(compiled.references().map(str::to_owned));
                    match compiled.bare_field() {
                        Some(field) => Piece::Field(field.to_owned()),
                        None => Piece::Computed(compiled),
                    }
                }
            });
        }
        let template = Self { source: source.to_owned(), pieces, references };
        template.try_out()?;
        Ok(template)
    }

    /// The value for these inputs; `None` where it has none (an absent input, an empty result).
    ///
    /// A template that is one `{{ expression }}` and nothing else keeps the kind of its value:
    /// a number stays a number, a list a list. Anything else gives text.
    pub fn render(&self, context: &Context<'_>) -> Result<Option<Json>, ExprError> {
        self.render_with(&|reference| context.lookup(reference))
    }

    /// The text for these inputs, for people: an absent input leaves a gap, a list stands with commas, and
    /// each value is passed through `escape` before it joins what the template says itself.
    pub fn text(&self, context: &Context<'_>, escape: fn(&str) -> String) -> Result<String, ExprError> {
        let mut text = String::new();
        for piece in &self.pieces {
            let value = match piece {
                Piece::Text(literal) => {
                    text.push_str(literal);
                    continue;
                }
                Piece::Field(field) => context.lookup(field),
                Piece::Computed(compiled) => compiled.evaluate(&|name| context.lookup(name))?.value(),
            };
            text.push_str(&escape(&in_words(value.as_ref())));
            if text.len() > LONGEST_RESULT {
                return Err(ExprError::new(format!("the text grows over {LONGEST_RESULT} bytes")));
            }
        }
        Ok(text)
    }

    /// The variables that it may read: `user.email`, `grant.attributes.role`.
    pub fn references(&self) -> &BTreeSet<String> {
        &self.references
    }

    fn render_with(&self, lookup: &dyn Fn(&str) -> Option<Json>) -> Result<Option<Json>, ExprError> {
        let value = match self.pieces.as_slice() {
            [Piece::Field(field)] => lookup(field),
            [Piece::Computed(compiled)] => compiled.evaluate(lookup)?.value(),
            pieces => text_of(pieces, lookup)?.map(Json::String),
        };
        let Some(value) = value else { return Ok(None) };
        match &value {
            Json::Null => Ok(None),
            Json::String(text) if text.is_empty() => Ok(None),
            Json::String(text) if text.len() > LONGEST_RESULT => {
                Err(ExprError::new(format!("`{}` gives {} bytes of text", self.source, text.len())))
            }
            Json::Array(items) if items.is_empty() => Ok(None),
            Json::Array(items) if items.iter().any(|item| item.is_array() || item.is_object()) => {
                Err(ExprError::new(format!("`{}` gives a list of lists", self.source))
                    .hint("give text, a number or a flat list"))
            }
            Json::Object(_) => Err(ExprError::new(format!("`{}` gives a map", self.source))
                .hint("name one of its fields, or give text, a number or a flat list")),
            Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => Ok(Some(value)),
        }
    }

    /// Evaluates once with samples, so that `{{ user.teams | upper }}` is found at load.
    fn try_out(&self) -> Result<(), ExprError> {
        if self.references.iter().all(|reference| names::sample(reference).is_some()) {
            self.render_with(&names::sample)?;
        }
        Ok(())
    }
}

/// A value as a person reads it.
fn in_words(value: Option<&Json>) -> String {
    match value {
        None | Some(Json::Null | Json::Object(_)) => String::new(),
        Some(Json::String(text)) => text.clone(),
        Some(value @ (Json::Bool(_) | Json::Number(_))) => value.to_string(),
        Some(Json::Array(items)) => items.iter().map(|item| in_words(Some(item))).collect::<Vec<_>>().join(", "),
    }
}

fn text_of(pieces: &[Piece], lookup: &dyn Fn(&str) -> Option<Json>) -> Result<Option<String>, ExprError> {
    let mut text = String::new();
    for piece in pieces {
        let value = match piece {
            Piece::Text(literal) => {
                text.push_str(literal);
                continue;
            }
            Piece::Field(field) => lookup(field),
            Piece::Computed(compiled) => compiled.evaluate(lookup)?.value(),
        };
        match value {
            None | Some(Json::Null) => return Ok(None),
            Some(Json::String(value)) => text.push_str(&value),
            Some(value @ (Json::Bool(_) | Json::Number(_))) => text.push_str(&value.to_string()),
            Some(Json::Array(_) | Json::Object(_)) => {
                return Err(ExprError::new("a list stands in the middle of a text").hint("add `| join(', ')`"));
            }
        }
    }
    Ok(Some(text))
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.source)
    }
}

/// An expression that is true or false, checked.
///
/// An absent input equals nothing, is in nothing and is neither more nor less than anything: a
/// condition that meets one and orders (`<`, `>`, `<=`, `>=`) does not hold.
pub struct Condition(Compiled);

impl Condition {
    /// Checks a condition as [`Template::compile`] checks a template.
    pub fn compile(source: &str, names: &Names) -> Result<Self, ExprError> {
        check_length(source)?;
        if source.contains("{{") || source.contains("{%") {
            return Err(ExprError::new(format!("`{source}` is a template where a condition is wanted"))
                .hint("write the bare expression: `user.userType == 'employee'`"));
        }
        let condition = Self(Compiled::new(source, 0, names)?);
        if condition.0.references().all(|reference| names::sample(reference).is_some()) {
            condition.holds_with(&names::sample)?;
        }
        Ok(condition)
    }

    /// Whether it is true for these inputs.
    pub fn holds(&self, context: &Context<'_>) -> Result<bool, ExprError> {
        self.holds_with(&|reference| context.lookup(reference))
    }

    /// The variables that it may read.
    pub fn references(&self) -> &BTreeSet<String> {
        self.0.reference_set()
    }

    fn holds_with(&self, lookup: &dyn Fn(&str) -> Option<Json>) -> Result<bool, ExprError> {
        let (met_absent, value) = match self.0.evaluate(lookup)? {
            Outcome::Known(value) => (false, value),
            Outcome::MetAbsent(value) => (true, value),
        };
        match value {
            _ if met_absent && self.0.orders() => Ok(false),
            Json::Bool(value) => Ok(value),
            Json::Null => Ok(false),
            Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => {
                Err(ExprError::new(format!("`{}` is neither true nor false", self.0.source()))
                    .hint("compare it: `user.userType == 'employee'`, `'credit' in user.teams`"))
            }
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?})", self.0.source())
    }
}

fn check_length(source: &str) -> Result<(), ExprError> {
    if source.len() > LONGEST_SOURCE {
        return Err(ExprError::new(format!("{} bytes of template; at most {LONGEST_SOURCE}", source.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
