//! Writes of one commit, sorted by the table they go to.
//!
//! Tables do not depend on one another's order, rows of one table do: each list keeps the order
//! in which its writes were given, and neighbours of one kind become one statement.

use std::future;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use futures_util::Stream;
use futures_util::TryStreamExt as _;

use crate::clock::kept::Kept;
use crate::model::audit::AuditEvent;
use crate::model::change::Cause;
use crate::model::decision::Decision;
use crate::model::hand::Hand;
use crate::model::history::CycleRecord;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::history::SeenAccount;
use crate::model::history::Standing;
use crate::model::identity::Identity;
use crate::model::ids::AccountId;
use crate::model::ids::IntentId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::invite::InviteWrite;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::model::message::MessageWrite;
use crate::model::request::Request;
use crate::model::request::Subject;
use crate::model::target::KnownTarget;
use crate::store::AcceptedSnapshot;
use crate::store::CauseKey;
use crate::store::EndDate;
use crate::store::Permit;
use crate::store::Token;
use crate::store::Write;

/// Writes by table.
#[derive(Default)]
#[expect(missing_docs, reason = "each list is named like the write that it holds")]
pub struct Batch {
    pub links: Vec<(Space, LinkWrite)>,
    pub hands: Vec<(Space, AccountId, Hand)>,
    pub identities: Vec<(Space, Identity)>,
    pub intents: Vec<IntentWrite>,
    pub snapshots: Vec<AcceptedSnapshot>,
    pub causes: Vec<(CauseKey, Option<Cause>)>,
    pub decisions: Vec<Decision>,
    pub standings: Vec<(Space, Standing)>,
    pub owed: Vec<(Space, RecordId, Option<DateTime<Utc>>)>,
    pub seen: Vec<(Space, SeenWrite)>,
    pub cycles: Vec<CycleRecord>,
    pub tokens: Vec<TokenWrite>,
    pub audit: Vec<AuditEvent>,
    pub windows: Vec<WindowWrite>,
    pub requests: Vec<RequestWrite>,
    pub messages: Vec<MessageWrite>,
    pub invites: Vec<InviteWrite>,
}

/// [`Write::Request`]
pub type RequestWrite = (Space, RecordId, Subject, Option<Box<Request>>);

/// One row of links.
pub enum LinkWrite {
    /// [`Write::Link`]
    Set(Link),
    /// [`Write::Unlink`]
    Drop(RecordId),
}

/// One row of intents.
pub enum IntentWrite {
    /// [`Write::Intent`]
    Open(Box<Intent>),
    /// [`Write::Outcome`]
    Close(IntentId, OutcomeResult, DateTime<Utc>),
}

/// Rows of accounts as they were seen.
pub enum SeenWrite {
    /// [`Write::Seen`]
    Set(Vec<SeenAccount>),
    /// [`Write::SeenAll`]
    SetAll(Vec<SeenAccount>),
    /// [`Write::Unseen`]
    Drop(AccountId),
}

/// Those of the `known` account ids that are not among `accounts`, which must be sorted by id.
///
/// # Errors
/// Those of reading `known`.
pub async fn outside<E>(
    accounts: &[SeenAccount],
    known: impl Stream<Item = Result<String, E>>,
) -> Result<Vec<String>, E> {
    let is_outside = |id: &String| accounts.binary_search_by(|seen| seen.account.as_str().cmp(id)).is_err();
    known.try_filter(|id| future::ready(is_outside(id))).try_collect().await
}

/// What limits are judged by, besides intents.
pub enum WindowWrite {
    /// [`Write::Owned`]
    Owned(Space, DateTime<Utc>, u64),
    /// [`Write::Target`]
    Target(TargetName, Box<KnownTarget>),
    /// [`Write::WindowLag`]
    Lag(TimeDelta),
    /// [`Write::EndDate`]
    End(EndDate, Option<DateTime<Utc>>),
    /// [`Write::MassEnd`]
    Mass(EndDate),
    /// [`Write::Permit`]
    Permit(Permit, Option<DateTime<Utc>>),
    /// [`Write::Clock`]
    Clock(Kept),
}

/// One token.
pub enum TokenWrite {
    /// [`Write::Token`]
    Set(Token),
    /// [`Write::TokenRevoked`]
    Drop(String),
}

impl Batch {
    /// Sorts `writes`.
    pub fn of(writes: Vec<Write>) -> Self {
        let mut batch = Self::default();
        for write in writes {
            batch.put(write);
        }
        batch
    }

    fn put(&mut self, write: Write) {
        match write {
            Write::Link(space, link) => self.links.push((space, LinkWrite::Set(link))),
            Write::Unlink(space, record) => self.links.push((space, LinkWrite::Drop(record))),
            Write::Hand(space, account, hand) => self.hands.push((space, account, hand)),
            Write::Identity(space, identity) => self.identities.push((space, identity)),
            Write::Intent(intent) => self.intents.push(IntentWrite::Open(Box::new(intent))),
            Write::Outcome(id, result, at) => self.intents.push(IntentWrite::Close(id, result, at)),
            Write::Snapshot(accepted) => self.snapshots.push(accepted),
            Write::Cause(key, cause) => self.causes.push((key, cause)),
            Write::Decision(decision) => self.decisions.push(decision),
            Write::Standing(space, standing) => self.standings.push((space, standing)),
            Write::Owed(space, record, since) => self.owed.push((space, record, since)),
            Write::Seen(space, accounts) => match self.seen.last_mut() {
                Some((last, SeenWrite::Set(known))) if *last == space => known.extend(accounts),
                _ => self.seen.push((space, SeenWrite::Set(accounts))),
            },
            Write::SeenAll(space, accounts) => self.seen.push((space, SeenWrite::SetAll(accounts))),
            Write::Unseen(space, account) => self.seen.push((space, SeenWrite::Drop(account))),
            Write::Cycle(cycle) => self.cycles.push(cycle),
            Write::Token(token) => self.tokens.push(TokenWrite::Set(token)),
            Write::TokenRevoked(name) => self.tokens.push(TokenWrite::Drop(name)),
            Write::Audit(event) => self.audit.push(event),
            Write::Owned(space, at, active) => self.windows.push(WindowWrite::Owned(space, at, active)),
            Write::Target(name, known) => self.windows.push(WindowWrite::Target(name, Box::new(known))),
            Write::WindowLag(lag) => self.windows.push(WindowWrite::Lag(lag)),
            Write::EndDate(end, since) => self.windows.push(WindowWrite::End(end, since)),
            Write::MassEnd(end) => self.windows.push(WindowWrite::Mass(end)),
            Write::Permit(permit, at) => self.windows.push(WindowWrite::Permit(permit, at)),
            Write::Clock(kept) => self.windows.push(WindowWrite::Clock(kept)),
            Write::Request(space, record, subject, request) => self.requests.push((space, record, subject, request)),
            Write::Message(message) => self.messages.push(message),
            Write::Invite(invite) => self.invites.push(invite),
        }
    }
}
