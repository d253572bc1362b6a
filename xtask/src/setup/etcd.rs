//! A real etcd for the lab's tests, on a Debian where we are root.
//!
//! Debian's package would start a service and keep it enabled, so it is not installed: its files are
//! unpacked below the target directory, where the tests look (`tests/tests/ports/etcd.rs`). Elsewhere an
//! etcd in PATH does; without any, the tests say that they skip.

use super::apt::Apt;
use super::machine::is_program;
use crate::workspace::Workspace;

const PACKAGE: &str = "etcd-server";

/// Unpacks it where there is none.
pub(super) fn ensure(workspace: &Workspace, apt: &mut Apt) {
    let directory = workspace.side_target("debian").join(PACKAGE);
    if !is_program("etcd") && !directory.is_dir() {
        apt.unpack(PACKAGE, &directory);
    }
}
