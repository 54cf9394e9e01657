//! When an ended account may be deleted (`account.deleteAfter`).
//!
//! # Guarantees
//! - Time counts only while rosterd holds the account shut and its user has no access, each as a look
//!   showed it: who comes back, or whose account another hand opens, begins anew.
//! - It is counted from a moment in the store, in the time by which windows slide: neither a restart nor
//!   a clock that is set shortens it (L16).
//! - What another hand ended is nobody's to delete by the passing of time (L17).

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::model::account::Account;
use crate::model::account::AccountState;
use crate::model::link::Link;
use crate::model::projection::Desired;
use crate::model::projection::NoAccess;
use crate::model::projection::NoAccessReason;
use crate::model::target::Ending;
use crate::plan::input::PlanInput;
use crate::plan::linked;

/// Whether time counts towards the deletion of an account that is seen so; `desired` is what its user
/// should have.
pub fn counts(input: &PlanInput<'_>, link: &Link, account: &Account, desired: Option<&Desired>) -> bool {
    let lost = match desired {
        Some(Desired::None(no)) => ends(no),
        Some(Desired::Account(_) | Desired::Conflict(_)) => false,
        None => input.known.successor(&link.record).is_none() && ends(&linked::gone(input)),
    };
    // What another hand locked, suspended or deleted since is that hand's.
    let ours = link.disabled_by_us && input.hand(&account.id).ended_over.is_none();
    let shut = ours && account.state == AccountState::Disabled;
    lost && shut && input.target.account.deletion.is_some() && !input.known.reused.contains(&link.record)
}

/// Whether a loss is one after which nobody is expected back. A person's revocation is a word about
/// access, and who is not valid yet is about to come.
fn ends(no: &NoAccess) -> bool {
    let expected = matches!(no.reason, NoAccessReason::NotYetValid | NoAccessReason::Revoked);
    let ended = matches!(no.ending, Ending::Disable | Ending::Suspend | Ending::Delete);
    ended && !expected
}

/// From when on the account may be deleted; `None`: it stays, or nothing counts yet.
pub fn due(input: &PlanInput<'_>, link: &Link, account: &Account, desired: Option<&Desired>) -> Option<DateTime<Utc>> {
    if !counts(input, link, account, desired) {
        return None;
    }
    let after = TimeDelta::from_std(input.target.account.deletion?.after).unwrap_or(TimeDelta::MAX);
    input.hand(&account.id).ended?.checked_add_signed(after)
}
