//! The reference: what came through of each server, counted, and what follows from that.

use std::time::{Duration, Instant};

use nllb_common::maps::State;
use nllb_core::{HealthSettings, Outcome};

/// As in every setting of this test.
const IN_A_ROW: usize = 2;
/// What it takes to be called dead.
const SILENCES: usize = 3;
const SILENT_FOR: Duration = Duration::from_millis(500);

/// An outcome that came through: when it was asked for, when it came, and what it was.
type Heard = (Instant, Instant, Outcome);

/// What came through of one server since it is known.
#[derive(Default)]
pub(crate) struct Tally {
    heard: Vec<Heard>,
}

impl Tally {
    pub(crate) fn hear(&mut self, asked: Instant, now: Instant, outcome: &Outcome) {
        self.heard.push((asked, now, outcome.clone()));
    }

    /// The agent has begun anew: its counts have, too.
    pub(crate) fn restart(&mut self) {
        self.heard.clear();
    }

    /// Whether a change of state to this one follows from what came through: the last ones in a row speak against the
    /// state before. The first outcome of all is enough for who was unknown.
    pub(crate) fn explains(&self, from: State, to: State) -> bool {
        let speaks = |(_, _, outcome): &&Heard| is_well(outcome) == to.is_eligible();
        let row = self.heard.iter().rev().take_while(speaks).count();
        row >= if from == State::Unknown { 1 } else { IN_A_ROW }
    }

    /// Whether it may be called dead: silences in a row over connections of their own, for long enough, and nothing else
    /// since.
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        let silent =
            |(_, _, outcome): &&Heard| matches!(outcome, Outcome::Silent | Outcome::Unreachable);
        let silences: Vec<_> = self.heard.iter().rev().take_while(silent).collect();
        let first = silences.last().map(|(asked, _, _)| *asked);
        silences.len() >= SILENCES && first.is_some_and(|first| now - first >= SILENT_FOR)
    }

    /// Whether it has been heard at all after this moment.
    pub(crate) fn answered_since(&self, since: Instant) -> bool {
        let answer = |outcome: &Outcome| !matches!(outcome, Outcome::Silent | Outcome::Unreachable);
        self.heard.iter().any(|(_, came, outcome)| *came >= since && answer(outcome))
    }
}

fn is_well(outcome: &Outcome) -> bool {
    *outcome == Outcome::Ready
}

/// By when the machine must agree with a truth that has not changed, once nothing is lost: the longest wait for the next
/// probe, then as many as it takes, each as slow as it may be; and for who was lost often the longest hold.
pub(crate) fn soon(settings: &HealthSettings, timeout: Duration, slowest: Duration) -> Duration {
    let HealthSettings { max_backoff, confirm_interval, jitter, .. } = settings;
    let longest = max_backoff.mul_f64(1.0 + jitter);
    let each = *confirm_interval * 2 + timeout.max(slowest);
    let hold = Duration::from_secs(30);
    // Whoever is held back must answer well for so long, and is then asked once more.
    longest * 2 + each * 4 + hold
}
