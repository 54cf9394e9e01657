//! What a process does that starts with documents which are not accepted: targets as they were
//! accepted last act, and others only take away what a document or a person ended by itself (L1, L11).

use std::time::Duration;

use rosterd::engine::Running;
use rosterd::manifest::Documents;
use rosterd::model::account::AccountState;
use rosterd::model::approval::Approval;
use rosterd::model::approval::Level;
use rosterd::model::target::MappingValue;
use rosterd::model::target::Target;

use crate::support::make::broken;
use crate::support::make::documents;
use crate::support::make::inactive;
use crate::support::make::path;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::target::MemoryTarget;

/// A daemon over what `rig` leaves behind, whose first load is this one.
async fn restarted(rig: &Rig, documents: Documents) -> Rig {
    let (mut targets, store) = rig.remains();
    rig.engine.stop().await;
    for (name, system) in MemoryTarget::of_each(documents.targets.iter().map(|target| target.name.clone())) {
        targets.entry(name).or_insert(system);
    }
    let next = Rig::over(documents, targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.pass(Duration::from_secs(10)).await;
    next
}

/// `app`, with the family name in the place of the given name.
fn remapped() -> Target {
    let mut app = target("app");
    let mapping = app.account.attributes.get_mut(&path("name.givenName")).unwrap();
    mapping.value = MappingValue::Template("{{ user.familyName }}".to_owned());
    app
}

#[tokio::test(start_paused = true)]
async fn a_target_that_a_held_first_load_changes_writes_nothing_until_the_load_is_accepted() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    let next = restarted(&rig, broken(documents(users(4), [remapped()]))).await;
    next.sync("app").await.unwrap();
    next.pass(Duration::from_mins(2)).await;
    assert_eq!(next.target("app").count("update"), 0);
    let error = next.status("app").error.expect("it says why");
    assert!(error.contains("not accepted"), "{error}");
    next.declare(documents(users(4), [remapped()])).await;
    next.pass(Duration::from_secs(10)).await;
    assert_eq!((next.target("app").count("update"), next.target("app").count("create")), (3, 4));
    assert_eq!(next.status("app").error, None);
    next.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_a_held_first_load_changes_still_takes_from_who_leaves_by_their_own_document() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    let leaver = [user("u-0000"), inactive("u-0001"), user("u-0002")];
    let next = restarted(&rig, broken(documents(leaver, [remapped()]))).await;
    assert_eq!(next.target("app").count("disable"), 1);
    assert_eq!(next.target("app").by_name("u-0001@acme.example").unwrap().state, AccountState::Disabled);
    assert_eq!(next.target("app").count("update"), 0);
}

/// L5
#[tokio::test(start_paused = true)]
async fn one_wrong_answer_of_a_target_that_a_held_first_load_changes_forgets_no_leaver() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    let next = restarted(&rig, broken(documents(users(3), [remapped()]))).await;
    next.target("app").inside().blind_looks = 1;
    let leaver = [user("u-0000"), inactive("u-0001"), user("u-0002")];
    next.declare(broken(documents(leaver, [remapped()]))).await;
    assert_eq!(next.target("app").inside().blind_looks, 0, "it was answered wrongly");
    assert_eq!(next.target("app").count("disable"), 0);
    next.pass(Duration::from_mins(1)).await;
    assert_eq!(next.target("app").by_name("u-0001@acme.example").unwrap().state, AccountState::Disabled);
    assert_eq!(next.target("app").count("update"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_a_held_first_load_takes_out_of_every_grant_loses_nobody() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    let mut apart = target("app");
    apart.labels.clear();
    let next = restarted(&rig, broken(documents(users(3), [apart]))).await;
    next.pass(Duration::from_mins(5)).await;
    assert_eq!(next.target("app").count("disable"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_a_held_first_load_brings_gets_nobody_until_the_load_is_accepted() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    let both = || documents(users(3), [target("app"), target("crm")]);
    let next = restarted(&rig, broken(both())).await;
    assert_eq!(next.target("crm").count("create"), 0);
    next.declare(both()).await;
    next.pass(Duration::from_secs(10)).await;
    assert_eq!(next.target("crm").count("create"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_a_held_first_load_leaves_as_it_was_accepted_goes_on_as_before() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    rig.target("app").inside().bad_looks = Some(rosterd::connector::ErrorClass::Transient);
    rig.declare(documents(users(4), [target("app")])).await;
    assert_eq!(rig.target("app").count("create"), 3);
    rig.target("app").inside().bad_looks = None;
    let next = restarted(&rig, broken(documents(users(4), [target("app")]))).await;
    assert_eq!(next.target("app").count("create"), 4, "what was accepted before is done");
    assert_eq!(next.status("app").error, None);
}

/// A version that knows of more must not take a document for another than the one that was accepted.
#[test]
fn what_a_target_does_not_say_is_no_part_of_what_its_document_is_known_by() {
    let asks = Approval { levels: vec![Level::anybody()], ..Approval::ungated() };
    let written = serde_json::to_value(Target { approval: Some(asks), ..target("app") }).unwrap();
    let keys: Vec<&str> = written["approval"].as_object().unwrap().keys().map(String::as_str).collect();
    let first = [
        "author_label",
        "checks",
        "expires",
        "gates",
        "grants",
        "levels",
        "origin",
        "remind_every",
        "reopen_on",
        "rules",
        "scope_label",
        "when",
        "within",
    ];
    assert_eq!(keys, first, "a new key is left out where it says nothing, as `mail` is");
}
