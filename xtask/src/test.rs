//! `cargo xtask test`: every check and every test, and at the end one line of numbers, because the
//! sum over all test programs is what a reader of a CI log looks for and cargo does not print it.

mod summary;

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    num::NonZero,
    process::{ExitCode, Stdio},
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, anyhow};

use crate::{
    fuzz, lint,
    setup::{self, machine},
    tidy,
    vm_test::{Came, Ends},
    workspace::{Workspace, say},
};
use summary::Summary;

pub(crate) fn command(workspace: &Workspace) -> Result<ExitCode> {
    thread::scope(|scope| {
        // The compiler leaves the network to others.
        let fetching = scope.spawn(|| Ends::fetch(workspace));
        let guests = || fetching.join().map_err(|_| anyhow!("fetching has panicked"))?;
        everything(workspace, guests)
    })
}

fn everything(workspace: &Workspace, guests: impl FnOnce() -> Result<Ends>) -> Result<ExitCode> {
    let mut failed = lint::failures(workspace, &lint::STEPS)?;
    say("== tidy");
    if !tidy::check(workspace)? {
        failed.push("tidy");
    }
    say("== fuzz targets");
    if !fuzz::check(workspace)? {
        failed.push("fuzz targets");
    }
    say("== tests");
    setup::add_for_tests(workspace);
    if !machine::is_root() {
        say("without root: the privileged tests are skipped");
    }
    let (mut summary, tests_passed) = run_tests(workspace)?;
    if !tests_passed {
        failed.push("tests");
    }
    say("== tests on other kernels");
    if !run_guests(workspace, guests, &mut summary) {
        failed.push("tests on other kernels");
    }
    if !failed.is_empty() {
        say(&format!("failed: {}", failed.join(", ")));
    }
    println!("{summary}");
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether nothing failed there.
fn run_guests(
    workspace: &Workspace,
    guests: impl FnOnce() -> Result<Ends>,
    summary: &mut Summary,
) -> bool {
    match guests().and_then(|guests| guests.run(workspace)) {
        Ok(Came::Skipped(steps, why)) => {
            say(&format!("skipped: {why}"));
            summary.add(0, 0, steps);
            true
        }
        Ok(Came::Run(came)) => {
            println!("{came}");
            summary.add(came.passed(), came.failed(), 0);
            came.failed() == 0
        }
        Err(error) => {
            say(&format!("tests on other kernels: {error:#}"));
            summary.add(0, 1, 0);
            false
        }
    }
}

/// Streams what the tests print while counting it; documentation tests come last, as cargo has it.
fn run_tests(workspace: &Workspace) -> Result<(Summary, bool)> {
    // Half of the time tests of the lab wait for something.
    let threads = (2 * thread::available_parallelism().map_or(1, NonZero::get)).to_string();
    let mut child = workspace
        // `--show-output` lets through why a test that passed has skipped its work.
        .cargo(["test", "--workspace", "--exclude", "nllb-ebpf", "--no-fail-fast"])
        .args(["--", "--show-output", "--test-threads", &threads])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let summary = Mutex::new(Summary::default());
    thread::scope(|scope| {
        scope.spawn(|| stream(stderr, io::stderr(), &summary));
        stream(stdout, io::stdout(), &summary);
    });
    let passed = child.wait().context("cargo is gone")?.success();
    Ok((summary.into_inner().unwrap_or_else(PoisonError::into_inner), passed))
}

fn stream(from: Option<impl Read>, mut to: impl Write, summary: &Mutex<Summary>) {
    let Some(from) = from else { return };
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        // When nobody reads our output the tests still have to run to their end.
        let _ = to.write_all(&line).and_then(|()| to.flush());
        let text = String::from_utf8_lossy(&line);
        summary.lock().unwrap_or_else(PoisonError::into_inner).read(text.trim_end());
        line.clear();
    }
}
