//! Network namespaces by name, through iproute2.
//!
//! `ip -batch` creates a whole lab in three short processes; a netlink library would save a few
//! milliseconds and cost an event loop.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

use crate::sys;

/// Opens a named network namespace.
pub fn open(name: &str) -> Result<File> {
    let path = PathBuf::from("/run/netns").join(name);
    File::open(&path).with_context(|| format!("no network namespace {}", path.display()))
}

/// Runs a batch of `ip` commands, inside a namespace if one is given.
pub fn ip(namespace: Option<&str>, lines: &[String]) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    command.args(["-batch", "-"]);
    feed(command, &lines.join("\n"))
}

/// Sets the state of a bridge's port (`include/uapi/linux/if_bridge.h`).
pub fn bridge_port_state(namespace: &str, port: &str, state: u8) -> Result<()> {
    // `ip link set type bridge_slave state` is accepted and does nothing.
    let mut command = Command::new("bridge");
    command.args(["-n", namespace, "link", "set", "dev", port, "state", &state.to_string()]);
    feed(command, "")
}

/// Loads an nftables script inside a namespace.
pub fn nft(namespace: &str, script: &str) -> Result<()> {
    run_in(namespace, || {
        let mut command = Command::new("nft");
        command.args(["-f", "-"]);
        feed(command, script)
    })?
}

/// Runs `work` on a thread inside the namespace; processes it spawns start there.
pub fn run_in<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    let namespace = open(name)?;
    let done = thread::scope(|scope| {
        let worker = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter network namespace {name}"))?;
            Ok(work())
        });
        worker.join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Sets sysctls of a namespace: pairs of path below `/proc/sys/net` and value.
pub fn sysctl(name: &str, settings: &[(&str, &str)]) -> Result<()> {
    run_in(name, || {
        for (key, value) in settings {
            let path = format!("/proc/sys/net/{key}");
            std::fs::write(&path, value).with_context(|| format!("cannot set {path}"))?;
        }
        Ok(())
    })?
}

/// What an interface does with packets by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// It puts those that come in together. An end of a veth then takes packets in rounds, as a card does.
    Merge,
    /// It leaves checksums of what it sends to the other end.
    Checksums,
}

/// Switches that on or off (`ethtool -K`).
pub fn offload(name: &str, interface: &str, what: Offload, on: bool) -> Result<()> {
    // ETHTOOL_SGRO, ETHTOOL_STXCSUM
    let command = match what {
        Offload::Merge => 0x2c,
        Offload::Checksums => 0x17,
    };
    run_in(name, || sys::ethtool::switch(interface, command, on))?
        .with_context(|| format!("cannot set {what:?} of {interface}"))
}

/// The names of all network namespaces.
#[must_use]
pub fn names() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn feed(mut command: Command, input: &str) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).context("cannot write the commands")?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}\n{input}", command.get_program().display(), text.trim());
    }
    Ok(())
}
