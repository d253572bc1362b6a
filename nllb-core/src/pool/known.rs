//! The table on disk: what is kept there, and what it is worth after a boot.
//!
//! It may be hours old, so it decides nothing: a backend that was out of service is only doubted until
//! its first probe, and the first outcome counts at once as for any that is new. But a node that boots
//! with one of three servers dead goes to the other two with its first connect, and its timeouts fit
//! the network from the start.

use std::time::Instant;

use nllb_common::maps::State;

use crate::backend::{Backend, Cause, Drained};
use crate::doubt::Doubt;
use crate::eligible::Seen;
use crate::pool::Machine;
use crate::remembered::Remembered;
use crate::report::CertificateFacts;
use crate::settings::canonical;

impl Machine {
    /// Takes over what was known when the last agent ended. Only right after [`Self::new`] and the
    /// adoption of the maps. Of a backend that the maps know their state counts and not the one on disk;
    /// drains, versions and round trips they do not hold.
    pub fn handle_known(&mut self, known: &[Remembered], now: Instant) {
        for known in known {
            let found = self.roster.find((&known.pool, canonical(known.addr)));
            let id = found.map(|backend| backend.id);
            if let Some(backend) = id.and_then(|id| self.roster.backends.get_mut(&id)) {
                backend.recall(known, now);
            }
        }
        self.review(now);
        self.rebuild_table();
    }

    /// What is worth keeping on disk.
    #[must_use]
    pub fn remembered(&self) -> Vec<Remembered> {
        let pools = self.roster.settings.pools.iter().enumerate();
        let backends = pools.flat_map(|(index, pool)| {
            self.roster.pool(index).map(|backend| backend.remembered(&pool.name))
        });
        backends.collect()
    }
}

impl Backend {
    fn recall(&mut self, known: &Remembered, now: Instant) {
        let Remembered { pool: _, addr: _, state, drained, close_after, rtt, names, version } =
            known;
        if *drained {
            self.drained = Some(Drained { since: now, close_after: *close_after });
        }
        if let Some(rtt) = rtt {
            self.rtt.observe(*rtt);
        }
        self.version.clone_from(version);
        if !matches!(self.cause, Cause::New) {
            return;
        }
        if matches!(state, State::Draining | State::Unhealthy) {
            self.doubts.raise(Doubt::Before);
            // Its first probe is due at once anyway.
            self.told.1 = true;
        }
        if !names.is_empty() {
            let certificate = CertificateFacts::remembered(names.clone());
            self.recalled = Some(Seen { certificate: certificate.into(), unix_time: 0 });
        }
    }

    fn remembered(&self, pool: &str) -> Remembered {
        let seen = self.seen.as_ref().or(self.recalled.as_ref());
        Remembered {
            pool: pool.to_owned(),
            addr: self.addr,
            state: self.health.state(),
            drained: self.drained.is_some(),
            close_after: self.drained.and_then(|drained| drained.close_after),
            rtt: self.round_trip(),
            names: seen.map(|seen| seen.certificate.names.clone()).unwrap_or_default(),
            version: self.version.clone(),
        }
    }
}
