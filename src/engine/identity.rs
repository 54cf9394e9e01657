//! Who was who: the identity history of a place beside the users that are declared now.
//!
//! Nothing here is looked for among a million users when one document changes: users without an
//! account are kept by the hash of their mail, users who are gone by the hash of their record id.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;

use crate::correlate::history::History;
use crate::engine::past;
use crate::model::change::Action;
use crate::model::decision::Decision;
use crate::model::decision::DecisionKind;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::identity::Identity;
use crate::model::identity::IdentityHash;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::model::snapshot::Snapshot;
use crate::model::user::User;
use crate::plan::Known;
use crate::plan::canonical;
use crate::store::Store;
use crate::store::StoreError;

/// Identity history, and what follows from it for the users that are declared now.
#[derive(Clone, Debug)]
pub struct Identities {
    history: Arc<History>,
    reused: BTreeSet<RecordId>,
    /// Linked users who are no longer declared.
    gone: BTreeMap<IdentityHash, RecordId>,
    /// Declared users without a link, by mail. An entry may be out of date, and is checked when used.
    newcomers: BTreeSet<(IdentityHash, RecordId)>,
    /// Users who have the mail of some who are gone: the new record id, and every old one, since any
    /// of them may be the same person.
    renamed: BTreeMap<RecordId, BTreeSet<RecordId>>,
    regained: BTreeSet<RecordId>,
}

/// What a review found out.
#[derive(Debug, Default)]
pub struct Reviewed {
    /// To be remembered.
    pub rows: Vec<Identity>,
    /// Users who are gone, or came, and about whom something else is true now.
    pub concerned: BTreeSet<RecordId>,
}

impl Identities {
    /// Nothing but the history.
    pub fn new(history: History) -> Self {
        Self {
            history: Arc::new(history),
            reused: BTreeSet::new(),
            gone: BTreeMap::new(),
            newcomers: BTreeSet::new(),
            renamed: BTreeMap::new(),
            regained: BTreeSet::new(),
        }
    }

    /// The history of a space, as the store has it, with what people said about those who come back.
    pub async fn of(store: &dyn Store, space: &Space, links: &BTreeMap<RecordId, Link>) -> Result<Self, StoreError> {
        let mut identities = Self::new(History::new(store.identity_key(), store.identities(space).await?));
        identities.regained = regained(store, space, links).await?;
        Ok(identities)
    }

    /// Takes in what the store does not know yet.
    pub fn learn(&mut self, row: &Identity) {
        Arc::make_mut(&mut self.history).insert(row);
    }

    /// Takes over what people said about those who come back.
    pub fn set_regained(&mut self, regained: BTreeSet<RecordId>) {
        self.regained = regained;
    }

    /// The account was disabled: who comes back after this is asked about again.
    pub fn left(&mut self, record: &RecordId) {
        self.regained.remove(record);
    }

    /// Compares users with the history: `records`, or everybody.
    pub fn review(
        &mut self,
        snapshot: &Snapshot,
        links: &BTreeMap<RecordId, Link>,
        records: Option<&BTreeSet<RecordId>>,
        now: DateTime<Utc>,
    ) -> Reviewed {
        type All<'a, T> = Box<dyn Iterator<Item = T> + 'a>;
        let mut reviewed = Reviewed::default();
        let (ids, users): (All<'_, &RecordId>, All<'_, User>) = if let Some(records) = records {
            let users = records.iter().filter_map(|record| snapshot.users.get(record));
            (Box::new(records.iter()), Box::new(users))
        } else {
            self.reused.clear();
            self.gone.clear();
            self.newcomers.clear();
            self.renamed.clear();
            (Box::new(links.keys()), Box::new(snapshot.users.values()))
        };
        // Who is gone comes first: a newcomer is compared with them.
        for record in ids.filter(|record| !snapshot.users.contains_key(record)) {
            self.review_gone(snapshot, links, record, &mut reviewed);
        }
        for user in users {
            self.review_declared(&user, links.get(&user.id), now, &mut reviewed);
        }
        reviewed
    }

    fn review_gone(
        &mut self,
        snapshot: &Snapshot,
        links: &BTreeMap<RecordId, Link>,
        record: &RecordId,
        reviewed: &mut Reviewed,
    ) {
        self.reused.remove(record);
        reviewed.concerned.extend(self.renamed.remove(record).into_iter().flatten());
        if !links.contains_key(record) {
            return;
        }
        let hash = self.history.key().record(record);
        self.gone.insert(hash, record.clone());
        let from = RecordId::from("");
        let mails: Vec<_> = self.history.mails_of(hash).collect();
        for mail in mails {
            let same = self.newcomers.range((mail, from.clone())..).take_while(|(other, _)| *other == mail);
            let same: Vec<_> = same.filter_map(|(_, newcomer)| snapshot.users.get(newcomer)).collect();
            for user in same.iter().filter(|user| !links.contains_key(&user.id)) {
                self.compare(user, reviewed);
            }
        }
    }

    fn review_declared(&mut self, user: &User, link: Option<&Link>, now: DateTime<Utc>, reviewed: &mut Reviewed) {
        let record = &user.id;
        self.reused.remove(record);
        if !self.gone.is_empty() {
            self.gone.remove(&self.history.key().record(record));
            let other = self.renamed.iter_mut().filter_map(|(new, old)| old.remove(record).then(|| new.clone()));
            reviewed.concerned.extend(other);
            self.renamed.retain(|_, old| !old.is_empty());
        }
        reviewed.concerned.extend(self.renamed.remove(record).into_iter().flatten());
        let Some(link) = link else {
            if let Some(mail) = self.history.key().mail(user) {
                self.newcomers.insert((mail, record.clone()));
            }
            return self.compare(user, reviewed);
        };
        let identity = self.history.identity(record, &link.account, Some(user), now);
        if self.history.is_somebody_else(&identity) {
            self.reused.insert(record.clone());
        } else {
            reviewed.rows.extend(self.news(identity));
        }
    }

    /// Looks whether a user without an account has the mail of one who is gone.
    fn compare(&mut self, user: &User, reviewed: &mut Reviewed) {
        if self.gone.is_empty() {
            return;
        }
        let Some(mail) = self.history.key().mail(user) else { return };
        let same = self.history.records_with_mail(mail).filter_map(|record| self.gone.get(&record));
        let old: BTreeSet<_> = same.filter(|old| !user.formerly.contains(*old)).cloned().collect();
        if !old.is_empty() {
            reviewed.concerned.extend(old.iter().cloned());
            self.renamed.insert(user.id.clone(), old);
        }
    }

    /// Remembers who has an account; what is to be stored, if that is news.
    pub fn note(
        &mut self,
        record: &RecordId,
        account: &AccountId,
        user: Option<&User>,
        now: DateTime<Utc>,
    ) -> Option<Identity> {
        self.news(self.history.identity(record, account, user, now))
    }

    /// Remembers a row, if it is news. A plan under way shares the history, which is copied for news alone.
    fn news(&mut self, identity: Identity) -> Option<Identity> {
        if self.history.knows(&identity) {
            return None;
        }
        self.learn(&identity);
        Some(identity)
    }

    /// What a plan must know. `wants` tells whether a user should have an account.
    pub fn known(
        &self,
        snapshot: &Snapshot,
        links: &BTreeMap<RecordId, Link>,
        wants: impl Fn(&RecordId) -> bool,
    ) -> Known {
        let held = |old: &RecordId| {
            let link = links.get(old).filter(|_| !snapshot.users.contains_key(old))?;
            Some((old.clone(), link.account.clone()))
        };
        let stands = |(new, old): (&RecordId, &BTreeSet<RecordId>)| {
            let held: BTreeMap<_, _> = old.iter().filter_map(held).collect();
            let may = snapshot.users.contains_key(new) && !links.contains_key(new) && !held.is_empty() && wants(new);
            may.then(|| (new.clone(), held))
        };
        Known {
            history: Arc::clone(&self.history),
            // Links end between two reviews, and who has none is given nothing of somebody else's.
            reused: self.reused.iter().filter(|record| links.contains_key(*record)).cloned().collect(),
            renamed: self.renamed.iter().filter_map(stands).collect(),
            regained: self.regained.clone(),
        }
    }
}

/// Users who get their account again because a person said so after it was disabled.
pub async fn regained(
    store: &dyn Store,
    space: &Space,
    links: &BTreeMap<RecordId, Link>,
) -> Result<BTreeSet<RecordId>, StoreError> {
    let mut regained = BTreeSet::new();
    for decision in store.decisions().await? {
        let Decision { kind: DecisionKind::Link, record: Some(record), digest, at, .. } = decision else { continue };
        let Some(link) = links.get(&record).filter(|link| link.disabled_by_us) else { continue };
        if digest != Some(canonical::link_digest(space, &record, &link.account)) {
            continue;
        }
        // Calls before the word say nothing about it, and nobody needs to read on from there.
        let settles = |intent: &Intent, outcome: Option<&OutcomeResult>| {
            let disabled = intent.change.action == Action::Disable && outcome == Some(&OutcomeResult::Done);
            disabled || intent.at < at
        };
        let ended = past::last_call(store, (space, &record), settles).await?;
        if ended.is_none_or(|intent| intent.at < at) {
            regained.insert(record);
        }
    }
    Ok(regained)
}
