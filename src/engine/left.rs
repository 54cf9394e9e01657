//! Places that no running target works in any more, and the accounts that are left behind there.
//!
//! A place is a target, its environment and its realm: a document that is renamed, taken away, given
//! another `environment` or another `url` leaves the former place, with every account that is linked
//! there, as it is.
//!
//! # Guarantees
//! - An account that rosterd made or took over and never disabled is told of for as long as nothing
//!   works where it is: by `status`, `explain`, a metric, and as owed where its user is to be out.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;

use chrono::DateTime;
use chrono::Utc;

use crate::accept;
use crate::engine::receipt;
use crate::engine::said;
use crate::engine::shared::Handle;
use crate::engine::shared::Shared;
use crate::engine::shared::lock;
use crate::engine::status::LeftAccount;
use crate::engine::status::LeftBehind;
use crate::engine::status::Owed;
use crate::manifest::Documents;
use crate::metrics::OwedReason;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::model::snapshot::Snapshot;
use crate::store::StoreError;

/// What was found the last time that anybody looked.
#[derive(Debug, Default)]
pub struct Left {
    /// Looks are taken one after another, so that the newest stands.
    turn: tokio::sync::Mutex<()>,
    found: Mutex<BTreeMap<TargetName, Vec<LeftBehind>>>,
}

/// Where targets work now, and which accounts are theirs there.
struct Working {
    handles: BTreeMap<TargetName, Handle>,
    spaces: BTreeSet<Space>,
    /// Accounts of a working place; read where a place that was left shares its realm.
    accounts: BTreeMap<Space, BTreeSet<AccountId>>,
}

impl Working {
    fn now(shared: &Shared) -> Self {
        let handles = lock(&shared.handles).clone();
        let spaces = handles.values().filter_map(|handle| lock(&handle.status).space.clone()).collect();
        Self { handles, spaces, accounts: BTreeMap::new() }
    }

    /// Whether a target works there. One that was not asked yet where it is may work in any realm of
    /// its environment; one that does not answer works nowhere.
    fn in_space(&self, space: &Space) -> bool {
        let Some(handle) = self.handles.get(&space.target) else { return false };
        if handle.target.environment != space.environment {
            return false;
        }
        let status = lock(&handle.status);
        match status.space.as_ref().filter(|known| known.environment == space.environment) {
            Some(known) => known == space,
            None => status.error.is_none(),
        }
    }

    /// Whether another target looks after this very account by now, as after a renamed document.
    async fn owns(&mut self, shared: &Shared, left: &Space, account: &AccountId) -> Result<bool, StoreError> {
        let beside = |space: &&Space| same_system(space, left) && space.target != left.target;
        for space in self.spaces.iter().filter(beside) {
            if !self.accounts.contains_key(space) {
                let links = shared.store.links(space).await?;
                self.accounts.insert(space.clone(), links.into_values().map(|link| link.account).collect());
            }
            if self.accounts.get(space).is_some_and(|accounts| accounts.contains(account)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Accounts that rosterd did not disable where these documents declare no target, if they put anybody out who was in by
/// `accepted`. One that a declared target looks after as well is none: the target was renamed.
pub(crate) async fn undeclared(
    shared: &Shared,
    documents: &Documents,
    accepted: &Snapshot,
) -> Result<accept::left::Left, StoreError> {
    let mut left = accept::left::Left::new();
    let next = Snapshot { users: documents.users.clone(), roles: documents.roles.clone() };
    if accept::left::leavers(accepted, &next, shared.judged()).is_empty() {
        return Ok(left);
    }
    let declared: BTreeSet<&TargetName> = documents.targets.iter().map(|target| &target.name).collect();
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        spaces(shared, None).await?.into_iter().partition(|space| declared.contains(&space.target));
    for space in elsewhere {
        let mut kept = BTreeSet::new();
        for same in here.iter().filter(|same| same_system(same, &space)) {
            kept.extend(shared.store.links(same).await?.into_values().map(|link| link.account));
        }
        let links = shared.store.links(&space).await?.into_values();
        for link in links.filter(|link| !link.disabled_by_us && !kept.contains(&link.account)) {
            *left.entry(link.record).or_default() += 1;
        }
    }
    Ok(left)
}

/// Whether equal account ids name one account in both: a renamed target is in the same system.
pub(crate) fn same_system(a: &Space, b: &Space) -> bool {
    a.environment == b.environment && a.realm == b.realm
}

/// Every place of these targets that the store knows.
async fn spaces(shared: &Shared, only: Option<&TargetName>) -> Result<Vec<Space>, StoreError> {
    let known = match only {
        Some(target) => BTreeSet::from([target.clone()]),
        None => targets(shared).await?,
    };
    let mut spaces = Vec::new();
    for target in known {
        spaces.extend(shared.store.spaces(&target).await?);
    }
    Ok(spaces)
}

/// Every target that was ever declared or written to.
pub(crate) async fn targets(shared: &Shared) -> Result<BTreeSet<TargetName>, StoreError> {
    let declared = shared.targets().into_iter().map(|target| target.name.clone());
    let chains = shared.store.chains().await?.into_iter().flatten();
    let known = shared.store.known_targets().await?.into_keys();
    Ok(declared.chain(chains).chain(known).collect())
}

/// Every link of these record ids, wherever it is: also where no document leads any more.
pub(crate) async fn links_of(shared: &Shared, ids: &BTreeSet<RecordId>) -> Result<Vec<(Space, Link)>, StoreError> {
    let mut links = Vec::new();
    for space in spaces(shared, None).await? {
        for id in ids {
            let link = shared.store.link(&space, id).await?;
            links.extend(link.map(|link| (space.clone(), link)));
        }
    }
    Ok(links)
}

/// Places in which a call for one of these record ids has no outcome yet.
pub(crate) async fn begun_in(shared: &Shared, ids: &BTreeSet<RecordId>) -> Result<Vec<Space>, StoreError> {
    let mut begun = Vec::new();
    for space in spaces(shared, None).await? {
        let open = shared.store.open_intents(&space).await?;
        if open.iter().any(|intent| ids.contains(&intent.change.record)) {
            begun.push(space);
        }
    }
    Ok(begun)
}

/// Whether any call was ever recorded for one of these record ids.
pub(crate) async fn was_called(shared: &Shared, ids: &BTreeSet<RecordId>) -> Result<bool, StoreError> {
    for space in spaces(shared, None).await? {
        for id in ids {
            if !shared.store.intents_of(&space, id, 1).await?.is_empty() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The accounts of one user that are left behind, where rosterd did not disable them.
pub(crate) async fn of_user(shared: &Shared, record: &RecordId) -> Result<Vec<LeftAccount>, StoreError> {
    let mut working = Working::now(shared);
    let mut left = Vec::new();
    for (space, link) in links_of(shared, &said::aliases(shared, record)).await? {
        let active = !link.disabled_by_us && !working.in_space(&space);
        if active && !working.owns(shared, &space, &link.account).await? {
            let owed = is_owed(shared, &working, &space, &link.record);
            left.push(LeftAccount { space, record: link.record, account: link.account, owed });
        }
    }
    Ok(left)
}

/// What was found last, by target and place.
pub(crate) fn found(shared: &Shared) -> Vec<LeftBehind> {
    lock(&shared.left.found).values().flatten().cloned().collect()
}

/// Looks in a task of its own, so that nobody's narrowing waits for it: at one target, or at all.
pub(crate) fn look_soon(shared: &Arc<Shared>, only: Option<TargetName>) {
    let looking = Arc::clone(shared);
    shared.tasks.spawn(async move {
        if let Err(error) = look(&looking, only.as_ref()).await {
            tracing::warn!(%error, "it cannot be told which accounts are left behind; `rosterd status` asks again");
        }
    });
}

/// Looks which accounts are left behind, and tells status, metric and log.
pub(crate) async fn look(shared: &Shared, only: Option<&TargetName>) -> Result<(), StoreError> {
    let _turn = shared.left.turn.lock().await;
    let mut working = Working::now(shared);
    let mut found: BTreeMap<TargetName, Vec<LeftBehind>> = BTreeMap::new();
    for space in spaces(shared, only).await? {
        if let Some(left) = behind(shared, &mut working, space).await? {
            found.entry(left.space.target.clone()).or_default().push(left);
        }
    }
    let mut known = lock(&shared.left.found);
    let before: BTreeSet<_> = known.values().flatten().map(|left| left.space.clone()).collect();
    for left in found.values().flatten().filter(|left| !before.contains(&left.space)) {
        let Space { target, environment, realm } = &left.space;
        tracing::warn!(
            %target, %environment, %realm, accounts = left.accounts,
            "no target document leads to this place any more: its accounts stay as they are, also those of leavers"
        );
    }
    known.retain(|target, _| only.is_some_and(|only| only != target));
    known.extend(found);
    let counts = known.iter().map(|(target, left)| (target, left.iter().map(|left| left.accounts).sum()));
    shared.metrics.set_left_behind(counts);
    Ok(())
}

/// What is left behind in one place; `None`: a target works there, or nothing is left.
async fn behind(shared: &Shared, working: &mut Working, space: Space) -> Result<Option<LeftBehind>, StoreError> {
    if working.in_space(&space) || shared.store.owned_active(&space).await? == 0 {
        return Ok(None);
    }
    let (mut accounts, mut owed) = (0, Vec::new());
    for link in shared.store.links(&space).await?.into_values().filter(|link| !link.disabled_by_us) {
        if working.owns(shared, &space, &link.account).await? {
            continue;
        }
        accounts += 1;
        if is_owed(shared, working, &space, &link.record) {
            let since = since(shared, &link.record);
            owed.push(Owed { record: link.record, since, reason: OwedReason::LeftBehind });
        }
    }
    Ok((accounts > 0).then_some(LeftBehind { space, accounts, owed }))
}

/// Whether the user is to have no access there. Where no document says any more who should, whoever
/// is to have access nowhere.
fn is_owed(shared: &Shared, working: &Working, space: &Space, record: &RecordId) -> bool {
    let ids = said::aliases(shared, record);
    if let Some(handle) = working.handles.get(&space.target) {
        return !receipt::meant(shared, handle, &ids).0;
    }
    let now = shared.judged();
    let said = shared.said.load();
    if ids.iter().any(|id| said.revoked.of(id, &[], now).is_some()) {
        return true;
    }
    let Some(snapshot) = shared.snapshot() else { return false };
    let user = ids.iter().find_map(|id| snapshot.users.get(id));
    user.is_none_or(|user| !user.active || !user.valid.contains(now))
}

/// Since when the user is to be out, as far as that can still be told.
fn since(shared: &Shared, record: &RecordId) -> DateTime<Utc> {
    let (ids, now) = (said::aliases(shared, record), shared.judged());
    let said = shared.said.load();
    let revoked = ids.iter().find_map(|id| Some(said.revoked.of(id, &[], now)?.at));
    let snapshot = shared.snapshot();
    let ended = || {
        let user = ids.iter().find_map(|id| snapshot.as_ref()?.users.get(id))?;
        user.valid.until.filter(|until| user.active && *until <= now)
    };
    let changed = || shared.current.load().as_ref().map(|current| current.at);
    revoked.or_else(ended).or_else(changed).map_or(now, |at| at.min(now))
}
