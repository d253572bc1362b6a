//! Probes under way: each a task of its own, each reported exactly once, even when it dies, because
//! the machine starts no other probe of a backend before it hears of the last.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use nllb_common::maps::NO_BACKEND;
use nllb_core::{BackendId, Outcome, ProbeReport};
use tokio::task::{self, AbortHandle, JoinError, JoinSet};
use tracing::error;

use crate::config::Pool;
use crate::datapath::maps::Sockets;
use crate::probe::{Port, Prober};

/// A backend with the epoch of its id.
pub(super) type Who = (BackendId, u32);

/// The probes under way.
#[derive(Debug)]
pub(super) struct Probes {
    /// One per pool, in the order of the settings.
    probers: Vec<Rc<Prober>>,
    sockets: Rc<Sockets>,
    tasks: JoinSet<ProbeReport>,
    who: HashMap<task::Id, Who>,
    /// The probe under way of each backend.
    under_way: HashMap<Who, AbortHandle>,
    /// Probes that ended, by backend and outcome.
    outcomes: HashMap<Who, BTreeMap<&'static str, u64>>,
}

impl Probes {
    pub(super) fn new(probers: Vec<Rc<Prober>>, sockets: Rc<Sockets>) -> Self {
        Self {
            probers,
            sockets,
            tasks: JoinSet::new(),
            who: HashMap::new(),
            under_way: HashMap::new(),
            outcomes: HashMap::new(),
        }
    }

    /// The way to probe from now on; what is under way ends as it began.
    pub(super) fn set_probers(&mut self, probers: Vec<Rc<Prober>>) {
        self.probers = probers;
    }

    /// The way to probe the pools of Services, which are behind so many others. Where it is as before, what
    /// a prober has read stays in memory.
    pub(super) fn set_service_probers(&mut self, others: usize, pools: &[Pool]) {
        let before = self.probers.split_off(others.min(self.probers.len()));
        let prober = |pool: &Pool| {
            let same = before.iter().find(|prober| *prober.check() == pool.check);
            same.map_or_else(|| Rc::new(Prober::new(pool.check.clone())), Rc::clone)
        };
        self.probers.extend(pools.iter().map(prober));
    }

    /// The way to probe the backends of the pool with this index.
    pub(super) fn prober(&self, pool: usize) -> Option<Rc<Prober>> {
        self.probers.get(pool).map(Rc::clone)
    }

    /// Starts a probe of a backend of the pool with this index over a connection of its own, in place of
    /// one that is under way.
    pub(super) fn start(
        &mut self,
        who: Who,
        addr: SocketAddr,
        pool: usize,
        connect_timeout: Option<Duration>,
    ) {
        let (BackendId(id), epoch) = who;
        let prober = self.prober(pool);
        let sockets = Rc::clone(&self.sockets);
        self.run(who, async move {
            match prober {
                Some(prober) => {
                    let exempt = |socket: BorrowedFd<'_>, port: Port| {
                        // A handshake with another port is no evidence for this one.
                        let backend = if port == Port::Own { id } else { NO_BACKEND };
                        Ok(sockets.bypass(&socket, backend, epoch)?)
                    };
                    prober.probe(addr, connect_timeout, exempt).await
                }
                None => local("its pool is no longer configured".to_owned()),
            }
        });
    }

    /// Runs a probe, in place of one that is under way.
    pub(super) fn run(&mut self, who: Who, probe: impl Future<Output = ProbeReport> + 'static) {
        let task = self.tasks.spawn_local(probe);
        self.who.insert(task.id(), who);
        if let Some(before) = self.under_way.insert(who, task) {
            self.who.remove(&before.id());
            before.abort();
        }
    }

    /// The next probe that ended; waits for ever while none is under way. Safe to cancel.
    pub(super) async fn next(&mut self) -> (Who, ProbeReport) {
        loop {
            let (task, report) = match self.tasks.join_next_with_id().await {
                Some(Ok(ended)) => ended,
                Some(Err(error)) if error.is_cancelled() => continue,
                Some(Err(error)) => (error.id(), lost(&error)),
                None => future::pending().await,
            };
            if let Some(who) = self.who.remove(&task) {
                self.under_way.remove(&who);
                let counts = self.outcomes.entry(who).or_default();
                *counts.entry(report.outcome.label()).or_default() += 1;
                return (who, report);
            }
        }
    }

    /// Probes of a backend that ended, by outcome.
    pub(super) fn outcomes(&self, who: Who) -> BTreeMap<String, u64> {
        let counts = self.outcomes.get(&who).into_iter().flatten();
        counts.map(|(label, count)| ((*label).to_owned(), *count)).collect()
    }

    /// Forgets backends that are gone.
    pub(super) fn retain(&mut self, known: &HashSet<Who>) {
        self.outcomes.retain(|who, _| known.contains(who));
    }
}

/// The report of a probe that died.
fn lost(error: &JoinError) -> ProbeReport {
    error!(%error, "a probe died");
    local(error.to_string())
}

fn local(reason: String) -> ProbeReport {
    ProbeReport {
        outcome: Outcome::Local { reason },
        rtt: None,
        latency: Duration::ZERO,
        certificate: None,
        unix_time: 0,
    }
}
