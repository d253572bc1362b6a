//! How durations are distributed: what a dashboard or an alert needs to see more than the last one.

use std::time::Duration;

/// Durations by class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Upper bounds of the classes, in microseconds. What is above the last is in a class of its own.
    pub bounds_us: &'static [u32],
    /// How many were in each class and not in one before.
    pub counts: Vec<u64>,
    /// All of them together.
    pub sum: Duration,
}

impl Histogram {
    /// None yet. The bounds rise.
    #[must_use]
    pub fn new(bounds_us: &'static [u32]) -> Self {
        Self { bounds_us, counts: vec![0; bounds_us.len() + 1], sum: Duration::ZERO }
    }

    /// Takes one.
    pub fn observe(&mut self, duration: Duration) {
        let below = |bound: &u32| Duration::from_micros(u64::from(*bound)) < duration;
        self.counts[self.bounds_us.partition_point(below)] += 1;
        self.sum = self.sum.saturating_add(duration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtt::RTT_BOUNDS_US;

    #[test]
    fn a_bound_belongs_to_the_class_below_it() {
        let mut histogram = Histogram::new(&RTT_BOUNDS_US);
        for micros in [100, 101, 1_000_000, 1_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut expected = [0; RTT_BOUNDS_US.len() + 1];
        for class in [0, 1, 11, 12] {
            expected[class] = 1;
        }
        assert_eq!(histogram.counts, expected);
        assert_eq!(histogram.sum, Duration::from_micros(2_000_202));
    }

    #[test]
    fn what_is_above_all_bounds_has_a_class_of_its_own() {
        let mut histogram = Histogram::new(&[100, 2_000_000]);
        for micros in [100, 101, 2_000_000, 2_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        assert_eq!(histogram.counts, [1, 2, 1]);
        assert_eq!(histogram.sum, Duration::from_micros(4_000_202));
    }
}
