//! Calls in SCIM's terms: addresses of resources, media types, patience with reads.

use std::time::Duration;

use reqwest::Method;
use reqwest::Url;
use serde_json::Value;
use tokio::time::Instant;

use crate::connector::ConnectorError;
use crate::connector::document;
use crate::connectors::scim::fault;
use crate::http::Call;
use crate::http::HttpClient;
use crate::http::answer::Answer;
use crate::http::fault::Fault;

/// Wait before a read is sent again to a target that asks for patience and does not say how much.
const PAUSE: Duration = Duration::from_secs(1);

/// A client with the manners of one target.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) http: HttpClient,
    pub(crate) media_type: &'static str,
    /// How long a read waits in all when the target asks for patience.
    pub(crate) patience: Duration,
}

/// One write.
pub(crate) struct Write<'a> {
    pub(crate) operation: &'static str,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) body: &'a Value,
    pub(crate) if_match: Option<&'a str>,
}

/// One page of a list (RFC 7644 section 3.4.2).
pub(crate) struct Page {
    pub(crate) rows: Vec<Value>,
    pub(crate) total: Option<u64>,
}

impl Wire {
    pub(crate) fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Result<Url, ConnectorError> {
        self.http.url(segments, query).map_err(fault::of_http)
    }

    /// A read. Any status is returned but "slow down", which is waited out while patience lasts:
    /// a listing of a thousand pages must not begin anew for one 429.
    pub(crate) async fn read(&self, operation: &'static str, url: Url) -> Result<Answer, ConnectorError> {
        // From the first refusal: before it nobody asked for patience, and what waits for a permit has none to lose.
        let mut end = None;
        loop {
            let answer = self.http.send(Call::get(operation, url.clone())).await.map_err(fault::of_http)?;
            let asks_patience = !answer.is_success() && answer.failure().fault == Fault::RateLimited;
            if !asks_patience {
                return Ok(answer);
            }
            let pause = answer.retry_after.unwrap_or(PAUSE);
            if Instant::now() + pause > *end.get_or_insert_with(|| Instant::now() + self.patience) {
                return Err(fault::of_read(&answer));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// A read that must give one resource.
    pub(crate) async fn resource(&self, operation: &'static str, url: Url) -> Result<(Value, Answer), ConnectorError> {
        let answer = self.read(operation, url).await?;
        if !answer.is_success() {
            return Err(fault::of_one(&answer));
        }
        match resource_of(&answer) {
            Some(resource) => Ok((resource, answer)),
            None => Err(fault::of_http(answer.unreadable())),
        }
    }

    /// A write, sent once: only the engine decides what is sent again.
    pub(crate) async fn write(&self, write: Write<'_>) -> Result<Answer, ConnectorError> {
        let Write { operation, method, url, body, if_match } = write;
        let body = Some((body, self.media_type));
        let call = Call { operation, method, url, body, if_match, authorized: true };
        self.http.send(call).await.map_err(fault::of_http)
    }
}

/// The body as one resource with an id.
pub(crate) fn resource_of(answer: &Answer) -> Option<Value> {
    answer.json().filter(|resource| document::id(resource).is_some())
}

/// The body as a page of a list.
pub(crate) fn page_of(answer: &Answer) -> Result<Page, ConnectorError> {
    let unreadable = || fault::of_http(answer.unreadable());
    let mut json = answer.json().filter(Value::is_object).ok_or_else(unreadable)?;
    let total = document::member(&json, "totalResults").and_then(document::whole);
    match document::take(&mut json, "Resources") {
        Some(Value::Array(rows)) => Ok(Page { rows, total }),
        // RFC 7644 section 3.4.2: `Resources` may be left out when there is nothing to show.
        None | Some(Value::Null) if total.is_some() => Ok(Page { rows: Vec::new(), total }),
        _ => Err(unreadable()),
    }
}
