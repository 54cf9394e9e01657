//! A revocation says "no access anywhere" only where a receipt would; what is left behind is told.

use std::fs;

use crate::cli::DONE;
use crate::cli::ERROR;
use crate::cli::HELD;
use crate::cli::Place;
use crate::cli::TARGET;

#[test]
fn who_is_revoked_in_a_place_that_no_document_names_is_not_said_to_be_out() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.write("m/target.yaml", &TARGET.replace("crm", "erp"));
    place.run(&["apply", "-f", "m", "--yes"]).ends(DONE);
    let status = place.run(&["status"]).ends(DONE);
    assert!(status.out.contains("left behind: 2 accounts are left behind in `crm`"), "{status:?}");
    assert!(status.out.contains("put the document of `crm` back"), "{status:?}");
    assert!(place.run(&["owed"]).ends(DONE).out.contains("nothing is owed"), "nobody is to be out yet");

    let said = place.run(&["revoke", "--yes", "u1"]).ends(HELD);
    assert!(!said.out.contains("no access anywhere"), "{said:?}");
    assert!(
        said.out.contains("NOT confirmed out everywhere: `crm` shows") && said.out.contains("embedded/crm"),
        "{said:?}"
    );
    let owed = place.run(&["owed"]).ends(DONE);
    assert!(owed.out.contains("u1") && owed.out.contains("left-behind") && !owed.out.contains("u2"), "{owed:?}");
    let owed = place.run(&["owed", "--output", "json"]).ends(DONE).json();
    assert_eq!(owed["left_behind"][0]["owed"][0]["record"], "u1");
    let status = place.run(&["status", "crm", "--output", "json"]).ends(DONE).json();
    assert_eq!((&status["left_behind"][0]["accounts"], &status["targets"]), (&2.into(), &serde_json::json!([])));
    let explained = place.run(&["explain", "u1"]).ends(DONE);
    assert!(explained.out.contains("left behind: account") && explained.out.contains("`crm`"), "{explained:?}");

    let grants = "{ target: crm, level: all }";
    place.write("m/target.yaml", &TARGET.replace(grants, &format!("{grants}, {}", grants.replace("crm", "erp"))));
    place.write("m/erp.yaml", TARGET.replace("crm", "erp").split("---").next().unwrap());
    place.run(&["apply", "-f", "m", "--yes"]);
    let back = place.run(&["revoke", "--yes", "u1"]).ends(DONE);
    assert!(back.out.contains("has no access anywhere"), "the document is back: {back:?}");
    assert!(place.run(&["owed"]).ends(DONE).out.contains("nothing is owed"));
}

/// A target whose document goes together with every grant there takes nobody out: that is said.
#[test]
fn an_apply_that_leads_nowhere_says_whom_it_leaves_behind() {
    let place = Place::new();
    place.company(&["u1"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.write(
        "m/target.yaml",
        "apiVersion: rosterd.dev/v1\nkind: Role\nmetadata: { name: agent }\nspec: { grants: [] }\n",
    );
    let applied = place.run(&["apply", "-f", "m", "--yes"]);
    assert!(applied.out.contains("no target document"), "{applied:?}");
    assert!(applied.err.contains("left behind:") && applied.err.contains("crm"), "{applied:?}");
}

#[test]
fn who_is_revoked_beside_an_account_that_fits_and_is_not_rosterds_is_not_said_to_be_out() {
    let place = Place::new();
    place.company(&["u1"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    for file in ["rosterd.db", "rosterd.db-wal", "rosterd.db-shm", "rosterd.heads"] {
        drop(fs::remove_file(place.path(file)));
    }
    place.run(&["apply", "-f", "m"]);
    let said = place.run(&["revoke", "--yes", "u1"]).ends(HELD);
    assert!(said.out.contains("which fits the user and is not rosterd's"), "{said:?}");
    assert!(!said.out.contains("no access anywhere"), "{said:?}");
}

#[test]
fn a_revocation_is_not_cut_short_by_another() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.run(&["revoke", "--yes", "u1"]).ends(DONE);
    let refused = place.run(&["revoke", "--yes", "u1", "--until", "14d"]).ends(ERROR);
    assert!(refused.err.contains("without an end") && refused.err.contains("rosterd restore u1"), "{refused:?}");
    place.run(&["revoke", "--yes", "u2", "--until", "14d"]).ends(DONE);
    place.run(&["revoke", "--yes", "u2", "--until", "7d"]).ends(ERROR);
    place.run(&["revoke", "--yes", "u2", "--until", "21d"]).ends(DONE);
    place.run(&["revoke", "--yes", "u2"]).ends(DONE);
    let status = place.run(&["status", "--output", "json"]).ends(DONE).json();
    for user in ["u1", "u2"] {
        assert!(status["revoked"][user]["until"].is_null(), "{status}");
    }
    place.run(&["restore", "u1"]).ends(DONE);
    place.run(&["revoke", "--yes", "u1", "--until", "14d"]).ends(DONE);
}
