//! The documents that a person was asked about.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::manifest::Documents;
use crate::source::Source;
use crate::source::SourceError;

/// A source that is read once: what somebody agrees to is what they were shown, whoever edits meanwhile.
pub(super) struct Steady {
    source: Arc<dyn Source>,
    documents: Mutex<Option<Documents>>,
}

impl Steady {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { source, documents: Mutex::new(None) }
    }
}

#[async_trait]
impl Source for Steady {
    fn name(&self) -> &str {
        self.source.name()
    }

    async fn load(&self) -> Result<Documents, SourceError> {
        let mut kept = self.documents.lock().await;
        if let Some(documents) = &*kept {
            return Ok(documents.clone());
        }
        let documents = self.source.load().await?;
        *kept = Some(documents.clone());
        Ok(documents)
    }

    async fn changed(&self) {
        self.source.changed().await;
    }
}
