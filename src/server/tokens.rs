//! API tokens: made, listed, revoked.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use ring::rand::SystemRandom;
use secrecy::ExposeSecret;

use crate::server::Api;
use crate::server::access::Caller;
use crate::server::input::At;
use crate::server::input::Body;
use crate::server::input::Params;
use crate::server::page;
use crate::server::page::Paging;
use crate::server::problem::Refusal;
use crate::server::problem::invalid;
use crate::server::token::mint;
use crate::server::wire::NewToken;
use crate::server::wire::Page;
use crate::server::wire::TokenBody;
use crate::server::wire::TokenInfo;
use crate::store::Token;
use crate::store::Write;

/// A token that never ends is one that nobody remembers.
const LONGEST: TimeDelta = TimeDelta::days(366);

/// Longest name or subject, so that lists stay readable.
const LONGEST_NAME: usize = 63;

/// `GET /api/v1/tokens`
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<TokenInfo>>, Refusal> {
    let tokens: Vec<TokenInfo> = api.store.tokens().await?.into_iter().map(TokenInfo::from).collect();
    page::of(tokens, &paging, |token| token.name.clone()).map(Json)
}

/// `POST /api/v1/tokens`
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(body): Body<TokenBody>,
) -> Result<(StatusCode, Json<NewToken>), Refusal> {
    let now = api.clock.now();
    check(&body, now)?;
    // Two requests for one name at once would both find it free.
    let _turn = api.token_turn.lock().await;
    if api.store.tokens().await?.iter().any(|token| token.name == body.name) {
        return Err(taken(&body.name));
    }
    let failed = |error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "no-randomness", format!("{error}"));
    let minted = mint(&SystemRandom::new()).map_err(failed)?;
    let TokenBody { name, subject, right, targets, groups, labels, expires } = body;
    let subject = subject.unwrap_or_else(|| name.clone());
    let right = right.as_str().to_owned();
    let token = Token { name, hash: minted.hash, subject, right, targets, groups, labels, created: now, expires };
    let info = TokenInfo::from(token.clone());
    let details = BTreeMap::from([
        ("name".to_owned(), info.name.as_str().into()),
        ("subject".to_owned(), info.subject.as_str().into()),
        ("right".to_owned(), info.right.as_str().into()),
        ("targets".to_owned(), info.targets.iter().map(ToString::to_string).collect()),
        ("groups".to_owned(), info.groups.iter().cloned().collect()),
        ("labels".to_owned(), serde_json::to_value(&info.labels).unwrap_or_default()),
        ("expires".to_owned(), info.expires.to_rfc3339().into()),
    ]);
    let event = api.event(&caller, "token-created", None, details);
    api.store.commit(vec![Write::Token(token), Write::Audit(event)], api.store.fence()).await?;
    let secret = minted.secret.expose_secret().to_owned();
    Ok((StatusCode::CREATED, Json(NewToken { token: info, secret })))
}

fn taken(name: &str) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, "name-taken", format!("there is a token `{name}` already"))
        .hint("choose another name, or revoke that one first; audit events go by the name")
}

fn check(body: &TokenBody, now: DateTime<Utc>) -> Result<(), Refusal> {
    let TokenBody { name, subject, right: _, targets: _, groups, labels, expires } = body;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
        return Err(invalid(format!("`{}` is no name for a token", name.escape_debug()))
            .hint(format!("use at most {LONGEST_NAME} lower-case letters, digits, `-`, `.` and `_`")));
    }
    let unreadable = |text: &String| text.is_empty() || text.len() > LONGEST_NAME || text.chars().any(char::is_control);
    if subject.as_ref().is_some_and(unreadable) {
        return Err(invalid("`subject` is empty, too long or not plain text"));
    }
    let words = labels.iter().flat_map(|(label, values)| values.iter().chain([label])).chain(groups);
    if words.clone().any(unreadable) || labels.values().any(BTreeSet::is_empty) {
        return Err(invalid("a group or label is empty, too long or not plain text"));
    }
    if *expires <= now {
        return Err(invalid(format!("the token would have ended already, {expires}")));
    }
    if *expires > now + LONGEST {
        return Err(invalid(format!("the token would end {expires}, and none lasts over {} days", LONGEST.num_days())));
    }
    Ok(())
}

/// `DELETE /api/v1/tokens/{name}`; from this answer on the token opens nothing.
pub(crate) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(name): At<String>,
) -> Result<StatusCode, Refusal> {
    if !api.store.tokens().await?.iter().any(|token| token.name == name) {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "no-such-token", format!("there is no token `{name}`"))
            .hint("`rosterd tokens list` shows them"));
    }
    let details = BTreeMap::from([("name".to_owned(), name.as_str().into())]);
    let event = api.event(&caller, "token-revoked", None, details);
    api.store.commit(vec![Write::TokenRevoked(name), Write::Audit(event)], api.store.fence()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::wire::Right;

    fn verdict(change: impl FnOnce(&mut TokenBody)) -> Result<(), String> {
        let now = DateTime::UNIX_EPOCH;
        let mut body = TokenBody {
            name: "ci".to_owned(),
            subject: None,
            right: Right::Viewer,
            targets: [].into(),
            groups: [].into(),
            labels: BTreeMap::new(),
            expires: now + TimeDelta::days(1),
        };
        change(&mut body);
        check(&body, now).map_err(|refusal| refusal.problem().detail.clone())
    }

    #[test]
    fn a_token_has_a_plain_name_and_an_end_within_a_year() {
        assert_eq!(verdict(|_| ()), Ok(()));
        assert_eq!(verdict(|body| body.expires = DateTime::UNIX_EPOCH + LONGEST), Ok(()));
        assert!(verdict(|body| body.expires = DateTime::UNIX_EPOCH).is_err());
        assert!(verdict(|body| body.expires += LONGEST).is_err());
        for name in ["", "CI", "a b", "a\u{1b}", "a/b", &"a".repeat(64)] {
            assert!(verdict(|body| name.clone_into(&mut body.name)).is_err(), "{name:?}");
        }
        assert!(verdict(|body| body.subject = Some(String::new())).is_err());
        assert!(verdict(|body| body.subject = Some("Ada\nLovelace".to_owned())).is_err());
    }
}
