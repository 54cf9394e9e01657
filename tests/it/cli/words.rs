//! Words that hold everywhere, as people say them: `revoke`, `restore`, `receipt`, `stop`, `start`.

use std::fs;

use serde_json::Value;

use crate::cli::DONE;
use crate::cli::Daemon;
use crate::cli::ERROR;
use crate::cli::HELD;
use crate::cli::Place;
use crate::cli::person;
use crate::support::process::until;

/// The users of the accounts in this state, in order.
fn names(place: &Place, state: &str) -> Vec<String> {
    let list = place.run(&["accounts", "crm", "--state", state, "--output", "json"]).ends(DONE).json();
    let mut names: Vec<_> =
        list.as_array().unwrap().iter().map(|account| account["record"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_leaver_is_revoked_gets_a_signed_receipt_and_comes_back_by_a_restore() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    let has = place.run(&["receipt", "u1", "--output", "json"]).ends(DONE).json();
    assert_eq!(has["receipt"]["verdict"], "has-access");
    let said = place.run(&["revoke", "--yes", "u1", "--reason", "lost laptop"]).ends(DONE);
    assert!(said.out.contains("has no access anywhere until `rosterd restore u1`"), "{said:?}");
    assert_eq!(names(&place, "inactive"), ["u1"]);
    let status = place.run(&["status"]).ends(DONE);
    assert!(status.out.contains("revoked: `u1` by local"), "{status:?}");
    let explained = place.run(&["explain", "u1"]).ends(DONE);
    assert!(explained.out.contains("revocation of u1 by local"), "{explained:?}");

    let receipt = place.run(&["receipt", "u1", "--output", "json"]).ends(DONE);
    let page = receipt.json()["receipt"].clone();
    assert_eq!(page["verdict"], "out-everywhere");
    assert_eq!(page["revoked"]["reason"], "lost laptop");
    let calls = page["targets"][0]["calls"].as_array().unwrap();
    let calls: Vec<_> = calls.iter().map(|call| (call["action"].as_str(), call["outcome"].as_str())).collect();
    assert_eq!(calls, [(Some("create"), Some("done")), (Some("disable"), Some("done"))]);
    let shown = place.run(&["receipt", "u1"]).ends(DONE);
    assert!(shown.out.contains("out everywhere") && shown.out.contains("signature"), "{shown:?}");
    let markdown = place.run(&["receipt", "u1", "--output", "markdown"]).ends(DONE);
    assert!(markdown.out.contains("| crm"), "{markdown:?}");

    place.write("receipt.json", &receipt.out);
    let genuine = place.run(&["receipt", "--verify", "receipt.json"]).ends(DONE);
    assert!(genuine.out.starts_with("genuine"), "{genuine:?}");
    place.write("forged.json", &receipt.out.replace("lost laptop", "lost tablet"));
    let forged = place.run(&["receipt", "--verify", "forged.json"]).ends(ERROR);
    assert!(forged.err.contains("altered after it was signed"), "{forged:?}");
    place.write("nonsense.json", "{}");
    place.run(&["receipt", "--verify", "nonsense.json"]).ends(ERROR);

    place.run(&["apply", "-f", "m", "--yes"]).ends(DONE);
    assert_eq!(names(&place, "inactive"), ["u1"], "the manifests say otherwise, and do not count");
    place.run(&["restore", "u1"]).ends(DONE);
    assert_eq!(names(&place, "active"), ["u1", "u2"]);
    place.run(&["restore", "u1"]).ends(ERROR);
    place.run(&["revoke", "--yes", "u9"]).ends(ERROR);
    place.run(&["revoke", "--yes", "u1", "--until", "yesterday"]).ends(ERROR).hints("14d");
    place.run(&["audit", "verify"]).ends(DONE);
}

#[test]
fn a_stop_holds_for_every_command_until_a_start() {
    let place = Place::new();
    place.company(&["u1"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.run(&["stop"]).ends(ERROR);
    place.run(&["stop", "--reason", "mail is on fire"]).ends(DONE);
    place.company(&["u1", "u2"]);
    let refused = place.run(&["apply", "-f", "m"]).ends(ERROR);
    assert!(refused.err.contains("stopped by local") && refused.err.contains("mail is on fire"), "{refused:?}");
    let status = place.run(&["status"]).ends(DONE);
    assert!(status.out.starts_with("stopped:"), "{status:?}");
    assert!(place.run(&["status", "--output", "markdown"]).ends(DONE).out.starts_with("stopped:"));
    assert_eq!(place.run(&["status", "--output", "json"]).ends(DONE).json()["stopped"]["halts"], "all");
    let owed = place.run(&["revoke", "--yes", "u1"]).ends(HELD);
    assert!(owed.out.contains("still owed in `crm` (stopped)"), "{owed:?}");
    let receipt = place.run(&["receipt", "u1"]).ends(HELD);
    assert!(receipt.out.contains("NOT confirmed"), "{receipt:?}");
    place.run(&["start", "--reason", "it is out"]).ends(DONE);
    place.run(&["start", "--reason", "again"]).ends(ERROR);
    place.run(&["apply", "-f", "m", "--yes"]).ends(DONE);
    assert_eq!((names(&place, "active"), names(&place, "inactive")), (vec!["u2".to_owned()], vec!["u1".to_owned()]));
}

#[test]
fn a_stop_of_widening_lets_a_command_take_access_away() {
    let place = Place::new();
    place.company(&["u1"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.run(&["stop", "--widening", "--reason", "an audit"]).ends(DONE);
    place.company(&["u1", "u2"]);
    place.run(&["revoke", "--yes", "u1"]).ends(DONE);
    let half = place.run(&["apply", "-f", "m", "--yes"]).ends(ERROR);
    assert!(half.out.contains("rosterd start") || half.err.contains("rosterd start"), "{half:?}");
    assert_eq!((names(&place, "active"), names(&place, "inactive")), (vec![], vec!["u1".to_owned()]));
}

#[test]
fn a_file_beside_the_store_halts_a_daemon_and_a_command_takes_it_away() {
    let place = Place::new();
    place.company(&["u1"]);
    let daemon = Daemon::start(&place);
    let run = |arguments: &[&str]| place.run(&[arguments, &["--config", "rosterd.yaml"]].concat());
    until("the first account", || run(&["accounts", "crm", "--output", "json"]).out.contains("u1"));
    place.write("rosterd.db.stop", "all\n");
    let status = || -> Value { run(&["status", "--output", "json"]).json() };
    until("the stop", || status()["stopped"]["by"] == "stop-file");
    place.company(&["u1", "u2"]);
    until("the load", || status()["source"]["users"] == 2);
    fs::remove_file(place.path("rosterd.db.stop")).unwrap();
    assert!(!run(&["accounts", "crm", "--output", "json"]).out.contains("u2"));
    place.write("rosterd.db.stop", "all\n");
    run(&["start", "--reason", "checked"]).ends(DONE);
    assert!(!place.path("rosterd.db.stop").exists());
    until("the second account", || run(&["accounts", "crm", "--output", "json"]).out.contains("u2"));
    run(&["revoke", "--yes", "u2"]).ends(DONE);
    let receipt = run(&["receipt", "u2", "--output", "json"]).ends(DONE).json();
    assert_eq!(receipt["receipt"]["verdict"], "out-everywhere");
    let regained = run(&["regain", "u2", "--target", "crm"]).ends(ERROR);
    assert!(regained.err.contains("`rosterd restore u2`"), "{regained:?}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn broken_manifests_of_a_daemon_are_told_to_whoever_asks_for_a_plan() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    let daemon = Daemon::start(&place);
    let run = |arguments: &[&str]| place.run(&[arguments, &["--config", "rosterd.yaml"]].concat());
    let refused = || run(&["status", "--output", "json"]).json()["source"]["refused"] == true;
    // Who leaves with a slip of the pen has not left, and a pipeline must not be green over it.
    place.write("m/u1.yaml", &person("u1", false).replace("active:", "actve:"));
    until("the refusal", refused);
    for command in [["plan", "--detailed-exitcode"], ["apply", "--yes"]] {
        let said = run(&command).ends(ERROR);
        assert!(said.err.contains("u1.yaml") && said.err.contains("actve"), "{said:?}");
        said.hints("mend what is marked");
    }
    assert!(run(&["status"]).out.contains("access that they end is ended"));
    place.write("m/u1.yaml", &person("u1", true));
    until("the mended load", || !refused());
    run(&["plan"]).ends(DONE);
    assert_eq!(daemon.stop(), DONE);
}

#[test]
fn who_is_gone_is_explained_as_such_and_nobody_takes_a_look_for_a_daemon() {
    let place = Place::new();
    let everybody = ["u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "u9"];
    place.company(&everybody);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    assert!(place.run(&["status"]).ends(DONE).err.contains("no daemon runs here"));
    fs::remove_file(place.path("m/u9.yaml")).unwrap();
    place.run(&["apply", "-f", "m", "--yes"]).ends(DONE);
    let explained = place.run(&["explain", "u9"]).ends(DONE);
    assert!(explained.out.contains("no accepted document declares this user"), "{explained:?}");
}
