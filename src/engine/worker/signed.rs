//! Words that people signed: `Decision` documents of the last accepted load.
//!
//! # Guarantees
//! - One is good for the request and for what was shown of it, and once: also over a reopening.
//! - It passes the same judge as a word that is said, and its writer has no other rights.

use tokio::sync::oneshot;

use crate::engine::requests::Deciding;
use crate::engine::requests::ItemError;
use crate::engine::worker::Worker;
use crate::model::approval::Signed;
use crate::model::request::RequestState;
use crate::plan::verdict;
use crate::plan::verdict::rights::Approver;

impl Worker {
    /// Takes the signed words that nobody took yet. Until the store answers for all of them, they are
    /// taken again: one that was taken is good no more.
    pub(super) async fn heed_signed(&mut self) {
        let waits = !self.requests.is_read() || self.snapshot.is_none() || self.store_error.is_some();
        if waits || self.requests.heeded {
            return;
        }
        // A document that nobody accepted gives nothing.
        let signed = self.shared.signed.load().get(&self.handle.target.name).cloned();
        let signed = signed.filter(|_| !self.handle.unaccepted).unwrap_or_default();
        let mut taken = true;
        // What one level says may be what the word of another waits for.
        while std::mem::take(&mut taken) {
            for signed in &signed {
                match self.heed(signed).await {
                    Some(one) => taken |= one,
                    None => return,
                }
            }
        }
        self.requests.heeded = true;
    }

    /// Whether a signed word is about a request that waits, as it was shown, and was not taken before.
    fn is_good(&self, signed: &Signed) -> bool {
        let Some((space, request)) = self.requests.named(&signed.request) else { return false };
        // What is shown is worked out for what waits alone: files of old decisions stay where they are for years.
        if request.state != RequestState::Pending || request.votes.iter().any(|vote| vote.by == signed.by) {
            return false;
        }
        let user = self.snapshot.as_ref().and_then(|snapshot| snapshot.users.get(&request.record));
        let same = verdict::shown(space, request, user.as_ref()) == signed.digest;
        if !same {
            let (target, document) = (&self.handle.target.name, &signed.name);
            tracing::warn!(%target, document, "a signed decision is about something else than what is asked by now");
        }
        same
    }

    /// Whether a word was taken; `None`: the store does not answer, and it is asked again.
    async fn heed(&mut self, signed: &Signed) -> Option<bool> {
        if !self.is_good(signed) {
            return Some(false);
        }
        let Signed { name, by, person, groups, outside, scope, request, word, reason, .. } = signed.clone();
        let approver = Approver { by, person, outside, groups, scope, ..Approver::default() };
        let (reply, answer) = oneshot::channel();
        self.decide(Deciding { ids: vec![request], word, reason, approver, reply }).await;
        let (_, result) = answer.await.ok()?.pop()?;
        match result {
            Ok(_) => Some(true),
            Err(ItemError::Store(_)) => None,
            Err(error) => {
                let target = &self.handle.target.name;
                // A refusal names people, and logs are not for that.
                let refused = matches!(error, ItemError::Refused(_));
                let unfit = || "whoever signed it may not decide there, or it is decided".to_owned();
                let why = if refused { unfit() } else { error.to_string() };
                tracing::warn!(%target, document = name, why, "a signed decision was not taken");
                Some(false)
            }
        }
    }
}
