//! A target whose document nobody accepted: the process started with a load that is held or refused,
//! and the document is not the one that was accepted last.
//!
//! # Guarantees
//! - Nothing is given, written or taken by inference from such a document (L1, L11).
//! - Who lost access by their own document, an end date or a person's word is taken out all the
//!   same: a broken file keeps no leaver in.

use std::collections::BTreeSet;

use crate::engine::worker::Worker;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::ids::CycleId;
use crate::model::ids::RecordId;

impl Worker {
    /// Whether a change may be made by the document that the worker has.
    pub(super) fn may_follow(&self, change: &Change) -> bool {
        let ended = change.takes_access() && change.cause == Some(Cause::Explicit);
        !self.handle.unaccepted || ended || change.is_revocation()
    }

    /// What to tell whoever asks why nothing else is done.
    pub(super) fn unaccepted_words(&self) -> Option<String> {
        let name = &self.handle.target.name;
        let words = || {
            format!(
                "the document of target `{name}` was changed and is not accepted yet: until it is, only access that a \
                 user's own document, an end date or a person ended is taken away; `rosterd status` says why the load \
                 is not accepted"
            )
        };
        self.handle.unaccepted.then(words)
    }

    /// Tells a cycle whose changes wait for that.
    pub(super) fn tell_unaccepted(&mut self, cycle: &CycleId, changes: &[Change]) {
        let Some(words) = self.unaccepted_words() else { return };
        let waits = changes.iter().filter(|change| !self.may_follow(change));
        let waits: BTreeSet<RecordId> = waits.map(|change| change.record.clone()).collect();
        for record in waits {
            self.fail_in(cycle, &record, &words);
        }
    }
}
