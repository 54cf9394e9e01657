//! One way to ask: over HTTP where a daemon runs, else the same routes inside this process.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Extensions;
use axum::http::Method;
use axum::http::Request;
use axum::http::header;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt;

use crate::cli::failure::Failure;
use crate::cli::words::put;
use crate::clock::SystemClock;
use crate::http::Call;
use crate::http::HttpClient;
use crate::http::HttpSettings;
use crate::http::fault::HttpError;
use crate::secrets::secret::Secret;
use crate::server::inside;
use crate::server::inside::Inside;
use crate::server::wire::Ready;

/// A plan of a million changes is some hundred megabytes; nothing that answers is larger.
const ANSWER_LIMIT: usize = 1 << 30;
/// A cycle is waited for as long as its target needs.
const CALL_LIMIT: Duration = Duration::from_hours(24);
/// A daemon answers its door at once.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Who answers.
pub enum Client {
    /// A daemon.
    Remote(HttpClient),
    /// This process.
    Local(Local),
}

/// The routes of a daemon, without one.
pub struct Local {
    /// The routes.
    pub router: Router,
    /// The token of this installation.
    pub token: Secret,
}

/// One thing to ask for, under `/api/v1`.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Segments of the path.
    pub path: &'a [&'a str],
    /// Pairs of the query.
    pub query: &'a [(&'a str, &'a str)],
}

/// The one path outside `/api/v1` that is asked for.
const READY: [&str; 1] = ["readyz"];

impl<'a> Ask<'a> {
    /// What stands at a path.
    pub fn of(path: &'a [&'a str]) -> Self {
        Self { path, query: &[] }
    }

    fn segments(&self) -> Vec<&'a str> {
        let root: &[&str] = if self.path == READY { &[] } else { &["api", "v1"] };
        root.iter().chain(self.path).copied().collect()
    }
}

impl Client {
    /// Asks a daemon at `url`.
    pub fn remote(url: &str, token: Option<&Secret>) -> Result<Self, Failure> {
        let settings = HttpSettings {
            url: url.to_owned(),
            bearer: token.cloned(),
            ca: None,
            connect_limit: CONNECT_LIMIT,
            call_limit: CALL_LIMIT,
            answer_limit: ANSWER_LIMIT,
            observer: Arc::new(|_, _, _| {}),
            clock: Arc::new(SystemClock),
        };
        Ok(Self::Remote(HttpClient::new(settings).map_err(|error| unreachable(url, &error))?))
    }

    /// Reads.
    pub async fn get<T: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T, Failure> {
        self.ask(Method::GET, ask, None).await?.parsed()
    }

    /// Asks for something to be done.
    pub async fn post<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        ask: Ask<'_>,
        body: &Value,
    ) -> Result<T, Failure> {
        self.ask(Method::POST, ask, Some(body)).await?.value()
    }

    /// Ends something.
    pub async fn delete(&self, ask: Ask<'_>) -> Result<(), Failure> {
        self.ask(Method::DELETE, ask, None).await.map(drop)
    }

    /// Whether the daemon is ready, in its own words.
    pub async fn ready(&self) -> Result<Ready, Failure> {
        let told = self.send(Method::GET, Ask::of(&READY), None).await?;
        Ok(serde_json::from_slice(&told.body)?)
    }

    /// Whether a daemon answers, and not this process.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    async fn ask(&self, method: Method, ask: Ask<'_>, body: Option<&Value>) -> Result<Told, Failure> {
        let told = self.send(method, ask, body).await?;
        if (200..300).contains(&told.status) { Ok(told) } else { Err(refusal(told.status, &told.body)) }
    }

    async fn send(&self, method: Method, ask: Ask<'_>, body: Option<&Value>) -> Result<Told, Failure> {
        match self {
            Self::Remote(http) => remote(http, method, ask, body).await,
            Self::Local(local) => local.ask(method, ask, body).await,
        }
    }
}

/// An answer.
struct Told {
    status: u16,
    body: Bytes,
    /// What this process gave by hand, where it answered itself.
    by_hand: Extensions,
}

impl Told {
    /// What was asked for, by hand or in the body.
    fn value<T: DeserializeOwned + Send + Sync + 'static>(mut self) -> Result<T, Failure> {
        inside::told(&mut self.by_hand).map_or_else(|| self.parsed(), Ok)
    }

    /// What the body says; none stands for `null`.
    fn parsed<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        Ok(serde_json::from_slice(if self.body.is_empty() { b"null" } else { &self.body })?)
    }
}

async fn remote(http: &HttpClient, method: Method, ask: Ask<'_>, body: Option<&Value>) -> Result<Told, Failure> {
    let fail = |error: HttpError| unreachable(http.base().as_str(), &error);
    let url = http.url(&ask.segments(), ask.query).map_err(fail)?;
    let body = body.map(|body| (body, "application/json"));
    let call = Call { operation: "ask", method, url, body, if_match: None, authorized: true };
    let answer = http.send(call).await.map_err(fail)?;
    Ok(Told { status: answer.status, body: answer.body, by_hand: Extensions::new() })
}

fn unreachable(base: &str, error: &HttpError) -> Failure {
    let why = if error.code == "connect" { "nothing answers there" } else { &error.message };
    Failure::new(format!("the daemon at {base} cannot be asked: {why}"))
        .hint("start it with `rosterd run -f DIR`, or give its address by `--server`")
}

impl Local {
    async fn ask(&self, method: Method, ask: Ask<'_>, body: Option<&Value>) -> Result<Told, Failure> {
        let segments: Vec<_> = ask.segments().into_iter().map(encoded).collect();
        let mut path = format!("/{}", segments.join("/"));
        for (at, (key, value)) in ask.query.iter().enumerate() {
            put(&mut path, format_args!("{}{key}={}", if at == 0 { '?' } else { '&' }, encoded(value)));
        }
        let request = Request::builder()
            .method(method)
            .uri(&path)
            .extension(Inside)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose()))
            .header(header::CONTENT_TYPE, "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = request.body(body).map_err(|error| Failure::new(format!("`{path}` is no path: {error}")))?;
        let answer = match self.router.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        let (head, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, ANSWER_LIMIT).await;
        let body = body.map_err(|error| Failure::new(format!("the answer broke off: {error}")))?;
        Ok(Told { status: head.status.as_u16(), body, by_hand: head.extensions })
    }
}

/// A problem document (RFC 9457) as a failure.
fn refusal(status: u16, bytes: &[u8]) -> Failure {
    let problem: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |key: &str| problem.get(key).and_then(Value::as_str).map(str::to_owned);
    let message = text("detail").or_else(|| text("title"));
    let failure = Failure::new(message.unwrap_or_else(|| format!("the daemon answered with status {status}")));
    match (text("hint"), status) {
        (Some(hint), _) => failure.hint(hint),
        (None, 401) => failure.hint(
            "set `ROSTERD_TOKEN` to a token of `rosterd tokens create`, or run the command as the daemon's own user, \
             who may read `rosterd.token` beside the store",
        ),
        (None, 403) => failure.hint("this needs a token with a wider right; `rosterd tokens create` makes one"),
        (None, 404) => failure.hint("`rosterd targets` lists the targets"),
        (None, _) => failure,
    }
}

/// A word as one segment of a path or one value of a query (RFC 3986 section 2.3).
fn encoded(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for byte in word.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => put(&mut out, format_args!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_segment_of_the_path() {
        assert_eq!(encoded("../a b?c=d/é"), "..%2Fa%20b%3Fc%3Dd%2F%C3%A9");
    }

    #[test]
    fn a_problem_document_becomes_a_message_and_what_to_do() {
        let body = br#"{"title":"Forbidden","detail":"a viewer may not run cycles","status":403}"#;
        let failure = refusal(403, body);
        assert_eq!(failure.message, "a viewer may not run cycles");
        assert!(failure.hint.unwrap().contains("wider right"));
        assert_eq!(refusal(502, b"<html>").message, "the daemon answered with status 502");
    }
}
