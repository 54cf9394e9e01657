//! Laws about who may gain or lose access.

use std::collections::BTreeSet;

use crate::correlate::keys::is_empty;
use crate::model::account::AccountState;
use crate::model::account::Membership;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::origin::Origin;
use crate::model::projection::Desired;
use crate::model::projection::Projection;
use crate::model::target::Ending;
use crate::model::target::ForeignDelete;
use crate::model::target::ForeignDisable;
use crate::model::target::Members;
use crate::plan::check::Facts;
use crate::plan::check::all;
use crate::plan::check::each;
use crate::plan::check::name;
use crate::plan::check::silence;
use crate::plan::input::PlanInput;
use crate::plan::planner::Planned;

pub(super) fn widening_needs_entitlement(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    each(changes, |change| {
        let entitled = matches!(facts.desired.get(&change.record), Some(Desired::Account(_)));
        let silences = change.effect == Effect::Neutral && silence::is_all(change, facts);
        if change.is_silencing() && !silences {
            return Some("passes limits as mails that are switched off, and is something else");
        }
        (change.effect != Effect::Narrows && !entitled && !silences)
            .then_some("gives or writes something to a user without access")
    })
}

/// What gives access names the lines that gave it (L12): grants of this very user, for the account
/// and for each entitlement.
pub(super) fn widening_names_its_rule(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    each(changes, |change| {
        let gives = change.effect == Effect::Widens || change.active == Some(true) || !change.grant.is_empty();
        if !gives {
            return None;
        }
        let Some(projection) = projection(facts, change) else { return Some("gives access on nobody's authority") };
        let authorised = |origins: &[Origin], by: &[&Origin]| {
            !origins.is_empty() && origins.iter().all(|origin| by.contains(&origin))
        };
        if !authorised(&change.origins, &projection.origins.iter().collect::<Vec<_>>()) {
            return Some("gives access and names no line that says so");
        }
        let unnamed = change.grant.iter().any(|entry| {
            let grants = projection.entitlements.values().filter(|grant| grant.membership == entry.membership);
            !authorised(&entry.origins, &grants.flat_map(|grant| &grant.origins).collect::<Vec<_>>())
        });
        unnamed.then_some("gives an entitlement and names no grant that says so")
    })
}

/// A whole account is lost only by a user who has no access, and as the target's rule says.
pub(super) fn narrowing_needs_loss(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    each(changes, |change| {
        if change.effect != Effect::Narrows {
            return None;
        }
        let ending = match facts.desired.get(&change.record) {
            Some(Desired::Account(_)) => {
                return (change.action != Action::Narrow).then_some("takes the account of an entitled user");
            }
            Some(Desired::Conflict(_)) => return Some("takes access because of a conflict"),
            Some(Desired::None(no)) => no.ending,
            None => facts.target.account.on_gone,
        };
        // What is granted goes at once where shutting the account may wait for what hangs on it.
        let may_wait = facts.target.account.blockers.values().any(|blocker| blocker.wait.is_some());
        let right = match ending {
            Ending::Disable | Ending::Suspend | Ending::Delete if may_wait && change.action == Action::Narrow => true,
            Ending::Disable | Ending::Suspend if facts.target.account.deletion.is_none() => {
                change.action == Action::Disable
            }
            Ending::Disable | Ending::Suspend | Ending::Delete => {
                matches!(change.action, Action::Disable | Action::Delete)
            }
            Ending::Strip => change.action == Action::Narrow,
            Ending::List | Ending::Keep => false,
        };
        (!right).then_some("ends access in another way than the target's rule says")
    })
}

pub(super) fn only_granted_is_revoked(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    each(changes, |change| {
        let revoked = change.revoked();
        let granted = facts.links.get(&change.record).map(|link| &link.granted);
        let entitled = projection(facts, change).is_some();
        let told = entitled && facts.target.account.members == Members::Exact;
        let may = |membership: &Membership| {
            let catalogued = facts.target.entitlements.values().any(|entry| entry.membership == *membership);
            granted.is_some_and(|granted| granted.contains(membership)) || (told && catalogued)
        };
        if !revoked.iter().all(may) {
            return Some("takes away what rosterd did not grant");
        }
        let wanted = projection(facts, change).map(wanted).unwrap_or_default();
        (!revoked.is_disjoint(&wanted)).then_some("takes away what the user should have")
    })
}

pub(super) fn only_desired_is_granted(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    each(changes, |change| {
        let wanted = projection(facts, change).map(wanted).unwrap_or_default();
        (!change.granted().is_subset(&wanted)).then_some("grants what no role of the user gives")
    })
}

pub(super) fn only_ours_is_reactivated(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    each(changes, |change| {
        let hand = change.account.as_ref().and_then(|account| facts.hands.get(account));
        let said = hand.is_some_and(|hand| hand.regain);
        let ended_over = hand.and_then(|hand| hand.ended_over);
        let policy = &facts.target.account;
        let right = match change.action {
            Action::Reactivate => {
                let ours = facts.links.get(&change.record).is_some_and(|link| link.disabled_by_us);
                let undoes = policy.foreign_disable == ForeignDisable::Reactivate;
                (ours && ended_over.is_none()) || said || (undoes && ended_over != Some(AccountState::Locked))
            }
            Action::Restore => {
                let ours = hand.is_some_and(|hand| hand.deleted_by_us && hand.ended_over.is_none());
                ours || said || policy.foreign_delete == ForeignDelete::Recreate
            }
            Action::Create | Action::Adopt | Action::Update | Action::Narrow | Action::Disable | Action::Delete => true,
        };
        (!right).then_some("undoes what another hand did")
    })
}

pub(super) fn protected_is_untouched(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    each(changes, |change| {
        if change.account.is_some() && change.account.as_ref() == facts.own_account {
            return Some("writes the account of our own credential");
        }
        let names = change.fields.iter().filter(|field| field.path.as_str() == "userName");
        let mut names = names.flat_map(|field| [&field.before, &field.after]).flatten();
        names
            .any(|name| name.as_str().is_some_and(|name| facts.is_protected(name)))
            .then_some("writes a protected name")
    })
}

/// What only the accounts can tell.
pub(super) fn against_accounts(planned: &Planned, facts: &PlanInput<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    for change in all(&planned.plan) {
        let Some(id) = &change.account else { continue };
        let Some(account) = planned.seen.get(id) else {
            broken.push(format!("accounts-were-seen: {} is about an account nobody saw", name(change)));
            continue;
        };
        if account.user_name().is_some_and(|name| facts.is_protected(name)) {
            broken.push(format!("protected-is-untouched: {} writes a protected account", name(change)));
        }
        if !change.revoked().is_subset(&account.memberships) || !change.granted().is_disjoint(&account.memberships) {
            broken.push(format!("changes-something: {} gives what is held or takes what is not", name(change)));
        }
        let same = match change.active {
            Some(true) => account.state.gives_access(),
            Some(false) => matches!(account.state, AccountState::Disabled | AccountState::DeletedRecoverable),
            None => change.action == Action::Delete && account.state == AccountState::DeletedRecoverable,
        };
        let opens_lock = change.active == Some(true) && account.state == AccountState::Locked;
        if opens_lock {
            broken.push(format!("only-ours-is-reactivated: {} opens what the target locked", name(change)));
        }
        if same {
            broken.push(format!("changes-something: {} leaves the state as it is", name(change)));
        }
        let known = |path| account.values.get(path).filter(|value| !is_empty(value));
        let stale = change.fields.iter().any(|field| field.before.as_ref() != known(&field.path));
        if stale {
            broken.push(format!("changes-something: {} tells another value than the account has", name(change)));
        }
    }
    broken
}

fn projection<'f>(facts: &'f Facts<'_>, change: &Change) -> Option<&'f Projection> {
    match facts.desired.get(&change.record)? {
        Desired::Account(projection) => Some(projection),
        Desired::None(_) | Desired::Conflict(_) => None,
    }
}

fn wanted(projection: &Projection) -> BTreeSet<Membership> {
    projection.entitlements.values().map(|grant| grant.membership.clone()).collect()
}
