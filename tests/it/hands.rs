//! Other hands: what somebody else did in the target is told and left, and what the target keeps
//! for itself is not fought over (L3, L10, L17).

use std::time::Duration;

use rosterd::connector::ErrorClass;
use rosterd::engine::EngineError;
use rosterd::engine::Running;
use rosterd::engine::SyncRequest;
use rosterd::model::account::Account;
use rosterd::model::account::AccountState;
use rosterd::model::account::Membership;
use rosterd::model::ids::AccountId;
use rosterd::model::target::Drift;
use rosterd::model::target::Exception;
use rosterd::model::target::ForeignDelete;
use rosterd::model::target::ForeignDisable;
use rosterd::model::target::Mapping;
use rosterd::model::target::Members;
use rosterd::model::target::Target;
use rosterd::model::user::User;

use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::inactive;
use crate::support::make::origin;
use crate::support::make::path;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::target::Fault;

const GIVEN: &str = "name.givenName";

fn named(id: &str, given: &str) -> User {
    User { given_name: Some(given.to_owned()), ..user(id) }
}

fn admin(id: &str) -> User {
    User { roles: vec![held("admin")], ..user(id) }
}

/// The target `app` with what is done about drift of the given name.
fn drifting(drift: Drift) -> Target {
    let mut app = target("app");
    for mapping in app.account.attributes.values_mut() {
        *mapping = Mapping { drift, ..mapping.clone() };
    }
    app
}

/// The one account there.
fn account(rig: &Rig) -> Account {
    let inside = rig.target("app").inside();
    assert_eq!(inside.accounts.len(), 1);
    inside.accounts.values().next().unwrap().clone()
}

/// Another hand changes the one account.
fn touch(rig: &Rig, change: impl FnOnce(&mut Account)) {
    let mut inside = rig.target("app").inside();
    change(inside.accounts.values_mut().next().unwrap());
}

fn given(rig: &Rig) -> String {
    account(rig).values[&path(GIVEN)].as_str().unwrap().to_owned()
}

fn give(rig: &Rig, name: &str) {
    touch(rig, |account| drop(account.values.insert(path(GIVEN), name.into())));
}

async fn regain(rig: &Rig) -> Result<(), EngineError> {
    rig.engine.regain(&"app".into(), &"u".into(), "ops", Some("a mistake".to_owned())).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn what_another_hand_disabled_stays_so_through_edits_cycles_and_restarts_until_a_person_says_otherwise() {
    for state in [AccountState::Disabled, AccountState::Suspended, AccountState::DeletedRecoverable] {
        let rig = Rig::started(documents([user("u")], [target("app")])).await;
        touch(&rig, |account| account.state = state);
        rig.sync("app").await.unwrap();
        rig.declare(documents([named("u", "Grace")], [target("app")])).await;
        rig.sync("app").await.unwrap();
        // The user leaves and comes back: rosterd ended nothing meanwhile.
        rig.declare(documents([inactive("u")], [target("app")])).await;
        rig.declare(documents([named("u", "Grace")], [target("app")])).await;
        let (targets, store) = rig.remains();
        rig.engine.stop().await;
        let rig = Rig::over(documents([admin("u")], [target("app")]), targets, store);
        rig.engine.start(Running::Daemon).await.unwrap();
        rig.rest().await;
        rig.sync("app").await.unwrap();
        let mut left = state;
        if state == AccountState::Suspended {
            left = AccountState::Disabled;
            // It would have opened again by itself, so the leaver's account was ended beneath it.
            assert_eq!(rig.target("app").count("disable"), 1);
        } else {
            assert_eq!(account(&rig).state, state);
            assert_eq!(rig.target("app").count("disable"), 0);
        }
        assert_eq!(rig.target("app").count("enable"), 0);
        let conflict = rig.status("app").conflicts[&"u".into()].clone();
        assert!(conflict.contains(left.as_str()) && conflict.contains("rosterd regain u"), "{conflict}");

        regain(&rig).await.unwrap();
        rig.rest().await;
        assert_eq!(account(&rig).state, AccountState::Active);
        assert_eq!(rig.status("app").conflicts.len(), 0);
        let told = rig.store.open().events.iter().filter(|event| event.kind == "regain").count();
        assert_eq!(told, 1, "a person's word is in the audit log");
        rig.assert_settled("app").await;
        // The word acted once.
        touch(&rig, |account| account.state = AccountState::Disabled);
        rig.sync("app").await.unwrap();
        rig.rest().await;
        assert_eq!(account(&rig).state, AccountState::Disabled);
        rig.engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_can_give_back_what_no_other_hand_took() {
    let rig = Rig::started(documents([user("u")], [target("app")])).await;
    let error = regain(&rig).await.unwrap_err().to_string();
    assert!(error.contains("no other hand"), "{error}");
    touch(&rig, |account| account.state = AccountState::Locked);
    rig.sync("app").await.unwrap();
    assert!(rig.status("app").conflicts[&"u".into()].contains("unlock it there"));
    let error = regain(&rig).await.unwrap_err().to_string();
    assert!(error.contains("unlock it there"), "{error}");
    rig.declare(documents([inactive("u")], [target("app")])).await;
    let error = regain(&rig).await.unwrap_err().to_string();
    assert!(error.contains("declare it first"), "{error}");
    assert_eq!(rig.target("app").count("enable"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_leaver_is_ended_while_the_target_locks_the_account() {
    let rig = Rig::started(documents([user("u")], [target("app")])).await;
    touch(&rig, |account| account.state = AccountState::Locked);
    rig.declare(documents([inactive("u")], [target("app")])).await;
    assert_eq!(account(&rig).state, AccountState::Disabled, "no lock that ends by itself lets a leaver in");
    rig.assert_settled("app").await;
    rig.declare(documents([user("u")], [target("app")])).await;
    rig.sync("app").await.unwrap();
    assert_eq!(account(&rig).state, AccountState::Disabled, "and the return opens no lock");
    assert!(rig.status("app").conflicts.contains_key(&"u".into()));
}

#[tokio::test(start_paused = true)]
async fn a_disabling_that_another_hand_undid_is_rosterds_no_more() {
    let rig = Rig::started(documents([user("u")], [target("app")])).await;
    rig.declare(documents([inactive("u")], [target("app")])).await;
    touch(&rig, |account| account.state = AccountState::Active);
    rig.declare(documents([user("u")], [target("app")])).await;
    touch(&rig, |account| account.state = AccountState::Disabled);
    rig.sync("app").await.unwrap();
    rig.rest().await;
    assert_eq!(account(&rig).state, AccountState::Disabled);
    assert_eq!(rig.target("app").count("enable"), 0);
    assert!(rig.status("app").conflicts.contains_key(&"u".into()));
}

#[tokio::test(start_paused = true)]
async fn a_target_may_say_that_a_foreign_disabling_is_undone() {
    let mut app = target("app");
    app.account.foreign_disable = ForeignDisable::Reactivate;
    let rig = Rig::started(documents([user("u")], [app])).await;
    for (state, after) in [
        (AccountState::Disabled, AccountState::Active),
        (AccountState::Suspended, AccountState::Active),
        (AccountState::Locked, AccountState::Locked),
    ] {
        touch(&rig, |account| account.state = state);
        rig.sync("app").await.unwrap();
        rig.rest().await;
        assert_eq!(account(&rig).state, after, "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_account_is_made_anew_only_where_the_target_says_so_and_after_two_looks() {
    for policy in [ForeignDelete::Report, ForeignDelete::Recreate] {
        let mut app = target("app");
        app.account.foreign_delete = policy;
        let rig = Rig::new(documents(users(3), [app]));
        rig.target("app").inside().visible_within = Duration::from_secs(30);
        rig.engine.start(Running::Daemon).await.unwrap();
        rig.pass(Duration::from_mins(1)).await;
        rig.target("app").inside().accounts.remove(&AccountId::from("0002"));
        rig.target("app").inside().calls.clear();
        rig.sync("app").await.unwrap();
        rig.pass(Duration::from_secs(10)).await;
        let again = SyncRequest { records: Some(["u-0001".into()].into()), only: None };
        rig.engine.sync(&"app".into(), again).await.unwrap();
        rig.pass(Duration::from_secs(10)).await;
        assert_eq!(rig.target("app").count("create"), 0, "absence proves nothing yet");
        assert!(rig.status("app").conflicts[&"u-0001".into()].contains("no longer there"));
        rig.pass(Duration::from_secs(20)).await;
        let created = rig.target("app").count("create");
        if policy == ForeignDelete::Report {
            rig.sync("app").await.unwrap();
            rig.pass(Duration::from_mins(2)).await;
            assert_eq!(rig.target("app").count("create"), 0);
            let by = (&"app".into(), &"u-0001".into());
            rig.engine.regain(by.0, by.1, "ops", None).await.unwrap();
            rig.pass(Duration::from_mins(2)).await;
        } else {
            let fetches = rig.target("app").count("fetch");
            assert!(created == 1 && fetches >= 2, "{created} {fetches}");
        }
        assert_eq!(rig.target("app").count("create"), 1);
        assert_eq!(rig.target("app").inside().accounts.len(), 3);
        assert_eq!(rig.status("app").conflicts.len(), 0);
        rig.assert_settled("app").await;
        rig.engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_word_gives_a_deleted_account_back_and_whoever_says_it_is_told_of_the_new_one() {
    for running in [Running::Daemon, Running::Once] {
        let rig = Rig::new(documents(users(3), [target("app")]));
        rig.engine.start(running).await.unwrap();
        rig.sync("app").await.unwrap();
        rig.target("app").inside().accounts.remove(&AccountId::from("0002"));
        rig.sync("app").await.unwrap();
        let report = rig.engine.regain(&"app".into(), &"u-0001".into(), "ops", None).await.unwrap();
        assert_eq!(report.cycle.done.get("create"), Some(&1), "{running:?}: {report:?}");
        assert_eq!(rig.target("app").inside().accounts.len(), 3);
        assert_eq!(rig.target("app").count("create"), 4);
        rig.engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_waits_for_the_second_look_after_which_an_account_is_made_anew() {
    let mut app = target("app");
    app.account.foreign_delete = ForeignDelete::Recreate;
    let rig = Rig::new(documents(users(3), [app]));
    rig.engine.start(Running::Once).await.unwrap();
    rig.sync("app").await.unwrap();
    for (account, full) in [("0002", true), ("0003", false)] {
        rig.target("app").inside().accounts.remove(&AccountId::from(account));
        let records = (!full).then(|| ["u-0002".into()].into());
        let report = rig.engine.sync(&"app".into(), SyncRequest { records, only: None }).await.unwrap();
        assert_eq!(report.cycle.done.get("create"), Some(&1), "{account}: {report:?}");
        assert_eq!(rig.target("app").inside().accounts.len(), 3);
    }
    rig.engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn drift_is_put_back_told_or_accepted_as_the_mapping_says() {
    let metric = |rig: &Rig, action: &str| {
        let line = format!("rosterd_drift{{action=\"{action}\",target=\"app\"}} ");
        let text = rig.metrics.encode();
        text.lines().find_map(|found| found.strip_prefix(&line).map(str::to_owned)).unwrap()
    };
    for (drift, after) in [(Drift::Revert, "Ada"), (Drift::Report, "Eve"), (Drift::Accept, "Eve")] {
        let rig = Rig::started(documents([named("u", "Ada")], [drifting(drift)])).await;
        give(&rig, "Eve");
        for _ in 0..2 {
            rig.sync("app").await.unwrap();
            rig.rest().await;
            assert_eq!(given(&rig), after, "{drift:?}");
        }
        let reported = drift == Drift::Report;
        assert_eq!(rig.status("app").drifted.contains_key(&"u".into()), reported);
        assert_eq!(metric(&rig, "report"), if reported { "1" } else { "0" });
        assert_eq!(metric(&rig, "accept"), if drift == Drift::Accept { "1" } else { "0" });
        // Another declared value is another matter.
        rig.declare(documents([named("u", "Grace")], [drifting(drift)])).await;
        rig.rest().await;
        assert_eq!(given(&rig), if reported { "Eve" } else { "Grace" }, "{drift:?}");
        rig.engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn accepted_drift_stays_accepted_after_a_restart() {
    let rig = Rig::started(documents([named("u", "Ada")], [drifting(Drift::Accept)])).await;
    give(&rig, "Eve");
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let rig = Rig::over(documents([named("u", "Ada")], [drifting(Drift::Accept)]), targets, store);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    assert_eq!(given(&rig), "Eve");
    assert_eq!(rig.target("app").count("update"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_attribute_that_two_read_backs_contradict_is_the_targets_until_another_value_is_declared() {
    let rig = Rig::started(documents([named("u", "Ada")], [target("app")])).await;
    rig.target("app").inside().controlled.insert(path(GIVEN));
    rig.declare(documents([named("u", "Grace")], [target("app")])).await;
    rig.pass(Duration::from_mins(30)).await;
    assert_eq!(rig.target("app").count("update"), 2, "written twice, then left alone");
    assert!(rig.metrics.encode().contains("rosterd_target_controlled_attributes{target=\"app\"} 1"));
    assert_eq!(rig.status("app").failures.len(), 0, "nobody has to do anything about it");
    let explanation = rig.engine.explain(&"u".into(), &"app".into()).await.unwrap();
    assert!(explanation.hand.unwrap().given_up.contains_key(&path(GIVEN)));
    rig.assert_settled("app").await;

    // It is remembered over a restart, and for this value alone.
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let rig = Rig::over(documents([named("u", "Grace")], [target("app")]), targets, store);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    assert_eq!(rig.target("app").count("update"), 2);
    rig.target("app").inside().controlled.clear();
    rig.declare(documents([named("u", "Edsger")], [target("app")])).await;
    rig.rest().await;
    assert_eq!(given(&rig), "Edsger");
    assert!(rig.metrics.encode().contains("rosterd_target_controlled_attributes{target=\"app\"} 0"));
    give(&rig, "Eve");
    rig.sync("app").await.unwrap();
    rig.rest().await;
    assert_eq!(given(&rig), "Edsger", "a later difference is drift");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_lost_once_is_no_reason_to_give_an_attribute_up() {
    let rig = Rig::started(documents([named("u", "Ada")], [target("app")])).await;
    for name in ["Grace", "Edsger"] {
        rig.target("app").inside().faults.push_back(Fault::Ignore);
        rig.declare(documents([named("u", name)], [target("app")])).await;
        rig.rest().await;
        assert_eq!(given(&rig), name);
    }
    assert!(rig.store.open().hands.is_empty());
}

#[tokio::test(start_paused = true)]
async fn groups_are_never_given_up() {
    let rig = Rig::started(documents([admin("u")], [target("app")])).await;
    rig.target("app").inside().deaf_to_groups = true;
    rig.declare(documents([user("u")], [target("app")])).await;
    rig.pass(Duration::from_mins(10)).await;
    let narrowing = rig.target("app").count("update");
    assert!(narrowing >= 8, "tried again at least every minute: {narrowing}");
    assert_eq!(rig.status("app").owed.len(), 1);
    rig.target("app").inside().deaf_to_groups = false;
    rig.pass(Duration::from_mins(2)).await;
    assert_eq!(rig.status("app").owed.len(), 0);
    rig.target("app").inside().deaf_to_groups = true;
    rig.declare(documents([admin("u")], [target("app")])).await;
    rig.pass(Duration::from_mins(10)).await;
    assert!(rig.status("app").failures.contains_key(&"u".into()));
    rig.target("app").inside().deaf_to_groups = false;
    rig.pass(Duration::from_mins(30)).await;
    assert!(account(&rig).memberships.contains(&Membership::Group("g-admin".to_owned())));
    assert_eq!(rig.status("app").failures.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_attribute_keeps_no_grant_and_no_returner_waiting() {
    let rig = Rig::started(documents([named("u", "Ada")], [target("app")])).await;
    rig.target("app").inside().refused.insert(path(GIVEN));
    let grace = || User { roles: vec![held("admin")], ..named("u", "Grace") };
    rig.declare(documents([grace()], [target("app")])).await;
    assert!(account(&rig).memberships.contains(&Membership::Group("g-admin".to_owned())), "the grant went on");
    assert!(rig.status("app").failures[&"u".into()].contains("does not take this attribute"));
    rig.declare(documents([inactive("u")], [target("app")])).await;
    assert_eq!(account(&rig).state, AccountState::Disabled);
    rig.declare(documents([grace()], [target("app")])).await;
    assert_eq!(account(&rig).state, AccountState::Active, "the returner is in");
    assert!(rig.status("app").failures.contains_key(&"u".into()), "and the refusal is told");
    assert_eq!(given(&rig), "Ada");
}

#[tokio::test(start_paused = true)]
async fn an_attribute_that_cannot_be_written_now_keeps_no_grant_waiting() {
    let rig = Rig::started(documents([named("u", "Ada")], [target("app")])).await;
    for _ in 0..3 {
        rig.target("app").inside().faults.push_back(Fault::Refuse(ErrorClass::Transient, None));
    }
    let grace = User { roles: vec![held("admin")], ..named("u", "Grace") };
    rig.declare(documents([grace], [target("app")])).await;
    rig.pass(Duration::from_mins(2)).await;
    assert!(account(&rig).memberships.contains(&Membership::Group("g-admin".to_owned())));
    assert_eq!(given(&rig), "Grace");
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn another_spelling_of_a_value_is_no_difference() {
    let rig = Rig::started(documents([named("u", "Ada Maria")], [target("app")])).await;
    give(&rig, " Ada  Maria ");
    rig.sync("app").await.unwrap();
    rig.rest().await;
    assert_eq!(rig.target("app").count("update"), 0);
    give(&rig, "Ada maria");
    rig.sync("app").await.unwrap();
    rig.rest().await;
    assert_eq!(given(&rig), "Ada Maria", "other letters are another name");
}

#[tokio::test(start_paused = true)]
async fn exact_members_take_away_what_another_hand_gave_of_the_catalogue_alone() {
    for (members, stays) in [(Members::Additive, true), (Members::Exact, false)] {
        let mut app = target("app");
        app.account.members = members;
        let rig = Rig::started(documents([user("u")], [app])).await;
        let (known, other) = (Membership::Group("g-admin".to_owned()), Membership::Group("g-other".to_owned()));
        touch(&rig, |account| account.memberships.extend([known.clone(), other.clone()]));
        rig.target("app").put("stranger@x.example", AccountState::Active);
        rig.target("app").inside().accounts.values_mut().for_each(|account| {
            account.memberships.insert(known.clone());
        });
        rig.sync("app").await.unwrap();
        rig.rest().await;
        let mine = rig.target("app").by_name("u@acme.example").unwrap();
        assert_eq!(mine.memberships.contains(&known), stays);
        assert!(mine.memberships.contains(&other), "what is not in the catalogue is nobody's business");
        let stranger = rig.target("app").by_name("stranger@x.example").unwrap();
        assert!(stranger.memberships.contains(&known), "and neither is an account without a link");
        rig.assert_settled("app").await;
        rig.engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_exception_explains_an_account_until_it_ends_and_is_never_written() {
    let mut app = target("app");
    app.account.existing = rosterd::model::target::Existing::Adopt;
    app.account.trusted_keys = app.account.match_keys.clone();
    app.exceptions = vec![Exception {
        name: "batch".to_owned(),
        account: "U-1@acme.example".to_owned(),
        owner: "u-0".into(),
        reason: "a nightly import".to_owned(),
        until: Some("2026-11-23T00:00:00Z".parse().unwrap()),
        origin: origin("Exception batch"),
    }];
    let rig = Rig::new(documents([user("u-0"), user("u-1")], [app]));
    rig.target("app").put("u-1@acme.example", AccountState::Active);
    rig.target("app").put("stranger@x.example", AccountState::Active);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    let digest = rig.status("app").holds[0].digest.clone();
    rig.engine.decide(rig.decision(rosterd::model::decision::DecisionKind::Enforce, Some(digest))).await.unwrap();
    rig.rest().await;
    let mine = rig.target("app").by_name("u-1@acme.example").unwrap();
    assert_eq!(mine.external_id(), None, "the user who wants its name does not get it");
    assert!(rig.status("app").conflicts[&"u-1".into()].contains("protected"));
    assert_eq!((rig.status("app").unmanaged, rig.status("app").explained), (1, 1));
    rig.pass(Duration::from_hours(13)).await;
    rig.sync("app").await.unwrap();
    assert_eq!((rig.status("app").unmanaged, rig.status("app").explained), (2, 0), "its end has come");
    assert_eq!(rig.target("app").by_name("u-1@acme.example").unwrap().external_id(), None);
}
