//! Every line of the table against every kind of caller.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::Request;
use axum::http::header;
use chrono::TimeDelta;
use rosterd::server::routes::Reaches;
use rosterd::server::routes::Rule;
use rosterd::server::routes::rules;
use rosterd::server::wire::Right;
use serde_json::Value;
use serde_json::json;

use crate::api::rig::Answer;
use crate::api::rig::Rig;

/// Somebody who asks.
struct Role {
    name: &'static str,
    token: Option<String>,
    /// `None`: whoever this is, the token is not good.
    right: Option<Right>,
    /// Good for the target `crm` alone.
    scoped: bool,
}

async fn roles(rig: &Rig) -> Vec<Role> {
    let role = |name, token, right, scoped| Role { name, token: Some(token), right, scoped };
    let expired = rig.token("expired", "admin", &[]).await;
    rig.clock.forward(TimeDelta::days(1));
    let revoked = rig.token("revoked", "admin", &[]).await;
    let revoke =
        Request::delete("/api/v1/tokens/revoked").header(header::AUTHORIZATION, format!("Bearer {}", rig.local));
    assert_eq!(rig.send(revoke.body(Body::empty()).unwrap()).await.status, 204);
    let mut roles = vec![
        Role { name: "nobody", token: None, right: Some(Right::Viewer), scoped: false },
        role("expired", expired, None, false),
        role("revoked", revoked, None, false),
        role("forged", format!("rosterd_{}", "A".repeat(43)), None, false),
        role("nonsense", "hunter2".to_owned(), None, false),
        role("local", rig.local.clone(), Some(Right::Admin), false),
    ];
    for right in Right::ALL {
        let token = rig.token(&format!("all-{right}"), right.as_str(), &[]).await;
        roles.push(role(right.as_str(), token, Some(right), false));
        let token = rig.token(&format!("crm-{right}"), right.as_str(), &["crm"]).await;
        roles.push(role("scoped", token, Some(right), true));
    }
    roles
}

/// What the table says of this caller: the status of a refusal, or `None`.
fn refusal(rule: &Rule, caller: &Role, target: &str) -> Option<u16> {
    let needed = rule.right?;
    let Some(right) = caller.right else { return Some(401) };
    if caller.token.is_none() && needed > Right::Viewer {
        return Some(401);
    }
    let far = match rule.reaches {
        Reaches::Asked => false,
        Reaches::Path => target != "crm",
        Reaches::Everything => true,
    };
    (right < needed || (caller.scoped && far)).then_some(403)
}

/// A name that no token has yet.
fn fresh() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("made-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The body to send on a route, and the status of one who may.
fn sample(rule: &Rule) -> (Value, u16) {
    match (rule.method.as_str(), rule.path) {
        // No such cycle: those who may are told so.
        ("GET", "/api/v1/undo/{cycle}") => (Value::Null, 409),
        ("POST", "/api/v1/undo/{cycle}") => (json!({}), 409),
        ("GET", _) => (Value::Null, 200),
        ("POST", "/api/v1/plan" | "/api/v1/source/reload" | "/api/v1/clock/trust") => (json!({}), 200),
        ("POST", path) if path.ends_with("/sync") || path.ends_with("/suspend") || path.ends_with("/resume") => {
            (json!({}), 200)
        }
        // Nothing waits, and no such account is there: those who may are told so.
        ("POST", "/api/v1/targets/{target}/enforce" | "/api/v1/source/accept-shrink") => {
            (json!({ "digest": "0" }), 409)
        }
        // No such request: told beside it.
        ("POST", "/api/v1/requests") => (json!({ "decision": "accept", "requests": ["0"] }), 200),
        ("POST", "/api/v1/holds/{digest}/release") => (json!({ "target": "crm" }), 409),
        // Nobody was invited: those who may are told so, the one for each of those they asked for.
        ("POST", "/api/v1/targets/{target}/invites/resend") => (json!({ "users": ["u-1"] }), 200),
        ("POST", "/api/v1/targets/{target}/invites/redeem") => (json!({ "token": "guessed" }), 409),
        ("POST", "/api/v1/targets/{target}/regain") => (json!({ "user": "u-404" }), 404),
        ("POST", "/api/v1/targets/{target}/link") => (json!({ "user": "u-404", "account": "0" }), 404),
        ("POST", "/api/v1/receipts/verify") => (json!({ "receipt": {}, "keys": "", "signature": "" }), 200),
        ("POST", "/api/v1/users/{user}/revoke") => (json!({}), 200),
        ("POST", "/api/v1/stop") => (json!({ "halts": "all", "reason": "a test" }), 200),
        // Nobody is revoked and nothing is stopped when these are asked for.
        ("POST", "/api/v1/users/{user}/restore") => (json!({}), 409),
        ("POST", "/api/v1/start") => (json!({ "reason": "a test" }), 409),
        ("POST", "/api/v1/tokens") => {
            (json!({ "name": fresh(), "right": "viewer", "expires": "2026-03-10T00:00:00Z" }), 201)
        }
        ("DELETE", "/api/v1/tokens/{name}") => (Value::Null, 404),
        other => panic!("say what is sent on {other:?} and what comes back"),
    }
}

async fn ask(rig: &Rig, rule: &Rule, caller: &Role, target: &str, body: &Value) -> Answer {
    let filled = [
        ("{target}", target),
        ("{user}", "u-1"),
        ("{digest}", "0"),
        ("{name}", "none"),
        ("{id}", "1"),
        ("{cycle}", "none"),
    ];
    let mut uri = filled.iter().fold(rule.path.to_owned(), |uri, (name, value)| uri.replace(name, value));
    if rule.path == "/api/v1/audit" {
        uri.push_str("?target=crm");
    }
    let mut request = Request::builder().method(rule.method.clone()).uri(uri);
    if let Some(token) = &caller.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = if body.is_null() {
        Body::empty()
    } else {
        request = request.header(header::CONTENT_TYPE, "application/json");
        Body::from(body.to_string())
    };
    rig.send(request.body(body).unwrap()).await
}

/// What is wrong with the answer to one caller, as a line.
async fn judge(rig: &Rig, rule: &Rule, caller: &Role, target: &str) -> Option<String> {
    let (body, done) = sample(rule);
    // There are no groups, and `erp` is not embedded: who may ask is told so.
    let absent = rule.path.starts_with("/directory") && (target == "erp" || rule.path.ends_with("Groups/{id}"));
    let expected = refusal(rule, caller, target).unwrap_or(if absent { 404 } else { done });
    let Answer { status, text, .. } = ask(rig, rule, caller, target, &body).await;
    let (Rule { method, path, .. }, Role { name, right, .. }) = (rule, caller);
    let line = || format!("{method} {path} on {target} as {name} ({right:?}): {status}, not {expected}: {text}");
    (status != expected).then(line)
}

#[tokio::test]
async fn every_route_holds_every_caller_to_its_line_of_the_table() {
    let rig = Rig::new().await;
    let roles = roles(&rig).await;
    let mut wrong = Vec::new();
    for rule in rules() {
        for caller in &roles {
            wrong.extend(judge(&rig, &rule, caller, "crm").await);
            wrong.extend(judge(&rig, &rule, caller, "erp").await);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table as it stands: whoever loosens a line sees it here.
#[test]
fn the_table_says_who_may_do_what() {
    let line = |rule: Rule| {
        let right = rule.right.map_or("nothing", Right::as_str);
        format!("{} {} needs {right}, reaches {:?}", rule.method, rule.path, rule.reaches)
    };
    let lines: Vec<String> = rules().into_iter().map(line).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    GET /healthz needs nothing, reaches Asked
    GET /readyz needs nothing, reaches Asked
    GET /metrics needs nothing, reaches Asked
    GET /api/v1/status needs viewer, reaches Asked
    GET /api/v1/targets needs viewer, reaches Asked
    GET /api/v1/targets/{target} needs viewer, reaches Path
    GET /api/v1/targets/{target}/accounts needs viewer, reaches Path
    GET /api/v1/owed needs viewer, reaches Asked
    GET /api/v1/holds needs viewer, reaches Asked
    GET /api/v1/requests needs viewer, reaches Asked
    GET /api/v1/folders needs viewer, reaches Asked
    GET /api/v1/invites needs viewer, reaches Asked
    GET /api/v1/explain/{user} needs viewer, reaches Asked
    POST /api/v1/plan needs viewer, reaches Asked
    GET /api/v1/users/{user}/receipt needs viewer, reaches Everything
    POST /api/v1/receipts/verify needs viewer, reaches Asked
    GET /api/v1/undo/{cycle} needs viewer, reaches Asked
    GET /api/v1/history needs viewer, reaches Asked
    GET /api/v1/audit needs viewer, reaches Asked
    GET /api/v1/audit/verify needs viewer, reaches Everything
    GET /api/v1/tokens needs admin, reaches Everything
    POST /api/v1/targets/{target}/sync needs operator, reaches Path
    POST /api/v1/targets/{target}/link needs operator, reaches Path
    POST /api/v1/targets/{target}/regain needs operator, reaches Path
    POST /api/v1/targets/{target}/invites/resend needs operator, reaches Path
    POST /api/v1/targets/{target}/invites/redeem needs operator, reaches Path
    POST /api/v1/targets/{target}/suspend needs operator, reaches Path
    POST /api/v1/targets/{target}/resume needs operator, reaches Path
    POST /api/v1/targets/{target}/enforce needs operator, reaches Path
    POST /api/v1/holds/{digest}/release needs operator, reaches Asked
    POST /api/v1/requests needs approver, reaches Asked
    POST /api/v1/source/accept-shrink needs operator, reaches Everything
    POST /api/v1/undo/{cycle} needs operator, reaches Asked
    POST /api/v1/clock/trust needs operator, reaches Everything
    POST /api/v1/source/reload needs operator, reaches Everything
    POST /api/v1/users/{user}/restore needs operator, reaches Everything
    POST /api/v1/users/{user}/revoke needs operator, reaches Everything
    POST /api/v1/start needs operator, reaches Everything
    POST /api/v1/stop needs operator, reaches Everything
    POST /api/v1/tokens needs admin, reaches Everything
    DELETE /api/v1/tokens/{name} needs admin, reaches Everything
    GET /directory/{target}/scim/v2/ServiceProviderConfig needs viewer, reaches Path
    GET /directory/{target}/scim/v2/Users needs viewer, reaches Path
    GET /directory/{target}/scim/v2/Users/{id} needs viewer, reaches Path
    GET /directory/{target}/scim/v2/Groups needs viewer, reaches Path
    GET /directory/{target}/scim/v2/Groups/{id} needs viewer, reaches Path
    ");
}
