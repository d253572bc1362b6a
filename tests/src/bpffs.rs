//! Directories for pinned maps and links, below a bpf file system.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

/// Where every distribution mounts it.
pub const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Mounts the bpf file system if it is not mounted, and creates the directory `name` in it.
pub fn create(name: &str) -> Result<PathBuf> {
    if !is_mounted()? {
        mount(Some("bpf"), MOUNT_POINT, Some("bpf"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount bpf at {MOUNT_POINT}"))?;
    }
    let path = Path::new(MOUNT_POINT).join(name);
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// Removes a directory with every pin in it.
pub fn remove(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))
}

fn is_mounted() -> Result<bool> {
    let mounts = fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(MOUNT_POINT)))
}
