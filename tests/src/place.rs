//! Where a process of the lab runs: network namespace, cgroup, user; how many descriptors it may have, and
//! which capabilities.
//!
//! A socket belongs to the namespace and cgroup of the process that creates it, so a process has to
//! be in its place before it opens any. Every sub-command of `nllb-lab` takes its place as options
//! and goes there first, while it has one thread. That needs no code between fork and exec.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
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
}

impl Place {
    /// Moves the calling process there. Call it before the first thread and the first socket.
    pub fn enter(&self) -> Result<()> {
        let Self { netns, cgroup, uid, descriptors, capabilities } = self;
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
        Ok(())
    }

    /// The options that make `nllb-lab` run there.
    #[must_use]
    pub fn to_args(&self) -> Vec<OsString> {
        let Self { netns, cgroup, uid, descriptors, capabilities } = self;
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
        args
    }
}
