//! What still hangs on somebody whose access ended: looked for before the account is shut, told, and by the
//! target's rule waited for (`account.blockers`, S4.5).
//!
//! # Guarantees
//! - What rosterd granted is taken at once, whatever hangs there: only shutting the account waits.
//! - It waits from the first look that showed something, and no longer than the rule says, a day at most.
//! - A person's word that ends access waits for nothing.

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use serde_json::Value;

use crate::model::account::Account;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::projection::Desired;
use crate::model::projection::NoAccess;
use crate::model::projection::NoAccessReason;
use crate::model::target::Blocker;
use crate::model::target::Ending;
use crate::plan::input::PlanInput;
use crate::plan::linked;
use crate::plan::states;

/// Until when the account of somebody without access stays open for what hangs on it; `None`: no longer.
pub fn waits(input: &PlanInput<'_>, account: &Account, no: &NoAccess) -> Option<DateTime<Utc>> {
    let since = input.hand(&account.id).blocked.unwrap_or(input.now);
    let until = |blocker: &Blocker| {
        let wait = TimeDelta::from_std(blocker.wait?).ok()?;
        since.checked_add_signed(wait)
    };
    let may_wait = no.reason != NoAccessReason::Revoked;
    let hanging = hanging(input, account).filter(|_| may_wait);
    hanging.filter_map(|(_, blocker, _)| until(blocker)).max().filter(|until| input.now < *until)
}

/// Since when something is waited for, after a look at the account.
pub fn since(
    input: &PlanInput<'_>,
    link: &Link,
    account: &Account,
    desired: Option<&Desired>,
) -> Option<DateTime<Utc>> {
    let gone = linked::gone(input);
    let no = match desired {
        Some(Desired::None(no)) => no,
        None => &gone,
        Some(Desired::Account(_) | Desired::Conflict(_)) => return None,
    };
    let ends = matches!(no.ending, Ending::Disable | Ending::Suspend | Ending::Delete);
    let waited = hanging(input, account).any(|(_, blocker, _)| blocker.wait.is_some());
    let begun = ends && waited && no.reason != NoAccessReason::Revoked && states::is_open(link, account.state);
    begun.then(|| input.hand(&account.id).blocked.unwrap_or(input.now))
}

/// What hangs on the account, in words. What it is called there may name people, so it is counted alone.
pub fn told(input: &PlanInput<'_>, account: &Account) -> Option<String> {
    let kinds: Vec<_> = hanging(input, account).map(|(name, _, count)| format!("{count} of `{name}`")).collect();
    (!kinds.is_empty()).then(|| format!("on the account hang {}", kinds.join(", ")))
}

/// Who is asked about, for a person's next step.
pub fn hint(record: &RecordId) -> String {
    format!("settle or reassign it there; `rosterd revoke {record}` waits for nothing")
}

fn hanging<'i>(input: &PlanInput<'i>, account: &Account) -> impl Iterator<Item = (&'i str, &'i Blocker, usize)> {
    let blockers = input.target.account.blockers.iter();
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
