//! Cgroups of the lab, below the host's cgroup2 mount.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long processes may take to leave a cgroup after they were killed.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(20);

/// Where cgroup2 is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on hybrid hosts.
pub fn mount_point() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (_device, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(path))
        })
        .next()
        .context("no cgroup2 file system is mounted")
}

/// Creates a cgroup with its parents.
pub fn create(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create cgroup {}", path.display()))
}

/// Moves the calling process into a cgroup.
pub fn enter(path: &Path) -> Result<()> {
    fs::write(path.join("cgroup.procs"), "0")
        .with_context(|| format!("cannot enter cgroup {}", path.display()))
}

/// Kills everything in a cgroup and its children and removes them.
pub fn remove(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    // Missing before Linux 5.14; the lab ends its own processes anyway.
    let _ = fs::write(path.join("cgroup.kill"), "1");
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    let deadline = Instant::now() + REMOVAL_PATIENCE;
    loop {
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error)
                    .with_context(|| format!("cannot remove cgroup {}", path.display()));
            }
            // reason: only stray processes (not children of ours) can still be on their way out: their
            // exit cannot be awaited.
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}
