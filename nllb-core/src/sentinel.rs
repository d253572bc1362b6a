//! The sentinel of one backend: the long-lived connection that tells of its death.
//!
//! ```text
//!            an HTTP answer                  Up
//!   down ──────────────────────► opening ──────────► up
//!    ▲                            │    │              │
//!    └────────────────────────────┘    │ NoHttp2      │
//!    ▲           Failed                ▼              │
//!    │                              no HTTP/2         │
//!    └────────────────────────────────────────────────┘
//!            GoAway, Closed, Reset, Lost, given up
//! ```
//!
//! It is opened only after a probe was answered: to a backend that does not answer it would be one more
//! connect that hangs. It is opened somewhere within an interval and not at once, else the handshakes
//! of all nodes would meet a server in the moment it returns.

use std::time::{Duration, Instant};

use crate::jitter::Jitter;
use crate::ping::Ping;
use crate::report::Outcome;
use crate::settings::HealthSettings;

/// Waits between attempts when opening fails, or when it ends at once.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// See [`FIRST_WAIT`].
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A sentinel that lived for less has ended at once.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// A server that does not speak HTTP/2 will learn it with another version, so hardly ever.
const NO_HTTP2_WAIT: Duration = Duration::from_secs(600);

/// How long to wait before another attempt to open a sentinel after so many that failed in a row; to be
/// spread, since all nodes may fail together.
#[must_use]
pub fn retry_wait(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.min(6)).min(LONGEST_WAIT)
}

/// The sentinel of one backend.
#[derive(Clone, Debug)]
pub(crate) struct Sentinel {
    phase: Phase,
    /// It is not opened before.
    not_before: Instant,
    /// Attempts in a row that came to nothing.
    failures: u32,
    jitter: Jitter,
}

/// Where it is.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// The settings want none.
    Off,
    /// There is none; perhaps one will be opened.
    Down {
        /// When.
        open_at: Option<Instant>,
        /// Whether the server did not speak HTTP/2 the last time.
        no_http2: bool,
        /// Why the last attempt came to nothing, when it did.
        failed: Option<Outcome>,
    },
    /// It is being opened.
    Opening {
        /// Since when.
        since: Instant,
    },
    /// It is open.
    Up {
        /// Since when.
        since: Instant,
        /// Its pings.
        ping: Ping,
    },
}

const DOWN: Phase = Phase::Down { open_at: None, no_http2: false, failed: None };

impl Sentinel {
    pub(crate) const fn new(seed: u32, now: Instant) -> Self {
        Self { phase: Phase::Off, not_before: now, failures: 0, jitter: Jitter::new(seed) }
    }

    pub(crate) const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Its pings, while it is open.
    pub(crate) const fn ping(&self) -> Option<&Ping> {
        match &self.phase {
            Phase::Up { ping, .. } => Some(ping),
            Phase::Off | Phase::Down { .. } | Phase::Opening { .. } => None,
        }
    }

    pub(crate) const fn ping_mut(&mut self) -> Option<&mut Ping> {
        match &mut self.phase {
            Phase::Up { ping, .. } => Some(ping),
            Phase::Off | Phase::Down { .. } | Phase::Opening { .. } => None,
        }
    }

    /// Follows the settings.
    pub(crate) fn configure(&mut self, settings: &HealthSettings) {
        match (&self.phase, settings.sentinel) {
            (Phase::Off, true) => self.phase = DOWN,
            (_, false) => self.phase = Phase::Off,
            (Phase::Down { .. } | Phase::Opening { .. } | Phase::Up { .. }, true) => {}
        }
    }

    /// A probe got an HTTP answer: if there is none, one may be opened.
    pub(crate) fn wanted(&mut self, settings: &HealthSettings, now: Instant) {
        if let Phase::Down { open_at: open_at @ None, .. } = &mut self.phase {
            let spread = if settings.jitter > 0.0 { settings.interval } else { Duration::ZERO };
            *open_at = Some(self.not_before.max(now) + self.jitter.within(spread));
        }
    }

    /// A probe failed: nothing is opened before one is answered.
    pub(crate) const fn unwanted(&mut self) {
        if let Phase::Down { open_at, .. } = &mut self.phase {
            *open_at = None;
        }
    }

    /// When it is to be opened.
    pub(crate) const fn open_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Down { open_at, .. } => open_at,
            Phase::Off | Phase::Opening { .. } | Phase::Up { .. } => None,
        }
    }

    /// Notes that the driver was told to open it.
    pub(crate) fn open(&mut self, now: Instant) {
        self.phase = Phase::Opening { since: now };
    }

    /// It is open. Returns since when it was being opened; `None` when nobody asked for it. One that is
    /// up already was opened anew in its place, with other credentials: what the old one owes is void.
    pub(crate) fn up(&mut self, settings: &HealthSettings, now: Instant) -> Option<Instant> {
        let asked = match self.phase {
            Phase::Opening { since } => since,
            Phase::Up { .. } => now,
            Phase::Off | Phase::Down { .. } => return None,
        };
        let first = now + self.jitter.within(settings.ping_interval);
        self.phase = Phase::Up { since: now, ping: Ping::new(now, first) };
        Some(asked)
    }

    /// It could not be opened, and why when that is known.
    pub(crate) fn failed(&mut self, why: Option<Outcome>, now: Instant) {
        if let Phase::Opening { .. } = self.phase {
            self.phase = Phase::Down { open_at: None, no_http2: false, failed: why };
            self.back_off(now);
        }
    }

    /// The server does not speak HTTP/2.
    pub(crate) fn no_http2(&mut self, now: Instant) {
        if let Phase::Opening { .. } = self.phase {
            self.phase = Phase::Down { open_at: None, no_http2: true, failed: None };
            self.not_before = now + self.jitter.around(NO_HTTP2_WAIT, 0.2);
        }
    }

    /// It ended, or is given up. Returns whether it was open.
    pub(crate) fn ended(&mut self, now: Instant) -> bool {
        let Phase::Up { since, .. } = self.phase else {
            self.failed(None, now);
            return false;
        };
        self.phase = DOWN;
        if now.saturating_duration_since(since) < SHORT_LIFE {
            self.back_off(now);
        } else {
            self.failures = 0;
            self.not_before = now;
        }
        true
    }

    /// Notes that it was told to ping, and plans the next one.
    pub(crate) fn pinged(&mut self, settings: &HealthSettings, overdue: Duration, now: Instant) {
        let next = self.next_ping(settings, now);
        if let Some(ping) = self.ping_mut() {
            ping.send(now, overdue, next);
        }
    }

    /// Notes that a probe was answered over it.
    pub(crate) fn answered(&mut self, settings: &HealthSettings, now: Instant) {
        let next = self.next_ping(settings, now);
        if let Some(ping) = self.ping_mut() {
            ping.postpone(next);
        }
    }

    fn next_ping(&mut self, settings: &HealthSettings, now: Instant) -> Instant {
        now + self.jitter.around(settings.ping_interval, settings.jitter)
    }

    fn back_off(&mut self, now: Instant) {
        let wait = retry_wait(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + self.jitter.around(wait, 0.2);
    }
}

#[cfg(test)]
mod tests;
