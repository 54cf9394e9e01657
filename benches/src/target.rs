//! A SCIM 2.0 target in memory, on one thread: as fast as a target can be, and it counts.
//!
//! `GET /admin/stats` tells how many calls of each kind came, `GET /admin/calls?since=N` when each
//! call that writes came, `POST /admin/zero` forgets both, `POST /admin/set?delay_ms=D&rate=R`
//! changes its latency and the requests a second beyond which it answers 429.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use crate::company;

const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
/// Most accounts a page, as `ServiceProviderConfig` says.
const LARGEST_PAGE: usize = 1_000;

/// How the target behaves.
#[derive(Clone, Copy, Debug, Default)]
struct Manner {
    delay: Duration,
    /// Requests a second; none is unlimited.
    rate: Option<f64>,
}

#[derive(Default)]
struct Target {
    /// Each account as the JSON that is sent.
    accounts: Vec<Bytes>,
    by_name: HashMap<String, usize>,
    by_record: HashMap<String, usize>,
    manner: Manner,
    tokens: f64,
    filled: Option<Instant>,
    counts: BTreeMap<&'static str, u64>,
    /// Microseconds since 1970, what was written, and to which account.
    writes: Vec<(u64, &'static str, usize)>,
}

/// Serves on a free port, which is printed, until the process ends.
pub fn serve(preload: usize) -> std::io::Result<()> {
    let target = Rc::new(RefCell::new(Target::default()));
    for number in 0..preload {
        target.borrow_mut().add(company::account(number));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{}", listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let target = Rc::clone(&target);
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| answer(&target, request));
                // A client that goes away in mid-answer is no concern of the target's.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

type Answer = Result<Response<Full<Bytes>>, Infallible>;

async fn answer(target: &RefCell<Target>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let query = query_of(head.uri.query().unwrap_or_default());
    let path = head.uri.path();
    if let Some(path) = path.strip_prefix("/admin/") {
        return reply(200, target.borrow_mut().admin(path, &query).to_string().into());
    }
    let ((status, body), delay) = {
        let mut target = target.borrow_mut();
        let delay = target.manner.delay;
        if target.lets_pass() {
            (target.scim(&head.method, path, &query, &body), delay)
        } else {
            ((429, error(429)), delay)
        }
    };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    reply(status, body)
}

fn reply(status: u16, body: Bytes) -> Answer {
    let mut answer = Response::builder().status(status).header("content-type", "application/scim+json");
    if status == 429 {
        answer = answer.header("retry-after", "1");
    }
    Ok(answer.body(Full::new(body)).expect("a status and headers that are valid"))
}

fn error(status: u16) -> Bytes {
    json!({ "schemas": [ERROR], "status": status.to_string() }).to_string().into()
}

fn query_of(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), unescaped(value))).collect()
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        rest = match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                &after[2..]
            }
            (b'+', _) => {
                bytes.push(b' ');
                after
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Target {
    /// A bucket of one second's requests.
    fn lets_pass(&mut self) -> bool {
        let Some(rate) = self.manner.rate else { return true };
        let now = Instant::now();
        let since = self.filled.map_or(Duration::from_secs(1), |filled| now - filled);
        self.filled = Some(now);
        self.tokens = (self.tokens + since.as_secs_f64() * rate).min(rate.max(1.0));
        let passes = self.tokens >= 1.0;
        if passes {
            self.tokens -= 1.0;
        } else {
            self.count("429");
        }
        passes
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn wrote(&mut self, what: &'static str, account: usize) {
        self.count(what);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.writes.push((now.as_micros() as u64, what, account));
    }

    fn admin(&mut self, path: &str, query: &BTreeMap<String, String>) -> Value {
        let number = |key: &str| query.get(key).and_then(|value| value.parse::<f64>().ok());
        match path {
            "zero" => {
                self.counts.clear();
                self.writes.clear();
            }
            "set" => {
                let delay = Duration::from_secs_f64(number("delay_ms").unwrap_or_default() / 1_000.0);
                self.manner = Manner { delay, rate: number("rate").filter(|rate| *rate > 0.0) };
                (self.tokens, self.filled) = (0.0, None);
            }
            "calls" => {
                return json!(self.writes.get(number("since").unwrap_or_default() as usize..).unwrap_or_default());
            }
            _ => {}
        }
        json!({ "accounts": self.accounts.len(), "calls": self.counts })
    }

    fn scim(&mut self, method: &Method, path: &str, query: &BTreeMap<String, String>, body: &[u8]) -> (u16, Bytes) {
        let path = path.strip_prefix("/scim/v2").unwrap_or(path);
        if let Some(id) = path.strip_prefix("/Users").map(|id| id.trim_start_matches('/')) {
            return match (method, id) {
                (&Method::GET, "") => (200, self.list(query)),
                (&Method::GET, id) => self.one(id),
                (&Method::POST, _) => self.create(body),
                (&Method::PATCH, id) => self.patch(id, body),
                _ => (405, error(405)),
            };
        }
        self.count("other");
        match path {
            "/ServiceProviderConfig" => (200, service().to_string().into()),
            "/Groups" => (200, json!({ "schemas": [LIST], "totalResults": 0, "Resources": [] }).to_string().into()),
            _ => (404, error(404)),
        }
    }

    fn list(&mut self, query: &BTreeMap<String, String>) -> Bytes {
        if let Some(filter) = query.get("filter") {
            self.count("find");
            let value = filter.split('"').nth(1).unwrap_or_default();
            let index = if filter.starts_with("externalId") { &self.by_record } else { &self.by_name };
            let found = index.get(value).and_then(|number| self.accounts.get(*number));
            return page(found.iter().copied(), found.iter().len(), 1);
        }
        self.count("list");
        let number = |key: &str| query.get(key).and_then(|value| value.parse::<usize>().ok());
        let (start, count) =
            (number("startIndex").unwrap_or(1).max(1), number("count").unwrap_or(100).min(LARGEST_PAGE));
        page(self.accounts.iter().skip(start - 1).take(count), self.accounts.len(), start)
    }

    fn one(&mut self, id: &str) -> (u16, Bytes) {
        self.count("get");
        match id.parse().ok().and_then(|number: usize| self.accounts.get(number)) {
            Some(account) => (200, account.clone()),
            None => (404, error(404)),
        }
    }

    fn create(&mut self, body: &[u8]) -> (u16, Bytes) {
        match serde_json::from_slice(body).ok().and_then(|account| self.add(account)) {
            Some(number) => {
                self.wrote("create", number);
                (201, self.accounts[number].clone())
            }
            None => (409, error(409)),
        }
    }

    fn add(&mut self, mut account: Value) -> Option<usize> {
        let number = self.accounts.len();
        let name = account["userName"].as_str()?.to_owned();
        if self.by_name.contains_key(&name) {
            return None;
        }
        account["id"] = json!(number.to_string());
        account["meta"] = json!({ "resourceType": "User", "created": "2026-01-01T00:00:00Z",
            "lastModified": "2026-01-01T00:00:00Z", "location": format!("/scim/v2/Users/{number}") });
        if let Some(record) = account["externalId"].as_str() {
            self.by_record.insert(record.to_owned(), number);
        }
        self.by_name.insert(name, number);
        self.accounts.push(account.to_string().into());
        Some(number)
    }

    fn patch(&mut self, id: &str, body: &[u8]) -> (u16, Bytes) {
        let number: Option<usize> = id.parse().ok();
        let (Some(number), Ok(patch)) = (number, serde_json::from_slice::<Value>(body)) else {
            return (400, error(400));
        };
        let Some(old) = self.accounts.get(number) else { return (404, error(404)) };
        let mut account: Value = serde_json::from_slice(old).unwrap_or_default();
        for operation in patch["Operations"].as_array().into_iter().flatten() {
            let mut place = &mut account;
            for step in operation["path"].as_str().unwrap_or_default().split('.') {
                place = &mut place[step];
            }
            *place = operation["value"].clone();
        }
        self.accounts[number] = account.to_string().into();
        self.wrote(if account["active"] == false { "disable" } else { "update" }, number);
        (200, self.accounts[number].clone())
    }
}

fn page<'a>(accounts: impl Iterator<Item = &'a Bytes>, total: usize, start: usize) -> Bytes {
    let mut text = Vec::with_capacity(LARGEST_PAGE * 512);
    let mut count = 0;
    for account in accounts {
        if count > 0 {
            text.push(b',');
        }
        text.extend_from_slice(account);
        count += 1;
    }
    let head = format!(
        r#"{{"schemas":["{LIST}"],"totalResults":{total},"startIndex":{start},"itemsPerPage":{count},"Resources":["#
    );
    [head.as_bytes(), &text, b"]}"].concat().into()
}

fn service() -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": { "supported": true }, "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": LARGEST_PAGE }, "changePassword": { "supported": false },
        "sort": { "supported": false }, "etag": { "supported": false }, "authenticationSchemes": [],
    })
}
