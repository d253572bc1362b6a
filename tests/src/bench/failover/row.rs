//! All runs of a fault in one row: percentiles.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fault::Fault;
use super::sample::Sample;

/// A row of the result.
pub(in crate::bench) struct Row {
    pub(in crate::bench) fault: Fault,
    pub(in crate::bench) runs: usize,
    pub(in crate::bench) detect_ms: Option<Spread>,
    pub(in crate::bench) new_blackout_ms: Option<Spread>,
    pub(in crate::bench) new_leave_ms: Option<Spread>,
    pub(in crate::bench) calm_gap_ms: Option<Spread>,
    pub(in crate::bench) new_recovery_ms: Option<Spread>,
    pub(in crate::bench) failed: Option<Spread>,
    pub(in crate::bench) unconnected: Option<Spread>,
    pub(in crate::bench) failed_on_time: Option<Spread>,
    pub(in crate::bench) errors: BTreeMap<String, u64>,
    pub(in crate::bench) established_closed_ms: Option<Spread>,
    pub(in crate::bench) established_open: u64,
    pub(in crate::bench) readmit_ms: Option<Spread>,
    /// Runs in which a victim was not readmitted while it was waited for.
    pub(in crate::bench) not_readmitted: usize,
    pub(in crate::bench) closed_wrongly: u64,
    pub(in crate::bench) transitions: Option<Spread>,
}

/// Percentiles of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::bench) struct Spread {
    pub(in crate::bench) p50: f64,
    pub(in crate::bench) p99: f64,
    pub(in crate::bench) max: f64,
}

impl Row {
    pub(in crate::bench) fn of(fault: Fault, samples: &[Sample]) -> Self {
        let sum = |count: fn(&Sample) -> u64| samples.iter().map(count).sum();
        let times = |of: fn(&Sample) -> Option<u64>| Spread::ms(samples.iter().filter_map(of));
        let lists = |of: fn(&Sample) -> &Vec<u64>| Spread::ms(samples.iter().flat_map(of).copied());
        let per_client =
            |of: fn(&Sample) -> &Vec<u64>| Spread::of(samples.iter().flat_map(of).copied());
        let counts = |of: fn(&Sample) -> u64| Spread::of(samples.iter().map(of));
        let readmitted = samples.iter().filter(|sample| sample.readmit.is_some()).count();
        Self {
            fault,
            runs: samples.len(),
            detect_ms: times(|sample| sample.detect),
            new_blackout_ms: lists(|sample| &sample.blackout),
            new_leave_ms: times(|sample| sample.leave),
            calm_gap_ms: lists(|sample| &sample.calm_gap),
            new_recovery_ms: lists(|sample| &sample.recover),
            failed: per_client(|sample| &sample.failed),
            unconnected: per_client(|sample| &sample.unconnected),
            failed_on_time: if fault.has_connects() {
                counts(|sample| sample.failed_on_time)
            } else {
                None
            },
            errors: errors(samples),
            established_closed_ms: lists(|sample| &sample.established_closed),
            established_open: sum(|sample| sample.established_open),
            readmit_ms: times(|sample| sample.readmit),
            not_readmitted: if fault.has_readmission() { samples.len() - readmitted } else { 0 },
            closed_wrongly: sum(|sample| sample.closed_wrongly),
            transitions: counts(|sample| sample.transitions),
        }
    }

    pub(in crate::bench) fn json(&self) -> Value {
        let spread = |spread: Option<Spread>| spread.map_or(Value::Null, Spread::json);
        json!({
            "fault": self.fault.to_string(),
            "runs": self.runs,
            "detect_ms": spread(self.detect_ms),
            "new_blackout_ms": spread(self.new_blackout_ms),
            "new_leave_ms": spread(self.new_leave_ms),
            "new_recovery_ms": spread(self.new_recovery_ms),
            "calm_gap_ms": spread(self.calm_gap_ms),
            "failed_connects_per_client": spread(self.failed),
            "never_established_per_client": spread(self.unconnected),
            "failed_connects_that_do_not_wait": spread(self.failed_on_time),
            "errors": self.errors,
            "established_closed_ms": spread(self.established_closed_ms),
            "established_open": self.established_open,
            "readmit_ms": spread(self.readmit_ms),
            "not_readmitted": self.not_readmitted,
            "closed_wrongly": self.closed_wrongly,
            "transitions": spread(self.transitions),
        })
    }
}

fn errors(samples: &[Sample]) -> BTreeMap<String, u64> {
    let mut errors = BTreeMap::new();
    for (error, count) in samples.iter().flat_map(|sample| &sample.errors) {
        *errors.entry(error.clone()).or_default() += count;
    }
    errors
}

impl Spread {
    /// Of nanoseconds, in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "a measurement has fewer digits than an f64")]
    pub(in crate::bench) fn ms(ns: impl Iterator<Item = u64>) -> Option<Self> {
        Self::of_numbers(ns.map(|ns| ns as f64 / 1e6).collect())
    }

    /// Of counts.
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    pub(in crate::bench) fn of(counts: impl Iterator<Item = u64>) -> Option<Self> {
        Self::of_numbers(counts.map(|count| count as f64).collect())
    }

    fn of_numbers(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        // The nearest rank: with few runs the 99th percentile is the largest.
        let rank = |percent: usize| {
            let rank = (numbers.len() * percent).div_ceil(100);
            numbers.get(rank.saturating_sub(1)).copied()
        };
        Some(Self { p50: rank(50)?, p99: rank(99)?, max: *numbers.last()? })
    }

    pub(super) fn json(self) -> Value {
        let digits = |number: f64| (number * 1000.0).round() / 1000.0;
        json!({"p50": digits(self.p50), "p99": digits(self.p99), "max": digits(self.max)})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_few_runs_the_99th_percentile_is_the_largest() {
        let spread = Spread::of(1..=20).expect("numbers");
        assert_eq!(spread, Spread { p50: 10.0, p99: 20.0, max: 20.0 });
        let spread = Spread::ms((1..=200).map(|ms| ms * 1_000_000)).expect("numbers");
        assert_eq!(spread, Spread { p50: 100.0, p99: 198.0, max: 200.0 });
        assert_eq!(Spread::of(std::iter::empty()), None);
    }

    #[test]
    fn a_row_has_what_there_was_and_null_where_there_was_nothing() {
        let ms = 1_000_000;
        let sample = |detect, readmit| Sample {
            detect,
            readmit,
            blackout: vec![2 * ms, 4 * ms],
            failed: vec![0, 1],
            closed_wrongly: 1,
            ..Sample::default()
        };
        let samples = [sample(Some(7 * ms), Some(ms)), sample(Some(9 * ms), None)];
        let json = Row::of(Fault::Frozen, &samples).json();
        assert_eq!((&json["fault"], &json["runs"]), (&json!("frozen"), &json!(2)));
        assert_eq!(json["detect_ms"], json!({"p50": 7.0, "p99": 9.0, "max": 9.0}));
        assert_eq!(json["new_blackout_ms"]["p50"], 2.0);
        assert_eq!(json["failed_connects_per_client"]["max"], 1.0);
        assert_eq!(json["established_closed_ms"], Value::Null);
        assert_eq!((&json["not_readmitted"], &json["closed_wrongly"]), (&json!(1), &json!(2)));
    }
}
