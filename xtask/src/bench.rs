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
    /// What clients feel when servers fail: blackouts, failed connects, closed connections.
    Failover {
        /// How often each fault strikes.
        #[arg(long, value_name = "N")]
        runs: Option<u64>,
        /// Only this fault; may be given several times.
        #[arg(long, value_name = "NAME")]
        fault: Vec<OsString>,
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

impl Output {
    /// What a program of the lab is told of it.
    pub(crate) fn add_to(self, arguments: &mut Vec<OsString>) {
        match self {
            Self::Table => {}
            Self::Json => arguments.extend(["-o".into(), "json".into()]),
        }
    }
}

pub(crate) fn command(workspace: &Workspace, what: &Bench) -> Result<ExitCode> {
    let mut arguments: Vec<OsString> = vec!["bench".into()];
    let output = match what {
        Bench::Connect { output } => {
            arguments.push("connect".into());
            output
        }
        Bench::Failover { runs, fault, output } => {
            // It measures the program that is shipped, which it looks for beside the lab's.
            if workspace.shipped_program(false)?.is_none() {
                return Ok(ExitCode::FAILURE);
            }
            arguments.push("failover".into());
            arguments.extend(runs.iter().map(|runs| format!("--runs={runs}").into()));
            arguments.extend(fault.iter().flat_map(|fault| ["--fault".into(), fault.clone()]));
            output
        }
    };
    output.add_to(&mut arguments);
    workspace.become_program("nllb-lab", "nllb-lab", &arguments)
}
