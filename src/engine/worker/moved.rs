//! Another place behind the same target: the credential reports a realm that it did not report
//! before. Nothing that was planned, looked up or begun in the one counts in the other (L13).

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connector::Probe;
use crate::engine::queue::Queue;
use crate::engine::shared::Running;
use crate::engine::worker::Worker;
use crate::engine::worker::absent::Absences;
use crate::engine::worker::blocked::Blocked;
use crate::engine::worker::deletion::Waits;
use crate::engine::worker::echo::Echoes;
use crate::engine::worker::full::FullRequest;
use crate::engine::worker::hands::Contradictions;
use crate::model::history::Standing;
use crate::model::history::Trigger;
use crate::model::ids::Realm;
use crate::model::link::Space;

impl Worker {
    /// Forgets what was under way in the place that is left: the store has its links, open calls and
    /// what it left undone, for the day when the place is come back to.
    pub(super) fn leave_place(&mut self) {
        self.yield_realm();
        let Some(place) = self.place.take() else { return };
        let Space { target, realm, .. } = &place.space;
        tracing::warn!(%target, %realm, "the credential reports another realm: what waited for this one stays there");
        let why = "the credential reports another realm now; what waited for the former one was put aside";
        self.turn_away(why);
        for cycle in self.cycles.keys().cloned().collect::<Vec<_>>() {
            self.end_cycle(&cycle, Some(why.to_owned()));
        }
        (self.queue, self.dirty, self.touched) = (Queue::default(), BTreeMap::new(), std::collections::BTreeSet::new());
        (self.looks, self.full) = (JoinSet::new(), JoinSet::new());
        self.looking.clear();
        self.looking_lanes.clear();
        self.open.clear();
        self.behind.clear();
        self.proves_from.clear();
        self.late.clear();
        self.away.leave();
        self.contradictions = Contradictions::default();
        self.doubtful.clear();
        self.waits = Waits::default();
        self.blocked = Blocked::default();
        self.absences = Absences::default();
        self.unprovable.clear();
        self.left_to_listing.clear();
        let owed = std::mem::take(&mut self.owed).writes(&place.space);
        self.writes.extend(owed);
        self.held_seen.clear();
        self.echoes = Echoes::default();
        self.standing = Standing::default();
        (self.failed_listings, self.list_after) = (0, None);
        if self.running == Running::Daemon {
            self.full_requests.push(FullRequest::of(Trigger::Startup));
        }
    }
}

/// Why nothing is listed, where the credential is somewhere else than the plan is made for.
pub(super) fn elsewhere(probe: &Probe, realm: &Realm) -> Option<ConnectorError> {
    let message = format!(
        "the credential reports realm `{}` where it reported `{realm}`; rosterd starts with what it knows of the new one",
        probe.realm
    );
    (probe.realm != *realm).then_some(ConnectorError { class: ErrorClass::Door, message, retry_after: None })
}
