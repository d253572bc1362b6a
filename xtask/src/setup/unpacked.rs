//! Programs for single tests, on a Debian where we are root.
//!
//! Debian's packages of these would start a service and keep it enabled, so they are not installed: their
//! files are unpacked below the target directory, where the tests look (`tests/src/tools.rs`). Elsewhere
//! those in PATH do; without any, the tests say that they skip.

use super::apt::Apt;
use super::machine::is_program;
use crate::workspace::Workspace;

/// A program, and the package that has it.
const PROGRAMS: [(&str, &str); 2] = [("etcd", "etcd-server"), ("promtool", "prometheus")];

/// Unpacks those that are not there.
pub(super) fn ensure(workspace: &Workspace, apt: &mut Apt) {
    for (program, package) in PROGRAMS {
        let directory = workspace.side_target("debian").join(package);
        if !is_program(program) && !directory.is_dir() {
            apt.unpack(package, &directory);
        }
    }
}
