//! Accounts in places that no target works in any more are told of, and their leavers are owed.

use std::collections::BTreeMap;
use std::time::Duration;

use rosterd::engine::Running;
use rosterd::engine::receipt::Verdict;
use rosterd::engine::status::LeftBehind;
use rosterd::metrics::OwedReason;
use rosterd::model::account::AccountState;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::link::Space;
use rosterd::model::target::Scope;
use rosterd::model::target::Target;
use rosterd::model::user::User;

use crate::support::make::documents;
use crate::support::make::inactive;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;

fn place(target: &str) -> Space {
    Space { target: target.into(), environment: "default".into(), realm: "memory".into() }
}

/// Where something is left, how many accounts, and who of them is to be out.
fn told<'a>(left: &'a [LeftBehind]) -> Vec<(Space, u64, Vec<&'a str>)> {
    assert!(left.iter().flat_map(|left| &left.owed).all(|owed| owed.reason == OwedReason::LeftBehind));
    let owed = |left: &'a LeftBehind| left.owed.iter().map(|owed| owed.record.as_str()).collect();
    left.iter().map(|left| (left.space.clone(), left.accounts, owed(left))).collect()
}

fn count(rig: &Rig, target: &str) -> String {
    let text = rig.metrics.encode();
    let name = format!("rosterd_accounts_left_behind{{target=\"{target}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or("nothing").to_owned()
}

#[tokio::test(start_paused = true)]
async fn accounts_of_another_environment_or_realm_are_left_behind_until_the_place_is_come_back_to() {
    for (realm, environment) in [("elsewhere", "default"), ("memory", "production")] {
        let rig = Rig::started(documents(users(3), [target("app")])).await;
        assert_eq!((rig.engine.status().left_behind, count(&rig, "app")), (Vec::new(), "0".to_owned()));
        rig.target("app").inside().realm = Some(realm.to_owned());
        let people = || [inactive("u-0000"), user("u-0001"), user("u-0002")];
        let moved = Target { environment: environment.into(), ..target("app") };
        let next = rig.restarted(documents(people(), [moved])).await;
        let left = next.engine.status().left_behind;
        assert_eq!(told(&left), [(place("app"), 3, vec!["u-0000"])], "{realm} {environment}");
        assert_eq!(count(&next, "app"), "3");
        assert_eq!(next.engine.left_behind(&"u-0000".into()).await.unwrap().len(), 1);

        next.target("app").inside().realm = None;
        let back = next.restarted(documents(people(), [target("app")])).await;
        back.rest().await;
        assert_eq!(told(&back.engine.status().left_behind), []);
        assert_eq!(count(&back, "app"), "0");
        assert_eq!(back.target("app").by_name("u-0000@acme.example").unwrap().state, AccountState::Disabled);
    }
}

#[tokio::test(start_paused = true)]
async fn accounts_of_a_target_whose_document_is_gone_are_told_while_the_daemon_runs() {
    let rig = Rig::new(documents(users(3), [target("app"), target("crm")]));
    rig.target("crm").inside().realm = Some("another".to_owned());
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    rig.declare(documents(users(3), [target("crm")])).await;
    assert_eq!(told(&rig.engine.status().left_behind), [(place("app"), 3, Vec::new())]);
    assert_eq!((count(&rig, "app"), count(&rig, "crm")), ("3".to_owned(), "0".to_owned()));
    rig.declare(documents([inactive("u-0000"), user("u-0001"), user("u-0002")], [target("crm")])).await;
    rig.engine.look_left_behind().await.unwrap();
    assert_eq!(told(&rig.engine.status().left_behind), [(place("app"), 3, vec!["u-0000"])]);
    let receipt = rig.engine.receipt(&"u-0000".into()).await.unwrap();
    assert_eq!(receipt.verdict, Verdict::NotConfirmed, "{receipt:?}");
    rig.declare(documents([inactive("u-0000"), user("u-0001"), user("u-0002")], [target("app"), target("crm")])).await;
    rig.pass(Duration::from_mins(1)).await;
    assert_eq!(told(&rig.engine.status().left_behind), []);
    assert_eq!(rig.target("app").by_name("u-0000@acme.example").unwrap().state, AccountState::Disabled);
}

#[tokio::test(start_paused = true)]
async fn a_load_without_a_target_and_without_its_users_is_held_until_a_person_accepts_it() {
    let staff_only = || {
        let scope = Scope { user_types: Some(["employee".to_owned()].into()), when: None };
        Target { scope, ..target("app") }
    };
    let guest = |number| User { user_type: Some("guest".to_owned()), ..user(&format!("g-{number:02}")) };
    let people = || users(10).into_iter().chain((0..8).map(guest));
    let rig = Rig::new(documents(people(), [staff_only(), target("crm")]));
    rig.target("crm").inside().realm = Some("another".to_owned());
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;

    // Without its document alone a target loses nobody, and a few may leave with it.
    rig.declare(documents(people(), [staff_only()])).await;
    assert_eq!(rig.engine.source().shrink, None);
    rig.declare(documents(people().skip(1), [staff_only()])).await;
    assert_eq!(rig.engine.source().shrink, None);
    rig.declare(documents(people(), [staff_only(), target("crm")])).await;
    assert_eq!(rig.engine.source().shrink, None);

    // A process that knows no more of it than the store does judges the same.
    rig.engine.stop().await;
    let next = rig.restarted(documents(users(10), [staff_only()])).await;
    let shrink = next.engine.source().shrink.expect("held");
    assert_eq!((shrink.lost, shrink.level), (8, 28));
    next.engine.look_left_behind().await.unwrap();
    assert_eq!(told(&next.engine.status().left_behind)[0].2, [""; 0], "nobody is out yet");
    let accept = Decision { target: None, ..next.decision(DecisionKind::AcceptShrink, Some(shrink.digest)) };
    next.engine.decide(accept).await.unwrap();
    next.rest().await;
    next.engine.look_left_behind().await.unwrap();
    assert_eq!(told(&next.engine.status().left_behind)[0].2.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_renamed_target_that_has_the_accounts_leaves_none_behind() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    rig.engine.stop().await;
    let (mut targets, store) = rig.remains();
    let same = targets[&"app".into()].clone();
    targets = BTreeMap::from([("crm".into(), same)]);
    let links: Vec<_> = store.open().links.values().cloned().collect();
    let linked = links.into_iter().filter(|link| link.record.as_str() != "u-0002");
    let linked: Vec<_> = linked.map(|link| ((place("crm"), link.record.clone()), link)).collect();
    store.open().links.extend(linked);
    let people = [inactive("u-0000"), user("u-0001"), user("u-0002")];
    let next = Rig::over(documents(people, [target("crm")]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    next.engine.look_left_behind().await.unwrap();
    assert_eq!(told(&next.engine.status().left_behind), [(place("app"), 1, Vec::new())]);
    assert_eq!(next.target("crm").by_name("u-0000@acme.example").unwrap().state, AccountState::Disabled);
    let receipt = next.engine.receipt(&"u-0000".into()).await.unwrap();
    assert_eq!(receipt.verdict, Verdict::OutEverywhere, "{receipt:?}");
}
