//! What it would take to undo a cycle: the inverse of each change that it made and that still stands.
//!
//! rosterd keeps targets equal to what is declared, so what the documents ask for cannot be undone
//! behind their back: it would be done again by the next cycle. Whether that is so is asked of the
//! planner itself: the account as it would be after the inverse is planned once more.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::connector::Look;
use crate::engine::EngineError;
use crate::engine::look;
use crate::engine::look::LookError;
use crate::engine::look::View;
use crate::engine::shared::Shared;
use crate::http::rate;
use crate::http::rate::Caller;
use crate::model::account::Account;
use crate::model::account::AccountState;
use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::change::EntitlementChange;
use crate::model::change::FieldChange;
use crate::model::history::CycleRecord;
use crate::model::history::OutcomeResult;
use crate::model::ids::AccountId;
use crate::model::ids::CycleId;
use crate::model::ids::RecordId;
use crate::model::list::List;
use crate::model::plan::Coverage;
use crate::model::projection::Desired;

/// How many cycles back one is looked for.
const CYCLES: usize = 100_000;
/// How many calls of a user are looked through.
const CALLS: usize = 1_000;

/// What undoing a cycle comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// The cycle.
    pub cycle: CycleRecord,
    /// What can be undone: the inverses, narrowing first.
    pub changes: Vec<Change>,
    /// What cannot, by user, as sentences with what to do instead.
    pub left: Vec<(RecordId, String)>,
}

/// An [`Undo`], and the accounts that it is about.
pub(crate) struct Prepared {
    pub(crate) undo: Undo,
    pub(crate) seen: BTreeMap<AccountId, Arc<Account>>,
}

/// Works out what undoing a cycle comes to. Looks at the target; writes nothing.
///
/// # Errors
/// [`EngineError::Stale`] where there is no such cycle, or the target is another one by now.
pub(crate) async fn prepare(shared: &Shared, id: &CycleId) -> Result<Prepared, EngineError> {
    let cycles = shared.store.cycles(None, None, CYCLES).await?;
    let unknown = || EngineError::Stale(format!("there is no cycle `{id}`; `rosterd history` lists them"));
    let cycle = cycles.into_iter().find(|cycle| cycle.id == *id).ok_or_else(unknown)?;
    let handle = shared.handle(&cycle.space.target)?;
    let snapshot = shared.snapshot().ok_or_else(|| look::no_snapshot(shared))?;
    let desired = look::desired(shared, &handle, &snapshot, shared.judged());
    let view = look::view(shared, &handle, &snapshot, desired).await?;
    if view.space != cycle.space {
        let words = format!(
            "`{}` is another system by now ({}); nothing of the cycle stands there",
            view.target.name, view.space.realm
        );
        return Err(EngineError::Stale(words));
    }
    let (mut changes, mut left, mut seen) = (Vec::new(), Vec::new(), BTreeMap::new());
    let records: BTreeSet<_> = view.links.keys().chain(view.desired.records()).cloned().collect();
    for record in records {
        let calls = shared.store.intents_of(&view.space, &record, CALLS).await?;
        let done =
            calls.into_iter().filter(|(call, outcome)| call.cycle == *id && *outcome == Some(OutcomeResult::Done));
        // The last call first: it is what stands now.
        let done: Vec<_> = done.map(|(call, _)| call.change).collect();
        if done.is_empty() {
            continue;
        }
        match account_of(&view, &record, &done).await? {
            None => left.push((record, "the account is no longer there".to_owned())),
            Some(account) => {
                undo_one(&view, &record, (&done, &account), (&mut changes, &mut left));
                seen.insert(account.id.clone(), Arc::new(account));
            }
        }
    }
    changes.sort_by(crate::plan::order::compare);
    Ok(Prepared { undo: Undo { cycle, changes, left }, seen })
}

async fn account_of(view: &View, record: &RecordId, done: &[Change]) -> Result<Option<Account>, EngineError> {
    let changed = done.iter().find_map(|change| change.account.clone());
    let Some(id) = changed.or_else(|| Some(view.links.get(record)?.account.clone())) else { return Ok(None) };
    let look = Look::Id(id);
    let fetching = view.connector.fetch(&view.shape, &look);
    let found = rate::in_turn(&view.rate, Caller::Other, fetching).await.map_err(LookError::from)?;
    Ok(found.accounts.into_iter().next())
}

/// Sorts what the cycle did for one user into what can be undone and what cannot.
fn undo_one(
    view: &View,
    record: &RecordId,
    (done, account): (&[Change], &Account),
    (changes, left): (&mut Vec<Change>, &mut Vec<(RecordId, String)>),
) {
    for change in done {
        if matches!(change.action, Action::Adopt | Action::Delete | Action::Restore) {
            let word = change.action.as_str();
            left.push((record.clone(), format!("{word}: only a person in the target can take that back")));
            continue;
        }
        let mut inverse = inverse(change, account);
        if is_empty(&inverse) {
            left.push((
                record.clone(),
                format!("{}: it no longer stands as the cycle left it", change.action.as_str()),
            ));
            continue;
        }
        let gives = inverse.active == Some(true) || !inverse.grant.is_empty();
        if gives && !matches!(view.desired.of(record).as_deref(), Some(Desired::Account(_))) {
            left.push((record.clone(), "the user is entitled to no account now; declare the access first".to_owned()));
            continue;
        }
        if let Some(words) = drop_redone(view, record, account, &mut inverse) {
            left.push((record.clone(), words));
        }
        changes.extend(split(inverse));
    }
}

/// What would put back what `change` did, as far as it still stands in `account`.
fn inverse(change: &Change, account: &Account) -> Change {
    let creates = change.action == Action::Create;
    let stands = |field: &&FieldChange| account.values.get(&field.path) == field.after.as_ref();
    let swapped =
        |field: &FieldChange| FieldChange { before: field.after.clone(), after: field.before.clone(), ..field.clone() };
    let held = |entry: &&EntitlementChange| account.memberships.contains(&entry.membership);
    let is_active = account.state == AccountState::Active;
    let was = if creates { Some(true) } else { change.active };
    Change {
        account: Some(account.id.clone()),
        action: Action::Update,
        effect: Effect::Neutral,
        cause: None,
        // What a new account was made with goes with the account.
        fields: if creates { List::default() } else { change.fields.iter().filter(stands).map(swapped).collect() },
        grant: change.revoke.iter().filter(|entry| !held(entry)).cloned().collect(),
        revoke: if creates { List::default() } else { change.grant.iter().filter(held).cloned().collect() },
        active: was.filter(|active| *active == is_active).map(|active| !active),
        reason: format!("undoes: {}", change.reason).into(),
        // Whoever undoes says so in a word of their own: what brought the change does not bring this.
        origins: change.origins.iter().filter(|origin| !origin.is_decision()).cloned().collect(),
        ..change.clone()
    }
}

fn is_empty(change: &Change) -> bool {
    change.fields.is_empty() && change.grant.is_empty() && change.revoke.is_empty() && change.active.is_none()
}

/// Takes out of an inverse what the next cycle would do again; says what that is.
fn drop_redone(view: &View, record: &RecordId, account: &Account, inverse: &mut Change) -> Option<String> {
    let records = BTreeSet::from([record.clone()]);
    let after = applied(account, inverse);
    let view = supposed(view, record, inverse);
    let planned = view.plan([after], Coverage::Keyed, Some(&records), &BTreeSet::new()).plan.changes;
    let mut asks = BTreeSet::new();
    for redone in planned.iter().filter(|redone| redone.record == *record) {
        let before = inverse.clone();
        inverse
            .fields
            .edit(|fields| fields.retain(|field| !redone.fields.iter().any(|again| again.path == field.path)));
        inverse.grant.edit(|grant| grant.retain(|entry| !redone.revoked().contains(&entry.membership)));
        inverse.revoke.edit(|revoke| revoke.retain(|entry| !redone.granted().contains(&entry.membership)));
        inverse.active = inverse.active.filter(|active| redone.active != Some(!*active));
        if before != *inverse {
            let origins = redone.fields.iter().flat_map(|field| &field.origins).chain(&redone.origins);
            asks.extend(origins.map(ToString::to_string));
        }
    }
    let redone = planned.iter().map(|change| &*change.reason).next()?;
    if asks.is_empty() {
        return None;
    }
    let lines = asks.into_iter().take(3).collect::<Vec<_>>().join(", ");
    Some(format!("the next cycle would do it again ({redone}); change the manifest: {lines}"))
}

/// What is known of one user after a change that rosterd made.
fn supposed(view: &View, record: &RecordId, change: &Change) -> View {
    let mut link = view.links.get(record).cloned();
    if let Some(link) = &mut link {
        let revoked = change.revoked();
        link.disabled_by_us = change.active.map_or(link.disabled_by_us, |active| !active);
        link.granted.extend(change.granted());
        link.granted.retain(|membership| !revoked.contains(membership));
    }
    let links = link.map(|link| (record.clone(), link)).into_iter().collect();
    let desired = view.desired.of(record).map(|desired| (record.clone(), desired.into_owned()));
    let desired: BTreeMap<_, _> = desired.into_iter().collect();
    View { links: Arc::new(links), desired: Arc::new(desired), ..view.clone() }
}

/// The account as it would be after a change.
fn applied(account: &Account, change: &Change) -> Account {
    let mut after = account.clone();
    for field in &change.fields {
        match &field.after {
            Some(value) => drop(after.values.insert(field.path.clone(), value.clone())),
            None => drop(after.values.remove(&field.path)),
        }
    }
    after.memberships.extend(change.granted());
    let revoked = change.revoked();
    after.memberships.retain(|membership| !revoked.contains(membership));
    match change.active {
        Some(true) => after.state = AccountState::Active,
        Some(false) => after.state = AccountState::Disabled,
        None => {}
    }
    after
}

/// A change that takes and one that gives: what does both is never one change.
fn split(change: Change) -> impl Iterator<Item = Change> {
    let takes = Change {
        action: if change.active == Some(false) { Action::Disable } else { Action::Narrow },
        effect: Effect::Narrows,
        cause: Some(Cause::Explicit),
        fields: List::default(),
        grant: List::default(),
        active: change.active.filter(|active| !active),
        ..change.clone()
    };
    let gives = change.active == Some(true) || !change.grant.is_empty();
    let rest = Change {
        action: if change.active == Some(true) { Action::Reactivate } else { Action::Update },
        effect: if gives { Effect::Widens } else { Effect::Neutral },
        revoke: List::default(),
        active: change.active.filter(|active| *active),
        ..change
    };
    [takes, rest].into_iter().filter(|change| !is_empty(change))
}
