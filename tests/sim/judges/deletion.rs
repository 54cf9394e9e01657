//! What cannot be had back: nobody's account is deleted before its wait is over.

use rosterd::connector::Operation;
use rosterd::model::change::Action;

use crate::judges::Facts;
use crate::judges::Violation;
use crate::judges::broken;
use crate::judges::calls::call_of;
use crate::world::Entry;

/// L4, L16, L17: what is deleted was shut by us, and has been since for as long as the target's rule says, by
/// a clock that nobody can set.
pub(crate) fn nobody_is_deleted_before_the_wait_is_over(facts: &Facts, entry: &Entry) -> Option<Violation> {
    let (target, operation, change) = call_of(facts, entry)?;
    let Operation::Delete { seen } = operation else {
        return (change.action == Action::Delete).then(|| Violation {
            law: "L16",
            words: format!("a deletion of {} is sent as something else", change.record),
        });
    };
    let Some(after) = facts.places[target].policy.delete_after else {
        return broken("L16", format!("account {} is deleted where nothing is ever deleted", seen.id));
    };
    // An account that another hand took away meanwhile is nobody's any more.
    let fact = facts.accounts.get(&(target, seen.id.clone()))?;
    fact.account.as_ref()?;
    let Some(shut) = fact.shut else {
        return broken("L17", format!("account {} is deleted and was not shut by us", seen.id));
    };
    let due = shut + after * 1_000;
    if entry.at < due && !facts.fooled {
        return broken("L16", format!("account {} is deleted {} s too early", seen.id, (due - entry.at) / 1_000));
    }
    None
}
