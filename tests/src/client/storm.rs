//! Threads that connect in a loop and keep count.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::connect::{connect, micros};
use super::protocol::{Outcome, Storm, StormReport};

pub(super) struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    storm: Storm,
    started: Instant,
    stop: AtomicBool,
    begun: AtomicU64,
    tally: Mutex<Tally>,
}

struct Tally {
    attempts: u64,
    errors: BTreeMap<String, u64>,
    servers: BTreeMap<String, u64>,
    unnamed: u64,
    connects_us: Vec<u64>,
    longest_attempt_us: u64,
    last_success: Instant,
    longest_gap: Duration,
}

impl Running {
    pub(super) fn start(storm: Storm) -> Self {
        let started = Instant::now();
        let tally = Tally {
            attempts: 0,
            errors: BTreeMap::new(),
            servers: BTreeMap::new(),
            unnamed: 0,
            connects_us: Vec::new(),
            longest_attempt_us: 0,
            last_success: started,
            longest_gap: Duration::ZERO,
        };
        let threads = storm.threads;
        let shared = Arc::new(Shared {
            storm,
            started,
            stop: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            tally: Mutex::new(tally),
        });
        let spawn = |_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.run())
        };
        let threads = (0..threads).map(spawn).collect();
        Self { shared, threads }
    }

    pub(super) fn report(&self) -> StormReport {
        let tally = self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted = tally.connects_us.clone();
        sorted.sort_unstable();
        let gap = tally.longest_gap.max(tally.last_success.elapsed());
        StormReport {
            attempts: tally.attempts,
            ok: tally.unnamed + tally.servers.values().sum::<u64>(),
            errors: tally.errors.clone(),
            servers: tally.servers.clone(),
            p50_us: percentile(&sorted, 50),
            p99_us: percentile(&sorted, 99),
            max_us: sorted.last().copied().unwrap_or(0),
            longest_attempt_us: tally.longest_attempt_us,
            longest_gap_us: micros(gap),
            elapsed_us: micros(self.shared.started.elapsed()),
        }
    }

    pub(super) fn stop(self) -> StormReport {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.wait()
    }

    pub(super) fn wait(mut self) -> StormReport {
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on standard error.
            let _ = thread.join();
        }
        self.report()
    }
}

impl Shared {
    fn run(&self) {
        let limit = self.storm.connects.unwrap_or(u64::MAX);
        while !self.stop.load(Ordering::Relaxed)
            && self.begun.fetch_add(1, Ordering::Relaxed) < limit
        {
            let (outcome, conn) = connect(&self.storm.connect);
            drop(conn);
            self.tally.lock().unwrap_or_else(PoisonError::into_inner).add(outcome);
        }
    }
}

impl Tally {
    fn add(&mut self, outcome: Outcome) {
        self.attempts += 1;
        self.longest_attempt_us = self.longest_attempt_us.max(outcome.total_us);
        if !outcome.ok {
            let error = outcome.error.unwrap_or_else(|| "unknown".to_owned());
            let name = if outcome.timed_out { format!("gave up: {error}") } else { error };
            *self.errors.entry(name).or_default() += 1;
            return;
        }
        let now = Instant::now();
        self.longest_gap = self.longest_gap.max(now - self.last_success);
        self.last_success = now;
        self.connects_us.push(outcome.connect_us);
        match outcome.server {
            Some(server) => *self.servers.entry(server).or_default() += 1,
            None => self.unnamed += 1,
        }
    }
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or(0)
}
