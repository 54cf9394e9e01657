//! The store in one SQLite file.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rosterd::model::account::AccountState;
use rosterd::model::history::SeenAccount;
use rosterd::model::invite::InviteFilter;
use rosterd::model::invite::InviteState;
use rosterd::model::message::Content;
use rosterd::model::message::Event;
use rosterd::model::message::MessageFilter;
use rosterd::model::message::MessageWrite;
use rosterd::model::message::Posted;
use rosterd::secrets::keys::Keys;
use rosterd::store::AccountFilter;
use rosterd::store::Store;
use rosterd::store::StoreError;
use rosterd::store::Write;
use rosterd::store::outbox::invite_parameters;
use rosterd::store::outbox::invites;
use rosterd::stores::sqlite::SqliteStore;
use sqlx::Connection;
use sqlx::SqliteConnection;
use tempfile::TempDir;

use crate::store::suite::accepted;
use crate::store::suite::at;
use crate::store::suite::event;
use crate::store::suite::intent;
use crate::store::suite::link;
use crate::store::suite::seen;
use crate::store::suite::space;
use crate::store::suite::store_suite;
use crate::store::suite::user;

pub(crate) async fn fresh() -> (SqliteStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    (store, folder)
}

/// The store of a folder, under the keys of that folder.
pub(crate) async fn open(folder: &Path) -> Result<SqliteStore, StoreError> {
    let (keys, _) = Keys::load_or_make(&folder.join("rosterd.keys")).unwrap();
    SqliteStore::open(folder.join("rosterd.db"), Arc::new(keys), "test").await
}

pub(crate) async fn refusal(folder: &Path) -> String {
    match open(folder).await {
        Ok(_) => panic!("the store was opened"),
        Err(error) => error.to_string(),
    }
}

/// What another hand does to the file.
pub(crate) async fn tamper(folder: &Path, sql: &'static str) {
    let url = format!("sqlite://{}", folder.join("rosterd.db").display());
    let mut db = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

pub(crate) async fn commit(store: &SqliteStore, writes: Vec<Write>) {
    store.commit(writes, store.fence()).await.unwrap();
}

pub(crate) async fn five_events(store: &SqliteStore) {
    for kind in ["one", "two", "three", "four", "five"] {
        commit(store, vec![Write::Audit(event(kind, Some("crm")))]).await;
    }
}

mod suite {
    use super::*;

    async fn made() -> Option<(SqliteStore, TempDir)> {
        Some(fresh().await)
    }

    store_suite!(made);
}

#[tokio::test]
async fn a_second_opening_is_refused_and_names_the_holder() {
    let (store, folder) = fresh().await;
    let Err(StoreError::Held(text)) = open(folder.path()).await else { panic!("opened twice") };
    assert!(text.contains(&format!("process {} (test)", std::process::id())), "{text}");
    assert!(text.contains("--server"), "{text}");
    let link_to = folder.path().join("other.db");
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path().join("rosterd.db"), &link_to).unwrap();
    let keys = Arc::new(Keys::load(&folder.path().join("rosterd.keys")).unwrap());
    assert!(matches!(SqliteStore::open(&link_to, keys, "test").await, Err(StoreError::Held(_))), "by another name");
    store.close().await;
    open(folder.path()).await.unwrap();
}

#[tokio::test]
async fn each_opening_has_a_higher_fence() {
    let (store, folder) = fresh().await;
    let first = store.fence().0;
    store.close().await;
    assert_eq!(open(folder.path()).await.unwrap().fence().0, first + 1);
}

#[tokio::test]
async fn a_holder_that_was_overtaken_writes_nothing_more() {
    let (store, folder) = fresh().await;
    commit(&store, vec![Write::Link(space(), link("u-1", "a-1"))]).await;
    tamper(folder.path(), "UPDATE lease SET fence = fence + 1").await;
    let late = store.commit(vec![Write::Link(space(), link("u-2", "a-2"))], store.fence()).await;
    let Err(StoreError::Fenced(text)) = late else { panic!("{late:?}") };
    assert!(text.contains("stop this process"), "{text}");
    assert_eq!(store.links(&space()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_crash() {
    let (store, folder) = fresh().await;
    let snapshot = accepted(1, 3, at(0), &[user("u-1", "x"), user("u-2", "y")]);
    let writes = vec![
        Write::Link(space(), link("u-1", "a-1")),
        Write::Intent(intent("i-1", "u-1", at(1))),
        Write::Snapshot(snapshot.clone()),
        Write::Audit(event("intent", Some("crm"))),
    ];
    commit(&store, writes).await;
    // What a killed process leaves: the files as they are, the write-ahead log not yet moved over.
    let left = tempfile::tempdir().unwrap();
    for name in ["rosterd.db", "rosterd.db-wal", "rosterd.keys", "rosterd.heads"] {
        fs::copy(folder.path().join(name), left.path().join(name)).unwrap();
    }
    let after = open(left.path()).await.unwrap();
    assert_eq!(after.warnings(), Vec::<String>::new());
    assert_eq!(after.link(&space(), &"u-1".into()).await.unwrap(), Some(link("u-1", "a-1")));
    assert_eq!(after.open_intents(&space()).await.unwrap(), vec![intent("i-1", "u-1", at(1))]);
    assert_eq!(after.snapshot().await.unwrap(), Some(snapshot));
    assert_eq!(after.verify_audit().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_snapshot_that_was_changed_in_parts_is_the_same_after_a_restart() {
    let (store, folder) = fresh().await;
    let mut users: Vec<_> = (0..3_000).map(|number| user(&format!("u-{number}"), "agent")).collect();
    commit(&store, vec![Write::Snapshot(accepted(1, 1, at(0), &users))]).await;
    users[5] = user("u-5", "lead");
    users.truncate(2_500);
    let second = accepted(2, 1, at(1), &users);
    commit(&store, vec![Write::Snapshot(second.clone())]).await;
    store.close().await;
    let store = open(folder.path()).await.unwrap();
    assert_eq!(store.snapshot().await.unwrap(), Some(second));
    store.close().await;
    tamper(folder.path(), "DELETE FROM snapshot_part WHERE bucket = (SELECT max(bucket) FROM snapshot_part)").await;
    let store = open(folder.path()).await.unwrap();
    let error = store.snapshot().await.unwrap_err().to_string();
    assert!(error.contains("not whole"), "{error}");
}

#[tokio::test]
async fn nothing_personal_of_snapshots_and_intents_is_readable_in_the_files() {
    let (store, folder) = fresh().await;
    let mut secretive = intent("i-1", "u-1", at(1));
    secretive.change.reason = "Lovelace moved".into();
    let writes = vec![Write::Snapshot(accepted(1, 1, at(0), &[user("u-1", "x")])), Write::Intent(secretive)];
    commit(&store, writes).await;
    for name in ["rosterd.db", "rosterd.db-wal"] {
        let bytes = fs::read(folder.path().join(name)).unwrap();
        assert!(!bytes.windows(8).any(|window| window == b"Lovelace"), "{name}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (store, folder) = fresh().await;
    commit(&store, vec![Write::Link(space(), link("u-1", "a-1"))]).await;
    for name in ["rosterd.db", "rosterd.db-wal", "rosterd.keys"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_test_clock_stands_still_while_the_store_works() {
    let (store, _folder) = fresh().await;
    let before = tokio::time::Instant::now();
    let work = commit(&store, vec![Write::Link(space(), link("u-1", "a-1"))]);
    tokio::time::timeout(std::time::Duration::from_millis(1), work).await.unwrap();
    assert_eq!(tokio::time::Instant::now(), before);
}

#[tokio::test]
async fn readers_and_the_writer_work_at_the_same_time() {
    let (store, _folder) = fresh().await;
    let write = async {
        for number in 0..40 {
            commit(&store, vec![Write::Intent(intent(&format!("i-{number}"), "u-1", at(number)))]).await;
        }
    };
    let read = async || {
        let mut last = 0;
        while last < 40 {
            let now = store.open_intents(&space()).await.unwrap().len();
            assert!(now >= last, "a commit was unseen again");
            last = now;
            let counted = store.counted(&space(), at(0)).await.unwrap();
            assert!(counted.len() <= 1, "one account, however many intents");
        }
    };
    tokio::join!(write, read(), read(), read(), read(), read());
}

#[tokio::test]
async fn a_file_that_is_no_store_gets_a_clear_word_and_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rosterd.db");
    fs::write(&path, "these are notes, not a database").unwrap();
    let text = refusal(folder.path()).await;
    assert!(text.contains("is not a database") && text.contains("move this one away"), "{text}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "these are notes, not a database");
    fs::remove_file(&path).unwrap();
    let mut db = SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap();
    sqlx::raw_sql("CREATE TABLE songs (title TEXT)").execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    let before = fs::read(&path).unwrap();
    let text = refusal(folder.path()).await;
    assert!(text.contains("another program"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_file_of_a_newer_rosterd_is_refused() {
    let (store, folder) = fresh().await;
    store.close().await;
    tamper(folder.path(), "PRAGMA user_version = 99").await;
    let text = refusal(folder.path()).await;
    assert!(text.contains("newer rosterd (schema 99, this one knows "), "{text}");
}

#[tokio::test]
async fn a_damaged_file_gets_a_clear_word() {
    let (store, folder) = fresh().await;
    commit(&store, vec![Write::Link(space(), link("u-1", "a-1"))]).await;
    store.close().await;
    tamper(folder.path(), "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let path = folder.path().join("rosterd.db");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100..].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let text = refusal(folder.path()).await;
    assert!(text.contains("is damaged") && text.contains("put back a copy"), "{text}");
}

#[tokio::test]
async fn a_read_only_file_gets_a_clear_word() {
    let (store, folder) = fresh().await;
    store.close().await;
    let path = folder.path().join("rosterd.db");
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).unwrap();
    let text = refusal(folder.path()).await;
    assert!(text.contains("is read-only") && text.contains("write the file and its folder"), "{text}");
}

#[tokio::test]
async fn a_folder_that_is_not_there_and_one_in_place_of_the_file_get_a_clear_word() {
    let folder = tempfile::tempdir().unwrap();
    let keys = || Arc::new(Keys::generate().unwrap());
    let missing = SqliteStore::open(folder.path().join("no/rosterd.db"), keys(), "test").await.err().unwrap();
    assert!(missing.to_string().contains("does not exist; make it"), "{missing}");
    let in_place = SqliteStore::open(folder.path(), keys(), "test").await.err().unwrap();
    assert!(in_place.to_string().contains("is a folder; name a file"), "{in_place}");
}

#[tokio::test]
async fn other_keys_do_not_open_the_store() {
    let (store, folder) = fresh().await;
    store.close().await;
    fs::remove_file(folder.path().join("rosterd.keys")).unwrap();
    let text = refusal(folder.path()).await;
    assert!(text.contains("written with other keys; put its `rosterd.keys` back"), "{text}");
}

#[track_caller]
pub(crate) fn assert_found(found: &[String], expected: &str) {
    assert!(found.iter().any(|text| text.contains(expected)), "{expected:?} is not in {found:?}");
}

/// What one tampering statement leads the check to say, before and after the chain went on.
async fn check_tampering(sql: &'static str, expected: &str) {
    let (store, folder) = fresh().await;
    five_events(&store).await;
    assert_eq!(store.verify_audit().await.unwrap(), Vec::<String>::new());
    tamper(folder.path(), sql).await;
    assert_found(&store.verify_audit().await.unwrap(), expected);
    five_events(&store).await;
    assert!(!store.verify_audit().await.unwrap().is_empty(), "{sql} was covered up by the events that followed");
}

#[tokio::test]
async fn audit_events_rewritten_reordered_or_cut_are_found() {
    check_tampering(
        "UPDATE audit SET event = replace(event, 'u-1', 'u-2') WHERE seq = 2",
        "event 2 or its hash was rewritten",
    )
    .await;
    check_tampering("DELETE FROM audit WHERE seq = 3", "events 3 to 3 are missing").await;
    check_tampering("DELETE FROM audit WHERE seq = 5", "events were cut off").await;
    check_tampering(
        "UPDATE audit SET seq = 99 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3;
         UPDATE audit SET seq = 3 WHERE seq = 99",
        "was rewritten",
    )
    .await;
    check_tampering(
        "DELETE FROM audit WHERE seq > 3; UPDATE chain SET seq = 3, hash = (SELECT hash FROM audit WHERE seq = 3)",
        "its head is not signed with this installation's key",
    )
    .await;
    check_tampering("DELETE FROM audit; DELETE FROM chain", "was exported and is not in the store").await;
}

#[tokio::test]
async fn tampering_between_two_starts_stays_found_after_the_chain_went_on() {
    let (store, folder) = fresh().await;
    five_events(&store).await;
    store.close().await;
    // The head is cut back to an event that stands, which no key signed; and nobody kept the exported heads.
    let sql =
        "DELETE FROM audit WHERE seq > 3; UPDATE chain SET seq = 3, hash = (SELECT hash FROM audit WHERE seq = 3)";
    tamper(folder.path(), sql).await;
    fs::remove_file(folder.path().join("rosterd.heads")).unwrap();
    let store = open(folder.path()).await.unwrap();
    assert_found(store.warnings(), "not signed with this installation's key");
    assert_found(store.warnings(), "is missing");
    five_events(&store).await;
    store.close().await;
    let store = open(folder.path()).await.unwrap();
    assert_found(&store.verify_audit().await.unwrap(), "at event 4 rosterd noticed");
}

fn copy(from: &Path, to: &Path) -> PathBuf {
    fs::copy(from.join("rosterd.db"), to.join("rosterd.db")).unwrap();
    to.join("rosterd.db")
}

#[tokio::test]
async fn yesterdays_file_put_back_is_found_and_stays_found() {
    let (store, folder) = fresh().await;
    five_events(&store).await;
    store.close().await;
    let yesterday = tempfile::tempdir().unwrap();
    copy(folder.path(), yesterday.path());
    let store = open(folder.path()).await.unwrap();
    five_events(&store).await;
    store.close().await;
    copy(yesterday.path(), folder.path());
    let store = open(folder.path()).await.unwrap();
    assert_found(store.warnings(), "put back to an earlier state");
    assert_found(&store.verify_audit().await.unwrap(), "put back to an earlier state");
    // More events than were lost do not grow over it.
    for number in 0..9 {
        commit(&store, vec![Write::Audit(event(&format!("later {number}"), Some("crm")))]).await;
    }
    assert_found(&store.verify_audit().await.unwrap(), "is not the one whose head was exported");
    store.close().await;
    fs::remove_file(folder.path().join("rosterd.heads")).unwrap();
    open(folder.path()).await.unwrap().close().await;
    let store = open(folder.path()).await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap(), Vec::<String>::new(), "a person moved the exported heads away");
}

#[tokio::test]
async fn a_store_that_was_replaced_by_an_empty_one_is_found() {
    let (store, folder) = fresh().await;
    five_events(&store).await;
    store.close().await;
    fs::remove_file(folder.path().join("rosterd.db")).unwrap();
    let store = open(folder.path()).await.unwrap();
    assert_found(store.warnings(), "was replaced by a new one");
    assert_found(&store.verify_audit().await.unwrap(), "if that was meant, move");
}

#[tokio::test]
async fn a_message_that_cannot_be_opened_keeps_no_other_from_being_read() {
    let (store, folder) = fresh().await;
    let event = |id: &str| {
        let event = Event { kind: "x".to_owned(), subject: None, data: serde_json::Value::Null };
        let posted = Posted::due(id.into(), "ops", at(1), Content::Event(event));
        Write::Message(MessageWrite::Put(Box::new(posted)))
    };
    commit(&store, vec![event("m-1"), event("m-2")]).await;
    store.close().await;
    tamper(folder.path(), "UPDATE outbox SET body = x'00', why = x'00' WHERE id = 'm-1'").await;
    let store = open(folder.path()).await.unwrap();
    let due = Some(("ops".to_owned(), at(5), at(100)));
    let messages = store.messages(&MessageFilter { due, limit: 10, ..MessageFilter::default() }).await.unwrap();
    let said: Vec<_> = messages.iter().map(|it| (it.id.as_str(), it.content.is_some(), it.why.as_deref())).collect();
    let unreadable = Some("the reason cannot be opened by the key of this store");
    assert_eq!(said, [("m-1", false, unreadable), ("m-2", true, None)]);
}

#[tokio::test]
async fn invites_are_found_by_an_index_whatever_is_asked_for() {
    let (store, folder) = fresh().await;
    store.close().await;
    let url = format!("sqlite://{}", folder.path().join("rosterd.db").display());
    let mut db = SqliteConnection::connect(&url).await.unwrap();
    let all = InviteFilter::default();
    let (target, record) = (Some("crm".into()), Some("u-1".into()));
    let filters = [
        InviteFilter { state: Some(InviteState::Sent), ..all.clone() },
        InviteFilter { token: Some("hash".to_owned()), ..all.clone() },
        InviteFilter { record: record.clone(), ..all.clone() },
        InviteFilter { target: target.clone(), ..all.clone() },
        InviteFilter { target: target.clone(), record, ..all.clone() },
        InviteFilter { target, state: Some(InviteState::Sent), limit: 1, ..all.clone() },
    ];
    for filter in filters {
        let sql = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", invites(&filter)));
        let mut query = sqlx::query_as(sql).bind(1_i64);
        for parameter in invite_parameters(&filter) {
            query = query.bind(parameter);
        }
        let steps: Vec<(i64, i64, i64, String)> = query.fetch_all(&mut db).await.unwrap();
        let steps: Vec<_> = steps.into_iter().map(|(.., step)| step).collect();
        let of_invites = steps.iter().find(|step| step.split(' ').any(|word| word == "i")).unwrap();
        assert!(of_invites.starts_with("SEARCH i USING"), "{filter:?}: {steps:?}");
    }
}

#[tokio::test]
async fn a_listing_that_shows_what_is_known_writes_no_account_anew() {
    let (store, folder) = fresh().await;
    let account = |number: usize| seen(&format!("a-{number:05}"), AccountState::Active, Some("u-1"));
    let mut accounts: Vec<_> = (0..4_000).map(account).collect();
    let log = || fs::metadata(folder.path().join("rosterd.db-wal")).unwrap().len();
    let grows = async |accounts: Vec<SeenAccount>| {
        let before = log();
        store.commit(vec![Write::SeenAll(space(), accounts)], store.fence()).await.unwrap();
        log() - before
    };
    let all = grows(accounts.clone()).await;
    accounts[7] = seen("a-00007", AccountState::Disabled, None);
    let one = grows(accounts.clone()).await;
    assert!((1..all / 10).contains(&one), "{one} bytes of log for one account, {all} for all");
    let filter = AccountFilter { limit: usize::MAX, ..AccountFilter::default() };
    assert_eq!(store.seen(&space(), &filter).await.unwrap(), accounts);
}
