//! The result, for people and for programs, and which goals were missed.

use serde_json::{Value, json};

use super::program::Timed;
use super::rate::{Rates, Side};
use crate::bench::goal::Goal;
use crate::bench::report::kernel;

/// Of the JSON: a key that goes or means something else asks for another.
const VERSION: u32 = 1;

/// All of it.
pub(super) struct Report {
    pub(super) programs: Vec<Timed>,
    pub(super) rates: Rates,
    /// Whether the sender had a processor for itself.
    pub(super) pinned: bool,
}

impl Timed {
    fn family(&self) -> &'static str {
        if self.v6 { "IPv6" } else { "IPv4" }
    }

    fn name(&self) -> String {
        let Self { program, what, .. } = self;
        let comma = if what.is_empty() { "" } else { ", " };
        format!("{program}{comma}{what}, {}", self.family())
    }

    fn goal(&self) -> Option<Goal> {
        let what = format!("{}, ns", self.name());
        Some(Goal { what, is: self.ns.median, most: self.goal_ns? })
    }

    fn json(&self) -> Value {
        json!({
            "program": self.program, "what": self.what, "family": self.family(),
            "ns": self.ns.json(0),
        })
    }
}

impl Report {
    /// How many goals were missed.
    pub(super) fn missed(&self) -> usize {
        self.goals().iter().filter(|goal| !goal.is_met()).count()
    }

    fn goals(&self) -> Vec<Goal> {
        let mut goals: Vec<_> = self.programs.iter().filter_map(Timed::goal).collect();
        let peers = self.rates.sides().filter(|side| matches!(side, Side::Nftables | Side::Ipvs));
        goals.extend(peers.map(|peer| Goal {
            what: format!("{} / nllb, packets per second", peer.title()),
            is: self.rates.ratio(peer, Side::Nllb).median,
            most: 1.0,
        }));
        goals
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let rate = |side: Side| {
            let Self { rates, .. } = self;
            json!({
                "side": side.key(),
                "packets_per_second": rates.of(side).json(0),
                "to_plain": rates.ratio(side, Side::Plain).json(4),
                "added_ns": rates.added_ns(side).json(1),
            })
        };
        json!({
            "version": VERSION,
            "kernel": kernel(),
            "build": if cfg!(debug_assertions) { "debug" } else { "release" },
            "pinned": self.pinned,
            "programs": self.programs.iter().map(Timed::json).collect::<Vec<_>>(),
            "rates": self.rates.sides().map(rate).collect::<Vec<_>>(),
            "goals": self.goals().iter().map(Goal::json).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = format!("{:<50} {:>8} {:>8} {:>8}\n", "ns per packet", "q1", "median", "q3");
        for timed in &self.programs {
            let ns = timed.ns;
            let name = timed.name();
            text += &format!("  {name:<48} {:>8.0} {:>8.0} {:>8.0}\n", ns.q1, ns.median, ns.q3);
        }
        text += &format!(
            "{:<34} {:>10} {:>22} {:>8} {:>18}\n",
            "from a guest to the servers", "packets/s", "", "to plain", "ns more"
        );
        for side in self.rates.sides() {
            let (rate, added) = (self.rates.of(side), self.rates.added_ns(side));
            let spread = format!("[{:.0} {:.0}]", rate.q1, rate.q3);
            let ratio = self.rates.ratio(side, Side::Plain).median;
            let more = format!("{:.0} [{:.0} {:.0}]", added.median, added.q1, added.q3);
            let title = side.title();
            text += &format!(
                "  {title:<32} {:>10.0} {spread:>22} {ratio:>8.3} {more:>18}\n",
                rate.median
            );
        }
        text += "goals\n";
        text.extend(self.goals().iter().map(Goal::line));
        text + &format!("Linux {}\n", kernel())
    }
}
