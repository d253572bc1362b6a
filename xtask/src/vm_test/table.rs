//! The summary: a table for readers, a document for programs.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use super::{
    kernels::Verdict,
    packages::Package,
    protocol::Outcome,
    report::{Ended, Findings, Run},
};

/// A kernel's packages, by the kernel's name.
pub(crate) type Taken = BTreeMap<String, Vec<Package>>;

/// What was run, and what came of it.
pub(crate) struct Summary {
    pub(crate) runs: Vec<Run>,
    pub(crate) taken: Taken,
    pub(crate) findings: Findings,
    /// How the guests were run: `kvm` or `tcg`.
    pub(crate) accelerator: &'static str,
    pub(crate) total_ms: u64,
}

impl Summary {
    /// How many steps went well.
    pub(crate) fn passed(&self) -> usize {
        let steps = self.runs.iter().flat_map(|run| &run.told.steps);
        steps.filter(|step| step.outcome == Outcome::Passed).count()
    }

    /// How many did not, with guests that died and features that are lost.
    pub(crate) fn failed(&self) -> usize {
        self.findings.failures.len() + self.findings.deaths.len()
    }

    /// Names of kernels, in the order of the file.
    pub(super) fn kernels(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.runs.iter().map(|run| run.kernel.name.as_str()).collect();
        names.dedup();
        names
    }

    pub(super) fn of<'r>(&'r self, kernel: &'r str) -> impl Iterator<Item = &'r Run> {
        self.runs.iter().filter(move |run| run.kernel.name == kernel)
    }

    /// A row: what it is about, and a cell for each kernel.
    fn row(&self, name: &str, cell: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let cells = self.kernels().into_iter().map(|kernel| cell(kernel).unwrap_or("-".into()));
        std::iter::once(name.to_owned()).chain(cells).collect()
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![self.row("", |kernel| Some(kernel.to_owned()))];
        rows.push(
            self.row("release", |kernel| self.of(kernel).find_map(|run| run.told.release.clone())),
        );
        let names = |of: &dyn Fn(&Run) -> Vec<String>| {
            let mut names: Vec<String> = Vec::new();
            for name in self.runs.iter().flat_map(of) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            names
        };
        for name in names(&|run| vec![run.boot.clone()]) {
            rows.push(self.row(&format!("{name}: boot, run (s)"), |kernel| {
                let run = self.of(kernel).find(|run| run.boot == name)?;
                let boot = run.boot_ms.map_or("-".to_owned(), seconds);
                Some(format!("{boot}, {}", seconds(run.run_ms)))
            }));
        }
        for name in names(&|run| run.told.steps.iter().map(|step| step.name.clone()).collect()) {
            rows.push(self.row(&name, |kernel| {
                let mut steps = self.of(kernel).flat_map(|run| &run.told.steps);
                steps.find(|step| step.name == name).map(cell)
            }));
        }
        for name in names(&|run| run.told.features.keys().cloned().collect()) {
            rows.push(self.row(&format!("feature {name}"), |kernel| {
                self.of(kernel).find_map(|run| {
                    let (found, need) =
                        (run.told.features.get(&name)?, run.kernel.features.get(&name)?);
                    let there = if *found { "yes" } else { "no" };
                    Some(match need.against(*found) {
                        Verdict::Expected => format!("{there}, {}", need.label()),
                        Verdict::Lost => format!("{there}, LOST"),
                        Verdict::Gained => format!("{there}, gained"),
                    })
                })
            }));
        }
        for name in names(&|run| run.told.verified.keys().cloned().collect()) {
            rows.push(self.row(&format!("verified {name}"), |kernel| {
                let cost = self.of(kernel).find_map(|run| run.told.verified.get(&name))?;
                Some(cost.instructions.to_string())
            }));
        }
        rows
    }
}

fn cell(step: &Ended) -> String {
    let outcome = match step.outcome {
        Outcome::Passed => "ok",
        Outcome::Failed => "FAILED",
        Outcome::Skipped => "SKIPPED",
        Outcome::TimedOut => "TOO LONG",
    };
    format!("{outcome} {}", seconds(step.ms))
}

fn seconds(ms: u64) -> String {
    format!("{}.{}", ms / 1000, ms % 1000 / 100)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&align(&self.rows()))?;
        for (kernel, packages) in &self.taken {
            for Package { name, version, sha256 } in packages {
                writeln!(f, "{kernel}: {name} {version} sha256 {sha256}")?;
            }
        }
        for note in &self.findings.notes {
            writeln!(f, "note: {note}")?;
        }
        for failure in self.findings.deaths.iter().chain(&self.findings.failures) {
            writeln!(f, "FAILED {failure}")?;
        }
        write!(
            f,
            "{} kernels by {}: {} passed, {} failed, {} died, {} s",
            self.kernels().len(),
            self.accelerator,
            self.passed(),
            self.findings.failures.len(),
            self.findings.deaths.len(),
            seconds(self.total_ms)
        )
    }
}

/// Columns as wide as their widest cell.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows = [["", "5.10"], ["attach::a", "ok 1.2"], ["b", "-"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(align(&rows), "           5.10\nattach::a  ok 1.2\nb          -\n");
    }

    #[test]
    fn times_are_in_seconds_with_one_digit() {
        assert_eq!(seconds(61_987), "61.9");
    }
}
