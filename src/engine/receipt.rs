//! A receipt: where one user has access now, every call that was made about it, and what is owed.
//!
//! # Guarantees
//! - "Out everywhere" is said only where every target was looked at while the receipt was made and
//!   showed no access in any account of the user. What could not be asked, is kept in another
//!   environment, or may still come of a call whose end nobody knows, is named.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use futures_util::future::join_all;
use serde::Deserialize;
use serde::Serialize;

use crate::engine::EngineError;
use crate::engine::left;
use crate::engine::look;
use crate::engine::look::LookError;
use crate::engine::look::Looked;
use crate::engine::look::Sought;
use crate::engine::said;
use crate::engine::shared::Handle;
use crate::engine::shared::Shared;
use crate::engine::shared::lock;
use crate::engine::status::Owed;
use crate::http::rate;
use crate::http::rate::Caller;
use crate::model::account::AccountState;
use crate::model::account::Membership;
use crate::model::change::Action;
use crate::model::change::Effect;
use crate::model::history::OutcomeResult;
use crate::model::ids::AccountId;
use crate::model::ids::IntentId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::model::projection::Desired;
use crate::model::target::Ending;
use crate::model::user::User;
use crate::model::user::Validity;
use crate::plan::diff;
use crate::project::Revocation;

/// How long one target may take to show an account: a receipt says who did not answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Calls of one user in one target that a receipt lists, newest first.
const CALLS: usize = 1_000;

/// Where one user has access.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The user.
    pub record: RecordId,
    /// Every record id the user has or had.
    pub ids: BTreeSet<RecordId>,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// The revocation that stands.
    pub revoked: Option<Revocation>,
    /// What it comes to.
    pub verdict: Verdict,
    /// Why it is not more: a sentence for each thing that is owed or could not be confirmed.
    pub open: Vec<String>,
    /// Every target, by name.
    pub targets: Vec<TargetReceipt>,
}

/// What a receipt comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every target was looked at and shows no access.
    OutEverywhere,
    /// Nothing is owed, and somewhere the user is meant to have access.
    HasAccess,
    /// The end of access somewhere is owed, or could not be confirmed.
    NotConfirmed,
}

/// One user in one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetReceipt {
    /// The target.
    pub target: TargetName,
    /// Where the account is, as far as that is known.
    pub space: Option<Space>,
    /// Whether the user is meant to have access there, or to be left as they are.
    pub access_is_meant: bool,
    /// Why, or why not.
    pub because: String,
    /// The linked account.
    pub account: Option<AccountId>,
    /// What the target showed.
    pub shows: Shows,
    /// When it was looked at.
    pub looked: DateTime<Utc>,
    /// Every call, oldest first.
    pub calls: Vec<Call>,
    /// Entitlements that rosterd granted, that the user is to have no longer, and that the account
    /// still showed.
    #[serde(default)]
    pub still_holds: BTreeSet<Membership>,
    /// What is due there and not confirmed.
    pub owed: Option<Owed>,
}

/// What a target showed of one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shows {
    /// No account.
    NoAccount,
    /// An account that gives no access.
    NoAccess(AccountState),
    /// An account that gives access.
    Access(AccountState),
    /// An account that fits the user, is not rosterd's, and gives access.
    ForeignAccess(AccountId),
    /// Nothing that could be relied on; the text says why.
    Nothing(String),
}

/// One call that was made, or is about to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The intent that was recorded before it.
    pub intent: IntentId,
    /// When that was.
    pub at: DateTime<Utc>,
    /// What kind of change.
    pub action: Action,
    /// What it does to access.
    pub effect: Effect,
    /// Why.
    pub reason: String,
    /// How it ended; `None`: nobody knows yet.
    pub outcome: Option<OutcomeResult>,
    /// When that was known.
    #[serde(default)]
    pub ended: Option<DateTime<Utc>>,
}

impl Shows {
    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::NoAccount => "no account".to_owned(),
            Self::NoAccess(state) => format!("an account without access ({})", state.as_str()),
            Self::Access(state) => format!("an account with access ({})", state.as_str()),
            Self::ForeignAccess(account) => format!("account `{account}`, which fits the user and is not rosterd's"),
            Self::Nothing(why) => format!("nothing to rely on: {why}"),
        }
    }
}

/// Looks at every target and puts the receipt together.
///
/// # Errors
/// [`EngineError::NoUser`] where nobody of that record id is declared, linked or revoked.
pub async fn receipt(shared: &Shared, record: &RecordId) -> Result<Receipt, EngineError> {
    let ids = said::aliases(shared, record);
    if !said::is_known(shared, &ids).await? {
        return Err(EngineError::NoUser(record.clone()));
    }
    let mut targets = Vec::new();
    let looks = shared.targets().into_iter().map(|target| {
        let (name, ids) = (target.name.clone(), &ids);
        async move { in_target(shared, &name, ids).await }
    });
    for looked in join_all(looks).await {
        targets.extend(looked?);
    }
    targets.extend(elsewhere(shared, &ids, &targets).await?);
    targets.sort_by(|a, b| (&a.target, &a.space).cmp(&(&b.target, &b.space)));
    let open: Vec<_> = targets.iter().filter_map(open_words).collect();
    let meant = targets.iter().any(|target| target.access_is_meant && target.shows != Shows::NoAccount);
    let verdict = match (open.is_empty(), meant) {
        (false, _) => Verdict::NotConfirmed,
        (true, true) => Verdict::HasAccess,
        (true, false) => Verdict::OutEverywhere,
    };
    let revoked = said::revoked(shared).into_iter().find_map(|(id, said)| ids.contains(&id).then_some(said));
    Ok(Receipt { record: record.clone(), ids, at: shared.now(), revoked, verdict, open, targets })
}

/// Why a target keeps the receipt from saying that the user is out; `None`: it does not.
fn open_words(target: &TargetReceipt) -> Option<String> {
    let TargetReceipt { target: name, shows, owed, access_is_meant, still_holds, calls, .. } = target;
    if let Some(Owed { since, reason, .. }) = owed {
        let since = since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        return Some(format!("`{name}` owes the end of access since {since} ({})", reason.as_str()));
    }
    if !still_holds.is_empty() {
        let named = |(Membership::Group(held) | Membership::Role(held)): &Membership| format!("`{held}`");
        let held: Vec<_> = still_holds.iter().map(named).collect();
        return Some(format!("`{name}` shows an account that still holds {}", held.join(", ")));
    }
    let gives = |call: &&Call| call.outcome.is_none() && call.effect == Effect::Widens;
    if let Some(call) = calls.iter().find(gives).filter(|_| !access_is_meant) {
        let (action, at) = (call.action.as_str(), call.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
        return Some(format!("`{name}` was asked at {at} to {action} an account, and nobody knows how that ended"));
    }
    match shows {
        Shows::NoAccount | Shows::NoAccess(_) => None,
        Shows::Access(_) | Shows::ForeignAccess(_) | Shows::Nothing(_) if *access_is_meant => None,
        Shows::Access(_) | Shows::ForeignAccess(_) | Shows::Nothing(_) => {
            Some(format!("`{name}` shows {}", shows.words()))
        }
    }
}

/// One receipt for each account of the user there; one where there is none.
async fn in_target(
    shared: &Shared,
    name: &TargetName,
    ids: &BTreeSet<RecordId>,
) -> Result<Vec<TargetReceipt>, EngineError> {
    let handle = shared.handle(name)?;
    let (access_is_meant, because) = meant(shared, &handle, ids);
    let owed = lock(&handle.status).owed.iter().find(|owed| ids.contains(&owed.record)).cloned();
    let mut receipt = TargetReceipt {
        target: name.clone(),
        space: lock(&handle.status).space.clone(),
        access_is_meant,
        because,
        account: None,
        shows: Shows::Nothing("the target did not answer in time".to_owned()),
        looked: shared.now(),
        calls: Vec::new(),
        still_holds: BTreeSet::new(),
        owed,
    };
    let looked = tokio::time::timeout(PATIENCE, look_at(shared, &handle, ids)).await;
    receipt.looked = shared.now();
    let mut seen = Vec::new();
    match looked {
        Err(_) => {}
        Ok(Err(LookError::Store(error))) => return Err(error.into()),
        Ok(Err(LookError::Target(error))) => receipt.shows = Shows::Nothing(error.to_string()),
        Ok(Ok((space, accounts))) => (receipt.space, seen) = (Some(space), accounts),
    }
    if let Some(space) = &receipt.space {
        receipt.calls = calls(shared, space, ids).await?;
    }
    if seen.is_empty() {
        return Ok(vec![receipt]);
    }
    let of_account =
        |Seen { account, shows, still_holds }| TargetReceipt { account, shows, still_holds, ..receipt.clone() };
    Ok(seen.into_iter().map(of_account).collect())
}

/// Whether the user is meant to have access, or to be left alone, and why.
pub(crate) fn meant(shared: &Shared, handle: &Handle, ids: &BTreeSet<RecordId>) -> (bool, String) {
    let desired = look::desired_of(shared, handle, ids);
    let Some(desired) = desired else {
        return left_by(handle.target.account.on_gone, "the user is no longer declared");
    };
    match desired {
        Desired::Account(_) => (true, "the user's roles give access".to_owned()),
        Desired::Conflict(conflict) => (true, format!("a conflict must be settled first: {}", conflict.message)),
        Desired::None(no) => left_by(no.ending, no.reason.as_str()),
    }
}

/// Whether the account of a user without access is left as it is by this rule, and why.
fn left_by(ending: Ending, why: &str) -> (bool, String) {
    let leaves = match ending {
        Ending::Disable | Ending::Suspend => return (false, why.to_owned()),
        Ending::Delete => {
            return (false, format!("{why}; `delete` ends access at once, and the account once a person says so"));
        }
        Ending::Strip => "`strip` takes what was granted and leaves the account active",
        Ending::List => "`list` leaves the account to people",
        Ending::Keep => "`keep` leaves the account as it is",
    };
    (true, format!("{why}; {leaves}"))
}

/// What a look at one account, or for one, showed.
struct Seen {
    account: Option<AccountId>,
    shows: Shows,
    still_holds: BTreeSet<Membership>,
}

/// Looks at every account that is linked under any id of the user; without one, for one that fits.
async fn look_at(shared: &Shared, handle: &Handle, ids: &BTreeSet<RecordId>) -> Result<(Space, Vec<Seen>), LookError> {
    let view = look::view(shared, handle, &shared.snapshot().unwrap_or_default(), Arc::new(BTreeMap::new())).await?;
    let links: Vec<_> = ids.iter().filter_map(|id| view.links.get(id)).collect();
    // Without a link, an account under the name that the user would have is access all the same, and so
    // is one that is marked with an id of theirs.
    let wanted = if links.is_empty() { as_if_active(shared, handle, ids) } else { None };
    let unlinked = |id| Sought { desired: wanted.as_ref(), marked: Some(id), ..Sought::default() };
    let sought: Vec<_> = match &links[..] {
        [] => ids.iter().map(unlinked).collect(),
        links => links.iter().map(|link| Sought { link: Some(link), ..Sought::default() }).collect(),
    };
    let taken = |account: &AccountId| view.links.values().any(|link| link.account == *account);
    let mut seen = Vec::new();
    for sought in sought {
        let looking = look::look_up(&*view.connector, &view.shape, &view.target, sought);
        let looked = rate::in_turn(&view.rate, Caller::Narrowing, looking).await?;
        let link = sought.link;
        let held = link.and_then(|link| looked.accounts.get(&link.account)).map(|account| &account.memberships);
        let still_holds = link.zip(held).map(|(link, held)| surplus(shared, handle, ids, link, held));
        seen.push(Seen {
            account: link.map(|link| link.account.clone()),
            shows: shown(link, &looked, taken),
            still_holds: still_holds.unwrap_or_default(),
        });
    }
    // An account that was looked for under several ids, and is under none of them, is one answer.
    seen.dedup_by(|a, b| a.account.is_none() && a.shows == b.shows);
    Ok((view.space.clone(), seen))
}

/// What rosterd granted and is to take away, of what the account holds. An account that gives no
/// access may keep it, and so may one that a rule leaves as it is.
fn surplus(
    shared: &Shared,
    handle: &Handle,
    ids: &BTreeSet<RecordId>,
    link: &Link,
    held: &BTreeSet<Membership>,
) -> BTreeSet<Membership> {
    let wanted = match look::desired_of(shared, handle, ids) {
        Some(Desired::Account(projection)) => diff::memberships(&projection),
        Some(Desired::None(no)) if no.ending == Ending::Strip => BTreeSet::new(),
        None if handle.target.account.on_gone == Ending::Strip => BTreeSet::new(),
        Some(Desired::None(_) | Desired::Conflict(_)) | None => return BTreeSet::new(),
    };
    link.granted.intersection(held).filter(|membership| !wanted.contains(membership)).cloned().collect()
}

fn shown(link: Option<&Link>, looked: &Looked, taken: impl Fn(&AccountId) -> bool) -> Shows {
    let unproven = || Shows::Nothing("the target cannot prove that there is no such account".to_owned());
    let Some(link) = link else {
        let foreign = looked.accounts.values().find(|found| found.state.gives_access() && !taken(&found.id));
        return match foreign {
            Some(account) => Shows::ForeignAccess(account.id.clone()),
            None if looked.proven => Shows::NoAccount,
            None => unproven(),
        };
    };
    match looked.accounts.get(&link.account) {
        Some(account) if account.state.gives_access() => Shows::Access(account.state),
        Some(account) => Shows::NoAccess(account.state),
        None if looked.proven => Shows::NoAccount,
        None => unproven(),
    }
}

/// What the user would have if nothing stood against it: the names to look for.
fn as_if_active(shared: &Shared, handle: &Handle, ids: &BTreeSet<RecordId>) -> Option<Desired> {
    let snapshot = shared.snapshot()?;
    let user = ids.iter().find_map(|id| snapshot.users.get(id))?;
    let user = User { active: true, valid: Validity::default(), ..user };
    let desired = handle.projector.desired(&user, &snapshot.roles, shared.judged());
    matches!(desired, Desired::Account(_)).then_some(desired)
}

async fn calls(shared: &Shared, space: &Space, ids: &BTreeSet<RecordId>) -> Result<Vec<Call>, EngineError> {
    let mut calls = Vec::new();
    for id in ids {
        let mut ended = shared.store.ended_calls(space, id).await?;
        for (intent, outcome) in shared.store.intents_of(space, id, CALLS).await? {
            calls.push(Call {
                ended: ended.remove(&intent.id),
                intent: intent.id,
                at: intent.at,
                action: intent.change.action,
                effect: intent.change.effect,
                reason: intent.change.reason.to_string(),
                outcome,
            });
        }
    }
    calls.sort_by(|a, b| (a.at, &a.intent).cmp(&(b.at, &b.intent)));
    Ok(calls)
}

/// Accounts that links and calls without an outcome remember where nobody looks any more: targets that
/// are no longer declared, other environments and realms.
async fn elsewhere(
    shared: &Shared,
    ids: &BTreeSet<RecordId>,
    looked: &[TargetReceipt],
) -> Result<Vec<TargetReceipt>, EngineError> {
    let seen: BTreeSet<_> = looked.iter().filter_map(|receipt| receipt.space.clone()).collect();
    let mut receipts = Vec::new();
    for (space, link) in left::links_of(shared, ids).await? {
        // A renamed target looks after the same account: it was looked at there.
        let again = |now: &&TargetReceipt| {
            let here = now.space.as_ref().is_some_and(|here| left::same_system(here, &space));
            here && now.account.as_ref() == Some(&link.account) && !matches!(now.shows, Shows::Nothing(_))
        };
        if !seen.contains(&space) && !looked.iter().any(|now| again(&now)) {
            receipts.push(left_there(shared, &space, ids, Some(&link)).await?);
        }
    }
    for space in left::begun_in(shared, ids).await? {
        if !seen.contains(&space) && !receipts.iter().any(|receipt| receipt.space.as_ref() == Some(&space)) {
            receipts.push(left_there(shared, &space, ids, None).await?);
        }
    }
    Ok(receipts)
}

async fn left_there(
    shared: &Shared,
    space: &Space,
    ids: &BTreeSet<RecordId>,
    link: Option<&Link>,
) -> Result<TargetReceipt, EngineError> {
    let last = match link {
        Some(link) if link.disabled_by_us => "rosterd disabled it there",
        Some(_) => "rosterd never disabled it there",
        None => "whether a call that was under way made one, nobody knows",
    };
    let why = format!(
        "the account is in the environment `{}` of realm `{}`, which no target document names now; {last}",
        space.environment, space.realm
    );
    Ok(TargetReceipt {
        target: space.target.clone(),
        space: Some(space.clone()),
        access_is_meant: false,
        because: "nothing is written there any more".to_owned(),
        account: link.map(|link| link.account.clone()),
        shows: Shows::Nothing(why),
        looked: shared.now(),
        calls: calls(shared, space, ids).await?,
        still_holds: BTreeSet::new(),
        owed: None,
    })
}
