//! What happened: cycles, intents and what was last seen.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::model::account::AccountState;
use crate::model::change::Change;
use crate::model::ids::AccountId;
use crate::model::ids::CycleId;
use crate::model::ids::IntentId;
use crate::model::ids::RecordId;
use crate::model::link::Space;
use crate::model::plan::Coverage;
use crate::model::plan::Hold;
use crate::model::plan::Skip;

/// Why a cycle ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// Its schedule.
    Schedule,
    /// A manifest changed.
    Manifest,
    /// A person asked.
    Manual,
    /// A person decided something.
    Decision,
    /// A start or an end date arrived.
    Validity,
    /// An earlier call is due again.
    Retry,
    /// The daemon started.
    Startup,
}

impl Trigger {
    /// Every trigger, for metrics that show zero.
    pub const ALL: [Self; 7] =
        [Self::Schedule, Self::Manifest, Self::Manual, Self::Decision, Self::Validity, Self::Retry, Self::Startup];

    /// The word used in metrics and history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Manifest => "manifest",
            Self::Manual => "manual",
            Self::Decision => "decision",
            Self::Validity => "validity",
            Self::Retry => "retry",
            Self::Startup => "startup",
        }
    }
}

/// One cycle, as history shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CycleRecord {
    /// Its id.
    pub id: CycleId,
    /// Target, environment, realm.
    pub space: Space,
    /// Why it ran.
    pub trigger: Trigger,
    /// Whether it listed the target or looked users up.
    pub full: bool,
    /// When it began.
    pub started: DateTime<Utc>,
    /// When it ended; `None` while it runs or if it was cut off.
    pub ended: Option<DateTime<Utc>>,
    /// How it ended; `None` while it runs.
    pub result: Option<CycleResult>,
    /// What the observation proved.
    pub coverage: Option<Coverage>,
    /// Changes confirmed, by action word.
    pub done: BTreeMap<String, u64>,
    /// Changes that failed or wait.
    pub open: u64,
    /// What went wrong, in a sentence with a next step.
    pub error: Option<String>,
}

/// How a cycle ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CycleResult {
    /// Everything that was due is confirmed.
    Ok,
    /// Some changes failed, wait or are held.
    Partial,
    /// Nothing could be planned or done.
    Failed,
}

impl CycleResult {
    /// Every result, for metrics that show zero.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Partial, Self::Failed];

    /// The word used in metrics and history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// A call that is about to be made, recorded before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Its id.
    pub id: IntentId,
    /// Where.
    pub space: Space,
    /// The cycle it belongs to.
    pub cycle: CycleId,
    /// What.
    pub change: Change,
    /// When it was recorded.
    pub at: DateTime<Utc>,
    /// No answer to the call counts after this.
    pub limit: DateTime<Utc>,
    /// How limits count it.
    #[serde(default)]
    pub counting: Counting,
}

/// How limits count an intent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counting {
    /// When it was recorded, in the time by which windows slide: the wall clock less what it was
    /// set by since.
    pub at: DateTime<Utc>,
    /// Whether it follows from an end date that was known for a day.
    pub dated: bool,
}

/// How an intent ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeResult {
    /// The target confirmed it, or a later look shows it.
    Done,
    /// The target refused it; the text says how.
    Refused(String),
    /// It surely left nothing behind; the text says why.
    Nothing(String),
}

/// What was last seen of one account, for lists and `explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenAccount {
    /// The target's id.
    pub account: AccountId,
    /// Its user name.
    pub user_name: Option<String>,
    /// Its state.
    pub state: AccountState,
    /// The user it is linked to.
    pub record: Option<RecordId>,
}

/// What the last plan of a target left undone, for `status` and `explain`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// When the target was last planned against a listing.
    pub at: Option<DateTime<Utc>>,
    /// Skips other than "in sync" and "not entitled".
    pub skips: Vec<Skip>,
    /// What guardrails hold now.
    pub holds: Vec<Hold>,
    /// The last error of each user whose change failed.
    pub failures: BTreeMap<RecordId, String>,
    /// Accounts that a creation may have made beside the one that a person linked meanwhile. Where accounts
    /// bear no mark no later plan tells of them, so this stands until a listing shows none of them as
    /// nobody's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<RecordId, Beside>,
}

/// What a creation may have made beside the account of its user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// The accounts.
    pub accounts: BTreeSet<AccountId>,
    /// What a person is told.
    pub why: String,
}
