//! What still hangs on somebody whose access ended: told, and waited for no longer than a day (S4.5).

use std::time::Duration;

use chrono::TimeDelta;
use rosterd::connector::ErrorClass;
use rosterd::manifest::Documents;
use rosterd::metrics::OwedReason;
use rosterd::model::account::AccountState;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::plan::HoldKind;
use rosterd::model::target::Blocker;
use rosterd::model::target::Ending;
use rosterd::model::target::Target;
use rosterd::model::user::User;
use serde_json::Value;
use serde_json::json;

use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::path;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::rig::Rig;
use crate::support::target::Fault;

const REVIEWS: &str = "urn:example:User:pendingReviews";
const MATTERS: &str = "urn:example:User:matters";
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Reviews are waited for, matters are told.
fn app() -> Target {
    let mut app = target("app");
    let blocker = |at: &str, wait| Blocker { at: path(at), wait };
    app.account.blockers.insert("pendingReviews".to_owned(), blocker(REVIEWS, Some(DAY)));
    app.account.blockers.insert("matters".to_owned(), blocker(MATTERS, None));
    app
}

fn admin(active: bool) -> User {
    User { roles: vec![held("admin")], active, ..user("u") }
}

fn there(app: &Target) -> Documents {
    documents([admin(true), user("v")], [app.clone()])
}

fn left(app: &Target) -> Documents {
    documents([admin(false), user("v")], [app.clone()])
}

/// `u` is in with an entitlement, and this hangs on the account.
async fn busy(app: &Target, at: &str, what: Value) -> Rig {
    let rig = Rig::started(there(app)).await;
    hang(&rig, at, what);
    rig
}

fn hang(rig: &Rig, at: &str, what: Value) {
    let id = rig.target("app").by_name("u@acme.example").unwrap().id;
    rig.target("app").inside().accounts.get_mut(&id).unwrap().values.insert(path(at), what);
}

fn state(rig: &Rig) -> (AccountState, usize) {
    let account = rig.target("app").by_name("u@acme.example").unwrap();
    (account.state, account.memberships.len())
}

const OPEN: (AccountState, usize) = (AccountState::Active, 0);
const SHUT: (AccountState, usize) = (AccountState::Disabled, 0);

#[tokio::test(start_paused = true)]
async fn s4_5_an_account_waits_a_day_at_most_for_what_hangs_on_it_and_loses_what_can_be_taken_at_once() {
    let app = app();
    let rig = busy(&app, REVIEWS, json!(["R-1", { "value": "R-2" }])).await;
    assert_eq!(state(&rig), (AccountState::Active, 1));
    rig.declare(left(&app)).await;
    assert_eq!(state(&rig), OPEN, "what rosterd granted goes at once");
    let status = rig.status("app");
    assert_eq!((status.owed.len(), status.owed[0].reason), (1, OwedReason::Blocker));
    let told = &status.conflicts[&"u".into()];
    assert!(!told.contains("R-1"), "what it is called may name people: {told}");
    for word in ["2 of `pendingReviews`", "2026-11-23T12", "rosterd revoke u"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let since = status.owed[0].since;
    rig.pass(DAY.saturating_sub(2 * MINUTE)).await;
    rig.sync("app").await.unwrap();
    let rig = rig.restarted(left(&app)).await;
    assert_eq!(state(&rig), OPEN);
    assert_eq!(rig.status("app").owed[0].since, since, "it is owed since the access ended");
    rig.pass(4 * MINUTE).await;
    assert_eq!(state(&rig), SHUT, "and no longer than the rule says");
    assert_eq!(rig.status("app").owed.len(), 0);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn s4_5_an_account_is_shut_as_soon_as_nothing_hangs_on_it_any_more() {
    let app = app();
    let rig = busy(&app, REVIEWS, json!(["R-1"])).await;
    rig.declare(left(&app)).await;
    rig.pass(HOUR).await;
    assert_eq!(state(&rig), OPEN);
    hang(&rig, REVIEWS, json!([]));
    rig.pass(6 * MINUTE).await;
    assert_eq!(state(&rig), SHUT);
    // Another time is another wait.
    rig.declare(there(&app)).await;
    hang(&rig, REVIEWS, json!(["R-9"]));
    rig.declare(left(&app)).await;
    rig.pass(DAY.saturating_sub(HOUR)).await;
    assert_eq!(state(&rig), OPEN);
    rig.pass(2 * HOUR).await;
    assert_eq!(state(&rig), SHUT);
}

#[tokio::test(start_paused = true)]
async fn s4_5_what_is_only_told_keeps_no_account_open() {
    let app = app();
    for what in [json!(["M-1", "M-2", "M-3", "M-4"]), json!("M-1"), json!(7)] {
        let rig = busy(&app, MATTERS, what).await;
        rig.declare(left(&app)).await;
        assert_eq!(state(&rig).0, AccountState::Disabled);
        let intents = rig.store.open().intents.clone();
        let told = intents.iter().any(|intent| intent.change.reason.contains("`matters`"));
        assert!(told, "it stands in the history");
    }
    for nothing in [json!([]), json!(""), json!(false), Value::Null] {
        let rig = busy(&app, REVIEWS, nothing).await;
        rig.declare(left(&app)).await;
        assert_eq!(state(&rig).0, AccountState::Disabled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_persons_word_waits_for_nothing_that_hangs_there() {
    let app = app();
    for first in [there, left] {
        let rig = busy(&app, REVIEWS, json!(["R-1"])).await;
        rig.declare(first(&app)).await;
        assert_eq!(state(&rig).0, AccountState::Active);
        let revoke = Decision { record: Some("u".into()), ..Decision::new(DecisionKind::Revoke, "ops", rig.now()) };
        rig.engine.decide(revoke).await.unwrap();
        rig.rest().await;
        assert_eq!(state(&rig).0, AccountState::Disabled);
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_while_something_is_waited_for_has_lost_only_what_was_taken() {
    let app = app();
    let rig = busy(&app, REVIEWS, json!(["R-1"])).await;
    rig.declare(left(&app)).await;
    rig.pass(HOUR).await;
    rig.declare(there(&app)).await;
    assert_eq!(state(&rig), (AccountState::Active, 1));
    assert_eq!(rig.status("app").owed.len(), 0);
    rig.pass(2 * DAY).await;
    assert_eq!(state(&rig), (AccountState::Active, 1));
    assert_eq!(rig.target("app").count("disable"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_makes_nothing_wait_twice() {
    let app = app();
    let rig = busy(&app, REVIEWS, json!(["R-1"])).await;
    rig.target("app").inside().faults.push_back(Fault::LoseReply);
    rig.declare(left(&app)).await;
    rig.pass(DAY + 5 * MINUTE).await;
    assert_eq!(state(&rig), SHUT);
    assert_eq!(rig.target("app").count("disable"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_account_of_somebody_who_is_gone_waits_too_and_one_that_is_kept_is_not_touched() {
    let mut app = app();
    let gone = |app: &Target| documents([user("v")], [app.clone()]);
    let rig = busy(&app, REVIEWS, json!(["R-1"])).await;
    rig.declare(gone(&app)).await;
    rig.pass(HOUR).await;
    assert_eq!(state(&rig), OPEN);
    rig.pass(DAY).await;
    assert_eq!(state(&rig), SHUT);
    app.account.on_gone = Ending::Keep;
    let rig = busy(&app, REVIEWS, json!(["R-1"])).await;
    rig.declare(gone(&app)).await;
    rig.pass(2 * DAY).await;
    assert_eq!(state(&rig), (AccountState::Active, 1));
    assert_eq!(rig.status("app").owed.len(), 0);
}

/// L11
#[tokio::test(start_paused = true)]
async fn a_document_that_keeps_leavers_in_longer_waits_for_a_release() {
    let with = |wait: Option<Duration>| {
        let mut app = app();
        app.account.blockers.insert("pendingReviews".to_owned(), Blocker { at: path(REVIEWS), wait });
        app
    };
    for (before, after) in [(None, HOUR), (Some(HOUR), DAY)] {
        let rig = busy(&with(before), REVIEWS, json!(["R-1"])).await;
        let longer = with(Some(after));
        rig.declare(there(&longer)).await;
        assert!(rig.status("app").holds.iter().any(|hold| hold.limit == HoldKind::Loosen), "{before:?}");
        rig.declare(left(&longer)).await;
        rig.pass(before.unwrap_or_default() + 6 * MINUTE).await;
        assert_eq!(state(&rig).0, AccountState::Disabled, "{before:?}");
        rig.declare(there(&longer)).await;
        rig.release(HoldKind::Loosen).await;
        rig.declare(left(&longer)).await;
        assert_eq!(state(&rig).0, AccountState::Active, "{before:?}");
        rig.pass(after + 6 * MINUTE).await;
        assert_eq!(state(&rig).0, AccountState::Disabled, "{before:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_and_goes_makes_no_second_day() {
    let app = app();
    let rig = busy(&app, REVIEWS, json!(["R-1"])).await;
    rig.declare(left(&app)).await;
    rig.pass(DAY.saturating_sub(HOUR)).await;
    // Nothing hangs there for a moment, in which each removal needs another look; then something else does.
    hang(&rig, REVIEWS, json!([]));
    rig.target("app").inside().bad_user = Some(("u@acme.example".to_owned(), ErrorClass::Changed));
    rig.pass(10 * MINUTE).await;
    hang(&rig, REVIEWS, json!(["R-2"]));
    rig.target("app").inside().bad_user = None;
    rig.pass(2 * HOUR).await;
    assert_eq!(state(&rig), SHUT);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_opened_again_waits_no_second_day() {
    let app = app();
    let rig = busy(&app, REVIEWS, json!(["R-1"])).await;
    rig.declare(left(&app)).await;
    rig.pass(DAY + HOUR).await;
    assert_eq!(state(&rig), SHUT);
    let id = rig.target("app").by_name("u@acme.example").unwrap().id;
    rig.target("app").inside().accounts.get_mut(&id).unwrap().state = AccountState::Active;
    rig.sync("app").await.unwrap();
    rig.rest().await;
    assert_eq!(state(&rig), SHUT, "it was waited for already");
}

/// L16
#[tokio::test(start_paused = true)]
async fn a_return_behind_a_shut_door_begins_another_day() {
    let app = app();
    for restart in [false, true] {
        let rig = busy(&app, REVIEWS, json!(["R-1"])).await;
        rig.declare(left(&app)).await;
        rig.pass(DAY.saturating_sub(HOUR)).await;
        rig.target("app").inside().shut = true;
        let rig = if restart { rig.restarted(left(&app)).await } else { rig };
        rig.declare(there(&app)).await;
        rig.declare(left(&app)).await;
        rig.target("app").inside().shut = false;
        rig.pass(3 * HOUR).await;
        assert_eq!(state(&rig), OPEN, "restart: {restart}");
        rig.pass(DAY).await;
        assert_eq!(state(&rig), SHUT, "restart: {restart}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_kind_is_counted_by_itself_and_all_of_them_for_no_longer_than_the_longest_wait() {
    let mut app = app();
    app.account.blockers.insert("matters".to_owned(), Blocker { at: path(MATTERS), wait: Some(2 * HOUR) });
    app.account.blockers.insert("pendingReviews".to_owned(), Blocker { at: path(REVIEWS), wait: Some(4 * HOUR) });
    let rig = busy(&app, REVIEWS, json!(["R-1"])).await;
    rig.declare(left(&app)).await;
    rig.pass(3 * HOUR + 30 * MINUTE).await;
    hang(&rig, REVIEWS, json!([]));
    hang(&rig, MATTERS, json!(["M-1"]));
    rig.pass(20 * MINUTE).await;
    assert_eq!(state(&rig), OPEN, "matters came late");
    rig.pass(20 * MINUTE).await;
    assert_eq!(state(&rig), SHUT, "and keep nobody in for longer than the longest wait");
}

/// L5
#[tokio::test(start_paused = true)]
async fn who_is_waited_for_is_looked_at_ever_more_rarely_and_keeps_nobody_else_in() {
    let app = app();
    let rig = busy(&app, REVIEWS, json!(["R-1"])).await;
    rig.declare(documents([user("v")], [app.clone()])).await;
    let before = rig.target("app").count("fetch");
    rig.pass(12 * HOUR).await;
    let looks = rig.target("app").count("fetch") - before;
    assert!((100..=160).contains(&looks), "about every five minutes: {looks}");
    // A look at the one takes long, and the other leaves meanwhile.
    rig.target("app").inside().latency = Duration::from_secs(20);
    while rig.target("app").count("fetch") == before + looks {
        rig.pass(Duration::from_secs(1)).await;
    }
    rig.source.set(Ok(documents([User { active: false, ..user("v") }], [app.clone()])));
    let id = rig.target("app").by_name("v@acme.example").unwrap().id;
    rig.pass(Duration::from_secs(2)).await;
    assert_eq!(rig.target("app").count("fetch"), before + looks + 2, "the leaver is looked at beside it");
    rig.pass(MINUTE).await;
    assert_eq!(rig.target("app").inside().accounts[&id].state, AccountState::Disabled);
}

/// L16
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_shuts_nobody_sooner_and_keeps_nobody_in_for_longer() {
    let app = app();
    for step in [TimeDelta::days(400), TimeDelta::days(-400)] {
        let rig = busy(&app, REVIEWS, json!(["R-1"])).await;
        rig.declare(left(&app)).await;
        rig.pass(HOUR).await;
        rig.clock.step(step);
        rig.pass(DAY.saturating_sub(2 * HOUR)).await;
        assert_eq!(state(&rig), OPEN, "{step}: no sooner");
        rig.pass(HOUR + 6 * MINUTE).await;
        assert_eq!(state(&rig), SHUT, "{step}: the day that really passed is over");
    }
}
