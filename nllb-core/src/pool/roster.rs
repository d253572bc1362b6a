//! Who is there: the backends and kernel frontends of the settings, with their ids.
//!
//! New settings give a new roster made with an eye on the old one. So a bad configuration changes
//! nothing, and what stays keeps its ids and all that is known of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use nllb_common::maps::{MAX_BACKENDS, State};

use crate::backend::{Backend, BackendId};
use crate::band::Band;
use crate::ids;
use crate::pool::answer::Census;
use crate::pool::check;
use crate::pool::fronts::{Identity, KernelFrontend};
use crate::pool::shares::Shares;
use crate::pool::witness::Quiet;
use crate::settings::{
    FrontendSettings, HealthSettings, PoolSettings, Settings, VersionSkew, canonical,
};
use crate::table::TableError;
use crate::version::KubeVersion;

/// The backends and kernel frontends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    pub(crate) settings: Settings,
    /// By id.
    pub(crate) backends: BTreeMap<BackendId, Backend>,
    /// By index of the pool, in the order of its endpoints.
    pub(crate) members: Vec<Vec<BackendId>>,
    pub(crate) frontends: Vec<KernelFrontend>,
    /// The last epoch of each id that was ever in use.
    pub(crate) epochs: BTreeMap<BackendId, u32>,
    /// Addresses of this host.
    pub(crate) own: BTreeSet<IpAddr>,
    /// The version of this node's kubelet, when it was told over a sentinel.
    pub(crate) kubelet: Option<KubeVersion>,
    /// What rebalancing keeps, by index of the pool.
    pub(crate) shares: BTreeMap<usize, Shares>,
    /// What is known of the cluster, by index of the pool.
    pub(crate) census: BTreeMap<usize, Census>,
    /// When nobody of a pool was heard, by index of the pool.
    pub(crate) quiet: BTreeMap<usize, Quiet>,
}

/// A backend that the maps hold when the agent starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Index of its pool in the settings; `None` for the first that has its address.
    pub(crate) pool: Option<usize>,
    pub(crate) addr: SocketAddr,
    pub(crate) id: BackendId,
    pub(crate) epoch: u32,
    pub(crate) state: State,
    /// Whether the verdict has the bit of doubt.
    pub(crate) doubted: bool,
    /// The latency band of the verdict.
    pub(crate) band: u8,
}

impl Roster {
    /// The roster of other settings. What stays keeps its ids.
    pub(crate) fn rearranged(
        &self,
        settings: Settings,
        seed: u32,
        now: Instant,
    ) -> Result<Self, TableError> {
        let settings = settings.canonical();
        check::settings(&settings)?;
        let (epochs, own, kubelet) = (self.epochs.clone(), self.own.clone(), self.kubelet.clone());
        let mut next = Self { settings, epochs, own, kubelet, ..Self::default() };
        let kept = next.places().filter_map(|place| Some((place, self.find(next.key(place))?)));
        let kept = kept.map(|(place, backend)| (place, backend.clone())).collect();
        let lately = self.backends.keys().map(|id| id.0).collect();
        next.fill(kept, &lately, seed, now);
        let before: BTreeMap<Identity<'_>, u16> =
            self.frontends.iter().map(|front| (self.identity(front), front.id)).collect();
        let lately = before.values().copied().map(u32::from).collect();
        let frontends = next.plan_frontends(|_, identity| before.get(&identity).copied(), &lately);
        next.frontends = frontends;
        next.shares = next.kept(self, |roster| &roster.shares, || Some(Shares::new(seed, now)));
        next.census = next.kept(self, |roster| &roster.census, || Some(Census::new(seed)));
        next.quiet = next.kept(self, |roster| &roster.quiet, || None);
        Ok(next)
    }

    /// What `old` keeps by pool, for the pools that stay, and what is fresh for the others.
    fn kept<T: Clone>(
        &self,
        old: &Self,
        keeps: impl Fn(&Self) -> &BTreeMap<usize, T>,
        fresh: impl Fn() -> Option<T>,
    ) -> BTreeMap<usize, T> {
        let named = |name: &str| old.settings.pools.iter().position(|pool| pool.name == name);
        let one = |(index, pool): (usize, &PoolSettings)| {
            let kept = named(&pool.name).and_then(|index| keeps(old).get(&index)).cloned();
            Some((index, kept.or_else(&fresh)?))
        };
        self.settings.pools.iter().enumerate().filter_map(one).collect()
    }

    /// Every (pool, endpoint) of the settings, by index.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> + use<'_> {
        let sizes = self.settings.pools.iter().map(|pool| pool.endpoints.len()).enumerate();
        sizes.flat_map(|(pool, size)| (0..size).map(move |endpoint| (pool, endpoint)))
    }

    fn address(&self, (pool, endpoint): (usize, usize)) -> SocketAddr {
        self.settings.pools[pool].endpoints[endpoint]
    }

    fn key(&self, place: (usize, usize)) -> (&str, SocketAddr) {
        (&self.settings.pools[place.0].name, self.address(place))
    }

    /// The backend of the pool with this name that has this address.
    pub(crate) fn find(&self, (pool, addr): (&str, SocketAddr)) -> Option<&Backend> {
        let index = self.settings.pools.iter().position(|settings| settings.name == pool)?;
        self.pool(index).find(|backend| backend.addr == addr)
    }

    /// Puts the backends that are known in their places and new ones in the others.
    fn fill(
        &mut self,
        mut known: BTreeMap<(usize, usize), Backend>,
        lately: &BTreeSet<u32>,
        seed: u32,
        now: Instant,
    ) {
        let taken: BTreeSet<u32> = known.values().map(|backend| backend.id.0).collect();
        let mut free = ids::free(0..MAX_BACKENDS, &taken, lately).map(BackendId);
        self.backends.clear();
        self.members = vec![Vec::new(); self.settings.pools.len()];
        for place in self.places().collect::<Vec<_>>() {
            let backend = known.remove(&place).or_else(|| {
                let id = free.next()?;
                let epoch = self.epochs.get(&id).map_or(1, |last| last.wrapping_add(1).max(1));
                Some(Backend::new((id, epoch), self.address(place), seed, now))
            });
            // There are at most as many backends as ids: `check` saw to it.
            let Some(mut backend) = backend else { continue };
            backend.pool = place.0;
            backend.sentinel.configure(&self.settings.pools[place.0].health);
            if !self.settings.pools[place.0].latency_bands {
                backend.band.forget();
            }
            if let Some(standing) = self.settings.pools[place.0].standings.get(&backend.addr) {
                backend.band = Band::adopted(standing.band, now);
                backend.leaving = standing.leaving;
            } else {
                backend.leaving = false;
            }
            self.members[place.0].push(backend.id);
            self.epochs.insert(backend.id, backend.epoch);
            self.backends.insert(backend.id, backend);
        }
    }

    /// Gives the places of `known` the ids, epochs and states that it names, and new ids to the rest.
    pub(crate) fn adopt(&mut self, known: impl Iterator<Item = Known>, seed: u32, now: Instant) {
        let mut given = BTreeMap::new();
        let mut lately = BTreeSet::new();
        for Known { pool, addr, id, epoch, state, doubted, band } in known {
            if id.0 >= MAX_BACKENDS || !lately.insert(id.0) {
                continue;
            }
            self.raise_epoch(id, epoch);
            let addr = canonical(addr);
            let open = |place: &(usize, usize)| {
                pool.is_none_or(|pool| pool == place.0)
                    && self.address(*place) == addr
                    && !given.contains_key(place)
            };
            if let Some(place) = self.places().find(open) {
                let mut backend = Backend::new((id, epoch), addr, seed, now);
                backend.band = Band::adopted(band, now);
                given.insert(place, backend.adopted(state, doubted));
            }
        }
        self.fill(given, &lately, seed, now);
    }

    /// Notes that `id` had `epoch` once.
    pub(crate) fn raise_epoch(&mut self, id: BackendId, epoch: u32) {
        let last = self.epochs.entry(id).or_insert(epoch);
        *last = epoch.max(*last);
    }

    /// The version of this node's kubelet: as the operator says, else as the API server does.
    pub(crate) fn kubelet_version(&self) -> Option<&KubeVersion> {
        self.settings.kubelet_version.as_ref().or(self.kubelet.as_ref())
    }

    /// Whether some frontend asks for versions, so that who is in service decides who may serve.
    pub(crate) fn asks_for_versions(&self) -> bool {
        let asks = |front: &FrontendSettings| {
            front.version_skew != VersionSkew::Off || front.min_version.is_some()
        };
        self.settings.frontends.iter().any(asks)
    }

    /// The backends of a pool, in the order of its endpoints.
    pub(crate) fn pool(&self, index: usize) -> impl Iterator<Item = &Backend> {
        let ids = self.members.get(index).into_iter().flatten();
        ids.filter_map(|id| self.backends.get(id))
    }

    /// The rules of a pool, as they suit the size of its cluster.
    pub(crate) fn health_of(&self, pool: usize) -> Option<HealthSettings> {
        Some(self.settings.pools.get(pool)?.health.scaled(self.nodes_of(pool)))
    }

    /// How many nodes the cluster behind a pool has, when it was told. Where the pool's own backends do
    /// not tell, as etcd's, the largest number that others told: the same nodes ask them all.
    pub(crate) fn nodes_of(&self, pool: usize) -> Option<u64> {
        let own = self.census.get(&pool).and_then(|census| census.nodes);
        own.or_else(|| self.census.values().filter_map(|census| census.nodes).max())
    }

    /// A backend of this epoch, with the rules of its pool.
    pub(crate) fn backend_mut(
        &mut self,
        id: BackendId,
        epoch: u32,
    ) -> Option<(&mut Backend, HealthSettings)> {
        let pool = self.backends.get(&id).filter(|backend| backend.epoch == epoch)?.pool;
        let settings = self.health_of(pool)?;
        Some((self.backends.get_mut(&id)?, settings))
    }

    /// Every backend, with the rules of its pool.
    pub(crate) fn backends_mut(&mut self) -> impl Iterator<Item = (&mut Backend, HealthSettings)> {
        let pools = 0..self.settings.pools.len();
        let rules: Vec<_> = pools.map(|pool| self.health_of(pool)).collect();
        self.backends.values_mut().filter_map(move |backend| {
            let settings = rules.get(backend.pool).copied().flatten()?;
            Some((backend, settings))
        })
    }
}
