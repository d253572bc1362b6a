//! When to read the configuration again: SIGHUP, or a change of the file or of a kubeconfig.

use crate::file_watch::{Changes, FileWatch};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

/// Waits for reasons to reload.
#[derive(Debug)]
pub struct Reload {
    hangup: Signal,
    file: PathBuf,
    files: FileWatch,
    changes: Changes,
    again: Option<Pin<Box<Sleep>>>,
}

impl Reload {
    /// Watches `file` and whatever it refers to. Must be called inside a runtime.
    pub fn watch<'a>(
        file: &'a Path,
        sources: impl IntoIterator<Item = &'a PathBuf>,
    ) -> io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        let (change, changes) = watch::channel(());
        let files = FileWatch::new(paths(file, sources), change)?;
        Ok(Self { hangup, file: file.to_owned(), files, changes, again: None })
    }

    /// Watches these files besides the configuration from now on.
    pub fn set_sources<'a>(&'a self, sources: impl IntoIterator<Item = &'a PathBuf>) {
        self.files.set(paths(&self.file, sources));
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
            Ok(()) = self.changes.changed() => {}
            () = wait_for(&mut self.again) => self.again = None,
        }
    }
}

fn paths<'a>(
    file: &'a Path,
    sources: impl IntoIterator<Item = &'a PathBuf>,
) -> impl Iterator<Item = &'a Path> {
    std::iter::once(file).chain(sources.into_iter().map(PathBuf::as_path))
}

/// For ever when there is nothing to wait for.
async fn wait_for(sleep: &mut Option<Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.as_mut().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
