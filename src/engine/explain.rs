//! Why an account looks as it does.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::EngineError;
use crate::engine::invites;
use crate::engine::look;
use crate::engine::look::LookError;
use crate::engine::look::Sought;
use crate::engine::look::View;
use crate::engine::requests;
use crate::engine::requests::shown_at_gate;
use crate::engine::shared::Shared;
use crate::engine::shared::lock;
use crate::engine::status::Explanation;
use crate::http::rate;
use crate::http::rate::Caller;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::plan::Coverage;
use crate::model::projection::Wishes;
use crate::model::snapshot::Snapshot;

/// How many past calls an explanation shows.
const HISTORY: usize = 10;

/// Explains one user in one target. Looks at the target; where that fails, it says so and goes on
/// with what is remembered.
///
/// `supposed` is a snapshot to answer from in place of the accepted one.
pub async fn explain(
    shared: &Shared,
    record: &RecordId,
    target: &TargetName,
    supposed: Option<Arc<Snapshot>>,
) -> Result<Explanation, EngineError> {
    let handle = shared.handle(target)?;
    let real = supposed.is_none();
    let snapshot = supposed.or_else(|| shared.snapshot()).unwrap_or_default();
    let user = snapshot.users.get(record);
    let everybody = look::desired(shared, &handle, &snapshot, shared.judged());
    let desired = everybody.of(record).map(Cow::into_owned);
    let status = lock(&handle.status).clone();
    // What is held or failed is about the documents as they are.
    let held = status
        .holds
        .iter()
        .filter(|_| real)
        .find(|hold| hold.changes.iter().any(|change| change.record == *record))
        .cloned();
    let mut explanation = Explanation {
        record: record.clone(),
        target: target.clone(),
        declared: user.as_ref().map(|user| user.origin.clone()),
        desired: desired.clone(),
        link: None,
        account: None,
        last_seen: None,
        hand: None,
        skip: None,
        gate: user.as_ref().and_then(|user| requests::keeper(&handle.target).why(user)),
        changes: Vec::new(),
        held,
        owed: status.owed.iter().find(|owed| owed.record == *record && real).cloned(),
        failure: status.failures.get(record).filter(|_| real).cloned(),
        history: Vec::new(),
        told: invites::told(shared, record, target).await?,
        target_error: status.error,
    };
    match look::view(shared, &handle, &snapshot, everybody).await {
        Ok(view) => look_closer(shared, &view, &snapshot, &mut explanation).await?,
        Err(LookError::Target(error)) => explanation.target_error = Some(error.to_string()),
        Err(LookError::Store(error)) => return Err(error.into()),
    }
    let remembered = explanation.link.is_some() || explanation.last_seen.is_some() || explanation.owed.is_some();
    let told = !explanation.history.is_empty() || !explanation.told.is_empty();
    if explanation.declared.is_none() && !remembered && !told {
        return Err(EngineError::NoUser(record.clone()));
    }
    Ok(explanation)
}

/// Adds what the store remembers and the target shows.
async fn look_closer(
    shared: &Shared,
    view: &View,
    snapshot: &Snapshot,
    explanation: &mut Explanation,
) -> Result<(), EngineError> {
    let record = explanation.record.clone();
    let intents = shared.store.intents_of(&view.space, &record, HISTORY).await?;
    explanation.history = intents.iter().map(sentence).collect();
    explanation.last_seen = shared.store.seen_of(&view.space, &record).await?;
    explanation.link = view.links.get(&record).cloned();
    let hand = explanation.link.as_ref().and_then(|link| view.hands.get(&link.account));
    explanation.hand = hand.cloned();
    let sought = Sought { link: explanation.link.as_ref(), desired: explanation.desired.as_ref(), ..Sought::default() };
    let looking = look::look_up(&*view.connector, &view.shape, &view.target, sought);
    let looked = rate::in_turn(&view.rate, Caller::Other, looking).await;
    let looked = match looked {
        Ok(looked) => looked,
        Err(error) => {
            explanation.target_error = Some(error.to_string());
            return Ok(());
        }
    };
    let records = BTreeSet::from([record.clone()]);
    let unproven = if looked.proven { BTreeSet::new() } else { records.clone() };
    let linked = explanation.link.as_ref().and_then(|link| looked.accounts.get(&link.account));
    explanation.account = linked.or_else(|| looked.accounts.values().next()).cloned();
    let planned = view.plan(looked.accounts.into_values(), Coverage::Keyed, Some(&records), &unproven);
    let plan = shown_at_gate(shared, &view.target, planned.plan, (snapshot, &*view.desired)).await?;
    explanation.changes = plan.changes;
    explanation.skip = plan.skips.into_iter().find(|skip| skip.record == record).map(|skip| skip.reason);
    Ok(())
}

fn sentence((intent, outcome): &(Intent, Option<OutcomeResult>)) -> String {
    let ending = match outcome {
        None => "no answer yet".to_owned(),
        Some(OutcomeResult::Done) => "done".to_owned(),
        Some(OutcomeResult::Refused(why)) => format!("refused: {why}"),
        Some(OutcomeResult::Nothing(why)) => format!("left nothing: {why}"),
    };
    let (at, change) = (intent.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true), &intent.change);
    format!("{at} {}: {} ({ending})", change.action.as_str(), change.reason)
}
