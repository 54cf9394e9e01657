//! What the metrics promise to those who scrape them.

use std::io;
use std::io::Write;
use std::process::Command;
use std::process::Stdio;

use rosterd::connector::ErrorClass;
use rosterd::metrics::Metrics;
use rosterd::metrics::RETRY_REASONS;
use rosterd::model::ids::TargetName;

/// The metrics stand a floor below the connector port, so they spell its words themselves.
#[test]
fn every_error_class_is_a_retry_reason() {
    assert_eq!(ErrorClass::ALL.map(ErrorClass::as_str), RETRY_REASONS);
}

/// The linter of Prometheus finds missing help texts, wrong suffixes and odd units. It is
/// optional here, and `.ci/run` installs it.
#[test]
fn promtool_finds_nothing_to_say() {
    let metrics = Metrics::new();
    metrics.source("manifests");
    metrics.target(&TargetName::from("crm"));
    metrics.target(&TargetName::from("a \"quoted\" one"));
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        let said = "promtool is not installed; run tests/e2e/install";
        assert!(std::env::var_os("ROSTERD_E2E").is_none_or(|wanted| wanted != "require"), "{said}");
        // Not `eprintln!`: the test runner would swallow it, and a skip must be seen.
        io::stderr().write_all(format!("skipped: {said}\n").as_bytes()).expect("standard error");
        return;
    };
    promtool.stdin.take().expect("piped").write_all(metrics.encode().as_bytes()).expect("promtool reads");
    let said = promtool.wait_with_output().expect("promtool ends");
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && text.trim().is_empty(), "{text}");
}
