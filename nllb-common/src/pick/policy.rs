//! The policies that choose otherwise than by a draw: each puts another backend of the best class in the
//! place of the one drawn.

use super::survey::{Survey, less, mask, slot};
use super::{Request, View};
use crate::maps::{MAGLEV_ENTRIES, MAX_POOL_BACKENDS, NO_BACKEND, Policy, PoolSet, Slot};
use crate::mix;

/// The backend that the Maglev table of a pool has for a client with this hash; [`NO_BACKEND`] for a pool
/// without any.
#[inline(always)]
#[must_use]
pub fn by_maglev(pool: &PoolSet, hash: u32) -> u32 {
    // A number below the size of the table, as in `survey`.
    let entry = (u64::from(hash) * MAGLEV_ENTRIES as u64) >> 32;
    let index = pool.maglev[entry as usize] as usize % MAX_POOL_BACKENDS;
    pool.slots[index].backend
}

impl Survey {
    /// Puts another of the best class in the place of the one drawn, if the policy says so.
    #[inline(always)]
    pub(super) fn refine<V: View>(&mut self, pool: &PoolSet, view: &V, request: &Request) {
        let Request { policy, pool: id, preferred, seed, zero, .. } = *request;
        if policy == Policy::Random as u32 || self.equals == 0 {
            return;
        }
        if policy == Policy::RoundRobin as u32 {
            // Without a shared counter: who waited longest is next. It goes on in order when the class
            // changes, and each connect writes one word.
            self.index = self.least(zero, |index| view.turn_ns(id, index));
        } else if policy == Policy::LeastConnections as u32 {
            let first = self.index;
            // A second draw among the others, all alike; the drawn one only when it is alone.
            let second = self.least(zero, |index| {
                u64::from(mix(!seed.wrapping_add(index))) | mask(index == first, zero) & (1 << 32)
            });
            if load(slot(pool, second), view) < load(slot(pool, first), view) {
                self.index = second;
            }
        } else if preferred != NO_BACKEND {
            // The preferred one if it is of this class, else the one that the seed has for the client:
            // rendezvous hashing (D. Thaler, C. Ravishankar, "Using name-based mappings to increase hit
            // rates", 1998), so that the clients of one backend spread over all others.
            self.index = self.least(zero, |index| {
                let backend = slot(pool, index).backend;
                (u64::from(mix(seed ^ mix(backend))) | 1 << 32) & mask(backend != preferred, zero)
            });
        }
    }

    /// The place of the backend of the best class whose key is the least.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "an index is below MAX_POOL_BACKENDS")]
    fn least(&self, zero: u32, key: impl Fn(u32) -> u64) -> u32 {
        let mut least = u64::MAX;
        let mut place = self.index;
        for index in 0..MAX_POOL_BACKENDS as u32 {
            let key = key(index) | !mask(self.equals >> index & 1 != 0, zero);
            if less(key, least, zero) {
                least = key;
                place = index ^ zero;
            }
        }
        place
    }
}

/// Connections of a backend for its weight, to be compared. With a connection more, so that among idle
/// backends the heavier is ahead.
#[inline(always)]
fn load<V: View>(slot: &Slot, view: &V) -> u64 {
    let weight = u64::from(view.verdict(slot.backend).weight());
    let active = view.active(slot.backend, slot.epoch);
    // A backend never has so many that this would lose a digit.
    ((active + 1) << 16) / (weight + u64::from(weight == 0))
}
