//! Answers to callers inside this process: they get the value itself, where a listener would write JSON
//! for it to be read again.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::http::Extensions;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Serialize;

/// Marks a request as one of this process. No listener can give it: it is no header.
#[derive(Clone, Copy, Debug)]
pub struct Inside;

/// An answer that may be large.
pub(crate) struct Told<T> {
    value: T,
    inside: bool,
}

impl<T> Told<T> {
    pub(crate) fn new(value: T, asked: Option<Extension<Inside>>) -> Self {
        Self { value, inside: asked.is_some() }
    }
}

impl<T: Serialize + Send + Sync + 'static> IntoResponse for Told<T> {
    fn into_response(self) -> Response {
        if !self.inside {
            return Json(self.value).into_response();
        }
        let mut response = ().into_response();
        response.extensions_mut().insert(Arc::new(self.value));
        response
    }
}

/// The value of an answer that was given inside this process.
pub fn told<T: Send + Sync + 'static>(extensions: &mut Extensions) -> Option<T> {
    extensions.remove::<Arc<T>>().and_then(Arc::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_inside_gets_the_value_and_who_asks_over_a_listener_gets_json() {
        let mut inside = Told::new(vec![1, 2], Some(Extension(Inside))).into_response();
        assert_eq!(told::<Vec<i32>>(inside.extensions_mut()), Some(vec![1, 2]));
        let mut outside = Told::new(vec![1, 2], None).into_response();
        assert_eq!(told::<Vec<i32>>(outside.extensions_mut()), None);
        let body = axum::body::to_bytes(outside.into_body(), 100).await.unwrap();
        assert_eq!(body, "[1,2]");
    }
}
