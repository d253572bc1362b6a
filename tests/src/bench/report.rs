//! The result, for people and for programs.

use serde_json::{Value, json};

/// The goals of a release build.
const GOAL_TRANSLATED_NS: f64 = 300.0;
const GOAL_UNMATCHED_NS: f64 = 100.0;
const GOAL_RATIO: f64 = 1.05;

/// Percentiles of one side, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    p50_us: f64,
    p99_us: f64,
}

/// Nanoseconds of one call of a program, by the kernel's statistics.
pub(super) struct KernelNs {
    pub(super) connect4_translated: f64,
    pub(super) connect4_unmatched: f64,
    pub(super) sock_ops: f64,
    /// Calls of `sock_ops` for one connect.
    pub(super) sock_ops_calls: u64,
}

/// All of it.
pub(super) struct Report {
    pub(super) direct: Latency,
    pub(super) unmatched: Latency,
    pub(super) translated: Latency,
    pub(super) kernel: KernelNs,
    pub(super) floor_ns: f64,
    pub(super) samples: usize,
    pub(super) counted: usize,
    /// Whether the workers had a processor for themselves.
    pub(super) pinned: bool,
    pub(super) cores: usize,
}

impl Latency {
    /// From nanoseconds in any order.
    pub(super) fn of(mut ns: Vec<u64>) -> Self {
        ns.sort_unstable();
        Self { p50_us: percentile(&ns, 50), p99_us: percentile(&ns, 99) }
    }

    fn json(self) -> Value {
        json!({ "p50_us": round(self.p50_us, 3), "p99_us": round(self.p99_us, 3) })
    }
}

impl Report {
    fn ratio(&self) -> f64 {
        self.translated.p50_us / self.direct.p50_us
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "direct": self.direct.json(),
            "direct_unmatched": self.unmatched.json(),
            "translated": self.translated.json(),
            "ratio_p50": round(self.ratio(), 4),
            "ratio_p50_unmatched": round(self.unmatched.p50_us / self.direct.p50_us, 4),
            "kernel_ns": {
                "connect4_translated": round(self.kernel.connect4_translated, 1),
                "connect4_unmatched": round(self.kernel.connect4_unmatched, 1),
                "sock_ops": round(self.kernel.sock_ops, 1),
            },
            "sock_ops_calls": self.kernel.sock_ops_calls,
            "floor_ns": round(self.floor_ns, 1),
            "samples": self.samples,
            "counted": self.counted,
            "pinned": self.pinned,
            "build": if cfg!(debug_assertions) { "debug" } else { "release" },
            "kernel": kernel(),
            "cores": self.cores,
        })
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let latency = |name: &str, latency: Latency, note: &str| {
            let Latency { p50_us, p99_us } = latency;
            format!("{name:<28} {p50_us:>8.2} {p99_us:>8.2}   {note}\n")
        };
        let program =
            |name: &str, ns: f64, note: &str| format!("{name:<28} {ns:>8.0}            {note}\n");
        [
            format!("{:<28} {:>8} {:>8}\n", "connect(), us", "p50", "p99"),
            latency("  direct", self.direct, ""),
            latency("  direct, programs unmatched", self.unmatched, ""),
            latency("  translated", self.translated, ""),
            format!(
                "{:<28} {:>8.3}            goal <= {GOAL_RATIO}\n",
                "  translated / direct",
                self.ratio()
            ),
            format!("{:<28} {:>8}\n", "kernel programs, ns per call", "mean"),
            program(
                "  connect4, translated",
                self.kernel.connect4_translated,
                &format!("goal <= {GOAL_TRANSLATED_NS}"),
            ),
            program(
                "  connect4, unmatched",
                self.kernel.connect4_unmatched,
                &format!("goal <= {GOAL_UNMATCHED_NS}"),
            ),
            program(
                "  sock_ops",
                self.kernel.sock_ops,
                &format!("{} calls per connect", self.kernel.sock_ops_calls),
            ),
            program("  an empty program", self.floor_ns, "the statistics themselves; in all above"),
            format!(
                "{} connects a side, {} with statistics, Linux {}\n",
                self.samples,
                self.counted,
                kernel()
            ),
        ]
        .concat()
    }
}

/// The release of the kernel that runs.
pub(super) fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned())
}

#[expect(clippy::cast_precision_loss, reason = "a measurement has fewer digits than an f64")]
fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(0.0, |ns| *ns as f64 / 1000.0)
}

/// To so many digits after the point.
pub(super) fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests;
