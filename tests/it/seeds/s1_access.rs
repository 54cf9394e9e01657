//! S1: access to a collections system ends and comes back, by each of three ways.

use std::time::Duration;

use chrono::TimeDelta;
use rosterd::connector::ErrorClass;
use rosterd::engine::Running;
use rosterd::model::change::Action;
use rosterd::model::history::Trigger;
use serde_json::Value;
use serde_json::json;

use crate::seeds::s1::assert_settings_kept;
use crate::seeds::s1::daily;
use crate::seeds::s1::sample;
use crate::seeds::s1::set_by_hand;
use crate::seeds::stage::Stage;

const COLLECTIONS: &str = "collections";
const ADA: &str = "s1-001";

/// Ada's role is taken out of her manifest.
fn takes_access(stage: &Stage) {
    stage.sample.edit("users.yaml", &[("roles: [collections-all-access]", "roles: [platform-only] # was: all")]);
    stage.saved();
}

/// And put in again.
fn gives_access_back(stage: &Stage) {
    stage.sample.edit("users.yaml", &[("roles: [platform-only] # was: all", "roles: [collections-all-access]")]);
    stage.saved();
}

async fn has_access(stage: &Stage) -> bool {
    stage.account(COLLECTIONS, ADA).await["active"] == true
}

/// A daemon on paused time, Ada's settings made by hand, and her account before anything befell it.
async fn with_settings() -> (Stage, Value) {
    let stage = Stage::on_paused_time(sample()).await;
    stage.until_active(COLLECTIONS, 3).await;
    set_by_hand(&stage, ADA).await;
    let account = stage.account(COLLECTIONS, ADA).await;
    (stage, account)
}

async fn assert_same_account(stage: &Stage, before: &Value) {
    let after = stage.account(COLLECTIONS, ADA).await;
    assert_eq!((&after["id"], &after["active"]), (&before["id"], &json!(true)));
    assert_settings_kept(&after);
    assert_eq!(stage.accounts(COLLECTIONS).await.len(), 3, "nobody is made twice");
}

#[tokio::test]
async fn s1_10_access_ends_within_minutes_of_the_manifest() {
    let stage = Stage::live(sample()).await;
    stage.until_active(COLLECTIONS, 3).await;
    let saved = stage.clock.now();
    takes_access(&stage);
    stage.until("no access", async |stage| !has_access(stage).await).await;
    assert!(stage.clock.now() - saved < TimeDelta::minutes(15));
    stage.until_idle(COLLECTIONS).await;
    assert!(stage.cycle_that_did(COLLECTIONS, Trigger::Manifest, Action::Disable).await.is_some());
    assert_eq!(stage.active(COLLECTIONS).await, ["s1-002", "s1-003"], "nobody else loses anything");
    stage.assert_settled(COLLECTIONS).await;
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn s1_10_access_ends_within_minutes_even_where_the_target_refuses_at_first() {
    let (stage, _) = with_settings().await;
    stage.refusals.lock().unwrap().extend([ErrorClass::Refused; 8]);
    let saved = stage.clock.now();
    takes_access(&stage);
    let told = async |stage: &Stage| stage.status(COLLECTIONS).owed.iter().any(|owed| owed.record.as_str() == ADA);
    stage.until("it is owed", told).await;
    let patience = saved + TimeDelta::minutes(15);
    while has_access(&stage).await {
        assert!(stage.clock.now() < patience, "still active after a quarter of an hour");
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    stage.until("it is owed no more", async |stage| stage.status(COLLECTIONS).owed.is_empty()).await;
    stage.assert_settled(COLLECTIONS).await;
    stage.end().await;
}

#[tokio::test]
async fn s1_10_access_ends_right_after_a_manual_cycle() {
    let stage = Stage::idle(sample()).await;
    stage.engine.start(Running::Once).await.unwrap();
    stage.sync(COLLECTIONS).await;
    takes_access(&stage);
    stage.engine.reload().await.unwrap();
    assert!(has_access(&stage).await, "nothing runs by itself here");
    let report = stage.sync(COLLECTIONS).await;
    assert_eq!((report.cycle.trigger, &report.cycle.done["disable"]), (Trigger::Manual, &1));
    assert!(!has_access(&stage).await);
    stage.assert_settled(COLLECTIONS).await;
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn s1_10_the_daily_cycle_ends_access_that_somebody_gave_back_in_the_target() {
    let (stage, _) = with_settings().await;
    takes_access(&stage);
    stage.until("no access", async |stage| !has_access(stage).await).await;
    stage.until_idle(COLLECTIONS).await;
    tokio::time::sleep(Duration::from_hours(36)).await;
    stage.by_hand(COLLECTIONS, ADA, &[("active", json!(true))]).await;
    let daily = daily() + TimeDelta::days(1);
    stage.sleep_until(daily).await;
    assert!(has_access(&stage).await, "not before three o'clock");
    stage.until("no access again", async |stage| !has_access(stage).await).await;
    stage.until_idle(COLLECTIONS).await;
    let cycle = stage.cycle_that_did(COLLECTIONS, Trigger::Schedule, Action::Disable).await.unwrap();
    assert!(cycle.started - daily <= TimeDelta::seconds(30), "{}", cycle.started);
    stage.assert_settled(COLLECTIONS).await;
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn s1_11_access_comes_back_to_the_same_account_by_the_manifest() {
    let (stage, before) = with_settings().await;
    takes_access(&stage);
    stage.until("no access", async |stage| !has_access(stage).await).await;
    assert_settings_kept(&stage.account(COLLECTIONS, ADA).await);
    gives_access_back(&stage);
    stage.until("access", has_access).await;
    stage.until_idle(COLLECTIONS).await;
    assert!(stage.cycle_that_did(COLLECTIONS, Trigger::Manifest, Action::Reactivate).await.is_some());
    assert_same_account(&stage, &before).await;
    stage.assert_settled(COLLECTIONS).await;
    assert_same_account(&stage, &before).await;
    stage.end().await;
}

#[tokio::test]
async fn s1_11_access_comes_back_to_the_same_account_right_after_a_manual_cycle() {
    let stage = Stage::idle(sample()).await;
    stage.engine.start(Running::Once).await.unwrap();
    stage.sync(COLLECTIONS).await;
    set_by_hand(&stage, ADA).await;
    let before = stage.account(COLLECTIONS, ADA).await;
    takes_access(&stage);
    stage.engine.reload().await.unwrap();
    stage.sync(COLLECTIONS).await;
    gives_access_back(&stage);
    stage.engine.reload().await.unwrap();
    assert!(!has_access(&stage).await, "nothing runs by itself here");
    let report = stage.sync(COLLECTIONS).await;
    assert_eq!((report.cycle.trigger, &report.cycle.done["reactivate"]), (Trigger::Manual, &1));
    assert_same_account(&stage, &before).await;
    stage.assert_settled(COLLECTIONS).await;
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn s1_11_access_comes_back_to_the_same_account_in_the_daily_cycle() {
    let (stage, before) = with_settings().await;
    takes_access(&stage);
    stage.until("no access", async |stage| !has_access(stage).await).await;
    stage.until_idle(COLLECTIONS).await;
    // What the manifest's own trigger would do at once is not taken by the target.
    stage.refusals.lock().unwrap().push_back(ErrorClass::Refused);
    gives_access_back(&stage);
    stage.until("the refusal", async |stage| stage.status(COLLECTIONS).failures.contains_key(&ADA.into())).await;
    stage.sleep_until(daily() - TimeDelta::seconds(1)).await;
    assert!(!has_access(&stage).await, "not before three o'clock");
    stage.until("access", has_access).await;
    stage.until_idle(COLLECTIONS).await;
    assert!(stage.cycle_that_did(COLLECTIONS, Trigger::Schedule, Action::Reactivate).await.is_some());
    assert_same_account(&stage, &before).await;
    stage.assert_settled(COLLECTIONS).await;
    stage.end().await;
}
