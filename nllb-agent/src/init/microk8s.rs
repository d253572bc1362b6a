//! MicroK8s. A worker's apiserver-proxy listens on port 16443 of every address, its kubelet and kube-proxy dial
//! 127.0.0.1:16443. On every other member that is its own API server.

use super::files::{self, Server};
use super::plan::{Credentials, Frontend, Plan, Profile, Watch};
use super::{Traces, Tree, Trouble};
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};

const KUBELET: &str = "/var/snap/microk8s/current/credentials/kubelet.config";
/// Its user may watch Services and EndpointSlices.
const PROXY: &str = "/var/snap/microk8s/current/credentials/proxy.config";
/// What the apiserver-proxy balances over; a worker's alone is in use.
const PROVIDER: &str = "/var/snap/microk8s/current/args/traefik/provider.yaml";
const NO_PROXY: &str = "/var/snap/microk8s/current/var/lock/no-apiserver-proxy";
const CLUSTERED: &str = "/var/snap/microk8s/current/var/lock/clustered.lock";
/// The members of the datastore, each of which runs an API server.
const MEMBERS: &str = "/var/snap/microk8s/current/var/kubernetes/backend/cluster.yaml";
const APISERVER: &str = "/var/snap/microk8s/current/args/kube-apiserver";
const SERVING: &str = "/var/snap/microk8s/current/certs/server.crt";
const CLIENT: (&str, &str) = (
    "/var/snap/microk8s/current/certs/kubelet.crt",
    "/var/snap/microk8s/current/certs/kubelet.key",
);

pub(super) const TRACES: Traces = Traces {
    files: &[KUBELET],
    units: &[
        "snap.microk8s.daemon-kubelite.service",
        "snap.microk8s.daemon-apiserver-proxy.service",
    ],
};

const API_PORT: u16 = 16443;

#[derive(Deserialize)]
struct Provider {
    tcp: Tcp,
}

#[derive(Deserialize)]
struct Tcp {
    services: Services,
}

#[derive(Deserialize)]
struct Services {
    #[serde(rename = "kube-apiserver")]
    apiserver: Service,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    load_balancer: LoadBalancer,
}

#[derive(Deserialize)]
struct LoadBalancer {
    #[serde(default)]
    servers: Option<Vec<Member>>,
}

/// `address` in one file, `Address` in the other.
#[derive(Deserialize)]
struct Member {
    #[serde(alias = "Address")]
    address: String,
}

#[expect(clippy::unnecessary_wraps, reason = "one signature for all distributions")]
pub(super) fn plan(tree: &Tree, known: &[IpAddr]) -> Result<Plan, Trouble> {
    let is_worker = tree.has(CLUSTERED) && !tree.has(NO_PROXY);
    Ok(if is_worker { worker(tree, known) } else { member(tree, known) })
}

fn worker(tree: &Tree, known: &[IpAddr]) -> Plan {
    let mut plan = Plan::of("MicroK8s worker", known);
    plan.saw(CLUSTERED);
    plan.watch = Watch::Kubeconfig(PROXY);
    let listed =
        tree.parse(PROVIDER).map(|Provider { tcp }| tcp.services.apiserver.load_balancer.servers);
    let servers = addresses(&listed.flatten().unwrap_or_default());
    if servers.is_empty() {
        plan.missing.push(format!("{PROVIDER}, which names the API servers"));
    } else {
        plan.saw(PROVIDER);
    }
    plan.hosts(servers.iter().map(SocketAddr::ip), PROVIDER);
    let port = servers.first().map_or(API_PORT, SocketAddr::port);
    let authority = "/var/snap/microk8s/current/certs/ca.remote.crt";
    plan.pool(Profile::Apiserver, port, Credentials::Files { authority, client: Some(CLIENT) });
    let dialled = files::kubeconfig(tree, KUBELET);
    match dialled.as_ref().and_then(Server::loopback) {
        Some(address) => {
            let why = format!("what the kubelet and kube-proxy dial; from {KUBELET}");
            plan.frontends.push(Frontend::loopback("microk8s", address, Profile::Apiserver, why));
            plan.node_addresses(false, "clients with the address of one member");
        }
        None => match &dialled {
            Some(server) => plan.endpoint(server, KUBELET),
            None => plan.missing.push(format!(
                "the address that the kubelet dials ({KUBELET} does not tell): add a frontend of kind loopback"
            )),
        },
    }
    plan.service(None, KUBELET);
    plan
}

fn member(tree: &Tree, known: &[IpAddr]) -> Plan {
    let mut plan = Plan::of("MicroK8s control-plane member", known);
    plan.saw(APISERVER);
    plan.watch = Watch::Kubeconfig(PROXY);
    let members = addresses(&tree.parse::<Vec<Member>>(MEMBERS).unwrap_or_default());
    if !members.is_empty() {
        plan.saw(MEMBERS);
    }
    // The port is the datastore's.
    plan.hosts(members.iter().map(SocketAddr::ip), MEMBERS);
    let text = tree.read(APISERVER).unwrap_or_default();
    let secure_port = files::flag(text.lines(), "--secure-port").and_then(|port| port.parse().ok());
    let port = secure_port.unwrap_or(API_PORT);
    let authority = "/var/snap/microk8s/current/certs/ca.crt";
    plan.pool(Profile::Apiserver, port, Credentials::Files { authority, client: Some(CLIENT) });
    plan.service(None, APISERVER);
    plan.node_addresses(false, "clients with the address of one member");
    plan.left.push(format!(
        "127.0.0.1:{port}: on a member of the control plane it is its own API server"
    ));
    plan.check_names(&files::certificate_addresses(tree, SERVING), SERVING);
    plan
}

fn addresses(members: &[Member]) -> Vec<SocketAddr> {
    members.iter().filter_map(|member| member.address.parse().ok()).collect()
}
