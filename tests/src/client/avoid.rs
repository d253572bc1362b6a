//! Whether clients avoid a server that has failed them, on machines of any speed.

use std::time::{Duration, Instant};

use super::protocol::Outcome;

/// A first failure makes a server suspect for so long, each further one for longer.
const SUSPICION: Duration = Duration::from_millis(250);

/// Failures of a client that connects again and again while a server is dead: the first, and on a machine
/// that is too slow for a verdict by then, one more whenever the suspicion of the one before is over.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    began: Option<Instant>,
    /// How many there were.
    pub count: u32,
}

impl Failures {
    /// Takes a connect that began at `began`.
    ///
    /// # Panics
    /// When it met the dead server though that was still suspect.
    pub fn take(&mut self, began: Instant, outcome: &Outcome) {
        if outcome.ok {
            return;
        }
        if let Some(before) = self.began {
            let after = began.duration_since(before);
            assert!(after >= SUSPICION, "failed again after {after:?}: {outcome:?}");
        }
        self.began = Some(began);
        self.count += 1;
    }

    /// The most failures that `clients` may meet until a verdict that takes `verdict`, one for each at first
    /// and then whenever suspicion is over.
    #[must_use]
    pub fn most(clients: usize, verdict: Duration) -> u64 {
        let again = verdict.as_millis() / SUSPICION.as_millis();
        u64::try_from(clients as u128 * (1 + again)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Outcome {
        Outcome { ok: false, ..Outcome::default() }
    }

    #[test]
    fn failures_are_taken_once_the_suspicion_of_the_one_before_is_over() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        failures.take(start, &failed());
        failures.take(start + SUSPICION / 2, &Outcome { ok: true, ..Outcome::default() });
        failures.take(start + SUSPICION, &failed());
        assert_eq!(failures.count, 2);
    }

    #[test]
    #[should_panic(expected = "failed again after 249ms")]
    fn a_second_failure_before_that_is_one_too_many() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        failures.take(start, &failed());
        failures.take(start + Duration::from_millis(249), &failed());
    }

    #[test]
    fn a_slow_verdict_allows_more() {
        assert_eq!(Failures::most(4, Duration::from_millis(200)), 4);
        assert_eq!(Failures::most(4, Duration::from_millis(600)), 12);
    }
}
