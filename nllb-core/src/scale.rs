//! How often a node asks, given how many nodes ask the same servers.
//!
//! What a backend bears is a rate, and the rate of all nodes together is what an operator sees in its
//! graphs. So beyond a certain number of nodes each asks less often. Nobody needs to coordinate: each
//! node reads the number of nodes from the API server itself.

use std::time::Duration;

use crate::settings::HealthSettings;

/// Probes per second that a backend gets from all nodes together while all is calm. The promise is
/// 1,500 at any time. When a backend that still answers gets into trouble every node asks up to three
/// times in one interval, so calm may be less than a third of it. Little is lost by that: a crash, a shutdown
/// and a silent network are told by the sentinels, and do not wait for a probe.
const PROBES_PER_SECOND: u32 = 400;

/// Pings per second that a backend gets from all nodes together while all is calm. A ping is answered
/// by the HTTP/2 library and costs a few microseconds: 5,000 are some hundredths of one core.
const PINGS_PER_SECOND: u32 = 5000;

/// Pings per second while every node watches closely, since it saw one of the backends in trouble.
const ALERT_PINGS_PER_SECOND: u32 = 20_000;

/// The longest interval that a number of nodes leads to. A wrong number must not make an agent blind.
const LONGEST: Duration = Duration::from_secs(30);

/// Probes per second that all nodes together may begin when a ping of each is overdue: mostly a server
/// that had no time for a moment, and hardly what it needs then is a handshake with every node.
const LOOKS_PER_SECOND: u32 = 1200;
/// But so late each node looks at last: a death must be found.
const LATEST_LOOK: Duration = Duration::from_millis(500);

/// Over how long the nodes of a cluster spread their looks at a backend whose ping is overdue.
pub(crate) fn look_spread(nodes: Option<u64>) -> Duration {
    let nodes = u32::try_from(nodes.unwrap_or(0)).unwrap_or(u32::MAX);
    (Duration::from_secs(1) * nodes / LOOKS_PER_SECOND).min(LATEST_LOOK)
}

impl HealthSettings {
    /// The same settings with the intervals that suit a cluster of `nodes`.
    #[must_use]
    pub fn scaled(self, nodes: Option<u64>) -> Self {
        let nodes = u32::try_from(nodes.unwrap_or(1)).unwrap_or(u32::MAX);
        Self {
            interval: interval_for(self.interval, nodes, PROBES_PER_SECOND),
            ping_interval: interval_for(self.ping_interval, nodes, PINGS_PER_SECOND),
            confirm_interval: interval_for(self.confirm_interval, nodes, ALERT_PINGS_PER_SECOND),
            ..self
        }
    }
}

/// `wanted`, or as much longer as it takes for `nodes` to stay below `per_second` together, within
/// reason.
fn interval_for(wanted: Duration, nodes: u32, per_second: u32) -> Duration {
    wanted.max((Duration::from_secs(1) * nodes / per_second).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scaled(nodes: Option<u64>) -> [Duration; 3] {
        let scaled = HealthSettings::default().scaled(nodes);
        [scaled.interval, scaled.ping_interval, scaled.confirm_interval]
    }

    #[test]
    fn a_small_cluster_keeps_the_intervals_of_the_settings() {
        for nodes in [None, Some(0), Some(1), Some(400)] {
            assert_eq!(scaled(nodes), [1000, 600, 100].map(Duration::from_millis), "{nodes:?}");
        }
    }

    #[test]
    fn a_large_cluster_asks_less_often() {
        assert_eq!(scaled(Some(6000)), [15_000, 1200, 300].map(Duration::from_millis));
    }

    #[test]
    fn looks_are_spread_over_half_a_second_at_most() {
        let spreads = [None, Some(3), Some(300), Some(5000), Some(u64::MAX)].map(look_spread);
        assert_eq!(spreads.map(|spread| spread.as_millis()), [0, 2, 250, 500, 500]);
    }

    proptest! {
        #[test]
        fn all_nodes_together_stay_below_the_rate_or_at_what_the_operator_wants(
            nodes: u64, interval in 1u64..100_000,
        ) {
            let interval = Duration::from_millis(interval);
            let settings = HealthSettings { interval, ..HealthSettings::default() };
            let scaled = settings.scaled(Some(nodes)).interval;
            let nodes = f64::from(u32::try_from(nodes).unwrap_or(u32::MAX));
            prop_assert!(scaled >= interval);
            let few = nodes / scaled.as_secs_f64() <= 400.001;
            prop_assert!(scaled == interval || few || scaled == Duration::from_secs(30));
            prop_assert!(scaled <= interval.max(Duration::from_secs(30)));
        }
    }
}
