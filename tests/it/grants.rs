//! What our calls may have given is taken from a leaver, however the calls ended; what other hands
//! gave before stays (L10).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use rosterd::clock::SystemClock;
use rosterd::connector::ErrorClass;
use rosterd::connectors::scim;
use rosterd::engine::Engine;
use rosterd::engine::Parts;
use rosterd::engine::Running;
use rosterd::engine::SyncRequest;
use rosterd::metrics::Metrics;
use rosterd::model::account::AccountState;
use rosterd::model::account::Membership;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::decision::Halts;
use rosterd::model::ids::AccountId;
use rosterd::model::node::Node;
use rosterd::model::target::Ending;
use rosterd::model::target::Entitlement;
use rosterd::model::target::Existing;
use rosterd::model::target::MatchKey;
use rosterd::model::target::Target;
use rosterd::model::user::User;
use rosterd::secrets::secret::Secret;
use serde_json::json;

use crate::support::make::documents;
use crate::support::make::held;
use crate::support::make::inactive;
use crate::support::make::path;
use crate::support::make::roles;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::rig::Rig;
use crate::support::scim_server::FakeScim;
use crate::support::scim_server::Knobs;
use crate::support::scim_server::Mishap;
use crate::support::scim_server::TOKEN;
use crate::support::source::MemorySource;
use crate::support::store::MemoryStore;
use crate::support::target::Fault;

/// A user with both entitlements of [`two_groups`].
fn admin(id: &str) -> User {
    User { roles: vec![held("staff"), held("admin")], ..user(id) }
}

fn group(name: &str) -> Membership {
    Membership::Group(name.to_owned())
}

/// A target whose role `admin` gives two groups.
fn two_groups() -> Target {
    let mut app = target("app");
    let second = Entitlement { membership: group("g-second"), privileged: false, exclusive_with: BTreeSet::new() };
    app.entitlements.insert("second".into(), second);
    app
}

fn declared(users: impl IntoIterator<Item = User>, app: &Target) -> rosterd::manifest::Documents {
    let mut documents = documents(users, [app.clone()]);
    for mut role in roles() {
        if role.name.as_str() == "admin" && app.entitlements.len() == 2 {
            role.grants[0].entitlements.insert("second".into());
        }
        documents.roles.insert(role.name.clone(), Arc::new(role));
    }
    documents
}

fn memberships(rig: &Rig) -> BTreeSet<Membership> {
    rig.target("app").by_name("a@acme.example").unwrap().memberships
}

fn account(rig: &Rig) -> AccountId {
    rig.target("app").by_name("a@acme.example").unwrap().id
}

fn over_scim(source: &Arc<MemorySource>) -> Engine {
    Engine::new(Parts {
        store: Arc::new(MemoryStore::default()),
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::new()),
        source: Arc::<MemorySource>::clone(source),
        connectors: Arc::new(|target| {
            let bearer = Some(Secret::new(TOKEN.to_owned()));
            let wiring = scim::Wiring { bearer, observer: Arc::new(|_, _, _| {}), clock: Arc::new(SystemClock) };
            scim::build(&target.settings, &target.endpoint, wiring).map_err(|error| error.to_string())
        }),
        max_shrink_percent: 20,
    })
}

/// Cycles until nobody is in the group, or for ten seconds.
async fn until_empty(engine: &Engine, server: &FakeScim, group: &str) {
    for _ in 0..100 {
        engine.sync(&"app".into(), SyncRequest::default()).await.unwrap();
        if server.members(group).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_group_given_by_a_call_that_failed_at_the_next_group_is_taken_from_a_leaver() {
    rosterd::http::install_crypto();
    for status in [400, 403, 429, 500, 503] {
        let server = FakeScim::start(Knobs::default()).await;
        server.add_group("g-admin", &[]);
        server.add_group("g-second", &[]);
        let mut app = two_groups();
        let endpoint = json!({"url": server.url, "auth": {"bearer": {"secret": "token"}}});
        app.endpoint = Node { value: endpoint, ..Node::default() };
        let source = Arc::new(MemorySource::new(declared([user("a")], &app)));
        let engine = over_scim(&source);
        engine.start(Running::Once).await.unwrap();
        drop(engine.sync(&"app".into(), SyncRequest::default()).await.unwrap());
        // The first group is given; from then on nothing is, not even when it is tried again.
        let headers = vec![("content-type", "application/scim+json".to_owned())];
        for _ in 0..20 {
            let refusal = Mishap::Answer(status, headers.clone(), json!({"detail": "not now"}).to_string());
            server.next(Method::PATCH, "g-second", refusal);
        }
        source.set(Ok(declared([admin("a")], &app)));
        engine.reload().await.unwrap();
        let all = SyncRequest::default;
        drop(tokio::time::timeout(Duration::from_secs(4), engine.sync(&"app".into(), all())).await);
        assert_eq!((server.members("g-admin").len(), server.members("g-second").len()), (1, 0), "{status}");
        source.set(Ok(declared([user("a")], &app)));
        engine.reload().await.unwrap();
        until_empty(&engine, &server, "g-admin").await;
        assert_eq!(server.members("g-admin"), Vec::<String>::new(), "{status}: what was given is known as ours");
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_acts_late_is_taken_back_from_who_lost_it_meanwhile() {
    for restarts in [false, true] {
        let app = target("app");
        let mut rig = Rig::started(declared([user("a")], &app)).await;
        rig.target("app").inside().faults.push_back(Fault::ActLate(Duration::from_secs(20)));
        rig.declare(declared([admin("a")], &app)).await;
        rig.target("app").inside().faults.clear();
        rig.source.set(Ok(declared([user("a")], &app)));
        if restarts {
            let (targets, store) = rig.remains();
            rig.engine.stop().await;
            rig = Rig::over(declared([user("a")], &app), targets, store);
            rig.engine.start(Running::Daemon).await.unwrap();
        }
        rig.pass(Duration::from_mins(3)).await;
        assert_eq!(memberships(&rig), BTreeSet::new(), "restarts: {restarts}");
        rig.assert_settled("app").await;
        let store = rig.store.open();
        assert_eq!(store.intents.len(), store.outcomes.len(), "nothing stays open");
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_does_not_wait_for_a_grant_of_unknown_end() {
    let app = two_groups();
    let rig = Rig::started(declared([user("a")], &app)).await;
    rig.target("app").inside().faults.push_back(Fault::ActLate(Duration::from_secs(20)));
    rig.source.set(Ok(declared([admin("a")], &app)));
    rig.pass(Duration::from_millis(50)).await;
    rig.source.set(Ok(declared([inactive("a")], &app)));
    rig.pass(Duration::from_secs(3)).await;
    let state = rig.target("app").by_name("a@acme.example").unwrap().state;
    assert_eq!(state, AccountState::Disabled, "not even for the time in which the grant may still act");
}

#[tokio::test(start_paused = true)]
async fn what_another_hand_gave_before_our_call_or_after_its_refusal_stays() {
    let app = two_groups();
    for after in [false, true] {
        let rig = Rig::started(declared([user("a")], &app)).await;
        let id = account(&rig);
        let give = |name: &str| {
            let mut inside = rig.target("app").inside();
            inside.accounts.get_mut(&id).unwrap().memberships.insert(group(name));
        };
        if !after {
            give("g-second");
        }
        rig.target("app").inside().faults.push_back(Fault::Refuse(ErrorClass::Refused, None));
        rig.declare(declared([admin("a")], &app)).await;
        if after {
            // The people there gave both by hand, since they had refused the call.
            give("g-second");
            give("g-admin");
        }
        rig.target("app").inside().faults.clear();
        rig.declare(declared([user("a")], &app)).await;
        rig.sync("app").await.unwrap();
        let expected = if after { vec![group("g-admin"), group("g-second")] } else { vec![group("g-second")] };
        assert_eq!(memberships(&rig), expected.into_iter().collect(), "after: {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_adoption_of_unknown_end_that_gave_something_makes_the_account_ours() {
    let mut app = two_groups();
    app.account.existing = Existing::Adopt;
    app.account.trusted_keys = vec![MatchKey(vec![path("userName")])];
    let rig = Rig::started(declared([user("b")], &app)).await;
    rig.target("app").put("a@acme.example", AccountState::Active);
    rig.target("app").inside().faults.push_back(Fault::Half);
    rig.source.set(Ok(declared([admin("a"), user("b")], &app)));
    rig.pass(Duration::from_millis(50)).await;
    assert_eq!(memberships(&rig).len(), 1, "one of the two groups was given");
    rig.declare(declared([inactive("a"), user("b")], &app)).await;
    rig.pass(Duration::from_mins(2)).await;
    let state = rig.target("app").by_name("a@acme.example").unwrap().state;
    assert_eq!(state, AccountState::Disabled);
}

#[tokio::test(start_paused = true)]
async fn a_leaver_whose_entitlements_are_stripped_keeps_none_that_half_a_call_gave() {
    let mut app = two_groups();
    app.account.on_out_of_scope = Ending::Strip;
    let rig = Rig::started(declared([user("a")], &app)).await;
    rig.target("app").inside().faults.push_back(Fault::Half);
    rig.source.set(Ok(declared([admin("a")], &app)));
    rig.pass(Duration::from_millis(50)).await;
    assert_eq!(memberships(&rig).len(), 1);
    let out = User { roles: Vec::new(), ..user("a") };
    rig.declare(declared([out], &app)).await;
    rig.pass(Duration::from_mins(2)).await;
    assert_eq!(memberships(&rig), BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn what_another_hand_may_have_disabled_while_our_call_was_open_is_not_reactivated_unasked() {
    for restarts in [false, true] {
        let app = target("app");
        let mut rig = Rig::started(declared([user("a")], &app)).await;
        rig.target("app").inside().faults.push_back(Fault::LoseRequest);
        rig.source.set(Ok(declared([inactive("a")], &app)));
        rig.pass(Duration::from_millis(100)).await;
        let id = account(&rig);
        rig.target("app").inside().accounts.get_mut(&id).unwrap().state = AccountState::Disabled;
        if restarts {
            let (targets, store) = rig.remains();
            rig.engine.stop().await;
            rig = Rig::over(declared([inactive("a")], &app), targets, store);
            rig.engine.start(Running::Daemon).await.unwrap();
        }
        rig.pass(Duration::from_mins(2)).await;
        assert_eq!(rig.status("app").owed.len(), 0);
        rig.declare(declared([user("a")], &app)).await;
        rig.sync("app").await.unwrap();
        let state = || rig.target("app").by_name("a@acme.example").unwrap().state;
        assert_eq!(state(), AccountState::Disabled, "nobody knows whose doing it is");
        rig.engine.regain(&"app".into(), &"a".into(), "alice", None).await.unwrap();
        rig.rest().await;
        assert_eq!(state(), AccountState::Active, "a person's word gives it back");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_halted_call_would_have_given_is_not_booked_as_given() {
    let rig = Rig::started(documents([user("a")], [target("app")])).await;
    rig.store.open().slow_intents = Duration::from_secs(3);
    rig.source.set(Ok(documents([admin("a")], [target("app")])));
    rig.pass(Duration::from_millis(1_500)).await;
    let stop = Decision { halts: Some(Halts::All), ..Decision::new(DecisionKind::Stop, "alice", rig.now()) };
    rig.engine.decide(stop).await.unwrap();
    rig.pass(Duration::from_secs(15)).await;
    assert_eq!(rig.store.open().intents.len(), 2, "an intent was recorded");
    assert!(memberships(&rig).is_empty(), "and its call was halted");
    let links: Vec<_> = rig.store.open().links.values().cloned().collect();
    assert!(links.iter().all(|link| link.granted.is_empty()), "{links:?}");
}
