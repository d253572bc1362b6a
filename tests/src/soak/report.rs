//! What is told of a soak.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::books::Books;
use super::plan::Step;

/// Version of the JSON document.
const SCHEMA: u32 = 1;

pub(super) struct Report {
    seed: u64,
    pub(super) epochs: Vec<Epoch>,
}

/// An epoch that is over.
pub(super) struct Epoch {
    pub(super) number: u64,
    pub(super) steps: Vec<Step>,
    pub(super) connects: u64,
    pub(super) failed: u64,
    /// Held connections through the frontend that were closed on this host.
    pub(super) closed: usize,
    /// Drains that the agent refused because nobody else was in service.
    pub(super) refused: u64,
    pub(super) books: Books,
    pub(super) violations: Vec<String>,
}

impl Epoch {
    /// A line, and what was broken, with how to play it again.
    pub(super) fn lines(&self, seed: u64) -> String {
        let Self { number, steps, connects, failed, closed, books, violations, .. } = self;
        let mut text = format!(
            "epoch {number}: {} faults, {connects} connects, {failed} failed, {closed} closed here; \
             {:.1} MiB allocated, {} descriptors: {}\n",
            steps.len(),
            books.allocated_mib,
            books.descriptors,
            if violations.is_empty() { "ok" } else { "BROKEN" },
        );
        if violations.is_empty() {
            return text;
        }
        // Writing to a string cannot fail.
        for violation in violations {
            let _ = writeln!(text, "  {violation}");
        }
        for step in steps {
            let _ = writeln!(text, "    {step}");
        }
        let _ =
            writeln!(text, "  again: cargo xtask soak --seed {seed} --first {number} --epochs 1");
        text
    }
}

impl Report {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed, epochs: Vec::new() }
    }

    pub(super) fn is_good(&self) -> bool {
        self.epochs.iter().all(|epoch| epoch.violations.is_empty())
    }

    fn sum(&self, count: fn(&Epoch) -> u64) -> u64 {
        self.epochs.iter().map(count).sum()
    }

    fn broken(&self) -> u64 {
        self.sum(|epoch| epoch.violations.len() as u64)
    }

    fn range(&self, figure: fn(&Epoch) -> f64) -> (f64, f64) {
        let figures = self.epochs.iter().map(figure);
        figures.fold((f64::MAX, 0.0), |(least, most), one| (one.min(least), one.max(most)))
    }

    pub(super) fn table(&self) -> String {
        let (least, most) = self.range(|epoch| epoch.books.allocated_mib);
        format!(
            "seed {}: {} epochs, {} faults, {} connects, {} failed, {} connections closed here, \
             agent {least:.1} to {most:.1} MiB allocated; promises broken: {}\n",
            self.seed,
            self.epochs.len(),
            self.sum(|epoch| epoch.steps.len() as u64),
            self.sum(|epoch| epoch.connects),
            self.sum(|epoch| epoch.failed),
            self.sum(|epoch| epoch.closed as u64),
            self.broken(),
        )
    }

    pub(super) fn json(&self) -> Value {
        let epoch = |epoch: &Epoch| {
            let Epoch { number, steps, connects, failed, closed, refused, books, violations } =
                epoch;
            json!({
                "epoch": number,
                "steps": steps.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "connects": connects,
                "failed": failed,
                "closedHere": closed,
                "refusedDrains": refused,
                "allocatedMib": (books.allocated_mib * 10.0).round() / 10.0,
                "descriptors": books.descriptors,
                "broken": violations,
            })
        };
        json!({
            "schema": SCHEMA,
            "seed": self.seed,
            "epochs": self.epochs.iter().map(epoch).collect::<Vec<_>>(),
        })
    }
}
