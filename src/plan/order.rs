//! The order in which changes are made: decided here, inherited from nothing.

use std::cmp::Ordering;

use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::change::Effect;

/// Narrowing that a person meant, narrowing by inference, what changes no access, widening. By
/// record inside, so that equal inputs give equal plans (L18).
pub fn compare(left: &Change, right: &Change) -> Ordering {
    rank(left)
        .cmp(&rank(right))
        .then_with(|| left.record.cmp(&right.record))
        .then_with(|| left.action.cmp(&right.action))
        .then_with(|| left.account.cmp(&right.account))
}

/// Where a change stands in a plan.
pub fn rank(change: &Change) -> u8 {
    match (change.effect, change.cause) {
        (Effect::Narrows, Some(Cause::Explicit)) => 0,
        (Effect::Narrows, Some(Cause::Inferred) | None) => 1,
        (Effect::Neutral, _) => 2,
        (Effect::Swaps | Effect::Widens, _) => 3,
    }
}
