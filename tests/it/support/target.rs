//! An in-memory target that does what it is told, misbehaviour included.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use chrono::Utc;
use rosterd::connector::Applied;
use rosterd::connector::Capabilities;
use rosterd::connector::Connector;
use rosterd::connector::ConnectorError;
use rosterd::connector::ErrorClass;
use rosterd::connector::Found;
use rosterd::connector::Look;
use rosterd::connector::Operation;
use rosterd::connector::PasswordPaths;
use rosterd::connector::Probe;
use rosterd::connector::Shape;
use rosterd::model::account::Account;
use rosterd::model::account::AccountState;
use rosterd::model::account::Membership;
use rosterd::model::ids::AccountId;
use rosterd::model::ids::TargetName;
use rosterd::model::path::AttributePath;
use rosterd::model::plan::Coverage;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What goes wrong with one write.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing is done and this is answered.
    Refuse(ErrorClass, Option<Duration>),
    /// It is done, and nobody learns.
    LoseReply,
    /// It is not done, and nobody learns.
    LoseRequest,
    /// It is answered as done and left undone.
    Ignore,
    /// Of what it gives only the first is given, and nobody learns.
    Half,
    /// Nobody learns, and it is done so much later.
    ActLate(Duration),
    /// A deletion is answered as taken, and done so much later.
    PurgeLate(Duration),
}

/// A call that was taken in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) at: Instant,
    /// `create u-1`, `update 3`, `fetch`, `list`.
    pub(crate) what: String,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own, and any may come together")]
pub(crate) struct Inside {
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) calls: Vec<Call>,
    /// Faults of the next writes, in order.
    pub(crate) faults: VecDeque<Fault>,
    /// Writes about this user name always fail so.
    pub(crate) bad_user: Option<(String, ErrorClass)>,
    /// Look-ups always fail so.
    pub(crate) bad_looks: Option<ErrorClass>,
    /// Listings always fail so.
    pub(crate) bad_lists: Option<ErrorClass>,
    /// Nobody gets in.
    pub(crate) shut: bool,
    /// No probe and no listing ever answers.
    pub(crate) hangs: bool,
    /// What a listing proves; `None`: complete. Only the first `usize` accounts are listed.
    pub(crate) partial: Option<usize>,
    /// Look-ups prove nothing.
    pub(crate) unproven: bool,
    /// So many look-ups by id say that nobody is there, whoever is.
    pub(crate) blind_looks: u32,
    /// Until then every look-up by id says so.
    pub(crate) blind_until: Option<Instant>,
    /// Look-ups of these accounts take so much longer.
    pub(crate) slow_looks: BTreeMap<AccountId, Duration>,
    /// No call ever ends.
    pub(crate) silent: bool,
    /// No listing ever ends.
    pub(crate) silent_lists: bool,
    /// The code that talks to it panics in every call.
    pub(crate) panics: bool,
    /// It panics so often when it is asked what it can do, which workers ask in their own task.
    pub(crate) worker_panics: u32,
    /// What its answers say the time is: what it was at an instant.
    pub(crate) time: Option<(DateTime<Utc>, Instant)>,
    /// Attributes that are the target's own: what is written there does not stay.
    pub(crate) controlled: BTreeSet<AttributePath>,
    /// Attributes that no write may hold.
    pub(crate) refused: BTreeSet<AttributePath>,
    /// Attributes that are answered as written and dropped after.
    pub(crate) echoed: BTreeSet<AttributePath>,
    /// Two attributes of which a write of the one makes the other from it.
    pub(crate) coupled: Option<[AttributePath; 2]>,
    /// What is deleted may be had back.
    pub(crate) keeps_deleted: bool,
    /// Memberships are answered and left as they are.
    pub(crate) deaf_to_groups: bool,
    /// What the target says of how late it shows a write.
    pub(crate) visible_within: Duration,
    /// How long each call takes.
    pub(crate) latency: Duration,
    /// The tenant that the credential belongs to; `memory` where none is set.
    pub(crate) realm: Option<String>,
    /// Listings show what was there so long ago.
    pub(crate) stale_lists: Duration,
    /// Whether creations take passwords.
    pub(crate) takes_passwords: bool,
    /// The passwords of accounts by user name, and whether they are to be changed; kept apart, since no
    /// account shows them.
    pub(crate) passwords: BTreeMap<String, (String, bool)>,
    /// The answer to a write repeats the password.
    pub(crate) repeats_passwords: bool,
    /// What is done later than its call ended.
    late: Vec<(Instant, Operation)>,
    /// When each account was made.
    made: BTreeMap<AccountId, Instant>,
    next: u64,
}

#[derive(Default)]
pub(crate) struct MemoryTarget {
    inside: Mutex<Inside>,
}

impl MemoryTarget {
    /// A system for each of these targets, the first of them in the realm `memory`.
    pub(crate) fn of_each(names: impl IntoIterator<Item = TargetName>) -> BTreeMap<TargetName, Arc<Self>> {
        let system = |(number, name): (usize, TargetName)| {
            let system = Self::default();
            system.inside().realm = (number > 0).then(|| format!("memory-{name}"));
            (name, Arc::new(system))
        };
        names.into_iter().enumerate().map(system).collect()
    }

    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        let mut inside = self.inside.lock().unwrap();
        let due: Vec<_> = inside.late.extract_if(.., |(at, _)| *at <= Instant::now()).collect();
        for (_, operation) in due {
            drop(inside.apply(&operation));
        }
        inside
    }

    /// Puts an account there that rosterd did not make.
    pub(crate) fn put(&self, user_name: &str, state: AccountState) -> AccountId {
        let mut inside = self.inside();
        let values = BTreeMap::from([(AttributePath::user_name(), Value::from(user_name))]);
        inside.insert(values, BTreeSet::new(), state)
    }

    pub(crate) fn by_name(&self, user_name: &str) -> Option<Account> {
        self.inside().accounts.values().find(|account| account.user_name() == Some(user_name)).cloned()
    }

    /// How many calls of this kind were taken in.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.inside().calls.iter().filter(|call| call.what.starts_with(what)).count()
    }

    fn error(class: ErrorClass, message: &str) -> ConnectorError {
        ConnectorError { class, message: message.to_owned(), retry_after: None }
    }

    async fn enter(&self, what: String) -> Result<(), ConnectorError> {
        let lists = what == "list";
        let (latency, hangs, silent, panics) = {
            let mut inside = self.inside();
            inside.calls.push(Call { at: Instant::now(), what });
            (inside.latency, inside.hangs, inside.silent || (lists && inside.silent_lists), inside.panics)
        };
        assert!(!panics, "the connector panics");
        if silent {
            std::future::pending::<()>().await;
        }
        if hangs {
            tokio::time::sleep(Duration::from_secs(10)).await;
            return Err(Self::error(ErrorClass::Transient, "the target did not answer within 10 s"));
        }
        tokio::time::sleep(latency).await;
        if self.inside().shut {
            return Err(Self::error(ErrorClass::Door, "the token is not taken (401); put a new one in place"));
        }
        Ok(())
    }

    async fn write(&self, operation: &Operation) -> Result<Applied, ConnectorError> {
        let what = match operation {
            Operation::Create { values, .. } => format!("create {}", text(values, &AttributePath::user_name())),
            Operation::Update { seen, active, .. } => match active {
                Some(false) => format!("disable {}", seen.id),
                Some(true) => format!("enable {}", seen.id),
                None => format!("update {}", seen.id),
            },
            Operation::Delete { seen } => format!("delete {}", seen.id),
        };
        self.enter(what).await?;
        let mut inside = self.inside();
        if let (true, Operation::Create { values, .. }) = (inside.repeats_passwords, operation) {
            let message = format!("`{}` is too weak", text(values, &path("password")));
            return Err(Self::error(ErrorClass::Refused, &message));
        }
        if let Some((name, class)) = &inside.bad_user
            && match operation {
                Operation::Create { values, .. } => text(values, &AttributePath::user_name()) == *name,
                Operation::Update { seen, .. } | Operation::Delete { seen } => seen.user_name() == Some(name.as_str()),
            }
        {
            return Err(Self::error(*class, "the target does not like this user"));
        }
        match inside.faults.pop_front() {
            None => inside.apply(operation),
            Some(Fault::Refuse(class, retry_after)) => {
                Err(ConnectorError { retry_after, ..Self::error(class, "the target refuses") })
            }
            Some(Fault::LoseReply) => {
                inside.apply(operation)?;
                Err(Self::error(ErrorClass::Uncertain, "the reply was lost"))
            }
            Some(Fault::LoseRequest) => Err(Self::error(ErrorClass::Uncertain, "the request was lost")),
            Some(Fault::Ignore) => inside.pretend(operation),
            Some(Fault::Half) => {
                inside.apply(&half(operation))?;
                Err(Self::error(ErrorClass::Uncertain, "the line was cut in the middle"))
            }
            Some(Fault::ActLate(delay)) => {
                inside.late.push((Instant::now() + delay, operation.clone()));
                Err(Self::error(ErrorClass::Uncertain, "the target did not answer in time"))
            }
            Some(Fault::PurgeLate(delay)) => {
                inside.late.push((Instant::now() + delay, operation.clone()));
                inside.pretend(operation)
            }
        }
    }
}

impl Inside {
    fn insert(
        &mut self,
        values: BTreeMap<AttributePath, Value>,
        memberships: BTreeSet<Membership>,
        state: AccountState,
    ) -> AccountId {
        self.next += 1;
        let id = AccountId::from(format!("{:04}", self.next));
        let account = Account { id: id.clone(), state, values, memberships, version: None };
        self.accounts.insert(id.clone(), account);
        self.made.insert(id.clone(), Instant::now());
        id
    }

    /// Whether an account that was made just now shows already.
    fn shows(&self, account: &Account, delay: Duration) -> bool {
        self.made.get(&account.id).is_none_or(|made| made.elapsed() >= delay)
    }

    fn apply(&mut self, operation: &Operation) -> Result<Applied, ConnectorError> {
        match operation {
            Operation::Create { values, memberships } => {
                let name = text(values, &AttributePath::user_name()).to_lowercase();
                let taken =
                    |account: &Account| text(&account.values, &AttributePath::user_name()).to_lowercase() == name;
                if self.accounts.values().any(taken) {
                    return Err(MemoryTarget::error(ErrorClass::Exists, "userName is taken (409)"));
                }
                let mut values = values.clone();
                if let Some(password) = values.remove(&path("password")) {
                    let must = values.remove(&path("mustChange")).is_some();
                    self.passwords.insert(name, (password.as_str().unwrap().to_owned(), must));
                }
                let id = self.insert(values, memberships.clone(), AccountState::Active);
                Ok(Applied { account: Some(self.accounts[&id].clone()) })
            }
            Operation::Delete { seen } if self.keeps_deleted => {
                let missing = || MemoryTarget::error(ErrorClass::NotFound, "no such account (404)");
                let account = self.accounts.get_mut(&seen.id).ok_or_else(missing)?;
                account.state = AccountState::DeletedRecoverable;
                Ok(Applied { account: Some(account.clone()) })
            }
            Operation::Delete { seen } => {
                self.accounts.remove(&seen.id);
                Ok(Applied { account: None })
            }
            Operation::Update { set, .. } if set.keys().any(|path| self.refused.contains(path)) => {
                Err(MemoryTarget::error(ErrorClass::Refused, "the target does not take this attribute (400)"))
            }
            Operation::Update { seen, set, clear, active, add, remove } => {
                let (controlled, deaf) = (self.controlled.clone(), self.deaf_to_groups);
                let (echoed, coupled) = (self.echoed.clone(), self.coupled.clone());
                let missing = || MemoryTarget::error(ErrorClass::NotFound, "no such account (404)");
                let account = self.accounts.get_mut(&seen.id).ok_or_else(missing)?;
                let kept: Vec<_> =
                    echoed.iter().filter_map(|path| Some((path.clone(), account.values.get(path)?.clone()))).collect();
                account.values.extend(set.clone().into_iter().filter(|(path, _)| !controlled.contains(path)));
                match coupled {
                    Some([one, other]) if set.contains_key(&other) => {
                        account.values.insert(one, "made of the other".into());
                    }
                    Some([one, other]) if set.contains_key(&one) => {
                        account.values.insert(other, "made of the one".into());
                    }
                    Some(_) | None => {}
                }
                account.values.retain(|path, _| !clear.contains(path) || controlled.contains(path));
                if !deaf {
                    account.memberships.extend(add.iter().cloned());
                    account.memberships.retain(|membership| !remove.contains(membership));
                }
                match active {
                    Some(true) => account.state = AccountState::Active,
                    Some(false) => account.state = AccountState::Disabled,
                    None => {}
                }
                let answer = account.clone();
                account.values.extend(kept);
                Ok(Applied { account: Some(answer) })
            }
        }
    }

    fn pretend(&self, operation: &Operation) -> Result<Applied, ConnectorError> {
        match operation {
            Operation::Create { .. } => Err(MemoryTarget::error(ErrorClass::Uncertain, "an empty answer")),
            Operation::Update { seen, .. } | Operation::Delete { seen } => {
                Ok(Applied { account: Some(self.accounts[&seen.id].clone()) })
            }
        }
    }
}

fn half(operation: &Operation) -> Operation {
    let mut half = operation.clone();
    let (Operation::Update { add, .. } | Operation::Create { memberships: add, .. }) = &mut half else { return half };
    let first = add.pop_first();
    *add = first.into_iter().collect();
    half
}

fn path(text: &str) -> AttributePath {
    AttributePath::parse(text).unwrap()
}

fn text<'a>(values: &'a BTreeMap<AttributePath, Value>, path: &AttributePath) -> &'a str {
    values.get(path).and_then(Value::as_str).unwrap_or_default()
}

#[async_trait]
impl Connector for MemoryTarget {
    fn capabilities(&self) -> Capabilities {
        let left = self.inside().worker_panics;
        if left > 0 {
            self.inside().worker_panics = left - 1;
            panic!("what the target can do is not known");
        }
        Capabilities {
            batch: 1,
            visible_within: self.inside().visible_within,
            call_limit: Duration::from_secs(10),
            reactivates: true,
        }
    }

    fn time(&self) -> Option<DateTime<Utc>> {
        self.inside().time.map(|(at, since)| at + since.elapsed())
    }

    fn password(&self) -> Option<PasswordPaths> {
        let paths = PasswordPaths { value: path("password"), must_change: Some(path("mustChange")) };
        self.inside().takes_passwords.then_some(paths)
    }

    fn canonicalize(&self, _: &AttributePath, value: &Value) -> Value {
        value.clone()
    }

    async fn probe(&self) -> Result<Probe, ConnectorError> {
        self.enter("probe".to_owned()).await?;
        let realm = self.inside().realm.clone().unwrap_or_else(|| "memory".to_owned());
        Ok(Probe { realm: realm.into(), own_account: None })
    }

    async fn observe(&self, _: &Shape, pages: mpsc::Sender<Vec<Account>>) -> Result<Coverage, ConnectorError> {
        self.enter("list".to_owned()).await?;
        if let Some(class) = self.inside().bad_lists {
            return Err(Self::error(class, "the target does not list"));
        }
        let (accounts, partial) = {
            let inside = self.inside();
            let delay = inside.visible_within.max(inside.stale_lists);
            let shown = inside.accounts.values().filter(|account| inside.shows(account, delay));
            (shown.cloned().collect::<Vec<_>>(), inside.partial)
        };
        let shown = partial.unwrap_or(accounts.len()).min(accounts.len());
        for page in accounts[..shown].chunks(100) {
            if pages.send(page.to_vec()).await.is_err() {
                break;
            }
        }
        Ok(match partial {
            Some(_) => Coverage::Partial("the listing was cut".to_owned()),
            None => Coverage::Complete,
        })
    }

    async fn fetch(&self, _: &Shape, look: &Look) -> Result<Found, ConnectorError> {
        self.enter("fetch".to_owned()).await?;
        let slow = if let Look::Id(id) = look { self.inside().slow_looks.get(id).copied() } else { None };
        tokio::time::sleep(slow.unwrap_or_default()).await;
        let mut inside = self.inside();
        if let Some(class) = inside.bad_looks {
            return Err(Self::error(class, "the target does not look"));
        }
        if matches!(look, Look::Id(_)) && inside.blind_looks > 0 {
            inside.blind_looks -= 1;
            return Ok(Found { accounts: Vec::new(), proven: !inside.unproven });
        }
        if matches!(look, Look::Id(_)) && inside.blind_until.is_some_and(|until| Instant::now() < until) {
            return Ok(Found { accounts: Vec::new(), proven: !inside.unproven });
        }
        let fits = |account: &&Account| match look {
            Look::Id(id) => account.id == *id,
            Look::Key(key, values) => key.0.iter().zip(values).all(|(path, value)| {
                let (have, want) = (text(&account.values, path), value.as_str().unwrap_or_default());
                have.eq_ignore_ascii_case(want)
            }),
        };
        let visible = |account: &&Account| inside.shows(account, inside.visible_within);
        let accounts = inside.accounts.values().filter(fits).filter(visible).cloned().collect();
        Ok(Found { accounts, proven: !inside.unproven })
    }

    async fn apply(&self, _: &Shape, batch: &[Operation]) -> Vec<Result<Applied, ConnectorError>> {
        let mut answers = Vec::new();
        for operation in batch {
            answers.push(self.write(operation).await);
        }
        answers
    }
}
