//! What differs between a projection and an account.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::correlate::keys::Comparison;
use crate::correlate::keys::is_empty;
use crate::model::account::Account;
use crate::model::account::Membership;
use crate::model::change::EntitlementChange;
use crate::model::change::FieldChange;
use crate::model::hand::Hand;
use crate::model::ids::EntitlementName;
use crate::model::list::List;
use crate::model::path::AttributePath;
use crate::model::projection::Projected;
use crate::model::projection::ProjectedGrant;
use crate::model::projection::Projection;
use crate::model::target::AccountPolicy;
use crate::model::target::Drift;
use crate::model::target::Mark;
use crate::model::target::Own;
use crate::model::target::Target;
use crate::plan::notes::declared;

/// Values that a new account starts with: everything that has one, whoever owns it later.
pub fn initial(projection: &Projection) -> List<FieldChange> {
    let valued = projection.values.iter().filter_map(|(path, projected)| {
        let value = projected.value.as_ref().filter(|value| !is_empty(value))?;
        Some(field(path, projected, None, Some(value.clone())))
    });
    valued.collect()
}

/// What differs between a projection and an account, and what is done about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Differences {
    /// What is written.
    pub fields: Vec<FieldChange>,
    /// What `drift: report` tells and leaves.
    pub reported: Vec<AttributePath>,
    /// What `drift: accept` takes as right.
    pub accepted: Vec<AttributePath>,
}

/// Owned attributes of an existing account that differ. Empty with `updates: false`.
pub fn fields(comparison: &Comparison<'_>, projection: &Projection, account: &Account, hand: &Hand) -> Differences {
    let mut found = Differences::default();
    if !comparison.policy.updates {
        return found;
    }
    for (path, projected) in &projection.values {
        let difference = differs(comparison, projection, (path, projected), account);
        let policy = if is_mark(&comparison.policy.mark, path) { Drift::Revert } else { comparison.policy.drift(path) };
        let wanted = declared(projected);
        match (policy, difference) {
            (Drift::Report, None) if is_left(comparison, path, projected, account) => found.reported.push(path.clone()),
            (_, None) => {}
            (Drift::Report, Some(_)) => found.reported.push(path.clone()),
            (Drift::Accept, Some(_)) if hand.agreed.get(path) == Some(&wanted) => found.accepted.push(path.clone()),
            // The target keeps it for itself: the same value was written twice and not kept.
            (_, Some(_)) if hand.given_up.get(path) == Some(&wanted) => {}
            (Drift::Accept | Drift::Revert, Some(change)) => found.fields.push(change),
        }
    }
    found
}

/// Whether any attribute has `drift: accept`.
pub fn accepts_any(policy: &AccountPolicy) -> bool {
    let mut mappings = policy.attributes.values().chain([&policy.user_name]);
    mappings.any(|mapping| mapping.drift == Drift::Accept)
}

/// Whether an attribute that is the target's once it has a value has another one than declared.
fn is_left(comparison: &Comparison<'_>, path: &AttributePath, projected: &Projected, account: &Account) -> bool {
    let observed = account.values.get(path).filter(|value| !is_empty(value));
    match (projected.own, &projected.value, observed) {
        (Own::IfEmpty, Some(desired), Some(observed)) => !comparison.alike(path, desired, observed),
        _ => false,
    }
}

/// The same for an account that becomes ours: the mark is written with `updates: false` too.
pub fn adopted_fields(comparison: &Comparison<'_>, projection: &Projection, account: &Account) -> Vec<FieldChange> {
    let values = projection.values.iter();
    let written = values.filter(|(path, _)| comparison.policy.updates || is_mark(&comparison.policy.mark, path));
    written.filter_map(|(path, projected)| differs(comparison, projection, (path, projected), account)).collect()
}

/// Whether the account's mark names somebody who is not this user. Such a mark is never replaced.
pub fn foreign_mark<'a>(
    comparison: &Comparison<'_>,
    projection: &Projection,
    account: &'a Account,
) -> Option<&'a Value> {
    let Mark::At(path) = &comparison.policy.mark else { return None };
    let observed = account.values.get(path)?;
    (!is_ours(comparison, projection, path, observed)).then_some(observed)
}

fn differs(
    comparison: &Comparison<'_>,
    projection: &Projection,
    (path, projected): (&AttributePath, &Projected),
    account: &Account,
) -> Option<FieldChange> {
    let observed = account.values.get(path).filter(|value| !is_empty(value));
    let change = |after: Option<&Value>| Some(field(path, projected, observed.cloned(), after.cloned()));
    let Some(desired) = &projected.value else {
        let clears = projected.own == Own::Always && observed.is_some();
        return if clears { change(None) } else { None };
    };
    if is_empty(&comparison.canonical(path, desired)) {
        // An empty value is not a request to clear: that needs `clear: true`, and then no value.
        return None;
    }
    let writes = match (observed, projected.own) {
        (Some(observed), _) if is_mark(&comparison.policy.mark, path) => {
            // A mark with an earlier record id is ours and moves on; any other is foreign.
            !comparison.same(path, desired, observed) && is_ours(comparison, projection, path, observed)
        }
        (Some(observed), _) if comparison.alike(path, desired, observed) => false,
        (_, Own::Always) | (None, Own::IfEmpty) => true,
        (_, Own::Create) | (Some(_), Own::IfEmpty) => false,
    };
    if writes { change(Some(desired)) } else { None }
}

fn is_mark(mark: &Mark, path: &AttributePath) -> bool {
    matches!(mark, Mark::At(at) if at == path)
}

fn is_ours(comparison: &Comparison<'_>, projection: &Projection, path: &AttributePath, observed: &Value) -> bool {
    let current = projection.values.get(path).and_then(|projected| projected.value.clone());
    let own = std::iter::once(current.unwrap_or_else(|| projection.record.as_str().into()));
    let earlier = projection.formerly.iter().map(|record| Value::from(record.as_str()));
    own.chain(earlier).any(|value| comparison.same(path, &value, observed))
}

fn field(path: &AttributePath, from: &Projected, before: Option<Value>, after: Option<Value>) -> FieldChange {
    let Projected { value: _, own: _, personal, sensitive, origins } = from;
    FieldChange {
        path: path.clone(),
        before,
        after,
        personal: *personal,
        sensitive: *sensitive,
        origins: origins.clone(),
    }
}

/// Entitlements that the projection has and `held` lacks; one entry for each membership, even
/// where two words of the catalogue mean the same one.
pub fn grants(projection: &Projection, held: &BTreeSet<Membership>) -> Vec<EntitlementChange> {
    let mut missing: BTreeMap<&Membership, EntitlementChange> = BTreeMap::new();
    for (name, grant) in &projection.entitlements {
        let ProjectedGrant { membership, privileged, origins } = grant;
        if held.contains(membership) {
            continue;
        }
        let entry = missing.entry(membership).or_insert_with(|| EntitlementChange {
            name: Some(name.clone()),
            membership: membership.clone(),
            privileged: false,
            origins: List::default(),
        });
        entry.privileged |= privileged;
        entry.origins.edit(|all| all.extend(origins.iter().cloned()));
    }
    missing.into_values().collect()
}

/// The memberships that a projection wants.
pub fn memberships(projection: &Projection) -> BTreeSet<Membership> {
    projection.entitlements.values().map(|grant| grant.membership.clone()).collect()
}

/// Words of the catalogue that mean `membership`.
pub fn words<'a>(target: &'a Target, membership: &'a Membership) -> impl Iterator<Item = &'a EntitlementName> {
    target.entitlements.iter().filter(move |(_, entry)| entry.membership == *membership).map(|(name, _)| name)
}

/// An entitlement that is taken away.
pub fn revocation(target: &Target, membership: &Membership) -> EntitlementChange {
    let privileged = target.entitlements.values().any(|entry| entry.membership == *membership && entry.privileged);
    EntitlementChange {
        name: words(target, membership).next().cloned(),
        membership: membership.clone(),
        privileged,
        origins: List::default(),
    }
}
