//! Joins the core to the world: the only module that knows both.
//!
//! One task, [`Driver::serve`], puts every event in an order and owns the truth: the machine, the
//! maps and the attachment. Around it, on the same thread:
//!
//! | task | owns | when it is cancelled |
//! |---|---|---|
//! | one per probe under way | its connection | the connection closes, nothing is reported |
//! | the self-test | its connections | they close, nothing is concluded |
//! | admin server, HTTP server | their listeners | clients see the connection close |
//! | one relay per loopback address | its listener and connections | those connections close |
//! | log of the BPF programs | its ring buffer | lines not read yet are lost |
//!
//! The kernel programs need none of them: when the agent ends, they go on.

mod attachment;
mod shutdown;
mod status;
mod sync;

use std::collections::{BTreeMap, HashMap};
use std::future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use nllb_common::EventKind;
use nllb_core::{
    BackendId, Command, EvidenceFact, FrontendKind, Machine, Outcome, ProbeReport, TableError,
};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{self, JoinError, JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::{debug, error, info, warn};

use crate::admin;
use crate::config::{self, Config, ConfigError};
use crate::datapath::attach::CgroupChoice;
use crate::datapath::load::BpfLogLevel;
use crate::datapath::maps::{KernelMaps, Maps as _, Sockets};
use crate::datapath::{self, Datapath, DatapathError, Opened, events};
use crate::http;
use crate::probe::Prober;
use crate::relay::Relays;
use crate::reload::Reload;
use crate::status::StatusRequest;

use self::attachment::Attached;
use self::shutdown::Stop;
use self::sync::Sync;

/// Status requests that wait: each is answered at once, so more than a few means a stuck driver, and
/// then those who ask should wait in their socket instead of here.
const STATUS_QUEUE: usize = 16;

/// Renewals of the lease in its length: two may be missed.
const RENEWALS: u32 = 3;

/// Why the agent could not run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The runtime could not be made.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
    /// The data path could not be set up.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The configuration gives no table.
    #[error("{file}: {source}")]
    Table {
        /// The configuration file.
        file: PathBuf,
        /// What is too much.
        #[source]
        source: TableError,
    },
    /// A listener, a signal or a file watch could not be set up.
    #[error("cannot {what}: {source}")]
    Setup {
        /// What was tried.
        what: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Runs the agent until a signal ends it. The data path stays in place.
///
/// # Errors
/// When it cannot be set up; what an earlier agent left in place stays.
pub fn run(file: &Path, config: Config) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    LocalSet::new().block_on(&runtime, async {
        let (driver, inputs) = Driver::start(file, config).await?;
        driver.serve(inputs).await;
        Ok(())
    })
}

/// The result of a probe, with what it was of.
type Probed = (BackendId, u32, ProbeReport);

/// The agent's state.
struct Driver {
    file: PathBuf,
    config: Config,
    machine: Machine,
    maps: KernelMaps,
    sync: Sync,
    attached: Attached,
    sockets: Rc<Sockets>,
    probers: Vec<Rc<Prober>>,
    probes: JoinSet<ProbeReport>,
    probing: HashMap<task::Id, (BackendId, u32)>,
    /// Probes so far, by backend and outcome.
    outcomes: HashMap<(BackendId, u32), BTreeMap<&'static str, u64>>,
    relays: Relays,
    reloads: Reloads,
    started: Instant,
    adopted: bool,
}

/// How the configuration got where it is.
#[derive(Debug)]
struct Reloads {
    /// Counts the configurations applied.
    generation: u64,
    applied_at: Instant,
    /// Why the last one was refused.
    error: Option<String>,
}

/// Where events come from.
struct Inputs {
    events: events::Events,
    status: mpsc::Receiver<StatusRequest>,
    reload: Reload,
    stop: Stop,
    /// Held so that the servers end with the driver.
    _servers: JoinSet<()>,
}

impl Driver {
    /// Sets everything up: the data path first, so that connects are served while the rest starts.
    async fn start(file: &Path, config: Config) -> Result<(Self, Inputs), RunError> {
        let stop = Stop::new().map_err(setup("wait for signals"))?;
        let settings = datapath_settings(&config);
        // Before the data path is touched, so that a second agent changes nothing.
        let admin =
            admin::Listener::bind(&config.admin.socket).map_err(setup("open the admin socket"))?;
        let http = http::Listener::bind(config.http.listen)
            .map_err(setup(&format!("listen on {}", config.http.listen)))?;
        let reload = Reload::watch(file, config.sources())
            .map_err(setup(&format!("watch {}", file.display())))?;

        let now = Instant::now();
        let mut machine =
            Machine::new(config.settings(), seed(), now).map_err(|source| RunError::Table {
                file: file.to_owned(),
                source,
            })?;
        let Opened {
            datapath,
            mut maps,
            sockets,
            events,
            log,
            adopted,
        } = Datapath::open(&settings)?;
        let mut sync = Sync::start(&maps).map_err(DatapathError::from)?;
        machine.adopt_table(sync.actual());
        if let Err(error) = sync.apply(&mut maps, machine.table(), Instant::now) {
            // Whatever could be written is in place; every renewal of the lease tries again.
            error!(%error, "the maps are not as configured");
        }
        let mut attached = Attached::install(datapath, &mut maps).await?;
        let sockets = Rc::new(sockets);
        let report = attached.test(&sockets).await;
        attached.conclude(report, &mut maps);

        let (status_requests, status) = mpsc::channel(STATUS_QUEUE);
        let mut servers = JoinSet::new();
        servers.spawn_local(admin.serve(status_requests.clone()));
        servers.spawn_local(http.serve(status_requests));
        if let Some(log) = log {
            servers.spawn_local(async move {
                let error = log.forward().await;
                warn!(%error, "diagnostics of the BPF programs have ended");
            });
        }
        let mut driver = Self {
            file: file.to_owned(),
            probers: probers(&config),
            config,
            machine,
            maps,
            sync,
            attached,
            sockets,
            probes: JoinSet::new(),
            probing: HashMap::new(),
            outcomes: HashMap::new(),
            relays: Relays::default(),
            reloads: Reloads {
                generation: 1,
                applied_at: now,
                error: None,
            },
            started: now,
            adopted,
        };
        driver.renew_lease();
        driver.relays.set(loopback_addresses(&driver.config));
        info!(
            adopted,
            cgroup = %driver.attached.datapath().cgroup().path().display(),
            frontends = driver.config.frontends.len(),
            "data path in place"
        );
        Ok((
            driver,
            Inputs {
                events,
                status,
                reload,
                stop,
                _servers: servers,
            },
        ))
    }

    /// Takes events one at a time until a signal ends it.
    async fn serve(mut self, inputs: Inputs) {
        let Inputs {
            mut events,
            mut status,
            mut reload,
            mut stop,
            _servers,
        } = inputs;
        let mut lease = ticker(self.config.lease / RENEWALS);
        let mut self_test = ticker(self.config.self_test_interval);
        let mut tests = JoinSet::new();
        self.perform();
        loop {
            let due = self.machine.poll_timeout();
            tokio::select! {
                // What clients feel comes first.
                biased;
                Some(probed) = next_probe(&mut self.probes, &mut self.probing) => {
                    self.take_report(probed);
                }
                event = events.next() => match event {
                    Ok(event) => self.hear(event),
                    Err(error) => {
                        // Probes still find everything, only later.
                        error!(%error, "no more events from the kernel");
                        break;
                    }
                },
                () = at(due) => self.machine.handle_timeout(Instant::now()),
                _ = lease.tick() => self.renew_lease(),
                _ = self_test.tick(), if tests.is_empty() => {
                    tests.spawn_local(self.attached.test(&self.sockets));
                }
                Some(Ok(report)) = tests.join_next() => {
                    if self.attached.conclude(report, &mut self.maps) {
                        self_test.reset_immediately();
                    }
                }
                Some(request) = status.recv() => request.answer(self.status()),
                () = reload.next() => {
                    if self.reload() {
                        reload.set_sources(self.config.sources());
                        lease = ticker(self.config.lease / RENEWALS);
                        self_test = ticker(self.config.self_test_interval);
                    }
                }
                reason = stop.requested() => {
                    info!(reason, "stopping; the data path stays in place");
                    break;
                }
            }
            self.perform();
        }
    }

    /// Carries out what the machine wants.
    fn perform(&mut self) {
        while let Some(command) = self.machine.next_command() {
            match command {
                Command::Apply => self.apply(),
                Command::Probe {
                    id,
                    epoch,
                    addr,
                    pool,
                } => self.probe(id, epoch, addr, pool),
                Command::Transition {
                    id,
                    addr,
                    from,
                    to,
                    reason,
                } => {
                    info!(
                        backend = %addr,
                        %id,
                        from = from.label(),
                        to = to.label(),
                        reason,
                        "backend changed its state"
                    );
                }
            }
        }
    }

    fn apply(&mut self) {
        match self
            .sync
            .apply(&mut self.maps, self.machine.table(), Instant::now)
        {
            Ok(()) => debug!(duration = ?self.sync.last_duration, "maps written"),
            Err(error) => error!(%error, "cannot write the maps; the older state stays"),
        }
    }

    fn probe(&mut self, id: BackendId, epoch: u32, addr: SocketAddr, pool: usize) {
        let Some(prober) = self.probers.get(pool).cloned() else {
            return;
        };
        let sockets = Rc::clone(&self.sockets);
        let handle = self.probes.spawn_local(async move {
            prober
                .probe(addr, |socket| Ok(sockets.bypass(&socket, id.0, epoch)?))
                .await
        });
        self.probing.insert(handle.id(), (id, epoch));
    }

    fn take_report(&mut self, (id, epoch, report): Probed) {
        let counts = self.outcomes.entry((id, epoch)).or_default();
        *counts.entry(report.outcome.label()).or_default() += 1;
        self.machine.handle_probe(id, epoch, report, Instant::now());
    }

    fn hear(&mut self, event: nllb_common::Event) {
        let Some(kind) = EventKind::from_number(event.kind) else {
            return;
        };
        debug!(backend = event.backend, ?kind, "evidence");
        let fact = EvidenceFact {
            backend: event.backend,
            epoch: event.epoch,
            kind,
        };
        self.machine.handle_evidence(fact, Instant::now());
    }

    /// Renews the lease, and makes good what an earlier round could not write.
    fn renew_lease(&mut self) {
        let control = self.attached.datapath().lease(self.config.lease);
        if let Err(error) = self.maps.set_control(control) {
            error!(%error, "cannot renew the lease");
        }
        if self.sync.error.is_some() {
            let desired = self.machine.table();
            if let Err(error) = self.sync.resync(&mut self.maps, desired, Instant::now) {
                debug!(%error, "the maps are still not as wanted");
            }
        }
    }

    /// Reads the configuration again; says whether a new one is in force. A bad one changes nothing.
    fn reload(&mut self) -> bool {
        match self.try_reload() {
            Ok(false) => {
                self.reloads.error = None;
                false
            }
            Ok(true) => {
                let Reloads {
                    generation,
                    applied_at,
                    error,
                } = &mut self.reloads;
                *generation += 1;
                *applied_at = Instant::now();
                *error = None;
                info!(generation, "new configuration in force");
                true
            }
            Err(reason) => {
                warn!(%reason, "configuration refused; the old one stays");
                self.reloads.error = Some(reason);
                false
            }
        }
    }

    fn try_reload(&mut self) -> Result<bool, String> {
        let config = Config::load(&self.file).map_err(|error: ConfigError| error.to_string())?;
        if config == self.config {
            // Files that it names may have changed; probers read those by themselves.
            return Ok(false);
        }
        if let Some(key) = fixed_key(&self.config, &config) {
            return Err(format!(
                "{}: {key} cannot be changed while the agent runs; restart it",
                self.file.display()
            ));
        }
        self.machine
            .handle_settings(config.settings(), Instant::now())
            .map_err(|error| format!("{}: {error}", self.file.display()))?;
        self.probers = probers(&config);
        self.config = config;
        self.relays.set(loopback_addresses(&self.config));
        Ok(true)
    }
}

/// Where sockets that cannot be translated are served by a relay.
fn loopback_addresses(config: &Config) -> impl Iterator<Item = SocketAddr> {
    let loopback = |frontend: &&config::Frontend| frontend.kind == FrontendKind::Loopback;
    config
        .frontends
        .iter()
        .filter(loopback)
        .flat_map(|frontend| frontend.addresses.clone())
}

/// The key that differs and takes effect only at a start.
fn fixed_key(old: &Config, new: &Config) -> Option<&'static str> {
    if old.datapath != new.datapath {
        Some("datapath")
    } else if old.admin != new.admin {
        Some("admin")
    } else if old.http != new.http {
        Some("http")
    } else {
        None
    }
}

fn probers(config: &Config) -> Vec<Rc<Prober>> {
    config
        .pools
        .iter()
        .map(|pool| Rc::new(Prober::new(pool.check.clone())))
        .collect()
}

fn datapath_settings(config: &Config) -> datapath::Settings {
    let config::Datapath {
        bpffs,
        cgroup,
        log_level,
    } = config.datapath.clone();
    datapath::Settings {
        bpffs,
        cgroup: match cgroup {
            config::Cgroup::Auto => CgroupChoice::Auto,
            config::Cgroup::Path(path) => CgroupChoice::Path(path),
        },
        log_level: match log_level {
            config::LogLevel::Off => BpfLogLevel::Off,
            config::LogLevel::Error => BpfLogLevel::Error,
            config::LogLevel::Warn => BpfLogLevel::Warn,
            config::LogLevel::Info => BpfLogLevel::Info,
            config::LogLevel::Debug => BpfLogLevel::Debug,
            config::LogLevel::Trace => BpfLogLevel::Trace,
        },
    }
}

/// The next probe that ended; never, while none is under way.
async fn next_probe(
    probes: &mut JoinSet<ProbeReport>,
    probing: &mut HashMap<task::Id, (BackendId, u32)>,
) -> Option<Probed> {
    let joined = match probes.join_next_with_id().await {
        Some(joined) => joined,
        None => return future::pending().await,
    };
    let (task, report) = match joined {
        Ok((task, report)) => (task, report),
        Err(error) => (error.id(), lost(&error)),
    };
    let (id, epoch) = probing.remove(&task)?;
    Some((id, epoch, report))
}

/// The report of a probe that died: the machine waits for one.
fn lost(error: &JoinError) -> ProbeReport {
    error!(%error, "a probe died");
    ProbeReport {
        outcome: Outcome::Local {
            reason: error.to_string(),
        },
        rtt: None,
        latency: Duration::ZERO,
        certificate: None,
        unix_time: 0,
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => future::pending().await,
    }
}

/// Ticks that are late are not made up for: one renewal is as good as three.
fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticker = interval(period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker.reset();
    ticker
}

/// Spreads the probes of different nodes, and of one node's successive agents.
fn seed() -> u32 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    nllb_common::mix(now.subsec_nanos() ^ std::process::id())
}

fn setup(what: &str) -> impl FnOnce(io::Error) -> RunError {
    let what = what.to_owned();
    move |source| RunError::Setup { what, source }
}
