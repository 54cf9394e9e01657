//! Deletions that something crosses: another user who fits the account, an answer that is wrong or comes
//! late, a return behind a shut door, a store that was put back (L2, L10, L11, L16, L18).

use std::collections::BTreeMap;
use std::time::Duration;

use rosterd::connector::ErrorClass;
use rosterd::engine::Running;
use rosterd::engine::SyncRequest;
use rosterd::manifest::Documents;
use rosterd::model::account::AccountState;
use rosterd::model::change::Action;
use rosterd::model::decision::DecisionKind;
use rosterd::model::history::OutcomeResult;
use rosterd::model::ids::RecordId;
use rosterd::model::plan::HoldKind;
use rosterd::model::target::Ending;
use rosterd::model::target::ForeignDelete;
use rosterd::model::target::MatchKey;
use rosterd::model::target::Target;
use rosterd::model::user::RoleHeld;
use rosterd::model::user::User;
use rosterd::model::user::Validity;

use crate::support::leaver::WAIT;
use crate::support::leaver::app;
use crate::support::leaver::deletions;
use crate::support::leaver::leaver;
use crate::support::leaver::left;
use crate::support::leaver::state;
use crate::support::leaver::there;
use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::inactive;
use crate::support::make::path;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::rig::Rig;
use crate::support::rig::noon;
use crate::support::target::Fault;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// The same while another process keeps the door of the target shut.
async fn restarted_before_a_shut_door(rig: Rig, documents: Documents) -> Rig {
    rig.target("app").inside().shut = true;
    rig.restarted(documents).await
}

/// The request to delete is lost on its way, and the look after it is answered wrongly.
async fn lose_the_deletion_and_show_nothing_once(rig: &Rig) {
    rig.target("app").inside().faults.push_back(Fault::LoseRequest);
    rig.pass(WAIT).await;
    while deletions(rig) == 0 {
        rig.pass(Duration::from_secs(1)).await;
    }
    rig.target("app").inside().blind_looks = 1;
}

fn links(rig: &Rig) -> usize {
    rig.store.open().links.len()
}

/// How the last deletion ended, as it was recorded.
fn outcome(rig: &Rig) -> Option<OutcomeResult> {
    let store = rig.store.open();
    let deletion = store.intents.iter().rfind(|intent| intent.change.action == Action::Delete)?;
    store.outcomes.get(&deletion.id).cloned()
}

fn with_name_of_u(id: &str) -> User {
    User { email: user("u").email, ..user(id) }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_another_declared_user_fits_is_not_deleted() {
    let (keyless, mut by_name) = (app(true), app(true));
    by_name.account.match_keys = vec![MatchKey(vec![path("userName")])];
    let mut at_once = target("app");
    at_once.account.on_out_of_scope = Ending::Delete;
    let out = || User { roles: Vec::new(), ..user("u") };
    for app in [keyless, by_name, at_once] {
        let rig = Rig::started(there(&app)).await;
        rig.declare(documents([out(), user("v")], [app.clone()])).await;
        assert_eq!(state(&rig), Some(AccountState::Disabled));
        rig.declare(documents([out(), user("v"), with_name_of_u("w")], [app.clone()])).await;
        rig.pass(WAIT + 3 * MINUTE).await;
        rig.sync("app").await.unwrap();
        let held = rig.status("app").holds.iter().any(|hold| hold.limit == HoldKind::Delete);
        assert_eq!((state(&rig), deletions(&rig), held), (Some(AccountState::Disabled), 0, false));
        let conflicts = rig.status("app").conflicts;
        assert!(conflicts.get(&"u".into()).is_some_and(|told| told.contains("`w`")), "{conflicts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_fits_somebody_who_is_to_come_or_is_in_conflict_is_not_deleted() {
    let app = app(true);
    let monday = Validity { from: Some(noon() + chrono::TimeDelta::days(30)), until: None };
    let later = User { valid: monday, ..with_name_of_u("w") };
    let by_role = User { roles: vec![RoleHeld { valid: monday, ..held("staff") }], ..with_name_of_u("w") };
    let two = vec![with_name_of_u("w"), with_name_of_u("x")];
    for others in [vec![later], vec![by_role], two] {
        let rig = leaver(&app).await;
        let everybody = [inactive("u"), user("v")].into_iter().chain(others);
        rig.declare(documents(everybody, [app.clone()])).await;
        rig.pass(WAIT + 3 * MINUTE).await;
        rig.sync("app").await.unwrap();
        assert_eq!((state(&rig), deletions(&rig)), (Some(AccountState::Disabled), 0));
        let conflicts = rig.status("app").conflicts;
        assert!(conflicts.get(&"u".into()).is_some_and(|told| told.contains("`w`")), "{conflicts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_fits_somebody_who_left_too_is_deleted() {
    let app = app(true);
    let rig = leaver(&app).await;
    let ended = Validity { from: None, until: Some(noon() - chrono::TimeDelta::days(1)) };
    let others = [User { active: false, ..with_name_of_u("w") }, User { valid: ended, ..with_name_of_u("x") }];
    let everybody = [inactive("u"), user("v")].into_iter().chain(others);
    rig.declare(documents(everybody, [app.clone()])).await;
    rig.pass(WAIT + 3 * MINUTE).await;
    assert_eq!(deletions(&rig), 1);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_fits_somebody_who_has_another_is_not_deleted() {
    let app = app(true);
    let rig = leaver(&app).await;
    let renamed = User { email: user("u").email, ..user("v") };
    rig.declare(documents([inactive("u"), renamed], [app.clone()])).await;
    rig.pass(WAIT + 3 * MINUTE).await;
    rig.sync("app").await.unwrap();
    assert_eq!(deletions(&rig), 0);
    // Once nobody else fits it, it goes.
    rig.declare(left(&app)).await;
    rig.sync("app").await.unwrap();
    rig.rest().await;
    assert_eq!(deletions(&rig), 1);
}

/// L18
#[tokio::test(start_paused = true)]
async fn who_fits_the_account_by_now_keeps_a_deletion_that_was_let_through() {
    let app = app(false);
    let rig = leaver(&app).await;
    rig.pass(WAIT + 2 * MINUTE).await;
    rig.target("app").inside().bad_lists = Some(ErrorClass::Transient);
    let hold = rig.status("app").holds[0].digest.clone();
    rig.source.set(Ok(documents([inactive("u"), user("v"), with_name_of_u("w")], [app.clone()])));
    rig.engine.decide(rig.decision(DecisionKind::Release, Some(hold))).await.unwrap();
    rig.pass(10 * MINUTE).await;
    assert_eq!((state(&rig), deletions(&rig)), (Some(AccountState::Disabled), 0));
}

/// L18
#[tokio::test(start_paused = true)]
async fn a_deletion_that_was_let_through_follows_from_a_fresh_look() {
    let app = app(false);
    let rig = leaver(&app).await;
    rig.pass(WAIT + 2 * MINUTE).await;
    // No listing tells that another hand opened the account since; a plan about somebody else is made.
    let id = rig.target("app").by_name("u@acme.example").unwrap().id;
    rig.target("app").inside().accounts.get_mut(&id).unwrap().state = AccountState::Active;
    rig.target("app").inside().bad_lists = Some(ErrorClass::Transient);
    let hold = rig.status("app").holds[0].digest.clone();
    rig.engine.decide(rig.decision(DecisionKind::Release, Some(hold))).await.unwrap();
    let other = User { given_name: Some("Grace".to_owned()), ..user("v") };
    rig.declare(documents([inactive("u"), other], [app.clone()])).await;
    rig.pass(10 * MINUTE).await;
    assert_eq!((state(&rig), deletions(&rig)), (Some(AccountState::Disabled), 0), "it is ended, and waits anew");
}

/// A command over what a daemon leaves behind, at the time that its clock shows.
async fn once(rig: Rig, documents: Documents) -> Rig {
    let (targets, store) = rig.remains();
    let now = rig.now();
    rig.engine.stop().await;
    let rig = Rig::over(documents, targets, store);
    rig.clock.step(now - noon());
    rig.engine.start(Running::Once).await.unwrap();
    rig
}

/// L18
#[tokio::test(start_paused = true)]
async fn a_deletion_of_a_saved_plan_that_has_to_wait_is_told_and_not_made() {
    let app = app(true);
    let rig = leaver(&app).await;
    rig.pass(WAIT.saturating_sub(DAY)).await;
    let rig = once(rig, left(&app)).await;
    rig.pass(DAY + 5 * MINUTE).await;
    let saved = rig.engine.plan(&"app".into(), None, None).await.unwrap().changes;
    assert_eq!(saved.iter().map(|change| change.action).collect::<Vec<_>>(), [Action::Delete]);
    let request = SyncRequest { records: None, only: Some(saved) };
    let name = "app".into();
    rig.target("app").inside().latency = Duration::from_secs(2);
    let crossed = async {
        // The clock is doubted while the plan is derived again, and another hand opens the account meanwhile.
        rig.pass(Duration::from_secs(1)).await;
        rig.clock.step(chrono::TimeDelta::days(3));
        rig.pass(5 * MINUTE).await;
        let id = rig.target("app").by_name("u@acme.example").unwrap().id;
        rig.target("app").inside().accounts.get_mut(&id).unwrap().state = AccountState::Active;
        rig.clock.step(chrono::TimeDelta::days(-3));
        rig.pass(5 * MINUTE).await;
    };
    let (report, ()) = tokio::join!(rig.engine.sync(&name, request), crossed);
    assert_eq!((state(&rig), deletions(&rig)), (Some(AccountState::Active), 0));
    let failures = report.unwrap().failures;
    assert!(failures.get(&"u".into()).is_some_and(|why| why.contains("make a new plan")), "{failures:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_of_a_saved_plan_is_made_however_long_the_listing_takes() {
    let app = app(true);
    let rig = leaver(&app).await;
    rig.pass(WAIT.saturating_sub(DAY)).await;
    let rig = once(rig, left(&app)).await;
    rig.pass(DAY + 5 * MINUTE).await;
    let only = Some(rig.engine.plan(&"app".into(), None, None).await.unwrap().changes);
    let name = "app".into();
    rig.target("app").inside().latency = Duration::from_secs(1);
    let slow = async {
        // The door is asked twice first.
        rig.pass(Duration::from_millis(1_500)).await;
        rig.target("app").inside().latency = 9 * MINUTE;
        rig.pass(Duration::from_secs(1)).await;
        rig.target("app").inside().latency = Duration::ZERO;
    };
    let (report, ()) = tokio::join!(rig.engine.sync(&name, SyncRequest { records: None, only }), slow);
    assert_eq!(report.unwrap().failures, BTreeMap::new());
    assert_eq!((state(&rig), deletions(&rig)), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn one_wrong_answer_ends_no_link() {
    let app = app(true);
    let rig = leaver(&app).await;
    lose_the_deletion_and_show_nothing_once(&rig).await;
    rig.pass(5 * MINUTE).await;
    assert_eq!(rig.target("app").inside().blind_looks, 0, "it was answered wrongly");
    assert_eq!((deletions(&rig), state(&rig), links(&rig)), (2, None, 1), "and looked at once more");
}

#[tokio::test(start_paused = true)]
async fn who_returns_gets_no_second_account_by_one_wrong_answer() {
    let app = app(true);
    let rig = leaver(&app).await;
    lose_the_deletion_and_show_nothing_once(&rig).await;
    rig.declare(there(&app)).await;
    rig.pass(2 * MINUTE).await;
    assert_eq!((state(&rig), rig.target("app").count("create u@")), (Some(AccountState::Active), 1));
    rig.assert_settled("app").await;
}

/// L5
#[tokio::test(start_paused = true)]
async fn one_wrong_answer_forgets_no_leaver() {
    for without in [left, |app: &Target| documents([user("v")], [app.clone()])] {
        let app = target("app");
        let rig = Rig::started(there(&app)).await;
        rig.target("app").inside().blind_looks = 1;
        rig.declare(without(&app)).await;
        assert_eq!(state(&rig), Some(AccountState::Active), "it was answered that nobody is there");
        assert_eq!(rig.status("app").owed.len(), 1);
        rig.pass(MINUTE).await;
        assert_eq!(state(&rig), Some(AccountState::Disabled));
        assert_eq!(rig.status("app").owed.len(), 0);
    }
}

/// L5
#[tokio::test(start_paused = true)]
async fn an_answer_that_neither_shows_the_account_nor_says_that_it_is_gone_forgets_no_leaver() {
    let app = target("app");
    let rig = Rig::started(there(&app)).await;
    rig.target("app").inside().unproven = true;
    rig.target("app").inside().blind_looks = 3;
    rig.declare(left(&app)).await;
    assert_eq!((state(&rig), rig.status("app").owed.len()), (Some(AccountState::Active), 1));
    assert!(rig.status("app").failures.contains_key(&"u".into()), "it is told");
    rig.pass(3 * MINUTE).await;
    assert_eq!((state(&rig), rig.status("app").owed.len()), (Some(AccountState::Disabled), 0));
}

/// L5
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_between_two_wrong_answers_forgets_no_leaver() {
    let app = target("app");
    let rig = Rig::started(there(&app)).await;
    rig.target("app").inside().blind_looks = 2;
    rig.declare(left(&app)).await;
    // Less than what makes the clock doubted.
    rig.clock.step(chrono::TimeDelta::seconds(50));
    let request = SyncRequest { records: Some([RecordId::from("u")].into()), only: None };
    rig.engine.sync(&"app".into(), request).await.unwrap();
    assert_eq!(rig.target("app").inside().blind_looks, 0, "it was answered wrongly twice");
    rig.pass(MINUTE).await;
    assert_eq!(state(&rig), Some(AccountState::Disabled));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_between_two_looks_keeps_nobody_out() {
    let mut app = target("app");
    app.account.foreign_delete = ForeignDelete::Recreate;
    let rig = Rig::started(there(&app)).await;
    let id = rig.target("app").by_name("u@acme.example").unwrap().id;
    rig.target("app").inside().accounts.remove(&id);
    let request = SyncRequest { records: Some([RecordId::from("u")].into()), only: None };
    rig.engine.sync(&"app".into(), request).await.unwrap();
    rig.clock.step(chrono::TimeDelta::seconds(-50));
    rig.pass(10 * Duration::from_secs(1)).await;
    assert_eq!(state(&rig), Some(AccountState::Active), "it is made anew");
}

/// L18
#[tokio::test(start_paused = true)]
async fn a_deletion_follows_from_a_look_that_began_just_before_however_late_it_is_planned() {
    let mut app = app(false);
    app.limits.concurrency = 1;
    let rig = Rig::started(documents(["u", "v", "w", "x"].map(user), [app.clone()])).await;
    rig.declare(documents([inactive("u"), inactive("v"), inactive("w"), user("x")], [app.clone()])).await;
    rig.pass(WAIT + 2 * MINUTE).await;
    let [u, v, w] = ["u", "v", "w"].map(|name| rig.target("app").by_name(&format!("{name}@acme.example")).unwrap().id);
    // All three are let through before the target is listed, and looked at one after another.
    rig.target("app").inside().latency = Duration::from_secs(1);
    for hold in rig.status("app").holds {
        rig.engine.decide(rig.decision(DecisionKind::Release, Some(hold.digest))).await.unwrap();
    }
    rig.target("app").inside().latency = Duration::ZERO;
    rig.target("app").inside().slow_looks = [v, w].map(|account| (account, Duration::from_secs(50))).into();
    rig.pass(MINUTE).await;
    rig.target("app").inside().accounts.get_mut(&u).unwrap().state = AccountState::Active;
    assert_eq!(deletions(&rig), 0);
    rig.pass(10 * MINUTE).await;
    assert_eq!((state(&rig), deletions(&rig)), (Some(AccountState::Disabled), 2), "the other two are deleted");
}

#[tokio::test(start_paused = true)]
async fn a_leaver_whose_account_is_really_gone_is_owed_nothing() {
    let app = target("app");
    let rig = Rig::started(there(&app)).await;
    let id = rig.target("app").by_name("u@acme.example").unwrap().id;
    rig.target("app").inside().accounts.remove(&id);
    rig.declare(left(&app)).await;
    rig.pass(MINUTE).await;
    assert_eq!(rig.status("app").owed.len(), 0);
    rig.sync("app").await.unwrap();
    rig.rest().await;
    assert_eq!(rig.status("app").owed.len(), 0);
}

/// L16
#[tokio::test(start_paused = true)]
async fn a_return_behind_a_door_that_never_opened_ends_the_wait() {
    let app = app(true);
    for restart_between in [false, true] {
        let rig = leaver(&app).await;
        rig.pass(WAIT.saturating_sub(DAY)).await;
        let mut rig = restarted_before_a_shut_door(rig, left(&app)).await;
        rig.declare(there(&app)).await;
        if restart_between {
            rig = rig.restarted(left(&app)).await;
        } else {
            rig.declare(left(&app)).await;
        }
        rig.target("app").inside().shut = false;
        rig.pass(2 * DAY).await;
        assert_eq!((state(&rig), deletions(&rig)), (Some(AccountState::Disabled), 0), "restart: {restart_between}");
        rig.pass(DAY + 2 * Duration::from_hours(1)).await;
        assert_eq!(deletions(&rig), 1);
    }
}

/// L16
#[tokio::test(start_paused = true)]
async fn who_is_found_back_by_a_process_whose_door_stays_shut_waits_for_no_deletion() {
    let app = app(true);
    let rig = leaver(&app).await;
    rig.pass(WAIT.saturating_sub(DAY)).await;
    let rig = restarted_before_a_shut_door(rig, there(&app)).await;
    let rig = rig.restarted(left(&app)).await;
    rig.target("app").inside().shut = false;
    rig.pass(2 * DAY).await;
    assert_eq!((state(&rig), deletions(&rig)), (Some(AccountState::Disabled), 0));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_is_done_late_is_no_refusal() {
    for late in [Duration::from_secs(90), 40 * MINUTE] {
        let app = app(true);
        let rig = leaver(&app).await;
        rig.target("app").inside().faults.push_back(Fault::PurgeLate(late));
        rig.pass(WAIT).await;
        while deletions(&rig) == 0 {
            rig.pass(Duration::from_secs(1)).await;
        }
        assert!(rig.status("app").failures.contains_key(&"u".into()), "it is told");
        assert_eq!(rig.status("app").owed.len(), 0, "nobody is in");
        rig.sync("app").await.unwrap();
        rig.pass(late + 40 * MINUTE).await;
        assert_eq!((deletions(&rig), links(&rig), outcome(&rig)), (1, 1, Some(OutcomeResult::Done)), "{late:?}");
        rig.assert_settled("app").await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_returns_before_a_late_deletion_is_done_is_not_kept_out_by_it() {
    let app = app(true);
    let rig = leaver(&app).await;
    rig.target("app").inside().faults.push_back(Fault::PurgeLate(20 * MINUTE));
    rig.pass(WAIT + 2 * MINUTE).await;
    assert_eq!(deletions(&rig), 1);
    rig.declare(there(&app)).await;
    rig.pass(2 * MINUTE).await;
    assert_eq!(state(&rig), Some(AccountState::Active), "what is there is opened");
    rig.pass(20 * MINUTE).await;
    assert_eq!(state(&rig), None, "and goes all the same");
    rig.sync("app").await.unwrap();
    rig.pass(MINUTE).await;
    assert_eq!((state(&rig), rig.target("app").count("create u@")), (Some(AccountState::Active), 2));
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn who_returns_under_another_record_id_waits_for_no_late_deletion() {
    let app = app(true);
    let rig = leaver(&app).await;
    rig.target("app").inside().faults.push_back(Fault::PurgeLate(20 * MINUTE));
    rig.pass(WAIT + 2 * MINUTE).await;
    assert_eq!(deletions(&rig), 1);
    let renamed = User { id: "w".into(), formerly: vec!["u".into()], ..user("u") };
    rig.declare(documents([renamed, user("v")], [app.clone()])).await;
    rig.pass(2 * MINUTE).await;
    assert_eq!(state(&rig), Some(AccountState::Active), "what is there is opened");
}

/// L17
#[tokio::test(start_paused = true)]
async fn what_another_hand_deletes_long_after_a_deletion_that_came_to_nothing_is_not_made_anew() {
    let app = app(true);
    let rig = leaver(&app).await;
    rig.target("app").inside().faults.push_back(Fault::Ignore);
    rig.pass(WAIT + 2 * MINUTE).await;
    rig.declare(there(&app)).await;
    rig.pass(2 * DAY).await;
    let id = rig.target("app").by_name("u@acme.example").unwrap().id;
    rig.target("app").inside().accounts.remove(&id);
    rig.sync("app").await.unwrap();
    rig.pass(2 * MINUTE).await;
    assert_eq!((state(&rig), rig.target("app").count("create u@")), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_another_hand_opens_under_a_deletion_of_unknown_end_is_shut_and_its_end_is_known() {
    let app = app(true);
    let rig = leaver(&app).await;
    rig.target("app").inside().faults.push_back(Fault::ActLate(Duration::from_secs(25)));
    rig.pass(WAIT).await;
    while deletions(&rig) == 0 {
        rig.pass(Duration::from_secs(1)).await;
    }
    let id = rig.target("app").by_name("u@acme.example").unwrap().id;
    rig.target("app").inside().accounts.get_mut(&id).unwrap().state = AccountState::Active;
    rig.pass(Duration::from_secs(15)).await;
    assert_eq!(state(&rig), Some(AccountState::Disabled), "nobody is in meanwhile");
    rig.pass(MINUTE).await;
    rig.sync("app").await.unwrap();
    rig.pass(MINUTE).await;
    assert_eq!((state(&rig), links(&rig)), (None, 1), "the deletion acted, and its link is not left behind");
    rig.declare(there(&app)).await;
    rig.pass(MINUTE).await;
    assert_eq!(state(&rig), Some(AccountState::Active), "who returns is not kept out");
}

/// L11
#[tokio::test(start_paused = true)]
async fn a_store_that_was_put_back_is_believed_about_no_wait() {
    let app = app(true);
    let rig = leaver(&app).await;
    rig.pass(WAIT.saturating_sub(DAY)).await;
    rig.store.open().doubt = Some((0, "the store was put back to an earlier state".to_owned()));
    let rig = rig.restarted(left(&app)).await;
    rig.sync("app").await.unwrap();
    rig.rest().await;
    let ended: Vec<_> = rig.store.open().hands.values().filter_map(|hand| hand.ended).collect();
    assert_eq!(ended.len(), 1);
    assert!(ended[0] - noon() >= chrono::TimeDelta::hours(47), "what stands there is looked at again: {ended:?}");
    rig.pass(DAY + 5 * MINUTE).await;
    rig.sync("app").await.unwrap();
    let deletes = |rig: &Rig| {
        let holds = rig.status("app").holds;
        holds.iter().flat_map(|hold| &hold.changes).any(|change| change.action == Action::Delete)
    };
    assert!(!deletes(&rig), "it is counted anew");
    rig.pass(2 * DAY).await;
    rig.sync("app").await.unwrap();
    assert!(deletes(&rig) && deletions(&rig) == 0, "and shown before anything is done");
}

/// L11
#[tokio::test(start_paused = true)]
async fn who_is_given_an_account_that_a_deletion_of_unknown_end_takes_gets_another() {
    let app = app(true);
    let rig = Rig::started(there(&app)).await;
    let account = rig.target("app").by_name("u@acme.example").unwrap().id;
    rig.target("app").inside().bad_user = Some(("w@acme.example".to_owned(), ErrorClass::Refused));
    rig.declare(documents([inactive("u"), user("v"), user("w")], [app.clone()])).await;
    rig.pass(WAIT.saturating_sub(MINUTE)).await;
    rig.target("app").inside().faults.push_back(Fault::ActLate(Duration::from_secs(20)));
    while deletions(&rig) == 0 {
        rig.pass(Duration::from_secs(1)).await;
    }
    rig.target("app").inside().bad_user = None;
    rig.declare(documents([user("v"), user("w")], [app.clone()])).await;
    rig.engine.link(&"app".into(), &"w".into(), &account, "local").await.unwrap();
    rig.pass(2 * MINUTE).await;
    assert_eq!(rig.target("app").count("enable"), 0, "it would open what is about to go");
    let another = rig.target("app").by_name("w@acme.example").map(|account| account.state);
    assert_eq!(another, Some(AccountState::Active));
    rig.assert_settled("app").await;
}
