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

/// Why the store does not answer, with what to do.
pub(crate) async fn store_error(api: &Api) -> Option<String> {
    match api.store.chains().await {
        // What it can be read for it may yet refuse to be told.
        Ok(_) => api.engine.store_away(),
        Err(error) => Some(error.to_string()),
    }
}

/// There is something to act on, and something to remember it by.
pub(crate) async fn ready(State(api): State<Arc<Api>>) -> (StatusCode, Json<Ready>) {
    let error = store_error(&api).await;
    if let Some(error) = &error {
        tracing::warn!(%error, "not ready: the store does not answer");
    }
    let (snapshot, store) = (api.engine.snapshot().is_some(), error.is_none());
    let ready = store && snapshot;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, snapshot, store, error }))
}

/// Everything that is counted.
pub(crate) async fn metrics(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let tasks = Handle::current().metrics().num_alive_tasks();
    api.metrics.tasks.set(i64::try_from(tasks).unwrap_or(i64::MAX));
    // A daemon at rest asks its store for nothing, and whoever watches it is to know all the same.
    api.metrics.store_away.set(i64::from(store_error(&api).await.is_some()));
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], api.metrics.encode())
}
