//! Who is told that something waits for them: by the operator's configuration, never by a manifest.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::model::target::Schedule;

/// For which users a right is good: the values of each label; no label is every user.
pub type LabelScope = BTreeMap<String, BTreeSet<String>>;

/// One entry of `tell` of a group under `approvers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// The group whose turns are told.
    pub group: String,
    /// For which users the group decides.
    pub scope: LabelScope,
    /// Who is told.
    pub whom: Whom,
    /// When everything that waits is told in one mail; `None`: each turn by itself, at once.
    pub digest: Option<Schedule>,
}

/// Who is told of a group's turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// One person.
    Person {
        /// The subject of their tokens: what they decided themselves they are not told of.
        subject: String,
        /// Where to.
        mail: String,
        /// In which language.
        locale: Option<String>,
    },
    /// Every user whose document names this team and a mail.
    Team(String),
}
