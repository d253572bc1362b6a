//! How long to wait before the next try.

use super::Pace;
use nllb_core::Jitter;
use std::time::Duration;

/// A wait may be half of itself shorter or longer.
const SPREAD: f64 = 1.0;

/// Doubling waits, widely spread: what ends a watch ends it on all nodes at once.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    wait: Duration,
    jitter: Jitter,
}

impl Backoff {
    pub(super) fn new(pace: &Pace, seed: u32) -> Self {
        let Pace { first, longest, .. } = *pace;
        Self { first, longest, wait: first, jitter: Jitter::new(seed) }
    }

    /// The next wait is the first one again.
    pub(super) fn reset(&mut self) {
        self.wait = self.first;
    }

    /// The wait before this try.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(self.longest);
        self.jitter.around(wait, SPREAD)
    }

    /// Some time between these.
    pub(super) fn between(&mut self, (least, most): (Duration, Duration)) -> Duration {
        least + self.jitter.within(most.saturating_sub(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let pace = Pace::default();
        let mut firsts = Vec::new();
        for seed in 0..200 {
            let mut backoff = Backoff::new(&pace, seed);
            let mut expected = pace.first;
            for _ in 0..12 {
                let wait = backoff.next();
                assert!(wait >= expected / 2 && wait <= expected.mul_f64(1.5), "{wait:?}");
                expected = (expected * 2).min(pace.longest);
            }
            assert_eq!(expected, pace.longest);
            backoff.reset();
            firsts.push(backoff.next());
        }
        firsts.sort_unstable();
        let middle = firsts[100].as_secs_f64() / pace.first.as_secs_f64();
        assert!((0.8..1.2).contains(&middle), "nodes do not come back in step: {middle}");
    }

    #[test]
    fn a_time_between_two_is_any_of_them() {
        let mut backoff = Backoff::new(&Pace::default(), 7);
        let seconds = Duration::from_secs;
        let drawn: Vec<_> =
            (0..500).map(|_| backoff.between((seconds(180), seconds(290)))).collect();
        assert!(drawn.iter().all(|time| (seconds(180)..=seconds(290)).contains(time)));
        assert!(drawn.iter().any(|time| *time < seconds(200)));
        assert!(drawn.iter().any(|time| *time > seconds(270)));
        assert_eq!(backoff.between((seconds(5), seconds(5))), seconds(5));
    }
}
