//! Removals that are due: how soon their first call leaves, and what stands while none can.

use std::collections::BTreeMap;
use std::time::Duration;

use rosterd::connector::ErrorClass;
use rosterd::engine::Running;
use rosterd::engine::status::Owed;
use rosterd::manifest::Documents;
use rosterd::metrics::OwedReason;
use rosterd::model::account::AccountState;
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
