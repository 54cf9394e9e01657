//! Users by the values of their keys, and what the accounts that were seen make of them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::correlate::keys::Comparison;
use crate::model::account::Account;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::one_or_more::OneOrMore;
use crate::model::projection::Projection;

/// Users that have no link, by the values of their match keys.
///
/// Users are indexed and accounts are not, because accounts stream past and there may be far
/// more of them than anybody wants to keep.
pub struct Index<'a> {
    comparison: Comparison<'a>,
    /// By position of the key in `account.match`, and its text.
    users: BTreeMap<(usize, String), OneOrMore<RecordId>>,
    /// By the user name they want, which need not be a match key and is taken all the same.
    names: BTreeMap<String, OneOrMore<RecordId>>,
}

impl<'a> Index<'a> {
    /// An index without users.
    pub fn new(comparison: Comparison<'a>) -> Self {
        Self { comparison, users: BTreeMap::new(), names: BTreeMap::new() }
    }

    /// Adds one user.
    pub fn add(&mut self, projection: &Projection) {
        for (position, key) in self.comparison.policy.match_keys.iter().enumerate() {
            for text in self.comparison.of_projection(key, projection) {
                OneOrMore::join(&mut self.users, (position, text), projection.record.clone());
            }
        }
        if let Some(name) = self.comparison.wanted_name(projection) {
            OneOrMore::join(&mut self.names, name, projection.record.clone());
        }
    }

    /// Who wants the user name that the account has.
    pub fn wanting_name_of(&self, account: &Account) -> impl Iterator<Item = &RecordId> {
        let name = if self.names.is_empty() { None } else { self.comparison.name_of(account) };
        name.and_then(|name| self.names.get(&name)).into_iter().flat_map(OneOrMore::iter)
    }

    /// Which users the account fits, each with the position of the first key that says so.
    pub fn hits(&self, account: &Account) -> BTreeMap<RecordId, usize> {
        let mut hits = BTreeMap::new();
        if self.users.is_empty() {
            // The usual case: everybody is linked, and a million accounts stream past.
            return hits;
        }
        for (position, text) in self.comparison.of_account(account).into_iter().enumerate() {
            let Some(text) = text else { continue };
            for record in self.users.get(&(position, text)).into_iter().flat_map(OneOrMore::iter) {
                hits.entry(record.clone()).or_insert(position);
            }
        }
        hits
    }
}

/// What the accounts that were seen say about one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// One account, and no other user has it.
    One {
        /// The account.
        account: AccountId,
        /// Position in `account.match` of the key that found it.
        key: usize,
    },
    /// Several accounts for this user, or several users for this account.
    Ambiguous {
        /// Every account concerned.
        accounts: BTreeSet<AccountId>,
        /// Every user concerned, this one included.
        users: BTreeSet<RecordId>,
        /// Position of the key that found them for this user.
        key: usize,
    },
}

/// Collects hits until the end of the listing.
#[derive(Default)]
pub struct Matches {
    users: BTreeMap<RecordId, BTreeMap<usize, BTreeSet<AccountId>>>,
}

impl Matches {
    /// One account fits one user by the key at `position`.
    pub fn add(&mut self, record: &RecordId, position: usize, account: &AccountId) {
        self.users.entry(record.clone()).or_default().entry(position).or_default().insert(account.clone());
    }

    /// The accounts that decide for each user, by the first key that found any.
    fn deciding(&self) -> impl Iterator<Item = (&RecordId, usize, &BTreeSet<AccountId>)> {
        self.users.iter().filter_map(|(record, by_key)| {
            let (position, accounts) = by_key.first_key_value()?;
            Some((record, *position, accounts))
        })
    }

    /// What is known about each user that any account fits.
    pub fn decide(&self) -> BTreeMap<RecordId, Match> {
        let mut claims: BTreeMap<&AccountId, BTreeSet<&RecordId>> = BTreeMap::new();
        for (record, _, accounts) in self.deciding() {
            for account in accounts {
                claims.entry(account).or_default().insert(record);
            }
        }
        let verdict = |record: &RecordId, key: usize, accounts: &BTreeSet<AccountId>| {
            let claimants = accounts.iter().filter_map(|account| claims.get(account)).flatten().copied();
            let users: BTreeSet<RecordId> = claimants.chain([record]).cloned().collect();
            match accounts.first() {
                Some(account) if accounts.len() == 1 && users.len() == 1 => {
                    Match::One { account: account.clone(), key }
                }
                _ => Match::Ambiguous { accounts: accounts.clone(), users, key },
            }
        };
        self.deciding().map(|(record, key, accounts)| (record.clone(), verdict(record, key, accounts))).collect()
    }
}
