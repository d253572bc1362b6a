//! Carries out what the machine wants, one command after another.

use std::time::Instant;

use nllb_core::{CloseCause, Command, SentinelFact, Via};
use tracing::{debug, error, info};

use super::Driver;
use crate::journal::Transition;

impl Driver {
    /// Carries out what the machine wants.
    pub(super) fn perform(&mut self) {
        while let Some(command) = self.machine.next_command() {
            match command {
                Command::Apply => self.apply(),
                Command::Probe { id, epoch, addr, pool, connect_timeout, via } => {
                    let over = match via {
                        Via::Sentinel => self.sentinels.probe((id, epoch)),
                        Via::Fresh => None,
                    };
                    match over {
                        Some(probe) => self.probes.run((id, epoch), probe),
                        None => self.probes.start((id, epoch), addr, pool, connect_timeout),
                    }
                }
                Command::Open { id, epoch, addr, pool, connect_timeout } => {
                    let prober = (pool, self.probes.prober(pool));
                    self.sentinels.open((id, epoch), addr, prober, connect_timeout);
                }
                Command::Ping { id, epoch } => self.sentinels.ping((id, epoch)),
                Command::Inspect { id, epoch } => {
                    let fact = SentinelFact::Tcp(self.sentinels.tcp((id, epoch)));
                    self.machine.handle_sentinel(id, epoch, fact, Instant::now());
                }
                Command::Ask { id, epoch, question } => {
                    self.sentinels.ask((id, epoch), question);
                }
                Command::Close { id, epoch, addr, order } => {
                    let who = (id, epoch);
                    let evidence = self.evidence(who);
                    // When in doubt it has some.
                    let connections = evidence.is_none_or(|evidence| evidence.connections() > 0);
                    let datagrams = evidence.map_or(0, |evidence| evidence.datagram_sockets);
                    let some = connections || self.closings.may_have_datagrams(who, datagrams);
                    // The machine repeats the order while a backend stays dead, or in a drill.
                    let repeated = matches!(order.cause, CloseCause::Dead | CloseCause::Drill);
                    if !repeated || some {
                        self.closings.start(who, addr, order, datagrams);
                    }
                }
                Command::DrillOver { addr, how, end, lasted } => {
                    self.drill_over(addr, how, end, lasted);
                }
                Command::Transition { id, addr, pool, from, to, reason, first_sign } => {
                    // Rebalancing is for calm times.
                    self.closings.cancel(CloseCause::Rebalance, |_| true);
                    // The maps came first: they have it, if they take anything.
                    if let Some(sign) = first_sign.filter(|_| self.sync.error.is_none()) {
                        self.failovers.judged(sign, Instant::now());
                    }
                    info!(
                        backend = %addr,
                        %id,
                        from = from.label(),
                        to = to.label(),
                        reason,
                        "backend changed its state"
                    );
                    let mut pools = self.config.pools.iter().chain(&self.members.served.pools);
                    let pool = pools.nth(pool).map_or("", |pool| pool.name.as_str());
                    let (backend, reason) = (addr, reason.as_str());
                    let change = Transition { pool, backend, from, to, reason, first_sign };
                    let whats = self.journal.chronicle.transition(change, Instant::now());
                    self.record(whats);
                }
            }
        }
    }

    /// Brings the maps to the machine's table.
    pub(super) fn apply(&mut self) {
        match self.sync.apply(&mut self.maps, self.machine.table(), Instant::now) {
            Ok(()) => debug!(duration = ?self.sync.last_duration, "maps written"),
            Err(error) => error!(%error, "cannot write the maps; the older state stays"),
        }
        self.attached.serve_datagrams(self.machine.table(), &mut self.maps);
    }
}
