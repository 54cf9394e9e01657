//! Who is asked at a terminal and changes their mind.

use std::io::Write;

use super::*;

/// A command at a terminal of its own, until it asks.
fn asked(place: &Place, arguments: &str) -> Child {
    // A shell that stayed in between would hear Ctrl-C too, and answer with a code of its own.
    let command = format!("exec {} {arguments}", env!("CARGO_BIN_EXE_rosterd"));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).current_dir(place.path("."));
    script.env("SHELL", "/bin/sh");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    heard(&mut child, "[y/N] ");
    child
}

#[cfg(target_os = "linux")]
#[test]
fn who_presses_ctrl_c_at_the_question_has_said_no() {
    let place = Place::new();
    place.company(&["u1"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.write("m/u1.yaml", &person("u1", false));
    let mut child = asked(&place, "apply -f m");
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    assert_eq!(ended(&mut child).code(), Some(ERROR));
    let accounts = place.run(&["accounts", "crm", "--output", "json"]).ends(DONE).json();
    assert_eq!(accounts[0]["state"], "active", "{accounts}");
    let mut child = asked(&place, "apply -f m");
    child.stdin.as_mut().unwrap().write_all(b"Yes\n").unwrap();
    assert_eq!(ended(&mut child).code(), Some(DONE));
}

/// How often manifests were accepted, as the store has it once the manifests are as they were.
fn generation(place: &Place) -> Value {
    place.run(&["status", "--output", "json"]).ends(DONE).json()["source"]["generation"].clone()
}

#[cfg(target_os = "linux")]
#[test]
fn a_plan_that_nobody_agreed_to_leaves_the_store_as_it_was() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    let before = generation(&place);
    place.write("m/u1.yaml", &person("u1", false));
    place.run(&["apply", "-f", "m"]).ends(ERROR).hints("--yes");
    let mut child = asked(&place, "apply -f m");
    child.stdin.as_mut().unwrap().write_all(b"no\n").unwrap();
    assert_eq!(ended(&mut child).code(), Some(ERROR));
    place.write("m/u1.yaml", &person("u1", true));
    assert_eq!(generation(&place), before, "nothing was accepted, so nothing is owed");
    let accounts = place.run(&["accounts", "crm", "--state", "active", "--output", "json"]).ends(DONE).json();
    assert_eq!(accounts.as_array().unwrap().len(), 2);
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_agreed_to_is_what_was_shown() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.write("m/u1.yaml", &person("u1", false));
    let mut child = asked(&place, "apply -f m");
    place.write("m/u2.yaml", &person("u2", false));
    child.stdin.as_mut().unwrap().write_all(b"y\n").unwrap();
    assert_eq!(ended(&mut child).code(), Some(DONE));
    let accounts = place.run(&["accounts", "crm", "--state", "active", "--output", "json"]).ends(DONE).json();
    assert_eq!(accounts[0]["record"], "u2", "{accounts}");
}
