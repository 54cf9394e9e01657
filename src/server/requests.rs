//! Requests: what waits for people, and their words about it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use crate::engine::requests::Folder;
use crate::engine::requests::ItemError;
use crate::engine::requests::Said;
use crate::engine::requests::Shown;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::request::RequestState;
use crate::model::request::Word;
use crate::plan::verdict::Refused;
use crate::plan::verdict::rights::Approver;
use crate::plan::verdict::rights::Scope;
use crate::server::Api;
use crate::server::access::Caller;
use crate::server::input::Body;
use crate::server::input::Params;
use crate::server::input::checked_reason;
use crate::server::known;
use crate::server::page;
use crate::server::page::Paging;
use crate::server::problem::Refusal;
use crate::server::problem::invalid;
use crate::server::wire::DecideBody;
use crate::server::wire::Decided;
use crate::server::wire::DecidedItem;
use crate::server::wire::Page;

/// Most requests of one call: more do not fit on a page either.
const MOST: usize = 1000;

/// `?target=&state=&label=&user=&after=&limit=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestParams {
    target: Option<TargetName>,
    /// Words of states with commas between; absent: all.
    state: Option<String>,
    /// `folder=acme`: only of users with this label.
    label: Option<String>,
    user: Option<RecordId>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/v1/requests`, oldest first.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(params): Params<RequestParams>,
) -> Result<Json<Page<Shown>>, Refusal> {
    let RequestParams { target, state, label, user, after, limit } = params;
    if let Some(target) = &target {
        caller.reach_target(target)?;
        known::target(&api, target).await?;
    }
    known::users(&api, &caller, user.clone().map(|user| BTreeSet::from([user])).as_ref(), None).await?;
    let states = states(state.as_deref())?;
    let label = label.as_deref().map(pair).transpose()?;
    let within = |name: &TargetName| caller.reach.covers(name) && target.as_ref().is_none_or(|target| target == name);
    let mut all = api.engine.requests(&within).await?;
    all.retain(|shown| {
        let labelled =
            label.as_ref().is_none_or(|(label, value)| shown.labels.get(*label).is_some_and(|it| it == value));
        let named = user.as_ref().is_none_or(|user| shown.request.record == *user);
        labelled && named && (states.is_empty() || states.contains(&shown.request.state))
    });
    // Nanoseconds in a fixed width and one zone: the text sorts as the time does.
    let cursor = |shown: &Shown| {
        let since = shown.request.since.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
        format!("{since} {} {}", shown.target, shown.request.id)
    };
    page::of(all, &Paging { after, limit }, cursor).map(Json)
}

fn states(text: Option<&str>) -> Result<Vec<RequestState>, Refusal> {
    let known = |word: &str| {
        RequestState::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| {
            Refusal::new(StatusCode::BAD_REQUEST, "bad-query", format!("`{word}` is no state of a request"))
                .hint("write `pending`, `accepted`, `refused` or `expired`, with commas between")
        })
    };
    text.into_iter().flat_map(|text| text.split(',')).map(known).collect()
}

fn pair(text: &str) -> Result<(&str, &str), Refusal> {
    text.split_once('=').ok_or_else(|| {
        Refusal::new(StatusCode::BAD_REQUEST, "bad-query", format!("`{text}` is no label with its value"))
            .hint("write `folder=acme`")
    })
}

/// `?target=&folder=&after=&limit=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FolderParams {
    target: Option<TargetName>,
    /// Only folders whose code begins so, whatever its case.
    folder: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/v1/folders`: the values of each target's `approval.scopeLabel`, with what waits there.
pub(crate) async fn folders(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(params): Params<FolderParams>,
) -> Result<Json<Page<Folder>>, Refusal> {
    let FolderParams { target, folder, after, limit } = params;
    if let Some(target) = &target {
        caller.reach_target(target)?;
    }
    let within = |name: &TargetName| caller.reach.covers(name) && target.as_ref().is_none_or(|target| target == name);
    let mut all = api.engine.folders(&within).await?;
    if let Some(code) = folder.map(|code| code.to_lowercase()) {
        all.retain(|entry| entry.folder.to_lowercase().starts_with(&code));
    }
    page::of(all, &Paging { after, limit }, |entry| format!("{} {}", entry.target, entry.folder)).map(Json)
}

/// `POST /api/v1/requests`: each word is taken or not by itself; the engine audits them.
pub(crate) async fn decide(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(body): Body<DecideBody>,
) -> Result<Json<Decided>, Refusal> {
    let DecideBody { decision, requests, reason } = body;
    let reason = checked_reason(reason)?;
    if requests.is_empty() || requests.len() > MOST {
        return Err(invalid(format!("{} requests are named, and a call takes 1 to {MOST}", requests.len())));
    }
    if decision == Word::Refuse && reason.is_none() {
        return Err(invalid("say why: a refusal demands a reason").hint("send `reason`, or `--reason WHY`"));
    }
    let approver = approver(&api, &caller);
    let within = |target: &TargetName| caller.reach.covers(target);
    let said = api.engine.decide_requests(&requests, (decision, reason), &approver, &within).await?;
    let items: Vec<DecidedItem> = said.into_iter().map(item).collect();
    let failed = items.iter().filter(|item| item.problem.is_some()).count();
    Ok(Json(Decided { items, failed }))
}

/// The caller, with what the configuration says of their groups. Where it names approvers, nobody else is
/// one, the holder of the local token included.
fn approver(api: &Api, caller: &Caller) -> Approver {
    let Caller { actor, person, groups, labels, .. } = caller.clone();
    let everywhere = || vec![Scope::new()];
    let mut known: BTreeMap<String, Vec<Scope>> = BTreeMap::new();
    for group in groups {
        match &api.approvers {
            None => drop(known.insert(group, everywhere())),
            Some(named) => known.extend(named.get(&group).map(|scopes| (group, scopes.clone()))),
        }
    }
    let local = actor == "local" && api.approvers.is_none();
    // Who is in none of the groups that are named has no say where a level names nobody, either.
    let outside = api.approvers.is_some() && known.is_empty();
    Approver { by: actor, person, also: BTreeSet::new(), local, outside, groups: known, scope: labels }
}

fn item(said: Said) -> DecidedItem {
    let Said { id, target, result } = said;
    match result {
        Ok(request) => {
            DecidedItem { request: id, target, user: Some(request.record), state: Some(request.state), problem: None }
        }
        Err(error) => {
            let problem = Some(refusal(&error).problem().clone());
            DecidedItem { request: id, target, user: None, state: None, problem }
        }
    }
}

fn refusal(error: &ItemError) -> Refusal {
    let (status, code) = match error {
        ItemError::Gone(_) => (StatusCode::NOT_FOUND, "no-request"),
        ItemError::Refused(Refused::NoRight(_)) => (StatusCode::FORBIDDEN, "no-right"),
        ItemError::Refused(Refused::Settled(_)) => (StatusCode::CONFLICT, "stale"),
        ItemError::Refused(Refused::Invalid(_)) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        ItemError::Unaccepted(_) => (StatusCode::CONFLICT, "unaccepted"),
        ItemError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable"),
        ItemError::Away(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    Refusal::new(status, code, error.to_string())
}
