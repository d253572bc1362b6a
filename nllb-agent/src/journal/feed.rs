//! The journal for who asks: the newest entries in memory, what is older from the disk, and a bell for those
//! who wait for the next one.

use super::{Entry, disk};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Entries in memory: a failover and what follows makes a handful. They are some 200 bytes each.
const IN_MEMORY: usize = 64;
/// Entries of one answer.
const MOST: usize = 256;
/// The longest that anybody may wait for the next entry.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Who waits keeps a connection of the admin socket, and others must find one.
const MOST_WAITING: usize = 4;
/// A disk that does not answer for so long is left out of the answer.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Entries, as the admin socket answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// The oldest first.
    pub entries: Vec<serde_json::Value>,
    /// The number of the newest entry there is; 0 when there is none. One that is smaller than what was asked for
    /// means that the journal began anew.
    pub newest: u64,
    /// Whether there are more than fit in one answer.
    pub more: bool,
}

/// Where entries come from. Clones are the same.
#[derive(Clone, Debug)]
pub struct Feed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The newest, with their numbers.
    recent: Mutex<VecDeque<(u64, Arc<str>)>>,
    newest: watch::Sender<u64>,
    file: Option<PathBuf>,
    /// One at a time, so that a disk that hangs costs one thread.
    reading: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Feed {
    /// The entries of this file up to `newest`, and those that will be added.
    #[must_use]
    pub fn new(file: Option<PathBuf>, newest: u64) -> Self {
        Self(Arc::new(Shared {
            recent: Mutex::default(),
            newest: watch::Sender::new(newest),
            file,
            reading: Arc::new(Semaphore::new(1)),
            waiting: Semaphore::new(MOST_WAITING),
        }))
    }

    /// The number of the newest entry.
    #[must_use]
    pub fn newest(&self) -> u64 {
        *self.0.newest.borrow()
    }

    /// Adds an entry; gives its line.
    pub fn add(&self, entry: &Entry) -> Arc<str> {
        let line: Arc<str> = entry.line().into();
        let mut recent = self.recent();
        if recent.len() == IN_MEMORY {
            recent.pop_front();
        }
        recent.push_back((entry.seq, Arc::clone(&line)));
        drop(recent);
        self.0.newest.send_replace(entry.seq);
        line
    }

    /// The entries after this number, as [`Events`] in JSON. When there are none it waits for the next one, no
    /// longer than this, and not at all when too many wait already.
    pub async fn after(&self, seq: u64, wait: Duration) -> String {
        if self.newest() == seq {
            if let Ok(_place) = self.0.waiting.try_acquire() {
                let mut newest = self.0.newest.subscribe();
                let next = newest.wait_for(|newest| *newest != seq);
                // What came of it is seen below.
                let _waited = timeout(wait.min(LONGEST_WAIT), next).await;
            }
        }
        let (lines, more) = self.lines(seq).await;
        let newest = self.newest();
        // The lines are JSON already, and there is no need to read them for this.
        let mut text = String::from("{\"entries\":[");
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(line);
        }
        text.push_str(&format!("],\"newest\":{newest},\"more\":{more}}}"));
        text
    }

    /// The lines after this number, as many as fit, and whether there are more.
    async fn lines(&self, seq: u64) -> (Vec<Arc<str>>, bool) {
        let oldest = self.recent().front().map(|(oldest, _)| *oldest);
        let newest = self.newest();
        let in_memory =
            seq >= newest || oldest.is_some_and(|oldest| oldest <= seq.saturating_add(1));
        let mut lines = if in_memory { Vec::new() } else { self.on_disk(seq).await };
        if lines.len() <= MOST {
            let last = lines.last().map_or(seq, |(last, _)| *last);
            let recent = self.recent();
            lines.extend(recent.iter().filter(|(seq, _)| *seq > last).cloned());
        }
        let more = lines.len() > MOST;
        lines.truncate(MOST);
        (lines.into_iter().map(|(_, line)| line).collect(), more)
    }

    /// One more than fit, where there are so many. Nothing when the disk does not answer.
    async fn on_disk(&self, seq: u64) -> Vec<(u64, Arc<str>)> {
        let Some(file) = self.0.file.clone() else { return Vec::new() };
        let Ok(place) = Arc::clone(&self.0.reading).try_acquire_owned() else { return Vec::new() };
        let reading = spawn_blocking(move || {
            let mut lines = Vec::new();
            let read = disk::read(&file, |number, line| {
                if number > seq && lines.len() <= MOST {
                    lines.push((number, Arc::from(line)));
                }
            });
            drop(place);
            read.map(|_| lines)
        });
        match timeout(READ_TIMEOUT, reading).await {
            Ok(Ok(Ok(lines))) => lines,
            Ok(Ok(Err(error))) => {
                tracing::debug!(%error, "older entries cannot be told");
                Vec::new()
            }
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, VecDeque<(u64, Arc<str>)>> {
        self.0.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
