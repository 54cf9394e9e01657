//! Two targets that are one system: each would give everybody an account of its own there (L2).

use crate::engine::shared::lock;
use crate::engine::worker::Worker;
use crate::model::decision::Halts;
use crate::model::ids::TargetName;

/// A target that works in a realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    target: TargetName,
    /// Whether it had accounts there before this process entered.
    established: bool,
    /// Whether it says which accounts are its own.
    partitioned: bool,
}

impl Worker {
    /// Says that this target works where its place is, and nowhere else. The worker of an edited
    /// document takes over the claim of the one before it, which stood meanwhile.
    pub(super) fn claim_realm(&mut self) {
        let Some(place) = &self.place else { return };
        let target = &self.handle.target;
        let partitioned = target.partition.is_some();
        let mut claims = lock(&self.shared.claims);
        for (_, elsewhere) in claims.iter_mut().filter(|(realm, _)| **realm != place.space.realm) {
            elsewhere.retain(|claim| claim.target != target.name);
        }
        let here = claims.entry(place.space.realm.clone()).or_default();
        if let Some(claim) = here.iter_mut().find(|claim| claim.target == target.name) {
            claim.partitioned = partitioned;
        } else {
            let established = !place.links.is_empty();
            here.push(Claim { target: target.name.clone(), established, partitioned });
        }
    }

    /// This target works nowhere any more.
    pub(super) fn yield_realm(&mut self) {
        for claims in lock(&self.shared.claims).values_mut() {
            claims.retain(|claim| claim.target != self.handle.target.name);
        }
    }

    /// The target that gives accounts where this one would, too: the one that had accounts there before,
    /// else the one that came first. Where both say which accounts are theirs, each gives its own.
    fn twin(&self) -> Option<TargetName> {
        let place = self.place.as_ref()?;
        let claims = lock(&self.shared.claims);
        let claims = claims.get(&place.space.realm).filter(|claims| claims.len() > 1)?;
        let own = claims.iter().position(|claim| claim.target == self.handle.target.name)?;
        let mine = claims.get(own)?;
        let before = |(at, claim): &(usize, &Claim)| {
            let apart = claim.partitioned && mine.partitioned;
            *at != own && !apart && (claim.established, own) > (mine.established, *at)
        };
        claims.iter().enumerate().find(before).map(|(_, claim)| claim.target.clone())
    }

    /// How much of this target's work is halted.
    pub(super) fn halts(&self) -> Option<Halts> {
        self.shared.halts().max(self.twin().map(|_| Halts::Widening))
    }

    /// What a person does about a target that is another one's double.
    pub(super) fn twin_words(&self) -> Option<String> {
        let (twin, realm) = (self.twin()?, &self.place.as_ref()?.space.realm);
        let own = &self.handle.target.name;
        Some(format!(
            "targets `{twin}` and `{own}` are one system (realm `{realm}`), so `{own}` gives nobody anything: write a \
             `partition` into both, or take one of the two out"
        ))
    }
}
