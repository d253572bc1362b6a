//! What pools and frontends contribute to the verdict: who may still get connections.

use super::Findings;
use crate::status::{Backend, Certificate, Frontend, FrontendBackend, Pool};

impl Findings {
    pub(super) fn of_pools(&mut self, pools: &[Pool]) {
        for pool in pools {
            self.of_pool(pool);
            pool.backends.iter().for_each(|backend| self.of_backend(backend));
        }
    }

    fn of_pool(&mut self, pool: &Pool) {
        let Pool { name, profile, backends, .. } = pool;
        let eligible: Vec<_> = backends.iter().filter(|backend| backend.is_eligible()).collect();
        let all = backends.len();
        match eligible.as_slice() {
            // Nobody's fault here, and its addresses are left alone.
            [] if all == 0 && profile == "service" => {
                self.note(format!("the Service has no endpoint for {name}"));
            }
            [] if all == 0 => self.panic(format!("pool {name} has no backend")),
            [] if is_starting(pool) => {
                self.degraded(format!("pool {name}: no probe has ended yet"));
            }
            [] if all == 1 => {
                self.panic(format!("pool {name}: its only backend may not get connections"));
            }
            [] => {
                self.panic(format!("pool {name}: none of its {all} backends may get connections"));
            }
            [one] if all > 1 => {
                self.degraded(format!(
                    "pool {name}: only {} of {all} backends is left",
                    one.address
                ));
            }
            some if some.iter().all(|backend| is_suspect(backend)) => {
                self.degraded(format!("pool {name}: all that may get connections are in doubt"));
            }
            [_] => self.note(format!("pool {name} has one backend, so nobody can take its place")),
            _ => {}
        }
    }

    fn of_backend(&mut self, backend: &Backend) {
        let Backend {
            address,
            state,
            reason,
            cause,
            drained,
            drill,
            doubt,
            certificate,
            last_probe,
            ..
        } = backend;
        match state.as_str() {
            "healthy" => {}
            _ if drill.is_some() => self.note(format!("{address} is {state}: {reason}")),
            "draining" if *drained => self.note(format!("{address} is drained by an operator")),
            "draining" if cause == "leaving" => self.note(format!("{address} is {reason}")),
            "unknown" if last_probe.is_none() => self.note(format!("{address} was not probed yet")),
            state => self.degraded(format!("{address} is {state}: {reason}")),
        }
        if let Some(doubt) = doubt {
            self.note(format!("{address} is doubted: {doubt}"));
        }
        let Some(Certificate { urgency, warning: Some(warning), .. }) = certificate else { return };
        match urgency.as_str() {
            "week" | "expired" => self.degraded(format!("{address}: {warning}")),
            _ => self.note(format!("{address}: {warning}")),
        }
    }

    /// What certificates and versions leave of a pool for a frontend, where that is not the whole pool.
    pub(super) fn of_frontends(&mut self, frontends: &[Frontend], pools: &[Pool]) {
        for Frontend { name, kind, pool, backends, .. } in frontends {
            // A node address is left alone where nobody else may serve it: that is no loss.
            let pool = pools.iter().find(|known| known.name == *pool);
            let Some(pool) = pool.filter(|_| kind != "node-address") else { continue };
            let eligible = pool.backends.iter().filter(|backend| backend.is_eligible()).count();
            let used = |address| backends.iter().any(|seen| seen.used && seen.address == address);
            let usable: Vec<_> = pool
                .backends
                .iter()
                .filter(|backend| backend.is_eligible() && used(backend.address))
                .collect();
            match usable.as_slice() {
                [] if eligible > 0 => self.panic(format!(
                    "frontend {name}: none of the backends that it may use may get connections"
                )),
                [one] if eligible > 1 => self.degraded(format!(
                    "frontend {name}: it may use only {} of {eligible} backends in service",
                    one.address
                )),
                _ => {}
            }
            for FrontendBackend { address, used, reason, about } in backends {
                let Some(reason) = reason.as_ref().filter(|_| *used) else { continue };
                let line = format!("frontend {name}: {address} is {reason}");
                match about.as_deref() {
                    Some("version") => self.note(line),
                    _ => self.degraded(line),
                }
            }
        }
    }
}

/// Whether others would be preferred to it.
fn is_suspect(backend: &Backend) -> bool {
    let suspect = backend.evidence.as_ref().is_some_and(|evidence| evidence.suspect_ms > 0);
    backend.doubt.is_some() || suspect
}

/// Whether nothing can be known yet.
fn is_starting(pool: &Pool) -> bool {
    let is_new = |backend: &Backend| backend.state == "unknown" && backend.last_probe.is_none();
    pool.backends.iter().all(is_new)
}
