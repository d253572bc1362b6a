//! What earlier entries say of things that still go on, so that their end can tell how long they took, even
//! when another agent saw their beginning.

use super::{AttachState, Entry, What};
use nllb_common::maps::State;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What began and is not known to have ended. Times are unix milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The number of the last entry; 0 when there is none.
    pub newest: u64,
    /// Since when a backend of a pool is out of service.
    pub(super) out: BTreeMap<(String, SocketAddr), i64>,
    /// Since when nobody of a pool is in service.
    pub(super) panics: BTreeMap<String, i64>,
    /// Since when the data path is not proven.
    pub(super) unattached: Option<i64>,
}

impl Past {
    /// Takes the next entry.
    pub fn take(&mut self, entry: Entry) {
        let Entry { seq, time_ms, what } = entry;
        self.newest = self.newest.max(seq);
        match what {
            What::Failover { pool, backend, .. } => {
                self.out.entry((pool, backend)).or_insert(time_ms);
            }
            What::Transition { pool, backend, to, .. } => {
                if State::from_label(&to).is_some_and(State::is_out) {
                    self.out.entry((pool, backend)).or_insert(time_ms);
                } else {
                    self.out.remove(&(pool, backend));
                }
            }
            What::Recovered { pool, backend, .. } => {
                self.out.remove(&(pool, backend));
            }
            What::Members { pool, left, .. } => {
                for backend in left {
                    self.out.remove(&(pool.clone(), backend));
                }
            }
            What::PanicEntered { pool, .. } => {
                self.panics.entry(pool).or_insert(time_ms);
            }
            What::PanicLeft { pool, .. } => {
                self.panics.remove(&pool);
            }
            What::Attach { state: AttachState::Lost, .. } => {
                self.unattached.get_or_insert(time_ms);
            }
            What::Attach { state: AttachState::Repaired, .. } => self.unattached = None,
            What::Closed { .. }
            | What::Config { .. }
            | What::Drain { .. }
            | What::Undrain { .. }
            | What::Drill { .. }
            | What::DrillOver { .. }
            | What::Lease { .. }
            | What::Vip { .. }
            | What::Started { .. }
            | What::Stopped { .. } => {}
        }
    }
}
