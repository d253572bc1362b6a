//! What is measured of each peer, and how several rounds become one figure.

use serde_json::{Value, json};

use super::peer::Peer;
use crate::bench::report::round;
use crate::usage::Spent;

/// A figure of a round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Metric {
    Connect,
    FirstByte,
    Request,
    Throughput,
    CpuPerConnects,
    CpuPerGigabyte,
}

/// Where the processor's time of some work went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shares {
    pub(super) client: Spent,
    pub(super) balancer: Spent,
    pub(super) servers: Spent,
    /// The kernel's own threads for packets.
    pub(super) packets: Spent,
}

/// What a round gave of one peer, in the order of [`Metric::ALL`].
pub(super) struct Round {
    pub(super) values: [f64; Metric::ALL.len()],
    pub(super) connects: Shares,
    pub(super) downloads: Shares,
}

/// All rounds of a peer.
pub(super) struct Cost {
    pub(super) peer: Peer,
    pub(super) version: String,
    pub(super) rounds: Vec<Round>,
    /// After the last round; none where there is no process.
    pub(super) rss_mib: Option<f64>,
    /// What all rounds together did.
    pub(super) connects: u64,
    pub(super) bytes: u64,
}

/// The middle and the quartiles around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::bench) struct Quartiles {
    pub(in crate::bench) q1: f64,
    pub(in crate::bench) median: f64,
    pub(in crate::bench) q3: f64,
}

/// Seconds of processor time, by who had it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Parts {
    pub(super) client: f64,
    pub(super) balancer: f64,
    pub(super) servers: f64,
    pub(super) kernel: f64,
}

impl Metric {
    pub(super) const ALL: [Self; 6] = [
        Self::Connect,
        Self::FirstByte,
        Self::Request,
        Self::Throughput,
        Self::CpuPerConnects,
        Self::CpuPerGigabyte,
    ];

    /// For people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Connect => "connect, us",
            Self::FirstByte => "first byte, us",
            Self::Request => "request on kept TLS, us",
            Self::Throughput => "throughput, MB/s",
            Self::CpuPerConnects => "CPU s / 10k connects",
            Self::CpuPerGigabyte => "CPU s / GB",
        }
    }

    /// For programs.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Connect => "connect_us",
            Self::FirstByte => "first_byte_us",
            Self::Request => "request_us",
            Self::Throughput => "throughput_mb_per_s",
            Self::CpuPerConnects => "cpu_s_per_10k_connects",
            Self::CpuPerGigabyte => "cpu_s_per_gb",
        }
    }

    /// How many digits after the point are told.
    pub(super) fn digits(self) -> usize {
        match self {
            Self::Connect | Self::FirstByte | Self::Request => 1,
            Self::Throughput => 0,
            Self::CpuPerConnects | Self::CpuPerGigabyte => 3,
        }
    }

    /// How many times direct's nllb's may be, at most.
    pub(super) fn goal(self) -> Option<f64> {
        match self {
            Self::Connect => Some(1.05),
            Self::Request | Self::Throughput => Some(1.02),
            Self::FirstByte | Self::CpuPerConnects | Self::CpuPerGigabyte => None,
        }
    }

    /// How many times as costly one is as the other: above 1 is worse, of throughput too.
    pub(super) fn ratio(self, value: f64, direct: f64) -> f64 {
        if self == Self::Throughput { direct / value } else { value / direct }
    }
}

impl Shares {
    pub(super) fn add(&mut self, other: Self) {
        self.client += other.client;
        self.balancer += other.balancer;
        self.servers += other.servers;
        self.packets += other.packets;
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            client: self.client - before.client,
            balancer: self.balancer - before.balancer,
            servers: self.servers - before.servers,
            packets: self.packets - before.packets,
        }
    }

    /// All of it, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "a measurement has fewer digits than an f64")]
    pub(super) fn seconds(self) -> f64 {
        (self.client + self.balancer + self.servers + self.packets).ns as f64 / 1e9
    }
}

impl Parts {
    /// The time of all rounds, for one of so many units of work.
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    fn of(shares: impl Iterator<Item = Shares>, units: f64) -> Self {
        let mut sum = Shares::default();
        shares.for_each(|shares| sum.add(shares));
        let own = |spent: Spent| (spent.ns as f64 - spent.kernel_ns()) / 1e9 / units;
        let Shares { client, balancer, servers, packets } = sum;
        let kernel = [client, balancer, servers].into_iter().map(Spent::kernel_ns).sum::<f64>();
        let kernel = (kernel + packets.ns as f64) / 1e9 / units;
        Self { client: own(client), balancer: own(balancer), servers: own(servers), kernel }
    }

    pub(super) fn json(self) -> Value {
        let Self { client, balancer, servers, kernel } = self;
        json!({
            "client": round(client, 4),
            "balancer": round(balancer, 4),
            "servers": round(servers, 4),
            "kernel": round(kernel, 4),
        })
    }
}

impl Cost {
    pub(super) fn quartiles(&self, metric: Metric) -> Quartiles {
        Quartiles::of(self.rounds.iter().map(|round| round.value(metric)).collect())
    }

    /// The ratios to direct, round by round.
    pub(super) fn ratios(&self, metric: Metric, direct: &Self) -> Quartiles {
        let pairs = self.rounds.iter().zip(&direct.rounds);
        let ratio =
            |(own, direct): (&Round, &Round)| metric.ratio(own.value(metric), direct.value(metric));
        Quartiles::of(pairs.map(ratio).collect())
    }

    /// Of 10,000 connects.
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    pub(super) fn connect_parts(&self) -> Parts {
        let shares = self.rounds.iter().map(|round| round.connects);
        Parts::of(shares, self.connects as f64 / 1e4)
    }

    /// Of a gigabyte.
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    pub(super) fn download_parts(&self) -> Parts {
        let shares = self.rounds.iter().map(|round| round.downloads);
        Parts::of(shares, self.bytes as f64 / 1e9)
    }
}

impl Round {
    pub(super) fn value(&self, metric: Metric) -> f64 {
        let place = Metric::ALL.iter().position(|other| *other == metric);
        place.map_or(f64::NAN, |place| self.values[place])
    }
}

impl Quartiles {
    /// Of numbers in any order, by the nearest rank; not a number if there are none.
    pub(in crate::bench) fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let rank = (numbers.len() * percent).div_ceil(100).saturating_sub(1);
            numbers.get(rank).copied().unwrap_or(f64::NAN)
        };
        Self { q1: rank(25), median: rank(50), q3: rank(75) }
    }

    pub(in crate::bench) fn json(self, digits: i32) -> Value {
        let Self { q1, median, q3 } = self;
        json!({
            "q1": round(q1, digits), "median": round(median, digits), "q3": round(q3, digits),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_throughput_is_a_smaller_ratio() {
        assert!((Metric::Throughput.ratio(50.0, 100.0) - 2.0).abs() < f64::EPSILON);
        assert!((Metric::Connect.ratio(50.0, 100.0) - 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn quartiles_are_numbers_that_were_measured() {
        let quartiles = Quartiles::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!(quartiles, Quartiles { q1: 1.0, median: 2.0, q3: 3.0 });
        assert!(Quartiles::of(Vec::new()).median.is_nan());
    }

    #[test]
    fn the_kernels_part_is_what_it_did_for_everybody() {
        let spent = |user, system| Spent { ns: 1_000_000_000, user, system };
        let shares = Shares {
            client: spent(1, 1),
            balancer: Spent::default(),
            servers: spent(3, 1),
            packets: spent(0, 1),
        };
        let parts = Parts::of([shares].into_iter(), 2.0);
        let wanted = Parts { client: 0.25, balancer: 0.0, servers: 0.375, kernel: 0.875 };
        assert_eq!(parts, wanted);
    }
}
