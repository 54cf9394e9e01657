//! What is told of calls: written with the fact that it tells, in the same commit.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Not as _;

use chrono::DateTime;
use chrono::Utc;
use serde_json::json;

use crate::connector::ConnectorError;
use crate::connector::Operation;
use crate::engine::queue::Entry;
use crate::engine::welcome;
use crate::engine::welcome::Guest;
use crate::engine::worker::Worker;
use crate::engine::worker::cycles::Settled;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::history::Intent;
use crate::model::ids::AccountId;
use crate::model::ids::IntentId;
use crate::model::ids::InviteId;
use crate::model::ids::MessageId;
use crate::model::ids::RecordId;
use crate::model::invite::InviteFilter;
use crate::model::invite::InviteState;
use crate::model::invite::InviteWrite;
use crate::model::message::Content;
use crate::model::message::Event;
use crate::model::message::MAIL;
use crate::model::message::MessageState;
use crate::model::message::MessageWrite;
use crate::model::message::Posted;
use crate::model::path::AttributePath;
use crate::model::target::Credential;
use crate::secrets::secret::Secret;
use crate::store::Write;

/// Why no mail of several creations leaves.
const ONE_OF_SEVERAL: &str = "nobody knows which of several creations made the account, and so what its person \
                              would get in by; let the target set a new password, or invite them there by hand";
/// Why the mail of a creation does not leave whose account was linked by a person, who may have chosen another.
pub(super) const NOT_ITS_PASSWORD: &str = "nobody knows whether this creation made the account that a person linked, \
                                           and so what its person would get in by; let the target set a new \
                                           password, or invite them there by hand";

/// Why the mail of a creation does not leave whose account a person linked at the same moment.
const ANOTHERS: &str = "a person linked the account when it had just been made, so it is another user's, or the user \
                        has another one; let the target set a new password, or invite them there by hand";

/// What goes along with creations that were prepared and not yet recorded.
#[derive(Default)]
pub(super) struct Welcomes {
    prepared: BTreeMap<IntentId, Vec<Write>>,
    /// Whether the store has invites of this target, or may have some.
    known: bool,
    /// Whether anything was written that somebody waits for.
    pub(super) rings: bool,
}

/// The mail of a creation.
fn mail_of(intent: &IntentId) -> (InviteId, MessageId) {
    let id = InviteId::from(intent.as_str());
    let mail = welcome::mail_id(&id, 0);
    (id, mail)
}

impl Worker {
    /// Makes the mail of a creation and what lets its person in, before the intent is recorded. `false`:
    /// that cannot be, so no account is made that nobody could enter; the user's failure says why.
    pub(super) fn prepares_welcome(
        &mut self,
        record: &RecordId,
        operation: &mut Operation,
        intent: &Intent,
        entry: &Entry,
    ) -> bool {
        match self.welcome(operation, intent) {
            Ok(writes) => {
                if !writes.is_empty() {
                    self.welcomes.prepared.insert(intent.id.clone(), writes);
                }
                true
            }
            Err(why) => {
                self.standing.failures.insert(record.clone(), why.clone());
                self.settle(&entry.cycle, record, Settled::Failed(why));
                false
            }
        }
    }

    fn welcome(&self, operation: &mut Operation, intent: &Intent) -> Result<Vec<Write>, String> {
        let (Operation::Create { values, .. }, Some(welcome)) = (operation, &self.handle.target.welcome) else {
            return Ok(Vec::new());
        };
        let notifier = self.shared.post.get().and_then(|post| post.channels.get(MAIL));
        let notifier = notifier.ok_or(
            "its target sends a `welcome`, and no mail can be sent: add `mail:` to rosterd.yaml, or take `welcome` out",
        )?;
        let takes = self.handle.connector.password();
        if matches!(welcome.credential, Credential::Generated { .. }) {
            if !notifier.takes_passwords() {
                return Err("a generated password goes to a mail server or nowhere, and mails are written to files \
                            here: set `mail.smtp` in rosterd.yaml"
                    .to_owned());
            }
            if takes.is_none() {
                return Err("this target takes no password from rosterd: write `credential: link`".to_owned());
            }
        }
        let user = self.snapshot.as_ref().and_then(|snapshot| snapshot.users.get(&intent.change.record));
        let user = user.ok_or("the user is not declared any more")?;
        let name = values.get(&AttributePath::user_name()).and_then(|name| name.as_str().map(str::to_owned));
        let guest =
            Guest { target: &self.handle.target, space: &intent.space, user: &user, user_name: name.as_deref() };
        let (id, _) = mail_of(&intent.id);
        let made = welcome::make(&id, (welcome, &guest), takes.as_ref(), intent.at)?;
        if let (Some(password), Some(paths)) = (made.password, takes) {
            values.insert(paths.value, password.secret.expose().into());
            if let Some(path) = paths.must_change.filter(|_| password.must_change) {
                values.insert(path, true.into());
            }
        }
        Ok(vec![
            Write::Message(MessageWrite::Put(Box::new(made.mail))),
            Write::Invite(InviteWrite::Put(Box::new(made.invite))),
        ])
    }

    /// What is recorded with an intent.
    pub(super) fn recorded_with(&mut self, intent: &Intent) -> Vec<Write> {
        let writes = self.welcomes.prepared.remove(&intent.id).unwrap_or_default();
        self.welcomes.known |= !writes.is_empty();
        writes
    }

    /// Learns whether an earlier process invited anybody here. Where nobody was, calls cost no look for
    /// invites.
    pub(super) async fn recall_invites(&mut self) {
        let target = Some(self.handle.target.name.clone());
        let filter = InviteFilter { target, limit: 1, ..InviteFilter::default() };
        let found = self.shared.store.invites(&filter).await;
        self.welcomes.known = found.is_ok_and(|invites| invites.is_empty()).not();
    }

    /// A change is surely made: its mail may leave, webhooks hear of it, and where access ended nobody
    /// comes in by an invite any more.
    pub(super) fn tell_done(&mut self, intent: &Intent, account: &AccountId, now: DateTime<Utc>) {
        let change = &intent.change;
        let rivals = self.other_creations(intent, account);
        if !rivals.is_empty() {
            // What ended stays as it ended, so none of their mails leaves later.
            for creation in rivals.iter().chain([intent]) {
                self.tell_not_done(creation, Some(ONE_OF_SEVERAL));
            }
        } else if self.welcomes.known && change.action == Action::Create {
            let (invite, message) = mail_of(&intent.id);
            self.writes.push(Write::Message(MessageWrite::Release(message, now)));
            self.writes.push(Write::Invite(InviteWrite::Open(invite)));
        }
        if self.welcomes.known && (change.active == Some(false) || change.action == Action::Delete) {
            let record = change.record.clone();
            let end = InviteWrite::EndOf(intent.space.clone(), record, InviteState::Revoked, now);
            self.writes.push(Write::Invite(end));
        }
        let events = self.events(intent, account, now);
        self.writes.extend(events);
        self.welcomes.rings = true;
    }

    /// The creations beside `intent` of which nobody knows yet whether they made this account.
    fn other_creations(&self, intent: &Intent, account: &AccountId) -> Vec<Intent> {
        if intent.change.action != Action::Create {
            return Vec::new();
        }
        let owner = self.place.as_ref().and_then(|place| place.by_account.get(account));
        let records = BTreeSet::from([Some(&intent.change.record), owner]);
        let open = records.into_iter().flatten().flat_map(|record| self.open_of(record));
        let others = open.chain(self.late.intents(account));
        let others = others.filter(|other| other.change.action == Action::Create && other.id != intent.id);
        others.cloned().collect()
    }

    /// A change surely left nothing behind, or nobody can tell what its mail says from what is true: the
    /// mail never leaves.
    pub(super) fn tell_not_done(&mut self, intent: &Intent, why: Option<&str>) {
        if intent.change.action == Action::Create {
            self.end_mail(&intent.id, why);
        }
    }

    /// The mail of a creation does not leave that was to leave with the next commit: a person said that the
    /// account is another's.
    pub(super) fn keep_mail_back(&mut self, intent: &IntentId) {
        let (invite, mail) = mail_of(intent);
        let leaves = |write: &Write| matches!(write, Write::Message(MessageWrite::Release(id, _)) if *id == mail);
        let opens = |write: &Write| matches!(write, Write::Invite(InviteWrite::Open(id)) if *id == invite);
        let waiting = self.writes.len();
        self.writes.retain(|write| !leaves(write) && !opens(write));
        if self.writes.len() < waiting {
            self.end_mail(intent, Some(ANOTHERS));
        }
    }

    fn end_mail(&mut self, intent: &IntentId, why: Option<&str>) {
        if !self.welcomes.known {
            return;
        }
        let now = self.shared.now();
        let (invite, id) = mail_of(intent);
        let why = why.map(str::to_owned);
        let end = MessageWrite::End { id: id.clone(), state: MessageState::Void, at: now, why };
        self.writes.push(Write::Message(end));
        let end = InviteWrite::End { id: invite, message: id, state: InviteState::Void, at: now };
        self.writes.push(Write::Invite(end));
    }

    fn events(&self, intent: &Intent, account: &AccountId, now: DateTime<Utc>) -> Vec<Write> {
        let Some(post) = self.shared.post.get() else { return Vec::new() };
        let word = word(&intent.change);
        let told = post.events.iter().filter(|(_, events)| events.contains(word)).map(|(channel, _)| {
            let Intent { space, cycle, change, .. } = intent;
            let data = json!({
                "target": space.target,
                "environment": space.environment,
                "user": change.record,
                "account": account,
                "action": change.action,
                "effect": change.effect,
                "cause": change.cause,
                "cycle": cycle,
                "intent": intent.id,
            });
            let subject = Some(format!("{}/{}", space.target, change.record));
            let event = Event { kind: format!("dev.rosterd.{word}"), subject, data };
            let id = MessageId::from(format!("{}-{channel}", intent.id));
            let posted = Posted::due(id, channel.clone(), now, Content::Event(event));
            Write::Message(MessageWrite::Put(Box::new(posted.about(&space.target, &change.record))))
        });
        told.collect()
    }

    /// Wakes who hands messages over, after a commit.
    pub(super) fn ring(&mut self) {
        if std::mem::take(&mut self.welcomes.rings) {
            self.shared.bell.ring();
        }
    }
}

/// The word of a change as webhooks are told.
fn word(change: &Change) -> &'static str {
    match change.action {
        Action::Create => "account.created",
        Action::Adopt => "account.adopted",
        Action::Update => "account.updated",
        Action::Reactivate => "account.reactivated",
        Action::Restore => "account.restored",
        Action::Narrow => "account.narrowed",
        Action::Disable => "account.disabled",
        Action::Delete => "account.deleted",
    }
}

/// The password that a creation sends, for blotting it out of whatever the target says.
pub(super) fn sent_password(operation: &Operation, value: Option<&AttributePath>) -> Option<Secret> {
    let Operation::Create { values, .. } = operation else { return None };
    values.get(value?).and_then(|value| value.as_str()).map(Secret::new)
}

/// An error without the password, should the target have repeated it (L7).
pub(super) fn without_password(error: ConnectorError, password: Option<&Secret>) -> ConnectorError {
    match password {
        Some(password) if error.message.contains(password.expose()) => {
            ConnectorError { message: error.message.replace(password.expose(), "***"), ..error }
        }
        _ => error,
    }
}
