//! Limits on everything but narrowing, each by itself; and random plans against all of them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use proptest::prelude::*;
use rosterd::model::account::Membership;
use rosterd::model::change::Action;
use rosterd::model::change::Cause;
use rosterd::model::change::Change;
use rosterd::model::change::Effect;
use rosterd::model::change::EntitlementChange;
use rosterd::model::change::FieldChange;
use rosterd::model::link::Space;
use rosterd::model::list::List;
use rosterd::model::path::AttributePath;
use rosterd::model::plan::Coverage;
use rosterd::model::plan::HoldKind;
use rosterd::model::plan::Plan;
use rosterd::model::plan::Quiet;
use rosterd::model::tally::Counter;
use rosterd::model::tally::Thing;
use rosterd::model::tally::counted;
use rosterd::model::target::Limits;
use rosterd::model::target::Mode;
use rosterd::model::target::Window;

use crate::golden::guards::Given;
use crate::golden::guards::now;
use crate::golden::guards::words;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn change(number: usize, action: Action) -> Change {
    let effect = match action {
        Action::Create | Action::Adopt | Action::Reactivate | Action::Restore => Effect::Widens,
        Action::Update => Effect::Neutral,
        Action::Narrow | Action::Disable | Action::Delete => Effect::Narrows,
    };
    Change {
        record: format!("u-{number:04}").as_str().into(),
        account: (action != Action::Create).then(|| format!("a-{number:04}").as_str().into()),
        action,
        effect,
        cause: (effect == Effect::Narrows).then_some(Cause::Explicit),
        fields: List::default(),
        grant: List::default(),
        revoke: List::default(),
        active: None,
        reason: "".into(),
        origins: List::default(),
    }
}

fn granting(number: usize, privileged: bool) -> Change {
    let entitlement = EntitlementChange {
        name: Some("admin".into()),
        membership: Membership::Group("g-admin".to_owned()),
        privileged,
        origins: List::default(),
    };
    Change { effect: Effect::Widens, grant: vec![entitlement].into(), ..change(number, Action::Update) }
}

fn clearing(number: usize, path: &str) -> Change {
    let field = FieldChange {
        path: AttributePath::parse(path).unwrap(),
        before: Some("x".into()),
        after: None,
        personal: false,
        sensitive: false,
        origins: List::default(),
    };
    Change { fields: vec![field].into(), ..change(number, Action::Update) }
}

fn plan(changes: impl IntoIterator<Item = Change>) -> Plan {
    let mut changes: Vec<_> = changes.into_iter().collect();
    changes.sort_by(rosterd::plan::order::compare);
    Plan {
        space: Space { target: "crm".into(), environment: "test".into(), realm: "crm.example".into() },
        mode: Mode::Enforce,
        coverage: Coverage::Keyed,
        changes,
        skips: Vec::new(),
        quiet: Quiet::default(),
        unmanaged: Vec::new(),
        accounts: BTreeMap::new(),
        holds: Vec::new(),
        administrators: None,
    }
}

fn many(count: usize, action: Action) -> impl Iterator<Item = Change> {
    (0..count).map(move |number| change(number, action))
}

fn held(given: &Given, changes: impl IntoIterator<Item = Change>) -> BTreeMap<HoldKind, usize> {
    let mut held = BTreeMap::new();
    for hold in given.judge(plan(changes)).holds {
        *held.entry(hold.limit).or_default() += hold.changes.len();
    }
    held
}

#[test]
fn five_hundred_in_an_hour_are_given_and_one_more_holds_all() {
    let given = Given::owned(10_000);
    assert!(held(&given, many(500, Action::Create)).is_empty());
    assert_eq!(held(&given, many(501, Action::Create)), [(HoldKind::Widen, 501)].into());
    assert_eq!(held(&given, many(501, Action::Reactivate)), [(HoldKind::Widen, 501)].into());
    assert_eq!(held(&given, (0..501).map(|number| granting(number, false))), [(HoldKind::Widen, 501)].into());
    let earlier = Given::owned(10_000).used(&Counter::Widen, 400, HOUR);
    assert_eq!(held(&earlier, many(101, Action::Create)), [(HoldKind::Widen, 101)].into());
    assert!(held(&earlier, many(100, Action::Create)).is_empty());
}

#[test]
fn adoptions_have_a_window_of_their_own_and_creations_go_on() {
    let given = Given::owned(1_000);
    let mixed = |adopted| many(adopted, Action::Adopt).chain((500..530).map(|number| change(number, Action::Create)));
    assert!(held(&given, mixed(20)).is_empty());
    assert_eq!(held(&given, mixed(21)), [(HoldKind::Adopt, 21)].into());
    assert_eq!(given.judge(plan(mixed(21))).changes.len(), 30);
}

#[test]
fn the_third_privileged_grant_of_a_day_holds_the_grants_and_nothing_else() {
    let given = Given::owned(1_000);
    let grants = |privileged| (0..privileged).map(|number| granting(number, true)).chain([granting(9, false)]);
    assert!(held(&given, grants(2)).is_empty());
    assert_eq!(held(&given, grants(3)), [(HoldKind::Privileged, 3)].into());
    let one_before = Given::owned(1_000).used(&Counter::Privileged, 1, DAY);
    assert_eq!(held(&one_before, grants(2)), [(HoldKind::Privileged, 2)].into());
}

#[test]
fn updates_of_more_than_half_are_held_and_narrowing_passes() {
    let given = Given::owned(100);
    let updates = |count| many(count, Action::Update).chain([change(900, Action::Disable)]);
    assert!(held(&given, updates(50)).is_empty());
    assert_eq!(held(&given, updates(51)), [(HoldKind::Update, 51)].into());
    assert_eq!(given.judge(plan(updates(51))).changes, [change(900, Action::Disable)]);
    let earlier = Given::owned(100).used(&Counter::Update, 30, HOUR);
    assert_eq!(held(&earlier, updates(21)), [(HoldKind::Update, 21)].into());
}

#[test]
fn one_attribute_cleared_on_six_accounts_is_held_and_another_is_not() {
    let given = Given::owned(1_000);
    let titles = |count| (0..count).map(|number| clearing(number, "title"));
    let zones = (100..105).map(|number| clearing(number, "timezone"));
    assert!(held(&given, titles(5).chain(zones.clone())).is_empty());
    assert_eq!(held(&given, titles(6).chain(zones.clone())), [(HoldKind::Clear, 6)].into());
    assert_eq!(given.judge(plan(titles(6).chain(zones))).changes.len(), 5);
    let title = Counter::Clear(AttributePath::parse("title").unwrap());
    let earlier = Given::owned(1_000).used(&title, 3, HOUR);
    assert_eq!(held(&earlier, titles(3)), [(HoldKind::Clear, 3)].into());
}

#[test]
fn one_attribute_cleared_for_one_person_is_no_wave_whatever_else_is_written() {
    let share = Window { count: None, percent: Some(10.0), window: Duration::from_hours(24) };
    let given = Given { limits: Limits { clear: vec![share], ..Limits::none() }, ..Given::owned(3) };
    let others = || (5..8).map(|number| granting(number, false));
    assert!(held(&given, others().chain([clearing(1, "title")])).is_empty());
    assert_eq!(
        held(&given, others().chain([1, 2].map(|number| clearing(number, "title")))),
        [(HoldKind::Clear, 2)].into()
    );
}

#[test]
fn shares_of_what_is_owned_are_asked_for_where_a_change_is_judged_by_them() {
    let hours = |hours: u64, percent| Window { count: Some(9), percent, window: Duration::from_hours(hours) };
    let limits = Limits {
        clear: vec![hours(1, Some(5.0)), hours(2, None)],
        update: vec![hours(3, Some(5.0))],
        widen: vec![hours(4, Some(5.0))],
        ..Limits::none()
    };
    let asked = |changes: &[Change]| -> Vec<u64> {
        rosterd::plan::shares(changes, &limits).into_iter().map(|window| window.as_secs() / 3_600).collect()
    };
    assert_eq!(asked(&[clearing(1, "title"), granting(2, false)]), [1, 3, 4]);
    assert_eq!(asked(&[granting(2, false)]), [4]);
    assert_eq!(asked(&[]), [0_u64; 0]);
}

#[test]
fn each_deletion_needs_a_person_and_the_sixth_of_a_day_another_word() {
    let given = Given::owned(1_000);
    let first = given.judge(plan(many(6, Action::Delete)));
    assert_eq!(first.holds.len(), 6, "one for each user");
    assert!(first.holds.iter().all(|hold| hold.limit == HoldKind::Delete && hold.changes.len() == 1));
    let words = words(&first);
    let mut released = Given { released: words[..5].to_vec(), ..given };
    let second = released.judge(plan(many(6, Action::Delete)));
    assert_eq!((second.changes.len(), second.holds.len()), (5, 1));
    released.released = words;
    let third = released.judge(plan(many(6, Action::Delete)));
    assert_eq!((third.changes.len(), third.holds.len(), third.holds[0].changes.len()), (0, 1, 6), "the day has five");
}

#[test]
fn creations_are_cut_off_where_seats_end_in_plan_order_and_everything_else_goes_on() {
    let seats = |seats_taken| Given {
        limits: Limits { seats: Some(10), ..Limits::default() },
        seats_taken,
        ..Given::owned(1_000)
    };
    let changes = || many(5, Action::Create).chain([change(7, Action::Reactivate), change(8, Action::Update)]);
    assert!(held(&seats(4), changes()).is_empty());
    let cut = seats(7).judge(plan(changes()));
    assert_eq!(cut.holds.len(), 1);
    let records: Vec<_> = cut.holds[0].changes.iter().map(|change| change.record.as_str()).collect();
    assert_eq!((cut.holds[0].limit, records), (HoldKind::Seats, vec!["u-0002", "u-0003", "u-0004"]));
    assert_eq!(cut.changes.len(), 4);
    assert_eq!(held(&seats(11), changes()), [(HoldKind::Seats, 5)].into(), "nobody is put out either");
}

#[test]
fn a_freeze_holds_everything_but_narrowing_until_it_ends() {
    let until = now() + TimeDelta::hours(3);
    let frozen = Given { frozen: Some(until), ..Given::owned(1_000) };
    let changes = [change(1, Action::Create), change(2, Action::Update), change(3, Action::Disable)];
    let plan = frozen.judge(plan(changes));
    assert_eq!(plan.changes, [change(3, Action::Disable)]);
    assert_eq!(plan.holds.len(), 1);
    assert_eq!(plan.holds[0].limit, HoldKind::Freeze);
    assert!(plan.holds[0].reason.contains(&until.format("%Y-%m-%dT%H:%M:%SZ").to_string()), "{}", plan.holds[0].reason);
}

#[test]
fn an_end_date_known_for_a_day_is_outside_percentages_and_inside_counts() {
    let leavers = || many(40, Action::Disable);
    let dated = || leavers().map(|change| change.record).collect::<BTreeSet<_>>();
    assert_eq!(held(&Given::owned(100), leavers()), [(HoldKind::NarrowExplicit, 40)].into());
    assert!(held(&Given { dated: dated(), ..Given::owned(100) }, leavers()).is_empty());
    let window = Window { count: Some(30), percent: None, window: DAY };
    let limits = Limits { narrow_explicit: vec![window], ..Limits::default() };
    let counted = Given { dated: dated(), limits, ..Given::owned(100) };
    assert_eq!(held(&counted, leavers()), [(HoldKind::NarrowExplicit, 40)].into());
}

#[test]
fn what_is_sent_again_counts_once() {
    let mut given = Given::owned(100);
    for change in many(10, Action::Disable) {
        let inferred = Change { cause: Some(Cause::Inferred), ..change };
        given
            .tally
            .extend(counted(&inferred, false).into_iter().map(|(counter, thing)| (counter, thing, now() - HOUR)));
    }
    let again = |count| many(count, Action::Disable).map(|change| Change { cause: Some(Cause::Inferred), ..change });
    assert!(held(&given, again(10)).is_empty(), "all of them were recorded within the window");
    assert_eq!(held(&given, again(11)), [(HoldKind::NarrowInferred, 11)].into());
}

/// Some change of one of few users, so that they meet.
fn some_change() -> impl Strategy<Value = Change> {
    let actions = vec![Action::Create, Action::Adopt, Action::Reactivate, Action::Disable, Action::Update];
    (0_usize..12, prop::sample::select(actions), any::<bool>(), 0_u8..4).prop_map(
        |(number, action, inferred, extra)| {
            let mut made = match (action, extra) {
                (Action::Update, 0) => granting(number, true),
                (Action::Update, 1) => granting(number, false),
                (Action::Update, 2) => clearing(number, "title"),
                _ => change(number, action),
            };
            if inferred && made.cause.is_some() {
                made.cause = Some(Cause::Inferred);
            }
            made
        },
    )
}

proptest! {
    /// Rounds of random plans, every change let through recorded at once, time passing between them.
    #[test]
    fn no_window_ever_holds_more_than_its_limit(
        rounds in prop::collection::vec((prop::collection::vec(some_change(), 0..8), 0_u64..90), 1..12),
        most in 0_u64..5,
        waiting in prop::collection::vec(some_change(), 0..3),
    ) {
        let window = Window { count: Some(most), percent: None, window: HOUR };
        let every = || vec![window];
        let limits = Limits {
            narrow_inferred: every(), narrow_explicit: every(), widen: every(), adopt: every(), privileged: every(),
            update: every(), clear: every(), delete: every(), ..Limits::none()
        };
        let mut given = Given { limits, ..Given::owned(0) };
        given.waiting = waiting.iter().flat_map(|change| counted(change, false)).collect();
        let waits = |counter: &Counter| given.waiting.iter().filter(|(of, _)| of == counter).count() as u64;
        if given.waiting.iter().any(|(counter, _)| waits(counter) > most) {
            // Nobody let so much through.
            given.waiting.clear();
        }
        let title = AttributePath::parse("title").unwrap();
        let mut recorded: Vec<(Counter, Thing, i64)> = Vec::new();
        let mut minute = 0;
        for (changes, passes) in rounds {
            minute += i64::try_from(passes).unwrap();
            // `Given` judges at one moment: what was recorded moves away from it instead.
            given.tally = recorded
                .iter()
                .map(|(counter, thing, at)| (counter.clone(), thing.clone(), now() - TimeDelta::minutes(minute - at)))
                .collect();
            let unique: BTreeMap<_, _> = changes.into_iter().map(|change| ((change.record.clone(), change.effect), change)).collect();
            let through = given.judge(plan(unique.into_values())).changes;
            recorded.extend(through.iter().flat_map(|change| counted(change, false)).map(|(counter, thing)| (counter, thing, minute)));
            let counters = [Counter::NarrowInferred, Counter::NarrowExplicit, Counter::Widen, Counter::Adopt,
                Counter::Privileged, Counter::Update, Counter::Clear(title.clone())];
            for counter in counters {
                let inside: BTreeSet<&Thing> = recorded
                    .iter()
                    .filter(|(of, _, at)| *of == counter && minute - at <= 60)
                    .map(|(_, thing, _)| thing)
                    .collect();
                prop_assert!(inside.len() as u64 <= most, "{counter:?}: {inside:?}");
            }
        }
    }
}
