//! What is known so far, and what it means for the fault under way.
//!
//! Everything comes in with the time it happened, so the arithmetic is the same in a test. Times
//! are as a client feels them: a blackout is the longest time without a successful connect, not
//! the time until the agent has noticed.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

pub(super) use super::fault::{Fault, Kind};

/// The time over which connects per second are counted.
const PACE_WINDOW: Duration = Duration::from_secs(1);

/// Failed connects of one fault that a reader is told of one by one.
const MOST_TOLD: u64 = 5;

/// One connect of the client.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) began: Instant,
    pub(super) ended: Instant,
    /// The server that answered, or why none did.
    pub(super) result: Result<String, Failure>,
}

/// Why a connect was of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// `connect()` failed.
    Connect(String),
    /// It succeeded, and the server went away before it answered. No load balancer that only
    /// chooses at connect can do anything about that.
    Cut(String),
}

/// A backend as the agent sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) state: String,
    pub(super) since: Instant,
    pub(super) reason: String,
}

impl Health {
    pub(super) fn is_healthy(&self) -> bool {
        self.state == "healthy"
    }
}

/// All of it.
pub(super) struct Ledger {
    pub(super) started: Instant,
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) cut: u64,
    /// How often the agent has said how the backends are.
    pub(super) looks: u64,
    pub(super) servers: BTreeMap<String, u64>,
    pub(super) backends: Vec<Health>,
    pub(super) faults: Vec<Fault>,
    /// What a reader should see, oldest first.
    pub(super) news: Vec<(Duration, String)>,
    last_success: Option<Instant>,
    pace: VecDeque<(Instant, u64)>,
}

impl Ledger {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            ok: 0,
            failed: 0,
            cut: 0,
            looks: 0,
            servers: BTreeMap::new(),
            backends: Vec::new(),
            faults: Vec::new(),
            news: Vec::new(),
            last_success: None,
            pace: VecDeque::new(),
        }
    }

    /// The client has connected, or not.
    pub(super) fn attempt(&mut self, attempt: &Attempt) {
        let Attempt { began, ended, result } = attempt;
        let gap = self.last_success.map_or(Duration::ZERO, |last| *ended - last);
        match result {
            Ok(server) => {
                self.ok += 1;
                *self.servers.entry(server.clone()).or_default() += 1;
                self.last_success = Some(*ended);
            }
            Err(failure) => self.tell_failure(*ended, *ended - *began, failure),
        }
        let Some(fault) = self.faults.last_mut().filter(|fault| *ended > fault.at) else {
            return;
        };
        match result {
            Err(failure) => fault.fail(failure),
            Ok(_) => {
                let first = fault.succeed(*began, *ended, gap);
                if let (Some(failover), true) = (first, fault.is_felt()) {
                    self.tell(*ended, format!("connects succeed, {} after it", ms(failover)));
                }
            }
        }
    }

    /// The agent has said how the backends are.
    pub(super) fn look(&mut self, now: Instant, backends: Vec<Health>) {
        for new in &backends {
            let old = self.backends.iter().find(|old| old.name == new.name);
            if old.is_some_and(|old| old.state != new.state) {
                let age = new.since;
                self.tell(age, format!("{} is {}: {}", new.name, new.state, new.reason));
            }
        }
        if let Some(fault) = self.faults.last_mut() {
            fault.look(&backends);
        }
        self.backends = backends;
        self.looks += 1;
        self.pace.push_back((now, self.ok));
        while self.pace.get(1).is_some_and(|(then, _)| now - *then >= PACE_WINDOW) {
            self.pace.pop_front();
        }
    }

    /// Something is done to a server now.
    pub(super) fn strike(&mut self, now: Instant, kind: Kind, victim: &str) {
        self.tell(now, format!("{victim}: {}", kind.label()));
        self.faults.push(Fault::new(now, kind, victim));
    }

    /// The server struck last listens again.
    pub(super) fn restore(&mut self, now: Instant) {
        if let Some(fault) = self.faults.last_mut() {
            fault.restored = Some(now);
            let line = format!("{}: back", fault.victim);
            self.tell(now, line);
        }
    }

    /// Adds a line for the reader.
    pub(super) fn tell(&mut self, at: Instant, line: String) {
        self.news.push((at.saturating_duration_since(self.started), line));
    }

    /// Successful connects in the last second.
    pub(super) fn per_second(&self) -> u64 {
        let (Some((first, before)), Some((last, after))) = (self.pace.front(), self.pace.back())
        else {
            return 0;
        };
        let span = u64::try_from((*last - *first).as_millis()).unwrap_or(u64::MAX);
        (after - before) * 1000 / span.max(1)
    }

    /// The last fault, when clients have got over it.
    pub(super) fn last_failover(&self) -> Option<(&Fault, Duration)> {
        self.faults.iter().rev().find_map(|fault| Some((fault, fault.failover?)))
    }
}

impl Ledger {
    fn tell_failure(&mut self, ended: Instant, took: Duration, failure: &Failure) {
        let told = self.faults.last().map_or(self.failed, |fault| fault.failed + fault.cut);
        let line = match failure {
            Failure::Connect(error) => {
                self.failed += 1;
                format!("a connect failed after {}: {error}", ms(took))
            }
            Failure::Cut(error) => {
                self.cut += 1;
                format!("a connection ended before it was answered: {error}")
            }
        };
        if told < MOST_TOLD {
            self.tell(ended, line);
        }
    }
}

/// Milliseconds with as many digits as are interesting.
pub(super) fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

#[cfg(test)]
mod tests;
