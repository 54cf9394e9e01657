//! Why an account looks as it does, and a person's word that links one.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::connector::Look;
use crate::engine::EngineError;
use crate::engine::look;
use crate::engine::look::LookError;
use crate::engine::look::Sought;
use crate::engine::look::View;
use crate::engine::shared::Handle;
use crate::engine::shared::Shared;
use crate::engine::shared::lock;
use crate::engine::status::Explanation;
use crate::model::audit::AuditEvent;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::link::Link;
use crate::model::link::LinkedBy;
use crate::model::plan::Coverage;
use crate::model::projection::Desired;
use crate::model::snapshot::Snapshot;
use crate::project::Table;
use crate::store::Write;

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
    let snapshot = supposed.or_else(|| shared.snapshot());
    let user = snapshot.as_ref().and_then(|snapshot| snapshot.users.get(record));
    let desired = snapshot.as_ref().and_then(|snapshot| desired_of(shared, &handle, snapshot, record));
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
        declared: user.map(|user| user.origin.clone()),
        desired: desired.clone(),
        link: None,
        account: None,
        last_seen: None,
        hand: None,
        skip: None,
        changes: Vec::new(),
        held,
        failure: status.failures.get(record).filter(|_| real).cloned(),
        history: Vec::new(),
        target_error: status.error,
    };
    let alone = desired.map(|desired| (record.clone(), desired)).into_iter().collect();
    match look::view(shared, &handle, alone).await {
        Ok(view) => look_closer(shared, &view, &mut explanation).await?,
        Err(LookError::Target(error)) => explanation.target_error = Some(error.to_string()),
        Err(LookError::Store(error)) => return Err(error.into()),
    }
    if explanation.declared.is_none() && explanation.link.is_none() && explanation.history.is_empty() {
        return Err(EngineError::NoUser(record.clone()));
    }
    Ok(explanation)
}

/// What the user should have, duplicates of user names found among all users.
fn desired_of(shared: &Shared, handle: &Handle, snapshot: &Snapshot, record: &RecordId) -> Option<Desired> {
    let mut table = Table::new(Arc::clone(&handle.projector));
    table.set_revoked(Arc::clone(&shared.said.load().revoked));
    table.refresh(snapshot, None, shared.judged());
    table.desired().get(record).cloned()
}

/// Adds what the store remembers and the target shows.
async fn look_closer(shared: &Shared, view: &View, explanation: &mut Explanation) -> Result<(), EngineError> {
    let record = explanation.record.clone();
    let intents = shared.store.intents_of(&view.space, &record, HISTORY).await?;
    explanation.history = intents.iter().map(sentence).collect();
    explanation.last_seen = shared.store.seen_of(&view.space, &record).await?;
    explanation.link = view.links.get(&record).cloned();
    let hand = explanation.link.as_ref().and_then(|link| view.hands.get(&link.account));
    explanation.hand = hand.cloned();
    let sought = Sought { link: explanation.link.as_ref(), desired: explanation.desired.as_ref(), open: None };
    let looked = look::look_up(&*view.connector, &view.shape, &view.target, sought).await;
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
    explanation.changes = planned.plan.changes;
    explanation.skip = planned.plan.skips.into_iter().find(|skip| skip.record == record).map(|skip| skip.reason);
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

/// Remembers that `account` belongs to `record`, because a person says so.
///
/// # Errors
/// [`EngineError::Stale`] where the account is not there, is another user's, or the user has one.
pub async fn link(
    shared: &Shared,
    target: &TargetName,
    record: &RecordId,
    account: &AccountId,
    by: &str,
) -> Result<(), EngineError> {
    let handle = shared.handle(target)?;
    if !shared.snapshot().is_some_and(|snapshot| snapshot.users.contains_key(record)) {
        return Err(EngineError::NoUser(record.clone()));
    }
    let view = look::view(shared, &handle, BTreeMap::new()).await?;
    if let Some(link) = view.links.get(record) {
        return Err(EngineError::Stale(format!("user `{record}` is linked to account `{}` already", link.account)));
    }
    if let Some(other) = view.links.values().find(|link| link.account == *account) {
        return Err(EngineError::Stale(format!("account `{account}` belongs to user `{}`", other.record)));
    }
    let found = view.connector.fetch(&view.shape, &Look::Id(account.clone())).await.map_err(LookError::from)?;
    if found.accounts.is_empty() || view.own_account.as_ref() == Some(account) {
        return Err(EngineError::Stale(format!(
            "`{target}` shows no account `{account}` that could be linked; `rosterd accounts {target}` lists them"
        )));
    }
    let now = shared.now();
    let link = Link {
        record: record.clone(),
        account: account.clone(),
        by: LinkedBy::Person,
        disabled_by_us: false,
        granted: BTreeSet::new(),
        since: now,
    };
    let event = AuditEvent {
        at: now,
        target: Some(target.clone()),
        kind: "link".to_owned(),
        actor: by.to_owned(),
        record: Some(record.clone()),
        cycle: None,
        details: BTreeMap::from([("account".to_owned(), account.as_str().into())]),
    };
    let writes = vec![Write::Link(view.space.clone(), link), Write::Audit(event)];
    Ok(shared.store.commit(writes, shared.store.fence()).await?)
}
