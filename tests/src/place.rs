//! Where a process of the lab runs: network namespace, cgroup, user; how many descriptors it may have, and
//! which capabilities.
//!
//! A socket belongs to the namespace and cgroup of the process that creates it, so a process has to
//! be in its place before it opens any. Every sub-command of `nllb-lab` takes its place as options
//! and goes there first, while it has one thread. That needs no code between fork and exec.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use crate::{capability, cgroup, netns};

/// The place of one process. Nothing set: where the parent is.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Place {
    /// Name of the network namespace, as in `ip netns`.
    #[arg(long, global = true)]
    pub netns: Option<String>,
    /// Directory of the cgroup.
    #[arg(long, global = true)]
    pub cgroup: Option<PathBuf>,
    /// User and group id to run as.
    #[arg(long, global = true)]
    pub uid: Option<u32>,
    /// How many file descriptors it may have, soft and hard limit.
    #[arg(long, global = true)]
    pub descriptors: Option<u64>,
    /// The capabilities that it keeps, by number. A program that it becomes gets all again.
    #[arg(long, global = true, value_delimiter = ',')]
    pub capabilities: Option<Vec<u32>>,
    /// In a user and a network namespace of its own, as every user may have them: root there, and nobody here.
    #[arg(long, global = true)]
    pub apart: bool,
    /// A script (sh) that is run there before anything else.
    #[arg(long, global = true)]
    pub prepare: Option<String>,
}

impl Place {
    /// Moves the calling process there. Call it before the first thread and the first socket.
    pub fn enter(&self) -> Result<()> {
        let Self { netns, cgroup, uid, descriptors, capabilities, apart, prepare } = self;
        if let Some(cgroup) = cgroup {
            cgroup::enter(cgroup)?;
        }
        if let Some(name) = netns {
            let namespace = netns::open(name)?;
            setns(namespace, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter network namespace {name}"))?;
        }
        if let Some(most) = *descriptors {
            setrlimit(Resource::RLIMIT_NOFILE, most, most)
                .context("cannot limit the descriptors")?;
        }
        if let Some(uid) = *uid {
            let group = Gid::from_raw(uid);
            setgroups(&[group]).context("cannot set groups")?;
            setgid(group).context("cannot set the group")?;
            setuid(Uid::from_raw(uid)).context("cannot set the user")?;
        }
        if let Some(kept) = capabilities {
            capability::keep(kept)?;
        }
        if *apart {
            go_apart()?;
        }
        if let Some(script) = prepare {
            let status = Command::new("sh").args(["-ec", script]).status().context("no sh")?;
            ensure!(status.success(), "the script that prepares the place: {status}");
        }
        Ok(())
    }

    /// The options that make `nllb-lab` run there.
    #[must_use]
    pub fn to_args(&self) -> Vec<OsString> {
        let Self { netns, cgroup, uid, descriptors, capabilities, apart, prepare } = self;
        let mut args = Vec::new();
        if let Some(netns) = netns {
            args.extend(["--netns".into(), netns.into()]);
        }
        if let Some(cgroup) = cgroup {
            args.extend(["--cgroup".into(), cgroup.into()]);
        }
        if let Some(uid) = uid {
            args.extend(["--uid".into(), uid.to_string().into()]);
        }
        if let Some(most) = descriptors {
            args.extend(["--descriptors".into(), most.to_string().into()]);
        }
        if let Some(kept) = capabilities {
            let kept: Vec<_> = kept.iter().map(u32::to_string).collect();
            args.extend(["--capabilities".into(), kept.join(",").into()]);
        }
        if *apart {
            args.push("--apart".into());
        }
        if let Some(script) = prepare {
            args.extend(["--prepare".into(), script.into()]);
        }
        args
    }
}

/// Moves the calling process into namespaces that its user owns.
fn go_apart() -> Result<()> {
    // Who has changed its user is not the owner of its files in /proc otherwise.
    prctl::set_dumpable(true).context("cannot be looked into")?;
    let (user, group) = (Uid::current(), Gid::current());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .context("cannot have namespaces of its own")?;
    let files = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ];
    for (file, text) in files {
        let path = format!("/proc/self/{file}");
        fs::write(&path, text).with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}
