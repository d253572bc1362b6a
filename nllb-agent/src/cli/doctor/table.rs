//! The report for people: by group, what is wrong marked, and how to mend it right below.

use crate::cli::paint::Paint;
use crate::doctor::{Check, Group, Report, Verdict};
use std::io;

/// A longer name pushes its line to the right instead of all others.
const WIDEST: usize = 32;

pub(super) fn write(report: &Report, paint: Paint, out: &mut dyn io::Write) -> io::Result<()> {
    for group in Group::ALL {
        let of_group: Vec<&Check> =
            report.checks.iter().filter(|check| check.group == group).collect();
        if of_group.is_empty() {
            continue;
        }
        let width = of_group.iter().map(|check| check.name.len()).max().unwrap_or_default();
        let width = width.min(WIDEST);
        writeln!(out, "{group}")?;
        for Check { group: _, name, verdict, found, fix } in of_group {
            let mark = paint.word(verdict.label(), verdict.label());
            writeln!(out, "  {mark}  {name:width$}  {found}")?;
            if let Some(fix) = fix {
                writeln!(out, "        to do: {fix}")?;
            }
        }
        writeln!(out)?;
    }
    let count = |verdict| report.count(verdict);
    writeln!(
        out,
        "{} failed, {} to be looked after, {} passed, {} not looked at",
        count(Verdict::Fail),
        count(Verdict::Warn),
        count(Verdict::Pass),
        count(Verdict::Skip)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_marked_and_followed_by_what_to_do() {
        let report = Report::new(vec![
            Check::pass(Group::Backends, "10.0.0.11:6443 tcp", "1.5 ms"),
            Check::fail(Group::Host, "kernel", "Linux 5.4", "run Linux 5.10 or newer"),
            Check::warn(Group::Host, "a longer name", "x", "y"),
        ]);
        let text = |paint| {
            let mut out = Vec::new();
            write(&report, paint, &mut out).expect("written");
            String::from_utf8(out).expect("text")
        };
        let expected = "HOST
  FAIL  kernel         Linux 5.4
        to do: run Linux 5.10 or newer
  WARN  a longer name  x
        to do: y

BACKENDS
  pass  10.0.0.11:6443 tcp  1.5 ms

1 failed, 1 to be looked after, 1 passed, 0 not looked at
";
        assert_eq!(text(Paint::NONE), expected);
        assert!(text(Paint::ALL).contains("\x1b[1;31mFAIL\x1b[0m"));
    }
}
