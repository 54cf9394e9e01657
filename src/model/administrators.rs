//! How many accounts may do everything in a target (`administrators`), and which they are.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::model::account::Account;
use crate::model::account::Membership;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::ids::AccountId;
use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::tally::Thing;

/// `spec.administrators`: how many active accounts should have a word of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Administrators {
    /// The word.
    pub entitlement: EntitlementName,
    /// What it is in the target.
    pub membership: Membership,
    /// At least so many.
    pub min: u64,
    /// At most so many; `None`: any number.
    pub max: Option<u64>,
    /// Whether what leads outside is held; if not, it is told.
    pub enforce: bool,
}

impl Administrators {
    /// Whether so many are neither too few nor too many.
    pub fn allows(&self, active: u64) -> bool {
        self.min <= active && self.max.is_none_or(|max| active <= max)
    }
}

/// Numbers of a plan after which a target has too few administrators or too many, or has them now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headcount {
    /// What is asked for.
    pub wanted: Administrators,
    /// Active ones now.
    pub now: u64,
    /// Active ones once the plan is carried out.
    pub then: u64,
}

/// The accounts that have the word, whoever owns them, as far as they were seen and changed since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Each, and whether it is active.
    holders: BTreeMap<Thing, bool>,
    /// Whether a complete listing showed them: nobody else has the word.
    pub complete: bool,
}

impl Census {
    /// How many of them are active.
    pub fn active(&self) -> u64 {
        self.holders.values().filter(|active| **active).count() as u64
    }

    /// Takes in an account as it was seen.
    pub fn see(&mut self, wanted: &Administrators, account: &Account) {
        let thing = Thing::of_account(&account.id);
        if account.memberships.contains(&wanted.membership) {
            self.holders.insert(thing, account.state.gives_access());
        } else {
            self.holders.remove(&thing);
        }
    }

    /// Takes from an earlier census what it knows of a user's account.
    pub fn keep(&mut self, earlier: &Self, record: &RecordId, account: Option<&AccountId>) {
        for thing in account.map(Thing::of_account).into_iter().chain([Thing::of_user(record)]) {
            match earlier.holders.get(&thing) {
                Some(active) => drop(self.holders.insert(thing, *active)),
                None => drop(self.holders.remove(&thing)),
            }
        }
    }

    /// Whether a change leaves one active account less with the word.
    pub fn loses(&self, wanted: &Administrators, change: &Change) -> bool {
        let ends = change.effect == Effect::Narrows && (shuts(change) || takes(wanted, change));
        ends && self.holders.get(&Thing::account(change)) == Some(&true)
    }

    /// Whether a change leaves one more.
    pub fn gains(&self, wanted: &Administrators, change: &Change) -> bool {
        let known = self.holders.get(&Thing::account(change));
        let gives = change.grant.iter().any(|entry| entry.membership == wanted.membership);
        let returns = matches!(change.action, Action::Reactivate | Action::Restore) && known == Some(&false);
        change.effect == Effect::Widens && known != Some(&true) && (gives || returns)
    }

    /// Takes in a change as if it were done.
    pub fn apply(&mut self, wanted: &Administrators, change: &Change) {
        if self.gains(wanted, change) {
            self.holders.insert(Thing::account(change), true);
        }
        if change.effect != Effect::Narrows {
            return;
        }
        let thing = Thing::account(change);
        if takes(wanted, change) {
            self.holders.remove(&thing);
        } else if let Some(active) = self.holders.get_mut(&thing).filter(|_| shuts(change)) {
            *active = false;
        }
    }
}

fn shuts(change: &Change) -> bool {
    change.active == Some(false) || matches!(change.action, Action::Disable | Action::Delete)
}

fn takes(wanted: &Administrators, change: &Change) -> bool {
    change.revoke.iter().any(|entry| entry.membership == wanted.membership)
}
