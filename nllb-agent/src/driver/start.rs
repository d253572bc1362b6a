//! How the agent comes up: the data path first, so that connects are served while the rest starts.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use nllb_core::Machine;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::alarm::Alarm;
use super::announcements::Announcements;
use super::attachment::Attached;
use super::closings::Closings;
use super::config::{self, Reloads};
use super::expiry::ExpiryWarnings;
use super::failovers::Failovers;
use super::guests::Sandboxed;
use super::hints::Hints;
use super::journal;
use super::members::Members;
use super::memory::Reading;
use super::node;
use super::ownership::Owning;
use super::probes::Probes;
use super::sentinels::Sentinels;
use super::sync::Sync;
use super::upkeep::own_addresses;
use super::vip::ServedVip;
use super::{Driver, Inputs, RunError};
use crate::admin;
use crate::config::Config;
use crate::confine::Confinement;
use crate::datapath::closing::Closer;
use crate::datapath::packet::PacketSocket;
use crate::datapath::{Datapath, DatapathError, Opened};
use crate::journal::What;
use crate::metrics::http;
use crate::network::Network;
use crate::relay::Relays;
use crate::reload::Reload;
use crate::service_manager::ServiceManager;
use crate::shutdown::Stop;
use crate::telemetry::LogLevel;

/// Requests that wait: each is answered at once, so more than a few means a stuck driver, and then those
/// who ask should wait in their socket instead of here.
const REQUEST_QUEUE: usize = 16;

impl Driver {
    /// Sets everything up: the data path first, so that connects are served while the rest starts.
    pub(super) async fn start(
        file: &Path,
        config: Config,
        (log_level, mut confinement): (LogLevel, Confinement),
        announcer: Option<PacketSocket>,
    ) -> Result<(Self, Inputs), RunError> {
        let stop = Stop::new().map_err(setup("wait for signals"))?;
        let alarm = Alarm::new().map_err(setup("make a timer"))?;
        let settings = config::datapath_settings(&config);
        // Before the data path is touched, so that a second agent changes nothing.
        let admin =
            admin::Listener::bind(&config.admin.socket).map_err(setup("open the admin socket"))?;
        let http = http::Listener::bind(config.http.listen)
            .map_err(setup(&format!("listen on {}", config.http.listen)))?;
        let reload = Reload::watch(file, config.sources())
            .map_err(setup(&format!("watch {}", file.display())))?;

        // Until the data path is open it is read.
        let table = Reading::begin(config.state.file.clone());
        let journal = journal::Reading::begin(config.state.journal.clone());
        let (now, seed) = (Instant::now(), seed());
        let mut machine = Machine::new(config.settings(), seed, now)
            .map_err(|source| RunError::Table { file: file.to_owned(), source })?;
        let Opened { datapath, mut maps, sockets, vip, events, log, guests, adopted } =
            Datapath::open(&settings)?;
        confinement.load_no_more();
        let closer = Closer::start(datapath.directory(), config::close_sockets(&config));
        let mut sync = Sync::start(&maps, Instant::now()).map_err(DatapathError::from)?;
        let ((memory, known), (journal, past)) = tokio::join!(table.end(), journal.end());
        let mut members = Members::new(&config, &known, sync.actual(), seed);
        let (filled, served) = members.filled(&config);
        match machine.handle_members(filled, now) {
            Ok(()) => members.applied(served),
            Err(error) => {
                error!(%error, "the hosts that are remembered cannot all be backends; those configured can");
                members.problem = Some(error.to_string());
            }
        }
        machine.adopt_table(sync.actual());
        machine.handle_known(&known.backends, now);
        let own = own_addresses().unwrap_or_default();
        let owning = Owning::start(&config, announcer, own.clone(), seed);
        machine.handle_own_addresses(own);
        if let Err(error) = sync.apply(&mut maps, machine.table(), Instant::now) {
            // Whatever could be written is in place; every renewal of the lease tries again.
            error!(%error, "the maps are not as configured");
        }
        let mut attached = Attached::install(datapath, &mut maps).await?;
        attached.serve_datagrams(machine.table(), &mut maps);
        let sockets = Rc::new(sockets);
        let findings = attached.test(&sockets).await;
        attached.conclude(findings, &mut maps);

        let (status_requests, status) = mpsc::channel(REQUEST_QUEUE);
        let (history, histories) = mpsc::channel(REQUEST_QUEUE);
        let (drain, drains) = mpsc::channel(REQUEST_QUEUE);
        let (log_requests, logs) = mpsc::channel(REQUEST_QUEUE);
        let mut servers = JoinSet::new();
        let sources = admin::Sources {
            status: status_requests.clone(),
            history,
            drain,
            events: journal.feed(),
            log: log_requests,
        };
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
            sentinels: Sentinels::new(Rc::clone(&sockets)),
            closings: Closings::new(closer),
            failovers: Failovers::default(),
            hints: Hints::default(),
            members,
            network: watch_network(),
            memory,
            journal,
            announcements: Announcements::default(),
            owning,
            expiry: ExpiryWarnings::default(),
            config,
            machine,
            maps,
            sync,
            attached,
            sandboxed: Sandboxed::new(guests),
            sockets,
            relays: Relays::default(),
            vip: ServedVip::new(vip),
            manager: ServiceManager::find(),
            log: log_level,
            confinement,
            reloads: Reloads { generation: 1, applied_at: now, error: None },
            started: now,
            adopted,
        };
        let services = &driver.members.served.pools;
        driver.probes.set_service_probers(driver.config.pools.len(), services);
        driver.sentinels.set_node_name(node::name(&driver.config));
        driver.announcements.configure(&driver.config, now);
        driver.journal.start(&past, &driver.machine.view());
        let (version, pid) = (env!("CARGO_PKG_VERSION").to_owned(), std::process::id());
        driver.record([What::Started { version, adopted, pid }]);
        driver.keep_known("it starts");
        driver.record_attachment();
        driver.renew_lease();
        driver.serve_vip();
        driver.begin_ownership();
        match driver.sync.due() {
            Some(_) => driver.members.listen_ahead(&driver.config),
            None => driver.open_frontends(),
        }
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
                alarm,
                status,
                histories,
                drains,
                logs,
                reload,
                stop,
                _servers: servers,
            },
        ))
    }
}

impl Driver {
    /// The frontends lead somewhere: starts what stands behind them and what dials them.
    pub(super) fn open_frontends(&mut self) {
        self.attached.replace_other_versions(&mut self.maps, &self.sync);
        self.relays.set(self.config.loopback_addresses());
        self.members.listen(&self.config);
    }
}

/// Spreads the probes of different nodes, and of one node's successive agents.
fn seed() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    nllb_common::mix(now.subsec_nanos() ^ std::process::id())
}

/// An agent that does not see changes of the network finds them by its probes, later.
fn watch_network() -> Option<Network> {
    Network::watch().map_err(|error| warn!(%error, "changes of the network are not seen")).ok()
}

fn setup(what: &str) -> impl FnOnce(io::Error) -> RunError {
    let what = what.to_owned();
    move |source| RunError::Setup { what, source }
}
