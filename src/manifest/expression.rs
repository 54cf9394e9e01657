//! Templates and conditions, compiled once when they are read so that a wrong one is found then.

use std::collections::BTreeSet;

use crate::expr::Condition;
use crate::expr::ExprError;
use crate::expr::Names;
use crate::expr::Template;
use crate::manifest::located::Located;
use crate::manifest::report::Report;

/// Whether a text is a template and not a plain value.
pub(crate) fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|open| text.contains(open))
}

/// Whether the template over `user`, `grant` and `target` is sound; if not, it is noted.
pub(crate) fn mapping(text: &Located<String>, report: &mut Report<'_>) -> bool {
    let compiled = Template::compile(text, &Names::mapping());
    compiled.map_err(|error| note("bad-template", &error, text, report)).is_ok()
}

/// The tags of a mail's line or text, if it is sound; if not, it is noted.
pub(crate) fn mail(text: &Located<String>, names: &Names, report: &mut Report<'_>) -> BTreeSet<String> {
    let compiled = Template::compile_text(text, names);
    let compiled = compiled.map_err(|error| note("bad-template", &error, text, report));
    compiled.map(|template| template.references().clone()).unwrap_or_default()
}

/// Checks a condition over `user`.
pub(crate) fn user_condition(text: &Located<String>, report: &mut Report<'_>) {
    if let Err(error) = Condition::compile(text, &Names::user()) {
        note("bad-condition", &error, text, report);
    }
}

/// Checks a condition over `account`.
pub(crate) fn account_condition(text: &Located<String>, report: &mut Report<'_>) {
    if let Err(error) = Condition::compile(text, &Names::account()) {
        note("bad-condition", &error, text, report);
    }
}

fn note(code: &'static str, error: &ExprError, text: &Located<String>, report: &mut Report<'_>) {
    let place = error.offset.map_or(text.place, |offset| report.inside(text.place, text, offset));
    let noted = report.add(place, code, error.message.clone());
    noted.hint(error.hint.clone().unwrap_or_else(|| "write it like `{{ user.email }}`".to_owned()));
}
