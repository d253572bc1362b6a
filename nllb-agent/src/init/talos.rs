//! Talos. KubePrism listens on 127.0.0.1:7445 of every machine; the kubelet and host-network pods dial it. Who the
//! API servers are is known to Talos alone, not to a file, so the cluster is asked, and the first one comes from the
//! machine configuration where that is mounted, or from the command line.

use super::files::{self, Server};
use super::plan::{Credentials, Frontend, Plan, Profile, Watch};
use super::{Traces, Tree, Trouble};
use serde::Deserialize;
use std::net::IpAddr;

const KUBELET: &str = "/etc/kubernetes/kubeconfig-kubelet";
const KUBELET_CONFIGURATION: &str = "/etc/kubernetes/kubelet.yaml";
const MACHINE: &str = "/system/state/config.yaml";
/// Only control-plane machines have it.
const CONTROL_PLANE: &str = "/system/secrets/kubernetes/kube-apiserver";
const AUTHORITY: &str = "/etc/kubernetes/pki/ca.crt";
const CLIENT: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

pub(super) const TRACES: Traces = Traces { files: &[KUBELET], units: &[] };

const API_PORT: u16 = 6443;

#[derive(Deserialize)]
struct Machine {
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cluster {
    control_plane: ControlPlane,
}

#[derive(Deserialize)]
struct ControlPlane {
    endpoint: String,
}

#[expect(clippy::unnecessary_wraps, reason = "one signature for all distributions")]
pub(super) fn plan(tree: &Tree, known: &[IpAddr]) -> Result<Plan, Trouble> {
    let role = if tree.has(CONTROL_PLANE) { "control-plane machine" } else { "worker" };
    let mut plan = Plan::of(&format!("Talos {role}"), known);
    plan.saw(KUBELET);
    plan.watch = Watch::ServiceAccount;
    plan.pool(
        Profile::Apiserver,
        API_PORT,
        Credentials::Files { authority: AUTHORITY, client: Some((CLIENT, CLIENT)) },
    );
    let machine: Option<Machine> = tree.parse(MACHINE);
    let endpoint =
        machine.and_then(|Machine { cluster }| Server::of_url(&cluster.control_plane.endpoint));
    let dialled = files::kubeconfig(tree, KUBELET);
    match dialled.as_ref().and_then(Server::loopback) {
        Some(address) if address.port() == API_PORT => {
            plan.left.push(format!("{address}: this machine's own API server; KubePrism is off"));
        }
        Some(address) => {
            let why =
                format!("KubePrism, which the kubelet and host-network pods dial; from {KUBELET}");
            plan.frontends.push(Frontend::loopback("kubeprism", address, Profile::Apiserver, why));
        }
        None => {}
    }
    plan.service(files::vip_beside_dns(tree, KUBELET_CONFIGURATION), KUBELET_CONFIGURATION);
    let direct = dialled.filter(|server| server.loopback().is_none());
    match (endpoint, direct) {
        (Some(endpoint), _) => {
            plan.saw(MACHINE);
            plan.endpoint(&endpoint, MACHINE);
        }
        (None, Some(server)) => plan.endpoint(&server, KUBELET),
        (None, None) => {
            plan.missing.push(format!("{MACHINE}, which names the cluster's endpoint"));
            plan.node_addresses(false, "clients with the address of one control-plane machine");
        }
    }
    Ok(plan)
}
