use serde_json::Value;
use serde_json::json;

use super::*;
use crate::model::account::Membership;
use crate::model::decision::Decision;
use crate::model::decision::DecisionKind;
use crate::model::ids::RecordId;
use crate::model::node::Node;
use crate::model::projection::NoAccess;
use crate::model::projection::NoAccessReason;
use crate::model::projection::Wishes;
use crate::model::role::Grant;
use crate::model::role::Level;
use crate::model::role::TargetRef;
use crate::model::snapshot::Snapshot;
use crate::model::target::AccountPolicy;
use crate::model::target::Cardinality;
use crate::model::target::Drift;
use crate::model::target::Ending;
use crate::model::target::Entitlement;
use crate::model::target::Existing;
use crate::model::target::ForeignDelete;
use crate::model::target::ForeignDisable;
use crate::model::target::Limits;
use crate::model::target::Mapping;
use crate::model::target::MappingValue;
use crate::model::target::MatchKey;
use crate::model::target::Members;
use crate::model::target::Mode;
use crate::model::target::Scope;
use crate::model::user::Login;
use crate::model::user::RoleHeld;
use crate::model::user::Validity;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    at("2026-06-01T12:00:00Z")
}

fn origin(file: &str, line: u32) -> Origin {
    Origin { file: file.into(), line, what: file.into() }
}

fn path(text: &str) -> AttributePath {
    AttributePath::parse(text).unwrap()
}

fn user(id: &str, roles: &[&str]) -> User {
    let lines = [("givenName", 6), ("email", 8), ("roles", 10), ("attributes.billTo", 14)];
    User {
        id: id.into(),
        formerly: Vec::new(),
        labels: BTreeMap::new(),
        given_name: Some("Ada".into()),
        family_name: None,
        email: Some(format!("{id}@acme.example")),
        time_zone: None,
        locale: Some("en-GB".into()),
        user_type: Some("employee".into()),
        active: true,
        valid: Validity::default(),
        login: Login::Sso,
        roles: (11..).zip(roles).map(|(line, name)| held(name, line)).collect(),
        teams: BTreeSet::new(),
        manager: None,
        attributes: BTreeMap::new(),
        origin: origin("users.yaml", 1),
        lines: lines.map(|(field, line)| (field.to_owned(), line)).into(),
    }
}

fn held(name: &str, line: u32) -> RoleHeld {
    RoleHeld { name: name.into(), valid: Validity::default(), line }
}

fn grant(line: u32, entitlements: &[&str], attributes: Value) -> Grant {
    Grant {
        target: TargetRef::Name("crm".into()),
        level: Level::RoleBased,
        entitlements: entitlements.iter().map(|name| (*name).into()).collect(),
        attributes: serde_json::from_value(attributes).unwrap(),
        origin: origin("roles.yaml", line),
    }
}

fn role(name: &str, grants: Vec<Grant>) -> (RoleName, Arc<Role>) {
    let role = Role { name: name.into(), labels: BTreeMap::new(), grants, origin: origin("roles.yaml", 1) };
    (role.name.clone(), Arc::new(role))
}

fn roles() -> BTreeMap<RoleName, Arc<Role>> {
    BTreeMap::from([
        role("agent", vec![grant(5, &["emea"], json!({ "rank": "agent" }))]),
        role("lead", vec![grant(25, &["emea", "admin"], json!({ "rank": "lead" }))]),
        role("helper", vec![grant(35, &[], json!({ "rank": "agent", "billTo": "C-2" }))]),
        role("nothing", vec![Grant { target: TargetRef::Name("other".into()), ..grant(45, &[], json!({})) }]),
    ])
}

fn template(source: &str) -> Mapping {
    Mapping {
        value: MappingValue::Template(source.to_owned()),
        own: Own::Always,
        translate: None,
        clear: false,
        personal: false,
        sensitive: false,
        drift: Drift::Revert,
        origin: origin("crm.yaml", 20),
    }
}

fn literal(value: Value) -> Mapping {
    Mapping { value: MappingValue::Literal(value), ..template("") }
}

fn target() -> Target {
    let word = |id: &str, exclusive: &[&str]| Entitlement {
        membership: Membership::Group(id.to_owned()),
        privileged: id == "g-admin",
        exclusive_with: exclusive.iter().map(|name| (*name).into()).collect(),
    };
    Target {
        name: "crm".into(),
        labels: BTreeMap::from([("env".to_owned(), "prod".to_owned())]),
        connector: "directory".to_owned(),
        settings: Node::default(),
        environment: "default".into(),
        endpoint: Node::default(),
        mode: Mode::Enforce,
        scope: Scope::default(),
        partition: None,
        entitlements: BTreeMap::from([
            ("emea".into(), word("g-emea", &[])),
            ("admin".into(), word("g-admin", &[])),
            ("auditor".into(), word("g-audit", &["admin"])),
        ]),
        account: AccountPolicy {
            match_keys: vec![MatchKey(vec![path("externalId")])],
            mark: Mark::At(path("externalId")),
            existing: Existing::Refuse,
            trusted_keys: Vec::new(),
            fold_user_name: true,
            user_name: template("{{ user.email }}"),
            attributes: BTreeMap::from([(path("name.givenName"), template("{{ user.givenName }}"))]),
            protected: vec!["root".to_owned(), "svc-*".to_owned()],
            on_out_of_scope: Ending::Strip,
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
        origin: origin("crm.yaml", 1),
    }
}

fn desired_with(change: impl FnOnce(&mut Target), user: &User) -> Desired {
    let mut target = target();
    change(&mut target);
    Projector::new(Arc::new(target)).unwrap().desired(user, &roles(), now())
}

fn account(change: impl FnOnce(&mut Target), user: &User) -> Projection {
    match desired_with(change, user) {
        Desired::Account(account) => account,
        other @ (Desired::None(_) | Desired::Conflict(_)) => panic!("{other:?}"),
    }
}

fn conflict(change: impl FnOnce(&mut Target), user: &User) -> Conflict {
    match desired_with(change, user) {
        Desired::Conflict(conflict) => conflict,
        other @ (Desired::Account(_) | Desired::None(_)) => panic!("{other:?}"),
    }
}

fn refused(change: impl FnOnce(&mut Target), user: &User) -> NoAccess {
    match desired_with(change, user) {
        Desired::None(none) => none,
        other @ (Desired::Account(_) | Desired::Conflict(_)) => panic!("{other:?}"),
    }
}

fn map(target: &mut Target, at: &str, mapping: Mapping) {
    target.account.attributes.insert(path(at), mapping);
}

/// The value of a projection: `null` where it is to be cleared, `unset` where it is left alone.
fn value_at(account: &Projection, at: &str) -> Value {
    let cleared_or = |projected: &Projected| projected.value.clone().unwrap_or(Value::Null);
    account.values.get(&path(at)).map_or_else(|| json!("unset"), cleared_or)
}

#[test]
fn a_user_whose_role_grants_the_target_gets_an_account_with_mark_and_mapped_values() {
    let account = account(|_| {}, &user("u-1", &["agent"]));
    assert_eq!(value_at(&account, "userName"), json!("u-1@acme.example"));
    assert_eq!(value_at(&account, "name.givenName"), json!("Ada"));
    assert_eq!(value_at(&account, "externalId"), json!("u-1"));
    assert_eq!(account.values[&path("externalId")].own, Own::IfEmpty);
    assert_eq!(account.entitlements.keys().collect::<Vec<_>>(), [&"emea".into()]);
}

#[test]
fn every_value_names_the_mapping_and_the_line_that_fed_it() {
    let reads_rank = |target: &mut Target| map(target, "title", template("{{ grant.attributes.rank }} {{ user.id }}"));
    let account = account(reads_rank, &user("u-1", &["agent", "helper"]));
    let lines = |at: &str| -> Vec<String> {
        account.values[&path(at)].origins.iter().map(|origin| format!("{}:{}", origin.file, origin.line)).collect()
    };
    assert_eq!(lines("name.givenName"), ["crm.yaml:20", "users.yaml:6"]);
    assert_eq!(lines("title"), ["crm.yaml:20", "roles.yaml:5", "roles.yaml:35", "users.yaml:1"]);
    let access: Vec<String> = account.origins.iter().map(|origin| format!("{}:{}", origin.file, origin.line)).collect();
    assert_eq!(access, ["users.yaml:11", "roles.yaml:5", "users.yaml:12", "roles.yaml:35"]);
    assert_eq!(account.entitlements[&"emea".into()].origins[..], [origin("roles.yaml", 5)]);
}

#[test]
fn a_selector_grants_every_target_whose_labels_match_and_an_empty_one_none() {
    let by_label = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let grant = Grant { target: TargetRef::Selector(pairs), ..grant(5, &["emea"], json!({})) };
        let projector = Projector::new(Arc::new(target())).unwrap();
        projector.access(&user("u-1", &["agent"]), &BTreeMap::from([role("agent", vec![grant])]), now())
    };
    assert!(matches!(by_label(&[("env", "prod")]), Access::Granted(_)));
    assert!(matches!(by_label(&[("env", "test")]), Access::Denied(_)));
    assert!(matches!(by_label(&[("env", "prod"), ("site", "eu")]), Access::Denied(_)));
    assert!(matches!(by_label(&[]), Access::Denied(_)));
}

#[test]
fn who_has_no_access_is_told_why_and_by_which_line() {
    let scoped = |target: &mut Target| target.scope.user_types = Some(BTreeSet::from(["candidate".to_owned()]));
    let conditional = |target: &mut Target| target.scope.when = Some("user.email is endingwith('.org')".to_owned());
    let inactive = User { active: false, ..user("u-1", &["agent"]) };
    assert_eq!(refused(|_| {}, &inactive).reason, NoAccessReason::Inactive);
    let none = refused(|_| {}, &user("u-1", &["nothing"]));
    let none_ending = none.ending;
    assert_eq!((none.reason, none.origins), (NoAccessReason::NotGranted, vec![origin("users.yaml", 10)].into()));
    assert_eq!(refused(|_| {}, &user("u-1", &["unheard-of"])).reason, NoAccessReason::NotGranted);
    assert_eq!(refused(scoped, &user("u-1", &["agent"])).reason, NoAccessReason::UserType);
    assert_eq!(refused(conditional, &user("u-1", &["agent"])).reason, NoAccessReason::Condition);
    assert_eq!(none_ending, Ending::Strip);
}

#[test]
fn validity_acts_at_its_second() {
    let mut user = user("u-1", &["agent"]);
    let reason = |user: &User| match desired_with(|_| {}, user) {
        Desired::None(none) => Some(none.reason),
        Desired::Account(_) => None,
        Desired::Conflict(conflict) => panic!("{conflict:?}"),
    };
    user.valid = Validity { from: Some(now()), until: Some(at("2026-06-01T12:00:01Z")) };
    assert_eq!(reason(&user), None);
    user.valid.until = Some(now());
    assert_eq!(reason(&user), Some(NoAccessReason::Ended));
    user.valid = Validity { from: Some(at("2026-06-01T12:00:01Z")), until: None };
    assert_eq!(reason(&user), Some(NoAccessReason::NotYetValid));
    user.valid = Validity::default();
    user.roles[0].valid.until = Some(now());
    assert_eq!(reason(&user), Some(NoAccessReason::RoleEnded));
    assert_eq!(refused(|_| {}, &user).origins[..], [origin("users.yaml", 11)]);
}

#[test]
fn an_absent_input_leaves_the_attribute_alone_and_clear_empties_it() {
    let mappings = |target: &mut Target| {
        map(target, "timezone", template("{{ user.timeZone }}"));
        map(target, "title", Mapping { clear: true, ..template("{{ user.attributes.title }}") });
        map(target, "roles", Mapping { own: Own::Create, ..literal(json!(["User System Admin"])) });
        map(target, "nickName", literal(json!("")));
    };
    let account = account(mappings, &user("u-1", &["agent"]));
    assert_eq!(value_at(&account, "timezone"), json!("unset"));
    assert_eq!(value_at(&account, "title"), Value::Null);
    assert_eq!(value_at(&account, "roles"), json!(["User System Admin"]));
    assert_eq!(account.values[&path("roles")].own, Own::Create);
    assert_eq!(value_at(&account, "nickName"), json!("unset"));
}

#[test]
fn a_value_that_the_translation_table_does_not_know_is_not_sent() {
    let table = BTreeMap::from([("en-GB".to_owned(), json!("en"))]);
    let translated = |mapping: Mapping| Mapping { translate: Some(table.clone()), ..mapping };
    let mappings = |target: &mut Target| {
        map(target, "locale", translated(template("{{ user.locale }}")));
        map(target, "title", translated(Mapping { clear: true, ..template("{{ user.givenName }}") }));
        map(target, "languages", translated(literal(json!(["en-GB", "fr-FR"]))));
    };
    let account = account(mappings, &user("u-1", &["agent"]));
    assert_eq!(value_at(&account, "locale"), json!("en"));
    assert_eq!(value_at(&account, "title"), json!("unset"));
    assert_eq!(value_at(&account, "languages"), json!(["en"]));
}

#[test]
fn unequal_grant_values_that_a_mapping_reads_are_a_conflict_naming_both_lines() {
    let user = user("u-1", &["agent", "lead"]);
    let found = conflict(|target| map(target, "title", template("{{ grant.attributes.rank }}")), &user);
    assert_eq!(found.code, "unequal-values");
    assert!(found.message.contains("\"agent\" (roles.yaml:5) and \"lead\" (roles.yaml:25)"), "{}", found.message);
    assert!(matches!(desired_with(|_| {}, &user), Desired::Account(_)), "what nobody reads contradicts nobody");
}

#[test]
fn equal_grant_values_are_no_conflict() {
    let reads = |target: &mut Target| map(target, "title", template("{{ grant.attributes.rank }}"));
    assert_eq!(value_at(&account(reads, &user("u-1", &["agent", "helper"])), "title"), json!("agent"));
}

#[test]
fn exclusive_entitlements_are_a_conflict_whichever_side_says_so() {
    let grants =
        BTreeMap::from([role("both", vec![grant(5, &["admin"], json!({})), grant(9, &["auditor"], json!({}))])]);
    let projector = Projector::new(Arc::new(target())).unwrap();
    let Desired::Conflict(found) = projector.desired(&user("u-1", &["both"]), &grants, now()) else { panic!() };
    assert_eq!(found.code, "exclusive");
    assert!(found.message.contains("roles.yaml:5") && found.message.contains("roles.yaml:9"), "{}", found.message);
}

#[test]
fn too_many_values_of_the_cardinality_attribute_are_a_conflict_naming_them() {
    let one = |target: &mut Target| {
        target.account.cardinality = Some(Cardinality { attribute: "billTo".to_owned(), max: 1 });
    };
    let mut user = user("u-1", &["helper"]);
    user.attributes.insert("billTo".to_owned(), json!("C-1"));
    let found = conflict(one, &user);
    assert_eq!(found.code, "cardinality");
    assert!(found.message.contains("\"C-1\" (users.yaml:14), \"C-2\" (roles.yaml:35)"), "{}", found.message);
    user.attributes.insert("billTo".to_owned(), json!("C-2"));
    assert!(matches!(desired_with(one, &user), Desired::Account(_)));
}

#[test]
fn a_user_without_user_name_or_with_a_reserved_one_is_in_conflict() {
    let mut user = user("u-1", &["agent"]);
    user.email = None;
    assert_eq!(conflict(|_| {}, &user).code, "no-user-name");
    user.email = Some("SVC-batch".to_owned());
    assert_eq!(conflict(|_| {}, &user).code, "protected-name");
    user.active = false;
    assert_eq!(refused(|_| {}, &user).reason, NoAccessReason::Inactive);
}

#[test]
fn a_mapping_that_fails_for_one_user_is_that_users_conflict() {
    let adds = |target: &mut Target| map(target, "title", template("{{ user.attributes.rank + 1 }}"));
    let mut user = user("u-1", &["agent"]);
    user.attributes.insert("rank".to_owned(), json!("high"));
    assert_eq!(conflict(adds, &user).code, "expression");
    user.attributes.insert("rank".to_owned(), json!(2));
    assert_eq!(value_at(&account(adds, &user), "title"), json!(3));
}

#[test]
fn all_wrong_templates_of_a_target_are_told_at_once() {
    let mut target = target();
    target.scope.when = Some("user.emial == 'x'".to_owned());
    target.partition = Some("account.userType = 'x'".to_owned());
    map(&mut target, "title", template("{{ user.title }}"));
    let errors = Projector::new(Arc::new(target)).unwrap_err();
    let keys: Vec<&str> = errors.iter().filter_map(|error| error.message.split(": ").next()).collect();
    assert_eq!(keys, ["scope.when", "partition", "account.attributes.title"]);
}

#[test]
fn a_listing_must_bring_every_path_that_planning_compares() {
    let mut target = target();
    target.partition = Some("account.userType == 'Employee' and account.state == 'active'".to_owned());
    target.account.match_keys = vec![MatchKey(vec![path("name.familyName"), path("title")])];
    let paths = Projector::new(Arc::new(target)).unwrap().shape_paths();
    let paths: Vec<&str> = paths.iter().map(AttributePath::as_str).collect();
    assert_eq!(paths, ["externalId", "name.familyName", "name.givenName", "title", "userName", "userType"]);
}

// --- the table

fn snapshot(users: Vec<User>) -> Arc<Snapshot> {
    Arc::new(Snapshot { users: users.into_iter().map(Arc::new).collect(), roles: roles() })
}

fn named(id: &str, email: &str) -> User {
    User { email: Some(email.to_owned()), ..user(id, &["agent"]) }
}

fn table() -> Table {
    Table::new(Arc::new(Projector::new(Arc::new(target())).unwrap()))
}

/// A table of nobody that takes its first snapshot in.
fn begun(mut table: Table, snapshot: &Arc<Snapshot>) -> Table {
    table.begin(snapshot, &Arc::default(), now());
    table
}

fn answers(table: &Table) -> BTreeMap<RecordId, Desired> {
    let wishes = table.projections();
    wishes.records().map(|record| (record.clone(), table.desired(record).unwrap())).collect()
}

fn codes(table: &Table) -> Vec<(String, String)> {
    let code = |desired| match desired {
        Desired::Account(_) => "account".to_owned(),
        Desired::None(_) => "none".to_owned(),
        Desired::Conflict(conflict) => conflict.code,
    };
    answers(table).into_iter().map(|(record, desired)| (record.to_string(), code(desired))).collect()
}

fn pairs(codes: &[(&str, &str)]) -> Vec<(String, String)> {
    codes.iter().map(|(record, code)| ((*record).to_owned(), (*code).to_owned())).collect()
}

/// Who is told when a snapshot is taken in.
fn told(table: &mut Table, snapshot: &Arc<Snapshot>) -> BTreeSet<RecordId> {
    table.refresh(snapshot, &Arc::default(), now()).into_keys().collect()
}

fn ids(records: &[&str]) -> BTreeSet<RecordId> {
    records.iter().map(|record| (*record).into()).collect()
}

#[test]
fn two_users_of_one_name_are_both_in_conflict_and_the_rest_goes_on() {
    let users = vec![named("a", "x@acme.example"), named("b", "X@acme.example"), named("c", "c@acme.example")];
    let table = begun(table(), &snapshot(users));
    assert_eq!(codes(&table), pairs(&[("a", "user-name-taken"), ("b", "user-name-taken"), ("c", "account")]));
    let Some(Desired::Conflict(found)) = table.desired(&"b".into()) else { panic!() };
    assert!(found.message.contains("wanted by `a`, `b`"), "{}", found.message);
    assert_eq!(table.triples(), 6);
}

#[test]
fn a_user_without_access_holds_no_name() {
    let leaver = User { active: false, ..named("a", "x@acme.example") };
    let table = begun(table(), &snapshot(vec![leaver, named("b", "x@acme.example")]));
    assert_eq!(codes(&table), pairs(&[("a", "none"), ("b", "account")]));
}

#[test]
fn a_user_in_another_conflict_still_holds_the_name() {
    let mut target = target();
    map(&mut target, "title", template("{{ grant.attributes.rank }}"));
    let table = Table::new(Arc::new(Projector::new(Arc::new(target)).unwrap()));
    let torn = User { email: Some("x@acme.example".to_owned()), ..user("a", &["agent", "lead"]) };
    let table = begun(table, &snapshot(vec![torn, named("b", "x@acme.example")]));
    assert_eq!(codes(&table), pairs(&[("a", "unequal-values"), ("b", "user-name-taken")]));
}

#[test]
fn solving_one_side_of_a_name_conflict_frees_the_other_and_both_are_told() {
    let rivals = snapshot(vec![named("a", "x@acme.example"), named("b", "x@acme.example")]);
    let mut table = begun(table(), &rivals);
    let solved = snapshot(vec![named("a", "a@acme.example"), named("b", "x@acme.example")]);
    assert_eq!(told(&mut table, &solved), ids(&["a", "b"]));
    assert_eq!(codes(&table), pairs(&[("a", "account"), ("b", "account")]));
    let gone = snapshot(vec![named("b", "x@acme.example")]);
    assert_eq!(told(&mut table, &gone), ids(&["a"]));
    assert_eq!(codes(&table), pairs(&[("b", "account")]));
    assert_eq!(told(&mut table, &gone), ids(&[]));
}

#[test]
fn a_changed_role_tells_those_who_hold_it() {
    let before = snapshot(vec![user("a", &["agent"]), user("b", &[])]);
    let mut table = begun(table(), &before);
    let without = Role { grants: Vec::new(), ..Role::clone(&before.roles[&"agent".into()]) };
    let roles = before.roles.iter().map(|(name, role)| (name.clone(), Arc::clone(role)));
    let roles = roles.chain([("agent".into(), Arc::new(without))]).collect();
    let after = Arc::new(Snapshot { users: before.users.clone(), roles });
    assert_eq!(told(&mut table, &after), ids(&["a"]));
}

#[test]
fn what_ends_by_itself_is_told_at_its_second_and_with_it() {
    let end = now() + chrono::TimeDelta::hours(1);
    let leaver = User { valid: Validity { from: None, until: Some(end) }, ..user("a", &["agent"]) };
    let both = snapshot(vec![leaver.clone(), user("b", &["agent"])]);
    let mut table = begun(table(), &both);
    assert_eq!(table.next_turn(), Some(end));
    let before_it = end - chrono::TimeDelta::seconds(1);
    assert_eq!(table.refresh(&both, &Arc::default(), before_it), BTreeMap::new());
    // Also where something else is taken in at that moment.
    let alone = snapshot(vec![leaver]);
    let told = table.refresh(&alone, &Arc::default(), end);
    assert_eq!(told, BTreeMap::from([("a".into(), Some(end)), ("b".into(), None)]));
    assert_eq!(table.next_turn(), None);
    // Where the clock is set back, it has not ended.
    let told = table.refresh(&alone, &Arc::default(), before_it);
    assert_eq!(told, BTreeMap::from([("a".into(), None)]));
    assert_eq!(table.next_turn(), Some(end));
}

proptest::proptest! {
    /// The guarantee of the table: step by step gives the same as at once.
    #[test]
    fn refreshing_load_by_load_equals_a_table_made_anew(
        steps in proptest::collection::vec(
            (proptest::collection::vec((0_usize..4, 0_usize..3, 0_usize..6), 1..3), proptest::bool::weighted(0.2)), 1..20
        )
    ) {
        let mut users: BTreeMap<RecordId, User> = BTreeMap::new();
        let mut table = table();
        let (mut clock, mut revoked) = (now(), Arc::<Revoked>::default());
        for (step, step_back) in steps {
            for (who, email, state) in step {
                let record: RecordId = ["a", "b", "c", "d"][who].into();
                let named = named(record.as_str(), ["x", "X", "y"][email]);
                match state {
                    0 => drop(users.remove(&record)),
                    1 => drop(users.insert(record, User { active: false, ..named })),
                    2 => {
                        let until = Some(clock + chrono::TimeDelta::minutes(i64::try_from(email).unwrap()));
                        drop(users.insert(record, User { valid: Validity { from: None, until }, ..named }));
                    }
                    3 => {
                        let until = (email > 0).then(|| clock + chrono::TimeDelta::minutes(i64::try_from(email).unwrap()));
                        let word = Decision { record: Some(record), until, ..Decision::new(DecisionKind::Revoke, "o", clock) };
                        revoked = Arc::new(Revoked::from_decisions(&[word]));
                    }
                    _ => drop(users.insert(record, named)),
                }
            }
            clock += chrono::TimeDelta::seconds(if step_back { -90 } else { 40 });
            let snapshot = snapshot(users.values().cloned().collect());
            let before = answers(&table);
            let told: BTreeSet<_> = table.refresh(&snapshot, &revoked, clock).into_keys().collect();
            let mut fresh = self::table();
            fresh.begin(&snapshot, &revoked, clock);
            let now = answers(&fresh);
            proptest::prop_assert_eq!(&answers(&table), &now);
            proptest::prop_assert_eq!(table.triples(), fresh.triples());
            proptest::prop_assert_eq!(table.next_turn(), fresh.next_turn());
            let all: BTreeSet<RecordId> = before.keys().chain(now.keys()).cloned().collect();
            let differ = all.into_iter().filter(|record| before.get(record) != now.get(record));
            proptest::prop_assert_eq!(told, differ.collect());
        }
    }
}

#[test]
fn a_policy_for_the_no_longer_entitled_does_not_keep_an_inactive_user_in() {
    let keep = |target: &mut Target| target.account.on_out_of_scope = Ending::Keep;
    let inactive = User { active: false, ..user("u-1", &["agent"]) };
    assert_eq!(refused(keep, &inactive).ending, Ending::Disable);
    assert_eq!(refused(keep, &user("u-1", &[])).ending, Ending::Keep);
}
