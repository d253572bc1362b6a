//! Makes the table of a roster.

use nllb_common::addr::split;
use nllb_common::maps::{Frontend, FrontendKey, NO_HOME, PoolSet, Scope, Slot, frontend_flags};

use crate::backend::Backend;
use crate::eligible::{Candidate, Demand, Eligibility, Knowledge, Skew, decide};
use crate::maglev;
use crate::pool::fronts::KernelFrontend;
use crate::pool::roster::Roster;
use crate::settings::{FrontendKind, FrontendSettings, OnEmpty, ScopeSetting, VersionSkew};
use crate::table::{Table, TableError};

/// The table of `roster`.
pub(crate) fn build(roster: &Roster) -> Result<Table, TableError> {
    let mut table = Table::default();
    for (id, backend) in &roster.backends {
        table.verdicts.insert(id.0, backend.verdict());
        table.fresh.insert(id.0, backend.epoch);
    }
    for front in &roster.frontends {
        let settings = &roster.settings.frontends[front.index];
        table.pools.insert(u32::from(front.id), pool_set(roster, front)?);
        let value = frontend(roster, front, settings);
        for (addr, port) in front.addresses.iter().map(|addr| split(*addr)) {
            let key = |scope| FrontendKey::new(addr, port, settings.protocol, scope);
            for scope in scopes(settings.scope) {
                table.frontends.insert(key(*scope), value);
            }
        }
    }
    Ok(table)
}

/// Whether each backend of the frontend's pool may serve it, in the order of the pool.
pub(crate) fn eligibility<'a>(
    roster: &'a Roster,
    front: &KernelFrontend,
) -> impl Iterator<Item = (&'a Backend, Eligibility)> + use<'a> {
    let settings = &roster.settings.frontends[front.index];
    let demand = Demand {
        kind: settings.kind,
        coverage: &settings.coverage,
        addresses: &front.addresses,
        home: front.home,
        own: front.addresses.iter().any(|addr| roster.own.contains(&addr.ip())),
        skew: skew(roster, settings),
    };
    let candidates = roster.pool(front.pool).map(|backend| Candidate {
        certificate: knowledge(front, backend),
        version: backend.version.as_ref(),
        serving: backend.verdict().state().is_eligible(),
    });
    let candidates: Vec<_> = candidates.collect();
    roster.pool(front.pool).zip(decide(demand, &candidates))
}

/// Which versions the frontend wants. Of two that are the oldest allowed, the newer one counts.
fn skew<'a>(roster: &'a Roster, settings: &'a FrontendSettings) -> Skew<'a> {
    let FrontendSettings { version_skew, min_version, .. } = settings;
    let kubelet = match version_skew {
        VersionSkew::Kubelet => roster.kubelet_version(),
        VersionSkew::Off | VersionSkew::PreferNewest => None,
    };
    let oldest = min_version.iter().chain(kubelet).max_by_key(|version| version.release());
    Skew { oldest, newest_only: *version_skew == VersionSkew::PreferNewest }
}

/// What is known of a backend's certificate. Who was not in the maps at the start waits until it was
/// seen, since it may have been left out for good reason; when it is alive that is a matter of
/// milliseconds.
fn knowledge<'a>(front: &KernelFrontend, backend: &'a Backend) -> Knowledge<'a> {
    match (&backend.seen, &front.inherited) {
        (Some(seen), _) => Knowledge::Seen(seen),
        (None, Some(inherited)) if !inherited.joined.contains(&backend.id) => {
            Knowledge::Inherited { used: inherited.used.contains(&backend.id) }
        }
        (None, _) => backend.recalled.as_ref().map_or(Knowledge::Nothing, Knowledge::Seen),
    }
}

fn pool_set(roster: &Roster, front: &KernelFrontend) -> Result<PoolSet, TableError> {
    let (used, left_out): (Vec<_>, Vec<_>) =
        eligibility(roster, front).partition(|(_, eligibility)| eligibility.is_used());
    let (used, left_out) = (slots(&used), slots(&left_out));
    let set = PoolSet::new(&used).and_then(|set| set.with_left_out(&left_out));
    let set = set.map(|set| set.with_maglev(&maglev::table(&used)));
    set.ok_or_else(|| TableError::PoolTooLarge {
        pool: roster.settings.pools[front.pool].name.clone(),
        wanted: used.len() + left_out.len(),
    })
}

fn slots(backends: &[(&Backend, Eligibility)]) -> Vec<Slot> {
    let slot = |(backend, _): &(&Backend, Eligibility)| {
        let (addr, port) = split(backend.addr);
        Slot::new(addr, port, backend.id.0, backend.epoch)
    };
    backends.iter().map(slot).collect()
}

fn frontend(roster: &Roster, front: &KernelFrontend, settings: &FrontendSettings) -> Frontend {
    let node_address = match settings.kind {
        FrontendKind::Vip | FrontendKind::Loopback => 0,
        FrontendKind::NodeAddress => frontend_flags::NODE_ADDRESS,
    };
    let on_empty = match settings.on_empty {
        OnEmpty::PassThrough => 0,
        OnEmpty::Fail => frontend_flags::FAIL_WHEN_EMPTY,
    };
    let frontend = Frontend {
        id: front.id,
        pool: front.id,
        home: roster.home(front).and_then(|id| u16::try_from(id.0).ok()).unwrap_or(NO_HOME),
        flags: node_address | on_empty,
    };
    frontend.with_policy(settings.policy)
}

const fn scopes(setting: ScopeSetting) -> &'static [Scope] {
    match setting {
        ScopeSetting::Host => &[Scope::Host],
        ScopeSetting::All => &[Scope::Host, Scope::Other],
    }
}
