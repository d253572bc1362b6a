//! What is counted in each second of a run, for each backend.

use super::timeline::{S, Time};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Probes over connections of their own that met a server.
    Fresh,
    /// Probes over sentinels that met a server.
    Kept,
    /// Probes that met nobody.
    Lost,
    /// Pings.
    Pings,
    /// Sentinels opened.
    Opens,
    /// Connections that clients made.
    Connects,
    /// Connects of clients that failed.
    Failures,
    /// Connections that were closed.
    Closed,
}

const KINDS: usize = 8;

/// The counts of one run.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// By backend, second and kind.
    bins: Vec<Vec<[u32; KINDS]>>,
    /// Established connections of clients by second and backend.
    pub(super) active: Vec<Vec<u64>>,
    /// Changes of state over all nodes.
    pub(super) transitions: u64,
    /// Connections closed because the backend was thought dead, and to rebalance.
    pub(super) closed_dead: u64,
    /// See [`Self::closed_dead`].
    pub(super) closed_rebalance: u64,
}

impl Counts {
    pub(super) fn new(backends: usize, end: Time) -> Self {
        let seconds = second(end) + 2;
        Self {
            bins: vec![vec![[0; KINDS]; seconds]; backends],
            active: Vec::with_capacity(seconds),
            transitions: 0,
            closed_dead: 0,
            closed_rebalance: 0,
        }
    }

    pub(super) fn add(&mut self, kind: Kind, backend: usize, at: Time) {
        if let Some(bin) = self.bins[backend].get_mut(second(at)) {
            bin[kind as usize] += 1;
        }
    }

    pub(super) const fn backends(&self) -> usize {
        self.bins.len()
    }

    /// The counts of some kinds together, by second.
    pub(super) fn rate(&self, backend: usize, kinds: &[Kind]) -> Vec<u32> {
        let sum = |bin: &[u32; KINDS]| kinds.iter().map(|kind| bin[*kind as usize]).sum();
        self.bins[backend].iter().map(sum).collect()
    }

    /// The largest of some backends' rates in any second of a span.
    pub(super) fn peak(&self, backends: &[usize], kinds: &[Kind], from: Time, to: Time) -> u32 {
        let peak = |backend: &usize| {
            let rate = self.rate(*backend, kinds);
            span(&rate, from, to).iter().copied().max().unwrap_or(0)
        };
        backends.iter().map(peak).max().unwrap_or(0)
    }

    /// The mean rate of a backend over a span.
    pub(super) fn mean(&self, backend: usize, kinds: &[Kind], from: Time, to: Time) -> f64 {
        let rate = self.rate(backend, kinds);
        let span = span(&rate, from, to);
        let sum: f64 = span.iter().map(|count| f64::from(*count)).sum();
        sum / f64::from(u32::try_from(span.len()).unwrap_or(u32::MAX).max(1))
    }

    /// How far the most loaded backend is above the mean, by second.
    pub(super) fn imbalance(&self) -> Vec<f64> {
        self.active.iter().map(|active| imbalance(active)).collect()
    }
}

/// The second in which a moment lies.
pub(super) fn second(at: Time) -> usize {
    usize::try_from(at / S).unwrap_or(usize::MAX)
}

fn span(rate: &[u32], from: Time, to: Time) -> &[u32] {
    let (from, to) = (second(from).min(rate.len()), second(to).min(rate.len()));
    &rate[from..to]
}

#[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 connections")]
fn imbalance(active: &[u64]) -> f64 {
    let sum: u64 = active.iter().sum();
    let most = active.iter().copied().max().unwrap_or(0);
    if sum == 0 { 0.0 } else { most as f64 * active.len() as f64 / sum as f64 - 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_imbalance_is_how_far_the_most_loaded_is_above_the_mean() {
        for (active, expected) in
            [(&[10, 10, 10][..], 0.0), (&[15, 15, 0], 0.5), (&[0, 0, 9], 2.0), (&[0, 0], 0.0)]
        {
            assert!((imbalance(active) - expected).abs() < 1e-9, "{active:?}");
        }
    }

    #[test]
    fn rates_are_by_second_and_kinds_are_added_up() {
        let mut counts = Counts::new(2, 10 * S);
        for at in [S, S + 1, 2 * S] {
            counts.add(Kind::Fresh, 1, at);
        }
        counts.add(Kind::Kept, 1, S);
        counts.add(Kind::Pings, 1, S);
        let both = [Kind::Fresh, Kind::Kept];
        assert_eq!(counts.rate(1, &both)[..4], [0, 3, 1, 0]);
        assert_eq!(counts.peak(&[0, 1], &both, 0, 10 * S), 3);
        assert_eq!(counts.peak(&[0, 1], &both, 2 * S, 10 * S), 1);
        assert!((counts.mean(1, &both, 0, 4 * S) - 1.0).abs() < 1e-9);
    }
}
