//! The program over a sample, as a user of the sample runs it.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use rosterd::clock::SystemClock;
use rosterd::connectors::directory;
use rosterd::connectors::directory::Directory;
use rosterd::model::node::Node;
use serde_json::Value;
use serde_json::json;

use crate::seeds::s1;
use crate::seeds::sample::Sample;
use crate::support::process::PATIENCE;
use crate::support::process::heard;

/// Commands in the folder of a sample.
pub(crate) struct Program {
    pub(crate) sample: Sample,
}

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Program {
    pub(crate) fn over(sample: Sample) -> Self {
        Self { sample }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rosterd"));
        command.args(arguments).current_dir(self.sample.path("")).stdin(Stdio::null());
        for variable in ["ROSTERD_CONFIG", "ROSTERD_SERVER", "ROSTERD_TOKEN", "ROSTERD_LOG"] {
            command.env_remove(variable);
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// What a command printed that did what it should.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.out
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[arguments, &["--output", "json"]].concat())).unwrap()
    }

    /// A plan of everything is empty.
    #[track_caller]
    pub(crate) fn assert_settled(&self) {
        self.done(&["plan", "-f", "manifests", "--detailed-exitcode"]);
    }

    /// A daemon, on a port that the system chose.
    fn daemon(&self) -> Daemon {
        let text = "listen: 127.0.0.1:0\nmanifests: [ { folder: manifests } ]\ntargetsFrom: manifests\n";
        fs::write(self.sample.path("rosterd.yaml"), text).unwrap();
        let mut command = self.command(&["run", "--config", "rosterd.yaml"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        heard(&mut child, "Ctrl-C");
        Daemon(child)
    }

    /// A request with the daemon's own token, over a socket of its own.
    fn ask(&self, method: &str, path: &str) -> Value {
        let note: Value = serde_json::from_str(&fs::read_to_string(self.sample.path("rosterd.run")).unwrap()).unwrap();
        let server = note["server"].as_str().unwrap().trim_start_matches("http://").to_owned();
        let token = fs::read_to_string(self.sample.path("rosterd.token")).unwrap();
        let mut socket = TcpStream::connect(&server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {server}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}",
            token.trim()
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).unwrap()
    }

    /// Another hand in the embedded directory, beside the running daemon.
    fn hand(&self) -> Arc<Directory> {
        let directory = Directory::at(self.sample.path("rosterd-directory.db"), Arc::new(SystemClock));
        let place = (&COLLECTIONS.into(), &"default".into());
        let empty = Node { value: json!({}), ..Node::default() };
        directory::build(&empty, &empty, &directory, place).unwrap();
        directory
    }
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const COLLECTIONS: &str = "collections";

/// A daemon in which Ada waits for an operator: her name was taken when she was declared, and is
/// free by now. Nothing but a cycle would find that out.
async fn ada_waits() -> (Program, Daemon) {
    let sample = s1::sample();
    sample.edit("users.yaml", &[("roles: [collections-all-access]", "roles: [] # all")]);
    let program = Program::over(sample);
    let daemon = program.daemon();
    let hand = program.hand();
    let taken = json!({ "userName": "Ada.Okafor@acme.example", "active": true });
    let id = hand.insert(&COLLECTIONS.into(), taken).await.unwrap();
    program.sample.edit("users.yaml", &[("roles: [] # all", "roles: [collections-all-access]")]);
    let start = Instant::now();
    while program.status()["conflicts"]["s1-001"].is_null() {
        assert!(start.elapsed() < PATIENCE, "{:#}", program.status());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    hand.delete(&COLLECTIONS.into(), &id).await.unwrap();
    (program, daemon)
}

impl Program {
    fn status(&self) -> Value {
        self.ask("GET", &format!("/api/v1/targets/{COLLECTIONS}"))
    }

    #[track_caller]
    fn assert_ada_is_there(&self) {
        let account = self.ask("GET", &format!("/directory/{COLLECTIONS}/scim/v2/Users?count=100"));
        let ada = account["Resources"].as_array().unwrap().iter().find(|user| user["externalId"] == "s1-001");
        assert_eq!(ada.unwrap()["active"], true);
    }
}

#[tokio::test]
async fn s1_7_an_operator_runs_a_scheduled_task_now_by_the_command_line() {
    let (program, _daemon) = ada_waits().await;
    let config = ["--config", "rosterd.yaml"];
    let tasks = program.done(&[&["targets"][..], &config].concat());
    assert!(tasks.contains(COLLECTIONS) && tasks.contains("0 3 * * *"), "the list of scheduled tasks: {tasks}");
    let report = program.json(&[&["sync", COLLECTIONS][..], &config].concat());
    assert_eq!(report[0]["cycle"]["trigger"], "manual");
    assert_eq!(report[0]["cycle"]["done"]["create"], 1, "{report:#}");
    program.assert_ada_is_there();
    let history = program.json(&[&["history", COLLECTIONS, "--limit", "1"][..], &config].concat());
    assert_eq!(history[0]["trigger"], "manual");
    let second = program.json(&[&["sync", COLLECTIONS][..], &config].concat());
    assert_eq!(second[0]["plan"]["changes"], json!([]), "a second plan is empty");
}

#[tokio::test]
async fn s1_7_an_operator_runs_a_scheduled_task_now_by_the_api() {
    let (program, _daemon) = ada_waits().await;
    let tasks = program.ask("GET", "/api/v1/targets");
    let task = &tasks["items"][0];
    assert!(task["schedule"].as_str().unwrap().contains("0 3 * * *") && !task["next_run"].is_null(), "{task:#}");
    let report = program.ask("POST", &format!("/api/v1/targets/{COLLECTIONS}/sync"));
    assert_eq!(report["cycle"]["trigger"], "manual");
    assert_eq!(report["cycle"]["done"]["create"], 1, "{report:#}");
    program.assert_ada_is_there();
    let second = program.ask("POST", &format!("/api/v1/targets/{COLLECTIONS}/sync"));
    assert_eq!(second["plan"]["changes"], json!([]), "a second plan is empty");
}
