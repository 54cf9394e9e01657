//! Narrowing that was recorded as owed goes on while the store is away, and is recorded once after.

use std::sync::Arc;
use std::time::Duration;

use rosterd::connector::ErrorClass;
use rosterd::engine::Running;
use rosterd::model::account::AccountState;
use rosterd::model::change::Effect;

use crate::support::make::documents;
use crate::support::make::inactive;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::target::Fault;

fn state(rig: &Rig) -> AccountState {
    rig.target("app").by_name("u-0000@acme.example").unwrap().state
}

/// A leaver whose first disabling `fault` befell, and a store that is away from that moment on. A new
/// user waits, too.
async fn without_a_store(fault: Fault) -> Rig {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    rig.target("app").inside().faults.push_back(fault);
    rig.source.set(Ok(documents([inactive("u-0000"), user("u-0001"), user("u-0002"), user("new")], [target("app")])));
    rig.target("app").inside().bad_user = Some(("new@acme.example".to_owned(), ErrorClass::Transient));
    rig.pass(Duration::from_millis(50)).await;
    assert_eq!(state(&rig), AccountState::Active, "the first try failed");
    rig.store.open().full = true;
    rig.target("app").inside().bad_user = None;
    rig
}

/// How often the store was told of each narrowing intent of the leaver.
fn recorded(rig: &Rig) -> Vec<usize> {
    let inside = rig.store.open();
    let intents = inside.intents.iter().filter(|intent| intent.change.effect == Effect::Narrows);
    intents.map(|intent| inside.intents.iter().filter(|other| other.id == intent.id).count()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_removal_goes_on_while_the_store_is_away_and_is_recorded_once_when_it_is_back() {
    for fault in [Fault::Refuse(ErrorClass::Transient, None), Fault::LoseRequest] {
        let rig = without_a_store(fault.clone()).await;
        rig.pass(Duration::from_mins(1)).await;
        assert_eq!(state(&rig), AccountState::Disabled, "{fault:?}");
        assert!(rig.target("app").by_name("new@acme.example").is_none(), "nothing widens");
        assert_eq!((recorded(&rig).len(), rig.journal.open().intents.len()), (1, 1), "{fault:?}");
        rig.store.open().full = false;
        rig.pass(Duration::from_mins(1)).await;
        assert_eq!((recorded(&rig), rig.journal.open().intents.len()), (vec![1, 1], 0), "{fault:?}");
        let told = rig.store.open().events.iter().filter(|event| event.details.contains_key("journal")).count();
        assert_eq!(told, 1, "the audit log tells that it came from the journal");
        assert!(rig.target("app").by_name("new@acme.example").is_some());
        rig.assert_settled("app").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_keeps_failing_without_a_store_is_repeated_and_written_down_once() {
    let rig = without_a_store(Fault::Refuse(ErrorClass::Transient, None)).await;
    let classes = [ErrorClass::Transient, ErrorClass::Uncertain, ErrorClass::Transient];
    rig.target("app").inside().faults.extend(classes.map(|class| Fault::Refuse(class, None)));
    rig.pass(Duration::from_mins(3)).await;
    assert_eq!(state(&rig), AccountState::Disabled);
    assert_eq!(rig.journal.open().appended, 1);
    rig.store.open().full = false;
    rig.pass(Duration::from_mins(1)).await;
    assert_eq!(recorded(&rig), [1, 1]);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_without_a_store_loses_no_removal_and_records_none_twice() {
    let mut rig = without_a_store(Fault::Refuse(ErrorClass::Transient, None)).await;
    rig.pass(Duration::from_mins(1)).await;
    assert_eq!(state(&rig), AccountState::Disabled);
    let declared = || documents([inactive("u-0000"), user("u-0001"), user("u-0002"), user("new")], [target("app")]);
    let lines = rig.journal.open().intents.clone();
    for start in 0..3 {
        let (targets, store) = rig.remains();
        let journal = Arc::clone(&rig.journal);
        rig.engine.stop().await;
        // A crash after the store took it and before the journal let go brings the lines back.
        journal.open().intents.clone_from(&lines);
        store.open().full = false;
        rig = Rig::with_journal(declared(), targets, store, journal);
        rig.engine.start(Running::Daemon).await.unwrap();
        rig.pass(Duration::from_mins(1)).await;
        assert_eq!((recorded(&rig), rig.journal.open().intents.len()), (vec![1, 1], 0), "start {start}");
        let known = rig.store.open().links.clone();
        let link = known.values().find(|link| link.record.as_str() == "u-0000").unwrap();
        assert!(link.disabled_by_us, "it is known whose hand that was");
    }
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn without_store_and_journal_nothing_is_called_and_status_says_so() {
    let rig = without_a_store(Fault::Refuse(ErrorClass::Transient, None)).await;
    rig.journal.open().broken = true;
    let before = rig.target("app").count("disable");
    rig.pass(Duration::from_mins(5)).await;
    assert_eq!((state(&rig), rig.target("app").count("disable")), (AccountState::Active, before));
    let error = rig.status("app").error.unwrap();
    assert!(error.contains("disk is full") && error.contains("journal cannot be written"), "{error}");
    rig.journal.open().broken = false;
    rig.pass(Duration::from_mins(1)).await;
    assert_eq!(state(&rig), AccountState::Disabled);
}
