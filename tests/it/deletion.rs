//! Accounts that are deleted a while after they were ended: nobody without the wait, nobody unasked, and
//! nothing of it lost or done twice (L2, L4, L16, L17).

use std::time::Duration;

use chrono::TimeDelta;
use rosterd::connector::ErrorClass;
use rosterd::manifest::Documents;
use rosterd::model::account::AccountState;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::plan::HoldKind;
use rosterd::model::target::Deletion;
use rosterd::model::target::Ending;
use rosterd::model::target::Limits;
use rosterd::model::target::Target;
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
use crate::support::make::inactive;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::rig::noon;
use crate::support::target::Fault;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn gone(app: &Target) -> Documents {
    documents([user("v")], [app.clone()])
}

fn held(rig: &Rig) -> usize {
    rig.status("app").holds.iter().filter(|hold| hold.limit == HoldKind::Delete).count()
}

#[tokio::test(start_paused = true)]
async fn an_ended_account_is_deleted_when_its_wait_is_over_and_a_person_says_so() {
    for who in [left, gone] {
        let app = app(false);
        let rig = Rig::started(there(&app)).await;
        rig.declare(who(&app)).await;
        rig.pass(WAIT.saturating_sub(MINUTE)).await;
        rig.sync("app").await.unwrap();
        assert_eq!((held(&rig), deletions(&rig)), (0, 0), "not before");
        rig.pass(3 * MINUTE).await;
        assert_eq!((held(&rig), deletions(&rig)), (1, 0), "nothing is deleted unasked");
        rig.sync("app").await.unwrap();
        rig.pass(DAY).await;
        assert_eq!((held(&rig), deletions(&rig)), (1, 0));
        rig.release(HoldKind::Delete).await;
        assert_eq!((state(&rig), deletions(&rig), held(&rig)), (None, 1, 0));
        assert_eq!(rig.store.open().links.len(), 1, "the link goes with the account");
        rig.assert_settled("app").await;
        assert_eq!(rig.status("app").owed.len(), 0);
        // Who comes back is new there.
        rig.declare(there(&app)).await;
        assert_eq!(state(&rig), Some(AccountState::Active));
        assert_eq!(rig.target("app").count("create u@"), 2);
        rig.assert_settled("app").await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_keeps_the_account_and_the_next_wait_begins_anew() {
    let app = app(true);
    let rig = leaver(&app).await;
    rig.pass(WAIT.saturating_sub(2 * MINUTE)).await;
    rig.declare(there(&app)).await;
    assert_eq!(state(&rig), Some(AccountState::Active));
    rig.declare(left(&app)).await;
    rig.pass(WAIT.saturating_sub(MINUTE)).await;
    assert_eq!((state(&rig), deletions(&rig)), (Some(AccountState::Disabled), 0), "the first wait counts no more");
    rig.pass(3 * MINUTE).await;
    assert_eq!((state(&rig), deletions(&rig)), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn a_return_that_the_target_never_saw_ends_the_wait_all_the_same() {
    let app = app(true);
    let rig = leaver(&app).await;
    rig.pass(WAIT.saturating_sub(DAY)).await;
    rig.target("app").inside().shut = true;
    rig.declare(there(&app)).await;
    rig.declare(left(&app)).await;
    rig.target("app").inside().shut = false;
    rig.pass(2 * DAY).await;
    assert_eq!((state(&rig), deletions(&rig)), (Some(AccountState::Disabled), 0));
    rig.pass(DAY + MINUTE).await;
    assert_eq!(deletions(&rig), 1);
}

#[tokio::test(start_paused = true)]
async fn a_return_takes_a_held_deletion_back_and_the_word_about_it_is_worth_nothing() {
    let app = app(false);
    let rig = leaver(&app).await;
    rig.pass(WAIT + 2 * MINUTE).await;
    let digest = rig.status("app").holds[0].digest.clone();
    rig.declare(there(&app)).await;
    assert_eq!((held(&rig), state(&rig)), (0, Some(AccountState::Active)));
    let word = rig.decision(DecisionKind::Release, Some(digest));
    rig.engine.decide(word).await.unwrap_err();
    rig.declare(left(&app)).await;
    rig.pass(DAY).await;
    assert_eq!((deletions(&rig), held(&rig)), (0, 0));
}

/// L11
#[tokio::test(start_paused = true)]
async fn a_deletion_that_was_let_through_is_asked_about_again_once_its_user_was_back() {
    let app = app(false);
    let rig = leaver(&app).await;
    rig.pass(WAIT + 2 * MINUTE).await;
    // Nobody can look at the account, so that nothing follows from the word yet.
    rig.target("app").inside().bad_looks = Some(ErrorClass::Transient);
    rig.release(HoldKind::Delete).await;
    assert_eq!((deletions(&rig), held(&rig)), (0, 0), "it was listed since");
    rig.declare(there(&app)).await;
    rig.declare(left(&app)).await;
    rig.target("app").inside().bad_looks = None;
    rig.pass(WAIT + 2 * HOUR).await;
    assert_eq!((deletions(&rig), held(&rig)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn of_deletions_that_need_nobody_no_more_than_the_limit_are_made() {
    let mut app = app(true);
    app.limits.delete = Limits::default().delete;
    let everybody = || users(40);
    let without = |count: usize| {
        let mut users = everybody();
        users.iter_mut().take(count).for_each(|user| user.active = false);
        documents(users, [app.clone()])
    };
    for leavers in [5, 6] {
        let rig = Rig::started(documents(everybody(), [app.clone()])).await;
        rig.declare(without(leavers)).await;
        assert_eq!(rig.target("app").count("disable"), leavers);
        rig.pass(WAIT + 2 * MINUTE).await;
        let deleted = deletions(&rig);
        assert!(deleted <= 5 && (leavers == 6 || deleted == 5), "{deleted} of {leavers}");
        let held: usize = rig.status("app").holds.iter().map(|hold| hold.changes.len()).sum();
        assert_eq!(held, leavers - deleted);
        rig.pass(2 * DAY).await;
        assert_eq!(deletions(&rig), deleted, "what is held waits for a person");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_neither_shortens_the_wait_nor_lengthens_it() {
    let app = app(true);
    let mut rig = leaver(&app).await;
    for _ in 0..5 {
        rig.pass(WAIT / 6).await;
        rig = rig.restarted(left(&app)).await;
    }
    assert_eq!(deletions(&rig), 0);
    rig.pass(WAIT / 6 + 2 * MINUTE).await;
    assert_eq!((deletions(&rig), state(&rig)), (1, None));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_deletes_nobody() {
    let app = app(true);
    for days in [4, 400, -400] {
        let rig = leaver(&app).await;
        rig.pass(DAY).await;
        rig.clock.step(TimeDelta::days(days));
        rig.pass(DAY).await;
        rig.sync("app").await.unwrap();
        assert_eq!(deletions(&rig), 0, "set by {days} days");
        let rig = rig.restarted(left(&app)).await;
        rig.pass(DAY).await;
        assert_eq!(deletions(&rig), 0, "after a restart");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_waits_for_its_call_does_not_leave_by_a_doubted_clock() {
    let app = app(false);
    let rig = leaver(&app).await;
    rig.pass(WAIT + 2 * MINUTE).await;
    assert_eq!(held(&rig), 1);
    rig.clock.step(TimeDelta::days(3));
    rig.rest().await;
    let hold = rig.status("app").holds[0].digest.clone();
    rig.engine.decide(rig.decision(DecisionKind::Release, Some(hold))).await.unwrap();
    rig.pass(Duration::from_hours(1)).await;
    assert_eq!(deletions(&rig), 0);
    rig.clock.step(TimeDelta::days(-3));
    rig.pass(3 * MINUTE).await;
    assert_eq!((deletions(&rig), state(&rig)), (1, None), "the clock is right again");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_of_unknown_end_is_looked_at_and_sent_again_only_where_it_left_the_account() {
    for (fault, calls) in [(Fault::LoseReply, 1), (Fault::LoseRequest, 2), (Fault::ActLate(20 * MINUTE / 60), 1)] {
        let app = app(true);
        let rig = leaver(&app).await;
        rig.target("app").inside().faults.push_back(fault.clone());
        rig.pass(WAIT + 5 * MINUTE).await;
        assert_eq!((state(&rig), deletions(&rig)), (None, calls), "{fault:?}");
        let store = rig.store.open();
        assert_eq!((store.links.len(), store.outcomes.len()), (1, store.intents.len()), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_returns_while_nobody_knows_how_a_deletion_ended_waits_until_it_can_act_no_more() {
    let app = app(true);
    let rig = leaver(&app).await;
    rig.target("app").inside().faults.push_back(Fault::ActLate(Duration::from_secs(20)));
    rig.pass(WAIT).await;
    while deletions(&rig) == 0 {
        rig.pass(Duration::from_secs(1)).await;
    }
    rig.declare(there(&app)).await;
    assert_eq!(rig.target("app").count("enable"), 0, "it would open what is about to go");
    rig.pass(2 * MINUTE).await;
    assert_eq!((state(&rig), rig.target("app").count("create u@")), (Some(AccountState::Active), 2));
    assert_eq!(rig.target("app").count("enable"), 0);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_in_a_deletion_leaves_one_that_looks_first() {
    for fault in [Fault::LoseReply, Fault::LoseRequest] {
        let app = app(true);
        let rig = leaver(&app).await;
        rig.target("app").inside().faults.push_back(fault.clone());
        rig.pass(WAIT).await;
        while deletions(&rig) == 0 {
            rig.pass(Duration::from_secs(1)).await;
        }
        let rig = rig.restarted(left(&app)).await;
        rig.pass(5 * MINUTE).await;
        assert_eq!(state(&rig), None, "{fault:?}");
        let most = if matches!(fault, Fault::LoseReply) { 1 } else { 2 };
        assert_eq!(deletions(&rig), most, "{fault:?}");
        rig.assert_settled("app").await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_be_had_back_is_restored_to_who_returns() {
    let app = app(true);
    let rig = leaver(&app).await;
    rig.target("app").inside().keeps_deleted = true;
    rig.pass(WAIT + 2 * MINUTE).await;
    assert_eq!((state(&rig), deletions(&rig)), (Some(AccountState::DeletedRecoverable), 1));
    rig.pass(2 * DAY).await;
    assert_eq!(deletions(&rig), 1);
    rig.declare(there(&app)).await;
    assert_eq!((state(&rig), rig.target("app").count("create u@")), (Some(AccountState::Active), 1));
}

#[tokio::test(start_paused = true)]
async fn what_another_hand_ended_is_never_deleted_by_the_passing_of_time() {
    let app = app(true);
    let rig = Rig::started(there(&app)).await;
    let id = rig.target("app").by_name("u@acme.example").unwrap().id;
    for foreign in [AccountState::Disabled, AccountState::Suspended] {
        rig.target("app").inside().accounts.get_mut(&id).unwrap().state = foreign;
        rig.sync("app").await.unwrap();
        rig.declare(left(&app)).await;
        rig.pass(2 * WAIT).await;
        rig.sync("app").await.unwrap();
        assert_eq!((deletions(&rig), held(&rig)), (0, 0), "{foreign:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_expected_back_is_not_deleted() {
    let app = app(true);
    let rig = Rig::started(there(&app)).await;
    let revoke = Decision { record: Some("u".into()), ..Decision::new(DecisionKind::Revoke, "ops", rig.now()) };
    rig.engine.decide(revoke).await.unwrap();
    rig.rest().await;
    assert_eq!(state(&rig), Some(AccountState::Disabled));
    rig.pass(2 * WAIT).await;
    assert_eq!(deletions(&rig), 0, "a revocation is a word about access");

    let rig = Rig::started(there(&app)).await;
    let mut later = user("u");
    later.valid = Validity { from: Some(noon() + TimeDelta::days(30)), until: None };
    rig.declare(documents([later, user("v"), user("w")], [app.clone()])).await;
    assert_eq!(state(&rig), Some(AccountState::Disabled));
    rig.pass(2 * WAIT).await;
    assert_eq!(deletions(&rig), 0, "who is not valid yet is about to come");
}

#[tokio::test(start_paused = true)]
async fn a_word_about_access_lets_no_deletion_through() {
    let mut app = target("app");
    app.account.on_gone = Ending::Delete;
    let rig = Rig::started(there(&app)).await;
    rig.declare(gone(&app)).await;
    let revoke = Decision { record: Some("u".into()), ..Decision::new(DecisionKind::Revoke, "ops", rig.now()) };
    rig.engine.decide(revoke).await.unwrap();
    rig.pass(DAY).await;
    rig.sync("app").await.unwrap();
    assert_eq!((state(&rig), deletions(&rig)), (Some(AccountState::Disabled), 0));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_deletes_at_once_disables_first_and_asks() {
    let mut app = target("app");
    app.account.on_gone = Ending::Delete;
    let rig = Rig::started(there(&app)).await;
    rig.declare(gone(&app)).await;
    assert_eq!((state(&rig), held(&rig)), (Some(AccountState::Disabled), 1));
    rig.release(HoldKind::Delete).await;
    assert_eq!((state(&rig), deletions(&rig)), (None, 1));
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_is_refused_is_told_and_left_until_the_next_cycle() {
    for fault in [Fault::Refuse(ErrorClass::Refused, None), Fault::Ignore] {
        let app = app(true);
        let rig = leaver(&app).await;
        rig.target("app").inside().faults.push_back(fault.clone());
        rig.pass(WAIT + 2 * MINUTE).await;
        assert_eq!(deletions(&rig), 1, "{fault:?}");
        assert!(rig.status("app").failures.contains_key(&"u".into()), "{fault:?}");
        assert_eq!(rig.status("app").owed.len(), 0, "nobody is in: {fault:?}");
        rig.pass(DAY).await;
        assert_eq!(deletions(&rig), 1, "{fault:?}");
        rig.sync("app").await.unwrap();
        rig.rest().await;
        assert_eq!((deletions(&rig), state(&rig)), (2, None), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_taken_out_of_the_document_counts_no_more() {
    let with = app(false);
    let rig = leaver(&with).await;
    rig.pass(2 * DAY).await;
    rig.declare(documents([inactive("u"), user("v"), user("w")], [target("app")])).await;
    rig.sync("app").await.unwrap();
    rig.declare(left(&with)).await;
    rig.sync("app").await.unwrap();
    rig.pass(2 * DAY).await;
    assert_eq!(held(&rig), 0, "it began anew");
    rig.pass(DAY + 3 * MINUTE).await;
    assert_eq!(held(&rig), 2, "and so it did for `w`, who came and went");
}

/// L17
#[tokio::test(start_paused = true)]
async fn what_another_hand_locked_after_rosterd_ended_it_is_not_deleted_by_time() {
    for foreign in [AccountState::Suspended, AccountState::Locked] {
        let rig = leaver(&app(true)).await;
        rig.pass(DAY).await;
        let id = rig.target("app").by_name("u@acme.example").unwrap().id;
        rig.target("app").inside().accounts.get_mut(&id).unwrap().state = foreign;
        rig.pass(WAIT).await;
        rig.sync("app").await.unwrap();
        assert_eq!((state(&rig), deletions(&rig)), (Some(foreign), 0));
    }
}

/// L11
#[tokio::test(start_paused = true)]
async fn a_document_that_deletes_sooner_or_unasked_waits_for_a_release() {
    let rig = leaver(&app(false)).await;
    rig.pass(DAY).await;
    let mut sooner = app(true);
    sooner.account.deletion = Some(Deletion { after: DAY, unattended: true });
    rig.declare(left(&sooner)).await;
    rig.pass(HOUR).await;
    rig.sync("app").await.unwrap();
    assert_eq!((deletions(&rig), held(&rig)), (0, 0), "neither sooner nor unasked");
    rig.release(HoldKind::Loosen).await;
    rig.pass(HOUR).await;
    assert_eq!((deletions(&rig), state(&rig)), (1, None));
}

/// L5
#[tokio::test(start_paused = true)]
async fn nobodys_removal_waits_behind_deletions() {
    let mut app = app(true);
    app.limits.requests_per_second = Some(1.0);
    let everybody = users(60);
    let rig = Rig::started(documents(everybody.clone(), [app.clone()])).await;
    rig.pass(MINUTE * 5).await;
    let leave = |many: usize| {
        let left = everybody.iter().enumerate().map(|(at, user)| User { active: at >= many, ..user.clone() });
        documents(left.collect::<Vec<_>>(), [app.clone()])
    };
    rig.declare(leave(10)).await;
    rig.pass(WAIT).await;
    let before = rig.target("app").count("disable");
    assert_eq!(before, 10);
    // Their accounts are looked at and deleted, one call a second, while somebody else leaves.
    rig.pass(Duration::from_secs(62)).await;
    let said = tokio::time::Instant::now();
    rig.source.set(Ok(leave(11)));
    rig.pass(Duration::from_secs(5)).await;
    let calls = rig.target("app").inside().calls.clone();
    let out = calls.iter().filter(|call| call.what.starts_with("disable")).nth(10).expect("disabled");
    assert!(out.at - said <= Duration::from_millis(2_100), "{:?}", out.at - said);
}
