//! Becomes what a container is: a process in a cgroup namespace of its own, which takes its cgroup for the
//! root, with that cgroup's file system mounted where the host has its own; and with process ids of its own,
//! when that is wanted, which leaves no view of the host at all.

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nllb_lab::cgroup;

use crate::protocol::PROGRAMS;

const CGROUPS: &str = "/sys/fs/cgroup";
/// The container's cgroup.
pub(crate) const BOX: &str = "/sys/fs/cgroup/box";

/// This program becomes private when it is called by one of these names: its arguments are those of `nllb`.
pub(crate) const NAMES: [(&str, bool); 2] = [("nllb-private", false), ("nllb-private-pids", true)];

/// Makes this program known by that name.
pub(crate) fn program(own_pids: bool) -> Result<PathBuf> {
    let (name, _) = NAMES[usize::from(own_pids)];
    let path = Path::new("/run").join(name);
    // Of an earlier check.
    let _ = std::fs::remove_file(&path);
    symlink(std::env::current_exe()?, &path).context("cannot make a link")?;
    Ok(path)
}

/// Runs `nllb` in there. Returns only if it cannot.
pub(crate) fn become_private(own_pids: bool, arguments: &[&str]) -> Result<()> {
    // The second time it is the first process of its own, and ends with the one that waits for it.
    if own_pids && std::process::id() == 1 {
        set_pdeathsig(Signal::SIGKILL).context("cannot end with its parent")?;
        mount_own("proc", "/proc")?;
        return Err(nllb(arguments).exec()).context("cannot run nllb");
    }
    cgroup::create(Path::new(BOX))?;
    cgroup::enter(Path::new(BOX))?;
    unshare(CloneFlags::CLONE_NEWCGROUP | CloneFlags::CLONE_NEWNS).context("cannot unshare")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .context("cannot have mounts of its own")?;
    umount(CGROUPS).context("cannot unmount the host's cgroups")?;
    mount_own("cgroup2", CGROUPS)?;
    if !own_pids {
        return Err(nllb(arguments).exec()).context("cannot run nllb");
    }
    unshare(CloneFlags::CLONE_NEWPID).context("cannot unshare process ids")?;
    let status = Command::new(program(own_pids)?).args(arguments).status()?;
    std::process::exit(status.code().unwrap_or(1))
}

fn nllb(arguments: &[&str]) -> Command {
    let mut command = Command::new(Path::new(PROGRAMS).join("nllb-lab"));
    command.arg("agent").args(arguments);
    command
}

fn mount_own(kind: &str, path: &str) -> Result<()> {
    mount(Some(kind), path, Some(kind), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("cannot mount {path}"))
}
