//! Whether the files are still the ones that were opened, and nobody else wrote them.
//!
//! SQLite goes on writing to a file that was deleted: every commit succeeds, and all of them are
//! gone with the process. It also goes on over a file into which a copy was put, and gives pages of
//! both. So each operation asks the folder first, and a commit once more after it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::fault::GONE;
use crate::stores::sqlite::fault::OTHERS;

/// How much later than its write-ahead log a file may have been written by us: what moving the log
/// into it takes at most. A copy that was put there is usually newer by far.
const MOVING: Duration = Duration::from_mins(1);

/// The files of one open store as they were when it was opened.
#[derive(Debug)]
pub(super) struct Present {
    file: PathBuf,
    files: Vec<(PathBuf, Identity)>,
    /// The file as our own last write left it. What is committed goes to the log beside it; the file
    /// itself is written when the log is moved into it, within a commit.
    left: Mutex<Option<Stamp>>,
}

/// Device and inode: a copy put in the file's place is another file.
type Identity = (u64, u64);

/// When a file was last written, and how long it is.
type Stamp = (SystemTime, u64);

impl Present {
    /// Remembers the file and its write-ahead log, which lives as long as the file is open.
    pub(super) fn of(path: &Path) -> Self {
        let files = [path.to_owned(), beside(path, "-wal")].into_iter();
        let files = files.filter_map(|file| identity(&file).map(|known| (file, known))).collect();
        Self { file: path.to_owned(), files, left: Mutex::new(stamp(path)) }
    }

    /// # Errors
    /// Where a file is gone or another one stands in its place.
    pub(super) fn check(&self) -> Result<(), Fault> {
        match self.files.iter().find(|(file, known)| identity(file).as_ref() != Some(known)) {
            None => Ok(()),
            Some((file, _)) => Err(Fault::say(format!("the store's file `{}` {GONE}", file.display()))),
        }
    }

    /// To be asked while nothing of ours writes.
    ///
    /// # Errors
    /// Where somebody else wrote the file.
    pub(super) fn untouched(&self) -> Result<(), Fault> {
        let left = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left == stamp(&self.file) {
            return Ok(());
        }
        Err(Fault::say(format!("the store's file `{}` {OTHERS}", self.file.display())))
    }

    /// What stands there now is of our own writing.
    pub(super) fn settle(&self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = stamp(&self.file);
    }

    /// The files in one line, for [`is_one`].
    pub(super) fn line(&self) -> String {
        let written = |(file, (device, inode)): &(PathBuf, Identity)| {
            let log = if *file == self.file { "store" } else { "log" };
            format!("{log}={device}:{inode}")
        };
        self.files.iter().map(written).collect::<Vec<_>>().join(" ")
    }
}

/// Whether file and log belong together, by the line that the last process over them left.
///
/// # Errors
/// Where a copy was put into the file's place and the log of the other one still lies there: SQLite
/// would write the one's pages into the other.
pub(super) fn is_one(path: &Path, line: &str) -> Result<(), Fault> {
    let log = beside(path, "-wal");
    let (Ok(file), Ok(logged)) = (fs::metadata(path), fs::metadata(&log)) else { return Ok(()) };
    let known = |word: &str, file: &Path| {
        let written = line.split(' ').find_map(|part| part.strip_prefix(word));
        written.zip(identity(file)).is_none_or(|(written, (device, inode))| written == format!("{device}:{inode}"))
    };
    // Where the log is another one too, the whole folder was put there.
    if logged.len() == 0 || file.len() == 0 || line.is_empty() || !known("log=", &log) {
        return Ok(());
    }
    let late = match (file.modified(), logged.modified()) {
        (Ok(file), Ok(log)) => file.duration_since(log).is_ok_and(|late| late > MOVING),
        _ => false,
    };
    if known("store=", path) && !late {
        return Ok(());
    }
    let (file, log) = (path.display(), log.display());
    Err(Fault::say(format!(
        "the store's file `{file}` was put back, and `{log}` holds the last writes of the file that stood here before: \
         move `{log}` and `{file}-shm` away to go on from the copy (every target waits for `rosterd enforce TARGET` \
         then), or put the former file back"
    )))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
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
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Where files cannot be told apart, it is enough that one is there: such a system does not let an
/// open file be deleted.
#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    path.exists().then_some((0, 0))
}
