//! The outbox: messages that were committed with the fact that they tell, handed to notifiers.
//!
//! # Guarantees
//! - A message whose fact is committed is tried until the other side takes it, refuses it for good, or
//!   [`GIVE_UP`] has passed since the first try; none is lost in a crash. One to which no answer is heard three times
//!   is given up sooner, since it may have come as often.
//! - What was voided does not leave, nor what asks somebody who decides no more, up to the moment at which it is
//!   handed over.
//! - It goes out at most once more after a crash, under the same id: what was handed over is recorded
//!   before anything else of its channel leaves.
//! - Channels do not wait for one another, and one message that is not taken keeps no other waiting.
//! - What a message says is erased in the commit that records its end.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::addressed;
use crate::engine::addressed::Addressed;
use crate::engine::bounded::caught;
use crate::engine::invites;
use crate::engine::invites::Leave;
use crate::engine::shared::Running;
use crate::engine::shared::Shared;
use crate::engine::status::Undelivered;
use crate::engine::unclaimed;
use crate::model::addressee::Addressee;
use crate::model::audit::AuditEvent;
use crate::model::ids::MessageId;
use crate::model::invite::Invite;
use crate::model::message::Backlog;
use crate::model::message::MessageFilter;
use crate::model::message::MessageState;
use crate::model::message::MessageWrite;
use crate::model::message::Posted;
use crate::notify::Notifier;
use crate::notify::NotifyClass;
use crate::notify::NotifyError;
use crate::notify::UNSURE;
use crate::retry;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Write;

/// Who stops waits for an answer that is under way for so long.
const GRACE: Duration = Duration::from_secs(10);
/// The same for a command that ends: each of them would send anew what a slow server took from the one before.
const GRACE_OF_COMMANDS: Duration = Duration::from_mins(1);
/// For so long a message is tried: as long as mail servers do (RFC 5321 section 4.5.4.1). It counts from the
/// first try, by the time by which windows slide: an outage of ours and a clock that is set wear nothing out.
pub(crate) const GIVE_UP: TimeDelta = TimeDelta::days(5);
/// Nor is anything given up that was tried less often: who was away for a week has tried nothing meanwhile.
const FEWEST_TRIES: u32 = 12;
/// How long a message waits that may have been taken: whoever hung over it for minutes is not well after seconds, and
/// its reader may have it already.
const AFTER_UNSURE: Duration = Duration::from_hours(1);
/// It is handed over so often without an answer: one that never comes is told of, many of the same make people angry.
const MOST_UNSURE: u32 = 3;
/// So many messages are counted whose answer nobody heard. One that is forgotten is handed over once more, not thrice.
const MOST_COUNTED: usize = 1_000;
/// What ended is remembered for so long.
pub(crate) const KEPT: TimeDelta = TimeDelta::days(30);
/// Messages that are read at once: each may hold some 100 kB.
pub(crate) const BATCH: usize = 32;
/// How soon a store that did not answer is asked again.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How long nobody looks where nothing waits: what is committed wakes whoever hands it over.
const IDLE: Duration = Duration::from_hours(1);
/// How often what waits is shown while nothing can be handed over.
const SHOWN: Duration = Duration::from_secs(15);
/// No try is put off for longer; what is, was put off before the clock was set back.
pub(crate) const FAR: TimeDelta = TimeDelta::hours(1);
/// Nobody is left alone for longer because they asked for it.
const LONGEST_ASKED: Duration = Duration::from_hours(24);
/// How soon a message is looked at again of which nobody can tell yet whether it may leave.
const NOT_YET: TimeDelta = TimeDelta::minutes(5);
/// The same before the first load.
const NOT_LOADED: TimeDelta = TimeDelta::seconds(5);
/// How long a command that ends begins to hand over what is left; the rest waits for the next one.
const LAST: Duration = Duration::from_secs(20);

/// How people and programs are told.
#[derive(Clone, Default)]
pub struct Post {
    /// Notifiers by channel; [`crate::model::message::MAIL`] is the one for mails.
    pub channels: BTreeMap<String, Arc<dyn Notifier>>,
    /// Which events each webhook is told: `account.created`.
    pub events: BTreeMap<String, BTreeSet<String>>,
    /// Who is told of turns.
    pub addressees: Vec<Addressee>,
}

/// Wakes whoever hands messages over.
pub(crate) struct Bell(watch::Sender<u64>);

impl Default for Bell {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Bell {
    /// A message was committed.
    pub(crate) fn ring(&self) {
        self.0.send_modify(|rings| *rings = rings.wrapping_add(1));
    }

    pub(crate) fn hear(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// Starts a task for each channel.
pub(crate) fn start(shared: &Arc<Shared>, running: Running) {
    let Some(post) = shared.post.get() else { return };
    shared.tasks.spawn(unclaimed::watch(Arc::clone(shared), running));
    for (channel, notifier) in &post.channels {
        shared.metrics.outbox.show(channel);
        let courier = Courier {
            shared: Arc::clone(shared),
            channel: channel.clone(),
            notifier: Arc::clone(notifier),
            unrecorded: Vec::new(),
            shut: 0,
            shut_until: None,
            last: None,
            known: addressed::Known::default(),
            unsure: BTreeMap::new(),
        };
        shared.tasks.spawn(courier.run(running));
    }
}

/// A message, and the invite that it brings.
type Bringing<'a> = (&'a Posted, Option<&'a Invite>);

/// The task of one channel.
struct Courier {
    shared: Arc<Shared>,
    channel: String,
    notifier: Arc<dyn Notifier>,
    /// What became of messages, which the store did not take yet.
    unrecorded: Vec<Write>,
    /// Times in a row that nothing could be handed over at all.
    shut: u32,
    shut_until: Option<Instant>,
    /// From when on a command that ends begins nothing else.
    last: Option<Instant>,
    /// Who decides about what, while messages are judged.
    known: addressed::Known,
    /// Messages that were handed over without an answer, and how often.
    unsure: BTreeMap<MessageId, u32>,
}

/// Messages that are looked through for one that was tried.
const TRIED_AMONG: usize = 100;

/// Channels of which messages were tried in vain.
pub(crate) async fn undelivered(store: &dyn Store) -> Result<Vec<Undelivered>, StoreError> {
    let mut found = Vec::new();
    for Backlog { channel, depth, oldest, next } in store.backlogs().await? {
        // Whenever they are due.
        let due = Some((channel.clone(), DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MAX_UTC));
        let messages = store.messages(&MessageFilter { due, limit: TRIED_AMONG, ..MessageFilter::default() }).await?;
        let tried = messages.into_iter().filter(|message| message.attempts > 0).find_map(|message| message.why);
        found.extend(tried.map(|why| Undelivered { channel, waiting: depth, oldest, next, why }));
    }
    Ok(found)
}

impl Courier {
    async fn run(mut self, running: Running) {
        let mut bell = self.shared.bell.hear();
        let cancel = self.shared.cancel.clone();
        loop {
            bell.borrow_and_update();
            let pause = self.look().await;
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                // The sender lives as long as this task.
                _rung = bell.changed(), if self.shut_until.is_none() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        if running == Running::Once {
            // A command ends when its work is done, and its mails are part of that.
            drop(tokio::time::timeout(LAST + GRACE_OF_COMMANDS, self.pass()).await);
        }
        drop(self.record().await);
    }

    /// Hands over what is due, and says how long nothing else will be.
    async fn look(&mut self) -> Duration {
        if let Some(until) = self.shut_until
            && until > Instant::now()
        {
            // What waits is shown all the same; where that cannot be read, it stays as it was shown.
            drop(self.left().await);
            return (until - Instant::now()).min(SHOWN);
        }
        self.shut_until = None;
        match self.pass().await {
            Ok(pause) => self.shut_until.map_or(pause, |until| until - Instant::now()),
            Err(error) => {
                tracing::error!(channel = %self.channel, %error, "the outbox cannot be read or written; it is tried again");
                STORE_PAUSE
            }
        }
    }

    async fn pass(&mut self) -> Result<Duration, StoreError> {
        self.record().await?;
        loop {
            let now = self.shared.now();
            let due = Some((self.channel.clone(), now, now + FAR));
            let filter = MessageFilter { due, limit: BATCH, ..MessageFilter::default() };
            let messages = self.shared.store.messages(&filter).await?;
            let whole = messages.len() < BATCH;
            if !self.hand_all_over(messages).await? || whole {
                return self.left().await;
            }
        }
    }

    /// One after another, each recorded before the next. `false`: no more of them can be handed over now.
    async fn hand_all_over(&mut self, messages: Vec<Posted>) -> Result<bool, StoreError> {
        self.known.begin();
        for message in messages {
            if self.shut_until.is_some() || self.ends() {
                return Ok(false);
            }
            // The batch was read a while ago: what was voided since does not leave.
            match invites::leave(&self.shared, &message.id).await? {
                Leave::Now(message, invite) => match addressed::judged(&self.shared, &mut self.known, message).await? {
                    Addressed::Goes(message) => self.hand_over(&message, invite.as_deref()).await,
                    Addressed::NotYet(message, why) => self.put_off((&message, invite.as_deref()), why),
                    Addressed::Over(message, why) => {
                        let why = Some(why.to_owned());
                        self.end((&message, invite.as_deref()), MessageState::Void, why, self.shared.now());
                    }
                },
                Leave::NotYet(message, invite, why) => self.put_off((&message, Some(&invite)), why),
                Leave::Never => {}
            }
            self.record().await?;
        }
        Ok(true)
    }

    /// Whether nothing else is begun: at once where a daemon stops, and soon where a command ends.
    fn ends(&mut self) -> bool {
        let now = Instant::now();
        let once = self.is_once();
        self.shared.cancel.is_cancelled() && (!once || *self.last.get_or_insert(now + LAST) <= now)
    }

    fn is_once(&self) -> bool {
        self.shared.running.get() == Some(&Running::Once)
    }

    /// Shows what waits, and how long nothing of it is due.
    async fn left(&self) -> Result<Duration, StoreError> {
        let backlogs = self.shared.store.backlogs().await?;
        let mine = backlogs.into_iter().find(|backlog| backlog.channel == self.channel);
        let now = self.shared.now();
        self.shared.metrics.outbox.waits(&self.channel, mine.as_ref(), now);
        let wait = mine.map(|backlog| (backlog.next - now).to_std().unwrap_or_default());
        Ok(wait.map_or(IDLE, |wait| wait.clamp(STORE_PAUSE, IDLE)))
    }

    async fn record(&mut self) -> Result<(), StoreError> {
        if self.unrecorded.is_empty() {
            return Ok(());
        }
        self.shared.store.commit(self.unrecorded.clone(), self.shared.store.fence()).await?;
        self.unrecorded.clear();
        Ok(())
    }

    async fn hand_over(&mut self, message: &Posted, invite: Option<&Invite>) {
        let grace = if self.is_once() { GRACE_OF_COMMANDS } else { GRACE };
        let stopping = async {
            self.shared.cancel.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        let later = |words: &str| Err(NotifyError::new(NotifyClass::Later, words));
        let limit = self.notifier.limit();
        let delivery = async {
            if message.content.is_none() {
                tracing::error!(channel = %self.channel, message = %message.id, "a message cannot be opened");
                return later("what it says cannot be opened by the key of this store");
            }
            let result = caught(self.notifier.deliver(message)).await;
            result.unwrap_or_else(|_panic| later("the notifier failed in itself; please report this"))
        };
        let result = tokio::select! {
            biased;
            result = delivery => result,
            () = tokio::time::sleep(limit) => later("no answer in time"),
            // What the other side takes all the same comes once more, under the same id.
            () = stopping => later("rosterd stopped before the other side answered"),
        };
        let now = self.shared.now();
        match result {
            Ok(()) => {
                self.shut = 0;
                self.end((message, invite), MessageState::Accepted, None, now);
            }
            Err(error) => self.not_taken((message, invite), &error, now),
        }
    }

    fn not_taken(&mut self, (message, invite): Bringing<'_>, error: &NotifyError, now: DateTime<Utc>) {
        self.shared.metrics.outbox.failed(&self.channel, error.class.as_str());
        let (id, class) = (message.id.as_str(), error.class.as_str());
        tracing::warn!(channel = %self.channel, message = id, class, "a message was not taken");
        if error.class == NotifyClass::Refused {
            self.end((message, invite), MessageState::Refused, Some(error.message.clone()), now);
            return;
        }
        if error.class == NotifyClass::Unsure && self.is_once_too_often(message) {
            let why = format!(
                "given up, it may have come all the same: {MOST_UNSURE} times nobody heard whether it was taken"
            );
            self.end((message, invite), MessageState::Refused, Some(why), now);
            return;
        }
        let attempts = message.attempts.saturating_add(1);
        let asked = error.retry_after.map(|asked| asked.min(LONGEST_ASKED));
        let seed = message.id.as_str().bytes().fold(0_u64, |seed, byte| seed.rotate_left(5) ^ u64::from(byte));
        let mut wait = retry::delay(attempts, asked, false, seed);
        if matches!(error.class, NotifyClass::Door | NotifyClass::Unsure) {
            self.shut = self.shut.saturating_add(1);
            wait = retry::delay(self.shut, asked, false, seed);
            self.shut_until = Some(Instant::now() + wait);
        }
        if error.class == NotifyClass::Unsure {
            // Each further try may be one more of the same: the other messages go on sooner.
            wait = AFTER_UNSURE;
        }
        let wait = TimeDelta::from_std(wait).unwrap_or(FAR).min(FAR);
        self.again((message, invite), attempts, wait, error.message.clone());
    }

    /// Counts tries whose answer nobody heard. Of an earlier process it is known that there was one, no more: then this
    /// one was the last.
    fn is_once_too_often(&mut self, message: &Posted) -> bool {
        let first = if message.why.as_deref() == Some(UNSURE) { MOST_UNSURE - 1 } else { 0 };
        let tries = self.unsure.get(&message.id).copied().unwrap_or(first) + 1;
        let ends = tries >= MOST_UNSURE;
        if !ends {
            self.unsure.insert(message.id.clone(), tries);
            // Those that were voided since are never heard of again.
            let over = self.unsure.keys().find(|id| **id != message.id).filter(|_| self.unsure.len() > MOST_COUNTED);
            if let Some(id) = over.cloned() {
                self.unsure.remove(&id);
            }
        }
        ends
    }

    /// Nobody can tell yet whether it may leave.
    fn put_off(&mut self, (message, invite): Bringing<'_>, why: &str) {
        let wait = if self.shared.snapshot().is_some() { NOT_YET } else { NOT_LOADED };
        self.again((message, invite), message.attempts, wait, why.to_owned());
    }

    /// It is looked at again later, or given up.
    fn again(&mut self, (message, invite): Bringing<'_>, attempts: u32, wait: TimeDelta, why: String) {
        let now = self.shared.now();
        let tried = attempts == message.attempts || attempts >= FEWEST_TRIES;
        match since(&self.shared, message, tried) {
            Ok(since) => {
                let later = MessageWrite::Later { id: message.id.clone(), due: now + wait, attempts, since, why };
                self.unrecorded.push(Write::Message(later));
            }
            Err(given_up) => {
                let why = format!("{given_up}: {why}");
                self.end((message, invite), MessageState::Refused, Some(why), now);
            }
        }
    }

    fn end(&mut self, (message, invite): Bringing<'_>, state: MessageState, why: Option<String>, at: DateTime<Utc>) {
        self.unsure.remove(&message.id);
        self.unrecorded.extend(ended(message, state, why, at));
        self.unrecorded.extend(invite.and_then(|invite| invites::ended_with_its_mail(invite, state, at)));
    }
}

/// When a message was tried first, where that is not so long ago that it is given up; else the words for that.
/// `enough`: it was tried often enough to be given up.
pub(crate) fn since(shared: &Shared, message: &Posted, enough: bool) -> Result<DateTime<Utc>, String> {
    let now = shared.window_now();
    let since = message.since.unwrap_or(now);
    if enough && now - since > GIVE_UP { Err(format!("given up after {} days", GIVE_UP.num_days())) } else { Ok(since) }
}

/// A message came to its end; what ended long ago is forgotten with it.
pub(crate) fn ended(message: &Posted, state: MessageState, why: Option<String>, at: DateTime<Utc>) -> [Write; 3] {
    let end = MessageWrite::End { id: message.id.clone(), state, at, why };
    let event = event(message, state, at);
    [Write::Message(end), Write::Audit(event), Write::Message(MessageWrite::Forget(at - KEPT))]
}

/// What the audit log is told: never an address, and nothing that the message says.
fn event(message: &Posted, state: MessageState, at: DateTime<Utc>) -> AuditEvent {
    let details = BTreeMap::from([
        ("message".to_owned(), message.id.as_str().into()),
        ("channel".to_owned(), message.channel.as_str().into()),
        ("result".to_owned(), state.as_str().into()),
    ]);
    AuditEvent {
        at,
        target: message.target.clone(),
        kind: "message".to_owned(),
        actor: "engine".to_owned(),
        record: message.record.clone(),
        cycle: None,
        details,
    }
}
