//! A target that misbehaves: what can be done is done, once, and what is wrong is told.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::daemon::Daemon;
use crate::daemon::eventually;
use crate::servers::Knobs;
use crate::servers::Scim2Features;
use crate::servers::Server;
use crate::world::DONE;
use crate::world::ERROR;
use crate::world::Person;
use crate::world::World;

/// So many users, declared at once.
fn crowd(world: &World, names: &str, count: usize) -> Vec<Person> {
    let people: Vec<_> = (0..count).map(|number| Person::named(&format!("{names}{number}"))).collect();
    for person in &people {
        world.user(person);
    }
    people
}

/// How many accounts there are; none of them has a double.
async fn distinct(world: &World) -> usize {
    let rows = world.server.admin("GET", "/users", None).await;
    let rows = rows.as_array().expect("rows");
    let marks: BTreeSet<_> = rows.iter().map(|row| row["externalId"].as_str().expect("a mark")).collect();
    assert_eq!(marks.len(), rows.len(), "somebody was created twice");
    rows.len()
}

async fn fault(world: &World, fault: &Value) {
    world.server.admin("POST", "/faults", Some(fault)).await;
}

/// So many times that it ends by a word alone: [`no_faults`].
const LASTING: u32 = 1_000_000;

async fn no_faults(world: &World) {
    world.server.admin("DELETE", "/faults", None).await;
}

async fn knobs(world: &World, knobs: &Value) {
    world.server.admin("PATCH", "/knobs", Some(knobs)).await;
}

/// What a lost call left behind is asked for once its time limit has passed: a short one, here.
fn hurried(world: &World) {
    world.target(|spec| spec["connector"]["scim"] = json!({ "callLimit": "2s" }));
}

/// Waits until status shows a failure of some user that has these words; the user.
async fn failure_with(daemon: &Daemon, words: &str) -> String {
    eventually(&format!("status says {words:?} of a user"), async || {
        let status = daemon.target("crm").await;
        let failures = status["failures"].as_object()?.clone();
        failures.into_iter().find(|(_, why)| why.as_str().is_some_and(|why| why.contains(words))).map(|(user, _)| user)
    })
    .await
}

/// Waits until status shows an error of the whole target that has these words.
async fn error_with(daemon: &Daemon, words: &str) {
    eventually(&format!("status says {words:?}"), async || {
        let error = daemon.target("crm").await["error"].clone();
        error.as_str()?.contains(words).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_target_that_refuses_every_few_calls_gets_everybody_once() {
    let Some(world) = World::with(&Knobs { fail_every: 40, ..Knobs::default() }).await else { return };
    crowd(&world, "p", 200);
    assert_eq!(world.apply().await, json!({ "create": 200 }));
    assert_eq!(distinct(&world).await, 200);
    let requests = world.server.admin("GET", "/requests", None).await;
    let refused = requests.as_array().expect("requests").iter().filter(|request| request["status"] == 429).count();
    assert!(refused >= 5, "only {refused} calls were refused");
    knobs(&world, &json!({ "failEvery": 0 })).await;
    world.is_settled().await;
}

#[tokio::test]
async fn one_429_costs_the_seconds_that_it_asks_for() {
    // So many that there is time to see it told.
    let Some(world) = World::with(&Knobs { retry_after: "6".into(), ..Knobs::default() }).await else { return };
    let daemon = Daemon::of(&world).await;
    world.user(&Person::named("first"));
    daemon.has(&world, 1).await;
    daemon.is_through("crm").await;
    fault(&world, &json!({ "method": "POST", "path": "/Users", "status": 429 })).await;
    let begun = Instant::now();
    crowd(&world, "p", 20);
    let user = failure_with(&daemon, "429").await;
    let explained = daemon.explain(&user, "crm").await;
    assert!(explained["failure"].as_str().is_some_and(|why| why.contains("429")), "{explained:#}");
    daemon.has(&world, 21).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(6), "{took:?}");
    daemon.is_through("crm").await;
    assert_eq!(distinct(&world).await, 21);
    let count = [("target", "crm"), ("operation", "create"), ("code", "429")];
    assert_eq!(daemon.metric("rosterd_connector_requests_total", &count).await, 1);
    assert_eq!(daemon.metric("rosterd_retries_total", &[("target", "crm"), ("reason", "rate-limited")]).await, 1);
}

#[tokio::test]
async fn a_token_taken_back_in_mid_run_loses_nothing() {
    let Some(world) = World::with(&Knobs { latency: Duration::from_millis(100), ..Knobs::default() }).await else {
        return;
    };
    let token = world.server.token.clone();
    let daemon = Daemon::of(&world).await;
    crowd(&world, "p", 60);
    eventually("some are there", async || (distinct(&world).await >= 5).then_some(())).await;
    knobs(&world, &json!({ "token": "another" })).await;
    error_with(&daemon, "401").await;
    // However far it had come, these wait.
    crowd(&world, "late", 5);
    let there = distinct(&world).await;
    eventually("who is not there waits", async || {
        let waiting = daemon.target("crm").await["waiting"].as_u64();
        (waiting >= Some(65 - there as u64)).then_some(())
    })
    .await;
    let rows = world.server.admin("GET", "/users", None).await;
    let has =
        |record: &String| rows.as_array().is_some_and(|rows| rows.iter().any(|row| row["externalId"] == **record));
    let explained = daemon.explain("u-late0", "crm").await;
    assert!(explained["target_error"].as_str().is_some_and(|why| why.contains("401")), "{explained:#}");
    let said = world.rosterd(&["status"]).await.ends(DONE);
    assert!(said.out.contains("401"), "{said:?}");
    assert!(daemon.metric("rosterd_retries_total", &[("target", "crm"), ("reason", "door")]).await >= 1);
    assert!(daemon.metric("rosterd_queue_depth", &[("target", "crm")]).await >= 1);
    // Somebody leaves meanwhile: what is owed is told, and done as soon as the door opens.
    let leaver = (0..60).map(|number| format!("p{number}")).find(|name| has(&format!("u-{name}"))).expect("somebody");
    world.user(&Person { active: false, ..Person::named(&leaver) });
    let owed = [("target", "crm"), ("reason", "quarantine")];
    eventually("the narrowing is owed", async || {
        (daemon.metric("rosterd_revocations_owed", &owed).await == 1).then_some(())
    })
    .await;
    let said = world.rosterd(&["owed"]).await.ends(DONE);
    assert!(said.out.contains(&format!("u-{leaver}")) && said.out.contains("quarantine"), "{said:?}");
    knobs(&world, &json!({ "token": token, "latencyMs": 0 })).await;
    daemon.has(&world, 65).await;
    daemon.is_through("crm").await;
    assert_eq!(distinct(&world).await, 65);
    assert_eq!(daemon.metric("rosterd_revocations_owed", &[("target", "crm")]).await, 0);
    assert_eq!(world.account(&format!("{leaver}@x.example")).await["active"], false);
}

#[tokio::test]
async fn an_answer_lost_after_the_creation_makes_no_second_account() {
    for lost in [json!({ "drop": true }), json!({ "status": 503 }), json!({ "status": 500 }), json!({ "status": 504 })]
    {
        let Some(world) = World::with(&Knobs::default()).await else { return };
        hurried(&world);
        let mut asked = json!({ "method": "POST", "path": "/Users", "after": true, "times": 2 });
        asked.as_object_mut().expect("an object").extend(lost.as_object().expect("an object").clone());
        fault(&world, &asked).await;
        crowd(&world, "p", 5);
        assert_eq!(world.apply().await, json!({ "create": 5 }), "{lost}");
        assert_eq!(distinct(&world).await, 5, "{lost}");
        world.is_settled().await;
    }
}

#[tokio::test]
async fn an_answer_lost_before_the_creation_is_asked_for_again() {
    for lost in [json!({ "drop": true }), json!({ "status": 503 }), json!({ "status": 500 })] {
        let Some(world) = World::with(&Knobs::default()).await else { return };
        hurried(&world);
        let mut asked = json!({ "method": "POST", "path": "/Users", "times": 2 });
        asked.as_object_mut().expect("an object").extend(lost.as_object().expect("an object").clone());
        fault(&world, &asked).await;
        crowd(&world, "p", 5);
        assert_eq!(world.apply().await, json!({ "create": 5 }), "{lost}");
        assert_eq!(distinct(&world).await, 5, "{lost}");
        world.is_settled().await;
    }
}

#[tokio::test]
async fn an_error_of_the_target_is_told_while_it_lasts() {
    let Some(world) = World::with(&Knobs::default()).await else { return };
    hurried(&world);
    let daemon = Daemon::of(&world).await;
    world.user(&Person::named("first"));
    daemon.has(&world, 1).await;
    daemon.is_through("crm").await;
    fault(&world, &json!({ "method": "POST", "path": "/Users", "status": 502, "times": LASTING })).await;
    world.user(&Person::named("second"));
    assert_eq!(failure_with(&daemon, "502").await, "u-second");
    let explained = daemon.explain("u-second", "crm").await;
    assert!(explained["failure"].as_str().is_some_and(|why| why.contains("502")), "{explained:#}");
    let said = world.rosterd(&["explain", "u-second"]).await.ends(DONE);
    assert!(said.out.contains("502"), "{said:?}");
    no_faults(&world).await;
    daemon.has(&world, 2).await;
    daemon.is_through("crm").await;
    let requests = world.server.admin("GET", "/requests", None).await;
    let refused = requests.as_array().expect("requests").iter().filter(|request| request["status"] == 502).count();
    let count = [("target", "crm"), ("operation", "create"), ("code", "502")];
    assert_eq!(daemon.metric("rosterd_connector_requests_total", &count).await, refused as u64);
}

#[tokio::test]
async fn one_bad_user_among_many_stops_nobody_else() {
    let Some(world) = World::with(&Knobs::default()).await else { return };
    world.target(|spec| spec["limits"] = json!({ "update": [] }));
    let people = crowd(&world, "p", 100);
    assert_eq!(world.apply().await, json!({ "create": 100 }));
    let bad = world.account("p50@x.example").await["id"].as_str().expect("an id").to_owned();
    let asked = json!({ "method": "PATCH", "path": format!("/Users/{bad}"), "status": 400 });
    fault(&world, &asked).await;
    for person in people {
        world.user(&Person { family: "Byron".into(), ..person });
    }
    let report = world.applied(ERROR).await;
    assert_eq!(report["cycle"]["done"], json!({ "update": 99 }));
    assert_eq!(
        report["failures"].as_object().map(|failures| failures.keys().collect::<Vec<_>>()),
        Some(vec![&"u-p50".to_owned()])
    );
    let status = world.rosterd(&["status"]).await.ends(DONE);
    assert!(status.out.contains("u-p50") && status.out.contains("400"), "{status:?}");
    let explained = world.rosterd(&["explain", "u-p50"]).await.ends(DONE);
    assert!(explained.out.contains("400"), "{explained:?}");
    assert_eq!(world.apply().await, json!({ "update": 1 }));
    world.is_settled().await;
}

async fn a_write_is_on_its_way(world: &World) {
    let writes = async || world.writes().await.filter(|writes| !writes.is_empty());
    eventually("a write is on its way", writes).await;
}

/// The name appears between the look and the creation: the 409 leads to a fresh look and the rules.
#[tokio::test]
async fn after_a_409_the_rules_of_adoption_decide() {
    for (existing, code, done) in [("adopt", DONE, json!({ "adopt": 1 })), ("refuse", DONE, json!({}))] {
        let Some(world) = World::with(&Knobs::default()).await else { return };
        world.user(&Person::named("first"));
        world.apply().await;
        world.target(|spec| {
            spec["account"]["existing"] = json!(existing);
            spec["account"]["trustedKeys"] = json!(["externalId"]);
            spec["connector"]["scim"] = json!({ "callLimit": "2m" });
        });
        world.user(&Person::named("ada"));
        world.forget_requests().await;
        fault(&world, &json!({ "method": "POST", "path": "/Users", "hold": true })).await;
        let cycle = world.applied(code);
        let between = async {
            a_write_is_on_its_way(&world).await;
            let theirs = json!({ "externalId": "u-ada", "title": "Countess", "prefix": "ada" });
            let made = world.server.admin("POST", "/users", Some(&theirs)).await;
            let name = json!({ "userName": "ada@x.example" });
            let id = made[0]["id"].as_str().expect("an id").to_owned();
            world.server.admin("PATCH", &format!("/users/{id}"), Some(&name)).await;
            no_faults(&world).await;
            id
        };
        let (report, id) = tokio::join!(cycle, between);
        assert_eq!(report["cycle"]["done"], done, "{existing}: {report:#}");
        let ada = world.account("ada@x.example").await;
        assert_eq!((&ada["id"], &ada["title"]), (&json!(id), &json!("Countess")));
        assert_eq!(ada["name"]["familyName"] == "Ames", existing == "adopt");
        assert_eq!(distinct(&world).await, 2);
        world.is_settled().await;
    }
}

#[tokio::test]
async fn a_target_that_hangs_keeps_no_other_target_waiting() {
    let Some(world) = World::with(&Knobs::default()).await else { return };
    let Some(other) = Server::scim2(&Scim2Features::default()).await else { return };
    hurried(&world);
    world.second_target("hr", &other);
    let daemon = Daemon::of(&world).await;
    world.user(&Person::named("first"));
    daemon.has(&world, 1).await;
    daemon.is_through("crm").await;
    daemon.is_through("hr").await;
    fault(&world, &json!({ "hold": true, "times": LASTING })).await;
    crowd(&world, "p", 10);
    eventually("the other target has everybody", async || {
        let (_, list) = other.call("GET", "/Users?count=1", None).await;
        (list["totalResults"] == 11).then_some(())
    })
    .await;
    assert_eq!(distinct(&world).await, 1);
    let user = failure_with(&daemon, "no answer in time").await;
    let explained = daemon.explain(&user, "crm").await;
    assert!(explained["failure"].as_str().is_some_and(|why| why.contains("no answer in time")), "{explained:#}");
    assert_eq!(daemon.target("hr").await["failures"], json!({}));
    let silent = [("target", "crm"), ("code", "none")];
    assert!(daemon.metric("rosterd_connector_requests_total", &silent).await >= 1);
    no_faults(&world).await;
    daemon.has(&world, 11).await;
    daemon.is_through("crm").await;
    assert_eq!(distinct(&world).await, 11);
}
