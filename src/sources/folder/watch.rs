//! Learns that a folder changed: from file system events, put together to one signal.
//!
//! Every folder is watched by itself, set before it is listed. That holds for folders behind
//! links and for those that come back after they were gone, which a recursive watch loses.
//!
//! A file that somebody is writing may be sound YAML and say half of what is meant. So a change is told once
//! whoever writes has closed it, and where nobody tells of that, once two looks apart show the same.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use notify::Event;
use notify::EventKind;
use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher;
use notify::event::AccessKind;
use notify::event::AccessMode;
use notify::event::CreateKind;
use notify::event::ModifyKind;
use notify::event::RemoveKind;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::sources::folder::walk::Identity;
use crate::sources::folder::walk::is_manifest;

/// How soon a change is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watching {
    /// A change is told when nothing followed it for so long: an editor's save is several steps.
    pub quiet: Duration,
    /// It is told after so long all the same: somebody may write without a pause.
    pub at_most: Duration,
    /// So far apart are two looks that must agree where no events tell who is writing.
    pub settle: Duration,
    /// A file that is being written is waited for so long, and then read as it is.
    pub writers: Duration,
    /// The folder is looked at so often, for file systems without events (network mounts).
    pub rescan: Duration,
    /// Whether events are asked for at all.
    pub events: bool,
}

impl Default for Watching {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(150),
            at_most: Duration::from_millis(500),
            settle: Duration::from_secs(1),
            writers: Duration::from_secs(10),
            rescan: Duration::from_secs(30),
            events: true,
        }
    }
}

/// From so many touched paths on, a walk through everything is as cheap as a look at each.
const MOST_TOUCHED: usize = 10_000;

/// Whether the system tells when a file that was written is closed.
const TELLS_CLOSING: bool = cfg!(any(target_os = "linux", target_os = "android"));
const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

/// Signals of one folder.
pub(crate) struct Watch {
    timing: Watching,
    /// The folder as it was named, made absolute: links in it may be swapped.
    folder: PathBuf,
    shared: Arc<Shared>,
    /// The number of the signal that the last load has seen.
    seen: AtomicU64,
    next_scan: Mutex<Instant>,
    watcher: Mutex<Option<RecommendedWatcher>>,
}

/// What the watcher's thread writes to. The watcher waits for that thread, so none of these locks
/// is held while it is called.
struct Shared {
    signals: watch::Sender<u64>,
    touched: Mutex<Touched>,
    watched: Mutex<BTreeMap<PathBuf, Identity>>,
    /// Manifests that were written to and not closed since.
    writing: Mutex<BTreeSet<PathBuf>>,
}

/// What events named since the last load.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Files and folders.
    pub(crate) paths: BTreeSet<PathBuf>,
    /// Whether something changed that no path tells of.
    pub(crate) unknown: bool,
}

impl Watch {
    pub(crate) fn new(folder: &Path, timing: Watching) -> Self {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        let shared = Arc::new(Shared {
            // One ahead of `seen`: what was never loaded may have changed.
            signals: watch::Sender::new(1),
            touched: Mutex::default(),
            watched: Mutex::default(),
            writing: Mutex::default(),
        });
        let watcher = timing.events.then(|| started(&folder, &shared)).flatten();
        Self {
            next_scan: Mutex::new(Instant::now() + timing.rescan),
            seen: AtomicU64::new(0),
            watcher: Mutex::new(watcher),
            timing,
            folder,
            shared,
        }
    }

    /// Begins a load: the signal that it answers, and what events named since the last.
    pub(crate) fn begin(&self) -> (u64, Touched) {
        let signal = *self.shared.signals.borrow();
        *locked(&self.next_scan) = Instant::now() + self.timing.rescan;
        self.enter_ancestors();
        (signal, std::mem::take(&mut locked(&self.shared.touched)))
    }

    /// Nothing was read of what these paths tell of.
    pub(crate) fn put_back(&self, paths: BTreeSet<PathBuf>) {
        locked(&self.shared.touched).paths.extend(paths);
    }

    /// The load that began with this signal is in somebody's hands.
    pub(crate) fn seen(&self, signal: u64) {
        self.seen.fetch_max(signal, Ordering::Relaxed);
    }

    /// Watches one folder from now on.
    pub(crate) fn enter(&self, folder: &Path) {
        let Ok(metadata) = fs::metadata(folder) else { return };
        let identity = Identity::of(&metadata);
        let former = locked(&self.shared.watched).get(folder).copied();
        if former == Some(identity) {
            return;
        }
        let mut watcher = locked(&self.watcher);
        let Some(watcher) = watcher.as_mut() else { return };
        if former.is_some() {
            // It names a folder that is gone; whether that could be unwatched is of no interest.
            drop(watcher.unwatch(folder));
        }
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => {
                locked(&self.shared.watched).insert(folder.to_path_buf(), identity);
            }
            Err(error) => tracing::warn!(
                folder = %folder.display(), error = %error, rescan_seconds = self.timing.rescan.as_secs(),
                "a folder cannot be watched; changes there are found by the rescan"
            ),
        }
    }

    /// Watches no folder below ours that is not among these.
    pub(crate) fn retain(&self, folders: &BTreeSet<PathBuf>) {
        let gone: Vec<_> = {
            let watched = locked(&self.shared.watched);
            let others = watched.keys().filter(|folder| !folders.contains(*folder) && !self.folder.starts_with(folder));
            others.cloned().collect()
        };
        for folder in gone {
            if let Some(watcher) = locked(&self.watcher).as_mut() {
                drop(watcher.unwatch(&folder));
            }
            locked(&self.shared.watched).remove(&folder);
        }
    }

    /// Something changed, as somebody else found out.
    pub(crate) fn signal(&self) {
        locked(&self.shared.touched).unknown = true;
        self.shared.signals.send_modify(|signal| *signal += 1);
    }

    /// Returns when a signal came that no load has answered.
    pub(crate) async fn signalled(&self) {
        let mut signals = self.shared.signals.subscribe();
        // The sender lives as long as `self`, so this never fails.
        drop(signals.wait_for(|signal| *signal > self.seen.load(Ordering::Relaxed)).await);
    }

    /// Returns when nobody is writing and no signal came for a while, or when the first of them has waited long
    /// enough.
    pub(crate) async fn settled(&self) {
        let mut signals = self.shared.signals.subscribe();
        let begun = Instant::now();
        let (longest, mut limit) = (begun + self.timing.writers, begun + self.timing.at_most);
        let mut was_written = false;
        loop {
            let written = self.shared.is_written();
            if was_written && !written {
                // Whoever closed one file may have begun the next.
                limit = limit.max(Instant::now() + self.timing.quiet).min(longest);
            }
            was_written = written;
            let end = if written { longest } else { limit };
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() && written {
                return self.shared.give_up_on_writers();
            }
            if rest.is_zero() {
                return;
            }
            let quiet = timeout(self.timing.quiet.min(rest), signals.changed()).await.is_err();
            if quiet && !written {
                return;
            }
        }
    }

    /// Returns when the folder must be looked at again.
    pub(crate) async fn scan_due(&self) {
        let at = *locked(&self.next_scan);
        tokio::time::sleep_until(at).await;
    }

    /// The folder was looked at.
    pub(crate) fn scanned(&self) {
        *locked(&self.next_scan) = Instant::now() + self.timing.rescan;
    }

    /// The folder was looked at, and must be again soon.
    pub(crate) fn scan_again(&self) {
        *locked(&self.next_scan) = Instant::now() + self.timing.settle;
    }

    /// How long whoever writes is waited for.
    pub(crate) fn patience(&self) -> Duration {
        self.timing.writers
    }

    /// The nearest folder above ours that exists tells when ours comes back, and every folder that
    /// holds a link on the way to ours tells when the link is swapped.
    fn enter_ancestors(&self) {
        let above = || self.folder.ancestors().skip(1);
        let nearest = above().find(|ancestor| ancestor.is_dir());
        let swapped = above().filter(|ancestor| ancestor.is_symlink()).filter_map(Path::parent);
        for folder in nearest.into_iter().chain(swapped) {
            self.enter(folder);
        }
    }
}

fn started(folder: &Path, shared: &Arc<Shared>) -> Option<RecommendedWatcher> {
    let (folder, shared) = (folder.to_path_buf(), Arc::clone(shared));
    let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| shared.heard(&folder, event));
    watcher
        .inspect_err(|error| {
            tracing::warn!(error = %error, "file system events cannot be had; changes are found by the rescan");
        })
        .ok()
}

impl Shared {
    fn heard(&self, folder: &Path, event: notify::Result<Event>) {
        match event {
            Ok(event) if event.kind == CLOSED => return self.closed(&event),
            Ok(event) if !event.need_rescan() && !is_news(folder, &event) => return,
            Ok(event) => self.note(&event),
            Err(_) => locked(&self.touched).unknown = true,
        }
        self.signals.send_modify(|signal| *signal += 1);
    }

    /// Somebody who could write a file has closed it.
    fn closed(&self, event: &Event) {
        let mut writing = locked(&self.writing);
        let before = writing.len();
        writing.retain(|path| !event.paths.contains(path));
        if writing.len() < before {
            // No signal of its own: whoever waits looks again.
            self.signals.send_modify(|_| {});
        }
    }

    fn is_written(&self) -> bool {
        !locked(&self.writing).is_empty()
    }

    /// What is written for so long is read as it is, and told of again by whatever is written next.
    fn give_up_on_writers(&self) {
        for file in std::mem::take(&mut *locked(&self.writing)) {
            tracing::warn!(file = %file.display(), "somebody keeps writing this file; it is read as it is by now");
        }
    }

    fn note(&self, event: &Event) {
        if TELLS_CLOSING && matches!(event.kind, EventKind::Modify(ModifyKind::Data(_))) {
            locked(&self.writing).extend(event.paths.iter().filter(|path| is_manifest(path)).cloned());
        }
        let mut touched = locked(&self.touched);
        touched.unknown |= event.need_rescan() || event.paths.is_empty() || touched.paths.len() > MOST_TOUCHED;
        if touched.unknown {
            // Files that keep their stamp are named all the same: two writes in one tick look alike.
            touched.paths.extend(event.paths.iter().filter(|path| is_manifest(path)).cloned());
        } else {
            touched.paths.extend(event.paths.iter().cloned());
        }
        drop(touched);
        if matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) {
            locked(&self.writing).retain(|written| !event.paths.iter().any(|path| written.starts_with(path)));
            // A folder that went takes its watch along, even if one of that name (and number)
            // is back by now.
            let gone = |watched: &Path| event.paths.iter().any(|path| watched.starts_with(path));
            locked(&self.watched).retain(|watched, _| !gone(watched));
        }
    }
}

/// Whether an event can mean that a manifest changed.
fn is_news(folder: &Path, event: &Event) -> bool {
    let files_only = match event.kind {
        // Our own reading is an access.
        EventKind::Access(_) => return false,
        EventKind::Create(CreateKind::File)
        | EventKind::Remove(RemoveKind::File)
        | EventKind::Modify(ModifyKind::Data(_)) => true,
        EventKind::Any | EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(_) | EventKind::Other => false,
    };
    event.paths.iter().any(|path| {
        let beside = path.parent().is_some_and(|parent| folder != parent && folder.starts_with(parent));
        if beside {
            return folder.starts_with(path);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let hidden = name.starts_with('.') && !name.starts_with("..");
        !hidden && (!files_only || is_manifest(path))
    })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use notify::event::DataChange;
    use notify::event::RenameMode;

    use super::*;

    #[track_caller]
    fn check(kind: EventKind, path: &str, expected: bool) {
        let event = Event::new(kind).add_path(PathBuf::from(path));
        assert_eq!(is_news(Path::new("/etc/rosterd/manifests"), &event), expected, "{kind:?} {path}");
    }

    #[test]
    fn only_what_can_concern_a_manifest_is_news() {
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        check(written, "/etc/rosterd/manifests/a.yaml", true);
        check(written, "/etc/rosterd/manifests/rosterd.db-wal", false);
        check(written, "/etc/rosterd/manifests/.a.yaml.swp", false);
        check(EventKind::Access(AccessKind::Any), "/etc/rosterd/manifests/a.yaml", false);
        check(renamed, "/etc/rosterd/manifests/..data", true);
        check(renamed, "/etc/rosterd/manifests/team", true);
        check(EventKind::Create(CreateKind::Folder), "/etc/rosterd/manifests/team", true);
        check(EventKind::Remove(RemoveKind::Folder), "/etc/rosterd/manifests", true);
        check(EventKind::Create(CreateKind::Folder), "/etc/rosterd", true);
        check(EventKind::Create(CreateKind::Folder), "/etc/other", false);
        check(written, "/etc/rosterd/other.yaml", false);
    }

    /// A folder of which a file is written to, and how long its change takes to be told.
    async fn told_after(closed_after: Option<Duration>) -> Duration {
        let watch = Watch::new(Path::new("/m"), Watching { events: false, ..Watching::default() });
        let heard = |kind| watch.shared.heard(&watch.folder, Ok(Event::new(kind).add_path("/m/a.yaml".into())));
        watch.seen(1);
        heard(EventKind::Modify(ModifyKind::Data(DataChange::Any)));
        let begun = Instant::now();
        let closing = async {
            match closed_after {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
            heard(CLOSED);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = async { watch.signalled().await; watch.settled().await } => {}
            () = closing => {}
        }
        begun.elapsed()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_being_written_is_waited_for_and_not_for_ever() {
        assert_eq!(told_after(Some(Duration::ZERO)).await, Duration::from_millis(150));
        assert_eq!(told_after(Some(Duration::from_millis(3100))).await, Duration::from_millis(3250));
        assert_eq!(told_after(None).await, Duration::from_secs(10));
    }
}
