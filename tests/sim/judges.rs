//! Judges: the laws, read off the log of what happened, by code that knows nothing of the engine's.
//!
//! [`Facts`] folds the log into what is true: accounts and whose doing they are, documents and which
//! of them the engine took up, intents and the calls that belong to them. Each judge looks at one
//! entry of the log with the facts before it.

pub(crate) mod access;
mod calls;
mod deletion;
pub(crate) mod facts;
mod limits;
mod prompt;
pub(crate) mod rest;

use crate::case::Case;
use crate::world::Entry;

pub(crate) use facts::Facts;

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) law: &'static str,
    pub(crate) words: String,
}

/// Makes a violation.
#[expect(clippy::unnecessary_wraps, reason = "it is the verdict that a judge returns")]
pub(crate) fn broken(law: &'static str, words: impl Into<String>) -> Option<Violation> {
    Some(Violation { law, words: words.into() })
}

/// How long the engine may go on with what it knew before: the messages to its workers and the
/// commits under way take this long at most. Milliseconds.
pub(crate) const GRACE: u64 = 250;

type Judge = fn(&Facts, &Entry) -> Option<Violation>;

/// Every judge of single entries.
const JUDGES: [Judge; 12] = [
    calls::each_call_has_one_intent_and_one_audit_event,
    calls::only_our_own_accounts_are_written,
    calls::nobody_gets_a_second_account,
    calls::what_another_hand_ended_stays_ended,
    calls::only_mapped_attributes_are_written_and_only_where_they_differ,
    calls::an_intent_belongs_to_its_place,
    deletion::nobody_is_deleted_before_the_wait_is_over,
    access::a_call_follows_from_the_newest_documents,
    access::what_a_person_decided_stands,
    access::a_load_is_accepted_only_whole_and_only_if_it_does_not_shrink,
    limits::no_window_holds_more_than_its_limit,
    prompt::a_removal_leaves_at_once,
];

/// Hears the log as it grows.
pub(crate) struct Bench {
    facts: Facts,
    heard: usize,
}

impl Bench {
    pub(crate) fn new(case: &Case) -> Self {
        Self { facts: Facts::new(case), heard: 0 }
    }

    /// Judges what is new.
    pub(crate) fn hear(&mut self, log: &[Entry]) -> Option<Violation> {
        while let Some(entry) = log.get(self.heard) {
            self.heard += 1;
            self.facts.before(entry);
            let verdict = JUDGES.iter().find_map(|judge| judge(&self.facts, entry));
            self.facts.after(entry);
            prompt::expect(&mut self.facts, entry);
            if verdict.is_some() {
                return verdict;
            }
        }
        None
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }
}
