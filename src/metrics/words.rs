//! Label values that no other floor has a word for.

use serde::Deserialize;
use serde::Serialize;

use crate::model::history::OutcomeResult;

/// How a change of a plan ended, as `rosterd_changes_total` counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeResult {
    /// The target confirmed it.
    Done,
    /// The target refused it.
    Refused,
    /// It surely left nothing behind; it is tried again.
    Nothing,
    /// It no longer followed when its turn came; no call was made.
    Dropped,
}

impl ChangeResult {
    /// Every result, for metrics that show zero.
    pub const ALL: [Self; 4] = [Self::Done, Self::Refused, Self::Nothing, Self::Dropped];

    /// The word used as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Nothing => "nothing",
            Self::Dropped => "dropped",
        }
    }
}

impl From<&OutcomeResult> for ChangeResult {
    fn from(outcome: &OutcomeResult) -> Self {
        match outcome {
            OutcomeResult::Done => Self::Done,
            OutcomeResult::Refused(_) => Self::Refused,
            OutcomeResult::Nothing(_) => Self::Nothing,
        }
    }
}

/// Why a narrowing that is due is not confirmed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwedReason {
    /// It waits for its turn or for the answer to its call.
    Queued,
    /// The target's mode, or a suspension, forbids writing.
    Mode,
    /// A guardrail holds it.
    Hold,
    /// The target cannot be reached, or answered with an error.
    Error,
    /// The target keeps failing as a whole and is tried once in a while.
    Quarantine,
    /// A person must settle a conflict first.
    Conflict,
    /// The account stays open for what hangs on it, as `blockers` says.
    Blocker,
    /// `rosterd stop --all` halts every call.
    Stopped,
    /// No target document leads to the place of the account: `rosterd_accounts_left_behind` counts it.
    LeftBehind,
}

impl OwedReason {
    /// Every reason of a target that works, for metrics that show zero.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Mode,
        Self::Hold,
        Self::Error,
        Self::Quarantine,
        Self::Conflict,
        Self::Blocker,
        Self::Stopped,
    ];

    /// The word used as a label and in `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Mode => "mode",
            Self::Hold => "hold",
            Self::Error => "error",
            Self::Quarantine => "quarantine",
            Self::Conflict => "conflict",
            Self::Blocker => "blocker",
            Self::Stopped => "stopped",
            Self::LeftBehind => "left-behind",
        }
    }
}

/// What a connector asks of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Request {
    /// Reach, rights and what the target can do.
    Probe,
    /// One page of accounts or groups.
    List,
    /// One account or group, by id or by filter.
    Fetch,
    /// A new account.
    Create,
    /// A write to an account.
    Update,
    /// A write to the members of a group.
    Members,
}

impl Request {
    /// Every kind, for metrics that show zero.
    pub const ALL: [Self; 6] = [Self::Probe, Self::List, Self::Fetch, Self::Create, Self::Update, Self::Members];

    /// The word used as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::List => "list",
            Self::Fetch => "fetch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Members => "members",
        }
    }
}

/// What came back from a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// An HTTP status.
    Status(u16),
    /// A target without status codes did it.
    Ok,
    /// No usable answer: time-out, cut connection, refused name or certificate.
    Silence,
}

impl Answer {
    /// Every label value. Statuses that ask for different deeds stand alone; the rest is told by
    /// class, since a target may invent codes and a label must stay bounded.
    pub const CODES: [&'static str; 22] = [
        "200", "201", "204", "2xx", "304", "3xx", "400", "401", "403", "404", "409", "412", "422", "429", "4xx", "500",
        "502", "503", "504", "5xx", "ok", "none",
    ];

    /// The word used as a label.
    pub fn code(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Silence => "none",
            Self::Status(status) => status_word(status),
        }
    }
}

fn status_word(status: u16) -> &'static str {
    match status {
        200 => "200",
        201 => "201",
        204 => "204",
        202..=299 => "2xx",
        304 => "304",
        300..=399 => "3xx",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        409 => "409",
        412 => "412",
        422 => "422",
        429 => "429",
        402..=499 => "4xx",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        501..=599 => "5xx",
        // Nothing that HTTP knows (RFC 9110 section 15): as good as no answer.
        _ => "none",
    }
}

/// The words of the error classes that lead to another attempt. The classes live with the
/// connector port, a floor above; a test of the whole crate compares the two.
pub const RETRY_REASONS: [&str; 9] =
    ["transient", "rate-limited", "uncertain", "exists", "changed", "not-found", "refused", "quota", "door"];
