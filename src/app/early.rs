//! The first load of a start, begun while the store is opened: both take a while, and neither needs the
//! other.
//!
//! What was read before the store was ours may be older than what another process accepted and did
//! meanwhile. So it counts for nothing: it leaves the source warm, and the load that counts looks at
//! every file again.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::manifest::Documents;
use crate::source::Source;
use crate::source::SourceError;

/// A source whose first load is under way already. What changes after it began is told by
/// [`Source::changed`], as after any load.
pub struct Early {
    source: Arc<dyn Source>,
    /// `None` once somebody waited for it.
    first: Mutex<Option<JoinSet<()>>>,
}

impl Early {
    /// Begins to load. Must be called within a runtime.
    pub fn begin(source: Arc<dyn Source>) -> Self {
        let (mut first, loads) = (JoinSet::new(), Arc::clone(&source));
        first.spawn(async move { drop(loads.load().await) });
        Self { source, first: Mutex::new(Some(first)) }
    }
}

#[async_trait]
impl Source for Early {
    fn name(&self) -> &str {
        self.source.name()
    }

    async fn load(&self) -> Result<Documents, SourceError> {
        let first = self.first.lock().await.take();
        if let Some(mut first) = first {
            // One that failed in itself fails in the load that counts.
            while first.join_next().await.is_some() {}
        }
        self.source.load().await
    }

    async fn follow(&self) -> Result<Documents, SourceError> {
        self.source.follow().await
    }

    async fn changed(&self) {
        self.source.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use super::*;

    /// Counts its loads, and panics in the one of this number.
    struct Counting {
        loads: AtomicUsize,
        panics: Option<usize>,
    }

    #[async_trait]
    impl Source for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }

        async fn load(&self) -> Result<Documents, SourceError> {
            let load = self.loads.fetch_add(1, Ordering::Relaxed);
            assert_ne!(Some(load), self.panics, "this load fails in itself");
            Err(SourceError { message: load.to_string() })
        }

        async fn changed(&self) {}
    }

    async fn told(panics: Option<usize>) -> [String; 2] {
        let source = Arc::new(Counting { loads: AtomicUsize::new(0), panics });
        let early = Early::begin(Arc::clone(&source) as Arc<dyn Source>);
        while source.loads.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        [early.load().await.unwrap_err().message, early.load().await.unwrap_err().message]
    }

    /// L5: what was read before the store was ours may be older than what another process did by it.
    #[tokio::test]
    async fn what_was_read_early_counts_for_nothing_but_warmth() {
        assert_eq!(told(None).await, ["1", "2"]);
    }

    #[tokio::test]
    async fn an_early_load_that_fails_in_itself_harms_nobody() {
        assert_eq!(told(Some(0)).await, ["1", "2"]);
    }
}
