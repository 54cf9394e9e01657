//! The journal as a file beside the store, of a fixed size that is set aside when it is made.
//!
//! One line an intent: sealed with the store's key, which authenticates it, and in base64. Whatever
//! else stands in the file is no line and counts for nothing.
//!
//! The file has two halves. Lines are added to the one in use; when it has no room, or most of it is
//! settled, what still counts is copied to the other, and only then wiped here. So the file never
//! grows, and a crash at any moment leaves every line that counts in one half or in both. A line
//! that was let go of may come back that way, which does no harm: whoever reads compares with the store.
//!
//! # Caveats
//! On file systems that never write in place (btrfs, zfs), a full disk may stop the journal, too;
//! then nothing is called, and the error says so.

use std::collections::BTreeSet;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::model::history::Intent;
use crate::model::ids::IntentId;
use crate::secrets::keys::Keys;
use crate::store::journal::Journal;
use crate::store::journal::JournalError;

/// Room for some thousand removals in either half: an outage in which more fall due is one that
/// people look at.
const SIZE: u64 = 8 * 1024 * 1024;
/// What was sealed for the journal opens nowhere else.
const CONTEXT: &str = "journal";

/// A journal in a file.
pub struct FileJournal {
    inside: Arc<Mutex<Inside>>,
    path: PathBuf,
}

struct Inside {
    file: File,
    keys: Arc<Keys>,
    /// How long either half is.
    half: u64,
    /// Where the half in use begins.
    start: u64,
    /// Where the next line goes.
    end: u64,
    live: Vec<Intent>,
    /// Whether lines that count stand in both halves: neither may be written over.
    split: bool,
}

impl FileJournal {
    /// Opens the journal, or makes it and sets its space aside.
    pub fn open(path: &Path, keys: Arc<Keys>) -> Result<Self, JournalError> {
        let inside = Inside::open(path, keys, SIZE).map_err(|error| failed(path, &error))?;
        Ok(Self { inside: Arc::new(Mutex::new(inside)), path: path.to_owned() })
    }

    /// Runs `work` where it may wait for the disk.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inside) -> io::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let inside = Arc::clone(&self.inside);
        let done =
            tokio::task::spawn_blocking(move || work(&mut inside.lock().unwrap_or_else(PoisonError::into_inner)));
        let done = done.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        done.map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &io::Error) -> JournalError {
    JournalError(format!("the journal `{}` cannot be used ({error}); look at its disk", path.display()))
}

#[async_trait]
impl Journal for FileJournal {
    async fn append(&self, intents: Vec<Intent>) -> Result<(), JournalError> {
        self.run(move |inside| inside.append(intents)).await
    }

    async fn intents(&self) -> Result<Vec<Intent>, JournalError> {
        self.run(|inside| Ok(inside.live.clone())).await
    }

    async fn forget(&self, intents: BTreeSet<IntentId>) -> Result<(), JournalError> {
        self.run(move |inside| inside.forget(&intents)).await
    }
}

impl Inside {
    fn open(path: &Path, keys: Arc<Keys>, size: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        let known = file.metadata()?.len();
        if known < size {
            // Written, not only lengthened: a hole has no space set aside.
            file.seek(SeekFrom::Start(known))?;
            fill(&mut file, size - known)?;
            file.sync_all()?;
        }
        let half = size.max(known) / 2;
        let (mut first, mut second) = (read(&mut file, &keys, 0, half)?, read(&mut file, &keys, half, half)?);
        let into_second = second.intents.len() > first.intents.len();
        let (mine, other) = if into_second { (&mut second, &mut first) } else { (&mut first, &mut second) };
        let known: BTreeSet<_> = mine.intents.iter().map(|intent| intent.id.clone()).collect();
        let only_there: Vec<_> =
            std::mem::take(&mut other.intents).into_iter().filter(|intent| !known.contains(&intent.id)).collect();
        let start = if into_second { half } else { 0 };
        let (live, end) = (std::mem::take(&mut mine.intents), mine.end);
        let mut inside = Self { file, keys, half, start, end, live, split: false };
        if !only_there.is_empty() {
            // A crash came between the copying and the wiping.
            let lines = inside.lines(&only_there)?;
            inside.split = !inside.has_room(&lines) || inside.write(inside.end, &lines).is_err();
            inside.end += if inside.split { 0 } else { length(&lines) };
            inside.live.extend(only_there);
        }
        Ok(inside)
    }

    fn has_room(&self, lines: &str) -> bool {
        self.end + length(lines) <= self.start + self.half
    }

    fn append(&mut self, intents: Vec<Intent>) -> io::Result<()> {
        let lines = self.lines(&intents)?;
        if self.has_room(&lines) {
            self.write(self.end, &lines)?;
            self.end += length(&lines);
        } else {
            self.move_over(&lines)?;
        }
        self.live.extend(intents);
        Ok(())
    }

    fn forget(&mut self, intents: &BTreeSet<IntentId>) -> io::Result<()> {
        self.live.retain(|intent| !intents.contains(&intent.id));
        let used = self.end - self.start;
        if self.live.is_empty() && used > 0 {
            (self.end, self.split) = (self.start, false);
            return self.wipe(self.start).and_then(|()| self.wipe(self.other()));
        }
        // Half of what was written would fit twice: most of it is settled.
        if !self.split && used > self.half / 2 && length(&self.lines(&self.live)?) < used / 2 {
            return self.move_over("");
        }
        Ok(())
    }

    fn other(&self) -> u64 {
        self.half - self.start
    }

    /// Copies what counts to the other half, with `lines` behind it, and goes on there.
    fn move_over(&mut self, lines: &str) -> io::Result<()> {
        // What stood there before must not run into the first line.
        let copied = format!("\n{}{lines}", self.lines(&self.live)?);
        if self.split || length(&copied) > self.half {
            return Err(io::Error::other("it is full until the store is back"));
        }
        let (from, to) = (self.start, self.other());
        self.write(to, &copied)?;
        (self.start, self.end) = (to, to + length(&copied));
        // What is left there is a copy or settled: to wipe it is tidy, not needed.
        if let Err(error) = self.wipe(from) {
            tracing::warn!(%error, "what is settled could not be wiped from the journal");
        }
        Ok(())
    }

    fn lines(&self, intents: &[Intent]) -> io::Result<String> {
        let mut lines = String::new();
        for intent in intents {
            let sealed = self.keys.seal(CONTEXT, &serde_json::to_vec(intent)?).map_err(io::Error::other)?;
            STANDARD.encode_string(sealed, &mut lines);
            lines.push('\n');
        }
        Ok(lines)
    }

    fn write(&mut self, at: u64, lines: &str) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(lines.as_bytes())?;
        self.file.sync_data()
    }

    fn wipe(&mut self, start: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(start))?;
        fill(&mut self.file, self.half)?;
        self.file.sync_data()
    }
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// What a wiped part of the file holds, a block of it.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

fn fill(file: &mut File, mut length: u64) -> io::Result<()> {
    while length > 0 {
        let part = usize::try_from(length).unwrap_or(ZEROS.len()).min(ZEROS.len());
        file.write_all(ZEROS.get(..part).unwrap_or(&ZEROS))?;
        length -= u64::try_from(part).unwrap_or(length);
    }
    Ok(())
}

/// What stands in one half.
struct Half {
    intents: Vec<Intent>,
    /// Where the last line ends.
    end: u64,
}

/// In blocks: nearly all of a half is empty, and an empty block is told by one comparison.
fn read(file: &mut File, keys: &Keys, start: u64, half: u64) -> io::Result<Half> {
    let mut found = Found { keys, intents: Vec::new(), known: BTreeSet::new(), end: start };
    let (mut block, mut begun, mut at) = (vec![0; ZEROS.len()], Vec::new(), start);
    file.seek(SeekFrom::Start(start))?;
    let mut rest = Read::by_ref(file).take(half);
    loop {
        let length = fill_from(&mut rest, &mut block)?;
        let Some(read) = block.get(..length).filter(|read| !read.is_empty()) else { break };
        let mut lines = read;
        // A line that began in the block before goes on here; of one that begins, what is wiped is no part.
        while !(lines.is_empty() || begun.is_empty() && is_wiped(lines)) {
            let ends = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |newline| newline + 1);
            let (line, behind) = lines.split_at(ends);
            (lines, at) = (behind, at + u64::try_from(ends).unwrap_or_default());
            begun.extend_from_slice(line);
            if line.ends_with(b"\n") {
                found.line(&begun, at);
                begun.clear();
            }
        }
        at += u64::try_from(lines.len()).unwrap_or_default();
    }
    Ok(Half { intents: found.intents, end: found.end })
}

/// As much as there is, up to the length of `block`.
fn fill_from(rest: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(free) = block.get_mut(length..).filter(|free| !free.is_empty()) {
        match rest.read(free) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// `bytes` are at most a block.
fn is_wiped(bytes: &[u8]) -> bool {
    ZEROS.get(..bytes.len()) == Some(bytes)
}

/// What was found in a half so far.
struct Found<'a> {
    keys: &'a Keys,
    intents: Vec<Intent>,
    known: BTreeSet<IntentId>,
    /// Where the last line ends.
    end: u64,
}

impl Found<'_> {
    /// Takes a line that ends at `at`, where it is one.
    fn line(&mut self, line: &[u8], at: u64) {
        let Some(intent) = parse(line, self.keys) else { return };
        self.end = at;
        if self.known.insert(intent.id.clone()) {
            self.intents.push(intent);
        }
    }
}

fn parse(line: &[u8], keys: &Keys) -> Option<Intent> {
    // A line may stand behind what was wiped.
    let from = line.iter().position(|byte| *byte != 0)?;
    let sealed = STANDARD.decode(line.get(from..)?.strip_suffix(b"\n")?).ok()?;
    serde_json::from_slice(&keys.open(CONTEXT, &sealed).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Arc<Keys> {
        Arc::new(Keys::from_bytes(&[1; 32], &[2; 32]).unwrap())
    }

    fn intent(id: &str) -> Intent {
        let change = serde_json::json!({
            "record": "u-1", "account": "1", "action": "disable", "effect": "narrows", "cause": "explicit",
            "fields": [], "grant": [], "revoke": [], "active": false, "reason": "é\n", "origins": [],
        });
        serde_json::from_value(serde_json::json!({
            "id": id, "space": { "target": "app", "environment": "default", "realm": "memory" }, "cycle": "c",
            "change": change, "at": "2026-11-22T12:00:00Z", "limit": "2026-11-22T12:00:30Z",
        }))
        .unwrap()
    }

    fn ids(inside: &Inside) -> Vec<&str> {
        inside.live.iter().map(|intent| intent.id.as_str()).collect()
    }

    /// A journal of two intents.
    fn journal(folder: &tempfile::TempDir) -> PathBuf {
        let path = folder.path().join("rosterd.journal");
        let mut inside = Inside::open(&path, keys(), 100_000).unwrap();
        inside.append(vec![intent("a"), intent("b")]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 100_000, "its space is set aside");
        assert!(!String::from_utf8_lossy(&bytes).contains("u-1"), "it cannot be read without the key");
        path
    }

    #[test]
    fn what_was_written_down_is_there_after_a_crash_and_what_the_store_has_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = journal(&folder);
        let mut inside = Inside::open(&path, keys(), 100_000).unwrap();
        assert_eq!(ids(&inside), ["a", "b"]);
        inside.append(vec![intent("c")]).unwrap();
        inside.forget(&BTreeSet::from(["a".into(), "b".into()])).unwrap();
        assert_eq!(ids(&inside), ["c"]);
        inside.forget(&BTreeSet::from(["c".into()])).unwrap();
        let mut inside = Inside::open(&path, keys(), 100_000).unwrap();
        assert!(ids(&inside).is_empty());
        inside.append(vec![intent("d")]).unwrap();
        assert_eq!(ids(&Inside::open(&path, keys(), 100_000).unwrap()), ["d"]);
    }

    #[test]
    fn a_line_that_was_cut_off_or_changed_counts_for_nothing_and_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = journal(&folder);
        let mut bytes = std::fs::read(&path).unwrap();
        let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 60;
        bytes[second] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let mut inside = Inside::open(&path, keys(), 100_000).unwrap();
        assert_eq!(ids(&inside), ["a"]);
        inside.append(vec![intent("e")]).unwrap();
        assert_eq!(ids(&Inside::open(&path, keys(), 100_000).unwrap()), ["a", "e"]);
    }

    #[test]
    fn a_full_journal_says_so_and_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.journal");
        let mut inside = Inside::open(&path, keys(), 3_000).unwrap();
        let fits = (0..10).take_while(|number| inside.append(vec![intent(&format!("i{number}"))]).is_ok()).count();
        assert!((1..=4).contains(&fits), "{fits}");
        assert!(inside.append(vec![intent("z")]).unwrap_err().to_string().contains("full"));
        assert_eq!(Inside::open(&path, keys(), 3_000).unwrap().live.len(), fits);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 3_000);
    }

    #[test]
    fn a_journal_in_which_one_intent_is_never_settled_does_not_fill_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.journal");
        let mut inside = Inside::open(&path, keys(), 20_000).unwrap();
        inside.append(vec![intent("stays")]).unwrap();
        for number in 0..500 {
            let id = format!("i{number}");
            inside.append(vec![intent(&id)]).unwrap();
            inside.forget(&BTreeSet::from([id.as_str().into()])).unwrap();
            if number % 7 == 0 {
                // A crash at any moment.
                inside = Inside::open(&path, keys(), 20_000).unwrap();
                assert!(ids(&inside).contains(&"stays"), "{number}: {:?}", ids(&inside));
                // What came back is found in the store, and let go of again.
                let settled = inside.live.iter().map(|intent| intent.id.clone()).filter(|id| id.as_str() != "stays");
                inside.forget(&settled.collect()).unwrap();
            }
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 20_000);
    }

    #[test]
    fn a_line_is_found_wherever_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wide.journal");
        let inside = Inside::open(&path, keys(), 1_000_000).unwrap();
        let block = ZEROS.len();
        // Over the border of two blocks, behind empty ones, up to the end of a half, and with bytes of
        // another line, cut off, before it.
        let (over, behind) = (inside.lines(&[intent("over")]).unwrap(), inside.lines(&[intent("behind")]).unwrap());
        let (cut, last) = (inside.lines(&[intent("cut")]).unwrap(), inside.lines(&[intent("last")]).unwrap());
        let mut bytes = vec![0; 1_000_000];
        let mut put = |at: usize, text: &str| bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(block - 7, &over);
        put(3 * block + 5, &behind);
        put(4 * block, &format!("{}\n", cut.get(..40).unwrap()));
        put(500_000 - last.len(), &last);
        std::fs::write(&path, &bytes).unwrap();
        let inside = Inside::open(&path, keys(), 1_000_000).unwrap();
        assert_eq!(ids(&inside), ["over", "behind", "last"]);
        assert_eq!(inside.end, 500_000);
        bytes.truncate(500_000 - last.len());
        bytes.resize(1_000_000, 0);
        std::fs::write(&path, &bytes).unwrap();
        let inside = Inside::open(&path, keys(), 1_000_000).unwrap();
        assert_eq!(inside.end, (3 * block + 5 + behind.len()) as u64, "the next line goes behind the last one");
    }

    #[test]
    fn a_crash_anywhere_in_a_compaction_loses_nothing_that_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.journal");
        let mut inside = Inside::open(&path, keys(), 20_000).unwrap();
        let names: Vec<_> = (0..12).map(|number| format!("i{number}")).collect();
        for name in &names {
            inside.append(vec![intent(name)]).unwrap();
        }
        let before = std::fs::read(&path).unwrap();
        inside.forget(&names[..11].iter().map(|name| name.as_str().into()).collect()).unwrap();
        let after = std::fs::read(&path).unwrap();
        assert_ne!(inside.start, 0, "it moved over");
        let half = 10_000;
        // First the other half is written, then this one is wiped: each may stop at any byte.
        for cut in (0..half).step_by(97) {
            let copied = [&before[..half], &after[half..half + cut], &before[half + cut..]].concat();
            let wiped = [&after[..cut], &before[cut..half], &after[half..]].concat();
            for bytes in [copied, wiped] {
                std::fs::write(&path, &bytes).unwrap();
                let mut inside = Inside::open(&path, keys(), 20_000).unwrap();
                assert!(ids(&inside).contains(&"i11"), "{cut}");
                inside.append(vec![intent("next")]).unwrap();
                let again = Inside::open(&path, keys(), 20_000).unwrap();
                assert!(ids(&again).contains(&"i11") && ids(&again).contains(&"next"), "{cut}: {:?}", ids(&again));
            }
        }
    }
}
