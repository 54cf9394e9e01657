//! An account that somebody disabled in the target stays disabled, whatever is edited and however
//! often rosterd is started again, until a person says otherwise to rosterd.

use serde_json::Value;
use serde_json::json;

use crate::daemon::Daemon;
use crate::daemon::eventually;
use crate::world::DONE;
use crate::world::ERROR;
use crate::world::Kind;
use crate::world::Person;
use crate::world::TARGET;
use crate::world::World;
use crate::world::id;

/// What the target shows of somebody whom another hand keeps out.
async fn is_kept_out(world: &World, account: &str, when: &str) {
    let (status, row) = world.server.call("GET", &format!("/Users/{account}"), None).await;
    assert_eq!((status, &row["active"]), (200, &json!(false)), "{when}: {row}");
}

/// Saves a user and waits until the daemon has taken it in and done what follows.
async fn declares(world: &World, daemon: &Daemon, person: &Person) {
    let before = daemon.generation().await;
    world.user(person);
    eventually("the edit is accepted", async || (daemon.generation().await > before).then_some(())).await;
    daemon.is_through(TARGET).await;
}

/// A full cycle, to its end.
async fn cycle(world: &World) {
    world.rosterd(&["sync", TARGET]).await.ends(DONE);
}

/// Metrics, `explain` and `status` say whose doing it is, and which word ends it.
async fn is_told(world: &World, daemon: &Daemon, when: &str) {
    let labels = [("target", TARGET)];
    assert_eq!(daemon.metric("rosterd_conflicts", &labels).await, 1, "{when}");
    let disabled = [("target", TARGET), ("state", "disabled")];
    assert_eq!(daemon.metric("rosterd_accounts", &disabled).await, 1, "{when}");
    let explained = daemon.explain("u-ada", TARGET).await;
    assert_eq!(explained["skip"], json!({ "other-hand": "disabled" }), "{when}: {explained:#}");
    for command in [&["explain", "u-ada"][..], &["status"]] {
        let said = world.rosterd(command).await.ends(DONE);
        assert!(said.out.contains("another hand"), "{when}: {said:?}");
        assert!(said.out.contains("rosterd regain u-ada"), "{when}: {said:?}");
    }
}

async fn stays_so(kind: Kind) {
    let Some(world) = World::of(kind).await else { return };
    let (ada, bea) = (Person::named("ada"), Person::named("bea"));
    world.user(&ada);
    world.user(&bea);
    let mut daemon = Daemon::of(&world).await;
    eventually("both have accounts", async || (world.accounts().await.len() == 2).then_some(())).await;
    daemon.is_through(TARGET).await;
    let account = id(&world.account(&ada.email).await);
    world.other_hand(&account, &json!({ "active": false, "title": "Under suspicion" })).await;
    cycle(&world).await;
    is_kept_out(&world, &account, "a full cycle").await;
    is_told(&world, &daemon, "a full cycle").await;

    // Edits: another name; no access and access again; no role and the role again.
    let renamed = Person { family: "Byron".into(), ..ada.clone() };
    for edit in [
        renamed.clone(),
        Person { active: false, ..renamed.clone() },
        renamed.clone(),
        Person { roles: vec![], ..renamed.clone() },
        renamed.clone(),
    ] {
        declares(&world, &daemon, &edit).await;
        is_kept_out(&world, &account, "an edit").await;
        cycle(&world).await;
        is_kept_out(&world, &account, "an edit and a full cycle").await;
    }
    is_told(&world, &daemon, "edits").await;

    // Restarts: asked to end, and ended without a word.
    for politely in [true, false, true] {
        if politely {
            daemon.stops().await;
        } else {
            daemon.ends().await;
        }
        daemon = Daemon::of(&world).await;
        daemon.is_through(TARGET).await;
        is_kept_out(&world, &account, "a restart").await;
        declares(&world, &daemon, &Person { given: format!("ada-{politely}"), ..renamed.clone() }).await;
        cycle(&world).await;
        is_kept_out(&world, &account, "a restart, an edit and a full cycle").await;
        is_told(&world, &daemon, "a restart").await;
    }
    // A person says so; the same account, with what the target's people wrote.
    let said = world.rosterd(&["regain", "u-ada", "--reason", "cleared"]).await.ends(DONE);
    assert!(said.out.contains("1 reactivated"), "{said:?}");
    let (_, row) = world.server.call("GET", &format!("/Users/{account}"), None).await;
    assert_eq!((&row["active"], &row["title"]), (&json!(true), &json!("Under suspicion")));
    assert_eq!(world.accounts().await.len(), 2);
    cycle(&world).await;
    assert_eq!(daemon.metric("rosterd_conflicts", &[("target", TARGET)]).await, 0);
    assert_eq!(daemon.explain("u-ada", TARGET).await["skip"], json!("in-sync"));
    // Once: there is nothing left to give back, and the next hand that disables it is heard again.
    world.rosterd(&["regain", "u-ada"]).await.ends(ERROR);
    world.other_hand(&account, &json!({ "active": false })).await;
    cycle(&world).await;
    is_kept_out(&world, &account, "another hand, a second time").await;
    decided_once(&world).await;
    daemon.stops().await;
    world.is_settled().await;
}

/// The audit log has the person's word, and why.
async fn decided_once(world: &World) {
    let found = world.rosterd(&["audit", "search", "regain", "--output", "json"]).await.ends(DONE).json();
    let found: Vec<_> = found.as_array().expect("events").iter().map(|event| reason(event).clone()).collect();
    assert_eq!(found, [json!("cleared")]);
}

fn reason(event: &Value) -> &Value {
    &event["event"]["details"]["reason"]
}

#[tokio::test]
async fn what_somebody_disabled_in_scimmy_stays_so_until_a_person_says_regain() {
    stays_so(Kind::Scimmy).await;
}

#[tokio::test]
async fn what_somebody_disabled_in_scim2_server_stays_so_until_a_person_says_regain() {
    stays_so(Kind::Scim2).await;
}
