//! Orders of an operator, or of a drill: finds the backend that is meant, tells the machine, and says what
//! comes of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_common::maps::State;
use nllb_core::{BackendView, CloseCause, Drain, DrainError, Drill, DrillEnd, View};

use super::Driver;
use crate::datapath::closing::Closing;
use crate::drain::{self, Done, DrainRequest, Order, Refused};
use crate::journal::What;
use crate::units::millis;

const CLOSES_NOTHING: &str =
    "the agent cannot close connections on this node; nllb status says why under closing";

impl Driver {
    /// Carries out an order, unless who gave it was told meanwhile that nothing came of it.
    pub(super) fn obey(&mut self, request: DrainRequest) {
        if request.is_abandoned() {
            tracing::info!(backend = request.backend(), "an order came too late and is left out");
            return;
        }
        let answer = self.drain(request.backend(), request.order());
        request.answer(answer);
    }

    /// Carries out an order about the backend of that name.
    fn drain(&mut self, name: &str, order: Order) -> Result<Done, Refused> {
        let now = Instant::now();
        let before = self.machine.view();
        let known: BTreeSet<_> = backends(&before).map(|backend| backend.addr).collect();
        let addr = drain::find(name, &known)?;
        let drain = match order {
            Order::Drain { close_after, force } => Drain::On { close_after, force },
            Order::Undrain => Drain::Off,
            Order::Drill { how, lease } => Drain::Drill { how, lease },
            Order::DrillOver => Drain::DrillOver,
        };
        self.machine.handle_drain(addr, drain, now).map_err(|error| match error {
            DrainError::Unknown { .. } => Refused::NotFound(error.to_string()),
            DrainError::Last { .. } | DrainError::Alone { .. } | DrainError::Drained(_) => {
                Refused::Unsafe(error.to_string())
            }
        })?;
        // An operator who was told that it is done may restart the host next.
        self.memory.keep(&self.machine, &self.members);
        let view = self.machine.view();
        // One address may be a backend of several pools, and each of them is meant.
        let meant = |view: &View| {
            let meant = backends(view).filter(|backend| backend.addr == addr);
            meant.cloned().collect::<Vec<BackendView>>()
        };
        let (before, after) = (meant(&before), meant(&view));
        let is_on = matches!(drain, Drain::On { .. });
        if drain == Drain::Off {
            let meant = |who| after.iter().any(|backend| (backend.id, backend.epoch) == who);
            self.closings.cancel(CloseCause::Drained, meant);
        }
        let evidence = |backend: &BackendView| self.evidence((backend.id, backend.epoch));
        let close_at = after.iter().filter_map(|backend| backend.close_at).min().filter(|_| is_on);
        let blackholed = matches!(order, Order::Drill { how: Drill::Blackhole, .. });
        let closes = matches!(self.closings.closing(), Closing::SockDiag);
        let drill = |view: &[BackendView]| -> Vec<_> {
            view.iter().map(|backend| backend.drill.map(|(how, _)| how)).collect()
        };
        let changed = match order {
            Order::Drain { .. } => before.iter().any(|backend| !backend.drained),
            Order::Undrain => before.iter().any(|one| one.drained || one.drill.is_some()),
            Order::Drill { .. } | Order::DrillOver => drill(&before) != drill(&after),
        };
        let done = Done {
            backend: addr,
            changed,
            connections: after
                .iter()
                .filter_map(evidence)
                .map(|evidence| evidence.connections())
                .sum(),
            close_after_ms: close_at
                .filter(|_| closes)
                .map(|at| millis(at.saturating_duration_since(now))),
            note: (!closes && (close_at.is_some() || blackholed))
                .then(|| CLOSES_NOTHING.to_owned()),
        };
        if matches!(order, Order::Drill { .. }) && !changed {
            // It is renewed every second or so.
            return Ok(done);
        }
        tracing::info!(backend = %addr, ?order, changed = done.changed, "told by an operator");
        let what = match order {
            Order::Drain { close_after: _, force } => {
                let close_after_ms = done.close_after_ms;
                Some(What::Drain { backend: addr, close_after_ms, forced: force })
            }
            Order::Undrain => done.changed.then_some(What::Undrain { backend: addr }),
            Order::Drill { how, lease } => {
                let (mode, lease_ms) = (how.label().to_owned(), millis(lease));
                Some(What::Drill { backend: addr, mode, lease_ms })
            }
            // The machine tells.
            Order::DrillOver => None,
        };
        self.record(what);
        Ok(done)
    }

    /// A backend is in no drill any more.
    pub(super) fn drill_over(
        &mut self,
        addr: SocketAddr,
        how: Drill,
        end: DrillEnd,
        lasted: Duration,
    ) {
        let (mode, reason) = (how.label(), end.label());
        tracing::info!(backend = %addr, mode, reason, ?lasted, "a drill is over");
        // What a drill's drain had begun to close; one that drains all the same goes on with it.
        let view = self.machine.view();
        let meant = |who| {
            let mut meant = backends(&view).filter(|one| one.addr == addr);
            meant.any(|one| (one.id, one.epoch) == who && one.state != State::Draining)
        };
        self.closings.cancel(CloseCause::Drained, meant);
        let (mode, reason) = (mode.to_owned(), reason.to_owned());
        let duration_ms = millis(lasted);
        self.record([What::DrillOver { backend: addr, mode, reason, duration_ms }]);
    }
}

fn backends(view: &View) -> impl Iterator<Item = &BackendView> {
    view.pools.iter().flat_map(|pool| &pool.backends)
}
