//! Requests on virtual time: levels, time, rules, renames, restarts, and what a word is good for.

mod approvers;
mod levels;
mod standing;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use rosterd::engine::Running;
use rosterd::engine::outbox::Post;
use rosterd::engine::requests::ItemError;
use rosterd::engine::requests::Shown;
use rosterd::model::account::AccountState;
use rosterd::model::addressee::Addressee;
use rosterd::model::addressee::Whom;
use rosterd::model::approval::AcceptRule;
use rosterd::model::approval::Approval;
use rosterd::model::approval::Escalation;
use rosterd::model::approval::Gate;
use rosterd::model::approval::GatedGrants;
use rosterd::model::approval::Level;
use rosterd::model::approval::Party;
use rosterd::model::approval::When;
use rosterd::model::decision::DecisionKind;
use rosterd::model::ids::RequestId;
use rosterd::model::plan::HoldKind;
use rosterd::model::request::RequestState;
use rosterd::model::request::Subject;
use rosterd::model::request::Word;
use rosterd::model::target::Target;
use rosterd::model::user::User;
use rosterd::plan::verdict::Refused;
use rosterd::plan::verdict::rights::Approver;

use crate::support::mail::MemoryMail;
use crate::support::make::approver;
use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::inactive;
use crate::support::make::origin;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::target::Fault;

fn when(condition: &str) -> When {
    When { condition: condition.to_owned(), origin: origin("when") }
}

fn approval() -> Approval {
    Approval { gates: Gate::ALL.into(), author_label: None, origin: origin("approval"), ..Approval::ungated() }
}

fn gated(approval: Approval) -> Target {
    Target { approval: Some(approval), ..target("app") }
}

fn group(name: &str) -> Party {
    Party::Group(name.to_owned())
}

fn level(groups: &[&str]) -> Level {
    Level { any_of: groups.iter().map(|name| group(name)).collect(), ..Level::anybody() }
}

impl Rig {
    async fn shown(&self) -> Vec<Shown> {
        self.engine.requests(&|_| true).await.unwrap()
    }

    async fn only_request(&self) -> Shown {
        let mut all = self.shown().await;
        assert_eq!(all.len(), 1, "{all:#?}");
        all.pop().unwrap()
    }

    async fn say(&self, id: &RequestId, word: Word, approver: &Approver) -> Result<RequestState, ItemError> {
        let reason = (word == Word::Refuse).then(|| "no".to_owned());
        let ids = std::slice::from_ref(id);
        let mut said = self.engine.decide_requests(ids, (word, reason), approver, &|_| true).await.unwrap();
        self.rest().await;
        said.pop().unwrap().result.map(|request| request.state)
    }

    fn made(&self) -> usize {
        self.target("app").count("create")
    }
}

fn no_right(said: &Result<RequestState, ItemError>) -> bool {
    matches!(said, Err(ItemError::Refused(Refused::NoRight(_))))
}

fn settled(said: &Result<RequestState, ItemError>) -> bool {
    matches!(said, Err(ItemError::Refused(Refused::Settled(_))))
}

async fn one(approval: Approval) -> Rig {
    Rig::started(documents([user("u-1")], [gated(approval)])).await
}

/// L12
#[tokio::test(start_paused = true)]
async fn a_gated_creation_never_runs_without_its_acceptance_by_whatever_trigger() {
    let rig = one(approval()).await;
    let id = rig.only_request().await.request.id;
    rig.sync("app").await.unwrap();
    let request = rosterd::engine::SyncRequest { records: Some(["u-1".into()].into()), only: None };
    rig.engine.sync(&"app".into(), request).await.unwrap();
    rig.declare(documents([User { given_name: Some("Other".to_owned()), ..user("u-1") }], [gated(approval())])).await;
    let plan = rig.engine.plan(&"app".into(), None, None).await.unwrap();
    assert_eq!(plan.changes, [], "nor does a plan promise it");
    rig.pass(Duration::from_hours(48)).await;
    let rig = rig.restarted(documents([user("u-1")], [gated(approval())])).await;
    assert_eq!(rig.made(), 0);
    assert_eq!(rig.only_request().await.request.id, id, "one request, whatever asks again");
    assert_eq!(rig.say(&id, Word::Accept, &approver("rose", &[])).await, Ok(RequestState::Accepted));
    assert_eq!(rig.made(), 1);
    rig.assert_settled("app").await;
    assert_eq!(rig.store.open().unaudited, [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn levels_decide_in_sequence_and_one_person_is_one_voice() {
    let two = Level { quorum: 2, ..level(&["first", "also"]) };
    let rig = one(Approval { levels: vec![two, level(&["second"])], ..approval() }).await;
    let shown = rig.only_request().await;
    let id = shown.request.id;
    assert_eq!(shown.turn, BTreeSet::from(["group:also".to_owned(), "group:first".to_owned()]));
    let both = approver("rose", &["first", "second"]);
    assert!(no_right(&rig.say(&id, Word::Accept, &approver("zoe", &["second"])).await), "not her turn yet");
    assert_eq!(rig.say(&id, Word::Accept, &both).await, Ok(RequestState::Pending));
    assert!(settled(&rig.say(&id, Word::Accept, &both).await), "she has said so");
    assert!(settled(&rig.say(&id, Word::Accept, &Approver { by: "token:2".to_owned(), ..both.clone() }).await));
    assert_eq!(rig.say(&id, Word::Accept, &approver("ines", &["also"])).await, Ok(RequestState::Pending));
    assert_eq!(rig.only_request().await.turn, BTreeSet::from(["group:second".to_owned()]));
    assert!(settled(&rig.say(&id, Word::Accept, &both).await), "two levels are two people");
    assert_eq!(rig.made(), 0);
    assert_eq!(rig.say(&id, Word::Accept, &approver("zoe", &["second"])).await, Ok(RequestState::Accepted));
    assert_eq!(rig.made(), 1);
    let votes = rig.only_request().await.request.votes;
    let told: Vec<_> = votes.iter().map(|vote| (vote.level, vote.person.as_str())).collect();
    assert_eq!(told, [(0, "rose"), (0, "ines"), (1, "zoe")], "who decided what, and when");
}

#[tokio::test(start_paused = true)]
async fn one_refusal_at_any_level_is_enough_and_the_first_last_word_stands() {
    let rig = one(Approval { levels: vec![level(&["first"]), level(&["second"])], ..approval() }).await;
    let id = rig.only_request().await.request.id;
    rig.say(&id, Word::Accept, &approver("rose", &["first"])).await.unwrap();
    assert_eq!(rig.say(&id, Word::Refuse, &approver("zoe", &["second"])).await, Ok(RequestState::Refused));
    assert!(settled(&rig.say(&id, Word::Accept, &approver("ada", &["second"])).await));
    assert_eq!(rig.made(), 0);
    assert_eq!(rig.say(&id, Word::Reopen, &approver("ada", &["second"])).await, Ok(RequestState::Pending));
    let turn = rig.only_request().await.turn;
    assert_eq!(turn, BTreeSet::from(["group:first".to_owned()]), "from the first level on");
    assert_eq!(rig.say(&id, Word::Accept, &approver("rose", &["first"])).await, Ok(RequestState::Pending));
    assert_eq!(rig.say(&id, Word::Accept, &approver("ada", &["second"])).await, Ok(RequestState::Accepted));
    assert_eq!(rig.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_approvers_at_once_cannot_decide_differently() {
    let rig = one(approval()).await;
    let ids = [rig.only_request().await.request.id];
    let (rose, zoe) = (approver("rose", &[]), approver("zoe", &[]));
    let no = Some("no".to_owned());
    let (accepted, refused) = tokio::join!(
        rig.engine.decide_requests(&ids, (Word::Accept, None), &rose, &|_| true),
        rig.engine.decide_requests(&ids, (Word::Refuse, no), &zoe, &|_| true),
    );
    let words = [accepted.unwrap().pop().unwrap(), refused.unwrap().pop().unwrap()];
    let taken: Vec<_> = words.iter().filter_map(|said| Some(said.result.as_ref().ok()?.state)).collect();
    assert_eq!(taken.len(), 1, "{words:#?}");
    let other = words.iter().find_map(|said| said.result.as_ref().err());
    assert!(matches!(other, Some(ItemError::Refused(Refused::Settled(_)))), "{words:#?}");
    rig.rest().await;
    assert_eq!(rig.only_request().await.request.state, taken[0]);
    assert_eq!(rig.made(), usize::from(taken[0] == RequestState::Accepted));
}

#[tokio::test(start_paused = true)]
async fn a_level_that_takes_too_long_is_escalated_reminded_of_and_expires_by_time_that_passed() {
    let escalate = Escalation { after: Duration::from_hours(48), to: [group("chiefs")].into() };
    let levels = vec![Level { escalate: Some(escalate), ..level(&["first"]) }];
    let (expires, remind_every) = (Some(Duration::from_hours(14 * 24)), Some(Duration::from_hours(24)));
    let gate = Approval { levels, expires, remind_every, ..approval() };
    let rig = one(gate.clone()).await;
    let id = rig.only_request().await.request.id;
    assert!(no_right(&rig.say(&id, Word::Refuse, &approver("carl", &["chiefs"])).await));
    rig.pass(Duration::from_hours(25)).await;
    assert_eq!(rig.only_request().await.request.reminders, 1);
    // A clock that is set makes nothing expire.
    rig.clock.step(TimeDelta::days(400));
    rig.pass(Duration::from_hours(1)).await;
    assert_eq!(rig.only_request().await.request.state, RequestState::Pending);
    rig.clock.step(TimeDelta::days(-400));
    let rig = rig.restarted(documents([user("u-1")], [gated(gate)])).await;
    rig.pass(Duration::from_hours(24)).await;
    let shown = rig.only_request().await;
    assert_eq!(shown.turn, BTreeSet::from(["group:chiefs".to_owned(), "group:first".to_owned()]));
    rig.pass(Duration::from_hours(12 * 24)).await;
    let request = rig.only_request().await.request;
    assert_eq!(request.state, RequestState::Expired);
    assert!((10..=14).contains(&request.reminders), "{}", request.reminders);
    rig.pass(Duration::from_hours(5 * 24)).await;
    assert_eq!(rig.made(), 0);
    assert!(settled(&rig.say(&id, Word::Accept, &approver("carl", &["chiefs"])).await), "too late");
    assert_eq!(rig.say(&id, Word::Reopen, &approver("carl", &["chiefs"])).await, Ok(RequestState::Pending));
    assert_eq!(rig.say(&id, Word::Accept, &approver("rose", &["first"])).await, Ok(RequestState::Accepted));
    assert_eq!(rig.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn rules_accept_by_themselves_and_say_so() {
    let rule = AcceptRule { name: "staff".to_owned(), when: when("user.userType == 'employee'") };
    let outside = User { user_type: Some("guest".to_owned()), ..user("u-2") };
    let gate = Approval { rules: vec![rule], ..approval() };
    let rig = Rig::started(documents([user("u-1"), outside], [gated(gate)])).await;
    assert_eq!(rig.made(), 1);
    let all = rig.shown().await;
    let of = |record: &str| all.iter().find(|shown| shown.request.record.as_str() == record).unwrap().request.clone();
    assert_eq!(of("u-1").decided.unwrap().by, "rule:staff");
    assert!(of("u-1").done.is_some());
    assert_eq!(of("u-2").state, RequestState::Pending);
    let events = &rig.store.open().events;
    let accepted: Vec<_> = events.iter().filter(|event| event.kind == "request-accepted").collect();
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0].actor, "rule:staff");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_reopened_by_what_the_target_names_and_by_nothing_else() {
    let gate = Approval { reopen_on: ["email".to_owned()].into(), ..approval() };
    let rig = one(gate.clone()).await;
    let id = rig.only_request().await.request.id;
    rig.say(&id, Word::Refuse, &approver("rose", &[])).await.unwrap();
    let renamed = User { given_name: Some("Other".to_owned()), ..user("u-1") };
    rig.declare(documents([renamed], [gated(gate.clone())])).await;
    assert_eq!(rig.only_request().await.request.state, RequestState::Refused);
    let other_mail = User { email: Some("other@acme.example".to_owned()), ..user("u-1") };
    rig.declare(documents([other_mail], [gated(gate)])).await;
    let request = rig.only_request().await.request;
    assert_eq!((request.state, request.id == id), (RequestState::Pending, false), "another request");
    let said: Vec<_> = request.votes.iter().map(|vote| (vote.said, vote.by.as_str())).collect();
    let expected = [(Word::Refuse, "token:rose"), (Word::Reopen, "rule:reopenOn")];
    assert_eq!(said, expected, "which remembers what was said of the first");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_moves_with_a_declared_rename_and_outlives_gates_that_are_taken_out() {
    let rig = one(approval()).await;
    let id = rig.only_request().await.request.id;
    rig.say(&id, Word::Refuse, &approver("rose", &[])).await.unwrap();
    let moved = User { formerly: vec!["u-1".into()], ..user("u-9") };
    rig.declare(documents([moved.clone()], [gated(approval())])).await;
    let request = rig.only_request().await.request;
    assert_eq!((request.record.as_str(), request.state), ("u-9", RequestState::Refused));
    rig.declare(documents([moved.clone()], [target("app")])).await;
    rig.release(HoldKind::Loosen).await;
    rig.sync("app").await.unwrap();
    let rig = rig.restarted(documents([moved], [target("app")])).await;
    assert_eq!(rig.made(), 0, "no document takes a person's word back");
    assert_eq!(rig.say(&id, Word::Reopen, &approver("rose", &[])).await, Ok(RequestState::Pending));
    assert_eq!(rig.made(), 1, "nobody is asked any more");
    assert_eq!(rig.shown().await, []);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_asked_about_again_and_nothing_of_that_delays_the_leaving() {
    let rig = one(approval()).await;
    let id = rig.only_request().await.request.id;
    rig.say(&id, Word::Accept, &approver("rose", &[])).await.unwrap();
    rig.declare(documents([inactive("u-1")], [gated(approval())])).await;
    let state = |rig: &Rig| rig.target("app").by_name("u-1@acme.example").unwrap().state;
    assert_eq!(state(&rig), AccountState::Disabled, "narrowing is never gated");
    assert_eq!(rig.shown().await, [], "what was accepted is not wanted any more");
    rig.declare(documents([user("u-1")], [gated(approval())])).await;
    assert_eq!(state(&rig), AccountState::Disabled);
    let request = rig.only_request().await.request;
    assert_eq!(request.asked.action, rosterd::model::change::Action::Reactivate);
    rig.say(&request.id, Word::Accept, &approver("rose", &[])).await.unwrap();
    assert_eq!(state(&rig), AccountState::Active);
    assert_eq!(rig.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_privileged_grant_waits_while_the_rest_goes_on_and_more_than_was_shown_is_asked_anew() {
    let grants = GatedGrants::Only { entitlements: BTreeSet::new(), privileged: true };
    let gate = Approval { gates: [Gate::Grant].into(), grants, ..approval() };
    let admin = User { roles: vec![held("staff"), held("admin")], ..user("u-1") };
    let rig = Rig::started(documents([admin.clone()], [gated(gate.clone())])).await;
    assert_eq!(rig.made(), 1, "the account is nobody's to agree to");
    let memberships = |rig: &Rig| rig.target("app").by_name("u-1@acme.example").unwrap().memberships.len();
    assert_eq!(memberships(&rig), 0);
    let shown = rig.only_request().await;
    assert_eq!(shown.request.subject, Subject::Grant("admin".into()));
    assert_eq!(rig.say(&shown.request.id, Word::Refuse, &approver("rose", &[])).await, Ok(RequestState::Refused));
    rig.assert_settled("app").await;
    assert_eq!(rig.say(&shown.request.id, Word::Reopen, &approver("rose", &[])).await, Ok(RequestState::Pending));
    assert_eq!(rig.say(&shown.request.id, Word::Accept, &approver("rose", &[])).await, Ok(RequestState::Accepted));
    assert_eq!(memberships(&rig), 1);
    // A creation that asks for more than was shown is another request.
    let rig = one(approval()).await;
    let first = rig.only_request().await.request;
    rig.declare(documents([admin], [gated(approval())])).await;
    let second = rig.only_request().await.request;
    assert_ne!(first.id, second.id);
    assert_eq!(second.asked.entitlements, BTreeSet::from(["admin".into()]));
    assert!(matches!(rig.say(&first.id, Word::Accept, &approver("rose", &[])).await, Err(ItemError::Gone(_))));
    assert_eq!(rig.made(), 0);
    rig.say(&second.id, Word::Accept, &approver("rose", &[])).await.unwrap();
    assert_eq!((rig.made(), memberships(&rig)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_is_done_once_whatever_befalls_its_call_and_the_process() {
    let rig = one(approval()).await;
    let id = rig.only_request().await.request.id;
    rig.target("app").inside().faults.push_back(Fault::LoseReply);
    let ids = [id.clone()];
    rig.engine.decide_requests(&ids, (Word::Accept, None), &approver("rose", &[]), &|_| true).await.unwrap();
    let rig = rig.restarted(documents([user("u-1")], [gated(approval())])).await;
    rig.pass(Duration::from_mins(5)).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 1, "one account");
    let request = rig.only_request().await.request;
    assert_eq!((request.state, request.id), (RequestState::Accepted, id));
    assert!(request.done.is_some(), "and it is known to be there");
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_word_that_the_store_did_not_take_is_told_so_and_opens_nothing() {
    let rig = one(approval()).await;
    let id = rig.only_request().await.request.id;
    rig.store.open().full = true;
    let said = rig.say(&id, Word::Accept, &approver("rose", &[])).await;
    assert!(matches!(said, Err(ItemError::Store(_))), "{said:?}");
    rig.store.open().full = false;
    rig.pass(Duration::from_mins(1)).await;
    assert_eq!(rig.made(), 0);
    assert_eq!(rig.only_request().await.request.state, RequestState::Pending);
    assert_eq!(rig.say(&id, Word::Accept, &approver("rose", &[])).await, Ok(RequestState::Accepted));
    assert_eq!(rig.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_can_be_decided_while_the_target_does_not_answer() {
    let rig = one(approval()).await;
    let id = rig.only_request().await.request.id;
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    rig.target("app").inside().shut = true;
    let next = Rig::over(documents([user("u-1")], [gated(approval())]), targets, Arc::clone(&store));
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    assert_eq!(next.say(&id, Word::Accept, &approver("rose", &[])).await, Ok(RequestState::Accepted));
    assert_eq!(next.made(), 0);
    next.target("app").inside().shut = false;
    next.pass(Duration::from_hours(2)).await;
    assert_eq!(next.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn s2_10_how_many_wait_how_long_and_how_late_acceptances_are_done_are_metrics() {
    let gate = Approval { within: Duration::from_hours(1), ..approval() };
    let rig = Rig::started(documents(users(3), [gated(gate)])).await;
    rig.pass(Duration::from_hours(2)).await;
    let value = |rig: &Rig, name: &str| {
        let text = rig.metrics.encode();
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{target=\"app\"}}")));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
            .round()
    };
    let whole = |rig: &Rig, name: &str| value(rig, name).to_string().parse::<u64>().unwrap();
    assert_eq!(whole(&rig, "rosterd_requests_pending"), 3);
    assert!(value(&rig, "rosterd_request_oldest_seconds") >= 7_000.0);
    rig.target("app").inside().bad_user =
        Some(("u-0000@acme.example".to_owned(), rosterd::connector::ErrorClass::Refused));
    for shown in rig.shown().await {
        rig.say(&shown.request.id, Word::Accept, &approver("rose", &[])).await.unwrap();
    }
    rig.pass(Duration::from_hours(2)).await;
    assert_eq!(whole(&rig, "rosterd_requests_pending"), 0);
    assert_eq!(whole(&rig, "rosterd_acceptance_seconds_count"), 2);
    assert!(value(&rig, "rosterd_acceptance_seconds_sum") < 60.0, "seconds, not days");
    assert_eq!(whole(&rig, "rosterd_acceptances_late"), 1);
    assert!(value(&rig, "rosterd_acceptance_oldest_seconds") >= 7_000.0);
}
