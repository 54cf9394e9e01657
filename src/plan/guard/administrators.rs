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
    let mut judge = Judge { wanted, guards, census: guards.census.clone() };
    judge.take_in(revoked);
    judge.explicit(plan);
    judge.inferred(plan);
    judge.widening(plan);
}

struct Judge<'g> {
    wanted: &'g Administrators,
    guards: &'g Guards<'g>,
    /// As it is once what was judged so far is done.
    census: Census,
}

impl Judge<'_> {
    fn explicit(&mut self, plan: &mut Plan) {
        let mut last = BTreeSet::new();
        for change in plan.changes.iter().filter(|change| change.cause == Some(Cause::Explicit)) {
            if self.census.loses(self.wanted, change) && self.census.active() <= 1 {
                last.insert(change.record.clone());
            } else {
                self.census.apply(self.wanted, change);
            }
        }
        let over = format!("keeps the last of {}", self.holders());
        self.hold_narrowing(plan, Cause::Explicit, &last, &over);
    }

    fn inferred(&mut self, plan: &mut Plan) {
        let mut left = self.census.clone();
        let mut leaving = BTreeSet::new();
        let inferred = plan.changes.iter().filter(|change| change.cause == Some(Cause::Inferred));
        for change in inferred.filter(|change| self.census.loses(self.wanted, change)) {
            leaving.insert(change.record.clone());
            left.apply(self.wanted, change);
        }
        if left.active() >= self.wanted.min {
            self.census = left;
            return;
        }
        let (min, left) = (self.wanted.min, left.active());
        let over = format!("wants {min} of {} at least and {left} would be left", self.holders());
        self.hold_narrowing(plan, Cause::Inferred, &leaving, &over);
    }

    /// Holds narrowing of these users that costs an administrator, with what follows it for them.
    fn hold_narrowing(&mut self, plan: &mut Plan, cause: Cause, records: &BTreeSet<RecordId>, over: &str) {
        let follows = |change: &Change| change.effect == Effect::Widens || change.action == Action::Delete;
        let costs = |change: &Change| change.cause == Some(cause) && self.census.loses(self.wanted, change);
        let (held, free): (Vec<_>, Vec<_>) = std::mem::take(&mut plan.changes)
            .into_iter()
            .partition(|change| records.contains(&change.record) && (costs(change) || follows(change)));
        plan.changes = free;
        self.hold(plan, over, &held);
    }

    fn widening(&mut self, plan: &mut Plan) {
        let Some(max) = self.wanted.max else { return };
        let gains = |change: &&Change| self.census.gains(self.wanted, change);
        let gaining: BTreeSet<RecordId> =
            plan.changes.iter().filter(gains).map(|change| change.record.clone()).collect();
        let would = self.census.active() + gaining.len() as u64;
        let over = match self.census.complete {
            true if would <= max => return,
            true => format!("allows {max} of {} and {would} would be", self.holders()),
            false => format!("allows {max} of {}, whom no complete listing has counted yet", self.holders()),
        };
        let (held, free): (Vec<_>, Vec<_>) =
            std::mem::take(&mut plan.changes).into_iter().partition(|change| gains(&change));
        plan.changes = free;
        self.hold(plan, &over, &held);
    }

    /// What a person released is counted as done.
    fn hold(&mut self, plan: &mut Plan, over: &str, held: &[Change]) {
        if held.is_empty() {
            return;
        }
        let before = plan.holds.len();
        hold(plan, HoldKind::Administrators, over, held.to_vec(), self.guards);
        if plan.holds.len() == before {
            self.take_in(held);
        }
    }

    fn take_in(&mut self, changes: &[Change]) {
        for change in changes {
            self.census.apply(self.wanted, change);
        }
    }

    fn holders(&self) -> String {
        let Administrators { entitlement, membership, .. } = self.wanted;
        format!("the active accounts with `{entitlement}` ({})", render::membership(membership))
    }
}

/// Says how many there are and will be, where that is told.
pub(super) fn count(plan: &mut Plan, guards: &Guards<'_>) {
    let Some(wanted) = &guards.limits.administrators else { return };
    if plan.coverage != Coverage::Complete {
        return;
    }
    let mut census = guards.census.clone();
    for change in &plan.changes {
        census.apply(wanted, change);
    }
    let (now, then) = (guards.census.active(), census.active());
    if !wanted.allows(now) || !wanted.allows(then) {
        plan.administrators = Some(Headcount { wanted: wanted.clone(), now, then });
    }
}
