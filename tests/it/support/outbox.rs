//! The outbox and invites of the store on virtual time, by the same rules as the stores that keep rows.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;
use rosterd::model::ids::InviteId;
use rosterd::model::ids::MessageId;
use rosterd::model::ids::TargetName;
use rosterd::model::invite::Invite;
use rosterd::model::invite::InviteFilter;
use rosterd::model::invite::InviteState;
use rosterd::model::invite::InviteWrite;
use rosterd::model::message::Backlog;
use rosterd::model::message::MessageFilter;
use rosterd::model::message::MessageState;
use rosterd::model::message::MessageWrite;
use rosterd::model::message::Posted;

#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) posted: Vec<Posted>,
    pub(crate) invites: BTreeMap<InviteId, Invite>,
}

impl Outbox {
    pub(crate) fn message(&mut self, write: MessageWrite) {
        match write {
            MessageWrite::Put(posted) => {
                if self.find(&posted.id).is_none() {
                    self.posted.push(*posted);
                }
            }
            MessageWrite::Release(id, due) => {
                if let Some(held) = self.find(&id).filter(|posted| posted.state == MessageState::Held) {
                    held.state = MessageState::Due;
                    held.due = due;
                }
            }
            MessageWrite::Later { id, due, attempts, since, why } => {
                if let Some(posted) = self.find(&id).filter(|posted| posted.state == MessageState::Due) {
                    (posted.due, posted.attempts, posted.why) = (due, attempts, Some(why));
                    posted.since = posted.since.or(Some(since));
                }
            }
            MessageWrite::End { id, state, at, why } => self.end(&id, state, at, why),
            MessageWrite::Forget(before) => {
                self.posted.retain(|posted| posted.ended.is_none_or(|ended| ended >= before));
            }
        }
    }

    fn find(&mut self, id: &MessageId) -> Option<&mut Posted> {
        self.posted.iter_mut().find(|posted| posted.id == *id)
    }

    fn end(&mut self, id: &MessageId, state: MessageState, at: DateTime<Utc>, why: Option<String>) {
        if let Some(posted) = self.find(id).filter(|posted| !posted.state.is_end()) {
            (posted.state, posted.ended, posted.why, posted.content) = (state, Some(at), why, None);
        }
    }

    pub(crate) fn invite(&mut self, write: InviteWrite) {
        match write {
            InviteWrite::Put(invite) => {
                let renewed = |before: &Invite| {
                    let may = matches!(before.state, InviteState::Sent | InviteState::Expired);
                    may && before.resent + 1 == invite.resent
                };
                if self.invites.get(&invite.id).is_none_or(renewed) {
                    self.invites.insert(invite.id.clone(), *invite);
                }
            }
            InviteWrite::Open(id) => {
                if let Some(invite) = self.invites.get_mut(&id).filter(|invite| invite.state == InviteState::Held) {
                    invite.state = InviteState::Sent;
                }
            }
            InviteWrite::End { id, message, state, at } => {
                self.end_invites(|invite| invite.id == id && invite.message == message, state, at);
            }
            InviteWrite::Forget(before) => {
                self.invites.retain(|_, invite| invite.ended.is_none_or(|ended| ended >= before));
            }
            InviteWrite::EndOf(space, record, state, at) => {
                self.end_invites(|invite| invite.space == space && invite.record == record, state, at);
            }
        }
    }

    fn end_invites(&mut self, which: impl Fn(&Invite) -> bool, state: InviteState, at: DateTime<Utc>) {
        let mut mails = Vec::new();
        for invite in self.invites.values_mut().filter(|invite| invite.state.is_open() && which(invite)) {
            (invite.state, invite.ended) = (state, Some(at));
            mails.push(invite.message.clone());
        }
        if state != InviteState::Accepted {
            for mail in mails {
                self.end(&mail, MessageState::Void, at, None);
            }
        }
    }

    pub(crate) fn messages(&self, filter: &MessageFilter) -> Vec<Posted> {
        let limit = if filter.limit == 0 { usize::MAX } else { filter.limit };
        if let Some(id) = &filter.id {
            return self.posted.iter().filter(|posted| posted.id == *id).cloned().collect();
        }
        let Some((channel, by, far)) = &filter.due else {
            let mine = |posted: &&Posted| filter.record.is_none() || posted.record == filter.record;
            return self.posted.iter().rev().filter(mine).take(limit).cloned().collect();
        };
        let due = |posted: &&Posted| {
            let now = posted.due <= *by || posted.due > *far;
            posted.state == MessageState::Due && posted.channel == *channel && now
        };
        let mut due: Vec<Posted> = self.posted.iter().filter(due).cloned().collect();
        due.sort_by_key(|posted| posted.due);
        due.truncate(limit);
        due
    }

    pub(crate) fn backlogs(&self) -> Vec<Backlog> {
        let mut backlogs: BTreeMap<&str, Backlog> = BTreeMap::new();
        for posted in self.posted.iter().filter(|posted| posted.state == MessageState::Due) {
            let new = || Backlog { channel: posted.channel.clone(), depth: 0, oldest: posted.at, next: posted.due };
            let backlog = backlogs.entry(&posted.channel).or_insert_with(new);
            backlog.depth += 1;
            backlog.oldest = backlog.oldest.min(posted.at);
            backlog.next = backlog.next.min(posted.due);
        }
        backlogs.into_values().collect()
    }

    pub(crate) fn invite_counts(&self) -> Vec<(TargetName, InviteState, u64)> {
        let mut counts: BTreeMap<(TargetName, InviteState), u64> = BTreeMap::new();
        for invite in self.invites.values() {
            *counts.entry((invite.space.target.clone(), invite.state)).or_default() += 1;
        }
        counts.into_iter().map(|((target, state), count)| (target, state, count)).collect()
    }

    pub(crate) fn invites(&self, filter: &InviteFilter) -> Vec<Invite> {
        let InviteFilter { target, record, token, state, limit } = filter;
        let fits = |invite: &&Invite| {
            target.as_ref().is_none_or(|target| invite.space.target == *target)
                && record.as_ref().is_none_or(|record| invite.record == *record)
                && (token.is_none() || invite.token == *token)
                && state.is_none_or(|state| invite.state == state)
        };
        let mut found: Vec<Invite> = self.invites.values().filter(fits).cloned().collect();
        found.sort_by(|left, right| (right.made, &right.id).cmp(&(left.made, &left.id)));
        found.truncate(if *limit == 0 { usize::MAX } else { *limit });
        found
    }
}
