//! At which level of an approval a request waits.
//!
//! # Guarantees
//! - A level is who decides there and how many must agree, not its number: where a document puts another in its
//!   place, nobody's voice counts for a level at which they did not speak.
//! - A voice that lost its level stays lost, also when that level comes back.

use serde_json::json;

use crate::model::approval::Approval;
use crate::model::approval::Level;
use crate::model::ids::Digest;
use crate::model::request::Request;
use crate::model::request::RequestState;
use crate::model::request::Vote;
use crate::model::request::Word;
use crate::plan::canonical;
use crate::plan::verdict::Moment;
use crate::plan::verdict::round;

/// Who began a request anew, in the audit log, where all levels that are left had agreed.
const BY: &str = "rule:levels";

/// What stands for each level. Of those that are alike each has its own.
pub(super) fn digests(approval: &Approval) -> Vec<Digest> {
    let levels = &approval.levels;
    let one = |(at, level): (usize, &Level)| {
        let alike = levels.iter().take(at).filter(|before| parts(before) == parts(level)).count();
        canonical::digest_of(json!({ "level": parts(level), "alike": alike }))
    };
    levels.iter().enumerate().map(one).collect()
}

/// Everything that says who decides. When others join is no part of it.
fn parts(level: &Level) -> serde_json::Value {
    let Level { any_of, quorum, escalate } = level;
    json!({ "anyOf": any_of, "quorum": quorum, "to": escalate.as_ref().map(|escalation| &escalation.to) })
}

/// The first level that has not agreed. Where all have, it is the last one's.
pub(super) fn position(digests: &[Digest], request: &Request) -> usize {
    let open = digests.iter().position(|digest| !request.passed.contains(digest));
    open.unwrap_or_else(|| digests.len().saturating_sub(1))
}

/// Acceptances of the running round by people who spoke at a level that is still there.
pub(super) fn voices<'a>(digests: &'a [Digest], request: &'a Request) -> impl Iterator<Item = &'a Vote> {
    let counts = |vote: &&Vote| vote.of.as_ref().is_some_and(|of| digests.contains(of));
    round(request).filter(|vote| vote.said == Word::Accept).filter(counts)
}

/// A request that waits, by the levels as they are; `None`: it waits as it did.
///
/// What was agreed to at levels that are still there stands. Where that would be all of them, everybody is asked
/// anew: a document that lost levels accepts nothing by itself.
pub fn realigned(approval: &Approval, request: &Request, now: Moment) -> Option<Request> {
    let digests = digests(approval);
    if request.state != RequestState::Pending || digests.is_empty() {
        return None;
    }
    let mut next = request.clone();
    next.passed.retain(|passed| digests.contains(passed));
    for vote in next.votes.iter_mut().filter(|vote| vote.of.as_ref().is_some_and(|of| !digests.contains(of))) {
        vote.of = None;
    }
    if digests.iter().all(|digest| next.passed.contains(digest)) {
        let (said, at, level) = (Word::Reopen, now.wall, next.level);
        next.votes.push(Vote { said, by: BY.to_owned(), person: BY.to_owned(), at, level, of: None, reason: None });
        next.passed.clear();
    }
    next.level = position(&digests, &next);
    let turn = digests.get(next.level).cloned();
    if next.turn != turn {
        // One of before levels had names waits for whom its number says, if nobody agreed yet.
        let is_same = next.turn.is_none() && next.level == request.level && next.votes.is_empty();
        if !is_same {
            (next.level_begun, next.escalated, next.reminded) = (now.window, false, None);
        }
        next.turn = turn;
    }
    (next != *request).then_some(next)
}
