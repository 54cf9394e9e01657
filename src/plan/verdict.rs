//! What becomes of requests: who may decide, what decisions come to, and what time does.
//!
//! # Guarantees
//! - The first last word stands: whoever decides later is told so.
//! - Nobody decides about themselves or what they wrote, and one person is one voice.
//! - Ages are judged by the time by which windows slide: no clock that is set, and no restart, makes a
//!   request expire.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::model::addressee::LabelScope;
use crate::model::approval::Approval;
use crate::model::approval::Level;
use crate::model::approval::Party;
use crate::model::change::Action;
use crate::model::ids::Digest;
use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::ids::RequestId;
use crate::model::link::Space;
use crate::model::request::Request;
use crate::model::request::RequestState;
use crate::model::request::Subject;
use crate::model::request::Vote;
use crate::model::request::Word;
use crate::model::user::User;
use crate::plan::canonical;
use crate::plan::gate::Ask;
use crate::plan::gate::Gatekeeper;

/// Hex digits of a request's name.
const DIGITS: usize = 16;

/// For which users a right is good.
pub type Scope = LabelScope;

/// Somebody who decides, with what the operator's configuration and their token say of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approver {
    /// Who, as in the audit log: `token:NAME`, `local`.
    pub by: String,
    /// The person behind it.
    pub person: String,
    /// Whether it is the holder of the local token of an installation that names no approvers.
    pub local: bool,
    /// Whether the configuration names approvers, and no group of theirs among them.
    pub outside: bool,
    /// Groups they are in, with where each of them has a say.
    pub groups: BTreeMap<String, Vec<Scope>>,
    /// Where their token is good.
    pub scope: Scope,
}

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
    let reopened = Vote { said: Word::Reopen, person: by.clone(), by, at: now.wall, level: before.level, reason: None };
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
    let vote = Vote { said: Word::Accept, person: by.clone(), by, at: now.wall, level: request.level, reason: None };
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
    let level = level_of(approval, request).ok_or_else(no_level)?;
    not_their_own(approval, approver, user)?;
    match (word, request.state) {
        (Word::Accept | Word::Refuse, RequestState::Pending) => {
            has_right(approval, &turn(request, level), approver, user)?;
        }
        (Word::Reopen, RequestState::Refused | RequestState::Expired) => {
            let any = |level: &Level| has_right(approval, &everybody(level), approver, user);
            approval.levels.iter().map(any).reduce(Result::or).unwrap_or_else(|| Err(no_level()))?;
        }
        (Word::Accept | Word::Refuse | Word::Reopen, _) => return Err(settled(request)),
    }
    let vote = Vote {
        said: word,
        by: approver.by.clone(),
        person: approver.person.clone(),
        at: now.wall,
        level: request.level,
        reason: reason.map(str::to_owned),
    };
    match word {
        Word::Accept => accepted(approval, request, (vote, approver.local), now),
        Word::Refuse if vote.reason.is_none() => {
            Err(Refused::Invalid("say why it is refused: whoever asked for it will want to know".to_owned()))
        }
        Word::Refuse => {
            let mut request = request.clone();
            request.votes.push(vote.clone());
            Ok(Request { state: RequestState::Refused, decided: Some(vote), ..request })
        }
        Word::Reopen => {
            let mut request = begun_anew(request, now);
            request.votes.push(vote);
            Ok(request)
        }
    }
}

/// Whose turn a request is. A document that lost levels meanwhile leaves its last one.
pub fn level_of<'a>(approval: &'a Approval, request: &Request) -> Option<&'a Level> {
    approval.levels.get(request.level).or(approval.levels.last())
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

/// `alone`: without sign-in and approvers the holder of the local token is the one person there is, who stands for
/// whomever is asked.
fn accepted(
    approval: &Approval,
    request: &Request,
    (vote, alone): (Vote, bool),
    now: Moment,
) -> Result<Request, Refused> {
    let mut voices: BTreeSet<&str> = BTreeSet::new();
    for before in round(request).filter(|before| before.said == Word::Accept) {
        if before.person == vote.person && !alone {
            return Err(Refused::Settled(format!(
                "`{}` accepted request `{}` already, and one person is one voice; somebody else has to agree",
                vote.person, request.id
            )));
        }
        if before.level == request.level {
            voices.insert(&before.person);
        }
    }
    voices.insert(&vote.person);
    let quorum = level_of(approval, request).ok_or_else(no_level)?.quorum;
    let enough = voices.len() >= quorum || alone;
    let last = request.level + 1 >= approval.levels.len();
    let mut next = request.clone();
    next.votes.push(vote.clone());
    if enough && last {
        return Ok(Request { state: RequestState::Accepted, decided: Some(vote), ..next });
    }
    if enough {
        next.level += 1;
        (next.level_begun, next.escalated, next.reminded) = (now.window, false, None);
    }
    Ok(next)
}

fn begun_anew(request: &Request, now: Moment) -> Request {
    Request {
        state: RequestState::Pending,
        since: now.wall,
        begun: now.window,
        level: 0,
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

/// Whether it is somebody's turn to decide about a request: who has said so already is not asked again.
/// `mail` is another name of theirs, by which they may be told of in documents.
pub fn is_turn_of(approval: &Approval, request: &Request, approver: &Approver, mail: &str, user: &User) -> bool {
    let level = level_of(approval, request);
    let named = |name: &str| name == approver.person || name == mail;
    let has_spoken = || round(request).any(|vote| vote.said == Word::Accept && named(&vote.person));
    let by_mail = Approver { person: mail.to_owned(), ..approver.clone() };
    let is_own = || [approver, &by_mail].into_iter().any(|one| not_their_own(approval, one, Some(user)).is_err());
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

fn everybody(level: &Level) -> BTreeSet<Party> {
    let to = level.escalate.iter().filter(|_| !level.any_of.is_empty()).flat_map(|escalation| &escalation.to);
    level.any_of.iter().chain(to).cloned().collect()
}

/// Nobody decides about themselves, nor about what they wrote.
fn not_their_own(approval: &Approval, approver: &Approver, user: Option<&User>) -> Result<(), Refused> {
    let Some(user) = user else { return Ok(()) };
    let is_theirs = |name: &str| name.eq_ignore_ascii_case(&approver.person);
    let names = user.formerly.iter().chain([&user.id]).map(RecordId::as_str);
    if names.chain(user.email.as_deref()).any(is_theirs) {
        return Err(Refused::NoRight(format!(
            "`{}` cannot decide about themselves; ask another approver",
            approver.person
        )));
    }
    let author = approval.author_label.as_ref().and_then(|label| user.labels.get(label));
    if author.is_some_and(|author| author.split([',', ' ']).any(is_theirs)) {
        return Err(Refused::NoRight(format!(
            "`{}` wrote the document of `{}` and cannot decide about it; ask another approver",
            approver.person, user.id
        )));
    }
    Ok(())
}

/// Whether somebody may decide about this user where it is the turn of `parties`.
fn has_right(
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

/// What time did to a request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Passed {
    /// Others may decide, too.
    Escalated,
    /// Those whose turn it is are reminded.
    Reminded,
    /// Nobody decided in time.
    Expired,
}

impl Passed {
    /// The kind of its audit event.
    pub fn event(self) -> &'static str {
        match self {
            Self::Escalated => "request-escalated",
            Self::Reminded => "request-reminded",
            Self::Expired => "request-expired",
        }
    }
}

fn after(at: DateTime<Utc>, length: Duration) -> DateTime<Utc> {
    let length = TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX);
    at.checked_add_signed(length).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// When time does something to a request next, in the time by which windows slide.
pub fn due(approval: &Approval, request: &Request) -> Option<DateTime<Utc>> {
    turns(approval, request).map(|(at, _)| at)
}

fn turns(approval: &Approval, request: &Request) -> Option<(DateTime<Utc>, Passed)> {
    if request.state != RequestState::Pending {
        return None;
    }
    let expires = approval.expires.map(|length| (after(request.begun, length), Passed::Expired));
    let level = level_of(approval, request);
    let escalation = level.and_then(|level| level.escalate.as_ref()).filter(|_| !request.escalated);
    let escalates = escalation.map(|to| (after(request.level_begun, to.after), Passed::Escalated));
    let last = request.reminded.unwrap_or(request.level_begun);
    let reminds = approval.remind_every.map(|every| (after(last, every), Passed::Reminded));
    [expires, escalates, reminds].into_iter().flatten().min()
}

/// Lets time pass for a request; what it did last, where it did anything.
///
/// However long nobody looked, one reminder is one.
pub fn pass(approval: &Approval, request: &Request, now: Moment) -> Option<(Request, BTreeSet<Passed>)> {
    let mut next = request.clone();
    let mut passed = BTreeSet::new();
    while let Some((_, what)) = turns(approval, &next).filter(|(at, _)| *at <= now.window) {
        passed.insert(what);
        match what {
            Passed::Escalated => next.escalated = true,
            Passed::Reminded => {
                next.reminders = next.reminders.saturating_add(1);
                next.reminded = Some(now.window);
            }
            Passed::Expired => next.state = RequestState::Expired,
        }
    }
    (!passed.is_empty()).then_some((next, passed))
}

/// What of a request nobody wants any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lapsed {
    /// It stands whole.
    Nothing,
    /// These entitlements, which were accepted with an account.
    Of(BTreeSet<EntitlementName>),
    /// All of it.
    All,
}

/// What of a request lapsed, where its user should have an `account`, or none, and `has` these entitlements. What
/// comes back after that is asked about again.
pub fn lapsed(request: &Request, account: bool, has: impl Fn(&EntitlementName) -> bool) -> Lapsed {
    if !is_wanted(request, account, &has) {
        return Lapsed::All;
    }
    let gone: BTreeSet<_> = request.asked.entitlements.iter().filter(|name| !has(name)).cloned().collect();
    let with_account = request.subject == Subject::Account && request.state == RequestState::Accepted;
    if with_account && !gone.is_empty() { Lapsed::Of(gone) } else { Lapsed::Nothing }
}

/// Whether what a request lets through, or waits for, is still wanted. What was refused stays so all
/// the same, and so does what expired.
fn is_wanted(request: &Request, account: bool, has: impl Fn(&EntitlementName) -> bool) -> bool {
    match (&request.subject, request.state) {
        (_, RequestState::Refused | RequestState::Expired) => true,
        (Subject::Account, _) => account,
        (Subject::Grant(name), _) => account && has(name),
    }
}

#[cfg(test)]
pub(in crate::plan) mod tests;
