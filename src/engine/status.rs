//! What the engine tells about itself.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::metrics::OwedReason;
use crate::model::account::Account;
use crate::model::account::AccountState;
use crate::model::change::Change;
use crate::model::decision::Halts;
use crate::model::hand::Hand;
use crate::model::history::CycleRecord;
use crate::model::history::SeenAccount;
use crate::model::ids::AccountId;
use crate::model::ids::Digest;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::model::origin::Origin;
use crate::model::path::AttributePath;
use crate::model::plan::Hold;
use crate::model::plan::Plan;
use crate::model::plan::SkipReason;
use crate::model::projection::Desired;
use crate::model::target::Mode;
use crate::project::Revocation;

/// Everything that `status` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Whether calls are halted everywhere.
    #[serde(default)]
    pub stopped: Option<Stop>,
    /// Users whom a person revoked, with what stands against them.
    #[serde(default)]
    pub revoked: BTreeMap<RecordId, Revocation>,
    /// Where desired users come from.
    pub source: SourceStatus,
    /// Every target, by name.
    pub targets: Vec<TargetStatus>,
    /// Accounts in places that no target document leads to now.
    #[serde(default)]
    pub left_behind: Vec<LeftBehind>,
    /// Why the machine's clock is not believed, with what to do; `None` where it is.
    #[serde(default)]
    pub clock: Option<String>,
    /// Why the store does not answer, with what to do; `None` where it does.
    #[serde(default)]
    pub store: Option<String>,
    /// Channels of which messages were tried in vain.
    #[serde(default)]
    pub undelivered: Vec<Undelivered>,
}

/// What waits in a channel that did not take it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undelivered {
    /// `mail`, or the name of a webhook.
    pub channel: String,
    /// How many messages wait.
    pub waiting: u64,
    /// When the fact of the oldest was recorded.
    pub oldest: DateTime<Utc>,
    /// When the next is tried.
    pub next: DateTime<Utc>,
    /// What the last try of one of them ended with.
    pub why: String,
}

/// A place that no target works in, where accounts are linked that rosterd never disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBehind {
    /// The place.
    pub space: Space,
    /// How many such accounts.
    pub accounts: u64,
    /// Users among them who are to have no access.
    pub owed: Vec<Owed>,
}

/// An account of one user in such a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftAccount {
    /// The place.
    pub space: Space,
    /// The record id that it is linked to.
    pub record: RecordId,
    /// The account.
    pub account: AccountId,
    /// Whether the user is to have no access there.
    pub owed: bool,
}

impl LeftBehind {
    /// What there is, and what to do about it.
    pub fn words(&self) -> String {
        let Space { target, .. } = &self.space;
        let (accounts, are) = if self.accounts == 1 { ("account", "is") } else { ("accounts", "are") };
        let out = if self.owed.is_empty() {
            String::new()
        } else {
            format!(", {} of users who are to be out", self.owed.len())
        };
        format!(
            "{} {accounts} {are} left behind in {}{out}: no target document leads there now, so nothing ends access \
             there; put the document of `{target}` back as it was until the accounts are disabled, or end access there by \
             hand, which rosterd cannot see",
            self.accounts,
            place_words(&self.space)
        )
    }
}

/// A place, for people.
pub fn place_words(Space { target, environment, realm }: &Space) -> String {
    format!("`{target}` (environment `{environment}`, realm `{realm}`)")
}

/// Calls are halted everywhere, until `rosterd start`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// How much.
    pub halts: Halts,
    /// Who.
    pub by: String,
    /// Since when.
    pub at: DateTime<Utc>,
    /// Why, in the person's words.
    pub reason: Option<String>,
}

impl Stop {
    /// What to tell whoever asks for what is halted.
    pub fn words(&self) -> String {
        let what = match self.halts {
            Halts::Widening => "nothing is given and nothing is updated",
            Halts::All => "nothing is written",
        };
        let why = self.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let at = self.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        format!("rosterd is stopped by {} since {at}{why}: {what} anywhere until `rosterd start --reason WHY`", self.by)
    }
}

/// Where desired users come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// The accepted snapshot, counted from 1; 0 before the first.
    pub generation: u64,
    /// Hash of the accepted documents.
    pub digest: Option<Digest>,
    /// Declared users in it.
    pub users: usize,
    /// Declared roles in it.
    pub roles: usize,
    /// When a load was last accepted.
    pub accepted: Option<DateTime<Utc>>,
    /// What is wrong with the newest load, rendered; empty where it was accepted.
    pub problems: Vec<String>,
    /// Whether the newest load was refused for them: then nothing that it gives takes effect, and access that
    /// it ends does.
    #[serde(default)]
    pub refused: bool,
    /// Why there was no load at all.
    pub error: Option<String>,
    /// The newest load, where it takes too much away.
    pub shrink: Option<ShrinkHold>,
}

/// A load that waits for `rosterd accept-shrink DIGEST`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShrinkHold {
    /// What to accept.
    pub digest: Digest,
    /// (user, target, entitlement) triples it would take away.
    pub lost: u64,
    /// The highest accepted level of the last 24 hours.
    pub level: u64,
}

/// One target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Its name.
    pub name: TargetName,
    /// The connector's name.
    pub connector: String,
    /// What its document says.
    pub mode: Mode,
    /// Whether `rosterd suspend` holds it.
    pub suspended: bool,
    /// Target, environment and realm; `None` until the target first answered.
    pub space: Option<Space>,
    /// Its schedule in words.
    pub schedule: String,
    /// When the next full cycle is due by schedule.
    pub next_run: Option<DateTime<Utc>>,
    /// The cycle that runs now.
    pub running: Option<CycleRecord>,
    /// The last full cycle that ended.
    pub last_cycle: Option<CycleRecord>,
    /// When a full cycle last ended well.
    pub last_success: Option<DateTime<Utc>>,
    /// Users whose change waits or is under way.
    pub waiting: usize,
    /// Accounts seen by the last listing, by state.
    pub accounts: BTreeMap<AccountState, u64>,
    /// Accounts that were never rosterd's.
    pub unmanaged: u64,
    /// Those of the rest that an `Exception` document explains.
    #[serde(default)]
    pub explained: u64,
    /// Attributes that differ and are left so (`drift: report`), by user.
    #[serde(default)]
    pub drifted: BTreeMap<RecordId, Vec<AttributePath>>,
    /// What a person must settle, by user.
    pub conflicts: BTreeMap<RecordId, String>,
    /// Changes that a guardrail stopped.
    pub holds: Vec<Hold>,
    /// The last error of each user whose change failed.
    pub failures: BTreeMap<RecordId, String>,
    /// Narrowing that is due and not confirmed, oldest first.
    pub owed: Vec<Owed>,
    /// Why the target as a whole does not answer, with what to do.
    pub error: Option<String>,
    /// Set while the target keeps failing and is tried ever more rarely.
    #[serde(default)]
    pub quarantine: Option<Quarantine>,
    /// Requests that wait for a person's decision.
    #[serde(default)]
    pub requests: usize,
}

/// A target that keeps failing: nothing queued is lost, and it is back as soon as it answers or a
/// person says `rosterd resume TARGET`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Since when.
    pub since: DateTime<Utc>,
    /// Failures in a row.
    pub failures: u32,
    /// When it is tried again; `None` where it is being tried, or nothing waits for it.
    pub next_try: Option<DateTime<Utc>>,
}

/// A narrowing that is due and not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// Whose.
    pub record: RecordId,
    /// Since access ended.
    pub since: DateTime<Utc>,
    /// What holds it up.
    pub reason: OwedReason,
}

/// What came of `sync` or `apply`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncReport {
    /// The cycle, ended.
    pub cycle: CycleRecord,
    /// What it planned, guardrails applied.
    pub plan: Plan,
    /// Changes of a saved plan that no longer follow, and were not made.
    pub stale: Vec<Change>,
    /// Changes of a saved plan that were made before, so that nothing is left to do for their users.
    #[serde(default)]
    pub applied: Vec<Change>,
    /// The error of each user whose change failed.
    pub failures: BTreeMap<RecordId, String>,
}

/// Why an account looks as it does, or is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The user.
    pub record: RecordId,
    /// The target.
    pub target: TargetName,
    /// Where the user's document stands; `None`: not declared.
    pub declared: Option<Origin>,
    /// What the user should have, with where each value came from.
    pub desired: Option<Desired>,
    /// The remembered pair.
    pub link: Option<Link>,
    /// The account as the target shows it now; `None` where there is none or it does not answer.
    pub account: Option<Account>,
    /// The account as it was last seen by a listing.
    pub last_seen: Option<SeenAccount>,
    /// What is remembered of other hands at the account.
    #[serde(default)]
    pub hand: Option<Hand>,
    /// Why nothing is done.
    pub skip: Option<SkipReason>,
    /// Whether a person is asked before the user is given anything, and by which lines; `None`: nobody is.
    #[serde(default)]
    pub gate: Option<(String, Vec<Origin>)>,
    /// What would be done next.
    pub changes: Vec<Change>,
    /// The guardrail that stops it.
    pub held: Option<Hold>,
    /// The end of access that is due and not confirmed.
    #[serde(default)]
    pub owed: Option<Owed>,
    /// The last error.
    pub failure: Option<String>,
    /// What was done lately, newest first, as sentences.
    pub history: Vec<String>,
    /// What was told of the account and to whom, newest first, as sentences.
    #[serde(default)]
    pub told: Vec<String>,
    /// What the target says of itself.
    pub target_error: Option<String>,
}
