//! What nllb was told and what it tells: the configuration, the status document, and who the backends are.

use super::listeners;
use crate::admin::STATUS_PATH;
use crate::cli::ask::{Question, ask};
use crate::config::{self, Config};
use crate::datapath::attach::CgroupChoice;
use crate::datapath::maps::{KernelMaps, Maps as _};
use crate::datapath::pin_directory;
use crate::doctor::configuration::{Configuration, Frontend};
use crate::doctor::services::{self, Service};
use crate::driver::{self, Unresolved};
use crate::health_check::{Accept, Credentials, Get, HealthCheck, Kind};
use crate::status::{self, ListenerState, Status};
use nix::net::if_::if_nametoindex;
use nllb_common::addr;
use nllb_common::maps::{PoolSet, Protocol};
use nllb_core::services::{ServicePlan, Topology};
use nllb_core::{Coverage, FrontendKind, KubeVersion, SourceId, SourceKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// Where the configuration is when nobody says.
const USUAL_FILE: &str = "/etc/nllb/agent.yaml";
/// A resolver that does not answer is found among the checks, and must not hold up the others.
const READING: Duration = Duration::from_secs(3);
/// Limit of a question to a backend whose pool is not known.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The Service of the cluster's DNS, and the one that a cache on the node dials in its place.
const CLUSTER_DNS: &str = "kube-system/kube-dns";
const CACHED_DNS: &str = "kube-system/kube-dns-upstream";
/// The interface of such a cache, unless it is told otherwise (`-interfacename`).
const CACHE: &str = "nodelocaldns";

/// What is known before anything is looked at.
pub(super) struct Told {
    /// The file, and why it cannot be used.
    pub(super) file: Option<(PathBuf, Result<(), String>)>,
    pub(super) config: Option<Config>,
    /// The document, or why there is none.
    pub(super) status: Result<Status, String>,
    pub(super) socket: PathBuf,
}

/// A backend to look at.
pub(super) struct Target {
    pub(super) pool: String,
    pub(super) address: SocketAddr,
    pub(super) check: HealthCheck,
    /// Frontends that it may serve: name, what its certificate must be for.
    pub(super) frontends: Vec<(String, Coverage, Vec<SocketAddr>)>,
}

impl Told {
    pub(super) fn read(config: Option<&Path>, socket: Option<&Path>) -> Self {
        let usual = || PathBuf::from(config::DEFAULT_SOCKET);
        let (mut file, mut loaded) = (None, None);
        let mut take = |path: &Path| match load(path) {
            Ok(config) => {
                file = Some((path.to_owned(), Ok(())));
                loaded = Some(config);
            }
            Err(reason) => file = Some((path.to_owned(), Err(reason))),
        };
        if let Some(path) = config {
            take(path);
            let socket = socket.map(Path::to_owned);
            let socket = socket
                .or_else(|| loaded.as_ref().map(|config: &Config| config.admin.socket.clone()))
                .unwrap_or_else(usual);
            return Self { status: status(&socket), file, config: loaded, socket };
        }
        let socket = socket.map_or_else(usual, Path::to_owned);
        let status = status(&socket);
        let usual_file = || Some(PathBuf::from(USUAL_FILE)).filter(|path| path.exists());
        // An agent in a container has files that are not here.
        let of_agent = status.as_ref().ok().map(|status| status.config.path.clone());
        let path = of_agent.filter(|path| path.exists()).or_else(usual_file);
        if let Some(path) = path {
            take(&path);
        }
        Self { status, file, config: loaded, socket }
    }

    pub(super) fn bpffs(&self) -> PathBuf {
        match (&self.config, &self.status) {
            (Some(config), _) => config.datapath.bpffs.clone(),
            (None, Ok(status)) => {
                status.datapath.directory.parent().map(Path::to_owned).unwrap_or_default()
            }
            (None, Err(_)) => config::DEFAULT_BPFFS.into(),
        }
    }

    /// The directory of the pins.
    pub(super) fn directory(&self) -> PathBuf {
        pin_directory(&self.bpffs())
    }

    pub(super) fn cgroup(&self) -> CgroupChoice {
        match (&self.config, &self.status) {
            (Some(config), _) => match &config.datapath.cgroup {
                config::Cgroup::Auto => CgroupChoice::Auto,
                config::Cgroup::Path(path) => CgroupChoice::Path(path.clone()),
            },
            (None, Ok(status)) if !status.datapath.cgroup_is_root => {
                CgroupChoice::Path(status.datapath.cgroup.clone())
            }
            (None, Ok(_) | Err(_)) => CgroupChoice::Auto,
        }
    }

    pub(super) fn kubelet_version(&self) -> Option<KubeVersion> {
        let told = self.status.as_ref().ok().and_then(|status| status.kubelet_version.as_ref());
        let told = told.and_then(|version| version.parse().ok());
        told.or_else(|| self.config.as_ref()?.node.kubelet_version.clone())
    }

    /// Every backend that the configuration, the agent or else the kernel names.
    pub(super) fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for pool in self.config.iter().flat_map(|config| &config.pools) {
            for address in &pool.endpoints {
                targets.push(self.target(&pool.name, *address, &pool.check));
            }
        }
        let stranger = stranger();
        for (pool, backend) in self.status.iter().flat_map(Status::backends) {
            let named = |target: &Target| target.pool == pool && target.address == backend.address;
            if !targets.iter().any(named) {
                let check = self.check_of(pool);
                let check = check.as_ref().unwrap_or(&stranger);
                targets.push(self.target(pool, backend.address, check));
            }
        }
        if targets.is_empty() {
            let maps = KernelMaps::open(&self.directory());
            let pools = maps.and_then(|maps| maps.pools()).unwrap_or_default();
            for slot in pools.iter().flat_map(|(_, set)| PoolSet::iter(set)) {
                let address = addr::join(slot.addr, slot.port);
                if !targets.iter().any(|target| target.address == address) {
                    targets.push(self.target("as pinned", address, &stranger));
                }
            }
        }
        targets
    }

    /// How the configuration has the backends of a pool probed, those of a Service among them.
    fn check_of(&self, pool: &str) -> Option<HealthCheck> {
        let mut pools = self.config.iter().flat_map(|config| &config.pools);
        if let Some(known) = pools.find(|known| known.name == pool) {
            return Some(known.check.clone());
        }
        let frontends = self.status.iter().flat_map(|status| &status.frontends);
        let labels = frontends.filter(|one| one.pool == pool).map(|one| one.protocol.as_str());
        let protocols = labels
            .filter_map(|label| Protocol::ALL.into_iter().find(|known| known.label() == label))
            .collect();
        let mut services = self.config.iter().flat_map(|config| &config.services);
        services.find_map(|service| service.probe_of(pool, &protocols))
    }

    fn target(&self, pool: &str, address: SocketAddr, check: &HealthCheck) -> Target {
        let frontends = self.config.iter().flat_map(|config| &config.frontends);
        let frontends = frontends.filter(|frontend| frontend.pool == pool);
        let frontends = frontends.filter_map(|frontend| {
            let addresses = match frontend.kind {
                FrontendKind::Vip if frontend.addresses.is_empty() => self.vips(&frontend.name),
                FrontendKind::Vip | FrontendKind::Loopback => frontend.addresses.clone(),
                // Only its own matters: where it is for no other, others are left alone.
                FrontendKind::NodeAddress => {
                    let all = frontend.addresses.is_empty();
                    (all || frontend.addresses.contains(&address)).then_some(vec![address])?
                }
            };
            Some((frontend.name.clone(), frontend.coverage.clone(), addresses))
        });
        let mut frontends: Vec<_> = frontends.collect();
        // What clients outside dial is checked by the same certificate, and nothing chooses for them.
        let vip = self.config.iter().filter_map(|config| config.vip.as_ref());
        let vip = vip.filter(|plan| plan.pool == pool).map(|plan| {
            let addresses = plan.addresses().filter(|ip| ip.is_ipv4() == address.is_ipv4());
            let addresses = addresses.map(|ip| SocketAddr::new(ip, plan.port));
            ("vip".to_owned(), Coverage::Address, addresses.collect::<Vec<_>>())
        });
        let vip = vip.filter(|(_, _, own)| {
            !own.is_empty()
                && !frontends.iter().any(|(_, _, all)| own.iter().all(|one| all.contains(one)))
        });
        let vip: Vec<_> = vip.collect();
        frontends.extend(vip);
        Target { pool: pool.to_owned(), address, check: check.clone(), frontends }
    }

    /// The addresses of a frontend that has those of the Service.
    fn vips(&self, name: &str) -> Vec<SocketAddr> {
        let frontends = self.status.iter().flat_map(|status| &status.frontends);
        let found = frontends.filter(|frontend| frontend.name == name);
        found.flat_map(|frontend| frontend.addresses.iter().copied()).collect()
    }

    /// What is to be decided about the configuration.
    pub(super) fn configuration(&self, targets: &[Target]) -> Configuration {
        let status = self.status.as_ref().ok();
        let mut pools: Vec<(String, usize)> = Vec::new();
        let of_service = |pool: &str| self.service_of(pool).is_some();
        let configured = self.config.iter().flat_map(|config| &config.pools);
        pools.extend(configured.map(|pool| (pool.name.clone(), 0)));
        for target in targets.iter().filter(|target| !of_service(&target.pool)) {
            match pools.iter_mut().find(|(name, _)| *name == target.pool) {
                Some((_, count)) => *count += 1,
                None => pools.push((target.pool.clone(), 1)),
            }
        }
        let reload_error = status.and_then(|status| status.config.last_reload_error.clone());
        let mut unresolved: Vec<String> =
            status.map(|status| status.config.unresolved.clone()).unwrap_or_default();
        if unresolved.is_empty() {
            let lines = self.config.iter().flat_map(Config::unresolved);
            unresolved.extend(lines.map(str::to_owned));
        }
        let sources = status.iter().flat_map(|status| &status.discovery.sources);
        let sources = sources
            .filter(|source| source.kind != SourceKind::Service.label())
            .filter_map(|source| Some(format!("{}: {}", source.name, source.error.as_ref()?)));
        Configuration {
            file: self.file.clone(),
            reload_error,
            unresolved,
            sources: sources.collect(),
            frontends: status
                .map(|status| frontends(status, |frontend| !of_service(&frontend.pool)))
                .unwrap_or_default(),
            pools,
            listeners: self.listeners(),
            failover: self.config.as_ref().map(failover).unwrap_or_default(),
        }
    }

    /// The Service that a pool is of.
    fn service_of(&self, pool: &str) -> Option<&config::Service> {
        let mut services = self.config.iter().flat_map(|config| &config.services);
        services.find(|service| service.has_pool(pool))
    }

    /// What is to be decided about Services: nothing without an agent that has heard of them.
    pub(super) fn services(&self) -> Vec<Service> {
        let Ok(status) = &self.status else { return Vec::new() };
        let services = self.config.iter().flat_map(|config| &config.services);
        services.map(|service| self.service(status, service)).collect()
    }

    fn service(&self, status: &Status, service: &config::Service) -> Service {
        let ServicePlan { name, topology, given, .. } = &service.plan;
        let id = SourceId { kind: SourceKind::Service, name: Arc::clone(name) }.to_string();
        let source = status.discovery.sources.iter().find(|source| source.name == id);
        let of = |pool: &&status::Pool| service.has_pool(&pool.name);
        let pools: Vec<_> = status.pools.iter().filter(of).collect();
        // What is far by the word of the cluster.
        let far = match topology {
            Topology::PreferNode => 2,
            Topology::PreferZone => 1,
            Topology::None => u8::MAX,
        };
        let pool = |pool: &&status::Pool| services::Pool {
            name: pool.name.clone(),
            backends: pool.backends.len(),
            eligible: pool.backends.iter().filter(|backend| backend.is_eligible()).count(),
            has_near: pool.backends.iter().any(|backend| backend.band < far),
        };
        let left_out = status.discovery.left_out.iter().filter(|line| service.is_named_by(line));
        let is_unheard = given.is_none() && source.is_none_or(|source| source.heard_ms.is_none());
        let is_cached = **name == *CLUSTER_DNS
            && !self.has_service(CACHED_DNS)
            && if_nametoindex(CACHE).is_ok();
        Service {
            name: name.to_string(),
            error: source.and_then(|source| source.error.clone()),
            is_unheard: is_unheard && pools.is_empty(),
            left_out: left_out.cloned().collect(),
            pools: pools.iter().map(pool).collect(),
            prefers_near: *topology != Topology::None,
            cache: is_cached.then(|| CACHE.to_owned()),
        }
    }

    fn has_service(&self, name: &str) -> bool {
        let mut services = self.config.iter().flat_map(|config| &config.services);
        services.any(|service| *service.plan.name == *name)
    }

    fn listeners(&self) -> Vec<(SocketAddr, Option<String>)> {
        let configured = self.config.iter().flat_map(Config::loopback_addresses);
        let found = configured.map(|address| {
            let listeners = self.status.iter().flat_map(|status| &status.listeners);
            let mut of_agent = listeners.filter(|listener| listener.address == address);
            let own = of_agent.any(|listener| listener.state == ListenerState::Listening);
            (address, if own { None } else { listeners::owner(address) })
        });
        found.collect()
    }
}

/// A backend of nobody's pool: trusted as it comes, since only the way to it is looked at.
fn stranger() -> HealthCheck {
    HealthCheck {
        kind: Kind::Https(Get { path: "/readyz".to_owned(), accept: Accept::default() }),
        port: None,
        health_port: None,
        is_api: true,
        timeout: TIMEOUT,
        credentials: Credentials { insecure_skip_verify: true, ..Credentials::default() },
    }
}

fn frontends(status: &Status, is_meant: impl Fn(&status::Frontend) -> bool) -> Vec<Frontend> {
    let serves = |pool: &str, address: SocketAddr| {
        let mut backends = status.backends();
        backends.any(|(name, backend)| {
            name == pool && backend.address == address && backend.is_eligible()
        })
    };
    let frontends = status.frontends.iter().filter(|frontend| is_meant(frontend));
    let frontends = frontends.map(|frontend| {
        let used = frontend.backends.iter().filter(|backend| backend.used);
        let eligible = used.filter(|backend| serves(&frontend.pool, backend.address)).count();
        Frontend {
            name: match frontend.home {
                Some(home) => format!("{} {home}", frontend.name),
                None => frontend.name.clone(),
            },
            backends: frontend.backends.len(),
            eligible,
        }
    });
    frontends.collect()
}

/// The longest time from a backend's silence to a verdict when only probes tell of it.
fn failover(config: &Config) -> Vec<(String, Duration)> {
    let pools = config.pools.iter().map(|pool| {
        let health = &pool.health;
        let wait = health.interval.mul_f64(1.0 + health.jitter / 2.0);
        let again = (health.confirm_interval + pool.check.timeout) * health.fall.saturating_sub(1);
        (pool.name.clone(), wait + pool.check.timeout + again)
    });
    pools.collect()
}

fn status(socket: &Path) -> Result<Status, String> {
    let body = ask(socket, Question::get(STATUS_PATH)).map_err(|error| error.to_string())?;
    serde_json::from_slice(&body).map_err(|error| format!("its document cannot be read: {error}"))
}

/// Reads the configuration, unless that takes too long.
fn load(file: &Path) -> Result<Config, String> {
    let (send, receive) = mpsc::channel();
    let path = file.to_owned();
    thread::spawn(move || {
        let loaded = driver::load(&path, Unresolved::Remember);
        // Nobody may be waiting any more.
        let _late = send.send(loaded.map_err(|error| error.to_string()));
    });
    let late = |_| {
        let file = file.display();
        Err(format!("{file}: it names servers that no resolver has resolved in 3 s"))
    };
    receive.recv_timeout(READING).unwrap_or_else(late)
}
