//! Random small worlds, against the properties of every plan and against a truth table.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use proptest::collection::btree_set;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rosterd::correlate::history::History;
use rosterd::correlate::history::IdentityKey;
use rosterd::model::account::Account;
use rosterd::model::account::AccountState;
use rosterd::model::account::Membership;
use rosterd::model::change::Action;
use rosterd::model::change::Cause;
use rosterd::model::hand::Hand;
use rosterd::model::ids::RecordId;
use rosterd::model::link::Link;
use rosterd::model::link::LinkedBy;
use rosterd::model::list::List;
use rosterd::model::origin::Origin;
use rosterd::model::path::AttributePath;
use rosterd::model::plan::Coverage;
use rosterd::model::projection::Conflict;
use rosterd::model::projection::Desired;
use rosterd::model::projection::NoAccess;
use rosterd::model::projection::NoAccessReason;
use rosterd::model::projection::Projected;
use rosterd::model::projection::ProjectedGrant;
use rosterd::model::projection::Projection;
use rosterd::model::target::Blocker;
use rosterd::model::target::Deletion;
use rosterd::model::target::Drift;
use rosterd::model::target::Ending;
use rosterd::model::target::Existing;
use rosterd::model::target::ForeignDelete;
use rosterd::model::target::ForeignDisable;
use rosterd::model::target::Mapping;
use rosterd::model::target::Members;
use rosterd::model::target::Own;
use rosterd::model::target::Regain;

use crate::golden::case::Case;
use crate::golden::case::World;
use crate::golden::case::now;
use crate::golden::case::origin;
use crate::golden::properties;
use crate::golden::truth;

const TARGET: &str = r"
target:
  protected: ['root*']
  entitlements: { e0: { group: g0 }, e1: { group: g1, privileged: true }, e2: { group: g1 }, e3: { role: r } }
";
const DAY: Duration = Duration::from_hours(24);
const NAMES: [&str; 5] = ["ada", "ADA", "bob", "root-1", "cy"];
const USERS: [&str; 5] = ["u-0", "u-1", "u-2", "u-3", "u-9"];
const ACCOUNTS: [&str; 5] = ["a-0", "a-1", "a-2", "a-3", "a-4"];

fn memberships() -> impl Strategy<Value = BTreeSet<Membership>> {
    let all = vec![
        Membership::Group("g0".to_owned()),
        Membership::Group("g1".to_owned()),
        Membership::Group("left".to_owned()),
        Membership::Role("r".to_owned()),
    ];
    btree_set(select(all), 0..3)
}

fn ending() -> impl Strategy<Value = Ending> {
    let others = [Ending::Strip, Ending::Suspend, Ending::Delete, Ending::List, Ending::Keep];
    select([[Ending::Disable; 3].as_slice(), others.as_slice()].concat())
}

fn values() -> impl Strategy<Value = BTreeMap<AttributePath, Projected>> {
    let own = select(vec![Own::Always, Own::Always, Own::Create, Own::IfEmpty]);
    let value = option::of(select(vec!["x", "y", ""]));
    let other = (value, own).prop_map(|(value, own)| projected(value, own));
    (option::weighted(0.95, select(NAMES.to_vec())), option::of(other.clone()), option::of(other)).prop_map(
        |(name, title, zone)| {
            let name = name.map(|name| (AttributePath::user_name(), projected(Some(name), Own::Always)));
            let others = [("title", title), ("timezone", zone)];
            let others = others.into_iter().filter_map(|(path, value)| Some((path_of(path), value?)));
            name.into_iter().chain(others).collect()
        },
    )
}

fn projected(value: Option<&str>, own: Own) -> Projected {
    let value = value.map(Into::into);
    Projected { value, own, personal: false, sensitive: false, origins: List::default() }
}

fn path_of(text: &str) -> AttributePath {
    AttributePath::parse(text).unwrap()
}

/// What a user should have; the record and the mark are filled in where the user is known.
fn desired() -> impl Strategy<Value = Option<Desired>> {
    let words = btree_set(select(vec!["e0", "e1", "e2", "e3"]), 0..3);
    let account = (values(), words, prop::bool::weighted(0.15)).prop_map(|(values, words, renamed)| {
        Desired::Account(Projection {
            record: "".into(),
            formerly: if renamed { vec!["u-9".into()] } else { Vec::new() },
            values,
            entitlements: words.into_iter().map(|word| (word.into(), grant(word))).collect(),
            lapsed: BTreeSet::new(),
            origins: vec![origin("a role")].into(),
        })
    });
    let reason = select(vec![NoAccessReason::Inactive, NoAccessReason::NotGranted, NoAccessReason::Ended]);
    let none = (reason, ending())
        .prop_map(|(reason, ending)| Desired::None(NoAccess { reason, ending, origins: List::default() }));
    let conflict = Just(Desired::Conflict(Conflict {
        code: "cardinality".to_owned(),
        message: String::new(),
        hint: String::new(),
    }));
    prop_oneof![5 => account.prop_map(Some), 2 => none.prop_map(Some), 1 => conflict.prop_map(Some), 1 => Just(None)]
}

fn grant(word: &str) -> ProjectedGrant {
    let membership = match word {
        "e0" => Membership::Group("g0".to_owned()),
        "e3" => Membership::Role("r".to_owned()),
        _ => Membership::Group("g1".to_owned()),
    };
    ProjectedGrant { membership, privileged: word == "e1", origins: vec![origin(word)].into() }
}

fn account() -> impl Strategy<Value = Option<Account>> {
    let marks = option::of(select(vec!["u-0", "u-1", "u-2", "u-9", "hr-7"]));
    let other = option::of(select(vec!["x", "y", ""]));
    let state = prop_oneof![4 => Just(AccountState::Active), 2 => Just(AccountState::Disabled), 3 => select(AccountState::ALL.to_vec())];
    let parts = (option::weighted(0.9, select(NAMES.to_vec())), marks, other.clone(), other, state, memberships());
    option::weighted(
        0.8,
        parts.prop_map(|(name, mark, title, zone, state, memberships)| {
            let values = [("userName", name), ("externalId", mark), ("title", title), ("timezone", zone)];
            let values = values.into_iter().filter_map(|(path, value)| Some((path_of(path), value?.into()))).collect();
            Account { id: "".into(), state, values, memberships, version: None }
        }),
    )
}

fn link() -> impl Strategy<Value = Option<(usize, bool, BTreeSet<Membership>)>> {
    option::weighted(0.5, (0..ACCOUNTS.len(), any::<bool>(), memberships()))
}

prop_compose! {
    fn world()(
        people in vec((desired(), link(), option::of(select(vec![Cause::Explicit, Cause::Inferred]))), USERS.len()),
        accounts in vec(account(), ACCOUNTS.len()),
        existing in select(vec![Existing::Refuse, Existing::Ask, Existing::Adopt, Existing::Adopt]),
        (on_gone, updates, fold, trust_names) in (ending(), prop::bool::weighted(0.8), any::<bool>(), any::<bool>()),
        coverage in select(vec![Coverage::Complete, Coverage::Complete, Coverage::Partial("cut".to_owned()), Coverage::Keyed]),
        (asked, unproven) in (btree_set(select(USERS.to_vec()), 1..5), btree_set(select(USERS.to_vec()), 0..2)),
        (waits, ended) in (any::<bool>(), vec(option::of(-1_i64..2), ACCOUNTS.len())),
    ) -> World {
        let mut world = Case::from_text(TARGET, "[]").world();
        let policy = &mut world.target.account;
        policy.existing = existing;
        policy.on_gone = on_gone;
        policy.updates = updates;
        policy.fold_user_name = fold;
        policy.deletion = waits.then_some(Deletion { after: DAY, unattended: false });
        for (id, late) in ACCOUNTS.iter().zip(ended) {
            // A second to go, just over, or over for a second.
            let ended = late.map(|late| now() - DAY - TimeDelta::seconds(late));
            world.hands.insert((*id).into(), Hand { ended, ..Hand::default() });
        }
        if trust_names {
            policy.trusted_keys = policy.match_keys.clone();
        }
        for (id, (desired, link, cause)) in USERS.iter().zip(people) {
            world.desired.extend(desired.map(|desired| ((*id).into(), named(id, desired))));
            world.causes.extend(cause.map(|cause| (((*id).into(), None), cause)));
            world.links.extend(link.map(|link| ((*id).into(), linked(id, link))));
        }
        world.accounts = ACCOUNTS.iter().zip(accounts).filter_map(|(id, account)| {
            Some(Account { id: (*id).into(), ..account? })
        }).collect();
        if coverage == Coverage::Keyed {
            world.records = Some(asked.into_iter().map(Into::into).collect());
            world.unproven = unproven.into_iter().map(Into::into).collect();
        }
        world.coverage = coverage;
        world
    }
}

fn hand() -> impl Strategy<Value = Hand> {
    let over = option::weighted(0.3, select(vec![AccountState::Suspended, AccountState::Locked]));
    let switch = option::weighted(0.3, any::<bool>());
    let known = option::weighted(0.3, select(vec!["x", "y"]));
    let hour = option::of(-1_i64..2);
    (over, (prop::bool::weighted(0.3), prop::bool::weighted(0.3)), switch, (known.clone(), known), hour).prop_map(
        |(ended_over, (deleted_by_us, regain), silenced, (given_up, agreed), blocked)| {
            let title = |value: Option<&str>| value.map(|value| (path_of("title"), value.into())).into_iter().collect();
            Hand {
                ended_over,
                deleted_by_us,
                regain,
                silenced: silenced.map(|on| (path_of("mail"), on.into())).into_iter().collect(),
                given_up: title(given_up),
                agreed: title(agreed),
                blocked: blocked.map(|late| now() - TimeDelta::hours(1) - TimeDelta::seconds(late)),
                ..Hand::default()
            }
        },
    )
}

/// What the truth table does not know: every rule of a target, other hands, and who was who.
#[derive(Clone, Debug)]
struct Rules {
    regain: Regain,
    foreign: (ForeignDisable, ForeignDelete),
    members: Members,
    drift: Drift,
    mails: bool,
    blocker: Option<Blocker>,
    hands: Vec<Hand>,
    switches: Vec<Option<bool>>,
    files: Vec<bool>,
    reused: BTreeSet<&'static str>,
    regained: BTreeSet<&'static str>,
    renamed: Option<(&'static str, &'static str)>,
    had: BTreeSet<(&'static str, &'static str)>,
}

prop_compose! {
    fn rules()(
        regain in select(vec![Regain::Same, Regain::Ask]),
        foreign in (
            select(vec![ForeignDisable::Report, ForeignDisable::Reactivate]),
            select(vec![ForeignDelete::Report, ForeignDelete::Recreate]),
        ),
        members in select(vec![Members::Additive, Members::Exact]),
        drift in select(vec![Drift::Revert, Drift::Report, Drift::Accept]),
        mails in any::<bool>(),
        blocker in option::of(option::of(Just(Duration::from_hours(1))).prop_map(|wait| Blocker { at: path_of("files"), wait })),
        hands in vec(hand(), ACCOUNTS.len()),
        switches in vec(option::of(any::<bool>()), ACCOUNTS.len()),
        files in vec(any::<bool>(), ACCOUNTS.len()),
        reused in btree_set(select(USERS.to_vec()), 0..2),
        regained in btree_set(select(USERS.to_vec()), 0..3),
        renamed in option::weighted(0.2, (select(USERS.to_vec()), select(USERS.to_vec()))),
        had in btree_set((select(ACCOUNTS.to_vec()), select(USERS.to_vec())), 0..3),
    ) -> Rules {
        Rules { regain, foreign, members, drift, mails, blocker, hands, switches, files, reused, regained, renamed, had }
    }
}

fn ruled(mut world: World, rules: Rules) -> World {
    let policy = &mut world.target.account;
    policy.regain = rules.regain;
    (policy.foreign_disable, policy.foreign_delete) = rules.foreign;
    policy.members = rules.members;
    policy.attributes.insert(path_of("title"), Mapping { drift: rules.drift, ..policy.user_name.clone() });
    policy.notifications.extend(rules.mails.then(|| path_of("mail")));
    policy.blockers.extend(rules.blocker.map(|blocker| ("files".to_owned(), blocker)));
    // Nothing is remembered of an account that was nobody's.
    let owned = |id: &str| world.links.values().any(|link| link.account.as_str() == id);
    for (id, hand) in ACCOUNTS.iter().zip(rules.hands).filter(|(id, _)| owned(id)) {
        let known = world.hands.entry((*id).into()).or_default();
        *known = Hand { ended: known.ended, ..hand };
    }
    for (place, id) in ACCOUNTS.iter().enumerate() {
        let Some(account) = world.accounts.iter_mut().find(|account| account.id.as_str() == *id) else { continue };
        account.values.extend(rules.switches[place].map(|on| (path_of("mail"), on.into())));
        account.values.extend(rules.files[place].then(|| (path_of("files"), vec!["one"].into())));
    }
    let ids = |records: BTreeSet<&'static str>| records.into_iter().map(RecordId::from);
    world.known.reused = ids(rules.reused).filter(|record| world.links.contains_key(record)).collect();
    world.known.regained = ids(rules.regained).collect();
    if let Some((new, old)) = rules.renamed.map(|(new, old)| (RecordId::from(new), RecordId::from(old)))
        && matches!(world.desired.get(&new), Some(Desired::Account(_)))
        && !world.links.contains_key(&new)
        && !world.desired.contains_key(&old)
        && let Some(link) = world.links.get(&old)
    {
        world.known.renamed = [(new, [(old, link.account.clone())].into())].into();
    }
    let empty = History::new(IdentityKey::new(b"golden"), []);
    let row = |(account, record): (&str, &str)| {
        empty.identity(&record.into(), &account.into(), None, chrono::DateTime::UNIX_EPOCH)
    };
    world.known.history = Arc::new(History::new(IdentityKey::new(b"golden"), rules.had.into_iter().map(row)));
    world
}

fn named(id: &str, desired: Desired) -> Desired {
    match desired {
        Desired::Account(mut projection) => {
            projection.record = id.into();
            projection.values.insert(AttributePath::external_id(), projected(Some(id), Own::IfEmpty));
            // Nothing is given without a line that says so.
            let says = Origin { file: "users.yaml".into(), line: 1, what: format!("User {id}").into() };
            projection.origins = vec![says.clone()].into();
            projection.entitlements.values_mut().for_each(|grant| grant.origins = vec![says.clone()].into());
            // Nobody was called what they are called now.
            projection.formerly.retain(|record| record.as_str() != id);
            Desired::Account(projection)
        }
        other @ (Desired::None(_) | Desired::Conflict(_)) => other,
    }
}

fn linked(id: &str, (account, disabled_by_us, granted): (usize, bool, BTreeSet<Membership>)) -> Link {
    Link {
        record: id.into(),
        account: ACCOUNTS[account].into(),
        by: LinkedBy::Created,
        disabled_by_us,
        granted,
        since: chrono::DateTime::UNIX_EPOCH,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_worlds_keep_the_properties(world in world()) {
        prop_assert_eq!(properties::broken(&world), Vec::<String>::new());
    }

    #[test]
    fn random_worlds_under_every_rule_keep_the_properties(world in (world(), rules()).prop_map(|(world, rules)| ruled(world, rules))) {
        prop_assert_eq!(properties::broken(&world), Vec::<String>::new());
    }

    #[test]
    fn random_plans_are_those_of_the_truth_table(world in world()) {
        let planned = world.planned().plan;
        let actual: BTreeSet<_> =
            planned.changes.iter().map(|change| (change.record.clone(), change.action, change.effect)).collect();
        prop_assert_eq!(actual, truth::expected(&world));
    }

    #[test]
    fn every_user_gets_a_change_or_a_reason(world in world()) {
        let plan = world.planned().plan;
        let mut untold = 0;
        for record in world.desired.keys().filter(|record| world.input().concerns(record)) {
            let told = plan.changes.iter().any(|change| change.record == *record)
                || plan.skips.iter().any(|skip| skip.record == *record);
            // A linked account that a partial listing did not show, with nothing due, is no news.
            let seen = world.links.get(record).is_none_or(|link| world.accounts.iter().any(|account| account.id == link.account));
            untold += u64::from(!told && seen);
        }
        // Plans of everybody count those of whom there is nothing to tell.
        prop_assert_eq!(untold, plan.quiet.in_sync + plan.quiet.not_entitled);
        prop_assert!(world.records.is_none() || untold == 0);
    }

    #[test]
    fn creations_state_that_the_account_is_active(world in world()) {
        let plan = world.planned().plan;
        for change in plan.changes.iter().filter(|change| change.action == Action::Create) {
            prop_assert_eq!(change.active, Some(true));
        }
    }
}
