//! The only HTTP client: bound to one origin, limited in time and size, followed nowhere.
//!
//! # Guarantees
//! - A request, and the token with it, goes to the origin the client was made for or nowhere:
//!   redirects are not followed, and [`HttpClient::follow`] refuses foreign links.
//! - An answer above the size limit is cut off while it is read.
//! - No error text holds the token, a header, a query or a body beyond the `detail` that the
//!   target chose to show, with the token blotted out.

pub mod answer;
pub mod fault;
pub mod pace;
pub mod rate;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use chrono::DateTime;
use chrono::Utc;
use reqwest::Method;
use reqwest::Url;
use reqwest::header;
use reqwest::redirect::Policy;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::clock::guard::Reading;
use crate::http::answer::Answer;
use crate::http::fault::HttpError;
use crate::secrets::secret::Secret;

/// Sent with every call: some targets refuse calls without one.
pub const USER_AGENT: &str = concat!("rosterd/", env!("CARGO_PKG_VERSION"));

/// Called after each call with the operation, the code (`200`, `timeout`, `connect`, ...) and the seconds it took.
pub type Observer = Arc<dyn Fn(&'static str, &str, f64) + Send + Sync>;

/// What a client is made of.
pub struct HttpSettings {
    /// Base address: scheme, host, port and the path under which everything lies.
    pub url: String,
    /// Sent as `Authorization: Bearer` to that origin only.
    pub bearer: Option<Secret>,
    /// PEM certificates that replace the system's roots.
    pub ca: Option<Vec<u8>>,
    /// Longest time until a connection stands.
    pub connect_limit: Duration,
    /// Longest time for a whole call, its answer read.
    pub call_limit: Duration,
    /// Longest answer in bytes.
    pub answer_limit: usize,
    /// Told of every call.
    pub observer: Observer,
    /// For waiting times that the target states as a moment.
    pub clock: Arc<dyn Clock>,
}

/// An HTTP client bound to one origin.
pub struct HttpClient {
    client: reqwest::Client,
    base: Url,
    bearer: Option<Secret>,
    answer_limit: usize,
    observer: Observer,
    clock: Arc<dyn Clock>,
    /// The `Date` of the last answer, and when it came.
    heard: Mutex<Option<Reading>>,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// A word for metrics and messages: `list`, `create`, ...
    pub operation: &'static str,
    /// The method; all but GET count as writes.
    pub method: Method,
    /// Where to; made by [`HttpClient::url`] or [`HttpClient::follow`].
    pub url: Url,
    /// JSON body and its media type.
    pub body: Option<(&'a serde_json::Value, &'static str)>,
    /// `If-Match`.
    pub if_match: Option<&'a str>,
    /// `false` leaves the token at home, to learn whether the target looks at it.
    pub authorized: bool,
}

impl Call<'_> {
    /// A read of `url`.
    pub fn get(operation: &'static str, url: Url) -> Self {
        Self { operation, method: Method::GET, url, body: None, if_match: None, authorized: true }
    }

    fn writes(&self) -> bool {
        self.method != Method::GET
    }
}

/// Makes ring the process's cryptography. Call before the first client; again does nothing.
pub fn install_crypto() {
    // The error says only that a provider is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

impl HttpClient {
    /// Makes a client. Connects to nothing yet.
    pub fn new(settings: HttpSettings) -> Result<Self, HttpError> {
        install_crypto();
        let HttpSettings { url, bearer, ca, connect_limit, call_limit, answer_limit, observer, clock } = settings;
        let base = base_url(&url)?;
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(connect_limit)
            .timeout(call_limit);
        if base.scheme() == "http" {
            // Nothing is ever encrypted here, so no root store is needed; and a proxy would see the token.
            builder = builder.tls_certs_only([]).no_proxy();
        } else if let Some(pem) = ca {
            let roots = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
            if roots.is_empty() {
                return Err(HttpError::door("the CA file holds no PEM certificate"));
            }
            builder = builder.tls_certs_only(roots);
        }
        let client =
            builder.build().map_err(|error| HttpError::door(format!("no HTTPS client can be made: {error}")))?;
        Ok(Self { client, base, bearer, answer_limit, observer, clock, heard: Mutex::default() })
    }

    /// What time it is over there: the `Date` of the last answer, carried on by the steady clock.
    pub fn time(&self) -> Option<DateTime<Utc>> {
        let heard = (*self.heard.lock().unwrap_or_else(PoisonError::into_inner))?;
        let steady = self.clock.steady();
        heard.is_fresh(steady).then(|| heard.carried(steady))
    }

    /// The base address.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Whether calls carry a token.
    pub fn has_token(&self) -> bool {
        self.bearer.is_some()
    }

    /// An address under the base; each segment is percent-encoded as one.
    ///
    /// # Errors
    /// An empty segment, `.` and `..` would name another resource than the one meant, and so would
    /// one with a tab or a line break: addresses drop those.
    pub fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Result<Url, HttpError> {
        let misleads = |segment: &str| matches!(segment, "" | "." | "..") || segment.contains(char::is_control);
        if let Some(bad) = segments.iter().find(|segment| misleads(segment)) {
            let bad = bad.escape_debug();
            return Err(HttpError::refused(format!("`{bad}` cannot stand in an address; no call was made")));
        }
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// An address out of an answer (`next`, `Link`, `Location`), if it stays at home.
    pub fn follow(&self, link: &str) -> Result<Url, HttpError> {
        let url = self.base.join(link).map_err(|_| HttpError::door("the target sent a link that is no address"))?;
        if self.same_origin(&url) { Ok(url) } else { Err(foreign(&url)) }
    }

    /// Whether an address has the scheme, host and port that the token is bound to.
    pub fn same_origin(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// Makes one call. Any status is an answer; [`Answer::failure`] judges it.
    pub async fn send(&self, call: Call<'_>) -> Result<Answer, HttpError> {
        self.send_with(call, &[]).await
    }

    /// The same with headers of one's own.
    pub async fn send_with(&self, call: Call<'_>, headers: &[(&'static str, String)]) -> Result<Answer, HttpError> {
        if !self.same_origin(&call.url) {
            return Err(foreign(&call.url));
        }
        rate::permit().await;
        let started = Instant::now();
        let outcome = self.exchange(&call, headers).await;
        let code = match &outcome {
            Ok(answer) => answer.status.to_string(),
            Err(error) => error.code.to_owned(),
        };
        (self.observer)(call.operation, &code, started.elapsed().as_secs_f64());
        outcome
    }

    async fn exchange(&self, call: &Call<'_>, headers: &[(&'static str, String)]) -> Result<Answer, HttpError> {
        let mut request = self
            .client
            .request(call.method.clone(), call.url.clone())
            .header(header::ACCEPT, "application/scim+json, application/json");
        if let Some(token) = self.bearer.as_ref().filter(|_| call.authorized) {
            request = request.bearer_auth(token.expose());
        }
        if let Some(version) = call.if_match {
            request = request.header(header::IF_MATCH, version);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some((body, media_type)) = call.body {
            request = request.header(header::CONTENT_TYPE, media_type).body(body.to_string());
        }
        let response = request.send().await.map_err(|error| fault::of_call(call.operation, call.writes(), &error))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        if let Some(wall) = pace::date(&headers) {
            let heard = Reading { wall, steady: self.clock.steady() };
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
        }
        let body = self.read(response, call).await?;
        let retry_after = pace::wait(&headers, self.clock.now());
        let secret = self.bearer.clone();
        Ok(Answer { operation: call.operation, writes: call.writes(), status, headers, body, retry_after, secret })
    }

    async fn read(&self, mut response: reqwest::Response, call: &Call<'_>) -> Result<Bytes, HttpError> {
        let mut body = BytesMut::new();
        loop {
            let chunk = response.chunk().await;
            let Some(chunk) = chunk.map_err(|error| fault::of_call(call.operation, call.writes(), &error))? else {
                return Ok(body.freeze());
            };
            if body.len() + chunk.len() > self.answer_limit {
                return Err(fault::too_big(call.operation, call.writes(), self.answer_limit));
            }
            body.extend_from_slice(&chunk);
        }
    }
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// An address that a client may be bound to.
pub fn base_url(text: &str) -> Result<Url, HttpError> {
    let url = Url::parse(text)
        .map_err(|error| HttpError::door(format!("the address cannot be read ({error}); write `https://host/path`")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(HttpError::door("the address must begin with `https://` or `http://` and name a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(HttpError::door("the address holds credentials; write them as a secret under `auth`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(HttpError::door("the address must end before any `?` or `#`"));
    }
    Ok(url)
}

/// Whether an address is this machine's own: such a call leaves it never.
pub fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

fn foreign(url: &Url) -> HttpError {
    let origin = url.origin().ascii_serialization();
    HttpError::door(format!("the target points to another origin, `{origin}`; nothing was sent there"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::http::fault::Fault;

    fn client(url: &str) -> HttpClient {
        HttpClient::new(HttpSettings {
            url: url.into(),
            bearer: Some(Secret::new("s3cret")),
            ca: None,
            connect_limit: Duration::from_secs(1),
            call_limit: Duration::from_secs(1),
            answer_limit: 1024,
            observer: Arc::new(|_, _, _| {}),
            clock: Arc::new(SystemClock),
        })
        .unwrap()
    }

    #[test]
    fn ids_become_one_encoded_segment() {
        let client = client("http://127.0.0.1:1/scim/v2/");
        let url = client.url(&["Users", "a/b?c#d é"], &[("filter", "userName eq \"x&y\"")]).unwrap();
        let expected = "http://127.0.0.1:1/scim/v2/Users/a%2Fb%3Fc%23d%20%C3%A9?filter=userName+eq+%22x%26y%22";
        assert_eq!(url.as_str(), expected);
    }

    #[test]
    fn an_id_that_would_name_another_resource_is_refused() {
        for id in ["", ".", "..", "a\tb", ".\t.", "\n", "a\r"] {
            let made = client("http://127.0.0.1:1/scim").url(&["Users", id], &[]);
            assert_eq!(made.map_err(|error| error.fault), Err(Fault::Refused), "{id:?}");
        }
    }

    #[test]
    fn links_are_followed_at_home_only() {
        let client = client("https://crm.example/scim/v2");
        assert!(client.follow("/scim/v2/Users?startIndex=2").is_ok());
        assert!(client.follow("https://crm.example:443/other").is_ok());
        for link in ["http://crm.example/x", "https://crm.example:8443/x", "https://evil.example/", "//evil.example/"] {
            let error = client.follow(link).unwrap_err();
            assert_eq!(error.fault, Fault::Door, "{link}");
            assert!(!error.message.contains("s3cret"));
        }
    }

    #[test]
    fn addresses_with_credentials_queries_or_other_schemes_are_refused() {
        for text in ["https://u:p@crm.example", "https://crm.example?x=1", "ftp://crm.example", "crm.example", "https:"]
        {
            assert!(base_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_told_from_other_addresses() {
        for (text, expected) in [
            ("http://127.0.0.1:1", true),
            ("http://127.8.0.1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://localhost.evil.example", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(text).unwrap()), expected, "{text}");
        }
    }
}
