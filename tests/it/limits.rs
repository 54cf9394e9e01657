//! Limits by effect over time, in a whole engine: over cycles, restarts, renames and clocks that are
//! set (L4), and policies that only a person loosens (L11).

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use rosterd::connector::ErrorClass;
use rosterd::engine::Running;
use rosterd::manifest::Documents;
use rosterd::model::account::AccountState;
use rosterd::model::audit::AuditEvent;
use rosterd::model::decision::DecisionKind;
use rosterd::model::plan::HoldKind;
use rosterd::model::target::Freeze;
use rosterd::model::target::Limits;
use rosterd::model::target::Mode;
use rosterd::model::target::Schedule;
use rosterd::model::target::Target;
use rosterd::model::target::Window;
use rosterd::model::user::User;
use rosterd::model::user::Validity;

use crate::support::make::broken;
use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::inactive;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::make::users;
use crate::support::rig::Rig;
use crate::support::rig::noon;
use crate::support::target::Fault;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn count(count: u64, window: Duration) -> Vec<Window> {
    vec![Window { count: Some(count), percent: None, window }]
}

fn percent(percent: f64, window: Duration) -> Vec<Window> {
    vec![Window { count: None, percent: Some(percent), window }]
}

/// A target of these limits that is listed every ten minutes.
fn app(limits: Limits) -> Target {
    Target { limits, schedule: Some(Schedule::Every(Duration::from_mins(10))), ..target("app") }
}

fn accounts(rig: &Rig, state: AccountState) -> usize {
    rig.target("app").inside().accounts.values().filter(|account| account.state == state).count()
}

/// What is held now: the limit, and of whom.
fn holds(rig: &Rig) -> BTreeMap<HoldKind, usize> {
    rig.status("app").holds.iter().map(|hold| (hold.limit, hold.changes.len())).collect()
}

/// `app` without these users' access.
fn without(all: usize, gone: impl IntoIterator<Item = usize>, app: &Target) -> Documents {
    let mut users = users(all);
    gone.into_iter().for_each(|number| users[number].active = false);
    documents(users, [app.clone()])
}

async fn release(rig: &Rig, limit: HoldKind) {
    rig.release(limit).await;
}

#[tokio::test(start_paused = true)]
async fn a_window_holds_over_cycles_and_restarts_until_it_has_slid_past() {
    let app = app(Limits { widen: count(10, HOUR), ..Limits::none() });
    let rig = Rig::started(documents(users(6), [app.clone()])).await;
    rig.pass(Duration::from_mins(30)).await;
    rig.declare(documents(users(9), [app.clone()])).await;
    rig.declare(documents(users(12), [app.clone()])).await;
    assert_eq!(accounts(&rig, AccountState::Active), 9);
    assert_eq!(holds(&rig), [(HoldKind::Widen, 3)].into());
    assert!(rig.metrics.encode().contains(r#"rosterd_holds{limit="widen",target="app"} 3"#));
    let rig = rig.restarted(documents(users(12), [app.clone()])).await;
    rig.pass(Duration::from_mins(10)).await;
    assert_eq!((accounts(&rig, AccountState::Active), holds(&rig)), (9, [(HoldKind::Widen, 3)].into()));
    // The first six leave the window when their hour is over; nobody has to say a word.
    rig.pass(Duration::from_mins(31)).await;
    assert_eq!((accounts(&rig, AccountState::Active), holds(&rig)), (12, BTreeMap::new()));
}

#[tokio::test(start_paused = true)]
async fn a_leaver_who_is_disabled_twice_and_a_call_that_is_sent_again_count_once() {
    let app = app(Limits { narrow_explicit: count(2, DAY), ..Limits::none() });
    let rig = Rig::started(without(20, [], &app)).await;
    rig.target("app").inside().faults.push_back(Fault::Refuse(ErrorClass::Transient, None));
    rig.declare(without(20, [0], &app)).await;
    rig.pass(Duration::from_mins(5)).await;
    assert!(rig.target("app").count("disable") >= 2, "it was sent again");
    rig.declare(without(20, [], &app)).await;
    rig.declare(without(20, [0], &app)).await;
    rig.declare(without(20, [0, 1], &app)).await;
    assert_eq!((accounts(&rig, AccountState::Disabled), holds(&rig)), (2, BTreeMap::new()));
    rig.declare(without(20, [0, 1, 2], &app)).await;
    assert_eq!(holds(&rig), [(HoldKind::NarrowExplicit, 1)].into());
}

#[tokio::test(start_paused = true)]
async fn a_rename_makes_no_room_in_a_window() {
    let app = app(Limits { narrow_explicit: count(1, DAY), ..Limits::none() });
    let rig = Rig::started(without(20, [], &app)).await;
    rig.declare(without(20, [0], &app)).await;
    let renamed = |active: bool, others: &[usize]| {
        let mut documents = without(20, others.iter().copied(), &app);
        documents.users.remove(&"u-0000".into());
        let user = User { formerly: vec!["u-0000".into()], active, ..user("renamed") };
        documents.users.insert(&user);
        documents
    };
    // The same account comes and goes under its new record id: that is the one already counted.
    rig.declare(renamed(true, &[])).await;
    rig.declare(renamed(false, &[])).await;
    assert_eq!((accounts(&rig, AccountState::Disabled), holds(&rig)), (1, BTreeMap::new()));
    rig.declare(renamed(false, &[1])).await;
    assert_eq!((accounts(&rig, AccountState::Disabled), holds(&rig)), (1, [(HoldKind::NarrowExplicit, 1)].into()));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_and_believed_empties_no_window_even_after_a_restart() {
    let app = app(Limits { narrow_explicit: count(2, DAY), ..Limits::none() });
    let rig = Rig::started(without(20, [], &app)).await;
    rig.declare(without(20, [0, 1], &app)).await;
    assert_eq!(accounts(&rig, AccountState::Disabled), 2);
    rig.clock.step(TimeDelta::days(30));
    rig.pass(Duration::from_mins(2)).await;
    rig.engine.trust_clock(trust(&rig)).await.unwrap();
    rig.pass(Duration::from_mins(30)).await;
    rig.declare(without(20, [0, 1, 2], &app)).await;
    let held = BTreeMap::from([(HoldKind::NarrowExplicit, 1)]);
    assert_eq!((accounts(&rig, AccountState::Disabled), holds(&rig)), (2, held.clone()));
    let rig = rig.restarted(without(20, [0, 1, 2], &app)).await;
    rig.pass(Duration::from_mins(30)).await;
    assert_eq!((accounts(&rig, AccountState::Disabled), holds(&rig)), (2, held));
    // A day that really passes is another matter.
    rig.pass(DAY).await;
    assert_eq!((accounts(&rig, AccountState::Disabled), holds(&rig)), (3, BTreeMap::new()));
}

fn trust(rig: &Rig) -> AuditEvent {
    AuditEvent {
        at: rig.now(),
        target: None,
        kind: "trust-clock".to_owned(),
        actor: "local".to_owned(),
        record: None,
        cycle: None,
        details: BTreeMap::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_is_of_what_was_owned_when_the_window_began() {
    let app = app(Limits { narrow_explicit: percent(10.0, DAY), ..Limits::none() });
    let rig = Rig::started(without(40, [], &app)).await;
    rig.pass(DAY + HOUR).await;
    rig.declare(without(120, [], &app)).await;
    rig.declare(without(120, 0..9, &app)).await;
    assert_eq!(holds(&rig), [(HoldKind::NarrowExplicit, 9)].into(), "a tenth of the forty of yesterday is four");
    rig.pass(DAY + HOUR).await;
    assert_eq!((accounts(&rig, AccountState::Disabled), holds(&rig)), (9, BTreeMap::new()));
}

#[tokio::test(start_paused = true)]
async fn a_release_is_for_the_set_that_was_shown_and_no_other() {
    let app = app(Limits { widen: count(5, HOUR), ..Limits::none() });
    let rig = Rig::started(documents(users(5), [app.clone()])).await;
    rig.declare(documents(users(8), [app.clone()])).await;
    let shown = rig.status("app").holds[0].digest.clone();
    rig.declare(documents(users(9), [app.clone()])).await;
    assert_eq!(holds(&rig), [(HoldKind::Widen, 4)].into());
    let stale = rig.engine.decide(rig.decision(DecisionKind::Release, Some(shown))).await.unwrap_err();
    assert!(stale.to_string().contains("rosterd holds list"), "{stale}");
    assert_eq!(accounts(&rig, AccountState::Active), 5);
    release(&rig, HoldKind::Widen).await;
    assert_eq!((accounts(&rig, AccountState::Active), holds(&rig)), (9, BTreeMap::new()));
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn privileged_grants_are_counted_apart_and_everything_else_goes_on() {
    let app = app(Limits { privileged: count(2, DAY), ..Limits::none() });
    let with_admins = |admins: usize, all: usize| {
        let mut users = users(all);
        users.iter_mut().take(admins).for_each(|user| user.roles.push(held("admin")));
        documents(users, [app.clone()])
    };
    let rig = Rig::started(with_admins(2, 20)).await;
    rig.declare(with_admins(4, 25)).await;
    assert_eq!(holds(&rig), [(HoldKind::Privileged, 2)].into());
    assert_eq!(accounts(&rig, AccountState::Active), 25);
    release(&rig, HoldKind::Privileged).await;
    assert_eq!(holds(&rig), BTreeMap::new());
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn seats_are_given_in_plan_order_and_free_again_when_somebody_leaves() {
    let app = app(Limits { seats: Some(10), ..Limits::none() });
    let rig = Rig::started(documents(users(8), [app.clone()])).await;
    rig.declare(documents(users(13), [app.clone()])).await;
    assert_eq!((accounts(&rig, AccountState::Active), holds(&rig)), (10, [(HoldKind::Seats, 3)].into()));
    assert!(rig.target("app").by_name("u-0009@acme.example").is_some());
    rig.declare(without(13, [0, 1], &app)).await;
    rig.pass(Duration::from_mins(11)).await;
    assert_eq!((accounts(&rig, AccountState::Active), holds(&rig)), (10, [(HoldKind::Seats, 1)].into()));
    assert!(rig.target("app").by_name("u-0011@acme.example").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_mapping_that_rewrites_everybody_is_held_and_one_user_passes() {
    let app = app(Limits { update: percent(50.0, HOUR), ..Limits::none() });
    let renamed = |count: usize| {
        let mut users = users(20);
        users.iter_mut().take(count).for_each(|user| user.given_name = Some("Other".to_owned()));
        documents(users, [app.clone()])
    };
    let rig = Rig::started(renamed(0)).await;
    rig.declare(renamed(1)).await;
    assert_eq!((rig.target("app").count("update"), holds(&rig)), (1, BTreeMap::new()));
    rig.declare(renamed(20)).await;
    assert_eq!((rig.target("app").count("update"), holds(&rig)), (1, [(HoldKind::Update, 19)].into()));
}

#[tokio::test(start_paused = true)]
async fn a_freeze_lets_removals_through_and_goes_on_by_itself() {
    let begins = Schedule::Cron { cron: "0 14 * * *".to_owned(), time_zone: "UTC".to_owned() };
    let app = Target { freeze: vec![Freeze { begins, lasts: 2 * HOUR }], ..target("app") };
    let rig = Rig::started(documents(users(10), [app.clone()])).await;
    rig.pass(2 * HOUR).await;
    let mut next = users(12);
    next[0].active = false;
    next[1].given_name = Some("Other".to_owned());
    rig.declare(documents(next, [app])).await;
    assert_eq!((rig.target("app").count("disable"), rig.target("app").count("create")), (1, 10));
    assert_eq!(holds(&rig), [(HoldKind::Freeze, 3)].into());
    let digest = rig.status("app").holds[0].digest.clone();
    let refused = rig.engine.decide(rig.decision(DecisionKind::Release, Some(digest))).await.unwrap_err();
    assert!(refused.to_string().contains("ends by itself"), "{refused}");
    rig.pass(Duration::from_secs(2 * 3_600 - 2)).await;
    assert_eq!(rig.target("app").count("create"), 10);
    rig.pass(Duration::from_secs(2)).await;
    assert_eq!((rig.target("app").count("create"), holds(&rig)), (12, BTreeMap::new()));
    rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_when_a_freeze_begins_is_held_and_nobody_waits_for_it() {
    let begins = Schedule::Cron { cron: "1 12 * * *".to_owned(), time_zone: "UTC".to_owned() };
    let mut app = Target { freeze: vec![Freeze { begins, lasts: 2 * HOUR }], ..target("app") };
    app.limits.concurrency = 1;
    let rig = Rig::new(documents(users(100), [app]));
    rig.target("app").inside().latency = Duration::from_secs(1);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(Duration::from_mins(10)).await;
    let made = accounts(&rig, AccountState::Active);
    assert!((40..60).contains(&made), "{made}");
    assert_eq!(holds(&rig), [(HoldKind::Freeze, 100 - made)].into());
    assert_eq!(rig.status("app").waiting, 0);
    rig.pass(2 * HOUR).await;
    assert_eq!((accounts(&rig, AccountState::Active), holds(&rig)), (100, BTreeMap::new()));
}

#[tokio::test(start_paused = true)]
async fn an_end_date_known_for_a_day_is_outside_percentages_and_one_set_today_is_not() {
    let app = app(Limits { narrow_explicit: percent(10.0, DAY), ..Limits::none() });
    let ending = |long: std::ops::Range<usize>, short: std::ops::Range<usize>| {
        let mut users = users(40);
        let until = |hours| Validity { from: None, until: Some(noon() + TimeDelta::hours(hours)) };
        users[long].iter_mut().for_each(|user| user.valid = until(30));
        users[short].iter_mut().for_each(|user| user.valid = until(31));
        documents(users, [app.clone()])
    };
    let rig = Rig::started(ending(0..12, 0..0)).await;
    rig.pass(20 * HOUR).await;
    // Nine, so that they are the people's own: ten at once would be somebody's script.
    rig.declare(ending(0..12, 20..29)).await;
    rig.pass(10 * HOUR + Duration::from_mins(1)).await;
    assert_eq!((accounts(&rig, AccountState::Disabled), holds(&rig)), (12, BTreeMap::new()));
    rig.pass(HOUR).await;
    assert_eq!((accounts(&rig, AccountState::Disabled), holds(&rig)), (12, [(HoldKind::NarrowExplicit, 9)].into()));
}

#[tokio::test(start_paused = true)]
async fn a_looser_policy_waits_for_a_person_and_a_stricter_one_acts_at_once() {
    let with = |widen: u64, protected: &[&str]| {
        let mut app = app(Limits { widen: count(widen, HOUR), ..Limits::none() });
        app.account.protected = protected.iter().map(|name| (*name).to_owned()).collect();
        app
    };
    let rig = Rig::started(documents(users(3), [with(5, &["root*"])])).await;
    rig.declare(documents(users(10), [with(50, &[])])).await;
    assert_eq!(accounts(&rig, AccountState::Active), 3);
    assert_eq!(holds(&rig), [(HoldKind::Widen, 7), (HoldKind::Loosen, 0)].into());
    assert!(rig.metrics.encode().contains(r#"rosterd_holds{limit="loosen",target="app"} 1"#));
    let reason = rig.status("app").holds.into_iter().find(|hold| hold.limit == HoldKind::Loosen).unwrap().reason;
    assert!(reason.contains("`limits.widen` from 5 in 1h to 50 in 1h") && reason.contains("`root*`"), "{reason}");
    // A restart forgets nothing.
    let rig = rig.restarted(documents(users(10), [with(50, &[])])).await;
    assert_eq!(holds(&rig), [(HoldKind::Widen, 7), (HoldKind::Loosen, 0)].into());
    release(&rig, HoldKind::Loosen).await;
    assert_eq!((accounts(&rig, AccountState::Active), holds(&rig)), (10, BTreeMap::new()));
    // Tightened at once; and the old word is good for no second loosening.
    rig.declare(documents(users(20), [with(5, &["root*"])])).await;
    assert_eq!(holds(&rig), [(HoldKind::Widen, 10)].into());
    rig.declare(documents(users(20), [with(50, &[])])).await;
    assert_eq!(holds(&rig), [(HoldKind::Widen, 10), (HoldKind::Loosen, 0)].into());
}

#[tokio::test(start_paused = true)]
async fn a_looser_policy_released_while_loads_are_refused_is_recorded_with_the_first_sound_one() {
    let with = |widen| documents(users(3), [app(Limits { widen: count(widen, HOUR), ..Limits::none() })]);
    let rig = Rig::started(with(5)).await;
    rig.declare(with(50)).await;
    rig.declare(broken(with(50))).await;
    release(&rig, HoldKind::Loosen).await;
    let rig = rig.restarted(broken(with(50))).await;
    rig.declare(with(50)).await;
    assert_eq!(holds(&rig), BTreeMap::new());
    rig.declare(with(5)).await;
    rig.declare(with(50)).await;
    assert_eq!(holds(&rig), [(HoldKind::Loosen, 0)].into(), "the old word is good for no second loosening");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_was_observed_writes_only_after_a_person_agrees() {
    let with = |mode| Target { mode, ..app(Limits::none()) };
    let rig = Rig::started(documents(users(3), [with(Mode::Observe)])).await;
    rig.declare(documents(users(3), [with(Mode::Enforce)])).await;
    assert_eq!((rig.target("app").count("create"), rig.status("app").mode), (0, Mode::Observe));
    release(&rig, HoldKind::Loosen).await;
    assert_eq!((rig.target("app").count("create"), rig.status("app").mode), (3, Mode::Enforce));
    rig.declare(documents(users(4), [with(Mode::Observe)])).await;
    assert_eq!((rig.target("app").count("create"), rig.status("app").mode), (3, Mode::Observe), "back at once");
}

#[tokio::test(start_paused = true)]
async fn every_changed_target_document_leaves_an_audit_event() {
    let rig = Rig::started(documents(users(1), [app(Limits::none())])).await;
    let told = |rig: &Rig| {
        let inside = rig.store.open();
        let events = inside.events.iter().filter(|event| event.kind == "target");
        events.map(|event| event.details["changed"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(told(&rig).len(), 1, "the first one");
    rig.declare(documents([user("u-0000"), inactive("other")], [app(Limits::none())])).await;
    assert_eq!(told(&rig).len(), 1, "users are no target");
    let mut next = app(Limits { widen: count(5, HOUR), ..Limits::none() });
    next.account.updates = false;
    rig.declare(documents(users(1), [next])).await;
    assert_eq!(told(&rig)[1], r#"["account","limits"]"#);
    rig.declare(documents(users(1), [])).await;
    assert_eq!(told(&rig).len(), 3, "taking it out is a change");
}

#[tokio::test(start_paused = true)]
async fn a_rules_loss_stays_inferred_where_an_old_edit_once_took_the_same_away() {
    let app = app(Limits { narrow_inferred: count(3, DAY), ..Limits::none() });
    let rig = Rig::started(without(40, [], &app)).await;
    rig.declare(without(40, 0..6, &app)).await;
    assert_eq!(accounts(&rig, AccountState::Disabled), 6, "six people's own documents");
    // They come back while the target is away, so that no load sees them gain anything.
    rig.declare(Documents { targets: Vec::new(), ..without(40, 0..6, &app) }).await;
    rig.declare(Documents { targets: Vec::new(), ..without(40, [], &app) }).await;
    rig.declare(without(40, [], &app)).await;
    assert_eq!(accounts(&rig, AccountState::Disabled), 0);
    let mut narrower = app.clone();
    narrower.scope.when = Some("user.id >= 'u-0006'".to_owned());
    rig.declare(without(40, [], &narrower)).await;
    assert_eq!(holds(&rig), [(HoldKind::NarrowInferred, 6)].into(), "a rule did it this time");
}

#[tokio::test(start_paused = true)]
async fn a_plan_for_later_is_judged_by_the_windows_and_freezes_of_then() {
    let begins = Schedule::Cron { cron: "0 20 * * *".to_owned(), time_zone: "UTC".to_owned() };
    let mut app = app(Limits { widen: count(5, HOUR), narrow_explicit: percent(10.0, DAY), ..Limits::none() });
    app.freeze = vec![Freeze { begins, lasts: 2 * HOUR }];
    let rig = Rig::started(documents(users(5), [app.clone()])).await;
    let mut more = users(7);
    let end = Validity { from: None, until: Some(noon() + TimeDelta::hours(30)) };
    more[..4].iter_mut().for_each(|user| user.valid = end);
    rig.declare(documents(more, [app])).await;
    let at = async |hours| {
        let plan = rig.engine.plan_at(&"app".into(), None, None, noon() + TimeDelta::hours(hours)).await.unwrap();
        let held: BTreeMap<_, _> = plan.holds.iter().map(|hold| (hold.limit, hold.changes.len())).collect();
        (plan.changes.len(), held)
    };
    assert_eq!(holds(&rig), [(HoldKind::Widen, 2)].into());
    assert_eq!(at(3).await, (2, BTreeMap::new()), "the window has slid past");
    assert_eq!(at(9).await, (0, [(HoldKind::Freeze, 2)].into()), "during the freeze");
    assert_eq!(at(31).await, (6, BTreeMap::new()), "by then the end dates were known for a day");
}
