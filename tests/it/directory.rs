//! The embedded directory: what the conformance suite does not ask.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use rosterd::clock::Clock;
use rosterd::clock::TestClock;
use rosterd::connector::Applied;
use rosterd::connector::Connector;
use rosterd::connector::ConnectorError;
use rosterd::connector::ErrorClass;
use rosterd::connector::Look;
use rosterd::connector::Operation;
use rosterd::connector::Shape;
use rosterd::connector::view::DirectoryView;
use rosterd::connector::view::ViewKind;
use rosterd::connector::view::ViewQuery;
use rosterd::connectors::directory;
use rosterd::connectors::directory::Directory;
use rosterd::model::account::Account;
use rosterd::model::account::AccountState;
use rosterd::model::account::Membership;
use rosterd::model::ids::AccountId;
use rosterd::model::ids::TargetName;
use rosterd::model::node::Node;
use rosterd::model::path::AttributePath;
use rosterd::model::plan::Coverage;
use rosterd::model::target::MatchKey;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;

struct Fixture {
    directory: Arc<Directory>,
    crm: Arc<dyn Connector>,
    folder: TempDir,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(TestClock::new(DateTime::UNIX_EPOCH));
    let directory = Directory::at(folder.path().join("rosterd-directory.db"), clock);
    let crm = connector(&directory, "crm", "default");
    Fixture { directory, crm, folder }
}

fn connector(directory: &Arc<Directory>, target: &str, environment: &str) -> Arc<dyn Connector> {
    let none = Node::default();
    directory::build(&none, &none, directory, (&target.into(), &environment.into())).unwrap()
}

fn name() -> TargetName {
    "crm".into()
}

fn path(text: &str) -> AttributePath {
    AttributePath::parse(text).unwrap()
}

fn values(pairs: &[(&str, Value)]) -> BTreeMap<AttributePath, Value> {
    pairs.iter().map(|(at, value)| (path(at), value.clone())).collect()
}

fn shape() -> Shape {
    let paths = ["title", "name.givenName", "emails[type eq \"work\"].value", "roles"].map(path);
    Shape { paths: paths.into_iter().collect(), memberships: both() }
}

fn group() -> Membership {
    Membership::Group("portfolio-emea".to_owned())
}

fn role() -> Membership {
    Membership::Role("Admin".to_owned())
}

fn both() -> BTreeSet<Membership> {
    BTreeSet::from([group(), role()])
}

fn creation(name: &str) -> Operation {
    let values = values(&[
        ("userName", json!(name)),
        ("externalId", json!(format!("id of {name}"))),
        ("emails[type eq \"work\"].value", json!(format!("{name}@acme.example"))),
    ]);
    Operation::Create { values, memberships: BTreeSet::new() }
}

fn update(seen: &Account) -> Operation {
    Operation::Update {
        seen: Arc::new(seen.clone()),
        set: BTreeMap::new(),
        clear: BTreeSet::new(),
        active: None,
        add: BTreeSet::new(),
        remove: BTreeSet::new(),
    }
}

async fn apply(target: &dyn Connector, operations: &[Operation]) -> Vec<Result<Account, ConnectorError>> {
    let outcomes = target.apply(&shape(), operations).await;
    outcomes.into_iter().map(|outcome| outcome.map(|Applied { account }| account.unwrap())).collect()
}

async fn created(target: &dyn Connector, name: &str) -> Account {
    apply(target, &[creation(name)]).await.remove(0).unwrap()
}

async fn listed(target: &dyn Connector) -> (Coverage, Vec<Account>) {
    let (sender, mut receiver) = mpsc::channel(1);
    let collect = async {
        let mut all = Vec::new();
        while let Some(page) = receiver.recv().await {
            all.extend(page);
        }
        all
    };
    let shape = shape();
    let (coverage, accounts) = tokio::join!(target.observe(&shape, sender), collect);
    (coverage.unwrap(), accounts)
}

async fn found(target: &dyn Connector, key: &[(&str, Value)]) -> Vec<AccountId> {
    let (paths, values): (Vec<_>, Vec<_>) = key.iter().map(|(at, value)| (path(at), value.clone())).unzip();
    let found = target.fetch(&shape(), &Look::Key(MatchKey(paths), values)).await.unwrap();
    assert!(found.proven);
    found.accounts.into_iter().map(|account| account.id).collect()
}

#[tokio::test]
async fn an_empty_directory_is_listed_completely_and_its_realm_names_the_target() {
    let Fixture { crm, folder: _folder, .. } = fixture();
    assert_eq!(crm.probe().await.unwrap().realm.as_str(), "embedded/crm");
    assert_eq!(listed(&*crm).await, (Coverage::Complete, Vec::new()));
}

#[tokio::test]
async fn an_account_goes_through_its_life() {
    let Fixture { crm, folder: _folder, .. } = fixture();
    let Operation::Create { values: wanted, .. } = creation("ada") else { unreachable!() };
    let create = Operation::Create { values: wanted.clone(), memberships: both() };
    let made = apply(&*crm, &[create]).await.remove(0).unwrap();
    assert_eq!((made.state, &made.memberships), (AccountState::Active, &both()));
    assert!(wanted.iter().all(|(at, value)| made.values.get(at) == Some(value)), "{made:?}");

    let change = Operation::Update {
        seen: Arc::new(made.clone()),
        set: values(&[("userName", json!("ada.l")), ("title", json!("Countess"))]),
        clear: BTreeSet::from([path("emails[type eq \"work\"].value")]),
        active: Some(false),
        add: BTreeSet::new(),
        remove: BTreeSet::from([group()]),
    };
    let changed = apply(&*crm, std::slice::from_ref(&change)).await.remove(0).unwrap();
    assert_eq!((&changed.id, changed.state), (&made.id, AccountState::Disabled));
    assert_eq!(changed.memberships, BTreeSet::from([role()]));
    let names = ["userName", "externalId", "title", "roles"].map(path);
    assert_eq!(changed.values.keys().cloned().collect::<BTreeSet<_>>(), names.into_iter().collect());
    assert_eq!(apply(&*crm, &[change]).await.remove(0).unwrap(), changed, "a change may be sent twice");

    let Operation::Update { seen, set, clear, .. } = update(&changed) else { unreachable!() };
    let back = Operation::Update { seen, set, clear, active: Some(true), add: both(), remove: BTreeSet::new() };
    let back = apply(&*crm, &[back]).await.remove(0).unwrap();
    assert_eq!((&back.id, back.state, &back.memberships), (&made.id, AccountState::Active, &both()));
    assert_eq!(listed(&*crm).await, (Coverage::Complete, vec![back]));
}

#[tokio::test]
async fn a_user_name_is_taken_whatever_its_letters_and_the_rest_of_the_batch_is_done() {
    let Fixture { crm, folder: _folder, .. } = fixture();
    let outcomes = apply(&*crm, &[creation("ada"), creation("ADA"), creation("bob")]).await;
    assert_eq!(outcomes[1].as_ref().unwrap_err().class, ErrorClass::Exists);
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    assert_eq!(listed(&*crm).await.1.len(), 2);

    let Operation::Update { seen, clear, active, add, remove, .. } = update(outcomes[2].as_ref().unwrap()) else {
        unreachable!()
    };
    let set = values(&[("userName", json!("Ada"))]);
    let rename = Operation::Update { seen, set, clear, active, add, remove };
    assert_eq!(apply(&*crm, &[rename]).await.remove(0).unwrap_err().class, ErrorClass::Exists);
}

#[tokio::test]
async fn what_cannot_be_done_is_answered_and_does_nothing() {
    let Fixture { crm, directory, folder: _folder } = fixture();
    let nameless = Operation::Create { values: values(&[("title", json!("x"))]), memberships: both() };
    assert_eq!(apply(&*crm, &[nameless]).await.remove(0).unwrap_err().class, ErrorClass::Refused);
    let ada = created(&*crm, "ada").await;
    directory.delete(&name(), &ada.id).await.unwrap();
    assert_eq!(apply(&*crm, &[update(&ada)]).await.remove(0).unwrap_err().class, ErrorClass::NotFound);
    assert_eq!(listed(&*crm).await, (Coverage::Complete, Vec::new()));
}

#[tokio::test]
async fn accounts_are_found_by_every_kind_of_key() {
    let Fixture { crm, folder: _folder, .. } = fixture();
    let (ada, bob) = (created(&*crm, "Ada").await, created(&*crm, "bob \"quoted\\\" é").await);
    assert_eq!(found(&*crm, &[("userName", json!("aDA"))]).await, std::slice::from_ref(&ada.id));
    assert_eq!(found(&*crm, &[("userName", json!("bob \"quoted\\\" é"))]).await, std::slice::from_ref(&bob.id));
    assert_eq!(found(&*crm, &[("externalId", json!("id of Ada"))]).await, std::slice::from_ref(&ada.id));
    assert!(found(&*crm, &[("externalId", json!("ID of Ada"))]).await.is_empty(), "ids are case exact");
    let mail = "emails[type eq \"work\"].value";
    assert_eq!(found(&*crm, &[(mail, json!("BOB \"quoted\\\" é@acme.example"))]).await, std::slice::from_ref(&bob.id));
    assert!(found(&*crm, &[("title", json!("Ada"))]).await.is_empty(), "another attribute holds that text");
    assert_eq!(
        found(&*crm, &[(mail, json!("ada@acme.example")), ("userName", json!("ada"))]).await,
        std::slice::from_ref(&ada.id)
    );
    assert!(found(&*crm, &[("externalId", json!("id of Ada")), ("title", json!("x"))]).await.is_empty());
    let by_id = async |id: &AccountId| crm.fetch(&shape(), &Look::Id(id.clone())).await.unwrap();
    assert_eq!(by_id(&ada.id).await.accounts, vec![ada]);
    let nobody = by_id(&"nobody".into()).await;
    assert!(nobody.proven && nobody.accounts.is_empty());
}

#[tokio::test]
async fn a_listing_of_many_pages_is_complete_and_sees_one_state_of_the_file() {
    let Fixture { crm, folder: _folder, .. } = fixture();
    let many: Vec<Operation> = (0..1_200).map(|number| creation(&format!("u-{number}"))).collect();
    for batch in many.chunks(crm.capabilities().batch) {
        assert!(apply(&*crm, batch).await.iter().all(Result::is_ok));
    }
    let (sender, mut receiver) = mpsc::channel(1);
    let wanted = shape();
    let listing = crm.observe(&wanted, sender);
    let meanwhile = async {
        let first = receiver.recv().await.unwrap();
        assert_eq!(first.len(), 500);
        for number in 0..20 {
            created(&*crm, &format!("late-{number}")).await;
        }
        let mut ids: BTreeSet<AccountId> = first.into_iter().map(|account| account.id).collect();
        while let Some(page) = receiver.recv().await {
            ids.extend(page.into_iter().map(|account| account.id));
        }
        ids.len()
    };
    let (coverage, count) = tokio::join!(listing, meanwhile);
    assert_eq!((coverage.unwrap(), count), (Coverage::Complete, 1_200));
}

#[tokio::test]
async fn a_listing_that_its_reader_gives_up_proves_nothing() {
    let Fixture { crm, folder: _folder, .. } = fixture();
    created(&*crm, "ada").await;
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    assert!(matches!(crm.observe(&shape(), sender).await, Ok(Coverage::Partial(_))));
}

#[tokio::test]
async fn two_tasks_that_want_one_name_make_one_account() {
    let Fixture { crm, folder: _folder, .. } = fixture();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let crm = crm.clone();
            async move { apply(&*crm, &[creation("ada")]).await.remove(0) }
        })
        .collect();
    let outcomes = futures_util::future::join_all(tasks).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(listed(&*crm).await.1.len(), 1);
}

#[tokio::test]
async fn targets_and_environments_see_nothing_of_one_another() {
    let Fixture { crm, directory, folder: _folder } = fixture();
    created(&*crm, "ada").await;
    for other in [connector(&directory, "erp", "default"), connector(&directory, "crm", "test")] {
        assert!(listed(&*other).await.1.is_empty());
        assert!(found(&*other, &[("userName", json!("ada"))]).await.is_empty());
        created(&*other, "ada").await;
    }
    assert_eq!(listed(&*crm).await.1.len(), 1);
}

#[tokio::test]
async fn other_hands_are_seen() {
    let Fixture { crm, directory, folder: _folder } = fixture();
    let foreign = json!({"userName": "svc-batch", "active": true, "roles": [{"value": "Admin"}]});
    let id = directory.insert(&name(), foreign).await.unwrap();
    let patch = values(&[("active", json!(false)), ("title", json!("Batch"))]);
    directory.edit(&name(), &id, patch).await.unwrap();
    directory.set_member(&name(), "portfolio-emea", &id, true).await.unwrap();
    let seen = listed(&*crm).await.1.remove(0);
    assert_eq!((seen.state, &seen.memberships), (AccountState::Disabled, &both()));
    assert_eq!(seen.values[&path("title")], json!("Batch"));
    directory.edit(&name(), &id, values(&[("title", Value::Null)])).await.unwrap();
    directory.set_member(&name(), "portfolio-emea", &id, false).await.unwrap();
    let seen = listed(&*crm).await.1.remove(0);
    assert!(!seen.values.contains_key(&path("title")) && seen.memberships == BTreeSet::from([role()]));
    let elsewhere = directory.delete(&"nothing".into(), &id).await.unwrap_err();
    assert_eq!(elsewhere.class, ErrorClass::NotFound);
}

#[tokio::test]
async fn the_view_shows_users_and_groups_as_scim_in_pages() {
    let Fixture { crm, directory, folder: _folder } = fixture();
    let Operation::Create { values, .. } = creation("ada") else { unreachable!() };
    let ada = apply(&*crm, &[Operation::Create { values, memberships: both() }]).await.remove(0).unwrap();
    for name in ["bob", "eve"] {
        created(&*crm, name).await;
    }
    let list = async |kind, filter: Option<(&str, Value)>, skip, count| {
        let filter = filter.map(|(name, value)| (name.to_owned(), value));
        let query = ViewQuery { kind, filter, skip, count };
        directory.list(&name(), &query).await.unwrap().unwrap()
    };
    let all = list(ViewKind::Users, None, 0, 2).await;
    assert_eq!((all.total, all.resources.len()), (3, 2));
    assert_eq!(list(ViewKind::Users, None, 2, 2).await.resources.len(), 1);
    assert_eq!(list(ViewKind::Users, None, 0, 0).await.total, 3);
    for filter in [
        ("userName", json!("ADA")),
        ("emails.value", json!("ada@acme.example")),
        ("roles", json!("Admin")),
        ("groups.value", json!("portfolio-emea")),
        ("id", json!(ada.id.as_str())),
    ] {
        let page = list(ViewKind::Users, Some(filter.clone()), 0, 9).await;
        assert_eq!(page.total, 1, "{filter:?}");
        assert_eq!(page.resources[0]["id"], json!(ada.id.as_str()));
    }
    assert_eq!(list(ViewKind::Users, Some(("active", json!(true))), 1, 1).await.total, 3);
    assert_eq!(list(ViewKind::Users, Some(("userName", json!("nobody"))), 0, 9).await.total, 0);

    let user = directory.get(&name(), ViewKind::Users, ada.id.as_str()).await.unwrap().unwrap();
    assert_eq!(user["meta"]["resourceType"], json!("User"));
    assert_eq!(user["meta"]["created"], json!("1970-01-01T00:00:00Z"));
    assert_eq!(user["groups"], json!([{"value": "portfolio-emea"}]));
    let groups = list(ViewKind::Groups, Some(("displayName", json!("portfolio-emea"))), 0, 9).await;
    assert_eq!(groups.resources[0]["members"], json!([{"value": ada.id.as_str()}]));
    assert_eq!(list(ViewKind::Groups, Some(("displayName", json!("other"))), 0, 9).await.total, 0);
    assert!(directory.get(&name(), ViewKind::Groups, "portfolio-emea").await.unwrap().is_some());
    assert_eq!(directory.get(&name(), ViewKind::Users, "nobody").await.unwrap(), None);
    let query = ViewQuery { kind: ViewKind::Users, filter: None, skip: 0, count: 1 };
    assert_eq!(directory.list(&"no-embedded-one".into(), &query).await.unwrap(), None);
}

#[tokio::test]
async fn accounts_survive_a_restart() {
    let Fixture { crm, directory, folder } = fixture();
    let ada = created(&*crm, "ada").await;
    drop((crm, directory));
    let clock: Arc<dyn Clock> = Arc::new(TestClock::new(DateTime::UNIX_EPOCH));
    let again = Directory::at(folder.path().join("rosterd-directory.db"), clock);
    assert_eq!(listed(&*connector(&again, "crm", "default")).await.1, vec![ada]);
}

#[tokio::test]
async fn a_file_that_is_no_directory_shuts_the_door_with_a_clear_word() {
    let Fixture { crm, folder, .. } = fixture();
    fs::write(folder.path().join("rosterd-directory.db"), "notes").unwrap();
    let error = crm.probe().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Door);
    assert!(error.message.contains("is damaged or no database"), "{}", error.message);
    fs::remove_file(folder.path().join("rosterd-directory.db")).unwrap();
    crm.probe().await.expect("it is opened again when it is there");
}

#[tokio::test(start_paused = true)]
async fn a_paused_test_clock_stands_still_while_the_directory_works() {
    let Fixture { crm, folder: _folder, .. } = fixture();
    let before = tokio::time::Instant::now();
    tokio::time::timeout(Duration::from_millis(1), async {
        created(&*crm, "ada").await;
        listed(&*crm).await
    })
    .await
    .unwrap();
    assert_eq!(tokio::time::Instant::now(), before);
}

#[test]
fn settings_of_any_kind_are_pointed_at() {
    let clock: Arc<dyn Clock> = {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { Arc::new(TestClock::new(DateTime::UNIX_EPOCH)) })
    };
    let directory = Directory::at("rosterd-directory.db", clock);
    let settings = Node { value: json!({"file": "x"}), ..Node::default() };
    let error = directory::build(&settings, &Node::default(), &directory, (&name(), &"default".into())).err().unwrap();
    assert_eq!(error.pointer, "/file");
    assert!(error.message.contains("nothing to set"), "{}", error.message);
}
