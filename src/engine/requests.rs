//! Requests, seen from outside the workers: lists of them, and people's words about many at once.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::engine::EngineError;
use crate::engine::shared::Shared;
use crate::engine::shared::lock;
use crate::engine::worker::Message;
use crate::model::approval::AcceptRule;
use crate::model::approval::Approval;
use crate::model::ids::Digest;
use crate::model::ids::RecordId;
use crate::model::ids::RequestId;
use crate::model::ids::TargetName;
use crate::model::link::Space;
use crate::model::plan::Plan;
use crate::model::projection::Desired;
use crate::model::projection::Wishes;
use crate::model::request::Request;
use crate::model::request::RequestState;
use crate::model::request::Word;
use crate::model::snapshot::Snapshot;
use crate::model::target::Target;
use crate::model::user::User;
use crate::plan::findings;
use crate::plan::findings::Finding;
use crate::plan::gate::Gatekeeper;
use crate::plan::verdict;
use crate::plan::verdict::Moment;
use crate::plan::verdict::Refused;
use crate::plan::verdict::rights::Approver;
use crate::plan::weigh::Requests;
use crate::plan::weigh::Scales;
use crate::store::AccountFilter;
use crate::store::StoreError;

/// How long after an acceptance a folder shows it (S2.7).
const SHOWN: TimeDelta = TimeDelta::hours(24);

/// What one person says about requests of one target.
#[derive(Debug)]
pub struct Deciding {
    /// About which.
    pub ids: Vec<RequestId>,
    /// What.
    pub word: Word,
    /// Why.
    pub reason: Option<String>,
    /// Who.
    pub approver: Approver,
    /// Takes an answer for each of them, in their order.
    pub reply: oneshot::Sender<Vec<(RequestId, Result<Request, ItemError>)>>,
}

/// Why a word about one request was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// There is no such request, or not any more.
    #[error(
        "there is no request `{0}`: it was withdrawn, or asks for something else by now; `rosterd requests list` shows what waits"
    )]
    Gone(RequestId),
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It could not be kept.
    #[error(transparent)]
    Store(StoreError),
    /// It would be decided by a document that nobody accepted.
    #[error(
        "the document of target `{0}` was changed and is not accepted yet, and it says who decides: decide once it is; `rosterd status` says why it is not"
    )]
    Unaccepted(TargetName),
    /// The daemon is stopping, or the target left its documents.
    #[error("`{0}` takes no words now; ask again in a moment")]
    Away(TargetName),
}

/// What came of a word about one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Which request.
    pub id: RequestId,
    /// Where; `None` where there is no such request.
    pub target: Option<TargetName>,
    /// The request as it stands now, or why the word was not taken.
    pub result: Result<Request, ItemError>,
}

/// A request as lists show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// In which target.
    pub target: TargetName,
    /// The request.
    pub request: Request,
    /// What the user is called, as the newest documents say.
    pub name: Option<String>,
    /// Their mail.
    pub email: Option<String>,
    /// Their labels, by which requests are found.
    pub labels: BTreeMap<String, String>,
    /// Whose turn it is: `group:NAME`, `person:SUBJECT`; empty: whoever has the right for the user.
    pub turn: BTreeSet<String>,
    /// What is worth a look before deciding.
    pub findings: Vec<Finding>,
    /// What a signed decision about it is bound to.
    pub digest: Digest,
}

/// One value of the label by which requests of a target are found: a client's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// In which target.
    pub target: TargetName,
    /// The label's value.
    pub folder: String,
    /// Whether somebody has to look, or looked lately.
    pub state: FolderState,
    /// How many requests wait.
    pub pending: usize,
    /// Since when the oldest waits.
    pub oldest: Option<DateTime<Utc>>,
    /// Who accepted requests within the last 24 hours.
    pub decided_by: BTreeSet<String>,
}

/// How a folder's entry is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FolderState {
    /// Nothing to do.
    Idle,
    /// Somebody accepted a request within the last 24 hours; there is nothing to do.
    Decided,
    /// Somebody has to decide.
    Waits,
}

/// The gate of a target. Conditions are checked when documents are read; one that does not compile all
/// the same asks about everybody, and accepts nothing.
pub(crate) fn keeper(target: &Target) -> Gatekeeper {
    Gatekeeper::new(target.approval.as_ref()).unwrap_or_else(|error| {
        tracing::error!(target = %target.name, %error, "a condition of `approval` does not hold together: everybody is asked about");
        let careful = target.approval.clone().map(|approval| Approval { when: None, rules: Vec::<AcceptRule>::new(), ..approval });
        Gatekeeper::new(careful.as_ref()).unwrap_or_default()
    })
}

/// A plan as it passes the gate, for those who only look.
pub(crate) async fn shown_at_gate(
    shared: &Shared,
    target: &Target,
    plan: Plan,
    (snapshot, desired): (&Snapshot, &dyn Wishes),
) -> Result<Plan, StoreError> {
    let rows = shared.store.requests(&target.name).await?;
    if rows.is_empty() && target.approval.is_none() {
        return Ok(plan);
    }
    let mine = rows.into_iter().filter(|(space, _)| *space == plan.space).map(|(_, request)| request);
    let known: Requests = mine.map(|request| ((request.record.clone(), request.subject.clone()), request)).collect();
    let entitled =
        |record: &RecordId| matches!(desired.of(record).as_deref(), Some(Desired::Account(_) | Desired::Conflict(_)));
    let keeper = keeper(target);
    let scales = Scales {
        keeper: &keeper,
        known: &|record, subject| known.get(&(record.clone(), subject.clone())).cloned(),
        user: &|record| snapshot.users.get(record).filter(|_| entitled(record)),
        now: Moment { wall: shared.now(), window: shared.window_now() },
    };
    Ok(scales.show(plan))
}

impl Engine {
    /// Requests of these targets, oldest first within each. Findings come with those that wait.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn requests(&self, within: &(dyn Fn(&TargetName) -> bool + Sync)) -> Result<Vec<Shown>, EngineError> {
        let mut all = Vec::new();
        for target in self.targets().into_iter().filter(|target| within(&target.name)) {
            all.extend(self.requests_of(&target).await?);
        }
        Ok(all)
    }

    /// Folders of these targets that somebody has to look at, or looked at within a day.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn folders(&self, within: &(dyn Fn(&TargetName) -> bool + Sync)) -> Result<Vec<Folder>, EngineError> {
        let targets = self.targets();
        let asked = |label: &str| targets.iter().any(|target| scope_label(target).is_some_and(|it| it == label));
        lock(&self.shared.folders).keep_only(&asked);
        let mut all = Vec::new();
        for target in targets.iter().filter(|target| within(&target.name)) {
            all.extend(self.folders_of(target).await?);
        }
        Ok(all)
    }

    async fn folders_of(&self, target: &Target) -> Result<Vec<Folder>, EngineError> {
        let Some(label) = scope_label(target) else { return Ok(Vec::new()) };
        let (now, snapshot) = (self.shared.now(), self.snapshot().unwrap_or_default());
        let entry = |folder: String| (folder.clone(), idle(&target.name, folder));
        // Folders without a request are there to be found as well.
        let named = lock(&self.shared.folders).of(&snapshot.users, label);
        let mut folders: BTreeMap<String, Folder> = named.into_iter().map(entry).collect();
        for (_, request) in self.rows_of(target).await? {
            let user = snapshot.users.get(&request.record);
            let folder = user.and_then(|user| folders.get_mut(user.labels.get(label)?));
            if let Some(folder) = folder {
                note(folder, &request, now);
            }
        }
        Ok(folders.into_values().collect())
    }

    async fn rows_of(&self, target: &Target) -> Result<Vec<(Space, Request)>, EngineError> {
        let here = self.shared.handle(&target.name).ok().and_then(|handle| lock(&handle.status).space.clone());
        let mut rows = self.shared.store.requests(&target.name).await?;
        rows.retain(|(space, _)| match &here {
            Some(here) => space == here,
            None => space.environment == target.environment,
        });
        rows.sort_by(|(_, a), (_, b)| (a.since, &a.id).cmp(&(b.since, &b.id)));
        Ok(rows)
    }

    async fn requests_of(&self, target: &Arc<Target>) -> Result<Vec<Shown>, EngineError> {
        let rows = self.rows_of(target).await?;
        let snapshot = self.snapshot().unwrap_or_default();
        let approval = target.approval.clone().unwrap_or_else(Approval::ungated);
        let waits = |request: &Request| request.state == RequestState::Pending;
        let asked = rows.iter().filter(|(_, request)| waits(request)).map(|(space, request)| (space, &request.record));
        let asked: Vec<_> = asked.collect();
        let mut found = BTreeMap::new();
        if let Some((space, _)) = asked.first().filter(|_| !approval.checks.is_empty()) {
            let filter = AccountFilter { linked: Some(false), limit: usize::MAX, ..AccountFilter::default() };
            let strangers = self.shared.store.seen(space, &filter).await?;
            let users: Vec<_> = asked.iter().filter_map(|(_, record)| snapshot.users.get(record)).collect();
            found = findings::findings(&approval, &users, snapshot.users.values(), &strangers);
        }
        let show = |(space, request): (Space, Request)| {
            let user = snapshot.users.get(&request.record);
            let findings = if waits(&request) { found.get(&request.record).cloned() } else { None };
            shown(&space, &approval, request, user.as_ref(), findings.unwrap_or_default())
        };
        Ok(rows.into_iter().map(show).collect())
    }

    /// Takes a person's word about requests, each by itself: what is wrong with one is no matter of the
    /// others. `within` is where the person may decide.
    ///
    /// # Errors
    /// Where the store does not answer; nothing was taken then.
    pub async fn decide_requests(
        &self,
        ids: &[RequestId],
        (word, reason): (Word, Option<String>),
        approver: &Approver,
        within: &(dyn Fn(&TargetName) -> bool + Sync),
    ) -> Result<Vec<Said>, EngineError> {
        let wanted: BTreeSet<&RequestId> = ids.iter().collect();
        let mut places: BTreeMap<RequestId, TargetName> = BTreeMap::new();
        for target in self.targets().into_iter().filter(|target| within(&target.name)) {
            let rows = self.shared.store.requests(&target.name).await?.into_iter();
            let mine = rows.filter(|(_, request)| wanted.contains(&request.id));
            places.extend(mine.map(|(_, request)| (request.id, target.name.clone())));
        }
        let mut by_target: BTreeMap<&TargetName, Vec<RequestId>> = BTreeMap::new();
        for id in ids {
            if let Some(target) = places.get(id) {
                by_target.entry(target).or_default().push(id.clone());
            }
        }
        let mut answers: BTreeMap<RequestId, VecDeque<Result<Request, ItemError>>> = BTreeMap::new();
        for (target, ids) in by_target {
            let (reply, answer) = oneshot::channel();
            let (approver, reason) = (approver.clone(), reason.clone());
            let sent = self.send(target, Message::Decide(Deciding { ids: ids.clone(), word, reason, approver, reply }));
            let told = if sent.is_ok() { answer.await.ok() } else { None };
            let away = || ids.iter().map(|id| (id.clone(), Err(ItemError::Away(target.clone())))).collect();
            for (id, result) in told.unwrap_or_else(away) {
                answers.entry(id).or_default().push_back(result);
            }
        }
        let mut said = |id: &RequestId| {
            let result =
                answers.get_mut(id).and_then(VecDeque::pop_front).unwrap_or_else(|| Err(ItemError::Gone(id.clone())));
            Said { id: id.clone(), target: places.get(id).cloned(), result }
        };
        Ok(ids.iter().map(&mut said).collect())
    }
}

fn shown(space: &Space, approval: &Approval, request: Request, user: Option<&User>, findings: Vec<Finding>) -> Shown {
    let level = verdict::rights::level_of(approval, &request).filter(|_| request.state == RequestState::Pending);
    let turn = level.map(|level| verdict::rights::turn(&request, level)).unwrap_or_default();
    let names = user.map(|user| [user.given_name.as_deref(), user.family_name.as_deref()]);
    let name = names.map(|names| names.into_iter().flatten().collect::<Vec<_>>().join(" "));
    Shown {
        target: space.target.clone(),
        digest: verdict::shown(space, &request, user),
        request,
        name: name.filter(|name| !name.is_empty()),
        email: user.and_then(|user| user.email.clone()),
        labels: user.map(|user| user.labels.clone()).unwrap_or_default(),
        turn: turn.iter().map(ToString::to_string).collect(),
        findings,
    }
}

/// The label by which requests of a target are found.
fn scope_label(target: &Target) -> Option<&String> {
    target.approval.as_ref()?.scope_label.as_ref()
}

fn idle(target: &TargetName, folder: String) -> Folder {
    Folder {
        target: target.clone(),
        folder,
        state: FolderState::Idle,
        pending: 0,
        oldest: None,
        decided_by: BTreeSet::new(),
    }
}

/// Highlighted while something waits; for a day after an acceptance it stays so, shows who decided, and
/// offers nothing to do.
fn note(folder: &mut Folder, request: &Request, now: DateTime<Utc>) {
    match (request.state, &request.decided) {
        (RequestState::Pending, _) => {
            folder.state = FolderState::Waits;
            folder.pending += 1;
            folder.oldest = Some(folder.oldest.map_or(request.since, |oldest| oldest.min(request.since)));
        }
        (RequestState::Accepted, Some(vote)) if now < vote.at + SHOWN => {
            folder.state = folder.state.max(FolderState::Decided);
            folder.decided_by.insert(vote.person.clone());
        }
        _ => {}
    }
}
