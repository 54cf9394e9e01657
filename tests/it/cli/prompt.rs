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
    child.stdin.as_mut().unwrap().write_all(b"y\n").unwrap();
    assert_eq!(ended(&mut child).code(), Some(DONE));
}
