//! A target in memory whose every call costs the same however many accounts it holds, so that what
//! grows is the engine's.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use rosterd::connector::Applied;
use rosterd::connector::Capabilities;
use rosterd::connector::Connector;
use rosterd::connector::ConnectorError;
use rosterd::connector::Found;
use rosterd::connector::Look;
use rosterd::connector::Operation;
use rosterd::connector::Probe;
use rosterd::connector::Shape;
use rosterd::model::account::Account;
use rosterd::model::account::AccountState;
use rosterd::model::ids::AccountId;
use rosterd::model::path::AttributePath;
use rosterd::model::plan::Coverage;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::scale::model::PAGE;

pub(super) struct PlainTarget {
    realm: String,
    latency: Duration,
    accounts: Mutex<BTreeMap<AccountId, Account>>,
    calls: Mutex<u64>,
}

impl PlainTarget {
    pub(super) fn new(realm: String, latency: Duration) -> Self {
        Self { realm, latency, accounts: Mutex::default(), calls: Mutex::default() }
    }

    /// How many calls came so far: probes, pages, look-ups and writes.
    pub(super) fn calls(&self) -> u64 {
        *self.calls.lock().unwrap()
    }

    pub(super) fn accounts(&self) -> usize {
        self.accounts.lock().unwrap().len()
    }

    /// How many accounts give access.
    pub(super) fn active(&self) -> usize {
        self.accounts.lock().unwrap().values().filter(|account| account.state.gives_access()).count()
    }

    /// How many accounts have this value somewhere.
    pub(super) fn holds(&self, value: &str) -> usize {
        let holds = |account: &&Account| account.values.values().any(|held| held == value);
        self.accounts.lock().unwrap().values().filter(holds).count()
    }

    async fn enter(&self) {
        *self.calls.lock().unwrap() += 1;
        tokio::time::sleep(self.latency).await;
    }

    fn write(&self, operation: &Operation) -> Applied {
        let mut accounts = self.accounts.lock().unwrap();
        match operation {
            Operation::Create { values, memberships } => {
                let id = AccountId::from(format!("{:010}", accounts.len()));
                let (values, memberships) = (values.clone(), memberships.clone());
                let account =
                    Account { id: id.clone(), state: AccountState::Active, values, memberships, version: None };
                accounts.insert(id, account.clone());
                Applied { account: Some(account) }
            }
            Operation::Update { seen, set, active, .. } => {
                let account = accounts.get_mut(&seen.id).unwrap();
                account.values.extend(set.clone());
                if *active == Some(false) {
                    account.state = AccountState::Disabled;
                }
                Applied { account: Some(account.clone()) }
            }
            Operation::Delete { .. } => panic!("no account is deleted here"),
        }
    }
}

#[async_trait]
impl Connector for PlainTarget {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            batch: 1,
            visible_within: Duration::ZERO,
            call_limit: Duration::from_secs(10),
            reactivates: true,
        }
    }

    fn canonicalize(&self, _: &AttributePath, value: &Value) -> Value {
        value.clone()
    }

    async fn probe(&self) -> Result<Probe, ConnectorError> {
        self.enter().await;
        Ok(Probe { realm: self.realm.clone().into(), own_account: None })
    }

    async fn observe(&self, _: &Shape, pages: mpsc::Sender<Vec<Account>>) -> Result<Coverage, ConnectorError> {
        let mut after: Option<AccountId> = None;
        loop {
            self.enter().await;
            let page: Vec<_> = {
                let accounts = self.accounts.lock().unwrap();
                let rest = accounts.values();
                match &after {
                    None => rest.take(PAGE).cloned().collect(),
                    Some(id) => {
                        accounts.range(id.clone()..).skip(1).take(PAGE).map(|(_, account)| account.clone()).collect()
                    }
                }
            };
            let last = page.len() < PAGE;
            after = page.last().map(|account| account.id.clone());
            if pages.send(page).await.is_err() || last {
                return Ok(Coverage::Complete);
            }
        }
    }

    async fn fetch(&self, _: &Shape, look: &Look) -> Result<Found, ConnectorError> {
        self.enter().await;
        let Look::Id(id) = look else { panic!("nobody is sought by name here") };
        Ok(Found { accounts: self.accounts.lock().unwrap().get(id).cloned().into_iter().collect(), proven: true })
    }

    async fn apply(&self, _: &Shape, batch: &[Operation]) -> Vec<Result<Applied, ConnectorError>> {
        let mut answers = Vec::new();
        for operation in batch {
            self.enter().await;
            answers.push(Ok(self.write(operation)));
        }
        answers
    }
}
