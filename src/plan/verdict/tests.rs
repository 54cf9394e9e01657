mod levels;
mod rights;
mod turns;

use std::time::Duration;

use chrono::TimeDelta;

use super::*;
use crate::model::addressee::Addressee;
use crate::model::addressee::Whom;
use crate::model::approval::AcceptRule;
use crate::model::approval::Escalation;
use crate::model::approval::Level;
use crate::model::approval::Party;
use crate::model::ids::EntitlementName;
use crate::model::request::Asked;
use crate::model::request::Subject;
use crate::plan::gate::tests::approval;
use crate::plan::gate::tests::keeper;
use crate::plan::gate::tests::origin;
use crate::plan::gate::tests::user;
use crate::plan::gate::tests::when;
use crate::plan::verdict::ages::Lapsed;
use crate::plan::verdict::ages::Passed;
use crate::plan::verdict::ages::due;
use crate::plan::verdict::ages::is_wanted;
use crate::plan::verdict::ages::lapsed;
use crate::plan::verdict::ages::pass;
use crate::plan::verdict::levels::digests;
use crate::plan::verdict::rights::Scope;
use crate::plan::verdict::rights::is_turn_of;

const HOUR: Duration = Duration::from_hours(1);

/// So many hours after everything began.
pub(in crate::plan) fn at(hours: i64) -> Moment {
    let window = DateTime::UNIX_EPOCH + TimeDelta::hours(hours);
    // The clock on the wall is another one.
    Moment { wall: window + TimeDelta::days(365), window }
}

pub(in crate::plan) fn space() -> Space {
    Space { target: "crm".into(), environment: "test".into(), realm: "crm.example".into() }
}

fn names(words: &[&str]) -> BTreeSet<EntitlementName> {
    words.iter().map(|word| EntitlementName::from(*word)).collect()
}

/// A request that began at hour 0 and asks for a new account, or an entitlement of one.
pub(in crate::plan) fn request(subject: &str, state: RequestState, entitlements: &[&str]) -> Request {
    let subject = Subject::of_word(subject).unwrap();
    let action = if subject == Subject::Account { Action::Create } else { Action::Update };
    Request {
        id: "r-1".into(),
        record: "u-1".into(),
        subject,
        asked: Asked { action, entitlements: names(entitlements), origins: vec![origin("User u-1")] },
        since: at(0).wall,
        begun: at(0).window,
        state,
        level: 0,
        turn: None,
        passed: Vec::new(),
        level_begun: at(0).window,
        escalated: false,
        reminders: 0,
        reminded: None,
        votes: Vec::new(),
        decided: None,
        marks: BTreeMap::new(),
        done: None,
        told: BTreeSet::new(),
    }
}

fn account(state: RequestState) -> Request {
    request("account", state, &["a", "b"])
}

fn ask(action: Action, entitlements: &[&str], gated: bool) -> Ask {
    let asked = Asked { action, entitlements: names(entitlements), origins: vec![origin("User u-1")] };
    Ask { subject: Subject::Account, asked, gated }
}

/// What a request, and the one for the account beside it, come to where `ask` meets them at hour 1.
fn met(approval: &Approval, known: Option<&Request>, beside: Option<&Request>, ask: &Ask, user: Option<&User>) -> Met {
    meet(&keeper(approval), (known, beside), ask, (&space(), user, at(1)))
}

/// In a word: `new` is another request, `less` the same one that asks for less.
fn word(met: &Met, known: Option<&Request>) -> String {
    let same = |request: &Request| known.is_some_and(|known| known.id == request.id);
    match met {
        Met::Open { forget: false } => "open".to_owned(),
        Met::Open { forget: true } => "forget".to_owned(),
        Met::Opened(request) => format!("opened by {}", request.decided.as_ref().unwrap().by),
        Met::Shut(None) => "shut".to_owned(),
        Met::Shut(Some(request)) if same(request) => "less".to_owned(),
        Met::Shut(Some(_)) => "new".to_owned(),
    }
}

/// Marks that no user has any more: what reopens did change.
fn changed(request: Request) -> Request {
    Request { marks: [("email".to_owned(), canonical::digest_of(serde_json::json!("before")))].into(), ..request }
}

fn reopens() -> Approval {
    Approval { reopen_on: ["email".to_owned()].into(), ..approval() }
}

#[test]
fn what_was_decided_or_waits_says_whether_a_change_may_be_made() {
    use RequestState::Accepted;
    use RequestState::Expired;
    use RequestState::Pending;
    use RequestState::Refused;
    let unchanged = |request: Request| Request { marks: keeper(&reopens()).marks(&user()), ..request };
    let done = |request: Request| Request { done: Some(at(0).wall), ..request };
    let rows: Vec<(Approval, Option<Request>, Ask, &str)> = vec![
        (approval(), None, ask(Action::Create, &["a"], true), "new"),
        (approval(), None, ask(Action::Create, &["a"], false), "open"),
        (approval(), Some(account(Accepted)), ask(Action::Create, &["a", "b"], true), "open"),
        (approval(), Some(account(Accepted)), ask(Action::Create, &["a"], true), "open"),
        (approval(), Some(account(Accepted)), ask(Action::Create, &["a", "c"], true), "new"),
        (approval(), Some(account(Accepted)), ask(Action::Create, &["a", "c"], false), "open"),
        // An existing account was not what somebody agreed to, until the new one was there.
        (approval(), Some(account(Accepted)), ask(Action::Adopt, &["a"], true), "new"),
        (approval(), Some(done(account(Accepted))), ask(Action::Adopt, &["a"], true), "open"),
        (approval(), Some(done(account(Accepted))), ask(Action::Adopt, &["c"], true), "new"),
        (approval(), Some(account(Accepted)), ask(Action::Reactivate, &["a"], true), "open"),
        (approval(), Some(account(Accepted)), ask(Action::Restore, &["a"], true), "open"),
        (approval(), Some(account(Accepted)), ask(Action::Restore, &["c"], true), "new"),
        (approval(), Some(account(Refused)), ask(Action::Create, &["a"], true), "shut"),
        (approval(), Some(account(Refused)), ask(Action::Create, &["a"], false), "shut"),
        (approval(), Some(changed(account(Refused))), ask(Action::Create, &["a"], true), "shut"),
        (reopens(), Some(changed(account(Refused))), ask(Action::Create, &["a"], true), "new"),
        (reopens(), Some(changed(account(Refused))), ask(Action::Create, &["a"], false), "shut"),
        (reopens(), Some(unchanged(account(Refused))), ask(Action::Create, &["a"], true), "shut"),
        (approval(), Some(account(Expired)), ask(Action::Create, &["a"], true), "shut"),
        (approval(), Some(account(Expired)), ask(Action::Create, &["a"], false), "forget"),
        (reopens(), Some(changed(account(Expired))), ask(Action::Create, &["a"], true), "new"),
        (reopens(), Some(unchanged(account(Expired))), ask(Action::Create, &["a"], true), "shut"),
        (approval(), Some(account(Pending)), ask(Action::Create, &["a", "b"], true), "shut"),
        (approval(), Some(account(Pending)), ask(Action::Create, &["a", "b"], false), "forget"),
        (approval(), Some(account(Pending)), ask(Action::Create, &["a"], true), "less"),
        (approval(), Some(account(Pending)), ask(Action::Create, &["a", "c"], true), "new"),
        (approval(), Some(account(Pending)), ask(Action::Adopt, &["a", "b"], true), "new"),
    ];
    for (approval, known, ask, expected) in rows {
        let met = met(&approval, known.as_ref(), None, &ask, Some(&user()));
        assert_eq!(word(&met, known.as_ref()), expected, "{:?} meets {ask:?}", known.map(|known| known.state));
    }
}

#[test]
fn what_was_accepted_with_an_account_needs_no_other_word() {
    let grant = |word: &str| Ask { subject: Subject::Grant(word.into()), ..ask(Action::Update, &[word], true) };
    let rows = [
        (RequestState::Accepted, "a", "open"),
        (RequestState::Accepted, "c", "new"),
        (RequestState::Pending, "a", "new"),
        (RequestState::Refused, "a", "new"),
    ];
    for (state, word_of, expected) in rows {
        let met = met(&approval(), None, Some(&account(state)), &grant(word_of), Some(&user()));
        assert_eq!(word(&met, None), expected, "{state:?} {word_of}");
    }
}

#[test]
fn nobody_is_asked_about_a_user_whom_nobody_declares() {
    for known in [None, Some(changed(account(RequestState::Refused)))] {
        let met = met(&reopens(), known.as_ref(), None, &ask(Action::Create, &["a"], true), None);
        assert_eq!(word(&met, known.as_ref()), "shut");
    }
}

#[test]
fn a_rule_accepts_what_is_asked_and_what_waits_and_never_what_was_refused() {
    let rule = AcceptRule { name: "internal".to_owned(), when: when("user.active") };
    let ruled = Approval { rules: vec![rule], ..approval() };
    let asked = ask(Action::Create, &["a"], true);
    for (known, expected) in [
        (None, "opened by rule:internal"),
        (Some(account(RequestState::Pending)), "opened by rule:internal"),
        (Some(account(RequestState::Refused)), "shut"),
        (Some(account(RequestState::Expired)), "shut"),
    ] {
        let met = met(&ruled, known.as_ref(), None, &asked, Some(&user()));
        assert_eq!(word(&met, known.as_ref()), expected);
        if let Met::Opened(request) = met {
            assert_eq!((request.state, &request.asked), (RequestState::Accepted, &asked.asked));
        }
    }
}

#[test]
fn a_new_request_begins_now_by_both_clocks_and_is_named_by_what_it_asks() {
    let asked = |entitlements: &[&str]| {
        let met = met(&reopens(), None, None, &ask(Action::Create, entitlements, true), Some(&user()));
        let Met::Shut(Some(request)) = met else { panic!("{met:?}") };
        *request
    };
    let marks = keeper(&reopens()).marks(&user());
    let fresh = Request { since: at(1).wall, begun: at(1).window, level_begun: at(1).window, marks, ..asked(&["a"]) };
    let expected = Request {
        id: fresh.id.clone(),
        turn: digests(&reopens()).into_iter().next(),
        since: at(1).wall,
        begun: at(1).window,
        level_begun: at(1).window,
        marks: keeper(&reopens()).marks(&user()),
        ..request("account", RequestState::Pending, &["a"])
    };
    assert_eq!(asked(&["a"]), expected);
    assert_eq!(fresh.id.as_str().len(), DIGITS);
    assert_ne!(asked(&["b"]).id, fresh.id);
}

/// Somebody whose groups are good everywhere.
fn who(person: &str, groups: &[&str]) -> Approver {
    Approver {
        by: format!("token:{person}"),
        person: person.to_owned(),
        groups: groups.iter().map(|group| ((*group).to_owned(), vec![Scope::new()])).collect(),
        ..Approver::default()
    }
}

fn said(approval: &Approval, known: &Request, approver: &Approver, word: Word) -> Result<Request, Refused> {
    said_of(approval, known, approver, word, &user())
}

fn said_of(
    approval: &Approval,
    known: &Request,
    approver: &Approver,
    word: Word,
    user: &User,
) -> Result<Request, Refused> {
    let reason = (word == Word::Refuse).then_some("unknown here");
    say(approval, known, Saying { approver, word, reason, user: Some(user) }, at(1))
}

fn no_right(said: &Result<Request, Refused>) -> &str {
    match said {
        Err(Refused::NoRight(words)) => words,
        other => panic!("{other:?}"),
    }
}

fn settled_by(said: &Result<Request, Refused>) -> &str {
    match said {
        Err(Refused::Settled(words)) => words,
        other => panic!("{other:?}"),
    }
}

fn party(word: &str) -> Party {
    Party::parse(word).unwrap()
}

fn level(parties: &[&str], quorum: usize) -> Level {
    Level { any_of: parties.iter().map(|word| party(word)).collect(), quorum, escalate: None }
}

fn levels(levels: &[Level]) -> Approval {
    Approval { levels: levels.to_vec(), ..approval() }
}

#[test]
fn a_word_is_taken_once_and_says_who_when_and_why() {
    let turn = digests(&approval()).into_iter().next();
    let waits = Request { turn: turn.clone(), ..account(RequestState::Pending) };
    let accepted = said(&approval(), &waits, &who("ann", &[]), Word::Accept).unwrap();
    let vote = |said, reason: Option<&str>| Vote {
        said,
        by: "token:ann".to_owned(),
        person: "ann".to_owned(),
        at: at(1).wall,
        level: 0,
        of: turn.clone().filter(|_| said == Word::Accept),
        reason: reason.map(str::to_owned),
    };
    let yes = vote(Word::Accept, None);
    let expected =
        Request { state: RequestState::Accepted, votes: vec![yes.clone()], decided: Some(yes), ..waits.clone() };
    assert_eq!(accepted, expected);
    let refused = said(&approval(), &waits, &who("ann", &[]), Word::Refuse).unwrap();
    let no = vote(Word::Refuse, Some("unknown here"));
    let expected =
        Request { state: RequestState::Refused, votes: vec![no.clone()], decided: Some(no.clone()), ..waits.clone() };
    assert_eq!(refused, expected);
    let saying = Saying { approver: &who("ann", &[]), word: Word::Refuse, reason: None, user: Some(&user()) };
    assert!(matches!(say(&approval(), &waits, saying, at(1)), Err(Refused::Invalid(_))));
    let again = said(&approval(), &refused, &who("ann", &[]), Word::Reopen).unwrap();
    let expected = Request {
        since: at(1).wall,
        begun: at(1).window,
        level_begun: at(1).window,
        votes: vec![no, vote(Word::Reopen, None)],
        ..waits.clone()
    };
    assert_eq!(again, expected);
    for (state, words) in [
        (RequestState::Accepted, [Word::Accept, Word::Refuse, Word::Reopen].as_slice()),
        (RequestState::Refused, &[Word::Accept, Word::Refuse]),
        (RequestState::Expired, &[Word::Accept, Word::Refuse]),
        (RequestState::Pending, &[Word::Reopen]),
    ] {
        for word in words {
            let known = if state == RequestState::Accepted { accepted.clone() } else { account(state) };
            let said = said(&approval(), &known, &who("bob", &[]), *word);
            assert!(settled_by(&said).contains("`r-1`"), "{said:?}");
        }
    }
    let late = said(&approval(), &accepted, &who("bob", &[]), Word::Refuse);
    assert!(settled_by(&late).contains("by token:ann at 1971-01-01T01:00:00"), "{late:?}");
}

#[test]
fn a_target_whose_document_names_nobody_is_decided_by_nobody() {
    for state in [RequestState::Pending, RequestState::Refused] {
        let word = if state == RequestState::Pending { Word::Accept } else { Word::Reopen };
        no_right(&said(&levels(&[]), &account(state), &who("ann", &[]), word));
    }
}

#[test]
fn a_quorum_counts_people_of_the_running_round_and_level() {
    let two = levels(&[level(&[], 2)]);
    let first = said(&two, &account(RequestState::Pending), &who("ann", &[]), Word::Accept).unwrap();
    assert_eq!((first.state, first.level, first.level_begun), (RequestState::Pending, 0, at(0).window));
    let twice = said(&two, &first, &who("ann", &[]), Word::Accept);
    assert!(settled_by(&twice).contains("one person is one voice"), "{twice:?}");
    assert_eq!(said(&two, &first, &who("bob", &[]), Word::Accept).unwrap().state, RequestState::Accepted);
    // Once it was reopened, everybody is asked anew.
    let refused = said(&two, &first, &who("bob", &[]), Word::Refuse).unwrap();
    let again = said(&two, &refused, &who("cid", &[]), Word::Reopen).unwrap();
    let again = said(&two, &again, &who("dan", &[]), Word::Accept).unwrap();
    assert_eq!(again.state, RequestState::Pending, "what ann said before is no voice now");
    assert_eq!(said(&two, &again, &who("ann", &[]), Word::Accept).unwrap().state, RequestState::Accepted);
}

#[test]
fn what_was_said_before_a_field_changed_is_no_voice_about_what_is_asked_now() {
    let two = Approval { reopen_on: ["email".to_owned()].into(), ..levels(&[level(&[], 2)]) };
    let first = said(&two, &changed(account(RequestState::Pending)), &who("ann", &[]), Word::Accept).unwrap();
    let refused = said(&two, &first, &who("bob", &[]), Word::Refuse).unwrap();
    let met = met(&two, Some(&refused), None, &ask(Action::Create, &["a"], true), Some(&user()));
    let Met::Shut(Some(again)) = met else { panic!("{met:?}") };
    let words: Vec<_> = again.votes.iter().map(|vote| (vote.said, vote.by.as_str())).collect();
    let expected = [(Word::Accept, "token:ann"), (Word::Refuse, "token:bob"), (Word::Reopen, "rule:reopenOn")];
    assert_eq!(words, expected, "who said what stays known");
    let once = said(&two, &again, &who("cid", &[]), Word::Accept).unwrap();
    assert_eq!(once.state, RequestState::Pending, "what ann said of another mail address is no voice");
    assert_eq!(said(&two, &once, &who("ann", &[]), Word::Accept).unwrap().state, RequestState::Accepted);
}

#[test]
fn levels_follow_one_another_and_each_begins_anew() {
    let approval = levels(&[level(&[], 1), level(&[], 2)]);
    let waits = Request { escalated: true, reminded: Some(at(0).window), ..account(RequestState::Pending) };
    let second = said(&approval, &waits, &who("ann", &[]), Word::Accept).unwrap();
    assert_eq!((second.state, second.level, second.level_begun), (RequestState::Pending, 1, at(1).window));
    assert_eq!((second.escalated, second.reminded, &second.decided), (false, None, &None));
    settled_by(&said(&approval, &second, &who("ann", &[]), Word::Accept));
    let half = said(&approval, &second, &who("bob", &[]), Word::Accept).unwrap();
    assert_eq!(half.state, RequestState::Pending, "a voice of the level before is none of this one");
    assert_eq!(said(&approval, &half, &who("cid", &[]), Word::Accept).unwrap().state, RequestState::Accepted);
    // A document that lost levels meanwhile leaves the last one.
    let fewer = said(&levels(&[level(&["group:desk"], 1)]), &half, &who("cid", &["desk"]), Word::Accept);
    assert_eq!(fewer.unwrap().state, RequestState::Accepted);
}

#[test]
fn one_person_is_one_voice_however_their_name_is_written() {
    let approval = levels(&[level(&["group:desk"], 2)]);
    let waits = account(RequestState::Pending);
    let half = |person: &str| said(&approval, &waits, &who(person, &["desk"]), Word::Accept).unwrap();
    for (first, second) in [
        ("rose", "Rose"),
        ("rose@desk.example", "Rose@Desk.Example"),
        ("rose@desk.example", "rose+second@desk.example"),
        ("ROSE+1@desk.example", "rose+2@desk.example"),
        ("rose", " rose "),
    ] {
        settled_by(&said(&approval, &half(first), &who(second, &["desk"]), Word::Accept));
    }
    for other in ["rosa@desk.example", "rose@other.example", "+@desk.example", "rose"] {
        let both = said(&approval, &half("rose@desk.example"), &who(other, &["desk"]), Word::Accept);
        assert_eq!(both.unwrap().state, RequestState::Accepted, "{other}");
    }
}

fn told_at(subject: &str, mail: &str) -> Addressee {
    let whom = Whom::Person { subject: subject.to_owned(), mail: mail.to_owned(), locale: None };
    Addressee { group: "desk".to_owned(), scope: Scope::new(), whom, digest: None }
}

#[test]
fn a_subject_and_the_mail_that_the_configuration_has_of_it_are_one_voice_and_no_judge_of_themselves() {
    let told = [told_at("rose", "rose@desk.example"), told_at("ines", "shared@desk.example")];
    let told = [&told[..], &[told_at("zoe", "shared@desk.example")]].concat();
    let approval = levels(&[level(&["group:desk"], 2)]);
    let say =
        |known: &Request, person: &str| said(&approval, known, &who(person, &["desk"]).known_by(&told), Word::Accept);
    let waits = account(RequestState::Pending);
    for (first, second) in
        [("rose", "Rose@desk.example"), ("rose@desk.example", "rose"), ("shared@desk.example", "zoe")]
    {
        settled_by(&say(&say(&waits, first).unwrap(), second));
    }
    let both = say(&say(&waits, "ines").unwrap(), "zoe").unwrap();
    assert_eq!(both.state, RequestState::Accepted, "two who share a mailbox are two");
    // About herself, by her token, whose subject no document names.
    let herself = User { email: Some("rose+portal@desk.example".to_owned()), ..user() };
    let rose = who("rose", &["desk"]).known_by(&told);
    no_right(&said_of(&approval, &waits, &rose, Word::Accept, &herself));
}

#[test]
fn the_holder_of_the_local_token_stands_for_whomever_is_asked() {
    let approval = levels(&[level(&["group:desk"], 2), level(&["group:chiefs"], 1)]);
    let local = Approver { by: "local".to_owned(), local: true, ..who("operator", &[]) };
    let second = said(&approval, &account(RequestState::Pending), &local, Word::Accept).unwrap();
    assert_eq!((second.state, second.level), (RequestState::Pending, 1));
    assert_eq!(said(&approval, &second, &local, Word::Accept).unwrap().state, RequestState::Accepted);
    // Where the configuration names approvers, the name alone is one voice.
    let named = Approver { by: "local".to_owned(), ..who("operator", &["desk"]) };
    let first = said(&approval, &account(RequestState::Pending), &named, Word::Accept).unwrap();
    assert_eq!((first.state, first.level), (RequestState::Pending, 0));
    settled_by(&said(&approval, &first, &named, Word::Accept));
}

#[test]
fn where_levels_were_taken_out_the_last_one_decides_whole() {
    let half = Request { level: 1, ..account(RequestState::Pending) };
    let escalate = Some(Escalation { after: HOUR, to: [party("group:chiefs")].into() });
    let fewer = levels(&[Level { escalate, ..level(&["group:desk"], 2) }]);
    let first = said(&fewer, &half, &who("ann", &["desk"]), Word::Accept).unwrap();
    assert_eq!(first.state, RequestState::Pending, "two have to agree there");
    assert_eq!(said(&fewer, &first, &who("bob", &["desk"]), Word::Accept).unwrap().state, RequestState::Accepted);
    assert_eq!(due(&fewer, &half), Some(at(1).window), "and others join in time");
    assert_eq!(level_of(&fewer, &half), fewer.levels.first());
}

#[test]
fn a_refusal_is_reopened_by_what_changed_after_it_alone() {
    let asked = ask(Action::Create, &["a"], true);
    let mail = |mail: &str| User { email: Some(mail.to_owned()), ..user() };
    let keeper = keeper(&reopens());
    let meets =
        |request: &Request, user: &User| word(&met(&reopens(), Some(request), None, &asked, Some(user)), Some(request));
    for state in [RequestState::Refused, RequestState::Expired] {
        // Asked about one mail, ended when it was another.
        let asked_then = Request { marks: keeper.marks(&mail("then@x.example")), ..account(state) };
        let ended = keeper.marked(asked_then, Some(&mail("now@x.example")));
        assert_eq!(meets(&ended, &mail("now@x.example")), "shut");
        assert_eq!(meets(&ended, &mail("later@x.example")), "new");
        assert_eq!(keeper.marked(ended.clone(), None), ended, "of a user who is gone nothing is known");
        // A field that the document did not name then is counted from the first look on.
        let unmarked = account(state);
        let Met::Shut(Some(marked)) = met(&reopens(), Some(&unmarked), None, &asked, Some(&mail("now@x.example")))
        else {
            panic!("{state:?} is opened by a document that names another field")
        };
        assert_eq!((marked.state, &marked.id), (state, &unmarked.id));
        assert_eq!(meets(&marked, &mail("now@x.example")), "shut");
        assert_eq!(meets(&marked, &mail("later@x.example")), "new");
    }
}

#[test]
fn what_a_rule_accepted_passes_until_it_is_done_only_while_that_rule_holds() {
    let rule = |name: &str, condition: &str| AcceptRule { name: name.to_owned(), when: when(condition) };
    let ruled = |rules: &[AcceptRule]| Approval { rules: rules.to_vec(), ..approval() };
    let holds = ruled(&[rule("internal", "user.active")]);
    let gone = ruled(&[rule("internal", "not user.active")]);
    let other = ruled(&[rule("other", "user.active")]);
    let asked = ask(Action::Create, &["a"], true);
    let Met::Opened(accepted) = met(&holds, None, None, &asked, Some(&user())) else { panic!("it is not accepted") };
    let accepted = Request { id: "r-1".into(), ..*accepted };
    let done = Request { done: Some(at(0).wall), ..accepted.clone() };
    let by_ann = said(&approval(), &account(RequestState::Pending), &who("ann", &[]), Word::Accept).unwrap();
    for (approval, known, expected) in [
        (&holds, &accepted, "open"),
        (&gone, &accepted, "new"),
        (&other, &accepted, "opened by rule:other"),
        (&gone, &done, "open"),
        (&gone, &by_ann, "open"),
    ] {
        let met = met(approval, Some(known), None, &asked, Some(&user()));
        assert_eq!(word(&met, Some(known)), expected, "{:?} {:?}", approval.rules, known.decided);
    }
}

#[test]
fn what_was_accepted_with_an_account_lapses_by_entitlement() {
    use RequestState::Accepted;
    use RequestState::Pending;
    use RequestState::Refused;
    let of = |words: &[&str]| Lapsed::Of(names(words));
    for (subject, state, is_there, has, expected) in [
        ("account", Accepted, true, "a b", Lapsed::Nothing),
        ("account", Accepted, true, "b c", of(&["a"])),
        ("account", Accepted, true, "", of(&["a", "b"])),
        ("account", Accepted, false, "a b", Lapsed::All),
        // It is asked for less by the next plan.
        ("account", Pending, true, "b", Lapsed::Nothing),
        ("account", Refused, true, "", Lapsed::Nothing),
        ("account", Refused, false, "", Lapsed::Nothing),
        ("grant a", Accepted, true, "b", Lapsed::All),
        ("grant a", Accepted, true, "a b", Lapsed::Nothing),
    ] {
        let request = request(subject, state, &["a", "b"]);
        let found = lapsed(&request, is_there, |name| has.split(' ').any(|it| it == name.as_str()));
        assert_eq!(found, expected, "{subject} {state:?} {is_there} {has}");
    }
}

/// Two hours until others join, a reminder every three, ten until it expires.
fn timed() -> Approval {
    let escalate = Escalation { after: HOUR * 2, to: [party("group:chiefs")].into() };
    Approval {
        expires: Some(HOUR * 10),
        remind_every: Some(HOUR * 3),
        ..levels(&[Level { escalate: Some(escalate), ..level(&["group:desk"], 1) }])
    }
}

#[test]
fn time_escalates_reminds_and_expires_once_however_long_nobody_looked() {
    use Passed::Escalated;
    use Passed::Expired;
    use Passed::Reminded;
    let waits = account(RequestState::Pending);
    assert_eq!(pass(&timed(), &waits, at(1)), None);
    let rows: [(i64, &[Passed], u32); 5] = [
        (2, &[Escalated], 0),
        (3, &[Escalated, Reminded], 1),
        (9, &[Escalated, Reminded], 1),
        (10, &[Escalated, Reminded, Expired], 1),
        (99, &[Escalated, Reminded, Expired], 1),
    ];
    for (hour, expected, reminders) in rows {
        let (next, passed) = pass(&timed(), &waits, at(hour)).unwrap();
        assert_eq!(passed, expected.iter().copied().collect(), "at hour {hour}");
        assert_eq!((next.escalated, next.reminders), (true, reminders), "at hour {hour}");
        assert_eq!(next.reminded, (reminders > 0).then(|| at(hour).window));
        let state = if hour < 10 { RequestState::Pending } else { RequestState::Expired };
        assert_eq!(next.state, state, "at hour {hour}");
        assert_eq!(pass(&timed(), &next, at(hour)), None, "nothing passes twice");
    }
    let (joined, _) = pass(&timed(), &waits, at(2)).unwrap();
    let (reminded, passed) = pass(&timed(), &joined, at(4)).unwrap();
    assert_eq!((passed, reminded.reminders), ([Reminded].into(), 1));
    let (again, passed) = pass(&timed(), &reminded, at(7)).unwrap();
    assert_eq!((passed, again.reminders), ([Reminded].into(), 2));
}

#[test]
fn what_is_due_next_is_the_earliest_and_nothing_is_due_of_what_does_not_wait() {
    let waits = account(RequestState::Pending);
    assert_eq!(due(&timed(), &waits), Some(at(2).window));
    assert_eq!(due(&timed(), &Request { escalated: true, ..waits.clone() }), Some(at(3).window));
    let reminded = Request { escalated: true, reminded: Some(at(8).window), ..waits.clone() };
    assert_eq!(due(&timed(), &reminded), Some(at(10).window));
    assert_eq!(due(&approval(), &waits), None);
    for state in [RequestState::Accepted, RequestState::Refused, RequestState::Expired] {
        assert_eq!(due(&timed(), &account(state)), None);
        assert_eq!(pass(&timed(), &account(state), at(99)), None);
    }
}

#[test]
fn what_nobody_wants_any_more_is_over_and_a_refusal_is_not() {
    use RequestState::Accepted;
    use RequestState::Expired;
    use RequestState::Pending;
    use RequestState::Refused;
    for (subject, state, account, has, wanted) in [
        ("account", Pending, true, false, true),
        ("account", Accepted, true, false, true),
        ("account", Pending, false, true, false),
        ("account", Accepted, false, true, false),
        ("account", Refused, false, false, true),
        ("account", Expired, false, false, true),
        ("grant a", Pending, true, true, true),
        ("grant a", Pending, false, true, false),
        ("grant a", Accepted, true, false, false),
        ("grant a", Refused, false, false, true),
    ] {
        let request = request(subject, state, &["a"]);
        assert_eq!(is_wanted(&request, account, |_| has), wanted, "{subject} {state:?} {account} {has}");
    }
}
