//! A node: a network namespace, a cgroup, a directory for pins, and its pods.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::layout;
use crate::place::Place;
use crate::{bpffs, cgroup, process};

/// A node of a lab.
pub struct Node {
    netns: String,
    cgroup: PathBuf,
    bpffs: PathBuf,
    addresses: (Ipv4Addr, Ipv6Addr),
    pods: Vec<Pod>,
}

/// A pod: a network namespace behind its node, and a cgroup below the node's.
pub struct Pod {
    netns: String,
    cgroup: PathBuf,
    addresses: (Ipv4Addr, Ipv6Addr),
}

impl Node {
    pub(super) fn create(lab: &str, index: usize, pods: usize) -> Result<Self> {
        let name = format!("node{index}");
        let cgroup = cgroup::mount_point()?.join(lab).join(&name);
        cgroup::create(&cgroup)?;
        let pod = |pod: usize| {
            let cgroup = cgroup.join(format!("pod{pod}"));
            cgroup::create(&cgroup)?;
            let netns = layout::namespace(lab, &format!("{name}-pod{pod}"));
            Ok(Pod { netns, cgroup, addresses: layout::pod_addresses(index, pod) })
        };
        Ok(Self {
            pods: (0..pods).map(pod).collect::<Result<_>>()?,
            netns: layout::namespace(lab, &name),
            bpffs: bpffs::create(&format!("{lab}/{name}"))?,
            addresses: layout::node_addresses(index),
            cgroup,
        })
    }

    /// Its network namespace's name.
    #[must_use]
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// Its cgroup: the root of the cgroups, as far as the node is concerned.
    #[must_use]
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// Its directory for pinned maps and links.
    #[must_use]
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.addresses.0
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.addresses.1
    }

    /// Its pods.
    #[must_use]
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// A command that runs a sub-command of `nllb-lab` as one of the node's own processes.
    pub fn command(&self, args: &[OsString]) -> Result<Command> {
        process::command(&self.place(), args)
    }

    /// The place of the node's own processes.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            netns: Some(self.netns.clone()),
            cgroup: Some(self.cgroup.clone()),
            ..Place::default()
        }
    }
}

impl Pod {
    /// Its network namespace's name.
    #[must_use]
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// Its cgroup.
    #[must_use]
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.addresses.0
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.addresses.1
    }

    /// The place of the pod's processes.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            netns: Some(self.netns.clone()),
            cgroup: Some(self.cgroup.clone()),
            ..Place::default()
        }
    }
}
