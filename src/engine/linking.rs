//! A person's word that an account is a user's.
//!
//! It is the way out of every conflict over who is who: a record id that came with another mail and
//! family name, an account that was another's, a rename that nobody declared, somebody who comes
//! back where `regain: ask` stands.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::connector::Look;
use crate::correlate::history::History;
use crate::engine::EngineError;
use crate::engine::look;
use crate::engine::look::LookError;
use crate::engine::look::View;
use crate::engine::shared::Shared;
use crate::engine::shared::decision_event;
use crate::http::rate;
use crate::http::rate::Caller;
use crate::model::decision::Decision;
use crate::model::decision::DecisionKind;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::link::Link;
use crate::model::link::LinkedBy;
use crate::model::snapshot::Snapshot;
use crate::model::target::Regain;
use crate::plan::canonical;
use crate::store::Write;

/// Remembers that `account` belongs to `record`, because a person says so; the link as it was recorded.
///
/// # Errors
/// [`EngineError::Stale`] where the account is not there, is another declared user's, or the user has
/// one and nothing is to be settled about it.
pub async fn link(
    shared: &Shared,
    target: &TargetName,
    record: &RecordId,
    account: &AccountId,
    by: &str,
) -> Result<Link, EngineError> {
    let handle = shared.handle(target)?;
    let snapshot = shared.snapshot().unwrap_or_default();
    if !snapshot.users.contains_key(record) {
        return Err(EngineError::NoUser(record.clone()));
    }
    let view = look::view(shared, &handle, &snapshot, Arc::new(BTreeMap::new())).await?;
    let now = shared.now();
    let fresh = Link {
        record: record.clone(),
        account: account.clone(),
        by: LinkedBy::Person,
        disabled_by_us: false,
        granted: BTreeSet::new(),
        since: now,
    };
    let (link, left) = settled(&view, &snapshot, fresh)?;
    let look = Look::Id(account.clone());
    let fetching = view.connector.fetch(&view.shape, &look);
    let found = rate::in_turn(&view.rate, Caller::Other, fetching).await.map_err(LookError::from)?;
    if found.accounts.is_empty() || view.own_account.as_ref() == Some(account) {
        return Err(EngineError::Stale(format!(
            "`{target}` shows no account `{account}` that could be linked; `rosterd accounts {target}` lists them"
        )));
    }
    let space = view.space.clone();
    let decision = Decision {
        target: Some(target.clone()),
        record: Some(record.clone()),
        account: Some(account.clone()),
        digest: Some(canonical::link_digest(&space, record, account)),
        ..Decision::new(DecisionKind::Link, by, now)
    };
    let event = decision_event(&decision);
    let history = History::new(shared.store.identity_key(), []);
    let identity = history.identity(record, account, snapshot.users.get(record).as_ref(), now);
    let mut writes: Vec<_> = left.into_iter().map(|old| Write::Unlink(space.clone(), old)).collect();
    writes.extend([
        Write::Link(space.clone(), link.clone()),
        Write::Identity(space, identity),
        Write::Decision(decision),
        Write::Audit(event),
    ]);
    shared.store.commit(writes, shared.store.fence()).await?;
    Ok(link)
}

/// The link as the person means it, and the user who is gone and had the account, where one had.
fn settled(view: &View, snapshot: &Snapshot, fresh: Link) -> Result<(Link, Option<RecordId>), EngineError> {
    let Link { record, account, .. } = &fresh;
    if let Some(link) = view.links.get(record) {
        let waits = view.known.reused.contains(record) || waits_to_regain(view, link);
        if link.account == *account && waits {
            return Ok((link.clone(), None));
        }
        return Err(EngineError::Stale(format!("user `{record}` is linked to account `{}` already", link.account)));
    }
    match view.links.values().find(|link| link.account == *account) {
        None => Ok((fresh, None)),
        // What rosterd granted and disabled there stays its own to take away and give back.
        Some(other) if !snapshot.users.contains_key(&other.record) => {
            let moved = Link { record: record.clone(), by: LinkedBy::Person, ..other.clone() };
            Ok((moved, Some(other.record.clone())))
        }
        Some(other) => Err(EngineError::Stale(format!("account `{account}` belongs to user `{}`", other.record))),
    }
}

/// Whether `regain: ask` holds this user's account back.
fn waits_to_regain(view: &View, link: &Link) -> bool {
    view.target.account.regain == Regain::Ask && link.disabled_by_us && !view.known.regained.contains(&link.record)
}
