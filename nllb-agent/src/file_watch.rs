//! Tells when one of some files is another than before.
//!
//! Watched are directories, not files: an editor replaces a file by renaming another over it, and a
//! ConfigMap swaps a symbolic link two steps away, and both leave a watch on the file itself behind.
//! What happens in a directory is only a hint to look; a change is told when one of the files is another
//! than before. One task waits for the directories to be quiet, so that a file written in pieces is read
//! once.

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A writer that pauses longer than this in the middle of a file is not expected.
pub(crate) const QUIET: Duration = Duration::from_millis(100);
/// A directory that is never quiet must not put a reload off for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Becomes another value whenever one of the files is another.
pub(crate) type Changes = watch::Receiver<()>;

/// Watches files.
#[derive(Debug)]
pub(crate) struct FileWatch {
    files: Arc<Mutex<Files>>,
    task: JoinHandle<()>,
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FileWatch {
    /// Watches these files and tells `change`. Must be called inside a runtime.
    pub(crate) fn new<'a>(
        paths: impl IntoIterator<Item = &'a Path>,
        change: watch::Sender<()>,
    ) -> io::Result<Self> {
        let stirred = Arc::new(Notify::new());
        let watcher = notify::recommended_watcher({
            let stirred = Arc::clone(&stirred);
            move |event: notify::Result<notify::Event>| {
                // Reading changes nothing, and the agent reads these files itself.
                if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                    stirred.notify_one();
                }
            }
        })
        .map_err(io::Error::other)?;
        let mut files = Files { watcher, directories: BTreeSet::new(), watched: Vec::new() };
        files.set(paths);
        let files = Arc::new(Mutex::new(files));
        let task = tokio::spawn(settle(stirred, Arc::clone(&files), change));
        Ok(Self { files, task })
    }

    /// Watches these files from now on.
    pub(crate) fn set<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).set(paths);
    }
}

/// Waits for quiet after each stir, then looks whether a file is another.
async fn settle(stirred: Arc<Notify>, files: Arc<Mutex<Files>>, change: watch::Sender<()>) {
    loop {
        stirred.notified().await;
        let quiet = async { while timeout(QUIET, stirred.notified()).await.is_ok() {} };
        // Either it got quiet or it never does: look in both cases.
        let _timeout = timeout(LONGEST_WAIT, quiet).await;
        if files.lock().unwrap_or_else(PoisonError::into_inner).look() {
            change.send_replace(());
        }
    }
}

/// What tells one content of a file from another; `None` when it is not there.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    let (changed, nanos) = (metadata.ctime(), metadata.ctime_nsec());
    Some((metadata.dev(), metadata.ino(), changed, nanos, metadata.size()))
}

/// The files, as they were when last looked at, and the directories where changes show.
#[derive(Debug)]
struct Files {
    watcher: RecommendedWatcher,
    directories: BTreeSet<PathBuf>,
    watched: Vec<(PathBuf, Stamp)>,
}

impl Files {
    fn set<'a>(&mut self, paths: impl IntoIterator<Item = &'a Path>) {
        let old = std::mem::take(&mut self.watched);
        for path in paths {
            // A file known before keeps its stamp: a change not yet looked at is not lost.
            let known = old.iter().find(|(known, _)| known == path);
            let stamp = known.map_or_else(|| stamp(path), |(_, stamp)| *stamp);
            self.watched.push((path.to_owned(), stamp));
        }
        self.follow();
    }

    /// Whether a file is another than the last time.
    fn look(&mut self) -> bool {
        let mut changed = false;
        for (path, old) in &mut self.watched {
            let new = stamp(path);
            changed |= *old != new;
            *old = new;
        }
        if changed {
            self.follow();
        }
        changed
    }

    /// Watches the directory of each file and that of what it links to.
    fn follow(&mut self) {
        let wanted: BTreeSet<PathBuf> = self
            .watched
            .iter()
            .flat_map(|(path, _)| [Some(path.clone()), std::fs::canonicalize(path).ok()])
            .flatten()
            .filter_map(|path| path.parent().map(Path::to_owned))
            .map(|parent| if parent.as_os_str().is_empty() { ".".into() } else { parent })
            .collect();
        for gone in self.directories.difference(&wanted) {
            // It may be gone from the file system too, and its watch with it.
            drop(self.watcher.unwatch(gone));
        }
        let mut kept: BTreeSet<PathBuf> = self.directories.intersection(&wanted).cloned().collect();
        for new in wanted.difference(&self.directories) {
            match self.watcher.watch(new, RecursiveMode::NonRecursive) {
                Ok(()) => drop(kept.insert(new.clone())),
                Err(error) => tracing::warn!(
                    directory = %new.display(),
                    %error,
                    "changes here are not seen"
                ),
            }
        }
        self.directories = kept;
    }
}
