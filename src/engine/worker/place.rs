//! Where a target is, and what the store knows of it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::connector::Shape;
use crate::engine::guardrail::Guardrail;
use crate::engine::identity::Identities;
use crate::engine::look::Causes;
use crate::model::administrators::Census;
use crate::model::hand::Hand;
use crate::model::hand::Hands;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::link::Space;

/// Where the target is, and what the store knows of it.
pub(super) struct Place {
    pub(super) space: Space,
    pub(super) own_account: Option<AccountId>,
    pub(super) links: Arc<BTreeMap<RecordId, Link>>,
    /// What is read of each account; grows with what links grant.
    pub(super) shape: Arc<Shape>,
    pub(super) by_account: BTreeMap<AccountId, RecordId>,
    /// How many of `links` rosterd did not disable, and what the store was told of that last.
    pub(super) active: u64,
    pub(super) noted_active: Option<u64>,
    pub(super) causes: Arc<Causes>,
    pub(super) hands: Arc<Hands>,
    pub(super) identities: Identities,
    pub(super) guardrail: Guardrail,
    /// Whether a listing has shown what is there: creations in an unknown target wait for it.
    pub(super) listed: bool,
    /// Whether it showed any account.
    pub(super) populated: bool,
    /// Who may do everything there, where `administrators` asks.
    pub(super) census: Census,
}

impl Place {
    pub(super) fn set_links(&mut self, links: BTreeMap<RecordId, Link>) {
        self.active = links.values().filter(|link| !link.disabled_by_us).count() as u64;
        for link in links.values() {
            self.widen_shape(link);
        }
        self.by_account = links.values().map(|link| (link.account.clone(), link.record.clone())).collect();
        self.links = Arc::new(links);
    }

    /// What a link grants must be seen, even where the target's document names it no more.
    fn widen_shape(&mut self, link: &Link) {
        if !link.granted.is_subset(&self.shape.memberships) {
            Arc::make_mut(&mut self.shape).memberships.extend(link.granted.iter().cloned());
        }
    }

    pub(super) fn put_link(&mut self, link: Link) {
        self.widen_shape(&link);
        self.by_account.insert(link.account.clone(), link.record.clone());
        self.active += u64::from(!link.disabled_by_us);
        let before = Arc::make_mut(&mut self.links).insert(link.record.clone(), link);
        self.active -= u64::from(before.is_some_and(|before| !before.disabled_by_us));
    }

    pub(super) fn take_link(&mut self, record: &RecordId) -> Option<Link> {
        let link = Arc::make_mut(&mut self.links).remove(record)?;
        self.active -= u64::from(!link.disabled_by_us);
        self.by_account.remove(&link.account);
        Some(link)
    }

    /// What is remembered of other hands at an account.
    pub(super) fn hand(&self, account: &AccountId) -> Hand {
        self.hands.get(account).cloned().unwrap_or_default()
    }

    /// Keeps it; whether it is news.
    pub(super) fn put_hand(&mut self, account: &AccountId, hand: Hand) -> bool {
        if self.hand(account) == hand {
            return false;
        }
        let hands = Arc::make_mut(&mut self.hands);
        if hand.is_blank() {
            drop(hands.remove(account));
        } else {
            drop(hands.insert(account.clone(), hand));
        }
        true
    }

    /// Accounts that are linked and that rosterd did not disable.
    pub(super) fn owned_active(&self) -> u64 {
        self.active
    }

    /// The same, where the store was told otherwise or nothing.
    pub(super) fn newly_owned_active(&mut self) -> Option<u64> {
        (self.noted_active.replace(self.active) != Some(self.active)).then_some(self.active)
    }

    /// The links of `records`, and of whoever else owns one of `accounts`.
    pub(super) fn links_around<'a>(
        &self,
        records: impl IntoIterator<Item = &'a RecordId>,
        accounts: impl IntoIterator<Item = &'a AccountId>,
    ) -> BTreeMap<RecordId, Link> {
        let owners = accounts.into_iter().filter_map(|account| self.by_account.get(account)).cloned();
        let around: BTreeSet<_> = records.into_iter().cloned().chain(owners).collect();
        around.into_iter().filter_map(|record| Some((record.clone(), self.links.get(&record)?.clone()))).collect()
    }
}
