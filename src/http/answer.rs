//! What a target answered, and what its status means to any protocol.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;

use crate::http::fault::Fault;
use crate::http::fault::HttpError;
use crate::secrets::secret::Secret;

/// Most characters of a target's own words that a message repeats.
const DETAIL_LIMIT: usize = 200;

/// An answer, read to its end.
pub struct Answer {
    /// The operation that was answered.
    pub operation: &'static str,
    /// Whether that was a write.
    pub writes: bool,
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as sent, decompressed.
    pub body: Bytes,
    /// What the target asked us to wait, whatever the status.
    pub retry_after: Option<Duration>,
    /// Blotted out of everything that is repeated.
    pub(crate) secret: Option<Secret>,
}

impl Answer {
    /// Whether the status says it was done (2xx).
    pub fn is_success(&self) -> bool {
        (200..=299).contains(&self.status)
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON; `None` if it is empty or something else.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The error that any status but 2xx stands for.
    pub fn failure(&self) -> HttpError {
        let fault = self.fault();
        let retry_after = self.retry_after.filter(|_| fault == Fault::RateLimited);
        let hint = match (fault, self.status) {
            (Fault::Door, 300..=399) => "; the target redirects, which is never followed: check `url`",
            (Fault::Door, 401) => "; the credential was not taken: check the secret",
            (Fault::Door, _) => "; the credential has no right to this",
            (Fault::Uncertain, _) => "; whether it was done must be looked up",
            (Fault::RateLimited | Fault::Transient | Fault::Refused, _) => "",
        };
        let detail = self.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        let message = format!("`{}` was answered {}{detail}{hint}", self.operation, self.status);
        HttpError { fault, code: "status", message, retry_after }
    }

    fn fault(&self) -> Fault {
        match self.status {
            300..=399 | 401 | 403 | 407 => Fault::Door,
            429 => Fault::RateLimited,
            503 if self.retry_after.is_some() => Fault::RateLimited,
            408 | 421 | 423 | 425 => Fault::Transient,
            400..=499 | 501 | 505 => Fault::Refused,
            _ if self.writes => Fault::Uncertain,
            _ => Fault::Transient,
        }
    }

    /// The error of a success whose body cannot be used.
    pub fn unreadable(&self) -> HttpError {
        let what = match self.body.iter().find(|byte| !byte.is_ascii_whitespace()) {
            None => "nothing",
            Some(b'<') => "HTML or XML",
            Some(_) => "something that is not a SCIM answer",
        };
        let fault = if self.writes { Fault::Uncertain } else { Fault::Transient };
        let message = format!(
            "`{}` was answered {} with {what}; check that `url` is the SCIM address and not a page or a proxy",
            self.operation, self.status
        );
        HttpError { fault, code: "unreadable", message, retry_after: None }
    }

    /// The target's own words about a failure, cut short, without control characters and secrets.
    pub fn detail(&self) -> Option<String> {
        let json = self.json()?;
        let words =
            ["detail", "message", "error_description", "error"].iter().find_map(|name| json.get(name)?.as_str())?;
        let words = match &self.secret {
            Some(secret) if !secret.expose().is_empty() => words.replace(secret.expose(), "***"),
            _ => words.to_owned(),
        };
        let clean: String = words.chars().filter(|letter| !letter.is_control()).take(DETAIL_LIMIT).collect();
        (!clean.is_empty()).then_some(clean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, writes: bool, body: &'static str) -> Answer {
        Answer {
            operation: "create",
            writes,
            status,
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
            retry_after: None,
            secret: Some(Secret::new("s3cret")),
        }
    }

    #[test]
    fn statuses_fall_into_kinds_of_failure() {
        for (status, writes, fault) in [
            (302, false, Fault::Door),
            (401, false, Fault::Door),
            (403, true, Fault::Door),
            (400, true, Fault::Refused),
            (405, true, Fault::Refused),
            (429, true, Fault::RateLimited),
            (500, true, Fault::Uncertain),
            (500, false, Fault::Transient),
            (501, true, Fault::Refused),
            (502, true, Fault::Uncertain),
            (503, false, Fault::Transient),
        ] {
            assert_eq!(answer(status, writes, "").failure().fault, fault, "{status}");
        }
        let overload = Answer { retry_after: Some(Duration::from_secs(3)), ..answer(503, true, "") }.failure();
        assert_eq!((overload.fault, overload.retry_after), (Fault::RateLimited, Some(Duration::from_secs(3))));
    }

    #[test]
    fn the_targets_words_are_repeated_short_and_without_the_token() {
        let answer = answer(400, true, "{\"detail\": \"token s3cret is\\u0007 odd\"}");
        assert_eq!(answer.failure().message, "`create` was answered 400 (token *** is odd)");
        let long = format!("{{\"detail\": \"{}\"}}", "x".repeat(5000));
        let long = Answer { body: long.into(), ..answer };
        assert!(long.failure().message.len() < 300);
    }

    #[test]
    fn a_page_in_place_of_an_answer_is_named_as_such() {
        let message = answer(200, false, " <html>").unreadable().message;
        assert!(message.contains("HTML"), "{message}");
        assert_eq!(answer(200, true, "").unreadable().fault, Fault::Uncertain);
    }
}
