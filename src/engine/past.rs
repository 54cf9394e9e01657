//! What was done about one user before, looked through as far back as it takes.

use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::ids::RecordId;
use crate::model::link::Space;
use crate::store::Store;
use crate::store::StoreError;

/// Most users have fewer calls than this; of others, ever more are read.
const FIRST: usize = 64;

/// The last call that `is` what is looked for, however many came after it.
pub async fn last_call(
    store: &dyn Store,
    (space, record): (&Space, &RecordId),
    is: impl Fn(&Intent, Option<&OutcomeResult>) -> bool,
) -> Result<Option<Intent>, StoreError> {
    let mut limit = FIRST;
    loop {
        let calls = store.intents_of(space, record, limit).await?;
        let all = calls.len() < limit;
        let found = calls.into_iter().find(|(intent, outcome)| is(intent, outcome.as_ref()));
        if all || found.is_some() {
            return Ok(found.map(|(intent, _)| intent));
        }
        limit = limit.saturating_mul(8);
    }
}
