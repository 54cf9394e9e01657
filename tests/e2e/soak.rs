//! A long run with targets that fail in turn: memory, handles and tasks stay flat.
//!
//! `ROSTERD_SOAK_SECONDS` is how long (30 by default, which proves little more than that it works).

use std::fs;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::chance::asked;
use crate::chance::say;
use crate::daemon::Daemon;
use crate::servers::Knobs;
use crate::servers::Server;
use crate::world::Person;
use crate::world::World;

/// How many are declared: fixed, so that nothing has a reason to grow but history on the disk.
const PEOPLE: u64 = 100;

/// How often an edit is made, and how often the process is measured.
const EDIT_EVERY: Duration = Duration::from_millis(700);
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// How long one target has one trouble.
const TROUBLE: Duration = Duration::from_secs(8);

/// Growth that measuring alone explains: an allocator that keeps what it got, a page cache that
/// fills. What leaks with every edit or call exceeds it within the two hours of the long run.
const MEMORY_SLACK: f64 = 24.0 * 1024.0 * 1024.0;
/// Connections that are open at one end of the run and not at the other.
const COUNT_SLACK: f64 = 24.0;

/// What the process uses at one moment.
#[derive(Clone, Copy, Debug)]
struct Use {
    seconds: f64,
    bytes: f64,
    handles: f64,
    tasks: f64,
}

/// The knobs that are trouble, one after the other; between them all is well.
fn troubles(token: &str) -> Vec<Value> {
    let well = json!({ "failEvery": 0, "latencyMs": 0, "token": token });
    let bad = [
        json!({ "failEvery": 3 }),
        json!({ "token": "another" }),
        json!({ "latencyMs": 1500 }),
        json!({ "latencyMs": 4000 }),
    ];
    bad.into_iter().flat_map(|bad| [well.clone(), bad]).collect()
}

async fn used(daemon: &Daemon, since: Instant) -> Use {
    let pid = daemon.process.id().expect("it runs");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let kilobytes: f64 = kilobytes.and_then(|text| text.parse().ok()).expect("its memory");
    let handles = fs::read_dir(format!("/proc/{pid}/fd")).expect("its handles").count();
    let tasks = daemon.metric("rosterd_tasks", &[]).await;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred of each")]
    let (handles, tasks) = (handles as f64, tasks as f64);
    Use { seconds: since.elapsed().as_secs_f64(), bytes: kilobytes * 1024.0, handles, tasks }
}

/// How much the straight line through the measures rises from the first to the last.
fn rise(uses: &[Use], of: impl Fn(&Use) -> f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand measures")]
    let count = uses.len() as f64;
    let mean = |of: &dyn Fn(&Use) -> f64| uses.iter().map(of).sum::<f64>() / count;
    let (at, value) = (mean(&|one| one.seconds), mean(&of));
    let covariance: f64 = uses.iter().map(|one| (one.seconds - at) * (of(one) - value)).sum();
    let variance: f64 = uses.iter().map(|one| (one.seconds - at).powi(2)).sum();
    let span = uses.last().map_or(0.0, |last| last.seconds) - uses.first().map_or(0.0, |first| first.seconds);
    if variance > 0.0 { covariance / variance * span } else { 0.0 }
}

/// Somebody changes the name, leaves or comes back.
fn edit(world: &World, chance: &mut Chance, edits: u64) {
    let mut person = Person::named(&format!("p{}", chance.below(PEOPLE)));
    person.family = format!("Ames-{edits}");
    person.active = chance.below(8) != 0;
    world.user(&person);
}

#[tokio::test]
async fn memory_handles_and_tasks_stay_flat_while_targets_fail_in_turn() {
    let limit = Duration::from_secs(asked("ROSTERD_SOAK_SECONDS").unwrap_or(30));
    let Some(world) = World::with(&Knobs::default()).await else { return };
    let Some(other) = Server::scimmy(&Knobs::default()).await else { return };
    world.target(|spec| {
        spec["connector"]["scim"] = json!({ "callLimit": "2s" });
        spec["limits"] = json!({ "narrow": { "explicit": [], "inferred": [] }, "widen": [], "update": [] });
        spec["schedule"] = json!({ "every": "1m" });
    });
    world.settings(|settings| settings["maxShrink"] = json!(100));
    world.second_target("hr", &other);
    for number in 0..PEOPLE {
        world.user(&Person::named(&format!("p{number}")));
    }
    let seed = Chance::seed();
    say(&format!("ROSTERD_SEED={seed} ROSTERD_SOAK_SECONDS={}", limit.as_secs()));
    let daemon = Daemon::of(&world).await;
    let uses = soaked(&world, &other, &daemon, Chance::of(seed), limit).await;
    for server in [&world.server, &other] {
        server.admin("PATCH", "/knobs", Some(&troubles(&server.token)[0])).await;
    }
    daemon.is_through("crm").await;
    daemon.is_through("hr").await;
    // The first third warms up: caches fill, every kind of trouble was met once.
    let steady = &uses[uses.len() / 3..];
    let (bytes, handles, tasks) =
        (rise(steady, |one| one.bytes), rise(steady, |one| one.handles), rise(steady, |one| one.tasks));
    let last = steady.last().expect("measures");
    say(&format!(
        "{} s, {} measures: memory {:.1} MiB at the end and {:+.1} MiB over the last two thirds, handles {} and {:+.1}, \
         tasks {} and {:+.1}",
        limit.as_secs(),
        uses.len(),
        last.bytes / 1_048_576.0,
        bytes / 1_048_576.0,
        last.handles,
        handles,
        last.tasks,
        tasks,
    ));
    assert!(bytes < MEMORY_SLACK && handles < COUNT_SLACK && tasks < COUNT_SLACK, "{steady:#?}");
}

async fn soaked(world: &World, other: &Server, daemon: &Daemon, mut chance: Chance, limit: Duration) -> Vec<Use> {
    let begun = Instant::now();
    let (mut edits, mut uses) = (0_u64, Vec::new());
    let (mut next_edit, mut next_measure, mut next_trouble) = (begun, begun, begun);
    let servers = [&world.server, other];
    let mut turns = 0_usize;
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    while begun.elapsed() < limit {
        beat.tick().await;
        let now = Instant::now();
        if now >= next_edit {
            edits += 1;
            edit(world, &mut chance, edits);
            next_edit = now + EDIT_EVERY;
        }
        if now >= next_measure {
            uses.push(used(daemon, begun).await);
            next_measure = now + MEASURE_EVERY;
        }
        if now >= next_trouble {
            let server = servers[turns % servers.len()];
            let troubles = troubles(&server.token);
            server.admin("PATCH", "/knobs", Some(&troubles[turns / servers.len() % troubles.len()])).await;
            // Its log is of no use here, and would be what grows.
            server.admin("DELETE", "/requests", None).await;
            turns += 1;
            next_trouble = now + TROUBLE;
        }
    }
    uses
}
