//! Round trips, and the latency bands that follow from them.

use std::time::{Duration, Instant};

use crate::backend::BackendId;
use crate::pool::Machine;

impl Machine {
    /// Takes a round trip of a backend, of a handshake or a ping, and looks at its band anew. A ping takes
    /// a little longer, since a process answers it; that is far below what makes a band.
    pub(crate) fn observe_distance(&mut self, id: BackendId, rtt: Duration, now: Instant) {
        let Some(backend) = self.roster.backends.get_mut(&id) else { return };
        backend.distance.observe(rtt, now);
        let pool = backend.pool;
        if !self.roster.settings.pools.get(pool).is_some_and(|settings| settings.latency_bands) {
            return;
        }
        let distances = self.roster.pool(pool).filter_map(|backend| backend.distance.lowest(now));
        let Some(fastest) = distances.min() else { return };
        let Some(backend) = self.roster.backends.get_mut(&id) else { return };
        let Some(own) = backend.distance.lowest(now) else { return };
        // Another draw for each backend, or a node would move all of them at once.
        let seed = self.seed ^ id.0.rotate_left(16);
        if backend.band.review(own, fastest, seed, now) {
            self.tell_verdict(id);
        }
    }
}
