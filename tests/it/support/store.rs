//! A store on virtual time. What a store promises is proven by the suite of the real ones; this
//! one keeps what the engine asks for, and can be told to fail.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use rosterd::clock::kept::Kept;
use rosterd::correlate::history::IdentityKey;
use rosterd::model::audit::AuditEvent;
use rosterd::model::audit::ChainedEvent;
use rosterd::model::change::Cause;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::hand::Hand;
use rosterd::model::hand::Hands;
use rosterd::model::history::CycleRecord;
use rosterd::model::history::Intent;
use rosterd::model::history::OutcomeResult;
use rosterd::model::history::SeenAccount;
use rosterd::model::history::Standing;
use rosterd::model::identity::Identity;
use rosterd::model::ids::AccountId;
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
use rosterd::model::request::Subject;
use rosterd::model::snapshot::Snapshot;
use rosterd::model::tally::Counter;
use rosterd::model::tally::Thing;
use rosterd::model::tally::counted;
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

#[path = "outbox.rs"]
mod outbox;

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own, and any may come together")]
pub(crate) struct Inside {
    pub(crate) links: BTreeMap<(Space, RecordId), Link>,
    /// Whom each account was linked to last; what `links` says is what counts.
    holders: BTreeMap<(Space, AccountId), RecordId>,
    pub(crate) hands: BTreeMap<(Space, AccountId), Hand>,
    pub(crate) identities: Vec<(Space, Identity)>,
    pub(crate) intents: Vec<Intent>,
    recorded: BTreeSet<IntentId>,
    pub(crate) outcomes: BTreeMap<IntentId, OutcomeResult>,
    ended: BTreeMap<IntentId, DateTime<Utc>>,
    pub(crate) events: Vec<AuditEvent>,
    pub(crate) cycles: BTreeMap<CycleId, CycleRecord>,
    /// How many commits were made, and how many rows of each kind they wrote.
    pub(crate) commits: u64,
    pub(crate) written: BTreeMap<&'static str, u64>,
    /// Intents, outcomes and decisions that were committed without an audit event (L8).
    pub(crate) unaudited: Vec<String>,
    /// Every commit fails while this is set.
    pub(crate) full: bool,
    /// Commits that hold an intent are refused, and would be again, while this is set.
    pub(crate) refuses: bool,
    /// How long a commit takes that holds an intent.
    pub(crate) slow_intents: Duration,
    /// How long a commit takes that holds an outcome.
    pub(crate) slow_outcomes: Duration,
    /// What guardrails and status read cannot be read while this is set.
    pub(crate) unreadable: bool,
    /// What is known of targets cannot be read while this is set.
    pub(crate) forgets_targets: bool,
    /// After how many decisions the store was put back to an earlier state, in words too.
    pub(crate) doubt: Option<(usize, String)>,
    snapshots: Vec<AcceptedSnapshot>,
    causes: BTreeMap<CauseKey, Cause>,
    decisions: Vec<Decision>,
    standings: BTreeMap<Space, Standing>,
    pub(crate) owed: BTreeMap<(Space, RecordId), DateTime<Utc>>,
    seen: BTreeMap<(Space, AccountId), SeenAccount>,
    pub(crate) counted: BTreeMap<(Space, Counter, Thing), DateTime<Utc>>,
    owned: BTreeMap<(Space, DateTime<Utc>), u64>,
    pub(crate) targets: BTreeMap<TargetName, KnownTarget>,
    lag: TimeDelta,
    ends: BTreeMap<EndDate, DateTime<Utc>>,
    mass: BTreeSet<EndDate>,
    permits: BTreeMap<Permit, DateTime<Utc>>,
    pub(crate) clock: Kept,
    pub(crate) requests: BTreeMap<(Space, RecordId, Subject), Request>,
    pub(crate) outbox: outbox::Outbox,
}

#[derive(Default)]
pub(crate) struct MemoryStore {
    pub(crate) inside: Mutex<Inside>,
}

impl MemoryStore {
    pub(crate) fn open(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }
}

impl Inside {
    fn readable(&self) -> Result<(), StoreError> {
        if self.unreadable {
            return Err(StoreError::Unavailable("the disk cannot be read; look at it".to_owned()));
        }
        Ok(())
    }

    fn count(&mut self, write: &Write) {
        let rows = if let Write::Seen(_, rows) | Write::SeenAll(_, rows) = write { rows.len() as u64 } else { 1 };
        *self.written.entry(kind(write)).or_default() += rows;
    }

    /// An account has one user, as in every store.
    fn refuse_taken(&self, writes: &[Write]) -> Result<(), StoreError> {
        let (mut new, mut links) = (BTreeMap::new(), BTreeMap::new());
        for write in writes {
            if let Write::Unlink(space, record) = write {
                links.insert((space, record), None);
                continue;
            }
            let Write::Link(space, Link { record, account, .. }) = write else { continue };
            let known = self.holders.get(&(space.clone(), account.clone()));
            let holder = new.insert((space, account), record).or(known).filter(|holder| *holder != record);
            let has = |holder: &RecordId| match links.get(&(space, holder)) {
                Some(has) => *has == Some(account),
                None => self.links.get(&(space.clone(), holder.clone())).is_some_and(|link| link.account == *account),
            };
            if let Some(holder) = holder.filter(|holder| has(holder)) {
                let name = &space.target;
                let both = links.contains_key(&(space, holder));
                let both = both.then(|| format!("two users were to be linked to one account of `{name}`"));
                let other =
                    || format!("account `{account}` of `{name}` is linked to another user already, to `{holder}`");
                return Err(StoreError::Refused(both.unwrap_or_else(other)));
            }
            links.insert((space, record), Some(account));
        }
        Ok(())
    }

    fn write(&mut self, write: Write) {
        match write {
            Write::Link(space, link) => {
                self.holders.insert((space.clone(), link.account.clone()), link.record.clone());
                self.links.insert((space, link.record.clone()), link);
            }
            Write::Unlink(space, record) => drop(self.links.remove(&(space, record))),
            Write::Hand(space, account, hand) if hand.is_blank() => drop(self.hands.remove(&(space, account))),
            Write::Hand(space, account, hand) => drop(self.hands.insert((space, account), hand)),
            Write::Identity(space, identity) => self.identities.push((space, identity)),
            Write::Intent(intent) => {
                for (counter, thing) in counted(&intent.change, intent.counting.dated) {
                    let last = self.counted.entry((intent.space.clone(), counter, thing)).or_default();
                    *last = intent.counting.at.max(*last);
                }
                if self.recorded.insert(intent.id.clone()) {
                    self.intents.push(intent);
                }
            }
            Write::Owned(space, at, active) => {
                let second = DateTime::from_timestamp(at.timestamp(), 0).unwrap();
                self.owned.insert((space, second), active);
            }
            Write::Target(name, known) => drop(self.targets.insert(name, known)),
            Write::WindowLag(lag) => self.lag = lag,
            Write::EndDate(end, Some(since)) => drop(self.ends.entry(end).or_insert(since)),
            Write::EndDate(end, None) => {
                self.ends.remove(&end);
                self.mass.remove(&end);
            }
            Write::MassEnd(end) => {
                if self.ends.contains_key(&end) {
                    self.mass.insert(end);
                }
            }
            Write::Permit(permit, Some(at)) => drop(self.permits.insert(permit, at)),
            Write::Permit(permit, None) => drop(self.permits.remove(&permit)),
            Write::Clock(kept) => self.clock = kept,
            Write::Request(space, record, subject, Some(request)) => {
                self.requests.insert((space, record, subject), *request);
            }
            Write::Request(space, record, subject, None) => drop(self.requests.remove(&(space, record, subject))),
            Write::Message(write) => self.outbox.message(write),
            Write::Invite(write) => self.outbox.invite(write),
            Write::Outcome(id, outcome, at) => {
                self.ended.insert(id.clone(), at);
                self.outcomes.insert(id, outcome);
            }
            Write::Snapshot(snapshot) => self.snapshots.push(snapshot),
            Write::Cause(key, Some(cause)) => drop(self.causes.entry(key).or_insert(cause)),
            Write::Cause(key, None) => drop(self.causes.remove(&key)),
            Write::Decision(decision) => self.decisions.push(decision),
            Write::Standing(space, standing) => drop(self.standings.insert(space, standing)),
            Write::Owed(space, record, Some(since)) => drop(self.owed.insert((space, record), since)),
            Write::Owed(space, record, None) => drop(self.owed.remove(&(space, record))),
            Write::Seen(space, rows) => {
                self.seen.extend(rows.into_iter().map(|row| ((space.clone(), row.account.clone()), row)));
            }
            Write::SeenAll(space, rows) => {
                self.seen.retain(|(at, _), _| *at != space);
                self.write(Write::Seen(space, rows));
            }
            Write::Unseen(space, id) => drop(self.seen.remove(&(space, id))),
            Write::Cycle(cycle) => drop(self.cycles.insert(cycle.id.clone(), cycle)),
            Write::Token(_) | Write::TokenRevoked(_) => {}
            Write::Audit(event) => self.events.push(event),
        }
    }
}

/// What a write is of, as tables call it; what is forgotten counts apart.
fn kind(write: &Write) -> &'static str {
    match write {
        Write::Link(..) => "link",
        Write::Hand(..) => "hand",
        Write::Identity(..) => "identity",
        Write::Intent(_) => "intent",
        Write::Outcome(..) => "outcome",
        Write::Snapshot(_) => "snapshot",
        Write::Cause(_, Some(_)) => "cause",
        Write::Decision(_) => "decision",
        Write::Standing(..) => "standing",
        Write::Owed(_, _, Some(_)) => "owed",
        Write::Seen(..) | Write::SeenAll(..) => "seen",
        Write::Cycle(_) => "cycle",
        Write::Audit(_) => "audit",
        Write::Owned(..) => "owned",
        Write::Target(..) => "target",
        Write::EndDate(_, Some(_)) | Write::MassEnd(_) => "end date",
        Write::Permit(_, Some(_)) => "permit",
        Write::Request(.., Some(_)) => "request",
        Write::Message(_) => "message",
        Write::Invite(_) => "invite",
        Write::Clock(_) | Write::WindowLag(_) | Write::Token(_) | Write::TokenRevoked(_) => "of all",
        Write::Cause(_, None)
        | Write::Owed(_, _, None)
        | Write::EndDate(_, None)
        | Write::Permit(_, None)
        | Write::Request(.., None)
        | Write::Unlink(..)
        | Write::Unseen(..) => "forgotten",
    }
}

/// What one commit holds that no audit event of the same commit tells.
fn unaudited(writes: &[Write]) -> Vec<String> {
    let events: Vec<&AuditEvent> =
        writes.iter().filter_map(|write| if let Write::Audit(event) = write { Some(event) } else { None }).collect();
    let told = |kind: &str, intent: &IntentId| {
        let of = |event: &&&AuditEvent| event.details.get("intent").is_some_and(|id| *id == intent.as_str());
        events.iter().filter(|event| event.kind == kind).filter(of).count() == 1
    };
    let missing = writes.iter().filter_map(|write| {
        if let Write::Intent(intent) = write {
            (!told("intent", &intent.id)).then(|| format!("intent {}", intent.id.as_str()))
        } else if let Write::Outcome(intent, ..) = write {
            (!told("outcome", intent)).then(|| format!("outcome {}", intent.as_str()))
        } else if let Write::Decision(decision) = write {
            events.is_empty().then(|| format!("{decision:?}"))
        } else {
            None
        }
    });
    missing.collect()
}

#[async_trait]
impl Store for MemoryStore {
    fn fence(&self) -> Fence {
        Fence(1)
    }

    async fn commit(&self, writes: Vec<Write>, _: Fence) -> Result<(), StoreError> {
        let (intents, outcomes) = {
            let inside = self.open();
            (inside.slow_intents, inside.slow_outcomes)
        };
        let any = |of: fn(&Write) -> bool| writes.iter().any(of);
        if !intents.is_zero() && any(|write| matches!(write, Write::Intent(_))) {
            tokio::time::sleep(intents).await;
        }
        if !outcomes.is_zero() && any(|write| matches!(write, Write::Outcome(..))) {
            tokio::time::sleep(outcomes).await;
        }
        let mut inside = self.open();
        if inside.refuses && any(|write| matches!(write, Write::Intent(_))) {
            return Err(StoreError::Refused("a row contradicts what is there".to_owned()));
        }
        if inside.full {
            return Err(StoreError::Unavailable("the disk is full; make room".to_owned()));
        }
        inside.refuse_taken(&writes)?;
        inside.unaudited.extend(unaudited(&writes));
        inside.commits += 1;
        for write in writes {
            inside.count(&write);
            inside.write(write);
        }
        Ok(())
    }

    async fn links(&self, space: &Space) -> Result<BTreeMap<RecordId, Link>, StoreError> {
        let inside = self.open();
        let mine = inside.links.iter().filter(|((at, _), _)| at == space);
        Ok(mine.map(|((_, record), link)| (record.clone(), link.clone())).collect())
    }

    async fn link(&self, space: &Space, record: &RecordId) -> Result<Option<Link>, StoreError> {
        Ok(self.open().links.get(&(space.clone(), record.clone())).cloned())
    }

    async fn hands(&self, space: &Space) -> Result<Hands, StoreError> {
        let inside = self.open();
        let mine = inside.hands.iter().filter(|((at, _), _)| at == space);
        Ok(mine.map(|((_, account), hand)| (account.clone(), hand.clone())).collect())
    }

    fn identity_key(&self) -> IdentityKey {
        IdentityKey::new(b"a key for tests")
    }

    async fn identities(&self, space: &Space) -> Result<Vec<Identity>, StoreError> {
        let inside = self.open();
        Ok(inside.identities.iter().filter(|(at, _)| at == space).map(|(_, identity)| *identity).collect())
    }

    async fn spaces(&self, target: &TargetName) -> Result<Vec<Space>, StoreError> {
        let inside = self.open();
        let spaces =
            inside.links.keys().map(|(space, _)| space).chain(inside.intents.iter().map(|intent| &intent.space));
        Ok(spaces.filter(|space| space.target == *target).cloned().collect::<BTreeSet<_>>().into_iter().collect())
    }

    async fn acted(&self, space: &Space) -> Result<bool, StoreError> {
        let inside = self.open();
        let mut mine = inside.intents.iter().filter(|intent| intent.space == *space);
        Ok(mine.any(|intent| !intent.change.is_revocation()))
    }

    async fn open_intents(&self, space: &Space) -> Result<Vec<Intent>, StoreError> {
        let inside = self.open();
        let open = inside.intents.iter().filter(|intent| !inside.outcomes.contains_key(&intent.id));
        Ok(open.filter(|intent| intent.space == *space).cloned().collect())
    }

    async fn counted(
        &self,
        space: &Space,
        since: DateTime<Utc>,
    ) -> Result<Vec<(Counter, Thing, DateTime<Utc>)>, StoreError> {
        let inside = self.open();
        inside.readable()?;
        let mine = inside.counted.iter().filter(|((at, _, _), last)| at == space && **last >= since);
        Ok(mine.map(|((_, counter, thing), last)| (counter.clone(), thing.clone(), *last)).collect())
    }

    async fn owned_active_at(&self, space: &Space, at: DateTime<Utc>) -> Result<Option<u64>, StoreError> {
        let inside = self.open();
        inside.readable()?;
        let older = inside.owned.range((space.clone(), DateTime::<Utc>::MIN_UTC)..=(space.clone(), at));
        Ok(older.last().map(|(_, active)| *active))
    }

    async fn window_time(&self) -> Result<WindowTime, StoreError> {
        let inside = self.open();
        Ok(WindowTime { lag: inside.lag, newest: inside.counted.values().max().copied() })
    }

    async fn known_targets(&self) -> Result<BTreeMap<TargetName, KnownTarget>, StoreError> {
        if self.open().forgets_targets {
            return Err(StoreError::Unavailable("the disk cannot be read; look at it".to_owned()));
        }
        Ok(self.open().targets.clone())
    }

    async fn end_dates(&self, records: &BTreeSet<RecordId>) -> Result<BTreeMap<EndDate, DateTime<Utc>>, StoreError> {
        let inside = self.open();
        let mine = inside.ends.iter().filter(|(end, _)| records.contains(&end.record));
        Ok(mine.map(|(end, since)| (end.clone(), *since)).collect())
    }

    async fn mass_ends(&self) -> Result<BTreeSet<EndDate>, StoreError> {
        Ok(self.open().mass.clone())
    }

    async fn permits(&self) -> Result<BTreeMap<Permit, DateTime<Utc>>, StoreError> {
        let inside = self.open();
        inside.readable()?;
        Ok(inside.permits.clone())
    }

    async fn requests(&self, target: &TargetName) -> Result<Vec<(Space, Request)>, StoreError> {
        let inside = self.open();
        inside.readable()?;
        let mine = inside.requests.iter().filter(|((space, ..), _)| space.target == *target);
        Ok(mine.map(|((space, ..), request)| (space.clone(), request.clone())).collect())
    }

    async fn kept_clock(&self) -> Result<Kept, StoreError> {
        Ok(self.open().clock.clone())
    }

    async fn owned_active(&self, space: &Space) -> Result<u64, StoreError> {
        let inside = self.open();
        inside.readable()?;
        let mine = inside.links.iter().filter(|((at, _), link)| at == space && !link.disabled_by_us);
        Ok(mine.count() as u64)
    }

    async fn share_snapshot(&self, _: &Arc<Snapshot>) {}

    async fn snapshot(&self) -> Result<Option<AcceptedSnapshot>, StoreError> {
        Ok(self.open().snapshots.last().cloned())
    }

    async fn highest_level(&self, _: DateTime<Utc>) -> Result<Option<u64>, StoreError> {
        Ok(self.open().snapshots.iter().map(|snapshot| snapshot.level).max())
    }

    async fn causes(&self, target: &TargetName) -> Result<BTreeMap<CauseKey, Cause>, StoreError> {
        let inside = self.open();
        let mine = inside.causes.iter().filter(|(key, _)| key.target == *target);
        Ok(mine.map(|(key, cause)| (key.clone(), *cause)).collect())
    }

    async fn decisions(&self) -> Result<Vec<Decision>, StoreError> {
        let inside = self.open();
        inside.readable()?;
        Ok(inside.decisions.clone())
    }

    async fn standings(&self, target: &TargetName) -> Result<Vec<(Space, Standing)>, StoreError> {
        let inside = self.open();
        inside.readable()?;
        let mine = inside.standings.iter().filter(|(space, _)| space.target == *target);
        Ok(mine.map(|(space, standing)| (space.clone(), standing.clone())).collect())
    }

    async fn owed(&self, space: &Space) -> Result<BTreeMap<RecordId, DateTime<Utc>>, StoreError> {
        let inside = self.open();
        let mine = inside.owed.iter().filter(|((at, _), _)| at == space);
        Ok(mine.map(|((_, record), since)| (record.clone(), *since)).collect())
    }

    async fn standing(&self, space: &Space) -> Result<Option<Standing>, StoreError> {
        Ok(self.open().standings.get(space).cloned())
    }

    async fn seen(&self, space: &Space, _: &AccountFilter) -> Result<Vec<SeenAccount>, StoreError> {
        let inside = self.open();
        Ok(inside.seen.iter().filter(|((at, _), _)| at == space).map(|(_, row)| row.clone()).collect())
    }

    async fn seen_of(&self, space: &Space, record: &RecordId) -> Result<Option<SeenAccount>, StoreError> {
        let inside = self.open();
        let mut mine = inside.seen.iter().filter(|((at, _), row)| at == space && row.record.as_ref() == Some(record));
        Ok(mine.next().map(|(_, row)| row.clone()))
    }

    async fn cycles(
        &self,
        target: Option<&TargetName>,
        _: Option<&CycleId>,
        limit: usize,
    ) -> Result<Vec<CycleRecord>, StoreError> {
        let inside = self.open();
        let mine = inside.cycles.values().rev().filter(|cycle| target.is_none_or(|name| cycle.space.target == *name));
        Ok(mine.take(limit).cloned().collect())
    }

    async fn intents_of(
        &self,
        space: &Space,
        record: &RecordId,
        limit: usize,
    ) -> Result<Vec<(Intent, Option<OutcomeResult>)>, StoreError> {
        let inside = self.open();
        let mine =
            inside.intents.iter().rev().filter(|intent| intent.space == *space && intent.change.record == *record);
        Ok(mine.take(limit).map(|intent| (intent.clone(), inside.outcomes.get(&intent.id).cloned())).collect())
    }

    async fn ended_calls(
        &self,
        space: &Space,
        record: &RecordId,
    ) -> Result<BTreeMap<IntentId, DateTime<Utc>>, StoreError> {
        let inside = self.open();
        let mine = inside.intents.iter().filter(|intent| intent.space == *space && intent.change.record == *record);
        Ok(mine.filter_map(|intent| Some((intent.id.clone(), *inside.ended.get(&intent.id)?))).collect())
    }

    async fn audit(&self, _: Option<&TargetName>, _: u64, _: usize) -> Result<Vec<ChainedEvent>, StoreError> {
        Ok(Vec::new())
    }

    async fn chains(&self) -> Result<Vec<Option<TargetName>>, StoreError> {
        Ok(Vec::new())
    }

    async fn doubt(&self, target: &TargetName) -> Result<Option<String>, StoreError> {
        let inside = self.open();
        let enforced =
            |decision: &Decision| decision.kind == DecisionKind::Enforce && decision.target.as_ref() == Some(target);
        let why = inside.doubt.as_ref().filter(|(since, _)| !inside.decisions.iter().skip(*since).any(enforced));
        Ok(why.map(|(_, why)| why.clone()))
    }

    async fn verify_audit(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn messages(&self, filter: &MessageFilter) -> Result<Vec<Posted>, StoreError> {
        let inside = self.open();
        inside.readable()?;
        Ok(inside.outbox.messages(filter))
    }

    async fn backlogs(&self) -> Result<Vec<Backlog>, StoreError> {
        let inside = self.open();
        inside.readable()?;
        Ok(inside.outbox.backlogs())
    }

    async fn invites(&self, filter: &InviteFilter) -> Result<Vec<Invite>, StoreError> {
        let inside = self.open();
        inside.readable()?;
        Ok(inside.outbox.invites(filter))
    }

    async fn invite_counts(&self) -> Result<Vec<(TargetName, InviteState, u64)>, StoreError> {
        let inside = self.open();
        inside.readable()?;
        Ok(inside.outbox.invite_counts())
    }

    async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        Ok(Vec::new())
    }
}
