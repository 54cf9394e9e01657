//! Questions that read targets: what would change, and why something is as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State;
use futures_util::future::join_all;
use serde::Deserialize;

use crate::engine::EngineError;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::snapshot::Snapshot;
use crate::server::Api;
use crate::server::access::Caller;
use crate::server::input::At;
use crate::server::input::Body;
use crate::server::input::Params;
use crate::server::inside::Inside;
use crate::server::inside::Told;
use crate::server::known;
use crate::server::problem::Refusal;
use crate::server::problem::invalid;
use crate::server::wire::ExplainReply;
use crate::server::wire::PlanBody;
use crate::server::wire::PlanReply;

/// The targets that are asked about: the named one, or all within reach.
fn asked(api: &Api, caller: &Caller, only: Option<TargetName>) -> Result<Vec<TargetName>, Refusal> {
    let mut names: Vec<TargetName> = api.engine.targets().iter().map(|target| target.name.clone()).collect();
    match only {
        Some(name) => {
            caller.reach_target(&name)?;
            names.retain(|known| *known == name);
            if names.is_empty() {
                return Err(known::no_target(api, &name));
            }
        }
        None => names.retain(|name| caller.reach.covers(name)),
    }
    Ok(names)
}

/// Splits answers from refusals; where one target was named, its refusal is the answer.
fn sort<T>(
    single: bool,
    answers: Vec<(TargetName, Result<T, EngineError>)>,
) -> Result<(Vec<T>, BTreeMap<TargetName, String>), Refusal> {
    let mut items = Vec::new();
    let mut errors = BTreeMap::new();
    for (name, answer) in answers {
        match answer {
            Ok(item) => items.push(item),
            Err(error) if single => return Err(error.into()),
            Err(error) => drop(errors.insert(name, error.to_string())),
        }
    }
    Ok((items, errors))
}

/// `POST /api/v1/plan`
pub(crate) async fn plan(
    State(api): State<Arc<Api>>,
    caller: Caller,
    inside: Option<Extension<Inside>>,
    Body(body): Body<PlanBody>,
) -> Result<Told<PlanReply>, Refusal> {
    let PlanBody { target, users, documents, at } = body;
    let single = target.is_some();
    let names = asked(&api, &caller, target)?;
    let snapshot = documents.map(checked).transpose()?.map(Arc::new);
    known::users(&api, &caller, users.as_ref(), snapshot.as_deref()).await?;
    let plans = names.into_iter().map(|name| async {
        let plan = match at {
            None => api.engine.plan(&name, snapshot.clone(), users.clone()).await,
            Some(at) => api.engine.plan_at(&name, snapshot.clone(), users.clone(), at).await,
        };
        (name, plan)
    });
    let (plans, errors) = sort(single, join_all(plans).await)?;
    Ok(Told::new(PlanReply { plans, errors }, inside))
}

/// Documents name each role twice; both must agree, or a plan would be about neither.
fn checked(snapshot: Snapshot) -> Result<Snapshot, Refusal> {
    let role = snapshot.roles.iter().find(|(name, role)| **name != role.name).map(|(name, _)| name.as_str());
    match role {
        Some(name) => Err(invalid(format!("the document under `documents` at `{name}` has another name inside"))),
        None => Ok(snapshot),
    }
}

/// `?target=&if=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainParams {
    target: Option<TargetName>,
    /// A change of the user's document, to be told what it would do.
    #[serde(rename = "if")]
    change: Option<String>,
}

/// `GET /api/v1/explain/{user}`
pub(crate) async fn explain(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(user): At<RecordId>,
    Params(params): Params<ExplainParams>,
) -> Result<Json<ExplainReply>, Refusal> {
    let single = params.target.is_some();
    let names = asked(&api, &caller, params.target)?;
    let explanations = names.into_iter().map(|name| async {
        let explanation = match &params.change {
            None => api.engine.explain(&user, &name).await,
            Some(change) => api.engine.explain_if(&user, &name, change).await,
        };
        (name, explanation)
    });
    let mut answers = join_all(explanations).await;
    let mut left_behind = api.engine.left_behind(&user).await?;
    left_behind.retain(|left| caller.reach.covers(&left.space.target));
    // Nobody anywhere is an answer of its own; nobody in one target of several is not, nor is somebody of before.
    let unknown =
        left_behind.is_empty() && answers.iter().all(|(_, answer)| matches!(answer, Err(EngineError::NoUser(_))));
    if unknown && !answers.is_empty() && (single || !api.engine.knows_user(&user).await?) {
        return Err(known::no_user(&api, &caller, &user, None));
    }
    answers.retain(|(_, answer)| single || !matches!(answer, Err(EngineError::NoUser(_))));
    let senseless = answers.iter().any(|(_, answer)| matches!(answer, Err(EngineError::Invalid(_))));
    let (items, errors) = sort(single || senseless, answers)?;
    Ok(Json(ExplainReply { items, errors, left_behind }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::users::Users;

    #[test]
    fn the_refusal_of_a_named_target_is_the_answer_and_of_others_an_entry() {
        let answers =
            || vec![("a".into(), Ok(1)), ("b".into(), Err(EngineError::Target("it does not answer".to_owned())))];
        assert_eq!(sort(true, answers()).unwrap_err().problem().status, 502);
        let (items, errors) = sort(false, answers()).unwrap();
        assert_eq!(items, [1]);
        assert_eq!(errors, BTreeMap::from([("b".into(), "it does not answer".to_owned())]));
    }

    #[test]
    fn a_document_under_another_name_than_its_own_is_refused() {
        let text = r#"{"name":"b","labels":{},"grants":[],"origin":{"file":"f","line":1,"what":"Role b"}}"#;
        let role = Arc::new(serde_json::from_str(text).unwrap());
        let at = |name: &str| Snapshot { users: Users::default(), roles: [(name.into(), Arc::clone(&role))].into() };
        assert!(checked(at("b")).is_ok());
        assert_eq!(checked(at("a")).unwrap_err().problem().status, 422);
    }
}
