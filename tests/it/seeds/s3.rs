//! S3: portal users made for every active record of a staffing agency.

use std::time::Duration;

use chrono::TimeDelta;
use rosterd::connector::ErrorClass;
use rosterd::model::change::Action;
use rosterd::model::history::Trigger;
use rosterd::model::plan::HoldKind;
use serde_json::Value;
use serde_json::json;

use crate::seeds::sample::Sample;
use crate::seeds::stage::Stage;

const CANDIDATES: &str = "candidate-portal";
const CLIENTS: &str = "client-portal";

fn sample() -> Sample {
    Sample::of("s3-recruiting")
}

async fn assert_both_settled(stage: &Stage) {
    stage.assert_settled(CANDIDATES).await;
    stage.assert_settled(CLIENTS).await;
}

#[tokio::test]
async fn s3_1_each_kind_of_record_is_switched_on_by_itself_with_a_target_of_its_own() {
    let sample = sample();
    // A target that does not say `enforce` is only planned.
    let candidates = "  scope: { userTypes: [candidate] }\n";
    let on = [("  mode: enforce\n", ""), (candidates, &format!("{candidates}  mode: enforce\n"))];
    sample.edit("targets.yaml", &on);
    let stage = Stage::live(sample).await;
    stage.until_active(CANDIDATES, 2).await;
    stage.until_idle(CLIENTS).await;
    assert_eq!(stage.active(CANDIDATES).await, ["cand-2041", "cand-2042"]);
    assert_eq!(stage.active(CLIENTS).await, Vec::<String>::new(), "the other kind is not switched on");
    assert_eq!(stage.engine.plan(&CLIENTS.into(), None, None).await.unwrap().changes.len(), 1);
    let clients = "  scope: { userTypes: [client-contact] }\n";
    stage.sample.edit("targets.yaml", &[(clients, &format!("{clients}  mode: enforce\n"))]);
    // It was observed until now; writing it is a person's word.
    stage.agree_to(CLIENTS, HoldKind::Loosen).await;
    stage.until_active(CLIENTS, 1).await;
    assert_eq!(stage.active(CLIENTS).await, ["contact-310"]);
    assert_eq!(stage.active(CANDIDATES).await, ["cand-2041", "cand-2042"]);
    assert_both_settled(&stage).await;
    stage.end().await;
}

#[tokio::test]
async fn s3_1_a_setting_of_one_kind_leaves_the_other_alone() {
    let sample = sample();
    let candidates = "  account: { userName: \"{{ user.email }}\" }";
    let with_source =
        "  account: { userName: \"{{ user.email }}\", attributes: { userType: { value: \"Candidate\" } } }";
    sample.edit("targets.yaml", &[(candidates, with_source)]);
    let stage = Stage::live(sample).await;
    stage.until_active(CANDIDATES, 2).await;
    stage.until_active(CLIENTS, 1).await;
    let candidate = stage.account(CANDIDATES, "cand-2041").await;
    assert_eq!((&candidate["userType"], &candidate["name"]["givenName"]), (&json!("Candidate"), &json!("Harriet")));
    assert_eq!(stage.account(CLIENTS, "contact-310").await["userType"], Value::Null);
    assert_both_settled(&stage).await;
    stage.end().await;
}

#[tokio::test]
async fn s3_2_only_active_records_have_a_portal_user() {
    let stage = Stage::live(sample()).await;
    stage.until_active(CANDIDATES, 2).await;
    assert_eq!(stage.account(CANDIDATES, "cand-2043").await, Value::Null, "not an active record");
    stage.sample.edit("people.yaml", &[("  active: false\n", "")]);
    stage.until_active(CANDIDATES, 3).await;
    stage.sample.edit_document("people.yaml", "cand-2041", &[("  login:", "  active: false\n  login:")]);
    stage.until_active(CANDIDATES, 2).await;
    assert_eq!(stage.active(CANDIDATES).await, ["cand-2042", "cand-2043"]);
    assert_eq!(stage.account(CANDIDATES, "cand-2041").await["active"], false);
    assert_both_settled(&stage).await;
    stage.end().await;
}

#[tokio::test]
async fn s3_3_the_user_name_is_the_email_or_the_record_id_by_setting() {
    let stage = Stage::live(sample()).await;
    stage.until_active(CANDIDATES, 2).await;
    stage.until_active(CLIENTS, 1).await;
    assert_eq!(stage.account(CANDIDATES, "cand-2041").await["userName"], "harriet.boyle@mail.example");
    assert_eq!(stage.account(CLIENTS, "contact-310").await["userName"], "contact-310");
    assert_both_settled(&stage).await;
    stage.end().await;
    let other = sample();
    other.edit(
        "targets.yaml",
        &[
            ("account: { userName: \"{{ user.email }}\" }", "account: { userName: \"{{user.id}}\" }"),
            ("account: { userName: \"{{ user.id }}\" }", "account: { userName: \"{{ user.email }}\" }"),
        ],
    );
    let stage = Stage::live(other).await;
    stage.until_active(CANDIDATES, 2).await;
    stage.until_active(CLIENTS, 1).await;
    assert_eq!(stage.account(CANDIDATES, "cand-2041").await["userName"], "cand-2041");
    assert_eq!(stage.account(CLIENTS, "contact-310").await["userName"], "kwame.mensah@site-works.example");
    assert_both_settled(&stage).await;
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn s3_6_every_hour_it_makes_users_of_the_records_new_since_then() {
    let stage = Stage::on_paused_time(sample()).await;
    stage.until_active(CANDIDATES, 2).await;
    stage.until_active(CLIENTS, 1).await;
    // What the manifest's own trigger would do at once is not taken by the target.
    stage.refusals.lock().unwrap().push_back(ErrorClass::Refused);
    stage.sample.edit("people.yaml", &[("  active: false\n", "")]);
    stage.saved();
    let refused = async |stage: &Stage| stage.status(CANDIDATES).failures.contains_key(&"cand-2043".into());
    stage.until("the refusal", refused).await;
    let due = stage.status(CANDIDATES).next_run.unwrap();
    let wait = due - stage.clock.now();
    assert!(wait > TimeDelta::minutes(59) && wait < TimeDelta::minutes(61), "{wait}");
    stage.sleep_until(due - TimeDelta::seconds(1)).await;
    assert_eq!(stage.account(CANDIDATES, "cand-2043").await, Value::Null, "not within the hour");
    stage.until_active(CANDIDATES, 3).await;
    assert!(stage.cycle_that_did(CANDIDATES, Trigger::Schedule, Action::Create).await.is_some());
    tokio::time::sleep(Duration::from_hours(5)).await;
    let hourly = async |stage: &Stage| {
        let cycles = stage.cycles(CANDIDATES).await;
        cycles.iter().filter(|cycle| cycle.trigger == Trigger::Schedule).count()
    };
    // The sixth begins in the second in which this wakes up, and ends a moment later.
    stage.until("the sixth hour's cycle", async |stage| hourly(stage).await >= 6).await;
    assert_eq!(hourly(&stage).await, 6);
    assert_both_settled(&stage).await;
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn s3_6_an_existing_account_is_not_rewritten_where_the_target_only_creates() {
    let stage = Stage::on_paused_time(sample()).await;
    stage.until_active(CANDIDATES, 2).await;
    stage.sample.edit("people.yaml", &[("familyName: Boyle", "familyName: Boyle-Hart")]);
    stage.saved();
    stage.by_hand(CANDIDATES, "cand-2042", &[("name.givenName", json!("Ish"))]).await;
    tokio::time::sleep(Duration::from_hours(3)).await;
    assert_eq!(stage.account(CANDIDATES, "cand-2041").await["name"]["familyName"], "Boyle");
    assert_eq!(stage.account(CANDIDATES, "cand-2042").await["name"]["givenName"], "Ish");
    let written = stage.cycle_that_did(CANDIDATES, Trigger::Manifest, Action::Update).await;
    assert_eq!(written, None);
    // Access is another matter: it ends, and comes back to the same account.
    let before = stage.account(CANDIDATES, "cand-2041").await;
    stage.sample.edit_document("people.yaml", "cand-2041", &[("  login:", "  active: false\n  login:")]);
    stage.saved();
    stage.until_active(CANDIDATES, 1).await;
    stage.sample.edit_document("people.yaml", "cand-2041", &[("  active: false\n", "")]);
    stage.saved();
    stage.until_active(CANDIDATES, 2).await;
    let after = stage.account(CANDIDATES, "cand-2041").await;
    assert_eq!((&after["id"], &after["name"]), (&before["id"], &before["name"]));
    assert_both_settled(&stage).await;
    stage.end().await;
}
