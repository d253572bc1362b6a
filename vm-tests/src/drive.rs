//! Takes the steps of the plan one after the other, each in a process of its own that may fail, hang or be
//! killed, and reports on the second serial port.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::sys::termios::tcdrain;
use nix::sys::utsname::uname;
use nix::unistd::Pid;
use nllb_lab::clock;
use nllb_lab::wait::PATIENCE_VARIABLE;

use crate::protocol::{Line, Outcome, PLAN, PROGRAMS, Plan, Step};

const REPORT: &str = "/dev/ttyS1";
/// Of a step's output, the last bytes are reported; the whole is on the console.
const REPORTED: usize = 3000;

pub(crate) fn run() -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(PLAN)?).context("not a plan")?;
    let report = OpenOptions::new().write(true).open(REPORT);
    let mut report = report.with_context(|| format!("cannot open {REPORT}"))?;
    let release = uname()?.release().to_string_lossy().into_owned();
    tell(&mut report, &Line::Booted { release, uptime_ms: clock::now_ns() / 1_000_000 })?;
    for step in &plan.steps {
        take(step, &plan, &mut report)?;
    }
    tell(&mut report, &Line::Over)
}

fn tell(report: &mut File, line: &Line) -> Result<()> {
    // In one piece, so that a guest that dies leaves whole lines.
    let text = serde_json::to_string(line)? + "\n";
    report.write_all(text.as_bytes()).context("cannot report")?;
    tcdrain(report).context("cannot report")
}

fn take(step: &Step, plan: &Plan, report: &mut File) -> Result<()> {
    let label = step.label();
    tell(report, &Line::Begun { step: label.clone() })?;
    println!("== {label}");
    let output = PathBuf::from("/run/output");
    let since = Instant::now();
    let ended = run_step(step, plan, &output);
    let ms = u64::try_from(since.elapsed().as_millis())?;
    let text = String::from_utf8_lossy(&fs::read(&output).unwrap_or_default()).into_owned();
    println!("{text}");
    for line in text.lines().filter(|line| line.starts_with('{')) {
        if let Ok(told @ (Line::Feature { .. } | Line::Verified { .. })) =
            serde_json::from_str(line)
        {
            tell(report, &told)?;
        }
    }
    let (outcome, output) = match ended {
        Ok(status) => judge(step, status, &text),
        Err(error) => (Outcome::Failed, format!("{error:#}")),
    };
    println!("== {label}: {outcome:?} after {ms} ms");
    if outcome != Outcome::Passed {
        clean();
    }
    tell(report, &Line::Ended { step: label, outcome, ms, output: tail(&output).to_owned() })
}

/// None when it took too long.
fn run_step(step: &Step, plan: &Plan, output: &Path) -> Result<Option<ExitStatus>> {
    let mut command = match step {
        Step::Features => own(&["features"]),
        Step::Verifier => own(&["verifier"]),
        Step::Check(name) => own(&["check", name]),
        Step::Test { program, name } => {
            let mut command = Command::new(Path::new(PROGRAMS).join(program));
            command.args(["--exact", name, "--nocapture"]);
            command
        }
    };
    let file = File::create(output)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
    command.env(PATIENCE_VARIABLE, plan.patience_s.to_string());
    let child = command.spawn();
    let mut child = child.with_context(|| format!("cannot run {:?}", command.get_program()))?;
    await_end(&mut child, Duration::from_secs(plan.limit_s))
}

fn own(arguments: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments);
    command
}

fn await_end(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            killpg(Pid::from_raw(child.id().try_into()?), Signal::SIGKILL)?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A test that passed may have skipped its work, or may not have been there.
fn judge(step: &Step, status: Option<ExitStatus>, text: &str) -> (Outcome, String) {
    let Some(status) = status else { return (Outcome::TimedOut, text.to_owned()) };
    let skipped = text.lines().find_map(|line| line.split_once("skipped: "));
    match (step, skipped) {
        _ if !status.success() => (Outcome::Failed, format!("{text}\n{status}")),
        (Step::Test { .. }, Some((_, why))) => (Outcome::Skipped, why.to_owned()),
        (Step::Test { name, .. }, _) if !text.contains("1 passed") => {
            (Outcome::Failed, format!("there is no such test: {name}"))
        }
        _ => (Outcome::Passed, String::new()),
    }
}

/// What a step that was killed has left.
fn clean() {
    let cleaned = Command::new(Path::new(PROGRAMS).join("nllb-lab")).arg("clean").output();
    println!("nllb-lab clean: {cleaned:?}");
}

fn tail(text: &str) -> &str {
    let start = text.len().saturating_sub(REPORTED);
    let start = (start..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    fn outcome(text: &str, code: i32) -> Outcome {
        let step = Step::Test { program: "p".into(), name: "n".into() };
        judge(&step, Some(ExitStatus::from_raw(code << 8)), text).0
    }

    #[test]
    fn a_test_that_did_not_run_has_not_passed() {
        assert_eq!(outcome("test result: ok. 1 passed; 0 failed", 0), Outcome::Passed);
        assert_eq!(outcome("test result: ok. 0 passed; 0 failed", 0), Outcome::Failed);
        assert_eq!(outcome("skipped: no x here\nok. 1 passed;", 0), Outcome::Skipped);
        assert_eq!(outcome("test result: FAILED. 0 passed; 1 failed", 101), Outcome::Failed);
    }

    #[test]
    fn of_a_long_output_the_end_is_told_in_whole_characters() {
        assert_eq!(tail("short"), "short");
        let long = "ä".repeat(REPORTED);
        assert!(tail(&long).len() <= REPORTED && tail(&long).starts_with('ä'));
    }
}
