//! Keeps the journal: numbers and dates what the chronicle decides, tells it to who asks, and has it written
//! on a blocking thread, one batch after another. A disk that is full or does not answer costs entries on it
//! and nothing else.

use std::collections::VecDeque;
use std::fmt::Display;
use std::future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nllb_core::View;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;
use tracing::{debug, error, warn};

use super::Driver;
use crate::datapath::maps::Maps as _;
use crate::datapath::monotonic_ns;
use crate::journal::{Chronicle, Entry, Feed, Moment, Past, Pools, What, WriteError, disk};
use crate::status;

/// How long the start waits for a disk, as for the table.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Entries that wait for the disk: what happens in minutes, even while everything flaps.
const MOST_WAITING: usize = 256;
/// A disk that failed will likely fail again.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// The journal on disk, while it is being read.
#[derive(Debug)]
pub(super) struct Reading(Option<(PathBuf, JoinHandle<Result<Found, String>>)>);

/// What is on the disk.
#[derive(Debug, Default)]
struct Found {
    past: Past,
    skipped: u64,
}

impl Reading {
    /// Begins to read it. Must be called inside a runtime.
    pub(super) fn begin(file: Option<PathBuf>) -> Self {
        Self(file.map(|file| {
            let path = file.clone();
            let reading = spawn_blocking(move || {
                let mut past = Past::default();
                let read = disk::read(&path, |seq, line| match serde_json::from_str(line) {
                    Ok(entry) => past.take(entry),
                    // Of a newer agent: its number counts.
                    Err(_) => past.newest = past.newest.max(seq),
                });
                let read = read.map_err(|ignored| ignored.to_string())?;
                Ok(Found { past, skipped: read.skipped })
            });
            (file, reading)
        }))
    }

    /// The journal that goes on from there, with what still goes on. One that cannot be read is not written to.
    pub(super) async fn end(self) -> (Journal, Past) {
        let (mut file, reading) = self.0.unzip();
        let ignored = |why: &dyn Display, file: &Option<PathBuf>| {
            let file = file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
            format!("{file}: the journal is not kept: {why}")
        };
        let read = match reading {
            None => Ok(Found::default()),
            Some(reading) => match timeout(READ_TIMEOUT, reading).await {
                Ok(Ok(read)) => read,
                Ok(Err(died)) => Err(ignored(&died, &file)),
                Err(_) => Err(ignored(&"the disk does not answer", &file)),
            },
        };
        let (Found { past, skipped }, problem) = match read {
            Ok(found) => (found, None),
            Err(problem) => {
                warn!("{problem}");
                file = None;
                (Found::default(), Some(problem))
            }
        };
        if skipped > 0 {
            let file = file.as_ref().map(|file| file.display());
            warn!(?file, skipped, "lines of the journal that are damaged are skipped");
        }
        let feed = Feed::new(file.clone(), past.newest);
        let journal = Journal {
            feed,
            file,
            chronicle: Chronicle::default(),
            waiting: VecDeque::new(),
            writing: JoinSet::new(),
            rests_until: None,
            problem,
            dropped: 0,
        };
        (journal, past)
    }
}

/// The journal.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) chronicle: Chronicle,
    feed: Feed,
    file: Option<PathBuf>,
    /// What is not on the disk yet.
    waiting: VecDeque<Arc<str>>,
    /// At most one batch at a time.
    writing: JoinSet<Written>,
    /// Set after a failure.
    rests_until: Option<Instant>,
    /// Why it could not be read or written.
    problem: Option<String>,
    /// Entries that are not on the disk and never will be.
    dropped: u64,
}

/// A batch, and what came of it.
#[derive(Debug)]
struct Written {
    lines: Vec<Arc<str>>,
    result: Result<(), WriteError>,
}

impl Journal {
    /// What is known at the start.
    pub(super) fn start(&mut self, past: &Past, view: &View) {
        let moment = Moment { now: Instant::now(), wall: SystemTime::now() };
        self.chronicle = Chronicle::new(past, &pools(view), moment);
    }

    /// Where others read it.
    pub(super) fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// Adds what happened at that moment.
    fn add(&mut self, what: What, at: Moment) {
        let (seq, time_ms) = (self.feed.newest() + 1, at.unix_ms());
        let line = self.feed.add(&Entry { seq, time_ms, what });
        if self.file.is_none() {
            return;
        }
        if self.waiting.len() == MOST_WAITING {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(line);
    }

    /// Writes what waits, unless a batch is under way or the disk has just failed.
    pub(super) fn write(&mut self, now: Instant) {
        let rests = self.rests_until.is_some_and(|until| now < until);
        let Some(file) = self.file.clone().filter(|_| self.writing.is_empty() && !rests) else {
            return;
        };
        if self.waiting.is_empty() {
            return;
        }
        let lines: Vec<_> = self.waiting.drain(..).collect();
        self.writing.spawn_blocking(move || {
            let result = disk::append(&file, &lines);
            Written { lines, result }
        });
    }

    /// Waits until a batch is written, and begins the next; for ever while there is none. Safe to cancel.
    pub(super) async fn next(&mut self) {
        let Written { lines, result } = match self.writing.join_next().await {
            Some(Ok(written)) => written,
            Some(Err(error)) => {
                error!(%error, "writing the journal died");
                return;
            }
            None => future::pending().await,
        };
        let now = Instant::now();
        match result {
            Ok(()) => {
                if self.problem.take().is_some() {
                    debug!(dropped = self.dropped, "the journal is written again");
                }
                self.rests_until = None;
            }
            Err(error) => {
                let error = error.to_string();
                // Once, not every minute while a disk is full.
                if self.problem.as_ref() != Some(&error) {
                    warn!("{error}; the agent goes on without");
                }
                self.problem = Some(error);
                self.rests_until = Some(now + PAUSE_AFTER_FAILURE);
                let room = MOST_WAITING - self.waiting.len();
                let lost = lines.len().saturating_sub(room);
                self.dropped += lost as u64;
                lines.into_iter().skip(lost).rev().for_each(|line| self.waiting.push_front(line));
            }
        }
        self.write(now);
    }

    /// Writes what waits before the agent ends.
    pub(super) async fn finish(&mut self) {
        self.rests_until = None;
        for _ in 0..2 {
            self.write(Instant::now());
            if !self.writing.is_empty() {
                self.next().await;
            }
        }
    }

    /// For status.
    pub(super) fn status(&self) -> status::Journal {
        status::Journal {
            file: self.file.clone(),
            newest: self.feed.newest(),
            dropped: self.dropped,
            error: self.problem.clone(),
        }
    }
}

impl Driver {
    /// Tells the journal, and who else is to know, what happened just now.
    pub(super) fn record(&mut self, whats: impl IntoIterator<Item = What>) {
        let mut whats = whats.into_iter().peekable();
        if whats.peek().is_none() {
            return;
        }
        let moment = Moment { now: Instant::now(), wall: SystemTime::now() };
        for what in whats {
            self.announcements.add(&what, moment);
            self.journal.add(what, moment);
        }
        self.journal.write(moment.now);
    }

    /// Tells the journal when the lease, about to be renewed, has lapsed: this agent was stuck, or there was none.
    pub(super) fn record_lapse(&mut self) {
        let until = self.maps.control().map_or(0, |control| control.lease_until_ns);
        // Maps that are new hold no lease.
        let late = monotonic_ns().checked_sub(until).filter(|late| *late > 0 && until > 0);
        let what = late.map(|late| What::Lease { duration_ms: late / 1_000_000 });
        self.record(what);
    }

    /// Tells the journal how the attachment is.
    pub(super) fn record_attachment(&mut self) {
        let problem = (!self.attached.is_proven()).then(|| self.attachment_problem());
        let what = self.journal.chronicle.attachment(problem.as_deref(), Instant::now());
        self.record(what);
    }
}

/// What the chronicle knows backends by.
pub(super) fn pools(view: &View) -> Pools {
    let pools = view.pools.iter().map(|pool| {
        let backends = pool.backends.iter().map(|backend| (backend.addr, backend.state));
        (pool.name.clone(), backends.collect())
    });
    pools.collect()
}
