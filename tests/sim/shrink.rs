//! Makes a failing case small: fewer steps, fewer users, fewer targets, shorter waits.

use crate::case::Case;
use crate::case::Timed;
use crate::drive;

/// Runs that shrinking may cost.
const MOST_RUNS: usize = 400;

/// The smallest case found that breaks the same law, and the numbers of the steps that it keeps.
pub(crate) fn shrink(case: &Case, law: &str) -> (Case, Vec<usize>) {
    let mut best = case.clone();
    let mut kept: Vec<usize> = (0..case.steps.len()).collect();
    let mut runs = 0;
    let mut breaks = |case: &Case| {
        runs += 1;
        runs <= MOST_RUNS && drive::run(case).violation.is_some_and(|violation| violation.law == law)
    };
    let mut size = best.steps.len();
    while size > 0 {
        let mut at = 0;
        while at < best.steps.len() {
            let end = (at + size).min(best.steps.len());
            let mut fewer = best.clone();
            fewer.steps.drain(at..end);
            if breaks(&fewer) {
                best = fewer;
                kept.drain(at..end);
            } else {
                at = end;
            }
        }
        size /= 2;
    }
    let records: Vec<_> = best.declared.people.keys().cloned().collect();
    for record in records.iter().rev() {
        let mut fewer = best.clone();
        fewer.declared.people.remove(record);
        if !fewer.declared.people.is_empty() && breaks(&fewer) {
            best = fewer;
        }
    }
    for at in 0..best.steps.len() {
        let mut sooner = best.clone();
        sooner.steps[at] = Timed { wait: sooner.steps[at].wait.min(1_000), ..sooner.steps[at].clone() };
        if sooner != best && breaks(&sooner) {
            best = sooner;
        }
    }
    (best, kept)
}
