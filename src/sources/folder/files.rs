//! The files of a folder, parsed, kept and watched; what they mean is not known here.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::time::Instant;

use crate::source::SourceError;
use crate::sources::folder::read::Loaded;
use crate::sources::folder::read::Reader;
use crate::sources::folder::walk::Walk;
use crate::sources::folder::walk::walk;
use crate::sources::folder::watch::Watch;
use crate::sources::folder::watch::Watching;

/// A folder of files that each give a `T`.
pub(crate) struct Files<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    folder: PathBuf,
    exclude: Vec<PathBuf>,
    watch: Watch,
    reader: Mutex<Reader<T>>,
    /// What the last load saw.
    last: Mutex<Option<Result<Walk, SourceError>>>,
    /// What the last look saw that was not that, and since when there is something new.
    unsettled: Mutex<Option<(Result<Walk, SourceError>, Instant)>>,
}

impl<T: Send + Sync + 'static> Files<T> {
    pub(crate) fn new(folder: &Path, exclude: Vec<PathBuf>, timing: Watching, parse: fn(&str, &[u8]) -> T) -> Self {
        let inner = Inner {
            folder: folder.to_path_buf(),
            exclude,
            watch: Watch::new(folder, timing),
            reader: Mutex::new(Reader::new(parse)),
            last: Mutex::default(),
            unsettled: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Files read since the start.
    pub(crate) fn files_read(&self) -> u64 {
        locked(&self.inner.reader).files_read()
    }

    /// Looks at everything, reads what changed and makes something of it, all on a thread of its
    /// own. Two loads at once are made one after the other.
    ///
    /// # Errors
    /// Where there is nothing to look at.
    pub(crate) async fn load<R: Send + 'static>(
        &self,
        make: impl FnOnce(Loaded<'_, T>, &Walk) -> R + Send + 'static,
    ) -> Result<R, SourceError> {
        self.look(true, make).await
    }

    /// The same, where events name what changed of that alone: what else changed is found by the rescan.
    ///
    /// # Errors
    /// Where there is nothing to look at.
    pub(crate) async fn follow<R: Send + 'static>(
        &self,
        make: impl FnOnce(Loaded<'_, T>, &Walk) -> R + Send + 'static,
    ) -> Result<R, SourceError> {
        self.look(false, make).await
    }

    async fn look<R: Send + 'static>(
        &self,
        whole: bool,
        make: impl FnOnce(Loaded<'_, T>, &Walk) -> R + Send + 'static,
    ) -> Result<R, SourceError> {
        let inner = Arc::clone(&self.inner);
        let (signal, result) = in_background(move || inner.load(whole, make)).await?;
        // Only now: had the caller gone away, the news would have reached nobody.
        self.inner.watch.seen(signal);
        result
    }

    /// Returns when something may have changed since the last load that somebody waited for.
    pub(crate) async fn changed(&self) {
        loop {
            tokio::select! {
                () = self.inner.watch.signalled() => return self.inner.watch.settled().await,
                () = self.inner.watch.scan_due() => {
                    let inner = Arc::clone(&self.inner);
                    if let Err(error) = in_background(move || inner.scan()).await {
                        tracing::warn!(error = %error, "the folder could not be looked at again");
                        self.inner.watch.scanned();
                    }
                }
            }
        }
    }
}

impl<T: Send + Sync> Inner<T> {
    fn load<R>(&self, whole: bool, make: impl FnOnce(Loaded<'_, T>, &Walk) -> R) -> (u64, Result<R, SourceError>) {
        // Held throughout, so that a load never answers with files older than its signal.
        let mut reader = locked(&self.reader);
        let (signal, touched) = self.watch.begin();
        // Put back at the end: of a load that breaks off nothing is built upon.
        let mut last = locked(&self.last).take();
        let looked_at = match last.as_mut() {
            Some(Ok(walk)) if !whole && !touched.unknown => walk.look_again(&self.folder, &touched.paths),
            Some(_) | None => None,
        };
        let found = last.filter(|_| looked_at.is_some()).unwrap_or_else(|| self.walk_all());
        if found.is_err() {
            self.watch.put_back(touched.paths.clone());
        }
        let result = found.as_ref().map(|walk| make(reader.read(walk, &touched.paths, looked_at), walk));
        let result = result.map_err(Clone::clone);
        *locked(&self.last) = Some(found);
        *locked(&self.unsettled) = None;
        (signal, result)
    }

    fn walk_all(&self) -> Result<Walk, SourceError> {
        let mut entered = BTreeSet::new();
        let found = walk(&self.folder, &self.exclude, &mut |folder| {
            self.watch.enter(folder);
            entered.insert(folder.to_path_buf());
        });
        self.watch.retain(&entered);
        found
    }

    /// Signals when the folder looks different from what the last load saw, and no different a moment later:
    /// somebody may be in the middle of writing. What it finds stays found even if nobody waits for it any more.
    fn scan(&self) {
        let found = walk(&self.folder, &self.exclude, &mut |_| {});
        let mut unsettled = locked(&self.unsettled);
        if locked(&self.last).as_ref() == Some(&found) {
            *unsettled = None;
            return self.watch.scanned();
        }
        let (before, since) = unsettled.take().unzip();
        let since = since.unwrap_or_else(Instant::now);
        let settled = before.as_ref() == Some(&found);
        if !settled && since.elapsed() < self.watch.patience() {
            *unsettled = Some((found, since));
            return self.watch.scan_again();
        }
        if !settled {
            tracing::warn!("somebody keeps writing in the folder; it is read as it is by now");
        }
        self.watch.signal();
        self.watch.scanned();
    }
}

/// Walking and parsing block; they have threads of their own.
async fn in_background<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, SourceError> {
    let message = |error| SourceError { message: format!("reading the folder broke off ({error}); it is tried again") };
    tokio::task::spawn_blocking(work).await.map_err(message)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
