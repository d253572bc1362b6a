//! What the configuration says of the members.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::membership::{Sighting, SourceId};

/// What the configuration says of the members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The pools, in the order of the configuration.
    pub pools: Vec<PoolPlan>,
    /// Hosts that the configuration names.
    pub hosts: Vec<Sighting>,
    /// The sources that are heard.
    pub sources: Vec<SourceId>,
    /// The frontend whose addresses are what sources say that clients dial.
    pub vip_frontend: Option<String>,
    /// The addresses of all other frontends but those of node addresses: nobody there is a backend.
    pub frontends: BTreeSet<SocketAddr>,
}

/// What the configuration says of the members of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolPlan {
    /// Its name.
    pub name: String,
    /// Backends of its own, and who named each. They come first and are never left out.
    pub own: Vec<(SocketAddr, SourceId)>,
    /// At which ports the hosts that sources list are backends as well; `None` when they are not.
    pub hosts: Option<Ports>,
}

/// At which port a host serves a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// At this one, whatever a source says.
    pub fixed: Option<u16>,
    /// At this one when no source says any.
    pub usual: u16,
}
