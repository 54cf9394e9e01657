//! Problems with their place: collecting them, showing the lines around them, rendering.

use annotate_snippets::AnnotationKind;
use annotate_snippets::Level;
use annotate_snippets::Origin;
use annotate_snippets::Renderer;
use annotate_snippets::Snippet;

use crate::manifest::Problem;
use crate::manifest::mask;
use crate::manifest::text::Place;
use crate::manifest::text::SourceText;

/// Problems told of one document: more help nobody, and a hostile document has no end of them.
const MOST_PROBLEMS: usize = 50;
/// Characters of a line that a snippet shows; manifests on one line may be megabytes.
const WIDTH: usize = 100;

/// Collects the problems of one document, or of one merged over another.
#[derive(Debug)]
pub struct Report<'s> {
    sources: Vec<&'s SourceText<'s>>,
    problems: Vec<Problem>,
    left_out: usize,
}

impl<'s> Report<'s> {
    /// An empty one. `sources` are numbered as [`Place::source`] numbers them.
    pub fn new(sources: Vec<&'s SourceText<'s>>) -> Self {
        Self { sources, problems: Vec::new(), left_out: 0 }
    }

    /// Notes a problem.
    pub fn add(&mut self, place: Place, code: &'static str, message: impl Into<String>) -> Noted<'_> {
        if self.problems.len() >= MOST_PROBLEMS {
            self.left_out += 1;
            return Noted(None);
        }
        let source = self.sources.get(usize::from(place.source));
        self.problems.push(Problem {
            file: source.map(|source| source.file.as_ref().to_owned()).unwrap_or_default(),
            line: place.line,
            column: place.column,
            code,
            message: message.into(),
            hint: None,
            snippet: source.and_then(|source| excerpt(&source.text, place)),
            conflict_of: None,
            drops_document: false,
        });
        Noted(self.problems.last_mut())
    }

    /// The place of byte `offset` of a text that stands at `place`, where the document writes it
    /// as it is: on one line and without escapes. Otherwise the place of the whole.
    pub(crate) fn inside(&self, place: Place, text: &str, offset: usize) -> Place {
        let written = self.sources.get(usize::from(place.source)).and_then(|source| {
            let start = place.start as usize;
            source.text.get(start..start.saturating_add(place.len as usize))
        });
        let found = written.filter(|written| !written.contains('\n')).and_then(|written| {
            let before = written.get(..written.find(text)?.saturating_add(offset))?;
            Some((u32::try_from(before.len()).ok()?, u32::try_from(before.chars().count()).ok()?))
        });
        match found {
            Some((bytes, chars)) if bytes < place.len => {
                Place { column: place.column + chars, start: place.start + bytes, len: 1, ..place }
            }
            _ => place,
        }
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many were noted so far.
    pub fn len(&self) -> usize {
        self.problems.len() + self.left_out
    }

    /// Everything that was noted.
    pub fn into_problems(mut self) -> Vec<Problem> {
        if let (Some(last), true) = (self.problems.last().cloned(), self.left_out > 0) {
            let message = format!("{} more problems stand in this document", self.left_out);
            self.problems.push(Problem { code: "more", message, hint: None, snippet: None, ..last });
        }
        self.problems
    }
}

/// A problem that was noted just now.
#[derive(Debug)]
pub struct Noted<'r>(Option<&'r mut Problem>);

impl Noted<'_> {
    /// Says what would be right.
    pub fn hint(self, hint: impl Into<String>) {
        if let Some(problem) = self.0 {
            problem.hint = Some(hint.into());
        }
    }
}

/// The line at `place` and the one before it, numbered and marked, with secrets masked:
///
/// ```text
/// 3 | spec:
/// 4 |   givename: Ada
///   |   ^^^^^^^^
/// ```
pub(crate) fn excerpt(text: &str, place: Place) -> Option<String> {
    if place.line == 0 {
        return None;
    }
    let start = place.start as usize;
    let head = text.get(..start)?;
    let line_start = head.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(line_start..)?.lines().next().unwrap_or_default();
    let mut out = String::new();
    let digits = place.line.to_string().len();
    if let Some(before) = head.get(..line_start.saturating_sub(1)).and_then(|above| above.lines().next_back())
        && line_start > 0
        && !before.trim().is_empty()
    {
        let above = line_start.saturating_sub(before.len() + 1);
        let masked = mask::line(text, above, before, 0..0);
        out = format!("{:>digits$} | {}\n", place.line.saturating_sub(1), clip(&masked.text, 0).0);
    }
    let at = start - line_start;
    let end = at.saturating_add(place.len as usize).min(line.len());
    let masked = mask::line(text, line_start, line, at..end.max(at));
    let (shown, cut) = clip(&masked.text, masked.mark.start);
    let count = |range: std::ops::Range<usize>| masked.text.get(range).map_or(0, |part| part.chars().count());
    let column = count(0..masked.mark.start).saturating_sub(cut);
    let width = count(masked.mark.clone()).clamp(1, WIDTH);
    let (number, carets) = (place.line, "^".repeat(width));
    let above = out;
    Some(format!("{above}{number:>digits$} | {shown}\n{:>digits$} | {}{carets}", "", " ".repeat(column)))
}

/// At most [`WIDTH`] characters of a line around byte `at`, and how many were cut before them.
fn clip(line: &str, at: usize) -> (String, usize) {
    let before = line.get(..at).map_or(0, |head| head.chars().count());
    let cut = if before < WIDTH { 0 } else { before - WIDTH / 2 };
    let shown = line.chars().skip(cut).take(WIDTH).map(|c| match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    });
    (shown.collect(), cut)
}

/// A problem as people read it, with or without colours.
pub fn render(problem: &Problem, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let lines: Vec<(&str, &str)> =
        problem.snippet.iter().flat_map(|snippet| snippet.lines()).filter_map(|line| line.split_once(" | ")).collect();
    let title = Level::ERROR.primary_title(problem.message.as_str()).id(problem.code);
    let mut source = String::new();
    for (_, text) in lines.iter().filter(|(number, _)| !number.trim().is_empty()) {
        source.push_str(text);
        source.push('\n');
    }
    let mut group = match marked(&lines, &source) {
        Some(range) => {
            let first = lines.first().and_then(|(number, _)| number.trim().parse().ok()).unwrap_or(1);
            let snippet = Snippet::source(source.as_str()).line_start(first).path(problem.file.as_str()).fold(false);
            title.element(snippet.annotation(AnnotationKind::Primary.span(range)))
        }
        None => title.element(origin(problem)),
    };
    if let Some(hint) = &problem.hint {
        group = group.element(Level::HELP.with_name("hint").message(hint.as_str()));
    }
    renderer.render(&[group])
}

fn origin(problem: &Problem) -> Origin<'_> {
    let origin = Origin::path(problem.file.as_str());
    match (problem.line, problem.column) {
        (0, _) => origin,
        (line, 0) => origin.line(line as usize),
        (line, column) => origin.line(line as usize).char_column(column as usize),
    }
}

/// The marked bytes of `source`, read back from the line of carets.
fn marked(lines: &[(&str, &str)], source: &str) -> Option<std::ops::Range<usize>> {
    let (_, carets) = lines.last().filter(|(number, _)| number.trim().is_empty())?;
    let line_start = source.trim_end_matches('\n').rfind('\n').map_or(0, |at| at + 1);
    let line = source.get(line_start..)?.trim_end_matches('\n');
    let byte = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    let column = carets.chars().take_while(|c| *c == ' ').count();
    let width = carets.chars().filter(|c| *c == '^').count();
    Some(line_start + byte(column)..line_start + byte(column + width))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn problem(text: &'static str, word: &str) -> Problem {
        let source = SourceText { file: "a.yaml".into(), text: Cow::Borrowed(text), lines_before: 0 };
        let start = text.find(word).unwrap();
        let line = text.get(..start).unwrap().matches('\n').count() + 1;
        let small = |number: usize| u32::try_from(number).unwrap();
        let place = Place { source: 0, line: small(line), column: 3, start: small(start), len: small(word.len()) };
        let mut report = Report::new(vec![&source]);
        report.add(place, "unknown-field", "unknown field").hint("did you mean?");
        report.into_problems().remove(0)
    }

    #[test]
    fn the_line_before_is_shown_and_the_place_marked() {
        let problem = problem("kind: User\nspec:\n  givename: Ada\n", "givename");
        assert_eq!(problem.snippet.unwrap(), "2 | spec:\n3 |   givename: Ada\n  |   ^^^^^^^^");
    }

    #[test]
    fn rendering_marks_the_same_place_and_ends_with_the_hint() {
        let text = render(&problem("spec:\n  givename: Ada\n", "givename"), false);
        assert!(text.contains("error[unknown-field]: unknown field"), "{text}");
        assert!(text.contains("a.yaml:2:3"), "{text}");
        assert!(text.contains("2 |   givename: Ada\n  |   ^^^^^^^^"), "{text}");
        assert!(text.contains("hint: did you mean?"), "{text}");
    }

    #[test]
    fn a_secret_in_a_shown_line_is_masked() {
        let problem = problem("auth:\n  bearer: hunter2\n  x: y\n", "x: y");
        let snippet = problem.snippet.unwrap();
        assert!(!snippet.contains("hunter2"), "{snippet}");
    }

    #[test]
    fn a_line_of_megabytes_shows_only_what_is_near() {
        let line: &'static str = Box::leak(format!("{}WORD{}", "é ".repeat(9999), "b ".repeat(9999)).into_boxed_str());
        let snippet = problem(line, "WORD").snippet.unwrap();
        assert!(snippet.len() < 600, "{}", snippet.len());
        assert!(snippet.contains("WORD") && snippet.contains("^^^^"));
    }
}
