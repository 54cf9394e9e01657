//! Doors: credentials, other origins, certificates, redirects. The token goes home or nowhere.

use std::sync::Arc;
use std::sync::Mutex;

use axum::http::Method;
use rosterd::clock::SystemClock;
use rosterd::connector::ErrorClass;
use rosterd::connectors::scim::Wiring;
use rosterd::connectors::scim::build;
use rosterd::model::node::Node;
use rosterd::secrets::secret::Secret;
use serde_json::json;

use crate::conformance::scim::connect;
use crate::conformance::scim::connect_to;
use crate::conformance::scim::start;
use crate::conformance::subject::Change;
use crate::conformance::subject::Subject;
use crate::conformance::subject::person;
use crate::support::scim_server::FakeScim;
use crate::support::scim_server::Knobs;
use crate::support::scim_server::Mishap;
use crate::support::scim_server::Strangers;
use crate::support::scim_server::TOKEN;

#[tokio::test]
async fn a_wrong_token_is_a_shut_door_and_stays_out_of_the_message() {
    let server = FakeScim::start(Knobs::default()).await;
    let error = connect_to(&server.url, json!({}), "wrong-token").probe().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Door);
    assert!(!error.message.contains("wrong-token"), "{error}");
}

#[tokio::test]
async fn a_wrong_token_that_is_answered_with_what_strangers_see_is_a_shut_door() {
    let server = FakeScim::start(Knobs { strangers: Strangers::SeeFirst(2), ..Knobs::default() }).await;
    server.fill(5);
    let error = connect_to(&server.url, json!({}), "wrong-token").probe().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Door);
    assert!(error.message.contains("without the token"), "{error}");
    connect(&server, json!({})).probe().await.unwrap();
}

#[tokio::test]
async fn an_empty_target_that_strangers_may_look_at_is_no_shut_door() {
    let server = FakeScim::start(Knobs { strangers: Strangers::SeeFirst(2), ..Knobs::default() }).await;
    connect(&server, json!({})).probe().await.unwrap();
}

#[tokio::test]
async fn every_call_but_the_trial_of_the_door_carries_the_token() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    server.fill(1);
    subject.connector.probe().await.unwrap();
    let strangers = |server: &FakeScim| server.inside().seen.iter().filter(|seen| seen.token.is_none()).count();
    assert_eq!(strangers(&server), 1);
    let made = subject.create("ada").await;
    subject.update(&made, Change::active(false)).await.unwrap();
    subject.observe().await.unwrap();
    assert_eq!(strangers(&server), 1);
}

#[tokio::test]
async fn redirects_next_links_and_locations_never_reach_another_origin() {
    let elsewhere = FakeScim::start(Knobs::default()).await;
    let (subject, server) = start(Knobs::default(), json!({})).await;
    let made = subject.create("ada").await;
    let away = |status: u16| {
        let target = format!("{}/Users", elsewhere.url);
        Mishap::Answer(status, vec![("location", target.clone())], json!({ "next": target }).to_string())
    };
    for status in [301, 302, 303, 307, 308] {
        server.next(Method::GET, "/Users", away(status));
        assert_eq!(subject.observe().await.unwrap_err().class, ErrorClass::Door, "{status}");
        server.next(Method::POST, "/Users", away(status));
        assert_eq!(subject.try_create(person("grace"), []).await.unwrap_err().class, ErrorClass::Door, "{status}");
        server.next(Method::PATCH, "/Users", away(status));
        assert_eq!(subject.update(&made, Change::active(false)).await.unwrap_err().class, ErrorClass::Door, "{status}");
    }
    let page = json!({"totalResults": 50, "Resources": [{"id": "x"}], "next": format!("{}/Users", elsewhere.url)});
    let link = format!("<{}/Users>; rel=\"next\"", elsewhere.url);
    server.next(Method::GET, "/Users", Mishap::Answer(200, vec![("link", link)], page.to_string()));
    subject.observe().await.unwrap();
    let headers = vec![("location", format!("{}/Users/1", elsewhere.url))];
    server.next(Method::POST, "/Users", Mishap::Answer(201, headers, String::new()));
    assert_eq!(subject.try_create(person("grace"), []).await.unwrap_err().class, ErrorClass::Uncertain);
    assert!(elsewhere.inside().seen.is_empty());
}

#[tokio::test]
async fn the_account_of_our_own_credential_is_told_where_the_target_tells_it() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    assert_eq!(subject.connector.probe().await.unwrap().own_account, None);
    let me = json!({"id": "svc-1", "userName": "svc"});
    server.next(Method::GET, "/Me", Mishap::Answer(200, vec![], me.to_string()));
    assert_eq!(subject.connector.probe().await.unwrap().own_account, Some("svc-1".into()));
}

#[tokio::test]
async fn a_target_that_is_away_is_told_from_one_that_cannot_be_found() {
    // Bound, so that it is nobody else's meanwhile; nothing listens there.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/scim", socket.local_addr().unwrap());
    let error = connect_to(&url, json!({}), TOKEN).probe().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    let error = connect_to("http://nobody.invalid/scim", json!({}), TOKEN).probe().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Door, "{error}");
}

#[tokio::test]
async fn every_call_is_told_to_the_observer_with_its_code() {
    let server = FakeScim::start(Knobs::default()).await;
    let calls = Arc::new(Mutex::new(Vec::new()));
    let wiring = || {
        let calls = Arc::clone(&calls);
        let observer = Arc::new(move |operation: &'static str, code: &str, seconds: f64| {
            assert!(seconds >= 0.0);
            calls.lock().unwrap().push(format!("{operation} {code}"));
        });
        Wiring { bearer: Some(Secret::new(TOKEN)), observer, clock: Arc::new(SystemClock) }
    };
    let endpoint = json!({"url": server.url, "auth": {"bearer": {"secret": "x"}}});
    let endpoint = Node { value: endpoint, ..Node::default() };
    let within = |limit: &str| {
        let settings = Node { value: json!({"callLimit": limit}), ..Node::default() };
        let connector = build(&settings, &endpoint, wiring()).unwrap();
        Subject { connector, target: Box::new(()) }
    };
    let subject = within("2m");
    subject.create("ada").await;
    server.next(Method::POST, "/Users", Mishap::Cut);
    subject.try_create(person("ada"), []).await.unwrap_err();
    server.next(Method::POST, "/Users", Mishap::Hang);
    within("1s").try_create(person("ada"), []).await.unwrap_err();
    let calls = calls.lock().unwrap();
    let creates: Vec<_> = calls.iter().filter(|call| call.starts_with("create")).map(String::as_str).collect();
    assert_eq!(creates, ["create 201", "create cut", "create timeout"]);
}

#[tokio::test]
async fn a_secret_that_was_not_resolved_and_a_ca_that_is_not_there_are_pointed_at() {
    let wiring = || Wiring { bearer: None, observer: Arc::new(|_, _, _| {}), clock: Arc::new(SystemClock) };
    let of = |endpoint| {
        let endpoint = Node { value: endpoint, ..Node::default() };
        build(&Node::default(), &endpoint, wiring()).err().unwrap().pointer
    };
    assert_eq!(of(json!({"url": "http://127.0.0.1:1", "auth": {"bearer": {"secret": "x"}}})), "/auth");
    assert_eq!(of(json!({"url": "http://127.0.0.1:1", "ca": "/no/such/file"})), "/ca");
}

#[tokio::test]
async fn a_ca_of_ones_own_is_trusted_and_without_it_the_door_is_shut() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, own.cert.pem()).unwrap();
    let other = folder.path().join("other.pem");
    std::fs::write(&other, rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem()).unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    let url = serve_tls(&own);
    let with = |ca: &std::path::Path| {
        let endpoint = Node { value: json!({"url": url, "ca": ca.to_str().unwrap()}), ..Node::default() };
        let wiring = Wiring { bearer: None, observer: Arc::new(|_, _, _| {}), clock: Arc::new(SystemClock) };
        build(&Node::default(), &endpoint, wiring)
    };
    with(&ca).unwrap().probe().await.unwrap();
    let error = with(&other).unwrap().probe().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Door);
    assert!(error.message.contains("certificate"), "{error}");
    assert_eq!(with(&empty).err().unwrap().pointer, "/ca");
}

/// An empty SCIM target behind TLS, on a thread that ends with the process.
fn serve_tls(own: &rcgen::CertifiedKey<rcgen::KeyPair>) -> String {
    use std::io::Read;
    use std::io::Write;

    rosterd::http::install_crypto();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![own.cert.der().clone()], key).unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/scim", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            // A client that does not trust us leaves during the handshake.
            if stream.read(&mut [0; 4096]).is_ok() {
                let body = json!({"totalResults": 0, "Resources": []}).to_string();
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        }
    });
    url
}
