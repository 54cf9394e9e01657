//! The servers themselves: they start, take an account and list it.

use serde_json::Value;
use serde_json::json;

use crate::servers::Knobs;
use crate::servers::Scim2Features;
use crate::servers::Server;

fn user(name: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": name,
        "externalId": format!("x-{name}"),
        "active": true,
        "name": { "givenName": "Ada", "familyName": "Lovelace" },
    })
}

/// Creates one account and finds it in the list.
async fn takes_an_account(server: &Server) {
    let (status, made) = server.call("POST", "/Users", Some(&user("ada"))).await;
    assert_eq!(status, 201, "{made}");
    let (status, list) = server.call("GET", "/Users", None).await;
    assert_eq!(status, 200, "{list}");
    assert_eq!(list["totalResults"], 1);
    assert_eq!(list["Resources"][0]["id"], made["id"]);
    assert_eq!(list["Resources"][0]["userName"], "ada");
}

#[tokio::test]
async fn scim2_server_takes_an_account_and_lists_it() {
    let Some(server) = Server::scim2(&Scim2Features::default()).await else { return };
    takes_an_account(&server).await;
}

#[tokio::test]
async fn scim2_server_really_switches_features_off() {
    let Some(server) = Server::scim2(&Scim2Features { patch: false, etag: false, ..Scim2Features::default() }).await
    else {
        return;
    };
    let (_, made) = server.call("POST", "/Users", Some(&user("ada"))).await;
    let path = format!("/Users/{}", made["id"].as_str().expect("an id"));
    let disable = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{ "op": "replace", "path": "active", "value": false }],
    });
    let (status, answer) = server.call("PATCH", &path, Some(&disable)).await;
    assert!(status == 501 || status == 405, "{status} {answer}");
    assert_eq!(made["meta"]["version"], Value::Null);
}

#[tokio::test]
async fn scimmy_takes_an_account_and_lists_it() {
    let Some(server) = Server::scimmy(&Knobs::default()).await else { return };
    takes_an_account(&server).await;
}

#[tokio::test]
async fn scimmy_notes_requests_and_lets_another_hand_in() {
    let Some(server) = Server::scimmy(&Knobs::default()).await else { return };
    let rows = server.admin("POST", "/users", Some(&json!({ "count": 3, "prefix": "guest" }))).await;
    let id = rows[0]["id"].as_str().expect("an id");
    server.admin("PATCH", &format!("/users/{id}"), Some(&json!({ "active": false, "title": "Guest" }))).await;
    let (_, seen) = server.call("GET", &format!("/Users/{id}"), None).await;
    assert_eq!((&seen["active"], &seen["title"]), (&json!(false), &json!("Guest")));
    let requests = server.admin("GET", "/requests", None).await;
    assert_eq!(requests.as_array().map(Vec::len), Some(1), "{requests}");
    assert_eq!(requests[0]["method"], "GET");
    assert_eq!(requests[0]["status"], 200);
}

#[tokio::test]
async fn scimmy_fails_when_it_is_told_to() {
    let Some(server) = Server::scimmy(&Knobs { retry_after: "2".into(), ..Knobs::default() }).await else { return };
    server.admin("POST", "/faults", Some(&json!({ "method": "POST", "path": "/Users", "status": 429 }))).await;
    let refused = server.request("POST", "/Users", Some(&user("ada"))).send().await.expect("an answer");
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "2");
    // Done, but told otherwise.
    server.admin("POST", "/faults", Some(&json!({ "status": 503, "after": true }))).await;
    let (status, _) = server.call("POST", "/Users", Some(&user("ada"))).await;
    assert_eq!(status, 503);
    server.admin("POST", "/faults", Some(&json!({ "drop": true, "after": true }))).await;
    server.request("POST", "/Users", Some(&user("bea"))).send().await.expect_err("the connection is cut");
    let (_, list) = server.call("GET", "/Users", None).await;
    assert_eq!(list["totalResults"], 2, "{list}");
    // The token is taken back in mid-run.
    server.admin("PATCH", "/knobs", Some(&json!({ "token": "another" }))).await;
    let (status, _) = server.call("GET", "/Users", None).await;
    assert_eq!(status, 401);
}
