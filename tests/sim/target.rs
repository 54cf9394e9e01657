//! A target in memory, and the connector to it. It does what the weather and its faults say, and
//! writes everything into the log.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rosterd::connector::Applied;
use rosterd::connector::Capabilities;
use rosterd::connector::Connector;
use rosterd::connector::ConnectorError;
use rosterd::connector::ErrorClass;
use rosterd::connector::Found;
use rosterd::connector::Look;
use rosterd::connector::Operation;
use rosterd::connector::Probe;
use rosterd::connector::Shape;
use rosterd::model::account::Account;
use rosterd::model::account::AccountState;
use rosterd::model::account::Membership;
use rosterd::model::ids::AccountId;
use rosterd::model::path::AttributePath;
use rosterd::model::plan::Coverage;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::case::Death;
use crate::case::Fault;
use crate::case::Place;
use crate::case::Weather;
use crate::world::Event;
use crate::world::Inner;
use crate::world::World;

/// The longest that one call of this connector takes; the engine gives a write three of them.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(10);
/// The time in which a write that was sent may still act.
pub(crate) const WRITE_LIMIT: u64 = 30_000;

const PAGE: usize = 4;

type Values = BTreeMap<AttributePath, Value>;

/// What a target holds, with its past.
pub(crate) struct Held {
    /// Each account as it was from a moment on; `None`: it is gone.
    versions: BTreeMap<AccountId, Vec<(u64, Option<Account>)>>,
    pub(crate) faults: VecDeque<Fault>,
    pub(crate) weather: Vec<Weather>,
    latency: u64,
    pub(crate) visible_within: u64,
    unique: bool,
    /// Writes on their way: when they act.
    late: Vec<(u64, u64, Arc<Operation>)>,
    next: u64,
    reads: u64,
}

impl Held {
    pub(crate) fn new(place: &Place) -> Self {
        let mut held = Self {
            versions: BTreeMap::new(),
            faults: VecDeque::new(),
            weather: Vec::new(),
            latency: place.latency,
            visible_within: place.visible_within,
            unique: place.unique,
            late: Vec::new(),
            next: 0,
            reads: 0,
        };
        for name in &place.strangers {
            held.insert(0, values(name, None), BTreeSet::new());
        }
        held
    }

    /// A new, active account.
    pub(crate) fn insert(&mut self, at: u64, values: Values, memberships: BTreeSet<Membership>) -> AccountId {
        self.next += 1;
        let id = AccountId::from(format!("{:04}", self.next));
        let account = Account { id: id.clone(), state: AccountState::Active, values, memberships, version: None };
        self.put(at, id.clone(), Some(account));
        id
    }

    pub(crate) fn put(&mut self, at: u64, id: AccountId, account: Option<Account>) {
        self.versions.entry(id).or_default().push((at, account));
    }

    pub(crate) fn get(&self, id: &AccountId) -> Option<&Account> {
        self.versions.get(id)?.last()?.1.as_ref()
    }

    /// Every account that is there.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.versions.values().filter_map(|versions| versions.last()?.1.as_ref())
    }

    /// Every account as a reader sees it.
    fn seen(&self, now: u64) -> Vec<Account> {
        let lag = self.weather.iter().find_map(|weather| {
            if let Weather::Stale(lag) = weather { Some((*lag).min(self.visible_within)) } else { None }
        });
        let at = now - lag.unwrap_or(0).min(now);
        let shown = |versions: &Vec<(u64, Option<Account>)>| {
            versions.iter().rev().find(|(from, _)| *from <= at).and_then(|(_, account)| account.clone())
        };
        self.versions.values().filter_map(shown).collect()
    }

    fn is(&self, weather: &Weather) -> bool {
        self.weather.contains(weather)
    }

    fn slowness(&self) -> u64 {
        let slow =
            self.weather.iter().find_map(|weather| if let Weather::Slow(by) = weather { Some(*by) } else { None });
        slow.unwrap_or(self.latency)
    }

    fn act(&mut self, now: u64, operation: &Operation) -> Result<(Option<Account>, Option<Account>), ErrorClass> {
        match operation {
            Operation::Create { values, memberships } => {
                let name = text(values, &AttributePath::user_name()).to_lowercase();
                if self.unique && self.accounts().any(|account| lower(account) == name) {
                    return Err(ErrorClass::Exists);
                }
                let id = self.insert(now, values.clone(), memberships.clone());
                Ok((None, Some(self.get(&id).cloned().unwrap())))
            }
            Operation::Update { seen, set, clear, active, add, remove } => {
                let before = self.get(&seen.id).cloned().ok_or(ErrorClass::NotFound)?;
                let mut account = before.clone();
                account.values.extend(set.clone());
                account.values.retain(|path, _| !clear.contains(path));
                account.memberships.extend(add.iter().cloned());
                account.memberships.retain(|membership| !remove.contains(membership));
                match active {
                    Some(true) => account.state = AccountState::Active,
                    Some(false) => account.state = AccountState::Disabled,
                    None => {}
                }
                self.put(now, seen.id.clone(), Some(account.clone()));
                Ok((Some(before), Some(account)))
            }
            Operation::Delete { seen } => {
                let before = self.get(&seen.id).cloned();
                self.put(now, seen.id.clone(), None);
                Ok((before, None))
            }
        }
    }
}

/// The values of an account that nobody declared.
pub(crate) fn values(name: &str, mark: Option<&str>) -> Values {
    let mut values = BTreeMap::from([(AttributePath::user_name(), Value::from(name))]);
    values.extend(mark.map(|mark| (AttributePath::external_id(), Value::from(mark))));
    values
}

pub(crate) fn text<'a>(values: &'a Values, path: &AttributePath) -> &'a str {
    values.get(path).and_then(Value::as_str).unwrap_or_default()
}

fn lower(account: &Account) -> String {
    account.user_name().unwrap_or_default().to_lowercase()
}

impl Inner {
    /// Lets writes act whose time has come.
    pub(crate) fn catch_up(&mut self) {
        let now = self.now();
        for target in 0..self.targets.len() {
            let mut due: Vec<_> = self.targets[target].late.extract_if(.., |(at, ..)| *at <= now).collect();
            due.sort_by_key(|(at, call, _)| (*at, *call));
            for (at, call, operation) in due {
                self.acts_late(target, at, call, &operation);
            }
        }
    }

    /// A write that nobody waits for any more acts, or does not.
    fn acts_late(&mut self, target: usize, at: u64, call: u64, operation: &Operation) {
        if let Ok((before, after)) = self.targets[target].act(at, operation) {
            self.note(Event::Acted { call, target, before, after });
        }
    }

    fn acts(&mut self, target: usize, call: u64, operation: &Operation) -> Result<Applied, ConnectorError> {
        let now = self.now();
        match self.targets[target].act(now, operation) {
            Ok((before, after)) => {
                self.note(Event::Acted { call, target, before, after: after.clone() });
                Ok(Applied { account: after })
            }
            Err(class) => Err(error(class, None)),
        }
    }
}

fn error(class: ErrorClass, wait: Option<u64>) -> ConnectorError {
    let message = format!("the target answers `{}`; wait for it", class.as_str());
    ConnectorError { class, message, retry_after: wait.map(Duration::from_secs) }
}

/// The connector of one target.
pub(crate) struct Door {
    pub(crate) world: Arc<World>,
    pub(crate) target: usize,
}

/// A write whose sender may die while it is on its way.
struct OnItsWay {
    world: Arc<World>,
    target: usize,
    call: u64,
    operation: Arc<Operation>,
    arrived: bool,
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        // Every other one arrives all the same.
        if !self.arrived && self.call.is_multiple_of(2) {
            let mut inner = self.world.open();
            let at = inner.now() + self.call % 7 * 100;
            inner.targets[self.target].late.push((at, self.call, Arc::clone(&self.operation)));
        }
    }
}

impl Door {
    /// The way to the target; whoever reads what it holds comes through here.
    async fn enter(&self, writes: bool) -> Result<(), ConnectorError> {
        let (slow, hangs, shut) = {
            let mut inner = self.world.open();
            inner.catch_up();
            let held = &inner.targets[self.target];
            (held.slowness(), held.is(&Weather::Hangs), held.is(&Weather::Shut))
        };
        if hangs {
            tokio::time::sleep(CALL_LIMIT).await;
            self.world.alive().await;
            return Err(error(if writes { ErrorClass::Uncertain } else { ErrorClass::Transient }, None));
        }
        if slow > 0 {
            tokio::time::sleep(Duration::from_millis(slow)).await;
        }
        self.world.alive().await;
        self.world.open().catch_up();
        if shut { Err(error(ErrorClass::Door, None)) } else { Ok(()) }
    }

    async fn write(&self, operation: &Operation) -> Result<Applied, ConnectorError> {
        self.world.alive().await;
        let (call, fault) = {
            let mut inner = self.world.open();
            inner.calls += 1;
            let call = inner.calls;
            inner.note(Event::Call { call, target: self.target, operation: Arc::new(operation.clone()) });
            (call, inner.targets[self.target].faults.pop_front())
        };
        let begun = self.now();
        let answer = self.sent((call, begun), operation, fault).await;
        self.world.alive().await;
        let error = answer.as_ref().err().map(|error| error.class);
        self.world.note(Event::Answered { call, error });
        answer
    }

    async fn sent(
        &self,
        (call, begun): (u64, u64),
        operation: &Operation,
        fault: Option<Fault>,
    ) -> Result<Applied, ConnectorError> {
        self.may_die(false).await;
        let mut way = OnItsWay {
            world: Arc::clone(&self.world),
            target: self.target,
            call,
            operation: Arc::new(operation.clone()),
            arrived: fault.is_some(),
        };
        if let Err(error) = self.enter(true).await {
            way.arrived = true;
            return Err(error);
        }
        way.arrived = true;
        let acts = || self.world.open().acts(self.target, call, operation);
        let lost = Err(error(ErrorClass::Uncertain, None));
        let answer = match fault {
            None => acts(),
            Some(Fault::Refuse(class, wait)) => Err(error(class, wait)),
            Some(Fault::LoseReply) => acts().and(lost),
            Some(Fault::LoseRequest) => lost,
            Some(Fault::Late(by)) => {
                let mut inner = self.world.open();
                let at = inner.now().max(begun + by);
                inner.targets[self.target].late.push((at, call, Arc::new(operation.clone())));
                lost
            }
            Some(Fault::Ignore) => self.pretend(operation),
            Some(Fault::Hang(done)) => {
                if done {
                    drop(acts());
                }
                std::future::pending().await
            }
        };
        self.may_die(true).await;
        answer
    }

    fn pretend(&self, operation: &Operation) -> Result<Applied, ConnectorError> {
        match operation {
            Operation::Create { .. } => Err(error(ErrorClass::Uncertain, None)),
            Operation::Update { seen, .. } => {
                let account = self.world.open().targets[self.target].get(&seen.id).cloned();
                let shown = account.map(|account| Applied { account: Some(account) });
                shown.ok_or_else(|| error(ErrorClass::NotFound, None))
            }
            Operation::Delete { seen } => {
                Ok(Applied { account: self.world.open().targets[self.target].get(&seen.id).cloned() })
            }
        }
    }

    /// Dies here, if this is the write that somebody said.
    async fn may_die(&self, acted: bool) {
        let dies = {
            let mut inner = self.world.open();
            match &mut inner.death {
                Some(Death::InCall { after, acted: when }) if *when == acted => {
                    *after = after.saturating_sub(1);
                    *after == 0
                }
                _ => false,
            }
        };
        if dies {
            self.world.end("dies in a call");
            std::future::pending::<()>().await;
        }
    }

    fn weather<T>(&self, of: impl Fn(&Weather) -> Option<T>) -> Option<T> {
        self.world.open().targets[self.target].weather.iter().find_map(of)
    }

    /// What a reader sees now.
    fn seen(&self) -> Vec<Account> {
        let mut inner = self.world.open();
        let now = inner.now();
        let held = &mut inner.targets[self.target];
        held.reads += 1;
        let odd = held.reads % 2 == 1;
        let mut seen = held.seen(now);
        if odd && held.is(&Weather::Flapping) {
            for account in &mut seen {
                let given = account.values.iter_mut().filter(|(path, _)| path.as_str() == "name.givenName");
                given.for_each(|(_, value)| *value = format!("{} ", value.as_str().unwrap_or_default()).into());
            }
        }
        seen
    }

    fn now(&self) -> u64 {
        self.world.open().now()
    }

    fn note_read(&self, began: u64, what: &'static str, count: usize, proven: bool) {
        self.world.note(Event::Read { target: self.target, began, what, count, proven });
    }
}

#[async_trait]
impl Connector for Door {
    fn capabilities(&self) -> Capabilities {
        let visible = self.world.open().targets[self.target].visible_within;
        Capabilities {
            batch: 1,
            visible_within: Duration::from_millis(visible),
            call_limit: CALL_LIMIT,
            reactivates: true,
        }
    }

    fn canonicalize(&self, _: &AttributePath, value: &Value) -> Value {
        value.clone()
    }

    async fn probe(&self) -> Result<Probe, ConnectorError> {
        self.world.alive().await;
        self.enter(false).await?;
        Ok(Probe { realm: format!("realm-{}", self.target).into(), own_account: None })
    }

    async fn observe(&self, _: &Shape, pages: mpsc::Sender<Vec<Account>>) -> Result<Coverage, ConnectorError> {
        self.world.alive().await;
        let began = self.now();
        self.enter(false).await?;
        let fails = self.weather(|weather| if let Weather::NoLists(class) = weather { Some(*class) } else { None });
        if let Some(class) = fails {
            return Err(error(class, None));
        }
        let cut = self.weather(|weather| if let Weather::Cut(after) = weather { Some(*after) } else { None });
        let turned = self.weather(|weather| (*weather == Weather::Turned).then_some(()));
        let mut shown = 0;
        let mut page = 0;
        loop {
            // Each page shows what is there when it is asked for.
            let mut accounts = self.seen();
            if turned.is_some() {
                accounts.reverse();
                let first = accounts.first().cloned();
                accounts.extend(first);
            }
            accounts.truncate(cut.unwrap_or(usize::MAX));
            let next: Vec<_> = accounts.iter().skip(page * PAGE).take(PAGE).cloned().collect();
            if next.is_empty() {
                break;
            }
            shown += next.len();
            if pages.send(next).await.is_err() {
                break;
            }
            page += 1;
            self.enter(false).await?;
        }
        let coverage = match (cut, turned) {
            (Some(_), _) => Coverage::Partial("the listing was cut".to_owned()),
            (None, Some(())) => Coverage::Partial("an account came twice".to_owned()),
            (None, None) if shown != self.seen().len() => Coverage::Partial("the count changed".to_owned()),
            (None, None) => Coverage::Complete,
        };
        self.note_read(began, "list", shown, coverage == Coverage::Complete);
        Ok(coverage)
    }

    async fn fetch(&self, _: &Shape, look: &Look) -> Result<Found, ConnectorError> {
        self.world.alive().await;
        let began = self.now();
        self.enter(false).await?;
        let fails = self.weather(|weather| if let Weather::NoLooks(class) = weather { Some(*class) } else { None });
        if let Some(class) = fails {
            return Err(error(class, None));
        }
        let proven = self.weather(|weather| (*weather == Weather::Unproven).then_some(())).is_none();
        let fits = |account: &Account| match look {
            Look::Id(id) => account.id == *id,
            Look::Key(key, values) => key.0.iter().zip(values).all(|(path, value)| {
                text(&account.values, path).eq_ignore_ascii_case(value.as_str().unwrap_or_default())
            }),
        };
        let accounts: Vec<_> = self.seen().into_iter().filter(fits).collect();
        self.note_read(began, "look", accounts.len(), proven);
        Ok(Found { accounts, proven })
    }

    async fn apply(&self, _: &Shape, batch: &[Operation]) -> Vec<Result<Applied, ConnectorError>> {
        let mut answers = Vec::new();
        for operation in batch {
            answers.push(self.write(operation).await);
        }
        answers
    }
}
