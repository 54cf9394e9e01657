//! What a look says about a call that nobody answered, and when it says nothing yet.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use rosterd::engine::Running;
use rosterd::engine::SyncRequest;
use rosterd::model::account::AccountState;
use rosterd::model::target::Mark;
use rosterd::model::user::User;

use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::inactive;
use crate::support::make::path;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::rig::Rig;
use crate::support::target::Fault;

/// The time in which a write that was sent may still act: three calls of this connector.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn a_look_that_began_before_the_time_limit_proves_nothing() {
    let rig = Rig::new(documents([user("a")], [target("app")]));
    rig.target("app").inside().latency = Duration::from_secs(12);
    rig.target("app").inside().faults.push_back(Fault::LoseRequest);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_mins(5)).await;
    let inside = rig.target("app").inside();
    let creates: Vec<_> =
        inside.calls.iter().filter(|call| call.what.starts_with("create")).map(|call| call.at).collect();
    assert_eq!(creates.len(), 2);
    let proof = creates[0] + WRITE_LIMIT;
    let looked = inside.calls.iter().any(|call| call.what == "fetch" && call.at >= proof && call.at < creates[1]);
    assert!(looked, "look-ups of 12 s that began earlier may have missed what came in between");
}

#[tokio::test(start_paused = true)]
async fn a_reactivation_that_nobody_answered_is_not_done_away_with_before_its_time_limit() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    rig.declare(documents([inactive("a")], [target("app")])).await;
    rig.target("app").inside().faults.push_back(Fault::LoseRequest);
    rig.declare(documents([user("a")], [target("app")])).await;
    rig.pass(Duration::from_secs(20)).await;
    assert_eq!(rig.target("app").count("enable"), 1, "it may still arrive, and the user may leave meanwhile");
    rig.pass(Duration::from_mins(1)).await;
    assert_eq!(rig.target("app").count("enable"), 2);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_rename_while_nobody_knows_how_a_removal_ended_keeps_no_leaver_in() {
    for (fault, restarts) in
        [Fault::LoseRequest, Fault::LoseReply].into_iter().flat_map(|f| [(f.clone(), false), (f, true)])
    {
        let told = format!("{fault:?}, restarts: {restarts}");
        let rig = Rig::started(documents([user("old")], [target("app")])).await;
        rig.target("app").inside().faults.push_back(fault);
        rig.source.set(Ok(documents([inactive("old")], [target("app")])));
        rig.pass(Duration::from_millis(100)).await;
        let renamed = User { formerly: vec!["old".into()], ..inactive("new") };
        let after = documents([renamed], [target("app")]);
        let rig = if restarts {
            let (targets, store) = rig.remains();
            rig.engine.stop().await;
            let next = Rig::over(after, targets, store);
            next.engine.start(Running::Daemon).await.unwrap();
            next
        } else {
            rig.declare(after).await;
            rig
        };
        rig.pass(Duration::from_mins(5)).await;
        let inside: Vec<_> = rig.target("app").inside().accounts.values().map(|account| account.state).collect();
        assert_eq!(inside, [AccountState::Disabled], "{told}");
        let status = rig.status("app");
        assert_eq!((status.waiting, status.owed.len()), (0, 0), "{told}");
        rig.assert_settled("app").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_of_the_targets_is_no_proof_that_a_removal_was_made() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    let account = rig.target("app").by_name("a@acme.example").unwrap().id;
    rig.target("app").inside().accounts.get_mut(&account).unwrap().state = AccountState::Locked;
    rig.target("app").inside().faults.push_back(Fault::LoseRequest);
    rig.declare(documents([inactive("a")], [target("app")])).await;
    rig.pass(Duration::from_mins(5)).await;
    let state = rig.target("app").inside().accounts[&account].state;
    assert_eq!(state, AccountState::Disabled, "it would give access again once the target unlocks it");
    assert!(rig.status("app").owed.is_empty());
}

/// One engine with a creation that nobody answered under a clock that is off by `off`, and its
/// successor under the right one.
async fn restarted_under_another_clock(fault: Fault, off: TimeDelta) -> Rig {
    let rig = Rig::new(documents([user("a")], [target("app")]));
    rig.clock.step(off);
    rig.target("app").inside().faults.push_back(fault);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_millis(100)).await;
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let next = Rig::over(documents([user("a")], [target("app")]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next
}

#[tokio::test(start_paused = true)]
async fn a_creation_recorded_under_a_fast_clock_is_not_open_for_as_long_as_it_was_fast() {
    let rig = restarted_under_another_clock(Fault::LoseRequest, TimeDelta::days(30)).await;
    rig.pass(Duration::from_mins(2)).await;
    assert_eq!(rig.target("app").count("create"), 2, "a month by the wall is no month for the call");
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_creation_recorded_under_a_slow_clock_is_not_sent_again_before_its_time() {
    let rig = restarted_under_another_clock(Fault::LoseRequest, -TimeDelta::days(30)).await;
    rig.pass(Duration::from_secs(28)).await;
    assert_eq!(rig.target("app").count("create"), 1, "the earlier process may have sent it a moment ago");
    rig.pass(Duration::from_mins(2)).await;
    assert_eq!(rig.target("app").count("create"), 2);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_owed_to_a_call_put_aside_is_made_though_a_listing_comes_between() {
    let admin = |id: &str| User { roles: vec![held("staff"), held("admin")], ..user(id) };
    let rig = Rig::started(documents([user("a"), user("b")], [target("app")])).await;
    // The first grant arrives late; the second is made meanwhile, and the first put aside.
    rig.target("app").inside().faults.push_back(Fault::ActLate(Duration::from_secs(20)));
    rig.declare(documents([admin("a"), user("b")], [target("app")])).await;
    rig.target("app").inside().faults.clear();
    rig.pass(Duration::from_secs(5)).await;
    let open = |rig: &Rig| {
        let store = rig.store.open();
        store.intents.len() - store.outcomes.len()
    };
    assert_eq!(open(&rig), 1);
    // When its time limit has passed a look at `a` is due. It waits for one at `b`, and a listing that ends
    // meanwhile shows that another hand edited `a`.
    let id = rig.target("app").by_name("a@acme.example").unwrap().id;
    let edited = ("name.givenName", "Other");
    rig.target("app").inside().accounts.get_mut(&id).unwrap().values.insert(path(edited.0), edited.1.into());
    rig.pass(WRITE_LIMIT.checked_sub(Duration::from_secs(9)).unwrap()).await;
    rig.target("app").inside().latency = Duration::from_secs(2);
    let whole = rig.sync("app");
    let of_b = SyncRequest { records: Some(BTreeSet::from(["b".into()])), only: None };
    let one = async {
        rig.pass(Duration::from_secs(3)).await;
        rig.engine.sync(&"app".into(), of_b).await
    };
    let both = tokio::time::timeout(Duration::from_mins(10), async { tokio::join!(whole, one) }).await;
    let (whole, one) = both.expect("both end");
    assert_eq!((whole.unwrap().cycle.error, one.unwrap().cycle.error), (None, None));
    rig.pass(Duration::from_mins(2)).await;
    assert_eq!(open(&rig), 0, "the look was made");
    assert_eq!(rig.target("app").by_name("a@acme.example").unwrap().values[&path(edited.0)], "Given a");
}

#[tokio::test(start_paused = true)]
async fn a_second_account_that_a_creation_made_is_told_after_a_restart_until_a_person_removed_it() {
    let mut app = target("app");
    (app.account.mark, app.account.updates) = (Mark::None, false);
    let rig = Rig::started(documents([user("b")], [app.clone()])).await;
    let theirs = rig.target("app").put("other@acme.example", AccountState::Active);
    rig.target("app").inside().faults.push_back(Fault::ActLate(Duration::from_secs(20)));
    let both = || documents([user("a"), user("b")], [app.clone()]);
    rig.declare(both()).await;
    rig.engine.link(&"app".into(), &"a".into(), &theirs, "alice").await.unwrap();
    rig.pass(Duration::from_mins(2)).await;
    let told = |rig: &Rig| rig.status("app").failures.get(&"a".into()).is_some_and(|why| why.contains("look at both"));
    assert!(told(&rig), "{:?}", rig.status("app").failures);
    let rig = rig.restarted(both()).await;
    rig.sync("app").await.unwrap();
    assert!(told(&rig), "after a restart");
    let made = rig.target("app").by_name("a@acme.example").unwrap().id;
    rig.target("app").inside().accounts.remove(&made);
    rig.sync("app").await.unwrap();
    rig.rest().await;
    assert!(!told(&rig), "a person removed it");
}

#[tokio::test(start_paused = true)]
async fn of_two_creations_that_nobody_answered_neither_is_forgotten() {
    let mut app = target("app");
    app.account.mark = Mark::None;
    let rig = Rig::new(documents([user("a")], [app.clone()]));
    rig.target("app").inside().faults.push_back(Fault::LoseReply);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_millis(100)).await;
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    // As where a rename made one user of two.
    {
        let mut store = store.open();
        let mut second = store.intents[0].clone();
        second.id = "second".into();
        let name = second.change.fields.iter_mut().find(|field| field.path == path("userName")).unwrap();
        name.after = Some("elsewhere@acme.example".into());
        store.intents.push(second);
    }
    let next = Rig::over(documents([user("a")], [app]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.pass(Duration::from_mins(3)).await;
    assert_eq!(next.target("app").inside().accounts.len(), 1);
    let status = next.status("app");
    assert_eq!((status.conflicts, status.failures), Default::default(), "what the first one made is the user's");
    assert_eq!(next.store.open().outcomes.len(), 2, "nothing stays open");
    next.assert_settled("app").await;
}
