//! The one task that owns a target: its queue, its links, its calls.
//!
//! # Guarantees
//! - A user has at most one call in flight.
//! - An intent is committed before its call begins.
//! - Messages are read before anything is sent, so a call follows from the newest snapshot (L18).
//! - Nothing here waits for the target: calls, look-ups and listings are tasks of their own.

mod absent;
mod away;
mod batch;
mod blocked;
mod book;
mod calls;
mod ceded;
mod cycles;
mod deletion;
mod door;
mod echo;
mod full;
mod grants;
mod hands;
mod heard;
mod identity;
mod joined;
mod keeps;
mod keyed;
mod limits;
mod moved;
mod open;
mod outcome;
mod owed;
mod place;
mod recall;
mod refusal;
mod relist;
mod requests;
mod signed;
mod tell;
mod timing;
mod turns;
mod twins;
mod unaccepted;
mod undo;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::EngineError;
use crate::engine::SyncRequest;
use crate::engine::bounded::caught;
use crate::engine::intake::Changed;
use crate::engine::look;
use crate::engine::look::View;
use crate::engine::pace::Pace;
use crate::engine::queue::Lane;
use crate::engine::queue::Queue;
use crate::engine::requests::Deciding;
use crate::engine::shared::Handle;
use crate::engine::shared::Running;
use crate::engine::shared::Shared;
use crate::engine::shared::lock;
use crate::engine::status::SyncReport;
use crate::engine::turns::Teams;
use crate::engine::worker::absent::Absences;
use crate::engine::worker::away::Away;
use crate::engine::worker::blocked::Blocked;
use crate::engine::worker::calls::CallDone;
use crate::engine::worker::calls::InFlight;
use crate::engine::worker::calls::Paced;
use crate::engine::worker::cycles::Cycle;
use crate::engine::worker::cycles::PublishAgain;
use crate::engine::worker::deletion::Waits;
use crate::engine::worker::door::Door;
use crate::engine::worker::echo::Echoes;
use crate::engine::worker::full::FullDone;
use crate::engine::worker::full::FullRequest;
use crate::engine::worker::full::Only;
use crate::engine::worker::grants::LateCalls;
use crate::engine::worker::hands::Contradictions;
use crate::engine::worker::keyed::Dirty;
use crate::engine::worker::keyed::Looking;
use crate::engine::worker::keyed::LooksDone;
use crate::engine::worker::limits::Frozen;
use crate::engine::worker::owed::OwedList;
use crate::engine::worker::owed::Recalled;
use crate::engine::worker::place::Place;
use crate::engine::worker::relist::Relist;
use crate::engine::worker::requests::Book;
use crate::metrics::TargetMetrics;
use crate::model::account::Account;
use crate::model::change::Change;
use crate::model::decision::Halts;
use crate::model::history::Intent;
use crate::model::history::Standing;
use crate::model::history::Trigger;
use crate::model::ids::AccountId;
use crate::model::ids::CycleId;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::projection::Wishes;
use crate::model::snapshot::Snapshot;
use crate::model::target::Mode;
use crate::project::Table;
use crate::schedule::Freezes;
use crate::schedule::Timetable;
use crate::store::Write;

/// Answers a `sync`.
pub type Reply = oneshot::Sender<Result<SyncReport, EngineError>>;

pub use crate::engine::worker::recall::recalled_status;
pub use crate::engine::worker::twins::Claim;

/// A command to a worker.
#[derive(Debug)]
pub enum Message {
    /// A new snapshot is current; these users differ.
    Snapshot(Changed),
    /// Run a cycle and tell.
    Sync(SyncRequest, Trigger, Reply),
    /// A decision about this target was recorded.
    Decided,
    /// A person said something that holds everywhere, since then.
    Said(DateTime<Utc>),
    /// Make these changes of these accounts, which undo a cycle, and tell.
    Undo(Vec<Change>, BTreeMap<AccountId, Arc<Account>>, Reply),
    /// A link was recorded; run a cycle of that user and tell.
    Linked(Link, SyncRequest, Reply),
    /// A person gave an account back; run a cycle of its user and tell.
    Regained(AccountId, SyncRequest, Reply),
    /// People decided about requests.
    Decide(Deciding),
    /// People signed other words about requests.
    Signed,
}

/// How long a store that does not answer is left alone.
const STORE_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    shared: Arc<Shared>,
    handle: Handle,
    metrics: Arc<TargetMetrics>,
    running: Running,
    timetable: Option<Timetable>,
    next_run: Option<DateTime<Utc>>,
    door: Door,
    probing: JoinSet<door::ProbeDone>,
    /// `None` until the door first opened.
    place: Option<Place>,
    table: Table,
    snapshot: Option<Arc<Snapshot>>,
    pace: Pace,
    queue: Queue,
    frozen: Frozen,
    /// Users whose explicit narrowing follows from an end date that was known for a day.
    dated: BTreeSet<RecordId>,
    dirty: BTreeMap<RecordId, Dirty>,
    looking: BTreeMap<RecordId, Looking>,
    looking_lanes: BTreeSet<Lane>,
    looks: JoinSet<LooksDone>,
    calls: JoinSet<CallDone>,
    in_flight: BTreeMap<RecordId, InFlight>,
    /// Calls that nobody knows the end of: looked at before anything new.
    open: BTreeMap<RecordId, Intent>,
    /// Those that a process before this one left besides, in the order in which they began: looked at one by
    /// one after the first.
    behind: BTreeMap<RecordId, VecDeque<(Intent, Instant)>>,
    /// Before this, absence does not prove that an open call left nothing.
    proves_from: BTreeMap<RecordId, Instant>,
    /// Calls that may still give something to accounts that are planned already.
    late: LateCalls,
    /// Open creations of which several accounts may be the outcome, in words.
    doubtful: BTreeMap<RecordId, String>,
    full_requests: Vec<FullRequest>,
    full: JoinSet<FullDone>,
    /// Users that something happened to since the running listing began.
    touched: BTreeSet<RecordId>,
    cycles: BTreeMap<CycleId, Cycle>,
    /// Those of `open` that look-ups cannot prove anything about: a listing must.
    unprovable: BTreeSet<RecordId>,
    /// Those of `unprovable` whose time limit had passed when the running listing began.
    left_to_listing: BTreeSet<RecordId>,
    paced: Paced,
    standing: Standing,
    /// Accounts that held changes touch.
    held_seen: BTreeMap<AccountId, Arc<Account>>,
    owed: OwedList,
    /// What the store knows while the door has not opened in this process.
    recalled: Option<Recalled>,
    /// How much was halted when last looked at.
    halted: Option<Halts>,
    /// When this worker began.
    born: Instant,
    /// When accounts of targets that show writes late were last written, by user.
    written: BTreeMap<RecordId, Instant>,
    contradictions: Contradictions,
    echoes: Echoes,
    /// Waits for the next commit.
    writes: Vec<Write>,
    /// Told after the next commit, so that a caller finds in the store what it was told.
    replies: Vec<(Reply, SyncReport)>,
    store_error: Option<(String, Instant)>,
    /// Times in a row that the store did not answer.
    store_failures: u32,
    /// What goes on without a store.
    away: Away,
    /// Decisions and causes were not read since somebody said that they changed.
    unread: bool,
    /// Listings that failed in a row.
    failed_listings: u32,
    /// Since when the target is tried ever more rarely, because it keeps failing.
    quarantined: Option<DateTime<Utc>>,
    /// Whether a place that was not entered yet may owe a narrowing: the store has links of the target.
    may_owe: bool,
    /// When the target is listed again after one that failed, and what that one said.
    list_after: Option<(Instant, String)>,
    /// The listing that is owed after one that did not show everybody.
    relist: Relist,
    /// What waits for people, and what they said.
    requests: Book,
    /// What goes along with creations.
    welcomes: tell::Welcomes,
    /// Accounts whose wait for their deletion is over.
    waits: Waits,
    /// Accounts that stay open for what hangs on them.
    blocked: Blocked,
    /// Accounts that looks found gone.
    absences: Absences,
    /// Members of the teams that are told of turns.
    teams: Teams,
    /// When to tell again how things are.
    publish_again: PublishAgain,
}

/// Starts the worker of `handle`, after its predecessor has ended.
pub fn spawn(
    shared: &Arc<Shared>,
    handle: &Handle,
    commands: mpsc::UnboundedReceiver<Message>,
    after: Option<CancellationToken>,
    running: Running,
) {
    let (shared, handle) = (Arc::clone(shared), handle.clone());
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        if let Some(predecessor) = after {
            predecessor.cancelled().await;
        }
        let mut commands = commands;
        // A worker that fails in itself begins anew: what it had under way is an open intent, and is
        // looked at before anything else.
        while let Err(_panic) = caught(Box::pin(Worker::new(&shared, handle.clone(), running).run(&mut commands))).await {
            tracing::error!(target = %handle.target.name, "the worker failed in itself and begins anew; please report this");
            tokio::time::sleep(STORE_PAUSE).await;
        }
        handle.ended.cancel();
    });
}

impl Worker {
    fn new(shared: &Arc<Shared>, handle: Handle, running: Running) -> Self {
        let target = Arc::clone(&handle.target);
        let timetable = target.schedule.as_ref().and_then(|schedule| Timetable::new(schedule).ok());
        let pace = Pace::new(&target.limits);
        let frozen = Frozen::new(Freezes::new(&target.freeze));
        let table = Table::new(Arc::clone(&handle.projector));
        let startup = (running == Running::Daemon).then(|| FullRequest::of(Trigger::Startup));
        Self {
            shared: Arc::clone(shared),
            metrics: shared.metrics.target(&target.name),
            handle,
            running,
            timetable,
            next_run: None,
            door: Door::Unknown,
            probing: JoinSet::new(),
            place: None,
            table,
            snapshot: None,
            pace,
            queue: Queue::default(),
            frozen,
            dated: BTreeSet::new(),
            dirty: BTreeMap::new(),
            looking: BTreeMap::new(),
            looking_lanes: BTreeSet::new(),
            looks: JoinSet::new(),
            calls: JoinSet::new(),
            in_flight: BTreeMap::new(),
            open: BTreeMap::new(),
            behind: BTreeMap::new(),
            proves_from: BTreeMap::new(),
            late: LateCalls::default(),
            doubtful: BTreeMap::new(),
            unprovable: BTreeSet::new(),
            left_to_listing: BTreeSet::new(),
            paced: Paced::default(),
            full_requests: startup.into_iter().collect(),
            full: JoinSet::new(),
            touched: BTreeSet::new(),
            cycles: BTreeMap::new(),
            standing: Standing::default(),
            held_seen: BTreeMap::new(),
            owed: OwedList::default(),
            recalled: None,
            // A stop that holds already begins for nobody: who asks for what passes it is not turned away.
            halted: shared.halts(),
            born: Instant::now(),
            written: BTreeMap::new(),
            contradictions: Contradictions::default(),
            echoes: Echoes::default(),
            writes: Vec::new(),
            replies: Vec::new(),
            store_error: None,
            store_failures: 0,
            away: Away::default(),
            unread: false,
            failed_listings: 0,
            quarantined: None,
            may_owe: false,
            list_after: None,
            relist: Relist::default(),
            requests: Book::new(&target),
            welcomes: tell::Welcomes::default(),
            waits: Waits::default(),
            blocked: Blocked::default(),
            absences: Absences::default(),
            teams: Teams::default(),
            publish_again: PublishAgain::new(Instant::now()),
        }
    }

    async fn run(mut self, commands: &mut mpsc::UnboundedReceiver<Message>) {
        self.refresh(None);
        self.recall_owed().await;
        self.recall_waits().await;
        self.recall_invites().await;
        loop {
            let stopping = self.handle.cancel.is_cancelled();
            while let Ok(message) = commands.try_recv() {
                self.receive(message).await;
            }
            self.ask_store_again().await;
            self.mind_halts();
            if !stopping {
                self.on_time();
                self.heed_signed().await;
                self.tell_joined();
                self.knock();
                self.start_full();
                self.start_looks();
                // So many may have waited for a look that they are left to a listing.
                self.start_full();
                self.dispatch().await;
            }
            self.keep_owed();
            self.commit_rest().await;
            // Whoever is answered may ask at once how things are.
            self.publish();
            self.handle.told.cancel();
            self.reply();
            if stopping && self.calls.is_empty() {
                break;
            }
            self.wait(commands, stopping).await;
        }
        self.close().await;
    }

    /// Waits for the first thing to happen, and takes it in.
    async fn wait(&mut self, commands: &mut mpsc::UnboundedReceiver<Message>, stopping: bool) {
        let cancel = self.handle.cancel.clone();
        // Who stops begins nothing that could be due.
        let wake = if stopping { Instant::now() + STORE_PAUSE } else { self.next_wake() };
        tokio::select! {
            biased;
            () = cancel.cancelled(), if !stopping => {}
            Some(message) = commands.recv(), if !stopping => self.receive(message).await,
            Some(Ok(done)) = self.calls.join_next() => {
                self.finished(done);
                while let Some(Ok(done)) = self.calls.try_join_next() {
                    self.finished(done);
                }
            }
            Some(Ok(done)) = self.looks.join_next(), if !stopping => self.looked(done).await,
            Some(Ok(done)) = self.full.join_next(), if !stopping => self.listed(done).await,
            Some(Ok(done)) = self.probing.join_next(), if !stopping => self.probed(done).await,
            () = tokio::time::sleep_until(wake) => {}
        }
    }

    async fn receive(&mut self, message: Message) {
        match message {
            Message::Snapshot(changed) => {
                self.read_again().await;
                self.refresh(changed.as_ref());
                self.requests.heeded = false;
            }
            Message::Sync(request, trigger, reply) => self.asked(request, trigger, reply),
            Message::Decided => self.decided().await,
            Message::Said(since) => self.heard(since),
            Message::Regained(account, request, reply) => {
                self.regained(&account);
                self.asked(request, Trigger::Decision, reply);
            }
            Message::Decide(deciding) => self.decide(deciding).await,
            Message::Signed => self.requests.heeded = false,
            Message::Undo(changes, seen, reply) => self.undo(changes, seen, reply).await,
            Message::Linked(link, request, reply) => {
                self.reload_links(Some(link)).await;
                self.asked(request, Trigger::Decision, reply);
            }
        }
    }

    /// Queues what a caller asks for.
    fn asked(&mut self, request: SyncRequest, trigger: Trigger, reply: Reply) {
        let refusal = match &self.snapshot {
            None => Some(look::no_snapshot(&self.shared)),
            Some(_) if self.suspended() => Some(EngineError::Target(self.is_suspended())),
            Some(_) => self.all_halted().map(EngineError::Target),
        };
        if let Some(refusal) = refusal {
            // A caller that went away needs no answer.
            drop(reply.send(Err(refusal)));
            return;
        }
        self.door.retry_now();
        self.queue.wake(Instant::now());
        let only = match (request.only, request.records) {
            // A saved plan is re-derived against a listing.
            (Some(changes), _) => Some(Only::Changes(changes)),
            (None, Some(records)) if !self.is_unknown() => {
                self.start_cycle_of(&records, trigger, reply);
                return;
            }
            (None, records) => records.map(Only::Users),
        };
        self.full_requests.push(FullRequest { trigger, only, reply: Some(reply) });
    }

    /// Whether nobody has seen yet what is at the place that the target leads to.
    fn is_unknown(&self) -> bool {
        self.place.as_ref().is_none_or(|place| !place.guardrail.known && !place.listed)
    }

    /// Takes the newest snapshot in, and marks the users that differ.
    fn refresh(&mut self, changed: Option<&BTreeSet<RecordId>>) {
        let Some(current) = self.shared.current.load_full() else { return };
        let before = self.snapshot.replace(Arc::clone(&current.snapshot));
        let first = before.is_none();
        let revoked = Arc::clone(&self.shared.said.load().revoked);
        if first {
            self.table.begin(&current.snapshot, &revoked, self.shared.judged());
        }
        let differ = self.table.refresh(&current.snapshot, &revoked, self.shared.judged());
        // First, so that a record id left behind does not pass for a user who is gone.
        self.move_renamed();
        self.review_identities(if first { None } else { changed });
        self.rename_requests();
        if first {
            self.review_requests(None);
        }
        self.mark_differing(differ, Trigger::Manifest, current.at);
        self.end_recalled_waits();
        let edits = before.iter().flat_map(|before| before.users.edits(&current.snapshot.users));
        let asked = self.asked_about(edits.map(|edit| edit.record.clone()));
        self.requests.unheard.of(&asked);
        self.mark_changed(asked, Trigger::Manifest, current.at);
    }

    /// Whether calls may be made at all.
    fn may_write(&self) -> bool {
        self.handle.target.mode == Mode::Enforce && !self.suspended()
    }

    fn is_suspended(&self) -> String {
        let name = &self.handle.target.name;
        format!("target `{name}` is suspended; `rosterd resume {name}` lets it run")
    }

    /// Answers whoever waits for a cycle of this target: it cannot go on by itself.
    fn turn_away(&mut self, why: &str) {
        let (asked, own): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.full_requests).into_iter().partition(|request| request.reply.is_some());
        self.full_requests = own;
        for reply in asked.into_iter().filter_map(|request| request.reply) {
            drop(reply.send(Err(EngineError::Target(why.to_owned()))));
        }
        let cycles = self.cycles.iter().filter(|(_, cycle)| cycle.has_caller());
        for cycle in cycles.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.end_cycle(&cycle, Some(why.to_owned()));
        }
    }

    fn suspended(&self) -> bool {
        self.handle.target.mode == Mode::Suspended || self.place.as_ref().is_some_and(|place| place.guardrail.suspended)
    }

    fn view(&self, desired: Arc<dyn Wishes>, links: Arc<BTreeMap<RecordId, Link>>) -> Option<View> {
        let place = self.place.as_ref()?;
        Some(View {
            target: Arc::clone(&self.handle.target),
            space: place.space.clone(),
            own_account: place.own_account.clone(),
            desired,
            shape: Arc::clone(&place.shape),
            links,
            causes: Arc::clone(&place.causes),
            hands: Arc::clone(&place.hands),
            known: Arc::new(self.known()?),
            connector: Arc::clone(&self.handle.connector),
            rate: self.handle.rate.clone(),
            now: self.shared.window_now(),
            passed: self.shared.passed_now(),
        })
    }

    /// Answers callers. One that went away needs no answer; a store that did not take the commit is
    /// named in `status`.
    fn reply(&mut self) {
        for (reply, report) in self.replies.drain(..) {
            drop(reply.send(Ok(report)));
        }
    }

    /// The last words: outcomes are committed, callers answered.
    async fn close(&mut self) {
        let cycles: Vec<_> = self.cycles.keys().cloned().collect();
        for cycle in cycles {
            self.end_cycle(&cycle, Some("rosterd stopped before the end; the next start goes on".to_owned()));
        }
        for request in self.full_requests.drain(..) {
            if let Some(reply) = request.reply {
                drop(reply.send(Err(EngineError::Stopping)));
            }
        }
        self.store_error = None;
        self.keep_owed();
        self.commit_rest().await;
        self.shared.store_answered(Some(&self.handle.target.name), None);
        self.reply();
        self.publish();
        if self.shared.sender(&self.handle.target.name).is_none() {
            self.yield_realm();
            self.shared.metrics.forget(&self.handle.target.name);
        }
        lock(&self.handle.status).running = None;
    }
}
