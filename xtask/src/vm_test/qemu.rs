//! Finds a QEMU that emulates well enough, or has one unpacked.
//!
//! QEMU 7.2 (Debian 12) will not do: its `cmpxchg16b` is wrong, and Linux 6.12 and later crash in one start of
//! eight; without the instruction socket storage fails on 7.x. QEMU 10 (Debian 13, and backports of 12) does.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::packages::Store;
use crate::workspace::say;

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// The oldest release that was tried and does.
const OLDEST: u32 = 10;
/// Where Debian 12 has it.
const BACKPORTS: &str = "bookworm-backports";

/// A QEMU, installed or unpacked.
pub(crate) struct Qemu {
    program: PathBuf,
    /// Where it was unpacked.
    root: Option<PathBuf>,
}

impl Qemu {
    /// The one in PATH if it is new enough, else one that is unpacked below the store.
    pub(crate) fn find(store: &Store, debian_12: bool) -> Result<Self> {
        let installed = Self { program: PROGRAM.into(), root: None };
        if installed.major().is_ok_and(|major| major >= OLDEST) {
            return Ok(installed);
        }
        let before = Self::below(store.program_root());
        if before.major().is_ok_and(|major| major >= OLDEST) {
            return Ok(before);
        }
        say("vm-test: fetching QEMU (apt; it is unpacked, not installed)");
        let unpacked = Self::below(store.program(PACKAGE, debian_12.then_some(BACKPORTS))?);
        let major = unpacked.major()?;
        ensure!(major >= OLDEST, "QEMU {major} is what there is, {OLDEST} is needed");
        Ok(unpacked)
    }

    fn below(root: PathBuf) -> Self {
        Self { program: root.join("usr/bin").join(PROGRAM), root: Some(root) }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let Some(root) = &self.root else { return command };
        // What the machine has itself was not downloaded.
        let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
        let libraries = env::join_paths(libraries.map(|path| root.join(path)));
        command.env("LD_LIBRARY_PATH", libraries.unwrap_or_default());
        for firmware in ["usr/share/qemu", "usr/share/seabios"] {
            command.arg("-L").arg(root.join(firmware)).arg("-L").arg(Path::new("/").join(firmware));
        }
        command
    }

    fn major(&self) -> Result<u32> {
        let output = self.command().arg("--version").output().context("cannot run QEMU")?;
        let text = String::from_utf8_lossy(&output.stdout);
        major(&text).with_context(|| {
            format!("QEMU does not say its version: {}", String::from_utf8_lossy(&output.stderr))
        })
    }
}

/// From `QEMU emulator version 10.0.2 (Debian …)`.
fn major(text: &str) -> Option<u32> {
    text.split_once("version ")?.1.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_it_prints() {
        assert_eq!(major("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\n"), Some(10));
        assert_eq!(major("bash: not found"), None);
    }
}
