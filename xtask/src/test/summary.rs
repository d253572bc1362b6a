//! Adds up what test programs print. libtest has no stable machine-readable form, but its last line
//! has been the same for years. It calls a test that found nothing to work with passed; ours print
//! `skipped: <reason>` then, and are counted as what they are.

use std::fmt;

/// The sums so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    passed: usize,
    failed: usize,
    ignored: usize,
    /// Tests that ended early; libtest has them among the passed.
    ended_early: usize,
}

impl Summary {
    /// Adds tests that others have counted.
    pub(crate) fn add(&mut self, passed: usize, failed: usize, skipped: usize) {
        self.passed += passed;
        self.failed += failed;
        self.ignored += skipped;
    }

    /// Takes one line of output.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.ignored += count(counts, "ignored");
        } else if is_skip(line) {
            self.ended_early += 1;
        }
    }
}

/// With one test thread libtest leaves the line open that names the test.
fn is_skip(line: &str) -> bool {
    let after_name = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
    after_name.map_or(line, |(_, rest)| rest).starts_with("skipped: ")
}

/// From `ok. 6 passed; 0 failed; …`, the number before `what`.
fn count(counts: &str, what: &str) -> usize {
    let number =
        |part: &str| part.trim().strip_suffix(what)?.split_whitespace().last()?.parse().ok();
    counts.split(';').find_map(number).unwrap_or(0)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, ignored, ended_early } = self;
        let (passed, skipped) = (passed.saturating_sub(*ended_early), ignored + ended_early);
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(text: &str) -> String {
        let mut summary = Summary::default();
        text.lines().for_each(|line| summary.read(line));
        summary.to_string()
    }

    #[test]
    fn all_test_programs_are_added_up() {
        let text = "\
running 2 tests
test a ... ok
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
   Doc-tests nllb_core
test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s
";
        assert_eq!(summary(text), "5 passed, 4 failed, 1 skipped");
    }

    #[test]
    fn a_test_that_found_nothing_to_work_with_is_skipped_not_passed() {
        let text = "\
skipped: not root
test one::thread ... skipped: no cgroup v2
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        assert_eq!(summary(text), "1 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn what_others_have_counted_is_added() {
        let mut summary = Summary::default();
        summary.read("test result: ok. 2 passed; 0 failed; 1 ignored;");
        summary.add(3, 1, 4);
        assert_eq!(summary.to_string(), "5 passed, 1 failed, 5 skipped");
    }

    #[test]
    fn other_lines_that_speak_of_passing_count_nothing() {
        let text = "we passed; 3 failed\ntest skipped: no ... ok\nwhat is skipped: this\n";
        assert_eq!(summary(text), "0 passed, 0 failed, 0 skipped");
    }
}
