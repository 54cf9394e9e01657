//! Laws that no other suite has in view whole.

use std::time::Duration;

use rosterd::connector::ErrorClass;
use rosterd::engine::Running;
use rosterd::model::account::AccountState;
use rosterd::model::decision::DecisionKind;
use rosterd::model::plan::HoldKind;
use rosterd::model::target::Target;

use crate::support::make::documents;
use crate::support::make::inactive;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::target::Fault;

/// L8, save what only a real store can show: that the chain holds.
#[tokio::test(start_paused = true)]
async fn every_call_and_every_decision_has_its_event_in_the_commit_that_holds_it() {
    let rig = Rig::started(documents(users(5), [target("app")])).await;
    rig.target("app").inside().faults.extend([
        Fault::Refuse(ErrorClass::Transient, None),
        Fault::LoseReply,
        Fault::LoseRequest,
        Fault::Refuse(ErrorClass::Refused, None),
    ]);
    let leaving = [inactive("u-0000"), inactive("u-0001"), user("u-0002"), user("u-0003"), user("new")];
    rig.declare(documents(leaving, [target("app")])).await;
    rig.engine.decide(rig.decision(DecisionKind::Suspend, None)).await.unwrap();
    rig.engine.decide(rig.decision(DecisionKind::Resume, None)).await.unwrap();
    rig.pass(Duration::from_mins(5)).await;
    let store = rig.store.open();
    assert!(store.intents.len() >= 9 && store.outcomes.len() >= 9, "{} {}", store.intents.len(), store.outcomes.len());
    assert_eq!(store.unaudited, [] as [String; 0]);
}

/// L13
#[tokio::test(start_paused = true)]
async fn no_link_of_one_realm_or_environment_is_used_in_another() {
    for (realm, environment) in [("elsewhere", "default"), ("memory", "production")] {
        let rig = Rig::started(documents(users(3), [target("app")])).await;
        rig.engine.stop().await;
        let (targets, store) = rig.remains();
        rig.target("app").inside().realm = Some(realm.to_owned());
        let moved = Target { environment: environment.into(), ..target("app") };
        let people = [inactive("u-0000"), user("u-0001"), user("new")];
        let next = Rig::over(documents(people, [moved]), targets, store);
        next.engine.start(Running::Daemon).await.unwrap();
        next.pass(Duration::from_mins(2)).await;
        let app = next.target("app");
        assert_eq!(
            (app.count("create"), app.count("disable"), app.count("update")),
            (3, 0, 0),
            "{realm} {environment}"
        );
        assert_eq!(app.by_name("u-0000@acme.example").unwrap().state, AccountState::Active);
        let holds: Vec<_> = next.status("app").holds.into_iter().map(|hold| hold.limit).collect();
        assert_eq!(holds, [HoldKind::FirstContact], "{realm} {environment}");
    }
}
