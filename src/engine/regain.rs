//! A person's word that gives back what another hand ended (L17).

use crate::engine::EngineError;
use crate::engine::explain;
use crate::engine::shared::Shared;
use crate::engine::shared::decision_event;
use crate::engine::shared::lock;
use crate::model::account::AccountState;
use crate::model::decision::Decision;
use crate::model::decision::DecisionKind;
use crate::model::hand::Hand;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::plan::SkipReason;
use crate::model::projection::NoAccessReason;
use crate::store::Write;

/// Remembers that the account which another hand ended is to be had back, once.
///
/// # Errors
/// [`EngineError::Stale`] where another hand ended nothing, only the target can open it, or the store may have
/// forgotten who ended it and no reason is given.
pub async fn regain(
    shared: &Shared,
    target: &TargetName,
    record: &RecordId,
    by: &str,
    reason: Option<String>,
) -> Result<AccountId, EngineError> {
    let handle = shared.handle(target)?;
    let explanation = explain::explain(shared, record, target, None).await?;
    if let Some(error) = explanation.target_error {
        return Err(EngineError::Target(error));
    }
    may_be_had_back(target, record, explanation.skip.as_ref())?;
    // Whoever looked into it says why.
    if let Some(why) = shared.store.doubt(target).await?.filter(|_| reason.is_none()) {
        return Err(EngineError::Stale(format!(
            "{why}; so the store cannot tell whether another hand ended the account of `{record}` in `{target}` or a word \
             that it has forgotten, such as a revocation: find that out, `rosterd revoke {record}` where it was one, else \
             give the account back with `--reason`"
        )));
    }
    let space = lock(&handle.status).space.clone();
    let (Some(link), Some(space)) = (explanation.link, space) else {
        return Err(EngineError::Stale(format!("`{record}` has no account in `{target}` that is known to rosterd")));
    };
    let decision = Decision {
        target: Some(target.clone()),
        record: Some(record.clone()),
        account: Some(link.account.clone()),
        reason,
        ..Decision::new(DecisionKind::Regain, by, shared.now())
    };
    let hand = Hand { regain: true, ..explanation.hand.unwrap_or_default() };
    let event = decision_event(&decision);
    let writes = vec![Write::Decision(decision), Write::Hand(space, link.account.clone(), hand), Write::Audit(event)];
    shared.store.commit(writes, shared.store.fence()).await?;
    Ok(link.account)
}

/// Whether it is another hand's doing that keeps the user out.
fn may_be_had_back(target: &TargetName, record: &RecordId, skip: Option<&SkipReason>) -> Result<(), EngineError> {
    let why = match skip {
        Some(SkipReason::OtherHand(AccountState::Locked)) => {
            format!("`{target}` itself locked the account of `{record}`: unlock it there")
        }
        Some(SkipReason::Vanished | SkipReason::OtherHand(_)) => return Ok(()),
        Some(SkipReason::NotEntitled(why)) if why == NoAccessReason::Revoked.as_str() => {
            format!("{why} `{record}`; `rosterd restore {record}` takes that back")
        }
        Some(SkipReason::NotEntitled(why)) => {
            format!("`{record}` has no access to `{target}` to give back: {why}; declare it first")
        }
        _ => {
            format!("no other hand ended the account of `{record}` in `{target}`; `rosterd explain {record}` shows it")
        }
    };
    Err(EngineError::Stale(why))
}
