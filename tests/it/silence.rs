//! Mails of ended accounts: switched off, remembered, and on again with the access (S4.5).

use std::collections::BTreeMap;
use std::time::Duration;

use rosterd::connector::ErrorClass;
use rosterd::manifest::Documents;
use rosterd::model::account::AccountState;
use rosterd::model::target::Target;
use serde_json::Value;
use serde_json::json;

use crate::support::make::documents;
use crate::support::make::inactive;
use crate::support::make::path;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::rig::Rig;
use crate::support::target::Fault;

const ARRIVAL: &str = "urn:example:User:notifyOnArrival";
const PAYMENT: &str = "urn:example:User:notifyOnPayment";
const TEXT: &str = "urn:example:User:notifyByText";

fn app() -> Target {
    let mut app = target("app");
    app.account.notifications = [ARRIVAL, PAYMENT, TEXT].map(path).into();
    app
}

fn there() -> Documents {
    documents([user("u"), user("v")], [app()])
}

fn left() -> Documents {
    documents([inactive("u"), user("v")], [app()])
}

/// `u` with these switches, as people of the target set them.
async fn settled(switches: &[(&str, Value)]) -> Rig {
    let rig = Rig::started(there()).await;
    set(&rig, switches);
    rig
}

fn set(rig: &Rig, switches: &[(&str, Value)]) {
    let id = rig.target("app").by_name("u@acme.example").unwrap().id;
    let values = switches.iter().map(|(at, value)| (path(at), value.clone()));
    rig.target("app").inside().accounts.get_mut(&id).unwrap().values.extend(values);
}

fn shows(rig: &Rig) -> (AccountState, BTreeMap<String, Value>) {
    let account = rig.target("app").by_name("u@acme.example").unwrap();
    let switches = account.values.into_iter().filter(|(path, _)| path.as_str().contains("notify"));
    (account.state, switches.map(|(path, value)| (path.as_str().to_owned(), value)).collect())
}

fn switches(arrival: Value, payment: Value, text: Value) -> BTreeMap<String, Value> {
    [(ARRIVAL, arrival), (PAYMENT, payment), (TEXT, text)].map(|(at, value)| (at.to_owned(), value)).into()
}

#[tokio::test(start_paused = true)]
async fn s4_5_mails_are_switched_off_with_the_access_and_come_back_as_they_were() {
    let rig = settled(&[(ARRIVAL, json!(true)), (PAYMENT, json!(false)), (TEXT, json!("True"))]).await;
    rig.declare(left()).await;
    let off = switches(json!(false), json!(false), json!(false));
    assert_eq!(shows(&rig), (AccountState::Disabled, off.clone()));
    rig.assert_settled("app").await;
    let rig = rig.restarted(left()).await;
    assert_eq!(shows(&rig).1, off);
    rig.declare(there()).await;
    let on = switches(json!(true), json!(false), json!("True"));
    assert_eq!(shows(&rig), (AccountState::Active, on));
    rig.assert_settled("app").await;
    // What the person chooses afterwards is theirs.
    set(&rig, &[(ARRIVAL, json!(false))]);
    rig.sync("app").await.unwrap();
    rig.rest().await;
    assert_eq!(shows(&rig).1[ARRIVAL], json!(false));
    rig.declare(left()).await;
    rig.declare(there()).await;
    assert_eq!(shows(&rig).1, switches(json!(false), json!(false), json!("True")));
}

#[tokio::test(start_paused = true)]
async fn access_ends_at_once_though_the_target_refuses_to_switch_mails_off() {
    for class in [ErrorClass::Refused, ErrorClass::Transient, ErrorClass::Uncertain] {
        let rig = settled(&[(ARRIVAL, json!(true))]).await;
        rig.target("app").inside().refused.insert(path(ARRIVAL));
        if class != ErrorClass::Refused {
            rig.target("app").inside().faults.push_back(Fault::Refuse(class, None));
        }
        let before = rig.target("app").count("disable");
        rig.declare(left()).await;
        rig.pass(Duration::from_mins(2)).await;
        assert_eq!(shows(&rig).0, AccountState::Disabled, "{class:?}");
        assert!(rig.target("app").count("disable") > before);
        assert_eq!(rig.status("app").owed.len(), 0, "{class:?}");
        assert!(rig.status("app").failures.contains_key(&"u".into()), "and it is told: {class:?}");
        rig.declare(there()).await;
        rig.pass(Duration::from_mins(2)).await;
        assert_eq!(shows(&rig).0, AccountState::Active, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_on_is_known_though_nobody_heard_that_it_was_switched_off() {
    for lost in [Fault::LoseReply, Fault::LoseRequest] {
        let rig = settled(&[(ARRIVAL, json!(true))]).await;
        // The first call ends the access, the second switches off.
        let mut calls = 0;
        rig.target("app").inside().latency = Duration::from_secs(1);
        rig.source.set(Ok(left()));
        while calls == 0 {
            rig.pass(Duration::from_millis(100)).await;
            calls = rig.target("app").count("disable");
        }
        rig.pass(Duration::from_millis(1_200)).await;
        rig.target("app").inside().faults.push_back(lost.clone());
        rig.pass(Duration::from_mins(2)).await;
        rig.target("app").inside().latency = Duration::ZERO;
        let rig = rig.restarted(left()).await;
        rig.pass(Duration::from_mins(2)).await;
        assert_eq!(shows(&rig).1[ARRIVAL], json!(false), "{lost:?}");
        rig.declare(there()).await;
        rig.rest().await;
        assert_eq!(shows(&rig).1[ARRIVAL], json!(true), "{lost:?}");
        rig.assert_settled("app").await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_hand_shut_keeps_its_switches() {
    let rig = settled(&[(ARRIVAL, json!(true))]).await;
    let id = rig.target("app").by_name("u@acme.example").unwrap().id;
    rig.target("app").inside().accounts.get_mut(&id).unwrap().state = AccountState::Disabled;
    rig.sync("app").await.unwrap();
    rig.declare(left()).await;
    rig.sync("app").await.unwrap();
    rig.rest().await;
    assert_eq!(shows(&rig), (AccountState::Disabled, [(ARRIVAL.to_owned(), json!(true))].into()));
}
