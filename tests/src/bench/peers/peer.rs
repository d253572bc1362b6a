//! Those that are compared, and what their users' distributions tell them.
//!
//! The settings are those that decide how fast a peer is and what it notices; what only concerns logs,
//! statistics pages or certificates of the peer itself is left out.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use clap::ValueEnum;

use crate::lab::{Lab, VIP_V4};

/// A way from a node to the control plane.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub(crate) enum Peer {
    /// Nobody in between: clients dial the servers themselves.
    Direct,
    /// This project.
    Nllb,
    /// Envoy with what k0s writes for its node-local load balancing.
    Envoy,
    /// haproxy with kubespray's settings.
    Haproxy,
    /// nginx with kubespray's settings, its default.
    Nginx,
    /// nftables rules as kube-proxy writes them for the Service.
    Nftables,
}

/// k0s's `apiServerBindPort`.
const ENVOY_PORT: u16 = 7443;
/// kubespray's `loadbalancer_apiserver_port`.
const KUBESPRAY_PORT: u16 = 6443;

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("none is hidden").get_name())
    }
}

impl Peer {
    pub(super) const ALL: [Self; 6] =
        [Self::Direct, Self::Nllb, Self::Envoy, Self::Haproxy, Self::Nginx, Self::Nftables];

    /// What clients on the node dial.
    pub(in crate::bench) fn targets(self, lab: &Lab) -> Vec<SocketAddr> {
        let local = |port| vec![(Ipv4Addr::LOCALHOST, port).into()];
        match self {
            Self::Direct => {
                lab.control_planes().iter().map(crate::lab::ControlPlane::tls).collect()
            }
            Self::Nllb | Self::Nftables => vec![(VIP_V4, 443).into()],
            Self::Envoy => local(ENVOY_PORT),
            Self::Haproxy | Self::Nginx => local(KUBESPRAY_PORT),
        }
    }
}

/// k0s: random choice, connects given up after 250 ms, a TCP check every 5 s that may take 1 s, out after 5
/// failures and in after 3 successes. Beside that a socket on which it tells of its checks.
pub(super) fn envoy(servers: &[SocketAddr], admin: &Path) -> String {
    let endpoint = |server: &SocketAddr| {
        format!("            - {{endpoint: {{address: {}}}}}\n", socket_address(*server))
    };
    let endpoints: String = servers.iter().map(endpoint).collect();
    let listen = socket_address((Ipv4Addr::LOCALHOST, ENVOY_PORT).into());
    let admin = admin.display();
    format!(
        "node: {{cluster: lab, id: lab}}
admin: {{address: {{pipe: {{path: '{admin}'}}}}}}
static_resources:
  listeners:
  - name: apiserver
    address: {listen}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: apiserver
          cluster: apiserver
  clusters:
  - name: apiserver
    type: STATIC
    connect_timeout: 0.25s
    lb_policy: RANDOM
    health_checks:
    - {{tcp_health_check: {{}}, interval: 5s, timeout: 1s, unhealthy_threshold: 5, healthy_threshold: 3}}
    load_assignment:
      cluster_name: apiserver
      endpoints:
        - lb_endpoints:
{endpoints}"
    )
}

fn socket_address(address: SocketAddr) -> String {
    format!("{{socket_address: {{address: {}, port_value: {}}}}}", address.ip(), address.port())
}

/// kubespray: the server with the fewest connections, connects tried five times and within 30 s, `/healthz`
/// over TLS every 15 s, in and out after two, and slowly back.
pub(super) fn haproxy(servers: &[SocketAddr]) -> String {
    let server = |(index, server): (usize, &SocketAddr)| {
        format!("  server cp{index} {server} check check-ssl verify none\n")
    };
    let servers: String = servers.iter().enumerate().map(server).collect();
    format!(
        "global
  maxconn 4000
defaults
  mode tcp
  maxconn 4000
  option redispatch
  retries 5
  timeout queue 5m
  timeout connect 30s
  timeout client 15m
  timeout server 15m
  timeout check 30s
frontend apiserver
  bind 127.0.0.1:{KUBESPRAY_PORT}
  default_backend apiservers
backend apiservers
  balance leastconn
  option httpchk GET /healthz
  http-check expect status 200
  default-server inter 15s downinter 15s rise 2 fall 2 slowstart 60s maxconn 1000 maxqueue 256 weight 100
{servers}"
    )
}

/// kubespray: the server with the fewest connections, connects given up after a second and tried with the
/// next; a server that failed is left alone for nginx's default of 10 s.
pub(super) fn nginx(servers: &[SocketAddr], module: &Path, directory: &Path) -> String {
    let servers: String = servers.iter().map(|server| format!("    server {server};\n")).collect();
    let (module, directory) = (module.display(), directory.display());
    format!(
        "load_module {module};
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log notice;
worker_processes 2;
worker_rlimit_nofile 130048;
events {{
  multi_accept on;
  use epoll;
  worker_connections 16384;
}}
stream {{
  upstream apiservers {{
    least_conn;
{servers}  }}
  server {{
    listen 127.0.0.1:{KUBESPRAY_PORT};
    proxy_pass apiservers;
    proxy_timeout 10m;
    proxy_connect_timeout 1s;
  }}
}}
"
    )
}

/// kube-proxy in nftables mode: a map of Services, a chain for the Service that draws, a chain for each
/// endpoint, and masquerading of what does not come from pods. Without endpoints the Service is refused.
pub(in crate::bench) fn nftables(servers: &[SocketAddr], pods: &str) -> String {
    let number = servers.len();
    let ways: Vec<_> = (0..number).map(|index| format!("{index} : goto endpoint{index}")).collect();
    let endpoint = |(index, server): (usize, &SocketAddr)| {
        format!(
            "  chain endpoint{index} {{
    ip saddr {} jump mark-for-masquerade
    meta l4proto tcp dnat to {server}
  }}\n",
            server.ip()
        )
    };
    let endpoints: String = servers.iter().enumerate().map(endpoint).collect();
    format!(
        "table ip kube-proxy
delete table ip kube-proxy
table ip kube-proxy {{
  map service-ips {{
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = {{ {VIP_V4} . tcp . 443 : goto service }}
  }}
  chain mark-for-masquerade {{
    meta mark set meta mark | 0x4000
  }}
{endpoints}  chain service {{
    ip daddr {VIP_V4} tcp dport 443 ip saddr != {pods} jump mark-for-masquerade
    numgen random mod {number} vmap {{ {} }}
  }}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @service-ips
  }}
  chain nat-prerouting {{
    type nat hook prerouting priority dstnat
    jump services
  }}
  chain nat-output {{
    type nat hook output priority -100
    jump services
  }}
  chain nat-postrouting {{
    type nat hook postrouting priority srcnat
    meta mark & 0x4000 == 0 return
    meta mark set meta mark ^ 0x4000
    masquerade fully-random
  }}
}}
",
        ways.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_of_every_server() {
        let servers: Vec<SocketAddr> =
            ["10.0.0.1:6443", "10.0.0.2:6443"].map(|text| text.parse().expect("an address")).into();
        let here = Path::new("/here");
        assert_eq!(envoy(&servers, here).matches("port_value: 6443").count(), 2);
        assert_eq!(haproxy(&servers).matches("check-ssl verify none").count(), 2);
        assert_eq!(nginx(&servers, here, here).matches("server 10.0.0.").count(), 2);
        let rules = nftables(&servers, "10.87.0.0/16");
        assert!(rules.contains("mod 2 vmap { 0 : goto endpoint0, 1 : goto endpoint1 }"), "{rules}");
        assert!(rules.contains("dnat to 10.0.0.2:6443"), "{rules}");
    }
}
