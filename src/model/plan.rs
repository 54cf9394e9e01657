//! The ordered changes that a cycle would make, and why the rest stays as it is.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::model::account::AccountState;
use crate::model::administrators::Headcount;
use crate::model::change::Change;
use crate::model::ids::AccountId;
use crate::model::ids::Digest;
use crate::model::ids::RecordId;
use crate::model::ids::RequestId;
use crate::model::link::Space;
use crate::model::path::AttributePath;
use crate::model::projection::Conflict;
use crate::model::request::RequestState;
use crate::model::request::Subject;
use crate::model::target::Mode;

/// What one cycle of one target would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Target, environment and realm.
    pub space: Space,
    /// The mode it was planned under.
    pub mode: Mode,
    /// What the listing proved.
    pub coverage: Coverage,
    /// In the order in which they are made: narrowing, neutral, widening; by record inside.
    pub changes: Vec<Change>,
    /// Why nothing is done, by record.
    pub skips: Vec<Skip>,
    /// Those of whom there is nothing to tell: a plan of everybody counts them in the place of skips.
    #[serde(default)]
    pub quiet: Quiet,
    /// Accounts that were never rosterd's, by id.
    pub unmanaged: Vec<Unmanaged>,
    /// How many accounts were seen, by state.
    pub accounts: BTreeMap<AccountState, u64>,
    /// What a guardrail stopped; their changes are not in `changes`.
    pub holds: Vec<Hold>,
    /// How many may do everything there, where that is too few or too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub administrators: Option<Headcount>,
}

/// Users of whom there is nothing to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    /// The account equals its projection.
    pub in_sync: u64,
    /// No account, and none wanted.
    pub not_entitled: u64,
}

/// How much of a target was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    /// Every account, proven.
    Complete,
    /// Some; the text says what failed to prove the rest.
    Partial(String),
    /// The accounts of the users asked for, with proven negative look-ups.
    Keyed,
}

/// Why nothing is done for a user, or not more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skip {
    /// The user.
    pub record: RecordId,
    /// The account concerned, where there is one.
    pub account: Option<AccountId>,
    /// Why.
    pub reason: SkipReason,
}

/// Why nothing is done for a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipReason {
    /// The account equals its projection.
    InSync,
    /// No account, and none wanted; the text says why.
    NotEntitled(String),
    /// Something a person must settle.
    Conflict(Conflict),
    /// An account that matches waits for `link USER ACCOUNT`.
    Proposal {
        /// The account's user name, where it has one.
        user_name: Option<String>,
        /// The match key that found it, as written.
        key: String,
    },
    /// No account was seen, and the listing proves nothing: a look-up must come first.
    LookUpFirst,
    /// Another hand disabled, suspended, locked or deleted it.
    OtherHand(AccountState),
    /// The linked account was not found.
    Vanished,
    /// The account stays open for what hangs on it; the text says for what, and until when.
    Blocked(String),
    /// The account's name is protected.
    Protected,
    /// `onGone` or `onOutOfScope` leaves it as it is; the text says which.
    Kept(String),
    /// Somebody else changed these attributes, and `drift: report` leaves them so.
    Drift(Vec<AttributePath>),
    /// A change that gives access is not made without a person's word.
    Request {
        /// About what.
        subject: Subject,
        /// How it stands; `None`: nobody was asked yet.
        state: Option<RequestState>,
        /// Names it.
        id: Option<RequestId>,
    },
}

impl SkipReason {
    /// Whether a person must settle something first: what `status` counts as conflicts.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Conflict(_)
            | Self::Proposal { .. }
            | Self::Vanished
            | Self::OtherHand(_)
            | Self::Blocked(_)
            | Self::Protected => true,
            Self::InSync
            | Self::NotEntitled(_)
            | Self::LookUpFirst
            | Self::Kept(_)
            | Self::Drift(_)
            | Self::Request { .. } => false,
        }
    }
}

/// An account that was never rosterd's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmanaged {
    /// The target's id.
    pub account: AccountId,
    /// Its user name, where it has one.
    pub user_name: Option<String>,
    /// Its state.
    pub state: AccountState,
    /// What explains it; a document whose end has come explains nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained: Option<Explained>,
}

impl Unmanaged {
    /// Whether a document explains the account at `now`.
    pub fn is_explained(&self, now: DateTime<Utc>) -> bool {
        self.explained.as_ref().is_some_and(|by| by.until.is_none_or(|until| now < until))
    }
}

/// What an `Exception` document says of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The document's name.
    pub exception: String,
    /// Who answers for the account.
    pub owner: RecordId,
    /// Why it exists.
    pub reason: String,
    /// From then on the document explains nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// Changes that wait for a person's word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// What stopped them.
    pub limit: HoldKind,
    /// What the limit allows, what was asked, what to do.
    pub reason: String,
    /// Digest of `changes`: what a person releases.
    pub digest: Digest,
    /// The changes.
    pub changes: Vec<Change>,
}

/// What stopped a set of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldKind {
    /// `narrow.inferred`
    NarrowInferred,
    /// `narrow.explicit`
    NarrowExplicit,
    /// `widen`
    Widen,
    /// `widen`, of adoptions.
    Adopt,
    /// `privileged`
    Privileged,
    /// `update`
    Update,
    /// One attribute cleared on many accounts.
    Clear,
    /// `delete`: a person for each.
    Delete,
    /// `seats`
    Seats,
    /// `administrators`: as many as may do everything there.
    Administrators,
    /// `freeze`: a time without widening and updates.
    Freeze,
    /// First contact with a target that holds accounts.
    FirstContact,
    /// A target's document that loosens limits, mode or protected names.
    Loosen,
}

impl HoldKind {
    /// Every kind, for metrics that show zero.
    pub const ALL: [Self; 13] = [
        Self::NarrowInferred,
        Self::NarrowExplicit,
        Self::Widen,
        Self::Adopt,
        Self::Privileged,
        Self::Update,
        Self::Clear,
        Self::Delete,
        Self::Seats,
        Self::Administrators,
        Self::Freeze,
        Self::FirstContact,
        Self::Loosen,
    ];

    /// The word used in plans and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NarrowInferred => "narrow.inferred",
            Self::NarrowExplicit => "narrow.explicit",
            Self::Widen => "widen",
            Self::Adopt => "adopt",
            Self::Privileged => "privileged",
            Self::Update => "update",
            Self::Clear => "clear",
            Self::Delete => "delete",
            Self::Seats => "seats",
            Self::Administrators => "administrators",
            Self::Freeze => "freeze",
            Self::FirstContact => "first-contact",
            Self::Loosen => "loosen",
        }
    }
}
