//! `cargo xtask sim`: the simulation is part of the lab and wants a release build; here is only its door.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;

use crate::{bench::Output, workspace::Workspace};

/// What is simulated. What is not given is as `nllb-lab sim` has it.
#[derive(Args)]
pub(crate) struct Sim {
    /// How many nodes.
    #[arg(long, value_name = "N")]
    nodes: Option<u64>,
    /// How many backends; several runs for several numbers, such as 3,5.
    #[arg(long, value_name = "N,N")]
    backends: Option<OsString>,
    /// Only this scenario; may be given several times.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<OsString>,
    /// Where chance begins.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// File for a plot, SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The form of the result on stdout.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

pub(crate) fn command(workspace: &Workspace, sim: Sim) -> Result<ExitCode> {
    let Sim { nodes, backends, scenario, seed, svg, output } = sim;
    let mut arguments: Vec<OsString> = vec!["sim".into()];
    let mut add = |name: &str, value: Option<OsString>| {
        arguments.extend(value.into_iter().flat_map(|value| [name.into(), value]));
    };
    add("--nodes", nodes.map(|number| number.to_string().into()));
    add("--backends", backends);
    scenario.into_iter().for_each(|name| add("--scenario", Some(name)));
    add("--seed", seed.map(|number| number.to_string().into()));
    add("--svg", svg.map(PathBuf::into_os_string));
    output.add_to(&mut arguments);
    workspace.become_program("nllb-lab", "nllb-lab", &arguments)
}
