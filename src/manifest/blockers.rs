//! `account.blockers`: what is looked for before an account is shut.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::manifest::located::Located;
use crate::manifest::mapping::PathText;
use crate::manifest::report::Report;
use crate::model::target::Blocker;
use crate::schedule::parse_duration;

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
    match parse_duration(text) {
        Ok(length) if length <= LONGEST => Some(length),
        Ok(_) => {
            report
                .add(text.place, "bad-duration", "an account stays open for a day at most after its access ended")
                .hint("write `24h` or less");
            None
        }
        Err(error) => {
            let text_of = error.to_string();
            let (message, hint) = text_of.split_once("; ").unwrap_or((&text_of, "write it like `24h`"));
            report.add(text.place, "bad-duration", message).hint(hint);
            None
        }
    }
}
