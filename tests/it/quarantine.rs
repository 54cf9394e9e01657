//! A target that keeps failing is tried ever more rarely, and holds nobody else up (L15).

use std::time::Duration;

use rosterd::connector::ErrorClass;
use rosterd::engine::Running;
use rosterd::engine::SyncRequest;
use rosterd::metrics::OwedReason;
use rosterd::model::account::AccountState;
use rosterd::model::decision::DecisionKind;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::make::documents;
use crate::support::make::inactive;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::target::Fault;

fn state(rig: &Rig, target: &str, id: &str) -> AccountState {
    rig.target(target).by_name(&format!("{id}@acme.example")).unwrap().state
}

fn quarantined(rig: &Rig) -> bool {
    let shown = rig.status("app").quarantine.is_some();
    let counted = rig.metrics.encode().contains("rosterd_quarantined{target=\"app\"} 1");
    assert_eq!(shown, counted);
    shown
}

#[tokio::test(start_paused = true)]
async fn a_target_that_lets_nobody_in_is_tried_up_to_an_hour_apart_and_is_back_when_it_answers() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    assert!(!quarantined(&rig));
    rig.target("app").inside().shut = true;
    rig.declare(documents(users(3), [target("app")])).await;
    assert!(quarantined(&rig));
    rig.pass(Duration::from_hours(24)).await;
    rig.target("app").inside().calls.clear();
    rig.pass(Duration::from_hours(24)).await;
    let knocks = rig.target("app").count("probe");
    assert!((24..=50).contains(&knocks), "asked {knocks} times a day");
    let status = rig.status("app");
    let quarantine = status.quarantine.unwrap();
    assert!(status.error.unwrap().contains("token"));
    assert!(quarantine.failures > 20 && quarantine.since < rig.now() - Duration::from_hours(47));
    assert!(quarantine.next_try.unwrap() <= rig.now() + Duration::from_hours(1));
    rig.target("app").inside().shut = false;
    rig.pass(Duration::from_hours(1)).await;
    assert_eq!(state(&rig, "app", "u-0002"), AccountState::Active, "what waited is not lost");
    assert!(!quarantined(&rig));
}

#[tokio::test(start_paused = true)]
async fn a_person_who_says_resume_does_not_wait_for_the_next_try() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    rig.target("app").inside().shut = true;
    rig.declare(documents(users(3), [target("app")])).await;
    rig.pass(Duration::from_hours(24)).await;
    rig.target("app").inside().shut = false;
    rig.engine.decide(rig.decision(DecisionKind::Resume, None)).await.unwrap();
    rig.rest().await;
    assert_eq!(state(&rig, "app", "u-0002"), AccountState::Active);
    assert!(!quarantined(&rig));
}

#[tokio::test(start_paused = true)]
async fn a_removal_is_tried_each_minute_at_a_door_that_was_shut_before_the_restart() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let next = Rig::over(documents([user("u-0000"), inactive("u-0001")], [target("app")]), targets, store);
    next.target("app").inside().shut = true;
    next.engine.start(Running::Daemon).await.unwrap();
    next.pass(Duration::from_hours(10)).await;
    next.target("app").inside().shut = false;
    next.pass(Duration::from_secs(61)).await;
    assert_eq!(state(&next, "app", "u-0001"), AccountState::Disabled);
}

#[tokio::test(start_paused = true)]
async fn five_listings_that_fail_in_a_row_are_a_quarantine_that_keeps_no_leaver_in() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    rig.target("app").inside().bad_lists = Some(ErrorClass::Transient);
    for failures in 1..=5_u32 {
        assert!(!quarantined(&rig), "after {} failures", failures - 1);
        let report = rig.sync("app").await.unwrap();
        assert!(report.cycle.error.is_some());
        rig.rest().await;
    }
    assert!(quarantined(&rig));
    rig.declare(documents([user("u-0000"), inactive("u-0001")], [target("app")])).await;
    assert_eq!(state(&rig, "app", "u-0001"), AccountState::Disabled);
    rig.target("app").inside().bad_lists = None;
    rig.sync("app").await.unwrap();
    rig.rest().await;
    assert!(!quarantined(&rig));
}

#[tokio::test(start_paused = true)]
async fn one_target_that_hangs_one_that_panics_and_one_that_is_slow_delay_no_removal_in_another() {
    let names = ["good", "hanging", "panicking", "slow"];
    let rig = Rig::started(documents(users(20), names.map(target))).await;
    rig.target("hanging").inside().silent = true;
    rig.target("panicking").inside().panics = true;
    rig.target("slow").inside().latency = Duration::from_secs(9);
    let mut asked = JoinSet::new();
    for name in names {
        let engine = rig.engine.clone();
        asked.spawn(async move { drop(engine.sync(&name.into(), SyncRequest::default()).await) });
    }
    rig.rest().await;
    let saved = Instant::now();
    let fewer = users(20).into_iter().take(19).chain([inactive("u-0019")]).collect::<Vec<_>>();
    rig.declare(documents(fewer, names.map(target))).await;
    let calls = rig.target("good").inside().calls.clone();
    let left = calls.iter().find(|call| call.what.starts_with("disable")).map(|call| call.at - saved);
    assert!(left.is_some_and(|after| after <= Duration::from_secs(1)), "{left:?}");
    rig.pass(Duration::from_mins(30)).await;
    assert!(rig.metrics.encode().contains("rosterd_connector_panics_total{target=\"panicking\"}"));
    let error = rig.status("panicking").failures.into_values().next();
    assert!(error.is_some_and(|error| error.contains("failed in itself")), "said in status");
    rig.target("hanging").inside().silent = false;
    rig.target("panicking").inside().panics = false;
    rig.pass(Duration::from_mins(3)).await;
    for name in names {
        assert_eq!(state(&rig, name, "u-0019"), AccountState::Disabled, "{name}: nobody is busy for ever");
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_never_ends_stops_no_single_user_and_is_given_up() {
    let rig = Rig::started(documents(users(20), [target("app")])).await;
    rig.target("app").inside().silent_lists = true;
    let engine = rig.engine.clone();
    let mut asked = JoinSet::new();
    asked.spawn(async move { engine.sync(&"app".into(), SyncRequest::default()).await });
    rig.rest().await;
    let fewer = users(20).into_iter().take(19).chain([inactive("u-0019")]).collect::<Vec<_>>();
    rig.declare(documents(fewer, [target("app")])).await;
    assert_eq!(state(&rig, "app", "u-0019"), AccountState::Disabled);
    let answer = tokio::time::timeout(Duration::from_mins(20), asked.join_next()).await;
    let answer = answer.expect("the caller is answered").unwrap().unwrap();
    let error = answer.unwrap().cycle.error.unwrap();
    assert!(error.contains("given up"), "{error}");
    rig.target("app").inside().silent_lists = false;
    rig.pass(Duration::from_mins(20)).await;
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_fails_in_itself_begins_anew_and_loses_nothing() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    rig.target("app").inside().worker_panics = 3;
    rig.declare(documents([user("u-0000"), inactive("u-0001")], [target("app")])).await;
    rig.pass(Duration::from_secs(30)).await;
    assert_eq!(rig.target("app").inside().worker_panics, 0);
    assert_eq!(state(&rig, "app", "u-0001"), AccountState::Disabled);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_opens_its_door_and_lets_nobody_list_is_listed_ever_more_rarely() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    rig.target("app").inside().bad_lists = Some(ErrorClass::Door);
    rig.target("app").inside().latency = Duration::from_millis(50);
    rig.engine.decide(rig.decision(DecisionKind::Resume, None)).await.unwrap();
    rig.pass(Duration::from_hours(2)).await;
    let lists = rig.target("app").count("list");
    assert!(lists <= 30, "{lists} in two hours");
    assert!(quarantined(&rig));
    rig.declare(documents([user("u-0000"), inactive("u-0001")], [target("app")])).await;
    rig.pass(Duration::from_secs(2)).await;
    assert_eq!(state(&rig, "app", "u-0001"), AccountState::Disabled, "who leaves waits for no listing");
    rig.target("app").inside().bad_lists = None;
    rig.pass(Duration::from_hours(1)).await;
    assert!(!quarantined(&rig));
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_ends_with_the_first_good_listing_though_nobody_asks_for_one() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    rig.target("app").inside().bad_lists = Some(ErrorClass::Transient);
    for _ in 0..5 {
        rig.sync("app").await.unwrap();
        rig.rest().await;
    }
    assert!(quarantined(&rig));
    let next = rig.status("app").quarantine.unwrap().next_try.expect("it is tried again");
    assert!(next <= rig.now() + Duration::from_hours(1));
    rig.target("app").inside().bad_lists = None;
    rig.pass(Duration::from_hours(1)).await;
    assert!(!quarantined(&rig));
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_the_target_refuses_is_owed_for_that_though_listings_fail() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    rig.target("app").inside().bad_lists = Some(ErrorClass::Transient);
    for _ in 0..5 {
        rig.sync("app").await.unwrap();
    }
    rig.target("app").inside().faults.extend((0..100).map(|_| Fault::Refuse(ErrorClass::Refused, None)));
    rig.declare(documents([user("u-0000"), inactive("u-0001")], [target("app")])).await;
    assert!(quarantined(&rig));
    assert_eq!(rig.status("app").owed[0].reason, OwedReason::Error);
}
