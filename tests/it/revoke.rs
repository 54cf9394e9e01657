//! An operator ends one user's access, whatever the documents say, and takes it back.

use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use rosterd::engine::EngineError;
use rosterd::engine::Running;
use rosterd::engine::receipt::Verdict;
use rosterd::metrics::OwedReason;
use rosterd::model::account::AccountState;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::history::Intent;
use rosterd::model::plan::HoldKind;
use rosterd::model::target::Ending;
use rosterd::model::target::Existing;
use rosterd::model::target::Mode;
use rosterd::model::target::Target;
use rosterd::model::target::Window;
use rosterd::model::user::User;

use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::inactive;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::target::Fault;

fn word(rig: &Rig, kind: DecisionKind, record: &str) -> Decision {
    Decision { record: Some(record.into()), ..Decision::new(kind, "alice", rig.now()) }
}

async fn revoke(rig: &Rig, record: &str) {
    rig.engine.decide(word(rig, DecisionKind::Revoke, record)).await.unwrap();
    rig.rest().await;
}

async fn restore(rig: &Rig, record: &str) {
    rig.engine.decide(word(rig, DecisionKind::Restore, record)).await.unwrap();
    rig.rest().await;
}

fn state(rig: &Rig, name: &str) -> AccountState {
    rig.target("app").by_name(&format!("{name}@acme.example")).unwrap().state
}

/// A target that leaves whoever loses access as they are.
fn keeping(name: &str) -> Target {
    let mut keeping = target(name);
    keeping.account.on_out_of_scope = Ending::Keep;
    keeping.account.on_gone = Ending::Keep;
    keeping
}

fn last_intent(rig: &Rig) -> Intent {
    rig.store.open().intents.last().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_revoked_user_is_out_of_every_target_at_once_whatever_its_policy() {
    let targets = || [keeping("app"), target("crm")];
    let rig = Rig::started(documents([user("a"), user("b")], targets())).await;
    let said = tokio::time::Instant::now();
    rig.engine.decide(word(&rig, DecisionKind::Revoke, "a")).await.unwrap();
    rig.rest().await;
    for name in ["app", "crm"] {
        let calls = rig.target(name).inside().calls.clone();
        let disabled = calls.iter().find(|call| call.what.starts_with("disable")).expect("disabled");
        assert!(disabled.at - said < Duration::from_millis(50), "{name}");
        assert_eq!(rig.target(name).count("disable"), 1);
        rig.assert_settled(name).await;
    }
    let intent = last_intent(&rig);
    assert!(intent.change.origins[0].what.contains("revocation of a by alice"), "{:?}", intent.change.origins);
    assert!(rig.engine.status().revoked.contains_key(&"a".into()));
}

#[tokio::test(start_paused = true)]
async fn a_revocation_stands_over_new_documents_and_a_restart() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    revoke(&rig, "a").await;
    let mut promoted = user("a");
    promoted.roles.push(held("admin"));
    rig.declare(documents([inactive("a")], [target("app")])).await;
    rig.declare(documents([promoted.clone()], [target("app")])).await;
    rig.sync("app").await.unwrap();
    assert_eq!(state(&rig, "a"), AccountState::Disabled);
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let next = Rig::over(documents([promoted], [target("app")]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    assert_eq!(state(&next, "a"), AccountState::Disabled);
    assert_eq!(next.target("app").count("enable"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_rename_frees_no_revoked_user_not_even_once_nobody_declares_it_any_more() {
    let rig = Rig::started(documents([user("old")], [target("app")])).await;
    revoke(&rig, "old").await;
    let renamed = User { formerly: vec!["old".into()], ..user("new") };
    rig.declare(documents([renamed], [target("app")])).await;
    rig.declare(documents([user("new")], [target("app")])).await;
    rig.sync("app").await.unwrap();
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let next = Rig::over(documents([user("new")], [target("app")]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    assert_eq!((next.target("app").count("enable"), next.target("app").count("create")), (0, 1));
    assert_eq!(state(&next, "old"), AccountState::Disabled, "nothing is written to it");
    restore(&next, "new").await;
    assert_eq!(state(&next, "new"), AccountState::Active);
    assert_eq!(next.target("app").count("create"), 1, "the same account");
}

#[tokio::test(start_paused = true)]
async fn a_renamed_user_is_revoked_and_restored_under_either_record_id() {
    let rig = Rig::started(documents([user("old")], [target("app")])).await;
    let renamed = || User { formerly: vec!["old".into()], ..user("new") };
    rig.declare(documents([renamed()], [target("app")])).await;
    revoke(&rig, "old").await;
    assert_eq!(state(&rig, "new"), AccountState::Disabled);
    restore(&rig, "new").await;
    assert_eq!(state(&rig, "new"), AccountState::Active);
    revoke(&rig, "new").await;
    restore(&rig, "old").await;
    assert_eq!(state(&rig, "new"), AccountState::Active);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_lost_and_found_again_frees_no_revoked_user() {
    let everybody = || [users(9), vec![user("a")]].concat();
    let rig = Rig::started(documents(everybody(), [keeping("app")])).await;
    rig.declare(documents(users(9), [keeping("app")])).await;
    assert_eq!(state(&rig, "a"), AccountState::Active, "this target keeps who is gone");
    revoke(&rig, "a").await;
    assert_eq!(state(&rig, "a"), AccountState::Disabled);
    rig.declare(documents(everybody(), [keeping("app")])).await;
    rig.sync("app").await.unwrap();
    assert_eq!(state(&rig, "a"), AccountState::Disabled);
    restore(&rig, "a").await;
    assert_eq!(state(&rig, "a"), AccountState::Active);
}

#[tokio::test(start_paused = true)]
async fn a_restore_gives_the_same_account_back_and_is_named_as_the_reason() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    let before = rig.target("app").by_name("a@acme.example").unwrap().id;
    revoke(&rig, "a").await;
    restore(&rig, "a").await;
    let after = rig.target("app").by_name("a@acme.example").unwrap();
    assert_eq!((after.id, after.state), (before, AccountState::Active));
    let origins = last_intent(&rig).change.origins;
    assert!(origins.iter().any(|origin| origin.what.starts_with("restore of a by alice")), "{origins:?}");
    let kinds: Vec<_> = rig.store.open().events.iter().map(|event| event.kind.clone()).collect();
    assert!(kinds.contains(&"revoke".to_owned()) && kinds.contains(&"restore".to_owned()));
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_undoes_nothing_that_another_hand_did() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    let id = rig.target("app").by_name("a@acme.example").unwrap().id;
    rig.target("app").inside().accounts.get_mut(&id).unwrap().state = AccountState::Disabled;
    rig.sync("app").await.unwrap();
    revoke(&rig, "a").await;
    restore(&rig, "a").await;
    rig.sync("app").await.unwrap();
    assert_eq!(state(&rig, "a"), AccountState::Disabled);
    assert_eq!(rig.target("app").count("enable"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_ends_at_its_own_second() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    let until = rig.now() + chrono::Duration::seconds(90);
    let revoke = Decision { until: Some(until), ..word(&rig, DecisionKind::Revoke, "a") };
    rig.engine.decide(revoke).await.unwrap();
    rig.pass(Duration::from_secs(89)).await;
    assert_eq!((rig.target("app").count("disable"), rig.target("app").count("enable")), (1, 0));
    rig.pass(Duration::from_secs(2)).await;
    assert_eq!(rig.target("app").count("enable"), 1);
    assert!(rig.engine.status().revoked.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_revoked_user_is_created_nowhere() {
    let rig = Rig::new(documents([user("a"), user("b")], [target("app"), target("crm")]));
    rig.target("crm").inside().shut = true;
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    revoke(&rig, "a").await;
    rig.target("crm").inside().shut = false;
    rig.pass(Duration::from_mins(30)).await;
    assert_eq!(rig.target("crm").count("create b"), 1);
    assert_eq!(rig.target("crm").count("create a"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_passes_a_hold_and_counts_against_no_limit() {
    let day = Duration::from_hours(24);
    let mut app = target("app");
    app.limits.narrow_explicit = vec![Window { count: Some(1), percent: None, window: day }];
    let rig = Rig::started(documents(users(20), [app.clone()])).await;
    let mut fewer = users(20);
    fewer.iter_mut().take(3).for_each(|user| user.active = false);
    rig.declare(documents(fewer.clone(), [app.clone()])).await;
    assert_eq!(rig.status("app").holds[0].changes.len(), 3);
    for record in ["u-0000", "u-0010", "u-0011"] {
        revoke(&rig, record).await;
    }
    assert_eq!(rig.target("app").count("disable"), 3, "one of those held, and two more");
    assert_eq!(rig.status("app").holds[0].changes.len(), 2);
    fewer.iter_mut().take(3).for_each(|user| user.active = true);
    fewer[5].active = false;
    rig.declare(documents(fewer, [app])).await;
    assert_eq!(state(&rig, "u-0005"), AccountState::Disabled, "the window is as free as it was");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_is_owed_from_its_moment_where_the_mode_forbids_it() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    let mut observed = target("app");
    observed.mode = Mode::Observe;
    rig.declare(documents([user("a")], [observed])).await;
    let said = rig.now();
    revoke(&rig, "a").await;
    rig.pass(Duration::from_mins(10)).await;
    let owed = rig.status("app").owed;
    assert_eq!((owed.len(), owed[0].reason), (1, OwedReason::Mode));
    assert!((owed[0].since - said).num_seconds() == 0, "{} {said}", owed[0].since);
    assert_eq!(rig.target("app").count("disable"), 0);
    rig.declare(documents([user("a")], [target("app")])).await;
    rig.release(HoldKind::Loosen).await;
    assert_eq!(rig.target("app").count("disable"), 1);
    assert_eq!(rig.status("app").owed, []);
}

#[tokio::test(start_paused = true)]
async fn one_operator_revokes_twenty_users_an_hour_and_no_more() {
    let rig = Rig::started(documents(users(30), [target("app")])).await;
    for number in 0..20 {
        revoke(&rig, &format!("u-{number:04}")).await;
    }
    revoke(&rig, "u-0003").await;
    let refused = rig.engine.decide(word(&rig, DecisionKind::Revoke, "u-0020")).await.unwrap_err();
    assert!(matches!(&refused, EngineError::TooMany(words) if words.contains("one person may revoke 20")), "{refused}");
    let other = Decision { by: "bob".to_owned(), ..word(&rig, DecisionKind::Revoke, "u-0020") };
    rig.engine.decide(other).await.unwrap();
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let next = Rig::over(documents(users(30), [target("app")]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    next.engine.decide(word(&next, DecisionKind::Revoke, "u-0021")).await.unwrap_err();
    next.pass(Duration::from_mins(61)).await;
    revoke(&next, "u-0021").await;
    assert_eq!(state(&next, "u-0021"), AccountState::Disabled);
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_forward_lets_nobody_revoke_more() {
    let rig = Rig::started(documents(users(30), [target("app")])).await;
    for number in 0..20 {
        revoke(&rig, &format!("u-{number:04}")).await;
    }
    rig.clock.step(TimeDelta::days(2));
    rig.pass(Duration::from_secs(10)).await;
    let refused = rig.engine.decide(word(&rig, DecisionKind::Revoke, "u-0020")).await;
    assert!(matches!(refused, Err(EngineError::TooMany(_))), "{refused:?}");
    assert_eq!(rig.target("app").count("disable"), 20);
}

#[tokio::test(start_paused = true)]
async fn a_misspelt_user_is_refused_and_a_linked_one_who_is_gone_is_not() {
    let everybody = || [users(9), vec![user("a")]].concat();
    let rig = Rig::started(documents(everybody(), [keeping("app")])).await;
    let error = rig.engine.decide(word(&rig, DecisionKind::Revoke, "aa")).await.unwrap_err();
    assert!(matches!(error, EngineError::NoUser(_)), "{error}");
    let error = rig.engine.decide(word(&rig, DecisionKind::Restore, "a")).await.unwrap_err();
    assert!(error.to_string().contains("is not revoked"), "{error}");
    rig.declare(documents(users(9), [keeping("app")])).await;
    revoke(&rig, "a").await;
    assert_eq!(state(&rig, "a"), AccountState::Disabled);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_says_what_each_rule_means_for_who_left() {
    let cases = [
        (Ending::Disable, Verdict::OutEverywhere, false),
        (Ending::Suspend, Verdict::OutEverywhere, false),
        (Ending::Delete, Verdict::OutEverywhere, false),
        (Ending::Strip, Verdict::HasAccess, true),
        (Ending::List, Verdict::HasAccess, true),
        (Ending::Keep, Verdict::HasAccess, true),
    ];
    for (ending, verdict, meant) in cases {
        for gone in [false, true] {
            let mut app = target("app");
            app.account.on_out_of_scope = ending;
            app.account.on_gone = ending;
            let rig = Rig::started(documents([user("a"), user("b")], [app.clone()])).await;
            let out = User { roles: Vec::new(), ..user("a") };
            let left = (!gone).then_some(out).into_iter().chain([user("b")]);
            rig.declare(documents(left, [app])).await;
            let receipt = rig.engine.receipt(&"a".into()).await.unwrap();
            let told = format!("{ending:?}, gone: {gone}: {receipt:?}");
            assert_eq!((receipt.verdict, receipt.targets[0].access_is_meant), (verdict, meant), "{told}");
            let because = &receipt.targets[0].because;
            assert_eq!(because.contains("leaves the account"), meant, "{told}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_receipt_names_the_entitlements_that_a_stripped_account_still_holds() {
    let mut app = target("app");
    app.account.on_out_of_scope = Ending::Strip;
    let admin = User { roles: vec![held("staff"), held("admin")], ..user("a") };
    let rig = Rig::started(documents([admin], [app.clone()])).await;
    rig.target("app").inside().deaf_to_groups = true;
    rig.declare(documents([User { roles: Vec::new(), ..user("a") }], [app])).await;
    let before = rig.engine.receipt(&"a".into()).await.unwrap();
    assert_eq!(before.verdict, Verdict::NotConfirmed);
    rig.target("app").inside().deaf_to_groups = false;
    rig.pass(Duration::from_mins(5)).await;
    let after = rig.engine.receipt(&"a".into()).await.unwrap();
    assert_eq!((after.verdict, after.open.len()), (Verdict::HasAccess, 0), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_receipt_tells_when_each_call_ended() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    rig.target("app").inside().latency = Duration::from_secs(7);
    let asked = rig.now();
    rig.source.set(Ok(documents([inactive("a")], [target("app")])));
    rig.pass(Duration::from_mins(1)).await;
    let receipt = rig.engine.receipt(&"a".into()).await.unwrap();
    let page = serde_json::to_value(&receipt.targets[0].calls).unwrap();
    let ended: DateTime<Utc> = page[1]["ended"].as_str().expect("a time").parse().unwrap();
    assert!(ended - receipt.targets[0].calls[1].at >= TimeDelta::seconds(7), "{page}");
    assert!(ended > asked && ended < rig.now(), "{page}");
}

#[tokio::test(start_paused = true)]
async fn neither_a_persons_link_nor_a_revocation_ends_the_first_contact() {
    let mut app = target("app");
    app.account.existing = Existing::Ask;
    let everybody = || documents(users(3), [app.clone()]);
    let rig = Rig::new(everybody());
    let id = rig.target("app").put("u-0000@acme.example", AccountState::Active);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    let waits = |rig: &Rig| {
        assert_eq!(rig.target("app").count("create"), 0);
        assert_eq!(rig.status("app").holds[0].limit, HoldKind::FirstContact);
    };
    waits(&rig);
    rig.engine.link(&"app".into(), &"u-0000".into(), &id, "alice").await.unwrap();
    revoke(&rig, "u-0000").await;
    assert_eq!(state(&rig, "u-0000"), AccountState::Disabled, "a person's word passes");
    rig.sync("app").await.unwrap();
    rig.rest().await;
    waits(&rig);
    for forget in [false, true] {
        let (targets, store) = rig.remains();
        if forget {
            store.open().links.clear();
        }
        let next = Rig::over(everybody(), targets, store);
        next.engine.start(Running::Daemon).await.unwrap();
        next.rest().await;
        waits(&next);
        next.engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_receipt_does_not_say_out_while_a_creation_may_still_act() {
    let rig = Rig::started(documents([user("b")], [target("app")])).await;
    rig.target("app").inside().faults.push_back(Fault::ActLate(Duration::from_secs(20)));
    rig.source.set(Ok(documents([user("a"), user("b")], [target("app")])));
    rig.pass(Duration::from_secs(1)).await;
    revoke(&rig, "a").await;
    let receipt = rig.engine.receipt(&"a".into()).await.unwrap();
    assert_eq!(receipt.verdict, Verdict::NotConfirmed, "{receipt:#?}");
    assert!(receipt.open[0].contains("nobody knows how"), "{:?}", receipt.open);
    // Nor where no document leads to the place any more, and no target is asked.
    rig.declare(documents([user("b")], [target("crm")])).await;
    let receipt = rig.engine.receipt(&"a".into()).await.unwrap();
    assert_eq!(receipt.verdict, Verdict::NotConfirmed, "{receipt:#?}");
    rig.declare(documents([user("b")], [target("app")])).await;
    rig.pass(Duration::from_mins(10)).await;
    let receipt = rig.engine.receipt(&"a".into()).await.unwrap();
    assert_eq!(receipt.verdict, Verdict::OutEverywhere, "{receipt:#?}");
    assert_eq!(state(&rig, "a"), AccountState::Disabled);
}

/// A target that keeps no bound of its own, and a user whom no document names any more.
#[tokio::test(start_paused = true)]
async fn a_receipt_finds_the_account_of_a_call_that_acted_far_too_late() {
    let rig = Rig::started(documents([user("b")], [target("app")])).await;
    rig.target("app").inside().faults.push_back(Fault::ActLate(Duration::from_mins(30)));
    rig.source.set(Ok(documents([user("a"), user("b")], [target("app")])));
    rig.pass(Duration::from_secs(1)).await;
    rig.declare(documents([user("b")], [target("app")])).await;
    rig.pass(Duration::from_mins(20)).await;
    let early = rig.engine.receipt(&"a".into()).await;
    assert!(early.is_err() || early.unwrap().verdict == Verdict::OutEverywhere);
    rig.pass(Duration::from_mins(20)).await;
    revoke(&rig, "a").await;
    assert_eq!(state(&rig, "a"), AccountState::Active);
    let receipt = rig.engine.receipt(&"a".into()).await.unwrap();
    assert_eq!(receipt.verdict, Verdict::NotConfirmed, "{receipt:#?}");
    assert!(receipt.open[0].contains("fits the user and is not rosterd's"), "{:?}", receipt.open);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_looks_at_each_account_that_a_user_has_under_any_id() {
    let rig = Rig::started(documents([user("a"), user("b")], [target("app")])).await;
    let merged = User { formerly: vec!["a".into()], ..user("b") };
    rig.declare(documents([merged], [target("app")])).await;
    revoke(&rig, "b").await;
    rig.pass(Duration::from_mins(1)).await;
    // The first by id is out; somebody in the target opens the second again.
    for (name, open) in [("a", AccountState::Disabled), ("b", AccountState::Active)] {
        let id = rig.target("app").by_name(&format!("{name}@acme.example")).unwrap().id;
        rig.target("app").inside().accounts.get_mut(&id).unwrap().state = open;
    }
    let receipt = rig.engine.receipt(&"b".into()).await.unwrap();
    let shown: Vec<_> = receipt.targets.iter().map(|target| target.shows.words()).collect();
    assert_eq!(receipt.verdict, Verdict::NotConfirmed, "{shown:?}");
    assert_eq!(receipt.targets.len(), 2, "{shown:?}");
}
