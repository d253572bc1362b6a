//! k3s. The agent's load balancer listens on 127.0.0.1:6444 and leads to the servers' 6443, which is API server and
//! supervisor in one. On a server 127.0.0.1:6444 is the API server itself.

use super::rancher::Flavour;
use super::{Plan, Traces, Tree, Trouble};
use std::net::IpAddr;

const KUBELET: &str = "/var/lib/rancher/k3s/agent/kubelet.kubeconfig";
const SERVER: &str = "/var/lib/rancher/k3s/server/tls/server-ca.crt";

pub(super) const TRACES: Traces =
    Traces { files: &[KUBELET, SERVER], units: &["k3s.service", "k3s-agent.service"] };

const K3S: Flavour = Flavour {
    name: "k3s",
    label: "k3s",
    kubelet: KUBELET,
    proxy: "/var/lib/rancher/k3s/agent/kubeproxy.kubeconfig",
    authority: "/var/lib/rancher/k3s/agent/server-ca.crt",
    client: (
        "/var/lib/rancher/k3s/agent/client-kubelet.crt",
        "/var/lib/rancher/k3s/agent/client-kubelet.key",
    ),
    serving: "/var/lib/rancher/k3s/agent/serving-kubelet.crt",
    server_only: SERVER,
    etcd: "/var/lib/rancher/k3s/server/db/etcd/config",
    supervisor_balancer: "/var/lib/rancher/k3s/agent/etc/k3s-agent-load-balancer.json",
    api_balancer: None,
    server_left: "127.0.0.1:6443 and 127.0.0.1:6444: on a server they are its own supervisor and API server",
};

#[expect(clippy::unnecessary_wraps, reason = "one signature for all distributions")]
pub(super) fn plan(tree: &Tree, known: &[IpAddr]) -> Result<Plan, Trouble> {
    Ok(K3S.plan(tree, known))
}
