//! Limits on narrowing, and first contact. The other limits stand in `limits`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use rosterd::model::administrators::Census;
use rosterd::model::change::Action;
use rosterd::model::change::Cause;
use rosterd::model::change::Effect;
use rosterd::model::ids::Digest;
use rosterd::model::ids::RecordId;
use rosterd::model::link::Space;
use rosterd::model::origin::Origin;
use rosterd::model::plan::HoldKind;
use rosterd::model::plan::Plan;
use rosterd::model::tally::Counter;
use rosterd::model::tally::Tally;
use rosterd::model::tally::Thing;
use rosterd::model::target::Limits;
use rosterd::plan::Guards;
use rosterd::plan::guard;

use crate::golden::case::Case;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A plan that disables so many users by inference and so many explicitly, and creates one.
pub(super) fn plan(inferred: usize, explicit: usize) -> Plan {
    let mut case = String::from("users:\n  u-new: { values: { userName: new@acme.example } }\n");
    let mut links = String::from("links:\n");
    let mut accounts = String::from("[]");
    for number in 0..inferred + explicit {
        let reason = if number < inferred { "not-granted" } else { "inactive" };
        writeln!(case, "  u-{number}: {{ none: {reason} }}").unwrap();
        writeln!(links, "  u-{number}: {{ account: a-{number} }}").unwrap();
        if number == 0 {
            accounts.clear();
        }
        writeln!(accounts, "- {{ id: a-{number}, values: {{ userName: name-{number} }} }}").unwrap();
    }
    if inferred + explicit > 0 {
        case.push_str(&links);
    }
    Case::from_text(&case, &accounts).world().planned().plan
}

/// Now, in every test of this file.
pub(super) fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
}

/// What a plan is judged by, unless a test says otherwise: default limits, nothing done yet.
pub(super) struct Given {
    pub(super) owned: u64,
    pub(super) tally: Tally,
    pub(super) waiting: BTreeSet<(Counter, Thing)>,
    pub(super) released: Vec<BTreeSet<Digest>>,
    pub(super) dated: BTreeSet<RecordId>,
    pub(super) seats_taken: u64,
    pub(super) frozen: Option<DateTime<Utc>>,
    pub(super) unattended: bool,
    pub(super) first_contact: bool,
    pub(super) enforced: BTreeSet<Digest>,
    pub(super) limits: Limits,
}

impl Given {
    pub(super) fn owned(owned: u64) -> Self {
        Self {
            owned,
            tally: Tally::default(),
            waiting: BTreeSet::new(),
            released: Vec::new(),
            dated: BTreeSet::new(),
            seats_taken: 0,
            frozen: None,
            unattended: false,
            first_contact: false,
            enforced: BTreeSet::new(),
            limits: Limits::default(),
        }
    }

    /// So many other things were counted, so long ago.
    pub(super) fn used(mut self, counter: &Counter, count: u64, ago: Duration) -> Self {
        let at = now() - ago;
        self.tally.extend((0..count).map(|number| (counter.clone(), Thing::new(format!("other {number}")), at)));
        self
    }

    pub(super) fn judge(&self, plan: Plan) -> Plan {
        let guards = Guards {
            first_contact: self.first_contact,
            enforced: &self.enforced,
            released: &self.released,
            tally: &self.tally,
            waiting: &self.waiting,
            admitted: &|_| false,
            dated: &|change| change.cause == Some(Cause::Explicit) && self.dated.contains(&change.record),
            now: now(),
            owned_active: &|_| self.owned,
            seats_taken: self.seats_taken,
            census: &Census::default(),
            frozen: self.frozen,
            unattended: self.unattended,
            limits: &self.limits,
        };
        guard(plan, &guards)
    }

    fn held(&self, inferred: usize, explicit: usize) -> BTreeMap<HoldKind, usize> {
        let plan = self.judge(plan(inferred, explicit));
        plan.holds.iter().map(|hold| (hold.limit, hold.changes.len())).collect()
    }
}

/// A person's word for each hold of a plan.
pub(super) fn words(plan: &Plan) -> Vec<BTreeSet<Digest>> {
    let of = |change| rosterd::plan::render::digest(&plan.space, std::slice::from_ref(change));
    plan.holds.iter().map(|hold| hold.changes.iter().map(of).collect()).collect()
}

#[test]
fn inferred_narrowing_is_held_over_the_smaller_of_count_and_percent() {
    assert!(Given::owned(1000).held(10, 0).is_empty());
    assert_eq!(Given::owned(1000).held(11, 0), [(HoldKind::NarrowInferred, 11)].into());
    assert!(Given::owned(100).held(5, 0).is_empty());
    assert_eq!(Given::owned(100).held(6, 0), [(HoldKind::NarrowInferred, 6)].into());
}

#[test]
fn each_cause_has_limits_of_its_own() {
    assert_eq!(Given::owned(100).held(6, 25), [(HoldKind::NarrowInferred, 6)].into());
    assert_eq!(Given::owned(100).held(5, 26), [(HoldKind::NarrowExplicit, 26)].into());
}

#[test]
fn what_was_taken_within_the_window_counts() {
    let given = Given::owned(1000).used(&Counter::NarrowInferred, 9, DAY);
    assert!(given.held(1, 0).is_empty());
    assert_eq!(given.held(2, 0), [(HoldKind::NarrowInferred, 2)].into());
    let a_second_more = Given::owned(1000).used(&Counter::NarrowInferred, 9, DAY + Duration::from_secs(1));
    assert!(a_second_more.held(10, 0).is_empty(), "the window has slid past them");
    let explicit = Given::owned(100).used(&Counter::NarrowExplicit, 20, 2 * HOUR);
    assert!(explicit.held(0, 15).is_empty());
    assert_eq!(explicit.held(0, 16), [(HoldKind::NarrowExplicit, 16)].into());
    let in_the_hour = Given::owned(100).used(&Counter::NarrowExplicit, 20, HOUR);
    assert_eq!(in_the_hour.held(0, 6), [(HoldKind::NarrowExplicit, 6)].into());
}

#[test]
fn below_five_changes_half_of_the_target_is_the_bound_and_one_person_always_passes() {
    assert!(Given::owned(1).held(1, 0).is_empty());
    assert!(Given::owned(1).held(0, 1).is_empty());
    assert!(Given::owned(4).held(2, 0).is_empty());
    assert_eq!(Given::owned(4).held(3, 0), [(HoldKind::NarrowInferred, 3)].into());
    let one_before = Given::owned(2).used(&Counter::NarrowInferred, 1, HOUR);
    assert_eq!(one_before.held(1, 0), [(HoldKind::NarrowInferred, 1)].into());
}

#[test]
fn what_is_over_is_held_whole_and_the_rest_goes_on() {
    let plan = Given::owned(100).judge(plan(6, 3));
    assert_eq!(plan.changes.iter().filter(|change| change.cause == Some(Cause::Explicit)).count(), 3);
    assert_eq!(plan.changes.iter().filter(|change| change.cause == Some(Cause::Inferred)).count(), 0);
    assert_eq!(plan.changes.iter().filter(|change| change.effect == Effect::Widens).count(), 1);
}

#[test]
fn a_release_lets_exactly_the_shown_changes_through() {
    let held = Given::owned(100).judge(plan(6, 0));
    let mut released = Given { released: words(&held), ..Given::owned(100) };
    assert!(released.held(6, 0).is_empty());
    assert_eq!(released.held(7, 0), [(HoldKind::NarrowInferred, 7)].into());
    released.released[0].pop_first();
    assert_eq!(released.held(6, 0), [(HoldKind::NarrowInferred, 6)].into(), "one of them had its turn");
}

#[test]
fn first_contact_holds_everything_until_that_plan_is_enforced() {
    let judge = |plan: Plan, enforced: &BTreeSet<Digest>| {
        let given = Given { first_contact: true, enforced: enforced.clone(), ..Given::owned(0) };
        Given { limits: Limits::none(), ..given }.judge(plan)
    };
    let held = judge(plan(2, 1), &BTreeSet::new());
    assert!(held.changes.is_empty());
    assert_eq!(held.holds.len(), 1);
    assert_eq!(held.holds[0].limit, HoldKind::FirstContact);
    assert_eq!(held.holds[0].changes.len(), 4);
    let enforced = [held.holds[0].digest.clone()].into();
    assert_eq!(judge(plan(2, 1), &enforced).changes.len(), 4);
    assert!(judge(plan(3, 1), &enforced).changes.is_empty(), "another plan was not shown");
}

#[test]
fn a_digest_tells_what_is_done_and_not_why() {
    let Plan { mut changes, space, .. } = plan(2, 0);
    let before = rosterd::plan::render::digest(&space, &changes);
    for change in &mut changes {
        change.reason = format!("{}!", change.reason).into();
        change.origins.edit(Vec::clear);
    }
    assert_eq!(rosterd::plan::render::digest(&space, &changes), before);
    changes[0].account = Some("a-99".into());
    assert_ne!(rosterd::plan::render::digest(&space, &changes), before);
}

#[test]
fn a_word_about_one_environment_or_realm_lets_nothing_through_in_another() {
    let Plan { changes, space, .. } = plan(2, 1);
    let digest = rosterd::plan::render::digest(&space, &changes);
    let elsewhere = [
        Space { environment: "production".into(), ..space.clone() },
        Space { realm: "other.example".into(), ..space.clone() },
        Space { target: "other".into(), ..space },
    ];
    for space in elsewhere {
        assert_ne!(rosterd::plan::render::digest(&space, &changes), digest, "{space:?}");
    }
}

/// L11: a person's word about access is none about the account itself.
#[test]
fn a_deletion_that_follows_from_a_word_about_access_is_held_like_any_other() {
    let mut plan = plan(0, 1);
    plan.changes.retain(|change| change.action == Action::Disable);
    for change in &mut plan.changes {
        (change.action, change.active) = (Action::Delete, None);
        change.origins = vec![Origin::decision("revocation of u-0 by alice")].into();
    }
    let guarded = Given::owned(10).judge(plan);
    assert_eq!((guarded.changes.len(), guarded.holds[0].limit), (0, HoldKind::Delete));
}
