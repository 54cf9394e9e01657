//! The facts that guardrails judge by: decisions, windows, and whether a target is known at all.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::shared::Shared;
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
use crate::model::target::Target;
use crate::plan;
use crate::plan::Guards;
use crate::store::Store;
use crate::store::StoreError;

/// What people decided about one target, and whether it was ever written.
#[derive(Clone, Debug, Default)]
pub struct Guardrail {
    /// Whether the store has links or intents of the space: without, it is first contact.
    pub known: bool,
    /// Why the store may be older than what it once knew, until a person enforces the target again.
    doubt: Option<String>,
    enforced: BTreeSet<Digest>,
    released: BTreeSet<Digest>,
    /// Whether the last of `suspend` and `resume` was a suspend.
    pub suspended: bool,
}

impl Guardrail {
    /// Reads the facts of a space.
    pub async fn of(store: &dyn Store, space: &Space, links: &BTreeMap<RecordId, Link>) -> Result<Self, StoreError> {
        // A link that a person made says nothing about what rosterd may do to the rest.
        let ours = links.values().any(|link| link.by != LinkedBy::Person);
        let known = ours || (links.is_empty() && store.spaces(&space.target).await?.contains(space));
        let mut guardrail = Self { known, ..Self::default() };
        guardrail.decided(store, &space.target).await?;
        Ok(guardrail)
    }

    /// Reads the decisions again.
    pub async fn decided(&mut self, store: &dyn Store, target: &TargetName) -> Result<(), StoreError> {
        self.doubt = store.doubt(target).await?;
        for decision in store.decisions().await? {
            if decision.target.as_ref() != Some(target) {
                continue;
            }
            match (decision.kind, decision.digest) {
                (DecisionKind::Enforce, Some(digest)) => drop(self.enforced.insert(digest)),
                (DecisionKind::Release, Some(digest)) => drop(self.released.insert(digest)),
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

    /// Moves what is over a limit into holds. `populated`: the target holds accounts; `queued` tells the narrowing units that were let
    /// through and have no intent yet.
    pub async fn guard(
        &self,
        shared: &Shared,
        target: &Target,
        plan: Plan,
        (populated, queued): (bool, impl Fn(Cause) -> u64),
    ) -> Result<Plan, StoreError> {
        let now = shared.judged();
        let mut narrowed: BTreeMap<(Cause, Duration), u64> = BTreeMap::new();
        let by_cause =
            [(Cause::Inferred, &target.limits.narrow_inferred), (Cause::Explicit, &target.limits.narrow_explicit)];
        for (cause, windows) in by_cause {
            for window in windows {
                let since = now - chrono::Duration::from_std(window.window).unwrap_or(chrono::Duration::MAX);
                let recorded = shared.store.narrowed_since(&plan.space, cause, since).await?;
                narrowed.insert((cause, window.window), recorded + queued(cause));
            }
        }
        let guards = Guards {
            first_contact: (!self.known && populated) || self.doubt.is_some(),
            enforced: &self.enforced,
            released: &self.released,
            owned_active: shared.store.owned_active(&plan.space).await?,
            narrowed: &|cause, window| narrowed.get(&(cause, window)).copied().unwrap_or_default(),
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
