//! `cargo xtask lint`: rustfmt, clippy and rustdoc with every warning an error. The kernel
//! programs are linted for the host: the compiler that builds them has no clippy.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::{
    fuzz,
    workspace::{Workspace, say, succeeds},
};

pub(crate) fn command(workspace: &Workspace) -> Result<ExitCode> {
    let failed = failures(workspace, &STEPS)?;
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("failed: {}", failed.join(", ")));
    Ok(ExitCode::FAILURE)
}

/// A check with the name that is printed before it and when it fails.
pub(crate) type Step = (&'static str, fn(&Workspace) -> Command);

/// Every check of this module, quick ones first.
pub(crate) const STEPS: [Step; 6] = [
    ("fmt", fmt),
    ("fmt of the fuzz targets", fmt_fuzz),
    ("clippy", clippy),
    ("clippy of nllb-ebpf", clippy_ebpf),
    ("clippy of the fuzz targets", clippy_fuzz),
    ("docs", docs),
];

/// Runs all of them even after a failure: a reader of a CI log wants every finding at once.
pub(crate) fn failures(workspace: &Workspace, steps: &[Step]) -> Result<Vec<&'static str>> {
    let mut failed = Vec::new();
    for (name, step) in steps {
        say(&format!("== {name}"));
        if !succeeds(&mut step(workspace))? {
            failed.push(*name);
        }
    }
    Ok(failed)
}

fn fmt(workspace: &Workspace) -> Command {
    workspace.cargo(["fmt", "--all", "--check"])
}

fn fmt_fuzz(workspace: &Workspace) -> Command {
    workspace.cargo(["fmt", "--manifest-path", fuzz::MANIFEST, "--check"])
}

fn clippy(workspace: &Workspace) -> Command {
    let packages = ["clippy", "--quiet", "--workspace", "--exclude", "nllb-ebpf", "--all-targets"];
    let mut command = workspace.cargo(packages);
    command.args(["--", "-D", "warnings"]);
    command
}

fn clippy_ebpf(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo(["clippy", "--quiet", "--package", "nllb-ebpf"]);
    command
        // A program without std has no unwinding either.
        .args(["--config", "profile.dev.panic=\"abort\"", "--target-dir"])
        .arg(workspace.side_target("ebpf-clippy"))
        .args(["--", "-D", "warnings"]);
    command
}

/// With what the agent opens to them. Without libFuzzer, which is C++. Nearly all that they depend on was checked before.
fn clippy_fuzz(workspace: &Workspace) -> Command {
    let packages =
        ["clippy", "--quiet", "--no-default-features", "--manifest-path", fuzz::MANIFEST];
    let mut command = workspace.cargo(packages);
    command
        .args(["--package", "nllb-fuzz", "--package", "nllb-agent", "--lib", "--bin", "nllb-fuzz"])
        .arg("--target-dir")
        .arg(workspace.target())
        .args(["--", "-D", "warnings"]);
    command
}

fn docs(workspace: &Workspace) -> Command {
    let packages = ["doc", "--quiet", "--workspace", "--exclude", "nllb-ebpf", "--no-deps"];
    let mut command = workspace.cargo(packages);
    command.env("RUSTDOCFLAGS", "-D warnings");
    command
}
