//! The `services` section: Services besides the API server's, of the cluster or given here.

use super::address::{host, name, one_of, port as port_number};
use super::error::{Fault, Problem, ServiceProblem};
use super::place::{At, Place};
use super::pool::Pool;
use super::probe::{Preset, Probe, RawProbe};
use super::profile::Profile;
use crate::health_check::{ClientIdentity, Credentials, Dns, HealthCheck, Kind, Material};
use nllb_common::maps::Protocol;
use nllb_core::Sighting;
use nllb_core::services::{
    PortChoice, ServiceAddress, ServiceEndpoint, ServiceListing, ServicePlan, ServicePool, Topology,
};
use nllb_core::settings::{HealthSettings, OnEmpty};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// The port whose probe is a question to a name server, when nothing else is said.
const DNS: u16 = 53;
/// What `frontends` are for.
const API: &str = "default/kubernetes";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawService {
    name: Option<Spanned<String>>,
    ports: Option<Spanned<Vec<Spanned<String>>>>,
    addresses: Option<Spanned<Vec<Spanned<String>>>>,
    endpoints: Option<Spanned<Vec<Spanned<String>>>>,
    topology: Option<Spanned<String>>,
    on_empty: Option<Spanned<String>>,
    probe: Option<Spanned<RawProbe>>,
}

/// A Service, and how its endpoints are probed.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// What the core needs.
    pub plan: ServicePlan,
    /// The probe of port 53, and that of any other; the same where the configuration says the kind.
    checks: [HealthCheck; 2],
}

impl Service {
    /// Checks an entry; `asked` says whether the cluster can be asked.
    pub(super) fn check(raw: At<RawService>, asked: bool) -> Result<(At<String>, Self), Fault> {
        let At { place, value: raw } = raw;
        let RawService { name, ports, addresses, endpoints, topology, on_empty, probe } = raw;
        let name = place.required("name", "a Service like kube-system/kube-dns", name)?;
        let name = name.check(|found| service_name(found, addresses.is_some()))?;
        let ports = match place.optional("ports", ports) {
            Some(raw) if raw.value.is_empty() => {
                return Err(raw.fault(Problem::Empty { what: "port, like dns or 53/udp" }));
            }
            Some(raw) => raw.items(),
            None => Vec::new(),
        };
        let ports: Vec<At<PortChoice>> =
            ports.into_iter().map(|item| item.check(port_choice)).collect::<Result<_, _>>()?;
        let addresses = place.optional("addresses", addresses);
        let endpoints = place.optional("endpoints", endpoints);
        let given = match (addresses, endpoints) {
            (Some(addresses), endpoints) => Some(given(&place, &ports, addresses, endpoints)?),
            (None, Some(endpoints)) => {
                return Err(endpoints.fault(Problem::Needs { other: "addresses" }));
            }
            (None, None) if asked => None,
            (None, None) => {
                return Err(name.fault(Problem::Needs { other: "controlPlane.kubernetes" }));
            }
        };
        let topology = place.optional("topology", topology);
        let topology = topology.map(|raw| one_of(raw, &Topology::ALL, Topology::label));
        let on_empty = place.optional("onEmpty", on_empty);
        let known = [OnEmpty::PassThrough, OnEmpty::Fail];
        let on_empty = on_empty.map(|raw| one_of(raw, &known, OnEmpty::label));
        let probe = place
            .optional("probe", probe)
            .unwrap_or_else(|| At { place: place.named("probe"), value: RawProbe::default() });
        let (health, checks) = probes(probe)?;
        let service = Self {
            plan: ServicePlan {
                name: name.value.as_str().into(),
                ports: ports.into_iter().map(|port| port.value).collect(),
                topology: topology.transpose()?.map_or(Topology::None, |at| at.value),
                on_empty: on_empty.transpose()?.map_or(OnEmpty::PassThrough, |at| at.value),
                health,
                given,
            },
            checks,
        };
        Ok((name, service))
    }

    /// How the endpoints of a port are probed that is served over these protocols.
    ///
    /// # Errors
    /// When nothing could be asked: why, and what to do.
    pub fn probe(&self, port: u16, protocols: &BTreeSet<Protocol>) -> Result<HealthCheck, String> {
        let [dns, other] = &self.checks;
        let mut check = if port == DNS { dns } else { other }.clone();
        let over_tcp = protocols.contains(&Protocol::Tcp);
        match &mut check.kind {
            Kind::Dns(dns) => dns.tcp = !protocols.contains(&Protocol::Udp),
            Kind::Https(_) | Kind::Http(_) | Kind::Tcp | Kind::Tls | Kind::Grpc { .. } => {
                if !over_tcp && check.port.is_none() {
                    let kind = check.kind.label();
                    return Err(format!(
                        "nobody answers a probe of kind {kind} over UDP; give the Service probe.kind: dns, or probe.port"
                    ));
                }
            }
        }
        Ok(check)
    }

    /// Whether a pool is one of its ports.
    #[must_use]
    pub fn has_pool(&self, pool: &str) -> bool {
        self.port_of(pool).is_some()
    }

    /// Whether a line about what is left out is about it: its name, or that of one of its pools, begins the line.
    #[must_use]
    pub fn is_named_by(&self, line: &str) -> bool {
        let rest = line.strip_prefix(&*self.plan.name);
        rest.is_some_and(|rest| rest.starts_with([':', ' ']))
    }

    fn port_of(&self, pool: &str) -> Option<u16> {
        let port = pool.strip_prefix(&*self.plan.name)?.strip_prefix(':')?;
        port.split('/').next()?.parse().ok()
    }

    /// The same by the name of the pool; `None` when it is none of its own.
    #[must_use]
    pub fn probe_of(&self, pool: &str, protocols: &BTreeSet<Protocol>) -> Option<HealthCheck> {
        self.probe(self.port_of(pool)?, protocols).ok()
    }

    /// A pool of it as the driver has pools.
    #[must_use]
    pub fn pool(&self, check: HealthCheck, pool: &ServicePool) -> Pool {
        Pool {
            name: pool.settings.name.clone(),
            profile: Profile::Service,
            endpoints: pool.settings.endpoints.clone(),
            own: Vec::new(),
            hosts: None,
            discovered: true,
            kubeconfig: None,
            borrows: false,
            health: self.plan.health,
            check,
            latency_bands: false,
            rebalance: None,
            unresolved: Vec::new(),
        }
    }

    /// Whether it may be dialled over UDP: of a Service that the cluster tells of, as far as the ports say.
    #[must_use]
    pub fn may_have_datagrams(&self) -> bool {
        let ServicePlan { ports, given, .. } = &self.plan;
        let over_tcp =
            |port: &PortChoice| matches!(port, PortChoice::Number(_, Some(Protocol::Tcp)));
        match given {
            Some(given) => given.addresses.iter().any(|one| one.protocol == Protocol::Udp),
            None => ports.is_empty() || !ports.iter().all(over_tcp),
        }
    }

    /// What is asked, in words.
    #[must_use]
    pub fn question(&self) -> String {
        let [dns, other] = &self.checks;
        if dns == other {
            return dns.to_string();
        }
        format!("{} for port {DNS}, else {}", dns.kind.label(), other.kind.label())
    }

    /// The files that it is made of, and what each is.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let Credentials { authority, client, token, .. } = &self.checks[1].credentials;
        let client = client.iter().flat_map(|ClientIdentity { certificate, key }| {
            [("a client certificate", certificate), ("a client key", key)]
        });
        let authority = authority.iter().map(|authority| ("a CA", authority));
        let token = token.iter().map(|token| ("a bearer token", token));
        let materials = authority.chain(client).chain(token);
        materials.filter_map(|(what, material): (_, &Material)| Some((what, material.path()?)))
    }
}

/// The rules of the machine, and the probes of port 53 and of any other.
fn probes(raw: At<RawProbe>) -> Result<(HealthSettings, [HealthCheck; 2]), Fault> {
    let asks =
        |kind| Preset { kind: Some(kind), no_sentinel: Some("services"), ..Preset::default() };
    let dns = Kind::Dns(Dns::default());
    // Who says what is to be asked for means a name server.
    let other = if raw.value.asks_a_name() { dns.clone() } else { Kind::Tcp };
    let Probe { place, health, check: other } = Probe::check(raw.clone(), asks(other))?;
    let is_given = raw.value.has_kind();
    let dns = if is_given { other.clone() } else { Probe::check(raw, asks(dns))?.check };
    let Credentials { authority, insecure_skip_verify, .. } = &other.credentials;
    if other.kind.uses_tls() && authority.is_none() && !insecure_skip_verify {
        return Err(place.named("caFile").fault(ServiceProblem::NoAuthority.into()));
    }
    Ok((health, [dns, other]))
}

/// `namespace/name`, or any name where the configuration says the rest.
fn service_name(found: String, given: bool) -> Result<String, Problem> {
    if found == API {
        return Err(ServiceProblem::OfApi.into());
    }
    let label = |text: &str| name(text.to_owned()).is_ok();
    let fits = match found.split_once('/') {
        Some((namespace, service)) => label(namespace) && label(service),
        None => given && label(&found),
    };
    if fits { Ok(found) } else { Err(ServiceProblem::Name { found }.into()) }
}

/// `dns`, `53`, `53/udp`.
fn port_choice(found: String) -> Result<PortChoice, Problem> {
    let bad = |found: String| Problem::from(ServiceProblem::Port { found });
    let (number, protocol) = match found.split_once('/') {
        Some((number, protocol)) => {
            let known = Protocol::ALL.into_iter().find(|known| known.label() == protocol);
            (number, Some(known.ok_or_else(|| bad(found.clone()))?))
        }
        None => (found.as_str(), None),
    };
    match (number.parse::<u64>(), protocol) {
        (Ok(number), _) => Ok(PortChoice::Number(port_number(number)?, protocol)),
        (Err(_), None) if name(found.clone()).is_ok() => Ok(PortChoice::Name(found)),
        (Err(_), _) => Err(bad(found)),
    }
}

/// What a Service offers that the cluster is not asked for. A port without a protocol is TCP's.
fn given(
    place: &Place,
    ports: &[At<PortChoice>],
    addresses: At<Vec<Spanned<String>>>,
    endpoints: Option<At<Vec<Spanned<String>>>>,
) -> Result<ServiceListing, Fault> {
    if ports.is_empty() {
        let example = "a list like [53/udp, 53/tcp], since the cluster is not asked";
        return Err(place.named("ports").fault(Problem::Missing { example }));
    }
    let mut wanted: BTreeSet<(u16, Protocol)> = BTreeSet::new();
    for At { place, value } in ports {
        match value {
            PortChoice::Number(number, protocol) => {
                wanted.insert((*number, protocol.unwrap_or_default()));
            }
            PortChoice::Name(found) => {
                return Err(place
                    .clone()
                    .fault(ServiceProblem::Port { found: found.clone() }.into()));
            }
        }
    }
    let one_port = wanted.iter().map(|(number, _)| number).collect::<BTreeSet<_>>().len() == 1;
    let vips = filled(addresses, "address, like 10.96.0.10")?;
    let vips: Vec<At<IpAddr>> =
        vips.into_iter().map(|item| item.check(vip)).collect::<Result<_, _>>()?;
    let example = "a list like [\"10.244.0.5\"], since the cluster is not asked";
    let endpoints =
        endpoints.ok_or_else(|| place.named("endpoints").fault(Problem::Missing { example }))?;
    let mut listing = ServiceListing::default();
    for item in filled(endpoints, "endpoint, like 10.244.0.5")? {
        let item = item.check(host)?;
        let Sighting { ip, port: own, .. } = item.value;
        if own.is_some() && !one_port {
            return Err(item.fault(ServiceProblem::PortOfMany.into()));
        }
        if vips.iter().any(|vip| vip.value == ip) {
            return Err(item.fault(ServiceProblem::EndpointIsVip { ip }.into()));
        }
        listing.endpoints.extend(wanted.iter().map(|(number, protocol)| {
            let addr = SocketAddr::new(ip, own.unwrap_or(*number));
            ServiceEndpoint::ready(addr, number.to_string().into(), *protocol)
        }));
    }
    for At { value: vip, .. } in vips {
        listing.addresses.extend(wanted.iter().map(|(number, protocol)| ServiceAddress {
            vip: SocketAddr::new(vip, *number),
            port: number.to_string().into(),
            protocol: *protocol,
        }));
    }
    Ok(listing)
}

fn filled(raw: At<Vec<Spanned<String>>>, what: &'static str) -> Result<Vec<At<String>>, Fault> {
    if raw.value.is_empty() { Err(raw.fault(Problem::Empty { what })) } else { Ok(raw.items()) }
}

/// An address that clients dial, at any of the ports.
fn vip(found: String) -> Result<IpAddr, Problem> {
    let Ok(ip) = found.parse::<IpAddr>() else { return Err(ServiceProblem::Vip { found }.into()) };
    let ip = ip.to_canonical();
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
        return Err(ServiceProblem::Vip { found }.into());
    }
    Ok(ip)
}
