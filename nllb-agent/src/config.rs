//! The configuration file: raw YAML types become checked ones, or one line says why not.
//!
//! Every section is checked in its own file; what needs several sections is in `crossref`. Nothing
//! is applied here, so a refused file changes nothing.

mod address;
mod control_plane;
mod crossref;
mod datapath;
mod drain;
mod duration;
mod error;
mod frontend;
mod listen;
mod node;
mod place;
mod pool;
mod probe;
mod profile;
mod question;
mod rebalance;
mod rhythm;
mod sandbox;
mod service;
mod settings;
mod state;
mod trust;
mod vip;

pub use control_plane::{ControlPlane, Kubernetes, Name};
pub use datapath::{Cgroup, CloseSockets, DEFAULT_BPFFS, Datapath, LogLevel};
pub use drain::close_after;
pub use duration::{show as show_duration, within as read_duration};
pub use error::{
    ConfigError, Problem, QuestionProblem, SandboxProblem, ServiceProblem, VipProblem,
};
pub use listen::{Admin, DEFAULT_SOCKET, Http};
pub use node::Node;
pub use place::Place;
pub use pool::Pool;
pub use profile::Profile;
pub use sandbox::{GuestAttach, Sandboxes};
pub use service::Service;
pub use state::{DEFAULT_JOURNAL, DEFAULT_STATE_FILE, State};

use crate::health_check::Credentials;
use crate::yaml::{self, YamlError};
use duration::Limits;
use error::Fault;
use nllb_core::settings::FrontendKind;
use nllb_core::settings::FrontendSettings;
use nllb_core::vip::VipPlan;
use place::At;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of the configuration format.
pub const API_VERSION: &str = "nllb.dev/v1alpha1";
/// Kind of the document.
pub const KIND: &str = "AgentConfiguration";

/// Two missed renewals of a busy agent, yet short enough that a dead one is soon ignored.
const LEASE: Limits = Limits {
    default: Duration::from_secs(3),
    min: Duration::from_millis(100),
    max: Duration::from_secs(3600),
};
const SELF_TEST_INTERVAL: Limits = Limits {
    default: Duration::from_secs(5),
    min: Duration::from_millis(100),
    max: Duration::from_secs(3600),
};

/// What such files bring into a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovered {
    /// The server of every cluster.
    pub endpoints: Vec<SocketAddr>,
    /// Whom to trust and who to be.
    pub credentials: Credentials,
    /// Servers that nobody resolved, so that addresses from the table on disk stand in: one line each.
    pub unresolved: Vec<String>,
}

/// What is wanted of files that belong to others.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// What a kubeconfig brings into a pool.
    Kubeconfig {
        /// The file.
        file: &'a Path,
        /// The pool that it is for.
        pool: &'a str,
        /// The file with the last known backends.
        known: Option<&'a Path>,
    },
    /// The credentials with which the cluster is asked, and no endpoints.
    Kubernetes(&'a Kubernetes),
}

/// Reads them; the error is one line naming file, key and what to do.
pub type Discover<'a> = &'a dyn Fn(Wanted<'_>) -> Result<Discovered, String>;

/// The checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Addresses that clients dial.
    pub frontends: Vec<FrontendSettings>,
    /// Who serves them.
    pub pools: Vec<Pool>,
    /// Services besides the API server's.
    pub services: Vec<Service>,
    /// Sandboxed pods that are served, when any are.
    pub sandboxes: Option<Sandboxes>,
    /// Who the control-plane hosts are, when that is said.
    pub control_plane: Option<ControlPlane>,
    /// Pins and attachment.
    pub datapath: Datapath,
    /// The root-only socket.
    pub admin: Admin,
    /// Metrics and health.
    pub http: Http,
    /// How long verdicts hold without the agent.
    pub lease: Duration,
    /// Time between two proofs of attachment.
    pub self_test_interval: Duration,
    /// What is kept on disk.
    pub state: State,
    /// This node.
    pub node: Node,
    /// The control-plane VIP, where there is one.
    pub vip: Option<VipPlan>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct RawConfig {
    api_version: Option<Spanned<String>>,
    kind: Option<Spanned<String>>,
    frontends: Option<Spanned<Vec<Spanned<frontend::RawFrontend>>>>,
    pools: Option<Spanned<Vec<Spanned<pool::RawPool>>>>,
    services: Option<Spanned<Vec<Spanned<service::RawService>>>>,
    sandboxes: Option<Spanned<sandbox::RawSandboxes>>,
    control_plane: Option<Spanned<control_plane::RawControlPlane>>,
    datapath: Option<Spanned<datapath::RawDatapath>>,
    admin: Option<Spanned<listen::RawAdmin>>,
    http: Option<Spanned<listen::RawHttp>>,
    lease: Option<Spanned<String>>,
    self_test_interval: Option<Spanned<String>>,
    state: Option<Spanned<state::RawState>>,
    node: Option<Spanned<node::RawNode>>,
    vip: Option<Spanned<vip::RawVip>>,
}

impl Config {
    /// Checks the text of `file`.
    pub fn parse(file: &Path, text: &str, discover: Discover<'_>) -> Result<Self, ConfigError> {
        let located = |Fault { place, problem }| ConfigError {
            file: file.into(),
            place,
            problem: Box::new(problem),
        };
        let raw: RawConfig = yaml::parse(text).map_err(|error| {
            let YamlError { line, column, key, problem } = error;
            located(Place { line, column, key }.fault(problem.into()))
        })?;
        Self::check(file, raw, discover).map_err(located)
    }

    fn check(file: &Path, raw: RawConfig, discover: Discover<'_>) -> Result<Self, Fault> {
        let RawConfig {
            api_version,
            kind,
            frontends,
            pools,
            services,
            sandboxes,
            control_plane,
            datapath,
            admin,
            http,
            lease,
            self_test_interval,
            state,
            node,
            vip,
        } = raw;
        let document = Place::default();
        supported(document.required("apiVersion", API_VERSION, api_version)?, API_VERSION)?;
        supported(document.required("kind", KIND, kind)?, KIND)?;

        let pools = filled(document.required("pools", "a list with one pool", pools)?, "pool")?;
        let datapath = Datapath::check(&document, document.optional("datapath", datapath))?;
        let (state, places) = State::check(&document, document.optional("state", state))?;
        let control_plane = document.optional("controlPlane", control_plane);
        let control_plane = control_plane.map(ControlPlane::check).transpose()?;
        let around = pool::Around {
            discover,
            control_plane: control_plane.as_ref(),
            state: &state,
            close_sockets: datapath.close_sockets,
        };
        let checked: Vec<(At<String>, Pool)> =
            pools.into_iter().map(|raw| pool::check(raw, around)).collect::<Result<_, _>>()?;
        crossref::unique_names(checked.iter().map(|(name, _)| name))?;
        let pools: Vec<Pool> = checked.into_iter().map(|(_, pool)| pool).collect();

        let frontends = filled(
            document.required("frontends", "a list with one frontend", frontends)?,
            "frontend",
        )?;
        let service = control_plane.as_ref().is_some_and(|plane| plane.kubernetes.is_some());
        if service && !pools.iter().any(Pool::has_api_servers) {
            let place = document.named("controlPlane").named("kubernetes");
            return Err(place.fault(Problem::NoApiServers));
        }
        let asked = service;
        let services = document.optional("services", services).map(At::items).unwrap_or_default();
        let services = services.into_iter().map(|raw| Service::check(raw, asked));
        let services: Vec<(At<String>, Service)> = services.collect::<Result<_, _>>()?;
        crossref::unique_names(services.iter().map(|(name, _)| name))?;
        let services: Vec<Service> = services.into_iter().map(|(_, service)| service).collect();
        let sandboxes = document.optional("sandboxes", sandboxes);
        let sandboxes = sandboxes.map(|raw| Sandboxes::check(raw, asked)).transpose()?;
        let drafts = frontends.into_iter().map(|raw| frontend::Draft::check(raw, service));
        let drafts: Vec<frontend::Draft> = drafts.collect::<Result<_, _>>()?;
        crossref::unique_names(drafts.iter().map(|draft| &draft.name))?;
        let http = Http::check(&document, document.optional("http", http))?;
        let frontends = crossref::frontends(drafts, &pools, &http)?;
        let around = vip::Around { pools: &pools, frontends: &frontends, kubernetes: service };
        let vip = document.optional("vip", vip).map(|raw| vip::check(raw, around)).transpose()?;
        let admin = Admin::check(&document, document.optional("admin", admin))?;
        let own = [("this configuration", file), ("admin.socket", &admin.socket)].into_iter();
        let of_plane = control_plane.iter().flat_map(ControlPlane::files);
        let of_services = services.iter().flat_map(Service::files);
        let needed = own.chain(pools.iter().flat_map(Pool::files)).chain(of_plane);
        let needed = needed.chain(of_services);
        state::check_apart(&state, places, &datapath.bpffs, needed)?;

        Ok(Self {
            frontends,
            pools,
            services,
            sandboxes,
            control_plane,
            datapath,
            admin,
            http,
            lease: LEASE.apply(document.optional("lease", lease))?,
            self_test_interval: SELF_TEST_INTERVAL
                .apply(document.optional("selfTestInterval", self_test_interval))?,
            state,
            node: Node::check(document.optional("node", node))?,
            vip,
        })
    }

    /// The addresses of loopback frontends, where the agent listens for sockets that the kernel
    /// cannot translate.
    pub fn loopback_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.frontends
            .iter()
            .filter(|frontend| frontend.kind == FrontendKind::Loopback)
            .flat_map(|frontend| frontend.addresses.iter().copied())
    }

    /// What nobody resolved, so that addresses from the table on disk stand in: one line each.
    pub fn unresolved(&self) -> impl Iterator<Item = &str> {
        self.pools.iter().flat_map(|pool| &pool.unresolved).map(String::as_str)
    }

    /// The files whose change asks for a reload, besides the configuration file itself.
    pub fn sources(&self) -> impl Iterator<Item = &PathBuf> {
        let kubernetes = self.control_plane.as_ref().and_then(|plane| plane.kubernetes.as_ref());
        let lender = kubernetes.and_then(|kubernetes| kubernetes.kubeconfig.as_ref());
        let lender = lender.filter(|_| self.pools.iter().any(|pool| pool.borrows));
        self.pools.iter().filter_map(|pool| pool.kubeconfig.as_ref()).chain(lender)
    }
}

fn supported(raw: At<String>, wanted: &'static str) -> Result<(), Fault> {
    if raw.value == wanted {
        return Ok(());
    }
    let found = raw.value.clone();
    Err(raw.fault(Problem::Unsupported { found, wanted }))
}

fn filled<T>(raw: At<Vec<Spanned<T>>>, what: &'static str) -> Result<Vec<At<T>>, Fault> {
    if raw.value.is_empty() {
        return Err(raw.fault(Problem::Empty { what }));
    }
    Ok(raw.items())
}

#[cfg(test)]
mod tests;
