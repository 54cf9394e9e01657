//! What a plan is made from, accounts apart.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::correlate::keys::Canonicalize;
use crate::correlate::keys::Comparison;
use crate::correlate::names;
use crate::model::account::Account;
use crate::model::change::Cause;
use crate::model::ids::AccountId;
use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::model::projection::Desired;
use crate::model::target::Target;

/// Everything that a plan follows from, save the accounts that are shown to the planner.
#[derive(Clone, Copy)]
pub struct PlanInput<'a> {
    /// The target's rules.
    pub target: &'a Target,
    /// Whose links these are.
    pub space: &'a Space,
    /// What every declared user should have. All of them, in keyed plans too: a user outside
    /// `records` may claim the same account.
    pub desired: &'a BTreeMap<RecordId, Desired>,
    /// The links of the space, by record.
    pub links: &'a BTreeMap<RecordId, Link>,
    /// Why access narrows, remembered from when it was first seen; `None` is the account itself.
    pub causes: &'a BTreeMap<(RecordId, Option<EntitlementName>), Cause>,
    /// Desired values in the form in which the target gives them back.
    pub canonicalize: &'a Canonicalize<'a>,
    /// The account of our own credential.
    pub own_account: Option<&'a AccountId>,
    /// Keyed plans: only these users. `None` plans everybody.
    pub records: Option<&'a BTreeSet<RecordId>>,
    /// Keyed plans: users whose look-ups did not prove that nothing else is there.
    pub unproven: &'a BTreeSet<RecordId>,
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

    /// Whether the account is never written: our own, or a protected name.
    pub fn is_untouchable(&self, account: &Account) -> bool {
        self.own_account == Some(&account.id) || account.user_name().is_some_and(|name| self.is_protected(name))
    }

    /// Whether the name is one of `account.protected`.
    pub fn is_protected(&self, name: &str) -> bool {
        names::is_protected(&self.target.account, name)
    }
}
