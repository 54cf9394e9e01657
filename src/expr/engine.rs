//! minijinja, with everything taken out that the language leaves out.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use minijinja::AutoEscape;
use minijinja::Environment;
use minijinja::Error;
use minijinja::ErrorKind;
use minijinja::Expression;
use minijinja::UndefinedBehavior;
use minijinja::Value;
use serde_json::Value as Json;

use crate::expr::ExprError;
use crate::expr::functions;
use crate::expr::inputs;
use crate::expr::lexer;
use crate::expr::names::Names;

/// Steps that one expression may take: a hundred times what the longest honest one needs.
const FUEL: u64 = 10_000;

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::empty();
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.set_undefined_behavior(UndefinedBehavior::Chainable);
    engine.set_fuel(Some(FUEL));
    engine.set_recursion_limit(32);
    // Without it errors carry no offset.
    engine.set_debug(true);
    functions::add_filters(&mut engine);
    functions::add_tests(&mut engine);
    engine
});

/// One expression, checked.
pub(crate) struct Compiled {
    source: String,
    /// Where `source` begins in its template.
    offset: usize,
    expression: Expression<'static, 'static>,
    references: Vec<Reference>,
    reference_set: BTreeSet<String>,
    orders: bool,
}

/// One variable that an expression reads.
struct Reference {
    /// `user.labels.cost-center`
    text: String,
    /// The names on the way to it; a name in brackets may hold dots.
    segments: Vec<String>,
}

/// What an evaluation gave.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A value for which every input was there.
    Known(Json),
    /// A value for which an input was absent that no `default` answered.
    MetAbsent(Json),
}

impl Outcome {
    /// The value, unless something was absent.
    pub(crate) fn value(self) -> Option<Json> {
        match self {
            Self::Known(value) => Some(value),
            Self::MetAbsent(_) => None,
        }
    }
}

impl Compiled {
    /// Checks an expression that stands at `offset` of its template.
    pub(crate) fn new(source: &str, offset: usize, names: &Names) -> Result<Self, ExprError> {
        let shift = |mut error: ExprError| {
            error.offset = error.offset.map(|at| at + offset);
            error
        };
        // First: what reads an expression works out what is constant in it.
        let words = lexer::words(source).map_err(shift)?;
        let expression =
            ENGINE.compile_expression_owned(source.to_owned()).map_err(|error| shift(explain(&error, source)))?;
        let references = references(&expression, &words, names).map_err(shift)?;
        let reference_set = references.iter().map(|reference| reference.text.clone()).collect();
        Ok(Self { source: source.to_owned(), offset, expression, references, reference_set, orders: words.orders })
    }

    /// The expression as it is written.
    pub(crate) fn source(&self) -> &str {
        self.source.trim()
    }

    /// Whether it orders values.
    pub(crate) fn orders(&self) -> bool {
        self.orders
    }

    /// The variables that it may read.
    pub(crate) fn references(&self) -> impl Iterator<Item = &str> {
        self.references.iter().map(|reference| reference.text.as_str())
    }

    /// The same as a set.
    pub(crate) fn reference_set(&self) -> &BTreeSet<String> {
        &self.reference_set
    }

    /// The variable, where the expression is nothing else.
    pub(crate) fn bare_field(&self) -> Option<&str> {
        match self.references.as_slice() {
            [only] if only.text == self.source() => Some(&only.text),
            _ => None,
        }
    }

    /// Evaluates with the values that `lookup` gives.
    pub(crate) fn evaluate(&self, lookup: &dyn Fn(&str) -> Option<Json>) -> Result<Outcome, ExprError> {
        let given = self.references.iter().map(|reference| (&*reference.segments, lookup(&reference.text)));
        let root = inputs::begin(given);
        let value = self.expression.eval(root).map_err(|error| {
            let mut explained = explain(&error, self.source());
            explained.offset = explained.offset.map(|at| at + self.offset);
            explained
        })?;
        let json = if inputs::is_absent(&value) { Json::Null } else { to_json(&value, self.source())? };
        Ok(if inputs::all_answered() { Outcome::Known(json) } else { Outcome::MetAbsent(json) })
    }
}

fn to_json(value: &Value, source: &str) -> Result<Json, ExprError> {
    serde_json::to_value(value).map_err(|_| ExprError::new(format!("`{source}` gives no plain value")))
}

/// The variables of an expression: the engine says which it reads, the words say which key in
/// brackets is meant where it reads a map.
fn references(
    expression: &Expression<'static, 'static>,
    words: &lexer::Words,
    names: &Names,
) -> Result<Vec<Reference>, ExprError> {
    let read: BTreeSet<String> = expression.undeclared_variables(true).into_iter().collect();
    let mut found: BTreeMap<String, Reference> = BTreeMap::new();
    for name in read {
        let places: Vec<_> = words.chains.iter().filter(|(chain, ..)| *chain == name).collect();
        let offset = places.first().map(|(_, _, offset)| *offset);
        let dotted: Vec<String> = name.split('.').map(str::to_owned).collect();
        let subscripts: Option<Vec<&String>> = places.iter().map(|(_, subscript, _)| subscript.as_ref()).collect();
        let wanted = match (names.check(&dotted), subscripts) {
            (Ok(()), _) => vec![dotted],
            (Err(_), Some(keys)) if !keys.is_empty() => {
                keys.into_iter().map(|key| dotted.iter().cloned().chain([key.clone()]).collect()).collect()
            }
            (Err(error), _) => return Err(offset.map_or(error.clone(), |at| error.at(at))),
        };
        for segments in wanted {
            names.check(&segments).map_err(|error| offset.map_or(error.clone(), |at| error.at(at)))?;
            let text = segments.join(".");
            found.insert(text.clone(), Reference { text, segments });
        }
    }
    Ok(found.into_values().collect())
}

/// The engine's words, with its template names and line numbers left out.
fn explain(error: &Error, source: &str) -> ExprError {
    let source = source.trim();
    let detail = error.detail().unwrap_or_default();
    let kind = error.kind();
    let message = if kind == ErrorKind::SyntaxError {
        format!("`{source}` cannot be read: {detail}")
    } else if kind == ErrorKind::OutOfFuel {
        format!("`{source}` takes too many steps")
    } else if detail.is_empty() {
        format!("`{source}` cannot be evaluated: {kind}")
    } else {
        format!("`{source}` cannot be evaluated: {detail}")
    };
    let explained = ExprError::new(message);
    match error.range() {
        Some(range) => explained.at(range.start),
        None => explained,
    }
}
