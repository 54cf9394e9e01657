//! S5: websites of a shop, whose customers have accounts on a billing site.

use rosterd::model::plan::HoldKind;
use serde_json::Value;
use serde_json::json;

use crate::seeds::sample::Sample;
use crate::seeds::stage::Stage;

const UK: &str = "storefront-uk";
const FR: &str = "storefront-fr";
/// What the billing site keeps about an account.
const OPTIONS: &str = "urn:example:params:scim:schemas:invoices:1.0:User";

pub(crate) fn sample() -> Sample {
    Sample::of("s5-storefront")
}

async fn assert_both_settled(stage: &Stage) {
    stage.assert_settled(UK).await;
    stage.assert_settled(FR).await;
}

#[tokio::test]
async fn s5_1_websites_share_defaults_and_differ_in_what_each_says_itself() {
    let stage = Stage::live(sample()).await;
    stage.until_active(UK, 2).await;
    stage.until_active(FR, 2).await;
    for (site, paper) in [(UK, false), (FR, true)] {
        let options = stage.account(site, "s5-003").await[OPTIONS].clone();
        let shared = json!({ "billTo": "C-1188", "mailNotice": true, "paymentConfirmation": true, "paperBill": paper });
        assert_eq!(options, shared, "{site}");
        assert_eq!(stage.status(site).schedule, "every 1h");
    }
    // One website wants no mail: its own word wins over the shared one, and only there.
    let paper = "User:paperBill: { value: true }\n";
    let own = format!("{paper}      {OPTIONS}:mailNotice: {{ value: false }}\n  schedule: {{ every: 4h }}\n");
    stage.sample.edit("targets.yaml", &[(paper, &own)]);
    let quiet = async |stage: &Stage| stage.account(FR, "s5-003").await[OPTIONS]["mailNotice"] == false;
    // Both accounts of the website differ by it, which is more than half: a person agrees.
    stage.agree_to(FR, HoldKind::Update).await;
    stage.until("the website's own word", quiet).await;
    assert_eq!(stage.account(FR, "s5-003").await[OPTIONS]["paymentConfirmation"], true);
    assert_eq!(stage.account(UK, "s5-003").await[OPTIONS]["mailNotice"], true);
    assert_eq!((stage.status(UK).schedule.as_str(), stage.status(FR).schedule.as_str()), ("every 1h", "every 4h"));
    assert_both_settled(&stage).await;
    stage.end().await;
}

#[tokio::test]
async fn s5_1_launch_settings_are_an_error_for_as_long_as_nothing_is_launched() {
    let stage = Stage::live(sample()).await;
    stage.until_active(UK, 2).await;
    let launches = [
        ("  mode: enforce\n", "  mode: enforce\n  launch: { enabled: true }\n"),
        ("test: {}", "test: { launch: { url: \"http://127.0.0.1:9101/sso\" } }"),
    ];
    for (from, to) in launches {
        stage.sample.edit("targets.yaml", &[(from, to)]);
        let problems = stage.sample.documents().problems;
        let launch = problems.iter().find(|problem| problem.message.contains("launch")).unwrap();
        assert_eq!((launch.code, launch.file.as_str()), ("unsupported-field", "targets.yaml"), "{problems:#?}");
        assert!(launch.line > 0 && launch.hint.is_some());
        stage.until("the refusal", async |stage| !stage.engine.source().problems.is_empty()).await;
        stage.sample.edit("targets.yaml", &[(to, from)]);
        stage.until("the old text", async |stage| stage.engine.source().problems.is_empty()).await;
    }
    assert_eq!(stage.active(UK).await, ["s5-001", "s5-003"], "what was accepted stands");
    assert_both_settled(&stage).await;
    stage.end().await;
}

/// A user of the first website.
fn shopper(name: &str, email: &str, customer: &str) -> String {
    format!(
        "apiVersion: rosterd.dev/v1\nkind: User\nmetadata: {{ name: {name} }}\nspec: {{ givenName: Sam, familyName: \
         Lee, email: {email}, timeZone: Europe/London, roles: [shopper-uk], attributes: {{ billTo: {customer} }} }}\n"
    )
}

const FAMILY_FIRM: &str = "apiVersion: rosterd.dev/v1\nkind: Role\nmetadata: { name: keane-family-firm }\nspec:\n  \
    grants: [ { target: storefront-uk, level: all, attributes: { billTo: C-9001 } } ]\n";

#[tokio::test]
async fn s5_6_two_customers_for_one_user_are_a_conflict_that_names_both_and_everybody_else_goes_on() {
    let stage = Stage::live(sample()).await;
    stage.until_active(UK, 2).await;
    let before = stage.account(UK, "s5-003").await;
    stage.sample.put("firm.yaml", FAMILY_FIRM);
    let roles = [("roles: [shopper-uk, shopper-fr]", "roles: [shopper-uk, shopper-fr, keane-family-firm]")];
    stage.sample.edit("people.yaml", &roles);
    stage.sample.put("sam.yaml", &shopper("s5-010", "sam.lee@lees.example", "C-3001"));
    stage.until_active(UK, 3).await;
    let told = async |stage: &Stage| stage.status(UK).conflicts.contains_key(&"s5-003".into());
    stage.until("the conflict", told).await;
    let conflict = stage.status(UK).conflicts[&"s5-003".into()].clone();
    assert!(conflict.contains("C-1188") && conflict.contains("C-9001"), "{conflict}");
    assert!(conflict.contains("firm.yaml:5"), "{conflict}");
    let after = stage.account(UK, "s5-003").await;
    assert_eq!((&after[OPTIONS], &after["active"]), (&before[OPTIONS], &json!(true)), "neither is guessed");
    assert_eq!(stage.account(UK, "s5-010").await[OPTIONS]["billTo"], "C-3001");
    assert!(stage.status(FR).conflicts.is_empty(), "the grant is for the other website");
    assert_both_settled(&stage).await;
    stage.sample.edit("people.yaml", &[("  attributes: { billTo: C-1188 }\n", "")]);
    let decided = async |stage: &Stage| stage.account(UK, "s5-003").await["id"] == before["id"] && !told(stage).await;
    stage.until("the end of the conflict", decided).await;
    assert_both_settled(&stage).await;
    stage.end().await;
}

#[tokio::test]
async fn s5_6_two_users_who_want_one_user_name_are_a_conflict_of_their_own() {
    let sample = sample();
    sample.put("firm.yaml", FAMILY_FIRM);
    let roles = [("roles: [shopper-uk, shopper-fr]", "roles: [shopper-uk, shopper-fr, keane-family-firm]")];
    sample.edit("people.yaml", &roles);
    sample.put("one.yaml", &shopper("s5-011", "orders@lees.example", "C-3001"));
    sample.put("two.yaml", &shopper("s5-012", "Orders@lees.example", "C-3002"));
    let stage = Stage::live(sample).await;
    stage.until_active(UK, 1).await;
    assert_eq!(stage.active(UK).await, ["s5-001"], "everybody else goes on");
    let conflicts = stage.status(UK).conflicts;
    let records: Vec<_> = conflicts.keys().map(ToString::to_string).collect();
    assert_eq!(records, ["s5-003", "s5-011", "s5-012"]);
    for record in ["s5-011", "s5-012"] {
        let text = &conflicts[&record.into()];
        assert!(text.contains("s5-011") && text.contains("s5-012") && !text.contains("C-9001"), "{text}");
    }
    assert!(!conflicts[&"s5-003".into()].contains("s5-011"));
    assert_eq!(stage.account(UK, "s5-011").await, Value::Null);
    assert_both_settled(&stage).await;
    stage.sample.put("two.yaml", &shopper("s5-012", "billing@lees.example", "C-3002"));
    stage.until_active(UK, 3).await;
    assert_eq!(stage.active(UK).await, ["s5-001", "s5-011", "s5-012"]);
    assert_both_settled(&stage).await;
    stage.end().await;
}
