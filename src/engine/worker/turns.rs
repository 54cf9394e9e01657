//! What is told of requests, in the commit of their fact: to those whose turn it is, and to webhooks.
//!
//! # Guarantees
//! - Nothing is told to those whose turn it is not, and a turn once to each, whatever is said again.
//! - What was not handed over when a turn ended never is.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::Utc;
use serde_json::json;

use crate::engine::turns;
use crate::engine::turns::Matter;
use crate::engine::turns::Reader;
use crate::engine::turns::Why;
use crate::engine::worker::Worker;
use crate::engine::worker::joined::Unheard;
use crate::model::approval::Approval;
use crate::model::ids::MessageId;
use crate::model::link::Space;
use crate::model::message::Content;
use crate::model::message::Event;
use crate::model::message::MAIL;
use crate::model::message::MessageState;
use crate::model::message::MessageWrite;
use crate::model::message::Posted;
use crate::model::request::Request;
use crate::model::request::RequestState;
use crate::model::request::Word;
use crate::plan::verdict;
use crate::store::Write;

/// What became of a request, as those who are told of it hear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// It is there, or waits again.
    Asked(&'static str),
    /// One agreed; others have to, too.
    Agreed,
    /// Time did something.
    Passed(verdict::ages::Passed),
    /// It waits no longer.
    Over(&'static str),
}

impl Turned {
    /// What a person's word did.
    pub(super) fn by(word: Word, state: RequestState) -> Self {
        match (word, state) {
            (Word::Accept, RequestState::Accepted) => Self::Over("request.accepted"),
            (Word::Accept, _) => Self::Agreed,
            (Word::Refuse, _) => Self::Over("request.refused"),
            (Word::Reopen, _) => Self::Asked("request.reopened"),
        }
    }

    /// The word of the event that webhooks are told.
    fn word(self) -> &'static str {
        match self {
            Self::Asked(word) | Self::Over(word) => word,
            Self::Agreed => "request.agreed",
            Self::Passed(verdict::ages::Passed::Escalated) => "request.escalated",
            Self::Passed(verdict::ages::Passed::Reminded) => "request.reminded",
            Self::Passed(verdict::ages::Passed::Expired) => "request.expired",
        }
    }
}

/// What did not leave yet never does.
pub(super) fn void(id: MessageId, at: DateTime<Utc>) -> Write {
    Write::Message(MessageWrite::End { id, state: MessageState::Void, at, why: None })
}

impl Worker {
    /// Nobody is asked any more.
    pub(super) fn tell_withdrawn(&mut self, space: &Space, mut request: Request) {
        if request.state == RequestState::Pending {
            let told = self.turned(space, &mut request, Turned::Over("request.withdrawn"));
            self.will_tell(told);
        }
    }

    /// Takes up what is told, for the next commit.
    pub(super) fn will_tell(&mut self, writes: Vec<Write>) {
        self.welcomes.rings |= !writes.is_empty();
        self.writes.extend(writes);
    }

    /// Who is in the teams that are told, as the newest documents say.
    pub(super) fn read_teams(&mut self) {
        if let (Some(post), Some(snapshot)) = (self.shared.post.get(), &self.snapshot)
            && self.teams.read(snapshot, &post.addressees)
        {
            self.requests.unheard = Unheard::All;
        }
    }

    /// What is written with what became of a request; `request.told` follows.
    pub(super) fn turned(&self, space: &Space, request: &mut Request, turned: Turned) -> Vec<Write> {
        let Some(post) = self.shared.post.get() else { return Vec::new() };
        let now = self.shared.now();
        let mut writes = Vec::new();
        if post.channels.contains_key(MAIL) && !(post.addressees.is_empty() && request.told.is_empty()) {
            writes = self.mails(request, turned, now);
        }
        writes.extend(self.request_events(space, request, turned, now));
        writes
    }

    /// The same of what time did. Who is told of an escalation is not reminded as well.
    pub(super) fn passed(
        &self,
        space: &Space,
        request: &mut Request,
        passed: &BTreeSet<verdict::ages::Passed>,
    ) -> Vec<Write> {
        let now = self.shared.now();
        let told_of_it = passed.contains(&verdict::ages::Passed::Escalated);
        let mut writes = Vec::new();
        for what in passed {
            let turned = Turned::Passed(*what);
            if *what == verdict::ages::Passed::Reminded && (told_of_it || !self.is_news(request)) {
                writes.extend(self.request_events(space, request, turned, now));
            } else {
                writes.extend(self.turned(space, request, turned));
            }
        }
        writes
    }

    /// Whether a reminder is news: an escalation a moment ago told everybody.
    fn is_news(&self, request: &Request) -> bool {
        let approval = self.approval();
        let escalation = verdict::rights::level_of(&approval, request).and_then(|level| level.escalate.as_ref());
        let (Some(to), Some(every)) = (escalation.filter(|_| request.escalated), approval.remind_every) else {
            return true;
        };
        let waits = (self.shared.window_now() - request.level_begun).to_std().unwrap_or_default();
        waits.saturating_sub(to.after).saturating_mul(2) >= every
    }

    fn mails(&self, request: &mut Request, turned: Turned, now: DateTime<Utc>) -> Vec<Write> {
        let before = std::mem::take(&mut request.told);
        let (put, told) = match turned {
            Turned::Over(_) | Turned::Passed(verdict::ages::Passed::Expired) => (Vec::new(), BTreeSet::new()),
            Turned::Asked(_) => self.told_anew(request, Why::New, now),
            Turned::Passed(verdict::ages::Passed::Escalated) => self.told_anew(request, Why::Escalation, now),
            Turned::Passed(verdict::ages::Passed::Reminded) => self.told_anew(request, Why::Reminder, now),
            Turned::Agreed if before.iter().any(|id| id.as_str().starts_with(&turns::id_of(request))) => {
                // Whoever agreed has no turn any more; it is still that of the others.
                let readers = self.readers(request, now);
                let marks: BTreeSet<String> = readers.keys().map(|mail| turns::mark(mail)).collect();
                let theirs = |id: &&MessageId| marks.contains(turns::mark_of(id));
                (Vec::new(), before.iter().filter(theirs).cloned().collect())
            }
            Turned::Agreed => self.told_anew(request, Why::Turn, now),
        };
        request.told = told;
        let over = before.difference(&request.told).cloned().map(|id| void(id, now));
        over.chain(put).collect()
    }

    /// Mails to those whose turn it is now.
    fn told_anew(&self, request: &Request, why: Why, now: DateTime<Utc>) -> (Vec<Write>, BTreeSet<MessageId>) {
        let before = match why {
            Why::Escalation => self.readers(&Request { escalated: false, ..request.clone() }, now),
            Why::New | Why::Turn | Why::Reminder => BTreeMap::new(),
        };
        let number = if why == Why::Reminder { request.reminders.to_string() } else { String::new() };
        let word = format!("{}{number}", why.as_str());
        let (mut writes, mut told) = (Vec::new(), BTreeSet::new());
        for (address, reader) in self.readers(request, now) {
            // For those who knew of it, it is a reminder that others know now, too.
            let heard = if before.contains_key(&address) { Why::Reminder } else { why };
            let Some((id, write)) = self.mail_to(request, (heard, &word), &reader, now) else { continue };
            told.insert(id);
            writes.push(write);
        }
        (writes, told)
    }

    /// One of them. `word`: what tells it apart from other mails of that turn to the same address.
    pub(super) fn mail_to(
        &self,
        request: &Request,
        (heard, word): (Why, &str),
        reader: &Reader,
        now: DateTime<Utc>,
    ) -> Option<(MessageId, Write)> {
        let user = self.snapshot.as_ref()?.users.get(&request.record)?;
        let approval = self.approval();
        let matter = Matter { target: &self.handle.target, approval: &approval, request, user: &user };
        let mail = turns::mail(matter, heard, reader).or_else(|error| {
            tracing::error!(target = %self.handle.target.name, %error, "approvers are told in other words");
            turns::plain_mail(matter, heard, reader).ok_or(error)
        });
        let id = MessageId::from(format!("{}-{word}-{}", turns::id_of(request), turns::mark(&reader.mail)));
        let posted = Posted::due(id.clone(), MAIL, now, Content::Mail(mail.ok()?));
        let posted = posted.about(&self.handle.target.name, &request.record);
        Some((id, Write::Message(MessageWrite::Put(Box::new(posted)))))
    }

    /// Those whose turn it is now.
    pub(super) fn readers(&self, request: &Request, now: DateTime<Utc>) -> BTreeMap<String, Reader> {
        let user = self.snapshot.as_ref().and_then(|snapshot| snapshot.users.get(&request.record));
        let (Some(post), Some(user)) = (self.shared.post.get(), user) else { return BTreeMap::new() };
        let approval = self.approval();
        let matter = Matter { target: &self.handle.target, approval: &approval, request, user: &user };
        turns::readers(&post.addressees, &self.teams, matter, now)
    }

    fn request_events(&self, space: &Space, request: &Request, turned: Turned, now: DateTime<Utc>) -> Vec<Write> {
        let Some(post) = self.shared.post.get() else { return Vec::new() };
        let word = turned.word();
        let approval = self.approval();
        let level = verdict::rights::level_of(&approval, request).filter(|_| request.state == RequestState::Pending);
        let turn = level.map(|level| verdict::rights::turn(request, level)).unwrap_or_default();
        let told = post.events.iter().filter(|(_, events)| events.contains(word)).map(|(channel, _)| {
            let data = json!({
                "target": space.target,
                "environment": space.environment,
                "user": request.record,
                "request": request.id,
                "subject": request.subject.word(),
                "action": request.asked.action,
                "entitlements": request.asked.entitlements,
                "state": request.state,
                "level": request.level,
                "turn": turn.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "since": request.since,
            });
            let subject = Some(format!("{}/{}", space.target, request.record));
            let event = Event { kind: format!("dev.rosterd.{word}"), subject, data };
            // The same word of one turn is another fact where it is said again.
            let count = request.votes.len() + usize::try_from(request.reminders).unwrap_or_default();
            let id = MessageId::from(format!("{}-{word}-{count}-{channel}", turns::id_of(request)));
            let posted = Posted::due(id, channel.clone(), now, Content::Event(event));
            Write::Message(MessageWrite::Put(Box::new(posted.about(&space.target, &request.record))))
        });
        told.collect()
    }

    /// Who decides here.
    pub(super) fn approval(&self) -> Approval {
        self.requests.approval()
    }
}
