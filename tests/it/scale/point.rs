//! One size: a company hired, looked at again, and changed a little, by a whole engine.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rosterd::clock::Clock;
use rosterd::connector::Connector;
use rosterd::engine::Engine;
use rosterd::engine::Parts;
use rosterd::engine::Running;
use rosterd::engine::SyncRequest;
use rosterd::engine::status::TargetStatus;
use rosterd::manifest::Documents;
use rosterd::metrics::Metrics;
use rosterd::model::ids::TargetName;
use rosterd::model::target::Limits;
use rosterd::model::target::Target;
use rosterd::model::user::User;
use rosterd::store::Store;
use serde::Deserialize;
use serde::Serialize;

use crate::scale::model::Load;
use crate::scale::model::Phase;
use crate::scale::target::PlainTarget;
use crate::support::make::documents;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::source::MemorySource;
use crate::support::store::MemoryStore;

/// What one phase took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Measured {
    /// Calls of all targets: probes, pages, look-ups and writes.
    pub(super) calls: u64,
    pub(super) commits: u64,
    /// Rows written, by the kind of write.
    pub(super) rows: BTreeMap<String, u64>,
    /// All that was allocated, in KiB: what work grows like, whatever the machine does beside it.
    pub(super) allocated: u64,
    /// The most of it that was held at once, in KiB, beyond what was held before.
    pub(super) held: u64,
    /// Seconds of the CPU.
    pub(super) cpu: f64,
    /// Most memory by its end beyond what the process had before, in KiB.
    pub(super) memory: u64,
}

/// A whole engine over targets that are the same at every size.
pub(super) struct Plant {
    pub(super) engine: Engine,
    source: Arc<MemorySource>,
    targets: BTreeMap<TargetName, Arc<PlainTarget>>,
}

impl Plant {
    pub(super) fn new(load: Load, store: Arc<dyn Store>, clock: Arc<dyn Clock>, latency: Duration) -> Self {
        let targets: BTreeMap<_, _> = (0..load.targets)
            .map(|number| {
                let name = format!("t{number:05}");
                (TargetName::from(name.as_str()), Arc::new(PlainTarget::new(name, latency)))
            })
            .collect();
        let source = Arc::new(MemorySource::new(declared(load, Phase::Create)));
        let reached = targets.clone();
        let parts = Parts {
            store,
            clock,
            metrics: Arc::new(Metrics::new()),
            source: Arc::<MemorySource>::clone(&source),
            connectors: Arc::new(move |target| {
                let connector = reached.get(&target.name).cloned().ok_or_else(|| "no such stand-in".to_owned())?;
                Ok(connector as Arc<dyn Connector>)
            }),
            max_shrink_percent: 100,
        };
        Self { engine: Engine::new(parts), source, targets }
    }

    pub(super) fn calls(&self) -> u64 {
        self.targets.values().map(|target| target.calls()).sum()
    }

    fn rests(&self) -> bool {
        let rests = |target: &TargetStatus| {
            target.waiting == 0 && target.running.is_none() && target.last_cycle.is_some() && target.owed.is_empty()
        };
        self.engine.status().targets.iter().all(rests)
    }

    /// Whether every target holds what a phase declares.
    fn is_done(&self, load: Load, phase: Phase) -> bool {
        let active = if phase == Phase::Gone { 0 } else { load.users };
        let changed = if phase == Phase::Hundredth { load.users.div_ceil(100) } else { 0 };
        self.targets.values().all(|target| {
            let renamed = target.holds(CHANGED);
            target.accounts() == load.users && target.active() == active && (renamed == changed || active == 0)
        })
    }

    /// A phase to its end: as a daemon does it, changes user by user and the rest by whole cycles.
    pub(super) async fn run(&self, load: Load, phase: Phase) {
        match phase {
            Phase::Create => self.engine.start(Running::Daemon).await.unwrap(),
            Phase::Same => {
                for name in self.targets.keys() {
                    let report = self.engine.sync(name, SyncRequest::default()).await.unwrap();
                    assert_eq!(report.plan.changes, []);
                }
            }
            Phase::Hundredth | Phase::Gone => self.source.set(Ok(declared(load, phase))),
        }
        // Until nothing is left to do and nobody calls, and what the last answers brought is committed.
        let mut calls = None;
        for _ in 0..MOST_PAUSES {
            tokio::time::sleep(PAUSE).await;
            let before = calls.replace(self.calls());
            if before == calls && self.rests() && self.is_done(load, phase) {
                return;
            }
        }
        panic!("{phase:?} does not come to an end: {:?}", self.engine.status());
    }
}

/// Of each call: long enough that calls are under way together, as they are against a real target.
pub(super) const LATENCY: Duration = Duration::from_millis(20);

/// The given name of who got another one.
const CHANGED: &str = "Changed";

const MOST_PAUSES: usize = 1_000;
/// Longer than a call takes, and than the engine waits for anything here.
const PAUSE: Duration = Duration::from_secs(2);

fn declared(load: Load, phase: Phase) -> Documents {
    let name = |number: usize| format!("u-{number:09}");
    let of = |number: usize| {
        let changed = phase == Phase::Hundredth && number.is_multiple_of(100);
        let given_name = changed.then(|| CHANGED.to_owned());
        let user = user(&name(number));
        User { given_name: given_name.or(user.given_name), active: phase != Phase::Gone, ..user }
    };
    let system = |number: usize| Target { limits: Limits::none(), ..target(&format!("t{number:05}")) };
    let mut documents = documents((0..load.users).map(of), (0..load.targets).map(system));
    documents.digest = format!("{phase:?}").into();
    documents
}

/// All phases of one size, on virtual time, over a store in memory.
pub(super) fn measure(load: Load) -> BTreeMap<Phase, Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let store = Arc::<MemoryStore>::default();
    let clock = rosterd::clock::TestClock::new(crate::support::rig::noon());
    let kept = Arc::clone(&store);
    let entered = runtime.enter();
    let plant = Plant::new(load, store, Arc::new(clock), LATENCY);
    drop(entered);
    let (base, mut before) = (peak(), Measured::default());
    let mut phases = BTreeMap::new();
    for phase in Phase::ALL {
        let begun = cpu();
        let allocations = allocation_counter::measure(|| runtime.block_on(plant.run(load, phase)));
        let cpu = cpu() - begun;
        let (commits, rows) = {
            let inside = kept.open();
            (inside.commits, inside.written.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect())
        };
        let now = Measured { calls: plant.calls(), commits, rows, ..Measured::default() };
        let row =
            |(kind, count): (&String, &u64)| (kind.clone(), count - before.rows.get(kind).copied().unwrap_or_default());
        let rows = now.rows.iter().map(row).filter(|(_, count)| *count > 0).collect();
        let measured = Measured {
            calls: now.calls - before.calls,
            commits: now.commits - before.commits,
            rows,
            allocated: allocations.bytes_total >> 10,
            held: allocations.bytes_max >> 10,
            cpu,
            memory: peak() - base,
        };
        phases.insert(phase, measured);
        before = now;
    }
    runtime.block_on(plant.engine.stop());
    phases
}

/// Seconds that this thread, the only one of a paused runtime, was on a CPU.
fn cpu() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// The most memory that this process held so far, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
