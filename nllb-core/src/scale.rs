//! How often a node asks, given how many nodes ask the same servers.
//!
//! What a backend bears is a rate, and the rate of all nodes together is what an operator sees in its
//! graphs. So beyond a certain number of nodes each asks less often. Nobody needs to coordinate: each
//! node reads the number of nodes from the API server itself.

use std::time::Duration;

use crate::settings::HealthSettings;

/// Probes per second that a backend gets from all nodes together while all is calm. The promise is
/// 1,500 at any time; what is between is for the probes that confirm a change and for a number of nodes
/// that has grown since it was read.
const PROBES_PER_SECOND: u32 = 1200;

/// Pings per second that a backend gets from all nodes together while all is calm. A ping is answered
/// by the HTTP/2 library and costs a few microseconds: 5,000 are some hundredths of one core.
const PINGS_PER_SECOND: u32 = 5000;

impl HealthSettings {
    /// The same settings with the intervals that suit a cluster of `nodes`.
    #[must_use]
    pub fn scaled(self, nodes: Option<u64>) -> Self {
        let nodes = u32::try_from(nodes.unwrap_or(1)).unwrap_or(u32::MAX);
        Self {
            interval: interval_for(self.interval, nodes, PROBES_PER_SECOND),
            ping_interval: interval_for(self.ping_interval, nodes, PINGS_PER_SECOND),
            ..self
        }
    }
}

/// `wanted`, or as much longer as it takes for `nodes` to stay below `per_second` together.
fn interval_for(wanted: Duration, nodes: u32, per_second: u32) -> Duration {
    wanted.max(Duration::from_secs(1) * nodes / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scaled(nodes: Option<u64>) -> (Duration, Duration) {
        let HealthSettings { interval, ping_interval, .. } =
            HealthSettings::default().scaled(nodes);
        (interval, ping_interval)
    }

    #[test]
    fn a_small_cluster_keeps_the_intervals_of_the_settings() {
        let settings = HealthSettings::default();
        for nodes in [None, Some(0), Some(1), Some(1200)] {
            assert_eq!(scaled(nodes), (settings.interval, settings.ping_interval), "{nodes:?}");
        }
    }

    #[test]
    fn a_large_cluster_asks_less_often() {
        let (probes, pings) = scaled(Some(6000));
        assert_eq!((probes, pings), (Duration::from_secs(5), Duration::from_millis(1200)));
    }

    proptest! {
        #[test]
        fn all_nodes_together_stay_below_the_rate_at_any_number_of_them(
            nodes: u64, interval in 1u64..100_000,
        ) {
            let interval = Duration::from_millis(interval);
            let settings = HealthSettings { interval, ..HealthSettings::default() };
            let scaled = settings.scaled(Some(nodes));
            prop_assert!(scaled.interval >= interval);
            let per_second = f64::from(u32::try_from(nodes).unwrap_or(u32::MAX)) / scaled.interval.as_secs_f64();
            let alone = 1.0 / interval.as_secs_f64();
            prop_assert!(per_second <= 1200.001 || (nodes as f64) * alone <= 1200.001);
        }
    }
}
