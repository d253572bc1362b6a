//! Joins the core to the world: the only module that knows both.
//!
//! One task, `Driver::serve`, puts every event in an order and owns the truth: the machine, the
//! maps and the attachment. Around it, on the same thread:
//!
//! | task | owns | when it is cancelled |
//! |---|---|---|
//! | one per probe under way | its connection | the connection closes, nothing is reported |
//! | one per sentinel | its connection | the connection closes, nothing is reported |
//! | one per order to close connections | its list of sockets | waves that have not begun are left out |
//! | writing the table on disk, and the journal (a blocking thread each) | a file | it is written all the same |
//! | the self-test | its connections | they close, nothing is concluded |
//! | admin server, HTTP server | their listeners | clients see the connection close |
//! | one relay per loopback address | its listener and connections | those connections close |
//! | one for guests (each look on a blocking thread) | the programs on their interfaces | a look under way is finished |
//! | one per source of hosts | its watch | nothing more is told of it |
//! | log of the BPF programs | its ring buffer | lines not read yet are lost |
//!
//! The kernel programs need none of them: when the agent ends, they go on.

mod alarm;
mod announcements;
mod attachment;
mod closings;
mod config;
mod drain;
mod expiry;
mod failovers;
mod guests;
mod hints;
mod journal;
mod load;
mod members;
mod memory;
mod node;
mod ownership;
mod perform;
mod probes;
mod sentinels;
mod start;
mod status;
mod sync;
mod ticks;
mod upkeep;
mod vip;

use std::future;
use std::io;
use std::panic;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nllb_common::{Event, EventKind};
use nllb_core::{EvidenceFact, Machine, TableError};
use thiserror::Error;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tracing::{debug, error, info};

use crate::config::Config;
use crate::confine::Confinement;
use crate::datapath::maps::{KernelMaps, Sockets};
use crate::datapath::packet::PacketSocket;
use crate::datapath::{DatapathError, events};
use crate::drain::DrainRequest;
use crate::heap;
use crate::journal::What;
use crate::network::{Change, Network};
use crate::relay::Relays;
use crate::reload::Reload;
use crate::service_manager::ServiceManager;
use crate::status::{HistoryRequest, StatusRequest};
use crate::telemetry::{LogLevel, LogRequest};
use crate::units::millis;

use self::alarm::Alarm;
use self::announcements::Announcements;
use self::attachment::Attached;
use self::closings::Closings;
use self::config::Reloads;
use self::expiry::ExpiryWarnings;
use self::failovers::Failovers;
use self::guests::Sandboxed;
use self::hints::Hints;
use self::journal::Journal;
use self::members::Members;
use self::memory::Memory;
use self::ownership::Owning;
use self::probes::{Probes, Who};
use self::sentinels::{News, Sentinels};
use self::sync::Sync;
use self::ticks::Ticks;
use self::vip::ServedVip;
use crate::shutdown::Stop;

pub use self::load::{Unresolved, load};

/// How long an ending agent waits for what blocks: a table on disk that is being written ends in that
/// time, a disk or a resolver that hangs keeps nobody.
const LINGER: Duration = Duration::from_secs(1);

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

/// Runs the agent until a signal ends it. The data path stays in place. `announcer` tells the link who answers for the
/// control-plane VIP.
///
/// # Errors
/// When it cannot be set up; what an earlier agent left in place stays.
pub fn run(
    file: &Path,
    config: Config,
    log: LogLevel,
    confinement: Confinement,
    announcer: Option<PacketSocket>,
) -> Result<(), RunError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(RunError::Runtime)?;
    let file = file.to_owned();
    // A task like the others: what is waited for outside of tasks is looked at whenever any of them wakes.
    let driver = runtime.spawn_local(async move {
        let (driver, inputs) = Driver::start(&file, config, (log, confinement), announcer).await?;
        driver.serve(inputs).await;
        Ok(())
    });
    let ended = runtime.block_on(driver);
    runtime.shutdown_timeout(LINGER);
    ended.unwrap_or_else(|died| panic::resume_unwind(died.into_panic()))
}

/// The agent's state.
struct Driver {
    file: PathBuf,
    config: Config,
    machine: Machine,
    maps: KernelMaps,
    sync: Sync,
    attached: Attached,
    sandboxed: Sandboxed,
    sockets: Rc<Sockets>,
    probes: Probes,
    sentinels: Sentinels,
    closings: Closings,
    failovers: Failovers,
    hints: Hints,
    members: Members,
    /// Without it changes of the network are not seen.
    network: Option<Network>,
    memory: Memory,
    journal: Journal,
    announcements: Announcements,
    owning: Owning,
    expiry: ExpiryWarnings,
    relays: Relays,
    vip: ServedVip,
    reloads: Reloads,
    manager: ServiceManager,
    log: LogLevel,
    confinement: Confinement,
    started: Instant,
    adopted: bool,
}

/// Where events come from.
struct Inputs {
    events: events::Events,
    alarm: Alarm,
    status: mpsc::Receiver<StatusRequest>,
    histories: mpsc::Receiver<HistoryRequest>,
    drains: mpsc::Receiver<DrainRequest>,
    logs: mpsc::Receiver<LogRequest>,
    reload: Reload,
    stop: Stop,
    /// Held so that the servers end with the driver.
    _servers: JoinSet<()>,
}

impl Driver {
    /// Takes events one at a time until a signal ends it.
    async fn serve(mut self, inputs: Inputs) {
        let Inputs {
            mut events,
            mut alarm,
            mut status,
            mut histories,
            mut drains,
            mut logs,
            mut reload,
            mut stop,
            _servers,
        } = inputs;
        let mut ticks = Ticks::new(&self.config, Instant::now());
        let mut tests = JoinSet::new();
        let mut loads = JoinSet::new();
        let mut hears = true;
        let mut waits = self.sync.due().is_some();
        self.retry(&mut reload);
        self.perform();
        self.report();
        loop {
            let testing = !tests.is_empty();
            let own = ticks.due(testing);
            let due = [self.machine.poll_timeout(), self.sync.due()];
            let due = due.into_iter().flatten().fold(own, Instant::min);
            tokio::select! {
                // What clients feel comes first.
                biased;
                ((id, epoch), report) = self.probes.next() => {
                    self.machine.handle_probe(id, epoch, report, Instant::now());
                }
                (who, news) = self.sentinels.next() => self.learn(who, news),
                event = events.next(), if hears => match event {
                    Ok(event) => self.hear(event),
                    Err(error) => {
                        error!(%error, "no more events from the kernel; probes go on without");
                        hears = false;
                    }
                },
                () = alarm.until(due) => {
                    let now = Instant::now();
                    self.machine.handle_timeout(now);
                    if self.sync.due().is_some() {
                        self.apply();
                    }
                    if ticks.lease.take(now) {
                        self.renew_lease();
                        self.serve_vip();
                        self.memory.keep(&self.machine, &self.members);
                        self.journal.write(now);
                        self.sentinels.renew(|pool| self.probes.prober(pool));
                    }
                    if !testing && ticks.self_test.take(now) {
                        tests.spawn_local(self.attached.test(&self.sockets));
                    }
                    if ticks.count.take(now) {
                        self.count_connections();
                    }
                    if ticks.memory.take(now) {
                        heap::give_back();
                    }
                }
                news = self.members.next() => self.hear_source(news),
                change = network_change(&mut self.network) => self.hear_network(change),
                () = self.manager.ping_due() => self.manager.ping(),
                Some(Ok(findings)) = tests.join_next() => {
                    self.look_around();
                    self.sandboxed.check();
                    if self.attached.conclude(findings, &mut self.maps) {
                        ticks.self_test.hurry(Instant::now());
                    }
                    // What was refused may not be any more.
                    self.attached.serve_datagrams(self.machine.table(), &mut self.maps);
                    self.record_attachment();
                    self.attached.replace_other_versions(&mut self.maps, &self.sync);
                    if loads.is_empty() {
                        self.report();
                    }
                }
                closed = self.closings.next() => {
                    if let Some(after) = closed.as_ref().and_then(|closed| closed.dead_after) {
                        self.failovers.closed(after);
                    }
                    self.record(closed.map(|closed| closed.what));
                }
                () = self.memory.next() => {}
                () = self.journal.next() => {}
                () = self.announcements.next() => {}
                happened = self.owning.next() => self.own(happened),
                Some(request) = status.recv() => request.answer(self.status()),
                Some(request) = histories.recv() => request.answer(self.history()),
                Some(request) = drains.recv() => self.obey(request),
                Some(request) = logs.recv() => request.obey(&mut self.log, Instant::now()),
                () = reached(self.log.back_at()) => self.log.look(Instant::now()),
                // One after another, else an older file could win.
                () = reload.next(), if loads.is_empty() => {
                    self.manager.reloading();
                    let file = self.file.clone();
                    let unresolved = self.unresolved();
                    loads.spawn_blocking(move || load(&file, unresolved));
                }
                Some(Ok(loaded)) = loads.join_next() => {
                    let before = (self.config.lease, self.config.self_test_interval);
                    if self.take_config(loaded) {
                        reload.set_sources(self.config.sources());
                    }
                    self.retry(&mut reload);
                    self.report();
                    // Only then, or frequent reloads would keep them from ever ticking.
                    if before != (self.config.lease, self.config.self_test_interval) {
                        self.renew_lease();
                        ticks = Ticks::new(&self.config, Instant::now());
                    }
                }
                reason = stop.requested() => {
                    info!(reason, "stopping; the data path stays in place");
                    self.manager.stopping();
                    self.leave_ownership().await;
                    // A disk that does not answer must not keep the agent.
                    let duration_ms = millis(self.started.elapsed());
                    self.record([What::Stopped { reason: reason.to_owned(), duration_ms }]);
                    let table = self.memory.finish(&self.machine, &self.members);
                    let writing = async { tokio::join!(table, self.journal.finish()) };
                    let finished = timeout(LINGER, writing).await;
                    debug!(written = finished.is_ok(), "table on disk, journal");
                    break;
                }
            }
            self.perform();
            self.assess_ownership();
            if waits && self.sync.due().is_none() {
                waits = false;
                self.open_frontends();
                self.report();
            }
        }
    }

    fn learn(&mut self, (id, epoch): Who, news: News) {
        let now = Instant::now();
        match news {
            News::Fact(fact) => self.machine.handle_sentinel(id, epoch, fact, now),
            News::Answer(answer) => self.machine.handle_answer(id, epoch, answer, now),
        }
    }

    fn hear(&mut self, event: Event) {
        let Some(kind) = EventKind::from_number(event.kind) else {
            return;
        };
        debug!(backend = event.backend, ?kind, "evidence");
        self.hints.count(&event, kind);
        let fact = EvidenceFact { backend: event.backend, epoch: event.epoch, kind };
        self.machine.handle_evidence(fact, Instant::now());
    }

    fn hear_network(&mut self, Change { own, ways }: Change) {
        if let Some(own) = own {
            self.owning.set_own(&own);
            self.machine.handle_own_addresses(own);
        }
        self.serve_vip();
        if ways {
            info!("the network is another: all backends are probed");
            self.machine.handle_network_change(Instant::now());
            self.members.nudge();
        }
    }
}

/// Waits until then; for ever without a time.
async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => future::pending().await,
    }
}

/// Waits for the next change; for ever where none is seen.
async fn network_change(network: &mut Option<Network>) -> Change {
    match network {
        Some(network) => network.next().await,
        None => future::pending().await,
    }
}
