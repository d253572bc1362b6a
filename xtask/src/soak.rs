//! `cargo xtask soak`: the soak is part of the lab and wants a release build; here is only its door.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;

use crate::{bench::Output, workspace::Workspace};

/// How long, and which faults. What is not given is as `nllb-lab soak` has it.
#[derive(Args)]
pub(crate) struct Soak {
    /// How long; 60 when nothing is said.
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// Where chance begins; the same seed gives the same faults at the same times.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The first epoch.
    #[arg(long, value_name = "N")]
    first: Option<u64>,
    /// So many epochs instead of minutes.
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Directory for the agent's log when a promise was broken.
    #[arg(long, value_name = "DIRECTORY")]
    logs: Option<PathBuf>,
    /// The form of the result on stdout.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

pub(crate) fn command(workspace: &Workspace, soak: &Soak) -> Result<ExitCode> {
    // Memory is that of the program that is shipped, which is looked for beside the lab's.
    if workspace.shipped_program(false)?.is_none() {
        return Ok(ExitCode::FAILURE);
    }
    let Soak { minutes, seed, first, epochs, logs, output } = soak;
    let numbers = [("minutes", minutes), ("seed", seed), ("first", first), ("epochs", epochs)];
    let mut arguments: Vec<OsString> = vec!["soak".into()];
    for (name, number) in numbers {
        arguments.extend(number.iter().map(|number| format!("--{name}={number}").into()));
    }
    arguments.extend(logs.iter().flat_map(|path| ["--logs".into(), path.into()]));
    output.add_to(&mut arguments);
    workspace.become_program("nllb-lab", "nllb-lab", &arguments)
}
