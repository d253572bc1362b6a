//! A control plane and nodes in network namespaces on one bridge.
//!
//! ```text
//!   cp0 ── eth0 ┐                        ┌ eth0 ── node0 ── eth0 of node0-pod0
//!   cp1 ── eth0 ┼─ br0 (namespace "net") ┤          (cgroup, bpffs directory)
//!   cp2 ── eth0 ┘                        └ eth0 ── node1
//! ```
//!
//! The bridge has a namespace of its own, so nothing of the host's network is touched, and many
//! labs run side by side with the same addresses. Nodes have no default route: a connect to a VIP
//! that is not translated fails at once with ENETUNREACH.

mod builder;
mod layout;
mod node;
mod plane;
mod remains;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};

use crate::apiserver::Objects;
use crate::client::Client;
use crate::client::protocol::{Http, Traffic};
use crate::netns;
use crate::pki::Authority;
use crate::place::Place;

pub use builder::Builder;
pub use layout::{VIP_V4, VIP_V6, own_names, shared_names};
pub use node::{Node, Pod};
pub use plane::ControlPlane;
use remains::Remains;
pub use remains::clean;

/// The bearer token that every server of a lab accepts.
pub const TOKEN: &str = "lab-token";

/// A running lab. Dropping it removes everything.
pub struct Lab {
    planes: Vec<ControlPlane>,
    nodes: Vec<Node>,
    authority: Authority,
    directory: PathBuf,
    /// Of the objects that the servers serve.
    version: AtomicU64,
    // Last, because it removes what the others stand on.
    remains: Remains,
}

impl Lab {
    /// Three control-plane hosts and one node without pods, unless told otherwise.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The lab's name, the beginning of the name of all it owns.
    #[must_use]
    pub fn name(&self) -> &str {
        self.remains.name()
    }

    /// A directory for the lab's files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The network namespace of the bridge.
    #[must_use]
    pub fn switch(&self) -> String {
        layout::namespace(self.name(), "net")
    }

    /// All control-plane hosts.
    #[must_use]
    pub fn control_planes(&self) -> &[ControlPlane] {
        &self.planes
    }

    /// One control-plane host; panics if there is none.
    #[must_use]
    pub fn control_plane(&self, index: usize) -> &ControlPlane {
        &self.planes[index]
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node; panics if there is none.
    #[must_use]
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// What every server serves as EndpointSlices and Services from now on, and tells to those who watch.
    pub fn set_objects(&self, objects: Objects) -> Result<()> {
        let version = 1 + self.version.fetch_add(1, Ordering::Relaxed);
        let objects = Objects { version, ..objects };
        self.planes.iter().try_for_each(|plane| plane.set_objects(&objects))
    }

    /// The bearer token that every server accepts from now on, instead of [`TOKEN`].
    pub fn set_token(&self, token: &str) -> Result<()> {
        self.planes.iter().try_for_each(|plane| plane.set_token(token))
    }

    /// The certificate authority.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A client on a node.
    pub fn client(&self, node: usize) -> Result<Client> {
        Client::start(&self.node(node).place())
    }

    /// A client in a pod.
    pub fn pod_client(&self, node: usize, pod: usize) -> Result<Client> {
        Client::start(&self.node(node).pods()[pod].place())
    }

    /// Clients of the VIP, without loops.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic::to((VIP_V4, 443).into(), &VIP_V4.to_string(), self.authority.pem())
    }

    /// An anonymous request that trusts the lab's authority.
    #[must_use]
    pub fn http(&self, server_name: &str, path: &str) -> Http {
        Http {
            path: path.to_owned(),
            server_name: server_name.to_owned(),
            authority: self.authority.pem().to_owned(),
            bearer: None,
            identity: None,
        }
    }
}

impl Place {
    /// A place in a network namespace, outside of every cgroup of the lab.
    #[must_use]
    pub fn in_netns(name: &str) -> Self {
        Self { netns: Some(name.to_owned()), ..Self::default() }
    }
}

/// Whether this process may build labs; says why not.
pub fn available() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "not root");
    crate::cgroup::mount_point()?;
    netns::ip(None, &["netns list".to_owned()]).context("iproute2 does not work")
}

/// Whether this process may build labs; if not, prints why a test is skipped.
#[must_use]
pub fn available_or_say() -> bool {
    let Err(error) = available() else { return true };
    say_skipped(&format!("no lab here: {error:#}"));
    false
}

/// Prints why a test is skipped.
pub fn say_skipped(why: &str) {
    // Not by eprintln, which the test harness would swallow.
    let _ = std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes());
}
