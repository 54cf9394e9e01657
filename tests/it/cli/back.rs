//! What a person gives back or takes back: `regain`, `undo`; and what is left of those who are gone.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use rosterd::clock::SystemClock;
use rosterd::connectors::directory;
use rosterd::connectors::directory::Directory;
use rosterd::model::node::Node;
use rosterd::model::path::AttributePath;
use serde_json::Value;
use serde_json::json;

use crate::cli::DONE;
use crate::cli::ERROR;
use crate::cli::HELD;
use crate::cli::Place;
use crate::cli::TARGET;
use crate::cli::person;

/// Another hand disables the only account there is.
async fn disabled_by_hand(place: &Place) {
    let directory = Directory::at(place.path("rosterd-directory.db"), Arc::new(SystemClock));
    let empty = Node { value: json!({}), ..Node::default() };
    directory::build(&empty, &empty, &directory, (&"crm".into(), &"default".into())).unwrap();
    let accounts = place.run(&["accounts", "crm", "--output", "json"]).ends(DONE).json();
    let id = accounts[0]["account"].as_str().unwrap().into();
    let active = AttributePath::parse("active").unwrap();
    directory.edit(&"crm".into(), &id, BTreeMap::from([(active, json!(false))])).await.unwrap();
}

fn account(place: &Place) -> Value {
    place.run(&["explain", "u1", "--output", "json"]).ends(DONE).json()["items"][0]["account"].clone()
}

#[tokio::test]
async fn what_another_hand_ended_is_given_back_by_the_command_that_every_view_names() {
    let place = Place::new();
    place.company(&["u1"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    disabled_by_hand(&place).await;
    place.run(&["apply", "-f", "m"]).ends(DONE);
    let command = ["regain", "u1", "--target", "crm"];
    let named = format!("`rosterd {}`", command.join(" "));
    for view in [&["status"][..], &["explain", "u1"], &["plan", "-f", "m"]] {
        let said = place.run(view).ends(DONE);
        assert!(said.out.contains("another hand made the account disabled"), "{view:?}: {said:?}");
        assert!(said.out.contains(&named), "{view:?}: {said:?}");
    }
    assert_eq!(account(&place)["state"], "disabled");
    let said = place.run(&command).ends(DONE);
    assert!(said.out.contains("1 reactivated"), "{said:?}");
    assert_eq!(account(&place)["state"], "active");
    place.run(&command).ends(ERROR);
}

#[tokio::test]
async fn what_is_given_back_and_held_by_a_limit_is_told_and_exits_as_held() {
    let place = Place::new();
    place.company(&["u1"]);
    let limited =
        TARGET.replace("  mode: enforce\n", "  mode: enforce\n  limits: { widen: [ { count: 1, window: 24h } ] }\n");
    place.write("m/target.yaml", &limited);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    disabled_by_hand(&place).await;
    place.run(&["apply", "-f", "m"]).ends(DONE);
    let held = place.run(&["regain", "u1"]).ends(HELD);
    assert!(held.out.contains("(widen") && held.out.contains("rosterd holds release"), "{held:?}");
    assert_eq!(account(&place)["state"], "disabled");
}

#[test]
fn a_cycle_is_undone_by_the_id_that_history_shows() {
    let place = Place::new();
    place.company(&["u1"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.write("m/u1.yaml", &person("u1", true).replace("Ada", "Wrong"));
    place.run(&["apply", "-f", "m"]).ends(DONE);
    assert_eq!(account(&place)["values"]["name.givenName"], "Wrong");
    let history = place.run(&["history"]).ends(DONE);
    let newest = history.out.lines().nth(1).unwrap();
    assert!(history.out.starts_with("CYCLE") && newest.contains("1 updated"), "{history:?}");
    let cycle = newest.split_whitespace().next().unwrap();
    // The name is the target's own from now on: the manifests do not ask for what the cycle did.
    let ours = "{{ user.givenName }}\" }";
    assert!(TARGET.contains(ours));
    place.write("m/target.yaml", &TARGET.replace(ours, "{{ user.givenName }}\", own: create }"));
    place.run(&["apply", "-f", "m"]).ends(DONE);
    let asked = place.run(&["undo", cycle]).ends(ERROR);
    asked.hints("--yes");
    let undone = place.run(&["undo", cycle, "--yes", "--reason", "a slip"]).ends(DONE);
    assert!(undone.out.contains("1 updated"), "{undone:?}");
    assert!(undone.err.contains("undone: update `u1` (cycle `"), "{undone:?}");
    assert!(!undone.err.contains("not undone"), "{undone:?}");
    assert_eq!(account(&place)["values"]["name.givenName"], "Ada");
    let told = place.run(&["audit", "search", "undo"]).ends(DONE);
    assert!(told.out.contains("a slip"), "{told:?}");
}

#[test]
fn accounts_of_those_whom_nobody_declares_any_more_are_listed_apart() {
    let place = Place::new();
    place.company(&["u1", "u2", "u3"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    let orphans = || {
        let list = place.run(&["accounts", "crm", "--state", "orphans", "--output", "json"]).ends(DONE).json();
        list.as_array().unwrap().iter().map(|account| account["record"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(orphans(), [] as [Value; 0]);
    fs::remove_file(place.path("m/u2.yaml")).unwrap();
    assert_eq!(orphans(), [json!("u2")]);
    place.run(&["apply", "-f", "m", "--yes"]).ends(DONE);
    assert_eq!(orphans(), [json!("u2")], "disabled, and rosterd's own still");
}
