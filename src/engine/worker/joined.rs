//! Whose turn an open request became by what documents say: another label of its user, another member of a team, other
//! levels, another configuration.
//!
//! # Guarantees
//! - Each of them is told once, in the commit that remembers it, and those who were told are not told again.
//! - What did not leave yet to those whose turn it is no more never does.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::engine::turns;
use crate::engine::turns::Reader;
use crate::engine::turns::Why;
use crate::engine::worker::Worker;
use crate::engine::worker::requests::Key;
use crate::engine::worker::requests::put;
use crate::engine::worker::turns::void;
use crate::model::ids::MessageId;
use crate::model::ids::RecordId;
use crate::model::message::MAIL;
use crate::model::request::Request;
use crate::model::request::RequestState;
use crate::store::Write;

/// Of which requests nobody looked yet whose turn they became.
#[derive(Debug, Default)]
pub(super) enum Unheard {
    /// Of any: this process just read them, or teams are others.
    #[default]
    All,
    /// Of those of these users.
    Of(BTreeSet<RecordId>),
}

impl Unheard {
    /// The documents of these users are others.
    pub(super) fn of(&mut self, records: &BTreeSet<RecordId>) {
        if let Self::Of(known) = self {
            known.extend(records.iter().cloned());
        }
    }
}

impl Worker {
    /// Tells whose turn it became since the last look.
    pub(super) fn tell_joined(&mut self) {
        let tells = self.shared.post.get().is_some_and(|post| post.channels.contains_key(MAIL));
        if !tells || !self.requests.is_read() || self.snapshot.is_none() || self.handle.unaccepted {
            return;
        }
        self.read_teams();
        // Whose validity begins joins their team then, and no document says so at that moment.
        if self.teams.turned(self.shared.now()) {
            self.requests.unheard = Unheard::All;
        }
        let keys = match std::mem::replace(&mut self.requests.unheard, Unheard::Of(BTreeSet::new())) {
            Unheard::All => self.requests.waiting_keys(),
            Unheard::Of(records) => records.iter().flat_map(|record| self.requests.keys_of(record)).cloned().collect(),
        };
        let environment = self.handle.target.environment.clone();
        for key in keys.iter().filter(|(space, ..)| space.environment == environment) {
            self.tell_those_who_joined(key);
        }
    }

    fn tell_those_who_joined(&mut self, key: &Key) {
        let (space, record, subject) = key;
        let request = self.requests.get(space, record, subject);
        let Some(mut request) = request.filter(|request| request.state == RequestState::Pending).cloned() else {
            return;
        };
        let now = self.shared.now();
        let mut readers = self.readers(&request, now);
        let marks: BTreeSet<String> = readers.keys().map(|mail| turns::mark(mail)).collect();
        let (told, gone): (BTreeSet<MessageId>, BTreeSet<MessageId>) =
            request.told.iter().cloned().partition(|id| marks.contains(turns::mark_of(id)));
        let heard: BTreeSet<&str> = told.iter().map(turns::mark_of).collect();
        readers.retain(|mail, _| !heard.contains(turns::mark(mail).as_str()));
        let mut writes: Vec<Write> = gone.into_iter().map(|id| void(id, now)).collect();
        let (put_out, joined) = self.mails_to_joined(&request, readers);
        if writes.is_empty() && put_out.is_empty() {
            return;
        }
        request.told = told.into_iter().chain(joined).collect();
        writes.extend(put_out);
        writes.push(put(space, &request));
        self.will_tell(writes);
        self.requests.put(space, request);
    }

    /// One who comes back is told again: the id is that of the moment.
    fn mails_to_joined(&self, request: &Request, readers: BTreeMap<String, Reader>) -> (Vec<Write>, Vec<MessageId>) {
        let now = self.shared.now();
        let without = || self.readers(&Request { escalated: false, ..request.clone() }, now);
        let early = if request.escalated { without() } else { readers.clone() };
        let (mut writes, mut told) = (Vec::new(), Vec::new());
        for (address, reader) in readers {
            let why = match request.level {
                _ if !early.contains_key(&address) => Why::Escalation,
                0 => Why::New,
                _ => Why::Turn,
            };
            let id = format!("joined{:x}", now.timestamp_millis());
            let Some((id, write)) = self.mail_to(request, (why, &id), &reader, now) else { continue };
            told.push(id);
            writes.push(write);
        }
        (writes, told)
    }
}
