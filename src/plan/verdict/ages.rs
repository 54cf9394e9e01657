//! What time does to requests, and what of them nobody wants any more.
//!
//! # Guarantees
//! - Ages are judged by the time by which windows slide: no clock that is set, and no restart, makes a
//!   request expire.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::model::approval::Approval;
use crate::model::ids::EntitlementName;
use crate::model::request::Request;
use crate::model::request::RequestState;
use crate::model::request::Subject;
use crate::plan::verdict::Moment;
use crate::plan::verdict::rights::level_of;

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
pub(super) fn is_wanted(request: &Request, account: bool, has: impl Fn(&EntitlementName) -> bool) -> bool {
    match (&request.subject, request.state) {
        (_, RequestState::Refused | RequestState::Expired) => true,
        (Subject::Account, _) => account,
        (Subject::Grant(name), _) => account && has(name),
    }
}
