//! The lease of a SQLite store: a lock on a file beside it.

use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io::Read;
use std::io::Seek;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::store::StoreError;
use crate::stores::sqlite::fault::Fault;

/// Held for the life of a store; the system gives it up when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lease {
    _file: File,
}

impl Lease {
    /// Takes the lease of the store at `path`.
    ///
    /// The lock is on a file of its own: SQLite takes and drops locks on the database file, and
    /// closing any handle of a file drops a process's locks on it.
    pub(super) fn take(path: &Path, actor: &str) -> Result<Self, Fault> {
        let beside = beside(path);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&beside)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Fault::Plain(StoreError::Held(held(path, &mut file)))),
            Err(TryLockError::Error(error)) => {
                return Err(Fault::say(format!(
                    "`{}` cannot be locked ({error}); put the store on a local file system",
                    beside.display()
                )));
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{} {actor}", std::process::id())?;
        file.flush()?;
        Ok(Self { _file: file })
    }
}

/// The lock file of the store at `path`, one for all spellings of that path.
fn beside(path: &Path) -> PathBuf {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = real.into_os_string();
    name.push(".lock");
    PathBuf::from(name)
}

fn held(path: &Path, file: &mut File) -> String {
    let mut text = String::new();
    let holder = match file.read_to_string(&mut text) {
        Ok(_) => text.trim().split_once(' ').map(|(pid, actor)| format!("process {pid} ({actor})")),
        Err(_) => None,
    };
    format!(
        "the store `{}` is in use by {}; stop it, or let this command talk to it with `--server`",
        path.display(),
        holder.unwrap_or_else(|| "another process".to_owned())
    )
}
