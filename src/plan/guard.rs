//! Limits on a whole plan, before its first call (L4).
//!
//! What is over a limit is moved into a [`Hold`] as a whole, and everything else goes on. Limits are
//! judged one after another, the one about the fewest changes first; what one of them holds, the
//! next ones do not see.

mod administrators;
mod window;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::DateTime;
use chrono::SecondsFormat;
use chrono::Utc;

use crate::model::administrators::Census;
use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::ids::Digest;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::link::Space;
use crate::model::path::AttributePath;
use crate::model::plan::Hold;
use crate::model::plan::HoldKind;
use crate::model::plan::Plan;
use crate::model::tally;
use crate::model::tally::Counter;
use crate::model::tally::Tally;
use crate::model::tally::Thing;
use crate::model::target::Limits;
use crate::model::target::Window;
use crate::plan::canonical;
use crate::plan::guard::window::Bound;
use crate::plan::order;

pub use crate::plan::guard::window::AT_LEAST;

/// What a plan is judged by.
pub struct Guards<'a> {
    /// Whether nobody has let this target be written yet.
    pub first_contact: bool,
    /// Digests of first plans that a person let through.
    pub enforced: &'a BTreeSet<Digest>,
    /// Of each release, the digests of those changes that were not done since.
    pub released: &'a [BTreeSet<Digest>],
    /// What recorded intents touched.
    pub tally: &'a Tally,
    /// What was let through and is not recorded yet.
    pub waiting: &'a BTreeSet<(Counter, Thing)>,
    /// Whether a change was let through already and waits as it is: it is not judged again.
    pub admitted: &'a dyn Fn(&Change) -> bool,
    /// Whether a change follows from an end date that was known for a day.
    pub dated: &'a dyn Fn(&Change) -> bool,
    /// Now, in the time of the tally.
    pub now: DateTime<Utc>,
    /// Owned active accounts, by links, so long before now.
    pub owned_active: &'a dyn Fn(Duration) -> u64,
    /// Seats that are taken, or will be by what waits.
    pub seats_taken: u64,
    /// Who may do everything there, counting what waits.
    pub census: &'a Census,
    /// When the freeze of this moment ends.
    pub frozen: Option<DateTime<Utc>>,
    /// Whether deletions that are due need no person (`deleteUnattended`); limits count them all the same.
    pub unattended: bool,
    /// The limits.
    pub limits: &'a Limits,
}

/// Moves changes that need a person's word into holds, whole sets at a time.
///
/// What a person revoked passes, first contact included: their word is about that very user.
pub fn guard(mut plan: Plan, guards: &Guards<'_>) -> Plan {
    let (revoked, rest): (Vec<_>, Vec<_>) = plan.changes.into_iter().partition(Change::is_revocation);
    plan.changes = rest;
    let mut plan = judged(plan, &revoked, guards);
    plan.changes.extend(revoked);
    plan.changes.sort_by(order::compare);
    administrators::count(&mut plan, guards);
    plan
}

fn judged(mut plan: Plan, revoked: &[Change], guards: &Guards<'_>) -> Plan {
    if guards.first_contact && !plan.changes.is_empty() {
        let digest = canonical::digest(&plan.space, &plan.changes);
        if !guards.enforced.contains(&digest) {
            plan.holds.push(first_contact(std::mem::take(&mut plan.changes), digest, &plan.space.target));
            return plan;
        }
    }
    frozen(&mut plan, guards);
    let (admitted, asked) = std::mem::take(&mut plan.changes).into_iter().partition(|change| (guards.admitted)(change));
    plan.changes = asked;
    deletions(&mut plan, guards);
    for rule in RULES {
        rule.judge(&mut plan, guards);
        if matches!(rule.kind, HoldKind::Adopt) {
            seats(&mut plan, guards);
        }
    }
    clearings(&mut plan, guards);
    // Last: what another limit holds leaves nobody less.
    administrators::administrators(&mut plan, revoked, guards);
    let admitted: Vec<Change> = admitted;
    plan.changes.extend(admitted);
    plan.changes.sort_by(order::compare);
    plan
}

fn first_contact(changes: Vec<Change>, digest: Digest, target: &TargetName) -> Hold {
    let reason = format!(
        "`{target}` has accounts and rosterd remembers none of them; `rosterd enforce {target} {digest}` lets these {} changes through",
        changes.len()
    );
    Hold { limit: HoldKind::FirstContact, reason, digest, changes }
}

/// During a freeze nothing but narrowing happens; nobody has to release it, since it ends by itself.
fn frozen(plan: &mut Plan, guards: &Guards<'_>) {
    let Some(until) = guards.frozen else { return };
    let (free, held): (Vec<_>, Vec<_>) =
        std::mem::take(&mut plan.changes).into_iter().partition(|change| change.effect == Effect::Narrows);
    plan.changes = free;
    if !held.is_empty() {
        let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
        let reason =
            format!("`freeze` lasts until {until}: nothing but narrowing happens, and these go on by themselves then");
        plan.holds.push(Hold {
            limit: HoldKind::Freeze,
            reason,
            digest: canonical::digest(&plan.space, &held),
            changes: held,
        });
    }
}

/// Each deletion needs a person, by itself, where the target's document does not say otherwise.
fn deletions(plan: &mut Plan, guards: &Guards<'_>) {
    let (deletions, rest): (Vec<_>, Vec<_>) =
        std::mem::take(&mut plan.changes).into_iter().partition(|change| change.action == Action::Delete);
    plan.changes = rest;
    for change in deletions {
        let changes = vec![change];
        let digest = canonical::digest(&plan.space, &changes);
        if guards.unattended || guards.is_released(&plan.space, &changes) {
            plan.changes.extend(changes);
            continue;
        }
        let user = changes.first().map(|change| change.record.as_str()).unwrap_or_default();
        let reason = format!(
            "deleting the account of `{user}` needs a person; `rosterd holds release {digest}` lets exactly this through"
        );
        plan.holds.push(Hold { limit: HoldKind::Delete, reason, digest, changes });
    }
    plan.changes.sort_by(order::compare);
}

/// Creations are cut off where the seats end, in plan order; everything else goes on.
fn seats(plan: &mut Plan, guards: &Guards<'_>) {
    let Some(seats) = guards.limits.seats else { return };
    let returns = |change: &&Change| matches!(change.action, Action::Reactivate | Action::Restore);
    let mut taken = guards.seats_taken + plan.changes.iter().filter(returns).count() as u64;
    let (free, held): (Vec<_>, Vec<_>) = std::mem::take(&mut plan.changes).into_iter().partition(|change| {
        let creates = change.action == Action::Create;
        taken += u64::from(creates);
        !creates || taken <= seats
    });
    plan.changes = free;
    if held.is_empty() {
        return;
    }
    let told = format!("allows {seats} active accounts and {} are taken", guards.seats_taken);
    hold(plan, HoldKind::Seats, &told, held, guards);
}

/// One attribute that loses its value on many accounts is a mistake more often than a wish.
fn clearings(plan: &mut Plan, guards: &Guards<'_>) {
    let paths: BTreeSet<AttributePath> = plan.changes.iter().flat_map(tally::cleared).cloned().collect();
    for path in paths {
        let set: Vec<_> =
            plan.changes.iter().filter(|change| tally::cleared(change).any(|cleared| *cleared == path)).collect();
        let counters = [Counter::Clear(path.clone())];
        let bound = Bound { counters: &counters, verb: "cleared", set: &set };
        let Some(over) = guards.limits.clear.iter().find_map(|window| bound.over(window, guards)) else { continue };
        let (held, free): (Vec<_>, Vec<_>) = std::mem::take(&mut plan.changes)
            .into_iter()
            .partition(|change| tally::cleared(change).any(|cleared| *cleared == path));
        plan.changes = free;
        hold(plan, HoldKind::Clear, &format!("of `{path}` {over}"), held, guards);
    }
}

/// Puts changes into a hold, or back where a person released each of these.
fn hold(plan: &mut Plan, kind: HoldKind, over: &str, held: Vec<Change>, guards: &Guards<'_>) {
    let digest = canonical::digest(&plan.space, &held);
    if guards.is_released(&plan.space, &held) {
        plan.changes.extend(held);
        plan.changes.sort_by(order::compare);
        return;
    }
    let reason = format!("`{}` {over}; `rosterd holds release {digest}` lets exactly these through", kind.as_str());
    plan.holds.push(Hold { limit: kind, reason, digest, changes: held });
}

/// A limit of windows.
struct Rule {
    kind: HoldKind,
    /// What it counts.
    counters: &'static [Counter],
    /// What was done, in a sentence: "3 were `verb` already".
    verb: &'static str,
    windows: fn(&Limits) -> &[Window],
    /// Which changes it is about.
    concerns: fn(&Change) -> bool,
}

/// In this order: a change that several limits hold is shown under the first.
const RULES: &[Rule] = &[
    Rule {
        kind: HoldKind::Delete,
        counters: &[Counter::Delete],
        verb: "deleted",
        windows: |limits| &limits.delete,
        concerns: |change| change.action == Action::Delete,
    },
    Rule {
        kind: HoldKind::NarrowExplicit,
        counters: &[Counter::NarrowExplicit, Counter::NarrowDated],
        verb: "taken away",
        windows: |limits| &limits.narrow_explicit,
        concerns: |change| change.cause == Some(Cause::Explicit) && change.action != Action::Delete,
    },
    Rule {
        kind: HoldKind::NarrowInferred,
        counters: &[Counter::NarrowInferred],
        verb: "taken away",
        windows: |limits| &limits.narrow_inferred,
        concerns: |change| change.cause == Some(Cause::Inferred) && change.action != Action::Delete,
    },
    Rule {
        kind: HoldKind::Privileged,
        counters: &[Counter::Privileged],
        verb: "granted",
        windows: |limits| &limits.privileged,
        concerns: |change| change.grant.iter().any(|grant| grant.privileged),
    },
    Rule {
        kind: HoldKind::Adopt,
        counters: &[Counter::Adopt],
        verb: "adopted",
        windows: |limits| &limits.adopt,
        concerns: |change| change.action == Action::Adopt,
    },
    Rule {
        kind: HoldKind::Widen,
        counters: &[Counter::Widen],
        verb: "given",
        windows: |limits| &limits.widen,
        concerns: |change| change.effect == Effect::Widens,
    },
    Rule {
        kind: HoldKind::Update,
        counters: &[Counter::Update],
        verb: "updated",
        windows: |limits| &limits.update,
        concerns: |change| change.effect == Effect::Neutral && !change.is_silencing(),
    },
];

/// How long those windows are whose share of the owned accounts a plan of these changes may be judged by.
pub fn shares(changes: &[Change], limits: &Limits) -> BTreeSet<Duration> {
    let concerned = RULES.iter().filter(|rule| changes.iter().any(rule.concerns));
    let cleared = changes.iter().any(|change| tally::cleared(change).next().is_some());
    let clear = if cleared { limits.clear.as_slice() } else { &[] };
    let windows = concerned.flat_map(|rule| (rule.windows)(limits)).chain(clear);
    windows.filter(|window| window.percent.is_some()).map(|window| window.window).collect()
}

impl Rule {
    fn judge(&self, plan: &mut Plan, guards: &Guards<'_>) {
        for window in (self.windows)(guards.limits) {
            for window in halves(*window) {
                self.judge_by(plan, &window, guards);
            }
        }
    }

    /// `window` has one bound.
    fn judge_by(&self, plan: &mut Plan, window: &Window, guards: &Guards<'_>) {
        // An end date that everybody has known for a day surprises nobody: no percentage stops it.
        let dated = |change: &Change| window.percent.is_some() && (guards.dated)(change);
        let concerns = |change: &Change| (self.concerns)(change) && !dated(change);
        let set: Vec<_> = plan.changes.iter().filter(|change| concerns(change)).collect();
        let counters: Vec<_> = self
            .counters
            .iter()
            .filter(|counter| window.percent.is_none() || **counter != Counter::NarrowDated)
            .cloned()
            .collect();
        let bound = Bound { counters: &counters, verb: self.verb, set: &set };
        let Some(over) = bound.over(window, guards) else { return };
        // What a held person should get instead of what they keep waits too: nobody ends up with
        // both halves of a swap. And nobody is deleted before the access that is left is taken.
        let kept: BTreeSet<RecordId> =
            set.iter().filter(|change| change.cause.is_some()).map(|change| change.record.clone()).collect();
        let follows = |change: &Change| change.effect == Effect::Widens || change.action == Action::Delete;
        let waits = |change: &Change| concerns(change) || (follows(change) && kept.contains(&change.record));
        let (held, free): (Vec<_>, Vec<_>) = plan.changes.iter().cloned().partition(waits);
        plan.changes = free;
        hold(plan, self.kind, &over, held, guards);
    }
}

/// Where a window has two bounds the smaller binds: each is judged by itself.
fn halves(window: Window) -> impl Iterator<Item = Window> {
    let count = window.count.map(|_| Window { percent: None, ..window });
    let percent = window.percent.map(|_| Window { count: None, ..window });
    [count, percent].into_iter().flatten()
}

impl Guards<'_> {
    /// Whether a person let these changes through, all of them by one word: six words about one deletion
    /// each are none about six. What was done meanwhile may be missing; what is new, or was done and is
    /// asked for again, needs a word of its own.
    fn is_released(&self, space: &Space, changes: &[Change]) -> bool {
        if self.released.is_empty() {
            return false;
        }
        let of = |change: &Change| canonical::digest(space, std::slice::from_ref(change));
        let asked: BTreeSet<Digest> = changes.iter().map(of).collect();
        self.released.iter().any(|released| asked.is_subset(released))
    }

    fn counted(&self, change: &Change) -> BTreeSet<(Counter, Thing)> {
        tally::counted(change, (self.dated)(change))
    }
}
