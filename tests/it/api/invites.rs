//! Invites over the API: each caller sees and does what is theirs.

use std::sync::Arc;

use chrono::TimeDelta;
use rosterd::clock::Clock;
use rosterd::model::invite::CredentialKind;
use rosterd::model::invite::Invite;
use rosterd::model::invite::InviteState;
use rosterd::model::invite::InviteWrite;
use rosterd::model::link::Space;
use rosterd::secrets::credential;
use rosterd::store::Store;
use rosterd::store::Write;
use serde_json::json;

use crate::api::rig::Rig;

const TOKEN: &str = "the-token-of-the-link";

/// An API over a store in which Ada was invited to `crm`.
async fn invited() -> Rig {
    let rig = Rig::new().await;
    let now = rig.clock.now();
    let invite = Invite {
        id: "i-1".into(),
        space: Space { target: "crm".into(), environment: "default".into(), realm: "memory".into() },
        record: "u-1".into(),
        kind: CredentialKind::Link,
        to: "ada@acme.example".to_owned(),
        token: Some(credential::hash(TOKEN)),
        message: "welcome-i-1".into(),
        made: now,
        expires: Some(now + TimeDelta::hours(72)),
        resent: 0,
        state: InviteState::Sent,
        ended: None,
    };
    let writes = vec![Write::Invite(InviteWrite::Put(Box::new(invite)))];
    let store = Arc::clone(&rig.store);
    store.commit(writes, store.fence()).await.unwrap();
    rig
}

#[tokio::test]
async fn an_invite_is_listed_to_those_whose_token_is_good_for_its_target() {
    let rig = invited().await;
    let listed = rig.get("/api/v1/invites?state=sent").await.json();
    assert_eq!(listed["items"][0]["user"], "u-1");
    assert_eq!(listed["items"][0]["state"], "sent");
    assert!(!listed.to_string().contains(TOKEN) && !listed.to_string().contains(&credential::hash(TOKEN)));
    assert_eq!(rig.get("/api/v1/invites?state=expired").await.json()["items"], json!([]));
    let erp = rig.token("erp", "operator", &["erp"]).await;
    assert_eq!(rig.get_as(&erp, "/api/v1/invites").await.json()["items"], json!([]));
    assert_eq!(rig.get_as(&erp, "/api/v1/invites?target=crm").await.status, 403);
}

#[tokio::test]
async fn an_application_redeems_a_link_of_its_own_target_once_and_hears_the_same_if_it_asks_again_by_its_key() {
    let rig = invited().await;
    let (crm, erp) = (rig.token("crm", "operator", &["crm"]).await, rig.token("erp", "operator", &["erp"]).await);
    let redeem = async |target: &str, token: &str, key: &str, link: &str| {
        let uri = format!("/api/v1/targets/{target}/invites/redeem");
        rig.post(&uri, token, &[("idempotency-key", key)], &json!({ "token": link })).await
    };
    assert_eq!(redeem("crm", &erp, "a", TOKEN).await.status, 403);
    assert_eq!(redeem("erp", &erp, "b", TOKEN).await.status, 409, "it leads elsewhere");
    assert_eq!(redeem("crm", &crm, "c", "guessed").await.status, 409);
    assert_eq!(redeem("crm", &crm, "d", "").await.status, 422);
    let answer = redeem("crm", &crm, "e", TOKEN).await;
    assert_eq!((answer.status, &answer.json()["user"]), (200, &json!("u-1")));
    assert_eq!(redeem("crm", &crm, "e", TOKEN).await.json(), answer.json(), "the answer was lost on its way");
    let again = redeem("crm", &crm, "f", TOKEN).await;
    assert_eq!((again.status, again.code().as_str()), (409, "stale"), "good once");
    assert_eq!(rig.get("/api/v1/invites").await.json()["items"][0]["state"], "accepted");
}

#[tokio::test]
async fn sending_again_tells_for_each_user_whether_it_was_and_why_not() {
    let rig = invited().await;
    let body = json!({ "users": ["u-1", "u-404"] });
    let answer = rig.local("/api/v1/targets/crm/invites/resend", &body).await.json();
    let items = answer["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert!(items.iter().all(|item| item["sent"] == false), "{answer}");
    assert!(items[0]["why"].as_str().unwrap().contains("sends no welcome"), "{answer}");
    assert!(items[1]["why"].as_str().unwrap().contains("no invite was sent"), "{answer}");
    assert_eq!(rig.local("/api/v1/targets/crm/invites/resend", &json!({ "users": [] })).await.status, 422);
}
