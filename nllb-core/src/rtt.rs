//! Round-trip time of a backend, and how long a connect may take before it is called silent.
//!
//! The estimator of TCP itself (RFC 6298, section 2), because it answers the same question: when is an
//! answer overdue, given what answers took so far. A fixed timeout would be seconds too long on a LAN
//! and too short for a satellite.

use std::time::Duration;

/// Shortest first wait: the floor that the kernel programs have for a SYN, see
/// [`nllb_common::maps::Control`].
const FLOOR: Duration = Duration::from_millis(80);

/// Smoothed round-trip time and its variation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rtt {
    estimate: Option<Estimate>,
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    smoothed: Duration,
    variation: Duration,
}

impl Rtt {
    /// Takes the round-trip time of one handshake.
    pub fn observe(&mut self, sample: Duration) {
        self.estimate = Some(match self.estimate {
            None => Estimate { smoothed: sample, variation: sample / 2 },
            Some(Estimate { smoothed, variation }) => Estimate {
                smoothed: (smoothed * 7 + sample) / 8,
                variation: (variation * 3 + smoothed.abs_diff(sample)) / 4,
            },
        });
    }

    /// How long a connect may take: two and a half times the wait for one answer, so that the SYN is
    /// sent again once and its answer has time, too. `None` before the first handshake.
    #[must_use]
    pub fn connect_timeout(&self) -> Option<Duration> {
        let Estimate { smoothed, variation } = self.estimate?;
        let wait = smoothed.saturating_add(variation.saturating_mul(4)).max(FLOOR);
        Some(wait.saturating_mul(5) / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(samples: &[u64]) -> Option<Duration> {
        let mut rtt = Rtt::default();
        for sample in samples {
            rtt.observe(Duration::from_millis(*sample));
        }
        rtt.connect_timeout()
    }

    #[test]
    fn nothing_is_known_before_the_first_handshake() {
        assert_eq!(after(&[]), None);
    }

    #[test]
    fn a_near_backend_has_the_floor() {
        assert_eq!(after(&[1]), Some(Duration::from_millis(200)));
    }

    #[test]
    fn a_far_backend_has_time_for_two_syns() {
        // First sample 600 ms: variation 300, wait 600 + 1200.
        assert_eq!(after(&[600]), Some(Duration::from_millis(4500)));
        let steady = after(&[600; 50]).expect("known");
        assert!(steady >= Duration::from_millis(1500), "{steady:?}");
        assert!(steady < Duration::from_millis(1600), "{steady:?}");
    }

    #[test]
    fn a_jump_widens_it_at_once() {
        let calm = after(&[100; 30]).expect("known");
        let mut samples = vec![100; 30];
        samples.push(400);
        assert!(after(&samples).expect("known") > calm * 2);
    }
}
