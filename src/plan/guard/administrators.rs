//! Not too few who may do everything in a target, and not too many (`administrators`).

use std::collections::BTreeSet;

use crate::model::administrators::Administrators;
use crate::model::administrators::Census;
use crate::model::administrators::Headcount;
use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::ids::RecordId;
use crate::model::plan::Coverage;
use crate::model::plan::HoldKind;
use crate::model::plan::Plan;
use crate::plan::guard::Guards;
use crate::plan::guard::hold;
use crate::plan::render;

/// Holds what `administrators` with `enforce` keeps back. `revoked`: what a person revoked goes on, and counts.
///
/// Whoever leaves by the own document does so down to the last one. By inference nobody does where too few would be
/// left, however many come meanwhile: narrowing is done first. And nobody comes where there would be too many.
pub(super) fn administrators(plan: &mut Plan, revoked: &[Change], guards: &Guards<'_>) {
    let Some(wanted) = guards.limits.administrators.as_ref().filter(|wanted| wanted.enforce) else { return };
    let mut census = guards.census.clone();
    revoked.iter().for_each(|change| census.apply(wanted, change));
    let (what, min) = (holders(wanted), wanted.min);

    let mut last = BTreeSet::new();
    for change in plan.changes.iter().filter(|change| change.cause == Some(Cause::Explicit)) {
        if census.loses(wanted, change) && census.active() <= 1 {
            last.insert(change.record.clone());
        } else {
            census.apply(wanted, change);
        }
    }
    let over = format!("keeps the last of {what}");
    hold_narrowing(plan, Cause::Explicit, &last, &over, &mut census, guards);

    let mut left = census.clone();
    let inferred = plan.changes.iter().filter(|change| change.cause == Some(Cause::Inferred));
    let mut leaving = BTreeSet::new();
    for change in inferred.filter(|change| census.loses(wanted, change)) {
        leaving.insert(change.record.clone());
        left.apply(wanted, change);
    }
    if left.active() < min {
        let over = format!("wants {min} of {what} at least and {} would be left", left.active());
        hold_narrowing(plan, Cause::Inferred, &leaving, &over, &mut census, guards);
    } else {
        census = left;
    }

    let Some(max) = wanted.max else { return };
    let (gaining, rest): (Vec<_>, Vec<_>) =
        std::mem::take(&mut plan.changes).into_iter().partition(|change| census.gains(wanted, change));
    let would = gaining.iter().map(|change| &change.record).collect::<BTreeSet<_>>().len() as u64 + census.active();
    plan.changes = rest;
    if gaining.is_empty() || (census.complete && would <= max) {
        plan.changes.extend(gaining);
        plan.changes.sort_by(crate::plan::order::compare);
        return;
    }
    let over = if census.complete {
        format!("allows {max} of {what} and {would} would be")
    } else {
        format!("allows {max} of {what}, whom no complete listing has counted yet")
    };
    hold(plan, HoldKind::Administrators, &over, gaining, guards);
}

/// Holds narrowing of these users that costs an administrator, with what follows it for them; what a person released
/// is counted as done.
fn hold_narrowing(
    plan: &mut Plan,
    cause: Cause,
    records: &BTreeSet<RecordId>,
    over: &str,
    census: &mut Census,
    guards: &Guards<'_>,
) {
    let Some(wanted) = guards.limits.administrators.as_ref().filter(|_| !records.is_empty()) else { return };
    let follows = |change: &Change| change.effect == Effect::Widens || change.action == Action::Delete;
    let stops = |change: &Change| (change.cause == Some(cause) && census.loses(wanted, change)) || follows(change);
    let (held, free): (Vec<_>, Vec<_>) = std::mem::take(&mut plan.changes)
        .into_iter()
        .partition(|change| records.contains(&change.record) && stops(change));
    plan.changes = free;
    let holds = plan.holds.len();
    hold(plan, HoldKind::Administrators, over, held.clone(), guards);
    if plan.holds.len() == holds {
        held.iter().for_each(|change| census.apply(wanted, change));
    }
}

/// Says how many there are and will be, where that is told.
pub(super) fn count(plan: &mut Plan, guards: &Guards<'_>) {
    let Some(wanted) = &guards.limits.administrators else { return };
    if plan.coverage != Coverage::Complete {
        return;
    }
    let mut census = guards.census.clone();
    plan.changes.iter().for_each(|change| census.apply(wanted, change));
    let (now, then) = (guards.census.active(), census.active());
    if !wanted.allows(now) || !wanted.allows(then) {
        plan.administrators = Some(Headcount { wanted: wanted.clone(), now, then });
    }
}

fn holders(wanted: &Administrators) -> String {
    format!("the active accounts with `{}` ({})", wanted.entitlement, render::membership(&wanted.membership))
}
