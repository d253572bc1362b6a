//! The table at the end, and whether the demonstration has shown what it is for.

use std::fmt::Write as _;
use std::time::Duration;

use super::ledger::{Fault, Ledger, ms};

const HEAD: [&str; 7] = [
    "fault",
    "detected",
    "failover",
    "longest blackout",
    "failed connects",
    "cut off",
    "readmitted after",
];

/// The table, one line per fault, and the sums.
pub(super) fn table(ledger: &Ledger) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(ledger.faults.iter().map(row));
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}", cells.join("   ").trim_end());
    }
    let total = ledger.ok + ledger.failed + ledger.cut;
    let (failed, cut) = (ledger.failed, ledger.cut);
    let _ = writeln!(text, "  {total} connects in all, {failed} failed, {cut} cut off unanswered");
    text
}

/// What was to be seen and was not, one line each.
pub(super) fn failures(ledger: &Ledger, expected: usize) -> Vec<String> {
    let incomplete = ledger.faults.iter().filter(|fault| !fault.is_overcome());
    let mut lines: Vec<_> = incomplete
        .map(|fault| {
            let missing = [
                ("not detected", fault.detected),
                ("no failover", fault.failover),
                ("not readmitted", fault.readmitted),
            ];
            let missing: Vec<_> =
                missing.iter().filter(|(_, time)| time.is_none()).map(|(what, _)| *what).collect();
            format!("{} of {}: {}", fault.kind.label(), fault.victim, missing.join(", "))
        })
        .collect();
    if ledger.faults.len() < expected {
        lines.push(format!("only {} of {expected} faults happened", ledger.faults.len()));
    }
    lines
}

fn row(fault: &Fault) -> [String; 7] {
    let time = |time: Option<Duration>| time.map_or_else(|| "never".to_owned(), ms);
    [
        format!("{} of {}", fault.kind.label(), fault.victim),
        time(fault.detected),
        time(fault.failover),
        ms(fault.blackout),
        fault.failed.to_string(),
        fault.cut.to_string(),
        time(fault.readmitted),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::ledger::Kind;
    use super::*;

    fn ledger() -> Ledger {
        let start = Instant::now();
        let mut ledger = Ledger::new(start);
        ledger.ok = 1000;
        ledger.failed = 1;
        ledger.strike(start, Kind::Crash, "cp0");
        let fault = &mut ledger.faults[0];
        fault.detected = Some(Duration::from_micros(1500));
        fault.failover = Some(Duration::from_micros(900));
        fault.blackout = Duration::from_millis(2);
        fault.failed = 1;
        fault.readmitted = Some(Duration::from_millis(640));
        ledger
    }

    #[test]
    fn every_fault_has_its_line_under_the_head() {
        let text = table(&ledger());
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("  fault          detected   failover"), "{text}");
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
            "crash of cp0 1.5 ms 0.9 ms 2.0 ms 1 0 640 ms"
        );
        assert_eq!(lines[2], "  1001 connects in all, 1 failed, 0 cut off unanswered");
    }

    #[test]
    fn a_fault_that_was_not_overcome_is_a_failure_with_its_reason() {
        let mut ledger = ledger();
        assert_eq!(failures(&ledger, 1), Vec::<String>::new());
        ledger.faults[0].readmitted = None;
        assert_eq!(
            failures(&ledger, 2),
            ["crash of cp0: not readmitted", "only 1 of 2 faults happened"]
        );
    }
}
