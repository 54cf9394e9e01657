//! The embedded directory, read as SCIM 2.0 (RFC 7644) at `/directory/{target}/scim/v2`.
//!
//! Only what reading needs: lists by `startIndex` and `count`, `filter=attr eq "v"`, one resource.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::connector::ConnectorError;
use crate::connector::view::ViewKind;
use crate::connector::view::ViewPage;
use crate::connector::view::ViewQuery;
use crate::model::ids::TargetName;
use crate::server::Api;
use crate::server::input::At;
use crate::server::input::Params;

/// RFC 7644 section 3.1.
const SCIM_TYPE: &str = "application/scim+json";

/// Resources of a page where the client does not say.
const USUAL: usize = 100;

/// Most resources of one page: a page is built in memory.
const MOST: usize = 1000;

/// An error of RFC 7644 section 3.12.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ScimError {
    status: StatusCode,
    kind: Option<&'static str>,
    detail: String,
}

type Answer = Result<Response, ScimError>;

impl IntoResponse for ScimError {
    fn into_response(self) -> Response {
        let Self { status, kind, detail } = self;
        let mut body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": status.as_str(),
            "detail": detail,
        });
        if let (Some(kind), Some(fields)) = (kind, body.as_object_mut()) {
            fields.insert("scimType".to_owned(), kind.into());
        }
        (status, scim(body)).into_response()
    }
}

impl From<ConnectorError> for ScimError {
    fn from(error: ConnectorError) -> Self {
        tracing::error!(error = %error, "the embedded directory does not answer");
        Self { status: StatusCode::SERVICE_UNAVAILABLE, kind: None, detail: error.message }
    }
}

fn scim(body: Value) -> Response {
    let mut response = Json(body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(SCIM_TYPE));
    response
}

fn not_found(detail: String) -> ScimError {
    ScimError { status: StatusCode::NOT_FOUND, kind: None, detail }
}

fn not_embedded(target: &TargetName) -> ScimError {
    not_found(format!("`{target}` is no target of the embedded directory"))
}

/// The query of a list (RFC 7644 section 3.4.2). Numbers are signed, because a client may send
/// less than nothing, which the RFC reads as the least.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListParams {
    filter: Option<String>,
    start_index: Option<i64>,
    count: Option<i64>,
}

/// `GET ServiceProviderConfig` (RFC 7643 section 5)
pub(crate) async fn provider(State(api): State<Arc<Api>>, At(target): At<TargetName>) -> Answer {
    let nothing = ViewQuery { kind: ViewKind::Users, filter: None, skip: 0, count: 0 };
    list(&api, &target, &nothing).await?;
    Ok(scim(json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": { "supported": false },
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": MOST },
        "changePassword": { "supported": false },
        "sort": { "supported": false },
        "etag": { "supported": false },
        "authenticationSchemes": [],
    })))
}

/// `GET Users`
pub(crate) async fn users(
    State(api): State<Arc<Api>>,
    At(target): At<TargetName>,
    Params(params): Params<ListParams>,
) -> Answer {
    page(&api, &target, ViewKind::Users, params).await
}

/// `GET Groups`
pub(crate) async fn groups(
    State(api): State<Arc<Api>>,
    At(target): At<TargetName>,
    Params(params): Params<ListParams>,
) -> Answer {
    page(&api, &target, ViewKind::Groups, params).await
}

/// `GET Users/{id}`
pub(crate) async fn user(State(api): State<Arc<Api>>, At((target, id)): At<(TargetName, String)>) -> Answer {
    one(&api, &target, ViewKind::Users, &id).await
}

/// `GET Groups/{id}`
pub(crate) async fn group(State(api): State<Arc<Api>>, At((target, id)): At<(TargetName, String)>) -> Answer {
    one(&api, &target, ViewKind::Groups, &id).await
}

async fn list(api: &Api, target: &TargetName, query: &ViewQuery) -> Result<ViewPage, ScimError> {
    let view = api.directory.as_ref().ok_or_else(|| not_embedded(target))?;
    view.list(target, query).await?.ok_or_else(|| not_embedded(target))
}

async fn page(api: &Api, target: &TargetName, kind: ViewKind, params: ListParams) -> Answer {
    let query = query(kind, params)?;
    let start = query.skip + 1;
    let ViewPage { total, resources } = list(api, target, &query).await?;
    Ok(scim(json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    })))
}

async fn one(api: &Api, target: &TargetName, kind: ViewKind, id: &str) -> Answer {
    let view = api.directory.as_ref().ok_or_else(|| not_embedded(target))?;
    let found = view.get(target, kind, id).await?;
    found.map(scim).ok_or_else(|| not_found(format!("there is no `{id}` in `{target}`")))
}

fn query(kind: ViewKind, params: ListParams) -> Result<ViewQuery, ScimError> {
    let ListParams { filter, start_index, count } = params;
    let skip = usize::try_from(start_index.unwrap_or(1)).unwrap_or(1).saturating_sub(1);
    let count = count.map_or(USUAL, |count| usize::try_from(count).unwrap_or(0)).min(MOST);
    let filter = filter.map(|text| parse_filter(&text).ok_or_else(|| bad_filter(&text))).transpose()?;
    Ok(ViewQuery { kind, filter, skip, count })
}

/// `attr eq "value"`, or a number or boolean in place of the string.
fn parse_filter(text: &str) -> Option<(String, Value)> {
    let (name, rest) = text.trim().split_once(' ')?;
    let (operator, value) = rest.trim_start().split_once(' ')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:$".contains(c);
    if name.is_empty() || !name.chars().all(plain) || !operator.eq_ignore_ascii_case("eq") {
        return None;
    }
    let value: Value = serde_json::from_str(value).ok()?;
    (value.is_string() || value.is_number() || value.is_boolean()).then(|| (name.to_owned(), value))
}

fn bad_filter(text: &str) -> ScimError {
    let detail = format!("`{text}` is more than this view answers; write `attribute eq \"value\"`");
    ScimError { status: StatusCode::BAD_REQUEST, kind: Some("invalidFilter"), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_comparison_is_read_and_nothing_else() {
        assert_eq!(parse_filter("userName eq \"ada\""), Some(("userName".to_owned(), json!("ada"))));
        assert_eq!(parse_filter("name.givenName EQ \"a \\\"b\""), Some(("name.givenName".to_owned(), json!("a \"b"))));
        assert_eq!(parse_filter("active eq true"), Some(("active".to_owned(), json!(true))));
        for text in [
            "",
            "userName",
            "userName eq",
            "userName pr",
            "userName sw \"a\"",
            "a eq \"b\" and c eq \"d\"",
            "a eq null",
            "a eq [1]",
            "x(y eq \"z\"",
        ] {
            assert_eq!(parse_filter(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_read_as_the_least_or_the_most() {
        let paging = |start, count| {
            let params = ListParams { filter: None, start_index: start, count };
            let query = query(ViewKind::Users, params).unwrap();
            (query.skip, query.count)
        };
        assert_eq!(paging(None, None), (0, USUAL));
        assert_eq!(paging(Some(0), Some(-1)), (0, 0));
        assert_eq!(paging(Some(-5), Some(1_000_000)), (0, MOST));
        assert_eq!(paging(Some(11), Some(10)), (10, 10));
    }
}
