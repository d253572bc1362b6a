//! How durations are distributed: what an alert needs to see more than the last one.

use std::time::Duration;

use super::status::micros;
use crate::status;

/// Durations by class.
#[derive(Debug)]
pub(super) struct Durations {
    bounds_us: &'static [u32],
    /// How many were in each class and not in one before; the last class is above all bounds.
    counts: Vec<u64>,
    sum: Duration,
}

impl Durations {
    /// None yet. The upper bounds of the classes rise.
    pub(super) fn new(bounds_us: &'static [u32]) -> Self {
        Self { bounds_us, counts: vec![0; bounds_us.len() + 1], sum: Duration::ZERO }
    }

    /// Takes one.
    pub(super) fn observe(&mut self, duration: Duration) {
        let taken = micros(duration);
        let class = self.bounds_us.partition_point(|bound| u64::from(*bound) < taken);
        self.counts[class] += 1;
        self.sum = self.sum.saturating_add(duration);
    }

    /// The same for the status document.
    pub(super) fn status(&self) -> status::Durations {
        status::Durations {
            bounds_us: self.bounds_us.to_vec(),
            counts: self.counts.clone(),
            sum_us: micros(self.sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_class_below_it() {
        let mut durations = Durations::new(&[100, 2_000_000]);
        for micros in [100, 101, 2_000_000, 2_000_001] {
            durations.observe(Duration::from_micros(micros));
        }
        let told = durations.status();
        assert_eq!((told.counts, told.sum_us), (vec![1, 2, 1], 4_000_202));
    }
}
