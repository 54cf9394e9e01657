use std::time::Duration;

use chrono::DateTime;

use super::*;
use crate::model::account::AccountState;
use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Effect;
use crate::model::history::CycleResult;
use crate::model::history::Trigger;
use crate::model::plan::HoldKind;

fn crm() -> TargetName {
    TargetName::from("crm")
}

/// The value of the one line that begins with `series`.
fn value(metrics: &Metrics, series: &str) -> Option<String> {
    let text = metrics.encode();
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next().map(str::to_owned)
}

#[test]
fn every_series_of_a_target_is_there_from_zero() {
    let metrics = Metrics::new();
    metrics.target(&crm());
    for series in [
        r#"rosterd_cycles_total{result="failed",target="crm",trigger="validity"}"#,
        r#"rosterd_cycle_duration_seconds_count{kind="keyed",target="crm"}"#,
        r#"rosterd_last_success_timestamp_seconds{target="crm"}"#,
        r#"rosterd_changes_total{action="disable",cause="inferred",effect="narrows",result="refused",target="crm"}"#,
        r#"rosterd_changes_total{action="create",cause="none",effect="widens",result="done",target="crm"}"#,
        r#"rosterd_drift{action="revert",target="crm"}"#,
        r#"rosterd_accounts{state="deleted-recoverable",target="crm"}"#,
        r#"rosterd_unmanaged{target="crm"}"#,
        r#"rosterd_conflicts{target="crm"}"#,
        r#"rosterd_queue_depth{target="crm"}"#,
        r#"rosterd_queue_oldest_seconds{target="crm"}"#,
        r#"rosterd_retries_total{reason="rate-limited",target="crm"}"#,
        r#"rosterd_connector_requests_total{code="429",operation="update",target="crm"}"#,
        r#"rosterd_connector_request_duration_seconds_count{operation="list",target="crm"}"#,
        r#"rosterd_revocations_owed{reason="hold",target="crm"}"#,
        r#"rosterd_revocation_oldest_seconds{reason="mode",target="crm"}"#,
        r#"rosterd_revocation_seconds_bucket{target="crm",le="900"}"#,
        r#"rosterd_provision_seconds_count{target="crm"}"#,
        r#"rosterd_holds{limit="first-contact",target="crm"}"#,
        r#"rosterd_quarantined{target="crm"}"#,
        r#"rosterd_accounts_missing{target="crm"}"#,
        r#"rosterd_connector_panics_total{target="crm"}"#,
    ] {
        assert_eq!(value(&metrics, series).as_deref(), Some("0"), "{series}");
    }
}

#[test]
fn an_effect_that_an_action_cannot_have_has_no_series() {
    let metrics = Metrics::new();
    metrics.target(&crm());
    let text = metrics.encode();
    assert!(!text.contains(r#"action="create",cause="explicit""#));
    assert!(!text.contains(r#"action="disable",cause="none""#));
    assert!(!text.contains("swaps"));
}

#[test]
fn what_happened_is_counted_where_it_belongs() {
    let metrics = Metrics::new();
    let target = metrics.target(&crm());
    target.cycle(Trigger::Manual, true, CycleResult::Ok, Duration::from_secs(2));
    target.change(Action::Disable, Effect::Narrows, Some(Cause::Explicit), ChangeResult::Done);
    target.set_accounts(AccountState::Active, 41);
    target.set_held(HoldKind::NarrowInferred, 7);
    target.request(Request::List, Answer::Status(299), Duration::from_millis(3));
    target.request(Request::List, Answer::Silence, Duration::from_secs(10));
    target.set_owed(OwedReason::Hold, 7, Duration::from_mins(1));
    target.succeeded(DateTime::from_timestamp_millis(1_500).expect("a time"));
    for (series, expected) in [
        (r#"rosterd_cycles_total{result="ok",target="crm",trigger="manual"}"#, "1"),
        (r#"rosterd_cycle_duration_seconds_sum{kind="full",target="crm"}"#, "2"),
        (
            r#"rosterd_changes_total{action="disable",cause="explicit",effect="narrows",result="done",target="crm"}"#,
            "1",
        ),
        (r#"rosterd_accounts{state="active",target="crm"}"#, "41"),
        (r#"rosterd_holds{limit="narrow.inferred",target="crm"}"#, "7"),
        (r#"rosterd_connector_requests_total{code="2xx",operation="list",target="crm"}"#, "1"),
        (r#"rosterd_connector_requests_total{code="none",operation="list",target="crm"}"#, "1"),
        (r#"rosterd_revocation_oldest_seconds{reason="hold",target="crm"}"#, "60"),
        (r#"rosterd_last_success_timestamp_seconds{target="crm"}"#, "1.5"),
    ] {
        assert_eq!(value(&metrics, series).as_deref(), Some(expected), "{series}");
    }
}

#[test]
fn asking_twice_for_a_target_gives_the_same_counters() {
    let metrics = Metrics::new();
    metrics.target(&crm()).retry("transient");
    metrics.target(&crm()).retry("transient");
    assert_eq!(value(&metrics, r#"rosterd_retries_total{reason="transient",target="crm"}"#).as_deref(), Some("2"));
}

#[test]
fn a_forgotten_target_leaves_no_series_and_may_come_back_at_zero() {
    let metrics = Metrics::new();
    metrics.target(&crm()).set_unmanaged(3);
    metrics.target(&TargetName::from("wiki")).set_unmanaged(5);
    metrics.forget(&crm());
    assert!(!metrics.encode().contains("crm"));
    assert_eq!(value(&metrics, r#"rosterd_unmanaged{target="wiki"}"#).as_deref(), Some("5"));
    metrics.target(&crm());
    assert_eq!(value(&metrics, r#"rosterd_unmanaged{target="crm"}"#).as_deref(), Some("0"));
}

#[test]
fn every_status_has_a_label_that_was_announced() {
    for status in 0..=1000 {
        assert!(Answer::CODES.contains(&Answer::Status(status).code()), "{status}");
    }
}

#[test]
fn a_source_shows_zero_until_it_was_read() {
    let metrics = Metrics::new();
    let source = metrics.source("manifests");
    let read = r#"rosterd_source_last_success_timestamp_seconds{source="manifests"}"#;
    assert_eq!(value(&metrics, read).as_deref(), Some("0"));
    source.succeeded(DateTime::from_timestamp(1_700_000_000, 0).expect("a time"));
    source.hold_shrink(true);
    assert_eq!(value(&metrics, read).as_deref(), Some("1700000000"));
    assert_eq!(value(&metrics, r#"rosterd_shrink_held{source="manifests"}"#).as_deref(), Some("1"));
}
