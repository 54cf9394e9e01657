//! Entitlements that are groups of the target, on every kind of server.

use serde_json::Value;
use serde_json::json;

use crate::world::Kind;
use crate::world::Person;
use crate::world::World;
use crate::world::id;

/// A world with groups `staff` and `board`, each with a guest in it, and a word for each. Role
/// `agent` gives `staff`, role `chair` gives both.
async fn grouped(kind: Kind) -> Option<(World, Group, Group)> {
    let world = World::of(kind).await?;
    let guest = world.stranger(&json!({ "userName": "guest" })).await;
    let staff = Group { id: world.group("Staff", &[&guest]).await, guest: guest.clone() };
    let board = Group { id: world.group("Board", &[&guest]).await, guest };
    world.target(|spec| {
        spec["entitlements"] = json!({
            "staff": { "group": { "id": staff.id } }, "board": { "group": { "id": board.id } },
        });
        // So that everybody else has to wait in line.
        spec["limits"] = json!({ "concurrency": 1 });
    });
    world.role("agent", &["staff"]);
    world.role("chair", &["staff", "board"]);
    Some((world, staff, board))
}

struct Group {
    id: String,
    guest: String,
}

impl Group {
    /// Its members are the guest and these, nobody else.
    async fn holds(&self, world: &World, ids: &[&String]) {
        let mut expected: Vec<_> = ids.iter().copied().chain([&self.guest]).cloned().collect();
        expected.sort();
        assert_eq!(world.members(&self.id).await, expected);
    }
}

async fn apply(world: &World) -> Value {
    world.rosterd(&["apply", "--yes", "--output", "json"]).await.ends(0).json()[0]["cycle"]["done"].clone()
}

/// The target holds a guest, so a person has to say the first word.
async fn enforced(world: &World) {
    let held = world.applied(crate::world::HELD).await;
    let digest = held["plan"]["holds"][0]["digest"].as_str().expect("a digest");
    world.rosterd(&["enforce", "crm", digest]).await.ends(0);
}

pub(crate) async fn a_group_gains_and_loses_those_who_are_granted_it_and_keeps_the_others(kind: Kind) {
    let Some((world, staff, board)) = grouped(kind).await else { return };
    let ada = Person::named("ada");
    world.user(&ada);
    enforced(&world).await;
    let account = id(&world.account(&ada.email).await);
    staff.holds(&world, &[&account]).await;
    board.holds(&world, &[]).await;
    world.is_settled().await;
    // Another role gives more.
    world.user(&Person { roles: vec!["chair".into()], ..ada.clone() });
    assert_eq!(apply(&world).await, json!({ "update": 1 }));
    staff.holds(&world, &[&account]).await;
    board.holds(&world, &[&account]).await;
    world.is_settled().await;
    // What another hand took is given again.
    let (status, answer) = world.without_members(&staff.id, &[&account]).await;
    assert!(status < 300, "{answer}");
    staff.holds(&world, &[]).await;
    assert_eq!(apply(&world).await, json!({ "update": 1 }));
    staff.holds(&world, &[&account]).await;
    // And with the role it goes, for good.
    world.user(&ada);
    assert_eq!(apply(&world).await, json!({ "narrow": 1 }));
    staff.holds(&world, &[&account]).await;
    board.holds(&world, &[]).await;
    world.is_settled().await;
}

pub(crate) async fn a_membership_that_another_hand_gave_stays(kind: Kind) {
    let Some((world, staff, board)) = grouped(kind).await else { return };
    let ada = Person::named("ada");
    world.user(&ada);
    enforced(&world).await;
    let account = id(&world.account(&ada.email).await);
    let (status, answer) = world.with_members(&board.id, &[&account, &board.guest]).await;
    assert!(status < 300, "{answer}");
    assert_eq!(apply(&world).await, json!({}));
    board.holds(&world, &[&account]).await;
    staff.holds(&world, &[&account]).await;
    world.is_settled().await;
}

/// A leaver, a newcomer and a change of name in one load: what takes away goes first.
pub(crate) async fn a_role_taken_away_is_a_narrowing_and_first_in_line(kind: Kind) {
    let Some((world, staff, board)) = grouped(kind).await else { return };
    let (ada, zoe) = (Person::named("ada"), Person::named("zoe"));
    world.user(&ada);
    world.user(&Person { roles: vec!["chair".into()], ..zoe.clone() });
    enforced(&world).await;
    let accounts = [id(&world.account(&ada.email).await), id(&world.account(&zoe.email).await)];
    board.holds(&world, &[&accounts[1]]).await;
    world.forget_requests().await;
    for newcomer in ["abe", "bob", "cy"] {
        world.user(&Person::named(newcomer));
    }
    world.user(&Person { family: "Byron".into(), ..ada });
    world.user(&zoe);
    let (_, plan) = world.plan().await;
    let planned = plan["changes"].as_array().expect("changes").iter();
    let planned: Vec<_> = planned.map(|change| json!([change["record"], change["action"], change["effect"]])).collect();
    let expected = [
        json!(["u-zoe", "narrow", "narrows"]),
        json!(["u-ada", "update", "neutral"]),
        json!(["u-abe", "create", "widens"]),
        json!(["u-bob", "create", "widens"]),
        json!(["u-cy", "create", "widens"]),
    ];
    assert_eq!(planned, expected);
    assert_eq!(apply(&world).await, json!({ "narrow": 1, "update": 1, "create": 3 }));
    board.holds(&world, &[]).await;
    let everybody = world.accounts().await.iter().map(id).collect::<Vec<_>>();
    staff.holds(&world, &everybody.iter().filter(|id| **id != staff.guest).collect::<Vec<_>>()).await;
    // Narrowing has a slot of its own, so one other call may be on its way beside it.
    if let Some(writes) = world.writes().await {
        let is_first = |write: &Value| write["path"] == format!("/Groups/{}", board.id);
        assert!(writes.iter().take(2).any(is_first), "{writes:#?}");
    }
    world.is_settled().await;
}
