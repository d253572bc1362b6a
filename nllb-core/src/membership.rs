//! Who the backends of each pool are, when several sources say it.
//!
//! All sources run together and none is believed more than another: whoever one of them lists is a
//! backend, since one that is not there any more costs a few probes, and one that is missing costs the
//! clients' path to it. Hence the rules:
//!
//! - a source counts with what it listed last; a failure and an empty list change nothing;
//! - until each source has listed somebody once, whoever was there before (the table on disk, the list
//!   before a reload) stays as well;
//! - a pool that had a backend once is never without;
//! - the result follows from what is listed and not from who came first.
//!
//! What a source says of a host's readiness is a hint to look at it, never a verdict.

mod listing;
mod merge;
mod plan;
mod source;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::settings::{Settings, canonical};

use listing::Clean;
use merge::Past;

pub use merge::{LeftOut, Member, Members, PoolMembers, WhyLeftOut};
pub use plan::{Plan, PoolPlan, Ports};
pub use source::{Listing, Sighting, SourceId, SourceKind};
pub use view::SourceView;

/// The sources, what each listed last, and what follows.
#[derive(Clone, Debug)]
pub struct Membership {
    plan: Plan,
    /// Those that are heard; the static hosts are in the plan.
    sources: BTreeMap<SourceId, Source>,
    past: Past,
    members: Members,
}

/// What is known of a source.
#[derive(Clone, Debug, Default)]
struct Source {
    /// What it listed last; never without a host.
    listed: Option<Clean>,
    /// The addresses that it said clients dial; kept like the hosts, and apart from them.
    vips: Vec<SocketAddr>,
    /// When that became another.
    changed: Option<Instant>,
    /// When it last listed somebody.
    heard: Option<Instant>,
    /// What is wrong since when.
    failure: Option<(String, Instant)>,
}

impl Membership {
    /// The members that the configuration alone names.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let sources = plan.sources.iter().map(|id| (id.clone(), Source::default())).collect();
        let mut membership =
            Self { plan, sources, past: Past::default(), members: Members::default() };
        membership.merge();
        membership
    }

    /// Goes by another configuration. A source that stays keeps what it listed.
    pub fn set_plan(&mut self, plan: Plan) {
        let mut sources = std::mem::take(&mut self.sources);
        let kept = |id: &SourceId| (id.clone(), sources.remove(id).unwrap_or_default());
        self.sources = plan.sources.iter().map(kept).collect();
        self.plan = plan;
        // Who was there before is looked at under the new plan's ports.
        self.past.now(&std::mem::take(&mut self.members));
        self.merge();
    }

    /// Takes what is remembered of an earlier agent: who served a pool.
    pub fn recall(&mut self, pool: &str, addresses: impl IntoIterator<Item = SocketAddr>) {
        let addresses = addresses.into_iter().map(canonical);
        self.past.pools.entry(pool.to_owned()).or_default().extend(addresses);
        self.merge();
    }

    /// Takes what is remembered of an earlier agent: what clients dial.
    pub fn recall_vips(&mut self, vips: impl IntoIterator<Item = SocketAddr>) {
        self.past.vips.extend(vips.into_iter().map(canonical));
        self.merge();
    }

    /// Takes what a source lists. Gives the hosts of which it says something else than before: they are
    /// worth a look.
    pub fn handle_listing(
        &mut self,
        id: &SourceId,
        listing: Listing,
        now: Instant,
    ) -> BTreeSet<IpAddr> {
        // News of a source that a reload has taken away may still be on its way.
        let Some(source) = self.sources.get_mut(id) else { return BTreeSet::new() };
        let hints = source.take(id.kind, listing, now);
        self.merge();
        hints
    }

    /// Takes what a source lists where a part of it could not be had, with the reason.
    pub fn handle_part(
        &mut self,
        id: &SourceId,
        listing: Listing,
        reason: String,
        now: Instant,
    ) -> BTreeSet<IpAddr> {
        let failure = self.sources.get(id).and_then(|source| source.failure.clone());
        let hints = self.handle_listing(id, listing, now);
        if let Some(source) = self.sources.get_mut(id) {
            // It is the same failure that goes on.
            source.failure = failure.or_else(|| source.failure.take());
            source.fail(reason, now);
        }
        hints
    }

    /// Whether a source is known to fail.
    #[must_use]
    pub fn is_failing(&self, id: &SourceId) -> bool {
        self.sources.get(id).is_some_and(|source| source.failure.is_some())
    }

    /// Takes that a source cannot be asked. What it listed stays.
    pub fn handle_failure(&mut self, id: &SourceId, reason: String, now: Instant) {
        if let Some(source) = self.sources.get_mut(id) {
            source.fail(reason, now);
        }
    }

    /// Who serves each pool, and what clients dial.
    #[must_use]
    pub const fn members(&self) -> &Members {
        &self.members
    }

    /// Puts the members into settings: endpoints of pools, addresses of frontends that leave them open.
    pub fn fill(&self, settings: &mut Settings) {
        for pool in &mut settings.pools {
            if let Some(members) = self.members.pools.iter().find(|one| one.name == pool.name) {
                pool.endpoints = members.members.iter().map(|member| member.addr).collect();
            }
        }
        let open = self.plan.vip_frontend.as_ref();
        for frontend in &mut settings.frontends {
            if open == Some(&frontend.name) {
                frontend.addresses.clone_from(&self.members.vips);
            }
        }
    }

    /// What is known of each source, for status and metrics.
    #[must_use]
    pub fn view(&self) -> Vec<SourceView> {
        view::of(&self.plan, &self.sources, &self.members)
    }

    /// Whether each source has listed somebody.
    fn is_settled(&self) -> bool {
        self.sources.values().all(|source| source.listed.is_some())
    }

    fn merge(&mut self) {
        let settled = self.is_settled();
        self.members = merge::merge(&self.plan, &self.sources, &self.past, &self.members, settled);
        if settled {
            self.past.now(&self.members);
        }
    }
}

impl Source {
    fn take(&mut self, kind: SourceKind, listing: Listing, now: Instant) -> BTreeSet<IpAddr> {
        let Listing { sightings, vips } = listing;
        let vips = listing::usable_vips(vips);
        let listed = Clean::of(kind, sightings);
        let news = (!vips.is_empty() && vips != self.vips)
            || (!listed.hosts.is_empty() && self.listed.as_ref() != Some(&listed));
        if news {
            self.changed = Some(now);
        }
        if !vips.is_empty() {
            self.vips = vips;
        }
        if listed.hosts.is_empty() {
            let reason = match listed.ignored {
                0 => "it lists no host".to_owned(),
                ignored => format!("none of the {ignored} addresses it lists can be a backend's"),
            };
            self.fail(reason, now);
            return BTreeSet::new();
        }
        self.heard = Some(now);
        self.failure = None;
        let before = self.listed.replace(listed);
        match (before, &self.listed) {
            (Some(before), Some(after)) => before.differs(after),
            (_, _) => BTreeSet::new(),
        }
    }

    fn fail(&mut self, reason: String, now: Instant) {
        let since = self.failure.as_ref().map_or(now, |(_, since)| *since);
        self.failure = Some((reason, since));
    }
}
