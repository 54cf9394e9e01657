//! Bodies, queries and path parts, with refusals that say what is wrong with them.

use axum::body::Bytes;
use axum::extract::FromRequest;
use axum::extract::FromRequestParts;
use axum::extract::Path;
use axum::extract::Query;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::server::access::Caller;
use crate::server::problem::Refusal;
use crate::server::problem::invalid;

/// A JSON body; an empty one reads as `{}`.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let json = says_json(request.headers());
        // The gate has read the body and put it back, within its limits.
        let bytes = Bytes::from_request(request, state).await.map_err(|error| invalid(error.body_text()))?;
        if bytes.is_empty() {
            return parse(b"{}").map(Body);
        }
        if !json {
            let detail = "the body must be JSON, and `Content-Type` must say so";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", detail)
                .hint("send `Content-Type: application/json`"));
        }
        parse(&bytes).map(Body)
    }
}

fn says_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        if error.is_data() {
            return invalid(format!("the body does not fit: {error}"));
        }
        Refusal::new(StatusCode::BAD_REQUEST, "not-json", format!("the body is not JSON: {error}"))
    })
}

/// The query.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(Refusal::new(StatusCode::BAD_REQUEST, "bad-query", error.body_text())),
        }
    }
}

/// The variable parts of the path.
pub(crate) struct At<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(values)) => Ok(Self(values)),
            Err(error) => Err(Refusal::new(StatusCode::BAD_REQUEST, "bad-path", error.body_text())),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        // The gate puts the caller there for every route that needs a right. One that does not
        // and asks all the same is a mistake of the table, and gets nothing.
        let missing = || Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "no-caller", "nobody was signed in here");
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

/// Checks a person's words before they are kept: they are shown on terminals later.
pub(crate) fn checked_reason(reason: Option<String>) -> Result<Option<String>, Refusal> {
    /// Long enough for a paragraph, short enough for a line of the audit log.
    const LONGEST: usize = 1000;
    let Some(text) = reason else { return Ok(None) };
    if text.chars().count() > LONGEST {
        return Err(invalid(format!("the reason is longer than {LONGEST} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid("the reason holds control characters").hint("write it on one line of plain text"));
    }
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::wire::LinkBody;
    use crate::server::wire::SyncBody;

    async fn body<T: DeserializeOwned>(kind: &str, text: &str) -> Result<T, (u16, String)> {
        let request = Request::builder().header("content-type", kind).body(text.to_owned().into()).unwrap();
        let refused = |refusal: Refusal| (refusal.problem().status, refusal.problem().detail.clone());
        Body::from_request(request, &()).await.map(|Body(body)| body).map_err(refused)
    }

    #[tokio::test]
    async fn an_empty_body_reads_as_an_empty_object() {
        assert_eq!(body::<SyncBody>("", "").await, Ok(SyncBody::default()));
    }

    #[tokio::test]
    async fn a_missing_field_and_a_misspelt_one_are_named() {
        let (status, detail) = body::<LinkBody>("application/json", "{\"user\":\"u\"}").await.unwrap_err();
        assert_eq!(status, 422);
        assert!(detail.contains("missing field `account`"), "{detail}");
        let (status, detail) = body::<SyncBody>("application/json", "{\"user\":[\"u\"]}").await.unwrap_err();
        assert_eq!(status, 422);
        assert!(detail.contains("unknown field `user`, expected `users` or `only`"), "{detail}");
    }

    #[tokio::test]
    async fn what_a_form_of_a_web_page_could_send_is_not_read() {
        for kind in ["", "text/plain", "application/x-www-form-urlencoded"] {
            assert_eq!(body::<SyncBody>(kind, "{}").await.unwrap_err().0, 415, "{kind}");
        }
        assert_eq!(body::<SyncBody>("application/json; charset=utf-8", "{}").await, Ok(SyncBody::default()));
    }

    #[tokio::test]
    async fn text_that_is_not_json_is_a_bad_request() {
        assert_eq!(body::<SyncBody>("application/json", "{").await.unwrap_err().0, 400);
        let deep = "[".repeat(100_000);
        assert_eq!(body::<SyncBody>("application/json", &deep).await.unwrap_err().0, 422);
    }

    #[test]
    fn reasons_are_one_line_of_bounded_length() {
        assert_eq!(checked_reason(Some("  ok ".to_owned())), Ok(Some("ok".to_owned())));
        assert_eq!(checked_reason(Some(" ".to_owned())), Ok(None));
        assert_eq!(checked_reason(None), Ok(None));
        assert!(checked_reason(Some("a\u{1b}[31m".to_owned())).is_err());
        assert!(checked_reason(Some("a".repeat(1001))).is_err());
    }
}
