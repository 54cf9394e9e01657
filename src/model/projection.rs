//! The account that a user should have in a target, with where each value came from.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::model::account::Membership;
use crate::model::change::Cause;
use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::list::List;
use crate::model::origin::Origin;
use crate::model::path::AttributePath;
use crate::model::target::Ending;
use crate::model::target::Own;

/// What one user should have in one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Desired {
    /// An active account that looks like this.
    Account(Projection),
    /// No account, or an inactive one.
    None(NoAccess),
    /// The user's documents contradict themselves; nothing is done for this user that widens.
    Conflict(Conflict),
}

/// What users should have in one target, by record id.
///
/// Answers are worked out when they are asked for: a million of them are more than anybody keeps.
pub trait Wishes: Send + Sync {
    /// What one user should have; `None`: nobody declares the user.
    fn of(&self, record: &RecordId) -> Option<Cow<'_, Desired>>;

    /// How the account would look that a user without one, or in conflict, is going to have by the documents of
    /// today, as far as that can be told; `None`: none, or nobody knows.
    fn expected(&self, _record: &RecordId) -> Option<Projection> {
        None
    }

    /// Whether there is an answer.
    fn contains(&self, record: &RecordId) -> bool;

    /// Everybody of whom there is an answer, each once.
    fn records(&self) -> Box<dyn Iterator<Item = &RecordId> + '_>;

    /// Those of them who had another record id.
    fn renamed(&self) -> Box<dyn Iterator<Item = &RecordId> + '_>;
}

impl Wishes for BTreeMap<RecordId, Desired> {
    fn of(&self, record: &RecordId) -> Option<Cow<'_, Desired>> {
        self.get(record).map(Cow::Borrowed)
    }

    fn contains(&self, record: &RecordId) -> bool {
        self.contains_key(record)
    }

    fn records(&self) -> Box<dyn Iterator<Item = &RecordId> + '_> {
        Box::new(self.keys())
    }

    fn renamed(&self) -> Box<dyn Iterator<Item = &RecordId> + '_> {
        let renamed = |desired: &Desired| matches!(desired, Desired::Account(account) if !account.formerly.is_empty());
        Box::new(self.iter().filter(move |(_, desired)| renamed(desired)).map(|(record, _)| record))
    }
}

/// The account that a user should have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Projection {
    /// Whose it is.
    pub record: RecordId,
    /// Earlier record ids: a mark that holds one of them is ours.
    pub formerly: Vec<RecordId>,
    /// `userName`, `externalId` if it is the mark, and every mapped path that has a value or is
    /// to be cleared.
    pub values: BTreeMap<AttributePath, Projected>,
    /// Entitlements that the user's grants give.
    pub entitlements: BTreeMap<EntitlementName, ProjectedGrant>,
    /// Entitlements that a role of the user would give at another time: where one was given, it is
    /// the user's own document that ends it.
    pub lapsed: BTreeSet<EntitlementName>,
    /// The roles and grants that give the access.
    pub origins: List<Origin>,
}

/// One value of a projection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Projected {
    /// The value; `None` clears the attribute.
    pub value: Option<serde_json::Value>,
    /// Who owns it.
    pub own: Own,
    /// Hidden from shared artefacts.
    pub personal: bool,
    /// Hidden everywhere but in the target.
    pub sensitive: bool,
    /// The mapping, and the user's or role's line that fed it.
    pub origins: List<Origin>,
}

/// One entitlement of a projection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectedGrant {
    /// What it is in the target.
    pub membership: Membership,
    /// Counted by the limit on privileged grants.
    pub privileged: bool,
    /// The grants that give it.
    pub origins: List<Origin>,
}

/// Why a user has no access, and what becomes of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoAccess {
    /// Why, in words that can end a sentence: `no role grants it`.
    pub reason: NoAccessReason,
    /// What becomes of the account.
    pub ending: Ending,
    /// The line that decided, where there is one.
    pub origins: List<Origin>,
}

/// Why a user has no access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoAccessReason {
    /// `active: false`.
    Inactive,
    /// Before `validFrom`.
    NotYetValid,
    /// At or after `validUntil`.
    Ended,
    /// No role that the user holds grants the target.
    NotGranted,
    /// A role would, outside its own validity.
    RoleEnded,
    /// `scope.userTypes` leaves the user out.
    UserType,
    /// `scope.when` is false.
    Condition,
    /// The document is gone.
    Gone,
    /// A person said so, whatever the documents say.
    Revoked,
}

impl NoAccessReason {
    /// The cause where nothing was remembered about the moment access ended.
    ///
    /// What the user's own document says today is explicit; the rest may be a rule's doing.
    pub fn default_cause(&self) -> Cause {
        match self {
            Self::Inactive | Self::NotYetValid | Self::Ended | Self::RoleEnded | Self::Revoked => Cause::Explicit,
            Self::NotGranted | Self::UserType | Self::Condition | Self::Gone => Cause::Inferred,
        }
    }

    /// The words that explain and plans use.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Inactive => "the user is inactive",
            Self::NotYetValid => "the user is not valid yet",
            Self::Ended => "the user's validity has ended",
            Self::NotGranted => "no role of the user grants this target",
            Self::RoleEnded => "the role that granted it is outside its validity",
            Self::UserType => "the target's scope does not take this user type",
            Self::Condition => "the target's scope condition is false for this user",
            Self::Gone => "the user is no longer declared",
            Self::Revoked => "a person revoked the user",
        }
    }
}

/// Something that rosterd does not guess.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Conflict {
    /// A stable word: `user-name-taken`, `cardinality`, `exclusive`, `unequal-values`, `ambiguous`, ...
    pub code: String,
    /// What is wrong, naming all sides.
    pub message: String,
    /// What a person can do.
    pub hint: String,
}
