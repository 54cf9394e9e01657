use super::*;
use crate::model::account::Membership;
use crate::model::approval::When;
use crate::model::change::FieldChange;
use crate::model::list::List;
use crate::model::path::AttributePath;

/// Where a test's documents say something.
pub(in crate::plan) fn origin(what: &str) -> Origin {
    Origin { file: "t.yaml".into(), line: 1, what: what.into() }
}

pub(in crate::plan) fn when(condition: &str) -> When {
    When { condition: condition.to_owned(), origin: origin(condition) }
}

/// Asks about everything, whoever it is.
pub(in crate::plan) fn approval() -> Approval {
    Approval { gates: Gate::ALL.into(), origin: origin("approval"), ..Approval::ungated() }
}

pub(in crate::plan) fn keeper(approval: &Approval) -> Gatekeeper {
    Gatekeeper::new(Some(approval)).unwrap()
}

pub(in crate::plan) fn entitlement(word: &str) -> EntitlementChange {
    EntitlementChange {
        name: Some(word.into()),
        membership: Membership::Role(word.to_owned()),
        privileged: word == "root",
        origins: List::default(),
    }
}

/// A change as the planner makes it.
pub(in crate::plan) fn change(action: Action, grants: &[&str]) -> Change {
    let (effect, active) = match action {
        Action::Create | Action::Reactivate | Action::Restore => (Effect::Widens, Some(true)),
        Action::Update if grants.is_empty() => (Effect::Neutral, None),
        Action::Adopt | Action::Update => (Effect::Widens, None),
        Action::Narrow | Action::Delete => (Effect::Narrows, None),
        Action::Disable => (Effect::Narrows, Some(false)),
    };
    Change {
        record: "u-1".into(),
        account: None,
        action,
        effect,
        cause: None,
        fields: List::default(),
        grant: grants.iter().map(|word| entitlement(word)).collect(),
        revoke: List::default(),
        active,
        reason: "".into(),
        origins: vec![origin("User u-1")].into(),
    }
}

pub(in crate::plan) fn field() -> FieldChange {
    FieldChange {
        path: AttributePath::user_name(),
        before: None,
        after: Some("ada".into()),
        personal: true,
        sensitive: false,
        origins: List::default(),
    }
}

pub(in crate::plan) fn user() -> User {
    User { user_type: Some("signatory".to_owned()), email: Some("ada@x.example".to_owned()), ..User::plain("u-1") }
}

/// A list has no upper case: nobody can say whether this holds.
const UNKNOWN: &str = "(user.attributes.sites | upper) == 'A'";

fn with_sites() -> User {
    User { attributes: BTreeMap::from([("sites".to_owned(), serde_json::json!(["a"]))]), ..user() }
}

fn gates(gates: &[Gate]) -> Approval {
    Approval { gates: gates.iter().copied().collect(), ..approval() }
}

/// What is asked, one word each; `(…)`: known to nobody but asked about by nobody.
#[track_caller]
fn asks(approval: Option<&Approval>, change: &Change, user: Option<&User>, expected: &str) {
    let keeper = Gatekeeper::new(approval).unwrap();
    let word = |ask: &Ask| {
        let names: Vec<_> = ask.asked.entitlements.iter().map(EntitlementName::as_str).collect();
        let word = match ask.subject {
            Subject::Account => format!("{} {}", ask.asked.action.as_str(), names.join("+")),
            Subject::Grant(_) => format!("{} of {}", ask.asked.action.as_str(), names.join("+")),
        };
        if ask.gated { word } else { format!("({word})") }
    };
    let words: Vec<_> = keeper.asks(change, user).iter().map(word).collect();
    assert_eq!(words.join(", "), expected);
}

#[test]
fn only_what_gives_access_is_asked_about() {
    let everything = approval();
    for action in [Action::Narrow, Action::Disable, Action::Delete, Action::Update] {
        asks(Some(&everything), &change(action, &[]), Some(&user()), "");
    }
    let renamed = Change { effect: Effect::Neutral, ..change(Action::Adopt, &[]) };
    asks(Some(&everything), &renamed, Some(&user()), "");
    // Each of the three marks of a widening is enough.
    asks(Some(&everything), &change(Action::Adopt, &[]), Some(&user()), "adopt ");
    let opened = Change { effect: Effect::Neutral, ..change(Action::Reactivate, &[]) };
    asks(Some(&everything), &opened, Some(&user()), "reactivate ");
    let given = Change { effect: Effect::Neutral, ..change(Action::Update, &["a"]) };
    asks(Some(&everything), &given, Some(&user()), "update of a");
}

#[test]
fn each_gate_asks_about_its_own_kind_of_change() {
    for (action, gate) in [
        (Action::Create, Gate::Create),
        (Action::Adopt, Gate::Adopt),
        (Action::Reactivate, Gate::Reactivate),
        (Action::Restore, Gate::Reactivate),
    ] {
        let others: Vec<_> = Gate::ALL.into_iter().filter(|other| *other != gate).collect();
        let asked = action.as_str();
        asks(Some(&gates(&[gate])), &change(action, &[]), Some(&user()), &format!("{asked} "));
        asks(Some(&gates(&others)), &change(action, &[]), Some(&user()), &format!("({asked} )"));
    }
}

#[test]
fn what_comes_with_an_account_that_is_asked_about_is_part_of_that_request() {
    let both = gates(&[Gate::Create, Gate::Grant]);
    let made = change(Action::Create, &["a", "b"]);
    asks(Some(&both), &made, Some(&user()), "create a+b, (update of a), (update of b)");
    let grants = gates(&[Gate::Grant]);
    asks(Some(&grants), &made, Some(&user()), "(create a+b), update of a, update of b");
    asks(Some(&gates(&[Gate::Create])), &change(Action::Update, &["a"]), Some(&user()), "(update of a)");
    asks(None, &made, Some(&user()), "(create a+b), (update of a), (update of b)");
}

#[test]
fn grants_are_asked_about_by_their_words_or_for_being_privileged() {
    let only = |privileged| {
        let grants = GatedGrants::Only { entitlements: ["a".into()].into(), privileged };
        Approval { grants, ..approval() }
    };
    let given = change(Action::Update, &["a", "b", "root"]);
    asks(Some(&only(false)), &given, Some(&user()), "update of a, (update of b), (update of root)");
    asks(Some(&only(true)), &given, Some(&user()), "update of a, (update of b), update of root");
    asks(Some(&approval()), &given, Some(&user()), "update of a, update of b, update of root");
}

#[test]
fn who_is_not_meant_passes_and_whoever_cannot_be_judged_is_asked_about() {
    let of = |condition: &str| Approval { when: Some(when(condition)), ..approval() };
    let made = change(Action::Create, &["a"]);
    asks(Some(&of("user.userType == 'signatory'")), &made, Some(&user()), "create a, (update of a)");
    asks(Some(&of("user.userType == 'other'")), &made, Some(&user()), "(create a), (update of a)");
    asks(Some(&of("user.userType == 'other'")), &change(Action::Update, &["a"]), Some(&user()), "(update of a)");
    asks(Some(&of("user.userType == 'other'")), &made, None, "create a, (update of a)");
    asks(Some(&of(UNKNOWN)), &made, Some(&with_sites()), "create a, (update of a)");
}

#[test]
fn conditions_beside_one_another_are_each_judged_for_themselves() {
    let made = change(Action::Create, &["a"]);
    let of = |own: &str, others: &[&str]| Approval {
        when: Some(when(own)),
        accepted_when: others.iter().map(|condition| when(condition)).collect(),
        ..approval()
    };
    let asked = "create a, (update of a)";
    // What is not there is in no order, and that is no answer to the other question.
    asks(Some(&of("user.attributes.none > 0", &["user.userType == 'signatory'"])), &made, Some(&user()), asked);
    asks(Some(&of("user.userType == 'other'", &[UNKNOWN])), &made, Some(&with_sites()), asked);
    let neither = of("user.userType == 'other'", &["user.attributes.none > 0"]);
    asks(Some(&neither), &made, Some(&user()), "(create a), (update of a)");
    let (words, origins) = keeper(&neither).why(&user()).unwrap();
    assert!(words.ends_with("user.userType == 'other'; user.attributes.none > 0"), "{words}");
    assert_eq!(origins.len(), 2);
}

fn rule(name: &str, condition: &str) -> AcceptRule {
    AcceptRule { name: name.to_owned(), when: when(condition) }
}

#[test]
fn the_first_rule_that_holds_accepts_and_one_that_cannot_be_judged_does_not() {
    let accepted = |rules: &[AcceptRule], user: &User| {
        let keeper = keeper(&Approval { rules: rules.to_vec(), ..approval() });
        keeper.accepted_by_rule(user).map(|rule| rule.name.clone())
    };
    let (yes, no) = (rule("yes", "user.userType == 'signatory'"), rule("no", "user.userType == 'other'"));
    assert_eq!(accepted(&[], &user()), None);
    assert_eq!(accepted(&[no.clone(), yes.clone(), rule("late", "user.active")], &user()), Some("yes".to_owned()));
    assert_eq!(accepted(&[no, rule("unknown", UNKNOWN)], &with_sites()), None);
}

#[test]
fn why_somebody_is_asked_about_or_not_is_told_with_the_line() {
    let told = |approval: Option<&Approval>| {
        let (words, origins) = Gatekeeper::new(approval).unwrap().why(&user())?;
        Some(format!("{words} [{}]", origins.iter().map(|origin| &*origin.what).collect::<Vec<_>>().join(", ")))
    };
    assert_eq!(told(None), None);
    let two = gates(&[Gate::Create, Gate::Grant]);
    let asked = "`approval` asks a person before it may create, grant";
    assert_eq!(told(Some(&two)), Some(format!("{asked} [approval]")));
    let of = |condition: &str| Approval { when: Some(when(condition)), ..two.clone() };
    assert_eq!(told(Some(&of("user.active"))), Some(format!("{asked} [user.active]")));
    let nobody = "nobody is asked: `approval.when` does not hold for this user: not user.active [not user.active]";
    assert_eq!(told(Some(&of("not user.active"))).as_deref(), Some(nobody));
    let ruled = Approval { rules: vec![rule("internal", "user.active")], ..two };
    let by_rule = "the rule `internal` accepts by itself: user.active [user.active]";
    assert_eq!(told(Some(&ruled)).as_deref(), Some(by_rule));
}

#[test]
fn a_mark_changes_with_its_field_and_with_nothing_else() {
    let keeper =
        keeper(&Approval { reopen_on: ["email".to_owned(), "attributes.phone".to_owned()].into(), ..approval() });
    let before = keeper.marks(&user());
    assert_eq!(before.keys().collect::<Vec<_>>(), ["attributes.phone", "email"]);
    assert_eq!(before, keeper.marks(&User { given_name: Some("Ada".to_owned()), ..user() }));
    let moved = keeper.marks(&User { email: Some("ada@y.example".to_owned()), ..user() });
    assert_ne!(before["email"], moved["email"]);
    assert_eq!(before["attributes.phone"], moved["attributes.phone"]);
}

#[track_caller]
fn left(change: &Change, held: &[&str], expected: Option<&[&str]>) {
    let subject = |word: &&str| Subject::of_word(word).unwrap();
    let held = held.iter().map(subject).collect();
    let left = without(change.clone(), &held);
    let words = |change: Change| change.grant.iter().map(|entry| word_of(entry).to_string()).collect::<Vec<_>>();
    let expected = expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    assert_eq!(left.map(words), expected);
}

#[test]
fn what_is_left_of_a_change_is_what_nobody_holds() {
    left(&change(Action::Create, &["a", "b"]), &["account"], None);
    left(&change(Action::Create, &["a", "b"]), &["grant a", "grant b"], Some(&[]));
    left(&change(Action::Update, &["a", "b"]), &["grant a"], Some(&["b"]));
    left(&change(Action::Update, &["a", "b"]), &["grant a", "grant b"], None);
    left(&change(Action::Update, &[]), &[], Some(&[]));
    left(&Change { fields: vec![field()].into(), ..change(Action::Update, &["a"]) }, &["grant a"], Some(&[]));
    // A narrowing stays, whatever is held of its user (L5, L12).
    let taken = Change { revoke: vec![entitlement("c")].into(), ..change(Action::Narrow, &[]) };
    left(&taken, &["grant a"], Some(&[]));
    left(&change(Action::Disable, &[]), &["grant a"], Some(&[]));
}

#[test]
fn an_entitlement_that_left_the_catalogue_goes_by_what_it_is_in_the_target() {
    let gone = EntitlementChange { name: None, ..entitlement("a") };
    let given = Change { grant: vec![gone, entitlement("a")].into(), ..change(Action::Update, &[]) };
    let word = r#"grant Role("a")"#;
    left(&given, &["grant a"], Some(&[r#"Role("a")"#]));
    left(&given, &[word], Some(&["a"]));
}

#[test]
fn what_is_left_of_a_change_without_its_grants_gives_nothing_any_more() {
    let held = BTreeSet::from([Subject::Grant("a".into())]);
    let both = Change { fields: vec![field()].into(), ..change(Action::Update, &["a"]) };
    for (whole, effect) in [
        (both.clone(), Effect::Neutral),
        (Change { grant: vec![entitlement("a"), entitlement("b")].into(), ..both.clone() }, Effect::Widens),
        (Change { active: Some(true), ..both }, Effect::Widens),
        (change(Action::Create, &["a"]), Effect::Widens),
        (change(Action::Adopt, &["a"]), Effect::Widens),
    ] {
        assert_eq!(without(whole.clone(), &held).map(|left| left.effect), Some(effect), "{whole:?}");
    }
}
