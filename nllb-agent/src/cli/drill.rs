//! `nllb drill`: takes one backend after another out of service on this node, and measures what that costs.
//!
//! What is decided and computed is pure: whom and through which address (`plan.rs`), what the connects came to
//! (`ledger.rs`), and how that is judged and shown (`report.rs`, `table.rs`). Around it is one rehearsal after
//! another (`rehearsal.rs`), with connects of its own (`dial.rs`) and orders to the agent (`agent.rs`). Each
//! order has a lease, so a drill that is killed ends all the same.

mod agent;
mod beyond;
mod dial;
mod ledger;
mod plan;
mod rehearsal;
mod report;
mod table;

use super::ask::runtime;
use super::{Failure, Output};
use crate::config;
use crate::exit::Exit;
use crate::probe::unix_time;
use crate::shutdown::Stop;
use crate::units::millis;
use agent::Agent;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use nllb_core::Drill;
use plan::Plan;
use rehearsal::{BEFORE, Ended, Rehearsal};
use report::{Report, SCHEMA, Verdict};
use std::io::{self, BufRead, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

/// How long a backend is out unless `--for` or a longer `--sla` says otherwise.
const USUAL_STAY: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct DrillArgs {
    /// Drain each backend: new connections leave it, those that are open stay. This is what it does
    /// unless it is told otherwise.
    #[arg(long)]
    simulate: bool,
    /// Treat each backend as dead: its connections on this node are closed as well.
    #[arg(long, conflicts_with = "simulate")]
    blackhole: bool,
    /// Only this backend, by its address and port, or its address where that is enough; may be given several
    /// times. Else each one that may get connections, in turn.
    #[arg(long, value_name = "ADDR:PORT")]
    backend: Vec<String>,
    /// The pool, where there are several.
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// How long each backend is out of service; else 5s, or twice the SLA when that is longer.
    #[arg(long = "for", value_name = "DURATION", value_parser = stay)]
    stay: Option<Duration>,
    /// The longest time that a client may be without a connection.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = sla)]
    sla: Duration,
    /// How it is shown.
    #[arg(short, long, default_value = "table", value_enum)]
    output: Output,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// The agent's admin socket.
    #[arg(long, default_value = config::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
}

fn stay(text: &str) -> Result<Duration, String> {
    let bounds = (Duration::from_secs(1), Duration::from_secs(600));
    config::read_duration(text, bounds.0, bounds.1).map_err(|error| error.to_string())
}

fn sla(text: &str) -> Result<Duration, String> {
    let bounds = (Duration::from_millis(1), Duration::from_secs(60));
    config::read_duration(text, bounds.0, bounds.1).map_err(|error| error.to_string())
}

/// What every backend goes through.
#[derive(Clone, Copy, Debug)]
struct Terms {
    mode: Drill,
    sla: Duration,
    stay: Duration,
}

impl Terms {
    /// Of the options that ask for something else than usual.
    fn new(blackhole: bool, sla: Duration, stay: Option<Duration>) -> Result<Self, String> {
        let mode = if blackhole { Drill::Blackhole } else { Drill::Simulate };
        let stay = stay.unwrap_or(USUAL_STAY.max(sla * 2));
        if stay <= sla {
            let [stay, sla] = [stay, sla].map(config::show_duration);
            return Err(format!(
                "--for {stay} is no longer than --sla {sla}: nothing above it would be seen; use a longer --for"
            ));
        }
        Ok(Self { mode, sla, stay })
    }
}

pub(super) fn run(
    args: DrillArgs,
    out: &mut dyn io::Write,
    err: &mut dyn io::Write,
) -> Result<Exit, Failure> {
    let DrillArgs { simulate: _, blackhole, backend, pool, stay, sla, output, yes, socket } = args;
    let terms = Terms::new(blackhole, sla, stay)
        .map_err(|line| Failure { exit: Exit::Configuration, line })?;
    if !yes && !io::stdin().is_terminal() {
        let line = "nllb drill takes backends out of service, and there is no terminal to ask on: \
                    confirm with --yes";
        return Err(Failure { exit: Exit::Configuration, line: line.to_owned() });
    }
    let agent = Agent::at(&socket);
    let runtime = runtime()?;
    let (plan, warnings) = runtime.block_on(async {
        let status = agent.status().await?;
        let plan = Plan::of(&status, pool.as_deref(), &backend)?;
        let warnings = beyond::warnings(&status, &plan, terms.mode);
        dial::translated(plan, &status).await.map(|plan| (plan, warnings))
    })?;
    if !yes && !confirmed(&plan, terms, &warnings, &mut io::stdin().lock(), err)? {
        return Err(Failure { exit: Exit::Refused, line: "nothing was done".to_owned() });
    }
    let (mut report, exit) = runtime.block_on(all(&agent, &plan, terms))?;
    report.notes = warnings;
    match output {
        Output::Json => {
            let document = serde_json::to_value(&report).map_err(io::Error::other)?;
            writeln!(out, "{document:#}")?;
        }
        Output::Table => out.write_all(table::render(&report).as_bytes())?,
    }
    Ok(exit)
}

/// Asks, and hears the answer.
fn confirmed(
    plan: &Plan,
    terms: Terms,
    warnings: &[String],
    answers: &mut dyn BufRead,
    err: &mut dyn io::Write,
) -> Result<bool, Failure> {
    let list: Vec<_> = plan.subjects.iter().map(|one| one.backend.to_string()).collect();
    let how = match terms.mode {
        Drill::Blackhole => "as if dead, its connections closed",
        Drill::Simulate => "drained, its connections stay",
    };
    let stay = config::show_duration(terms.stay);
    let (pool, list) = (&plan.pool, list.join(", "));
    for warning in warnings {
        writeln!(err, "{warning}")?;
    }
    write!(
        err,
        "{list} of pool {pool}: out of service on this node for {stay} each ({how}). Go on? [y/N] "
    )?;
    err.flush()?;
    let mut answer = String::new();
    answers.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// One backend after another, until one of them is a reason to stop.
async fn all(agent: &Agent<'_>, plan: &Plan, terms: Terms) -> Result<(Report, Exit), Failure> {
    let mut stop = Stop::with_hang_up().map_err(Failure::of_signals)?;
    let each = millis(BEFORE + terms.stay);
    let count = plan.subjects.len();
    // Shown on a terminal alone.
    let progress = ProgressBar::new(each.saturating_mul(u64::try_from(count).unwrap_or(1)));
    let style = ProgressStyle::with_template("{bar:24} {msg}");
    progress.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut report = Report {
        schema: SCHEMA,
        verdict: Verdict::Passed,
        reasons: Vec::new(),
        notes: Vec::new(),
        mode: terms.mode.label(),
        pool: plan.pool.clone(),
        started_ms: unix_time().saturating_mul(1000),
        for_ms: millis(terms.stay),
        sla_ms: millis(terms.sla),
        backends: Vec::new(),
    };
    let mut exit = Exit::Success;
    for (number, subject) in (1..).zip(&plan.subjects) {
        progress.set_message(format!("{} ({number} of {count})", subject.backend));
        let rehearsal = Rehearsal { agent, pool: &plan.pool, subject, terms, progress: &progress };
        match rehearsal.run(&mut stop).await {
            Ok(Ended::Done(backend)) => report.backends.push(*backend),
            Err(failure) if report.backends.is_empty() => {
                progress.finish_and_clear();
                return Err(failure);
            }
            Err(Failure { exit: code, line }) => {
                exit = code;
                report.abort(format!("{}: {line}", subject.backend));
            }
            Ok(Ended::Aborted { backend, failure: Failure { exit: code, line } }) => {
                exit = code;
                report.backends.push(*backend);
                report.abort(format!("{}: {line}", subject.backend));
            }
        }
        if report.verdict == Verdict::Aborted {
            break;
        }
    }
    progress.finish_and_clear();
    report.judge();
    let exit = if report.verdict == Verdict::AboveSla { Exit::Failed } else { exit };
    Ok((report, exit))
}

#[cfg(test)]
mod tests;
