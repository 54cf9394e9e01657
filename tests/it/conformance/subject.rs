//! What the suite needs of a connector, and short words for using one.

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use rosterd::connector::Connector;
use rosterd::connector::ConnectorError;
use rosterd::connector::Found;
use rosterd::connector::Look;
use rosterd::connector::Operation;
use rosterd::connector::Shape;
use rosterd::model::account::Account;
use rosterd::model::account::Membership;
use rosterd::model::ids::AccountId;
use rosterd::model::path::AttributePath;
use rosterd::model::plan::Coverage;
use rosterd::model::target::MatchKey;
use serde_json::Value;
use serde_json::json;
use tokio::sync::mpsc;

/// A connector to an empty target that holds the groups `g1` and `g2`.
pub(crate) struct Subject {
    pub(crate) connector: Arc<dyn Connector>,
    /// The target itself, for as long as the subject lives.
    #[expect(dead_code, reason = "it is held, not read")]
    pub(crate) target: Box<dyn Any + Send>,
}

/// Paths that the suite writes besides the two names.
pub(crate) const PATHS: [&str; 6] =
    ["name.givenName", "name.familyName", "emails[type eq \"work\"].value", "title", "nickName", COST_CENTER];

/// An attribute of the enterprise extension (RFC 7643 section 4.3).
pub(crate) const COST_CENTER: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:costCenter";

pub(crate) fn path(text: &str) -> AttributePath {
    AttributePath::parse(text).unwrap()
}

pub(crate) fn group(name: &str) -> Membership {
    Membership::Group(name.to_owned())
}

pub(crate) fn role(name: &str) -> Membership {
    Membership::Role(name.to_owned())
}

pub(crate) fn shape() -> Shape {
    Shape {
        paths: PATHS.iter().map(|text| path(text)).collect(),
        memberships: [group("g1"), group("g2"), role("reader"), role("writer")].into(),
    }
}

/// Values of one person.
pub(crate) fn person(name: &str) -> BTreeMap<AttributePath, Value> {
    [
        ("userName", json!(format!("{name}@acme.example"))),
        ("externalId", json!(format!("u-{name}"))),
        ("name.givenName", json!("Ada")),
        ("name.familyName", json!("Lovelace")),
        ("emails[type eq \"work\"].value", json!(format!("{name}@acme.example"))),
        ("title", json!("Analyst")),
        ("nickName", json!("Countess")),
        (COST_CENTER, json!("C-17")),
    ]
    .into_iter()
    .map(|(at, value)| (path(at), value))
    .collect()
}

/// A change of nothing, to be filled in.
pub(crate) struct Change {
    pub(crate) set: BTreeMap<AttributePath, Value>,
    pub(crate) clear: BTreeSet<AttributePath>,
    pub(crate) active: Option<bool>,
    pub(crate) add: BTreeSet<Membership>,
    pub(crate) remove: BTreeSet<Membership>,
}

impl Change {
    pub(crate) fn none() -> Self {
        Self {
            set: BTreeMap::new(),
            clear: BTreeSet::new(),
            active: None,
            add: BTreeSet::new(),
            remove: BTreeSet::new(),
        }
    }

    pub(crate) fn set(at: &str, value: Value) -> Self {
        Self { set: [(path(at), value)].into(), ..Self::none() }
    }

    pub(crate) fn active(active: bool) -> Self {
        Self { active: Some(active), ..Self::none() }
    }
}

impl Subject {
    pub(crate) async fn create(&self, name: &str) -> Account {
        self.try_create(person(name), []).await.unwrap()
    }

    pub(crate) async fn try_create(
        &self,
        values: BTreeMap<AttributePath, Value>,
        memberships: impl IntoIterator<Item = Membership>,
    ) -> Result<Account, ConnectorError> {
        let memberships = memberships.into_iter().collect();
        self.apply(Operation::Create { values, memberships }).await
    }

    pub(crate) async fn update(&self, seen: &Account, change: Change) -> Result<Account, ConnectorError> {
        let Change { set, clear, active, add, remove } = change;
        self.apply(Operation::Update { seen: Arc::new(seen.clone()), set, clear, active, add, remove }).await
    }

    pub(crate) async fn apply(&self, operation: Operation) -> Result<Account, ConnectorError> {
        let mut outcomes = self.connector.apply(&shape(), &[operation]).await;
        assert_eq!(outcomes.len(), 1, "one outcome for one operation");
        outcomes.remove(0).map(|applied| applied.account.expect("what was written is shown"))
    }

    /// The account as a fresh look shows it.
    pub(crate) async fn look(&self, id: &AccountId) -> Account {
        let found = self.connector.fetch(&shape(), &Look::Id(id.clone())).await.unwrap();
        assert!(found.proven);
        found.accounts.into_iter().next().expect("the account is there")
    }

    pub(crate) async fn find(&self, at: &str, value: &str) -> Result<Found, ConnectorError> {
        self.connector.fetch(&shape(), &Look::Key(MatchKey(vec![path(at)]), vec![json!(value)])).await
    }

    /// Every account of a listing, in the order in which it came, and what the listing proves.
    pub(crate) async fn observe(&self) -> Result<(Vec<Account>, Coverage), ConnectorError> {
        let (sender, mut receiver) = mpsc::channel(1);
        let shape = shape();
        let listing = self.connector.observe(&shape, sender);
        let reading = async {
            let mut accounts = Vec::new();
            while let Some(page) = receiver.recv().await {
                accounts.extend(page);
            }
            accounts
        };
        let (coverage, accounts) = tokio::join!(listing, reading);
        Ok((accounts, coverage?))
    }
}
