//! Levels that a document changes while something waits, and what of a document falls away when it is taken back.

use super::*;

fn by(levels: &[Level]) -> Target {
    gated(Approval { levels: levels.to_vec(), ..approval() })
}

/// L12
#[tokio::test(start_paused = true)]
async fn nobody_decides_by_a_voice_at_a_level_that_a_document_put_elsewhere() {
    let (desk, law, chiefs) = (|| level(&["desk"]), || level(&["law"]), || level(&["chiefs"]));
    let rig = Rig::started(documents([user("u-1")], [by(&[desk(), chiefs()])])).await;
    let id = rig.only_request().await.request.id;
    assert_eq!(rig.say(&id, Word::Accept, &approver("ann", &["desk"])).await, Ok(RequestState::Pending));

    // The law is asked before both. Until that is released nobody decides whom only one of the documents names there.
    rig.declare(documents([user("u-1")], [by(&[law(), desk(), chiefs()])])).await;
    assert!(no_right(&rig.say(&id, Word::Accept, &approver("bob", &["chiefs"])).await));
    assert!(no_right(&rig.say(&id, Word::Accept, &approver("lea", &["law"])).await));
    rig.release(HoldKind::Loosen).await;
    rig.rest().await;
    assert_eq!(rig.only_request().await.turn, BTreeSet::from(["group:law".to_owned()]));
    let rig = rig.restarted(documents([user("u-1")], [by(&[law(), desk(), chiefs()])])).await;
    assert!(no_right(&rig.say(&id, Word::Accept, &approver("bob", &["chiefs"])).await));
    assert_eq!(rig.say(&id, Word::Accept, &approver("lea", &["law"])).await, Ok(RequestState::Pending));
    assert_eq!(rig.made(), 0);
    assert_eq!(rig.only_request().await.turn, BTreeSet::from(["group:desk".to_owned()]), "their level was another");
    assert_eq!(rig.say(&id, Word::Accept, &approver("ann", &["desk"])).await, Ok(RequestState::Pending));
    assert_eq!(rig.say(&id, Word::Accept, &approver("bob", &["chiefs"])).await, Ok(RequestState::Accepted));
    assert_eq!(rig.made(), 1);
    assert_eq!(rig.store.open().unaudited, [] as [String; 0]);
}

/// L12
#[tokio::test(start_paused = true)]
async fn an_added_level_is_asked_at_once_by_people_who_agreed_to_nothing_before() {
    let two = [level(&["desk"]), level(&["chiefs"])];
    let rig = Rig::started(documents([user("u-1")], [by(&two[..1])])).await;
    let id = rig.only_request().await.request.id;
    rig.declare(documents([user("u-1")], [by(&two)])).await;
    assert_eq!(rig.say(&id, Word::Accept, &approver("ann", &["desk"])).await, Ok(RequestState::Pending));
    // More must agree at the first one: whoever agreed where one was enough is asked again.
    let more = [Level { quorum: 2, ..level(&["desk"]) }, level(&["chiefs"])];
    rig.declare(documents([user("u-1")], [by(&more)])).await;
    assert!(no_right(&rig.say(&id, Word::Accept, &approver("bob", &["chiefs"])).await));
    for person in ["ann", "eve"] {
        assert_eq!(rig.say(&id, Word::Accept, &approver(person, &["desk"])).await, Ok(RequestState::Pending));
    }
    assert_eq!(rig.say(&id, Word::Accept, &approver("bob", &["chiefs"])).await, Ok(RequestState::Accepted));
}

/// L11
#[tokio::test(start_paused = true)]
async fn whom_an_added_level_names_undoes_no_refusal_before_a_person_releases_that() {
    let desk = level(&["desk"]);
    let writer = Level { any_of: [Party::Person("mallory".to_owned())].into(), ..Level::anybody() };
    let rig = Rig::started(documents([user("u-1")], [by(std::slice::from_ref(&desk))])).await;
    let id = rig.only_request().await.request.id;
    assert_eq!(rig.say(&id, Word::Refuse, &approver("ann", &["desk"])).await, Ok(RequestState::Refused));
    let added = || by(&[desk.clone(), writer.clone()]);
    rig.declare(documents([user("u-1")], [added()])).await;
    let rig = rig.restarted(documents([user("u-1")], [added()])).await;
    assert!(no_right(&rig.say(&id, Word::Reopen, &approver("mallory", &[])).await));
    let held = rig.status("app").holds;
    assert!(held.iter().any(|hold| hold.reason.contains("others who may reopen")), "{held:?}");
    assert_eq!(rig.say(&id, Word::Reopen, &approver("ann", &["desk"])).await, Ok(RequestState::Pending));
    assert_eq!(rig.say(&id, Word::Accept, &approver("ann", &["desk"])).await, Ok(RequestState::Pending));
    assert_eq!(
        rig.say(&id, Word::Refuse, &approver("mallory", &[])).await,
        Ok(RequestState::Refused),
        "they are asked"
    );
    rig.release(HoldKind::Loosen).await;
    rig.rest().await;
    assert_eq!(rig.say(&id, Word::Reopen, &approver("mallory", &[])).await, Ok(RequestState::Pending));
}

/// L11
#[tokio::test(start_paused = true)]
async fn a_loosening_that_is_taken_back_before_anybody_released_it_falls_away() {
    let accepted = || Approval { levels: vec![level(&["desk"])], when: Some(when("user.active")), ..approval() };
    let other = || Approval { levels: vec![level(&["other"])], when: Some(when("true")), ..approval() };
    let rig = one(accepted()).await;
    let id = rig.only_request().await.request.id;
    rig.declare(documents([user("u-1")], [gated(other())])).await;
    assert!(no_right(&rig.say(&id, Word::Accept, &approver("ann", &["desk"])).await), "nobody before a release");
    let step = rig.status("app").holds.into_iter().find(|hold| hold.limit == HoldKind::Loosen).unwrap();
    rig.declare(documents([user("u-1")], [gated(accepted())])).await;
    assert_eq!(rig.status("app").holds, []);
    let late = rig.engine.decide(rig.decision(DecisionKind::Loosen, Some(step.digest))).await;
    assert!(late.is_err(), "there is nothing to release: {late:?}");
    assert_eq!(rig.say(&id, Word::Accept, &approver("ann", &["desk"])).await, Ok(RequestState::Accepted));

    // What a document tightens is accepted at once, and taking that back is a loosening.
    let both = Level { quorum: 2, ..level(&["desk"]) };
    rig.declare(documents([user("u-1")], [gated(Approval { levels: vec![both], ..accepted() })])).await;
    assert_eq!(rig.status("app").holds, []);
    rig.declare(documents([user("u-1")], [gated(accepted())])).await;
    let waits = rig.status("app").holds;
    assert!(waits.iter().any(|hold| hold.reason.contains("another `approval.levels`")), "{waits:?}");
}
