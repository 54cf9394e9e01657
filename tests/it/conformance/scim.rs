//! Subjects of the suite that are SCIM servers, each with its own ways.

use std::sync::Arc;

use rosterd::clock::SystemClock;
use rosterd::connectors::scim::Wiring;
use rosterd::connectors::scim::build;
use rosterd::model::node::Node;
use rosterd::secrets::secret::Secret;
use serde_json::Value;
use serde_json::json;

use crate::conformance::subject::Subject;
use crate::support::scim_server::Active;
use crate::support::scim_server::CreateAnswer;
use crate::support::scim_server::FakeScim;
use crate::support::scim_server::Filters;
use crate::support::scim_server::Knobs;
use crate::support::scim_server::MembersShown;
use crate::support::scim_server::Paging;
use crate::support::scim_server::Patch;
use crate::support::scim_server::TOKEN;
use crate::support::scim_server::Total;

/// A connector to `server` with these settings.
pub(crate) fn connect(server: &FakeScim, settings: Value) -> Arc<dyn rosterd::connector::Connector> {
    connect_to(&server.url, settings, TOKEN)
}

pub(crate) fn connect_to(url: &str, settings: Value, token: &str) -> Arc<dyn rosterd::connector::Connector> {
    let endpoint = Node { value: json!({"url": url, "auth": {"bearer": {"secret": "x"}}}), ..Node::default() };
    let wiring =
        Wiring { bearer: Some(Secret::new(token)), observer: Arc::new(|_, _, _| {}), clock: Arc::new(SystemClock) };
    build(&Node { value: settings, ..Node::default() }, &endpoint, wiring).unwrap()
}

/// A server with these knobs, the groups `g1` and `g2`, and a connector to it.
pub(crate) async fn start(knobs: Knobs, settings: Value) -> (Subject, Arc<FakeScim>) {
    let server = Arc::new(FakeScim::start(knobs).await);
    server.add_group("g1", &[]);
    server.add_group("g2", &[]);
    let connector = connect(&server, settings);
    (Subject { connector, target: Box::new(Arc::clone(&server)) }, server)
}

async fn subject(knobs: Knobs, settings: Value) -> Subject {
    start(knobs, settings).await.0
}

pub(crate) async fn by_the_book() -> Subject {
    subject(Knobs::default(), json!({})).await
}

pub(crate) async fn without_patch() -> Subject {
    let config = Some(json!({"etag": {"supported": true}, "patch": {"supported": true}}));
    subject(Knobs { patch: Patch::Refused(501), etags: true, config, ..Knobs::default() }, json!({})).await
}

pub(crate) async fn with_bare_answers() -> Subject {
    let knobs = Knobs {
        patch: Patch::AnswersNothing,
        create_answer: CreateAnswer::Empty,
        duplicates: (400, "a user of that name already exists"),
        config: None,
        ..Knobs::default()
    };
    subject(knobs, json!({})).await
}

pub(crate) async fn with_text_booleans() -> Subject {
    let knobs = Knobs { active: Active::Text, total: Total::Text, ..Knobs::default() };
    subject(knobs, json!({"profile": "entra-style", "membersRemove": "filter"})).await
}

pub(crate) async fn with_useless_filters() -> Subject {
    let knobs = Knobs { filters: Filters::ShowEverybody, patch: Patch::NoFilteredPaths, ..Knobs::default() };
    // Without filters in paths a membership is taken out by putting the rest back.
    let settings = json!({"update": "put"});
    let knobs = Knobs { patch: Patch::Refused(405), ..knobs };
    subject(knobs, settings).await
}

pub(crate) async fn that_shows_members_on_users_only() -> Subject {
    subject(Knobs { members: MembersShown::OnTheUserOnly, ..Knobs::default() }, json!({})).await
}

pub(crate) async fn that_shows_members_when_asked() -> Subject {
    let knobs = Knobs { members: MembersShown::WhenAsked, ..Knobs::default() };
    subject(knobs, json!({"membersRead": "query", "opsPerPatch": "one"})).await
}

pub(crate) async fn in_small_pages() -> Subject {
    let knobs =
        Knobs { max_page: 4, paging: Paging::RepeatsPastTheEnd, filters: Filters::CompareLetters, ..Knobs::default() };
    subject(knobs, json!({})).await
}
