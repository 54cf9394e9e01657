//! The life of an account, from its creation to its return, on every kind of server.

use serde_json::Value;
use serde_json::json;

use crate::world::DONE;
use crate::world::ENTERPRISE;
use crate::world::HELD;
use crate::world::Kind;
use crate::world::Person;
use crate::world::World;
use crate::world::id;

/// A world with one account, which people of the target have filled in further.
async fn employed(kind: Kind) -> Option<(World, Person, Value)> {
    let world = World::of(kind).await?;
    let ada = Person::named("ada");
    world.user(&ada);
    assert_eq!(world.apply().await, json!({ "create": 1 }));
    let made = world.account(&ada.email).await;
    let theirs = json!({
        "title": "Comptroller", "nickName": "Addie", "name": { "middleName": "B." },
        "phoneNumbers": [{ "type": "work", "value": "+44 20 7946 0000" }],
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE],
        ENTERPRISE: { "costCenter": "C-17", "department": "Credit" },
    });
    world.other_hand(&id(&made), &theirs).await;
    world.is_settled().await;
    world.forget_requests().await;
    let seen = world.account(&ada.email).await;
    assert_eq!(seen["title"], "Comptroller");
    Some((world, ada, seen))
}

/// The account without what the server keeps for itself.
fn content(account: &Value) -> Value {
    let mut account = account.clone();
    if let Some(object) = account.as_object_mut() {
        object.retain(|key, _| key != "meta" && key != "schemas" && key != "groups");
    }
    account
}

/// The account is now `before` with `changes`, and nothing else.
async fn is_but_for(world: &World, before: &Value, changes: &[(&str, Value)]) -> Value {
    let mut expected = content(before);
    for (pointer, value) in changes {
        *expected.pointer_mut(pointer).expect("it was there") = value.clone();
    }
    let accounts = world.accounts().await;
    assert_eq!(accounts.len(), 1);
    assert_eq!(content(&accounts[0]), expected);
    accounts[0].clone()
}

/// The paths that a PATCH wrote. Attributes of one object may be written together.
fn patched(request: &Value) -> Vec<String> {
    assert_eq!(request["method"], "PATCH", "{request}");
    let operations = request["body"]["Operations"].as_array().expect("operations");
    operations.iter().map(|operation| operation["path"].as_str().unwrap_or("").to_owned()).collect()
}

/// A user that is declared gets an account with what is mapped.
pub(crate) async fn a_declared_user_gets_an_account(kind: Kind) {
    let Some(world) = World::of(kind).await else { return };
    world.user(&Person::named("ada"));
    world.user(&Person { active: false, ..Person::named("bea") });
    assert_eq!(world.apply().await, json!({ "create": 1 }));
    let ada = world.account("ada@x.example").await;
    assert_eq!((&ada["externalId"], &ada["active"]), (&json!("u-ada"), &json!(true)));
    assert_eq!((&ada["name"]["givenName"], &ada["name"]["familyName"]), (&json!("ada"), &json!("Ames")));
    assert_eq!((&ada["timezone"], &ada["emails"][0]["value"]), (&json!("Europe/Paris"), &json!("ada@x.example")));
    assert_eq!(world.accounts().await.len(), 1);
    world.is_settled().await;
}

pub(crate) async fn an_update_sends_only_what_changed_and_leaves_what_is_not_mapped(kind: Kind) {
    let Some((world, ada, before)) = employed(kind).await else { return };
    world.user(&Person { family: "Byron".into(), email: "ada@x.example".into(), ..ada });
    assert_eq!(world.apply().await, json!({ "update": 1 }));
    is_but_for(&world, &before, &[("/name/familyName", json!("Byron"))]).await;
    if let Some(writes) = world.writes().await {
        assert_eq!(writes.iter().map(patched).collect::<Vec<_>>(), [["name.familyName"]], "{writes:?}");
    }
    world.is_settled().await;
}

pub(crate) async fn an_edit_of_ours_made_in_the_target_is_put_back(kind: Kind) {
    let Some((world, _, before)) = employed(kind).await else { return };
    let mail = json!([{ "type": "work", "value": "ada@elsewhere.example" }]);
    let edit = json!({ "name": { "givenName": "Adah" }, "emails": mail, "title": "Countess" });
    world.other_hand(&id(&before), &edit).await;
    let edited = world.account("ada@x.example").await;
    world.forget_requests().await;
    assert_eq!(world.apply().await, json!({ "update": 1 }));
    // The mail was ours at the creation only, the title never.
    is_but_for(&world, &edited, &[("/name/givenName", json!("ada"))]).await;
    if let Some(writes) = world.writes().await {
        assert_eq!(writes.iter().map(patched).collect::<Vec<_>>(), [["name.givenName"]], "{writes:?}");
    }
    world.is_settled().await;
}

pub(crate) async fn who_leaves_is_disabled_and_comes_back_to_the_same_account(kind: Kind) {
    let Some((world, ada, before)) = employed(kind).await else { return };
    world.user(&Person { active: false, ..ada.clone() });
    assert_eq!(world.apply().await, json!({ "disable": 1 }));
    is_but_for(&world, &before, &[("/active", json!(false))]).await;
    if let Some(writes) = world.writes().await {
        assert_eq!(writes.iter().map(patched).collect::<Vec<_>>(), [["active"]], "{writes:?}");
    }
    world.is_settled().await;
    world.user(&ada);
    assert_eq!(world.apply().await, json!({ "reactivate": 1 }));
    // The same id, and everything that people of the target wrote.
    is_but_for(&world, &before, &[]).await;
    world.is_settled().await;
}

pub(crate) async fn another_user_name_is_an_update_of_the_same_account(kind: Kind) {
    let Some((world, ada, before)) = employed(kind).await else { return };
    world.user(&Person { email: "ada.byron@x.example".into(), ..ada });
    assert_eq!(world.apply().await, json!({ "update": 1 }));
    is_but_for(&world, &before, &[("/userName", json!("ada.byron@x.example"))]).await;
    if let Some(writes) = world.writes().await {
        assert_eq!(writes.iter().map(patched).collect::<Vec<_>>(), [["userName"]], "{writes:?}");
    }
    world.is_settled().await;
}

pub(crate) async fn an_account_that_somebody_else_disabled_stays_so(kind: Kind) {
    let Some((world, _, before)) = employed(kind).await else { return };
    world.other_hand(&id(&before), &json!({ "active": false })).await;
    assert_eq!(world.apply().await, json!({}));
    is_but_for(&world, &before, &[("/active", json!(false))]).await;
    assert_eq!(world.skip_of("u-ada").await, json!({ "other-hand": "disabled" }));
    world.is_settled().await;
}

pub(crate) async fn who_is_out_is_deleted_once_a_person_says_so_and_comes_back_as_somebody_new(kind: Kind) {
    let Some(world) = World::of(kind).await else { return };
    world.target(|spec| spec["account"]["onOutOfScope"] = json!("delete"));
    let (ada, bea) = (Person::named("ada"), Person::named("bea"));
    world.user(&ada);
    world.user(&bea);
    assert_eq!(world.apply().await, json!({ "create": 2 }));
    let first = id(&world.account(&ada.email).await);
    world.user(&Person { roles: vec![], ..ada.clone() });
    assert_eq!(world.applied(HELD).await["cycle"]["done"], json!({ "disable": 1 }));
    assert_eq!(world.account(&ada.email).await["active"], json!(false));
    assert_eq!(world.applied(HELD).await["cycle"]["done"], json!({}), "nothing is deleted unasked");
    let (_, plan) = world.plan().await;
    let hold = &plan["holds"][0];
    assert_eq!((&hold["limit"], &hold["changes"][0]["action"]), (&json!("delete"), &json!("delete")), "{plan:#}");
    world.forget_requests().await;
    world.rosterd(&["holds", "release", hold["digest"].as_str().expect("a digest")]).await.ends(DONE);
    let left = world.apply().await;
    assert!(left == json!({ "delete": 1 }) || left == json!({}), "{left}");
    let (status, _) = world.server.call("GET", &format!("/Users/{first}"), None).await;
    assert_eq!((status, world.accounts().await.len()), (404, 1));
    if let Some(writes) = world.writes().await {
        let methods: Vec<_> = writes.iter().map(|request| request["method"].clone()).collect();
        assert_eq!(methods, [json!("DELETE")], "{writes:?}");
    }
    world.is_settled().await;
    world.user(&ada);
    assert_eq!(world.apply().await, json!({ "create": 1 }));
    assert_ne!(id(&world.account(&ada.email).await), first);
    world.is_settled().await;
}
