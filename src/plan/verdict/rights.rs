//! Who may decide about a request, and about whom.
//!
//! # Guarantees
//! - Nobody decides about themselves or what they wrote, by whichever of their names.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::model::addressee::Addressee;
use crate::model::addressee::LabelScope;
use crate::model::addressee::Whom;
use crate::model::approval::Approval;
use crate::model::approval::Level;
use crate::model::approval::Party;
use crate::model::ids::RecordId;
use crate::model::request::Request;
use crate::model::request::RequestState;
use crate::model::request::voice;
use crate::model::user::User;
use crate::plan::verdict::Refused;
use crate::plan::verdict::levels;

/// For which users a right is good.
pub type Scope = LabelScope;

/// Somebody who decides, with what the operator's configuration and their token say of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approver {
    /// Who, as in the audit log: `token:NAME`, `local`.
    pub by: String,
    /// The person behind it.
    pub person: String,
    /// Other names that the configuration knows them by: their mail.
    pub also: BTreeSet<String>,
    /// Whether it is the holder of the local token of an installation that names no approvers.
    pub local: bool,
    /// Whether the configuration names approvers, and no group of theirs among them.
    pub outside: bool,
    /// Groups they are in, with where each of them has a say.
    pub groups: BTreeMap<String, Vec<Scope>>,
    /// Where their token is good.
    pub scope: Scope,
}

impl Approver {
    /// Whether a name is theirs, however it is written.
    pub fn is(&self, name: &str) -> bool {
        let name = voice(name);
        self.also.iter().chain([&self.person]).any(|own| voice(own) == name)
    }

    /// The same, with what the entries of `tell` say they are called besides. Two who share a mailbox stay two.
    #[must_use]
    pub fn known_by(mut self, addressees: &[Addressee]) -> Self {
        let named = addressees.iter().filter_map(|to| match &to.whom {
            Whom::Person { subject, mail, .. } => Some((subject, mail)),
            Whom::Team(_) => None,
        });
        let named: Vec<_> = named.collect();
        let person = voice(&self.person);
        // By a mail that is theirs, or by a subject; then by whatever else entries have of these subjects.
        let mine = named.iter().filter(|(subject, mail)| voice(subject) == person || voice(mail) == person);
        let mut subjects: BTreeSet<String> = mine.map(|(subject, _)| voice(subject)).collect();
        let mut before = 0;
        while before < subjects.len() {
            before = subjects.len();
            let mails: BTreeSet<String> = named
                .iter()
                .filter(|(subject, _)| subjects.contains(&voice(subject)))
                .map(|(_, mail)| voice(mail))
                .collect();
            // A subject that is one of these mails is the same person, and so is whose mail a subject is.
            let is_mine = |(subject, mail): &&(&String, &String)| {
                mails.contains(&voice(subject)) || subjects.contains(&voice(mail))
            };
            let also: Vec<String> = named.iter().filter(is_mine).map(|(subject, _)| voice(subject)).collect();
            subjects.extend(also);
        }
        for (subject, mail) in named.iter().filter(|(subject, _)| subjects.contains(&voice(subject))) {
            self.also.extend([(*subject).clone(), (*mail).clone()]);
        }
        self
    }
}

/// Whose turn a request is. A document that lost levels meanwhile leaves its last one.
pub fn level_of<'a>(approval: &'a Approval, request: &Request) -> Option<&'a Level> {
    approval.levels.get(levels::position(&levels::digests(approval), request))
}

/// Whether it is somebody's turn to decide about a request: who has said so already is not asked again.
pub fn is_turn_of(approval: &Approval, request: &Request, approver: &Approver, user: &User) -> bool {
    let level = level_of(approval, request);
    let digests = levels::digests(approval);
    let has_spoken = || levels::voices(&digests, request).any(|vote| approver.is(&vote.person));
    let is_own = || not_their_own(approval, approver, Some(user)).is_err();
    level.is_some_and(|level| {
        request.state == RequestState::Pending
            && !has_spoken()
            && !is_own()
            && has_right(approval, &turn(request, level), approver, Some(user)).is_ok()
    })
}

/// Who may decide now; empty: whoever has the right for the user.
pub fn turn(request: &Request, level: &Level) -> BTreeSet<Party> {
    let escalated = level.escalate.iter().filter(|_| request.escalated && !level.any_of.is_empty());
    level.any_of.iter().chain(escalated.flat_map(|to| &to.to)).cloned().collect()
}

/// Nobody decides about themselves, nor about what they wrote.
pub(super) fn not_their_own(approval: &Approval, approver: &Approver, user: Option<&User>) -> Result<(), Refused> {
    let Some(user) = user else { return Ok(()) };
    let is_theirs = |name: &str| approver.is(name);
    let names = user.formerly.iter().chain([&user.id]).map(RecordId::as_str);
    if names.chain(user.email.as_deref()).any(is_theirs) {
        return Err(Refused::NoRight(format!(
            "`{}` cannot decide about themselves; ask another approver",
            approver.person
        )));
    }
    let author = approval.author_label.as_ref().and_then(|label| user.labels.get(label));
    // Several may stand there, and a name may be of several words.
    let names_them = |label: &String| label.split([',', ' ']).chain(label.split(',').map(str::trim)).any(is_theirs);
    if author.is_some_and(names_them) {
        return Err(Refused::NoRight(format!(
            "`{}` wrote the document of `{}` and cannot decide about it; ask another approver",
            approver.person, user.id
        )));
    }
    Ok(())
}

/// Whether somebody may decide about this user where it is the turn of `parties`.
pub(super) fn has_right(
    approval: &Approval,
    parties: &BTreeSet<Party>,
    approver: &Approver,
    user: Option<&User>,
) -> Result<(), Refused> {
    if approver.local {
        return Ok(());
    }
    let everywhere = Scope::new();
    let mut scopes: Vec<&Scope> = Vec::new();
    for party in parties {
        match party {
            Party::Group(group) => scopes.extend(approver.groups.get(group).into_iter().flatten()),
            Party::Person(person) if *person == approver.person => scopes.push(&everywhere),
            Party::Person(_) => {}
        }
    }
    if parties.is_empty() && approver.outside {
        let words = format!("`{}` is in no group of approvers that the configuration names", approver.person);
        return Err(Refused::NoRight(words));
    }
    if parties.is_empty() {
        scopes.extend(approver.groups.values().flatten());
        scopes.extend(approver.groups.is_empty().then_some(&everywhere));
    } else if scopes.is_empty() {
        let asked: Vec<_> = parties.iter().map(|party| format!("`{party}`")).collect();
        let words = format!("`{}` is not whose turn it is; it is that of {}", approver.person, asked.join(", "));
        return Err(Refused::NoRight(words));
    }
    let labels = user.map(|user| user.labels.clone()).unwrap_or_default();
    let covers =
        |scope: &Scope| scope.iter().all(|(label, values)| labels.get(label).is_some_and(|it| values.contains(it)));
    let names_it = |scope: &Scope| match &approval.scope_label {
        Some(label) => scope.contains_key(label) || approver.scope.contains_key(label),
        None => true,
    };
    if covers(&approver.scope) && scopes.iter().any(|scope| covers(scope) && names_it(scope)) {
        return Ok(());
    }
    let at = approval.scope_label.as_ref().and_then(|label| Some((label, labels.get(label)?)));
    let at = at.map(|(label, value)| format!(" of {label} `{value}`")).unwrap_or_default();
    Err(Refused::NoRight(format!("`{}` has no right for users{at}; ask an approver who has", approver.person)))
}
