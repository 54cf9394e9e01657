//! The program as a daemon, and what it tells while something is wrong.

use std::fs;
use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Child;
use tokio::process::Command;
use tokio::time::Instant;

use crate::world::TARGET;
use crate::world::World;

/// Long enough for the slowest thing here on a machine that is busy with others.
pub(crate) const LIMIT: Duration = Duration::from_mins(3);

/// How often a condition is asked for.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// A running daemon. It ends when this is dropped.
pub(crate) struct Daemon {
    pub(crate) url: String,
    client: reqwest::Client,
    pub(crate) process: Child,
}

impl Daemon {
    /// Starts one on the manifests of `world` and waits until it is ready.
    pub(crate) async fn of(world: &World) -> Self {
        Self::with(world, |_| ()).await
    }

    /// The same, started as told.
    pub(crate) async fn with(world: &World, told: impl FnOnce(&mut Command)) -> Self {
        let log = world.folder.path().join("log");
        let mut command = world.command(&["run"]);
        command.stdout(Stdio::null()).stderr(File::create(&log).expect("a log"));
        told(&mut command);
        let mut process = command.spawn().expect("it runs");
        let client =
            reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(LIMIT).build().expect("a client");
        // Beside the store, or beside the configuration where the store is a database.
        let notes = ["state/rosterd.run", "rosterd.run"].map(|note| world.folder.path().join(note));
        let url = eventually("the daemon is ready", async || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            assert!(process.try_wait().expect("a process").is_none(), "the daemon ended: {log}");
            let note = notes.iter().find_map(|note| fs::read_to_string(note).ok())?;
            let note: Value = serde_json::from_str(&note).ok()?;
            let url = note["server"].as_str()?.to_owned();
            let ready = client.get(format!("{url}/readyz")).send().await.ok()?;
            ready.status().is_success().then_some(url)
        })
        .await;
        Self { url, client, process }
    }

    /// Ends it without a word, and is back when it is gone.
    pub(crate) async fn ends(mut self) {
        self.process.kill().await.expect("it is killed");
    }

    /// Asks it to end, as a service manager does; it ends well.
    pub(crate) async fn stops(mut self) {
        let id = self.process.id().expect("it runs").to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().await.expect("told");
        assert!(told.success(), "{told}");
        let ended = tokio::time::timeout(LIMIT, self.process.wait()).await.expect("it ends").expect("a process");
        assert!(ended.success(), "{ended}");
    }

    /// How many loads were accepted.
    pub(crate) async fn generation(&self) -> u64 {
        let status: Value = serde_json::from_str(&self.text("/api/v1/status").await).expect("JSON");
        status["source"]["generation"].as_u64().expect("a number")
    }

    /// Whether it is ready, and what it says of it.
    pub(crate) async fn ready(&self) -> (bool, Value) {
        let answer = self.client.get(format!("{}/readyz", self.url)).send().await.expect("an answer");
        let well = answer.status().is_success();
        (well, serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON"))
    }

    async fn text(&self, path: &str) -> String {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "{path}: {status} {text}");
        text
    }

    /// What `status` shows of one target.
    pub(crate) async fn target(&self, name: &str) -> Value {
        let text = self.text(&format!("/api/v1/targets/{name}")).await;
        serde_json::from_str(&text).expect("JSON")
    }

    /// What `explain` says of a user in a target.
    pub(crate) async fn explain(&self, record: &str, target: &str) -> Value {
        let text = self.text(&format!("/api/v1/explain/{record}?target={target}")).await;
        let reply: Value = serde_json::from_str(&text).expect("JSON");
        reply["items"][0].clone()
    }

    /// The sum of the time series whose labels include these, of which there is at least one.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let text = self.text("/metrics").await;
        let fits = |line: &&str| {
            let named = line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            named && labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
        };
        let values: Vec<u64> = text.lines().filter(fits).map(value).collect();
        assert!(!values.is_empty(), "there is no {name} of {labels:?}");
        values.into_iter().sum()
    }

    /// Waits until SCIMMY holds so many accounts.
    pub(crate) async fn has(&self, world: &World, count: usize) {
        self.has_within(world, count, LIMIT).await;
    }

    /// The same for numbers that take longer.
    pub(crate) async fn has_within(&self, world: &World, count: usize, limit: Duration) {
        let limit = Instant::now() + limit;
        let mut asks = tokio::time::interval(ASK_EVERY);
        loop {
            asks.tick().await;
            let rows = world.server.admin("GET", "/users", None).await;
            let found = rows.as_array().map_or(0, Vec::len);
            if found == count {
                return;
            }
            let late = Instant::now() > limit;
            assert!(!late, "{found} of {count} accounts are there: {:#}", self.target(TARGET).await);
        }
    }

    /// Waits until `wrong` names nothing any more, and the target has nothing left to do.
    pub(crate) async fn comes_right(&self, target: &str, mut wrong: impl AsyncFnMut() -> Vec<String>) {
        let limit = Instant::now() + LIMIT;
        let mut asks = tokio::time::interval(ASK_EVERY);
        loop {
            asks.tick().await;
            let found = wrong().await;
            if found.is_empty() {
                break;
            }
            assert!(Instant::now() < limit, "{found:?}: {:#}", self.target(target).await);
        }
        self.is_through(target).await;
    }

    /// Waits until a target has nothing left to do, and nothing is wrong with it.
    pub(crate) async fn is_through(&self, target: &str) {
        let limit = Instant::now() + LIMIT;
        let mut asks = tokio::time::interval(ASK_EVERY);
        loop {
            asks.tick().await;
            // Of this process: after a restart status shows the last cycle of the one before.
            let full = [("target", target), ("kind", "full")];
            let cycles = self.metric("rosterd_cycle_duration_seconds_count", &full).await;
            let status = self.target(target).await;
            let idle = status["waiting"] == 0 && status["running"].is_null() && status["error"].is_null();
            if cycles > 0 && idle && status["failures"] == serde_json::json!({}) {
                return;
            }
            assert!(Instant::now() < limit, "{target} is not through after {cycles} full cycles: {status:#}");
        }
    }
}

fn value(line: &str) -> u64 {
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

/// Asks until there is an answer.
///
/// # Panics
/// After [`LIMIT`].
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(LIMIT, what, ask).await
}

/// The same with a limit of its own.
pub(crate) async fn eventually_within<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let limit = Instant::now() + limit;
    let mut asks = tokio::time::interval(ASK_EVERY);
    loop {
        asks.tick().await;
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < limit, "it was waited in vain until {what}");
    }
}
