//! Measurements: what clients feel when servers fail ([`failover`]), both and more beside the peers ([`peers`]),
//! what a packet costs ([`packets`]), and what translation costs: the latency of `connect()` direct against translated, and the kernel programs'
//! own time.
//!
//! Of the latter:
//!
//! | side | the socket's cgroup | it dials |
//! |---|---|---|
//! | direct | one without programs | a backend |
//! | `direct_unmatched` | the node's | a backend, which is no frontend |
//! | translated | the node's | the VIP |
//!
//! The three sides take turns in small batches and random order, on one processor, so that whatever
//! else the machine does falls on all of them. The kernel's statistics, which cost time
//! themselves, are on only afterwards, for phases of one side alone.

mod failover;
mod floor;
mod goal;
mod measure;
mod order;
mod packets;
mod peers;
mod programs;
mod report;
pub(crate) mod worker;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use nllb_agent::exit::Exit;

use crate::agent::{Agent, Configuration};
use crate::demo::preflight;
use crate::lab::Lab;

/// What is measured.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Bench {
    /// The latency of `connect()`, direct against translated, and the kernel programs' own time.
    Connect {
        /// The form of the result.
        #[arg(short, long, default_value = "table", value_enum)]
        output: Output,
        /// Connects of each side.
        #[arg(long, default_value_t = measure::SAMPLES)]
        samples: usize,
    },
    /// What clients feel when servers fail: how soon it is known, how long connects fail, when
    /// established connections are closed.
    Failover(failover::Options),
    /// nllb beside what is used in its place: what each costs, and what clients feel when servers fail.
    /// Exits with 10 when a goal is missed.
    Peers(peers::Options),
    /// What a packet costs in the programs of sandboxed pods and of the control-plane VIP, and packets per second
    /// beside nftables. Exits with 10 when a goal is missed.
    Packets(packets::Options),
}

/// The form of a result.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[value(alias = "text")]
    Table,
    /// For programs.
    Json,
}

/// Measures and prints the result.
pub(crate) fn run(bench: Bench) -> Result<ExitCode> {
    if let Err(reason) = preflight::check() {
        eprintln!("nllb-lab: the measurement {reason:#}");
        return Ok(Exit::Datapath.into());
    }
    if cfg!(debug_assertions) {
        eprintln!("nllb-lab: this is a debug build; the figures are those of a debug build");
    }
    match bench {
        Bench::Connect { output, samples } => connect(output, samples)?,
        Bench::Failover(options) => failover::run(&options)?,
        Bench::Peers(options) => return peers::run(&options),
        Bench::Packets(options) => return packets::run(&options),
    }
    Ok(ExitCode::SUCCESS)
}

fn connect(output: Output, samples: usize) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Everything that is started from here on leaves this processor to the workers.
    let cpu = reserve_cpu()?;
    let lab = Lab::builder().build().context("cannot build the lab")?;
    let agent = Agent::start(&lab, &Configuration::of(&lab)).context("cannot start the agent")?;
    let mut report = measure::connect(&lab, &agent, cpu, samples)?;
    report.cores = cores;
    match output {
        Output::Table => print!("{}", report.table()),
        Output::Json => println!("{}", serde_json::to_string(&report.json())?),
    }
    Ok(())
}

/// The processors that this process may use.
fn affinity() -> Result<CpuSet> {
    sched_getaffinity(Pid::from_raw(0)).context("cannot read the processor affinity")
}

/// Lets this process, and what it starts from now on, use these.
fn set_affinity(allowed: &CpuSet) -> Result<()> {
    sched_setaffinity(Pid::from_raw(0), allowed).context("cannot set the processor affinity")
}

/// Leaves the last processor, if there are two or more; gives its number.
fn reserve_cpu() -> Result<Option<usize>> {
    let mut allowed = affinity()?;
    let cpus: Vec<_> =
        (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
    let [_, .., last] = cpus[..] else { return Ok(None) };
    allowed.unset(last)?;
    set_affinity(&allowed)?;
    Ok(Some(last))
}
