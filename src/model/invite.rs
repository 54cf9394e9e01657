//! How a new account's person gets in: what was sent, to whom, and what became of it.

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::model::ids::InviteId;
use crate::model::ids::MessageId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::link::Space;

/// One account's welcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// The id of the intent that made the account.
    pub id: InviteId,
    /// Where.
    pub space: Space,
    /// Whose account.
    pub record: RecordId,
    /// What lets its person in.
    pub kind: CredentialKind,
    /// The address, fixed with the intent.
    pub to: String,
    /// Hex SHA-256 of the link's token (256 random bits, so no slow hash is needed); none without a link.
    pub token: Option<String>,
    /// The mail that was sent last.
    pub message: MessageId,
    /// When it was made, or sent again.
    pub made: DateTime<Utc>,
    /// When its link ends.
    pub expires: Option<DateTime<Utc>>,
    /// How often it was sent again.
    pub resent: u32,
    /// How far it got.
    pub state: InviteState,
    /// When it ended.
    pub ended: Option<DateTime<Utc>>,
}

/// What lets a person in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialKind {
    /// A link that is good once and for a while.
    Link,
    /// A password that rosterd makes.
    Generated,
    /// Single sign-on.
    Sso,
    /// Nothing that rosterd knows of.
    None,
}

impl CredentialKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Link, Self::Generated, Self::Sso, Self::None];

    /// The word used in manifests and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Generated => "generated",
            Self::Sso => "sso",
            Self::None => "none",
        }
    }
}

/// How far an invite got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InviteState {
    /// The account is not certain yet.
    Held,
    /// The account is there; the mail is sent or about to be.
    Sent,
    /// The person came.
    Accepted,
    /// Its time ran out.
    Expired,
    /// Access ended, or the address changed.
    Revoked,
    /// The account did not come to be, or nobody takes its mail.
    Void,
    /// Its mail was taken, and nobody comes by it: it brought no link.
    Told,
}

impl InviteState {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Held, Self::Sent, Self::Accepted, Self::Expired, Self::Revoked, Self::Void, Self::Told];

    /// The word used in lists, metrics and stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Sent => "sent",
            Self::Accepted => "accepted",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Void => "void",
            Self::Told => "told",
        }
    }

    /// Whether the person may still come by it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Held | Self::Sent)
    }
}

/// One write about invites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InviteWrite {
    /// A new one, or one sent again. That one takes the place of the one before it, if that is still open
    /// or its time ran out; otherwise nothing is written.
    Put(Box<Invite>),
    /// A held one's account is there.
    Open(InviteId),
    /// An open one ended. One that ended already stays as it ended, and one that was sent again since by
    /// another mail goes on. Where it was not accepted, its mail does not leave any more.
    End {
        /// Which.
        id: InviteId,
        /// The mail by which whoever ends it knows it.
        message: MessageId,
        /// How.
        state: InviteState,
        /// When.
        at: DateTime<Utc>,
    },
    /// Every open one of a user there, the same way, whatever mail brought it.
    EndOf(Space, RecordId, InviteState, DateTime<Utc>),
    /// What ended before is forgotten.
    Forget(DateTime<Utc>),
}

/// Which invites, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InviteFilter {
    /// Only in this target.
    pub target: Option<TargetName>,
    /// Only of this user.
    pub record: Option<RecordId>,
    /// Only the one of this link: hex SHA-256 of its token.
    pub token: Option<String>,
    /// Only in this state.
    pub state: Option<InviteState>,
    /// At most so many; 0: as many as there are.
    pub limit: usize,
}
