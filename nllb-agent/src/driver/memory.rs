//! Keeps the table on disk, and takes it over at the start.

use std::future;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use nllb_core::{Machine, Remembered};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::state::{self, Kept, Last, WriteError, should_write};

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
    pub(super) fn start(file: Option<PathBuf>, machine: &mut Machine, now: Instant) -> Self {
        let kept = file.as_deref().map(|file| state::read(file, SystemTime::now()));
        let (kept, problem) = match kept {
            None | Some(Ok(None)) => (None, None),
            Some(Ok(Some(kept))) => (Some(kept), None),
            Some(Err(ignored)) => {
                warn!("{ignored}");
                (None, Some(ignored.to_string()))
            }
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
