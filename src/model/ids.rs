//! One newtype for each kind of name, so that none can stand where another is meant.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is: its form was checked where it was read.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The name as it is written in manifests, plans and messages.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
    };
}

name!(
    /// The record id of a user: `metadata.name` of its document.
    RecordId
);
name!(
    /// The id that a target gave to an account; immutable there, opaque here.
    AccountId
);
name!(
    /// `metadata.name` of a `Target`.
    TargetName
);
name!(
    /// `metadata.name` of a `Role`.
    RoleName
);
name!(
    /// A word of a target's entitlement catalogue.
    EntitlementName
);
name!(
    /// The key of one block under a target's `environments`.
    EnvironmentName
);
name!(
    /// Host plus the tenant that the credential reports: `crm.example/acme`.
    Realm
);
name!(
    /// Hex SHA-256 of canonical JSON: what a person accepts, releases or enforces.
    Digest
);
name!(
    /// One request: 16 hex digits, of what it asks for and since when.
    RequestId
);
name!(
    /// One cycle of one target (a UUID of version 7, so ids sort by time).
    CycleId
);
name!(
    /// One intent: recorded before a call, closed by its outcome.
    IntentId
);
name!(
    /// One message of the outbox: the same at every attempt, so that its reader can tell a repetition.
    MessageId
);
name!(
    /// One account's welcome: the id of the intent that made the account.
    InviteId
);
