//! A journal on virtual time that can be told to fail.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::MutexGuard;

use async_trait::async_trait;
use rosterd::model::history::Intent;
use rosterd::model::ids::IntentId;
use rosterd::store::journal::Journal;
use rosterd::store::journal::JournalError;

#[derive(Default)]
pub(crate) struct Inside {
    pub(crate) intents: Vec<Intent>,
    /// How often something was written down.
    pub(crate) appended: usize,
    /// Nothing can be written.
    pub(crate) broken: bool,
}

#[derive(Default)]
pub(crate) struct MemoryJournal {
    inside: Mutex<Inside>,
}

impl MemoryJournal {
    pub(crate) fn open(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&self, intents: Vec<Intent>) -> Result<(), JournalError> {
        let mut inside = self.open();
        if inside.broken {
            return Err(JournalError("the journal cannot be written; look at its disk".to_owned()));
        }
        inside.appended += intents.len();
        inside.intents.extend(intents);
        Ok(())
    }

    async fn intents(&self) -> Result<Vec<Intent>, JournalError> {
        Ok(self.open().intents.clone())
    }

    async fn forget(&self, intents: BTreeSet<IntentId>) -> Result<(), JournalError> {
        self.open().intents.retain(|intent| !intents.contains(&intent.id));
        Ok(())
    }
}
