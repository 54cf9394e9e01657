//! Runs a case: processes that live and die, steps, a person who decides, and rest at the end.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rosterd::clock::Clock;
use rosterd::engine::Engine;
use rosterd::engine::EngineError;
use rosterd::engine::Parts;
use rosterd::engine::Running;
use rosterd::engine::SyncRequest;
use rosterd::metrics::Metrics;
use rosterd::model::audit::AuditEvent;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::ids::Digest;
use rosterd::model::ids::TargetName;
use rosterd::model::plan::Hold;
use rosterd::model::plan::HoldKind;
use rosterd::model::target::Mode;

use crate::act;
use crate::case::Case;
use crate::case::Death;
use crate::case::Step;
use crate::judges::Bench;
use crate::judges::Violation;
use crate::judges::broken;
use crate::judges::facts::second;
use crate::judges::facts::target_number;
use crate::judges::rest;
use crate::keeper::Keeper;
use crate::target::Door;
use crate::world::Entry;
use crate::world::Event;
use crate::world::Folder;
use crate::world::WallClock;
use crate::world::Word;
use crate::world::World;
use crate::world::trace_hash;

/// What came of a case.
pub(crate) struct Run {
    pub(crate) violation: Option<Violation>,
    pub(crate) log: Vec<Entry>,
    pub(crate) hash: u64,
}

/// How a process ended.
enum End {
    Died,
    Stopped,
    Through(Option<Violation>),
}

struct Driver<'c> {
    case: &'c Case,
    world: Arc<World>,
    keeper: Arc<Keeper>,
    bench: Bench,
    /// The next step.
    next: usize,
    /// Whether the steps are over and everything is being put right.
    settling: bool,
}

/// More processes than any case has deaths.
const MOST_LIVES: usize = 200;

/// Runs a case to its end, or to the first broken law.
pub(crate) fn run(case: &Case) -> Run {
    let world = Arc::new(World::new(case));
    let keeper = Arc::new(Keeper::new(&world));
    let mut driver = Driver { case, world, keeper, bench: Bench::new(case), next: 0, settling: false };
    let mut violation = broken("L14", "the case does not come to an end");
    for life in 0..MOST_LIVES {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let end = runtime.block_on(driver.live());
        // Every task of the process is dropped where it waits.
        drop(runtime);
        if driver.world.open().spins {
            violation = broken("L14", "the engine goes round and round and nothing happens");
            break;
        }
        if let End::Through(verdict) = end {
            violation = verdict;
            break;
        }
        driver.world.pass(life as u64 % 5 * 3_100);
        violation = driver.judge();
        if violation.is_some() {
            break;
        }
    }
    let log = std::mem::take(&mut driver.world.open().log);
    let hash = trace_hash(&log);
    Run { violation, log, hash }
}

impl Driver<'_> {
    fn judge(&mut self) -> Option<Violation> {
        let inner = self.world.open();
        self.bench.hear(&inner.log)
    }

    async fn live(&mut self) -> End {
        while self.world.died.notified().now_or_never().is_some() {}
        self.world.begin();
        let world = Arc::clone(&self.world);
        let end = tokio::select! {
            biased;
            () = world.died.notified() => End::Died,
            end = self.script() => end,
        };
        // Here, because virtual time is known only inside the runtime.
        world.end("ends");
        end
    }

    fn engine(&self) -> Engine {
        let world = Arc::clone(&self.world);
        Engine::new(Parts {
            store: Arc::<Keeper>::clone(&self.keeper),
            clock: Arc::new(WallClock(Arc::clone(&self.world))),
            metrics: Arc::new(Metrics::new()),
            source: Arc::new(Folder(Arc::clone(&self.world))),
            connectors: Arc::new(move |target| {
                let target = target_number(target.name.as_str());
                Ok(Arc::new(Door { world: Arc::clone(&world), target }))
            }),
            max_shrink_percent: 20,
        })
    }

    /// Starts an engine; a store that does not answer ends the process, and a supervisor starts it
    /// again.
    async fn start(&self) -> Option<Engine> {
        let engine = self.engine();
        if engine.start(Running::Daemon).await.is_ok() {
            return Some(engine);
        }
        engine.stop().await;
        None
    }

    async fn script(&mut self) -> End {
        let mut engine = self.start().await;
        while let Some(timed) = self.case.steps.get(self.next).filter(|_| !self.settling) {
            self.next += 1;
            self.world.note(Event::Step(format!("{:?}", timed.step)));
            if matches!(timed.step, Step::Restart) {
                stop(engine).await;
                return End::Stopped;
            }
            if matches!(timed.step, Step::Death(Death::Now)) {
                return End::Stopped;
            }
            self.step(engine.as_ref(), &timed.step).await;
            tokio::time::sleep(Duration::from_millis(timed.wait)).await;
            if let Some(violation) = self.judge() {
                return End::Through(Some(violation));
            }
            if engine.is_none() {
                engine = self.start().await;
            }
        }
        self.settling = true;
        act::calm_everything(&self.world);
        while engine.is_none() {
            engine = self.start().await;
        }
        let verdict = match &engine {
            Some(engine) => self.settle(engine).await,
            None => None,
        };
        stop(engine.filter(|_| verdict.is_none())).await;
        End::Through(verdict)
    }

    async fn step(&self, engine: Option<&Engine>, step: &Step) {
        // What is set while nothing runs looks like time that passed: no judge could tell either.
        if engine.is_none() && matches!(step, Step::Clock(_)) {
            return;
        }
        if act::upon_the_world(&self.world, step) {
            return;
        }
        let Some(engine) = engine else { return };
        match step {
            Step::Release { first } => self.release(engine, *first).await,
            Step::AcceptShrink => self.accept_shrink(engine).await,
            Step::Suspend(target) => self.decide(engine, self.about(DecisionKind::Suspend, *target)).await,
            Step::Resume(target) => self.decide(engine, self.about(DecisionKind::Resume, *target)).await,
            Step::Revoke(who) | Step::Restore(who) => {
                let revokes = matches!(step, Step::Revoke(_));
                let kind = if revokes { DecisionKind::Revoke } else { DecisionKind::Restore };
                let record = act::person(&self.world, *who);
                self.decide(engine, Word { record, target: None, ..self.about(kind, 0) }).await;
            }
            Step::Stop(halts) => {
                let word = self.about(DecisionKind::Stop, 0);
                self.decide(engine, Word { target: None, halts: Some(*halts), ..word }).await;
            }
            Step::Start => {
                self.decide(engine, Word { target: None, ..self.about(DecisionKind::Start, 0) }).await;
            }
            Step::Sync(target) => self.sync(engine, *target, None),
            Step::SyncUser { target, who } => self.sync(engine, *target, act::person(&self.world, *who)),
            Step::Link { target, who } => self.link(engine, *target, *who),
            _ => {}
        }
    }

    fn name(&self, target: usize) -> TargetName {
        self.world.policies[target % self.world.policies.len()].name.as_str().into()
    }

    fn about(&self, kind: DecisionKind, target: usize) -> Word {
        let target = Some(target % self.world.policies.len());
        Word { kind, target, record: None, account: None, digest: None, halts: None, changes: Vec::new() }
    }

    /// Asks for a cycle and waits for nothing.
    #[expect(clippy::disallowed_methods, reason = "the runtime is the process: what runs in it ends with it")]
    fn sync(&self, engine: &Engine, target: usize, record: Option<String>) {
        let (engine, target) = (engine.clone(), self.name(target));
        let records = record.map(|record| BTreeSet::from([record.as_str().into()]));
        drop(tokio::spawn(async move { engine.sync(&target, SyncRequest { records, only: None }).await }));
    }

    async fn decide(&self, engine: &Engine, word: Word) {
        let now = WallClock(Arc::clone(&self.world)).now();
        let decision = Decision {
            target: word.target.map(|target| self.name(target)),
            record: word.record.as_deref().map(Into::into),
            account: word.account.clone(),
            digest: word.digest.as_deref().map(Digest::from),
            halts: word.halts,
            reason: Some("the simulation says so".to_owned()),
            ..Decision::new(word.kind, "operator", now)
        };
        self.world.note(Event::Said(word.clone()));
        let taken = engine.decide(decision).await.is_ok();
        self.world.note(Event::Decided { word, taken });
    }

    /// The clock was put right, and a person saw it.
    fn trusts_the_clock(&self) -> AuditEvent {
        AuditEvent {
            at: WallClock(Arc::clone(&self.world)).now(),
            target: None,
            kind: "trust-clock".to_owned(),
            actor: "operator".to_owned(),
            record: None,
            cycle: None,
            details: BTreeMap::new(),
        }
    }

    /// Lets through what is shown, and nothing else.
    async fn release(&self, engine: &Engine, first: bool) {
        let status = engine.status();
        let shown = status.targets.iter().flat_map(|target| target.holds.iter().map(move |hold| (&target.name, hold)));
        let most = if first { 1 } else { usize::MAX };
        let held: Vec<(TargetName, Hold)> = shown.take(most).map(|(name, hold)| (name.clone(), hold.clone())).collect();
        for (name, hold) in held {
            let kind = if hold.limit == HoldKind::FirstContact { DecisionKind::Enforce } else { DecisionKind::Release };
            let digest = Some(hold.digest.as_str().to_owned());
            let word = self.about(kind, target_number(name.as_str()));
            self.decide(engine, Word { digest, changes: hold.changes, ..word }).await;
        }
    }

    async fn accept_shrink(&self, engine: &Engine) {
        if let Some(shrink) = engine.source().shrink {
            let digest = Some(shrink.digest.as_str().to_owned());
            let word = Word { digest, target: None, ..self.about(DecisionKind::AcceptShrink, 0) };
            self.decide(engine, word).await;
        }
    }

    /// A person says that the account with the user's name is the user's.
    #[expect(clippy::disallowed_methods, reason = "the runtime is the process: what runs in it ends with it")]
    fn link(&self, engine: &Engine, target: usize, who: u64) {
        let target = target % self.world.policies.len();
        let Some(record) = act::person(&self.world, who) else { return };
        let Some(account) = act::namesake(&self.world, target, &record) else { return };
        let (engine, name) = (engine.clone(), self.name(target));
        drop(tokio::spawn(async move {
            engine.link(&name, &record.as_str().into(), &account, "operator").await.map(drop).map_err(|error| {
                // A refusal is an answer too.
                let _: &EngineError = &error;
            })
        }));
    }

    /// Lets every target go on that is suspended.
    async fn resume(&self, engine: &Engine) {
        for target in 0..self.world.policies.len() {
            if engine.status().targets.get(target).is_some_and(|status| status.suspended) {
                self.decide(engine, self.about(DecisionKind::Resume, target)).await;
            }
        }
    }

    /// Puts everything right, lets through what is held, and waits until nothing is left to do.
    async fn settle(&mut self, engine: &Engine) -> Option<Violation> {
        let mut why = None;
        for round in 0..40_u64 {
            self.resume(engine).await;
            if engine.status().stopped.is_some() {
                self.decide(engine, Word { target: None, ..self.about(DecisionKind::Start, 0) }).await;
            }
            if engine.status().clock.is_some() {
                drop(engine.trust_clock(self.trusts_the_clock()).await);
            }
            self.accept_shrink(engine).await;
            self.release(engine, false).await;
            for target in 0..self.world.policies.len() {
                let name = self.name(target);
                let sync = engine.sync(&name, SyncRequest::default());
                drop(tokio::time::timeout(Duration::from_mins(10), sync).await);
            }
            tokio::time::sleep(Duration::from_secs(if round < 20 { 60 } else { 1_800 })).await;
            let verdict = self.judge();
            if verdict.is_some() {
                return verdict;
            }
            why = rest::unrest(&engine.status());
            if why.is_none() {
                break;
            }
        }
        if let Some(why) = why {
            return broken("L14", format!("nothing goes wrong any more and it does not come to rest: {why}"));
        }
        for target in 0..self.world.policies.len() {
            let verdict = match engine.plan(&self.name(target), None, None).await {
                Ok(plan) => rest::a_fresh_plan_is_empty(target, &plan),
                Err(error) => broken("L3", format!("t{target} cannot be planned at rest: {error}")),
            };
            if verdict.is_some() {
                return verdict;
            }
        }
        let (declared, now) = {
            let inner = self.world.open();
            (inner.declared.clone(), second(inner.now()))
        };
        self.world.note(Event::Rest(format!("{} users", declared.people.len())));
        let shown: Vec<_> = engine.status().targets.iter().map(rest::Shown::of).collect();
        rest::everybody_is_where_they_belong(self.bench.facts(), &declared, &shown, now)
    }
}

async fn stop(engine: Option<Engine>) {
    if let Some(engine) = engine {
        engine.stop().await;
    }
}

/// What every target is set to at the end: it must be written to come to rest.
pub(crate) const AT_REST: Mode = Mode::Enforce;
