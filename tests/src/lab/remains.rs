//! Removes what a lab leaves in the kernel and on disk.
//!
//! Everything a lab owns has a name that begins with `nllb-lab-<pid>-<n>`, so what a killed test
//! left behind can be told from what is in use.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{bpffs, cgroup, netns};

const PREFIX: &str = "nllb-lab-";

/// Removes a lab when dropped.
pub(super) struct Remains {
    name: String,
}

impl Remains {
    /// Reserves a name for a new lab.
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("{PREFIX}{}-{number}", std::process::id()) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("lab: {error:#}");
        }
    }
}

pub(super) fn directory(lab: &str) -> PathBuf {
    std::env::temp_dir().join(lab)
}

/// Removes every lab whose process has gone; gives their names.
pub fn clean() -> Result<Vec<String>> {
    let places = [
        cgroup::mount_point()?,
        PathBuf::from(bpffs::MOUNT_POINT),
        std::env::temp_dir(),
        PathBuf::from("/run/netns"),
    ];
    let dead: BTreeSet<String> =
        places.iter().flat_map(|place| entries(place)).filter_map(|name| dead_lab(&name)).collect();
    for lab in &dead {
        kill_inhabitants(lab)?;
        remove(lab)?;
    }
    Ok(dead.into_iter().collect())
}

/// Takes down as much as can be; tells the first thing that could not.
fn remove(lab: &str) -> Result<()> {
    let cgroups = cgroup::mount_point().and_then(|root| cgroup::remove(&root.join(lab)));
    let pins = bpffs::remove(&Path::new(bpffs::MOUNT_POINT).join(lab));
    let networks = remove_namespaces(lab);
    let directory = directory(lab);
    let files = if directory.exists() { fs::remove_dir_all(&directory) } else { Ok(()) };
    cgroups.and(pins).and(networks)?;
    files.with_context(|| format!("cannot remove {}", directory.display()))
}

fn remove_namespaces(lab: &str) -> Result<()> {
    let lines: Vec<String> =
        namespaces(lab).into_iter().map(|name| format!("netns del {name}")).collect();
    if lines.is_empty() { Ok(()) } else { netns::ip(None, &lines) }
}

/// Kills what still runs in a dead lab's network namespaces: a frozen server never notices that
/// its lab has gone.
fn kill_inhabitants(lab: &str) -> Result<()> {
    for name in namespaces(lab) {
        let output = Command::new("ip").args(["netns", "pids", &name]).output()?;
        for id in String::from_utf8_lossy(&output.stdout).lines() {
            let id = Pid::from_raw(id.trim().parse().context("ip netns pids: not a number")?);
            // One that has gone meanwhile is as good.
            let _ = kill(id, Signal::SIGKILL);
        }
    }
    Ok(())
}

fn namespaces(lab: &str) -> Vec<String> {
    let prefix = format!("{lab}-");
    netns::names().into_iter().filter(|name| name.starts_with(&prefix)).collect()
}

fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The lab that owns a thing of this name, if it is a lab's and its process has gone.
fn dead_lab(name: &str) -> Option<String> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    let (process, number) = (parts.next()?, parts.next()?);
    let process: u32 = process.parse().ok()?;
    let number: u32 = number.parse().ok()?;
    let alive = Path::new(&format!("/proc/{process}")).exists();
    (!alive).then(|| format!("{PREFIX}{process}-{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_things_named_after_a_process_that_has_gone_belong_to_a_dead_lab() {
        let me = std::process::id();
        assert_eq!(dead_lab(&format!("nllb-lab-{me}-0-cp0")), None);
        assert_eq!(
            dead_lab("nllb-lab-4194999-3-node0-pod1").as_deref(),
            Some("nllb-lab-4194999-3")
        );
        assert_eq!(dead_lab("nllb-lab-x-3"), None);
        assert_eq!(dead_lab("nllb-4194999-3"), None);
    }
}
