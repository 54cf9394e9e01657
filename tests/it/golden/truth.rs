//! What a plan should do, decided naively: every account is kept, everybody is compared with
//! everything, and nothing of the planner is used.

use std::collections::BTreeSet;

use rosterd::model::account::Account;
use rosterd::model::account::AccountState;
use rosterd::model::account::Membership;
use rosterd::model::change::Action;
use rosterd::model::change::Cause;
use rosterd::model::change::Effect;
use rosterd::model::ids::RecordId;
use rosterd::model::link::Link;
use rosterd::model::plan::Coverage;
use rosterd::model::projection::Desired;
use rosterd::model::projection::Projection;
use rosterd::model::target::Deletion;
use rosterd::model::target::Ending;
use rosterd::model::target::Existing;
use rosterd::model::target::Own;

use crate::golden::case::World;
use crate::golden::case::canonicalize;
use crate::golden::case::now;

const DELETION: (Action, Effect) = (Action::Delete, Effect::Narrows);

type Expected = BTreeSet<(RecordId, Action, Effect)>;

pub(super) fn expected(world: &World) -> Expected {
    let everybody: BTreeSet<&RecordId> = world.desired.keys().chain(world.links.keys()).collect();
    let asked = |record: &&RecordId| world.records.as_ref().is_none_or(|records| records.contains(*record));
    let mut expected = Expected::new();
    for record in everybody.into_iter().filter(asked) {
        let done = match world.links.get(record) {
            Some(link) => linked(world, link),
            None => unlinked(world, record).into_iter().map(|action| (action, Effect::Widens)).collect(),
        };
        expected.extend(done.into_iter().map(|(action, effect)| (record.clone(), action, effect)));
    }
    expected
}

fn linked(world: &World, link: &Link) -> Vec<(Action, Effect)> {
    let Some(account) = world.accounts.iter().find(|account| account.id == link.account) else { return Vec::new() };
    let alone = world.links.values().filter(|other| other.account == link.account).count() == 1;
    let renamed = !world.desired.contains_key(&link.record)
        && accounts(world).any(|projection| projection.formerly.contains(&link.record));
    if !alone || renamed || is_root(account.user_name().unwrap_or_default(), world) {
        return Vec::new();
    }
    let open = matches!(account.state, AccountState::Active | AccountState::Pending | AccountState::Unknown);
    let held: BTreeSet<&Membership> = link.granted.intersection(&account.memberships).collect();
    // What is locked or suspended opens again without rosterd: narrowing does not wait for that.
    let withheld = matches!(account.state, AccountState::Locked | AccountState::Suspended);
    let ends = open || (withheld && !link.disabled_by_us);
    let there = account.state != AccountState::DeletedRecoverable;
    // Another account with the user's mark, which is nobody's: which one is theirs is not guessed.
    let twin = world.accounts.iter().any(|other| {
        other.external_id() == Some(link.record.as_str()) && world.links.values().all(|link| link.account != other.id)
    });
    let ended_since = world.hands.get(&link.account).and_then(|hand| hand.ended);
    let over = |wait: Deletion| ended_since.is_some_and(|ended| ended + wait.after <= now());
    // What another hand locked or suspended after rosterd shut it is that hand's (L17).
    let shut = link.disabled_by_us && account.state == AccountState::Disabled;
    let after_wait = |wait: Deletion| if shut && !twin && over(wait) { vec![DELETION] } else { Vec::new() };
    let at_once = |ending: Ending| match ending {
        Ending::Disable | Ending::Suspend if ends => vec![(Action::Disable, Effect::Narrows)],
        Ending::Strip if there && !held.is_empty() => vec![(Action::Narrow, Effect::Narrows)],
        Ending::Delete if ends && twin => vec![(Action::Disable, Effect::Narrows)],
        Ending::Delete if ends => vec![(Action::Disable, Effect::Narrows), DELETION],
        Ending::Delete if there && !twin => vec![DELETION],
        Ending::Disable | Ending::Suspend | Ending::Delete | Ending::Strip | Ending::List | Ending::Keep => Vec::new(),
    };
    let ended = |ending: Ending| match (ending, world.target.account.deletion) {
        (Ending::Disable | Ending::Suspend | Ending::Delete, Some(wait)) if !ends => after_wait(wait),
        (Ending::Delete, Some(_)) => vec![(Action::Disable, Effect::Narrows)],
        (ending, _) => at_once(ending),
    };
    let projection = match world.desired.get(&link.record) {
        // Somebody else fits the account of a user who is gone: nothing is inferred from that.
        None if displaces(world, account) && !meant(world, link) => return Vec::new(),
        None => {
            let mut done = ended(world.target.account.on_gone);
            done.retain(|change| *change != DELETION || !(displaces(world, account) || shared(world, link, account)));
            return done;
        }
        Some(Desired::None(no)) => {
            let mut done = ended(no.ending);
            done.retain(|change| *change != DELETION || !shared(world, link, account));
            return done;
        }
        Some(Desired::Conflict(_)) => return Vec::new(),
        Some(Desired::Account(projection)) => projection,
    };
    let wanted: BTreeSet<&Membership> = projection.entitlements.values().map(|grant| &grant.membership).collect();
    let mut done = Vec::new();
    if held.iter().any(|membership| !wanted.contains(*membership)) {
        done.push((Action::Narrow, Effect::Narrows));
    }
    if is_root(name_of(projection), world) {
        return done;
    }
    if open {
        if differs(world, projection, account) {
            done.push((Action::Update, Effect::Neutral));
        }
        if wanted.iter().any(|membership| !account.memberships.contains(*membership)) {
            done.push((Action::Update, Effect::Widens));
        }
    } else if account.state == AccountState::Disabled && link.disabled_by_us {
        done.push((Action::Reactivate, Effect::Widens));
    }
    done
}

fn differs(world: &World, projection: &Projection, account: &Account) -> bool {
    let mut written = projection.values.iter().filter(|(path, projected)| {
        let now = account.values.get(*path).and_then(|value| value.as_str()).filter(|now| !now.is_empty());
        let value = projected.value.as_ref().map(|value| canonicalize(path, value));
        let wanted = value.as_ref().and_then(|value| value.as_str());
        if path.as_str() == "externalId" {
            return now.is_none_or(|now| projection.formerly.iter().any(|earlier| earlier.as_str() == now));
        }
        let equal = match (wanted, now) {
            (Some(wanted), Some(now)) if path.as_str() == "userName" => same_name(world, wanted, now),
            (wanted, now) => wanted == now,
        };
        match (projected.own, wanted) {
            (_, Some("")) | (Own::Create, _) => false,
            (Own::Always, _) => !equal,
            (Own::IfEmpty, wanted) => now.is_none() && wanted.is_some(),
        }
    });
    world.target.account.updates && written.next().is_some()
}

fn unlinked(world: &World, record: &RecordId) -> Option<Action> {
    let Some(Desired::Account(projection)) = world.desired.get(record) else { return None };
    let proven = match world.coverage {
        Coverage::Complete => true,
        Coverage::Partial(_) => false,
        Coverage::Keyed => !world.unproven.contains(record),
    };
    let left_behind = projection
        .formerly
        .iter()
        .any(|earlier| !world.desired.contains_key(earlier) && world.links.contains_key(earlier));
    let owner = |link: &&Link| world.links.values().rfind(|other| other.account == link.account) == Some(*link);
    let displaced =
        world.links.values().filter(owner).filter(|link| !world.desired.contains_key(&link.record)).any(|link| {
            let account = world.accounts.iter().find(|account| account.id == link.account);
            account.is_some_and(|account| {
                let fits = (0..2).any(|key| fits(world, projection, account, key));
                fits && !projection.formerly.contains(&link.record)
            })
        });
    if !proven || displaced || left_behind || is_root(name_of(projection), world) {
        return None;
    }
    let Some((key, found)) = found(world, projection, |_| true) else { return creates(world, projection) };
    let [account] = found.as_slice() else { return None };
    let rivals = accounts(world).filter(|other| other.record != *record && !world.links.contains_key(&other.record));
    let claimed = rivals.into_iter().any(|rival| claims(world, rival, account));
    let policy = &world.target.account;
    let foreign = account.external_id().is_some_and(|mark| !marks(projection, mark));
    let open = matches!(account.state, AccountState::Active | AccountState::Pending | AccountState::Unknown);
    let trusted = policy.trusted_keys.contains(&policy.match_keys[key]);
    let takes = policy.existing == Existing::Adopt && trusted && open && !foreign && !claimed;
    (takes && !is_root(account.user_name().unwrap_or_default(), world)).then_some(Action::Adopt)
}

/// Whether a user without a link fits the account of one who is gone.
fn displaces(world: &World, account: &Account) -> bool {
    let newcomers = accounts(world).filter(|other| !world.links.contains_key(&other.record));
    newcomers.into_iter().any(|other| (0..2).any(|key| fits(world, other, account, key)))
}

/// Whether anybody else who is to have an account fits this one, whether or not they have another.
fn shared(world: &World, link: &Link, account: &Account) -> bool {
    let named = |other: &Projection| !name_of(other).is_empty() && fits(world, other, account, 1);
    let mut others = accounts(world).filter(|other| other.record != link.record);
    others.any(|other| fits(world, other, account, 0) || named(other))
}

/// Whether it was the user's own document that took the account away.
fn meant(world: &World, link: &Link) -> bool {
    world.causes.get(&(link.record.clone(), None)) == Some(&Cause::Explicit)
}

/// Of a user outside a keyed plan no more is known than what fits those who were asked for, too.
fn claims(world: &World, rival: &Projection, account: &Account) -> bool {
    let outside = |record: &RecordId| world.records.as_ref().is_some_and(|records| !records.contains(record));
    let asked = |other: &&Projection| !outside(&other.record) && !world.links.contains_key(&other.record);
    let known = |account: &Account| {
        let mut asked = accounts(world).filter(asked);
        !outside(&rival.record) || asked.any(|other| (0..2).any(|key| fits(world, other, account, key)))
    };
    found(world, rival, known).is_some_and(|(_, found)| found.contains(&account))
}

fn found<'w>(
    world: &'w World,
    projection: &Projection,
    known: impl Fn(&Account) -> bool,
) -> Option<(usize, Vec<&'w Account>)> {
    let free = |account: &&Account| known(account) && world.links.values().all(|link| link.account != account.id);
    (0..2).find_map(|key| {
        let found: Vec<_> =
            world.accounts.iter().filter(free).filter(|account| fits(world, projection, account, key)).collect();
        (!found.is_empty()).then_some((key, found))
    })
}

fn fits(world: &World, projection: &Projection, account: &Account, key: usize) -> bool {
    match key {
        0 => account.external_id().is_some_and(|mark| marks(projection, mark)),
        _ => account.user_name().is_some_and(|name| same_name(world, name_of(projection), name)),
    }
}

fn creates(world: &World, projection: &Projection) -> Option<Action> {
    let name = name_of(projection);
    let held = world.links.values().any(|link| {
        let account = world.accounts.iter().find(|account| account.id == link.account);
        let holds = account.is_some_and(|account| account.user_name().is_some_and(|held| same_name(world, name, held)));
        holds && !is_renamed(world, link)
    });
    (!name.is_empty() && !held).then_some(Action::Create)
}

fn is_renamed(world: &World, link: &Link) -> bool {
    let asked = world.records.as_ref().is_none_or(|records| records.contains(&link.record));
    let Some(account) = world.accounts.iter().find(|account| account.id == link.account) else { return false };
    let Some(Desired::Account(projection)) = world.desired.get(&link.record) else { return false };
    let renames = world.target.account.updates
        && !name_of(projection).is_empty()
        && !account.user_name().is_some_and(|name| same_name(world, name_of(projection), name));
    let written = linked(world, link).iter().any(|(action, effect)| {
        *action == Action::Reactivate || (*action == Action::Update && *effect == Effect::Neutral)
    });
    asked && renames && written
}

fn accounts(world: &World) -> impl Iterator<Item = &Projection> {
    world.desired.values().filter_map(|desired| match desired {
        Desired::Account(projection) => Some(projection),
        Desired::None(_) | Desired::Conflict(_) => None,
    })
}

fn marks(projection: &Projection, mark: &str) -> bool {
    projection.record.as_str() == mark || projection.formerly.iter().any(|earlier| earlier.as_str() == mark)
}

fn name_of(projection: &Projection) -> &str {
    projection
        .values
        .iter()
        .find(|(path, _)| path.as_str() == "userName")
        .and_then(|(_, projected)| projected.value.as_ref()?.as_str())
        .unwrap_or_default()
}

fn same_name(world: &World, left: &str, right: &str) -> bool {
    if world.target.account.fold_user_name { left.eq_ignore_ascii_case(right) } else { left == right }
}

fn is_root(name: &str, world: &World) -> bool {
    if world.target.account.fold_user_name { name.to_lowercase().starts_with("root") } else { name.starts_with("root") }
}
