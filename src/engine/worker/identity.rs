//! Who was who, as the worker keeps it beside its links.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::identity;
use crate::engine::worker::Worker;
use crate::engine::worker::cycles::Settled;
use crate::engine::worker::keyed::Dirty;
use crate::model::audit::AuditEvent;
use crate::model::change::Action;
use crate::model::history::Trigger;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::projection::Desired;
use crate::plan::Known;
use crate::store::Write;

impl Worker {
    /// Compares users with identity history: `records`, or everybody.
    pub(super) fn review_identities(&mut self, records: Option<&BTreeSet<RecordId>>) {
        let (Some(snapshot), Some(place)) = (self.snapshot.clone(), self.place.as_mut()) else { return };
        let now = self.shared.clock.now();
        let links = Arc::clone(&place.links);
        let reviewed = place.identities.review(&snapshot, &links, records, now);
        let space = place.space.clone();
        self.writes.extend(reviewed.rows.into_iter().map(|row| Write::Identity(space.clone(), row)));
        // Whether somebody who is gone was renamed decides what becomes of the account.
        for record in reviewed.concerned {
            self.touched.insert(record.clone());
            let cycle = self.queue.remove(&record).map(|entry| entry.cycle);
            self.await_look(&record, Dirty { cycle, ..Dirty::now(Trigger::Manifest, now) });
        }
    }

    /// Remembers that a user has an account, and who the user is.
    pub(super) fn note_identity(&mut self, record: &RecordId, account: &AccountId) {
        let Some(place) = self.place.as_mut() else { return };
        let user = self.snapshot.as_ref().and_then(|snapshot| snapshot.users.get(record));
        let row = place.identities.note(record, account, user.as_ref(), self.shared.clock.now());
        let space = place.space.clone();
        self.writes.extend(row.map(|row| Write::Identity(space, row)));
    }

    /// An account was disabled: who comes back after that is asked about again.
    pub(super) fn note_ended(&mut self, record: &RecordId, action: Action) {
        if let Some(place) = self.place.as_mut().filter(|_| action == Action::Disable) {
            place.identities.left(record);
        }
    }

    /// Reads again whom people gave their accounts back.
    pub(super) async fn read_regained(&mut self) {
        let Some((space, links)) = self.place.as_ref().map(|place| (place.space.clone(), Arc::clone(&place.links)))
        else {
            return;
        };
        let store = Arc::clone(&self.shared.store);
        let read = identity::regained(&*store, &space, &links).await;
        if let (Some(regained), Some(place)) = (self.note(read), self.place.as_mut()) {
            place.identities.set_regained(regained);
        }
    }

    /// What plans must know of who was who.
    pub(super) fn known(&self) -> Option<Known> {
        let (place, snapshot) = (self.place.as_ref()?, self.snapshot.as_ref()?);
        let wants =
            |record: &RecordId| matches!(self.table.desired(record), Some(Desired::Account(_) | Desired::Conflict(_)));
        Some(place.identities.known(snapshot, &place.links, wants))
    }

    /// A declared rename moves the link.
    ///
    /// An account whose creation is under way, or whose end nobody knows, is moved when it is known.
    pub(super) fn move_renamed(&mut self) {
        self.rename_recalled();
        let (Some(snapshot), Some(place)) = (self.snapshot.clone(), self.place.as_mut()) else { return };
        let now = self.shared.now();
        let mut marked = Vec::new();
        let links = &place.links;
        let waits = |(old, new): &(&RecordId, &RecordId)| links.contains_key(*old) && !links.contains_key(*new);
        let moving: BTreeSet<_> = snapshot.users.former().filter(waits).map(|(_, new)| new.clone()).collect();
        for user in moving.iter().filter_map(|record| snapshot.users.get(record)) {
            let record = &user.id;
            let old = user.formerly.iter().find(|old| {
                place.links.contains_key(*old) && !snapshot.users.contains_key(old) && !place.links.contains_key(record)
            });
            let Some(old) = old else { continue };
            let Some(mut link) = place.take_link(old) else { continue };
            self.owed.rename(old, record);
            if let Some(beside) = self.standing.beside.remove(old) {
                self.standing.beside.insert(record.clone(), beside);
            }
            link.record = record.clone();
            place.put_link(link.clone());
            let event = AuditEvent {
                at: now,
                target: Some(place.space.target.clone()),
                kind: "rename".to_owned(),
                actor: "engine".to_owned(),
                record: Some(record.clone()),
                cycle: None,
                details: BTreeMap::from([("formerly".to_owned(), old.as_str().into())]),
            };
            self.writes.extend([
                Write::Unlink(place.space.clone(), old.clone()),
                Write::Link(place.space.clone(), link),
                Write::Audit(event),
            ]);
            marked.push((old.clone(), record.clone()));
        }
        for (old, record) in marked {
            // Whoever waits for the old record id waits for nobody now, save for the end of a call that
            // was made under it.
            if !self.open.contains_key(&old)
                && let Some(cycle) = self.dirty.remove(&old).and_then(|dirty| dirty.cycle)
            {
                self.settle(&cycle, &old, Settled::Through);
            }
            self.await_look(&record, Dirty::now(Trigger::Manifest, now));
        }
    }
}
