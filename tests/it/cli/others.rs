//! A command about one user does nothing about anybody else.

use super::*;

/// Three people with accounts; then one joins, and one leaves whom nobody has agreed to end.
fn company() -> Place {
    let place = Place::new();
    place.company(&["u1", "u2", "u3"]);
    place.run(&["apply", "-f", "m"]).ends(DONE);
    place.write("m/u2.yaml", &person("u2", false));
    place.write("m/u4.yaml", &person("u4", true));
    place
}

fn states(place: &Place) -> Vec<(String, String)> {
    let accounts = place.run(&["accounts", "crm", "--output", "json"]).ends(DONE).json();
    let rows = accounts["items"].as_array().or(accounts.as_array()).unwrap().clone();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let mut rows: Vec<_> = rows.iter().map(|row| (text(row, "record"), text(row, "state"))).collect();
    rows.sort();
    rows
}

#[track_caller]
fn has(place: &Place, expected: &[(&str, &str)]) {
    let found = states(place);
    let found: Vec<_> = found.iter().map(|(record, state)| (record.as_str(), state.as_str())).collect();
    assert_eq!(found, expected);
}

const AS_BEFORE: [(&str, &str); 3] = [("u1", "active"), ("u2", "active"), ("u3", "active")];

#[test]
fn an_apply_of_one_user_ends_and_begins_nobody_elses_access() {
    let place = company();
    let applied = place.run(&["apply", "-f", "m", "--user", "u1"]).ends(DONE);
    assert!(applied.out.contains("nothing to do"), "{applied:?}");
    has(&place, &AS_BEFORE);
    place.run(&["apply", "-f", "m", "--user", "u4"]).ends(DONE);
    has(&place, &[AS_BEFORE[0], AS_BEFORE[1], AS_BEFORE[2], ("u4", "active")]);
    place.run(&["apply", "-f", "m", "--yes"]).ends(DONE);
    has(&place, &[AS_BEFORE[0], ("u2", "disabled"), AS_BEFORE[2], ("u4", "active")]);
}

/// What somebody was asked about and did not agree to is not made by a word about somebody else.
#[test]
fn a_plan_that_was_declined_is_not_carried_out_by_a_word_about_another_user() {
    let place = company();
    place.run(&["apply", "-f", "m"]).ends(ERROR).hints("--yes");
    place.run(&["revoke", "u3", "--yes"]).ends(DONE);
    has(&place, &[AS_BEFORE[0], AS_BEFORE[1], ("u3", "disabled")]);
    place.run(&["restore", "u3"]).ends(DONE);
    has(&place, &AS_BEFORE);
}

/// L5: "nothing is owed" is said by who has looked, not by who was asked too early.
#[test]
fn what_is_owed_is_told_each_time_that_somebody_asks() {
    let place = company();
    place.run(&["revoke", "u3", "--yes"]).ends(DONE);
    for _ in 0..8 {
        let owed = place.run(&["owed"]).ends(DONE);
        assert!(owed.out.contains("u2"), "{owed:?}");
    }
}
