//! Webhooks against a receiver that believes nothing: it checks signature, time and form by code of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::Response;
use axum::http::Uri;
use chrono::DateTime;
use ring::digest::SHA256;
use ring::digest::digest;
use rosterd::clock::Clock as _;
use rosterd::clock::SystemClock;
use rosterd::model::message::Content;
use rosterd::model::message::Event;
use rosterd::model::message::Posted;
use rosterd::notifiers::webhook::WebhookNotifier;
use rosterd::notify::Notifier;
use rosterd::notify::NotifyClass;
use rosterd::secrets::secret::Secret;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::daemon::eventually;

const KEY: &str = "canary-of-the-webhook";

/// What a receiver got, as it came.
#[derive(Clone, Debug)]
struct Got {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().expect("the header").to_str().expect("text");
        assert!(values.next().is_none(), "{name} stands once");
        value
    }

    fn event(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

type Answer = Box<dyn Fn(usize) -> Response<Body> + Send + Sync>;

struct Inside {
    got: Mutex<Vec<Got>>,
    answer: Answer,
    slow: Duration,
}

/// A receiver. It ends when this is dropped.
struct Receiver {
    address: SocketAddr,
    inside: Arc<Inside>,
    _serving: JoinSet<()>,
}

impl Receiver {
    async fn start(answer: impl Fn(usize) -> Response<Body> + Send + Sync + 'static, slow: Duration) -> Self {
        let inside = Arc::new(Inside { got: Mutex::default(), answer: Box::new(answer), slow });
        let router = Router::new().fallback(take).with_state(Arc::clone(&inside));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, inside, _serving: serving }
    }

    fn got(&self) -> Vec<Got> {
        self.inside.got.lock().expect("a lock").clone()
    }

    fn url(&self) -> String {
        format!("http://{}/hooks/rosterd", self.address)
    }
}

async fn take(State(inside): State<Arc<Inside>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let count = {
        let mut got = inside.got.lock().expect("a lock");
        got.push(Got { path: uri.to_string(), headers, body });
        got.len()
    };
    tokio::time::sleep(inside.slow).await;
    (inside.answer)(count)
}

fn answer(status: u16, location: &str, body: impl Into<Body>) -> Response<Body> {
    let answer = Response::builder().status(status).header("location", location);
    answer.body(body.into()).expect("an answer")
}

/// HMAC-SHA256 as RFC 2104 writes it, from nothing but the hash.
fn hmac(key: &[u8], text: &[u8]) -> String {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |with: u8| block.map(|byte| byte ^ with).to_vec();
    let inner = digest(&SHA256, &[padded(0x36), text.to_vec()].concat());
    let outer = digest(&SHA256, &[padded(0x5c), inner.as_ref().to_vec()].concat());
    outer.as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// What a careful receiver asks of a message.
fn checked(got: &Got) -> Result<Value, String> {
    let timestamp = got.header("rosterd-timestamp");
    let signature = got.header("rosterd-signature").strip_prefix("v1=").ok_or("no signature of the first version")?;
    let signed = [timestamp.as_bytes(), b".", &got.body].concat();
    if hmac(KEY.as_bytes(), &signed) != signature {
        return Err("the signature is not that of this message".to_owned());
    }
    let sent: i64 = timestamp.parse().map_err(|_| "no second".to_owned())?;
    if (SystemClock.now().timestamp() - sent).abs() > 300 {
        return Err("it is too old".to_owned());
    }
    if got.header("content-type") != "application/cloudevents+json" {
        return Err("it is no structured CloudEvents message".to_owned());
    }
    let event = got.event();
    let text = |name: &str| event[name].as_str().filter(|text| !text.is_empty()).ok_or(format!("no `{name}`"));
    if text("specversion")? != "1.0" || text("datacontenttype")? != "application/json" {
        return Err("another version or another content".to_owned());
    }
    DateTime::parse_from_rfc3339(text("time")?).map_err(|error| error.to_string())?;
    for name in ["id", "source", "type", "subject"] {
        text(name)?;
    }
    let attributes = event.as_object().ok_or("no object")?;
    let plain = |name: &String| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !attributes.keys().all(plain) {
        return Err("a name of an attribute that CloudEvents does not allow".to_owned());
    }
    Ok(event)
}

fn notifier(url: &str) -> WebhookNotifier {
    WebhookNotifier::new(url, &Secret::new(KEY), None, Arc::new(SystemClock)).expect("an address")
}

fn message() -> Posted {
    let data = json!({ "target": "portal", "user": "u-1" });
    let event = Event { kind: "dev.rosterd.request.asked".to_owned(), subject: Some("portal/u-1".to_owned()), data };
    Posted::due("request-1-desk".into(), "desk", SystemClock.now(), Content::Event(event))
}

#[tokio::test]
async fn a_receiver_can_tell_what_rosterd_signed_from_what_was_changed_replayed_or_signed_by_another() {
    let receiver = Receiver::start(|_| answer(204, "/", ""), Duration::ZERO).await;
    notifier(&receiver.url()).deliver(&message()).await.expect("it is taken");
    notifier(&receiver.url()).deliver(&message()).await.expect("it is taken again");
    let [got, again] = receiver.got().try_into().expect("two messages");
    assert_eq!(got.path, "/hooks/rosterd");
    let event = checked(&got).expect("it is in order");
    assert_eq!((&event["id"], &event["type"]), (&"request-1-desk".into(), &"dev.rosterd.request.asked".into()));
    assert_eq!(checked(&again).expect("so is this")["id"], event["id"], "a repetition can be told by its id");
    let changed = Got { body: String::from_utf8_lossy(&got.body).replace("u-1", "u-2").into(), ..got.clone() };
    assert!(checked(&changed).is_err());
    let mut replayed = got.clone();
    replayed.headers.insert("rosterd-timestamp", "1700000000".parse().expect("a header"));
    assert!(checked(&replayed).is_err(), "the timestamp is signed, too");
    let other = WebhookNotifier::new(&receiver.url(), &Secret::new("other"), None, Arc::new(SystemClock));
    other.expect("an address").deliver(&message()).await.expect("it is taken");
    assert!(checked(&receiver.got()[2]).is_err());
    let text = format!("{:?} {}", got.headers, String::from_utf8_lossy(&got.body));
    assert!(!text.contains(KEY), "the key itself is not sent");
}

#[tokio::test]
async fn a_receiver_that_redirects_floods_or_hangs_has_not_taken_the_message() {
    let elsewhere = Receiver::start(|_| answer(204, "/", ""), Duration::ZERO).await;
    let target = elsewhere.url();
    for status in [301, 302, 307, 308] {
        let location = target.clone();
        let redirecting = Receiver::start(move |_| answer(status, &location, ""), Duration::ZERO).await;
        let error = notifier(&redirecting.url()).deliver(&message()).await.expect_err("nothing is followed");
        assert!(!error.message.contains(KEY), "{error}");
        assert_eq!(redirecting.got().len(), 1, "{status} to {target}");
    }
    assert_eq!(elsewhere.got().len(), 0);
    let flooding = Receiver::start(|_| answer(200, "/", vec![b'x'; 1024 * 1024]), Duration::ZERO).await;
    notifier(&flooding.url()).deliver(&message()).await.expect_err("so much is no answer");
    let hanging = Receiver::start(|_| answer(204, "/", ""), Duration::from_mins(5)).await;
    let asked = std::time::Instant::now();
    let error = notifier(&hanging.url()).deliver(&message()).await.expect_err("nobody waits for so long");
    assert_eq!(error.class, NotifyClass::Later, "{error}");
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    assert!(!error.message.contains(KEY) && !error.message.contains("portal"), "{error}");
}

/// The sample of the portal, in a folder with a configuration that tells this receiver.
fn installation(receiver: &Receiver) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/s2-portal");
    fs::create_dir_all(folder.path().join("m")).expect("a folder");
    for name in ["people.yaml", "target.yaml", "templates.yaml"] {
        fs::copy(sample.join(name), folder.path().join("m").join(name)).expect("a copy");
    }
    let (url, address) = (receiver.url(), receiver.address);
    let text = format!(
        "listen: 127.0.0.1:0\nmanifests: [ {{ folder: m }} ]\ntargetsFrom: manifests\nsecrets:\n  hook: {{ env: HOOK_KEY, \
         origins: [\"http://{address}\"] }}\nwebhooks:\n  desk: {{ url: \"{url}\", key: {{ secret: hook }}, events: \
         [request.asked, account.created] }}\n"
    );
    fs::write(folder.path().join("rosterd.yaml"), text).expect("written");
    folder
}

#[tokio::test]
async fn s2_9_the_program_tells_a_receiver_of_a_new_request_once_signed_and_again_where_it_was_not_taken() {
    let receiver = Receiver::start(|count| answer(if count == 1 { 503 } else { 204 }, "/", ""), Duration::ZERO).await;
    let folder = installation(&receiver);
    let mut command = Command::new(env!("CARGO_BIN_EXE_rosterd"));
    command.args(["--config", "rosterd.yaml", "run"]).current_dir(folder.path()).env("HOOK_KEY", KEY);
    command.env("ROSTERD_LOG", "trace").stdin(Stdio::null()).stdout(Stdio::null());
    let log = fs::File::create(folder.path().join("log")).expect("a log");
    let mut daemon = command.stderr(log).kill_on_drop(true).spawn().expect("it runs");
    // Two contacts are made, one waits for a person, and the first message came twice.
    eventually("everything is told", async || (receiver.got().len() >= 4).then_some(())).await;
    daemon.kill().await.expect("it ends");
    let got = receiver.got();
    let events: Vec<Value> = got.iter().map(|got| checked(got).expect("it is in order")).collect();
    assert_eq!(events.len(), 4, "{events:#?}");
    let again = events.iter().filter(|event| event["id"] == events[0]["id"]).count();
    assert_eq!(again, 2, "what was not taken came again");
    let asked = events.iter().filter(|event| event["type"] == "dev.rosterd.request.asked").collect::<Vec<_>>();
    assert!(asked.iter().all(|event| event["subject"] == "portal/s2-003" && event["data"]["state"] == "pending"));
    assert!(!asked.is_empty());
    let said = events.iter().map(Value::to_string).collect::<String>();
    assert!(!said.contains("Gaelle") && !said.contains("boulangerie"), "it names nobody but by record id: {said}");
    let log = fs::read_to_string(folder.path().join("log")).expect("a log");
    assert!(!log.contains(KEY));
}
