//! What may be done about the state of an entitled user's account (L17).
//!
//! rosterd undoes what it did itself. What another hand did stays, and is told, until the target's
//! rule or a person says otherwise; what the target locked is the target's to open.

use crate::model::account::AccountState;
use crate::model::hand::Hand;
use crate::model::link::Link;
use crate::model::target::AccountPolicy;
use crate::model::target::ForeignDelete;
use crate::model::target::ForeignDisable;

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// It gives access: it is kept as declared.
    Keep,
    /// It is made active again; why.
    Reactivate(&'static str),
    /// It is had back from its deletion; why.
    Restore(&'static str),
    /// It stays in this state, which another hand brought about.
    Leave(AccountState),
}

const OURS: &str = "access is back, and it was rosterd that disabled the account";
const DELETED_BY_US: &str = "access is back, and it was rosterd that deleted the account";
const A_PERSON: &str = "a person gave the account back";
const REACTIVATE: &str = "another hand disabled the account (`foreignDisable: reactivate`)";
const RECREATE: &str = "another hand deleted the account (`foreignDelete: recreate`)";

/// The course for an account in `state`.
pub fn course(policy: &AccountPolicy, link: &Link, hand: &Hand, state: AccountState) -> Course {
    match state {
        AccountState::Pending | AccountState::Active | AccountState::Unknown => Course::Keep,
        AccountState::Disabled if link.disabled_by_us && hand.ended_over.is_none() => Course::Reactivate(OURS),
        AccountState::Disabled | AccountState::Suspended if hand.regain => Course::Reactivate(A_PERSON),
        AccountState::Disabled | AccountState::Suspended if reactivates(policy, hand) => Course::Reactivate(REACTIVATE),
        AccountState::DeletedRecoverable if hand.deleted_by_us && hand.ended_over.is_none() => {
            Course::Restore(DELETED_BY_US)
        }
        AccountState::DeletedRecoverable if hand.regain => Course::Restore(A_PERSON),
        AccountState::DeletedRecoverable if policy.foreign_delete == ForeignDelete::Recreate => {
            Course::Restore(RECREATE)
        }
        AccountState::Disabled | AccountState::Suspended | AccountState::Locked | AccountState::DeletedRecoverable => {
            Course::Leave(state)
        }
    }
}

/// Whether the target's rule undoes what another hand did; never what the target locked.
fn reactivates(policy: &AccountPolicy, hand: &Hand) -> bool {
    policy.foreign_disable == ForeignDisable::Reactivate && hand.ended_over != Some(AccountState::Locked)
}

/// Whether an account whose user lost access has to be ended: it gives access, or would again as
/// soon as whoever withholds it lets go.
pub fn is_open(link: &Link, state: AccountState) -> bool {
    let withheld = matches!(state, AccountState::Suspended | AccountState::Locked);
    state.gives_access() || (withheld && !link.disabled_by_us)
}
