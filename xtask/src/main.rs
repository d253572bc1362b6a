//! What a developer or CI runs. Every command first makes sure that the machine has what the build
//! needs, so that a reader of the README never has to know the list.

mod bench;
mod e2e;
mod ebpf;
mod fuzz;
mod image;
mod lint;
mod run;
mod setup;
mod sim;
mod soak;
mod test;
mod tidy;
mod toolchain;
mod vm_test;
mod workspace;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use setup::machine::Purpose;
use workspace::Workspace;

/// Set-up, build, run, test, bench and lint of nllb.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what the build and the tests need and this machine lacks.
    Setup {
        /// Only report; exit with 3 when something is missing.
        #[arg(long)]
        check: bool,
    },
    /// Builds the BPF object; prints its programs and maps; refuses what Linux 5.10 cannot load.
    Ebpf,
    /// Runs the demonstration in a lab, or, with arguments after `--`, the agent on this host.
    Run {
        /// Leave the lab in place when the demonstration ends.
        #[arg(long)]
        keep: bool,
        /// Print lines, also on a terminal.
        #[arg(long)]
        plain: bool,
        /// Arguments of `nllb run`, such as `--config FILE`.
        #[arg(last = true, conflicts_with_all = ["keep", "plain"])]
        agent: Vec<OsString>,
    },
    /// Checks and tests everything; ends with one line of numbers.
    Test,
    /// Tests the data path on other kernels, in virtual machines.
    VmTest(vm_test::Options),
    /// Tests against the real API servers in KUBEBUILDER_ASSETS; without the variable it skips.
    E2e,
    /// Gives what reads the words of others millions of inputs, and checks what comes of each.
    Fuzz(fuzz::Options),
    /// Measures.
    Bench {
        #[command(subcommand)]
        what: bench::Bench,
    },
    /// Builds the container image: the agent, statically linked, and nothing else.
    Image(image::Options),
    /// Simulates thousands of nodes in virtual time; fails when a goal is missed.
    Sim(sim::Sim),
    /// Lets random faults strike for hours under load, and holds what is promised against what is seen.
    Soak(soak::Soak),
    /// rustfmt, clippy and rustdoc, every warning an error.
    Lint,
    /// Checks what compilers do not: who imports whom, unsafe, clocks, file lengths.
    Tidy,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let workspace = Workspace::here()?;
    if let Command::Setup { check } = command {
        return setup::command(&workspace, check);
    }
    if matches!(command, Command::E2e) && !e2e::assets_are_named() {
        return Ok(ExitCode::SUCCESS);
    }
    let purpose = if matches!(command, Command::Test | Command::Image(_)) {
        Purpose::Deploy
    } else if matches!(command, Command::Fuzz(_)) {
        Purpose::Fuzz
    } else if matches!(command, Command::VmTest(_)) {
        Purpose::Guests
    } else {
        Purpose::Lab
    };
    let toolchain = match setup::ensure(&workspace, purpose)? {
        Ok(toolchain) => toolchain,
        Err(code) => return Ok(code),
    };
    match command {
        Command::Setup { .. } => Ok(ExitCode::SUCCESS),
        Command::Ebpf => ebpf::command(&workspace, &toolchain),
        Command::Run { keep, plain, agent } => run::command(&workspace, keep, plain, &agent),
        Command::Test => test::command(&workspace),
        Command::VmTest(options) => vm_test::command(&workspace, &options),
        Command::E2e => e2e::command(&workspace),
        Command::Fuzz(options) => fuzz::command(&workspace, &options),
        Command::Bench { what } => bench::command(&workspace, &what),
        Command::Image(options) => image::command(&workspace, &options),
        Command::Soak(soak) => soak::command(&workspace, &soak),
        Command::Sim(sim) => sim::command(&workspace, sim),
        Command::Lint => lint::command(&workspace),
        Command::Tidy => tidy::command(&workspace),
    }
}
