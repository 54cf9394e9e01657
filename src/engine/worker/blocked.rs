//! Accounts of leavers that stay open for a while, for what hangs on them (S4.5).
//!
//! # Guarantees
//! - They are looked at ever more rarely, and at once when a wait is over. Nobody who loses access waits for
//!   such a look, and where it shows nothing new nothing is planned from it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use tokio::time::Instant;

use crate::engine::look::Looked;
use crate::engine::shared::Running;
use crate::engine::worker::Worker;
use crate::engine::worker::keyed::Dirty;
use crate::model::history::Trigger;
use crate::model::ids::RecordId;
use crate::model::plan::SkipReason;
use crate::model::projection::Desired;
use crate::model::projection::NoAccessReason;
use crate::plan::blockers;
use crate::plan::states;

/// How often it is asked whose turn it is.
const EVERY: Duration = Duration::from_mins(1);
/// The longest time between two looks at one account: what hangs there may be gone.
const SELDOM: Duration = Duration::from_mins(5);

/// Who is waited for, and when each is looked at again.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    next: Option<Instant>,
    turns: BTreeMap<RecordId, Turn>,
    /// Whom nothing but their turn has looked at now.
    patient: BTreeSet<RecordId>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    due: Instant,
    pause: Duration,
    /// When it was asked last whether a wait was over.
    asked: DateTime<Utc>,
}

impl Blocked {
    /// Something else has the user looked at, and does not wait.
    pub(super) fn hurry(&mut self, record: &RecordId) {
        self.patient.remove(record);
    }
}

impl Worker {
    /// Looks again at accounts that stay open for what hangs on them: it may be gone, or the wait over.
    pub(super) fn mind_blocked(&mut self) {
        let early = self.blocked.next.is_some_and(|next| Instant::now() < next);
        if early || self.running != Running::Daemon || self.handle.target.account.blockers.is_empty() {
            return;
        }
        let (at, now) = (Instant::now(), self.shared.passed_now());
        self.blocked.next = Some(at + EVERY);
        let Some(place) = &self.place else { return };
        let mut turns = BTreeMap::new();
        let mut due = Vec::new();
        for (account, hand) in place.hands.iter().filter(|(_, hand)| hand.blocked.is_some()) {
            let Some(record) = place.by_account.get(account).filter(|_| hand.missing_since.is_none()) else { continue };
            let first = Turn { due: at + EVERY, pause: EVERY, asked: now };
            let turn = self.blocked.turns.get(record).copied().unwrap_or(first);
            let over = blockers::ended_since(&self.handle.target.account, hand, turn.asked, now);
            let free = !self.dirty.contains_key(record) && !self.is_busy(record);
            if over {
                // Also a look that is under way, or waits, is no longer one for nothing but the turn.
                self.blocked.patient.remove(record);
            }
            // Whoever is not free is asked about again: what is under way may have begun before the end.
            let mut turn = if over && !free { turn } else { Turn { asked: now, ..turn } };
            if free && (over || turn.due <= at) {
                turn = Turn { due: at + turn.pause, pause: (turn.pause * 2).min(SELDOM), ..turn };
                due.push((record.clone(), over));
            }
            turns.insert(record.clone(), turn);
        }
        self.blocked.turns = turns;
        for (record, over) in due {
            if !over {
                self.blocked.patient.insert(record.clone());
            }
            let since = self.owed.since(&record).unwrap_or_else(|| self.shared.now());
            self.await_look(&record, Dirty::now(Trigger::Retry, since));
        }
    }

    /// Whether the account of somebody who is out stays open for what hangs on it.
    pub(super) fn is_blocked(&self, record: &RecordId) -> bool {
        let place = self.place.as_ref();
        let hand = place.and_then(|place| place.hands.get(&place.links.get(record)?.account));
        hand.is_some_and(|hand| hand.blocked.is_some())
    }

    /// Whether a look that nothing but their turn asked for waits behind whoever may lose something.
    pub(super) fn waits_its_turn(&self, record: &RecordId) -> bool {
        self.blocked.patient.contains(record)
    }

    /// Whether such a look shows what was known: then what was planned stands, and nothing is planned anew.
    pub(super) fn still_blocked(&mut self, record: &RecordId, dirty: &Dirty, looked: &Looked) -> bool {
        let alone = self.blocked.patient.remove(record) && dirty.cycle.is_none();
        let Some(place) = self.place.as_ref().filter(|_| alone) else { return false };
        let Some(link) = place.links.get(record) else { return false };
        let Some(account) = looked.accounts.get(&link.account).filter(|_| looked.accounts.len() == 1) else {
            return false;
        };
        let (policy, hand) = (&self.handle.target.account, place.hand(&account.id));
        let told = blockers::told(policy, account).unwrap_or_default();
        let stands = |reason: &SkipReason| matches!(reason, SkipReason::Blocked(what) if what.contains(&told));
        let known = self.standing.skips.iter().any(|skip| skip.record == *record && stands(&skip.reason));
        let out = match self.table.desired(record) {
            None => true,
            Some(Desired::None(no)) => no.reason != NoAccessReason::Revoked,
            Some(Desired::Account(_) | Desired::Conflict(_)) => false,
        };
        let stripped = account.memberships.is_disjoint(&link.granted);
        let kept = blockers::open_until(policy, &hand, account, self.shared.passed_now()).is_some();
        let still = known && out && stripped && kept && hand.blocked.is_some() && states::is_open(link, account.state);
        if still {
            self.forget_failure(record);
        }
        still
    }
}
