//! RKE2. The agent has two load balancers: 127.0.0.1:6443 for the API servers (6443) and 127.0.0.1:6444 for the
//! supervisors (9345). On a server 127.0.0.1:6443 and 127.0.0.1:9345 are its own.

use super::rancher::Flavour;
use super::{Plan, Traces, Tree, Trouble};
use std::net::IpAddr;

const KUBELET: &str = "/var/lib/rancher/rke2/agent/kubelet.kubeconfig";
const SERVER: &str = "/var/lib/rancher/rke2/server/tls/server-ca.crt";

pub(super) const TRACES: Traces =
    Traces { files: &[KUBELET, SERVER], units: &["rke2-server.service", "rke2-agent.service"] };

const RKE2: Flavour = Flavour {
    name: "RKE2",
    label: "rke2",
    kubelet: KUBELET,
    proxy: "/var/lib/rancher/rke2/agent/kubeproxy.kubeconfig",
    authority: "/var/lib/rancher/rke2/agent/server-ca.crt",
    client: (
        "/var/lib/rancher/rke2/agent/client-kubelet.crt",
        "/var/lib/rancher/rke2/agent/client-kubelet.key",
    ),
    serving: "/var/lib/rancher/rke2/agent/serving-kubelet.crt",
    server_only: SERVER,
    etcd: "/var/lib/rancher/rke2/server/db/etcd/config",
    supervisor_balancer: "/var/lib/rancher/rke2/agent/etc/rke2-agent-load-balancer.json",
    api_balancer: Some("/var/lib/rancher/rke2/agent/etc/rke2-api-server-agent-load-balancer.json"),
    server_left: "127.0.0.1:6443 and 127.0.0.1:9345: on a server they are its own API server and supervisor",
};

#[expect(clippy::unnecessary_wraps, reason = "one signature for all distributions")]
pub(super) fn plan(tree: &Tree, known: &[IpAddr]) -> Result<Plan, Trouble> {
    Ok(RKE2.plan(tree, known))
}
