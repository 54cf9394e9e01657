//! One forgery for each law.

use std::sync::Arc;

use rosterd::connector::ErrorClass;
use rosterd::model::account::Account;
use rosterd::model::account::AccountState;
use rosterd::model::account::Membership;
use rosterd::model::change::Action;
use rosterd::model::change::Cause;
use rosterd::model::change::EntitlementChange;
use rosterd::model::change::FieldChange;
use rosterd::model::decision::DecisionKind;
use rosterd::model::list::List;
use rosterd::model::path::AttributePath;
use rosterd::model::plan::Coverage;
use rosterd::model::plan::Plan;
use rosterd::model::plan::Quiet;
use rosterd::store::Write;

use crate::case::Step;
use crate::checks::forge::Forge;
use crate::judges::Bench;
use crate::judges::facts::second;
use crate::judges::rest;
use crate::world::Event;
use crate::world::Word;

const ADA: &str = "u-0000";
const BOB: &str = "u-0001";

fn field(path: &str, value: &str) -> FieldChange {
    FieldChange {
        path: AttributePath::parse(path).unwrap(),
        before: None,
        after: Some(value.into()),
        personal: false,
        sensitive: false,
        origins: List::default(),
    }
}

fn word(kind: DecisionKind) -> Word {
    Word { kind, target: Some(0), record: None, account: None, digest: None, halts: None, changes: Vec::new() }
}

pub(crate) fn a_log_in_which_nothing_went_wrong_breaks_no_law() {
    let forge = Forge::after(2, [(Step::Off(0), 3_600_000), (Step::On(0), 3_600_000), (Step::Given(1), 60_000)]);
    assert_eq!(forge.verdict(), None);
}

pub(crate) fn l1_a_removal_that_no_document_asks_for_is_seen() {
    let mut forge = Forge::calm();
    let ada = forge.account(ADA);
    forge.make(&forge.change(Action::Disable, ADA, Some(&ada)), Some(&ada));
    forge.expect("L1");
}

pub(crate) fn l1_a_broken_load_that_is_accepted_is_seen() {
    let mut forge = Forge::calm();
    let mut declared = forge.declared.clone();
    declared.people.get_mut(BOB).unwrap().given += 1;
    declared.unreadable.insert(ADA.to_owned());
    forge.load(declared, true);
    forge.expect("L1");
}

pub(crate) fn l1_a_load_that_shrinks_and_is_accepted_is_seen() {
    let mut forge = Forge::calm();
    let mut declared = forge.declared.clone();
    declared.people.retain(|record, _| record == ADA || record == BOB);
    forge.load(declared, true);
    forge.expect("L1");
}

pub(crate) fn l2_a_second_account_is_seen() {
    let mut forge = Forge::calm();
    forge.make(&forge.change(Action::Create, ADA, None), None);
    forge.expect("L2");
}

pub(crate) fn l2_a_creation_repeated_too_early_is_seen() {
    let mut forge = Forge::calm();
    let mut declared = forge.declared.clone();
    let ada = declared.people[ADA].clone();
    declared.people.insert("new".to_owned(), crate::declared::Person { mail: "new@acme.example".to_owned(), ..ada });
    forge.load(declared, true);
    let create = forge.change(Action::Create, "new", None);
    forge.make(&create, None);
    let Some(Event::Call { call, .. }) = forge.log.last().map(|entry| entry.event.clone()) else { unreachable!() };
    forge.add_later(Event::Answered { call, error: Some(ErrorClass::Uncertain) }, 1_000, 0);
    forge.make(&create, None);
    forge.expect("L2");
}

/// What the judges of rest say when the documents were these.
fn at_rest(forge: &Forge, declared: &crate::declared::Declared) -> Option<String> {
    let mut bench = Bench::new(&forge.case);
    assert_eq!(bench.hear(&forge.log), None);
    let now = second(forge.log.last().unwrap().at);
    let shown = vec![rest::Shown::default()];
    rest::everybody_is_where_they_belong(bench.facts(), declared, &shown, now).map(|violation| violation.law.to_owned())
}

pub(crate) fn l3_somebody_left_out_is_seen() {
    let forge = Forge::calm();
    assert_eq!(at_rest(&forge, &forge.declared), None);
    let mut declared = forge.declared.clone();
    let ada = declared.people[ADA].clone();
    declared.people.insert("new".to_owned(), ada);
    assert_eq!(at_rest(&forge, &declared).as_deref(), Some("L3"));
}

pub(crate) fn l3_somebody_left_in_is_seen() {
    let forge = Forge::calm();
    let mut off = forge.declared.clone();
    off.people.get_mut(ADA).unwrap().active = false;
    assert_eq!(at_rest(&forge, &off).as_deref(), Some("L3"));
    let mut gone = forge.declared.clone();
    gone.people.remove(ADA);
    assert_eq!(at_rest(&forge, &gone).as_deref(), Some("L3"));
}

pub(crate) fn l3_a_plan_that_is_not_empty_is_seen() {
    let forge = Forge::calm();
    let ada = forge.account(ADA);
    let change = forge.change(Action::Disable, ADA, Some(&ada));
    let empty = Plan {
        space: rosterd::model::link::Space {
            target: "t0".into(),
            environment: "default".into(),
            realm: "realm-0".into(),
        },
        mode: rosterd::model::target::Mode::Enforce,
        coverage: Coverage::Complete,
        changes: Vec::new(),
        skips: Vec::new(),
        quiet: Quiet::default(),
        unmanaged: Vec::new(),
        accounts: std::collections::BTreeMap::new(),
        holds: Vec::new(),
        administrators: None,
    };
    assert_eq!(rest::a_fresh_plan_is_empty(0, &empty), None);
    let full = Plan { changes: vec![change], ..empty };
    assert_eq!(rest::a_fresh_plan_is_empty(0, &full).map(|violation| violation.law), Some("L3"));
}

pub(crate) fn l4_a_window_that_overflows_is_seen() {
    let mut forge = Forge::calm();
    for record in ["u-0002", "u-0003", "u-0004"] {
        assert_eq!(forge.verdict(), None);
        let account = forge.account(record);
        let mut change = forge.change(Action::Disable, record, Some(&account));
        change.cause = Some(Cause::Inferred);
        let writes = forge.intent(change);
        forge.commit(writes);
    }
    forge.expect("L4");
}

/// A leaver whom nobody calls about.
fn waiting(targets: usize, rough: bool) -> Forge {
    let mut forge = Forge::after(targets, [(Step::Given(3), 7_200_000)]);
    // Before everything is put right: that counts as a change of weather.
    let last = forge.log.iter().position(|entry| matches!(entry.event, Event::Turned { .. })).unwrap();
    forge.log.truncate(last);
    forge.add_later(Event::Rest("nothing for hours".to_owned()), 7_200_000, 0);
    if rough {
        forge.add(Event::Turned { target: Some(1), rough: true });
    }
    let declared = forge.person(ADA, |person| person.active = false);
    forge.load(declared, true);
    forge.add(Event::Rest("a while later".to_owned()));
    forge
}

pub(crate) fn l5_a_removal_that_waits_is_seen() {
    waiting(1, false).expect("L5");
}

pub(crate) fn l15_a_removal_that_waits_for_another_target_is_seen() {
    waiting(2, true).expect("L15");
}

pub(crate) fn l6_a_write_of_what_is_not_mapped_is_seen() {
    let mut forge = Forge::calm();
    let ada = forge.account(ADA);
    let mut change = forge.change(Action::Update, ADA, Some(&ada));
    change.fields = vec![field("title", "boss")].into();
    forge.make(&change, Some(&ada));
    forge.expect("L6");
}

pub(crate) fn l6_a_write_of_what_did_not_differ_is_seen() {
    let mut forge = Forge::calm();
    let ada = forge.account(ADA);
    let mut change = forge.change(Action::Update, ADA, Some(&ada));
    change.fields = vec![field("userName", ada.user_name().unwrap())].into();
    forge.make(&change, Some(&ada));
    forge.expect("L6");
}

/// A change that is allowed, so that only the law in question is broken.
fn allowed(forge: &Forge) -> (rosterd::model::change::Change, Account) {
    let ada = forge.account(ADA);
    let mut change = forge.change(Action::Update, ADA, Some(&ada));
    change.fields = vec![field("name.givenName", "Ada")].into();
    (change, ada)
}

pub(crate) fn l8_a_call_without_intent_is_seen() {
    let mut forge = Forge::calm();
    let (change, ada) = allowed(&forge);
    forge.make(&change, Some(&ada));
    assert_eq!(forge.verdict(), None);
    forge.send(&change, Some(&ada));
    forge.expect("L8");
}

pub(crate) fn l8_a_call_without_audit_event_is_seen() {
    let mut forge = Forge::calm();
    let (change, ada) = allowed(&forge);
    let mut writes = forge.intent(change.clone());
    writes.retain(|write| !matches!(write, Write::Audit(_)));
    forge.commit(writes);
    forge.send(&change, Some(&ada));
    forge.expect("L8");
}

pub(crate) fn l8_a_call_after_a_commit_that_failed_is_seen() {
    let mut forge = Forge::calm();
    let (change, ada) = allowed(&forge);
    let writes = forge.intent(change.clone());
    forge.add(Event::Committed { writes: Arc::new(writes), durable: true, told: false });
    forge.send(&change, Some(&ada));
    forge.expect("L8");
}

pub(crate) fn l10_a_write_to_a_stranger_is_seen() {
    let mut forge = Forge::calm();
    let stranger = forge.stranger(1);
    let mut change = forge.change(Action::Update, ADA, Some(&stranger));
    change.fields = vec![field("name.givenName", "Ada")].into();
    forge.make(&change, Some(&stranger));
    forge.expect("L10");
}

pub(crate) fn l10_a_write_to_a_protected_account_is_seen() {
    let mut forge = Forge::calm();
    let backup = forge.stranger(2);
    forge.make(&forge.change(Action::Adopt, ADA, Some(&backup)), Some(&backup));
    forge.expect("L10");
}

pub(crate) fn l10_a_membership_that_we_never_gave_is_seen() {
    let mut forge = Forge::calm();
    let ada = forge.account(ADA);
    let mut change = forge.change(Action::Narrow, ADA, Some(&ada));
    change.revoke = vec![EntitlementChange {
        name: None,
        membership: Membership::Group("g-admin".to_owned()),
        privileged: true,
        origins: List::default(),
    }]
    .into();
    forge.make(&change, Some(&ada));
    forge.expect("L10");
}

pub(crate) fn l11_a_write_to_a_suspended_target_is_seen() {
    let mut forge = Forge::calm();
    let (change, ada) = allowed(&forge);
    forge.add(Event::Said(word(DecisionKind::Suspend)));
    forge.add(Event::Decided { word: word(DecisionKind::Suspend), taken: true });
    forge.make(&change, Some(&ada));
    forge.expect("L11");
}

pub(crate) fn l12_access_that_nobody_declared_is_seen() {
    let mut forge = Forge::calm();
    forge.make(&forge.change(Action::Create, "u-9999", None), None);
    forge.expect("L12");
}

pub(crate) fn l13_an_intent_of_another_place_is_seen() {
    let mut forge = Forge::calm();
    let (change, ada) = allowed(&forge);
    let mut writes = forge.intent(change.clone());
    for write in &mut writes {
        if let Write::Intent(intent) = write {
            intent.space.realm = "realm-7".into();
        }
    }
    forge.commit(writes);
    forge.send(&change, Some(&ada));
    forge.expect("L13");
}

pub(crate) fn l16_an_end_that_only_a_stepped_clock_brings_is_seen() {
    let mut forge = Forge::calm();
    let tomorrow = second(forge.log.last().unwrap().at) + 86_400;
    let declared = forge.person(ADA, |person| person.until = Some(tomorrow));
    forge.load(declared, true);
    let ada = forge.account(ADA);
    let change = forge.change(Action::Disable, ADA, Some(&ada));
    let writes = forge.intent(change.clone());
    let stepped = 2 * 86_400_000;
    forge.add_later(Event::Committed { writes: Arc::new(writes), durable: true, told: true }, 10_000, stepped);
    forge.send(&change, Some(&ada));
    forge.log.last_mut().unwrap().skew = stepped;
    forge.expect("L16");
}

pub(crate) fn l17_an_account_enabled_against_another_hand_is_seen() {
    let mut forge = Forge::calm();
    let ada = Account { state: AccountState::Disabled, ..forge.account(ADA) };
    forge.add(Event::Hand { target: 0, account: ada.id.clone(), what: "disables", after: Some(ada.clone()) });
    forge.make(&forge.change(Action::Reactivate, ADA, Some(&ada)), Some(&ada));
    forge.expect("L17");
}

pub(crate) fn l17_an_account_made_again_against_another_hand_is_seen() {
    let mut forge = Forge::calm();
    let ada = forge.account(ADA);
    forge.add(Event::Hand { target: 0, account: ada.id, what: "deletes", after: None });
    forge.make(&forge.change(Action::Create, ADA, None), None);
    forge.expect("L17");
}

pub(crate) fn l18_access_by_documents_of_yesterday_is_seen() {
    let mut forge = Forge::after(1, [(Step::Off(0), 60_000)]);
    let ada = forge.account(ADA);
    forge.make(&forge.change(Action::Reactivate, ADA, Some(&ada)), Some(&ada));
    forge.expect("L18");
}

pub(crate) fn l16_a_deletion_before_its_wait_is_seen() {
    let mut forge = Forge::after(1, [(Step::Off(0), 60_000)]);
    let ada = forge.account(ADA);
    assert_eq!(ada.state, AccountState::Disabled);
    forge.make(&forge.change(Action::Delete, ADA, Some(&ada)), Some(&ada));
    forge.expect("L16");
}

pub(crate) fn l17_a_deletion_of_what_another_hand_ended_is_seen() {
    let mut forge = Forge::calm();
    let ada = Account { state: AccountState::Disabled, ..forge.account(ADA) };
    forge.add(Event::Hand { target: 0, account: ada.id.clone(), what: "disables", after: Some(ada.clone()) });
    forge.make(&forge.change(Action::Delete, ADA, Some(&ada)), Some(&ada));
    forge.expect("L17");
}
