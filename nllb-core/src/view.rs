//! An owned snapshot of everything the machine knows, for status and metrics.

use std::net::SocketAddr;
use std::time::Instant;

use nllb_common::maps::{Policy, Protocol};

use crate::backend::BackendId;
use crate::eligible::Eligibility;
use crate::pool::fronts::KernelFrontend;
use crate::pool::roster::Roster;
use crate::rtt::RttSlot;
use crate::settings::{
    Coverage, FrontendKind, FrontendSettings, OnEmpty, PoolSettings, ScopeSetting, VersionSkew,
};
use crate::table;
use crate::version::KubeVersion;

mod backend;

pub use backend::{BackendView, ProbeSummary, SentinelView};

/// Everything the machine knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The frontends; a node-address frontend appears once per address.
    pub frontends: Vec<FrontendView>,
    /// The pools, in the order of the settings.
    pub pools: Vec<PoolView>,
    /// The version of this node's kubelet.
    pub kubelet_version: Option<KubeVersion>,
}

/// A frontend and who may serve it.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontendView {
    /// Name in the settings.
    pub name: String,
    /// Id in the maps, which is also the index of its kernel pool.
    pub id: u16,
    /// What sort of address it has.
    pub kind: FrontendKind,
    /// What clients speak to it.
    pub protocol: Protocol,
    /// The addresses; for a node address exactly one.
    pub addresses: Vec<SocketAddr>,
    /// Name of the pool behind it.
    pub pool: String,
    /// From where it can be dialled.
    pub scope: ScopeSetting,
    /// What happens to a connect when the pool has nobody.
    pub on_empty: OnEmpty,
    /// Which certificate a backend must show to serve it.
    pub coverage: Coverage,
    /// How one of the eligible backends is chosen.
    pub policy: Policy,
    /// Which backends are too old to serve it.
    pub version_skew: VersionSkew,
    /// The oldest minor version that may serve it.
    pub min_version: Option<KubeVersion>,
    /// For a node address: the backend whose own address it is.
    pub home: Option<BackendId>,
    /// Every backend of the pool, with whether it may serve this frontend.
    pub backends: Vec<FrontendBackend>,
}

/// A backend as seen from a frontend.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontendBackend {
    /// The backend.
    pub id: BackendId,
    /// Its address.
    pub addr: SocketAddr,
    /// Whether its certificate lets it serve the frontend.
    pub eligibility: Eligibility,
}

/// A pool and its backends.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolView {
    /// Name in the settings.
    pub name: String,
    /// The backends, in the order of the settings.
    pub backends: Vec<BackendView>,
    /// How many nodes the cluster has, when it was told.
    pub nodes: Option<u64>,
}

/// The round trips of a backend in the last hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryView {
    /// Name of its pool.
    pub pool: String,
    /// Its address.
    pub addr: SocketAddr,
    /// Slots of [`RTT_SLOT`](crate::rtt::RTT_SLOT), the oldest first; `None` where there was no round trip.
    /// The last one is not over yet.
    pub slots: Vec<Option<RttSlot>>,
}

impl HistoryView {
    pub(crate) fn of(roster: &Roster, now: Instant) -> Vec<Self> {
        let pools = roster.settings.pools.iter().enumerate();
        let of_pool = |(index, settings): (usize, &PoolSettings)| {
            let name = settings.name.clone();
            roster.pool(index).map(move |backend| Self {
                pool: name.clone(),
                addr: backend.addr,
                slots: backend.rtt_history.until(now),
            })
        };
        pools.flat_map(of_pool).collect()
    }
}

impl View {
    pub(crate) fn of(roster: &Roster) -> Self {
        let pools = roster.settings.pools.iter().enumerate();
        Self {
            frontends: roster
                .frontends
                .iter()
                .map(|front| FrontendView::of(roster, front))
                .collect(),
            pools: pools.map(|(index, settings)| PoolView::of(roster, index, settings)).collect(),
            kubelet_version: roster.kubelet_version().cloned(),
        }
    }
}

impl FrontendView {
    fn of(roster: &Roster, front: &KernelFrontend) -> Self {
        let FrontendSettings {
            name,
            kind,
            protocol,
            addresses: _,
            pool,
            scope,
            on_empty,
            coverage,
            policy,
            version_skew,
            min_version,
        } = &roster.settings.frontends[front.index];
        let backends = table::eligibility(roster, front);
        Self {
            name: name.clone(),
            id: front.id,
            kind: *kind,
            protocol: *protocol,
            addresses: front.addresses.clone(),
            pool: pool.clone(),
            scope: *scope,
            on_empty: *on_empty,
            coverage: coverage.clone(),
            policy: *policy,
            version_skew: *version_skew,
            min_version: min_version.clone(),
            home: roster.home(front),
            backends: backends
                .map(|(backend, eligibility)| FrontendBackend {
                    id: backend.id,
                    addr: backend.addr,
                    eligibility,
                })
                .collect(),
        }
    }
}

impl PoolView {
    fn of(roster: &Roster, index: usize, settings: &PoolSettings) -> Self {
        let health = roster.health_of(index).unwrap_or(settings.health);
        let backends = roster.pool(index).map(|backend| {
            let alone = roster.is_alone(backend.id);
            BackendView::of(backend, &health, alone)
        });
        Self {
            name: settings.name.clone(),
            backends: backends.collect(),
            nodes: roster.nodes_of(index),
        }
    }
}
