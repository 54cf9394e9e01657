use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::manifest::Problem;
use crate::model::account::Membership;
use crate::model::ids::RoleName;
use crate::model::node::Node;
use crate::model::origin::Origin;
use crate::model::role::Grant;
use crate::model::role::Level;
use crate::model::role::Role;
use crate::model::role::TargetRef;
use crate::model::target::AccountPolicy;
use crate::model::target::Drift;
use crate::model::target::Ending;
use crate::model::target::Entitlement;
use crate::model::target::Existing;
use crate::model::target::ForeignDelete;
use crate::model::target::ForeignDisable;
use crate::model::target::Limits;
use crate::model::target::Mapping;
use crate::model::target::MappingValue;
use crate::model::target::Mark;
use crate::model::target::Members;
use crate::model::target::Mode;
use crate::model::target::Own;
use crate::model::target::Scope;
use crate::model::target::Target;
use crate::model::user::Login;
use crate::model::user::RoleHeld;
use crate::model::user::User;
use crate::model::user::Validity;

static NOBODY: Left = Left::new();

/// As `judge` in the engine: measured against what the last snapshot grants.
#[expect(clippy::too_many_arguments, reason = "those of `judge`")]
fn judged(
    documents: &Documents,
    projectors: &[Arc<Projector>],
    previous: Option<&Snapshot>,
    highest: Option<u64>,
    percent: u32,
    accepted: &BTreeSet<Digest>,
    now: DateTime<Utc>,
) -> Verdict {
    let granted = |snapshot| Measure::default().of(projectors, snapshot, now);
    let measured = previous.map(|snapshot| Measured { snapshot, granted: granted(snapshot) });
    let previous = measured.map(|measured| Before { current: measured, accepted: measured, left: &NOBODY });
    judge(documents, projectors, previous, highest, percent, accepted, now)
}

fn triples(projectors: &[Arc<Projector>], snapshot: &Snapshot, at: DateTime<Utc>) -> Triples {
    Triples::of(projectors, snapshot.users.values(), &snapshot.roles, at)
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    at("2026-06-01T12:00:00Z")
}

fn origin() -> Origin {
    Origin { file: "f.yaml".into(), line: 1, what: "x".into() }
}

/// A user whose roles may carry an end: `agent`, `agent until 2026-06-02T00:00:00Z`.
fn user(id: &str, roles: &[&str]) -> User {
    let held = |text: &&str| {
        let (name, until) = text.split_once(" until ").map_or((*text, None), |(name, until)| (name, Some(at(until))));
        RoleHeld { name: name.into(), valid: Validity { from: None, until }, line: 1 }
    };
    User {
        id: id.into(),
        formerly: Vec::new(),
        labels: BTreeMap::new(),
        given_name: Some("Ada".into()),
        family_name: None,
        email: Some(format!("{id}@acme.example")),
        time_zone: None,
        locale: None,
        user_type: Some("employee".into()),
        active: true,
        valid: Validity::default(),
        login: Login::Sso,
        roles: roles.iter().map(held).collect(),
        teams: ["credit".to_owned()].into(),
        manager: None,
        attributes: BTreeMap::from([("rank".to_owned(), json!(1))]),
        origin: origin(),
        lines: BTreeMap::new(),
    }
}

fn role(name: &str, entitlements: &[&str]) -> (RoleName, Arc<Role>) {
    let grant = Grant {
        target: TargetRef::Name("crm".into()),
        level: Level::RoleBased,
        entitlements: entitlements.iter().map(|name| (*name).into()).collect(),
        attributes: BTreeMap::new(),
        origin: origin(),
    };
    (name.into(), Arc::new(Role { name: name.into(), labels: BTreeMap::new(), grants: vec![grant], origin: origin() }))
}

fn roles() -> BTreeMap<RoleName, Arc<Role>> {
    BTreeMap::from([role("agent", &["emea"]), role("lead", &["emea", "admin"]), role("guest", &[])])
}

fn projectors(scope: Scope) -> Vec<Arc<Projector>> {
    let word = |id: &str| Entitlement {
        membership: Membership::Group(id.to_owned()),
        privileged: false,
        exclusive_with: BTreeSet::new(),
    };
    let user_name = Mapping {
        value: MappingValue::Template("{{ user.email }}".to_owned()),
        own: Own::Always,
        translate: None,
        clear: false,
        personal: false,
        sensitive: false,
        drift: Drift::Revert,
        origin: origin(),
    };
    let target = Target {
        name: "crm".into(),
        labels: BTreeMap::new(),
        connector: "directory".to_owned(),
        settings: Node::default(),
        environment: "default".into(),
        endpoint: Node::default(),
        mode: Mode::Enforce,
        scope,
        partition: None,
        entitlements: BTreeMap::from([("emea".into(), word("g-emea")), ("admin".into(), word("g-admin"))]),
        account: AccountPolicy {
            match_keys: Vec::new(),
            mark: Mark::None,
            existing: Existing::Refuse,
            trusted_keys: Vec::new(),
            fold_user_name: true,
            user_name,
            attributes: BTreeMap::new(),
            protected: Vec::new(),
            on_out_of_scope: Ending::Disable,
            on_gone: Ending::Disable,
            updates: true,
            regain: crate::model::target::Regain::Same,
            cardinality: None,
            members: Members::Additive,
            foreign_disable: ForeignDisable::Report,
            foreign_delete: ForeignDelete::Report,
            deletion: None,
            notifications: BTreeSet::new(),
            blockers: BTreeMap::new(),
        },
        schedule: None,
        limits: Limits::none(),
        freeze: Vec::new(),
        approval: None,
        exceptions: Vec::new(),
        welcome: None,
        origin: origin(),
    };
    vec![Arc::new(Projector::new(Arc::new(target)).unwrap())]
}

fn snapshot(users: Vec<User>, roles: BTreeMap<RoleName, Arc<Role>>) -> Snapshot {
    Snapshot { users: users.into_iter().map(Arc::new).collect(), roles }
}

fn documents(users: Vec<User>, roles: BTreeMap<RoleName, Arc<Role>>) -> Documents {
    let Snapshot { users, roles } = snapshot(users, roles);
    Documents { users, roles, targets: Vec::new(), signed: BTreeMap::new(), problems: Vec::new(), digest: "d1".into() }
}

fn problem(conflict_of: Option<&str>) -> Problem {
    Problem {
        file: "f.yaml".to_owned(),
        line: 1,
        column: 1,
        code: "unknown-field",
        message: String::new(),
        hint: None,
        snippet: None,
        conflict_of: conflict_of.map(RecordId::from),
        drops_document: false,
    }
}

fn broken(users: Vec<User>) -> Documents {
    Documents { problems: vec![problem(None)], ..documents(users, roles()) }
}

fn judge_simply(documents: &Documents, previous: &Snapshot) -> Verdict {
    judged(documents, &projectors(Scope::default()), Some(previous), None, 20, &BTreeSet::new(), now())
}

/// Causes as `record entitlement: cause`, the account itself as `*`.
fn told(causes: &Causes) -> Vec<String> {
    let line = |((record, _, name), cause): (&(RecordId, TargetName, Option<EntitlementName>), &Option<Cause>)| {
        let name = name.as_ref().map_or("*", |name| name.as_str());
        format!("{record} {name}: {}", cause.map_or("granted", Cause::as_str))
    };
    causes.iter().map(line).collect()
}

fn accepted(verdict: Verdict) -> (Snapshot, u64, Vec<String>) {
    match verdict {
        Verdict::Accepted { snapshot, level, causes } => (snapshot, level, told(&causes)),
        other @ (Verdict::Held { .. } | Verdict::Refused { .. }) => panic!("{other:?}"),
    }
}

fn refused(verdict: Verdict) -> (Snapshot, Vec<String>) {
    match verdict {
        Verdict::Refused { narrowed, causes } => (narrowed, told(&causes)),
        other @ (Verdict::Accepted { .. } | Verdict::Held { .. }) => panic!("{other:?}"),
    }
}

fn crowd(count: usize, roles: &[&str]) -> Vec<User> {
    (0..count).map(|n| user(&format!("u-{n:03}"), roles)).collect()
}

// --- causes

/// A name, what the load holds, and the causes that follow.
type Case = (&'static str, Vec<User>, BTreeMap<RoleName, Arc<Role>>, &'static [&'static str]);

/// One edit of one user, and what each loss then counts as.
#[test]
fn the_cause_follows_the_table() {
    let leader = || user("u", &["lead"]);
    let narrowed_role = BTreeMap::from([role("agent", &["emea"]), role("lead", &["emea"])]);
    let ends = |until: &str| Validity { from: None, until: Some(at(until)) };
    let cases: Vec<Case> = vec![
        (
            "active: false",
            vec![User { active: false, ..leader() }],
            roles(),
            &["u *: explicit", "u admin: explicit", "u emea: explicit"],
        ),
        (
            "an end that has come",
            vec![User { valid: ends("2026-06-01T12:00:00Z"), ..leader() }],
            roles(),
            &["u *: explicit", "u admin: explicit", "u emea: explicit"],
        ),
        ("an end to come", vec![User { valid: ends("2026-06-01T12:00:01Z"), ..leader() }], roles(), &[]),
        ("a lesser role", vec![user("u", &["agent"])], roles(), &["u admin: explicit"]),
        (
            "a role's end that has come",
            vec![user("u", &["agent", "lead until 2026-06-01T00:00:00Z"])],
            roles(),
            &["u admin: explicit"],
        ),
        ("the role gives less", vec![leader()], narrowed_role.clone(), &["u admin: inferred"]),
        (
            "the role is gone",
            vec![leader()],
            BTreeMap::from([role("agent", &["emea"])]),
            &["u *: inferred", "u admin: inferred", "u emea: inferred"],
        ),
        ("the document is gone", vec![], roles(), &["u *: inferred", "u admin: inferred", "u emea: inferred"]),
        (
            "own edit and rule together",
            vec![User { active: false, ..leader() }],
            narrowed_role,
            &["u *: explicit", "u admin: explicit", "u emea: explicit"],
        ),
    ];
    for (name, users, roles_after, expected) in cases {
        let previous = snapshot(vec![leader()], roles());
        let (_, _, found) = accepted(judge_simply(&documents(users, roles_after), &previous));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_type_or_an_attribute_that_moves_a_user_out_of_scope_is_inferred_and_a_team_explicit() {
    let scope = Scope {
        user_types: Some(["employee".to_owned()].into()),
        when: Some("'credit' in user.teams and user.attributes.rank == 1".to_owned()),
    };
    let cause = |new: User| {
        let previous = snapshot(vec![user("u", &["guest"])], roles());
        let documents = documents(vec![new], roles());
        accepted(judged(&documents, &projectors(scope.clone()), Some(&previous), None, 20, &BTreeSet::new(), now())).2
    };
    let same = || user("u", &["guest"]);
    assert_eq!(cause(User { user_type: Some("candidate".to_owned()), ..same() }), ["u *: inferred"]);
    assert_eq!(cause(User { attributes: BTreeMap::new(), ..same() }), ["u *: inferred"]);
    assert_eq!(cause(User { teams: BTreeSet::new(), ..same() }), ["u *: explicit"]);
}

#[test]
fn the_same_edit_of_ten_users_is_inferred_and_of_nine_explicit() {
    for (count, cause) in [(9, "explicit"), (10, "inferred")] {
        let previous = snapshot(crowd(100, &["guest"]), roles());
        let mut users = crowd(100, &["guest"]);
        users.iter_mut().take(count).for_each(|user| user.active = false);
        // Somebody else's role is another kind of edit.
        users.iter_mut().skip(50).take(1).for_each(|user| user.roles.clear());
        let (_, _, causes) = accepted(judge_simply(&documents(users, roles()), &previous));
        assert_eq!(causes.iter().filter(|line| line.ends_with(cause)).count(), count + usize::from(count == 9));
        assert!(causes.contains(&"u-050 *: explicit".to_owned()));
    }
}

#[test]
fn access_that_is_back_forgets_its_cause() {
    let previous = snapshot(vec![user("u", &[])], roles());
    let (_, level, causes) = accepted(judge_simply(&documents(vec![user("u", &["agent"])], roles()), &previous));
    assert_eq!((causes, level), (vec!["u *: granted".to_owned(), "u emea: granted".to_owned()], 2));
}

#[test]
fn a_declared_rename_takes_nothing_away() {
    let previous = snapshot(vec![user("old", &["agent"])], roles());
    let renamed = User { formerly: vec!["old".into()], ..user("new", &["guest"]) };
    let (_, _, causes) = accepted(judge_simply(&documents(vec![renamed], roles()), &previous));
    assert_eq!(causes, ["new emea: explicit"]);
}

// --- accepting, refusing, holding

#[test]
fn the_first_load_is_accepted_without_causes_and_a_broken_one_gives_nothing() {
    let first = |documents: &Documents| {
        judged(documents, &projectors(Scope::default()), None, None, 20, &BTreeSet::new(), now())
    };
    let (snapshot, level, causes) = accepted(first(&documents(crowd(3, &["agent"]), roles())));
    assert_eq!((snapshot.users.len(), level, causes.len()), (3, 6, 0));
    assert_eq!(refused(first(&broken(crowd(3, &["agent"])))), (Snapshot::default(), vec![]));
}

#[test]
fn conflicts_of_single_users_do_not_refuse_a_load() {
    let mut documents = documents(crowd(2, &["agent"]), roles());
    documents.problems = vec![problem(Some("u-000"))];
    accepted(judge_simply(&documents, &snapshot(vec![], roles())));
    documents.problems.push(problem(None));
    refused(judge_simply(&documents, &snapshot(vec![], roles())));
}

#[test]
fn while_a_folder_is_broken_a_sound_document_still_ends_access_and_nothing_else_acts() {
    let previous = snapshot(vec![user("a", &["agent"]), user("b", &["agent"]), user("c", &["agent"])], roles());
    let changed = User { given_name: Some("Eve".to_owned()), ..user("b", &["agent", "lead"]) };
    let (narrowed, causes) =
        refused(judge_simply(&broken(vec![User { active: false, ..user("a", &["agent"]) }, changed]), &previous));
    assert_eq!(causes, ["a *: explicit", "a emea: explicit"]);
    let leaver = User { active: false, ..user("a", &["agent"]) };
    let expected = snapshot(vec![leaver, user("b", &["agent"]), user("c", &["agent"])], roles());
    assert_eq!(narrowed, expected, "no widening, no attribute, and the missing document of c takes nothing");
}

#[test]
fn fewer_roles_and_earlier_ends_act_alone_and_later_ends_do_not() {
    let overlay = |old: &[&str], new: &[&str]| {
        let previous = snapshot(vec![user("u", old)], roles());
        let (narrowed, _) = refused(judge_simply(&broken(vec![user("u", new)]), &previous));
        let held = |role: &RoleHeld| match role.valid.until {
            Some(until) => format!("{} until {}", role.name, until.format("%Y-%m-%d")),
            None => role.name.to_string(),
        };
        narrowed.users.get(&"u".into()).expect("a user").roles.iter().map(held).collect::<Vec<_>>()
    };
    let (june, july) = ("agent until 2026-06-30T00:00:00Z", "agent until 2026-07-31T00:00:00Z");
    assert_eq!(overlay(&["agent", "guest"], &["guest"]), ["guest"]);
    assert_eq!(overlay(&["agent"], &[june]), ["agent until 2026-06-30"]);
    assert_eq!(overlay(&[june], &[july]), ["agent until 2026-06-30"]);
    assert_eq!(overlay(&[june], &["agent"]), ["agent until 2026-06-30"]);
    assert_eq!(overlay(&[july], &[june, july]), ["agent until 2026-07-31"]);
    assert_eq!(overlay(&["agent"], &[]), Vec::<String>::new());
}

#[test]
fn a_document_that_swaps_roles_takes_none_away_while_the_folder_is_broken() {
    // The role that it swaps to may be the broken document.
    let previous = snapshot(vec![user("u", &["agent"])], roles());
    let (narrowed, causes) = refused(judge_simply(&broken(vec![user("u", &["agent-2"])]), &previous));
    assert_eq!((narrowed, causes), (previous.clone(), vec![]));
    let leaver = User { active: false, ..user("u", &["agent-2"]) };
    let (narrowed, _) = refused(judge_simply(&broken(vec![leaver]), &previous));
    assert!(!narrowed.users.get(&"u".into()).expect("a user").active);
}

#[test]
fn a_leaver_under_a_new_record_id_leaves_under_the_old_one_too() {
    let previous = snapshot(vec![user("old", &["agent"])], roles());
    let leaver = User { active: false, formerly: vec!["old".into()], ..user("new", &["agent"]) };
    let (narrowed, _) = refused(judge_simply(&broken(vec![leaver]), &previous));
    assert!(!narrowed.users.get(&"old".into()).expect("a user").active);
    assert_eq!(narrowed.users.len(), 1);
}

#[test]
fn a_load_that_takes_more_than_a_fifth_is_held_for_its_digest() {
    let previous = snapshot(crowd(50, &["guest"]), roles());
    let after = |left: usize| documents(crowd(left, &["guest"]), roles());
    accepted(judge_simply(&after(40), &previous));
    let Verdict::Held { digest, narrowed, lost, level, causes } = judge_simply(&after(39), &previous) else {
        panic!("39 of 50 were accepted");
    };
    assert_eq!((digest, lost, level), ("d1".into(), 11, 50));
    assert_eq!((narrowed, causes), (previous.clone(), Causes::new()));
    let accept = |digest: &str| {
        let given = BTreeSet::from([Digest::from(digest)]);
        judged(&after(39), &projectors(Scope::default()), Some(&previous), None, 20, &given, now())
    };
    assert!(matches!(accept("d0"), Verdict::Held { .. }));
    assert_eq!(accepted(accept("d1")).1, 39);
}

#[test]
fn a_held_load_still_lets_its_leavers_leave() {
    let previous = snapshot(crowd(50, &["guest"]), roles());
    let mut users = crowd(30, &["guest"]);
    users[0].active = false;
    let Verdict::Held { narrowed, causes, .. } = judge_simply(&documents(users, roles()), &previous) else { panic!() };
    assert_eq!(told(&causes), ["u-000 *: explicit"]);
    assert_eq!(narrowed.users.len(), 50);
}

#[test]
fn four_losses_are_never_a_shrinking() {
    let previous = snapshot(crowd(4, &["guest"]), roles());
    accepted(judge_simply(&documents(vec![], roles()), &previous));
}

#[test]
fn slow_shrinking_within_a_day_is_measured_against_the_highest_level() {
    let previous = snapshot(crowd(85, &["guest"]), roles());
    let judge_at = |highest, left: usize| {
        let documents = documents(crowd(left, &["guest"]), roles());
        judged(&documents, &projectors(Scope::default()), Some(&previous), Some(highest), 20, &BTreeSet::new(), now())
    };
    assert_eq!(accepted(judge_at(100, 80)).1, 80);
    assert!(matches!(judge_at(100, 79), Verdict::Held { lost: 21, level: 100, .. }));
    assert_eq!(accepted(judge_at(85, 79)).1, 79);
    // A load that takes nothing away is never held for what others took.
    assert_eq!(accepted(judge_at(200, 85)).1, 85);
}

#[test]
fn swapping_everybody_is_a_shrinking_though_the_level_stays() {
    let previous = snapshot(crowd(50, &["guest"]), roles());
    let others = (0..50).map(|n| user(&format!("x-{n}"), &["guest"])).collect();
    assert!(matches!(judge_simply(&documents(others, roles()), &previous), Verdict::Held { lost: 50, .. }));
}

#[test]
fn what_ended_by_its_own_date_is_not_the_loads_doing() {
    let mut users = crowd(100, &["guest"]);
    for user in users.iter_mut().take(40) {
        user.valid.until = Some(at("2026-06-01T00:00:00Z"));
    }
    let previous = snapshot(users.clone(), roles());
    users.pop();
    let documents = documents(users, roles());
    let verdict =
        judged(&documents, &projectors(Scope::default()), Some(&previous), Some(100), 20, &BTreeSet::new(), now());
    assert_eq!(accepted(verdict).1, 59);
}

#[test]
fn what_a_condition_cannot_decide_is_neither_taken_nor_given() {
    let scope = Scope { user_types: None, when: Some("user.attributes.rank + 1 == 2".to_owned()) };
    let previous = snapshot(vec![user("u", &["agent"])], roles());
    let torn = User { attributes: BTreeMap::from([("rank".to_owned(), json!("one"))]), ..user("u", &["agent"]) };
    let documents = documents(vec![torn], roles());
    let verdict = judged(&documents, &projectors(scope), Some(&previous), None, 20, &BTreeSet::new(), now());
    let (_, level, causes) = accepted(verdict);
    assert_eq!((level, causes), (2, vec![]));
}

// --- properties

fn any_user() -> impl Strategy<Value = User> {
    let day = || proptest::option::of((-2_i64..3).prop_map(|days| now() + TimeDelta::days(days)));
    let any_role = (0_usize..4, day(), day());
    (0_usize..6, any::<bool>(), day(), day(), proptest::collection::vec(any_role, 0..4)).prop_map(
        |(id, active, from, until, roles)| {
            let held = roles.into_iter().map(|(role, from, until)| RoleHeld {
                name: ["agent", "lead", "guest", "unknown"][role].into(),
                valid: Validity { from, until },
                line: 1,
            });
            let roles = held.collect();
            User { active, valid: Validity { from, until }, roles, ..user(&format!("u-{id}"), &[]) }
        },
    )
}

fn any_users() -> impl Strategy<Value = Vec<User>> {
    proptest::collection::vec(any_user(), 0..6)
}

proptest! {
    /// L1: from a broken load nothing is derived but what sound documents say against their users.
    #[test]
    fn narrowing_from_a_broken_folder_never_widens_at_any_time(before in any_users(), after in any_users()) {
        let previous = snapshot(before, roles());
        let (narrowed, _) = refused(judge_simply(&broken(after), &previous));
        let projectors = projectors(Scope::default());
        for hours in (-96..120).step_by(12) {
            let moment = now() + TimeDelta::hours(hours);
            let was = triples(&projectors, &previous, moment);
            let is = triples(&projectors, &narrowed, moment);
            prop_assert_eq!(is.without(&was), 0, "at {}", moment);
        }
        prop_assert_eq!(narrowed.users.keys().collect::<Vec<_>>(), previous.users.keys().collect::<Vec<_>>());
    }

    /// And it does narrow: who is inactive, or ended, in a sound document has no access.
    #[test]
    fn who_leaves_by_a_sound_document_leaves_whatever_else_is_broken(before in any_users(), after in any_users()) {
        let previous = snapshot(before, roles());
        let load = broken(after);
        let (narrowed, _) = refused(judge_simply(&load, &previous));
        let granted = triples(&projectors(Scope::default()), &narrowed, now());
        for user in load.users.values().filter(|user| !user.active || user.valid.ended(now())) {
            prop_assert!(granted.get(&user.id).is_none(), "{}", user.id);
        }
    }

    /// The measure that is kept from load to load is the one made anew, as users come, change and go and
    /// as time passes, or goes back.
    #[test]
    fn what_is_granted_is_counted_as_if_anew(
        loads in proptest::collection::vec((any_users(), -72_i64..96), 1..8), when in proptest::bool::ANY,
    ) {
        let scope = Scope { when: when.then(|| "'credit' in user.teams".to_owned()), ..Scope::default() };
        let projectors = projectors(scope);
        let mut kept = Measure::default();
        for (users, hours) in loads {
            let (next, moment) = (snapshot(users, roles()), now() + TimeDelta::hours(hours));
            let anew = triples(&projectors, &next, moment).level();
            prop_assert_eq!(kept.of(&projectors, &next, moment), anew, "at {}", moment);
        }
    }

    /// The level of an accepted load, measured by what differs, is that of the whole load.
    #[test]
    fn the_level_of_a_load_is_that_of_all_its_users(before in any_users(), after in any_users()) {
        let previous = snapshot(before, roles());
        let load = documents(after, roles());
        let all = BTreeSet::from([load.digest.clone()]);
        let projectors = projectors(Scope::default());
        let Verdict::Accepted { level, snapshot: next, .. } =
            judged(&load, &projectors, Some(&previous), None, 20, &all, now()) else { panic!() };
        prop_assert_eq!(level, triples(&projectors, &next, now()).level());
    }

    #[test]
    fn a_cause_is_told_for_exactly_what_changed(before in any_users(), after in any_users()) {
        let previous = snapshot(before, roles());
        let load = documents(after, roles());
        let all = BTreeSet::from([load.digest.clone()]);
        let projectors = projectors(Scope::default());
        let verdict = judged(&load, &projectors, Some(&previous), None, 20, &all, now());
        let Verdict::Accepted { snapshot: next, causes, .. } = verdict else { panic!() };
        let was = triples(&projectors, &previous, now());
        let is = triples(&projectors, &next, now());
        let lost = causes.values().filter(|cause| cause.is_some()).count();
        prop_assert_eq!(u64::try_from(lost).unwrap(), was.without(&is));
        prop_assert_eq!(u64::try_from(causes.len() - lost).unwrap(), is.without(&was));
        for ((record, ..), cause) in &causes {
            if *cause == Some(Cause::Explicit) {
                prop_assert!(next.users.contains_key(record), "explicit without a document of {}", record);
            }
        }
    }

    #[test]
    fn equal_inputs_give_equal_verdicts_whatever_the_order(before in any_users(), after in any_users()) {
        // One document a record, so that the order of reading cannot matter.
        let after: BTreeMap<RecordId, User> = after.into_iter().map(|user| (user.id.clone(), user)).collect();
        let previous = snapshot(before, roles());
        let forwards = documents(after.values().cloned().collect(), roles());
        let backwards = documents(after.values().rev().cloned().collect(), roles());
        prop_assert_eq!(judge_simply(&forwards, &previous), judge_simply(&backwards, &previous));
    }
}
