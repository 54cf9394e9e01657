//! Requests of one target: what waits for a person, what people said, and what time does to it (L12).
//!
//! # Guarantees
//! - This task alone changes the requests of its target, one word after another, each committed before
//!   it is answered for: two people at once cannot decide differently.
//! - What needs a person's word passes no plan and no call without one that stands.

mod book;
mod words;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::Utc;
use tokio::time::Instant;

use crate::engine::shared::lock;
use crate::engine::worker::Worker;
use crate::engine::worker::full::Speaks;
use crate::engine::worker::turns::Turned;
use crate::model::audit::AuditEvent;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::link::Space;
use crate::model::plan::Plan;
use crate::model::projection::Desired;
use crate::model::request::Asked;
use crate::model::request::Request;
use crate::model::request::RequestState;
use crate::model::request::Subject;
use crate::model::snapshot::Snapshot;
use crate::model::user::User;
use crate::plan::verdict;
use crate::plan::verdict::Moment;
use crate::plan::verdict::ages::Lapsed;
use crate::plan::weigh;
use crate::plan::weigh::News;
use crate::plan::weigh::Scales;
use crate::store::StoreError;
use crate::store::Write;

pub(super) use crate::engine::worker::requests::book::Book;
pub(super) use crate::engine::worker::requests::book::Key;

/// A request as it is kept.
pub(super) fn put(space: &Space, request: &Request) -> Write {
    let (record, subject) = (request.record.clone(), request.subject.clone());
    Write::Request(space.clone(), record, subject, Some(Box::new(request.clone())))
}

impl Worker {
    fn moment(&self) -> Moment {
        Moment { wall: self.shared.now(), window: self.shared.window_now() }
    }

    /// Reads what the store knows, once, or again where it may have taken what it did not answer for.
    pub(super) async fn read_requests(&mut self) -> Result<(), StoreError> {
        if self.requests.read {
            return Ok(());
        }
        let rows = self.shared.store.requests(&self.handle.target.name).await?;
        let mut book = Book::new(&self.handle.target);
        for (space, request) in rows {
            book.put(&space, request);
        }
        self.writes.iter().for_each(|write| book.apply(write));
        book.read = true;
        self.requests = book;
        self.realign_requests();
        Ok(())
    }

    /// Lets what waits wait for the levels as they are: each change of the document begins a task that reads anew.
    fn realign_requests(&mut self) {
        let Some(approval) = self.requests.keeper.approval().filter(|_| !self.handle.unaccepted).cloned() else {
            return;
        };
        let now = self.moment();
        for key in self.requests.waiting_keys() {
            let waits = self.requests.rows.get(&key);
            let Some(request) = waits.and_then(|request| verdict::levels::realigned(&approval, request, now)) else {
                continue;
            };
            self.writes
                .extend([put(&key.0, &request), Write::Audit(self.request_event("request-realigned", &request))]);
            self.requests.put(&key.0, request);
        }
    }

    /// Takes what waits for a person's word out of a plan, and asks for it where nobody did.
    pub(super) fn gated(&mut self, plan: Plan) -> Plan {
        let (Some(place), Some(snapshot)) = (&self.place, self.snapshot.clone()) else { return plan };
        if self.asks_nobody() {
            return plan;
        }
        let space = place.space.clone();
        if !self.may_write() || self.handle.unaccepted {
            // Nobody is asked about what would not be done anyway.
            return self.weighing(&snapshot, &space, |scales| scales.show(plan));
        }
        let (plan, news) = self.weighing(&snapshot, &space, |scales| scales.sift(plan));
        for news in news {
            self.take_news(&space, news);
        }
        plan
    }

    fn take_news(&mut self, space: &Space, news: News) {
        match news {
            News::Request(mut request) => {
                self.read_teams();
                let key = (space.clone(), request.record.clone(), request.subject.clone());
                let known = self.requests.rows.get(&key).cloned();
                let same = known.as_ref().is_some_and(|known| known.id == request.id);
                let (kind, turned) = match request.state {
                    RequestState::Accepted => (Some("request-accepted"), Some(Turned::Over("request.accepted"))),
                    _ if same => (None, None),
                    RequestState::Pending | RequestState::Refused | RequestState::Expired => {
                        (Some("request"), Some(Turned::Asked("request.asked")))
                    }
                };
                // More is asked for than those who were told of it know.
                if let Some(known) = known.filter(|_| !same) {
                    self.tell_withdrawn(space, known);
                }
                let told = turned.map(|turned| self.turned(space, &mut request, turned));
                self.will_tell(told.unwrap_or_default());
                self.writes.push(put(space, &request));
                self.writes.extend(kind.map(|kind| Write::Audit(self.request_event(kind, &request))));
                self.requests.put(space, *request);
            }
            News::Forgotten(record, subject) => self.forget_request(&(space.clone(), record, subject)),
        }
    }

    /// Forgets a request that nobody needs to answer any more, or whose answer nobody needs.
    fn forget_request(&mut self, key: &Key) {
        let Some(request) = self.requests.take(key) else { return };
        let kind = if request.state == RequestState::Accepted { "request-lapsed" } else { "request-withdrawn" };
        let (space, record, subject) = key.clone();
        self.tell_withdrawn(&space, request.clone());
        self.writes
            .extend([Write::Request(space, record, subject, None), Write::Audit(self.request_event(kind, &request))]);
    }

    fn request_event(&self, kind: &str, request: &Request) -> AuditEvent {
        let entitlements = request.asked.entitlements.iter().map(|name| name.as_str().into()).collect();
        let mut details = BTreeMap::from([
            ("request".to_owned(), request.id.as_str().into()),
            ("subject".to_owned(), request.subject.word().into()),
            ("action".to_owned(), request.asked.action.as_str().into()),
            ("entitlements".to_owned(), serde_json::Value::Array(entitlements)),
            ("level".to_owned(), request.level.into()),
            ("state".to_owned(), request.state.as_str().into()),
        ]);
        let vote = request.votes.last().or(request.decided.as_ref());
        let reason = vote.and_then(|vote| vote.reason.clone()).map(|reason| ("reason".to_owned(), reason.into()));
        let by_rule = request.decided.as_ref().map(|vote| vote.by.clone()).filter(|by| by.starts_with("rule:"));
        details.extend(reason.filter(|_| matches!(kind, "request-accepted" | "request-refused" | "request-reopened")));
        AuditEvent {
            at: self.shared.now(),
            target: Some(self.handle.target.name.clone()),
            kind: kind.to_owned(),
            actor: by_rule.filter(|_| kind == "request-accepted").unwrap_or_else(|| "engine".to_owned()),
            record: Some(request.record.clone()),
            cycle: None,
            details,
        }
    }

    /// Whether nothing of a change waits for a person: the last look before its call.
    pub(super) fn has_word(&self, change: &Change) -> bool {
        self.left_of(change.clone()).as_ref() == Some(change)
    }

    /// Changes without what of them waits for a person.
    pub(super) fn without_waiting(&self, changes: Vec<Change>) -> Vec<Change> {
        changes.into_iter().filter_map(|change| self.left_of(change)).collect()
    }

    fn left_of(&self, change: Change) -> Option<Change> {
        let space = self.place.as_ref().map(|place| &place.space)?;
        if self.asks_nobody() {
            return Some(change);
        }
        self.weighing(self.snapshot.as_ref()?, space, |scales| scales.weigh(space, change).change)
    }

    /// What changes are weighed by here.
    fn weighing<T>(&self, snapshot: &Snapshot, space: &Space, weigh: impl FnOnce(&Scales<'_>) -> T) -> T {
        let book = &self.requests;
        weigh(&Scales {
            keeper: &book.keeper,
            known: &|record, subject| book.get(space, record, subject).cloned(),
            user: &|record| self.entitled(snapshot, record),
            now: self.moment(),
        })
    }

    /// Whether nothing here ever waits for a person.
    fn asks_nobody(&self) -> bool {
        self.requests.keeper.approval().is_none() && self.requests.rows.is_empty()
    }

    /// The user, where they should have something: for nobody else anybody is asked.
    fn entitled(&self, snapshot: &Snapshot, record: &RecordId) -> Option<User> {
        match self.table.desired(record) {
            Some(Desired::Account(_) | Desired::Conflict(_)) => snapshot.users.get(record),
            Some(Desired::None(_)) | None => None,
        }
    }

    /// What nobody wants any more of what a request asks for.
    fn lapsed(&self, request: &Request) -> Lapsed {
        match self.table.desired(&request.record) {
            Some(Desired::Account(projection)) => {
                verdict::ages::lapsed(request, true, |name| projection.entitlements.contains_key(name))
            }
            Some(Desired::Conflict(_)) => Lapsed::Nothing,
            Some(Desired::None(_)) | None => verdict::ages::lapsed(request, false, |_| false),
        }
    }

    /// Forgets requests for what nobody wants any more: of these users, or of all.
    pub(super) fn review_requests(&mut self, records: Option<&mut dyn Iterator<Item = &RecordId>>) {
        if self.requests.rows.is_empty() || self.snapshot.is_none() || self.handle.unaccepted {
            return;
        }
        let keys: Vec<Key> = match records {
            None => self.requests.rows.keys().cloned().collect(),
            Some(records) => records.flat_map(|record| self.requests.keys_of(record)).cloned().collect(),
        };
        for key in keys {
            match self.requests.rows.get(&key).map(|request| self.lapsed(request)) {
                None | Some(Lapsed::Nothing) => {}
                Some(Lapsed::All) => self.forget_request(&key),
                Some(Lapsed::Of(names)) => self.forget_entitlements(&key, &names),
            }
        }
    }

    /// Forgets of what was accepted with an account what its user should have no longer: where that
    /// comes back, somebody is asked about it.
    fn forget_entitlements(&mut self, key: &Key, names: &BTreeSet<EntitlementName>) {
        let Some(mut request) = self.requests.rows.get(key).cloned() else { return };
        for name in names {
            let asked = Asked { entitlements: [name.clone()].into(), ..request.asked.clone() };
            let lapsed = Request { subject: Subject::Grant(name.clone()), asked, ..request.clone() };
            self.writes.push(Write::Audit(self.request_event("request-lapsed", &lapsed)));
            request.asked.entitlements.remove(name);
        }
        self.writes.push(put(&key.0, &request));
        self.requests.put(&key.0, request);
    }

    /// Users whose documents differ and of whom something is asked, refused, or let through by a rule alone: what
    /// decides about that may be a field that no mapping shows.
    pub(super) fn asked_about(&self, edits: impl Iterator<Item = RecordId>) -> BTreeSet<RecordId> {
        let by_fields = |key: &Key| {
            let request = self.requests.rows.get(key);
            request.is_some_and(|request| request.state != RequestState::Accepted || request.waits_by_rule())
        };
        if self.requests.rows.is_empty() || self.handle.unaccepted {
            return BTreeSet::new();
        }
        edits.filter(|record| self.requests.keys_of(record).any(by_fields)).collect()
    }

    /// A plan shows that accounts have what was asked for: nobody needs to answer what waits, and what was
    /// accepted is there, whoever made it so.
    pub(super) fn review_asked(&mut self, plan: &Plan, speaks: Speaks<'_>) {
        if self.handle.unaccepted {
            return;
        }
        let (waiting, accepted) = (&self.requests.waiting, &self.requests.accepted);
        let asked = waiting.iter().chain(accepted).map(|(_, key)| key);
        let asked = asked.filter(|(at, of, _)| *at == plan.space && speaks.of(of));
        let synced = weigh::settled_by(plan, asked.map(|(_, of, _)| of).collect());
        let fits = |(at, of, _): &&Key| *at == plan.space && synced.contains(of);
        let over: Vec<_> = waiting.iter().map(|(_, key)| key).filter(fits).cloned().collect();
        let there: Vec<_> = accepted.iter().map(|(_, key)| key).filter(fits).cloned().collect();
        for key in over {
            self.forget_request(&key);
        }
        let now = self.shared.now();
        for key in there {
            if let Some(request) = self.requests.rows.get(&key).cloned() {
                let request = Request { done: Some(now), ..request };
                self.writes.push(put(&key.0, &request));
                self.requests.put(&key.0, request);
            }
        }
    }

    /// A declared rename moves what was asked and decided.
    pub(super) fn rename_requests(&mut self) {
        if self.requests.rows.is_empty() || self.handle.unaccepted {
            return;
        }
        let Some(snapshot) = self.snapshot.clone() else { return };
        let asked = |(old, _): &(&RecordId, &RecordId)| self.requests.keys_of(old).next().is_some();
        let renamed = snapshot.users.former().filter(asked).map(|(old, new)| (old.clone(), new.clone()));
        let renamed: BTreeMap<_, _> = renamed.collect();
        let moving = self.requests.rows.keys().filter(|(_, record, _)| renamed.contains_key(record));
        for key in moving.cloned().collect::<Vec<_>>() {
            let (space, old, subject) = &key;
            let Some(new) = renamed.get(old).filter(|_| !snapshot.users.contains_key(old)) else { continue };
            let there = (space.clone(), new.clone(), subject.clone());
            let stays = self.requests.rows.get(&there).map(|request| request.state.care());
            // Of two words the more careful one stands.
            if stays.is_some_and(|there| self.requests.rows.get(&key).is_some_and(|it| it.state.care() <= there)) {
                self.forget_request(&key);
                continue;
            }
            self.forget_request(&there);
            let Some(request) = self.requests.take(&key) else { continue };
            self.writes.push(Write::Request(space.clone(), old.clone(), subject.clone(), None));
            let request = Request { record: new.clone(), ..request };
            self.writes.extend([put(space, &request), Write::Audit(self.request_event("request-renamed", &request))]);
            self.requests.put(space, request);
        }
    }

    /// What was accepted is confirmed by the target.
    pub(super) fn request_done(&mut self, change: &Change) {
        let Some(space) = self.place.as_ref().map(|place| place.space.clone()) else { return };
        if self.requests.accepted.is_empty() {
            return;
        }
        let now = self.shared.now();
        let account = matches!(change.action, Action::Create | Action::Adopt | Action::Reactivate | Action::Restore);
        for request in self.requests.of(&space, &change.record) {
            let given = match &request.subject {
                Subject::Account => account,
                Subject::Grant(name) => change.grant.iter().any(|entry| entry.name.as_ref() == Some(name)),
            };
            let Some(vote) = request.decided.clone() else { continue };
            if given && request.state == RequestState::Accepted && request.done.is_none() {
                self.metrics.asked.done((now - vote.at).to_std().unwrap_or_default());
                let request = Request { done: Some(now), ..request };
                self.writes.push(put(&space, &request));
                self.requests.put(&space, request);
            }
        }
    }

    /// Lets time do to requests what documents say it does.
    pub(super) fn pass_time_of_requests(&mut self) {
        let Some(approval) = self.requests.keeper.approval().filter(|_| !self.handle.unaccepted).cloned() else {
            return;
        };
        let now = self.moment();
        while let Some((_, key)) = self.requests.due.first().cloned().filter(|(due, _)| *due <= now.window) {
            let passed = self.requests.rows.get(&key).and_then(|request| verdict::ages::pass(&approval, request, now));
            let Some((request, passed)) = passed else {
                self.requests.due.pop_first();
                continue;
            };
            self.requests.heeded = false;
            let user = self.snapshot.as_ref().and_then(|snapshot| snapshot.users.get(&request.record));
            let mut request = self.requests.keeper.marked(request, user.as_ref());
            let space = &key.0;
            self.read_teams();
            let told = self.passed(space, &mut request, &passed);
            self.will_tell(told);
            self.writes.push(put(space, &request));
            passed
                .iter()
                .filter(|what| **what == verdict::ages::Passed::Reminded)
                .for_each(|_| self.metrics.asked.reminded());
            let events = passed.iter().map(|what| Write::Audit(self.request_event(what.event(), &request)));
            let events: Vec<_> = events.collect();
            self.writes.extend(events);
            self.requests.put(space, request);
        }
    }

    /// When time does something to a request next.
    pub(super) fn next_request(&self) -> Option<Instant> {
        let (due, _) = self.requests.due.first().filter(|_| !self.handle.unaccepted)?;
        Some(Instant::now() + (*due - self.shared.window_now()).to_std().unwrap_or_default())
    }

    /// Tells status and metrics how many requests wait, and how long.
    pub(super) fn publish_requests(&self) {
        let now = self.shared.now();
        let age =
            |at: Option<&(DateTime<Utc>, Key)>| at.and_then(|(at, _)| (now - *at).to_std().ok()).unwrap_or_default();
        let (waiting, accepted) = (&self.requests.waiting, &self.requests.accepted);
        self.metrics.asked.set_pending(waiting.len(), age(waiting.first()));
        let late = self.requests.keeper.approval().map_or(0, |approval| {
            let late = |at: &DateTime<Utc>| (now - *at).to_std().is_ok_and(|age| age > approval.within);
            accepted.iter().take_while(|(at, _)| late(at)).count()
        });
        self.metrics.asked.set_accepted(age(accepted.first()), late);
        // Until they are read, what the store said when this task began is what is known.
        if self.requests.is_read() {
            lock(&self.handle.status).requests = waiting.len();
        }
    }
}
