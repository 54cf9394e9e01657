//! The door of a target: asked first, knocked at again after a while when it is shut.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use tokio::time::Instant;

use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connector::Probe;
use crate::engine::bounded::contained;
use crate::engine::guardrail::Guardrail;
use crate::engine::identity::Identities;
use crate::engine::left;
use crate::engine::look;
use crate::engine::look::Causes;
use crate::engine::shared::lock;
use crate::engine::status::Quarantine;
use crate::engine::worker::STORE_PAUSE;
use crate::engine::worker::Worker;
use crate::engine::worker::keyed::Dirty;
use crate::engine::worker::place::Place;
use crate::http::rate;
use crate::http::rate::Caller;
use crate::metrics::OwedReason;
use crate::model::administrators::Census;
use crate::model::history::Intent;
use crate::model::history::Standing;
use crate::model::history::Trigger;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::retry;
use crate::store::StoreError;

/// Whether the target lets us in.
#[derive(Clone, Debug)]
pub(super) enum Door {
    /// Not asked yet.
    Unknown,
    /// Being asked.
    Asked {
        /// Times it was shut before.
        attempt: u32,
    },
    /// It answers.
    Open,
    /// It does not, and is asked again at `until`.
    Shut {
        /// Times in a row.
        attempt: u32,
        /// When to ask again.
        until: Instant,
        /// When the target lets itself be asked.
        earliest: Instant,
        /// What is wrong.
        class: ErrorClass,
        /// What it said, with what to do.
        error: String,
    },
}

/// So many failures of the whole target in a row put it into quarantine, whatever they were; a door
/// that is shut for good (credentials, TLS, DNS) does so at once.
const FULL_FAILURES: u32 = 5;

/// What the store knows of a place: links, causes, decisions, open intents, what was left undone,
/// since when narrowing is owed, and who was who.
type Remembered =
    (BTreeMap<RecordId, Link>, Causes, Guardrail, Vec<Intent>, Standing, BTreeMap<RecordId, DateTime<Utc>>, Identities);

/// The answer of the door.
pub(super) type ProbeDone = Result<Probe, ConnectorError>;

impl Door {
    /// A person asks: no more waiting.
    pub(super) fn retry_now(&mut self) {
        if let Self::Shut { until, .. } = self {
            *until = Instant::now();
        }
    }

    /// A removal waits: it is tried at least once a minute.
    pub(super) fn hasten(&mut self) {
        if let Self::Shut { until, earliest, .. } = self {
            *until = (*until).min(Instant::now() + retry::LONGEST_NARROWING).max(*earliest);
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    fn next_try(&self) -> Option<Instant> {
        match self {
            Self::Shut { until, .. } => Some(*until),
            Self::Unknown | Self::Asked { .. } | Self::Open => None,
        }
    }

    pub(super) fn error(&self) -> Option<&str> {
        match self {
            Self::Shut { error, .. } => Some(error),
            Self::Unknown | Self::Asked { .. } | Self::Open => None,
        }
    }
}

impl Worker {
    /// Asks the door where there is something to do behind it.
    pub(super) fn knock(&mut self) {
        let wanted = self.is_wanted();
        let attempt = match &self.door {
            Door::Unknown if wanted => 0,
            Door::Shut { attempt, until, .. } if wanted && *until <= Instant::now() => *attempt,
            Door::Unknown | Door::Shut { .. } | Door::Asked { .. } | Door::Open => return,
        };
        self.door = Door::Asked { attempt };
        let connector = Arc::clone(&self.handle.connector);
        let rate = self.handle.rate.clone();
        self.probing.spawn(async move {
            let probing = rate::counted(&rate, Caller::Other, connector.probe());
            contained(ErrorClass::Transient, probing).await
        });
    }

    fn is_wanted(&self) -> bool {
        !self.full_requests.is_empty() || !self.dirty.is_empty() || !self.queue.is_empty()
    }

    /// When the door is knocked at again; never where nobody waits behind it.
    pub(super) fn next_knock(&self) -> Option<Instant> {
        self.door.next_try().filter(|_| self.is_wanted())
    }

    /// Takes the door's answer in.
    pub(super) async fn probed(&mut self, done: ProbeDone) {
        // Before anything is planned: the answer may show that the clock is wrong.
        self.shared.hear_targets();
        match done {
            Ok(probe) => {
                if self.enter(probe).await {
                    self.door = Door::Open;
                    self.queue.wake(Instant::now());
                }
                if self.suspended() {
                    self.turn_away(&self.is_suspended());
                }
            }
            Err(error) => {
                self.may_owe = self.place.is_none() && self.has_links().await;
                self.shut(&error);
            }
        }
    }

    /// Whether the target was written by an earlier process. One that nobody can ask counts as
    /// written: it may owe a narrowing.
    async fn has_links(&self) -> bool {
        self.shared.store.spaces(&self.handle.target.name).await.map_or(true, |spaces| !spaces.is_empty())
    }

    /// Begins, keeps or ends the quarantine, as the door and the listings say.
    pub(super) fn quarantine(&mut self) -> Option<Quarantine> {
        let (failures, next) = match &self.door {
            Door::Shut { attempt, until, class, .. } if *class == ErrorClass::Door || *attempt >= FULL_FAILURES => {
                (*attempt, Some(*until))
            }
            Door::Asked { attempt } if self.quarantined.is_some() && *attempt > 0 => (*attempt, None),
            Door::Open if self.lists_fail() => {
                (self.failed_listings, self.list_after.as_ref().map(|(until, _)| *until))
            }
            Door::Unknown | Door::Asked { .. } | Door::Open | Door::Shut { .. } => {
                self.quarantined = None;
                return None;
            }
        };
        let since = *self.quarantined.get_or_insert(self.shared.now());
        let wait = |at: Instant| self.shared.now() + at.saturating_duration_since(Instant::now());
        Some(Quarantine { since, failures, next_try: next.map(wait) })
    }

    /// Whether so many listings failed in a row that the target is in quarantine for it.
    pub(super) fn lists_fail(&self) -> bool {
        self.failed_listings >= FULL_FAILURES
    }

    /// A call found the door shut. Calls that were under way together count as one: the next word
    /// is the door's own.
    pub(super) fn found_shut(&mut self, error: &ConnectorError) {
        if self.door.is_open() {
            self.shut(error);
        }
    }

    /// The target as a whole does not answer: everything waits, and callers are told.
    fn shut(&mut self, error: &ConnectorError) {
        let attempt = match &self.door {
            Door::Asked { attempt } | Door::Shut { attempt, .. } => attempt.saturating_add(1),
            Door::Unknown | Door::Open => 1,
        };
        let target = &self.handle.target.name;
        tracing::error!(%target, attempt, %error, "the target does not let us in");
        let narrowing = !self.owed.is_empty() || self.may_owe;
        let delay = retry::knock(attempt, error.retry_after, narrowing, seed(target.as_str()));
        let now = Instant::now();
        let earliest = now + error.retry_after.unwrap_or_default();
        let (class, words) = (error.class, error.message.clone());
        self.door = Door::Shut { attempt, until: now + delay, earliest, class, error: words };
        self.turn_away(&error.message);
    }

    /// Learns where we are, and what is remembered of the place. `false`: the store did not answer.
    async fn enter(&mut self, probe: Probe) -> bool {
        let target = &self.handle.target;
        let space = Space { target: target.name.clone(), environment: target.environment.clone(), realm: probe.realm };
        if let Some(place) = self.place.as_mut().filter(|place| place.space == space) {
            place.own_account = probe.own_account;
            return true;
        }
        if self.place.is_some() {
            if !self.calls.is_empty() {
                // They were begun in the place that is left, and their ends belong to it.
                self.wait_at_door("calls that are under way end before the new realm is entered");
                return false;
            }
            // What was learnt there is read again when it is come back to.
            self.commit_rest().await;
            if !self.writes.is_empty() {
                self.wait_at_door("the store does not take what is known of the realm that is left");
                return false;
            }
            self.leave_place();
        }
        let requests = self.read_requests().await;
        let read = async {
            requests?;
            Ok((self.remembered(&space).await?, self.shared.store.hands(&space).await?))
        };
        let read = read.await;
        let Some(((links, causes, guardrail, open, standing, owed, identities), hands)) = self.note(read) else {
            self.wait_at_door("the store does not answer");
            return false;
        };
        let now = self.shared.now();
        let mut place = Place {
            space,
            own_account: probe.own_account,
            links: Arc::default(),
            shape: Arc::new(look::shape(&self.handle.projector)),
            by_account: BTreeMap::new(),
            active: 0,
            noted_active: None,
            causes: Arc::new(causes),
            hands: Arc::new(hands),
            identities,
            guardrail,
            listed: false,
            populated: false,
            census: Census::default(),
        };
        place.set_links(links);
        self.place = Some(place);
        self.claim_realm();
        self.count_target_controlled();
        // What an earlier process could not do stands until a plan says otherwise. What it held is
        // judged anew, with the accounts concerned in view.
        self.standing = Standing { holds: Vec::new(), ..standing };
        self.owed_of_place(owed);
        for intent in open {
            let record = intent.change.record.clone();
            self.dirty.entry(record.clone()).or_insert_with(|| Dirty::now(Trigger::Startup, now));
            self.note_open(&intent);
            self.leave_open(&record, intent);
        }
        self.move_renamed();
        self.rename_requests();
        self.review_requests(None);
        self.review_identities(None);
        self.renew_waits();
        self.recall_absences();
        self.look_at_owed();
        self.tell_place();
        true
    }

    /// Status knows where the target is from here on; what is left elsewhere is told.
    fn tell_place(&self) {
        lock(&self.handle.status).space = self.place.as_ref().map(|place| place.space.clone());
        left::look_soon(&self.shared, Some(self.handle.target.name.clone()));
    }

    fn wait_at_door(&mut self, why: &str) {
        let now = Instant::now();
        let class = ErrorClass::Transient;
        self.door = Door::Shut { attempt: 0, until: now + STORE_PAUSE, earliest: now, class, error: why.to_owned() };
    }

    async fn remembered(&self, space: &Space) -> Result<Remembered, StoreError> {
        self.recover(space).await?;
        let store = &*self.shared.store;
        let links = store.links(space).await?;
        let snapshot = self.shared.snapshot();
        let causes = look::causes(store, &self.handle.projector, snapshot.as_deref()).await?;
        let guardrail = Guardrail::of(&self.shared, space, &links).await?;
        let open = store.open_intents(space).await?;
        let standings = store.standings(&self.handle.target.name).await?;
        let standing = standings.into_iter().find_map(|(of, standing)| (of == *space).then_some(standing));
        let owed = store.owed(space).await?;
        let identities = Identities::of(store, space, &links).await?;
        Ok((links, causes, guardrail, open, standing.unwrap_or_default(), owed, identities))
    }

    /// Why narrowing that waits is not done, as far as the target as a whole is the reason.
    pub(super) fn door_reason(&self) -> Option<OwedReason> {
        if !self.may_write() {
            return Some(OwedReason::Mode);
        }
        if self.all_halted().is_some() {
            return Some(OwedReason::Stopped);
        }
        // Listings that fail keep no single call back.
        if self.quarantined.is_some() && !self.door.is_open() {
            return Some(OwedReason::Quarantine);
        }
        self.door.error().map(|_| OwedReason::Error)
    }
}

/// Spreads retries of different names apart, the same way in every run.
pub(super) fn seed(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
