//! Looking at a target: the door, whole listings, single users; and plans made from what was seen.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::accept;
use crate::connector::Connector;
use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connector::Look;
use crate::connector::Shape;
use crate::correlate::keys::Comparison;
use crate::engine::EngineError;
use crate::engine::ends;
use crate::engine::guardrail::Around;
use crate::engine::guardrail::Guardrail;
use crate::engine::identity::Identities;
use crate::engine::requests::shown_at_gate;
use crate::engine::shared::Handle;
use crate::engine::shared::Shared;
use crate::http::rate;
use crate::http::rate::Caller;
use crate::http::rate::Rate;
use crate::model::account::Account;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::hand::Hands;
use crate::model::ids::AccountId;
use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::model::path::AttributePath;
use crate::model::plan::Coverage;
use crate::model::plan::Plan;
use crate::model::projection::Desired;
use crate::model::projection::Wishes;
use crate::model::snapshot::Snapshot;
use crate::model::target::Mark;
use crate::model::target::MatchKey;
use crate::model::target::Target;
use crate::plan::Known;
use crate::plan::PlanInput;
use crate::plan::Planned;
use crate::plan::Planner;
use crate::project::Projections;
use crate::project::Projector;
use crate::project::Table;
use crate::schedule::Freezes;
use crate::store::Store;
use crate::store::StoreError;

/// Causes of one target, by user and entitlement (`None`: the account itself).
pub type Causes = BTreeMap<(RecordId, Option<EntitlementName>), Cause>;

/// Why a look gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The target did not answer.
    #[error(transparent)]
    Target(#[from] ConnectorError),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Everything that a plan of one target starts from, apart from the accounts.
#[derive(Clone)]
pub struct View {
    /// What its document says.
    pub target: Arc<Target>,
    /// Target, environment, realm.
    pub space: Space,
    /// The account of our own credential.
    pub own_account: Option<AccountId>,
    /// What users should have.
    pub desired: Arc<dyn Wishes>,
    /// Who is linked to what.
    pub links: Arc<BTreeMap<RecordId, Link>>,
    /// Why access narrows.
    pub causes: Arc<Causes>,
    /// What is remembered of other hands.
    pub hands: Arc<Hands>,
    /// Who was who.
    pub known: Arc<Known>,
    /// What is read of each account.
    pub shape: Arc<Shape>,
    /// How the target is reached.
    pub connector: Arc<dyn Connector>,
    /// How many requests a second it gets.
    pub rate: Rate,
    /// The moment of its plans, in the time by which windows slide.
    pub now: DateTime<Utc>,
    /// The same, where it went on while the clock was doubted.
    pub passed: DateTime<Utc>,
}

impl View {
    /// Plans `accounts`, which `coverage` describes; `records` limits a keyed plan.
    pub fn plan(
        &self,
        accounts: impl IntoIterator<Item = Account>,
        coverage: Coverage,
        records: Option<&BTreeSet<RecordId>>,
        unproven: &BTreeSet<RecordId>,
    ) -> Planned {
        let canonicalize = |path: &AttributePath, value: &serde_json::Value| self.connector.canonicalize(path, value);
        let mut planner = Planner::new(self.input(&canonicalize, records, unproven));
        show(&mut planner, accounts);
        planner.finish(coverage)
    }

    /// Lists the target and plans while the pages come.
    pub async fn observe(&self, records: Option<&BTreeSet<RecordId>>) -> Result<Planned, ConnectorError> {
        self.observe_seeking(records, &[]).await.map(|(planned, _)| planned)
    }

    /// The same; and the accounts that one of these creations may have made.
    pub async fn observe_seeking(
        &self,
        records: Option<&BTreeSet<RecordId>>,
        creations: &[Change],
    ) -> Result<(Planned, BTreeMap<AccountId, Account>), ConnectorError> {
        let canonicalize = |path: &AttributePath, value: &serde_json::Value| self.connector.canonicalize(path, value);
        let nobody = BTreeSet::new();
        let mut planner = Planner::new(self.input(&canonicalize, records, &nobody));
        let (sender, mut pages) = mpsc::channel(2);
        let listing = rate::paged(&self.rate, self.connector.observe(&self.shape, sender));
        let mut sought = BTreeMap::new();
        let reading = async {
            while let Some(page) = pages.recv().await {
                let fits = |account: &&Account| creations.iter().any(|change| self.resembles(change, account));
                sought.extend(page.iter().filter(fits).map(|account| (account.id.clone(), account.clone())));
                show(&mut planner, page);
            }
        };
        let (coverage, ()) = tokio::join!(listing, reading);
        Ok((planner.finish(coverage?), sought))
    }

    /// Whether anything by which accounts are told apart says that a creation may have made this one.
    fn resembles(&self, change: &Change, account: &Account) -> bool {
        let canonicalize = |path: &AttributePath, value: &serde_json::Value| self.connector.canonicalize(path, value);
        let policy = &self.target.account;
        let comparison = Comparison { policy, canonicalize: &canonicalize };
        let sent = |path: &AttributePath| change.fields.iter().find(|field| field.path == *path)?.after.as_ref();
        let same = |path: &AttributePath| {
            sent(path).zip(account.values.get(path)).is_some_and(|(sent, held)| comparison.same(path, sent, held))
        };
        let marked = match &policy.mark {
            Mark::At(path) => account.values.get(path).and_then(|value| value.as_str()) == Some(change.record.as_str()),
            Mark::None => false,
        };
        marked || same(&AttributePath::user_name()) || policy.match_keys.iter().any(|key| key.0.iter().all(same))
    }

    /// The laws over a finished plan, by code that distrusts the planner.
    pub fn violations(&self, planned: &Planned) -> Vec<String> {
        let canonicalize = |path: &AttributePath, value: &serde_json::Value| self.connector.canonicalize(path, value);
        crate::plan::check::check_seen(planned, &self.input(&canonicalize, None, &BTreeSet::new()))
    }

    fn input<'a>(
        &'a self,
        canonicalize: &'a (dyn Fn(&AttributePath, &serde_json::Value) -> serde_json::Value + Sync),
        records: Option<&'a BTreeSet<RecordId>>,
        unproven: &'a BTreeSet<RecordId>,
    ) -> PlanInput<'a> {
        PlanInput {
            target: &self.target,
            space: &self.space,
            desired: &*self.desired,
            links: &self.links,
            causes: &self.causes,
            hands: &self.hands,
            known: &self.known,
            canonicalize,
            own_account: self.own_account.as_ref(),
            records,
            unproven,
            now: self.now,
            passed: self.passed,
        }
    }
}

fn show(planner: &mut Planner<'_>, accounts: impl IntoIterator<Item = Account>) {
    for account in accounts {
        planner.observe(account);
    }
}

/// What one user's look-ups found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Looked {
    /// Accounts that may be the user's, by id.
    pub accounts: BTreeMap<AccountId, Account>,
    /// Whether "nothing else" is proven.
    pub proven: bool,
}

/// By what an account of one user is found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sought<'a> {
    /// The account that the user is known to have.
    pub link: Option<&'a Link>,
    /// What the user should have.
    pub desired: Option<&'a Desired>,
    /// A call for this user whose end nobody knows.
    pub open: Option<&'a Change>,
    /// Accounts that the user had until looks found them gone.
    pub gone: &'a [AccountId],
    /// An id by which an account may be marked, where no document says a name any more.
    pub marked: Option<&'a RecordId>,
}

/// Looks one user up: by link where there is one, else by every match key and the user name, as
/// they are wanted now and as a call sent them whose end nobody knows (`open`). What that call left
/// is there even if the user wants another name by now, or nothing at all.
pub async fn look_up(
    connector: &dyn Connector,
    shape: &Shape,
    target: &Target,
    sought: Sought<'_>,
) -> Result<Looked, ConnectorError> {
    let Sought { link, desired, open, gone, marked } = sought;
    let mut looks: Vec<_> = gone.iter().cloned().map(Look::Id).collect();
    match (link, desired) {
        (Some(link), _) => looks.push(Look::Id(link.account.clone())),
        (None, Some(Desired::Account(projection))) => add_keys(target, &mut looks, |path| {
            projection.values.get(path).and_then(|projected| projected.value.clone())
        }),
        (None, _) => {}
    }
    // What a creation made beside an account that a person linked must be seen, too, and so must what a
    // deletion is about that is not the user's account any more.
    let beside = |change: &Change| link.is_none_or(|link| change.account.as_ref() != Some(&link.account));
    if let Some(change) = open.filter(|change| beside(change)) {
        looks.extend(change.account.clone().map(Look::Id));
        add_keys(target, &mut looks, |path| {
            change.fields.iter().find(|field| field.path == *path).and_then(|field| field.after.clone())
        });
    }
    if let Some((record, Mark::At(mark))) = marked.map(|record| (record, &target.account.mark)) {
        add_keys(target, &mut looks, |path| (path == mark).then(|| record.as_str().into()));
    }
    let mut looked = Looked { accounts: BTreeMap::new(), proven: true };
    for look in looks {
        let found = connector.fetch(shape, &look).await?;
        looked.proven &= found.proven;
        looked.accounts.extend(found.accounts.into_iter().map(|account| (account.id.clone(), account)));
    }
    Ok(looked)
}

/// Every way by which an account with these values could be there already.
fn add_keys(target: &Target, looks: &mut Vec<Look>, value: impl Fn(&AttributePath) -> Option<serde_json::Value>) {
    let user_name = MatchKey(vec![AttributePath::user_name()]);
    let mark = match &target.account.mark {
        Mark::At(path) => Some(MatchKey(vec![path.clone()])),
        Mark::None => None,
    };
    let mut keys: Vec<_> = target.account.match_keys.clone();
    keys.extend(mark);
    keys.push(user_name);
    for key in keys {
        let values: Option<Vec<_>> = key.0.iter().map(&value).collect();
        if let Some(values) = values {
            let look = Look::Key(key, values);
            if !looks.contains(&look) {
                looks.push(look);
            }
        }
    }
}

/// What is read of each account of a target, apart from what links grant.
pub fn shape(projector: &Projector) -> Shape {
    let target = projector.target();
    let mut shape = Shape { paths: projector.shape_paths(), memberships: BTreeSet::new() };
    shape.paths.extend(target.account.match_keys.iter().flat_map(|key| key.0.iter().cloned()));
    if let Mark::At(path) = &target.account.mark {
        shape.paths.insert(path.clone());
    }
    shape.memberships.extend(target.entitlements.values().map(|entry| entry.membership.clone()));
    shape
}

/// So long whoever asks waits for a target that wants to be left alone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nobody who asks is kept waiting for longer than that.
fn refuse_to_wait(rate: &Rate) -> Result<(), ConnectorError> {
    let wait = rate.paused_until().map(|until| until.saturating_duration_since(Instant::now()));
    match wait.filter(|wait| *wait > PATIENCE) {
        None => Ok(()),
        Some(wait) => Err(ConnectorError {
            class: ErrorClass::RateLimited,
            message: format!("the target asked to be left alone for {} s more; ask again then", wait.as_secs()),
            retry_after: Some(wait),
        }),
    }
}

/// What the store knows of a space, with the door asked for the realm.
///
/// `desired` is what users of `snapshot` should have: whoever is left out passes for one who is gone.
pub async fn view(
    shared: &Shared,
    handle: &Handle,
    snapshot: &Snapshot,
    desired: Arc<dyn Wishes>,
) -> Result<View, LookError> {
    refuse_to_wait(&handle.rate)?;
    let probe = rate::in_turn(&handle.rate, Caller::Other, handle.connector.probe()).await?;
    let target = Arc::clone(&handle.target);
    let space = Space { target: target.name.clone(), environment: target.environment.clone(), realm: probe.realm };
    let links = shared.store.links(&space).await?;
    let causes = causes(&*shared.store, &handle.projector, Some(snapshot)).await?;
    let hands = shared.store.hands(&space).await?;
    let mut shape = shape(&handle.projector);
    shape.memberships.extend(links.values().flat_map(|link| link.granted.iter().cloned()));
    let known = known(shared, &space, &links, (snapshot, &*desired)).await?;
    Ok(View {
        target,
        space,
        own_account: probe.own_account,
        desired,
        links: Arc::new(links),
        causes: Arc::new(causes),
        hands: Arc::new(hands),
        known: Arc::new(known),
        shape: Arc::new(shape),
        connector: Arc::clone(&handle.connector),
        rate: handle.rate.clone(),
        now: shared.window_now(),
        passed: shared.passed_now(),
    })
}

/// What a plan must know of who was who. A user whom `desired` leaves out may want an account.
async fn known(
    shared: &Shared,
    space: &Space,
    links: &BTreeMap<RecordId, Link>,
    (snapshot, desired): (&Snapshot, &dyn Wishes),
) -> Result<Known, StoreError> {
    let mut identities = Identities::of(&*shared.store, space, links).await?;
    drop(identities.review(snapshot, links, None, shared.now()));
    let wants = |record: &RecordId| !matches!(desired.of(record).as_deref(), Some(Desired::None(_)));
    Ok(identities.known(snapshot, links, wants))
}

/// Remembered causes of a target, as the planner takes them.
///
/// What an end date takes that one load gave to many is inferred, unless something clearer was
/// remembered.
pub async fn causes(
    store: &dyn Store,
    projector: &Arc<Projector>,
    snapshot: Option<&Snapshot>,
) -> Result<Causes, StoreError> {
    let remembered = store.causes(&projector.target().name).await?;
    let mut causes: Causes =
        remembered.into_iter().map(|(key, cause)| ((key.record, key.entitlement), cause)).collect();
    let mass = ends::mass(store).await?;
    if let Some(snapshot) = snapshot.filter(|_| !mass.is_empty()) {
        for key in accept::ends::taken_by(projector, snapshot, &mass) {
            causes.entry(key).or_insert(Cause::Inferred);
        }
    }
    Ok(causes)
}

/// What users of `snapshot` should have at `now` in the target of `handle`.
pub fn desired(shared: &Shared, handle: &Handle, snapshot: &Arc<Snapshot>, now: DateTime<Utc>) -> Arc<Projections> {
    let mut table = Table::new(Arc::clone(&handle.projector));
    table.begin(snapshot, &shared.said.load().revoked, now);
    table.projections()
}

/// What one user, under whichever of these record ids, should have, other users apart; `None`: nobody
/// declares the user, and nobody revoked them.
pub fn desired_of(shared: &Shared, handle: &Handle, ids: &BTreeSet<RecordId>) -> Option<Desired> {
    let (said, now) = (shared.said.load(), shared.judged());
    if let Some((id, revocation)) = ids.iter().find_map(|id| Some((id, said.revoked.of(id, &[], now)?))) {
        return Some(Desired::None(revocation.no_access(id)));
    }
    let snapshot = shared.snapshot()?;
    let user = ids.iter().find_map(|id| snapshot.users.get(id))?;
    Some(handle.projector.desired(&user, &snapshot.roles, now))
}

/// Plans a cycle of a target as it would be at `now`; writes nothing anywhere.
pub async fn plan(
    shared: &Shared,
    target: &TargetName,
    (snapshot, now): (Option<Arc<Snapshot>>, DateTime<Utc>),
    records: Option<BTreeSet<RecordId>>,
) -> Result<Plan, EngineError> {
    let handle = shared.handle(target)?;
    let snapshot = snapshot.or_else(|| shared.snapshot()).ok_or_else(|| no_snapshot(shared))?;
    let mut view = view(shared, &handle, &snapshot, desired(shared, &handle, &snapshot, now)).await?;
    // What is planned for later is judged by the waits, windows and freezes of then.
    let ahead = now - shared.judged();
    view.now = view.now.checked_add_signed(ahead).unwrap_or(view.now);
    view.passed = view.passed.checked_add_signed(ahead).unwrap_or(view.passed);
    let planned = view.observe(records.as_ref()).await.map_err(LookError::from)?;
    let guardrail = Guardrail::of(shared, &view.space, &view.links).await?;
    let plan = shown_at_gate(shared, &view.target, planned.plan, (&snapshot, &*view.desired)).await?;
    let dated = ends::dated(shared, (&snapshot, ahead), &view.causes, plan.changes.iter()).await?;
    let active = plan.accounts.iter().filter(|(state, _)| state.gives_access()).map(|(_, count)| count).sum::<u64>();
    let around = Around {
        populated: plan.accounts.values().sum::<u64>() > 0,
        dated: Cow::Owned(dated),
        seats_taken: active.max(view.links.values().filter(|link| !link.disabled_by_us).count() as u64),
        census: planned.census,
        frozen: Freezes::new(&view.target.freeze).until(shared.now().checked_add_signed(ahead).unwrap_or(now)),
        ahead,
        ..Around::default()
    };
    Ok(guardrail.guard(shared, &view.target, plan, &around).await?)
}

/// Why there is nothing to plan from.
pub fn no_snapshot(shared: &Shared) -> EngineError {
    let status = shared.source_status();
    let why = status.error.or_else(|| status.problems.first().cloned());
    EngineError::NoSnapshot(why.unwrap_or_else(|| "the source was not read yet".to_owned()))
}
