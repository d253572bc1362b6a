//! A histogram that was counted elsewhere: the library's own only observes.

use super::Labels;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::{MetricType, TypedMetric};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Histograms by label.
pub(super) type Histograms = Family<Labels, Histogram>;

/// Upper bounds with how many were in each class, and the sum.
#[derive(Debug, Default)]
pub(super) struct Histogram(Mutex<(Vec<(f64, u64)>, f64)>);

impl Histogram {
    /// Sets all of it; the last bound is infinite.
    pub(super) fn set(&self, classes: Vec<(f64, u64)>, sum: f64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (classes, sum);
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        let (classes, sum) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = classes.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(*sum, count, classes, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
