//! Laws about what one change says of itself and of values.

use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::change::FieldChange;
use crate::model::ids::RecordId;
use crate::model::path::AttributePath;
use crate::model::projection::Desired;
use crate::model::projection::Projected;
use crate::model::projection::Projection;
use crate::model::target::Mark;
use crate::model::target::Own;
use crate::plan::check::Facts;
use crate::plan::check::each;
use crate::plan::check::name;
use crate::plan::check::silence;

pub(super) fn effect_matches_content(changes: &[&Change], _: &Facts<'_>) -> Vec<String> {
    each(changes, |change| {
        let right = match change.action {
            Action::Create | Action::Reactivate | Action::Restore => {
                change.effect == Effect::Widens && change.active == Some(true) && gives_only(change)
            }
            Action::Adopt => change.effect == Effect::Widens && change.active.is_none() && gives_only(change),
            Action::Narrow => takes_only(change) && change.active.is_none() && !change.revoke.is_empty(),
            Action::Disable => takes_only(change) && change.active == Some(false) && change.revoke.is_empty(),
            Action::Delete => takes_only(change),
            Action::Update => change.active.is_none() && gives_only(change) && is_update(change),
        };
        (!right).then_some("does something else than its effect says")
    })
}

fn gives_only(change: &Change) -> bool {
    change.revoke.is_empty()
}

fn takes_only(change: &Change) -> bool {
    change.effect == Effect::Narrows && change.grant.is_empty() && change.fields.is_empty()
}

fn is_update(change: &Change) -> bool {
    match change.effect {
        Effect::Neutral => change.grant.is_empty() && !change.fields.is_empty(),
        Effect::Widens => !change.grant.is_empty(),
        Effect::Narrows | Effect::Swaps => false,
    }
}

pub(super) fn cause_exactly_when_narrowing(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    each(changes, |change| match (change.effect, change.cause) {
        (Effect::Narrows, None) => Some("has no cause"),
        (Effect::Narrows, Some(cause)) => {
            let remembered = facts.causes.get(&(change.record.clone(), None));
            let differs = matches!(change.action, Action::Disable | Action::Delete)
                && remembered.is_some_and(|known| *known != cause);
            differs.then_some("has another cause than the one remembered")
        }
        (Effect::Neutral | Effect::Swaps | Effect::Widens, Some(_)) => Some("has a cause and takes nothing away"),
        (Effect::Neutral | Effect::Swaps | Effect::Widens, None) => None,
    })
}

pub(super) fn only_projected_values(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    for (change, field) in fields(changes).filter(|(change, field)| !silence::is_switch(change, field, facts)) {
        match projected(facts, &change.record, &field.path) {
            None => broken.push(format!("{} writes `{}`, which is not mapped", name(change), field.path)),
            Some((_, projected)) if projected.value != field.after => {
                broken.push(format!("{} writes another value of `{}` than projected", name(change), field.path));
            }
            Some((_, projected)) if projected.sensitive != field.sensitive || projected.personal != field.personal => {
                broken.push(format!("{} shows `{}` to others than its mapping allows", name(change), field.path));
            }
            Some(_) => {}
        }
    }
    broken
}

pub(super) fn ownership_of_values(changes: &[&Change], facts: &Facts<'_>) -> Vec<String> {
    let later = fields(changes)
        .filter(|(change, field)| change.action != Action::Create && !silence::is_switch(change, field, facts));
    let mut broken = Vec::new();
    for (change, field) in later {
        let Some((projection, projected)) = projected(facts, &change.record, &field.path) else { continue };
        let is_mark = facts.target.account.mark == Mark::At(field.path.clone());
        let wrong = if is_mark {
            field.before.as_ref().is_some_and(|before| !is_of(projection, before)).then_some("a foreign mark")
        } else if !facts.target.account.updates {
            Some("an attribute, with `updates: false`")
        } else {
            match (projected.own, &field.before) {
                (Own::Always, _) | (Own::IfEmpty, None) => None,
                (Own::IfEmpty, Some(_)) => Some("a value over one that is `own: if-empty`"),
                (Own::Create, _) => Some("a value that is `own: create`"),
            }
        };
        broken.extend(wrong.map(|what| format!("{} writes {what} at `{}`", name(change), field.path)));
    }
    broken
}

fn is_of(projection: &Projection, mark: &serde_json::Value) -> bool {
    let text = mark.as_str().unwrap_or_default();
    projection.record.as_str() == text || projection.formerly.iter().any(|record| record.as_str() == text)
}

fn fields<'c>(changes: &[&'c Change]) -> impl Iterator<Item = (&'c Change, &'c FieldChange)> {
    changes.iter().flat_map(|change| change.fields.iter().map(|field| (*change, field)))
}

fn projected<'f>(
    facts: &'f Facts<'_>,
    record: &RecordId,
    path: &AttributePath,
) -> Option<(&'f Projection, &'f Projected)> {
    match facts.desired.get(record)? {
        Desired::Account(projection) => Some((projection, projection.values.get(path)?)),
        Desired::None(_) | Desired::Conflict(_) => None,
    }
}
