//! Attacks on the laws: faults that arrive at the worst moment, on virtual time.

use std::collections::BTreeSet;
use std::time::Duration;

use rosterd::connector::ErrorClass;
use rosterd::engine::EngineError;
use rosterd::engine::Running;
use rosterd::engine::SyncRequest;
use rosterd::engine::status::SyncReport;
use rosterd::metrics::OwedReason;
use rosterd::model::account::AccountState;
use rosterd::model::decision::DecisionKind;
use rosterd::model::target::Schedule;
use rosterd::model::target::Window;
use rosterd::model::user::RoleHeld;
use rosterd::model::user::User;
use rosterd::model::user::Validity;

use crate::support::make::broken;
use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::inactive;
use crate::support::make::path;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::rig::noon;
use crate::support::target::Fault;

fn named(id: &str, given_name: &str) -> User {
    User { given_name: Some(given_name.to_owned()), ..user(id) }
}

fn state(rig: &Rig, id: &str) -> AccountState {
    rig.target("app").by_name(&format!("{id}@acme.example")).unwrap().state
}

/// The answer of a cycle that must not be waited for longer than a patient person would.
async fn answered(rig: &Rig, records: Option<&[&str]>) -> Result<SyncReport, EngineError> {
    let records = records.map(|records| records.iter().map(|record| (*record).into()).collect::<BTreeSet<_>>());
    let request = SyncRequest { records, only: None };
    let answer = tokio::time::timeout(Duration::from_mins(20), rig.engine.sync(&"app".into(), request)).await;
    answer.expect("whoever asks for a cycle gets an answer")
}

/// Runs `body` on a paused clock of its own. A worker that spins never lets that clock move, which
/// only a real one can tell.
fn without_spinning<F>(body: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(body());
        ended.send(()).unwrap();
    });
    let end = end.recv_timeout(Duration::from_mins(2));
    assert_eq!(end, Ok(()), "a worker with nothing to do sleeps");
}

#[tokio::test(start_paused = true)]
async fn a_leaver_whose_creation_lost_its_reply_does_not_stay_in() {
    let rig = Rig::new(documents([user("a")], [target("app")]));
    rig.target("app").inside().faults.push_back(Fault::LoseReply);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_millis(100)).await;
    rig.declare(documents([inactive("a")], [target("app")])).await;
    rig.pass(Duration::from_mins(2)).await;
    assert_eq!(state(&rig, "a"), AccountState::Disabled);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_leaver_whose_creation_lost_its_reply_before_a_restart_does_not_stay_in() {
    let rig = Rig::new(documents([user("a")], [target("app")]));
    rig.target("app").inside().faults.push_back(Fault::LoseReply);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_millis(100)).await;
    rig.engine.stop().await;
    let (targets, store) = rig.remains();
    let next = Rig::over(documents([inactive("a")], [target("app")]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.pass(Duration::from_mins(2)).await;
    assert_eq!(state(&next, "a"), AccountState::Disabled);
    next.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_lost_its_reply_is_found_under_the_name_it_was_made_with() {
    let rig = Rig::new(documents([user("a")], [target("app")]));
    rig.target("app").inside().faults.push_back(Fault::LoseReply);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_millis(100)).await;
    let moved = User { email: Some("new@acme.example".to_owned()), ..user("a") };
    rig.declare(documents([moved], [target("app")])).await;
    rig.pass(Duration::from_mins(2)).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 1);
    assert_eq!(state(&rig, "new"), AccountState::Active);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_keeps_meeting_a_changed_account_is_never_forgotten() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    rig.target("app").inside().faults.extend((0..5).map(|_| Fault::Refuse(ErrorClass::Changed, None)));
    rig.declare(documents([inactive("a")], [target("app")])).await;
    rig.pass(Duration::from_mins(5)).await;
    assert_eq!(state(&rig, "a"), AccountState::Disabled);
    assert_eq!(rig.status("app").owed, []);
}

#[tokio::test(start_paused = true)]
async fn the_end_date_of_a_role_takes_its_entitlement_whatever_inference_may_take() {
    let mut app = target("app");
    app.limits.narrow_inferred = vec![Window { count: Some(0), percent: None, window: Duration::from_hours(24) }];
    let until = Some(noon() + chrono::Duration::seconds(90));
    let admin = RoleHeld { valid: Validity { from: None, until }, ..held("admin") };
    let rig = Rig::started(documents([User { roles: vec![held("staff"), admin], ..user("a") }], [app])).await;
    assert_eq!(rig.target("app").by_name("a@acme.example").unwrap().memberships.len(), 1);
    rig.pass(Duration::from_secs(91)).await;
    assert_eq!(rig.target("app").by_name("a@acme.example").unwrap().memberships.len(), 0);
    assert_eq!(rig.status("app").holds, []);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_waits_for_another_try_counts_once_against_its_limit() {
    let mut app = target("app");
    app.limits.narrow_explicit = vec![Window { count: Some(1), percent: None, window: Duration::from_hours(24) }];
    let rig = Rig::started(documents(users(3), [app.clone()])).await;
    rig.target("app").inside().faults.extend((0..5).map(|_| Fault::Refuse(ErrorClass::Transient, None)));
    rig.declare(documents([inactive("u-0000"), user("u-0001"), user("u-0002")], [app])).await;
    answered(&rig, None).await.unwrap();
    rig.pass(Duration::from_mins(5)).await;
    assert_eq!(state(&rig, "u-0000"), AccountState::Disabled);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_left_nothing_counts_once_against_its_limit() {
    let mut app = target("app");
    app.limits.narrow_explicit = vec![Window { count: Some(1), percent: None, window: Duration::from_hours(24) }];
    let rig = Rig::started(documents(users(3), [app.clone()])).await;
    rig.target("app").inside().faults.push_back(Fault::LoseRequest);
    rig.declare(documents([inactive("u-0000"), user("u-0001"), user("u-0002")], [app])).await;
    rig.pass(Duration::from_mins(2)).await;
    assert_eq!(state(&rig, "u-0000"), AccountState::Disabled);
}

#[tokio::test(start_paused = true)]
async fn a_removal_under_way_counts_once_when_a_listing_sees_it_too() {
    let mut app = target("app");
    app.limits.narrow_explicit = vec![Window { count: Some(1), percent: None, window: Duration::from_hours(24) }];
    let rig = Rig::started(documents(users(3), [app.clone()])).await;
    rig.target("app").inside().latency = Duration::from_secs(2);
    rig.declare(documents([inactive("u-0000"), user("u-0001"), user("u-0002")], [app])).await;
    let (report, ()) = tokio::join!(answered(&rig, None), rig.pass(Duration::from_secs(20)));
    assert_eq!(report.unwrap().plan.holds, []);
    assert_eq!(rig.status("app").holds, []);
    assert_eq!(state(&rig, "u-0000"), AccountState::Disabled);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_the_store_did_not_take_is_tried_again_without_another_edit() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    rig.store.open().full = true;
    rig.declare(documents([inactive("a")], [target("app")])).await;
    rig.pass(Duration::from_secs(5)).await;
    assert_eq!(rig.target("app").count("disable"), 0, "no call without a store");
    rig.store.open().full = false;
    rig.pass(Duration::from_mins(1)).await;
    assert_eq!(state(&rig, "a"), AccountState::Disabled);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_the_target_is_not_listed_again_and_again() {
    let mut app = target("app");
    app.schedule = Some(Schedule::Every(Duration::from_mins(10)));
    let rig = Rig::started(documents(users(3), [app])).await;
    let before = rig.target("app").count("list");
    let id = rig.target("app").by_name("u-0001@acme.example").unwrap().id;
    rig.target("app").inside().accounts.get_mut(&id).unwrap().values.remove(&path("name.givenName"));
    rig.store.open().full = true;
    rig.store.open().unreadable = true;
    rig.pass(Duration::from_mins(30)).await;
    let listed = rig.target("app").count("list") - before;
    assert!(listed <= 2, "{listed} listings of which nothing can be kept");
    rig.store.open().full = false;
    rig.store.open().unreadable = false;
    rig.pass(Duration::from_mins(1)).await;
    assert!(rig.target("app").count("list") > before + listed, "it goes on by itself");
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_while_a_target_is_replaced_keeps_no_leaver_in() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    let mut app = target("app");
    app.limits.concurrency = 2;
    let more = [app, target("other")];
    let (targets, store) = rig.remains();
    drop((targets, store));
    rig.store.open().unreadable = true;
    rig.declare(documents([inactive("a")], more)).await;
    rig.pass(Duration::from_secs(5)).await;
    rig.store.open().unreadable = false;
    rig.pass(Duration::from_mins(2)).await;
    assert_eq!(state(&rig, "a"), AccountState::Disabled);
}

#[tokio::test(start_paused = true)]
async fn a_rename_while_a_call_is_under_way_keeps_the_one_account() {
    let rig = Rig::started(documents([user("old")], [target("app")])).await;
    rig.target("app").inside().latency = Duration::from_secs(1);
    rig.source.set(Ok(documents([named("old", "Ada")], [target("app")])));
    rig.pass(Duration::from_millis(1_500)).await;
    assert_eq!(rig.target("app").count("update"), 1, "the call is under way");
    let renamed = User { formerly: vec!["old".into()], ..named("new", "Ada") };
    rig.source.set(Ok(documents([renamed], [target("app")])));
    rig.pass(Duration::from_mins(2)).await;
    assert_eq!(state(&rig, "new"), AccountState::Active);
    assert_eq!(rig.target("app").inside().accounts.len(), 1);
    assert_eq!(rig.target("app").count("disable"), 0);
    let links: Vec<_> = rig.store.open().links.keys().map(|(_, record)| record.to_string()).collect();
    assert_eq!(links, ["new"]);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_rename_while_the_creation_is_under_way_makes_no_second_account() {
    for lost in [false, true] {
        let rig = Rig::new(documents([user("old")], [target("app")]));
        rig.target("app").inside().latency = Duration::from_secs(2);
        rig.target("app").inside().faults.extend(lost.then_some(Fault::LoseReply));
        rig.engine.start(Running::Daemon).await.unwrap();
        rig.pass(Duration::from_secs(7)).await;
        assert_eq!(rig.target("app").count("create"), 1, "the call is under way");
        let renamed = User { formerly: vec!["old".into()], ..user("new") };
        rig.source.set(Ok(documents([renamed], [target("app")])));
        rig.pass(Duration::from_mins(3)).await;
        assert_eq!(rig.target("app").count("create"), 1, "lost: {lost}");
        assert_eq!(state(&rig, "new"), AccountState::Active);
        let links: Vec<_> = rig.store.open().links.keys().map(|(_, record)| record.to_string()).collect();
        assert_eq!(links, ["new"]);
        rig.assert_settled("app").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_does_not_reach_a_user_who_came_back_meanwhile() {
    let mut app = target("app");
    app.limits.narrow_inferred = vec![Window { count: Some(1), percent: None, window: Duration::from_hours(24) }];
    let rig = Rig::started(documents([user("w"), user("x"), user("y"), user("z")], [app.clone()])).await;
    let back = rig.target("app").by_name("y@acme.example").unwrap().id;
    rig.declare(documents([user("w"), user("x")], [app.clone()])).await;
    let digest = rig.status("app").holds[0].digest.clone();
    rig.target("app").inside().latency = Duration::from_secs(1);
    rig.declare(documents([named("w", "Ada"), user("x")], [app.clone()])).await;
    rig.source.set(Ok(documents([named("w", "Ada"), user("x"), user("y")], [app])));
    rig.engine.decide(rig.decision(DecisionKind::Release, Some(digest))).await.unwrap();
    rig.pass(Duration::from_mins(1)).await;
    assert_eq!(rig.target("app").count(&format!("disable {back}")), 0);
    assert_eq!(state(&rig, "y"), AccountState::Active);
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_nothing_can_prove_gets_its_caller_an_answer_and_the_user_an_account() {
    let rig = Rig::new(documents([user("a")], [target("app")]));
    rig.target("app").inside().unproven = true;
    rig.target("app").inside().faults.push_back(Fault::LoseRequest);
    rig.engine.start(Running::Once).await.unwrap();
    answered(&rig, None).await.unwrap();
    rig.pass(Duration::from_mins(2)).await;
    answered(&rig, None).await.unwrap();
    assert_eq!(rig.target("app").inside().accounts.len(), 1);
    assert_eq!(rig.target("app").count("create"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_of_one_user_is_answered_when_a_listing_overtakes_the_look() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    let id = rig.target("app").by_name("u-0001@acme.example").unwrap().id;
    rig.target("app").inside().accounts.get_mut(&id).unwrap().values.remove(&path("name.givenName"));
    rig.target("app").inside().latency = Duration::from_secs(1);
    let more = users(2).into_iter().chain([user("slow")]);
    rig.source.set(Ok(documents(more, [target("app")])));
    rig.pass(Duration::from_millis(100)).await;
    let (one, all) = tokio::join!(answered(&rig, Some(&["u-0001"])), answered(&rig, None));
    one.unwrap();
    all.unwrap();
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_suspension_answers_whoever_waits_for_a_cycle() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    rig.target("app").inside().latency = Duration::from_secs(5);
    let suspend = async {
        rig.pass(Duration::from_secs(1)).await;
        rig.engine.decide(rig.decision(DecisionKind::Suspend, None)).await.unwrap();
    };
    let (one, all, ()) = tokio::join!(answered(&rig, Some(&["u-0001"])), answered(&rig, None), suspend);
    for answer in [one, all] {
        let words = answer.map_or_else(|error| error.to_string(), |report| report.cycle.error.unwrap_or_default());
        assert!(words.contains("rosterd resume app"), "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_told_that_no_snapshot_was_ever_accepted() {
    let rig = Rig::new(broken(documents(users(3), [target("app")])));
    rig.engine.start(Running::Daemon).await.unwrap();
    let error = answered(&rig, None).await.unwrap_err().to_string();
    assert!(error.contains("half a file"), "{error}");
    rig.declare(documents(users(3), [target("app")])).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_answered_whatever_a_write_keeps_meeting() {
    for class in ErrorClass::ALL {
        let rig = Rig::started(documents([], [target("app")])).await;
        rig.target("app").inside().bad_user = Some(("a@acme.example".to_owned(), class));
        let (report, ()) = tokio::join!(answered(&rig, None), async {
            rig.source.set(Ok(documents([user("a")], [target("app")])));
        });
        drop(report);
        // A shut door is an error of the whole cycle.
        drop(answered(&rig, Some(&["a"])).await);
        drop(answered(&rig, None).await);
        assert_eq!(rig.target("app").inside().accounts.len(), 0, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_answered_whatever_a_look_keeps_meeting() {
    for class in ErrorClass::ALL {
        let rig = Rig::started(documents([user("a")], [target("app")])).await;
        rig.target("app").inside().bad_looks = Some(class);
        drop(answered(&rig, Some(&["a"])).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_answered_while_the_store_takes_nothing() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    let id = rig.target("app").by_name("u-0001@acme.example").unwrap().id;
    rig.target("app").inside().accounts.get_mut(&id).unwrap().values.remove(&path("name.givenName"));
    rig.store.open().full = true;
    drop(answered(&rig, None).await);
    drop(answered(&rig, Some(&["u-0001"])).await);
    rig.store.open().unreadable = true;
    drop(answered(&rig, None).await);
    drop(answered(&rig, Some(&["u-0001"])).await);
    rig.store.open().full = false;
    rig.store.open().unreadable = false;
    rig.pass(Duration::from_secs(10)).await;
    rig.assert_settled("app").await;
}

#[test]
fn a_shut_door_that_nobody_waits_at_is_left_alone() {
    without_spinning(|| async {
        let rig = Rig::started(documents([user("a")], [target("app")])).await;
        rig.target("app").inside().shut = true;
        let report = rig.sync("app").await.unwrap();
        assert!(report.cycle.error.unwrap().contains("401"));
        rig.pass(Duration::from_hours(1)).await;
        rig.target("app").inside().shut = false;
        rig.assert_settled("app").await;
    });
}

#[test]
fn a_worker_that_stops_sleeps_until_its_last_call_ends() {
    without_spinning(|| async {
        let until = Some(noon() + chrono::Duration::milliseconds(5_500));
        let leaver = User { valid: Validity { from: None, until }, ..user("leaver") };
        let rig = Rig::new(documents([user("a"), leaver], [target("app")]));
        rig.target("app").inside().latency = Duration::from_secs(2);
        rig.engine.start(Running::Daemon).await.unwrap();
        rig.pass(Duration::from_secs(5)).await;
        rig.engine.stop().await;
        let store = rig.store.open();
        assert_eq!(store.intents.len(), store.outcomes.len());
    });
}

#[test]
fn a_suspension_counts_although_the_store_cannot_be_read_just_then() {
    without_spinning(|| async {
        let rig = Rig::started(documents([user("a")], [target("app")])).await;
        rig.store.open().unreadable = true;
        rig.engine.decide(rig.decision(DecisionKind::Suspend, None)).await.unwrap();
        rig.pass(Duration::from_secs(10)).await;
        rig.store.open().unreadable = false;
        rig.declare(documents([inactive("a")], [target("app")])).await;
        rig.pass(Duration::from_secs(10)).await;
        assert_eq!(rig.target("app").count("disable"), 0, "a person said so");
        assert!(rig.status("app").suspended);
    });
}

#[test]
fn a_store_that_cannot_be_read_does_not_make_one_listing_after_the_other() {
    without_spinning(|| async {
        let rig = Rig::started(documents([user("a")], [target("app")])).await;
        rig.store.open().unreadable = true;
        rig.target("app").inside().calls.clear();
        drop(answered(&rig, None).await);
        rig.pass(Duration::from_secs(10)).await;
        assert!(rig.target("app").count("list") <= 12, "{}", rig.target("app").count("list"));
    });
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_keeps_failing_is_asked_for_ever_more_rarely() {
    let rig = Rig::new(documents([user("a")], [target("app")]));
    rig.target("app").inside().bad_lists = Some(ErrorClass::Transient);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_hours(2)).await;
    assert!(rig.target("app").count("list") <= 40, "{}", rig.target("app").count("list"));
    rig.target("app").inside().bad_lists = None;
    rig.pass(Duration::from_mins(16)).await;
    assert_eq!(state(&rig, "a"), AccountState::Active);
}

#[tokio::test(start_paused = true)]
async fn a_removal_arriving_at_a_door_long_shut_leaves_within_a_minute_of_its_opening() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    rig.target("app").inside().shut = true;
    rig.declare(documents([user("u-0000"), named("u-0001", "Ada")], [target("app")])).await;
    rig.pass(Duration::from_hours(3)).await;
    rig.declare(documents([inactive("u-0000"), named("u-0001", "Ada")], [target("app")])).await;
    let owed = rig.status("app").owed;
    assert_eq!(
        owed.iter().map(|owed| (owed.record.as_str(), owed.reason)).collect::<Vec<_>>(),
        [("u-0000", OwedReason::Quarantine)]
    );
    rig.target("app").inside().shut = false;
    rig.pass(Duration::from_secs(61)).await;
    assert_eq!(state(&rig, "u-0000"), AccountState::Disabled);
    assert_eq!(rig.status("app").owed, []);
}

#[tokio::test(start_paused = true)]
async fn a_leaver_is_shown_as_owed_while_the_target_is_suspended() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    rig.engine.decide(rig.decision(DecisionKind::Suspend, None)).await.unwrap();
    rig.declare(documents([inactive("u-0000"), user("u-0001")], [target("app")])).await;
    let owed = rig.status("app").owed;
    assert_eq!(
        owed.iter().map(|owed| (owed.record.as_str(), owed.reason)).collect::<Vec<_>>(),
        [("u-0000", OwedReason::Mode)]
    );
    rig.declare(documents(users(2), [target("app")])).await;
    assert_eq!(rig.status("app").owed, [], "the leaver is back");
}

#[tokio::test(start_paused = true)]
async fn one_user_whom_nobody_can_look_up_keeps_no_listing_from_running() {
    let rig = Rig::new(documents([user("a")], [target("app")]));
    rig.target("app").inside().faults.push_back(Fault::LoseRequest);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_millis(100)).await;
    rig.target("app").inside().bad_looks = Some(ErrorClass::Transient);
    rig.pass(Duration::from_mins(2)).await;
    let report = answered(&rig, None).await.unwrap();
    assert_eq!(report.plan.changes, [], "whether `a` is there is not known yet");
    rig.target("app").inside().bad_looks = None;
    rig.pass(Duration::from_mins(20)).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_waits_for_another_try_outlives_a_partial_listing() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    let admin = User { roles: vec![held("staff"), held("admin")], ..user("u-0001") };
    rig.target("app").inside().faults.extend((0..4).map(|_| Fault::Refuse(ErrorClass::Transient, None)));
    rig.declare(documents([user("u-0000"), admin], [target("app")])).await;
    rig.target("app").inside().partial = Some(1);
    answered(&rig, None).await.unwrap();
    rig.pass(Duration::from_mins(5)).await;
    assert_eq!(rig.target("app").by_name("u-0001@acme.example").unwrap().memberships.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_is_dropped_when_it_no_longer_follows_though_nobody_watches() {
    let rig = Rig::new(documents([user("a")], [target("app")]));
    rig.target("app").inside().faults.extend((0..4).map(|_| Fault::Refuse(ErrorClass::Transient, None)));
    rig.engine.start(Running::Once).await.unwrap();
    answered(&rig, None).await.unwrap();
    rig.source.set(Ok(documents([inactive("a")], [target("app")])));
    rig.engine.reload().await.unwrap();
    rig.pass(Duration::from_mins(5)).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_between_a_load_and_its_workers_keeps_no_leaver_in() {
    let rig = Rig::started(documents([user("a"), user("b")], [target("app")])).await;
    rig.store.open().forgets_targets = true;
    rig.declare(documents([inactive("a"), user("b")], [target("app")])).await;
    rig.store.open().forgets_targets = false;
    rig.pass(Duration::from_mins(1)).await;
    assert_eq!(rig.target("app").count("disable"), 1, "the load is the current one: nobody will say so again");
    rig.assert_settled("app").await;
}
