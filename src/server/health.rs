//! For those who watch the daemon: alive, ready, metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::Value;
use serde_json::json;
use tokio::runtime::Handle;

use crate::metrics::CONTENT_TYPE;
use crate::server::Api;
use crate::server::wire::Ready;

/// The process answers.
pub(crate) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// There is something to act on, and something to remember it by.
pub(crate) async fn ready(State(api): State<Arc<Api>>) -> (StatusCode, Json<Ready>) {
    let store = match api.store.chains().await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(error = %error, "not ready: the store does not answer");
            false
        }
    };
    let snapshot = api.engine.snapshot().is_some();
    let ready = store && snapshot;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, snapshot, store }))
}

/// Everything that is counted.
pub(crate) async fn metrics(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let tasks = Handle::current().metrics().num_alive_tasks();
    api.metrics.tasks.set(i64::try_from(tasks).unwrap_or(i64::MAX));
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], api.metrics.encode())
}
