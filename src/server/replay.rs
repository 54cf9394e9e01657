//! `Idempotency-Key`: a write that is sent again gives the answer it gave before.
//!
//! # Guarantees
//! - The same key with the same body from the same caller runs once in [`KEPT`], also where both
//!   arrive together; the same key with another body is refused.
//! - An answer that says the server failed is not kept: sending again tries again.
//!
//! # Caveats
//! Answers live in this process, and no more than [`MOST`] of them or [`MOST_BYTES`] in all; after
//! a restart a repeated write runs again. Every write of the API may safely be repeated: cycles
//! read the world anew, and a decision about a digest that no longer waits is refused.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use tokio::time::Instant;

use crate::server::problem::Refusal;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_hours(24);

/// How many answers are kept.
const MOST: usize = 1024;

/// Bytes of all answers together. A report of a large cycle has megabytes.
const MOST_BYTES: usize = 64 << 20;

/// An answer, once there is one.
pub(crate) type Slot = Arc<tokio::sync::Mutex<Option<Answer>>>;

/// An answer that can be given again.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

/// Answers by key.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    /// Oldest first; few enough to be searched from end to end.
    entries: Mutex<VecDeque<Entry>>,
}

#[derive(Debug)]
struct Entry {
    key: String,
    /// Hash of the body that came with the key.
    body: String,
    since: Instant,
    size: usize,
    slot: Slot,
}

impl Replays {
    /// The place of the answer to `key`.
    ///
    /// # Errors
    /// Where the key came with another body before.
    pub(crate) fn slot(&self, key: &str, body: &str, now: Instant) -> Result<Slot, Refusal> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| now.duration_since(entry.since) < KEPT);
        if let Some(entry) = entries.iter().find(|entry| entry.key == key) {
            return if entry.body == body { Ok(Arc::clone(&entry.slot)) } else { Err(other_body()) };
        }
        if entries.len() >= MOST {
            entries.pop_front();
        }
        let slot = Slot::default();
        let entry = Entry { key: key.to_owned(), body: body.to_owned(), since: now, size: 0, slot: Arc::clone(&slot) };
        entries.push_back(entry);
        Ok(slot)
    }

    /// Keeps an answer in its slot, and gives it back. Old answers make room for it.
    pub(crate) async fn keep(&self, key: &str, slot: &mut Option<Answer>, response: Response) -> Response {
        if response.status().is_server_error() {
            self.forget(key);
            return response;
        }
        let (parts, body) = response.into_parts();
        // Answers are built in memory, so reading one again neither waits nor fails.
        let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
            self.forget(key);
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let content_type = parts.headers.get(header::CONTENT_TYPE).cloned();
        *slot = Some(Answer { status: parts.status, content_type, body: bytes.clone() });
        self.weigh(key, bytes.len());
        Response::from_parts(parts, Body::from(bytes))
    }

    fn forget(&self, key: &str) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).retain(|entry| entry.key != key);
    }

    fn weigh(&self, key: &str, size: usize) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.iter_mut().find(|entry| entry.key == key) {
            entry.size = size;
        }
        let mut total: usize = entries.iter().map(|entry| entry.size).sum();
        while total > MOST_BYTES {
            let Some(oldest) = entries.pop_front() else { break };
            total -= oldest.size;
        }
    }
}

impl Answer {
    /// The answer again, marked as such.
    pub(crate) fn again(&self) -> Response {
        let mut response = (self.status, self.body.clone()).into_response();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        if let Some(content_type) = &self.content_type {
            headers.insert(header::CONTENT_TYPE, content_type.clone());
        }
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
        response
    }
}

/// A key as it came.
///
/// # Errors
/// Where it is empty, longer than 255 characters or not visible ASCII.
pub(crate) fn key(value: &HeaderValue) -> Result<&str, Refusal> {
    let text = value.to_str().unwrap_or_default();
    if (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text);
    }
    let detail = "`Idempotency-Key` must be 1 to 255 visible ASCII characters";
    Err(Refusal::new(StatusCode::BAD_REQUEST, "bad-key", detail).hint("a random UUID does well"))
}

fn other_body() -> Refusal {
    let detail = "this `Idempotency-Key` came with another body before";
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail).hint("take a new key for a new request")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn put(replays: &Replays, key: &str, size: usize) {
        let slot = replays.slot(key, "b", Instant::now()).unwrap();
        let response = "x".repeat(size).into_response();
        let mut kept = slot.lock().await;
        let given = replays.keep(key, &mut kept, response).await;
        assert_eq!(given.status(), StatusCode::OK);
    }

    async fn is_kept(replays: &Replays, key: &str) -> bool {
        let slot = replays.slot(key, "b", Instant::now()).unwrap();
        slot.lock().await.is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_for_a_day_and_no_longer() {
        let replays = Replays::default();
        put(&replays, "k", 1).await;
        tokio::time::advance(KEPT.saturating_sub(Duration::from_secs(1))).await;
        assert!(is_kept(&replays, "k").await);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!is_kept(&replays, "k").await);
    }

    #[tokio::test]
    async fn the_oldest_answers_make_room_in_number_and_in_bytes() {
        let replays = Replays::default();
        for number in 0..=MOST {
            put(&replays, &number.to_string(), 1).await;
        }
        assert!(is_kept(&replays, "1").await);
        assert_eq!(replays.entries.lock().unwrap().len(), MOST);
        let replays = Replays::default();
        for name in ["a", "b", "c"] {
            put(&replays, name, MOST_BYTES / 2).await;
        }
        assert!(is_kept(&replays, "c").await);
        assert!(is_kept(&replays, "b").await);
        assert!(!is_kept(&replays, "a").await);
    }

    #[tokio::test]
    async fn an_answer_that_says_the_server_failed_is_tried_again() {
        let replays = Replays::default();
        let slot = replays.slot("k", "b", Instant::now()).unwrap();
        let mut kept = slot.lock().await;
        replays.keep("k", &mut kept, StatusCode::BAD_GATEWAY.into_response()).await;
        assert!(kept.is_none());
        assert!(replays.slot("k", "other", Instant::now()).is_ok());
    }

    #[test]
    fn a_key_is_visible_ascii_of_bounded_length() {
        assert!(key(&HeaderValue::from_static("a-1")).is_ok());
        assert!(key(&HeaderValue::from_static("")).is_err());
        assert!(key(&HeaderValue::from_static("a b")).is_err());
        assert!(key(&HeaderValue::from_str(&"a".repeat(256)).unwrap()).is_err());
    }
}
