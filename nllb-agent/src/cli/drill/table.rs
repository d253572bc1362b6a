//! The report for people: a line per backend, what did not go well, and the verdict last.

use super::report::{Backend, Clients, Connects, Own, Report, Verdict, time};
use crate::config::show_duration;
use std::fmt::Write as _;
use std::time::Duration;

pub(super) fn render(report: &Report) -> String {
    let Report { verdict, reasons, notes, mode, pool, for_ms, sla_ms, backends, .. } = report;
    let [stay, sla] = [*for_ms, *sla_ms].map(|ms| show_duration(Duration::from_millis(ms)));
    let mut text = format!("drill of pool {pool}: {mode}, {stay} each, SLA {sla}\n");
    if !backends.is_empty() {
        text += &line([
            "BACKEND", "VERDICT", "BLACKOUT", "FAILED", "SLOWEST", "OWN", "CLIENTS", "BACK",
        ]);
    }
    for backend in backends {
        text += &row(backend);
    }
    for note in backends.iter().filter_map(|one| Some((one.backend, one.note.as_ref()?))) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}: {}", note.0, note.1);
    }
    for backend in backends {
        for told in backend.beyond.lines() {
            let _ = writeln!(text, "{}: {told}", backend.backend);
        }
    }
    for reason in notes.iter().chain(reasons) {
        let _ = writeln!(text, "{reason}");
    }
    text += &match verdict {
        Verdict::Passed => {
            let longest = backends.iter().map(|one| one.connects.blackout_us).max();
            format!("passed: at most {} without a connect\n", time(longest.unwrap_or_default()))
        }
        Verdict::AboveSla | Verdict::Aborted => format!("{}\n", verdict.label()),
    };
    text
}

fn row(backend: &Backend) -> String {
    let Backend { backend, verdict, connects, own, clients, back_ms, .. } = backend;
    let Connects { total, failed, blackout_us, slowest_us, .. } = connects;
    let own = own.as_ref().map(|Own { open, reopened, longest_us, .. }| {
        let after = longest_us.map(|us| format!(" after {}", time(us))).unwrap_or_default();
        format!("{reopened}/{open}{after}")
    });
    let Clients { closed, reopened_ms, .. } = clients;
    let clients = match (closed, reopened_ms) {
        (0, _) => "-".to_owned(),
        (closed, None) => format!("{closed} closed"),
        (closed, Some(ms)) => format!("{closed} after {}", time(ms * 1000)),
    };
    line([
        &backend.to_string(),
        verdict.label(),
        &time(*blackout_us),
        &format!("{failed}/{total}"),
        &time(*slowest_us),
        own.as_deref().unwrap_or("-"),
        &clients,
        &back_ms.map_or_else(|| "-".to_owned(), |ms| time(ms * 1000)),
    ])
}

fn line(cells: [&str; 8]) -> String {
    let [backend, verdict, blackout, failed, slowest, own, clients, back] = cells;
    let line = format!(
        "{backend:<21}  {verdict:<13}  {blackout:<8}  {failed:<8}  {slowest:<7}  {own:<16}  {clients:<17}  {back}"
    );
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::beyond::Beyond;
    use super::super::report::tests::{golden, report};
    use super::*;
    use nllb_core::Drill;

    /// `UPDATE_EXPECTED=1` writes them anew.
    #[test]
    fn the_tables_are_as_they_were() {
        golden("above.txt", &render(&report()));
        let mut passed = report();
        passed.backends.pop();
        let backend = &mut passed.backends[0];
        (backend.own, backend.clients) = (None, Clients::default());
        (backend.beyond, passed.notes) = (Beyond::default(), Vec::new());
        (passed.mode, passed.verdict) = (Drill::Simulate.label(), Verdict::Passed);
        passed.reasons.clear();
        golden("passed.txt", &render(&passed));
        passed.abort("10.0.0.12:6443: no other backend of pool apiserver".to_owned());
        passed.backends.clear();
        golden("aborted.txt", &render(&passed));
    }
}
