//! A target gets no more requests a second than its document allows.

use serde_json::json;

use crate::daemon::Daemon;
use crate::servers::Knobs;
use crate::world::Person;
use crate::world::World;

/// Requests a second.
const RATE: u64 = 20;

/// Requests that may leave together: one of each call that is under way, and what its creation needs besides.
const TOGETHER: u64 = 12;

/// How many requests came since they were forgotten, and milliseconds from the first to the last.
async fn requests(world: &World) -> (u64, u64) {
    let requests = world.server.admin("GET", "/requests", None).await;
    let at: Vec<_> =
        requests.as_array().expect("requests").iter().map(|request| request["at"].as_u64().expect("a time")).collect();
    let span = at.iter().max().zip(at.iter().min()).map_or(0, |(last, first)| last - first);
    (at.len() as u64, span)
}

/// The server writes down when it took a request up; a busy machine brings them a little closer together.
fn keeps_the_rate((count, span): (u64, u64)) {
    let least = count.saturating_sub(TOGETHER) * 1_000 / RATE;
    assert!(span * 10 >= least * 9, "{count} requests came within {span} ms");
}

#[tokio::test]
async fn pages_and_every_request_of_a_creation_count_against_the_rate_of_a_target() {
    let Some(world) = World::with(&Knobs { max_results: 2, ..Knobs::default() }).await else { return };
    for number in 0..100 {
        world.stranger(&json!({ "userName": format!("guest-{number}"), "title": "Guest" })).await;
    }
    world.target(|spec| spec["limits"] = json!({ "requestsPerSecond": RATE, "widen": [] }));
    world.forget_requests().await;
    world.plan().await;
    let listed = requests(&world).await;
    assert!(listed.0 >= 50, "pages of two of a hundred: {listed:?}");
    keeps_the_rate(listed);

    for number in 0..40 {
        world.user(&Person::named(&format!("p{number}")));
    }
    // Accounts of others are there, so a person must let rosterd write.
    let (_, plan) = world.plan().await;
    world.rosterd(&["enforce", "crm", plan["holds"][0]["digest"].as_str().expect("a digest")]).await;
    world.forget_requests().await;
    let daemon = Daemon::of(&world).await;
    daemon.has(&world, 140).await;
    keeps_the_rate(requests(&world).await);
}
