//! What a look at a linked account teaches, beside changes.

use serde_json::Value;

use crate::correlate::keys::is_empty;
use crate::model::account::Account;
use crate::model::hand::Hand;
use crate::model::link::Link;
use crate::model::path::AttributePath;
use crate::model::projection::Desired;
use crate::model::projection::Projected;
use crate::model::projection::Projection;
use crate::model::target::Drift;
use crate::plan::blockers;
use crate::plan::deletion;
use crate::plan::input::PlanInput;
use crate::plan::silence;

/// What is to be remembered of one account from now on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Note {
    /// The link, where it says something that is over.
    pub link: Option<Link>,
    /// What other hands did, where it differs from what is known.
    pub hand: Option<Hand>,
}

impl Note {
    /// Whether there is nothing new.
    pub fn is_blank(&self) -> bool {
        self.link.is_none() && self.hand.is_none()
    }
}

/// What `account`, seen now, teaches; `desired` is what its user should have.
pub fn note(input: &PlanInput<'_>, link: &Link, account: &Account, desired: Option<&Desired>) -> Note {
    let open = account.state.gives_access();
    // Whoever opened it again, it is not rosterd's disabling that a later one would undo (L17).
    let reopened = (link.disabled_by_us && open).then(|| Link { disabled_by_us: false, ..link.clone() });
    let known = input.hand(&account.id);
    let mut hand = Hand { missing_since: None, missing: false, ..known.clone() };
    if open {
        hand = Hand { ended_over: None, deleted_by_us: false, regain: false, ..hand };
    }
    hand.ended = deletion::counts(input, link, account, desired).then(|| hand.ended.unwrap_or(input.now));
    hand.waited = blockers::waited(input, link, account, desired);
    hand.blocked = blockers::since(input, link, account, desired);
    if let Some(Desired::Account(projection)) = desired {
        agree(input, projection, account, &mut hand);
        hand.silenced = silence::left(projection, known, account);
        hand.given_up.retain(|path, value| {
            let projected = projection.values.get(path);
            projected.is_some_and(|projected| declared(projected) == *value && !holds(input, path, projected, account))
        });
    }
    Note { link: reopened, hand: (hand != *known).then_some(hand) }
}

/// What a mapping wants, as it is remembered: null clears.
pub fn declared(projected: &Projected) -> Value {
    projected.value.clone().unwrap_or(Value::Null)
}

/// Declared values that the target now has are those that later drift is measured against.
fn agree(input: &PlanInput<'_>, projection: &Projection, account: &Account, hand: &mut Hand) {
    let accepts = |path: &AttributePath| input.target.account.drift(path) == Drift::Accept;
    hand.agreed.retain(|path, _| accepts(path) && projection.values.contains_key(path));
    for (path, projected) in projection.values.iter().filter(|(path, _)| accepts(path)) {
        if holds(input, path, projected, account) {
            hand.agreed.insert(path.clone(), declared(projected));
        }
    }
}

fn holds(input: &PlanInput<'_>, path: &AttributePath, projected: &Projected, account: &Account) -> bool {
    let observed = account.values.get(path).filter(|value| !is_empty(value));
    match (&projected.value, observed) {
        (None, None) => true,
        (Some(desired), Some(observed)) => input.comparison().alike(path, desired, observed),
        (None, Some(_)) | (Some(_), None) => false,
    }
}
