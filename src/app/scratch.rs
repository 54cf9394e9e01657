//! A store that is read and never written: for commands that only look.
//!
//! An engine that plans from a folder nobody accepted yet must not have it accepted. So what it
//! would remember is kept here for as long as the command runs, as far as plans start from it
//! (the snapshot and why access narrows), and dropped as far as they do not.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use async_trait::async_trait;
use chrono::DateTime;
use chrono::Utc;

use crate::clock::kept::Kept;
use crate::correlate::history::IdentityKey;
use crate::model::audit::ChainedEvent;
use crate::model::change::Cause;
use crate::model::decision::Decision;
use crate::model::hand::Hands;
use crate::model::history::CycleRecord;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::history::SeenAccount;
use crate::model::history::Standing;
use crate::model::identity::Identity;
use crate::model::ids::CycleId;
use crate::model::ids::IntentId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::invite::Invite;
use crate::model::invite::InviteFilter;
use crate::model::invite::InviteState;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::model::message::Backlog;
use crate::model::message::MessageFilter;
use crate::model::message::Posted;
use crate::model::request::Request;
use crate::model::snapshot::Snapshot;
use crate::model::tally::Counter;
use crate::model::tally::Thing;
use crate::model::target::KnownTarget;
use crate::store::AcceptedSnapshot;
use crate::store::AccountFilter;
use crate::store::CauseKey;
use crate::store::EndDate;
use crate::store::Fence;
use crate::store::Permit;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Token;
use crate::store::WindowTime;
use crate::store::Write;

/// See the module.
pub struct Scratch {
    inner: Arc<dyn Store>,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    snapshot: Option<AcceptedSnapshot>,
    causes: BTreeMap<CauseKey, Option<Cause>>,
    mass: BTreeSet<EndDate>,
}

impl Scratch {
    /// Reads from `inner` and writes nothing there.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, noted: Mutex::default() }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for Scratch {
    fn fence(&self) -> Fence {
        self.inner.fence()
    }

    async fn time(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.inner.time().await
    }

    async fn commit(&self, writes: Vec<Write>, _: Fence) -> Result<(), StoreError> {
        let mut noted = self.noted();
        for write in writes {
            match write {
                Write::Snapshot(snapshot) => noted.snapshot = Some(snapshot),
                Write::Cause(key, cause) => drop(noted.causes.insert(key, cause)),
                Write::MassEnd(end) => drop(noted.mass.insert(end)),
                Write::Link(..)
                | Write::Unlink(..)
                | Write::Hand(..)
                | Write::Identity(..)
                | Write::Intent(_)
                | Write::Outcome(..)
                | Write::Decision(_)
                | Write::Standing(..)
                | Write::Owed(..)
                | Write::Seen(..)
                | Write::SeenAll(..)
                | Write::Unseen(..)
                | Write::Cycle(_)
                | Write::Token(_)
                | Write::TokenRevoked(_)
                | Write::Owned(..)
                | Write::Target(..)
                | Write::WindowLag(_)
                | Write::EndDate(..)
                | Write::Permit(..)
                | Write::Clock(_)
                | Write::Request(..)
                | Write::Message(_)
                | Write::Invite(_)
                | Write::Audit(_) => {}
            }
        }
        Ok(())
    }

    async fn links(&self, space: &Space) -> Result<BTreeMap<RecordId, Link>, StoreError> {
        self.inner.links(space).await
    }

    async fn link(&self, space: &Space, record: &RecordId) -> Result<Option<Link>, StoreError> {
        self.inner.link(space, record).await
    }

    async fn hands(&self, space: &Space) -> Result<Hands, StoreError> {
        self.inner.hands(space).await
    }

    fn identity_key(&self) -> IdentityKey {
        self.inner.identity_key()
    }

    async fn identities(&self, space: &Space) -> Result<Vec<Identity>, StoreError> {
        self.inner.identities(space).await
    }

    async fn spaces(&self, target: &TargetName) -> Result<Vec<Space>, StoreError> {
        self.inner.spaces(target).await
    }

    async fn acted(&self, space: &Space) -> Result<bool, StoreError> {
        self.inner.acted(space).await
    }

    async fn open_intents(&self, space: &Space) -> Result<Vec<Intent>, StoreError> {
        self.inner.open_intents(space).await
    }

    async fn counted(
        &self,
        space: &Space,
        since: DateTime<Utc>,
    ) -> Result<Vec<(Counter, Thing, DateTime<Utc>)>, StoreError> {
        self.inner.counted(space, since).await
    }

    async fn owned_active_at(&self, space: &Space, at: DateTime<Utc>) -> Result<Option<u64>, StoreError> {
        self.inner.owned_active_at(space, at).await
    }

    async fn window_time(&self) -> Result<WindowTime, StoreError> {
        self.inner.window_time().await
    }

    async fn known_targets(&self) -> Result<BTreeMap<TargetName, KnownTarget>, StoreError> {
        self.inner.known_targets().await
    }

    async fn end_dates(&self, records: &BTreeSet<RecordId>) -> Result<BTreeMap<EndDate, DateTime<Utc>>, StoreError> {
        self.inner.end_dates(records).await
    }

    async fn mass_ends(&self) -> Result<BTreeSet<EndDate>, StoreError> {
        let mut mass = self.inner.mass_ends().await?;
        mass.extend(self.noted().mass.iter().cloned());
        Ok(mass)
    }

    async fn permits(&self) -> Result<BTreeMap<Permit, DateTime<Utc>>, StoreError> {
        self.inner.permits().await
    }

    async fn requests(&self, target: &TargetName) -> Result<Vec<(Space, Request)>, StoreError> {
        self.inner.requests(target).await
    }

    async fn kept_clock(&self) -> Result<Kept, StoreError> {
        self.inner.kept_clock().await
    }

    async fn owned_active(&self, space: &Space) -> Result<u64, StoreError> {
        self.inner.owned_active(space).await
    }

    async fn share_snapshot(&self, snapshot: &Arc<Snapshot>) {
        self.inner.share_snapshot(snapshot).await;
    }

    async fn snapshot(&self) -> Result<Option<AcceptedSnapshot>, StoreError> {
        let noted = self.noted().snapshot.clone();
        match noted {
            Some(snapshot) => Ok(Some(snapshot)),
            None => self.inner.snapshot().await,
        }
    }

    async fn highest_level(&self, since: DateTime<Utc>) -> Result<Option<u64>, StoreError> {
        self.inner.highest_level(since).await
    }

    async fn causes(&self, target: &TargetName) -> Result<BTreeMap<CauseKey, Cause>, StoreError> {
        let mut causes = self.inner.causes(target).await?;
        for (key, cause) in self.noted().causes.iter().filter(|(key, _)| key.target == *target) {
            match cause {
                Some(cause) => drop(causes.insert(key.clone(), *cause)),
                None => drop(causes.remove(key)),
            }
        }
        Ok(causes)
    }

    async fn decisions(&self) -> Result<Vec<Decision>, StoreError> {
        self.inner.decisions().await
    }

    async fn owed(&self, space: &Space) -> Result<BTreeMap<RecordId, DateTime<Utc>>, StoreError> {
        self.inner.owed(space).await
    }

    async fn standing(&self, space: &Space) -> Result<Option<Standing>, StoreError> {
        self.inner.standing(space).await
    }

    async fn standings(&self, target: &TargetName) -> Result<Vec<(Space, Standing)>, StoreError> {
        self.inner.standings(target).await
    }

    async fn seen(&self, space: &Space, filter: &AccountFilter) -> Result<Vec<SeenAccount>, StoreError> {
        self.inner.seen(space, filter).await
    }

    async fn seen_of(&self, space: &Space, record: &RecordId) -> Result<Option<SeenAccount>, StoreError> {
        self.inner.seen_of(space, record).await
    }

    async fn cycles(
        &self,
        target: Option<&TargetName>,
        before: Option<&CycleId>,
        limit: usize,
    ) -> Result<Vec<CycleRecord>, StoreError> {
        self.inner.cycles(target, before, limit).await
    }

    async fn intents_of(
        &self,
        space: &Space,
        record: &RecordId,
        limit: usize,
    ) -> Result<Vec<(Intent, Option<OutcomeResult>)>, StoreError> {
        self.inner.intents_of(space, record, limit).await
    }

    async fn ended_calls(
        &self,
        space: &Space,
        record: &RecordId,
    ) -> Result<BTreeMap<IntentId, DateTime<Utc>>, StoreError> {
        self.inner.ended_calls(space, record).await
    }

    async fn audit(
        &self,
        target: Option<&TargetName>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<ChainedEvent>, StoreError> {
        self.inner.audit(target, from, limit).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    async fn chains(&self) -> Result<Vec<Option<TargetName>>, StoreError> {
        self.inner.chains().await
    }

    async fn doubt(&self, target: &TargetName) -> Result<Option<String>, StoreError> {
        self.inner.doubt(target).await
    }

    async fn verify_audit(&self) -> Result<Vec<String>, StoreError> {
        self.inner.verify_audit().await
    }

    async fn messages(&self, filter: &MessageFilter) -> Result<Vec<Posted>, StoreError> {
        self.inner.messages(filter).await
    }

    async fn backlogs(&self) -> Result<Vec<Backlog>, StoreError> {
        self.inner.backlogs().await
    }

    async fn invites(&self, filter: &InviteFilter) -> Result<Vec<Invite>, StoreError> {
        self.inner.invites(filter).await
    }

    async fn invite_counts(&self) -> Result<Vec<(TargetName, InviteState, u64)>, StoreError> {
        self.inner.invite_counts().await
    }

    async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.inner.tokens().await
    }
}
