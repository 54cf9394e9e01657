//! What is remembered of one account beside its link: mostly of other hands.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::model::account::AccountState;
use crate::model::ids::AccountId;
use crate::model::link::Link;
use crate::model::path::AttributePath;

/// What other hands did at one linked account, as far as a later plan must know it.
///
/// Most accounts have none: a blank one is not stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hand {
    /// Attributes that the target keeps for itself, each with the value that it did not keep
    /// (null: it was to be cleared). Another wanted value is tried again.
    pub given_up: BTreeMap<AttributePath, Value>,
    /// Of attributes with `drift: accept`: the declared value that the target last had. While it
    /// stays declared, what the target holds instead is accepted.
    pub agreed: BTreeMap<AttributePath, Value>,
    /// The state in which another hand held the account when rosterd ended it: that state was not
    /// rosterd's doing and does not end with rosterd's.
    pub ended_over: Option<AccountState>,
    /// Whether rosterd itself deleted the account, so that it may be had back (L17).
    pub deleted_by_us: bool,
    /// When a look first found the account missing.
    pub missing_since: Option<DateTime<Utc>>,
    /// Whether a second look, later than `visibleWithin`, found it missing too.
    pub missing: bool,
    /// A person gave the account back: acts once.
    pub regain: bool,
    /// Since when the account was seen ended by rosterd and its user without access, in the time by
    /// which windows slide: what `deleteAfter` counts from.
    pub ended: Option<DateTime<Utc>>,
    /// Since when the account of a user without access has been kept open for what hangs on it, in the
    /// time by which windows slide.
    pub blocked: Option<DateTime<Utc>>,
    /// Since when something that is waited for was seen to hang on the account, by the attribute that lists
    /// it, for as long as its user has no access: in the time by which windows slide, with what those stood
    /// still meanwhile.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub waited: BTreeMap<AttributePath, DateTime<Utc>>,
    /// When the target said that it takes a deletion of the account, which it showed all the same: it may
    /// be done late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<DateTime<Utc>>,
    /// The link that ended because looks found the account gone, until a complete listing did so, too: should it
    /// be there all the same, it is its user's again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<Link>,
    /// Switches of mails that rosterd turned off with the access, each with what it was.
    pub silenced: BTreeMap<AttributePath, Value>,
}

impl Hand {
    /// Whether there is nothing to remember.
    pub fn is_blank(&self) -> bool {
        *self == Self::default()
    }
}

/// Hands by account.
pub type Hands = BTreeMap<AccountId, Hand>;
