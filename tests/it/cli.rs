//! The program as people run it: commands, what they print, and their exit codes.

mod back;
mod halves;
mod left;
mod mails;
mod once;
mod others;
mod port;
mod prompt;
mod store;
mod walk;
mod words;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::ended;
use crate::support::process::heard;
use crate::support::process::saved;
use crate::support::process::until;

const DONE: i32 = 0;
const ERROR: i32 = 1;
const CHANGES: i32 = 2;
const HELD: i32 = 3;
const STALE: i32 = 4;

/// An empty folder to run commands in.
struct Place(TempDir);

/// What a command answered.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    #[track_caller]
    fn hints(&self, word: &str) {
        let hint = self.err.lines().find(|line| line.starts_with("hint:"));
        assert!(hint.is_some_and(|hint| hint.contains(word)), "no hint about {word:?}: {self:?}");
    }
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rosterd"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        for variable in ["ROSTERD_CONFIG", "ROSTERD_SERVER", "ROSTERD_TOKEN", "ROSTERD_LOG"] {
            command.env_remove(variable);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().unwrap();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn write(&self, name: &str, text: &str) {
        saved(&self.path(name), text);
    }

    /// A folder `m` with one target and these users.
    fn company(&self, users: &[&str]) {
        self.write("m/target.yaml", TARGET);
        for user in users {
            self.write(&format!("m/{user}.yaml"), &person(user, true));
        }
    }
}

const TARGET: &str = r#"
apiVersion: rosterd.dev/v1
kind: Target
metadata: { name: crm }
spec:
  connector: { directory: {} }
  mode: enforce
  account:
    match: [externalId, userName]
    userName: "{{ user.email }}"
    attributes:
      name.givenName: { value: "{{ user.givenName }}" }
---
apiVersion: rosterd.dev/v1
kind: Role
metadata: { name: agent }
spec: { grants: [ { target: crm, level: all } ] }
"#;

fn person(name: &str, active: bool) -> String {
    format!(
        "apiVersion: rosterd.dev/v1\nkind: User\nmetadata: {{ name: {name} }}\nspec:\n  givenName: Ada\n  \
         familyName: Ames\n  email: {name}@x.example\n  active: {active}\n  roles: [agent]\n"
    )
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_samples_are_valid_together_and_each_by_itself() {
    let place = Place::new();
    let all = place.run(&["validate", "-f", text(&samples())]).ends(DONE);
    assert!(all.out.starts_with("valid: "), "{all:?}");
    let mut folders = 0;
    for entry in fs::read_dir(samples()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name.starts_with('s') {
            place.run(&["validate", "-f", text(&path)]).ends(DONE);
            folders += 1;
        }
    }
    assert_eq!(folders, 6);
}

#[test]
fn the_samples_are_applied_at_once_and_a_second_plan_is_empty() {
    let place = Place::new();
    let folder = samples();
    place.run(&["plan", "-f", text(&folder), "--detailed-exitcode"]).ends(CHANGES);
    place.run(&["apply", "-f", text(&folder)]).ends(DONE);
    let second = place.run(&["plan", "-f", text(&folder), "--detailed-exitcode", "--output", "json"]).ends(DONE);
    let plans = second.json()["plans"].clone();
    let plans = plans.as_array().unwrap();
    assert!(plans.len() >= 8, "{}", plans.len());
    for plan in plans {
        assert_eq!(plan["changes"], serde_json::json!([]), "{}", plan["space"]["target"]);
        assert_eq!(plan["coverage"], "complete");
    }
}

#[test]
fn a_plan_leaves_nothing_behind() {
    let place = Place::new();
    place.company(&["u1"]);
    place.run(&["plan", "-f", "m"]).ends(DONE);
    place.run(&["validate", "-f", "m"]).ends(DONE);
    let left: Vec<_> = fs::read_dir(place.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["m"]);
}

#[test]
fn a_plan_after_an_apply_changes_nothing_that_the_next_apply_relies_on() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.write("m/u1.yaml", &person("u1", false));
    for _ in 0..2 {
        let plan = place.run(&["plan", "-f", "m", "--output", "json"]).ends(DONE).json();
        let change = &plan["plans"][0]["changes"][0];
        assert_eq!((change["action"].as_str(), change["cause"].as_str()), (Some("disable"), Some("explicit")));
    }
    let accounts = place.run(&["accounts", "crm", "--state", "active", "--output", "json"]).ends(DONE).json();
    assert_eq!(accounts.as_array().unwrap().len(), 2);
}

#[test]
fn taking_access_away_off_a_terminal_needs_a_yes() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.write("m/u1.yaml", &person("u1", false));
    let refused = place.run(&["apply", "-f", "m"]).ends(ERROR);
    assert!(refused.err.contains("this plan takes access away (1 change)"), "{refused:?}");
    refused.hints("--yes");
    let list = |state| place.run(&["accounts", "crm", "--state", state, "--output", "json"]).ends(DONE).json();
    assert_eq!(list("inactive"), serde_json::json!([]));
    place.run(&["apply", "-f", "m", "--yes"]).ends(DONE);
    assert_eq!(list("inactive")[0]["record"], "u1");
    assert_eq!(list("active")[0]["record"], "u2");
    place.write("m/u1.yaml", &person("u1", true));
    let back = place.run(&["apply", "-f", "m", "--output", "json"]).ends(DONE).json();
    assert_eq!(back[0]["cycle"]["done"]["reactivate"], 1);
}

#[test]
fn a_saved_plan_is_applied_as_far_as_it_still_follows() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.run(&["plan", "-f", "m", "--out", "saved.json"]).ends(DONE);
    let second = place.run(&["plan", "-f", "m", "--out", "again.json"]).ends(DONE);
    assert!(second.err.contains("rosterd apply again.json"), "{second:?}");
    assert_eq!(fs::read(place.path("saved.json")).unwrap(), fs::read(place.path("again.json")).unwrap());
    fs::remove_file(place.path("m/u2.yaml")).unwrap();
    let applied = place.run(&["apply", "saved.json", "-f", "m"]).ends(STALE);
    assert!(applied.out.contains("skipped create `u2` in crm: it no longer follows"), "{applied:?}");
    let accounts = place.run(&["accounts", "crm", "--output", "json"]).ends(DONE).json();
    assert_eq!(accounts.as_array().unwrap().len(), 1);
    assert_eq!(accounts[0]["record"], "u1");
}

#[test]
fn a_broken_manifest_is_told_with_its_place_in_every_form_and_nothing_is_applied() {
    let place = Place::new();
    place.company(&["u1"]);
    place.write("m/u2.yaml", &person("u2", true).replace("givenName", "givename"));
    let told = place.run(&["validate", "-f", "m"]).ends(ERROR);
    assert!(told.out.contains("m/u2.yaml:5:3") && told.out.contains("did you mean `givenName`?"), "{told:?}");
    let json = place.run(&["validate", "-f", "m", "--output", "json"]).ends(ERROR).json();
    assert_eq!((json[0]["line"].as_u64(), json[0]["code"].as_str()), (Some(5), Some("unknown-field")));
    let github = place.run(&["validate", "-f", "m", "--output", "github"]).ends(ERROR);
    assert!(github.out.starts_with("::error file=m/u2.yaml,line=5,col=3,title=unknown-field::"), "{github:?}");
    let sarif = place.run(&["validate", "-f", "m", "--output", "sarif"]).ends(ERROR).json();
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "unknown-field");
    let gitlab = place.run(&["validate", "-f", "m", "--output", "gitlab"]).ends(ERROR).json();
    assert_eq!(gitlab[0]["location"]["path"], "m/u2.yaml");
    for command in ["plan", "apply"] {
        let refused = place.run(&[command, "-f", "m"]).ends(ERROR);
        refused.hints("mend what is marked");
    }
}

#[test]
fn two_users_who_want_one_name_are_told_and_only_they_are_blocked() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.write("m/u3.yaml", &person("u3", true).replace("u3@x", "u2@x"));
    let told = place.run(&["validate", "-f", "m"]).ends(ERROR);
    assert!(told.out.contains("user-name-taken"), "{told:?}");
    place.run(&["apply", "-f", "m"]).ends(DONE);
    let accounts = place.run(&["accounts", "crm", "--output", "json"]).ends(DONE).json();
    assert_eq!(accounts.as_array().unwrap().len(), 1);
    assert_eq!(accounts[0]["record"], "u1");
}

#[test]
fn explain_names_the_line_of_each_value_and_why_an_account_is_missing() {
    let place = Place::new();
    place.company(&["u1"]);
    place.write("m/u2.yaml", &person("u2", false));
    place.run(&["apply", "-f", "m"]).ends(DONE);
    let there = place.run(&["explain", "u1"]).ends(DONE);
    assert!(there.out.contains("name.givenName = Ada") && there.out.contains("u1.yaml:5"), "{there:?}");
    let missing = place.run(&["explain", "u2", "--target", "crm"]).ends(DONE);
    assert!(missing.out.contains("the user is inactive"), "{missing:?}");
    let nobody = place.run(&["explain", "u9"]).ends(ERROR);
    assert!(nobody.err.contains("u9"), "{nobody:?}");
}

#[test]
fn a_target_that_cannot_be_reached_as_configured_is_an_error_and_the_others_go_on() {
    let place = Place::new();
    place.company(&["u1"]);
    let remote = TARGET.split("---").next().unwrap().replace("name: crm", "name: erp").replace(
        "connector: { directory: {} }",
        "connector: { scim: {} }\n  environments:\n    test: { url: \"http://127.0.0.1:9/scim\", auth: { bearer: { env: \
         ERP_TOKEN } } }",
    );
    place.write("m/erp.yaml", &remote);
    for command in ["plan", "apply"] {
        let said = place.run(&[command, "-f", "m"]).ends(ERROR);
        assert!(said.err.contains("`erp`") && said.err.contains("ERP_TOKEN"), "{said:?}");
    }
    let accounts = place.run(&["accounts", "crm", "--output", "json"]).ends(DONE).json();
    assert_eq!(accounts[0]["record"], "u1");
    place.run(&["apply", "-f", "m", "--target", "crm"]).ends(DONE);
    place.run(&["apply", "-f", "m", "--target", "erp"]).ends(ERROR).hints("mend");
}

/// Forty users of whom six are guests.
fn forty(place: &Place) {
    place.company(&[]);
    let guest = "apiVersion: rosterd.dev/v1\nkind: Role\nmetadata: { name: guest }\nspec: { grants: [ { target: crm, level: \
                 all } ] }\n";
    place.write("m/guest.yaml", guest);
    for number in 1..=40 {
        let user = format!("u{number}");
        let role = if number > 34 { "guest" } else { "agent" };
        place.write(&format!("m/{user}.yaml"), &person(&user, true).replace("agent", role));
    }
    place.run(&["apply", "-f", "m"]).ends(DONE);
}

#[test]
fn what_a_limit_holds_is_shown_with_the_command_that_releases_it() {
    let place = Place::new();
    forty(&place);
    let guest = fs::read_to_string(place.path("m/guest.yaml")).unwrap();
    place.write("m/guest.yaml", &guest.replace("[ { target: crm, level: all } ]", "[]"));
    place.run(&["plan", "-f", "m"]).ends(HELD);
    let applied = place.run(&["apply", "-f", "m", "--yes"]).ends(HELD);
    assert!(applied.out.contains("crm holds 6 changes (narrow.inferred)"), "{applied:?}");
    let held = place.run(&["holds", "list"]).ends(DONE).out;
    let digest = held.split("rosterd holds release ").nth(1).unwrap().split('`').next().unwrap();
    let wrong = place.run(&["holds", "release", "0000"]).ends(ERROR);
    wrong.hints("holds list");
    place.run(&["holds", "release", digest, "--reason", "the guests have left"]).ends(DONE);
    let out = place.run(&["accounts", "crm", "--state", "inactive", "--output", "json"]).ends(DONE).json();
    assert_eq!(out.as_array().unwrap().len(), 6);
    assert_eq!(place.run(&["holds", "list"]).ends(DONE).out, "nothing is held\n");
}

#[test]
fn manifests_that_shrink_too_much_wait_for_a_word_about_exactly_them() {
    let place = Place::new();
    forty(&place);
    for number in 1..=20 {
        fs::remove_file(place.path(&format!("m/u{number}.yaml"))).unwrap();
    }
    let planned = place.run(&["plan", "-f", "m"]).ends(HELD);
    assert!(planned.err.contains("20 of 40 grants of access"), "{planned:?}");
    place.run(&["apply", "-f", "m", "--yes"]).ends(HELD);
    let digest = planned.err.split("rosterd accept-shrink ").nth(1).unwrap().trim();
    assert!(place.run(&["accept-shrink", "0000"]).ends(ERROR).err.contains("look at it with `rosterd status`"));
    place.run(&["accept-shrink", digest]).ends(DONE);
    let status = place.run(&["status", "--output", "json"]).ends(DONE).json();
    assert_eq!((&status["source"]["shrink"], &status["source"]["users"]), (&Value::Null, &20.into()));
    // The limit on inferred narrowing has its say all the same.
    place.run(&["apply", "-f", "m", "--yes"]).ends(HELD);
}

#[test]
fn a_lost_store_leads_to_first_contact_and_not_to_guesses() {
    let place = Place::new();
    place.company(&["u1"]);
    let adopting = TARGET.replace("    userName:", "    existing: adopt\n    trustedKeys: [externalId]\n    userName:");
    place.write("m/target.yaml", &adopting);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    for file in ["rosterd.db", "rosterd.db-wal", "rosterd.db-shm", "rosterd.heads"] {
        drop(fs::remove_file(place.path(file)));
    }
    let applied = place.run(&["apply", "-f", "m"]).ends(HELD);
    assert!(applied.out.contains("first-contact"), "{applied:?}");
    let digest = applied.out.split("rosterd enforce crm ").nth(1).unwrap();
    let digest: String = digest.chars().take_while(char::is_ascii_hexdigit).collect();
    place.run(&["enforce", "crm", &digest]).ends(DONE);
    let plan = place.run(&["plan", "-f", "m", "--detailed-exitcode", "--output", "json"]).ends(DONE).json();
    assert_eq!(plan["plans"][0]["holds"], serde_json::json!([]));
}

#[test]
fn every_error_says_what_to_do() {
    let place = Place::new();
    place.company(&["u1"]);
    place.write("open.yaml", "listen: 0.0.0.0:8080\n");
    place.write("notaplan.json", "{}");
    let commands: [(&[&str], &str); 12] = [
        (&["status"], "-f DIR"),
        (&["run"], "-f DIR"),
        (&["plan"], "-f DIR"),
        (&["plan", "-f", "nowhere"], "-f DIR"),
        (&["sync"], "rosterd apply"),
        (&["healthcheck"], "rosterd run"),
        (&["apply", "missing.json"], "plan -f DIR --out FILE"),
        (&["apply", "notaplan.json"], "plan -f DIR --out FILE"),
        (&["plan", "-f", "m", "--target", "crn"], "rosterd targets"),
        (&["schema", "Usr"], "User"),
        (&["status", "--server", "http://127.0.0.1:9"], "rosterd run"),
        (&["run", "-f", "m", "--config", "open.yaml"], "mend what is marked"),
    ];
    for (arguments, word) in commands {
        let said = place.run(arguments).ends(ERROR);
        assert!(said.err.contains("error:"), "{arguments:?}: {said:?}");
        said.hints(word);
    }
    let open = place.run(&["run", "-f", "m", "--config", "open.yaml"]);
    assert!(open.err.contains("nobody could sign in there") && open.err.contains("open.yaml:1:9"), "{open:?}");
}

#[test]
fn a_mistyped_command_is_an_error_and_not_a_change() {
    let place = Place::new();
    let said = place.run(&["plam"]).ends(ERROR);
    assert!(said.err.contains("plan"), "{said:?}");
    place.run(&["--help"]).ends(DONE);
    place.run(&["--version"]).ends(DONE);
}

#[test]
fn schemas_and_completions_are_printed() {
    let place = Place::new();
    let user = place.run(&["schema", "User"]).ends(DONE).json();
    assert!(user.to_string().contains("givenName"), "{user}");
    let all = place.run(&["schema"]).ends(DONE).json();
    for kind in ["User", "Role", "Target", "TargetDefaults", "Exception"] {
        assert!(all[kind].is_object(), "{kind}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.run(&["completion", shell]).ends(DONE).out.contains("accept-shrink"), "{shell}");
    }
}

#[test]
fn commands_without_a_daemon_read_the_folder_that_was_applied_last() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    let status = place.run(&["status", "--output", "json"]).ends(DONE).json();
    assert_eq!(status["source"]["users"], 2);
    assert_eq!(status["targets"][0]["name"], "crm");
    let history = place.run(&["history", "--output", "json"]).ends(DONE).json();
    assert_eq!(history[0]["done"]["create"], 2);
    let sound = place.run(&["audit", "verify"]).ends(DONE);
    assert!(sound.out.starts_with("sound: "), "{sound:?}");
    let events = place.run(&["audit", "search", "intent", "--user", "u1", "--output", "json"]).ends(DONE).json();
    assert_eq!(events[0]["event"]["record"], "u1");
    for command in ["targets", "owed"] {
        place.run(&[command]).ends(DONE);
    }
    place.run(&["holds", "list"]).ends(DONE);
}

/// A daemon in a folder of its own, on a port that the system chose.
struct Daemon {
    child: Child,
    greeting: String,
}

impl Daemon {
    fn start(place: &Place) -> Self {
        let text = "listen: 127.0.0.1:0\nmanifests: [ { folder: m } ]\ntargetsFrom: manifests\n";
        place.write("rosterd.yaml", text);
        let mut command = place.command(&["run", "--config", "rosterd.yaml"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let greeting = heard(&mut child, "Ctrl-C");
        Self { child, greeting }
    }

    fn stop(mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        ended(&mut self.child).code().unwrap_or(-1)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(unix)]
#[test]
fn a_daemon_tells_what_it_did_follows_edits_and_ends_in_order() {
    let place = Place::new();
    place.company(&["u1"]);
    let daemon = Daemon::start(&place);
    // Nobody waits for a first word longer than some seconds, whatever became of the cycle by then.
    let told = ["1 created", "first cycle under way", "waits"];
    assert!(told.iter().any(|word| daemon.greeting.contains(word)), "{}", daemon.greeting);
    let ask = |arguments: &[&str]| place.run(&[arguments, &["--config", "rosterd.yaml", "--output", "json"]].concat());
    assert_eq!(ask(&["status"]).ends(DONE).json()["source"]["generation"], 1);
    until("the first cycle", || ask(&["history"]).ends(DONE).json()[0]["done"]["create"] == 1);
    place.write("m/u1.yaml", &person("u1", true).replace("Ada", "Adah"));
    until("the new name", || {
        let explained = ask(&["explain", "u1"]).ends(DONE).json();
        explained["items"][0]["account"]["values"]["name.givenName"] == "Adah"
    });
    let synced = ask(&["sync", "crm"]).ends(DONE).json();
    assert_eq!(synced[0]["cycle"]["trigger"], "manual");
    ask(&["suspend", "crm", "--reason", "test"]).ends(DONE);
    until("it is suspended", || ask(&["status"]).json()["targets"][0]["suspended"] == true);
    ask(&["resume", "crm"]).ends(DONE);
    assert_eq!(place.run(&["healthcheck", "--config", "rosterd.yaml"]).ends(DONE).out, "ready\n");
    let token = place.path("rosterd.token");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&token).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(daemon.stop(), DONE);
    assert!(!token.exists());
}

#[cfg(unix)]
#[test]
fn a_second_daemon_is_sent_to_the_first() {
    let place = Place::new();
    place.company(&["u1"]);
    let daemon = Daemon::start(&place);
    let second = place.run(&["run", "--config", "rosterd.yaml"]).ends(ERROR);
    assert!(second.err.contains("http://127.0.0.1:"), "{second:?}");
    second.hints("rosterd status");
    assert_eq!(daemon.stop(), DONE);
}

#[cfg(unix)]
#[test]
fn a_pull_request_is_planned_against_the_running_daemon_and_changes_nothing_there() {
    let place = Place::new();
    place.company(&["u1"]);
    let daemon = Daemon::start(&place);
    place.write("pr/u1.yaml", &person("u1", true));
    place.write("pr/u2.yaml", &person("u2", true));
    place.write("pr/roles.yaml", TARGET.rsplit("---\n").next().unwrap());
    let plan = place.run(&["plan", "-f", "pr", "--config", "rosterd.yaml", "--output", "markdown"]).ends(DONE);
    assert!(plan.out.contains("u2") && !plan.out.contains("u2@x.example"), "{plan:?}");
    let status = place.run(&["status", "--config", "rosterd.yaml", "--output", "json"]).ends(DONE).json();
    assert_eq!(status["source"]["users"], 1);
    assert_eq!(daemon.stop(), DONE);
}

#[cfg(unix)]
#[test]
fn a_token_opens_as_much_as_it_was_made_for_until_it_is_revoked() {
    let place = Place::new();
    place.company(&["u1"]);
    let daemon = Daemon::start(&place);
    let config = ["--config", "rosterd.yaml"];
    let create = ["tokens", "create", "ci", "--right", "viewer"];
    let secret = place.run(&[&create[..], &config].concat()).ends(DONE).out.trim().to_owned();
    let with_token = |arguments: &[&str]| {
        let output = place.command(&[arguments, &config].concat()).env("ROSTERD_TOKEN", &secret).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(with_token(&["status"]).0, DONE);
    let (code, err) = with_token(&["sync", "crm"]);
    assert!(code == ERROR && err.contains("hint:"), "{err}");
    let listed = place.run(&[&["tokens", "list"][..], &config].concat()).ends(DONE);
    assert!(listed.out.contains("ci") && !listed.out.contains(&secret), "{listed:?}");
    place.run(&[&["tokens", "revoke", "ci"][..], &config].concat()).ends(DONE);
    assert_eq!(with_token(&["status"]).0, ERROR);
    assert_eq!(daemon.stop(), DONE);
}

#[test]
fn what_a_date_will_bring_and_what_a_change_would_do_are_told_and_not_done() {
    let place = Place::new();
    place.company(&["u1"]);
    place.write(
        "m/u1.yaml",
        &person("u1", true).replace("active: true", "active: true\n  validUntil: 2100-01-01T00:00:00Z"),
    );
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.run(&["plan", "-f", "m", "--detailed-exitcode"]).ends(DONE);
    let later = place.run(&["plan", "-f", "m", "--at", "2100-01-02T00:00:00Z", "--detailed-exitcode"]).ends(CHANGES);
    assert!(later.out.contains("disable") && later.err.contains("not for applying"), "{later:?}");
    let past = place.run(&["plan", "-f", "m", "--at", "2020-01-01T00:00:00Z"]).ends(ERROR);
    assert!(past.err.contains("in the past"), "{past:?}");
    let kept = place.run(&["plan", "-f", "m", "--at", "2100-01-02T00:00:00Z", "--out", "p"]);
    assert!(kept.code != DONE && !place.path("p").exists(), "{kept:?}");
    let told = place.run(&["explain", "u1", "--if", "active=false"]).ends(DONE);
    assert!(told.out.contains("disable") && told.err.contains("nothing was changed"), "{told:?}");
    let wrong = place.run(&["explain", "u1", "--if", "colour=red"]).ends(ERROR);
    assert!(wrong.err.contains("is not a change"), "{wrong:?}");
    let history = place.run(&["history", "--output", "json"]).ends(DONE).json();
    let cycle = history[0]["id"].as_str().unwrap();
    let undone = place.run(&["undo", cycle, "--yes"]).ends(ERROR);
    assert!(undone.err.contains("change the manifest"), "{undone:?}");
}
