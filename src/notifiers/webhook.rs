//! Events to one address: `CloudEvents` 1.0 in JSON, signed.
//!
//! The body is a structured `CloudEvents` message (`application/cloudevents+json`). `rosterd-timestamp` is
//! the second of the attempt since 1970, `rosterd-signature` is `v1=` and the hexadecimal HMAC-SHA256, under
//! the shared key, of that timestamp, a full stop and the body. Its `id` is the same at every attempt.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use ring::hmac;
use serde_json::Value;
use serde_json::json;

use crate::clock::Clock;
use crate::http::Call;
use crate::http::HttpClient;
use crate::http::HttpSettings;
use crate::http::fault::Fault;
use crate::http::fault::HttpError;
use crate::model::message::Content;
use crate::model::message::Event;
use crate::model::message::Posted;
use crate::notify::Notifier;
use crate::notify::NotifyClass;
use crate::notify::NotifyError;
use crate::secrets::keys::hex;
use crate::secrets::secret::Secret;

/// An answer says that it came and no more.
const ANSWER_LIMIT: usize = 64 * 1024;
/// As long as a target has for one call.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// One webhook.
pub struct WebhookNotifier {
    client: HttpClient,
    key: hmac::Key,
    clock: Arc<dyn Clock>,
}

impl WebhookNotifier {
    /// A webhook at `url`, whose messages are signed by `key`.
    ///
    /// # Errors
    /// Where `url` is no address that a client may be bound to.
    pub fn new(url: &str, key: &Secret, ca: Option<Vec<u8>>, clock: Arc<dyn Clock>) -> Result<Self, HttpError> {
        let client = HttpClient::new(HttpSettings {
            url: url.to_owned(),
            bearer: None,
            ca,
            connect_limit: CALL_LIMIT,
            call_limit: CALL_LIMIT,
            answer_limit: ANSWER_LIMIT,
            observer: Arc::new(|_, _, _| {}),
            clock: Arc::clone(&clock),
        })?;
        Ok(Self { client, key: hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes()), clock })
    }

    fn signature(&self, timestamp: &str, body: &str) -> String {
        let mut signed = hmac::Context::with_key(&self.key);
        signed.update(timestamp.as_bytes());
        signed.update(b".");
        signed.update(body.as_bytes());
        format!("v1={}", hex(signed.sign().as_ref()))
    }
}

/// The `CloudEvents` 1.0 message of an event.
fn cloud_event(message: &Posted, event: &Event) -> Value {
    let Event { kind, subject, data } = event;
    json!({
        "specversion": "1.0",
        "id": message.id,
        "source": "urn:rosterd",
        "type": kind,
        "subject": subject,
        "time": message.at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        "datacontenttype": "application/json",
        "data": data,
    })
}

#[async_trait]
impl Notifier for WebhookNotifier {
    fn takes_passwords(&self) -> bool {
        false
    }

    async fn deliver(&self, message: &Posted) -> Result<(), NotifyError> {
        let Some(Content::Event(event)) = &message.content else { return Ok(()) };
        let body = cloud_event(message, event);
        let timestamp = self.clock.now().timestamp().to_string();
        let signature = self.signature(&timestamp, &body.to_string());
        let call = Call {
            operation: "webhook",
            method: Method::POST,
            url: self.client.base().clone(),
            body: Some((&body, "application/cloudevents+json")),
            if_match: None,
            authorized: false,
        };
        let headers = [("rosterd-timestamp", timestamp), ("rosterd-signature", signature)];
        let answer = self.client.send_with(call, &headers).await.map_err(judged)?;
        if answer.is_success() {
            return Ok(());
        }
        Err(judged(answer.failure()))
    }
}

fn judged(error: HttpError) -> NotifyError {
    let class = match error.fault {
        Fault::Door | Fault::RateLimited => NotifyClass::Door,
        Fault::Transient | Fault::Uncertain => NotifyClass::Later,
        Fault::Refused => NotifyClass::Refused,
    };
    NotifyError { class, message: error.message, retry_after: error.retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn the_signature_is_that_of_timestamp_and_body() {
        let key = Secret::new("key");
        let notifier = WebhookNotifier::new("http://127.0.0.1:1/hook", &key, None, Arc::new(SystemClock)).unwrap();
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac key
        let expected = "v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        assert_eq!(notifier.signature("1700000000", "{}"), expected);
        assert_ne!(notifier.signature("1700000001", "{}"), expected);
    }
}
