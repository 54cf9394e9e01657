//! What becomes of a SQLite store whose disk or file fails it in mid-run: a clear word, nothing
//! half-written, and on it goes when the fault is over.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use rosterd::model::account::AccountState;
use rosterd::model::history::SeenAccount;
use rosterd::store::Store;
use rosterd::store::StoreError;
use rosterd::store::Write;
use rosterd::stores::sqlite::SqliteStore;
use sqlx::Connection;
use sqlx::SqliteConnection;

use crate::store::sqlite::commit;
use crate::store::sqlite::five_events;
use crate::store::sqlite::fresh;
use crate::store::sqlite::open;
use crate::store::sqlite::refusal;
use crate::store::sqlite::tamper;
use crate::store::suite::event;
use crate::store::suite::link;
use crate::store::suite::space;
use crate::support::process::until;

/// What a commit is told while the store is away.
async fn away(store: &SqliteStore) -> String {
    let write = Write::Link(space(), link("u-9", "a-9"));
    let error = store.commit(vec![write], store.fence()).await.expect_err("it was committed");
    assert!(error.is_away(), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_file_deleted_in_mid_run_is_noticed_by_the_next_read_and_the_next_commit() {
    let (store, folder) = fresh().await;
    commit(&store, vec![Write::Link(space(), link("u-1", "a-1"))]).await;
    fs::remove_file(folder.path().join("rosterd.db")).unwrap();
    let text = away(&store).await;
    assert!(text.contains("was deleted or replaced") && text.contains("rosterd enforce TARGET"), "{text}");
    let read = store.links(&space()).await.unwrap_err();
    assert!(read.is_away() && read.to_string().contains("was deleted or replaced"), "{read}");
}

#[tokio::test]
async fn a_copy_put_in_the_files_place_in_mid_run_is_not_taken_for_it() {
    let (store, folder) = fresh().await;
    let path = folder.path().join("rosterd.db");
    commit(&store, vec![Write::Link(space(), link("u-1", "a-1"))]).await;
    fs::copy(&path, folder.path().join("copy")).unwrap();
    fs::rename(folder.path().join("copy"), &path).unwrap();
    assert!(away(&store).await.contains("was deleted or replaced"));
}

#[tokio::test]
async fn a_store_whose_write_ahead_log_was_deleted_takes_nothing_more() {
    let (store, folder) = fresh().await;
    fs::remove_file(folder.path().join("rosterd.db-wal")).unwrap();
    assert!(away(&store).await.contains("rosterd.db-wal"));
}

#[tokio::test]
async fn a_folder_moved_away_and_put_back_is_gone_on_with() {
    let (store, folder) = fresh().await;
    let (here, there) = (folder.path().join("state"), folder.path().join("elsewhere"));
    fs::create_dir(&here).unwrap();
    let inside = open(&here).await.unwrap();
    fs::rename(&here, &there).unwrap();
    assert!(away(&inside).await.contains("was deleted or replaced"));
    fs::rename(&there, &here).unwrap();
    commit(&inside, vec![Write::Link(space(), link("u-1", "a-1"))]).await;
    assert_eq!(inside.links(&space()).await.unwrap().len(), 1);
    drop(store);
}

#[tokio::test]
async fn a_file_that_was_cut_off_gets_a_clear_word() {
    let (store, folder) = fresh().await;
    five_events(&store).await;
    store.close().await;
    let file = fs::OpenOptions::new().write(true).open(folder.path().join("rosterd.db")).unwrap();
    file.set_len(file.metadata().unwrap().len() - 4096).unwrap();
    let text = refusal(folder.path()).await;
    assert!(text.contains("was cut off") && text.contains("put back a copy"), "{text}");
}

/// `kill -9` in the middle of a transaction that made or upgraded it: SQLite's own journal puts it back.
#[tokio::test]
async fn a_file_that_a_killed_process_left_half_written_is_put_back_by_its_journal() {
    let (store, folder) = fresh().await;
    five_events(&store).await;
    store.close().await;
    tamper(folder.path(), "PRAGMA journal_mode = DELETE").await;
    let url = format!("sqlite://{}", folder.path().join("rosterd.db").display());
    let mut killed = SqliteConnection::connect(&url).await.unwrap();
    let spills = "PRAGMA cache_size = 1; BEGIN; CREATE TABLE half (x);
        WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 200)
        INSERT INTO half SELECT randomblob(4000) FROM n";
    sqlx::raw_sql(spills).execute(&mut killed).await.unwrap();
    let there = tempfile::tempdir().unwrap();
    for name in ["rosterd.db", "rosterd.db-journal", "rosterd.keys", "rosterd.heads"] {
        fs::copy(folder.path().join(name), there.path().join(name)).unwrap();
    }
    drop(killed);
    let file = fs::OpenOptions::new().write(true).open(there.path().join("rosterd.db")).unwrap();
    // As where the header was written and the pages were not.
    std::os::unix::fs::FileExt::write_all_at(&file, &100_000_u32.to_be_bytes(), 28).unwrap();
    let store = open(there.path()).await.unwrap();
    assert_eq!(store.audit(Some(&"crm".into()), 0, 10).await.unwrap().len(), 5);
}

/// Overwrites all pages but the first of a file that is open.
fn overwrite(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    file.write_all_at(&vec![0xa5; length - 4096], 4096).unwrap();
}

#[tokio::test]
async fn bytes_overwritten_in_mid_file_get_a_clear_word() {
    let (store, folder) = fresh().await;
    commit(&store, vec![Write::Link(space(), link("u-1", "a-1"))]).await;
    store.close().await;
    overwrite(&folder.path().join("rosterd.db"));
    let text = refusal(folder.path()).await;
    assert!(text.contains("is damaged") && text.contains("put back a copy"), "{text}");
}

/// Until what is written now has a later time than the file: kernels before 6.13 keep it in ticks of
/// milliseconds, and nobody copies a store in the one in which it was last written.
fn a_tick_passes(file: &Path) {
    let written = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let beside = file.with_file_name("tick");
    until("a tick", || {
        fs::write(&beside, "").unwrap();
        written(&beside) > written(file)
    });
}

#[tokio::test]
async fn bytes_put_into_the_file_in_mid_run_are_not_believed_by_reads_or_commits() {
    let (store, folder) = fresh().await;
    commit(&store, vec![Write::Link(space(), link("u-1", "a-1"))]).await;
    store.close().await;
    let (file, copy) = (folder.path().join("rosterd.db"), folder.path().join("copy"));
    fs::copy(&file, &copy).unwrap();
    let store = open(folder.path()).await.unwrap();
    commit(&store, vec![Write::Link(space(), link("u-2", "a-2"))]).await;
    // As `cp` does: the very file, with other bytes.
    a_tick_passes(&file);
    fs::copy(&copy, &file).unwrap();
    let read = store.tokens().await.unwrap_err();
    assert!(read.is_away() && read.to_string().contains("was written by another program"), "{read}");
    let text = away(&store).await;
    assert!(text.contains("put back the newest copy") && text.contains("rosterd enforce TARGET"), "{text}");
    let verdict = store.verify_audit().await.unwrap_err();
    assert!(verdict.is_away(), "{verdict}");
}

#[tokio::test]
async fn moving_the_log_into_the_file_is_no_other_programs_doing() {
    let (store, folder) = fresh().await;
    let file = folder.path().join("rosterd.db");
    let before = fs::metadata(&file).unwrap().len();
    // Until SQLite has done it several times, within our own commits.
    let mut round = 0;
    while fs::metadata(&file).unwrap().len() < before + 4_000_000 {
        let account = |number: usize| format!("{}-{round}-{number}", "a".repeat(200));
        let links = (0..500).map(|number| link(&format!("u-{round}-{number}"), &account(number)));
        let links = links.map(|link| Write::Link(space(), link));
        commit(&store, links.collect()).await;
        assert_eq!(store.tokens().await.unwrap().len(), 0);
        round += 1;
        assert!(round < 500, "the log is never moved");
    }
}

#[tokio::test]
async fn a_log_that_another_program_moves_into_the_file_is_gone_on_with_and_a_copy_is_told_still() {
    let (store, folder) = fresh().await;
    commit(&store, vec![Write::Link(space(), link("u-0", "a-0"))]).await;
    store.close().await;
    let (file, copy) = (folder.path().join("rosterd.db"), folder.path().join("copy"));
    fs::copy(&file, &copy).unwrap();
    let store = open(folder.path()).await.unwrap();
    let moving =
        ["PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(RESTART)", "PRAGMA wal_checkpoint(TRUNCATE)"];
    for (number, sql) in moving.into_iter().cycle().take(12).enumerate() {
        let written = || fs::metadata(&file).unwrap().modified().unwrap();
        commit(&store, vec![Write::Link(space(), link(&format!("u-{number}"), &format!("a-{number}")))]).await;
        let before = written();
        a_tick_passes(&file);
        tamper(folder.path(), sql).await;
        assert!(written() > before, "the file was written");
        assert_eq!(store.links(&space()).await.unwrap().len(), number + 1, "{sql}");
    }
    a_tick_passes(&file);
    fs::copy(&copy, &file).unwrap();
    assert!(away(&store).await.contains("was written by another program"));
}

#[tokio::test]
async fn each_opening_leaves_a_file_that_came_further_than_any_copy_of_it_from_before() {
    let (store, folder) = fresh().await;
    store.close().await;
    let counter = || fs::read(folder.path().join("rosterd.db")).unwrap()[24..28].to_vec();
    for _ in 0..3 {
        let before = counter();
        let store = open(folder.path()).await.unwrap();
        assert!(counter() > before, "before anything is committed");
        store.close().await;
    }
}

#[tokio::test]
async fn a_file_that_another_program_locks_gets_a_clear_word_and_is_gone_on_with_when_it_lets_go() {
    let (store, folder) = fresh().await;
    let url = format!("sqlite://{}", folder.path().join("rosterd.db").display());
    let mut other = SqliteConnection::connect(&url).await.unwrap();
    let locked = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let text = away(&store).await;
    assert!(text.contains("is locked by another program") && text.contains("close that program"), "{text}");
    locked.rollback().await.unwrap();
    commit(&store, vec![Write::Link(space(), link("u-1", "a-1"))]).await;
}

/// A file system of its own, which ends with the test; `None`, said on standard error, where this
/// user may mount none.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(kilobytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={kilobytes}k");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|done| done.status.success()) {
            return Some(Self(folder));
        }
        // Not `eprintln!`: the test runner would swallow it, and a skip must be seen.
        let said = b"skipped: a full disk needs a small file system, and only the superuser may mount one\n";
        std::io::stderr().write_all(said).unwrap();
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: SQLite's thread may hold the file for a moment yet.
        Command::new("umount").arg("--lazy").arg(self.0.path()).status().ok();
    }
}

#[tokio::test]
async fn a_full_disk_gets_a_clear_word_loses_nothing_and_is_gone_on_with_once_there_is_room() {
    let Some(disk) = SmallDisk::new(1024) else { return };
    let folder = disk.0.path();
    let store = open(folder).await.unwrap();
    let rows = |from: usize| {
        let row = |number: usize| SeenAccount {
            account: format!("a-{number}").into(),
            user_name: Some("x".repeat(200)),
            state: AccountState::Active,
            record: None,
        };
        Write::Seen(space(), (from..from + 200).map(row).collect())
    };
    commit(&store, vec![rows(0), Write::Audit(event("before", Some("crm")))]).await;
    fs::write(folder.join("ballast"), vec![0; 512 * 1024]).unwrap();
    let mut from = 200;
    let text = loop {
        let writes = vec![rows(from), Write::Audit(event("during", Some("crm")))];
        match store.commit(writes, store.fence()).await {
            Ok(()) => from += 200,
            Err(error) => break error,
        }
        assert!(from < 20_000, "the disk never filled up");
    };
    assert!(
        matches!(&text, StoreError::Unavailable(text) if text.contains("the disk is full; free some space")),
        "{text}"
    );
    let filter = rosterd::store::AccountFilter { limit: usize::MAX, ..rosterd::store::AccountFilter::default() };
    assert_eq!(store.seen(&space(), &filter).await.unwrap().len(), from, "half a commit was kept");
    fs::remove_file(folder.join("ballast")).unwrap();
    commit(&store, vec![rows(from), Write::Audit(event("after", Some("crm")))]).await;
    assert_eq!(store.verify_audit().await.unwrap(), Vec::<String>::new());
}
