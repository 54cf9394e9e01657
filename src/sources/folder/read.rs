//! Reads manifests, each only when it changed.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

use crate::manifest::Problem;
use crate::sources::folder::walk::Found;
use crate::sources::folder::walk::Stamp;
use crate::sources::folder::walk::Walk;
use crate::sources::folder::walk::problem;

/// One file of 100,000 users has 40 MB; what is larger is no manifest, and would have to be held
/// in memory to find that out.
pub(crate) const MAX_BYTES: u64 = 128 * 1024 * 1024;

/// Readings of a file that changes under our eyes before we leave it to the next load.
const ATTEMPTS: u32 = 5;

/// Parsed files, kept as long as they do not change.
pub(crate) struct Reader<T> {
    parse: fn(&str, &[u8]) -> T,
    kept: BTreeMap<String, Kept<T>>,
    /// Files that could not be read the last time.
    failed: BTreeSet<String>,
    /// A reading broke off: what it did is in no load.
    unfinished: bool,
    files_read: u64,
}

struct Kept<T> {
    stamp: Stamp,
    parsed: Arc<T>,
}

/// What one file gave in the load before, and gives now.
pub(crate) type Change<T> = (Option<Arc<T>>, Option<Arc<T>>);

/// What one load gave.
pub(crate) struct Loaded<'r, T> {
    kept: &'r BTreeMap<String, Kept<T>>,
    /// Of those files that differ.
    pub(crate) changed: Vec<Change<T>>,
    /// Whether others may differ too: the load before broke off.
    pub(crate) anew: bool,
    /// One for each file or folder that could not be read.
    pub(crate) problems: Vec<Problem>,
}

impl<T> Loaded<'_, T> {
    /// What every file gives that could be read, by name.
    pub(crate) fn parsed(&self) -> impl Iterator<Item = Arc<T>> {
        self.kept.values().map(|kept| Arc::clone(&kept.parsed))
    }
}

impl<T: Send + Sync> Reader<T> {
    pub(crate) fn new(parse: fn(&str, &[u8]) -> T) -> Self {
        Self { parse, kept: BTreeMap::new(), failed: BTreeSet::new(), unfinished: false, files_read: 0 }
    }

    /// Files read since the start.
    pub(crate) fn files_read(&self) -> u64 {
        self.files_read
    }

    /// Parses what changed. `touched` names files that changed whatever their stamps say: two
    /// writes in one tick of the file system's clock leave the same stamp. `looked_at`: no other files
    /// differ from the last load; without it, any may.
    pub(crate) fn read(
        &mut self,
        walk: &Walk,
        touched: &BTreeSet<PathBuf>,
        looked_at: Option<BTreeSet<String>>,
    ) -> Loaded<'_, T> {
        let anew = std::mem::replace(&mut self.unfinished, true);
        let mut changed = Vec::new();
        let due: Vec<_> = if let Some(names) = looked_at {
            let gone = names.iter().filter(|name| !walk.files.contains_key(*name));
            changed.extend(gone.filter_map(|name| Some((Some(self.kept.remove(name)?.parsed), None))));
            names.union(&self.failed).filter_map(|name| walk.files.get_key_value(name)).collect()
        } else {
            let gone = self.kept.extract_if(.., |name, _| !walk.files.contains_key(name));
            changed.extend(gone.map(|(_, kept)| (Some(kept.parsed), None)));
            walk.files.iter().filter(|(name, found)| self.is_due(name, found, touched)).collect()
        };
        self.failed.clear();
        let mut problems = walk.problems.clone();
        for (name, result) in in_parallel(&due, self.parse) {
            self.files_read += 1;
            let (former, present) = match result {
                Ok(kept) => {
                    let parsed = Arc::clone(&kept.parsed);
                    (self.kept.insert(name, kept), Some(parsed))
                }
                Err(problem) => {
                    problems.push(*problem);
                    let former = self.kept.remove(&name);
                    self.failed.insert(name);
                    (former, None)
                }
            };
            changed.push((former.map(|former| former.parsed), present));
        }
        self.unfinished = false;
        Loaded { kept: &self.kept, changed, anew, problems }
    }

    fn is_due(&self, name: &str, found: &Found, touched: &BTreeSet<PathBuf>) -> bool {
        touched.contains(&found.path) || self.kept.get(name).is_none_or(|kept| kept.stamp != found.stamp)
    }
}

/// A name, and what became of it; a problem is boxed since it is large and rare.
type Outcome<T> = (String, Result<Kept<T>, Box<Problem>>);

/// What a file looked like before it was read, and its bytes.
type Contents = (Stamp, Vec<u8>);

/// Parsing costs more than reading, so it is shared out among the processors.
fn in_parallel<T: Send + Sync>(due: &[(&String, &Found)], parse: fn(&str, &[u8]) -> T) -> Vec<Outcome<T>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((name, found)) = due.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(((*name).clone(), one(name, &found.path, parse)));
        }
        done
    };
    // Asking how many processors there are reads a dozen files.
    let workers = if due.len() < 2 { 1 } else { thread::available_parallelism().map_or(1, usize::from).min(due.len()) };
    if workers < 2 {
        return work();
    }
    thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let joined = running.into_iter().map(thread::ScopedJoinHandle::join);
        joined.flat_map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

fn one<T>(name: &str, path: &Path, parse: fn(&str, &[u8]) -> T) -> Result<Kept<T>, Box<Problem>> {
    let (stamp, bytes) = settled(name, path, &mut contents)?;
    Ok(Kept { stamp, parsed: Arc::new(parse(name, &bytes)) })
}

/// What a file holds, at a moment when nobody was writing it.
fn settled(
    name: &str,
    path: &Path,
    contents: &mut dyn FnMut(&Path) -> io::Result<Contents>,
) -> Result<Contents, Box<Problem>> {
    let wrong = |code, message: String, hint: &str| Box::new(problem(name, code, message, hint));
    for _ in 0..ATTEMPTS {
        let (stamp, bytes) = contents(path).map_err(|error| {
            wrong("unreadable-file", format!("cannot be read: {error}"), "let the user that runs rosterd read it")
        })?;
        if stamp.size > MAX_BYTES {
            let message = format!("the file has {} bytes, at most {MAX_BYTES} are read", stamp.size);
            return Err(wrong("file-too-large", message, "split it, one file a team or a folder"));
        }
        // Somebody is in the middle of writing it, or put another file in its place.
        let same = fs::metadata(path).is_ok_and(|after| Stamp::of(&after) == stamp);
        if !same || bytes.len() as u64 != stamp.size {
            continue;
        }
        if bytes.is_empty() {
            let hint = "remove the file if what it declared shall go; an empty one looks like one being written";
            return Err(wrong("empty-file", "the file is empty".to_owned(), hint));
        }
        return Ok((stamp, bytes));
    }
    Err(wrong(
        "unreadable-file",
        "the file changes while it is read".to_owned(),
        "wait until whoever writes it has ended",
    ))
}

/// The bytes of a file, one more than the limit at most.
fn contents(path: &Path) -> io::Result<Contents> {
    let file = File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    let mut bytes = Vec::new();
    if stamp.size <= MAX_BYTES {
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    }
    Ok((stamp, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_while_it_is_read_is_read_again() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("a.yaml");
        fs::write(&path, "half").expect("written");
        let mut writes = vec!["half, and the rest"];
        let (_, bytes) = settled("a.yaml", &path, &mut |path| {
            let read = contents(path);
            writes.drain(..).for_each(|content| fs::write(path, content).expect("written"));
            read
        })
        .expect("settled");
        assert_eq!(bytes, b"half, and the rest");
    }

    #[test]
    fn a_file_that_never_settles_is_a_problem() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("a.yaml");
        fs::write(&path, "x").expect("written");
        let mut length = 1;
        let problem = settled("a.yaml", &path, &mut |path| {
            let read = contents(path);
            length += 1;
            fs::write(path, "x".repeat(length)).expect("written");
            read
        })
        .expect_err("never settled");
        assert_eq!(problem.code, "unreadable-file");
    }
}
