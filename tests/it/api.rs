//! `/api/v1`, asked in the process: rights, refusals, lists, writes and who they are audited for.

mod invites;
mod requests;
mod rig;
mod roles;

use axum::body::Body;
use axum::http::Request;
use axum::http::header;
use chrono::TimeDelta;
use rosterd::manifest::Documents;
use rosterd::model::account::AccountState;
use rosterd::server::routes::rules;
use rosterd::server::wire::Problem;
use rosterd::store::Store;
use serde_json::Value;
use serde_json::json;

use self::rig::Rig;
use crate::support::make;

/// Ada, who has an account in both targets.
fn documents() -> Documents {
    let mut ada = make::user("u-1");
    ada.email = Some("ada@acme.example".to_owned());
    make::documents([ada], [make::target("crm"), make::target("erp")])
}

#[tokio::test]
async fn a_request_through_a_rebound_name_or_a_foreign_page_is_refused_on_every_route() {
    let rig = Rig::new().await;
    for rule in rules() {
        for (name, value, code) in
            [("host", "evil.example", "foreign-host"), ("origin", "https://evil.example", "foreign-origin")]
        {
            let request = Request::builder()
                .method(rule.method.clone())
                .uri(rule.path.replace(['{', '}'], ""))
                .header(header::HOST, "localhost:8080")
                .header(header::AUTHORIZATION, format!("Bearer {}", rig.local));
            let mut request = request.body(Body::empty()).unwrap();
            request.headers_mut().insert(header::HeaderName::from_static(name), value.parse().unwrap());
            let answer = rig.send(request).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, code), "{} {}", rule.method, rule.path);
        }
    }
}

#[tokio::test]
async fn a_wrong_path_and_a_wrong_method_are_problems_with_a_title() {
    let rig = Rig::new().await;
    let answer = rig.get("/api/v2/status").await;
    let problem: Problem = serde_json::from_str(&answer.text).unwrap();
    assert_eq!((answer.status, problem.title.as_str(), problem.code.as_str()), (404, "Not Found", "no-route"));
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let answer = rig.local("/api/v1/status", &json!({})).await;
    assert_eq!((answer.status, answer.code().as_str()), (405, "no-method"));
}

#[tokio::test]
async fn no_answer_may_be_kept_by_caches_or_taken_for_a_page() {
    let rig = Rig::new().await;
    for uri in ["/api/v1/status", "/metrics", "/nothing", "/api/v1/targets/none"] {
        let answer = rig.get(uri).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{uri}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{uri}");
    }
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_token() {
    let rig = Rig::new().await;
    assert_eq!(rig.get("/healthz").await.status, 200);
    let ready = rig.get("/readyz").await;
    assert_eq!(
        (ready.status, ready.json()),
        (200, json!({ "ready": true, "snapshot": true, "store": true, "error": null }))
    );
    let metrics = rig.get("/metrics").await;
    assert!(metrics.text.contains("rosterd_build_info"), "{}", metrics.text);
    assert!(metrics.header("content-type").starts_with("text/plain"));
}

#[tokio::test]
async fn a_token_is_shown_once_and_only_its_hash_is_kept() {
    let rig = Rig::new().await;
    let body = json!({ "name": "ci", "right": "operator", "targets": ["crm"], "expires": "2026-04-01T00:00:00Z" });
    let made = rig.local("/api/v1/tokens", &body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.header("cache-control"), "no-store");
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    assert_eq!(rig.get_as(&secret, "/api/v1/targets/crm").await.status, 200);
    let listed = rig.get_as(&rig.local, "/api/v1/tokens").await;
    assert_eq!(listed.json()["items"][0]["name"], "ci");
    let random = secret.strip_prefix("rosterd_").unwrap();
    let hash = rosterd::server::token::hash(&secret).unwrap();
    assert!(!listed.text.contains(random) && !listed.text.contains(&hash), "{}", listed.text);
    for entry in std::fs::read_dir(rig.folder.path()).unwrap() {
        let bytes = match std::fs::read(entry.unwrap().path()) {
            Ok(bytes) => bytes,
            // Audit heads are written beside and then moved.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => panic!("{error}"),
        };
        assert!(!bytes.windows(random.len()).any(|window| window == random.as_bytes()));
    }
    let events = rig.events("token-created").await;
    assert_eq!((events.len(), events[0].actor.as_str()), (1, "local"));
    let again = rig.post("/api/v1/tokens", &rig.local, &[("idempotency-key", "k")], &body).await;
    assert_eq!((again.status, again.code().as_str()), (409, "name-taken"));
}

#[tokio::test]
async fn a_token_opens_nothing_from_the_second_it_ends_or_is_revoked() {
    let rig = Rig::new().await;
    let secret = rig.token("short", "viewer", &[]).await;
    rig.clock.forward(TimeDelta::days(1) - TimeDelta::seconds(1));
    assert_eq!(rig.get_as(&secret, "/api/v1/status").await.status, 200);
    rig.clock.forward(TimeDelta::seconds(1));
    let ended = rig.get_as(&secret, "/api/v1/status").await;
    assert_eq!((ended.status, ended.code().as_str()), (401, "token-expired"));
    let secret = rig.token("revoked", "viewer", &[]).await;
    let revoke = Request::delete("/api/v1/tokens/revoked")
        .header(header::AUTHORIZATION, format!("Bearer {}", rig.local))
        .body(Body::empty());
    assert_eq!(rig.send(revoke.unwrap()).await.status, 204);
    let gone = rig.get_as(&secret, "/api/v1/status").await;
    assert_eq!((gone.status, gone.code().as_str()), (401, "unknown-token"));
    assert_eq!(gone.header("www-authenticate"), "Bearer realm=\"rosterd\"");
    assert_eq!(rig.events("token-revoked").await[0].actor, "local");
}

#[tokio::test]
async fn a_write_sent_again_with_its_key_is_done_once_and_answered_alike() {
    let rig = Rig::new().await;
    let key = [("idempotency-key", "once")];
    let body = json!({ "reason": "upgrade" });
    let suspend = || rig.post("/api/v1/targets/crm/suspend", &rig.local, &key, &body);
    let (left, right) = tokio::join!(suspend(), suspend());
    assert_eq!((left.status, right.status), (200, 200), "{} {}", left.text, right.text);
    assert_eq!(left.text, right.text);
    let replayed = [&left, &right].map(|answer| answer.header("idempotency-replayed") == "true");
    assert!(replayed.contains(&true) && replayed.contains(&false));
    assert_eq!(rig.events("suspend").await.len(), 1);
    let other = rig.post("/api/v1/targets/crm/suspend", &rig.local, &key, &json!({ "reason": "else" })).await;
    assert_eq!((other.status, other.code().as_str()), (422, "key-reused"));
    let operator = rig.token("ops", "operator", &[]).await;
    assert_eq!(rig.post("/api/v1/targets/crm/suspend", &operator, &key, &body).await.status, 200);
    assert_eq!(rig.events("suspend").await.len(), 2);
}

#[tokio::test]
async fn every_write_is_audited_with_who_asked_for_it() {
    let rig = Rig::new().await;
    let operator = rig.token("ops", "operator", &[]).await;
    let writes = [
        ("/api/v1/targets/crm/sync", json!({}), "sync"),
        ("/api/v1/targets/crm/suspend", json!({ "reason": "upgrade" }), "suspend"),
        ("/api/v1/targets/crm/resume", json!({}), "resume"),
        ("/api/v1/source/reload", json!({}), "reload"),
        ("/api/v1/clock/trust", json!({ "reason": "the time server was wrong" }), "trust-clock"),
    ];
    for (uri, body, kind) in writes {
        let answer = rig.post(uri, &operator, &[], &body).await;
        assert_eq!(answer.status, 200, "{uri}: {}", answer.text);
        let events = rig.events(kind).await;
        assert_eq!((events.len(), events[0].actor.as_str()), (1, "token:ops"), "{uri}");
    }
    assert_eq!(rig.events("suspend").await[0].details["reason"], "upgrade");
    let verdict = rig.get("/api/v1/audit/verify").await;
    assert_eq!(verdict.json()["sound"], true, "{}", verdict.text);
}

#[tokio::test]
async fn s1_7_an_operator_starts_a_cycle_now_over_the_api() {
    let rig = Rig::new().await;
    let report = rig.local("/api/v1/targets/crm/sync", &json!({})).await;
    assert_eq!(report.status, 200, "{}", report.text);
    assert_eq!(report.json()["cycle"]["trigger"], "manual");
    assert_eq!(report.json()["cycle"]["result"], "ok", "{}", report.text);
    let account = rig.targets[&"crm".into()].by_name("ada@acme.example").unwrap();
    assert_eq!(account.state, AccountState::Active);
    assert!(rig.targets[&"erp".into()].by_name("ada@acme.example").is_none());
    let cycle = report.json()["cycle"]["id"].clone();
    rig.get_until("/api/v1/history?target=crm", |history| history["items"][0]["id"] == cycle).await;
}

#[tokio::test]
async fn a_plan_of_given_users_and_roles_writes_nothing_and_needs_no_more_than_reading() {
    let rig = Rig::new().await;
    let ask = |body: Value| {
        let request = Request::post("/api/v1/plan").header(header::CONTENT_TYPE, "application/json");
        rig.send(request.body(Body::from(body.to_string())).unwrap())
    };
    let accepted = ask(json!({})).await;
    assert_eq!(accepted.status, 200, "{}", accepted.text);
    let plans = accepted.json();
    assert_eq!(plans["plans"].as_array().unwrap().len(), 2);
    assert_eq!(plans["plans"][0]["changes"][0]["action"], "create", "{plans}");
    let nobody = ask(json!({ "target": "crm", "documents": { "users": {}, "roles": {} } })).await;
    assert_eq!(nobody.json()["plans"][0]["changes"], json!([]), "{}", nobody.text);
    assert!(rig.targets.values().all(|target| target.count("create") == 0));
    assert_eq!(ask(json!({ "target": "none" })).await.code(), "no-target");
}

#[tokio::test]
async fn explain_answers_for_each_target_and_knows_who_is_not_there() {
    let rig = Rig::new().await;
    let all = rig.get("/api/v1/explain/u-1").await;
    assert_eq!(all.status, 200, "{}", all.text);
    let targets: Vec<Value> = all.json()["items"].as_array().unwrap().iter().map(|one| one["target"].clone()).collect();
    assert_eq!(targets, ["crm", "erp"]);
    let nobody = rig.get("/api/v1/explain/u-404?target=crm").await;
    assert_eq!((nobody.status, nobody.code().as_str()), (404, "no-user"), "{}", nobody.text);
}

#[tokio::test]
async fn a_token_for_one_target_sees_nothing_of_another() {
    let rig = Rig::new().await;
    for target in ["crm", "erp"] {
        assert_eq!(rig.local(&format!("/api/v1/targets/{target}/sync"), &json!({})).await.status, 200);
    }
    let scoped = rig.token("crm-only", "operator", &["crm"]).await;
    for uri in
        ["/api/v1/status", "/api/v1/targets", "/api/v1/history", "/api/v1/holds", "/api/v1/owed", "/api/v1/explain/u-1"]
    {
        let answer = rig.get_as(&scoped, uri).await;
        assert_eq!(answer.status, 200, "{uri}");
        assert!(!answer.text.contains("erp"), "{uri}: {}", answer.text);
    }
    for uri in [
        "/api/v1/history?target=erp",
        "/api/v1/audit?target=erp",
        "/api/v1/audit",
        "/api/v1/explain/u-1?target=erp",
        "/api/v1/targets/erp/accounts",
    ] {
        assert_eq!(rig.get_as(&scoped, uri).await.status, 403, "{uri}");
    }
    for (uri, body) in [
        ("/api/v1/plan", json!({ "target": "erp" })),
        ("/api/v1/holds/abc/release", json!({ "target": "erp" })),
        ("/api/v1/targets/erp/sync", json!({})),
    ] {
        assert_eq!(rig.post(uri, &scoped, &[], &body).await.status, 403, "{uri}");
    }
}

#[tokio::test]
async fn accounts_are_listed_by_state_and_cursor() {
    let rig = Rig::new().await;
    for number in 0..5 {
        rig.targets[&"crm".into()].put(&format!("svc-{number}"), AccountState::Disabled);
    }
    assert_eq!(rig.local("/api/v1/targets/crm/sync", &json!({})).await.status, 200);
    let all = "/api/v1/targets/crm/accounts?linked=false";
    rig.get_until(all, |page| page["items"].as_array().is_some_and(|items| items.len() == 5)).await;
    let mut seen = Vec::new();
    let mut uri = "/api/v1/targets/crm/accounts?state=inactive&limit=2".to_owned();
    loop {
        let page = rig.get(&uri).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let items = page.json()["items"].as_array().unwrap().clone();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| item["user_name"].as_str().unwrap().to_owned()));
        let Some(next) = page.json()["next"].as_str().map(str::to_owned) else { break };
        uri = format!("/api/v1/targets/crm/accounts?state=inactive&limit=2&after={next}");
    }
    seen.sort();
    assert_eq!(seen, ["svc-0", "svc-1", "svc-2", "svc-3", "svc-4"]);
    let wrong = rig.get("/api/v1/targets/crm/accounts?state=activ").await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.json()["hint"].as_str().unwrap().contains("`inactive`"), "{}", wrong.text);
    assert_eq!(rig.get("/api/v1/targets/crm/accounts?linkd=true").await.code(), "bad-query");
}

#[tokio::test]
async fn a_decision_about_what_no_longer_waits_is_refused() {
    let rig = Rig::new().await;
    for (uri, body) in [
        ("/api/v1/targets/crm/enforce", json!({ "digest": "00" })),
        ("/api/v1/holds/00/release", json!({ "target": "crm" })),
        ("/api/v1/source/accept-shrink", json!({ "digest": "00" })),
    ] {
        let answer = rig.local(uri, &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (409, "stale"), "{uri}: {}", answer.text);
    }
    assert_eq!(rig.local("/api/v1/targets/none/suspend", &json!({})).await.code(), "no-target");
    assert_eq!(rig.store.decisions().await.unwrap(), []);
}

#[tokio::test]
async fn a_first_contact_is_shown_with_its_digest_and_goes_on_once_an_operator_says_so() {
    let rig = Rig::new().await;
    rig.targets[&"crm".into()].put("somebody", AccountState::Active);
    assert_eq!(rig.local("/api/v1/targets/crm/sync", &json!({})).await.status, 200);
    let held = rig.get_until("/api/v1/holds", |holds| holds["items"][0]["target"] == "crm").await.json();
    assert_eq!(held["items"][0]["hold"]["limit"], "first-contact", "{held}");
    assert!(rig.targets[&"crm".into()].by_name("ada@acme.example").is_none());
    let operator = rig.token("ops", "operator", &["crm"]).await;
    let body = json!({ "digest": held["items"][0]["hold"]["digest"], "reason": "looked at it" });
    let enforced = rig.post("/api/v1/targets/crm/enforce", &operator, &[], &body).await;
    assert_eq!((enforced.status, &enforced.json()["by"]), (200, &json!("token:ops")), "{}", enforced.text);
    assert_eq!(rig.events("enforce").await[0].actor, "token:ops");
    // This engine acts only when it is asked.
    assert_eq!(rig.local("/api/v1/targets/crm/sync", &json!({})).await.status, 200);
    assert!(rig.targets[&"crm".into()].by_name("ada@acme.example").is_some());
}

#[tokio::test]
async fn an_account_that_was_there_is_linked_by_a_persons_word_and_the_audit_log_says_whose() {
    let rig = Rig::new().await;
    let account = rig.targets[&"crm".into()].put("ada@acme.example", AccountState::Active);
    assert_eq!(rig.local("/api/v1/targets/crm/sync", &json!({})).await.status, 200);
    let operator = rig.token("ops", "operator", &["crm"]).await;
    let body = json!({ "user": "u-1", "account": account });
    let linked = rig.post("/api/v1/targets/crm/link", &operator, &[], &body).await;
    assert_eq!(linked.status, 200, "{}", linked.text);
    assert_eq!(rig.events("link").await[0].actor, "token:ops");
    assert_eq!(rig.get("/api/v1/explain/u-1?target=crm").await.json()["items"][0]["link"]["by"], "person");
    let taken = rig.post("/api/v1/targets/crm/link", &operator, &[], &json!({ "user": "u-1", "account": "404" })).await;
    assert!(taken.status >= 400, "{}", taken.text);
}

#[tokio::test]
async fn a_body_over_its_limit_is_refused_whether_its_length_is_stated_or_not() {
    let rig = Rig::new().await;
    let large = "x".repeat((8 << 20) + 1);
    let stated = rig.local("/api/v1/targets/crm/suspend", &json!({ "reason": large })).await;
    assert_eq!((stated.status, stated.code().as_str()), (413, "too-large"));
    let wrong = [("content-length", "2")];
    let lied = rig.post("/api/v1/targets/crm/suspend", &rig.local, &wrong, &json!({ "reason": large })).await;
    assert_eq!(lied.status, 413);
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let rig = Rig::new().await;
    tokio::time::pause();
    let endless = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = Request::post("/api/v1/source/reload").header(header::AUTHORIZATION, format!("Bearer {}", rig.local));
    let answer = rig.send(request.body(endless).unwrap()).await;
    assert_eq!((answer.status, answer.code().as_str()), (408, "slow-body"));
}

#[tokio::test]
async fn the_embedded_directory_is_read_as_scim() {
    let rig = Rig::new().await;
    let base = "/directory/crm/scim/v2";
    let list = rig.get(&format!("{base}/Users?filter=userName%20eq%20%22ada%22&startIndex=1&count=10")).await;
    assert_eq!(list.status, 200, "{}", list.text);
    assert_eq!(list.header("content-type"), "application/scim+json");
    assert_eq!(list.json()["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:ListResponse"]));
    assert_eq!((&list.json()["totalResults"], &list.json()["itemsPerPage"]), (&json!(1), &json!(1)));
    assert_eq!(list.json()["Resources"][0]["userName"], "ada");
    assert_eq!(rig.get(&format!("{base}/Users/1")).await.json()["id"], "1");
    let gone = rig.get(&format!("{base}/Users/2")).await;
    assert_eq!((gone.status, &gone.json()["status"]), (404, &json!("404")));
    assert_eq!(gone.json()["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]));
    let filter = rig.get(&format!("{base}/Users?filter=userName%20sw%20%22a%22")).await;
    assert_eq!((filter.status, &filter.json()["scimType"]), (400, &json!("invalidFilter")));
    assert_eq!(rig.get("/directory/erp/scim/v2/Users").await.status, 404);
    let config = rig.get(&format!("{base}/ServiceProviderConfig")).await.json();
    assert_eq!(config["patch"]["supported"], false);
    let write = rig.local(&format!("{base}/Users"), &json!({ "userName": "eve" })).await;
    assert_eq!(write.status, 405);
}
