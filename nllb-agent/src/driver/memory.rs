//! Keeps the table on disk, and takes it over at the start.

use std::future;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use nllb_core::{Machine, Remembered};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::state::{self, Kept, Last, WriteError, should_write};

/// How long the start waits for a disk: the data path is in place, but nothing probes yet.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The table on disk, as far as the driver knows it.
#[derive(Debug)]
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

impl Memory {
    /// Reads the table and hands the machine what it holds. Whatever is wrong with it costs one line.
    pub(super) async fn start(file: Option<PathBuf>, machine: &mut Machine, now: Instant) -> Self {
        let (kept, problem) = match file.clone().map(read) {
            None => (None, None),
            Some(reading) => match reading.await {
                Ok(kept) => (kept, None),
                Err(problem) => {
                    warn!("{problem}");
                    (None, Some(problem))
                }
            },
        };
        let (mut generation, mut used) = (0, 0);
        if let Some(Kept { backends, generation: last, age, outdated }) = kept {
            generation = last;
            match &outdated {
                Some(why) => warn!("{why}"),
                None => info!(backends = backends.len(), ?age, "table on disk taken over"),
            }
            used = backends.len();
            machine.handle_known(&backends, now);
        }
        let writing = JoinSet::new();
        Self { file, generation, last: None, writing, problem, used, written_at: None }
    }

    /// Writes what has changed before the agent ends.
    pub(super) async fn finish(&mut self, machine: &Machine) {
        if !self.writing.is_empty() {
            self.next().await;
        }
        self.keep(machine);
        if !self.writing.is_empty() {
            self.next().await;
        }
    }

    /// Where it is kept.
    pub(super) fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// Writes the table when it is time to.
    pub(super) fn keep(&mut self, machine: &Machine) {
        let Some(file) = self.file.clone().filter(|_| self.writing.is_empty()) else {
            return;
        };
        let backends: Vec<Remembered> = machine.remembered();
        let now = Instant::now();
        if !should_write(self.last.as_ref(), &backends, now) {
            return;
        }
        self.generation += 1;
        let generation = self.generation;
        self.writing.spawn_blocking(move || {
            let written = state::write(&file, generation, &backends, SystemTime::now());
            let backends = written.is_ok().then_some(backends);
            (Last { at: now, backends }, written)
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

/// Reads the table without waiting for a disk for ever.
async fn read(file: PathBuf) -> Result<Option<Kept>, String> {
    let name = file.display().to_string();
    let reading = spawn_blocking(move || state::read(&file, SystemTime::now()));
    match timeout(READ_TIMEOUT, reading).await {
        Ok(Ok(read)) => read.map_err(|ignored| ignored.to_string()),
        Ok(Err(died)) => Err(format!("{name}: the table on disk is ignored: {died}")),
        Err(_) => Err(format!("{name}: the table on disk is ignored: the disk does not answer")),
    }
}
