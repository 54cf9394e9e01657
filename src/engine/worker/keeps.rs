//! What users keep of their accounts, and so who is looked at first: whoever may lose access (L5).

use std::collections::BTreeSet;

use crate::engine::worker::Worker;
use crate::model::account::Membership;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::projection::Desired;
use crate::model::target::Ending;

/// What a user keeps, as far as documents and people's words say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keeps {
    /// These memberships of an account.
    Only(BTreeSet<Membership>),
    /// No access.
    Nothing,
    /// Whatever there is, until a conflict is settled.
    All,
}

impl Keeps {
    fn of(desired: Option<Desired>) -> Self {
        match desired {
            Some(Desired::Account(projection)) => {
                Self::Only(projection.entitlements.into_values().map(|grant| grant.membership).collect())
            }
            Some(Desired::None(_)) | None => Self::Nothing,
            Some(Desired::Conflict(_)) => Self::All,
        }
    }

    /// Whether that takes something of what a link gave.
    fn takes_of(&self, link: &Link) -> bool {
        match self {
            Self::Only(memberships) => !link.granted.is_subset(memberships),
            Self::Nothing => true,
            Self::All => false,
        }
    }
}

impl Worker {
    /// Whether others wait until this user was looked at: who may lose access. Who lost it already, and
    /// owes nothing, loses at most an account.
    pub(super) fn comes_first(&self, record: &RecordId) -> bool {
        let is_shut = self.link_of(record).is_some_and(|link| link.disabled_by_us);
        let waits = self.waits_its_turn(record);
        !waits && self.may_narrow(record) && (!is_shut || self.owed.since(record).is_some())
    }

    /// Whether this user may lose something.
    pub(super) fn may_narrow(&self, record: &RecordId) -> bool {
        let Some(link) = self.link_of(record) else { return false };
        match self.dirty.get(record).and_then(|dirty| dirty.keeps.as_ref()) {
            Some(keeps) => {
                debug_assert_eq!(*keeps, Keeps::of(self.table.desired(record)), "what was worked out still holds");
                keeps.takes_of(link)
            }
            None => Keeps::of(self.table.desired(record)).takes_of(link),
        }
    }

    /// Works out what users who must be looked at keep, once for each.
    pub(super) fn work_out_what_stays(&mut self) {
        let open = self.dirty.iter().filter(|(record, dirty)| dirty.keeps.is_none() && self.link_of(record).is_some());
        let found: Vec<_> = open.map(|(record, _)| (record.clone(), Keeps::of(self.table.desired(record)))).collect();
        for (record, keeps) in found {
            if let Some(dirty) = self.dirty.get_mut(&record) {
                dirty.keeps = Some(keeps);
            }
        }
    }

    /// What a user keeps is another thing now.
    pub(super) fn forget_what_stays(&mut self, record: &RecordId) {
        if let Some(dirty) = self.dirty.get_mut(record) {
            dirty.keeps = None;
        }
    }

    /// Whether this user will lose something, as far as is known without a look at the account.
    pub(super) fn surely_narrows(&self, record: &RecordId) -> bool {
        let Some(link) = self.link_of(record) else { return false };
        let ending = match self.table.desired(record) {
            Some(Desired::None(no)) => no.ending,
            None => self.handle.target.account.on_gone,
            account @ Some(Desired::Account(_)) => return Keeps::of(account).takes_of(link),
            Some(Desired::Conflict(_)) => return self.conflict_keeps(record, link),
        };
        match ending {
            Ending::Disable | Ending::Suspend | Ending::Delete => !link.disabled_by_us,
            Ending::Strip => !link.granted.is_empty(),
            Ending::List | Ending::Keep => false,
        }
    }
}
