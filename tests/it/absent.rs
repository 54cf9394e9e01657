//! Accounts that looks did not show, and that are there all the same: a broken deploy of a target answers 404
//! to everything for a while (L2, L5).

use std::time::Duration;

use rosterd::connector::ErrorClass;
use rosterd::engine::SyncRequest;
use rosterd::model::account::Account;
use rosterd::model::account::AccountState;
use rosterd::model::ids::AccountId;
use rosterd::model::ids::RecordId;
use rosterd::model::target::ForeignDelete;
use rosterd::model::target::Mark;
use rosterd::model::target::MatchKey;
use rosterd::model::target::Target;
use rosterd::model::user::User;
use tokio::time::Instant;

use crate::support::leaver::WAIT;
use crate::support::leaver::app;
use crate::support::leaver::deletions;
use crate::support::leaver::leaver;
use crate::support::leaver::left;
use crate::support::leaver::state;
use crate::support::leaver::there;
use crate::support::make::documents;
use crate::support::make::path;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::target::Fault;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// For so long every look by id says that nobody is there.
fn blind(rig: &Rig, time: Duration) {
    rig.target("app").inside().blind_until = Some(Instant::now() + time);
}

fn looks(rig: &Rig) -> usize {
    rig.target("app").count("fetch")
}

fn link_of(rig: &Rig, record: &str) -> Option<AccountId> {
    let store = rig.store.open();
    store.links.values().find(|link| link.record.as_str() == record).map(|link| link.account.clone())
}

/// L5
#[tokio::test(start_paused = true)]
async fn a_leaver_whom_wrong_answers_hid_for_a_while_is_out_once_they_are_right_again() {
    for (wrong, until) in [(30 * SECOND, 3 * MINUTE), (5 * MINUTE, 14 * MINUTE), (5 * HOUR, DAY + 2 * HOUR)] {
        for without in [left, |app: &Target| documents([user("v")], [app.clone()])] {
            let app = target("app");
            let rig = Rig::started(there(&app)).await;
            blind(&rig, wrong);
            rig.declare(without(&app)).await;
            rig.pass(10 * SECOND).await;
            assert_eq!((state(&rig), rig.status("app").owed.len()), (Some(AccountState::Active), 0), "nobody is seen");
            rig.pass(until).await;
            assert_eq!((state(&rig), rig.status("app").owed.len()), (Some(AccountState::Disabled), 0), "{wrong:?}");
            rig.assert_settled("app").await;
        }
    }
}

/// L5
#[tokio::test(start_paused = true)]
async fn a_leaver_whom_wrong_answers_hid_is_looked_for_after_a_restart_too() {
    let app = target("app");
    let rig = Rig::started(there(&app)).await;
    blind(&rig, 5 * MINUTE);
    rig.declare(left(&app)).await;
    rig.pass(10 * SECOND).await;
    rig.target("app").inside().bad_lists = Some(ErrorClass::Transient);
    let rig = rig.restarted(left(&app)).await;
    rig.pass(15 * MINUTE).await;
    assert_eq!(state(&rig), Some(AccountState::Disabled));
}

/// L2
#[tokio::test(start_paused = true)]
async fn who_is_hidden_by_wrong_answers_gets_no_second_account_and_keeps_the_first() {
    let mut unmarked = target("app");
    unmarked.account.mark = Mark::None;
    unmarked.account.match_keys = vec![MatchKey(vec![path("userName")])];
    for mut app in [target("app"), unmarked] {
        app.account.foreign_delete = ForeignDelete::Recreate;
        let rig = Rig::started(there(&app)).await;
        let account = rig.target("app").by_name("u@acme.example").unwrap().id;
        blind(&rig, 30 * SECOND);
        let request = SyncRequest { records: Some([RecordId::from("u")].into()), only: None };
        rig.engine.sync(&"app".into(), request).await.unwrap();
        rig.pass(10 * SECOND).await;
        // Of a broken deploy the search is broken, too, or it is not.
        rig.pass(3 * MINUTE).await;
        assert_eq!((rig.target("app").count("create u@"), link_of(&rig, "u")), (1, Some(account.clone())));
        assert!(rig.store.open().hands.values().all(|hand| hand.gone.is_none()), "nothing is left of it");
        let other = User { given_name: Some("Other".to_owned()), ..user("u") };
        rig.declare(documents([other, user("v")], [app.clone()])).await;
        assert_eq!(rig.target("app").count("update"), 1, "it is looked after");
        rig.assert_settled("app").await;
        rig.declare(left(&app)).await;
        assert_eq!(state(&rig), Some(AccountState::Disabled));
    }
}

/// L2
#[tokio::test(start_paused = true)]
async fn an_account_that_is_there_after_another_one_was_made_is_told_and_stays() {
    let mut app = target("app");
    app.account.foreign_delete = ForeignDelete::Recreate;
    let rig = Rig::started(there(&app)).await;
    let account = rig.target("app").by_name("u@acme.example").unwrap().id;
    let hidden = rig.target("app").inside().accounts.remove(&account).unwrap();
    let request = SyncRequest { records: Some([RecordId::from("u")].into()), only: None };
    rig.engine.sync(&"app".into(), request).await.unwrap();
    rig.pass(10 * SECOND).await;
    assert_eq!(rig.target("app").count("create u@"), 2);
    rig.target("app").inside().accounts.insert(account.clone(), hidden);
    rig.pass(3 * MINUTE).await;
    let told = rig.status("app").failures.get(&"u".into()).cloned().unwrap_or_default();
    assert!(told.contains(&format!("`{account}`")), "{told}");
    assert_ne!(link_of(&rig, "u"), Some(account.clone()));
    assert_eq!(rig.target("app").inside().accounts[&account].state, AccountState::Active, "neither is touched");
}

/// The deletion of `u`'s account was lost on its way, and for a while the target answers that nobody is there;
/// `acts`: it was done.
async fn seemingly_deleted(acts: bool) -> (Rig, AccountId) {
    let rig = leaver(&app(true)).await;
    let account = rig.target("app").by_name("u@acme.example").unwrap().id;
    rig.target("app").inside().faults.push_back(if acts { Fault::LoseReply } else { Fault::LoseRequest });
    rig.pass(WAIT).await;
    while deletions(&rig) == 0 {
        rig.pass(SECOND).await;
    }
    blind(&rig, 5 * MINUTE);
    rig.pass(4 * MINUTE).await;
    assert_eq!((deletions(&rig), link_of(&rig, "u")), (1, None), "it seems to be gone");
    (rig, account)
}

/// L5
#[tokio::test(start_paused = true)]
async fn an_account_that_a_deletion_seemed_to_take_is_looked_after_when_it_is_there_after_all() {
    for restarts in [false, true] {
        let (mut rig, account) = seemingly_deleted(false).await;
        rig.target("app").inside().accounts.get_mut(&account).unwrap().state = AccountState::Active;
        if restarts {
            rig.target("app").inside().bad_lists = Some(ErrorClass::Transient);
            rig = rig.restarted(left(&app(true))).await;
        }
        rig.pass(15 * MINUTE).await;
        assert_eq!((state(&rig), link_of(&rig, "u")), (Some(AccountState::Disabled), Some(account)), "{restarts}");
        assert!(rig.store.open().events.iter().any(|event| event.kind == "relink"), "the log tells");
    }
}

/// L10
#[tokio::test(start_paused = true)]
async fn an_account_that_was_given_the_id_of_one_that_is_gone_is_nobodys() {
    let (rig, account) = seemingly_deleted(true).await;
    let other = rig.target("app").put("other@acme.example", AccountState::Active);
    {
        let mut inside = rig.target("app").inside();
        let taken = inside.accounts.remove(&other).unwrap();
        inside.accounts.insert(account.clone(), Account { id: account.clone(), ..taken });
    }
    rig.pass(HOUR).await;
    assert_eq!(link_of(&rig, "u"), None);
    assert_eq!(rig.target("app").inside().accounts[&account].state, AccountState::Active);
}

#[tokio::test(start_paused = true)]
async fn of_many_who_are_hidden_a_few_are_looked_at_at_once_and_none_once_a_listing_was_whole() {
    let rig = Rig::started(documents(users(200), [target("app")])).await;
    rig.target("app").inside().accounts.clear();
    for _ in 0..2 {
        let records = Some(users(200).into_iter().map(|user| user.id).collect());
        rig.engine.sync(&"app".into(), SyncRequest { records, only: None }).await.unwrap();
        rig.pass(10 * SECOND).await;
    }
    let before = looks(&rig);
    for _ in 0..12 {
        let turn = looks(&rig);
        rig.pass(MINUTE).await;
        assert!(looks(&rig) - turn <= 32, "{}", looks(&rig) - turn);
    }
    assert!(looks(&rig) - before >= 200, "each has a turn: {}", looks(&rig) - before);
    rig.sync("app").await.unwrap();
    rig.rest().await;
    let before = looks(&rig);
    rig.pass(2 * DAY).await;
    assert_eq!(looks(&rig) - before, 0, "the listing settled it");
}
