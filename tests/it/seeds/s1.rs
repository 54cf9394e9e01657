//! S1: users of a platform in a collections system.

use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use rosterd::connector::ErrorClass;
use rosterd::model::change::Action;
use rosterd::model::history::Trigger;
use serde_json::Value;
use serde_json::json;

use crate::seeds::sample::Sample;
use crate::seeds::stage::Stage;

const COLLECTIONS: &str = "collections";
/// What people of the collections system set there, and no manifest maps.
pub(crate) const SETTINGS: &str = "urn:example:params:scim:schemas:collections:1.0:User";

pub(crate) fn sample() -> Sample {
    Sample::of("s1-collections")
}

/// A person's settings in the target, made by hand.
pub(crate) fn settings() -> Vec<(String, Value)> {
    vec![
        (format!("{SETTINGS}:mailbox"), json!("credit-north@acme.example")),
        (format!("{SETTINGS}:portfolios"), json!(["north", "key accounts"])),
        (format!("{SETTINGS}:companies"), json!(["1000", "2000"])),
        ("roles".to_owned(), json!([{ "value": "Portfolio Manager" }])),
    ]
}

pub(crate) async fn set_by_hand(stage: &Stage, record: &str) {
    let settings = settings();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    stage.by_hand(COLLECTIONS, record, &settings).await;
}

#[track_caller]
pub(crate) fn assert_settings_kept(account: &Value) {
    let own = &account[SETTINGS];
    assert_eq!(own["mailbox"], "credit-north@acme.example", "{account:#}");
    assert_eq!(own["portfolios"], json!(["north", "key accounts"]));
    assert_eq!(own["companies"], json!(["1000", "2000"]));
    assert_eq!(account["roles"], json!([{ "value": "Portfolio Manager" }]));
}

/// The next user, who stands in a file of her own.
fn eva() -> &'static str {
    "apiVersion: rosterd.dev/v1\nkind: User\nmetadata: { name: s1-005 }\nspec: { givenName: Eva, familyName: Novak, \
     email: eva.novak@acme.example, timeZone: Europe/Prague, locale: en-GB, roles: [collections-agent] }\n"
}

#[tokio::test]
async fn s1_1_whoever_is_granted_the_target_at_either_level_has_an_account_and_nobody_else() {
    let stage = Stage::live(sample()).await;
    stage.until_active(COLLECTIONS, 3).await;
    // `all`, `role-based`, `role-based`; the fourth is granted nothing here.
    assert_eq!(stage.active(COLLECTIONS).await, ["s1-001", "s1-002", "s1-003"]);
    assert_eq!(stage.accounts(COLLECTIONS).await.len(), 3);
    let why = stage.engine.explain(&"s1-004".into(), &COLLECTIONS.into()).await.unwrap();
    assert!(format!("{:?}", why.skip).contains("no role of the user grants this target"), "{why:#?}");
    let one = [("roles: [platform-only]", "roles: [platform-only, collections-agent]")];
    stage.sample.edit("users.yaml", &one);
    stage.until_active(COLLECTIONS, 4).await;
    stage.sample.edit_document("users.yaml", "s1-003", &[("[collections-agent]", "[platform-only]")]);
    stage.until_active(COLLECTIONS, 3).await;
    assert_eq!(stage.active(COLLECTIONS).await, ["s1-001", "s1-002", "s1-004"]);
    stage.assert_settled(COLLECTIONS).await;
    stage.end().await;
}

#[tokio::test]
async fn s1_2_an_account_is_created_with_names_email_and_time_zone() {
    let stage = Stage::live(sample()).await;
    stage.until_active(COLLECTIONS, 3).await;
    let account = stage.account(COLLECTIONS, "s1-001").await;
    assert_eq!(account["name"], json!({ "givenName": "Ada", "familyName": "Okafor" }));
    assert_eq!(account["emails"][0]["value"], "ada.okafor@acme.example");
    assert_eq!(account["emails"][0]["type"], "work");
    assert_eq!(account["timezone"], "Europe/London");
    assert_eq!(account["active"], true);
    stage.assert_settled(COLLECTIONS).await;
    stage.end().await;
}

#[tokio::test]
async fn s1_3_it_has_one_fixed_role_and_what_people_set_there_outlives_every_later_cycle() {
    let stage = Stage::live(sample()).await;
    stage.until_active(COLLECTIONS, 3).await;
    for account in stage.accounts(COLLECTIONS).await {
        assert_eq!(account["roles"], json!([{ "value": "User System Admin" }]), "{account:#}");
    }
    set_by_hand(&stage, "s1-001").await;
    stage.sync(COLLECTIONS).await;
    assert_settings_kept(&stage.account(COLLECTIONS, "s1-001").await);
    stage.sample.edit_document("users.yaml", "s1-001", &[("Okafor", "Okafor-Lane"), ("Europe/London", "Africa/Lagos")]);
    stage
        .until("the new name", async |stage| stage.account(COLLECTIONS, "s1-001").await["timezone"] == "Africa/Lagos")
        .await;
    assert_settings_kept(&stage.account(COLLECTIONS, "s1-001").await);
    stage.assert_settled(COLLECTIONS).await;
    assert_settings_kept(&stage.account(COLLECTIONS, "s1-001").await);
    assert_eq!(stage.account(COLLECTIONS, "s1-002").await["roles"], json!([{ "value": "User System Admin" }]));
    stage.end().await;
}

#[tokio::test]
async fn s1_4_a_language_is_sent_only_through_the_table_and_never_guessed() {
    let stage = Stage::live(sample()).await;
    stage.until_active(COLLECTIONS, 3).await;
    assert_eq!(stage.account(COLLECTIONS, "s1-001").await["locale"], "en");
    assert_eq!(stage.account(COLLECTIONS, "s1-002").await["locale"], "fr");
    assert_eq!(stage.account(COLLECTIONS, "s1-003").await["locale"], Value::Null, "it-IT is not in the table");
    stage.assert_settled(COLLECTIONS).await;
    stage.end().await;
}

#[tokio::test]
async fn s1_4_without_a_mapping_no_language_is_sent_at_all() {
    let sample = sample();
    let line = "      locale: { value: \"{{ user.locale }}\", own: create, translate: { en-GB: en, fr-FR: fr } }\n";
    sample.edit("target.yaml", &[(line, "")]);
    let stage = Stage::live(sample).await;
    stage.until_active(COLLECTIONS, 3).await;
    for account in stage.accounts(COLLECTIONS).await {
        assert_eq!((&account["locale"], &account["preferredLanguage"]), (&Value::Null, &Value::Null), "{account:#}");
    }
    stage.assert_settled(COLLECTIONS).await;
    stage.end().await;
}

#[tokio::test]
async fn s1_5_names_and_time_zone_follow_the_platform_and_the_email_is_written_once() {
    let stage = Stage::live(sample()).await;
    stage.until_active(COLLECTIONS, 3).await;
    let before = stage.account(COLLECTIONS, "s1-001").await;
    let changes = [
        ("givenName: Ada", "givenName: Adaeze"),
        ("familyName: Okafor", "familyName: Okafor-Lane"),
        ("Europe/London", "Africa/Lagos"),
    ];
    // Not in one load: a new mail and a new family name at once may be somebody else's.
    let mail = [("ada.okafor@acme.example", "adaeze.lane@acme.example")];
    stage.sample.edit_document("users.yaml", "s1-001", &mail);
    stage
        .until("the new mail", async |stage| {
            let snapshot = stage.engine.snapshot().unwrap();
            snapshot.users.get(&"s1-001".into()).expect("a user").email.as_deref() == Some("adaeze.lane@acme.example")
        })
        .await;
    stage.sample.edit_document("users.yaml", "s1-001", &changes);
    stage
        .until("the new name", async |stage| {
            stage.account(COLLECTIONS, "s1-001").await["name"]["givenName"] == "Adaeze"
        })
        .await;
    stage.assert_settled(COLLECTIONS).await;
    let after = stage.account(COLLECTIONS, "s1-001").await;
    assert_eq!(after["id"], before["id"]);
    assert_eq!(after["name"], json!({ "givenName": "Adaeze", "familyName": "Okafor-Lane" }));
    assert_eq!(after["timezone"], "Africa/Lagos");
    assert_eq!(after["emails"], before["emails"]);
    assert_eq!(after["userName"], before["userName"], "she signs in as before");
    stage.end().await;
}

#[tokio::test]
async fn s1_6_an_edit_of_names_or_time_zone_in_the_target_is_put_back() {
    let stage = Stage::live(sample()).await;
    stage.until_active(COLLECTIONS, 3).await;
    let before = stage.account(COLLECTIONS, "s1-002").await;
    let edits = [
        ("name.givenName", json!("Ben")),
        ("name.familyName", json!("C.")),
        ("timezone", json!("Asia/Tokyo")),
        ("emails[type eq \"work\"].value", json!("ben@home.example")),
    ];
    stage.by_hand(COLLECTIONS, "s1-002", &edits).await;
    let report = stage.sync(COLLECTIONS).await;
    let fields: Vec<_> = report.plan.changes[0].fields.iter().map(|field| field.path.to_string()).collect();
    assert_eq!(fields, ["name.familyName", "name.givenName", "timezone"], "and nothing else");
    let after = stage.account(COLLECTIONS, "s1-002").await;
    assert_eq!((&after["name"], &after["timezone"]), (&before["name"], &before["timezone"]));
    assert_eq!(after["emails"][0]["value"], "ben@home.example", "the email is the target's own after creation");
    stage.assert_settled(COLLECTIONS).await;
    stage.end().await;
}

/// Three in the morning in Paris of the day after [`crate::support::rig::noon`].
pub(crate) fn daily() -> DateTime<Utc> {
    "2026-11-23T02:00:00Z".parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn s1_8_the_daily_cycle_adds_the_user_whom_nobody_asked_for() {
    let stage = Stage::on_paused_time(sample()).await;
    stage.until_active(COLLECTIONS, 3).await;
    // What the manifest's own trigger would do at once is not taken by the target.
    stage.refusals.lock().unwrap().push_back(ErrorClass::Refused);
    stage.sample.put("eva.yaml", eva());
    stage.saved();
    stage.until("the refusal", async |stage| stage.status(COLLECTIONS).failures.contains_key(&"s1-005".into())).await;
    stage.sleep_until(daily() - TimeDelta::seconds(1)).await;
    assert_eq!(stage.account(COLLECTIONS, "s1-005").await, Value::Null, "not before three o'clock");
    stage.until_active(COLLECTIONS, 4).await;
    let cycle = stage.cycle_that_did(COLLECTIONS, Trigger::Schedule, Action::Create).await.unwrap();
    let late = cycle.started - daily();
    assert!(late >= TimeDelta::zero() && late <= TimeDelta::seconds(30), "{late}");
    assert_eq!(stage.account(COLLECTIONS, "s1-005").await["name"]["givenName"], "Eva");
    stage.assert_settled(COLLECTIONS).await;
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn s1_8_the_daily_cycle_runs_each_day_at_the_hour_of_its_time_zone() {
    let stage = Stage::on_paused_time(sample()).await;
    stage.until_active(COLLECTIONS, 3).await;
    tokio::time::sleep(Duration::from_hours(3 * 24)).await;
    let mut starts: Vec<_> = stage.cycles(COLLECTIONS).await;
    starts.retain(|cycle| cycle.trigger == Trigger::Schedule);
    let hours: Vec<_> = starts.iter().rev().map(|cycle| cycle.started.format("%d %H:%M").to_string()).collect();
    assert_eq!(hours, ["23 02:00", "24 02:00", "25 02:00"]);
    stage.assert_settled(COLLECTIONS).await;
    stage.end().await;
}
