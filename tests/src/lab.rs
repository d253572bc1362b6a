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

mod layout;
mod node;
mod plane;
mod remains;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::apiserver::{Modes, Settings, Startup};
use crate::client::Client;
use crate::client::protocol::Http;
use crate::netns;
use crate::pki::Authority;
use crate::place::Place;

pub use layout::{VIP_V4, VIP_V6, own_names, shared_names};
pub use node::{Node, Pod};
pub use plane::ControlPlane;
use remains::Remains;
pub use remains::clean;

/// The bearer token that every server of a lab accepts.
pub const TOKEN: &str = "lab-token";

type Names = dyn Fn(usize) -> Vec<String>;
type Tune = dyn Fn(usize, &mut Settings);

/// A running lab. Dropping it removes everything.
pub struct Lab {
    planes: Vec<ControlPlane>,
    nodes: Vec<Node>,
    authority: Authority,
    directory: PathBuf,
    // Last, because it removes what the others stand on.
    remains: Remains,
}

/// What a lab shall have.
pub struct Builder {
    control_planes: usize,
    nodes: usize,
    pods: usize,
    names: Box<Names>,
    tune: Box<Tune>,
}

impl Lab {
    /// Three control-plane hosts and one node without pods, unless told otherwise.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            control_planes: 3,
            nodes: 1,
            pods: 0,
            names: Box::new(|index| [shared_names(), own_names(index)].concat()),
            tune: Box::new(|_, _| {}),
        }
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

impl Builder {
    /// How many control-plane hosts.
    #[must_use]
    pub fn control_planes(self, control_planes: usize) -> Self {
        Self {
            control_planes,
            ..self
        }
    }

    /// How many nodes.
    #[must_use]
    pub fn nodes(self, nodes: usize) -> Self {
        Self { nodes, ..self }
    }

    /// How many pods on each node.
    #[must_use]
    pub fn pods(self, pods: usize) -> Self {
        Self { pods, ..self }
    }

    /// What each server's certificate carries. Without it: [`shared_names`] and [`own_names`].
    #[must_use]
    pub fn names(self, names: impl Fn(usize) -> Vec<String> + 'static) -> Self {
        Self {
            names: Box::new(names),
            ..self
        }
    }

    /// Changes a server's settings before it starts.
    #[must_use]
    pub fn tune(self, tune: impl Fn(usize, &mut Settings) + 'static) -> Self {
        Self {
            tune: Box::new(tune),
            ..self
        }
    }

    /// How every server comes up. Without it they are ready at once.
    #[must_use]
    pub fn startup(self, startup: Startup) -> Self {
        self.tune(move |_, settings| settings.startup = startup)
    }

    /// Builds a lab for a test: says why and gives none where labs cannot be, panics if it fails.
    #[must_use]
    pub fn build_or_skip(self) -> Option<Lab> {
        if !available_or_say() {
            return None;
        }
        Some(self.build().expect("the lab can be built"))
    }

    /// Builds the lab and starts its servers. Needs root.
    pub fn build(self) -> Result<Lab> {
        let remains = Remains::new();
        let name = remains.name().to_owned();
        let directory = remains::directory(&name);
        fs::create_dir(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let layout = layout::Layout {
            name: &name,
            control_planes: self.control_planes,
            nodes: self.nodes,
            pods: self.pods,
        };
        layout.build_network()?;
        let nodes = (0..self.nodes)
            .map(|index| Node::create(&name, index, self.pods))
            .collect::<Result<Vec<_>>>()?;
        let authority = Authority::new("lab")?;
        let planes = (0..self.control_planes)
            .map(|index| self.plane(&name, &directory, &authority, index))
            .collect::<Result<Vec<_>>>()?;
        // All are starting before the first is waited for.
        for plane in &planes {
            plane.spawn()?;
        }
        for plane in &planes {
            plane.await_listening()?;
        }
        Ok(Lab {
            planes,
            nodes,
            authority,
            directory,
            remains,
        })
    }

    fn plane(
        &self,
        lab: &str,
        directory: &Path,
        authority: &Authority,
        index: usize,
    ) -> Result<ControlPlane> {
        let name = format!("cp{index}");
        let identity = authority.server(&name, &(self.names)(index))?;
        let mut settings = Settings {
            listen: layout::listen(crate::apiserver::TLS_PORT),
            listen_plain: layout::listen(crate::apiserver::PLAIN_PORT),
            certificate: identity.certificate,
            key: identity.key,
            client_authority: authority.pem().to_owned(),
            control: directory.join(format!("{name}.sock")),
            bearer_token: TOKEN.to_owned(),
            startup: Startup::default(),
            modes: Modes::default(),
            name,
        };
        (self.tune)(index, &mut settings);
        ControlPlane::new(lab, directory, index, settings)
    }
}

impl Place {
    /// A place in a network namespace, outside of every cgroup of the lab.
    #[must_use]
    pub fn in_netns(name: &str) -> Self {
        Self {
            netns: Some(name.to_owned()),
            ..Self::default()
        }
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
    // Not by eprintln, which the test harness would swallow.
    let line = format!("skipped, no lab here: {error:#}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    false
}
