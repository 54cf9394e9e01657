//! An address that another program has.

use std::net::TcpListener;

use super::*;

#[test]
fn an_address_that_is_taken_stops_a_daemon_before_it_does_anything() {
    let place = Place::new();
    place.company(&["u1"]);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let text = format!("listen: {address}\nmanifests: [ {{ folder: m }} ]\ntargetsFrom: manifests\n");
    place.write("rosterd.yaml", &text);
    let refused = place.run(&["run", "--config", "rosterd.yaml"]).ends(ERROR);
    assert!(refused.err.contains("cannot be listened on"), "{refused:?}");
    refused.hints("another `listen`");
    let made: Vec<_> = fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!made.iter().any(|name| name.to_string_lossy().starts_with("rosterd-directory")), "{made:?}");
}
