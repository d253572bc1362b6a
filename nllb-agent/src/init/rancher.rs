//! What k3s and RKE2 have in common: the same agent, with files below another directory.
//!
//! An agent has a load balancer of its own on loopback, whose file names the servers. A server has none for the
//! API: what listens on its loopback is its own API server, and is left alone.

use super::files::{self, Server};
use super::plan::{Credentials, Frontend, Plan, Profile, Watch};
use super::tree::Tree;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};

/// One of the two.
pub(super) struct Flavour {
    pub(super) name: &'static str,
    /// The name of its frontend.
    pub(super) label: &'static str,
    /// The kubelet's kubeconfig.
    pub(super) kubelet: &'static str,
    /// The kube-proxy's, whose user may watch Services and EndpointSlices.
    pub(super) proxy: &'static str,
    pub(super) authority: &'static str,
    pub(super) client: (&'static str, &'static str),
    /// The kubelet's serving certificate, which carries the node's addresses.
    pub(super) serving: &'static str,
    /// Only servers have it.
    pub(super) server_only: &'static str,
    /// The configuration that a server writes for its etcd.
    pub(super) etcd: &'static str,
    /// What the load balancer for the supervisor knows; on k3s that is the API server as well.
    pub(super) supervisor_balancer: &'static str,
    /// The same for an API server that is not the supervisor.
    pub(super) api_balancer: Option<&'static str>,
    /// Why a server's loopback is left alone.
    pub(super) server_left: &'static str,
}

/// What a load balancer writes about itself.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Balancer {
    #[serde(rename = "ServerURL")]
    server_url: String,
    #[serde(default)]
    server_addresses: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Etcd {
    #[serde(default)]
    initial_cluster: String,
    #[serde(default)]
    advertise_client_urls: String,
}

impl Flavour {
    pub(super) fn credentials(&self) -> Credentials {
        Credentials::Files { authority: self.authority, client: Some(self.client) }
    }

    /// A plan with what both roles need.
    pub(super) fn plan(&self, tree: &Tree, known: &[IpAddr]) -> Plan {
        if tree.has(self.server_only) { self.server(tree, known) } else { self.agent(tree, known) }
    }

    fn agent(&self, tree: &Tree, known: &[IpAddr]) -> Plan {
        let mut plan = Plan::of(&format!("{} agent", self.name), known);
        plan.saw(self.kubelet);
        self.watch(tree, &mut plan);
        let api_file = self.api_balancer.unwrap_or(self.supervisor_balancer);
        let api_port = servers(tree, &mut plan, api_file).unwrap_or(API_PORT);
        plan.pool(Profile::Apiserver, api_port, self.credentials());
        let dialled = files::kubeconfig(tree, self.kubelet);
        let loopback = dialled.as_ref().and_then(Server::loopback);
        match (loopback, &dialled) {
            (Some(address), _) => {
                let why = format!("what the kubelet, kube-proxy and {} dial; from {}", self.name, self.kubelet);
                plan.frontends.push(Frontend::loopback(self.label, address, Profile::Apiserver, why));
                if self.api_balancer.is_some() {
                    self.supervisor(tree, &mut plan, address);
                }
            }
            // Its load balancer is switched off.
            (None, Some(server)) => plan.endpoint(server, self.kubelet),
            (None, None) => plan.missing.push(format!(
                "the address that the kubelet dials ({} does not tell): add a frontend of kind loopback",
                self.kubelet
            )),
        }
        plan.service(None, self.kubelet);
        if loopback.is_some() {
            plan.node_addresses(
                false,
                "clients with the address of one server; its agents also keep a tunnel to every server, which would then meet \
                 another one twice",
            );
        }
        plan
    }

    /// The load balancer for the supervisor listens one port above the one for the API.
    fn supervisor(&self, tree: &Tree, plan: &mut Plan, api: SocketAddr) {
        let Some(port) = servers(tree, plan, self.supervisor_balancer) else { return };
        let address = SocketAddr::new(api.ip(), api.port().saturating_add(1));
        plan.pool(Profile::Supervisor, port, self.credentials());
        let why = format!("what {} itself dials; from {}", self.name, self.supervisor_balancer);
        plan.frontends.push(Frontend::loopback("supervisor", address, Profile::Supervisor, why));
    }

    fn server(&self, tree: &Tree, known: &[IpAddr]) -> Plan {
        let mut plan = Plan::of(&format!("{} server", self.name), known);
        plan.saw(self.server_only);
        self.watch(tree, &mut plan);
        if let Some(Etcd { initial_cluster, advertise_client_urls }) = tree.parse(self.etcd) {
            plan.saw(self.etcd);
            plan.hosts(files::members(&format!("self={advertise_client_urls}")), self.etcd);
            plan.hosts(files::members(&initial_cluster), self.etcd);
        }
        plan.hosts(files::certificate_addresses(tree, self.serving), self.serving);
        plan.pool(Profile::Apiserver, API_PORT, self.credentials());
        plan.service(None, self.kubelet);
        plan.node_addresses(false, "clients with the address of one server");
        plan.left.push(self.server_left.to_owned());
        plan
    }

    fn watch(&self, tree: &Tree, plan: &mut Plan) {
        if tree.has(self.proxy) {
            plan.saw(self.proxy);
            plan.watch = Watch::Kubeconfig(self.proxy);
        } else {
            plan.missing.push(format!("{}: without it new servers are not noticed", self.proxy));
        }
    }
}

/// Where the servers listen unless told otherwise.
const API_PORT: u16 = 6443;

/// Takes over the servers that a load balancer knows; gives their port.
fn servers(tree: &Tree, plan: &mut Plan, file: &'static str) -> Option<u16> {
    let Some(Balancer { server_url, server_addresses }) = tree.parse(file) else {
        plan.missing.push(format!("{file}, which names the servers"));
        return None;
    };
    plan.saw(file);
    let addresses = server_addresses.unwrap_or_default();
    let listed: Vec<SocketAddr> = addresses
        .iter()
        .filter_map(|text| Server::of_authority(text))
        .filter_map(|server| match server {
            Server::Address(address) => Some(address),
            Server::Name(..) => None,
        })
        .collect();
    plan.hosts(listed.iter().map(SocketAddr::ip), file);
    if let Some(first) = listed.first() {
        return Some(first.port());
    }
    // It has not asked yet: what it was told to begin with is all it knows.
    match Server::of_url(&server_url)? {
        Server::Address(address) => {
            plan.hosts([address.ip()], file);
            Some(address.port())
        }
        Server::Name(name, port) => {
            plan.name(&name, file);
            Some(port)
        }
    }
}
