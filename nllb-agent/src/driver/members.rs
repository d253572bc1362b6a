//! Who the backends are: starts the sources that the configuration names, gives what they tell to the
//! membership, and what follows to the machine.
//!
//! Each source is a task; one that goes on with a new configuration keeps what it told. Without a
//! `controlPlane` there is neither task nor channel.

mod served;
mod sources;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use nllb_core::guests::Pods;
use nllb_core::membership::{Members as Wanted, Plan};
use nllb_core::{
    Coverage, FrontendKind, FrontendSettings, Membership, OnEmpty, Recollection, ScopeSetting,
    ServiceListing, Services, Settings, SourceId, SourceKind, SourceView, Table,
};
use tracing::{error, info, warn};

use super::probes::Who;
use super::{Driver, journal};
use crate::config::{Config, ControlPlane};
use crate::discovery::{News, What};
use crate::reserved;

pub(super) use served::Served;
use served::filled;
pub(super) use sources::settings_of;
use sources::{Source, Sources};

/// What status calls the agent's own frontend. No frontend of a configuration can have a dot in its name.
const OWN_FRONTEND: &str = "nllb.api";

/// Who the backends are, and who says so.
pub(super) struct Members {
    membership: Membership,
    services: Services,
    /// This node's pods, as far as they are asked for.
    pub(super) pods: Pods,
    /// What the machine goes by.
    applied: Wanted,
    /// The pools of Services among that.
    pub(super) served: Served,
    /// Why the machine does not go by the newest.
    pub(super) problem: Option<String>,
    sources: Option<Sources>,
    seed: u32,
}

/// The members of a configuration that is not in force yet.
pub(super) struct Next {
    membership: Membership,
    services: Services,
    served: Served,
}

/// Settings with these members, those of Services apart.
fn settings(membership: &Membership, config: &Config) -> Settings {
    let mut settings = config.settings();
    membership.fill(&mut settings);
    settings.frontends.extend(own_frontend(config));
    settings
}

/// The way of the agent itself to the API server: through the kernel like any client, so that it fails over
/// like one. The watch verifies whom it meets, so no certificate need cover this address.
fn own_frontend(config: &Config) -> Option<FrontendSettings> {
    config.control_plane.as_ref()?.kubernetes.as_ref()?;
    let pool = config.pools.iter().find(|pool| pool.has_api_servers())?;
    Some(FrontendSettings {
        name: OWN_FRONTEND.to_owned(),
        kind: FrontendKind::Loopback,
        addresses: reserved::API.to_vec(),
        pool: pool.name.clone(),
        scope: ScopeSetting::Host,
        on_empty: OnEmpty::Fail,
        coverage: Coverage::Trusted,
        ..FrontendSettings::default()
    })
}

impl Members {
    /// The members that the configuration names, and those that are remembered: of the table on disk and
    /// of the maps. Nobody is heard yet.
    pub(super) fn new(config: &Config, known: &Recollection, maps: &Table, seed: u32) -> Self {
        let mut membership = Membership::new(plan(config));
        for backend in &known.backends {
            membership.recall(&backend.pool, [backend.addr]);
        }
        membership.recall_vips(known.vips.iter().copied());
        for frontend in settings(&membership, config).frontends {
            membership
                .recall(&frontend.pool, maps.backends_of(&frontend.addresses, frontend.protocol));
        }
        let mut services = Services::new(served::plans(config), served::here(config));
        for (name, listing) in &known.services {
            services.recall(name, listing.clone());
        }
        let pods = Pods::new(annotation(config));
        let applied = membership.members().clone();
        let served = Served::default();
        Self { membership, services, pods, applied, served, problem: None, sources: None, seed }
    }

    /// Settings with these members, and the pools of Services among them.
    pub(super) fn filled(&self, config: &Config) -> (Settings, Served) {
        filled(&self.services, settings(&self.membership, config), config)
    }

    /// The machine goes by them.
    pub(super) fn applied(&mut self, served: Served) {
        let members = self.membership.members();
        tell(&self.applied, members);
        served.tell(&self.served);
        self.applied = members.clone();
        self.served = served;
        self.problem = None;
    }

    /// What sources say that clients dial.
    pub(super) fn vips(&self) -> &[SocketAddr] {
        &self.membership.members().vips
    }

    /// The sources, for status and metrics.
    pub(super) fn sources(&self) -> Vec<SourceView> {
        let mut sources = self.membership.view();
        sources.extend(self.services.view());
        sources.extend(self.pods.view());
        sources
    }

    /// What Services offer of what is gone by, to be remembered.
    pub(super) fn known_services(&self) -> Vec<(Arc<str>, ServiceListing)> {
        self.served.known(&self.services)
    }

    /// Who is listed and is no backend, one line each.
    pub(super) fn left_out(&self) -> impl Iterator<Item = String> {
        let pools = self.membership.members().pools.iter();
        let of_pools = pools.flat_map(|pool| {
            pool.left_out.iter().map(move |one| format!("pool {}: {one}", pool.name))
        });
        of_pools.chain(self.served.left_out.iter().cloned())
    }

    /// Who named a backend.
    pub(super) fn sources_of(&self, pool: &str, addr: SocketAddr) -> Vec<String> {
        let mut pools = self.membership.members().pools.iter();
        let members = pools.find(|one| one.name == pool).map(|one| &one.members);
        let member = members.into_iter().flatten().find(|member| member.addr == addr);
        if let Some(service) = self.served.service_of(pool) {
            return vec![service];
        }
        member.iter().flat_map(|member| &member.sources).map(ToString::to_string).collect()
    }

    /// The next news; waits for ever while there are no sources. Safe to cancel.
    pub(super) async fn next(&mut self) -> News {
        match &mut self.sources {
            Some(sources) => sources.next().await,
            None => future::pending().await,
        }
    }

    /// Makes every source that is looked at look now: the network is another.
    pub(super) fn nudge(&self) {
        if let Some(sources) = &self.sources {
            sources.nudge();
        }
    }

    /// Takes what a source tells. Gives the hosts that are worth a look, and whether other pods are sandboxed.
    fn hear(&mut self, News { source, what }: News, now: Instant) -> (BTreeSet<IpAddr>, bool) {
        let failed = match source.kind {
            SourceKind::Service => self.services.is_failing(&source.name),
            SourceKind::Pods => self.pods.is_failing(),
            SourceKind::Node => self.services.is_zone_failing(),
            SourceKind::Static
            | SourceKind::Kubernetes
            | SourceKind::Kubeconfig
            | SourceKind::File
            | SourceKind::Dns
            | SourceKind::Table => self.membership.is_failing(&source),
        };
        if let What::Partly { reason, .. } | What::Failed { reason } = &what {
            // Once, not with every attempt.
            if !failed {
                warn!(%source, reason, "a source of hosts is not heard; what it told stays");
            }
        } else if failed {
            info!(%source, "a source of hosts is heard again");
        }
        let mut pods_changed = false;
        let hints = match what {
            What::Listed(listing) => self.membership.handle_listing(&source, listing, now),
            What::Partly { listing, reason } => {
                self.membership.handle_part(&source, listing, reason, now)
            }
            What::Service(listing) => self.services.handle_listing(&source.name, listing, now),
            What::Pods(addresses) => {
                pods_changed = self.pods.handle_listing(&source.name, addresses, now);
                BTreeSet::new()
            }
            What::Zone(zone) => {
                self.services.handle_zone(zone, now);
                BTreeSet::new()
            }
            What::Failed { reason } => {
                match source.kind {
                    SourceKind::Service => {
                        self.services.handle_failure(&source.name, reason, now);
                    }
                    SourceKind::Pods => self.pods.handle_failure(reason, now),
                    SourceKind::Node => self.services.handle_no_zone(reason, now),
                    SourceKind::Static
                    | SourceKind::Kubernetes
                    | SourceKind::Kubeconfig
                    | SourceKind::File
                    | SourceKind::Dns
                    | SourceKind::Table => self.membership.handle_failure(&source, reason, now),
                }
                BTreeSet::new()
            }
        };
        (hints, pods_changed)
    }

    /// What follows from another configuration, should that come into force, and the settings for it.
    pub(super) fn with(&self, config: &Config) -> (Settings, Next) {
        let (mut membership, mut services) = (self.membership.clone(), self.services.clone());
        membership.set_plan(plan(config));
        services.set_plans(served::plans(config), served::here(config));
        let (settings, served) = filled(&services, settings(&membership, config), config);
        (settings, Next { membership, services, served })
    }

    /// Goes by another configuration, which the machine has taken.
    pub(super) fn take(&mut self, next: Next, config: &Config) {
        let Next { membership, services, served } = next;
        (self.membership, self.services) = (membership, services);
        self.pods.set_annotation(annotation(config));
        self.applied(served);
        self.listen(config);
    }

    /// Hears those of the sources that the configuration names that do not need a frontend.
    pub(super) fn listen_ahead(&mut self, config: &Config) {
        let plane = config.control_plane.clone();
        let plane = plane.map(|plane| ControlPlane { kubernetes: None, ..plane });
        self.hear_sources(plane.as_ref(), BTreeMap::new());
    }

    /// Hears the sources that the configuration names, and no others.
    pub(super) fn listen(&mut self, config: &Config) {
        let asked = sources::asked(config, self.services.want_zone());
        self.hear_sources(config.control_plane.as_ref(), asked);
    }

    fn hear_sources(&mut self, plane: Option<&ControlPlane>, asked: BTreeMap<SourceId, Source>) {
        let seed = self.seed;
        match plane.filter(|plane| plane.is_watched()) {
            Some(plane) => {
                self.sources.get_or_insert_with(Sources::default).hear(plane, asked, seed);
            }
            None => self.sources = None,
        }
    }
}

/// The annotation of sandboxed pods, where the cluster is asked for those.
fn annotation(config: &Config) -> Option<&str> {
    config.sandboxes.as_ref()?.annotation.as_deref()
}

/// What the configuration says of the members.
fn plan(config: &Config) -> Plan {
    let sources = config.control_plane.as_ref().map(sources::wanted).unwrap_or_default();
    config.plan(sources.into_keys().collect())
}

impl Driver {
    /// Takes what a source tells.
    pub(super) fn hear_source(&mut self, news: News) {
        let now = Instant::now();
        let (hints, pods_changed) = self.members.hear(news, now);
        self.machine.handle_hints(&hints, now);
        if pods_changed {
            self.want_guests();
        }
        self.follow_members(now);
    }

    /// Lets the machine go by the members as they are.
    pub(super) fn follow_members(&mut self, now: Instant) {
        let same = *self.members.membership.members() == self.members.applied;
        if same && self.config.services.is_empty() {
            return;
        }
        let (settings, served) = self.members.filled(&self.config);
        if same && served == self.members.served {
            return;
        }
        match self.machine.handle_members(settings, now) {
            Ok(()) => {
                self.probes.set_service_probers(self.config.pools.len(), &served.pools);
                self.members.applied(served);
                self.keep_known("its sources say so");
            }
            Err(problem) => {
                let problem = problem.to_string();
                if self.members.problem.as_ref() != Some(&problem) {
                    error!(
                        problem,
                        "the hosts that sources tell cannot all be backends; those before stay"
                    );
                }
                self.members.problem = Some(problem);
            }
        }
    }

    /// Whoever else keeps something by backend forgets those that are gone. `reason` says why some may be.
    pub(super) fn keep_known(&mut self, reason: &str) {
        let view = self.machine.view();
        let pools = journal::pools(&view);
        let whats = self.journal.chronicle.members(&pools, reason, Instant::now());
        self.record(whats);
        // The pools of the view are those of the configuration, in the same order.
        let places = view.pools.iter().enumerate().flat_map(|(index, pool)| {
            pool.backends.iter().map(move |backend| ((backend.id, backend.epoch), index))
        });
        let places: HashMap<Who, usize> = places.collect();
        let known = places.keys().copied().collect();
        self.probes.retain(&known);
        self.closings.retain(&known);
        let frontends = view.frontends.iter().map(|frontend| u32::from(frontend.id)).collect();
        self.hints.retain(&known, &frontends);
        let pools = &self.config.pools;
        let has_sentinel = |index: usize| pools.get(index).is_some_and(|pool| pool.health.sentinel);
        let wanted = places.into_iter().filter(|(_, index)| has_sentinel(*index)).collect();
        self.sentinels.retain(&wanted);
        let backends = view.pools.iter().flat_map(|pool| &pool.backends);
        let hosts = backends.map(|backend| backend.addr.ip()).collect();
        if let Some(network) = &mut self.network {
            network.set_backends(&hosts);
        }
        self.want_guests();
    }
}

/// Says what a user notices: who joins and leaves, and who does not although a source lists it.
fn tell(before: &Wanted, after: &Wanted) {
    for pool in &after.pools {
        let old = before.pools.iter().find(|old| old.name == pool.name);
        let old_members = old.map(|old| old.members.as_slice()).unwrap_or_default();
        let name = &pool.name;
        for member in &pool.members {
            if !old_members.iter().any(|old| old.addr == member.addr) {
                let sources: Vec<_> = member.sources.iter().map(ToString::to_string).collect();
                info!(pool = name, backend = %member.addr, sources = sources.join(", "), "joins");
            }
        }
        for old in old_members {
            if !pool.members.iter().any(|member| member.addr == old.addr) {
                info!(pool = name, backend = %old.addr, "leaves: no source names it any more");
            }
        }
        let old_left_out = old.map(|old| old.left_out.as_slice()).unwrap_or_default();
        for left_out in pool.left_out.iter().filter(|one| !old_left_out.contains(one)) {
            warn!(pool = name, "{left_out}");
        }
    }
    if before.vips != after.vips {
        info!(vips = ?after.vips, "the Service has these addresses");
    }
}
