//! Other hands: what looks and answers teach of them, kept for later plans.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use tokio::time::Instant;

use crate::engine::shared::Running;
use crate::engine::worker::Worker;
use crate::engine::worker::keyed::Dirty;
use crate::model::account::Account;
use crate::model::audit::AuditEvent;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::hand::Hand;
use crate::model::history::Trigger;
use crate::model::ids::AccountId;
use crate::model::ids::CycleId;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::path::AttributePath;
use crate::model::plan::Plan;
use crate::model::plan::SkipReason;
use crate::model::projection::Desired;
use crate::model::target::ForeignDelete;
use crate::plan::notes::Note;
use crate::plan::silence;
use crate::store::Write;

/// Read-backs of one written value that contradict it before the attribute is the target's own.
pub(super) const CONTRADICTIONS: u32 = 2;

/// The least time between two looks that together prove an absence.
const LOOKS_APART: Duration = Duration::from_secs(5);

/// Attributes that say what an account may do: never left to the target.
const NEVER_GIVEN_UP: [&str; 4] = ["active", "roles", "groups", "entitlements"];

/// Values that a target did not keep, and how often.
#[derive(Debug, Default)]
pub(super) struct Contradictions(BTreeMap<(RecordId, AttributePath), (serde_json::Value, u32)>);

impl Contradictions {
    /// Counts one more for this value; the sum so far.
    fn count(&mut self, record: &RecordId, path: &AttributePath, value: serde_json::Value) -> u32 {
        let (known, times) = self.0.entry((record.clone(), path.clone())).or_insert((value.clone(), 0));
        *times = if *known == value { times.saturating_add(1) } else { 1 };
        *known = value;
        *times
    }

    fn forget(&mut self, record: &RecordId, path: &AttributePath) {
        self.0.remove(&(record.clone(), path.clone()));
    }
}

impl Worker {
    /// Keeps what accounts that were just seen teach. `newer`: users of whom the plan may show
    /// yesterday's news.
    pub(super) fn take_notes(&mut self, notes: BTreeMap<RecordId, Note>, newer: &BTreeSet<RecordId>) {
        for (record, note) in notes {
            if newer.contains(&record) || self.in_flight.contains_key(&record) || !self.is_settled(&record) {
                continue;
            }
            let Some(link) = self.place.as_ref().and_then(|place| place.links.get(&record)).cloned() else { continue };
            if let Some(hand) = note.hand {
                self.put_hand(&link.account, hand);
            }
            if note.link.is_some_and(|noted| noted.account == link.account) && link.disabled_by_us {
                self.put_link(Link { disabled_by_us: false, ..link });
            }
        }
    }

    /// Whether a look shows what was last written: not sooner than `visibleWithin` after a write,
    /// or after the start of this process, which knows of no writes before it.
    fn is_settled(&self, record: &RecordId) -> bool {
        let visible = self.handle.connector.capabilities().visible_within;
        let last = self.written.get(record).copied().unwrap_or(self.born);
        visible.is_zero() || last.elapsed() >= visible
    }

    pub(super) fn put_link(&mut self, link: Link) {
        let Some(place) = self.place.as_mut() else { return };
        place.put_link(link.clone());
        self.writes.push(Write::Link(place.space.clone(), link));
    }

    pub(super) fn put_hand(&mut self, account: &AccountId, hand: Hand) {
        let Some(place) = self.place.as_mut() else { return };
        if place.put_hand(account, hand.clone()) {
            self.writes.push(Write::Hand(place.space.clone(), account.clone(), hand));
            self.count_target_controlled();
        }
    }

    /// Shows how many attributes targets keep for themselves.
    pub(super) fn count_target_controlled(&self) {
        let hands = self.place.iter().flat_map(|place| place.hands.values());
        self.metrics.set_target_controlled(hands.map(|hand| hand.given_up.len() as u64).sum());
    }

    /// What a call that ended an account, or opened it again, says of other hands.
    pub(super) fn note_call(&mut self, change: &Change, before: Option<&Account>, account: &AccountId) {
        if self.handle.connector.capabilities().visible_within.is_zero() {
            self.written.remove(&change.record);
        } else {
            self.written.insert(change.record.clone(), Instant::now());
        }
        let Some(place) = self.place.as_ref() else { return };
        let mut hand = place.hand(account);
        // Whatever opens or shuts the account, a wait for its deletion begins anew with the next look.
        hand.ended = hand.ended.filter(|_| change.active.is_none());
        match change.active {
            Some(true) => {
                hand = Hand { ended_over: None, deleted_by_us: false, regain: false, ..hand };
            }
            Some(false) => {
                // What another hand held shut is not rosterd's to open when it opens its own lock.
                let was = before.map(|before| before.state);
                hand.ended_over = was.filter(|state| !state.gives_access()).or(hand.ended_over);
            }
            None => hand.deleted_by_us |= change.action == Action::Delete,
        }
        self.put_hand(account, hand);
    }

    /// What a call is about to switch off with an access that ended goes into the commit of its intent,
    /// so that it is known when the user comes back.
    pub(super) fn remember_switches(&mut self, change: &Change) {
        let switched: BTreeMap<_, _> =
            silence::switched_off(&self.handle.target, change).map(|(path, was)| (path.clone(), was.clone())).collect();
        let back = matches!(self.table.desired(&change.record), Some(Desired::Account(_)));
        let Some(account) = change.account.as_ref().filter(|_| !switched.is_empty() && !back) else { return };
        let Some(mut hand) = self.place.as_ref().map(|place| place.hand(account)) else { return };
        hand.silenced.extend(switched);
        self.put_hand(account, hand);
    }

    /// What a look says of other hands that shows a call to be made of which nobody heard.
    ///
    /// The account may have been ended by another hand while the call was open: whose doing it is
    /// nobody knows, so it is not rosterd's to undo unasked (L17).
    pub(super) fn note_proven(&mut self, change: &Change, account: &Account) {
        self.note_call(change, None, &account.id);
        let Some(place) = self.place.as_ref() else { return };
        let hand = place.hand(&account.id);
        if change.active == Some(false) {
            let ended_over = hand.ended_over.or(Some(account.state));
            self.put_hand(&account.id, Hand { ended_over, ..hand });
        } else if change.action == Action::Delete {
            self.put_hand(&account.id, Hand { deleted_by_us: false, ..hand });
        }
    }

    /// Gives up attributes of which the read-backs of this write contradicted it again. Whether
    /// any was.
    pub(super) fn contradicted(&mut self, change: &Change, account: &AccountId, left: &[Change]) -> bool {
        let wanted = |path: &AttributePath| {
            let mut fields = left.iter().flat_map(|change| &change.fields);
            fields.find(|field| field.path == *path).map(|field| field.after.clone().unwrap_or_default())
        };
        let mut given_up = Vec::new();
        for field in &change.fields {
            let written = field.after.clone().unwrap_or_default();
            if wanted(&field.path).is_none_or(|wanted| wanted != written) {
                self.contradictions.forget(&change.record, &field.path);
                continue;
            }
            let times = self.contradictions.count(&change.record, &field.path, written.clone());
            if times >= CONTRADICTIONS && self.may_give_up(&field.path) {
                given_up.push((field.path.clone(), written));
            }
        }
        !given_up.is_empty() && self.leave_to_target(&change.record, account, given_up)
    }

    /// Whether an attribute may be left to the target at all.
    pub(super) fn may_give_up(&self, path: &AttributePath) -> bool {
        let is_mark = matches!(&self.handle.target.account.mark, crate::model::target::Mark::At(at) if at == path);
        may_be_given_up(path) && !is_mark
    }

    /// Gives these attributes up until other values are declared. `false`: nobody knows where.
    pub(super) fn leave_to_target(
        &mut self,
        record: &RecordId,
        account: &AccountId,
        given_up: Vec<(AttributePath, serde_json::Value)>,
    ) -> bool {
        let Some(mut hand) = self.place.as_ref().map(|place| place.hand(account)) else { return false };
        for (path, value) in given_up {
            tracing::warn!(
                target = %self.handle.target.name, record = %record, attribute = %path,
                "the target keeps this attribute for itself: it is left alone until another value is declared"
            );
            self.contradictions.forget(record, &path);
            let details = BTreeMap::from([("attribute".to_owned(), path.as_str().into())]);
            self.tell("given-up", record, details);
            hand.given_up.insert(path, value);
        }
        self.put_hand(account, hand);
        true
    }

    pub(super) fn tell(&mut self, kind: &str, record: &RecordId, details: BTreeMap<String, serde_json::Value>) {
        self.writes.push(Write::Audit(AuditEvent {
            at: self.shared.now(),
            target: Some(self.handle.target.name.clone()),
            kind: kind.to_owned(),
            actor: "engine".to_owned(),
            record: Some(record.clone()),
            cycle: None,
            details,
        }));
    }

    /// Follows accounts that are missing: a second look, later than `visibleWithin`, proves it;
    /// then the account is forgotten where it may be made anew, and the user planned as one
    /// without. `begun`: when each user's look began. `cycle`: the full one, which a command waits for; gives whom it
    /// waits for.
    pub(super) fn follow_missing(
        &mut self,
        plan: &Plan,
        begun: &BTreeMap<RecordId, Instant>,
        cycle: Option<&CycleId>,
    ) -> BTreeSet<RecordId> {
        let mut waited_for = BTreeSet::new();
        let missing = plan.skips.iter().filter(|skip| skip.reason == SkipReason::Vanished);
        for (record, account) in missing.filter_map(|skip| Some((&skip.record, skip.account.as_ref()?))) {
            let Some(place) = self.place.as_ref() else { return waited_for };
            let hand = place.hand(account);
            let anew = self.is_made_anew(&hand);
            // Who is to be out, and may still be in, is looked for until it is sure that nobody is there.
            let again = anew || self.may_still_be_in(record, &hand);
            if let Some(begun) = begun.get(record) {
                self.missing_again((record, account), hand, *begun, (again, anew));
            } else if again && !self.dirty.contains_key(record) {
                let cycle = cycle.filter(|_| anew && self.running == Running::Once).cloned();
                waited_for.extend(cycle.is_some().then(|| record.clone()));
                self.await_look(record, Dirty { cycle, ..Dirty::now(Trigger::Retry, self.shared.now()) });
            }
        }
        waited_for
    }

    /// Whether an account that is surely gone is made anew.
    fn is_made_anew(&self, hand: &Hand) -> bool {
        // A document that nobody accepted makes nothing anew; who is out by it is looked for all the same.
        let accepted = !self.handle.unaccepted;
        let recreates = self.handle.target.account.foreign_delete == ForeignDelete::Recreate;
        accepted && (recreates || hand.regain || self.may_be_our_deletion(hand))
    }

    /// Whether a cycle waits until it is: a person asked for that, or a command after which nobody goes on.
    fn is_waited_for(&self, hand: &Hand) -> bool {
        hand.regain || self.running == Running::Once
    }

    /// Users who are missing, and whose account is made anew, once that is proven, in the cycle that looks for them.
    pub(super) fn waited_for_among(&self, plan: &Plan) -> BTreeSet<RecordId> {
        let Some(place) = self.place.as_ref().filter(|_| self.may_write()) else { return BTreeSet::new() };
        let missing = plan.skips.iter().filter(|skip| skip.reason == SkipReason::Vanished);
        let is_waited_for = |account| {
            let hand = place.hand(account);
            self.is_made_anew(&hand) && self.is_waited_for(&hand)
        };
        let waited_for = missing.filter(|skip| skip.account.as_ref().is_some_and(is_waited_for));
        waited_for.map(|skip| skip.record.clone()).collect()
    }

    fn missing_again(
        &mut self,
        (record, account): (&RecordId, &AccountId),
        hand: Hand,
        begun: Instant,
        (again, anew): (bool, bool),
    ) {
        let now = self.shared.now();
        let waited_for = anew && self.is_waited_for(&hand);
        let cycle = if waited_for { self.dirty.remove(record).and_then(|dirty| dirty.cycle) } else { None };
        let since = hand.missing_since.unwrap_or(now).min(now);
        if let Some(due) = self.proves_absence_from(account, hand.missing_since, begun) {
            if again {
                let since = self.owed.since(record).unwrap_or(now);
                self.await_look(record, Dirty { cycle, due, ..Dirty::now(Trigger::Retry, since) });
            }
            self.put_hand(account, Hand { missing_since: Some(since), ..hand });
            return;
        }
        self.owed.pay(record);
        if anew {
            self.forget_account(record, account, cycle);
        } else {
            self.put_hand(account, Hand { missing: true, ..hand });
        }
    }

    /// From when on a look may begin that proves an absence, where the one that began at `begun` does not.
    fn proves_absence_from(
        &mut self,
        account: &AccountId,
        since: Option<DateTime<Utc>>,
        begun: Instant,
    ) -> Option<Instant> {
        let apart = self.looks_apart();
        let due = match (since, self.waits.missed.get(account)) {
            // Nobody sets the clock that counts from a look of this process.
            (Some(_), Some(first)) => *first + apart,
            (Some(since), None) if self.is_past(since, apart, begun) => begun,
            // It was seen meanwhile, or what an earlier process noted proves nothing yet.
            (Some(_) | None, _) => {
                self.waits.missed.insert(account.clone(), begun);
                begun + apart
            }
        };
        (begun < due).then_some(due)
    }

    /// Whether a look that began then was so much later than the moment that an earlier process noted.
    fn is_past(&self, since: DateTime<Utc>, apart: Duration, begun: Instant) -> bool {
        let earlier = TimeDelta::from_std(begun.elapsed()).ok();
        let at = earlier.and_then(|earlier| self.shared.now().checked_sub_signed(earlier));
        let due = TimeDelta::from_std(apart).ok().and_then(|apart| since.checked_add_signed(apart));
        at.zip(due).is_some_and(|(at, due)| at >= due)
    }

    /// How far apart two looks are of which the second proves an absence: a wrong answer may be given
    /// several times within a second.
    pub(super) fn looks_apart(&self) -> Duration {
        self.handle.connector.capabilities().visible_within.max(LOOKS_APART)
    }

    /// Whether a user without access may still be in by an account that a look did not show.
    pub(super) fn may_still_be_in(&self, record: &RecordId, hand: &Hand) -> bool {
        !hand.missing && self.running == Running::Daemon && self.may_write() && self.surely_narrows(record)
    }

    /// The account is surely gone, and may be made anew.
    fn forget_account(&mut self, record: &RecordId, account: &AccountId, cycle: Option<CycleId>) {
        let next = Dirty { cycle, ..Dirty::now(Trigger::Retry, self.shared.now()) };
        self.await_look(record, next);
        let Some(place) = self.place.as_mut() else { return };
        if place.links.get(record).is_none_or(|link| link.account != *account) {
            return;
        }
        let place_hand = place.hand(account);
        let gone = place.take_link(record);
        self.absences.gone(gone.as_ref());
        let space = place.space.clone();
        self.writes.extend([Write::Unlink(space.clone(), record.clone()), Write::Unseen(space, account.clone())]);
        let ours = self.may_be_our_deletion(&place_hand);
        let why = if ours {
            "a deletion that the target had taken was done late"
        } else {
            "another hand deleted it, and it may be made anew"
        };
        let details =
            BTreeMap::from([("account".to_owned(), account.as_str().into()), ("reason".to_owned(), why.into())]);
        self.tell("unlink", record, details);
        self.put_hand(account, Hand { gone, ..Hand::default() });
    }

    /// A person gave an account back: it is remembered until it was done.
    pub(super) fn regained(&mut self, account: &AccountId) {
        let Some(hand) = self.place.as_ref().map(|place| place.hand(account)) else { return };
        self.put_hand(account, Hand { regain: true, ..hand });
    }
}

fn may_be_given_up(path: &AttributePath) -> bool {
    let parts = path.parts();
    parts.schema.is_some() || !NEVER_GIVEN_UP.iter().any(|name| parts.attribute.eq_ignore_ascii_case(name))
}
