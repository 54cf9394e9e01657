//! What is told to people and programs, and how far that got.

use std::fmt;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::model::ids::MessageId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;

/// The channel by which mails leave.
pub const MAIL: &str = "mail";

/// One message of the outbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Posted {
    /// The same at every attempt.
    pub id: MessageId,
    /// Which notifier takes it: [`MAIL`], or the name of a webhook.
    pub channel: String,
    /// When the fact that it tells was recorded.
    pub at: DateTime<Utc>,
    /// Of which target.
    pub target: Option<TargetName>,
    /// Of whom.
    pub record: Option<RecordId>,
    /// How far it got.
    pub state: MessageState,
    /// When it is tried next.
    pub due: DateTime<Utc>,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// When it was tried first, by the time by which windows slide: nobody who sets a clock wears it out.
    pub since: Option<DateTime<Utc>>,
    /// What the last attempt, or the end of it, was about.
    pub why: Option<String>,
    /// When it ended.
    pub ended: Option<DateTime<Utc>>,
    /// What it says; erased at its end. One that has not ended and says nothing cannot be opened.
    pub content: Option<Content>,
}

impl Posted {
    /// A message that leaves as soon as it is committed.
    pub fn due(id: MessageId, channel: impl Into<String>, at: DateTime<Utc>, content: Content) -> Self {
        Self {
            id,
            channel: channel.into(),
            at,
            target: None,
            record: None,
            state: MessageState::Due,
            due: at,
            attempts: 0,
            since: None,
            why: None,
            ended: None,
            content: Some(content),
        }
    }

    /// The same, about one user in one target.
    #[must_use]
    pub fn about(self, target: &TargetName, record: &RecordId) -> Self {
        Self { target: Some(target.clone()), record: Some(record.clone()), ..self }
    }

    /// The same, not to leave before its fact is certain.
    #[must_use]
    pub fn held(self) -> Self {
        Self { state: MessageState::Held, ..self }
    }
}

/// How far a message got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageState {
    /// The fact that it tells is not certain yet.
    Held,
    /// It waits for its turn, or for another try.
    Due,
    /// The other side took it.
    Accepted,
    /// The other side will never take it, or it was tried for too long.
    Refused,
    /// What it tells did not come to be, or is true no longer.
    Void,
}

impl MessageState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Held, Self::Due, Self::Accepted, Self::Refused, Self::Void];

    /// The word used in lists and stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Due => "due",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Void => "void",
        }
    }

    /// Whether nothing changes it any more.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Accepted | Self::Refused | Self::Void)
    }
}

/// What a message says.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// To one person.
    Mail(Mail),
    /// To a program.
    Event(Event),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A mail may hold a password or a link: its text is nobody's but its reader's (L7).
        f.write_str(match self {
            Self::Mail(_) => "Mail(***)",
            Self::Event(_) => "Event(***)",
        })
    }
}

/// One mail.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// The one address that it goes to, fixed with the intent.
    pub to: String,
    /// One line.
    pub subject: String,
    /// For every reader.
    pub text: String,
    /// For readers that show it.
    pub html: Option<String>,
    /// Whether it holds a generated password: then it leaves to a mail server or not at all.
    pub holds_password: bool,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mail(***)")
    }
}

/// One event, as `CloudEvents` 1.0 tells it. It names nobody but by record id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// `type`: `dev.rosterd.account.created`.
    pub kind: String,
    /// `subject`: what it is about, `target/record`.
    pub subject: Option<String>,
    /// `data`.
    pub data: serde_json::Value,
}

/// One write to the outbox.
#[derive(Clone, Debug, PartialEq)]
pub enum MessageWrite {
    /// A message that is not there yet; one that is stays as it is, so that a fact is told once.
    Put(Box<Posted>),
    /// The fact of a held one is certain.
    Release(MessageId, DateTime<Utc>),
    /// It was tried in vain.
    Later {
        /// Which.
        id: MessageId,
        /// When it is tried next.
        due: DateTime<Utc>,
        /// How often it was tried.
        attempts: u32,
        /// When it was tried first, by the time by which windows slide; the first such word stands.
        since: DateTime<Utc>,
        /// What went wrong.
        why: String,
    },
    /// It came to its end, and what it says is erased. What ended already stays as it ended.
    End {
        /// Which.
        id: MessageId,
        /// How.
        state: MessageState,
        /// When.
        at: DateTime<Utc>,
        /// Why, where it was not accepted.
        why: Option<String>,
    },
    /// What ended before is forgotten.
    Forget(DateTime<Utc>),
}

/// Which messages of the outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// Only this one.
    pub id: Option<MessageId>,
    /// Only of this channel that are due, the oldest first. What would be due only after the second
    /// moment counts too: no try is put off so far, so the clock was set back.
    pub due: Option<(String, DateTime<Utc>, DateTime<Utc>)>,
    /// Only about this user, the newest first.
    pub record: Option<RecordId>,
    /// At most so many.
    pub limit: usize,
}

/// What waits in one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Which.
    pub channel: String,
    /// How many are due or will be.
    pub depth: u64,
    /// When the fact of the oldest one was recorded.
    pub oldest: DateTime<Utc>,
    /// When the next one is tried.
    pub next: DateTime<Utc>,
}
