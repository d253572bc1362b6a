//! How round trips are distributed: what a dashboard needs to show more than the smoothed one.

use std::time::Duration;

/// Upper bounds of the classes, in microseconds: from within a rack to a satellite link. What is above the
/// last is in a class of its own.
pub const RTT_BOUNDS_US: [u32; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// Round trips by class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RttHistogram {
    /// How many were in each class and not in one before; the last class is above all bounds.
    pub counts: [u64; RTT_BOUNDS_US.len() + 1],
    /// All of them together.
    pub sum: Duration,
}

impl RttHistogram {
    /// Takes one round trip.
    pub(crate) fn observe(&mut self, sample: Duration) {
        let fits = |bound: &u32| sample <= Duration::from_micros(u64::from(*bound));
        let class = RTT_BOUNDS_US.iter().position(fits).unwrap_or(RTT_BOUNDS_US.len());
        self.counts[class] += 1;
        self.sum = self.sum.saturating_add(sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_class_below_it() {
        let mut histogram = RttHistogram::default();
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
}
