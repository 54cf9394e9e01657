//! Laws about what cannot be had back.

use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::projection::Desired;
use crate::model::projection::NoAccessReason;
use crate::plan::check::Facts;
use crate::plan::check::each;

/// Where a target has a wait, nobody's account is deleted before it is over, nor one that another hand
/// ended, nor one whose user may be about to come (L16, L17).
pub(super) fn deletion_waits(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    let Some(policy) = facts.target.account.deletion else { return Vec::new() };
    each(changes, |change| {
        if change.action != Action::Delete {
            return None;
        }
        let hand = change.account.as_ref().and_then(|account| facts.hands.get(account));
        let ours = facts.links.get(&change.record).is_some_and(|link| link.disabled_by_us);
        if !ours || hand.is_some_and(|hand| hand.ended_over.is_some()) {
            return Some("deletes what rosterd did not end");
        }
        if let Some(Desired::None(no)) = facts.desired.get(&change.record)
            && matches!(no.reason, NoAccessReason::Revoked | NoAccessReason::NotYetValid)
        {
            return Some("deletes the account of somebody who is expected back");
        }
        let passed = hand.and_then(|hand| hand.ended).and_then(|ended| (facts.now - ended).to_std().ok());
        let over = passed.is_some_and(|passed| passed >= policy.after);
        (!over).then_some("comes before its wait is over")
    })
}
