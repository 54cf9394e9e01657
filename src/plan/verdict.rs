//! What becomes of requests: what changes meet, and what decisions come to.
//!
//! # Guarantees
//! - The first last word stands: whoever decides later is told so.
//! - One person is one voice.

pub mod ages;
pub mod levels;
pub mod rights;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::Utc;

use crate::model::approval::Approval;
use crate::model::approval::Party;
use crate::model::change::Action;
use crate::model::ids::Digest;
use crate::model::ids::RequestId;
use crate::model::link::Space;
use crate::model::request::Request;
use crate::model::request::RequestState;
use crate::model::request::Vote;
use crate::model::request::Word;
use crate::model::request::voice;
use crate::model::user::User;
use crate::plan::canonical;
use crate::plan::gate::Ask;
use crate::plan::gate::Gatekeeper;
use crate::plan::verdict::rights::Approver;
use crate::plan::verdict::rights::has_right;
use crate::plan::verdict::rights::level_of;
use crate::plan::verdict::rights::not_their_own;
use crate::plan::verdict::rights::turn;

/// Hex digits of a request's name.
const DIGITS: usize = 16;

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What is shown.
    pub wall: DateTime<Utc>,
    /// What ages are judged by.
    pub window: DateTime<Utc>,
}

/// Why a word was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// This person may not say it.
    #[error("{0}")]
    NoRight(String),
    /// Somebody said the last word before, or it is not there any more.
    #[error("{0}")]
    Settled(String),
    /// It cannot be taken as it was said.
    #[error("{0}")]
    Invalid(String),
}

/// What a change meets at the gate.
#[derive(Clone, Debug, PartialEq)]
pub enum Met {
    /// It may be made; where a request waited for it, that is over.
    Open {
        /// Whether a request that waits is to be forgotten: nobody is asked any more.
        forget: bool,
    },
    /// It may be made, since this request was accepted just now, by a rule.
    Opened(Box<Request>),
    /// It is not made; the request as it stands from now on, where that is news.
    Shut(Option<Box<Request>>),
}

/// Judges one thing that a change gives by the request that is known of it.
///
/// `account`: the request for the user's account, where the ask is about an entitlement; what was
/// accepted with the account needs no other word.
pub fn meet(
    keeper: &Gatekeeper,
    (known, account): (Option<&Request>, Option<&Request>),
    ask: &Ask,
    (space, user, now): (&Space, Option<&User>, Moment),
) -> Met {
    let fresh = |known: Option<&Request>| asked_anew(keeper, known, ask, (space, user, now));
    let Some(known) = known else {
        let with_account = account.is_some_and(|account| {
            account.state == RequestState::Accepted && ask.asked.entitlements.is_subset(&account.asked.entitlements)
        });
        return if !ask.gated || with_account { Met::Open { forget: false } } else { fresh(None) };
    };
    let now_marked = user.map(|user| keeper.marks(user)).unwrap_or_default();
    // A field that the document names since then tells nothing of before.
    let reopened = now_marked.iter().any(|(field, mark)| known.marks.get(field).is_some_and(|then| then != mark));
    match known.state {
        RequestState::Accepted if !ask.gated => Met::Open { forget: false },
        RequestState::Accepted if covers(known, ask) && still_ruled(keeper, known, user) => Met::Open { forget: false },
        // More is asked for than anybody agreed to, or nobody did and the rule holds no longer.
        RequestState::Accepted => fresh(None),
        RequestState::Refused if !ask.gated || !reopened => marked_anew(known, now_marked),
        RequestState::Pending | RequestState::Expired if !ask.gated => Met::Open { forget: true },
        RequestState::Expired if !reopened => marked_anew(known, now_marked),
        RequestState::Refused | RequestState::Expired => fresh(Some(known)),
        RequestState::Pending => still_asked(keeper, known, ask, (space, user, now)),
    }
}

/// Whether what was accepted is what is asked for now, or less. Once it was done, who has an account by
/// it gets that account back by it, for as long as they are entitled.
fn covers(known: &Request, ask: &Ask) -> bool {
    let returns = matches!(ask.asked.action, Action::Reactivate | Action::Restore);
    let same = ask.asked.action == known.asked.action || known.done.is_some() || returns;
    same && ask.asked.entitlements.is_subset(&known.asked.entitlements)
}

/// Whether the rule that alone accepted a request holds for its user until the target has confirmed it. What a
/// person accepted stands.
fn still_ruled(keeper: &Gatekeeper, known: &Request, user: Option<&User>) -> bool {
    let by = known.decided.as_ref().map(|vote| vote.by.as_str());
    let rule = user.and_then(|user| keeper.accepted_by_rule(user)).map(|rule| by_word(&rule.name));
    !known.waits_by_rule() || rule.as_deref() == by
}

/// What was refused or expired stays so. Fields that the document names since then are counted from now on.
fn marked_anew(known: &Request, now: BTreeMap<String, Digest>) -> Met {
    let mut marks = now;
    marks.extend(known.marks.clone());
    Met::Shut((marks != known.marks).then(|| Box::new(Request { marks, ..known.clone() })))
}

/// A request that waits, as it is asked for now. Asking for more is another request, whose approvers
/// begin anew; asking for less is what they agreed to, and less.
fn still_asked(
    keeper: &Gatekeeper,
    known: &Request,
    ask: &Ask,
    (space, user, now): (&Space, Option<&User>, Moment),
) -> Met {
    let more = !ask.asked.entitlements.is_subset(&known.asked.entitlements) || ask.asked.action != known.asked.action;
    if more {
        return asked_anew(keeper, None, ask, (space, user, now));
    }
    let mut request = known.clone();
    request.asked = ask.asked.clone();
    if let Some(rule) = user.and_then(|user| keeper.accepted_by_rule(user)) {
        return Met::Opened(Box::new(by_rule(request, &rule.name, now)));
    }
    Met::Shut((request != *known).then(|| Box::new(request)))
}

fn asked_anew(
    keeper: &Gatekeeper,
    before: Option<&Request>,
    ask: &Ask,
    (space, user, now): (&Space, Option<&User>, Moment),
) -> Met {
    let Some(user) = user else { return Met::Shut(None) };
    let request = Request {
        id: name(space, user, ask, now.wall),
        record: user.id.clone(),
        subject: ask.subject.clone(),
        asked: ask.asked.clone(),
        since: now.wall,
        begun: now.window,
        state: RequestState::Pending,
        level: 0,
        turn: keeper.approval().and_then(|approval| levels::digests(approval).into_iter().next()),
        passed: Vec::new(),
        level_begun: now.window,
        escalated: false,
        reminders: 0,
        reminded: None,
        votes: before.map(|before| reopened_by_change(before, now)).unwrap_or_default(),
        decided: None,
        marks: keeper.marks(user),
        done: None,
        told: BTreeSet::new(),
    };
    match keeper.accepted_by_rule(user) {
        Some(rule) => Met::Opened(Box::new(by_rule(request, &rule.name, now))),
        None => Met::Shut(Some(Box::new(request))),
    }
}

/// What was said before a field changed that reopens a request: it is kept, and counts no more.
fn reopened_by_change(before: &Request, now: Moment) -> Vec<Vote> {
    let by = "rule:reopenOn".to_owned();
    let (said, person, at, level) = (Word::Reopen, by.clone(), now.wall, before.level);
    let reopened = Vote { said, person, by, at, level, of: None, reason: None };
    before.votes.iter().cloned().chain([reopened]).collect()
}

/// Names a request by what it asks for, where, and since when: equal worlds give equal names.
fn name(space: &Space, user: &User, ask: &Ask, at: DateTime<Utc>) -> RequestId {
    let digest = canonical::digest_of(serde_json::json!({
        "space": space,
        "record": user.id,
        "subject": ask.subject.word(),
        "action": ask.asked.action,
        "entitlements": ask.asked.entitlements,
        "at": at.timestamp_nanos_opt().unwrap_or_default(),
    }));
    RequestId::from(digest.as_str().chars().take(DIGITS).collect::<String>())
}

/// Who accepted, in the audit log, where a rule did.
fn by_word(rule: &str) -> String {
    format!("{}{rule}", Vote::RULE)
}

fn by_rule(request: Request, rule: &str, now: Moment) -> Request {
    let by = by_word(rule);
    let (said, person, at, level) = (Word::Accept, by.clone(), now.wall, request.level);
    let vote = Vote { said, person, by, at, level, of: None, reason: None };
    Request { state: RequestState::Accepted, decided: Some(vote), ..request }
}

/// What somebody says about a request, and about whom it is.
#[derive(Clone, Copy, Debug)]
pub struct Saying<'a> {
    /// Who says it.
    pub approver: &'a Approver,
    /// What is said.
    pub word: Word,
    /// Why.
    pub reason: Option<&'a str>,
    /// The user as the newest documents have them; `None`: nobody declares them any more.
    pub user: Option<&'a User>,
}

/// Takes a person's word: the request as it stands after it.
///
/// # Errors
/// Why it was not taken; nothing changed then.
pub fn say(approval: &Approval, request: &Request, saying: Saying<'_>, now: Moment) -> Result<Request, Refused> {
    let Saying { approver, word, reason, user } = saying;
    let realigned = levels::realigned(approval, request, now);
    let request = realigned.as_ref().unwrap_or(request);
    let level = level_of(approval, request).ok_or_else(no_level)?;
    not_their_own(approval, approver, user)?;
    match (word, request.state) {
        (Word::Accept | Word::Refuse, RequestState::Pending) => {
            has_right(approval, &turn(request, level), approver, user)?;
        }
        (Word::Reopen, RequestState::Refused | RequestState::Expired) => {
            may_reopen(approval, approver, user)?;
        }
        (Word::Accept | Word::Refuse | Word::Reopen, _) => return Err(settled(request)),
    }
    let vote = Vote {
        said: word,
        by: approver.by.clone(),
        person: approver.person.clone(),
        at: now.wall,
        level: request.level,
        of: request.turn.clone().filter(|_| word == Word::Accept),
        reason: reason.map(str::to_owned),
    };
    match word {
        Word::Accept => accepted(approval, request, (vote, approver), now),
        Word::Refuse if vote.reason.is_none() => {
            Err(Refused::Invalid("say why it is refused: whoever asked for it will want to know".to_owned()))
        }
        Word::Refuse => {
            let mut request = request.clone();
            request.votes.push(vote.clone());
            Ok(Request { state: RequestState::Refused, decided: Some(vote), ..request })
        }
        Word::Reopen => {
            let mut request = begun_anew(approval, request, now);
            request.votes.push(vote);
            Ok(request)
        }
    }
}

/// Whoever has a say at any level, as far as a person let them.
fn may_reopen(approval: &Approval, approver: &Approver, user: Option<&User>) -> Result<(), Refused> {
    let has_it = |parties: &BTreeSet<Party>| has_right(approval, parties, approver, user);
    if let Some(parties) = &approval.reopen_by {
        return has_it(parties);
    }
    approval.levels.iter().map(|level| has_it(&level.everybody())).reduce(Result::or).unwrap_or_else(|| Err(no_level()))
}

fn no_level() -> Refused {
    Refused::NoRight("the target's document names nobody who decides; add `levels` to its `approval`".to_owned())
}

fn settled(request: &Request) -> Refused {
    let id = &request.id;
    let who = request.decided.as_ref().map(|vote| format!(" by {} at {}", vote.by, vote.at.to_rfc3339()));
    let who = who.unwrap_or_default();
    Refused::Settled(match request.state {
        RequestState::Pending => format!("request `{id}` waits: there is nothing to reopen"),
        RequestState::Accepted => format!(
            "request `{id}` was accepted{who}; to take access away again `rosterd revoke {}`, or change the manifests",
            request.record
        ),
        RequestState::Refused => {
            format!("request `{id}` was refused{who}; `rosterd requests reopen {id}` lets it be decided anew")
        }
        RequestState::Expired => {
            format!("request `{id}` expired; `rosterd requests reopen {id}` lets it be decided anew")
        }
    })
}

/// Votes of the round that runs now: what was said before a reopening counts no more.
fn round(request: &Request) -> impl Iterator<Item = &Vote> {
    let begun = request.votes.iter().rposition(|vote| vote.said == Word::Reopen).map_or(0, |at| at + 1);
    request.votes.iter().skip(begun)
}

/// Without sign-in and approvers the holder of the local token is the one person there is, who stands for whomever is
/// asked.
fn accepted(
    approval: &Approval,
    request: &Request,
    (vote, approver): (Vote, &Approver),
    now: Moment,
) -> Result<Request, Refused> {
    let alone = approver.local;
    let digests = levels::digests(approval);
    let mut voices: BTreeSet<String> = BTreeSet::new();
    for before in levels::voices(&digests, request) {
        if approver.is(&before.person) && !alone {
            return Err(Refused::Settled(format!(
                "`{}` accepted request `{}` already, and one person is one voice; somebody else has to agree",
                vote.person, request.id
            )));
        }
        if before.of == vote.of {
            voices.insert(voice(&before.person));
        }
    }
    voices.insert(voice(&vote.person));
    let quorum = level_of(approval, request).ok_or_else(no_level)?.quorum;
    let enough = voices.len() >= quorum || alone;
    let mut next = request.clone();
    next.votes.push(vote.clone());
    let is_open = |digest: &Digest| !request.passed.contains(digest) && request.turn.as_ref() != Some(digest);
    if enough && !digests.iter().any(is_open) {
        return Ok(Request { state: RequestState::Accepted, decided: Some(vote), ..next });
    }
    if enough {
        next.passed.extend(request.turn.clone());
        next.level = levels::position(&digests, &next);
        next.turn = digests.get(next.level).cloned();
        (next.level_begun, next.escalated, next.reminded) = (now.window, false, None);
    }
    Ok(next)
}

fn begun_anew(approval: &Approval, request: &Request, now: Moment) -> Request {
    Request {
        state: RequestState::Pending,
        since: now.wall,
        begun: now.window,
        level: 0,
        turn: levels::digests(approval).into_iter().next(),
        passed: Vec::new(),
        level_begun: now.window,
        escalated: false,
        reminders: 0,
        reminded: None,
        decided: None,
        done: None,
        ..request.clone()
    }
}

/// What is shown of a request: a decision that is written down is good for this alone.
pub fn shown(space: &Space, request: &Request, user: Option<&User>) -> Digest {
    let user = user.map(|user| {
        serde_json::json!({
            "givenName": user.given_name,
            "familyName": user.family_name,
            "email": user.email,
            "userType": user.user_type,
            "labels": user.labels,
        })
    });
    canonical::digest_of(serde_json::json!({
        "space": space,
        "request": request.id,
        "record": request.record,
        "subject": request.subject.word(),
        "action": request.asked.action,
        "entitlements": request.asked.entitlements,
        "user": user,
        // What was meant for an earlier round is no word about this one.
        "round": request.votes.iter().filter(|vote| vote.said == Word::Reopen).count(),
    }))
}

#[cfg(test)]
pub(in crate::plan) mod tests;
