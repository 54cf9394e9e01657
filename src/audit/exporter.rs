//! Audit heads, written outside behind the commits that they belong to.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::audit::ends::Ends;
use crate::audit::ends::Export;

/// From one write to the next: where commits follow one another, a write for each would cost as much as
/// they do. A rollback of less than this is found by nobody.
const PAUSE: Duration = Duration::from_millis(50);

/// Writes the newest ends out, one write after another, while commits go on: what is committed is on
/// the disk already, and an older export finds a little less and accuses nobody.
pub struct Exporter {
    newest: watch::Sender<Ends>,
    task: JoinSet<()>,
}

impl Exporter {
    /// Writes `ends` out, and from then on whatever they become.
    pub fn start(path: PathBuf, mut export: Export, ends: &Ends) -> Self {
        write(&path, &mut export, ends);
        let (newest, news) = watch::channel(ends.clone());
        let mut task = JoinSet::new();
        task.spawn(follow(path, export, news));
        Self { newest, task }
    }

    /// Has these ends written.
    pub fn follow(&self, ends: &Ends) {
        self.newest.send_replace(ends.clone());
    }

    /// Waits until the newest ends are written.
    pub async fn close(mut self) {
        drop(self.newest);
        drop(self.task.join_next().await);
    }
}

async fn follow(path: PathBuf, mut export: Export, mut news: watch::Receiver<Ends>) {
    while news.changed().await.is_ok() {
        let (path, ends) = (path.clone(), news.borrow_and_update().clone());
        let writing = move || {
            write(&path, &mut export, &ends);
            export
        };
        export = match spawn_blocking(writing).await {
            Ok(export) => export,
            Err(error) => {
                return tracing::warn!(%error, "audit heads are exported no more until rosterd starts again");
            }
        };
        pause(&mut news).await;
    }
}

/// Waits a little, and no longer than there may be news: the last ones of all are not kept waiting.
async fn pause(news: &mut watch::Receiver<Ends>) {
    let mut more = false;
    let over = async {
        while news.changed().await.is_ok() {
            more = true;
        }
    };
    // Either way it is over.
    drop(timeout(PAUSE, over).await);
    if more {
        news.mark_changed();
    }
}

fn write(path: &Path, export: &mut Export, ends: &Ends) {
    if let Err(error) = export.write(path, ends) {
        tracing::warn!(path = %path.display(), %error, "audit heads were not exported");
    }
}
