//! The same jobs at their barest: no record of anything, no retry, no safety. What a machine needs
//! at least, as rosterd's yardstick; never a program to use.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
struct Document {
    metadata: Metadata,
    spec: User,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    given_name: String,
    family_name: String,
    email: String,
    active: bool,
    attributes: Attributes,
}

#[derive(Deserialize)]
struct Attributes {
    title: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    total_results: usize,
    #[serde(borrow, rename = "Resources")]
    accounts: Vec<Account<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    user_name: Cow<'a, str>,
    #[serde(borrow)]
    external_id: Cow<'a, str>,
    #[serde(borrow)]
    name: Name<'a>,
    active: bool,
    #[serde(borrow)]
    emails: Vec<Email<'a>>,
    #[serde(borrow)]
    title: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Name<'a> {
    #[serde(borrow)]
    given_name: Cow<'a, str>,
    #[serde(borrow)]
    family_name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Email<'a> {
    #[serde(borrow)]
    value: Cow<'a, str>,
}

impl Account<'_> {
    fn is(&self, document: &Document) -> bool {
        let user = &document.spec;
        self.external_id == document.metadata.name
            && self.name.given_name == user.given_name
            && self.name.family_name == user.family_name
            && self.active == user.active
            && self.title == user.attributes.title
            && matches!(&self.emails[..], [email] if email.value == user.email)
    }
}

/// Every document of a file, checked for nothing.
fn parse(file: &Path) -> Result<Vec<Document>> {
    let text = fs::read_to_string(file)?;
    let options = serde_saphyr::options! { budget: None };
    Ok(serde_saphyr::from_multiple_with_options(&text, options)?)
}

/// Reads one file of users and does nothing with them.
pub fn parse_only(file: &Path) -> Result<()> {
    println!("{}", parse(file)?.len());
    Ok(())
}

/// Asks for the state of every file below a folder, and reads none.
pub fn walk(folder: &Path) -> Result<()> {
    let (mut folders, mut files) = (vec![folder.to_owned()], 0_u64);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files += u64::from(entry.metadata()?.len() > 0);
            }
        }
    }
    println!("{files}");
    Ok(())
}

struct Write {
    method: &'static str,
    path: String,
    body: Vec<u8>,
}

/// Reads the users, lists the target, and sends what differs over so many connections.
pub fn cycle(file: &Path, port: u16, connections: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let documents = parse(file)?;
        let writes = differences(&documents, port).await?;
        let count = writes.len();
        let queue = Rc::new(RefCell::new(writes));
        let senders: Vec<_> = (0..connections.min(count))
            .map(|_| {
                let queue = Rc::clone(&queue);
                tokio::task::spawn_local(async move {
                    let mut wire = connect(port).await.expect("a connection");
                    while let Some(write) = { queue.borrow_mut().pop() } {
                        send(&mut wire, write.method, &write.path, write.body).await.expect("an answer");
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await?;
        }
        println!("{count}");
        Ok(())
    })
}

async fn differences(documents: &[Document], port: u16) -> Result<Vec<Write>> {
    let mut left: HashMap<&str, &Document> =
        documents.iter().map(|document| (document.spec.email.as_str(), document)).collect();
    let mut writes = Vec::new();
    let mut wire = connect(port).await?;
    let mut start = 1;
    loop {
        let path = format!("/scim/v2/Users?startIndex={start}&count=1000");
        let page = send(&mut wire, "GET", &path, Vec::new()).await?;
        let list: List<'_> = serde_json::from_slice(&page)?;
        for account in &list.accounts {
            let set = |path: &str, value: serde_json::Value| Write {
                method: "PATCH",
                path: format!("/scim/v2/Users/{}", account.id),
                body: json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                    "Operations": [{ "op": "replace", "path": path, "value": value }] })
                .to_string()
                .into_bytes(),
            };
            match left.remove(&*account.user_name) {
                None => writes.push(set("active", json!(false))),
                Some(document) if account.is(document) => {}
                Some(document) => writes.push(set("title", json!(document.spec.attributes.title))),
            }
        }
        start += list.accounts.len();
        if list.accounts.is_empty() || start > list.total_results {
            break;
        }
    }
    writes.extend(left.into_values().map(creation));
    Ok(writes)
}

fn creation(document: &Document) -> Write {
    let user = &document.spec;
    let body = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "externalId": document.metadata.name,
        "userName": user.email, "active": user.active, "title": user.attributes.title,
        "name": { "givenName": user.given_name, "familyName": user.family_name },
        "emails": [{ "value": user.email, "type": "work", "primary": true }],
    });
    Write { method: "POST", path: "/scim/v2/Users".to_owned(), body: body.to_string().into_bytes() }
}

type Wire = SendRequest<Full<Bytes>>;

async fn connect(port: u16) -> Result<Wire> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (wire, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    Ok(wire)
}

async fn send(wire: &mut Wire, method: &str, path: &str, body: Vec<u8>) -> Result<Bytes> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "target")
        .header("content-type", "application/scim+json")
        .body(Full::new(Bytes::from(body)))?;
    wire.ready().await?;
    let answer = wire.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    if status.is_success() { Ok(body) } else { Err(format!("{method} {path}: {status}").into()) }
}
