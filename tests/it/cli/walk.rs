//! What somebody meets who walks through the commands for the first time.

use std::fs;

use crate::cli::DONE;
use crate::cli::ERROR;
use crate::cli::HELD;
use crate::cli::Place;
use crate::cli::STALE;
use crate::cli::TARGET;
use crate::cli::person;

/// Only the document of a target, named `name`.
fn another(name: &str) -> String {
    TARGET.replace("crm", name).split("---").next().unwrap().to_owned()
}

#[test]
fn another_folder_with_fewer_targets_and_users_is_held() {
    let place = Place::new();
    let users: Vec<String> = (1..=8).map(|number| format!("u{number}")).collect();
    place.company(&users.iter().map(String::as_str).collect::<Vec<_>>());
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.write("other/target.yaml", &TARGET.replace("crm", "erp"));
    place.write("other/v1.yaml", &person("v1", true));
    let planned = place.run(&["plan", "-f", "other"]).ends(HELD);
    assert!(planned.err.contains("8 of 8 grants of access away"), "{planned:?}");
    let applied = place.run(&["apply", "-f", "other", "--yes"]).ends(HELD);
    assert!(applied.err.contains("rosterd accept-shrink "), "{applied:?}");
    assert!(place.run(&["owed"]).ends(DONE).out.contains("nothing is owed"));
    assert!(place.run(&["status"]).ends(DONE).out.contains(": 8 users, "));
}

#[test]
fn an_apply_after_which_something_is_owed_is_not_green_and_the_question_is() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.write("m/erp.yaml", &another("erp"));
    let both = "{ target: crm, level: all }, { target: erp, level: all }";
    place.write("m/target.yaml", &TARGET.replace("{ target: crm, level: all }", both));
    place.run(&["apply", "-f", "m"]).ends(DONE);
    fs::remove_file(place.path("m/erp.yaml")).unwrap();
    place.write("m/target.yaml", TARGET);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.write("m/u1.yaml", &person("u1", false));
    let applied = place.run(&["apply", "-f", "m", "--yes"]).ends(HELD);
    assert!(applied.err.contains("owed: 1 end of access") && applied.err.contains("`rosterd owed`"), "{applied:?}");
    place.run(&["apply", "-f", "m", "--yes", "--output", "json"]).ends(HELD);
    place.run(&["apply", "-f", "m", "--yes", "--target", "crm"]).ends(DONE);
    place.run(&["apply", "-f", "m", "--yes", "--user", "u2"]).ends(DONE);
    let owed = place.run(&["owed"]).ends(DONE);
    assert!(owed.out.contains("left-behind"), "{owed:?}");
}

#[test]
fn what_a_documents_own_mode_forbids_is_no_failure_of_an_apply() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.write("m/target.yaml", &TARGET.replace("enforce", "observe"));
    place.write("m/u1.yaml", &person("u1", false));
    place.run(&["apply", "-f", "m", "--yes"]).ends(DONE);
    place.write("m/target.yaml", TARGET);
    place.run(&["suspend", "crm"]).ends(DONE);
    let held = place.run(&["apply", "-f", "m", "--yes"]).ends(ERROR);
    assert!(held.err.contains("rosterd resume crm"), "what a person forbids is told: {held:?}");
}

#[test]
fn a_name_that_nobody_has_is_an_error_which_tells_the_nearest() {
    let place = Place::new();
    place.company(&["anna", "bert"]);
    let unknown = |arguments: &[&str], hint: &str| {
        let said = place.run(arguments).ends(ERROR);
        assert!(said.err.contains("no user `") || said.err.contains("no target `"), "{arguments:?}: {said:?}");
        said.hints(hint);
    };
    unknown(&["plan", "-f", "m", "--user", "ana"], "did you mean `anna`?");
    unknown(&["apply", "-f", "m", "--user", "zoe"], "metadata.name");
    unknown(&["apply", "-f", "m", "--user", "anna@x.example"], "did you mean `anna`?");
    unknown(&["apply", "-f", "m", "--yes", "--output", "json", "--user", "ana"], "did you mean `anna`?");
    place.run(&["apply", "-f", "m"]).ends(DONE);
    unknown(&["history", "cmr"], "did you mean `crm`?");
    unknown(&["history", "nowhere"], "rosterd targets");
    unknown(&["accounts", "cmr"], "did you mean `crm`?");
    unknown(&["explain", "ana"], "did you mean `anna`?");
    unknown(&["requests", "list", "--user", "ana"], "did you mean `anna`?");
    unknown(&["audit", "tail", "--target", "cmr"], "did you mean `crm`?");
    unknown(&["plan", "-f", "m", "--target", "cmr"], "did you mean `crm`?");

    // Whom the store knows is somebody, though no document is left.
    fs::remove_file(place.path("m/bert.yaml")).unwrap();
    place.run(&["plan", "-f", "m", "--user", "bert"]).ends(DONE);
    place.run(&["apply", "-f", "m", "--user", "bert", "--yes"]).ends(DONE);
    place.write("m/target.yaml", &TARGET.replace("crm", "erp"));
    place.run(&["apply", "-f", "m", "--yes"]);
    place.run(&["history", "crm"]).ends(DONE);
}

#[test]
fn status_counts_the_requests_that_wait_and_says_how_to_see_them() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.write("m/target.yaml", &TARGET.replace("  mode: enforce\n", "  mode: enforce\n  approval: {}\n"));
    place.run(&["apply", "-f", "m"]).ends(DONE);
    let status = place.run(&["status"]).ends(DONE);
    assert!(status.out.contains("2 requests"), "{status:?}");
    assert!(status.out.contains("wait for a person: `rosterd requests list --target crm`"), "{status:?}");
    assert_eq!(place.run(&["status", "--output", "json"]).ends(DONE).json()["targets"][0]["requests"], 2);
}

#[test]
fn a_saved_plan_that_was_applied_says_so_and_one_that_was_overtaken_does_not() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.run(&["plan", "-f", "m", "--out", "saved.json"]).ends(DONE);
    place.run(&["apply", "saved.json", "-f", "m"]).ends(DONE);
    let again = place.run(&["apply", "saved.json", "-f", "m"]).ends(DONE);
    assert!(again.out.contains("create `u1` in crm: it was applied already"), "{again:?}");
    assert!(!again.out.contains("no longer follows"), "{again:?}");
    // What the documents ask for by now is another matter.
    place.write("m/u1.yaml", &person("u1", false));
    place.write("m/u2.yaml", &person("u2", true).replace("Ada", "Eva"));
    let late = place.run(&["apply", "saved.json", "-f", "m"]);
    assert!(late.code == STALE && late.out.contains("skipped create `u1` in crm: it no longer follows"), "{late:?}");
}

#[test]
fn explain_tells_of_whom_no_document_declares_what_is_known() {
    let place = Place::new();
    place.company(&["u1", "u2", "u3"]);
    place.write("m/erp.yaml", &another("erp"));
    place.run(&["apply", "-f", "m"]).ends(DONE);
    fs::remove_file(place.path("m/u1.yaml")).unwrap();
    place.run(&["suspend", "crm"]).ends(DONE);
    drop(place.run(&["apply", "-f", "m", "--yes"]));
    let owing = place.run(&["explain", "u1"]).ends(DONE);
    assert!(owing.out.contains("u1 in crm") && owing.out.contains("declared     nowhere"), "{owing:?}");
    assert!(owing.out.contains("history ") && owing.err.is_empty(), "{owing:?}");
    place.run(&["resume", "crm"]).ends(DONE);
    place.run(&["apply", "-f", "m", "--yes"]).ends(DONE);
    let gone = place.run(&["explain", "u1"]).ends(DONE);
    assert!(gone.out.contains("disable") && gone.err.is_empty(), "{gone:?}");
    // Nor is it an error where nothing that knew them is declared any more.
    place.write("m/target.yaml", &TARGET.replace("target: crm", "target: erp").replace("name: crm", "name: erp"));
    fs::remove_file(place.path("m/erp.yaml")).unwrap();
    place.run(&["apply", "-f", "m", "--yes"]);
    let before = place.run(&["explain", "u1"]).ends(DONE);
    assert!(before.out.contains("rosterd receipt u1"), "{before:?}");
}

#[cfg(unix)]
#[test]
fn who_may_read_the_store_and_not_write_it_plans_all_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.company(&["u1"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.write("m/u2.yaml", &person("u2", true));
    let before = fs::read(place.path("rosterd.db")).unwrap();
    let all: Vec<_> = fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let files: Vec<_> = all.into_iter().filter(|path| path.is_file()).collect();
    let mode = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for path in &files {
        mode(path, 0o400);
    }
    mode(&place.path("."), 0o500);
    let planned = place.run(&["plan", "-f", "m", "--output", "json"]);
    let owed = place.run(&["owed"]);
    let acted = place.run(&["apply", "-f", "m"]);
    mode(&place.path("."), 0o700);
    for path in &files {
        mode(path, 0o600);
    }
    let plan = planned.ends(DONE).json();
    assert_eq!(
        (&plan["plans"][0]["changes"][0]["record"], &plan["plans"][0]["changes"][1]),
        (&"u2".into(), &().into())
    );
    owed.ends(DONE);
    assert!(acted.ends(ERROR).err.contains("read-only"), "who acts must write");
    assert_eq!(fs::read(place.path("rosterd.db")).unwrap(), before);
    place.run(&["apply", "-f", "m"]).ends(DONE);
}

#[test]
fn status_says_what_broken_manifests_do_while_no_daemon_runs() {
    let place = Place::new();
    place.company(&["u1", "u2", "u3"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.write("m/u1.yaml", &person("u1", false));
    place.write("m/u2.yaml", &person("u2", true).replace("givenName", "givename"));
    place.run(&["apply", "-f", "m", "--yes"]).ends(ERROR);
    for form in ["text", "markdown"] {
        let status = place.run(&["status", "--output", form]).ends(DONE);
        assert!(status.out.contains("is NOT ended: no daemon runs here"), "{status:?}");
        assert!(status.out.contains("u2.yaml:5"), "{status:?}");
    }
    let accounts = place.run(&["accounts", "crm", "--state", "active", "--output", "json"]).ends(DONE).json();
    assert_eq!(accounts.as_array().unwrap().len(), 3);
}

#[test]
fn manifests_that_shrink_too_much_are_told_alike_everywhere_and_listed_among_the_holds() {
    let place = Place::new();
    let users: Vec<String> = (1..=8).map(|number| format!("u{number}")).collect();
    place.company(&users.iter().map(String::as_str).collect::<Vec<_>>());
    place.run(&["apply", "-f", "m"]).ends(DONE);
    for number in 1..=6 {
        fs::remove_file(place.path(&format!("m/u{number}.yaml"))).unwrap();
    }
    let planned = place.run(&["plan", "-f", "m"]).ends(HELD);
    let words = "6 of 8 grants of access away, so they wait for a person; until then only users whose own documents end \
                 their access lose it";
    assert!(planned.err.contains(words), "{planned:?}");
    let digest = planned.err.split("rosterd accept-shrink ").nth(1).unwrap().trim();
    for view in [&["status"][..], &["holds", "list"]] {
        let said = place.run(view).ends(DONE);
        assert!(said.out.contains(words) && said.out.contains(&format!("accept-shrink {digest}")), "{said:?}");
    }
    let listed = place.run(&["holds", "list", "--output", "markdown"]).ends(DONE);
    assert!(listed.out.contains("| shrink") && listed.out.contains(digest), "{listed:?}");
    assert_eq!(place.run(&["holds", "list", "--output", "json"]).ends(DONE).json()["shrink"]["lost"], 6);
    place.run(&["holds", "release", digest]).ends(ERROR).hints("rosterd accept-shrink");
}

#[test]
fn a_file_that_is_no_plan_is_not_overwritten_by_one_and_another_plan_is_not_without_a_word() {
    let place = Place::new();
    place.company(&["u1"]);
    place.run(&["plan", "-f", "m", "--out", "m/u1.yaml"]).ends(ERROR).hints("another path");
    assert_eq!(fs::read_to_string(place.path("m/u1.yaml")).unwrap(), person("u1", true));
    let plan = || place.run(&["plan", "-f", "m", "--out", "saved.json"]).ends(DONE);
    assert!(!plan().err.contains("is replaced") && !plan().err.contains("is replaced"));
    place.company(&["u1", "u2"]);
    assert!(plan().err.contains("`saved.json` held another plan, which is replaced"));
}

#[test]
fn apply_counts_conflicts_and_names_them() {
    let place = Place::new();
    place.company(&["u1", "u2"]);
    place.write("m/u3.yaml", &person("u3", true).replace("u3@x", "u2@x"));
    let applied = place.run(&["apply", "-f", "m"]).ends(DONE);
    let head = applied.out.lines().next().unwrap();
    assert!(head.contains("CONFLICTS"), "{applied:?}");
    let row: Vec<_> = applied.out.lines().nth(1).unwrap().split("  ").filter(|cell| !cell.is_empty()).collect();
    let at = head.split("  ").filter(|cell| !cell.is_empty()).position(|cell| cell.trim() == "CONFLICTS").unwrap();
    assert_eq!(row[at].trim(), "2", "{applied:?}");
    assert!(
        applied.out.contains("conflict `u2` in crm: ") && applied.out.contains("conflict `u3` in crm: "),
        "{applied:?}"
    );
}

#[test]
fn a_daemon_for_a_folder_that_is_not_there_begins_nothing() {
    let place = Place::new();
    place.company(&["u1"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    let refused = place.run(&["run", "-f", "nope"]).ends(ERROR);
    assert!(refused.err.contains("there is no folder `nope`; nothing was begun"), "{refused:?}");
    refused.hints("-f DIR");
    place.run(&["apply", "-f", "nope"]).ends(ERROR);
    // Neither leads later commands astray.
    let status = place.run(&["status"]).ends(DONE);
    assert!(status.out.contains("1 user, ") && status.out.contains("crm "), "{status:?}");
    assert_eq!(place.run(&["accounts", "crm", "--state", "active", "--output", "json"]).json()[0]["record"], "u1");
}

#[test]
fn a_link_says_what_it_does_and_is_asked_about() {
    let place = Place::new();
    place.company(&["u1"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    for file in ["rosterd.db", "rosterd.db-wal", "rosterd.db-shm", "rosterd.heads"] {
        drop(fs::remove_file(place.path(file)));
    }
    place.write("m/u2.yaml", &person("u2", true));
    place.run(&["apply", "-f", "m"]).ends(HELD);
    let refused = place.run(&["link", "u2", "u1@x.example"]).ends(ERROR);
    assert!(
        refused.err.contains("u1@x.example, active") && refused.err.contains("no command takes that back"),
        "{refused:?}"
    );
    refused.hints("--yes");
    place.run(&["link", "nobody", "u1@x.example", "--yes"]).ends(ERROR);
    let linked = place.run(&["link", "u1", "u1@x.example", "--yes"]);
    assert!(linked.out.contains("`u1` is linked to `u1@x.example`"), "{linked:?}");
}
