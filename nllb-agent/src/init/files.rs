//! The formats that several distributions share, each as far as it is of use: kubeconfig, static pods, the
//! kubelet's configuration, addresses in URLs and certificates, units.

use super::tree::Tree;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use x509_parser::extensions::GeneralName;

/// Who is dialled: by address or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Address(SocketAddr),
    Name(String, u16),
}

impl Server {
    /// The server of a URL like `https://10.0.0.11:6443`.
    pub(super) fn of_url(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("https://")?;
        let authority = rest.split('/').next().unwrap_or(rest);
        Self::of_authority(authority).or_else(|| Self::of_authority(&format!("{authority}:443")))
    }

    /// What stands in a URL: address or name, and the port.
    pub(super) fn of_authority(authority: &str) -> Option<Self> {
        if let Ok(address) = authority.parse::<SocketAddr>() {
            return Some(Self::Address(canonical(address)));
        }
        let (name, port) = authority.rsplit_once(':')?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if name.is_empty() || !name.chars().all(fits) {
            return None;
        }
        let port = port.parse().ok()?;
        Some(match name {
            // What every resolver says of it; the frontend is the IPv4 one.
            "localhost" => Self::Address((Ipv4Addr::LOCALHOST, port).into()),
            _ => Self::Name(name.to_owned(), port),
        })
    }

    /// The address, when it is one of this host's loopback.
    pub(super) fn loopback(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) if address.ip().is_loopback() => Some(*address),
            Self::Address(_) | Self::Name(..) => None,
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[derive(Deserialize)]
struct Kubeconfig {
    clusters: Vec<NamedCluster>,
}

#[derive(Deserialize)]
struct NamedCluster {
    cluster: Cluster,
}

#[derive(Deserialize)]
struct Cluster {
    server: String,
}

/// The server of a kubeconfig's first cluster. Those that a distribution writes have one.
pub(super) fn kubeconfig(tree: &Tree, path: &str) -> Option<Server> {
    let Kubeconfig { clusters } = tree.parse(path)?;
    Server::of_url(&clusters.first()?.cluster.server)
}

#[derive(Deserialize)]
struct Pod {
    spec: PodSpec,
}

#[derive(Deserialize)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    command: Vec<String>,
    args: Vec<String>,
    env: Vec<Variable>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Variable {
    name: String,
    value: String,
}

/// The containers of a static pod.
pub(super) struct StaticPod(Vec<Container>);

impl StaticPod {
    pub(super) fn read(tree: &Tree, path: &str) -> Option<Self> {
        tree.parse(path).map(|Pod { spec }| Self(spec.containers))
    }

    /// The value of a flag like `--secure-port`.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        let words =
            self.0.iter().flat_map(|container| container.command.iter().chain(&container.args));
        flag(words.map(String::as_str), name)
    }

    /// The value of an environment variable.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let mut variables = self.0.iter().flat_map(|container| &container.env);
        Some(&variables.find(|variable| variable.name == name)?.value)
    }
}

/// The value of `--name=value`.
pub(super) fn flag<'a>(words: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    let mut words = words.map(str::trim);
    words
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .map(|value| value.trim_matches(['"', '\'']))
}

/// The addresses in etcd's `name=https://address:port,…`; API servers run on the same hosts.
pub(super) fn members(initial_cluster: &str) -> Vec<IpAddr> {
    let urls = initial_cluster.split(',').filter_map(|member| Some(member.split_once('=')?.1));
    let servers = urls.filter_map(Server::of_url);
    servers
        .filter_map(|server| match server {
            Server::Address(address) => Some(address.ip()),
            Server::Name(..) => None,
        })
        .collect()
}

#[derive(Deserialize)]
struct KubeletConfiguration {
    #[serde(default, rename = "clusterDNS")]
    cluster_dns: Vec<IpAddr>,
}

/// The address of the Service `kubernetes`, as the address of the cluster's DNS tells.
///
/// Kubernetes gives it the first address of the Service range; the distributions give the DNS the tenth.
pub(super) fn vip_beside_dns(tree: &Tree, kubelet: &str) -> Option<IpAddr> {
    let KubeletConfiguration { cluster_dns } = tree.parse(kubelet)?;
    first_when_tenth(*cluster_dns.first()?)
}

/// Only of private addresses: those of a DNS cache on the node (169.254.20.10) are in no Service range.
fn first_when_tenth(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let private = v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64);
            let bits = v4.to_bits();
            (private && bits & 0xff == 10).then(|| Ipv4Addr::from_bits(bits - 9).into())
        }
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            (v6.is_unique_local() && bits & 0xffff == 10)
                .then(|| Ipv6Addr::from_bits(bits - 9).into())
        }
    }
}

/// The address of the Service `kubernetes`: the first of the first range of `--service-cluster-ip-range`. It has no
/// other one, also where there are two ranges.
pub(super) fn vip_of_ranges(ranges: &str) -> Option<IpAddr> {
    let start = ranges.split(',').next()?.split_once('/')?.0;
    Some(match start.trim().parse().ok()? {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().checked_add(1)?).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().checked_add(1)?).into(),
    })
}

/// The addresses in a certificate.
pub(super) fn certificate_addresses(tree: &Tree, path: &str) -> Vec<IpAddr> {
    let addresses = || {
        let der = CertificateDer::from_pem_slice(tree.read(path)?.as_bytes()).ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        Some(names.value.general_names.iter().filter_map(address).collect())
    };
    addresses().unwrap_or_default()
}

fn address(name: &GeneralName<'_>) -> Option<IpAddr> {
    let GeneralName::IPAddress(bytes) = name else { return None };
    match bytes.len() {
        4 => Some(IpAddr::from(*bytes.first_chunk::<4>()?)),
        16 => Some(IpAddr::from(*bytes.first_chunk::<16>()?)),
        _ => None,
    }
}

/// The unit that runs, of these.
pub(super) fn running<'a>(tree: &Tree, units: &[&'a str]) -> Option<&'a str> {
    let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let runs = |unit: &&str| mounts.iter().any(|at| tree.has(&format!("{at}/system.slice/{unit}")));
    units.iter().copied().find(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_server_is_an_address_or_a_name() {
        let address = |text: &str| Some(Server::Address(text.parse().expect("an address")));
        assert_eq!(Server::of_url("https://10.0.0.11:6443"), address("10.0.0.11:6443"));
        assert_eq!(Server::of_url("https://[fd00::1]:6443/"), address("[fd00::1]:6443"));
        assert_eq!(Server::of_url("https://10.0.0.11"), address("10.0.0.11:443"));
        assert_eq!(Server::of_url("https://localhost:7445"), address("127.0.0.1:7445"));
        assert_eq!(
            Server::of_url("https://cp.example:6443"),
            Some(Server::Name("cp.example".into(), 6443))
        );
        for bad in [
            "http://10.0.0.11:6443",
            "https://:6443",
            "https://",
            "https://a:b:6443",
            "https://a:99999",
            "https://a\"\n:1",
        ] {
            assert_eq!(Server::of_url(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_service_is_beside_the_dns_only_where_that_is_in_a_service_range() {
        for (dns, vip) in
            [("10.96.0.10", "10.96.0.1"), ("100.64.0.10", "100.64.0.1"), ("fd00::a", "fd00::1")]
        {
            assert_eq!(first_when_tenth(ip(dns)), Some(ip(vip)), "{dns}");
        }
        for other in ["169.254.20.10", "10.96.0.53", "8.8.8.10", "fe80::a", "fd00::1:b"] {
            assert_eq!(first_when_tenth(ip(other)), None, "{other}");
        }
    }

    #[test]
    fn ranges_members_and_flags() {
        assert_eq!(vip_of_ranges("10.96.0.0/12,fd00:10::/108"), Some(ip("10.96.0.1")));
        assert_eq!(vip_of_ranges("fd00:10::/108"), Some(ip("fd00:10::1")));
        assert_eq!(vip_of_ranges("10.96.0.0"), None);
        let cluster = "a=https://10.0.0.11:2380,b=https://[fd00::2]:2380,c=https://name:2380,d";
        assert_eq!(members(cluster), [ip("10.0.0.11"), ip("fd00::2")]);
        let words = ["kube-apiserver", "--secure-port=6443", " --bind=\"::\""];
        assert_eq!(flag(words.into_iter(), "--secure-port"), Some("6443"));
        assert_eq!(flag(words.into_iter(), "--bind"), Some("::"));
        assert_eq!(flag(words.into_iter(), "--secure"), None);
    }
}
