//! What clients on a node feel when servers fail.
//!
//! In each run a fault strikes at a random moment of the agent's rhythm, while in three network
//! namespaces, the node's and two pods', the same clients run:
//!
//! | client | what it is measured for |
//! |---|---|
//! | a loop of connects, 1 kHz, each waits for the one before | blackout, failures per client |
//! | a loop of connects, 1 kHz, none waits (on the node) | when new connects have left a server |
//! | a connection with a request every 5 ms, with each server | when it is closed, by whom |
//! | an idle watch, with each server | when it is closed, by whom |
//!
//! | figure | from | until |
//! |---|---|---|
//! | `detect` | the fault | the last victim's verdict in the maps is bad or in doubt; without an agent, until the kernel suspects it |
//! | `new_blackout` | a loop's last success before a connect of it that fails, or takes more than 50 ms | its next success: the longest such gap after the fault, 0 if there was none. Where the whole network is silent: from its return until the loop's next success |
//! | `calm_gap` | a loop's last success, before the fault | its next: the longest such gap, which is what this machine does by itself |
//! | `new_recovery` | the end of a silence of all | the first success of a connect that began after it |
//! | `new_leave` | the fault | the last start of a connect that failed or that a victim answered |
//! | `established_closed` | the fault | the client's socket ends |
//! | `readmit` | the server is ready again | the start of a connect that it answers; where nobody connects, or all were silent, until the verdict is good |
//!
//! A connect has failed as well when it was established and got no answer: what was under way when a
//! server died cannot be saved. Those that never were established are told apart.
//!
//! Lookups of the cluster's DNS have rows of their own ([`lookups`]), and so have clients that no hook for connects sees
//! ([`outside`]).
//!
//! The fault begins when its command is given, so the time that the command takes counts as ours. A
//! loop gives up on an answer after 250 ms, as a client with a short timeout would.

mod calm;
mod case;
mod fault;
mod goals;
mod lookups;
mod outside;
mod report;
mod rig;
mod row;
mod run;
mod sample;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result};
use clap::Args;

use super::Output;
use case::Case;
pub(super) use fault::{Established, Fault};
use report::Report;
pub(super) use rig::Rig;
pub(super) use row::{Row, Spread};
pub(super) use run::once;
pub(super) use sample::Sample;

/// What shall be measured.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How often each fault strikes.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Only this fault; may be given several times.
    #[arg(long, value_enum)]
    fault: Vec<Case>,
    /// The form of the result.
    #[arg(short, long, default_value = "table", value_enum)]
    output: Output,
}

/// Measures and prints the result.
pub(super) fn run(options: &Options) -> Result<()> {
    let Options { runs, fault, output } = options;
    let cases = if fault.is_empty() { Case::all() } else { fault.clone() };
    let faults: Vec<_> = cases.iter().filter_map(|case| case.connects()).collect();
    let lookups: Vec<_> = cases.iter().filter_map(|case| case.lookups()).collect();
    let outside: Vec<_> = cases.iter().filter_map(|case| case.outside()).collect();
    let mut report = Report::default();
    if !faults.is_empty() {
        let mut rigs = vec![Rig::build()?];
        let agent = calm::measure(&mut rigs[0]).context("cannot measure the agent at rest")?;
        report.agent = Some(agent);
        for fault in faults {
            report.rows.push(Row::of(fault, &samples(&mut rigs, fault, *runs)?));
            // The others would only keep the machine busy.
            rigs.truncate(1);
        }
    }
    if !lookups.is_empty() {
        report.lookups = lookups::measure(&lookups, *runs).context("cannot measure lookups")?;
    }
    report.outside = outside::measure(&outside, *runs)?;
    match output {
        Output::Table => print!("{}", report.table()),
        Output::Json => println!("{}", serde_json::to_string(&report.json())?),
    }
    Ok(())
}

/// Lets a fault strike so often, in as many labs at a time as it allows.
fn samples(rigs: &mut Vec<Rig>, fault: Fault, runs: u64) -> Result<Vec<Sample>> {
    let labs = fault.labs().min(usize::try_from(runs)?);
    while rigs.len() < labs {
        rigs.push(Rig::build()?);
    }
    let next = AtomicU64::new(0);
    let work = |rig: &mut Rig| {
        let mut samples = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= runs {
                return Ok(samples);
            }
            eprintln!("nllb-lab: {fault}, {} of {runs}", number + 1);
            let sample = once(rig, fault, number);
            samples.push(sample.with_context(|| format!("{fault}, run {}", number + 1))?);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> =
            rigs[..labs].iter_mut().map(|rig| scope.spawn(|| work(rig))).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Result<Vec<Sample>>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let parts: Result<Vec<_>> = workers.into_iter().map(join).collect();
        Ok(parts?.into_iter().flatten().collect())
    })
}
