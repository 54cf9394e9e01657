//! Deletions, mails of ended accounts, and who was who.

use std::collections::BTreeMap;

use rosterd::model::account::AccountState;
use rosterd::model::change::FieldChange;
use rosterd::model::hand::Hand;
use rosterd::model::list::List;
use rosterd::model::projection::Desired;
use rosterd::model::projection::NoAccess;
use rosterd::model::projection::NoAccessReason;
use rosterd::model::target::Ending;
use rosterd::model::target::ForeignDelete;
use rosterd::model::target::ForeignDisable;
use rosterd::model::target::Regain;

use super::*;

const CASE: &str = r#"
target: { deleteAfter: 30, notifications: [mail], existing: adopt, trustedKeys: [userName], entitlements: { emea: { group: g1 } } }
users:
  u-1: { none: inactive }
  u-2: { none: inactive }
  u-3: { values: { userName: cy } }
  u-4: { values: { userName: dee } }
  u-5: { values: { userName: eve }, formerly: [u-0] }
  u-6: { values: { userName: fay } }
  u-8: { values: { userName: hal } }
links:
  u-1: { account: a-1, disabledByUs: true }
  u-2: { account: a-2, disabledByUs: true }
  u-3: { account: a-3, disabledByUs: true }
  u-6: { account: a-6 }
  u-7: { account: a-7 }
  u-8: { account: a-8 }
hands:
  a-1: { ended: "2026-10-23T12:00:00Z" }
  a-3: { silenced: { mail: true } }
  a-8: { deletedByUs: true }
"#;

const OBSERVED: &str = r"
- { id: a-1, state: disabled, values: { userName: ada, externalId: u-1 } }
- { id: a-2, state: disabled, values: { userName: bob, externalId: u-2, mail: true } }
- { id: a-3, state: disabled, values: { userName: cy, externalId: u-3, mail: false } }
- { id: a-5, values: { userName: eve } }
- { id: a-6, values: { userName: was-fay, externalId: u-6 } }
- { id: a-7, values: { userName: gus, externalId: u-7 } }
- { id: a-8, state: deleted-recoverable, values: { userName: hal, externalId: u-8 } }
";

fn facts(law: &str, differ: impl FnOnce(&mut World)) {
    check_world(Case::from_text(CASE, OBSERVED).world(), law, differ, |_| {});
}

fn plan(law: &str, spoil: impl FnOnce(&mut Plan)) {
    check_world(Case::from_text(CASE, OBSERVED).world(), law, |_| {}, |planned| spoil(&mut planned.plan));
}

fn hand(world: &mut World, account: &str, change: impl FnOnce(&mut Hand)) {
    change(world.hands.entry(account.into()).or_default());
}

fn without_access(reason: NoAccessReason) -> Desired {
    Desired::None(NoAccess { reason, ending: Ending::Disable, origins: List::default() })
}

#[test]
fn a_deletion_before_its_time_is_caught() {
    let law = "deletion-waits";
    facts(law, |world| hand(world, "a-1", |hand| hand.ended = hand.ended.map(|at| at + chrono::TimeDelta::seconds(1))));
    facts(law, |world| hand(world, "a-1", |hand| hand.ended = None));
    facts(law, |world| drop(world.hands.remove(&"a-1".into())));
    plan(law, |plan| {
        let change = of(plan, "u-1", Action::Delete);
        (change.record, change.account) = ("u-2".into(), Some("a-2".into()));
    });
}

#[test]
fn a_deletion_of_what_another_hand_ended_or_of_who_is_expected_back_is_caught() {
    let law = "deletion-waits";
    facts(law, |world| world.links.get_mut(&"u-1".into()).unwrap().disabled_by_us = false);
    facts(law, |world| drop(world.links.remove(&"u-1".into())));
    facts(law, |world| hand(world, "a-1", |hand| hand.ended_over = Some(AccountState::Suspended)));
    for reason in [NoAccessReason::Revoked, NoAccessReason::NotYetValid] {
        facts(law, |world| drop(world.desired.insert("u-1".into(), without_access(reason))));
    }
}

#[test]
fn a_mail_that_is_not_the_targets_to_switch_is_caught() {
    let silences = |plan: &Plan| plan.changes.iter().any(|change| change.record.as_str() == "u-2");
    assert!(silences(&Case::from_text(CASE, OBSERVED).world().planned().plan));
    for law in ["only-projected-values", "widening-needs-entitlement"] {
        facts(law, |world| world.target.account.notifications.clear());
        facts(law, |world| world.links.get_mut(&"u-2".into()).unwrap().disabled_by_us = false);
        plan(law, |plan| of(plan, "u-2", Action::Update).fields[0].after = Some(true.into()));
        plan(law, |plan| of(plan, "u-2", Action::Update).fields[0].after = None);
    }
    let conflict = Case::from_text("users: { u-2: { conflict: cardinality } }", "[]").world().desired;
    facts("widening-needs-entitlement", |world| world.desired.extend(conflict));
}

#[test]
fn a_change_that_passes_for_mails_and_is_something_else_is_caught() {
    let law = "widening-needs-entitlement";
    plan(law, |plan| of(plan, "u-2", Action::Update).grant.edit(|all| all.push(entitlement("emea", "g1"))));
    plan(law, |plan| of(plan, "u-2", Action::Update).active = Some(true));
    plan(law, |plan| of(plan, "u-2", Action::Update).fields.edit(Vec::clear));
    plan(law, |plan| {
        let change = of(plan, "u-2", Action::Update);
        let path = "title".to_owned().try_into().unwrap();
        let field = FieldChange { path, ..change.fields[0].clone() };
        change.fields.edit(|fields| fields.push(field));
    });
}

#[test]
fn a_mail_that_is_not_switched_back_to_what_it_was_is_caught() {
    let law = "only-projected-values";
    facts(law, |world| hand(world, "a-3", |hand| hand.silenced = BTreeMap::new()));
    facts(law, |world| drop(world.hands.remove(&"a-3".into())));
    plan(law, |plan| {
        let fields = &mut of(plan, "u-3", Action::Reactivate).fields;
        for field in fields.iter_mut() {
            field.after = Some("loud".into());
        }
    });
    facts(law, |world| drop(world.desired.insert("u-3".into(), without_access(NoAccessReason::Ended))));
}

#[test]
fn anything_given_to_a_record_id_that_may_be_somebody_elses_is_caught() {
    let law = "nothing-of-anothers";
    for record in ["u-3", "u-4", "u-6"] {
        facts(law, |world| world.known.reused = [record.into()].into());
    }
    let had = |text: &str| Case::from_text(text, "[]").world().known.history;
    facts(law, |world| world.known.history = had("had: { a-5: u-9 }"));
    // What was one's own under an earlier record id is no other's.
    let mut world = Case::from_text(CASE, OBSERVED).world();
    world.known.history = had("had: { a-5: u-0, a-6: u-9 }");
    assert_eq!(check::check_seen(&world.planned(), &world.input()), Vec::<String>::new());
    assert!(world.planned().plan.changes.iter().any(|change| change.action == Action::Adopt));
}

#[test]
fn a_rename_that_is_guessed_is_caught() {
    let law = "no-rename-is-guessed";
    for record in ["u-4", "u-5"] {
        facts(law, |world| {
            world.known.renamed = [(record.into(), [("u-9".into(), "a-9".into())].into())].into();
        });
    }
    facts(law, |world| world.known.renamed = [("u-new".into(), [("u-7".into(), "a-7".into())].into())].into());
    // What a document says of its user is no guess.
    let mut world = Case::from_text(CASE, OBSERVED).world();
    let planned = world.planned();
    world.known.renamed = [("u-new".into(), [("u-1".into(), "a-1".into())].into())].into();
    assert_eq!(check::check_seen(&planned, &world.input()), Vec::<String>::new());
}

#[test]
fn an_account_given_back_without_the_word_that_was_to_be_asked_for_is_caught() {
    facts("regain-is-asked-for", |world| world.target.account.regain = Regain::Ask);
    let mut world = Case::from_text(CASE, OBSERVED).world();
    world.target.account.regain = Regain::Ask;
    world.known.regained = ["u-3".into(), "u-8".into()].into();
    let planned = world.planned();
    assert_eq!(check::check_seen(&planned, &world.input()), Vec::<String>::new());
    assert!(planned.plan.changes.iter().any(|change| change.action == Action::Reactivate));
}

#[test]
fn an_account_had_back_that_another_hand_deleted_is_caught() {
    let law = "only-ours-is-reactivated";
    facts(law, |world| hand(world, "a-8", |hand| hand.deleted_by_us = false));
    facts(law, |world| hand(world, "a-8", |hand| hand.ended_over = Some(AccountState::Suspended)));
    facts(law, |world| hand(world, "a-3", |hand| hand.ended_over = Some(AccountState::Suspended)));
}

#[test]
fn what_the_target_locked_is_opened_by_no_rule() {
    let law = "only-ours-is-reactivated";
    facts(law, |world| {
        world.target.account.foreign_disable = ForeignDisable::Reactivate;
        world.target.account.foreign_delete = ForeignDelete::Recreate;
        hand(world, "a-3", |hand| hand.ended_over = Some(AccountState::Locked));
    });
    let opened = |planned: &mut Planned| {
        let account = planned.seen.get_mut(&"a-3".into()).unwrap();
        std::sync::Arc::make_mut(account).state = AccountState::Locked;
    };
    check_world(Case::from_text(CASE, OBSERVED).world(), law, |_| {}, opened);
}
