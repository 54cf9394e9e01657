//! A clock that is set takes nobody's access away and empties no window (L16).

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use rosterd::engine::Running;
use rosterd::model::account::AccountState;
use rosterd::model::audit::AuditEvent;
use rosterd::model::plan::HoldKind;
use rosterd::model::target::Schedule;
use rosterd::model::target::Window;
use rosterd::model::user::User;
use rosterd::model::user::Validity;
use tokio::time::Instant;

use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::inactive;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::rig::noon;

/// A user whose access ends so long after noon.
fn until(id: &str, after: TimeDelta) -> User {
    User { valid: Validity { from: None, until: Some(noon() + after) }, ..user(id) }
}

fn active(rig: &Rig) -> usize {
    rig.target("app").inside().accounts.values().filter(|account| account.state == AccountState::Active).count()
}

/// Alice says that the clock is right as it is.
fn trust(rig: &Rig) -> AuditEvent {
    AuditEvent {
        at: rig.now(),
        target: None,
        kind: "trust-clock".to_owned(),
        actor: "alice".to_owned(),
        record: None,
        cycle: None,
        details: BTreeMap::new(),
    }
}

fn trusted(rig: &Rig) -> bool {
    rig.metrics.clock_trusted.get() == 1
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_forward_ends_nobodys_access_until_that_second_really_comes() {
    let leavers = (0..20).map(|number| until(&format!("u-{number:04}"), TimeDelta::hours(6)));
    let rig = Rig::started(documents(leavers, [target("app")])).await;
    assert!(trusted(&rig) && active(&rig) == 20);
    rig.clock.step(TimeDelta::days(365));
    rig.pass(Duration::from_hours(1)).await;
    rig.sync("app").await.unwrap();
    assert_eq!(active(&rig), 20, "not even a cycle that a person asks for acts on it");
    assert!(!trusted(&rig));
    let words = rig.engine.status().clock.unwrap();
    assert!(words.contains("set forward by 31536000 s") && words.contains("rosterd trust-clock"), "{words}");
    rig.clock.step(TimeDelta::days(-365));
    rig.pass(Duration::from_hours(4)).await;
    assert_eq!((active(&rig), trusted(&rig)), (20, true), "right again by itself");
    assert_eq!(rig.engine.status().clock, None);
    rig.pass(Duration::from_mins(61)).await;
    assert_eq!(active(&rig), 0);
}

#[tokio::test(start_paused = true)]
async fn a_persons_word_on_the_clock_brings_back_who_ended_by_a_wrong_one_though_nobody_doubted_it() {
    // The clock was ahead before this process began, and nothing contradicts it.
    let rig = Rig::new(documents([until("a", TimeDelta::hours(1)), user("b")], [target("app")]));
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    rig.clock.step(TimeDelta::hours(2));
    rig.engine.trust_clock(trust(&rig)).await.unwrap();
    rig.pass(Duration::from_secs(10)).await;
    assert_eq!(active(&rig), 1, "a person says that it is two hours later");
    rig.clock.step(TimeDelta::hours(-2));
    rig.engine.trust_clock(trust(&rig)).await.unwrap();
    rig.pass(Duration::from_secs(10)).await;
    assert_eq!((active(&rig), trusted(&rig)), (2, true));
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn an_end_date_that_comes_while_the_clock_is_doubted_acts_when_it_is_right_again() {
    let rig = Rig::started(documents([until("a", TimeDelta::hours(1))], [target("app")])).await;
    rig.clock.step(TimeDelta::days(-30));
    rig.pass(Duration::from_hours(2)).await;
    assert_eq!(active(&rig), 1);
    rig.clock.step(TimeDelta::days(30));
    rig.pass(Duration::from_secs(10)).await;
    assert_eq!(active(&rig), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_document_says_and_schedules_go_on_while_the_clock_is_doubted() {
    let mut app = target("app");
    app.schedule = Some(Schedule::Every(Duration::from_hours(1)));
    let rig = Rig::started(documents([user("a"), user("b")], [app.clone()])).await;
    rig.clock.step(TimeDelta::days(-365));
    rig.pass(Duration::from_secs(10)).await;
    assert!(!trusted(&rig));
    rig.declare(documents([user("a"), inactive("b")], [app])).await;
    assert_eq!(active(&rig), 1, "a narrowing that a document states acts");
    rig.target("app").inside().calls.clear();
    rig.pass(Duration::from_hours(5)).await;
    let listed = rig.target("app").count("list");
    assert!((4..=6).contains(&listed), "listed {listed} times in five hours");
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_forward_empties_no_window_of_a_limit() {
    let mut app = target("app");
    app.limits.narrow_inferred = vec![Window { count: Some(5), percent: None, window: Duration::from_hours(24) }];
    let gone = |count: usize| users(40).into_iter().skip(count).collect::<Vec<_>>();
    let rig = Rig::started(documents(gone(0), [app.clone()])).await;
    for already in 1..=5 {
        rig.declare(documents(gone(already), [app.clone()])).await;
        rig.pass(Duration::from_secs(5)).await;
    }
    assert_eq!(active(&rig), 35);
    for days in [2, -2] {
        rig.clock.step(TimeDelta::days(days));
        rig.pass(Duration::from_secs(10)).await;
        rig.declare(documents(gone(6), [app.clone()])).await;
        rig.pass(Duration::from_mins(5)).await;
        assert_eq!(active(&rig), 35, "after a step of {days} days");
        let holds = rig.status("app").holds;
        assert_eq!(holds.first().map(|hold| hold.limit), Some(HoldKind::NarrowInferred));
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_most_targets_contradict_ends_nobodys_access() {
    let end = TimeDelta::days(10);
    let rig = Rig::started(documents([until("a", end)], [target("app")])).await;
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    // Restarted with a clock that is a month ahead; the target knows better.
    let next = Rig::over(documents([until("a", end)], [target("app")]), targets, store);
    next.clock.step(TimeDelta::days(30));
    next.target("app").inside().time = Some((noon(), Instant::now()));
    next.engine.start(Running::Daemon).await.unwrap();
    next.pass(Duration::from_hours(1)).await;
    assert_eq!((active(&next), trusted(&next)), (1, false));
    let words = next.engine.status().clock.unwrap();
    assert!(words.contains("later than most targets say"), "{words}");
    next.clock.step(TimeDelta::days(-30));
    next.pass(Duration::from_secs(10)).await;
    assert!(trusted(&next), "put right, and the target agrees");
}

#[tokio::test(start_paused = true)]
async fn a_clock_behind_what_the_store_recorded_is_doubted_until_a_person_says_otherwise() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let next = Rig::over(documents([user("a")], [target("app")]), targets, store);
    next.clock.step(TimeDelta::days(-1));
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    assert!(!trusted(&next));
    assert!(next.engine.status().clock.unwrap().contains("earlier than the store says"));
    next.engine.trust_clock(trust(&next)).await.unwrap();
    next.pass(Duration::from_hours(2)).await;
    assert!(trusted(&next));
}

/// Another process over what this one leaves behind, `later`, with the clock as it is.
async fn restarted(rig: Rig, users: impl IntoIterator<Item = User>, later: Duration) -> Rig {
    let shown = rig.now();
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    rig.pass(later).await;
    let next = Rig::over(documents(users, [target("app")]), targets, store);
    next.clock.step(shown + later - noon());
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    next
}

#[tokio::test(start_paused = true)]
async fn a_restart_forgets_no_doubt_of_the_clock() {
    let leavers = || (0..20).map(|number| until(&format!("u-{number:04}"), TimeDelta::hours(6)));
    let rig = Rig::started(documents(leavers(), [target("app")])).await;
    rig.clock.step(TimeDelta::days(365));
    rig.pass(Duration::from_secs(10)).await;
    assert!(!trusted(&rig));
    let rig = restarted(rig, leavers(), Duration::from_mins(5)).await;
    rig.pass(Duration::from_hours(1)).await;
    assert_eq!((active(&rig), trusted(&rig)), (20, false));
    assert!(rig.engine.status().clock.unwrap().contains("rosterd trust-clock"));
    // And once more: what is not believed twice is no truer.
    let rig = restarted(rig, leavers(), Duration::from_mins(5)).await;
    rig.pass(Duration::from_hours(1)).await;
    assert_eq!((active(&rig), trusted(&rig)), (20, false));
    rig.clock.step(TimeDelta::days(-365));
    rig.pass(Duration::from_secs(10)).await;
    assert_eq!((active(&rig), trusted(&rig)), (20, true), "right again by itself");
    rig.pass(Duration::from_hours(4)).await;
    assert_eq!(active(&rig), 0);
}

#[tokio::test(start_paused = true)]
async fn a_doubt_is_written_down_though_no_target_works() {
    let rig = Rig::started(documents([until("a", TimeDelta::hours(6))], [target("app")])).await;
    rig.target("app").inside().shut = true;
    rig.store.open().full = true;
    rig.clock.step(TimeDelta::days(365));
    rig.pass(Duration::from_mins(1)).await;
    rig.store.open().full = false;
    rig.pass(Duration::from_secs(6)).await;
    assert!(rig.store.open().clock.doubted.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_persons_word_on_the_clock_stands_after_a_restart() {
    let rig = Rig::started(documents([until("a", TimeDelta::hours(20))], [target("app")])).await;
    rig.clock.step(TimeDelta::hours(2));
    rig.target("app").inside().time = Some((noon(), Instant::now()));
    rig.pass(Duration::from_mins(10)).await;
    rig.sync("app").await.unwrap();
    assert!(!trusted(&rig));
    rig.engine.trust_clock(trust(&rig)).await.unwrap();
    let rig = restarted(rig, [until("a", TimeDelta::hours(20))], Duration::from_mins(1)).await;
    rig.sync("app").await.unwrap();
    rig.pass(Duration::from_mins(1)).await;
    assert!(trusted(&rig), "{:?}", rig.engine.status().clock);
}

#[tokio::test(start_paused = true)]
async fn windows_stand_where_they_stood_over_a_restart_in_doubt_and_go_on_from_there() {
    let mut app = target("app");
    app.limits.narrow_inferred = vec![Window { count: Some(5), percent: None, window: Duration::from_hours(24) }];
    app.schedule = Some(Schedule::Every(Duration::from_hours(1)));
    let gone = |count: usize| documents(users(40).into_iter().skip(count), [app.clone()]);
    let rig = Rig::started(gone(0)).await;
    rig.declare(gone(5)).await;
    rig.clock.step(TimeDelta::days(400));
    rig.pass(Duration::from_mins(1)).await;
    rig.declare(gone(6)).await;
    let shown = rig.now();
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let next = Rig::over(gone(6), targets, store);
    next.clock.step(shown - noon());
    next.engine.start(Running::Daemon).await.unwrap();
    next.pass(Duration::from_hours(30)).await;
    assert_eq!((active(&next), trusted(&next)), (35, false), "they stand still");
    next.engine.trust_clock(trust(&next)).await.unwrap();
    next.pass(Duration::from_hours(22)).await;
    assert_eq!(active(&next), 35);
    next.pass(Duration::from_hours(4)).await;
    assert_eq!(active(&next), 34, "a day that was believed is a day");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_given_by_a_doubted_clock_that_may_have_ended_by_now() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    rig.clock.step(TimeDelta::days(-365));
    rig.pass(Duration::from_hours(3)).await;
    assert!(!trusted(&rig));
    let mut short = held("admin");
    short.valid.until = Some(noon() + TimeDelta::hours(2));
    let granted = User { roles: [user("a").roles, vec![short]].concat(), ..user("a") };
    let over = until("over", TimeDelta::hours(2));
    rig.declare(documents([granted.clone(), over.clone(), user("new")], [target("app")])).await;
    rig.pass(Duration::from_mins(5)).await;
    let names = |rig: &Rig| {
        let inside = rig.target("app").inside();
        inside.accounts.values().map(|account| account.memberships.len()).collect::<Vec<_>>()
    };
    assert_eq!(names(&rig).len(), 2, "nobody who may be gone by now gets an account; everybody else does");
    assert!(rig.target("app").by_name("over@acme.example").is_none());
    let before = names(&rig);
    assert!(rig.status("app").failures.values().all(|why| why.contains("nobody knows what time it is")));
    assert_eq!(rig.status("app").failures.len(), 2);
    rig.clock.step(TimeDelta::days(365));
    rig.pass(Duration::from_mins(5)).await;
    assert_eq!((trusted(&rig), names(&rig)), (true, before), "their time was over indeed");
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_persons_word_against_what_the_store_recorded_stands_after_a_restart_and_ends_nobodys_access() {
    // A clock that is a day ahead, which nobody noticed; then it is put right while no rosterd runs.
    let leavers = || [until("a", TimeDelta::hours(36)), user("b")];
    let rig = Rig::new(documents(leavers(), [target("app")]));
    rig.clock.step(TimeDelta::days(1));
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let next = Rig::over(documents(leavers(), [target("app")]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    assert!(!trusted(&next));
    next.engine.trust_clock(trust(&next)).await.unwrap();
    next.pass(Duration::from_mins(1)).await;
    assert!(trusted(&next));
    let next = restarted(next, leavers(), Duration::from_hours(13)).await;
    next.pass(Duration::from_mins(1)).await;
    assert!(trusted(&next), "{:?}", next.engine.status().clock);
    assert_eq!(active(&next), 2, "the second has not come, whatever was recorded by the wrong clock");
}

#[tokio::test(start_paused = true)]
async fn a_doubt_that_is_over_does_not_stay_in_a_store_that_did_not_answer_meanwhile() {
    let rig = Rig::started(documents([user("a")], [target("app"), target("crm")])).await;
    rig.clock.step(TimeDelta::days(365));
    rig.pass(Duration::from_secs(10)).await;
    assert!(rig.store.open().clock.doubted.is_some());
    rig.clock.step(TimeDelta::days(-365));
    rig.pass(Duration::from_secs(10)).await;
    assert!(rig.store.open().clock.doubted.is_none());
    // Whoever waited longest to tell it comes last, with what was true then.
    rig.clock.step(TimeDelta::days(365));
    rig.pass(Duration::from_secs(10)).await;
    let doubted = rig.store.open().clock.clone();
    rig.clock.step(TimeDelta::days(-365));
    rig.pass(Duration::from_secs(10)).await;
    rig.store.open().clock = doubted;
    rig.pass(Duration::from_secs(10)).await;
    assert!(trusted(&rig) && rig.store.open().clock.doubted.is_none());
}
