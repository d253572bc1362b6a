//! What a packet costs: in the programs alone, and on its way from one network namespace to another.
//!
//! | figure | what is done |
//! |---|---|
//! | ns per packet | one program, the same frame again and again, by `BPF_PROG_TEST_RUN` with `repeat` |
//! | packets per second | a guest sends segments of established connections to the VIP as fast as it can; its node forwards them to the servers, which are counted at |
//!
//! For the second every side has a node of its own in one lab before the same servers, and the sides take turns in
//! random order. All that a packet needs up to the server's socket is done by the processor that sends it, so packets
//! per second are what one processor can forward, sending and receiving included.

mod ipvs;
mod program;
mod rate;
mod report;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use nllb_agent::exit::Exit;

use super::Output;
use report::Report;

/// What shall be measured.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How often each figure is taken.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// The form of the result.
    #[arg(short, long, default_value = "table", value_enum)]
    output: Output,
}

/// Measures, prints the result, and says by its exit code whether every goal was met.
pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let cpu = super::reserve_cpu()?;
    let programs = program::measure(options.rounds).context("cannot measure the programs")?;
    let rates = rate::measure(options.rounds, cpu).context("cannot measure packets per second")?;
    let report = Report { programs, rates, pinned: cpu.is_some() };
    match options.output {
        Output::Table => print!("{}", report.table()),
        Output::Json => println!("{}", serde_json::to_string(&report.json())?),
    }
    Ok(if report.missed() == 0 { Exit::Success } else { Exit::Failed }.into())
}
