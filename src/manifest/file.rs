//! One file into its documents.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use ring::digest::SHA256;
use ring::digest::digest;

use crate::manifest::Problem;
use crate::manifest::build;
use crate::manifest::decode::decode;
use crate::manifest::document;
use crate::manifest::document::Kind;
use crate::manifest::report::Report;
use crate::manifest::role;
use crate::manifest::role::RoleDocument;
use crate::manifest::role::RolePlaces;
use crate::manifest::text;
use crate::manifest::text::Chunk;
use crate::manifest::text::Place;
use crate::manifest::text::SourceText;
use crate::manifest::tree::Tree;
use crate::manifest::user;
use crate::manifest::user::UserDocument;
use crate::model::packed::PackedUser;
use crate::model::role::Role;
use crate::model::user::User;

/// Largest file. A company of 100,000 in one file has 50 MB.
const LARGEST_FILE: usize = 64 << 20;
/// Largest document: the largest honest one is a catalogue of entitlements.
const LARGEST_DOCUMENT: usize = 4 << 20;
/// Problems told of one file: a report of a million helps nobody and takes gigabytes.
const MOST_PROBLEMS: usize = 1_000;
/// Most documents of one file, and of one load.
pub(crate) const MOST_DOCUMENTS: usize = 1_000_000;

/// One file, parsed: its sound documents and its problems. Cheap to keep: of a `User` nothing
/// but the user stays.
#[derive(Clone, Debug)]
pub struct FileDocuments {
    pub(crate) file: Arc<str>,
    pub(crate) digest: [u8; 32],
    pub(crate) documents: usize,
    pub(crate) users: Vec<PackedUser>,
    pub(crate) roles: Vec<FoundRole>,
    /// What could be read of broken `User` documents, for finding more problems and nothing else.
    pub(crate) broken_users: Vec<User>,
    /// The same of `Role` documents.
    pub(crate) broken_roles: Vec<FoundRole>,
    pub(crate) operators: Vec<OperatorDocument>,
    pub(crate) problems: Vec<Problem>,
    /// Names that broken documents have or seem to have: a reference to one of them is no
    /// problem of its own.
    pub(crate) broken: BTreeSet<String>,
}

/// A role with what is needed to show where its references stand.
#[derive(Clone, Debug)]
pub(crate) struct FoundRole {
    pub(crate) role: Arc<Role>,
    pub(crate) places: RolePlaces,
    pub(crate) source: SourceText<'static>,
}

/// A `Target`, `TargetDefaults`, `Exception`, `Template` or `Decision`, to be typed when all are known.
#[derive(Clone, Debug)]
pub(crate) struct OperatorDocument {
    pub(crate) kind: Kind,
    pub(crate) tree: Tree<'static>,
    pub(crate) source: SourceText<'static>,
}

impl FileDocuments {
    /// The name it was parsed under.
    pub fn name(&self) -> &str {
        &self.file
    }

    /// What is wrong with single documents of it.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many documents stand in it, broken ones too.
    pub fn len(&self) -> usize {
        self.documents
    }

    /// Whether no document stands in it.
    pub fn is_empty(&self) -> bool {
        self.documents == 0
    }

    /// Whether nothing but sound users stands in it.
    pub(crate) fn has_only_users(&self) -> bool {
        let others = self.roles.is_empty() && self.operators.is_empty();
        others && self.problems.is_empty() && self.broken.is_empty() && self.documents == self.users.len()
    }

    fn refuse(&mut self, code: &'static str, message: impl Into<String>, hint: &str) {
        self.problems.push(Problem {
            file: self.file.as_ref().to_owned(),
            line: 0,
            column: 0,
            code,
            message: message.into(),
            hint: Some(hint.to_owned()),
            snippet: None,
            conflict_of: None,
            drops_document: false,
        });
    }
}

/// Reads one file. `name` is its path, relative to its folder, with forward slashes.
///
/// One broken document leaves the others of the file as they are.
pub fn parse_file(name: &str, bytes: &[u8]) -> FileDocuments {
    let mut found = FileDocuments {
        file: name.into(),
        digest: [0; 32],
        documents: 0,
        users: Vec::new(),
        roles: Vec::new(),
        broken_users: Vec::new(),
        broken_roles: Vec::new(),
        operators: Vec::new(),
        problems: Vec::new(),
        broken: BTreeSet::new(),
    };
    found.digest.copy_from_slice(digest(&SHA256, bytes).as_ref());
    if bytes.len() > LARGEST_FILE {
        let message = format!("the file is larger than {} MiB", LARGEST_FILE >> 20);
        found.refuse("too-large", message, "put its documents into several files");
        return found;
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        found.refuse("not-utf-8", "the file is UTF-16", "save it as UTF-8");
        return found;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut left_out = 0;
    for chunk in text::split(bytes) {
        if found.documents >= MOST_DOCUMENTS {
            let message = format!("the file has more than {MOST_DOCUMENTS} documents");
            found.refuse("too-large", message, "put its documents into several files");
            break;
        }
        read_chunk(chunk, &mut found);
        left_out += found.problems.len().saturating_sub(MOST_PROBLEMS);
        found.problems.truncate(MOST_PROBLEMS);
    }
    if left_out > 0 {
        found.refuse("more", format!("{left_out} more problems stand in this file"), "mend those told of first");
    }
    found
}

fn read_chunk(chunk: Chunk<'_>, found: &mut FileDocuments) {
    let text = String::from_utf8_lossy(chunk.bytes);
    let lossy = matches!(text, Cow::Owned(_));
    let source = SourceText { file: found.file.clone(), text, lines_before: chunk.lines_before };
    let mut report = Report::new(vec![&source]);
    if lossy {
        not_utf_8(chunk.bytes, &source, &mut report);
        found.documents += 1;
    } else if chunk.bytes.len() > LARGEST_DOCUMENT {
        let place = Place { line: chunk.lines_before + 1, column: 1, ..Place::default() };
        report
            .add(place, "too-large", format!("the document is larger than {} MiB", LARGEST_DOCUMENT >> 20))
            .hint("no document of rosterd is so large; is a `---` line missing?");
        found.documents += 1;
    } else {
        let tree = build::read(&source.text, source.lines_before, &mut report);
        found.documents += usize::from(tree.is_some() || !report.is_empty());
        if let Some(tree) = tree {
            read_document(tree, &source, &mut report, found);
        }
    }
    if !report.is_empty() {
        found.broken.extend(name_in(&source.text));
    }
    found.problems.extend(report.into_problems());
}

/// The first `name:` of a document that nothing else can be said about.
fn name_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("name:").or_else(|| text.split_once("name\":"))?;
    let word =
        rest.trim_start().split(|c: char| c.is_whitespace() || ",}\"'".contains(c)).find(|word| !word.is_empty())?;
    Some(word.to_owned())
}

/// Notes the first byte that is not UTF-8; `source` holds the text without such bytes.
pub(crate) fn not_utf_8(bytes: &[u8], source: &SourceText<'_>, report: &mut Report<'_>) {
    let Err(error) = std::str::from_utf8(bytes) else { return };
    // What stands before the bad byte is the same in the text that is shown.
    let at = error.valid_up_to();
    let head = source.text.get(..at).unwrap_or_default();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let line = count(head.matches('\n').count()) + source.lines_before + 1;
    let column = count(head.rsplit('\n').next().map_or(0, |line| line.chars().count())) + 1;
    let place = Place { source: 0, line, column, start: count(at), len: 3 };
    report.add(place, "not-utf-8", "this byte is not UTF-8").hint("save the file as UTF-8");
}

fn read_document(tree: Tree<'_>, source: &SourceText<'_>, report: &mut Report<'_>, found: &mut FileDocuments) {
    let Some(kind) = document::kind(&tree, report) else { return };
    match kind {
        Kind::User => {
            let user = decode::<UserDocument>(&tree, report)
                .and_then(|document| user::convert(document, &tree, &found.file, report));
            match user {
                Some(user) if report.is_empty() => found.users.push(PackedUser::of(&user)),
                user => found.broken_users.extend(user),
            }
        }
        Kind::Role => {
            let role = decode::<RoleDocument>(&tree, report)
                .and_then(|document| role::convert(document, &tree, &found.file, report));
            let roles = if report.is_empty() { &mut found.roles } else { &mut found.broken_roles };
            roles.extend(role.map(|(role, places)| FoundRole {
                role: Arc::new(role),
                places,
                source: source.clone().into_owned(),
            }));
        }
        Kind::Target | Kind::TargetDefaults | Kind::Exception | Kind::Template | Kind::Decision
            if report.is_empty() =>
        {
            found.operators.push(OperatorDocument {
                kind,
                tree: tree.into_owned(0),
                source: source.clone().into_owned(),
            });
        }
        Kind::Target | Kind::TargetDefaults | Kind::Exception | Kind::Template | Kind::Decision => {}
    }
}
