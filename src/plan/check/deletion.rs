//! Laws about what cannot be had back.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::correlate::keys::is_empty;
use crate::model::account::Account;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::path::AttributePath;
use crate::model::projection::Desired;
use crate::model::projection::NoAccessReason;
use crate::model::projection::Projection;
use crate::plan::check::Facts;
use crate::plan::check::all;
use crate::plan::check::each;
use crate::plan::check::name;
use crate::plan::input::PlanInput;
use crate::plan::planner::Planned;

/// Where a target has a wait, nobody's account is deleted before it is over, nor one that another hand
/// ended, nor one whose user may be about to come (L16, L17).
pub(super) fn deletion_waits(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    let Some(policy) = facts.target.account.deletion else { return Vec::new() };
    each(changes, |change| {
        if change.action != Action::Delete {
            return None;
        }
        let hand = change.account.as_ref().and_then(|account| facts.hands.get(account));
        let ours = facts.links.get(&change.record).is_some_and(|link| link.disabled_by_us);
        if !ours || hand.is_some_and(|hand| hand.ended_over.is_some()) {
            return Some("deletes what rosterd did not end");
        }
        if let Some(Desired::None(no)) = facts.desired.get(&change.record)
            && matches!(no.reason, NoAccessReason::Revoked | NoAccessReason::NotYetValid)
        {
            return Some("deletes the account of somebody who is expected back");
        }
        let passed = hand.and_then(|hand| hand.ended).and_then(|ended| (facts.now - ended).to_std().ok());
        let over = passed.is_some_and(|passed| passed >= policy.after);
        (!over).then_some("comes before its wait is over")
    })
}

/// Nothing is deleted that somebody else fits who is to have an account (L10).
pub(super) fn nobody_elses_is_deleted(planned: &Planned, facts: &PlanInput<'_>) -> Vec<String> {
    let deletions = all(&planned.plan).filter(|change| change.action == Action::Delete);
    let seen = |change: &Change| planned.seen.get(change.account.as_ref()?);
    let doomed: Vec<(&Change, &Account)> =
        deletions.filter_map(|change| Some((change, seen(change)?.as_ref()))).collect();
    if doomed.is_empty() {
        return Vec::new();
    }
    let near = Near::of(&doomed, facts);
    let mut broken = Vec::new();
    for record in facts.desired.records() {
        let Some(desired) = facts.desired.of(record) else { continue };
        let expected = match &*desired {
            Desired::Account(_) => None,
            Desired::None(_) | Desired::Conflict(_) => facts.desired.expected(record),
        };
        let projection = match &*desired {
            Desired::Account(projection) => Some(projection),
            Desired::None(_) | Desired::Conflict(_) => expected.as_ref(),
        };
        let Some(projection) = projection else { continue };
        let others = near.to(projection, facts).into_iter().filter_map(|at| doomed.get(at));
        let others = others.filter(|(change, account)| change.record != *record && fits(projection, account, facts));
        broken.extend(
            others.map(|(change, _)| format!("nobody-elses-is-deleted: {} takes what `{record}` fits", name(change))),
        );
    }
    broken
}

/// Accounts to be deleted by what may agree with somebody: everybody is asked, and few of them are near.
struct Near(BTreeMap<(Option<usize>, String), BTreeSet<usize>>);

impl Near {
    fn of(doomed: &[(&Change, &Account)], facts: &PlanInput<'_>) -> Self {
        let comparison = facts.comparison();
        let mut near: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
        for (at, (_, account)) in doomed.iter().enumerate() {
            let keys = comparison.of_account(account).into_iter().enumerate();
            let keys = keys.filter_map(|(key, text)| Some((Some(key), text?)));
            for key in keys.chain(comparison.name_of(account).map(|name| (None, name))) {
                near.entry(key).or_default().insert(at);
            }
        }
        Self(near)
    }

    fn to(&self, projection: &Projection, facts: &PlanInput<'_>) -> BTreeSet<usize> {
        let comparison = facts.comparison();
        let keys = facts.target.account.match_keys.iter().enumerate();
        let keys = keys.flat_map(|(at, key)| {
            comparison.of_projection(key, projection).into_iter().map(move |text| (Some(at), text))
        });
        let name = comparison.wanted_name(projection).map(|name| (None, name));
        keys.chain(name).filter_map(|key| self.0.get(&key)).flatten().copied().collect()
    }
}

fn fits(projection: &Projection, account: &Account, facts: &PlanInput<'_>) -> bool {
    let comparison = facts.comparison();
    let agrees = |path: &AttributePath| {
        let wanted = projection.values.get(path).and_then(|projected| projected.value.as_ref());
        let held = account.values.get(path).filter(|held| !is_empty(held));
        wanted.zip(held).is_some_and(|(wanted, held)| comparison.same(path, wanted, held))
    };
    let mut keys = facts.target.account.match_keys.iter().filter(|key| !key.0.is_empty());
    agrees(&AttributePath::user_name()) || keys.any(|key| key.0.iter().all(agrees))
}
