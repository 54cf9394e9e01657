//! The journal as a file beside the store, of a fixed size that is set aside when it is made.
//!
//! One line an intent: sealed with the store's key, which authenticates it, and in base64. The first
//! line that does not open ends the journal.
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

/// Room for some thousand removals: an outage in which more fall due is one that people look at.
const SIZE: u64 = 4 * 1024 * 1024;
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
    size: u64,
    /// Where the next line goes.
    end: u64,
    live: Vec<Intent>,
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
        let (live, end) = read(&mut file, &keys)?;
        Ok(Self { file, keys, size: size.max(known), end, live })
    }

    fn append(&mut self, intents: Vec<Intent>) -> io::Result<()> {
        let mut lines = String::new();
        for intent in &intents {
            let sealed = self.keys.seal(CONTEXT, &serde_json::to_vec(intent)?).map_err(io::Error::other)?;
            STANDARD.encode_string(sealed, &mut lines);
            lines.push('\n');
        }
        let after = self.end + u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if after > self.size {
            return Err(io::Error::other("it is full until the store is back"));
        }
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(lines.as_bytes())?;
        self.file.sync_data()?;
        self.end = after;
        self.live.extend(intents);
        Ok(())
    }

    fn forget(&mut self, intents: &BTreeSet<IntentId>) -> io::Result<()> {
        self.live.retain(|intent| !intents.contains(&intent.id));
        if self.live.is_empty() && self.end > 0 {
            self.file.seek(SeekFrom::Start(0))?;
            fill(&mut self.file, self.end)?;
            self.file.sync_data()?;
            self.end = 0;
        }
        Ok(())
    }
}

fn fill(file: &mut File, mut length: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    while length > 0 {
        let part = usize::try_from(length).unwrap_or(ZEROS.len()).min(ZEROS.len());
        file.write_all(ZEROS.get(..part).unwrap_or(&ZEROS))?;
        length -= u64::try_from(part).unwrap_or(length);
    }
    Ok(())
}

/// The intents of a journal, and where they end.
fn read(file: &mut File, keys: &Keys) -> io::Result<(Vec<Intent>, u64)> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    let (mut intents, mut end) = (Vec::new(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(intent) = parse(line, keys) else { break };
        intents.push(intent);
        end += u64::try_from(line.len()).unwrap_or_default();
    }
    Ok((intents, end))
}

fn parse(line: &[u8], keys: &Keys) -> Option<Intent> {
    let sealed = STANDARD.decode(line.strip_suffix(b"\n")?).ok()?;
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
    fn a_line_that_was_cut_off_or_changed_ends_the_journal_and_is_written_over() {
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
        let mut inside = Inside::open(&path, keys(), 1_500).unwrap();
        let fits = (0..10).take_while(|number| inside.append(vec![intent(&format!("i{number}"))]).is_ok()).count();
        assert!((1..=4).contains(&fits), "{fits}");
        assert!(inside.append(vec![intent("z")]).unwrap_err().to_string().contains("full"));
        assert_eq!(Inside::open(&path, keys(), 1_500).unwrap().live.len(), fits);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1_500);
    }
}
