//! Joins the core to the world: the only module that knows both.
//!
//! One task, `Driver::serve`, puts every event in an order and owns the truth: the machine, the
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
mod config;
mod drain;
mod load;
mod probes;
mod shutdown;
mod status;
mod sync;

use std::collections::BTreeSet;
use std::future;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::socket::SockaddrStorage;
use nllb_common::EventKind;
use nllb_core::{Command, EvidenceFact, Machine, TableError};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::{debug, error, info, warn};

use crate::admin;
use crate::config::Config;
use crate::datapath::maps::{KernelMaps, Maps as _, Sockets};
use crate::datapath::{Datapath, DatapathError, Opened, events};
use crate::drain::DrainRequest;
use crate::metrics::http;
use crate::relay::Relays;
use crate::reload::Reload;
use crate::status::StatusRequest;

use self::attachment::Attached;
use self::config::Reloads;
use self::probes::Probes;
use self::shutdown::Stop;
use self::sync::Sync;

pub use self::load::load;

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

/// The agent's state.
struct Driver {
    file: PathBuf,
    config: Config,
    machine: Machine,
    maps: KernelMaps,
    sync: Sync,
    attached: Attached,
    sockets: Rc<Sockets>,
    probes: Probes,
    relays: Relays,
    reloads: Reloads,
    started: Instant,
    adopted: bool,
}

/// Where events come from.
struct Inputs {
    events: events::Events,
    status: mpsc::Receiver<StatusRequest>,
    drains: mpsc::Receiver<DrainRequest>,
    reload: Reload,
    stop: Stop,
    /// Held so that the servers end with the driver.
    _servers: JoinSet<()>,
}

impl Driver {
    /// Sets everything up: the data path first, so that connects are served while the rest starts.
    async fn start(file: &Path, config: Config) -> Result<(Self, Inputs), RunError> {
        let stop = Stop::new().map_err(setup("wait for signals"))?;
        let settings = config::datapath_settings(&config);
        // Before the data path is touched, so that a second agent changes nothing.
        let admin =
            admin::Listener::bind(&config.admin.socket).map_err(setup("open the admin socket"))?;
        let http = http::Listener::bind(config.http.listen)
            .map_err(setup(&format!("listen on {}", config.http.listen)))?;
        let reload = Reload::watch(file, config.sources())
            .map_err(setup(&format!("watch {}", file.display())))?;

        let now = Instant::now();
        let mut machine = Machine::new(config.settings(), seed(), now)
            .map_err(|source| RunError::Table { file: file.to_owned(), source })?;
        let Opened { mut datapath, mut maps, sockets, events, log, adopted } =
            Datapath::open(&settings)?;
        let mut sync = Sync::start(&maps).map_err(DatapathError::from)?;
        machine.adopt_table(sync.actual());
        machine.handle_own_addresses(own_addresses(), now);
        if let Err(error) = sync.apply(&mut maps, machine.table(), Instant::now) {
            // Whatever could be written is in place; every renewal of the lease tries again.
            error!(%error, "the maps are not as configured");
        }
        datapath.remove_other_versions();
        let mut attached = Attached::install(datapath, &mut maps).await?;
        let sockets = Rc::new(sockets);
        let findings = attached.test(&sockets).await;
        attached.conclude(findings, &mut maps);

        let (status_requests, status) = mpsc::channel(STATUS_QUEUE);
        let (drain, drains) = mpsc::channel(STATUS_QUEUE);
        let mut servers = JoinSet::new();
        let sources = admin::Sources { status: status_requests.clone(), drain };
        servers.spawn_local(admin.serve(sources));
        servers.spawn_local(http.serve(status_requests));
        if let Some(log) = log {
            servers.spawn_local(async move {
                let error = log.forward().await;
                warn!(%error, "diagnostics of the BPF programs have ended");
            });
        }
        let mut driver = Self {
            file: file.to_owned(),
            probes: Probes::new(config::probers(&config), Rc::clone(&sockets)),
            config,
            machine,
            maps,
            sync,
            attached,
            sockets,
            relays: Relays::default(),
            reloads: Reloads { generation: 1, applied_at: now, error: None },
            started: now,
            adopted,
        };
        driver.renew_lease();
        driver.relays.set(driver.config.loopback_addresses());
        info!(
            adopted,
            cgroup = %driver.attached.datapath().cgroup().path().display(),
            frontends = driver.config.frontends.len(),
            "data path in place"
        );
        Ok((driver, Inputs { events, status, drains, reload, stop, _servers: servers }))
    }

    /// Takes events one at a time until a signal ends it.
    async fn serve(mut self, inputs: Inputs) {
        let Inputs { mut events, mut status, mut drains, mut reload, mut stop, _servers } = inputs;
        let mut lease = ticker(self.config.lease / RENEWALS);
        let mut self_test = ticker(self.config.self_test_interval);
        let mut tests = JoinSet::new();
        let mut loads = JoinSet::new();
        let mut hears = true;
        self.perform();
        loop {
            let due = self.machine.poll_timeout();
            tokio::select! {
                // What clients feel comes first.
                biased;
                ((id, epoch), report) = self.probes.next() => {
                    self.machine.handle_probe(id, epoch, report, Instant::now());
                }
                event = events.next(), if hears => match event {
                    Ok(event) => self.hear(event),
                    Err(error) => {
                        error!(%error, "no more events from the kernel; probes go on without");
                        hears = false;
                    }
                },
                () = at(due) => self.machine.handle_timeout(Instant::now()),
                _ = lease.tick() => self.renew_lease(),
                _ = self_test.tick(), if tests.is_empty() => {
                    tests.spawn_local(self.attached.test(&self.sockets));
                }
                Some(Ok(findings)) = tests.join_next() => {
                    self.look_around();
                    if self.attached.conclude(findings, &mut self.maps) {
                        self_test.reset_immediately();
                    }
                }
                Some(request) = status.recv() => request.answer(self.status()),
                Some(request) = drains.recv() => {
                    let answer = self.drain(request.backend(), request.order());
                    request.answer(answer);
                }
                // One after another, else an older file could win.
                () = reload.next(), if loads.is_empty() => {
                    let file = self.file.clone();
                    loads.spawn_blocking(move || load(&file));
                }
                Some(Ok(loaded)) = loads.join_next() => {
                    let before = (self.config.lease, self.config.self_test_interval);
                    if self.take_config(loaded) {
                        reload.set_sources(self.config.sources());
                    }
                    // Only then, or frequent reloads would keep them from ever ticking.
                    if before != (self.config.lease, self.config.self_test_interval) {
                        self.renew_lease();
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
                Command::Probe { id, epoch, addr, pool, connect_timeout, via: _ } => {
                    self.probes.start((id, epoch), addr, pool, connect_timeout);
                }
                command @ (Command::Open { .. }
                | Command::Ping { .. }
                | Command::Inspect { .. }
                | Command::Ask { .. }
                | Command::Close { .. }) => debug!(?command, "not carried out yet"),
                Command::Transition { id, addr, from, to, reason } => {
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

    /// Brings the maps to the machine's table.
    fn apply(&mut self) {
        match self.sync.apply(&mut self.maps, self.machine.table(), Instant::now) {
            Ok(()) => debug!(duration = ?self.sync.last_duration, "maps written"),
            Err(error) => error!(%error, "cannot write the maps; the older state stays"),
        }
    }

    fn hear(&mut self, event: nllb_common::Event) {
        let Some(kind) = EventKind::from_number(event.kind) else {
            return;
        };
        debug!(backend = event.backend, ?kind, "evidence");
        let fact = EvidenceFact { backend: event.backend, epoch: event.epoch, kind };
        self.machine.handle_evidence(fact, Instant::now());
    }

    /// What changes without anybody telling.
    fn look_around(&mut self) {
        self.machine.handle_own_addresses(own_addresses(), Instant::now());
        if let Err(error) = self.maps.sweep_netns() {
            debug!(%error, "cannot forget network namespaces");
        }
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
}

/// The addresses of this host.
fn own_addresses() -> BTreeSet<IpAddr> {
    match nix::ifaddrs::getifaddrs() {
        Ok(interfaces) => interfaces.filter_map(|interface| ip(&interface.address?)).collect(),
        Err(error) => {
            warn!(%error, "cannot list this host's addresses");
            BTreeSet::new()
        }
    }
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
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
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    nllb_common::mix(now.subsec_nanos() ^ std::process::id())
}

fn setup(what: &str) -> impl FnOnce(io::Error) -> RunError {
    let what = what.to_owned();
    move |source| RunError::Setup { what, source }
}
