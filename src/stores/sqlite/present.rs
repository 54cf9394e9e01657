//! Whether the files are still the ones that were opened.
//!
//! SQLite goes on writing to a file that was deleted: every commit succeeds, and all of them are
//! gone with the process. So each operation asks the folder first, and a commit once more after it.

use std::path::Path;
use std::path::PathBuf;

use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::fault::GONE;

/// The files of one open store as they were when it was opened.
#[derive(Debug)]
pub(super) struct Present {
    files: Vec<(PathBuf, Identity)>,
}

/// Device and inode: a copy put in the file's place is another file.
type Identity = (u64, u64);

impl Present {
    /// Remembers the file and its write-ahead log, which lives as long as the file is open.
    pub(super) fn of(path: &Path) -> Self {
        let files = [path.to_owned(), beside(path, "-wal")].into_iter();
        Self { files: files.filter_map(|file| identity(&file).map(|known| (file, known))).collect() }
    }

    /// # Errors
    /// Where a file is gone or another one stands in its place.
    pub(super) fn check(&self) -> Result<(), Fault> {
        match self.files.iter().find(|(file, known)| identity(file).as_ref() != Some(known)) {
            None => Ok(()),
            Some((file, _)) => Err(Fault::say(format!("the store's file `{}` {GONE}", file.display()))),
        }
    }
}

/// A file that SQLite lays beside the store.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Where files cannot be told apart, it is enough that one is there: such a system does not let an
/// open file be deleted.
#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    path.exists().then_some((0, 0))
}
