//! A leaver among many newcomers: the way out does not wait for the way in.
//!
//! In the CI with small numbers; `ROSTERD_NARROWINGS=500 ROSTERD_BACKLOG=20000` is the whole thing,
//! which says its figures on standard error.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::chance::say;
use crate::daemon::Daemon;
use crate::daemon::eventually;
use crate::daemon::eventually_within;
use crate::servers::Knobs;
use crate::world::Person;
use crate::world::World;

/// Requests a second that the target is asked for, look-ups included.
const RATE: f64 = 20.0;

/// Nobody whose access ended waits longer, from the save of the manifest to the call at the target.
const LONGEST: Duration = Duration::from_secs(1);

/// Where that cannot be judged, so many may be let in meanwhile at most: ten seconds at that rate.
const MOST_BEFORE: usize = 200;

fn number(name: &str, default: usize) -> usize {
    #[expect(clippy::disallowed_methods, reason = "a test is told its size by whoever runs it")]
    let given = env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a number"))
}

#[expect(clippy::disallowed_methods, reason = "compared with the wall clock of another process")]
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis()
}

/// The target with a rate, or without.
fn paced(world: &World, rate: Option<f64>) {
    world.target(|spec| {
        spec["limits"] = json!({ "widen": [] });
        if let Some(rate) = rate {
            spec["limits"]["requestsPerSecond"] = json!(rate);
        }
    });
}

/// So many users in one file, of a role of their own.
fn newcomers(world: &World, count: usize) {
    let mut text = String::new();
    for number in 0..count {
        let person = Person { roles: vec!["newcomer".to_owned()], ..Person::named(&format!("new{number}")) };
        text.extend(["---\n", &person.document().to_string(), "\n"]);
    }
    world.write("m/newcomers.yaml", &text);
}

/// When accounts were made, in milliseconds since 1970.
async fn made(world: &World) -> Vec<u128> {
    let requests = world.server.admin("GET", "/requests", None).await;
    let made = requests.as_array().expect("requests").iter().filter(|request| request["method"] == "POST");
    made.map(|request| u128::from(request["at"].as_u64().expect("a time"))).collect()
}

/// When each account was first told to be inactive, in milliseconds since 1970.
async fn disabled(world: &World) -> BTreeMap<String, u128> {
    let requests = world.server.admin("GET", "/requests", None).await;
    let mut first = BTreeMap::new();
    for request in requests.as_array().expect("requests") {
        if request["method"] == "PATCH" && request["body"].to_string().contains("false") {
            let id = request["path"].as_str().and_then(|path| path.rsplit('/').next()).expect("an id");
            let at = u128::from(request["at"].as_u64().expect("a time"));
            first.entry(id.to_owned()).or_insert(at);
        }
    }
    first
}

async fn ids(world: &World) -> BTreeMap<String, String> {
    let rows = world.server.admin("GET", "/users", None).await;
    let rows = rows.as_array().expect("rows").clone();
    let text = |row: &Value, key: &str| row[key].as_str().expect("text").to_owned();
    rows.iter().map(|row| (text(row, "externalId"), text(row, "id"))).collect()
}

#[tokio::test]
async fn who_leaves_while_thousands_wait_to_come_is_out_within_a_second() {
    let Some(world) = World::with(&Knobs::default()).await else { return };
    let (leavers, backlog) = (number("ROSTERD_NARROWINGS", 15), number("ROSTERD_BACKLOG", 1_000));
    // The default limits let a quarter of the accounts go in an hour; a role is taken from the others.
    let staff = leavers + (leavers * 5).max(backlog * 3 / 20);
    paced(&world, None);
    world.role("newcomer", &[]);
    let people: Vec<_> = (0..staff).map(|number| Person::named(&format!("p{number}"))).collect();
    for person in &people {
        world.user(person);
    }
    let daemon = Daemon::of(&world).await;
    daemon.has_within(&world, staff, Duration::from_mins(15)).await;
    daemon.is_through("crm").await;
    let ids = ids(&world).await;
    daemon.ends().await;
    paced(&world, Some(RATE));
    newcomers(&world, backlog);
    let daemon = Daemon::of(&world).await;
    // All are read, projected and planned first.
    eventually_within(Duration::from_mins(10), "the newcomers wait", async || {
        (daemon.target("crm").await["waiting"].as_u64()? >= backlog as u64 * 9 / 10).then_some(())
    })
    .await;
    world.forget_requests().await;
    let mut saved = BTreeMap::new();
    for (index, person) in people.iter().take(leavers).enumerate() {
        // At no fixed distance from the ticks of the rate.
        tokio::time::sleep(Duration::from_millis(100 + (index as u64 * 37) % 200)).await;
        saved.insert(ids[&person.record].clone(), now());
        world.user(&Person { active: false, ..person.clone() });
    }
    let limit = Instant::now() + Duration::from_mins(1);
    let mut out = disabled(&world).await;
    while out.len() < leavers && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(100)).await;
        out = disabled(&world).await;
    }
    let waiting = daemon.target("crm").await["waiting"].clone();
    assert!(waiting.as_u64() >= Some(backlog as u64 / 4), "the newcomers were through before the leavers: {waiting}");
    assert_eq!(out.len(), leavers, "not everybody is out after a minute");
    let mut took: Vec<_> = saved.iter().map(|(id, at)| out[id].saturating_sub(*at)).collect();
    took.sort_unstable();
    let at = |percent: usize| took[((took.len() - 1) * percent + 50) / 100];
    say(&format!(
        "{leavers} narrowings behind {backlog} creates ({waiting} still waiting) at {RATE} requests/s, ms from save to \
         call: p50 {}, p99 {}, max {}",
        at(50),
        at(99),
        at(100)
    ));
    // Work of every other test goes on beside it, unless it is measured: then only the order tells.
    let made = made(&world).await;
    let before = |(id, at): (&String, &u128)| made.iter().filter(|made| (*at..=out[id]).contains(made)).count();
    let most = saved.iter().map(before).max().unwrap_or_default();
    assert!(most <= MOST_BEFORE, "{most} were let in before somebody was out");
    if env::var_os("ROSTERD_NARROWINGS").is_some() {
        assert!(at(100) <= LONGEST.as_millis(), "somebody waited {} ms", at(100));
    }
    a_role_taken_from_everybody_by_one_line_is_held(&world, &daemon, staff - leavers).await;
}

async fn a_role_taken_from_everybody_by_one_line_is_held(world: &World, daemon: &Daemon, holders: usize) {
    let before = disabled(world).await.len();
    let role = json!({ "apiVersion": "rosterd.dev/v1", "kind": "Role", "metadata": { "name": "agent" }, "spec": { "grants": [] } });
    world.write("m/role-agent.json", &role.to_string());
    let hold = eventually("the hold is told", async || {
        let holds = daemon.target("crm").await["holds"].clone();
        holds.as_array()?.iter().find(|hold| hold["limit"] == "narrow-inferred").cloned()
    })
    .await;
    let reason = hold["reason"].as_str().expect("a reason");
    assert!(reason.contains("narrow.inferred") && reason.contains("rosterd holds release"), "{reason}");
    assert_eq!(hold["changes"].as_array().map(Vec::len), Some(holders));
    let counted = daemon.metric("rosterd_holds", &[("target", "crm"), ("limit", "narrow.inferred")]).await;
    assert_eq!(counted, holders as u64);
    let said = world.rosterd(&["holds", "list"]).await;
    assert!(said.out.contains("narrow.inferred"), "{said:?}");
    assert_eq!(disabled(world).await.len(), before, "nobody was disabled");
    let text = fs::read_to_string(world.folder.path().join("log")).unwrap_or_default();
    assert!(!text.contains("panicked"), "{text}");
}
