//! What identity history says about the users of a plan.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::correlate::history::History;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::projection::Conflict;
use crate::model::projection::Projection;

/// Everything that a plan must know of who was who.
#[derive(Clone, Debug)]
pub struct Known {
    /// Who had which account.
    pub history: Arc<History>,
    /// Linked users whose record id seems to have gone to somebody else.
    pub reused: BTreeSet<RecordId>,
    /// Users without a link who want an account and have the mail of a user who is linked and no
    /// longer declared: the new record id, and every such old one with its account.
    pub renamed: BTreeMap<RecordId, BTreeMap<RecordId, AccountId>>,
    /// Users of whom a person said that they get their account again (`regain: ask`).
    pub regained: BTreeSet<RecordId>,
}

impl Known {
    /// Nothing but the history.
    pub fn new(history: Arc<History>) -> Self {
        Self { history, reused: BTreeSet::new(), renamed: BTreeMap::new(), regained: BTreeSet::new() }
    }

    /// Who seems to be `old` under another record id.
    pub fn successor(&self, old: &RecordId) -> Option<&RecordId> {
        self.renamed.iter().find_map(|(new, left)| left.contains_key(old).then_some(new))
    }

    /// Whether an account that fits this user was ever another's.
    pub fn was_anothers(&self, account: &AccountId, projection: &Projection) -> bool {
        self.history.was_anothers(account, &projection.record, &projection.formerly)
    }
}

/// A record id that has another mail and another family name than ever before.
pub fn reused(record: &RecordId, account: &AccountId) -> Conflict {
    Conflict {
        code: "record-id-reused".to_owned(),
        message: format!(
            "the record id `{record}` came with a new mail and a new family name at once: account `{account}` may be \
             somebody else's"
        ),
        hint: format!(
            "if it is the same person, `rosterd link {record} {account}` says so; if not, give the new person a record \
             id of their own"
        ),
    }
}

/// An account that fits a user and was another's.
pub fn anothers(record: &RecordId, account: &AccountId) -> Conflict {
    Conflict {
        code: "account-of-another".to_owned(),
        message: format!("account `{account}` fits `{record}` and was another user's before"),
        hint: format!("`rosterd link {record} {account}` says that it is `{record}`'s now; else leave it alone"),
    }
}

/// A user who is gone and another who came with the same mail or match key.
pub fn undeclared(old: &RecordId, new: &RecordId, account: &AccountId) -> Conflict {
    Conflict {
        code: "undeclared-rename".to_owned(),
        message: format!("`{old}` is gone and `{new}` looks like the same person: account `{account}` is `{old}`'s"),
        hint: format!(
            "if they are one person, write `formerly: [{old}]` in `{new}` (or `rosterd link {new} {account}`); if they \
             are two, declare `{old}` with `active: false`"
        ),
    }
}

/// An account to be deleted that somebody else fits.
pub fn claimed(owner: &RecordId, claimant: &RecordId, account: &AccountId) -> Conflict {
    Conflict {
        code: "account-shared".to_owned(),
        message: format!(
            "account `{account}` of `{owner}` would be deleted by now, and `{claimant}` fits it, too: what anybody may \
             still need is not deleted"
        ),
        hint: format!(
            "`rosterd link {claimant} {account}` says that it is `{claimant}`'s; else give `{claimant}` another user \
             name and other match keys, or delete the account there by hand"
        ),
    }
}

/// Somebody who comes back, where a person is to be asked.
pub fn asked(record: &RecordId, account: &AccountId) -> Conflict {
    Conflict {
        code: "regain".to_owned(),
        message: format!("`{record}` is back and had account `{account}`; `regain: ask` leaves it to a person"),
        hint: format!("`rosterd link {record} {account}` gives that account again"),
    }
}

/// A second account with the mark of a user who has one.
pub fn twins(record: &RecordId, account: &AccountId, others: &BTreeSet<AccountId>) -> Conflict {
    let named = others.iter().map(|other| format!("`{other}`")).collect::<Vec<_>>().join(", ");
    Conflict {
        code: "two-accounts".to_owned(),
        message: format!(
            "`{record}` has account `{account}`, and {named} bears the same mark: which is right is not guessed"
        ),
        hint: "look at both there; remove the wrong one, or its mark, by hand: rosterd merges and deletes neither"
            .to_owned(),
    }
}
