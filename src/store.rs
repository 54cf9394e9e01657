//! The port to what rosterd remembers.
//!
//! # Guarantees a store gives
//! - `commit` is one transaction: all of it or nothing, durable when it returns.
//! - A commit whose fence is not the current holder's is refused.
//! - Audit events are chained in the transaction that holds what they tell (L8).

pub mod batch;
pub mod intents;
pub mod journal;
pub mod outbox;
pub mod parts;
pub mod rows;
pub mod transfer;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::clock::kept::Kept;
use crate::correlate::history::IdentityKey;
use crate::model::account::AccountState;
use crate::model::audit::AuditEvent;
use crate::model::audit::ChainedEvent;
use crate::model::change::Cause;
use crate::model::decision::Decision;
use crate::model::hand::Hand;
use crate::model::hand::Hands;
use crate::model::history::CycleRecord;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::history::SeenAccount;
use crate::model::history::Standing;
use crate::model::identity::Identity;
use crate::model::ids::AccountId;
use crate::model::ids::CycleId;
use crate::model::ids::Digest;
use crate::model::ids::EntitlementName;
use crate::model::ids::IntentId;
use crate::model::ids::RecordId;
use crate::model::ids::RoleName;
use crate::model::ids::TargetName;
use crate::model::invite::Invite;
use crate::model::invite::InviteFilter;
use crate::model::invite::InviteState;
use crate::model::invite::InviteWrite;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::model::message::Backlog;
use crate::model::message::MessageFilter;
use crate::model::message::MessageWrite;
use crate::model::message::Posted;
use crate::model::request::Request;
use crate::model::request::Subject;
use crate::model::snapshot::Snapshot;
use crate::model::tally::Counter;
use crate::model::tally::Thing;
use crate::model::target::KnownTarget;
use crate::model::user::User;

/// Who may commit: the number that the store gave out when the lease was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence(pub u64);

/// One thing to remember.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A link, new or changed; a record has one link in a space, an account one record.
    Link(Space, Link),
    /// A link is forgotten.
    Unlink(Space, RecordId),
    /// What other hands did at one account; replaces the former, and a blank one forgets it.
    Hand(Space, AccountId, Hand),
    /// Who had which account; what is known already stays as it is.
    Identity(Space, Identity),
    /// A call is about to be made; one that is known already stays as it is.
    Intent(Intent),
    /// An intent is closed.
    Outcome(IntentId, OutcomeResult, DateTime<Utc>),
    /// A load became the snapshot.
    Snapshot(AcceptedSnapshot),
    /// Why access narrows, from when it was first seen; `None` forgets it (access is back).
    Cause(CauseKey, Option<Cause>),
    /// A person's word.
    Decision(Decision),
    /// What the last plan of a space left undone; replaces the former.
    Standing(Space, Standing),
    /// Since when narrowing of a user is owed, from the moment access ended; `None`: it is not any more.
    Owed(Space, RecordId, Option<DateTime<Utc>>),
    /// Accounts as they were just seen; replaces rows by account id.
    Seen(Space, Vec<SeenAccount>),
    /// Every account of a complete listing, sorted by id, each once; rows of other accounts are forgotten.
    SeenAll(Space, Vec<SeenAccount>),
    /// An account is gone.
    Unseen(Space, AccountId),
    /// A cycle began or ended; replaces by id.
    Cycle(CycleRecord),
    /// An API token.
    Token(Token),
    /// A token's name that is void from now on.
    TokenRevoked(String),
    /// One event at the end of its chain.
    Audit(AuditEvent),
    /// How many accounts of a space are owned and active from this moment on, in the time by which
    /// windows slide; replaces what was noted within the same second.
    Owned(Space, DateTime<Utc>, u64),
    /// What is remembered of a target's documents; replaces the former.
    Target(TargetName, KnownTarget),
    /// How far the wall clock is ahead of the time by which windows slide.
    WindowLag(TimeDelta),
    /// Since when an end date is known, from when it was first seen; `None` forgets it.
    EndDate(EndDate, Option<DateTime<Utc>>),
    /// A known end date that one load gave to so many users that it counts as inferred.
    MassEnd(EndDate),
    /// What a person's word lets through, and when it was given (in the time by which windows
    /// slide); `None`: it is used up.
    Permit(Permit, Option<DateTime<Utc>>),
    /// What is known of the clock; replaces the former.
    Clock(Kept),
    /// The request of a user about a subject in a place; replaces the former, `None` forgets it.
    Request(Space, RecordId, Subject, Option<Box<Request>>),
    /// A message of the outbox, in the transaction of the fact that it tells, or what became of one.
    Message(MessageWrite),
    /// How the person of a new account gets in, or what became of that.
    Invite(InviteWrite),
}

/// What a person's word lets through once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permit {
    /// In which target; `None`: it is a load of the source.
    pub target: Option<TargetName>,
    /// What was shown and agreed to.
    pub digest: Digest,
    /// Which change of it; `None`: all of it at once.
    pub change: Option<Digest>,
}

/// A moment at which access ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndDate {
    /// Of whom.
    pub record: RecordId,
    /// Of which role that the user holds; `None`: of everything.
    pub role: Option<RoleName>,
    /// When.
    pub until: DateTime<Utc>,
}

/// What windows slide by, as far as the store remembers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowTime {
    /// How far the wall clock was ahead.
    pub lag: TimeDelta,
    /// When something was counted last, in any space.
    pub newest: Option<DateTime<Utc>>,
}

/// The accepted snapshot and how much access it gives.
#[derive(Clone, Debug, PartialEq)]
pub struct AcceptedSnapshot {
    /// The users and roles.
    pub snapshot: Arc<Snapshot>,
    /// Hash of the documents.
    pub digest: Digest,
    /// Grows by one with each accepted load.
    pub generation: u64,
    /// How many (user, target, entitlement) triples it gives; the level that shrink is judged by.
    pub level: u64,
    /// When it was accepted.
    pub at: DateTime<Utc>,
    /// Users as the last accepted load has them whom documents narrowed since that nobody accepted; empty
    /// where the users of the snapshot are the accepted ones.
    pub narrowed_from: BTreeMap<RecordId, User>,
}

/// What a remembered cause is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CauseKey {
    /// The user.
    pub record: RecordId,
    /// The target.
    pub target: TargetName,
    /// An entitlement; `None` is the account itself.
    pub entitlement: Option<EntitlementName>,
}

/// An API token: only its hash is kept.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Token {
    /// Its name, unique.
    pub name: String,
    /// Hex SHA-256 of the secret part (256 random bits, so no slow hash is needed).
    pub hash: String,
    /// Whom it stands for.
    pub subject: String,
    /// `viewer`, `approver`, `operator`, `admin`.
    pub right: String,
    /// Targets it is good for; empty: all.
    pub targets: BTreeSet<TargetName>,
    /// Groups of approvers that its holder is in.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// For which users it decides, by the values of each label; empty: for all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, BTreeSet<String>>,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it ends.
    pub expires: DateTime<Utc>,
}

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process holds it.
    #[error("{0}")]
    Held(String),
    /// The fence is no longer the current one.
    #[error("{0}")]
    Fenced(String),
    /// It is away: it cannot be read or written now, and the same writes may go through later. The
    /// text says what to do.
    #[error("{0}")]
    Unavailable(String),
    /// It is there and refuses these writes: they contradict what it holds, and would again.
    #[error("{0}")]
    Refused(String),
}

impl StoreError {
    /// Whether the store is away, as against there and refusing: what it once recorded as owed may
    /// go on from a journal only then (L9).
    pub fn is_away(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Held(_) | Self::Fenced(_) | Self::Refused(_) => false,
        }
    }
}

/// Which accounts of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFilter {
    /// Only those in one of these states; empty: all.
    pub states: BTreeSet<AccountState>,
    /// Only linked (`true`) or unlinked ones.
    pub linked: Option<bool>,
    /// Only ids after this one.
    pub after: Option<AccountId>,
    /// At most so many.
    pub limit: usize,
}

/// The port.
#[async_trait]
pub trait Store: Send + Sync {
    /// The fence of this process.
    fn fence(&self) -> Fence;

    /// What the store's own clock shows; `None` where it has none but this machine's.
    async fn time(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        Ok(None)
    }

    /// Remembers all of `writes`, in order, or nothing.
    async fn commit(&self, writes: Vec<Write>, fence: Fence) -> Result<(), StoreError>;

    /// Links of a space, by record.
    async fn links(&self, space: &Space) -> Result<BTreeMap<RecordId, Link>, StoreError>;
    /// The link of one record.
    async fn link(&self, space: &Space, record: &RecordId) -> Result<Option<Link>, StoreError>;
    /// What is remembered of other hands in a space, by account.
    async fn hands(&self, space: &Space) -> Result<Hands, StoreError>;
    /// The key of this installation's identity hashes.
    fn identity_key(&self) -> IdentityKey;
    /// Identity history of a space: every record id, account and mail that was ever linked there.
    async fn identities(&self, space: &Space) -> Result<Vec<Identity>, StoreError>;
    /// Every space of a target that has links or intents.
    async fn spaces(&self, target: &TargetName) -> Result<Vec<Space>, StoreError>;
    /// Whether an intent of the space is about more than what a person revoked.
    async fn acted(&self, space: &Space) -> Result<bool, StoreError>;
    /// Intents without an outcome, oldest first.
    async fn open_intents(&self, space: &Space) -> Result<Vec<Intent>, StoreError>;
    /// Every thing that intents recorded since `since` (in the time by which windows slide) are
    /// about, by what counts it, with when it was last counted. What became of a call changes
    /// nothing.
    async fn counted(
        &self,
        space: &Space,
        since: DateTime<Utc>,
    ) -> Result<Vec<(Counter, Thing, DateTime<Utc>)>, StoreError>;
    /// What was noted last of owned active accounts at `at` or before; `None`: nothing that old.
    async fn owned_active_at(&self, space: &Space, at: DateTime<Utc>) -> Result<Option<u64>, StoreError>;
    /// What windows slide by.
    async fn window_time(&self) -> Result<WindowTime, StoreError>;
    /// Targets whose documents were accepted at some time.
    async fn known_targets(&self) -> Result<BTreeMap<TargetName, KnownTarget>, StoreError>;
    /// Since when the end dates of these users are known.
    async fn end_dates(&self, records: &BTreeSet<RecordId>) -> Result<BTreeMap<EndDate, DateTime<Utc>>, StoreError>;
    /// End dates that one load gave to so many users that they count as inferred.
    async fn mass_ends(&self) -> Result<BTreeSet<EndDate>, StoreError>;
    /// What people let through and nobody used yet, and when they said so.
    async fn permits(&self) -> Result<BTreeMap<Permit, DateTime<Utc>>, StoreError>;
    /// Every request of a target, with where it was made.
    async fn requests(&self, target: &TargetName) -> Result<Vec<(Space, Request)>, StoreError>;
    /// What the last process knew of the clock.
    async fn kept_clock(&self) -> Result<Kept, StoreError>;
    /// How many links of the space were not disabled by us.
    async fn owned_active(&self, space: &Space) -> Result<u64, StoreError>;
    /// The last accepted snapshot.
    async fn snapshot(&self) -> Result<Option<AcceptedSnapshot>, StoreError>;
    /// Keeps `snapshot` instead of an accepted one that equals it, so that both are not in memory.
    /// Whether it could changes nothing else.
    async fn share_snapshot(&self, snapshot: &Arc<Snapshot>);
    /// The highest level among snapshots that were the accepted one at some moment since `since`.
    async fn highest_level(&self, since: DateTime<Utc>) -> Result<Option<u64>, StoreError>;
    /// Remembered causes of one target.
    async fn causes(&self, target: &TargetName) -> Result<BTreeMap<CauseKey, Cause>, StoreError>;
    /// Every decision, oldest first.
    async fn decisions(&self) -> Result<Vec<Decision>, StoreError>;
    /// What the last plans of a target left undone, by space; newest first.
    async fn standings(&self, target: &TargetName) -> Result<Vec<(Space, Standing)>, StoreError>;
    /// Since when narrowing is owed in a space, by user.
    async fn owed(&self, space: &Space) -> Result<BTreeMap<RecordId, DateTime<Utc>>, StoreError>;
    /// What the last plan left undone.
    async fn standing(&self, space: &Space) -> Result<Option<Standing>, StoreError>;
    /// Accounts as last seen, by id.
    async fn seen(&self, space: &Space, filter: &AccountFilter) -> Result<Vec<SeenAccount>, StoreError>;
    /// One account as last seen.
    async fn seen_of(&self, space: &Space, record: &RecordId) -> Result<Option<SeenAccount>, StoreError>;
    /// Cycles, newest first, of one target or of all, older than `before`.
    async fn cycles(
        &self,
        target: Option<&TargetName>,
        before: Option<&CycleId>,
        limit: usize,
    ) -> Result<Vec<CycleRecord>, StoreError>;
    /// Intents and outcomes of one record, newest first.
    async fn intents_of(
        &self,
        space: &Space,
        record: &RecordId,
        limit: usize,
    ) -> Result<Vec<(Intent, Option<OutcomeResult>)>, StoreError>;
    /// When the calls of one record ended, by intent; those whose end is known.
    async fn ended_calls(
        &self,
        space: &Space,
        record: &RecordId,
    ) -> Result<BTreeMap<IntentId, DateTime<Utc>>, StoreError>;
    /// Events of one chain from `from` on, in order; `None` is the chain of the installation.
    async fn audit(
        &self,
        target: Option<&TargetName>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<ChainedEvent>, StoreError>;
    /// The names of all chains.
    async fn chains(&self) -> Result<Vec<Option<TargetName>>, StoreError>;
    /// Why what is remembered of a target may be older than what was once known (the store was put
    /// back to an earlier state): until a person enforces the target again, it is at first contact.
    async fn doubt(&self, target: &TargetName) -> Result<Option<String>, StoreError>;
    /// Recomputes every chain and checks its signed head; a sentence for each thing found wrong.
    async fn verify_audit(&self) -> Result<Vec<String>, StoreError>;
    /// Messages of the outbox.
    async fn messages(&self, filter: &MessageFilter) -> Result<Vec<Posted>, StoreError>;
    /// What waits in the outbox, by channel; channels in which nothing waits are left out.
    async fn backlogs(&self) -> Result<Vec<Backlog>, StoreError>;
    /// Invites, the newest first.
    async fn invites(&self, filter: &InviteFilter) -> Result<Vec<Invite>, StoreError>;
    /// How many invites of each target got how far; where there are none, nothing is said. A target that
    /// has been in several places may be named more than once.
    async fn invite_counts(&self) -> Result<Vec<(TargetName, InviteState, u64)>, StoreError>;
    /// Every token, by name.
    async fn tokens(&self) -> Result<Vec<Token>, StoreError>;
    /// Waits for work that is under way and gives the store up, with nothing left beside it: a copy
    /// that is made now is whole. A store that leaves nothing anyway may do without.
    async fn close(&self) {}
}
