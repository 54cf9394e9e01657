//! What the laws allow of mails that are switched off with the access, and on again with it.

use serde_json::Value;

use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::change::FieldChange;
use crate::model::projection::Desired;
use crate::plan::check::Facts;

/// Whether a change does nothing but switch mails off, of a user who has no access.
pub(super) fn is_all(change: &Change, facts: &Facts<'_>) -> bool {
    let nothing_else = change.action == Action::Update && change.grant.is_empty() && change.active.is_none();
    nothing_else && !change.fields.is_empty() && change.fields.iter().all(|field| is_off(change, field, facts))
}

/// Whether a field switches a mail off, or back to what is remembered of it.
pub(super) fn is_switch(change: &Change, field: &FieldChange, facts: &Facts<'_>) -> bool {
    let hand = change.account.as_ref().and_then(|account| facts.hands.get(account));
    let known = hand.and_then(|hand| hand.silenced.get(&field.path));
    let back = known.is_some() && known == field.after.as_ref();
    let entitled = matches!(facts.desired.get(&change.record), Some(Desired::Account(_)));
    is_off(change, field, facts) || (back && entitled)
}

fn is_off(change: &Change, field: &FieldChange, facts: &Facts<'_>) -> bool {
    let out = !matches!(facts.desired.get(&change.record), Some(Desired::Account(_) | Desired::Conflict(_)));
    let listed = facts.target.account.notifications.contains(&field.path);
    let shut = facts.links.get(&change.record).is_some_and(|link| link.disabled_by_us);
    out && shut && listed && field.after == Some(Value::Bool(false))
}
