//! The sources in the snapshot, for status and metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use crate::membership::{Members, Plan, Source, SourceId};

/// A source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceView {
    /// Which.
    pub id: SourceId,
    /// Whether it is heard while the agent runs.
    pub watched: bool,
    /// How many hosts it lists.
    pub hosts: usize,
    /// How many entries of its list cannot be backends.
    pub ignored: usize,
    /// What it says that clients dial.
    pub vips: Vec<SocketAddr>,
    /// When what it lists became another; `None` when it does not change by itself or was never heard.
    pub changed: Option<Instant>,
    /// When it last listed somebody.
    pub heard: Option<Instant>,
    /// Why it is not heard now, and since when.
    pub failure: Option<(String, Instant)>,
}

/// The sources that are heard, and those that name a backend without being heard.
pub(super) fn of(
    plan: &Plan,
    sources: &BTreeMap<SourceId, Source>,
    members: &Members,
) -> Vec<SourceView> {
    let named = members.pools.iter().flat_map(|pool| &pool.members);
    let mut silent: BTreeMap<SourceId, BTreeSet<_>> = BTreeMap::new();
    for member in named {
        for id in member.sources.iter().filter(|id| !sources.contains_key(*id)) {
            silent.entry(id.clone()).or_default().insert(member.addr.ip());
        }
    }
    let silent = silent.into_iter().map(|(id, hosts)| SourceView {
        id,
        watched: false,
        hosts: hosts.len(),
        ignored: 0,
        vips: Vec::new(),
        changed: None,
        heard: None,
        failure: None,
    });
    let heard = plan.sources.iter().filter_map(|id| {
        let Source { listed, vips, changed, heard, failure } = sources.get(id)?;
        Some(SourceView {
            id: id.clone(),
            watched: true,
            hosts: listed.as_ref().map_or(0, |listed| listed.hosts.len()),
            ignored: listed.as_ref().map_or(0, |listed| listed.ignored),
            vips: vips.clone(),
            changed: *changed,
            heard: *heard,
            failure: failure.clone(),
        })
    });
    let mut views: Vec<SourceView> = silent.chain(heard).collect();
    views.sort_by(|one, other| one.id.cmp(&other.id));
    views
}
