//! What counts as a person's own leaving, and what as somebody's script: end dates to come, later
//! beginnings, clearer words, and words that are stale (L1, L4).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use rosterd::manifest::Documents;
use rosterd::model::account::AccountState;
use rosterd::model::plan::HoldKind;
use rosterd::model::role::Role;
use rosterd::model::target::Limits;
use rosterd::model::target::Schedule;
use rosterd::model::target::Target;
use rosterd::model::target::Window;
use rosterd::model::user::RoleHeld;
use rosterd::model::user::User;
use rosterd::model::user::Validity;

use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::target;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::rig::noon;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// In a day three may be taken away by inference, and fifty by their own documents.
fn app() -> Target {
    let window = |count| vec![Window { count: Some(count), percent: None, window: DAY }];
    let limits = Limits { narrow_inferred: window(3), narrow_explicit: window(50), ..Limits::none() };
    Target { limits, schedule: Some(Schedule::Every(Duration::from_mins(10))), ..target("app") }
}

/// A hundred users, some of them changed.
fn with(changed: std::ops::Range<usize>, change: impl Fn(&mut User)) -> Documents {
    let mut all = users(100);
    all[changed].iter_mut().for_each(change);
    documents(all, [app()])
}

fn until(hours: i64) -> impl Fn(&mut User) {
    move |user| user.valid = Validity { from: None, until: Some(noon() + TimeDelta::hours(hours)) }
}

fn from(hours: i64) -> impl Fn(&mut User) {
    move |user| user.valid = Validity { from: Some(noon() + TimeDelta::hours(hours)), until: None }
}

fn disabled(rig: &Rig) -> usize {
    rig.target("app").inside().accounts.values().filter(|account| account.state == AccountState::Disabled).count()
}

fn holds(rig: &Rig) -> BTreeMap<HoldKind, usize> {
    rig.status("app").holds.iter().map(|hold| (hold.limit, hold.changes.len())).collect()
}

fn inferred(count: usize) -> BTreeMap<HoldKind, usize> {
    [(HoldKind::NarrowInferred, count)].into()
}

#[tokio::test(start_paused = true)]
async fn an_end_date_that_one_load_gives_to_ten_is_inferred_when_it_comes_however_long_it_was_known() {
    let rig = Rig::started(with(0..0, until(0))).await;
    rig.declare(with(0..10, until(48))).await;
    rig.pass(47 * HOUR).await;
    assert_eq!((disabled(&rig), holds(&rig)), (0, BTreeMap::new()));
    rig.pass(2 * HOUR).await;
    assert_eq!((disabled(&rig), holds(&rig)), (0, inferred(10)));
    let rig = rig.restarted(with(0..10, until(48))).await;
    rig.pass(HOUR).await;
    assert_eq!((disabled(&rig), holds(&rig)), (0, inferred(10)), "after a restart too");
}

#[tokio::test(start_paused = true)]
async fn an_end_date_of_nine_is_their_own_and_so_is_one_that_users_came_with() {
    let rig = Rig::started(with(50..80, until(48))).await;
    rig.declare({
        let mut documents = with(50..80, until(48));
        for number in 0..9 {
            let user = User {
                valid: Validity { from: None, until: Some(noon() + TimeDelta::hours(48)) },
                ..users(10)[number].clone()
            };
            documents.users.insert(&user);
        }
        documents
    })
    .await;
    rig.pass(49 * HOUR).await;
    assert_eq!((disabled(&rig), holds(&rig)), (39, BTreeMap::new()));
}

#[tokio::test(start_paused = true)]
async fn an_end_date_of_many_that_is_moved_for_many_stays_one_of_many() {
    for moved in [30, 60] {
        let rig = Rig::started(with(0..0, until(0))).await;
        rig.declare(with(0..10, until(48))).await;
        rig.declare(with(0..10, until(moved))).await;
        rig.pass(61 * HOUR).await;
        assert_eq!((disabled(&rig), holds(&rig)), (0, inferred(10)), "moved to {moved} h");
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_many_who_is_switched_off_leaves_by_their_own_document() {
    let rig = Rig::started(with(0..0, until(0))).await;
    rig.declare(with(0..10, until(2))).await;
    rig.pass(3 * HOUR).await;
    assert_eq!((disabled(&rig), holds(&rig)), (0, inferred(10)));
    let mut documents = with(0..10, until(2));
    let leaver = User { active: false, ..users(1)[0].clone() };
    documents.users.insert(&leaver);
    rig.declare(documents.clone()).await;
    assert_eq!((disabled(&rig), holds(&rig)), (1, inferred(9)));
}

#[tokio::test(start_paused = true)]
async fn access_that_is_pushed_into_the_future_for_ten_is_inferred_and_for_nine_their_own() {
    for (count, expected) in [(9, (9, BTreeMap::new())), (10, (0, inferred(10)))] {
        let rig = Rig::started(with(0..0, from(0))).await;
        rig.declare(with(0..count, from(1_000))).await;
        assert_eq!((disabled(&rig), holds(&rig)), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_missing_first_and_switched_off_later_leaves_by_their_own_document() {
    let rig = Rig::started(with(0..0, until(0))).await;
    let without = |off: usize| {
        let mut documents = with(0..off, |user| user.active = false);
        (off..6).for_each(|number| assert!(documents.users.remove(&users(6)[number].id)));
        documents
    };
    rig.declare(without(0)).await;
    assert_eq!((disabled(&rig), holds(&rig)), (0, inferred(6)));
    rig.declare(without(2)).await;
    assert_eq!((disabled(&rig), holds(&rig)), (2, inferred(4)));
    let rig = rig.restarted(without(3)).await;
    rig.pass(HOUR).await;
    assert_eq!((disabled(&rig), holds(&rig)), (6, BTreeMap::new()), "three are left, and three a day may go");
}

#[tokio::test(start_paused = true)]
async fn a_script_that_switches_off_who_is_missing_is_no_clearer_word() {
    let rig = Rig::started(with(0..0, until(0))).await;
    let mut documents = with(0..0, until(0));
    (0..12).for_each(|number| assert!(documents.users.remove(&users(12)[number].id)));
    rig.declare(documents).await;
    assert_eq!((disabled(&rig), holds(&rig)), (0, inferred(12)));
    rig.declare(with(0..12, |user| user.active = false)).await;
    assert_eq!((disabled(&rig), holds(&rig)), (0, inferred(12)));
}

#[tokio::test(start_paused = true)]
async fn a_rules_loss_is_inferred_where_access_had_come_back_by_itself() {
    let rig = Rig::started(with(0..0, from(0))).await;
    rig.declare(with(0..6, from(2))).await;
    assert_eq!(disabled(&rig), 6, "six people's own documents");
    rig.pass(3 * HOUR).await;
    assert_eq!(disabled(&rig), 0, "their time has begun");
    let mut narrower = with(0..6, from(2));
    let mut app = app();
    app.scope.when = Some("user.id >= 'u-0006'".to_owned());
    narrower.targets = vec![Arc::new(app)];
    rig.declare(narrower).await;
    assert_eq!((disabled(&rig), holds(&rig)), (0, inferred(6)), "a rule did it this time");
}

#[tokio::test(start_paused = true)]
async fn a_load_whose_end_dates_take_too_much_away_later_is_held_as_one_that_takes_it_now() {
    let rig = Rig::started(with(0..0, until(0))).await;
    rig.declare(with(0..20, until(25))).await;
    assert_eq!(rig.engine.source().shrink, None);
    let rig = Rig::started(with(0..0, until(0))).await;
    rig.declare(with(0..21, until(25))).await;
    assert_eq!(rig.engine.source().shrink.map(|shrink| shrink.lost), Some(21));
    rig.pass(26 * HOUR).await;
    assert_eq!((disabled(&rig), holds(&rig)), (0, inferred(21)), "what the documents say on their own acts");
}

/// The same documents with a role `temp` that gives what `staff` gives.
fn with_temp(mut documents: Documents) -> Documents {
    let temp = Role { name: "temp".into(), ..Role::clone(&documents.roles[&"staff".into()]) };
    documents.roles.insert(temp.name.clone(), Arc::new(temp));
    documents
}

fn holding(role: &str, hours: i64) -> RoleHeld {
    RoleHeld { valid: Validity { from: None, until: Some(noon() + TimeDelta::hours(hours)) }, ..held(role) }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_one_load_swaps_for_one_with_an_end_is_inferred_for_ten_and_their_own_for_nine() {
    for (count, expected) in [(9, (9, BTreeMap::new())), (12, (0, inferred(12)))] {
        let rig = Rig::started(with_temp(with(0..0, until(0)))).await;
        rig.declare(with_temp(with(0..count, |user| user.roles = vec![holding("temp", 48)]))).await;
        rig.pass(47 * HOUR).await;
        assert_eq!((disabled(&rig), holds(&rig)), (0, BTreeMap::new()), "nothing is lost yet");
        rig.pass(2 * HOUR).await;
        assert_eq!((disabled(&rig), holds(&rig)), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_swap_for_a_role_with_an_end_counts_for_shrink_and_a_new_temporary_role_does_not() {
    let rig = Rig::started(with_temp(with(0..0, until(0)))).await;
    rig.declare(with_temp(with(0..30, |user| user.roles.extend([holding("temp", 25), holding("admin", 25)])))).await;
    assert_eq!(rig.engine.source().shrink, None);
    rig.pass(26 * HOUR).await;
    assert_eq!((disabled(&rig), holds(&rig)), (0, BTreeMap::new()), "what was given for a time ends by itself");
    let admins = rig.target("app").inside().accounts.values().filter(|account| !account.memberships.is_empty()).count();
    assert_eq!(admins, 0, "and does end");
    let rig = Rig::started(with_temp(with(0..0, until(0)))).await;
    rig.declare(with_temp(with(0..21, |user| user.roles = vec![holding("temp", 25)]))).await;
    assert_eq!(rig.engine.source().shrink.map(|shrink| shrink.lost), Some(21));
}

#[tokio::test(start_paused = true)]
async fn an_end_of_many_stays_one_under_another_role_and_another_record_id() {
    let first = with_temp(with(0..10, |user| user.roles = vec![holding("staff", 48)]));
    let swapped = with_temp(with(0..10, |user| user.roles = vec![holding("temp", 60)]));
    let renamed = with_temp(with(0..10, |user| {
        user.roles = vec![holding("staff", 48)];
        user.formerly = vec![user.id.clone()];
        user.id = format!("new-{}", user.id).as_str().into();
    }));
    for second in [swapped, renamed] {
        let rig = Rig::started(with_temp(with(0..0, until(0)))).await;
        rig.declare(first.clone()).await;
        rig.declare(second).await;
        rig.pass(61 * HOUR).await;
        assert_eq!((disabled(&rig), holds(&rig)), (0, inferred(10)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_harmless_counts_when_a_load_takes_away_what_outlasted_it() {
    let both = || with_temp(with(0..10, |user| user.roles = vec![held("staff"), holding("temp", 48)]));
    let dropped = with_temp(with(0..10, |user| user.roles = vec![holding("temp", 48)]));
    let mut before = with_temp(with(0..10, |user| user.roles = vec![held("other"), holding("temp", 48)]));
    let other = Role { name: "other".into(), ..Role::clone(&before.roles[&"staff".into()]) };
    let nothing = Role { grants: Vec::new(), ..other.clone() };
    before.roles.insert("other".into(), Arc::new(other));
    let mut emptied = before.clone();
    emptied.roles.insert("other".into(), Arc::new(nothing));
    for (first, second) in [(both(), dropped), (before, emptied)] {
        let rig = Rig::started(first).await;
        rig.declare(second).await;
        assert_eq!((disabled(&rig), holds(&rig)), (0, BTreeMap::new()), "nothing is lost yet");
        rig.pass(49 * HOUR).await;
        assert_eq!((disabled(&rig), holds(&rig)), (0, inferred(10)));
    }
}
