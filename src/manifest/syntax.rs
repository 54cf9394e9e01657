//! What the YAML parser stumbled over, in words that say what to do.

use serde_saphyr::granit_parser::ErrorKind;
use serde_saphyr::granit_parser::ScanError;

use crate::manifest::report::Report;
use crate::manifest::text::Place;

/// Reports a syntax error.
pub(crate) fn explain(error: &ScanError, place: Place, text: &str, report: &mut Report<'_>) {
    let place = within(place, text);
    let (message, hint) = words(error.kind());
    let message = message.map_or_else(|| format!("this is not YAML: {}", error.info()), str::to_owned);
    report.add(place, "syntax", message).hint(hint);
}

/// An error at the end of a text points at its last line and not behind it.
fn within(place: Place, text: &str) -> Place {
    let end = u32::try_from(text.trim_end().len()).unwrap_or(u32::MAX);
    if place.start <= end {
        return place;
    }
    let lines = |until: usize| text.get(..until).map_or(0, |head| head.matches('\n').count());
    let surplus = lines(text.len().min(place.start as usize)).saturating_sub(lines(end as usize));
    let line = place.line.saturating_sub(u32::try_from(surplus).unwrap_or_default());
    let last = text.get(..end as usize).unwrap_or_default();
    let column = last.rsplit('\n').next().map_or(0, |tail| tail.chars().count());
    Place { line, column: u32::try_from(column).unwrap_or_default().saturating_add(1), start: end, len: 0, ..place }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the parser's list is open; the rest has good words of its own")]
fn words(kind: &ErrorKind) -> (Option<&'static str>, &'static str) {
    match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart => (Some("a tab stands where YAML wants spaces"), "indent with spaces"),
        ErrorKind::UnknownAnchor => (
            Some("this alias repeats an anchor that the document does not have"),
            "anchors reach to the end of their own document; text that begins with `*` needs quotes",
        ),
        ErrorKind::UnclosedQuotedScalar
        | ErrorKind::DocumentIndicatorInQuotedScalar
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::InvalidTrailingSingleQuotedScalar
        | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            (Some("a quoted text does not end where it should"), "close the quote that was opened before this place")
        }
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping => (
            Some("a `{` or `[` is not closed, or a comma is missing"),
            "count the brackets and commas before this place",
        ),
        ErrorKind::InvalidColonPlacement
        | ErrorKind::MappingValueNotAllowed
        | ErrorKind::FlowMappingValueAdjacentCollection => (
            Some("a `:` stands where no key can be"),
            "text with `: ` in it needs quotes; or a `[` or `{` above is not closed",
        ),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey | ErrorKind::ExpectedBlockMappingKey => (
            Some("a `key: value` was expected here"),
            "check the indentation of this line and the one before; text with `: ` in it needs quotes",
        ),
        ErrorKind::RecursionLimitExceeded => {
            (Some("too many levels of nesting"), "no document of rosterd is nested so deeply")
        }
        ErrorKind::UnexpectedCharacter { .. } => (None, "text that begins with `@`, `` ` ``, `%` or `{{` needs quotes"),
        _ => (None, "check the indentation and the quotes of this line and the one before"),
    }
}
