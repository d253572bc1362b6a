//! What must hold of settings before a table is made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use nllb_common::maps::{MAX_POOL_BACKENDS, Protocol};

use crate::settings::{FrontendKind, FrontendSettings, PoolSettings, ScopeSetting, Settings};
use crate::table::{BACKEND_LIMIT, FRONTEND_LIMIT, POOL_LIMIT, TableError};

/// Checks canonical settings.
pub(crate) fn settings(settings: &Settings) -> Result<(), TableError> {
    let pools = pools(&settings.pools)?;
    frontends(&settings.frontends, &pools)
}

fn pools(pools: &[PoolSettings]) -> Result<BTreeMap<&str, &PoolSettings>, TableError> {
    let mut by_name = BTreeMap::new();
    for pool in pools {
        if by_name.insert(pool.name.as_str(), pool).is_some() {
            return Err(TableError::DuplicatePool { pool: pool.name.clone() });
        }
        let wanted = pool.endpoints.len();
        if wanted > MAX_POOL_BACKENDS {
            return Err(TableError::PoolTooLarge { pool: pool.name.clone(), wanted });
        }
    }
    let wanted = pools.iter().map(|pool| pool.endpoints.len()).sum();
    if wanted > BACKEND_LIMIT {
        return Err(TableError::TooManyBackends { wanted });
    }
    Ok(by_name)
}

fn frontends(
    frontends: &[FrontendSettings],
    pools: &BTreeMap<&str, &PoolSettings>,
) -> Result<(), TableError> {
    let mut names = BTreeSet::new();
    let mut owners: BTreeMap<(Protocol, SocketAddr), &str> = BTreeMap::new();
    let (mut kernel_pools, mut keys) = (0, 0);
    for front in frontends {
        if !names.insert(&front.name) {
            return Err(TableError::DuplicateFrontend { frontend: front.name.clone() });
        }
        let Some(pool) = pools.get(front.pool.as_str()) else {
            let (frontend, pool) = (front.name.clone(), front.pool.clone());
            return Err(TableError::UnknownPool { frontend, pool });
        };
        let addresses = addresses(front, pool)?;
        for address in &addresses {
            if let Some(first) = owners.insert((front.protocol, **address), &front.name) {
                let (first, second) = (first.to_owned(), front.name.clone());
                return Err(TableError::DuplicateAddress { address: **address, first, second });
            }
        }
        kernel_pools += match front.kind {
            FrontendKind::Vip | FrontendKind::Loopback => 1,
            FrontendKind::NodeAddress => addresses.len(),
        };
        keys += match front.scope {
            ScopeSetting::Host => addresses.len(),
            ScopeSetting::All => 2 * addresses.len(),
        };
    }
    if kernel_pools > POOL_LIMIT {
        return Err(TableError::TooManyPools { wanted: kernel_pools });
    }
    if keys > FRONTEND_LIMIT {
        return Err(TableError::TooManyFrontends { wanted: keys });
    }
    Ok(())
}

/// The addresses of a frontend; those of a node-address frontend must be somebody's own.
fn addresses<'a>(
    front: &'a FrontendSettings,
    pool: &'a PoolSettings,
) -> Result<Vec<&'a SocketAddr>, TableError> {
    match front.kind {
        FrontendKind::Vip | FrontendKind::Loopback => Ok(front.addresses.iter().collect()),
        FrontendKind::NodeAddress => {
            let addresses = front.node_addresses(pool);
            match addresses.iter().find(|address| !pool.endpoints.contains(address)) {
                None => Ok(addresses),
                Some(address) => Err(TableError::NoHome {
                    frontend: front.name.clone(),
                    address: **address,
                    pool: pool.name.clone(),
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests;
