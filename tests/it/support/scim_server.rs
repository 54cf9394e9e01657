//! A SCIM server inside the test process, with a knob for each way in which real ones differ.

mod resources;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::Response;
use axum::http::Uri;
use futures_util::stream;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;

/// The token that the server takes.
pub(crate) const TOKEN: &str = "s3cret-token";

/// How this server differs from the book. The default does not.
#[derive(Clone, Debug)]
pub(crate) struct Knobs {
    pub(crate) strangers: Strangers,
    pub(crate) max_page: usize,
    pub(crate) paging: Paging,
    pub(crate) total: Total,
    pub(crate) filters: Filters,
    pub(crate) patch: Patch,
    pub(crate) active: Active,
    pub(crate) duplicates: (u16, &'static str),
    pub(crate) create_answer: CreateAnswer,
    pub(crate) unknown_user: UnknownUser,
    pub(crate) members: MembersShown,
    pub(crate) etags: bool,
    pub(crate) config: Option<Value>,
    pub(crate) lower_cases_names: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Strangers {
    Refused,
    SeeFirst(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Paging {
    Honest,
    IgnoresParameters,
    RepeatsPastTheEnd,
    RefusesPastTheEnd,
    /// The order turns by one with each page, this many times; then it holds still.
    Turns(usize),
    SameRowTwice,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Total {
    Stated,
    Text,
    Absent,
    CountsThePage,
    Plus(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Filters {
    Work,
    CompareLetters,
    ShowEverybody,
    ShowNobody,
    Refused(u16),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Patch {
    Works,
    AnswersNothing,
    Refused(u16),
    IgnoredButPraised,
    NoFilteredPaths,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Active {
    Boolean,
    Text,
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CreateAnswer {
    Whole,
    OnlyId,
    Empty,
    Html,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum UnknownUser {
    NotFound,
    Forbidden,
    EmptyList,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum MembersShown {
    Always,
    OnTheUserOnly,
    /// Only as the answer to a question about one member.
    WhenAsked,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            strangers: Strangers::Refused,
            max_page: 200,
            paging: Paging::Honest,
            total: Total::Stated,
            filters: Filters::Work,
            patch: Patch::Works,
            active: Active::Boolean,
            duplicates: (409, "uniqueness"),
            create_answer: CreateAnswer::Whole,
            unknown_user: UnknownUser::NotFound,
            members: MembersShown::Always,
            etags: false,
            config: Some(json!({"patch": {"supported": true}, "filter": {"supported": true, "maxResults": 200}})),
            lower_cases_names: false,
        }
    }
}

/// Something that befalls one request.
#[derive(Clone, Debug)]
pub(crate) enum Mishap {
    /// Answered so; nothing is done.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Never answered; nothing is done.
    Hang,
    /// Done, and the line is cut before the answer ends.
    CutAfterDoing,
    /// The line is cut; nothing is done.
    Cut,
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) token: Option<String>,
    pub(crate) if_match: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) body: Value,
}

/// What the server holds.
#[derive(Default)]
pub(crate) struct Inside {
    pub(crate) users: Vec<Value>,
    pub(crate) groups: Vec<Value>,
    pub(crate) seen: Vec<Seen>,
    mishaps: VecDeque<(Method, &'static str, Mishap)>,
    next_id: u64,
    turns: usize,
}

struct Shared {
    knobs: Mutex<Knobs>,
    inside: Mutex<Inside>,
}

/// A running server; it ends with this value.
pub(crate) struct FakeScim {
    pub(crate) url: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl FakeScim {
    pub(crate) async fn start(knobs: Knobs) -> Self {
        let shared = Arc::new(Shared { knobs: Mutex::new(knobs), inside: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/scim/v2", listener.local_addr().unwrap());
        let router = Router::new().fallback(serve).with_state(Arc::clone(&shared));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, _tasks: tasks }
    }

    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.shared.inside.lock().unwrap()
    }

    /// Differs from the book in another way from now on.
    pub(crate) fn turn(&self, knobs: Knobs) {
        *self.shared.knobs.lock().unwrap() = knobs;
    }

    /// Puts users `u0`, `u1`, ... in, behind the connector's back.
    pub(crate) fn fill(&self, count: usize) {
        for number in 0..count {
            self.put_in(json!({"userName": format!("u{number}"), "externalId": format!("x{number}"), "active": true}));
        }
    }

    /// Puts one user in and gives its id.
    pub(crate) fn put_in(&self, user: Value) -> String {
        let mut inside = self.inside();
        inside.insert_user(user)
    }

    pub(crate) fn add_group(&self, id: &str, members: &[&str]) {
        let members: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
        let group = json!({"id": id, "displayName": id, "members": members, "meta": {"version": "W/\"0\""}});
        self.inside().groups.push(group);
    }

    /// The next request with this method whose path holds `part` meets `mishap`.
    pub(crate) fn next(&self, method: Method, part: &'static str, mishap: Mishap) {
        self.inside().mishaps.push_back((method, part, mishap));
    }

    /// Requests with this method whose path holds `part`.
    pub(crate) fn calls(&self, method: &Method, part: &str) -> Vec<Seen> {
        self.inside().seen.iter().filter(|seen| seen.method == *method && seen.path.contains(part)).cloned().collect()
    }

    pub(crate) fn user(&self, id: &str) -> Value {
        self.inside().users.iter().find(|user| user["id"] == id).cloned().unwrap_or_default()
    }

    pub(crate) fn members(&self, group: &str) -> Vec<String> {
        let inside = self.inside();
        let group = inside.groups.iter().find(|it| it["id"] == group).cloned().unwrap_or_default();
        resources::list(&group, "members").iter().map(|member| member["value"].as_str().unwrap().to_owned()).collect()
    }
}

/// A status with a SCIM error or a resource.
pub(crate) type Reply = (u16, Vec<(&'static str, String)>, String);

pub(crate) fn reply(status: u16, body: &Value) -> Reply {
    (status, vec![("content-type", "application/scim+json".to_owned())], body.to_string())
}

pub(crate) fn error(status: u16, kind: &str, detail: &str) -> Reply {
    let schemas = ["urn:ietf:params:scim:api:messages:2.0:Error"];
    let status_text = status.to_string();
    reply(status, &json!({"schemas": schemas, "status": status_text, "scimType": kind, "detail": detail}))
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let seen = Seen {
        method,
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        token: text("authorization"),
        if_match: text("if-match"),
        content_type: text("content-type"),
        user_agent: text("user-agent"),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let mishap = {
        let mut inside = shared.inside.lock().unwrap();
        inside.seen.push(seen.clone());
        let at = inside.mishaps.iter().position(|(method, part, _)| *method == seen.method && seen.path.contains(part));
        at.and_then(|at| inside.mishaps.remove(at)).map(|(_, _, mishap)| mishap)
    };
    let (status, headers, body) = match mishap {
        Some(Mishap::Answer(status, headers, body)) => (status, headers, body),
        Some(Mishap::Hang) => {
            tokio::time::sleep(Duration::from_hours(1)).await;
            return Response::default();
        }
        Some(Mishap::CutAfterDoing) => {
            let _ = shared.answer(&seen);
            return cut();
        }
        Some(Mishap::Cut) => return cut(),
        None => shared.answer(&seen),
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}

fn cut() -> Response<Body> {
    let broken = stream::iter([Err::<Bytes, _>(std::io::Error::other("cut"))]);
    Response::builder().header("content-length", "100").body(Body::from_stream(broken)).unwrap()
}

impl Shared {
    fn answer(&self, seen: &Seen) -> Reply {
        let mut inside = self.inside.lock().unwrap();
        let known = seen.token.as_deref() == Some(&format!("Bearer {TOKEN}"));
        let knobs = self.knobs.lock().unwrap().clone();
        if !known && (knobs.strangers == Strangers::Refused || seen.method != Method::GET) {
            return error(401, "", "the token is not known");
        }
        let path = seen.path.trim_start_matches("/scim/v2/");
        let segments: Vec<String> = path.split('/').map(resources::decode).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let knobs = &knobs;
        match (seen.method.as_str(), segments.as_slice()) {
            ("GET", ["ServiceProviderConfig"]) => match &knobs.config {
                Some(config) => reply(200, config),
                None => error(404, "", "no such document"),
            },
            ("GET", ["Users"]) => inside.list_users(knobs, seen, known),
            ("POST", ["Users"]) => inside.create_user(knobs, seen),
            ("GET", ["Users", id]) => inside.show_user(knobs, id),
            ("PATCH", ["Users", id]) => inside.patch_user(knobs, id, seen),
            ("PUT", ["Users", id]) => inside.put_user(knobs, id, seen),
            ("GET", ["Groups"]) => inside.ask_group(seen),
            ("GET", ["Groups", id]) => inside.show_group(knobs, id),
            ("PATCH", ["Groups", id]) => inside.patch_group(knobs, id, seen),
            ("PUT", ["Groups", id]) => inside.put_group(knobs, id, seen),
            _ => error(404, "", "no such resource"),
        }
    }
}
