//! Targets: how they are, what they hold, what waits there, and a cycle now.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::SecondsFormat;
use serde::Deserialize;

use crate::engine::SyncRequest;
use crate::engine::status::Status;
use crate::engine::status::SyncReport;
use crate::engine::status::TargetStatus;
use crate::model::account::AccountState;
use crate::model::history::SeenAccount;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::link::Space;
use crate::server::Api;
use crate::server::access::Caller;
use crate::server::access::Reach;
use crate::server::health;
use crate::server::input::At;
use crate::server::input::Body;
use crate::server::input::Params;
use crate::server::input::checked_reason;
use crate::server::inside::Inside;
use crate::server::inside::Told;
use crate::server::known;
use crate::server::page;
use crate::server::page::Paging;
use crate::server::problem::Refusal;
use crate::server::wire::Holds;
use crate::server::wire::LinkBody;
use crate::server::wire::Page;
use crate::server::wire::RegainBody;
use crate::server::wire::SyncBody;
use crate::server::wire::TargetHold;
use crate::server::wire::TargetOwed;
use crate::store::AccountFilter;

/// Everything that the caller may see.
fn seen_by(api: &Api, caller: &Caller) -> Status {
    let mut status = api.engine.status();
    status.targets.retain(|target| caller.reach.covers(&target.name));
    status.left_behind.retain(|left| caller.reach.covers(&left.space.target));
    if caller.reach != Reach::All {
        // Who is revoked concerns every target.
        status.revoked.clear();
    }
    status
}

/// What is left behind is looked for anew, where the store answers: else what was found last stands.
async fn look_left_behind(api: &Api) {
    if api.engine.store_away().is_none()
        && let Err(error) = api.engine.look_left_behind().await
    {
        tracing::warn!(%error, "it cannot be told anew which accounts are left behind");
    }
}

fn status_of(api: &Api, name: &TargetName) -> Result<TargetStatus, Refusal> {
    let targets = api.engine.status().targets;
    targets.into_iter().find(|target| target.name == *name).ok_or_else(|| known::no_target(api, name))
}

/// `GET /api/v1/status`
pub(crate) async fn status(State(api): State<Arc<Api>>, caller: Caller) -> Json<Status> {
    let store = match api.engine.store_away() {
        None => health::store_error(&api).await,
        away => away,
    };
    if store.is_none() {
        look_left_behind(&api).await;
    }
    let mut status = Status { store, ..seen_by(&api, &caller) };
    // Channels are everybody's, and what a server answers may name people.
    if caller.reach == Reach::All && status.store.is_none() {
        match api.engine.undelivered().await {
            Ok(undelivered) => status.undelivered = undelivered,
            Err(error) => tracing::warn!(%error, "it cannot be told which messages were not delivered"),
        }
    }
    Json(status)
}

/// `GET /api/v1/targets`
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<TargetStatus>>, Refusal> {
    page::of(seen_by(&api, &caller).targets, &paging, |target| target.name.to_string()).map(Json)
}

/// `GET /api/v1/targets/{target}`
pub(crate) async fn one(State(api): State<Arc<Api>>, At(name): At<TargetName>) -> Result<Json<TargetStatus>, Refusal> {
    status_of(&api, &name).map(Json)
}

/// `?state=&linked=&orphaned=&after=&limit=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountParams {
    /// Words of account states with commas between; `inactive` is all those without access.
    state: Option<String>,
    /// `true`: those of users; `false`: the rest.
    linked: Option<bool>,
    /// `true`: those of users whom nobody declares any more; `false`: the rest.
    orphaned: Option<bool>,
    /// The id that ended the page before.
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/v1/targets/{target}/accounts`, as the last listing saw them.
pub(crate) async fn accounts(
    State(api): State<Arc<Api>>,
    At(name): At<TargetName>,
    Params(params): Params<AccountParams>,
) -> Result<Json<Page<SeenAccount>>, Refusal> {
    let AccountParams { state, linked, orphaned, after, limit } = params;
    let limit = page::limit(limit)?;
    let filter = AccountFilter {
        states: states(state.as_deref())?,
        linked,
        after: after.map(AccountId::from),
        limit: limit + 1,
    };
    let Some(space) = space_of(&api, &name).await? else {
        return Ok(Json(Page { items: Vec::new(), next: None }));
    };
    let seen = api.store.seen(&space, &filter).await?;
    let mut page = page::cut(seen, limit, |account| account.account.to_string());
    if let Some(orphaned) = orphaned {
        // A page may hold fewer than asked for: what follows it is told by its cursor.
        let snapshot = api.engine.snapshot().unwrap_or_default();
        let is_orphan = |record: &RecordId| !snapshot.users.contains_key(record);
        page.items.retain(|account| account.record.as_ref().is_some_and(is_orphan) == orphaned);
    }
    Ok(Json(page))
}

/// Where the target's accounts are kept; before its first answer, where they were kept last time,
/// if that leaves no doubt.
async fn space_of(api: &Api, name: &TargetName) -> Result<Option<Space>, Refusal> {
    if let Some(space) = status_of(api, name)?.space {
        return Ok(Some(space));
    }
    let target = api.engine.targets().into_iter().find(|target| target.name == *name);
    let Some(target) = target else { return Ok(None) };
    let mut spaces = api.store.spaces(name).await?;
    spaces.retain(|space| space.environment == target.environment);
    Ok(if spaces.len() == 1 { spaces.pop() } else { None })
}

fn states(text: Option<&str>) -> Result<BTreeSet<AccountState>, Refusal> {
    let mut states = BTreeSet::new();
    for word in text.into_iter().flat_map(|text| text.split(',')) {
        let fits = |state: &AccountState| match word {
            "inactive" => !state.gives_access(),
            word => state.as_str() == word,
        };
        let fitting: Vec<AccountState> = AccountState::ALL.into_iter().filter(fits).collect();
        if fitting.is_empty() {
            let words: Vec<&str> = AccountState::ALL.iter().map(|state| state.as_str()).collect();
            let detail = format!("`{word}` is not an account state");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad-query", detail)
                .hint(format!("write {}, or `inactive` for all without access", words.join(", "))));
        }
        states.extend(fitting);
    }
    Ok(states)
}

/// `GET /api/v1/owed`
pub(crate) async fn owed(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<TargetOwed>>, Refusal> {
    look_left_behind(&api).await;
    let Status { targets, left_behind, .. } = seen_by(&api, &caller);
    let left = left_behind.into_iter().map(|left| (left.space.target, left.owed));
    let here = targets.into_iter().map(|target| (target.name, target.owed));
    let all = here
        .chain(left)
        .flat_map(|(name, owed)| owed.into_iter().map(move |owed| TargetOwed { target: name.clone(), owed }));
    // Microseconds in a fixed width and one zone: the text sorts as the time does.
    let cursor = |entry: &TargetOwed| {
        let since = entry.owed.since.to_rfc3339_opts(SecondsFormat::Micros, true);
        format!("{since} {} {}", entry.target, entry.owed.record)
    };
    page::of(all.collect(), &paging, cursor).map(Json)
}

/// `GET /api/v1/holds`
pub(crate) async fn holds(State(api): State<Arc<Api>>, caller: Caller) -> Json<Holds> {
    let Status { source, targets, .. } = seen_by(&api, &caller);
    let mut items: Vec<TargetHold> = Vec::new();
    for TargetStatus { name, holds, .. } in targets {
        items.extend(holds.into_iter().map(|hold| TargetHold { target: name.clone(), hold }));
    }
    items.sort_by(|left, right| (&left.target, &left.hold.digest).cmp(&(&right.target, &right.hold.digest)));
    Json(Holds { items, shrink: source.shrink })
}

/// `POST /api/v1/targets/{target}/sync`
pub(crate) async fn sync(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(name): At<TargetName>,
    inside: Option<Extension<Inside>>,
    Body(body): Body<SyncBody>,
) -> Result<Told<SyncReport>, Refusal> {
    status_of(&api, &name)?;
    let SyncBody { users, only } = body;
    known::users(&api, &caller, users.as_ref(), None).await?;
    let mut details = BTreeMap::new();
    if let Some(users) = &users {
        details.insert("users".to_owned(), users.len().into());
    }
    if let Some(only) = &only {
        details.insert("changes".to_owned(), only.len().into());
    }
    api.audit(&caller, "sync", Some(name.clone()), details).await?;
    Ok(Told::new(api.engine.sync(&name, SyncRequest { records: users, only }).await?, inside))
}

/// `POST /api/v1/targets/{target}/link`; the engine audits it.
pub(crate) async fn link(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(name): At<TargetName>,
    Body(body): Body<LinkBody>,
) -> Result<Json<SyncReport>, Refusal> {
    status_of(&api, &name)?;
    Ok(Json(api.engine.link(&name, &body.user, &body.account, &caller.actor).await?))
}

/// `POST /api/v1/targets/{target}/regain`; the engine audits it.
pub(crate) async fn regain(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(name): At<TargetName>,
    Body(RegainBody { user, reason }): Body<RegainBody>,
) -> Result<Json<SyncReport>, Refusal> {
    status_of(&api, &name)?;
    let reason = checked_reason(reason)?;
    Ok(Json(api.engine.regain(&name, &user, &caller.actor, reason).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_states_are_chosen_by_word_and_inactive_is_all_without_access() {
        assert_eq!(states(None), Ok(BTreeSet::new()));
        assert_eq!(states(Some("active,pending")), Ok([AccountState::Active, AccountState::Pending].into()));
        let inactive = states(Some("inactive")).unwrap();
        assert!(inactive.contains(&AccountState::Disabled) && inactive.contains(&AccountState::Locked));
        assert!(!inactive.contains(&AccountState::Active));
        assert!(states(Some("activ")).is_err());
    }
}
