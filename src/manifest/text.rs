//! The text of one document and the places in it.

use std::borrow::Cow;
use std::sync::Arc;

/// Where something stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which of the texts of a [`crate::manifest::report::Report`]; zero where there is one.
    pub source: u16,
    /// One-based line in the file; zero where the place is the whole file.
    pub line: u32,
    /// One-based column in characters; zero where the place is the whole line.
    pub column: u32,
    /// Byte offset into the text of the document.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

/// The text of one document, for places to point into.
#[derive(Clone, Debug)]
pub struct SourceText<'a> {
    /// The file, relative to its folder, with forward slashes.
    pub file: Arc<str>,
    /// The document's own lines.
    pub text: Cow<'a, str>,
    /// Lines of the file that stand before them.
    pub lines_before: u32,
}

impl SourceText<'_> {
    /// The same, independent of the file's bytes.
    pub fn into_owned(self) -> SourceText<'static> {
        SourceText { file: self.file, text: Cow::Owned(self.text.into_owned()), lines_before: self.lines_before }
    }
}

/// One stretch of a file that the parser reads by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) lines_before: u32,
}

/// Cuts a file at its `---` lines: YAML ends a document there whatever stands around it, so a
/// broken document cannot swallow the next one. Directives stay with the document they precede.
pub(crate) fn split(bytes: &[u8]) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut first_line, mut prefix_only) = (0, 0, true);
    let (mut at, mut line) = (0, 0);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let len = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
        let text = rest.get(..len).unwrap_or_default();
        if is_marker(text) && !prefix_only {
            chunks.push(Chunk { bytes: bytes.get(start..at).unwrap_or_default(), lines_before: first_line });
            (start, first_line) = (at, line);
        }
        prefix_only = prefix_only && !is_marker(text) && is_prefix(text);
        at += len;
        line += 1;
    }
    if !prefix_only {
        chunks.push(Chunk { bytes: bytes.get(start..).unwrap_or_default(), lines_before: first_line });
    }
    chunks
}

fn is_marker(line: &[u8]) -> bool {
    line.strip_prefix(b"---").is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

/// A line that says nothing by itself: blank, a comment or a directive.
fn is_prefix(line: &[u8]) -> bool {
    match line.first() {
        None | Some(b'%') => true,
        Some(_) => line.trim_ascii_start().first().is_none_or(|byte| *byte == b'#'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, u32)]) {
        let chunks: Vec<_> = split(text.as_bytes())
            .iter()
            .map(|chunk| (std::str::from_utf8(chunk.bytes).unwrap(), chunk.lines_before))
            .collect();
        assert_eq!(chunks, expected);
    }

    #[test]
    fn a_file_is_cut_before_each_marker_line() {
        check("a: 1\n---\nb: 2\n--- # c\nc: 3", &[("a: 1\n", 0), ("---\nb: 2\n", 1), ("--- # c\nc: 3", 3)]);
    }

    #[test]
    fn directives_and_comments_stay_with_the_document_they_precede() {
        check("# x\n%YAML 1.2\n---\na: 1\n", &[("# x\n%YAML 1.2\n---\na: 1\n", 0)]);
    }

    #[test]
    fn what_only_looks_like_a_marker_cuts_nothing() {
        check("a: |\n  ---\nb: ---\n---c: 1\n", &[("a: |\n  ---\nb: ---\n---c: 1\n", 0)]);
        check("", &[]);
        check("# only a comment\n", &[]);
    }
}
