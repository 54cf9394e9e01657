//! S4: users of a billing application.

use rosterd::model::change::Effect;
use serde_json::Value;
use serde_json::json;

use crate::seeds::program::Program;
use crate::seeds::sample::Sample;
use crate::seeds::stage::Stage;

const BILLING: &str = "billing";
/// What the application keeps beside a name.
const OPTIONS: &str = "urn:example:params:scim:schemas:billing:1.0:User";

fn sample() -> Sample {
    Sample::of("s4-billing")
}

#[test]
fn s4_1_accounts_are_listed_as_all_active_and_inactive() {
    let program = Program::over(sample());
    program.done(&["apply", "-f", "manifests"]);
    program.sample.edit_document("people.yaml", "name: s4-003", &[("  roles:", "  active: false\n  roles:")]);
    program.done(&["apply", "-f", "manifests", "--yes"]);
    let listed = |state: &str| {
        let text = program.done(&["accounts", BILLING, "--state", state, "--output", "json"]);
        let accounts: Vec<Value> = serde_json::from_str(&text).unwrap();
        let mut records: Vec<_> =
            accounts.iter().map(|account| account["record"].as_str().unwrap().to_owned()).collect();
        records.sort();
        records
    };
    assert_eq!(listed("all"), ["s4-001", "s4-002", "s4-003", "s4-004"]);
    assert_eq!(listed("active"), ["s4-001", "s4-002", "s4-004"]);
    assert_eq!(listed("inactive"), ["s4-003"]);
    program.assert_settled();
}

#[tokio::test]
async fn s4_2_a_user_is_created_with_names_email_role_login_and_every_notification_on() {
    let stage = Stage::live(sample()).await;
    stage.until_active(BILLING, 4).await;
    let account = stage.account(BILLING, "s4-001").await;
    assert_eq!(account["name"], json!({ "givenName": "Lucia", "familyName": "Ferraro" }));
    assert_eq!(account["emails"][0]["value"], "lucia.ferraro@northlegal.example");
    assert_eq!(account["roles"], json!([{ "value": "Admin" }]));
    assert_eq!(account[OPTIONS]["login"], "sso");
    for option in ["notifyOnArrival", "notifyOnApproval", "notifyOnPayment"] {
        assert_eq!(account[OPTIONS][option], true, "{account:#}");
    }
    let other = stage.account(BILLING, "s4-004").await;
    assert_eq!(other["roles"], json!([{ "value": "Email Only" }]));
    assert_eq!(other[OPTIONS]["login"], "password");
    assert_eq!(other[OPTIONS]["notifyOnArrival"], false, "said otherwise");
    assert_eq!(other[OPTIONS]["notifyOnPayment"], true);
    stage.assert_settled(BILLING).await;
    stage.end().await;
}

#[test]
fn s4_2_a_role_outside_the_closed_list_is_refused_at_validation_with_its_line() {
    let program = Program::over(sample());
    program.done(&["apply", "-f", "manifests"]);
    program.sample.edit("people.yaml", &[("entitlements: [email-only]", "entitlements: [email-onli]")]);
    let said = program.run(&["validate", "-f", "manifests", "--output", "json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let problems: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    assert_eq!(problems.len(), 1, "{said:?}");
    assert_eq!(problems[0]["code"], "unknown-entitlement");
    assert_eq!((problems[0]["line"].as_u64(), problems[0]["column"].as_u64()), (Some(14), Some(72)));
    assert!(problems[0]["hint"].as_str().unwrap().contains("`email-only`"), "{said:?}");
    assert_eq!(program.run(&["apply", "-f", "manifests", "--yes"]).code, 1, "and nothing of it is applied");
    program.sample.edit("people.yaml", &[("entitlements: [email-onli]", "entitlements: [email-only]")]);
    program.assert_settled();
}

#[tokio::test]
async fn s4_4_everything_about_a_user_can_be_changed_later() {
    let stage = Stage::live(sample()).await;
    stage.until_active(BILLING, 4).await;
    let before = stage.account(BILLING, "s4-003").await;
    let changes = [
        ("givenName: Nadia", "givenName: Nadezhda"),
        ("familyName: Petrov", "familyName: Petrova"),
        ("roles: [billing-reviewer]", "roles: [billing-power-user]"),
        ("teams: [disbursements]", "teams: [disbursements, litigation]"),
        (
            "{ approvalLimit: 5000, notes: \"reviews travel invoices\" }",
            "{ approvalLimit: 7500, notes: \"reviews all\", phone: \"+1 212 555 0190\", notifyOnPayment: false }",
        ),
    ];
    // Not in one load: a new mail and a new family name at once may be somebody else's.
    let mail = ("nadia.petrov@northlegal.example", "nadezhda.petrova@northlegal.example");
    stage.sample.edit_document("people.yaml", "name: s4-003", &[mail]);
    let reached = async |stage: &Stage| stage.account(BILLING, "s4-003").await["userName"] == mail.1;
    stage.until("the new mail", reached).await;
    stage.sample.edit_document("people.yaml", "name: s4-003", &changes);
    let renamed = async |stage: &Stage| {
        let account = stage.account(BILLING, "s4-003").await;
        account["name"]["givenName"] == "Nadezhda" && account["roles"] == json!([{ "value": "Power User" }])
    };
    stage.until("the changes", renamed).await;
    stage.until_idle(BILLING).await;
    let after = stage.account(BILLING, "s4-003").await;
    assert_eq!(after["id"], before["id"], "one account, whatever it is called");
    assert_eq!(after["userName"], "nadezhda.petrova@northlegal.example");
    assert_eq!(stage.accounts(BILLING).await.len(), 4);
    assert_eq!(after["name"], json!({ "givenName": "Nadezhda", "familyName": "Petrova" }));
    assert_eq!(after["phoneNumbers"][0]["value"], "+1 212 555 0190");
    let options = &after[OPTIONS];
    assert_eq!(options["teams"], json!(["disbursements", "litigation"]));
    assert_eq!((&options["approvalLimit"], &options["notes"]), (&json!(7500), &json!("reviews all")));
    assert_eq!((&options["notifyOnPayment"], &options["notifyOnArrival"]), (&json!(false), &json!(true)));
    stage.assert_settled(BILLING).await;
    stage.end().await;
}

#[tokio::test]
async fn s4_4_another_role_takes_the_old_one_away_before_it_gives_the_new_one() {
    let stage = Stage::idle(sample()).await;
    stage.engine.start(rosterd::engine::Running::Once).await.unwrap();
    stage.sync(BILLING).await;
    stage.sample.edit_document("people.yaml", "name: s4-003", &[("billing-reviewer", "billing-power-user")]);
    stage.engine.reload().await.unwrap();
    let report = stage.sync(BILLING).await;
    let effects: Vec<_> = report.plan.changes.iter().map(|change| change.effect).collect();
    assert_eq!(effects, [Effect::Narrows, Effect::Widens]);
    assert_eq!(stage.account(BILLING, "s4-003").await["roles"], json!([{ "value": "Power User" }]));
    stage.assert_settled(BILLING).await;
    stage.end().await;
}

#[test]
fn s4_6_deactivating_asks_for_confirmation_also_in_bulk_and_reactivating_does_not() {
    let program = Program::over(sample());
    program.done(&["apply", "-f", "manifests"]);
    let active = || {
        let text = program.done(&["accounts", BILLING, "--state", "active", "--output", "json"]);
        serde_json::from_str::<Vec<Value>>(&text).unwrap().len()
    };
    // By a word, of one and of many.
    for users in [&["s4-003"][..], &["s4-003", "s4-004"]] {
        let asked = program.run(&[&["revoke"], users].concat());
        assert_eq!((asked.code, active()), (1, 4), "{asked:?}");
        assert!(asked.err.contains("`s4-003`") && asked.err.contains("--yes"), "{asked:?}");
    }
    program.done(&["revoke", "s4-003", "s4-004", "--yes"]);
    assert_eq!(active(), 2);
    program.done(&["restore", "s4-003", "s4-004"]);
    assert_eq!(active(), 4);
    // One that fails holds nobody else up.
    let some = program.run(&["revoke", "--yes", "s4-003", "nobody", "s4-004", "--output", "json"]);
    let items: Vec<Value> = serde_json::from_str(&some.out).unwrap();
    assert_eq!((some.code, items.len(), active()), (1, 3, 2), "{some:?}");
    assert!(items[1]["result"]["error"].as_str().unwrap().contains("nobody"), "{some:?}");
    program.done(&["restore", "s4-003", "s4-004"]);

    // By the manifests.
    let leave = [("  roles:", "  active: false\n  roles:")];
    program.sample.edit_document("people.yaml", "name: s4-003", &leave);
    program.sample.edit_document("people.yaml", "name: s4-004", &leave);
    let asked = program.run(&["apply", "-f", "manifests"]);
    assert_eq!((asked.code, active()), (1, 4), "{asked:?}");
    assert!(asked.err.contains("takes access away (2 changes)"), "{asked:?}");
    program.done(&["apply", "-f", "manifests", "--yes"]);
    assert_eq!(active(), 2);
    let back = [("  active: false\n", "")];
    program.sample.edit_document("people.yaml", "name: s4-003", &back);
    program.sample.edit_document("people.yaml", "name: s4-004", &back);
    program.done(&["apply", "-f", "manifests"]);
    assert_eq!(active(), 4);
}

#[tokio::test]
async fn s4_5_a_leaver_with_pending_reviews_loses_the_role_at_once_and_the_account_when_they_are_done() {
    let stage = Stage::idle(sample()).await;
    stage.engine.start(rosterd::engine::Running::Once).await.unwrap();
    stage.sync(BILLING).await;
    let option = |name: &str| format!("{OPTIONS}:{name}");
    let (reviews, digest) = (option("pendingReviews"), option("weeklyDigest"));
    stage.by_hand(BILLING, "s4-003", &[(&reviews, json!(["R-17"])), (&digest, json!(true))]).await;
    stage.sample.edit_document("people.yaml", "name: s4-003", &[("  roles:", "  active: false\n  roles:")]);
    stage.engine.reload().await.unwrap();
    stage.sync(BILLING).await;
    let waiting = stage.account(BILLING, "s4-003").await;
    assert_eq!((&waiting["active"], &waiting["roles"]), (&json!(true), &Value::Null), "{waiting:#}");
    let told = &stage.status(BILLING).conflicts[&"s4-003".into()];
    assert!(told.contains("1 of `pendingReviews`"), "{told}");

    stage.by_hand(BILLING, "s4-003", &[(&reviews, json!([]))]).await;
    let report = stage.sync(BILLING).await;
    assert_eq!(report.cycle.done["disable"], 1, "{:?}", report.cycle);
    let shut = stage.account(BILLING, "s4-003").await;
    assert_eq!(shut["active"], false);
    for name in ["notifyOnArrival", "notifyOnApproval", "notifyOnPayment", "weeklyDigest"] {
        assert_eq!(shut[OPTIONS][name], false, "{name}: {shut:#}");
    }
    stage.assert_settled(BILLING).await;

    stage.sample.edit_document("people.yaml", "name: s4-003", &[("  active: false\n", "")]);
    stage.engine.reload().await.unwrap();
    stage.sync(BILLING).await;
    let back = stage.account(BILLING, "s4-003").await;
    assert_eq!((&back["id"], &back["active"]), (&shut["id"], &json!(true)));
    for name in ["notifyOnArrival", "notifyOnApproval", "notifyOnPayment", "weeklyDigest"] {
        assert_eq!(back[OPTIONS][name], true, "{name}: {back:#}");
    }
    stage.assert_settled(BILLING).await;
    stage.end().await;
}
