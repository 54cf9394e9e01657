//! What goes on when a target refuses a change for good.

use std::collections::VecDeque;

use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::list::List;

/// The changes of a user that go on after `refused`; empty where none does.
///
/// Access does not wait for an attribute: a grant goes on behind a refused field, and a returner
/// gets in without the fields that came along. What is left undone is planned again and told.
pub(super) fn goes_on(refused: &Change, waiting: &VecDeque<Change>) -> VecDeque<Change> {
    let returns = matches!(refused.action, Action::Reactivate | Action::Restore);
    if returns && !refused.fields.is_empty() {
        let bare = Change { fields: List::default(), ..refused.clone() };
        return std::iter::once(bare).chain(waiting.iter().cloned()).collect();
    }
    if refused.effect == Effect::Neutral { waiting.clone() } else { VecDeque::new() }
}
