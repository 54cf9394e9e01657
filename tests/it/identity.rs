//! Who is who: re-used record ids and mails, people who come back, renames; and never two accounts,
//! whatever becomes of a call, a look, a listing or the place.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use rosterd::connector::ErrorClass;
use rosterd::engine::Running;
use rosterd::model::account::AccountState;
use rosterd::model::change::Action;
use rosterd::model::decision::DecisionKind;
use rosterd::model::history::OutcomeResult;
use rosterd::model::ids::AccountId;
use rosterd::model::link::LinkedBy;
use rosterd::model::target::Existing;
use rosterd::model::target::Mark;
use rosterd::model::target::MatchKey;
use rosterd::model::target::Regain;
use rosterd::model::target::Target;
use rosterd::model::user::User;

use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::inactive;
use crate::support::make::path;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::target::Fault;

/// A user under a record id that somebody else had: another mail, another family name.
fn somebody_else(id: &str) -> User {
    let (email, family_name) = (Some("bob@acme.example".to_owned()), Some("Babbage".to_owned()));
    User { email, family_name, ..user(id) }
}

/// The same person under another record id.
fn renamed(old: &str, new: &str) -> User {
    User { id: new.into(), ..user(old) }
}

/// A target without a mark, in which accounts are called by record ids and so never clash by mail.
fn unmarked() -> Target {
    let mut app = target("app");
    app.account.mark = Mark::None;
    app.account.match_keys = vec![MatchKey(vec![path("userName")])];
    app
}

/// Accounts are called by record ids, so that nothing but identity history knows people again.
fn by_record_id() -> Target {
    let mut app = target("app");
    app.account.user_name.value = rosterd::model::target::MappingValue::Template("{{ user.id }}".to_owned());
    app
}

fn only(rig: &Rig) -> AccountId {
    let inside = rig.target("app").inside();
    assert_eq!(inside.accounts.len(), 1, "{:?}", inside.accounts);
    inside.accounts.keys().next().unwrap().clone()
}

fn state(rig: &Rig, account: &AccountId) -> AccountState {
    rig.target("app").inside().accounts[account].state
}

fn conflict(rig: &Rig, record: &str) -> String {
    rig.status("app").conflicts.get(&record.into()).cloned().unwrap_or_default()
}

async fn link(rig: &Rig, record: &str, account: &AccountId) {
    rig.engine.link(&"app".into(), &record.into(), account, "local").await.unwrap();
    rig.rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_id_that_went_to_somebody_else_gets_nothing_until_a_person_says_so() {
    let rig = Rig::started(documents([user("a"), user("b")], [target("app")])).await;
    let account = rig.target("app").by_name("a@acme.example").unwrap().id;
    rig.declare(documents([somebody_else("a"), user("b")], [target("app")])).await;
    let words = conflict(&rig, "a");
    assert!(words.contains("record id `a`") && words.contains(account.as_str()), "{words}");
    assert_eq!(rig.target("app").count("update"), 0, "the account is not made to look like the newcomer's");
    rig.sync("app").await.unwrap();
    assert_eq!(rig.target("app").inside().accounts[&account].user_name(), Some("a@acme.example"));
    let mut other = user("b");
    other.given_name = Some("Other".to_owned());
    rig.declare(documents([somebody_else("a"), other], [target("app")])).await;
    assert_eq!(rig.target("app").count("update"), 1, "nobody else is blocked");
    link(&rig, "a", &account).await;
    assert_eq!(rig.target("app").inside().accounts[&account].user_name(), Some("bob@acme.example"));
    assert!(rig.store.open().events.iter().any(|event| event.kind == "link" && event.actor == "local"));
    assert_eq!(conflict(&rig, "a"), "");
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_re_used_record_id_is_known_after_a_restart_and_after_a_gap() {
    let rig = Rig::started(documents([user("a"), user("b")], [target("app")])).await;
    let account = rig.target("app").by_name("a@acme.example").unwrap().id;
    rig.declare(documents([user("b")], [target("app")])).await;
    assert_eq!(state(&rig, &account), AccountState::Disabled, "the leaver is out");
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let next = Rig::over(documents([somebody_else("a"), user("b")], [target("app")]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    assert_eq!(state(&next, &account), AccountState::Disabled, "the leaver's account is not the newcomer's");
    assert!(conflict(&next, "a").contains("somebody else's"), "{}", conflict(&next, "a"));
    assert_eq!(next.target("app").count("create"), 2);
}

#[tokio::test(start_paused = true)]
async fn narrowing_passes_for_a_record_id_that_went_to_somebody_else() {
    let mut admin = user("a");
    admin.roles.push(held("admin"));
    let rig = Rig::started(documents([admin], [target("app")])).await;
    let account = only(&rig);
    rig.declare(documents([somebody_else("a")], [target("app")])).await;
    assert_eq!(rig.target("app").inside().accounts[&account].memberships.len(), 0, "the group is taken away");
    assert_eq!(rig.target("app").inside().accounts[&account].user_name(), Some("a@acme.example"));
    rig.declare(documents([User { active: false, ..somebody_else("a") }], [target("app")])).await;
    assert_eq!(state(&rig, &account), AccountState::Disabled);
}

/// `a` is gone, and its removal waits: for another try, or for a person. `w` came at the same time, has
/// another mail, and got no account.
async fn succeeded(app: &Target, held: bool) -> (Rig, AccountId) {
    let mut app = app.clone();
    if held {
        app.limits.narrow_inferred[0].count = Some(0);
    }
    let rig = Rig::started(documents([user("a"), user("b")], [app.clone()])).await;
    let account = rig.target("app").by_name("a@acme.example").unwrap().id;
    {
        let mut inside = rig.target("app").inside();
        inside.bad_user = Some(("w@acme.example".to_owned(), ErrorClass::Refused));
        if !held {
            let later = Some(Duration::from_secs(50));
            inside.faults.push_back(Fault::Refuse(ErrorClass::Transient, later));
        }
    }
    rig.declare(documents([user("b"), user("w")], [app])).await;
    rig.target("app").inside().bad_user = None;
    assert_eq!(rig.target("app").count("disable"), usize::from(!held));
    assert_eq!((state(&rig, &account), rig.status("app").holds.len()), (AccountState::Active, usize::from(held)));
    (rig, account)
}

/// L11
#[tokio::test(start_paused = true)]
async fn what_waits_for_whoever_had_an_account_is_not_done_once_a_person_says_whose_it_is() {
    for held in [false, true] {
        let (rig, account) = succeeded(&unmarked(), held).await;
        let before = rig.target("app").count("disable");
        link(&rig, "w", &account).await;
        rig.pass(Duration::from_mins(2)).await;
        assert_eq!(
            (state(&rig, &account), rig.target("app").count("disable")),
            (AccountState::Active, before),
            "{held}"
        );
        assert_eq!(rig.target("app").inside().accounts[&account].user_name(), Some("w@acme.example"));
        assert_eq!((rig.status("app").owed.len(), rig.status("app").holds.len()), (0, 0), "{held}");
        rig.assert_settled("app").await;
    }
}

/// `a` is gone, and the call that ends the access is under way; `w` was refused an account. `creates`: their
/// creation is under way, too.
async fn leaving(creates: bool) -> (Rig, AccountId) {
    let rig = Rig::started(documents([user("a"), user("b")], [unmarked()])).await;
    let account = rig.target("app").by_name("a@acme.example").unwrap().id;
    let both = || documents([user("b"), user("w")], [unmarked()]);
    if !creates {
        rig.target("app").inside().bad_user = Some(("w@acme.example".to_owned(), ErrorClass::Refused));
        rig.declare(documents([user("a"), user("b"), user("w")], [unmarked()])).await;
    }
    rig.target("app").inside().latency = Duration::from_secs(3);
    rig.source.set(Ok(both()));
    while rig.target("app").count("disable") == 0 {
        rig.pass(Duration::from_millis(100)).await;
    }
    rig.pass(Duration::from_millis(100)).await;
    assert_eq!(rig.target("app").count("create w@"), 1);
    rig.target("app").inside().latency = Duration::ZERO;
    rig.target("app").inside().bad_user = None;
    assert_eq!(state(&rig, &account), AccountState::Active, "it is under way");
    (rig, account)
}

/// L11
#[tokio::test(start_paused = true)]
async fn a_call_for_whoever_had_an_account_keeps_nobody_out_to_whom_a_person_gave_it() {
    let (rig, account) = leaving(false).await;
    rig.engine.link(&"app".into(), &"w".into(), &account, "local").await.unwrap();
    rig.pass(Duration::from_secs(30)).await;
    assert_eq!(rig.target("app").count("disable"), 1);
    assert_eq!(state(&rig, &account), AccountState::Active, "it was shut under `w`, and is opened again");
    rig.assert_settled("app").await;
}

/// L2, L11
#[tokio::test(start_paused = true)]
async fn a_creation_under_way_ends_beside_the_account_that_a_person_linked_and_is_told() {
    let (rig, account) = leaving(true).await;
    rig.engine.link(&"app".into(), &"w".into(), &account, "local").await.unwrap();
    rig.pass(Duration::from_secs(30)).await;
    let links: Vec<_> =
        rig.store.open().links.values().map(|link| (link.record.clone(), link.account.clone())).collect();
    assert!(links.contains(&("w".into(), account.clone())), "{links:?}");
    assert_eq!(state(&rig, &account), AccountState::Active, "what the creation made says nothing of this one");
    let told = rig.status("app").failures.get(&"w".into()).cloned().unwrap_or_default();
    let made = rig.target("app").inside().accounts.keys().next_back().cloned().unwrap();
    assert!(made != account && told.contains(&format!("`{made}`")), "{told}");
}

/// `w` was refused an account, and `u` has just been given one of which the store does not know yet.
async fn just_made() -> (Rig, AccountId) {
    let rig = Rig::new(documents([user("b"), user("w")], [unmarked()]));
    rig.target("app").inside().bad_user = Some(("w@acme.example".to_owned(), ErrorClass::Refused));
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    rig.store.open().slow_outcomes = Duration::from_secs(1);
    rig.source.set(Ok(documents([user("b"), user("w"), user("u")], [unmarked()])));
    while rig.target("app").by_name("u@acme.example").is_none() {
        rig.pass(Duration::from_millis(10)).await;
    }
    rig.target("app").inside().bad_user = None;
    let account = rig.target("app").by_name("u@acme.example").unwrap().id;
    (rig, account)
}

/// L2
#[tokio::test(start_paused = true)]
async fn an_account_that_a_person_links_while_its_creation_is_recorded_is_whose_the_person_says() {
    let (rig, account) = just_made().await;
    rig.engine.link(&"app".into(), &"w".into(), &account, "local").await.unwrap();
    rig.store.open().slow_outcomes = Duration::ZERO;
    let told = rig.store.open().events.iter().any(|event| event.kind == "ceded" && event.record == Some("u".into()));
    assert!(told, "the log says whose it is");
    rig.pass(Duration::from_secs(30)).await;
    assert_eq!(rig.status("app").error, None);
    assert_eq!(rig.target("app").inside().accounts[&account].user_name(), Some("w@acme.example"));
    let another = rig.target("app").by_name("u@acme.example").unwrap();
    assert_eq!((another.id != account, rig.target("app").count("create u@")), (true, 2));
    {
        let store = rig.store.open();
        let links: BTreeMap<_, _> = store.links.values().map(|link| (link.record.as_str(), &link.account)).collect();
        assert_eq!((links["w"], links["u"]), (&account, &another.id));
        assert_eq!(store.intents.len(), store.outcomes.len(), "nothing stays open");
    }
    rig.declare(documents([inactive("b"), user("w"), inactive("u")], [unmarked()])).await;
    assert_eq!(rig.target("app").by_name("u@acme.example").unwrap().state, AccountState::Disabled);
    assert_eq!(state(&rig, &account), AccountState::Active);
    rig.assert_settled("app").await;
}

/// L2
#[tokio::test(start_paused = true)]
async fn an_account_that_a_person_links_to_whom_one_was_just_made_for_is_theirs_and_the_other_is_told() {
    let (rig, made) = just_made().await;
    let other = rig.target("app").put("somebody", AccountState::Active);
    rig.engine.link(&"app".into(), &"u".into(), &other, "local").await.unwrap();
    rig.store.open().slow_outcomes = Duration::ZERO;
    rig.pass(Duration::from_secs(30)).await;
    let told = rig.status("app").failures.get(&"u".into()).cloned().unwrap_or_default();
    assert!(told.contains(&format!("`{made}`")), "{told}");
    let store = rig.store.open();
    let linked: Vec<_> = store.links.values().filter(|link| link.record.as_str() == "u").collect();
    assert_eq!(linked.iter().map(|link| (&link.account, link.by)).collect::<Vec<_>>(), [(&other, LinkedBy::Person)]);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_refuses_for_ever_is_told_and_goes_on_once_it_is_taken() {
    let rig = Rig::started(documents([user("a"), user("b")], [target("app")])).await;
    rig.store.open().refuses = true;
    rig.declare(documents([inactive("a"), user("b")], [target("app")])).await;
    rig.pass(Duration::from_secs(30)).await;
    let told = rig.status("app").error.unwrap_or_default();
    assert!(told.contains("refuses") && told.contains("contradicts") && told.contains("start it again"), "{told}");
    assert!(rig.metrics.encode().contains("rosterd_store_away 1"));
    rig.store.open().refuses = false;
    rig.pass(Duration::from_secs(30)).await;
    assert_eq!(rig.status("app").error, None);
    assert_eq!(rig.target("app").by_name("a@acme.example").unwrap().state, AccountState::Disabled);
    assert!(rig.metrics.encode().contains("rosterd_store_away 0"));
}

/// L5
#[tokio::test(start_paused = true)]
async fn a_link_is_not_forgotten_that_the_store_did_not_take_when_a_person_linked_somebody_else() {
    let rig = Rig::started(documents([user("a"), user("b")], [unmarked()])).await;
    let found = rig.target("app").put("x@acme.example", AccountState::Active);
    rig.target("app").inside().latency = Duration::from_secs(1);
    rig.source.set(Ok(documents([user("a"), user("b"), user("w"), user("x")], [unmarked()])));
    while rig.target("app").count("create w@") == 0 {
        rig.pass(Duration::from_millis(100)).await;
    }
    rig.target("app").inside().latency = Duration::ZERO;
    rig.store.open().full = true;
    while rig.target("app").by_name("w@acme.example").is_none() {
        rig.pass(Duration::from_millis(10)).await;
    }
    rig.pass(Duration::from_millis(100)).await;
    rig.store.open().full = false;
    link(&rig, "x", &found).await;
    rig.pass(Duration::from_secs(30)).await;
    rig.declare(documents([user("a"), user("b"), inactive("w"), user("x")], [unmarked()])).await;
    assert_eq!(rig.target("app").by_name("w@acme.example").unwrap().state, AccountState::Disabled);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_new_mail_or_a_new_family_name_alone_is_the_same_person() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    let married = User { family_name: Some("Lovelace".to_owned()), ..user("a") };
    rig.declare(documents([married.clone()], [target("app")])).await;
    let moved = User { email: Some("lovelace@acme.example".to_owned()), ..married };
    rig.declare(documents([moved], [target("app")])).await;
    assert_eq!(rig.status("app").conflicts, BTreeMap::new());
    assert_eq!(only(&rig), rig.target("app").by_name("lovelace@acme.example").unwrap().id);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_was_anothers_is_not_adopted_until_a_person_links_it() {
    let mut app = target("app");
    app.account.existing = Existing::Adopt;
    app.account.trusted_keys = app.account.match_keys.clone();
    let rig = Rig::started(documents([user("a"), user("b")], [app.clone()])).await;
    let account = rig.target("app").by_name("a@acme.example").unwrap().id;
    rig.declare(documents([user("b")], [app.clone()])).await;
    // Its link is lost, its number and its name are given to somebody else.
    rig.store.open().links.retain(|(_, record), _| record.as_str() != "a");
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let newcomer = User { email: Some("a@acme.example".to_owned()), ..user("c") };
    {
        let mut inside = targets[&"app".into()].inside();
        let account = inside.accounts.get_mut(&account).unwrap();
        account.values.remove(&path("externalId"));
        account.state = AccountState::Active;
    }
    let next = Rig::over(documents([newcomer, user("b")], [app]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.rest().await;
    let words = conflict(&next, "c");
    assert!(words.contains("another user's before"), "{words}");
    assert_eq!(next.target("app").count("create"), 2, "and none is made beside it");
    link(&next, "c", &account).await;
    assert_eq!(next.target("app").inside().accounts[&account].external_id(), Some("c"));
    next.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_new_record_with_a_leavers_mail_does_not_get_the_leavers_account() {
    let rig = Rig::started(documents([user("a"), user("b")], [target("app")])).await;
    let account = rig.target("app").by_name("a@acme.example").unwrap().id;
    rig.declare(documents([inactive("a"), user("b")], [target("app")])).await;
    rig.declare(documents([inactive("a"), user("b"), renamed("a", "c")], [target("app")])).await;
    rig.sync("app").await.unwrap();
    assert_eq!(state(&rig, &account), AccountState::Disabled);
    assert_eq!(rig.target("app").inside().accounts[&account].external_id(), Some("a"));
    assert!(conflict(&rig, "c").contains("user name"), "{}", conflict(&rig, "c"));
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_gets_the_same_account_with_what_people_set_there() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    let account = only(&rig);
    rig.declare(documents([inactive("a")], [target("app")])).await;
    let mailbox = serde_json::json!("set by people");
    rig.target("app").inside().accounts.get_mut(&account).unwrap().values.insert(path("title"), mailbox.clone());
    rig.declare(documents([user("a")], [target("app")])).await;
    let back = rig.target("app").inside().accounts[&account].clone();
    assert_eq!((back.state, back.values.get(&path("title"))), (AccountState::Active, Some(&mailbox)));
    assert_eq!(rig.target("app").count("create"), 1);
}

#[tokio::test(start_paused = true)]
async fn where_regain_asks_a_person_gives_the_account_back_each_time() {
    let mut app = target("app");
    app.account.regain = Regain::Ask;
    let rig = Rig::started(documents([user("a")], [app.clone()])).await;
    let account = only(&rig);
    for _ in 0..2 {
        rig.declare(documents([inactive("a")], [app.clone()])).await;
        rig.declare(documents([user("a")], [app.clone()])).await;
        rig.sync("app").await.unwrap();
        assert_eq!(state(&rig, &account), AccountState::Disabled, "no trigger gives it back unasked");
        assert!(conflict(&rig, "a").contains("regain: ask"), "{}", conflict(&rig, "a"));
        link(&rig, "a", &account).await;
        assert_eq!(state(&rig, &account), AccountState::Active);
        rig.assert_settled("app").await;
    }
    assert_eq!(only(&rig), account);
}

#[tokio::test(start_paused = true)]
async fn an_undeclared_rename_takes_nothing_away_and_makes_no_second_account() {
    for app in [target("app"), by_record_id()] {
        let rig = Rig::started(documents([user("a"), user("b")], [app.clone()])).await;
        let account = rig.store.open().links.values().find(|link| link.record.as_str() == "a").unwrap().account.clone();
        rig.declare(documents([renamed("a", "c"), user("b")], [app.clone()])).await;
        for _ in 0..2 {
            assert_eq!(state(&rig, &account), AccountState::Active, "nobody loses access by inference");
            assert_eq!(rig.target("app").count("create"), 2, "nobody gets a second account");
            let words = ["a", "c"].map(|record| conflict(&rig, record));
            let both = words.iter().all(|words| words.contains("`a`") && words.contains("`c`"));
            assert!(both, "both are named: {words:?}");
            rig.sync("app").await.unwrap();
        }
        let declared = User { formerly: vec!["a".into()], ..renamed("a", "c") };
        rig.declare(documents([declared, user("b")], [app.clone()])).await;
        assert_eq!(rig.target("app").inside().accounts[&account].external_id(), Some("c"));
        assert_eq!((rig.target("app").count("create"), rig.target("app").count("disable")), (2, 0));
        rig.assert_settled("app").await;
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_who_may_be_either_of_two_who_are_gone_takes_nothing_away_from_either() {
    let rig = Rig::started(documents([user("a"), user("b"), user("d")], [target("app")])).await;
    let id = |name: &str| rig.target("app").by_name(name).unwrap().id;
    let (first, second) = (id("a@acme.example"), id("b@acme.example"));
    let edit = |account: &AccountId, at: &str, value: &str| {
        let mut inside = rig.target("app").inside();
        inside.accounts.get_mut(account).unwrap().values.insert(path(at), value.into());
    };
    edit(&first, "externalId", "c");
    edit(&second, "userName", "c@acme.example");
    rig.declare(documents([user("c"), user("d")], [target("app")])).await;
    rig.sync("app").await.unwrap();
    assert_eq!((state(&rig, &first), state(&rig, &second)), (AccountState::Active, AccountState::Active));
    assert_eq!(rig.target("app").count("create"), 3, "and gets no account of their own");
}

#[tokio::test(start_paused = true)]
async fn two_people_of_one_mail_are_told_apart_by_a_document_that_ends_the_first() {
    let app = by_record_id();
    let rig = Rig::started(documents([user("a"), user("b")], [app.clone()])).await;
    let account = rig.target("app").by_name("a").unwrap().id;
    rig.declare(documents([renamed("a", "c"), user("b")], [app.clone()])).await;
    assert_eq!(rig.target("app").by_name("c"), None);
    rig.declare(documents([inactive("a"), renamed("a", "c"), user("b")], [app.clone()])).await;
    rig.rest().await;
    assert_eq!(state(&rig, &account), AccountState::Disabled);
    assert!(rig.target("app").by_name("c").is_some(), "the other person gets an account of their own");
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_person_settles_an_undeclared_rename_by_linking() {
    let rig = Rig::started(documents([user("a"), user("b")], [target("app")])).await;
    let account = rig.target("app").by_name("a@acme.example").unwrap().id;
    rig.declare(documents([renamed("a", "c"), user("b")], [target("app")])).await;
    link(&rig, "c", &account).await;
    assert_eq!(rig.target("app").inside().accounts[&account].external_id(), Some("a"), "the mark is another's still");
    assert_eq!(rig.store.open().links.keys().map(|(_, record)| record.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!((state(&rig, &account), rig.target("app").count("create")), (AccountState::Active, 2));
}

#[tokio::test(start_paused = true)]
async fn an_account_with_the_mark_of_a_linked_user_is_told_and_touched_by_nobody() {
    let rig = Rig::started(documents(users(3), [target("app")])).await;
    let twin = rig.target("app").put("copy@acme.example", AccountState::Active);
    rig.target("app").inside().accounts.get_mut(&twin).unwrap().values.insert(path("externalId"), "u-0001".into());
    let report = rig.sync("app").await.unwrap();
    assert_eq!(report.plan.changes, []);
    assert!(conflict(&rig, "u-0001").contains(twin.as_str()), "{}", conflict(&rig, "u-0001"));
    rig.declare(documents([user("u-0000"), inactive("u-0001"), user("u-0002")], [target("app")])).await;
    assert_eq!(state(&rig, &twin), AccountState::Active, "neither merged nor ended");
    assert_eq!(rig.target("app").by_name("u-0001@acme.example").unwrap().state, AccountState::Disabled);
}

#[tokio::test(start_paused = true)]
async fn without_a_mark_a_lost_reply_is_resolved_by_what_was_sent() {
    let rig = Rig::new(documents([user("a")], [unmarked()]));
    rig.target("app").inside().faults.push_back(Fault::LoseReply);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_mins(2)).await;
    assert_eq!(rig.target("app").count("create"), 1);
    assert_eq!(rig.store.open().links.len(), 1);
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn without_a_mark_who_leaves_while_the_reply_is_lost_is_disabled_all_the_same() {
    for leaver in [Some(inactive("a")), None] {
        let rig = Rig::new(documents([user("a"), user("b")], [unmarked()]));
        rig.target("app").inside().latency = Duration::from_millis(10);
        rig.target("app").inside().faults.push_back(Fault::LoseReply);
        rig.engine.start(Running::Daemon).await.unwrap();
        while rig.target("app").by_name("a@acme.example").is_none() {
            rig.pass(Duration::from_millis(1)).await;
        }
        rig.source.set(Ok(documents(leaver.into_iter().chain([user("b")]), [unmarked()])));
        rig.pass(Duration::from_mins(5)).await;
        let account = rig.target("app").by_name("a@acme.example").unwrap();
        assert_eq!(account.state, AccountState::Disabled, "no active account stays behind that nobody manages");
        assert_eq!(rig.target("app").count("create a"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_mark_somebody_elses_account_is_not_taken_for_the_lost_one() {
    let rig = Rig::new(documents([user("a")], [unmarked()]));
    rig.target("app").inside().latency = Duration::from_millis(100);
    rig.target("app").inside().faults.push_back(Fault::LoseRequest);
    rig.engine.start(Running::Daemon).await.unwrap();
    while rig.target("app").count("create") == 0 {
        rig.pass(Duration::from_millis(1)).await;
    }
    rig.pass(Duration::from_millis(200)).await;
    let other = rig.target("app").put("a@acme.example", AccountState::Active);
    let named = serde_json::json!("Somebody Else");
    rig.target("app").inside().accounts.get_mut(&other).unwrap().values.insert(path("name.givenName"), named);
    rig.pass(Duration::from_mins(5)).await;
    assert_eq!(rig.store.open().links.len(), 0);
    assert_eq!((rig.target("app").count("update"), rig.target("app").count("disable")), (0, 0));
    assert!(conflict(&rig, "a").contains(other.as_str()), "{}", conflict(&rig, "a"));
}

#[tokio::test(start_paused = true)]
async fn two_accounts_that_a_lost_creation_may_have_left_are_a_conflict_and_neither_is_touched() {
    for stays in [true, false] {
        let rig = Rig::new(documents([user("a"), user("b")], [target("app")]));
        rig.target("app").inside().latency = Duration::from_millis(10);
        rig.target("app").inside().faults.push_back(Fault::LoseReply);
        rig.engine.start(Running::Daemon).await.unwrap();
        while rig.target("app").by_name("a@acme.example").is_none() {
            rig.pass(Duration::from_millis(1)).await;
        }
        let twin = rig.target("app").put("copy-of-a", AccountState::Active);
        rig.target("app").inside().accounts.get_mut(&twin).unwrap().values.insert(path("externalId"), "a".into());
        let declared = if stays { user("a") } else { inactive("a") };
        rig.source.set(Ok(documents([declared, user("b")], [target("app")])));
        rig.pass(Duration::from_mins(30)).await;
        rig.sync("app").await.unwrap();
        assert_eq!((rig.target("app").count("create a"), rig.target("app").count("disable")), (1, 0));
        let told = rig.status("app").failures.get(&"a".into()).cloned().unwrap_or_default();
        assert!(told.contains(twin.as_str()) && told.contains("rosterd link a"), "{told}");
        let right = rig.target("app").by_name("a@acme.example").unwrap().id;
        link(&rig, "a", &right).await;
        rig.pass(Duration::from_mins(1)).await;
        let expected = if stays { AccountState::Active } else { AccountState::Disabled };
        assert_eq!((state(&rig, &right), state(&rig, &twin)), (expected, AccountState::Active));
        let store = rig.store.open();
        assert_eq!(store.intents.len(), store.outcomes.len(), "nothing stays open");
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_another_hand_marked_is_not_taken_for_what_a_lost_creation_left() {
    let rig = Rig::new(documents([user("a"), user("b")], [target("app")]));
    rig.target("app").inside().faults.push_back(Fault::LoseRequest);
    rig.engine.start(Running::Daemon).await.unwrap();
    while rig.store.open().intents.is_empty() {
        rig.pass(Duration::from_millis(1)).await;
    }
    let other = rig.target("app").put("somebody", AccountState::Active);
    rig.target("app").inside().accounts.get_mut(&other).unwrap().values.insert(path("externalId"), "a".into());
    let before = rig.target("app").inside().accounts[&other].clone();
    rig.pass(Duration::from_mins(30)).await;
    rig.sync("app").await.unwrap();
    assert_eq!(rig.target("app").inside().accounts[&other], before, "a stranger's account is not touched (L10)");
    assert_eq!(rig.target("app").count("create a"), 1, "and nobody gets an account beside it (L2)");
    let told = rig.status("app").failures.get(&"a".into()).cloned().unwrap_or_default();
    assert!(told.contains(other.as_str()) && told.contains("rosterd link a"), "{told}");
    link(&rig, "a", &other).await;
    rig.pass(Duration::from_mins(1)).await;
    assert_eq!(rig.store.open().links.len(), 2, "a person's word settles it");
}

#[tokio::test(start_paused = true)]
async fn where_accounts_show_late_a_lost_reply_makes_no_second_one() {
    for (fault, creates) in [(Fault::LoseReply, 1), (Fault::LoseRequest, 2)] {
        let rig = Rig::new(documents([user("a")], [target("app")]));
        rig.target("app").inside().visible_within = Duration::from_mins(3);
        rig.target("app").inside().faults.push_back(fault);
        rig.engine.start(Running::Daemon).await.unwrap();
        rig.pass(Duration::from_mins(20)).await;
        let calls: Vec<_> = {
            let inside = rig.target("app").inside();
            inside.calls.iter().filter(|call| call.what.starts_with("create")).map(|call| call.at).collect()
        };
        assert_eq!(calls.len(), creates);
        assert!(calls.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(30 + 180)), "{calls:?}");
        assert_eq!(rig.store.open().links.len(), 1);
        only(&rig);
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_began_too_early_proves_nothing_though_it_ends_late() {
    let rig = Rig::new(documents([user("a")], [target("app")]));
    rig.target("app").inside().visible_within = Duration::from_secs(5);
    rig.target("app").inside().faults.push_back(Fault::LoseRequest);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    let sent = rig.target("app").inside().calls.iter().find(|call| call.what.starts_with("create")).unwrap().at;
    // Every look takes so long from here on that one is under way when absence begins to prove.
    let takes = Duration::from_secs(20);
    rig.target("app").inside().latency = takes;
    rig.pass(Duration::from_mins(30)).await;
    let inside = rig.target("app").inside();
    let calls: Vec<_> = inside.calls.iter().map(|call| (call.at, call.what.as_str())).collect();
    let again = calls.iter().filter(|(_, what)| what.starts_with("create")).nth(1).expect("sent again").0;
    let proof = calls.iter().filter(|(at, what)| *what == "fetch" && *at >= sent + Duration::from_secs(35));
    assert!(proof.clone().any(|(at, _)| *at + takes <= again), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn stale_listings_make_no_second_account() {
    let rig = Rig::new(documents(users(20), [target("app")]));
    rig.target("app").inside().stale_lists = Duration::from_hours(1);
    rig.target("app").inside().faults.extend([Fault::LoseReply, Fault::LoseReply]);
    rig.engine.start(Running::Daemon).await.unwrap();
    for _ in 0..5 {
        rig.pass(Duration::from_mins(1)).await;
        drop(rig.sync("app").await);
    }
    assert_eq!((rig.target("app").count("create"), rig.target("app").inside().accounts.len()), (20, 20));
    assert_eq!(rig.target("app").count("disable"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_open_creation_is_not_sent_again_after_a_restart_before_its_time() {
    for fault in [Fault::LoseReply, Fault::LoseRequest] {
        let rig = Rig::new(documents([user("a")], [target("app")]));
        rig.target("app").inside().visible_within = Duration::from_mins(2);
        let lost = matches!(fault, Fault::LoseRequest);
        rig.target("app").inside().faults.push_back(fault);
        rig.engine.start(Running::Daemon).await.unwrap();
        rig.pass(Duration::from_millis(100)).await;
        let (targets, store) = rig.remains();
        rig.engine.stop().await;
        let next = Rig::over(documents([user("a")], [target("app")]), targets, store);
        next.engine.start(Running::Daemon).await.unwrap();
        next.pass(Duration::from_secs(140)).await;
        assert_eq!(next.target("app").count("create"), 1);
        next.pass(Duration::from_mins(10)).await;
        assert_eq!(next.target("app").count("create"), if lost { 2 } else { 1 });
        only(&next);
        next.assert_settled("app").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rename_during_a_restart_with_an_open_creation_makes_no_second_account() {
    let rig = Rig::new(documents([user("old")], [target("app")]));
    rig.target("app").inside().faults.push_back(Fault::LoseReply);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_millis(100)).await;
    let (targets, store) = rig.remains();
    rig.engine.stop().await;
    let new = User { formerly: vec!["old".into()], ..renamed("old", "new") };
    let next = Rig::over(documents([new], [target("app")]), targets, store);
    next.engine.start(Running::Daemon).await.unwrap();
    next.pass(Duration::from_mins(5)).await;
    assert_eq!(next.target("app").count("create"), 1);
    let account = only(&next);
    assert_eq!(next.target("app").inside().accounts[&account].external_id(), Some("new"));
    next.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn another_realm_knows_nothing_of_what_waited_for_the_first() {
    let rig = Rig::started(documents(users(5), [target("app")])).await;
    let first: BTreeSet<_> = rig.target("app").inside().accounts.keys().cloned().collect();
    let bad = rig.target("app").by_name("u-0003@acme.example").unwrap();
    rig.target("app").inside().faults.extend((0..9).map(|_| Fault::Refuse(ErrorClass::Refused, None)));
    let leaver = |id: &str| if id == "u-0003" { inactive(id) } else { user(id) };
    let fewer: Vec<_> = users(5).iter().map(|user| leaver(user.id.as_str())).collect();
    rig.declare(documents(fewer, [target("app")])).await;
    assert_eq!(state(&rig, &bad.id), AccountState::Active, "the removal is refused, and waits for its next try");
    // The credential is another tenant's now, whose accounts have the same ids.
    rig.target("app").inside().realm = Some("other".to_owned());
    let error = rig.sync("app").await.unwrap().cycle.error.unwrap();
    assert!(error.contains("reports realm `other`"), "{error}");
    rig.target("app").inside().faults.clear();
    rig.target("app").inside().calls.clear();
    rig.pass(Duration::from_mins(10)).await;
    let calls: Vec<_> = rig.target("app").inside().calls.iter().map(|call| call.what.clone()).collect();
    assert!(!calls.iter().any(|what| what.starts_with("disable") || what.starts_with("create")), "{calls:?}");
    let status = rig.status("app");
    assert_eq!(status.space.unwrap().realm.as_str(), "other");
    assert_eq!((status.conflicts.len(), status.owed.len()), (4, 0), "all that is there is a stranger's");
    assert_eq!(rig.store.open().links.values().filter(|link| first.contains(&link.account)).count(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_word_about_test_lets_nothing_through_in_production() {
    let documents_of = |environment: &str| {
        let mut app = target("app");
        app.environment = environment.into();
        documents(users(3), [app])
    };
    let rig = Rig::new(documents_of("test"));
    rig.target("app").put("U-0000@acme.example", AccountState::Active);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    let shown = rig.status("app").holds[0].clone();
    rig.engine.decide(rig.decision(DecisionKind::Enforce, Some(shown.digest.clone()))).await.unwrap();
    rig.rest().await;
    assert_eq!(rig.target("app").count("create"), 2);
    // Production holds exactly what test held when it was shown.
    rig.target("app").inside().accounts.retain(|_, account| account.user_name() == Some("U-0000@acme.example"));
    rig.declare(documents_of("production")).await;
    let held = rig.status("app").holds[0].clone();
    assert_eq!(held.changes, shown.changes);
    assert_ne!(held.digest, shown.digest);
    assert_eq!(rig.target("app").count("create"), 2, "nobody said that production may be written");
}

#[tokio::test(start_paused = true)]
async fn an_old_word_gives_nobody_an_account_back_however_many_calls_came_after_the_leaving() {
    let mut app = target("app");
    app.account.regain = Regain::Ask;
    let rig = Rig::started(documents([user("a")], [app.clone()])).await;
    let account = only(&rig);
    rig.declare(documents([inactive("a")], [app.clone()])).await;
    rig.declare(documents([user("a")], [app.clone()])).await;
    link(&rig, "a", &account).await;
    rig.pass(Duration::from_secs(1)).await;
    rig.declare(documents([inactive("a")], [app.clone()])).await;
    {
        let mut store = rig.store.open();
        let last = store.intents.last().unwrap().clone();
        for number in 0..200 {
            let mut later = last.clone();
            later.id = format!("later-{number}").into();
            later.change.action = Action::Update;
            store.outcomes.insert(later.id.clone(), OutcomeResult::Nothing("of no use".to_owned()));
            store.intents.push(later);
        }
    }
    rig.declare(documents([user("a")], [app])).await;
    rig.sync("app").await.unwrap();
    assert_eq!(state(&rig, &account), AccountState::Disabled, "the word was about the leaving before");
    assert!(conflict(&rig, "a").contains("regain: ask"), "{}", conflict(&rig, "a"));
}

#[tokio::test(start_paused = true)]
async fn of_several_who_are_gone_and_had_one_mail_nobody_loses_anything() {
    let app = by_record_id();
    let shared = |id: &str| User { email: Some("office@acme.example".to_owned()), ..user(id) };
    let rig = Rig::started(documents([shared("a"), shared("b"), user("d")], [app.clone()])).await;
    let accounts = ["a", "b"].map(|name| rig.target("app").by_name(name).unwrap().id);
    rig.declare(documents([shared("c"), user("d")], [app.clone()])).await;
    rig.sync("app").await.unwrap();
    for account in &accounts {
        assert_eq!(state(&rig, account), AccountState::Active, "either may be the one who came back");
    }
    assert!(conflict(&rig, "a").contains("`c`") && conflict(&rig, "b").contains("`c`"));
    assert_eq!(rig.target("app").by_name("c"), None);
    // Nor does it matter who goes first.
    let rig = Rig::started(documents([shared("a"), shared("b"), user("d")], [app.clone()])).await;
    let accounts = ["a", "b"].map(|name| rig.target("app").by_name(name).unwrap().id);
    rig.declare(documents([shared("c"), shared("b"), user("d")], [app.clone()])).await;
    rig.declare(documents([shared("c"), user("d")], [app])).await;
    for account in &accounts {
        assert_eq!(state(&rig, account), AccountState::Active);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_creation_gave_is_ours_though_a_person_linked_its_account() {
    let admin = || User { roles: vec![held("staff"), held("admin")], ..user("a") };
    let rig = Rig::new(documents([admin(), user("b")], [target("app")]));
    rig.target("app").inside().latency = Duration::from_millis(10);
    rig.target("app").inside().faults.push_back(Fault::LoseReply);
    rig.engine.start(Running::Daemon).await.unwrap();
    while rig.target("app").by_name("a@acme.example").is_none() {
        rig.pass(Duration::from_millis(1)).await;
    }
    let twin = rig.target("app").put("copy-of-a", AccountState::Active);
    rig.target("app").inside().accounts.get_mut(&twin).unwrap().values.insert(path("externalId"), "a".into());
    rig.pass(Duration::from_mins(30)).await;
    let right = rig.target("app").by_name("a@acme.example").unwrap();
    assert_eq!(right.memberships.len(), 1);
    link(&rig, "a", &right.id).await;
    rig.pass(Duration::from_mins(1)).await;
    rig.declare(documents([user("a"), user("b")], [target("app")])).await;
    assert!(rig.target("app").inside().accounts[&right.id].memberships.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_account_that_a_creation_made_beside_the_one_that_a_person_linked_is_told() {
    let rig = Rig::new(documents([user("b")], [unmarked()]));
    let other = rig.target("app").put("somebody", AccountState::Active);
    rig.target("app").inside().visible_within = Duration::from_mins(3);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_mins(10)).await;
    rig.target("app").inside().faults.push_back(Fault::LoseReply);
    rig.declare(documents([user("a"), user("b")], [unmarked()])).await;
    let made = rig.target("app").by_name("a@acme.example").unwrap().id;
    link(&rig, "a", &other).await;
    rig.pass(Duration::from_mins(10)).await;
    let told = rig.status("app").failures.get(&"a".into()).cloned().unwrap_or_default();
    assert!(told.contains(made.as_str()), "{told}");
    assert_eq!(state(&rig, &made), AccountState::Active, "neither is deleted");
    let store = rig.store.open();
    assert_eq!(store.intents.len(), store.outcomes.len(), "nothing stays open");
}

#[tokio::test(start_paused = true)]
async fn an_open_creation_that_no_look_can_prove_ends_with_a_listing_though_its_user_left_or_was_renamed() {
    for renames in [false, true] {
        let rig = Rig::new(documents([user("a"), user("b")], [target("app")]));
        rig.target("app").inside().unproven = true;
        rig.target("app").inside().faults.push_back(Fault::LoseRequest);
        rig.engine.start(Running::Daemon).await.unwrap();
        rig.pass(Duration::from_millis(300)).await;
        let declared = if renames { User { formerly: vec!["a".into()], ..user("c") } } else { inactive("a") };
        rig.declare(documents([declared, user("b")], [target("app")])).await;
        rig.pass(Duration::from_mins(10)).await;
        drop(rig.sync("app").await);
        rig.pass(Duration::from_mins(10)).await;
        let store = rig.store.open();
        assert_eq!(store.intents.len(), store.outcomes.len(), "nothing stays open, renames: {renames}");
        drop(store);
        assert_eq!(rig.target("app").by_name("c@acme.example").is_some(), renames);
    }
}

#[tokio::test(start_paused = true)]
async fn what_waited_without_a_store_in_one_realm_is_nothing_in_another() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    rig.target("app").inside().faults.push_back(Fault::Refuse(ErrorClass::Transient, None));
    rig.source.set(Ok(documents([inactive("u-0000"), user("u-0001")], [target("app")])));
    rig.pass(Duration::from_millis(50)).await;
    rig.store.open().full = true;
    rig.target("app").inside().faults.extend((0..9).map(|_| Fault::Refuse(ErrorClass::Uncertain, None)));
    rig.pass(Duration::from_secs(20)).await;
    // The next call finds the door shut; behind it is another tenant with the same ids.
    rig.target("app").inside().shut = true;
    rig.pass(Duration::from_mins(2)).await;
    rig.target("app").inside().faults.clear();
    rig.target("app").inside().shut = false;
    rig.target("app").inside().realm = Some("other".to_owned());
    let theirs = rig.target("app").by_name("u-0000@acme.example").unwrap().id;
    rig.target("app").inside().accounts.get_mut(&theirs).unwrap().state = AccountState::Disabled;
    rig.store.open().full = false;
    rig.target("app").inside().calls.clear();
    rig.pass(Duration::from_mins(10)).await;
    assert_eq!(rig.status("app").space.unwrap().realm.as_str(), "other");
    assert_eq!((rig.target("app").count("disable"), rig.target("app").count("update")), (0, 0));
    let store = rig.store.open();
    assert!(!store.links.keys().any(|(space, _)| space.realm.as_str() == "other"), "{:?}", store.links.keys());
}
