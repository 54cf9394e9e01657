//! Refusals, as problem details of RFC 9457.

use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::connector::ConnectorError;
use crate::engine::EngineError;
use crate::server::wire::PROBLEM_TYPE;
use crate::server::wire::Problem;
use crate::store::StoreError;

/// A request that is not done. Boxed, because results carry it everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(Box<Problem>);

impl Refusal {
    /// A refusal without a hint: its detail says what to do.
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            hint: None,
        }))
    }

    /// Says what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// What will be sent.
    pub(crate) fn problem(&self) -> &Problem {
        &self.0
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let Problem { code, detail, .. } = self.problem();
        if status.is_server_error() {
            tracing::error!(status = status.as_u16(), code, detail, "a request was not done");
        }
        let mut response = (status, axum::Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 section 11.6.1: a 401 names the scheme.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"rosterd\""));
        }
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Held(_) => "store-held",
            StoreError::Fenced(_) => "store-fenced",
            StoreError::Unavailable(_) => "store-unavailable",
            StoreError::Refused(_) => "store-refused",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string())
            .hint("nothing was changed; ask again once the store answers (`/readyz` tells)")
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let detail = error.to_string();
        match error {
            EngineError::NoTarget(name) => no_target(name.as_str()),
            EngineError::NoUser(_) => Self::new(StatusCode::NOT_FOUND, "no-user", detail)
                .hint("users are named by `metadata.name` of their document, not by mail"),
            EngineError::NoSnapshot(_) => Self::new(StatusCode::CONFLICT, "no-snapshot", detail)
                .hint("`rosterd status` lists what is wrong with the documents"),
            EngineError::Stale(_) => Self::new(StatusCode::CONFLICT, "stale", detail),
            EngineError::Target(_) => Self::new(StatusCode::BAD_GATEWAY, "target", detail),
            EngineError::Store(error) => error.into(),
            EngineError::Invalid(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail),
            EngineError::TooMany(_) => Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", detail),
            EngineError::Stopping => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail),
        }
    }
}

impl From<ConnectorError> for Refusal {
    fn from(error: ConnectorError) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "target", error.message)
    }
}

/// No such target.
pub(crate) fn no_target(name: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "no-target", format!("there is no target `{name}`"))
        .hint("`rosterd targets` lists them")
}

/// Something in the request cannot stand.
pub(crate) fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_that_refuses_is_a_problem_of_rfc_9457_with_a_hint() {
        let response = no_target("crm").into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers().get(header::CONTENT_TYPE).unwrap(), PROBLEM_TYPE);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let expected = serde_json::json!({
            "title": "Not Found",
            "status": 404,
            "code": "no-target",
            "detail": "there is no target `crm`",
            "hint": "`rosterd targets` lists them",
        });
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), expected);
    }

    #[test]
    fn a_missing_token_is_answered_with_the_scheme_to_use() {
        let response = Refusal::new(StatusCode::UNAUTHORIZED, "no-token", "x").into_response();
        assert_eq!(response.headers().get(header::WWW_AUTHENTICATE).unwrap(), "Bearer realm=\"rosterd\"");
    }

    #[test]
    fn what_the_engine_refuses_keeps_its_kind() {
        let codes = [
            (EngineError::NoTarget("t".into()), 404),
            (EngineError::NoUser("u".into()), 404),
            (EngineError::NoSnapshot("x".to_owned()), 409),
            (EngineError::Invalid("x".to_owned()), 422),
            (EngineError::Stale("x".to_owned()), 409),
            (EngineError::Target("x".to_owned()), 502),
            (EngineError::Store(StoreError::Unavailable("x".to_owned())), 503),
            (EngineError::Stopping, 503),
        ];
        for (error, status) in codes {
            assert_eq!(Refusal::from(error).problem().status, status);
        }
    }
}
