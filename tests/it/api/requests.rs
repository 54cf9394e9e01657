//! Requests over the API: whose token decides, and what each is told.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use rosterd::model::approval::Approval;
use rosterd::model::approval::Gate;
use rosterd::model::approval::Level;
use rosterd::model::approval::Party;
use rosterd::model::target::Target;
use rosterd::model::user::User;
use rosterd::plan::verdict::rights::Scope;
use serde_json::Value;
use serde_json::json;

use crate::api::rig::Answer;
use crate::api::rig::Rig;
use crate::support::make;

fn gated(level: Level) -> Target {
    let approval = Approval { gates: [Gate::Create].into(), levels: vec![level], ..Approval::ungated() };
    Target { approval: Some(approval), ..make::target("crm") }
}

fn of(folder: &str) -> User {
    let labels = [("folder", folder), ("author", "ines")].map(|(label, value)| (label.to_owned(), value.to_owned()));
    User { labels: labels.into(), ..make::user("u-1") }
}

fn scope(folder: &str) -> Scope {
    BTreeMap::from([("folder".to_owned(), BTreeSet::from([folder.to_owned()]))])
}

/// A rig in which the request of `u-1` waits for the group `credit`.
async fn asked(approvers: Option<BTreeMap<String, Vec<Scope>>>) -> (Rig, String) {
    let level = Level { any_of: [Party::Group("credit".to_owned())].into(), ..Level::anybody() };
    let documents = make::documents([of("acme")], [gated(level), make::target("erp")]);
    let rig = Rig::over(documents, approvers).await;
    rig.local("/api/v1/targets/crm/sync", &json!({})).await;
    let listed =
        rig.get_until("/api/v1/requests", |page| page["items"].as_array().is_some_and(|it| it.len() == 1)).await;
    let id = listed.json()["items"][0]["request"]["id"].as_str().unwrap().to_owned();
    (rig, id)
}

async fn say(rig: &Rig, token: &str, decision: &str, id: &str) -> Answer {
    let body = json!({ "decision": decision, "requests": [id], "reason": "because" });
    rig.post("/api/v1/requests", token, &[], &body).await
}

fn problem(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["items"][0]["problem"]["status"].clone()
}

#[tokio::test]
async fn s2_6_only_tokens_of_the_groups_that_the_configuration_names_decide_where_each_has_a_say() {
    let named = BTreeMap::from([("credit".to_owned(), vec![scope("acme")]), ("far".to_owned(), vec![scope("acme")])]);
    let (rig, id) = asked(Some(named)).await;
    let local = rig.local.clone();
    assert_eq!(problem(&say(&rig, &local, "accept", &id).await), 403, "approvers are named, and this is none of them");
    let operator = rig.token("operator", "operator", &[]).await;
    assert_eq!(problem(&say(&rig, &operator, "accept", &id).await), 403);
    let viewer = rig.token_of(("viewer", "vera"), "viewer", &[], &["credit"]).await;
    assert_eq!(say(&rig, &viewer, "accept", &id).await.status, 403, "a group is no right");
    let stranger = rig.token_of(("stranger", "sam"), "approver", &[], &["unnamed", "far"]).await;
    assert_eq!(problem(&say(&rig, &stranger, "refuse", &id).await), 403);
    let elsewhere = rig.token_of(("elsewhere", "eve"), "approver", &["erp"], &["credit"]).await;
    assert_eq!(problem(&say(&rig, &elsewhere, "accept", &id).await), 404, "in a target that is none of theirs");
    for herself in ["u-1", "U-1@acme.example", "ines"] {
        let token = rig.token_of((&format!("t-{}", herself.len()), herself), "approver", &[], &["credit"]).await;
        assert_eq!(problem(&say(&rig, &token, "accept", &id).await), 403, "{herself}");
    }
    let rose = rig.token_of(("rose", "rose"), "approver", &[], &["credit"]).await;
    let answer = say(&rig, &rose, "accept", &id).await;
    assert_eq!(answer.json()["items"][0]["state"], "accepted", "{answer:?}");
    assert_eq!(rig.targets[&"crm".into()].count("create"), 0);
    rig.local("/api/v1/targets/crm/sync", &json!({})).await;
    assert_eq!(rig.targets[&"crm".into()].count("create"), 1);
    let events = rig.events("request-accepted").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].actor, "token:rose");
}

#[tokio::test]
async fn a_group_has_no_say_about_users_of_another_label() {
    let (rig, id) = asked(Some(BTreeMap::from([("credit".to_owned(), vec![scope("bolt")])]))).await;
    let rose = rig.token_of(("rose", "rose"), "approver", &[], &["credit"]).await;
    assert_eq!(problem(&say(&rig, &rose, "accept", &id).await), 403);
    assert_eq!(problem(&say(&rig, &rose, "refuse", &id).await), 403);
}

#[tokio::test]
async fn a_second_word_is_a_conflict_and_a_refusal_without_a_reason_is_none() {
    let (rig, id) = asked(None).await;
    let body = json!({ "decision": "refuse", "requests": [id] });
    assert_eq!(rig.local("/api/v1/requests", &body).await.status, 422);
    let local = rig.local.clone();
    assert_eq!(problem(&say(&rig, &local, "reopen", &id).await), 409, "it waits");
    assert_eq!(problem(&say(&rig, &local, "refuse", &id).await), Value::Null);
    assert_eq!(problem(&say(&rig, &local, "accept", &id).await), 409);
    let listed = rig.get("/api/v1/requests?state=refused&label=folder=acme&user=u-1&target=crm").await.json();
    assert_eq!(listed["items"][0]["request"]["decided"]["reason"], "because");
    assert_eq!(rig.get("/api/v1/requests?state=pending").await.json()["items"], json!([]));
    assert_eq!(rig.get("/api/v1/requests?state=lost").await.status, 400);
    assert_eq!(rig.get("/api/v1/requests?label=folder").await.status, 400);
}
