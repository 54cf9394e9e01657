//! Plans of a batch of look-ups; where one breaks a law, whoever is to blame is found.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use tokio::time::Instant;

use crate::engine::worker::Worker;
use crate::engine::worker::cycles::Settled;
use crate::engine::worker::door;
use crate::engine::worker::keyed::Dirty;
use crate::model::account::Account;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::plan::Coverage;
use crate::plan::Planned;
use crate::retry;

/// What a batch of look-ups showed.
pub(super) struct Batch<'a> {
    /// Who was looked at: a plan of some of them knows of all.
    pub(super) around: &'a BTreeSet<RecordId>,
    pub(super) accounts: &'a BTreeMap<AccountId, Account>,
    pub(super) unproven: &'a BTreeSet<RecordId>,
    /// When each of their looks began.
    pub(super) begun: &'a BTreeMap<RecordId, Instant>,
}

impl Worker {
    /// Plans a batch. Where that breaks a law, whoever is to blame is found and left out: the others
    /// leave no later for it.
    pub(super) async fn plan_keyed(&mut self, batch: &Batch<'_>, records: &BTreeSet<RecordId>) {
        let (sound, to_blame) = sound_parts(records.clone(), |part| self.planned_for(batch, part));
        for (record, words) in to_blame {
            self.breaks_a_law(&BTreeSet::from([record]), &words);
        }
        for (part, planned) in sound {
            let dropped = self.dropped_again(&part, &planned.plan);
            let planned = if dropped { self.planned_for(batch, &part) } else { Some(Ok(planned)) };
            match planned {
                Some(Ok(planned)) => self.take_keyed(planned, &part, batch.begun).await,
                Some(Err(words)) => self.breaks_a_law(&part, &words),
                None => return,
            }
        }
    }

    fn breaks_a_law(&mut self, records: &BTreeSet<RecordId>, words: &str) {
        tracing::error!(target = %self.handle.target.name, %words, "a plan broke its own laws and is not applied");
        let why = format!("the plan broke a law of its own and was not applied ({words}); please report this");
        self.give_up(records, &why);
    }

    /// A plan of these users, or which laws it breaks.
    fn planned_for(&self, batch: &Batch<'_>, records: &BTreeSet<RecordId>) -> Option<Result<Planned, String>> {
        let view = self.view_around(batch.around, batch.accounts)?;
        let planned = view.plan(batch.accounts.values().cloned(), Coverage::Keyed, Some(records), batch.unproven);
        let violations = view.violations(&planned);
        Some(if violations.is_empty() { Ok(planned) } else { Err(violations.join("; ")) })
    }

    /// Ends these users' part of their cycles with an error. What is owed of them is tried again.
    fn give_up(&mut self, records: &BTreeSet<RecordId>, why: &str) {
        for record in records {
            self.standing.failures.insert(record.clone(), why.to_owned());
            let Some(dirty) = self.dirty.remove(record) else { continue };
            if let Some(cycle) = &dirty.cycle {
                self.settle(cycle, record, Settled::Failed(why.to_owned()));
            }
            if self.owed.since(record).is_some() || self.surely_narrows(record) {
                let attempt = dirty.attempt + 1;
                let due = Instant::now() + retry::delay(attempt, None, true, door::seed(record.as_str()));
                self.await_look(record, Dirty { cycle: None, due, attempt, ..dirty });
            }
        }
    }
}

/// Parts of a batch with their plans, and users who alone break a law, with its words.
type Parts<T> = (Vec<(BTreeSet<RecordId>, T)>, Vec<(RecordId, String)>);

/// Divides users until each part has a plan that breaks no law; gives those parts with their plans,
/// and each user who alone breaks one. A part of which nothing can be planned is in neither.
fn sound_parts<T>(
    records: BTreeSet<RecordId>,
    plan: impl Fn(&BTreeSet<RecordId>) -> Option<Result<T, String>>,
) -> Parts<T> {
    let (mut sound, mut to_blame) = (Vec::new(), Vec::new());
    let mut parts = vec![records];
    while let Some(mut part) = parts.pop() {
        match plan(&part) {
            None => {}
            Some(Ok(planned)) => sound.push((part, planned)),
            Some(Err(words)) if part.len() < 2 => {
                to_blame.extend(part.into_iter().map(|record| (record, words.clone())));
            }
            Some(Err(_)) => {
                let middle = part.iter().nth(part.len() / 2).cloned();
                let second = middle.map(|middle| part.split_off(&middle)).unwrap_or_default();
                parts.extend([second, part]);
            }
        }
    }
    (sound, to_blame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_breaks_a_law_is_left_out_and_everybody_else_is_planned_once() {
        let everybody: BTreeSet<RecordId> = ["a", "b", "c", "d", "e", "f", "g"].map(RecordId::from).into();
        let broken = ["c", "f"].map(RecordId::from);
        let plan = |part: &BTreeSet<RecordId>| {
            let found: Vec<_> = broken.iter().filter(|record| part.contains(*record)).collect();
            Some(if found.is_empty() { Ok(part.len()) } else { Err(format!("{found:?}")) })
        };
        let (sound, to_blame) = sound_parts(everybody, plan);
        let planned: Vec<_> = sound.iter().flat_map(|(part, _)| part).map(RecordId::as_str).collect();
        assert_eq!(planned, ["a", "b", "d", "e", "g"]);
        assert!(sound.iter().all(|(part, size)| part.len() == *size));
        assert_eq!(to_blame.into_iter().map(|(record, _)| record).collect::<Vec<_>>(), broken);
    }
}
