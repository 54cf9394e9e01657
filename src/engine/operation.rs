//! From a change of a plan to one write of the connector.

use std::sync::Arc;

use crate::connector::Operation;
use crate::model::account::Account;
use crate::model::change::Action;
use crate::model::change::Change;

/// The write that makes `change` true of the account `seen`.
///
/// `None` where a change of an existing account comes without the account: there is nothing to
/// compare a write with, so none is made.
pub fn operation(change: &Change, seen: Option<&Arc<Account>>) -> Option<Operation> {
    let set = change.fields.iter().filter_map(|field| Some((field.path.clone(), field.after.clone()?))).collect();
    if change.action == Action::Create {
        return Some(Operation::Create { values: set, memberships: change.granted() });
    }
    if change.action == Action::Delete {
        return Some(Operation::Delete { seen: Arc::clone(seen?) });
    }
    let cleared = change.fields.iter().filter(|field| field.after.is_none());
    Some(Operation::Update {
        seen: Arc::clone(seen?),
        set,
        clear: cleared.map(|field| field.path.clone()).collect(),
        active: change.active,
        add: change.granted(),
        remove: change.revoked(),
    })
}
