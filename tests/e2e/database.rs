//! The daemon with its store in a real `PostgreSQL`: who joins, who leaves, `kill -9` in the middle
//! of calls, and a database that crashes.

use std::time::Duration;

use serde_json::json;

use crate::daemon::Daemon;
use crate::daemon::eventually;
use crate::postgres::Server;
use crate::servers::Knobs;
use crate::world::DONE;
use crate::world::Person;
use crate::world::TARGET;
use crate::world::World;

/// How often it is killed, each time with calls under way.
const KILLS: usize = 3;

/// Who comes before each kill.
const JOINERS: usize = 30;

/// A world whose store is a database of its own; `None`, said on standard error, where either
/// server is not installed.
async fn world(server: &Server) -> Option<World> {
    let world = World::with(&Knobs { latency: Duration::from_millis(100), ..Knobs::default() }).await?;
    world.write("db.url", &server.database().await);
    let origin = format!("postgres://127.0.0.1:{}", server.port);
    world.settings(|settings| {
        settings["store"] = json!({ "postgres": { "url": { "secret": "state" } } });
        settings["secrets"]["state"] = json!({ "file": "db.url", "origins": [origin] });
    });
    world.target(|spec| {
        spec["connector"]["scim"] = json!({ "callLimit": "2s" });
        spec["limits"] = json!({ "narrow": { "explicit": [], "inferred": [] }, "widen": [], "update": [] });
    });
    Some(world)
}

/// How many accounts there are, told at once: through SCIM each page would be held back.
async fn accounts(world: &World) -> usize {
    world.server.admin("GET", "/users", None).await.as_array().expect("rows").len()
}

/// Everybody who was declared, in or out.
struct Company {
    world: World,
    people: Vec<Person>,
}

impl Company {
    fn joins(&mut self, name: &str) {
        let person = Person::named(name);
        self.world.user(&person);
        self.people.push(person);
    }

    fn one_leaves(&mut self) {
        let leaver = self.people.iter_mut().find(|person| person.active).expect("somebody is left");
        leaver.active = false;
        self.world.user(leaver);
    }

    /// What is not as declared: nobody is missing, doubled, or wrongly in or out.
    async fn wrong(&self) -> Vec<String> {
        let rows = self.world.server.admin("GET", "/users", None).await;
        let rows = rows.as_array().expect("rows");
        let right = |person: &&Person| {
            let found: Vec<_> = rows.iter().filter(|row| row["externalId"] == *person.record).collect();
            matches!(found.as_slice(), [row] if row["active"] == json!(person.active))
        };
        let mut wrong: Vec<_> =
            self.people.iter().filter(|person| !right(person)).map(|person| person.record.clone()).collect();
        if rows.len() > self.people.len() {
            wrong.push(format!("{} accounts of {} people", rows.len(), self.people.len()));
        }
        wrong
    }

    async fn is_right(&self, daemon: &Daemon) {
        daemon.comes_right(TARGET, async || self.wrong().await).await;
        assert_eq!(self.wrong().await, [] as [String; 0]);
    }
}

#[tokio::test]
async fn with_its_store_in_postgresql_nobody_is_there_twice_and_no_leaver_stays_however_often_it_is_killed() {
    let Some(server) = Server::shared() else { return };
    let Some(world) = world(server).await else { return };
    let mut company = Company { world, people: Vec::new() };
    for number in 0..JOINERS {
        company.joins(&format!("p{number}"));
    }
    let mut daemon = Daemon::of(&company.world).await;
    company.is_right(&daemon).await;
    company.one_leaves();
    company.joins("joiner");
    company.is_right(&daemon).await;
    for kill in 0..KILLS {
        let before = accounts(&company.world).await;
        // However fast the others are, the call for one of them is under way when it is killed.
        let one = format!("u-k{kill}-0\"");
        let held = json!({ "method": "POST", "path": "/Users", "body": one, "hold": true, "times": 1_000 });
        company.world.server.admin("POST", "/faults", Some(&held)).await;
        for number in 0..JOINERS {
            company.joins(&format!("k{kill}-{number}"));
        }
        company.one_leaves();
        eventually("one of them is there", async || (accounts(&company.world).await > before).then_some(())).await;
        daemon.ends().await;
        assert!(!company.wrong().await.is_empty(), "it was through before it was killed");
        company.world.server.admin("DELETE", "/faults", None).await;
        daemon = Daemon::of(&company.world).await;
        company.is_right(&daemon).await;
    }
    company.world.rosterd(&["audit", "verify", "--server", &daemon.url]).await.ends(DONE);
    daemon.stops().await;
    company.world.rosterd(&["audit", "verify"]).await.ends(DONE);
    company.world.is_settled().await;
}

#[tokio::test]
async fn while_its_database_is_gone_nobody_is_let_in_and_the_daemon_goes_on_when_it_is_back() {
    let Some(server) = Server::new() else { return };
    let Some(world) = world(&server).await else { return };
    let mut company = Company { world, people: Vec::new() };
    for number in 0..JOINERS {
        company.joins(&format!("p{number}"));
    }
    let daemon = Daemon::of(&company.world).await;
    company.is_right(&daemon).await;
    server.crash();
    company.joins("joiner");
    company.one_leaves();
    eventually("the store is said to be away", async || {
        (daemon.metric("rosterd_store_away", &[]).await == 1).then_some(())
    })
    .await;
    let (ready, told) = daemon.ready().await;
    assert!(!ready && told["error"].is_string(), "{told}");
    let status = company.world.rosterd(&["status", "--server", &daemon.url]).await.ends(DONE);
    assert!(status.out.contains("store:"), "{status:?}");
    assert_eq!(accounts(&company.world).await, JOINERS, "nobody is let in meanwhile");
    server.start();
    company.is_right(&daemon).await;
    eventually("the store is back", async || (daemon.metric("rosterd_store_away", &[]).await == 0).then_some(())).await;
    assert!(daemon.ready().await.0);
    daemon.stops().await;
    company.world.is_settled().await;
}
