//! k0s. Its node-local load balancer, a static pod with Envoy or Traefik, listens on loopback: 7443 leads to the API
//! servers, 7132 to the konnectivity servers. Its configuration is below /run/k0s/nllb. The kubelet of a controller
//! that is a worker too dials its own API server; konnectivity-agent and pods do as on any worker.

use super::files::{self, Server};
use super::plan::{Credentials, Frontend, Plan, Profile, Watch};
use super::{Traces, Tree, Trouble};
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};

const KUBELET: &str = "/var/lib/k0s/kubelet.conf";
const ADMIN: &str = "/var/lib/k0s/pki/admin.conf";
const SERVING: &str = "/var/lib/k0s/pki/server.crt";
/// On controllers, and on workers that joined before k0s 1.33.
const AUTHORITY: &str = "/var/lib/k0s/pki/ca.crt";
/// Where k0s writes the kubelet's configuration today, and where it did before.
const KUBELET_CONFIGURATIONS: [&str; 2] =
    ["/run/k0s/kubelet/config.yaml", "/var/lib/k0s/kubelet-config.yaml"];
const ENVOY: (&str, &str) = ("/run/k0s/nllb/envoy/envoy.yaml", "/run/k0s/nllb/envoy/cds.yaml");
const TRAEFIK: (&str, &str) =
    ("/run/k0s/nllb/traefik/config.yaml", "/run/k0s/nllb/traefik/routing.yaml");

pub(super) const TRACES: Traces =
    Traces { files: &[KUBELET, ADMIN], units: &["k0scontroller.service", "k0sworker.service"] };

const API_PORT: u16 = 6443;

pub(super) fn plan(tree: &Tree, known: &[IpAddr]) -> Result<Plan, Trouble> {
    let is_controller = tree.has(ADMIN);
    let title = match (is_controller, tree.has(KUBELET)) {
        (true, true) => "k0s controller that is a worker too",
        (true, false) => {
            let why = "no kubelet and no pods run here, so nothing on this host dials what could be translated";
            return Err(Trouble::NothingToDo {
                title: "k0s controller".to_owned(),
                why: why.to_owned(),
            });
        }
        (false, _) => "k0s worker",
    };
    let mut plan = Plan::of(title, known);
    plan.saw(KUBELET);
    plan.watch = Watch::Kubelet(KUBELET);
    let balancer = envoy(tree).or_else(|| traefik(tree));
    if let Some(Balancer { file, servers, .. }) = &balancer {
        plan.saw(*file);
        plan.hosts(servers.iter().map(SocketAddr::ip), file);
    }
    let dialled = files::kubeconfig(tree, KUBELET);
    let port = balancer
        .as_ref()
        .and_then(|balancer| balancer.servers.first())
        .map_or(API_PORT, SocketAddr::port);
    // On a controller the kubeconfig's server may be the loopback, which is no backend for others.
    let credentials = match dialled.as_ref().and_then(Server::loopback) {
        Some(_) => Credentials::Files { authority: AUTHORITY, client: Some((CLIENT, CLIENT)) },
        None => Credentials::Kubeconfig(KUBELET),
    };
    plan.pool(Profile::Apiserver, port, credentials);
    if is_controller {
        plan.hosts(own(tree), SERVING);
        plan.left.push(format!(
            "port {port} of this host: its own API server, which its kubelet dials on purpose"
        ));
    }
    match balancer {
        Some(balancer) => balanced(tree, &mut plan, &balancer),
        None => {
            plan.missing.push("node-local load balancing (nothing in /run/k0s/nllb): it is off, or k0s does not run".to_owned());
            if let Some(server) = dialled.filter(|server| server.loopback().is_none()) {
                plan.endpoint(&server, KUBELET);
            }
        }
    }
    let configuration = tree.first(&KUBELET_CONFIGURATIONS).unwrap_or(KUBELET_CONFIGURATIONS[0]);
    plan.service(files::vip_beside_dns(tree, configuration), configuration);
    plan.check_names(&files::certificate_addresses(tree, SERVING), SERVING);
    Ok(plan)
}

/// What `bootstrap` leaves for the kubelet.
const CLIENT: &str = "/var/lib/k0s/kubelet/pki/kubelet-client-current.pem";

/// The addresses of this host that its API server's certificate carries, without those of Services.
fn own(tree: &Tree) -> Vec<IpAddr> {
    let mut addresses = files::certificate_addresses(tree, SERVING);
    let services: Vec<IpAddr> = KUBELET_CONFIGURATIONS
        .iter()
        .filter_map(|file| files::vip_beside_dns(tree, file))
        .collect();
    addresses.retain(|address| !services.contains(address));
    addresses
}

fn balanced(tree: &Tree, plan: &mut Plan, balancer: &Balancer) {
    let why =
        format!("k0s' node-local load balancer, which the kubelet dials; from {}", balancer.file);
    plan.frontends.push(Frontend::loopback("k0s", balancer.api, Profile::Apiserver, why));
    let Some((address, port)) = balancer.konnectivity else { return };
    // Only a handshake is made there, so nothing is given to an impostor.
    let credentials = match tree.has(AUTHORITY) {
        true => Credentials::Files { authority: AUTHORITY, client: None },
        false => Credentials::Unverified,
    };
    plan.pool(Profile::Konnectivity, port, credentials);
    let why = format!(
        "what konnectivity-agent dials as localhost, in turn to meet every server; from {}",
        balancer.file
    );
    let frontend = Frontend::loopback("konnectivity", address, Profile::Konnectivity, why);
    plan.frontends.push(Frontend { server_name: Some("localhost"), ..frontend });
    plan.node_addresses(false, "clients with the address of one controller");
}

/// What k0s' own load balancer does.
struct Balancer {
    file: &'static str,
    api: SocketAddr,
    /// Where it listens, and the port behind.
    konnectivity: Option<(SocketAddr, u16)>,
    servers: Vec<SocketAddr>,
}

/// The part of a pair with this name.
fn named<T>(parts: &[(String, T)], name: &str) -> Option<T>
where
    T: Clone,
{
    parts.iter().find(|(known, _)| known == name).map(|(_, part)| part.clone())
}

impl Balancer {
    fn of(
        file: &'static str,
        listeners: &[(String, SocketAddr)],
        clusters: &[(String, Vec<SocketAddr>)],
    ) -> Option<Self> {
        let behind =
            named(clusters, "konnectivity").and_then(|servers| Some(servers.first()?.port()));
        Some(Self {
            file,
            api: named(listeners, "apiserver")?,
            konnectivity: named(listeners, "konnectivity").zip(behind),
            servers: named(clusters, "apiserver")?,
        })
    }
}

#[derive(Deserialize)]
struct EnvoyBootstrap {
    static_resources: StaticResources,
}

#[derive(Deserialize)]
struct StaticResources {
    listeners: Vec<Listener>,
}

#[derive(Deserialize)]
struct Listener {
    name: String,
    address: Address,
}

#[derive(Deserialize)]
struct Address {
    socket_address: SocketAddress,
}

#[derive(Deserialize)]
struct SocketAddress {
    address: IpAddr,
    port_value: u16,
}

#[derive(Deserialize)]
struct EnvoyClusters {
    resources: Vec<EnvoyCluster>,
}

#[derive(Deserialize)]
struct EnvoyCluster {
    name: String,
    load_assignment: LoadAssignment,
}

#[derive(Deserialize)]
struct LoadAssignment {
    endpoints: Vec<Locality>,
}

#[derive(Deserialize)]
struct Locality {
    lb_endpoints: Vec<LbEndpoint>,
}

#[derive(Deserialize)]
struct LbEndpoint {
    endpoint: Endpoint,
}

#[derive(Deserialize)]
struct Endpoint {
    address: Address,
}

impl From<Address> for SocketAddr {
    fn from(Address { socket_address: SocketAddress { address, port_value } }: Address) -> Self {
        Self::new(address, port_value)
    }
}

fn envoy(tree: &Tree) -> Option<Balancer> {
    let (bootstrap, clusters) = ENVOY;
    let EnvoyBootstrap { static_resources } = tree.parse(bootstrap)?;
    let EnvoyClusters { resources } = tree.parse(clusters)?;
    let listeners: Vec<(String, SocketAddr)> = static_resources
        .listeners
        .into_iter()
        .map(|Listener { name, address }| (name, address.into()))
        .collect();
    let clusters: Vec<(String, Vec<SocketAddr>)> = resources
        .into_iter()
        .map(|EnvoyCluster { name, load_assignment }| {
            let endpoints =
                load_assignment.endpoints.into_iter().flat_map(|locality| locality.lb_endpoints);
            (name, endpoints.map(|LbEndpoint { endpoint }| endpoint.address.into()).collect())
        })
        .collect();
    Balancer::of(ENVOY.1, &listeners, &clusters)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TraefikInstall {
    entry_points: std::collections::BTreeMap<String, TraefikServer>,
}

#[derive(Deserialize)]
struct TraefikServer {
    address: SocketAddr,
}

#[derive(Deserialize)]
struct TraefikRouting {
    tcp: TraefikTcp,
}

#[derive(Deserialize)]
struct TraefikTcp {
    services: std::collections::BTreeMap<String, TraefikService>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TraefikService {
    load_balancer: TraefikBalancer,
}

#[derive(Deserialize)]
struct TraefikBalancer {
    servers: Vec<TraefikServer>,
}

fn traefik(tree: &Tree) -> Option<Balancer> {
    let TraefikInstall { entry_points } = tree.parse(TRAEFIK.0)?;
    let TraefikRouting { tcp } = tree.parse(TRAEFIK.1)?;
    let listeners: Vec<(String, SocketAddr)> =
        entry_points.into_iter().map(|(name, TraefikServer { address })| (name, address)).collect();
    let clusters: Vec<(String, Vec<SocketAddr>)> = tcp
        .services
        .into_iter()
        .map(|(name, TraefikService { load_balancer })| {
            (
                name,
                load_balancer
                    .servers
                    .into_iter()
                    .map(|TraefikServer { address }| address)
                    .collect(),
            )
        })
        .collect();
    Balancer::of(TRAEFIK.1, &listeners, &clusters)
}
