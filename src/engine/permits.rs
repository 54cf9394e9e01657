//! What people's words let through: each change of a release, and one shrunken load, once (L11).
//!
//! # Guarantees
//! - A release lets exactly the changes that were shown through, each of them once: what was done
//!   needs a new word when it is asked for again, whatever became of the others.
//! - It runs out after [`STANDS`], in the time by which windows slide: no clock that is set and no
//!   restart brings it back.
//! - An accepted shrinking is used up by the next load that becomes the snapshot, whichever it is.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::engine::EngineError;
use crate::engine::shared::Shared;
use crate::engine::shared::lock;
use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::decision::Decision;
use crate::model::decision::DecisionKind;
use crate::model::ids::AccountId;
use crate::model::ids::Digest;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::link::Space;
use crate::model::list::List;
use crate::model::plan::Hold;
use crate::plan::canonical;
use crate::store::Permit;
use crate::store::StoreError;
use crate::store::Write;

/// How long a person's word lets through what it was about. Long enough for a target that is frozen
/// or away over a long weekend; too short for anybody to have forgotten it.
pub(crate) const STANDS: TimeDelta = TimeDelta::days(7);

/// What is still let through in one target: of each release, by the digest that was shown, the changes
/// that had not their turn yet, with when the word was said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Permits {
    releases: BTreeMap<Digest, BTreeMap<Digest, DateTime<Utc>>>,
    target: Option<TargetName>,
}

impl Permits {
    /// Those of a target.
    pub(crate) fn of(all: BTreeMap<Permit, DateTime<Utc>>, target: &TargetName) -> Self {
        let mut releases: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (permit, at) in all {
            let here = permit.target.as_ref() == Some(target);
            if let Some(change) = permit.change.filter(|_| here) {
                releases.entry(permit.digest).or_default().insert(change, at);
            }
        }
        Self { releases, target: Some(target.clone()) }
    }

    /// Whether there is nothing that a person let through.
    pub(crate) fn is_empty(&self) -> bool {
        self.releases.is_empty()
    }

    /// The changes that each release still lets through at `now`.
    pub(crate) fn released(&self, now: DateTime<Utc>) -> Vec<BTreeSet<Digest>> {
        let standing = |changes: &BTreeMap<Digest, DateTime<Utc>>| {
            changes.iter().filter(|(_, at)| !ran_out(**at, now)).map(|(change, _)| change.clone()).collect()
        };
        self.releases.values().map(standing).collect()
    }

    /// Uses up what let this change through.
    pub(crate) fn use_up(&mut self, space: &Space, change: &Change) -> Vec<Write> {
        if self.releases.is_empty() {
            return Vec::new();
        }
        let done = of_change(space, change);
        self.keep(|change, _| *change != done)
    }

    /// Uses up what let the deletion of this account through for one of these record ids: its user is back.
    pub(crate) fn void_deletion(
        &mut self,
        space: &Space,
        records: &BTreeSet<RecordId>,
        account: &AccountId,
    ) -> Vec<Write> {
        let causes = [Cause::Explicit, Cause::Inferred];
        let pairs = records.iter().flat_map(|record| causes.map(|cause| (record, cause)));
        let void: BTreeSet<_> =
            pairs.map(|(record, cause)| of_change(space, &deletion(record, account, cause))).collect();
        self.keep(|change, _| !void.contains(change))
    }

    /// Uses up whatever a plan of everybody does not ask for any more, and what ran out.
    pub(crate) fn keep_only(&mut self, space: &Space, changes: &[Change], now: DateTime<Utc>) -> Vec<Write> {
        if self.releases.is_empty() {
            return Vec::new();
        }
        let asked: BTreeSet<Digest> = changes.iter().map(|change| of_change(space, change)).collect();
        self.keep(|change, at| asked.contains(change) && !ran_out(at, now))
    }

    /// Leaves out what was used up and not committed yet.
    pub(crate) fn without(mut self, writes: &[Write]) -> Self {
        for write in writes {
            if let Write::Permit(Permit { digest, change: Some(change), .. }, None) = write
                && let Some(changes) = self.releases.get_mut(digest)
            {
                changes.remove(change);
            }
        }
        self
    }

    fn keep(&mut self, keeps: impl Fn(&Digest, DateTime<Utc>) -> bool) -> Vec<Write> {
        let mut used = Vec::new();
        for (digest, changes) in &mut self.releases {
            let over: BTreeSet<Digest> =
                changes.iter().filter(|(change, at)| !keeps(change, **at)).map(|(change, _)| change.clone()).collect();
            changes.retain(|change, _| !over.contains(change));
            let permit = |change| Permit { target: self.target.clone(), digest: digest.clone(), change: Some(change) };
            used.extend(over.into_iter().map(|change| Write::Permit(permit(change), None)));
        }
        self.releases.retain(|_, changes| !changes.is_empty());
        used
    }
}

fn ran_out(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    at.checked_add_signed(STANDS).is_some_and(|end| end <= now)
}

/// A deletion, as far as a word about it tells it from others.
fn deletion(record: &RecordId, account: &AccountId, cause: Cause) -> Change {
    Change {
        record: record.clone(),
        account: Some(account.clone()),
        action: Action::Delete,
        effect: Effect::Narrows,
        cause: Some(cause),
        fields: List::default(),
        grant: List::default(),
        revoke: List::default(),
        active: None,
        reason: "".into(),
        origins: List::default(),
    }
}

/// What stands for one change of a release. The place is part of it (L13).
fn of_change(space: &Space, change: &Change) -> Digest {
    canonical::digest(space, std::slice::from_ref(change))
}

/// What a decision lets through, to be remembered with it.
pub(crate) async fn given(shared: &Shared, decision: &Decision) -> Result<Vec<Write>, EngineError> {
    let Some(digest) = decision.digest.clone() else { return Ok(Vec::new()) };
    let at = Some(shared.window_now());
    match (decision.kind, &decision.target) {
        (DecisionKind::AcceptShrink, _) => Ok(vec![Write::Permit(Permit { target: None, digest, change: None }, at)]),
        (DecisionKind::Release, Some(target)) => {
            let (space, hold) = shown(shared, target, &digest).await?;
            let permit = |change: &Change| {
                let (target, change) = (Some(target.clone()), Some(of_change(&space, change)));
                Write::Permit(Permit { target, digest: digest.clone(), change }, at)
            };
            Ok(hold.changes.iter().map(permit).collect())
        }
        _ => Ok(Vec::new()),
    }
}

/// The hold of a digest, and where it is: the digest itself tells the place.
async fn shown(shared: &Shared, target: &TargetName, digest: &Digest) -> Result<(Space, Hold), EngineError> {
    let (space, hold) = {
        let handle = shared.handle(target)?;
        let status = lock(&handle.status);
        (status.space.clone(), status.holds.iter().find(|hold| hold.digest == *digest).cloned())
    };
    let remembered = shared.store.standings(target).await?.into_iter().map(|(space, _)| space);
    let mut places = space.into_iter().chain(remembered);
    let place = hold.and_then(|hold| {
        let place = places.find(|place| canonical::digest(place, &hold.changes) == *digest)?;
        Some((place, hold))
    });
    place.ok_or_else(|| {
        let words = format!("what waited in `{target}` is not there any more; look at it with `rosterd holds list`");
        EngineError::Stale(words)
    })
}

/// Loads that people let through although they shrink.
pub(crate) async fn accepted_shrinks(shared: &Shared) -> Result<BTreeSet<Permit>, StoreError> {
    let permits = shared.store.permits().await?;
    Ok(permits.into_keys().filter(|permit| permit.target.is_none()).collect())
}

/// Those of them that stand now.
pub(crate) async fn standing_shrinks(shared: &Shared) -> Result<BTreeSet<Digest>, StoreError> {
    let (permits, now) = (shared.store.permits().await?, shared.window_now());
    let standing = permits.into_iter().filter(|(permit, at)| permit.target.is_none() && !ran_out(*at, now));
    Ok(standing.map(|(permit, _)| permit.digest).collect())
}
