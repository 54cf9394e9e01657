//! Limits on a whole plan, before its first call.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::ids::Digest;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::plan::Hold;
use crate::model::plan::HoldKind;
use crate::model::plan::Plan;
use crate::model::target::Limits;
use crate::model::target::Window;
use crate::plan::canonical;
use crate::plan::order;

/// From so many units on a percentage says something; below it one or two people are a large
/// share of a small target.
pub const AT_LEAST: u64 = 5;

/// What a plan is judged by.
pub struct Guards<'a> {
    /// Whether nobody has let this target be written yet.
    pub first_contact: bool,
    /// Digests of first plans that a person let through.
    pub enforced: &'a BTreeSet<Digest>,
    /// Digests of holds that a person released.
    pub released: &'a BTreeSet<Digest>,
    /// Owned active accounts, by links.
    pub owned_active: u64,
    /// Units (an account, or one entitlement) that recorded intents of this cause took away
    /// within this stretch of time before now.
    pub narrowed: &'a dyn Fn(Cause, Duration) -> u64,
    /// The limits.
    pub limits: &'a Limits,
}

/// Moves changes that need a person's word into holds, whole sets at a time.
///
/// What a person revoked passes, first contact included: their word is about that very user.
pub fn guard(mut plan: Plan, guards: &Guards<'_>) -> Plan {
    let (revoked, rest) = plan.changes.into_iter().partition(Change::is_revocation);
    plan.changes = rest;
    let mut plan = judged(plan, guards);
    let revoked: Vec<Change> = revoked;
    plan.changes.extend(revoked);
    plan.changes.sort_by(order::compare);
    plan
}

fn judged(mut plan: Plan, guards: &Guards<'_>) -> Plan {
    if guards.first_contact && !plan.changes.is_empty() {
        let digest = canonical::digest(&plan.changes);
        if !guards.enforced.contains(&digest) {
            plan.holds.push(first_contact(std::mem::take(&mut plan.changes), digest, &plan.space.target));
            return plan;
        }
    }
    for cause in [Cause::Explicit, Cause::Inferred] {
        narrowing(&mut plan, cause, guards);
    }
    plan
}

fn first_contact(changes: Vec<Change>, digest: Digest, target: &TargetName) -> Hold {
    let reason = format!(
        "`{target}` has accounts and rosterd remembers none of them; `rosterd enforce {target} {digest}` lets these {} changes through",
        changes.len()
    );
    Hold { limit: HoldKind::FirstContact, reason, digest, changes }
}

fn narrowing(plan: &mut Plan, cause: Cause, guards: &Guards<'_>) {
    let set: Vec<Change> = plan.changes.iter().filter(|change| change.cause == Some(cause)).cloned().collect();
    let (kind, windows) = match cause {
        Cause::Explicit => (HoldKind::NarrowExplicit, &guards.limits.narrow_explicit),
        Cause::Inferred => (HoldKind::NarrowInferred, &guards.limits.narrow_inferred),
    };
    let asked = Asked { units: set.iter().map(Change::narrowing_units).sum(), people: people(&set) };
    let Some(over) = windows.iter().find_map(|window| over(window, cause, &asked, guards)) else { return };
    // What a held person should get instead of what they keep waits too: nobody ends up with
    // both halves of a swap.
    let kept = people(&set);
    let waits = |change: &Change| {
        change.cause == Some(cause) || (change.effect == Effect::Widens && kept.contains(&change.record))
    };
    let (held, free): (Vec<Change>, Vec<Change>) = plan.changes.iter().cloned().partition(waits);
    let digest = canonical::digest(&held);
    if guards.released.contains(&digest) {
        return;
    }
    plan.changes = free;
    let reason = format!("`{}` {over}; `rosterd holds release {digest}` lets exactly these through", kind.as_str());
    plan.holds.push(Hold { limit: kind, reason, digest, changes: held });
}

fn people(changes: &[Change]) -> BTreeSet<&RecordId> {
    changes.iter().map(|change| &change.record).collect()
}

struct Asked<'p> {
    units: u64,
    people: BTreeSet<&'p RecordId>,
}

/// Why a window does not take what is asked, if so.
fn over(window: &Window, cause: Cause, asked: &Asked<'_>, guards: &Guards<'_>) -> Option<String> {
    if asked.units == 0 {
        return None;
    }
    let Window { count, percent, window } = window;
    let used = (guards.narrowed)(cause, *window);
    let total = used + asked.units;
    let told = |allowed: u64, rule: String| {
        format!(
            "allows {allowed} in {} ({rule}); {used} were taken away already and this plan takes {} more",
            span(*window),
            asked.units
        )
    };
    if let Some(count) = count.filter(|count| total > *count) {
        return Some(told(count, "a count".to_owned()));
    }
    let percent = (*percent)?;
    if used == 0 && asked.people.len() == 1 {
        // One person is never a mass removal, however small the target.
        return None;
    }
    if total < AT_LEAST {
        let half = guards.owned_active / 2;
        return (total > half).then(|| told(half, format!("half of {} owned accounts", guards.owned_active)));
    }
    let share = share(percent, guards.owned_active);
    (total > share).then(|| told(share, format!("{percent} % of {} owned accounts", guards.owned_active)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of at most 2^53 accounts, never negative, rounded down so that a limit is not exceeded"
)]
fn share(percent: f64, of: u64) -> u64 {
    // Without the small term 10 % of 50 may come out a hair below 5.
    (of as f64 * percent / 100.0 + 1e-9).floor().max(0.0) as u64
}

/// A stretch of time in the notation of manifests.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(86_400) && seconds > 86_400 => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}
