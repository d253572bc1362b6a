//! The `vip` section: the control-plane VIP that clients outside the node dial. Left out, there is none.

use super::address::{name, node_name, one_of, port};
use super::duration::{self, Limits};
use super::error::{Fault, Problem, VipProblem};
use super::place::{At, Place};
use super::pool::Pool;
use super::profile::Profile;
use nllb_core::settings::FrontendSettings;
use nllb_core::vip::{Forwarding, LeasePlan, Ownership, VipPlan, XdpMode};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Four renewals, of which one or two may fail on a busy control plane, and a takeover within three
/// seconds. Longer than a minute nobody waits for an address.
const DURATION: Limits = Limits {
    default: Duration::from_secs(2),
    min: Duration::from_secs(1),
    max: Duration::from_secs(60),
};
/// Where leader elections of the control plane have theirs.
const LEASE: (&str, &str) = ("nllb-vip", "kube-system");
/// The kernel's IFNAMSIZ, of which one byte ends the name.
const LONGEST_NAME: usize = 15;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawVip {
    addresses: Option<Spanned<Vec<Spanned<String>>>>,
    port: Option<Spanned<u64>>,
    pool: Option<Spanned<String>>,
    interface: Option<Spanned<String>>,
    mode: Option<Spanned<String>>,
    forwarding: Option<Spanned<String>>,
    ownership: Option<Spanned<String>>,
    lease: Option<Spanned<RawLease>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct RawLease {
    name: Option<Spanned<String>>,
    namespace: Option<Spanned<String>>,
    duration: Option<Spanned<String>>,
}

/// What the VIP is checked with besides its own section.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) pools: &'a [Pool],
    pub(super) frontends: &'a [FrontendSettings],
    /// Whether the cluster itself is asked for anything.
    pub(super) kubernetes: bool,
}

/// Checks the VIP.
pub(super) fn check(raw: At<RawVip>, around: Around<'_>) -> Result<VipPlan, Fault> {
    let At { place, value: raw } = raw;
    let RawVip {
        addresses,
        port: raw_port,
        pool,
        interface,
        mode,
        forwarding,
        ownership: raw_ownership,
        lease,
    } = raw;
    let pool = find_pool(&place, place.optional("pool", pool), around.pools)?;
    let addresses = place.required("addresses", "a list like [\"10.0.0.100\"]", addresses)?;
    if addresses.value.is_empty() {
        return Err(addresses.fault(Problem::Empty { what: "address, like 10.0.0.100" }));
    }
    let (mut v4, mut v6) = (None, None);
    for item in addresses.items() {
        let item = item.check(address)?;
        let first = match item.value {
            IpAddr::V4(ip) => v4.replace(ip).map(IpAddr::V4),
            IpAddr::V6(ip) => v6.replace(ip).map(IpAddr::V6),
        };
        if let Some(first) = first {
            let second = item.value;
            return Err(item.fault(VipProblem::Family { first, second }.into()));
        }
        check_address(&item, pool, around)?;
    }
    let port = common_port(&place, place.optional("port", raw_port), pool)?;
    let interface = match place.optional("interface", interface) {
        Some(raw) => Some(raw.check(interface_name)?.value),
        None => None,
    };
    let mode = match place.optional("mode", mode) {
        Some(raw) => one_of(raw, &XdpMode::ALL, XdpMode::label)?.value,
        None => XdpMode::default(),
    };
    let forwarding = match place.optional("forwarding", forwarding) {
        Some(raw) => one_of(raw, &Forwarding::ALL, Forwarding::label)?.value,
        None => Forwarding::default(),
    };
    let ownership = place.optional("ownership", raw_ownership);
    let lease = place.optional("lease", lease);
    let ownership = check_ownership(&place, ownership, lease, around.kubernetes)?;
    let pool = pool.name.clone();
    Ok(VipPlan { v4, v6, port, pool, interface, mode, forwarding, ownership })
}

/// The one that is named, or the only one of API servers.
fn find_pool<'a>(
    place: &Place,
    wanted: Option<At<String>>,
    pools: &'a [Pool],
) -> Result<&'a Pool, Fault> {
    let known = || pools.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(At { place, value: found }) = wanted {
        let pool = pools.iter().find(|pool| pool.name == found);
        return pool.ok_or_else(|| place.fault(Problem::UnknownPool { found, known: known() }));
    }
    let mut servers = pools.iter().filter(|pool| pool.profile == Profile::Apiserver);
    match (servers.next(), servers.next()) {
        (Some(only), None) => Ok(only),
        (None | Some(_), _) => {
            Err(place.named("pool").fault(Problem::PoolNeeded { known: known() }))
        }
    }
}

fn address(found: String) -> Result<IpAddr, Problem> {
    let ip = found.parse::<IpAddr>().map(|ip| ip.to_canonical());
    match ip {
        Ok(ip) if !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback()) => Ok(ip),
        Ok(_) | Err(_) => Err(VipProblem::Address { found }.into()),
    }
}

/// It must be nobody's own, in a family that members have, and what clients on this node reach under
/// it must be the same servers.
fn check_address(at: &At<IpAddr>, pool: &Pool, around: Around<'_>) -> Result<(), Fault> {
    let ip = at.value;
    let refuse = |problem: VipProblem| Err(at.clone().fault(problem.into()));
    for other in around.pools {
        if let Some(address) = other.endpoints.iter().find(|endpoint| endpoint.ip() == ip) {
            return refuse(VipProblem::Backend { address: *address, pool: other.name.clone() });
        }
    }
    let is_reachable = |endpoint: &SocketAddr| endpoint.is_ipv4() == ip.is_ipv4();
    if !pool.endpoints.is_empty() && !pool.discovered && !pool.endpoints.iter().any(is_reachable) {
        return refuse(VipProblem::Unreachable { address: ip, pool: pool.name.clone() });
    }
    let theirs = around.frontends.iter().filter(|frontend| frontend.pool != pool.name);
    let mut theirs =
        theirs.flat_map(|one| one.addresses.iter().map(move |address| (one, *address)));
    match theirs.find(|(_, address)| address.ip() == ip) {
        Some((frontend, address)) => refuse(VipProblem::Frontend {
            frontend: frontend.name.clone(),
            kind: frontend.kind.label(),
            other: frontend.pool.clone(),
            address,
            pool: pool.name.clone(),
        }),
        None => Ok(()),
    }
}

/// The port of the VIP and of every backend that is known by now.
fn common_port(place: &Place, raw: Option<At<u64>>, pool: &Pool) -> Result<u16, Fault> {
    let raw = raw.map(|raw| raw.check(port)).transpose()?;
    let usual = pool.hosts.map(|ports| ports.fixed.unwrap_or(ports.usual));
    let backends = pool.endpoints.first().map(SocketAddr::port).or(usual);
    let wanted = raw.as_ref().map(|raw| raw.value).or(backends);
    let Some(port) = wanted else {
        return Err(place.named("port").fault(Problem::Missing { example: "6443" }));
    };
    match pool.endpoints.iter().find(|endpoint| endpoint.port() != port) {
        Some(address) => {
            let place = raw.map_or_else(|| place.named("port"), |raw| raw.place);
            let (address, pool) = (*address, pool.name.clone());
            Err(place.fault(VipProblem::Port { port, address, pool }.into()))
        }
        None => Ok(port),
    }
}

/// What the kernel takes, and nothing that another part of a path or command could be.
fn interface_name(found: String) -> Result<String, Problem> {
    let fits = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    let is_name = (1..=LONGEST_NAME).contains(&found.len())
        && found.chars().all(fits)
        && !matches!(found.as_str(), "." | ".." | "lo");
    if is_name { Ok(found) } else { Err(VipProblem::Interface { found }.into()) }
}

fn check_ownership(
    place: &Place,
    raw: Option<At<String>>,
    lease: Option<At<RawLease>>,
    kubernetes: bool,
) -> Result<Ownership, Fault> {
    let known = ["lease", "ecmp", "none"];
    let named = raw.map(|raw| one_of(raw, &known, |word| word)).transpose()?;
    let (place, word) = match named {
        Some(At { place, value }) => (place, value),
        None => (place.named("ownership"), "lease"),
    };
    let ownership = match word {
        "ecmp" => Ownership::Ecmp,
        "none" => Ownership::None,
        _ if !kubernetes => {
            return Err(place.fault(Problem::Needs { other: "controlPlane.kubernetes" }));
        }
        _ => return Ok(Ownership::Lease(check_lease(&place, lease)?)),
    };
    match lease {
        Some(lease) => Err(lease.fault(Problem::Needs { other: "ownership: lease" })),
        None => Ok(ownership),
    }
}

fn check_lease(vip: &Place, raw: Option<At<RawLease>>) -> Result<LeasePlan, Fault> {
    let At { place, value: RawLease { name: raw_name, namespace, duration } } =
        raw.unwrap_or_else(|| At { place: vip.clone(), value: RawLease::default() });
    Ok(LeasePlan {
        name: match place.optional("name", raw_name) {
            Some(raw) => raw.check(lease_name)?.value,
            None => LEASE.0.to_owned(),
        },
        namespace: match place.optional("namespace", namespace) {
            Some(raw) => raw.check(name)?.value,
            None => LEASE.1.to_owned(),
        },
        duration: match place.optional("duration", duration) {
            Some(raw) => raw.check(whole_seconds)?.value,
            None => DURATION.default,
        },
    })
}

fn lease_name(found: String) -> Result<String, Problem> {
    node_name(found.clone()).map_err(|_| VipProblem::Lease { found }.into())
}

fn whole_seconds(found: String) -> Result<Duration, Problem> {
    let duration = duration::within(&found, DURATION.min, DURATION.max)?;
    if duration.subsec_nanos() == 0 {
        return Ok(duration);
    }
    let example = duration::show(Duration::from_secs(duration.as_secs() + 1));
    Err(VipProblem::Seconds { found, example }.into())
}
