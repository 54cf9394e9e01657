//! What a date will bring, and what a change would do: asked, never done.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use rosterd::connector::ErrorClass;
use rosterd::engine::EngineError;
use rosterd::model::account::AccountState;
use rosterd::model::audit::AuditEvent;
use rosterd::model::change::Action;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::ids::CycleId;
use rosterd::model::plan::HoldKind;
use rosterd::model::plan::Plan;
use rosterd::model::projection::Desired;
use rosterd::model::target::Ending;
use rosterd::model::target::Window;
use rosterd::model::user::User;
use rosterd::model::user::Validity;

use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::path;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::rig::noon;
use crate::support::target::Fault;

fn days(number: i64) -> TimeDelta {
    TimeDelta::days(number)
}

/// `leaver` until the tenth day, `starter` from the fifth on, `helper` admin until the third.
async fn started() -> Rig {
    let leaver = User { valid: Validity { from: None, until: Some(noon() + days(10)) }, ..user("leaver") };
    let starter = User { valid: Validity { from: Some(noon() + days(5)), until: None }, ..user("starter") };
    let mut helper = user("helper");
    let mut admin = held("admin");
    admin.valid.until = Some(noon() + days(3));
    helper.roles.push(admin);
    Rig::started(documents([leaver, starter, helper, user("stays")], [target("app")])).await
}

fn summary(plan: &Plan) -> Vec<(&str, Action)> {
    plan.changes.iter().map(|change| (change.record.as_str(), change.action)).collect()
}

async fn at(rig: &Rig, day: i64) -> Plan {
    rig.engine.plan_at(&"app".into(), None, None, noon() + days(day)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_plan_at_a_date_shows_what_begins_and_ends_until_then_and_changes_nothing() {
    let rig = started().await;
    let calls = |rig: &Rig| ["create", "update", "disable", "enable"].map(|what| rig.target("app").count(what));
    let (before, intents) = (calls(&rig), rig.store.open().intents.len());
    assert_eq!(summary(&at(&rig, 1).await), []);
    assert_eq!(summary(&at(&rig, 4).await), [("helper", Action::Narrow)]);
    assert_eq!(summary(&at(&rig, 6).await), [("helper", Action::Narrow), ("starter", Action::Create)]);
    let all = at(&rig, 11).await;
    let expected = [("helper", Action::Narrow), ("leaver", Action::Disable), ("starter", Action::Create)];
    assert_eq!(summary(&all), expected);
    assert_eq!((calls(&rig), rig.store.open().intents.len()), (before, intents));
    let past = rig.engine.plan_at(&"app".into(), None, None, noon() - days(1)).await;
    assert!(matches!(past, Err(EngineError::Invalid(words)) if words.contains("in the past")));
}

#[tokio::test(start_paused = true)]
async fn explain_if_answers_what_a_change_would_do_and_stores_none_of_it() {
    let rig = started().await;
    let (record, app) = ("stays".into(), "app".into());
    let asked = async |change: &str| rig.engine.explain_if(&record, &app, change).await;
    let actions = async |change: &str| {
        let told = asked(change).await.unwrap();
        told.changes.iter().map(|change| change.action).collect::<Vec<_>>()
    };
    assert_eq!(actions("active=false").await, [Action::Disable]);
    assert_eq!(actions("gone").await, [Action::Disable]);
    assert_eq!(actions("role+=admin").await, [Action::Update]);
    assert_eq!(actions("role-=staff").await, [Action::Disable]);
    assert_eq!(actions("validUntil=2020-01-01T00:00:00Z").await, [Action::Disable]);
    assert_eq!(actions("role+=admin, validUntil=2030-01-01T00:00:00Z").await, [Action::Update]);
    let document =
        "{apiVersion: rosterd.dev/v1, kind: User, metadata: {name: stays}, spec: {givenName: Ada, roles: []}}";
    assert_eq!(actions(document).await, [Action::Disable]);
    for (change, words) in [
        ("colour=red", "is not a change"),
        ("role+=nosuch", "there is no role `nosuch`"),
        ("role-=admin", "does not hold `admin`"),
        ("validUntil=tomorrow", "is no time"),
        ("{kind: User, metadata: {name: other}}", "apiVersion"),
    ] {
        let refused = asked(change).await;
        assert!(matches!(&refused, Err(EngineError::Invalid(said)) if said.contains(words)), "{change}: {refused:?}");
    }
    let real = rig.engine.explain(&record, &app).await.unwrap();
    assert!(real.changes.is_empty() && matches!(real.desired, Some(Desired::Account(_))));
    rig.assert_settled("app").await;
}

/// The last cycle that did something.
fn last_cycle(rig: &Rig) -> CycleId {
    let inside = rig.store.open();
    let done = inside.cycles.values().filter(|cycle| !cycle.done.is_empty());
    done.max_by_key(|cycle| cycle.ended).unwrap().id.clone()
}

fn undo_event(rig: &Rig) -> AuditEvent {
    AuditEvent {
        at: rig.now(),
        target: None,
        kind: "undo".to_owned(),
        actor: "alice".to_owned(),
        record: None,
        cycle: None,
        details: BTreeMap::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_manifests_ask_for_is_not_undone_and_the_line_to_change_is_named() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    let mut changed = users(3);
    let created = rig.engine.undo_plan(&last_cycle(&rig)).await.unwrap();
    assert_eq!((created.changes.len(), created.left.len()), (0, 3), "who is declared keeps the account");
    changed[1].given_name = Some("Ada".to_owned());
    rig.pass(Duration::from_secs(1)).await;
    rig.declare(documents(changed.clone(), [target("app")])).await;
    let told = rig.engine.undo_plan(&last_cycle(&rig)).await.unwrap();
    assert_eq!(told.changes, []);
    assert!(told.left[0].1.contains("change the manifest: test.yaml:1"), "{:?}", told.left);
    changed[2].active = false;
    rig.pass(Duration::from_secs(1)).await;
    rig.declare(documents(changed, [target("app")])).await;
    let cycle = last_cycle(&rig);
    let told = rig.engine.undo_plan(&cycle).await.unwrap();
    assert_eq!(told.changes, []);
    assert!(told.left[0].1.contains("entitled to no account now"), "{:?}", told.left);
    let refused = rig.engine.undo(&cycle, undo_event(&rig)).await;
    assert!(matches!(refused, Err(EngineError::Stale(_))), "{refused:?}");
    let nosuch = rig.engine.undo_plan(&"nosuch".into()).await;
    assert!(matches!(nosuch, Err(EngineError::Stale(words)) if words.contains("rosterd history")));
}

/// So many users with accounts, who got another given name by the cycle.
async fn renamed_by_a_cycle(count: usize) -> (Rig, Vec<User>, CycleId) {
    let rig = Rig::started(documents(users(count), [target("app")])).await;
    let mut changed = users(count);
    for user in &mut changed {
        user.given_name = Some("Wrong".to_owned());
    }
    rig.pass(Duration::from_secs(1)).await;
    rig.declare(documents(changed.clone(), [target("app")])).await;
    let cycle = last_cycle(&rig);
    (rig, changed, cycle)
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_any_more_is_undone_once_and_as_far_as_it_still_stands() {
    let (rig, changed, cycle) = renamed_by_a_cycle(4).await;
    let given = |id: &str| {
        let account = rig.target("app").by_name(&format!("{id}@acme.example")).unwrap();
        account.values[&path("name.givenName")].clone()
    };
    assert_eq!(given("u-0000"), "Wrong");
    // The attribute is left to the target from now on, and somebody mended one account there.
    let mut app = target("app");
    app.account.attributes.clear();
    rig.declare(documents(changed, [app])).await;
    let mended = rig.target("app").by_name("u-0003@acme.example").unwrap().id;
    rig.target("app").inside().accounts.get_mut(&mended).unwrap().values.insert(path("name.givenName"), "Right".into());
    let undo = rig.engine.undo_plan(&cycle).await.unwrap();
    assert_eq!(undo.changes.len(), 3);
    assert!(undo.left[0].1.contains("no longer stands"), "{:?}", undo.left);
    let report = rig.engine.undo(&cycle, undo_event(&rig)).await.unwrap();
    assert_eq!((report.cycle.done["update"], report.failures.len()), (3, 0));
    assert_eq!((given("u-0000"), given("u-0003")), ("Given u-0000".into(), "Right".into()));
    assert!(rig.engine.undo_plan(&cycle).await.unwrap().changes.is_empty(), "it is undone once");
    let told = rig.store.open().events.iter().filter(|event| event.kind == "undo" && event.actor == "alice").count();
    assert_eq!(told, 1);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn undoing_a_creation_takes_access_away_under_todays_limits() {
    let mut app = target("app");
    app.account.on_gone = Ending::Keep;
    let rig = Rig::started(documents(users(30), [app.clone()])).await;
    let cycle = last_cycle(&rig);
    rig.declare(documents(users(25), [app.clone()])).await;
    assert_eq!(rig.target("app").count("disable"), 0, "accounts of those who are gone are kept");
    app.limits.narrow_explicit = vec![Window { count: Some(2), percent: None, window: Duration::from_hours(1) }];
    rig.declare(documents(users(25), [app.clone()])).await;
    let undo = rig.engine.undo_plan(&cycle).await.unwrap();
    assert_eq!(undo.changes.iter().map(|change| change.action).collect::<Vec<_>>(), [Action::Disable; 5]);
    let report = rig.engine.undo(&cycle, undo_event(&rig)).await.unwrap();
    assert_eq!(report.plan.holds.iter().map(|hold| hold.changes.len()).sum::<usize>(), 5, "more than two are held");
    assert_eq!(rig.target("app").count("disable"), 0);
    app.limits.narrow_explicit = vec![Window { count: Some(100), percent: None, window: Duration::from_hours(1) }];
    rig.declare(documents(users(25), [app])).await;
    rig.release(HoldKind::Loosen).await;
    rig.engine.undo(&cycle, undo_event(&rig)).await.unwrap();
    assert_eq!(rig.target("app").count("disable"), 5);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn undoing_what_a_persons_word_brought_is_no_revocation() {
    let mut app = target("app");
    app.account.on_gone = Ending::Keep;
    let rig = Rig::started(documents(users(8), [app.clone()])).await;
    let word = |kind| Decision { record: Some("u-0007".into()), ..Decision::new(kind, "alice", rig.now()) };
    rig.engine.decide(word(DecisionKind::Revoke)).await.unwrap();
    rig.rest().await;
    rig.pass(Duration::from_secs(1)).await;
    rig.engine.decide(word(DecisionKind::Restore)).await.unwrap();
    rig.rest().await;
    let cycle = last_cycle(&rig);
    rig.declare(documents(users(7), [app.clone()])).await;
    let undo = rig.engine.undo_plan(&cycle).await.unwrap();
    assert_eq!(undo.changes.iter().map(|change| change.action).collect::<Vec<_>>(), [Action::Disable]);
    assert!(!undo.changes[0].is_revocation(), "it counts against limits: {:?}", undo.changes[0].origins);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_undone_of_a_user_while_nobody_knows_how_a_call_ended() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    let mut changed = users(2);
    changed[0].given_name = Some("Wrong".to_owned());
    rig.pass(Duration::from_secs(1)).await;
    rig.declare(documents(changed.clone(), [target("app")])).await;
    let cycle = last_cycle(&rig);
    let mut app = target("app");
    app.account.attributes.clear();
    rig.declare(documents(changed.clone(), [app.clone()])).await;
    rig.target("app").inside().faults.push_back(Fault::LoseRequest);
    changed[0].roles.push(held("admin"));
    rig.source.set(Ok(documents(changed, [app])));
    rig.pass(Duration::from_millis(50)).await;
    let refused = rig.engine.undo(&cycle, undo_event(&rig)).await;
    assert!(matches!(&refused, Err(EngineError::Target(words)) if words.contains("u-0000")), "{refused:?}");
    rig.pass(Duration::from_mins(2)).await;
    rig.engine.undo(&cycle, undo_event(&rig)).await.unwrap();
}

/// L5, L14
#[tokio::test(start_paused = true)]
async fn undoing_takes_nothing_back_that_is_due_by_now() {
    let (rig, mut changed, cycle) = renamed_by_a_cycle(3).await;
    let mut app = target("app");
    app.account.attributes.clear();
    rig.declare(documents(changed.clone(), [app.clone()])).await;
    // Somebody leaves, and the target is not able to disable them, nor to write anything else.
    rig.target("app").inside().bad_user = Some(("u-0000@acme.example".to_owned(), ErrorClass::Transient));
    changed[0].active = false;
    rig.declare(documents(changed, [app])).await;
    rig.pass(Duration::from_mins(1)).await;
    let owed = |rig: &Rig| rig.status("app").owed.iter().map(|owed| owed.record.to_string()).collect::<Vec<_>>();
    assert_eq!(owed(&rig), ["u-0000"]);
    let report = rig.engine.undo(&cycle, undo_event(&rig)).await.unwrap();
    assert_eq!(report.cycle.done["update"], 2, "what is undone of the others is undone");
    assert_eq!(report.stale.iter().map(|change| change.record.as_str()).collect::<Vec<_>>(), ["u-0000"]);
    assert_eq!(owed(&rig), ["u-0000"]);
    rig.target("app").inside().bad_user = None;
    rig.pass(Duration::from_mins(2)).await;
    assert_eq!(rig.target("app").by_name("u-0000@acme.example").unwrap().state, AccountState::Disabled);
    assert_eq!(owed(&rig), [] as [&str; 0]);
}
