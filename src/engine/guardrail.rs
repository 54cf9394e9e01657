//! The facts that guardrails judge by: decisions, windows, and whether a target is known at all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::engine::permits::Permits;
use crate::engine::shared::Shared;
use crate::model::administrators::Census;
use crate::model::change::Cause;
use crate::model::decision::DecisionKind;
use crate::model::ids::Digest;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::link::Link;
use crate::model::link::LinkedBy;
use crate::model::link::Space;
use crate::model::plan::HoldKind;
use crate::model::plan::Plan;
use crate::model::tally::Counter;
use crate::model::tally::Tally;
use crate::model::tally::Thing;
use crate::model::target::Target;
use crate::plan;
use crate::plan::Guards;
use crate::plan::canonical::essence;
use crate::store::Store;
use crate::store::StoreError;

/// No window is longer.
const LONGEST: TimeDelta = TimeDelta::days(30);

/// What people decided about one target, what was done there lately, and whether it was ever written.
#[derive(Clone, Debug, Default)]
pub struct Guardrail {
    /// Whether the store has links or intents of the space, save those that follow from a person's
    /// word about one user: without, it is first contact.
    pub known: bool,
    /// Why the store may be older than what it once knew, until a person enforces the target again.
    doubt: Option<String>,
    enforced: BTreeSet<Digest>,
    /// What people's words still let through.
    pub(crate) permits: Permits,
    /// What recorded intents touched, as far back as any window reaches.
    pub tally: Arc<Tally>,
    /// Whether the last of `suspend` and `resume` was a suspend.
    pub suspended: bool,
}

impl Guardrail {
    /// Reads the facts of a space.
    pub async fn of(shared: &Shared, space: &Space, links: &BTreeMap<RecordId, Link>) -> Result<Self, StoreError> {
        let store = &*shared.store;
        // A link that a person made says nothing about what rosterd may do to the rest.
        let ours = links.values().any(|link| link.by != LinkedBy::Person);
        let known = ours || store.acted(space).await?;
        let counted = store.counted(space, shared.window_now() - LONGEST).await?;
        let mut guardrail = Self { known, tally: Arc::new(counted.into_iter().collect()), ..Self::default() };
        guardrail.decided(store, &space.target).await?;
        Ok(guardrail)
    }

    /// Whether the store may be older than what it once knew.
    pub(crate) fn is_doubted(&self) -> bool {
        self.doubt.is_some()
    }

    /// Reads the decisions again.
    pub async fn decided(&mut self, store: &dyn Store, target: &TargetName) -> Result<(), StoreError> {
        self.doubt = store.doubt(target).await?;
        self.permits = Permits::of(store.permits().await?, target);
        for decision in store.decisions().await? {
            if decision.target.as_ref() != Some(target) {
                continue;
            }
            match (decision.kind, decision.digest) {
                (DecisionKind::Enforce, Some(digest)) => drop(self.enforced.insert(digest)),
                (DecisionKind::Suspend, _) => self.suspended = true,
                (DecisionKind::Resume, _) => self.suspended = false,
                (
                    DecisionKind::Enforce
                    | DecisionKind::Release
                    | DecisionKind::AcceptShrink
                    | DecisionKind::Loosen
                    | DecisionKind::Revoke
                    | DecisionKind::Restore
                    | DecisionKind::Stop
                    | DecisionKind::Start
                    | DecisionKind::Link
                    | DecisionKind::Regain,
                    _,
                ) => {}
            }
        }
        Ok(())
    }

    /// Moves what is over a limit into holds, as windows will stand `around.ahead` from now.
    pub async fn guard(
        &self,
        shared: &Shared,
        target: &Target,
        plan: Plan,
        around: &Around<'_>,
    ) -> Result<Plan, StoreError> {
        let now = shared.window_now().checked_add_signed(around.ahead).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let lengths = plan::shares(&plan.changes, &target.limits);
        let current = match around.owned_active {
            Some(current) => current,
            None if lengths.is_empty() => 0,
            None => shared.store.owned_active(&plan.space).await?,
        };
        let mut owned = BTreeMap::new();
        for length in lengths {
            let began = now - chrono::Duration::from_std(length).unwrap_or(chrono::Duration::MAX);
            // A target that is younger than the window is judged by what it has now.
            let then = shared.store.owned_active_at(&plan.space, began).await?.unwrap_or(current);
            owned.insert(length, then);
        }
        let released = self.permits.released(now);
        let guards = Guards {
            first_contact: (!self.known && around.populated) || self.doubt.is_some(),
            enforced: &self.enforced,
            released: &released,
            tally: &self.tally,
            waiting: &around.waiting,
            admitted: &|change| {
                let waits = around.admitted.get(&change.record);
                waits.is_some_and(|waits| waits.contains(&essence(change).to_string()))
            },
            dated: &|change| change.cause == Some(Cause::Explicit) && around.dated.contains(&change.record),
            now,
            owned_active: &|length| owned.get(&length).copied().unwrap_or(current),
            seats_taken: around.seats_taken,
            census: &around.census,
            frozen: around.frozen,
            unattended: target.account.deletion.is_some_and(|deletion| deletion.unattended),
            limits: &target.limits,
        };
        let mut plan = plan::guard(plan, &guards);
        if let Some(why) = &self.doubt {
            for hold in plan.holds.iter_mut().filter(|hold| hold.limit == HoldKind::FirstContact) {
                hold.reason = format!(
                    "{why}; nobody gains or loses access in `{name}` before a person has seen what would change: \
                     `rosterd enforce {name} {digest}` lets these {count} changes through",
                    name = target.name,
                    digest = hold.digest,
                    count = hold.changes.len()
                );
            }
        }
        Ok(plan)
    }
}

/// What stands around a plan when it is judged.
#[derive(Default)]
pub struct Around<'a> {
    /// Whether the target holds accounts.
    pub populated: bool,
    /// What was let through and has no intent yet.
    pub waiting: BTreeSet<(Counter, Thing)>,
    /// Essences of changes that were let through and wait as they are, by user.
    pub admitted: BTreeMap<RecordId, BTreeSet<String>>,
    /// Users whose explicit narrowing follows from an end date that was known for a day.
    pub dated: Cow<'a, BTreeSet<RecordId>>,
    /// Owned active accounts, by links; `None`: the store is asked.
    pub owned_active: Option<u64>,
    /// Seats that are taken, or will be by what waits.
    pub seats_taken: u64,
    /// Who may do everything there, counting what waits.
    pub census: Census,
    /// When the freeze of that moment ends.
    pub frozen: Option<DateTime<Utc>>,
    /// How far from now the plan is made for.
    pub ahead: TimeDelta,
}
