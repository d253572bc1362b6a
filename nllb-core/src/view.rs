//! An owned snapshot of everything the machine knows, for status and metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nllb_common::EventKind;
use nllb_common::maps::State;

use crate::backend::BackendId;
use crate::eligible::Eligibility;
use crate::health::Run;
use crate::report::{CertificateFacts, Outcome};
use crate::settings::{FrontendKind, OnEmpty, ScopeSetting};

/// Everything the machine knows.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The frontends; a node-address frontend appears once per address.
    pub frontends: Vec<FrontendView>,
    /// The pools, in the order of the settings.
    pub pools: Vec<PoolView>,
}

/// A frontend and who may serve it.
#[derive(Clone, Debug)]
pub struct FrontendView {
    /// Name in the settings.
    pub name: String,
    /// Id in the maps, which is also the index of its kernel pool.
    pub id: u32,
    /// What sort of address it has.
    pub kind: FrontendKind,
    /// The addresses; for a node address exactly one.
    pub addresses: Vec<SocketAddr>,
    /// Name of the pool behind it.
    pub pool: String,
    /// From where it can be dialled.
    pub scope: ScopeSetting,
    /// What happens to a connect when the pool has nobody.
    pub on_empty: OnEmpty,
    /// For a node address: the backend whose own address it is.
    pub home: Option<BackendId>,
    /// Every backend of the pool, with whether it may serve this frontend.
    pub backends: Vec<FrontendBackend>,
}

/// A backend as seen from a frontend.
#[derive(Clone, Debug)]
pub struct FrontendBackend {
    /// The backend.
    pub id: BackendId,
    /// Its address.
    pub addr: SocketAddr,
    /// Whether its certificate lets it serve the frontend.
    pub eligibility: Eligibility,
}

/// A pool and its backends.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// Name in the settings.
    pub name: String,
    /// The backends, in the order of the settings.
    pub backends: Vec<BackendView>,
}

/// A backend.
#[derive(Clone, Debug)]
pub struct BackendView {
    /// Its address.
    pub addr: SocketAddr,
    /// Its id in the maps.
    pub id: BackendId,
    /// Epoch of that id.
    pub epoch: u32,
    /// Its state.
    pub state: State,
    /// Since when it has that state.
    pub since: Instant,
    /// Why it has that state.
    pub reason: String,
    /// Outcomes in a row that ask for another state.
    pub run: Option<Run>,
    /// How many of them it takes, for the direction of `run`.
    pub run_needed: Option<u32>,
    /// Changes of state so far.
    pub transitions: u64,
    /// Latency class.
    pub band: u8,
    /// Share within the class.
    pub weight: u16,
    /// The last probe that ended.
    pub last: Option<ProbeSummary>,
    /// When the next probe is due; `None` while one is under way.
    pub next_probe: Option<Instant>,
    /// The last hint from the kernel.
    pub last_evidence: Option<(Instant, EventKind)>,
    /// The last certificate it showed.
    pub certificate: Option<Arc<CertificateFacts>>,
}

/// A probe that ended.
#[derive(Clone, Debug)]
pub struct ProbeSummary {
    /// When it was reported.
    pub at: Instant,
    /// What came of it; its `Display` is the text for a user.
    pub outcome: Outcome,
    /// Round-trip time of the TCP handshake, when there was one.
    pub rtt: Option<Duration>,
    /// Time the whole probe took.
    pub latency: Duration,
}
