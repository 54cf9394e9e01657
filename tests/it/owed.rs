//! Removals that are due: how soon their first call leaves, and what stands while none can.

use std::collections::BTreeMap;
use std::time::Duration;

use rosterd::connector::ErrorClass;
use rosterd::engine::Running;
use rosterd::engine::SyncRequest;
use rosterd::engine::status::Owed;
use rosterd::manifest::Documents;
use rosterd::metrics::OwedReason;
use rosterd::model::account::Account;
use rosterd::model::account::AccountState;
use rosterd::model::change::Change;
use rosterd::model::user::User;
use rosterd::model::user::Validity;
use tokio::task::JoinSet;
use tokio::time::Instant;

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

fn only(rig: &Rig) -> Owed {
    let mut owed = rig.status("app").owed;
    assert_eq!(owed.len(), 1, "{owed:?}");
    owed.remove(0)
}

async fn left_with(rig: &Rig, documents: Documents) -> Rig {
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    Rig::over(documents, targets, store)
}

#[tokio::test(start_paused = true)]
async fn each_of_fifty_removals_begins_within_a_second_while_two_thousand_creations_wait_at_the_rate() {
    let mut app = target("app");
    app.limits.requests_per_second = Some(20.0);
    let leavers: Vec<_> = (0..50).map(|number| user(&format!("leaver-{number:02}"))).collect();
    let rig = Rig::started(documents(leavers.clone(), [app.clone()])).await;
    rig.pass(Duration::from_secs(30)).await;
    let backlog = users(2_000);
    let mut everybody = [leavers, backlog].concat();
    rig.declare(documents(everybody.clone(), [app.clone()])).await;
    for number in 0..50 {
        everybody[number].active = false;
        let name = format!("leaver-{number:02}@acme.example");
        let id = rig.target("app").by_name(&name).unwrap().id;
        let saved = Instant::now();
        rig.source.set(Ok(documents(everybody.clone(), [app.clone()])));
        rig.pass(Duration::from_secs(1)).await;
        let calls = rig.target("app").inside().calls.clone();
        let call = calls.iter().find(|call| call.what == format!("disable {id}"));
        let after = call.unwrap_or_else(|| panic!("{name} is in after a second")).at - saved;
        assert!(after <= Duration::from_millis(200), "{name}: {after:?}");
    }
    let made = rig.target("app").inside().accounts.len() - 50;
    assert!(made > 200 && made < 1_500, "the backlog goes on beside it: {made}");
    assert_eq!(rig.target("app").count("disable"), 50);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_a_batch_of_others_is_looked_at_waits_for_none_of_it() {
    let mut app = target("app");
    app.limits.concurrency = 1;
    let rig = Rig::started(documents(users(8), [app.clone()])).await;
    let looks = rig.target("app").count("fetch");
    rig.target("app").inside().latency = Duration::from_secs(5);
    let mut renamed = users(8);
    for user in &mut renamed {
        user.given_name = Some("New".to_owned());
    }
    rig.source.set(Ok(documents(renamed.clone(), [app.clone()])));
    rig.pass(Duration::from_millis(100)).await;
    assert_eq!(rig.target("app").count("fetch") - looks, 1, "one look of a batch is under way");
    let saved = Instant::now();
    let before = rig.target("app").inside().calls.len();
    renamed[3].active = false;
    rig.source.set(Ok(documents(renamed, [app])));
    rig.pass(Duration::from_millis(100)).await;
    let calls = rig.target("app").inside().calls[before..].to_vec();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(calls[0].at - saved < Duration::from_millis(50), "its look leaves at once");
    rig.pass(Duration::from_secs(6)).await;
    assert_eq!(rig.target("app").count("disable"), 1, "and its call right after");
    rig.pass(Duration::from_mins(5)).await;
    rig.target("app").inside().latency = Duration::ZERO;
    rig.assert_settled("app").await;
    assert_eq!(rig.target("app").inside().accounts.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_removal_is_as_old_after_a_restart_behind_a_shut_door_as_it_was_before() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    rig.target("app").inside().shut = true;
    rig.pass(Duration::from_secs(30)).await;
    let mut fewer = users(3);
    fewer[1].active = false;
    rig.declare(documents(fewer.clone(), [target("app")])).await;
    let owed = only(&rig);
    assert_eq!((owed.record.as_str(), owed.since > noon()), ("u-0001", true));
    let next = left_with(&rig, documents(fewer, [target("app")])).await;
    next.engine.start(Running::Daemon).await.unwrap();
    next.pass(Duration::from_mins(20)).await;
    assert_eq!(Owed { reason: OwedReason::Quarantine, ..owed.clone() }, only(&next));
    let age = (next.now() - owed.since).as_seconds_f64();
    let line = "rosterd_revocation_oldest_seconds{reason=\"quarantine\",target=\"app\"} ";
    let text = next.metrics.encode();
    let shown: f64 = text.lines().find_map(|text| text.strip_prefix(line)).unwrap().parse().unwrap();
    assert!(shown > 1_000.0 && (shown - age).abs() < 60.0, "{shown} {age}");
    assert!(text.contains("rosterd_revocations_owed{reason=\"quarantine\",target=\"app\"} 1"));
    next.target("app").inside().shut = false;
    next.pass(Duration::from_secs(61)).await;
    assert_eq!(next.target("app").count("disable"), 1, "a door is tried every minute while a removal is owed");
    assert_eq!(next.status("app").owed, []);
    assert_eq!(next.store.open().owed, BTreeMap::new());
    let text = next.metrics.encode();
    assert!(text.contains("rosterd_revocation_seconds_count{target=\"app\"} 1"));
    assert!(
        text.contains("rosterd_revocation_seconds_bucket{target=\"app\",le=\"900\"} 0"),
        "twenty minutes, not none"
    );
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_the_daemon_is_down_and_the_door_shut_is_owed_at_once() {
    let end = noon() + chrono::Duration::minutes(5);
    let mut contractor = user("c");
    contractor.valid = Validity { from: None, until: Some(end) };
    let rig = Rig::started(documents([user("a"), user("b"), contractor.clone()], [target("app")])).await;
    rig.target("app").inside().shut = true;
    let next = left_with(&rig, documents([inactive("a"), user("b"), contractor], [target("app")])).await;
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    assert_eq!(only(&next).record.as_str(), "a");
    next.pass(Duration::from_mins(6)).await;
    let owed = next.status("app").owed;
    let since: Vec<_> = owed.iter().map(|owed| (owed.record.as_str(), owed.since)).collect();
    assert_eq!(since[1], ("c", end), "an end date arrives behind a shut door, too");
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_moves_with_a_rename() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    rig.target("app").inside().shut = true;
    rig.declare(documents([inactive("u-0000"), user("u-0001"), user("u-0002")], [target("app")])).await;
    let before = only(&rig);
    rig.pass(Duration::from_mins(3)).await;
    let renamed = || User { formerly: vec!["u-0000".into()], ..inactive("new") };
    let after = || documents([renamed(), user("u-0001"), user("u-0002")], [target("app")]);
    rig.declare(after()).await;
    assert_eq!(only(&rig), Owed { record: "new".into(), ..before.clone() });
    let next = left_with(&rig, after()).await;
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    assert_eq!((only(&next).record.as_str(), only(&next).since), ("new", before.since));
    next.target("app").inside().shut = false;
    next.pass(Duration::from_mins(2)).await;
    assert_eq!(next.target("app").by_name("u-0000@acme.example").unwrap().state, AccountState::Disabled);
    assert_eq!(next.status("app").owed, []);
}

#[tokio::test(start_paused = true)]
async fn an_entitlement_that_a_conflict_keeps_is_owed_with_that_reason() {
    let mut admin = user("a");
    admin.roles.push(held("admin"));
    let rig = Rig::started(documents([admin, user("b")], [target("app")])).await;
    assert_eq!(rig.target("app").by_name("a@acme.example").unwrap().memberships.len(), 1);
    let same_name = User { email: Some("b@acme.example".to_owned()), ..user("a") };
    rig.declare(documents([same_name, user("b")], [target("app")])).await;
    rig.sync("app").await.unwrap();
    let owed = only(&rig);
    assert_eq!((owed.record.as_str(), owed.reason), ("a", OwedReason::Conflict));
    assert!(rig.metrics.encode().contains("rosterd_revocations_owed{reason=\"conflict\",target=\"app\"} 1"));
    rig.declare(documents([user("a"), user("b")], [target("app")])).await;
    assert_eq!(rig.target("app").by_name("a@acme.example").unwrap().memberships.len(), 0);
    assert_eq!(rig.status("app").owed, []);
}

#[tokio::test(start_paused = true)]
async fn a_removal_is_tried_every_minute_whatever_the_target_answers() {
    for class in [
        ErrorClass::Refused,
        ErrorClass::Quota,
        ErrorClass::Exists,
        ErrorClass::Changed,
        ErrorClass::NotFound,
        ErrorClass::Transient,
        ErrorClass::Uncertain,
    ] {
        let rig = Rig::started(documents(users(3), [target("app")])).await;
        rig.target("app").inside().faults.extend((0..1_000).map(|_| Fault::Refuse(class, None)));
        let mut fewer = users(3);
        fewer[1].active = false;
        rig.declare(documents(fewer, [target("app")])).await;
        rig.pass(Duration::from_hours(3)).await;
        let calls = rig.target("app").inside().calls.clone();
        let tries: Vec<_> = calls.iter().filter(|call| call.what.starts_with("disable")).map(|call| call.at).collect();
        let longest = tries.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest <= Duration::from_secs(61) && tries.len() > 150, "{class:?}: {longest:?} {}", tries.len());
        assert_eq!(rig.status("app").owed.len(), 1, "{class:?}");
        rig.target("app").inside().faults.clear();
        rig.pass(Duration::from_secs(61)).await;
        assert_eq!(rig.status("app").owed, [], "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_began_before_a_removal_was_due_makes_it_no_younger() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    rig.target("app").inside().latency = Duration::from_secs(5);
    let engine = rig.engine.clone();
    let mut asked = JoinSet::new();
    asked.spawn(async move { engine.sync(&"app".into(), SyncRequest::default()).await });
    rig.pass(Duration::from_secs(6)).await;
    rig.target("app").inside().latency = Duration::ZERO;
    rig.target("app").inside().faults.extend((0..1_000).map(|_| Fault::Refuse(ErrorClass::Transient, None)));
    let mut fewer = users(3);
    fewer[1].active = false;
    rig.declare(documents(fewer, [target("app")])).await;
    let owed = only(&rig);
    rig.pass(Duration::from_secs(10)).await;
    assert!(rig.target("app").count("disable") > 1, "it was tried again after the listing");
    assert_eq!(only(&rig).since, owed.since);
}

#[tokio::test(start_paused = true)]
async fn a_saved_plan_forgets_no_removal_that_waits_whether_it_names_its_user_or_not() {
    for (named, planned) in [("u-0003", 1), ("u-0002", 2)] {
        let mut app = target("app");
        app.limits.concurrency = 1;
        let rig = Rig::started(documents(users(5), [app.clone()])).await;
        let drift = |account: &mut Account| drop(account.values.insert(path("name.givenName"), "X".into()));
        rig.target("app").inside().accounts.get_mut(&"0005".into()).map(drift).unwrap();
        let mut saved = rig.engine.plan(&"app".into(), None, None).await.unwrap().changes;
        assert_eq!(saved.len(), 1, "{saved:?}");
        let stale = Change { record: named.into(), ..saved[0].clone() };
        saved.push(stale);
        rig.target("app").inside().latency = Duration::from_secs(8);
        let mut fewer = users(5);
        fewer.iter_mut().take(3).for_each(|user| user.active = false);
        rig.source.set(Ok(documents(fewer, [app])));
        rig.pass(Duration::from_secs(26)).await;
        assert_eq!(rig.target("app").count("disable"), 2, "every slot is taken, and one removal waits");
        rig.target("app").inside().latency = Duration::ZERO;
        let request = SyncRequest { records: None, only: Some(saved) };
        let report = rig.engine.sync(&"app".into(), request).await.unwrap();
        assert_eq!((report.stale.len(), report.plan.changes.len()), (1, planned));
        assert_eq!(rig.target("app").count("update"), 1);
        rig.pass(Duration::from_mins(5)).await;
        assert_eq!(rig.target("app").count("disable"), 3, "{named}");
        assert_eq!(rig.status("app").owed, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_paced_creation_lets_a_removal_be_tried_again_as_soon_as_the_rate_allows_it() {
    let mut app = target("app");
    app.limits.requests_per_second = Some(0.1);
    let backlog = users(200);
    let rig = Rig::started(documents(backlog.clone(), [app.clone()])).await;
    rig.pass(Duration::from_mins(5)).await;
    assert!(rig.target("app").count("create") > 10);
    rig.target("app").inside().faults.extend((0..1_000).map(|_| Fault::Refuse(ErrorClass::Transient, None)));
    let mut fewer = backlog;
    fewer[0].active = false;
    rig.declare(documents(fewer, [app])).await;
    rig.pass(Duration::from_mins(2)).await;
    let calls = rig.target("app").inside().calls.clone();
    let tries: Vec<_> = calls.iter().filter(|call| call.what.starts_with("disable")).map(|call| call.at).collect();
    let apart = tries[1] - tries[0];
    assert!(apart <= Duration::from_secs(11), "{apart:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_removal_waits_for_no_listing() {
    let rig = Rig::started(documents(users(6), [target("app")])).await;
    let mut fewer = users(6);
    fewer.iter_mut().take(4).for_each(|user| user.active = false);
    let next = left_with(&rig, documents(fewer, [target("app")])).await;
    next.target("app").inside().bad_lists = Some(ErrorClass::Transient);
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    assert_eq!(next.target("app").count("disable"), 4);
    assert_eq!(next.status("app").owed, []);
}
