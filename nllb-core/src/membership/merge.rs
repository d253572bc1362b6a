//! Makes members of what all sources list. Pure: the same lists give the same members.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use nllb_common::maps::MAX_POOL_BACKENDS;

use crate::membership::{Plan, PoolPlan, Ports, Sighting, Source, SourceId, SourceKind};
use crate::settings::canonical;

/// Who serves each pool, and what clients dial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// In the order of the configuration.
    pub pools: Vec<PoolMembers>,
    /// The addresses that sources say clients dial.
    pub vips: Vec<SocketAddr>,
}

/// Who serves a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolMembers {
    /// Its name.
    pub name: String,
    /// Its backends: its own in their order, then by the source that counts most, then by address.
    pub members: Vec<Member>,
    /// Who is listed and is no backend.
    pub left_out: Vec<LeftOut>,
}

/// A backend, and who named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its address.
    pub addr: SocketAddr,
    /// Who named it.
    pub sources: BTreeSet<SourceId>,
}

/// Who is listed and is no backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its address.
    pub addr: SocketAddr,
    /// Who named it.
    pub sources: BTreeSet<SourceId>,
    /// Why it is no backend.
    pub why: WhyLeftOut,
}

/// Why somebody who is listed is no backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyLeftOut {
    /// The pool is full.
    Full,
    /// Clients dial that address, so connects would loop.
    Frontend,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, sources, why } = self;
        let sources = sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match why {
            WhyLeftOut::Full => write!(
                f,
                "{addr} ({sources}) is left out: a pool holds {MAX_POOL_BACKENDS} backends"
            ),
            WhyLeftOut::Frontend => {
                write!(f, "{addr} ({sources}) is left out: it is a frontend's address")
            }
        }
    }
}

/// What was there before: of the table on disk, or of the lists before the last change.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// By name of the pool.
    pub(super) pools: BTreeMap<String, BTreeSet<SocketAddr>>,
    pub(super) vips: BTreeSet<SocketAddr>,
}

impl Past {
    /// From now on these were there before. Whoever had members and has none now keeps them.
    pub(super) fn now(&mut self, members: &Members) {
        let Members { pools, vips } = members;
        let mut kept = BTreeMap::new();
        for PoolMembers { name, members, left_out: _ } in pools {
            let members: BTreeSet<_> = members.iter().map(|member| member.addr).collect();
            let before = self.pools.remove(name);
            let lasting = if members.is_empty() { before } else { Some(members) };
            kept.extend(lasting.map(|members| (name.clone(), members)));
        }
        self.pools = kept;
        if !vips.is_empty() {
            self.vips = vips.iter().copied().collect();
        }
    }
}

/// Addresses, and who named each.
type Named = BTreeMap<SocketAddr, BTreeSet<SourceId>>;

pub(super) fn merge(
    plan: &Plan,
    sources: &BTreeMap<SourceId, Source>,
    past: &Past,
    last: &Members,
    settled: bool,
) -> Members {
    let hosts: (SourceId, &[Sighting]) = (source(SourceKind::Static), &plan.hosts);
    let heard = sources.iter().filter_map(|(id, source)| {
        source.listed.as_ref().map(|listed| (id.clone(), listed.hosts.as_slice()))
    });
    let listed: Vec<(SourceId, &[Sighting])> = std::iter::once(hosts).chain(heard).collect();
    let ports = ports(&listed);
    let named: Vec<(&PoolPlan, Named)> =
        plan.pools.iter().map(|pool| (pool, named(pool, &listed, &ports))).collect();
    let mut vips = vips(plan, sources, past, settled, &named);
    let pools = named.into_iter().map(|(pool, named)| {
        let before = if settled { None } else { Some(remembered(pool, past)) };
        let chosen = chosen(plan, pool, &named, before, &vips);
        if !chosen.members.is_empty() || pool.hosts.is_none() {
            return chosen;
        }
        let before: BTreeSet<_> = &remembered(pool, past) | &lately(pool, last);
        let chosen = self::chosen(plan, pool, &named, Some(before.clone()), &vips);
        if !chosen.members.is_empty() {
            return chosen;
        }
        // Nobody at all but whom clients are said to dial: a backend is worth more than a frontend.
        vips.retain(|vip| !named.contains_key(vip) && !before.contains(vip));
        self::chosen(plan, pool, &named, Some(before), &vips)
    });
    let pools = pools.collect();
    Members { pools, vips: vips.into_iter().collect() }
}

/// The ports that sources know of each host.
fn ports(listed: &[(SourceId, &[Sighting])]) -> BTreeMap<IpAddr, BTreeSet<u16>> {
    let mut ports: BTreeMap<IpAddr, BTreeSet<u16>> = BTreeMap::new();
    for host in listed.iter().flat_map(|(_, hosts)| *hosts) {
        ports.entry(host.ip.to_canonical()).or_default().extend(host.port);
    }
    ports
}

/// Who serves a pool by what is said now. A host whose port one source does not know has the one that
/// another does.
fn named(
    pool: &PoolPlan,
    listed: &[(SourceId, &[Sighting])],
    ports: &BTreeMap<IpAddr, BTreeSet<u16>>,
) -> Named {
    let mut named = Named::new();
    let mut add = |addr: SocketAddr, id: &SourceId| {
        named.entry(canonical(addr)).or_default().insert(id.clone());
    };
    for (addr, id) in &pool.own {
        add(*addr, id);
    }
    let Some(Ports { fixed, usual }) = pool.hosts else { return named };
    for (id, hosts) in listed {
        for host in *hosts {
            let ip = host.ip.to_canonical();
            let known = ports.get(&ip).filter(|known| !known.is_empty());
            match (fixed.or(host.port), known) {
                (Some(port), _) => add(SocketAddr::new(ip, port), id),
                (None, Some(known)) => {
                    known.iter().for_each(|port| add(SocketAddr::new(ip, *port), id));
                }
                (None, None) => add(SocketAddr::new(ip, usual), id),
            }
        }
    }
    named
}

/// Who served a pool before.
fn remembered(pool: &PoolPlan, past: &Past) -> BTreeSet<SocketAddr> {
    let Some(Ports { fixed, usual: _ }) = pool.hosts else { return BTreeSet::new() };
    let before = past.pools.get(&pool.name).into_iter().flatten().copied();
    before.filter(|addr| fixed.is_none_or(|port| addr.port() == port)).collect()
}

/// Who served a pool until now.
fn lately(pool: &PoolPlan, last: &Members) -> BTreeSet<SocketAddr> {
    let last = last.pools.iter().find(|last| last.name == pool.name);
    last.into_iter().flat_map(|last| &last.members).map(|member| member.addr).collect()
}

/// What clients dial. The configuration is right where a source says otherwise: a backend that it names
/// is none of them, nor is an address of another frontend.
fn vips(
    plan: &Plan,
    sources: &BTreeMap<SourceId, Source>,
    past: &Past,
    settled: bool,
    pools: &[(&PoolPlan, Named)],
) -> BTreeSet<SocketAddr> {
    if plan.vip_frontend.is_none() {
        return BTreeSet::new();
    }
    let mut vips: BTreeSet<SocketAddr> =
        sources.values().flat_map(|source| source.vips.iter().copied()).collect();
    if vips.is_empty() || !settled {
        vips.extend(&past.vips);
    }
    let is_static = |addr: &SocketAddr| {
        let mut by = pools.iter().filter_map(|(_, named)| named.get(addr)).flatten();
        by.any(|id| id.kind == SourceKind::Static)
    };
    vips.retain(|vip| !plan.frontends.contains(vip) && !is_static(vip));
    vips
}

/// Those who become backends, and those who are left out.
fn chosen(
    plan: &Plan,
    pool: &PoolPlan,
    named: &Named,
    before: Option<BTreeSet<SocketAddr>>,
    vips: &BTreeSet<SocketAddr>,
) -> PoolMembers {
    let mut named = named.clone();
    for addr in before.into_iter().flatten() {
        named.entry(addr).or_default().insert(source(SourceKind::Table));
    }
    let mut members: Vec<Member> = Vec::new();
    for (addr, _) in &pool.own {
        let addr = canonical(*addr);
        members.extend(named.remove(&addr).map(|sources| Member { addr, sources }));
    }
    let mut others: Vec<Member> =
        named.into_iter().map(|(addr, sources)| Member { addr, sources }).collect();
    // Stable: those of one kind stay in the order of their addresses.
    others.sort_by_key(|member| member.sources.first().map(|id| id.kind));
    let mut left_out = Vec::new();
    for Member { addr, sources } in others {
        if plan.frontends.contains(&addr) || vips.contains(&addr) {
            left_out.push(LeftOut { addr, sources, why: WhyLeftOut::Frontend });
        } else if members.len() >= MAX_POOL_BACKENDS {
            left_out.push(LeftOut { addr, sources, why: WhyLeftOut::Full });
        } else {
            members.push(Member { addr, sources });
        }
    }
    PoolMembers { name: pool.name.clone(), members, left_out }
}

/// The source of a kind of which there is one.
fn source(kind: SourceKind) -> SourceId {
    SourceId { kind, name: Arc::from("") }
}
