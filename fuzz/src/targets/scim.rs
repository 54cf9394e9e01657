//! A SCIM target that answers with whatever it likes.

use std::collections::BTreeMap;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;

use rosterd::clock::SystemClock;
use rosterd::connector::Connector;
use rosterd::connector::Look;
use rosterd::connector::Operation;
use rosterd::connectors::scim;
use rosterd::model::account::Membership;
use rosterd::model::node::Node;
use rosterd::model::path::AttributePath;
use rosterd::model::target::MatchKey;
use serde_json::Value;
use serde_json::json;
use tokio::sync::mpsc;

use super::parts;
use super::shape;

/// Statuses that are no request to wait: those would cost seconds.
const STATUSES: [&str; 10] = [
    "200 OK",
    "201 Created",
    "204 No Content",
    "301 Moved",
    "400 Bad",
    "401 Who",
    "404 None",
    "409 There",
    "412 Old",
    "500 Ouch",
];

/// What the server says to the next requests, the last of it again and again.
struct Script {
    answers: Vec<Vec<u8>>,
    next: usize,
}

struct Server {
    port: u16,
    script: Arc<Mutex<Script>>,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let script = Arc::new(Mutex::new(Script { answers: Vec::new(), next: 0 }));
        let shared = Arc::clone(&script);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared).ok());
            }
        });
        Server { port, script }
    })
}

fn locked(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the requests of one connection until it ends.
fn serve(mut stream: TcpStream, script: &Mutex<Script>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        while let Some(length) = request(&buffer) {
            buffer.drain(..length);
            stream.write_all(&answer(script))?;
        }
    }
}

/// The length of the first whole request.
fn request(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(buffer.get(..head)?).to_lowercase();
    let body = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let length = head + body.unwrap_or_default();
    (buffer.len() >= length).then_some(length)
}

/// The first byte of an answer chooses its status and headers, the rest is its body.
fn answer(script: &Mutex<Script>) -> Vec<u8> {
    let mut script = locked(script);
    let answer = script.answers.get(script.next).or(script.answers.last()).cloned().unwrap_or_default();
    script.next += 1;
    drop(script);
    let (first, body) = answer.split_first().unwrap_or((&b'{', &[]));
    // Letters begin most inputs: those that look like JSON are answered well.
    let status = if *first == b'{' { 0 } else { usize::from(*first) % STATUSES.len() };
    let body = if *first == b'{' { answer.as_slice() } else { body };
    let status = STATUSES.get(status).unwrap_or(&"200 OK");
    let body = if status.starts_with("204") { &[][..] } else { body };
    let kind = if first.is_ascii_uppercase() { "text/html" } else { "application/scim+json" };
    let etag = if *first % 2 == 0 { "ETag: W/\"1\"\r\n" } else { "Location: http://127.0.0.1:1/Users/9\r\n" };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{etag}Content-Length: {}\r\n\r\n", body.len());
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn connector(port: u16) -> Arc<dyn Connector> {
    let node = |value: Value| Node { value, ..Node::default() };
    let endpoint = node(json!({ "url": format!("http://127.0.0.1:{port}/scim/v2") }));
    let wiring = scim::Wiring { bearer: None, observer: Arc::new(|_, _, _| ()), clock: Arc::new(SystemClock) };
    scim::build(&node(json!({ "callLimit": "2s" })), &endpoint, wiring).expect("settings that are sound")
}

/// Everything that a connector can be asked, answered by the bytes.
pub(crate) fn answers(data: &[u8]) {
    let server = server();
    {
        let mut script = locked(&server.script);
        script.answers = parts(data).into_iter().map(<[u8]>::to_vec).collect();
        script.next = 0;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(asked(connector(server.port)));
}

async fn asked(connector: Arc<dyn Connector>) {
    let shape = shape();
    connector.probe().await.ok();
    let (sender, mut receiver) = mpsc::channel(1);
    let listing = connector.observe(&shape, sender);
    let reading = async {
        let mut first = None;
        while let Some(page) = receiver.recv().await {
            first = first.or(page.into_iter().next());
        }
        first
    };
    let (_, first) = tokio::join!(listing, reading);
    let name = AttributePath::user_name();
    for look in [Look::Id("1".into()), Look::Key(MatchKey(vec![name.clone()]), vec![json!("ada")])] {
        connector.fetch(&shape, &look).await.ok();
    }
    let memberships = [Membership::Group("g1".to_owned()), Membership::Role("admin".to_owned())];
    let values = BTreeMap::from([(name.clone(), json!("ada"))]);
    let mut operations = vec![Operation::Create { values: values.clone(), memberships: memberships.clone().into() }];
    let deletion = first.clone().map(|seen| Operation::Delete { seen: Arc::new(seen) });
    operations.extend(first.map(|seen| Operation::Update {
        seen: Arc::new(seen),
        set: values,
        clear: [AttributePath::external_id()].into(),
        active: Some(false),
        add: [].into(),
        remove: memberships.into(),
    }));
    operations.extend(deletion);
    for outcome in connector.apply(&shape, &operations).await {
        outcome.ok();
    }
}
