//! `cargo xtask e2e`: the agent against real API servers, which no registry has, so that it is for those
//! who have them: `KUBEBUILDER_ASSETS` names their directory, as envtest of controller-runtime has it.

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};

use crate::{
    setup,
    workspace::{Workspace, say, succeeds},
};

const VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// Whether the variable says where the programs are; if not, says so.
pub(crate) fn assets_are_named() -> bool {
    let named = assets().is_some();
    if !named {
        say(&format!("skipped: {VARIABLE} is not set; it names a directory with kube-apiserver"));
    }
    named
}

/// Runs the scenarios, one at a time: each has three API servers.
pub(crate) fn command(workspace: &Workspace) -> Result<ExitCode> {
    let assets = assets().context("no assets")?;
    // Tests run in the directory of their crate.
    let assets = assets.canonicalize().with_context(|| assets.display().to_string())?;
    setup::add_for_tests(workspace);
    let mut command = workspace.cargo(["test", "--package", "nllb-lab", "--test", "e2e"]);
    command.args(["--", "--test-threads=1", "--show-output"]).env(VARIABLE, assets);
    Ok(if succeeds(&mut command)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn assets() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
}
