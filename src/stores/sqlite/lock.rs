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
    file: File,
    /// Who holds it.
    holder: String,
    /// What the process before left in the second line.
    former: String,
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
        let mut text = String::new();
        // A text that is none is one that nobody left.
        let former = file.read_to_string(&mut text).ok().and_then(|_| text.lines().nth(1)).unwrap_or_default();
        let former = former.to_owned();
        let mut lease = Self { file, holder: format!("{} {actor}", std::process::id()), former: former.clone() };
        lease.leave(&former)?;
        Ok(lease)
    }

    /// What the process that held it last left for this one.
    pub(super) fn former(&self) -> &str {
        &self.former
    }

    /// Leaves a line for whoever holds it next.
    pub(super) fn leave(&mut self, line: &str) -> Result<(), Fault> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        write!(self.file, "{}\n{line}\n", self.holder)?;
        self.file.flush()?;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Not by closing it alone: a program that is just being started holds a copy of every open file until
        // its own begins. What cannot be given up so is given up when that ends.
        drop(self.file.unlock());
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
        Ok(_) => text
            .lines()
            .next()
            .and_then(|line| line.split_once(' '))
            .map(|(pid, actor)| format!("process {pid} ({actor})")),
        Err(_) => None,
    };
    format!(
        "the store `{}` is in use by {}; stop it, or let this command talk to it with `--server`",
        path.display(),
        holder.unwrap_or_else(|| "another process".to_owned())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_was_given_up_can_be_taken_though_a_program_that_is_being_started_has_a_copy_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rosterd.db");
        let lease = Lease::take(&path, "run").unwrap();
        let copy = lease.file.try_clone().unwrap();
        assert!(Lease::take(&path, "apply").is_err());
        drop(lease);
        Lease::take(&path, "apply").unwrap();
        drop(copy);
    }
}
