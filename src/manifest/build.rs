//! Builds the tree of a document straight from the parser's events.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_saphyr::granit_parser::Event;
use serde_saphyr::granit_parser::Options;
use serde_saphyr::granit_parser::Parser;
use serde_saphyr::granit_parser::ScalarStyle;
use serde_saphyr::granit_parser::Span;
use serde_saphyr::granit_parser::Tag;

use crate::manifest::report::Report;
use crate::manifest::syntax;
use crate::manifest::text::Place;
use crate::manifest::tree::Key;
use crate::manifest::tree::Tree;
use crate::manifest::tree::Value;

/// Deeper than any honest document, shallow enough for the stack.
const MOST_LEVELS: usize = 48;
/// Values that aliases may add to a document, besides one for each of its bytes: generous for
/// shared blocks, small against memory.
const MOST_ALIASED: usize = 100_000;
/// From here on duplicate keys are found by a set and not by comparing all pairs.
const FEW_KEYS: usize = 16;

/// Reads the one document in `text`. `None` where there is none, or where it is so broken that
/// nothing can be said about its content; the problems stand in the report.
pub(crate) fn read<'a>(text: &'a str, lines_before: u32, report: &mut Report<'_>) -> Option<Tree<'a>> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    // A chunk is cut at its `---`, so anchors never reach over documents.
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder {
        lines_before,
        budget: MOST_ALIASED.saturating_add(text.len()),
        frames: Vec::new(),
        anchors: BTreeMap::new(),
        root: None,
        report,
    };
    loop {
        match parser.next_event() {
            None => break,
            Some(Ok((event, span))) => builder.event(event, &span).ok()?,
            Some(Err(error)) => {
                let place = builder.place(&Span::empty(*error.marker()));
                syntax::explain(&error, place, text, builder.report);
                return None;
            }
        }
    }
    builder.root.filter(|root| !root.is_blank())
}

/// The document cannot be read further; the report says why.
struct Broken;

struct Builder<'a, 'r, 's> {
    lines_before: u32,
    /// Values that may still be made.
    budget: usize,
    frames: Vec<Frame<'a>>,
    anchors: BTreeMap<usize, Anchored<'a>>,
    root: Option<Tree<'a>>,
    report: &'r mut Report<'s>,
}

struct Frame<'a> {
    place: Place,
    anchor: usize,
    open: Open<'a>,
}

enum Open<'a> {
    List(Vec<Tree<'a>>),
    Map { entries: Vec<(Key<'a>, Tree<'a>)>, key: Option<Key<'a>>, merges: bool },
}

#[derive(Clone)]
struct Anchored<'a> {
    tree: Tree<'a>,
    size: usize,
    levels: usize,
}

impl<'a> Builder<'a, '_, '_> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's list is open; other events carry no value")]
    fn event(&mut self, event: Event<'a>, span: &Span) -> Result<(), Broken> {
        let place = self.place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref();
                self.tag(tag, &["str", "int", "float", "bool", "null", "timestamp", "merge"], place)?;
                let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                self.scalar(text, is_text || !matches!(style, ScalarStyle::Plain), anchor, place)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), &["seq"], place)?;
                self.open(Frame { place, anchor, open: Open::List(Vec::new()) })
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), &["map"], place)?;
                let open = Open::Map { entries: Vec::new(), key: None, merges: false };
                self.open(Frame { place, anchor, open })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => self.alias(id, place),
            Event::DocumentStart(..) if self.root.is_some() => {
                self.report
                    .add(place, "syntax", "a second document begins here without a `---` line")
                    .hint("put `---` on a line of its own between two documents");
                Err(Broken)
            }
            _ => Ok(()),
        }
    }

    fn place(&self, span: &Span) -> Place {
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let start = span.start.byte_offset().unwrap_or_default();
        let end = span.end.byte_offset().unwrap_or(start);
        Place {
            source: 0,
            line: small(span.start.line()).saturating_add(self.lines_before),
            column: small(span.start.col()).saturating_add(1),
            start: small(start),
            len: small(end.saturating_sub(start)),
        }
    }

    fn scalar(&mut self, text: Cow<'a, str>, quoted: bool, anchor: usize, place: Place) -> Result<(), Broken> {
        if let Some(Frame { open: Open::Map { key: key @ None, merges, .. }, .. }) = self.frames.last_mut() {
            *merges |= !quoted && text == "<<";
            *key = Some(Key { place, text });
            return Ok(());
        }
        self.value(Tree { place, value: Value::Scalar { text, quoted } }, anchor)
    }

    fn tag(&mut self, tag: Option<&Tag>, known: &[&str], place: Place) -> Result<(), Broken> {
        match tag {
            Some(tag) if !known.iter().any(|name| tag.is_yaml_core_schema_tag(name)) => {
                self.report
                    .add(place, "unknown-tag", format!("the tag `{}` means nothing here", tag.original()))
                    .hint("leave the tag out; a secret is written as `{ secret: NAME }`");
                Err(Broken)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, frame: Frame<'a>) -> Result<(), Broken> {
        self.no_key_due(frame.place)?;
        if self.frames.len() >= MOST_LEVELS {
            return self.too_deep(frame.place);
        }
        self.frames.push(frame);
        Ok(())
    }

    fn no_key_due(&mut self, place: Place) -> Result<(), Broken> {
        if let Some(Frame { open: Open::Map { key: None, .. }, .. }) = self.frames.last() {
            self.report
                .add(place, "bad-key", "a key must be plain text")
                .hint("a template needs quotes: \"{{ user.email }}\"");
            return Err(Broken);
        }
        Ok(())
    }

    fn too_deep(&mut self, place: Place) -> Result<(), Broken> {
        self.report
            .add(place, "too-deep", format!("more than {MOST_LEVELS} levels of nesting"))
            .hint("no document of rosterd is nested so deeply");
        Err(Broken)
    }

    fn close(&mut self) -> Result<(), Broken> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let value = match frame.open {
            Open::List(items) => Value::List(items),
            Open::Map { entries, merges, .. } => {
                let entries = if merges { self.merge(entries)? } else { entries };
                Value::Map(self.unique(entries))
            }
        };
        self.value(Tree { place: frame.place, value }, frame.anchor)
    }

    fn value(&mut self, tree: Tree<'a>, anchor: usize) -> Result<(), Broken> {
        if anchor != 0 {
            let (size, levels) = measure(&tree);
            self.spend(size, tree.place)?;
            self.anchors.insert(anchor, Anchored { tree: tree.clone(), size, levels });
        }
        match self.frames.last_mut().map(|frame| &mut frame.open) {
            None => self.root = Some(tree),
            Some(Open::List(items)) => items.push(tree),
            Some(Open::Map { entries, key, .. }) => {
                if let Some(key) = key.take() {
                    entries.push((key, tree));
                }
            }
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, place: Place) -> Result<(), Broken> {
        self.no_key_due(place)?;
        let Some(anchored) = self.anchors.get(&id).cloned() else {
            self.report
                .add(place, "syntax", "this alias stands inside the value that it repeats")
                .hint("write the value out");
            return Err(Broken);
        };
        if self.frames.len() + anchored.levels > MOST_LEVELS {
            return self.too_deep(place);
        }
        self.spend(anchored.size, place)?;
        self.value(anchored.tree, 0)
    }

    fn spend(&mut self, size: usize, place: Place) -> Result<(), Broken> {
        let Some(left) = self.budget.checked_sub(size) else {
            self.report
                .add(place, "alias-bomb", "the aliases of this document grow into too many values")
                .hint("write the repeated values out, or share them through a role or `TargetDefaults`");
            return Err(Broken);
        };
        self.budget = left;
        Ok(())
    }

    /// Keys of `<<: *anchor` join the mapping unless it has them itself.
    fn merge(&mut self, entries: Vec<(Key<'a>, Tree<'a>)>) -> Result<Vec<(Key<'a>, Tree<'a>)>, Broken> {
        let (merged, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| key.text == "<<");
        for (key, tree) in merged {
            let sources = match tree.value {
                Value::Map(entries) => vec![entries],
                Value::List(items) => {
                    items.into_iter().map(into_entries).collect::<Option<Vec<_>>>().unwrap_or_default()
                }
                Value::Scalar { .. } => Vec::new(),
            };
            if sources.is_empty() {
                self.report
                    .add(key.place, "bad-key", "`<<` takes a mapping, or a list of mappings")
                    .hint("write `<<: *name` for a mapping that has the anchor `&name`");
                return Err(Broken);
            }
            let mut seen: BTreeSet<String> = own.iter().map(|(key, _)| key.text.clone().into_owned()).collect();
            own.extend(sources.into_iter().flatten().filter(|(key, _)| seen.insert(key.text.clone().into_owned())));
        }
        Ok(own)
    }

    /// Reports every key that a mapping has twice and keeps the first.
    fn unique(&mut self, entries: Vec<(Key<'a>, Tree<'a>)>) -> Vec<(Key<'a>, Tree<'a>)> {
        let repeated = if entries.len() <= FEW_KEYS { repeats_of_few(&entries) } else { repeats_of_many(&entries) };
        if repeated.is_empty() {
            return entries;
        }
        for (at, first) in &repeated {
            let (Some((key, _)), Some((earlier, _))) = (entries.get(*at), entries.get(*first)) else { continue };
            self.report
                .add(key.place, "duplicate-key", format!("the key `{}` stands here a second time", key.text))
                .hint(format!("line {} has it already: keep one of them", earlier.place.line));
        }
        let dropped: BTreeSet<usize> = repeated.into_iter().map(|(at, _)| at).collect();
        entries.into_iter().enumerate().filter(|(at, _)| !dropped.contains(at)).map(|(_, entry)| entry).collect()
    }
}

fn into_entries(tree: Tree<'_>) -> Option<Vec<(Key<'_>, Tree<'_>)>> {
    match tree.value {
        Value::Map(entries) => Some(entries),
        Value::List(_) | Value::Scalar { .. } => None,
    }
}

/// Positions of repeated keys, each with the position of the first.
fn repeats_of_few(entries: &[(Key<'_>, Tree<'_>)]) -> Vec<(usize, usize)> {
    let mut repeated = Vec::new();
    for (at, (key, _)) in entries.iter().enumerate() {
        if let Some(first) = entries.iter().take(at).position(|(earlier, _)| earlier.text == key.text) {
            repeated.push((at, first));
        }
    }
    repeated
}

fn repeats_of_many(entries: &[(Key<'_>, Tree<'_>)]) -> Vec<(usize, usize)> {
    let mut firsts = BTreeMap::new();
    let mut repeated = Vec::new();
    for (at, (key, _)) in entries.iter().enumerate() {
        let first = *firsts.entry(key.text.as_ref()).or_insert(at);
        if first != at {
            repeated.push((at, first));
        }
    }
    repeated
}

/// How many values a tree has, and how many levels.
fn measure(tree: &Tree<'_>) -> (usize, usize) {
    let children = |parts: &mut dyn Iterator<Item = &Tree<'_>>| {
        parts.map(measure).fold((1, 1), |(size, levels), (more, below)| (size + more, levels.max(below + 1)))
    };
    match &tree.value {
        Value::Scalar { .. } => (1, 0),
        Value::List(items) => children(&mut items.iter()),
        Value::Map(entries) => children(&mut entries.iter().map(|(_, value)| value)),
    }
}
