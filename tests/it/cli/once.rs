//! How often a command that runs a cycle lists the target.

use axum::http::Method;

use crate::cli::Place;
use crate::cli::TARGET;
use crate::support::scim_server::FakeScim;
use crate::support::scim_server::Knobs;
use crate::support::scim_server::TOKEN;

/// Applies once more; how many pages the target was asked for.
fn pages(place: &Place, server: &FakeScim, arguments: &[&str]) -> usize {
    server.inside().seen.clear();
    let mut apply = place.command(&[&["apply", "--config", "rosterd.yaml"], arguments].concat());
    let said = apply.env("CRM_TOKEN", TOKEN).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    let listed = |query: &str| query.contains("startIndex") && !query.ends_with("count=1");
    server.calls(&Method::GET, "/Users").iter().filter(|seen| listed(&seen.query)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_whose_plan_nobody_is_shown_or_asked_about_lists_the_target_once() {
    let server = FakeScim::start(Knobs::default()).await;
    let place = Place::new();
    place.company(&["u1", "u2"]);
    let (url, origin) = (&server.url, server.url.trim_end_matches("/scim/v2"));
    let (target, role) = TARGET.split_once("---").unwrap();
    let connector = format!(
        "connector: {{ scim: {{}} }}\n  environment: test\n  environments:\n    test: {{ url: \"{url}\", auth: {{ \
         bearer: {{ secret: crm }} }} }}"
    );
    place.write("targets/crm.yaml", &target.replace("connector: { directory: {} }", &connector));
    place.write("m/target.yaml", role);
    place.write(
        "rosterd.yaml",
        &format!(
            "listen: 127.0.0.1:0\nmanifests: [ {{ folder: m }} ]\ninclude: [ targets ]\nsecrets:\n  crm: {{ env: \
             CRM_TOKEN, origins: [\"{origin}\"] }}\n"
        ),
    );
    pages(&place, &server, &["--yes"]);
    assert_eq!(server.inside().users.len(), 2);
    let shown = pages(&place, &server, &["--yes"]);
    assert_eq!(pages(&place, &server, &["--output", "json"]), shown, "somebody may have to be asked");
    assert_eq!(pages(&place, &server, &["--yes", "--output", "json"]) * 2, shown);
}
