//! Services besides the API server's: what each offers, and which of its endpoints this node goes to.
//!
//! Unlike the control plane's hosts (`membership`) these are somebody's alone: one source lists a Service,
//! as a whole, and is believed. A Service that is gone, or has no endpoints, leaves its addresses to
//! whoever serves them without nllb; while a source is silent what it listed last stays.
//!
//! A port of a Service becomes a pool. Where the same endpoints serve it over TCP and UDP, as with DNS,
//! that is one pool with two frontends, so that each is probed once.

mod choose;
mod listing;
mod ports;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::heard::Heard;
use crate::membership::{SourceId, SourceKind, SourceView};
use crate::pool::check;
use crate::settings::{
    Coverage, FrontendKind, FrontendSettings, HealthSettings, OnEmpty, PoolSettings, ScopeSetting,
    Settings,
};

pub use choose::{Here, Topology};
pub use listing::{ServiceAddress, ServiceEndpoint, ServiceListing};
pub use ports::{PortChoice, ServicePool};

/// What the configuration says of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePlan {
    /// Its name, `namespace/name` where the cluster is asked for it.
    pub name: Arc<str>,
    /// Which of its ports; none for all of them.
    pub ports: Vec<PortChoice>,
    /// Which endpoints are preferred.
    pub topology: Topology,
    /// What happens to a connect when there is no endpoint.
    pub on_empty: OnEmpty,
    /// When to probe and what to conclude.
    pub health: HealthSettings,
    /// What it offers where the configuration says it; `None` where the cluster is asked.
    pub given: Option<ServiceListing>,
}

/// The Services, what is known of each, and what follows.
#[derive(Clone, Debug, Default)]
pub struct Services {
    plans: Vec<ServicePlan>,
    here: Here,
    /// The zone that the node's own object has.
    told: Heard<Option<Arc<str>>>,
    /// Those that the cluster is asked for.
    heard: BTreeMap<Arc<str>, Heard<ServiceListing>>,
}

/// What the machine can go by, and what it cannot, one line each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offered {
    /// The pools, in the order of their names.
    pub pools: Vec<ServicePool>,
    /// Who or what is left out.
    pub left_out: Vec<String>,
}

impl Services {
    /// Those of a configuration, on this node. Nobody is heard yet.
    #[must_use]
    pub fn new(plans: Vec<ServicePlan>, here: Here) -> Self {
        let mut services = Self { here: here.clone(), ..Self::default() };
        services.set_plans(plans, here);
        services
    }

    /// Goes by another configuration. What is known of a Service that stays is kept.
    pub fn set_plans(&mut self, plans: Vec<ServicePlan>, here: Here) {
        let mut heard = std::mem::take(&mut self.heard);
        let asked = plans.iter().filter(|plan| plan.given.is_none());
        let kept = |plan: &ServicePlan| {
            let name = Arc::clone(&plan.name);
            (Arc::clone(&name), heard.remove(&name).unwrap_or_default())
        };
        self.heard = asked.map(kept).collect();
        self.plans = plans;
        if self.here.node != here.node {
            self.told = Heard::default();
        }
        self.here = here;
    }

    /// Whether anything depends on this node's zone that is not configured.
    #[must_use]
    pub fn want_zone(&self) -> bool {
        let by_place = |plan: &ServicePlan| plan.given.is_none() && plan.topology != Topology::None;
        self.here.zone.is_none() && self.plans.iter().any(by_place)
    }

    /// Takes the zone that the node's own object has, if it has one.
    pub fn handle_zone(&mut self, zone: Option<Arc<str>>, now: Instant) {
        self.told.take(zone, now);
    }

    /// Takes that the node's own object cannot be read. What it said before stays.
    pub fn handle_no_zone(&mut self, reason: String, now: Instant) {
        self.told.fail(reason, now);
    }

    /// Whether the node's own object is known to be out of reach.
    #[must_use]
    pub const fn is_zone_failing(&self) -> bool {
        self.told.is_failing()
    }

    /// Takes what a Service offers now. Gives the hosts of which something else is said than before: they
    /// are worth a look.
    pub fn handle_listing(
        &mut self,
        name: &str,
        listing: ServiceListing,
        now: Instant,
    ) -> BTreeSet<IpAddr> {
        // News of a Service that a reload has taken away may still be on its way.
        let Some(heard) = self.heard.get_mut(name) else { return BTreeSet::new() };
        let before = heard.take(listing, now);
        match (before, &heard.listing) {
            (Some(before), Some(after)) => before.differs(after),
            (_, _) => BTreeSet::new(),
        }
    }

    /// Takes that a Service cannot be asked for. What it offered before stays.
    pub fn handle_failure(&mut self, name: &str, reason: String, now: Instant) {
        if let Some(heard) = self.heard.get_mut(name) {
            heard.fail(reason, now);
        }
    }

    /// Whether a Service is known to be out of reach.
    #[must_use]
    pub fn is_failing(&self, name: &str) -> bool {
        self.heard.get(name).is_some_and(Heard::is_failing)
    }

    /// Takes what is remembered of an earlier agent: what a Service offered, as long as nobody is heard.
    pub fn recall(&mut self, name: &str, listing: ServiceListing) {
        if let Some(heard) = self.heard.get_mut(name) {
            heard.listing.get_or_insert(listing);
        }
    }

    /// What each Service that the cluster is asked for offers, to be remembered.
    pub fn known(&self) -> impl Iterator<Item = (&Arc<str>, &ServiceListing)> {
        self.heard.iter().filter_map(|(name, heard)| Some((name, heard.listing.as_ref()?)))
    }

    /// What of all Services goes into these settings beside what is there, as far as there is room: what
    /// has none is left out, so that it takes nothing from the way to the API server.
    #[must_use]
    pub fn offered(&self, settings: &Settings) -> Offered {
        let mut offered = Offered::default();
        if self.plans.is_empty() {
            return offered;
        }
        let here = self.here_and_now();
        let mut pools: Vec<ServicePool> = Vec::new();
        for plan in &self.plans {
            let Some(listing) = self.listing(plan) else { continue };
            if listing.addresses.is_empty() {
                let name = &plan.name;
                offered.left_out.push(format!(
                    "{name} is left out: the cluster has no such Service, or none that can be dialled"
                ));
            } else {
                pools.extend(ports::pools(plan, listing, &here, &mut offered.left_out));
            }
        }
        pools.sort_by(|one, other| one.settings.name.cmp(&other.settings.name));
        leave_frontends_out(settings, &mut pools, &mut offered.left_out);
        let mut filled = settings.clone();
        for pool in pools {
            let mut with = filled.clone();
            pool.fill(&mut with);
            match check::settings(&with.clone().canonical()) {
                Ok(()) => {
                    filled = with;
                    offered.pools.push(pool);
                }
                Err(error) => {
                    offered.left_out.push(format!("{} is left out: {error}", pool.settings.name));
                }
            }
        }
        offered
    }

    /// What is known of each Service that the cluster is asked for, and of this node, for status and metrics.
    #[must_use]
    pub fn view(&self) -> Vec<SourceView> {
        let view = |(name, heard): (&Arc<str>, &Heard<ServiceListing>)| {
            let id = SourceId { kind: SourceKind::Service, name: Arc::clone(name) };
            let hosts = heard.listing.as_ref().map_or(0, |listing| listing.hosts().len());
            let vips = heard.listing.as_ref().map(ServiceListing::vips).unwrap_or_default();
            heard.view(id, hosts, vips)
        };
        let node = self.want_zone().then(|| {
            let id = SourceId { kind: SourceKind::Node, name: "".into() };
            self.told.view(id, 0, Vec::new())
        });
        self.heard.iter().map(view).chain(node).collect()
    }

    fn listing<'a>(&'a self, plan: &'a ServicePlan) -> Option<&'a ServiceListing> {
        plan.given.as_ref().or_else(|| self.heard.get(&plan.name)?.listing.as_ref())
    }

    /// This node, in the zone that is configured, or else that its own object has, or else that an endpoint on it is
    /// said to be in.
    fn here_and_now(&self) -> Here {
        let Here { node, zone } = &self.here;
        let zone = zone.clone().or_else(|| self.told.listing.clone().flatten());
        let listings = self.heard.values().filter_map(|heard| heard.listing.as_ref());
        let mut endpoints = listings.flat_map(|listing| &listing.endpoints);
        let told = || endpoints.find(|one| one.node.as_ref() == Some(node))?.zone.clone();
        Here { node: Arc::clone(node), zone: zone.or_else(told) }
    }
}

/// Leaves endpoints out that clients dial: connects to them would loop.
fn leave_frontends_out(settings: &Settings, pools: &mut [ServicePool], left_out: &mut Vec<String>) {
    let vips = settings.frontends.iter().filter(|one| one.kind != FrontendKind::NodeAddress);
    let own = pools.iter().flat_map(|pool| &pool.frontends);
    let dialled: BTreeSet<SocketAddr> =
        vips.chain(own).flat_map(|frontend| frontend.addresses.iter().copied()).collect();
    for PoolSettings { name, endpoints, .. } in pools.iter_mut().map(|pool| &mut pool.settings) {
        endpoints.retain(|addr| {
            let loops = dialled.contains(addr);
            if loops {
                left_out.push(format!("{name}: {addr} is left out: it is a frontend's address"));
            }
            !loops
        });
    }
}
