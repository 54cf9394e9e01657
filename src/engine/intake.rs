//! From loads of the source to accepted snapshots, and the workers that the documents ask for.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use chrono::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::accept;
use crate::accept::Before;
use crate::accept::Measured;
use crate::accept::Verdict;
use crate::accept::left::Left;
use crate::connector::Connector;
use crate::engine::EngineError;
use crate::engine::bounded::Bounded;
use crate::engine::ends;
use crate::engine::left;
use crate::engine::permits;
use crate::engine::policy;
use crate::engine::policy::Settled;
use crate::engine::said;
use crate::engine::shared::Current;
use crate::engine::shared::Handle;
use crate::engine::shared::Running;
use crate::engine::shared::Shared;
use crate::engine::shared::lock;
use crate::engine::signed;
use crate::engine::status::ShrinkHold;
use crate::engine::status::TargetStatus;
use crate::engine::time;
use crate::engine::windows;
use crate::engine::worker;
use crate::engine::worker::Message;
use crate::http::rate::Rate;
use crate::manifest;
use crate::manifest::Documents;
use crate::model::audit::AuditEvent;
use crate::model::change::Cause;
use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::snapshot::Snapshot;
use crate::model::target::Target;
use crate::model::user::User;
use crate::project::Projector;
use crate::store::AcceptedSnapshot;
use crate::store::CauseKey;
use crate::store::Write;

/// Which users a new snapshot changed; `None`: any of them.
pub type Changed = Option<BTreeSet<RecordId>>;

/// How soon a load that the store did not take is tried again.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// How long a command waits for what its workers know of themselves.
const FIRST_WORDS: std::time::Duration = std::time::Duration::from_secs(10);

type Causes = BTreeMap<(RecordId, TargetName, Option<EntitlementName>), Option<Cause>>;

/// How much of the source a load looks at.
#[derive(Clone, Copy)]
enum Looking {
    Everywhere,
    /// Where the source said that something changed.
    WhereTold,
}

/// Loads once, starts the workers, and watches where `running` says so.
pub async fn start(shared: &Arc<Shared>, running: Running) -> Result<(), EngineError> {
    time::begin(shared).await?;
    shared.running.get_or_init(|| running);
    windows::begin(shared).await?;
    said::start(shared, running).await?;
    if let Some(stored) = shared.store.snapshot().await? {
        let mut status = lock(&shared.source_status);
        status.generation = stored.generation;
        status.digest = Some(stored.digest);
        status.accepted = Some(stored.at);
        status.users = stored.snapshot.users.len();
        status.roles = stored.snapshot.roles.len();
        shared.metrics.snapshot_users.set(i64::try_from(status.users).unwrap_or(i64::MAX));
        shared.metrics.snapshot_generation.set(i64::try_from(status.generation).unwrap_or(i64::MAX));
        shared.current.store(Some(Arc::new(Current {
            snapshot: stored.snapshot,
            generation: stored.generation,
            at: stored.at,
            narrowed_from: stored.narrowed_from,
        })));
    }
    load(shared, running, Looking::Everywhere).await?;
    if running == Running::Daemon {
        shared.tasks.spawn(time::watch(Arc::clone(shared)));
        let watched = Arc::clone(shared);
        shared.tasks.spawn(async move { watch(&watched).await });
    } else {
        first_words(shared).await;
    }
    Ok(())
}

/// Waits until every worker said how things are: who asks one process once must not be told that nothing
/// is owed because nobody has looked yet.
async fn first_words(shared: &Shared) {
    let told: Vec<_> = lock(&shared.handles).values().map(|handle| handle.told.clone()).collect();
    let waiting = futures_util::future::join_all(told.iter().map(CancellationToken::cancelled));
    if tokio::time::timeout(FIRST_WORDS, waiting).await.is_err() {
        tracing::warn!("not every target said in time how it is; what is told of it may be old");
    }
}

/// Reads the source again.
pub async fn reload(shared: &Arc<Shared>) -> Result<(), EngineError> {
    let running = shared.running.get().copied().unwrap_or(Running::Once);
    load(shared, running, Looking::Everywhere).await
}

async fn watch(shared: &Arc<Shared>) {
    let mut again = false;
    loop {
        let looking = tokio::select! {
            // In this order every time, so that equal worlds give equal runs.
            biased;
            () = shared.cancel.cancelled() => return,
            () = shared.source.changed() => Looking::WhereTold,
            // Nobody may edit the documents again, and a leaver may be among them.
            () = tokio::time::sleep(AGAIN), if again => Looking::Everywhere,
        };
        let loaded = load(shared, Running::Daemon, looking).await;
        again = loaded.is_err();
        if let Err(error) = loaded {
            tracing::error!(%error, "a load could not be recorded; rosterd tries again");
        }
    }
}

async fn load(shared: &Arc<Shared>, running: Running, looking: Looking) -> Result<(), EngineError> {
    let _turn = shared.intake.lock().await;
    let loaded = match looking {
        Looking::Everywhere => shared.source.load().await,
        Looking::WhereTold => shared.source.follow().await,
    };
    let documents = match loaded {
        Ok(documents) => documents,
        Err(error) => {
            tracing::error!(source = shared.source.name(), %error, "the source gave nothing");
            shared.metrics.manifest_errors.set(1);
            shared.metrics.config_last_reload_success.set(0);
            lock(&shared.source_status).error = Some(error.to_string());
            return Ok(());
        }
    };
    lock(&shared.source_status).error = None;
    let judged = judge(shared, &documents, running).await;
    let error = if let Err(EngineError::Store(error)) = &judged { Some(error) } else { None };
    shared.store_answered(None, error);
    judged
}

/// Judges one load, remembers what it changes, and tells the workers.
async fn judge(shared: &Arc<Shared>, documents: &Documents, running: Running) -> Result<(), EngineError> {
    let (projectors, broken) = projectors(shared, &documents.targets);
    forget_stale_causes(shared, &acting(shared)).await?;
    let blocking = documents.problems.iter().filter(|problem| problem.blocks()).count() + broken.len();
    let current = shared.current.load_full();
    let now = shared.judged();
    // Whichever way the wall clock was set, the day does not get shorter by it.
    let since = now.min(shared.window_now()) - Duration::hours(24);
    let highest = shared.store.highest_level(since).await?;
    let shrink_accepted = permits::standing_shrinks(shared).await?;
    let previous = current.as_ref().map(|current| &*current.snapshot);
    let last_accepted = current.as_ref().map(|current| current.accepted());
    let measured = |snapshot| Measured { snapshot, granted: lock(&shared.measure).of(&projectors, snapshot, now) };
    let before = previous.zip(last_accepted.as_deref());
    let left = match before {
        Some((_, accepted)) => left::undeclared(shared, documents, accepted).await?,
        None => Left::new(),
    };
    let before = before.map(|(current, accepted)| Before {
        current: measured(current),
        accepted: measured(accepted),
        left: &left,
    });
    let percent = shared.max_shrink_percent;
    let verdict = accept::judge(documents, &projectors, before, highest, percent, &shrink_accepted, now);
    report(shared, documents, broken, &verdict);
    let accepted = matches!(verdict, Verdict::Accepted { .. });
    let (snapshot, causes, level) = match verdict {
        Verdict::Accepted { snapshot, level, causes } => (snapshot, causes, Some(level)),
        Verdict::Held { narrowed, causes, .. } | Verdict::Refused { narrowed, causes } => (narrowed, causes, None),
    };
    let changed = changed(previous, &snapshot);
    let same = current.is_some() && changed.as_ref().is_some_and(BTreeSet::is_empty);
    let used = if accepted { permits::accepted_shrinks(shared).await? } else { BTreeSet::new() };
    let used: Vec<_> = used.into_iter().map(|permit| Write::Permit(permit, None)).collect();
    // Also where a load that is accepted says just what narrowed before: it counts as accepted from here on.
    let settles = accepted && current.as_ref().is_some_and(|current| !current.narrowed_from.is_empty());
    if (!same || settles) && (accepted || current.is_some()) {
        remember(shared, (documents, &projectors), snapshot, (causes, used), level).await?;
    } else {
        if let Some(Current { generation, at, narrowed_from, .. }) = current.as_deref() {
            // Shared with the loads to come, so that telling what differs from them is cheap.
            let (snapshot, narrowed_from) = (Arc::new(snapshot), narrowed_from.clone());
            // And so that nothing keeps the users of the last one as well.
            lock(&shared.measure).of(&projectors, &snapshot, now);
            shared.store.share_snapshot(&snapshot).await;
            let current = Current { snapshot, generation: *generation, at: *at, narrowed_from };
            shared.current.store(Some(Arc::new(current)));
        }
        if !used.is_empty() {
            shared.store.commit(used, shared.store.fence()).await?;
        }
    }
    debug_assert!(accepted || blocking > 0 || lock(&shared.source_status).shrink.is_some(), "a refusal has a reason");
    let staffed = restaff(shared, projectors, accepted, running).await;
    if !same {
        // Also where the store did not answer meanwhile: the snapshot is the current one by now, and
        // no later load would find that it changed anything.
        let handles: Vec<_> = lock(&shared.handles).values().cloned().collect();
        for handle in handles {
            // A worker that ended has nobody left to tell.
            drop(handle.sender.send(Message::Snapshot(changed.clone())));
        }
    }
    if accepted {
        // Words are judged by the users that came with them.
        signed::take(shared, documents);
    }
    staffed
}

/// Lets the documents of targets act, as far as they may.
async fn restaff(
    shared: &Arc<Shared>,
    projectors: Vec<Arc<Projector>>,
    accepted: bool,
    running: Running,
) -> Result<(), EngineError> {
    if shared.settled.swap(false, Ordering::Relaxed) && accepted && settled_already(shared, &projectors) {
        shared.settled.store(true, Ordering::Relaxed);
        return Ok(());
    }
    if accepted && retargeted(&lock(&shared.handles), &projectors) {
        forget_stale_causes(shared, &projectors).await?;
    }
    let settled = policy::settle(shared, projectors, accepted).await?;
    staff(shared, settled, accepted, running).await;
    left::look_soon(shared, None);
    shared.settled.store(accepted, Ordering::Relaxed);
    Ok(())
}

fn projectors(shared: &Shared, targets: &[Arc<Target>]) -> (Vec<Arc<Projector>>, Vec<String>) {
    let mut sound = Vec::new();
    let mut broken = Vec::new();
    let handles = lock(&shared.handles);
    for target in targets {
        if let Some(same) = handles.get(&target.name).filter(|handle| handle.projector.target() == target) {
            sound.push(Arc::clone(&same.projector));
            continue;
        }
        match Projector::new(Arc::clone(target)) {
            Ok(projector) => sound.push(Arc::new(projector)),
            Err(errors) => {
                broken.extend(errors.iter().map(|error| format!("target `{}`: {}", target.name, error.message)));
            }
        }
    }
    (sound, broken)
}

/// Whether every target acts just as these documents want it to.
fn settled_already(shared: &Shared, projectors: &[Arc<Projector>]) -> bool {
    let handles = lock(&shared.handles);
    let as_written = |handle: &Handle| handle.loosening.is_none() && !handle.unaccepted;
    handles.len() == projectors.len() && handles.values().all(as_written) && !retargeted(&handles, projectors)
}

/// Whether some target is new or not as it was.
fn retargeted(handles: &BTreeMap<TargetName, Handle>, projectors: &[Arc<Projector>]) -> bool {
    let same = |projector: &Arc<Projector>| {
        let target = projector.target();
        handles.get(&target.name).is_some_and(|handle| handle.target == *target)
    };
    !projectors.iter().all(same)
}

/// The targets as they act until this load is judged.
fn acting(shared: &Shared) -> Vec<Arc<Projector>> {
    lock(&shared.handles).values().map(|handle| Arc::clone(&handle.projector)).collect()
}

/// The causes that users' own documents make clearer than what was remembered when access was lost.
async fn clearer(shared: &Shared, previous: Option<&Snapshot>, next: &Snapshot) -> Result<Vec<Write>, EngineError> {
    let words = previous.map(|previous| accept::explicit_words(previous, next, shared.judged())).unwrap_or_default();
    let mut writes = Vec::new();
    if words.is_empty() {
        return Ok(writes);
    }
    for target in shared.store.known_targets().await?.into_keys() {
        let causes = shared.store.causes(&target).await?;
        let inferred =
            causes.into_iter().filter(|(key, cause)| words.contains(&key.record) && *cause == Cause::Inferred);
        for (key, _) in inferred {
            writes.extend([Write::Cause(key.clone(), None), Write::Cause(key, Some(Cause::Explicit))]);
        }
    }
    let mut mass = ends::mass(&*shared.store).await?;
    mass.retain(|(record, ..)| words.contains(record));
    let Some(previous) = previous else { return Ok(writes) };
    for projector in acting(shared) {
        for (record, entitlement) in accept::ends::taken_by(&projector, previous, &mass) {
            let key = CauseKey { record, target: projector.target().name.clone(), entitlement };
            writes.extend([Write::Cause(key.clone(), None), Write::Cause(key, Some(Cause::Explicit))]);
        }
    }
    Ok(writes)
}

/// Forgets causes of losses that were made good, by a changed target or because a validity began.
async fn forget_stale_causes(shared: &Shared, projectors: &[Arc<Projector>]) -> Result<(), EngineError> {
    let Some(snapshot) = shared.snapshot() else { return Ok(()) };
    let mut remembered = BTreeSet::new();
    for projector in projectors {
        let causes = shared.store.causes(&projector.target().name).await?;
        remembered
            .extend(causes.into_keys().map(|CauseKey { record, target, entitlement }| (record, target, entitlement)));
    }
    let stale = accept::stale_causes(projectors, &snapshot, &remembered, shared.judged());
    if stale.is_empty() {
        return Ok(());
    }
    let forget = |(record, target, entitlement)| Write::Cause(CauseKey { record, target, entitlement }, None);
    shared.store.commit(stale.into_iter().map(forget).collect(), shared.store.fence()).await?;
    Ok(())
}

/// Shows in status, metrics and log what became of the load.
fn report(shared: &Shared, documents: &Documents, broken: Vec<String>, verdict: &Verdict) {
    let metrics = &shared.metrics;
    let mut problems: Vec<_> = documents.problems.iter().map(|problem| manifest::render(problem, false)).collect();
    problems.extend(broken);
    let refused = matches!(verdict, Verdict::Refused { .. });
    let shrink = match verdict {
        Verdict::Held { digest, lost, level, .. } => {
            Some(ShrinkHold { digest: digest.clone(), lost: *lost, level: *level })
        }
        Verdict::Accepted { .. } | Verdict::Refused { .. } => None,
    };
    metrics.manifest_errors.set(i64::try_from(problems.len()).unwrap_or(i64::MAX));
    metrics.config_last_reload_success.set(i64::from(!refused));
    let source = metrics.source(shared.source.name());
    source.hold_shrink(shrink.is_some());
    if refused {
        let first =
            problems.first().map(|problem| problem.lines().take(2).map(str::trim).collect::<Vec<_>>().join(" "));
        let first = first.unwrap_or_default();
        tracing::error!(
            problems = problems.len(),
            first,
            "the manifests were refused; the last accepted snapshot stands"
        );
    } else if let Some(held) = &shrink {
        tracing::error!(digest = %held.digest, lost = held.lost, level = held.level, "the manifests take too much away and are held");
    } else {
        source.succeeded(shared.now());
    }
    let mut status = lock(&shared.source_status);
    status.problems = problems;
    status.refused = refused;
    status.shrink = shrink;
}

/// Stores the snapshot with its causes, and makes it the current one.
async fn remember(
    shared: &Shared,
    (documents, projectors): (&Documents, &[Arc<Projector>]),
    snapshot: Snapshot,
    (causes, used): (Causes, Vec<Write>),
    level: Option<u64>,
) -> Result<(), EngineError> {
    let now = shared.now();
    let before = shared.current.load_full();
    let generation = before.as_ref().map_or(0, |current| current.generation) + u64::from(level.is_some());
    let digest = match level {
        Some(_) => documents.digest.clone(),
        None => lock(&shared.source_status).digest.clone().unwrap_or_else(|| documents.digest.clone()),
    };
    // A narrowed snapshot keeps the level that shrink is judged by.
    let kept_level = match level {
        Some(level) => level,
        None => shared.store.snapshot().await?.map_or(0, |stored| stored.level),
    };
    let narrowed_from = match (&before, level) {
        (Some(before), None) => narrowed_from(before, &snapshot),
        (_, Some(_)) | (None, _) => BTreeMap::new(),
    };
    let snapshot = Arc::new(snapshot);
    let accepted = AcceptedSnapshot {
        snapshot: Arc::clone(&snapshot),
        digest: digest.clone(),
        generation,
        level: kept_level,
        at: now,
        narrowed_from: narrowed_from.clone(),
    };
    let details = BTreeMap::from([
        ("digest".to_owned(), digest.as_str().into()),
        ("generation".to_owned(), generation.into()),
        ("users".to_owned(), snapshot.users.len().into()),
        ("narrowedOnly".to_owned(), level.is_none().into()),
    ]);
    let actor = "engine".to_owned();
    let event =
        AuditEvent { at: now, target: None, kind: "snapshot".to_owned(), actor, record: None, cycle: None, details };
    let mut writes = vec![Write::Snapshot(accepted), Write::Audit(event)];
    writes.extend(used);
    for ((record, target, entitlement), cause) in causes {
        let key = CauseKey { record, target, entitlement };
        // What this load takes was there before it: whatever is remembered is about an earlier loss.
        writes.push(Write::Cause(key.clone(), None));
        writes.extend(cause.map(|cause| Write::Cause(key, Some(cause))));
    }
    let carried = said::carried(shared, &snapshot);
    let anew = !carried.is_empty();
    writes.extend(carried);
    let previous = before.as_ref().map(|current| &*current.snapshot);
    writes.extend(clearer(shared, previous, &snapshot).await?);
    writes.extend(ends::noted(previous, &snapshot, shared.window_now()));
    writes.extend(ends::noted_mass(shared, projectors, previous, &snapshot).await?);
    shared.store.commit(writes, shared.store.fence()).await?;
    if anew {
        said::hear(shared).await?;
    }
    shared.metrics.snapshot_users.set(i64::try_from(snapshot.users.len()).unwrap_or(i64::MAX));
    shared.metrics.snapshot_generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
    let mut status = lock(&shared.source_status);
    status.generation = generation;
    status.digest = Some(digest);
    status.users = snapshot.users.len();
    status.roles = snapshot.roles.len();
    status.accepted = Some(now);
    shared.current.store(Some(Arc::new(Current { snapshot, generation, at: now, narrowed_from })));
    Ok(())
}

/// Users as the last accepted load has them, where the narrowed `next` has them otherwise.
fn narrowed_from(before: &Current, next: &Snapshot) -> BTreeMap<RecordId, User> {
    let mut from = before.narrowed_from.clone();
    for record in changed(Some(&before.snapshot), next).unwrap_or_default() {
        if let Some(accepted) = before.snapshot.users.get(&record) {
            from.entry(record).or_insert(accepted);
        }
    }
    from
}

/// Users whose document differs; `None` where a role differs, since any user may hold it.
fn changed(previous: Option<&Snapshot>, next: &Snapshot) -> Changed {
    let previous = previous?;
    if previous.roles != next.roles {
        return None;
    }
    Some(previous.users.edits(&next.users).map(|edit| edit.record.clone()).collect())
}

/// Starts, replaces and ends workers so that there is one for each target of the documents.
///
/// A refused or held load starts workers for targets that have none (the daemon may have started
/// with it), and touches no other. One whose document is not as it was accepted last only takes away
/// until a load is accepted.
async fn staff(shared: &Arc<Shared>, settled: Vec<Settled>, accepted: bool, running: Running) {
    let names: BTreeSet<_> = settled.iter().map(|settled| settled.projector.target().name.clone()).collect();
    let present = lock(&shared.handles).clone();
    for name in present.keys().filter(|name| accepted && !names.contains(*name)) {
        tracing::info!(target = %name, "the target is no longer declared: its links stay, nothing is written");
        dismiss(shared, name);
    }
    for Settled { projector, loosening, unaccepted } in settled {
        let target = Arc::clone(projector.target());
        let same = |existing: &Handle| {
            existing.target == target && existing.loosening == loosening && existing.unaccepted == unaccepted
        };
        if present.get(&target.name).is_some_and(|existing| !accepted || same(existing)) {
            continue;
        }
        match (shared.connectors)(&target) {
            Ok(connector) => {
                let mut status = worker::recalled_status(shared, &target).await;
                status.holds.extend(loosening.clone());
                dismiss(shared, &target.name);
                hire(shared, Settled { projector, loosening, unaccepted }, connector, status, running);
            }
            Err(error) => {
                tracing::error!(target = %target.name, %error, "the target cannot be reached as configured");
                lock(&shared.source_status).problems.push(format!("target `{}`: {error}", target.name));
            }
        }
    }
}

fn dismiss(shared: &Shared, name: &TargetName) {
    if let Some(handle) = lock(&shared.handles).remove(name) {
        handle.cancel.cancel();
        lock(&shared.leaving).insert(name.clone(), handle.ended);
    }
}

fn hire(
    shared: &Arc<Shared>,
    Settled { projector, loosening, unaccepted }: Settled,
    connector: Arc<dyn Connector>,
    status: TargetStatus,
    running: Running,
) {
    let target = Arc::clone(projector.target());
    let name = target.name.clone();
    let connector = Arc::new(Bounded::new(connector, shared.metrics.target(&name)));
    let (sender, commands) = mpsc::unbounded_channel();
    let (cancel, ended, told) = (shared.cancel.child_token(), CancellationToken::new(), CancellationToken::new());
    let status = Arc::new(Mutex::new(status));
    let rate = Rate::new(target.limits.requests_per_second, Instant::now());
    let handle =
        Handle { target, projector, connector, rate, loosening, unaccepted, sender, status, told, cancel, ended };
    let after = lock(&shared.leaving).remove(&name);
    worker::spawn(shared, &handle, commands, after, running);
    lock(&shared.handles).insert(name, handle);
}
