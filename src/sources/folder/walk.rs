//! Finds the manifests of a folder without reading them.
//!
//! Links are followed, since a Kubernetes volume is made of them: its visible files are links
//! through `..data` to a hidden folder, and an update swaps that one link. A link that leads out
//! of the folder is refused, since whoever may change manifests could otherwise have any file of
//! the machine read and quoted in an error.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::manifest::Problem;
use crate::source::SourceError;

/// The operator's configuration: never read as a manifest, wherever it lies.
const CONFIGURATION: &str = "rosterd.yaml";

/// What a folder holds: two walks are equal when nothing changed between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Manifests by their path in the folder, with forward slashes.
    pub(crate) files: BTreeMap<String, Found>,
    /// What could not be looked at.
    pub(crate) problems: Vec<Problem>,
    root: PathBuf,
    /// The folders that were listed, by where they are: their names, and which folders they were.
    folders: BTreeMap<PathBuf, (String, Identity)>,
    exclude: BTreeSet<PathBuf>,
    /// Whether each file was met once, without any link.
    plain: bool,
}

/// One manifest that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where to open it.
    pub(crate) path: PathBuf,
    /// What it looked like.
    pub(crate) stamp: Stamp,
}

/// A file whose stamp is the same is taken to have the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Bytes.
    pub(crate) size: u64,
    modified: Option<SystemTime>,
    /// Also moves where a tool sets `modified` back.
    changed: (i64, i64),
    identity: Identity,
}

/// Device and number of a file or folder: the same through every link to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity(u64, u64);

impl Walk {
    /// Looks again at what events named, and at nothing else. Gives the names of files that may differ
    /// from before; `None`: only a walk through everything tells.
    ///
    /// Events follow a folder that was moved away and keep its former path, and a rename is two of them:
    /// so nothing is taken for gone here.
    pub(crate) fn look_again(&mut self, folder: &Path, touched: &BTreeSet<PathBuf>) -> Option<BTreeSet<String>> {
        let same_root = fs::canonicalize(folder).is_ok_and(|root| root == self.root) && self.is_as_listed(&self.root);
        if !self.plain || !self.problems.is_empty() || !same_root {
            return None;
        }
        let mut names = BTreeSet::new();
        for path in touched {
            if !is_manifest(path) {
                self.is_no_folder(path).then_some(())?;
                continue;
            }
            let own = path.file_name()?.to_str()?;
            let parent = path.parent().filter(|parent| self.is_as_listed(parent))?;
            let (folder, _) = self.folders.get(parent)?;
            if own.contains(misleads) || own == CONFIGURATION {
                return None;
            }
            if own.starts_with('.') || within(&self.exclude, path) {
                continue;
            }
            let name = joined(folder, own);
            match fs::symlink_metadata(path) {
                Ok(metadata) if metadata.is_file() && !is_linked(&metadata) => {
                    self.files.insert(name.clone(), Found { path: path.clone(), stamp: Stamp::of(&metadata) });
                    names.insert(name);
                }
                // It came and went.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.files.contains_key(&name) => {}
                Ok(_) | Err(_) => return None,
            }
        }
        Some(names)
    }

    /// Whether this is no folder and no link, and was none: what is neither a manifest is nothing of ours.
    fn is_no_folder(&self, path: &Path) -> bool {
        let was_one = self.folders.contains_key(path) || self.root.starts_with(path);
        !was_one && fs::symlink_metadata(path).map_or(true, |metadata| metadata.is_file())
    }

    /// Whether the folder that was listed here is still the one that is here.
    fn is_as_listed(&self, folder: &Path) -> bool {
        let listed = self.folders.get(folder).map(|(_, identity)| *identity);
        listed.is_some() && listed == fs::metadata(folder).ok().map(|metadata| Identity::of(&metadata))
    }
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: metadata.modified().ok(),
            changed: changed(metadata),
            identity: Identity::of(metadata),
        }
    }
}

#[cfg(unix)]
impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.dev(), metadata.ino())
    }
}

/// Whether the file has more than one name.
#[cfg(unix)]
fn is_linked(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.nlink() > 1
}

#[cfg(unix)]
fn changed(metadata: &Metadata) -> (i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.ctime(), metadata.ctime_nsec())
}

/// Looks at every entry below `folder`, files before links, by name. `enter` is called with every
/// folder before it is listed, so that a watch set there misses nothing.
///
/// # Errors
/// Where there is nothing to look at.
pub(crate) fn walk(folder: &Path, exclude: &[PathBuf], enter: &mut dyn FnMut(&Path)) -> Result<Walk, SourceError> {
    let root = fs::canonicalize(folder).map_err(|error| nothing(folder, &error))?;
    let exclude = exclude.iter().map(|path| fs::canonicalize(path).unwrap_or_else(|_| path.clone())).collect();
    let walk = Walk { plain: true, ..Walk::default() };
    let mut walker = Walker { exclude, enter, seen: BTreeSet::new(), links: Vec::new(), walk, root };
    walker.folder("", &walker.root.clone()).map_err(|error| nothing(folder, &error))?;
    walker.follow_links();
    let mut walk = walker.walk;
    (walk.root, walk.exclude) = (walker.root, walker.exclude);
    // A configuration may be met after what it includes.
    walk.files.retain(|_, found| !within(&walk.exclude, &found.path));
    if walk.files.is_empty() && walk.problems.is_empty() {
        return Err(SourceError {
            message: format!(
                "the folder `{}` holds no `.yaml`, `.yml` or `.json` file; put manifests there or name another folder \
                 (nobody loses access over an empty one)",
                folder.display()
            ),
        });
    }
    Ok(walk)
}

fn nothing(folder: &Path, error: &io::Error) -> SourceError {
    let folder = folder.display();
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other kind is told in the system's own words")]
    let message = match error.kind() {
        io::ErrorKind::NotFound => format!("the folder `{folder}` does not exist; make it or name another one"),
        io::ErrorKind::NotADirectory => format!("`{folder}` is not a folder; name the folder that holds it"),
        _ => format!("the folder `{folder}` cannot be read ({error}); let the user that runs rosterd list it"),
    };
    SourceError { message }
}

/// A link, put off until everything real is known: a file reached both ways is named by its own
/// path, not by the link's.
struct Link {
    name: String,
    path: PathBuf,
}

struct Walker<'a> {
    root: PathBuf,
    exclude: BTreeSet<PathBuf>,
    enter: &'a mut dyn FnMut(&Path),
    seen: BTreeSet<Identity>,
    links: Vec<Link>,
    walk: Walk,
}

impl Walker<'_> {
    /// Lists one real folder and all real folders below it.
    fn folder(&mut self, name: &str, path: &Path) -> io::Result<()> {
        let mut below = self.list(name, path)?;
        while let Some((name, path)) = below.pop_first() {
            match self.list(&name, &path) {
                Ok(more) => below.extend(more),
                // Removed while we walked.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.unreadable(&name, "unreadable-folder", &error),
            }
        }
        Ok(())
    }

    /// Lists one folder; gives the folders in it.
    fn list(&mut self, name: &str, path: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
        let mut below = BTreeMap::new();
        let identity = Identity::of(&fs::metadata(path)?);
        if self.excluded(path) || !self.seen.insert(identity) {
            return Ok(below);
        }
        (self.enter)(path);
        self.walk.folders.insert(path.to_path_buf(), (name.to_owned(), identity));
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let Ok(own) = entry.file_name().into_string() else {
                self.problem(
                    &joined(name, &entry.file_name().to_string_lossy()),
                    "file-name",
                    "the name is not UTF-8".to_owned(),
                    "give it a name in UTF-8",
                );
                continue;
            };
            if own.starts_with('.') {
                continue;
            }
            let (name, path, kind) = (joined(name, &own), entry.path(), entry.file_type()?);
            if own.contains(misleads) && (is_manifest(&path) || path.is_dir()) {
                // The name is shown wherever the file is spoken of: terminals, logs, pull requests.
                let message = "the name holds a control character or one that turns the direction of writing";
                self.problem(&name.replace(misleads, "\u{fffd}"), "file-name", message.to_owned(), "rename it");
                continue;
            }
            if kind.is_symlink() {
                self.walk.plain = false;
                self.links.push(Link { name, path });
            } else if kind.is_dir() {
                below.insert(name, path);
            } else if kind.is_file() {
                self.file(name, path);
            }
        }
        Ok(below)
    }

    fn follow_links(&mut self) {
        // A folder behind a link may hold further links.
        while !self.links.is_empty() {
            let mut links = std::mem::take(&mut self.links);
            links.sort_by(|one, other| one.name.cmp(&other.name));
            for link in links {
                self.follow(link);
            }
        }
    }

    fn follow(&mut self, link: Link) {
        let reached = fs::canonicalize(&link.path).and_then(|real| Ok((fs::metadata(&real)?, real)));
        let (metadata, real) = match reached {
            Ok(reached) => reached,
            Err(error) => return self.unreadable(&link.name, "unreadable-file", &error),
        };
        if !metadata.is_dir() && !is_manifest(&link.path) {
            return;
        }
        if !real.starts_with(&self.root) {
            return self.problem(
                &link.name,
                "link-leaves-folder",
                format!("the link leads to `{}`, outside the folder", real.display()),
                "put the file itself into the folder",
            );
        }
        if metadata.is_dir() {
            if let Err(error) = self.folder(&link.name, &real) {
                self.unreadable(&link.name, "unreadable-folder", &error);
            }
        } else if !self.excluded(&real) {
            // Its folder may be hidden, and a change there is a change of this file.
            if let Some(parent) = real.parent() {
                (self.enter)(parent);
            }
            self.file(link.name, link.path);
        }
    }

    fn file(&mut self, name: String, path: PathBuf) {
        if path.file_name().is_some_and(|own| own == CONFIGURATION) {
            self.exclude.extend(included_by(&path));
            return;
        }
        if !is_manifest(&path) || self.excluded(&path) {
            return;
        }
        match fs::metadata(&path) {
            Ok(metadata) if self.seen.insert(Identity::of(&metadata)) => {
                self.walk.files.insert(name, Found { path, stamp: Stamp::of(&metadata) });
            }
            // Read already under another name.
            Ok(_) => self.walk.plain = false,
            // Removed while we walked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.unreadable(&name, "unreadable-file", &error),
        }
    }

    fn excluded(&self, path: &Path) -> bool {
        within(&self.exclude, path)
    }

    fn unreadable(&mut self, name: &str, code: &'static str, error: &io::Error) {
        self.problem(name, code, format!("cannot be read: {error}"), "let the user that runs rosterd read it");
    }

    fn problem(&mut self, name: &str, code: &'static str, message: String, hint: &str) {
        self.walk.problems.push(problem(name, code, message, hint));
    }
}

/// What a configuration includes. One that cannot be read includes nothing: telling what is wrong
/// with it is up to whoever uses it.
fn included_by(configuration: &Path) -> Vec<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Including {
        #[serde(default)]
        include: Vec<String>,
    }
    let text = fs::read_to_string(configuration).unwrap_or_default();
    let including = serde_saphyr::from_str::<Including>(&text).map(|found| found.include).unwrap_or_default();
    let folder = configuration.parent().unwrap_or(Path::new(""));
    including.iter().filter_map(|path| fs::canonicalize(folder.join(path)).ok()).collect()
}

fn within(folders: &BTreeSet<PathBuf>, path: &Path) -> bool {
    path.ancestors().any(|path| folders.contains(path))
}

/// A problem of a whole file.
pub(crate) fn problem(name: &str, code: &'static str, message: String, hint: &str) -> Problem {
    Problem {
        file: name.to_owned(),
        line: 0,
        column: 0,
        code,
        message,
        hint: Some(hint.to_owned()),
        snippet: None,
        conflict_of: None,
        drops_document: false,
    }
}

/// Whether the name ends as manifests do.
pub(crate) fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| ["yaml", "yml", "json"].iter().any(|known| found.eq_ignore_ascii_case(known)))
}

fn misleads(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
