//! Round-trip time, and when an answer is overdue.
//!
//! The estimator of TCP itself (RFC 6298, section 2), because it answers the same question: when is an
//! answer overdue, given what answers took so far. A fixed timeout would be seconds too long on a LAN
//! and too short for a satellite.
//!
//! Not phi-accrual (Hayashibara et al., 2004), which failure detectors often use: it judges heartbeats
//! whose sending times nobody knows, so it can only look at the gaps between arrivals, where the
//! sender's own jitter hides the network's. Here every ping is a question with its own start. What it
//! took is measured directly, and four deviations above the mean need no window of samples.

use std::time::Duration;

mod history;

pub use history::{RTT_SLOT, RTT_SLOTS, RttHistory, RttSlot};

/// Upper bounds of the classes of round trips, in microseconds: from within a rack to a satellite link.
pub const RTT_BOUNDS_US: [u32; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// The floor that the kernel programs have for the wait after a SYN, see
/// [`nllb_common::maps::Control`].
const SYN_FLOOR: Duration = Duration::from_millis(80);
/// And its ceiling.
const SYN_CEILING: Duration = Duration::from_secs(1);

/// A ping is never overdue before: the scheduling of two busy processes is no sign of death.
const PING_FLOOR: Duration = Duration::from_millis(100);
/// What a ping may take longer than usual when all were alike so far. Deviations of nothing would call
/// the first one that is not overdue.
const PING_SLACK: Duration = Duration::from_millis(50);

/// A probe is never overdue before: a server that is busy for a moment answers later than usual.
const PROBE_FLOOR: Duration = Duration::from_millis(250);
/// How many times its usual time a probe may take. More than a ping's four deviations, because what an
/// API server does for it varies.
const PROBE_FACTOR: u32 = 4;

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
    /// Takes one round trip.
    pub fn observe(&mut self, sample: Duration) {
        self.estimate = Some(match self.estimate {
            None => Estimate { smoothed: sample, variation: sample / 2 },
            Some(Estimate { smoothed, variation }) => Estimate {
                smoothed: (smoothed * 7 + sample) / 8,
                variation: (variation * 3 + smoothed.abs_diff(sample)) / 4,
            },
        });
    }

    /// The smoothed round-trip time. `None` before the first.
    #[must_use]
    pub fn smoothed(&self) -> Option<Duration> {
        Some(self.estimate?.smoothed)
    }

    /// How long a connect may take. The kernel programs send a SYN again after three round trips; the
    /// answer to the second one has one and a half times the usual wait. So one lost SYN is no silence,
    /// near or far. `None` before the first handshake.
    #[must_use]
    pub fn connect_timeout(&self) -> Option<Duration> {
        let Estimate { smoothed, variation } = self.estimate?;
        let second = smoothed.saturating_mul(3).clamp(SYN_FLOOR, SYN_CEILING);
        let wait = smoothed.saturating_add(variation.saturating_mul(4)).max(SYN_FLOOR);
        Some(second.saturating_add(wait.saturating_mul(3) / 2))
    }

    /// When a ping is overdue.
    #[must_use]
    pub fn ping_overdue(&self) -> Duration {
        let overdue = self.estimate.map(|Estimate { smoothed, variation }| {
            smoothed.saturating_add(variation.saturating_mul(4).max(PING_SLACK))
        });
        overdue.unwrap_or(SYN_CEILING).max(PING_FLOOR)
    }

    /// When a probe is overdue, where this estimates what whole probes take.
    #[must_use]
    pub fn probe_overdue(&self) -> Duration {
        let usual = self.smoothed().unwrap_or_default();
        usual.saturating_mul(PROBE_FACTOR).max(PROBE_FLOOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(samples: &[u64]) -> Rtt {
        let mut rtt = Rtt::default();
        for sample in samples {
            rtt.observe(Duration::from_millis(*sample));
        }
        rtt
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn nothing_is_known_before_the_first_handshake() {
        assert_eq!(after(&[]).connect_timeout(), None);
        assert_eq!(after(&[]).smoothed(), None);
        assert_eq!(after(&[]).ping_overdue(), ms(1000));
        assert_eq!(after(&[]).probe_overdue(), ms(250));
    }

    #[test]
    fn a_near_backend_has_the_floors() {
        let near = after(&[1]);
        assert_eq!(near.connect_timeout(), Some(ms(200)));
        assert_eq!(near.ping_overdue(), ms(100));
        assert_eq!(near.probe_overdue(), ms(250));
    }

    #[test]
    fn a_far_backend_has_time_for_two_syns() {
        // First sample 200 ms: the second SYN after 600, variation 100, wait 200 + 400.
        assert_eq!(after(&[200]).connect_timeout(), Some(ms(1500)));
        let steady = after(&[200; 50]).connect_timeout().expect("known");
        assert!(steady >= ms(600 + 300) && steady < ms(600 + 301), "{steady:?}");
        let satellite = after(&[600; 50]).connect_timeout().expect("known");
        assert!(satellite >= ms(1000 + 900) && satellite < ms(1000 + 901), "{satellite:?}");
    }

    #[test]
    fn a_jump_widens_it_at_once() {
        let calm = after(&[100; 30]);
        let mut samples = vec![100; 30];
        samples.push(400);
        let jumped = after(&samples);
        assert!(jumped.connect_timeout() > calm.connect_timeout().map(|calm| calm * 2));
        assert!(jumped.ping_overdue() > ms(400), "{:?}", jumped.ping_overdue());
    }

    #[test]
    fn pings_that_were_all_alike_have_some_slack() {
        let overdue = after(&[200; 50]).ping_overdue();
        assert!(overdue >= ms(250) && overdue < ms(251), "{overdue:?}");
    }

    #[test]
    fn a_slow_server_may_take_four_times_as_long() {
        let overdue = after(&[100; 50]).probe_overdue();
        assert_eq!(overdue, ms(400));
    }
}
