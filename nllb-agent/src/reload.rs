//! When to read the configuration again: SIGHUP, or a change of the file or of a kubeconfig.
//!
//! Watched are directories, not files: an editor replaces a file by renaming another over it, and a
//! ConfigMap swaps a symbolic link two steps away, and both leave a watch on the file itself behind.
//! What happens in a directory is only a hint to look; a reload is asked for when one of the files
//! is another than before. One task waits for the directories to be quiet, so that a file written
//! in pieces is read once.

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep, timeout};

/// A writer that pauses longer than this in the middle of a file is not expected.
const QUIET: Duration = Duration::from_millis(100);
/// A directory that is never quiet must not put a reload off for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Waits for reasons to reload.
#[derive(Debug)]
pub struct Reload {
    hangup: Signal,
    file: PathBuf,
    files: Arc<Mutex<Files>>,
    due: Arc<Notify>,
    task: JoinHandle<()>,
    again: Option<Pin<Box<Sleep>>>,
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reload {
    /// Watches `file` and whatever it refers to. Must be called inside a runtime.
    pub fn watch<'a>(
        file: &'a Path,
        sources: impl IntoIterator<Item = &'a PathBuf>,
    ) -> io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
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
        files.set(file, sources);
        let files = Arc::new(Mutex::new(files));
        let due = Arc::new(Notify::new());
        let task = tokio::spawn(settle(stirred, Arc::clone(&files), Arc::clone(&due)));
        Ok(Self { hangup, file: file.to_owned(), files, due, task, again: None })
    }

    /// Watches these files besides the configuration from now on.
    pub fn set_sources<'a>(&'a self, sources: impl IntoIterator<Item = &'a PathBuf>) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).set(&self.file, sources);
    }

    /// Asks for a reload after this time as well, once: what the configuration refers to may be there
    /// by then.
    pub fn again_after(&mut self, wait: Duration) {
        self.again = Some(Box::pin(sleep(wait)));
    }

    /// Waits until the configuration should be read again. May be cancelled without loss.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => {}
            () = self.due.notified() => {}
            () = wait_for(&mut self.again) => self.again = None,
        }
    }
}

/// For ever when there is nothing to wait for.
async fn wait_for(sleep: &mut Option<Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Waits for quiet after each stir, then looks whether a file is another.
async fn settle(stirred: Arc<Notify>, files: Arc<Mutex<Files>>, due: Arc<Notify>) {
    loop {
        stirred.notified().await;
        let quiet = async { while timeout(QUIET, stirred.notified()).await.is_ok() {} };
        // Either it got quiet or it never does: look in both cases.
        let _timeout = timeout(LONGEST_WAIT, quiet).await;
        if files.lock().unwrap_or_else(PoisonError::into_inner).look() {
            due.notify_one();
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
    fn set<'a>(&mut self, file: &'a Path, sources: impl IntoIterator<Item = &'a PathBuf>) {
        let old = std::mem::take(&mut self.watched);
        let sources = sources.into_iter().map(PathBuf::as_path);
        let paths: Vec<&Path> = std::iter::once(file).chain(sources).collect();
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
                    "changes here are not seen; SIGHUP still reloads"
                ),
            }
        }
        self.directories = kept;
    }
}

#[cfg(test)]
mod tests;
