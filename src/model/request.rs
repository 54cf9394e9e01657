//! A change that gives access and waits for a person's decision.
//!
//! A request is bound to what was shown: a user by record id, and what is asked for that user. What a
//! user is called is no part of it; asking for more is another request.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::model::change::Action;
use crate::model::ids::Digest;
use crate::model::ids::EntitlementName;
use crate::model::ids::MessageId;
use crate::model::ids::RecordId;
use crate::model::ids::RequestId;
use crate::model::origin::Origin;

/// What of a user a request is about. A user has at most one request for each subject in a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// An account that is made, adopted, or active again.
    Account,
    /// One entitlement of a living account.
    Grant(EntitlementName),
}

impl Subject {
    /// The word in stores and answers.
    pub fn word(&self) -> String {
        match self {
            Self::Account => "account".to_owned(),
            Self::Grant(name) => format!("grant {name}"),
        }
    }

    /// The subject of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        if word == "account" {
            return Some(Self::Account);
        }
        word.strip_prefix("grant ").map(|name| Self::Grant(name.into()))
    }
}

/// What is asked for: what a person agrees to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What would be done.
    pub action: Action,
    /// Entitlements that come with it.
    pub entitlements: BTreeSet<EntitlementName>,
    /// The lines of manifests that ask for it.
    pub origins: Vec<Origin>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Names it; another one once more is asked for.
    pub id: RequestId,
    /// For whom.
    pub record: RecordId,
    /// About what.
    pub subject: Subject,
    /// What is asked for.
    pub asked: Asked,
    /// Since when it waits, by the wall clock.
    pub since: DateTime<Utc>,
    /// The same in the time by which windows slide: what ages are judged by.
    pub begun: DateTime<Utc>,
    /// Where it stands.
    pub state: RequestState,
    /// Whose turn it is, counted from 0.
    pub level: usize,
    /// What stands for that level: its number says nothing where a document puts others before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Digest>,
    /// What stands for the levels that agreed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<Digest>,
    /// Since when it is theirs, in the time by which windows slide.
    pub level_begun: DateTime<Utc>,
    /// Whether others joined that level because it took too long.
    pub escalated: bool,
    /// How often those whose turn it is were reminded.
    pub reminders: u32,
    /// When last, in the time by which windows slide.
    pub reminded: Option<DateTime<Utc>>,
    /// Who said what so far, oldest first; a reopened request keeps what was said before.
    pub votes: Vec<Vote>,
    /// The last word; set exactly while the request is accepted or refused.
    pub decided: Option<Vote>,
    /// Hashes of those fields of the user whose change reopens a refusal.
    pub marks: BTreeMap<String, Digest>,
    /// When what was accepted was confirmed by the target.
    pub done: Option<DateTime<Utc>>,
    /// Messages that told those whose turn it is and are void once it is theirs no longer.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub told: BTreeSet<MessageId>,
}

impl Request {
    /// Whether a rule alone accepted it, and it is not done yet: it passes for as long as that rule holds.
    pub fn waits_by_rule(&self) -> bool {
        let rule = |vote: &Vote| vote.by.starts_with(Vote::RULE);
        self.state == RequestState::Accepted && self.done.is_none() && self.decided.as_ref().is_some_and(rule)
    }
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestState {
    /// It waits.
    Pending,
    /// It may be done for as long as it is wanted.
    Accepted,
    /// It is not done, until a person reopens it.
    Refused,
    /// Nobody decided in time: it is not done, until a person reopens it.
    Expired,
}

impl RequestState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Accepted, Self::Refused, Self::Expired];

    /// How careful it is to go by it: of two that come together the higher one stands.
    pub fn care(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Pending => 1,
            Self::Expired => 2,
            Self::Refused => 3,
        }
    }

    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }
}

/// One person's word about a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// What was said.
    pub said: Word,
    /// Who, as in the audit log: `token:NAME`, `local`, `rule:NAME`.
    pub by: String,
    /// The person behind it: one person is one voice, whatever tokens they have.
    pub person: String,
    /// When.
    pub at: DateTime<Utc>,
    /// At which level, by its number at that moment.
    pub level: usize,
    /// What stands for that level; `None`: it is no voice, or lost its level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Digest>,
    /// Why, in the person's words.
    pub reason: Option<String>,
}

/// The one voice of a person, however their name is written: the case of its letters, space around it and what
/// follows a `+` in a mailbox make nobody else. Who shares a mailbox that way is one voice, too: then somebody else has
/// to agree, which is the mistake that gives nothing away.
pub fn voice(name: &str) -> String {
    let name = name.trim().to_lowercase();
    match name.rsplit_once('@').and_then(|(local, host)| Some((local.split_once('+')?.0, host))) {
        Some((mailbox, host)) if !mailbox.is_empty() => format!("{mailbox}@{host}"),
        Some(_) | None => name,
    }
}

impl Vote {
    /// How `by` begins where nobody said it: a rule of the target's document did.
    pub const RULE: &str = "rule:";
}

/// What may be said about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// It may be done.
    Accept,
    /// It may not.
    Refuse,
    /// What was refused, or expired, waits again.
    Reopen,
}

impl Word {
    /// The word in bodies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Refuse => "refuse",
            Self::Reopen => "reopen",
        }
    }

    /// The kind of its audit event.
    pub fn event(self) -> &'static str {
        match self {
            Self::Accept => "request-accepted",
            Self::Refuse => "request-refused",
            Self::Reopen => "request-reopened",
        }
    }
}
