//! `account.blockers`: what is looked for before an account is shut.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::manifest::located::Located;
use crate::manifest::mapping::PathText;
use crate::manifest::report::Report;
use crate::manifest::words;
use crate::model::target::Blocker;

/// Access that ended stays open for nothing longer than this.
const LONGEST: Duration = Duration::from_hours(24);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BlockerEntry {
    /// The attribute of the account that lists what hangs on it.
    at: PathText,
    /// How long an account is kept open for it, a day at most; without it what hangs there is told.
    wait: Option<Located<String>>,
}

/// The blockers by kind; everything that is wrong with them goes to the report.
pub(crate) fn blockers(
    entries: BTreeMap<String, Located<BlockerEntry>>,
    report: &mut Report<'_>,
) -> BTreeMap<String, Blocker> {
    let mut blockers = BTreeMap::new();
    for (name, entry) in entries {
        let BlockerEntry { at: PathText(at), wait } = entry.value;
        let wait = wait.and_then(|text| length(&text, report));
        blockers.insert(name, Blocker { at, wait });
    }
    blockers
}

fn length(text: &Located<String>, report: &mut Report<'_>) -> Option<Duration> {
    let length = words::duration(text, "write it like `24h`", report)?;
    if length > LONGEST {
        report
            .add(text.place, "bad-duration", "an account stays open for a day at most after its access ended")
            .hint("write `24h` or less");
        return None;
    }
    Some(length)
}
