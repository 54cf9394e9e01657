//! People's words about requests of a target: taken one after another, each committed before it is answered for.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::engine::requests::Deciding;
use crate::engine::requests::ItemError;
use crate::engine::worker::Worker;
use crate::engine::worker::requests::Key;
use crate::engine::worker::requests::put;
use crate::engine::worker::turns::Turned;
use crate::model::audit::AuditEvent;
use crate::model::history::Trigger;
use crate::model::ids::RequestId;
use crate::model::plan::Skip;
use crate::model::plan::SkipReason;
use crate::model::request::Request;
use crate::model::request::RequestState;
use crate::model::request::Subject;
use crate::plan::verdict;
use crate::plan::verdict::Saying;
use crate::store::StoreError;
use crate::store::Write;

/// What is shown of a user follows what was said.
fn tell_state(skip: &mut Skip, subject: &Subject, now: RequestState) {
    if let SkipReason::Request { subject: about, state, .. } = &mut skip.reason
        && about == subject
    {
        *state = Some(now);
    }
}

impl Worker {
    /// Takes people's words, all of them in one commit, and answers for each.
    pub(in crate::engine::worker) async fn decide(&mut self, deciding: Deciding) {
        let Deciding { ids, word, reason, approver, reply } = deciding;
        if self.handle.unaccepted {
            // Who may decide is what a document says, and nobody accepted this one.
            let refused = |id| (id, Err(ItemError::Unaccepted(self.handle.target.name.clone())));
            drop(reply.send(ids.into_iter().map(refused).collect()));
            return;
        }
        let read = self.read_requests().await;
        if self.note(read).is_none() {
            drop(reply.send(ids.into_iter().map(|id| (id, Err(self.store_said()))).collect()));
            return;
        }
        self.read_teams();
        let addressees = self.shared.post.get().map(|post| post.addressees.as_slice()).unwrap_or_default();
        let approver = approver.known_by(addressees);
        let now = self.moment();
        let mut answers: Vec<(RequestId, Result<Request, ItemError>)> = Vec::with_capacity(ids.len());
        let mut news: BTreeMap<Key, Request> = BTreeMap::new();
        let mut writes = Vec::new();
        for id in ids {
            let known =
                self.requests.names.get(&id).and_then(|key| {
                    Some((key.clone(), news.get(key).or_else(|| self.requests.rows.get(key))?.clone()))
                });
            let said = known.ok_or_else(|| ItemError::Gone(id.clone())).and_then(|(key, request)| {
                let user = self.snapshot.as_ref().and_then(|snapshot| snapshot.users.get(&request.record));
                let saying = Saying { approver: &approver, word, reason: reason.as_deref(), user: user.as_ref() };
                let next = verdict::say(&self.approval(), &request, saying, now)?;
                let mut next = self.requests.keeper.marked(next, user.as_ref());
                let event = AuditEvent { actor: approver.by.clone(), ..self.request_event(word.event(), &next) };
                let turned = Turned::by(word, next.state);
                let told = self.turned(&key.0, &mut next, turned);
                writes.extend([put(&key.0, &next), Write::Audit(event)].into_iter().chain(told));
                news.insert(key, next.clone());
                Ok(next)
            });
            answers.push((id, said));
        }
        self.welcomes.rings |= !news.is_empty();
        if !news.is_empty() && !self.keep_decisions(writes).await {
            for (_, answer) in answers.iter_mut().filter(|(_, answer)| answer.is_ok()) {
                *answer = Err(self.store_said());
            }
            drop(reply.send(answers));
            return;
        }
        self.act_on(news);
        drop(reply.send(answers));
    }

    /// Commits what people said. Where the store does not answer, it may have taken it all the same: it
    /// is read again before anything is given.
    async fn keep_decisions(&mut self, writes: Vec<Write>) -> bool {
        let carried = std::mem::take(&mut self.writes);
        let all = carried.iter().cloned().chain(writes).collect();
        let committed = self.shared.store.commit(all, self.shared.store.fence()).await;
        if committed.is_err() {
            self.writes = carried;
            (self.requests.read, self.unread) = (false, true);
        }
        if self.note(committed).is_none() {
            return false;
        }
        self.committed_all().await;
        true
    }

    fn store_said(&self) -> ItemError {
        let error = self.store_error.as_ref().map(|(error, _)| error.clone());
        ItemError::Store(StoreError::Unavailable(
            error.unwrap_or_else(|| "the store does not answer; ask again".to_owned()),
        ))
    }

    /// What is accepted or reopened is looked at, at once.
    fn act_on(&mut self, news: BTreeMap<Key, Request>) {
        let now = self.shared.now();
        let mut again = BTreeSet::new();
        // Whose turn it is by now may have signed before.
        self.requests.heeded = false;
        for ((space, record, subject), request) in news {
            let skips = self.standing.skips.iter_mut().filter(|skip| skip.record == record);
            skips.for_each(|skip| tell_state(skip, &subject, request.state));
            if matches!(request.state, RequestState::Accepted) || request.decided.is_none() {
                again.insert(record);
            }
            self.requests.put(&space, request);
        }
        self.mark_changed(again, Trigger::Decision, now);
    }
}
