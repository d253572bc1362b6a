//! What a host needs: a configuration as values, with the reason of each.

use super::files::Server;
use std::net::{IpAddr, SocketAddr};

/// What was found on a host and what can be made of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Distribution and role.
    pub title: String,
    /// What tells.
    pub seen: Vec<String>,
    /// The control-plane hosts.
    pub hosts: Vec<Host>,
    /// Names that stand for them.
    pub names: Vec<Named>,
    /// Whether the cluster itself is asked who they are.
    pub watch: Watch,
    /// Who serves.
    pub pools: Vec<Pool>,
    /// What clients dial.
    pub frontends: Vec<Frontend>,
    /// What is left alone, and why.
    pub left: Vec<String>,
    /// What was not found, and what to add.
    pub missing: Vec<String>,
}

/// A control-plane host.
#[derive(Debug, PartialEq, Eq)]
pub struct Host {
    /// Its address.
    pub ip: IpAddr,
    /// Where that stands.
    pub from: String,
}

/// A DNS name that stands for control-plane hosts.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub from: String,
}

/// How the cluster is asked for its API servers.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// With this kubeconfig, whose user may.
    Kubeconfig(&'static str),
    /// With the service account of the agent's own pod.
    ServiceAccount,
    /// With this kubeconfig once its user, a kubelet, is allowed to; shown as a comment.
    Kubelet(&'static str),
    /// Not at all.
    #[default]
    Off,
}

impl Watch {
    /// Whether it is part of the configuration.
    pub(super) const fn is_on(&self) -> bool {
        matches!(self, Self::Kubeconfig(_) | Self::ServiceAccount)
    }
}

/// Backends on all control-plane hosts.
#[derive(Debug, PartialEq, Eq)]
pub struct Pool {
    /// What they are.
    pub profile: Profile,
    /// Their port.
    pub port: u16,
    /// Whom the probe trusts and who it is.
    pub credentials: Credentials,
}

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The Kubernetes API.
    Apiserver,
    /// Konnectivity.
    Konnectivity,
    /// The supervisor of RKE2.
    Supervisor,
}

impl Profile {
    /// As in the configuration; also the pool's name.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Apiserver => "apiserver",
            Self::Konnectivity => "konnectivity",
            Self::Supervisor => "supervisor",
        }
    }
}

/// Where a probe's credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A kubeconfig, which brings its server along.
    Kubeconfig(&'static str),
    /// An authority, and a client certificate with its key.
    Files {
        /// PEM.
        authority: &'static str,
        /// PEM, and PEM.
        client: Option<(&'static str, &'static str)>,
    },
    /// No authority is known, and nothing secret is sent.
    Unverified,
}

/// What clients on the host dial.
#[derive(Debug, PartialEq, Eq)]
pub struct Frontend {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The addresses. None: those that the cluster tells, or all backends.
    pub addresses: Vec<SocketAddr>,
    /// Which pool serves it.
    pub pool: Profile,
    /// The name that certificates must carry, when it is not the address.
    pub server_name: Option<&'static str>,
    /// What it is for.
    pub why: String,
    /// Whether it is in force, or only shown as a comment.
    pub active: bool,
}

/// As in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Service's address or that of a load balancer.
    Vip,
    /// This host's loopback.
    Loopback,
    /// The backends' own.
    NodeAddress,
}

impl Kind {
    /// As in the configuration.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Vip => "vip",
            Self::Loopback => "loopback",
            Self::NodeAddress => "node-address",
        }
    }
}

/// The port of the Service `kubernetes`.
const HTTPS: u16 = 443;

impl Frontend {
    /// The address on which a distribution's own load balancer listens.
    pub(super) fn loopback(
        name: &'static str,
        address: SocketAddr,
        pool: Profile,
        why: impl Into<String>,
    ) -> Self {
        let kind = Kind::Loopback;
        Self {
            name,
            kind,
            addresses: vec![address],
            pool,
            server_name: None,
            why: why.into(),
            active: true,
        }
    }

    fn vip(name: &'static str, addresses: Vec<SocketAddr>, why: String) -> Self {
        let (kind, pool) = (Kind::Vip, Profile::Apiserver);
        Self { name, kind, addresses, pool, server_name: None, why, active: true }
    }
}

impl Plan {
    /// An empty one for a distribution in a role, with the hosts that are known beforehand.
    pub(super) fn of(title: &str, known: &[IpAddr]) -> Self {
        let mut plan = Self { title: title.to_owned(), ..Self::default() };
        plan.hosts(known.iter().copied(), "--host");
        plan
    }

    /// Notes a file that told something.
    pub(super) fn saw(&mut self, what: impl Into<String>) {
        self.seen.push(what.into());
    }

    /// Adds hosts, each once, and says from where.
    pub(super) fn hosts(&mut self, ips: impl IntoIterator<Item = IpAddr>, from: &str) {
        for ip in ips {
            if !ip.is_loopback()
                && !ip.is_unspecified()
                && self.hosts.iter().all(|host| host.ip != ip)
            {
                self.hosts.push(Host { ip, from: from.to_owned() });
            }
        }
    }

    /// Adds the one server that clients on this host dial for all of them. It is a control-plane host's own
    /// address, or a virtual one when others are known to be the hosts.
    pub(super) fn endpoint(&mut self, server: &Server, from: &str) {
        const WHY: &str = "clients with the address of one control-plane host fail over when certificates allow it";
        let virtual_address = match server {
            Server::Address(address) => {
                let is_host = self.hosts.iter().any(|host| host.ip == address.ip());
                (!is_host && !self.hosts.is_empty()).then_some(*address)
            }
            Server::Name(..) => None,
        };
        if let Some(address) = virtual_address {
            let why = format!("the control plane's address, and no host's own; from {from}");
            self.vip("control-plane", vec![address], why);
        }
        self.node_addresses(virtual_address.is_none(), WHY);
        match server {
            Server::Name(name, _) if self.hosts.is_empty() => self.name(name, from),
            Server::Name(name, _) => self.missing.push(format!(
                "the addresses of {name}, which clients dial ({from}): when they are not the control-plane hosts' own, \
                 give them in a frontend of kind vip"
            )),
            Server::Address(address) if self.hosts.is_empty() => {
                self.hosts([address.ip()], from);
                self.missing.push(format!(
                    "whether {address} is one host's own or a virtual address ({from} does not tell): when it is virtual \
                     run this again with --host for each control-plane host, and it gets a frontend"
                ));
            }
            Server::Address(_) => {}
        }
    }

    /// Adds a name that stands for control-plane hosts.
    pub(super) fn name(&mut self, name: &str, from: &str) {
        self.names.push(Named { name: name.to_owned(), from: from.to_owned() });
        self.missing.push(format!(
            "whose addresses {name} has: when they are a load balancer's, give the control-plane hosts in \
             controlPlane.hosts instead of the name, and those addresses in a frontend of kind vip"
        ));
    }

    /// The Service `kubernetes`, whose addresses the cluster tells when it is asked.
    pub(super) fn service(&mut self, address: Option<IpAddr>, from: &str) {
        const WHY: &str = "the Service kubernetes, which pods dial";
        let at = |ip| vec![SocketAddr::new(ip, HTTPS)];
        if self.watch.is_on() {
            let why = format!("{WHY}; the cluster tells its addresses and ports");
            self.vip("kubernetes", Vec::new(), why);
        } else if let Some(ip) = address {
            self.vip("kubernetes", at(ip), format!("{WHY}; from {from}"));
        } else {
            self.missing.push(format!(
                "the address of the Service kubernetes ({from} does not tell): uncomment the frontend kubernetes and write \
                 what kubectl get service kubernetes shows"
            ));
            let example = Frontend::vip("kubernetes", at([10, 96, 0, 1].into()), WHY.to_owned());
            self.frontends.push(Frontend { active: false, ..example });
        }
    }

    /// An address that stands for all control-plane hosts.
    pub(super) fn vip(&mut self, name: &'static str, addresses: Vec<SocketAddr>, why: String) {
        self.frontends.push(Frontend::vip(name, addresses, why));
    }

    /// The control-plane hosts' own addresses.
    pub(super) fn node_addresses(&mut self, active: bool, why: &str) {
        self.frontends.push(Frontend {
            name: "nodes",
            kind: Kind::NodeAddress,
            addresses: Vec::new(),
            pool: Profile::Apiserver,
            server_name: None,
            why: why.to_owned(),
            active,
        });
    }

    /// The pool of a profile.
    pub(super) fn pool(&mut self, profile: Profile, port: u16, credentials: Credentials) {
        self.pools.push(Pool { profile, port, credentials });
    }

    /// Says what a certificate of an API server on this host lacks. The others' are made alike.
    pub(super) fn check_names(&mut self, covered: &[IpAddr], certificate: &str) {
        if covered.is_empty() {
            return;
        }
        let active = self
            .frontends
            .iter()
            .filter(|frontend| frontend.active && frontend.server_name.is_none());
        let addresses = active.flat_map(|frontend| &frontend.addresses).map(SocketAddr::ip);
        let lacking: Vec<_> =
            addresses.filter(|ip| !covered.contains(ip)).map(|ip| ip.to_string()).collect();
        if !lacking.is_empty() {
            self.missing.push(format!(
                "{certificate} does not cover {}: clients that dial it and verify will refuse the API servers; add it to their \
                 certificates",
                lacking.join(", ")
            ));
        }
    }

    /// With one host known there is nobody to fail over to. Whoever leads to virtual addresses so far (kube-proxy, the
    /// holder of the address) knows more, and goes on.
    pub(super) fn beware_of_one_host(&mut self) {
        if self.hosts.len() > 1 {
            return;
        }
        let mut what_to_do = "the cluster tells of others";
        if !self.watch.is_on() {
            what_to_do =
                "give the others with --host; until then virtual addresses stay with who has them";
            let virtual_ones =
                self.frontends.iter_mut().filter(|frontend| frontend.kind == Kind::Vip);
            virtual_ones.for_each(|frontend| frontend.active = false);
        }
        if self.names.is_empty() {
            self.missing.push(format!(
                "a second control-plane host: with one there is nobody to fail over to; {what_to_do}"
            ));
        }
    }
}
