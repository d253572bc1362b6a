//! One fault and its consequences, for clients and in the agent's eyes.

use std::time::{Duration, Instant};

use super::ledger::{Failure, Health};

/// What is done to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its process is killed: connects are refused.
    Crash,
    /// Its host vanishes: nothing answers.
    PowerOff,
}

impl Kind {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::PowerOff => "power-off",
        }
    }
}

/// A fault, from its beginning to the end of its consequences.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) victim: String,
    pub(super) at: Instant,
    /// From the fault to the agent's verdict.
    pub(super) detected: Option<Duration>,
    /// From the fault to the first success after the first failure; without any failure, to the
    /// first success.
    pub(super) failover: Option<Duration>,
    /// The longest time without a success.
    pub(super) blackout: Duration,
    pub(super) failed: u64,
    /// Connections that ended before they were answered.
    pub(super) cut: u64,
    pub(super) restored: Option<Instant>,
    /// From the server's return to the agent's verdict.
    pub(super) readmitted: Option<Duration>,
}

impl Fault {
    /// It begins.
    pub(super) fn new(at: Instant, kind: Kind, victim: &str) -> Self {
        Self {
            kind,
            victim: victim.to_owned(),
            at,
            detected: None,
            failover: None,
            blackout: Duration::ZERO,
            failed: 0,
            cut: 0,
            restored: None,
            readmitted: None,
        }
    }

    /// Clients got through, and the agent took the server out and back in.
    pub(super) fn is_overcome(&self) -> bool {
        self.detected.is_some() && self.failover.is_some() && self.readmitted.is_some()
    }

    /// Whether a client has noticed.
    pub(super) const fn is_felt(&self) -> bool {
        self.failed + self.cut > 0
    }

    /// A connect was of no use.
    pub(super) fn fail(&mut self, failure: &Failure) {
        if !self.is_felt() {
            self.failover = None;
        }
        match failure {
            Failure::Connect(_) => self.failed += 1,
            Failure::Cut(_) => self.cut += 1,
        }
    }

    /// A connect succeeded, `gap` after the one before; gives the time of the failover if that is
    /// what it was.
    pub(super) fn succeed(
        &mut self,
        began: Instant,
        ended: Instant,
        gap: Duration,
    ) -> Option<Duration> {
        self.blackout = self.blackout.max(gap);
        if self.failover.is_some() || began < self.at {
            return None;
        }
        self.failover = Some(ended - self.at);
        self.failover
    }

    /// The agent has said how the backends are.
    pub(super) fn look(&mut self, backends: &[Health]) {
        let Some(victim) = backends.iter().find(|backend| backend.name == self.victim) else {
            return;
        };
        if self.detected.is_none() && !victim.is_healthy() && victim.since >= self.at {
            self.detected = Some(victim.since - self.at);
        }
        if let (None, Some(restored), true) = (self.readmitted, self.restored, victim.is_healthy())
        {
            // Before it was detected, healthy is old news.
            if self.detected.is_some() {
                self.readmitted = Some(victim.since.saturating_duration_since(restored));
            }
        }
    }
}
