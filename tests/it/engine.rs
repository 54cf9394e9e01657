//! The engine on virtual time, over a target that misbehaves on demand.

use std::collections::BTreeSet;
use std::time::Duration;

use rosterd::connector::ErrorClass;
use rosterd::engine::Running;
use rosterd::engine::SyncRequest;
use rosterd::metrics::OwedReason;
use rosterd::model::account::AccountState;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::history::CycleResult;
use rosterd::model::ids::RecordId;
use rosterd::model::plan::HoldKind;
use rosterd::model::target::Existing;
use rosterd::model::target::MatchKey;
use rosterd::model::target::Mode;
use rosterd::model::target::Schedule;
use rosterd::model::target::Window;
use rosterd::model::user::User;
use rosterd::model::user::Validity;
use rosterd::source::SourceError;

use crate::support::make::broken;
use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::inactive;
use crate::support::make::path;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::target::Fault;

#[tokio::test(start_paused = true)]
async fn declared_users_become_accounts_and_a_second_cycle_changes_nothing() {
    let rig = Rig::started(documents(users(300), [target("app")])).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 300);
    let account = rig.target("app").by_name("u-0007@acme.example").unwrap();
    assert_eq!(account.external_id(), Some("u-0007"));
    assert_eq!(rig.status("app").accounts[&AccountState::Active], 300, "counted without another listing");
    rig.assert_settled("app").await;
    assert_eq!(rig.target("app").count("update"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_changed_manifest_costs_one_look_and_one_call() {
    let rig = Rig::started(documents(users(300), [target("app")])).await;
    rig.target("app").inside().calls.clear();
    let mut changed = users(300);
    changed[5].given_name = Some("Ada".to_owned());
    rig.declare(documents(changed, [target("app")])).await;
    let calls: Vec<_> = rig.target("app").inside().calls.iter().map(|call| call.what.clone()).collect();
    assert_eq!(calls, ["fetch", "update 0006"]);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_overtakes_a_backlog_of_creations() {
    let mut app = target("app");
    app.limits.concurrency = 4;
    let rig = Rig::started(documents([user("leaver")], [app.clone()])).await;
    rig.target("app").inside().latency = Duration::from_millis(100);
    let backlog = users(400);
    let everybody = |leaver| backlog.iter().cloned().chain([leaver]).collect::<Vec<_>>();
    rig.source.set(Ok(documents(everybody(user("leaver")), [app.clone()])));
    rig.pass(Duration::from_secs(2)).await;
    assert!(rig.target("app").count("create") > 10, "the backlog is being worked off");
    let saved = tokio::time::Instant::now();
    rig.source.set(Ok(documents(everybody(inactive("leaver")), [app])));
    rig.pass(Duration::from_secs(1)).await;
    let disabled = rig.target("app").inside().calls.iter().find(|call| call.what.starts_with("disable")).cloned();
    let after = disabled.expect("the leaver is disabled").at - saved;
    assert!(after <= Duration::from_millis(250), "one look, one call: {after:?}");
    assert!(rig.target("app").inside().accounts.len() < 400, "the backlog still waits");
}

#[tokio::test(start_paused = true)]
async fn a_user_who_leaves_while_the_creation_waits_is_never_created() {
    let mut app = target("app");
    app.limits.concurrency = 1;
    let rig = Rig::new(documents(users(50), [app.clone()]));
    rig.target("app").inside().latency = Duration::from_millis(100);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_secs(1)).await;
    let mut fewer = users(50);
    fewer[49].active = false;
    rig.declare(documents(fewer, [app])).await;
    rig.pass(Duration::from_secs(20)).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 49);
    assert_eq!(rig.target("app").count("create u-0049"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_makes_no_second_account() {
    let rig = Rig::new(documents([user("a")], [target("app")]));
    rig.target("app").inside().faults.push_back(Fault::LoseReply);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_mins(2)).await;
    assert_eq!(rig.target("app").count("create"), 1);
    assert_eq!(rig.store.open().links.len(), 1, "found by its mark and linked");
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_sent_again_only_after_its_time_limit() {
    let rig = Rig::new(documents([user("a")], [target("app")]));
    rig.target("app").inside().faults.push_back(Fault::LoseRequest);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_mins(2)).await;
    let inside = rig.target("app").inside();
    let creates: Vec<_> =
        inside.calls.iter().filter(|call| call.what.starts_with("create")).map(|call| call.at).collect();
    assert_eq!(creates.len(), 2);
    assert!(creates[1] - creates[0] >= Duration::from_secs(30), "call limits of one write have passed");
    assert_eq!(inside.accounts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restart_resolves_open_intents_by_looking() {
    let rig = Rig::new(documents([user("a")], [target("app")]));
    rig.target("app").inside().faults.push_back(Fault::LoseReply);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_millis(100)).await;
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    assert_eq!(store.open().outcomes.len(), 0, "nobody knows how the creation ended");
    let next = Rig::over(documents([user("a")], [target("app")]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.pass(Duration::from_mins(2)).await;
    assert_eq!(next.target("app").count("create"), 1);
    assert_eq!(next.store.open().links.len(), 1);
    next.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn an_existing_account_is_refused_and_everybody_else_goes_on() {
    let rig = Rig::new(documents(users(20), [target("app")]));
    rig.target("app").put("U-0003@acme.example", AccountState::Active);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    let status = rig.status("app");
    let hold = &status.holds[0];
    assert_eq!(hold.limit, HoldKind::FirstContact, "a target that holds accounts is shown first");
    assert_eq!(rig.target("app").count("create"), 0);
    let enforce = rig.decision(DecisionKind::Enforce, Some(hold.digest.clone()));
    rig.engine.decide(enforce).await.unwrap();
    rig.rest().await;
    assert_eq!(rig.target("app").inside().accounts.len(), 20);
    let conflicts = rig.status("app").conflicts;
    assert_eq!(conflicts.keys().map(RecordId::as_str).collect::<Vec<_>>(), ["u-0003"]);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_between_look_and_call_falls_under_the_rules_of_adoption() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    rig.target("app").inside().latency = Duration::from_millis(100);
    let looks = rig.target("app").count("fetch");
    rig.source.set(Ok(documents(users(3), [target("app")])));
    while rig.target("app").count("create u-0002") == 0 {
        rig.pass(Duration::from_millis(1)).await;
    }
    assert!(rig.target("app").count("fetch") > looks, "it was looked for first");
    rig.target("app").put("U-0002@acme.example", AccountState::Active);
    rig.pass(Duration::from_secs(5)).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 3, "nobody is made twice");
    assert_eq!(rig.target("app").count("create u-0002"), 1);
    let conflict = rig.status("app").conflicts[&"u-0002".into()].clone();
    assert!(conflict.contains("existing: refuse"), "{conflict}");
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_decision_about_another_digest_is_refused() {
    let rig = Rig::new(documents(users(3), [target("app")]));
    rig.target("app").put("somebody@else.example", AccountState::Active);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    let stale = rig.decision(DecisionKind::Enforce, Some("0000".into()));
    let error = rig.engine.decide(stale).await.unwrap_err().to_string();
    assert!(error.contains("rosterd holds list"), "{error}");
    assert_eq!(rig.target("app").count("create"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_asked_for_account_is_linked_by_a_person_and_never_doubled() {
    let mut app = target("app");
    app.account.existing = Existing::Ask;
    let rig = Rig::new(documents(users(2), [app]));
    let id = rig.target("app").put("u-0000@acme.example", AccountState::Active);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    assert!(rig.status("app").conflicts[&"u-0000".into()].contains("rosterd link u-0000"));
    let digest = rig.status("app").holds[0].digest.clone();
    rig.engine.decide(rig.decision(DecisionKind::Enforce, Some(digest))).await.unwrap();
    rig.rest().await;
    rig.engine.link(&"app".into(), &"u-0000".into(), &id, "local").await.unwrap();
    rig.rest().await;
    assert_eq!(rig.target("app").inside().accounts[&id].external_id(), Some("u-0000"), "the mark is written");
    assert_eq!(rig.target("app").inside().accounts.len(), 2);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_links_people_made_is_no_first_contact_again_after_a_restart() {
    let mut app = target("app");
    app.account.existing = Existing::Ask;
    let rig = Rig::new(documents(users(2), [app.clone()]));
    let ids = ["u-0000", "u-0001"].map(|id| rig.target("app").put(&format!("{id}@acme.example"), AccountState::Active));
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    for (user, id) in users(2).iter().zip(&ids) {
        rig.engine.link(&"app".into(), &user.id, id, "local").await.unwrap();
    }
    rig.sync("app").await.unwrap();
    let hold = rig.status("app").holds[0].clone();
    assert_eq!(hold.limit, HoldKind::FirstContact);
    rig.engine.decide(rig.decision(DecisionKind::Enforce, Some(hold.digest))).await.unwrap();
    rig.rest().await;
    assert_eq!(rig.target("app").inside().accounts[&ids[0]].external_id(), Some("u-0000"), "the mark is written");
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let next = Rig::over(documents([inactive("u-0000"), user("u-0001")], [app]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    assert_eq!(next.target("app").inside().accounts[&ids[0]].state, AccountState::Disabled);
    next.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_trusted_key_adopts_and_a_mail_address_does_not() {
    let mut app = target("app");
    app.account.existing = Existing::Adopt;
    app.account.trusted_keys = vec![MatchKey(vec![path("externalId")])];
    let rig = Rig::new(documents(users(2), [app]));
    let trusted = rig.target("app").put("other-name", AccountState::Active);
    let marked = rig.target("app").inside().accounts.get_mut(&trusted).map(|account| {
        account.values.insert(path("externalId"), "u-0000".into());
    });
    assert!(marked.is_some());
    rig.target("app").put("u-0001@acme.example", AccountState::Active);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    let digest = rig.status("app").holds[0].digest.clone();
    rig.engine.decide(rig.decision(DecisionKind::Enforce, Some(digest))).await.unwrap();
    rig.rest().await;
    assert_eq!(rig.target("app").inside().accounts[&trusted].user_name(), Some("u-0000@acme.example"));
    assert_eq!(rig.target("app").inside().accounts.len(), 2, "nobody is created twice");
    assert!(rig.status("app").conflicts.contains_key(&"u-0001".into()));
}

#[tokio::test(start_paused = true)]
async fn one_bad_user_among_a_thousand_stops_nobody() {
    let rig = Rig::new(documents(users(1_000), [target("app")]));
    rig.target("app").inside().bad_user = Some(("u-0500@acme.example".to_owned(), ErrorClass::Refused));
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_secs(5)).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 999);
    let status = rig.status("app");
    assert_eq!(status.failures.len(), 1);
    assert!(status.failures[&"u-0500".into()].contains("does not like"));
    assert_eq!(status.last_cycle.unwrap().result, Some(CycleResult::Partial));
    let explanation = rig.engine.explain(&"u-0500".into(), &"app".into()).await.unwrap();
    assert!(explanation.failure.unwrap().contains("does not like"));
    assert!(explanation.history[0].contains("refused"), "{:?}", explanation.history);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_asks_for_time_gets_just_that() {
    let rig = Rig::new(documents(users(20), [target("app")]));
    let wait = Some(Duration::from_secs(2));
    rig.target("app").inside().faults.push_back(Fault::Refuse(ErrorClass::RateLimited, wait));
    let begun = tokio::time::Instant::now();
    rig.engine.start(Running::Once).await.unwrap();
    let report = rig.sync("app").await.unwrap();
    let took = begun.elapsed();
    assert_eq!(report.cycle.result, Some(CycleResult::Ok));
    assert_eq!(rig.target("app").inside().accounts.len(), 20);
    assert!(took >= Duration::from_secs(2) && took < Duration::from_millis(2_500), "{took:?}");
    assert!(rig.metrics.encode().contains("rosterd_retries_total{reason=\"rate-limited\",target=\"app\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_stops_the_target_loses_nothing_and_is_named() {
    let mut app = target("app");
    app.limits.concurrency = 1;
    let rig = Rig::new(documents(users(100), [app]));
    rig.target("app").inside().latency = Duration::from_millis(50);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_secs(2)).await;
    rig.target("app").inside().shut = true;
    rig.pass(Duration::from_secs(30)).await;
    let done = rig.target("app").inside().accounts.len();
    assert!(done > 0 && done < 100);
    assert!(rig.status("app").error.unwrap().contains("token"));
    let knocks = rig.target("app").inside().calls.len();
    rig.pass(Duration::from_secs(30)).await;
    assert!(rig.target("app").inside().calls.len() - knocks < 20, "a shut door is not hammered on");
    rig.target("app").inside().shut = false;
    rig.pass(Duration::from_mins(30)).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 100);
    assert_eq!(rig.target("app").count("create u-0099"), 1);
    assert_eq!(rig.status("app").error, None);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_hangs_delays_no_other() {
    let rig = Rig::new(documents(users(10), [target("dead"), target("live")]));
    rig.target("dead").inside().hangs = true;
    let begun = tokio::time::Instant::now();
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_millis(100)).await;
    assert_eq!(rig.target("live").inside().accounts.len(), 10);
    assert!(begun.elapsed() < Duration::from_secs(1));
    rig.pass(Duration::from_mins(1)).await;
    assert!(rig.status("dead").error.unwrap().contains("10 s"));
    assert_eq!(rig.status("live").error, None);
}

#[tokio::test(start_paused = true)]
async fn a_cut_listing_takes_nothing_away_and_creates_nobody_twice() {
    let rig = Rig::started(documents(users(30), [target("app")])).await;
    rig.target("app").inside().partial = Some(10);
    rig.target("app").inside().calls.clear();
    let mut more = users(30);
    more.push(user("new"));
    rig.source.set(Ok(documents(more, [target("app")])));
    let report = rig.sync("app").await.unwrap();
    rig.rest().await;
    assert_eq!(rig.target("app").count("disable"), 0);
    assert_eq!(rig.target("app").count("create"), 1, "{:?}", report.plan.changes);
    assert_eq!(rig.target("app").inside().accounts.len(), 31);
    assert_eq!(rig.status("app").unmanaged, 0, "a cut listing calls nobody unmanaged");
}

#[tokio::test(start_paused = true)]
async fn without_any_proof_nobody_is_created() {
    let rig = Rig::new(documents(users(5), [target("app")]));
    rig.target("app").inside().partial = Some(0);
    rig.target("app").inside().unproven = true;
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_secs(10)).await;
    assert_eq!(rig.target("app").count("create"), 0);
    assert!(rig.status("app").failures[&"u-0000".into()].contains("complete listing"));
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_takes_away_from_many_is_held_and_released_for_its_digest() {
    let mut app = target("app");
    let day = Duration::from_hours(24);
    app.limits.narrow_inferred = vec![Window { count: Some(3), percent: None, window: day }];
    let rig = Rig::started(documents(users(60), [app.clone()])).await;
    let mut narrower = app.clone();
    narrower.scope.when = Some("user.id < 'u-0050'".to_owned());
    rig.declare(documents(users(60), [narrower.clone()])).await;
    rig.rest().await;
    assert_eq!(rig.target("app").count("disable"), 0, "10 are more than 3");
    let status = rig.status("app");
    assert_eq!((status.holds.len(), status.holds[0].changes.len()), (1, 10));
    assert!(status.owed.iter().all(|owed| owed.reason == OwedReason::Hold) && status.owed.len() == 10);
    let release = rig.decision(DecisionKind::Release, Some(status.holds[0].digest.clone()));
    rig.engine.decide(release).await.unwrap();
    rig.rest().await;
    assert_eq!(rig.target("app").count("disable"), 10);
    assert_eq!(rig.status("app").holds, []);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn slices_of_a_narrowing_do_not_slip_under_a_limit() {
    let mut app = target("app");
    let day = Duration::from_hours(24);
    app.limits.narrow_explicit = vec![Window { count: Some(3), percent: None, window: day }];
    let rig = Rig::started(documents(users(60), [app.clone()])).await;
    for gone in 1..=6 {
        let mut fewer = users(60);
        fewer.iter_mut().take(gone).for_each(|user| user.active = false);
        rig.declare(documents(fewer, [app.clone()])).await;
    }
    assert_eq!(rig.target("app").count("disable"), 3);
    assert_eq!(rig.status("app").holds[0].changes.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn access_ends_at_the_second_that_valid_until_says() {
    let mut leaver = user("a");
    let end = crate::support::rig::noon() + chrono::Duration::seconds(90);
    leaver.valid = Validity { from: None, until: Some(end) };
    let rig = Rig::started(documents([leaver], [target("app")])).await;
    rig.pass(Duration::from_secs(89)).await;
    assert_eq!(rig.target("app").count("disable"), 0);
    rig.pass(Duration::from_secs(1)).await;
    assert_eq!(rig.target("app").count("disable"), 1);
    let at = rig.target("app").inside().calls.iter().find(|call| call.what.starts_with("disable")).unwrap().at;
    let late = rig.now() - chrono::Duration::from_std(at.elapsed()).unwrap() - end;
    assert!(late >= chrono::Duration::zero() && late < chrono::Duration::milliseconds(50), "{late}");
}

#[tokio::test(start_paused = true)]
async fn where_cycles_run_only_when_asked_for_an_end_date_waits_for_the_next() {
    let rig = Rig::new(documents([user("a"), user("b")], [target("app")]));
    rig.engine.start(Running::Once).await.unwrap();
    rig.sync("app").await.unwrap();
    let until = Some(rig.now() + chrono::Duration::seconds(5));
    let leaver = User { valid: Validity { from: None, until }, ..user("a") };
    rig.source.set(Ok(documents([leaver, inactive("b")], [target("app")])));
    rig.engine.reload().await.unwrap();
    rig.pass(Duration::from_mins(1)).await;
    assert_eq!(rig.target("app").count("disable"), 0, "nobody asked");
    rig.sync("app").await.unwrap();
    assert_eq!(rig.target("app").count("disable"), 2);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_returner_gets_the_same_account_back() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    let before = rig.target("app").by_name("a@acme.example").unwrap();
    rig.declare(documents([inactive("a")], [target("app")])).await;
    assert_eq!(rig.target("app").by_name("a@acme.example").unwrap().state, AccountState::Disabled);
    rig.declare(documents([user("a")], [target("app")])).await;
    let after = rig.target("app").by_name("a@acme.example").unwrap();
    assert_eq!((after.id, after.state), (before.id, AccountState::Active));
    assert_eq!(rig.target("app").count("create"), 1);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn what_another_hand_disabled_stays_disabled() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    let id = rig.target("app").by_name("a@acme.example").unwrap().id;
    rig.target("app").inside().accounts.get_mut(&id).unwrap().state = AccountState::Disabled;
    let report = rig.sync("app").await.unwrap();
    assert_eq!(report.plan.changes, []);
    let mut renamed = user("a");
    renamed.given_name = Some("Other".to_owned());
    rig.declare(documents([renamed], [target("app")])).await;
    assert_eq!(rig.target("app").inside().accounts[&id].state, AccountState::Disabled);
    assert!(rig.status("app").conflicts[&"a".into()].contains("another hand"));
}

#[tokio::test(start_paused = true)]
async fn a_role_taken_away_takes_the_group_away_first_in_line() {
    let mut admin = user("a");
    admin.roles.push(held("admin"));
    let rig = Rig::started(documents([admin.clone()], [target("app")])).await;
    assert_eq!(rig.target("app").by_name("a@acme.example").unwrap().memberships.len(), 1);
    let mut demoted = user("a");
    demoted.given_name = Some("New".to_owned());
    rig.target("app").inside().calls.clear();
    rig.declare(documents([demoted], [target("app")])).await;
    let account = rig.target("app").by_name("a@acme.example").unwrap();
    assert_eq!((account.memberships.len(), account.state), (0, AccountState::Active));
    let intents = rig.store.open().intents.iter().map(|intent| intent.change.action.as_str()).collect::<Vec<_>>();
    assert_eq!(intents, ["create", "narrow", "update"]);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_folder_takes_nothing_away_and_keeps_no_leaver_in() {
    let rig = Rig::started(documents(users(10), [target("app")])).await;
    let rest = users(10).into_iter().skip(2).chain([inactive("u-0000"), user("new")]);
    rig.declare(broken(documents(rest, [target("app")]))).await;
    assert_eq!(rig.target("app").count("disable"), 1, "the sound document's leaver, and not the missing user");
    assert_eq!(rig.target("app").by_name("u-0000@acme.example").unwrap().state, AccountState::Disabled);
    assert_eq!(rig.target("app").by_name("new@acme.example"), None);
    assert_eq!(rig.engine.source().problems.len(), 1);
    assert!(rig.metrics.encode().contains("rosterd_manifest_errors 1"));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_vanishes_takes_nothing_away() {
    let rig = Rig::started(documents(users(10), [target("app")])).await;
    rig.source.set(Err(SourceError { message: "the folder is gone".to_owned() }));
    rig.rest().await;
    let report = rig.sync("app").await.unwrap();
    assert_eq!(report.plan.changes, []);
    assert_eq!(rig.engine.source().error.as_deref(), Some("the folder is gone"));
    assert!(rig.metrics.encode().contains("rosterd_config_last_reload_success 0"));
}

#[tokio::test(start_paused = true)]
async fn a_source_cut_by_half_is_held_until_accepted_for_its_digest() {
    let rig = Rig::started(documents(users(20), [target("app")])).await;
    rig.declare(documents(users(10), [target("app")])).await;
    assert_eq!(rig.target("app").count("disable"), 0);
    let shrink = rig.engine.source().shrink.expect("held");
    assert!(rig.metrics.encode().contains("rosterd_shrink_held{source=\"memory\"} 1"));
    let accept = Decision { target: None, ..rig.decision(DecisionKind::AcceptShrink, Some(shrink.digest)) };
    rig.engine.decide(accept).await.unwrap();
    rig.rest().await;
    assert_eq!(rig.target("app").count("disable"), 10);
    assert_eq!(rig.engine.source().shrink, None);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_not_kept_is_told_and_not_fought() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    let mut renamed = user("a");
    renamed.given_name = Some("Ada".to_owned());
    rig.target("app").inside().faults.extend((0..100).map(|_| Fault::Ignore));
    rig.declare(documents([renamed], [target("app")])).await;
    rig.pass(Duration::from_hours(1)).await;
    assert_eq!(rig.target("app").count("update"), 2, "two read-backs contradict it: it is the target's own");
    assert!(rig.metrics.encode().contains("rosterd_target_controlled_attributes{target=\"app\"} 1"));
    assert_eq!(rig.status("app").failures.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_fails_is_tried_again_within_a_minute_for_ever() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    rig.target("app").inside().faults.extend((0..20).map(|_| Fault::Refuse(ErrorClass::Refused, None)));
    rig.declare(documents([inactive("a")], [target("app")])).await;
    rig.pass(Duration::from_mins(5)).await;
    let owed = rig.status("app").owed;
    assert_eq!((owed.len(), owed[0].reason), (1, OwedReason::Error));
    let tries: Vec<_> = rig
        .target("app")
        .inside()
        .calls
        .iter()
        .filter(|call| call.what.starts_with("disable"))
        .map(|call| call.at)
        .collect();
    assert!(tries.windows(2).all(|pair| pair[1] - pair[0] <= Duration::from_secs(61)), "{tries:?}");
    rig.pass(Duration::from_mins(30)).await;
    assert_eq!(rig.target("app").by_name("a@acme.example").unwrap().state, AccountState::Disabled);
    assert_eq!(rig.status("app").owed, []);
    assert!(rig.metrics.encode().contains("rosterd_revocation_seconds_count{target=\"app\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn without_a_store_no_call_is_made_and_nothing_is_forgotten() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    rig.store.open().full = true;
    let mut more = users(3);
    more.push(user("a"));
    rig.source.set(Ok(documents(more.clone(), [target("app")])));
    rig.pass(Duration::from_secs(10)).await;
    assert_eq!(rig.target("app").count("create"), 1);
    rig.store.open().full = false;
    rig.declare(documents(more, [target("app")])).await;
    rig.pass(Duration::from_secs(10)).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn stopping_finishes_the_calls_in_flight_and_starts_no_other() {
    let mut app = target("app");
    app.limits.concurrency = 2;
    let rig = Rig::new(documents(users(50), [app]));
    rig.target("app").inside().latency = Duration::from_secs(1);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_millis(3_500)).await;
    rig.engine.stop().await;
    let store = rig.store.open();
    assert!(!store.intents.is_empty());
    assert_eq!(store.intents.len(), store.outcomes.len(), "every call's end is known");
    assert_eq!(store.links.len(), rig.target("app").inside().accounts.len());
}

#[tokio::test(start_paused = true)]
async fn a_suspended_target_is_left_alone_until_it_is_resumed() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    rig.engine.decide(rig.decision(DecisionKind::Suspend, None)).await.unwrap();
    rig.rest().await;
    rig.declare(documents([inactive("a")], [target("app")])).await;
    assert_eq!(rig.target("app").count("disable"), 0);
    assert!(rig.sync("app").await.unwrap_err().to_string().contains("rosterd resume app"));
    rig.engine.decide(rig.decision(DecisionKind::Resume, None)).await.unwrap();
    rig.rest().await;
    assert_eq!(rig.target("app").count("disable"), 1);
}

#[tokio::test(start_paused = true)]
async fn observing_plans_and_writes_nothing() {
    let mut app = target("app");
    app.mode = Mode::Observe;
    let rig = Rig::started(documents(users(3), [app])).await;
    let report = rig.sync("app").await.unwrap();
    assert_eq!(report.plan.changes.len(), 3);
    assert_eq!(rig.target("app").inside().accounts.len(), 0);
    assert_eq!(rig.store.open().intents.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_interval_does_not_grow_over_a_day_of_runs() {
    let mut app = target("app");
    app.schedule = Some(Schedule::Every(Duration::from_mins(15)));
    let rig = Rig::started(documents([user("a")], [app])).await;
    let first = rig.status("app").next_run.unwrap();
    rig.pass(Duration::from_hours(24)).await;
    let last = rig.status("app").last_cycle.unwrap();
    assert_eq!((last.started - first).num_seconds() % (15 * 60), 0, "{first} {}", last.started);
    assert_eq!(rig.target("app").count("list"), 1 + 95, "one at the start, and then four an hour");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_puts_drift_back_without_anybody_asking() {
    let mut app = target("app");
    app.schedule = Some(Schedule::Every(Duration::from_hours(1)));
    let rig = Rig::started(documents([user("a")], [app])).await;
    let id = rig.target("app").by_name("a@acme.example").unwrap().id;
    let edited = serde_json::json!("Edited there");
    rig.target("app").inside().accounts.get_mut(&id).unwrap().values.insert(path("name.givenName"), edited);
    rig.pass(Duration::from_mins(125)).await;
    let account = rig.target("app").by_name("a@acme.example").unwrap();
    assert_eq!(account.values[&path("name.givenName")], "Given a");
    assert!(rig.metrics.encode().contains("rosterd_cycles_total{result=\"ok\",target=\"app\",trigger=\"schedule\"}"));
}

#[tokio::test(start_paused = true)]
async fn a_declared_rename_keeps_the_account() {
    let rig = Rig::started(documents([user("old")], [target("app")])).await;
    let id = rig.target("app").by_name("old@acme.example").unwrap().id;
    let renamed = User { formerly: vec!["old".into()], ..user("new") };
    rig.declare(documents([renamed], [target("app")])).await;
    let account = rig.target("app").by_name("new@acme.example").expect("renamed, not created");
    assert_eq!((account.id.clone(), account.external_id()), (id, Some("new")));
    assert_eq!(rig.target("app").inside().accounts.len(), 1);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_vanished_account_is_reported_and_not_made_again() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    let id = rig.target("app").by_name("u-0000@acme.example").unwrap().id;
    rig.target("app").inside().accounts.remove(&id);
    let report = rig.sync("app").await.unwrap();
    assert_eq!(report.plan.changes, []);
    assert!(rig.status("app").conflicts[&"u-0000".into()].contains("no longer there"));
    assert_eq!(rig.target("app").count("create"), 2);
}

#[tokio::test(start_paused = true)]
async fn one_user_is_synced_alone() {
    let rig = Rig::started(documents(users(5), [target("app")])).await;
    let id = rig.target("app").by_name("u-0002@acme.example").unwrap().id;
    rig.target("app").inside().accounts.get_mut(&id).unwrap().values.remove(&path("name.givenName"));
    rig.target("app").inside().calls.clear();
    let request = SyncRequest { records: Some(BTreeSet::from(["u-0002".into()])), only: None };
    let report = rig.engine.sync(&"app".into(), request).await.unwrap();
    assert_eq!(report.cycle.done.get("update"), Some(&1));
    assert_eq!(rig.target("app").count("list"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_saved_plan_makes_only_what_still_follows() {
    let rig = Rig::new(documents(users(3), [target("app")]));
    rig.engine.start(Running::Once).await.unwrap();
    let saved = rig.engine.plan(&"app".into(), None, None).await.unwrap();
    rig.target("app").put("U-0001@acme.example", AccountState::Active);
    rig.engine.sync(&"app".into(), SyncRequest { records: None, only: Some(saved.changes.clone()) }).await.unwrap();
    let held = rig.status("app").holds[0].digest.clone();
    rig.engine.decide(rig.decision(DecisionKind::Enforce, Some(held))).await.unwrap();
    let request = SyncRequest { records: None, only: Some(saved.changes) };
    let report = rig.engine.sync(&"app".into(), request).await.unwrap();
    assert_eq!(report.cycle.done.get("create"), Some(&2));
    assert_eq!(report.stale.iter().map(|change| change.record.as_str()).collect::<Vec<_>>(), ["u-0001"]);
}
