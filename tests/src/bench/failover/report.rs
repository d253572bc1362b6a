//! The result, for people and for programs.

use serde_json::{Value, json};

use super::calm::Agent;
use super::goals::{CPU_PERCENT, Goals, PINGS_PER_SECOND, READYZ_PER_SECOND, RSS_MIB};
use super::row::{Row, Spread};
use super::{lookups, outside};

/// All of it, as far as it was asked for.
#[derive(Default)]
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
    pub(super) agent: Option<Agent>,
    pub(super) lookups: Vec<lookups::Row>,
    pub(super) outside: Vec<outside::Row>,
}

/// How to read the table.
const NOTE: &str = "p50 / p99 / max in milliseconds, and the goal of the p99; * is a goal missed
";

impl Report {
    /// For programs.
    pub(super) fn json(&self) -> Value {
        let rows = self.rows.iter().map(Row::json);
        let agent = self.agent.iter().map(|agent| json!({"agent": agent.json()}));
        let lookups = self.lookups.iter().map(lookups::Row::json);
        let outside = self.outside.iter().map(outside::Row::json);
        rows.chain(agent).chain(lookups).chain(outside).collect()
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = String::from(NOTE);
        for row in &self.rows {
            text += &row_text(row);
        }
        text.extend(self.agent.iter().map(agent_text));
        text.extend(self.lookups.iter().map(lookups::Row::text));
        text.extend(self.outside.iter().map(outside::Row::text));
        text
    }
}

fn row_text(row: &Row) -> String {
    let Goals { blackout_ms, leave_ms, failed, closed_ms } = row.fault.goals();
    let mut text = format!("{}, {} runs\n", row.fault, row.runs);
    let mut line = |name: &str, spread: Option<Spread>, goal: Option<f64>| {
        if let Some(spread) = spread {
            text += &spread_text(name, spread, goal);
        }
    };
    line("detected", row.detect_ms, None);
    line("new connects: blackout", row.new_blackout_ms, blackout_ms);
    line("  before the fault", row.calm_gap_ms, None);
    line("  begun after it", row.new_recovery_ms, None);
    line("  have left", row.new_leave_ms, leave_ms);
    line("  failed, per client", row.failed, failed.map(f64::from));
    line("    never established", row.unconnected, None);
    line("  failed, not waiting", row.failed_on_time, None);
    line("established: closed", row.established_closed_ms, closed_ms);
    line("readmitted", row.readmit_ms, None);
    line("transitions", row.transitions, None);
    for (error, count) in &row.errors {
        text += &format!("  failed: {error:<16} {count:>9}\n");
    }
    let closed_goal = closed_ms.map(|_| 0);
    for (name, count, goal) in [
        ("  closed wrongly", row.closed_wrongly, Some(0)),
        ("  not closed", row.established_open, closed_goal),
        ("not readmitted", u64::try_from(row.not_readmitted).unwrap_or(u64::MAX), None),
    ] {
        if count > 0 {
            let missed = if goal.is_some() { " *" } else { "" };
            text += &format!("  {name:<24} {count:>9}{missed}\n");
        }
    }
    text
}

pub(super) fn spread_text(name: &str, spread: Spread, goal: Option<f64>) -> String {
    let Spread { p50, p99, max } = spread;
    let goal = goal.map_or_else(String::new, |goal| {
        format!("   goal <= {goal}{}", if p99 > goal { " *" } else { "" })
    });
    format!("  {name:<24} {p50:>9.1} {p99:>9.1} {max:>9.1}{goal}\n")
}

fn agent_text(agent: &Agent) -> String {
    let Agent { rss_mib, cpu_percent_idle, readyz_per_second, pings_per_second } = *agent;
    let line = |name: &str, value: f64, goal: f64| {
        format!(
            "  {name:<24} {value:>9.3}   goal <= {goal}{}\n",
            if value > goal { " *" } else { "" }
        )
    };
    [
        "the agent at rest, three backends\n".to_owned(),
        line("resident, MiB", rss_mib, RSS_MIB),
        line("% of a processor", cpu_percent_idle, CPU_PERCENT),
        line("readyz/s per backend", readyz_per_second, READYZ_PER_SECOND),
        line("pings/s per backend", pings_per_second, PINGS_PER_SECOND),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::failover::fault::Fault;
    use crate::bench::failover::sample::Sample;

    fn report() -> Report {
        let ms = 1_000_000;
        let sample = Sample {
            detect: Some(ms / 2),
            blackout: vec![3 * ms, 7 * ms],
            failed: vec![1, 1],
            ..Sample::default()
        };
        let agent = Agent {
            rss_mib: 9.0,
            cpu_percent_idle: 0.3,
            readyz_per_second: 1.0,
            pings_per_second: 1.7,
        };
        Report {
            rows: vec![Row::of(Fault::Crash, &[sample])],
            agent: Some(agent),
            ..Report::default()
        }
    }

    #[test]
    fn for_people_a_missed_goal_is_marked() {
        let table = report().table();
        let line = |start: &str| {
            let mut lines = table.lines().map(str::trim_start);
            lines.find(|line| line.starts_with(start)).unwrap_or_default().to_owned()
        };
        assert!(line("new connects: blackout").ends_with("goal <= 5 *"), "{table}");
        assert!(line("failed, per client").ends_with("goal <= 1"), "{table}");
        assert!(line("% of a processor").ends_with("*"), "{table}");
        assert!(line("resident").ends_with("goal <= 10"), "{table}");
        assert_eq!(line("established"), "", "there is nothing to tell");
    }

    #[test]
    fn for_programs_it_is_a_list_of_rows_and_the_agent() {
        let json = report().json();
        assert_eq!(json[0]["fault"], "crash");
        assert_eq!(json[0]["new_blackout_ms"]["p99"], 7.0);
        assert_eq!(json[1]["agent"]["probes_per_second_per_backend"]["pings"], 1.7);
    }
}
