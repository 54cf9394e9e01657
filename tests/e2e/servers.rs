//! Starts real servers on free loopback ports and ends only what it started.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::Client;
use reqwest::Method;
use reqwest::RequestBuilder;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::process::Command;
use tokio::time::Instant;

use crate::cable::Cable;

/// Python needs two seconds on a machine that is busy with nothing else.
const START_LIMIT: Duration = Duration::from_mins(2);

/// How many ports a server is given that ends before it is ready.
const PORTS: usize = 3;

/// How often a starting server is asked.
const ASK_EVERY: Duration = Duration::from_millis(25);

const TOKEN: &str = "s3cret";

/// A running server. It ends when this is dropped.
pub(crate) struct Server {
    /// Where its SCIM begins, without a slash at the end.
    pub(crate) url: String,
    /// The bearer token that it takes.
    pub(crate) token: String,
    client: Client,
    /// Where its door for the tests begins.
    admin: Option<String>,
    /// Killed when dropped.
    _process: Child,
    /// Its log and its settings.
    _folder: TempDir,
}

/// What scim2-server announces and does (RFC 7643 section 5).
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the features of RFC 7643 are independent switches")]
pub(crate) struct Scim2Features {
    pub(crate) patch: bool,
    pub(crate) etag: bool,
    pub(crate) filter: bool,
    pub(crate) sort: bool,
    pub(crate) max_results: u32,
}

impl Default for Scim2Features {
    fn default() -> Self {
        Self { patch: true, etag: true, filter: true, sort: true, max_results: 1000 }
    }
}

/// The faults and limits that SCIMMY starts with; `admin("PATCH", "/knobs", ...)` changes them.
#[derive(Clone, Debug)]
pub(crate) struct Knobs {
    /// Each so many-th request gets a 429; 0: none.
    pub(crate) fail_every: u32,
    /// `Retry-After` of a 429, in seconds or as a date.
    pub(crate) retry_after: String,
    /// How long each answer is held back.
    pub(crate) latency: Duration,
    /// Rows of a page at most.
    pub(crate) max_results: u32,
}

impl Default for Knobs {
    fn default() -> Self {
        Self { fail_every: 0, retry_after: "1".to_owned(), latency: Duration::ZERO, max_results: 200 }
    }
}

impl Server {
    /// Starts scim2-server; `None` (said on standard error) where it is not installed.
    pub(crate) async fn scim2(features: &Scim2Features) -> Option<Self> {
        let program = installed("scim2-server", "scim2-server/bin/scim2-server")?;
        let folder = TempDir::new().expect("a folder");
        let settings = folder.path().join("service-provider-config.json");
        fs::write(&settings, features.as_json().to_string()).expect("written");
        let command = |port: u16| {
            let mut command = Command::new(&program);
            command.args(["--hostname", "127.0.0.1", "--port", &port.to_string(), "--bearer-token", TOKEN]);
            command.arg("--service-provider-config").arg(&settings).stdin(Stdio::null());
            command
        };
        let client = client();
        let ready =
            async |port: u16| answers(&client, &format!("http://127.0.0.1:{port}/v2/ServiceProviderConfig")).await;
        let (port, process) = started(command, &log_of(&folder), ready).await;
        let url = format!("http://127.0.0.1:{port}/v2");
        Some(Self { url, token: TOKEN.into(), client, admin: None, _process: process, _folder: folder })
    }

    /// Starts SCIMMY; `None` (said on standard error) where it is not installed.
    pub(crate) async fn scimmy(knobs: &Knobs) -> Option<Self> {
        let packages = installed("SCIMMY", "scimmy/node_modules")?;
        let folder = TempDir::new().expect("a folder");
        let script = folder.path().join("server.mjs");
        fs::write(&script, include_str!("servers/scimmy.mjs")).expect("written");
        let command = |port: u16| {
            let mut command = Command::new("node");
            // A script on standard input finds the packages of its working directory.
            command.args(["--input-type=module", "-"]).current_dir(packages.parent().expect("a folder"));
            command.stdin(File::open(&script).expect("the script"));
            command.env("PORT", port.to_string()).env("TOKEN", TOKEN);
            command.env("FAIL_EVERY", knobs.fail_every.to_string()).env("RETRY_AFTER", &knobs.retry_after);
            command.env("LATENCY_MS", knobs.latency.as_millis().to_string());
            command.env("MAXRESULTS", knobs.max_results.to_string());
            command
        };
        let client = client();
        // Not through SCIM: that would be counted and noted.
        let ready = async |port: u16| answers(&client, &format!("http://127.0.0.1:{port}/admin/requests")).await;
        let (port, process) = started(command, &log_of(&folder), ready).await;
        let url = format!("http://127.0.0.1:{port}/scim/v2");
        let admin = format!("http://127.0.0.1:{port}/admin");
        Some(Self { url, token: TOKEN.into(), client, admin: Some(admin), _process: process, _folder: folder })
    }

    /// The same server, reached by a cable.
    pub(crate) fn behind(mut self, cable: &Cable) -> Self {
        self.url = self.url.replace(&format!("http://127.0.0.1:{}", self.port()), &cable.origin);
        self
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        let port = self.url.split(['/', ':']).find_map(|part| part.parse().ok());
        port.expect("a port")
    }

    /// A SCIM request with our token.
    pub(crate) fn request(&self, method: &str, path: &str, body: Option<&Value>) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        match body {
            Some(body) => request.header("Content-Type", "application/scim+json").body(body.to_string()),
            None => request,
        }
    }

    /// A SCIM request as another hand would make it: the status and the JSON of the answer.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let answer = self.request(method, path, body).send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Through the door for the tests, which only SCIMMY has (see `servers/scimmy.mjs`).
    pub(crate) async fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let admin = self.admin.as_ref().expect("this server has no such door");
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, format!("{admin}{path}"));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.expect("an answer").error_for_status().expect("done");
        let text = answer.text().await.expect("a body");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }
}

impl Scim2Features {
    fn as_json(&self) -> Value {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
            "patch": { "supported": self.patch },
            "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
            "filter": { "supported": self.filter, "maxResults": self.max_results },
            "changePassword": { "supported": false },
            "sort": { "supported": self.sort },
            "etag": { "supported": self.etag },
        })
    }
}

/// The path of something that `tests/e2e/install` puts there.
///
/// # Panics
/// Where it is not there and `ROSTERD_E2E=require`.
pub(crate) fn installed(what: &str, path: &str) -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/e2e");
    let path = std::env::var_os("E2E_DIR").map_or_else(default, PathBuf::from).join(path);
    if path.exists() {
        return Some(path);
    }
    let said = format!("{what} is not installed; run tests/e2e/install");
    assert!(std::env::var_os("ROSTERD_E2E").is_none_or(|wanted| wanted != "require"), "{said}");
    // Not `eprintln!`: the test runner would swallow it, and a skip must be seen.
    io::stderr().write_all(format!("skipped: {said}\n").as_bytes()).expect("standard error");
    None
}

/// A port that nobody listens on now, and that no other server of this process was given.
fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        let port = listener.expect("a free port").port();
        if GIVEN.lock().expect("a lock").insert(port) {
            return port;
        }
    }
}

/// A server that is ready, and its port. Before it listens there somebody else may: then it ends, and gets
/// another port.
///
/// # Panics
/// Where it is not ready in time, or ends again and again.
pub(crate) async fn started(
    command: impl Fn(u16) -> Command,
    log: &Path,
    mut ready: impl AsyncFnMut(u16) -> bool,
) -> (u16, Child) {
    for _ in 0..PORTS {
        let port = free_port();
        let mut process = spawned(command(port), log);
        let limit = Instant::now() + START_LIMIT;
        let mut asks = tokio::time::interval(ASK_EVERY);
        loop {
            asks.tick().await;
            let ready = ready(port).await;
            // Asked last: where it is gone, another server may have got its port.
            if process.try_wait().expect("a process").is_some() {
                break;
            }
            if ready {
                return (port, process);
            }
            assert!(Instant::now() < limit, "the server did not start: {}", text_of(log));
        }
    }
    panic!("the server ended before it was ready: {}", text_of(log));
}

/// Whether a server answers. One that only listens is not ready yet.
async fn answers(client: &Client, at: &str) -> bool {
    let asked = client.get(at).bearer_auth(TOKEN).send().await;
    asked.is_ok_and(|answer| answer.status().is_success())
}

fn text_of(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default()
}

fn log_of(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}

fn spawned(mut command: Command, log: &Path) -> Child {
    let log = File::create(log).expect("a log");
    command.stdout(log.try_clone().expect("a log")).stderr(log).kill_on_drop(true);
    command.spawn().expect("the server starts")
}

fn client() -> Client {
    // Another test may have been first; it installed the same one.
    rustls::crypto::ring::default_provider().install_default().ok();
    // A connection that was kept may be the one that the server closes just now.
    Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(START_LIMIT).build().expect("a client")
}
