//! What can only be checked when frontends and pools are known together.

use super::error::{Fault, Problem};
use super::frontend::Draft;
use super::listen::Http;
use super::place::{At, Place};
use super::pool::Pool;
use super::question::as_written;
use crate::reserved;
use nllb_common::maps::{Policy, Protocol};
use nllb_core::settings::{Coverage, FrontendKind, FrontendSettings};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Refuses a second use of a name.
pub(super) fn unique_names<'a>(names: impl Iterator<Item = &'a At<String>>) -> Result<(), Fault> {
    let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
    for At { place, value } in names {
        if let Some(first) = seen.insert(value, place) {
            let problem = Problem::DuplicateName { name: value.clone(), line: first.line };
            return Err(place.clone().fault(problem));
        }
    }
    Ok(())
}

/// Finds each frontend's pool and checks its addresses against all others and the agent's own.
pub(super) fn frontends(
    drafts: Vec<Draft>,
    pools: &[Pool],
    http: &Http,
) -> Result<Vec<FrontendSettings>, Fault> {
    let mut taken: Taken = BTreeMap::new();
    let mut frontends = Vec::with_capacity(drafts.len());
    // Which frontend has the addresses of the Service.
    let mut service: Option<String> = None;
    for draft in drafts {
        let Draft { place, name, addresses, pool, policy, coverage, settings } = draft;
        let pool = find_pool(&place, pool, pools)?;
        let policy = policy.map_or(Ok(pool.profile.policy()), |at| check_policy(at, pool))?;
        let coverage = check_coverage(coverage, pool)?;
        for address in &addresses {
            check_against_pool(settings.kind, address, pool)?;
            check_against_agent(address, http)?;
            claim(&mut taken, settings.protocol, address, &name.value)?;
        }
        let mut addresses: Vec<SocketAddr> = addresses.iter().map(|at| at.value).collect();
        if addresses.is_empty() && settings.kind == FrontendKind::Vip {
            let first = service.get_or_insert_with(|| name.value.clone());
            if *first != name.value {
                let problem = Problem::ServiceTaken { frontend: first.clone() };
                return Err(place.named("addresses").fault(problem));
            }
        } else if addresses.is_empty() {
            // Every endpoint is one.
            for endpoint in &pool.endpoints {
                let at = At { place: place.named("addresses"), value: *endpoint };
                check_against_agent(&at, http)?;
                claim(&mut taken, settings.protocol, &at, &name.value)?;
            }
            if !pool.discovered {
                addresses.clone_from(&pool.endpoints);
            }
        }
        let pool = pool.name.clone();
        frontends.push(FrontendSettings { addresses, pool, policy, coverage, ..settings });
    }
    Ok(frontends)
}

fn find_pool<'a>(
    place: &Place,
    wanted: Option<At<String>>,
    pools: &'a [Pool],
) -> Result<&'a Pool, Fault> {
    let known = || pools.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>().join(", ");
    match (wanted, pools) {
        (Some(wanted), _) => {
            let At { place, value: found } = wanted;
            let pool = pools.iter().find(|pool| pool.name == found);
            pool.ok_or_else(|| place.fault(Problem::UnknownPool { found, known: known() }))
        }
        (None, [only]) => Ok(only),
        (None, _) => Err(place.named("pool").fault(Problem::PoolNeeded { known: known() })),
    }
}

/// A connection that is closed for another server's sake must be able to get there.
fn check_policy(policy: At<Policy>, pool: &Pool) -> Result<Policy, Fault> {
    if policy.value != Policy::Affinity || pool.rebalance.is_none() {
        return Ok(policy.value);
    }
    Err(policy.fault(Problem::ClosesInVain { pool: pool.name.clone() }))
}

/// Where no probe sees a certificate none can be asked for.
fn check_coverage(coverage: At<Coverage>, pool: &Pool) -> Result<Coverage, Fault> {
    match (&coverage.value, &pool.check.kind) {
        (_, kind) if kind.uses_tls() => Ok(coverage.value),
        (Coverage::ServerName(_), kind) => {
            let (pool, kind) = (pool.name.clone(), as_written(kind));
            Err(coverage.fault(Problem::NoCertificate { pool, kind }))
        }
        (Coverage::Address | Coverage::Trusted, _) => Ok(Coverage::Trusted),
    }
}

/// A vip or loopback frontend must be no backend, a node address must be one, as far as that is known.
fn check_against_pool(kind: FrontendKind, at: &At<SocketAddr>, pool: &Pool) -> Result<(), Fault> {
    let address = at.value;
    let name = || pool.name.clone();
    let problem = match (kind, pool.endpoints.contains(&address)) {
        (FrontendKind::Vip | FrontendKind::Loopback, true) => {
            Problem::Loop { address, pool: name() }
        }
        (FrontendKind::NodeAddress, false) if !pool.discovered => {
            Problem::NotAnEndpoint { address, pool: name() }
        }
        (FrontendKind::Vip | FrontendKind::Loopback, false) | (FrontendKind::NodeAddress, _) => {
            return Ok(());
        }
    };
    Err(at.clone().fault(problem))
}

/// A frontend there would translate what is meant for the agent.
fn check_against_agent(at: &At<SocketAddr>, http: &Http) -> Result<(), Fault> {
    let address = at.value;
    let problem = if reserved::SELF_TEST.contains(&address) || reserved::API.contains(&address) {
        Problem::Reserved { address }
    } else if address == http.listen {
        Problem::OwnListener { address }
    } else {
        return Ok(());
    };
    Err(at.clone().fault(problem))
}

/// Which frontend has an address.
type Taken = BTreeMap<(Protocol, SocketAddr), String>;

fn claim(
    taken: &mut Taken,
    protocol: Protocol,
    at: &At<SocketAddr>,
    name: &str,
) -> Result<(), Fault> {
    match taken.insert((protocol, at.value), name.to_owned()) {
        None => Ok(()),
        Some(frontend) => {
            Err(at.clone().fault(Problem::DuplicateAddress { address: at.value, frontend }))
        }
    }
}
