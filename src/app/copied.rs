//! A look at files that this user may read and not write: at a copy, which nobody keeps.

use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::app::AppError;
use crate::store::StoreError;

/// What SQLite keeps beside a file that was not moved into it yet.
const LOG: &str = "-wal";
/// What whoever may write a store holds.
const LOCK: &str = ".lock";

/// The copy of a database below `folder`, where it or its own folder cannot be written; `None`: both can.
///
/// # Errors
/// Where it cannot be read, or another command has it.
pub(super) fn of(path: &Path, folder: &Path) -> Result<Option<PathBuf>, AppError> {
    let Some(name) = path.file_name().filter(|_| path.is_file() && !is_writable(path)) else { return Ok(None) };
    let _lease = lease(path)?;
    let copy = folder.join(name);
    take(path, &copy).map_err(|error| unreadable(path, &error))?;
    let log = beside(path, LOG);
    match take(&log, &beside(&copy, LOG)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unreadable(&log, &error)),
        Ok(()) | Err(_) => Ok(Some(copy)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> AppError {
    let shown = path.display();
    StoreError::Unavailable(format!("`{shown}` cannot be read ({error}); let the user that looks read it")).into()
}

/// Whether a process that opens it can write it and lay files beside it. The superuser writes what says that it is
/// read-only; what is meant is not that.
fn is_writable(path: &Path) -> bool {
    let says_so = |path: &Path| path.metadata().is_ok_and(|meta| !meta.permissions().readonly());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let lock = beside(path, LOCK);
    let opens = |path: &Path| OpenOptions::new().append(true).open(path).is_ok();
    says_so(path) && says_so(folder) && opens(path) && (!lock.exists() || opens(&lock)) && takes_files(folder)
}

/// Whether files can be laid there: nothing else tells it on every file system.
fn takes_files(folder: &Path) -> bool {
    let trial = folder.join(format!(".rosterd-{}", uuid::Uuid::new_v4()));
    let made = OpenOptions::new().write(true).create_new(true).open(&trial).is_ok();
    made && fs::remove_file(&trial).is_ok()
}

/// Keeps whoever may write it out for as long as it is copied.
fn lease(path: &Path) -> Result<Option<File>, AppError> {
    let Ok(file) = File::open(beside(path, LOCK)) else { return Ok(None) };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let words = format!("the store `{}` is in use by another process", path.display());
            Err(StoreError::Held(words).into())
        }
        // A file system without locks tells of nobody.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(file)),
    }
}

/// Copies a file, for its reader alone.
fn take(from: &Path, to: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    io::copy(&mut File::open(from)?, &mut options.open(to)?).map(drop)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}
