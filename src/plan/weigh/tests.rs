use super::*;
use crate::model::account::AccountState;
use crate::model::approval::Approval;
use crate::model::approval::Gate;
use crate::model::approval::GatedGrants;
use crate::model::change::Action;
use crate::model::change::Effect;
use crate::model::list::List;
use crate::model::plan::Coverage;
use crate::model::plan::Hold;
use crate::model::plan::HoldKind;
use crate::model::target::Mode;
use crate::plan::gate::tests::approval;
use crate::plan::gate::tests::change;
use crate::plan::gate::tests::entitlement;
use crate::plan::gate::tests::field;
use crate::plan::gate::tests::keeper;
use crate::plan::gate::tests::user;
use crate::plan::verdict::tests::at;
use crate::plan::verdict::tests::request;
use crate::plan::verdict::tests::space;

/// What is known, by record and subject.
fn known(requests: impl IntoIterator<Item = Request>) -> Requests {
    requests.into_iter().map(|it| ((it.record.clone(), it.subject.clone()), it)).collect()
}

fn scaled<T>(approval: &Approval, known: &Requests, weigh: impl FnOnce(&Scales<'_>) -> T) -> T {
    let find = |record: &RecordId, subject: &Subject| known.get(&(record.clone(), subject.clone())).cloned();
    let declared = |record: &RecordId| Some(User { id: record.clone(), ..user() });
    weigh(&Scales { keeper: &keeper(approval), known: &find, user: &declared, now: at(1) })
}

/// What is left, what waits, and what becomes known, in words.
#[track_caller]
fn check(approval: &Approval, known: &Requests, change: Change, expected: [&str; 3]) -> Weighed {
    let weighed = scaled(approval, known, |scales| scales.weigh(&space(), change));
    let left = weighed.change.as_ref().map_or_else(
        || "nothing".to_owned(),
        |change| {
            let grants = change.grant.iter().filter_map(|entry| entry.name.as_ref()).map(EntitlementName::as_str);
            format!("{} {}", change.action.as_str(), grants.collect::<Vec<_>>().join("+"))
        },
    );
    let waits = |(subject, before): &(Subject, Option<Request>)| {
        format!("{}{}", subject.word(), if before.is_some() { " as before" } else { "" })
    };
    let waits = weighed.waits.iter().map(waits).collect::<Vec<_>>().join(", ");
    let news = weighed.news.iter().map(|news| match news {
        News::Request(request) => {
            let asked = request.asked.entitlements.iter().map(EntitlementName::as_str).collect::<Vec<_>>().join("+");
            format!("{} {} of {asked}", request.subject.word(), request.state.as_str())
        }
        News::Forgotten(record, subject) => format!("{record} {} forgotten", subject.word()),
    });
    assert_eq!([left, waits, news.collect::<Vec<_>>().join(", ")], expected.map(str::to_owned));
    weighed
}

fn gates(gates: &[Gate]) -> Approval {
    Approval { gates: gates.iter().copied().collect(), ..approval() }
}

#[test]
fn what_takes_access_passes_and_nothing_becomes_known() {
    let taken = Change { revoke: vec![entitlement("a")].into(), ..change(Action::Narrow, &[]) };
    let waits = known([request("account", RequestState::Pending, &[])]);
    check(&approval(), &waits, taken, ["narrow ", "", ""]);
    check(&approval(), &waits, change(Action::Disable, &[]), ["disable ", "", ""]);
}

#[test]
fn an_account_waits_with_everything_that_comes_with_it() {
    let made = || change(Action::Create, &["a", "b"]);
    check(&approval(), &known([]), made(), ["nothing", "account", "account pending of a+b"]);
    let waits = known([request("account", RequestState::Pending, &["a", "b"])]);
    check(&approval(), &waits, made(), ["nothing", "account as before", ""]);
    let accepted = known([request("account", RequestState::Accepted, &["a", "b"])]);
    check(&approval(), &accepted, made(), ["create a+b", "", ""]);
}

#[test]
fn a_grant_with_a_last_word_of_its_own_is_no_part_of_the_accounts_request() {
    let made = || change(Action::Create, &["a", "b"]);
    let refused = request("grant b", RequestState::Refused, &["b"]);
    check(&approval(), &known([refused.clone()]), made(), ["nothing", "account", "account pending of a"]);
    let accepted = request("account", RequestState::Accepted, &["a"]);
    let both = known([accepted.clone(), refused]);
    check(&approval(), &both, made(), ["create a", "grant b as before", ""]);
    let both = known([accepted, request("grant b", RequestState::Accepted, &["b"])]);
    check(&approval(), &both, made(), ["create a+b", "", ""]);
    // One that only waits is part of it again.
    let waits = known([request("grant b", RequestState::Pending, &["b"])]);
    check(&approval(), &waits, made(), ["nothing", "account", "account pending of a+b"]);
}

#[test]
fn grants_wait_one_by_one_where_the_account_does_not() {
    let grants = gates(&[Gate::Grant]);
    let made = change(Action::Create, &["a", "b"]);
    let news = "grant a pending of a, grant b pending of b";
    check(&grants, &known([]), made, ["create ", "grant a, grant b", news]);
    let given = change(Action::Update, &["a", "b"]);
    let accepted = known([request("grant a", RequestState::Accepted, &["a"])]);
    check(&grants, &accepted, given.clone(), ["update a", "grant b", "grant b pending of b"]);
    let only = GatedGrants::Only { entitlements: ["b".into()].into(), privileged: false };
    let only = Approval { grants: only, ..grants };
    check(&only, &known([]), given, ["update a", "grant b", "grant b pending of b"]);
    // What was accepted with the account needs no other word.
    let with = known([request("account", RequestState::Accepted, &["a"])]);
    check(&approval(), &with, change(Action::Update, &["a"]), ["update a", "", ""]);
}

#[test]
fn nobody_is_asked_any_more_where_nothing_is_asked_about() {
    let waits = known([request("account", RequestState::Pending, &["a"])]);
    let made = change(Action::Create, &["a"]);
    check(&gates(&[]), &waits, made.clone(), ["create a", "", "u-1 account forgotten"]);
    check(&gates(&[]), &known([]), made, ["create a", "", ""]);
}

fn plan(changes: Vec<Change>) -> Plan {
    Plan {
        space: space(),
        mode: Mode::Enforce,
        coverage: Coverage::Complete,
        changes,
        skips: vec![Skip { record: "u-2".into(), account: None, reason: SkipReason::Vanished }],
        quiet: crate::model::plan::Quiet::default(),
        unmanaged: Vec::new(),
        accounts: BTreeMap::new(),
        holds: Vec::new(),
        administrators: None,
    }
}

fn told(plan: &Plan) -> Vec<String> {
    let word = |skip: &Skip| {
        let SkipReason::Request { subject, state, id } = &skip.reason else {
            return format!("{} otherwise", skip.record);
        };
        let state = state.map_or("unasked", RequestState::as_str);
        format!("{} {} {state} {}", skip.record, subject.word(), if id.is_some() { "by its name" } else { "" })
    };
    plan.skips.iter().map(|skip| word(skip).trim_end().to_owned()).collect()
}

#[test]
fn a_plan_loses_what_waits_and_tells_it_by_record() {
    let other = Change { record: "u-3".into(), ..change(Action::Disable, &[]) };
    let changes = vec![other.clone(), change(Action::Update, &["a", "b"]), change(Action::Narrow, &[])];
    let waits = known([request("grant a", RequestState::Refused, &["a"])]);
    let (sifted, news) = scaled(&gates(&[Gate::Grant]), &waits, |scales| scales.sift(plan(changes.clone())));
    assert_eq!(sifted.changes, [other, change(Action::Narrow, &[])]);
    let skips = ["u-1 grant a refused by its name", "u-1 grant b pending by its name", "u-2 otherwise"];
    assert_eq!(told(&sifted), skips);
    let [News::Request(asked)] = &news[..] else { panic!("{news:?}") };
    assert_eq!(asked.subject, Subject::Grant("b".into()));
    // Who only looks has asked nobody.
    let shown = scaled(&gates(&[Gate::Grant]), &waits, |scales| scales.show(plan(changes)));
    assert_eq!(told(&shown), ["u-1 grant a refused by its name", "u-1 grant b unasked", "u-2 otherwise"]);
}

#[test]
fn each_of_two_new_requests_is_told_by_its_own_name() {
    let changes = vec![change(Action::Update, &["a", "b"])];
    let (sifted, news) = scaled(&gates(&[Gate::Grant]), &known([]), |scales| scales.sift(plan(changes)));
    let named = sifted.skips.iter().filter_map(|skip| {
        let SkipReason::Request { subject, id, .. } = &skip.reason else { return None };
        Some((subject.clone(), id.clone()?))
    });
    let asked = news.iter().filter_map(|news| match news {
        News::Request(request) => Some((request.subject.clone(), request.id.clone())),
        News::Forgotten(..) => None,
    });
    let (named, asked): (Vec<_>, Vec<_>) = (named.collect(), asked.collect());
    assert_eq!((named.len(), &named), (2, &asked));
}

#[test]
fn a_request_that_now_asks_for_less_keeps_its_name_for_those_who_look() {
    let waits = known([request("account", RequestState::Pending, &["a", "b"])]);
    let changes = vec![change(Action::Create, &["a"])];
    let shown = scaled(&approval(), &waits, |scales| scales.show(plan(changes)));
    assert_eq!(told(&shown), ["u-1 account pending by its name", "u-2 otherwise"]);
}

#[test]
fn a_plan_in_which_nobody_waits_keeps_the_order_of_its_skips() {
    let mut before = plan(vec![change(Action::Disable, &[])]);
    before.skips.push(Skip { record: "u-0".into(), account: None, reason: SkipReason::Vanished });
    let (sifted, news) = scaled(&approval(), &known([]), |scales| scales.sift(before.clone()));
    assert_eq!((sifted, news), (before, Vec::new()));
}

#[test]
fn a_complete_plan_settles_whom_it_does_not_name_and_another_one_whom_it_names_in_sync() {
    let skip = |record: &str, reason| Skip { record: record.into(), account: None, reason };
    let of = |record: &str| Change { record: record.into(), ..change(Action::Update, &["a"]) };
    let mut shown = plan(vec![of("changed")]);
    let hold =
        Hold { limit: HoldKind::Widen, reason: String::new(), digest: String::new().into(), changes: vec![of("held")] };
    shown.holds.push(hold);
    let drift = SkipReason::Drift(Vec::new());
    shown.skips =
        [("vanished", SkipReason::Vanished), ("drifts", drift.clone()), ("both", drift), ("same", SkipReason::InSync)]
            .map(|(record, reason)| skip(record, reason))
            .into();
    shown.skips.push(skip("both", SkipReason::OtherHand(AccountState::Locked)));
    let everybody = ["changed", "held", "vanished", "drifts", "both", "same", "quiet"].map(RecordId::from);
    for (coverage, expected) in [
        (Coverage::Complete, ["drifts", "quiet", "same"].as_slice()),
        (Coverage::Keyed, &["drifts", "same"]),
        (Coverage::Partial(String::new()), &["drifts", "same"]),
    ] {
        let settled = settled_by(&Plan { coverage, ..shown.clone() }, everybody.iter().collect());
        assert_eq!(settled.iter().map(RecordId::as_str).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_field_whose_grant_waits_goes_before_what_gives_something() {
    let both = Change { effect: Effect::Widens, fields: vec![field()].into(), ..change(Action::Update, &["a"]) };
    let other = Change { record: "u-0".into(), ..change(Action::Create, &[]) };
    let gated = gates(&[Gate::Grant]);
    let (sifted, _) = scaled(&gated, &known([]), |scales| scales.sift(plan(vec![other.clone(), both.clone()])));
    let alone = Change { effect: Effect::Neutral, grant: List::default(), ..both };
    assert_eq!(sifted.changes, [alone, other]);
}
