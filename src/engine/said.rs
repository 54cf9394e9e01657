//! What people said that holds for every target: who is revoked, and how much is halted.
//!
//! # Guarantees
//! - A word is in the store, with its audit event, before it acts; every start reads all of them
//!   again, so that none is lost by a restart (L11).
//! - A stop ends only by a start: the file that ordered one may go, the stop stays.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use tokio::time::Instant;

use crate::engine::EngineError;
use crate::engine::left;
use crate::engine::shared::Running;
use crate::engine::shared::Shared;
use crate::engine::shared::decision_event;
use crate::engine::shared::lock;
use crate::engine::status::Stop;
use crate::engine::worker::Message;
use crate::model::audit::AuditEvent;
use crate::model::decision::Decision;
use crate::model::decision::DecisionKind;
use crate::model::decision::Halts;
use crate::model::ids::RecordId;
use crate::model::snapshot::Snapshot;
use crate::project::Revocation;
use crate::project::Revoked;
use crate::store::Write;

/// Users that one operator may revoke within an hour. Enough for a bad day, far too few for a
/// stolen token to lock a company out.
pub const REVOKED_AN_HOUR: usize = 20;

/// How long a look at the file counts: a stop acts within two seconds.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Who orders a stop by the file: nobody can tell.
const BY_FILE: &str = "stop-file";

/// The file beside the store by which anybody who has the disk halts calls, also while the daemon
/// answers nobody.
pub trait StopFile: Send + Sync {
    /// What it orders; `None`: it is not there. What cannot be understood orders everything.
    fn read(&self) -> Option<Halts>;
    /// Takes it away.
    ///
    /// # Errors
    /// Why it is still there, in words that say what to do.
    fn remove(&self) -> Result<(), String>;
}

/// The words that stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// Whom a person revoked.
    pub revoked: Arc<Revoked>,
    /// How much a person halted.
    pub stop: Option<Stop>,
}

impl Said {
    /// What these decisions, oldest first, leave standing.
    pub fn from_decisions(decisions: &[Decision]) -> Self {
        let mut stop: Option<Stop> = None;
        for decision in decisions {
            if decision.kind == DecisionKind::Start {
                stop = None;
            } else if decision.kind == DecisionKind::Stop {
                stop = stricter(stop, stop_of(decision));
            }
        }
        Self { revoked: Arc::new(Revoked::from_decisions(decisions)), stop }
    }
}

fn stop_of(decision: &Decision) -> Stop {
    let Decision { by, at, reason, halts, .. } = decision.clone();
    Stop { halts: halts.unwrap_or(Halts::All), by, at, reason }
}

/// Of two stops the stricter stands, whoever spoke last.
fn stricter(old: Option<Stop>, new: Stop) -> Option<Stop> {
    old.filter(|old| old.halts > new.halts).or(Some(new))
}

/// The file, and what it ordered since the last start.
#[derive(Default)]
pub struct Order {
    file: OnceLock<Arc<dyn StopFile>>,
    seen: Mutex<Seen>,
}

/// What was seen of the file. An order that was seen once stands, though the file may be gone before
/// anybody has written it down.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    at: Option<Instant>,
    ordered: Option<Halts>,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order").field("seen", &*lock(&self.seen)).finish_non_exhaustive()
    }
}

impl Order {
    pub(crate) fn obey(&self, file: Arc<dyn StopFile>) {
        // Whoever said so first is obeyed: there is one file, beside the store.
        drop(self.file.set(file));
    }

    fn read(&self) -> Option<Halts> {
        let file = self.file.get()?;
        let now = Instant::now();
        let mut seen = lock(&self.seen);
        if seen.at.is_none_or(|at| now.duration_since(at) >= LOOK_AGAIN) {
            *seen = Seen { at: Some(now), ordered: seen.ordered.max(file.read()) };
        }
        seen.ordered
    }

    fn remove(&self) -> Result<(), String> {
        let Some(file) = self.file.get() else { return Ok(()) };
        let mut seen = lock(&self.seen);
        file.remove()?;
        *seen = Seen::default();
        Ok(())
    }
}

impl Shared {
    /// How much is halted now, by a person's word or by the file.
    pub(crate) fn halts(&self) -> Option<Halts> {
        let said = self.said.load().stop.as_ref().map(|stop| stop.halts);
        said.max(self.order.read())
    }
}

/// What is halted, by whom and why.
pub(crate) fn stopped(shared: &Shared) -> Option<Stop> {
    let halts = shared.halts()?;
    let said = shared.said.load().stop.clone().filter(|stop| stop.halts >= halts);
    Some(said.unwrap_or_else(|| by_file(halts, shared.now()).1))
}

fn by_file(halts: Halts, at: DateTime<Utc>) -> (Decision, Stop) {
    let reason = Some("the stop file beside the store says so".to_owned());
    let stop = Stop { halts, by: BY_FILE.to_owned(), at, reason: reason.clone() };
    (Decision { halts: Some(halts), reason, ..Decision::new(DecisionKind::Stop, BY_FILE, at) }, stop)
}

/// Users who stand revoked now.
pub(crate) fn revoked(shared: &Shared) -> BTreeMap<RecordId, Revocation> {
    let said = shared.said.load();
    said.revoked.standing(shared.judged()).map(|(record, said)| (record.clone(), said.clone())).collect()
}

/// Whether this is said here, for every target at once.
pub(crate) fn holds_everywhere(kind: DecisionKind) -> bool {
    matches!(kind, DecisionKind::Revoke | DecisionKind::Restore | DecisionKind::Stop | DecisionKind::Start)
}

/// Reads every word that stands, and keeps an eye on the file.
pub(crate) async fn start(shared: &Arc<Shared>, running: Running) -> Result<(), EngineError> {
    hear(shared).await?;
    note_file(shared).await?;
    if running == Running::Daemon && shared.order.file.get().is_some() {
        let watched = Arc::clone(shared);
        shared.tasks.spawn(async move { watch(&watched).await });
    }
    Ok(())
}

async fn watch(shared: &Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.cancel.cancelled() => return,
            () = tokio::time::sleep(LOOK_AGAIN * 2) => {}
        }
        if let Err(error) = note_file(shared).await {
            tracing::error!(%error, "the stop that the file orders is obeyed and could not be recorded");
        }
    }
}

/// Records what the file orders beyond what is halted already, so that it outlives the file.
async fn note_file(shared: &Shared) -> Result<(), EngineError> {
    let Some(halts) = shared.order.read() else { return Ok(()) };
    let said = shared.said.load().stop.as_ref().map(|stop| stop.halts);
    if said >= Some(halts) {
        return Ok(());
    }
    shared.metrics.stopped.set(level(Some(halts)));
    tell(shared);
    let _turn = shared.turn.lock().await;
    // A start may have had its turn before and taken the file away.
    let Some(halts) = shared.order.read() else { return Ok(()) };
    record(shared, vec![by_file(halts, shared.now()).0]).await
}

/// Reads what was said again.
pub(crate) async fn hear(shared: &Shared) -> Result<(), EngineError> {
    let said = Said::from_decisions(&shared.store.decisions().await?);
    shared.said.store(Arc::new(said));
    shared.metrics.stopped.set(level(shared.halts()));
    Ok(())
}

fn level(halts: Option<Halts>) -> i64 {
    match halts {
        None => 0,
        Some(Halts::Widening) => 1,
        Some(Halts::All) => 2,
    }
}

/// Records a person's word, and has every worker act on it.
pub(crate) async fn say(shared: &Shared, decision: Decision) -> Result<(), EngineError> {
    let _turn = shared.turn.lock().await;
    let decisions = if decision.kind == DecisionKind::Revoke {
        revoke(shared, decision).await?
    } else if decision.kind == DecisionKind::Restore {
        restore(shared, &decision)?
    } else if decision.kind == DecisionKind::Start && stopped(shared).is_none() {
        return Err(EngineError::Stale("nothing is stopped; `rosterd status` shows what is".to_owned()));
    } else {
        vec![decision]
    };
    let starts = decisions.iter().any(|decision| decision.kind == DecisionKind::Start);
    record(shared, decisions).await?;
    if starts {
        // Only now: were it gone first and the store away, nobody would know of the stop any more.
        shared.order.remove().map_err(EngineError::Stale)?;
        shared.metrics.stopped.set(level(shared.halts()));
        tell(shared);
    }
    Ok(())
}

async fn record(shared: &Shared, decisions: Vec<Decision>) -> Result<(), EngineError> {
    let events = decisions.iter().map(|decision| Write::Audit(decision_event(decision)));
    let writes = events.chain(decisions.iter().cloned().map(Write::Decision)).collect();
    shared.store.commit(writes, shared.store.fence()).await?;
    hear(shared).await?;
    tell(shared);
    Ok(())
}

fn tell(shared: &Shared) {
    for handle in lock(&shared.handles).values() {
        // A worker that ended has nobody left to tell.
        drop(handle.sender.send(Message::Said(shared.now())));
    }
}

async fn revoke(shared: &Shared, decision: Decision) -> Result<Vec<Decision>, EngineError> {
    let Some(record) = decision.record.clone() else {
        return Err(EngineError::Invalid("name the user whose access ends".to_owned()));
    };
    if decision.until.is_some_and(|until| until <= decision.at) {
        return Err(EngineError::Invalid("the revocation would end before it begins; give a later `until`".to_owned()));
    }
    let ids = aliases(shared, &record);
    if !is_known(shared, &ids).await? {
        return Err(EngineError::NoUser(record));
    }
    stands_longer(shared, &decision, &ids)?;
    within_the_hour(shared, &decision, &ids).await?;
    // A user who was renamed is revoked under the record id that stands today, too.
    let declared = |id: &&RecordId| shared.snapshot().is_some_and(|snapshot| snapshot.users.contains_key(id));
    let also = ids.iter().filter(|id| **id != record).filter(declared).cloned().collect::<Vec<_>>();
    let of = |id: RecordId| Decision { record: Some(id), ..decision.clone() };
    Ok([record].into_iter().chain(also).map(of).collect())
}

/// What stands is not cut short by a second word of the same kind: only a restore ends it (L11).
fn stands_longer(shared: &Shared, decision: &Decision, ids: &BTreeSet<RecordId>) -> Result<(), EngineError> {
    let Some(until) = decision.until else { return Ok(()) };
    let said = shared.said.load();
    let standing = ids.iter().filter_map(|id| Some((id, said.revoked.of(id, &[], shared.judged())?)));
    let longer = standing.into_iter().find(|(_, standing)| standing.until.is_none_or(|end| end > until));
    let Some((record, Revocation { by, until: end, .. })) = longer else { return Ok(()) };
    let end = end.map_or_else(|| "without an end".to_owned(), |end| format!("until {}", end.to_rfc3339()));
    Err(EngineError::Stale(format!(
        "`{record}` stands revoked {end}, by {by}, which is longer than this; `rosterd restore {record}` ends it"
    )))
}

/// Everybody may end somebody's access, and nobody everybody's.
async fn within_the_hour(shared: &Shared, decision: &Decision, ids: &BTreeSet<RecordId>) -> Result<(), EngineError> {
    // Judged by the time that is believed: a clock set forward empties no window (L4).
    let since = decision.at.min(shared.judged()) - TimeDelta::hours(1);
    let recorded = shared.store.decisions().await?;
    // What seems to come from the future counts: a clock set back empties no window (L16).
    let mine =
        recorded.iter().filter(|said| said.kind == DecisionKind::Revoke && said.by == decision.by && said.at > since);
    let mut revoked: BTreeSet<_> = mine.filter_map(|said| said.record.as_ref()).collect();
    // One user under two record ids is one user.
    let snapshot = shared.snapshot();
    let users = snapshot.iter().flat_map(|snapshot| snapshot.users.renamed());
    for user in users.filter(|user| revoked.contains(&user.id)).collect::<Vec<_>>() {
        revoked.retain(|record| !user.formerly.contains(record));
    }
    revoked.retain(|record| !ids.contains(*record));
    if revoked.len() < REVOKED_AN_HOUR {
        return Ok(());
    }
    Err(EngineError::TooMany(format!(
        "`{}` revoked {} users within the last hour, and one person may revoke {REVOKED_AN_HOUR}; ask another operator, \
         or set `active: false` in the manifests, where limits apply; `rosterd stop --widening` halts what gives access",
        decision.by,
        revoked.len()
    )))
}

/// Takes back whatever stands against a user, under each of their record ids.
fn restore(shared: &Shared, decision: &Decision) -> Result<Vec<Decision>, EngineError> {
    let Some(record) = &decision.record else {
        return Err(EngineError::Invalid("name the user whose revocation is taken back".to_owned()));
    };
    let said = shared.said.load();
    let ids = aliases(shared, record).into_iter();
    let standing = ids.filter(|id| said.revoked.of(id, &[], shared.judged()).is_some());
    let decisions: Vec<_> = standing.map(|id| Decision { record: Some(id), ..decision.clone() }).collect();
    if decisions.is_empty() {
        return Err(EngineError::Stale(format!("`{record}` is not revoked; `rosterd status` lists who is")));
    }
    Ok(decisions)
}

/// Every record id that the user of this one has or had, as far as documents say.
pub(crate) fn aliases(shared: &Shared, record: &RecordId) -> BTreeSet<RecordId> {
    let mut ids = BTreeSet::from([record.clone()]);
    let Some(snapshot) = shared.snapshot() else { return ids };
    let under_another = snapshot.users.renamed().filter(|user| user.id != *record && user.formerly.contains(record));
    for user in snapshot.users.get(record).into_iter().chain(under_another) {
        ids.insert(user.id.clone());
        ids.extend(user.formerly.iter().cloned());
    }
    ids
}

/// A misspelt name must not look like a leaver who is out.
pub(crate) async fn is_known(shared: &Shared, ids: &BTreeSet<RecordId>) -> Result<bool, EngineError> {
    let said = shared.said.load_full();
    let declared = |id: &RecordId| shared.snapshot().is_some_and(|snapshot| snapshot.users.contains_key(id));
    if ids.iter().any(|id| declared(id) || said.revoked.records().any(|known| known == id)) {
        return Ok(true);
    }
    Ok(!left::links_of(shared, ids).await?.is_empty() || left::was_called(shared, ids).await?)
}

/// What stands against an earlier record id stands against the new one too, also once nobody
/// declares the rename any more.
pub(crate) fn carried(shared: &Shared, snapshot: &Snapshot) -> Vec<Write> {
    let (said, now) = (shared.said.load(), shared.judged());
    let mut writes = Vec::new();
    for user in snapshot.users.renamed() {
        let own = said.revoked.of(&user.id, &[], now);
        let Some(revocation) = said.revoked.of(&user.id, &user.formerly, now).filter(|_| own.is_none()) else {
            continue;
        };
        let Revocation { by, at, until, reason } = revocation.clone();
        let decision =
            Decision { record: Some(user.id.clone()), until, reason, ..Decision::new(DecisionKind::Revoke, by, at) };
        let event = AuditEvent { at: shared.now(), actor: "engine".to_owned(), ..decision_event(&decision) };
        writes.extend([Write::Decision(decision), Write::Audit(event)]);
    }
    writes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(halts: Halts, by: &str) -> Decision {
        Decision { halts: Some(halts), ..Decision::new(DecisionKind::Stop, by, DateTime::UNIX_EPOCH) }
    }

    #[track_caller]
    fn check(decisions: &[Decision], stands: Option<(Halts, &str)>) {
        let said = Said::from_decisions(decisions).stop;
        assert_eq!(said.as_ref().map(|stop| (stop.halts, stop.by.as_str())), stands);
    }

    #[test]
    fn the_strictest_stop_stands_until_somebody_starts() {
        let start = Decision::new(DecisionKind::Start, "c", DateTime::UNIX_EPOCH);
        check(&[], None);
        check(&[stop(Halts::All, "a"), stop(Halts::Widening, "b")], Some((Halts::All, "a")));
        check(&[stop(Halts::Widening, "a"), stop(Halts::All, "b")], Some((Halts::All, "b")));
        check(&[stop(Halts::All, "a"), start.clone()], None);
        check(&[stop(Halts::All, "a"), start, stop(Halts::Widening, "b")], Some((Halts::Widening, "b")));
    }
}
