//! The store in a `PostgreSQL` database.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rosterd::model::account::AccountState;
use rosterd::model::history::SeenAccount;
use rosterd::secrets::keys::Keys;
use rosterd::store::AccountFilter;
use rosterd::store::Store;
use rosterd::store::StoreError;
use rosterd::store::Write;
use rosterd::stores::postgres::PostgresStore;
use sqlx::Connection;
use sqlx::PgConnection;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::store::sqlite::assert_found;
use crate::store::suite::accepted;
use crate::store::suite::at;
use crate::store::suite::event;
use crate::store::suite::intent;
use crate::store::suite::link;
use crate::store::suite::space;
use crate::store::suite::store_suite;
use crate::store::suite::user;
use crate::support::postgres::Cut;
use crate::support::postgres::Line;
use crate::support::postgres::Server;
use crate::support::postgres::run;
use crate::support::process::PATIENCE;

/// A store in a database of its own.
struct Place {
    url: String,
    folder: TempDir,
}

impl Place {
    /// `None` where `PostgreSQL` is not installed.
    async fn new() -> Option<Self> {
        Some(Self { url: Server::shared()?.database().await, folder: tempfile::tempdir().unwrap() })
    }

    async fn open(&self) -> Result<PostgresStore, StoreError> {
        open(&self.url, self.folder.path()).await
    }

    async fn refusal(&self) -> String {
        refusal(&self.url, self.folder.path()).await
    }

    async fn tamper(&self, sql: &str) {
        run(&self.url, sql).await;
    }

    fn database(&self) -> &str {
        self.url.rsplit('/').next().unwrap()
    }
}

/// The store at `url`, under the keys of a folder.
async fn open(url: &str, folder: &Path) -> Result<PostgresStore, StoreError> {
    let (keys, _) = Keys::load_or_make(&folder.join("rosterd.keys")).unwrap();
    PostgresStore::open(url, folder.join("rosterd.heads"), Arc::new(keys), "test").await
}

async fn refusal(url: &str, folder: &Path) -> String {
    match open(url, folder).await {
        Ok(_) => panic!("the store was opened"),
        Err(error) => {
            assert!(!error.to_string().contains("pg-canary-word"), "{error}");
            error.to_string()
        }
    }
}

async fn fresh() -> Option<(PostgresStore, Place)> {
    let place = Place::new().await?;
    Some((place.open().await.unwrap(), place))
}

async fn commit(store: &PostgresStore, writes: Vec<Write>) {
    store.commit(writes, store.fence()).await.unwrap();
}

async fn five_events(store: &PostgresStore) {
    for kind in ["one", "two", "three", "four", "five"] {
        commit(store, vec![Write::Audit(event(kind, Some("crm")))]).await;
    }
}

async fn link_one(store: &PostgresStore, record: &str, account: &str) -> Result<(), StoreError> {
    let writes = vec![Write::Link(space(), link(record, account)), Write::Audit(event("link", Some("crm")))];
    store.commit(writes, store.fence()).await
}

/// Ends every other session of the database, and waits until the server has let go of what they held.
const END_SESSIONS: &str = "SET statement_timeout = '2min'; DO $$ BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    WHILE EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type = 'client backend') LOOP
        PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
    END LOOP; END $$";

mod suite {
    use super::*;

    store_suite!(fresh);
}

#[tokio::test]
async fn a_second_process_is_refused_while_the_first_lives_and_takes_over_when_it_died() {
    let Some((store, place)) = fresh().await else { return };
    let Err(StoreError::Held(text)) = place.open().await else { panic!("opened twice") };
    assert!(text.contains(&format!("test, process {}", std::process::id())) && text.contains("--server"), "{text}");
    let first = store.fence().0;
    // Not closed: what the system does when a process dies.
    drop(store);
    let asked = tokio::time::Instant::now();
    let second = loop {
        match place.open().await {
            Ok(store) => break store,
            Err(StoreError::Held(why)) => assert!(asked.elapsed() < PATIENCE, "{why}"),
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(second.fence().0, first + 1);
}

#[tokio::test]
async fn a_later_holders_fence_refuses_the_formers_commits_and_keeps_it_out() {
    let Some((store, place)) = fresh().await else { return };
    link_one(&store, "u-1", "a-1").await.unwrap();
    // The first one's sessions are ended behind its back, as the server does with those of a
    // machine that it believes dead.
    place.tamper(END_SESSIONS).await;
    let second = place.open().await.unwrap();
    let late = link_one(&store, "u-2", "a-2").await;
    let Err(StoreError::Fenced(text)) = late else { panic!("{late:?}") };
    assert!(text.contains("another one took over") && text.contains("stop this process"), "{text}");
    link_one(&second, "u-3", "a-3").await.unwrap();
    assert_eq!(second.links(&space()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_session_that_the_server_ended_is_begun_again() {
    let Some((store, place)) = fresh().await else { return };
    assert_eq!(store.links(&space()).await.unwrap().len(), 0);
    place.tamper(END_SESSIONS).await;
    link_one(&store, "u-1", "a-1").await.unwrap();
    assert_eq!(store.links(&space()).await.unwrap().len(), 1);
    assert!(matches!(place.open().await, Err(StoreError::Held(_))), "the lease was not taken again");
}

/// A commit whose line is cut at `when`: it is there once, whatever the line lost.
async fn check_cut(when: Cut) {
    let Some(place) = Place::new().await else { return };
    let port = Server::shared().unwrap().port;
    let line = Line::to(port).await;
    let store = open(&line.over(&place.url, port), place.folder.path()).await.unwrap();
    link_one(&store, "u-1", "a-1").await.unwrap();
    line.cut(when);
    let snapshot = accepted(1, 1, at(0), &[user("u-1", "x")]);
    let writes = vec![
        Write::Intent(intent("i-1", "u-1", at(1))),
        Write::Snapshot(snapshot.clone()),
        Write::Audit(event("intent", Some("crm"))),
    ];
    commit(&store, writes).await;
    assert!(line.was_cut(), "{when:?}");
    assert_eq!(store.open_intents(&space()).await.unwrap().len(), 1);
    assert_eq!(store.snapshot().await.unwrap(), Some(snapshot));
    link_one(&store, "u-2", "a-2").await.unwrap();
    let kinds: Vec<_> = store.audit(Some(&"crm".into()), 0, 9).await.unwrap();
    let kinds: Vec<_> = kinds.iter().map(|event| event.event.kind.as_str()).collect();
    assert_eq!(kinds, ["link", "intent", "link"], "{when:?}");
    assert_eq!(store.verify_audit().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_found_out_about_and_not_made_twice() {
    check_cut(Cut::AfterCommit).await;
}

#[tokio::test]
async fn a_commit_that_the_server_never_heard_of_is_made_once_over_another_connection() {
    check_cut(Cut::BeforeCommit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_in_mid_commit_leaves_all_of_it_or_nothing_and_is_gone_on_with() {
    let Some(server) = Server::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&server.database().await, folder.path()).await.unwrap());
    let mut expected = 0;
    for (round, delay) in [0, 10, 40, 160].into_iter().enumerate() {
        let many =
            |number: usize| Write::Link(space(), link(&format!("u-{round}-{number}"), &format!("a-{round}-{number}")));
        let writes = (0..4_000).map(many).chain([Write::Audit(event("many", Some("crm")))]).collect();
        let (at_work, fence) = (Arc::clone(&store), store.fence());
        let mut committing = JoinSet::new();
        committing.spawn(async move { at_work.commit(writes, fence).await });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        server.crash();
        server.start();
        let committed = committing.join_next().await.unwrap().unwrap();
        let there = store.links(&space()).await.unwrap().len();
        match &committed {
            Ok(()) => expected += 4_000,
            // The server may have kept it, and have been away for longer than it was asked about that.
            Err(error) if there > expected => {
                assert!(error.is_away(), "{error}");
                expected += 4_000;
            }
            Err(error) => assert!(error.is_away(), "{error}"),
        }
        assert_eq!(there, expected, "half a commit was kept after {delay} ms: {committed:?}");
    }
    link_one(&store, "u-1", "a-1").await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap(), Vec::<String>::new());
    server.crash();
    for error in [link_one(&store, "u-2", "a-2").await.unwrap_err(), store.links(&space()).await.unwrap_err()] {
        assert!(error.is_away() && error.to_string().contains("does not answer"), "{error}");
    }
    server.start();
    link_one(&store, "u-2", "a-2").await.unwrap();
    assert_eq!(store.links(&space()).await.unwrap().len(), expected + 2);
}

#[tokio::test]
async fn a_commit_that_met_another_transaction_is_tried_again_and_not_for_ever() {
    let Some((store, place)) = fresh().await else { return };
    // The first three tries fail as a serialization failure does.
    let trouble = |times: u32| {
        format!(
            "CREATE SEQUENCE IF NOT EXISTS tries; ALTER SEQUENCE tries RESTART;
            CREATE OR REPLACE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              IF nextval('tries') <= {times} THEN RAISE EXCEPTION 'met' USING ERRCODE = '40001'; END IF;
              RETURN NEW; END $$;
            CREATE OR REPLACE TRIGGER trouble BEFORE INSERT ON link FOR EACH ROW EXECUTE FUNCTION trouble();"
        )
    };
    place.tamper(&trouble(3)).await;
    link_one(&store, "u-1", "a-1").await.unwrap();
    place.tamper(&trouble(4)).await;
    let error = link_one(&store, "u-2", "a-2").await.unwrap_err();
    assert!(error.is_away(), "{error}");
    assert_eq!(store.links(&space()).await.unwrap().len(), 1);
    assert_eq!(store.verify_audit().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_commit_held_up_by_another_session_gets_a_clear_word_and_is_gone_on_with() {
    let Some((store, place)) = fresh().await else { return };
    let mut other = PgConnection::connect(&place.url).await.unwrap();
    let mut held = other.begin().await.unwrap();
    sqlx::raw_sql("SELECT * FROM lease FOR UPDATE").execute(&mut *held).await.unwrap();
    let error = link_one(&store, "u-1", "a-1").await.unwrap_err();
    assert!(error.is_away() && error.to_string().contains("is held up by another session"), "{error}");
    held.rollback().await.unwrap();
    link_one(&store, "u-1", "a-1").await.unwrap();
}

#[tokio::test]
async fn whoever_is_not_let_in_hears_why_and_never_the_password() {
    let Some(place) = Place::new().await else { return };
    let folder = place.folder.path();
    let text = refusal(&place.url.replace("pg-canary-word", "pg-canary-word-2"), folder).await;
    assert!(text.contains("does not take the password") && text.contains("mend the URL"), "{text}");
    let text = refusal(&place.url.replace(place.database(), "nowhere"), folder).await;
    assert!(text.contains("has no such database") && text.contains("createdb"), "{text}");
    let nobody = place.url.replace(&format!(":{}/", Server::shared().unwrap().port), ":1/");
    let text = refusal(&nobody, folder).await;
    assert!(text.contains("does not answer") && text.contains("127.0.0.1:1/"), "{text}");
    let role = format!("r_{}", place.database());
    place.tamper(&format!("CREATE ROLE {role} LOGIN PASSWORD 'pg-canary-word'")).await;
    let text = refusal(&place.url.replace("postgres:pg", &format!("{role}:pg")), folder).await;
    assert!(text.contains("does not give its user the rights") && text.contains("own the database"), "{text}");
    assert!(refusal("https://db.example", folder).await.contains("is no address of PostgreSQL"));
}

#[tokio::test]
async fn a_database_that_is_not_ours_to_write_gets_a_clear_word_and_is_left_alone() {
    let Some(place) = Place::new().await else { return };
    place.tamper("CREATE TABLE meta (title TEXT); CREATE TABLE songs (title TEXT)").await;
    assert!(place.refusal().await.contains("holds tables of another program"));
    let Some(place) = Place::new().await else { return };
    place.tamper("CREATE TABLE meta (key TEXT, value TEXT)").await;
    assert!(place.refusal().await.contains("holds tables of another program"));
    let Some((store, place)) = fresh().await else { return };
    store.close().await;
    place.tamper("UPDATE meta SET value = '99' WHERE key = 'schema'").await;
    let text = place.refusal().await;
    assert!(text.contains("newer rosterd (schema 99") && text.contains("run that one"), "{text}");
    place.tamper(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", place.database())).await;
    let text = place.refusal().await;
    assert!(text.contains("is read-only") && text.contains("name the primary"), "{text}");
}

#[tokio::test]
async fn other_keys_do_not_open_the_store() {
    let Some((store, place)) = fresh().await else { return };
    store.close().await;
    fs::remove_file(place.folder.path().join("rosterd.keys")).unwrap();
    let text = place.refusal().await;
    assert!(text.contains("written with other keys; put its `rosterd.keys` back"), "{text}");
}

#[tokio::test]
async fn a_table_dropped_in_mid_run_is_said_and_nothing_of_the_commit_is_kept() {
    let Some((store, place)) = fresh().await else { return };
    place.tamper("DROP TABLE audit").await;
    let error = link_one(&store, "u-1", "a-1").await.unwrap_err();
    assert!(error.is_away() && error.to_string().contains("lacks a part of its schema"), "{error}");
    assert_eq!(store.links(&space()).await.unwrap().len(), 0);
}

#[tokio::test]
async fn nothing_personal_of_snapshots_and_intents_is_readable_in_the_database() {
    let Some((store, place)) = fresh().await else { return };
    let mut secretive = intent("i-1", "u-1", at(1));
    secretive.change.reason = "Lovelace moved".into();
    let writes = vec![Write::Snapshot(accepted(1, 1, at(0), &[user("u-1", "x")])), Write::Intent(secretive)];
    commit(&store, writes).await;
    let mut db = PgConnection::connect(&place.url).await.unwrap();
    let sql =
        "SELECT query_to_xml('SELECT * FROM ' || table_name, true, false, '')::text FROM information_schema.tables
        WHERE table_schema = 'public'";
    let tables: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut db).await.unwrap();
    assert!(tables.len() > 10);
    let sealed: Vec<Vec<u8>> = sqlx::query_scalar("SELECT body FROM snapshot_part UNION ALL SELECT body FROM intent")
        .fetch_all(&mut db)
        .await
        .unwrap();
    let all = tables.iter().map(String::as_bytes).chain(sealed.iter().map(Vec::as_slice));
    for bytes in all {
        assert!(!bytes.windows(8).any(|window| window == b"Lovelace"), "{}", String::from_utf8_lossy(bytes));
    }
}

#[tokio::test]
async fn a_name_with_a_nul_from_a_target_stops_nobody_elses_listing() {
    let Some((store, _place)) = fresh().await else { return };
    let row = |account: &str, name: &str| SeenAccount {
        account: account.into(),
        user_name: Some(name.to_owned()),
        state: AccountState::Active,
        record: None,
    };
    commit(&store, vec![Write::Seen(space(), vec![row("a-1", "ada\0"), row("a-2\0", "bea"), row("a-3", "cleo")])])
        .await;
    let all = AccountFilter { limit: 9, ..AccountFilter::default() };
    let names: Vec<_> = store.seen(&space(), &all).await.unwrap().into_iter().filter_map(|row| row.user_name).collect();
    assert_eq!(names, ["ada\u{fffd}", "bea", "cleo"]);
}

#[tokio::test]
async fn a_listing_that_shows_what_was_known_writes_nothing() {
    let Some((store, place)) = fresh().await else { return };
    let mut db = PgConnection::connect(&place.url).await.unwrap();
    let row = |account: &str, name: &str, record: Option<&str>| SeenAccount {
        account: account.into(),
        user_name: Some(name.to_owned()),
        state: AccountState::Active,
        record: record.map(Into::into),
    };
    let listing = |bea: SeenAccount| vec![Write::SeenAll(space(), vec![row("a-1", "ada", None), bea])];
    // Where each row lies, and what touched it last.
    let sql = "SELECT account, ctid::text || xmin::text || xmax::text FROM seen ORDER BY account";
    commit(&store, listing(row("a-2", "bea", None))).await;
    let mut before: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut db).await.unwrap();
    for (bea, is_new) in [
        (row("a-2", "bea", None), false),
        (row("a-2", "bea", Some("u-2")), true),
        (row("a-2", "beate", Some("u-2")), true),
        (row("a-2", "beate", None), true),
    ] {
        commit(&store, listing(bea.clone())).await;
        let now: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut db).await.unwrap();
        assert_eq!((now[0] != before[0], now[1] != before[1]), (false, is_new), "{bea:?}");
        let all = AccountFilter { limit: 9, ..AccountFilter::default() };
        assert_eq!(store.seen(&space(), &all).await.unwrap(), [row("a-1", "ada", None), bea]);
        before = now;
    }
}

/// What one tampering statement leads the check to say, before and after the chain went on.
async fn check_tampering(sql: &str, expected: &str) {
    let Some((store, place)) = fresh().await else { return };
    five_events(&store).await;
    assert_eq!(store.verify_audit().await.unwrap(), Vec::<String>::new());
    place.tamper(sql).await;
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
async fn yesterdays_database_put_back_is_found_and_doubted_until_a_person_enforces() {
    let Some((store, place)) = fresh().await else { return };
    let server = Server::shared().unwrap();
    five_events(&store).await;
    store.close().await;
    let (name, copy) = (place.database().to_owned(), format!("{}_yesterday", place.database()));
    server.run("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {name}")).await;
    let store = place.open().await.unwrap();
    assert_eq!((store.warnings(), store.doubt(&"crm".into()).await.unwrap()), (&[][..], None));
    five_events(&store).await;
    store.close().await;
    server.run("postgres", &format!("DROP DATABASE {name}")).await;
    server.run("postgres", &format!("ALTER DATABASE {copy} RENAME TO {name}")).await;
    let store = place.open().await.unwrap();
    assert_found(store.warnings(), "put back to an earlier state");
    assert_found(&store.verify_audit().await.unwrap(), "put back to an earlier state");
    assert!(store.doubt(&"crm".into()).await.unwrap().unwrap().contains("put back to an earlier state"));
}
