//! What a word and a request outlast, and what ends them.

use super::*;
use crate::support::make::broken;

/// A daemon over what `rig` leaves behind that starts with documents which nobody accepted.
async fn with_unaccepted(rig: Rig, target: Target) -> Rig {
    rig.restarted(broken(documents([user("u-1")], [target]))).await
}

fn rule(condition: &str) -> AcceptRule {
    AcceptRule { name: "staff".to_owned(), when: when(condition) }
}

/// L11, L12
#[tokio::test(start_paused = true)]
async fn a_document_that_nobody_accepted_decides_about_no_request_that_waits() {
    let ungranted = Target { labels: BTreeMap::new(), ..gated(approval()) };
    let hour = Some(Duration::from_hours(1));
    for (other, what) in [
        (gated(Approval { rules: vec![rule("true")], ..approval() }), "accepts everybody"),
        (gated(Approval { gates: [Gate::Grant].into(), ..approval() }), "asks about less"),
        (gated(Approval { expires: hour, remind_every: hour, ..approval() }), "lets it expire"),
        (target("app"), "asks about nothing"),
        (ungranted, "grants nothing"),
    ] {
        let rig = one(approval()).await;
        let before = rig.only_request().await.request;
        let rig = with_unaccepted(rig, other).await;
        rig.sync("app").await.unwrap();
        rig.pass(Duration::from_hours(2)).await;
        assert_eq!(rig.only_request().await.request, before, "{what}");
        let said = rig.say(&before.id, Word::Accept, &approver("rose", &[])).await;
        assert!(matches!(said, Err(ItemError::Unaccepted(_))), "who may decide is not accepted either: {said:?}");
        rig.declare(documents([user("u-1")], [gated(approval())])).await;
        rig.sync("app").await.unwrap();
        assert_eq!(rig.only_request().await.request, before, "{what}");
        assert_eq!(rig.made(), 0, "{what}");
        assert_eq!(rig.say(&before.id, Word::Accept, &approver("rose", &[])).await, Ok(RequestState::Accepted));
        assert_eq!(rig.made(), 1, "{what}");
    }
}

/// L11
#[tokio::test(start_paused = true)]
async fn a_document_that_nobody_accepted_ends_no_acceptance() {
    let rig = one(approval()).await;
    let id = rig.only_request().await.request.id;
    rig.say(&id, Word::Accept, &approver("rose", &[])).await.unwrap();
    let before = rig.only_request().await.request;
    let rig = with_unaccepted(rig, Target { labels: BTreeMap::new(), ..gated(approval()) }).await;
    rig.pass(Duration::from_hours(2)).await;
    rig.declare(documents([user("u-1")], [gated(approval())])).await;
    assert_eq!(rig.only_request().await.request, before);
}

/// L12
#[tokio::test(start_paused = true)]
async fn what_was_accepted_with_an_account_and_went_is_asked_about_when_it_comes_back() {
    let admin = || User { roles: vec![held("staff"), held("admin")], ..user("u-1") };
    let rig = Rig::started(documents([admin()], [gated(approval())])).await;
    let id = rig.only_request().await.request.id;
    rig.say(&id, Word::Accept, &approver("rose", &[])).await.unwrap();
    let memberships = |rig: &Rig| rig.target("app").by_name("u-1@acme.example").unwrap().memberships.len();
    assert_eq!(memberships(&rig), 1);
    rig.declare(documents([user("u-1")], [gated(approval())])).await;
    assert_eq!(memberships(&rig), 0);
    let lapsed = |rig: &Rig| {
        let events = rig.store.open().events.clone();
        let lapsed = events.into_iter().filter(|event| event.kind == "request-lapsed");
        lapsed.map(|event| event.details["subject"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(lapsed(&rig), ["grant admin"]);
    rig.declare(documents([admin()], [gated(approval())])).await;
    assert_eq!(memberships(&rig), 0, "nobody agreed to it since it went");
    let waits = rig.shown().await.into_iter().find(|shown| shown.request.state == RequestState::Pending).unwrap();
    assert_eq!(waits.request.subject, Subject::Grant("admin".into()));
    rig.say(&waits.request.id, Word::Accept, &approver("rose", &[])).await.unwrap();
    assert_eq!(memberships(&rig), 1);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_field_that_no_mapping_shows_reopens_and_passes_a_request_all_the_same() {
    let family = |name: &str| User { family_name: Some(name.to_owned()), ..user("u-1") };
    let reopens = || Approval { reopen_on: ["familyName".to_owned()].into(), ..approval() };
    let rig = one(reopens()).await;
    let id = rig.only_request().await.request.id;
    rig.say(&id, Word::Refuse, &approver("rose", &[])).await.unwrap();
    rig.declare(documents([family("Other")], [gated(reopens())])).await;
    assert_eq!(rig.only_request().await.request.state, RequestState::Pending);
    for gate in [
        Approval { rules: vec![rule("user.familyName == 'Other'")], ..approval() },
        Approval { when: Some(when("user.familyName != 'Other'")), ..approval() },
    ] {
        let rig = one(gate.clone()).await;
        assert_eq!(rig.only_request().await.request.state, RequestState::Pending);
        rig.declare(documents([family("Other")], [gated(gate)])).await;
        assert_eq!(rig.made(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_people_gave_by_hand_is_asked_about_no_longer_once_a_listing_showed_it() {
    let gate = || Approval { gates: [Gate::Grant].into(), ..approval() };
    let admin = || User { roles: vec![held("staff"), held("admin")], ..user("u-1") };
    let by_hand = |rig: &Rig| {
        let mut inside = rig.target("app").inside();
        let account = inside.accounts.values_mut().next().unwrap();
        account.memberships.insert(rosterd::model::account::Membership::Group("g-admin".to_owned()));
    };
    let rig = Rig::started(documents([admin()], [gated(gate())])).await;
    assert_eq!(rig.only_request().await.request.state, RequestState::Pending);
    by_hand(&rig);
    rig.sync("app").await.unwrap();
    assert_eq!(rig.shown().await, []);
    // What was accepted is done by whoever did it.
    let rig = Rig::started(documents([admin()], [gated(gate())])).await;
    let id = rig.only_request().await.request.id;
    let refused = rosterd::connector::ErrorClass::Refused;
    rig.target("app").inside().bad_user = Some(("u-1@acme.example".to_owned(), refused));
    rig.say(&id, Word::Accept, &approver("rose", &[])).await.unwrap();
    assert_eq!(rig.only_request().await.request.done, None);
    by_hand(&rig);
    rig.sync("app").await.unwrap();
    assert!(rig.only_request().await.request.done.is_some());
}

#[tokio::test(start_paused = true)]
async fn of_the_requests_that_a_rename_brings_together_the_most_careful_stands() {
    for (old, new) in [(Word::Refuse, None), (Word::Refuse, Some(Word::Accept)), (Word::Accept, None)] {
        let rig = Rig::started(documents([user("u-1"), user("u-9")], [gated(approval())])).await;
        rig.target("app").inside().bad_user =
            Some(("u-9@acme.example".to_owned(), rosterd::connector::ErrorClass::Refused));
        let id = |record: &str, all: &[Shown]| {
            all.iter().find(|shown| shown.request.record.as_str() == record).unwrap().request.id.clone()
        };
        let all = rig.shown().await;
        rig.target("app").inside().bad_looks = Some(rosterd::connector::ErrorClass::Transient);
        rig.say(&id("u-1", &all), old, &approver("rose", &[])).await.unwrap();
        if let Some(new) = new {
            rig.say(&id("u-9", &all), new, &approver("rose", &[])).await.unwrap();
        }
        let both = User { formerly: vec!["u-1".into()], ..user("u-9") };
        rig.declare(documents([both], [gated(approval())])).await;
        let request = rig.only_request().await.request;
        let expected = if old == Word::Refuse { RequestState::Refused } else { RequestState::Pending };
        assert_eq!((request.record.as_str(), request.state), ("u-9", expected));
        let events = &rig.store.open().events;
        let dropped = events.iter().filter(|event| matches!(&*event.kind, "request-withdrawn" | "request-lapsed"));
        assert_eq!(dropped.count(), 1, "what became of the other one is told");
    }
}

/// L12
#[tokio::test(start_paused = true)]
async fn what_a_rule_accepted_waits_again_where_the_rule_holds_no_longer_before_the_call() {
    let gate = || Approval { rules: vec![rule("user.userType == 'employee'")], ..approval() };
    let rig = Rig::new(documents([user("u-1")], [gated(gate())]));
    rig.target("app").inside().bad_user =
        Some(("u-1@acme.example".to_owned(), rosterd::connector::ErrorClass::Transient));
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    assert_eq!(rig.only_request().await.request.state, RequestState::Accepted);
    let guest = User { user_type: Some("guest".to_owned()), ..user("u-1") };
    rig.declare(documents([guest], [gated(gate())])).await;
    rig.target("app").inside().bad_user = None;
    rig.pass(Duration::from_hours(1)).await;
    assert_eq!(rig.made(), rig.target("app").count("create u-1"));
    assert_eq!(rig.target("app").by_name("u-1@acme.example"), None);
    assert_eq!(rig.only_request().await.request.state, RequestState::Pending);
}
