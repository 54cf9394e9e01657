//! Whether the files are still the ones that were opened, and nobody else wrote them.
//!
//! SQLite goes on writing to a file that was deleted: every commit succeeds, and all of them are
//! gone with the process. It also goes on over a file into which a copy was put, and gives pages of
//! both. So each operation asks the folder first, and a commit once more after it.
//!
//! No clock is asked: what tells a copy from the file is how far the file itself says that it came
//! ([`Mark`]), and what tells another program that moves the log into the file, as some do that copy
//! it, from one that puts bytes there is what SQLite notes of that beside the log ([`Moved`]).

use std::fs;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;

use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::fault::GONE;
use crate::stores::sqlite::fault::OTHERS;

/// The files of one open store as they were when it was opened.
#[derive(Debug)]
pub(super) struct Present {
    file: PathBuf,
    files: Vec<(PathBuf, Identity)>,
    /// The file as our own last write left it. What is committed goes to the log beside it; the file
    /// itself is written when the log is moved into it.
    left: Mutex<Left>,
}

/// Device and inode: a copy put in the file's place is another file.
type Identity = (u64, u64);

/// When a file was last written, and how long it is.
type Stamp = (SystemTime, u64);

/// How far a file came, by its own header (<https://www.sqlite.org/fileformat.html>, section 1.3): the
/// change counter at 24, which each opening counts up, and the number of pages at 28, which grows with
/// the audit log. It never goes back but by a copy from before.
type Mark = (u32, u32);

/// What SQLite notes beside the log of moving it (<https://www.sqlite.org/walformat.html>, section 2): the
/// salts at 32, the frames that were moved at 96 and those whose moving was begun at 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moved {
    salts: [u8; 8],
    done: u32,
    begun: u32,
}

/// The file as it was left.
#[derive(Clone, Copy, Debug)]
struct Left {
    stamp: Option<Stamp>,
    mark: Option<Mark>,
    moved: Option<Moved>,
}

impl Left {
    fn of(path: &Path) -> Self {
        Self { stamp: stamp(path), mark: mark(path), moved: moved(path) }
    }

    /// Whether nothing but moving of the log made the one of the other.
    fn comes_of_moving(self, before: Self) -> bool {
        let moves = self.moved.is_some_and(|moved| Some(moved) != before.moved || moved.begun > moved.done);
        moves && self.mark >= before.mark
    }
}

impl Present {
    /// Remembers the file and its write-ahead log, which lives as long as the file is open.
    pub(super) fn of(path: &Path) -> Self {
        let files = [path.to_owned(), beside(path, "-wal")].into_iter();
        let files = files.filter_map(|file| identity(&file).map(|known| (file, known))).collect();
        Self { file: path.to_owned(), files, left: Mutex::new(Left::of(path)) }
    }

    /// # Errors
    /// Where a file is gone or another one stands in its place.
    pub(super) fn check(&self) -> Result<(), Fault> {
        match self.files.iter().find(|(file, known)| identity(file).as_ref() != Some(known)) {
            None => Ok(()),
            Some((file, _)) => Err(Fault::say(format!("the store's file `{}` {GONE}", file.display()))),
        }
    }

    /// To be asked while nothing of ours writes. Another program that moved the log into the file as
    /// SQLite does wrote nothing but what we had committed.
    ///
    /// # Errors
    /// Where somebody else wrote the file.
    pub(super) fn untouched(&self) -> Result<(), Fault> {
        let mut left = self.left();
        if left.stamp == stamp(&self.file) {
            return Ok(());
        }
        let now = Left::of(&self.file);
        if now.comes_of_moving(*left) {
            *left = now;
            return Ok(());
        }
        Err(Fault::say(format!("the store's file `{}` {OTHERS}", self.file.display())))
    }

    /// What stands there now is of our own writing. Whether it is another than before.
    pub(super) fn settle(&self) -> bool {
        let now = Left::of(&self.file);
        let before = std::mem::replace(&mut *self.left(), now);
        before.mark != now.mark
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files in one line, for [`is_one`].
    pub(super) fn line(&self) -> String {
        let written = |(file, (device, inode)): &(PathBuf, Identity)| {
            let log = if *file == self.file { "store" } else { "log" };
            format!("{log}={device}:{inode}")
        };
        let mark = self.left().mark.map(|(counter, pages)| format!("mark={counter}:{pages}"));
        self.files.iter().map(written).chain(mark).collect::<Vec<_>>().join(" ")
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
    let said = |word: &str| line.split(' ').find_map(|part| part.strip_prefix(word));
    let known = |word: &str, file: &Path| {
        said(word).zip(identity(file)).is_none_or(|(written, (device, inode))| written == format!("{device}:{inode}"))
    };
    // Where the log is another one too, the whole folder was put there.
    if logged.len() == 0 || file.len() == 0 || line.is_empty() || !known("log=", &log) {
        return Ok(());
    }
    // A file that another program moved the log into, or that a power cut left half moved, came further.
    let former = said("mark=").and_then(|text| text.split_once(':'));
    let former = former.and_then(|(counter, pages)| Some((counter.parse().ok()?, pages.parse().ok()?)));
    let older = former.zip(mark(path)).is_some_and(|(former, now): (Mark, Mark)| now < former);
    if known("store=", path) && !older {
        return Ok(());
    }
    let (file, log) = (path.display(), log.display());
    Err(Fault::say(format!(
        "the store's file `{file}` was put back, and `{log}` holds the last writes of the file that stood here before, \
         which may be kept nowhere else: put that very file back beside it and nothing is lost; without it, move `{log}` \
         and `{file}-shm` to a safe place, and keep them, to go on from the copy (every target waits for `rosterd \
         enforce TARGET` then)"
    )))
}

/// Whether a log with anything in it lies beside the file.
pub(super) fn has_log(path: &Path) -> bool {
    fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

fn mark(path: &Path) -> Option<Mark> {
    let [counter, pages] = numbers(&start::<32>(path)?, [24, 28], u32::from_be_bytes)?;
    Some((counter, pages))
}

fn moved(path: &Path) -> Option<Moved> {
    let index = start::<136>(&beside(path, "-shm"))?;
    // In the order of bytes of this machine.
    let [done, begun] = numbers(&index, [96, 128], u32::from_ne_bytes)?;
    Some(Moved { salts: index.get(32..40)?.try_into().ok()?, done, begun })
}

/// The first bytes of a file; `None` where it has fewer.
fn start<const LENGTH: usize>(path: &Path) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    File::open(path).ok()?.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn numbers(bytes: &[u8], at: [usize; 2], number: impl Fn([u8; 4]) -> u32) -> Option<[u32; 2]> {
    let one = |at: usize| Some(number(bytes.get(at..at + 4)?.try_into().ok()?));
    Some([one(at[0])?, one(at[1])?])
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a file that came so far and a log beside it, the file written so long before the log
    /// (or after it, where negative).
    fn folder(mark: Mark, before: i64) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rosterd.db");
        put(&path, mark);
        fs::write(beside(&path, "-wal"), "frames").unwrap();
        let apart = std::time::Duration::from_secs(before.unsigned_abs());
        let file = fs::metadata(&path).unwrap().modified().unwrap();
        let log = if before > 0 { file + apart } else { file - apart };
        File::options().write(true).open(beside(&path, "-wal")).unwrap().set_modified(log).unwrap();
        (folder, path)
    }

    /// As `cp` does: the same file with other bytes.
    fn put(path: &Path, (counter, pages): Mark) {
        let mut header = vec![0; 100];
        header[24..28].copy_from_slice(&counter.to_be_bytes());
        header[28..32].copy_from_slice(&pages.to_be_bytes());
        fs::write(path, header).unwrap();
    }

    #[test]
    fn a_file_and_its_log_are_one_whatever_the_clock_said_when_they_were_written() {
        for before in [3_600, 0, -3_600, -31_536_000] {
            let (_folder, path) = folder((7, 40), before);
            let line = Present::of(&path).line();
            assert!(line.ends_with(" mark=7:40"), "{line}");
            is_one(&path, &line).unwrap();
            // More of the log was moved into it, by us before a power cut or by another program.
            put(&path, (7, 45));
            is_one(&path, &line).unwrap();
        }
    }

    #[test]
    fn a_copy_from_before_that_was_put_beside_the_log_is_told_and_nothing_is_to_be_thrown_away() {
        for (copy, before) in [((6, 99), 3_600), ((7, 39), 3_600), ((6, 40), -3_600)] {
            let (_folder, path) = folder((7, 40), before);
            let line = Present::of(&path).line();
            put(&path, copy);
            let words = is_one(&path, &line).unwrap_err().into_error(&path).to_string();
            assert!(words.contains("was put back") && words.contains("to a safe place, and keep them"), "{words}");
        }
        let (_folder, path) = folder((7, 40), 0);
        let line = Present::of(&path).line();
        put(&path.with_file_name("other"), (7, 40));
        fs::rename(path.with_file_name("other"), &path).unwrap();
        assert!(is_one(&path, &line).is_err(), "another file under its name");
        fs::remove_file(beside(&path, "-wal")).unwrap();
        is_one(&path, &line).unwrap();
    }
}
