//! What becomes of an account that is linked to a user.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::model::account::Account;
use crate::model::account::AccountState;
use crate::model::account::Membership;
use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::ids::EntitlementName;
use crate::model::link::Link;
use crate::model::path::AttributePath;
use crate::model::plan::Skip;
use crate::model::plan::SkipReason;
use crate::model::projection::Desired;
use crate::model::projection::NoAccess;
use crate::model::projection::NoAccessReason;
use crate::model::projection::Projection;
use crate::model::target::Ending;
use crate::plan::diff;
use crate::plan::input::PlanInput;

/// What was decided about one user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    /// Changes, narrowing first.
    pub changes: Vec<Change>,
    /// Why nothing more is done.
    pub skips: Vec<Skip>,
}

/// Decides about a linked account that was seen.
pub fn decide(input: &PlanInput<'_>, link: &Link, account: &Account) -> Decided {
    let case = Case { input, link, account };
    if input.is_untouchable(account) {
        return case.skip(SkipReason::Protected);
    }
    match input.desired.get(&link.record) {
        Some(Desired::Account(projection)) => case.entitled(projection),
        Some(Desired::None(no)) => case.ended(no),
        Some(Desired::Conflict(conflict)) => case.skip(SkipReason::Conflict(conflict.clone())),
        None => case.ended(&gone(input)),
    }
}

/// What becomes of accounts whose user is no longer declared.
pub fn gone(input: &PlanInput<'_>) -> NoAccess {
    NoAccess { reason: NoAccessReason::Gone, ending: input.target.account.on_gone, origins: Vec::new() }
}

/// Whether anything would surely be done about an account that was not seen.
pub fn is_due(input: &PlanInput<'_>, link: &Link) -> bool {
    let ends = |no: &NoAccess| match no.ending {
        Ending::Disable => !link.disabled_by_us,
        Ending::Strip => !link.granted.is_empty(),
        Ending::List | Ending::Keep => false,
    };
    match input.desired.get(&link.record) {
        Some(Desired::Account(projection)) => {
            link.disabled_by_us || !link.granted.is_subset(&diff::memberships(projection))
        }
        Some(Desired::None(no)) => ends(no),
        Some(Desired::Conflict(_)) => false,
        None => ends(&gone(input)),
    }
}

struct Case<'c> {
    input: &'c PlanInput<'c>,
    link: &'c Link,
    account: &'c Account,
}

impl Case<'_> {
    fn entitled(&self, projection: &Projection) -> Decided {
        let wanted = diff::memberships(projection);
        let surplus = self.account.memberships.intersection(&self.link.granted).filter(|held| !wanted.contains(held));
        let lapsed = |membership: &Membership| {
            let mut words = diff::words(self.input.target, membership);
            // The end date of a role is in the user's own document.
            if words.any(|word| projection.lapsed.contains(word)) { Cause::Explicit } else { Cause::Inferred }
        };
        let mut decided = Decided {
            changes: self.narrowing(surplus.cloned().collect(), &lapsed, "no grant of the user gives this any more"),
            skips: Vec::new(),
        };
        match self.account.state {
            _ if self.input.is_protected(wanted_name(projection)) => {
                // Renaming an account to a protected name would put it out of reach.
                decided.skips.push(self.skipped(SkipReason::Protected));
            }
            AccountState::Pending | AccountState::Active | AccountState::Unknown => {
                decided.changes.extend(self.upkeep(projection));
            }
            AccountState::Disabled if self.link.disabled_by_us => {
                decided.changes.push(self.reactivation(projection));
            }
            other @ (AccountState::Disabled
            | AccountState::Suspended
            | AccountState::Locked
            | AccountState::DeletedRecoverable) => {
                decided.skips.push(self.skipped(SkipReason::OtherHand(other)));
            }
        }
        if decided.changes.is_empty() && decided.skips.is_empty() {
            return self.skip(SkipReason::InSync);
        }
        decided
    }

    /// Attributes that differ, then entitlements that are missing: two changes, because only the
    /// second gives access.
    fn upkeep(&self, projection: &Projection) -> Vec<Change> {
        let mut changes = Vec::new();
        let fields = diff::fields(&self.input.comparison(), projection, self.account);
        if !fields.is_empty() {
            let reason = "the account differs from its projection";
            let origins = projection.origins.clone();
            changes.push(Change { fields, origins, ..self.change(Action::Update, Effect::Neutral, reason) });
        }
        let grant = diff::grants(projection, &self.account.memberships);
        if !grant.is_empty() {
            let reason = "the user's roles give more than the account has";
            let origins = projection.origins.clone();
            changes.push(Change { grant, origins, ..self.change(Action::Update, Effect::Widens, reason) });
        }
        changes
    }

    fn reactivation(&self, projection: &Projection) -> Change {
        Change {
            active: Some(true),
            fields: diff::fields(&self.input.comparison(), projection, self.account),
            grant: diff::grants(projection, &self.account.memberships),
            origins: projection.origins.clone(),
            ..self.change(
                Action::Reactivate,
                Effect::Widens,
                "access is back, and it was rosterd that disabled the account",
            )
        }
    }

    fn ended(&self, no: &NoAccess) -> Decided {
        if !self.account.state.gives_access() {
            return self.skip(SkipReason::NotEntitled(no.reason.as_str().to_owned()));
        }
        let why = no.reason.as_str();
        match no.ending {
            Ending::Disable => {
                let cause = self.cause(None).unwrap_or_else(|| no.reason.default_cause());
                let change = Change {
                    cause: Some(cause),
                    active: Some(false),
                    origins: no.origins.clone(),
                    ..self.change(Action::Disable, Effect::Narrows, why)
                };
                Decided { changes: vec![change], skips: Vec::new() }
            }
            Ending::Strip => {
                let held = self.account.memberships.intersection(&self.link.granted).cloned().collect();
                let account = |_: &Membership| self.cause(None).unwrap_or_else(|| no.reason.default_cause());
                let mut changes = self.narrowing(held, &account, why);
                for change in &mut changes {
                    change.origins.clone_from(&no.origins);
                }
                if changes.is_empty() {
                    return self.skip(SkipReason::Kept(format!("{why}; `strip` leaves the account active")));
                }
                Decided { changes, skips: Vec::new() }
            }
            Ending::List => self.skip(SkipReason::Kept(format!("{why}; `list` leaves the account to people"))),
            Ending::Keep => self.skip(SkipReason::Kept(format!("{why}; `keep` leaves the account as it is"))),
        }
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
        let change = |(cause, revoke)| Change {
            cause: Some(cause),
            revoke,
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
            fields: Vec::new(),
            grant: Vec::new(),
            revoke: Vec::new(),
            active: None,
            reason: reason.to_owned(),
            origins: Vec::new(),
        }
    }

    fn skip(&self, reason: SkipReason) -> Decided {
        Decided { changes: Vec::new(), skips: vec![self.skipped(reason)] }
    }

    fn skipped(&self, reason: SkipReason) -> Skip {
        Skip { record: self.link.record.clone(), account: Some(self.account.id.clone()), reason }
    }
}

/// The user name that a projection asks for; empty where it asks for none.
pub fn wanted_name(projection: &Projection) -> &str {
    let projected = projection.values.get(&AttributePath::user_name());
    projected.and_then(|projected| projected.value.as_ref()?.as_str()).unwrap_or_default()
}
