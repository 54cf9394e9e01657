//! The port to a target: what every connector promises the engine.
//!
//! A connector never compares and never decides policy. It turns a target's accounts into
//! [`Account`]s and an [`Operation`] into calls.
//!
//! # Guarantees a connector gives
//! - An observation is [`Coverage::Complete`] only when the target itself proved it (distinct
//!   ids equal the stated total, or the end was signalled and nothing repeated).
//! - Every hit of a look-up was compared again on this side.
//! - Nothing is sent to an origin other than the endpoint's, redirects and links included.
//! - `apply` may be repeated after a lost reply without doing harm, creations apart.

pub mod document;
pub mod settings;
pub mod view;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use chrono::Utc;
use tokio::sync::mpsc;

use crate::model::account::Account;
use crate::model::account::Membership;
use crate::model::ids::AccountId;
use crate::model::ids::Realm;
use crate::model::path::AttributePath;
use crate::model::plan::Coverage;
use crate::model::target::MatchKey;

/// What the engine wants to see of each account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Paths besides `userName` and `externalId`.
    pub paths: BTreeSet<AttributePath>,
    /// Memberships of the catalogue, and those that links say were granted.
    pub memberships: BTreeSet<Membership>,
}

/// What this target can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Operations that one `apply` takes; at least 1.
    pub batch: usize,
    /// How long a fresh write may stay unseen.
    pub visible_within: Duration,
    /// Longest time one call may take before it counts as unanswered.
    pub call_limit: Duration,
    /// Whether an account can be had back after it was disabled, with the same id.
    pub reactivates: bool,
}

/// What the door told us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Host plus tenant.
    pub realm: Realm,
    /// The account that our own credential belongs to, where the target tells: it is protected.
    pub own_account: Option<AccountId>,
}

/// How a creation takes a password: as values that no account ever shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordPaths {
    /// The password itself.
    pub value: AttributePath,
    /// `true` there has it changed at the first sign-in; `None`: the target cannot.
    pub must_change: Option<AttributePath>,
}

/// How to find one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// By the target's id.
    Id(AccountId),
    /// By a match key and its values, one for each path of the key.
    Key(MatchKey, Vec<serde_json::Value>),
}

/// What a look found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Every account that fits, compared again on this side, without duplicates, by id.
    pub accounts: Vec<Account>,
    /// Whether "nothing else" is proven. `false`: an account may exist all the same.
    pub proven: bool,
}

/// One write to one account.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// A new, active account.
    Create {
        /// Every value to send, `userName` and the mark included.
        values: BTreeMap<AttributePath, serde_json::Value>,
        /// Memberships it starts with.
        memberships: BTreeSet<Membership>,
    },
    /// A change of an existing one. What is not named is not touched (L6).
    Update {
        /// The account as it was last read.
        seen: Arc<Account>,
        /// Values to write.
        set: BTreeMap<AttributePath, serde_json::Value>,
        /// Attributes to clear.
        clear: BTreeSet<AttributePath>,
        /// State to reach; `None` leaves it.
        active: Option<bool>,
        /// Memberships to give.
        add: BTreeSet<Membership>,
        /// Memberships to take away.
        remove: BTreeSet<Membership>,
    },
    /// Takes the account out of the target. Of one that is not there any more, it is done already.
    Delete {
        /// The account as it was last read.
        seen: Arc<Account>,
    },
}

/// What a target answered to a write.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The account as the target shows it now (read back where its answer does not say); `None`: it
    /// shows none any more, which only a deletion brings about.
    pub account: Option<Account>,
}

/// Why a call did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConnectorError {
    /// What to do about it.
    pub class: ErrorClass,
    /// One sentence that names the cause and the next step; never a secret.
    pub message: String,
    /// What the target asked us to wait.
    pub retry_after: Option<Duration>,
}

/// What to do about an error. Retry is the default and `Refused` the exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// The target did not do it; again later.
    Transient,
    /// The target asks for fewer calls.
    RateLimited,
    /// Nobody knows whether it was done (time-out, cut connection, 5xx on a write): look first.
    Uncertain,
    /// Something of that name is there already: look first.
    Exists,
    /// The account changed since it was read (412): look first.
    Changed,
    /// The account is not there.
    NotFound,
    /// This change will never be taken as it is.
    Refused,
    /// Seats or licences are used up.
    Quota,
    /// The door is shut for everybody: credentials, TLS, DNS.
    Door,
}

impl ErrorClass {
    /// Every class, for metrics that show zero.
    pub const ALL: [Self; 9] = [
        Self::Transient,
        Self::RateLimited,
        Self::Uncertain,
        Self::Exists,
        Self::Changed,
        Self::NotFound,
        Self::Refused,
        Self::Quota,
        Self::Door,
    ];

    /// The word used in metrics and history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::RateLimited => "rate-limited",
            Self::Uncertain => "uncertain",
            Self::Exists => "exists",
            Self::Changed => "changed",
            Self::NotFound => "not-found",
            Self::Refused => "refused",
            Self::Quota => "quota",
            Self::Door => "door",
        }
    }
}

/// The port.
#[async_trait]
pub trait Connector: Send + Sync {
    /// What this target can do.
    fn capabilities(&self) -> Capabilities;

    /// A desired value in the form in which the target gives it back. Pure.
    fn canonicalize(&self, path: &AttributePath, value: &serde_json::Value) -> serde_json::Value;

    /// What time it is at the target, by its last answer and what passed since; `None` where it does
    /// not tell. A witness of the clock, never a source of time.
    fn time(&self) -> Option<DateTime<Utc>> {
        None
    }

    /// How a creation takes a password; `None`: this target takes none from us.
    fn password(&self) -> Option<PasswordPaths> {
        None
    }

    /// Reach, rights, realm, who we are. Asserts that the credential is taken: a list read
    /// without one may be a subset.
    async fn probe(&self) -> Result<Probe, ConnectorError>;

    /// Sends every account, in pages, and says at the end what the listing proves. Accounts of a
    /// page may repeat those of an earlier one only if the result is [`Coverage::Partial`].
    ///
    /// # Errors
    /// Only when nothing was read; a listing that breaks off is `Partial`.
    async fn observe(&self, shape: &Shape, pages: mpsc::Sender<Vec<Account>>) -> Result<Coverage, ConnectorError>;

    /// Looks one account up.
    async fn fetch(&self, shape: &Shape, look: &Look) -> Result<Found, ConnectorError>;

    /// Makes at most `capabilities().batch` writes and answers for each, in order.
    async fn apply(&self, shape: &Shape, batch: &[Operation]) -> Vec<Result<Applied, ConnectorError>>;
}
