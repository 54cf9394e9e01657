//! Neither too few who may do everything in a target nor too many (`administrators`, S4.7).

use std::collections::BTreeMap;
use std::sync::Arc;

use rosterd::manifest::Documents;
use rosterd::model::account::AccountState;
use rosterd::model::account::Membership;
use rosterd::model::administrators::Administrators;
use rosterd::model::decision::DecisionKind;
use rosterd::model::plan::HoldKind;
use rosterd::model::plan::Plan;
use rosterd::model::role::Role;
use rosterd::model::target::Limits;
use rosterd::model::target::Target;
use rosterd::model::user::User;

use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::target;
use crate::support::make::users;
use crate::support::rig::Rig;

fn group() -> Membership {
    Membership::Group("g-admin".to_owned())
}

/// Two or three administrators.
fn app(enforce: bool) -> Target {
    let administrators =
        Administrators { entitlement: "admin".into(), membership: group(), min: 2, max: Some(3), enforce };
    Target { limits: Limits { administrators: Some(administrators), ..Limits::none() }, ..target("app") }
}

/// So many users, of whom these hold the role `admin`.
fn admins(all: usize, admins: impl IntoIterator<Item = usize>) -> Vec<User> {
    let mut users = users(all);
    admins.into_iter().for_each(|number| users[number].roles.push(held("admin")));
    users
}

/// Without what the role `admin` gives: nobody's own document took it away.
fn without_grant(mut documents: Documents) -> Documents {
    for role in documents.roles.values_mut().filter(|role| role.name.as_str() == "admin") {
        let role: &mut Role = Arc::make_mut(role);
        role.grants.clear();
    }
    documents.digest = format!("{} without", documents.digest.as_str()).into();
    documents
}

/// Active administrators in the target, ours and others.
fn administrators(rig: &Rig) -> usize {
    let inside = rig.target("app");
    let inside = inside.inside();
    inside.accounts.values().filter(|it| it.state == AccountState::Active && it.memberships.contains(&group())).count()
}

fn holds(rig: &Rig) -> BTreeMap<HoldKind, usize> {
    rig.status("app").holds.iter().map(|hold| (hold.limit, hold.changes.len())).collect()
}

async fn planned(rig: &Rig) -> Plan {
    rig.engine.plan(&"app".into(), None, None).await.unwrap()
}

/// Whether it is told that there are too few or too many.
fn outside(rig: &Rig) -> bool {
    let text = rig.metrics.encode();
    let is_zero = |count| text.contains(&format!(r#"rosterd_administrators{{count="{count}",target="app"}} 0"#));
    !is_zero("missing") || !is_zero("over")
}

#[tokio::test(start_paused = true)]
async fn s4_7_outside_two_to_three_administrators_a_plan_warns_and_stops_nothing() {
    let app = app(false);
    let rig = Rig::started(documents(admins(5, [0]), [app.clone()])).await;
    rig.sync("app").await.unwrap();
    assert!(outside(&rig), "one is too few");
    let plan = planned(&rig).await;
    let text = rosterd::plan::render::text(&plan);
    assert!(text.contains("warning: 1 active accounts have `admin`; at least 2 and at most 3 should"), "{text}");
    rig.declare(documents(admins(5, 0..3), [app.clone()])).await;
    assert_eq!((administrators(&rig), outside(&rig), planned(&rig).await.administrators), (3, false, None));
    rig.declare(documents(admins(5, 0..4), [app])).await;
    assert_eq!((administrators(&rig), outside(&rig), holds(&rig)), (4, true, BTreeMap::new()));
}

#[tokio::test(start_paused = true)]
async fn s4_7_a_fourth_administrator_is_held_and_everything_else_goes_on() {
    let app = app(true);
    let rig = Rig::started(documents(admins(5, 0..3), [app.clone()])).await;
    rig.sync("app").await.unwrap();
    rig.declare(documents(admins(8, 0..4), [app.clone()])).await;
    assert_eq!((administrators(&rig), holds(&rig)), (3, [(HoldKind::Administrators, 1)].into()));
    assert!(rig.target("app").by_name("u-0007@acme.example").is_some());
    rig.declare(documents(admins(8, 1..4), [app.clone()])).await;
    assert_eq!((administrators(&rig), holds(&rig)), (3, BTreeMap::new()), "one goes by their own document, one comes");
    rig.declare(documents(admins(8, 1..5), [app])).await;
    rig.release(HoldKind::Administrators).await;
    assert_eq!((administrators(&rig), holds(&rig)), (4, BTreeMap::new()));
}

#[tokio::test(start_paused = true)]
async fn s4_7_accounts_that_are_nobodys_count_as_well() {
    let app = app(true);
    let rig = Rig::started(documents(admins(5, 0..2), [app.clone()])).await;
    let stranger = rig.target("app").put("root@acme.example", AccountState::Active);
    rig.target("app").inside().accounts.get_mut(&stranger).unwrap().memberships.insert(group());
    rig.sync("app").await.unwrap();
    rig.declare(documents(admins(5, 0..3), [app])).await;
    assert_eq!((administrators(&rig), holds(&rig)), (3, [(HoldKind::Administrators, 1)].into()));
}

#[tokio::test(start_paused = true)]
async fn s4_7_by_inference_nobody_leaves_where_fewer_than_two_would_be_left() {
    let app = app(true);
    let rig = Rig::started(documents(admins(5, 0..3), [app.clone()])).await;
    rig.sync("app").await.unwrap();
    rig.declare(without_grant(documents(admins(5, 0..3), [app.clone()]))).await;
    assert_eq!((administrators(&rig), holds(&rig)), (3, [(HoldKind::Administrators, 3)].into()));
    let owed = rig.metrics.encode();
    assert!(owed.contains(r#"rosterd_holds{limit="administrators",target="app"} 3"#), "{owed}");
    rig.release(HoldKind::Administrators).await;
    assert_eq!((administrators(&rig), holds(&rig)), (0, BTreeMap::new()), "a person may");
}

#[tokio::test(start_paused = true)]
async fn s4_7_whoever_leaves_by_their_own_document_does_down_to_the_last_and_that_is_told() {
    let app = app(true);
    let rig = Rig::started(documents(admins(5, 0..3), [app.clone()])).await;
    rig.sync("app").await.unwrap();
    let left = |gone: usize| {
        let mut users = admins(5, 0..3);
        users.iter_mut().take(gone).for_each(|user| user.active = false);
        documents(users, [app.clone()])
    };
    rig.declare(left(2)).await;
    assert_eq!((administrators(&rig), outside(&rig), holds(&rig)), (1, true, BTreeMap::new()));
    rig.declare(left(3)).await;
    assert_eq!((administrators(&rig), holds(&rig)), (1, [(HoldKind::Administrators, 1)].into()));
    let rig = rig.restarted(left(3)).await;
    rig.sync("app").await.unwrap();
    assert_eq!((administrators(&rig), holds(&rig)), (1, [(HoldKind::Administrators, 1)].into()));
    rig.release(HoldKind::Administrators).await;
    assert_eq!(administrators(&rig), 0);
}

#[tokio::test(start_paused = true)]
async fn s4_7_two_who_leave_one_after_the_other_before_a_listing_are_counted_together() {
    let app = app(true);
    let rig = Rig::started(documents(admins(5, 0..2), [app.clone()])).await;
    rig.sync("app").await.unwrap();
    for gone in 1..=2 {
        let mut users = admins(5, 0..2);
        users.iter_mut().take(gone).for_each(|user| user.active = false);
        rig.declare(documents(users, [app.clone()])).await;
    }
    assert_eq!((administrators(&rig), holds(&rig)), (1, [(HoldKind::Administrators, 1)].into()));
}

#[tokio::test(start_paused = true)]
async fn s4_7_what_is_enforced_is_loosened_by_a_person_alone() {
    let rig = Rig::started(documents(admins(5, 0..3), [app(true)])).await;
    rig.sync("app").await.unwrap();
    rig.declare(documents(admins(5, 0..4), [app(false)])).await;
    assert_eq!(administrators(&rig), 3);
    let loosen = rig.status("app").holds.into_iter().find(|hold| hold.limit == HoldKind::Loosen).unwrap();
    assert!(loosen.reason.contains("`administrators` from 2 at least and 3 at most with `admin`"), "{}", loosen.reason);
    rig.engine.decide(rig.decision(DecisionKind::Release, Some(loosen.digest))).await.unwrap();
    rig.rest().await;
    assert_eq!(administrators(&rig), 4);
}
