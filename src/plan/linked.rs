//! What becomes of an account that is linked to a user.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::SecondsFormat;
use chrono::Utc;

use crate::model::account::Account;
use crate::model::account::AccountState;
use crate::model::account::Membership;
use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::list::List;
use crate::model::path::AttributePath;
use crate::model::plan::Skip;
use crate::model::plan::SkipReason;
use crate::model::projection::Conflict;
use crate::model::projection::Desired;
use crate::model::projection::NoAccess;
use crate::model::projection::NoAccessReason;
use crate::model::projection::Projection;
use crate::model::target::Ending;
use crate::model::target::Members;
use crate::model::target::Regain;
use crate::plan::blockers;
use crate::plan::deletion;
use crate::plan::diff;
use crate::plan::diff::Differences;
use crate::plan::identity;
use crate::plan::input::PlanInput;
use crate::plan::silence;
use crate::plan::states;
use crate::plan::states::Course;

/// What was decided about one user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    /// Changes, narrowing first.
    pub changes: Vec<Change>,
    /// Why nothing more is done.
    pub skips: Vec<Skip>,
}

/// Decides about a linked account that was seen; `desired` is what its user should have.
pub fn decide(input: &PlanInput<'_>, link: &Link, account: &Account, desired: Option<&Desired>) -> Decided {
    let case = Case { input, link, account };
    if input.is_untouchable(account) {
        return case.skip(SkipReason::Protected);
    }
    match desired {
        Some(Desired::Account(projection)) => case.entitled(projection),
        Some(Desired::None(no)) => case.ended(no, desired),
        Some(Desired::Conflict(conflict)) => case.skip(SkipReason::Conflict(conflict.clone())),
        None => case.gone(input.known.successor(&link.record)),
    }
}

/// What becomes of accounts whose user is no longer declared.
pub fn gone(input: &PlanInput<'_>) -> NoAccess {
    NoAccess { reason: NoAccessReason::Gone, ending: input.target.account.on_gone, origins: List::default() }
}

/// Whether anything would surely be done about an account that was not seen.
pub fn is_due(input: &PlanInput<'_>, link: &Link) -> bool {
    let ends = |no: &NoAccess| match no.ending {
        Ending::Disable | Ending::Suspend | Ending::Delete => !link.disabled_by_us,
        Ending::Strip => !link.granted.is_empty(),
        Ending::List | Ending::Keep => false,
    };
    match input.desired.of(&link.record).as_deref() {
        Some(Desired::Account(projection)) => {
            link.disabled_by_us || !link.granted.is_subset(&diff::memberships(projection))
        }
        Some(Desired::None(no)) => ends(no),
        Some(Desired::Conflict(_)) => false,
        // Where somebody may be the same person, there is something to settle and nothing to do.
        None => input.known.successor(&link.record).is_none() && ends(&gone(input)),
    }
}

/// What stays of a decision about a user who is gone while `successor` may be the same person: the
/// narrowing that somebody meant, and a conflict that names both.
pub fn without_inference(mut decided: Decided, link: &Link, successor: &RecordId) -> Decided {
    decided.changes.retain(|change| change.cause == Some(Cause::Explicit) && change.action != Action::Delete);
    let reason = SkipReason::Conflict(identity::undeclared(&link.record, successor, &link.account));
    decided.skips = vec![Skip { record: link.record.clone(), account: Some(link.account.clone()), reason }];
    decided
}

struct Case<'c> {
    input: &'c PlanInput<'c>,
    link: &'c Link,
    account: &'c Account,
}

impl Case<'_> {
    fn entitled(&self, projection: &Projection) -> Decided {
        let lapsed = |membership: &Membership| {
            let mut words = diff::words(self.input.target, membership);
            // The end date of a role is in the user's own document.
            let ends = words.any(|word| projection.lapsed.contains(word)) && self.link.granted.contains(membership);
            if ends { Cause::Explicit } else { Cause::Inferred }
        };
        let surplus = self.surplus(projection);
        let mut decided = Decided {
            changes: self.narrowing(surplus, &lapsed, "no grant of the user gives this any more"),
            skips: Vec::new(),
        };
        let record = &self.link.record;
        let hand = self.input.hand(&self.account.id);
        match states::course(&self.input.target.account, self.link, hand, self.account.state) {
            _ if self.input.known.reused.contains(record) => {
                decided.skips.push(self.conflicting(identity::reused(record, &self.account.id)));
            }
            _ if self.input.is_protected(wanted_name(projection)) => {
                // Renaming an account to a protected name would put it out of reach.
                decided.skips.push(self.skipped(SkipReason::Protected));
            }
            Course::Reactivate(_) | Course::Restore(_) if self.link.disabled_by_us && self.asks_to_regain() => {
                decided.skips.push(self.conflicting(identity::asked(record, &self.account.id)));
            }
            Course::Keep => self.upkeep(projection, &mut decided),
            Course::Reactivate(why) => self.returned(Action::Reactivate, why, projection, &mut decided),
            Course::Restore(why) => self.returned(Action::Restore, why, projection, &mut decided),
            Course::Leave(state) => decided.skips.push(self.skipped(SkipReason::OtherHand(state))),
        }
        if decided.changes.is_empty() && decided.skips.is_empty() {
            return self.skip(SkipReason::InSync);
        }
        decided
    }

    /// Memberships that no grant of the user gives and that rosterd may take away: those it
    /// granted, and with `members: exact` every one of the catalogue.
    fn surplus(&self, projection: &Projection) -> BTreeSet<Membership> {
        let wanted = diff::memberships(projection);
        let exact = self.input.target.account.members == Members::Exact;
        let catalogued = |held: &Membership| diff::words(self.input.target, held).next().is_some();
        let ours = |held: &&Membership| self.link.granted.contains(*held) || (exact && catalogued(held));
        self.account.memberships.iter().filter(ours).filter(|held| !wanted.contains(held)).cloned().collect()
    }

    /// Attributes that differ, then entitlements that are missing: two changes, because only the
    /// second gives access.
    fn upkeep(&self, projection: &Projection, decided: &mut Decided) {
        let differences = self.differences(projection, decided);
        if !differences.fields.is_empty() {
            let reason = "the account differs from its projection";
            let (fields, origins) = (differences.fields.into(), projection.origins.clone());
            decided.changes.push(Change { fields, origins, ..self.change(Action::Update, Effect::Neutral, reason) });
        }
        let grant: List<_> = diff::grants(projection, &self.account.memberships).into();
        if !grant.is_empty() {
            let reason = "the user's roles give more than the account has";
            let origins = projection.origins.clone();
            decided.changes.push(Change { grant, origins, ..self.change(Action::Update, Effect::Widens, reason) });
        }
    }

    fn returned(&self, action: Action, why: &str, projection: &Projection, decided: &mut Decided) {
        let differences = self.differences(projection, decided);
        decided.changes.push(Change {
            active: Some(true),
            fields: differences.fields.into(),
            grant: diff::grants(projection, &self.account.memberships).into(),
            origins: projection.origins.clone(),
            ..self.change(action, Effect::Widens, why)
        });
    }

    /// What differs; what is only told becomes a skip.
    fn differences(&self, projection: &Projection, decided: &mut Decided) -> Differences {
        let hand = self.input.hand(&self.account.id);
        let mut found = diff::fields(&self.input.comparison(), projection, self.account, hand);
        if !found.reported.is_empty() {
            let reported = std::mem::take(&mut found.reported);
            decided.skips.push(self.skipped(SkipReason::Drift(reported)));
        }
        found.fields.extend(silence::on(self.input, projection, self.account));
        found
    }

    /// Whether a person must say first that who comes back gets this account again.
    fn asks_to_regain(&self) -> bool {
        let asks = self.input.target.account.regain == Regain::Ask;
        asks && !self.input.known.regained.contains(&self.link.record)
    }

    /// The user is no longer declared. Where another user seems to be the same person, nothing is
    /// inferred from it: what a person's own word took away still goes.
    fn gone(&self, successor: Option<&RecordId>) -> Decided {
        let decided = self.ended(&gone(self.input), None);
        match successor {
            Some(successor) => without_inference(decided, self.link, successor),
            None => decided,
        }
    }

    fn conflicting(&self, conflict: Conflict) -> Skip {
        self.skipped(SkipReason::Conflict(conflict))
    }

    /// `desired` is what led to `no`; `None`: the user is no longer declared.
    fn ended(&self, no: &NoAccess, desired: Option<&Desired>) -> Decided {
        let why = no.reason.as_str();
        let open = states::is_open(self.link, self.account.state);
        let deleted = self.account.state == AccountState::DeletedRecoverable;
        let waits = self.input.target.account.deletion.is_some();
        let mut changes = Vec::new();
        let shuts = matches!(no.ending, Ending::Disable | Ending::Suspend | Ending::Delete);
        if let Some(until) = blockers::waits(self.input, self.account, no).filter(|_| shuts && open) {
            return self.blocked(no, until);
        }
        match no.ending {
            Ending::Disable | Ending::Suspend => {
                changes.extend(open.then(|| self.end(Action::Disable, no)));
                let due = deletion::due(self.input, self.link, self.account, desired);
                match due {
                    Some(due) if due <= self.input.now => changes.push(self.deleted(no, due)),
                    Some(_) | None => changes.extend(self.silenced().filter(|_| !open)),
                }
                if let Some(due) = due.filter(|_| changes.is_empty()) {
                    return self.skip(SkipReason::NotEntitled(deletion_waits(why, due)));
                }
            }
            Ending::Delete if waits => {
                return self.ended(&NoAccess { ending: Ending::Disable, ..no.clone() }, desired);
            }
            Ending::Delete => {
                // Access ends at once; what cannot be undone waits for a person.
                changes.extend(open.then(|| self.end(Action::Disable, no)));
                changes.extend((!deleted).then(|| self.end(Action::Delete, no)));
            }
            Ending::Strip if !deleted => {
                changes = self.stripped(no);
                if changes.is_empty() && open {
                    return self.skip(SkipReason::Kept(format!("{why}; `strip` leaves the account active")));
                }
            }
            Ending::List if open => {
                return self.skip(SkipReason::Kept(format!("{why}; `list` leaves the account to people")));
            }
            Ending::Keep if open => {
                return self.skip(SkipReason::Kept(format!("{why}; `keep` leaves the account as it is")));
            }
            Ending::Strip | Ending::List | Ending::Keep => {}
        }
        if changes.is_empty() {
            return self.skip(SkipReason::NotEntitled(why.to_owned()));
        }
        Decided { changes, skips: Vec::new() }
    }

    /// What can be taken without shutting the account goes at once; the rest waits.
    fn blocked(&self, no: &NoAccess, until: DateTime<Utc>) -> Decided {
        let hanging = blockers::told(&self.input.target.account, self.account).unwrap_or_default();
        let what = format!("{}; {hanging}, and it is shut on {} at the latest", no.reason.as_str(), day(until));
        Decided { changes: self.stripped(no), skips: vec![self.skipped(SkipReason::Blocked(what))] }
    }

    fn end(&self, action: Action, no: &NoAccess) -> Change {
        let hanging = blockers::told(&self.input.target.account, self.account).filter(|_| action == Action::Disable);
        let reason =
            hanging.map_or_else(|| no.reason.as_str().to_owned(), |what| format!("{}; {what}", no.reason.as_str()));
        Change {
            cause: Some(self.cause(None).unwrap_or_else(|| no.reason.default_cause())),
            active: (action == Action::Disable).then_some(false),
            origins: no.origins.clone(),
            ..self.change(action, Effect::Narrows, &reason)
        }
    }

    /// Mails that nobody reads any more. A change of its own, of an account that is shut: access ends
    /// whatever becomes of it, and where a limit keeps it the mails stay.
    fn silenced(&self) -> Option<Change> {
        let fields: List<_> = silence::off(self.input, self.link, self.account).into();
        let reason = "the account is ended, and its mails with it";
        (!fields.is_empty()).then(|| Change { fields, ..self.change(Action::Update, Effect::Neutral, reason) })
    }

    fn deleted(&self, no: &NoAccess, due: DateTime<Utc>) -> Change {
        let change = self.end(Action::Delete, no);
        let reason = format!("{}, and the account's `deleteAfter` was over on {}", change.reason, day(due)).into();
        Change { reason, ..change }
    }

    fn stripped(&self, no: &NoAccess) -> Vec<Change> {
        let held = self.account.memberships.intersection(&self.link.granted).cloned().collect();
        let account = |_: &Membership| self.cause(None).unwrap_or_else(|| no.reason.default_cause());
        let mut changes = self.narrowing(held, &account, no.reason.as_str());
        for change in &mut changes {
            change.origins.clone_from(&no.origins);
        }
        changes
    }

    /// One narrowing for each cause, since each has limits of its own; `otherwise` tells the cause
    /// where none was remembered.
    fn narrowing(
        &self,
        memberships: BTreeSet<Membership>,
        otherwise: &dyn Fn(&Membership) -> Cause,
        why: &str,
    ) -> Vec<Change> {
        let mut by_cause: BTreeMap<Cause, Vec<_>> = BTreeMap::new();
        for membership in memberships {
            let cause = self.cause_of(&membership).unwrap_or_else(|| otherwise(&membership));
            by_cause.entry(cause).or_default().push(diff::revocation(self.input.target, &membership));
        }
        let change = |(cause, revoke): (_, Vec<_>)| Change {
            cause: Some(cause),
            revoke: revoke.into(),
            ..self.change(Action::Narrow, Effect::Narrows, why)
        };
        by_cause.into_iter().map(change).collect()
    }

    /// Where two words mean one membership and their causes differ, the stricter limit is used.
    fn cause_of(&self, membership: &Membership) -> Option<Cause> {
        diff::words(self.input.target, membership).filter_map(|word| self.cause(Some(word))).max()
    }

    fn cause(&self, entitlement: Option<&EntitlementName>) -> Option<Cause> {
        self.input.causes.get(&(self.link.record.clone(), entitlement.cloned())).copied()
    }

    fn change(&self, action: Action, effect: Effect, reason: &str) -> Change {
        Change {
            record: self.link.record.clone(),
            account: Some(self.account.id.clone()),
            action,
            effect,
            cause: None,
            fields: List::default(),
            grant: List::default(),
            revoke: List::default(),
            active: None,
            reason: reason.into(),
            origins: List::default(),
        }
    }

    fn skip(&self, reason: SkipReason) -> Decided {
        Decided { changes: Vec::new(), skips: vec![self.skipped(reason)] }
    }

    fn skipped(&self, reason: SkipReason) -> Skip {
        Skip { record: self.link.record.clone(), account: Some(self.account.id.clone()), reason }
    }
}

fn deletion_waits(why: &str, due: DateTime<Utc>) -> String {
    format!("{why}; the account may be deleted from {} on", day(due))
}

fn day(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The user name that a projection asks for; empty where it asks for none.
pub fn wanted_name(projection: &Projection) -> &str {
    let projected = projection.values.get(&AttributePath::user_name());
    projected.and_then(|projected| projected.value.as_ref()?.as_str()).unwrap_or_default()
}
