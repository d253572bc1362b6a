//! The result, for people and for programs, and which goals were missed.

use serde_json::{Value, json};

use super::failover::{Reaction, What, faster};
use super::figures::{Cost, Metric, Parts};
use super::kernel::{GOAL_ALL_CORES, GOAL_FLAT, Kernel};
use super::peer::Peer;
use crate::bench::goal::Goal;
use crate::bench::report::{kernel, round};

/// Of the JSON: a key that goes or means something else asks for another.
const VERSION: u32 = 1;

/// All of it.
pub(super) struct Report {
    pub(super) costs: Vec<Cost>,
    pub(super) kernel: Option<Kernel>,
    pub(super) rows: Vec<Reaction>,
}

impl Report {
    /// How many goals were missed.
    pub(super) fn missed(&self) -> usize {
        self.goals().iter().filter(|goal| !goal.is_met()).count() + faster(&self.rows).count()
    }

    pub(super) fn direct(&self) -> Option<&Cost> {
        self.costs.iter().find(|cost| cost.peer == Peer::Direct)
    }

    pub(super) fn goals(&self) -> Vec<Goal> {
        let own = self.costs.iter().find(|cost| cost.peer == Peer::Nllb);
        let of_metric = |metric: Metric| {
            let (own, direct, most) = (own?, self.direct()?, metric.goal()?);
            let is = own.ratios(metric, direct).median;
            Some(Goal { what: format!("nllb / direct, {}", metric.title()), is, most })
        };
        let mut goals: Vec<_> = Metric::ALL.into_iter().filter_map(of_metric).collect();
        if let Some(kernel) = &self.kernel {
            goals.push(Goal {
                what: "direct / nllb, connects/s of all processors".to_owned(),
                is: 1.0 / kernel.all_cores.median,
                most: 1.0 / GOAL_ALL_CORES,
            });
            goals.push(Goal {
                what: "connect4, dearest / cheapest number of frontends".to_owned(),
                is: kernel.flatness(),
                most: GOAL_FLAT,
            });
        }
        goals
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let goals = self.goals();
        let goals = goals.iter().map(Goal::json);
        let faster = faster(&self.rows).map(|(row, what, theirs, own)| {
            json!({
                "fault": row.fault.to_string(),
                "peer": row.peer.to_string(),
                "what": what.title(),
                "peer_ms_or_count": theirs.to_string(),
                "nllb_ms_or_count": own.to_string(),
            })
        });
        json!({
            "version": VERSION,
            "kernel": kernel(),
            "build": if cfg!(debug_assertions) { "debug" } else { "release" },
            "peers": self.costs.iter().map(|cost| self.cost_json(cost)).collect::<Vec<_>>(),
            "in_kernel": self.kernel.as_ref().map(Kernel::json),
            "failover": self.rows.iter().map(Reaction::json).collect::<Vec<_>>(),
            "goals": goals.collect::<Vec<_>>(),
            "not_slower_than_nllb": faster.collect::<Vec<_>>(),
        })
    }

    fn cost_json(&self, cost: &Cost) -> Value {
        let mut value = json!({
            "peer": cost.peer.to_string(),
            "version": cost.version,
            "rounds": cost.rounds.len(),
            "rss_mib": cost.rss_mib.map(|mib| round(mib, 1)),
            "cpu_s_of_10k_connects_by": cost.connect_parts().json(),
            "cpu_s_of_a_gb_by": cost.download_parts().json(),
        });
        for metric in Metric::ALL {
            let ratio = self.direct().map(|direct| cost.ratios(metric, direct).json(4));
            value[metric.key()] = cost.quartiles(metric).json(3);
            value[metric.key()]["to_direct"] = ratio.unwrap_or_default();
        }
        value
    }

    /// For people: what each costs.
    pub(super) fn costs_table(&self) -> String {
        let rounds = self.costs.first().map_or(0, |cost| cost.rounds.len());
        let mut text = format!(
            "median [quartiles] of {rounds} rounds, and times direct's; above 1 is worse, of throughput too\n"
        );
        for metric in Metric::ALL {
            text += &format!("{}\n", metric.title());
            for cost in &self.costs {
                text += &self.metric_line(cost, metric);
            }
        }
        text += &self.parts();
        if let Some(kernel) = &self.kernel {
            text += &kernel_text(kernel);
        }
        text
    }

    /// For people: what came of the faults, and the goals.
    pub(super) fn failover_table(&self) -> String {
        self.failover() + &self.goals_text()
    }

    fn metric_line(&self, cost: &Cost, metric: Metric) -> String {
        let own = cost.quartiles(metric);
        let ratio = self.direct().map(|direct| cost.ratios(metric, direct));
        let ratio = ratio.map_or_else(String::new, |ratio| {
            format!("{:>8.3} [{:.3} {:.3}]", ratio.median, ratio.q1, ratio.q3)
        });
        let spread = format!("[{:.2} {:.2}]", own.q1, own.q3);
        format!("  {:<10} {:>10.2} {spread:<22}{ratio}\n", cost.peer.to_string(), own.median)
    }

    fn parts(&self) -> String {
        let mut text = format!(
            "{:<30} {:>8} {:>8} {:>8} {:>8}\n",
            "CPU seconds by", "client", "balancer", "servers", "kernel"
        );
        for cost in &self.costs {
            for (unit, parts) in
                [("10k connects", cost.connect_parts()), ("a GB", cost.download_parts())]
            {
                let Parts { client, balancer, servers, kernel } = parts;
                let name = format!("  {}, {unit}", cost.peer);
                text += &format!(
                    "{name:<30} {client:>8.3} {balancer:>8.3} {servers:>8.3} {kernel:>8.3}\n"
                );
            }
        }
        text += "resident, MiB, all processes of a peer\n";
        for cost in &self.costs {
            if let Some(mib) = cost.rss_mib {
                text +=
                    &format!("  {:<10} {:<10} {mib:>8.1}\n", cost.peer.to_string(), cost.version);
            }
        }
        text
    }

    fn failover(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut text = format!("{:<28}", "ms, medians");
        for what in What::ALL {
            text += &format!(" {:>10}", what.title());
        }
        text += "\n";
        let mut last = None;
        for row in &self.rows {
            if last != Some(row.fault) {
                text += &format!("{}, {} runs\n", row.fault, row.runs);
                last = Some(row.fault);
            }
            text += &format!("  {:<26}", row.peer.to_string());
            for what in What::ALL {
                let figure = row.figure(what).map_or_else(|| "-".to_owned(), |f| f.to_string());
                text += &format!(" {figure:>10}");
            }
            text += "\n";
        }
        text
    }

    fn goals_text(&self) -> String {
        let mut text = String::from("goals\n");
        text.extend(self.goals().iter().map(Goal::line));
        for (row, what, theirs, own) in faster(&self.rows) {
            let name = format!("{}, {}, {}", row.fault, row.peer, what.title());
            text += &format!("  {name:<50} {theirs:>8}   nllb {own}   missed: not slower\n");
        }
        text + &format!("Linux {}\n", kernel())
    }
}

fn kernel_text(kernel: &Kernel) -> String {
    let mut text =
        format!("{:<40} {:>8} {:>8}\n", "kernel programs, ns per call", "connect4", "sock_ops");
    for (number, connect, ops) in &kernel.frontends {
        let name = format!("  {number} frontends, 16 backends");
        text += &format!("{name:<40} {:>8.0} {:>8.0}\n", connect.median, ops.median);
    }
    let all = kernel.all_cores;
    text + &format!(
        "connects/s of {} processors, times direct's {:>8.3} [{:.3} {:.3}]\n",
        kernel.cores, all.median, all.q1, all.q3
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peers::figures::{Round, Shares};

    fn report(connect_us: f64) -> Report {
        let cost = |peer, connect_us| Cost {
            peer,
            version: "1".to_owned(),
            rounds: vec![Round {
                values: [connect_us, 40.0, 30.0, 1_000.0, 0.5, 0.7],
                connects: Shares::default(),
                downloads: Shares::default(),
            }],
            rss_mib: None,
            connects: 1,
            bytes: 1,
        };
        let costs = vec![cost(Peer::Direct, 10.0), cost(Peer::Nllb, connect_us)];
        Report { costs, kernel: None, rows: Vec::new() }
    }

    #[test]
    fn a_goal_is_missed_by_the_ratio_to_direct() {
        assert_eq!(report(10.4).missed(), 0);
        let missed = report(10.6);
        assert_eq!(missed.missed(), 1);
        let table = missed.failover_table();
        let lines: Vec<_> = table.lines().filter(|line| line.ends_with("missed")).collect();
        assert!(matches!(lines[..], [line] if line.contains("connect, us")), "{table}");
    }

    #[test]
    fn for_programs_it_has_a_version_and_ratios() {
        let json = report(10.4).json();
        assert_eq!(json["version"], 1);
        assert_eq!(json["peers"][1]["connect_us"]["to_direct"]["median"], 1.04);
        assert_eq!(json["goals"][0]["met"], true);
    }
}
