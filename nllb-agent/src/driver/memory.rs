//! Keeps the table on disk, and takes it over at the start.

use std::fmt::Display;
use std::future;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use nllb_core::{Machine, Recollection};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::members::Members;
use crate::state::{self, Ignored, Kept, Last, WriteError, should_write};

/// How long the start waits for a disk: the data path is in place, but nothing probes yet.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The table on disk, as far as the driver knows it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    file: Option<PathBuf>,
    /// Counts the writes of all agents so far.
    pub(super) generation: u64,
    last: Option<Last>,
    /// At most one at a time.
    writing: JoinSet<(Last, Result<(), WriteError>)>,
    /// Why it could not be read or written.
    pub(super) problem: Option<String>,
    /// Backends that were taken from it at the start.
    pub(super) used: usize,
    /// When it was last written.
    pub(super) written_at: Option<Instant>,
}

/// The table on disk, while it is being read.
#[derive(Debug)]
pub(super) struct Reading(Option<(PathBuf, JoinHandle<Read>)>);

/// What came of reading it.
type Read = Result<Option<Kept>, Ignored>;

impl Reading {
    /// Begins to read the table. Must be called inside a runtime.
    pub(super) fn begin(file: Option<PathBuf>) -> Self {
        Self(file.map(|file| {
            let path = file.clone();
            (file, spawn_blocking(move || state::read(&path, SystemTime::now())))
        }))
    }

    /// What it holds. Whatever is wrong with it costs one line, and a disk that hangs a moment.
    pub(super) async fn end(self) -> (Memory, Recollection) {
        let Some((file, reading)) = self.0 else {
            return (Memory::default(), Recollection::default());
        };
        let ignored =
            |why: &dyn Display| format!("{}: the table on disk is ignored: {why}", file.display());
        let read = match timeout(READ_TIMEOUT, reading).await {
            Ok(Ok(read)) => read.map_err(|ignored| ignored.to_string()),
            Ok(Err(died)) => Err(ignored(&died)),
            Err(_) => Err(ignored(&"the disk does not answer")),
        };
        let (kept, problem) = match read {
            Ok(kept) => (kept, None),
            Err(problem) => {
                warn!("{problem}");
                (None, Some(problem))
            }
        };
        let mut memory = Memory { file: Some(file), problem, ..Memory::default() };
        let Some(Kept { known, generation, age, outdated }) = kept else {
            return (memory, Recollection::default());
        };
        match &outdated {
            Some(why) => warn!("{why}"),
            None => info!(backends = known.backends.len(), ?age, "table on disk taken over"),
        }
        (memory.generation, memory.used) = (generation, known.backends.len());
        (memory, known)
    }
}

impl Memory {
    /// Writes what has changed before the agent ends.
    pub(super) async fn finish(&mut self, machine: &Machine, members: &Members) {
        if !self.writing.is_empty() {
            self.next().await;
        }
        self.keep(machine, members);
        if !self.writing.is_empty() {
            self.next().await;
        }
    }

    /// Where it is kept.
    pub(super) fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// Writes the table when it is time to.
    pub(super) fn keep(&mut self, machine: &Machine, members: &Members) {
        let Some(file) = self.file.clone().filter(|_| self.writing.is_empty()) else {
            return;
        };
        let known = Recollection {
            backends: machine.remembered(),
            vips: members.vips().to_vec(),
            services: members.known_services(),
        };
        let now = Instant::now();
        if !should_write(self.last.as_ref(), &known, now) {
            return;
        }
        self.generation += 1;
        let generation = self.generation;
        self.writing.spawn_blocking(move || {
            let written = state::write(&file, generation, &known, SystemTime::now());
            let known = written.is_ok().then_some(known);
            (Last { at: now, known }, written)
        });
    }

    /// Waits until a write has ended; for ever while there is none. Safe to cancel.
    pub(super) async fn next(&mut self) {
        let (last, written) = match self.writing.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => {
                error!(%error, "writing the table on disk died");
                return;
            }
            None => future::pending().await,
        };
        let written = written.map_err(|error| error.to_string());
        if let Err(error) = &written {
            // Once, not every minute while a disk is full.
            if self.problem.as_ref() != Some(error) {
                warn!("{error}; the agent goes on without");
            }
        } else {
            self.written_at = Some(last.at);
        }
        self.problem = written.err();
        self.last = Some(last);
    }
}
