//! Secrets as they fare in the whole program: canaries go in wherever a secret may stand, and every
//! place that anybody can read is searched for them afterwards.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use axum::http::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::PATIENCE;
use crate::support::process::ended;
use crate::support::process::heard;
use crate::support::process::saved;
use crate::support::process::until;
use crate::support::scim_server::FakeScim;
use crate::support::scim_server::Knobs;
use crate::support::scim_server::Mishap;
use crate::support::scim_server::TOKEN;

/// The token of the environment that is not in use.
const OTHER: &str = "canary-of-the-other-environment";

struct Place(TempDir);

struct Said {
    code: Option<i32>,
    text: String,
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        saved(&self.path(name), text);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rosterd"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        for variable in ["ROSTERD_CONFIG", "ROSTERD_SERVER", "ROSTERD_TOKEN", "ROSTERD_LOG"] {
            command.env_remove(variable);
        }
        command.env("CANARY_CRM", TOKEN).env("CANARY_OTHER", OTHER);
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).env("ROSTERD_LOG", "trace").output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Said { code: output.status.code(), text }
    }

    /// A configuration with one target at `url`, whose token is bound to that origin, and two users.
    fn company(&self, url: &str, more: &str) {
        let origin = url.trim_end_matches("/scim/v2");
        self.write(
            "rosterd.yaml",
            &format!(
                "listen: 127.0.0.1:0\nmanifests: [ {{ folder: m }} ]\ninclude: [ targets ]\n{more}secrets:\n  \
                 crm: {{ env: CANARY_CRM, origins: [\"{origin}\"] }}\n  \
                 other: {{ env: CANARY_OTHER, origins: [\"https://crm.example\"] }}\n"
            ),
        );
        self.write("targets/crm.yaml", &target("crm", url, "{ secret: crm }"));
        self.write("m/roles.yaml", ROLE);
        for user in ["u-1", "u-2"] {
            self.write(&format!("m/{user}.yaml"), &person(user));
        }
    }

    /// Every file below the folder that holds one of `canaries`, save the two that are made to.
    fn holding(&self, canaries: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for path in files(self.0.path()) {
            let bytes = fs::read(&path).unwrap();
            found.extend(held(&bytes, canaries).map(|canary| format!("{canary} in {}", path.display())));
        }
        found
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    below.filter(|path| !path.ends_with("rosterd.keys") && !path.ends_with("rosterd.token")).collect()
}

fn held<'a>(bytes: &'a [u8], canaries: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let holds = |canary: &str| bytes.windows(canary.len()).any(|part| part == canary.as_bytes());
    canaries.iter().copied().filter(move |canary| holds(canary))
}

const ROLE: &str = "apiVersion: rosterd.dev/v1\nkind: Role\nmetadata: { name: agent }\n\
                    spec: { grants: [ { target: crm, level: all } ] }\n";

fn target(name: &str, url: &str, bearer: &str) -> String {
    format!(
        "apiVersion: rosterd.dev/v1\nkind: Target\nmetadata: {{ name: {name} }}\nspec:\n  connector: {{ scim: {{}} }}\n  \
         environment: test\n  environments:\n    test: {{ url: \"{url}\", auth: {{ bearer: {bearer} }} }}\n    \
         production: {{ url: \"https://crm.example\", auth: {{ bearer: {{ secret: other }} }} }}\n  mode: enforce\n  \
         account:\n    match: [externalId]\n    userName: \"{{{{ user.email }}}}\"\n    attributes:\n      \
         name.familyName: {{ value: \"{{{{ user.familyName }}}}\", personal: true }}\n"
    )
}

fn person(name: &str) -> String {
    format!(
        "apiVersion: rosterd.dev/v1\nkind: User\nmetadata: {{ name: {name} }}\nspec:\n  givenName: Ada\n  \
         familyName: Canaryname\n  email: {name}@canary.example\n  roles: [agent]\n"
    )
}

/// A daemon whose log at the level that says most is a file of its folder.
struct Daemon(Child);

impl Daemon {
    fn start(place: &Place) -> Self {
        let log = fs::File::create(place.path("daemon.log")).unwrap();
        let mut command = place.command(&["run", "--config", "rosterd.yaml", "--log-format", "json"]);
        command.env("ROSTERD_LOG", "trace").stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let greeting = heard(&mut child, "Ctrl-C");
        place.write("greeting.txt", &greeting);
        Self(child)
    }

    fn stop(mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(ended(&mut self.0).success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn get(server: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(server.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Every address that can be read, as the table of routes has them, so that no new one is forgotten.
fn routes() -> Vec<String> {
    let table = include_str!("../../src/server/routes.rs");
    let named = table.split("get(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let filled = |path: &str| {
        let mut path = path.replace("{target}", "crm").replace("{user}", "u-1");
        for rest in ["{id}", "{digest}", "{name}", "{record}", "{cycle}"] {
            path = path.replace(rest, "1");
        }
        assert!(!path.contains('{'), "{path}: say what stands for it");
        path
    };
    let routes: Vec<_> =
        named.filter(|path| path.starts_with('/')).map(filled).chain(["/nothing".to_owned()]).collect();
    assert!(routes.len() > 15, "{routes:?}");
    routes
}

fn repeats_the_token() -> Mishap {
    let body = serde_json::json!({ "detail": format!("`Bearer {TOKEN}` may not; nor {TOKEN}") }).to_string();
    Mishap::Answer(400, vec![("x-token", TOKEN.to_owned()), ("etag", TOKEN.to_owned())], body)
}

fn leads_to(url: &str, status: u16) -> Mishap {
    Mishap::Answer(status, vec![("location", format!("{url}/Users/1?token={TOKEN}"))], String::new())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_stands_in_a_log_a_metric_an_answer_or_a_file() {
    let server = FakeScim::start(Knobs::default()).await;
    let place = Place::new();
    place.company(&server.url, "");
    server.next(Method::POST, "Users", repeats_the_token());
    let daemon = Daemon::start(&place);
    until("a creation", || !server.calls(&Method::POST, "Users").is_empty());
    server.next(Method::GET, "Users", repeats_the_token());
    server.next(Method::PATCH, "Users", repeats_the_token());
    let ask = |arguments: &[&str]| place.run(&[arguments, &["--config", "rosterd.yaml"]].concat()).text;
    place.write("m/u-2.yaml", &person("u-2").replace("Canaryname", "Canaryother"));
    let minted = ask(&["tokens", "create", "ci", "--right", "admin"]);
    let minted = minted.split_whitespace().find(|word| word.starts_with("rosterd_")).unwrap().to_owned();
    let mut answers = String::new();
    for command in [
        &["sync", "crm"][..],
        &["status"],
        &["targets", "--output", "json"],
        &["accounts", "crm", "--output", "json"],
        &["explain", "u-1", "--output", "json"],
        &["plan", "-f", "m", "--show-personal"],
        &["plan", "-f", "m", "--output", "json"],
        &["validate", "-f", "m"],
        &["history", "--output", "json"],
        &["audit", "search", "--output", "json"],
        &["audit", "verify"],
        &["tokens", "list", "--output", "json"],
        &["holds", "list"],
        &["owed"],
    ] {
        answers.push_str(&ask(command));
    }
    let note = json(&place.path("rosterd.run"));
    for path in routes() {
        answers.push_str(&get(note["server"].as_str().unwrap(), &path));
    }
    assert!(answers.contains("rosterd_build_info") && answers.contains("u-1"), "{answers}");
    place.write("answers.txt", &answers);
    let local = fs::read_to_string(place.path("rosterd.token")).unwrap();
    let keys = json(&place.path("rosterd.keys"));
    let key = |name: &str| keys[name].as_str().unwrap().to_owned();
    daemon.stop();
    let canaries = [TOKEN, OTHER, minted.as_str(), local.trim(), &key("sign"), &key("encrypt")];
    assert!(canaries.iter().all(|canary| canary.len() > 10));
    assert_eq!(place.holding(&canaries), [] as [String; 0]);
    assert!(place.path("daemon.log").metadata().unwrap().len() > 0);
}

/// Secrets where they do not belong, and in a file: no complaint, in no form, repeats them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_complaint_repeats_a_secret_that_stands_where_it_should_not() {
    const IN_A_FILE: &str = "canary-in-a-file-0123456789";
    let server = FakeScim::start(Knobs::default()).await;
    let place = Place::new();
    place.company(&server.url, "");
    let settings = fs::read_to_string(place.path("rosterd.yaml")).unwrap();
    let origin = server.url.trim_end_matches("/scim/v2");
    let filed = format!("  filed: {{ file: filed.token, origins: [\"{origin}\"] }}\n");
    place.write("rosterd.yaml", &format!("{settings}{filed}"));
    place.write("filed.token", IN_A_FILE);
    place.write("targets/filed.yaml", &target("filed", &server.url, "{ secret: filed }"));
    let daemon = Daemon::start(&place);
    let mut said = String::new();
    let secret = |what: &str| format!("canary-{what}-9f8e7d6c5b4a");
    let mistakes = [
        ("literal", target("bad", "http://127.0.0.1:9", &format!("\"{}\"", secret("literal")))),
        ("userinfo", target("bad", &format!("http://u:{}@127.0.0.1:9/", secret("userinfo")), "{ secret: crm }")),
        ("query", target("bad", &format!("http://127.0.0.1:9/?token={}", secret("query")), "{ secret: crm }")),
        ("password", person("bad").replace("roles:", &format!("password: {}\n  roles:", secret("password")))),
        ("attribute", person("bad") + &format!("  attributes: {{ apiKey: {} }}\n", secret("attribute"))),
        ("syntax", person("bad") + &format!("  clientSecret: \"{}\n", secret("syntax"))),
    ];
    for (name, text) in &mistakes {
        let operators = ["literal", "userinfo", "query"].contains(name);
        let file = if operators { "targets/bad.yaml" } else { "m/bad.yaml" };
        place.write(file, text);
        for form in ["text", "json", "github", "gitlab", "sarif"] {
            let told = place.run(&["validate", "-f", "m", "--config", "rosterd.yaml", "--output", form]);
            // Only whoever builds the connector sees that an address has a query.
            assert!(told.code != Some(0) || *name == "query", "{name}: {}", told.text);
            said.push_str(&told.text);
        }
        for command in [&["plan", "-f", "m"][..], &["apply", "--yes", "-f", "m"], &["status"], &["sync", "crm"]] {
            said.push_str(&place.run(&[command, &["--config", "rosterd.yaml"]].concat()).text);
        }
        fs::remove_file(place.path(file)).unwrap();
    }
    daemon.stop();
    said.push_str(&fs::read_to_string(place.path("daemon.log")).unwrap());
    let canaries: Vec<_> = mistakes.iter().map(|(name, _)| secret(name)).chain([IN_A_FILE.to_owned()]).collect();
    let shown: Vec<_> = canaries.iter().filter(|canary| said.contains(*canary)).collect();
    assert!(shown.is_empty(), "{shown:?} in {said}");
    fs::remove_file(place.path("filed.token")).unwrap();
    let canaries: Vec<_> = canaries.iter().map(String::as_str).collect();
    assert_eq!(place.holding(&canaries), [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_mails_stand_neither_in_the_daemons_log_nor_in_its_metrics_nor_in_a_markdown_plan() {
    let server = FakeScim::start(Knobs::default()).await;
    let place = Place::new();
    place.company(&server.url, "");
    let daemon = Daemon::start(&place);
    place.write("m/u-2.yaml", &person("u-2").replace("Canaryname", "Canaryother"));
    let plan = place.run(&["plan", "-f", "m", "--config", "rosterd.yaml", "--output", "markdown"]);
    assert!(plan.text.contains("Plan for `crm`"), "{}", plan.text);
    let metrics = get(json(&place.path("rosterd.run"))["server"].as_str().unwrap(), "/metrics");
    daemon.stop();
    let log = fs::read_to_string(place.path("daemon.log")).unwrap();
    for (sink, text) in [("plan", &plan.text), ("metrics", &metrics), ("log", &log)] {
        let shown: Vec<_> =
            text.lines().filter(|line| line.contains("anaryname") || line.contains("canary.ex")).collect();
        assert!(shown.is_empty(), "{sink}: {shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_leads_elsewhere_makes_nobody_go_there() {
    let server = FakeScim::start(Knobs::default()).await;
    let thief = FakeScim::start(Knobs::default()).await;
    let place = Place::new();
    place.company(&server.url, "");
    let apply = || place.run(&["apply", "--yes", "-f", "m", "--config", "rosterd.yaml"]);
    for status in [301, 307, 308] {
        server.next(Method::GET, "Users", leads_to(&thief.url, status));
        let said = apply();
        assert!(said.code != Some(0) && said.text.contains("redirect"), "{}", said.text);
    }
    for status in [307, 201] {
        server.next(Method::POST, "Users", leads_to(&thief.url, status));
        apply();
    }
    assert!(server.calls(&Method::POST, "Users").len() >= 2);
    assert_eq!(thief.inside().seen.len(), 0);
    assert_eq!(place.holding(&[TOKEN]), [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_beside_the_manifests_that_names_a_secret_gets_nothing() {
    let server = FakeScim::start(Knobs::default()).await;
    let thief = FakeScim::start(Knobs::default()).await;
    let place = Place::new();
    place.company(&server.url, "");
    let theft = target("theft", &thief.url, "{ secret: crm }");
    let configured = ["apply", "--yes", "--config", "rosterd.yaml"];
    place.write("m/theft.yaml", &theft);
    let said = place.run(&configured);
    assert!(said.code == Some(1) && said.text.contains("operator-document"), "{}", said.text);
    // Not by a configuration of its own that includes it, either.
    place.write("m/below/rosterd.yaml", "include: [ targets ]\nsecrets: { crm: { env: CANARY_CRM, origins: [] } }\n");
    place.write("m/below/targets/theft.yaml", &theft);
    fs::remove_file(place.path("m/theft.yaml")).unwrap();
    assert_eq!(place.run(&configured).code, Some(0));
    // Nor where the operator allows targets there: the secret is bound to another origin.
    place.write("m/theft.yaml", &theft);
    place.company(&server.url, "targetsFrom: manifests\n");
    let said = place.run(&configured);
    assert!(said.text.contains("is not bound to"), "{}", said.text);
    // Nor without any configuration, where no secret has a name.
    let said = place.run(&["apply", "--yes", "-f", "m"]);
    assert_ne!(said.code, Some(0), "{}", said.text);
    assert_eq!(thief.inside().seen.len(), 0);
}

#[test]
fn without_a_configuration_no_spelling_of_an_address_leads_away_from_this_machine() {
    for url in [
        "http://127.0.0.1:9001@evil.example/",
        "http:evil.example/",
        "http:/evil.example/",
        "http:\\\\\\\\evil.example/",
        "http:///evil.example/",
        "http://localhost.evil.example/",
        "http://localhost./",
        "http://127.0.0.1.evil.example/",
        "http://[::ffff:8.8.8.8]/",
        "http://0x8080808/",
        "http://evil.example\\\\@127.0.0.1/",
        "http://127.0.0.1\\t.evil.example/",
        "http://ⓔvil.example/",
        "https://evil.example:443/",
        "//evil.example/",
    ] {
        let place = Place::new();
        place.write("m/theft.yaml", &target("crm", url, "{ env: CANARY_CRM }").replace("secret: other", "env: OTHER"));
        place.write("m/roles.yaml", ROLE);
        place.write("m/u-1.yaml", &person("u-1"));
        let said = place.run(&["apply", "--yes", "-f", "m"]);
        assert_eq!(said.code, Some(1), "{url}: {}", said.text);
        assert!(!said.text.contains(TOKEN), "{url}: {}", said.text);
    }
}
