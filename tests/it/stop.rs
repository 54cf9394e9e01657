//! `rosterd stop`: calls halt everywhere, over restarts, until a person says `start`; and every
//! other word of a person stands as long.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use rosterd::engine::Running;
use rosterd::engine::StopFile;
use rosterd::metrics::OwedReason;
use rosterd::model::account::AccountState;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::decision::Halts;
use rosterd::model::link::LinkedBy;
use rosterd::model::target::Existing;
use rosterd::model::target::Window;
use rosterd::model::user::User;

use crate::support::make::documents;
use crate::support::make::inactive;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;

/// A stop file in memory.
#[derive(Default)]
struct Paper(Mutex<Option<Halts>>);

impl StopFile for Paper {
    fn read(&self) -> Option<Halts> {
        *self.0.lock().unwrap()
    }

    fn remove(&self) -> Result<(), String> {
        *self.0.lock().unwrap() = None;
        Ok(())
    }
}

async fn stop(rig: &Rig, halts: Halts) {
    let reason = Some("the mail system is on fire".to_owned());
    let stop = Decision { halts: Some(halts), reason, ..Decision::new(DecisionKind::Stop, "alice", rig.now()) };
    rig.engine.decide(stop).await.unwrap();
}

async fn start(rig: &Rig) {
    rig.engine.decide(Decision::new(DecisionKind::Start, "alice", rig.now())).await.unwrap();
    rig.rest().await;
}

fn writes(rig: &Rig) -> usize {
    let target = rig.target("app");
    ["create", "update", "disable", "enable"].into_iter().map(|what| target.count(what)).sum()
}

/// An engine over what `rig` leaves behind, with these documents.
async fn restarted(rig: &Rig, documents: rosterd::manifest::Documents) -> Rig {
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let next = Rig::over(documents, targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    next
}

#[tokio::test(start_paused = true)]
async fn a_stop_halts_every_call_over_a_restart_until_a_person_says_start() {
    let mut app = target("app");
    app.limits.concurrency = 1;
    let rig = Rig::new(documents(users(50), [app.clone()]));
    rig.target("app").inside().latency = Duration::from_millis(100);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_secs(2)).await;
    let made = writes(&rig);
    assert!(made > 3 && made < 50, "{made}");
    stop(&rig, Halts::All).await;
    rig.pass(Duration::from_mins(30)).await;
    assert!(writes(&rig) <= made + 1, "at most the call under way");
    let made = writes(&rig);
    assert!(rig.metrics.encode().contains("rosterd_stopped 2"));
    assert_eq!(rig.engine.status().stopped.unwrap().by, "alice");
    let next = restarted(&rig, documents(users(60), [app])).await;
    next.pass(Duration::from_hours(2)).await;
    assert_eq!(writes(&next), made);
    assert_eq!(next.engine.status().stopped.unwrap().reason.as_deref(), Some("the mail system is on fire"));
    start(&next).await;
    next.pass(Duration::from_mins(1)).await;
    assert_eq!(next.target("app").inside().accounts.len(), 60);
    assert_eq!(next.engine.status().stopped, None);
    assert!(next.metrics.encode().contains("rosterd_stopped 0"));
    next.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_widening_lets_removals_pass() {
    let rig = Rig::started(documents(users(5), [target("app")])).await;
    stop(&rig, Halts::Widening).await;
    let mut changed = users(7);
    changed[0].active = false;
    changed[1].given_name = Some("New".to_owned());
    rig.declare(documents(changed.clone(), [target("app")])).await;
    assert_eq!(rig.target("app").count("disable"), 1);
    assert_eq!((rig.target("app").count("create"), rig.target("app").count("update")), (5, 0));
    let report = rig.sync("app").await.unwrap();
    assert!(report.failures[&"u-0005".into()].contains("rosterd start"), "{:?}", report.failures);
    changed[0].active = true;
    rig.declare(documents(changed, [target("app")])).await;
    assert_eq!(rig.target("app").count("enable"), 0);
    start(&rig).await;
    assert_eq!((rig.target("app").count("enable"), rig.target("app").inside().accounts.len()), (1, 7));
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn under_a_whole_stop_a_removal_is_owed_and_a_caller_is_told_why() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    stop(&rig, Halts::All).await;
    rig.declare(documents([inactive("u-0000"), user("u-0001")], [target("app")])).await;
    let owed = rig.status("app").owed;
    assert_eq!((owed.len(), owed[0].reason), (1, OwedReason::Stopped));
    rig.pass(Duration::from_mins(5)).await;
    assert!(rig.metrics.encode().contains("rosterd_revocations_owed{reason=\"stopped\",target=\"app\"} 1"));
    assert_eq!(rig.target("app").count("disable"), 0);
    let error = rig.sync("app").await.unwrap_err().to_string();
    assert!(error.contains("stopped by alice") && error.contains("rosterd start"), "{error}");
    start(&rig).await;
    assert_eq!(rig.target("app").count("disable"), 1);
    assert_eq!(rig.status("app").owed, []);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_applies_obeys_a_stop_that_a_daemon_left() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    stop(&rig, Halts::All).await;
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let next = Rig::over(documents(users(4), [target("app")]), targets, store);
    next.engine.start(Running::Once).await.unwrap();
    assert!(next.sync("app").await.is_err());
    assert_eq!(next.target("app").count("create"), 2);
    assert_eq!(next.engine.plan(&"app".into(), None, None).await.unwrap().changes.len(), 2, "a plan writes nothing");
}

#[tokio::test(start_paused = true)]
async fn a_file_halts_calls_within_two_seconds_and_its_stop_outlives_it() {
    let paper = Arc::new(Paper::default());
    let rig = Rig::new(documents(users(500), [target("app")]));
    rig.target("app").inside().latency = Duration::from_millis(500);
    let file: Arc<Paper> = Arc::clone(&paper);
    rig.engine.obey(file);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_secs(5)).await;
    *paper.0.lock().unwrap() = Some(Halts::All);
    rig.pass(Duration::from_secs(2)).await;
    let made = writes(&rig);
    assert!(made > 0 && made < 400, "{made}");
    rig.pass(Duration::from_mins(1)).await;
    assert_eq!(writes(&rig), made);
    *paper.0.lock().unwrap() = None;
    rig.pass(Duration::from_mins(1)).await;
    assert_eq!(writes(&rig), made, "only a person's word ends it");
    assert_eq!(rig.engine.status().stopped.unwrap().by, "stop-file");
    *paper.0.lock().unwrap() = Some(Halts::All);
    start(&rig).await;
    assert_eq!(paper.read(), None, "a start takes the file away");
    rig.pass(Duration::from_mins(5)).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_target_stays_so_over_a_restart_and_a_new_load() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    rig.engine.decide(rig.decision(DecisionKind::Suspend, None)).await.unwrap();
    rig.rest().await;
    let next = restarted(&rig, documents(users(6), [target("app")])).await;
    next.declare(documents(users(8), [target("app")])).await;
    next.pass(Duration::from_hours(1)).await;
    assert_eq!(next.target("app").count("create"), 3);
    next.engine.decide(next.decision(DecisionKind::Resume, None)).await.unwrap();
    next.rest().await;
    assert_eq!(next.target("app").count("create"), 8);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_a_person_made_stands_over_a_restart_a_rename_and_a_new_load() {
    let mut app = target("app");
    app.account.existing = Existing::Ask;
    let rig = Rig::started(documents(users(2), [app.clone()])).await;
    let id = rig.target("app").put("a@acme.example", AccountState::Active);
    let with = |more: User| [users(2), vec![more]].concat();
    rig.declare(documents(with(user("a")), [app.clone()])).await;
    rig.engine.link(&"app".into(), &"a".into(), &id, "alice").await.unwrap();
    let renamed = User { formerly: vec!["a".into()], ..user("b") };
    let next = restarted(&rig, documents(with(renamed), [app.clone()])).await;
    next.declare(documents(with(user("b")), [app])).await;
    let links = next.store.open().links.clone();
    let link = links.values().find(|link| link.record.as_str() == "b").expect("linked under the new id");
    assert_eq!((&link.account, link.by), (&id, LinkedBy::Person));
    assert_eq!(next.target("app").inside().accounts.len(), 3, "nobody is made twice");
}

#[tokio::test(start_paused = true)]
async fn what_was_enforced_and_released_needs_no_second_word_after_a_restart() {
    let mut app = target("app");
    app.limits.narrow_explicit = vec![Window { count: Some(1), percent: None, window: Duration::from_hours(24) }];
    let rig = Rig::new(documents(users(5), [app.clone()]));
    rig.target("app").put("somebody@else.example", AccountState::Active);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    stop(&rig, Halts::All).await;
    let digest = rig.status("app").holds[0].digest.clone();
    rig.engine.decide(rig.decision(DecisionKind::Enforce, Some(digest))).await.unwrap();
    rig.rest().await;
    assert_eq!(writes(&rig), 0);
    let next = restarted(&rig, documents(users(5), [app.clone()])).await;
    start(&next).await;
    assert_eq!(next.target("app").count("create"), 5);
    let mut fewer = users(5);
    fewer.iter_mut().take(3).for_each(|user| user.active = false);
    next.declare(documents(fewer.clone(), [app.clone()])).await;
    let digest = next.status("app").holds[0].digest.clone();
    stop(&next, Halts::All).await;
    next.engine.decide(next.decision(DecisionKind::Release, Some(digest))).await.unwrap();
    next.rest().await;
    assert_eq!(next.target("app").count("disable"), 0);
    let last = restarted(&next, documents(fewer, [app])).await;
    start(&last).await;
    assert_eq!(last.target("app").count("disable"), 3);
}

#[tokio::test(start_paused = true)]
async fn an_accepted_shrink_stands_over_a_restart() {
    let rig = Rig::started(documents(users(20), [target("app")])).await;
    stop(&rig, Halts::All).await;
    rig.declare(documents(users(10), [target("app")])).await;
    let shrink = rig.engine.source().shrink.expect("held");
    let accept = Decision { target: None, ..rig.decision(DecisionKind::AcceptShrink, Some(shrink.digest)) };
    rig.engine.decide(accept).await.unwrap();
    rig.rest().await;
    let next = restarted(&rig, documents(users(10), [target("app")])).await;
    assert_eq!(next.engine.source().shrink, None);
    start(&next).await;
    assert_eq!(next.target("app").count("disable"), 10);
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_leaves_at_the_start_and_waits_for_no_listing() {
    let rig = Rig::started(documents(users(300), [target("app")])).await;
    stop(&rig, Halts::All).await;
    let mut fewer = users(300);
    fewer[7].active = false;
    rig.declare(documents(fewer, [target("app")])).await;
    rig.target("app").inside().bad_lists = Some(rosterd::connector::ErrorClass::Transient);
    start(&rig).await;
    assert_eq!(rig.target("app").count("disable"), 1, "although the target does not list");
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_leaves_at_a_resume_and_waits_for_no_listing() {
    let rig = Rig::started(documents(users(300), [target("app")])).await;
    rig.engine.decide(rig.decision(DecisionKind::Suspend, None)).await.unwrap();
    let mut fewer = users(300);
    fewer[7].active = false;
    rig.declare(documents(fewer, [target("app")])).await;
    rig.target("app").inside().bad_lists = Some(rosterd::connector::ErrorClass::Transient);
    rig.engine.decide(rig.decision(DecisionKind::Resume, None)).await.unwrap();
    rig.rest().await;
    assert_eq!(rig.target("app").count("disable"), 1, "although the target does not list");
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_comes_while_intents_are_recorded_halts_their_calls() {
    for halts in [Halts::Widening, Halts::All] {
        let rig = Rig::started(documents(users(2), [target("app")])).await;
        rig.store.open().slow_intents = Duration::from_secs(3);
        rig.source.set(Ok(documents([user("u-0000"), inactive("u-0001"), user("u-0002")], [target("app")])));
        rig.pass(Duration::from_millis(1_500)).await;
        stop(&rig, halts).await;
        rig.pass(Duration::from_secs(15)).await;
        assert_eq!(rig.target("app").count("create u-0002"), 0, "{halts:?}");
        assert_eq!(rig.target("app").count("disable"), usize::from(halts == Halts::Widening));
        {
            let store = rig.store.open();
            assert_eq!(store.intents.len(), store.outcomes.len(), "every call's end is known");
            assert_eq!(store.unaudited, Vec::<String>::new());
        }
        rig.store.open().slow_intents = Duration::ZERO;
        start(&rig).await;
        assert_eq!((rig.target("app").count("create"), rig.target("app").count("disable")), (3, 1));
        rig.assert_settled("app").await;
    }
}
