//! The files of one load together: targets over their defaults, names against names.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::manifest::Documents;
use crate::manifest::Problem;
use crate::manifest::decision;
use crate::manifest::decision::DecisionKey;
use crate::manifest::digests::Digests;
use crate::manifest::document::Kind;
use crate::manifest::exception;
use crate::manifest::file::FileDocuments;
use crate::manifest::file::FoundRole;
use crate::manifest::file::MOST_DOCUMENTS;
use crate::manifest::file::OperatorDocument;
use crate::manifest::merge;
use crate::manifest::merge::Placed;
use crate::manifest::merge::Targets;
use crate::manifest::references;
use crate::manifest::report::Report;
use crate::manifest::welcome;
use crate::model::ids::RoleName;
use crate::model::origin::Origin;
use crate::model::packed::PackedUser;
use crate::model::users::Users;

/// Problems told of names that do not fit together; a missing role file gives one for each user.
const MOST_PROBLEMS: usize = 1_000;

/// Whether operator documents may stand among the manifests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allowed {
    /// They may not: whoever changes users must not change where credentials go.
    #[default]
    No,
    /// For trying out: they may, and lead nowhere but to this machine.
    Loopback,
    /// They may; the folder is protected otherwise.
    Yes,
}

/// What the configuration says about documents.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Whether operator documents may stand among the manifests.
    pub operator_documents_allowed: Allowed,
    /// The words that `teams` of a user may use; `None` takes any.
    pub teams: Option<BTreeSet<String>>,
    /// Whose signed decisions are taken; nobody's where it is empty.
    pub decision_keys: BTreeMap<String, DecisionKey>,
}

/// The documents that only operators can change: the files that `include:` names.
#[derive(Clone, Debug, Default)]
pub struct OperatorDocuments {
    pub(crate) files: Vec<Arc<FileDocuments>>,
}

impl OperatorDocuments {
    /// Takes the parsed files.
    pub fn new(files: impl IntoIterator<Item = Arc<FileDocuments>>) -> Self {
        Self { files: files.into_iter().collect() }
    }
}

/// Puts files together: defaults merged, references checked, every problem told.
///
/// The result does not depend on the order of `files`.
pub fn combine(
    files: impl IntoIterator<Item = Arc<FileDocuments>>,
    operator: &OperatorDocuments,
    rules: &Rules,
) -> Documents {
    let mut files: Vec<Arc<FileDocuments>> = files.into_iter().collect();
    files.sort_by(|left, right| left.file.cmp(&right.file));
    let all = || files.iter().chain(&operator.files);
    let mut problems: Vec<Problem> = all().flat_map(|file| file.problems.iter().cloned()).collect();
    too_many(&files, &mut problems);
    misplaced(&files, operator, rules, &mut problems);

    let mut users = Users::default();
    let mut crossed = Vec::new();
    unique_users(&files, &mut users, &mut crossed);
    let found_roles = unique_roles(&files, &mut crossed);
    let in_folder: &[Arc<FileDocuments>] = match rules.operator_documents_allowed {
        Allowed::No => &[],
        Allowed::Loopback | Allowed::Yes => &files,
    };
    let included = operator.files.iter().flat_map(|file| &file.operators).map(|document| (document, Allowed::Yes));
    let beside = in_folder.iter().flat_map(|file| &file.operators);
    let documents: Vec<Placed<'_>> =
        included.chain(beside.map(|document| (document, rules.operator_documents_allowed))).collect();
    let signed: Vec<&OperatorDocument> =
        all().flat_map(|file| &file.operators).filter(|document| document.kind == Kind::Decision).collect();
    let mut targets = merge::targets(&documents, &mut problems);
    welcome::attach(&documents, &mut targets, &mut problems);

    let broken = all().flat_map(|file| file.broken.iter().map(String::as_str)).collect();
    let hidden = files.iter().filter(|_| in_folder.is_empty()).flat_map(|file| &file.operators);
    let hidden = hidden.filter_map(OperatorDocument::name);
    let broken = references::Excused::new(broken, hidden);
    let bundles = found_roles.values().chain(files.iter().flat_map(|file| &file.broken_roles));
    references::of_roles(bundles, &targets, &broken, &mut crossed);
    let people = users.values().chain(files.iter().flat_map(|file| file.broken_users.iter().cloned()));
    exception::attach(&documents, &users, &mut targets, &broken, &mut problems);
    let signed = decision::read_all(&signed, &rules.decision_keys, &targets, &broken, &mut problems);
    references::of_users(people, &users, &found_roles, (rules, &broken), &mut crossed);
    let left_out = crossed.len().saturating_sub(MOST_PROBLEMS);
    crossed.sort();
    crossed.truncate(MOST_PROBLEMS);
    problems.append(&mut crossed);
    problems.sort();
    problems.dedup();
    if left_out > 0 {
        problems.push(whole("more", format!("{left_out} more names do not fit together"), None));
    }
    let Targets { targets, .. } = targets;
    let mut digests = Digests::default();
    all().filter(|file| file.documents > 0).for_each(|file| digests.add(&file.digest));
    Documents {
        users,
        roles: found_roles.into_iter().map(|(name, found)| (name, found.role.clone())).collect(),
        targets,
        signed,
        problems,
        digest: digests.whole(),
    }
}

fn whole(code: &'static str, message: String, hint: Option<&str>) -> Problem {
    Problem {
        file: String::new(),
        line: 0,
        column: 0,
        code,
        message,
        hint: hint.map(str::to_owned),
        snippet: None,
        conflict_of: None,
        drops_document: false,
    }
}

fn too_many(files: &[Arc<FileDocuments>], problems: &mut Vec<Problem>) {
    let documents: usize = files.iter().map(|file| file.documents).sum();
    if documents > MOST_DOCUMENTS {
        let message = format!("{documents} documents are more than {MOST_DOCUMENTS}");
        problems.push(whole("too-large", message, Some("give parts of the company an installation of their own")));
    }
}

/// Documents that stand where the other kind belongs.
fn misplaced(files: &[Arc<FileDocuments>], operator: &OperatorDocuments, rules: &Rules, problems: &mut Vec<Problem>) {
    if rules.operator_documents_allowed == Allowed::No {
        let operators = files.iter().flat_map(|file| &file.operators);
        // A signed decision is believed for its signature, wherever it stands.
        for document in operators.filter(|document| document.kind != Kind::Decision) {
            let mut report = Report::new(vec![&document.source]);
            let place = document.tree.get("kind").map_or(document.tree.place, |kind| kind.place);
            report
                .add(
                    place,
                    "operator-document",
                    format!("a `{}` does not count in a manifest folder", document.kind.as_str()),
                )
                .hint(
                    "move it to a file that `include:` of `rosterd.yaml` names, or set `targetsFrom: manifests` there",
                );
            problems.extend(report.into_problems());
        }
    }
    for file in &operator.files {
        let users = file.users.iter().map(|user| (user.user().origin, user.id().as_str()));
        let bundles = file.roles.iter().map(|found| (found.role.origin.clone(), found.role.name.as_str()));
        for (origin, name) in users.chain(bundles) {
            let message = format!("`{name}` does not count among operator documents");
            problems.push(at(&origin, "manifest-document", message, "move it to the manifest folder".to_owned()));
        }
    }
}

/// A problem on a line whose text is no longer here; [`add_snippets`] shows it.
pub(crate) fn at(origin: &Origin, code: &'static str, message: String, hint: String) -> Problem {
    Problem {
        file: origin.file.as_ref().to_owned(),
        line: origin.line,
        column: 0,
        code,
        message,
        hint: Some(hint),
        snippet: None,
        conflict_of: None,
        drops_document: false,
    }
}

fn unique_users(files: &[Arc<FileDocuments>], users: &mut Users, problems: &mut Vec<Problem>) {
    let mut all: Vec<&PackedUser> = files.iter().flat_map(|file| &file.users).collect();
    all.sort_by(|left, right| left.id().cmp(right.id()));
    for same in all.chunk_by(|left, right| left.id() == right.id()) {
        if let [user] = same {
            users.put(PackedUser::clone(user));
            continue;
        }
        // None of them counts: nobody can say which one is meant.
        let places: Vec<Origin> = same.iter().map(|user| user.user().origin).collect();
        if let Some(first) = same.first() {
            repeated("User", first.id().as_str(), &places.iter().collect::<Vec<_>>(), problems);
        }
    }
}

fn unique_roles(files: &[Arc<FileDocuments>], problems: &mut Vec<Problem>) -> BTreeMap<RoleName, FoundRole> {
    let mut all: BTreeMap<RoleName, Vec<&FoundRole>> = BTreeMap::new();
    for found in files.iter().flat_map(|file| &file.roles) {
        all.entry(found.role.name.clone()).or_default().push(found);
    }
    for (name, found) in all.iter().filter(|(_, found)| found.len() > 1) {
        let places: Vec<&Origin> = found.iter().map(|found| &found.role.origin).collect();
        repeated("Role", name.as_str(), &places, problems);
    }
    // A repeated role stays, so that its users are not told of an unknown role as well.
    all.into_iter().filter_map(|(name, found)| Some((name, (*found.first()?).clone()))).collect()
}

/// One problem for each of the documents that share a name.
pub(crate) fn repeated(kind: &str, name: &str, places: &[&Origin], problems: &mut Vec<Problem>) {
    for place in places {
        let other = places.iter().find(|other| other != &place).unwrap_or(place);
        problems.push(at(
            place,
            "duplicate-name",
            format!("the {kind} `{name}` is declared {} times", places.len()),
            format!("it also stands in {} line {}: keep one of them", other.file, other.line),
        ));
    }
}

/// Shows the lines of problems that were found when their text was gone already, and where in
/// the line they are. `read` gives a file's bytes by its name; it is asked once for each file.
pub fn add_snippets(problems: &mut [Problem], mut read: impl FnMut(&str) -> Option<Vec<u8>>) {
    let mut texts: BTreeMap<String, Option<String>> = BTreeMap::new();
    for problem in problems.iter_mut().filter(|problem| problem.snippet.is_none() && problem.line > 0) {
        let text = texts
            .entry(problem.file.clone())
            .or_insert_with(|| read(&problem.file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
        if let Some(text) = text {
            references::locate(problem, text);
        }
    }
}
