//! Programs for single tests, on a Debian where we are root.
//!
//! Debian's packages of these would start a service and keep it enabled, so they are not installed: their
//! files are unpacked below the target directory, where the tests look (`tests/src/tools.rs`). Elsewhere
//! those in PATH do; without any, the tests say that they skip.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::apt::{Apt, Needs};
use super::machine::is_program;
use crate::workspace::{Workspace, say};

/// A program, and the package that has it.
const PROGRAMS: [(&str, &str); 2] = [("etcd", "etcd-server"), ("promtool", "prometheus")];
/// A browser, in a package of the same name; some hundred megabytes with its libraries.
const BROWSER: &str = "chromium-headless-shell";
/// Debian's own names the place where the package would be installed.
const START_BROWSER: &str = r#"#!/bin/sh
here=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
for directory in "$here"/lib/*-linux-gnu "$here"/usr/lib/*-linux-gnu "$here"/usr/lib/*-linux-gnu/pulseaudio; do
    LD_LIBRARY_PATH=$directory${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
[ -e /etc/fonts/fonts.conf ] || export FONTCONFIG_SYSROOT="$here"
exec "$here/usr/lib/chromium/chromium-headless-shell" "$@"
"#;

/// Unpacks those that are not there.
pub(super) fn ensure(workspace: &Workspace, apt: &mut Apt) {
    for (program, package) in PROGRAMS {
        let directory = workspace.side_target("debian").join(package);
        if !is_program(program) && !directory.is_dir() {
            apt.unpack(package, &directory, Needs::Nothing);
        }
    }
    let directory = workspace.side_target("debian").join(BROWSER);
    if ![BROWSER, "chromium"].into_iter().any(is_program) && !directory.is_dir() {
        apt.unpack(BROWSER, &directory, Needs::Dependencies);
        if let Err(error) = make_startable(&directory) {
            say(&format!("set-up: {BROWSER} cannot be started from there: {error}"));
        }
    }
}

/// Has the browser find its libraries and fonts where it is.
fn make_startable(directory: &Path) -> io::Result<()> {
    let program = directory.join("usr/bin").join(BROWSER);
    fs::write(&program, START_BROWSER)?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))
}
