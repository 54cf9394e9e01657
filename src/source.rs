//! The port to where desired users come from.

use async_trait::async_trait;

use crate::manifest::Documents;

/// A source of documents.
#[async_trait]
pub trait Source: Send + Sync {
    /// Its name in metrics and messages.
    fn name(&self) -> &str;

    /// Reads everything; what has not changed since the last load is not read again.
    ///
    /// # Errors
    /// [`SourceError`] where there is nothing to look at: the folder is gone, empty or
    /// unreadable. Broken documents are no error here: they stand in the result.
    async fn load(&self) -> Result<Documents, SourceError>;

    /// What [`load`](Self::load) gives, where it is asked for because [`changed`](Self::changed) returned:
    /// only what that told of needs to be looked at.
    ///
    /// # Errors
    /// As `load`.
    async fn follow(&self) -> Result<Documents, SourceError> {
        self.load().await
    }

    /// Returns when something may have changed since the last load; changes that come close
    /// together are told once. Cancel-safe.
    async fn changed(&self);
}

/// Why a source gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What is wrong and what to do.
    pub message: String,
}
