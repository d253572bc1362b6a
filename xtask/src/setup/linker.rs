//! Builds bpf-linker on the LLVM that the compiler has, in a directory of its own: another project's
//! bpf-linker in cargo's directory stays as it is.

use std::{path::PathBuf, process::Command, process::Stdio};

use anyhow::{Context, Result};

use super::apt::{Apt, tell_failure};
use crate::{
    toolchain::{BPF_LINKER_VERSION, cache_root},
    workspace::{Workspace, say},
};

/// The LLVMs that this release of bpf-linker can be built on.
const LLVM_MAJORS: [u32; 3] = [21, 22, 23];

/// False where it cannot be done; otherwise the caller looks again at what is there.
pub(crate) fn install(
    workspace: &Workspace,
    apt: Option<&mut Apt>,
    llvm_major: u32,
) -> Result<bool> {
    if !LLVM_MAJORS.contains(&llvm_major) {
        return Ok(false);
    }
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm_major}"));
    let config = prefix.join("bin/llvm-config");
    if let (Some(apt), false) = (apt, config.is_file()) {
        apt.install([format!("llvm-{llvm_major}-dev")]);
    }
    if !config.is_file() {
        return Ok(false);
    }
    let root = cache_root().context("neither HOME nor XDG_CACHE_HOME is set")?;
    let root = root.join(format!("bpf-linker-{BPF_LINKER_VERSION}-llvm{llvm_major}"));
    say(&format!("set-up: building bpf-linker {BPF_LINKER_VERSION} on LLVM {llvm_major} (cargo)"));
    let mut command = Command::new(workspace.cargo_program());
    command
        .args(["install", "bpf-linker", "--version", BPF_LINKER_VERSION, "--locked", "--root"])
        .arg(&root)
        .args(["--no-default-features", "--features", &format!("llvm-{llvm_major}")])
        .env("LLVM_PREFIX", prefix)
        // These are meant for the workspace, or for another target.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("RUSTFLAGS")
        .stdin(Stdio::null());
    tell_failure(&mut command);
    Ok(true)
}
