//! What is remembered, moved to a file and from one; and answers for programs where there is but a
//! sentence for people.

use std::fs;

use serde_json::Value;

use crate::cli::DONE;
use crate::cli::Daemon;
use crate::cli::ERROR;
use crate::cli::Place;

/// Which account is remembered as the user's.
fn link(place: &Place) -> Value {
    let told = place.run(&["explain", "u1", "--output", "json"]).ends(DONE).json();
    let link = told["items"][0]["link"]["account"].clone();
    assert!(link.is_string(), "{told:#}");
    link
}

#[test]
fn a_store_is_had_back_from_a_file_that_is_whole_or_not_there() {
    let place = Place::new();
    place.run(&["store", "export", "moved"]).ends(ERROR).hints("--config");
    place.company(&["u1", "u2"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.run(&["store", "export", "nowhere/moved"]).ends(ERROR).hints("check the path");
    let said = place.run(&["store", "export", "moved", "--output", "json"]).ends(DONE).json();
    assert!(said["rows"].as_u64() > Some(5) && said["file"] == "moved", "{said}");
    let left: Vec<_> = fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{left:?}");
    // A file that is there is nobody's to overwrite.
    let before = fs::read(place.path("moved")).unwrap();
    place.run(&["store", "export", "moved"]).ends(ERROR).hints("a new file");
    assert_eq!(fs::read(place.path("moved")).unwrap(), before);

    // The store is gone; target and keys are there still.
    let linked = link(&place);
    for name in ["rosterd.db", "rosterd.heads"] {
        fs::remove_file(place.path(name)).unwrap();
    }
    place.write("half", "no export at all");
    place.run(&["store", "import", "half"]).ends(ERROR);
    let said = place.run(&["store", "import", "moved"]).ends(DONE);
    assert!(said.out.starts_with("took "), "{said:?}");
    assert_eq!(link(&place), linked);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.run(&["audit", "verify"]).ends(DONE);
    // Only an empty store takes anything in.
    place.run(&["store", "import", "moved"]).ends(ERROR);
}

#[test]
fn an_import_that_fails_leaves_nothing_behind_and_takes_nothing_away() {
    let names = |place: &Place| {
        let mut all: Vec<_> = fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        all.retain(|name| name != "rosterd.db.lock");
        all.sort();
        all
    };
    let place = Place::new();
    place.write("half", "no export at all");
    place.run(&["store", "import", "half"]).ends(ERROR);
    assert_eq!(names(&place), ["half"]);
    // Keys that were moved here before are there for the next try.
    let other = Place::new();
    other.company(&["u1"]);
    other.run(&["apply", "-f", "m"]).ends(DONE);
    fs::copy(other.path("rosterd.keys"), place.path("rosterd.keys")).unwrap();
    place.run(&["store", "import", "half"]).ends(ERROR);
    assert_eq!(names(&place), ["half", "rosterd.keys"]);
    other.run(&["store", "import", "m/u1.yaml"]).ends(ERROR);
    assert!(other.path("rosterd.db").exists());
}

#[cfg(unix)]
#[test]
fn a_store_that_a_daemon_has_is_not_exported_and_the_message_says_what_to_do() {
    let place = Place::new();
    place.company(&["u1"]);
    let daemon = Daemon::start(&place);
    let refused = place.run(&["store", "export", "moved", "--config", "rosterd.yaml"]).ends(ERROR);
    refused.hints("stop the daemon, run this again");
    assert!(!place.path("moved").exists() && !place.path("moved.part").exists());
    assert_eq!(daemon.stop(), 0);
    place.run(&["store", "export", "moved", "--config", "rosterd.yaml"]).ends(DONE);
}

#[test]
fn programs_get_json_wherever_people_get_a_sentence() {
    let place = Place::new();
    place.company(&["u1"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.run(&["tokens", "create", "ci", "--right", "viewer"]).ends(DONE);
    let revoked = place.run(&["tokens", "revoke", "ci", "--output", "json"]).ends(DONE).json();
    assert_eq!(revoked, serde_json::json!({ "name": "ci", "revoked": true }));
    let receipt = place.run(&["receipt", "u1", "--output", "json"]).ends(DONE);
    place.write("receipt.json", &receipt.out);
    place.write("forged.json", &receipt.out.replace("has-access", "out-everywhere"));
    let genuine = place.run(&["receipt", "--verify", "receipt.json", "--output", "json"]).ends(DONE).json();
    assert!(genuine["problem"].is_null(), "{genuine}");
    let forged = place.run(&["receipt", "--verify", "forged.json", "--output", "json"]).ends(ERROR);
    assert!(forged.json()["problem"].as_str().unwrap().contains("altered"), "{forged:?}");
    let trusted = place.run(&["trust-clock", "--reason", "the battery is new", "--output", "json"]).ends(DONE);
    assert!(trusted.json().is_object(), "{trusted:?}");
    let told = place.run(&["trust-clock", "--reason", "again"]).ends(DONE);
    assert!(told.out.contains("the clock is believed"), "{told:?}");
    let heard = place.run(&["audit", "search", "trust-clock"]).ends(DONE);
    assert!(heard.out.contains("the battery is new"), "{heard:?}");
}
