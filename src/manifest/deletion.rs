//! `account.deleteAfter` and `account.deleteUnattended`.

use std::time::Duration;

use crate::manifest::located::Located;
use crate::manifest::report::Report;
use crate::manifest::words;
use crate::model::target::Deletion;
use crate::model::target::Ending;

/// A shorter wait leaves nobody the time to notice a mistake before it cannot be undone.
const SHORTEST: Duration = Duration::from_hours(24);

/// What is written of deletions, and how accounts end there.
pub(crate) struct DeletionEntry<'e> {
    pub(crate) after: Option<&'e Located<String>>,
    pub(crate) unattended: Option<&'e Located<bool>>,
    pub(crate) endings: [Ending; 2],
}

/// The wait; everything that is wrong with it goes to the report.
pub(crate) fn deletion(entry: &DeletionEntry<'_>, report: &mut Report<'_>) -> Option<Deletion> {
    let unattended = entry.unattended.filter(|word| word.value);
    let Some(after) = entry.after else {
        if let Some(word) = unattended {
            report
                .add(word.place, "missing-field", "deletions that nobody looks at need a wait, and there is none")
                .hint("add `deleteAfter: 90d`, or take `deleteUnattended` out");
        }
        return None;
    };
    let acts = |ending: &Ending| matches!(ending, Ending::Disable | Ending::Suspend | Ending::Delete);
    if !entry.endings.iter().any(acts) {
        report
            .add(
                after.place,
                "wrong-value",
                "accounts end neither by `onOutOfScope` nor by `onGone`, so none is deleted",
            )
            .hint("write `disable` or `delete` at one of them, or take `deleteAfter` out");
    }
    Some(Deletion { after: length(after, report)?, unattended: unattended.is_some() })
}

fn length(text: &Located<String>, report: &mut Report<'_>) -> Option<Duration> {
    let length = words::duration(text, "write it like `90d`", report)?;
    if length < SHORTEST {
        report
            .add(text.place, "bad-duration", "an account is deleted a day after it was ended, or later")
            .hint("write it like `90d`");
        return None;
    }
    Some(length)
}
