//! Whatever a listing hides, repeats or makes up: nobody loses access, nobody is created twice.
//!
//! A whole engine over the SCIM connector and a server with a knob for each kind of listing in
//! the field.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rosterd::clock::SystemClock;
use rosterd::connectors::scim;
use rosterd::engine::Engine;
use rosterd::engine::Parts;
use rosterd::engine::Running;
use rosterd::engine::SyncRequest;
use rosterd::engine::status::SyncReport;
use rosterd::metrics::Metrics;
use rosterd::model::ids::RecordId;
use rosterd::model::node::Node;
use rosterd::model::target::Target;
use rosterd::model::user::User;
use rosterd::secrets::secret::Secret;

use crate::support::make::documents;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::rig::Rig;
use crate::support::scim_server::FakeScim;
use crate::support::scim_server::Filters;
use crate::support::scim_server::Knobs;
use crate::support::scim_server::Paging;
use crate::support::scim_server::TOKEN;
use crate::support::scim_server::Total;
use crate::support::source::MemorySource;
use crate::support::store::MemoryStore;

const USERS: usize = 30;

struct World {
    engine: Engine,
    source: Arc<MemorySource>,
    server: FakeScim,
    target: Target,
}

fn users(count: usize) -> Vec<User> {
    (0..count).map(|number| user(&format!("u-{number:02}"))).collect()
}

/// An engine whose users all have their accounts, listed by the book.
async fn settled() -> World {
    rosterd::http::install_crypto();
    let server = FakeScim::start(Knobs::default()).await;
    let mut app = target("app");
    app.entitlements.clear();
    let endpoint = serde_json::json!({"url": server.url, "auth": {"bearer": {"secret": "token"}}});
    app.endpoint = Node { value: endpoint, ..Node::default() };
    let source = Arc::new(MemorySource::new(documents(users(USERS), [app.clone()])));
    let engine = Engine::new(Parts {
        store: Arc::new(MemoryStore::default()),
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::new()),
        source: Arc::<MemorySource>::clone(&source),
        connectors: Arc::new(|target| {
            let bearer = Some(Secret::new(TOKEN.to_owned()));
            let wiring = scim::Wiring { bearer, observer: Arc::new(|_, _, _| {}), clock: Arc::new(SystemClock) };
            scim::build(&target.settings, &target.endpoint, wiring).map_err(|error| error.to_string())
        }),
        max_shrink_percent: 20,
    });
    engine.start(Running::Once).await.unwrap();
    let world = World { engine, source, server, target: app };
    world.sync().await;
    assert_eq!(world.names().len(), USERS);
    world
}

impl World {
    async fn sync(&self) -> SyncReport {
        self.engine.sync(&"app".into(), SyncRequest::default()).await.unwrap()
    }

    /// User names there; a name that stands there twice fails the test.
    fn names(&self) -> BTreeSet<String> {
        let inside = self.server.inside();
        let names: Vec<_> = inside.users.iter().map(|user| user["userName"].as_str().unwrap().to_owned()).collect();
        let distinct: BTreeSet<_> = names.iter().cloned().collect();
        assert_eq!(names.len(), distinct.len(), "nobody is created twice");
        distinct
    }

    fn inactive(&self) -> usize {
        self.server.inside().users.iter().filter(|user| user["active"] == false).count()
    }
}

/// A listing of this kind takes nothing away, adds nobody twice, and a joiner still gets in where
/// it can be proven that the joiner has no account.
async fn harmless(knobs: Knobs) {
    let world = settled().await;
    let complete = {
        world.server.turn(knobs.clone());
        world.sync().await
    };
    assert_eq!(world.inactive(), 0, "nobody loses access");
    assert_eq!(world.names().len(), USERS);
    assert_eq!(complete.plan.changes, []);
    world.source.set(Ok(documents(users(USERS + 1), [world.target.clone()])));
    world.engine.reload().await.unwrap();
    world.sync().await;
    assert_eq!(world.inactive(), 0);
    assert!(world.names().len() <= USERS + 1);
    world.server.turn(Knobs::default());
    world.sync().await;
    assert_eq!(world.names().len(), USERS + 1, "once the listing is whole again, everybody is there once");
    assert_eq!(world.sync().await.plan.changes, [], "a second plan is empty");
}

macro_rules! harmless {
    ($($name:ident: $knobs:expr;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                harmless($knobs).await;
            }
        )*
    };
}

harmless! {
    a_page_cut_silently_to_seven: Knobs { max_page: 7, ..Knobs::default() };
    page_parameters_that_are_ignored: Knobs { paging: Paging::IgnoresParameters, max_page: 10, ..Knobs::default() };
    page_parameters_ignored_and_everybody_shown: Knobs { paging: Paging::IgnoresParameters, ..Knobs::default() };
    items_repeated_past_the_end: Knobs { paging: Paging::RepeatsPastTheEnd, max_page: 10, ..Knobs::default() };
    a_page_past_the_end_refused: Knobs { paging: Paging::RefusesPastTheEnd, max_page: 10, ..Knobs::default() };
    an_order_that_never_holds_still: Knobs { paging: Paging::Turns(usize::MAX), max_page: 10, ..Knobs::default() };
    an_order_that_turns_once: Knobs { paging: Paging::Turns(1), max_page: 10, ..Knobs::default() };
    the_same_row_twice: Knobs { paging: Paging::SameRowTwice, max_page: 10, ..Knobs::default() };
    a_total_that_is_absent: Knobs { total: Total::Absent, max_page: 10, ..Knobs::default() };
    a_total_that_counts_the_page: Knobs { total: Total::CountsThePage, max_page: 10, ..Knobs::default() };
    a_total_as_text: Knobs { total: Total::Text, max_page: 10, ..Knobs::default() };
    a_total_that_promises_more: Knobs { total: Total::Plus(5), max_page: 10, ..Knobs::default() };
    filters_that_show_everybody: Knobs { filters: Filters::ShowEverybody, max_page: 10, ..Knobs::default() };
    filters_that_show_nobody: Knobs { filters: Filters::ShowNobody, total: Total::Plus(5), ..Knobs::default() };
    filters_refused_and_no_total: Knobs { filters: Filters::Refused(400), total: Total::Absent, max_page: 10, ..Knobs::default() };
    filters_that_fail_and_a_listing_cut: Knobs { filters: Filters::Refused(500), total: Total::Plus(5), max_page: 10, ..Knobs::default() };
}

#[tokio::test]
async fn a_listing_that_breaks_off_takes_nothing_away() {
    let world = settled().await;
    world.server.turn(Knobs { max_page: 10, ..Knobs::default() });
    world.server.next(axum::http::Method::GET, "/Users", crate::support::scim_server::Mishap::Cut);
    drop(world.engine.sync(&"app".into(), SyncRequest::default()).await);
    assert_eq!(world.inactive(), 0);
    assert_eq!(world.names().len(), USERS);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_by_another_hand_is_told_without_a_schedule_though_the_listing_that_would_tell_was_cut() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    let gone = rig.target("app").by_name("u-01@acme.example").unwrap().id;
    rig.target("app").inside().accounts.remove(&gone);
    rig.target("app").inside().partial = Some(usize::MAX);
    rig.sync("app").await.unwrap();
    rig.pass(Duration::from_secs(30)).await;
    assert_eq!(rig.status("app").conflicts.len(), 0, "a listing that is not whole proves nobody gone");
    rig.target("app").inside().partial = None;
    rig.pass(Duration::from_mins(2)).await;
    let conflicts = rig.status("app").conflicts;
    assert_eq!(conflicts.keys().map(RecordId::as_str).collect::<Vec<_>>(), ["u-01"], "the look is owed");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_never_shows_everybody_is_listed_ever_more_rarely_until_it_does() {
    let day = Duration::from_hours(24);
    let rig = Rig::new(documents(users(2), [target("app")]));
    rig.target("app").inside().partial = Some(usize::MAX);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.pass(2 * day).await;
    let begun = rig.target("app").count("list");
    assert!((10..=20).contains(&begun), "{begun} times in two days");
    rig.pass(10 * day).await;
    let later = rig.target("app").count("list") - begun;
    assert!((5..=20).contains(&later), "{later} times in ten days");
    rig.target("app").inside().partial = None;
    rig.pass(day).await;
    rig.target("app").inside().calls.clear();
    rig.pass(10 * day).await;
    assert_eq!(rig.target("app").count("list"), 0, "nothing is owed any more");
}

/// Without a schedule nobody else would ask for the listing that tells.
#[tokio::test(start_paused = true)]
async fn a_joiner_of_whom_no_look_proves_anything_gets_an_account_by_a_listing_that_is_asked_for() {
    let rig = Rig::started(documents(users(2), [target("app")])).await;
    rig.target("app").inside().unproven = true;
    for joiners in 3..=5 {
        rig.declare(documents(users(joiners), [target("app")])).await;
        rig.pass(Duration::from_mins(1)).await;
        let status = rig.status("app");
        assert_eq!(rig.target("app").inside().accounts.len(), joiners, "{:?}", status.failures);
        assert_eq!(status.failures.len(), 0, "{:?}", status.failures);
    }
    rig.target("app").inside().calls.clear();
    rig.pass(Duration::from_hours(24)).await;
    assert_eq!(rig.target("app").count("list"), 0, "nothing is owed any more");
}
