//! A store that is older than what was once known: nobody gains or loses access by it.

use std::fs;

use rosterd::engine::Running;
use rosterd::model::account::AccountState;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::plan::HoldKind;
use rosterd::store::Store;
use rosterd::store::Write;

use crate::store::sqlite::assert_found;
use crate::store::sqlite::commit;
use crate::store::sqlite::five_events;
use crate::store::sqlite::fresh;
use crate::store::sqlite::open;
use crate::store::suite::at;
use crate::store::suite::event;
use crate::support::make::documents;
use crate::support::make::inactive;
use crate::support::make::target;
use crate::support::make::users;
use crate::support::rig::Rig;

#[tokio::test]
async fn a_store_put_back_is_doubted_target_by_target_until_a_person_enforces_each() {
    let (store, folder) = fresh().await;
    five_events(&store).await;
    store.close().await;
    let (file, copy) = (folder.path().join("rosterd.db"), folder.path().join("yesterday"));
    fs::copy(&file, &copy).unwrap();
    let store = open(folder.path()).await.unwrap();
    assert_eq!(store.doubt(&"crm".into()).await.unwrap(), None);
    five_events(&store).await;
    store.close().await;
    fs::copy(&copy, &file).unwrap();
    let store = open(folder.path()).await.unwrap();
    assert!(store.doubt(&"crm".into()).await.unwrap().unwrap().contains("put back to an earlier state"));
    let enforce = Decision { target: Some("crm".into()), ..Decision::new(DecisionKind::Enforce, "ada", at(1)) };
    commit(&store, vec![Write::Decision(enforce)]).await;
    // Other events than those that were lost: the same ones would make the same chain again.
    for number in 0..6 {
        commit(&store, vec![Write::Audit(event(&format!("later {number}"), Some("crm")))]).await;
    }
    store.close().await;
    // The proof stands on, and what a person decided too.
    let store = open(folder.path()).await.unwrap();
    assert_found(store.warnings(), "put back to an earlier state");
    assert_eq!(store.doubt(&"crm".into()).await.unwrap(), None);
    assert!(store.doubt(&"erp".into()).await.unwrap().is_some());
    store.close().await;
    // A second time is found by the heads that were exported since.
    fs::copy(&copy, &file).unwrap();
    let store = open(folder.path()).await.unwrap();
    assert!(store.doubt(&"crm".into()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_without_its_exported_heads_is_doubted() {
    let (store, folder) = fresh().await;
    five_events(&store).await;
    store.close().await;
    fs::remove_file(folder.path().join("rosterd.heads")).unwrap();
    let store = open(folder.path()).await.unwrap();
    assert!(store.doubt(&"crm".into()).await.unwrap().unwrap().contains("cannot be told"));
}

#[tokio::test(start_paused = true)]
async fn with_a_store_that_was_put_back_nobody_gets_back_what_a_forgotten_word_may_have_ended() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    // What the store would know of a revocation since is gone with it: it looks like another hand's doing.
    for account in rig.target("app").inside().accounts.values_mut().take(1) {
        account.state = AccountState::Disabled;
    }
    rig.engine.stop().await;
    let (targets, store) = rig.remains();
    store.open().doubt = Some((0, "the store was put back to an earlier state".to_owned()));
    let next = Rig::over(documents(users(3), [target("app")]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    let (app, user) = ("app".into(), "u-0000".into());
    let refused = next.engine.regain(&app, &user, "ada", None).await.unwrap_err().to_string();
    assert!(refused.contains("put back") && refused.contains("such as a revocation"), "{refused}");
    next.rest().await;
    let closed =
        || next.target("app").inside().accounts.values().filter(|account| !account.state.gives_access()).count();
    assert_eq!(closed(), 1);
    let said = Some("it was no word of ours".to_owned());
    let report = next.engine.regain(&app, &user, "ada", said).await.unwrap();
    assert_eq!(report.plan.holds[0].limit, HoldKind::FirstContact, "and a person sees what would change");
}

#[tokio::test(start_paused = true)]
async fn with_a_store_that_was_put_back_nobody_gains_or_loses_access_before_a_person_says_so() {
    let rig = Rig::started(documents(users(10), [target("app")])).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 10);
    rig.engine.stop().await;
    let (targets, store) = rig.remains();
    store.open().doubt = Some((0, "the store was put back to an earlier state".to_owned()));
    let mut later = users(12);
    later[3] = inactive("u-0003");
    let next = Rig::over(documents(later, [target("app")]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    let active = || {
        let inside = next.target("app").inside();
        (
            inside.accounts.len(),
            inside.accounts.values().filter(|account| account.state == AccountState::Active).count(),
        )
    };
    assert_eq!(active(), (10, 10));
    let hold = next.status("app").holds[0].clone();
    assert_eq!(hold.limit, HoldKind::FirstContact);
    assert!(hold.reason.contains("put back") && hold.reason.contains("rosterd enforce app"), "{}", hold.reason);
    next.engine.decide(next.decision(DecisionKind::Enforce, Some(hold.digest))).await.unwrap();
    next.rest().await;
    assert_eq!(active(), (12, 11));
    next.assert_settled("app").await;
}
