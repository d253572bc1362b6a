//! `cargo xtask vm-test`: the data path on other kernels, in virtual machines. What runs on which kernel, and
//! what must work there, is in `vm-tests/kernels.toml`; what runs inside is the crate `vm-tests`.

mod cpio;
mod document;
mod ends;
mod fetch;
mod guest;
mod kernel;
mod kernels;
mod packages;
#[path = "../../vm-tests/src/protocol.rs"]
mod protocol;
mod qemu;
mod report;
mod schedule;
mod table;
mod userland;

use std::{process::ExitCode, thread, time::Instant};

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};

use crate::workspace::Workspace;
use fetch::Fetched;
use kernels::Kernels;
use packages::Store;
use report::Findings;
use userland::Built;

pub(crate) use ends::{Came, Ends};

/// A guest died or hung.
const EXIT_DIED: u8 = 4;
/// A test failed, or a feature is lost.
const EXIT_FAILED: u8 = 5;

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Names in vm-tests/kernels.toml, or releases of these kernels; without one: all.
    kernels: Vec<String>,
    /// Only this boot of each.
    #[arg(long)]
    boot: Option<String>,
    /// How to tell what came of it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// `cargo xtask vm-test`.
pub(crate) fn command(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let since = Instant::now();
    let kernels = Kernels::read(workspace)?;
    let chosen = kernels.chosen(&options.kernels)?;
    let boots = kernels.boots_called(options.boot.as_deref())?;
    let store = Store::of(workspace);
    // The network and the processor are busy at the same time.
    let (fetched, built) = thread::scope(|scope| {
        let fetching = scope.spawn(|| Fetched::fetch(&store, &chosen));
        let built = Built::build(workspace);
        (fetching.join().map_err(|_| anyhow!("fetching has panicked")), built)
    });
    // A build that failed has said so.
    let (fetched, Some(built)) = (fetched??, built?) else { return Ok(ExitCode::FAILURE) };
    let summary = schedule::run(fetched, &boots, &built, store.root(), since)?;
    match options.output {
        Output::Table => println!("{summary}"),
        Output::Json => println!("{}", summary.json()?),
    }
    Ok(match summary.findings {
        Findings { deaths, .. } if !deaths.is_empty() => ExitCode::from(EXIT_DIED),
        Findings { failures, .. } if !failures.is_empty() => ExitCode::from(EXIT_FAILED),
        Findings { .. } => ExitCode::SUCCESS,
    })
}
