//! Those whose turn it is to decide: who they are, and the mail that tells them.
//!
//! # Guarantees
//! - Nobody is written to about what they may not decide: neither about users of another scope, nor about
//!   themselves or what they wrote, nor where they have said so already.
//! - An address is written to once a turn, however many groups and teams lead to it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use serde_json::Value as Json;

use crate::engine::welcome;
use crate::expr::Context;
use crate::expr::Names;
use crate::expr::Template;
use crate::model::addressee::Addressee;
use crate::model::addressee::Whom;
use crate::model::approval::Approval;
use crate::model::ids::EntitlementName;
use crate::model::ids::MessageId;
use crate::model::ids::RecordId;
use crate::model::message::Mail;
use crate::model::request::Request;
use crate::model::snapshot::Snapshot;
use crate::model::target::MailTemplate;
use crate::model::target::Target;
use crate::model::user::User;
use crate::plan::canonical;
use crate::plan::verdict;
use crate::plan::verdict::rights::Approver;
use crate::schedule;

/// Hex digits that stand for an address in the ids of messages.
const DIGITS: usize = 16;

/// What a request is to those who are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It was asked for, or waits again.
    New,
    /// Those before them agreed.
    Turn,
    /// It waits for long.
    Reminder,
    /// It took others too long.
    Escalation,
}

impl Why {
    /// The word in templates and ids.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Turn => "turn",
            Self::Reminder => "reminder",
            Self::Escalation => "escalation",
        }
    }
}

/// Somebody who is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    /// What they are called: the subject of their tokens, or their given name.
    pub(crate) name: String,
    /// Where to.
    pub(crate) mail: String,
    /// In which language.
    pub(crate) locale: Option<String>,
    /// In which time zone moments are told.
    pub(crate) zone: Option<String>,
}

/// An address as it is compared: the case of its letters makes no other mailbox.
pub(crate) fn folded(mail: &str) -> String {
    mail.to_lowercase()
}

/// What stands for an address where it must not be read.
pub(crate) fn mark(mail: &str) -> String {
    let digest = canonical::digest_of(serde_json::json!({ "mail": folded(mail) }));
    digest.as_str().chars().take(DIGITS).collect()
}

/// Members of the teams that are told, as one snapshot has them.
#[derive(Debug, Default)]
pub(crate) struct Teams {
    of: Option<Arc<Snapshot>>,
    /// When validity of one of them begins or ends next, counted from the last look.
    next: Option<DateTime<Utc>>,
    /// Whether that was looked up since they are others.
    is_looked_up: bool,
    members: BTreeMap<String, BTreeMap<RecordId, User>>,
}

impl Teams {
    /// Reads members anew where the documents are others, at the cost of what differs. `true`: somebody joined a
    /// team, left one, or is another than before.
    pub(crate) fn read(&mut self, snapshot: &Arc<Snapshot>, addressees: &[Addressee]) -> bool {
        let Some(before) = self.of.replace(Arc::clone(snapshot)) else {
            self.begin(snapshot, addressees);
            self.is_looked_up = false;
            return true;
        };
        if self.members.is_empty() || Arc::ptr_eq(&before, snapshot) {
            return false;
        }
        let differ = before.users.edits(&snapshot.users).fold(false, |differ, edit| {
            let was = self.take(edit.record);
            let is = edit.after().is_some_and(|user| self.put(&user));
            differ || was || is
        });
        self.is_looked_up &= !differ;
        differ
    }

    /// Whether validity of a member began or ended since the last look.
    pub(crate) fn turned(&mut self, now: DateTime<Utc>) -> bool {
        let turned = self.next_turn().is_some_and(|at| at <= now);
        if turned || !self.is_looked_up {
            let members = self.members.values().flat_map(BTreeMap::values);
            let dates = members.flat_map(|user| [user.valid.from, user.valid.until]).flatten();
            (self.next, self.is_looked_up) = (dates.filter(|at| *at > now).min(), true);
        }
        turned
    }

    /// When that happens next, as far as it was looked up.
    pub(crate) fn next_turn(&self) -> Option<DateTime<Utc>> {
        self.next
    }

    fn begin(&mut self, snapshot: &Snapshot, addressees: &[Addressee]) {
        let team = |to: &Addressee| match &to.whom {
            Whom::Team(team) => Some((team.clone(), BTreeMap::new())),
            Whom::Person { .. } => None,
        };
        self.members = addressees.iter().filter_map(team).collect();
        if self.members.is_empty() {
            return;
        }
        for user in snapshot.users.values() {
            self.put(&user);
        }
    }

    fn take(&mut self, record: &RecordId) -> bool {
        self.members.values_mut().filter_map(|members| members.remove(record)).count() > 0
    }

    fn put(&mut self, user: &User) -> bool {
        let mut told = false;
        for team in &user.teams {
            if let Some(members) = self.members.get_mut(team) {
                members.insert(user.id.clone(), user.clone());
                told = true;
            }
        }
        told
    }

    fn members(&self, team: &str) -> impl Iterator<Item = &User> {
        self.members.get(team).into_iter().flat_map(BTreeMap::values)
    }
}

/// What the ids of mails to those whose turn it is begin with.
const PREFIX: &str = "request-";

/// The turn of a request that runs now: mails of another one have other ids.
pub(crate) fn id_of(request: &Request) -> String {
    format!("{PREFIX}{}-{}-{:x}", request.id, request.level, request.level_begun.timestamp_millis())
}

/// Whether a message is about a turn.
pub(crate) fn is_one(message: &MessageId) -> bool {
    message.as_str().starts_with(PREFIX)
}

/// Whether it is about a turn of this request.
pub(crate) fn is_about(message: &MessageId, request: &Request) -> bool {
    let rest = message.as_str().strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(request.id.as_str()));
    rest.is_some_and(|rest| rest.starts_with('-'))
}

/// What stands for its address in the id of a mail about requests.
pub(crate) fn mark_of(message: &MessageId) -> &str {
    message.as_str().rsplit('-').next().unwrap_or_default()
}

/// The folded address that a mail about requests is for, as far as these entries lead to it.
pub(crate) fn address_of(message: &MessageId, addressees: &[Addressee], teams: &Teams) -> Option<String> {
    let wanted = mark_of(message);
    let is_it = |address: &String| mark(address) == wanted;
    addressees.iter().find_map(|to| match &to.whom {
        Whom::Person { mail, .. } => Some(folded(mail)).filter(is_it),
        Whom::Team(team) => teams.members(team).filter_map(welcome::address).map(folded).find(is_it),
    })
}

/// What somebody may have to decide about.
#[derive(Clone, Copy)]
pub(crate) struct Matter<'a> {
    pub(crate) target: &'a Target,
    pub(crate) approval: &'a Approval,
    pub(crate) request: &'a Request,
    pub(crate) user: &'a User,
}

/// Those of an entry whose turn it is, by their folded address; of one address alone where only that one is asked
/// for.
pub(crate) fn readers_of(
    to: &Addressee,
    teams: &Teams,
    matter: Matter<'_>,
    (now, only): (DateTime<Utc>, Option<&str>),
) -> BTreeMap<String, Reader> {
    let mut readers = BTreeMap::new();
    let is_asked_for = |mail: &str| only.is_none_or(|only| folded(mail) == only);
    let mut approver = Approver {
        groups: BTreeMap::from([(to.group.clone(), vec![to.scope.clone()])]),
        scope: to.scope.clone(),
        ..Approver::default()
    };
    // Whether what they wrote, or they themselves, are named by subject or by mail: it is theirs all the same.
    let mut is_turn_of = |subject: &str, mail: &str| {
        subject.clone_into(&mut approver.person);
        approver.also = BTreeSet::from([mail.to_owned()]);
        verdict::rights::is_turn_of(matter.approval, matter.request, &approver, matter.user)
    };
    match &to.whom {
        Whom::Person { subject, mail, locale } => {
            if is_asked_for(mail) && is_turn_of(subject, mail) {
                let (name, mail, locale) = (subject.clone(), mail.clone(), locale.clone());
                readers.insert(folded(&mail), Reader { name, mail, locale, zone: None });
            }
        }
        Whom::Team(team) => {
            for member in teams.members(team) {
                let Some(mail) = welcome::address(member).filter(|mail| is_asked_for(mail)) else { continue };
                let works = member.active && member.valid.contains(now);
                if works && is_turn_of(member.id.as_str(), mail) {
                    let reader = Reader {
                        name: member.given_name.clone().unwrap_or_else(|| member.id.to_string()),
                        mail: mail.to_owned(),
                        locale: member.locale.clone(),
                        zone: member.time_zone.clone(),
                    };
                    readers.insert(folded(mail), reader);
                }
            }
        }
    }
    readers
}

/// Those whose turn it is and who want to know at once, by their folded address.
pub(crate) fn readers(
    addressees: &[Addressee],
    teams: &Teams,
    matter: Matter<'_>,
    now: DateTime<Utc>,
) -> BTreeMap<String, Reader> {
    let at_once = addressees.iter().filter(|to| to.digest.is_none());
    at_once.flat_map(|to| readers_of(to, teams, matter, (now, None))).collect()
}

/// What people call the target.
pub(crate) fn title(target: &Target, approval: &Approval) -> String {
    if approval.mail.title.is_empty() { target.name.to_string() } else { approval.mail.title.clone() }
}

/// What people call a user.
pub(crate) fn called(user: &User) -> String {
    let names = [user.given_name.as_deref(), user.family_name.as_deref()];
    let name = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
    if name.is_empty() { user.id.to_string() } else { name }
}

/// The mail to one of them.
///
/// # Errors
/// A sentence about the template; rosterd's own words can be taken then.
pub(crate) fn mail(matter: Matter<'_>, why: Why, reader: &Reader) -> Result<Mail, String> {
    let templates = &matter.approval.mail.templates;
    let own = own();
    let template = welcome::in_language(templates, reader.locale.as_deref());
    let template = template.or_else(|| welcome::in_language(&own, reader.locale.as_deref()));
    let template = template.ok_or("there is no template")?;
    written(template, matter, why, reader)
        .map_err(|error| format!("the template `{}` gives no mail: {error}", template.name))
}

/// The same in rosterd's own words.
pub(crate) fn plain_mail(matter: Matter<'_>, why: Why, reader: &Reader) -> Option<Mail> {
    let own = own();
    written(welcome::in_language(&own, reader.locale.as_deref())?, matter, why, reader).ok()
}

fn written(template: &MailTemplate, matter: Matter<'_>, why: Why, reader: &Reader) -> Result<Mail, String> {
    let others = others(matter, why, reader);
    let context = Context::welcome(matter.user, matter.target, &others);
    let text = |source: &str, escape: fn(&str) -> String| {
        let compiled = Template::compile_text(source, &Names::request());
        compiled.and_then(|compiled| compiled.text(&context, escape)).map_err(|error| error.to_string())
    };
    Ok(Mail {
        to: reader.mail.clone(),
        subject: welcome::one_line(&text(&template.subject, str::to_owned)?),
        text: text(&template.text, str::to_owned)?,
        html: template.html.as_deref().map(|html| text(html, welcome::html_escaped)).transpose()?,
        holds_password: false,
    })
}

fn others(matter: Matter<'_>, why: Why, reader: &Reader) -> BTreeMap<&'static str, Json> {
    let Matter { target, approval, request, user } = matter;
    let stamp = |at| Json::from(schedule::in_zone(at, reader.zone.as_deref()));
    let words: Vec<&str> = request.asked.entitlements.iter().map(EntitlementName::as_str).collect();
    let mut others = BTreeMap::from([
        ("target.title", Json::from(title(target, approval))),
        ("request.id", request.id.as_str().into()),
        ("request.why", why.as_str().into()),
        ("request.action", request.asked.action.as_str().into()),
        ("request.entitlements", words.join(", ").into()),
        ("request.level", (request.level + 1).into()),
        ("request.since", stamp(request.since)),
        ("request.reminders", request.reminders.into()),
        ("approver.name", reader.name.as_str().into()),
    ]);
    let scope = approval.scope_label.as_ref().and_then(|label| user.labels.get(label));
    others.extend(scope.map(|scope| ("request.scope", scope.as_str().into())));
    let lasts = approval.expires.and_then(|length| TimeDelta::from_std(length).ok());
    let expires = lasts.and_then(|length| request.since.checked_add_signed(length));
    others.extend(expires.map(|at| ("request.expires", stamp(at))));
    others
}

/// rosterd's own words, where a target names no template.
fn own() -> [MailTemplate; 2] {
    let template = |locale: &str, subject: &str, text: &str| MailTemplate {
        name: format!("rosterd's own, {locale}"),
        locale: locale.to_owned(),
        subject: subject.to_owned(),
        text: text.to_owned(),
        html: None,
        origin: Approval::ungated().origin,
    };
    [
        template("en", include_str!("turns/en.subject").trim_end(), include_str!("turns/en.txt")),
        template("fr", include_str!("turns/fr.subject").trim_end(), include_str!("turns/fr.txt")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rosterds_own_words_name_only_what_there_is() {
        for template in own() {
            for source in [&template.subject, &template.text] {
                Template::compile_text(source, &Names::request()).unwrap();
            }
        }
    }

    #[test]
    fn one_mailbox_is_one_mark() {
        assert_eq!(mark("Rose@Acme.example"), mark("rose@acme.example"));
        assert_ne!(mark("rose@acme.example"), mark("rosa@acme.example"));
    }
}
