//! What goes over the wire of `/api/v1`: bodies and answers that the command line shares.
//!
//! What is not here is plain data of [`crate::engine::status`] and [`crate::model`].

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::engine::receipt::Receipt;
use crate::engine::status::Explanation;
use crate::engine::status::LeftAccount;
use crate::engine::status::Owed;
use crate::engine::status::ShrinkHold;
use crate::model::change::Change;
use crate::model::decision::Halts;
use crate::model::ids::AccountId;
use crate::model::ids::Digest;
use crate::model::ids::InviteId;
use crate::model::ids::RecordId;
use crate::model::ids::RequestId;
use crate::model::ids::TargetName;
use crate::model::invite::CredentialKind;
use crate::model::invite::InviteState;
use crate::model::message::MessageState;
use crate::model::plan::Hold;
use crate::model::plan::Plan;
use crate::model::request::RequestState;
use crate::model::request::Word;
use crate::model::snapshot::Snapshot;
use crate::store::Token;

/// The media type of [`Problem`].
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// Why a request was not done (RFC 9457; `type` is `about:blank`, so it is left out).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The words of the status code.
    pub title: String,
    /// The status code.
    pub status: u16,
    /// A stable word: `no-target`, `stale`, `no-token`, ...
    pub code: String,
    /// What is wrong, in one sentence.
    pub detail: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; absent after the last one. Lists that run backwards in time
    /// take it as `before`, the audit chain as `from`, every other one as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What a caller may do; each right includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Reads.
    Viewer,
    /// Decides about requests, as far as groups and labels say.
    Approver,
    /// Runs cycles and decides what waits.
    Operator,
    /// Gives out tokens.
    Admin,
}

impl Right {
    /// Every right, from least to most.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Approver, Self::Operator, Self::Admin];

    /// The word used in tokens and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Approver => "approver",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a word is no right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a right; write `viewer`, `approver`, `operator` or `admin`")]
pub struct RightError(String);

impl FromStr for Right {
    type Err = RightError;

    fn from_str(text: &str) -> Result<Self, RightError> {
        Self::ALL.into_iter().find(|right| right.as_str() == text).ok_or_else(|| RightError(text.to_owned()))
    }
}

/// `GET /readyz`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether both of the others are true.
    pub ready: bool,
    /// Whether a snapshot was accepted.
    pub snapshot: bool,
    /// Whether the store answers.
    pub store: bool,
    /// Why it does not, with what to do.
    #[serde(default)]
    pub error: Option<String>,
}

/// One invite of `GET /api/v1/invites`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteInfo {
    /// Its id.
    pub id: InviteId,
    /// Where.
    pub target: TargetName,
    /// Whose account.
    pub user: RecordId,
    /// What lets the person in.
    pub kind: CredentialKind,
    /// The address.
    pub to: String,
    /// How far it got.
    pub state: InviteState,
    /// When it was sent last.
    pub made: DateTime<Utc>,
    /// When its link ends.
    pub expires: Option<DateTime<Utc>>,
    /// How often it was sent again.
    pub resent: u32,
    /// When it ended.
    pub ended: Option<DateTime<Utc>>,
    /// How far its mail got; `None` where that is forgotten.
    pub mail: Option<MessageState>,
    /// What the mail server said.
    pub why: Option<String>,
}

/// `POST /api/v1/targets/{target}/invites/resend`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResendBody {
    /// Whose.
    pub users: BTreeSet<RecordId>,
}

/// What came of sending invites again, one entry for each user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResentList {
    /// In order of record id.
    pub items: Vec<ResentInfo>,
}

/// What came of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResentInfo {
    /// Whose.
    pub user: RecordId,
    /// Whether it was sent.
    pub sent: bool,
    /// When its link ends.
    pub expires: Option<DateTime<Utc>>,
    /// Why it was not.
    pub why: Option<String>,
}

/// `POST /api/v1/targets/{target}/invites/redeem`
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedeemBody {
    /// What the person's link holds.
    pub token: String,
}

/// Who came by a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redeemed {
    /// Record id.
    pub user: RecordId,
    /// The target's id of the account.
    pub account: Option<AccountId>,
}

/// `POST /api/v1/targets/{target}/sync`; an empty body is a full cycle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncBody {
    /// Only these users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<BTreeSet<RecordId>>,
    /// Only these changes, where they still follow: those of a saved plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<Change>>,
}

/// `POST /api/v1/targets/{target}/suspend` and `/resume`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonBody {
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /api/v1/users/{user}/revoke`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeBody {
    /// When it ends by itself; absent: when somebody restores the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /api/v1/stop`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopBody {
    /// How much: `widening` or `all`.
    pub halts: Halts,
    /// Why, in the person's words: everybody who finds calls halted asks.
    pub reason: String,
}

/// `POST /api/v1/start`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    /// Why, in the person's words.
    pub reason: String,
}

/// `GET /api/v1/users/{user}/receipt`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignedReceipt {
    /// What is signed: its canonical JSON (keys sorted, no white space).
    pub receipt: Receipt,
    /// Names the keys that signed it; tells nothing about them.
    pub keys: String,
    /// Ed25519, base64.
    pub signature: String,
}

/// `POST /api/v1/receipts/verify`: a [`SignedReceipt`], as it was written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyBody {
    /// The receipt.
    pub receipt: serde_json::Value,
    /// Names the keys.
    pub keys: String,
    /// The signature.
    pub signature: String,
}

/// Whether a receipt is genuine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptVerdict {
    /// Whether this installation signed it and nothing was altered since.
    pub genuine: bool,
    /// What is wrong otherwise.
    pub problem: Option<String>,
}

/// `POST /api/v1/targets/{target}/enforce` and `POST /api/v1/source/accept-shrink`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestBody {
    /// What was shown.
    pub digest: Digest,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /api/v1/holds/{digest}/release`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseBody {
    /// Whose hold.
    pub target: TargetName,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /api/v1/targets/{target}/link`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkBody {
    /// The user.
    pub user: RecordId,
    /// The target's id of the account.
    pub account: AccountId,
}

/// `POST /api/v1/targets/{target}/regain`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegainBody {
    /// The user.
    pub user: RecordId,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /api/v1/plan`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanBody {
    /// Only this target; absent: every one that the token is good for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetName>,
    /// Only these users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<BTreeSet<RecordId>>,
    /// Users and roles to plan from instead of the accepted ones. Targets are always the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<Snapshot>,
    /// Plan as it would be at this moment: what begins and ends until then. Such a plan is not for
    /// applying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
}

/// Answer to [`PlanBody`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanReply {
    /// One plan a target, by name of the target.
    pub plans: Vec<Plan>,
    /// Why there is no plan of the other targets.
    pub errors: BTreeMap<TargetName, String>,
}

/// `GET /api/v1/explain/{user}`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainReply {
    /// One explanation a target, by name of the target.
    pub items: Vec<Explanation>,
    /// Why there is none of the other targets.
    pub errors: BTreeMap<TargetName, String>,
    /// Accounts of the user in places that no target document leads to now.
    #[serde(default)]
    pub left_behind: Vec<LeftAccount>,
}

/// `POST /api/v1/requests`: a person's word about one request or many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecideBody {
    /// `accept`, `refuse` or `reopen`.
    pub decision: Word,
    /// Which requests, at most 1,000 at a time.
    pub requests: Vec<RequestId>,
    /// Why, in the person's words; a refusal demands it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Answer to [`DecideBody`]: one entry for each request, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// What came of each.
    pub items: Vec<DecidedItem>,
    /// How many words were not taken.
    pub failed: usize,
}

/// What came of a word about one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidedItem {
    /// Which request.
    pub request: RequestId,
    /// Where; absent where there is no such request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetName>,
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<RecordId>,
    /// How it stands now; absent where the word was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RequestState>,
    /// Why the word was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// One entry of `GET /api/v1/holds`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetHold {
    /// Whose.
    pub target: TargetName,
    /// What is held, why, and the digest that releases it.
    pub hold: Hold,
}

/// `GET /api/v1/holds`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holds {
    /// By target, then digest.
    pub items: Vec<TargetHold>,
    /// A load that takes too much away; `accept-shrink` lets it in.
    pub shrink: Option<ShrinkHold>,
}

/// One entry of `GET /api/v1/owed`, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetOwed {
    /// Where.
    pub target: TargetName,
    /// Whose, since when, and what holds it up.
    pub owed: Owed,
}

/// `GET /api/v1/audit/verify`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditVerdict {
    /// Whether nothing is wrong.
    pub sound: bool,
    /// How many chains were recomputed.
    pub chains: usize,
    /// A sentence for each thing found wrong.
    pub problems: Vec<String>,
}

/// `POST /api/v1/tokens`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// Its name, unique; audit events say `token:NAME`.
    pub name: String,
    /// Whom it stands for; absent: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What it may do.
    pub right: Right,
    /// Targets it is good for; empty: all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub targets: BTreeSet<TargetName>,
    /// Groups of approvers that its holder is in.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// For which users it decides, by the values of each label; empty: for all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, BTreeSet<String>>,
    /// When it ends; at most 366 days ahead.
    pub expires: DateTime<Utc>,
}

/// A token as lists show it: without its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its name.
    pub name: String,
    /// Whom it stands for.
    pub subject: String,
    /// The word of its right.
    pub right: String,
    /// Targets it is good for; empty: all.
    pub targets: BTreeSet<TargetName>,
    /// Groups of approvers that its holder is in.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// For which users it decides, by the values of each label; empty: for all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, BTreeSet<String>>,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it ends.
    pub expires: DateTime<Utc>,
}

impl From<Token> for TokenInfo {
    fn from(token: Token) -> Self {
        let Token { name, hash: _, subject, right, targets, groups, labels, created, expires } = token;
        Self { name, subject, right, targets, groups, labels, created, expires }
    }
}

/// Answer to [`TokenBody`]. No `Debug`: it holds the secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewToken {
    /// What was made.
    pub token: TokenInfo,
    /// What to send as `Authorization: Bearer`; shown this once.
    pub secret: String,
}
