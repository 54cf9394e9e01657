//! What is known of the requests of a target, found by user, by name, by age and by what time does to them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::Utc;

use crate::engine::requests::keeper;
use crate::engine::worker::joined::Unheard;
use crate::model::approval::Approval;
use crate::model::ids::RecordId;
use crate::model::ids::RequestId;
use crate::model::link::Space;
use crate::model::request::Request;
use crate::model::request::RequestState;
use crate::model::request::Subject;
use crate::model::target::Target;
use crate::plan::gate::Gatekeeper;
use crate::plan::verdict;
use crate::store::Write;

/// A user and a subject in one place.
pub(in crate::engine::worker) type Key = (Space, RecordId, Subject);

/// What is known of the requests of a target.
#[derive(Default)]
pub(in crate::engine::worker) struct Book {
    pub(super) keeper: Gatekeeper,
    pub(super) rows: BTreeMap<Key, Request>,
    /// How many each place has.
    places: BTreeMap<Space, usize>,
    /// Names of requests.
    pub(super) names: BTreeMap<RequestId, Key>,
    /// Those that wait, oldest first.
    pub(super) waiting: BTreeSet<(DateTime<Utc>, Key)>,
    /// Those that were accepted and are not done, oldest acceptance first.
    pub(super) accepted: BTreeSet<(DateTime<Utc>, Key)>,
    /// When time does something to one next.
    pub(super) due: BTreeSet<(DateTime<Utc>, Key)>,
    /// Whether the rows are those of the store.
    pub(super) read: bool,
    /// Whether signed words were looked at since.
    pub(in crate::engine::worker) heeded: bool,
    /// Of which requests nobody looked yet whose turn they became.
    pub(in crate::engine::worker) unheard: Unheard,
}

impl Book {
    pub(in crate::engine::worker) fn new(target: &Target) -> Self {
        Self { keeper: keeper(target), ..Self::default() }
    }

    /// Whether it holds what the store does.
    pub(in crate::engine::worker) fn is_read(&self) -> bool {
        self.read
    }

    /// The request of a name, and where.
    pub(in crate::engine::worker) fn named(&self, id: &RequestId) -> Option<(&Space, &Request)> {
        let key = self.names.get(id)?;
        Some((&key.0, self.rows.get(key)?))
    }

    /// Who decides, as the document says.
    pub(in crate::engine::worker) fn approval(&self) -> Approval {
        self.keeper.approval().cloned().unwrap_or_else(Approval::ungated)
    }

    /// Those that wait, oldest first.
    pub(in crate::engine::worker) fn waiting_keys(&self) -> Vec<Key> {
        self.waiting.iter().map(|(_, key)| key.clone()).collect()
    }

    pub(in crate::engine::worker) fn get(
        &self,
        space: &Space,
        record: &RecordId,
        subject: &Subject,
    ) -> Option<&Request> {
        if self.rows.is_empty() {
            return None;
        }
        self.rows.get(&(space.clone(), record.clone(), subject.clone()))
    }

    /// Every request of a user, wherever.
    pub(in crate::engine::worker) fn keys_of(&self, record: &RecordId) -> impl Iterator<Item = &Key> {
        let record = record.clone();
        self.places.keys().flat_map(move |space| {
            let (from, record) = ((space.clone(), record.clone(), Subject::Account), record.clone());
            let mine = self.rows.range(from..).map(|(key, _)| key);
            mine.take_while(move |(at, of, _)| at == space && *of == record)
        })
    }

    /// Every request of a user in a place.
    pub(super) fn of(&self, space: &Space, record: &RecordId) -> Vec<Request> {
        let from = (space.clone(), record.clone(), Subject::Account);
        let mine = self.rows.range(from..).take_while(|((at, of, _), _)| at == space && of == record);
        mine.map(|(_, request)| request.clone()).collect()
    }

    pub(in crate::engine::worker) fn put(&mut self, space: &Space, request: Request) {
        let key = (space.clone(), request.record.clone(), request.subject.clone());
        self.take(&key);
        match (request.state, &request.decided) {
            (RequestState::Pending, _) => drop(self.waiting.insert((request.since, key.clone()))),
            (RequestState::Accepted, Some(vote)) if request.done.is_none() => {
                self.accepted.insert((vote.at, key.clone()));
            }
            _ => {}
        }
        if let Some(due) = self.keeper.approval().and_then(|approval| verdict::ages::due(approval, &request)) {
            self.due.insert((due, key.clone()));
        }
        self.names.insert(request.id.clone(), key.clone());
        *self.places.entry(space.clone()).or_default() += 1;
        self.rows.insert(key, request);
    }

    pub(super) fn take(&mut self, key: &Key) -> Option<Request> {
        let request = self.rows.remove(key)?;
        self.names.remove(&request.id);
        if let Some(count) = self.places.get_mut(&key.0) {
            *count -= 1;
        }
        self.waiting.remove(&(request.since, key.clone()));
        if let Some(vote) = &request.decided {
            self.accepted.remove(&(vote.at, key.clone()));
        }
        if let Some(due) = self.keeper.approval().and_then(|approval| verdict::ages::due(approval, &request)) {
            self.due.remove(&(due, key.clone()));
        }
        Some(request)
    }

    pub(super) fn apply(&mut self, write: &Write) {
        if let Write::Request(space, record, subject, request) = write {
            match request {
                Some(request) => self.put(space, Request::clone(request)),
                None => drop(self.take(&(space.clone(), record.clone(), subject.clone()))),
            }
        }
    }
}
