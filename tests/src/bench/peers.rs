//! nllb beside what is used in its place, in one run on one machine: what each costs, and what clients feel
//! of each when servers fail.
//!
//! Every peer works on a node of its own in one lab, before the same three servers. Within a round the
//! peers take turns in small slices and random order, so that whatever else the machine does falls on all of
//! them; a round gives one figure of each, and its ratio to direct is that of the same round.
//!
//! | figure | what is done |
//! |---|---|
//! | connect | `connect()`; with a proxy, that is a connect to the proxy |
//! | first byte | connect, one byte to the server, the first byte of its answer |
//! | request | a GET and its answer on a kept TLS connection, HTTP/1.1 |
//! | throughput | bytes from a server on a plain connection |
//! | CPU | of the client, of the peer's processes, of the servers, and of the kernel for all of them |
//!
//! The client has a processor to itself, the servers have the others, a peer may use all of them.

mod balancer;
mod cost;
mod failover;
mod figures;
mod kernel;
mod markdown;
mod peer;
mod plot;
mod report;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use nllb_agent::exit::Exit;

use super::Output;
use super::failover::Fault;
pub(super) use balancer::{Balancer, PODS, Programs};
pub(super) use figures::Quartiles;
pub(super) use peer::{Peer, nftables};
use report::Report;

/// What shall be measured.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How often each peer's cost is measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// How often each fault strikes each peer; 0 leaves the faults out.
    #[arg(long, default_value_t = 2)]
    runs: u64,
    /// How many labs of each peer are struck at the same time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    lanes: u64,
    /// Only this peer beside direct; may be given several times.
    #[arg(long, value_enum)]
    peer: Vec<Peer>,
    /// Only this fault; may be given several times.
    #[arg(long, value_enum)]
    fault: Vec<Fault>,
    /// Directory for the plots, SVG; where it has a `benchmarks.md`, the tables are written into that.
    #[arg(long, value_name = "DIRECTORY")]
    svg: Option<PathBuf>,
    /// A file that always has what there is so far, JSON.
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// The form of the result.
    #[arg(short, long, default_value = "table", value_enum)]
    output: Output,
}

/// Measures, prints the result, and says by its exit code whether every goal was met.
pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let programs = Programs::find();
    let peers = chosen(&options.peer, &programs);
    let (costs, kernel) = {
        let everywhere = super::affinity()?;
        let cpu = super::reserve_cpu()?;
        let costs = cost::measure(&peers, &programs, options.rounds, cpu, everywhere)
            .context("cannot measure what each costs")?;
        let kernel = peers.contains(&Peer::Nllb).then(|| kernel::measure(options.rounds, cpu));
        super::set_affinity(&everywhere)?;
        (costs, kernel.transpose().context("cannot measure the kernel programs")?)
    };
    let mut report = Report { costs, kernel, rows: Vec::new() };
    keep(&report, options)?;
    if matches!(options.output, Output::Table) {
        print!("{}", report.costs_table());
        std::io::stdout().flush()?;
    }
    let faults = if options.fault.is_empty() { Fault::ALL.to_vec() } else { options.fault.clone() };
    let plan = failover::Plan {
        peers: &peers,
        programs: &programs,
        faults: &faults,
        runs: options.runs,
        lanes: usize::try_from(options.lanes)?,
    };
    failover::measure(&plan, |rows| {
        report.rows = rows;
        keep(&report, options)
    })?;
    if let Some(directory) = &options.svg {
        plot::draw(&report, directory)?;
        markdown::write(&report, &directory.join("benchmarks.md"))?;
    }
    match options.output {
        Output::Table => print!("{}", report.failover_table()),
        Output::Json => println!("{}", serde_json::to_string(&report.json())?),
    }
    Ok(if report.missed() == 0 { Exit::Success } else { Exit::Failed }.into())
}

/// Writes down what there is so far, as a whole.
fn keep(report: &Report, options: &Options) -> Result<()> {
    let Some(path) = &options.keep else { return Ok(()) };
    let write = |new: &Path| {
        fs::write(new, serde_json::to_vec(&report.json())?)?;
        anyhow::Ok(fs::rename(new, path)?)
    };
    write(&path.with_extension("new")).with_context(|| format!("cannot write {}", path.display()))
}

/// Direct, and of those who were asked for the ones that this machine has.
fn chosen(asked: &[Peer], programs: &Programs) -> Vec<Peer> {
    let wanted = |peer: &Peer| *peer == Peer::Direct || asked.is_empty() || asked.contains(peer);
    let (found, missing): (Vec<_>, Vec<_>) =
        Peer::ALL.into_iter().filter(wanted).partition(|peer| programs.have(*peer));
    for peer in missing {
        eprintln!("nllb-lab: there is no {peer} here, so it is left out");
    }
    found
}
