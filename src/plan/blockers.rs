//! What still hangs on somebody whose access ended: looked for before the account is shut, told, and by the
//! target's rule waited for (`account.blockers`, S4.5).
//!
//! # Guarantees
//! - What rosterd granted is taken at once, whatever hangs there: only shutting the account waits.
//! - It waits from the first look that showed something, and no longer than the rule says, a day at most,
//!   whatever comes and goes meanwhile, and by the time that really passed.
//! - A person's word that ends access waits for nothing.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use serde_json::Value;

use crate::model::account::Account;
use crate::model::hand::Hand;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::path::AttributePath;
use crate::model::projection::Desired;
use crate::model::projection::NoAccess;
use crate::model::projection::NoAccessReason;
use crate::model::target::AccountPolicy;
use crate::model::target::Blocker;
use crate::model::target::Ending;
use crate::plan::input::PlanInput;
use crate::plan::linked;
use crate::plan::states;

/// Until when the account of somebody without access stays open for what hangs on it; `None`: no longer.
pub fn waits(input: &PlanInput<'_>, account: &Account, no: &NoAccess) -> Option<DateTime<Utc>> {
    let may_wait = no.reason != NoAccessReason::Revoked;
    open_until(&input.target.account, input.hand(&account.id), account, input.passed).filter(|_| may_wait)
}

/// The same where it is known that the account may wait at all.
pub fn open_until(policy: &AccountPolicy, hand: &Hand, account: &Account, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let until = hanging(policy, account).filter_map(|(_, blocker, _)| until(policy, hand, blocker, now));
    until.max().filter(|until| now < *until)
}

/// Whether the wait for anything that was seen there came to its end since then.
pub fn ended_since(policy: &AccountPolicy, hand: &Hand, then: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    let seen = policy.blockers.values().filter(|blocker| hand.waited.contains_key(&blocker.at));
    let mut ends = seen.filter_map(|blocker| until(policy, hand, blocker, now));
    ends.any(|until| then < until && until <= now)
}

/// The end of the wait for one kind: counted from when it was first seen, whatever came and went since, and
/// for all of them together no longer than the longest wait.
fn until(policy: &AccountPolicy, hand: &Hand, blocker: &Blocker, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let since = hand.waited.get(&blocker.at).copied().unwrap_or_else(|| first(hand, now));
    let begun = hand.waited.values().min().copied().unwrap_or_else(|| first(hand, now));
    let longest = policy.blockers.values().filter_map(|blocker| blocker.wait).max()?;
    let own = since.checked_add_signed(TimeDelta::from_std(blocker.wait?).ok()?)?;
    let all = begun.checked_add_signed(TimeDelta::from_std(longest).ok()?)?;
    Some(own.min(all))
}

/// From when a kind counts that is seen now for the first time. A store of an earlier version knows only since
/// when the account is kept open, for whatever it was.
fn first(hand: &Hand, now: DateTime<Utc>) -> DateTime<Utc> {
    hand.blocked.filter(|_| hand.waited.is_empty()).unwrap_or(now)
}

/// Why the user has no access, where that shuts the account.
fn shut_by(input: &PlanInput<'_>, desired: Option<&Desired>) -> Option<NoAccess> {
    let no = match desired {
        Some(Desired::None(no)) => no.clone(),
        None => linked::gone(input),
        Some(Desired::Account(_) | Desired::Conflict(_)) => return None,
    };
    matches!(no.ending, Ending::Disable | Ending::Suspend | Ending::Delete).then_some(no)
}

/// Since when each kind was seen there, after a look at the account. What comes and goes, and an account that
/// another hand opens again, make no second day: only a return does.
pub fn waited(
    input: &PlanInput<'_>,
    link: &Link,
    account: &Account,
    desired: Option<&Desired>,
) -> BTreeMap<AttributePath, DateTime<Utc>> {
    if matches!(desired, Some(Desired::Account(_))) {
        return BTreeMap::new();
    }
    let mut waited = input.hand(&account.id).waited.clone();
    let may_wait = shut_by(input, desired).is_some_and(|no| no.reason != NoAccessReason::Revoked);
    if may_wait && states::is_open(link, account.state) {
        let hanging = hanging(&input.target.account, account).filter(|(_, blocker, _)| blocker.wait.is_some());
        for (_, blocker, _) in hanging {
            waited.entry(blocker.at.clone()).or_insert_with(|| first(input.hand(&account.id), input.passed));
        }
    }
    waited
}

/// Since when the account is kept open, after a look at it.
pub fn since(
    input: &PlanInput<'_>,
    link: &Link,
    account: &Account,
    desired: Option<&Desired>,
) -> Option<DateTime<Utc>> {
    let no = shut_by(input, desired)?;
    let kept = waits(input, account, &no).is_some() && states::is_open(link, account.state);
    kept.then(|| input.hand(&account.id).blocked.unwrap_or(input.now))
}

/// What hangs on the account, in words. What it is called there may name people, so it is counted alone.
pub fn told(policy: &AccountPolicy, account: &Account) -> Option<String> {
    let kinds: Vec<_> = hanging(policy, account).map(|(name, _, count)| format!("{count} of `{name}`")).collect();
    (!kinds.is_empty()).then(|| format!("on the account hang {}", kinds.join(", ")))
}

/// Who is asked about, for a person's next step.
pub fn hint(record: &RecordId) -> String {
    format!("settle or reassign it there; `rosterd revoke {record}` waits for nothing")
}

fn hanging<'p>(policy: &'p AccountPolicy, account: &Account) -> impl Iterator<Item = (&'p str, &'p Blocker, usize)> {
    let blockers = policy.blockers.iter();
    let found = blockers.map(|(name, blocker)| (name.as_str(), blocker, items(account.values.get(&blocker.at))));
    found.filter(|(_, _, count)| *count > 0).collect::<Vec<_>>().into_iter()
}

/// How many a target lists: texts, numbers, or objects.
fn items(value: Option<&Value>) -> usize {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => 0,
        Some(Value::Array(list)) => list.iter().map(|item| items(Some(item))).sum(),
        Some(Value::String(text)) => usize::from(!text.trim().is_empty()),
        Some(Value::Object(_) | Value::Bool(true) | Value::Number(_)) => 1,
    }
}
