//! A target that does what it is told, and a store that remembers it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use rosterd::model::account::Account;
use rosterd::model::account::AccountState;
use rosterd::model::change::Action;
use rosterd::model::change::Change;
use rosterd::model::hand::Hand;
use rosterd::model::link::Link;
use rosterd::model::link::LinkedBy;

use crate::golden::case::World;
use crate::golden::case::canonicalize;

/// The world after every change was confirmed.
pub(super) fn applied(world: &World, changes: &[Change]) -> World {
    let mut after = world.clone();
    for change in changes {
        apply(&mut after, change);
    }
    after
}

fn apply(world: &mut World, change: &Change) {
    let id = change.account.clone().unwrap_or_else(|| format!("new-{}", change.record).into());
    if change.action == Action::Create {
        let account = Account {
            id: id.clone(),
            state: AccountState::Active,
            values: BTreeMap::new(),
            memberships: BTreeSet::new(),
            version: None,
        };
        world.accounts.push(account);
    }
    if change.action == Action::Delete {
        world.accounts.retain(|account| account.id != id);
        world.links.remove(&change.record);
        return;
    }
    let ended_over = world.accounts.iter().find(|account| account.id == id).map(|account| account.state);
    let account = world.accounts.iter_mut().find(|account| account.id == id).expect("a change names an account");
    for field in &change.fields {
        match &field.after {
            Some(value) => {
                let stored = canonicalize(&field.path, value);
                account.values.insert(field.path.clone(), stored);
            }
            None => {
                account.values.remove(&field.path);
            }
        }
    }
    account.memberships.extend(change.granted());
    account.memberships = account.memberships.difference(&change.revoked()).cloned().collect();
    match change.active {
        Some(true) => account.state = AccountState::Active,
        Some(false) => account.state = AccountState::Disabled,
        None => {}
    }
    let held = ended_over.filter(|state| matches!(state, AccountState::Suspended | AccountState::Locked));
    match change.active {
        Some(true) => {
            let hand = world.hands.entry(id.clone()).or_default();
            *hand = Hand { ended_over: None, deleted_by_us: false, regain: false, ended: None, ..hand.clone() };
        }
        Some(false) if held.is_some() => world.hands.entry(id.clone()).or_default().ended_over = held,
        Some(false) | None => {}
    }
    remember(world, change, id);
}

fn remember(world: &mut World, change: &Change, account: rosterd::model::ids::AccountId) {
    let link = world.links.entry(change.record.clone()).or_insert_with(|| Link {
        record: change.record.clone(),
        account,
        by: if change.action == Action::Create { LinkedBy::Created } else { LinkedBy::Adopted },
        disabled_by_us: false,
        granted: BTreeSet::new(),
        since: DateTime::UNIX_EPOCH,
    });
    link.granted.extend(change.granted());
    link.granted = link.granted.difference(&change.revoked()).cloned().collect();
    if let Some(active) = change.active {
        link.disabled_by_us = !active;
    }
}
