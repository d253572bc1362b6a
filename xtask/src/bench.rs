//! `cargo xtask bench`: measurements run in the lab, in a release build; here is only their door.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Subcommand, ValueEnum};

use crate::workspace::Workspace;

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// The latency of connect(2), direct against translated, and the kernel programs' own time.
    Connect {
        /// The form of the result on stdout.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
}

/// The form of a result.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[value(alias = "text")]
    Table,
    /// For programs.
    Json,
}

pub(crate) fn command(workspace: &Workspace, what: &Bench) -> Result<ExitCode> {
    let Bench::Connect { output } = what;
    let mut arguments: Vec<OsString> = vec!["bench".into(), "connect".into()];
    match output {
        Output::Table => {}
        Output::Json => arguments.extend(["-o".into(), "json".into()]),
    }
    workspace.become_program("nllb-lab", "nllb-lab", &arguments)
}
