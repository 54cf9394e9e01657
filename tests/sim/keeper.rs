//! A store that forgets, lies and dies on demand. What it keeps is kept by the stand-in of the
//! integration suite; what happens around each commit happens here.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use chrono::Utc;
use rosterd::clock::kept::Kept;
use rosterd::correlate::history::IdentityKey;
use rosterd::model::audit::ChainedEvent;
use rosterd::model::change::Cause;
use rosterd::model::decision::Decision;
use rosterd::model::hand::Hands;
use rosterd::model::history::CycleRecord;
use rosterd::model::history::Intent;
use rosterd::model::history::OutcomeResult;
use rosterd::model::history::SeenAccount;
use rosterd::model::history::Standing;
use rosterd::model::identity::Identity;
use rosterd::model::ids::CycleId;
use rosterd::model::ids::IntentId;
use rosterd::model::ids::RecordId;
use rosterd::model::ids::TargetName;
use rosterd::model::invite::Invite;
use rosterd::model::invite::InviteFilter;
use rosterd::model::invite::InviteState;
use rosterd::model::link::Link;
use rosterd::model::link::Space;
use rosterd::model::message::Backlog;
use rosterd::model::message::MessageFilter;
use rosterd::model::message::Posted;
use rosterd::model::request::Request;
use rosterd::model::snapshot::Snapshot;
use rosterd::model::tally::Counter;
use rosterd::model::tally::Thing;
use rosterd::model::target::KnownTarget;
use rosterd::store::AcceptedSnapshot;
use rosterd::store::AccountFilter;
use rosterd::store::CauseKey;
use rosterd::store::EndDate;
use rosterd::store::Fence;
use rosterd::store::Permit;
use rosterd::store::Store;
use rosterd::store::StoreError;
use rosterd::store::Token;
use rosterd::store::WindowTime;
use rosterd::store::Write;

use crate::case::Death;
use crate::case::Keeping;
use crate::memory::MemoryStore;
use crate::world::Event;
use crate::world::World;

pub(crate) struct Keeper {
    pub(crate) world: Arc<World>,
    pub(crate) kept: MemoryStore,
}

/// What becomes of one commit.
enum Fate {
    Kept,
    Lost,
    Unsaid,
    Dies { durable: bool },
}

fn away() -> StoreError {
    StoreError::Unavailable("the disk is full; make room".to_owned())
}

impl Keeper {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self { world: Arc::clone(world), kept: MemoryStore::default() }
    }

    fn fate(&self) -> Fate {
        let mut inner = self.world.open();
        if let Some(Death::InCommit { after, durable }) = &mut inner.death {
            *after = after.saturating_sub(1);
            if *after == 0 {
                return Fate::Dies { durable: *durable };
            }
        }
        if inner.now() < inner.full_until {
            return Fate::Lost;
        }
        match inner.keeping.take() {
            Some((keeping, left)) => {
                inner.keeping = (left > 1).then_some((keeping, left - 1));
                if keeping == Keeping::Lost { Fate::Lost } else { Fate::Unsaid }
            }
            None => Fate::Kept,
        }
    }

    async fn keep(&self, writes: Vec<Write>, told: bool) -> Result<(), StoreError> {
        self.kept.commit(writes.clone(), Fence(1)).await?;
        self.world.note(Event::Committed { writes: Arc::new(writes), durable: true, told });
        Ok(())
    }

    fn lose(&self, writes: Vec<Write>) {
        self.world.note(Event::Committed { writes: Arc::new(writes), durable: false, told: false });
    }

    async fn readable(&self) -> Result<(), StoreError> {
        self.world.alive().await;
        let inner = self.world.open();
        if inner.now() < inner.blind_until { Err(away()) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for Keeper {
    fn fence(&self) -> Fence {
        Fence(1)
    }

    async fn commit(&self, writes: Vec<Write>, _: Fence) -> Result<(), StoreError> {
        self.world.alive().await;
        if !self.world.store_latency.is_zero() {
            tokio::time::sleep(self.world.store_latency).await;
            self.world.alive().await;
        }
        match self.fate() {
            Fate::Kept => self.keep(writes, true).await,
            Fate::Lost => {
                self.lose(writes);
                Err(away())
            }
            Fate::Unsaid => {
                self.keep(writes, false).await?;
                Err(away())
            }
            Fate::Dies { durable } => {
                if durable {
                    self.keep(writes, false).await?;
                } else {
                    self.lose(writes);
                }
                self.world.end("dies in a commit");
                std::future::pending().await
            }
        }
    }

    async fn links(&self, space: &Space) -> Result<BTreeMap<RecordId, Link>, StoreError> {
        self.readable().await?;
        self.kept.links(space).await
    }

    async fn link(&self, space: &Space, record: &RecordId) -> Result<Option<Link>, StoreError> {
        self.readable().await?;
        self.kept.link(space, record).await
    }

    fn identity_key(&self) -> IdentityKey {
        self.kept.identity_key()
    }

    async fn identities(&self, space: &Space) -> Result<Vec<Identity>, StoreError> {
        self.readable().await?;
        self.kept.identities(space).await
    }

    async fn spaces(&self, target: &TargetName) -> Result<Vec<Space>, StoreError> {
        self.readable().await?;
        self.kept.spaces(target).await
    }

    async fn acted(&self, space: &Space) -> Result<bool, StoreError> {
        self.readable().await?;
        self.kept.acted(space).await
    }

    async fn open_intents(&self, space: &Space) -> Result<Vec<Intent>, StoreError> {
        self.readable().await?;
        self.kept.open_intents(space).await
    }

    async fn counted(
        &self,
        space: &Space,
        since: DateTime<Utc>,
    ) -> Result<Vec<(Counter, Thing, DateTime<Utc>)>, StoreError> {
        self.readable().await?;
        self.kept.counted(space, since).await
    }

    async fn owned_active_at(&self, space: &Space, at: DateTime<Utc>) -> Result<Option<u64>, StoreError> {
        self.readable().await?;
        self.kept.owned_active_at(space, at).await
    }

    async fn window_time(&self) -> Result<WindowTime, StoreError> {
        self.readable().await?;
        self.kept.window_time().await
    }

    async fn known_targets(&self) -> Result<BTreeMap<TargetName, KnownTarget>, StoreError> {
        self.readable().await?;
        self.kept.known_targets().await
    }

    async fn end_dates(&self, records: &BTreeSet<RecordId>) -> Result<BTreeMap<EndDate, DateTime<Utc>>, StoreError> {
        self.readable().await?;
        self.kept.end_dates(records).await
    }

    async fn mass_ends(&self) -> Result<BTreeSet<EndDate>, StoreError> {
        self.readable().await?;
        self.kept.mass_ends().await
    }

    async fn permits(&self) -> Result<BTreeMap<Permit, DateTime<Utc>>, StoreError> {
        self.readable().await?;
        self.kept.permits().await
    }

    async fn requests(&self, target: &TargetName) -> Result<Vec<(Space, Request)>, StoreError> {
        self.readable().await?;
        self.kept.requests(target).await
    }

    async fn kept_clock(&self) -> Result<Kept, StoreError> {
        self.readable().await?;
        self.kept.kept_clock().await
    }

    async fn owned_active(&self, space: &Space) -> Result<u64, StoreError> {
        self.readable().await?;
        self.kept.owned_active(space).await
    }

    async fn share_snapshot(&self, snapshot: &Arc<Snapshot>) {
        self.kept.share_snapshot(snapshot).await;
    }

    async fn snapshot(&self) -> Result<Option<AcceptedSnapshot>, StoreError> {
        self.readable().await?;
        self.kept.snapshot().await
    }

    async fn highest_level(&self, since: DateTime<Utc>) -> Result<Option<u64>, StoreError> {
        self.readable().await?;
        self.kept.highest_level(since).await
    }

    async fn causes(&self, target: &TargetName) -> Result<BTreeMap<CauseKey, Cause>, StoreError> {
        self.readable().await?;
        self.kept.causes(target).await
    }

    async fn decisions(&self) -> Result<Vec<Decision>, StoreError> {
        self.readable().await?;
        self.kept.decisions().await
    }

    async fn standings(&self, target: &TargetName) -> Result<Vec<(Space, Standing)>, StoreError> {
        self.readable().await?;
        self.kept.standings(target).await
    }

    async fn standing(&self, space: &Space) -> Result<Option<Standing>, StoreError> {
        self.readable().await?;
        self.kept.standing(space).await
    }

    async fn seen(&self, space: &Space, filter: &AccountFilter) -> Result<Vec<SeenAccount>, StoreError> {
        self.readable().await?;
        self.kept.seen(space, filter).await
    }

    async fn seen_of(&self, space: &Space, record: &RecordId) -> Result<Option<SeenAccount>, StoreError> {
        self.readable().await?;
        self.kept.seen_of(space, record).await
    }

    async fn cycles(
        &self,
        target: Option<&TargetName>,
        before: Option<&CycleId>,
        limit: usize,
    ) -> Result<Vec<CycleRecord>, StoreError> {
        self.readable().await?;
        self.kept.cycles(target, before, limit).await
    }

    async fn intents_of(
        &self,
        space: &Space,
        record: &RecordId,
        limit: usize,
    ) -> Result<Vec<(Intent, Option<OutcomeResult>)>, StoreError> {
        self.readable().await?;
        self.kept.intents_of(space, record, limit).await
    }

    async fn ended_calls(
        &self,
        space: &Space,
        record: &RecordId,
    ) -> Result<BTreeMap<IntentId, DateTime<Utc>>, StoreError> {
        self.readable().await?;
        self.kept.ended_calls(space, record).await
    }

    async fn audit(
        &self,
        target: Option<&TargetName>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<ChainedEvent>, StoreError> {
        self.kept.audit(target, from, limit).await
    }

    async fn chains(&self) -> Result<Vec<Option<TargetName>>, StoreError> {
        self.kept.chains().await
    }

    async fn verify_audit(&self) -> Result<Vec<String>, StoreError> {
        self.kept.verify_audit().await
    }

    async fn owed(&self, space: &Space) -> Result<BTreeMap<RecordId, DateTime<Utc>>, StoreError> {
        self.readable().await?;
        self.kept.owed(space).await
    }

    async fn doubt(&self, target: &TargetName) -> Result<Option<String>, StoreError> {
        self.readable().await?;
        self.kept.doubt(target).await
    }

    async fn hands(&self, space: &Space) -> Result<Hands, StoreError> {
        self.readable().await?;
        self.kept.hands(space).await
    }

    async fn messages(&self, filter: &MessageFilter) -> Result<Vec<Posted>, StoreError> {
        self.readable().await?;
        self.kept.messages(filter).await
    }

    async fn backlogs(&self) -> Result<Vec<Backlog>, StoreError> {
        self.readable().await?;
        self.kept.backlogs().await
    }

    async fn invites(&self, filter: &InviteFilter) -> Result<Vec<Invite>, StoreError> {
        self.readable().await?;
        self.kept.invites(filter).await
    }

    async fn invite_counts(&self) -> Result<Vec<(TargetName, InviteState, u64)>, StoreError> {
        self.readable().await?;
        self.kept.invite_counts().await
    }

    async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.kept.tokens().await
    }
}
