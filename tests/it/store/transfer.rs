//! A store moved to another one by a file.

use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use rosterd::model::change::Cause;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::history::OutcomeResult;
use rosterd::secrets::keys::Keys;
use rosterd::store::CauseKey;
use rosterd::store::Store;
use rosterd::store::StoreError;
use rosterd::store::Write;
use rosterd::store::transfer::TABLES;
use rosterd::stores::sqlite::SqliteStore;
use sqlx::Connection;
use sqlx::SqliteConnection;

use crate::store::suite::accepted;
use crate::store::suite::at;
use crate::store::suite::event;
use crate::store::suite::intent;
use crate::store::suite::link;
use crate::store::suite::put_request;
use crate::store::suite::refused;
use crate::store::suite::space;
use crate::store::suite::user;

/// The store of a folder, under the keys of `keys`.
async fn open(folder: &Path, keys: &Path) -> SqliteStore {
    let keys = Arc::new(Keys::load_or_make(&keys.join("rosterd.keys")).unwrap().0);
    SqliteStore::open(folder.join("rosterd.db"), keys, "test").await.unwrap()
}

fn enforce(target: &str) -> Decision {
    Decision {
        target: Some(target.into()),
        digest: Some("d".into()),
        ..Decision::new(DecisionKind::Enforce, "ada", at(1))
    }
}

async fn fill(store: &impl Store) {
    let users: Vec<_> = (0..500).map(|number| user(&format!("u-{number}"), "agent")).collect();
    let cause = CauseKey { record: "u-1".into(), target: "crm".into(), entitlement: None };
    let writes = vec![
        Write::Link(space(), link("u-1", "a-1")),
        Write::Link(space(), link("u-2", "a-2")),
        Write::Intent(intent("i-1", "u-1", at(1))),
        Write::Intent(intent("i-2", "u-2", at(2))),
        Write::Outcome("i-1".into(), OutcomeResult::Refused("no".to_owned()), at(3)),
        Write::Snapshot(accepted(1, 500, at(0), &users)),
        Write::Cause(cause, Some(Cause::Inferred)),
        Write::Decision(enforce("crm")),
        Write::Owed(space(), "u-2".into(), Some(at(4))),
        put_request(space(), &refused("u-9")),
        Write::Audit(event("intent", Some("crm"))),
        Write::Audit(event("snapshot", None)),
    ];
    store.commit(writes, store.fence()).await.unwrap();
}

/// What came over is what was there, and is gone on with.
async fn check_filled(store: &impl Store) {
    assert_eq!(store.links(&space()).await.unwrap().len(), 2);
    assert_eq!(store.open_intents(&space()).await.unwrap(), vec![intent("i-2", "u-2", at(2))]);
    let history = store.intents_of(&space(), &"u-1".into(), 9).await.unwrap();
    assert_eq!(history, vec![(intent("i-1", "u-1", at(1)), Some(OutcomeResult::Refused("no".to_owned())))]);
    assert_eq!(store.snapshot().await.unwrap().unwrap().snapshot.users.len(), 500);
    assert_eq!(store.causes(&"crm".into()).await.unwrap().len(), 1);
    assert_eq!(store.decisions().await.unwrap(), vec![enforce("crm")]);
    assert_eq!(store.owed(&space()).await.unwrap().len(), 1);
    // Who was refused stays so.
    assert_eq!(store.requests(&"crm".into()).await.unwrap(), [(space(), refused("u-9"))]);
    assert_eq!(store.doubt(&"crm".into()).await.unwrap(), None);
    assert_eq!(store.verify_audit().await.unwrap(), Vec::<String>::new());
    let writes = vec![
        Write::Intent(intent("i-3", "u-1", at(9))),
        Write::Decision(enforce("erp")),
        Write::Link(rosterd::model::link::Space { realm: "new".into(), ..space() }, link("u-1", "a-1")),
        Write::Audit(event("later", Some("crm"))),
    ];
    store.commit(writes, store.fence()).await.unwrap();
    assert_eq!(store.audit(Some(&"crm".into()), 2, 9).await.unwrap()[0].event.kind, "later");
    assert_eq!(store.verify_audit().await.unwrap(), Vec::<String>::new());
}

async fn exported(store: &SqliteStore, folder: &Path) -> std::path::PathBuf {
    let path = folder.join("export");
    let rows = store.export(fs::File::create(&path).unwrap()).await.unwrap();
    assert!(rows > 10, "{rows}");
    path
}

fn input(path: &Path) -> BufReader<fs::File> {
    BufReader::new(fs::File::open(path).unwrap())
}

#[tokio::test]
async fn a_store_comes_over_whole_with_open_intents_decisions_and_a_sound_audit_log() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(from.path(), from.path()).await;
    fill(&store).await;
    let file = exported(&store, from.path()).await;
    store.close().await;
    fs::copy(from.path().join("rosterd.keys"), to.path().join("rosterd.keys")).unwrap();
    open(to.path(), to.path()).await.import(input(&file)).await.unwrap();
    let moved = open(to.path(), to.path()).await;
    assert_eq!(moved.warnings(), Vec::<String>::new());
    check_filled(&moved).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_store_moves_from_a_file_to_a_database_and_back() {
    use rosterd::stores::postgres::PostgresStore;
    let Some(server) = crate::support::postgres::Server::shared() else { return };
    let (from, back) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(from.path(), from.path()).await;
    fill(&store).await;
    let file = exported(&store, from.path()).await;
    store.close().await;
    let url = server.database().await;
    let database = async || {
        let keys = Arc::new(Keys::load(&from.path().join("rosterd.keys")).unwrap());
        // The heads of the file stand where those of the database will: it is the same installation.
        PostgresStore::open(&url, PostgresStore::heads_beside(&keys, "".into()), keys, "test").await.unwrap()
    };
    database().await.import(input(&file)).await.unwrap();
    let moved = database().await;
    assert_eq!(moved.warnings(), Vec::<String>::new());
    let again = from.path().join("again");
    moved.export(fs::File::create(&again).unwrap()).await.unwrap();
    check_filled(&moved).await;
    moved.close().await;
    fs::copy(from.path().join("rosterd.keys"), back.path().join("rosterd.keys")).unwrap();
    open(back.path(), back.path()).await.import(input(&again)).await.unwrap();
    check_filled(&open(back.path(), back.path()).await).await;
}

#[tokio::test]
async fn a_file_that_is_not_whole_or_not_ours_leaves_the_store_empty() {
    let from = tempfile::tempdir().unwrap();
    let store = open(from.path(), from.path()).await;
    fill(&store).await;
    let file = exported(&store, from.path()).await;
    let bytes = fs::read(&file).unwrap();
    let mut altered = bytes.clone();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    for (bytes, expected) in
        [(&bytes[..last], "was cut off"), (&altered, "altered or damaged"), (b"PK", "is no export")]
    {
        let to = tempfile::tempdir().unwrap();
        let wrong = to.path().join("wrong");
        fs::write(&wrong, bytes).unwrap();
        let error = open(to.path(), from.path()).await.import(input(&wrong)).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        let empty = open(to.path(), from.path()).await;
        assert_eq!(empty.links(&space()).await.unwrap().len(), 0);
        assert_eq!(empty.chains().await.unwrap(), Vec::new());
    }
    let to = tempfile::tempdir().unwrap();
    let error = open(to.path(), to.path()).await.import(input(&file)).await.unwrap_err();
    assert!(error.to_string().contains("written with other keys"), "{error}");
}

#[tokio::test]
async fn a_store_that_remembers_something_takes_no_other_one_in() {
    let from = tempfile::tempdir().unwrap();
    let store = open(from.path(), from.path()).await;
    fill(&store).await;
    let file = exported(&store, from.path()).await;
    let Err(StoreError::Refused(text)) = store.import(input(&file)).await else { panic!("taken") };
    assert!(text.contains("remembers something already") && text.contains("name another one"), "{text}");
    check_filled(&open(from.path(), from.path()).await).await;
}

#[tokio::test]
async fn every_table_of_a_store_is_moved() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), folder.path()).await.close().await;
    let url = format!("sqlite://{}", folder.path().join("rosterd.db").display());
    let mut db = SqliteConnection::connect(&url).await.unwrap();
    let sql = "SELECT m.name, p.name FROM sqlite_schema m JOIN pragma_table_info(m.name) p WHERE m.type = 'table'
        AND m.name NOT LIKE 'sqlite%' AND m.name <> 'lease' ORDER BY m.name, p.name";
    let columns: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut db).await.unwrap();
    let moved = TABLES.iter().flat_map(|table| table.columns.iter().map(|(column, _)| (table.name, *column)));
    let mut moved: Vec<_> = moved.map(|(table, column)| (table.to_owned(), column.to_owned())).collect();
    moved.sort();
    assert_eq!(moved, columns, "a table or column of the schema is missing in `store::transfer::TABLES`");
}
