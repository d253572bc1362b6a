//! The result as tables in a document, between two marks there.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

use super::failover::{Reaction, What, faster};
use super::figures::{Cost, Metric, Parts, Quartiles};
use super::kernel::Kernel;
use super::report::Report;
use crate::bench::goal::Goal;
use crate::bench::report::kernel as release;

const BEGIN: &str =
    "<!-- begin of the figures, which `cargo xtask bench peers --svg docs` writes -->\n";
const END: &str = "<!-- end of the figures -->";

/// Puts the tables in the place of those that a document has. One that is not there gets none.
pub(super) fn write(report: &Report, path: &Path) -> Result<()> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let filled = fill(&text, &tables(report));
    let filled = filled.with_context(|| format!("no {BEGIN} and {END} in {}", path.display()))?;
    fs::write(path, filled).with_context(|| format!("cannot write {}", path.display()))
}

fn fill(text: &str, tables: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, BEGIN, "\n", tables, "\n", END, after].concat())
}

fn tables(report: &Report) -> String {
    let rounds = report.costs.first().map_or(0, |cost| cost.rounds.len());
    let mut parts = vec![
        format!(
            "Linux {}, {rounds} rounds: median [quartiles], and **times direct's**.",
            release()
        ),
        costs(report),
        "![cost](peers-cost.svg)".to_owned(),
        parts(report),
    ];
    parts.extend(report.kernel.as_ref().map(kernel));
    if !report.rows.is_empty() {
        parts.push(format!(
            "Faults: {}; medians in milliseconds, of failed connects their number.",
            What::ALL.map(What::title).join(" / ")
        ));
        parts.push(faults(&report.rows));
        parts.push("![faults](peers-failover.svg)".to_owned());
    }
    parts.push(goals(&report.goals()));
    parts.push(not_slower(&report.rows));
    parts.join("\n\n") + "\n"
}

/// A table of so many columns beside the first.
fn table(head: &[String], lines: impl IntoIterator<Item = Vec<String>>) -> String {
    let row = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let rule = format!("|{}", "---|".repeat(head.len()));
    let lines = lines.into_iter().map(|cells| row(&cells));
    [row(head), rule].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

fn head<'a>(first: &'a str, rest: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    [first].into_iter().chain(rest).map(str::to_owned).collect()
}

fn spread(quartiles: Quartiles, digits: usize) -> String {
    let Quartiles { q1, median, q3 } = quartiles;
    format!("{median:.digits$} [{q1:.digits$}, {q3:.digits$}]")
}

fn costs(report: &Report) -> String {
    let names = report.costs.iter().map(|cost| cost.peer.to_string()).collect::<Vec<_>>();
    let cell = |cost: &Cost, metric: Metric| {
        let digits = metric.digits();
        let own = spread(cost.quartiles(metric), digits);
        let Some(direct) = report.direct().filter(|direct| direct.peer != cost.peer) else {
            return own;
        };
        let Quartiles { q1, median, q3 } = cost.ratios(metric, direct);
        format!("{own}<br>**{median:.3}** [{q1:.3}, {q3:.3}]")
    };
    let line = |metric: Metric| {
        let cells = report.costs.iter().map(|cost| cell(cost, metric));
        [metric.title().to_owned()].into_iter().chain(cells).collect()
    };
    let resident = |cost: &Cost| cost.rss_mib.map_or_else(String::new, |mib| format!("{mib:.1}"));
    let last = |title: &str, of: &dyn Fn(&Cost) -> String| {
        [title.to_owned()].into_iter().chain(report.costs.iter().map(of)).collect::<Vec<_>>()
    };
    let lines = Metric::ALL
        .into_iter()
        .map(line)
        .chain([last("resident, MiB", &resident), last("version", &|cost| cost.version.clone())]);
    table(&head("", names.iter().map(String::as_str)), lines)
}

fn parts(report: &Report) -> String {
    let line = |cost: &Cost, unit: &str, parts: Parts| {
        let Parts { client, balancer, servers, kernel } = parts;
        let name = format!("{}, {unit}", cost.peer);
        let numbers = [client, balancer, servers, kernel].map(|s| format!("{s:.3}"));
        [name].into_iter().chain(numbers).collect::<Vec<_>>()
    };
    let lines = report.costs.iter().flat_map(|cost| {
        [
            line(cost, "10k connects", cost.connect_parts()),
            line(cost, "1 GB", cost.download_parts()),
        ]
    });
    table(&head("CPU seconds of", ["client", "balancer", "servers", "kernel"]), lines)
}

fn kernel(kernel: &Kernel) -> String {
    let line = |(number, connect, ops): &(usize, Quartiles, Quartiles)| {
        vec![format!("{number} frontends"), spread(*connect, 0), spread(*ops, 0)]
    };
    let programs = table(
        &head("kernel programs, ns per call", ["connect4", "sock_ops"]),
        kernel.frontends.iter().map(line),
    );
    let all = spread(kernel.all_cores, 3);
    format!(
        "{programs}\n\nConnects per second of {} processors, times direct's: {all}.",
        kernel.cores
    )
}

fn faults(rows: &[Reaction]) -> String {
    let (mut faults, mut peers) = (Vec::new(), Vec::new());
    for row in rows {
        if faults.last() != Some(&row.fault) {
            faults.push(row.fault);
        }
        if !peers.contains(&row.peer) {
            peers.push(row.peer);
        }
    }
    let cell = |row: &Reaction| {
        let figure = |what| row.figure(what).map_or_else(|| "-".to_owned(), |it| it.to_string());
        What::ALL.map(figure).join(" / ")
    };
    let line = |fault: &_| {
        let of = |peer: &_| rows.iter().find(|row| row.fault == *fault && row.peer == *peer);
        let runs = rows.iter().filter(|row| row.fault == *fault).map(|row| row.runs).min();
        let name = format!("`{fault}`, {} runs", runs.unwrap_or(0));
        let cells = peers.iter().map(|peer| of(peer).map_or_else(String::new, cell));
        [name].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let names: Vec<_> = peers.iter().map(ToString::to_string).collect();
    table(&head("", names.iter().map(String::as_str)), faults.iter().map(line))
}

fn goals(goals: &[Goal]) -> String {
    let line = |goal: &Goal| {
        let missed = if goal.is_met() { "" } else { "missed" };
        vec![
            goal.what.clone(),
            format!("{:.3}", goal.is),
            format!("{:.3}", goal.most),
            missed.to_owned(),
        ]
    };
    table(&head("goal", ["is", "at most", ""]), goals.iter().map(line))
}

fn not_slower(rows: &[Reaction]) -> String {
    let lines: Vec<_> = faster(rows)
        .map(|(row, what, theirs, own)| {
            format!("- {} after `{}`: {} {theirs}, nllb {own}", row.peer, row.fault, what.title())
        })
        .collect();
    if lines.is_empty() {
        return "No peer was as fast as nllb after any of these faults.".to_owned();
    }
    format!("Peers that were not slower than nllb:\n\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_document_had_between_the_marks_is_replaced() {
        let document = |content: &str| format!("before\n{BEGIN}{content}{END}\nafter\n");
        let filled = fill(&document("old"), "new\n").expect("the marks");
        assert_eq!(filled, document("\nnew\n\n"));
        assert_eq!(fill(&filled, "new\n").as_ref(), Some(&filled));
        assert_eq!(fill("before\nafter\n", "new"), None);
    }

    #[test]
    fn a_table_has_a_rule_of_as_many_columns() {
        let text = table(&head("a", ["b"]), [vec!["1".to_owned(), "2".to_owned()]]);
        assert_eq!(text, "| a | b |\n|---|---|\n| 1 | 2 |");
    }
}
