//! A target gets no more requests a second than its document allows.

use serde_json::json;

use crate::servers::Knobs;
use crate::world::Person;
use crate::world::World;

/// Requests a second: few, so that no slow server keeps the rate by itself.
const RATE: u64 = 5;

/// Requests that may leave together: of each call that is under way the first, and what it needs besides.
const TOGETHER: u64 = 8;

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
async fn every_page_of_a_listing_counts_against_the_rate_of_a_target() {
    let Some(world) = World::with(&Knobs { max_results: 2, ..Knobs::default() }).await else { return };
    for number in 0..80 {
        world.stranger(&json!({ "userName": format!("guest-{number}"), "title": "Guest" })).await;
    }
    world.target(|spec| spec["limits"] = json!({ "requestsPerSecond": RATE }));
    world.forget_requests().await;
    world.plan().await;
    let listed = requests(&world).await;
    assert!(listed.0 > 40, "pages of two of eighty: {listed:?}");
    keeps_the_rate(listed);
}

#[tokio::test]
async fn every_request_of_a_creation_counts_against_the_rate_of_a_target() {
    let Some(world) = World::with(&Knobs::default()).await else { return };
    let group = world.group("Staff", &[]).await;
    world.target(|spec| {
        spec["entitlements"] = json!({ "staff": { "group": { "id": group } } });
        spec["limits"] = json!({ "requestsPerSecond": RATE, "concurrency": 2, "widen": [] });
    });
    world.role("agent", &["staff"]);
    for number in 0..15 {
        world.user(&Person::named(&format!("p{number}")));
    }
    world.forget_requests().await;
    world.apply().await;
    let created = requests(&world).await;
    assert!(created.0 > 30, "an account and a place in a group for each: {created:?}");
    keeps_the_rate(created);
}
