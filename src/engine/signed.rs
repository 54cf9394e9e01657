//! Signed decisions of the last accepted load: given to the tasks of their targets, which go on as they are.

use std::sync::Arc;

use crate::engine::shared::Shared;
use crate::engine::shared::lock;
use crate::engine::worker::Message;
use crate::manifest::Documents;

/// Takes the signed words of a load that was accepted, and tells the targets whose words are others.
pub(crate) fn take(shared: &Shared, documents: &Documents) {
    if *shared.signed.load_full() == documents.signed {
        return;
    }
    let before = shared.signed.swap(Arc::new(documents.signed.clone()));
    for (name, handle) in &*lock(&shared.handles) {
        if before.get(name) != documents.signed.get(name) {
            // A worker that ended has nobody left to tell.
            drop(handle.sender.send(Message::Signed));
        }
    }
}
