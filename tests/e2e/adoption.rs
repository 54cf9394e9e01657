//! Accounts that were there before: whose they are is never guessed, on any kind of server.

use serde_json::Value;
use serde_json::json;

use crate::world::DONE;
use crate::world::ERROR;
use crate::world::HELD;
use crate::world::Kind;
use crate::world::Person;
use crate::world::World;
use crate::world::id;

/// More than any of the small pages holds.
const CROWD: usize = 5;

/// A target with people in it whom nobody declares.
async fn crowded(kind: Kind) -> Option<World> {
    let world = World::of(kind).await?;
    for number in 0..CROWD {
        let guest =
            json!({ "userName": format!("guest-{number}"), "title": "Guest", "name": { "familyName": "Gast" } });
        world.stranger(&guest).await;
    }
    Some(world)
}

/// A person lets rosterd write, for the digest that the plan showed.
async fn enforce(world: &World) {
    let report = world.applied(HELD).await;
    let hold = &report["plan"]["holds"][0];
    assert_eq!(hold["limit"], "first-contact", "{report:#}");
    let digest = hold["digest"].as_str().expect("a digest");
    world.rosterd(&["enforce", "crm", digest]).await.ends(DONE);
}

async fn guests(world: &World) -> Vec<Value> {
    let mut rows = world.accounts().await;
    rows.retain(|row| row["title"] == "Guest");
    rows.sort_by_key(id);
    rows
}

pub(crate) async fn first_contact_writes_nothing_until_a_person_says_so_for_that_digest(kind: Kind) {
    let Some(world) = crowded(kind).await else { return };
    world.user(&Person::named("ada"));
    let before = world.accounts().await;
    world.forget_requests().await;
    let report = world.applied(HELD).await;
    assert_eq!(report["cycle"]["done"], json!({}));
    let hold = &report["plan"]["holds"][0];
    assert_eq!((&hold["limit"], &hold["changes"][0]["action"]), (&json!("first-contact"), &json!("create")));
    // For another digest it is no word at all.
    let other = "0".repeat(hold["digest"].as_str().expect("a digest").len());
    let refused = world.rosterd(&["enforce", "crm", &other]).await.ends(ERROR);
    assert!(refused.err.contains(hold["digest"].as_str().expect("a digest")), "{refused:?}");
    assert_eq!(world.accounts().await, before);
    if let Some(writes) = world.writes().await {
        assert_eq!(writes, Vec::<Value>::new());
    }
    enforce(&world).await;
    assert_eq!(world.account("ada@x.example").await["externalId"], "u-ada");
    assert_eq!(world.accounts().await.len(), CROWD + 1);
    world.is_settled().await;
}

pub(crate) async fn unmanaged_accounts_are_reported_and_not_touched(kind: Kind) {
    let Some(world) = crowded(kind).await else { return };
    let before = guests(&world).await;
    world.user(&Person::named("ada"));
    world.user(&Person::named("bea"));
    enforce(&world).await;
    world.user(&Person { active: false, ..Person::named("ada") });
    world.apply().await;
    let (_, plan) = world.plan().await;
    let names = plan["unmanaged"].as_array().expect("a list").iter().map(|account| account["user_name"].clone());
    let mut names: Vec<_> = names.map(|name| name.as_str().unwrap_or_default().to_owned()).collect();
    names.sort();
    assert_eq!(names, (0..CROWD).map(|number| format!("guest-{number}")).collect::<Vec<_>>());
    let said = world.rosterd(&["accounts", "crm", "--state", "unmanaged"]).await.ends(DONE);
    assert_eq!((0..CROWD).filter(|number| said.out.contains(&format!("guest-{number}"))).count(), CROWD, "{said:?}");
    assert_eq!(guests(&world).await, before);
    world.is_settled().await;
}

pub(crate) async fn an_account_that_a_trusted_key_proves_is_adopted(kind: Kind) {
    let Some(world) = crowded(kind).await else { return };
    world.target(|spec| {
        spec["account"]["existing"] = json!("adopt");
        spec["account"]["trustedKeys"] = json!(["externalId"]);
    });
    let theirs = json!({
        "userName": "ada.l", "externalId": "u-ada", "title": "Countess", "name": { "givenName": "ada", "familyName": "L." },
    });
    let account = world.stranger(&theirs).await;
    world.user(&Person::named("ada"));
    world.user(&Person::named("bea"));
    enforce(&world).await;
    let ada = world.account("ada@x.example").await;
    assert_eq!((id(&ada), &ada["title"], &ada["name"]["familyName"]), (account, &json!("Countess"), &json!("Ames")));
    assert_eq!(world.accounts().await.len(), CROWD + 2);
    world.is_settled().await;
}

pub(crate) async fn an_account_that_only_its_user_name_suggests_is_not_taken(kind: Kind) {
    let Some(world) = crowded(kind).await else { return };
    world.target(|spec| {
        spec["account"]["existing"] = json!("adopt");
        spec["account"]["trustedKeys"] = json!(["externalId"]);
    });
    // User names are the same in other letters (RFC 7643 section 4.1.1).
    is_not_taken(&world, &json!({ "userName": "Ada@X.example", "title": "Somebody else" })).await;
}

pub(crate) async fn an_account_that_only_its_mail_suggests_is_not_taken(kind: Kind) {
    let Some(world) = crowded(kind).await else { return };
    world.target(|spec| {
        spec["account"]["match"] = json!(["externalId", "emails[type eq \"work\"].value"]);
        spec["account"]["existing"] = json!("adopt");
        spec["account"]["trustedKeys"] = json!(["externalId"]);
    });
    let mail = json!([{ "type": "work", "value": "ada@x.example" }]);
    is_not_taken(&world, &json!({ "userName": "al", "title": "Somebody else", "emails": mail })).await;
}

/// The account stays as it is, the user gets no second one, and status says so. Others get theirs.
async fn is_not_taken(world: &World, theirs: &Value) {
    let account = world.stranger(theirs).await;
    let (_, before) = world.server.call("GET", &format!("/Users/{account}"), None).await;
    world.user(&Person::named("ada"));
    world.user(&Person::named("bea"));
    enforce(world).await;
    assert_eq!(world.apply().await, json!({}));
    let (_, after) = world.server.call("GET", &format!("/Users/{account}"), None).await;
    assert_eq!(after, before);
    assert_eq!(world.accounts().await.len(), CROWD + 2);
    world.account("bea@x.example").await;
    let status = world.rosterd(&["status", "crm", "--output", "json"]).await.ends(DONE).json();
    let conflicts = status["targets"][0]["conflicts"].as_object().expect("conflicts");
    assert_eq!(conflicts.keys().collect::<Vec<_>>(), ["u-ada"], "{status:#}");
    let explained = world.rosterd(&["explain", "u-ada"]).await.ends(DONE);
    assert!(explained.out.contains("rosterd link u-ada"), "{explained:?}");
    world.is_settled().await;
}

pub(crate) async fn a_person_links_the_account_that_was_proposed(kind: Kind) {
    let Some(world) = crowded(kind).await else { return };
    world.target(|spec| spec["account"]["existing"] = json!("ask"));
    let account = world.stranger(&json!({ "userName": "ada@x.example", "title": "Countess" })).await;
    world.user(&Person::named("ada"));
    world.user(&Person::named("bea"));
    enforce(&world).await;
    assert_eq!(world.skip_of("u-ada").await["proposal"]["key"], "userName");
    world.rosterd(&["link", "u-ada", "ada@x.example", "--yes"]).await.ends(DONE);
    let ada = world.account("ada@x.example").await;
    assert_eq!((id(&ada), &ada["externalId"], &ada["title"]), (account, &json!("u-ada"), &json!("Countess")));
    assert_eq!(world.accounts().await.len(), CROWD + 2);
    world.is_settled().await;
}

/// No match key finds the account that is in the way, but its name is seen.
pub(crate) async fn a_name_that_a_stranger_has_is_a_conflict_before_the_target_must_say_so(kind: Kind) {
    let Some(world) = crowded(kind).await else { return };
    world.target(|spec| spec["account"]["match"] = json!(["externalId"]));
    is_not_taken(&world, &json!({ "userName": "ada@x.example", "title": "Somebody else" })).await;
}

/// The target finds two names alike that differ by more than ASCII letters, which nobody can know:
/// only its 409 tells.
pub(crate) async fn a_name_that_only_the_target_finds_taken_fails_for_that_user_alone(kind: Kind) {
    let Some(world) = crowded(kind).await else { return };
    let account = world.stranger(&json!({ "userName": "ÉVA@x.example", "title": "Somebody else" })).await;
    let (_, before) = world.server.call("GET", &format!("/Users/{account}"), None).await;
    world.user(&Person { email: "éva@x.example".into(), ..Person::named("eva") });
    world.user(&Person::named("bea"));
    enforce(&world).await;
    let report = world.applied(ERROR).await;
    assert!(report["failures"]["u-eva"].as_str().is_some_and(|why| why.contains("409")), "{report:#}");
    let (_, after) = world.server.call("GET", &format!("/Users/{account}"), None).await;
    assert_eq!(after, before);
    assert_eq!(world.accounts().await.len(), CROWD + 2);
    world.account("bea@x.example").await;
    let explained = world.rosterd(&["explain", "u-eva"]).await.ends(DONE);
    assert!(explained.out.contains("409"), "{explained:?}");
    let status = world.rosterd(&["status", "crm"]).await.ends(DONE);
    assert!(status.out.contains("u-eva") && status.out.contains("409"), "{status:?}");
}
