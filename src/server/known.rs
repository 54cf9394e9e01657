//! Names that nobody knows: a misspelt one must not be answered as if nothing were to be done.

use std::collections::BTreeSet;

use axum::http::StatusCode;

use crate::engine::EngineError;
use crate::manifest::suggest;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::snapshot::Snapshot;
use crate::model::user::User;
use crate::server::Api;
use crate::server::access::Caller;
use crate::server::access::Reach;
use crate::server::problem::Refusal;

/// Refuses users of whom nothing is known: neither by these documents or the accepted ones, nor by the store.
pub(crate) async fn users(
    api: &Api,
    caller: &Caller,
    asked: Option<&BTreeSet<RecordId>>,
    documents: Option<&Snapshot>,
) -> Result<(), Refusal> {
    for record in asked.into_iter().flatten() {
        let declared = documents.is_some_and(|documents| documents.users.contains_key(record));
        if !declared && !api.engine.knows_user(record).await? {
            return Err(no_user(api, caller, record, documents));
        }
    }
    Ok(())
}

/// Refuses a target of which nothing is known: neither declared now nor ever before.
pub(crate) async fn target(api: &Api, name: &TargetName) -> Result<(), Refusal> {
    if api.engine.knows_target(name).await? { Ok(()) } else { Err(no_target(api, name)) }
}

/// No such target; the nearest is named.
pub(crate) fn no_target(api: &Api, name: &TargetName) -> Refusal {
    let refusal = crate::server::problem::no_target(name.as_str());
    let targets = api.engine.targets();
    match suggest::nearest(name.as_str(), targets.iter().map(|target| target.name.as_str())) {
        Some(near) => refusal.hint(format!("did you mean `{near}`? `rosterd targets` lists them")),
        None => refusal,
    }
}

/// No such user. Names are for those who may see every target.
pub(crate) fn no_user(api: &Api, caller: &Caller, record: &RecordId, documents: Option<&Snapshot>) -> Refusal {
    let accepted = api.engine.snapshot().unwrap_or_default();
    let snapshot = documents.unwrap_or(&accepted);
    let named = "users are named by `metadata.name` of their document, not by mail";
    let meant = if caller.reach == Reach::All { meant(snapshot, record.as_str()) } else { None };
    let hint = meant.map_or_else(|| named.to_owned(), |meant| format!("did you mean `{meant}`? {named}"));
    let detail = EngineError::NoUser(record.clone()).to_string();
    Refusal::new(StatusCode::NOT_FOUND, "no-user", detail).hint(hint)
}

/// Whose mail it is, or whose name is near it.
fn meant(snapshot: &Snapshot, word: &str) -> Option<RecordId> {
    let has_mail = |user: &&User| user.email.as_deref().is_some_and(|mail| same(mail, word));
    let users: Vec<_> = snapshot.users.values().collect();
    if let Some(user) = users.iter().find(has_mail) {
        return Some(user.id.clone());
    }
    suggest::nearest(word, users.iter().map(|user| user.id.as_str())).map(RecordId::from)
}

fn same(mail: &str, word: &str) -> bool {
    mail.eq_ignore_ascii_case(word.trim())
}
