//! Two targets that turn out to be one system (L2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rosterd::engine::Running;
use rosterd::model::account::AccountState;
use rosterd::model::target::Mark;
use rosterd::model::target::MatchKey;
use rosterd::model::target::Target;

use crate::support::make::documents;
use crate::support::make::inactive;
use crate::support::make::path;
use crate::support::make::target;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::target::MemoryTarget;

/// The same system once more, in which accounts have other names.
fn copied() -> Target {
    let mut copy = target("copy");
    copy.account.mark = Mark::None;
    copy.account.match_keys = vec![MatchKey(vec![path("userName")])];
    let name = copy.account.user_name.clone();
    let value = rosterd::model::target::MappingValue::Template("{{ user.id }}".to_owned());
    copy.account.user_name = rosterd::model::target::Mapping { value, ..name };
    copy
}

/// One system behind both targets.
fn one_system() -> BTreeMap<rosterd::model::ids::TargetName, Arc<MemoryTarget>> {
    let system = Arc::new(MemoryTarget::default());
    BTreeMap::from([("app".into(), Arc::clone(&system)), ("copy".into(), system)])
}

async fn started(rig: Rig) -> Rig {
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    rig
}

#[tokio::test(start_paused = true)]
async fn two_targets_of_one_system_give_nobody_a_second_account() {
    let systems = one_system();
    let rig = started(Rig::over(documents(users(3), [target("app"), copied()]), systems.clone(), Arc::default())).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 3);
    let told: Vec<_> = ["app", "copy"].into_iter().filter_map(|name| rig.status(name).error).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("are one system") && told[0].contains("`partition`"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_target_that_had_accounts_goes_on_and_leavers_of_its_double_still_leave() {
    let systems = one_system();
    let rig = started(Rig::over(documents(users(3), [target("copy")]), systems, Arc::default())).await;
    assert_eq!(rig.target("copy").inside().accounts.len(), 3);
    // Which of the two is asked first is chance; which of them had accounts is not.
    let rig = rig.restarted(documents(users(4), [target("app"), target("copy")])).await;
    assert_eq!(rig.target("app").inside().accounts.len(), 4);
    assert!(rig.status("app").error.is_some_and(|error| error.contains("`app` gives nobody anything")));
    assert_eq!(rig.status("copy").error, None);
    let mut left = users(4);
    left[0] = inactive("u-0000");
    rig.source.set(Ok(documents(left, [target("app"), target("copy")])));
    rig.rest().await;
    let open = rig.target("app").inside().accounts.values().filter(|it| it.state == AccountState::Active).count();
    assert_eq!(open, 3);
}

/// L2: whoever's worker is replaced by that of an edited document keeps its claim.
#[tokio::test(start_paused = true)]
async fn a_double_gives_nothing_while_the_edited_document_of_the_other_is_not_let_in() {
    // One realm, which two doors lead to.
    let doors = ["app", "copy"].map(|name| (name.into(), Arc::new(MemoryTarget::default())));
    let rig = started(Rig::over(documents(users(3), [target("app"), copied()]), doors.into(), Arc::default())).await;
    let works = ["app", "copy"].into_iter().find(|name| rig.status(name).error.is_none()).unwrap();
    let halted = if works == "app" { "copy" } else { "app" };
    let made = |name: &str| rig.target(name).count("create");
    assert_eq!((made(works), made(halted)), (3, 0));
    rig.target(works).inside().shut = true;
    let edited = |mut target: Target| {
        if target.name.as_str() == works {
            target.limits.narrow_explicit.clear();
        }
        target
    };
    rig.declare(documents(users(4), [edited(target("app")), edited(copied())])).await;
    rig.pass(Duration::from_mins(5)).await;
    assert_eq!((made(works), made(halted)), (3, 0));
    rig.target(works).inside().shut = false;
    rig.pass(Duration::from_hours(1)).await;
    assert_eq!((made(works), made(halted)), (4, 0));
    // Once the document is gone, the other is alone there.
    let left = [target("app"), copied()].into_iter().filter(|target| target.name.as_str() == halted);
    rig.declare(documents(users(4), left)).await;
    rig.pass(Duration::from_mins(5)).await;
    assert_eq!(rig.status(halted).error, None);
}
