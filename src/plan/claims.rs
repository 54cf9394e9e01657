//! Who else fits an account that is to be deleted.
//!
//! # Guarantees
//! - An account that anybody else who is declared correlates to, by a match key or by the user name that
//!   they want, is not deleted: not by time, and not by a word that was said before they came (L10).
//!   Also where they have another account: whose this one is, a person knows. And also where they are to
//!   have theirs later, or once a conflict is settled.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::account::Account;
use crate::model::ids::RecordId;
use crate::model::projection::Desired;
use crate::plan::input::PlanInput;

/// Accounts to be deleted, by the users whose they are.
pub type Doomed<'d> = BTreeMap<&'d RecordId, &'d Arc<Account>>;

/// Of each account to be deleted somebody else who fits it. Everybody's wishes are asked, so only where
/// something is to be deleted at all.
pub fn claimants(input: &PlanInput<'_>, doomed: &Doomed<'_>) -> BTreeMap<RecordId, RecordId> {
    let mut found = BTreeMap::new();
    if doomed.is_empty() {
        return found;
    }
    let comparison = input.comparison();
    let mut keys: BTreeMap<(usize, String), BTreeSet<&RecordId>> = BTreeMap::new();
    let mut names: BTreeMap<String, BTreeSet<&RecordId>> = BTreeMap::new();
    for (owner, account) in doomed {
        for (position, text) in comparison.of_account(account).into_iter().enumerate() {
            let Some(text) = text else { continue };
            keys.entry((position, text)).or_default().insert(owner);
        }
        if let Some(name) = comparison.name_of(account) {
            names.entry(name).or_default().insert(owner);
        }
    }
    for record in input.desired.records() {
        let Some(desired) = input.desired.of(record) else { continue };
        let expected;
        let projection = match &*desired {
            Desired::Account(projection) => projection,
            Desired::None(_) | Desired::Conflict(_) => {
                expected = input.desired.expected(record);
                let Some(projection) = &expected else { continue };
                projection
            }
        };
        let by_name = comparison.wanted_name(projection).and_then(|name| names.get(&name)).into_iter().flatten();
        let positions = comparison.policy.match_keys.iter().enumerate();
        let texts = positions.flat_map(|(position, key)| {
            comparison.of_projection(key, projection).into_iter().map(move |text| (position, text))
        });
        let by_key = texts.filter_map(|text| keys.get(&text)).flatten();
        for owner in by_name.chain(by_key).filter(|owner| **owner != record) {
            found.entry((*owner).clone()).or_insert_with(|| record.clone());
        }
    }
    found
}
