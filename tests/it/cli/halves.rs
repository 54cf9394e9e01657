//! Manifests that somebody is in the middle of writing.

use std::fs::File;
use std::io::Write;
use std::time::Instant;

use super::*;

#[cfg(target_os = "linux")]
#[test]
fn a_document_that_is_half_written_and_sound_all_the_same_takes_nobodys_access() {
    let place = Place::new();
    place.company(&["u1", "u2", "u3"]);
    let daemon = Daemon::start(&place);
    let run = |arguments: &[&str]| place.run(&[arguments, &["--config", "rosterd.yaml", "--output", "json"]].concat());
    until("the accounts", || run(&["accounts", "crm"]).json().as_array().map(Vec::len) == Some(3));
    let whole = person("u1", true);
    let (half, rest) = whole.split_at(whole.find("  roles:").unwrap());
    let mut writer = File::create(place.path("m/u1.yaml")).unwrap();
    writer.write_all(half.as_bytes()).unwrap();
    // As long as a slow writer takes: longer than it takes to be read.
    let begun = Instant::now();
    until("the pause", || begun.elapsed() > Duration::from_millis(1500));
    writer.write_all(rest.as_bytes()).unwrap();
    drop(writer);
    place.write("m/u2.yaml", &person("u2", false));
    until("the next load", || run(&["accounts", "crm", "--state", "inactive"]).json()[0]["record"] == "u2");
    let history = run(&["explain", "u1"]).json()["items"][0]["history"].clone();
    assert_eq!(history.as_array().map(Vec::len), Some(1), "{history}");
    assert_eq!(daemon.stop(), DONE);
}
