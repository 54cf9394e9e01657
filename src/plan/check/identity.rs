//! Laws about who was who.

use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::ids::RecordId;
use crate::model::projection::Desired;
use crate::model::target::Regain;
use crate::plan::check::Facts;
use crate::plan::check::each;
use crate::plan::check::silence;

/// No account that was another's is taken, and no record id that went to somebody else gets
/// anything (L10): both wait for a person.
pub(super) fn nothing_of_anothers(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    each(changes, |change| {
        // A mail that is switched off with the access gives nobody anything.
        let gives = change.effect != Effect::Narrows && !silence::is_all(change, facts);
        if gives && facts.known.reused.contains(&change.record) {
            return Some("writes something for a record id that may be somebody else's by now");
        }
        let formerly = match facts.desired.get(&change.record) {
            Some(Desired::Account(projection)) => projection.formerly.as_slice(),
            Some(Desired::None(_) | Desired::Conflict(_)) | None => &[],
        };
        let account = change.account.as_ref().filter(|_| change.action == Action::Adopt)?;
        let anothers = facts.known.history.was_anothers(account, &change.record, formerly);
        anothers.then_some("takes an account that was another's")
    })
}

/// Where one user may be another under a new record id, neither gets a second account nor loses the
/// first by inference (L1, L2).
pub(super) fn no_rename_is_guessed(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    let gone = |record: &RecordId| facts.known.renamed.values().any(|old| old.contains_key(record));
    each(changes, |change| {
        let taken = matches!(change.action, Action::Create | Action::Adopt);
        if taken && facts.known.renamed.contains_key(&change.record) {
            return Some("gives an account to somebody who may have one under an earlier record id");
        }
        let inferred = change.cause == Some(Cause::Inferred) && !facts.desired.contains_key(&change.record);
        (inferred && gone(&change.record)).then_some("takes access because of a rename that nobody declared")
    })
}

/// `regain: ask`: nobody whose account rosterd ended comes back without a person's word. What another hand
/// ended has rules of its own.
pub(super) fn regain_is_asked_for(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    let asks = facts.target.account.regain == Regain::Ask;
    each(changes, |change| {
        let gives_back = matches!(change.action, Action::Reactivate | Action::Restore);
        let ours = facts.links.get(&change.record).is_some_and(|link| link.disabled_by_us);
        let said = facts.known.regained.contains(&change.record);
        (asks && gives_back && ours && !said).then_some("gives an account back that a person was to be asked about")
    })
}
