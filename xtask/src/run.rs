//! `cargo xtask run`: the product at work. Without arguments a lab is built for it, because a
//! reader has no control plane at hand; with arguments the agent runs on this host.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;

use crate::workspace::Workspace;

pub(crate) fn command(
    workspace: &Workspace,
    keep: bool,
    plain: bool,
    agent: &[OsString],
) -> Result<ExitCode> {
    if agent.is_empty() {
        let mut arguments = vec![OsString::from("demo")];
        arguments.extend(keep.then(|| "--keep".into()));
        arguments.extend(plain.then(|| "--plain".into()));
        return workspace.become_program("nllb-lab", "nllb-lab", &arguments);
    }
    let mut arguments = vec![OsString::from("run")];
    arguments.extend_from_slice(agent);
    workspace.become_program("nllb-agent", "nllb", &arguments)
}
