//! What a plan is made from, accounts apart.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::Utc;

use crate::correlate::keys::Canonicalize;
use crate::correlate::keys::Comparison;
use crate::correlate::names;
use crate::model::account::Account;
use crate::model::change::Cause;
use crate::model::hand::Hand;
use crate::model::hand::Hands;
use crate::model::ids::AccountId;
use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::model::projection::Wishes;
use crate::model::target::Exception;
use crate::model::target::Target;
use crate::plan::identity::Known;

/// Everything that a plan follows from, save the accounts that are shown to the planner.
#[derive(Clone, Copy)]
pub struct PlanInput<'a> {
    /// The target's rules.
    pub target: &'a Target,
    /// Whose links these are.
    pub space: &'a Space,
    /// What every declared user should have. All of them, in keyed plans too: a user outside
    /// `records` may claim the same account.
    pub desired: &'a dyn Wishes,
    /// The links of the space, by record.
    pub links: &'a BTreeMap<RecordId, Link>,
    /// Why access narrows, remembered from when it was first seen; `None` is the account itself.
    pub causes: &'a BTreeMap<(RecordId, Option<EntitlementName>), Cause>,
    /// What is remembered of other hands, by account.
    pub hands: &'a Hands,
    /// Who was who.
    pub known: &'a Known,
    /// Desired values in the form in which the target gives them back.
    pub canonicalize: &'a Canonicalize<'a>,
    /// The account of our own credential.
    pub own_account: Option<&'a AccountId>,
    /// Keyed plans: only these users. `None` plans everybody.
    pub records: Option<&'a BTreeSet<RecordId>>,
    /// Keyed plans: users whose look-ups did not prove that nothing else is there.
    pub unproven: &'a BTreeSet<RecordId>,
    /// The moment of the plan, in the time by which windows slide; it stands still while the clock is
    /// doubted (L16).
    pub now: DateTime<Utc>,
    /// The same, where it went on while the clock was doubted, by the time that really passed: for what
    /// keeps a leaver in.
    pub passed: DateTime<Utc>,
}

impl<'a> PlanInput<'a> {
    /// Whether this plan speaks about the user.
    pub fn concerns(&self, record: &RecordId) -> bool {
        self.records.is_none_or(|records| records.contains(record))
    }

    /// How the target compares.
    pub fn comparison(&self) -> Comparison<'a> {
        Comparison { policy: &self.target.account, canonicalize: self.canonicalize }
    }

    /// What is remembered of other hands at an account.
    pub fn hand(&self, account: &AccountId) -> &'a Hand {
        static NOBODY: Hand = Hand {
            given_up: BTreeMap::new(),
            agreed: BTreeMap::new(),
            ended_over: None,
            deleted_by_us: false,
            missing_since: None,
            missing: false,
            gone: None,
            regain: false,
            ended: None,
            taken: None,
            silenced: BTreeMap::new(),
            blocked: None,
            waited: BTreeMap::new(),
        };
        self.hands.get(account).unwrap_or(&NOBODY)
    }

    /// Whether the account is never written: our own, one that an `Exception` explains, or a
    /// protected name.
    pub fn is_untouchable(&self, account: &Account) -> bool {
        let named = account.user_name().is_some_and(|name| self.is_protected(name));
        named || self.own_account == Some(&account.id) || self.exception(&account.id, None).is_some()
    }

    /// Whether nobody may have the name: one of `account.protected`, or of an exception.
    pub fn is_protected(&self, name: &str) -> bool {
        let policy = &self.target.account;
        let reserved = |exception: &Exception| names::folded(policy, &exception.account) == names::folded(policy, name);
        names::is_protected(policy, name) || self.target.exceptions.iter().any(reserved)
    }

    /// The `Exception` that names an account by its id or user name.
    pub fn exception(&self, id: &AccountId, user_name: Option<&str>) -> Option<&'a Exception> {
        let policy = &self.target.account;
        let same = |exception: &&Exception| {
            let named = |name: &str| names::folded(policy, name) == names::folded(policy, &exception.account);
            exception.account == id.as_str() || user_name.is_some_and(named)
        };
        self.target.exceptions.iter().find(same)
    }
}
