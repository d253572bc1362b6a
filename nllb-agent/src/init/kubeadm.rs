//! kubeadm, and what is built on it. Nothing listens on loopback by itself: clients dial the control plane's
//! endpoint, which is one host, a virtual address or a name, and pods the Service. Some installers add a proxy on
//! every worker (kubespray's nginx or HAProxy), which is then what the kubelet dials.

use super::files::{self, Server, StaticPod};
use super::plan::{Credentials, Frontend, Plan, Profile, Watch};
use super::{Traces, Tree, Trouble};
use std::net::{IpAddr, SocketAddr};

const KUBELET: &str = "/etc/kubernetes/kubelet.conf";
const ADMIN: &str = "/etc/kubernetes/admin.conf";
const KUBELET_CONFIGURATION: &str = "/var/lib/kubelet/config.yaml";
const APISERVER: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const ETCD: &str = "/etc/kubernetes/manifests/etcd.yaml";
const KUBE_VIP: &str = "/etc/kubernetes/manifests/kube-vip.yaml";
const KEEPALIVED: &str = "/etc/keepalived/keepalived.conf";
const SERVING: &str = "/etc/kubernetes/pki/apiserver.crt";
/// What a proxy on the worker balances over.
const PROXIES: [&str; 2] = ["/etc/nginx/nginx.conf", "/etc/haproxy/haproxy.cfg"];
const AUTHORITY: &str = "/etc/kubernetes/pki/ca.crt";
const CLIENT: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

pub(super) const TRACES: Traces = Traces { files: &[KUBELET], units: &["kubelet.service"] };

const API_PORT: u16 = 6443;

#[expect(clippy::unnecessary_wraps, reason = "one signature for all distributions")]
pub(super) fn plan(tree: &Tree, known: &[IpAddr]) -> Result<Plan, Trouble> {
    Ok(match StaticPod::read(tree, APISERVER) {
        Some(apiserver) => control_plane(tree, known, &apiserver),
        None => worker(tree, known),
    })
}

fn worker(tree: &Tree, known: &[IpAddr]) -> Plan {
    let mut plan = Plan::of("kubeadm worker", known);
    plan.saw(KUBELET);
    plan.watch = Watch::Kubelet(KUBELET);
    let dialled = files::kubeconfig(tree, KUBELET);
    let mut port = API_PORT;
    match (&dialled, dialled.as_ref().and_then(Server::loopback)) {
        (_, Some(address)) => {
            for file in PROXIES {
                let servers = proxied(&tree.read(file).unwrap_or_default());
                if let Some(first) = servers.first() {
                    plan.saw(file);
                    port = first.port();
                }
                plan.hosts(servers.iter().map(SocketAddr::ip), file);
            }
            let why = format!("a proxy on this host, which the kubelet dials; from {KUBELET}");
            plan.frontends.push(Frontend::loopback("local", address, Profile::Apiserver, why));
            plan.node_addresses(false, "clients with the address of one control-plane node");
        }
        (Some(server), None) => plan.endpoint(server, KUBELET),
        (None, None) => plan
            .missing
            .push(format!("the address that the kubelet dials ({KUBELET} does not tell)")),
    }
    plan.pool(Profile::Apiserver, port, credentials());
    plan.service(files::vip_beside_dns(tree, KUBELET_CONFIGURATION), KUBELET_CONFIGURATION);
    plan
}

fn control_plane(tree: &Tree, known: &[IpAddr], apiserver: &StaticPod) -> Plan {
    let mut plan = Plan::of("kubeadm control-plane node", known);
    plan.saw(APISERVER);
    plan.watch = Watch::Kubelet(KUBELET);
    let own: Option<IpAddr> =
        apiserver.flag("--advertise-address").and_then(|address| address.parse().ok());
    plan.hosts(own, APISERVER);
    if let Some(etcd) = StaticPod::read(tree, ETCD) {
        plan.saw(ETCD);
        plan.hosts(files::members(etcd.flag("--initial-cluster").unwrap_or_default()), ETCD);
    }
    let port =
        apiserver.flag("--secure-port").and_then(|port| port.parse().ok()).unwrap_or(API_PORT);
    plan.pool(Profile::Apiserver, port, credentials());
    match files::kubeconfig(tree, ADMIN) {
        Some(server) => plan.endpoint(&server, ADMIN),
        None => plan.missing.push(format!("the control plane's endpoint ({ADMIN} does not tell)")),
    }
    if let Some((file, address)) = virtual_addresses(tree) {
        let address = SocketAddr::new(address, port);
        if plan.frontends.iter().any(|frontend| frontend.addresses.contains(&address)) {
            plan.saw(file);
        } else {
            plan.vip(
                "virtual-address",
                vec![address],
                format!("the control plane's virtual address; from {file}"),
            );
        }
    }
    let ranges = apiserver.flag("--service-cluster-ip-range").unwrap_or_default();
    plan.service(files::vip_of_ranges(ranges), APISERVER);
    if let Some(own) = own.map(|own| SocketAddr::new(own, port)) {
        // Before kubeadm 1.33 the kubelet dials the endpoint here, too.
        let by_kubelet = files::kubeconfig(tree, KUBELET) == Some(Server::Address(own));
        let who = if by_kubelet { ", which its kubelet dials" } else { "" };
        plan.left.push(format!("{own}: this host's own API server{who}"));
    }
    plan.check_names(&files::certificate_addresses(tree, SERVING), SERVING);
    plan
}

fn credentials() -> Credentials {
    Credentials::Files { authority: AUTHORITY, client: Some((CLIENT, CLIENT)) }
}

/// The first address that kube-vip or keepalived holds for the control plane.
fn virtual_addresses(tree: &Tree) -> Option<(&'static str, IpAddr)> {
    let kube_vip = || {
        let pod = StaticPod::read(tree, KUBE_VIP)?;
        // Its name before kube-vip 0.8.
        let address = pod.variable("address").or_else(|| pod.variable("vip_address"))?;
        Some((KUBE_VIP, address.parse().ok()?))
    };
    let keepalived = || {
        let text = tree.read(KEEPALIVED)?;
        let (_, block) = text.split_once("virtual_ipaddress")?;
        let block = block.split_once('{')?.1.split('}').next()?;
        let word = block.split_whitespace().next()?;
        Some((KEEPALIVED, word.split('/').next()?.parse().ok()?))
    };
    kube_vip().or_else(keepalived)
}

/// The addresses on the `server` lines of nginx (`server 10.0.0.11:6443;`) and HAProxy (`server name 10.0.0.11:6443
/// check`).
fn proxied(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("server "));
    lines
        .filter_map(|rest| rest.split([' ', ';']).take(2).find_map(|word| word.parse().ok()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_a_proxy_are_read_from_both_kinds_of_configuration() {
        let nginx = "upstream kube_apiserver {\n  least_conn;\n  server 10.0.0.11:6443;\n}\nserver {\n  listen 127.0.0.1:6443;\n}\n";
        let haproxy = "backend kube_api_backend\n  default-server inter 15s\n  server cp-1 10.0.0.11:6443 check check-ssl\n";
        let address: SocketAddr = "10.0.0.11:6443".parse().expect("an address");
        assert_eq!(proxied(nginx), [address]);
        assert_eq!(proxied(haproxy), [address]);
    }
}
