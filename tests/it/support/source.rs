//! A source that a test writes to.

use std::sync::Mutex;

use async_trait::async_trait;
use rosterd::manifest::Documents;
use rosterd::source::Source;
use rosterd::source::SourceError;
use tokio::sync::Notify;

pub(crate) struct MemorySource {
    next: Mutex<Result<Documents, SourceError>>,
    changed: Notify,
}

impl MemorySource {
    pub(crate) fn new(documents: Documents) -> Self {
        Self { next: Mutex::new(Ok(documents)), changed: Notify::new() }
    }

    pub(crate) fn set(&self, documents: Result<Documents, SourceError>) {
        *self.next.lock().unwrap() = documents;
        self.changed.notify_one();
    }
}

#[async_trait]
impl Source for MemorySource {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn load(&self) -> Result<Documents, SourceError> {
        self.next.lock().unwrap().clone()
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}
