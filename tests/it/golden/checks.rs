//! The second opinion: a plan broken by hand is caught, by the law that it breaks.

mod endings;

use rosterd::model::account::Membership;
use rosterd::model::change::Action;
use rosterd::model::change::Cause;
use rosterd::model::change::Change;
use rosterd::model::change::Effect;
use rosterd::model::change::EntitlementChange;
use rosterd::model::ids::Digest;
use rosterd::model::list::List;
use rosterd::model::plan::Coverage;
use rosterd::model::plan::Hold;
use rosterd::model::plan::HoldKind;
use rosterd::model::plan::Plan;
use rosterd::model::plan::Skip;
use rosterd::model::plan::SkipReason;
use rosterd::model::plan::Unmanaged;
use rosterd::plan::Planned;
use rosterd::plan::check;

use crate::golden::case::Case;
use crate::golden::case::World;

const CASE: &str = r"
target:
  existing: adopt
  protected: [root]
  own: { emails: create, title: if-empty }
  entitlements: { emea: { group: g1 }, apac: { group: g2 } }
users:
  u-1: { values: { userName: ada@acme.example, emails: [a@acme.example] } }
  u-2: { values: { userName: bob@acme.example, timezone: Europe/Paris, title: Boss, emails: [b@acme.example] }, entitlements: [apac] }
  u-3: { none: not-granted }
  u-4: { values: { userName: dan@acme.example } }
  u-5: { values: { userName: eve@acme.example } }
  u-6: { conflict: cardinality }
links:
  u-2: { account: a-2, granted: [group:g1] }
  u-3: { account: a-3 }
  u-4: { account: a-4, disabledByUs: true }
  u-6: { account: a-6, granted: [group:g1] }
causes: { u-3: explicit }
";

const OBSERVED: &str = r"
- { id: a-2, values: { userName: bob@acme.example, externalId: u-2, title: Theirs }, memberships: [group:g1] }
- { id: a-3, values: { userName: cy@acme.example, externalId: u-3 } }
- { id: a-4, state: disabled, values: { userName: dan@acme.example, externalId: u-4 } }
- { id: a-5, values: { userName: eve@acme.example, externalId: u-5 } }
- { id: a-6, values: { userName: fay@acme.example, externalId: u-6 }, memberships: [group:g1] }
- { id: a-7, values: { userName: root } }
";

fn world() -> World {
    Case::from_text(CASE, OBSERVED).world()
}

/// Breaks the plan, and expects the law to say so.
fn check(law: &str, spoil: impl FnOnce(&mut Plan)) {
    check_facts(law, |_| {}, spoil);
}

/// The same where the facts are others than the planner was told.
fn check_facts(law: &str, differ: impl FnOnce(&mut World), spoil: impl FnOnce(&mut Plan)) {
    check_planned(law, differ, |planned| spoil(&mut planned.plan));
}

fn check_planned(law: &str, differ: impl FnOnce(&mut World), spoil: impl FnOnce(&mut Planned)) {
    check_world(world(), law, differ, spoil);
}

fn check_world(mut world: World, law: &str, differ: impl FnOnce(&mut World), spoil: impl FnOnce(&mut Planned)) {
    let mut planned = world.planned();
    assert_eq!(check::check_seen(&planned, &world.input()), Vec::<String>::new());
    differ(&mut world);
    spoil(&mut planned);
    let broken = check::check_seen(&planned, &world.input());
    let prefix = format!("{law}: ");
    assert!(broken.iter().any(|sentence| sentence.starts_with(&prefix)), "{law} is silent: {broken:?}");
}

fn of<'p>(plan: &'p mut Plan, record: &str, action: Action) -> &'p mut Change {
    let found = plan.changes.iter_mut().find(|change| change.record.as_str() == record && change.action == action);
    found.unwrap_or_else(|| panic!("the plan has no {} of {record}", action.as_str()))
}

fn entitlement(word: &str, group: &str) -> EntitlementChange {
    EntitlementChange {
        name: Some(word.into()),
        membership: Membership::Group(group.to_owned()),
        privileged: false,
        origins: List::default(),
    }
}

#[test]
fn widening_before_narrowing_is_caught() {
    check("narrowing-first", |plan| plan.changes.reverse());
}

#[test]
fn inferred_narrowing_before_explicit_is_caught() {
    check("narrowing-first", |plan| plan.changes.swap(0, 1));
}

#[test]
fn two_changes_of_one_effect_for_one_user_are_caught() {
    check("one-change-an-effect", |plan| {
        let twin = of(plan, "u-1", Action::Create).clone();
        plan.changes.push(twin);
    });
}

#[test]
fn a_change_for_a_user_whom_nobody_asked_for_is_caught() {
    check_facts("only-those-asked-for", |world| world.records = Some(["u-1".into()].into()), |_| {});
}

#[test]
fn a_change_to_an_account_without_link_is_caught() {
    check("only-linked-accounts", |plan| of(plan, "u-3", Action::Disable).account = Some("a-7".into()));
    check("only-linked-accounts", |plan| of(plan, "u-3", Action::Disable).account = None);
    check("only-linked-accounts", |plan| of(plan, "u-1", Action::Create).account = Some("a-7".into()));
}

#[test]
fn a_change_to_an_account_of_another_user_is_caught() {
    check("only-linked-accounts", |plan| of(plan, "u-3", Action::Disable).account = Some("a-2".into()));
    check("only-linked-accounts", |plan| of(plan, "u-5", Action::Adopt).account = Some("a-2".into()));
    check_facts(
        "only-linked-accounts",
        |world| {
            let shared = world.links[&"u-3".into()].clone();
            world.links.insert("u-9".into(), shared);
        },
        |_| {},
    );
}

#[test]
fn a_second_account_for_a_linked_user_is_caught() {
    check("no-second-account", |plan| of(plan, "u-1", Action::Create).record = "u-2".into());
}

#[test]
fn a_creation_from_a_partial_listing_is_caught() {
    check("no-second-account", |plan| {
        plan.coverage = Coverage::Partial("cut".to_owned());
        plan.unmanaged.clear();
    });
}

#[test]
fn a_creation_after_a_look_up_that_proved_nothing_is_caught() {
    check_facts(
        "no-second-account",
        |world| world.unproven = ["u-1".into()].into(),
        |plan| {
            plan.coverage = Coverage::Keyed;
            plan.unmanaged.clear();
        },
    );
}

#[test]
fn an_account_adopted_twice_is_caught() {
    check("no-second-account", |plan| {
        let mut twin = of(plan, "u-5", Action::Adopt).clone();
        twin.record = "u-1".into();
        plan.changes.push(twin);
    });
}

#[test]
fn removal_by_absence_is_caught() {
    check("nothing-by-absence", |plan| {
        let reason = SkipReason::Vanished;
        plan.skips.push(Skip { record: "u-3".into(), account: Some("a-3".into()), reason });
    });
    check("nothing-by-absence", |plan| plan.accounts.clear());
    check_planned("accounts-were-seen", |_| {}, |planned| planned.seen.clear());
}

#[test]
fn absence_concluded_from_a_partial_listing_is_caught() {
    check("nothing-by-absence", |plan| {
        plan.coverage = Coverage::Partial("cut".to_owned());
        plan.skips.push(Skip { record: "u-9".into(), account: None, reason: SkipReason::Vanished });
        plan.unmanaged.clear();
    });
    check("nothing-by-absence", |plan| {
        plan.coverage = Coverage::Keyed;
        let state = rosterd::model::account::AccountState::Active;
        plan.unmanaged.push(Unmanaged { account: "a-8".into(), user_name: None, state, explained: None });
    });
}

#[test]
fn a_hold_with_the_digest_of_other_changes_is_caught() {
    check("holds-say-what-they-hold", |plan| {
        let changes = plan.changes.split_off(plan.changes.len() - 1);
        let (limit, reason) = (HoldKind::NarrowInferred, String::new());
        plan.holds.push(Hold { limit, reason, digest: Digest::from("0"), changes });
    });
}

#[test]
fn a_change_whose_content_belies_its_effect_is_caught() {
    let law = "effect-matches-content";
    check(law, |plan| of(plan, "u-3", Action::Disable).effect = Effect::Neutral);
    check(law, |plan| of(plan, "u-3", Action::Disable).active = Some(true));
    check(law, |plan| of(plan, "u-2", Action::Narrow).grant.edit(|all| all.push(entitlement("apac", "g2"))));
    check(law, |plan| of(plan, "u-2", Action::Narrow).revoke.edit(Vec::clear));
    check(law, |plan| of(plan, "u-2", Action::Update).grant.edit(|all| all.push(entitlement("apac", "g2"))));
    check(law, |plan| of(plan, "u-2", Action::Update).fields.edit(Vec::clear));
    check(law, |plan| of(plan, "u-2", Action::Update).revoke.edit(|all| all.push(entitlement("emea", "g1"))));
    check(law, |plan| of(plan, "u-1", Action::Create).effect = Effect::Neutral);
    check(law, |plan| of(plan, "u-1", Action::Create).active = None);
    check(law, |plan| of(plan, "u-5", Action::Adopt).active = Some(true));
}

#[test]
fn a_narrowing_without_its_cause_is_caught() {
    let law = "cause-exactly-when-narrowing";
    check(law, |plan| of(plan, "u-3", Action::Disable).cause = None);
    check(law, |plan| of(plan, "u-3", Action::Disable).cause = Some(Cause::Inferred));
    check(law, |plan| of(plan, "u-1", Action::Create).cause = Some(Cause::Explicit));
}

#[test]
fn a_value_that_was_not_projected_is_caught() {
    let law = "only-projected-values";
    check(law, |plan| of(plan, "u-1", Action::Create).fields[0].path = "nickName".to_owned().try_into().unwrap());
    check(law, |plan| of(plan, "u-2", Action::Update).fields[0].after = Some("else".into()));
    check(law, |plan| of(plan, "u-1", Action::Create).fields.iter_mut().for_each(|field| field.personal = false));
}

#[test]
fn a_value_that_others_own_is_caught() {
    let law = "ownership-of-values";
    let path = |text: &str| text.to_owned().try_into().unwrap();
    check(law, |plan| {
        let field = &mut of(plan, "u-2", Action::Update).fields[0];
        field.path = path("emails");
        field.after = Some(serde_json::json!(["b@acme.example"]));
    });
    check(law, |plan| {
        let field = &mut of(plan, "u-2", Action::Update).fields[0];
        field.path = path("title");
        (field.before, field.after) = (Some("Theirs".into()), Some("Boss".into()));
    });
    check(law, |plan| {
        let field = &mut of(plan, "u-2", Action::Update).fields[0];
        field.path = path("externalId");
        (field.before, field.after) = (Some("hr-2".into()), Some("u-2".into()));
    });
    check_facts(law, |world| world.target.account.updates = false, |_| {});
}

#[test]
fn widening_for_a_user_without_access_is_caught() {
    let law = "widening-needs-entitlement";
    check(law, |plan| of(plan, "u-4", Action::Reactivate).record = "u-3".into());
    check(law, |plan| of(plan, "u-1", Action::Create).record = "u-99".into());
    check(law, |plan| of(plan, "u-2", Action::Update).record = "u-6".into());
}

#[test]
fn widening_without_a_rule_that_says_so_is_caught() {
    let law = "widening-names-its-rule";
    check(law, |plan| of(plan, "u-1", Action::Create).origins.edit(Vec::clear));
    check(law, |plan| of(plan, "u-4", Action::Reactivate).origins.edit(Vec::clear));
}

#[test]
fn widening_by_the_rule_of_another_user_is_caught() {
    let law = "widening-names-its-rule";
    check(law, |plan| {
        let elsewhere = of(plan, "u-5", Action::Adopt).origins.clone();
        of(plan, "u-1", Action::Create).origins = elsewhere;
    });
    check(law, |plan| {
        let grant = plan.changes.iter_mut().find(|change| !change.grant.is_empty());
        grant.unwrap().grant[0].origins.edit(Vec::clear);
    });
}

#[test]
fn taking_the_account_of_an_entitled_user_is_caught() {
    let law = "narrowing-needs-loss";
    check(law, |plan| of(plan, "u-3", Action::Disable).record = "u-2".into());
    check(law, |plan| of(plan, "u-2", Action::Narrow).record = "u-6".into());
}

#[test]
fn ending_access_in_another_way_than_the_rule_is_caught() {
    let law = "narrowing-needs-loss";
    check(law, |plan| of(plan, "u-3", Action::Disable).action = Action::Delete);
}

#[test]
fn taking_what_rosterd_did_not_grant_is_caught() {
    let law = "only-granted-is-revoked";
    check(law, |plan| of(plan, "u-2", Action::Narrow).revoke = vec![entitlement("theirs", "g9")].into());
    check(law, |plan| of(plan, "u-2", Action::Narrow).revoke = vec![entitlement("apac", "g2")].into());
}

#[test]
fn granting_what_no_role_gives_is_caught() {
    check("only-desired-is-granted", |plan| {
        of(plan, "u-1", Action::Create).grant.edit(|all| all.push(entitlement("emea", "g1")));
    });
}

#[test]
fn undoing_what_another_hand_disabled_is_caught() {
    check_facts(
        "only-ours-is-reactivated",
        |world| {
            for link in world.links.values_mut() {
                link.disabled_by_us = false;
            }
        },
        |_| {},
    );
}

#[test]
fn writing_a_protected_account_is_caught() {
    let law = "protected-is-untouched";
    check_facts(law, |world| world.own_account = Some("a-3".into()), |_| {});
    check_facts(law, |world| world.target.account.protected = vec!["cy@*".to_owned()], |_| {});
    check_facts(law, |world| world.target.account.protected = vec!["ADA@*".to_owned()], |_| {});
}

#[test]
fn a_change_that_changes_nothing_is_caught() {
    let law = "changes-something";
    let spoil = |planned: &mut Planned| {
        for account in planned.seen.values_mut() {
            let account = std::sync::Arc::make_mut(account);
            account.memberships.clear();
            account.values.clear();
            account.state = rosterd::model::account::AccountState::Disabled;
        }
    };
    check_planned(law, |_| {}, spoil);
}
