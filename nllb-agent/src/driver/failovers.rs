//! How long failovers take, as far as an agent can know it by itself: a client's outage begins with the
//! failure, which the agent only learns of by a sign.

use std::time::{Duration, Instant};

use nllb_core::Histogram;

use super::status::durations;
use crate::status;

/// Bounds of the classes. 2 s is what the alert on slow failovers and a drill take for the limit.
const BOUNDS_US: [u32; 12] = [
    10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 1_500_000, 2_000_000, 3_000_000,
    5_000_000, 10_000_000,
];

/// The stages of failovers so far.
#[derive(Debug)]
pub(super) struct Failovers {
    verdict: Histogram,
    close: Histogram,
}

impl Default for Failovers {
    fn default() -> Self {
        Self { verdict: Histogram::new(&BOUNDS_US), close: Histogram::new(&BOUNDS_US) }
    }
}

impl Failovers {
    /// A backend that failed is out of service in the maps.
    pub(super) fn judged(&mut self, first_sign: Instant, now: Instant) {
        self.verdict.observe(now.saturating_duration_since(first_sign));
    }

    /// The connections to a dead backend were closed, so long after that was ordered.
    pub(super) fn closed(&mut self, after: Duration) {
        self.close.observe(after);
    }

    /// The same for the status document.
    pub(super) fn status(&self) -> status::Failovers {
        status::Failovers { verdict: durations(&self.verdict), close: durations(&self.close) }
    }
}
