//! Where a daemon answers: an address that another program has, and a word that commands find.

use std::net::TcpListener;

use rosterd::app;
use rosterd::app::App;
use rosterd::app::Purpose;
use rosterd::settings::Settings;

use super::*;

#[tokio::test]
async fn a_look_that_began_before_the_daemon_takes_nothing_of_it_away() {
    let place = Place::new();
    place.company(&["u1"]);
    let text = "listen: 127.0.0.1:0\nmanifests: [ { folder: m } ]\ntargetsFrom: manifests\n";
    place.write("rosterd.yaml", text);
    let settings = Settings::read(&place.path("rosterd.yaml")).unwrap();
    let look = App::open(settings.clone(), Purpose::Look).await.unwrap();
    let mut daemon = App::open(settings.clone(), Purpose::Daemon).await.unwrap();
    let serving = daemon.serve().await.unwrap();
    look.stop().await;
    assert_eq!(app::running(&settings).as_ref(), Some(&serving.address));
    assert!(app::local_token(&settings).is_some());
    serving.close().await;
    daemon.stop().await;
    assert_eq!(app::running(&settings), None);
}

#[tokio::test]
async fn a_daemon_starts_though_one_that_was_killed_left_its_address_and_a_command_has_the_store() {
    let place = Place::new();
    place.company(&["u1"]);
    place.write("rosterd.yaml", "listen: 127.0.0.1:0\nmanifests: [ { folder: m } ]\ntargetsFrom: manifests\n");
    let settings = Settings::read(&place.path("rosterd.yaml")).unwrap();
    let command = App::open(settings.clone(), Purpose::Act).await.unwrap();
    // Bound, so that it is nobody else's meanwhile; nothing listens there.
    let killed = tokio::net::TcpSocket::new_v4().unwrap();
    killed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = killed.local_addr().unwrap();
    place.write("rosterd.run", &format!(r#"{{ "server": "http://{nobody}" }}"#));
    let mut opening = std::pin::pin!(App::open(settings.clone(), Purpose::Daemon));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut opening).await;
    assert!(early.is_err(), "it waits while the command has the store");
    command.stop().await;
    let mut daemon = opening.await.unwrap();
    let serving = daemon.serve().await.unwrap();
    assert_eq!(app::running(&settings).as_ref(), Some(&serving.address));
    serving.close().await;
    daemon.stop().await;
}

#[cfg(unix)]
#[test]
fn who_asks_a_daemon_that_hangs_is_told_what_to_do() {
    let place = Place::new();
    place.company(&["u1"]);
    let daemon = Daemon::start(&place);
    let pid = daemon.child.id().to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    signal("-STOP");
    place.run(&["revoke", "u1", "--yes", "--config", "rosterd.yaml"]).ends(ERROR).hints("rosterd.db.stop");
    signal("-CONT");
    assert_eq!(daemon.stop(), DONE);
}

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
