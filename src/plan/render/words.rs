//! Words that every view of a plan uses.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::account::Membership;
use crate::model::administrators::Administrators;
use crate::model::administrators::Headcount;
use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::change::EntitlementChange;
use crate::model::change::FieldChange;
use crate::model::plan::Coverage;
use crate::model::plan::Plan;
use crate::model::plan::Quiet;
use crate::model::plan::Skip;
use crate::model::plan::SkipReason;
use crate::model::target::Mode;
use crate::plan::canonical::MASK;
use crate::plan::why::About;
use crate::plan::why::Why;
use crate::plan::why::why_not;

/// The sign of an action: something comes, goes, or changes.
pub(super) fn sign(action: Action) -> char {
    match action {
        Action::Create | Action::Adopt | Action::Reactivate | Action::Restore => '+',
        Action::Update => '~',
        Action::Narrow | Action::Disable | Action::Delete => '-',
    }
}

/// What the plan is about.
pub(super) fn heading(plan: &Plan) -> String {
    let space = &plan.space;
    format!("`{}` (environment `{}`, realm `{}`)", space.target, space.environment, space.realm)
}

/// Too few administrators, or too many.
pub(super) fn administrators(count: &Headcount) -> String {
    let Headcount { wanted: Administrators { entitlement, min, max, .. }, now, then } = count;
    let max = max.map(|max| format!(" and at most {max}")).unwrap_or_default();
    let then = if then == now { String::new() } else { format!(", {then} with this plan") };
    format!("warning: {now} active accounts have `{entitlement}`{then}; at least {min}{max} should")
}

/// What the observation proved.
pub(super) fn coverage(coverage: &Coverage) -> String {
    match coverage {
        Coverage::Complete => "every account was seen".to_owned(),
        Coverage::Partial(why) => format!("not every account was seen: {why}"),
        Coverage::Keyed => "only the users asked for were looked up".to_owned(),
    }
}

/// `mode`, as a person reads it.
pub(super) fn mode(plan: &Plan) -> &'static str {
    match plan.mode {
        Mode::Suspended => "suspended",
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

/// Cause and reason, after the account.
pub(super) fn why(change: &Change) -> String {
    match change.cause {
        Some(cause) => format!("{} ({})", change.reason, cause.as_str()),
        None => change.reason.to_string(),
    }
}

/// One value on one line; sensitive ones never, personal ones where they may be shown.
pub(super) fn value(field: &FieldChange, value: Option<&Value>, show_personal: bool) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(_) if field.sensitive => MASK.to_owned(),
        Some(_) if field.personal && !show_personal => "(personal)".to_owned(),
        // A backtick would open a code span in markdown; JSON has another spelling of it.
        Some(value) => value.to_string().replace('`', "\\u0060"),
    }
}

/// A field before and after.
pub(super) fn field(field: &FieldChange, show_personal: bool) -> String {
    let after = value(field, field.after.as_ref(), show_personal);
    match &field.before {
        None => format!("`{}` {after}", field.path),
        before => format!("`{}` {} -> {after}", field.path, value(field, before.as_ref(), show_personal)),
    }
}

/// What a membership is in the target.
pub fn membership(membership: &Membership) -> String {
    match membership {
        Membership::Group(id) => format!("group `{id}`"),
        Membership::Role(role) => format!("role `{role}`"),
    }
}

/// An entitlement and what it is.
pub(super) fn entitlement(entry: &EntitlementChange) -> String {
    let what = membership(&entry.membership);
    let privileged = if entry.privileged { ", privileged" } else { "" };
    match &entry.name {
        Some(name) => format!("`{name}` ({what}{privileged})"),
        None => format!("{what}{privileged}, no longer in the catalogue"),
    }
}

/// Whether a skip is worth a line of its own: the rest is counted.
pub(super) fn is_told(skip: &Skip) -> bool {
    !matches!(skip.reason, SkipReason::InSync | SkipReason::NotEntitled(_))
}

/// Why nothing is done, with what a person can do about it.
pub(super) fn skip(plan: &Plan, skip: &Skip, show_personal: bool) -> (String, Option<String>) {
    let Why { code, what, hint } = why_not(About::skip(&plan.space.target, skip, show_personal), &skip.reason);
    let what = match code {
        Some(code) => format!("conflict `{code}`: {what}"),
        None => what,
    };
    (what, hint)
}

/// Lines without anything that a terminal or a reader could be misled by: names come from targets.
pub(super) fn plain(lines: &[String]) -> String {
    let misleads = |character: char| {
        character.is_control()
            || matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let clean =
        |line: &String| line.chars().map(|c| if misleads(c) { char::REPLACEMENT_CHARACTER } else { c }).collect();
    lines.iter().map(clean).collect::<Vec<String>>().join("\n")
}

/// The figures of a plan on one line.
pub fn totals(plan: &Plan) -> String {
    let effect = |effect: Effect| plan.changes.iter().filter(|change| change.effect == effect).count();
    let inferred = plan.changes.iter().filter(|change| change.cause == Some(Cause::Inferred)).count();
    let held: usize = plan.holds.iter().map(|hold| hold.changes.len()).sum();
    let mut parts = vec![
        format!("{} to narrow ({inferred} inferred)", effect(Effect::Narrows)),
        format!("{} to update", effect(Effect::Neutral)),
        format!("{} to widen", effect(Effect::Widens)),
        format!("{held} held"),
    ];
    parts.extend(skipped(plan).into_iter().map(|(what, count)| format!("{count} {what}")));
    let accounts: u64 = plan.accounts.values().sum();
    let plural = if accounts == 1 { "" } else { "s" };
    let states: Vec<String> =
        plan.accounts.iter().map(|(state, count)| format!("{count} {}", state.as_str())).collect();
    let states = if states.is_empty() { String::new() } else { format!(" ({})", states.join(", ")) };
    let explained = plan.unmanaged.iter().filter(|account| account.explained.is_some()).count();
    let explained = if explained == 0 { String::new() } else { format!(" ({explained} explained)") };
    let unmanaged = format!("{} unmanaged{explained}", plan.unmanaged.len());
    format!("{}; {accounts} account{plural} seen{states}, {unmanaged}", parts.join(", "))
}

fn skipped(plan: &Plan) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for skip in &plan.skips {
        let what = match skip.reason {
            SkipReason::InSync => "in sync",
            SkipReason::NotEntitled(_) => "not entitled",
            SkipReason::Conflict(_) => "in conflict",
            SkipReason::Proposal { .. } => "proposed",
            SkipReason::LookUpFirst => "to look up",
            SkipReason::OtherHand(_) => "left to another hand",
            SkipReason::Vanished => "vanished",
            SkipReason::Blocked(_) => "waiting for what hangs on them",
            SkipReason::Protected => "protected",
            SkipReason::Kept(_) => "kept",
            SkipReason::Drift(_) => "drifted",
            SkipReason::Request { .. } => "not allowed by anybody yet",
        };
        *counts.entry(what).or_insert(0) += 1;
    }
    let Quiet { in_sync, not_entitled } = plan.quiet;
    for (what, count) in
        [("in sync", in_sync), ("not entitled", not_entitled)].into_iter().filter(|(_, count)| *count > 0)
    {
        *counts.entry(what).or_insert(0) += count;
    }
    counts
}
