//! Who decides is what was accepted: no document makes its writer an approver before a person releases that.

use rosterd::model::account::Membership;
use rosterd::model::target::Entitlement;

use super::*;

/// L11, L12
#[tokio::test(start_paused = true)]
async fn who_may_decide_gets_no_wider_by_a_document_before_a_person_releases_it() {
    let named = |people: &[&str]| {
        let people = people.iter().map(|person| Party::Person((*person).to_owned()));
        let mut level = level(&["desk"]);
        level.any_of.extend(people);
        gated(Approval { levels: vec![level], ..approval() })
    };
    let rig = Rig::started(documents([user("u-1"), user("u-2")], [named(&["rose"])])).await;
    let ids: Vec<_> = rig.shown().await.into_iter().map(|shown| shown.request.id).collect();
    rig.declare(documents([user("u-1"), user("u-2")], [named(&["mallory"])])).await;
    let mallory = approver("mallory", &[]);
    assert!(no_right(&rig.say(&ids[0], Word::Accept, &mallory).await), "who wrote themselves in");
    assert!(no_right(&rig.say(&ids[0], Word::Accept, &approver("rose", &[])).await), "who is taken out is out at once");
    assert_eq!(rig.say(&ids[0], Word::Accept, &approver("ines", &["desk"])).await, Ok(RequestState::Accepted));
    let held = rig.status("app").holds;
    assert!(held.iter().any(|hold| hold.reason.contains("another `approval.levels`")), "{held:?}");
    rig.release(HoldKind::Loosen).await;
    assert_eq!(rig.say(&ids[1], Word::Accept, &mallory).await, Ok(RequestState::Accepted));
    assert_eq!(rig.made(), 2);
}

/// L12
#[tokio::test(start_paused = true)]
async fn a_gate_that_a_document_takes_out_or_opens_by_a_rule_stays_until_a_person_releases_it() {
    let rule = AcceptRule { name: "all".to_owned(), when: when("true") };
    let with_rule = gated(Approval { rules: vec![rule], ..approval() });
    let of_others = gated(Approval { when: Some(when("user.userType == 'guest'")), ..approval() });
    for open in [target("app"), with_rule, of_others] {
        let rig = one(approval()).await;
        rig.declare(documents([user("u-1"), user("u-2")], [open.clone()])).await;
        rig.sync("app").await.unwrap();
        let rig = rig.restarted(documents([user("u-1"), user("u-2")], [open])).await;
        rig.sync("app").await.unwrap();
        assert_eq!((rig.made(), rig.shown().await.len()), (0, 2));
        rig.release(HoldKind::Loosen).await;
        rig.sync("app").await.unwrap();
        assert_eq!(rig.made(), 2);
    }
}

/// L12
#[tokio::test(start_paused = true)]
async fn nobody_is_two_voices_by_another_spelling_or_by_the_mail_that_the_configuration_has_of_them() {
    let whom = Whom::Person { subject: "rose".to_owned(), mail: "rose@desk.example".to_owned(), locale: None };
    let told = Addressee { group: "desk".to_owned(), scope: BTreeMap::new(), whom, digest: None };
    let rig = Rig::new(documents(
        [user("u-1")],
        [gated(Approval { levels: vec![Level { quorum: 2, ..level(&["desk"]) }], ..approval() })],
    ));
    let mail: Arc<MemoryMail> = Arc::default();
    rig.engine.tell_by(Post { addressees: vec![told], ..mail.post() });
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    let id = rig.only_request().await.request.id;
    assert_eq!(rig.say(&id, Word::Accept, &approver("rose", &["desk"])).await, Ok(RequestState::Pending));
    for other in ["Rose", "rose@desk.example", "rose+2@desk.example"] {
        assert!(settled(&rig.say(&id, Word::Accept, &approver(other, &["desk"])).await), "{other}");
    }
    assert_eq!(rig.made(), 0);
    assert_eq!(rig.say(&id, Word::Accept, &approver("ines", &["desk"])).await, Ok(RequestState::Accepted));
}

/// L12
#[tokio::test(start_paused = true)]
async fn a_condition_that_reads_what_is_not_there_opens_no_gate_beside_the_one_that_was_accepted() {
    let of = |condition| gated(Approval { when: Some(when(condition)), ..approval() });
    let rig = Rig::started(documents([user("u-1")], [of("user.active")])).await;
    rig.declare(documents([user("u-1"), user("u-2")], [of("user.attributes.none > 0")])).await;
    rig.sync("app").await.unwrap();
    assert_eq!((rig.made(), rig.shown().await.len()), (0, 2));
}

/// L12
#[tokio::test(start_paused = true)]
async fn a_word_is_no_less_privileged_and_gives_nothing_else_before_a_person_releases_it() {
    let grants = GatedGrants::Only { entitlements: BTreeSet::new(), privileged: true };
    let gate = Approval { gates: [Gate::Grant].into(), grants, ..approval() };
    let admin = User { roles: vec![held("staff"), held("admin")], ..user("u-1") };
    let of = |change: fn(&mut Entitlement)| {
        let mut target = gated(gate.clone());
        change(target.entitlements.get_mut(&"admin".into()).unwrap());
        documents([admin.clone()], [target])
    };
    let rig = Rig::started(of(|_| {})).await;
    let memberships = |rig: &Rig| rig.target("app").by_name("u-1@acme.example").unwrap().memberships;
    assert_eq!((memberships(&rig).len(), rig.shown().await.len()), (0, 1));
    rig.declare(of(|admin| admin.privileged = false)).await;
    rig.sync("app").await.unwrap();
    assert_eq!(memberships(&rig).len(), 0, "a document took the mark of the word away");
    rig.declare(of(|admin| admin.membership = Membership::Role("root".to_owned()))).await;
    let id = rig.only_request().await.request.id;
    assert_eq!(rig.say(&id, Word::Accept, &approver("rose", &[])).await, Ok(RequestState::Accepted));
    let given = memberships(&rig);
    assert!(given.len() == 1 && !given.contains(&Membership::Role("root".to_owned())), "{given:?}");
    let held = rig.status("app").holds;
    assert!(held.iter().any(|hold| hold.reason.contains("`entitlements.admin` from group")), "{held:?}");
    rig.release(HoldKind::Loosen).await;
    rig.sync("app").await.unwrap();
    assert!(memberships(&rig).contains(&Membership::Role("root".to_owned())));
}
