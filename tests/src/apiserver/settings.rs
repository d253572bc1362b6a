//! What a server is told at its start, and what can be changed while it runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::objects::Objects;
use super::ports::Port;

/// A server's settings.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Settings {
    /// The name it tells to everyone who asks.
    pub name: String,
    /// Where it listens for TLS.
    pub listen: Vec<SocketAddr>,
    /// Where it greets in plain text.
    pub listen_plain: Vec<SocketAddr>,
    /// Where else it listens.
    pub ports: Vec<Port>,
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
    /// The authority of client certificates, PEM.
    pub client_authority: String,
    /// The unix socket through which its modes are changed.
    pub control: PathBuf,
    /// The bearer token it accepts.
    pub bearer_token: String,
    /// The directory where it and the other servers have their Leases.
    pub leases: PathBuf,
    /// The objects it serves.
    pub objects: Objects,
    /// What `/version` tells.
    pub version: String,
    /// The version of every node's kubelet.
    pub kubelet_version: String,
    /// How it comes up.
    pub startup: Startup,
    /// What it does first.
    pub modes: Modes,
}

/// The version of a server and of a kubelet, unless told otherwise.
pub const VERSION: &str = "v1.34.2";

/// The phases of coming up, each as long as given.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Startup {
    /// Nobody listens.
    pub refuse: Duration,
    /// `/readyz` answers 403.
    pub forbidden: Duration,
    /// `/readyz` answers 500.
    pub failing: Duration,
}

impl Startup {
    /// As kube-apiserver was seen to come up, 2.3 s after its port opened.
    pub const MEASURED: Self = Self {
        refuse: Duration::from_millis(200),
        forbidden: Duration::from_millis(1200),
        failing: Duration::from_millis(900),
    };
}

/// How a running server behaves.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Modes {
    /// The status of `/readyz`, when it is not the server's own choice.
    pub readyz: Option<u16>,
    /// How long every HTTP answer is held back.
    pub slow: Duration,
    /// How long an answer on `/readyz` is held back on top.
    pub slow_readyz: Duration,
    /// `/readyz` is not answered as long as this is set.
    pub hang_readyz: bool,
    /// Whether requests without credentials are allowed; 401 if not.
    pub anonymous: bool,
    /// kube-apiserver's `--shutdown-delay-duration`.
    pub shutdown_delay: Duration,
    /// How long established requests may go on once the listener is closed.
    pub shutdown_grace: Duration,
    /// The time between two events of a watch.
    pub watch_interval: Duration,
    /// How many nodes the cluster has.
    pub nodes: u64,
    /// Of how many HTTP/2 requests in a thousand the connection gets GOAWAY:
    /// `--goaway-chance`, where kube-apiserver allows at most 20.
    pub goaway_per_mille: u16,
    /// How EndpointSlices are served.
    pub slices: Service,
    /// How Services are served.
    pub services: Service,
    /// How pods are served.
    pub pods: Service,
    /// How the question for one node is answered.
    pub node: Api,
    /// How Leases are served: read and written, and watched.
    pub leases: Service,
    /// How Events are taken.
    pub events: Api,
    /// How many seconds its clock is ahead, as the dates of its answers say.
    pub ahead: i64,
    /// The time between two bookmarks of a watch of objects: a minute in kube-apiserver.
    pub bookmark_interval: Duration,
}

/// How one kind of objects is served.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Service {
    /// How lists go.
    pub lists: Api,
    /// How watches go, those under way too.
    pub watches: Api,
}

impl Service {
    /// Lists and watches alike.
    #[must_use]
    pub const fn all(api: Api) -> Self {
        Self { lists: api, watches: api }
    }
}

/// How a request for objects goes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub enum Api {
    /// Well.
    #[default]
    Serve,
    /// It gets this status. A watch under way ends, with 410 by an event that says so.
    Refuse(u16),
    /// It breaks off in the middle.
    Garble,
    /// Nothing comes any more, nor does it end.
    Silent,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            readyz: None,
            slow: Duration::ZERO,
            slow_readyz: Duration::ZERO,
            hang_readyz: false,
            anonymous: true,
            shutdown_delay: Duration::ZERO,
            shutdown_grace: Duration::from_secs(60),
            watch_interval: Duration::from_millis(20),
            nodes: 3,
            goaway_per_mille: 0,
            slices: Service::default(),
            services: Service::default(),
            pods: Service::default(),
            node: Api::default(),
            leases: Service::default(),
            events: Api::default(),
            ahead: 0,
            bookmark_interval: Duration::from_secs(60),
        }
    }
}
