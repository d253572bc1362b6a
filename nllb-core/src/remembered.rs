//! What outlives the maps: the last known backends, as they are kept on disk.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nllb_common::maps::State;

use crate::report::SubjectName;
use crate::services::ServiceListing;
use crate::version::KubeVersion;

/// All that is worth keeping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recollection {
    /// The backends.
    pub backends: Vec<Remembered>,
    /// What sources said that clients dial.
    pub vips: Vec<SocketAddr>,
    /// What Services offered, by their names.
    pub services: Vec<(Arc<str>, ServiceListing)>,
}

/// A backend as it was known once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Name of its pool.
    pub pool: String,
    /// Its address.
    pub addr: SocketAddr,
    /// Its state.
    pub state: State,
    /// Whether an operator drained it.
    pub drained: bool,
    /// How long after that its established connections are closed; from the start of the agent on, when
    /// that came in between.
    pub close_after: Option<Duration>,
    /// Its smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// The names on its certificate.
    pub names: Vec<SubjectName>,
    /// Its version.
    pub version: Option<KubeVersion>,
}
