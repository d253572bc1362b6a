//! What `nllb init` makes of a host: which distribution runs there and in which role, who its API servers are,
//! and what of what clients on the host dial can be translated.
//!
//! Files only. Nothing is asked over the network and nothing is run, so that it works from a container with the
//! host's files, on a host that is down, and in tests. What the files of each distribution mean is in a file of
//! its own; what they share is in `files`, and the configuration's text in `render`.

mod files;
mod k0s;
mod k3s;
mod kubeadm;
mod microk8s;
mod plan;
mod rancher;
mod render;
mod report;
mod rke2;
mod talos;
mod tree;

pub use plan::{Credentials, Frontend, Host, Kind, Named, Plan, Pool, Profile, Watch};
pub use tree::Tree;

use std::net::IpAddr;

/// A way in which Kubernetes comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// <https://k0sproject.io>
    K0s,
    /// <https://k3s.io>
    K3s,
    /// <https://docs.rke2.io>
    Rke2,
    /// <https://microk8s.io>
    MicroK8s,
    /// kubeadm, and what is built on it.
    Kubeadm,
    /// <https://www.talos.dev>
    Talos,
}

impl Distribution {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::K0s, Self::K3s, Self::Rke2, Self::MicroK8s, Self::Kubeadm, Self::Talos];

    /// As on the command line.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::K0s => "k0s",
            Self::K3s => "k3s",
            Self::Rke2 => "rke2",
            Self::MicroK8s => "microk8s",
            Self::Kubeadm => "kubeadm",
            Self::Talos => "talos",
        }
    }

    /// Where it leaves traces, and the units that run while it does.
    const fn traces(self) -> Traces {
        match self {
            Self::K0s => k0s::TRACES,
            Self::K3s => k3s::TRACES,
            Self::Rke2 => rke2::TRACES,
            Self::MicroK8s => microk8s::TRACES,
            Self::Kubeadm => kubeadm::TRACES,
            Self::Talos => talos::TRACES,
        }
    }

    fn plan(self, tree: &Tree, known: &[IpAddr]) -> Result<Plan, Trouble> {
        match self {
            Self::K0s => k0s::plan(tree, known),
            Self::K3s => k3s::plan(tree, known),
            Self::Rke2 => rke2::plan(tree, known),
            Self::MicroK8s => microk8s::plan(tree, known),
            Self::Kubeadm => kubeadm::plan(tree, known),
            Self::Talos => talos::plan(tree, known),
        }
    }
}

/// How a distribution is known.
struct Traces {
    /// One of them is there once a host has joined a cluster.
    files: &'static [&'static str],
    units: &'static [&'static str],
}

/// Why there is no configuration. One line that ends in what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No distribution was found.
    #[error(
        "no Kubernetes distribution was found ({looked}): name the host's root with --root, or write the configuration by hand"
    )]
    Nothing {
        /// What is not there.
        looked: String,
    },
    /// Not the one that was asked for.
    #[error(
        "{name} was not found (none of {looked}): name the host's root with --root, or another distribution"
    )]
    Absent {
        /// As on the command line.
        name: &'static str,
        /// What is not there.
        looked: String,
    },
    /// More than one.
    #[error("more than one distribution was found: {found}: say which with --distribution")]
    Several {
        /// Each with the file that tells.
        found: String,
    },
    /// Nothing on this host dials what could be translated.
    #[error("{title}: {why}")]
    NothingToDo {
        /// Distribution and role.
        title: String,
        /// The reason.
        why: String,
    },
    /// Nothing says where the API servers are.
    #[error("{title}: no control-plane host is known ({looked}): give each with --host")]
    NoHost {
        /// Distribution and role.
        title: String,
        /// What does not tell.
        looked: String,
    },
}

/// Looks at a host.
///
/// `wanted` is the distribution, when it is not to be found out, and `hosts` are control-plane hosts that are known
/// besides what the files tell.
///
/// # Errors
/// When there is nothing to configure, or it is not clear what.
pub fn look(tree: &Tree, wanted: Option<Distribution>, hosts: &[IpAddr]) -> Result<Plan, Trouble> {
    let distribution = match wanted {
        Some(wanted) if tree.first(wanted.traces().files).is_none() => {
            let looked = wanted.traces().files.join(", ");
            return Err(Trouble::Absent { name: wanted.label(), looked });
        }
        Some(wanted) => wanted,
        None => only(tree)?,
    };
    let mut plan = distribution.plan(tree, hosts)?;
    if let Some(unit) = files::running(tree, distribution.traces().units) {
        plan.saw(format!("{unit} runs"));
    }
    if plan.hosts.is_empty() && plan.names.is_empty() {
        let Plan { title, missing, .. } = plan;
        return Err(Trouble::NoHost { title, looked: missing.join("; ") });
    }
    plan.beware_of_one_host();
    if !plan.frontends.iter().any(|frontend| frontend.active) {
        let Plan { title, missing, .. } = plan;
        return Err(Trouble::NothingToDo { title, why: missing.join("; ") });
    }
    Ok(plan)
}

/// The distribution that is there; of several the one that runs.
fn only(tree: &Tree) -> Result<Distribution, Trouble> {
    let there = |distribution: &Distribution| {
        Some((*distribution, tree.first(distribution.traces().files)?))
    };
    let found: Vec<_> = Distribution::ALL.iter().filter_map(there).collect();
    let runs = |(distribution, _): &&(Distribution, &str)| {
        files::running(tree, distribution.traces().units).is_some()
    };
    let running: Vec<_> = found.iter().filter(runs).collect();
    match (found.as_slice(), running.as_slice()) {
        ([(only, _)], _) | (_, [(only, _)]) => Ok(*only),
        ([], _) => {
            let looked =
                Distribution::ALL.map(|distribution| distribution.traces().files.join(", "));
            Err(Trouble::Nothing { looked: format!("none of {}", looked.join(", ")) })
        }
        (several, _) => {
            let found = several.iter().map(|(name, file)| format!("{} ({file})", name.label()));
            Err(Trouble::Several { found: found.collect::<Vec<_>>().join(", ") })
        }
    }
}
