//! A person's word lets through what was shown, once, and runs out (L11).

use std::time::Duration;

use chrono::TimeDelta;
use rosterd::connector::ErrorClass;
use rosterd::manifest::Documents;
use rosterd::model::account::AccountState;
use rosterd::model::audit::AuditEvent;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::decision::Halts;
use rosterd::model::plan::HoldKind;
use rosterd::model::target::Limits;
use rosterd::model::target::Schedule;
use rosterd::model::target::Target;
use rosterd::model::target::Window;
use rosterd::model::user::Validity;

use crate::support::make::broken;
use crate::support::make::documents;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::rig::noon;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A target that is listed every hour and may give so much in an hour.
fn app(widen: u64) -> Target {
    let window = Window { count: Some(widen), percent: None, window: HOUR };
    let limits = Limits { widen: vec![window], ..Limits::none() };
    Target { limits, schedule: Some(Schedule::Every(HOUR)), ..target("app") }
}

/// Ten users, some of them out.
fn without(gone: impl IntoIterator<Item = usize>, app: &Target) -> Documents {
    let mut users = users(10);
    gone.into_iter().for_each(|number| users[number].active = false);
    documents(users, [app.clone()])
}

fn active(rig: &Rig) -> usize {
    rig.target("app").inside().accounts.values().filter(|account| account.state == AccountState::Active).count()
}

/// How many changes are held for giving too much.
fn held(rig: &Rig) -> usize {
    let holds = rig.status("app").holds;
    holds.iter().filter(|hold| hold.limit == HoldKind::Widen).map(|hold| hold.changes.len()).sum()
}

/// Three of ten were out, and their return is held.
async fn three_are_held() -> (Rig, Target) {
    let app = app(2);
    let rig = Rig::started(documents(users(10), [Target { limits: Limits::none(), ..app.clone() }])).await;
    rig.declare(without(0..3, &app)).await;
    rig.pass(2 * HOUR).await;
    rig.declare(without([], &app)).await;
    assert_eq!((active(&rig), held(&rig)), (7, 3));
    (rig, app)
}

/// The same three leave, and come back after so long.
async fn again(rig: &Rig, gone: impl IntoIterator<Item = usize>, app: &Target, after: Duration) {
    rig.declare(without(gone, app)).await;
    rig.pass(after).await;
    rig.declare(without([], app)).await;
}

fn trust(rig: &Rig) -> AuditEvent {
    AuditEvent {
        at: rig.now(),
        target: None,
        kind: "trust-clock".to_owned(),
        actor: "local".to_owned(),
        record: None,
        cycle: None,
        details: std::collections::BTreeMap::new(),
    }
}

async fn say(rig: &Rig, kind: DecisionKind, halts: Option<Halts>) {
    let word = Decision::new(kind, "alice", rig.now());
    rig.engine.decide(Decision { halts, reason: Some("a test".to_owned()), ..word }).await.unwrap();
    rig.rest().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_done_of_a_release_needs_a_new_word_though_the_rest_never_works() {
    let (rig, app) = three_are_held().await;
    rig.target("app").inside().bad_user = Some(("u-0002@acme.example".to_owned(), ErrorClass::Refused));
    rig.release(HoldKind::Widen).await;
    assert_eq!((active(&rig), held(&rig)), (9, 0));
    again(&rig, [0, 1], &app, 3 * HOUR).await;
    rig.pass(2 * HOUR).await;
    assert_eq!((active(&rig), held(&rig)), (7, 3), "two of the three had their turn");
}

#[tokio::test(start_paused = true)]
async fn the_same_set_needs_a_new_word_after_a_day_and_after_forty() {
    for after in [DAY, 40 * DAY] {
        let (rig, app) = three_are_held().await;
        rig.release(HoldKind::Widen).await;
        assert_eq!((active(&rig), held(&rig)), (10, 0));
        again(&rig, 0..3, &app, after).await;
        assert_eq!((active(&rig), held(&rig)), (7, 3), "after {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_brings_no_release_back() {
    let (rig, app) = three_are_held().await;
    rig.release(HoldKind::Widen).await;
    again(&rig, 0..3, &app, 2 * HOUR).await;
    rig.clock.step(TimeDelta::days(-3));
    rig.engine.trust_clock(trust(&rig)).await.unwrap();
    rig.pass(2 * HOUR).await;
    assert_eq!((active(&rig), held(&rig)), (7, 3));
    let rig = rig.restarted(without([], &app)).await;
    rig.pass(2 * HOUR).await;
    assert_eq!((active(&rig), held(&rig)), (7, 3), "nor does a restart");
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_of_a_release_lets_the_rest_through_and_nothing_twice() {
    let (rig, app) = three_are_held().await;
    let mut slow = app.clone();
    slow.limits.concurrency = 1;
    rig.declare(without([], &slow)).await;
    rig.target("app").inside().latency = Duration::from_secs(20);
    let digest = rig.status("app").holds[0].digest.clone();
    rig.engine.decide(rig.decision(DecisionKind::Release, Some(digest))).await.unwrap();
    while active(&rig) < 8 {
        rig.pass(Duration::from_secs(1)).await;
    }
    let rig = rig.restarted(without([], &slow)).await;
    rig.pass(3 * HOUR).await;
    assert_eq!((active(&rig), held(&rig)), (10, 0));
    again(&rig, 0..3, &slow, 3 * HOUR).await;
    rig.pass(HOUR / 2).await;
    assert_eq!((active(&rig), held(&rig)), (7, 3));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_nobody_could_use_runs_out_after_a_week() {
    for (days, through) in [(6, 3), (8, 0)] {
        let (rig, _) = three_are_held().await;
        say(&rig, DecisionKind::Stop, Some(Halts::All)).await;
        rig.release(HoldKind::Widen).await;
        rig.pass(days * DAY).await;
        say(&rig, DecisionKind::Start, None).await;
        rig.pass(Duration::from_mins(10)).await;
        assert_eq!((active(&rig), held(&rig)), (7 + through, 3 - through), "after {days} days");
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_is_no_word_about_what_is_asked_for_again_after_it_was_taken_back() {
    let (rig, app) = three_are_held().await;
    say(&rig, DecisionKind::Stop, Some(Halts::All)).await;
    rig.release(HoldKind::Widen).await;
    rig.declare(without(0..3, &app)).await;
    rig.pass(2 * HOUR).await;
    rig.declare(without([], &app)).await;
    say(&rig, DecisionKind::Start, None).await;
    rig.pass(Duration::from_mins(10)).await;
    assert_eq!((active(&rig), held(&rig)), (7, 3));
}

fn accept(rig: &Rig) -> Decision {
    let shrink = rig.engine.source().shrink.expect("held");
    Decision { target: None, ..rig.decision(DecisionKind::AcceptShrink, Some(shrink.digest)) }
}

#[tokio::test(start_paused = true)]
async fn an_accepted_shrinking_is_good_for_one_load() {
    let app = target("app");
    let (all, half) = (documents(users(20), [app.clone()]), documents(users(10), [app]));
    let rig = Rig::started(all.clone()).await;
    rig.declare(half.clone()).await;
    rig.engine.decide(accept(&rig)).await.unwrap();
    rig.rest().await;
    assert_eq!((active(&rig), rig.engine.source().shrink), (10, None));
    rig.declare(all.clone()).await;
    assert_eq!(active(&rig), 20);
    rig.declare(half.clone()).await;
    assert!(rig.engine.source().shrink.is_some(), "the same load once more needs a word of its own");
    assert_eq!(active(&rig), 20);
    let rig = rig.restarted(half).await;
    assert!(rig.engine.source().shrink.is_some(), "after a restart too");
    assert_eq!(active(&rig), 20);
}

#[tokio::test(start_paused = true)]
async fn an_accepted_shrinking_is_void_once_another_load_was_accepted() {
    let app = target("app");
    let (all, half) = (documents(users(20), [app.clone()]), documents(users(10), [app.clone()]));
    for other in [all.clone(), documents(users(21), [app])] {
        let rig = Rig::started(all.clone()).await;
        rig.declare(half.clone()).await;
        let word = accept(&rig);
        // Between the look and the word the documents became others.
        rig.source.set(Ok(other));
        rig.engine.decide(word).await.unwrap();
        rig.rest().await;
        rig.declare(half.clone()).await;
        assert!(rig.engine.source().shrink.is_some());
        assert!(active(&rig) >= 20);
    }
}

#[tokio::test(start_paused = true)]
async fn an_accepted_shrinking_that_never_came_runs_out_after_a_week() {
    let app = target("app");
    let (all, half) = (documents(users(20), [app.clone()]), documents(users(10), [app]));
    let rig = Rig::started(all).await;
    rig.declare(half.clone()).await;
    let word = accept(&rig);
    rig.source.set(Err(rosterd::source::SourceError { message: "the folder is gone".to_owned() }));
    rig.engine.decide(word).await.unwrap();
    rig.pass(8 * DAY).await;
    rig.declare(half).await;
    assert!(rig.engine.source().shrink.is_some());
    assert_eq!(active(&rig), 20);
}

/// Of twenty users six are out by their own documents, at once or by an end that came, four have no
/// document any more, and one is new.
fn shrunken(by_end: bool) -> Documents {
    let mut fewer = users(20);
    fewer.truncate(16);
    for leaver in fewer.iter_mut().take(6) {
        leaver.active = by_end;
        leaver.valid = Validity { from: None, until: by_end.then_some(noon() - TimeDelta::hours(1)) };
    }
    fewer.push(user("new"));
    documents(fewer, [target("app")])
}

#[tokio::test(start_paused = true)]
async fn a_shrinking_by_documents_that_end_access_waits_for_a_person_however_often_it_is_loaded() {
    for by_end in [false, true] {
        let rig = Rig::started(documents(users(20), [target("app")])).await;
        rig.declare(shrunken(by_end)).await;
        assert_eq!(active(&rig), 14, "what documents say of their own users acts, and nothing else");
        let lost = |rig: &Rig| rig.engine.source().shrink.map(|shrink| shrink.lost);
        assert_eq!(lost(&rig), Some(10));
        rig.declare(shrunken(by_end)).await;
        assert_eq!((active(&rig), lost(&rig)), (14, Some(10)), "loaded once more");
        let mut edited = shrunken(by_end);
        edited.digest = "another".into();
        rig.declare(edited).await;
        assert_eq!((active(&rig), lost(&rig)), (14, Some(10)), "edited somewhere else");
        let rig = rig.restarted(shrunken(by_end)).await;
        assert_eq!((active(&rig), lost(&rig)), (14, Some(10)), "after a restart");
        rig.pass(25 * HOUR).await;
        rig.declare(shrunken(by_end)).await;
        assert_eq!((active(&rig), lost(&rig)), (14, Some(10)), "a day later");
        rig.engine.decide(accept(&rig)).await.unwrap();
        rig.rest().await;
        assert_eq!((active(&rig), lost(&rig)), (11, None), "a person accepted it");
        rig.declare(shrunken(by_end)).await;
        assert_eq!((active(&rig), lost(&rig)), (11, None), "and it is what stands from here on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shrinking_that_came_beside_half_a_file_is_held_once_the_file_is_whole() {
    let rig = Rig::started(documents(users(20), [target("app")])).await;
    rig.declare(broken(shrunken(false))).await;
    assert_eq!((active(&rig), rig.engine.source().shrink), (14, None));
    rig.declare(shrunken(false)).await;
    assert_eq!(active(&rig), 14);
    assert_eq!(rig.engine.source().shrink.map(|shrink| shrink.lost), Some(10));
    // Who did it puts it right: nothing is held, and everybody is back.
    rig.declare(documents(users(20), [target("app")])).await;
    assert_eq!((active(&rig), rig.engine.source().shrink), (20, None));
}
