//! One run of one target, and what libFuzzer says of it.

use std::{
    fmt,
    fs::{self, File},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{Place, Target};

/// What takes longer hangs. A machine on which something else is measured may stand still for minutes.
const HANGS: Duration = Duration::from_secs(900);
/// Enough of a log to see what broke.
const LINES: usize = 60;

/// When a run ends.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    Seconds(u64),
    /// After this many inputs.
    Runs(u64),
}

/// What came of a run.
pub(super) struct Report {
    pub(super) passed: bool,
    pub(super) end: String,
    inputs: u64,
    took: Duration,
    coverage: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, end: _, inputs, took, coverage } = self;
        let verdict = if *passed { "nothing found" } else { "FOUND SOMETHING" };
        write!(f, "{inputs:>10} inputs in {:>5} s, {coverage}: {verdict}", took.as_secs())
    }
}

pub(super) fn run(place: &Place, limit: Limit) -> Result<Report> {
    let Place { target: Target { name, longest, .. }, found, given, log, broken, .. } = place;
    let output = File::create(log).with_context(|| log.display().to_string())?;
    let limit = match limit {
        Limit::Seconds(seconds) => format!("-max_total_time={seconds}"),
        Limit::Runs(runs) => format!("-runs={runs}"),
    };
    let started = Instant::now();
    let status = place
        .command()
        .arg(limit)
        .arg(format!("-max_len={longest}"))
        .arg(format!("-timeout={}", HANGS.as_secs()))
        .arg(format!("-artifact_prefix={broken}"))
        .args(["-print_final_stats=1", "-reload=0"])
        .arg(found)
        .args(given.iter().filter(|directory| directory.is_dir()))
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .with_context(|| format!("{name} cannot be started"))?;
    let took = started.elapsed();
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    Ok(Report {
        passed: status.success(),
        end: end(&text),
        inputs: inputs(&text),
        took,
        coverage: coverage(&text),
    })
}

/// From `stat::number_of_executed_units: 4711`, which is there at every end that libFuzzer has in hand.
fn inputs(text: &str) -> u64 {
    let said = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    said.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// From `#99 DONE   cov: 1234 ft: 5678 corp: 90/12Kb …`, the last line of its kind.
fn coverage(text: &str) -> String {
    let last = text.lines().rev().find(|line| line.starts_with('#') && line.contains(" cov: "));
    let number = |what: &str| {
        let rest = last?.split_once(what)?.1;
        rest.split_whitespace().next()
    };
    let (edges, features) = (number(" cov: "), number(" ft: "));
    format!("{} edges, {} features", edges.unwrap_or("no"), features.unwrap_or("no"))
}

fn end(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "INFO: Seed: 1\n#2\tINITED cov: 3 ft: 3 corp: 1/1b exec/s: 0 rss: 30Mb\n\
        #4711\tDONE   cov: 120 ft: 456 corp: 7/1Kb lim: 64 exec/s: 78 rss: 41Mb\n\
        Done 4711 runs in 60 second(s)\nstat::number_of_executed_units: 4711\n";

    #[test]
    fn the_last_words_of_libfuzzer_are_the_report() {
        assert_eq!(inputs(LOG), 4711);
        assert_eq!(coverage(LOG), "120 edges, 456 features");
        assert_eq!((inputs(""), coverage("").as_str()), (0, "no edges, no features"));
    }
}
